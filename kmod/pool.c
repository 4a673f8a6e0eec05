// SPDX-License-Identifier: GPL-2.0
/*
 * Pools: pages of equal blocks, and runs of pages that are one block. Owns
 * which block is in use, and what a pool costs its user. Called by ops.c, object.c
 * and heap.c, under heap->lock, but for pom_pool_prepare() and _discard().
 *
 * A page has nothing but blocks: descriptor, bitmap and side headers lie apart,
 * because clients will see the page. A free block is all zeros, or what poison.c
 * makes of it.
 *
 * Invariants:
 *  - live == blocks - number of bits in free;
 *  - a pool is on partial[class][bucket] if a block of it can be taken: one is
 *    free, and the place has a generation left;
 *  - a pool in the bucket of the empty ones is counted in space->empty, and in
 *    space->spare if it was not the first of its class.
 *
 * Blocks are taken lowest first from the fullest pools, so that sparse pools
 * drain and their pages can go.
 */
#include <linux/bitmap.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "pyobjmem.h"

/* Empty pools are given back after this. */
#define TRIM_DELAY	HZ

static unsigned int class_of(u64 size)
{
	return (size - 1) / POM_CLASS_STEP;
}

static void *page_take(void)
{
	return (void *)__get_free_page(POM_GFP | __GFP_ZERO);
}

static int run_fill(struct pom_pool *pool)
{
	u32 i;

	pool->run = kvcalloc(pool->pages, sizeof(*pool->run), POM_GFP);
	if (!pool->run)
		return -ENOMEM;
	for (i = 0; i < pool->pages; i++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		pool->run[i] = page_take();
		if (!pool->run[i])
			return -ENOMEM;
		cond_resched();
	}
	pool->base = pool->run[0];
	return 0;
}

/* What a pool takes from the system, but for a little in its arena. */
static u64 pool_cost(enum pom_space_kind kind, const struct pom_pool *pool)
{
	u64 cost = (u64)pool->pages * POM_POOL_BYTES;

	cost += struct_size(pool, free, BITS_TO_U64(pool->blocks));
	if (kind == POM_OBJECTS)
		cost += pool->blocks * sizeof(*pool->side);
	if (pom_pool_is_run(pool))
		cost += pool->pages * sizeof(*pool->run);
	return cost;
}

static int pool_fill(struct pom_pool *pool, enum pom_space_kind kind)
{
	if (kind == POM_OBJECTS) {
		pool->side = kcalloc(pool->blocks, sizeof(*pool->side), POM_GFP);
		if (!pool->side)
			return -ENOMEM;
	}
	if (pom_pool_is_run(pool))
		return run_fill(pool);
	pool->base = page_take();
	return pool->base ? 0 : -ENOMEM;
}

/**
 * pom_pool_prepare - make a pool that has no place yet
 * @user: to whom it is charged
 * @kind: the space it is for
 * @size: bytes of its blocks, a multiple of 8
 *
 * Context: may sleep.
 * Return: the pool, with its pages and side headers, or an error pointer:
 * -EDQUOT, -ENOMEM, -EINTR.
 */
struct pom_pool *pom_pool_prepare(struct pom_user *user, enum pom_space_kind kind, u64 size)
{
	u32 blocks = size > POM_CLASS_MAX ? 1 : POM_POOL_BYTES / size;
	struct pom_pool *pool;
	int ret;

	pool = kzalloc(struct_size(pool, free, BITS_TO_U64(blocks)), POM_GFP);
	if (!pool)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&pool->node);
	pool->size = size;
	pool->blocks = blocks;
	pool->bucket = POM_BUCKETS;
	pool->pages = size > POM_CLASS_MAX ? DIV_ROUND_UP_ULL(size, POM_POOL_BYTES) : 1;
	pool->magic = size > POM_CLASS_MAX ? 0 : DIV_ROUND_UP(1U << 16, size >> POM_LINK_SHIFT);
	bitmap_set((unsigned long *)pool->free, 0, blocks);

	/* Before its pages are taken: a limit must not be passed even for a moment. */
	ret = pom_user_charge_bytes(user, pool_cost(kind, pool));
	if (ret) {
		kfree(pool);
		return ERR_PTR(ret);
	}
	pool->user = user;
	pool->cost = pool_cost(kind, pool);
	ret = pool_fill(pool, kind);
	if (ret) {
		pom_pool_discard(pool);
		return ERR_PTR(ret);
	}
	return pool;
}

/**
 * pom_pool_discard - free a pool and its pages
 * @pool: one that has no place, or whose space is being destroyed; or NULL
 *
 * Context: may sleep; heap->lock must not be held.
 */
void pom_pool_discard(struct pom_pool *pool)
{
	u32 i;

	if (!pool)
		return;
	for (i = 0; pool->run && i < pool->pages; i++) {
		free_page((unsigned long)pool->run[i]);
		cond_resched();
	}
	if (!pom_pool_is_run(pool))
		free_page((unsigned long)pool->base);
	pom_user_uncharge_bytes(pool->user, pool->cost);
	kvfree(pool->run);
	kfree(pool->side);
	kfree(pool);
}

/**
 * pom_pool_discard_all - free all pools of a space
 * @space: the space; nobody uses it any more
 *
 * Context: may sleep.
 */
void pom_pool_discard_all(struct pom_space *space)
{
	struct pom_arena *arena;
	u32 number = 0, i;

	while ((arena = pom_arena_next(space, &number))) {
		for (i = 0; i < POM_ARENA_POOLS; i++)
			pom_pool_discard(arena->pool[i]);
		cond_resched();
	}
}

/* The list on which a pool belongs, POM_BUCKETS if no block can be taken. */
static unsigned int bucket_of(const struct pom_pool *pool)
{
	u32 quarters = pool->live * 4, blocks = pool->blocks;

	if (pool->live == blocks || !pom_pool_generation(pool))
		return POM_BUCKETS;
	/* quarters / blocks, rounded up: whenever a block comes or goes, so no division */
	return (quarters > 0) + (quarters > blocks) + (quarters > 2 * blocks) +
	       (quarters > 3 * blocks);
}

static void pool_unfile(struct pom_space *space, struct pom_pool *pool)
{
	struct list_head *list;

	if (pool->bucket == POM_BUCKETS)
		return;
	list_del_init(&pool->node);
	if (!pool->bucket) {
		list = &space->partial[class_of(pool->size)][0];
		space->empty--;
		if (!list_empty(list))
			space->spare--;
	}
	pool->bucket = POM_BUCKETS;
}

static void pool_file(struct pom_space *space, struct pom_pool *pool)
{
	unsigned int bucket = bucket_of(pool);
	struct list_head *list;

	if (bucket == POM_BUCKETS)
		return;
	list = &space->partial[class_of(pool->size)][bucket];
	if (!bucket) {
		if (!list_empty(list))
			space->spare++;
		space->empty++;
	}
	list_add(&pool->node, list);
	pool->bucket = bucket;
}

static void pool_refile(struct pom_space *space, struct pom_pool *pool)
{
	if (bucket_of(pool) == pool->bucket)
		return;
	pool_unfile(space, pool);
	pool_file(space, pool);
}

/* Take an empty pool out of the space. */
static void pool_remove(struct pom_space *space, struct pom_pool *pool,
			struct pom_stash *stash)
{
	pool_unfile(space, pool);
	space->slack -= pom_pool_slack(pool);
	pom_arena_remove(space, pool, stash);
}

/* Give an empty pool back. It is freed when the lock is dropped. */
static void pool_drop(struct pom_space *space, struct pom_pool *pool)
{
	pool_remove(space, pool, NULL);
	list_add(&pool->node, &space->heap->reap);
}

static int pool_place(struct pom_space *space, struct pom_pool *pool, struct pom_stash *stash)
{
	int ret = pom_arena_place(space, pool, stash);

	if (ret)
		return ret;
	space->slack += pom_pool_slack(pool);
	if (POM_DEBUG)
		pom_poison_pool(pool);
	return 0;
}

/* A pool with a free block: the fullest that there is, or the one of the stash. */
static int pool_take(struct pom_space *space, u64 size, struct pom_stash *stash,
		     struct pom_pool **pool)
{
	struct pom_pool **spare = &stash->pool[space->kind];
	unsigned int bucket = size > POM_CLASS_MAX ? 0 : POM_BUCKETS;
	int ret;

	while (bucket--) {
		*pool = list_first_entry_or_null(&space->partial[class_of(size)][bucket],
						 struct pom_pool, node);
		if (*pool)
			return 0;
	}

	if (!*spare || (*spare)->size != size) {
		ret = pom_arena_room(space, DIV_ROUND_UP_ULL(size, POM_POOL_BYTES));
		if (ret)
			return ret;
		stash->lacks.pool[space->kind] = size;
		return -EAGAIN;
	}
	ret = pool_place(space, *spare, stash);
	if (ret)
		return ret;
	*pool = *spare;
	*spare = NULL;
	if (!pom_pool_is_run(*pool))
		pool_file(space, *pool);
	return 0;
}

/**
 * pom_block_alloc - take a block
 * @space: where
 * @size: bytes, more than 0
 * @stash: memory to use; of a large block, the prepared run
 * @block: the block
 *
 * Context: heap->lock.
 * Return: 0; -EAGAIN if @stash is short; -ENOSPC. The block is all zeros, but for
 * what was written into a prepared run.
 */
int pom_block_alloc(struct pom_space *space, u64 size, struct pom_stash *stash,
		    struct pom_block *block)
{
	struct pom_pool *pool;
	u32 index;
	int ret;

	lockdep_assert_held(&space->heap->lock);
	size = ALIGN(size, POM_CLASS_STEP);
	ret = pool_take(space, size, stash, &pool);
	if (ret)
		return ret;

	index = find_first_bit((unsigned long *)pool->free, pool->blocks);
	if (POM_DEBUG)
		pom_poison_take(pool, index);
	pool->free[index / 64] &= ~(1ULL << (index % 64));
	pool->live++;
	if (!pom_pool_is_run(pool))
		pool_refile(space, pool);
	space->used += size;

	block->pool = pool;
	block->index = index;
	block->link = pom_pool_link(pool, index);
	return 0;
}

/* Whether another empty pool may stay, so that the next CREATE finds it. */
static bool pool_keep(struct pom_space *space, const struct pom_pool *pool)
{
	if (pom_pool_is_run(pool) || !pom_pool_generation(pool))
		return false;
	return space->spare < POM_EMPTY_KEPT ||
	       list_empty(&space->partial[class_of(pool->size)][0]);
}

/**
 * pom_block_free - give a block back
 * @space: where
 * @pool: its pool
 * @index: its index there; the block must be all zeros, unless it is a run
 *
 * Context: heap->lock.
 */
void pom_block_free(struct pom_space *space, struct pom_pool *pool, u32 index)
{
	lockdep_assert_held(&space->heap->lock);
	pool->free[index / 64] |= 1ULL << (index % 64);
	pool->live--;
	space->used -= pool->size;
	if (POM_DEBUG)
		pom_poison_give(pool, index);

	if (pool->live) {
		pool_refile(space, pool);
		return;
	}
	if (!pool_keep(space, pool)) {
		pool_drop(space, pool);
		return;
	}
	pool_refile(space, pool);
	if (space->empty == 1)
		queue_delayed_work(system_unbound_wq, &space->heap->trim, TRIM_DELAY);
}

/**
 * pom_block_undo - undo pom_block_alloc()
 * @space: where
 * @block: the block
 * @stash: gets a prepared run back, with what was written into it, and its
 *	arenas: the next attempt needs them
 *
 * Context: heap->lock.
 */
void pom_block_undo(struct pom_space *space, const struct pom_block *block,
		    struct pom_stash *stash)
{
	struct pom_pool *pool = block->pool;

	if (!pom_pool_is_run(pool)) {
		pom_block_free(space, pool, block->index);
		return;
	}
	space->used -= pool->size;
	pool_remove(space, pool, stash);
	pool->free[0] = 1;
	pool->live = 0;
	stash->pool[space->kind] = pool;
}

/**
 * pom_pool_next_generation - the generation of a new object
 * @space: where
 * @pool: its pool, in which it has been given a block
 *
 * Context: heap->lock.
 * Return: a generation that no object in this place has ever had; not 0.
 */
u32 pom_pool_next_generation(struct pom_space *space, struct pom_pool *pool)
{
	u32 generation = pool->arena->generation[pool->place]++;

	/* The last one: no block of this place can be taken any more. */
	if (!pom_pool_generation(pool) && !pom_pool_is_run(pool))
		pool_refile(space, pool);
	return generation;
}

static void space_trim(struct pom_space *space)
{
	struct pom_pool *pool, *next;
	unsigned int i;

	for (i = 0; i < POM_CLASSES && space->empty; i++)
		list_for_each_entry_safe(pool, next, &space->partial[i][0], node)
			pool_drop(space, pool);
}

/**
 * pom_pool_trim - give back all empty pools
 * @heap: of which heap
 *
 * Context: heap->lock.
 */
void pom_pool_trim(struct pom_heap *heap)
{
	lockdep_assert_held(&heap->lock);
	space_trim(&heap->space[POM_OBJECTS]);
	space_trim(&heap->space[POM_DATA]);
}

/* The pool in whose first page a link lies, if there is one. */
static struct pom_pool *pool_find(struct pom_space *space, u32 link)
{
	u32 number = link / (POM_POOL_LINKS * POM_ARENA_POOLS);
	struct pom_arena *arena;
	struct pom_chunk *chunk;

	/* In range whatever the link is: these are pieces of its 32 bits. */
	chunk = space->chunk[number / POM_CHUNK_ARENAS];
	if (!chunk)
		return NULL;
	arena = chunk->arena[number % POM_CHUNK_ARENAS];
	if (!arena)
		return NULL;
	return arena->pool[link / POM_POOL_LINKS % POM_ARENA_POOLS];
}

/**
 * pom_block_find - find the block at a link that may be anything
 * @space: where
 * @link: any number
 * @block: the block
 *
 * Context: heap->lock.
 * Return: whether @link is where a block in use begins.
 */
bool pom_block_find(struct pom_space *space, u32 link, struct pom_block *block)
{
	struct pom_pool *pool = pool_find(space, link);
	u32 w = link % POM_POOL_LINKS;
	u32 index, words;

	if (!pool)
		return false;
	words = pool->size >> POM_LINK_SHIFT;
	index = pom_block_index(pool, w);
	if (index * words != w || index >= pool->blocks)
		return false;
	index = array_index_nospec(index, pool->blocks);
	if (pool->free[index / 64] & (1ULL << (index % 64)))
		return false;
	block->pool = pool;
	block->index = index;
	block->link = link;
	return true;
}

/**
 * pom_block_copy - copy from or into a block
 * @block: the block
 * @offset: first byte of the block
 * @buffer: kernel memory
 * @length: bytes; the caller has checked that they lie in the block
 * @write: into the block
 *
 * Context: heap->lock.
 */
void pom_block_copy(const struct pom_block *block, u64 offset, void *buffer, size_t length,
		    bool write)
{
	while (length) {
		size_t n = min_t(size_t, length, POM_POOL_BYTES - offset % POM_POOL_BYTES);
		void *p = pom_block_byte(block, offset);

		if (write)
			memcpy(p, buffer, n);
		else
			memcpy(buffer, p, n);
		buffer += n;
		offset += n;
		length -= n;
	}
}
