// SPDX-License-Identifier: GPL-2.0
/*
 * The cycle collector: trial deletion from a log of decrements, in slices beside
 * running clients. Everything is under heap->lock; a slice is POM_SLICE visits
 * of objects and slots. Nothing is allocated: the lists run through the side
 * headers. Whoever asks for a collection works on it; if he is killed, the
 * heap's worker finishes. A client that creates much meanwhile works on it, too.
 *
 * Only what lost a reference and is still referred to can have become garbage:
 * CAND. A collection begins with the candidates, so it costs what changed, not
 * what lives.
 *
 *  J: every object is reachable from one with ext > 0, CAND, dying, or traced;
 *     so garbage always hangs on flagged garbage.
 *  L: an object with ext == 0 and without CAND has no slot that names a
 *     younger generation; so "older than the range" counts as outside.
 *
 * TRACE   stamps what the candidates reach, in range: shadow = in, white if ext is
 *	   0, else gray; each slot of a white object takes 1 from a white shadow.
 * RESCUE  a white object with shadow > 0 is referred to from outside: gray.
 *	   What gray objects name becomes gray; they turn black. Where the sum of all
 *	   shadows is 0, as it is of nothing but garbage, no object is visited.
 * FINALIZING  white objects whose finalizers have not run get a hold of their
 *	   session, with the event that tells it; they are gray, on a stack of their
 *	   own so that all of them are found, also those that hang on others.
 * DRAIN   what they name becomes gray, then black. These two are left out if
 *	   no stamped object has a finalizer to run.
 * FREE    begins under the lock hold that found the mark stack empty: otherwise an
 *	   UPGRADE could come in between. What is white is dead, also to UPGRADE: its
 *	   weak holds die, its slots are dropped.
 * RELEASE takes all off the list. The block of what is white goes if in is 0, as
 *	   it is unless something else that dies names it: then it is DONE, and goes
 *	   with the last of these, which may be after the collection. What is black
 *	   can be a candidate again.
 *
 * Why it is right: a white object that nobody touched since its stamp had ext == 0
 * then, so nobody could change its slots; and shadow == 0 means that every edge
 * to it came from a traced object. Whoever gains a hold meanwhile goes through
 * pom_ext_get(), which makes a white object gray. A decrement in between only
 * leaves a shadow too high: such an object survives this time, as a candidate.
 *
 * Who owns which field:
 *	link	next candidate (LISTED) or next traced (a colour), never both
 *	shadow	previous candidate (LISTED), trial count (white), or next on the
 *		mark stack (gray)
 *	in	next on the cascade (DYING); it is 0 then
 * So an object can be traced, on the mark stack and dying at the same time; its
 * block is kept until the collection has released it (LIMBO).
 *
 * Generations are ranges of the birth epoch: see epoch.c. Thresholds, counts and the 25 % rule are
 * CPython's, Modules/gcmodule.c. Many candidates start a full collection besides.
 */
#include <linux/ktime.h>
#include <linux/prefetch.h>
#include <linux/sched/signal.h>

#include "pyobjmem.h"

/*
 * How many objects of the trace list are looked at in advance, and slots of each; and
 * how many are traced where it pays: fewer are in the processor's caches anyway.
 */
#define LOOK_AHEAD		16U
#define LOOK_AHEAD_SLOTS	4U
#define LOOK_AHEAD_FROM		8192U

static bool born_in_range(const struct pom_gc *gc, const struct pom_side *side)
{
	return side->born >= gc->lo && side->born < gc->hi;
}

/* The first look at an object. CAND is cleared before the counts are read. */
static void stamp(struct pom_gc *gc, struct pom_side *side, u32 link)
{
	gc->run.visited++;
	side->state &= ~POM_CAND;
	if (side->state & POM_FINALIZE)
		gc->finalizable = true;
	if (side->ext) {
		pom_mark_push(gc, side, link);
	} else {
		side->shadow = side->in;
		gc->outside += side->in;
		pom_paint(side, POM_WHITE);
	}
}

/*
 * The candidates: the work list becomes the trace list where it lies. All of them
 * first, because their order is often that in which they lie in memory.
 */
static void stamp_candidates(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	struct pom_object obj = {};
	u32 link;

	for (; gc->work.head != POM_NIL && *budget > 0; --*budget) {
		link = gc->work.head;
		pom_object_near(heap, link, &obj, &obj);
		if (gc->trace.head == POM_NIL)
			gc->trace.head = link;
		gc->trace.tail = link;
		pom_candidate_pop(gc, obj.side);
		stamp(gc, obj.side, link);
		gc->cursor = gc->trace.head;
	}
}

/* What a traced object names. */
static void stamp_found(struct pom_heap *heap, struct pom_side *side, u32 link)
{
	struct pom_gc *gc = &heap->gc;

	if (side->state & POM_LISTED)
		pom_candidate_remove(heap, side, link);
	side->link = POM_NIL;
	pom_side_at(heap, gc->trace.tail)->link = link;
	gc->trace.tail = link;
	stamp(gc, side, link);
}

static bool object_white(const struct pom_object *obj)
{
	return pom_colour(obj->side) == POM_WHITE && !(obj->side->state & POM_DEAD);
}

static void cursor_advance(struct pom_gc *gc, const struct pom_object *obj)
{
	gc->cursor = obj->side->link;
	gc->slot = 0;
}

static void phase_begin(struct pom_gc *gc, enum pom_phase phase)
{
	gc->cursor = gc->trace.head;
	gc->slot = 0;
	gc->phase = phase;
}

/*
 * Let the processor fetch what the next objects of the list name, before they are
 * visited: all at once, where each would have to be waited for. Called every
 * LOOK_AHEAD objects.
 */
static void look_ahead(struct pom_heap *heap, u32 link)
{
	struct pom_object obj = {};
	u32 i, slot, target;

	for (i = 0; i < LOOK_AHEAD && link != POM_NIL; i++, link = obj.side->link) {
		pom_object_near(heap, link, &obj, &obj);
		for (slot = 0; slot < min(obj.head->slots, LOOK_AHEAD_SLOTS); slot++) {
			target = pom_link(*pom_object_slot(&obj, slot));
			if (target && (target ^ link) >= POM_POOL_LINKS)
				prefetchw(pom_side_at(heap, target));
		}
	}
}

/* The object that is visited next; @n: which it is of those of a slice. */
static void cursor_object(struct pom_heap *heap, struct pom_object *obj, u32 n)
{
	struct pom_gc *gc = &heap->gc;

	if (gc->run.visited >= LOOK_AHEAD_FROM && n % LOOK_AHEAD == 0)
		look_ahead(heap, gc->cursor);
	pom_object_near(heap, gc->cursor, obj, obj);
}

/* What a slot of a white object does to what it names. */
static void trace_slot(struct pom_heap *heap, struct pom_object *obj, u32 slot)
{
	struct pom_gc *gc = &heap->gc;
	u64 value = *pom_object_slot(obj, slot);
	struct pom_side *side;
	u32 link = pom_link(value);

	if (!value)
		return;
	side = pom_side_near(heap, link, obj);
	if (side->state & POM_DEAD)
		return;
	if (!pom_colour(side) && born_in_range(gc, side))
		stamp_found(heap, side, link);
	if (pom_colour(side) == POM_WHITE) {
		side->shadow--;
		gc->outside--;
	}
}

static void trace_slice(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	struct pom_object obj = {};
	u32 n = 0, slot;

	while (*budget > 0) {
		--*budget;
		if (gc->cursor == POM_NIL) {
			phase_begin(gc, POM_RESCUE);
			/* Then nobody has to be asked. */
			if (!gc->outside)
				gc->cursor = POM_NIL;
			return;
		}
		cursor_object(heap, &obj, n++);
		if (object_white(&obj)) {
			for (slot = gc->slot; slot < obj.head->slots && *budget > 0; --*budget)
				trace_slot(heap, &obj, slot++);
			gc->slot = slot;
			if (slot < obj.head->slots)
				return;
		}
		cursor_advance(gc, &obj);
	}
}

/* Visit what survives: the object taken from the mark stack, or the next. */
static void mark_slice(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	struct pom_object obj;
	struct pom_side *side;
	u64 value;

	if (gc->mark == POM_NIL) {
		gc->mark = gc->stack;
		gc->mark_slot = 0;
		pom_object_at(heap, gc->mark, &obj);
		gc->stack = obj.side->shadow;
		obj.side->shadow = 0;
		pom_paint(obj.side, POM_BLACK);
	} else {
		pom_object_at(heap, gc->mark, &obj);
	}
	for (; !(obj.side->state & POM_DEAD) && gc->mark_slot < obj.head->slots; --*budget) {
		if (*budget <= 0)
			return;
		value = *pom_object_slot(&obj, gc->mark_slot++);
		if (!value)
			continue;
		side = pom_side_near(heap, pom_link(value), &obj);
		if (pom_colour(side) == POM_WHITE)
			pom_mark_push(gc, side, pom_link(value));
		/* L: it names something younger than itself now. */
		if (side->born >= gc->hi)
			obj.side->state |= POM_CAND;
	}
	gc->mark = POM_NIL;
}

static void rescue_slice(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	struct pom_object obj = {};

	while (*budget > 0) {
		--*budget;
		if (gc->mark != POM_NIL || gc->stack != POM_NIL) {
			mark_slice(heap, budget);
			continue;
		}
		if (gc->cursor == POM_NIL) {
			/* Nothing is gray and all was judged: what is white is garbage. */
			phase_begin(gc, gc->finalizable ? POM_FINALIZING : POM_FREE);
			return;
		}
		pom_object_near(heap, gc->cursor, &obj, &obj);
		if (object_white(&obj) && obj.side->shadow)
			pom_mark_push(gc, obj.side, gc->cursor);
		cursor_advance(gc, &obj);
	}
}

/*
 * Garbage with a finalizer: its session gets it. None of it is drained before all
 * were found, so the finalizers of what one of them reaches run as well. But what
 * a client has got hold of meanwhile is no garbage, nor is what that reaches.
 */
static void finalize_slice(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	struct pom_object obj = {};

	while (*budget > 0) {
		--*budget;
		if (gc->mark != POM_NIL || gc->stack != POM_NIL) {
			mark_slice(heap, budget);
			continue;
		}
		if (gc->cursor == POM_NIL) {
			gc->stack = gc->finalized;
			gc->finalized = POM_NIL;
			gc->phase = POM_DRAIN;
			return;
		}
		pom_object_near(heap, gc->cursor, &obj, &obj);
		if (object_white(&obj) && obj.side->state & POM_FINALIZE &&
		    pom_watch_finalize(heap, &obj)) {
			obj.side->ext++;	/* from 0: not pom_ext_get(), it is touched here */
			pom_paint(obj.side, POM_GRAY);
			obj.side->shadow = gc->finalized;
			gc->finalized = gc->cursor;
			gc->run.finalizers++;
		}
		cursor_advance(gc, &obj);
	}
}

static void drain_slice(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;

	while (*budget > 0) {
		--*budget;
		if (gc->mark == POM_NIL && gc->stack == POM_NIL) {
			phase_begin(gc, POM_FREE);
			return;
		}
		mark_slice(heap, budget);
	}
}

/* Empty a slot of a dead object. What it names is often dead, too: that was all then. */
static void free_slot(struct pom_heap *heap, struct pom_object *obj, u32 slot)
{
	u64 *p = pom_object_slot(obj, slot);
	struct pom_side *side;

	if (!*p)
		return;
	side = pom_side_near(heap, pom_link(*p), obj);
	if (!pom_condemned(&heap->gc, side)) {
		pom_object_drop_slot(heap, obj, slot);
		return;
	}
	WRITE_ONCE(*p, 0);
	side->in--;
}

/* A dead object. Return: false if not all that hangs on it is gone yet. */
static bool free_white(struct pom_heap *heap, struct pom_object *obj, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	u32 slot = gc->slot;

	if (obj->side->state & POM_WATCHED && !pom_watch_die(heap, obj, budget))
		return false;
	for (; slot < obj->head->slots && *budget > 0; --*budget)
		free_slot(heap, obj, slot++);
	gc->slot = slot;
	return slot == obj->head->slots;
}

static void free_slice(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	struct pom_object obj = {};
	u32 n = 0;

	while (*budget > 0) {
		--*budget;
		if (gc->cursor == POM_NIL) {
			phase_begin(gc, POM_RELEASE);
			return;
		}
		cursor_object(heap, &obj, n++);
		if (object_white(&obj) && !free_white(heap, &obj, budget))
			return;
		cursor_advance(gc, &obj);
	}
}

/* A dead object whose slots are empty. Return: what it cost, in visits. */
static u32 release_white(struct pom_heap *heap, struct pom_object *obj)
{
	heap->gc.run.collected++;
	heap->freed_collected++;
	obj->side->state = POM_DONE;	/* no colour, and no candidate any more */
	return obj->side->in ? 0 : pom_object_release(heap, obj);
}

/* An object that the collection is done with: it survives, or died meanwhile. */
static u32 release_other(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_side *side = obj->side;

	pom_paint(side, 0);
	side->shadow = 0;
	if (side->state & POM_LIMBO)
		return pom_object_release(heap, obj);
	if (side->state & POM_CAND)
		pom_candidate_add(heap, side, obj->block.link);
	return 0;
}

static void collection_end(struct pom_heap *heap)
{
	struct pom_gc *gc = &heap->gc;
	u32 g = gc->run.generation;

	pom_list_reset(&gc->trace);
	gc->phase = POM_IDLE;
	gc->stats[g].collections++;
	gc->stats[g].collected += gc->run.collected;
	gc->stats[g].finalizers += gc->run.finalizers;
	pom_event_collected(heap);
	if (g == 2) {
		gc->long_lived_total = gc->live[2];
		gc->long_lived_pending = 0;
	} else if (g == 1) {
		gc->long_lived_pending += gc->moved - min(gc->moved, gc->run.collected);
	}
}

static void release_slice(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	struct pom_object obj = {};

	while (*budget > 0) {
		--*budget;
		if (gc->cursor == POM_NIL) {
			collection_end(heap);
			return;
		}
		pom_object_near(heap, gc->cursor, &obj, &obj);
		cursor_advance(gc, &obj);
		obj.side->link = POM_NIL;
		*budget -= object_white(&obj) ? release_white(heap, &obj) :
						release_other(heap, &obj);
	}
}

/* Go on with the collection, for so many visits. The phases may change within. */
static void collection_work(struct pom_heap *heap, int visits)
{
	struct pom_gc *gc = &heap->gc;
	int budget = visits;

	while (budget > 0 && gc->phase != POM_IDLE) {
		switch (gc->phase) {
		case POM_IDLE:
		case POM_RENUMBER:	/* not a collection's */
			return;
		case POM_TRACE:
			stamp_candidates(heap, &budget);
			trace_slice(heap, &budget);
			break;
		case POM_RESCUE:
			rescue_slice(heap, &budget);
			break;
		case POM_FINALIZING:
			finalize_slice(heap, &budget);
			break;
		case POM_DRAIN:
			drain_slice(heap, &budget);
			break;
		case POM_FREE:
			free_slice(heap, &budget);
			break;
		case POM_RELEASE:
			release_slice(heap, &budget);
			break;
		}
	}
	gc->run.visits += visits - budget;
}

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

	collection_work(heap, POM_SLICE);
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

static void heap_trim(struct pom_heap *heap)
{
	pom_pool_trim(&heap->space[POM_OBJECTS]);
	pom_pool_trim(&heap->space[POM_DATA]);
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
		collection_step(heap);
		if (fatal_signal_pending(current)) {
			queue_work(heap->wq, &heap->collect);
			return -EINTR;
		}
		pom_heap_lock(heap);
	}
	if (run)
		*run = gc->run;
	heap_trim(heap);
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
	collection_work(heap, visits);
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
		heap_trim(heap);
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
		collection_step(heap);
		if (fatal_signal_pending(current)) {
			queue_work(heap->wq, &heap->collect);
			return -EINTR;
		}
		pom_heap_lock(heap);
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
