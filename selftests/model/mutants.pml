/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The rules of the collector, by name, each of which can be left out of the model with
 * -DMUTANT=NAME. scripts/check-model does so with one after the other and expects the
 * search to notice. Behind each: the switches of a small search that does, and what is
 * done without the rule.
 */

/* Candidates: whatever removes a reference makes one, in any phase and generation. */
#define CAND_PUT 1 /* : PUT makes no candidates */
#define CAND_SET_REF 2 /* : SET_REF makes no candidates */
#define CAND_ROOT 3 /* ROOT: a root that changes makes no candidates */
#define CAND_DEATH 4 /* DEATH: a session that ends makes no candidates */
#define CAND_CASCADE 5 /* : the cascade makes no candidates */
#define CAND_FREE 6 /* SLOTS0=2 GENERATIONS=2: what the collector frees makes no candidates */
#define CAND_TRACED 7 /* : what is traced becomes no candidate */
#define CAND_PERMANENT 8 /* FREEZE: what is permanent becomes no candidate */
#define CAND_CLEARED 9 /* : CAND is cleared when the slots were traced, not at the stamp */
#define CAND_KEPT 10 /* : what survives loses CAND */
#define RELEASE_LISTS 11 /* : what survives with CAND gets on no list */
#define YOUNGER 12 /* GENERATIONS=2: a survivor that names something younger is none */
#define LEAF 13 /* SLOTS1=0: what has no slots becomes a candidate */
#define STAMP_UNLISTS 14 /* : what is stamped stays on its list */
#define DYING_UNLISTED 15 /* : what dies stays on its list */
#define WORK_HEAD 26 /* : the first of the work list leaves as if nothing came before it */

/* Tracing */
#define TOUCH 16 /* : GET_REF does not tell the collector */
#define STAMP_EXT 17 /* : the stamp does not look at ext */
#define RESCUE 18 /* : nobody looks at the shadows */
#define SHADOW_WHITE 19 /* : gray objects lose shadow too, and with it the mark stack */
#define DYING_TOUCH 20 /* : what dies while it is white stays white */
#define MARK_DYING 21 /* SLOTS0=2 WEAK: the slots of what died while it was gray are not visited */
#define DYING_YOUNGER 67 /* SLOTS0=2: what died while it was gray becomes a candidate */
#define LIMBO 22 /* : a block that died while it was traced is used again at once */
#define LIMBO_RELEASED 23 /* : a block that died while it was traced is never used again */

/* Freeing */
#define CONDEMN_DRAINED 24 /* : what is white is condemned before the mark stack is empty */
#define CONDEMN_AT_ONCE 25 /* WEAK: it is condemned under a later hold of the lock */
#define FREE_DROPS 27 /* SLOTS0=2: slots are emptied without a word to what they named */
#define CLOSED_SURVIVORS 28 /* SLOTS0=2: nothing is dropped although something survives */
#define CLOSED_OUTSIDE 29 /* SLOTS0=2 GENERATIONS=2: nothing is dropped although old objects are named */
#define CLOSED_WATCHED 66 /* WEAK: nothing is dropped, weak holds neither */
#define RELEASE_RESETS 30 /* : a block is used again with its old state */

/* Generations */
#define EPOCH_ADVANCE 31 /* : a collection begins in the epoch of the newest objects */
#define BOUND_MOVES 32 /* GENERATIONS=2: the boundary of generation 1 stays when 2 is collected */
#define FREEZE_ADVANCE 33 /* FREEZE: what is born next is permanent too */
#define FREEZE_LISTS 34 /* FREEZE: candidates stay on the lists of their generations */
#define UNFREEZE_LISTS 35 /* FREEZE: candidates stay on the list of the permanent generation */

/* The end of the epochs */
#define RENUMBER_IDLE 36 /* FREEZE EPOCH_LAST=4: FREEZE renumbers during a collection */
#define RENUMBER_ORDER 37 /* EPOCH_LAST=4: the youngest generation is dated first */
#define RENUMBER_SWEPT 38 /* EPOCH_LAST=4: a boundary is lowered before all below it are dated */
#define RENUMBER_EPOCH 39 /* EPOCH_LAST=4: what is born meanwhile is dated as before to the end */
#define RENUMBER_FLOOR 40 /* GENERATIONS=3 SLOTS1=0 EPOCH_LAST=4: the new dates are fixed numbers */
#define RENUMBER_MIN 41 /* GENERATIONS=3 SLOTS1=0 EPOCH_LAST=4: a boundary that is low is raised */
#define RENUMBER_FREEZE 42 /* FREEZE EPOCH_LAST=4: FREEZE does not wait for the end of it */
#define RENUMBER_UNFREEZE 43 /* FREEZE EPOCH_LAST=4: UNFREEZE does not wait for the end of it */
#define RENUMBER_SERVES 44 /* SLOTS1=0 CALLERS=1 EPOCH_LAST=4: COLLECT takes it for a collection */

/* Callers */
#define CALLER_OWN 45 /* CALLERS=1: COLLECT returns with a collection that had begun before it */
#define FREEZE_SETTLES 46 /* SLOTS0=2 FREEZE CALLERS=1 ENDLESS: FREEZE lets the cascade be */
#define KILLED_WORKER 47 /* CALLERS=1: nobody goes on with the collection of one who is killed */

/* Weak holds */
#define UPGRADE_TOUCH 48 /* WEAK: UPGRADE does not tell the collector */
#define UPGRADE_DYING 49 /* WEAK: UPGRADE gets what dies */
#define UPGRADE_CONDEMNED 50 /* WEAK: UPGRADE gets what is condemned */
#define WEAK_CASCADE 51 /* WEAK: a weak hold of what the cascade frees stays behind */
#define WEAK_FREE 52 /* WEAK: a weak hold of what the collector frees stays behind */
#define WEAK_LEAF 53 /* SLOTS1=0 WEAK: what has no slots is freed at once, weak holds or not */
#define WATCH_ENDS 54 /* DEATH WEAK: weak holds stay when their session ends */

/* Finalizers */
#define WEAK_AFTER 55 /* FINALIZE WEAK: weak holds die before the finalizer has run */
#define FINALIZE_ONCE 56 /* FINALIZE: a finalizer runs again and again */
#define FINALIZE_TOUCH 57 /* FINALIZE: its hold at the last reference does not tell the collector */
#define FINALIZE_DUE 58 /* FINALIZE: what has a finalizer is condemned like everything else */
#define FINALIZE_DRAINED 59 /* FINALIZE WEAK: a finalizer runs for what is in use again */
#define FINALIZE_ALL 60 /* FINALIZE=2: what one can reach is rescued before others are queued */
#define FINALIZE_RESCUES 61 /* FINALIZE: what a finalizer can reach is not kept */
#define FINALIZE_ENDED 62 /* DEATH FINALIZE: a finalizer is queued for a session that has ended */
#define EVENT_HOLDS 63 /* FINALIZE: an event does not hold its object */
#define EVENT_COUNTS 64 /* FINALIZE WEAK: what is read of an object that is held counts twice */
#define EVENT_ENDS 65 /* DEATH FINALIZE: events that nobody will read hold their objects for ever */
