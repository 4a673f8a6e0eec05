// SPDX-License-Identifier: GPL-2.0
/*
 * BATCH: many operations in one call. Everything they point to is read before
 * the lock is taken, everything they return is written after it was dropped.
 * The lock is held for at most POM_SLICE visits; an operation counts for
 * BATCH_COST of them, and for what it carries.
 */
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "call.h"

#define BATCH_COST	(POM_SLICE / 64)

/**
 * struct batch - a BATCH under way
 * @cmd: the command
 * @entries: kernel copy of the entries
 * @args: what each of them points to
 * @buffer: staged payloads and edges, room for READ
 * @staged: its size
 * @carries: some operation has a payload, edges or a buffer
 * @stash: memory for all of them
 */
struct batch {
	struct pyobjmem_batch *cmd;
	struct pyobjmem_batch_entry *entries;
	struct pom_args *args;
	void *buffer;
	u64 staged;
	bool carries;
	struct pom_stash stash;
};

/* What copy_struct_from_user() checks, for a structure that is here already. */
static int entry_check_size(const struct pom_op *op, union pyobjmem_command *cmd)
{
	if (cmd->size < op->min_size)
		return -EINVAL;
	/* Of a client that is older than a field */
	if (cmd->size < op->size)
		memset((void *)cmd + cmd->size, 0, op->size - cmd->size); /* never: none grew */
	if (cmd->size > sizeof(*cmd))
		return -E2BIG;
	if (cmd->size > op->size &&
	    memchr_inv((void *)cmd + op->size, 0, cmd->size - op->size))
		return -E2BIG;
	return 0;
}

static int entry_check(struct pyobjmem_batch_entry *entry)
{
	int ret;

	if (entry->op >= PYOBJMEM_OP_COUNT)
		return -ENOTTY;
	entry->op = array_index_nospec(entry->op, PYOBJMEM_OP_COUNT);
	if (!pom_ops[entry->op].batch)
		return -EOPNOTSUPP;
	ret = entry_check_size(&pom_ops[entry->op], &entry->command);
	if (ret)
		return ret;
	return pom_call_check(entry->op, &entry->command);
}

/* Copy the entries; find out what is wrong with them, and how much they carry. */
static int batch_read(struct batch *batch)
{
	struct pyobjmem_batch *cmd = batch->cmd;
	u64 carried = 0;
	u32 i;

	batch->entries = kvmalloc_array(cmd->count, sizeof(*batch->entries), POM_GFP);
	batch->args = kvcalloc(cmd->count, sizeof(*batch->args), POM_GFP);
	if (!batch->entries || !batch->args)
		return -ENOMEM;
	if (copy_from_user(batch->entries, u64_to_user_ptr(cmd->entries),
			   cmd->count * sizeof(*batch->entries)))
		return -EFAULT;

	for (i = 0; i < cmd->count; i++) {
		struct pyobjmem_batch_entry *entry = &batch->entries[i];

		entry->out_result = entry_check(entry);
		if (entry->out_result || !pom_ops[entry->op].carries)
			continue;
		carried += min_t(u64, PYOBJMEM_BATCH_BYTES + 1,
				 pom_call_measure(entry->op, &entry->command, &batch->args[i]));
		if (carried > PYOBJMEM_BATCH_BYTES)
			return -E2BIG;
		batch->staged += batch->args[i].staged;
		batch->carries = true;
	}
	return 0;
}

/* Copy payloads and edges. What is wrong with one operation is its result. */
static int batch_stage(struct pom_session *session, struct batch *batch)
{
	void *buffer;
	u32 i;
	int ret;

	if (batch->staged) {
		batch->buffer = kvmalloc(batch->staged, POM_GFP);
		if (!batch->buffer)
			return -ENOMEM;
	}
	buffer = batch->buffer;
	for (i = 0; i < batch->cmd->count; i++) {
		struct pyobjmem_batch_entry *entry = &batch->entries[i];
		struct pom_args *args = &batch->args[i];

		if (entry->out_result || !pom_ops[entry->op].carries)
			continue;
		ret = pom_call_stage(entry->op, &entry->command, args, buffer);
		if (!ret && entry->op == PYOBJMEM_OP_CREATE)
			ret = pom_call_large(session, &entry->command.create, args);
		if (ret == -EFAULT || ret == -EINTR)
			return ret;
		entry->out_result = ret;
		buffer += args->staged;
	}
	return 0;
}

/* Visits that an operation takes, roughly: what it carries is copied or checked. */
static int batch_cost(const struct pom_heap *heap, const struct pyobjmem_batch_entry *entry,
		      const struct pom_args *args)
{
	int cost = BATCH_COST + args->staged / 64;

	if (entry->op == PYOBJMEM_OP_CREATE)
		cost += pom_gc_owed(&heap->gc, entry->command.create.slots);
	return cost;
}

/*
 * Do one operation. The lock is held, and is held again afterwards unless
 * @locked says that it could not be taken again.
 */
static int batch_one(struct pom_session *session, struct batch *batch, u32 i, int *budget,
		     bool *locked)
{
	struct pyobjmem_batch_entry *entry = &batch->entries[i];
	struct pom_args *args = &batch->args[i];
	struct pom_heap *heap = session->heap;
	u32 dying = heap->dying;
	int ret = -EAGAIN;

	if (entry->out_result)
		return entry->out_result;
	if (!pom_call_in_slices(entry->op, &entry->command, args)) {
		pom_stash_begin(&batch->stash);
		ret = pom_call_locked(session, entry->op, &entry->command, args, &batch->stash);
	}
	*budget -= batch_cost(heap, entry, args);
	if (ret != -EAGAIN && ret != -ENOSPC &&
	    (heap->dying == dying || !pom_cascade_slice(heap, budget)))
		return ret;

	/* It needs memory, or much has died: not under this hold of the lock. */
	pom_heap_unlock(heap);
	if (ret == -EAGAIN || ret == -ENOSPC)
		ret = pom_call_run(session, entry->op, &entry->command, args, &batch->stash);
	else
		pom_heap_settle(heap);
	*budget = POM_SLICE;
	*locked = !pom_session_lock(session);
	return ret;
}

static int batch_run(struct pom_session *session, struct batch *batch)
{
	struct pyobjmem_batch *cmd = batch->cmd;
	int budget = POM_SLICE;
	bool locked = true;
	int ret;
	u32 i;

	ret = pom_session_lock(session);
	if (ret)
		return ret;
	for (i = 0; i < cmd->count && locked; i++) {
		if (budget <= 0) {
			pom_heap_unlock(session->heap);
			cond_resched();
			budget = POM_SLICE;
			locked = !pom_session_lock(session);
			if (!locked)
				break;
		}
		ret = batch_one(session, batch, i, &budget, &locked);
		batch->entries[i].out_result = ret;
		cmd->out_done = i + 1;
		if (ret && !(cmd->flags & PYOBJMEM_BATCH_CONTINUE))
			break;
	}
	if (locked)
		pom_heap_unlock(session->heap);
	return 0;
}

static int batch_write(struct batch *batch, struct pom_request *rq)
{
	struct pyobjmem_batch *cmd = batch->cmd;
	u32 i;

	if (pom_reply(rq))
		return -EFAULT;
	for (i = 0; batch->carries && i < cmd->out_done; i++) {
		struct pyobjmem_batch_entry *entry = &batch->entries[i];

		if (entry->op == PYOBJMEM_OP_READ && !entry->out_result &&
		    copy_to_user(u64_to_user_ptr(entry->command.read.buffer),
				 batch->args[i].payload, entry->command.read.out_length))
			entry->out_result = -EFAULT;
	}
	if (copy_to_user(u64_to_user_ptr(cmd->entries), batch->entries,
			 cmd->out_done * sizeof(*batch->entries)))
		return -EFAULT;
	return 0;
}

static void batch_free(struct batch *batch)
{
	u32 i;

	for (i = 0; batch->carries && i < batch->cmd->count; i++)
		pom_args_discard(&batch->args[i]);
	pom_stash_drain(&batch->stash);
	kvfree(batch->buffer);
	kvfree(batch->args);
	kvfree(batch->entries);
}

/**
 * pom_request_batch - BATCH
 * @session: the session
 * @rq: the request
 *
 * Context: may sleep and fault.
 * Return: 0 or an error.
 */
int pom_request_batch(struct pom_session *session, struct pom_request *rq)
{
	struct batch batch = { .cmd = &rq->cmd.batch };
	int ret;

	pom_stash_init(&batch.stash, session);
	if (!batch.cmd->count || batch.cmd->entry_size != sizeof(struct pyobjmem_batch_entry))
		return -EINVAL;
	if (batch.cmd->count > PYOBJMEM_BATCH_MAX)
		return -E2BIG;
	batch.cmd->out_done = 0;
	ret = pom_reply(rq);
	if (ret)
		return ret;

	ret = batch_read(&batch);
	if (!ret && batch.carries)
		ret = batch_stage(session, &batch);
	if (!ret)
		ret = batch_run(session, &batch);
	if (!ret)
		ret = batch_write(&batch, rq);
	batch_free(&batch);
	return ret;
}
