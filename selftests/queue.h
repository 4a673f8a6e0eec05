/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Many operations in few calls: a queue that is run as a batch whenever it is full,
 * and what tests do with thousands of objects.
 *
 * Include it behind pyobjmem_test.h.
 */
#ifndef QUEUE_H
#define QUEUE_H

#define BATCH		1024

/* Run operations in batches; those that fail are a fault of the test. */
struct queue {
	int session;
	unsigned int count;
	struct pyobjmem_batch_entry entries[BATCH];
};

static inline void queue_flush(struct __test_metadata *_metadata, struct queue *queue)
{
	unsigned int i;

	if (!queue->count)
		return;
	ASSERT_EQ(0, batch_run(queue->session, queue->entries, queue->count, 0, NULL));
	for (i = 0; i < queue->count; i++)
		ASSERT_EQ(0, queue->entries[i].out_result);
	queue->count = 0;
}

static inline void queue_add(struct __test_metadata *_metadata, struct queue *queue,
			     struct pyobjmem_batch_entry entry)
{
	queue->entries[queue->count++] = entry;
	if (queue->count == BATCH)
		queue_flush(_metadata, queue);
}

/* Run the first @count entries, each a CREATE. */
static inline void queue_create(struct __test_metadata *_metadata, struct queue *queue,
				__u64 *handle, unsigned int count)
{
	unsigned int i;

	ASSERT_EQ(0, batch_run(queue->session, queue->entries, count, 0, NULL));
	for (i = 0; i < count; i++) {
		ASSERT_EQ(0, queue->entries[i].out_result);
		handle[i] = queue->entries[i].command.create.out_handle;
	}
}

/* Containers of @slots slots each, @slots[i] for the i-th if that is given. */
static inline void create_many(struct __test_metadata *_metadata, struct queue *queue,
			       __u64 *handle, unsigned int count, const __u32 *slots,
			       __u32 all_slots)
{
	unsigned int done, i, n;

	for (done = 0; done < count; done += n) {
		n = count - done < BATCH ? count - done : BATCH;
		for (i = 0; i < n; i++)
			queue->entries[i] = entry_create(0, NULL, 8,
							 slots ? slots[done + i] : all_slots);
		queue_create(_metadata, queue, handle + done, n);
	}
}

/* Containers of one slot each, which names @edge. */
static inline void create_naming(struct __test_metadata *_metadata, struct queue *queue,
				 __u64 *handle, unsigned int count, __u32 flags,
				 const __u64 *edge)
{
	unsigned int done, i, n;

	for (done = 0; done < count; done += n) {
		n = count - done < BATCH ? count - done : BATCH;
		for (i = 0; i < n; i++) {
			queue->entries[i] = entry_create(flags, NULL, 8, 1);
			queue->entries[i].command.create.edges = pointer(edge);
		}
		queue_create(_metadata, queue, handle + done, n);
	}
}

static inline void put_many(struct __test_metadata *_metadata, struct queue *queue,
			    const __u64 *handle, unsigned int count)
{
	while (count--)
		queue_add(_metadata, queue, entry_put(*handle++));
	queue_flush(_metadata, queue);
}

#endif /* QUEUE_H */
