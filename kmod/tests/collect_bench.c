// SPDX-License-Identifier: GPL-2.0
/*
 * How long COLLECT takes, natively: the graphs that the programs in
 * selftests/bench/ make for other collectors, and the lines that they print.
 * What runs both and compares them is scripts/bench-collect. It is no test: no suite
 * of 'make kunit', and built only with CONFIG_PYOBJMEM_BENCH.
 *
 * A line of "bench:" is one collection: the workload, how many objects died, how
 * many nanoseconds it took, and how long of them the lock was held at most. "nothing"
 * is none: it tells for how long the machine does something else meanwhile.
 *
 * Objects have two slots and no payload, where nothing else is said.
 */
#include <linux/ktime.h>
#include <linux/slab.h>

#include "kunit.h"

#define RINGS		100U
#define RING_OBJECTS	21U
#define DEAD_OBJECTS	1000000U
#define LIVE_OBJECTS	2000000U
#define PAIRS		500U	/* of dead objects among the live ones */
#define LISTS		1000U

/* Collections in one run, where one does not take long or can be repeated. */
#define RINGS_TIMES	50
#define TIMES		5

/* About as long as the longest collection takes */
#define NOTHING_NS	(100 * NSEC_PER_MSEC)

/* The same generator in all languages: 32 bits, and the product fits in 53. */
static u32 random_below(u32 *state, u32 n)
{
	*state = *state * 1664525 + 1013904223;
	return (u64)*state * n >> 32;
}

static u64 *bench_create(struct kunit *test, u32 n, u32 slots)
{
	u64 *handle = kvmalloc_array(n, sizeof(*handle), GFP_KERNEL);
	u32 i;

	KUNIT_ASSERT_NOT_NULL(test, handle);
	for (i = 0; i < n; i++)
		handle[i] = pom_fixture_create(test, slots, 0);
	return handle;
}

static void bench_link(struct kunit *test, u64 from, u32 slot, u64 to)
{
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(test->priv, from, slot, to), 0);
}

/* Two objects that name each other, one before and one behind. */
static void bench_link_both(struct kunit *test, u64 from, u64 to)
{
	bench_link(test, from, 0, to);
	bench_link(test, to, 1, from);
}

static void bench_put(struct kunit *test, const u64 *handle, u32 n)
{
	u32 i;

	for (i = 0; i < n; i++)
		pom_fixture_put(test, handle[i]);
}

/* COLLECT, timed; @dead objects must go. */
static void bench_collect(struct kunit *test, const char *workload, u32 dead)
{
	struct pom_fixture *f = test->priv;
	u64 before = f->heap->objects, ns;
	struct pom_gc_run run;
	int ret;

	ns = ktime_get_ns();
	ret = pom_collect(f->heap, 2, &run);
	ns = ktime_get_ns() - ns;
	KUNIT_ASSERT_EQ(test, ret, 0);
	KUNIT_ASSERT_EQ(test, run.collected, (u64)dead);
	KUNIT_ASSERT_EQ(test, before - f->heap->objects, (u64)dead);
	kunit_info(test, "bench: %s %u %llu %llu", workload, dead, ns, run.longest_ns);
}

/* As pyperformance's gc_collect: rings that are linked both ways. */
static void bench_rings(struct kunit *test)
{
	const u32 n = RINGS * RING_OBJECTS;
	u32 times, i;
	u64 *handle;

	for (times = 0; times < RINGS_TIMES; times++) {
		handle = bench_create(test, n, 2);
		for (i = 0; i < n; i++)
			bench_link_both(test, handle[i],
					(i + 1) % RING_OBJECTS ? handle[i + 1] :
					handle[i + 1 - RING_OBJECTS]);
		bench_put(test, handle, n);
		kvfree(handle);
		bench_collect(test, "rings", n);
	}
}

/* One slot names each object once, the other any: so counts alone free none. */
static void bench_random(struct kunit *test)
{
	u64 *handle = bench_create(test, DEAD_OBJECTS, 2);
	u32 *order = kvmalloc_array(DEAD_OBJECTS, sizeof(*order), GFP_KERNEL);
	u32 state = 42, i, j;

	KUNIT_ASSERT_NOT_NULL(test, order);
	for (i = 0; i < DEAD_OBJECTS; i++)
		order[i] = i;
	for (i = DEAD_OBJECTS - 1; i; i--) {
		j = random_below(&state, i + 1);
		swap(order[i], order[j]);
	}
	for (i = 0; i < DEAD_OBJECTS; i++) {
		bench_link(test, handle[i], 0, handle[order[i]]);
		bench_link(test, handle[i], 1, handle[random_below(&state, DEAD_OBJECTS)]);
	}
	bench_put(test, handle, DEAD_OBJECTS);
	kvfree(order);
	kvfree(handle);
	bench_collect(test, "random", DEAD_OBJECTS);
}

static void bench_ring(struct kunit *test)
{
	u64 *handle = bench_create(test, DEAD_OBJECTS, 2);
	u32 i;

	for (i = 0; i < DEAD_OBJECTS; i++)
		bench_link(test, handle[i], 0, handle[(i + 1) % DEAD_OBJECTS]);
	bench_put(test, handle, DEAD_OBJECTS);
	kvfree(handle);
	bench_collect(test, "ring", DEAD_OBJECTS);
}

/* A binary tree, held by its root, and pairs of objects between, held each. */
static void bench_live(struct kunit *test)
{
	const u32 every = LIVE_OBJECTS / (PAIRS * TIMES);
	u64 *handle = kvmalloc_array(LIVE_OBJECTS, sizeof(*handle), GFP_KERNEL);
	u64 *pair = kvmalloc_array(2 * PAIRS * TIMES, sizeof(*pair), GFP_KERNEL);
	u32 i, times, pairs = 0;

	KUNIT_ASSERT_NOT_NULL(test, handle);
	KUNIT_ASSERT_NOT_NULL(test, pair);
	for (i = 0; i < LIVE_OBJECTS; i++) {
		handle[i] = pom_fixture_create(test, 2, 0);
		if (i)
			bench_link(test, handle[(i - 1) / 2], (i - 1) % 2, handle[i]);
		if (i % every)
			continue;
		pair[2 * pairs] = pom_fixture_create(test, 2, 0);
		pair[2 * pairs + 1] = pom_fixture_create(test, 2, 0);
		bench_link_both(test, pair[2 * pairs], pair[2 * pairs + 1]);
		bench_link_both(test, pair[2 * pairs + 1], pair[2 * pairs]);
		pairs++;
	}
	KUNIT_ASSERT_EQ(test, pairs, PAIRS * TIMES);
	bench_put(test, handle + 1, LIVE_OBJECTS - 1);
	kvfree(handle);
	bench_collect(test, "settle", 0);
	for (times = 0; times < TIMES; times++)
		bench_collect(test, "live", 0);

	/* Each time, every fifth pair. */
	for (times = 0; times < TIMES; times++) {
		for (i = times; i < pairs; i += TIMES)
			bench_put(test, pair + 2 * i, 2);
		bench_collect(test, "spread", 2 * PAIRS);
	}
	kvfree(pair);
}

/*
 * As pyperformance's gc_traversal: list n has n references to list n - 1. Nothing
 * would be looked at unless something loses a reference: the last list does.
 */
static void bench_traversal(struct kunit *test)
{
	u64 holder = pom_fixture_create(test, 1, 0), list = 0, next;
	struct pom_fixture *f = test->priv;
	u32 n, i;

	for (n = 0; n < LISTS; n++) {
		next = pom_fixture_create(test, n, 0);
		for (i = 0; i < n; i++)
			bench_link(test, next, i, list);
		if (n)
			pom_fixture_put(test, list);
		list = next;
	}
	bench_link(test, holder, 0, list);
	pom_fixture_put(test, list);
	pom_fixture_collect(test, 2);
	for (i = 0; i < TIMES; i++) {
		KUNIT_ASSERT_EQ(test, pom_fixture_get_ref(f, holder, 0, &next), 0);
		pom_fixture_put(test, next);
		bench_collect(test, "traversal", 0);
	}
}

/* The longest time between two looks at the clock: no hold can be told from it. */
static void bench_nothing(struct kunit *test)
{
	u64 began = ktime_get_ns(), last = began, longest = 0, now;

	do {
		now = ktime_get_ns();
		longest = max(longest, now - last);
		last = now;
	} while (now - began < NOTHING_NS);
	kunit_info(test, "bench: nothing 0 %llu %llu", now - began, longest);
}

static struct kunit_case collect_cases[] = {
	KUNIT_CASE(bench_rings),
	KUNIT_CASE(bench_random),
	KUNIT_CASE(bench_ring),
	KUNIT_CASE(bench_live),
	KUNIT_CASE(bench_traversal),
	KUNIT_CASE(bench_nothing),
	{}
};

static struct kunit_suite collect_suite = {
	.name = "bench_collect",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = collect_cases,
};

kunit_test_suite(collect_suite);
