// SPDX-License-Identifier: GPL-2.0
/*
 * Dates of birth: which epoch it is, where the generations begin, and how all is
 * dated anew before the epochs end. Called by candidate.c and collector.c, under
 * heap->lock. What they say of an object tells pom_gc_generation().
 *
 * Generations are ranges of dates, so that moving all objects of one into another is
 * moving a boundary: generation g is born at or after bound[g], the younger ones at
 * or after bound[g - 1]; before bound[2] is permanent. A date is 32 bits. When the last
 * one is in use and another is needed, a renumbering has to come first: POM_RENUMBER,
 * in slices, beside clients, but not beside a collection.
 *
 * It sweeps through all objects once a generation, the oldest first, and dates those
 * of that generation at its beginning. Nothing is dated between that and the next
 * generation then, whose boundary comes down to there. So a comparison with
 * the boundaries tells the generation of every object at any time; nobody who asks
 * needs to know. Newborns get the last date, as ever, until it is the turn of the
 * youngest; from then on they get its first, which is the epoch afterwards.
 *
 * So blocks, pools and arenas may come and go before and behind the sweep: it keeps
 * a number, no pointer, and what comes about behind it needs no other date.
 * Boundaries must not move meanwhile: whoever would move one waits, and helps.
 */
#include "pyobjmem.h"

/* Without newborns, what is born from now on is younger than all that is anyway. */
static bool advance_needed(const struct pom_heap *heap)
{
	return heap->created != heap->gc.created_at;
}

/**
 * pom_epoch_ended - whether the epoch cannot advance as it should
 * @heap: the heap
 *
 * Return: whether a renumbering must come first.
 */
bool pom_epoch_ended(const struct pom_heap *heap)
{
	return heap->gc.epoch == U32_MAX && advance_needed(heap);
}

/**
 * pom_epoch_advance - let what is born from now on be younger than all that is
 * @heap: the heap; its epoch has not ended
 */
void pom_epoch_advance(struct pom_heap *heap)
{
	struct pom_gc *gc = &heap->gc;

	if (!advance_needed(heap))
		return;
	gc->created_at = heap->created;
	gc->epoch++;
}

/**
 * pom_renumber_start - date all objects anew
 * @heap: the heap; no collection runs
 */
void pom_renumber_start(struct pom_heap *heap)
{
	struct pom_gc *gc = &heap->gc;

	gc->phase = POM_RENUMBER;
	gc->sweep = POM_PERMANENT;
	gc->place = 0;
}

/* The first date of the generation that is swept */
static u32 sweep_floor(const struct pom_gc *gc)
{
	return gc->sweep == POM_PERMANENT ? 0 : gc->bound[gc->sweep];
}

/* Whether there are no dates but the first one in a generation */
static bool sweep_needless(const struct pom_gc *gc)
{
	return gc->sweep && gc->bound[gc->sweep - 1] <= sweep_floor(gc) + 1;
}

/* Free blocks are dated 0: where that is the generation's, it is its first date. */
static void sweep_pool(const struct pom_gc *gc, struct pom_pool *pool, u32 floor)
{
	struct pom_side *side;
	u32 i;

	for (i = 0; i < pool->blocks; i++) {
		side = &pool->side[i];
		if (pom_gc_generation(gc, side->born) == gc->sweep)
			side->born = floor;
	}
}

/* Return: whether the sweep has come to its end. */
static bool sweep_slice(struct pom_heap *heap, int *budget)
{
	struct pom_gc *gc = &heap->gc;
	u32 floor = sweep_floor(gc), number, place;
	struct pom_arena *arena;

	while (*budget > 0) {
		number = gc->place / POM_ARENA_POOLS;
		place = gc->place % POM_ARENA_POOLS;
		arena = pom_arena_next(&heap->space[POM_OBJECTS], &number);
		if (!arena)
			return true;
		if (arena->index != gc->place / POM_ARENA_POOLS)
			place = 0;
		for (; place < POM_ARENA_POOLS && *budget > 0; place++) {
			--*budget;
			if (!arena->pool[place])
				continue;
			sweep_pool(gc, arena->pool[place], floor);
			*budget -= arena->pool[place]->blocks;
		}
		gc->place = arena->index * POM_ARENA_POOLS + place;
	}
	return false;
}

static void sweep_end(struct pom_gc *gc)
{
	u32 floor = sweep_floor(gc);

	if (!gc->sweep) {
		gc->phase = POM_IDLE;
		return;
	}
	gc->sweep--;
	gc->bound[gc->sweep] = min(gc->bound[gc->sweep], floor + 1);
	gc->place = 0;
	if (!gc->sweep)
		gc->epoch = gc->bound[0];
}

/**
 * pom_renumber_slice - go on dating objects anew
 * @heap: the heap, in POM_RENUMBER; in POM_IDLE afterwards if it is done
 * @visits: blocks and places to visit, up to a pool more
 *
 * Context: heap->lock.
 */
void pom_renumber_slice(struct pom_heap *heap, int visits)
{
	struct pom_gc *gc = &heap->gc;

	lockdep_assert_held(&heap->lock);
	while (visits > 0 && gc->phase == POM_RENUMBER)
		if (sweep_needless(gc) || sweep_slice(heap, &visits))
			sweep_end(gc);
	pom_verify_debug(heap);
}
