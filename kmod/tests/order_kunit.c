// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: every order of taking blocks and giving them back, for every class in
 * both spaces, and for runs of pages. After each step everything that the
 * space and the pools say is compared with a model of two pages, or recounted.
 */
#include <linux/bitmap.h>
#include <linux/string.h>

#include "kunit.h"

#define PAGES	2	/* that so few blocks can lie in */
#define BLOCKS	(POM_POOL_BYTES / POM_CLASS_STEP)

/* A page as it should be. */
struct page_model {
	struct pom_pool *pool;	/* NULL: there is none */
	u32 live;
	u32 generation;		/* the last that was given */
	DECLARE_BITMAP(taken, BLOCKS);
};

/* Blocks under test. */
struct orders {
	struct pom_fixture *f;
	struct pom_space *space;
	u64 size;
	u32 blocks;		/* in a page */
	struct page_model page[PAGES];
	struct pom_block block[POM_ORDER_MOST];
	bool live[POM_ORDER_MOST];
	u8 order[2 * POM_ORDER_MOST];
	u32 step;
	struct pom_differs differs;
};

static struct orders *orders_new(struct kunit *test, enum pom_space_kind kind)
{
	struct pom_fixture *f = test->priv;
	struct orders *o = kunit_kzalloc(test, sizeof(*o), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, o);
	o->f = f;
	o->space = &f->heap->space[kind];
	o->page[0].generation = pom_first_generation - 1;
	o->page[1].generation = pom_first_generation - 1;
	return o;
}

static u32 order_blocks(void)
{
	return clamp(pom_order_blocks, 1U, (u32)POM_ORDER_MOST);
}

/* --- Blocks of a class ---------------------------------------------------- */

/* What a client would write, another value for each block. */
static u8 content(u32 i)
{
	return 0x41 + i;
}

static bool page_same(struct orders *o, struct page_model *page)
{
	struct pom_differs *d = &o->differs;
	struct pom_pool *pool = page->pool;
	u32 bucket = DIV_ROUND_UP(page->live * 4, o->blocks);
	DECLARE_BITMAP(free, BLOCKS);

	bitmap_complement(free, page->taken, o->blocks);
	if (page->live == o->blocks)
		bucket = POM_BUCKETS;
	return pom_same(d, "size", pool->size, o->size) &&
	       pom_same(d, "blocks", pool->blocks, o->blocks) &&
	       pom_same(d, "live", pool->live, page->live) &&
	       pom_same(d, "bitmap of free blocks is right",
			bitmap_equal((unsigned long *)pool->free, free, o->blocks), true) &&
	       pom_same(d, "bucket", pool->bucket, bucket);
}

/* Each pool is on its list, and nothing else is there. */
static bool lists_same(struct orders *o)
{
	struct list_head *lists = o->space->partial[o->size / POM_CLASS_STEP - 1];
	u32 bucket, i, listed = 0, expected = 0;
	struct pom_pool *pool;

	for (bucket = 0; bucket < POM_BUCKETS; bucket++) {
		list_for_each_entry(pool, &lists[bucket], node) {
			if (!pom_same(&o->differs, "bucket on a list", pool->bucket, bucket))
				return false;
			listed++;
		}
	}
	for (i = 0; i < PAGES; i++)
		expected += o->page[i].pool && o->page[i].live < o->blocks;
	return pom_same(&o->differs, "pools on lists", listed, expected);
}

static bool space_same(struct orders *o)
{
	u32 i, pages = 0, live = 0, empty = 0;
	struct pom_differs *d = &o->differs;
	struct pom_space *space = o->space;

	for (i = 0; i < PAGES; i++) {
		if (!o->page[i].pool)
			continue;
		if (!page_same(o, &o->page[i]))
			return false;
		pages++;
		live += o->page[i].live;
		empty += !o->page[i].live;
	}
	return pom_same(d, "used", space->used, live * o->size) &&
	       pom_same(d, "pages", space->pages, pages) &&
	       pom_same(d, "pages of the heap", o->f->heap->pages, pages) &&
	       pom_same(d, "arenas", space->arenas, !!pages) &&
	       pom_same(d, "slack", space->slack,
			pages * (POM_POOL_BYTES - o->blocks * o->size)) &&
	       pom_same(d, "empty", space->empty, empty) &&
	       pom_same(d, "spare", space->spare, empty ? empty - 1 : 0) &&
	       lists_same(o);
}

/* A link is found if and only if it is that of a block in use. */
static bool finds_same(struct orders *o)
{
	struct pom_block found;
	bool is, same = true;
	u32 i, j;

	pom_heap_lock(o->f->heap);
	for (i = 0; same && i < POM_ORDER_MOST; i++) {
		is = false;
		for (j = 0; j < POM_ORDER_MOST; j++)
			is |= o->live[j] && o->block[j].link == o->block[i].link;
		if (!is && !o->block[i].pool)
			continue;
		same = pom_same(&o->differs, "found",
				pom_block_find(o->space, o->block[i].link, &found), is);
		if (same && o->live[i])
			same = pom_same(&o->differs, "index found", found.index,
					o->block[i].index) &&
			       pom_same(&o->differs, "pool found", (long)found.pool,
					(long)o->block[i].pool);
	}
	pom_heap_unlock(o->f->heap);
	return same;
}

/* A new page; the generations of its place go on. */
static void page_add(struct orders *o, struct page_model *page, struct pom_pool *pool)
{
	page->pool = pool;
	page->live = 0;
	bitmap_zero(page->taken, BLOCKS);
}

/* Objects get a generation with their block, one after the other. */
static bool generation_same(struct orders *o, struct page_model *page, const struct pom_block *b)
{
	u32 generation;

	if (o->space->kind != POM_OBJECTS)
		return true;
	pom_heap_lock(o->f->heap);
	generation = pom_pool_next_generation(o->space, b->pool);
	pom_heap_unlock(o->f->heap);
	return pom_same(&o->differs, "generation", generation, ++page->generation) &&
	       pom_same(&o->differs, "side header used",
			!!memchr_inv(&b->pool->side[b->index], 0, sizeof(struct pom_side)), false);
}

static bool take(struct orders *o, u32 i)
{
	struct page_model *page = &o->page[0];
	struct pom_differs *d = &o->differs;
	struct pom_block *b = &o->block[i];
	u32 index, place;
	u8 *bytes;

	/* The first page is always the fuller one. */
	if (page->pool && page->live == o->blocks)
		page++;
	if (!pom_same(d, "result", pom_fixture_take(o->f, o->space, o->size, b), 0))
		return false;
	if (!page->pool)
		page_add(o, page, b->pool);
	index = find_first_zero_bit(page->taken, o->blocks);
	if (!pom_same(d, "pool", (long)b->pool, (long)page->pool) ||
	    !pom_same(d, "place", b->pool->place, page - o->page) ||
	    !pom_same(d, "block", b->index, index))
		return false;
	__set_bit(index, page->taken);
	page->live++;
	o->live[i] = true;

	bytes = pom_block_byte(b, 0);
	place = b->pool->arena->index * POM_ARENA_POOLS + b->pool->place;
	if (!pom_same(d, "link", b->link,
		      place * POM_POOL_LINKS + index * o->size / sizeof(u64)) ||
	    !pom_same(d, "address", (long)bytes, (long)b->pool->base + index * o->size) ||
	    !pom_same(d, "something in it", !!memchr_inv(bytes, 0, o->size), false))
		return false;
	memset(bytes, content(i), o->size);
	return generation_same(o, page, b);
}

static bool give(struct orders *o, u32 i)
{
	struct pom_block *b = &o->block[i];
	struct page_model *page = &o->page[0];
	u8 *bytes = pom_block_byte(b, 0);

	if (page->pool != b->pool)
		page++;
	if (!pom_same(&o->differs, "something else in it",
		      !!memchr_inv(bytes, content(i), o->size), false))
		return false;
	memset(bytes, 0, o->size);
	pom_fixture_give(o->f, o->space, b);
	__clear_bit(b->index, page->taken);
	page->live--;
	o->live[i] = false;
	return true;
}

static bool order_run(struct orders *o)
{
	for (o->step = 0; o->step < 2 * order_blocks(); o->step++) {
		u32 i = o->order[o->step];

		if (!(o->live[i] ? give(o, i) : take(o, i)) || !space_same(o) || !finds_same(o))
			return false;
	}
	return true;
}

/* What is empty goes, and with the last page the arena: then all go on from the highest. */
static bool trim(struct orders *o)
{
	struct page_model *page = o->page;
	u32 i;

	pom_fixture_trim(o->f);
	for (i = 0; i < PAGES; i++)
		if (!page[i].live)
			page[i].pool = NULL;
	if (!page[0].pool && !page[1].pool) {
		page[0].generation = max(page[0].generation, page[1].generation);
		page[1].generation = page[0].generation;
	}
	memset(o->block, 0, sizeof(o->block));
	return space_same(o);
}

/* Take @before blocks of the first page, which stay for all orders. */
static void fill_before(struct kunit *test, struct orders *o, u32 before)
{
	struct pom_block b;
	u32 i;

	for (i = 0; i < before; i++) {
		KUNIT_ASSERT_EQ(test, pom_fixture_take(o->f, o->space, o->size, &b), 0);
		if (!i)
			page_add(o, &o->page[0], b.pool);
		KUNIT_ASSERT_PTR_EQ(test, b.pool, o->page[0].pool);
		KUNIT_ASSERT_EQ(test, b.index, i);
	}
	o->page[0].live = before;
	bitmap_set(o->page[0].taken, 0, before);
}

static void empty_before(struct kunit *test, struct orders *o, u32 before)
{
	struct pom_block b = { .pool = o->page[0].pool };

	/* Nothing was written but by those who had the blocks. */
	for (b.index = before; b.index < b.pool->blocks; b.index++)
		KUNIT_ASSERT_TRUE(test, pom_poison_intact(b.pool, b.index));
	KUNIT_ASSERT_NULL(test, memchr_inv(b.pool->base + b.pool->blocks * o->size, 0,
					   POM_POOL_BYTES - b.pool->blocks * o->size));
	KUNIT_ASSERT_NULL(test, memchr_inv(b.pool->base, 0, before * o->size));
	for (b.index = 0; b.index < before; b.index++)
		pom_fixture_give(o->f, o->space, &b);
	o->page[0].live = 0;
}

/* All orders in both spaces, with all but @room blocks of the first page taken. */
static void every_order(struct kunit *test, enum pom_space_kind kind, u32 room)
{
	struct orders *o = orders_new(test, kind);
	u32 number, before, count = pom_order_count(order_blocks());
	char name[2 * POM_ORDER_MOST + 1];

	for (o->size = POM_CLASS_STEP; o->size <= POM_CLASS_MAX; o->size += POM_CLASS_STEP) {
		o->blocks = POM_POOL_BYTES / o->size;
		before = room < o->blocks ? o->blocks - room : 0;
		fill_before(test, o, before);
		for (number = 0; number < count; number++) {
			pom_order_decode(number, order_blocks(), o->order);
			POM_ASSERT_SAME(test, order_run(o), &o->differs,
					"after step %u of %s, blocks of %llu bytes, %u before",
					o->step, pom_order_name(o->order, order_blocks(), name),
					o->size, before);
			/* Half of the orders begin with the empty pool of the last one. */
			if (number % 2)
				POM_ASSERT_SAME(test, trim(o), &o->differs, "after trimming");
			cond_resched();
		}
		if (before)
			empty_before(test, o, before);
		POM_ASSERT_SAME(test, trim(o), &o->differs, "after all");
		POM_ASSERT_SAME(test, pom_recount(o->space, &o->differs), &o->differs,
				"after all");
	}
	kunit_info(test, "%u orders of %u blocks, %u classes", count, order_blocks(),
		   POM_CLASSES);
}

static void every_order_of_objects_in_a_page(struct kunit *test)
{
	every_order(test, POM_OBJECTS, BLOCKS);
}

static void every_order_of_objects_that_fill_a_page(struct kunit *test)
{
	every_order(test, POM_OBJECTS, min(order_blocks() / 2, 3U));
}

static void every_order_of_data_in_a_page(struct kunit *test)
{
	every_order(test, POM_DATA, BLOCKS);
}

static void every_order_of_data_that_fill_a_page(struct kunit *test)
{
	every_order(test, POM_DATA, min(order_blocks() / 2, 3U));
}

/* --- Runs ------------------------------------------------------------------ */

#define ARENAS	16	/* more than so few runs can take */

/* Pages of the runs that are taken in all orders. */
static const u32 run_pages[][POM_ORDER_MOST] = {
	{ 1, 1, 1, 1, 1, 1 },
	{ 1, 2, 3, 4, 5, 6 },
	{ 32, 16, 48, 64, 33, 8 },
	{ 60, 5, 63, 2, 1, 64 },
	{ 65, 64, 1, 63, 130, 2 },
};

/* Free places of the first arenas; those that are not there are all free. */
struct places {
	u64 free[ARENAS];
	u32 there;		/* bitmap */
};

static void places_look(struct orders *o, struct places *p)
{
	struct pom_arena *arena;
	u32 number = 0;

	memset(p, 0, sizeof(*p));
	pom_heap_lock(o->f->heap);
	while (number < ARENAS && (arena = pom_arena_next(o->space, &number)) &&
	       arena->index < ARENAS) {
		p->free[arena->index] = arena->free_pools;
		p->there |= BIT(arena->index);
	}
	pom_heap_unlock(o->f->heap);
}

/* The lowest of @pages free places in a row, POM_ARENA_POOLS if there are none. */
static u32 places_fit(u64 free, u32 pages)
{
	u64 mask = GENMASK_ULL(pages - 1, 0);
	u32 place;

	for (place = 0; place + pages <= POM_ARENA_POOLS; place++)
		if ((free >> place & mask) == mask)
			return place;
	return POM_ARENA_POOLS;
}

/* Where a run goes: the lowest fit in the fullest arena that has one, else new. */
static bool place_same(struct orders *o, const struct places *p, const struct pom_pool *run)
{
	u32 count = DIV_ROUND_UP(run->pages, POM_ARENA_POOLS), i, first, least = U32_MAX;
	u32 got = run->arena->index;

	for (i = 0; count == 1 && i < ARENAS; i++)
		if (p->there & BIT(i) && places_fit(p->free[i], run->pages) < POM_ARENA_POOLS)
			least = min(least, hweight64(p->free[i]));
	if (least != U32_MAX)
		return pom_same(&o->differs, "free places of the arena chosen",
				hweight64(p->free[got]), least) &&
		       pom_same(&o->differs, "place", run->place,
				places_fit(p->free[got], run->pages));
	for (first = 0; p->there & (GENMASK(count - 1, 0) << first); first++)
		;
	return pom_same(&o->differs, "new arena", got, first) &&
	       pom_same(&o->differs, "place", run->place, 0);
}

/* Mark each page of a run as its own, or look whether it still is. */
static bool run_mark(struct orders *o, u32 i, u64 from, u64 to)
{
	const struct pom_block *b = &o->block[i];
	u64 *word;
	u32 n;

	for (n = 0; n < b->pool->pages; n++) {
		word = pom_block_byte(b, n * POM_POOL_BYTES);
		if (!pom_same(&o->differs, "first word of a page", *word, from) ||
		    !pom_same(&o->differs, "last word of a page",
			      word[POM_POOL_LINKS - 1], from))
			return false;
		word[0] = to;
		word[POM_POOL_LINKS - 1] = to;
	}
	return true;
}

static bool run_step(struct orders *o, u32 i, u32 pages)
{
	struct pom_block *b = &o->block[i];
	u64 mark = 0x1111111111111111ULL * (i + 1);
	struct places places;

	if (o->live[i]) {
		o->live[i] = false;
		if (!run_mark(o, i, mark, mark))
			return false;
		pom_fixture_give(o->f, o->space, b);
		b->pool = NULL;	/* it is freed at once */
		return true;
	}
	places_look(o, &places);
	if (!pom_same(&o->differs, "result",
		      pom_fixture_take(o->f, o->space, pages * POM_POOL_BYTES, b), 0))
		return false;
	o->live[i] = true;
	return pom_same(&o->differs, "link", b->link,
			(b->pool->arena->index * POM_ARENA_POOLS + b->pool->place) *
			POM_POOL_LINKS) &&
	       place_same(o, &places, b->pool) && run_mark(o, i, 0, mark);
}

static bool runs_run(struct orders *o, const u32 *pages)
{
	u64 used = 0;

	for (o->step = 0; o->step < 2 * order_blocks(); o->step++) {
		u32 i = o->order[o->step];

		if (!run_step(o, i, pages[i]) || !pom_recount(o->space, &o->differs))
			return false;
		if (o->live[i])
			used += pages[i];
		else
			used -= pages[i];
		if (!pom_same(&o->differs, "pages", o->space->pages, used))
			return false;
	}
	return pom_same(&o->differs, "arenas", o->space->arenas, 0);
}

static void every_order_of_runs(struct kunit *test)
{
	struct orders *o = orders_new(test, POM_DATA);
	u32 number, i, count = pom_order_count(order_blocks());
	char name[2 * POM_ORDER_MOST + 1];

	for (i = 0; i < ARRAY_SIZE(run_pages); i++) {
		for (number = 0; number < count; number++) {
			pom_order_decode(number, order_blocks(), o->order);
			POM_ASSERT_SAME(test, runs_run(o, run_pages[i]), &o->differs,
					"after step %u of %s, row %u of the table", o->step,
					pom_order_name(o->order, order_blocks(), name), i);
			cond_resched();
		}
	}
}

/* The number of an order, or U32_MAX if it is none. */
static u32 order_encode(const u8 *order, u32 blocks)
{
	u32 number = 0, factor = 1, block = 0, first, second, skip;

	for (first = 0; first < 2 * blocks; first++) {
		if (order[first] < block)
			continue;
		if (order[first] != block)
			return U32_MAX;
		skip = 0;
		for (second = first + 1; second < 2 * blocks && order[second] != block; second++)
			skip += order[second] > block;
		if (second == 2 * blocks)
			return U32_MAX;
		number += skip * factor;
		factor *= 2 * (blocks - block) - 1;
		block++;
	}
	return number;
}

static void every_order_is_there_once(struct kunit *test)
{
	u8 order[2 * POM_ORDER_MOST];
	u32 blocks, number;

	KUNIT_EXPECT_EQ(test, pom_order_count(1), 1);
	KUNIT_EXPECT_EQ(test, pom_order_count(6), 10395);
	for (blocks = 1; blocks <= POM_ORDER_MOST; blocks++) {
		for (number = 0; number < pom_order_count(blocks); number++) {
			pom_order_decode(number, blocks, order);
			KUNIT_ASSERT_EQ(test, order_encode(order, blocks), number);
		}
	}
}

static struct kunit_case order_cases[] = {
	KUNIT_CASE(every_order_is_there_once),
	KUNIT_CASE(every_order_of_objects_in_a_page),
	KUNIT_CASE(every_order_of_objects_that_fill_a_page),
	KUNIT_CASE(every_order_of_data_in_a_page),
	KUNIT_CASE(every_order_of_data_that_fill_a_page),
	KUNIT_CASE(every_order_of_runs),
	{}
};

static struct kunit_suite order_suite = {
	.name = "pyobjmem_order",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = order_cases,
};

kunit_test_suite(order_suite);
