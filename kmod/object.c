// SPDX-License-Identifier: GPL-2.0
/*
 * Objects: blocks with a head and slots, their counts, and the cascade of frees
 * when counts reach zero. Called by ops.c, heap.c, ticket.c, session.c and
 * collect.c, all under heap->lock.
 *
 * Invariants:
 *  - ext == sessions that hold the object + its roots + its tickets + its FINALIZE
 *    events; in == slots that name it, but for the condemned: see collect.c;
 *  - ext goes from 0 to 1 only in pom_ext_get(), which tells the collector;
 *  - every reference that goes, goes through pom_object_dropped(), but for those of
 *    the condemned among each other, which go with their blocks;
 *  - a dying object has no references and is on the cascade once, through in.
 *
 * A handle is checked in full before it is believed: pom_object_find(). A link that
 * comes out of a slot, a root or a list is the kernel's own: pom_object_at().
 */
#include "pyobjmem.h"

/**
 * pom_object_find - the object of a handle that may be anything
 * @heap: the heap
 * @handle: any number
 * @obj: the object
 *
 * Return: 0; -EINVAL for 0; -ESTALE if the handle names no living object, or
 * -ENOENT where that is nobody's business.
 */
int pom_object_find(struct pom_heap *heap, u64 handle, struct pom_object *obj)
{
	lockdep_assert_held(&heap->lock);
	if (handle == PYOBJMEM_NONE)
		return -EINVAL;
	if (!pom_block_find(&heap->space[POM_OBJECTS], pom_link(handle), &obj->block))
		goto stale;
	pom_object_from_block(obj);
	/* A free block was sorted out, so a generation of 0 is no match. */
	if (obj->head->generation != upper_32_bits(handle) || obj->side->state & POM_DEAD)
		goto stale;
	return 0;

stale:
	return pom_stale(heap);
}

/**
 * pom_object_held - the object of a handle, if the session holds it
 * @session: the session
 * @handle: any number
 * @obj: the object
 *
 * Return: 0, or as pom_object_find(), or -ENOENT.
 */
int pom_object_held(struct pom_session *session, u64 handle, struct pom_object *obj)
{
	int ret = pom_object_find(session->heap, handle, obj);

	if (ret)
		return ret;
	return pom_holds_find(&session->holds, obj->block.link) ? 0 : -ENOENT;
}

/**
 * pom_object_payload - where the payload lies
 * @heap: the heap
 * @obj: the object
 * @block: its own block if it is sealed, the one in the data space if not
 *
 * Return: offset of the first byte in @block.
 */
u64 pom_object_payload(struct pom_heap *heap, const struct pom_object *obj,
		       struct pom_block *block)
{
	*block = obj->block;
	if (!(obj->head->flags & PYOBJMEM_CREATE_MUTABLE))
		return POM_HEAD_BYTES + (u64)obj->head->slots * POM_SLOT_BYTES;
	if (obj->head->payload)
		pom_block_at(&heap->space[POM_DATA],
			     *pom_object_slot(obj, obj->head->slots) >> POM_LINK_SHIFT, block);
	return 0;
}

static void object_red_zones(struct pom_heap *heap, const struct pom_object *obj,
			     struct pom_block *data, u64 *used, u64 *data_used)
{
	*data_used = pom_object_payload(heap, obj, data) + obj->head->payload;
	*used = *data_used;
	if (obj->head->flags & PYOBJMEM_CREATE_MUTABLE)
		*used = POM_HEAD_BYTES + (u64)(obj->head->slots + 1) * POM_SLOT_BYTES;
}

/**
 * pom_object_red_zones_set - in a debug build, mark where the object's blocks end
 * @heap: the heap
 * @obj: the object, its head filled in
 */
void pom_object_red_zones_set(struct pom_heap *heap, const struct pom_object *obj)
{
	struct pom_block data;
	u64 used, data_used;

	object_red_zones(heap, obj, &data, &used, &data_used);
	pom_red_zone_set(&obj->block, used);
	if (data.pool != obj->block.pool)
		pom_red_zone_set(&data, data_used);
}

/**
 * pom_object_red_zones_intact - in a debug build, whether nobody wrote behind them
 * @heap: the heap
 * @obj: the object
 *
 * Return: whether the marks are as they were left.
 */
bool pom_object_red_zones_intact(struct pom_heap *heap, const struct pom_object *obj)
{
	struct pom_block data;
	u64 used, data_used;

	object_red_zones(heap, obj, &data, &used, &data_used);
	return pom_red_zone_intact(&obj->block, used) &&
	       (data.pool == obj->block.pool || pom_red_zone_intact(&data, data_used));
}

/* --- Counts -------------------------------------------------------------- */

/* No more references. What has slots or watches waits on the cascade: it can take long. */
static void object_die(struct pom_heap *heap, struct pom_object *obj)
{
	if (!obj->head->slots && !(obj->side->state & (POM_COLOUR | POM_WATCHED))) {
		heap->freed_counted++;
		pom_object_release(heap, obj);
		return;
	}
	pom_candidate_unflag(heap, obj);
	pom_gc_touch(heap, obj);
	obj->side->state |= POM_DYING;
	obj->side->in = heap->dying;
	WRITE_ONCE(heap->dying, obj->block.link);	/* Pairs with pom_heap_unsettled(). */
}

/* All counts are 0: the finalizer first, if somebody is there to run it. */
static void object_unreferenced(struct pom_heap *heap, struct pom_object *obj)
{
	if (obj->side->state & POM_FINALIZE && pom_watch_finalize(heap, obj))
		pom_ext_get(heap, obj);
	else
		object_die(heap, obj);
}

/**
 * pom_object_dropped - a reference has just gone
 * @heap: the heap
 * @obj: the object, ext or in one less than before
 *
 * Whatever removes a reference comes here.
 */
void pom_object_dropped(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_side *side = obj->side;

	if (!side->ext && !side->in)
		object_unreferenced(heap, obj);
	else if (!side->ext && obj->head->slots)
		pom_candidate_flag(heap, obj);
}

/**
 * pom_ext_get - count one more session, root or ticket
 * @heap: the heap
 * @obj: the object
 *
 * Return: 0 or -EOVERFLOW.
 */
int pom_ext_get(struct pom_heap *heap, struct pom_object *obj)
{
	if (obj->side->ext >= POM_COUNT_MAX)
		return -EOVERFLOW;
	if (!obj->side->ext++)
		pom_gc_touch(heap, obj);
	return 0;
}

/**
 * pom_ext_put - count one session, root or ticket less
 * @heap: the heap
 * @obj: the object
 */
void pom_ext_put(struct pom_heap *heap, struct pom_object *obj)
{
	obj->side->ext--;
	pom_object_dropped(heap, obj);
}

/**
 * pom_object_drop_slot - empty a slot of an object that is dead
 * @heap: the heap
 * @obj: the object
 * @slot: index of the slot
 */
void pom_object_drop_slot(struct pom_heap *heap, struct pom_object *obj, u32 slot)
{
	u64 *p = pom_object_slot(obj, slot);
	u64 value = *p;
	struct pom_object target;

	if (!value)
		return;
	WRITE_ONCE(*p, 0);
	pom_object_near(heap, pom_link(value), obj, &target);
	target.side->in--;
	pom_object_dropped(heap, &target);
}

/* Most blocks are a few words, which are cleared sooner than memset() has begun. */
static void block_clear(u64 *word, u64 bytes)
{
	for (; bytes; bytes -= sizeof(*word))
		WRITE_ONCE(*word++, 0);
}

/* The same of the block of its payload, if it is mutable. Return: what it cost. */
static u32 object_release_data(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_block data;
	u32 cost;

	pom_object_payload(heap, obj, &data);
	if (data.pool == obj->block.pool)
		return 0;
	cost = data.pool->pages / POM_ARENA_POOLS;
	if (!pom_pool_is_run(data.pool))
		block_clear(pom_block_byte(&data, 0), data.pool->size);
	pom_block_free(&heap->space[POM_DATA], data.pool, data.index);
	return cost;
}

/**
 * pom_object_release - give back the block of an object
 * @heap: the heap
 * @obj: an object without references and with empty slots, or a condemned one
 *
 * A reader of the window sees the generation go before anything else changes.
 *
 * Return: what it cost, in visits: a run gives back arena after arena.
 */
u32 pom_object_release(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_pool *pool = obj->block.pool;
	u32 cost = pool->pages / POM_ARENA_POOLS;

	lockdep_assert_held(&heap->lock);
	WARN(POM_DEBUG && !pom_object_red_zones_intact(heap, obj),
	     "pyobjmem: object %#x: somebody wrote behind it", obj->block.link);
	pom_gc_freed(heap, obj);

	WRITE_ONCE(obj->head->generation, 0);
	smp_wmb();	/* Pairs with the second look of a reader at the generation. */
	if (obj->head->flags & PYOBJMEM_CREATE_MUTABLE)
		cost += object_release_data(heap, obj);
	if (!pom_pool_is_run(pool))
		block_clear((u64 *)obj->head, pool->size);
	*obj->side = (struct pom_side){};
	heap->objects--;
	pom_block_free(&heap->space[POM_OBJECTS], pool, obj->block.index);
	return cost;
}

/**
 * pom_cascade_slice - free some of what has died
 * @heap: the heap
 * @budget: objects and slots that may be visited; what is left of it
 *
 * The cascade belongs to the heap: whoever dropped something works on it until
 * it is empty, in slices. An object with many slots is resumed where the last
 * slice stopped.
 *
 * Return: whether there is more.
 */
bool pom_cascade_slice(struct pom_heap *heap, int *budget)
{
	struct pom_object obj;

	lockdep_assert_held(&heap->lock);
	while (*budget > 0) {
		if (heap->dropping == POM_NIL) {
			if (heap->dying == POM_NIL)
				return false;
			WRITE_ONCE(heap->dropping, heap->dying);
			heap->dropping_slot = 0;
			pom_object_at(heap, heap->dropping, &obj);
			WRITE_ONCE(heap->dying, obj.side->in);
			obj.side->in = 0;
			--*budget;
		} else {
			pom_object_at(heap, heap->dropping, &obj);
		}
		if (obj.side->state & POM_WATCHED && !pom_watch_die(heap, &obj, budget))
			return true;
		for (; heap->dropping_slot < obj.head->slots && *budget > 0; --*budget)
			pom_object_drop_slot(heap, &obj, heap->dropping_slot++);
		if (heap->dropping_slot < obj.head->slots)
			return true;

		WRITE_ONCE(heap->dropping, POM_NIL);
		heap->freed_counted++;
		if (obj.side->state & POM_COLOUR)
			obj.side->state = (obj.side->state & ~POM_DYING) | POM_LIMBO;
		else
			*budget -= pom_object_release(heap, &obj);
	}
	return pom_heap_unsettled(heap);
}

/**
 * pom_object_take - let the session hold an object, or take it once more
 * @session: the session
 * @obj: an object that lives
 * @stash: memory to use
 *
 * Return: 0, -EOVERFLOW, -EDQUOT, or -EAGAIN if @stash is short.
 */
int pom_object_take(struct pom_session *session, struct pom_object *obj,
		    struct pom_stash *stash)
{
	struct pom_hold *hold = pom_holds_find(&session->holds, obj->block.link);
	int ret;

	if (hold) {
		if (hold->takes >= POM_COUNT_MAX)
			return -EOVERFLOW;
		hold->takes++;
		return 0;
	}
	ret = pom_holds_room(&session->holds, obj->block.link, stash);
	if (ret)
		return ret;
	ret = pom_ext_get(session->heap, obj);
	if (ret)
		return ret;
	pom_holds_insert(&session->holds, obj->block.link);
	return 0;
}

/**
 * pom_ext_put_at - the same, of an object known by its link
 * @heap: the heap
 * @link: out of a root, a ticket, or the table of a session that has ended
 */
void pom_ext_put_at(struct pom_heap *heap, u32 link)
{
	struct pom_object obj;

	pom_object_at(heap, link, &obj);
	pom_ext_put(heap, &obj);
}
