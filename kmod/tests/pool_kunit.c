// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: pages of blocks: which block is taken, from which page, and which pages
 * are kept. All orders of few blocks are in order_kunit.c.
 */
#include <linux/slab.h>

#include "kunit.h"

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
	KUNIT_ASSERT_EQ(test, pom_fixture_take(test->priv, b->space, b->size, &b->block[i]), 0);
}

static void block_give(struct kunit *test, struct blocks *b, u32 i)
{
	pom_fixture_give(test->priv, b->space, &b->block[i]);
}

static void recount(struct kunit *test, struct blocks *b)
{
	struct pom_differs differs;

	POM_ASSERT_SAME(test, pom_recount(b->space, &differs), &differs, "blocks of %llu bytes",
			b->size);
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
		pom_fixture_trim(test->priv);
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

/* A page a bucket, in whatever order they got there: they fill one after the other. */
static void the_fullest_pool_is_used_first(struct kunit *test)
{
	static const u8 live[][POM_BUCKETS] = {
		{ 0, 2, 4, 6, 7 }, { 7, 6, 4, 2, 0 }, { 4, 7, 0, 2, 6 }, { 1, 3, 5, 7, 0 },
	};
	struct blocks *b = blocks_new(test, 512);
	struct pom_pool *pool[POM_BUCKETS];
	u32 row, p, i, fullest;

	for (row = 0; row < ARRAY_SIZE(live); row++) {
		for (i = 0; i < 8 * POM_BUCKETS; i++)
			block_take(test, b, i);
		for (p = 0; p < POM_BUCKETS; p++) {
			pool[p] = b->block[8 * p].pool;
			for (i = live[row][p]; i < 8; i++)
				block_give(test, b, 8 * p + i);
			recount(test, b);
		}
		for (;;) {
			fullest = POM_BUCKETS;
			for (p = 0; p < POM_BUCKETS; p++)
				if (pool[p]->live < 8 &&
				    (fullest == POM_BUCKETS || pool[p]->live > pool[fullest]->live))
					fullest = p;
			if (fullest == POM_BUCKETS)
				break;
			i = 8 * fullest + pool[fullest]->live;
			block_take(test, b, i);
			KUNIT_ASSERT_PTR_EQ(test, b->block[i].pool, pool[fullest]);
			recount(test, b);
		}
		for (i = 0; i < 8 * POM_BUCKETS; i++)
			block_give(test, b, i);
		pom_fixture_trim(test->priv);
	}
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
	pom_fixture_trim(test->priv);
	KUNIT_EXPECT_EQ(test, b->space->pages, 0ULL);
	KUNIT_EXPECT_EQ(test, b->space->arenas, 0);
}

/* Every number of blocks in use: the right list, and the lowest free one is next. */
static void every_fullness_has_its_bucket(struct kunit *test)
{
	struct blocks *b = blocks_new(test, 0);
	u32 i, n;

	for (b->size = POM_CLASS_STEP; b->size <= POM_CLASS_MAX; b->size += POM_CLASS_STEP) {
		n = POM_POOL_BYTES / b->size;
		for (i = 0; i < n; i++) {
			block_take(test, b, i);
			KUNIT_ASSERT_EQ(test, b->block[i].index, i);
			recount(test, b);
		}
		/* Down again with every other block first: holes everywhere. */
		for (i = 0; i < n; i++) {
			block_give(test, b, i * 2 < n ? i * 2 : (i * 2 - n) | 1);
			recount(test, b);
		}
		pom_fixture_trim(test->priv);
		recount(test, b);
		KUNIT_ASSERT_EQ(test, b->space->pages, 0ULL);
		cond_resched();
	}
}

static struct kunit_case pool_cases[] = {
	KUNIT_CASE(every_class_fills_its_page),
	KUNIT_CASE(the_lowest_block_is_taken),
	KUNIT_CASE(the_fullest_pool_is_used_first),
	KUNIT_CASE(a_few_empty_pools_are_kept),
	KUNIT_CASE(every_fullness_has_its_bucket),
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
