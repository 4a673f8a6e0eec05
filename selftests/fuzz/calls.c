// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>

#include <linux/pyobjmem.h>

#include "actions.h"
#include "calls.h"

#define FIELD(type, member)		sizeof(((struct type){}).member), \
					offsetof(struct type, member)
#define NOWHERE				0, 0

#define COMMON(structure)						\
	{ NULL, P_SESSION, NOWHERE, 0, 0 },				\
	{ "size", P_SIZE, FIELD(structure, size), sizeof(struct structure), 0 }, \
	{ "at", P_PLACE, NOWHERE, 0, 0 },				\
	{ "bits", P_BITS, NOWHERE, 64, 0 },				\
	{ "times", P_TIMES, NOWHERE, 1, 0 },				\
	{ "fail", P_FAIL, NOWHERE, 0, 0 }

#define FLAGS(structure, mask)	{ "flags", P_FLAGS, FIELD(structure, flags), 0, mask }
#define HANDLE_OF(structure)	{ NULL, P_HANDLE, FIELD(structure, handle), 0, 0 }
#define RESERVED(structure)	{ "reserved", P_RESERVED, FIELD(structure, __reserved), 0, 0 }

#define OPERATION(_name, _op, structure)				\
	.name = _name, .op = PYOBJMEM_OP_##_op, .size = sizeof(struct structure)
#define GIVES(kind, structure, member)					\
	.out = kind, .out_offset = offsetof(struct structure, member)
#define ERRORS(...)	.errors = (const int []){ __VA_ARGS__, 0 }
#define NO_ERRORS	.errors = (const int []){ 0 }

#define OBJECT		ENOENT, ESTALE

const char *const module_parameters[] = {
	"user_bytes", "heap_bytes", "heap_objects", "session_holds", "user_sessions", "user_heaps",
	"session_watches",
};

const unsigned int module_parameters_count = ARRAY_LENGTH(module_parameters);

const struct call_kind call_kinds[] = {
	/* Sessions and heaps */
	{
		.name = "open", .act = action_open, .out = SESSION, .weight = 8,
		ERRORS(EDQUOT, ENOMEM, EMFILE, ENFILE),
		.parameters = 2,
		.parameter = {
			{ "keep", P_BELOW, NOWHERE, 0, 2 },
			{ "fail", P_FAIL, NOWHERE, 0, 0 },
		},
	}, {
		OPERATION("query", QUERY, pyobjmem_query), .weight = 4, NO_ERRORS,
		.parameters = V_OWN + 1,
		.parameter = { COMMON(pyobjmem_query), FLAGS(pyobjmem_query, 0) },
	}, {
		OPERATION("heap", HEAP_CREATE, pyobjmem_heap_create), .weight = 8,
		GIVES(DESCRIPTOR, pyobjmem_heap_create, out_fd),
		ERRORS(EALREADY, EDQUOT, EMFILE, ENFILE, ENOMEM),
		.parameters = V_OWN + 2,
		.parameter = {
			COMMON(pyobjmem_heap_create),
			FLAGS(pyobjmem_heap_create, PYOBJMEM_HEAP_FLAGS),
			{ "rights", P_FLAGS, FIELD(pyobjmem_heap_create, rights), 0,
			  PYOBJMEM_RIGHTS },
		},
	}, {
		OPERATION("join", HEAP_JOIN, pyobjmem_heap_join), .weight = 14,
		ERRORS(EALREADY, EBADF),
		.parameters = V_OWN + 2,
		.parameter = {
			COMMON(pyobjmem_heap_join),
			{ NULL, P_DESCRIPTOR, FIELD(pyobjmem_heap_join, fd), 0, 0 },
			FLAGS(pyobjmem_heap_join, PYOBJMEM_JOIN_FLAGS),
		},
	}, {
		OPERATION("leave", LEAVE, pyobjmem_leave), .weight = 4, NO_ERRORS,
		.parameters = V_OWN + 1,
		.parameter = { COMMON(pyobjmem_leave), FLAGS(pyobjmem_leave, 0) },
	}, {
		OPERATION("configure", HEAP_CONFIGURE, pyobjmem_heap_configure), .weight = 10,
		ERRORS(EPERM),
		.parameters = V_OWN + 7,
		.parameter = {
			COMMON(pyobjmem_heap_configure),
			FLAGS(pyobjmem_heap_configure, PYOBJMEM_CONFIGURE_FLAGS),
			{ "bytes", P_LIMIT, FIELD(pyobjmem_heap_configure, bytes), 0, 4096 },
			{ "objects", P_LIMIT, FIELD(pyobjmem_heap_configure, objects), 0, 1 },
			{ "first", P_BELOW, FIELD(pyobjmem_heap_configure, thresholds[0]), 0, 20 },
			{ "second", P_BELOW, FIELD(pyobjmem_heap_configure, thresholds[1]), 0, 4 },
			{ "third", P_BELOW, FIELD(pyobjmem_heap_configure, thresholds[2]), 0, 4 },
			{ "collect", P_BELOW, FIELD(pyobjmem_heap_configure, collect), 0, 2 },
		},
	},
	/* Objects */
	{
		OPERATION("create", CREATE, pyobjmem_create), .weight = 70, .batch = true,
		GIVES(HANDLE, pyobjmem_create, out_handle),
		ERRORS(OBJECT, EOVERFLOW, ENOSPC, EDQUOT, ENOMEM),
		.parameters = V_OWN + 7,
		.parameter = {
			COMMON(pyobjmem_create),
			FLAGS(pyobjmem_create, PYOBJMEM_CREATE_FLAGS),
			{ "slots", P_SLOTS, FIELD(pyobjmem_create, slots), 0, 0 },
			{ "edges", P_EDGES, FIELD(pyobjmem_create, edges), 0, 0 },
			{ "source", P_SOURCE, FIELD(pyobjmem_create, payload), 0, 0 },
			{ "bytes", P_BYTES, FIELD(pyobjmem_create, payload_size), 0, 0 },
			{ "type", P_BELOW, FIELD(pyobjmem_create, type), 0, 65536 },
			RESERVED(pyobjmem_create),
		},
	}, {
		OPERATION("get", GET, pyobjmem_get), .weight = 10, .batch = true,
		ERRORS(OBJECT, EOVERFLOW),
		.parameters = V_OWN + 2,
		.parameter = {
			COMMON(pyobjmem_get), HANDLE_OF(pyobjmem_get), FLAGS(pyobjmem_get, 0),
		},
	}, {
		OPERATION("put", PUT, pyobjmem_put), .weight = 34, .batch = true, ERRORS(OBJECT),
		.parameters = V_OWN + 2,
		.parameter = {
			COMMON(pyobjmem_put), HANDLE_OF(pyobjmem_put), FLAGS(pyobjmem_put, 0),
		},
	}, {
		OPERATION("set_ref", SET_REF, pyobjmem_set_ref), .weight = 36, .batch = true,
		ERRORS(OBJECT, EOVERFLOW, ECANCELED),
		.parameters = V_OWN + 6,
		.parameter = {
			COMMON(pyobjmem_set_ref),
			HANDLE_OF(pyobjmem_set_ref),
			{ NULL, P_VALUE, FIELD(pyobjmem_set_ref, value), 0, 0 },
			{ "slot", P_BELOW, FIELD(pyobjmem_set_ref, slot), 0, 3 },
			FLAGS(pyobjmem_set_ref, PYOBJMEM_SET_REF_FLAGS),
			{ "expected", P_VALUE, FIELD(pyobjmem_set_ref, expected), 0, 0 },
			RESERVED(pyobjmem_set_ref),
		},
	}, {
		OPERATION("get_ref", GET_REF, pyobjmem_get_ref), .weight = 16, .batch = true,
		GIVES(HANDLE, pyobjmem_get_ref, out_handle),
		ERRORS(OBJECT, EOVERFLOW, EDQUOT, ENOMEM),
		.parameters = V_OWN + 4,
		.parameter = {
			COMMON(pyobjmem_get_ref),
			HANDLE_OF(pyobjmem_get_ref),
			{ "slot", P_BELOW, FIELD(pyobjmem_get_ref, slot), 0, 3 },
			FLAGS(pyobjmem_get_ref, 0),
			RESERVED(pyobjmem_get_ref),
		},
	}, {
		OPERATION("read", READ, pyobjmem_read), .weight = 22, .batch = true,
		ERRORS(OBJECT, ENOMEM),
		.parameters = V_OWN + 5,
		.parameter = {
			COMMON(pyobjmem_read),
			HANDLE_OF(pyobjmem_read),
			{ "target", P_TARGET, FIELD(pyobjmem_read, buffer), 0, 0 },
			{ "offset", P_OFFSET, FIELD(pyobjmem_read, offset), 0, 0 },
			{ "length", P_BYTES, FIELD(pyobjmem_read, length), 0, 0 },
			FLAGS(pyobjmem_read, 0),
		},
	}, {
		OPERATION("write", WRITE, pyobjmem_write), .weight = 18, .batch = true,
		ERRORS(OBJECT, EPERM, ENOMEM),
		.parameters = V_OWN + 5,
		.parameter = {
			COMMON(pyobjmem_write),
			HANDLE_OF(pyobjmem_write),
			{ "source", P_SOURCE, FIELD(pyobjmem_write, buffer), 0, 0 },
			{ "offset", P_OFFSET, FIELD(pyobjmem_write, offset), 0, 0 },
			{ "length", P_BYTES, FIELD(pyobjmem_write, length), 0, 0 },
			FLAGS(pyobjmem_write, 0),
		},
	}, {
		OPERATION("set_root", SET_ROOT, pyobjmem_set_root), .weight = 12, .batch = true,
		ERRORS(OBJECT, EOVERFLOW),
		.parameters = V_OWN + 4,
		.parameter = {
			COMMON(pyobjmem_set_root),
			{ NULL, P_VALUE, FIELD(pyobjmem_set_root, handle), 0, 0 },
			{ "root", P_BELOW, FIELD(pyobjmem_set_root, root), 0, 3 },
			FLAGS(pyobjmem_set_root, 0),
			RESERVED(pyobjmem_set_root),
		},
	}, {
		OPERATION("get_root", GET_ROOT, pyobjmem_get_root), .weight = 12, .batch = true,
		GIVES(HANDLE, pyobjmem_get_root, out_handle),
		ERRORS(EOVERFLOW, EDQUOT, ENOMEM),
		.parameters = V_OWN + 3,
		.parameter = {
			COMMON(pyobjmem_get_root),
			{ "root", P_BELOW, FIELD(pyobjmem_get_root, root), 0, 3 },
			FLAGS(pyobjmem_get_root, 0),
			RESERVED(pyobjmem_get_root),
		},
	}, {
		OPERATION("inspect", INSPECT, pyobjmem_inspect), .weight = 8,
		ERRORS(OBJECT, ENOMEM),
		.parameters = V_OWN + 4,
		.parameter = {
			COMMON(pyobjmem_inspect),
			HANDLE_OF(pyobjmem_inspect),
			{ "target", P_TARGET, FIELD(pyobjmem_inspect, edges), 0, 0 },
			{ "capacity", P_SLOTS, FIELD(pyobjmem_inspect, capacity), 0, 0 },
			FLAGS(pyobjmem_inspect, 0),
		},
	}, {
		OPERATION("batch", BATCH, pyobjmem_batch), .weight = 24, ERRORS(ENOMEM),
		.parameters = V_OWN + 6,
		.parameter = {
			COMMON(pyobjmem_batch),
			{ "next", P_NEXT, NOWHERE, 0, 0 },
			FLAGS(pyobjmem_batch, PYOBJMEM_BATCH_FLAGS),
			{ "entries", P_PLACE, FIELD(pyobjmem_batch, entries), 0, 0 },
			{ "count", P_RESERVED, FIELD(pyobjmem_batch, count), 0, 0 },
			{ "entry_size", P_SIZE, FIELD(pyobjmem_batch, entry_size),
			  sizeof(struct pyobjmem_batch_entry), 0 },
			RESERVED(pyobjmem_batch),
		},
	},
	/* Tickets */
	{
		OPERATION("export", EXPORT, pyobjmem_export), .weight = 16,
		GIVES(DESCRIPTOR, pyobjmem_export, out_fd),
		ERRORS(OBJECT, EOVERFLOW, EMFILE, ENFILE, ENOMEM),
		.parameters = V_OWN + 3,
		.parameter = {
			COMMON(pyobjmem_export),
			HANDLE_OF(pyobjmem_export),
			FLAGS(pyobjmem_export, 0),
			RESERVED(pyobjmem_export),
		},
	}, {
		OPERATION("redeem", REDEEM, pyobjmem_redeem), .weight = 18,
		GIVES(HANDLE, pyobjmem_redeem, out_handle),
		ERRORS(EBADF, EXDEV, EOVERFLOW, EDQUOT, ENOMEM),
		.parameters = V_OWN + 3,
		.parameter = {
			COMMON(pyobjmem_redeem),
			{ NULL, P_DESCRIPTOR, FIELD(pyobjmem_redeem, fd), 0, 0 },
			FLAGS(pyobjmem_redeem, 0),
			RESERVED(pyobjmem_redeem),
		},
	},
	/* The collector */
	{
		OPERATION("collect", COLLECT, pyobjmem_collect), .weight = 22, NO_ERRORS,
		.parameters = V_OWN + 3,
		.parameter = {
			COMMON(pyobjmem_collect),
			{ "generation", P_BELOW, FIELD(pyobjmem_collect, generation), 0, 3 },
			FLAGS(pyobjmem_collect, 0),
			RESERVED(pyobjmem_collect),
		},
	}, {
		OPERATION("freeze", FREEZE, pyobjmem_freeze), .weight = 5, ERRORS(EPERM),
		.parameters = V_OWN + 1,
		.parameter = { COMMON(pyobjmem_freeze), FLAGS(pyobjmem_freeze, 0) },
	}, {
		OPERATION("unfreeze", UNFREEZE, pyobjmem_unfreeze), .weight = 4, ERRORS(EPERM),
		.parameters = V_OWN + 1,
		.parameter = { COMMON(pyobjmem_unfreeze), FLAGS(pyobjmem_unfreeze, 0) },
	}, {
		OPERATION("stats", STATS, pyobjmem_stats), .weight = 4, NO_ERRORS,
		.parameters = V_OWN + 1,
		.parameter = { COMMON(pyobjmem_stats), FLAGS(pyobjmem_stats, 0) },
	},
	/* Weak holds and events */
	{
		OPERATION("weak", WEAK, pyobjmem_weak), .weight = 18, .batch = true,
		ERRORS(OBJECT, EALREADY, EDQUOT, ENOMEM),
		.parameters = V_OWN + 3,
		.parameter = {
			COMMON(pyobjmem_weak),
			HANDLE_OF(pyobjmem_weak),
			{ "cookie", P_BELOW, FIELD(pyobjmem_weak, cookie), 0, 3 },
			FLAGS(pyobjmem_weak, 0),
		},
	}, {
		OPERATION("upgrade", UPGRADE, pyobjmem_upgrade), .weight = 14, .batch = true,
		ERRORS(OBJECT, EOVERFLOW, EDQUOT, ENOMEM),
		.parameters = V_OWN + 2,
		.parameter = {
			COMMON(pyobjmem_upgrade),
			HANDLE_OF(pyobjmem_upgrade),
			FLAGS(pyobjmem_upgrade, 0),
		},
	}, {
		OPERATION("weak_drop", WEAK_DROP, pyobjmem_weak_drop), .weight = 8, .batch = true,
		ERRORS(OBJECT),
		.parameters = V_OWN + 3,
		.parameter = {
			COMMON(pyobjmem_weak_drop),
			HANDLE_OF(pyobjmem_weak_drop),
			{ "cookie", P_BELOW, FIELD(pyobjmem_weak_drop, cookie), 0, 3 },
			FLAGS(pyobjmem_weak_drop, 0),
		},
	}, {
		.name = "events", .act = action_events, .out = HANDLE, .weight = 18,
		ERRORS(EBADF, EAGAIN, EOVERFLOW, EDQUOT, ENOMEM),
		.parameters = 3,
		.parameter = {
			{ NULL, P_SESSION, NOWHERE, 0, 0 },
			{ "bytes", P_BYTES, NOWHERE, 0, 0 },
			{ "target", P_TARGET, NOWHERE, 0, 0 },
		},
	},
	/* Calls that are no operations */
	{
		.name = "chain", .act = action_chain, .out = HANDLE, .weight = 10, NO_ERRORS,
		.parameters = 4,
		.parameter = {
			{ NULL, P_SESSION, NOWHERE, 0, 0 },
			{ "length", P_TIMES, NOWHERE, 2, 0 },
			{ "slots", P_BELOW, NOWHERE, 1, 4 },
			{ "ring", P_BELOW, NOWHERE, 0, 2 },
		},
	}, {
		.name = "close", .act = action_close, .weight = 14, ERRORS(EBADF),
		.parameters = 1,
		.parameter = { { NULL, P_DESCRIPTOR, NOWHERE, 0, 0 } },
	}, {
		.name = "end", .act = action_close, .weight = 4, ERRORS(EBADF),
		.parameters = 1,
		.parameter = { { NULL, P_SESSION, NOWHERE, 0, 0 } },
	}, {
		.name = "dup", .act = action_dup, .out = SESSION, .weight = 3,
		ERRORS(EBADF, EMFILE),
		.parameters = 1,
		.parameter = { { NULL, P_SESSION, NOWHERE, 0, 0 } },
	}, {
		.name = "send", .act = action_send, .weight = 8,
		ERRORS(EBADF, EAGAIN, ETOOMANYREFS, ENOMEM, ENOBUFS),
		.parameters = 2,
		.parameter = {
			{ NULL, P_DESCRIPTOR, NOWHERE, 0, 0 },
			{ "queue", P_BELOW, NOWHERE, 0, 2 },
		},
	}, {
		.name = "receive", .act = action_receive, .out = DESCRIPTOR, .weight = 6,
		ERRORS(EAGAIN, EBADF, EMFILE),
		.parameters = 1,
		.parameter = { { "queue", P_BELOW, NOWHERE, 0, 2 } },
	}, {
		.name = "ioctl", .act = action_ioctl, .weight = 3,
		ERRORS(OBJECT, EBADF, EPERM, ENOMEM, EALREADY, EDQUOT),
		.parameters = 3,
		.parameter = {
			{ NULL, P_SESSION, NOWHERE, 0, 0 },
			{ "command", P_COMMAND, NOWHERE, 0, 0 },
			{ "at", P_PLACE, NOWHERE, 0, 0 },
		},
	}, {
		.name = "mmap", .act = action_mmap, .weight = 1, ERRORS(EBADF, ENODEV, EACCES),
		.parameters = 1,
		.parameter = { { NULL, P_SESSION, NOWHERE, 0, 0 } },
	}, {
		.name = "poll", .act = action_poll, .weight = 1, ERRORS(EBADF),
		.parameters = 1,
		.parameter = { { NULL, P_DESCRIPTOR, NOWHERE, 0, 0 } },
	}, {
		.name = "fdinfo", .act = action_fdinfo, .weight = 2, ERRORS(EBADF, ENOENT),
		.parameters = 1,
		.parameter = { { NULL, P_DESCRIPTOR, NOWHERE, 0, 0 } },
	}, {
		.name = "show", .act = action_show, .weight = 4, ERRORS(ENOENT),
		.parameters = 1,
		.parameter = { { "file", P_BELOW, NOWHERE, 0, 4 } },
	}, {
		.name = "protect", .act = action_protect, .weight = 3, ERRORS(ENOMEM),
		.parameters = 1,
		.parameter = { { "protection", P_BELOW, NOWHERE, 0, 4 } },
	}, {
		.name = "drop", .act = action_drop, .weight = 3, NO_ERRORS,
		.parameters = 1,
		.parameter = { { NULL, P_AREA, NOWHERE, 0, 0 } },
	}, {
		.name = "limit", .act = action_limit, .weight = 4, NO_ERRORS,
		.parameters = 2,
		.parameter = {
			{ "which", P_BELOW, NOWHERE, 0, ARRAY_LENGTH(module_parameters) },
			{ "value", P_LIMIT, NOWHERE, 0, 1 },
		},
	}, {
		.name = "descriptors", .act = action_descriptors, .weight = 1, NO_ERRORS,
		.parameters = 1,
		.parameter = { { "most", P_BELOW, NOWHERE, 0, 40 } },
	}, {
		.name = "fork", .act = action_fork, .out = CHILD, .weight = 5,
		ERRORS(EAGAIN, ENOMEM),
		.parameters = 3,
		.parameter = {
			{ "next", P_NEXT, NOWHERE, 0, 0 },
			{ "stay", P_BELOW, NOWHERE, 0, 2 },
			{ "exec", P_BELOW, NOWHERE, 0, 2 },
		},
	}, {
		.name = "kill", .act = action_kill, .weight = 3, ERRORS(ESRCH),
		.parameters = 1,
		.parameter = { { NULL, P_CHILD, NOWHERE, 0, 0 } },
	}, {
		.name = "die", .act = action_die, .weight = 1, NO_ERRORS,
	}, {
		.name = "meet", .act = action_meet, .weight = 6, NO_ERRORS,
	}, {
		.name = "pause", .act = action_pause, .weight = 3, NO_ERRORS,
		.parameters = 1,
		.parameter = { { "us", P_BELOW, NOWHERE, 0, 3000 } },
	},
};

const unsigned int call_kinds_count = ARRAY_LENGTH(call_kinds);

int call_kind_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < call_kinds_count; i++)
		if (!strcmp(call_kinds[i].name, name))
			return i;
	return -1;
}

/* The kind of an operation; NULL for one that is not known */
const struct call_kind *call_kind_of_op(unsigned int op)
{
	unsigned int i;

	for (i = 0; i < call_kinds_count; i++)
		if (!call_kinds[i].act && call_kinds[i].op == op)
			return &call_kinds[i];
	return NULL;
}

/* Errors that the header documents for all operations. */
bool call_may_give(const struct call_kind *kind, int error)
{
	static const int all[] = {
		0, ENOTTY, EINVAL, E2BIG, EOPNOTSUPP, EFAULT, EIO, ENOTCONN, EINTR,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_LENGTH(all); i++)
		if (all[i] == error)
			return true;
	for (i = 0; kind->errors[i]; i++)
		if (kind->errors[i] == error)
			return true;
	return false;
}
