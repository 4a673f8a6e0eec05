/* SPDX-License-Identifier: MIT */
/*
 * A batcher, as its two files see it.
 *
 *	queue.c		queueing
 *	batch.c		sending, and what comes of it
 */
#ifndef PYOBJMEM_BATCH_H
#define PYOBJMEM_BATCH_H

#include <stdbool.h>

#include "internal.h"

#define NO_INDEX	(-1)

/* Words for payloads and edges, which begin at full words. */
#define STORE_WORDS	(PYOBJMEM_BATCH_BYTES / 8)

/**
 * struct pending - where the output of a queued operation goes
 * @out: a handle, or struct pyobjmem_extent; NULL if nobody wants it
 * @index: of the operation, NO_INDEX for a put
 * @surplus: takes of what it gained that are more than needed
 * @finalizer: of a CREATE, what is to be called before the object dies; or NULL
 * @data: what it gets
 */
struct pending {
	void *out;
	int index;
	unsigned int surplus;
	pyobjmem_finalizer_fn finalizer;
	void *data;
};

/**
 * struct failure - an operation that failed
 * @index: of the operation
 * @error: its negative errno
 */
struct failure {
	int index;
	int error;
};

/**
 * struct pyobjmem_batcher - a queue of operations, and the results since a flush
 * @session: where they take place
 * @flags: PYOBJMEM_BATCH_CONTINUE or 0
 * @flushed: what follows is about operations that are over
 * @stopped: no more operations but puts
 * @error: the first error
 * @next: index of the next operation
 * @tried: operations with an index below this were tried
 * @failures: those that failed, by index; all others below @tried succeeded
 * @failed: number of @failures
 * @failures_size: for how many there is room
 * @count: entries in the queue
 * @operations: how many of them are operations, not PUTs
 * @gains: how many of them may give a take
 * @finalizers: how many of them make an object with a finalizer
 * @bytes: of their payloads, edges and buffers, as the kernel counts them
 * @stored: words of @store in use
 * @entries: the queue
 * @pending: what belongs to each entry
 * @lent: objects of which the batcher has a hold to put after the operations
 * @lent_count: how many
 * @store: copies of payloads and edges
 */
struct pyobjmem_batcher {
	struct pyobjmem *session;
	uint32_t flags;
	bool flushed;
	bool stopped;
	int error;
	int next;
	int tried;
	struct failure *failures;
	size_t failed;
	size_t failures_size;
	uint32_t count;
	uint32_t operations;
	uint32_t gains;
	uint32_t finalizers;
	size_t bytes;
	size_t stored;
	struct pyobjmem_batch_entry entries[PYOBJMEM_BATCH_MAX];
	struct pending pending[PYOBJMEM_BATCH_MAX];
	uint64_t lent[PYOBJMEM_BATCH_MAX];
	uint32_t lent_count;
	uint64_t store[STORE_WORDS];
};

void pyobjmem_batch_restart(struct pyobjmem_batcher *batcher);
void pyobjmem_batch_send(struct pyobjmem_batcher *batcher);
void pyobjmem_batch_append_put(struct pyobjmem_batcher *batcher, uint64_t handle);

/* What an operation gained: where its handle is, or NULL for other operations. */
static inline const __u64 *pyobjmem_gained(const struct pyobjmem_batch_entry *entry)
{
	switch (entry->op) {
	case PYOBJMEM_OP_CREATE:
		return &entry->command.create.out_handle;
	case PYOBJMEM_OP_GET_REF:
		return &entry->command.get_ref.out_handle;
	case PYOBJMEM_OP_GET_ROOT:
		return &entry->command.get_root.out_handle;
	case PYOBJMEM_OP_UPGRADE:
		return &entry->command.upgrade.handle;
	default:
		return NULL;
	}
}

#endif /* PYOBJMEM_BATCH_H */
