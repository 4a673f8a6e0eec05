// SPDX-License-Identifier: MIT
/*
 * Batches: operations are queued as the entries that the kernel wants, and sent
 * when asked for or when no more fit. Queueing allocates nothing.
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
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define NO_INDEX	(-1)

/* Words for payloads and edges, which begin at full words. */
#define STORE_WORDS	(PYOBJMEM_BATCH_BYTES / 8)

/**
 * struct pending - where the output of a queued operation goes
 * @out: a handle, or struct pyobjmem_extent; NULL if nobody wants it
 * @index: of the operation, NO_INDEX for a put
 * @surplus: takes of what it gained that are more than needed
 */
struct pending {
	void *out;
	int index;
	unsigned int surplus;
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
	size_t bytes;
	size_t stored;
	struct pyobjmem_batch_entry entries[PYOBJMEM_BATCH_MAX];
	struct pending pending[PYOBJMEM_BATCH_MAX];
	uint64_t lent[PYOBJMEM_BATCH_MAX];
	uint32_t lent_count;
	uint64_t store[STORE_WORDS];
};

/* --- Results -------------------------------------------------------------- */

static void restart(struct pyobjmem_batcher *batcher)
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

/* What an operation gained: where its handle is, or NULL for other operations. */
static const __u64 *gained(const struct pyobjmem_batch_entry *entry)
{
	switch (entry->op) {
	case PYOBJMEM_OP_CREATE:
		return &entry->command.create.out_handle;
	case PYOBJMEM_OP_GET_REF:
		return &entry->command.get_ref.out_handle;
	case PYOBJMEM_OP_GET_ROOT:
		return &entry->command.get_root.out_handle;
	default:
		return NULL;
	}
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
	default:
		*handle = *gained(entry);
	}
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
		handle = gained(&batcher->entries[i]);
		if (!handle || batcher->entries[i].out_result || *handle == PYOBJMEM_NONE)
			continue;
		batcher->pending[i].surplus = pyobjmem_table_add(&session->table, *handle);
	}
	pyobjmem_map_unreserve(&session->table, batcher->gains);
	pthread_mutex_unlock(&session->lock);
}

/* Give back what was too much of it. */
static void drop_surplus(struct pyobjmem_batcher *batcher, uint32_t done)
{
	uint32_t i;

	for (i = 0; i < done; i++)
		if (batcher->pending[i].surplus)
			pyobjmem_give_back(batcher->session, *gained(&batcher->entries[i]),
					   batcher->pending[i].surplus);
}

/* Note how the first @done entries went. */
static void settle(struct pyobjmem_batcher *batcher, uint32_t done)
{
	bool stop = !(batcher->flags & PYOBJMEM_BATCH_CONTINUE);
	const struct pyobjmem_batch_entry *entry;
	const struct pending *pending;
	uint32_t i;

	for (i = 0; i < done; i++) {
		entry = &batcher->entries[i];
		pending = &batcher->pending[i];
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
static void append_put(struct pyobjmem_batcher *batcher, uint64_t handle)
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
			append_put(batcher, batcher->lent[i]);
		}
	}
	batcher->lent_count = 0;
	send_puts(batcher);
}

/* Drop the entries from @first on, but carry out what was put. */
static void finish(struct pyobjmem_batcher *batcher, uint32_t first)
{
	uint32_t i, n = 0;

	for (i = first; i < batcher->count; i++)
		if (batcher->entries[i].op == PYOBJMEM_OP_PUT)
			batcher->entries[n++] = batcher->entries[i];
	batcher->count = n;
	batcher->operations = 0;
	batcher->gains = 0;
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
	pthread_mutex_unlock(&session->lock);
	return error;
}

/* Send what is queued. The results are in @batcher afterwards. */
static void send_queue(struct pyobjmem_batcher *batcher)
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
	if (batcher->flushed)
		restart(batcher);
	send_queue(batcher);
	batcher->flushed = true;
	return batcher->error;
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
	if (!batcher)
		return;
	finish(batcher, 0);
	free(batcher->failures);
	free(batcher);
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

/* --- Queueing ------------------------------------------------------------- */

/*
 * Make room for one more operation with @bytes of payload, edges and buffers,
 * rounded up, as some kernels count them, and count them.
 */
static int make_room(struct pyobjmem_batcher *batcher, uint64_t bytes)
{
	if (batcher->flushed)
		restart(batcher);
	if (bytes > PYOBJMEM_BATCH_BYTES)
		return -E2BIG;
	bytes = (bytes + 7) / 8 * 8;
	if (!batcher->stopped && (batcher->count == PYOBJMEM_BATCH_MAX ||
				  bytes > PYOBJMEM_BATCH_BYTES - batcher->bytes))
		send_queue(batcher);
	if (batcher->stopped)
		return batcher->error;
	if (batcher->next == INT_MAX)
		return -EOVERFLOW;
	batcher->bytes += (size_t)bytes;
	return 0;
}

/* Add an operation, for which there is room. Its structure is to be filled in. */
static union pyobjmem_command *append(struct pyobjmem_batcher *batcher, uint32_t op, void *out)
{
	uint32_t i = batcher->count++;

	batcher->entries[i] = (struct pyobjmem_batch_entry){ .op = op };
	batcher->pending[i] = (struct pending){ .out = out, .index = batcher->next };
	batcher->operations++;
	if (gained(&batcher->entries[i]))
		batcher->gains++;
	return &batcher->entries[i].command;
}

/* Copy input of an operation, for which there is room. */
static __u64 keep(struct pyobjmem_batcher *batcher, const void *data, size_t bytes)
{
	void *copy = &batcher->store[batcher->stored];

	if (!data || !bytes)
		return 0;
	memcpy(copy, data, bytes);
	batcher->stored += (bytes + 7) / 8;
	return pyobjmem_pointer(copy);
}

API int pyobjmem_batch_create(struct pyobjmem_batcher *batcher,
			      const struct pyobjmem_object *object, uint64_t *handle)
{
	uint64_t edges = object->edges ? object->slots * sizeof(uint64_t) : 0;
	uint64_t payload = object->payload ? object->payload_size : 0;
	struct pyobjmem_create *create;
	int error = make_room(batcher, payload + edges);

	if (error)
		return error;
	*handle = PYOBJMEM_NONE;
	create = &append(batcher, PYOBJMEM_OP_CREATE, handle)->create;
	create->size = sizeof(*create);
	create->flags = object->flags;
	create->payload = keep(batcher, object->payload, (size_t)payload);
	create->edges = keep(batcher, object->edges, (size_t)edges);
	create->payload_size = object->payload_size;
	create->slots = object->slots;
	create->type = object->type;
	return batcher->next++;
}

API int pyobjmem_batch_put(struct pyobjmem_batcher *batcher, uint64_t handle)
{
	struct pyobjmem *session = batcher->session;
	int takes;

	if (batcher->flushed)
		restart(batcher);
	if (batcher->lent_count == PYOBJMEM_BATCH_MAX)
		send_queue(batcher);
	pthread_mutex_lock(&session->lock);
	if (batcher->operations) {
		takes = pyobjmem_table_lend(&session->table, handle);
		if (!takes)
			batcher->lent[batcher->lent_count++] = handle;
	} else {
		/* Nothing is queued that needs what others hold, too. */
		takes = pyobjmem_table_put(&session->table, handle);
	}
	pthread_mutex_unlock(&session->lock);
	if (takes < 0)
		return takes;
	for (; takes; takes--) {
		if (batcher->count == PYOBJMEM_BATCH_MAX)
			send_queue(batcher);
		append_put(batcher, handle);
	}
	return 0;
}

static int queue_set_ref(struct pyobjmem_batcher *batcher, const struct pyobjmem_set_ref *set,
			 uint64_t *old)
{
	int error = make_room(batcher, 0);

	if (error)
		return error;
	if (old)
		*old = PYOBJMEM_NONE;
	append(batcher, PYOBJMEM_OP_SET_REF, old)->set_ref = *set;
	return batcher->next++;
}

API int pyobjmem_batch_set_ref(struct pyobjmem_batcher *batcher, uint64_t handle, uint32_t slot,
			       uint64_t value, uint64_t *old)
{
	struct pyobjmem_set_ref set = {
		.size = sizeof(set),
		.handle = handle,
		.value = value,
		.slot = slot,
	};

	return queue_set_ref(batcher, &set, old);
}

API int pyobjmem_batch_compare_and_set_ref(struct pyobjmem_batcher *batcher, uint64_t handle,
					   uint32_t slot, uint64_t expected, uint64_t value,
					   uint64_t *old)
{
	struct pyobjmem_set_ref set = {
		.size = sizeof(set),
		.flags = PYOBJMEM_SET_REF_COMPARE,
		.handle = handle,
		.value = value,
		.expected = expected,
		.slot = slot,
	};

	return queue_set_ref(batcher, &set, old);
}

API int pyobjmem_batch_get_ref(struct pyobjmem_batcher *batcher, uint64_t handle, uint32_t slot,
			       uint64_t *value)
{
	struct pyobjmem_get_ref *get;
	int error = make_room(batcher, 0);

	if (error)
		return error;
	*value = PYOBJMEM_NONE;
	get = &append(batcher, PYOBJMEM_OP_GET_REF, value)->get_ref;
	get->size = sizeof(*get);
	get->handle = handle;
	get->slot = slot;
	return batcher->next++;
}

API int pyobjmem_batch_read(struct pyobjmem_batcher *batcher, uint64_t handle, void *buffer,
			    size_t length, uint64_t offset, struct pyobjmem_extent *extent)
{
	struct pyobjmem_read *read;
	int error = make_room(batcher, length);

	if (error)
		return error;
	if (extent)
		*extent = (struct pyobjmem_extent){ 0 };
	read = &append(batcher, PYOBJMEM_OP_READ, extent)->read;
	read->size = sizeof(*read);
	read->handle = handle;
	read->buffer = pyobjmem_pointer(buffer);
	read->offset = offset;
	read->length = length;
	return batcher->next++;
}

API int pyobjmem_batch_write(struct pyobjmem_batcher *batcher, uint64_t handle,
			     const void *buffer, size_t length, uint64_t offset)
{
	struct pyobjmem_write *write;
	int error = make_room(batcher, length);

	if (error)
		return error;
	write = &append(batcher, PYOBJMEM_OP_WRITE, NULL)->write;
	write->size = sizeof(*write);
	write->handle = handle;
	write->buffer = keep(batcher, buffer, length);
	write->offset = offset;
	write->length = length;
	return batcher->next++;
}

API int pyobjmem_batch_set_root(struct pyobjmem_batcher *batcher, uint32_t root,
				uint64_t handle, uint64_t *old)
{
	struct pyobjmem_set_root *set;
	int error = make_room(batcher, 0);

	if (error)
		return error;
	if (old)
		*old = PYOBJMEM_NONE;
	set = &append(batcher, PYOBJMEM_OP_SET_ROOT, old)->set_root;
	set->size = sizeof(*set);
	set->handle = handle;
	set->root = root;
	return batcher->next++;
}

API int pyobjmem_batch_get_root(struct pyobjmem_batcher *batcher, uint32_t root,
				uint64_t *handle)
{
	struct pyobjmem_get_root *get;
	int error = make_room(batcher, 0);

	if (error)
		return error;
	*handle = PYOBJMEM_NONE;
	get = &append(batcher, PYOBJMEM_OP_GET_ROOT, handle)->get_root;
	get->size = sizeof(*get);
	get->root = root;
	return batcher->next++;
}
