// SPDX-License-Identifier: GPL-2.0
/*
 * The operations on objects that come by themselves, not in a BATCH: one ioctl
 * each. Called through the table in main.c.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "call.h"

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

/* An operation that may need memory. */
static noinline int request_with_memory(struct pom_session *session, struct pom_request *rq)
{
	union pyobjmem_command *cmd = &rq->cmd.object;
	struct pom_args args = {};
	void *buffer = rq->small;
	struct pom_stash stash;
	int ret;

	pom_call_measure(rq->op, cmd, &args);
	if (args.staged > sizeof(rq->small))
		buffer = kvmalloc(args.staged, POM_GFP);
	if (!buffer)
		return -ENOMEM;
	pom_stash_init(&stash, session);
	ret = pom_call_stage(rq->op, cmd, &args, buffer);
	if (!ret && rq->op == PYOBJMEM_OP_CREATE)
		ret = pom_call_large(session, &cmd->create, &args);
	if (!ret)
		ret = pom_call_run(session, rq->op, cmd, &args, &stash);
	if (buffer != rq->small)
		kvfree(buffer);
	pom_args_discard(&args);
	pom_stash_drain(&stash);
	return ret;
}

/* One that does not. */
static int request_plain(struct pom_session *session, struct pom_request *rq)
{
	struct pom_heap *heap;
	bool died;
	u32 dying;
	int ret;

	ret = pom_session_lock(session);
	if (ret)
		return ret;
	heap = session->heap;
	dying = heap->dying;
	ret = pom_call_locked(session, rq->op, &rq->cmd.object, NULL, NULL);
	died = heap->dying != dying;
	pom_heap_unlock(heap);
	if (died)
		pom_heap_settle(heap);
	return ret;
}

/**
 * pom_request_object - an operation on objects, by itself
 * @session: the session
 * @rq: the request: CREATE, GET, PUT, SET_REF, GET_REF, SET_ROOT, GET_ROOT, WEAK,
 *	UPGRADE or WEAK_DROP
 *
 * Context: may sleep and fault.
 * Return: 0, or one of the errors that the header of the interface lists.
 */
int pom_request_object(struct pom_session *session, struct pom_request *rq)
{
	const struct pom_op *op = &pom_ops[rq->op];
	int ret;

	ret = pom_call_check(rq->op, &rq->cmd.object);
	if (ret)
		return ret;
	if (op->plain) {
		/* SET_REF and SET_ROOT cannot be undone: can their reply be written? */
		ret = op->silent ? 0 : pom_reply(rq);
		if (!ret)
			ret = request_plain(session, rq);
	} else {
		ret = request_with_memory(session, rq);
	}
	if ((ret && ret != -ECANCELED) || op->silent)
		return ret;

	if (pom_reply(rq)) {
		pom_call_undo(session, call_gained(rq->op, &rq->cmd.object),
			      rq->op == PYOBJMEM_OP_CREATE);
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
		buffer = kmalloc(PAGE_SIZE, POM_GFP);
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

static int write_piece(struct pom_session *session, struct pyobjmem_write *cmd, void *buffer,
		       u64 done, u64 length)
{
	int ret = pom_session_lock(session);

	if (ret)
		return ret;
	ret = pom_object_write(session, cmd, buffer, cmd->offset + done, length);
	pom_heap_unlock(session->heap);
	return ret;
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
		buffer = kmalloc(PAGE_SIZE, POM_GFP);
	if (!buffer)
		return -ENOMEM;
	cmd->out_length = 0;
	ret = pom_reply(rq);
	if (!ret)
		ret = write_piece(session, cmd, buffer, 0, 0);
	while (!ret && done < cmd->length) {
		piece = min_t(u64, cmd->length - done,
			      PAGE_SIZE - offset_in_page(cmd->offset + done));
		if (copy_from_user(buffer, u64_to_user_ptr(cmd->buffer) + done, piece)) {
			ret = -EFAULT;
			break;
		}
		ret = write_piece(session, cmd, buffer, done, piece);
		done += piece;
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
