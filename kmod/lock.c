// SPDX-License-Identifier: GPL-2.0
/*
 * The lock of a heap, and what waits until it is dropped: pools to free, and
 * the objects that have died, which are freed a slice at a time.
 */
#include <linux/sched/signal.h>

#include "pyobjmem.h"

/**
 * pom_heap_lock - lock a heap
 * @heap: the heap
 */
void pom_heap_lock(struct pom_heap *heap)
{
	mutex_lock(&heap->lock);
}

/**
 * pom_heap_lock_killable - lock a heap for an operation
 * @heap: the heap
 *
 * Return: 0, or -EINTR if the caller was killed.
 */
int pom_heap_lock_killable(struct pom_heap *heap)
{
	/* A free lock is taken even by the dead: long operations must end. */
	if (fatal_signal_pending(current))
		return -EINTR;
	return mutex_lock_killable(&heap->lock) ? -EINTR : 0;
}

/**
 * pom_heap_unlock - unlock a heap, free the pools that were given back
 * @heap: the heap
 */
void pom_heap_unlock(struct pom_heap *heap)
{
	struct pom_pool *pool, *next;
	LIST_HEAD(pools);

	if (list_empty(&heap->reap)) {
		mutex_unlock(&heap->lock);
		return;
	}
	list_splice_init(&heap->reap, &pools);
	mutex_unlock(&heap->lock);
	list_for_each_entry_safe(pool, next, &pools, node)
		pom_pool_discard(pool);
}

/**
 * pom_heap_settle - free all that has died
 * @heap: the heap
 *
 * Context: may sleep; heap->lock must not be held. If the caller is killed, a
 * worker goes on.
 */
void pom_heap_settle(struct pom_heap *heap)
{
	bool more = pom_heap_unsettled(heap);
	int budget;

	while (more) {
		if (fatal_signal_pending(current)) {
			queue_work(heap->wq, &heap->settle);
			return;
		}
		budget = POM_SLICE;
		pom_heap_lock(heap);
		more = pom_cascade_slice(heap, &budget);
		pom_heap_unlock(heap);
		cond_resched();
	}
}
