/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The collector of a heap: candidates, dates of birth, and the state of the
 * collection that runs. Included by pyobjmem.h, which has the rules.
 */
#ifndef _POM_COLLECT_H
#define _POM_COLLECT_H

/* --- candidate.c, epoch.c, collect.c, collector.c ------------------------ */

#define POM_PERMANENT	PYOBJMEM_GENERATIONS

/* So many new candidates start a full collection, if a quarter of what lives is less, */
#define POM_CANDIDATES_FEW	10000
/* and one for so many visits of the last: what it takes to let go stays bounded. */
#define POM_CANDIDATE_VISITS	64

enum pom_phase {
	POM_IDLE,
	POM_TRACE,	/* stamp, subtract edges inside */
	POM_RESCUE,	/* what is referred to from outside survives */
	POM_FINALIZING,	/* what has a finalizer that is due survives */
	POM_DRAIN,	/* so does what that reaches */
	POM_FREE,	/* what is white is dead: it lets go of what is not */
	POM_RELEASE,	/* its blocks go back, survivors leave the trace list */
	POM_RENUMBER,	/* no collection: all is dated anew */
};

/**
 * struct pom_list - candidates or traced objects, linked through their sides
 * @head: first, or POM_NIL
 * @tail: last, or POM_NIL
 */
struct pom_list {
	u32 head;
	u32 tail;
};

/**
 * struct pom_gc_run - what one collection did
 * @number: how many collections began before and with it
 * @generation: oldest generation it collected
 * @lived: containers that lived when it began, but for the permanent
 * @born: containers created since
 * @visited: objects stamped
 * @visits: visits of objects and slots
 * @collected: objects condemned
 * @finalizers: FINALIZE events queued
 * @slices: holds of the lock
 * @longest_ns: longest of them
 * @began_ns: when it began
 * @duration_ns: how long it took in all
 */
struct pom_gc_run {
	u64 number;
	u32 generation;
	u64 lived;
	u64 born;
	u64 visited;
	u64 visits;
	u64 collected;
	u64 finalizers;
	u64 slices;
	u64 longest_ns;
	u64 began_ns;
	u64 duration_ns;
};

/**
 * struct pom_gc - the collector of a heap, all under heap->lock
 * @phase: what the running collection does, or the renumbering
 * @epoch: the date of birth of new objects
 * @created_at: heap->created when @epoch last advanced
 * @bound: generation g is born at or after bound[g] and before bound[g - 1]
 * @sweep: the generation that a renumbering is at
 * @place: the next place of it
 * @cand: candidates by generation, and of the permanent generation
 * @candidates: how many of all generations, and of the work list
 * @frozen: those of them that are permanent: no collection looks at them
 * @left: the others when the last full collection ended, or fewer
 * @price: so many more pay for what that one did
 * @toll: so many more must come about before they start the next one
 * @lo: the running collection traces what was born at or after this,
 * @hi: and before this
 * @work: candidates that it has not stamped yet
 * @trace: objects that it has stamped
 * @outside: sum of the shadows of the white ones; more where one died or was taken
 * @stack: mark stack, through shadow
 * @finalized: another, of objects whose finalizers are due, until all are found
 * @finalizable: it has stamped an object whose finalizer has not run
 * @closed: nothing that it has stamped survives, has watches, or names anything else
 * @cursor: the object being visited, or POM_NIL
 * @slot: next slot of @cursor to visit
 * @mark: the object taken from @stack whose slots are being visited
 * @mark_slot: next slot of it
 * @run: the running collection, or the last
 * @moved: containers that it moved into generation 2
 * @enabled: collect by itself
 * @due: a collection by itself is queued
 * @pressure: it is to be a full one, because memory is short
 * @threshold: as gc.set_threshold()
 * @count: as gc.get_count()
 * @live: containers by generation
 * @long_lived_total: containers that survived the last full collection
 * @long_lived_pending: containers that came into generation 2 since
 * @stats: collections, objects collected and FINALIZE events by generation
 * @slices: slices of all collections
 * @longest_ns: longest of all
 * @total_ns: time of all
 */
struct pom_gc {
	enum pom_phase phase;
	u32 epoch;
	u64 created_at;
	u32 bound[PYOBJMEM_GENERATIONS];
	u32 sweep;
	u32 place;
	struct pom_list cand[PYOBJMEM_GENERATIONS + 1];
	u64 candidates;
	u64 frozen;
	u64 left;
	u64 price;
	u64 toll;
	u32 lo;
	u32 hi;
	struct pom_list work;
	struct pom_list trace;
	u64 outside;
	u32 stack;
	u32 finalized;
	bool finalizable;
	bool closed;
	u32 cursor;
	u32 slot;
	u32 mark;
	u32 mark_slot;
	struct pom_gc_run run;
	u64 moved;
	bool enabled;
	bool due;
	bool pressure;
	u32 threshold[PYOBJMEM_GENERATIONS];
	u32 count[PYOBJMEM_GENERATIONS];
	u64 live[PYOBJMEM_GENERATIONS + 1];
	u64 long_lived_total;
	u64 long_lived_pending;
	struct {
		u64 collections;
		u64 collected;
		u64 finalizers;
	} stats[PYOBJMEM_GENERATIONS];
	u64 slices;
	u64 longest_ns;
	u64 total_ns;
};

void pom_list_reset(struct pom_list *list);
void pom_list_splice(struct pom_heap *heap, struct pom_list *from, struct pom_list *to);
void pom_candidate_add(struct pom_heap *heap, struct pom_side *side, u32 link);
void pom_candidate_remove(struct pom_heap *heap, struct pom_side *side, u32 link);
void pom_candidate_flag(struct pom_heap *heap, struct pom_object *obj);
void pom_candidate_unflag(struct pom_heap *heap, struct pom_object *obj);
void pom_gc_init(struct pom_heap *heap);
int pom_gc_due(const struct pom_gc *gc);
void pom_gc_ended(struct pom_gc *gc);
void pom_gc_check(struct pom_heap *heap);
u64 pom_gc_worth(const struct pom_gc *gc);
void pom_gc_press(struct pom_heap *heap);
void pom_gc_born(struct pom_heap *heap, struct pom_object *obj);
void pom_gc_freed(struct pom_heap *heap, struct pom_object *obj);
void pom_gc_touch(struct pom_heap *heap, struct pom_object *obj);
void pom_mark_push(struct pom_gc *gc, struct pom_side *side, u32 link);
bool pom_epoch_ended(const struct pom_heap *heap);
void pom_epoch_advance(struct pom_heap *heap);
void pom_renumber_start(struct pom_heap *heap);
void pom_renumber_slice(struct pom_heap *heap, int visits);
void pom_collection_work(struct pom_heap *heap, int visits);
int pom_collect(struct pom_heap *heap, u32 generation, struct pom_gc_run *run);
void pom_collect_help(struct pom_heap *heap, int visits);
int pom_freeze(struct pom_heap *heap, bool freeze);
void pom_collect_work(struct work_struct *work);

#endif /* _POM_COLLECT_H */
