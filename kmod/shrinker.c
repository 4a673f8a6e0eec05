// SPDX-License-Identifier: GPL-2.0
/*
 * When the system is short of memory: heaps give back their empty pools, and those
 * that may have garbage collect. Owns the list of heaps. Called by the kernel's
 * reclaim, and by heap.c when a heap comes and goes.
 *
 * Reclaim comes out of any allocation, those of ours included. So no lock is waited
 * for here: a heap that is busy is left for the next time. Nothing is allocated under
 * these locks, so those who wait for them elsewhere do not wait for memory.
 *
 * A heap leaves the list before anything of it goes, under pom_heaps_lock; so what is
 * on the list while that is held stays, used or not. Nobody becomes a user of it here.
 *
 * The shrinker is not told of the limits of cgroups: pom_heap_relieve() is for those.
 */
#include "pyobjmem.h"

/* Candidates for which a page is hoped for. It is a guess, to be called at all. */
#define CANDIDATES_A_PAGE	64

static LIST_HEAD(pom_heaps);
static DEFINE_MUTEX(pom_heaps_lock);
static struct shrinker *pom_shrinker;

static u64 heap_empty(const struct pom_heap *heap)
{
	return heap->space[POM_OBJECTS].empty + heap->space[POM_DATA].empty;
}

static unsigned long heap_guess(const struct pom_heap *heap)
{
	/* It is not locked, and may be at work. */
	return data_race(heap_empty(heap) +
			 DIV_ROUND_UP(pom_gc_worth(&heap->gc), CANDIDATES_A_PAGE));
}

/**
 * pom_shrinker_count - guess how many pages heaps could give back
 *
 * Context: any in which one may sleep; nothing is waited for.
 * Return: pages.
 */
unsigned long pom_shrinker_count(void)
{
	const struct pom_heap *heap;
	unsigned long pages = 0;

	if (!mutex_trylock(&pom_heaps_lock))
		return 0;
	list_for_each_entry(heap, &pom_heaps, node)
		pages += heap_guess(heap);
	mutex_unlock(&pom_heaps_lock);
	return pages;
}

/* Return: pages that a heap gave back. */
static unsigned long heap_shrink(struct pom_heap *heap)
{
	unsigned long pages;

	if (!mutex_trylock(&heap->lock))
		return 0;
	pages = heap_empty(heap);
	pom_pool_trim(heap);
	pom_gc_press(heap);
	pom_heap_unlock(heap);
	return pages;
}

/**
 * pom_shrinker_scan - let heaps give back pages, and collect
 * @pages: how many are wanted; what a collection frees comes later
 *
 * Context: any in which one may sleep; nothing is waited for.
 * Return: pages given back.
 */
unsigned long pom_shrinker_scan(unsigned long pages)
{
	struct pom_heap *heap, *last;
	unsigned long freed = 0;

	if (!mutex_trylock(&pom_heaps_lock))
		return 0;
	last = list_empty(&pom_heaps) ? NULL : list_last_entry(&pom_heaps, struct pom_heap, node);
	for (heap = NULL; freed < pages && heap != last;) {
		/* To the end: it is another's turn the next time. */
		heap = list_first_entry(&pom_heaps, struct pom_heap, node);
		list_move_tail(&heap->node, &pom_heaps);
		freed += heap_shrink(heap);
	}
	mutex_unlock(&pom_heaps_lock);
	return freed;
}

/**
 * pom_shrinker_add - a heap can give back memory from now on
 * @heap: the heap, complete
 *
 * Context: may sleep; no lock of ours held.
 */
void pom_shrinker_add(struct pom_heap *heap)
{
	mutex_lock(&pom_heaps_lock);
	list_add_tail(&heap->node, &pom_heaps);
	mutex_unlock(&pom_heaps_lock);
}

/**
 * pom_shrinker_remove - a heap is going to be destroyed
 * @heap: the heap: nobody is at it here any more, and no work is queued from here
 *
 * Context: may sleep; no lock of ours held.
 */
void pom_shrinker_remove(struct pom_heap *heap)
{
	mutex_lock(&pom_heaps_lock);
	list_del(&heap->node);
	mutex_unlock(&pom_heaps_lock);
}

static unsigned long shrinker_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	return pom_shrinker_count();
}

static unsigned long shrinker_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	return pom_shrinker_scan(sc->nr_to_scan) ?: SHRINK_STOP;
}

/**
 * pom_shrinker_init - let the kernel ask for memory
 *
 * Return: 0 or -ENOMEM.
 */
int __init pom_shrinker_init(void)
{
	pom_shrinker = pom_shrinker_register("pyobjmem", shrinker_count, shrinker_scan);
	return pom_shrinker ? 0 : -ENOMEM;
}

/**
 * pom_shrinker_exit - it asks no more
 */
void pom_shrinker_exit(void)
{
	pom_shrinker_unregister(pom_shrinker);
}
