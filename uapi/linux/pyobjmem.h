/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * pyobjmem: reference counted objects shared by processes.
 *
 * A process opens /dev/pyobjmem (a session), creates or joins a heap, and
 * creates objects in it. The kernel holds every reference: what a session
 * holds, what objects name, what the heap's roots name, what travels in a
 * ticket. An object goes when the last one goes; cycles go at COLLECT.
 */
#ifndef _UAPI_LINUX_PYOBJMEM_H
#define _UAPI_LINUX_PYOBJMEM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: General format of the operations
 *
 * Every operation is an ioctl on a file of /dev/pyobjmem whose argument
 * points to a structure that begins with @size and @flags.
 *
 * @size is sizeof() the structure as the caller knows it. A kernel that knows
 * a longer one takes the missing end as zero; a kernel that knows a shorter
 * one accepts the call if the end it does not know is zero. The command
 * numbers are therefore made with _IO() and do not change when a structure
 * grows; this deviates from what Documentation/driver-api/ioctl.rst advises
 * for fixed structures, as iommufd does.
 *
 * Members whose names begin with out_ are written by the kernel and ignored
 * on input. Reserved members must be zero. Pointers are carried in __u64.
 *
 * A handle is a __u64 that names one object of one heap: the low 32 bits are
 * its offset in the object window divided by 8, the high 32 bits the
 * generation of that place, which is never 0. The handle 0 names nothing
 * (PYOBJMEM_NONE). A handle is a name, not a right: an operation may only name
 * objects that the session holds. CREATE, GET_REF, GET_ROOT, REDEEM, UPGRADE and
 * the FINALIZE events that read(2) returns give holds.
 *
 * A session belongs to the address space (mm) that opened it. It ends with
 * that address space (exit, SIGKILL, exec), with its last file descriptor, or
 * by LEAVE, whichever comes first, and all it held is dropped.
 *
 * An ioctl returns 0, or -1 with errno:
 *
 *  - ENOTTY: the operation is not known.
 *  - EINVAL: the structure is shorter than its first version, or a value is
 *    out of its range (a handle of 0 where an object is needed, a slot or
 *    root that does not exist, a descriptor of another kind).
 *  - E2BIG: bytes that this kernel does not know are not zero; or more was
 *    asked for than one call may carry or one object may be.
 *  - EOPNOTSUPP: a flag that is not known, a reserved member that is not
 *    zero, an operation or feature that this version does not offer, or one
 *    that a BATCH cannot carry.
 *  - EFAULT: a pointer cannot be read or written. Nothing has changed, except
 *    for BATCH, whose out_done tells how many operations took place; and unless
 *    the structure itself became unwritable while the operation ran, so that
 *    only the reply of SET_REF, SET_ROOT, WRITE or COLLECT was lost.
 *  - EBADF: a descriptor is not open.
 *  - ENOENT: the session does not hold the object.
 *  - ESTALE: the handle names no living object. Where a heap cannot be mapped
 *    (PYOBJMEM_HEAP_NOMAP), ENOENT is given instead: there, whether an object
 *    lives is told to its holders only.
 *  - EPERM: the object is sealed, or the session lacks the right.
 *  - EXDEV: the descriptor belongs to another heap.
 *  - EIO: the caller's address space is not the session's.
 *  - ENOTCONN: the session has joined no heap, or has ended.
 *  - EALREADY: the session has joined a heap before; it holds the object weakly
 *    with that cookie.
 *  - ECANCELED: SET_REF with PYOBJMEM_SET_REF_COMPARE found another value.
 *  - EMFILE, ENFILE: no descriptor is left to return.
 *  - ENOSPC: a limit of the heap is reached.
 *  - EDQUOT: a limit of the session or of the user is reached.
 *  - ENOMEM: the kernel, or the caller's cgroup, has no memory. This is told
 *    at the operation, never later by a signal.
 *  - EOVERFLOW: a count would come near its end.
 *  - EINTR: a fatal signal arrived before the operation had any effect.
 *
 * One operation takes place wholly or not at all. If the reply of one that
 * gives a hold cannot be written, the hold is dropped again; those of a BATCH
 * whose results cannot be written stay.
 */

/** PYOBJMEM_ABI: revision of this interface, as QUERY reports it. */
#define PYOBJMEM_ABI		1

/** PYOBJMEM_TYPE: the ioctl type byte, with numbers 0x00 to 0x3f. */
#define PYOBJMEM_TYPE		0xBD

/** PYOBJMEM_NONE: the handle that names nothing. */
#define PYOBJMEM_NONE		0

/** PYOBJMEM_ROOTS: number of roots of a heap. */
#define PYOBJMEM_ROOTS		64

/** PYOBJMEM_GENERATIONS: generations that COLLECT knows, 0 the youngest. */
#define PYOBJMEM_GENERATIONS	3

/** PYOBJMEM_SLOTS_MAX: most reference slots that one object may have. */
#define PYOBJMEM_SLOTS_MAX	(1U << 20)

/** PYOBJMEM_BATCH_MAX: most operations that one BATCH may carry. */
#define PYOBJMEM_BATCH_MAX	1024

/** PYOBJMEM_BATCH_BYTES: most bytes of payloads, edges and buffers of one BATCH. */
#define PYOBJMEM_BATCH_BYTES	(1U << 20)

/** PYOBJMEM_DATA_WINDOW: offset of the data window in the file, in bytes. */
#define PYOBJMEM_DATA_WINDOW	(1ULL << 40)

enum {
	PYOBJMEM_OP_QUERY = 0x00,
	PYOBJMEM_OP_HEAP_CREATE,
	PYOBJMEM_OP_HEAP_JOIN,
	PYOBJMEM_OP_LEAVE,
	PYOBJMEM_OP_HEAP_CONFIGURE,
	PYOBJMEM_OP_CREATE,
	PYOBJMEM_OP_GET,
	PYOBJMEM_OP_PUT,
	PYOBJMEM_OP_SET_REF,
	PYOBJMEM_OP_GET_REF,
	PYOBJMEM_OP_READ,
	PYOBJMEM_OP_WRITE,
	PYOBJMEM_OP_SET_ROOT,
	PYOBJMEM_OP_GET_ROOT,
	PYOBJMEM_OP_EXPORT,
	PYOBJMEM_OP_REDEEM,
	PYOBJMEM_OP_WEAK,
	PYOBJMEM_OP_UPGRADE,
	PYOBJMEM_OP_WEAK_DROP,
	PYOBJMEM_OP_COLLECT,
	PYOBJMEM_OP_FREEZE,
	PYOBJMEM_OP_UNFREEZE,
	PYOBJMEM_OP_STATS,
	PYOBJMEM_OP_INSPECT,
	PYOBJMEM_OP_BATCH,
	PYOBJMEM_OP_COUNT,		/* not an operation */
};

/**
 * struct pyobjmem_head - the first 16 bytes of an object in its window
 * @generation: generation of the object; 0 while the block is free
 * @payload: size of the payload in bytes
 * @slots: number of reference slots
 * @type: type tag, the client's
 * @flags: PYOBJMEM_CREATE_* flags of the object
 *
 * The slots follow, a handle each, then the payload of a sealed object, or the
 * offset in the data window (a __u64) of a mutable one.
 */
struct pyobjmem_head {
	__u32 generation;
	__u32 payload;
	__u32 slots;
	__u16 type;
	__u16 flags;
};

/**
 * struct pyobjmem_query - ioctl(PYOBJMEM_QUERY)
 * @size: sizeof(struct pyobjmem_query)
 * @flags: Must be 0
 * @out_abi: PYOBJMEM_ABI of the kernel
 * @out_operations: number of operations known, PYOBJMEM_OP_COUNT of the kernel
 * @out_features: PYOBJMEM_FEATURE_* bits that are offered
 * @out_arena_bytes: size of an arena in bytes
 * @out_pool_bytes: size of a pool in bytes
 * @out_class_step: distance of two size classes in bytes
 * @out_class_max: largest block in a pool, in bytes, head and slots included
 * @out_roots: number of roots of a heap
 * @out_generations: number of generations
 * @out_batch_max: most operations in one BATCH
 * @out_batch_bytes: most bytes that one BATCH may carry
 * @out_slots_max: most slots of one object
 * @__reserved: 0
 * @out_window_bytes: size of a window, the largest heap, in bytes
 * @out_payload_max: largest payload in bytes
 * @out_heap_bytes: bytes that a new heap may have at the most
 * @out_heap_objects: objects that a new heap may have at the most
 * @out_session_holds: objects that a session may hold at the most
 * @out_user_bytes: bytes that one user may take: the blocks of the heaps he
 *	created, what is kept about them, and what his sessions' holds, weak holds
 *	and finalizers take
 * @out_session_watches: weak holds and finalizers that a session may have, with
 *	its events
 *
 * What this kernel is able to do. Needs no heap.
 */
struct pyobjmem_query {
	__u32 size;
	__u32 flags;
	__u32 out_abi;
	__u32 out_operations;
	__aligned_u64 out_features;
	__u32 out_arena_bytes;
	__u32 out_pool_bytes;
	__u32 out_class_step;
	__u32 out_class_max;
	__u32 out_roots;
	__u32 out_generations;
	__u32 out_batch_max;
	__u32 out_batch_bytes;
	__u32 out_slots_max;
	__u32 __reserved;
	__aligned_u64 out_window_bytes;
	__aligned_u64 out_payload_max;
	__aligned_u64 out_heap_bytes;
	__aligned_u64 out_heap_objects;
	__aligned_u64 out_session_holds;
	__aligned_u64 out_user_bytes;
	__aligned_u64 out_session_watches;
};
#define PYOBJMEM_QUERY _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_QUERY)

/* Features, for @out_features */
#define PYOBJMEM_FEATURE_WINDOWS	(1ULL << 0)	/* mmap(2) */
#define PYOBJMEM_FEATURE_WEAK		(1ULL << 1)	/* WEAK, UPGRADE, WEAK_DROP */
#define PYOBJMEM_FEATURE_FINALIZE	(1ULL << 2)	/* finalizers, read(2), poll(2) */
#define PYOBJMEM_FEATURE_URING		(1ULL << 3)	/* IORING_OP_URING_CMD */

/* Rights that a heap descriptor carries */
#define PYOBJMEM_RIGHT_CONFIGURE	(1U << 0)	/* HEAP_CONFIGURE, FREEZE, UNFREEZE */
#define PYOBJMEM_RIGHTS			(PYOBJMEM_RIGHT_CONFIGURE)

/* Flags of HEAP_CREATE */
#define PYOBJMEM_HEAP_NOMAP		(1U << 0)	/* only READ and WRITE reach payloads */
#define PYOBJMEM_HEAP_COLLECTED		(1U << 1)	/* COLLECTED events for the session */
#define PYOBJMEM_HEAP_FLAGS		(PYOBJMEM_HEAP_NOMAP | PYOBJMEM_HEAP_COLLECTED)

/* Flags of HEAP_JOIN */
#define PYOBJMEM_JOIN_FLAGS		(PYOBJMEM_HEAP_COLLECTED)

/**
 * struct pyobjmem_heap_create - ioctl(PYOBJMEM_HEAP_CREATE)
 * @size: sizeof(struct pyobjmem_heap_create)
 * @flags: PYOBJMEM_HEAP_*
 * @rights: PYOBJMEM_RIGHT_* that those who join through the descriptor get
 * @out_fd: descriptor of the heap, close-on-exec
 * @out_heap: number of the heap, the name of its debugfs directory
 *
 * Make a heap, join it with every right, and return a descriptor through
 * which others can join. The heap lives while a session that joined it, a
 * descriptor of it or a ticket of it does.
 *
 * Errors: EALREADY, EDQUOT, EMFILE, ENFILE, ENOMEM, EOPNOTSUPP (@rights).
 */
struct pyobjmem_heap_create {
	__u32 size;
	__u32 flags;
	__u32 rights;
	__s32 out_fd;
	__aligned_u64 out_heap;
};
#define PYOBJMEM_HEAP_CREATE _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_HEAP_CREATE)

/**
 * struct pyobjmem_heap_join - ioctl(PYOBJMEM_HEAP_JOIN)
 * @size: sizeof(struct pyobjmem_heap_join)
 * @flags: PYOBJMEM_HEAP_COLLECTED or 0
 * @fd: descriptor of a heap
 * @out_rights: PYOBJMEM_RIGHT_* that the session has now
 * @out_heap: number of the heap
 *
 * Join a heap, once in the life of a session.
 *
 * Errors: EALREADY, EBADF, EINVAL (@fd is no heap).
 */
struct pyobjmem_heap_join {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 out_rights;
	__aligned_u64 out_heap;
};
#define PYOBJMEM_HEAP_JOIN _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_HEAP_JOIN)

/**
 * struct pyobjmem_leave - ioctl(PYOBJMEM_LEAVE)
 * @size: sizeof(struct pyobjmem_leave)
 * @flags: Must be 0
 *
 * End the session: drop all it holds. Every later operation but QUERY gives
 * ENOTCONN. Returns when the holds are gone.
 */
struct pyobjmem_leave {
	__u32 size;
	__u32 flags;
};
#define PYOBJMEM_LEAVE _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_LEAVE)

/* Which members of HEAP_CONFIGURE are to be set */
#define PYOBJMEM_CONFIGURE_BYTES	(1U << 0)
#define PYOBJMEM_CONFIGURE_OBJECTS	(1U << 1)
#define PYOBJMEM_CONFIGURE_THRESHOLDS	(1U << 2)
#define PYOBJMEM_CONFIGURE_COLLECT	(1U << 3)
#define PYOBJMEM_CONFIGURE_FLAGS	(PYOBJMEM_CONFIGURE_BYTES | \
					 PYOBJMEM_CONFIGURE_OBJECTS | \
					 PYOBJMEM_CONFIGURE_THRESHOLDS | \
					 PYOBJMEM_CONFIGURE_COLLECT)

/**
 * struct pyobjmem_heap_configure - ioctl(PYOBJMEM_HEAP_CONFIGURE)
 * @size: sizeof(struct pyobjmem_heap_configure)
 * @flags: PYOBJMEM_CONFIGURE_*: which of the members to set
 * @bytes: most bytes the heap may take from the system, a multiple of 4096
 * @objects: most objects the heap may have
 * @thresholds: when to collect by itself, as CPython's gc.set_threshold():
 *	[0] containers created less containers freed since the last
 *	collection, [1] collections of generation 0, [2] of generation 1;
 *	[0] of 0 means never
 * @collect: 1 to collect by itself, 0 not to
 *
 * Limits can only be lowered, and not below what is in use (EINVAL). All
 * members are checked before any is set. A heap that collects by itself makes
 * a full collection, too, when many containers lost a reference since the last.
 *
 * Errors: EPERM without PYOBJMEM_RIGHT_CONFIGURE.
 */
struct pyobjmem_heap_configure {
	__u32 size;
	__u32 flags;
	__aligned_u64 bytes;
	__aligned_u64 objects;
	__u32 thresholds[PYOBJMEM_GENERATIONS];
	__u32 collect;
};
#define PYOBJMEM_HEAP_CONFIGURE _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_HEAP_CONFIGURE)

/* Flags of CREATE, and of an object */
#define PYOBJMEM_CREATE_MUTABLE		(1U << 0)	/* WRITE is allowed */
#define PYOBJMEM_CREATE_FINALIZE	(1U << 1)	/* an event before it dies */
#define PYOBJMEM_CREATE_FLAGS		(PYOBJMEM_CREATE_MUTABLE | \
					 PYOBJMEM_CREATE_FINALIZE)

/**
 * struct pyobjmem_create - ioctl(PYOBJMEM_CREATE)
 * @size: sizeof(struct pyobjmem_create)
 * @flags: PYOBJMEM_CREATE_*
 * @payload: pointer to the payload; 0 for one of zeros
 * @edges: pointer to @slots handles, the first values of the slots, each of
 *	an object that the session holds or 0; a pointer of 0 for none
 * @payload_size: size of the payload in bytes
 * @slots: number of reference slots, at most PYOBJMEM_SLOTS_MAX
 * @type: type tag, at most 65535, the client's
 * @__reserved: Must be 0
 * @out_handle: the object, held once
 *
 * Make an object. Without PYOBJMEM_CREATE_MUTABLE its payload never changes.
 * An object with slots is a container: it can be part of a cycle.
 *
 * With PYOBJMEM_CREATE_FINALIZE the object has a finalizer, this session's:
 * before it dies, by its counts or as part of a cycle, the session gets a
 * FINALIZE event, once in the object's life, and with it a hold. Until that is put the
 * object is whole, and so is all that it reaches. The finalizer may make it
 * reachable again. If the session has ended, the object dies without.
 *
 * Errors: E2BIG (payload or slots), EINVAL (@type), ENOENT and ESTALE (an
 * edge), EOVERFLOW, ENOSPC, EDQUOT, ENOMEM.
 */
struct pyobjmem_create {
	__u32 size;
	__u32 flags;
	__aligned_u64 payload;
	__aligned_u64 edges;
	__u32 payload_size;
	__u32 slots;
	__u32 type;
	__u32 __reserved;
	__aligned_u64 out_handle;
};
#define PYOBJMEM_CREATE _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_CREATE)

/**
 * struct pyobjmem_get - ioctl(PYOBJMEM_GET)
 * @size: sizeof(struct pyobjmem_get)
 * @flags: Must be 0
 * @handle: an object that the session holds
 *
 * Take the object once more. However often a session takes an object, the
 * object counts the session once.
 *
 * Errors: EINVAL, ENOENT, ESTALE, EOVERFLOW.
 */
struct pyobjmem_get {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
};
#define PYOBJMEM_GET _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_GET)

/**
 * struct pyobjmem_put - ioctl(PYOBJMEM_PUT)
 * @size: sizeof(struct pyobjmem_put)
 * @flags: Must be 0
 * @handle: an object that the session holds
 *
 * Give back one take. With the last one the hold goes, and with the last
 * reference the object and whatever only it kept alive: that is done when the
 * call returns, unless the caller was killed meanwhile.
 *
 * Errors: EINVAL, ENOENT, ESTALE.
 */
struct pyobjmem_put {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
};
#define PYOBJMEM_PUT _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_PUT)

/* Flags of SET_REF */
#define PYOBJMEM_SET_REF_COMPARE	(1U << 0)	/* only if the slot has @expected */
#define PYOBJMEM_SET_REF_FLAGS		(PYOBJMEM_SET_REF_COMPARE)

/**
 * struct pyobjmem_set_ref - ioctl(PYOBJMEM_SET_REF)
 * @size: sizeof(struct pyobjmem_set_ref)
 * @flags: PYOBJMEM_SET_REF_COMPARE or 0
 * @handle: the object whose slot is set; the session holds it
 * @value: what the slot is to name, held by the session, or 0 for nothing
 * @expected: with PYOBJMEM_SET_REF_COMPARE, what the slot must name now
 * @slot: index of the slot
 * @__reserved: Must be 0
 * @out_old: what the slot named before; with ECANCELED, what it names
 *
 * Set a reference slot. @out_old is a name only: the object may be dead by
 * the time the caller sees it.
 *
 * Errors: EINVAL, ENOENT, ESTALE, EOVERFLOW, ECANCELED.
 */
struct pyobjmem_set_ref {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
	__aligned_u64 value;
	__aligned_u64 expected;
	__u32 slot;
	__u32 __reserved;
	__aligned_u64 out_old;
};
#define PYOBJMEM_SET_REF _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_SET_REF)

/**
 * struct pyobjmem_get_ref - ioctl(PYOBJMEM_GET_REF)
 * @size: sizeof(struct pyobjmem_get_ref)
 * @flags: Must be 0
 * @handle: the object whose slot is read; the session holds it
 * @slot: index of the slot
 * @__reserved: Must be 0
 * @out_handle: what the slot names, taken once; 0 for an empty slot
 *
 * Take what a slot names.
 *
 * Errors: EINVAL, ENOENT, ESTALE, EOVERFLOW, EDQUOT, ENOMEM.
 */
struct pyobjmem_get_ref {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
	__u32 slot;
	__u32 __reserved;
	__aligned_u64 out_handle;
};
#define PYOBJMEM_GET_REF _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_GET_REF)

/**
 * struct pyobjmem_read - ioctl(PYOBJMEM_READ)
 * @size: sizeof(struct pyobjmem_read)
 * @flags: Must be 0
 * @handle: an object that the session holds
 * @buffer: pointer to where the bytes go
 * @offset: first byte of the payload to copy
 * @length: bytes to copy at the most
 * @out_length: bytes copied: @length, or up to the end of the payload
 * @out_payload: size of the payload in bytes
 * @out_slots: number of slots
 *
 * Copy from a payload. More than 4096 bytes are copied piece by piece; a
 * payload that others write meanwhile may be seen half changed.
 *
 * Errors: EINVAL (also an @offset behind the payload), ENOENT, ESTALE,
 * EFAULT, ENOMEM.
 */
struct pyobjmem_read {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
	__aligned_u64 buffer;
	__aligned_u64 offset;
	__aligned_u64 length;
	__aligned_u64 out_length;
	__u32 out_payload;
	__u32 out_slots;
};
#define PYOBJMEM_READ _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_READ)

/**
 * struct pyobjmem_write - ioctl(PYOBJMEM_WRITE)
 * @size: sizeof(struct pyobjmem_write)
 * @flags: Must be 0
 * @handle: a mutable object that the session holds
 * @buffer: pointer to the bytes
 * @offset: first byte of the payload to change
 * @length: bytes to copy
 * @out_length: bytes copied; @length unless the call failed half way
 *
 * Copy into a mutable payload. The copy is atomic for each aligned 4096 bytes
 * of the payload. If the call fails after some of them were written,
 * @out_length tells how many bytes were.
 *
 * Errors: EINVAL (also a range that does not lie in the payload), ENOENT,
 * ESTALE, EPERM (sealed), EFAULT, ENOMEM.
 */
struct pyobjmem_write {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
	__aligned_u64 buffer;
	__aligned_u64 offset;
	__aligned_u64 length;
	__aligned_u64 out_length;
};
#define PYOBJMEM_WRITE _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_WRITE)

/**
 * struct pyobjmem_set_root - ioctl(PYOBJMEM_SET_ROOT)
 * @size: sizeof(struct pyobjmem_set_root)
 * @flags: Must be 0
 * @handle: what the root is to name, held by the session, or 0 for nothing
 * @root: index of the root
 * @__reserved: Must be 0
 * @out_old: what the root named before, a name only
 *
 * Set a root of the heap.
 *
 * Errors: EINVAL, ENOENT, ESTALE, EOVERFLOW.
 */
struct pyobjmem_set_root {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
	__u32 root;
	__u32 __reserved;
	__aligned_u64 out_old;
};
#define PYOBJMEM_SET_ROOT _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_SET_ROOT)

/**
 * struct pyobjmem_get_root - ioctl(PYOBJMEM_GET_ROOT)
 * @size: sizeof(struct pyobjmem_get_root)
 * @flags: Must be 0
 * @root: index of the root
 * @__reserved: Must be 0
 * @out_handle: what the root names, taken once; 0 for an empty root
 *
 * Take what a root names.
 *
 * Errors: EINVAL, EOVERFLOW, EDQUOT, ENOMEM.
 */
struct pyobjmem_get_root {
	__u32 size;
	__u32 flags;
	__u32 root;
	__u32 __reserved;
	__aligned_u64 out_handle;
};
#define PYOBJMEM_GET_ROOT _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_GET_ROOT)

/**
 * struct pyobjmem_export - ioctl(PYOBJMEM_EXPORT)
 * @size: sizeof(struct pyobjmem_export)
 * @flags: Must be 0
 * @handle: an object that the session holds
 * @out_fd: a ticket: a descriptor that keeps the object alive, close-on-exec
 * @__reserved: Must be 0
 *
 * Make a ticket, to be sent to another process (SCM_RIGHTS). The object and
 * its heap stay while the ticket is open somewhere or in flight.
 *
 * Errors: EINVAL, ENOENT, ESTALE, EOVERFLOW, EMFILE, ENFILE, ENOMEM.
 */
struct pyobjmem_export {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
	__s32 out_fd;
	__u32 __reserved;
};
#define PYOBJMEM_EXPORT _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_EXPORT)

/**
 * struct pyobjmem_redeem - ioctl(PYOBJMEM_REDEEM)
 * @size: sizeof(struct pyobjmem_redeem)
 * @flags: Must be 0
 * @fd: a ticket; it stays open and can be redeemed again
 * @__reserved: Must be 0
 * @out_handle: the object, taken once
 *
 * Take the object of a ticket.
 *
 * Errors: EBADF, EINVAL (@fd is no ticket), EXDEV, EOVERFLOW, EDQUOT, ENOMEM.
 */
struct pyobjmem_redeem {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 __reserved;
	__aligned_u64 out_handle;
};
#define PYOBJMEM_REDEEM _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_REDEEM)

/**
 * struct pyobjmem_weak - ioctl(PYOBJMEM_WEAK)
 * @size: sizeof(struct pyobjmem_weak)
 * @flags: Must be 0
 * @handle: an object that the session holds
 * @cookie: any number; the WEAK_DEAD event carries it
 *
 * Hold an object weakly: that does not keep it alive, but UPGRADE can take it as
 * long as it lives, and when it dies the session gets a WEAK_DEAD event. A session
 * may hold an object weakly several times, each with a cookie of its own. Weak
 * holds die after the object's finalizer, if it has one that can run, and
 * only if that has not made it reachable again.
 *
 * Errors: EINVAL, ENOENT, ESTALE, EALREADY (that cookie), EDQUOT, ENOMEM.
 */
struct pyobjmem_weak {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
	__aligned_u64 cookie;
};
#define PYOBJMEM_WEAK _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_WEAK)

/**
 * struct pyobjmem_upgrade - ioctl(PYOBJMEM_UPGRADE)
 * @size: sizeof(struct pyobjmem_upgrade)
 * @flags: Must be 0
 * @handle: an object that the session holds weakly; it is taken once
 *
 * Turn a weak hold into a hold. The weak hold stays. From the moment on at which
 * the object begins to die, or a collection has found it dead, it is ESTALE.
 *
 * Errors: EINVAL, ENOENT (not held weakly), ESTALE, EOVERFLOW, EDQUOT, ENOMEM.
 */
struct pyobjmem_upgrade {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
};
#define PYOBJMEM_UPGRADE _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_UPGRADE)

/**
 * struct pyobjmem_weak_drop - ioctl(PYOBJMEM_WEAK_DROP)
 * @size: sizeof(struct pyobjmem_weak_drop)
 * @flags: Must be 0
 * @handle: an object that the session holds weakly
 * @cookie: the cookie of that weak hold
 *
 * Drop a weak hold; no event comes of it. If the object has died, the event may
 * be there already: it stays.
 *
 * Errors: EINVAL, ENOENT, ESTALE.
 */
struct pyobjmem_weak_drop {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
	__aligned_u64 cookie;
};
#define PYOBJMEM_WEAK_DROP _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_WEAK_DROP)

/* Types of events */
#define PYOBJMEM_EVENT_FINALIZE		1	/* @handle is due, and held now */
#define PYOBJMEM_EVENT_WEAK_DEAD	2	/* @handle is dead */
#define PYOBJMEM_EVENT_COLLECTED	3	/* a collection has come to its end */

/**
 * struct pyobjmem_event - what read(2) on a session returns
 * @size: bytes of this event, a multiple of 8: where the next one begins
 * @type: PYOBJMEM_EVENT_*; others may come, to be skipped
 * @handle: FINALIZE: an object of this session's, taken once, to be put when
 *	its finalizer has run; WEAK_DEAD: an object that was held weakly, a name only
 * @cookie: WEAK_DEAD: that of the weak hold
 * @generation: COLLECTED: oldest generation that was collected
 * @__reserved: 0
 * @collected: COLLECTED: objects that were found in dead cycles and freed
 * @finalizers: COLLECTED: FINALIZE events that were queued
 * @lost: COLLECTED: how many such events were lost before this one, because
 *	nobody read them in time; the last PYOBJMEM_EVENTS_COLLECTED are kept
 *
 * read(2) returns as many whole events as there are and as fit. If there are
 * none it waits, or fails with EAGAIN if the file is O_NONBLOCK; it returns 0
 * when the session has ended. poll(2) tells EPOLLIN when there is an event,
 * EPOLLHUP when the session has ended, EPOLLERR to other address spaces and
 * before the session has joined a heap.
 *
 * Memory for FINALIZE and WEAK_DEAD is taken when the object is created and when
 * it is held weakly: none of them is ever lost. They come in the order in which
 * they happened, those of the weak holds of one object by cookie; COLLECTED comes
 * behind those of its collection. COLLECTED comes
 * to sessions that joined with PYOBJMEM_HEAP_COLLECTED.
 *
 * Errors: EINVAL (a buffer with room for no event), EAGAIN, EINTR, EIO, ENOTCONN
 * (the session has joined no heap), EFAULT, and ENOMEM, EDQUOT or EOVERFLOW for the
 * hold of a FINALIZE event: such an event stays, and so does one whose buffer
 * cannot be written.
 */
struct pyobjmem_event {
	__u32 size;
	__u32 type;
	__aligned_u64 handle;
	__aligned_u64 cookie;
	__u32 generation;
	__u32 __reserved;
	__aligned_u64 collected;
	__aligned_u64 finalizers;
	__aligned_u64 lost;
};

/** PYOBJMEM_EVENTS_COLLECTED: COLLECTED events that are kept until they are read. */
#define PYOBJMEM_EVENTS_COLLECTED	16

/**
 * struct pyobjmem_collect - ioctl(PYOBJMEM_COLLECT)
 * @size: sizeof(struct pyobjmem_collect)
 * @flags: Must be 0
 * @generation: oldest generation to collect, 0 to 2
 * @__reserved: Must be 0
 * @out_visited: objects that were looked at
 * @out_collected: objects that were found in dead cycles and freed
 * @out_finalizers: FINALIZE events queued
 * @out_survivors: objects looked at that live
 * @out_slices: pieces into which the work was cut
 * @out_longest_ns: time of the longest piece, in ns: the heap's lock is held
 *	for it
 * @out_duration_ns: time from begin to end, in ns
 *
 * Free the cycles that nothing outside of them refers to. Whoever runs the
 * collection, out_* describe one that began after the call did.
 *
 * Errors: EINVAL, EINTR: a collection that has begun is finished by the
 * kernel.
 */
struct pyobjmem_collect {
	__u32 size;
	__u32 flags;
	__u32 generation;
	__u32 __reserved;
	__aligned_u64 out_visited;
	__aligned_u64 out_collected;
	__aligned_u64 out_finalizers;
	__aligned_u64 out_survivors;
	__aligned_u64 out_slices;
	__aligned_u64 out_longest_ns;
	__aligned_u64 out_duration_ns;
};
#define PYOBJMEM_COLLECT _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_COLLECT)

/**
 * struct pyobjmem_freeze - ioctl(PYOBJMEM_FREEZE)
 * @size: sizeof(struct pyobjmem_freeze)
 * @flags: Must be 0
 *
 * Move all objects that live now out of the collector's way, into the
 * permanent generation. Their counts go on working.
 *
 * Errors: EPERM without PYOBJMEM_RIGHT_CONFIGURE.
 */
struct pyobjmem_freeze {
	__u32 size;
	__u32 flags;
};
#define PYOBJMEM_FREEZE _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_FREEZE)

/**
 * struct pyobjmem_unfreeze - ioctl(PYOBJMEM_UNFREEZE)
 * @size: sizeof(struct pyobjmem_unfreeze)
 * @flags: Must be 0
 *
 * Move the permanent generation back into generation 2.
 *
 * Errors: EPERM without PYOBJMEM_RIGHT_CONFIGURE.
 */
struct pyobjmem_unfreeze {
	__u32 size;
	__u32 flags;
};
#define PYOBJMEM_UNFREEZE _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_UNFREEZE)

/**
 * struct pyobjmem_gc_stats - what the collector has done in one generation
 * @collections: collections of this generation
 * @collected: objects they freed
 * @finalizers: FINALIZE events they queued
 * @containers: objects with slots that are of this generation now
 * @count: as CPython's gc.get_count()
 * @threshold: as CPython's gc.get_threshold()
 */
struct pyobjmem_gc_stats {
	__aligned_u64 collections;
	__aligned_u64 collected;
	__aligned_u64 finalizers;
	__aligned_u64 containers;
	__u32 count;
	__u32 threshold;
};

/**
 * struct pyobjmem_stats - ioctl(PYOBJMEM_STATS)
 * @size: sizeof(struct pyobjmem_stats)
 * @flags: Must be 0
 * @out_heap: number of the heap
 * @out_objects: objects that live
 * @out_created: objects ever created
 * @out_freed_counted: objects freed by their counts
 * @out_freed_collected: objects freed by the collector
 * @out_arenas: arenas that have pages
 * @out_arena_bytes: bytes of those arenas, @out_arenas times 256 KB:
 *	the sum of the next four
 * @out_used_bytes: bytes of blocks in use
 * @out_free_bytes: bytes of free blocks in pools
 * @out_unused_bytes: bytes of pools without a page
 * @out_slack_bytes: bytes that no block can use (the end of a pool, the end of
 *	the last page of a large block)
 * @out_page_bytes: bytes taken from the system for blocks
 * @out_bytes_limit: most bytes the heap may take
 * @out_objects_limit: most objects the heap may have
 * @out_sessions: sessions joined
 * @out_tickets: tickets open or in flight
 * @out_candidates: objects that lost a reference since they were looked at:
 *	a full collection begins with those that are not permanent
 * @out_permanent: objects with slots in the permanent generation
 * @out_slices: pieces into which all collections were cut
 * @out_longest_ns: longest of them in ns
 * @out_collect_ns: time of all collections in ns
 * @out_weak: weak holds of all sessions
 * @out_finalizers: finalizers that have not run, of all sessions
 * @out_finalizers_abandoned: finalizers that will never run because their
 *	session ended before they were delivered
 * @out_holds: objects that this session holds
 * @out_holds_limit: objects that this session may hold
 * @out_watches: weak holds and finalizers of this session, with its events
 * @out_watches_limit: how many of them it may have
 * @out_events: FINALIZE and WEAK_DEAD events that wait to be read
 * @out_gc: per generation, the youngest first
 *
 * Counters of the heap and of the session. Taken at one moment.
 */
struct pyobjmem_stats {
	__u32 size;
	__u32 flags;
	__aligned_u64 out_heap;
	__aligned_u64 out_objects;
	__aligned_u64 out_created;
	__aligned_u64 out_freed_counted;
	__aligned_u64 out_freed_collected;
	__aligned_u64 out_arenas;
	__aligned_u64 out_arena_bytes;
	__aligned_u64 out_used_bytes;
	__aligned_u64 out_free_bytes;
	__aligned_u64 out_unused_bytes;
	__aligned_u64 out_slack_bytes;
	__aligned_u64 out_page_bytes;
	__aligned_u64 out_bytes_limit;
	__aligned_u64 out_objects_limit;
	__aligned_u64 out_sessions;
	__aligned_u64 out_tickets;
	__aligned_u64 out_candidates;
	__aligned_u64 out_permanent;
	__aligned_u64 out_slices;
	__aligned_u64 out_longest_ns;
	__aligned_u64 out_collect_ns;
	__aligned_u64 out_weak;
	__aligned_u64 out_finalizers;
	__aligned_u64 out_finalizers_abandoned;
	__aligned_u64 out_holds;
	__aligned_u64 out_holds_limit;
	__aligned_u64 out_watches;
	__aligned_u64 out_watches_limit;
	__aligned_u64 out_events;
	struct pyobjmem_gc_stats out_gc[PYOBJMEM_GENERATIONS];
};
#define PYOBJMEM_STATS _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_STATS)

/**
 * struct pyobjmem_inspect - ioctl(PYOBJMEM_INSPECT)
 * @size: sizeof(struct pyobjmem_inspect)
 * @flags: Must be 0
 * @handle: an object that the session holds
 * @edges: pointer to room for @capacity handles, or 0
 * @capacity: handles that fit at @edges
 * @out_slots: number of slots; the first min(@capacity, @out_slots) of them,
 *	empty ones as 0, are written to @edges
 * @out_payload: size of the payload in bytes
 * @out_type: type tag
 * @out_flags: PYOBJMEM_CREATE_* flags of the object, and PYOBJMEM_INSPECT_*
 * @out_external: sessions, roots, tickets and FINALIZE events that refer to the
 *	object
 * @out_internal: slots that name the object
 * @out_takes: how often this session has taken it
 * @out_generation: generation of the collector that it is in: 0 to 2, or 3 for
 *	the permanent one
 * @out_weak: weak holds of the object, of all sessions, counted up to
 *	PYOBJMEM_INSPECT_WEAK_MAX
 *
 * Look at one object. The handles written to @edges are names only.
 *
 * Errors: EINVAL, ENOENT, ESTALE, EFAULT, ENOMEM.
 */
struct pyobjmem_inspect {
	__u32 size;
	__u32 flags;
	__aligned_u64 handle;
	__aligned_u64 edges;
	__u32 capacity;
	__u32 out_slots;
	__u32 out_payload;
	__u32 out_type;
	__u32 out_flags;
	__u32 out_external;
	__u32 out_internal;
	__u32 out_takes;
	__u32 out_generation;
	__u32 out_weak;
};
#define PYOBJMEM_INSPECT _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_INSPECT)

/* Flags of INSPECT, besides those of CREATE */
#define PYOBJMEM_INSPECT_FINALIZED	(1U << 16)	/* its finalizer has run, or never will */

/** PYOBJMEM_INSPECT_WEAK_MAX: INSPECT does not count more weak holds than that. */
#define PYOBJMEM_INSPECT_WEAK_MAX	256

/**
 * union pyobjmem_command - an operation inside a BATCH
 * @size: the first member of each of the structures
 * @create: PYOBJMEM_OP_CREATE
 * @get: PYOBJMEM_OP_GET
 * @put: PYOBJMEM_OP_PUT
 * @set_ref: PYOBJMEM_OP_SET_REF
 * @get_ref: PYOBJMEM_OP_GET_REF
 * @read: PYOBJMEM_OP_READ
 * @write: PYOBJMEM_OP_WRITE
 * @set_root: PYOBJMEM_OP_SET_ROOT
 * @get_root: PYOBJMEM_OP_GET_ROOT
 * @weak: PYOBJMEM_OP_WEAK
 * @upgrade: PYOBJMEM_OP_UPGRADE
 * @weak_drop: PYOBJMEM_OP_WEAK_DROP
 * @raw: the whole as words
 */
union pyobjmem_command {
	__u32 size;
	struct pyobjmem_create create;
	struct pyobjmem_get get;
	struct pyobjmem_put put;
	struct pyobjmem_set_ref set_ref;
	struct pyobjmem_get_ref get_ref;
	struct pyobjmem_read read;
	struct pyobjmem_write write;
	struct pyobjmem_set_root set_root;
	struct pyobjmem_get_root get_root;
	struct pyobjmem_weak weak;
	struct pyobjmem_upgrade upgrade;
	struct pyobjmem_weak_drop weak_drop;
	__aligned_u64 raw[7];
};

/**
 * struct pyobjmem_batch_entry - one operation of a BATCH
 * @op: PYOBJMEM_OP_CREATE, _GET, _PUT, _SET_REF, _GET_REF, _READ, _WRITE,
 *	_SET_ROOT, _GET_ROOT, _WEAK, _UPGRADE or _WEAK_DROP
 * @out_result: 0 or a negative errno
 * @command: its structure, @size and all; out_* are filled in if it took place
 */
struct pyobjmem_batch_entry {
	__u32 op;
	__s32 out_result;
	union pyobjmem_command command;
};

/* Flags of BATCH */
#define PYOBJMEM_BATCH_CONTINUE		(1U << 0)	/* go on after an error */
#define PYOBJMEM_BATCH_FLAGS		(PYOBJMEM_BATCH_CONTINUE)

/**
 * struct pyobjmem_batch - ioctl(PYOBJMEM_BATCH)
 * @size: sizeof(struct pyobjmem_batch)
 * @flags: PYOBJMEM_BATCH_CONTINUE or 0
 * @entries: pointer to @count entries
 * @count: number of operations, at most PYOBJMEM_BATCH_MAX
 * @entry_size: sizeof(struct pyobjmem_batch_entry)
 * @out_done: operations that were tried; those took place whose result is 0
 * @__reserved: Must be 0
 *
 * Several operations in one call, in their order; others may come in between.
 * It stops at the first that fails, unless told to go on. The call succeeds
 * whenever the operations were tried: their results tell the rest, and those
 * behind @out_done were not tried. The payloads, edges and buffers of all
 * operations may have PYOBJMEM_BATCH_BYTES together (E2BIG).
 *
 * All structures, payloads and edges are read before the first operation takes
 * place: a bad pointer among them is EFAULT with @out_done 0, and nothing
 * has changed. Afterwards @out_done is written first, then the results; an
 * EFAULT with another @out_done means that results could not be written. A
 * READ whose buffer cannot be written has the result -EFAULT. The memory of
 * large objects, too, is taken before the first operation takes place.
 *
 * Errors: EINVAL (@count of 0, @entry_size), E2BIG (@count too), EFAULT, ENOMEM,
 * EINTR with @out_done 0. A fatal signal later on stops it.
 */
struct pyobjmem_batch {
	__u32 size;
	__u32 flags;
	__aligned_u64 entries;
	__u32 count;
	__u32 entry_size;
	__u32 out_done;
	__u32 __reserved;
};
#define PYOBJMEM_BATCH _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_BATCH)

#endif /* _UAPI_LINUX_PYOBJMEM_H */
