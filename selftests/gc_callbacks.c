// SPDX-License-Identifier: GPL-2.0
/*
 * CPython's test_gc: GCCallbackTests, GCTogglingTests, and those of GCTests about the
 * end of an interpreter. Each test is named after the one that it stands for. How
 * the one is mapped onto the other: gc.h. Besides, a callback of gc.callbacks is a
 * session that wants COLLECTED events; there is none for the start of a
 * collection.
 *
 * Without a meaning here:
 *
 *	test_refcount_errors	counts lie in the kernel, where no client can break them;
 *				what finds it if the kernel does is tested by the KUnit
 *				suite of verify
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"
#include "gc.h"

/* --- GCCallbackTests ------------------------------------------------------ */

FIXTURE(callback)
{
	struct program program;
	int session;
	int callback[2];
};

FIXTURE_SETUP(callback)
{
	ASSERT_EQ(0, program_begin(&self->program, PYOBJMEM_HEAP_COLLECTED));
	self->session = self->program.session;
	self->callback[0] = self->session;
	self->callback[1] = session_open();
	ASSERT_LE(0, self->callback[1]);
	ASSERT_EQ(0, heap_join_flags(self->callback[1], self->program.heap.fd,
				     PYOBJMEM_HEAP_COLLECTED));
}

FIXTURE_TEARDOWN(callback)
{
	close(self->callback[1]);
	EXPECT_CLEAN_END(&self->program.heap);
}

/* Each of two gets one, with what the collection did. */
TEST_F(callback, collect)
{
	int i;

	EXPECT_EQ(0, collect(self->session, 2));
	for (i = 0; i < 2; i++)
		EXPECT_EVENTS(self->callback[i], EVENT_COLLECTED(2, 0, 0));
}

TEST_F(callback, collect_generation)
{
	__u32 g;
	int i;

	for (g = 0; g < 3; g++) {
		EXPECT_EQ(0, collect(self->session, g));
		for (i = 0; i < 2; i++)
			EXPECT_EVENTS(self->callback[i], EVENT_COLLECTED(g, 0, 0));
	}
}

/*
 * Two pairs that cannot be collected yet, and an object that can. What CPython
 * calls uncollectable stays for ever, here it stays until its finalizer has run: when
 * the pairs have been broken, they go by their counts, and no collection finds
 * any of them.
 */
TEST_F(callback, collect_garbage)
{
	__u64 pair[2][2];
	int i, j;

	for (i = 0; i < 2; i++) {
		for (j = 0; j < 2; j++)
			pair[i][j] = new_finalized(_metadata, self->session, 1);
		for (j = 0; j < 2; j++)
			link_to(_metadata, self->session, pair[i][j], 0, pair[i][!j]);
		for (j = 0; j < 2; j++)
			del(_metadata, self->session, pair[i][j]);
	}
	del(_metadata, self->session, new_self_cycle(_metadata, self->session, 0));
	EXPECT_EQ(1, collect(self->session, 2));
	EXPECT_EVENTS(self->callback[1], EVENT_COLLECTED(2, 1, 4));
	EXPECT_EVENTS_UNORDERED(self->callback[0], EVENT_FINALIZE(pair[0][0]),
				EVENT_FINALIZE(pair[0][1]), EVENT_FINALIZE(pair[1][0]),
				EVENT_FINALIZE(pair[1][1]), EVENT_COLLECTED(2, 1, 4));
	for (i = 0; i < 2; i++) {
		link_to(_metadata, self->session, pair[i][0], 0, PYOBJMEM_NONE);
		for (j = 0; j < 2; j++)
			del(_metadata, self->session, pair[i][j]);
	}
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(0, collect(self->session, 2));
	for (i = 0; i < 2; i++)
		EXPECT_EVENTS(self->callback[i], EVENT_COLLECTED(2, 0, 0));
}

/*
 * Of 3.13: objects that are made through whatever call make the collector run by
 * itself, and none does when it is disabled. The calls here: CREATE alone and in a BATCH.
 */
TEST_F(callback, indirect_calls_with_gc_disabled)
{
	struct pyobjmem_batch_entry entries[100];
	int round, i, on;
	__u64 before;

	for (on = 1; on >= 0; on--) {
		ASSERT_EQ(0, on ? gc_enable(self->session, 50) :
				  heap_automatic(self->session, false));
		/* One that was due already may still be on its way. */
		sleep_us(on ? 0 : 200000);
		before = gc_collections(self->session);
		for (round = 0; round < 50; round++) {
			for (i = 0; i < 100; i++) {
				entries[i] = entry_create(0, NULL, 8, 1);
				new_object(_metadata, self->session, 0, 1);
			}
			ASSERT_EQ(0, batch_run(self->session, entries, 100, 0, NULL));
		}
		if (on) {
			EXPECT_TRUE(wait_until(gc_collections(self->session) > before, SOON_MS));
			continue;
		}
		EXPECT_EQ(before, gc_collections(self->session));
	}
}

/* --- GCTogglingTests ------------------------------------------------------ */

FIXTURE(toggling)
{
	struct program program;
	int session;
	__u64 old, c1, c2;
};

/*
 * @old is in generation 2 and kept by c1, which is in generation 0 and garbage; so is
 * c2, to which there is a weak reference.
 */
FIXTURE_SETUP(toggling)
{
	ASSERT_EQ(0, program_begin(&self->program, 0));
	self->session = self->program.session;
}

FIXTURE_TEARDOWN(toggling)
{
	EXPECT_CLEAN_END(&self->program.heap);
}

static void toggling_prepare(struct __test_metadata *_metadata, FIXTURE_DATA(toggling) *self,
			     __u32 flags)
{
	struct pyobjmem_inspect inspect;

	self->old = new_self_cycle(_metadata, self->session, flags);
	ASSERT_EQ(0, gc_collect(&self->program));
	ASSERT_EQ(0, collect(self->session, 1));
	ASSERT_EQ(0, object_inspect(self->session, self->old, &inspect));
	ASSERT_EQ(2, inspect.out_generation);

	self->c1 = new_object(_metadata, self->session, 0, 2);
	link_to(_metadata, self->session, self->c1, 0, self->c1);
	link_to(_metadata, self->session, self->c1, 1, self->old);
	link_to(_metadata, self->session, self->old, 0, PYOBJMEM_NONE);
	self->c2 = new_self_cycle(_metadata, self->session, 0);
	ASSERT_EQ(0, weak_hold(self->session, self->c2, 2));
	ASSERT_EQ(0, object_inspect(self->session, self->c2, &inspect));
	ASSERT_EQ(0, inspect.out_generation);
}

/* Let generation 0 be collected by itself, because of objects that are made and stay. */
static void toggling_provoke(struct __test_metadata *_metadata, FIXTURE_DATA(toggling) *self)
{
	struct pyobjmem_stats stats;
	__u64 before;
	int i;

	ASSERT_EQ(0, heap_stats(self->session, &stats));
	before = stats.out_gc[0].collections;
	del(_metadata, self->session, self->old);
	del(_metadata, self->session, self->c1);
	del(_metadata, self->session, self->c2);
	ASSERT_EQ(0, events_waiting(self->session));
	ASSERT_EQ(0, heap_automatic(self->session, true));
	for (i = 0; i < 701; i++)
		new_object(_metadata, self->session, 0, 1);
	ASSERT_TRUE(wait_until(!heap_stats(self->session, &stats) &&
			       stats.out_gc[0].collections > before, SOON_MS));
	ASSERT_EQ(0, heap_automatic(self->session, false));
	EXPECT_EQ(before + 1, stats.out_gc[0].collections);
	EXPECT_EQ(2, stats.out_gc[0].collected);
}

struct deref {
	__u64 ignored, target;
	int calls, result;
};

static void deref_dead(int session, __u64 handle, __u64 cookie, void *argument)
{
	struct deref *deref = argument;

	(void)cookie;
	if (handle == deref->ignored)
		return;
	deref->calls++;
	deref->result = weak_call(session, deref->target);
}

/* The callback of the old object follows the weak reference to c2. */
TEST_F(toggling, bug1055820c)
{
	struct deref deref = {};

	self->program.handler.weak_dead = deref_dead;
	self->program.handler.argument = &deref;
	toggling_prepare(_metadata, self, 0);
	deref.ignored = self->c2;
	deref.target = self->c2;
	ASSERT_EQ(0, weak_hold(self->session, self->old, 0));
	toggling_provoke(_metadata, self);
	ASSERT_EQ(2, events_handle(self->session, &self->program.handler));
	EXPECT_EQ(1, deref.calls);
	EXPECT_EQ(-ESTALE, deref.result);
	EXPECT_EQ(701, stats_objects(self->session));
}

static void deref_finalize(int session, __u64 handle, void *argument)
{
	struct deref *deref = argument;

	(void)handle;
	deref->calls++;
	deref->result = weak_call(session, deref->target);
}

/* Its finalizer does. */
TEST_F(toggling, bug1055820d)
{
	struct deref deref = {};

	self->program.handler.finalize = deref_finalize;
	self->program.handler.argument = &deref;
	toggling_prepare(_metadata, self, PYOBJMEM_CREATE_FINALIZE);
	deref.target = self->c2;
	toggling_provoke(_metadata, self);
	EXPECT_EQ(702, stats_objects(self->session));
	ASSERT_EQ(2, events_handle(self->session, &self->program.handler));
	EXPECT_EQ(1, deref.calls);
	EXPECT_EQ(-ESTALE, deref.result);
	EXPECT_EQ(701, stats_objects(self->session));
}

/* --- The end of an interpreter -------------------------------------------- */

FIXTURE(shutdown)
{
	struct program program;
	int session;
};

FIXTURE_SETUP(shutdown)
{
	ASSERT_EQ(0, program_begin(&self->program, 0));
	self->session = self->program.session;
}

FIXTURE_TEARDOWN(shutdown)
{
	EXPECT_CLEAN_END(&self->program.heap);
}

static __u64 abandoned(int session)
{
	struct pyobjmem_stats stats;

	return heap_stats(session, &stats) ? ~0ULL : stats.out_finalizers_abandoned;
}

/* What a child leaves behind is dropped soon after its end. */
#define EXPECT_ALONE(session) EXPECT_TRUE(wait_until(stats_sessions(session) == 1, SOON_MS))

static int leave_garbage(struct child_side *side)
{
	FIXTURE_DATA(shutdown) *self = side->argument;
	int session = test_heap_join(&self->program.heap);
	__u64 first, second;

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 2, &first));
	CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0, &second));
	CHILD_CHECK(!ref_set(session, first, 0, first, NULL));
	CHILD_CHECK(!ref_set(session, first, 1, second, NULL));
	CHILD_CHECK(!object_put(session, first) && !object_put(session, second));
	return 0;
}

/* Whose finalizers did not run before the end is counted: "2 uncollectable objects". */
TEST_F(shutdown, garbage_at_shutdown)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, leave_garbage, self));
	ASSERT_EQ(0, child_end(&child));
	EXPECT_ALONE(self->session);
	EXPECT_EQ(2, abandoned(self->session));
	EXPECT_EQ(2, stats_objects(self->session));
	EXPECT_EQ(2, gc_collect(&self->program));
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(0, self->program.handler.finalized);
}

/* An orderly end: drop all, collect, run the finalizers, and only then leave. */
static int end_orderly(struct child_side *side)
{
	FIXTURE_DATA(shutdown) *self = side->argument;
	struct event_handler handler = {};
	int session = test_heap_join(&self->program.heap);
	__u64 list, instance;

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 1,
				   &instance));
	CHILD_CHECK(!container_create(session, 2, &list));
	CHILD_CHECK(!ref_set(session, list, 0, list, NULL));
	CHILD_CHECK(!ref_set(session, list, 1, instance, NULL));
	CHILD_CHECK(!object_put(session, instance));
	/* A module is a root; that of __main__ is nobody else's. */
	CHILD_CHECK(!root_set(session, 5, list, NULL));
	CHILD_CHECK(!object_put(session, list));
	CHILD_CHECK(!gc_collect_with(session, &handler));

	CHILD_CHECK(!root_set(session, 5, PYOBJMEM_NONE, NULL));
	CHILD_CHECK(gc_collect_with(session, &handler) == 1);
	CHILD_CHECK(handler.finalized == 1);
	CHILD_CHECK(!session_leave(session));
	return 0;
}

TEST_F(shutdown, gc_main_module_at_shutdown)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, end_orderly, self));
	ASSERT_EQ(0, child_end(&child));
	EXPECT_ALONE(self->session);
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(0, abandoned(self->session));
}

/* The module belongs to another interpreter: its end does not end the cycle. */
TEST_F(shutdown, gc_ordinary_module_at_shutdown)
{
	__u64 list = new_object(_metadata, self->session, 0, 2);
	__u64 instance = new_finalized(_metadata, self->session, 1);
	struct child child;

	link_to(_metadata, self->session, list, 0, list);
	link_to(_metadata, self->session, list, 1, instance);
	del(_metadata, self->session, instance);
	ASSERT_EQ(0, root_set(self->session, 0, list, NULL));
	del(_metadata, self->session, list);
	ASSERT_EQ(0, child_start(&child, end_orderly, self));
	ASSERT_EQ(0, child_end(&child));
	EXPECT_ALONE(self->session);
	EXPECT_EQ(0, gc_collect(&self->program));
	EXPECT_EQ(0, self->program.handler.finalized);

	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	EXPECT_EQ(1, gc_collect(&self->program));
	EXPECT_EQ(1, self->program.handler.finalized);
	EXPECT_EQ(0, stats_objects(self->session));
}

static int exit_holding(struct child_side *side)
{
	FIXTURE_DATA(shutdown) *self = side->argument;
	int session = test_heap_join(&self->program.heap);
	__u64 a;

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 1, &a));
	CHILD_CHECK(!ref_set(session, a, 0, a, NULL));
	return 0;
}

/* An exit with a global that has a finalizer: nobody runs it, but nothing stays. */
TEST_F(shutdown, global_del_systemexit)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, exit_holding, self));
	ASSERT_EQ(0, child_end(&child));
	EXPECT_ALONE(self->session);
	EXPECT_EQ(1, abandoned(self->session));
	EXPECT_EQ(1, gc_collect(&self->program));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_HARNESS_MAIN
