// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: when a heap collects by itself, beyond CPython's rules, and who works on
 * it then. Thresholds of new objects are out of reach here: graph.c of the
 * selftests has them.
 */
#include "kunit.h"
#include "../call.h"

/* Candidates that start a collection, where a test sets it: a few are quicker made. */
#define FEW	20

static int automatic_init(struct kunit *test)
{
	int ret = pom_fixture_init(test);
	struct pom_fixture *f = test->priv;

	if (ret)
		return ret;
	f->heap->gc.enabled = true;
	f->heap->gc.threshold[0] = U32_MAX;
	f->heap->gc.toll = FEW;
	return 0;
}

/* Containers that live, and are no candidates */
static void containers_hold(struct kunit *test, u32 count)
{
	while (count--)
		pom_fixture_create(test, 1, 0);
}

/* An object whose slots name containers: candidates, but no garbage */
static u64 family_build(struct kunit *test, u32 count)
{
	u64 parent = pom_fixture_create(test, count, 0), child;
	u32 i;

	for (i = 0; i < count; i++) {
		child = pom_fixture_create(test, 1, 0);
		KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(test->priv, parent, i, child), 0);
		pom_fixture_put(test, child);
	}
	return parent;
}

/* Make a candidate of a child: take it, and let go of it again. */
static void child_touch(struct kunit *test, u64 parent, u32 slot)
{
	u64 child;

	KUNIT_ASSERT_EQ(test, pom_fixture_get_ref(test->priv, parent, slot, &child), 0);
	pom_fixture_put(test, child);
}

/* Full collections until now: the worker has done what it was told to. */
static u64 collections(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	flush_work(&f->heap->collect);
	KUNIT_EXPECT_EQ(test, f->heap->gc.stats[0].collections, 0ULL);
	KUNIT_EXPECT_EQ(test, f->heap->gc.stats[1].collections, 0ULL);
	return f->heap->gc.stats[2].collections;
}

static void many_candidates_are_collected(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	f->heap->gc.toll = POM_CANDIDATES_FEW;
	pom_fixture_drop_rings(test, POM_CANDIDATES_FEW);
	KUNIT_EXPECT_EQ(test, collections(test), 0ULL);
	KUNIT_EXPECT_EQ(test, f->heap->objects, (u64)POM_CANDIDATES_FEW);
	pom_fixture_drop_rings(test, 1);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 0ULL);
}

static void a_quarter_of_what_lives_is_many(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	/* With the candidates, which live until they are found, FEW * 4 + n of them */
	containers_hold(test, FEW * 12);
	pom_fixture_drop_rings(test, FEW * 4);
	KUNIT_EXPECT_EQ(test, collections(test), 0ULL);
	pom_fixture_drop_rings(test, 1);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
	KUNIT_EXPECT_EQ(test, f->heap->objects, FEW * 12ULL);
}

static void none_when_told_not_to(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	f->heap->gc.enabled = false;
	pom_fixture_drop_rings(test, FEW * 2);
	KUNIT_EXPECT_EQ(test, collections(test), 0ULL);
	f->heap->gc.enabled = true;
	f->heap->gc.threshold[0] = 0;
	pom_fixture_drop_rings(test, FEW * 2);
	KUNIT_EXPECT_EQ(test, collections(test), 0ULL);
	f->heap->gc.threshold[0] = U32_MAX;
	pom_fixture_drop_rings(test, 1);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
}

/* They can not go: whoever counted them would collect for ever. */
static void permanent_candidates_do_not_count(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	u64 parent = family_build(test, FEW);
	u32 i;

	KUNIT_ASSERT_EQ(test, pom_freeze(f->heap, true), 0);
	KUNIT_EXPECT_EQ(test, gc->frozen, (u64)FEW);
	pom_fixture_drop_rings(test, FEW);
	KUNIT_EXPECT_EQ(test, collections(test), 0ULL);
	pom_fixture_drop_rings(test, 1);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);

	/* Frozen first, candidates then */
	gc->toll = FEW;
	KUNIT_ASSERT_EQ(test, pom_freeze(f->heap, false), 0);
	KUNIT_EXPECT_EQ(test, gc->frozen, 0ULL);
	pom_fixture_collect(test, 2);
	KUNIT_EXPECT_EQ(test, gc->candidates, 0ULL);
	KUNIT_ASSERT_EQ(test, pom_freeze(f->heap, true), 0);
	gc->toll = FEW;
	for (i = 0; i < FEW; i++)
		child_touch(test, parent, i);
	KUNIT_EXPECT_EQ(test, gc->frozen, (u64)FEW);
	pom_fixture_drop_rings(test, FEW);
	KUNIT_EXPECT_EQ(test, collections(test), 2ULL);
	pom_fixture_drop_rings(test, 1);
	KUNIT_EXPECT_EQ(test, collections(test), 3ULL);

	/* And when they go, they are gone. */
	pom_fixture_put(test, parent);
	KUNIT_EXPECT_EQ(test, gc->frozen, 0ULL);
	KUNIT_EXPECT_EQ(test, gc->candidates, 0ULL);
	KUNIT_ASSERT_EQ(test, pom_freeze(f->heap, false), 0);
}

/* What comes about while a collection runs is left by it. */
static void what_the_last_collection_left_does_not_count(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	struct pom_collector *collector;
	u64 parent;
	u32 i;

	gc->enabled = false;
	/* Stamped first, then touched; what is behind is more than some slices. */
	parent = family_build(test, 2 * FEW);
	pom_fixture_drop_rings(test, 40 * POM_SLICE);
	collector = pom_collector_start(test, 2);
	pom_collector_slice(collector);
	KUNIT_EXPECT_EQ(test, gc->phase, POM_TRACE);
	for (i = 0; i < 2 * FEW; i++)
		child_touch(test, parent, i);
	pom_collector_stop(collector);
	/* The worker finishes it. The collector might begin another one behind it. */
	queue_work(f->heap->wq, &f->heap->collect);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
	KUNIT_EXPECT_EQ(test, gc->left, 2ULL * FEW);
	KUNIT_EXPECT_EQ(test, gc->candidates, 2ULL * FEW);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 2ULL * FEW + 1);

	gc->enabled = true;
	gc->toll = 3 * FEW;	/* more than a quarter of what lives */
	pom_fixture_drop_rings(test, 3 * FEW);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
	pom_fixture_drop_rings(test, 1);
	KUNIT_EXPECT_EQ(test, collections(test), 2ULL);
	KUNIT_EXPECT_EQ(test, gc->left, 0ULL);
}

/* A younger collection takes some of what the last full one left. */
static void what_is_left_never_grows_by_a_younger_collection(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;

	gc->enabled = false;
	pom_fixture_drop_rings(test, FEW);
	gc->left = FEW - 1;
	pom_fixture_collect(test, 0);
	KUNIT_EXPECT_EQ(test, gc->left, 0ULL);
	KUNIT_EXPECT_EQ(test, gc->toll, (u64)FEW);
}

/*
 * One object of very many slots, which each collection goes through: the next
 * collection waits for a share of what the last one cost.
 */
static void what_a_collection_costs_is_paid_for(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	u32 slots = 2 * POM_CANDIDATES_FEW * POM_CANDIDATE_VISITS;
	u64 parent = pom_fixture_create(test, 1, 0), large;

	KUNIT_EXPECT_EQ(test, pom_fixture_collect(test, 2), 0ULL);
	KUNIT_EXPECT_EQ(test, gc->toll, (u64)POM_CANDIDATES_FEW);

	large = pom_fixture_create(test, slots, 0);
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(test->priv, parent, 0, large), 0);
	pom_fixture_put(test, large);
	KUNIT_EXPECT_EQ(test, pom_fixture_collect(test, 2), 0ULL);
	KUNIT_EXPECT_GE(test, gc->run.visits, (u64)slots);
	KUNIT_EXPECT_EQ(test, gc->toll, gc->run.visits / POM_CANDIDATE_VISITS);
	KUNIT_EXPECT_GE(test, gc->toll, 2ULL * POM_CANDIDATES_FEW);
}

/* --- Who creates while a collection runs ----------------------------------- */

/* Garbage, and a full collection of it that has begun and that nobody works on */
static struct pom_collector *collection_begin(struct kunit *test, u32 rings)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	struct pom_collector *collector;

	gc->enabled = false;
	pom_fixture_drop_rings(test, rings);
	collector = pom_collector_start(test, 2);
	pom_collector_slice(collector);
	KUNIT_ASSERT_EQ(test, gc->phase, POM_TRACE);
	KUNIT_EXPECT_EQ(test, gc->run.lived, (u64)rings);
	return collector;
}

static void who_creates_little_is_left_alone(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	u32 lived = 40 * POM_SLICE, i;
	struct pom_collector *collector;
	u64 visits;

	collector = collection_begin(test, lived);
	visits = gc->run.visits;
	containers_hold(test, lived / 2);
	/* What has no slots costs no collection anything. */
	for (i = 0; i < lived; i++)
		pom_fixture_create(test, 0, 0);
	KUNIT_EXPECT_EQ(test, gc->run.visits, visits);
	pom_collector_stop(collector);
}

static void who_creates_much_works_on_the_collection(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	u32 lived = 40 * POM_SLICE, i;
	struct pom_collector *collector;
	u64 visits, total;

	collector = collection_begin(test, lived);
	visits = gc->run.visits;
	total = gc->total_ns;
	containers_hold(test, lived / 2 + 1);
	KUNIT_EXPECT_EQ(test, gc->run.visits, visits + 20);
	pom_fixture_create(test, 7, 0);
	KUNIT_EXPECT_EQ(test, gc->run.visits, visits + 20 + 44);
	pom_fixture_create(test, POM_SLICE, 0);
	KUNIT_EXPECT_EQ(test, gc->run.visits, visits + 20 + 44 + POM_SLICE);
	for (i = lived / 2 + 3; gc->phase != POM_IDLE && i < 2 * lived; i++)
		pom_fixture_create(test, 1, 0);
	pom_collector_stop(collector);

	/* It ended as others do. */
	KUNIT_EXPECT_EQ(test, gc->phase, POM_IDLE);
	KUNIT_EXPECT_LT(test, i, lived);
	KUNIT_EXPECT_EQ(test, f->heap->objects, (u64)i);
	KUNIT_EXPECT_EQ(test, gc->stats[2].collections, 1ULL);
	KUNIT_EXPECT_EQ(test, gc->stats[2].collected, (u64)lived);
	KUNIT_EXPECT_GT(test, gc->run.duration_ns, 0ULL);
	KUNIT_EXPECT_EQ(test, gc->total_ns, total + gc->run.duration_ns);
	/* Its stamp, its visit and that of its slot, its release. */
	KUNIT_EXPECT_GE(test, gc->run.visits, 4ULL * lived);
	/* The next one owes nothing, and is owed nothing. */
	visits = gc->run.visits;
	pom_fixture_create(test, 1, 0);
	KUNIT_EXPECT_EQ(test, gc->run.visits, visits);
}

/* The old object that only the garbage names dies in a CREATE, and is freed by it. */
static void what_dies_in_create_is_freed(struct kunit *test)
{
	union pyobjmem_command cmd = { .create.slots = 1 };
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	struct pom_collector *collector;
	struct pom_args args = {};
	u64 old, garbage;
	u32 i;

	gc->enabled = false;
	old = pom_fixture_create(test, 1, 0);
	pom_fixture_collect(test, 2);
	containers_hold(test, 1);
	pom_fixture_collect(test, 0);
	garbage = pom_fixture_create(test, 2, 0);
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(f, garbage, 0, garbage), 0);
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(f, garbage, 1, old), 0);
	pom_fixture_put(test, old);
	pom_fixture_put(test, garbage);
	pom_fixture_drop_rings(test, 40 * POM_SLICE);
	collector = pom_collector_start(test, 0);
	pom_collector_slice(collector);
	KUNIT_ASSERT_EQ(test, gc->phase, POM_TRACE);
	for (i = 0; gc->phase != POM_IDLE && i < 80 * POM_SLICE; i++) {
		KUNIT_ASSERT_EQ(test, pom_call_run(&f->session, PYOBJMEM_OP_CREATE, &cmd, &args,
						   &f->stash), 0);
		KUNIT_ASSERT_FALSE(test, pom_heap_unsettled(f->heap));
	}
	pom_collector_stop(collector);
	KUNIT_EXPECT_EQ(test, gc->phase, POM_IDLE);
	KUNIT_EXPECT_EQ(test, f->heap->freed_counted, 1ULL);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 1ULL + i);
}

/*
 * All that is created is garbage, and nobody else works on the collections: what
 * lives when one ends is less than when it began, again and again.
 */
static void nobody_creates_faster_than_is_collected(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	u32 first = 40 * POM_SLICE, round, i;
	struct pom_collector *collector;

	collector = collection_begin(test, first);
	for (round = 0; round < 12; round++) {
		for (i = 0; gc->phase != POM_IDLE; i++) {
			pom_fixture_drop_rings(test, 1);
			KUNIT_ASSERT_LE(test, f->heap->objects, 2 * gc->run.lived);
		}
		KUNIT_ASSERT_LT(test, (u64)i, gc->run.lived);
		/* Always more than a slice */
		if (f->heap->objects < first / 4)
			pom_fixture_drop_rings(test, first);
		pom_collector_slice(collector);
	}
	pom_collector_stop(collector);
}

static struct kunit_case automatic_cases[] = {
	KUNIT_CASE(many_candidates_are_collected),
	KUNIT_CASE(a_quarter_of_what_lives_is_many),
	KUNIT_CASE(none_when_told_not_to),
	KUNIT_CASE(permanent_candidates_do_not_count),
	KUNIT_CASE(what_the_last_collection_left_does_not_count),
	KUNIT_CASE(what_is_left_never_grows_by_a_younger_collection),
	KUNIT_CASE(what_a_collection_costs_is_paid_for),
	KUNIT_CASE(who_creates_little_is_left_alone),
	KUNIT_CASE(who_creates_much_works_on_the_collection),
	KUNIT_CASE(what_dies_in_create_is_freed),
	KUNIT_CASE(nobody_creates_faster_than_is_collected),
	{}
};

static struct kunit_suite automatic_suite = {
	.name = "pyobjmem_automatic",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = automatic_init,
	.exit = pom_fixture_exit,
	.test_cases = automatic_cases,
};

kunit_test_suite(automatic_suite);
