/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What must hold between any two lock holds.
 */

/* What clients can come to. */
inline reach_from_ext()
{
	i = 0;
	do
	:: i < N -> reach[i] = (ext[i] > 0); i++
	:: else -> break
	od;
	close_reach()
}

#ifdef FINALIZE
/* The same, but for what hangs only on objects that this collection has finalized. */
inline reach_unfinalized()
{
	i = 0;
	do
	:: i < N -> reach[i] = (ext[i] > 0); i++
	:: else -> break
	od;
	l = finalized;
	do
	:: l != POM_NIL -> reach[l] = 0; l = shadow[l]
	:: else -> break
	od;
	close_reach()
}
#endif

inline close_reach()
{
	n = 1;
	do
	:: n ->
		n = 0;
		i = 0;
		do
		:: i < N ->
			j = 0;
			do
			:: reach[i] && !RELEASED(i) && j < SLOTS(i) ->
				if
				:: SLOT(i, j) != POM_NIL && !reach[SLOT(i, j)] ->
					reach[SLOT(i, j)] = 1;
					n = 1
				:: else
				fi;
				j++
			:: else -> break
			od;
			i++
		:: else -> break
		od
	:: else -> break
	od
}

inline count_held(a)
{
	c = (root == a) + hold[a] + (QUEUED(a) && RULE(EVENT_HOLDS));
#if SESSIONS > 1
	c = c + HOLD(1, a);
#endif
}

/* What is being released names nothing that stays, whoever has its block by now. */
inline count_slots(a)
{
	c = 0;
	j = 0;
	do
	:: j < N * MOST -> c = c + (slot[j] == a && !RELEASED(j / MOST)); j++
	:: else -> break
	od
}

inline check_object(a)
{
	count_held(a);
	assert(ext[a] == c);
	count_slots(a);
	if
	:: !used[a] ->
		assert(!c && !ext[a] && !in_[a] && cursor != a && mark != a && dropping != a);
		assert(!state[a] && !born[a] && !WEAKLY_HELD(a) && !QUEUED(a))
	:: else ->
		assert(c == ((state[a] & POM_DYING) && a != dropping || RELEASED(a) -> 0 : in_[a]));
		assert(!(state[a] & POM_LISTED) == !(state[a] & POM_CAND) || COLOUR(a));
		assert(!(state[a] & POM_LISTED) || !COLOUR(a));
		assert(!(state[a] & POM_DEAD) || !ext[a] && !(state[a] & POM_CAND));
		assert(!COLOUR(a) || phase != POM_IDLE && phase != POM_RENUMBER);
		assert(COLOUR(a) != POM_WHITE || !ext[a]);
		assert(COLOUR(a) != POM_GRAY || !FREEING);
		assert(ext[a] || in_[a] || (state[a] & POM_DEAD) || CONDEMNED(a));
		assert(!(state[a] & POM_DEAD) || COLOUR(a) != POM_WHITE);
		assert(!(state[a] & POM_LIMBO) || COLOUR(a));
		assert(!(state[a] & POM_WATCHED) == !((state[a] & POM_FINALIZE) || WEAKLY_HELD(a)));
		assert(!(state[a] & POM_WATCHED) || !(state[a] & POM_LIMBO));
		assert(!(state[a] & POM_WATCHED) || !RELEASED(a));
		assert(!QUEUED(a) || !(state[a] & POM_DEAD));
		assert(born[a] <= epoch || phase == POM_RENUMBER && !sweep)
	fi
}

/*
 * Walk a list of candidates: add to n how many are on it. Before the first of the work
 * list comes the end of what is traced.
 */
inline check_list(a)
{
	v = (a == WORK && head[a] != POM_NIL -> shadow[head[a]] : POM_NIL);
	l = head[a];
	do
	:: l != POM_NIL ->
		assert((state[l] & POM_LISTED) && shadow[l] == v);
		assert(a == WORK || GENERATION(l) == a);
		n++;
		assert(n <= N);
		v = l;
		l = link[l]
	:: else -> break
	od;
	assert(tail[a] == v)
}

/* Walk from @first to what is @after each (l) and so on, up to end: all have @flags of @mask. */
inline check_chain(first, after, mask, flags)
{
	n = 0;
	l = first;
	do
	:: l != POM_NIL && l != end ->
		assert((state[l] & (mask)) && ((flags) == 0 || (state[l] & (mask)) == (flags)));
		n++;
		assert(n <= N);
		l = after
	:: else -> break
	od
}

#define EVERY(C)	i = 0; c = 0; do :: i < N -> c = c + ((C) -> 1 : 0); i++ :: else -> break od

inline check_lists()
{
	end = POM_NIL;
	n = 0;
	x = 0;
	do
	:: x <= WORK -> check_list(x); x++
	:: else -> break
	od;
	EVERY(state[i] & POM_LISTED);
	assert(n == c);
	assert(phase == POM_TRACE || head[WORK] == POM_NIL);
	assert(phase >= POM_TRACE && phase <= POM_FINALIZING || finalized == POM_NIL);

	check_chain(stack, shadow[l], POM_COLOUR, POM_GRAY);
	x = n;
	check_chain(finalized, shadow[l], POM_COLOUR, POM_GRAY);
	EVERY(COLOUR(i) == POM_GRAY);
	assert(x + n == c);

	check_chain(dying, in_[l], POM_DYING, POM_DYING);
	EVERY(state[i] & POM_DYING);
	assert(c == n + (dropping != POM_NIL));
	assert(dropping == POM_NIL || (state[dropping] & POM_DYING));

	x = (phase == POM_RELEASE -> cursor : head[TRACE]);
	end = head[WORK];
	check_chain(x, link[l], POM_COLOUR, 0);
	EVERY(COLOUR(i));
	assert(n == c);
	assert(cursor == POM_NIL || COLOUR(cursor));
	assert(mark == POM_NIL || COLOUR(mark) == POM_BLACK)
}

inline check_live()
{
	x = 0;
	do
	:: x < 4 ->
		EVERY(used[i] && SLOTS(i) && GENERATION(i) == x);
		assert(live[x] == c);
		x++
	:: else -> break
	od
}

/* L: what nobody holds, and is no candidate, names nothing younger. */
inline check_l()
{
	i = 0;
	do
	:: i < N ->
		if
		:: used[i] && !ext[i] && !(state[i] & (POM_CAND | POM_COLOUR | POM_DEAD)) ->
			j = 0;
			do
			:: j < SLOTS(i) ->
				v = SLOT(i, j);
				assert(v == POM_NIL || GENERATION(v) >= GENERATION(i));
				j++
			:: else -> break
			od
		:: else
		fi;
		i++
	:: else -> break
	od
}

inline check_reach()
{
	reach_from_ext();
	i = 0;
	do
	:: i < N ->
		assert(!reach[i] || used[i] && !(state[i] & POM_DEAD) && !CONDEMNED(i));
		i++
	:: else -> break
	od;
#ifndef OUTSIDE
	/* J: everything hangs on what is held, flagged, dying or traced. */
	i = 0;
	do
	:: i < N ->
		reach[i] = reach[i] || (state[i] & (POM_CAND | POM_DYING | POM_COLOUR));
		i++
	:: else -> break
	od;
	close_reach();
	i = 0;
	do
	:: i < N -> assert(!used[i] || reach[i]); i++
	:: else -> break
	od
#else
	i = 0
#endif
}

inline check()
{
#ifndef OUTSIDE
	o = 0;
	do
	:: o < N -> check_object(o); o++
	:: else -> break
	od;
	check_lists();
	check_live();
	check_l();
#endif
	check_reach();
	assert(phase == POM_IDLE || WORKED_ON);
	assert(SETTLED || SETTLES || worker)
}
