// SPDX-License-Identifier: GPL-2.0
/*
 * What one operation on objects consists of: read what it points to, lock, do,
 * unlock. Called by request.c for a single operation, and in parts by batch.c.
 *
 * User memory is touched before the lock is taken and after it is dropped, never
 * in between. A small payload is staged in kernel memory; a large one goes
 * straight into the pages that will be its block.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "call.h"

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
 * @fn is tried again whenever the stash was filled. If memory or a limit is
 * exhausted, garbage is collected, once. What @fn made die is freed when this
 * returns; what others made die is theirs to wait for.
 *
 * Context: may sleep; no lock of ours held.
 * Return: what @fn returned, -ENOTCONN, -EINTR, -ENOMEM or -EDQUOT.
 */
int pom_session_do(struct pom_session *session,
		   int (*fn)(struct pom_session *session, void *data, struct pom_stash *stash),
		   void *data, struct pom_stash *stash)
{
	bool relieved = false, died;
	u32 dying;
	int ret;

	for (;;) {
		ret = pom_session_lock(session);
		if (ret)
			return ret;
		dying = session->heap->dying;
		pom_stash_begin(stash);
		ret = fn(session, data, stash);
		died = session->heap->dying != dying;
		pom_heap_unlock(session->heap);
		if (ret == -EAGAIN) {
			ret = pom_stash_fill(stash);
			if (!ret)
				continue;
		}
		if (relieved || (ret != -ENOMEM && ret != -ENOSPC && ret != -EDQUOT))
			break;
		pom_heap_relieve(session->heap);
		relieved = true;
	}
	if (died)
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
	return ALIGN((u64)cmd->payload_size, 8);
}

/**
 * pom_call_measure - find out how much an operation carries
 * @op: the operation
 * @cmd: its structure, checked
 * @args: staged is set: room for payload, edges and buffer in the kernel, a
 *	multiple of 8; payloads that go into runs need none
 *
 * Return: bytes of payload, edges and buffer.
 */
u64 pom_call_measure(u32 op, const union pyobjmem_command *cmd, struct pom_args *args)
{
	u64 carried;

	switch (op) {
	case PYOBJMEM_OP_CREATE:
		args->staged = payload_staged(&cmd->create);
		if (cmd->create.edges)
			args->staged += (u64)cmd->create.slots * POM_SLOT_BYTES;
		carried = args->staged;
		if (cmd->create.payload && payload_in_run(&cmd->create))
			carried += cmd->create.payload_size;
		return carried;
	case PYOBJMEM_OP_READ:
	case PYOBJMEM_OP_WRITE:
		carried = op == PYOBJMEM_OP_READ ? cmd->read.length : cmd->write.length;
		args->staged = carried > U64_MAX - 7 ? carried : ALIGN(carried, 8);
		return carried;
	default:
		return 0;
	}
}

/**
 * pom_call_stage - copy what an operation points to
 * @op: the operation
 * @cmd: its structure, checked
 * @args: measured; payload and edges are set
 * @buffer: room for what was measured
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
	if (op != PYOBJMEM_OP_CREATE || !args->staged)
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
				   create->slots * POM_SLOT_BYTES))
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

/* Pages for a large block. */
static int run_take(struct pom_heap *heap, enum pom_space_kind kind, u64 bytes,
		    struct pom_pool **run)
{
	struct pom_pool *pool;

	/* What the heap has now may change before the run is placed. */
	if (bytes > (u64)READ_ONCE(heap->pages_limit) << PAGE_SHIFT)
		return -ENOSPC;
	pool = pom_pool_prepare(heap->user, kind, bytes);
	if (IS_ERR(pool))
		return PTR_ERR(pool);
	*run = pool;
	return 0;
}

/* The same; if there is no memory, once more after a collection. */
static int run_prepare(struct pom_session *session, enum pom_space_kind kind, u64 bytes,
		       struct pom_pool **run)
{
	int ret = run_take(session->heap, kind, bytes, run);

	if (ret != -ENOMEM && ret != -EDQUOT)
		return ret;
	pom_heap_relieve(session->heap);
	return run_take(session->heap, kind, bytes, run);
}

/**
 * pom_call_large - prepare the pages of a large CREATE
 * @session: the session
 * @cmd: the command, checked
 * @args: gets the runs, with the payload in them
 *
 * Context: may sleep and fault; no lock of ours held.
 * Return: 0; -EFAULT, -ENOSPC, -EDQUOT, -ENOMEM, -EINTR.
 */
int pom_call_large(struct pom_session *session, const struct pyobjmem_create *cmd,
		   struct pom_args *args)
{
	u64 offset = cmd->flags & PYOBJMEM_CREATE_MUTABLE ? 0 :
		     sizeof(struct pyobjmem_head) + (u64)cmd->slots * sizeof(u64);
	enum pom_space_kind kind = cmd->flags & PYOBJMEM_CREATE_MUTABLE ? POM_DATA : POM_OBJECTS;
	int ret = 0;

	if (!object_is_large(cmd) && !data_is_large(cmd))
		return 0;
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

/* What is in the stash already is kept in the arguments, to be freed with them. */
static void stash_take_runs(struct pom_stash *stash, struct pom_args *args)
{
	unsigned int i;

	for (i = 0; i < POM_SPACES; i++) {
		if (!args->run[i] || !pom_pool_is_run(args->run[i]))
			continue;
		swap(stash->pool[i], args->run[i]);
		stash->filled = true;
	}
}

/**
 * pom_call_locked - do an operation
 * @session: the session
 * @op: the operation
 * @cmd: its structure, checked; out_* are filled in
 * @args: what it points to; NULL for a plain operation
 * @stash: memory to use; NULL for a plain operation
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
	case PYOBJMEM_OP_WEAK:
		return pom_weak_hold(session, &cmd->weak, stash);
	case PYOBJMEM_OP_UPGRADE:
		return pom_weak_upgrade(session, &cmd->upgrade, stash);
	case PYOBJMEM_OP_WEAK_DROP:
		return pom_weak_drop(session, &cmd->weak_drop);
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
 * @created: it is new: nobody has heard of it, so nobody is to finalize it
 *
 * Context: may sleep; no lock of ours held.
 */
void pom_call_undo(struct pom_session *session, u64 handle, bool created)
{
	struct pom_heap *heap = session->heap;

	if (!handle)
		return;
	pom_heap_lock(heap);
	if (!session->ended) {
		if (created)
			pom_watch_cancel(session, handle);
		pom_object_put(session, handle);
	}
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
		pom_call_undo(session, cmd->create.out_handle, true);
	return ret;
}
