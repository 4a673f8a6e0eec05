// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: blocks, pools, arenas and handles, exhaustively where they are small.
 */
#include <linux/slab.h>

#include "kunit.h"

#define FEW	6	/* blocks whose orders are all tried */

/* Blocks under test. */
struct blocks {
	struct pom_space *space;
	struct pom_block block[POM_POOL_BYTES / POM_CLASS_STEP];
	u64 size;
};

static struct blocks *blocks_new(struct kunit *test, u64 size)
{
	struct pom_fixture *f = test->priv;
	struct blocks *b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, b);
	b->space = &f->heap->space[POM_DATA];
	b->size = size;
	return b;
}

static void block_take(struct kunit *test, struct blocks *b, u32 i)
{
	struct pom_fixture *f = test->priv;
	int ret;

	do {
		pom_heap_lock(f->heap);
		pom_stash_begin(&f->stash);
		ret = pom_block_alloc(b->space, b->size, &f->stash, &b->block[i]);
		pom_heap_unlock(f->heap);
	} while (ret == -EAGAIN && !pom_stash_fill(&f->stash));
	KUNIT_ASSERT_EQ(test, ret, 0);
}

static void block_give(struct kunit *test, struct blocks *b, u32 i)
{
	struct pom_fixture *f = test->priv;

	pom_heap_lock(f->heap);
	pom_block_free(b->space, b->block[i].pool, b->block[i].index);
	pom_heap_unlock(f->heap);
}

static void trim(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	pom_heap_lock(f->heap);
	pom_pool_trim(&f->heap->space[POM_OBJECTS]);
	pom_pool_trim(&f->heap->space[POM_DATA]);
	pom_heap_unlock(f->heap);
}

/* All permutations by Heap's algorithm, iteratively; false after the last. */
static bool permute(u8 *order, u8 *count, u32 n)
{
	u32 i = 1;

	while (i < n && count[i] >= i)
		count[i++] = 0;
	if (i >= n)
		return false;
	swap(order[i], order[i % 2 ? count[i] : 0]);
	count[i]++;
	return true;
}

static void every_order_of_freeing_leaves_nothing(struct kunit *test)
{
	struct blocks *b = blocks_new(test, POM_CLASS_STEP);
	u8 order[FEW], count[FEW];
	u32 n, i;

	for (b->size = POM_CLASS_STEP; b->size <= POM_CLASS_MAX; b->size += POM_CLASS_STEP) {
		for (n = 1; n <= FEW; n++) {
			memset(count, 0, sizeof(count));
			for (i = 0; i < n; i++)
				order[i] = i;
			do {
				for (i = 0; i < n; i++)
					block_take(test, b, i);
				KUNIT_ASSERT_EQ(test, b->space->used, n * b->size);
				for (i = 0; i < n; i++)
					block_give(test, b, order[i]);
				KUNIT_ASSERT_EQ(test, b->space->used, 0ULL);
				KUNIT_ASSERT_EQ(test, b->space->empty, 1);
			} while (permute(order, count, n));
		}
		trim(test);
		KUNIT_ASSERT_EQ(test, b->space->pages, 0ULL);
		cond_resched();
	}
}

static void every_class_fills_its_page(struct kunit *test)
{
	struct blocks *b = blocks_new(test, POM_CLASS_STEP);
	struct pom_block found;
	u32 i, n;

	for (b->size = POM_CLASS_STEP; b->size <= POM_CLASS_MAX; b->size += POM_CLASS_STEP) {
		n = POM_POOL_BYTES / b->size;
		for (i = 0; i < n; i++) {
			block_take(test, b, i);
			KUNIT_ASSERT_EQ(test, b->block[i].link,
					b->block[0].link + i * (u32)(b->size / 8));
			if (b->size % 16 == 0)
				KUNIT_ASSERT_EQ(test, b->block[i].link % 2, 0);
		}
		KUNIT_ASSERT_EQ(test, b->space->pages, 1ULL);
		KUNIT_ASSERT_EQ(test, b->space->slack, POM_POOL_BYTES - n * b->size);
		for (i = 0; i < n; i++) {
			KUNIT_ASSERT_TRUE(test, pom_block_find(b->space, b->block[i].link, &found));
			KUNIT_ASSERT_EQ(test, found.index, i);
			if (b->size > 8)
				KUNIT_ASSERT_FALSE(test, pom_block_find(b->space,
									b->block[i].link + 1,
									&found));
		}
		for (i = 0; i < n; i++)
			block_give(test, b, i);
		trim(test);
	}
}

static void the_lowest_block_is_taken(struct kunit *test)
{
	struct blocks *b = blocks_new(test, 64);
	u32 i;

	for (i = 0; i < 64; i++)
		block_take(test, b, i);
	for (i = 0; i < 64; i++) {
		u32 link = b->block[i].link;

		block_give(test, b, i);
		block_take(test, b, i);
		KUNIT_EXPECT_EQ(test, b->block[i].link, link);
	}
	block_give(test, b, 40);
	block_give(test, b, 7);
	block_take(test, b, 64);
	KUNIT_EXPECT_EQ(test, b->block[64].index, 7);
	block_take(test, b, 65);
	KUNIT_EXPECT_EQ(test, b->block[65].index, 40);
	for (i = 0; i < 66; i++)
		if (i != 40 && i != 7)
			block_give(test, b, i);
}

static void the_fullest_pool_is_used_first(struct kunit *test)
{
	struct blocks *b = blocks_new(test, 512);
	struct pom_pool *sparse, *dense;
	u32 i;

	for (i = 0; i < 16; i++)
		block_take(test, b, i);
	dense = b->block[0].pool;
	sparse = b->block[8].pool;
	KUNIT_ASSERT_PTR_NE(test, dense, sparse);
	for (i = 9; i < 16; i++)
		block_give(test, b, i);
	block_give(test, b, 0);
	block_take(test, b, 0);
	KUNIT_EXPECT_PTR_EQ(test, b->block[0].pool, dense);
	block_take(test, b, 9);
	KUNIT_EXPECT_PTR_EQ(test, b->block[9].pool, sparse);
	for (i = 0; i < 10; i++)
		block_give(test, b, i);
}

static void a_few_empty_pools_are_kept(struct kunit *test)
{
	struct blocks *b = blocks_new(test, 512);
	u32 i;

	for (i = 0; i < 20 * 8; i++)
		block_take(test, b, i);
	KUNIT_EXPECT_EQ(test, b->space->pages, 20ULL);
	for (i = 0; i < 20 * 8; i++)
		block_give(test, b, i);
	KUNIT_EXPECT_EQ(test, b->space->pages, 1ULL + POM_EMPTY_KEPT);
	KUNIT_EXPECT_EQ(test, b->space->empty, 1U + POM_EMPTY_KEPT);
	KUNIT_EXPECT_EQ(test, b->space->spare, (u32)POM_EMPTY_KEPT);
	trim(test);
	KUNIT_EXPECT_EQ(test, b->space->pages, 0ULL);
	KUNIT_EXPECT_EQ(test, b->space->arenas, 0);
}

static void runs_fit_into_every_hole(struct kunit *test)
{
	struct blocks *b = blocks_new(test, POM_POOL_BYTES);
	u32 n, i, link;

	/* An arena of single pages, a hole of n of them, a run of n. */
	for (n = 1; n < POM_ARENA_POOLS; n++) {
		b->size = POM_POOL_BYTES;
		for (i = 0; i < POM_ARENA_POOLS; i++)
			block_take(test, b, i);
		KUNIT_ASSERT_EQ(test, b->space->arenas, 1);
		link = b->block[1].link;
		for (i = 1; i <= n && i < POM_ARENA_POOLS; i++)
			block_give(test, b, i);
		b->size = n * POM_POOL_BYTES;
		block_take(test, b, POM_ARENA_POOLS);
		KUNIT_EXPECT_EQ(test, b->block[POM_ARENA_POOLS].link, link);
		KUNIT_EXPECT_EQ(test, b->space->arenas, 1);
		block_give(test, b, POM_ARENA_POOLS);
		b->size = POM_POOL_BYTES;
		block_give(test, b, 0);
		for (i = n + 1; i < POM_ARENA_POOLS; i++)
			block_give(test, b, i);
		KUNIT_ASSERT_EQ(test, b->space->arenas, 0);
	}
}

static void runs_cross_arenas(struct kunit *test)
{
	static const u32 pages[] = { 63, 64, 65, 127, 128, 129, 200, 700 };
	struct blocks *b = blocks_new(test, 0);
	u32 i;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		b->size = pages[i] * POM_POOL_BYTES - 8;
		block_take(test, b, i);
		KUNIT_EXPECT_EQ(test, b->block[i].pool->pages, pages[i]);
	}
	for (i = 0; i < ARRAY_SIZE(pages); i += 2)
		block_give(test, b, i);
	for (i = 0; i < ARRAY_SIZE(pages); i += 2) {
		b->size = pages[i] * POM_POOL_BYTES - 8;
		block_take(test, b, i);
	}
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		block_give(test, b, i);
	KUNIT_EXPECT_EQ(test, b->space->pages, 0ULL);
	KUNIT_EXPECT_EQ(test, b->space->arenas, 0);
	KUNIT_EXPECT_EQ(test, b->space->slack, 0ULL);
}

static void a_generation_is_never_given_twice(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	u32 last = 0, i;
	u64 handle;

	/* The page goes and comes back, and so does the arena. */
	for (i = 0; i < 100; i++) {
		handle = pom_fixture_create(test, 0, 40);
		KUNIT_EXPECT_EQ(test, lower_32_bits(handle), 0);
		KUNIT_EXPECT_GT(test, upper_32_bits(handle), last);
		last = upper_32_bits(handle);
		pom_heap_lock(f->heap);
		KUNIT_EXPECT_EQ(test, pom_object_put(&f->session, handle), 0);
		pom_heap_unlock(f->heap);
		trim(test);
		KUNIT_EXPECT_EQ(test, f->heap->pages, 0ULL);
	}
}

static void a_place_without_generations_is_left(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_object obj;
	u64 first, last, next;

	first = pom_fixture_create(test, 0, 40);
	pom_heap_lock(f->heap);
	pom_object_at(f->heap, pom_link(first), &obj);
	obj.block.pool->arena->generation[0] = U32_MAX;
	pom_heap_unlock(f->heap);
	last = pom_fixture_create(test, 0, 40);
	KUNIT_EXPECT_EQ(test, upper_32_bits(last), U32_MAX);
	next = pom_fixture_create(test, 0, 40);
	KUNIT_EXPECT_NE(test, pom_link(next) / POM_POOL_LINKS, 0);
	pom_heap_lock(f->heap);
	KUNIT_EXPECT_EQ(test, pom_object_put(&f->session, first), 0);
	KUNIT_EXPECT_EQ(test, pom_object_put(&f->session, last), 0);
	pom_heap_unlock(f->heap);
	last = pom_fixture_create(test, 0, 56);
	KUNIT_EXPECT_NE(test, pom_link(last) / POM_POOL_LINKS, 0);
}

static struct kunit_case pool_cases[] = {
	KUNIT_CASE(every_order_of_freeing_leaves_nothing),
	KUNIT_CASE(every_class_fills_its_page),
	KUNIT_CASE(the_lowest_block_is_taken),
	KUNIT_CASE(the_fullest_pool_is_used_first),
	KUNIT_CASE(a_few_empty_pools_are_kept),
	KUNIT_CASE(runs_fit_into_every_hole),
	KUNIT_CASE(runs_cross_arenas),
	KUNIT_CASE(a_generation_is_never_given_twice),
	KUNIT_CASE(a_place_without_generations_is_left),
	{}
};

static struct kunit_suite pool_suite = {
	.name = "pyobjmem_pool",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = pool_cases,
};

kunit_test_suite(pool_suite);
