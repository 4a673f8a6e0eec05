// SPDX-License-Identifier: GPL-2.0
/*
 * One operation on objects: read what it points to, lock, do, unlock, write what
 * it returns. Called by main.c for a single operation, and in parts by batch.c.
 *
 * User memory is touched before the lock is taken and after it is dropped, never
 * in between. A small payload is staged in kernel memory; a large one goes
 * straight into the pages that will be its block.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "pyobjmem.h"

/**
 * pom_op_check - check flags and reserved members
 * @op: the operation
 * @cmd: its structure
 *
 * Return: 0 or -EOPNOTSUPP.
 */
int pom_op_check(const struct pom_op *op, const void *cmd)
{
	const u32 *flags = cmd + sizeof(u32);
	const u32 *reserved = cmd + op->reserved;

	if (*flags & ~op->flags)
		return -EOPNOTSUPP;
	if (op->reserved && *reserved)
		return -EOPNOTSUPP;
	return 0;
}

/**
 * pom_reply - write the structure of a request back
 * @rq: the request
 *
 * Context: may fault; no lock of ours held.
 * Return: 0 or -EFAULT.
 */
int pom_reply(const struct pom_request *rq)
{
	return copy_to_user(rq->user, &rq->cmd, rq->size) ? -EFAULT : 0;
}

/**
 * pom_session_do - do something under the lock, with the memory it needs
 * @session: the session
 * @fn: what to do; -EAGAIN: @stash is short and nothing has changed
 * @data: for @fn
 * @stash: memory to use, filled as needed
 *
 * If memory or the heap is exhausted, garbage is collected and @fn tried once
 * more. What @fn made die is freed when this returns.
 *
 * Context: may sleep; no lock of ours held.
 * Return: what @fn returned, -ENOTCONN, -EINTR, or -ENOMEM.
 */
int pom_session_do(struct pom_session *session,
		   int (*fn)(struct pom_session *session, void *data, struct pom_stash *stash),
		   void *data, struct pom_stash *stash)
{
	bool relieved = false;
	int ret;

	for (;;) {
		ret = pom_session_lock(session);
		if (ret)
			return ret;
		ret = fn(session, data, stash);
		pom_heap_unlock(session->heap);
		if (ret == -EAGAIN) {
			ret = pom_stash_fill(stash);
			if (!ret)
				continue;
		}
		if (relieved || (ret != -ENOMEM && ret != -ENOSPC))
			break;
		pom_heap_relieve(session->heap);
		relieved = true;
	}
	pom_heap_settle(session->heap);
	return ret;
}

/* --- Before the lock ----------------------------------------------------- */

/**
 * pom_call_check - check what can be checked without the heap
 * @op: one of those that a BATCH can carry
 * @cmd: its structure
 *
 * Return: 0 or an error.
 */
int pom_call_check(u32 op, const union pyobjmem_command *cmd)
{
	const struct pyobjmem_create *create = &cmd->create;
	int ret = pom_op_check(&pom_ops[op], cmd);

	if (ret || op != PYOBJMEM_OP_CREATE)
		return ret;
	if (create->flags & PYOBJMEM_CREATE_FINALIZE)
		return -EOPNOTSUPP;
	if (create->type > U16_MAX)
		return -EINVAL;
	if (create->slots > PYOBJMEM_SLOTS_MAX)
		return -E2BIG;
	return 0;
}

static bool object_is_large(const struct pyobjmem_create *cmd)
{
	return pom_object_bytes(cmd) > POM_CLASS_MAX;
}

static bool data_is_large(const struct pyobjmem_create *cmd)
{
	return pom_object_data_bytes(cmd) > POM_CLASS_MAX;
}

/* Whether the payload is copied into a run of pages rather than staged. */
static bool payload_in_run(const struct pyobjmem_create *cmd)
{
	return cmd->flags & PYOBJMEM_CREATE_MUTABLE ? data_is_large(cmd) : object_is_large(cmd);
}

static u64 payload_staged(const struct pyobjmem_create *cmd)
{
	if (!cmd->payload || payload_in_run(cmd))
		return 0;
	return ALIGN((u64)cmd->payload_size, sizeof(u64));
}

/**
 * pom_call_stage_bytes - bytes that an operation carries
 * @op: the operation
 * @cmd: its structure, checked
 * @bytes: room for them in the kernel, payloads in runs not counted
 *
 * Return: bytes of payload, edges and buffer, all counted, at most INT_MAX.
 */
int pom_call_stage_bytes(u32 op, const union pyobjmem_command *cmd, u64 *bytes)
{
	u64 carried;

	switch (op) {
	case PYOBJMEM_OP_CREATE:
		*bytes = payload_staged(&cmd->create);
		if (cmd->create.edges)
			*bytes += (u64)cmd->create.slots * sizeof(u64);
		carried = *bytes;
		if (cmd->create.payload && payload_in_run(&cmd->create))
			carried += cmd->create.payload_size;
		break;
	case PYOBJMEM_OP_READ:
		carried = cmd->read.length;
		*bytes = carried;
		break;
	case PYOBJMEM_OP_WRITE:
		carried = cmd->write.length;
		*bytes = carried;
		break;
	default:
		carried = 0;
		*bytes = 0;
		break;
	}
	return min_t(u64, carried, INT_MAX);
}

/**
 * pom_call_stage - copy what an operation points to
 * @op: the operation
 * @cmd: its structure, checked
 * @args: payload and edges are set
 * @buffer: room for what pom_call_stage_bytes() said
 *
 * Context: may fault; no lock of ours held.
 * Return: 0 or -EFAULT.
 */
int pom_call_stage(u32 op, const union pyobjmem_command *cmd, struct pom_args *args,
		   void *buffer)
{
	const struct pyobjmem_create *create = &cmd->create;
	u64 payload;

	if (op == PYOBJMEM_OP_READ || op == PYOBJMEM_OP_WRITE) {
		args->payload = buffer;
		if (op == PYOBJMEM_OP_READ)
			return 0;
		return copy_from_user(buffer, u64_to_user_ptr(cmd->write.buffer),
				      cmd->write.length) ? -EFAULT : 0;
	}
	if (op != PYOBJMEM_OP_CREATE)
		return 0;

	payload = payload_staged(create);
	if (payload) {
		args->payload = buffer;
		if (copy_from_user(buffer, u64_to_user_ptr(create->payload),
				   create->payload_size))
			return -EFAULT;
	}
	if (create->edges && create->slots) {
		args->edges = buffer + payload;
		if (copy_from_user(args->edges, u64_to_user_ptr(create->edges),
				   create->slots * sizeof(u64)))
			return -EFAULT;
	}
	return 0;
}

static int run_copy(struct pom_pool *run, u64 offset, const void __user *from, u64 length)
{
	while (length) {
		size_t n = min_t(u64, length, PAGE_SIZE - offset_in_page(offset));
		void *to = run->run[offset >> PAGE_SHIFT] + offset_in_page(offset);

		if (copy_from_user(to, from, n))
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		from += n;
		offset += n;
		length -= n;
		cond_resched();
	}
	return 0;
}

/* Pages for a large block; if there are none, once more after a collection. */
static int run_prepare(struct pom_session *session, enum pom_space_kind kind, u64 bytes,
		       struct pom_pool **run)
{
	struct pom_heap *heap = pom_session_heap(session);
	bool relieved = false;
	int ret;

	if (!heap)
		return -ENOTCONN;
	for (;;) {
		ret = pom_arena_room(&heap->space[kind], DIV_ROUND_UP_ULL(bytes, PAGE_SIZE));
		if (!ret) {
			*run = pom_pool_prepare(kind, bytes);
			if (*run)
				return 0;
			ret = fatal_signal_pending(current) ? -EINTR : -ENOMEM;
		}
		if (relieved || ret == -EINTR)
			return ret;
		pom_heap_relieve(heap);
		relieved = true;
	}
}

/**
 * pom_call_large - prepare the pages of a large CREATE
 * @session: the session
 * @cmd: the command, checked
 * @args: gets the runs, with the payload in them
 *
 * Context: may sleep and fault; no lock of ours held.
 * Return: 0; -EFAULT, -ENOSPC, -ENOMEM, -EINTR, -ENOTCONN.
 */
int pom_call_large(struct pom_session *session, const struct pyobjmem_create *cmd,
		   struct pom_args *args)
{
	u64 offset = cmd->flags & PYOBJMEM_CREATE_MUTABLE ? 0 :
		     sizeof(struct pyobjmem_head) + (u64)cmd->slots * sizeof(u64);
	enum pom_space_kind kind = cmd->flags & PYOBJMEM_CREATE_MUTABLE ? POM_DATA : POM_OBJECTS;
	int ret = 0;

	if (object_is_large(cmd))
		ret = run_prepare(session, POM_OBJECTS, pom_object_bytes(cmd),
				  &args->run[POM_OBJECTS]);
	if (!ret && data_is_large(cmd))
		ret = run_prepare(session, POM_DATA, pom_object_data_bytes(cmd),
				  &args->run[POM_DATA]);
	if (!ret && cmd->payload && payload_in_run(cmd))
		ret = run_copy(args->run[kind], offset, u64_to_user_ptr(cmd->payload),
			       cmd->payload_size);
	return ret;
}

/**
 * pom_args_discard - free the runs that were not used
 * @args: the arguments; payload and edges stay the caller's
 */
void pom_args_discard(struct pom_args *args)
{
	unsigned int i;

	for (i = 0; i < POM_SPACES; i++) {
		pom_pool_discard(args->run[i]);
		args->run[i] = NULL;
	}
}

/* --- Under the lock ------------------------------------------------------ */

static void stash_take_runs(struct pom_stash *stash, struct pom_args *args)
{
	unsigned int i;

	for (i = 0; i < POM_SPACES; i++) {
		if (!args->run[i])
			continue;
		pom_pool_discard(stash->pool[i]);
		stash->pool[i] = args->run[i];
		args->run[i] = NULL;
	}
}

/**
 * pom_call_locked - do an operation
 * @session: the session
 * @op: the operation
 * @cmd: its structure, checked; out_* are filled in
 * @args: what it points to
 * @stash: memory to use
 *
 * Context: heap->lock.
 * Return: 0; -EAGAIN if @stash is short; an error with nothing changed.
 */
int pom_call_locked(struct pom_session *session, u32 op, union pyobjmem_command *cmd,
		    struct pom_args *args, struct pom_stash *stash)
{
	switch (op) {
	case PYOBJMEM_OP_CREATE:
		stash_take_runs(stash, args);
		return pom_object_create(session, &cmd->create, args, stash);
	case PYOBJMEM_OP_GET:
		return pom_object_get(session, cmd->get.handle);
	case PYOBJMEM_OP_PUT:
		return pom_object_put(session, cmd->put.handle);
	case PYOBJMEM_OP_SET_REF:
		return pom_object_set_ref(session, &cmd->set_ref);
	case PYOBJMEM_OP_GET_REF:
		return pom_object_get_ref(session, &cmd->get_ref, stash);
	case PYOBJMEM_OP_READ:
		cmd->read.out_length = 0;
		return pom_object_read(session, &cmd->read, args->payload, cmd->read.offset,
				       cmd->read.length);
	case PYOBJMEM_OP_WRITE:
		cmd->write.out_length = 0;
		return pom_object_write(session, &cmd->write, args->payload,
					cmd->write.offset, cmd->write.length);
	case PYOBJMEM_OP_SET_ROOT:
		return pom_heap_set_root(session, &cmd->set_root);
	case PYOBJMEM_OP_GET_ROOT:
		return pom_heap_get_root(session, &cmd->get_root, stash);
	default:
		return -EOPNOTSUPP;
	}
}

/* An operation, for pom_session_do(). */
struct object_call {
	u32 op;
	union pyobjmem_command *cmd;
	struct pom_args *args;
};

static int object_do(struct pom_session *session, void *data, struct pom_stash *stash)
{
	struct object_call *call = data;

	return pom_call_locked(session, call->op, call->cmd, call->args, stash);
}

/**
 * pom_call_in_slices - whether an operation needs more than one hold of the lock
 * @op: the operation
 * @cmd: its structure
 * @args: what it points to
 *
 * Return: true for a CREATE with many edges.
 */
bool pom_call_in_slices(u32 op, const union pyobjmem_command *cmd, const struct pom_args *args)
{
	return op == PYOBJMEM_OP_CREATE && args->edges && cmd->create.slots > POM_EDGES_AT_ONCE;
}

/* The edges of an object that has many. Another thread may put it meanwhile. */
static int call_link(struct pom_session *session, const struct pyobjmem_create *cmd,
		     const struct pom_args *args)
{
	u32 first, n;
	int ret;

	for (first = 0; first < cmd->slots; first += n) {
		n = min_t(u32, cmd->slots - first, POM_EDGES_AT_ONCE);
		ret = pom_session_lock(session);
		if (ret)
			return ret;
		ret = pom_object_link(session, cmd->out_handle, args->edges, first, n);
		pom_heap_unlock(session->heap);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

/**
 * pom_call_undo - drop the hold that an operation gave
 * @session: the session
 * @handle: the object, or 0
 *
 * Context: may sleep; no lock of ours held.
 */
void pom_call_undo(struct pom_session *session, u64 handle)
{
	struct pom_heap *heap = session->heap;

	if (!handle)
		return;
	pom_heap_lock(heap);
	if (!session->ended)
		pom_object_put(session, handle);
	pom_heap_unlock(heap);
	pom_heap_settle(heap);
}

/**
 * pom_call_run - do an operation, whatever it takes
 * @session: the session
 * @op: the operation
 * @cmd: its structure, checked; out_* are filled in
 * @args: what it points to
 * @stash: memory to use
 *
 * Context: may sleep; no lock of ours held.
 * Return: 0, or an error with nothing changed.
 */
int pom_call_run(struct pom_session *session, u32 op, union pyobjmem_command *cmd,
		 struct pom_args *args, struct pom_stash *stash)
{
	struct object_call call = { .op = op, .cmd = cmd, .args = args };
	int ret;

	ret = pom_session_do(session, object_do, &call, stash);
	if (ret || !pom_call_in_slices(op, cmd, args))
		return ret;
	ret = call_link(session, &cmd->create, args);
	if (ret)
		pom_call_undo(session, cmd->create.out_handle);
	return ret;
}

/* --- Requests ------------------------------------------------------------ */

/* The hold that an operation gave; 0 if it gives none. */
static u64 call_gained(u32 op, const union pyobjmem_command *cmd)
{
	switch (op) {
	case PYOBJMEM_OP_CREATE:
		return cmd->create.out_handle;
	case PYOBJMEM_OP_GET_REF:
		return cmd->get_ref.out_handle;
	case PYOBJMEM_OP_GET_ROOT:
		return cmd->get_root.out_handle;
	default:
		return PYOBJMEM_NONE;
	}
}

/**
 * pom_request_object - an operation on objects, by itself
 * @session: the session
 * @rq: the request: CREATE, GET, PUT, SET_REF, GET_REF, SET_ROOT or GET_ROOT
 *
 * Context: may sleep and fault.
 * Return: 0 or an error.
 */
int pom_request_object(struct pom_session *session, struct pom_request *rq)
{
	union pyobjmem_command *cmd = &rq->cmd.object;
	struct pom_args args = {};
	void *buffer = rq->small;
	struct pom_stash stash;
	u64 bytes;
	int ret;

	ret = pom_call_check(rq->op, cmd);
	if (ret)
		return ret;
	if (!pom_session_heap(session))
		return -ENOTCONN;
	/*
	 * SET_REF and SET_ROOT cannot be undone: see now whether their reply can
	 * be written.
	 */
	if (rq->op == PYOBJMEM_OP_SET_REF || rq->op == PYOBJMEM_OP_SET_ROOT) {
		ret = pom_reply(rq);
		if (ret)
			return ret;
	}

	pom_stash_init(&stash);
	pom_call_stage_bytes(rq->op, cmd, &bytes);
	if (bytes > sizeof(rq->small))
		buffer = kvmalloc(bytes, POM_GFP);
	if (!buffer)
		return -ENOMEM;
	ret = pom_call_stage(rq->op, cmd, &args, buffer);
	if (!ret && rq->op == PYOBJMEM_OP_CREATE)
		ret = pom_call_large(session, &cmd->create, &args);
	if (!ret)
		ret = pom_call_run(session, rq->op, cmd, &args, &stash);
	if (buffer != rq->small)
		kvfree(buffer);
	pom_args_discard(&args);
	pom_stash_drain(&stash);
	if (ret && ret != -ECANCELED)
		return ret;

	if (pom_reply(rq)) {
		pom_call_undo(session, call_gained(rq->op, cmd));
		return -EFAULT;
	}
	return ret;
}

/**
 * pom_request_read - READ
 * @session: the session
 * @rq: the request
 *
 * Context: may sleep and fault.
 * Return: 0 or an error.
 */
int pom_request_read(struct pom_session *session, struct pom_request *rq)
{
	struct pyobjmem_read *cmd = &rq->cmd.object.read;
	void *buffer = rq->small;
	u64 done = 0, piece;
	int ret;

	if (cmd->length > sizeof(rq->small))
		buffer = kmalloc(PAGE_SIZE, GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return -ENOMEM;
	cmd->out_length = 0;
	do {
		piece = min_t(u64, cmd->length - done, PAGE_SIZE);
		ret = pom_session_lock(session);
		if (ret)
			break;
		ret = pom_object_read(session, cmd, buffer, cmd->offset + done, piece);
		pom_heap_unlock(session->heap);
		if (ret)
			break;
		piece = cmd->out_length - done;
		if (copy_to_user(u64_to_user_ptr(cmd->buffer) + done, buffer, piece)) {
			ret = -EFAULT;
			break;
		}
		done += piece;
		cond_resched();
	} while (piece == PAGE_SIZE && done < cmd->length);
	if (buffer != rq->small)
		kfree(buffer);
	return ret ?: pom_reply(rq);
}

/**
 * pom_request_write - WRITE
 * @session: the session
 * @rq: the request
 *
 * Context: may sleep and fault.
 * Return: 0 or an error.
 */
int pom_request_write(struct pom_session *session, struct pom_request *rq)
{
	struct pyobjmem_write *cmd = &rq->cmd.object.write;
	void *buffer = rq->small;
	u64 done = 0, piece;
	int ret;

	if (cmd->length > sizeof(rq->small))
		buffer = kmalloc(PAGE_SIZE, GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return -ENOMEM;
	cmd->out_length = 0;
	ret = pom_reply(rq);
	while (!ret) {
		piece = min_t(u64, cmd->length - done,
			      PAGE_SIZE - offset_in_page(cmd->offset + done));
		if (copy_from_user(buffer, u64_to_user_ptr(cmd->buffer) + done, piece)) {
			ret = -EFAULT;
			break;
		}
		ret = pom_session_lock(session);
		if (ret)
			break;
		ret = pom_object_write(session, cmd, buffer, cmd->offset + done, piece);
		pom_heap_unlock(session->heap);
		done += piece;
		if (done >= cmd->length)
			break;
		cond_resched();
	}
	if (buffer != rq->small)
		kfree(buffer);
	if (ret && !cmd->out_length)
		return ret;
	return pom_reply(rq) ?: ret;
}

/**
 * pom_request_inspect - INSPECT
 * @session: the session
 * @rq: the request
 *
 * Context: may sleep and fault.
 * Return: 0 or an error.
 */
int pom_request_inspect(struct pom_session *session, struct pom_request *rq)
{
	struct pyobjmem_inspect *cmd = &rq->cmd.inspect;
	u32 capacity = cmd->edges ? cmd->capacity : 0;
	u64 __user *to = u64_to_user_ptr(cmd->edges);
	u32 done = 0;
	int n;

	do {
		u32 room = min_t(u32, capacity - done, ARRAY_SIZE(rq->small));

		n = pom_session_lock(session);
		if (n)
			return n;
		n = pom_object_inspect(session, cmd, rq->small, done, room);
		pom_heap_unlock(session->heap);
		if (n < 0)
			return n;
		if (copy_to_user(to + done, rq->small, n * sizeof(u64)))
			return -EFAULT;
		done += n;
		cond_resched();
	} while (n && done < capacity);
	return pom_reply(rq);
}
