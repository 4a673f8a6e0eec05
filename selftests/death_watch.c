// SPDX-License-Identifier: GPL-2.0
/*
 * Death of processes that have weak holds, finalizers and events: whatever they
 * were at, all of it goes with them, and each finalizer that will never run because
 * of that is counted, those whose events nobody has read as well.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "death.h"
#include "event.h"

/* All victims here have one thread. */
#define DOES(call) INSIDE(death, 0, call)

#define DUE		200	/* finalizers whose events are queued */
#define ARMED		300	/* of objects that live */
#define READ		50	/* events that have been read: finalizers that run */
#define TURN		16	/* finalizers at a time */

FIXTURE(death)
{
	struct death death;
};

FIXTURE_SETUP(death)
{
	death_begin(_metadata, &self->death);
}

FIXTURE_TEARDOWN(death)
{
	death_end(_metadata, &self->death);
}

/* --- States in which a process is killed ------------------------------------ */

/* An object of one slot with a finalizer, held */
static __u64 finalizable(int session, __u64 edge)
{
	__u64 handle;

	CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, &edge, 1, &handle));
	return handle;
}

/* Hold all that others hold weakly, several times. */
static void hold_baseline_weakly(struct death *death, int session)
{
	__u64 handle, next;
	unsigned int i;

	CHILD_CHECK(!root_get(session, 0, &handle));
	for (i = 0; handle; i++, handle = next) {
		CHILD_CHECK(handle == death->object[BASELINE - 1 - i]);
		CHILD_CHECK(!weak_hold(session, handle, 1));
		CHILD_CHECK(!weak_hold(session, handle, i + 2));
		CHILD_CHECK(!ref_get(session, handle, 0, &next));
		CHILD_CHECK(!object_put(session, handle));
	}
}

static void have_finalizers(int session)
{
	__u64 handle, ring = 0;
	unsigned int i;

	for (i = 0; i < ARMED; i++) {
		handle = finalizable(session, i % 3 ? 0 : ring);
		CHILD_CHECK(!weak_hold(session, handle, i));
		if (i % 3)
			continue;
		/* A chain of those that nothing but the next one keeps. */
		if (ring)
			CHILD_CHECK(!object_put(session, ring));
		ring = handle;
	}
	for (i = 0; i < DUE; i++) {
		handle = finalizable(session, 0);
		CHILD_CHECK(!weak_hold(session, handle, i));
		/* Half of them are for the collector to find. */
		if (i & 1)
			CHILD_CHECK(!ref_set(session, handle, 0, handle, NULL));
		CHILD_CHECK(!object_put(session, handle));
	}
}

/* Much of everything, and nothing is read. */
static int watching_much(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);

	hold_baseline_weakly(death, session);
	have_finalizers(session);
	CHILD_CHECK(!heap_collect(session, 2, NULL));
	CHILD_CHECK(events_waiting(session) == DUE);
	child_ready(side);
	wait_for_death();
}

/* The same, but some of the finalizers run when it dies: they are not abandoned. */
static int finalizing(struct child_side *side)
{
	static struct pyobjmem_event events[READ];
	struct death *death = side->argument;
	int session = join_in_child(side);

	hold_baseline_weakly(death, session);
	have_finalizers(session);
	CHILD_CHECK(!heap_collect(session, 2, NULL));
	CHILD_CHECK(events_read(session, events, READ) == READ);
	child_ready(side);
	wait_for_death();
}

/* There is no event, and none will come. */
static int blocked_in_read(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	struct pyobjmem_event event;

	hold_baseline_weakly(death, session);
	finalizable(session, 0);
	child_ready(side);
	DOES(event_read_once(session, &event, 1));
	return 1;
}

static int blocked_in_poll(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);

	hold_baseline_weakly(death, session);
	finalizable(session, 0);
	child_ready(side);
	DOES(event_poll(session, -1));
	return 1;
}

/* Finalizers become due, their events are read, and the objects put, all the time. */
static int reading(struct child_side *side)
{
	struct pyobjmem_event events[2 * TURN];
	struct death *death = side->argument;
	int session = join_in_child(side);
	unsigned int i;
	__u64 handle;

	child_ready(side);
	for (;;) {
		for (i = 0; i < TURN; i++) {
			handle = finalizable(session, 0);
			CHILD_CHECK(!weak_hold(session, handle, 1));
			CHILD_CHECK(!object_put(session, handle));
		}
		CHILD_CHECK(DOES(event_read_once(session, events, 2 * TURN)) == TURN);
		for (i = 0; i < TURN; i++)
			CHILD_CHECK(!object_put(session, events[i].handle));
		CHILD_CHECK(DOES(event_read_once(session, events, 2 * TURN)) == TURN);
	}
}

/* Upgrade garbage until it is collected: somebody else does that. */
static int upgrading(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	struct pyobjmem_event event;
	__u64 ring;

	child_ready(side);
	for (;;) {
		CHILD_CHECK(!container_create(session, 1, &ring));
		CHILD_CHECK(!ref_set(session, ring, 0, ring, NULL));
		CHILD_CHECK(!weak_hold(session, ring, 7));
		CHILD_CHECK(!object_put(session, ring));
		while (!DOES(weak_upgrade(session, ring)))
			CHILD_CHECK(!object_put(session, ring));
		CHILD_CHECK(event_read_once(session, &event, 1) == 1);
		CHILD_CHECK(event.type == PYOBJMEM_EVENT_WEAK_DEAD && event.handle == ring);
	}
}

/* WEAK and WEAK_DROP of what others hold */
static int holding_weakly(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	__u64 handle, i;

	CHILD_CHECK(!root_get(session, 0, &handle));
	child_ready(side);
	for (;;) {
		for (i = 0; i < TURN; i++)
			CHILD_CHECK(!DOES(weak_hold(session, handle, i)));
		for (i = 0; i < TURN; i++)
			CHILD_CHECK(!DOES(weak_drop(session, handle, i)));
	}
}

/* COLLECT, of garbage with finalizers and weak holds of its own */
static int collecting(struct child_side *side)
{
	struct event_handler handler = {};
	struct death *death = side->argument;
	int session = join_in_child(side);
	unsigned int i;
	__u64 handle;

	child_ready(side);
	for (;;) {
		for (i = 0; i < TURN; i++) {
			handle = finalizable(session, 0);
			CHILD_CHECK(!ref_set(session, handle, 0, handle, NULL));
			CHILD_CHECK(!weak_hold(session, handle, 1));
			CHILD_CHECK(!object_put(session, handle));
		}
		ring_drop(session, 300);
		CHILD_CHECK(!DOES(heap_collect(session, 2, NULL)));
		CHILD_CHECK(events_handle(session, &handler) == TURN);
		CHILD_CHECK(!DOES(heap_collect(session, 2, NULL)));
		CHILD_CHECK(events_handle(session, &handler) == TURN);
	}
}

/* --- Kills -------------------------------------------------------------------- */

struct expected {
	unsigned int least;		/* of 100 kills, those in the operation */
	unsigned int abandoned_least;	/* finalizers that never run, by each kill */
	unsigned int abandoned_most;
};

static void kill_in(struct __test_metadata *_metadata, struct death *death,
		    int (*state)(struct child_side *), unsigned int kills,
		    struct expected expected)
{
	unsigned int i, met = 0;
	__u64 before, abandoned;
	struct child child;

	for (i = 0; i < kills; i++) {
		before = stats_finalizers_abandoned(death->session);
		death->at_death->inside[0] = 0;
		ASSERT_EQ(0, child_start(&child, state, death));
		ASSERT_TRUE(child_wait_ready(&child));
		if (expected.least) {
			sleep_us(random_below(&death->seed, 20000));
			meet(death, 1);
		}
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		met += inside(death, 0);
		expect_baseline(_metadata, death);
		abandoned = stats_finalizers_abandoned(death->session) - before;
		ASSERT_LE(expected.abandoned_least, abandoned);
		ASSERT_GE(expected.abandoned_most, abandoned);
	}
	TH_LOG("%u kills, %u of them in the operation", kills, met);
	if (kills >= 10)
		EXPECT_LE(expected.least * kills, met * 100);
}

#define KILL_IN(state, share, ...)						\
	kill_in(_metadata, &self->death, state, kills_of(share),		\
		(struct expected){ __VA_ARGS__ })

TEST_F_TIMEOUT(death, with_unread_events, DEATH_SECONDS)
{
	KILL_IN(watching_much, 20, 0, ARMED + DUE, ARMED + DUE);
}

TEST_F_TIMEOUT(death, in_finalizers, DEATH_SECONDS)
{
	KILL_IN(finalizing, 20, 0, ARMED + DUE - READ, ARMED + DUE - READ);
}

TEST_F_TIMEOUT(death, blocked_in_read, DEATH_SECONDS)
{
	KILL_IN(blocked_in_read, 20, 90, 1, 1);
}

TEST_F_TIMEOUT(death, blocked_in_poll, DEATH_SECONDS)
{
	KILL_IN(blocked_in_poll, 20, 90, 1, 1);
}

TEST_F_TIMEOUT(death, reading, DEATH_SECONDS)
{
	KILL_IN(reading, 30, 10, 0, TURN);
}

TEST_F_TIMEOUT(death, holding_weakly, DEATH_SECONDS)
{
	KILL_IN(holding_weakly, 20, 30, 0, 0);
}

TEST_F_TIMEOUT(death, collecting, DEATH_SECONDS)
{
	KILL_IN(collecting, 30, 10, 0, TURN);
}

static void *collect_always(void *argument)
{
	struct death *death = argument;

	while (!__atomic_load_n(&death->at_death->go, __ATOMIC_SEQ_CST)) {
		heap_collect(death->session, 2, NULL);
		sleep_us(100);
	}
	return NULL;
}

TEST_F_TIMEOUT(death, upgrading_while_others_collect, DEATH_SECONDS)
{
	struct death *death = &self->death;
	pthread_t thread;

	death->at_death->go = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, collect_always, death));
	KILL_IN(upgrading, 30, 10, 0, 0);
	__atomic_store_n(&death->at_death->go, 1, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
}

/* --- Of others ------------------------------------------------------------------ */

/* What root 1 names, held. */
static int holding_root(struct child_side *side)
{
	int session = join_in_child(side);

	CHILD_CHECK(!root_get(session, 1, NULL));
	child_ready(side);
	wait_for_death();
}

/* The last that held it dies: whoever made it is told, and takes it over. */
TEST_F_TIMEOUT(death, of_who_held_what_has_a_finalizer, DEATH_SECONDS)
{
	struct death *death = &self->death;
	unsigned int kills = kills_of(20);
	struct pyobjmem_event event;
	struct child child;
	__u64 handle;

	while (kills--) {
		ASSERT_EQ(0, object_create(death->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8,
					   &death->object[0], 1, &handle));
		ASSERT_EQ(0, weak_hold(death->session, handle, 5));
		ASSERT_EQ(0, root_set(death->session, 1, handle, NULL));
		ASSERT_EQ(0, child_start(&child, holding_root, death));
		ASSERT_TRUE(child_wait_ready(&child));
		ASSERT_EQ(0, root_set(death->session, 1, 0, NULL));
		ASSERT_EQ(0, object_put(death->session, handle));
		ASSERT_EQ(0, event_poll(death->session, 0));
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		ASSERT_EQ(POLLIN, event_poll(death->session, SOON_MS));
		ASSERT_EQ(1, event_read_once(death->session, &event, 1));
		ASSERT_TRUE(event_equal(&event, &EVENT_FINALIZE(handle)));
		ASSERT_EQ(BASELINE + 1, stats_holds(death->session));
		ASSERT_EQ(0, object_put(death->session, handle));
		ASSERT_EVENTS(death->session, EVENT_WEAK_DEAD(handle, 5));
		ASSERT_EQ(0, stats_finalizers_abandoned(death->session));
		expect_baseline(_metadata, death);
	}
}

static int giving(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 handle = finalizable(session, 0);

	CHILD_CHECK(!root_set(session, 1, handle, NULL));
	child_ready(side);
	wait_for_death();
}

/* Who made it dies: it lives on, its finalizer does not. */
TEST_F_TIMEOUT(death, of_who_had_the_finalizer, DEATH_SECONDS)
{
	unsigned int kills = kills_of(20), i;
	struct death *death = &self->death;
	struct pyobjmem_inspect inspect;
	struct child child;
	__u64 handle;

	for (i = 1; i <= kills; i++) {
		ASSERT_EQ(0, child_start(&child, giving, death));
		ASSERT_TRUE(child_wait_ready(&child));
		ASSERT_EQ(0, root_get(death->session, 1, &handle));
		ASSERT_EQ(0, object_inspect(death->session, handle, &inspect));
		ASSERT_FALSE(inspect.out_flags & PYOBJMEM_INSPECT_FINALIZED);
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		ASSERT_TRUE(wait_until(stats_sessions(death->session) == 1, SOON_MS));
		ASSERT_EQ(i, stats_finalizers_abandoned(death->session));
		ASSERT_EQ(0, object_inspect(death->session, handle, &inspect));
		ASSERT_TRUE(inspect.out_flags & PYOBJMEM_INSPECT_FINALIZED);
		ASSERT_EQ(0, root_set(death->session, 1, 0, NULL));
		ASSERT_EQ(0, object_put(death->session, handle));
		EXPECT_NO_EVENTS(death->session);
		ASSERT_EQ(i, stats_finalizers_abandoned(death->session));
		expect_baseline(_metadata, death);
	}
}

TEST_HARNESS_MAIN
