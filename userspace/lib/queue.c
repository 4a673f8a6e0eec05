// SPDX-License-Identifier: MIT
/*
 * Batches: operations are queued as the entries that the kernel wants, and sent
 * when asked for or when no more fit. Queueing allocates nothing.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "batch.h"

/*
 * Make room for one more operation with @bytes of payload, edges and buffers,
 * rounded up, as some kernels count them, and count them.
 */
static int make_room(struct pyobjmem_batcher *batcher, uint64_t bytes)
{
	if (batcher->flushed)
		pyobjmem_batch_restart(batcher);
	if (bytes > PYOBJMEM_BATCH_BYTES)
		return -E2BIG;
	bytes = (bytes + 7) / 8 * 8;
	if (!batcher->stopped && (batcher->count == PYOBJMEM_BATCH_MAX ||
				  bytes > PYOBJMEM_BATCH_BYTES - batcher->bytes))
		pyobjmem_batch_send(batcher);
	if (batcher->stopped)
		return batcher->error;
	if (batcher->next == INT_MAX)
		return -EOVERFLOW;
	batcher->bytes += (size_t)bytes;
	return 0;
}

/* Add an operation, for which there is room. Its structure is to be filled in. */
static union pyobjmem_command *append(struct pyobjmem_batcher *batcher, uint32_t op, void *out)
{
	uint32_t i = batcher->count++;

	batcher->entries[i] = (struct pyobjmem_batch_entry){ .op = op };
	batcher->pending[i] = (struct pending){ .out = out, .index = batcher->next };
	batcher->operations++;
	if (pyobjmem_gained(&batcher->entries[i]))
		batcher->gains++;
	return &batcher->entries[i].command;
}

/* Copy input of an operation, for which there is room. */
static __u64 keep(struct pyobjmem_batcher *batcher, const void *data, size_t bytes)
{
	void *copy = &batcher->store[batcher->stored];

	if (!data || !bytes)
		return 0;
	memcpy(copy, data, bytes);
	batcher->stored += (bytes + 7) / 8;
	return pyobjmem_pointer(copy);
}

API int pyobjmem_batch_create(struct pyobjmem_batcher *batcher,
			      const struct pyobjmem_object *object, uint64_t *handle)
{
	uint64_t edges = object->edges ? object->slots * sizeof(uint64_t) : 0;
	uint64_t payload = object->payload ? object->payload_size : 0;
	bool finalize = object->flags & PYOBJMEM_CREATE_FINALIZE;
	struct pyobjmem_create *create;
	struct pending *pending;
	int error;

	if (finalize && !object->finalizer)
		return -EINVAL;
	error = make_room(batcher, payload + edges);
	if (error)
		return error;
	*handle = PYOBJMEM_NONE;
	create = &append(batcher, PYOBJMEM_OP_CREATE, handle)->create;
	create->size = sizeof(*create);
	create->flags = object->flags;
	create->payload = keep(batcher, object->payload, (size_t)payload);
	create->edges = keep(batcher, object->edges, (size_t)edges);
	create->payload_size = object->payload_size;
	create->slots = object->slots;
	create->type = object->type;
	if (finalize) {
		pending = &batcher->pending[batcher->count - 1];
		pending->finalizer = object->finalizer;
		pending->data = object->data;
		batcher->finalizers++;
	}
	return batcher->next++;
}

API int pyobjmem_batch_put(struct pyobjmem_batcher *batcher, uint64_t handle)
{
	struct pyobjmem *session = batcher->session;
	int takes;

	if (batcher->flushed)
		pyobjmem_batch_restart(batcher);
	if (batcher->lent_count == PYOBJMEM_BATCH_MAX)
		pyobjmem_batch_send(batcher);
	pthread_mutex_lock(&session->lock);
	if (batcher->operations) {
		takes = pyobjmem_table_lend(&session->table, handle);
		if (!takes)
			batcher->lent[batcher->lent_count++] = handle;
	} else {
		/* Nothing is queued that needs what others hold, too. */
		takes = pyobjmem_table_put(&session->table, handle);
	}
	pthread_mutex_unlock(&session->lock);
	if (takes < 0)
		return takes;
	for (; takes; takes--) {
		if (batcher->count == PYOBJMEM_BATCH_MAX)
			pyobjmem_batch_send(batcher);
		pyobjmem_batch_append_put(batcher, handle);
	}
	return 0;
}

static int queue_set_ref(struct pyobjmem_batcher *batcher, const struct pyobjmem_set_ref *set,
			 uint64_t *old)
{
	int error = make_room(batcher, 0);

	if (error)
		return error;
	if (old)
		*old = PYOBJMEM_NONE;
	append(batcher, PYOBJMEM_OP_SET_REF, old)->set_ref = *set;
	return batcher->next++;
}

API int pyobjmem_batch_set_ref(struct pyobjmem_batcher *batcher, uint64_t handle, uint32_t slot,
			       uint64_t value, uint64_t *old)
{
	struct pyobjmem_set_ref set = {
		.size = sizeof(set),
		.handle = handle,
		.value = value,
		.slot = slot,
	};

	return queue_set_ref(batcher, &set, old);
}

API int pyobjmem_batch_compare_and_set_ref(struct pyobjmem_batcher *batcher, uint64_t handle,
					   uint32_t slot, uint64_t expected, uint64_t value,
					   uint64_t *old)
{
	struct pyobjmem_set_ref set = {
		.size = sizeof(set),
		.flags = PYOBJMEM_SET_REF_COMPARE,
		.handle = handle,
		.value = value,
		.expected = expected,
		.slot = slot,
	};

	return queue_set_ref(batcher, &set, old);
}

API int pyobjmem_batch_get_ref(struct pyobjmem_batcher *batcher, uint64_t handle, uint32_t slot,
			       uint64_t *value)
{
	struct pyobjmem_get_ref *get;
	int error = make_room(batcher, 0);

	if (error)
		return error;
	*value = PYOBJMEM_NONE;
	get = &append(batcher, PYOBJMEM_OP_GET_REF, value)->get_ref;
	get->size = sizeof(*get);
	get->handle = handle;
	get->slot = slot;
	return batcher->next++;
}

API int pyobjmem_batch_read(struct pyobjmem_batcher *batcher, uint64_t handle, void *buffer,
			    size_t length, uint64_t offset, struct pyobjmem_extent *extent)
{
	struct pyobjmem_read *read;
	int error = make_room(batcher, length);

	if (error)
		return error;
	if (extent)
		*extent = (struct pyobjmem_extent){ 0 };
	read = &append(batcher, PYOBJMEM_OP_READ, extent)->read;
	read->size = sizeof(*read);
	read->handle = handle;
	read->buffer = pyobjmem_pointer(buffer);
	read->offset = offset;
	read->length = length;
	return batcher->next++;
}

API int pyobjmem_batch_write(struct pyobjmem_batcher *batcher, uint64_t handle,
			     const void *buffer, size_t length, uint64_t offset)
{
	struct pyobjmem_write *write;
	int error = make_room(batcher, length);

	if (error)
		return error;
	write = &append(batcher, PYOBJMEM_OP_WRITE, NULL)->write;
	write->size = sizeof(*write);
	write->handle = handle;
	write->buffer = keep(batcher, buffer, length);
	write->offset = offset;
	write->length = length;
	return batcher->next++;
}

API int pyobjmem_batch_set_root(struct pyobjmem_batcher *batcher, uint32_t root,
				uint64_t handle, uint64_t *old)
{
	struct pyobjmem_set_root *set;
	int error = make_room(batcher, 0);

	if (error)
		return error;
	if (old)
		*old = PYOBJMEM_NONE;
	set = &append(batcher, PYOBJMEM_OP_SET_ROOT, old)->set_root;
	set->size = sizeof(*set);
	set->handle = handle;
	set->root = root;
	return batcher->next++;
}

API int pyobjmem_batch_get_root(struct pyobjmem_batcher *batcher, uint32_t root,
				uint64_t *handle)
{
	struct pyobjmem_get_root *get;
	int error = make_room(batcher, 0);

	if (error)
		return error;
	*handle = PYOBJMEM_NONE;
	get = &append(batcher, PYOBJMEM_OP_GET_ROOT, handle)->get_root;
	get->size = sizeof(*get);
	get->root = root;
	return batcher->next++;
}

API int pyobjmem_batch_weak(struct pyobjmem_batcher *batcher, uint64_t handle,
			    pyobjmem_weak_fn callback, void *data, uint64_t *weak)
{
	struct pyobjmem_weak_hold hold = { .handle = handle, .callback = callback, .data = data };
	struct pyobjmem_weak *argument;
	uint64_t number;
	int error = make_room(batcher, 0);

	if (!error)
		error = pyobjmem_weak_new(batcher->session, &hold, &number);
	if (error)
		return error;
	*weak = 0;
	argument = &append(batcher, PYOBJMEM_OP_WEAK, weak)->weak;
	argument->size = sizeof(*argument);
	argument->handle = handle;
	argument->cookie = number;
	return batcher->next++;
}

API int pyobjmem_batch_upgrade(struct pyobjmem_batcher *batcher, uint64_t weak,
			       uint64_t *handle)
{
	struct pyobjmem_upgrade *upgrade;
	uint64_t object;
	int error = make_room(batcher, 0);

	if (!error)
		error = pyobjmem_weak_object(batcher->session, weak, &object);
	if (error)
		return error;
	*handle = PYOBJMEM_NONE;
	upgrade = &append(batcher, PYOBJMEM_OP_UPGRADE, handle)->upgrade;
	upgrade->size = sizeof(*upgrade);
	upgrade->handle = object;
	return batcher->next++;
}
