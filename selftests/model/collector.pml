/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The cycle collector as a SPIN model: kmod/{collect,candidate,object}.c and what of
 * ops.c, session.c and heap.c changes references. Names are those of the code, and an
 * inline does what the function of its name does, with the same fields and lists.
 * Where code and model differ, one of them is wrong. scripts/check-model runs it.
 *
 * What a complete search proves, for its sizes and for every order of lock holds:
 *
 *  - What a session, a root or a ticket refers to, directly or not, is never condemned
 *    and never freed; no finalizer runs for it.
 *  - A block that was given back is reached by nothing: no slot, list, stack, cursor,
 *    root or hold; and it is given back once.
 *  - ext and in are exact. link, shadow and in have one use at a time: every list, both
 *    stacks and the cascade are walked, and hold exactly what the states say.
 *  - J and L (see collect.c) hold between any two lock holds.
 *  - The promise: once mutation stops, the collection in progress and one full one free
 *    everything dead that hangs on nothing permanent. And nothing ever gets stuck.
 *  - With VISITS: a collection ends after so many visits, whatever clients do.
 *  - With CALLERS: whoever is killed, somebody works on a collection that has begun, and
 *    on the cascade; a COLLECT that returns was followed by the whole of a collection.
 *
 * One process, one loop: each turn is one lock hold, and between any two of them any
 * other may come. A slice is one visit, the smallest that the code's budget allows; a
 * longer one is several of them without another between. Then `step' checks all.
 *
 * What it leaves out: where blocks lie (they are numbered, the lowest free one is taken),
 * so generations of handles too; payloads; how often a session has taken what it holds
 * (only 0 or not changes counts); a root stands for the tickets; limits and errors, which
 * change nothing; without CALLERS, who works on a collection and on the cascade: somebody
 * does. What the end of a heap destroys.
 * Dates of birth are only compared: without EPOCH_LAST those that no boundary tells apart
 * are made equal, so epochs without end have finitely many states. With it they are what
 * they are, and the epoch comes to its end.
 *
 * Weak references, and finalizers: WEAK, FINALIZE. The code does not have them yet.
 *
 * Sizes:	N objects (2 or 3) with SLOTS0, SLOTS1, SLOTS2 slots
 *		SESSIONS (1 or 2)
 * Switches:	ROOT		a root
 *		EDGES		CREATE with first values of its slots
 *		GENERATIONS	2: COLLECT of generation 1 as well as 2; 3: of 0 too
 *		FREEZE		FREEZE and UNFREEZE
 *		DEATH		sessions end, and others join
 *		CALLERS		1 or 2 callers of pom_collect(), who may be killed
 *		EPOCH_LAST	the last epoch, U32_MAX in the code; at least 5
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

#include "mutants.pml"
#ifndef MUTANT
#define MUTANT		0
#endif
#define RULE(rule)	(MUTANT != (rule))

#define MOST		2	/* slots of an object, and sessions */
#define POM_NIL		N
#define SLOTS(o)	((o) == 0 -> SLOTS0 : ((o) == 1 -> SLOTS1 : SLOTS2))
#define SLOT(o, k)	slot[(o) * MOST + (k)]

/* Phases. POM_FINALIZE is for later. */
#define POM_IDLE	0
#define POM_TRACE	1
#define POM_RESCUE	2
#define POM_FINALIZE	3
#define POM_DRAIN	4	/* the end of POM_RESCUE again, for what the finalizers keep */
#define POM_FREE	5

/* struct pom_side */
#define POM_WHITE	1
#define POM_GRAY	2
#define POM_BLACK	3
#define POM_COLOUR	3
#define POM_CAND	4
#define POM_LISTED	8
#define POM_DYING	16
#define POM_LIMBO	32
#define POM_DONE	64
#define POM_DEAD	(POM_DYING | POM_LIMBO | POM_DONE)

byte ext[N], in_[N], shadow[N], state[N], born[N], link[N];	/* `in' is Promela's */
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
bit pending[N], ran[N];		/* a finalizer that has not run; or has */
byte owner[N];			/* of it */
byte finalized;			/* stack of what it keeps alive, through shadow */
#else
#define finalized	POM_NIL
#endif
#ifdef WEAK
byte weak;
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
hidden byte c, g, i, j, l, n, o, v, x;
hidden byte reach[N];

#define COLOUR(o)	(state[o] & POM_COLOUR)
#define PAINT(o, colour) state[o] = (state[o] & (255 - POM_COLOUR)) | (colour)
#define SET(o, flags)	state[o] = state[o] | (flags)
#define CLEAR(o, flags)	state[o] = state[o] & (255 - (flags))
#define GENERATION(o)	(born[o] >= bound[0] -> 0 : (born[o] >= bound[1] -> 1 : \
			(born[o] >= bound[2] -> 2 : POM_PERMANENT)))
#define BORN_IN_RANGE(o) (born[o] >= lo && born[o] < hi)
#define CONDEMNED(o)	(phase == POM_FREE && COLOUR(o) == POM_WHITE && !(state[o] & POM_DEAD))
#define OBJECT_WHITE(o)	(COLOUR(o) == POM_WHITE && \
			(!(state[o] & POM_DEAD) || !RULE(WHITE_DEAD)))

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
	:: whole == NOBODY
	:: whole != NOBODY && (state[whole] & POM_DYING) -> cascade_whole(whole)
	:: else -> white_whole(whole)
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

#define QUIET		(stop && !last && phase == POM_IDLE && SETTLED && \
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
#define LEAVING(s)	(ended[s] && HOLDS(s))
#define GONE(s)		(ended[s] && !HOLDS(s) && !stop)
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
#ifdef WEAK
	weak = POM_NIL;
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
			:: q == 0 -> pending[q] = 1; owner[q] = p
			:: pending[q] = 0; owner[q] = 0
			fi;
#endif
			d_step {
				used[q] = 1;
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
		:: HOLDER(0) ->					/* WEAK */
			PICK(q, HELD);
			weak = q
		:: ALIVE(0) && weak != POM_NIL ->		/* UPGRADE */
			d_step {
				assert(used[weak]);
				if
				:: HOLD(0, weak)
				:: (state[weak] & POM_DEAD) && RULE(UPGRADE_DYING)
				:: CONDEMNED(weak) && RULE(UPGRADE_CONDEMNED)
				:: else ->
					HOLD(0, weak) = 1;
					ext[weak]++;
					if
					:: ext[weak] == 1 && RULE(UPGRADE_TOUCH) ->
						pom_gc_touch(weak)
					:: else
					fi
				fi
			}
#endif
#ifdef DEATH
		:: ANY_SESSION(ALIVE) ->			/* a session ends */
			PICK_SESSION(ALIVE);
			d_step {
				ended[p] = 1;
#ifdef FINALIZE
				i = 0;
				do
				:: i < N ->
					pending[i] = pending[i] && owner[i] != p;
					owner[i] = (pending[i] -> owner[i] : 0);
					i++
				:: else -> break
				od;
				i = 0
#endif
			}
		:: ANY_SESSION(LEAVING) ->			/* session_drop_holds() */
			PICK_SESSION(LEAVING);
			PICK(q, HELD);
			d_step { HOLD(p, q) = 0; pom_ext_put(q, BY_DEATH) }
		:: ANY_SESSION(GONE) ->				/* another one joins */
			PICK_SESSION(GONE);
			ended[p] = 0
#endif
#ifdef FREEZE
		:: !stop && (epoch != EPOCH_LAST || phase == POM_IDLE || !RULE(RENUMBER_IDLE)) ->
			d_step { pom_freeze() }
		:: !stop && bound[2] ->
			d_step { pom_unfreeze() }
#endif
		:: !SETTLED && SETTLES ->
			d_step { pom_cascade_slice() }
#ifdef CALLERS
		:: !stop && (caller[0] == OUT || caller[CALLERS - 1] == OUT) ->	/* COLLECT */
			if
			:: caller[0] == OUT -> q = 0
			:: else -> q = CALLERS - 1
			fi;
			if
			:: wants[q] = 2
			:: wants[q] = 0
			fi;
			caller[q] = IN
		:: caller[0] == IN || caller[CALLERS - 1] == IN ->		/* works on it */
			if
			:: caller[0] == IN -> q = 0
			:: CALLERS > 1 && caller[CALLERS - 1] == IN -> q = CALLERS - 1
			fi;
			d_step {
				if
				:: phase == POM_IDLE && SERVED(q) ->
					assert(whole_one[q]);
					caller_leaves(q)
				:: phase == POM_IDLE && !SERVED(q) ->
					if
					:: wants[q] -> collection_start(2)
					:: else -> collection_start(0)
					fi
				:: else -> collection_slice()
				fi
			}
		:: !stop && (caller[0] == IN || caller[CALLERS - 1] == IN) ->	/* is killed */
			if
			:: caller[0] == IN -> q = 0
			:: CALLERS > 1 && caller[CALLERS - 1] == IN -> q = CALLERS - 1
			fi;
			caller_leaves(q);
			worker = RULE(KILLED_WORKER)
		:: worker ->					/* pom_collect_work() */
			d_step {
				if
				:: phase == POM_IDLE -> worker = 0
				:: else -> collection_slice()
				fi
			}
#ifdef FREEZE
		:: !stop && FREEZE_WAITS && phase != POM_IDLE ->		/* pom_freeze() */
			d_step { collection_slice(); leaves = !RULE(FREEZE_SETTLES) }
#endif
#else
		:: phase != POM_IDLE ->
			d_step { collection_slice() }
		:: phase == POM_IDLE && !stop ->
			d_step { collection_start(2) }
#if GENERATIONS > 1
		:: phase == POM_IDLE && !stop ->
			d_step { collection_start(1) }
#endif
#if GENERATIONS > 2
		:: phase == POM_IDLE && !stop ->
			d_step { collection_start(0) }
#endif
#endif
#ifndef ENDLESS
		:: !stop ->
			stop = 1
#endif
		:: QUIET ->
			d_step { collection_start(2); last = 1; worker = 1 }
		fi;
		d_step { step() }
	   }
	:: last && phase == POM_IDLE && SETTLED ->		/* the promise */
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
			:: i < N -> assert(!used[i] || reach[i]); i++
			:: else -> break
			od;
			i = 0
		}
		break
	od
}
