// SPDX-License-Identifier: GPL-2.0
/*
 * Heaps and sessions: making, joining, leaving, rights, limits, what keeps a
 * heap, and whose a session is.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#include <sched.h>

#define EXEC_SESSION	"PYOBJMEM_TEST_EXEC_SESSION"

/* An operation of each kind through a session, with results as if it worked. */
static int try_everything(int session, int heap_fd, __u64 handle, int expected)
{
	struct pyobjmem_batch_entry entry = entry_get(handle);
	struct pyobjmem_heap_configure configure = { .flags = 0 };
	struct pyobjmem_inspect inspect;
	struct pyobjmem_query query;
	struct pyobjmem_stats stats;
	char byte = 0;
	const int results[] = {
		session_query(session, &query),
		heap_create(session, 0, 0, NULL, NULL),
		heap_join(session, heap_fd),
		session_leave(session),
		heap_configure(session, &configure),
		object_create(session, 0, NULL, 8, NULL, 1, NULL),
		object_get(session, handle),
		object_put(session, handle),
		ref_set(session, handle, 0, 0, NULL),
		ref_get(session, handle, 0, NULL),
		object_read(session, handle, 0, &byte, 1),
		object_write(session, handle, 0, &byte, 1),
		root_set(session, 0, 0, NULL),
		root_get(session, 0, NULL),
		object_export(session, handle),
		ticket_redeem(session, heap_fd, NULL),
		weak_hold(session, handle, 1),
		weak_upgrade(session, handle),
		weak_drop(session, handle, 1),
		heap_collect(session, 2, NULL),
		heap_freeze(session),
		heap_unfreeze(session),
		heap_stats(session, &stats),
		object_inspect(session, handle, &inspect),
		batch_run(session, &entry, 1, 0, NULL),
	};
	size_t i;

	_Static_assert(ARRAY_SIZE(results) == PYOBJMEM_OP_COUNT, "every operation");
	for (i = 0; i < ARRAY_SIZE(results); i++) {
		if (results[i] == expected)
			continue;
		fprintf(stderr, "# operation %#zx: expected %d, got %d\n", i, expected,
			results[i]);
		return 1;
	}
	return 0;
}

/* Behind exec: the session came along, and is nobody's any more. */
static void __attribute__((constructor)) after_exec(void)
{
	const char *session = getenv(EXEC_SESSION);

	if (session)
		_exit(try_everything(atoi(session), -1, 1ULL << 32, -EIO));
}

FIXTURE(heap)
{
	struct test_heap heap;
	int session;
	__u64 object;
};

FIXTURE_SETUP(heap)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	ASSERT_EQ(0, container_create(self->session, 1, &self->object));
}

FIXTURE_TEARDOWN(heap)
{
	EXPECT_CLEAN_END(&self->heap);
}

/* Create and join */

TEST_F(heap, create_returns_descriptor_and_number)
{
	struct pyobjmem_stats stats;
	struct test_heap second;

	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(self->heap.number, stats.out_heap);
	EXPECT_EQ(1, stats.out_sessions);
	ASSERT_EQ(0, test_heap_open(&second, 0));
	EXPECT_NE(self->heap.number, second.number);
	EXPECT_NE(self->heap.fd, second.fd);
	EXPECT_CLEAN_END(&second);
}

TEST_F(heap, join_tells_number_and_rights)
{
	struct pyobjmem_heap_join join = { .size = sizeof(join), .fd = self->heap.fd };
	int session = session_open();

	ASSERT_EQ(0, operate(session, PYOBJMEM_OP_HEAP_JOIN, &join));
	EXPECT_EQ(self->heap.number, join.out_heap);
	EXPECT_EQ(PYOBJMEM_RIGHTS, join.out_rights);
	EXPECT_EQ(2, stats_sessions(self->session));
	close(session);
	EXPECT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS));
}

TEST_F(heap, descriptor_without_rights_gives_none)
{
	struct pyobjmem_heap_join join = { .size = sizeof(join) };
	struct pyobjmem_heap_configure configure = { .flags = PYOBJMEM_CONFIGURE_COLLECT };
	int owner = session_open(), plain = session_open();

	ASSERT_EQ(0, heap_create(owner, 0, 0, &join.fd, NULL));
	ASSERT_EQ(0, operate(plain, PYOBJMEM_OP_HEAP_JOIN, &join));
	EXPECT_EQ(0, join.out_rights);
	EXPECT_EQ(-EPERM, heap_configure(plain, &configure));
	EXPECT_EQ(-EPERM, heap_freeze(plain));
	EXPECT_EQ(-EPERM, heap_unfreeze(plain));
	EXPECT_EQ(0, heap_configure(owner, &configure));
	/* All the rest goes. */
	EXPECT_EQ(0, container_create(plain, 1, NULL));
	EXPECT_EQ(0, heap_collect(plain, 2, NULL));
	close(join.fd);
	close(plain);
	close(owner);
}

TEST_F(heap, is_joined_once_in_the_life_of_a_session)
{
	struct test_heap second;

	ASSERT_EQ(0, test_heap_open(&second, 0));
	EXPECT_EQ(-EALREADY, heap_join(self->session, self->heap.fd));
	EXPECT_EQ(-EALREADY, heap_join(self->session, second.fd));
	EXPECT_EQ(-EALREADY, heap_create(self->session, 0, 0, NULL, NULL));
	EXPECT_CLEAN_END(&second);
}

TEST_F(heap, is_joined_by_many_sessions)
{
	int session[200];
	__u64 handle;
	size_t i;

	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	for (i = 0; i < ARRAY_SIZE(session); i++) {
		session[i] = test_heap_join(&self->heap);
		ASSERT_LE(0, session[i]);
		ASSERT_EQ(0, root_get(session[i], 0, &handle));
		ASSERT_EQ(self->object, handle);
	}
	EXPECT_EQ(1 + ARRAY_SIZE(session), stats_sessions(self->session));
	ASSERT_VERIFIED(self->heap.number);
	for (i = 0; i < ARRAY_SIZE(session); i++)
		close(session[i]);
	EXPECT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS));
}

/* What keeps a heap */

TEST_F(heap, goes_with_its_last_session_and_descriptor)
{
	__u64 number = self->heap.number;

	close(self->heap.fd);
	EXPECT_TRUE(heap_exists(number));
	EXPECT_EQ(1, stats_objects(self->session));
	close(self->session);
	self->heap.fd = -1;
	self->heap.session = -1;
	EXPECT_HEAP_GONE(number);
}

TEST_F(heap, lives_by_its_descriptor)
{
	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	close(self->session);
	self->heap.session = -1;
	sleep_us(100000);
	ASSERT_TRUE(heap_exists(self->heap.number));
	self->heap.session = test_heap_join(&self->heap);
	EXPECT_EQ(1, stats_objects(self->heap.session));
}

TEST_F(heap, descriptor_in_a_queue_keeps_it)
{
	int sockets[2];
	__u64 number = self->heap.number;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	ASSERT_EQ(0, descriptor_send(sockets[0], self->heap.fd));
	test_heap_close(&self->heap);
	sleep_us(100000);
	EXPECT_TRUE(heap_exists(number));
	close(sockets[0]);
	close(sockets[1]);
	EXPECT_HEAP_GONE(number);
}

/* Cycles, roots and much besides: nobody has to give anything back. */
TEST_F(heap, goes_with_all_that_is_in_it)
{
	__u64 a, b;
	int i;

	for (i = 0; i < 3000; i++) {
		ASSERT_EQ(0, object_create(self->session, i & 1, NULL, i, NULL, 1, &a));
		ASSERT_EQ(0, object_create(self->session, 0, NULL, 100, &a, 1, &b));
		ASSERT_EQ(0, ref_set(self->session, a, 0, b, NULL));
		if (i % 3)
			ASSERT_EQ(0, object_put(self->session, a));
		if (i < PYOBJMEM_ROOTS)
			ASSERT_EQ(0, root_set(self->session, i, b, NULL));
	}
	ASSERT_VERIFIED(self->heap.number);
}

TEST_F(heap, two_do_not_mix)
{
	struct test_heap second;
	struct pyobjmem_stats first, other;
	__u64 handle;
	int i;

	ASSERT_EQ(0, test_heap_open(&second, 0));
	for (i = 0; i < 500; i++) {
		ASSERT_EQ(0, container_create(second.session, 1, &handle));
		ASSERT_EQ(0, ref_set(second.session, handle, 0, handle, NULL));
		ASSERT_EQ(0, object_put(second.session, handle));
	}
	ASSERT_EQ(0, heap_stats(self->session, &first));
	EXPECT_EQ(1, first.out_objects);
	EXPECT_EQ(1, first.out_created);
	EXPECT_EQ(POOL_BYTES, first.out_page_bytes);
	/* A collection is of one heap. */
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	ASSERT_EQ(0, heap_stats(second.session, &other));
	EXPECT_EQ(500, other.out_objects);
	EXPECT_EQ(0, other.out_gc[2].collections);
	ASSERT_EQ(0, heap_collect(second.session, 2, NULL));
	EXPECT_EQ(0, stats_objects(second.session));
	EXPECT_EQ(1, stats_objects(self->session));
	EXPECT_CLEAN_END(&second);
}

/* LEAVE and close */

TEST_F(heap, leave_drops_what_was_held)
{
	int session = test_heap_join(&self->heap);
	__u64 handle;
	int i;

	for (i = 0; i < 5000; i++) {
		ASSERT_EQ(0, container_create(session, 1, &handle));
		if (i % 2)
			ASSERT_EQ(0, object_get(session, handle));
		if (i % 100 == 0)
			ASSERT_EQ(0, ref_set(session, handle, 0, handle, NULL));
	}
	ASSERT_EQ(5001, stats_objects(self->session));
	ASSERT_EQ(0, session_leave(session));
	/* It is done when the call returns; what names itself is left over. */
	EXPECT_EQ(1 + 50, stats_objects(self->session));
	EXPECT_EQ(1, stats_sessions(self->session));
	ASSERT_VERIFIED(self->heap.number);
	EXPECT_EQ(-ENOTCONN, session_leave(session));
	close(session);
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EQ(1, stats_objects(self->session));
}

TEST_F(heap, leave_of_the_last_session_lets_the_heap_go)
{
	__u64 number = self->heap.number;

	close(self->heap.fd);
	self->heap.fd = -1;
	ASSERT_EQ(0, session_leave(self->session));
	/* The session's file is still open. */
	EXPECT_HEAP_GONE(number);
	close(self->session);
	self->heap.session = -1;
}

TEST_F(heap, query_works_after_leave)
{
	struct pyobjmem_query query;
	int session = test_heap_join(&self->heap);

	ASSERT_EQ(0, session_leave(session));
	EXPECT_EQ(0, session_query(session, &query));
	close(session);
}

TEST_F(heap, close_drops_what_was_held)
{
	int session = test_heap_join(&self->heap);
	int i;

	for (i = 0; i < 2000; i++)
		ASSERT_EQ(0, container_create(session, 1, NULL));
	close(session);
	EXPECT_TRUE(wait_until(stats_objects(self->session) == 1, SOON_MS));
	EXPECT_EQ(1, stats_sessions(self->session));
}

TEST_F(heap, a_duplicate_keeps_the_session)
{
	int session = test_heap_join(&self->heap);
	int copy = dup(session);
	__u64 handle;

	ASSERT_EQ(0, container_create(session, 1, &handle));
	close(session);
	EXPECT_EQ(0, object_get(copy, handle));
	EXPECT_EQ(2, stats_objects(copy));
	close(copy);
	EXPECT_TRUE(wait_until(stats_objects(self->session) == 1, SOON_MS));
}

/* A session is the address space's that opened it */

static int in_fork_child(struct child_side *side)
{
	FIXTURE_DATA(heap) *self = side->argument;

	if (try_everything(self->session, self->heap.fd, self->object, -EIO))
		return 1;
	/* Another session is another matter: the heap's descriptor is anybody's. */
	int session = test_heap_join(&self->heap);

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(stats_objects(session) == 1);
	return 0;
}

TEST_F(heap, a_fork_child_cannot_use_the_session)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, in_fork_child, self));
	EXPECT_EQ(0, child_end(&child));
	/* And ended nothing by going. */
	EXPECT_EQ(0, object_get(self->session, self->object));
	EXPECT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS));
}

static int exec_with_session(struct child_side *side)
{
	struct test_heap *heap = side->argument;
	int session = test_heap_join(heap);
	char number[16];
	char *const arguments[] = { "heap", NULL };

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!container_create(session, 1, NULL));
	CHILD_CHECK(!fcntl(session, F_SETFD, 0));
	snprintf(number, sizeof(number), "%d", session);
	CHILD_CHECK(!setenv(EXEC_SESSION, number, 1));
	execv("/proc/self/exe", arguments);
	return 1;
}

TEST_F(heap, exec_ends_the_session)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, exec_with_session, &self->heap));
	EXPECT_EQ(0, child_end(&child));
	EXPECT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS));
	EXPECT_EQ(1, stats_objects(self->session));
}

/* Sent to another process, the session's descriptor is of no use there. */
static int use_received_session(struct child_side *side)
{
	int session = descriptor_receive(*(int *)side->argument);

	CHILD_CHECK(session >= 0);
	return try_everything(session, -1, 1ULL << 32, -EIO);
}

TEST_F(heap, a_session_that_was_sent_cannot_be_used)
{
	struct child child;
	int sockets[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	ASSERT_EQ(0, child_start(&child, use_received_session, &sockets[1]));
	ASSERT_EQ(0, descriptor_send(sockets[0], self->session));
	EXPECT_EQ(0, child_end(&child));
	EXPECT_EQ(0, object_get(self->session, self->object));
	close(sockets[0]);
	close(sockets[1]);
}

static int share_memory(void *argument)
{
	FIXTURE_DATA(heap) *self = argument;

	_exit(object_get(self->session, self->object) ? 1 : 0);
}

/* It is the memory that counts, not the process. */
TEST_F(heap, a_process_that_shares_the_memory_can_use_the_session)
{
	static char stack[65536] __attribute__((aligned(16)));
	struct pyobjmem_inspect inspect;
	int status;
	pid_t pid;

	pid = clone(share_memory, stack + sizeof(stack), CLONE_VM | CLONE_FILES | SIGCHLD, self);
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, object_inspect(self->session, self->object, &inspect));
	EXPECT_EQ(2, inspect.out_takes);
	EXPECT_EQ(1, inspect.out_external);
}

static void *use_in_thread(void *argument)
{
	FIXTURE_DATA(heap) *self = argument;

	return (void *)(intptr_t)object_get(self->session, self->object);
}

TEST_F(heap, a_thread_can_use_the_session)
{
	pthread_t thread;
	void *result;

	ASSERT_EQ(0, pthread_create(&thread, NULL, use_in_thread, self));
	ASSERT_EQ(0, pthread_join(thread, &result));
	EXPECT_EQ(NULL, result);
}

/* Configuration */

TEST_F(heap, configure_lowers_the_limits)
{
	struct pyobjmem_heap_configure configure = {
		.flags = PYOBJMEM_CONFIGURE_BYTES | PYOBJMEM_CONFIGURE_OBJECTS,
		.bytes = 100 * POOL_BYTES,
		.objects = 50,
	};
	struct pyobjmem_stats stats;

	ASSERT_EQ(0, heap_configure(self->session, &configure));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(100 * POOL_BYTES, stats.out_bytes_limit);
	EXPECT_EQ(50, stats.out_objects_limit);
	/* To what they are, and to what is in use. */
	EXPECT_EQ(0, heap_configure(self->session, &configure));
	EXPECT_EQ(0, heap_limit_objects(self->session, 1));
	EXPECT_EQ(0, heap_limit_bytes(self->session, POOL_BYTES));
	EXPECT_EQ(-EINVAL, heap_limit_objects(self->session, 0));
	EXPECT_EQ(-EINVAL, heap_limit_bytes(self->session, 0));
	EXPECT_EQ(-EINVAL, heap_limit_objects(self->session, 2));
	EXPECT_EQ(-EINVAL, heap_limit_bytes(self->session, 2 * POOL_BYTES));
}

TEST_F(heap, configure_sets_the_thresholds)
{
	struct pyobjmem_heap_configure configure = {
		.flags = PYOBJMEM_CONFIGURE_THRESHOLDS,
		.thresholds = { 123, 45, 6 },
	};
	struct test_heap fresh;
	struct pyobjmem_stats stats;

	/* CPython's, before anybody sets them. */
	ASSERT_EQ(0, test_heap_open(&fresh, 0));
	ASSERT_EQ(0, heap_stats(fresh.session, &stats));
	EXPECT_EQ(700, stats.out_gc[0].threshold);
	EXPECT_EQ(10, stats.out_gc[1].threshold);
	EXPECT_EQ(10, stats.out_gc[2].threshold);
	EXPECT_CLEAN_END(&fresh);

	ASSERT_EQ(0, heap_configure(self->session, &configure));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(123, stats.out_gc[0].threshold);
	EXPECT_EQ(45, stats.out_gc[1].threshold);
	EXPECT_EQ(6, stats.out_gc[2].threshold);
}

TEST_F(heap, configure_of_nothing)
{
	struct pyobjmem_heap_configure configure = { .bytes = 1, .objects = 0, .collect = 7 };

	EXPECT_EQ(0, heap_configure(self->session, &configure));
}

TEST_F(heap, a_joined_session_with_the_right_may_configure)
{
	int session = test_heap_join(&self->heap);
	struct pyobjmem_stats stats;

	ASSERT_EQ(0, heap_limit_objects(session, 77));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(77, stats.out_objects_limit);
	close(session);
}

/* debugfs */

TEST_F(heap, debugfs_stats_agree)
{
	struct pyobjmem_stats stats;
	static char text[8192];
	char *line;

	ASSERT_EQ(0, heap_stats(self->session, &stats));
	ASSERT_LT(0, heap_file(self->heap.number, "stats", text, sizeof(text)));
#define EXPECT_LINE(name) do {							\
	line = strstr(text, #name " ");						\
	ASSERT_NE(NULL, line);							\
	EXPECT_EQ(stats.out_##name, strtoull(line + sizeof(#name), NULL, 0)) {	\
		TH_LOG(#name);							\
	}									\
} while (0)
	EXPECT_LINE(objects);
	EXPECT_LINE(created);
	EXPECT_LINE(freed_counted);
	EXPECT_LINE(freed_collected);
	EXPECT_LINE(arenas);
	EXPECT_LINE(arena_bytes);
	EXPECT_LINE(used_bytes);
	EXPECT_LINE(free_bytes);
	EXPECT_LINE(unused_bytes);
	EXPECT_LINE(slack_bytes);
	EXPECT_LINE(page_bytes);
	EXPECT_LINE(bytes_limit);
	EXPECT_LINE(objects_limit);
	EXPECT_LINE(sessions);
	EXPECT_LINE(tickets);
	EXPECT_LINE(candidates);
	EXPECT_LINE(permanent);
}

TEST_F(heap, debugfs_sessions_lists_them)
{
	static char text[4096];
	char expected[64];
	int session = test_heap_join(&self->heap);

	ASSERT_LE(0, session);
	ASSERT_LT(0, heap_file(self->heap.number, "sessions", text, sizeof(text)));
	snprintf(expected, sizeof(expected), "%d heap 1 0 0\n", getpid());
	EXPECT_NE(NULL, strstr(text, expected));
	snprintf(expected, sizeof(expected), "%d heap 0 0 0\n", getpid());
	EXPECT_NE(NULL, strstr(text, expected));
	close(session);
}

TEST_F(heap, fdinfo_tells_the_heap)
{
	char path[64], text[1024], expected[64];
	int ticket = object_export(self->session, self->object);
	const int fds[] = { self->session, self->heap.fd, ticket };
	size_t i;

	snprintf(expected, sizeof(expected), "heap:\t%llu\n",
		 (unsigned long long)self->heap.number);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fds[i]);
		ASSERT_LT(0, file_read(path, text, sizeof(text)));
		EXPECT_NE(NULL, strstr(text, expected));
	}
	close(ticket);
}

/* Limits of a user, by the module's parameters */

FIXTURE(limits)
{
	__u64 saved[7];
	int anchor;		/* a session: what the user has is forgotten without any */
};

static const char * const parameters[] = {
	"heap_bytes", "heap_objects", "session_holds", "session_watches", "user_bytes",
	"user_sessions", "user_heaps",
};

FIXTURE_SETUP(limits)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(parameters); i++)
		ASSERT_EQ(0, parameter_read(parameters[i], &self->saved[i]));
	self->anchor = session_open();
	ASSERT_LE(0, self->anchor);
}

FIXTURE_TEARDOWN(limits)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(parameters); i++)
		EXPECT_EQ(0, parameter_write(parameters[i], self->saved[i]));
	close(self->anchor);
}

TEST_F(limits, of_a_new_heap)
{
	struct pyobjmem_query query;
	struct pyobjmem_stats stats;
	struct test_heap heap;

	ASSERT_EQ(0, parameter_write("heap_bytes", 50 * POOL_BYTES));
	ASSERT_EQ(0, parameter_write("heap_objects", 12));
	ASSERT_EQ(0, test_heap_open(&heap, 0));
	ASSERT_EQ(0, heap_stats(heap.session, &stats));
	EXPECT_EQ(50 * POOL_BYTES, stats.out_bytes_limit);
	EXPECT_EQ(12, stats.out_objects_limit);
	ASSERT_EQ(0, session_query(heap.session, &query));
	EXPECT_EQ(50 * POOL_BYTES, query.out_heap_bytes);
	EXPECT_EQ(12, query.out_heap_objects);
	/* The next one's; this one keeps what it has. */
	ASSERT_EQ(0, parameter_write("heap_objects", 5));
	ASSERT_EQ(0, heap_stats(heap.session, &stats));
	EXPECT_EQ(12, stats.out_objects_limit);
	EXPECT_CLEAN_END(&heap);
}

TEST_F(limits, of_sessions_edquot)
{
	int session[3];
	int i;

	ASSERT_EQ(0, parameter_write("user_sessions", 1 + 3));
	for (i = 0; i < 3; i++) {
		session[i] = session_open();
		ASSERT_LE(0, session[i]);
	}
	EXPECT_EQ(-EDQUOT, session_open());
	close(session[1]);
	/* An ended session's structure may take a moment to go. */
	EXPECT_TRUE(wait_until((session[1] = session_open()) >= 0, SOON_MS));
	EXPECT_EQ(-EDQUOT, session_open());
	for (i = 0; i < 3; i++)
		close(session[i]);
}

TEST_F(limits, of_sessions_are_not_used_up)
{
	int i, session;

	ASSERT_EQ(0, parameter_write("user_sessions", 8));
	for (i = 0; i < 100; i++) {
		EXPECT_TRUE(wait_until((session = session_open()) >= 0, SOON_MS));
		close(session);
	}
}

TEST_F(limits, of_heaps_edquot)
{
	struct test_heap heap[2];
	int session = session_open();

	ASSERT_EQ(0, parameter_write("user_heaps", 2));
	/* The heap of the test before may take a moment to go. */
	ASSERT_TRUE(wait_until(!test_heap_open(&heap[0], 0), SOON_MS));
	ASSERT_TRUE(wait_until(!test_heap_open(&heap[1], 0), SOON_MS));
	EXPECT_EQ(-EDQUOT, heap_create(session, 0, 0, NULL, NULL));
	EXPECT_CLEAN_END(&heap[0]);
	EXPECT_TRUE(wait_until(!heap_create(session, 0, 0, &heap[0].fd, NULL), SOON_MS));
	close(heap[0].fd);
	close(session);
	EXPECT_CLEAN_END(&heap[1]);
}

TEST_F(limits, of_heaps_are_not_used_up)
{
	struct test_heap heap;
	int i;

	ASSERT_EQ(0, parameter_write("user_heaps", 2));
	for (i = 0; i < 50; i++) {
		EXPECT_TRUE(wait_until(!test_heap_open(&heap, 0), SOON_MS));
		EXPECT_CLEAN_END(&heap);
	}
}

TEST_F(limits, of_bytes_edquot)
{
	struct test_heap heap[2];
	struct pyobjmem_stats stats;
	__u64 handle, large;
	unsigned int i;
	int rc;

	ASSERT_EQ(0, test_heap_open(&heap[0], 0));
	ASSERT_EQ(0, test_heap_open(&heap[1], 0));
	ASSERT_EQ(0, object_create(heap[0].session, 0, NULL, 8 * POOL_BYTES - OVERHEAD_BYTES,
				   NULL, 0, &large));
	ASSERT_EQ(0, parameter_write("user_bytes", 16 * POOL_BYTES));
	/* What one heap has, the other cannot have. */
	for (i = 0; !(rc = object_create(heap[1].session, 0, NULL, 512 - OVERHEAD_BYTES, NULL, 0,
					 &handle)) && i < 1000; i++)
		;
	EXPECT_EQ(-EDQUOT, rc);
	/* What the kernel needs to keep account of it may be counted in. */
	EXPECT_LT(0, i);
	EXPECT_GE(8 * POOL_BYTES / 512, i);
	EXPECT_EQ(-EDQUOT, object_create(heap[1].session, PYOBJMEM_CREATE_MUTABLE, NULL,
					 POOL_BYTES, NULL, 0, NULL));
	ASSERT_EQ(0, object_put(heap[0].session, large));
	for (i = 0; i < 2 * POOL_BYTES / 512; i++)
		EXPECT_EQ(0, object_create(heap[1].session, 0, NULL, 512 - OVERHEAD_BYTES, NULL, 0,
					   NULL));
	ASSERT_EQ(0, heap_stats(heap[1].session, &stats));
	EXPECT_GE(16 * POOL_BYTES, stats.out_page_bytes);
	ASSERT_VERIFIED(heap[1].number);
	EXPECT_CLEAN_END(&heap[0]);
	EXPECT_CLEAN_END(&heap[1]);
}

/* Bytes of heaps that went, with all in them, are the user's again. */
TEST_F(limits, of_bytes_are_not_used_up)
{
	struct test_heap heap;
	int i;

	ASSERT_EQ(0, parameter_write("user_bytes", 20 * POOL_BYTES));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, test_heap_open(&heap, 0));
		EXPECT_TRUE(wait_until(!object_create(heap.session, 0, NULL, 10 * POOL_BYTES, NULL,
						      0, NULL), SOON_MS));
		EXPECT_EQ(0, object_create(heap.session, PYOBJMEM_CREATE_MUTABLE, NULL, 100, NULL,
					   0, NULL));
		EXPECT_CLEAN_END(&heap);
	}
}

TEST_HARNESS_MAIN
