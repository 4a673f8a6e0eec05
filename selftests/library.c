// SPDX-License-Identifier: GPL-2.0
/*
 * libpyobjmem on the real device: that each function does what its operation
 * does, and that the library's own counting and batching agree with what the
 * kernel counts.
 */
#include "library.h"

/* Takes of one object that the library lets the kernel have at the most */
#define TAKES_MAX	32

/* --- Sessions and heaps ---------------------------------------------------- */

TEST_F(library, open_fd_adopts_a_descriptor)
{
	struct pyobjmem *adopted;
	int fd = session_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pyobjmem_open_fd(fd, &adopted));
	EXPECT_EQ(fd, pyobjmem_fd(adopted));
	EXPECT_EQ(0, pyobjmem_heap(adopted));
	EXPECT_EQ(0, pyobjmem_heap_join(adopted, self->heap));
	EXPECT_EQ(self->number, pyobjmem_heap(adopted));
	pyobjmem_close(adopted);
	EXPECT_EQ(-1, fcntl(fd, F_GETFD));
}

TEST_F(library, open_fd_knows_the_heap_joined_before)
{
	struct pyobjmem *adopted;
	int fd = session_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, heap_join(fd, self->heap));
	ASSERT_EQ(0, pyobjmem_open_fd(fd, &adopted));
	EXPECT_EQ(self->number, pyobjmem_heap(adopted));
	pyobjmem_close(adopted);
}

TEST_F(library, open_fd_refuses_other_files)
{
	struct pyobjmem *adopted = NULL;
	int fd = open("/dev/null", O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-ENOTTY, pyobjmem_open_fd(fd, &adopted));
	EXPECT_EQ(NULL, adopted);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(-EBADF, pyobjmem_open_fd(fd, &adopted));
}

TEST_F(library, query_answers_without_a_heap)
{
	struct pyobjmem_query query = { .size = sizeof(query) };
	struct pyobjmem *session;

	ASSERT_EQ(0, pyobjmem_open(&session));
	EXPECT_EQ(0, pyobjmem_query(session, &query));
	EXPECT_EQ(PYOBJMEM_ABI, query.out_abi);
	EXPECT_EQ(PYOBJMEM_BATCH_MAX, query.out_batch_max);
	query.size = 4;
	EXPECT_EQ(-EINVAL, pyobjmem_query(session, &query));
	pyobjmem_close(session);
}

TEST_F(library, heap_create_without_a_descriptor)
{
	struct pyobjmem *session;
	int before = dup(0), after;

	close(before);
	ASSERT_EQ(0, pyobjmem_open(&session));
	ASSERT_EQ(0, pyobjmem_heap_create(session, PYOBJMEM_HEAP_NOMAP, 0, NULL));
	EXPECT_NE(0, pyobjmem_heap(session));
	EXPECT_EQ(PYOBJMEM_RIGHTS, pyobjmem_rights(session));
	EXPECT_EQ(-EALREADY, pyobjmem_heap_join(session, self->heap));
	pyobjmem_close(session);
	after = dup(0);
	close(after);
	EXPECT_EQ(before, after);
}

TEST_F(library, rights_come_with_the_descriptor)
{
	struct pyobjmem *maker, *guest;
	struct pyobjmem_heap_configure configure = {
		.size = sizeof(configure),
		.flags = PYOBJMEM_CONFIGURE_COLLECT,
	};
	int heap;

	EXPECT_EQ(PYOBJMEM_RIGHTS, pyobjmem_rights(self->other));
	EXPECT_EQ(0, pyobjmem_configure(self->other, &configure));
	EXPECT_EQ(0, pyobjmem_freeze(self->other));
	EXPECT_EQ(0, pyobjmem_unfreeze(self->other));

	ASSERT_EQ(0, pyobjmem_open(&maker));
	ASSERT_EQ(0, pyobjmem_heap_create(maker, 0, 0, &heap));
	ASSERT_EQ(0, pyobjmem_open(&guest));
	ASSERT_EQ(0, pyobjmem_heap_join(guest, heap));
	EXPECT_EQ(0, pyobjmem_rights(guest));
	EXPECT_EQ(-EPERM, pyobjmem_configure(guest, &configure));
	EXPECT_EQ(-EPERM, pyobjmem_freeze(guest));
	EXPECT_EQ(-EPERM, pyobjmem_unfreeze(guest));
	pyobjmem_close(guest);
	pyobjmem_close(maker);
	close(heap);
}

TEST_F(library, configure_takes_a_constant)
{
	static const struct pyobjmem_heap_configure configure = {
		.size = sizeof(configure),
		.flags = PYOBJMEM_CONFIGURE_OBJECTS,
		.objects = 2,
	};

	EXPECT_EQ(0, pyobjmem_configure(self->session, &configure));
	EXPECT_NE(PYOBJMEM_NONE, make(self->session, 0));
	EXPECT_NE(PYOBJMEM_NONE, make(self->session, 0));
	EXPECT_EQ(PYOBJMEM_NONE, make(self->session, 0));
}

TEST_F(library, leave_drops_all)
{
	uint64_t a = make(self->session, 0);

	ASSERT_EQ(0, pyobjmem_leave(self->session));
	EXPECT_EQ(0, objects(self->other));
	EXPECT_EQ(0, pyobjmem_holds(self->session, a));
	EXPECT_EQ(-ENOENT, pyobjmem_put(self->session, a));
	EXPECT_EQ(-ENOTCONN, pyobjmem_get(self->session, a));
	EXPECT_EQ(-ENOTCONN, pyobjmem_leave(self->session));
}

TEST_F(library, close_drops_all)
{
	struct pyobjmem *session;

	ASSERT_EQ(0, pyobjmem_open(&session));
	ASSERT_EQ(0, pyobjmem_heap_join(session, self->heap));
	ASSERT_NE(PYOBJMEM_NONE, make(session, 3));
	ASSERT_EQ(1, objects(self->session));
	pyobjmem_close(session);
	EXPECT_EQ(0, objects(self->session));
}

/* --- Errors ---------------------------------------------------------------- */

TEST_F(library, errno_is_left_alone)
{
	uint64_t a = make(self->session, 1), value;
	struct pyobjmem_batcher *batcher;
	char byte;

	errno = 4711;
	EXPECT_EQ(-EINVAL, pyobjmem_get_ref(self->session, a, 5, &value));
	EXPECT_EQ(-EPERM, pyobjmem_write(self->session, a, "x", 1, 0));
	EXPECT_EQ(-EINVAL, pyobjmem_read(self->session, a, &byte, 1, 99));
	EXPECT_EQ(-ENOENT, pyobjmem_put(self->other, a));
	EXPECT_EQ(-EBADF, pyobjmem_redeem(self->session, -1, &value));
	EXPECT_EQ(-EBADF, pyobjmem_send(self->session, a, -1));
	ASSERT_EQ(0, pyobjmem_batch_new(self->session, 0, &batcher));
	pyobjmem_batch_get_ref(batcher, a, 5, &value);
	EXPECT_EQ(-EINVAL, pyobjmem_batch_flush(batcher));
	pyobjmem_batch_free(batcher);
	EXPECT_EQ(4711, errno);
}

TEST_F(library, fork_child_has_no_session)
{
	uint64_t a = make(self->session, 0);
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct pyobjmem_stats stats = { .size = sizeof(stats) };
		uint64_t handle;
		int error = pyobjmem_stats(self->session, &stats);

		if (error != -EIO || pyobjmem_get_root(self->session, 0, &handle) != -EIO)
			_exit(1);
		pyobjmem_close(self->session);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* The parent's is untouched. */
	EXPECT_EQ(1, takes(self->session, a));
}

/* --- Objects --------------------------------------------------------------- */

TEST_F(library, create_carries_everything)
{
	uint64_t a = make(self->session, 0), b = make(self->session, 0), handle, seen[3];
	const uint64_t edges[3] = { a, PYOBJMEM_NONE, b };
	struct pyobjmem_object object = {
		.payload = "some bytes",
		.edges = edges,
		.payload_size = 11,
		.slots = 3,
		.type = 4242,
		.flags = PYOBJMEM_CREATE_MUTABLE,
	};
	struct pyobjmem_inspect inspect = { .size = sizeof(inspect) };
	char text[32] = "";

	ASSERT_EQ(0, pyobjmem_create(self->session, &object, &handle));
	ASSERT_EQ(0, pyobjmem_inspect(self->session, handle, seen, 3, &inspect));
	EXPECT_EQ(3, inspect.out_slots);
	EXPECT_EQ(11, inspect.out_payload);
	EXPECT_EQ(4242, inspect.out_type);
	EXPECT_EQ(PYOBJMEM_CREATE_MUTABLE, inspect.out_flags);
	EXPECT_EQ(1, inspect.out_external);
	EXPECT_EQ(0, memcmp(edges, seen, sizeof(edges)));
	EXPECT_EQ(11, pyobjmem_read(self->session, handle, text, sizeof(text), 0));
	EXPECT_STREQ("some bytes", text);
}

TEST_F(library, create_that_fails_holds_nothing)
{
	uint64_t stranger = make(self->other, 0), handle = 7;
	struct pyobjmem_object object = { .edges = &stranger, .slots = 1 };

	EXPECT_EQ(-ENOENT, pyobjmem_create(self->session, &object, &handle));
	EXPECT_EQ(7, handle);
	EXPECT_EQ(0, holds(self->session));
	object.flags = 1U << 31;
	EXPECT_EQ(-EOPNOTSUPP, pyobjmem_create(self->session, &object, &handle));
}

TEST_F(library, read_and_write)
{
	struct pyobjmem_object object = {
		.payload = "0123456789",
		.payload_size = 10,
		.flags = PYOBJMEM_CREATE_MUTABLE,
	};
	char text[16] = "";
	uint64_t handle;

	ASSERT_EQ(0, pyobjmem_create(self->session, &object, &handle));
	EXPECT_EQ(4, pyobjmem_write(self->session, handle, "abcd", 4, 3));
	EXPECT_EQ(-EINVAL, pyobjmem_write(self->session, handle, "abcd", 4, 8));
	EXPECT_EQ(5, pyobjmem_read(self->session, handle, text, sizeof(text), 5));
	EXPECT_STREQ("cd789", text);
	EXPECT_EQ(0, pyobjmem_read(self->session, handle, text, sizeof(text), 10));
	EXPECT_EQ(-EINVAL, pyobjmem_read(self->session, handle, text, sizeof(text), 11));
	EXPECT_EQ(-EFAULT, pyobjmem_read(self->session, handle, (void *)8, 4, 0));
}

/* The second page of the buffer is not there: what was written before counts. */
TEST_F(library, write_tells_how_much_was_written)
{
	struct pyobjmem_object object = {
		.payload_size = 3 * 4096,
		.flags = PYOBJMEM_CREATE_MUTABLE,
	};
	char *buffer = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char back[2];
	uint64_t handle;

	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, munmap(buffer + 4096, 4096));
	memset(buffer, 'w', 4096);
	ASSERT_EQ(0, pyobjmem_create(self->session, &object, &handle));
	EXPECT_EQ(4096, pyobjmem_write(self->session, handle, buffer, 2 * 4096, 0));
	EXPECT_EQ(-EFAULT, pyobjmem_write(self->session, handle, buffer + 4096, 4096, 4096));
	EXPECT_EQ(2, pyobjmem_read(self->session, handle, back, 2, 4095));
	EXPECT_EQ('w', back[0]);
	EXPECT_EQ('\0', back[1]);
	munmap(buffer, 4096);
}

TEST_F(library, slots)
{
	uint64_t a = make(self->session, 2), b = make(self->session, 0), old = 7, value = 7;

	EXPECT_EQ(0, pyobjmem_set_ref(self->session, a, 1, b, &old));
	EXPECT_EQ(PYOBJMEM_NONE, old);
	EXPECT_EQ(-ECANCELED, pyobjmem_compare_and_set_ref(self->session, a, 1, a, a, &old));
	EXPECT_EQ(b, old);
	EXPECT_EQ(0, pyobjmem_get_ref(self->session, a, 1, &value));
	EXPECT_EQ(b, value);
	EXPECT_EQ(2, pyobjmem_holds(self->session, b));
	EXPECT_EQ(0, pyobjmem_compare_and_set_ref(self->session, a, 1, b, PYOBJMEM_NONE, &old));
	EXPECT_EQ(b, old);
	EXPECT_EQ(0, pyobjmem_get_ref(self->session, a, 1, &value));
	EXPECT_EQ(PYOBJMEM_NONE, value);
	EXPECT_EQ(-EINVAL, pyobjmem_get_ref(self->session, a, 2, &value));
}

TEST_F(library, roots)
{
	uint64_t a = make(self->session, 0), old = 7, value = 7;

	EXPECT_EQ(0, pyobjmem_get_root(self->other, 63, &value));
	EXPECT_EQ(PYOBJMEM_NONE, value);
	EXPECT_EQ(0, pyobjmem_set_root(self->session, 63, a, &old));
	EXPECT_EQ(PYOBJMEM_NONE, old);
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, pyobjmem_get_root(self->other, 63, &value));
	EXPECT_EQ(a, value);
	EXPECT_EQ(0, pyobjmem_set_root(self->session, 63, PYOBJMEM_NONE, &old));
	EXPECT_EQ(a, old);
	EXPECT_EQ(1, objects(self->session));
	EXPECT_EQ(0, pyobjmem_put(self->other, a));
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(-EINVAL, pyobjmem_get_root(self->other, 64, &value));
}

TEST_F(library, collect)
{
	uint64_t a = make(self->session, 1), b = make(self->session, 1);
	struct pyobjmem_collect result = { .size = sizeof(result) };

	ASSERT_EQ(0, pyobjmem_set_ref(self->session, a, 0, b, NULL));
	ASSERT_EQ(0, pyobjmem_set_ref(self->session, b, 0, a, NULL));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, pyobjmem_collect(self->session, 2, &result));
	EXPECT_EQ(0, result.out_collected);
	EXPECT_EQ(0, pyobjmem_put(self->session, b));
	EXPECT_EQ(2, objects(self->session));
	EXPECT_EQ(0, pyobjmem_collect(self->session, 2, &result));
	EXPECT_EQ(2, result.out_collected);
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(0, pyobjmem_collect(self->session, 0, NULL));
	EXPECT_EQ(-EINVAL, pyobjmem_collect(self->session, 3, NULL));
}

/* --- Counting -------------------------------------------------------------- */

TEST_F(library, gets_are_not_told_to_the_kernel)
{
	uint64_t a = make(self->session, 0);
	int i;

	for (i = 0; i < 1000; i++)
		ASSERT_EQ(0, pyobjmem_get(self->session, a));
	EXPECT_EQ(1001, pyobjmem_holds(self->session, a));
	EXPECT_EQ(1, takes(self->session, a));
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, takes(self->session, a));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(-ENOENT, pyobjmem_put(self->session, a));
	EXPECT_EQ(-ESTALE, pyobjmem_get(self->session, a));
}

TEST_F(library, get_refs_do_not_pile_up)
{
	uint64_t a = make(self->session, 1), b = make(self->session, 0), value;
	int i;

	ASSERT_EQ(0, pyobjmem_set_ref(self->session, a, 0, b, NULL));
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, pyobjmem_get_ref(self->session, a, 0, &value));
		ASSERT_GT(TAKES_MAX, takes(self->session, b));
	}
	for (i = 0; i < 1001; i++)
		ASSERT_EQ(0, pyobjmem_put(self->session, b));
	EXPECT_EQ(1, holds(self->session));
	EXPECT_EQ(2, objects(self->session));
	EXPECT_EQ(-ENOENT, pyobjmem_put(self->session, b));
}

TEST_F(library, get_of_what_the_library_did_not_give)
{
	__u64 handle;
	int fd = pyobjmem_fd(self->session);

	ASSERT_EQ(0, object_create(fd, 0, NULL, 8, NULL, 0, &handle));
	EXPECT_EQ(-ENOENT, pyobjmem_put(self->session, handle));
	EXPECT_EQ(0, pyobjmem_get(self->session, handle));
	EXPECT_EQ(2, takes(self->session, handle));
	EXPECT_EQ(0, pyobjmem_put(self->session, handle));
	EXPECT_EQ(-ENOENT, pyobjmem_put(self->session, handle));
	EXPECT_EQ(1, takes(self->session, handle));
}

/* --- Tickets --------------------------------------------------------------- */

TEST_F(library, ticket_keeps_its_object)
{
	uint64_t a = make(self->session, 0), b = 7;
	int ticket = pyobjmem_export(self->session, a);

	ASSERT_LE(0, ticket);
	EXPECT_EQ(FD_CLOEXEC, fcntl(ticket, F_GETFD));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, pyobjmem_redeem(self->other, ticket, &b));
	EXPECT_EQ(a, b);
	EXPECT_EQ(0, pyobjmem_redeem(self->other, ticket, &b));
	EXPECT_EQ(2, pyobjmem_holds(self->other, a));
	EXPECT_EQ(0, close(ticket));
	EXPECT_EQ(0, pyobjmem_put(self->other, a));
	EXPECT_EQ(0, pyobjmem_put(self->other, a));
	EXPECT_EQ(0, objects(self->session));
}

TEST_F(library, object_travels_over_a_socket)
{
	uint64_t a = make(self->session, 0), b = 7;
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ASSERT_EQ(0, pyobjmem_send(self->session, a, pair[0]));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, objects(self->session));
	EXPECT_EQ(0, pyobjmem_receive(self->other, pair[1], &b));
	EXPECT_EQ(a, b);
	EXPECT_EQ(0, stats_tickets(pyobjmem_fd(self->other)));
	EXPECT_EQ(0, pyobjmem_put(self->other, b));
	EXPECT_EQ(0, objects(self->session));
	close(pair[0]);
	EXPECT_EQ(-EPIPE, pyobjmem_receive(self->other, pair[1], &b));
	close(pair[1]);
}

TEST_F(library, heap_travels_over_a_socket)
{
	struct pyobjmem *guest;
	int pair[2], heap;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	ASSERT_EQ(0, pyobjmem_send_fd(pair[0], self->heap));
	heap = pyobjmem_recv_fd(pair[1]);
	ASSERT_LE(0, heap);
	ASSERT_EQ(0, pyobjmem_open(&guest));
	EXPECT_EQ(0, pyobjmem_heap_join(guest, heap));
	EXPECT_EQ(self->number, pyobjmem_heap(guest));
	pyobjmem_close(guest);
	close(heap);
	close(pair[0]);
	close(pair[1]);
}

TEST_F(library, ticket_of_another_heap)
{
	struct pyobjmem *stranger;
	uint64_t a, b = 7;
	int ticket;

	ASSERT_EQ(0, pyobjmem_open(&stranger));
	ASSERT_EQ(0, pyobjmem_heap_create(stranger, 0, 0, NULL));
	a = make(stranger, 0);
	ticket = pyobjmem_export(stranger, a);
	ASSERT_LE(0, ticket);
	EXPECT_EQ(-EXDEV, pyobjmem_redeem(self->session, ticket, &b));
	EXPECT_EQ(-EINVAL, pyobjmem_redeem(self->session, self->heap, &b));
	EXPECT_EQ(7, b);
	EXPECT_EQ(0, close(ticket));
	pyobjmem_close(stranger);
}

/* --- Batches --------------------------------------------------------------- */

TEST_F(library, batch_builds_and_reads_back)
{
	enum { COUNT = 3000 };
	static uint64_t handles[COUNT], values[COUNT];
	static struct pyobjmem_extent extents[COUNT];
	static uint32_t payloads[COUNT];
	struct pyobjmem_batcher *batcher;
	struct pyobjmem_object object = { .payload_size = sizeof(uint32_t), .slots = 1 };
	uint32_t i;

	ASSERT_EQ(0, pyobjmem_batch_new(self->session, 0, &batcher));
	object.payload = &i;
	for (i = 0; i < COUNT; i++)
		ASSERT_EQ(i, pyobjmem_batch_create(batcher, &object, &handles[i]));
	ASSERT_EQ(0, pyobjmem_batch_flush(batcher));
	ASSERT_EQ(COUNT, objects(self->session));
	/* A ring, in which each is read through its neighbour. */
	for (i = 0; i < COUNT; i++)
		pyobjmem_batch_set_ref(batcher, handles[i], 0, handles[(i + 1) % COUNT], NULL);
	for (i = 0; i < COUNT; i++)
		pyobjmem_batch_get_ref(batcher, handles[i], 0, &values[i]);
	ASSERT_EQ(0, pyobjmem_batch_flush(batcher));
	for (i = 0; i < COUNT; i++)
		pyobjmem_batch_read(batcher, values[i], &payloads[i], 4, 0, &extents[i]);
	ASSERT_EQ(0, pyobjmem_batch_flush(batcher));
	for (i = 0; i < COUNT; i++) {
		ASSERT_EQ((i + 1) % COUNT, payloads[i]);
		ASSERT_EQ(4, extents[i].length);
		ASSERT_EQ(1, extents[i].slots);
		ASSERT_EQ(0, pyobjmem_batch_put(batcher, handles[i]));
		ASSERT_EQ(0, pyobjmem_batch_put(batcher, values[i]));
	}
	ASSERT_EQ(0, pyobjmem_batch_flush(batcher));
	EXPECT_EQ(0, holds(self->session));
	EXPECT_EQ(COUNT, objects(self->session));
	pyobjmem_batch_free(batcher);
	EXPECT_EQ(0, pyobjmem_collect(self->session, 2, NULL));
	EXPECT_EQ(0, objects(self->session));
}

TEST_F(library, batch_of_payloads_of_any_size)
{
	enum { COUNT = 600 };
	static unsigned char payload[20000], back[20000];
	static uint64_t handles[COUNT];
	struct pyobjmem_batcher *batcher;
	struct pyobjmem_object object = { .payload = payload };
	uint32_t i, size;

	ASSERT_EQ(0, pyobjmem_batch_new(self->session, 0, &batcher));
	for (i = 0; i < COUNT; i++) {
		size = i * 33 % sizeof(payload);
		fill_pattern(payload, size, i);
		object.payload_size = size;
		ASSERT_EQ(i, pyobjmem_batch_create(batcher, &object, &handles[i]));
	}
	ASSERT_EQ(0, pyobjmem_batch_flush(batcher));
	for (i = 0; i < COUNT; i++) {
		size = i * 33 % sizeof(payload);
		ASSERT_EQ(size, pyobjmem_read(self->session, handles[i], back, sizeof(back), 0));
		ASSERT_TRUE(has_pattern(back, size, i));
	}
	pyobjmem_batch_free(batcher);
}

/* Exactly what one call may carry is one call; the kernel agrees on the sum. */
TEST_F(library, batch_as_large_as_can_be)
{
	static unsigned char payload[1U << 20];
	struct pyobjmem_batcher *batcher;
	struct pyobjmem_object object = { .payload = payload };
	uint64_t small[1000], large;
	uint32_t i, left = PYOBJMEM_BATCH_BYTES;

	ASSERT_EQ(0, pyobjmem_batch_new(self->session, 0, &batcher));
	for (i = 0; i < 1000; i++) {
		object.payload_size = 1 + i % 403;
		left -= (object.payload_size + 7) / 8 * 8;
		ASSERT_EQ(i, pyobjmem_batch_create(batcher, &object, &small[i]));
	}
	object.payload_size = left;
	ASSERT_EQ(1000, pyobjmem_batch_create(batcher, &object, &large));
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(0, pyobjmem_batch_flush(batcher));
	EXPECT_EQ(1001, objects(self->session));
	object.payload_size = sizeof(payload);
	EXPECT_EQ(0, pyobjmem_batch_create(batcher, &object, &large));
	EXPECT_EQ(0, pyobjmem_batch_flush(batcher));
	pyobjmem_batch_free(batcher);
}

TEST_F(library, batch_stops_at_an_error)
{
	struct pyobjmem_batcher *batcher;
	uint64_t a = make(self->session, 1), b = make(self->session, 0), x = 7, y = 7;

	ASSERT_EQ(0, pyobjmem_batch_new(self->session, 0, &batcher));
	pyobjmem_batch_set_root(batcher, 1, a, NULL);
	pyobjmem_batch_get_ref(batcher, a, 5, &x);
	pyobjmem_batch_get_root(batcher, 1, &y);
	pyobjmem_batch_put(batcher, b);
	EXPECT_EQ(-EINVAL, pyobjmem_batch_flush(batcher));
	EXPECT_EQ(0, pyobjmem_batch_result(batcher, 0));
	EXPECT_EQ(-EINVAL, pyobjmem_batch_result(batcher, 1));
	EXPECT_EQ(-EAGAIN, pyobjmem_batch_result(batcher, 2));
	EXPECT_EQ(PYOBJMEM_NONE, x);
	EXPECT_EQ(PYOBJMEM_NONE, y);
	/* But what was put is put. */
	EXPECT_EQ(1, objects(self->session));
	EXPECT_EQ(1, pyobjmem_holds(self->session, a));
	pyobjmem_batch_free(batcher);
}

TEST_F(library, batch_goes_on_after_an_error)
{
	struct pyobjmem_batcher *batcher;
	uint64_t a = make(self->session, 1), x = 7, y = 7;

	ASSERT_EQ(0, pyobjmem_batch_new(self->session, PYOBJMEM_BATCH_CONTINUE, &batcher));
	pyobjmem_batch_set_root(batcher, 1, a, NULL);
	pyobjmem_batch_get_ref(batcher, a, 5, &x);
	pyobjmem_batch_get_root(batcher, 1, &y);
	EXPECT_EQ(-EINVAL, pyobjmem_batch_flush(batcher));
	EXPECT_EQ(-EINVAL, pyobjmem_batch_result(batcher, 1));
	EXPECT_EQ(0, pyobjmem_batch_result(batcher, 2));
	EXPECT_EQ(a, y);
	EXPECT_EQ(2, pyobjmem_holds(self->session, a));
	pyobjmem_batch_free(batcher);
}

TEST_F(library, batch_on_a_session_that_left)
{
	struct pyobjmem_batcher *batcher;
	uint64_t a = make(self->session, 1), x = 7;

	ASSERT_EQ(0, pyobjmem_batch_new(self->session, 0, &batcher));
	pyobjmem_batch_get_ref(batcher, a, 0, &x);
	pyobjmem_batch_put(batcher, a);
	ASSERT_EQ(0, pyobjmem_leave(self->session));
	EXPECT_EQ(-ENOTCONN, pyobjmem_batch_flush(batcher));
	EXPECT_EQ(-EAGAIN, pyobjmem_batch_result(batcher, 0));
	EXPECT_EQ(0, objects(self->other));
	pyobjmem_batch_free(batcher);
}

/* --- Threads --------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 1000, LEAVES = 4 };

struct crew {
	struct pyobjmem *session;
	uint64_t hub;
	bool batched;
	int failed;
};

static int juggle(struct crew *crew, __u64 *seed)
{
	uint64_t value;
	int i, error;

	for (i = 0; i < ROUNDS; i++) {
		error = pyobjmem_get_ref(crew->session, crew->hub, random_below(seed, LEAVES),
					 &value);
		if (!error && random_below(seed, 2)) {
			error = pyobjmem_get(crew->session, value);
			if (!error)
				error = pyobjmem_put(crew->session, value);
		}
		if (!error)
			error = pyobjmem_put(crew->session, value);
		if (error)
			return error;
	}
	return 0;
}

static int juggle_batched(struct crew *crew, __u64 *seed)
{
	struct pyobjmem_object object = { .slots = 1 };
	struct pyobjmem_batcher *batcher;
	uint64_t values[32], handle;
	int i, k, error = pyobjmem_batch_new(crew->session, 0, &batcher);

	for (i = 0; i < ROUNDS / 32 && !error; i++) {
		pyobjmem_batch_create(batcher, &object, &handle);
		for (k = 0; k < 32; k++)
			pyobjmem_batch_get_ref(batcher, crew->hub, random_below(seed, LEAVES),
					       &values[k]);
		error = pyobjmem_batch_flush(batcher);
		if (error)
			break;
		pyobjmem_batch_set_ref(batcher, handle, 0, values[0], NULL);
		for (k = 0; k < 32 && !error; k++)
			error = pyobjmem_batch_put(batcher, values[k]);
		if (!error)
			error = pyobjmem_batch_put(batcher, handle);
	}
	if (!error)
		error = pyobjmem_batch_flush(batcher);
	pyobjmem_batch_free(batcher);
	return error;
}

static void *crew_member(void *argument)
{
	struct crew *crew = argument;
	__u64 seed = random_seed();
	int error = crew->batched ? juggle_batched(crew, &seed) : juggle(crew, &seed);

	if (error)
		__atomic_store_n(&crew->failed, error, __ATOMIC_RELAXED);
	return NULL;
}

/* Threads take and put the same few objects; at the end the counts are exact. */
TEST_F(library, threads_count_together)
{
	struct crew crew[2] = {
		{ .session = self->session, .batched = false },
		{ .session = self->session, .batched = true },
	};
	pthread_t threads[THREADS];
	uint64_t leaf;
	int i;

	crew[0].hub = make(self->session, LEAVES);
	crew[1].hub = crew[0].hub;
	for (i = 0; i < LEAVES; i++) {
		leaf = make(self->session, 0);
		ASSERT_EQ(0, pyobjmem_set_ref(self->session, crew[0].hub, i, leaf, NULL));
		ASSERT_EQ(0, pyobjmem_put(self->session, leaf));
	}
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, crew_member, &crew[i % 2]));
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_EQ(0, crew[0].failed);
	EXPECT_EQ(0, crew[1].failed);
	EXPECT_EQ(1 + LEAVES, objects(self->session));
	EXPECT_EQ(1, holds(self->session));
}

TEST_HARNESS_MAIN
