/* SPDX-License-Identifier: GPL-2.0 */
/*
 * When a collection begins and what it traces: epochs, generations and FREEZE, and who
 * works on it. kmod/collect.c, from epoch_renumber() on.
 */

/* --- Epochs and generations ----------------------------------- */

#ifdef EPOCH_LAST
#define FREEZE_WAITS	(epoch == EPOCH_LAST)

inline normalise()
{
	skip
}

inline epoch_renumber()
{
	i = 0;
	do
	:: i < N ->
		/* Free blocks too, as in the code; here their dates are to stay equal. */
		born[i] = (used[i] -> 4 - GENERATION(i) : 0);
		i++
	:: else -> break
	od;
	bound[2] = (bound[2] && RULE(RENUMBER_PERMANENT) -> 2 : 0);
	bound[1] = (RULE(RENUMBER_BOUNDS) -> 3 : 4);
	bound[0] = 4;
	epoch = 4
}
#else
inline epoch_renumber()
{
	assert(false)
}

#define EPOCH_LAST	200
#define FREEZE_WAITS	true	/* any may be the last */

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
		if
		:: epoch == EPOCH_LAST -> epoch_renumber()
		:: else
		fi;
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
	phase = POM_TRACE;
	callers_begin(generation);
	normalise()
}

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
#define IN		1	/* of pom_collect() */
byte caller[CALLERS], wants[CALLERS];	/* the generation it asked for */
bit newer[CALLERS];		/* gc->run.number > before */
byte generation;		/* gc->run.generation */
bit worker;			/* heap->collect is queued, or runs */
bit settling;			/* somebody is in pom_heap_settle(), or it is queued */
bit leaves;			/* who holds the lock does not go there next */
bit began[CALLERS], whole_one[CALLERS];	/* what was promised to it */

#define WORKED_ON	(worker || caller[0] == IN || caller[CALLERS - 1] == IN)
#define NOBODY_COLLECTS	(!WORKED_ON)
#define SETTLES		settling
#define SERVED(a)	((newer[a] || !RULE(CALLER_OWN)) && generation >= wants[a])

inline callers_begin(which)
{
	generation = which;
	i = 0;
	do
	:: i < CALLERS ->
		newer[i] = (caller[i] == IN);
		began[i] = (caller[i] == IN && (began[i] || which >= wants[i]));
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
#endif
