/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every operation of pyobjmem as a function that returns 0 or a negative errno,
 * and as an entry of a batch.
 */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/pyobjmem.h>

#define DEVICE		"/dev/pyobjmem"

static inline __u64 pointer(const void *p)
{
	return (uintptr_t)p;
}

static inline int operate(int fd, unsigned int op, void *command)
{
	return ioctl(fd, _IO(PYOBJMEM_TYPE, op), command) ? -errno : 0;
}

static inline int session_open(void)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int session_query(int fd, struct pyobjmem_query *command)
{
	*command = (struct pyobjmem_query){ .size = sizeof(*command) };
	return operate(fd, PYOBJMEM_OP_QUERY, command);
}

static inline int session_leave(int fd)
{
	struct pyobjmem_leave command = { .size = sizeof(command) };

	return operate(fd, PYOBJMEM_OP_LEAVE, &command);
}

static inline int heap_create(int fd, __u32 flags, __u32 rights, int *heap_fd, __u64 *number)
{
	struct pyobjmem_heap_create command = {
		.size = sizeof(command),
		.flags = flags,
		.rights = rights,
	};
	int rc = operate(fd, PYOBJMEM_OP_HEAP_CREATE, &command);

	if (!rc && heap_fd)
		*heap_fd = command.out_fd;
	if (!rc && number)
		*number = command.out_heap;
	return rc;
}

static inline int heap_join_flags(int fd, int heap_fd, __u32 flags)
{
	struct pyobjmem_heap_join command = {
		.size = sizeof(command),
		.flags = flags,
		.fd = heap_fd,
	};

	return operate(fd, PYOBJMEM_OP_HEAP_JOIN, &command);
}

static inline int heap_join(int fd, int heap_fd)
{
	return heap_join_flags(fd, heap_fd, 0);
}

static inline int heap_configure(int fd, struct pyobjmem_heap_configure *command)
{
	command->size = sizeof(*command);
	return operate(fd, PYOBJMEM_OP_HEAP_CONFIGURE, command);
}

/* Collection by itself: on or off. */
static inline int heap_automatic(int fd, bool on)
{
	struct pyobjmem_heap_configure command = {
		.flags = PYOBJMEM_CONFIGURE_COLLECT,
		.collect = on,
	};

	return heap_configure(fd, &command);
}

static inline int heap_limit_objects(int fd, __u64 objects)
{
	struct pyobjmem_heap_configure command = {
		.flags = PYOBJMEM_CONFIGURE_OBJECTS,
		.objects = objects,
	};

	return heap_configure(fd, &command);
}

static inline int heap_limit_bytes(int fd, __u64 bytes)
{
	struct pyobjmem_heap_configure command = {
		.flags = PYOBJMEM_CONFIGURE_BYTES,
		.bytes = bytes,
	};

	return heap_configure(fd, &command);
}

static inline int heap_stats(int fd, struct pyobjmem_stats *command)
{
	memset(command, 0, sizeof(*command));
	command->size = sizeof(*command);
	return operate(fd, PYOBJMEM_OP_STATS, command);
}

static inline int heap_collect(int fd, __u32 generation, struct pyobjmem_collect *command)
{
	struct pyobjmem_collect unused;

	if (!command)
		command = &unused;
	*command = (struct pyobjmem_collect){ .size = sizeof(*command), .generation = generation };
	return operate(fd, PYOBJMEM_OP_COLLECT, command);
}

static inline int heap_freeze(int fd)
{
	struct pyobjmem_freeze command = { .size = sizeof(command) };

	return operate(fd, PYOBJMEM_OP_FREEZE, &command);
}

static inline int heap_unfreeze(int fd)
{
	struct pyobjmem_unfreeze command = { .size = sizeof(command) };

	return operate(fd, PYOBJMEM_OP_UNFREEZE, &command);
}

/* Weak holds */

static inline int weak_hold(int fd, __u64 handle, __u64 cookie)
{
	struct pyobjmem_weak command = {
		.size = sizeof(command),
		.handle = handle,
		.cookie = cookie,
	};

	return operate(fd, PYOBJMEM_OP_WEAK, &command);
}

static inline int weak_upgrade(int fd, __u64 handle)
{
	struct pyobjmem_upgrade command = { .size = sizeof(command), .handle = handle };

	return operate(fd, PYOBJMEM_OP_UPGRADE, &command);
}

static inline int weak_drop(int fd, __u64 handle, __u64 cookie)
{
	struct pyobjmem_weak_drop command = {
		.size = sizeof(command),
		.handle = handle,
		.cookie = cookie,
	};

	return operate(fd, PYOBJMEM_OP_WEAK_DROP, &command);
}

static inline int root_set(int fd, __u32 root, __u64 handle, __u64 *old)
{
	struct pyobjmem_set_root command = {
		.size = sizeof(command),
		.handle = handle,
		.root = root,
	};
	int rc = operate(fd, PYOBJMEM_OP_SET_ROOT, &command);

	if (!rc && old)
		*old = command.out_old;
	return rc;
}

static inline int root_get(int fd, __u32 root, __u64 *handle)
{
	struct pyobjmem_get_root command = { .size = sizeof(command), .root = root };
	int rc = operate(fd, PYOBJMEM_OP_GET_ROOT, &command);

	if (!rc && handle)
		*handle = command.out_handle;
	return rc;
}

static inline int object_create(int fd, __u32 flags, const void *payload, __u32 payload_size,
				const __u64 *edges, __u32 slots, __u64 *handle)
{
	struct pyobjmem_create command = {
		.size = sizeof(command),
		.flags = flags,
		.payload = pointer(payload),
		.edges = pointer(edges),
		.payload_size = payload_size,
		.slots = slots,
	};
	int rc = operate(fd, PYOBJMEM_OP_CREATE, &command);

	if (!rc && handle)
		*handle = command.out_handle;
	return rc;
}

/* A sealed object of @slots empty slots and eight bytes of zeros. */
static inline int container_create(int fd, __u32 slots, __u64 *handle)
{
	return object_create(fd, 0, NULL, 8, NULL, slots, handle);
}

static inline int object_get(int fd, __u64 handle)
{
	struct pyobjmem_get command = { .size = sizeof(command), .handle = handle };

	return operate(fd, PYOBJMEM_OP_GET, &command);
}

static inline int object_put(int fd, __u64 handle)
{
	struct pyobjmem_put command = { .size = sizeof(command), .handle = handle };

	return operate(fd, PYOBJMEM_OP_PUT, &command);
}

static inline int ref_set(int fd, __u64 handle, __u32 slot, __u64 value, __u64 *old)
{
	struct pyobjmem_set_ref command = {
		.size = sizeof(command),
		.handle = handle,
		.value = value,
		.slot = slot,
	};
	int rc = operate(fd, PYOBJMEM_OP_SET_REF, &command);

	if (!rc && old)
		*old = command.out_old;
	return rc;
}

/* Set a slot only if it names @expected. @old is written on ECANCELED too. */
static inline int ref_compare_set(int fd, __u64 handle, __u32 slot, __u64 expected, __u64 value,
				  __u64 *old)
{
	struct pyobjmem_set_ref command = {
		.size = sizeof(command),
		.flags = PYOBJMEM_SET_REF_COMPARE,
		.handle = handle,
		.value = value,
		.expected = expected,
		.slot = slot,
	};
	int rc = operate(fd, PYOBJMEM_OP_SET_REF, &command);

	if ((!rc || rc == -ECANCELED) && old)
		*old = command.out_old;
	return rc;
}

static inline int ref_get(int fd, __u64 handle, __u32 slot, __u64 *value)
{
	struct pyobjmem_get_ref command = {
		.size = sizeof(command),
		.handle = handle,
		.slot = slot,
	};
	int rc = operate(fd, PYOBJMEM_OP_GET_REF, &command);

	if (!rc && value)
		*value = command.out_handle;
	return rc;
}

/* Returns the bytes read, or a negative errno. */
static inline ssize_t object_read(int fd, __u64 handle, __u64 offset, void *buffer, size_t length)
{
	struct pyobjmem_read command = {
		.size = sizeof(command),
		.handle = handle,
		.buffer = pointer(buffer),
		.offset = offset,
		.length = length,
	};
	int rc = operate(fd, PYOBJMEM_OP_READ, &command);

	return rc ? rc : (ssize_t)command.out_length;
}

/* Returns the bytes written, or a negative errno. */
static inline ssize_t object_write(int fd, __u64 handle, __u64 offset, const void *buffer,
				   size_t length)
{
	struct pyobjmem_write command = {
		.size = sizeof(command),
		.handle = handle,
		.buffer = pointer(buffer),
		.offset = offset,
		.length = length,
	};
	int rc = operate(fd, PYOBJMEM_OP_WRITE, &command);

	return rc ? rc : (ssize_t)command.out_length;
}

static inline int object_inspect(int fd, __u64 handle, struct pyobjmem_inspect *command)
{
	*command = (struct pyobjmem_inspect){ .size = sizeof(*command), .handle = handle };
	return operate(fd, PYOBJMEM_OP_INSPECT, command);
}

static inline int object_edges(int fd, __u64 handle, __u64 *edges, __u32 capacity,
			       struct pyobjmem_inspect *command)
{
	struct pyobjmem_inspect unused;

	if (!command)
		command = &unused;
	*command = (struct pyobjmem_inspect){
		.size = sizeof(*command),
		.handle = handle,
		.edges = pointer(edges),
		.capacity = capacity,
	};
	return operate(fd, PYOBJMEM_OP_INSPECT, command);
}

/* Returns the ticket's descriptor, or a negative errno. */
static inline int object_export(int fd, __u64 handle)
{
	struct pyobjmem_export command = { .size = sizeof(command), .handle = handle };
	int rc = operate(fd, PYOBJMEM_OP_EXPORT, &command);

	return rc ? rc : command.out_fd;
}

static inline int ticket_redeem(int fd, int ticket, __u64 *handle)
{
	struct pyobjmem_redeem command = { .size = sizeof(command), .fd = ticket };
	int rc = operate(fd, PYOBJMEM_OP_REDEEM, &command);

	if (!rc && handle)
		*handle = command.out_handle;
	return rc;
}

static inline int batch_run(int fd, struct pyobjmem_batch_entry *entries, __u32 count, __u32 flags,
			    __u32 *done)
{
	struct pyobjmem_batch command = {
		.size = sizeof(command),
		.flags = flags,
		.entries = pointer(entries),
		.count = count,
		.entry_size = sizeof(*entries),
	};
	int rc = operate(fd, PYOBJMEM_OP_BATCH, &command);

	if (done)
		*done = command.out_done;
	return rc;
}

/* Entries of a batch */

static inline struct pyobjmem_batch_entry entry_create(__u32 flags, const void *payload,
						       __u32 payload_size, __u32 slots)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_CREATE,
		.command.create = {
			.size = sizeof(struct pyobjmem_create),
			.flags = flags,
			.payload = pointer(payload),
			.payload_size = payload_size,
			.slots = slots,
		},
	};
}

static inline struct pyobjmem_batch_entry entry_get(__u64 handle)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_GET,
		.command.get = { .size = sizeof(struct pyobjmem_get), .handle = handle },
	};
}

static inline struct pyobjmem_batch_entry entry_put(__u64 handle)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_PUT,
		.command.put = { .size = sizeof(struct pyobjmem_put), .handle = handle },
	};
}

static inline struct pyobjmem_batch_entry entry_set_ref(__u64 handle, __u32 slot, __u64 value)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_SET_REF,
		.command.set_ref = {
			.size = sizeof(struct pyobjmem_set_ref),
			.handle = handle,
			.value = value,
			.slot = slot,
		},
	};
}

static inline struct pyobjmem_batch_entry entry_get_ref(__u64 handle, __u32 slot)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_GET_REF,
		.command.get_ref = {
			.size = sizeof(struct pyobjmem_get_ref),
			.handle = handle,
			.slot = slot,
		},
	};
}

static inline struct pyobjmem_batch_entry entry_read(__u64 handle, __u64 offset, void *buffer,
						     size_t length)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_READ,
		.command.read = {
			.size = sizeof(struct pyobjmem_read),
			.handle = handle,
			.buffer = pointer(buffer),
			.offset = offset,
			.length = length,
		},
	};
}

static inline struct pyobjmem_batch_entry entry_write(__u64 handle, __u64 offset,
						      const void *buffer, size_t length)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_WRITE,
		.command.write = {
			.size = sizeof(struct pyobjmem_write),
			.handle = handle,
			.buffer = pointer(buffer),
			.offset = offset,
			.length = length,
		},
	};
}

static inline struct pyobjmem_batch_entry entry_set_root(__u32 root, __u64 handle)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_SET_ROOT,
		.command.set_root = {
			.size = sizeof(struct pyobjmem_set_root),
			.handle = handle,
			.root = root,
		},
	};
}

static inline struct pyobjmem_batch_entry entry_get_root(__u32 root)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_GET_ROOT,
		.command.get_root = { .size = sizeof(struct pyobjmem_get_root), .root = root },
	};
}

static inline struct pyobjmem_batch_entry entry_weak(__u64 handle, __u64 cookie)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_WEAK,
		.command.weak = {
			.size = sizeof(struct pyobjmem_weak),
			.handle = handle,
			.cookie = cookie,
		},
	};
}

static inline struct pyobjmem_batch_entry entry_upgrade(__u64 handle)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_UPGRADE,
		.command.upgrade = { .size = sizeof(struct pyobjmem_upgrade), .handle = handle },
	};
}

static inline struct pyobjmem_batch_entry entry_weak_drop(__u64 handle, __u64 cookie)
{
	return (struct pyobjmem_batch_entry){
		.op = PYOBJMEM_OP_WEAK_DROP,
		.command.weak_drop = {
			.size = sizeof(struct pyobjmem_weak_drop),
			.handle = handle,
			.cookie = cookie,
		},
	};
}

#endif /* OPERATIONS_H */
