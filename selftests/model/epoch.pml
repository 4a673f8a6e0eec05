/* SPDX-License-Identifier: GPL-2.0 */
/*
 * When a collection begins and what it traces: epochs, generations and FREEZE, and who
 * works on it. kmod/collect.c, from the epochs on.
 *
 * New dates are given in slices, and no client is kept waiting: one generation after the
 * other, from the oldest, is dated at the lowest date that it has, and then the boundary
 * above it is lowered to behind that. A date stays in its generation and a boundary passes
 * over none, so a comparison of the two is right at any time and for any object.
 */

/* --- Epochs and generations ----------------------------------- */

#define EPOCH_DUE	(created && epoch == EPOCH_LAST)	/* it has come to its end */

#ifdef EPOCHS_END
byte sweep, place;		/* generation that is dated anew, and the next block to see */

/* The lowest date that the generation has: what is dated so stays in it. */
#define FLOOR		(RULE(RENUMBER_FLOOR) -> \
			(sweep == POM_PERMANENT -> 0 : bound[sweep]) : POM_PERMANENT + 1 - sweep)

inline normalise()
{
	skip
}

inline renumber_start()
{
	phase = POM_RENUMBER;
	sweep = (RULE(RENUMBER_ORDER) -> POM_PERMANENT : 0);
	place = 0;
	callers_renumber()
}

/* Nothing is dated between @FLOOR and the generation above any more. */
inline bound_lower()
{
	if
	:: sweep && (bound[sweep - 1] > FLOOR + 1 || !RULE(RENUMBER_MIN)) ->
		bound[sweep - 1] = FLOOR + 1
	:: else
	fi
}

inline sweep_end()
{
	if
	:: RULE(RENUMBER_SWEPT) -> bound_lower()
	:: else
	fi;
	place = 0;
	if
	:: sweep == (RULE(RENUMBER_ORDER) -> 0 : POM_PERMANENT) ->
		if
		:: RULE(RENUMBER_EPOCH) && RULE(RENUMBER_ORDER)
		:: else -> epoch = bound[0]
		fi;
		sweep = 0;
		phase = POM_IDLE;
		visits_end()
	:: else ->
		if
		:: RULE(RENUMBER_ORDER) -> sweep--
		:: else -> sweep++
		fi;
		if
		:: !sweep && RULE(RENUMBER_EPOCH) -> epoch = bound[0]
		:: else
		fi
	fi
}

/* A visit. What is dated anew stays in its generation. */
inline renumber_slice()
{
	if
	:: !place && !RULE(RENUMBER_SWEPT) -> bound_lower()
	:: else
	fi;
	if
	:: place == N -> sweep_end()
	:: else ->
		if
		:: GENERATION(place) == sweep && (used[place] || RULE(RENUMBER_FLOOR)) ->
			born[place] = FLOOR	/* of a free block it is 0 */
		:: else
		fi;
		place++
	fi
}
#else
#define EPOCH_LAST	200
#define sweep		POM_PERMANENT

inline renumber_start()
{
	assert(false)
}

/* Make dates equal that no boundary tells apart, and close the gaps. */
inline normalise()
{
	n = 1;
	do
	:: n < epoch ->
		if
		:: n == bound[0] || n == bound[1] || n == bound[2] || n == lo || n == hi -> n++
		:: else ->
			i = 0;
			do
			:: i < N -> born[i] = (born[i] >= n -> born[i] - 1 : born[i]); i++
			:: else -> break
			od;
			i = 0;
			do
			:: i < 3 -> bound[i] = (bound[i] >= n -> bound[i] - 1 : bound[i]); i++
			:: else -> break
			od;
			lo = (lo >= n -> lo - 1 : lo);
			hi = (hi >= n -> hi - 1 : hi);
			epoch--
		fi
	:: else -> break
	od;
	n = 0
}
#endif

inline epoch_advance()
{
	if
	:: created && RULE(EPOCH_ADVANCE) ->
		created = 0;
		assert(epoch < EPOCH_LAST);
		epoch++
	:: else
	fi
}

inline collection_start(generation)
{
	epoch_advance();
	lo = bound[generation];
	hi = epoch;
	bound[0] = hi;
	x = live[0];
	live[0] = 0;
	if
	:: generation ->
		if
		:: RULE(BOUND_MOVES) -> bound[1] = hi
		:: else
		fi;
		x = x + live[1];
		live[1] = 0
	:: else
	fi;
	live[(generation -> 2 : 1)] = live[(generation -> 2 : 1)] + x;
	i = 0;
	do
	:: i <= generation -> pom_list_splice(i, WORK); i++
	:: else -> break
	od;
	closed = 1;
	phase = POM_TRACE;
	callers_begin(generation);
	normalise()
}

/* Nobody works on anything: a collection, but before it new dates if they have run out. */
inline collection_begin(generation)
{
	if
	:: EPOCH_DUE -> renumber_start()
	:: else -> collection_start(generation)
	fi
}

/* Others wait: FREEZE works on it meanwhile. */
#define FREEZE_CAN	(!EPOCH_DUE && (phase != POM_RENUMBER || !RULE(RENUMBER_FREEZE)))
#define UNFREEZE_CAN	(phase != POM_RENUMBER || !RULE(RENUMBER_UNFREEZE))

inline pom_freeze()
{
	if
	:: RULE(FREEZE_ADVANCE) -> epoch_advance()
	:: else
	fi;
	i = 0;
	do
	:: i < 3 ->
		bound[i] = epoch;
		if
		:: RULE(FREEZE_LISTS) -> pom_list_splice(i, POM_PERMANENT)
		:: else
		fi;
		live[POM_PERMANENT] = live[POM_PERMANENT] + live[i];
		live[i] = 0;
		i++
	:: else -> break
	od;
	normalise()
}

inline pom_unfreeze()
{
	bound[2] = 0;
	if
	:: RULE(UNFREEZE_LISTS) -> pom_list_splice(POM_PERMANENT, 2)
	:: else
	fi;
	live[2] = live[2] + live[POM_PERMANENT];
	live[POM_PERMANENT] = 0;
	normalise()
}

/* --- pom_collect() and its worker ------------------------------ */

#ifdef CALLERS
#define OUT		0
#define IN		1	/* of pom_collect(), or pom_freeze() */
#define FREEZES		3
byte caller[CALLERS], wants[CALLERS];	/* the generation it asked for, or FREEZES */
bit newer[CALLERS];		/* gc->run.number > before */
byte generation;		/* gc->run.generation */
bit worker;			/* heap->collect is queued, or runs */
bit settling;			/* somebody is in pom_heap_settle(), or it is queued */
bit leaves;			/* who holds the lock does not go there next */
bit began[CALLERS], whole_one[CALLERS];	/* what was promised to it */

#define ANY_CALLER(C)	(C(0) || C(CALLERS - 1))
#define PICK_CALLER(C)	if :: C(0) -> q = 0 :: CALLERS > 1 && C(CALLERS - 1) -> q = CALLERS - 1 fi
#define OUTSIDE_(a)	(caller[a] == OUT)
#define INSIDE(a)	(caller[a] == IN)
#define COLLECTS(a)	(INSIDE(a) && wants[a] != FREEZES)
#define FREEZER(a)	(INSIDE(a) && wants[a] == FREEZES)
#define WORKED_ON	(worker || ANY_CALLER(INSIDE))
#define NOBODY_COLLECTS	(!WORKED_ON)
#define SETTLES		settling
#define SERVED(a)	(COLLECTS(a) && generation >= wants[a] && \
			(newer[a] || !RULE(CALLER_OWN)))
#define BEGINS(a)	(COLLECTS(a) && !SERVED(a) || FREEZER(a) && EPOCH_DUE)

inline callers_begin(which)
{
	generation = which;
	i = 0;
	do
	:: i < CALLERS ->
		newer[i] = COLLECTS(i);
		began[i] = COLLECTS(i) && (began[i] || which >= wants[i]);
		i++
	:: else -> break
	od
}

inline callers_end()
{
	i = 0;
	do
	:: i < CALLERS -> whole_one[i] = whole_one[i] || began[i]; i++
	:: else -> break
	od
}

/* A renumbering is no collection. */
inline callers_renumber()
{
	if
	:: RULE(RENUMBER_SERVES)
	:: else ->
		generation = 2;
		i = 0;
		do
		:: i < CALLERS -> newer[i] = COLLECTS(i); i++
		:: else -> break
		od
	fi
}

inline caller_leaves(a)
{
	caller[a] = OUT;
	wants[a] = 0;
	newer[a] = 0;
	began[a] = 0;
	whole_one[a] = 0
}
#else
#define WORKED_ON	true
#define NOBODY_COLLECTS	true
#define SETTLES		true
hidden byte worker;

inline callers_begin(which)
{
	skip
}

inline callers_end()
{
	skip
}

inline callers_renumber()
{
	skip
}
#endif
