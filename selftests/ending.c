// SPDX-License-Identifier: GPL-2.0
/*
 * The other ways in which a process goes, and who stays: exit, exec, fork, the
 * first of several threads, a heap's maker, a heap's last user.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "death.h"

#include <linux/io_uring.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define EXEC_SESSION	"PYOBJMEM_TEST_EXEC_SLEEP"

FIXTURE(ending)
{
	struct death death;
};

FIXTURE_SETUP(ending)
{
	death_begin(_metadata, &self->death);
}

FIXTURE_TEARDOWN(ending)
{
	death_end(_metadata, &self->death);
}

/* --- What goes on without him ------------------------------------------------ */

#define RING	20000

static int collects_a_ring(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);

	ring_drop(session, RING);
	child_ready(side);
	CHILD_CHECK(!INSIDE(death, 0, heap_collect(session, 2, NULL)));
	wait_for_death();
}

/* Nobody else collects: what the dead one began is for the heap's worker to end. */
TEST_F_TIMEOUT(ending, in_a_collection_that_goes_on, 120)
{
	struct death *death = &self->death;
	unsigned int round, amid = 0;
	struct pyobjmem_stats before, after;
	struct child child;

	for (round = 0; round < 60 && amid < 3; round++) {
		ASSERT_EQ(0, heap_stats(death->session, &before));
		death->at_death->inside[0] = 0;
		ASSERT_EQ(0, child_start(&child, collects_a_ring, death));
		ASSERT_TRUE(child_wait_ready(&child));
		sleep_us(random_below(&death->seed, 20000));
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		ASSERT_EQ(0, heap_stats(death->session, &after));
		if (after.out_slices == before.out_slices) {
			/* Not even begun, and nobody has asked for it. */
			expect_baseline(_metadata, death);
			continue;
		}
		amid += inside(death, 0);
		EXPECT_TRUE(wait_until(stats_freed_collected(death->session) ==
				       before.out_freed_collected + RING, SOON_MS)) {
			TH_LOG("collected %llu of %u",
			       (unsigned long long)(stats_freed_collected(death->session) -
						    before.out_freed_collected), RING);
		}
		expect_baseline(_metadata, death);
	}
	EXPECT_LE(1, amid);
}

/* --- Who stays --------------------------------------------------------------- */

/* The one that dies holds what others hold too: they notice nothing. */
TEST_F(ending, leaves_others_what_they_hold)
{
	struct death *death = &self->death;
	struct pyobjmem_inspect inspect;
	struct child child;
	unsigned int i;
	char text[8];

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, child_start(&child, idle, death));
		ASSERT_TRUE(child_wait_ready(&child));
		ASSERT_EQ(0, object_inspect(death->session, death->object[BASELINE - 1], &inspect));
		EXPECT_EQ(3, inspect.out_external);	/* parent, root, child */
		EXPECT_EQ(1, inspect.out_internal);	/* the child's own object */
		EXPECT_EQ(BASELINE + 1, stats_objects(death->session));
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		EXPECT_EQ(6, object_read(death->session, death->object[BASELINE - 1], 0, text,
					 sizeof(text)));
		EXPECT_STREQ("stays", text);
		expect_baseline(_metadata, death);
	}
}

/* --- By exit and exec -------------------------------------------------------- */

static int holds_and_exits(struct child_side *side)
{
	int session = join_in_child(side);
	unsigned int i;

	for (i = 0; i < 500; i++)
		CHILD_CHECK(!container_create(session, 1, NULL));
	return 0;
}

TEST_F(ending, by_exit)
{
	struct death *death = &self->death;
	struct child child;

	ASSERT_EQ(0, child_start(&child, holds_and_exits, death));
	ASSERT_EQ(0, child_end(&child));
	expect_baseline(_metadata, death);
}

static void __attribute__((constructor)) after_exec(void)
{
	if (!getenv(EXEC_SESSION))
		return;
	/* Say so, and live on, with the session's descriptor still open. */
	if (write(atoi(getenv(EXEC_SESSION)), "x", 1) != 1)
		_exit(1);
	wait_for_death();
}

static int holds_and_execs(struct child_side *side)
{
	int session = join_in_child(side);
	char *const arguments[] = { "ending", NULL };
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

TEST_F(ending, by_exec_though_the_process_lives_and_has_the_descriptor)
{
	struct death *death = &self->death;
	struct child child;

	ASSERT_EQ(0, child_start(&child, holds_and_execs, death));
	ASSERT_TRUE(child_wait_ready(&child));
	expect_baseline(_metadata, death);
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	expect_baseline(_metadata, death);
}

/* --- With a fork child ------------------------------------------------------- */

/* The descriptor of a session of another process is of no use. */
static void execs_with(int session, int pipe_fd)
{
	char *const arguments[] = { "ending", NULL };
	struct pyobjmem_stats stats;
	char number[16];

	CHILD_CHECK(heap_stats(session, &stats) == -EIO);
	CHILD_CHECK(!fcntl(session, F_SETFD, 0));
	CHILD_CHECK(!fcntl(pipe_fd, F_SETFD, 0));
	snprintf(number, sizeof(number), "%d", pipe_fd);
	CHILD_CHECK(!setenv(EXEC_SESSION, number, 1));
	execv("/proc/self/exe", arguments);
	_exit(1);
}

/* Its child has the descriptor, and comes to its exec when it is told to. */
static int forks_to_exec(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	__u64 handle;
	unsigned int i;
	pid_t pid;

	for (i = 0; i < 100; i++) {
		CHILD_CHECK(!container_create(session, 1, &handle));
		CHILD_CHECK(!ref_set(session, handle, 0, handle, NULL));
	}
	CHILD_CHECK(object_export(session, handle) >= 0);
	pid = fork();
	CHILD_CHECK(pid >= 0);
	if (pid)
		wait_for_death();
	pid = getpid();
	child_says(side, &pid, sizeof(pid));
	while (!__atomic_load_n(&death->at_death->go, __ATOMIC_SEQ_CST))
		sleep_us(100);
	execs_with(session, side->pipe_fd);
	return 1;
}

/*
 * The victim dies while its child is between fork and exec, with the session's
 * descriptor and that of a ticket; then the child execs or dies as well.
 */
static void kill_before_exec(struct __test_metadata *_metadata, struct death *death, bool execs,
			     unsigned int kills)
{
	struct child child;
	pid_t grandchild;
	unsigned int i;

	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	for (i = 0; i < kills; i++) {
		death->at_death->go = 0;
		ASSERT_EQ(0, child_start(&child, forks_to_exec, death));
		ASSERT_TRUE(child_hear(&child, &grandchild, sizeof(grandchild)));
		ASSERT_EQ(0, kill(child.pid, SIGKILL));
		ASSERT_EQ(child.pid, waitpid(child.pid, NULL, 0));
		/* One object is left, because the grandchild has its ticket. */
		ASSERT_TRUE(wait_until(stats_sessions(death->session) == 1, SOON_MS));
		ASSERT_EQ(0, heap_collect(death->session, 2, NULL));
		ASSERT_EQ(BASELINE + 1, stats_objects(death->session));
		ASSERT_EQ(1, stats_tickets(death->session));
		ASSERT_VERIFIED(death->heap.number);
		if (execs) {
			__atomic_store_n(&death->at_death->go, 1, __ATOMIC_SEQ_CST);
			ASSERT_TRUE(child_wait_ready(&child));
			expect_baseline(_metadata, death);
		}
		ASSERT_EQ(0, kill(grandchild, SIGKILL));
		ASSERT_EQ(grandchild, waitpid(grandchild, NULL, 0));
		child_release(&child);
		close(child.pipe_fd);
		expect_baseline(_metadata, death);
	}
}

TEST_F_TIMEOUT(ending, before_the_exec_of_a_fork_child, DEATH_SECONDS)
{
	kill_before_exec(_metadata, &self->death, true, kills_of(40));
}

TEST_F_TIMEOUT(ending, before_the_death_of_a_fork_child, DEATH_SECONDS)
{
	kill_before_exec(_metadata, &self->death, false, kills_of(40));
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
		wait_for_death();
	}
	wait_for_death();
}

TEST_F(ending, though_a_fork_child_keeps_the_descriptor)
{
	struct death *death = &self->death;
	struct child child;
	pid_t grandchild;

	ASSERT_EQ(0, child_start(&child, holds_and_forks, death));
	ASSERT_TRUE(child_hear(&child, &grandchild, sizeof(grandchild)));
	EXPECT_EQ(BASELINE + 500, stats_objects(death->session));
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	expect_baseline(_metadata, death);
	EXPECT_EQ(0, kill(grandchild, 0));	/* it lived until now */
	kill(grandchild, SIGKILL);
	expect_baseline(_metadata, death);
}

/* And the other way round: the child goes, the session stays. */
static int just_exits(struct child_side *side)
{
	struct death *death = side->argument;
	int copy = dup(death->session);

	CHILD_CHECK(copy >= 0);
	close(death->session);
	close(copy);
	return 0;
}

TEST_F(ending, of_a_fork_child_ends_nothing)
{
	struct death *death = &self->death;
	struct child child;
	unsigned int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, child_start(&child, just_exits, death));
		ASSERT_EQ(0, child_end(&child));
	}
	sleep_us(100000);
	EXPECT_EQ(0, object_get(death->session, death->object[0]));
	EXPECT_EQ(0, object_put(death->session, death->object[0]));
	expect_baseline(_metadata, death);
}

/* In the queue of a socket a session's descriptor keeps nothing. */
static int sends_its_session(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);

	CHILD_CHECK(!container_create(session, 1, NULL));
	CHILD_CHECK(!descriptor_send(death->sockets[0], session));
	child_ready(side);
	wait_for_death();
}

TEST_F(ending, though_the_descriptor_is_in_a_queue)
{
	struct death *death = &self->death;
	struct child child;

	ASSERT_EQ(0, child_start(&child, sends_its_session, death));
	ASSERT_TRUE(child_wait_ready(&child));
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	expect_baseline(_metadata, death);
	drain(death);
	expect_baseline(_metadata, death);
}

/*
 * The descriptor is closed, but an io_uring has the file. When the ring goes, a
 * thread of the kernel closes it, while the process lives.
 */
TEST_F(ending, of_an_io_uring_that_had_the_descriptor)
{
	struct death *death = &self->death;
	struct io_uring_params parameters = {};
	unsigned int i;
	int session, ring;

	session = test_heap_join(&death->heap);
	ASSERT_LE(0, session);
	ring = syscall(SYS_io_uring_setup, 4, &parameters);
	if (ring < 0)
		SKIP(return, "there is no io_uring here: %s", strerror(errno));
	for (i = 0; i < 500; i++)
		ASSERT_EQ(0, container_create(session, 1, NULL));
	ASSERT_EQ(0, syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &session, 1));
	close(session);
	EXPECT_EQ(2, stats_sessions(death->session));
	EXPECT_EQ(BASELINE + 500, stats_objects(death->session));
	close(ring);
	expect_baseline(_metadata, death);
}

struct worker {
	int session;
};

static void *thread_work(void *argument)
{
	struct worker *worker = argument;
	__u64 handle;

	for (;;) {
		CHILD_CHECK(!object_create(worker->session, 0, NULL, 16, NULL, 1, &handle));
		CHILD_CHECK(!ref_set(worker->session, handle, 0, handle, NULL));
		CHILD_CHECK(!heap_collect(worker->session, 2, NULL));
		CHILD_CHECK(!object_put(worker->session, handle));
	}
	return NULL;
}

static int thread_exits_early(struct child_side *side)
{
	static struct worker worker;
	pthread_t thread;

	worker.session = join_in_child(side);
	CHILD_CHECK(!container_create(worker.session, 1, NULL));
	CHILD_CHECK(!pthread_create(&thread, NULL, thread_work, &worker));
	child_ready(side);
	/* The first thread goes; the process lives on by the other. */
	pthread_exit(NULL);
}

TEST_F(ending, of_the_first_thread_ends_nothing)
{
	struct death *death = &self->death;
	struct child child;

	ASSERT_EQ(0, child_start(&child, thread_exits_early, death));
	ASSERT_TRUE(child_wait_ready(&child));
	sleep_us(50000);
	EXPECT_EQ(2, stats_sessions(death->session));
	EXPECT_LE(BASELINE + 1, stats_objects(death->session));
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	expect_baseline(_metadata, death);
}

/* --- Whose heap it is -------------------------------------------------------- */

/* Whoever made the heap may go like everybody else. */
static int makes_a_heap(struct child_side *side)
{
	struct death *death = side->argument;
	struct test_heap heap;
	__u64 handle;

	CHILD_CHECK(!test_heap_open(&heap, 0));
	CHILD_CHECK(!object_create(heap.session, 0, "left", 5, NULL, 0, &handle));
	CHILD_CHECK(!root_set(heap.session, 3, handle, NULL));
	CHILD_CHECK(!container_create(heap.session, 1, NULL));
	CHILD_CHECK(!descriptor_send(death->sockets[0], heap.fd));
	child_says(side, &heap.number, sizeof(heap.number));
	wait_for_death();
}

TEST_F(ending, of_who_made_the_heap)
{
	struct death *death = &self->death;
	struct test_heap heap = { .session = -1 };
	struct child child;
	__u64 handle;
	char text[8];

	ASSERT_EQ(0, child_start(&child, makes_a_heap, death));
	ASSERT_TRUE(child_hear(&child, &heap.number, sizeof(heap.number)));
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	heap.fd = descriptor_receive(death->sockets[1]);
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
	wait_for_death();
}

TEST_F(ending, of_a_heaps_last_user)
{
	struct death *death = &self->death;
	struct child child;
	unsigned int i;
	__u64 number;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, child_start(&child, makes_a_heap_of_its_own, death));
		ASSERT_TRUE(child_hear(&child, &number, sizeof(number)));
		ASSERT_VERIFIED(number);
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		EXPECT_HEAP_GONE(number);
	}
	expect_baseline(_metadata, death);
}

/* The heap goes while its worker is still at what the last user had begun. */
static int collects_in_a_heap_of_its_own(struct child_side *side)
{
	struct death *death = side->argument;
	struct test_heap heap;

	CHILD_CHECK(!test_heap_open(&heap, 0));
	ring_drop(heap.session, RING / 4);
	child_says(side, &heap.number, sizeof(heap.number));
	CHILD_CHECK(!INSIDE(death, 0, heap_collect(heap.session, 2, NULL)));
	wait_for_death();
}

TEST_F_TIMEOUT(ending, of_a_heaps_last_user_in_a_collection, 120)
{
	struct death *death = &self->death;
	unsigned int round, amid = 0;
	struct child child;
	__u64 number;

	for (round = 0; round < 60 && amid < 5; round++) {
		death->at_death->inside[0] = 0;
		ASSERT_EQ(0, child_start(&child, collects_in_a_heap_of_its_own, death));
		ASSERT_TRUE(child_hear(&child, &number, sizeof(number)));
		meet(death, 1);
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		amid += inside(death, 0);
		EXPECT_HEAP_GONE(number);
	}
	EXPECT_LE(1, amid);
	/* What the heap had put off for a second finds no heap. */
	sleep_us(1200000);
	expect_baseline(_metadata, death);
}

TEST_HARNESS_MAIN
