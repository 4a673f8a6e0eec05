// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: arenas, their 64 places, what goes where, and runs of pages in them.
 */
#include <linux/prandom.h>
#include <linux/slab.h>

#include "kunit.h"

#define RUNS	200
#define FEW	3	/* arenas that are filled */

/* Runs under test: those of one page stand for pools. */
struct runs {
	struct pom_fixture *f;
	struct pom_space *space;
	struct pom_block block[RUNS];
	struct pom_differs differs;
};

static struct runs *runs_new(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct runs *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->f = f;
	r->space = &f->heap->space[POM_DATA];
	return r;
}

static void run_take_bytes(struct kunit *test, struct runs *r, u32 i, u64 bytes)
{
	KUNIT_ASSERT_NULL(test, r->block[i].pool);
	KUNIT_ASSERT_EQ(test, pom_fixture_take(r->f, r->space, bytes, &r->block[i]), 0);
}

static void run_take(struct kunit *test, struct runs *r, u32 i, u32 pages)
{
	run_take_bytes(test, r, i, pages * POM_POOL_BYTES);
}

static void run_give(struct runs *r, u32 i)
{
	pom_fixture_give(r->f, r->space, &r->block[i]);
	r->block[i].pool = NULL;
}

static void runs_give_all(struct runs *r)
{
	u32 i;

	for (i = 0; i < RUNS; i++)
		if (r->block[i].pool)
			run_give(r, i);
}

static void recount(struct kunit *test, struct runs *r, const char *when)
{
	POM_ASSERT_SAME(test, pom_recount(r->space, &r->differs), &r->differs, "%s", when);
}

/* --- Places ---------------------------------------------------------------- */

static void an_arena_has_64_places(struct kunit *test)
{
	struct runs *r = runs_new(test);
	struct pom_arena *arena;
	u32 i;

	for (i = 0; i < FEW * POM_ARENA_POOLS; i++) {
		run_take(test, r, i, 1);
		arena = r->block[i].pool->arena;
		KUNIT_ASSERT_EQ(test, arena->index, i / POM_ARENA_POOLS);
		KUNIT_ASSERT_EQ(test, r->block[i].pool->place, i % POM_ARENA_POOLS);
		KUNIT_ASSERT_EQ(test, hweight64(arena->free_pools),
				POM_ARENA_POOLS - 1 - i % POM_ARENA_POOLS);
		KUNIT_ASSERT_EQ(test, r->space->arenas, i / POM_ARENA_POOLS + 1);
		recount(test, r, "while they fill");
	}
	for (i = 0; i < FEW * POM_ARENA_POOLS; i++) {
		KUNIT_ASSERT_EQ(test, r->space->arenas, FEW - i / POM_ARENA_POOLS);
		run_give(r, i);
		recount(test, r, "while they empty");
	}
	KUNIT_EXPECT_EQ(test, r->space->arenas, 0);
}

/* Whatever was given back last, the next page is in the arena with fewest free. */
static void the_fullest_arena_is_used_first(struct kunit *test)
{
	static const u32 given[][FEW] = {
		{ 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 }, { 2, 3, 1 }, { 3, 1, 2 }, { 3, 2, 1 },
		{ 63, 1, 62 }, { 5, 40, 4 }, { 0, 2, 1 }, { 1, 0, 63 },
	};
	struct runs *r = runs_new(test);
	u32 row, a, i, taken, least;
	u32 left[FEW];

	for (row = 0; row < ARRAY_SIZE(given); row++) {
		for (i = 0; i < FEW * POM_ARENA_POOLS; i++)
			run_take(test, r, i, 1);
		for (a = 0; a < FEW; a++) {
			left[a] = given[row][a];
			/* Every third place, then the others: not in a row. */
			for (i = 0; i < left[a]; i++)
				run_give(r, a * POM_ARENA_POOLS + (i * 3 + 1) % POM_ARENA_POOLS);
		}
		recount(test, r, "with holes");
		for (taken = given[row][0] + given[row][1] + given[row][2]; taken; taken--) {
			least = U32_MAX;
			for (a = 0; a < FEW; a++)
				if (left[a])
					least = min(least, left[a]);
			run_take(test, r, FEW * POM_ARENA_POOLS, 1);
			a = r->block[FEW * POM_ARENA_POOLS].pool->arena->index;
			KUNIT_ASSERT_LT(test, a, (u32)FEW);
			KUNIT_ASSERT_EQ_MSG(test, left[a], least, "row %u, %u to take", row, taken);
			left[a]--;
			/* Its number is that of its place again. */
			i = a * POM_ARENA_POOLS + r->block[FEW * POM_ARENA_POOLS].pool->place;
			KUNIT_ASSERT_NULL(test, r->block[i].pool);
			swap(r->block[i], r->block[FEW * POM_ARENA_POOLS]);
		}
		recount(test, r, "filled again");
		KUNIT_ASSERT_EQ(test, r->space->arenas, FEW);
		runs_give_all(r);
		KUNIT_ASSERT_EQ(test, r->space->arenas, 0);
	}
}

/* Also those with the highest bit, which is where shifts go wrong. */
static void each_place_can_be_the_last(struct kunit *test)
{
	struct runs *r = runs_new(test);
	u32 i, link;

	for (i = 0; i < POM_ARENA_POOLS; i++)
		run_take(test, r, i, 1);
	for (i = 0; i < POM_ARENA_POOLS; i++) {
		link = r->block[i].link;
		run_give(r, i);
		recount(test, r, "a hole");
		run_take(test, r, i, 1);
		KUNIT_ASSERT_EQ(test, r->block[i].link, link);
		recount(test, r, "no hole");
	}
	run_take(test, r, i, 1);
	KUNIT_EXPECT_EQ(test, r->block[i].pool->arena->index, 1);
	runs_give_all(r);
}

static void arenas_go_on_in_the_next_chunk(struct kunit *test)
{
	struct runs *r = runs_new(test);
	u32 i;

	/* One run takes all arenas of a chunk but the last; the next crosses over. */
	run_take(test, r, 0, (POM_CHUNK_ARENAS - 1) * POM_ARENA_POOLS);
	KUNIT_EXPECT_NULL(test, r->space->chunk[1]);
	run_take(test, r, 1, 2 * POM_ARENA_POOLS);
	KUNIT_EXPECT_NOT_NULL(test, r->space->chunk[1]);
	KUNIT_EXPECT_EQ(test, r->block[1].pool->arena->index, POM_CHUNK_ARENAS - 1);
	recount(test, r, "a run across chunks");
	/* What fits is put before them again. */
	run_give(r, 0);
	for (i = 2; i < 6; i++) {
		run_take(test, r, i, POM_ARENA_POOLS);
		KUNIT_EXPECT_EQ(test, r->block[i].pool->arena->index, i - 2);
	}
	recount(test, r, "before it");
	runs_give_all(r);
	KUNIT_EXPECT_EQ(test, r->space->arenas, 0);
}

/* --- Runs ------------------------------------------------------------------ */

static void runs_fit_into_every_hole(struct kunit *test)
{
	struct runs *r = runs_new(test);
	u32 n, i, link, last = POM_ARENA_POOLS;

	/* An arena of single pages, a hole of n of them, a run of n. */
	for (n = 1; n < POM_ARENA_POOLS; n++) {
		for (i = 0; i < POM_ARENA_POOLS; i++)
			run_take(test, r, i, 1);
		KUNIT_ASSERT_EQ(test, r->space->arenas, 1);
		link = r->block[1].link;
		for (i = 1; i <= n; i++)
			run_give(r, i);
		run_take(test, r, last, n);
		KUNIT_ASSERT_EQ(test, r->block[last].link, link);
		KUNIT_ASSERT_EQ(test, r->space->arenas, 1);
		run_give(r, last);
		/* One more does not fit. */
		run_take(test, r, last, n + 1);
		KUNIT_ASSERT_EQ(test, r->space->arenas, 2);
		recount(test, r, "beside the hole");
		runs_give_all(r);
		KUNIT_ASSERT_EQ(test, r->space->arenas, 0);
	}
}

static void runs_cross_arenas(struct kunit *test)
{
	static const u32 pages[] = { 63, 64, 65, 127, 128, 129, 200, 700 };
	struct runs *r = runs_new(test);
	u32 i;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		run_take_bytes(test, r, i, pages[i] * POM_POOL_BYTES - 8);
		KUNIT_EXPECT_EQ(test, r->block[i].pool->pages, pages[i]);
		recount(test, r, "taking");
	}
	for (i = 0; i < ARRAY_SIZE(pages); i += 2) {
		run_give(r, i);
		recount(test, r, "every other");
	}
	for (i = 0; i < ARRAY_SIZE(pages); i += 2) {
		run_take_bytes(test, r, i, pages[i] * POM_POOL_BYTES - 8);
		recount(test, r, "taking again");
	}
	runs_give_all(r);
	KUNIT_EXPECT_EQ(test, r->space->pages, 0ULL);
	KUNIT_EXPECT_EQ(test, r->space->arenas, 0);
	KUNIT_EXPECT_EQ(test, r->space->slack, 0ULL);
}

/* All lengths in any order: nothing overlaps, everything is counted. */
static void random_runs_are_recounted(struct kunit *test)
{
	struct runs *r = runs_new(test);
	struct rnd_state rnd;
	u32 round, i, pages;

	prandom_seed_state(&rnd, pom_random_seed);
	for (round = 0; round < 1000; round++) {
		i = prandom_u32_state(&rnd) % RUNS;
		pages = prandom_u32_state(&rnd) % (round % 5 ? 12 : 150) + 1;
		if (r->block[i].pool)
			run_give(r, i);
		else
			run_take(test, r, i, pages);
		recount(test, r, "after a step");
		cond_resched();
	}
	runs_give_all(r);
	recount(test, r, "after all");
	KUNIT_EXPECT_EQ(test, r->space->arenas, 0);
}

static struct kunit_case arena_cases[] = {
	KUNIT_CASE(an_arena_has_64_places),
	KUNIT_CASE(the_fullest_arena_is_used_first),
	KUNIT_CASE(each_place_can_be_the_last),
	KUNIT_CASE(arenas_go_on_in_the_next_chunk),
	KUNIT_CASE(runs_fit_into_every_hole),
	KUNIT_CASE(runs_cross_arenas),
	KUNIT_CASE(random_runs_are_recounted),
	{}
};

static struct kunit_suite arena_suite = {
	.name = "pyobjmem_arena",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = arena_cases,
};

kunit_test_suite(arena_suite);
