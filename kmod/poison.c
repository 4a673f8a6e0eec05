// SPDX-License-Identifier: GPL-2.0
/*
 * Poison: what a debug build writes where nobody is to write. Owns the contents
 * of free blocks, and of the red zone behind each block in use. Called by pool.c,
 * ops.c, object.c and verify.c, under heap->lock.
 *
 * KASAN sees that somebody leaves a page, or uses one that was given back; it
 * cannot see that somebody leaves a block for the next one in the page. In a debug
 * build each block has pom_red_zone more bytes than were asked for. Those and the
 * bytes that rounding adds are a pattern, looked at when the object goes and by
 * verify; a free block is another one, looked at when it is taken and by verify.
 * In other builds a free block is all zeros, there are no red zones, and nobody
 * calls what is here but pom_poison_intact().
 *
 * The generation in the head of a free object stays 0 all the same: that is what
 * tells a reader of the window that nothing lives there.
 */
#include <linux/poison.h>
#include <linux/string.h>

#include "pyobjmem.h"

static u8 *block_start(const struct pom_pool *pool, u32 index)
{
	return pool->base + index * pool->size;
}

/* Where the poison of a free block begins: behind a generation. */
static u32 poison_start(const struct pom_pool *pool)
{
	if (!POM_DEBUG)
		return pool->size;
	return pool->side ? offsetofend(struct pyobjmem_head, generation) : 0;
}

static void poison_fill(struct pom_pool *pool, u32 index)
{
	u32 start = poison_start(pool);

	memset(block_start(pool, index) + start, POISON_FREE, pool->size - start);
}

/**
 * pom_poison_intact - whether nobody wrote to a free block
 * @pool: no run
 * @index: the block
 *
 * Context: heap->lock.
 * Return: whether it is as it was left.
 */
bool pom_poison_intact(const struct pom_pool *pool, u32 index)
{
	u8 *block = block_start(pool, index);
	u32 start = poison_start(pool);

	return !memchr_inv(block, 0, start) &&
	       !memchr_inv(block + start, POISON_FREE, pool->size - start);
}

/**
 * pom_poison_pool - a pool gets its place: its blocks are free
 * @pool: the pool, all zeros
 *
 * A run was prepared for its one block, which is taken at once.
 *
 * Context: heap->lock.
 */
void pom_poison_pool(struct pom_pool *pool)
{
	u32 i;

	if (pom_pool_is_run(pool))
		return;
	for (i = 0; i < pool->blocks; i++)
		poison_fill(pool, i);
}

static void pool_check(const struct pom_pool *pool)
{
	unsigned int free = bitmap_weight((unsigned long *)pool->free, pool->blocks);

	WARN(pool->live + free != pool->blocks, "pyobjmem: pool %#x: %u live, %u free, of %u",
	     pom_pool_link(pool, 0), pool->live, free, pool->blocks);
}

/**
 * pom_poison_take - a free block is taken
 * @pool: its pool
 * @index: the block, which is all zeros afterwards
 *
 * Context: heap->lock.
 */
void pom_poison_take(struct pom_pool *pool, u32 index)
{
	if (pom_pool_is_run(pool))
		return;
	pool_check(pool);
	WARN(!pom_poison_intact(pool, index), "pyobjmem: block %#x was written to while it was free",
	     pom_pool_link(pool, index));
	memset(block_start(pool, index), 0, pool->size);
}

/**
 * pom_poison_give - a block was given back
 * @pool: its pool
 * @index: the block, all zeros
 *
 * Context: heap->lock.
 */
void pom_poison_give(struct pom_pool *pool, u32 index)
{
	if (pom_pool_is_run(pool))
		return;
	pool_check(pool);
	WARN(memchr_inv(block_start(pool, index), 0, pool->size),
	     "pyobjmem: block %#x is given back and not all zeros", pom_pool_link(pool, index));
	poison_fill(pool, index);
}

/* To its end, or to that of the last page, where no other block is */
static u64 red_zone_end(const struct pom_block *block)
{
	if (pom_pool_is_run(block->pool))
		return (u64)block->pool->pages * POM_POOL_BYTES;
	return block->pool->size;
}

/**
 * pom_red_zone_set - mark the end of what was asked for
 * @block: a block in use
 * @used: bytes that were asked for
 *
 * Context: heap->lock.
 */
void pom_red_zone_set(const struct pom_block *block, u64 used)
{
	u64 end = red_zone_end(block);

	/* It may cross a page of a run. */
	for (; used < end; used++)
		*(u8 *)pom_block_byte(block, used) = SLUB_RED_ACTIVE;
}

/**
 * pom_red_zone_intact - whether nobody wrote behind a block
 * @block: a block in use
 * @used: bytes that were asked for
 *
 * Context: heap->lock.
 * Return: whether the mark is as it was left.
 */
bool pom_red_zone_intact(const struct pom_block *block, u64 used)
{
	u64 end = red_zone_end(block);

	for (; used < end; used++)
		if (*(u8 *)pom_block_byte(block, used) != SLUB_RED_ACTIVE)
			return false;
	return true;
}
