// SPDX-License-Identifier: MIT
/*
 * Operations on objects and on the roots of the heap.
 */
#include <errno.h>

#include "internal.h"

/* CREATE of an object whose finalizer is to be found when its event comes. */
static int create_with(struct pyobjmem *session, struct pyobjmem_finalizer *finalizer,
		       struct pyobjmem_create *create)
{
	int error;

	if (!finalizer->function)
		return -EINVAL;
	pthread_mutex_lock(&session->lock);
	error = pyobjmem_map_reserve(&session->finalizers, 1);
	pthread_mutex_unlock(&session->lock);
	if (error)
		return error;
	error = pyobjmem_take(session, PYOBJMEM_CREATE, create, &create->out_handle);
	finalizer->handle = create->out_handle;
	pthread_mutex_lock(&session->lock);
	if (!error)
		pyobjmem_finalizer_enter(session, finalizer);
	pyobjmem_map_unreserve(&session->finalizers, 1);
	pthread_mutex_unlock(&session->lock);
	return error;
}

API int pyobjmem_create(struct pyobjmem *session, const struct pyobjmem_object *object,
			uint64_t *handle)
{
	struct pyobjmem_create create = {
		.size = sizeof(create),
		.flags = object->flags,
		.payload = pyobjmem_pointer(object->payload),
		.edges = pyobjmem_pointer(object->edges),
		.payload_size = object->payload_size,
		.slots = object->slots,
		.type = object->type,
	};
	struct pyobjmem_finalizer finalizer;
	int error;

	if (object->flags & PYOBJMEM_CREATE_FINALIZE) {
		finalizer.function = object->finalizer;
		finalizer.data = object->data;
		error = create_with(session, &finalizer, &create);
	} else {
		/* A program older than finalizers has a structure that ends before them. */
		error = pyobjmem_take(session, PYOBJMEM_CREATE, &create, &create.out_handle);
	}
	if (!error)
		*handle = create.out_handle;
	return error;
}

API int pyobjmem_get(struct pyobjmem *session, uint64_t handle)
{
	struct pyobjmem_get get = { .size = sizeof(get), .handle = handle };
	int error;

	pthread_mutex_lock(&session->lock);
	error = pyobjmem_table_get(&session->table, handle);
	pthread_mutex_unlock(&session->lock);
	if (!error)
		return 0;
	/* Held, but not through the library? The kernel knows. */
	return pyobjmem_take(session, PYOBJMEM_GET, &get, &get.handle);
}

API int pyobjmem_put(struct pyobjmem *session, uint64_t handle)
{
	int result = pyobjmem_put_quietly(session, handle);

	if (result > 0)
		pyobjmem_dispatch_direct(session, false);
	return result < 0 ? result : 0;
}

API uint64_t pyobjmem_holds(struct pyobjmem *session, uint64_t handle)
{
	uint64_t count;

	pthread_mutex_lock(&session->lock);
	count = pyobjmem_table_count(&session->table, handle);
	pthread_mutex_unlock(&session->lock);
	return count;
}

static int set_ref(struct pyobjmem *session, struct pyobjmem_set_ref *set, uint64_t *old)
{
	int error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_SET_REF, set);

	if (old && (!error || error == -ECANCELED))
		*old = set->out_old;
	if (!error && set->out_old != PYOBJMEM_NONE)
		pyobjmem_dispatch_direct(session, false);
	return error;
}

API int pyobjmem_set_ref(struct pyobjmem *session, uint64_t handle, uint32_t slot,
			 uint64_t value, uint64_t *old)
{
	struct pyobjmem_set_ref set = {
		.size = sizeof(set),
		.handle = handle,
		.value = value,
		.slot = slot,
	};

	return set_ref(session, &set, old);
}

API int pyobjmem_compare_and_set_ref(struct pyobjmem *session, uint64_t handle, uint32_t slot,
				     uint64_t expected, uint64_t value, uint64_t *old)
{
	struct pyobjmem_set_ref set = {
		.size = sizeof(set),
		.flags = PYOBJMEM_SET_REF_COMPARE,
		.handle = handle,
		.value = value,
		.expected = expected,
		.slot = slot,
	};

	return set_ref(session, &set, old);
}

API int pyobjmem_get_ref(struct pyobjmem *session, uint64_t handle, uint32_t slot,
			 uint64_t *value)
{
	struct pyobjmem_get_ref get = { .size = sizeof(get), .handle = handle, .slot = slot };
	int error = pyobjmem_take(session, PYOBJMEM_GET_REF, &get, &get.out_handle);

	if (!error)
		*value = get.out_handle;
	return error;
}

API ssize_t pyobjmem_read(struct pyobjmem *session, uint64_t handle, void *buffer, size_t length,
			  uint64_t offset)
{
	struct pyobjmem_read read = {
		.size = sizeof(read),
		.handle = handle,
		.buffer = pyobjmem_pointer(buffer),
		.offset = offset,
		.length = length,
	};
	int error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_READ, &read);

	return error ? error : (ssize_t)read.out_length;
}

API ssize_t pyobjmem_write(struct pyobjmem *session, uint64_t handle, const void *buffer,
			   size_t length, uint64_t offset)
{
	struct pyobjmem_write write = {
		.size = sizeof(write),
		.handle = handle,
		.buffer = pyobjmem_pointer(buffer),
		.offset = offset,
		.length = length,
	};
	int error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_WRITE, &write);

	/* Some were written before the error: as write(2), tell how many. */
	return write.out_length || !error ? (ssize_t)write.out_length : error;
}

API int pyobjmem_inspect(struct pyobjmem *session, uint64_t handle, uint64_t *edges,
			 uint32_t capacity, struct pyobjmem_inspect *inspect)
{
	inspect->handle = handle;
	inspect->edges = pyobjmem_pointer(edges);
	inspect->capacity = capacity;
	return pyobjmem_sys_ioctl(session->fd, PYOBJMEM_INSPECT, inspect);
}

API int pyobjmem_set_root(struct pyobjmem *session, uint32_t root, uint64_t handle,
			  uint64_t *old)
{
	struct pyobjmem_set_root set = { .size = sizeof(set), .handle = handle, .root = root };
	int error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_SET_ROOT, &set);

	if (!error && old)
		*old = set.out_old;
	if (!error && set.out_old != PYOBJMEM_NONE)
		pyobjmem_dispatch_direct(session, false);
	return error;
}

API int pyobjmem_get_root(struct pyobjmem *session, uint32_t root, uint64_t *handle)
{
	struct pyobjmem_get_root get = { .size = sizeof(get), .root = root };
	int error = pyobjmem_take(session, PYOBJMEM_GET_ROOT, &get, &get.out_handle);

	if (!error)
		*handle = get.out_handle;
	return error;
}
