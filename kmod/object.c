// SPDX-License-Identifier: GPL-2.0
/*
 * Objects: blocks with a head and slots, their counts, and the cascade of frees
 * when counts reach zero. Called by heap.c, ticket.c, session.c, collect.c and
 * call.c, all under heap->lock.
 *
 * Invariants:
 *  - ext == sessions that hold the object + its roots + its tickets;
 *    in == slots that name it;
 *  - ext goes from 0 to 1 only in pom_ext_get(), which tells the collector;
 *  - every reference that goes, goes through object_dropped();
 *  - a dying object has in and ext 0 and is on the cascade once.
 *
 * A handle is checked in full before it is believed, object_find(). A link that
 * comes out of a slot, a root or a list is the kernel's own: pom_object_at().
 */
#include <linux/nospec.h>
#include <linux/slab.h>

#include "pyobjmem.h"

#define HEAD_BYTES	sizeof(struct pyobjmem_head)
#define SLOT_BYTES	sizeof(u64)

static u32 handle_link(u64 handle)
{
	return lower_32_bits(handle);
}

static u32 handle_generation(u64 handle)
{
	return upper_32_bits(handle);
}

/**
 * pom_object_bytes - size of the block of an object
 * @cmd: what is to be created
 *
 * Return: bytes in the object window.
 */
u64 pom_object_bytes(const struct pyobjmem_create *cmd)
{
	u64 bytes = HEAD_BYTES + (u64)cmd->slots * SLOT_BYTES;

	bytes += cmd->flags & PYOBJMEM_CREATE_MUTABLE ? sizeof(u64) : cmd->payload_size;
	return ALIGN(bytes, POM_CLASS_STEP);
}

/**
 * pom_object_data_bytes - size of the block of a mutable payload
 * @cmd: what is to be created
 *
 * Return: bytes in the data window, 0 for none.
 */
u64 pom_object_data_bytes(const struct pyobjmem_create *cmd)
{
	if (!(cmd->flags & PYOBJMEM_CREATE_MUTABLE))
		return 0;
	return ALIGN((u64)cmd->payload_size, POM_CLASS_STEP);
}

static void object_from_block(struct pom_object *obj)
{
	obj->side = &obj->block.pool->side[obj->block.index];
	obj->head = pom_block_byte(&obj->block, 0);
}

/**
 * pom_object_at - the object at a link that is known to be good
 * @heap: the heap
 * @link: the kernel's own
 * @obj: the object
 */
void pom_object_at(struct pom_heap *heap, u32 link, struct pom_object *obj)
{
	lockdep_assert_held(&heap->lock);
	pom_block_at(&heap->space[POM_OBJECTS], link, &obj->block);
	object_from_block(obj);
}

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
	if (!pom_block_find(&heap->space[POM_OBJECTS], handle_link(handle), &obj->block))
		goto stale;
	object_from_block(obj);
	/* A free block was sorted out, so a generation of 0 is no match. */
	if (obj->head->generation != handle_generation(handle) || obj->side->state & POM_DEAD)
		goto stale;
	return 0;

stale:
	return heap->nomap ? -ENOENT : -ESTALE;
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
 * pom_object_handle - the handle of an object
 * @obj: the object
 *
 * Return: the handle.
 */
u64 pom_object_handle(const struct pom_object *obj)
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
u64 *pom_object_slot(const struct pom_object *obj, u32 slot)
{
	return pom_block_byte(&obj->block, HEAD_BYTES + (u64)slot * SLOT_BYTES);
}

/* The block and the offset in it where the payload lies. */
static u64 object_payload(struct pom_heap *heap, const struct pom_object *obj,
			  struct pom_block *block)
{
	u64 *data = pom_object_slot(obj, obj->head->slots);

	*block = obj->block;
	if (!(obj->head->flags & PYOBJMEM_CREATE_MUTABLE))
		return HEAD_BYTES + (u64)obj->head->slots * SLOT_BYTES;
	if (obj->head->payload)
		pom_block_at(&heap->space[POM_DATA], *data >> POM_LINK_SHIFT, block);
	return 0;
}

/* --- Counts -------------------------------------------------------------- */

static void object_die(struct pom_heap *heap, struct pom_object *obj)
{
	pom_gc_unflag(heap, obj);
	obj->side->state |= POM_DYING;
	obj->side->in = heap->dying;
	heap->dying = obj->block.link;
}

/* A reference to the object has just gone. */
static void object_dropped(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_side *side = obj->side;

	if (side->state & POM_DONE) {
		if (!side->in)
			pom_object_release(heap, obj);
		return;
	}
	/* Condemned: the collector drops its slots when it comes to it. */
	if (heap->gc.phase == POM_FREE && (side->state & POM_COLOUR) == POM_WHITE)
		return;
	if (!side->ext && !side->in)
		object_die(heap, obj);
	else if (!side->ext && obj->head->slots)
		pom_gc_flag(heap, obj);
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
	object_dropped(heap, obj);
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
	pom_object_at(heap, handle_link(value), &target);
	target.side->in--;
	object_dropped(heap, &target);
}

/**
 * pom_object_release - give back the block of an object
 * @heap: the heap
 * @obj: an object without references and with empty slots
 *
 * A reader of the window sees the generation go before anything else changes.
 */
void pom_object_release(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_pool *pool = obj->block.pool;
	struct pom_block data;

	lockdep_assert_held(&heap->lock);
	object_payload(heap, obj, &data);
	pom_gc_freed(heap, obj);

	WRITE_ONCE(obj->head->generation, 0);
	smp_wmb();	/* Pairs with the second look of a reader at the generation. */
	if (data.pool != pool) {
		if (!pom_pool_is_run(data.pool))
			memset(pom_block_byte(&data, 0), 0, data.pool->size);
		pom_block_free(&heap->space[POM_DATA], data.pool, data.index);
	}
	if (!pom_pool_is_run(pool))
		memset(obj->head, 0, pool->size);
	memset(obj->side, 0, sizeof(*obj->side));
	heap->objects--;
	pom_block_free(&heap->space[POM_OBJECTS], pool, obj->block.index);
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
			heap->dropping = heap->dying;
			heap->dropping_slot = 0;
			pom_object_at(heap, heap->dropping, &obj);
			heap->dying = obj.side->in;
			obj.side->in = 0;
			--*budget;
		} else {
			pom_object_at(heap, heap->dropping, &obj);
		}
		for (; heap->dropping_slot < obj.head->slots && *budget > 0; --*budget)
			pom_object_drop_slot(heap, &obj, heap->dropping_slot++);
		if (heap->dropping_slot < obj.head->slots)
			return true;

		heap->dropping = POM_NIL;
		heap->freed_counted++;
		if (obj.side->state & POM_COLOUR)
			obj.side->state = (obj.side->state & ~POM_DYING) | POM_LIMBO;
		else
			pom_object_release(heap, &obj);
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
 * pom_object_lose - drop the hold of a session that has ended
 * @heap: the heap
 * @link: the object, taken out of the session's table
 */
void pom_object_lose(struct pom_heap *heap, u32 link)
{
	struct pom_object obj;

	pom_object_at(heap, link, &obj);
	pom_ext_put(heap, &obj);
}

/* --- Operations ---------------------------------------------------------- */

/* A value for a slot: 0, or an object that the session holds and can count. */
static int object_value(struct pom_session *session, u64 handle, struct pom_object *obj)
{
	int ret;

	if (handle == PYOBJMEM_NONE)
		return 0;
	ret = pom_object_held(session, handle, obj);
	if (ret)
		return ret;
	/* CREATE checks all its edges before it counts the first. */
	return obj->side->in >= POM_COUNT_MAX - POM_EDGES_AT_ONCE ? -EOVERFLOW : 0;
}

static int object_check_edges(struct pom_session *session, const u64 *edges, u32 count)
{
	struct pom_object target;
	int ret = 0;
	u32 i;

	for (i = 0; i < count && !ret; i++)
		ret = object_value(session, edges[i], &target);
	return ret;
}

static void object_set_slot(struct pom_heap *heap, struct pom_object *obj, u32 slot, u64 value)
{
	u64 *p = pom_object_slot(obj, slot);
	struct pom_object target;
	u64 old = *p;

	if (value) {
		pom_object_at(heap, handle_link(value), &target);
		target.side->in++;
	}
	WRITE_ONCE(*p, value);
	if (old) {
		pom_object_at(heap, handle_link(old), &target);
		target.side->in--;
		object_dropped(heap, &target);
	}
}

/* Blocks for an object and its mutable payload, and room for its hold. */
static int object_alloc(struct pom_session *session, const struct pyobjmem_create *cmd,
			struct pom_stash *stash, struct pom_block *block,
			struct pom_block *data)
{
	struct pom_heap *heap = session->heap;
	u64 data_bytes = pom_object_data_bytes(cmd);
	int ret;

	if (heap->objects >= heap->objects_limit)
		return -ENOSPC;
	ret = pom_block_alloc(&heap->space[POM_OBJECTS], pom_object_bytes(cmd), stash, block);
	if (ret)
		return ret;
	if (data_bytes) {
		ret = pom_block_alloc(&heap->space[POM_DATA], data_bytes, stash, data);
		if (ret)
			goto undo_block;
	}
	ret = pom_holds_room(&session->holds, block->link, stash);
	if (ret)
		goto undo_data;
	return 0;

undo_data:
	if (data_bytes)
		pom_block_undo(&heap->space[POM_DATA], data, stash);
undo_block:
	pom_block_undo(&heap->space[POM_OBJECTS], block, stash);
	return ret;
}

static void object_fill(struct pom_heap *heap, const struct pyobjmem_create *cmd,
			const struct pom_args *args, struct pom_object *obj,
			const struct pom_block *data)
{
	u64 offset = HEAD_BYTES + (u64)cmd->slots * SLOT_BYTES;
	bool mutable = cmd->flags & PYOBJMEM_CREATE_MUTABLE;
	u32 i;

	obj->head->payload = cmd->payload_size;
	obj->head->slots = cmd->slots;
	obj->head->type = cmd->type;
	obj->head->flags = cmd->flags;
	if (mutable && cmd->payload_size)
		*pom_object_slot(obj, cmd->slots) = (u64)data->link << POM_LINK_SHIFT;
	/* The payload of a large block was copied before it had a place. */
	if (args->payload)
		pom_block_copy(mutable ? data : &obj->block, mutable ? 0 : offset,
			       args->payload, cmd->payload_size, true);
	for (i = 0; args->edges && cmd->slots <= POM_EDGES_AT_ONCE && i < cmd->slots; i++)
		object_set_slot(heap, obj, i, args->edges[i]);
}

/**
 * pom_object_create - CREATE
 * @session: the session
 * @cmd: the command
 * @args: kernel copies of payload and edges. Edges of an object with more than
 *	POM_EDGES_AT_ONCE slots are left to pom_object_link()
 * @stash: memory to use; of large blocks, the prepared runs
 *
 * Return: 0; -EAGAIN if @stash is short; an error with nothing changed.
 */
int pom_object_create(struct pom_session *session, struct pyobjmem_create *cmd,
		      struct pom_args *args, struct pom_stash *stash)
{
	struct pom_heap *heap = session->heap;
	struct pom_block data = {};
	struct pom_object obj;
	u32 generation;
	int ret;

	lockdep_assert_held(&heap->lock);
	if (args->edges && cmd->slots <= POM_EDGES_AT_ONCE) {
		ret = object_check_edges(session, args->edges, cmd->slots);
		if (ret)
			return ret;
	}
	ret = object_alloc(session, cmd, stash, &obj.block, &data);
	if (ret)
		return ret;

	object_from_block(&obj);
	object_fill(heap, cmd, args, &obj, &data);
	obj.side->ext = 1;
	obj.side->link = POM_NIL;
	heap->objects++;
	heap->created++;
	pom_holds_insert(&session->holds, obj.block.link);
	pom_gc_born(heap, &obj);

	generation = pom_pool_next_generation(&heap->space[POM_OBJECTS], obj.block.pool);
	smp_wmb();	/* Pairs with the first look of a reader at the generation. */
	WRITE_ONCE(obj.head->generation, generation);
	cmd->out_handle = pom_object_handle(&obj);
	return 0;
}

/**
 * pom_object_link - set some slots of an object just created
 * @session: the session
 * @handle: the object; another thread may have put it meanwhile
 * @edges: values of the slots, the kernel's copy
 * @first: the first slot to set
 * @count: how many, at most POM_EDGES_AT_ONCE
 *
 * Return: 0, or an error with none of these slots changed.
 */
int pom_object_link(struct pom_session *session, u64 handle, const u64 *edges, u32 first,
		    u32 count)
{
	struct pom_object obj;
	u32 i;
	int ret;

	ret = pom_object_held(session, handle, &obj);
	if (!ret)
		ret = object_check_edges(session, edges + first, count);
	for (i = 0; !ret && i < count; i++)
		object_set_slot(session->heap, &obj, first + i, edges[first + i]);
	return ret;
}

/**
 * pom_object_get - GET
 * @session: the session
 * @handle: an object that it holds
 *
 * Return: 0 or an error.
 */
int pom_object_get(struct pom_session *session, u64 handle)
{
	struct pom_object obj;
	struct pom_hold *hold;
	int ret;

	ret = pom_object_held(session, handle, &obj);
	if (ret)
		return ret;
	hold = pom_holds_find(&session->holds, obj.block.link);
	if (hold->takes >= POM_COUNT_MAX)
		return -EOVERFLOW;
	hold->takes++;
	return 0;
}

/**
 * pom_object_put - PUT
 * @session: the session
 * @handle: an object that it holds
 *
 * Return: 0 or an error.
 */
int pom_object_put(struct pom_session *session, u64 handle)
{
	struct pom_object obj;
	struct pom_hold *hold;
	int ret;

	ret = pom_object_find(session->heap, handle, &obj);
	if (ret)
		return ret;
	hold = pom_holds_find(&session->holds, obj.block.link);
	if (!hold)
		return -ENOENT;
	if (--hold->takes)
		return 0;
	hold->takes = 1;	/* an entry of 0 takes is none */
	pom_holds_remove(&session->holds, hold);
	pom_ext_put(session->heap, &obj);
	return 0;
}

/**
 * pom_object_set_ref - SET_REF
 * @session: the session
 * @cmd: the command
 *
 * Return: 0 or an error with nothing changed.
 */
int pom_object_set_ref(struct pom_session *session, struct pyobjmem_set_ref *cmd)
{
	struct pom_object obj, target;
	u32 slot;
	int ret;

	ret = pom_object_held(session, cmd->handle, &obj);
	if (ret)
		return ret;
	ret = object_value(session, cmd->value, &target);
	if (ret)
		return ret;
	if (cmd->slot >= obj.head->slots)
		return -EINVAL;
	slot = array_index_nospec(cmd->slot, obj.head->slots);

	cmd->out_old = *pom_object_slot(&obj, slot);
	if (cmd->flags & PYOBJMEM_SET_REF_COMPARE && cmd->out_old != cmd->expected)
		return -ECANCELED;
	object_set_slot(session->heap, &obj, slot, cmd->value);
	return 0;
}

/**
 * pom_object_get_ref - GET_REF
 * @session: the session
 * @cmd: the command
 * @stash: memory to use
 *
 * Return: 0; -EAGAIN if @stash is short; an error with nothing changed.
 */
int pom_object_get_ref(struct pom_session *session, struct pyobjmem_get_ref *cmd,
		       struct pom_stash *stash)
{
	struct pom_object obj, target;
	u64 value;
	u32 slot;
	int ret;

	ret = pom_object_held(session, cmd->handle, &obj);
	if (ret)
		return ret;
	if (cmd->slot >= obj.head->slots)
		return -EINVAL;
	slot = array_index_nospec(cmd->slot, obj.head->slots);

	value = *pom_object_slot(&obj, slot);
	if (value) {
		pom_object_at(session->heap, handle_link(value), &target);
		ret = pom_object_take(session, &target, stash);
		if (ret)
			return ret;
	}
	cmd->out_handle = value;
	return 0;
}

/**
 * pom_object_read - a piece of READ
 * @session: the session
 * @cmd: the command; out_* are filled in, out_length is added to
 * @buffer: kernel memory
 * @offset: first byte of the payload
 * @length: bytes at the most
 *
 * Return: 0 or an error.
 */
int pom_object_read(struct pom_session *session, struct pyobjmem_read *cmd, void *buffer,
		    u64 offset, u64 length)
{
	struct pom_object obj;
	struct pom_block block;
	u64 start;
	int ret;

	ret = pom_object_held(session, cmd->handle, &obj);
	if (ret)
		return ret;
	if (offset > obj.head->payload)
		return -EINVAL;
	length = min(length, obj.head->payload - offset);

	start = object_payload(session->heap, &obj, &block);
	pom_block_copy(&block, start + offset, buffer, length, false);
	cmd->out_length += length;
	cmd->out_payload = obj.head->payload;
	cmd->out_slots = obj.head->slots;
	return 0;
}

/**
 * pom_object_write - a piece of WRITE
 * @session: the session
 * @cmd: the command; out_length is added to
 * @buffer: kernel memory
 * @offset: first byte of the payload
 * @length: bytes
 *
 * Return: 0 or an error with nothing changed.
 */
int pom_object_write(struct pom_session *session, struct pyobjmem_write *cmd, void *buffer,
		     u64 offset, u64 length)
{
	struct pom_object obj;
	struct pom_block block;
	int ret;

	ret = pom_object_held(session, cmd->handle, &obj);
	if (ret)
		return ret;
	if (!(obj.head->flags & PYOBJMEM_CREATE_MUTABLE))
		return -EPERM;
	if (cmd->offset > obj.head->payload ||
	    cmd->length > obj.head->payload - cmd->offset)
		return -EINVAL;

	object_payload(session->heap, &obj, &block);
	pom_block_copy(&block, offset, buffer, length, true);
	cmd->out_length += length;
	return 0;
}

/**
 * pom_object_inspect - INSPECT, with some of the slots
 * @session: the session
 * @cmd: the command; out_* are filled in
 * @edges: room for @count handles
 * @first: first slot to copy
 * @count: slots to copy at the most
 *
 * Return: number of slots copied, or an error.
 */
int pom_object_inspect(struct pom_session *session, struct pyobjmem_inspect *cmd, u64 *edges,
		       u32 first, u32 count)
{
	struct pom_object obj;
	u32 i;
	int ret;

	ret = pom_object_held(session, cmd->handle, &obj);
	if (ret)
		return ret;
	cmd->out_slots = obj.head->slots;
	cmd->out_payload = obj.head->payload;
	cmd->out_type = obj.head->type;
	cmd->out_flags = obj.head->flags;
	cmd->out_external = obj.side->ext;
	cmd->out_internal = obj.side->in;
	cmd->out_takes = pom_holds_find(&session->holds, obj.block.link)->takes;
	cmd->out_generation = pom_gc_generation(&session->heap->gc, obj.side->born);

	for (i = 0; i < count && first + i < obj.head->slots; i++)
		edges[i] = *pom_object_slot(&obj, first + i);
	return i;
}
