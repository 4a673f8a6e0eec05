// SPDX-License-Identifier: GPL-2.0
/*
 * Who collects, and when: begins collections, cuts them into slices, and ends them;
 * FREEZE and UNFREEZE. What a collection does is in collect.c. Called by the
 * operations, by CREATE, and by the heap's worker, all without heap->lock but for
 * pom_collect_help().
 *
 * Whoever asks for a collection works on it; if he is killed, the heap's worker
 * finishes. A client that creates much meanwhile works on it, too. A renumbering of the
 * dates of birth (epoch.c) is cut into slices the same way, and runs beside no collection.
 *
 * Generations are ranges of the birth epoch. Thresholds, counts and the 25 % rule are
 * CPython's, Modules/gcmodule.c; many candidates start a full collection besides:
 * see candidate.c.
 */
#include <linux/ktime.h>
#include <linux/sched/signal.h>

#include "pyobjmem.h"

/* Behind what brought it to its end, which is part of how long it took. */
static void collection_ended(struct pom_heap *heap, u64 now)
{
	struct pom_gc *gc = &heap->gc;

	gc->run.duration_ns = now - gc->run.began_ns;
	gc->total_ns += gc->run.duration_ns;
	pom_gc_ended(gc);
	pom_verify_debug(heap);
}

/* One hold of the lock. */
static void collection_slice(struct pom_heap *heap)
{
	struct pom_gc *gc = &heap->gc;
	u64 began = ktime_get_ns(), now;

	pom_collection_work(heap, POM_SLICE);
	now = ktime_get_ns();
	gc->run.slices++;
	gc->run.longest_ns = max(gc->run.longest_ns, now - began);
	gc->slices++;
	gc->longest_ns = max(gc->longest_ns, now - began);
	if (gc->phase == POM_IDLE)
		collection_ended(heap, now);
}

/*
 * A slice, of a renumbering too, after which the lock is dropped: what it let go of is
 * freed before the next one.
 */
static void collection_step(struct pom_heap *heap)
{
	if (heap->gc.phase == POM_RENUMBER)
		pom_renumber_slice(heap, POM_SLICE);
	else
		collection_slice(heap);
	pom_heap_unlock(heap);
	pom_heap_settle(heap);
	cond_resched();
}

/*
 * The same of a caller who may be killed: then the worker goes on.
 * Return: 0 with the lock held, or -EINTR without it.
 */
static int collection_step_killable(struct pom_heap *heap)
{
	collection_step(heap);
	if (fatal_signal_pending(current)) {
		queue_work(heap->wq, &heap->collect);
		return -EINTR;
	}
	pom_heap_lock(heap);
	return 0;
}

static void collection_start(struct pom_heap *heap, u32 g)
{
	struct pom_gc *gc = &heap->gc;
	u32 i;

	pom_epoch_advance(heap);
	gc->lo = gc->bound[g];
	gc->hi = gc->epoch;
	gc->bound[0] = gc->hi;
	gc->moved = gc->live[0];
	gc->live[0] = 0;
	if (g) {
		gc->bound[1] = gc->hi;
		gc->moved += gc->live[1];
		gc->live[1] = 0;
	}
	gc->live[g ? 2 : 1] += gc->moved;

	for (i = 0; i <= g; i++) {
		gc->count[i] = 0;
		pom_list_splice(heap, &gc->cand[i], &gc->work);
	}
	if (g + 1 < PYOBJMEM_GENERATIONS)
		gc->count[g + 1]++;
	else
		gc->pressure = false;

	gc->run = (struct pom_gc_run) {
		.number = gc->run.number + 1,
		.generation = g,
		.lived = gc->live[0] + gc->live[1] + gc->live[2],
		.began_ns = ktime_get_ns(),
	};
	gc->finalizable = false;
	gc->closed = true;
	gc->outside = 0;
	gc->phase = POM_TRACE;
}

/* Begin a collection, or first the renumbering without which it cannot begin. */
static void collection_begin(struct pom_heap *heap, u32 g)
{
	if (pom_epoch_ended(heap))
		pom_renumber_start(heap);
	else
		collection_start(heap, g);
}

/* Work on what runs until it is done. The lock is dropped meanwhile. */
static void collection_finish(struct pom_heap *heap)
{
	while (heap->gc.phase != POM_IDLE) {
		collection_step(heap);
		pom_heap_lock(heap);
	}
}

/**
 * pom_collect - collect, or see to it that somebody has
 * @heap: the heap
 * @generation: oldest generation, 0 to 2
 * @run: what a collection did that began after the call; may be NULL
 *
 * Several callers work on the same collection. One that had begun before is
 * finished first; of several that wait, the first begins the next one, and the
 * others share it if it is of their generation. A renumbering serves nobody.
 *
 * Context: may sleep; heap->lock must not be held.
 * Return: 0, or -EINTR: then the worker finishes what has begun.
 */
int pom_collect(struct pom_heap *heap, u32 generation, struct pom_gc_run *run)
{
	struct pom_gc *gc = &heap->gc;
	u64 before;
	int ret;

	ret = pom_heap_lock_killable(heap);
	if (ret)
		return ret;
	before = gc->run.number;
	for (;;) {
		if (gc->phase == POM_IDLE) {
			if (gc->run.number > before && gc->run.generation >= generation)
				break;
			collection_begin(heap, generation);
		}
		ret = collection_step_killable(heap);
		if (ret)
			return ret;
	}
	if (run)
		*run = gc->run;
	pom_pool_trim(heap);
	pom_heap_unlock(heap);
	return 0;
}

/**
 * pom_collect_help - work on the running collection
 * @heap: the heap
 * @visits: how much, at most POM_SLICE
 *
 * Context: heap->lock, all counts as they should be. What dies is the caller's to
 * free: heap->dying tells.
 */
void pom_collect_help(struct pom_heap *heap, int visits)
{
	pom_collection_work(heap, visits);
	if (heap->gc.phase == POM_IDLE)
		collection_ended(heap, ktime_get_ns());
}

/**
 * pom_collect_work - finish what was begun, and collect by itself if it is time
 * @work: heap->collect
 */
void pom_collect_work(struct work_struct *work)
{
	struct pom_heap *heap = container_of(work, struct pom_heap, collect);
	struct pom_gc *gc = &heap->gc;
	bool pressure;
	int due;

	pom_heap_lock(heap);
	collection_finish(heap);
	if (gc->due && pom_epoch_ended(heap)) {
		pom_renumber_start(heap);
		collection_finish(heap);
	}
	due = gc->due ? pom_gc_due(gc) : -1;
	pressure = gc->pressure;
	gc->due = false;
	gc->pressure = false;
	if (due >= 0) {
		collection_start(heap, due);
		collection_finish(heap);
	}
	if (pressure)
		pom_pool_trim(heap);
	pom_heap_unlock(heap);
}

/**
 * pom_freeze - FREEZE and UNFREEZE
 * @heap: the heap
 * @freeze: which
 *
 * A collection that runs is not disturbed: its range was fixed at its start. Only a
 * renumbering that must come first waits for its end.
 *
 * Context: may sleep; heap->lock must not be held.
 * Return: 0, or -EINTR with nothing frozen: then the worker finishes what has begun.
 */
int pom_freeze(struct pom_heap *heap, bool freeze)
{
	struct pom_gc *gc = &heap->gc;
	u32 i;
	int ret;

	ret = pom_heap_lock_killable(heap);
	if (ret)
		return ret;
	/* A renumbering moves the boundaries, too; and without an epoch there is no new one. */
	while (gc->phase == POM_RENUMBER || (freeze && pom_epoch_ended(heap))) {
		if (gc->phase == POM_IDLE)
			pom_renumber_start(heap);
		ret = collection_step_killable(heap);
		if (ret)
			return ret;
	}
	if (!freeze) {
		gc->bound[2] = 0;
		gc->frozen = 0;
		pom_list_splice(heap, &gc->cand[POM_PERMANENT], &gc->cand[2]);
		gc->live[2] += gc->live[POM_PERMANENT];
		gc->live[POM_PERMANENT] = 0;
		goto unlock;
	}
	pom_epoch_advance(heap);
	for (i = 0; i < PYOBJMEM_GENERATIONS; i++) {
		gc->bound[i] = gc->epoch;
		pom_list_splice(heap, &gc->cand[i], &gc->cand[POM_PERMANENT]);
		gc->live[POM_PERMANENT] += gc->live[i];
		gc->live[i] = 0;
	}
	/* What a running collection has not come to yet is permanent, too. */
	gc->frozen = gc->candidates;
	gc->left = 0;
unlock:
	pom_heap_unlock(heap);
	return 0;
}
