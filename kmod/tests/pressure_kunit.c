// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: what heaps do when the system is short of memory.
 */
#include "kunit.h"

#define FEW	20

static int pressure_init(struct kunit *test)
{
	int ret = pom_fixture_init(test);
	struct pom_fixture *f = test->priv;

	if (ret)
		return ret;
	f->heap->gc.enabled = true;
	f->heap->gc.threshold[0] = U32_MAX;
	return 0;
}

/* Full collections until now: the worker has done what it was told to. */
static u64 collections(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	flush_work(&f->heap->collect);
	KUNIT_EXPECT_FALSE(test, f->heap->gc.pressure);
	return f->heap->gc.stats[2].collections;
}

/* One empty pool of each of some classes, in both spaces */
static void pools_leave_empty(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_block block;
	u64 size;
	u32 i;

	for (i = 0; i < POM_SPACES; i++) {
		for (size = 16; size <= 16 * FEW; size += 16) {
			KUNIT_ASSERT_EQ(test, pom_fixture_take(f, &f->heap->space[i], size,
							       &block), 0);
			pom_fixture_give(f, &f->heap->space[i], &block);
		}
	}
	KUNIT_ASSERT_EQ(test, f->heap->pages, 2ULL * FEW);
}

static void empty_pools_go(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	KUNIT_EXPECT_EQ(test, pom_shrinker_count(), 0UL);
	pools_leave_empty(test);
	KUNIT_EXPECT_EQ(test, pom_shrinker_count(), 2UL * FEW);
	KUNIT_EXPECT_EQ(test, pom_shrinker_scan(1), 2UL * FEW);
	KUNIT_EXPECT_EQ(test, f->heap->pages, 0ULL);
	KUNIT_EXPECT_EQ(test, pom_shrinker_count(), 0UL);
	KUNIT_EXPECT_EQ(test, pom_shrinker_scan(1), 0UL);
	KUNIT_EXPECT_EQ(test, collections(test), 0ULL);
}

static void pools_in_use_stay(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	u64 handle = pom_fixture_create(test, 1, 0);
	struct pom_object obj;

	KUNIT_EXPECT_EQ(test, pom_shrinker_scan(1), 0UL);
	KUNIT_EXPECT_EQ(test, f->heap->pages, 1ULL);
	KUNIT_EXPECT_EQ(test, pom_fixture_find(f, handle, &obj), 0);
}

/* An allocation of whoever has a lock may come here: it must not wait for it. */
static void a_busy_heap_is_not_waited_for(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	pools_leave_empty(test);
	pom_heap_lock(f->heap);
	KUNIT_EXPECT_EQ(test, pom_shrinker_scan(ULONG_MAX), 0UL);
	KUNIT_EXPECT_EQ(test, f->heap->pages, 2ULL * FEW);
	pom_heap_unlock(f->heap);
	KUNIT_EXPECT_EQ(test, pom_shrinker_scan(ULONG_MAX), 2UL * FEW);
}

/* Of several heaps, each has its turn first. */
static void heaps_take_turns(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_heap *heap = f->heap, *other = pom_heap_create(0);
	u32 i;

	KUNIT_ASSERT_FALSE(test, IS_ERR(other));
	for (i = 0; i < 2; i++) {
		pools_leave_empty(test);
		KUNIT_EXPECT_EQ(test, pom_shrinker_scan(1), 2UL * FEW);
	}
	f->heap = other;
	INIT_DELAYED_WORK(&other->trim, heap->trim.work.func);
	pools_leave_empty(test);
	f->heap = heap;
	pools_leave_empty(test);
	KUNIT_EXPECT_EQ(test, pom_shrinker_count(), 4UL * FEW);
	KUNIT_EXPECT_EQ(test, pom_shrinker_scan(1), 2UL * FEW);
	KUNIT_EXPECT_EQ(test, heap->pages + other->pages, 2ULL * FEW);
	KUNIT_EXPECT_EQ(test, pom_shrinker_scan(1), 2UL * FEW);
	KUNIT_EXPECT_EQ(test, heap->pages + other->pages, 0ULL);

	/* One that is destroyed is not there any more. */
	f->heap = other;
	pools_leave_empty(test);
	f->heap = heap;
	pom_heap_get(other);
	pom_heap_unuse(other);
	flush_work(&other->destroy);
	KUNIT_EXPECT_EQ(test, pom_shrinker_count(), 0UL);
	KUNIT_EXPECT_EQ(test, pom_shrinker_scan(ULONG_MAX), 0UL);
	pom_heap_put(other);
}

static void garbage_goes(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	pom_fixture_drop_rings(test, 3);
	KUNIT_EXPECT_EQ(test, pom_shrinker_count(), 1UL);
	KUNIT_EXPECT_EQ(test, pom_shrinker_scan(1), 0UL);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 0ULL);
	/* And what it leaves empty goes with it. */
	KUNIT_EXPECT_EQ(test, f->heap->pages, 0ULL);
	KUNIT_EXPECT_EQ(test, pom_shrinker_count(), 0UL);
}

static void garbage_stays_when_told_to(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	pom_fixture_drop_rings(test, 3);
	f->heap->gc.enabled = false;
	KUNIT_EXPECT_EQ(test, pom_shrinker_count(), 0UL);
	pom_shrinker_scan(ULONG_MAX);
	KUNIT_EXPECT_EQ(test, collections(test), 0ULL);
	f->heap->gc.enabled = true;
	f->heap->gc.threshold[0] = 0;
	KUNIT_EXPECT_EQ(test, pom_shrinker_count(), 0UL);
	pom_shrinker_scan(ULONG_MAX);
	KUNIT_EXPECT_EQ(test, collections(test), 0ULL);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 3ULL);
}

/* Reclaim asks again and again: each collection needs something that is new. */
static void nothing_new_is_worth_no_collection(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	u64 parent = pom_fixture_create(test, 1, 0), child = pom_fixture_create(test, 1, 0);
	u32 i;

	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(f, parent, 0, child), 0);
	pom_fixture_put(test, child);
	for (i = 0; i < 3; i++) {
		pom_shrinker_scan(1);
		KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
	}
	/* The last collection left some, or there were more than there are. */
	pom_fixture_drop_rings(test, FEW);
	gc->left = FEW;
	pom_shrinker_scan(1);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
	gc->left = U32_MAX;
	pom_shrinker_scan(1);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
	KUNIT_EXPECT_EQ(test, gc->left, (u64)FEW);
	/* It cost as much as so many are worth. */
	gc->price = FEW;
	pom_fixture_drop_rings(test, FEW);
	pom_shrinker_scan(1);
	KUNIT_EXPECT_EQ(test, collections(test), 1ULL);
	pom_fixture_drop_rings(test, 1);
	pom_shrinker_scan(1);
	KUNIT_EXPECT_EQ(test, collections(test), 2ULL);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 2ULL);
}

/* A younger collection that somebody has left comes to its end, then it is time. */
static void a_collection_under_way_is_finished_first(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	struct pom_collector *collector;
	u64 old;

	old = pom_fixture_create(test, 1, 0);
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(f, old, 0, old), 0);
	gc->enabled = false;
	pom_fixture_collect(test, 2);
	pom_fixture_drop_rings(test, 40 * POM_SLICE);
	collector = pom_collector_start(test, 0);
	pom_collector_slice(collector);
	KUNIT_EXPECT_EQ(test, gc->phase, POM_TRACE);
	pom_fixture_put(test, old);
	pom_collector_stop(collector);
	gc->enabled = true;
	pom_shrinker_scan(1);
	KUNIT_EXPECT_EQ(test, collections(test), 2ULL);
	KUNIT_EXPECT_EQ(test, gc->stats[0].collections, 1ULL);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 0ULL);
}

static struct kunit_case pressure_cases[] = {
	KUNIT_CASE(empty_pools_go),
	KUNIT_CASE(pools_in_use_stay),
	KUNIT_CASE(a_busy_heap_is_not_waited_for),
	KUNIT_CASE(heaps_take_turns),
	KUNIT_CASE(garbage_goes),
	KUNIT_CASE(garbage_stays_when_told_to),
	KUNIT_CASE(nothing_new_is_worth_no_collection),
	KUNIT_CASE(a_collection_under_way_is_finished_first),
	{}
};

static struct kunit_suite pressure_suite = {
	.name = "pyobjmem_pressure",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pressure_init,
	.exit = pom_fixture_exit,
	.test_cases = pressure_cases,
};

kunit_test_suite(pressure_suite);
