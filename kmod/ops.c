// SPDX-License-Identifier: GPL-2.0
/*
 * The operations on objects, as call.c and batch.c do them: kernel copies in,
 * kernel copies out. All under heap->lock, each wholly or not at all: what can
 * fail is checked, and what is needed is taken, before anything changes.
 */
#include <linux/nospec.h>

#include "pyobjmem.h"

/**
 * pom_object_bytes - size of the block of an object
 * @cmd: what is to be created
 *
 * Return: bytes in the object window.
 */
u64 pom_object_bytes(const struct pyobjmem_create *cmd)
{
	u64 bytes = POM_HEAD_BYTES + (u64)cmd->slots * POM_SLOT_BYTES + pom_red_zone;

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
	if (!(cmd->flags & PYOBJMEM_CREATE_MUTABLE) || !cmd->payload_size)
		return 0;
	return ALIGN((u64)cmd->payload_size + pom_red_zone, POM_CLASS_STEP);
}

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
		pom_object_at(heap, pom_link(value), &target);
		target.side->in++;
	}
	WRITE_ONCE(*p, value);
	if (old) {
		pom_object_at(heap, pom_link(old), &target);
		target.side->in--;
		pom_object_dropped(heap, &target);
	}
}

/* Blocks for an object and its mutable payload, room for its hold and its finalizer. */
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
	if (!ret && cmd->flags & PYOBJMEM_CREATE_FINALIZE)
		ret = pom_watch_room(session, stash);
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
	u64 offset = POM_HEAD_BYTES + (u64)cmd->slots * POM_SLOT_BYTES;
	bool mutable = cmd->flags & PYOBJMEM_CREATE_MUTABLE;
	u32 i;

	obj->head->payload = cmd->payload_size;
	obj->head->slots = cmd->slots;
	obj->head->type = cmd->type;
	obj->head->flags = cmd->flags;
	if (mutable && cmd->payload_size)
		*pom_object_slot(obj, cmd->slots) = (u64)data->link << POM_LINK_SHIFT;
	if (POM_DEBUG)
		pom_object_red_zones_set(heap, obj);
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
	int ret, owed;

	lockdep_assert_held(&heap->lock);
	if (args->edges && cmd->slots <= POM_EDGES_AT_ONCE) {
		ret = object_check_edges(session, args->edges, cmd->slots);
		if (ret)
			return ret;
	}
	ret = object_alloc(session, cmd, stash, &obj.block, &data);
	if (ret)
		return ret;

	pom_object_from_block(&obj);
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
	if (cmd->flags & PYOBJMEM_CREATE_FINALIZE)
		pom_watch_arm(session, &obj, POM_WATCH_FINALIZE, 0, stash);
	cmd->out_handle = pom_object_handle(&obj);
	owed = pom_gc_owed(&heap->gc, cmd->slots);
	if (unlikely(owed))
		pom_collect_help(heap, owed);
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
		pom_object_at(session->heap, pom_link(value), &target);
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
	offset = array_index_nospec(offset, (u64)obj.head->payload + 1);
	length = min(length, obj.head->payload - offset);

	start = pom_object_payload(session->heap, &obj, &block);
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
	offset = array_index_nospec(offset, (u64)obj.head->payload + 1);

	pom_object_payload(session->heap, &obj, &block);
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
	if (obj.head->flags & PYOBJMEM_CREATE_FINALIZE && !(obj.side->state & POM_FINALIZE))
		cmd->out_flags |= PYOBJMEM_INSPECT_FINALIZED;
	cmd->out_external = obj.side->ext;
	cmd->out_internal = obj.side->in;
	cmd->out_takes = pom_holds_find(&session->holds, obj.block.link)->takes;
	cmd->out_generation = pom_gc_generation(&session->heap->gc, obj.side->born);
	cmd->out_weak = pom_watch_count(session->heap, &obj);

	for (i = 0; i < count && first + i < obj.head->slots; i++)
		edges[i] = *pom_object_slot(&obj, first + i);
	return i;
}
