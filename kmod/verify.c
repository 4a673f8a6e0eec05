// SPDX-License-Identifier: GPL-2.0
/*
 * verify: recount a whole heap and name the first identity that does not hold.
 * Reads what all others own; called through debugfs and, in a debug build, when a
 * collection or a session ends.
 *
 * Nothing is allocated. The counts are checked by taking off every object what
 * refers to it: then all ext and in must be 0, but for what is being released.
 * Afterwards all of it is added again. heap->lock is held throughout, so nobody sees
 * the counts in between.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/kernel.h>
#include <linux/sched.h>

#include "pyobjmem.h"

/* Say what is wrong, to the reader or the log. Return: false, to be returned. */
static __printf(2, 3) bool complain(struct seq_file *m, const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	va_start(args, fmt);
	vaf.va = &args;
	if (m)
		seq_printf(m, "%pV\n", &vaf);
	else
		pr_err("verify: %pV\n", &vaf); /* never: tests have a reader */
	va_end(args);
	return false;
}

/**
 * struct visit - what to do with every object
 * @m: where to complain
 * @heap: the heap
 * @fn: the doing; false: stop
 * @sign: for @fn, 1 or -1
 * @live: by @fn, containers by generation
 */
struct visit {
	struct seq_file *m;
	struct pom_heap *heap;
	bool (*fn)(struct visit *v, struct pom_object *obj);
	u32 sign;
	u64 live[PYOBJMEM_GENERATIONS + 1];
};

static bool visit_pool(struct visit *v, struct pom_pool *pool)
{
	struct pom_object obj;
	u32 i;

	for (i = 0; i < pool->blocks; i++) {
		if (pool->free[i / 64] & (1ULL << (i % 64)))
			continue;
		pom_object_at(v->heap, pom_pool_link(pool, i), &obj);
		if (!v->fn(v, &obj))
			return false;
	}
	return true;
}

static bool visit_objects(struct visit *v)
{
	struct pom_arena *arena;
	u32 number = 0, place;

	while ((arena = pom_arena_next(&v->heap->space[POM_OBJECTS], &number))) {
		for (place = 0; place < POM_ARENA_POOLS; place++) {
			if (arena->pool[place] && !visit_pool(v, arena->pool[place]))
				return false;
			cond_resched();
		}
	}
	return true;
}

/* --- Space --------------------------------------------------------------- */

struct space_sums {
	u64 used;
	u64 free;
	u64 unused;
	u64 slack;
	u64 arenas;
	u64 pages;
	u64 objects;
	u32 empty;
};

static bool verify_pool(struct seq_file *m, struct pom_space *space, struct pom_pool *pool,
			struct space_sums *sums)
{
	u32 free = bitmap_weight((unsigned long *)pool->free, pool->blocks);
	u32 link = pom_pool_link(pool, 0);
	u32 i;

	if (pool->live + free != pool->blocks)
		return complain(m, "pool at %#x: live %u + free %u != blocks %u", link,
				pool->live, free, pool->blocks);
	if (!pool->live && pom_pool_is_run(pool))
		return complain(m, "run at %#x: empty but there", link);
	for (i = 0; i < pool->blocks; i++) {
		if (!(pool->free[i / 64] & (1ULL << (i % 64))))
			continue;
		if (!pom_poison_intact(pool, i))
			return complain(m, "pool at %#x: free block %u was written to", link, i);
	}
	sums->used += pool->live * pool->size;
	sums->free += free * pool->size;
	sums->slack += pom_pool_slack(pool);
	sums->empty += !pool->live;
	if (space->kind == POM_OBJECTS)
		sums->objects += pool->live;
	return true;
}

static bool verify_arena(struct seq_file *m, struct pom_space *space, struct pom_arena *arena,
			 struct space_sums *sums)
{
	u32 pages = 0, place;

	for (place = 0; place < POM_ARENA_POOLS; place++) {
		bool free = arena->free_pools & (1ULL << place);

		if (arena->page[place]) {
			pages++;
			if (free)
				return complain(m, "arena %u: place %u is free and has a page",
						arena->index, place);
		} else if (!free && arena->generation[place]) {
			return complain(m, "arena %u: place %u is neither free nor taken",
					arena->index, place);
		}
		if (arena->pool[place] && !arena->page[place])
			return complain(m, "arena %u: place %u has a pool without a page",
					arena->index, place);
		if (arena->pool[place] && !verify_pool(m, space, arena->pool[place], sums))
			return false;
	}
	if (pages != arena->pages || !pages)
		return complain(m, "arena %u: pages %u, counted %u", arena->index, arena->pages,
				pages);
	sums->arenas++;
	sums->pages += pages;
	sums->unused += (POM_ARENA_POOLS - pages) * POM_POOL_BYTES;
	return true;
}

static bool verify_space(struct seq_file *m, struct pom_space *space, struct space_sums *all)
{
	struct space_sums sums = {};
	struct pom_arena *arena;
	u32 number = 0;

	while ((arena = pom_arena_next(space, &number))) {
		if (!verify_arena(m, space, arena, &sums))
			return false;
		cond_resched();
	}
	if (sums.arenas != space->arenas || sums.pages != space->pages ||
	    sums.used != space->used || sums.slack != space->slack || sums.empty != space->empty)
		return complain(m, "space %u: counters are not what is there", space->kind);
	if (sums.used + sums.free + sums.unused + sums.slack != sums.arenas * POM_ARENA_BYTES)
		return complain(m, "space %u: used %llu free %llu unused %llu slack %llu of %llu",
				space->kind, sums.used, sums.free, sums.unused, sums.slack,
				sums.arenas);
	all->pages += sums.pages;
	all->objects += sums.objects;
	return true;
}

/* --- Counts -------------------------------------------------------------- */

/* Blocks of the condemned go one after the other: what they name may have gone. */
static bool being_released(struct pom_heap *heap, const struct pom_object *obj)
{
	return heap->gc.phase == POM_RELEASE && pom_condemned(&heap->gc, obj->side);
}

static bool count_slots(struct visit *v, struct pom_object *obj)
{
	struct pom_object target;
	u64 value;
	u32 i;

	if (being_released(v->heap, obj))
		return true;
	for (i = 0; i < obj->head->slots; i++) {
		value = *pom_object_slot(obj, i);
		if (!value)
			continue;
		pom_object_at(v->heap, pom_link(value), &target);
		target.side->in += v->sign;
	}
	return true;
}

/* What may be garbage is nobody's, and what is released has let go of everything. */
static bool check_white(struct visit *v, struct pom_object *obj)
{
	const struct pom_side *side = obj->side;

	if (pom_colour(side) == POM_WHITE && (side->ext || side->state & POM_DEAD))
		return complain(v->m, "object %#llx: white, but ext is %u, state %#x",
				pom_object_handle(obj), side->ext, side->state);
	if (being_released(v->heap, obj) && side->state & POM_WATCHED)
		return complain(v->m, "object %#llx: released, but watched",
				pom_object_handle(obj));
	return true;
}

/* The slots of what is being released: they name nothing that stays. */
static bool check_released(struct visit *v, struct pom_object *obj)
{
	struct pom_object target;
	u64 value;
	u32 i;

	for (i = 0; i < obj->head->slots; i++) {
		value = *pom_object_slot(obj, i);
		if (!value || !pom_block_find(&v->heap->space[POM_OBJECTS], pom_link(value),
					      &target.block))
			continue;
		pom_object_from_block(&target);
		if (pom_object_handle(&target) == value &&
		    !pom_condemned(&v->heap->gc, target.side))
			return complain(v->m, "object %#llx: dead, slot %u names what lives: %#llx",
					pom_object_handle(obj), i, value);
	}
	return true;
}

/* A slot names an object that is there, and nothing but the condemned the condemned. */
static bool check_slots(struct visit *v, struct pom_object *obj)
{
	struct pom_object target;
	u64 value;
	u32 i;

	for (i = 0; i < obj->head->slots; i++) {
		value = *pom_object_slot(obj, i);
		if (!value)
			continue;
		if (!pom_block_find(&v->heap->space[POM_OBJECTS], pom_link(value),
				    &target.block))
			return complain(v->m, "object %#llx: slot %u names no block: %#llx",
					pom_object_handle(obj), i, value);
		pom_object_at(v->heap, pom_link(value), &target);
		if (pom_object_handle(&target) != value || target.side->state & POM_DYING)
			return complain(v->m, "object %#llx: slot %u names a dead object: %#llx",
					pom_object_handle(obj), i, value);
		if (pom_condemned(&v->heap->gc, target.side) &&
		    !pom_condemned(&v->heap->gc, obj->side))
			return complain(v->m, "object %#llx: slot %u names a condemned one: %#llx",
					pom_object_handle(obj), i, value);
	}
	return true;
}

/* Checked before anything is counted. */
static bool check_object(struct visit *v, struct pom_object *obj)
{
	if (POM_DEBUG && !pom_object_red_zones_intact(v->heap, obj))
		return complain(v->m, "object %#llx: somebody wrote behind it",
				pom_object_handle(obj));
	if (!check_white(v, obj))
		return false;
	return being_released(v->heap, obj) ? check_released(v, obj) : check_slots(v, obj);
}

static bool check_watches(struct visit *v, struct pom_object *obj)
{
	if (pom_watch_consistent(v->heap, obj))
		return true;
	return complain(v->m, "object %#llx: state %#x does not tell its watches",
			pom_object_handle(obj), obj->side->state);
}

static bool check_counts(struct visit *v, struct pom_object *obj)
{
	if (obj->side->ext)
		return complain(v->m, "object %#llx: ext is %d more than refer to it",
				pom_object_handle(obj), (int)obj->side->ext);
	/* The cascade owns in while an object is dying. */
	if (obj->side->in && !(obj->side->state & POM_DYING) && !being_released(v->heap, obj))
		return complain(v->m, "object %#llx: in is %d more than name it",
				pom_object_handle(obj), (int)obj->side->in);
	return true;
}

static void count_ext(struct pom_heap *heap, u32 link, u32 sign)
{
	struct pom_object obj;

	pom_object_at(heap, link, &obj);
	obj.side->ext += sign;
}

/* Take off (@sign -1) or add (@sign 1) all that refers to objects. */
static void count_all(struct seq_file *m, struct pom_heap *heap, u32 sign)
{
	struct visit v = { .m = m, .heap = heap, .fn = count_slots, .sign = sign };
	struct pom_session *session;
	struct pom_ticket *ticket;
	struct pom_watch *watch;
	struct pom_hold *hold;
	u64 cursor;
	u32 i;

	list_for_each_entry(session, &heap->sessions, heap_node) {
		cursor = 0;
		while ((hold = pom_holds_next(&session->holds, &cursor))) {
			count_ext(heap, hold->link, sign);
			cond_resched();
		}
		list_for_each_entry(watch, &session->events, entry)
			if (watch->kind == POM_WATCH_FINALIZE)
				count_ext(heap, pom_link(watch->handle), sign);
	}
	list_for_each_entry(ticket, &heap->tickets, node)
		count_ext(heap, pom_link(ticket->handle), sign);
	for (i = 0; i < PYOBJMEM_ROOTS; i++)
		if (heap->roots[i])
			count_ext(heap, pom_link(heap->roots[i]), sign);
	visit_objects(&v);
}

static bool verify_holds(struct seq_file *m, struct pom_heap *heap)
{
	struct pom_session *session;
	struct pom_block block;
	struct pom_hold *hold;
	u64 cursor, n;

	list_for_each_entry(session, &heap->sessions, heap_node) {
		n = 0;
		cursor = 0;
		while ((hold = pom_holds_next(&session->holds, &cursor))) {
			n++;
			cond_resched();
			if (!pom_block_find(&heap->space[POM_OBJECTS], hold->link, &block))
				return complain(m, "session of %d holds no block: %#x",
						session->pid, hold->link);
		}
		if (n != session->holds.count)
			return complain(m, "session of %d: holds %llu, counted %llu",
					session->pid, session->holds.count, n);
	}
	return true;
}

/* --- Watches ------------------------------------------------------------- */

static bool verify_session_watches(struct seq_file *m, struct pom_heap *heap,
				   struct pom_session *session, u64 *armed)
{
	u64 n = 0, events = 0;
	struct pom_watch *watch;
	struct pom_object obj;

	list_for_each_entry(watch, &session->watches, entry) {
		n++;
		armed[watch->kind]++;
		if (!pom_block_find(&heap->space[POM_OBJECTS], pom_link(watch->handle),
				    &obj.block))
			return complain(m, "session of %d watches no block: %#llx",
					session->pid, watch->handle);
		cond_resched();
	}
	list_for_each_entry(watch, &session->events, entry) {
		n++;
		events++;
		if (watch->kind == POM_WATCH_FINALIZE &&
		    pom_object_find(heap, watch->handle, &obj))
			return complain(m, "session of %d is to finalize what is dead: %#llx",
					session->pid, watch->handle);
		cond_resched();
	}
	if (n != session->nr_watches || events != session->nr_events)
		return complain(m, "session of %d: watches %llu, counted %llu, events %llu of %llu",
				session->pid, session->nr_watches, n, session->nr_events, events);
	return true;
}

static bool verify_watches(struct seq_file *m, struct pom_heap *heap)
{
	struct visit v = { .m = m, .heap = heap, .fn = check_watches };
	u64 armed[POM_WATCH_KINDS] = {};
	struct pom_session *session;
	struct rb_node *node;
	unsigned int kind;
	u64 n = 0;

	list_for_each_entry(session, &heap->sessions, heap_node)
		if (!verify_session_watches(m, heap, session, armed))
			return false;
	for (node = rb_first(&heap->watches); node; node = rb_next(node)) {
		n++;
		cond_resched();
	}
	for (kind = 0; kind < POM_WATCH_KINDS; kind++) {
		n -= armed[kind];
		if (armed[kind] != heap->nr_watches[kind])
			return complain(m, "heap: watches of kind %u: %llu, counted %llu", kind,
					heap->nr_watches[kind], armed[kind]);
	}
	if (n)
		return complain(m, "heap: %lld more watches in the tree than armed", (s64)n);
	return visit_objects(&v);
}

/* --- Candidates ---------------------------------------------------------- */

static bool check_candidate(struct visit *v, struct pom_object *obj)
{
	u32 state = obj->side->state;
	u32 generation = pom_gc_generation(&v->heap->gc, obj->side->born);
	struct pom_object target;
	u64 value;
	u32 i;

	if (!!(state & POM_LISTED) != (state & POM_CAND && !(state & POM_COLOUR)))
		return complain(v->m, "object %#llx: state %#x", pom_object_handle(obj), state);
	if (obj->head->slots)
		v->live[generation]++;
	/* While all are dated anew, the youngest are dated before the epoch ends. */
	if (obj->side->born > v->heap->gc.epoch && v->heap->gc.phase != POM_RENUMBER)
		return complain(v->m, "object %#llx: born in %u, now is %u",
				pom_object_handle(obj), obj->side->born, v->heap->gc.epoch);
	if ((v->heap->gc.phase == POM_IDLE || v->heap->gc.phase == POM_RENUMBER) &&
	    state & POM_COLOUR)
		return complain(v->m, "object %#llx: traced by no collection",
				pom_object_handle(obj));
	/* L, the rule that lets the collector leave old objects alone. */
	if (obj->side->ext || state & (POM_CAND | POM_COLOUR | POM_DEAD))
		return true;
	for (i = 0; i < obj->head->slots; i++) {
		value = *pom_object_slot(obj, i);
		if (!value)
			continue;
		pom_object_at(v->heap, pom_link(value), &target);
		if (pom_gc_generation(&v->heap->gc, target.side->born) < generation)
			return complain(v->m, "object %#llx: no candidate, names a younger",
					pom_object_handle(obj));
	}
	return true;
}

/* How many candidates there are, and how many of them are permanent */
struct candidate_sums {
	u64 all;
	u64 frozen;
};

static bool verify_list(struct seq_file *m, struct pom_heap *heap, const struct pom_list *list,
			u32 generation, struct candidate_sums *sums)
{
	u32 previous = POM_NIL, link, born_in;
	struct pom_object obj;

	/* Before the first of the work list comes the end of what is traced. */
	if (list == &heap->gc.work && list->head != POM_NIL)
		previous = pom_side_at(heap, list->head)->shadow;
	for (link = list->head; link != POM_NIL; link = obj.side->link) {
		pom_object_at(heap, link, &obj);
		if (!(obj.side->state & POM_LISTED) || obj.side->shadow != previous)
			return complain(m, "candidate at %#x is linked wrongly", link);
		born_in = pom_gc_generation(&heap->gc, obj.side->born);
		if (list != &heap->gc.work && generation != born_in)
			return complain(m, "candidate at %#x is on the list of generation %u",
					link, generation);
		previous = link;
		sums->all++;
		sums->frozen += born_in == POM_PERMANENT;
		cond_resched();
	}
	if (list->tail != previous)
		return complain(m, "list of candidates %u ends at %#x, not at %#x", generation,
				previous, list->tail);
	return true;
}

static bool verify_candidates(struct seq_file *m, struct pom_heap *heap)
{
	struct visit v = { .m = m, .heap = heap, .fn = check_candidate };
	const struct pom_gc *gc = &heap->gc;
	struct candidate_sums sums = {};
	u32 i;

	for (i = 0; i < ARRAY_SIZE(gc->cand); i++)
		if (!verify_list(m, heap, &gc->cand[i], i, &sums))
			return false;
	if (!verify_list(m, heap, &gc->work, ARRAY_SIZE(gc->cand), &sums))
		return false;
	if (sums.all != gc->candidates || sums.frozen != gc->frozen)
		return complain(m, "candidates %llu, counted %llu; permanent %llu, counted %llu",
				gc->candidates, sums.all, gc->frozen, sums.frozen);
	if (!visit_objects(&v))
		return false;
	for (i = 0; i < ARRAY_SIZE(gc->live); i++)
		if (v.live[i] != gc->live[i])
			return complain(m, "containers of generation %u: %llu, counted %llu", i,
					gc->live[i], v.live[i]);
	return true;
}

static bool verify_heap(struct seq_file *m, struct pom_heap *heap)
{
	struct visit v = { .m = m, .heap = heap, .fn = check_object };
	struct space_sums sums = {};
	bool ok;

	if (!verify_space(m, &heap->space[POM_OBJECTS], &sums) ||
	    !verify_space(m, &heap->space[POM_DATA], &sums))
		return false;
	if (sums.pages != heap->pages || sums.objects != heap->objects)
		return complain(m, "heap: pages %llu, counted %llu; objects %llu, counted %llu",
				heap->pages, sums.pages, heap->objects, sums.objects);
	if (!verify_holds(m, heap) || !visit_objects(&v) || !verify_watches(m, heap))
		return false;

	count_all(m, heap, -1);
	v.fn = check_counts;
	ok = visit_objects(&v);
	count_all(m, heap, 1);
	return ok && verify_candidates(m, heap);
}

/**
 * pom_verify_show - recount a heap
 * @m: where to say what is wrong, or "ok"
 * @unused: not used
 *
 * Context: may sleep; takes heap->lock for as long as it counts.
 * Return: 0.
 */
int pom_verify_show(struct seq_file *m, void *unused)
{
	struct pom_heap *heap = m->private;

	pom_heap_lock(heap);
	if (verify_heap(m, heap))
		seq_puts(m, "ok\n");
	pom_heap_unlock(heap);
	return 0;
}

/**
 * pom_verify_debug - recount a heap in a debug build
 * @heap: the heap
 *
 * Called when a collection or a session ends; of a large heap not each time, so
 * that what it costs stays in proportion.
 *
 * Context: heap->lock; may sleep.
 */
void pom_verify_debug(struct pom_heap *heap)
{
	if (!POM_DEBUG)
		return;
	lockdep_assert_held(&heap->lock);
	if (heap->verify_wait) {
		heap->verify_wait--;
		return;
	}
	heap->verify_wait = heap->pages / 16;
	WARN(!verify_heap(NULL, heap), "pyobjmem: heap %llu does not add up", heap->id);
}
