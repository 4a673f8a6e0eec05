// SPDX-License-Identifier: GPL-2.0
/*
 * Many at once: threads of one session, sessions of one heap, processes. What
 * each gets is one of a few answers; afterwards every count is right and
 * nothing is left.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#define WORKERS_MAX	8
#define SHARED		32
#define RUN_MS		1000

struct shared {
	struct test_heap heap;
	__u64 handle[SHARED];	/* anybody's, maybe dead */
	bool stop;
	int sockets[2];		/* for tickets */
	char unexpected[200];	/* the first answer that should not be */
	unsigned long operations;
};

struct worker {
	struct shared *shared;
	pthread_t thread;
	__u64 seed;
	int session;
};

FIXTURE(threads)
{
	struct shared *shared;
	__u64 seed;
};

FIXTURE_SETUP(threads)
{
	/* Children work on it too. */
	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	ASSERT_EQ(0, test_heap_open(&self->shared->heap, 0));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
				self->shared->sockets));
	self->seed = random_seed();
	TH_LOG("seed %#llx", (unsigned long long)self->seed);
}

FIXTURE_TEARDOWN(threads)
{
	close(self->shared->sockets[0]);
	close(self->shared->sockets[1]);
	EXPECT_CLEAN_END(&self->shared->heap);
}

static bool stopped(struct worker *worker)
{
	__atomic_fetch_add(&worker->shared->operations, 1, __ATOMIC_RELAXED);
	return __atomic_load_n(&worker->shared->stop, __ATOMIC_RELAXED);
}

/* Note an answer that is not among the expected ones, a list that ends with 1. */
static int answer(struct worker *worker, const char *what, int rc, ...)
{
	struct shared *shared = worker->shared;
	va_list expected;
	int one;

	va_start(expected, rc);
	do {
		one = va_arg(expected, int);
	} while (one != 1 && one != rc);
	va_end(expected);
	if (one == 1 && !__atomic_exchange_n(&shared->stop, true, __ATOMIC_SEQ_CST))
		snprintf(shared->unexpected, sizeof(shared->unexpected), "%s gave %d (%s)", what,
			 rc, strerror(-rc));
	return rc;
}

#define ANSWER(worker, call, ...) answer(worker, #call, call, 0, ##__VA_ARGS__, 1)

static __u64 *any_handle(struct worker *worker)
{
	return &worker->shared->handle[random_below(&worker->seed, SHARED)];
}

static __u64 load(__u64 *handle)
{
	return __atomic_load_n(handle, __ATOMIC_RELAXED);
}

static void store(__u64 *handle, __u64 value)
{
	__atomic_store_n(handle, value, __ATOMIC_RELAXED);
}

/* --- Workers ---------------------------------------------------------------- */

/* What another thread may have put away, or another session never held. */
#define MAYBE	-ESTALE, -ENOENT, -EINVAL

static void *creates(void *argument)
{
	struct worker *worker = argument;
	__u64 handle = 0, edges[3];

	while (!stopped(worker)) {
		edges[0] = load(any_handle(worker));
		edges[1] = 0;
		edges[2] = load(any_handle(worker));
		if (ANSWER(worker, object_create(worker->session, 0, "x", 1, edges, 3, &handle),
			   -ESTALE, -ENOENT) &&
		    ANSWER(worker, object_create(worker->session, PYOBJMEM_CREATE_MUTABLE, "y", 1,
						 NULL, 3, &handle)))
			continue;
		store(any_handle(worker), handle);
	}
	return NULL;
}

static void *gets_and_puts(void *argument)
{
	struct worker *worker = argument;
	__u64 handle = 0;
	bool put;

	while (!stopped(worker)) {
		handle = load(any_handle(worker));
		put = random_below(&worker->seed, 2);
		if (put)
			ANSWER(worker, object_put(worker->session, handle), MAYBE);
		else
			ANSWER(worker, object_get(worker->session, handle), MAYBE);
	}
	return NULL;
}

static void *sets_refs(void *argument)
{
	struct worker *worker = argument;
	__u64 handle, value, old = 0;
	__u32 slot;

	while (!stopped(worker)) {
		handle = load(any_handle(worker));
		value = random_below(&worker->seed, 3) ? load(any_handle(worker)) : 0;
		slot = random_below(&worker->seed, 3);
		if (random_below(&worker->seed, 2))
			ANSWER(worker, ref_set(worker->session, handle, slot, value, NULL), MAYBE);
		else
			ANSWER(worker, ref_compare_set(worker->session, handle, slot, old, value,
						       &old), MAYBE, -ECANCELED);
	}
	return NULL;
}

static void *gets_refs(void *argument)
{
	struct worker *worker = argument;
	__u64 handle, value = 0;
	char byte;

	while (!stopped(worker)) {
		handle = load(any_handle(worker));
		if (ANSWER(worker, ref_get(worker->session, handle,
					   random_below(&worker->seed, 3), &value), MAYBE))
			continue;
		if (!value)
			continue;
		/* It is held now, unless another thread of the session puts it. */
		if (object_read(worker->session, value, 0, &byte, 1) == 1 &&
		    byte != 'x' && byte != 'y' && byte != 'z')
			answer(worker, "read of another content", -EBADMSG, 1);
		ANSWER(worker, object_put(worker->session, value), MAYBE);
	}
	return NULL;
}

static void *moves_roots(void *argument)
{
	struct worker *worker = argument;
	__u64 handle = 0;
	__u32 root;

	while (!stopped(worker)) {
		root = random_below(&worker->seed, 4);
		if (random_below(&worker->seed, 2)) {
			ANSWER(worker, root_set(worker->session, root,
						random_below(&worker->seed, 3) ?
						load(any_handle(worker)) : 0, NULL), MAYBE);
			continue;
		}
		if (ANSWER(worker, root_get(worker->session, root, &handle)))
			continue;
		if (handle)
			ANSWER(worker, object_put(worker->session, handle), MAYBE);
	}
	return NULL;
}

static void *collects(void *argument)
{
	struct worker *worker = argument;
	struct pyobjmem_collect collect;

	while (!stopped(worker)) {
		if (ANSWER(worker, heap_collect(worker->session, random_below(&worker->seed, 3),
						&collect)))
			continue;
		if (collect.out_visited != collect.out_collected + collect.out_survivors)
			answer(worker, "figures of COLLECT", -EBADMSG, 1);
	}
	return NULL;
}

static void *freezes(void *argument)
{
	struct worker *worker = argument;

	while (!stopped(worker)) {
		ANSWER(worker, heap_freeze(worker->session));
		sleep_us(random_below(&worker->seed, 2000));
		ANSWER(worker, heap_unfreeze(worker->session));
	}
	return NULL;
}

static void *looks(void *argument)
{
	struct worker *worker = argument;
	struct pyobjmem_inspect inspect;
	struct pyobjmem_stats stats;
	__u64 edges[3];

	while (!stopped(worker)) {
		ANSWER(worker, object_edges(worker->session, load(any_handle(worker)), edges, 3,
					    &inspect), MAYBE);
		if (ANSWER(worker, heap_stats(worker->session, &stats)))
			continue;
		if (!stats_bytes_add_up(&stats))
			answer(worker, "sum of bytes", -EBADMSG, 1);
	}
	return NULL;
}

static void *verifies(void *argument)
{
	struct worker *worker = argument;

	while (!stopped(worker)) {
		if (strcmp(heap_verify(worker->shared->heap.number), "ok\n"))
			answer(worker, heap_verify(worker->shared->heap.number), -EBADMSG, 1);
		sleep_us(20000);
	}
	return NULL;
}

static void *sends_tickets(void *argument)
{
	struct worker *worker = argument;
	int ticket;

	while (!stopped(worker)) {
		ticket = object_export(worker->session, load(any_handle(worker)));
		if (ticket < 0) {
			answer(worker, "EXPORT", ticket, MAYBE, 1);
			continue;
		}
		if (descriptor_send(worker->shared->sockets[0], ticket))
			sleep_us(100);		/* the queue is full */
		close(ticket);
	}
	return NULL;
}

static void *receives_tickets(void *argument)
{
	struct worker *worker = argument;
	__u64 handle = 0;
	int ticket;

	while (!stopped(worker)) {
		ticket = descriptor_receive(worker->shared->sockets[1]);
		if (ticket < 0) {
			sleep_us(100);
			continue;
		}
		if (!ANSWER(worker, ticket_redeem(worker->session, ticket, &handle)))
			store(any_handle(worker), handle);
		close(ticket);
	}
	return NULL;
}

/* Sessions that come, hold a little, and go in one way or the other. */
static void *comes_and_goes(void *argument)
{
	struct worker *worker = argument;
	__u64 handle = 0;
	int session, i;

	while (!stopped(worker)) {
		session = test_heap_join(&worker->shared->heap);
		if (session < 0) {
			answer(worker, "join", session, 1);
			break;
		}
		for (i = 0; i < 10; i++) {
			ANSWER(worker, root_get(session, random_below(&worker->seed, 4), &handle));
			ANSWER(worker, object_create(session, 0, "z", 1, &handle, 1, &handle));
			if (i % 3 == 0)
				ANSWER(worker, root_set(session, random_below(&worker->seed, 4),
							handle, NULL));
		}
		if (random_below(&worker->seed, 2))
			ANSWER(worker, session_leave(session));
		close(session);
	}
	return NULL;
}

static void *batches(void *argument)
{
	struct pyobjmem_batch_entry entries[100];
	struct worker *worker = argument;
	__u64 handle = 0;
	int i;

	while (!stopped(worker)) {
		for (i = 0; i < 100; i++) {
			handle = load(any_handle(worker));
			switch (random_below(&worker->seed, 6)) {
			case 0:
				entries[i] = entry_get(handle);
				break;
			case 1:
				entries[i] = entry_put(handle);
				break;
			case 2:
				entries[i] = entry_set_ref(handle, i % 3,
							   load(any_handle(worker)));
				break;
			case 3:
				entries[i] = entry_get_ref(handle, i % 3);
				break;
			case 4:
				entries[i] = entry_get_root(i % 4);
				break;
			default:
				entries[i] = entry_create(0, "x", 1, 3);
				break;
			}
		}
		ANSWER(worker, batch_run(worker->session, entries, 100, PYOBJMEM_BATCH_CONTINUE,
					 NULL));
		for (i = 0; i < 100; i++) {
			answer(worker, "an entry", entries[i].out_result, 0, MAYBE, 1);
			if (entries[i].op == PYOBJMEM_OP_CREATE && !entries[i].out_result)
				store(any_handle(worker), entries[i].command.create.out_handle);
		}
	}
	return NULL;
}

/* Objects of many edges are linked in pieces: others may put them meanwhile. */
static void *creates_wide(void *argument)
{
	struct worker *worker = argument;
	__u64 edges[2000], handle = 0;
	int i;

	while (!stopped(worker)) {
		if (ANSWER(worker, object_create(worker->session, 0, "x", 1, NULL, 3, &handle)))
			continue;
		for (i = 0; i < 2000; i++)
			edges[i] = handle;
		if (!ANSWER(worker, object_create(worker->session, 0, "x", 1, edges, 2000,
						  &handle), -ESTALE, -ENOENT))
			store(any_handle(worker), handle);
		ANSWER(worker, object_put(worker->session, edges[0]), MAYBE);
	}
	return NULL;
}

/* The next handle that CREATE gives is guessed and put before it is told. */
static void *guesses(void *argument)
{
	struct worker *worker = argument;
	__u64 handle = 0;

	while (!stopped(worker)) {
		handle = load(any_handle(worker)) + ((__u64)random_below(&worker->seed, 3) << 32);
		ANSWER(worker, object_put(worker->session, handle), MAYBE);
	}
	return NULL;
}

/* --- Runs ------------------------------------------------------------------- */

/* In one process: each worker with a session of its own, or all with one. */
static int run_workers(struct shared *shared, void *(* const *functions)(void *),
		       unsigned int count, bool one_session, __u64 seed, unsigned int ms)
{
	struct worker workers[WORKERS_MAX];
	unsigned int i;
	int first = -1;

	for (i = 0; i < count; i++) {
		workers[i] = (struct worker){ .shared = shared, .seed = seed + i * 12345 + 1 };
		if (!one_session || !i)
			first = test_heap_join(&shared->heap);
		if (first < 0)
			return first;
		workers[i].session = first;
		if (pthread_create(&workers[i].thread, NULL, functions[i], &workers[i]))
			return -EAGAIN;
	}
	while (ms && !__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		sleep_us(10000);
		ms -= ms < 10 ? ms : 10;
	}
	__atomic_store_n(&shared->stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
	for (i = 0; i < count; i++)
		if (!i || !one_session)
			close(workers[i].session);
	return 0;
}

/* All are gone: what is left are roots, tickets in the queue, and garbage. */
static void expect_nothing_left(struct __test_metadata *_metadata, FIXTURE_DATA(threads) *self)
{
	struct shared *shared = self->shared;
	int session = shared->heap.session, fd;
	struct pyobjmem_stats stats;
	__u32 root;

	EXPECT_STREQ("", shared->unexpected);
	EXPECT_LT(100, shared->operations);
	while ((fd = descriptor_receive(shared->sockets[1])) >= 0)
		close(fd);
	ASSERT_TRUE(wait_until(stats_sessions(session) == 1, SOON_MS));
	ASSERT_VERIFIED(shared->heap.number);
	for (root = 0; root < PYOBJMEM_ROOTS; root++)
		ASSERT_EQ(0, root_set(session, root, 0, NULL));
	ASSERT_EQ(0, heap_unfreeze(session));
	ASSERT_EQ(0, heap_collect(session, 2, NULL));
	ASSERT_EQ(0, heap_stats(session, &stats));
	EXPECT_EQ(0, stats.out_tickets);
	EXPECT_EQ(0, stats.out_objects);
	EXPECT_EQ(0, stats.out_candidates);
	EXPECT_EQ(0, stats.out_arenas);
	EXPECT_EQ(0, stats.out_page_bytes);
	EXPECT_EQ(stats.out_created, stats.out_freed_counted + stats.out_freed_collected);
	ASSERT_VERIFIED(shared->heap.number);
}

#define RUN(one_session, ...) do {						\
	static void *(* const functions[])(void *) = { __VA_ARGS__ };		\
										\
	ASSERT_EQ(0, run_workers(self->shared, functions, ARRAY_SIZE(functions),	\
				 one_session, self->seed, RUN_MS));		\
	expect_nothing_left(_metadata, self);					\
} while (0)

TEST_F(threads, counts_of_one_session)
{
	RUN(true, creates, gets_and_puts, gets_and_puts, gets_refs);
}

TEST_F(threads, set_ref_against_put)
{
	RUN(true, creates, sets_refs, sets_refs, gets_and_puts);
}

TEST_F(threads, set_ref_against_collect)
{
	RUN(true, creates, sets_refs, gets_and_puts, collects);
}

TEST_F(threads, get_ref_against_collect)
{
	RUN(true, creates, sets_refs, gets_refs, gets_and_puts, collects);
}

TEST_F(threads, roots_against_collect)
{
	RUN(false, comes_and_goes, moves_roots, moves_roots, collects);
}

TEST_F(threads, tickets_against_collect)
{
	RUN(true, creates, sets_refs, sends_tickets, receives_tickets, gets_and_puts, collects);
}

TEST_F(threads, sessions_against_collect)
{
	RUN(false, comes_and_goes, comes_and_goes, collects, collects);
}

TEST_F(threads, two_collections_at_once)
{
	RUN(true, creates, sets_refs, gets_and_puts, collects, collects, collects);
}

TEST_F(threads, freeze_against_collect)
{
	RUN(true, creates, sets_refs, gets_and_puts, collects, freezes);
}

TEST_F(threads, batches_against_everything)
{
	RUN(true, batches, batches, sets_refs, collects, looks, moves_roots);
}

TEST_F(threads, wide_objects_against_put)
{
	RUN(true, creates_wide, creates_wide, gets_and_puts, guesses, collects);
}

TEST_F(threads, verify_against_everything)
{
	RUN(true, creates, batches, gets_and_puts, sets_refs, verifies, collects);
}

TEST_F(threads, collections_by_themselves_against_everything)
{
	ASSERT_EQ(0, heap_automatic(self->shared->heap.session, true));
	RUN(true, creates, batches, gets_and_puts, sets_refs, moves_roots, comes_and_goes);
}

/* At the limit each CREATE may set off a collection. */
static void *creates_at_the_limit(void *argument)
{
	struct worker *worker = argument;
	__u64 handle = 0;

	while (!stopped(worker)) {
		if (ANSWER(worker, object_create(worker->session, 0, "x", 1, NULL, 3, &handle),
			   -ENOSPC))
			continue;
		if (random_below(&worker->seed, 2))
			ANSWER(worker, ref_set(worker->session, handle, 0, handle, NULL), MAYBE);
		store(any_handle(worker), handle);
	}
	return NULL;
}

TEST_F(threads, create_at_the_limit)
{
	ASSERT_EQ(0, heap_limit_objects(self->shared->heap.session, 100));
	RUN(true, creates_at_the_limit, creates_at_the_limit, gets_and_puts, gets_and_puts);
}

/* LEAVE while other threads are in operations of the same session. */
static void *works_until_the_end(void *argument)
{
	struct worker *worker = argument;
	__u64 handle = 0;

	for (;;) {
		if (ANSWER(worker, object_create(worker->session, 0, "x", 1, NULL, 3, &handle),
			   -ENOTCONN))
			return NULL;
		ANSWER(worker, ref_set(worker->session, handle, 0, handle, NULL), -ENOTCONN);
		if (random_below(&worker->seed, 2))
			ANSWER(worker, object_put(worker->session, handle), -ENOTCONN);
		if (!random_below(&worker->seed, 50))
			ANSWER(worker, heap_collect(worker->session, 2, NULL), -ENOTCONN);
		__atomic_fetch_add(&worker->shared->operations, 1, __ATOMIC_RELAXED);
	}
}

TEST_F_TIMEOUT(threads, leave_against_operations, 90)
{
	struct worker workers[3];
	unsigned int round, i;
	int session;

	for (round = 0; round < 50; round++) {
		session = test_heap_join(&self->shared->heap);
		ASSERT_LE(0, session);
		for (i = 0; i < ARRAY_SIZE(workers); i++) {
			workers[i] = (struct worker){ .shared = self->shared,
						      .seed = self->seed + round * 10 + i,
						      .session = session };
			ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, works_until_the_end,
						    &workers[i]));
		}
		sleep_us(random_below(&self->seed, 20000));
		ASSERT_EQ(0, session_leave(session));
		for (i = 0; i < ARRAY_SIZE(workers); i++)
			pthread_join(workers[i].thread, NULL);
		close(session);
		ASSERT_VERIFIED(self->shared->heap.number);
	}
	expect_nothing_left(_metadata, self);
}

/* Two join with the same session at once: one of them does. */
static void *joins(void *argument)
{
	struct worker *worker = argument;

	return (void *)(intptr_t)heap_join(worker->session, worker->shared->heap.fd);
}

TEST_F(threads, join_against_join)
{
	struct worker worker = { .shared = self->shared };
	pthread_t thread[4];
	void *result[4];
	unsigned int round, i, joined;

	for (round = 0; round < 200; round++) {
		worker.session = session_open();
		ASSERT_LE(0, worker.session);
		for (i = 0; i < 4; i++)
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, joins, &worker));
		for (i = joined = 0; i < 4; i++) {
			pthread_join(thread[i], &result[i]);
			joined += !result[i];
			if (result[i])
				ASSERT_EQ(-EALREADY, (int)(intptr_t)result[i]);
		}
		ASSERT_EQ(1, joined);
		ASSERT_EQ(2, stats_sessions(self->shared->heap.session));
		close(worker.session);
		ASSERT_TRUE(wait_until(stats_sessions(self->shared->heap.session) == 1, SOON_MS));
	}
}

/* --- Processes -------------------------------------------------------------- */

static int process(struct child_side *side)
{
	static void *(* const functions[])(void *) = {
		creates, sets_refs, moves_roots, gets_and_puts, sends_tickets, receives_tickets,
		collects,
	};
	FIXTURE_DATA(threads) *self = side->argument;

	close(self->shared->heap.session);
	return run_workers(self->shared, functions, ARRAY_SIZE(functions), true,
			   self->seed + getpid(), 60000) ? 1 : 0;
}

TEST_F_TIMEOUT(threads, processes_against_each_other, 90)
{
	struct child child[3];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(child); i++)
		ASSERT_EQ(0, child_start(&child[i], process, self));
	sleep_us(RUN_MS * 1000);
	self->shared->stop = true;
	for (i = 0; i < ARRAY_SIZE(child); i++)
		EXPECT_EQ(0, child_end(&child[i]));
	expect_nothing_left(_metadata, self);
}

/* Some of them are killed while they are at it. */
TEST_F_TIMEOUT(threads, processes_that_are_killed, 90)
{
	struct child child[3];
	unsigned int round;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(child); i++)
		ASSERT_EQ(0, child_start(&child[i], process, self));
	for (round = 0; round < 20; round++) {
		i = round % ARRAY_SIZE(child);
		sleep_us(random_below(&self->seed, 100000));
		ASSERT_EQ(-SIGKILL, child_kill(&child[i]));
		ASSERT_EQ(0, child_start(&child[i], process, self));
	}
	for (i = 0; i < ARRAY_SIZE(child); i++)
		EXPECT_EQ(-SIGKILL, child_kill(&child[i]));
	expect_nothing_left(_metadata, self);
}

TEST_HARNESS_MAIN
