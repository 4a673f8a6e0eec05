/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The cycle collector as a SPIN model: kmod/{collect,candidate,object,watch}.c and what
 * of ops.c, session.c, event.c and heap.c changes references. Names are those of the
 * code, and an inline does what the function of its name does, with the same fields and
 * lists. Where code and model differ, one of them is wrong. scripts/check-model runs it.
 *
 * What a complete search proves, for its sizes and for every order of lock holds:
 *
 *  - What a session, a root or a ticket refers to, directly or not, is never condemned
 *    and never freed; no finalizer runs for it. A queued event holds its object, so
 *    what a finalizer can reach is whole.
 *  - A block that was given back is reached by nothing: no list, stack, cursor, root or
 *    hold, and no slot but of garbage that is given back as well; and it is given
 *    back once.
 *  - A finalizer runs once, for a session that has not ended, and before any weak hold
 *    dies of the same death. A weak hold outlives neither its object nor its session, and
 *    UPGRADE never gets what is dead or condemned.
 *  - ext and in are exact, but in of what is being given back. link, shadow and in have one use at a time: every list, both
 *    stacks and the cascade are walked, and hold exactly what the states say.
 *  - J and L (see collect.c) hold between any two lock holds.
 *  - The promise: once mutation stops, the collection in progress and one full one free
 *    everything dead that hangs on nothing permanent. If they queue finalizers, then
 *    once those are handled one more does. And nothing ever gets stuck.
 *  - With VISITS: a collection ends after so many visits, whatever clients do.
 *  - With CALLERS: whoever is killed, somebody works on a collection that has begun, and
 *    on the cascade; a COLLECT that returns was followed by the whole of a collection.
 *  - With EPOCH_LAST: while everything is dated anew, slice by slice, the generation of
 *    every object is right at any time, and clients go on.
 *
 * One process, one loop: each turn is one lock hold, and between any two of them any
 * other may come. A slice is one visit, the smallest that the code's budget allows; a
 * longer one is several of them without another between. Then `step' checks all.
 *
 * What it leaves out: where blocks lie (they are numbered, the lowest free one is taken),
 * so generations of handles too; payloads; how often a session has taken what it holds
 * (only 0 or not changes counts); a root stands for the tickets; limits and errors, which
 * change nothing; what a session is told of its weak holds; without CALLERS, who works on
 * a collection and on the cascade: somebody does. What the end of a heap destroys.
 * Dates of birth are only compared: without EPOCH_LAST those that no boundary tells apart
 * are made equal, so epochs without end have finitely many states. With it they are what
 * they are, and the epoch comes to its end.
 *
 * Sizes:	N objects (2 or 3) with SLOTS0, SLOTS1, SLOTS2 slots
 *		SESSIONS (1 or 2)
 * Switches:	ROOT		a root
 *		EDGES		CREATE with first values of its slots
 *		GENERATIONS	2: COLLECT of generation 1 as well as 2; 3: of 0 too
 *		FREEZE		FREEZE and UNFREEZE
 *		DEATH		sessions end, and others join
 *		WEAK		so many sessions hold weakly: 1 or 2
 *		FINALIZE	so many objects can be made with finalizers
 *		CALLERS		1 or 2 callers of COLLECT and FREEZE, who may be killed
 *		EPOCH_LAST	the last epoch, U32_MAX in the code; at least 4
 *		VISITS		count the visits of a collection
 *		ENDLESS		mutation never stops: half the states, without the promise
 *		OUTSIDE		check only what clients can tell, to see what a mutant does
 *		MUTANT		the rule that is left out: see mutants.pml
 */
#ifndef N
#define N		3
#endif
#ifndef SLOTS0
#define SLOTS0		1
#endif
#ifndef SLOTS1
#define SLOTS1		1
#endif
#ifndef SLOTS2
#define SLOTS2		1
#endif
#ifndef GENERATIONS
#define GENERATIONS	1
#endif
#ifndef SESSIONS
#define SESSIONS	1
#endif
#ifdef EPOCH_LAST
#define EPOCHS_END
#endif

#include "mutants.pml"
#ifndef MUTANT
#define MUTANT		0
#endif
#define RULE(rule)	(MUTANT != (rule))

#define MOST		2	/* slots of an object, and sessions */
#define POM_NIL		N
#define SLOTS(o)	((o) == 0 -> SLOTS0 : ((o) == 1 -> SLOTS1 : SLOTS2))
#define SLOT(o, k)	slot[(o) * MOST + (k)]

/* Phases */
#define POM_IDLE	0
#define POM_TRACE	1
#define POM_RESCUE	2
#define POM_FINALIZING	3	/* left out if nothing with a finalizer was stamped */
#define POM_DRAIN	4	/* the end of POM_RESCUE again, for what the finalizers keep */
#define POM_FREE	5
#define POM_RELEASE	6
#define POM_RENUMBER	7	/* no collection: everything is dated anew */

/* struct pom_side */
#define POM_WHITE	1
#define POM_GRAY	2
#define POM_BLACK	3
#define POM_COLOUR	3
#define POM_CAND	4
#define POM_LISTED	8
#define POM_DYING	16
#define POM_LIMBO	32
#define POM_DEAD	(POM_DYING | POM_LIMBO)
#define POM_WATCHED	64	/* has weak holds, or a finalizer that has not run */
#define POM_FINALIZE	128	/* the latter */
#define POM_FLAGS	255

byte ext[N], in_[N], shadow[N], born[N], link[N];	/* `in' is Promela's */
byte state[N];
byte slot[N * MOST];

/* struct pom_gc: the lists are cand[0..2], cand[POM_PERMANENT], work and trace. */
#define POM_PERMANENT	3
#define WORK		4
#define TRACE		5
#define LISTS		6
byte head[LISTS], tail[LISTS];
byte phase, epoch, bound[3], lo, hi;
byte stack, cursor, cursor_slot, mark, mark_slot;
byte live[4];
bit finalizable;		/* what was stamped has finalizers that have not run */
bit closed;			/* nothing that was survives, is watched, or names anything else */
bit created;			/* heap->created != gc->created_at */

/* struct pom_heap */
byte dying, dropping, dropping_slot;
#define SETTLED		(dying == POM_NIL && dropping == POM_NIL)
#ifdef ROOT
byte root;
#else
#define root	POM_NIL
#endif

/* Clients. */
bit hold[SESSIONS * N];
bit ended[SESSIONS];
bit stop;			/* no mutation any more */
bit last;			/* and the last full collection has begun */
#define HOLD(s, o)	hold[(s) * N + (o)]

#ifdef FINALIZE
byte finalized;			/* stack of what finalizers keep alive, through shadow */
byte rounds;			/* full collections since mutation stopped */
#define FINALIZERS	FINALIZE
#else
#define finalized	POM_NIL
#define FINALIZERS	0
#endif
#ifdef WEAK
#define WEAK_HOLDERS	WEAK
#else
#define WEAK_HOLDERS	0
#endif
#ifdef VISITS
byte visits;
#endif

/* What the model knows, and the code does not: blocks in use. */
bit used[N];

/* Choices of a client, 0 between turns. */
byte p, q, w, k;

/* What follows under the same lock hold: see `step'. */
byte lost, whole;
#define NOBODY		255
byte why;			/* who dropped it; for mutants */
#define BY_PUT		0
#define BY_ROOT		1
#define BY_SET_REF	2
#define BY_DEATH	3
#define BY_CASCADE	4
#define BY_FREE		5

/* Scratch within one d_step. */
hidden byte c, end, g, i, j, l, n, o, v, x;
hidden byte reach[N];

#define COLOUR(o)	(state[o] & POM_COLOUR)
#define PAINT(o, colour) state[o] = (state[o] & (POM_FLAGS - POM_COLOUR)) | (colour)
#define SET(o, flags)	state[o] = state[o] | (flags)
#define CLEAR(o, flags)	state[o] = state[o] & (POM_FLAGS - (flags))
#define GENERATION(o)	(born[o] >= bound[0] -> 0 : (born[o] >= bound[1] -> 1 : \
			(born[o] >= bound[2] -> 2 : POM_PERMANENT)))
#define BORN_IN_RANGE(o) (born[o] >= lo && born[o] < hi)
#define FREEING		(phase == POM_FREE || phase == POM_RELEASE)
#define CONDEMNED(o)	(FREEING && COLOUR(o) == POM_WHITE)
#define RELEASED(o)	(phase == POM_RELEASE && COLOUR(o) == POM_WHITE)

#include "watch.pml"
#include "object.pml"
#include "collect.pml"
#include "epoch.pml"
#include "check.pml"

/* The end of a lock hold: what follows from what was done, and nothing between. */
inline step()
{
	if
	:: lost != NOBODY -> pom_object_dropped(lost)
	:: else
	fi;
	if
	:: whole != NOBODY -> cascade_whole(whole)
	:: else
	fi;
	lost = NOBODY;
	whole = NOBODY;
	why = 0;
	p = 0;
	q = 0;
	w = 0;
	k = 0;
#ifdef CALLERS
	settling = !SETTLED && (settling || !leaves);
	leaves = 0;
#endif
	check()
}

/* --- Clients --------------------------------------------------------------- */

#define QUIET		(stop && !last && phase == POM_IDLE && SETTLED && !ANY(READABLE) && \
			!ANY_SESSION(LEAVING) && NOBODY_COLLECTS)

#if N == 2
#define ANY(C)		(C(0) || C(1))
#define PICK(y, C)	if :: C(0) -> y = 0 :: C(1) -> y = 1 fi
#define PICK_OR(y, C)	if :: C(0) -> y = 0 :: C(1) -> y = 1 :: y = POM_NIL fi
#else
#define ANY(C)		(C(0) || C(1) || C(2))
#define PICK(y, C)	if :: C(0) -> y = 0 :: C(1) -> y = 1 :: C(2) -> y = 2 fi
#define PICK_OR(y, C)	if :: C(0) -> y = 0 :: C(1) -> y = 1 :: C(2) -> y = 2 :: y = POM_NIL fi
#endif
#define HOLDS(s)	(HOLD(s, 0) || HOLD(s, 1) || (N > 2 && HOLD(s, N - 1)))
#define ALIVE(s)	(!stop && !ended[s])
#if SESSIONS > 1
#define ANY_SESSION(C)	(C(0) || C(1))
#define PICK_SESSION(C)	if :: C(0) -> p = 0 :: C(1) -> p = 1 fi
#else
#define ANY_SESSION(C)	C(0)
#define PICK_SESSION(C)	p = 0
#endif
#define PICK_SLOT	if :: k = 0 :: SLOTS(q) > 1 -> k = 1 fi

#define UNUSED(o)	(!used[o])
#define HELD(o)		(HOLD(p, o))
#define HOLDER(s)	(ALIVE(s) && HOLDS(s))
#define HELD_SLOTS(o)	(HOLD(p, o) && SLOTS(o))
#define HOLDER_OF_SLOTS(s) (ALIVE(s) && (HOLD(s, 0) && SLOTS(0) || HOLD(s, 1) && SLOTS(1) || \
			N > 2 && HOLD(s, N - 1) && SLOTS(N - 1)))
#define USES(s, o)	(HOLD(s, o) || \
			(WEAK_HOLD(s, o) || FINALIZER_OF(s, o)) && RULE(WATCH_ENDS) || \
			EVENT_OF(s, o) && RULE(EVENT_ENDS))
#define LEFT(o)		USES(p, o)
#define LEAVING(s)	(ended[s] && (USES(s, 0) || USES(s, 1) || N > 2 && USES(s, N - 1)))
#define GONE(s)		(ended[s] && !LEAVING(s) && !stop)
#define WATCHER(s)	((s) < WEAK_HOLDERS && ALIVE(s) && (WEAK_HOLD(s, 0) || WEAK_HOLD(s, 1) || \
			N > 2 && WEAK_HOLD(s, N - 1)))
#define WEAK_OF(o)	WEAK_HOLD(p, o)
#define WATCHES(s)	((s) < WEAK_HOLDERS && HOLDER(s))
#ifdef FINALIZE
#define READABLE(o)	(QUEUED(o) && !ended[owner[o]] && (!last || phase == POM_IDLE))
#else
#define READABLE(o)	false
#endif
#define USABLE		(used[q] && !(state[q] & POM_DEAD) && !CONDEMNED(q))

inline first_value(kth)
{
	if
	:: SLOTS(q) > kth ->
		PICK_OR(w, HELD);
		if
		:: w != POM_NIL -> SLOT(q, kth) = w; in_[w]++
		:: else
		fi
	:: else
	fi
}

inline object_set_slot()
{
	if
	:: w != POM_NIL -> in_[w]++
	:: else
	fi;
	v = SLOT(q, k);
	SLOT(q, k) = w;
	if
	:: v != POM_NIL ->
		in_[v]--;
		lost = v;
		why = BY_SET_REF
	:: else
	fi
}

/* The last collection has begun; or the one after the finalizers that it found. */
inline ending()
{
	last = w && phase == POM_TRACE;
#ifdef FINALIZE
#ifndef FREEZE
	rounds = rounds + last;
	assert(rounds <= 2)
#endif
#endif
}

inline setup()
{
	i = 0;
	do
	:: i < N * MOST -> slot[i] = POM_NIL; i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < LISTS -> head[i] = POM_NIL; tail[i] = POM_NIL; i++
	:: else -> break
	od;
#ifdef ROOT
	root = POM_NIL;
#endif
#ifdef FINALIZE
	finalized = POM_NIL;
#endif
	stack = POM_NIL;
	cursor = POM_NIL;
	mark = POM_NIL;
	dying = POM_NIL;
	dropping = POM_NIL;
	lost = NOBODY;
	whole = NOBODY;
	epoch = 1
}

active proctype heap()
{
	d_step { setup() }

	do
	:: atomic {
		if
		:: ANY_SESSION(ALIVE) && ANY(UNUSED) ->		/* CREATE */
			PICK_SESSION(ALIVE);
			q = (!used[0] -> 0 : (!used[1] -> 1 : N - 1));
#ifdef EDGES
			first_value(0);
			first_value(1);
#endif
#ifdef FINALIZE
			if
			:: q < FINALIZERS -> k = 1
			:: k = 0
			fi;
#endif
			d_step {
				used[q] = 1;
#ifdef FINALIZE
				if
				:: k -> state[q] = POM_WATCHED | POM_FINALIZE; owner[q] = p
				:: else -> spent[q] = 1
				fi;
#endif
				ext[q] = 1;
				link[q] = POM_NIL;
				HOLD(p, q) = 1;
				born[q] = epoch;
				created = 1;
				live[0] = live[0] + (SLOTS(q) -> 1 : 0)
			}
		:: ANY_SESSION(HOLDER) ->			/* PUT */
			PICK_SESSION(HOLDER);
			PICK(q, HELD);
			d_step {
				assert(USABLE);
				HOLD(p, q) = 0;
				pom_ext_put(q, BY_PUT)
			}
		:: ANY_SESSION(HOLDER_OF_SLOTS) ->		/* GET_REF */
			PICK_SESSION(HOLDER_OF_SLOTS);
			PICK(q, HELD_SLOTS);
			PICK_SLOT;
			d_step {
				q = SLOT(q, k);
				if
				:: q != POM_NIL && !HOLD(p, q) ->
					assert(USABLE);
					HOLD(p, q) = 1;
					pom_ext_get(q)
				:: else
				fi
			}
		:: ANY_SESSION(HOLDER_OF_SLOTS) ->		/* SET_REF */
			PICK_SESSION(HOLDER_OF_SLOTS);
			PICK(q, HELD_SLOTS);
			PICK_SLOT;
			PICK_OR(w, HELD);
			d_step { object_set_slot() }
#ifdef ROOT
		:: ANY_SESSION(HOLDER) ->			/* SET_ROOT, EXPORT */
			PICK_SESSION(HOLDER);
			PICK(q, HELD);
			d_step {
				v = root;
				root = q;
				pom_ext_get(q);
				if
				:: v != POM_NIL -> pom_ext_put(v, BY_ROOT)
				:: else
				fi
			}
		:: !stop && root != POM_NIL ->			/* SET_ROOT to none */
			d_step { v = root; root = POM_NIL; pom_ext_put(v, BY_ROOT) }
		:: ANY_SESSION(ALIVE) && root != POM_NIL ->	/* GET_ROOT, REDEEM */
			PICK_SESSION(ALIVE);
			d_step {
				q = root;
				if
				:: !HOLD(p, q) -> HOLD(p, q) = 1; pom_ext_get(q)
				:: else
				fi
			}
#endif
#ifdef WEAK
		:: ANY_SESSION(WATCHES) ->			/* WEAK */
			PICK_SESSION(WATCHES);
			PICK(q, HELD);
			d_step { WEAK_HOLD(p, q) = 1; SET(q, POM_WATCHED) }
		:: ANY_SESSION(WATCHER) ->			/* WEAK_DROP */
			PICK_SESSION(WATCHER);
			PICK(q, WEAK_OF);
			d_step { weak_remove(p, q) }
		:: ANY_SESSION(WATCHER) ->			/* UPGRADE */
			PICK_SESSION(WATCHER);
			PICK(q, WEAK_OF);
			d_step {
				assert(used[q]);
				if
				:: (state[q] & POM_DEAD) && RULE(UPGRADE_DYING)
				:: CONDEMNED(q) && RULE(UPGRADE_CONDEMNED)
				:: HOLD(p, q)
				:: else ->
					HOLD(p, q) = 1;
					if
					:: RULE(UPGRADE_TOUCH) -> pom_ext_get(q)
					:: else -> ext[q]++
					fi
				fi
			}
#endif
#ifdef FINALIZE
		:: ANY(READABLE) ->				/* read(2); at the end, and PUT */
			PICK(q, READABLE);
			d_step {
				p = owner[q];
				event[q] = 0;
				owner[q] = 0;
				if
				:: stop -> pom_ext_put(q, BY_PUT); last = 0
				:: !stop && HOLD(p, q) && RULE(EVENT_COUNTS) -> ext[q]--
				:: else -> HOLD(p, q) = 1
				fi
			}
#endif
#ifdef DEATH
		:: ANY_SESSION(ALIVE) ->			/* a session ends */
			PICK_SESSION(ALIVE);
			ended[p] = 1
		:: ANY_SESSION(LEAVING) ->			/* all of its goes */
			PICK_SESSION(LEAVING);
			PICK(q, LEFT);
			if
			:: HOLD(p, q) -> k = 0
#ifdef WEAK
			:: WEAK_HOLD(p, q) -> k = 1
#endif
#ifdef FINALIZE
			:: FINALIZER_OF(p, q) -> k = 2
			:: EVENT_OF(p, q) -> k = 3
#endif
			fi;
			d_step {
				if
				:: k == 0 -> HOLD(p, q) = 0; pom_ext_put(q, BY_DEATH)
#ifdef WEAK
				:: k == 1 -> weak_remove(p, q)
#endif
#ifdef FINALIZE
				:: k == 2 -> finalizer_remove(q)
				:: k == 3 -> event[q] = 0; owner[q] = 0; pom_ext_put(q, BY_DEATH)
#endif
				fi
			}
		:: ANY_SESSION(GONE) ->				/* another one joins */
			PICK_SESSION(GONE);
			d_step {
				i = 0;
				do
				:: i < N -> assert(!WEAK_HOLD(p, i) && !FINALIZER_OF(p, i)); i++
				:: else -> break
				od;
				ended[p] = 0
			}
#endif
#ifdef FREEZE
#ifndef CALLERS
		:: !stop && FREEZE_CAN ->
			d_step { pom_freeze() }
#endif
		:: !stop && bound[2] && UNFREEZE_CAN ->
			d_step { pom_unfreeze() }
		:: !RULE(RENUMBER_IDLE) && EPOCH_DUE && phase != POM_IDLE && phase != POM_RENUMBER ->
			d_step { renumber_start() }
#endif
		:: !SETTLED && SETTLES ->
			d_step { pom_cascade_slice() }
		:: phase != POM_IDLE ->			/* whoever works on it */
			d_step {
				collection_slice();
#ifdef CALLERS
				leaves = !RULE(FREEZE_SETTLES) && ANY_CALLER(FREEZER)
#endif
			}
#ifdef CALLERS
		:: !stop && ANY_CALLER(OUTSIDE_) ->		/* COLLECT, FREEZE */
			PICK_CALLER(OUTSIDE_);
			if
			:: wants[q] = 2
			:: wants[q] = 0
#ifdef FREEZE
			:: wants[q] = FREEZES
#endif
			fi;
			caller[q] = IN
		:: phase == POM_IDLE && ANY_CALLER(SERVED) ->	/* returns */
			PICK_CALLER(SERVED);
			d_step { assert(whole_one[q]); caller_leaves(q); leaves = 1 }
#ifdef FREEZE
		:: FREEZE_CAN && ANY_CALLER(FREEZER) ->
			PICK_CALLER(FREEZER);
			d_step { pom_freeze(); caller_leaves(q); leaves = 1 }
#endif
		:: !stop && ANY_CALLER(INSIDE) ->		/* is killed */
			PICK_CALLER(INSIDE);
			d_step { caller_leaves(q); worker = RULE(KILLED_WORKER); leaves = 1 }
		:: worker && phase == POM_IDLE ->		/* pom_collect_work() */
			d_step { worker = 0; leaves = 1 }
		:: phase == POM_IDLE && (ANY_CALLER(BEGINS) || QUIET) ->
			if
			:: ANY_CALLER(BEGINS) -> PICK_CALLER(BEGINS); k = wants[q]
			:: QUIET -> k = 2; w = 1; worker = 1
			fi;
			d_step { collection_begin(k); ending() }
#else
		:: phase == POM_IDLE && (!stop || QUIET) ->
			if
			:: k = 2; w = stop
#if GENERATIONS > 1
			:: !stop -> k = 1
#endif
#if GENERATIONS > 2
			:: !stop -> k = 0
#endif
			fi;
			d_step { collection_begin(k); ending() }
#endif
#ifndef ENDLESS
		:: !stop ->
			stop = 1
#endif
		fi;
		d_step { step() }
	   }
	:: last && phase == POM_IDLE && SETTLED && !ANY(READABLE) ->	/* the promise */
		d_step {
			i = 0;
			do
			:: i < N ->
				reach[i] = ext[i] || used[i] && GENERATION(i) == POM_PERMANENT;
				i++
			:: else -> break
			od;
			close_reach();
			i = 0;
			do
			:: i < N -> assert((!used[i] || reach[i]) && !QUEUED(i)); i++
			:: else -> break
			od;
			i = 0
		}
		break
	od
}
