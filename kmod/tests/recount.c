// SPDX-License-Identifier: GPL-2.0
/*
 * What must be true of a space whatever was done to it, recounted from the
 * places up. Written from the invariants in arena.c and pool.c, not from their code.
 */
#include <linux/bitmap.h>

#include "kunit.h"

/* What was counted. */
struct sums {
	u64 used;
	u64 slack;
	u64 pages;
	u32 arenas;
	u32 roomy;	/* arenas with free places */
	u32 listed;	/* pools that belong on a list */
	u32 empty;
	u32 spare;
};

static bool recount_pool(struct pom_arena *arena, u32 place, struct sums *sums,
			 struct pom_differs *d)
{
	struct pom_pool *pool = arena->pool[place];
	bool run = pool->size > POM_CLASS_MAX;
	u32 blocks = run ? 1 : POM_POOL_BYTES / pool->size;
	u32 bucket = DIV_ROUND_UP(pool->live * 4, blocks);
	u32 i;

	if (run || pool->live == blocks || !arena->generation[place])
		bucket = POM_BUCKETS;
	for (i = blocks; i < ALIGN(blocks, 64); i++)
		if (!pom_same(d, "bit beyond the blocks", pool->free[i / 64] >> i % 64 & 1, 0))
			return false;
	sums->used += pool->live * pool->size;
	sums->slack += pool->pages * POM_POOL_BYTES - blocks * pool->size;
	sums->listed += bucket < POM_BUCKETS;
	return pom_same(d, "arena of a pool", (long)pool->arena, (long)arena) &&
	       pom_same(d, "place of a pool", pool->place, place) &&
	       pom_same(d, "blocks", pool->blocks, blocks) &&
	       pom_same(d, "pages of a pool", pool->pages,
			run ? DIV_ROUND_UP(pool->size, POM_POOL_BYTES) : 1) &&
	       pom_same(d, "live", pool->live,
			blocks - bitmap_weight((unsigned long *)pool->free, blocks)) &&
	       pom_same(d, "bucket", pool->bucket, bucket) &&
	       pom_same(d, "on no list", list_empty(&pool->node), bucket == POM_BUCKETS);
}

/* The pages of pools are at their places, and no others are anywhere. */
static bool recount_arena(struct pom_arena *arena, struct pom_pool **pool, u32 *page,
			  struct sums *sums, struct pom_differs *d)
{
	u32 place, pages = 0;
	u64 free = 0;

	for (place = 0; place < POM_ARENA_POOLS; place++) {
		if (*pool && *page == (*pool)->pages)
			*pool = NULL;
		if (arena->pool[place]) {
			if (!pom_same(d, "pool in the midst of another", (long)*pool, 0) ||
			    !recount_pool(arena, place, sums, d))
				return false;
			*pool = arena->pool[place];
			*page = 0;
		}
		if (!*pool) {
			if (!pom_same(d, "page of no pool", (long)arena->page[place], 0))
				return false;
			free |= arena->generation[place] ? 1ULL << place : 0;
			continue;
		}
		if (!pom_same(d, "page of a place", (long)arena->page[place],
			      (long)((*pool)->run ? (*pool)->run[*page] : (*pool)->base)))
			return false;
		++*page;
		pages++;
	}
	sums->pages += pages;
	sums->arenas++;
	sums->roomy += !!free;
	return pom_same(d, "pages of an arena", arena->pages, pages) &&
	       pom_same(d, "an arena without pages", !pages, false) &&
	       pom_same(d, "free places", arena->free_pools, free);
}

static bool recount_arena_lists(struct pom_space *space, struct sums *sums,
				struct pom_differs *d)
{
	struct pom_arena *arena;
	u32 n, listed = 0;

	for (n = 1; n <= POM_ARENA_POOLS; n++) {
		if (!pom_same(d, "map of arenas by free places", space->by_free_map >> (n - 1) & 1,
			      !list_empty(&space->by_free[n])))
			return false;
		list_for_each_entry(arena, &space->by_free[n], node) {
			if (!pom_same(d, "free places of a listed arena",
				      hweight64(arena->free_pools), n))
				return false;
			listed++;
		}
	}
	return pom_same(d, "listed arenas", listed, sums->roomy);
}

static bool recount_pool_lists(struct pom_space *space, struct sums *sums,
			       struct pom_differs *d)
{
	u32 class, bucket, empty, listed = 0;
	struct pom_pool *pool;

	for (class = 0; class < POM_CLASSES; class++) {
		empty = 0;
		for (bucket = 0; bucket < POM_BUCKETS; bucket++) {
			list_for_each_entry(pool, &space->partial[class][bucket], node) {
				if (!pom_same(d, "size on the list of a class", pool->size,
					      (class + 1) * POM_CLASS_STEP) ||
				    !pom_same(d, "bucket on the list of one", pool->bucket,
					      bucket))
					return false;
				empty += !bucket;
				listed++;
			}
		}
		sums->empty += empty;
		sums->spare += empty ? empty - 1 : 0;
	}
	return pom_same(d, "listed pools", listed, sums->listed);
}

/**
 * pom_recount - recount a space
 * @space: the space
 * @differs: the first thing that is not as it should be
 *
 * Context: heap->lock must not be held.
 * Return: whether all is as it should be.
 */
bool pom_recount(struct pom_space *space, struct pom_differs *differs)
{
	struct pom_heap *heap = space->heap;
	u32 number = 0, page = 0, last = 0;
	struct pom_pool *pool = NULL;
	struct pom_arena *arena;
	struct sums sums = {};
	bool same = true;

	pom_heap_lock(heap);
	while (same && (arena = pom_arena_next(space, &number))) {
		/* A run goes on in the next arena. */
		if (pool && page < pool->pages)
			same = pom_same(differs, "next arena of a run", number, last + 1);
		last = number;
		same = same && pom_same(differs, "number of an arena", arena->index, number - 1) &&
		       pom_same(differs, "taken", test_bit(arena->index, space->taken), true) &&
		       recount_arena(arena, &pool, &page, &sums, differs);
	}
	same = same && pom_same(differs, "pages of the last run", pool ? page : 0,
				pool ? pool->pages : 0) &&
	       recount_arena_lists(space, &sums, differs) &&
	       recount_pool_lists(space, &sums, differs) &&
	       pom_same(differs, "arenas", space->arenas, sums.arenas) &&
	       pom_same(differs, "pages", space->pages, sums.pages) &&
	       pom_same(differs, "used", space->used, sums.used) &&
	       pom_same(differs, "slack", space->slack, sums.slack) &&
	       pom_same(differs, "empty", space->empty, sums.empty) &&
	       pom_same(differs, "spare", space->spare, sums.spare) &&
	       pom_same(differs, "pages of the heap", heap->pages,
			heap->space[POM_OBJECTS].pages + heap->space[POM_DATA].pages);
	pom_heap_unlock(heap);
	return same;
}
