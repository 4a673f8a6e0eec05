// SPDX-License-Identifier: GPL-2.0
/*
 * Death: whatever way a process goes, whatever it was doing, exactly its holds go
 * with it, and soon. A few hundred kills.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#include <sched.h>

#define EXEC_SESSION	"PYOBJMEM_TEST_EXEC_SLEEP"
#define KILLS		40

/* What lives through all of it: a list under root 0, held by the parent. */
#define BASELINE	50

FIXTURE(death)
{
	struct test_heap heap;
	int session;
	__u64 object[BASELINE];
	__u64 seed;
	int sockets[2];
};

FIXTURE_SETUP(death)
{
	unsigned int i;

	self->seed = random_seed();
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	for (i = 0; i < BASELINE; i++)
		ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, "stays", 6,
					   i ? &self->object[i - 1] : NULL, 1,
					   &self->object[i]));
	ASSERT_EQ(0, root_set(self->session, 0, self->object[BASELINE - 1], NULL));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, self->sockets));
	TH_LOG("seed %#llx", (unsigned long long)self->seed);
}

FIXTURE_TEARDOWN(death)
{
	close(self->sockets[0]);
	close(self->sockets[1]);
	EXPECT_CLEAN_END(&self->heap);
}

/* Soon after the death of all others, nothing is different from before. */
static void expect_baseline(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self)
{
	struct pyobjmem_inspect inspect;
	struct pyobjmem_stats stats;
	unsigned int i;

	ASSERT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS)) {
		TH_LOG("sessions left: %llu",
		       (unsigned long long)stats_sessions(self->session));
	}
	/* Cycles that were left behind are for the collector. */
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	ASSERT_EQ(BASELINE, stats.out_objects);
	ASSERT_EQ(BASELINE, stats.out_holds);
	ASSERT_EQ(0, stats.out_tickets);
	ASSERT_EQ(BASELINE, stats.out_created - stats.out_freed_counted -
			    stats.out_freed_collected);
	ASSERT_TRUE(stats_bytes_add_up(&stats));
	for (i = 0; i < BASELINE; i++) {
		ASSERT_EQ(0, object_inspect(self->session, self->object[i], &inspect));
		ASSERT_EQ(1 + (i == BASELINE - 1), inspect.out_external);
		ASSERT_EQ(i != BASELINE - 1, inspect.out_internal);
	}
	ASSERT_VERIFIED(self->heap.number);
}

static int join_in_child(struct child_side *side)
{
	FIXTURE_DATA(death) *self = side->argument;
	int session;

	close(self->heap.session);
	session = test_heap_join(&self->heap);
	CHILD_CHECK(session >= 0);
	return session;
}

/* --- States in which a process is killed ----------------------------------- */

static int idle(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 handle;

	CHILD_CHECK(!root_get(session, 0, &handle));
	CHILD_CHECK(!object_create(session, 0, NULL, 100, &handle, 1, NULL));
	child_ready(side);
	for (;;)
		pause();
}

/* Thousands of objects held, taken several times. */
static int holding_much(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 edges[3] = { 0 }, next;
	unsigned int i;

	CHILD_CHECK(!root_get(session, 0, &edges[0]));
	for (i = 0; i < 3000; i++) {
		CHILD_CHECK(!object_create(session, i & 1, NULL, i % 700, edges, 1 + i % 3,
					   &next));
		CHILD_CHECK(!object_get(session, next));
		if (i % 5 == 0)
			edges[i % 3] = next;
	}
	child_ready(side);
	for (;;)
		pause();
}

/* Lists grow and are dropped, all the time. */
static int building(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 head = 0, next;
	unsigned int i;

	child_ready(side);
	for (i = 1;; i++) {
		CHILD_CHECK(!object_create(session, i & 1, "payload", 8, &head, 1, &next));
		if (head)
			CHILD_CHECK(!object_put(session, head));
		head = next;
		if (i % 500 == 0) {
			CHILD_CHECK(!object_put(session, head));
			head = 0;
		}
	}
}

static int in_batches(struct child_side *side)
{
	struct pyobjmem_batch_entry *entries = calloc(PYOBJMEM_BATCH_MAX, sizeof(*entries));
	__u64 *handle = calloc(PYOBJMEM_BATCH_MAX, sizeof(*handle));
	int session = join_in_child(side);
	unsigned int i;

	child_ready(side);
	for (;;) {
		for (i = 0; i < PYOBJMEM_BATCH_MAX; i++)
			entries[i] = entry_create(i & 1, "payload", 8, 1);
		CHILD_CHECK(!batch_run(session, entries, PYOBJMEM_BATCH_MAX, 0, NULL));
		for (i = 0; i < PYOBJMEM_BATCH_MAX; i++) {
			handle[i] = entries[i].command.create.out_handle;
			entries[i] = entry_set_ref(handle[i], 0, i ? handle[i - 1] : 0);
		}
		CHILD_CHECK(!batch_run(session, entries, PYOBJMEM_BATCH_MAX, 0, NULL));
		for (i = 0; i < PYOBJMEM_BATCH_MAX; i++)
			entries[i] = entry_put(handle[i]);
		CHILD_CHECK(!batch_run(session, entries, PYOBJMEM_BATCH_MAX, 0, NULL));
	}
}

/* Down the list under the root, taking and giving back. */
static int walking(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 handle, next;
	char text[8];

	child_ready(side);
	for (;;) {
		CHILD_CHECK(!root_get(session, 0, &handle));
		while (handle) {
			CHILD_CHECK(object_read(session, handle, 0, text, 6) == 6);
			CHILD_CHECK(!ref_get(session, handle, 0, &next));
			CHILD_CHECK(!object_put(session, handle));
			handle = next;
		}
	}
}

/* Rings of some size die and are collected. */
static int collecting(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 first, last, next;
	unsigned int i;

	child_ready(side);
	for (;;) {
		CHILD_CHECK(!container_create(session, 1, &first));
		last = first;
		for (i = 0; i < 400; i++) {
			CHILD_CHECK(!object_create(session, 0, NULL, 8, &last, 1, &next));
			if (last != first)
				CHILD_CHECK(!object_put(session, last));
			last = next;
		}
		CHILD_CHECK(!ref_set(session, first, 0, last, NULL));
		CHILD_CHECK(!object_put(session, first));
		CHILD_CHECK(!object_put(session, last));
		CHILD_CHECK(!heap_collect(session, i % 3, NULL));
	}
}

/* A chain of thousands goes with one PUT. */
static int dropping(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 head, next;
	unsigned int i;

	child_ready(side);
	for (;;) {
		CHILD_CHECK(!container_create(session, 1, &head));
		for (i = 0; i < 3000; i++) {
			CHILD_CHECK(!object_create(session, 0, NULL, 8, &head, 1, &next));
			CHILD_CHECK(!object_put(session, head));
			head = next;
		}
		CHILD_CHECK(!object_put(session, head));
	}
}

/* Tickets into the air: some in the queue, some open. */
static int exporting(struct child_side *side)
{
	FIXTURE_DATA(death) *self = side->argument;
	int session = join_in_child(side);
	int ticket, kept = -1;
	__u64 handle;

	fcntl(self->sockets[0], F_SETFL, O_NONBLOCK);
	child_ready(side);
	for (;;) {
		CHILD_CHECK(!object_create(session, 0, NULL, 32, NULL, 1, &handle));
		ticket = object_export(session, handle);
		CHILD_CHECK(ticket >= 0);
		if (descriptor_send(self->sockets[0], ticket))
			sleep_us(200);
		CHILD_CHECK(!ticket_redeem(session, ticket, &handle));
		if (kept >= 0)
			close(kept);
		kept = ticket;
		CHILD_CHECK(!object_put(session, handle));
		CHILD_CHECK(!object_put(session, handle));
	}
}

/* Open, join, create, leave or close, again and again. */
static int coming_and_going(struct child_side *side)
{
	FIXTURE_DATA(death) *self = side->argument;
	unsigned int i;
	int session;

	close(self->heap.session);
	child_ready(side);
	for (i = 0;; i++) {
		session = test_heap_join(&self->heap);
		CHILD_CHECK(session >= 0);
		CHILD_CHECK(!root_get(session, 0, NULL));
		CHILD_CHECK(!container_create(session, 1, NULL));
		if (i & 1)
			CHILD_CHECK(!session_leave(session));
		close(session);
	}
}

/* Large payloads: many pages under way. */
static int writing_much(struct child_side *side)
{
	int session = join_in_child(side);
	char *buffer = calloc(1, 300000);
	__u64 handle;

	child_ready(side);
	for (;;) {
		CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_MUTABLE, buffer, 300000, NULL,
					   300, &handle));
		CHILD_CHECK(object_write(session, handle, 1, buffer, 200000) == 200000);
		CHILD_CHECK(object_read(session, handle, 1, buffer, 200000) == 200000);
		CHILD_CHECK(!object_put(session, handle));
	}
}

struct worker {
	int session;
	unsigned int kind;
};

static void *thread_work(void *argument)
{
	struct worker *worker = argument;
	__u64 handle;

	for (;;) {
		CHILD_CHECK(!object_create(worker->session, 0, NULL, 16, NULL, 1, &handle));
		CHILD_CHECK(!ref_set(worker->session, handle, 0, handle, NULL));
		if (worker->kind & 1)
			CHILD_CHECK(!heap_collect(worker->session, 2, NULL));
		CHILD_CHECK(!object_put(worker->session, handle));
	}
	return NULL;
}

/* A thread in each of two operations. */
static int threads_at_work(struct child_side *side)
{
	struct worker worker[2];
	pthread_t thread;
	unsigned int i;

	worker[0].session = join_in_child(side);
	worker[1] = worker[0];
	for (i = 0; i < 2; i++) {
		worker[i].kind = i;
		CHILD_CHECK(!pthread_create(&thread, NULL, thread_work, &worker[i]));
	}
	child_ready(side);
	for (;;)
		pause();
}

/* --- Kills ------------------------------------------------------------------ */

/* Throw away what is in the air. */
static void drain(FIXTURE_DATA(death) *self)
{
	int fd;

	fcntl(self->sockets[1], F_SETFL, O_NONBLOCK);
	while ((fd = descriptor_receive(self->sockets[1])) >= 0)
		close(fd);
}

static void kill_in(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self,
		    int (*state)(struct child_side *), unsigned int kills)
{
	struct child child;
	unsigned int i;

	for (i = 0; i < kills; i++) {
		ASSERT_EQ(0, child_start(&child, state, self));
		ASSERT_TRUE(child_wait_ready(&child));
		sleep_us(random_below(&self->seed, 20000));
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		drain(self);
		expect_baseline(_metadata, self);
	}
}

TEST_F_TIMEOUT(death, idle, 60)
{
	kill_in(_metadata, self, idle, KILLS);
}

TEST_F_TIMEOUT(death, holding_thousands_of_objects, 60)
{
	kill_in(_metadata, self, holding_much, KILLS / 4);
}

TEST_F_TIMEOUT(death, building, 60)
{
	kill_in(_metadata, self, building, KILLS);
}

TEST_F_TIMEOUT(death, in_batches, 60)
{
	kill_in(_metadata, self, in_batches, KILLS);
}

TEST_F_TIMEOUT(death, walking, 60)
{
	kill_in(_metadata, self, walking, KILLS);
}

TEST_F_TIMEOUT(death, collecting, 60)
{
	kill_in(_metadata, self, collecting, KILLS);
}

TEST_F_TIMEOUT(death, dropping_a_chain, 60)
{
	kill_in(_metadata, self, dropping, KILLS);
}

TEST_F_TIMEOUT(death, with_tickets_in_flight, 60)
{
	kill_in(_metadata, self, exporting, KILLS);
}

TEST_F_TIMEOUT(death, coming_and_going, 60)
{
	kill_in(_metadata, self, coming_and_going, KILLS);
}

TEST_F_TIMEOUT(death, with_large_payloads, 60)
{
	kill_in(_metadata, self, writing_much, KILLS / 2);
}

TEST_F_TIMEOUT(death, with_threads_in_operations, 60)
{
	kill_in(_metadata, self, threads_at_work, KILLS / 2);
}

/* Several at once, each doing something else, one killed after the other. */
TEST_F_TIMEOUT(death, one_of_several, 60)
{
	static int (* const states[])(struct child_side *) = {
		building, in_batches, walking, collecting, dropping, coming_and_going,
	};
	struct child child[ARRAY_SIZE(states)];
	unsigned int round;
	size_t i;

	for (round = 0; round < 4; round++) {
		for (i = 0; i < ARRAY_SIZE(states); i++) {
			ASSERT_EQ(0, child_start(&child[i], states[i], self));
			ASSERT_TRUE(child_wait_ready(&child[i]));
		}
		for (i = 0; i < ARRAY_SIZE(states); i++) {
			sleep_us(random_below(&self->seed, 50000));
			ASSERT_EQ(-SIGKILL, child_kill(&child[i]));
			ASSERT_VERIFIED(self->heap.number);
		}
		expect_baseline(_metadata, self);
	}
}

/* The one that dies holds what others hold too: they notice nothing. */
TEST_F(death, leaves_others_what_they_hold)
{
	struct pyobjmem_inspect inspect;
	struct child child;
	unsigned int i;
	char text[8];

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, child_start(&child, idle, self));
		ASSERT_TRUE(child_wait_ready(&child));
		ASSERT_EQ(0, object_inspect(self->session, self->object[BASELINE - 1], &inspect));
		EXPECT_EQ(3, inspect.out_external);	/* parent, root, child */
		EXPECT_EQ(1, inspect.out_internal);	/* the child's own object */
		EXPECT_EQ(BASELINE + 1, stats_objects(self->session));
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		EXPECT_EQ(6, object_read(self->session, self->object[BASELINE - 1], 0, text,
					 sizeof(text)));
		EXPECT_STREQ("stays", text);
		expect_baseline(_metadata, self);
	}
}

/* --- Other ways to go ------------------------------------------------------- */

static int holds_and_exits(struct child_side *side)
{
	int session = join_in_child(side);
	unsigned int i;

	for (i = 0; i < 500; i++)
		CHILD_CHECK(!container_create(session, 1, NULL));
	return 0;
}

TEST_F(death, by_exit)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, holds_and_exits, self));
	ASSERT_EQ(0, child_end(&child));
	expect_baseline(_metadata, self);
}

static void __attribute__((constructor)) after_exec(void)
{
	if (!getenv(EXEC_SESSION))
		return;
	/* Say so, and live on, with the session's descriptor still open. */
	if (write(atoi(getenv(EXEC_SESSION)), "x", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static int holds_and_execs(struct child_side *side)
{
	int session = join_in_child(side);
	char *const arguments[] = { "death", NULL };
	char number[16];
	unsigned int i;

	for (i = 0; i < 500; i++)
		CHILD_CHECK(!container_create(session, 1, NULL));
	CHILD_CHECK(!fcntl(session, F_SETFD, 0));
	CHILD_CHECK(!fcntl(side->pipe_fd, F_SETFD, 0));
	snprintf(number, sizeof(number), "%d", side->pipe_fd);
	CHILD_CHECK(!setenv(EXEC_SESSION, number, 1));
	execv("/proc/self/exe", arguments);
	return 1;
}

TEST_F(death, by_exec_though_the_process_lives_and_has_the_descriptor)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, holds_and_execs, self));
	ASSERT_TRUE(child_wait_ready(&child));
	expect_baseline(_metadata, self);
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	expect_baseline(_metadata, self);
}

/* The grandchild keeps the descriptor; it says who it is. */
static int holds_and_forks(struct child_side *side)
{
	int session = join_in_child(side);
	struct pyobjmem_stats stats;
	unsigned int i;
	pid_t pid;

	for (i = 0; i < 500; i++)
		CHILD_CHECK(!container_create(session, 1, NULL));
	pid = fork();
	CHILD_CHECK(pid >= 0);
	if (!pid) {
		CHILD_CHECK(heap_stats(session, &stats) == -EIO);
		pid = getpid();
		child_says(side, &pid, sizeof(pid));
		for (;;)
			pause();
	}
	for (;;)
		pause();
}

TEST_F(death, though_a_fork_child_keeps_the_descriptor)
{
	struct child child;
	pid_t grandchild;

	ASSERT_EQ(0, child_start(&child, holds_and_forks, self));
	ASSERT_TRUE(child_hear(&child, &grandchild, sizeof(grandchild)));
	EXPECT_EQ(BASELINE + 500, stats_objects(self->session));
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	expect_baseline(_metadata, self);
	EXPECT_EQ(0, kill(grandchild, 0));	/* it lived until now */
	kill(grandchild, SIGKILL);
	expect_baseline(_metadata, self);
}

/* And the other way round: the child goes, the session stays. */
static int just_exits(struct child_side *side)
{
	FIXTURE_DATA(death) *self = side->argument;
	int copy = dup(self->session);

	CHILD_CHECK(copy >= 0);
	close(self->session);
	close(copy);
	return 0;
}

TEST_F(death, of_a_fork_child_ends_nothing)
{
	struct child child;
	unsigned int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, child_start(&child, just_exits, self));
		ASSERT_EQ(0, child_end(&child));
	}
	sleep_us(100000);
	EXPECT_EQ(0, object_get(self->session, self->object[0]));
	EXPECT_EQ(0, object_put(self->session, self->object[0]));
	expect_baseline(_metadata, self);
}

/* In the queue of a socket a session's descriptor keeps nothing. */
static int sends_its_session(struct child_side *side)
{
	FIXTURE_DATA(death) *self = side->argument;
	int session = join_in_child(side);

	CHILD_CHECK(!container_create(session, 1, NULL));
	CHILD_CHECK(!descriptor_send(self->sockets[0], session));
	child_ready(side);
	for (;;)
		pause();
}

TEST_F(death, though_the_descriptor_is_in_a_queue)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, sends_its_session, self));
	ASSERT_TRUE(child_wait_ready(&child));
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	expect_baseline(_metadata, self);
	drain(self);
	expect_baseline(_metadata, self);
}

static int thread_exits_early(struct child_side *side)
{
	static struct worker worker;
	pthread_t thread;

	worker.session = join_in_child(side);
	worker.kind = 1;
	CHILD_CHECK(!container_create(worker.session, 1, NULL));
	CHILD_CHECK(!pthread_create(&thread, NULL, thread_work, &worker));
	child_ready(side);
	/* The first thread goes; the process lives on by the other. */
	pthread_exit(NULL);
}

TEST_F(death, of_the_first_thread_ends_nothing)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, thread_exits_early, self));
	ASSERT_TRUE(child_wait_ready(&child));
	sleep_us(50000);
	EXPECT_EQ(2, stats_sessions(self->session));
	EXPECT_LE(BASELINE + 1, stats_objects(self->session));
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	expect_baseline(_metadata, self);
}

/* Whoever made the heap may go like everybody else. */
static int makes_a_heap(struct child_side *side)
{
	FIXTURE_DATA(death) *self = side->argument;
	struct test_heap heap;
	__u64 handle;

	CHILD_CHECK(!test_heap_open(&heap, 0));
	CHILD_CHECK(!object_create(heap.session, 0, "left", 5, NULL, 0, &handle));
	CHILD_CHECK(!root_set(heap.session, 3, handle, NULL));
	CHILD_CHECK(!container_create(heap.session, 1, NULL));
	CHILD_CHECK(!descriptor_send(self->sockets[0], heap.fd));
	child_says(side, &heap.number, sizeof(heap.number));
	for (;;)
		pause();
}

TEST_F(death, of_who_made_the_heap)
{
	struct test_heap heap = { .session = -1 };
	struct child child;
	__u64 handle;
	char text[8];

	ASSERT_EQ(0, child_start(&child, makes_a_heap, self));
	ASSERT_TRUE(child_hear(&child, &heap.number, sizeof(heap.number)));
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	heap.fd = descriptor_receive(self->sockets[1]);
	ASSERT_LE(0, heap.fd);
	heap.session = test_heap_join(&heap);
	ASSERT_LE(0, heap.session);
	EXPECT_TRUE(wait_until(stats_sessions(heap.session) == 1, SOON_MS));
	EXPECT_EQ(1, stats_objects(heap.session));
	ASSERT_EQ(0, root_get(heap.session, 3, &handle));
	ASSERT_EQ(5, object_read(heap.session, handle, 0, text, sizeof(text)));
	EXPECT_STREQ("left", text);
	EXPECT_CLEAN_END(&heap);
}

/* A heap whose last user is killed goes with all that is in it. */
static int makes_a_heap_of_its_own(struct child_side *side)
{
	struct test_heap heap;
	__u64 handle;
	unsigned int i;

	CHILD_CHECK(!test_heap_open(&heap, 0));
	for (i = 0; i < 1000; i++) {
		CHILD_CHECK(!object_create(heap.session, i & 1, NULL, i, NULL, 1, &handle));
		CHILD_CHECK(!ref_set(heap.session, handle, 0, handle, NULL));
		CHILD_CHECK(!root_set(heap.session, i % PYOBJMEM_ROOTS, handle, NULL));
		CHILD_CHECK(i % 3 || object_export(heap.session, handle) >= 0);
	}
	child_says(side, &heap.number, sizeof(heap.number));
	for (;;)
		pause();
}

TEST_F(death, of_a_heaps_last_user)
{
	struct child child;
	unsigned int i;
	__u64 number;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, child_start(&child, makes_a_heap_of_its_own, self));
		ASSERT_TRUE(child_hear(&child, &number, sizeof(number)));
		ASSERT_VERIFIED(number);
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		EXPECT_HEAP_GONE(number);
	}
	expect_baseline(_metadata, self);
}

TEST_HARNESS_MAIN
