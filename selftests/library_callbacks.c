// SPDX-License-Identifier: GPL-2.0
/*
 * Finalizers, weak holds and the events of collections through libpyobjmem on the
 * real device: what is called, when, in which order, and how often.
 */
#include "library.h"

#include <poll.h>

/* What a callback did and saw. */
struct trace {
	int runs;
	int order;
	uint64_t handle;
	uint64_t weak;
	uint64_t holds;
	__u32 takes;
	char text[8];
	int result;
	/* What it is to work with */
	uint64_t other;
	__u32 slot;
};

static int order_now;

static void note(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	trace->runs++;
	trace->order = ++order_now;
	trace->handle = handle;
	trace->holds = pyobjmem_holds(session, handle);
	trace->takes = takes(session, handle);
	trace->result = pyobjmem_read(session, handle, trace->text, sizeof(trace->text), 0);
}

static void note_and_get(struct pyobjmem *session, uint64_t handle, void *data)
{
	note(session, handle, data);
	((struct trace *)data)->result = pyobjmem_get(session, handle);
}

static void note_and_store(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	note(session, handle, data);
	trace->result = pyobjmem_set_ref(session, trace->other, trace->slot, handle, NULL);
}

static void note_and_clear(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	note(session, handle, data);
	trace->result = pyobjmem_set_ref(session, handle, 0, PYOBJMEM_NONE, NULL);
}

static void note_and_upgrade(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	note(session, handle, data);
	trace->result = pyobjmem_upgrade(session, trace->weak, &trace->other);
	if (!trace->result)
		pyobjmem_put(session, trace->other);
}

static void note_death(struct pyobjmem *session, uint64_t weak, uint64_t handle, void *data)
{
	struct trace *trace = data;

	trace->runs++;
	trace->order = ++order_now;
	trace->weak = weak;
	trace->handle = handle;
	trace->result = pyobjmem_get(session, handle);
}

/* An object with a finalizer, held once. */
static uint64_t make_with(struct pyobjmem *session, uint32_t slots,
			  pyobjmem_finalizer_fn finalizer, struct trace *trace)
{
	struct pyobjmem_object object = {
		.payload = "payload",
		.payload_size = 8,
		.slots = slots,
		.flags = PYOBJMEM_CREATE_FINALIZE,
		.finalizer = finalizer,
		.data = trace,
	};
	uint64_t handle = PYOBJMEM_NONE;

	return pyobjmem_create(session, &object, &handle) ? PYOBJMEM_NONE : handle;
}

static uint64_t hold_weakly(struct pyobjmem *session, uint64_t handle, struct trace *trace)
{
	uint64_t weak = 0;

	return pyobjmem_weak(session, handle, trace ? note_death : NULL, trace, &weak) ? 0 : weak;
}

static __u64 watches(struct pyobjmem *session)
{
	struct pyobjmem_stats stats = { .size = sizeof(stats) };

	return pyobjmem_stats(session, &stats) ? ~0ULL : stats.out_watches;
}

static __u64 events(struct pyobjmem *session)
{
	struct pyobjmem_stats stats = { .size = sizeof(stats) };

	return pyobjmem_stats(session, &stats) ? ~0ULL : stats.out_events;
}

static __u64 abandoned(struct pyobjmem *session)
{
	struct pyobjmem_stats stats = { .size = sizeof(stats) };

	return pyobjmem_stats(session, &stats) ? ~0ULL : stats.out_finalizers_abandoned;
}

/* --- Finalizers ------------------------------------------------------------ */

TEST_F(library, finalizer_waits_for_dispatch)
{
	struct pollfd pollfd = { .fd = pyobjmem_fd(self->session), .events = POLLIN };
	struct trace trace = { 0 };
	uint64_t a = make_with(self->session, 0, note, &trace);

	ASSERT_NE(PYOBJMEM_NONE, a);
	EXPECT_EQ(0, pyobjmem_dispatch(self->session, 0));
	EXPECT_EQ(0, poll(&pollfd, 1, 0));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, trace.runs);
	EXPECT_EQ(1, objects(self->session));
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLIN, pollfd.revents);
	errno = EDOM;
	EXPECT_EQ(1, pyobjmem_dispatch(self->session, 0));
	EXPECT_EQ(EDOM, errno);
	EXPECT_EQ(1, trace.runs);
	EXPECT_EQ(a, trace.handle);
	EXPECT_EQ(1, trace.holds);
	EXPECT_EQ(1, trace.takes);
	EXPECT_EQ(8, trace.result);
	EXPECT_STREQ("payload", trace.text);
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(0, watches(self->session));
	EXPECT_EQ(0, poll(&pollfd, 1, 0));
}

TEST_F(library, direct_put_has_run_the_finalizer)
{
	struct trace trace = { 0 };
	uint64_t a;

	pyobjmem_set_direct(self->session, true);
	a = make_with(self->session, 0, note, &trace);
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, trace.runs);
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(0, holds(self->session));
}

TEST_F(library, direct_mode_follows_all_that_drops)
{
	struct trace traces[5] = { 0 };
	struct pyobjmem_batcher *batcher;
	uint64_t a = make(self->session, 1), b;
	int pair[2];

	pyobjmem_set_direct(self->session, true);
	b = make_with(self->session, 0, note, &traces[0]);
	ASSERT_EQ(0, pyobjmem_set_ref(self->session, a, 0, b, NULL));
	ASSERT_EQ(0, pyobjmem_put(self->session, b));
	EXPECT_EQ(0, traces[0].runs);
	EXPECT_EQ(0, pyobjmem_set_ref(self->session, a, 0, PYOBJMEM_NONE, NULL));
	EXPECT_EQ(1, traces[0].runs);

	b = make_with(self->session, 0, note, &traces[1]);
	ASSERT_EQ(0, pyobjmem_set_root(self->session, 4, b, NULL));
	ASSERT_EQ(0, pyobjmem_put(self->session, b));
	EXPECT_EQ(0, traces[1].runs);
	EXPECT_EQ(0, pyobjmem_set_root(self->session, 4, PYOBJMEM_NONE, NULL));
	EXPECT_EQ(1, traces[1].runs);

	b = make_with(self->session, 0, note, &traces[2]);
	ASSERT_EQ(0, pyobjmem_batch_new(self->session, 0, &batcher));
	ASSERT_EQ(0, pyobjmem_batch_put(batcher, b));
	EXPECT_EQ(0, traces[2].runs);
	EXPECT_EQ(0, pyobjmem_batch_flush(batcher));
	EXPECT_EQ(1, traces[2].runs);
	b = make_with(self->session, 0, note, &traces[3]);
	ASSERT_EQ(0, pyobjmem_batch_put(batcher, b));
	pyobjmem_batch_free(batcher);
	EXPECT_EQ(1, traces[3].runs);

	/* For a while the ticket is the only reference. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	b = make_with(self->session, 0, note, &traces[4]);
	ASSERT_EQ(0, pyobjmem_send(self->session, b, pair[0]));
	ASSERT_EQ(0, pyobjmem_put(self->session, b));
	EXPECT_EQ(0, traces[4].runs);
	EXPECT_EQ(0, pyobjmem_receive(self->session, pair[1], &b));
	EXPECT_EQ(0, traces[4].runs);
	EXPECT_EQ(0, pyobjmem_put(self->session, b));
	EXPECT_EQ(1, traces[4].runs);
	close(pair[0]);
	close(pair[1]);
	EXPECT_EQ(1, objects(self->session));
}

static char *highest, *deepest;

static void note_stack(struct pyobjmem *session, uint64_t handle, void *data)
{
	char here;

	if (!highest || &here > highest)
		highest = &here;
	if (!deepest || &here < deepest)
		deepest = &here;
	note_and_clear(session, handle, data);
}

/* Each of them drops the last reference to the next one. */
TEST_F(library, direct_chain_of_finalizers_does_not_recurse)
{
	enum { COUNT = 1000 };
	struct trace trace = { 0 };
	uint64_t last = PYOBJMEM_NONE, next;
	int i;

	pyobjmem_set_direct(self->session, true);
	for (i = 0; i < COUNT; i++) {
		next = make_with(self->session, 1, note_stack, &trace);
		ASSERT_NE(PYOBJMEM_NONE, next);
		if (last != PYOBJMEM_NONE) {
			ASSERT_EQ(0, pyobjmem_set_ref(self->session, next, 0, last, NULL));
			ASSERT_EQ(0, pyobjmem_put(self->session, last));
		}
		last = next;
	}
	EXPECT_EQ(0, trace.runs);
	EXPECT_EQ(0, pyobjmem_put(self->session, last));
	EXPECT_EQ(COUNT, trace.runs);
	EXPECT_GT(4096, highest - deepest);
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(0, watches(self->session));
}

TEST_F(library, get_in_a_finalizer_keeps_the_object)
{
	struct trace trace = { .result = -1 };
	uint64_t a = make_with(self->session, 0, note_and_get, &trace);

	pyobjmem_set_direct(self->session, true);
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, trace.runs);
	EXPECT_EQ(0, trace.result);
	EXPECT_EQ(1, objects(self->session));
	EXPECT_EQ(1, pyobjmem_holds(self->session, a));
	/* Once in a life. */
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, trace.runs);
	EXPECT_EQ(0, objects(self->session));
}

TEST_F(library, edge_made_in_a_finalizer_keeps_the_object)
{
	struct trace trace = { .other = make(self->session, 1), .slot = 0, .result = -1 };
	uint64_t a = make_with(self->session, 0, note_and_store, &trace), value;
	struct pyobjmem_inspect inspect = { .size = sizeof(inspect) };

	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, pyobjmem_dispatch(self->session, 0));
	EXPECT_EQ(0, trace.result);
	EXPECT_EQ(2, objects(self->session));
	EXPECT_EQ(0, pyobjmem_holds(self->session, a));
	EXPECT_EQ(0, pyobjmem_get_ref(self->session, trace.other, 0, &value));
	EXPECT_EQ(a, value);
	EXPECT_EQ(0, pyobjmem_inspect(self->session, a, NULL, 0, &inspect));
	EXPECT_NE(0, inspect.out_flags & PYOBJMEM_INSPECT_FINALIZED);
}

TEST_F(library, finalizers_of_a_cycle)
{
	struct trace one = { 0 }, two = { 0 };
	struct pyobjmem_collect result = { .size = sizeof(result) };
	uint64_t a = make_with(self->session, 1, note, &one);
	uint64_t b = make_with(self->session, 1, note, &two);

	pyobjmem_set_direct(self->session, true);
	ASSERT_EQ(0, pyobjmem_set_ref(self->session, a, 0, b, NULL));
	ASSERT_EQ(0, pyobjmem_set_ref(self->session, b, 0, a, NULL));
	ASSERT_EQ(0, pyobjmem_put(self->session, a));
	ASSERT_EQ(0, pyobjmem_put(self->session, b));
	EXPECT_EQ(0, one.runs + two.runs);
	EXPECT_EQ(0, pyobjmem_collect(self->session, 2, &result));
	EXPECT_EQ(2, result.out_finalizers);
	EXPECT_EQ(1, one.runs);
	EXPECT_EQ(1, two.runs);
	EXPECT_EQ(8, one.result);
	EXPECT_EQ(8, two.result);
	EXPECT_EQ(2, objects(self->session));
	EXPECT_EQ(0, pyobjmem_collect(self->session, 2, &result));
	EXPECT_EQ(2, result.out_collected);
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(2, one.runs + two.runs);
}

/* More than one read(2) brings, and some that were batched. */
TEST_F(library, finalizers_in_great_numbers)
{
	enum { COUNT = 5000 };
	static struct trace traces[COUNT];
	static uint64_t handles[COUNT];
	struct pyobjmem_object object = {
		.payload = "batched",
		.payload_size = 8,
		.flags = PYOBJMEM_CREATE_FINALIZE,
		.finalizer = note,
	};
	struct pyobjmem_batcher *batcher;
	int i;

	ASSERT_EQ(0, pyobjmem_batch_new(self->session, 0, &batcher));
	for (i = 0; i < COUNT; i++) {
		object.data = &traces[i];
		ASSERT_EQ(i, pyobjmem_batch_create(batcher, &object, &handles[i]));
	}
	ASSERT_EQ(0, pyobjmem_batch_flush(batcher));
	EXPECT_EQ(COUNT, watches(self->session));
	for (i = 0; i < COUNT; i++)
		ASSERT_EQ(0, pyobjmem_batch_put(batcher, handles[i]));
	ASSERT_EQ(0, pyobjmem_batch_flush(batcher));
	pyobjmem_batch_free(batcher);
	EXPECT_EQ(COUNT, events(self->session));
	EXPECT_EQ(COUNT, pyobjmem_dispatch(self->session, 0));
	for (i = 0; i < COUNT; i++) {
		ASSERT_EQ(1, traces[i].runs);
		ASSERT_EQ(i + 1, traces[i].order);
		ASSERT_EQ(handles[i], traces[i].handle);
		ASSERT_EQ(8, traces[i].result);
	}
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(0, holds(self->session));
	EXPECT_EQ(0, watches(self->session));
}

/* --- Weak holds -------------------------------------------------------------- */

TEST_F(library, weak_hold_finds_what_lives)
{
	uint64_t a = make(self->session, 0), weak, handle = 7;
	struct trace trace = { 0 };

	weak = hold_weakly(self->session, a, &trace);
	ASSERT_NE(0, weak);
	EXPECT_EQ(0, pyobjmem_set_root(self->session, 0, a, NULL));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, pyobjmem_upgrade(self->session, weak, &handle));
	EXPECT_EQ(a, handle);
	EXPECT_EQ(1, takes(self->session, a));
	EXPECT_EQ(0, pyobjmem_upgrade(self->session, weak, &handle));
	EXPECT_EQ(2, pyobjmem_holds(self->session, a));
	EXPECT_EQ(1, takes(self->session, a));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, pyobjmem_set_root(self->session, 0, PYOBJMEM_NONE, NULL));
	EXPECT_EQ(1, objects(self->session));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(-ESTALE, pyobjmem_upgrade(self->session, weak, &handle));
	EXPECT_EQ(0, trace.runs);
	EXPECT_EQ(1, pyobjmem_dispatch(self->session, 0));
	EXPECT_EQ(1, trace.runs);
	EXPECT_EQ(weak, trace.weak);
	EXPECT_EQ(a, trace.handle);
	EXPECT_EQ(-ESTALE, trace.result);
	EXPECT_EQ(-ESTALE, pyobjmem_upgrade(self->session, weak, &handle));
	EXPECT_EQ(-ENOENT, pyobjmem_weak_drop(self->session, weak));
	EXPECT_EQ(0, watches(self->session));
}

/* Such a heap does not tell others than holders whether an object lives. */
TEST_F(library, weak_holds_in_a_heap_without_windows)
{
	struct pyobjmem *session;
	struct trace trace = { 0 };
	uint64_t a, weak, dropped, handle = 7;

	ASSERT_EQ(0, pyobjmem_open(&session));
	ASSERT_EQ(0, pyobjmem_heap_create(session, PYOBJMEM_HEAP_NOMAP, 0, NULL));
	a = make(session, 0);
	weak = hold_weakly(session, a, &trace);
	dropped = hold_weakly(session, a, &trace);
	ASSERT_EQ(0, pyobjmem_put(session, a));
	EXPECT_EQ(-ESTALE, pyobjmem_upgrade(session, weak, &handle));
	EXPECT_EQ(0, pyobjmem_weak_drop(session, dropped));
	EXPECT_EQ(1, pyobjmem_dispatch(session, 0));
	EXPECT_EQ(weak, trace.weak);
	EXPECT_EQ(0, watches(session));
	pyobjmem_close(session);
}

TEST_F(library, finalizer_first_then_weak_holds)
{
	struct trace finalizer = { .result = -1 }, weak[2] = { 0 };
	uint64_t a = make_with(self->session, 0, note_and_upgrade, &finalizer);

	pyobjmem_set_direct(self->session, true);
	finalizer.weak = hold_weakly(self->session, a, &weak[0]);
	ASSERT_NE(0, hold_weakly(self->session, a, &weak[1]));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, finalizer.runs);
	EXPECT_EQ(0, finalizer.result);
	EXPECT_EQ(a, finalizer.other);
	EXPECT_EQ(1, weak[0].runs);
	EXPECT_EQ(1, weak[1].runs);
	EXPECT_LT(finalizer.order, weak[0].order);
	EXPECT_LT(finalizer.order, weak[1].order);
	EXPECT_EQ(-ESTALE, weak[0].result);
}

TEST_F(library, weak_hold_survives_with_its_object)
{
	struct trace finalizer = { 0 }, weak = { 0 };
	uint64_t a = make_with(self->session, 0, note_and_get, &finalizer);
	uint64_t number = hold_weakly(self->session, a, &weak), handle;

	pyobjmem_set_direct(self->session, true);
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, finalizer.runs);
	EXPECT_EQ(0, weak.runs);
	EXPECT_EQ(0, pyobjmem_upgrade(self->session, number, &handle));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, weak.runs);
}

TEST_F(library, weak_hold_dropped_before_the_death)
{
	uint64_t a = make(self->session, 0);
	struct trace kept = { 0 }, dropped = { 0 };
	uint64_t weak = hold_weakly(self->session, a, &dropped);

	ASSERT_NE(0, hold_weakly(self->session, a, &kept));
	EXPECT_EQ(0, pyobjmem_weak_drop(self->session, weak));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, events(self->session));
	EXPECT_EQ(1, pyobjmem_dispatch(self->session, 0));
	EXPECT_EQ(0, dropped.runs);
	EXPECT_EQ(1, kept.runs);
}

TEST_F(library, weak_hold_dropped_before_its_event_is_read)
{
	uint64_t a = make(self->session, 0);
	struct trace trace = { 0 };
	uint64_t weak = hold_weakly(self->session, a, &trace);

	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, events(self->session));
	EXPECT_EQ(0, pyobjmem_weak_drop(self->session, weak));
	EXPECT_EQ(-ENOENT, pyobjmem_weak_drop(self->session, weak));
	EXPECT_EQ(0, pyobjmem_dispatch(self->session, 0));
	EXPECT_EQ(0, trace.runs);
	EXPECT_EQ(0, events(self->session));
	EXPECT_EQ(0, watches(self->session));
}

TEST_F(library, weak_holds_of_a_cycle)
{
	uint64_t a = make(self->session, 1), weak, handle;
	struct trace trace = { 0 };

	pyobjmem_set_direct(self->session, true);
	weak = hold_weakly(self->session, a, &trace);
	ASSERT_EQ(0, pyobjmem_set_ref(self->session, a, 0, a, NULL));
	ASSERT_EQ(0, pyobjmem_put(self->session, a));
	/* Nobody has found it dead yet. */
	EXPECT_EQ(0, pyobjmem_upgrade(self->session, weak, &handle));
	EXPECT_EQ(0, pyobjmem_collect(self->session, 2, NULL));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, trace.runs);
	EXPECT_EQ(0, pyobjmem_collect(self->session, 2, NULL));
	EXPECT_EQ(1, trace.runs);
	EXPECT_EQ(0, objects(self->session));
}

TEST_F(library, batched_weak_holds)
{
	enum { COUNT = 1500 };
	static uint64_t handles[COUNT], weaks[COUNT], found[COUNT];
	static struct trace traces[COUNT];
	struct pyobjmem_object object = { .payload_size = 8 };
	struct pyobjmem_batcher *batcher;
	int i;

	ASSERT_EQ(0, pyobjmem_batch_new(self->session, PYOBJMEM_BATCH_CONTINUE, &batcher));
	for (i = 0; i < COUNT; i++)
		pyobjmem_batch_create(batcher, &object, &handles[i]);
	ASSERT_EQ(0, pyobjmem_batch_flush(batcher));
	for (i = 0; i < COUNT; i++)
		ASSERT_EQ(i, pyobjmem_batch_weak(batcher, handles[i], note_death, &traces[i],
						 &weaks[i]));
	ASSERT_EQ(0, pyobjmem_batch_flush(batcher));
	/* Every third one dies; the others are found. */
	for (i = 0; i < COUNT; i += 3)
		ASSERT_EQ(0, pyobjmem_batch_put(batcher, handles[i]));
	for (i = 0; i < COUNT; i++)
		ASSERT_EQ(i, pyobjmem_batch_upgrade(batcher, weaks[i], &found[i]));
	EXPECT_EQ(-ESTALE, pyobjmem_batch_flush(batcher));
	for (i = 0; i < COUNT; i++) {
		ASSERT_EQ(i % 3 ? 0 : -ESTALE, pyobjmem_batch_result(batcher, i));
		ASSERT_EQ(i % 3 ? handles[i] : PYOBJMEM_NONE, found[i]);
	}
	EXPECT_EQ(COUNT / 3, pyobjmem_dispatch(self->session, 0));
	for (i = 0; i < COUNT; i++)
		ASSERT_EQ(!(i % 3), traces[i].runs);
	pyobjmem_batch_free(batcher);
}

/* --- Several sessions --------------------------------------------------------- */

/* The finalizer is the maker's, whoever drops the last reference. */
TEST_F(library, finalizer_is_its_makers)
{
	struct trace trace = { 0 }, here = { 0 }, there = { 0 };
	uint64_t a = make_with(self->session, 0, note, &trace), b;

	pyobjmem_set_direct(self->other, true);
	ASSERT_EQ(0, pyobjmem_set_root(self->session, 0, a, NULL));
	ASSERT_EQ(0, pyobjmem_get_root(self->other, 0, &b));
	ASSERT_NE(0, hold_weakly(self->session, a, &here));
	ASSERT_NE(0, hold_weakly(self->other, b, &there));
	ASSERT_EQ(0, pyobjmem_put(self->session, a));
	ASSERT_EQ(0, pyobjmem_set_root(self->session, 0, PYOBJMEM_NONE, NULL));
	EXPECT_EQ(0, pyobjmem_put(self->other, b));
	EXPECT_EQ(0, trace.runs);
	EXPECT_EQ(0, there.runs);
	EXPECT_EQ(1, objects(self->other));
	EXPECT_EQ(2, pyobjmem_dispatch(self->session, -1));
	EXPECT_EQ(1, trace.runs);
	EXPECT_EQ(1, here.runs);
	EXPECT_EQ(0, objects(self->other));
	EXPECT_EQ(1, pyobjmem_dispatch(self->other, -1));
	EXPECT_EQ(1, there.runs);
}

/* A child that holds the object of root 0 until it is told to go. */
static int hold_root(struct child_side *side)
{
	struct pyobjmem *session;
	uint64_t handle;

	CHILD_CHECK(!pyobjmem_open(&session));
	CHILD_CHECK(!pyobjmem_heap_join(session, *(int *)side->argument));
	CHILD_CHECK(!pyobjmem_get_root(session, 0, &handle) && handle);
	child_ready(side);
	child_waits(side);
	return 0;
}

TEST_F(library, dispatch_waits_for_the_death_of_a_process)
{
	struct trace finalizer = { 0 }, weak = { 0 };
	struct child child;
	uint64_t a = make_with(self->session, 0, note, &finalizer);
	int ran = 0;

	ASSERT_NE(0, hold_weakly(self->session, a, &weak));
	ASSERT_EQ(0, pyobjmem_set_root(self->session, 0, a, NULL));
	ASSERT_EQ(0, child_start(&child, hold_root, &self->heap));
	ASSERT_TRUE(child_wait_ready(&child));
	ASSERT_EQ(0, pyobjmem_set_root(self->session, 0, PYOBJMEM_NONE, NULL));
	ASSERT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, pyobjmem_dispatch(self->session, 20));
	EXPECT_EQ(-SIGKILL, child_kill(&child));
	while (!ran)
		ran = pyobjmem_dispatch(self->session, -1);
	EXPECT_EQ(2, ran);
	EXPECT_EQ(1, finalizer.runs);
	EXPECT_EQ(1, weak.runs);
	EXPECT_EQ(0, objects(self->session));
}

/* A child with finalizers of its own, one of them due, for objects that we use. */
static int make_for_others(struct child_side *side)
{
	struct pyobjmem *session;
	struct trace trace = { 0 };
	uint64_t a, b;

	CHILD_CHECK(!pyobjmem_open(&session));
	CHILD_CHECK(!pyobjmem_heap_join(session, *(int *)side->argument));
	a = make_with(session, 0, note, &trace);
	b = make_with(session, 0, note, &trace);
	CHILD_CHECK(a && b);
	CHILD_CHECK(!pyobjmem_set_root(session, 0, a, NULL));
	CHILD_CHECK(!pyobjmem_put(session, b));
	child_ready(side);
	child_waits(side);
	return trace.runs;
}

TEST_F(library, finalizers_of_a_killed_process_are_abandoned)
{
	struct trace trace = { 0 };
	struct child child;
	uint64_t a;

	ASSERT_EQ(0, child_start(&child, make_for_others, &self->heap));
	ASSERT_TRUE(child_wait_ready(&child));
	ASSERT_EQ(0, pyobjmem_get_root(self->session, 0, &a));
	ASSERT_NE(0, hold_weakly(self->session, a, &trace));
	EXPECT_EQ(2, objects(self->session));
	EXPECT_EQ(-SIGKILL, child_kill(&child));
	EXPECT_TRUE(wait_until(objects(self->session) == 1, SOON_MS));
	EXPECT_TRUE(wait_until(abandoned(self->session) == 2, SOON_MS));
	pyobjmem_set_direct(self->session, true);
	EXPECT_EQ(0, pyobjmem_set_root(self->session, 0, PYOBJMEM_NONE, NULL));
	EXPECT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(1, trace.runs);
	EXPECT_EQ(0, objects(self->session));
}

TEST_F(library, fork_child_dispatches_nothing)
{
	struct trace trace = { 0 };
	uint64_t a = make_with(self->session, 0, note, &trace);
	int status;
	pid_t pid;

	ASSERT_EQ(0, pyobjmem_put(self->session, a));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(pyobjmem_dispatch(self->session, -1) != -EIO || trace.runs);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, pyobjmem_dispatch(self->session, 0));
}

TEST_F(library, what_has_not_begun_when_the_session_leaves_does_not_run)
{
	struct trace due = { 0 }, later = { 0 }, weak = { 0 };
	uint64_t a = make_with(self->session, 0, note, &due);
	uint64_t b = make_with(self->session, 0, note, &later), handle;
	uint64_t number = hold_weakly(self->session, b, &weak);

	ASSERT_EQ(0, pyobjmem_set_root(self->session, 0, b, NULL));
	ASSERT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, pyobjmem_leave(self->session));
	EXPECT_EQ(-ENOTCONN, pyobjmem_dispatch(self->session, 0));
	EXPECT_EQ(-ENOTCONN, pyobjmem_dispatch(self->session, -1));
	EXPECT_EQ(-ESTALE, pyobjmem_upgrade(self->session, number, &handle));
	EXPECT_EQ(1, objects(self->other));
	EXPECT_EQ(2, abandoned(self->other));
	EXPECT_EQ(0, pyobjmem_set_root(self->other, 0, PYOBJMEM_NONE, NULL));
	EXPECT_EQ(0, objects(self->other));
	EXPECT_EQ(0, due.runs + later.runs + weak.runs);
}

TEST_F(library, dispatch_needs_a_heap)
{
	struct pyobjmem *session;

	ASSERT_EQ(0, pyobjmem_open(&session));
	EXPECT_EQ(-ENOTCONN, pyobjmem_dispatch(session, 0));
	EXPECT_EQ(-ENOTCONN, pyobjmem_dispatch(session, -1));
	pyobjmem_close(session);
}

/* A descriptor that waits when it is read, with an event of an unknown finalizer. */
TEST_F(library, open_fd_dispatches_what_it_does_not_know)
{
	struct pyobjmem *adopted;
	struct trace trace = { 0 };
	uint64_t a;
	__u64 raw;
	int fd = session_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, heap_join(fd, self->heap));
	ASSERT_EQ(0, object_create(fd, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0, &raw));
	ASSERT_EQ(0, object_put(fd, raw));
	ASSERT_EQ(0, pyobjmem_open_fd(fd, &adopted));
	a = make_with(adopted, 0, note, &trace);
	ASSERT_EQ(0, pyobjmem_put(adopted, a));
	EXPECT_EQ(1, pyobjmem_dispatch(adopted, 0));
	EXPECT_EQ(0, pyobjmem_dispatch(adopted, 0));
	EXPECT_EQ(1, trace.runs);
	EXPECT_EQ(0, objects(adopted));
	pyobjmem_close(adopted);
}

/* --- Collections ---------------------------------------------------------------- */

struct collections {
	int runs;
	struct pyobjmem_event last;
};

static void note_collected(struct pyobjmem *session, const struct pyobjmem_event *event,
			   void *data)
{
	struct collections *collections = data;

	(void)session;
	collections->runs++;
	collections->last = *event;
}

TEST_F(library, collected_tells_of_everybodys_collections)
{
	struct collections collections = { 0 };
	struct pyobjmem *listener;
	uint64_t a;
	int i;

	EXPECT_EQ(-EALREADY, pyobjmem_on_collected(self->other, note_collected, &collections));
	ASSERT_EQ(0, pyobjmem_open(&listener));
	ASSERT_EQ(0, pyobjmem_on_collected(listener, note_collected, &collections));
	ASSERT_EQ(0, pyobjmem_heap_join(listener, self->heap));
	EXPECT_EQ(0, pyobjmem_dispatch(listener, 0));
	a = make(self->session, 1);
	ASSERT_EQ(0, pyobjmem_set_ref(self->session, a, 0, a, NULL));
	ASSERT_EQ(0, pyobjmem_put(self->session, a));
	EXPECT_EQ(0, pyobjmem_collect(self->session, 1, NULL));
	EXPECT_EQ(1, pyobjmem_dispatch(listener, -1));
	EXPECT_EQ(1, collections.last.generation);
	EXPECT_EQ(1, collections.last.collected);
	EXPECT_EQ(0, collections.last.lost);

	pyobjmem_set_direct(listener, true);
	for (i = 0; i < PYOBJMEM_EVENTS_COLLECTED + 3; i++)
		EXPECT_EQ(0, pyobjmem_collect(self->session, 2, NULL));
	EXPECT_EQ(0, pyobjmem_collect(listener, 0, NULL));
	EXPECT_EQ(1 + PYOBJMEM_EVENTS_COLLECTED, collections.runs);
	EXPECT_EQ(0, collections.last.generation);
	pyobjmem_close(listener);
}

/* --- Threads -------------------------------------------------------------------- */

enum { THREADS = 4, SUBJECTS = 400 };

/* An object, and how often its callbacks ran. */
struct subject {
	int finalized;
	int died;
	int early;
	bool dropped;
};

struct crew {
	struct pyobjmem *session;
	struct subject subjects[SUBJECTS];
	unsigned int id;
	int failed;
};

static int beside;
static int callbacks_now;

static void callback_begins(void)
{
	if (__atomic_add_fetch(&callbacks_now, 1, __ATOMIC_RELAXED) != 1)
		__atomic_store_n(&beside, 1, __ATOMIC_RELAXED);
}

static void callback_ends(void)
{
	__atomic_sub_fetch(&callbacks_now, 1, __ATOMIC_RELAXED);
}

static void subject_finalize(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct subject *subject = data;

	callback_begins();
	subject->finalized++;
	subject->early += subject->died || pyobjmem_holds(session, handle) != 1;
	callback_ends();
}

static void subject_died(struct pyobjmem *session, uint64_t weak, uint64_t handle, void *data)
{
	struct subject *subject = data;

	callback_begins();
	subject->died++;
	subject->early += subject->finalized != 1 || pyobjmem_get(session, handle) != -ESTALE;
	(void)weak;
	callback_ends();
}

static int make_and_drop(struct crew *crew, struct subject *subject, int way)
{
	struct pyobjmem_object object = {
		.flags = PYOBJMEM_CREATE_FINALIZE,
		.finalizer = subject_finalize,
		.data = subject,
	};
	uint64_t handle, weak;
	int error = pyobjmem_create(crew->session, &object, &handle);

	if (!error)
		error = pyobjmem_weak(crew->session, handle, subject_died, subject, &weak);
	if (!error && way == 0)
		subject->dropped = !pyobjmem_weak_drop(crew->session, weak);
	if (!error)
		error = pyobjmem_put(crew->session, handle);
	if (!error && way == 1)
		subject->dropped = !pyobjmem_weak_drop(crew->session, weak);
	if (!error && way == 2 && pyobjmem_dispatch(crew->session, crew->id % 2) < 0)
		error = -EINVAL;
	return error;
}

static void *crew_member(void *argument)
{
	struct crew *crew = argument;
	int i;

	for (i = 0; i < SUBJECTS && !crew->failed; i++)
		crew->failed = make_and_drop(crew, &crew->subjects[i], i % 4);
	return NULL;
}

/* Threads let objects die; each callback runs once, in its order, and alone. */
TEST_F(library, threads_dispatch_together)
{
	static struct crew crew[THREADS];
	pthread_t threads[THREADS];
	const struct subject *subject;
	int i, k;

	pyobjmem_set_direct(self->session, true);
	for (i = 0; i < THREADS; i++) {
		crew[i].session = self->session;
		crew[i].id = i;
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, crew_member, &crew[i]));
	}
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
		EXPECT_EQ(0, crew[i].failed);
	}
	/* Somebody has seen to each of them. */
	EXPECT_EQ(0, events(self->session));
	EXPECT_EQ(0, watches(self->session));
	EXPECT_EQ(0, objects(self->session));
	EXPECT_EQ(0, holds(self->session));
	EXPECT_EQ(0, beside);
	for (i = 0; i < THREADS; i++) {
		for (k = 0; k < SUBJECTS; k++) {
			subject = &crew[i].subjects[k];
			ASSERT_EQ(1, subject->finalized);
			ASSERT_EQ(!subject->dropped, subject->died);
			ASSERT_EQ(0, subject->early);
		}
	}
}

TEST_HARNESS_MAIN
