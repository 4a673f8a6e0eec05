// SPDX-License-Identifier: GPL-2.0
/*
 * Candidates: objects that lost a reference and are still referred to by slots.
 * Owns their four lists (one a generation, one of the permanent one) and the
 * work list of the running collection, the mark stack, and when it is time to
 * collect. Called by object.c, ops.c, collect.c and collector.c, under heap->lock.
 *
 * The lists run through the side headers: link is the next candidate, shadow the
 * previous one. An object is listed if it has CAND and is not traced. They are
 * doubly linked, so that a candidate that dies leaves in constant time, and have
 * tails, so that a collection takes them over in constant time.
 */
#include "pyobjmem.h"

static const u32 default_threshold[PYOBJMEM_GENERATIONS] = { 700, 10, 10 };

/**
 * pom_list_reset - make a list empty
 * @list: the list
 */
void pom_list_reset(struct pom_list *list)
{
	list->head = POM_NIL;
	list->tail = POM_NIL;
}

/**
 * pom_list_splice - append one list of candidates to another
 * @heap: the heap
 * @from: is empty afterwards
 * @to: gets them
 */
void pom_list_splice(struct pom_heap *heap, struct pom_list *from, struct pom_list *to)
{
	if (from->head == POM_NIL)
		return;
	if (to->head == POM_NIL) {
		*to = *from;
	} else {
		pom_side_at(heap, to->tail)->link = from->head;
		pom_side_at(heap, from->head)->shadow = to->tail;
		to->tail = from->tail;
	}
	pom_list_reset(from);
}

/**
 * pom_candidate_add - put an object on the list of its generation
 * @heap: the heap
 * @side: its side header: CAND, neither listed nor traced
 * @link: its place
 */
void pom_candidate_add(struct pom_heap *heap, struct pom_side *side, u32 link)
{
	struct pom_gc *gc = &heap->gc;
	u32 generation = pom_gc_generation(gc, side->born);
	struct pom_list *list = &gc->cand[generation];

	side->state |= POM_LISTED;
	side->link = POM_NIL;
	side->shadow = list->tail;
	if (list->tail == POM_NIL)
		list->head = link;
	else
		pom_side_at(heap, list->tail)->link = link;
	list->tail = link;
	gc->candidates++;
	if (generation == POM_PERMANENT)
		gc->frozen++;
	if (unlikely(gc->candidates > gc->toll))
		pom_gc_check(heap);
}

/* The list whose head or tail is @link: the work list, or one of four. */
static struct pom_list *list_with_end(struct pom_gc *gc, u32 link, bool tail)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(gc->cand); i++)
		if ((tail ? gc->cand[i].tail : gc->cand[i].head) == link)
			return &gc->cand[i];
	return &gc->work;
}

/**
 * pom_candidate_remove - take an object off its list
 * @heap: the heap
 * @side: its side header: listed
 * @link: its place
 */
void pom_candidate_remove(struct pom_heap *heap, struct pom_side *side, u32 link)
{
	struct pom_gc *gc = &heap->gc;
	u32 next = side->link, prev = side->shadow;

	if (prev == POM_NIL || link == gc->work.head)
		list_with_end(gc, link, false)->head = next;
	if (prev != POM_NIL)
		pom_side_at(heap, prev)->link = next;
	if (next == POM_NIL)
		list_with_end(gc, link, true)->tail = prev;
	else
		pom_side_at(heap, next)->shadow = prev;
	side->link = POM_NIL;
	side->shadow = 0;
	pom_candidate_left(gc, side);
}

/**
 * pom_candidate_flag - an object has lost a reference and is referred to by slots only
 * @heap: the heap
 * @obj: an object with slots, ext == 0, in > 0
 */
void pom_candidate_flag(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_side *side = obj->side;

	side->state |= POM_CAND;
	if (!(side->state & (POM_LISTED | POM_COLOUR)))
		pom_candidate_add(heap, side, obj->block.link);
}

/**
 * pom_candidate_unflag - an object dies
 * @heap: the heap
 * @obj: the object
 */
void pom_candidate_unflag(struct pom_heap *heap, struct pom_object *obj)
{
	if (obj->side->state & POM_LISTED)
		pom_candidate_remove(heap, obj->side, obj->block.link);
	obj->side->state &= ~POM_CAND;
}

/**
 * pom_gc_init - set up the collector of a new heap
 * @heap: the heap
 */
void pom_gc_init(struct pom_heap *heap)
{
	struct pom_gc *gc = &heap->gc;
	unsigned int i;

	gc->epoch = pom_first_epoch;
	gc->enabled = true;
	gc->toll = POM_CANDIDATES_FEW;
	gc->stack = POM_NIL;
	gc->finalized = POM_NIL;
	gc->cursor = POM_NIL;
	gc->mark = POM_NIL;
	pom_list_reset(&gc->work);
	pom_list_reset(&gc->trace);
	for (i = 0; i < ARRAY_SIZE(gc->cand); i++)
		pom_list_reset(&gc->cand[i]);
	for (i = 0; i < PYOBJMEM_GENERATIONS; i++)
		gc->threshold[i] = default_threshold[i];
}

/* Candidates that a collection could look at */
static u64 candidates_open(const struct pom_gc *gc)
{
	return gc->candidates - gc->frozen;
}

/*
 * Whether there are so many candidates that a full collection is worth it. Those that
 * the last one left do not count, or else it would find itself due at its end.
 */
static bool candidates_many(const struct pom_gc *gc)
{
	u64 live = gc->live[0] + gc->live[1] + gc->live[2];

	return candidates_open(gc) > gc->left + max(gc->toll, live / 4);
}

/**
 * pom_gc_ended - set the candidates that there are when a collection ends apart
 * @gc: the collector
 */
void pom_gc_ended(struct pom_gc *gc)
{
	u64 candidates = candidates_open(gc);

	if (gc->run.generation < 2) {
		gc->left = min(gc->left, candidates);
		return;
	}
	gc->left = candidates;
	gc->price = gc->run.visits / POM_CANDIDATE_VISITS;
	gc->toll = max_t(u64, POM_CANDIDATES_FEW, gc->price);
}

/* Whether the heap collects by itself at all */
static bool gc_automatic(const struct pom_gc *gc)
{
	return gc->enabled && gc->threshold[0];
}

/**
 * pom_gc_due - whether to collect by itself now: CPython's rules, and two of ours
 * @gc: the collector
 *
 * What lost references is kept as a candidate whether anything is created or not;
 * and memory may be short.
 *
 * Return: the generation, or -1.
 */
int pom_gc_due(const struct pom_gc *gc)
{
	int g;

	if (!gc_automatic(gc))
		return -1;
	if (gc->pressure || candidates_many(gc))
		return 2;
	if (gc->count[0] <= gc->threshold[0])
		return -1;
	for (g = PYOBJMEM_GENERATIONS - 1; g > 0; g--) {
		if (gc->count[g] <= gc->threshold[g])
			continue;
		/* Else building a large graph would take quadratic time. */
		if (g == 2 && gc->long_lived_pending < gc->long_lived_total / 4)
			continue;
		return g;
	}
	return 0;
}

/**
 * pom_gc_check - let the worker collect if it is time
 * @heap: the heap
 */
void pom_gc_check(struct pom_heap *heap)
{
	struct pom_gc *gc = &heap->gc;

	if (gc->due || gc->phase != POM_IDLE || pom_gc_due(gc) < 0)
		return;
	gc->due = true;
	queue_work(heap->wq, &heap->collect);
}

/**
 * pom_gc_worth - how many candidates are worth a collection when memory is short
 * @gc: the collector
 *
 * Context: heap->lock, or none for a guess.
 * Return: those that came about since the last full one; 0 if they are too few to
 * pay for it, if one is on its way, or if the heap is not to collect by itself.
 */
u64 pom_gc_worth(const struct pom_gc *gc)
{
	u64 candidates = candidates_open(gc);

	if (gc->pressure || !gc_automatic(gc) || candidates <= gc->left + gc->price)
		return 0;
	return candidates - gc->left;
}

/**
 * pom_gc_press - memory is short: let the worker collect if that is worth it
 * @heap: the heap
 *
 * Context: heap->lock; does not sleep.
 */
void pom_gc_press(struct pom_heap *heap)
{
	struct pom_gc *gc = &heap->gc;

	lockdep_assert_held(&heap->lock);
	gc->left = min(gc->left, candidates_open(gc));
	if (!pom_gc_worth(gc))
		return;
	gc->pressure = true;
	gc->due = true;
	queue_work(heap->wq, &heap->collect);
}

/**
 * pom_gc_born - date a new object, and collect if it is time
 * @heap: the heap
 * @obj: the object
 */
void pom_gc_born(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_gc *gc = &heap->gc;

	obj->side->born = gc->epoch;
	if (!obj->head->slots)
		return;
	gc->live[0]++;
	gc->run.born++;
	if (gc->count[0] < U32_MAX)
		gc->count[0]++;
	if (gc->count[0] > gc->threshold[0])
		pom_gc_check(heap);
}

/**
 * pom_gc_freed - an object goes
 * @heap: the heap
 * @obj: the object, its head still whole
 */
void pom_gc_freed(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_gc *gc = &heap->gc;

	if (!obj->head->slots)
		return;
	gc->live[pom_gc_generation(gc, obj->side->born)]--;
	if (gc->count[0])
		gc->count[0]--;
}

/**
 * pom_mark_push - an object survives: paint it gray
 * @gc: the collector
 * @side: its side header
 * @link: its place
 */
void pom_mark_push(struct pom_gc *gc, struct pom_side *side, u32 link)
{
	gc->closed = false;
	pom_paint(side, POM_GRAY);
	side->shadow = gc->stack;
	gc->stack = link;
}

/**
 * pom_gc_touch - the first session, root or ticket refers to an object, or it dies
 * @heap: the heap
 * @obj: the object
 *
 * Whatever gains a hold while the collector looks is not garbage. Nor is what a dying
 * object still names: the cascade is to find it there.
 */
void pom_gc_touch(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_gc *gc = &heap->gc;

	if (gc->phase != POM_IDLE && gc->phase < POM_FREE && pom_colour(obj->side) == POM_WHITE)
		pom_mark_push(gc, obj->side, obj->block.link);
}
