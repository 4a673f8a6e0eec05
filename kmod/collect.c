// SPDX-License-Identifier: GPL-2.0
/*
 * The cycle collector: trial deletion from a log of decrements, in slices beside
 * running clients. This is what a collection does; who does it and when is in
 * collector.c, which calls here. Everything is under heap->lock; a slice is POM_SLICE
 * visits of objects and slots. Nothing is allocated: the lists run through the side
 * headers.
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
 *	   weak holds die, its slots that name what is not dead are dropped. This is
 *	   left out if there are none of either, as where nothing but garbage was found.
 * RELEASE takes all off the list. The blocks of what is white go, whatever their
 *	   counts: only what is dead, too, names them. What is black can be a candidate
 *	   again.
 *
 * Why it is right: a white object that nobody touched since its stamp had ext == 0
 * then, so nobody could change its slots; and shadow == 0 means that every edge
 * to it came from a traced object. Whoever gains a hold meanwhile goes through
 * pom_ext_get(), which makes a white object gray. A decrement in between only
 * leaves a shadow too high: such an object survives this time, as a candidate. And a
 * traced object that dies by its counts becomes gray, so that what it names when the
 * cascade comes to it is there: nothing but the condemned names the condemned.
 *
 * Who owns which field:
 *	link	next candidate (LISTED) or next traced (a colour), never both
 *	shadow	previous candidate (LISTED), trial count (white), or next on the
 *		mark stack or on that of what is being finalized (gray)
 *	in	next on the cascade (DYING); it is 0 then
 * So an object can be traced, on the mark stack and dying at the same time; its
 * block is kept until the collection has released it (LIMBO).
 *
 * It costs at most seven visits an object, fewer where there are no finalizers or all
 * is garbage, and two a slot, whatever clients do meanwhile.
 */
#include <linux/prefetch.h>

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
static inline void stamp(struct pom_gc *gc, struct pom_side *side, u32 link)
{
	gc->run.visited++;
	side->state &= ~POM_CAND;
	if (side->state & POM_WATCHED)
		gc->closed = false;
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
	return pom_colour(obj->side) == POM_WHITE;
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
	if (!pom_colour(side) && born_in_range(gc, side))
		stamp_found(heap, side, link);
	if (pom_colour(side) == POM_WHITE) {
		side->shadow--;
		gc->outside--;
	} else {
		gc->closed = false;
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
	/* What has died by now names what the cascade has not come to. */
	for (; gc->mark_slot < obj.head->slots; --*budget) {
		if (*budget <= 0)
			return;
		value = *pom_object_slot(&obj, gc->mark_slot++);
		if (!value)
			continue;
		side = pom_side_near(heap, pom_link(value), &obj);
		if (pom_colour(side) == POM_WHITE)
			pom_mark_push(gc, side, pom_link(value));
		/* L: it names something younger than itself now. */
		if (side->born >= gc->hi && !(obj.side->state & POM_DEAD))
			obj.side->state |= POM_CAND;
	}
	gc->mark = POM_NIL;
}

static bool anything_gray(const struct pom_gc *gc)
{
	return gc->mark != POM_NIL || gc->stack != POM_NIL;
}

/* Nothing is gray and all was judged: what is white is dead. */
static void condemn(struct pom_gc *gc)
{
	phase_begin(gc, POM_FREE);
	if (gc->closed)
		gc->cursor = POM_NIL;
}

static void rescue_slice(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	struct pom_object obj = {};

	while (*budget > 0) {
		--*budget;
		if (anything_gray(gc)) {
			mark_slice(heap, budget);
			continue;
		}
		if (gc->cursor == POM_NIL) {
			if (gc->finalizable)
				phase_begin(gc, POM_FINALIZING);
			else
				condemn(gc);
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
		if (anything_gray(gc)) {
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
		if (!anything_gray(gc)) {
			condemn(gc);
			return;
		}
		mark_slice(heap, budget);
	}
}

/* Empty a slot of a dead object, unless what it names is dead, too. */
static void free_slot(struct pom_heap *heap, struct pom_object *obj, u32 slot)
{
	u64 value = *pom_object_slot(obj, slot);

	if (value && !pom_condemned(&heap->gc, pom_side_near(heap, pom_link(value), obj)))
		pom_object_drop_slot(heap, obj, slot);
}

/* A dead object. Return: false if it has not let go of everything yet. */
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

/* A dead object, whose slots name nothing else. Return: what it cost, in visits. */
static u32 release_white(struct pom_heap *heap, struct pom_object *obj)
{
	WARN(POM_DEBUG && (obj->side->ext || obj->side->state & (POM_WATCHED | POM_DEAD)),
	     "pyobjmem: object %#x: condemned, but its state is %#x", obj->block.link,
	     obj->side->state);
	heap->gc.run.collected++;
	heap->freed_collected++;
	return pom_object_release(heap, obj);
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

/**
 * pom_collection_work - go on with the collection that runs
 * @heap: the heap; in POM_IDLE afterwards if the collection has come to its end
 * @visits: how much; the phases may change within
 *
 * Context: heap->lock. What dies of it is on the cascade.
 */
void pom_collection_work(struct pom_heap *heap, int visits)
{
	struct pom_gc *gc = &heap->gc;
	int budget = visits;

	while (budget > 0 && gc->phase != POM_IDLE) {
		switch (gc->phase) {
		case POM_IDLE:
		case POM_RENUMBER:
			return; /* never: these are not a collection's */
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
