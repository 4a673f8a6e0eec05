// SPDX-License-Identifier: GPL-2.0
/*
 * Events: read(2) and poll(2) on a session, and where else can be seen how many there
 * are. What events come of what: finalize.c, weak.c, collected.c.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"

#define BYTES	sizeof(struct pyobjmem_event)

FIXTURE(event)
{
	struct test_heap heap;
	int session;
	int other;		/* a second session of the heap */
};

FIXTURE_SETUP(event)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->other);
}

FIXTURE_TEARDOWN(event)
{
	close(self->other);
	EXPECT_CLEAN_END(&self->heap);
}

/* An object that is dead by now: its WEAK_DEAD event waits. */
static __u64 dead_object(struct __test_metadata *_metadata, int session, __u64 cookie)
{
	__u64 object = PYOBJMEM_NONE;

	ASSERT_EQ(0, container_create(session, 1, &object));
	ASSERT_EQ(0, weak_hold(session, object, cookie));
	ASSERT_EQ(0, object_put(session, object));
	return object;
}

/* An object whose finalizer is due: its FINALIZE event waits. */
static __u64 due_object(struct __test_metadata *_metadata, int session)
{
	__u64 object = PYOBJMEM_NONE;

	ASSERT_EQ(0, object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 1,
				   &object));
	ASSERT_EQ(0, object_put(session, object));
	return object;
}

static int read_bytes(int session, void *buffer, size_t length)
{
	ssize_t got = read(session, buffer, length);

	return got < 0 ? -errno : got;
}

/* --- read(2) -------------------------------------------------------------- */

TEST_F(event, read_into_too_little_room_is_einval)
{
	struct pyobjmem_event event;
	__u64 object = dead_object(_metadata, self->session, 1);

	EXPECT_EQ(-EINVAL, read_bytes(self->session, &event, 0));
	EXPECT_EQ(-EINVAL, read_bytes(self->session, &event, 1));
	EXPECT_EQ(-EINVAL, read_bytes(self->session, &event, BYTES - 1));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(object, 1));
}

TEST_F(event, read_gives_whole_events_only)
{
	struct pyobjmem_event event[4];
	__u64 object[3];
	int i;

	for (i = 0; i < 3; i++)
		object[i] = dead_object(_metadata, self->session, i);
	memset(event, 0xee, sizeof(event));
	ASSERT_EQ(2 * BYTES, read_bytes(self->session, event, 3 * BYTES - 1));
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(event_equal(&EVENT_WEAK_DEAD(object[i], i), &event[i]));
	EXPECT_TRUE(all_bytes(&event[2], 2 * BYTES, 0xee));
	ASSERT_EQ(BYTES, read_bytes(self->session, event, 4 * BYTES));
	EXPECT_TRUE(event_equal(&EVENT_WEAK_DEAD(object[2], 2), &event[0]));
	EXPECT_EQ(0, events_waiting(self->session));
}

/* Finalizers and weak holds in the order in which they fired */
TEST_F(event, read_gives_them_in_their_order)
{
	__u64 object[6];
	int i;

	for (i = 0; i < 6; i++)
		object[i] = i % 2 ? due_object(_metadata, self->session) :
				    dead_object(_metadata, self->session, i);
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(object[0], 0), EVENT_FINALIZE(object[1]),
		      EVENT_WEAK_DEAD(object[2], 2), EVENT_FINALIZE(object[3]),
		      EVENT_WEAK_DEAD(object[4], 4), EVENT_FINALIZE(object[5]));
	for (i = 1; i < 6; i += 2)
		EXPECT_EQ(0, object_put(self->session, object[i]));
}

TEST_F(event, read_without_events_is_eagain)
{
	struct pyobjmem_event event;

	ASSERT_EQ(0, event_nonblock(self->session, true));
	EXPECT_EQ(-EAGAIN, read_bytes(self->session, &event, BYTES));
	dead_object(_metadata, self->session, 1);
	EXPECT_EQ(BYTES, read_bytes(self->session, &event, BYTES));
	EXPECT_EQ(-EAGAIN, read_bytes(self->session, &event, BYTES));
}

TEST_F(event, read_before_a_heap_is_joined_is_enotconn)
{
	struct pyobjmem_event event;
	int session = session_open();

	ASSERT_LE(0, session);
	EXPECT_EQ(-ENOTCONN, read_bytes(session, &event, BYTES));
	EXPECT_EQ(-EINVAL, read_bytes(session, &event, BYTES - 1));
	close(session);
}

/* What cannot be written stays: no event, and no hold, is lost. */
TEST_F(event, read_into_a_bad_buffer_is_efault_and_the_event_stays)
{
	char *area = guarded_pages(POOL_BYTES);
	struct pyobjmem_event *last = (void *)(area + POOL_BYTES - BYTES);
	__u64 due, dead;

	ASSERT_NE(NULL, area);
	due = due_object(_metadata, self->session);
	dead = dead_object(_metadata, self->session, 1);
	EXPECT_EQ(-EFAULT, read_bytes(self->session, last + 1, 4 * BYTES));
	EXPECT_EQ(-EFAULT, read_bytes(self->session, (char *)last + 1, BYTES));
	EXPECT_EQ(0, stats_holds(self->session));
	EXPECT_EQ(2, events_waiting(self->session));
	EXPECT_VERIFIED(self->heap.number);

	/* The second has no room. */
	EXPECT_EQ(BYTES, read_bytes(self->session, last, 2 * BYTES));
	EXPECT_TRUE(event_equal(&EVENT_FINALIZE(due), last));
	EXPECT_EQ(1, stats_holds(self->session));
	EXPECT_EQ(0, object_put(self->session, due));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(dead, 1));
	munmap(area, 2 * POOL_BYTES);
}

/* A FINALIZE event needs a hold: if the session may not have one, it stays. */
TEST_F(event, read_at_the_limit_of_holds_is_edquot_and_the_event_stays)
{
	struct pyobjmem_event event[2];
	__u64 dead, due, saved;
	int got[2];

	dead = dead_object(_metadata, self->session, 1);
	due = due_object(_metadata, self->session);
	ASSERT_EQ(0, container_create(self->session, 1, NULL));
	ASSERT_EQ(0, parameter_read("session_holds", &saved));
	ASSERT_EQ(0, parameter_write("session_holds", 1));
	got[0] = read_bytes(self->session, event, 2 * BYTES);
	got[1] = read_bytes(self->session, event + 1, BYTES);
	ASSERT_EQ(0, parameter_write("session_holds", saved));
	EXPECT_EQ(BYTES, got[0]);
	EXPECT_TRUE(event_equal(&EVENT_WEAK_DEAD(dead, 1), event));
	EXPECT_EQ(-EDQUOT, got[1]);
	EXPECT_EVENTS(self->session, EVENT_FINALIZE(due));
	EXPECT_EQ(0, object_put(self->session, due));
}

/* --- Waiting -------------------------------------------------------------- */

struct waiter {
	pthread_t thread;
	int session;
	int result;
	struct pyobjmem_event event;
	bool begun, done;
	pid_t tid;
};

static void *waiter_read(void *argument)
{
	struct waiter *waiter = argument;

	__atomic_store_n(&waiter->begun, true, __ATOMIC_RELEASE);
	waiter->result = read_bytes(waiter->session, &waiter->event, BYTES);
	__atomic_store_n(&waiter->done, true, __ATOMIC_RELEASE);
	return NULL;
}

#define DONE(waiter)	__atomic_load_n(&(waiter)->done, __ATOMIC_ACQUIRE)

/* A thread that reads, and has nothing to read for the moment. */
static void waiter_start(struct __test_metadata *_metadata, struct waiter *waiter, int session)
{
	*waiter = (struct waiter){ .session = session };
	ASSERT_EQ(0, pthread_create(&waiter->thread, NULL, waiter_read, waiter));
	ASSERT_TRUE(wait_until(__atomic_load_n(&waiter->begun, __ATOMIC_ACQUIRE), SOON_MS));
	sleep_us(50000);
	EXPECT_FALSE(DONE(waiter));
}

static void waiter_end(struct __test_metadata *_metadata, struct waiter *waiter)
{
	ASSERT_TRUE(wait_until(DONE(waiter), SOON_MS));
	pthread_join(waiter->thread, NULL);
}

static int put_when_told(struct child_side *side)
{
	FIXTURE_DATA(event) *self = side->argument;
	int session = test_heap_join(&self->heap);
	__u64 object;

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!root_get(session, 0, &object));
	child_ready(side);
	child_waits(side);
	CHILD_CHECK(!object_put(session, object));
	return 0;
}

/* Another process drops the last reference. */
TEST_F(event, read_waits_until_another_process_lets_an_object_die)
{
	struct waiter waiter;
	struct child child;
	__u64 object;

	ASSERT_EQ(0, container_create(self->session, 1, &object));
	ASSERT_EQ(0, root_set(self->session, 0, object, NULL));
	ASSERT_EQ(0, weak_hold(self->session, object, 77));
	ASSERT_EQ(0, child_start(&child, put_when_told, self));
	ASSERT_TRUE(child_wait_ready(&child));
	ASSERT_EQ(0, object_put(self->session, object));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	waiter_start(_metadata, &waiter, self->session);
	ASSERT_EQ(0, child_end(&child));
	waiter_end(_metadata, &waiter);
	EXPECT_EQ(BYTES, waiter.result);
	EXPECT_TRUE(event_equal(&EVENT_WEAK_DEAD(object, 77), &waiter.event));
}

/* And poll(2) does. */
TEST_F(event, poll_waits_until_another_process_lets_an_object_die)
{
	struct child child;
	__u64 object;

	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0,
				   &object));
	ASSERT_EQ(0, root_set(self->session, 0, object, NULL));
	ASSERT_EQ(0, child_start(&child, put_when_told, self));
	ASSERT_TRUE(child_wait_ready(&child));
	ASSERT_EQ(0, object_put(self->session, object));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	EXPECT_EQ(0, event_poll(self->session, 0));
	child_release(&child);
	EXPECT_EQ(POLLIN, event_poll(self->session, SOON_MS));
	ASSERT_EQ(0, child_end(&child));
	EXPECT_EVENTS(self->session, EVENT_FINALIZE(object));
	EXPECT_EQ(0, event_poll(self->session, 0));
	ASSERT_EQ(0, object_put(self->session, object));
}

TEST_F(event, read_ends_when_the_session_leaves)
{
	struct pyobjmem_event event;
	struct waiter waiter;

	waiter_start(_metadata, &waiter, self->other);
	ASSERT_EQ(0, session_leave(self->other));
	waiter_end(_metadata, &waiter);
	EXPECT_EQ(0, waiter.result);
	EXPECT_EQ(0, read_bytes(self->other, &event, BYTES));
	EXPECT_EQ(0, event_nonblock(self->other, true));
	EXPECT_EQ(0, read_bytes(self->other, &event, BYTES));
}

/* What waited to be read is gone with the session. */
TEST_F(event, read_after_the_end_gives_nothing)
{
	struct pyobjmem_event event;

	dead_object(_metadata, self->other, 1);
	due_object(_metadata, self->other);
	ASSERT_EQ(0, session_leave(self->other));
	EXPECT_EQ(0, read_bytes(self->other, &event, BYTES));
	EXPECT_EQ(0, stats_objects(self->session));
}

static void *poll_thread(void *argument)
{
	struct waiter *waiter = argument;

	__atomic_store_n(&waiter->begun, true, __ATOMIC_RELEASE);
	waiter->result = event_poll(waiter->session, SOON_MS);
	__atomic_store_n(&waiter->done, true, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F(event, poll_tells_the_end)
{
	struct waiter waiter = { .session = self->other };

	ASSERT_EQ(0, pthread_create(&waiter.thread, NULL, poll_thread, &waiter));
	ASSERT_TRUE(wait_until(__atomic_load_n(&waiter.begun, __ATOMIC_ACQUIRE), SOON_MS));
	sleep_us(50000);
	EXPECT_FALSE(DONE(&waiter));
	ASSERT_EQ(0, session_leave(self->other));
	waiter_end(_metadata, &waiter);
	EXPECT_EQ(POLLHUP, waiter.result);
	EXPECT_EQ(POLLHUP, event_poll(self->other, 0));
}

TEST_F(event, poll_before_a_heap_is_joined_is_pollerr)
{
	int session = session_open();

	ASSERT_LE(0, session);
	EXPECT_EQ(POLLERR, event_poll(session, 0));
	ASSERT_EQ(0, heap_join(session, self->heap.fd));
	EXPECT_EQ(0, event_poll(session, 0));
	close(session);
}

static int foreign_reader(struct child_side *side)
{
	FIXTURE_DATA(event) *self = side->argument;
	struct pyobjmem_event event;

	CHILD_CHECK(read_bytes(self->session, &event, BYTES) == -EIO);
	CHILD_CHECK(read_bytes(self->session, &event, 1) == -EIO);
	CHILD_CHECK(event_poll(self->session, 0) == POLLERR);
	return 0;
}

/* A descriptor that fork copied is that of a stranger. */
TEST_F(event, read_and_poll_by_a_fork_child_are_refused)
{
	__u64 object = dead_object(_metadata, self->session, 1);
	struct child child;

	ASSERT_EQ(0, child_start(&child, foreign_reader, self));
	ASSERT_EQ(0, child_end(&child));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(object, 1));
}

TEST_F(event, read_waits_for_collected)
{
	int wants = join_collected(&self->heap);
	struct waiter waiter;

	ASSERT_LE(0, wants);
	waiter_start(_metadata, &waiter, wants);
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	waiter_end(_metadata, &waiter);
	EXPECT_EQ(BYTES, waiter.result);
	EXPECT_TRUE(event_equal(&EVENT_COLLECTED(2, 0, 0), &waiter.event));
	close(wants);
}

static void on_signal(int number)
{
	(void)number;
}

/* A handler without SA_RESTART ends the waiting, one with it does not. */
TEST_F(event, read_is_interrupted_by_a_signal)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct waiter waiter;
	__u64 object;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	waiter_start(_metadata, &waiter, self->session);
	ASSERT_EQ(0, pthread_kill(waiter.thread, SIGUSR1));
	waiter_end(_metadata, &waiter);
	EXPECT_EQ(-EINTR, waiter.result);

	action.sa_flags = SA_RESTART;
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	waiter_start(_metadata, &waiter, self->session);
	ASSERT_EQ(0, pthread_kill(waiter.thread, SIGUSR1));
	sleep_us(50000);
	EXPECT_FALSE(DONE(&waiter));
	object = dead_object(_metadata, self->session, 3);
	waiter_end(_metadata, &waiter);
	EXPECT_EQ(BYTES, waiter.result);
	EXPECT_TRUE(event_equal(&EVENT_WEAK_DEAD(object, 3), &waiter.event));
}

#define READERS		4
#define SHARED		2000

struct reader {
	pthread_t thread;
	int session;
	int failed;
	unsigned int *seen;
};

/* Blocking, some at a time, until the session ends. */
static void *reader_thread(void *argument)
{
	struct reader *reader = argument;
	struct pyobjmem_event event[3];
	int got, i;

	while ((got = event_read_once(reader->session, event, 3)) > 0)
		for (i = 0; i < got; i++) {
			if (event[i].cookie >= SHARED)
				reader->failed++;
			else
				__atomic_fetch_add(&reader->seen[event[i].cookie], 1,
						   __ATOMIC_RELAXED);
		}
	reader->failed += got < 0;
	return NULL;
}

TEST_F(event, read_by_several_gives_each_event_to_one)
{
	unsigned int *seen = calloc(SHARED, sizeof(*seen)), i;
	struct reader reader[READERS] = {};
	__u64 object;

	for (i = 0; i < READERS; i++) {
		reader[i].session = self->other;
		reader[i].seen = seen;
		ASSERT_EQ(0, pthread_create(&reader[i].thread, NULL, reader_thread, &reader[i]));
	}
	for (i = 0; i < SHARED; i++) {
		ASSERT_EQ(0, container_create(self->other, i % 2, &object));
		ASSERT_EQ(0, weak_hold(self->other, object, i));
		ASSERT_EQ(0, object_put(self->other, object));
	}
	EXPECT_TRUE(wait_until(!events_waiting(self->other), SOON_MS));
	ASSERT_EQ(0, session_leave(self->other));
	for (i = 0; i < READERS; i++) {
		pthread_join(reader[i].thread, NULL);
		EXPECT_EQ(0, reader[i].failed);
	}
	for (i = 0; i < SHARED; i++)
		ASSERT_EQ(1, seen[i]) {
			TH_LOG("event %u", i);
		}
	free(seen);
}

/* --- Where it shows ------------------------------------------------------- */

TEST_F(event, figures_of_weak_holds_finalizers_and_events)
{
	struct pyobjmem_stats stats;
	__u64 object[3], value;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8,
					   NULL, 1, &object[i]));
		ASSERT_EQ(0, weak_hold(self->session, object[i], 1));
	}
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(3, stats.out_weak);
	EXPECT_EQ(3, stats.out_finalizers);
	EXPECT_EQ(6, stats.out_watches);
	EXPECT_EQ(0, stats.out_events);
	ASSERT_EQ(0, parameter_read("session_watches", &value));
	EXPECT_EQ(value, stats.out_watches_limit);

	ASSERT_EQ(0, object_put(self->session, object[0]));
	ASSERT_EQ(0, ref_set(self->session, object[1], 0, object[1], NULL));
	ASSERT_EQ(0, object_put(self->session, object[1]));
	ASSERT_EQ(0, heap_collect(self->session, 1, NULL));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(3, stats.out_weak);
	EXPECT_EQ(1, stats.out_finalizers);
	EXPECT_EQ(6, stats.out_watches);
	EXPECT_EQ(2, stats.out_events);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(i == 1, stats.out_gc[i].finalizers);
	/* The heap's are the same to all, the session's are its own. */
	ASSERT_EQ(0, heap_stats(self->other, &stats));
	EXPECT_EQ(3, stats.out_weak);
	EXPECT_EQ(1, stats.out_finalizers);
	EXPECT_EQ(0, stats.out_watches);
	EXPECT_EQ(0, stats.out_events);
	EXPECT_EVENTS(self->session, EVENT_FINALIZE(object[0]), EVENT_FINALIZE(object[1]));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(4, stats.out_watches);
	EXPECT_EQ(0, stats.out_events);
	EXPECT_EQ(0, stats.out_finalizers_abandoned);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, object_put(self->session, object[i]));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(object[0], 1));
}

/* debugfs and /proc/PID/fdinfo tell the same. */
TEST_F(event, figures_for_people)
{
	char text[4096], path[64], line[64];
	__u64 object[2];
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8,
					   NULL, 1, &object[i]));
		ASSERT_EQ(0, weak_hold(self->session, object[i], 1));
	}
	ASSERT_EQ(0, weak_hold(self->session, object[0], 2));
	ASSERT_EQ(0, object_put(self->session, object[0]));

	ASSERT_LT(0, heap_file(self->heap.number, "stats", text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "\nweak 3\n")) {
		TH_LOG("%s", text);
	}
	EXPECT_NE(NULL, strstr(text, "\nfinalizers 1\n"));
	EXPECT_NE(NULL, strstr(text, "\nfinalizers_abandoned 0\n"));
	ASSERT_LT(0, heap_file(self->heap.number, "sessions", text, sizeof(text)));
	snprintf(line, sizeof(line), "%d event 1 5 1\n", getpid());
	EXPECT_NE(NULL, strstr(text, line)) {
		TH_LOG("%s", text);
	}
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->session);
	ASSERT_LT(0, file_read(path, text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "\nwatches:\t5\nevents:\t1\n")) {
		TH_LOG("%s", text);
	}
}

TEST_HARNESS_MAIN
