/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The small steps that everything consists of: from links to blocks, from blocks
 * to bytes. Included by pyobjmem.h, after its structures.
 */
#ifndef _POM_INLINE_H
#define _POM_INLINE_H

/* The place in a handle. */
static inline u32 pom_link(u64 handle)
{
	return lower_32_bits(handle);
}

static inline u32 pom_pool_generation(const struct pom_pool *pool)
{
	return pool->arena->generation[pool->place];
}

/* Bytes at the end of the page, or of the last page of a run. */
static inline u64 pom_pool_slack(const struct pom_pool *pool)
{
	return (u64)pool->pages * POM_POOL_BYTES - pool->blocks * pool->size;
}

/* The place of a block in its space. */
static inline u32 pom_pool_link(const struct pom_pool *pool, u32 index)
{
	return (pool->arena->index * POM_ARENA_POOLS + pool->place) * POM_POOL_LINKS +
	       index * (u32)(pool->size >> POM_LINK_SHIFT);
}

static inline bool pom_pool_is_run(const struct pom_pool *pool)
{
	return pool->size > POM_CLASS_MAX;
}

/* The block of a pool in which a word lies: a division without dividing. */
static inline u32 pom_block_index(const struct pom_pool *pool, u32 word)
{
	/* Exact for all of the 512 words of a page: the error stays below 1 / words. */
	return (word * pool->magic) >> 16;
}

/**
 * pom_block_at - the block at a link that is known to be good
 * @space: where
 * @link: where a block in use begins
 * @block: the block
 *
 * Context: heap->lock.
 */
static inline void pom_block_at(const struct pom_space *space, u32 link,
				struct pom_block *block)
{
	u32 number = link / (POM_POOL_LINKS * POM_ARENA_POOLS);
	const struct pom_arena *arena;

	arena = space->chunk[number / POM_CHUNK_ARENAS]->arena[number % POM_CHUNK_ARENAS];
	block->pool = arena->pool[link / POM_POOL_LINKS % POM_ARENA_POOLS];
	block->index = pom_block_index(block->pool, link % POM_POOL_LINKS);
	block->link = link;
}

/**
 * pom_block_near - the same, of a block that is often in the same pool as another
 * @space: where
 * @link: where a block in use begins
 * @near: the other; its pool may be NULL
 * @block: the block; may be @near itself
 *
 * Finding the pool is three loads, each of which waits for the one before; here a
 * guess of the processor's takes their place.
 *
 * Context: heap->lock.
 */
static inline void pom_block_near(const struct pom_space *space, u32 link,
				  const struct pom_block *near, struct pom_block *block)
{
	if (!near->pool || (link ^ near->link) >= POM_POOL_LINKS) {
		pom_block_at(space, link, block);
		return;
	}
	if (link == near->link + (near->pool->size >> POM_LINK_SHIFT))
		block->index = near->index + 1;
	else
		block->index = pom_block_index(near->pool, link % POM_POOL_LINKS);
	block->pool = near->pool;
	block->link = link;
}

/**
 * pom_block_byte - address of a byte of a block
 * @block: the block
 * @offset: byte of the block
 *
 * Context: heap->lock.
 * Return: the address; behind it follow the bytes up to the end of the page of
 * a run, or of the block.
 */
static inline void *pom_block_byte(const struct pom_block *block, u64 offset)
{
	const struct pom_pool *pool = block->pool;

	if (offset < POM_POOL_BYTES)
		return pool->base + block->index * pool->size + offset;
	return pool->run[offset >> POM_POOL_SHIFT] + offset_in_page(offset);
}

static inline u32 pom_colour(const struct pom_side *side)
{
	return side->state & POM_COLOUR;
}

static inline void pom_paint(struct pom_side *side, u32 colour)
{
	side->state = (side->state & ~POM_COLOUR) | colour;
}

static inline void pom_stash_begin(struct pom_stash *stash)
{
	memset(&stash->lacks, 0, sizeof(stash->lacks));
}

/**
 * pom_condemned - whether the running collection has found an object dead
 * @gc: the collector
 * @side: the object's side header
 *
 * Return: whether it is about to free it.
 */
static inline bool pom_condemned(const struct pom_gc *gc, const struct pom_side *side)
{
	return gc->phase >= POM_FREE && pom_colour(side) == POM_WHITE;
}

/* What is said of a handle that names nothing: where it is nobody's business, no more. */
static inline int pom_stale(const struct pom_heap *heap)
{
	return heap->nomap ? -ENOENT : -ESTALE;
}

/* Where the readers of a session wait. */
static inline wait_queue_head_t *pom_session_wait(struct pom_session *session)
{
	return session->wants_collected ? &session->heap->collected_wait : &session->wait;
}

/**
 * pom_gc_owed - what a CREATE has to do for the running collection
 * @gc: the collector
 * @slots: slots of the new object
 *
 * A collection visits an object at most seven times, and a slot twice. Once half as
 * much has come about as lived when it began, each newcomer pays twice what it
 * costs the next one. So, where all are alike, there are fewer newcomers at its end
 * than lived at its beginning, even if nobody else works on it.
 *
 * Context: heap->lock.
 * Return: visits, of objects and slots.
 */
static inline int pom_gc_owed(const struct pom_gc *gc, u32 slots)
{
	if (likely(gc->phase == POM_IDLE) || gc->phase == POM_RENUMBER ||
	    gc->run.born <= gc->run.lived / 2)
		return 0;
	return min_t(u32, 4 * (4 + slots), POM_SLICE);
}

/**
 * pom_gc_generation - generation of an object
 * @gc: the collector
 * @born: epoch of its birth
 *
 * Return: 0 to 2, or POM_PERMANENT.
 */
static inline u32 pom_gc_generation(const struct pom_gc *gc, u32 born)
{
	u32 g;

	for (g = 0; g < PYOBJMEM_GENERATIONS; g++)
		if (born >= gc->bound[g])
			return g;
	return POM_PERMANENT;
}

/* An object leaves the work list or another; the work list may be empty now. */
static inline void pom_candidate_left(struct pom_gc *gc, struct pom_side *side)
{
	if (gc->work.head == POM_NIL)
		gc->work.tail = POM_NIL;
	side->state &= ~POM_LISTED;
	gc->candidates--;
	if (side->born < gc->bound[POM_PERMANENT - 1])
		gc->frozen--;
}

/**
 * pom_candidate_pop - take the first object off the work list
 * @gc: the collector
 * @side: its side header
 *
 * It stays linked to the next one, which is not told: the previous one of the first
 * of the work list is the last that was taken, the end of the trace list.
 */
static inline void pom_candidate_pop(struct pom_gc *gc, struct pom_side *side)
{
	gc->work.head = side->link;
	pom_candidate_left(gc, side);
}

/**
 * pom_heap_unsettled - whether objects are waiting to be freed
 * @heap: the heap
 *
 * Context: heap->lock, or none for a guess.
 * Return: whether there are any.
 */
static inline bool pom_heap_unsettled(const struct pom_heap *heap)
{
	return READ_ONCE(heap->dying) != POM_NIL || READ_ONCE(heap->dropping) != POM_NIL;
}

/* --- Objects found by links --------------------------------------------- */

/**
 * pom_object_from_block - complete an object
 * @obj: its block is set
 */
static inline void pom_object_from_block(struct pom_object *obj)
{
	obj->side = &obj->block.pool->side[obj->block.index];
	obj->head = pom_block_byte(&obj->block, 0);
}

/**
 * pom_object_at - the object at a link that is known to be good
 * @heap: the heap
 * @link: the kernel's own: from a slot, a root, a list or a table of holds
 * @obj: the object
 *
 * Context: heap->lock.
 */
static inline void pom_object_at(struct pom_heap *heap, u32 link, struct pom_object *obj)
{
	lockdep_assert_held(&heap->lock);
	pom_block_at(&heap->space[POM_OBJECTS], link, &obj->block);
	pom_object_from_block(obj);
}

/**
 * pom_object_near - the same, of an object that is often in the same pool as another
 * @heap: the heap
 * @link: the kernel's own
 * @near: the other, or all zeros
 * @obj: the object; may be @near itself
 *
 * Context: heap->lock.
 */
static inline void pom_object_near(struct pom_heap *heap, u32 link,
				   const struct pom_object *near, struct pom_object *obj)
{
	lockdep_assert_held(&heap->lock);
	pom_block_near(&heap->space[POM_OBJECTS], link, &near->block, &obj->block);
	pom_object_from_block(obj);
}

/**
 * pom_side_at - the side header of the object at a link known to be good
 * @heap: the heap
 * @link: the kernel's own
 *
 * Context: heap->lock.
 * Return: the side header.
 */
static inline struct pom_side *pom_side_at(struct pom_heap *heap, u32 link)
{
	struct pom_block block;

	pom_block_at(&heap->space[POM_OBJECTS], link, &block);
	return &block.pool->side[block.index];
}

/**
 * pom_side_near - the same, of an object that is often in the same pool as another
 * @heap: the heap
 * @link: the kernel's own
 * @near: the other
 *
 * Context: heap->lock.
 * Return: the side header.
 */
static inline struct pom_side *pom_side_near(struct pom_heap *heap, u32 link,
					     const struct pom_object *near)
{
	struct pom_block block;

	pom_block_near(&heap->space[POM_OBJECTS], link, &near->block, &block);
	return &block.pool->side[block.index];
}

/**
 * pom_object_handle - the handle of an object
 * @obj: the object
 *
 * Return: the handle.
 */
static inline u64 pom_object_handle(const struct pom_object *obj)
{
	return (u64)obj->head->generation << 32 | obj->block.link;
}

/**
 * pom_object_slot - where a slot lies
 * @obj: the object
 * @slot: index, less than the number of slots
 *
 * Slots are aligned words, and clients read them while we write: WRITE_ONCE().
 *
 * Return: the address.
 */
static inline u64 *pom_object_slot(const struct pom_object *obj, u32 slot)
{
	u64 offset = POM_HEAD_BYTES + (u64)slot * POM_SLOT_BYTES;

	if (offset < POM_POOL_BYTES)
		return (void *)obj->head + offset;
	return pom_block_byte(&obj->block, offset);
}

#endif /* _POM_INLINE_H */
