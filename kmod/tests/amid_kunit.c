// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: single things that a client does amid a collection, and what becomes of them.
 * What it does at random is in slices_kunit.c.
 */
#include "kunit.h"

static void set_ref(struct kunit *test, u64 from, u64 to)
{
	KUNIT_EXPECT_EQ(test, pom_fixture_set_ref(test->priv, from, 0, to), 0);
}

static void take_ref(struct kunit *test, u64 from, u64 expected)
{
	u64 handle;

	KUNIT_EXPECT_EQ(test, pom_fixture_get_ref(test->priv, from, 0, &handle), 0);
	KUNIT_EXPECT_EQ(test, handle, expected);
}

/*
 * A candidate that the collection has not come to is taken from its only holder,
 * into a ring with a newborn. It survives, by what the collection does not trace.
 * The next collection of the young is the last one that hears of the newborn.
 */
static void what_names_a_newborn_is_looked_at_again(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_collector *collector;
	u64 holder, old, newborn;

	collector = pom_collector_start(test, 0);
	holder = pom_fixture_create(test, 1, 0);
	pom_fixture_drop_rings(test, POM_SLICE);	/* more than a slice */
	old = pom_fixture_create(test, 1, 0);
	set_ref(test, holder, old);
	pom_fixture_put(test, old);	/* a decrement: it is a candidate */
	pom_fixture_drop_rings(test, POM_SLICE);

	pom_collector_slice(collector);
	take_ref(test, holder, old);
	newborn = pom_fixture_create(test, 1, 0);
	set_ref(test, newborn, old);
	set_ref(test, old, newborn);
	set_ref(test, holder, PYOBJMEM_NONE);
	pom_fixture_put(test, old);
	while (READ_ONCE(f->heap->gc.phase) != POM_IDLE)
		pom_collector_slice(collector);
	pom_fixture_put(test, newborn);
	pom_collector_stop(collector);

	pom_fixture_collect(test, 0);
	pom_fixture_collect(test, 2);
	/* The holder is left. */
	KUNIT_EXPECT_EQ(test, f->heap->objects, 1ULL);
}

/*
 * At the last epoch FREEZE ends a collection that it finds, because it renumbers.
 * What the garbage was the last to name dies then, and has to be freed as well.
 */
static void what_freeze_ends_leaves_nothing(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_collector *collector;
	struct pom_gc *gc = &f->heap->gc;
	u64 outside, garbage;
	bool amid;

	collector = pom_collector_start(test, 0);
	outside = pom_fixture_create(test, 1, 0);
	pom_fixture_collect(test, 2);	/* it is old now, and out of range */
	pom_fixture_create(test, 1, 0);
	pom_fixture_collect(test, 0);

	garbage = pom_fixture_create(test, 2, 0);
	set_ref(test, garbage, garbage);
	KUNIT_EXPECT_EQ(test, pom_fixture_set_ref(f, garbage, 1, outside), 0);
	pom_fixture_put(test, outside);
	pom_fixture_put(test, garbage);
	pom_fixture_drop_rings(test, POM_SLICE);	/* more than a slice */

	pom_heap_lock(f->heap);
	gc->epoch = U32_MAX - 1;
	pom_heap_unlock(f->heap);
	pom_collector_slice(collector);
	amid = READ_ONCE(gc->phase) != POM_IDLE;
	KUNIT_EXPECT_TRUE(test, amid);
	KUNIT_EXPECT_EQ(test, gc->epoch, U32_MAX);
	pom_fixture_create(test, 1, 0);
	KUNIT_EXPECT_EQ(test, pom_freeze(f->heap, true), 0);
	KUNIT_EXPECT_FALSE(test, pom_heap_unsettled(f->heap));
	/* What was created to let the epoch advance is left. */
	KUNIT_EXPECT_EQ(test, f->heap->objects, 2ULL);
	KUNIT_EXPECT_LT(test, gc->epoch, 10U);

	pom_collector_stop(collector);
	KUNIT_EXPECT_EQ(test, pom_freeze(f->heap, false), 0);
}

/*
 * Finish the collection that runs, as clients do that create much: nothing dies, and
 * no other collection begins, which the collector might do on another processor.
 */
static void collection_finish(struct pom_heap *heap)
{
	do {
		pom_heap_lock(heap);
		if (heap->gc.phase != POM_IDLE)
			pom_collect_help(heap, POM_SLICE);
		pom_heap_unlock(heap);
	} while (READ_ONCE(heap->gc.phase) != POM_IDLE);
}

/*
 * Candidates that the collection has not come to die: those that it would come to
 * next, one after the other, and the last of all.
 */
static void what_dies_before_its_turn_is_passed_over(struct kunit *test)
{
	const u32 n = 8 * POM_SLICE, first_die = 3;
	struct pom_fixture *f = test->priv;
	struct pom_collector *collector;
	struct pom_gc *gc = &f->heap->gc;
	u64 holder = pom_fixture_create(test, n, 0);
	u64 *handle = kunit_kcalloc(test, n, sizeof(*handle), GFP_KERNEL);
	u32 i, next = 0;

	KUNIT_ASSERT_NOT_NULL(test, handle);
	for (i = 0; i < n; i++) {
		handle[i] = pom_fixture_create(test, 1, 0);
		KUNIT_EXPECT_EQ(test, pom_fixture_set_ref(f, holder, i, handle[i]), 0);
		pom_fixture_put(test, handle[i]);
	}
	collector = pom_collector_start(test, 2);
	pom_collector_slice(collector);
	while (next < n && pom_link(handle[next]) != READ_ONCE(gc->work.head))
		next++;
	KUNIT_ASSERT_GT(test, next, 0U);
	KUNIT_ASSERT_LT(test, next + first_die, n);

	for (i = next; i < next + first_die; i++)
		KUNIT_EXPECT_EQ(test, pom_fixture_set_ref(f, holder, i, PYOBJMEM_NONE), 0);
	KUNIT_EXPECT_EQ(test, pom_fixture_set_ref(f, holder, n - 1, PYOBJMEM_NONE), 0);
	collection_finish(f->heap);
	pom_collector_stop(collector);
	pom_heap_settle(f->heap);

	KUNIT_EXPECT_EQ(test, gc->run.visited, (u64)n - first_die - 1);
	KUNIT_EXPECT_EQ(test, f->heap->objects, (u64)n - first_die);
	KUNIT_EXPECT_EQ(test, gc->candidates, 0ULL);
}

/*
 * Begin a collection of what is there and of rings behind it, and let it come so far
 * that it has traced what is there.
 */
static struct pom_collector *collection_traces(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	struct pom_collector *collector;

	pom_fixture_drop_rings(test, 8 * POM_SLICE);
	collector = pom_collector_start(test, 2);
	do {
		pom_collector_slice(collector);
	} while (gc->work.head != POM_NIL || gc->cursor == gc->trace.head);
	KUNIT_ASSERT_EQ(test, gc->phase, POM_TRACE);
	return collector;
}

/* Objects: the first is held, each of the others only named by the one before. */
static void chain_create(struct kunit *test, u64 *handle, u32 n)
{
	u32 i;

	for (i = 0; i < n; i++)
		handle[i] = pom_fixture_create(test, 1, 0);
	for (i = 1; i < n; i++)
		set_ref(test, handle[i - 1], handle[i]);
	for (i = 1; i < n; i++)
		pom_fixture_put(test, handle[i]);
}

/* There are so many objects when the collection has ended, and when the cascade has. */
static void expect_objects(struct kunit *test, struct pom_collector *c, u64 ended, u64 settled)
{
	struct pom_heap *heap = c->fixture->heap;
	char text[POM_VERDICT];

	collection_finish(heap);
	KUNIT_EXPECT_EQ(test, heap->objects, ended);
	KUNIT_EXPECT_STREQ(test, pom_fixture_verify(test->priv, text), "ok");
	pom_collector_stop(c);

	pom_heap_settle(heap);
	KUNIT_EXPECT_EQ(test, heap->objects, settled);
	KUNIT_EXPECT_EQ(test, heap->gc.candidates, 0ULL);
}

/* What dies while it is traced still names something when the collection ends. */
static void what_something_dying_names_waits_for_it(struct kunit *test)
{
	enum { HOLDER, DYING, WAITS, OBJECTS };
	struct pom_collector *collector;
	u64 handle[OBJECTS];

	chain_create(test, handle, OBJECTS);
	collector = collection_traces(test);
	set_ref(test, handle[HOLDER], PYOBJMEM_NONE);
	expect_objects(test, collector, OBJECTS, 1);
}

/*
 * The same where nothing tells but that it dies: what named it was traced as well, as
 * if all of it were garbage, and was taken then.
 */
static void what_dies_as_garbage_is_waited_for(struct kunit *test)
{
	enum { HOLDER, TAKEN, DYING, WAITS, OBJECTS };
	struct pom_collector *collector;
	u64 handle[OBJECTS];

	chain_create(test, handle, OBJECTS);
	collector = collection_traces(test);
	take_ref(test, handle[HOLDER], handle[TAKEN]);
	set_ref(test, handle[TAKEN], PYOBJMEM_NONE);
	expect_objects(test, collector, OBJECTS, 2);
}

/* It is taken, given a newborn to name, and let go of: nothing is left to look at again. */
static void what_dies_with_a_newborn_is_no_candidate(struct kunit *test)
{
	enum { HOLDER, DYING, OBJECTS };
	struct pom_collector *collector;
	u64 handle[OBJECTS], newborn;

	chain_create(test, handle, OBJECTS);
	collector = collection_traces(test);
	take_ref(test, handle[HOLDER], handle[DYING]);
	newborn = pom_fixture_create(test, 1, 0);
	set_ref(test, handle[DYING], newborn);
	pom_fixture_put(test, newborn);
	pom_fixture_put(test, handle[DYING]);
	set_ref(test, handle[HOLDER], PYOBJMEM_NONE);
	expect_objects(test, collector, OBJECTS + 1, 1);
}

/*
 * What is held weakly is taken again while finalizers are found to be due: that of
 * what it names is not, although the collection has yet to come to it.
 */
static void what_is_in_use_again_is_not_finalized(struct kunit *test)
{
	struct pyobjmem_create what = { .slots = 1, .flags = PYOBJMEM_CREATE_FINALIZE };
	u64 weak = pom_fixture_create(test, 2, 0), named;
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	struct pom_collector *collector;
	struct pom_watch event;

	named = pom_fixture_make(f, &what);
	set_ref(test, weak, weak);
	KUNIT_EXPECT_EQ(test, pom_fixture_set_ref(f, weak, 1, named), 0);
	KUNIT_EXPECT_EQ(test, pom_fixture_weak(f, weak, 1), 0);
	pom_fixture_put(test, weak);
	pom_fixture_drop_rings(test, 2 * POM_SLICE);
	pom_fixture_put(test, named);

	collector = pom_collector_start(test, 2);
	do {
		pom_collector_slice(collector);
	} while (gc->phase == POM_TRACE || gc->phase == POM_RESCUE);
	KUNIT_ASSERT_EQ(test, gc->phase, POM_FINALIZING);
	KUNIT_EXPECT_EQ(test, pom_fixture_upgrade(f, weak), 0);
	expect_objects(test, collector, 2, 2);
	KUNIT_EXPECT_EQ(test, gc->run.finalizers, 0ULL);
	KUNIT_EXPECT_FALSE(test, pom_fixture_event(f, &event));

	pom_fixture_put(test, weak);
	pom_fixture_collect(test, 2);
	KUNIT_EXPECT_TRUE(test, pom_fixture_event(f, &event));
	KUNIT_EXPECT_EQ(test, event.handle, named);
}

static struct kunit_case amid_cases[] = {
	KUNIT_CASE(what_names_a_newborn_is_looked_at_again),
	KUNIT_CASE(what_freeze_ends_leaves_nothing),
	KUNIT_CASE(what_dies_before_its_turn_is_passed_over),
	KUNIT_CASE(what_something_dying_names_waits_for_it),
	KUNIT_CASE(what_dies_as_garbage_is_waited_for),
	KUNIT_CASE(what_dies_with_a_newborn_is_no_candidate),
	KUNIT_CASE(what_is_in_use_again_is_not_finalized),
	{}
};

static struct kunit_suite amid_suite = {
	.name = "pyobjmem_amid",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = amid_cases,
};

kunit_test_suite(amid_suite);
