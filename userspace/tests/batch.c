// SPDX-License-Identifier: MIT
/*
 * Batches: what is sent when, and what becomes of results, errors and puts.
 */
#include <errno.h>
#include <string.h>

#include "unit.h"

static struct pyobjmem_batcher *batcher_of(struct pyobjmem *session, uint32_t flags)
{
	struct pyobjmem_batcher *batcher = NULL;

	CHECK_EQUAL(0, pyobjmem_batch_new(session, flags, &batcher));
	return batcher;
}

static void batch_all_operations(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	struct pyobjmem_object object = {
		.payload = "payload",
		.payload_size = 8,
		.slots = 2,
		.flags = PYOBJMEM_CREATE_MUTABLE,
	};
	uint64_t a = 7, b = 7, c = 7, d = 7, old = 7;
	struct pyobjmem_extent extent = { 0 };
	char text[16] = "";

	CHECK_EQUAL(0, pyobjmem_batch_create(batcher, &object, &a));
	CHECK_EQUAL(1, pyobjmem_batch_create(batcher, &object, &b));
	CHECK_EQUAL(0, a);
	CHECK_EQUAL(2, pyobjmem_batch_count(batcher));
	CHECK_EQUAL(-EAGAIN, pyobjmem_batch_result(batcher, 0));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_result(batcher, 2));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_result(batcher, -1));
	CHECK_EQUAL(0, fake_objects());
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK(fake_lives(a) && fake_lives(b) && a != b);
	CHECK_EQUAL(0, pyobjmem_batch_result(batcher, 0));
	CHECK_EQUAL(0, pyobjmem_batch_result(batcher, 1));

	CHECK_EQUAL(0, pyobjmem_batch_set_ref(batcher, a, 0, b, &old));
	CHECK_EQUAL(1, pyobjmem_batch_compare_and_set_ref(batcher, a, 0, b, a, &d));
	CHECK_EQUAL(2, pyobjmem_batch_set_root(batcher, 5, b, NULL));
	CHECK_EQUAL(3, pyobjmem_batch_get_root(batcher, 5, &c));
	CHECK_EQUAL(4, pyobjmem_batch_write(batcher, b, "LOAD", 4, 3));
	CHECK_EQUAL(5, pyobjmem_batch_read(batcher, b, text, 6, 1, &extent));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(6, pyobjmem_batch_count(batcher));
	CHECK_EQUAL(0, old);
	CHECK_EQUAL(b, d);
	CHECK_EQUAL(b, c);
	CHECK(!strcmp(text, "ayLOAD"));
	CHECK_EQUAL(6, extent.length);
	CHECK_EQUAL(8, extent.payload);
	CHECK_EQUAL(2, extent.slots);
	CHECK_EQUAL(2, pyobjmem_holds(session, b));

	CHECK_EQUAL(0, pyobjmem_batch_get_ref(batcher, a, 0, &c));
	CHECK_EQUAL(1, pyobjmem_batch_set_ref(batcher, a, 0, PYOBJMEM_NONE, NULL));
	CHECK_EQUAL(2, pyobjmem_batch_set_root(batcher, 5, PYOBJMEM_NONE, &old));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(a, c);
	CHECK_EQUAL(b, old);
	pyobjmem_batch_free(batcher);
	end(session);
}

/* What goes to the kernel, member by member. */
static void batch_encoding(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, PYOBJMEM_BATCH_CONTINUE);
	uint64_t a = make(session, 2), handle, edges[2] = { a, 0 };
	struct pyobjmem_object object = {
		.payload = "abc",
		.edges = edges,
		.payload_size = 3,
		.slots = 2,
		.type = 77,
		.flags = PYOBJMEM_CREATE_MUTABLE,
	};
	const struct pyobjmem_batch_entry *entry;
	const uint64_t *sent;
	char buffer[4];
	uint32_t count;

	pyobjmem_batch_create(batcher, &object, &handle);
	pyobjmem_batch_compare_and_set_ref(batcher, a, 1, 11, 22, NULL);
	pyobjmem_batch_read(batcher, a, buffer, 4, 2, NULL);
	pyobjmem_batch_put(batcher, a);
	pyobjmem_batch_flush(batcher);
	entry = fake_last_batch(&count);
	CHECK_EQUAL(4, count);

	CHECK_EQUAL(PYOBJMEM_OP_CREATE, entry[0].op);
	CHECK_EQUAL(sizeof(struct pyobjmem_create), entry[0].command.create.size);
	CHECK_EQUAL(PYOBJMEM_CREATE_MUTABLE, entry[0].command.create.flags);
	CHECK(!memcmp((void *)(uintptr_t)entry[0].command.create.payload, "abc", 3));
	sent = (uint64_t *)(uintptr_t)entry[0].command.create.edges;
	CHECK(sent != edges && sent[0] == a && sent[1] == 0);
	CHECK_EQUAL(0, (uintptr_t)sent % 8);
	CHECK_EQUAL(3, entry[0].command.create.payload_size);
	CHECK_EQUAL(2, entry[0].command.create.slots);
	CHECK_EQUAL(77, entry[0].command.create.type);

	CHECK_EQUAL(PYOBJMEM_OP_SET_REF, entry[1].op);
	CHECK_EQUAL(sizeof(struct pyobjmem_set_ref), entry[1].command.set_ref.size);
	CHECK_EQUAL(PYOBJMEM_SET_REF_COMPARE, entry[1].command.set_ref.flags);
	CHECK_EQUAL(a, entry[1].command.set_ref.handle);
	CHECK_EQUAL(1, entry[1].command.set_ref.slot);
	CHECK_EQUAL(11, entry[1].command.set_ref.expected);
	CHECK_EQUAL(22, entry[1].command.set_ref.value);

	CHECK_EQUAL(PYOBJMEM_OP_READ, entry[2].op);
	CHECK_EQUAL(sizeof(struct pyobjmem_read), entry[2].command.read.size);
	CHECK_EQUAL(pyobjmem_pointer(buffer), entry[2].command.read.buffer);
	CHECK_EQUAL(2, entry[2].command.read.offset);
	CHECK_EQUAL(4, entry[2].command.read.length);

	CHECK_EQUAL(PYOBJMEM_OP_PUT, entry[3].op);
	CHECK_EQUAL(sizeof(struct pyobjmem_put), entry[3].command.put.size);
	CHECK_EQUAL(a, entry[3].command.put.handle);
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_copies_input(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint32_t number, sum;
	struct pyobjmem_object object = { .payload = &number, .payload_size = sizeof(number) };
	uint64_t handles[100];
	uint32_t i;

	for (i = 0; i < 100; i++) {
		number = i * i;
		CHECK_EQUAL(i, pyobjmem_batch_create(batcher, &object, &handles[i]));
	}
	number = 0;
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	for (i = 0; i < 100; i++) {
		CHECK_EQUAL(4, pyobjmem_read(session, handles[i], &sum, sizeof(sum), 0));
		CHECK_EQUAL(i * i, sum);
	}
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_flushes_when_full(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	struct pyobjmem_object object = { .payload_size = 8 };
	static uint64_t handles[2500];
	int i;

	for (i = 0; i < 2500; i++)
		CHECK_EQUAL(i, pyobjmem_batch_create(batcher, &object, &handles[i]));
	CHECK_EQUAL(2, fake_calls_of(PYOBJMEM_OP_BATCH));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(3, fake_calls_of(PYOBJMEM_OP_BATCH));
	CHECK_EQUAL(2500, fake_objects());
	CHECK_EQUAL(0, pyobjmem_batch_result(batcher, 0));
	CHECK_EQUAL(0, pyobjmem_batch_result(batcher, 2499));
	for (i = 0; i < 2500; i++)
		CHECK_EQUAL(0, pyobjmem_batch_put(batcher, handles[i]));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(0, fake_objects());
	CHECK_EQUAL(6, fake_calls_of(PYOBJMEM_OP_BATCH));
	/* Flushing nothing is no call. */
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(6, fake_calls_of(PYOBJMEM_OP_BATCH));
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_flushes_by_bytes(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	static char payload[65536], buffer[20][65536];
	struct pyobjmem_object object = { .payload = payload, .payload_size = sizeof(payload) };
	uint64_t handles[40];
	int i;

	/* 16 of them are exactly what a call may carry. */
	for (i = 0; i < 40; i++) {
		memset(payload, 'a' + i, sizeof(payload));
		CHECK_EQUAL(i, pyobjmem_batch_create(batcher, &object, &handles[i]));
	}
	CHECK_EQUAL(2, fake_calls_of(PYOBJMEM_OP_BATCH));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(40, fake_objects());
	for (i = 0; i < 20; i++)
		pyobjmem_batch_read(batcher, handles[i], buffer[i], sizeof(buffer[i]), 0, NULL);
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(5, fake_calls_of(PYOBJMEM_OP_BATCH));
	for (i = 0; i < 20; i++)
		CHECK(buffer[i][0] == 'a' + i && buffer[i][65535] == 'a' + i);
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_refuses_what_fits_into_none(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	static char payload[PYOBJMEM_BATCH_BYTES + 1];
	struct pyobjmem_object object = { .payload = payload, .payload_size = sizeof(payload) };
	uint64_t a = 0, handle = 7;

	CHECK_EQUAL(-E2BIG, pyobjmem_batch_create(batcher, &object, &handle));
	CHECK_EQUAL(-E2BIG, pyobjmem_batch_read(batcher, 1, payload, sizeof(payload), 0, NULL));
	CHECK_EQUAL(-E2BIG, pyobjmem_batch_write(batcher, 1, payload, sizeof(payload), 0));
	object = (struct pyobjmem_object){ .edges = &a, .slots = UINT32_MAX };
	CHECK_EQUAL(-E2BIG, pyobjmem_batch_create(batcher, &object, &handle));
	CHECK_EQUAL(7, handle);
	/* That is no failure of the batch. */
	object = (struct pyobjmem_object){ .payload_size = 8 };
	CHECK_EQUAL(0, pyobjmem_batch_create(batcher, &object, &handle));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK(fake_lives(handle));
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_stops_at_an_error(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	struct pyobjmem_object object = { .payload_size = 8 };
	uint64_t a = make(session, 1), x = 7, y = 7, z = 7;

	pyobjmem_batch_create(batcher, &object, &x);
	pyobjmem_batch_get_ref(batcher, a, 99, &y);
	pyobjmem_batch_create(batcher, &object, &z);
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(3, pyobjmem_batch_count(batcher));
	CHECK_EQUAL(0, pyobjmem_batch_result(batcher, 0));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_result(batcher, 1));
	CHECK_EQUAL(-EAGAIN, pyobjmem_batch_result(batcher, 2));
	CHECK(fake_lives(x));
	CHECK_EQUAL(0, y);
	CHECK_EQUAL(0, z);
	CHECK_EQUAL(2, fake_objects());
	/* It is ready for use again. */
	CHECK_EQUAL(0, pyobjmem_batch_create(batcher, &object, &z));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK(fake_lives(z));
	CHECK_EQUAL(0, session->table.reserved);
	pyobjmem_batch_free(batcher);
	end(session);
}

/* An error that comes with an automatic flush is not lost. */
static void batch_remembers_an_error(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	struct pyobjmem_object object = { .payload_size = 8 };
	uint64_t a = make(session, 1), y;
	static uint64_t handles[3000];
	int i, result = 0;

	for (i = 0; i < 3000 && result >= 0; i++) {
		if (i == 1500)
			pyobjmem_batch_get_ref(batcher, a, 99, &y);
		result = pyobjmem_batch_create(batcher, &object, &handles[i]);
	}
	CHECK_EQUAL(-EINVAL, result);
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_create(batcher, &object, &y));
	CHECK_EQUAL(1501, fake_objects());
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_result(batcher, 1500));
	CHECK_EQUAL(0, pyobjmem_batch_result(batcher, 1499));
	CHECK_EQUAL(-EAGAIN, pyobjmem_batch_result(batcher, 1501));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(0, pyobjmem_batch_count(batcher));
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_goes_on(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, PYOBJMEM_BATCH_CONTINUE);
	uint64_t a = make(session, 1), b = make(session, 0), old = 7;
	static uint64_t values[5000];
	int i;

	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, b, NULL));
	/* Every third fails, over several automatic flushes. */
	for (i = 0; i < 5000; i++)
		CHECK_EQUAL(i, pyobjmem_batch_get_ref(batcher, a, i % 3 == 1, &values[i]));
	CHECK_EQUAL(5000, pyobjmem_batch_compare_and_set_ref(batcher, a, 0, a, a, &old));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_flush(batcher));
	for (i = 0; i < 5000; i++) {
		CHECK_EQUAL(i % 3 == 1 ? -EINVAL : 0, pyobjmem_batch_result(batcher, i));
		CHECK_EQUAL(i % 3 == 1 ? 0 : b, values[i]);
	}
	CHECK_EQUAL(-ECANCELED, pyobjmem_batch_result(batcher, 5000));
	CHECK_EQUAL(b, old);
	CHECK_EQUAL(1 + 5000 - 1667, pyobjmem_holds(session, b));
	CHECK(fake_takes(pyobjmem_fd(session), b) < TAKES_MAX);
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_put_is_local(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint64_t a = make(session, 0);
	unsigned long before;

	pyobjmem_get(session, a);
	before = fake_calls();
	CHECK_EQUAL(0, pyobjmem_batch_put(batcher, a));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(before, fake_calls());
	CHECK_EQUAL(0, pyobjmem_batch_put(batcher, a));
	CHECK_EQUAL(-ENOENT, pyobjmem_batch_put(batcher, a));
	CHECK_EQUAL(0, pyobjmem_holds(session, a));
	/* Until the flush the object lives on: what was queued before may use it. */
	CHECK(fake_lives(a));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK(!fake_lives(a));
	pyobjmem_batch_free(batcher);
	end(session);
}

/*
 * A put of one of several holds: what is queued ahead of it has to work even if
 * the others are put meanwhile. So the object is held until the flush.
 */
static void batch_put_of_one_of_several(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint64_t a = make(session, 1), b = make(session, 0);

	pyobjmem_get(session, b);
	pyobjmem_batch_set_ref(batcher, a, 0, b, NULL);
	CHECK_EQUAL(0, pyobjmem_batch_put(batcher, b));
	CHECK_EQUAL(1, pyobjmem_holds(session, b));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(0, pyobjmem_holds(session, b));
	CHECK_EQUAL(-ENOENT, pyobjmem_put(session, b));
	CHECK_EQUAL(-ENOENT, pyobjmem_batch_put(batcher, b));
	CHECK(fake_lives(b));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(1, fake_held(pyobjmem_fd(session)));
	CHECK_EQUAL(1, session->table.used);
	CHECK_EQUAL(2, fake_objects());
	pyobjmem_batch_free(batcher);
	end(session);
}

/* More of them than fit into one call, the takes of all given back at the end. */
static void batch_put_of_many_that_are_lent(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	static uint64_t objects[2000];
	uint64_t a = make(session, 1), old;
	int i;

	for (i = 0; i < 2000; i++) {
		objects[i] = make(session, 0);
		pyobjmem_get(session, objects[i]);
	}
	pyobjmem_batch_set_ref(batcher, a, 0, PYOBJMEM_NONE, &old);
	for (i = 0; i < 2000; i++)
		CHECK_EQUAL(0, pyobjmem_batch_put(batcher, objects[i]));
	for (i = 0; i < 2000; i++)
		CHECK_EQUAL(0, pyobjmem_put(session, objects[i]));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(1, fake_objects());
	pyobjmem_batch_free(batcher);
	end(session);
}

/* What is lent has many takes: their PUTs do not fit into one call. */
static void batch_put_of_lent_with_many_takes(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint64_t a[60], value;
	int i, k;

	for (i = 0; i < 60; i++) {
		a[i] = make(session, 1);
		pyobjmem_set_root(session, (uint32_t)i, a[i], NULL);
		for (k = 0; k < 25; k++)
			pyobjmem_get_root(session, (uint32_t)i, &value);
	}
	pyobjmem_batch_get_ref(batcher, a[0], 0, &value);
	for (i = 0; i < 60; i++)
		for (k = 0; k < 26; k++)
			CHECK_EQUAL(0, pyobjmem_batch_put(batcher, a[i]));
	CHECK_EQUAL(-ENOENT, pyobjmem_batch_put(batcher, a[0]));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(0, fake_held(pyobjmem_fd(session)));
	CHECK_EQUAL(0, session->table.used);
	for (i = 0; i < 60; i++)
		pyobjmem_set_root(session, (uint32_t)i, PYOBJMEM_NONE, NULL);
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_put_of_what_leave_dropped(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint64_t a = make(session, 1), b = make(session, 0);

	pyobjmem_get(session, b);
	pyobjmem_batch_set_ref(batcher, a, 0, b, NULL);
	pyobjmem_batch_put(batcher, b);
	CHECK_EQUAL(0, pyobjmem_leave(session));
	CHECK_EQUAL(-ENOTCONN, pyobjmem_batch_flush(batcher));
	pyobjmem_batch_free(batcher);
	end(session);
}

/* The one hold that is left is used by operations before its put. */
static void batch_put_keeps_its_place(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint64_t a = make(session, 1), b = make(session, 0);

	pyobjmem_batch_set_ref(batcher, a, 0, b, NULL);
	pyobjmem_batch_put(batcher, b);
	pyobjmem_batch_set_root(batcher, 0, a, NULL);
	pyobjmem_batch_put(batcher, a);
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(2, fake_objects());
	CHECK_EQUAL(0, fake_held(pyobjmem_fd(session)));
	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, PYOBJMEM_NONE, NULL));
	CHECK_EQUAL(0, fake_objects());
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_put_with_many_takes(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint64_t a[60], value;
	int i, k;

	for (i = 0; i < 60; i++) {
		a[i] = make(session, 0);
		pyobjmem_set_root(session, (uint32_t)i, a[i], NULL);
		for (k = 0; k < 29; k++)
			pyobjmem_get_root(session, (uint32_t)i, &value);
		for (k = 0; k < 29; k++)
			pyobjmem_put(session, a[i]);
		CHECK_EQUAL(30, fake_takes(pyobjmem_fd(session), a[i]));
	}
	/* 60 puts of 30 takes do not fit into one call. */
	for (i = 0; i < 60; i++)
		CHECK_EQUAL(0, pyobjmem_batch_put(batcher, a[i]));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(0, fake_held(pyobjmem_fd(session)));
	for (i = 0; i < 60; i++)
		pyobjmem_set_root(session, (uint32_t)i, PYOBJMEM_NONE, NULL);
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_puts_although_it_stops(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint64_t a = make(session, 1), b[100], y;
	int i;

	for (i = 0; i < 100; i++)
		b[i] = make(session, 0);
	for (i = 0; i < 100; i++) {
		if (i == 50)
			pyobjmem_batch_get_ref(batcher, a, 99, &y);
		CHECK_EQUAL(0, pyobjmem_batch_put(batcher, b[i]));
	}
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(1, fake_objects());
	CHECK_EQUAL(1, fake_held(pyobjmem_fd(session)));
	pyobjmem_batch_free(batcher);
	end(session);
}

/* Also when it has stopped already, and when even the puts need two calls. */
static void batch_takes_puts_after_it_stopped(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint64_t a = make(session, 1), y;
	static uint64_t b[3000];
	int i;

	for (i = 0; i < 3000; i++)
		b[i] = make(session, 0);
	pyobjmem_batch_get_ref(batcher, a, 99, &y);
	for (i = 0; i < 3000; i++)
		CHECK_EQUAL(0, pyobjmem_batch_put(batcher, b[i]));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_get_ref(batcher, a, 0, &y));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(1, fake_objects());
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_fails_as_a_whole(uint32_t flags)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, flags);
	struct pyobjmem_object object = { .payload_size = 8 };
	uint64_t a = make(session, 0), b = make(session, 0), x = 7;

	pyobjmem_batch_put(batcher, a);
	pyobjmem_batch_create(batcher, &object, &x);
	pyobjmem_batch_put(batcher, b);
	fake_fail(PYOBJMEM_OP_BATCH, -ENOMEM);
	CHECK_EQUAL(-ENOMEM, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(-EAGAIN, pyobjmem_batch_result(batcher, 0));
	CHECK_EQUAL(0, x);
	CHECK_EQUAL(0, fake_objects());
	CHECK_EQUAL(0, session->table.reserved);
	pyobjmem_batch_free(batcher);
	end(session);
}

/* Not even the puts can go in a batch: then they go one by one. */
static void batch_fails_again_and_again(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	uint64_t a = make(session, 1), b = make(session, 0), x = 7, value;
	int i;

	pyobjmem_set_root(session, 0, b, NULL);
	for (i = 0; i < 10; i++)
		pyobjmem_get_root(session, 0, &value);
	fake_fail_always(PYOBJMEM_OP_BATCH, -ENOMEM);
	pyobjmem_batch_get_ref(batcher, a, 0, &x);
	for (i = 0; i < 11; i++)
		CHECK_EQUAL(0, pyobjmem_batch_put(batcher, b));
	pyobjmem_batch_put(batcher, a);
	CHECK_EQUAL(-ENOMEM, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(0, fake_held(pyobjmem_fd(session)));
	CHECK_EQUAL(0, session->table.used);
	pyobjmem_set_root(session, 0, PYOBJMEM_NONE, NULL);
	pyobjmem_batch_free(batcher);
	end(session);
}

static void batch_fails_as_a_whole_stopping(void)
{
	batch_fails_as_a_whole(0);
}

static void batch_fails_as_a_whole_continuing(void)
{
	batch_fails_as_a_whole(PYOBJMEM_BATCH_CONTINUE);
}

/* Each allocation of a flush fails in turn: nothing must have happened then. */
static void batch_without_memory(void)
{
	unsigned int n;
	int error = -1;

	for (n = 0; error; n++) {
		struct pyobjmem *session = start();
		struct pyobjmem_batcher *batcher = batcher_of(session, 0);
		struct pyobjmem_object object = { .payload_size = 8 };
		uint64_t a = make(session, 0), handles[200];
		int i;

		for (i = 0; i < 200; i++)
			pyobjmem_batch_create(batcher, &object, &handles[i]);
		pyobjmem_batch_put(batcher, a);
		fake_fail_alloc(n);
		error = pyobjmem_batch_flush(batcher);
		CHECK(error == 0 || error == -ENOMEM);
		CHECK_EQUAL(error ? 0 : 200, fake_objects());
		CHECK_EQUAL(0, session->table.reserved);
		pyobjmem_batch_free(batcher);
		end(session);
	}
	CHECK_EQUAL(3, n);
}

static void batch_free_drops_operations_but_not_puts(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = batcher_of(session, 0);
	struct pyobjmem_object object = { .payload_size = 8 };
	uint64_t a = make(session, 0), x;

	pyobjmem_batch_create(batcher, &object, &x);
	pyobjmem_batch_put(batcher, a);
	pyobjmem_batch_free(batcher);
	CHECK_EQUAL(0, fake_objects());
	end(session);
}

static void batch_flags(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = NULL;

	CHECK_EQUAL(-EOPNOTSUPP, pyobjmem_batch_new(session, 2, &batcher));
	fake_fail_alloc(0);
	CHECK_EQUAL(-ENOMEM, pyobjmem_batch_new(session, 0, &batcher));
	CHECK(!batcher);
	pyobjmem_batch_free(NULL);
	end(session);
}

const struct test batch_tests[] = {
	TEST(batch_all_operations),
	TEST(batch_encoding),
	TEST(batch_copies_input),
	TEST(batch_flushes_when_full),
	TEST(batch_flushes_by_bytes),
	TEST(batch_refuses_what_fits_into_none),
	TEST(batch_stops_at_an_error),
	TEST(batch_remembers_an_error),
	TEST(batch_goes_on),
	TEST(batch_put_is_local),
	TEST(batch_put_keeps_its_place),
	TEST(batch_put_of_one_of_several),
	TEST(batch_put_of_many_that_are_lent),
	TEST(batch_put_of_lent_with_many_takes),
	TEST(batch_put_of_what_leave_dropped),
	TEST(batch_put_with_many_takes),
	TEST(batch_puts_although_it_stops),
	TEST(batch_takes_puts_after_it_stopped),
	TEST(batch_fails_as_a_whole_stopping),
	TEST(batch_fails_as_a_whole_continuing),
	TEST(batch_fails_again_and_again),
	TEST(batch_without_memory),
	TEST(batch_free_drops_operations_but_not_puts),
	TEST(batch_flags),
	{ 0 },
};
