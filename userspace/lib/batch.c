// SPDX-License-Identifier: MIT
/*
 * Batches: queues of operations are sent, and what comes of it.
 *
 * The takes that operations gain are entered in the session's table when the
 * results are there. Puts go the other way: what is put belongs to the batcher
 * from then on, which gives it back whatever happens. So nothing has to be undone
 * when a batch stops half way, which could not be done: another thread may have
 * put the last of the other holds meanwhile. There are two kinds. The put of the
 * only hold is queued as PUTs of its takes. A hold that others have, too, is lent
 * (internal.h says why) until the operations ahead of it took place.
 */
#include <errno.h>
#include <stdlib.h>

#include "batch.h"

/* --- Results -------------------------------------------------------------- */

/* Begin a new count of operations: what is known about those before is over. */
void pyobjmem_batch_restart(struct pyobjmem_batcher *batcher)
{
	batcher->flushed = false;
	batcher->stopped = false;
	batcher->error = 0;
	batcher->next = 0;
	batcher->tried = 0;
	batcher->failed = 0;
}

static void note_error(struct pyobjmem_batcher *batcher, int error, bool stop)
{
	if (!batcher->error)
		batcher->error = error;
	if (stop)
		batcher->stopped = true;
}

/* Room for all that can fail in one call, so that noting it cannot. */
static int prepare_failures(struct pyobjmem_batcher *batcher)
{
	size_t wanted = batcher->failed;
	struct failure *failures;

	wanted += batcher->flags & PYOBJMEM_BATCH_CONTINUE ? PYOBJMEM_BATCH_MAX : 1;
	if (wanted <= batcher->failures_size)
		return 0;
	wanted *= 2;
	failures = pyobjmem_sys_realloc(batcher->failures, wanted * sizeof(*failures));
	if (!failures)
		return -ENOMEM;
	batcher->failures = failures;
	batcher->failures_size = wanted;
	return 0;
}

/* Hand out what an operation returned that took place, or was not to. */
static void deliver(const struct pyobjmem_batch_entry *entry, void *out)
{
	struct pyobjmem_extent *extent = out;
	uint64_t *handle = out;

	if (!out)
		return;
	switch (entry->op) {
	case PYOBJMEM_OP_SET_REF:
		*handle = entry->command.set_ref.out_old;
		break;
	case PYOBJMEM_OP_SET_ROOT:
		*handle = entry->command.set_root.out_old;
		break;
	case PYOBJMEM_OP_READ:
		extent->length = entry->command.read.out_length;
		extent->payload = entry->command.read.out_payload;
		extent->slots = entry->command.read.out_slots;
		break;
	case PYOBJMEM_OP_WEAK:
		*handle = entry->command.weak.cookie;
		break;
	default:
		*handle = *pyobjmem_gained(entry);
	}
}

/* Enter what entry @i gained. The caller holds the lock. */
static void enter_take(struct pyobjmem_batcher *batcher, uint32_t i, uint64_t handle)
{
	struct pyobjmem *session = batcher->session;
	struct pending *pending = &batcher->pending[i];
	struct pyobjmem_finalizer finalizer = {
		.handle = handle,
		.function = pending->finalizer,
		.data = pending->data,
	};

	pending->surplus = pyobjmem_table_add(&session->table, handle);
	if (finalizer.function)
		pyobjmem_finalizer_enter(session, &finalizer);
}

/* Enter what the first @done entries gained. */
static void enter_takes(struct pyobjmem_batcher *batcher, uint32_t done)
{
	struct pyobjmem *session = batcher->session;
	const __u64 *handle;
	uint32_t i;

	if (!batcher->gains)
		return;
	pthread_mutex_lock(&session->lock);
	for (i = 0; i < done; i++) {
		handle = pyobjmem_gained(&batcher->entries[i]);
		if (handle && !batcher->entries[i].out_result && *handle != PYOBJMEM_NONE)
			enter_take(batcher, i, *handle);
	}
	pyobjmem_map_unreserve(&session->table, batcher->gains);
	pyobjmem_map_unreserve(&session->finalizers, batcher->finalizers);
	pthread_mutex_unlock(&session->lock);
}

/* Give back what was too much of it. */
static void drop_surplus(struct pyobjmem_batcher *batcher, uint32_t done)
{
	uint32_t i;

	for (i = 0; i < done; i++)
		if (batcher->pending[i].surplus)
			pyobjmem_give_back(batcher->session, *pyobjmem_gained(&batcher->entries[i]),
					   batcher->pending[i].surplus);
}

/* What a weak hold that is not to be, or an object that is dead, means for others. */
static void settle_weak(struct pyobjmem_batcher *batcher, struct pyobjmem_batch_entry *entry,
			bool tried)
{
	if (entry->op == PYOBJMEM_OP_WEAK && (!tried || entry->out_result))
		pyobjmem_weak_forget(batcher->session, entry->command.weak.cookie);
	/* The weak hold was there: it has died with its object. */
	if (entry->op == PYOBJMEM_OP_UPGRADE && tried && entry->out_result == -ENOENT)
		entry->out_result = -ESTALE;
}

/* Note how the first @done entries went. */
static void settle(struct pyobjmem_batcher *batcher, uint32_t done)
{
	bool stop = !(batcher->flags & PYOBJMEM_BATCH_CONTINUE);
	struct pyobjmem_batch_entry *entry;
	const struct pending *pending;
	uint32_t i;

	for (i = 0; i < done; i++) {
		entry = &batcher->entries[i];
		pending = &batcher->pending[i];
		settle_weak(batcher, entry, true);
		if (!entry->out_result || entry->out_result == -ECANCELED)
			deliver(entry, pending->out);
		if (pending->index != NO_INDEX)
			batcher->tried = pending->index + 1;
		if (!entry->out_result)
			continue;
		note_error(batcher, entry->out_result, stop);
		if (pending->index == NO_INDEX)
			continue;
		batcher->failures[batcher->failed].index = pending->index;
		batcher->failures[batcher->failed].error = entry->out_result;
		batcher->failed++;
	}
}

/* --- Sending -------------------------------------------------------------- */

/* Have the first @batcher->count entries done. Returns how many were tried. */
static int call(struct pyobjmem_batcher *batcher, uint32_t flags, uint32_t *done)
{
	struct pyobjmem_batch batch = {
		.size = sizeof(batch),
		.flags = flags,
		.entries = pyobjmem_pointer(batcher->entries),
		.count = batcher->count,
		.entry_size = sizeof(batcher->entries[0]),
	};
	int error = pyobjmem_sys_ioctl(batcher->session->fd, PYOBJMEM_BATCH, &batch);

	/*
	 * An error means that nothing took place. (EFAULT could mean that
	 * something did whose results could not be written; but they are
	 * written to memory of the library's, from which they were just read.)
	 */
	*done = error ? 0 : batch.out_done;
	return error;
}

/* Empty the queue, all of whose entries are PUTs. */
static void send_puts(struct pyobjmem_batcher *batcher)
{
	uint32_t i, done;

	if (batcher->count && call(batcher, PYOBJMEM_BATCH_CONTINUE, &done)) {
		/* No memory for a batch? One at a time needs none. */
		for (i = 0; i < batcher->count; i++)
			pyobjmem_give_back(batcher->session,
					   batcher->entries[i].command.put.handle, 1);
	}
	batcher->count = 0;
}

/* Queue a PUT, for which there is room. */
void pyobjmem_batch_append_put(struct pyobjmem_batcher *batcher, uint64_t handle)
{
	uint32_t i = batcher->count++;

	batcher->entries[i] = (struct pyobjmem_batch_entry){ .op = PYOBJMEM_OP_PUT };
	batcher->entries[i].command.put.size = sizeof(struct pyobjmem_put);
	batcher->entries[i].command.put.handle = handle;
	batcher->pending[i] = (struct pending){ .index = NO_INDEX };
}

/* Put what was lent. The queue is empty before and after. */
static void put_lent(struct pyobjmem_batcher *batcher)
{
	struct pyobjmem *session = batcher->session;
	uint32_t i;
	int takes;

	for (i = 0; i < batcher->lent_count; i++) {
		pthread_mutex_lock(&session->lock);
		takes = pyobjmem_table_put_lent(&session->table, batcher->lent[i]);
		pthread_mutex_unlock(&session->lock);
		for (; takes > 0; takes--) {
			if (batcher->count == PYOBJMEM_BATCH_MAX)
				send_puts(batcher);
			pyobjmem_batch_append_put(batcher, batcher->lent[i]);
		}
	}
	batcher->lent_count = 0;
	send_puts(batcher);
}

/* Drop the entries from @first on, but carry out what was put. */
static void finish(struct pyobjmem_batcher *batcher, uint32_t first)
{
	uint32_t i, n = 0;

	for (i = first; i < batcher->count; i++) {
		settle_weak(batcher, &batcher->entries[i], false);
		if (batcher->entries[i].op == PYOBJMEM_OP_PUT)
			batcher->entries[n++] = batcher->entries[i];
	}
	batcher->count = n;
	batcher->operations = 0;
	batcher->gains = 0;
	batcher->finalizers = 0;
	batcher->bytes = 0;
	batcher->stored = 0;
	send_puts(batcher);
	put_lent(batcher);
}

/* Make sure that nothing can go wrong once the operations took place. */
static int prepare(struct pyobjmem_batcher *batcher)
{
	struct pyobjmem *session = batcher->session;
	int error = prepare_failures(batcher);

	if (error || !batcher->gains)
		return error;
	pthread_mutex_lock(&session->lock);
	error = pyobjmem_map_reserve(&session->table, batcher->gains);
	if (!error) {
		error = pyobjmem_map_reserve(&session->finalizers, batcher->finalizers);
		if (error)
			pyobjmem_map_unreserve(&session->table, batcher->gains);
	}
	pthread_mutex_unlock(&session->lock);
	return error;
}

/* Send what is queued. The results are in @batcher afterwards. */
void pyobjmem_batch_send(struct pyobjmem_batcher *batcher)
{
	uint32_t done = 0;
	int error;

	if (!batcher->count)
		return;
	error = prepare(batcher);
	if (!error) {
		error = call(batcher, batcher->flags, &done);
		enter_takes(batcher, done);
		drop_surplus(batcher, done);
	}
	settle(batcher, done);
	if (done < batcher->count) {
		/* Told to stop by neither an operation nor us: a fatal signal. */
		note_error(batcher, error ? error : -EINTR, true);
	}
	finish(batcher, done);
}

API int pyobjmem_batch_flush(struct pyobjmem_batcher *batcher)
{
	int error;

	if (batcher->flushed)
		pyobjmem_batch_restart(batcher);
	pyobjmem_batch_send(batcher);
	batcher->flushed = true;
	error = batcher->error;
	/* Callbacks may use the batcher: they come last. */
	pyobjmem_dispatch_direct(batcher->session, false);
	return error;
}

API int pyobjmem_batch_new(struct pyobjmem *session, uint32_t flags,
			   struct pyobjmem_batcher **out)
{
	struct pyobjmem_batcher *batcher;

	if (flags & ~PYOBJMEM_BATCH_FLAGS)
		return -EOPNOTSUPP;
	batcher = pyobjmem_sys_alloc(sizeof(*batcher));
	if (!batcher)
		return -ENOMEM;
	batcher->session = session;
	batcher->flags = flags;
	*out = batcher;
	return 0;
}

API void pyobjmem_batch_free(struct pyobjmem_batcher *batcher)
{
	struct pyobjmem *session;

	if (!batcher)
		return;
	session = batcher->session;
	finish(batcher, 0);
	free(batcher->failures);
	free(batcher);
	pyobjmem_dispatch_direct(session, false);
}

API int pyobjmem_batch_count(const struct pyobjmem_batcher *batcher)
{
	return batcher->next;
}

API int pyobjmem_batch_result(const struct pyobjmem_batcher *batcher, int index)
{
	size_t low = 0, high = batcher->failed;

	if (index < 0 || index >= batcher->next)
		return -EINVAL;
	if (index >= batcher->tried)
		return -EAGAIN;
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (batcher->failures[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < batcher->failed && batcher->failures[low].index == index)
		return batcher->failures[low].error;
	return 0;
}
