// SPDX-License-Identifier: GPL-2.0
/*
 * The counters of a heap, as STATS and debugfs show them. Reads what all others
 * own, under heap->lock.
 */
#include "pyobjmem.h"

static void heap_stats_gc(struct pom_heap *heap, struct pyobjmem_stats *stats)
{
	const struct pom_gc *gc = &heap->gc;
	u32 i;

	for (i = 0; i < PYOBJMEM_GENERATIONS; i++) {
		stats->out_gc[i].collections = gc->stats[i].collections;
		stats->out_gc[i].collected = gc->stats[i].collected;
		stats->out_gc[i].finalizers = gc->stats[i].finalizers;
		stats->out_gc[i].containers = gc->live[i];
		stats->out_gc[i].count = gc->count[i];
		stats->out_gc[i].threshold = gc->threshold[i];
	}
	stats->out_candidates = gc->candidates;
	stats->out_permanent = gc->live[POM_PERMANENT];
	stats->out_slices = gc->slices;
	stats->out_longest_ns = gc->longest_ns;
	stats->out_collect_ns = gc->total_ns;
}

/**
 * pom_heap_stats - counters of a heap
 * @heap: the heap
 * @stats: out_* but those of the session are filled in
 *
 * Context: heap->lock.
 */
void pom_heap_stats(struct pom_heap *heap, struct pyobjmem_stats *stats)
{
	const struct pom_space *space;

	lockdep_assert_held(&heap->lock);
	for (space = heap->space; space < heap->space + POM_SPACES; space++) {
		stats->out_arenas += space->arenas;
		stats->out_used_bytes += space->used;
		stats->out_slack_bytes += space->slack;
	}
	stats->out_arena_bytes = stats->out_arenas * POM_ARENA_BYTES;
	stats->out_page_bytes = heap->pages * PAGE_SIZE;
	stats->out_free_bytes = stats->out_page_bytes - stats->out_used_bytes -
				stats->out_slack_bytes;
	stats->out_unused_bytes = stats->out_arena_bytes - stats->out_page_bytes;
	stats->out_heap = heap->id;
	stats->out_objects = heap->objects;
	stats->out_created = heap->created;
	stats->out_freed_counted = heap->freed_counted;
	stats->out_freed_collected = heap->freed_collected;
	stats->out_bytes_limit = heap->pages_limit * PAGE_SIZE;
	stats->out_objects_limit = heap->objects_limit;
	stats->out_sessions = heap->nr_sessions;
	stats->out_tickets = heap->nr_tickets;
	stats->out_weak = heap->nr_watches[POM_WATCH_WEAK];
	stats->out_finalizers = heap->nr_watches[POM_WATCH_FINALIZE];
	stats->out_finalizers_abandoned = heap->finalizers_abandoned;
	heap_stats_gc(heap, stats);
}
