// SPDX-License-Identifier: GPL-2.0
/*
 * Arenas: 64 places for pools each, and the space of 131,072 arenas that they
 * make up. Owns which place is taken by what, the pages there, and the
 * generations that outlive them. Called by pool.c, under heap->lock.
 *
 * Invariants:
 *  - an arena exists if and only if a place of it has a page;
 *  - a bit of free_pools is clear if the place has a page or its generations
 *    are used up;
 *  - an arena is on by_free[n] if it has n > 0 free places;
 *  - the generation of a place never goes back, whatever happens to the arena.
 *
 * Pools are taken from the arena with the fewest free places, so that the
 * others can empty (CPython's rule), in constant time.
 */
#include <linux/bitmap.h>
#include <linux/slab.h>

#include "pyobjmem.h"

/* Arenas that a search for a run looks at before it takes a new one. */
#define RUN_SEARCH	32

static struct pom_arena **arena_slot(struct pom_space *space, u32 index)
{
	return &space->chunk[index / POM_CHUNK_ARENAS]->arena[index % POM_CHUNK_ARENAS];
}

static u32 *arena_generation(struct pom_space *space, u32 index)
{
	return &space->chunk[index / POM_CHUNK_ARENAS]->generation[index % POM_CHUNK_ARENAS];
}

/* Put the arena on the list of its number of free places. */
static void arena_file(struct pom_space *space, struct pom_arena *arena)
{
	unsigned int n = hweight64(arena->free_pools);

	if (!n)
		return;
	list_add(&arena->node, &space->by_free[n]);
	space->by_free_map |= 1ULL << (n - 1);
}

static void arena_unfile(struct pom_space *space, struct pom_arena *arena)
{
	unsigned int n = hweight64(arena->free_pools);

	if (!n)
		return;
	list_del_init(&arena->node);
	if (list_empty(&space->by_free[n]))
		space->by_free_map &= ~(1ULL << (n - 1));
}

/* The first of @pages free places in a row, or POM_ARENA_POOLS. */
static unsigned int arena_fit(const struct pom_arena *arena, unsigned int pages)
{
	u64 runs = arena->free_pools;
	unsigned int have = 1;

	/* Bit i of runs: the places i to i + have - 1 are free. */
	while (have < pages && runs) {
		unsigned int step = min(have, pages - have);

		runs &= runs >> step;
		have += step;
	}
	return runs ? __ffs64(runs) : POM_ARENA_POOLS;
}

static struct pom_arena *arena_search(struct pom_space *space, unsigned int pages,
				      unsigned int *place)
{
	u64 map = space->by_free_map & (~0ULL << (pages - 1));
	unsigned int looked = 0;
	struct pom_arena *arena;

	for (; map; map &= map - 1) {
		list_for_each_entry(arena, &space->by_free[__ffs64(map) + 1], node) {
			*place = arena_fit(arena, pages);
			if (*place < POM_ARENA_POOLS)
				return arena;
			if (++looked == RUN_SEARCH)
				return NULL;
		}
	}
	return NULL;
}

/* Whether the stash has what @count new arenas from @index on need. */
static int arena_afford(struct pom_space *space, u32 index, u32 count, struct pom_stash *stash)
{
	u32 arenas = 0, chunks = 0, i;
	struct list_head *p;

	list_for_each(p, &stash->arenas)
		arenas++;
	list_for_each(p, &stash->chunks)
		chunks++;

	stash->lacks.arenas = arenas < count ? count - arenas : 0;
	stash->lacks.chunks = 0;
	for (i = index / POM_CHUNK_ARENAS; i <= (index + count - 1) / POM_CHUNK_ARENAS; i++)
		if (!space->chunk[i])
			stash->lacks.chunks++;
	stash->lacks.chunks -= min(stash->lacks.chunks, chunks);
	return stash->lacks.arenas || stash->lacks.chunks ? -EAGAIN : 0;
}

static struct pom_arena *arena_add(struct pom_space *space, u32 index, struct pom_stash *stash)
{
	struct pom_chunk **chunk = &space->chunk[index / POM_CHUNK_ARENAS];
	struct pom_arena *arena;
	unsigned int i;

	if (!*chunk) {
		*chunk = list_first_entry(&stash->chunks, struct pom_chunk, node);
		list_del_init(&(*chunk)->node);
	}
	arena = list_first_entry(&stash->arenas, struct pom_arena, node);
	list_del_init(&arena->node);

	arena->index = index;
	arena->free_pools = ~0ULL;
	for (i = 0; i < POM_ARENA_POOLS; i++)
		arena->generation[i] = *arena_generation(space, index) ?: pom_first_generation;
	*arena_slot(space, index) = arena;
	__set_bit(index, space->taken);
	space->arenas++;
	arena_file(space, arena);
	return arena;
}

/*
 * The last page of an arena has gone. Its generations stay in the chunk. An
 * operation that is being undone gets it back: else it would lack it for ever.
 */
static void arena_drop(struct pom_space *space, struct pom_arena *arena,
		       struct pom_stash *stash)
{
	u32 *generation = arena_generation(space, arena->index);
	bool used_up = false;
	unsigned int i;

	arena_unfile(space, arena);
	for (i = 0; i < POM_ARENA_POOLS; i++) {
		if (!arena->generation[i])
			used_up = true;
		*generation = max(*generation, arena->generation[i]);
	}
	*arena_slot(space, arena->index) = NULL;
	space->arenas--;
	/*
	 * A place whose generations are used up takes its arena along: 256 KB of
	 * 32 GB for 2^32 objects created in one place.
	 */
	if (!used_up) {
		__clear_bit(arena->index, space->taken);
		space->hint = min(space->hint, arena->index);
	}
	if (stash) {
		memset(arena, 0, sizeof(*arena));
		list_add(&arena->node, &stash->arenas);
	} else {
		kfree(arena);
	}
}

static u32 arena_number(struct pom_space *space, u32 count)
{
	space->hint = find_next_zero_bit(space->taken, POM_ARENAS, space->hint);
	return bitmap_find_next_zero_area(space->taken, POM_ARENAS, space->hint, count, 0);
}

/**
 * pom_arena_room - check the limit of the heap for more pages
 * @space: where
 * @pages: how many
 *
 * Context: heap->lock.
 * Return: 0 or -ENOSPC.
 */
int pom_arena_room(struct pom_space *space, u64 pages)
{
	struct pom_heap *heap = space->heap;

	return pages > heap->pages_limit - heap->pages ? -ENOSPC : 0;
}

/* Take places of an arena, and their pages, at once. */
static void places_take(struct pom_space *space, struct pom_arena *arena, unsigned int place,
			unsigned int n, void **pages)
{
	unsigned int i;

	arena_unfile(space, arena);
	arena->free_pools &= ~(GENMASK_ULL(n - 1, 0) << place);
	arena_file(space, arena);
	for (i = 0; i < n; i++)
		arena->page[place + i] = pages[i];
	arena->pages += n;
}

/* Give them back. A place whose generations are used up is never free again. */
static void places_give(struct pom_space *space, struct pom_arena *arena, unsigned int place,
			unsigned int n, struct pom_stash *stash)
{
	unsigned int i;

	arena_unfile(space, arena);
	for (i = 0; i < n; i++) {
		arena->page[place + i] = NULL;
		if (arena->generation[place + i])
			arena->free_pools |= 1ULL << (place + i);
	}
	arena_file(space, arena);
	arena->pages -= n;
	if (!arena->pages)
		arena_drop(space, arena, stash);
}

/**
 * pom_arena_place - give a pool its place
 * @space: where
 * @pool: a prepared pool, or run
 * @stash: arenas and chunks to use
 *
 * Context: heap->lock.
 * Return: 0, and @pool has its arena and place; -ENOSPC at the heap's limit;
 * -EAGAIN if @stash is short. Unless 0 is returned, nothing has changed.
 */
int pom_arena_place(struct pom_space *space, struct pom_pool *pool, struct pom_stash *stash)
{
	u32 count = DIV_ROUND_UP(pool->pages, POM_ARENA_POOLS);
	struct pom_arena *arena = NULL;
	unsigned int place = 0;
	u32 index, i, n;
	int ret;

	lockdep_assert_held(&space->heap->lock);
	ret = pom_arena_room(space, pool->pages);
	if (ret)
		return ret;
	if (count == 1)
		arena = arena_search(space, pool->pages, &place);
	if (!arena) {
		place = 0;
		index = arena_number(space, count);
		if (index >= POM_ARENAS)
			return -ENOSPC;
		ret = arena_afford(space, index, count, stash);
		if (ret)
			return ret;
	}
	if (!arena) {
		arena = arena_add(space, index, stash);
		for (i = 1; i < count; i++)
			arena_add(space, index + i, stash);
	}

	pool->arena = arena;
	pool->place = place;
	arena->pool[place] = pool;
	index = arena->index;
	for (i = 0; i < pool->pages; i += n) {
		n = min(pool->pages - i, POM_ARENA_POOLS - place);
		places_take(space, *arena_slot(space, index++), place, n,
			    pool->run ? pool->run + i : &pool->base);
		place = 0;
	}
	space->heap->pages += pool->pages;
	space->pages += pool->pages;
	return 0;
}

/**
 * pom_arena_remove - take a pool out of its place
 * @space: where
 * @pool: the pool; its descriptor and its pages stay the caller's
 * @stash: gets the arenas that are empty now; NULL to free them
 *
 * Context: heap->lock.
 */
void pom_arena_remove(struct pom_space *space, struct pom_pool *pool, struct pom_stash *stash)
{
	unsigned int place = pool->place;
	u32 index = pool->arena->index;
	u32 i, n;

	lockdep_assert_held(&space->heap->lock);
	pool->arena->pool[place] = NULL;
	for (i = 0; i < pool->pages; i += n) {
		n = min(pool->pages - i, POM_ARENA_POOLS - place);
		places_give(space, *arena_slot(space, index++), place, n, stash);
		place = 0;
	}
	space->heap->pages -= pool->pages;
	space->pages -= pool->pages;
	pool->arena = NULL;
}

/**
 * pom_arena_next - walk through the arenas of a space
 * @space: the space
 * @number: 0 at first; the number after that of the arena returned
 *
 * Context: heap->lock.
 * Return: the next arena, or NULL after the last.
 */
struct pom_arena *pom_arena_next(const struct pom_space *space, u32 *number)
{
	struct pom_chunk *chunk;

	while (*number < POM_ARENAS) {
		u32 i = *number % POM_CHUNK_ARENAS;

		chunk = space->chunk[*number / POM_CHUNK_ARENAS];
		if (!chunk) {
			*number += POM_CHUNK_ARENAS - i;
			continue;
		}
		++*number;
		if (chunk->arena[i])
			return chunk->arena[i];
	}
	return NULL;
}

/**
 * pom_space_init - make an empty space
 * @space: the space
 * @heap: whose it is
 * @kind: what it is for
 *
 * Return: 0 or -ENOMEM.
 */
int pom_space_init(struct pom_space *space, struct pom_heap *heap, enum pom_space_kind kind)
{
	unsigned int i, j;

	space->heap = heap;
	space->kind = kind;
	space->taken = kvcalloc(BITS_TO_LONGS(POM_ARENAS), sizeof(long), POM_GFP);
	if (!space->taken)
		return -ENOMEM;
	for (i = 0; i <= POM_ARENA_POOLS; i++)
		INIT_LIST_HEAD(&space->by_free[i]);
	for (i = 0; i < POM_CLASSES; i++)
		for (j = 0; j < POM_BUCKETS; j++)
			INIT_LIST_HEAD(&space->partial[i][j]);
	return 0;
}

/**
 * pom_space_destroy - free the arenas of a space
 * @space: the space; nobody uses it any more, and its pools are gone
 *
 * Context: may sleep.
 */
void pom_space_destroy(struct pom_space *space)
{
	struct pom_arena *arena;
	u32 number = 0, i;

	while ((arena = pom_arena_next(space, &number))) {
		kfree(arena);
		cond_resched();
	}
	for (i = 0; i < POM_CHUNKS; i++)
		kfree(space->chunk[i]);
	kvfree(space->taken);
}
