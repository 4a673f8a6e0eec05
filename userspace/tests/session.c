// SPDX-License-Identifier: MIT
/*
 * Local counting: what the library tells the kernel, and what it does not.
 */
#include <errno.h>

#include "unit.h"

static void get_is_local(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0);
	unsigned long before = fake_calls();

	CHECK_EQUAL(0, pyobjmem_get(session, a));
	CHECK_EQUAL(0, pyobjmem_get(session, a));
	CHECK_EQUAL(3, pyobjmem_holds(session, a));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(before, fake_calls());
	CHECK_EQUAL(1, fake_takes(pyobjmem_fd(session), a));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(before + 1, fake_calls());
	CHECK(!fake_lives(a));
	end(session);
}

static void put_of_what_is_not_held(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0);
	unsigned long before;

	CHECK_EQUAL(0, pyobjmem_put(session, a));
	before = fake_calls();
	CHECK_EQUAL(-ENOENT, pyobjmem_put(session, a));
	CHECK_EQUAL(-ENOENT, pyobjmem_put(session, PYOBJMEM_NONE));
	CHECK_EQUAL(-ENOENT, pyobjmem_put(session, 0xffffffffffffffff));
	CHECK_EQUAL(before, fake_calls());
	end(session);
}

static void get_of_what_is_not_held(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0);

	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(-ESTALE, pyobjmem_get(session, a));
	CHECK_EQUAL(-EINVAL, pyobjmem_get(session, PYOBJMEM_NONE));
	CHECK_EQUAL(0, pyobjmem_holds(session, a));
	end(session);
}

static void get_asks_the_kernel_for_takes_of_others(void)
{
	struct pyobjmem_create create = { .size = sizeof(create) };
	struct pyobjmem_heap_create heap = { .size = sizeof(heap) };
	struct pyobjmem *session = NULL;
	uint64_t a;
	int fd;

	fake_reset();
	fd = fake_open();
	CHECK_EQUAL(0, pyobjmem_sys_ioctl(fd, PYOBJMEM_HEAP_CREATE, &heap));
	CHECK_EQUAL(0, pyobjmem_sys_ioctl(fd, PYOBJMEM_CREATE, &create));
	a = create.out_handle;
	CHECK_EQUAL(0, pyobjmem_open_fd(fd, &session));
	CHECK_EQUAL(1, pyobjmem_heap(session));
	CHECK_EQUAL(-ENOENT, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_get(session, a));
	CHECK_EQUAL(0, pyobjmem_get(session, a));
	CHECK_EQUAL(2, fake_takes(fd, a));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(-ENOENT, pyobjmem_put(session, a));
	CHECK_EQUAL(1, fake_takes(fd, a));
	end(session);
}

static void open_fd_refuses_what_is_no_session(void)
{
	struct pyobjmem *session = NULL;

	fake_reset();
	CHECK_EQUAL(-EBADF, pyobjmem_open_fd(77, &session));
	CHECK(!session);
}

static void takes_of_one_object_are_given_back(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 1), b = make(session, 0), value;
	int fd = pyobjmem_fd(session);
	int i;

	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, b, NULL));
	for (i = 0; i < 1000; i++) {
		CHECK_EQUAL(0, pyobjmem_get_ref(session, a, 0, &value));
		CHECK_EQUAL(b, value);
		CHECK(fake_takes(fd, b) < TAKES_MAX);
	}
	CHECK_EQUAL(1001, pyobjmem_holds(session, b));
	CHECK_EQUAL(1, fake_external(b));
	for (i = 0; i < 1000; i++)
		CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK(fake_takes(fd, b) > 0);
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(0, fake_takes(fd, b));
	CHECK_EQUAL(0, fake_external(b));
	CHECK(fake_lives(b));
	end(session);
}

/* An object that is held anyway, taken and put again and again. */
static void takes_do_not_pile_up(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), value;
	unsigned long before;
	int i;

	CHECK_EQUAL(0, pyobjmem_set_root(session, 3, a, NULL));
	before = fake_calls();
	for (i = 0; i < 1000; i++) {
		CHECK_EQUAL(0, pyobjmem_get_root(session, 3, &value));
		CHECK_EQUAL(0, pyobjmem_put(session, a));
		CHECK(fake_takes(pyobjmem_fd(session), a) < TAKES_MAX);
	}
	/* A get_root each, and now and then one call for the takes. */
	CHECK(fake_calls() - before <= 1000 + 1000 / (TAKES_MAX - 1) + 1);
	CHECK_EQUAL(0, pyobjmem_set_root(session, 3, PYOBJMEM_NONE, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, fake_held(pyobjmem_fd(session)));
	end(session);
}

static void give_back_without_memory_for_a_batch(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), value;
	int i;

	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, a, NULL));
	for (i = 0; i < 5; i++)
		CHECK_EQUAL(0, pyobjmem_get_root(session, 0, &value));
	for (i = 0; i < 5; i++)
		CHECK_EQUAL(0, pyobjmem_put(session, a));
	fake_fail(PYOBJMEM_OP_BATCH, -ENOMEM);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, fake_takes(pyobjmem_fd(session), a));
	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, PYOBJMEM_NONE, NULL));
	end(session);
}

static void no_memory_means_no_effect(void)
{
	struct pyobjmem_object object = { .payload_size = 8 };
	struct pyobjmem *session = start();
	uint64_t handle = 7;

	fake_fail_alloc(0);
	CHECK_EQUAL(-ENOMEM, pyobjmem_create(session, &object, &handle));
	CHECK_EQUAL(7, handle);
	CHECK_EQUAL(0, fake_calls_of(PYOBJMEM_OP_CREATE));
	CHECK_EQUAL(0, pyobjmem_create(session, &object, &handle));
	CHECK_EQUAL(0, pyobjmem_put(session, handle));
	end(session);
}

static void failed_operation_holds_nothing(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 1), b = make(session, 0), value = 7;

	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, b, NULL));
	fake_fail(PYOBJMEM_OP_GET_REF, -EDQUOT);
	CHECK_EQUAL(-EDQUOT, pyobjmem_get_ref(session, a, 0, &value));
	CHECK_EQUAL(7, value);
	CHECK_EQUAL(1, pyobjmem_holds(session, b));
	CHECK_EQUAL(0, session->table.reserved);
	end(session);
}

static void empty_slot_is_no_hold(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 1), value = 7;

	CHECK_EQUAL(0, pyobjmem_get_ref(session, a, 0, &value));
	CHECK_EQUAL(PYOBJMEM_NONE, value);
	CHECK_EQUAL(1, fake_held(pyobjmem_fd(session)));
	CHECK_EQUAL(1, session->table.used);
	end(session);
}

static void compare_and_set(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 1), b = make(session, 0), old = 7;

	CHECK_EQUAL(-ECANCELED, pyobjmem_compare_and_set_ref(session, a, 0, b, b, &old));
	CHECK_EQUAL(PYOBJMEM_NONE, old);
	CHECK_EQUAL(0, pyobjmem_compare_and_set_ref(session, a, 0, PYOBJMEM_NONE, b, &old));
	CHECK_EQUAL(-ECANCELED, pyobjmem_compare_and_set_ref(session, a, 0, a, b, &old));
	CHECK_EQUAL(b, old);
	end(session);
}

static void leave_forgets(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0);

	CHECK_EQUAL(0, pyobjmem_leave(session));
	CHECK_EQUAL(0, pyobjmem_holds(session, a));
	CHECK_EQUAL(-ENOENT, pyobjmem_put(session, a));
	CHECK_EQUAL(-ENOTCONN, pyobjmem_leave(session));
	end(session);
}

const struct test session_tests[] = {
	TEST(get_is_local),
	TEST(put_of_what_is_not_held),
	TEST(get_of_what_is_not_held),
	TEST(get_asks_the_kernel_for_takes_of_others),
	TEST(open_fd_refuses_what_is_no_session),
	TEST(takes_of_one_object_are_given_back),
	TEST(takes_do_not_pile_up),
	TEST(give_back_without_memory_for_a_batch),
	TEST(no_memory_means_no_effect),
	TEST(failed_operation_holds_nothing),
	TEST(empty_slot_is_no_hold),
	TEST(compare_and_set),
	TEST(leave_forgets),
	{ 0 },
};
