/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A collection: kmod/collect.c. Every inline *_slice makes one visit, of an object or of
 * one of its slots. RESCUE visits nothing in the code if the sum of all shadows is 0: that
 * is as if these visits, which find nothing then, came one at once after the other. FREE
 * visits nothing where all is garbage; that is done here, too, since more depends on it.
 */

/* --- collect.c: tracing -------------------------------------------------- */

inline stamp(s)
{
	assert(used[s]);
	if
	:: RULE(CAND_CLEARED) -> CLEAR(s, POM_CAND)
	:: else
	fi;
	closed = closed && (!(state[s] & POM_WATCHED) || !RULE(CLOSED_WATCHED));
	finalizable = finalizable || (state[s] & POM_FINALIZE);
	if
	:: ext[s] && RULE(STAMP_EXT) ->
		pom_mark_push(s)
	:: else ->
		shadow[s] = in_[s];
		PAINT(s, POM_WHITE)
	fi
}

/* One of them: the work list becomes the trace list where it lies. */
inline stamp_candidates()
{
	o = head[WORK];
	if
	:: head[TRACE] == POM_NIL -> head[TRACE] = o
	:: else -> assert(link[tail[TRACE]] == o)
	fi;
	tail[TRACE] = o;
	pom_candidate_pop(o);
	stamp(o);
	cursor = head[TRACE]
}

inline stamp_found(s)
{
	if
	:: (state[s] & POM_LISTED) && RULE(STAMP_UNLISTS) -> pom_candidate_remove(s)
	:: else
	fi;
	link[s] = POM_NIL;
	link[tail[TRACE]] = s;
	tail[TRACE] = s;
	stamp(s)
}

inline cursor_advance()
{
	cursor = link[cursor];
	cursor_slot = 0
}

inline trace_slot()
{
	v = SLOT(cursor, cursor_slot);
	if
	:: v == POM_NIL
	:: else ->
		assert(used[v]);
		/* The code looks, and goes on: what lives names nothing dead. */
		assert(!(state[v] & POM_DEAD));
		if
		:: !COLOUR(v) && BORN_IN_RANGE(v) -> stamp_found(v)
		:: else
		fi;
		if
		:: COLOUR(v) == POM_WHITE || (COLOUR(v) && !RULE(SHADOW_WHITE)) ->
			assert(shadow[v]);
			shadow[v]--
		:: else -> closed = closed && !RULE(CLOSED_OUTSIDE)
		fi
	fi;
	cursor_slot++
}

inline trace_slice()
{
	if
	:: head[WORK] != POM_NIL ->
		stamp_candidates()
	:: head[WORK] == POM_NIL && cursor == POM_NIL ->
		cursor = head[TRACE];
		phase = POM_RESCUE
	:: else ->
		if
		:: COLOUR(cursor) == POM_WHITE && cursor_slot < SLOTS(cursor) ->
			trace_slot()
		:: else
		fi;
		if
		:: COLOUR(cursor) != POM_WHITE || cursor_slot >= SLOTS(cursor) ->
			if
			:: !RULE(CAND_CLEARED) -> CLEAR(cursor, POM_CAND)
			:: else
			fi;
			cursor_advance()
		:: else
		fi
	fi
}

/* --- collect.c: marking -------------------------------------------------- */

#define MARK_WHOLE	((state[mark] & POM_DEAD) && !RULE(MARK_DYING) || mark_slot >= SLOTS(mark))

inline mark_slice()
{
	if
	:: mark == POM_NIL ->
		mark = stack;
		mark_slot = 0;
		assert(used[mark]);
		stack = shadow[mark];
		shadow[mark] = 0;
		PAINT(mark, POM_BLACK)
	:: MARK_WHOLE
	:: else ->
		v = SLOT(mark, mark_slot);
		mark_slot++;
		if
		:: v == POM_NIL
		:: else ->
			assert(used[v]);
			if
			:: COLOUR(v) == POM_WHITE -> pom_mark_push(v)
			:: else
			fi;
			if
			:: born[v] >= hi && RULE(YOUNGER) &&
			   (!(state[mark] & POM_DEAD) || !RULE(DYING_YOUNGER)) ->
				SET(mark, POM_CAND)
			:: else
			fi
		fi
	fi;
	if
	:: MARK_WHOLE ->
		mark = POM_NIL;
		mark_slot = 0
	:: else
	fi
}

/* Nothing is gray and all was judged: what is white is dead. */
inline condemn()
{
	cursor = (closed -> POM_NIL : head[TRACE]);
	closed = 0;
	cursor_slot = 0;
	finalizable = 0;
	phase = POM_FREE
}

inline rescue_slice()
{
	if
	:: mark != POM_NIL || stack != POM_NIL && (cursor != POM_NIL || RULE(CONDEMN_DRAINED)) ->
		mark_slice()
	:: else ->
		if
		:: cursor == POM_NIL ->
			if
			:: FINALIZERS && finalizable && RULE(FINALIZE_DUE) ->
				cursor = head[TRACE];
				phase = POM_FINALIZING
			:: (!finalizable || !RULE(FINALIZE_DUE)) && RULE(CONDEMN_AT_ONCE) -> condemn()
			:: else -> phase = POM_DRAIN
			fi
		:: else ->
			assert(used[cursor]);
			if
			:: COLOUR(cursor) == POM_WHITE && shadow[cursor] && RULE(RESCUE) ->
				pom_mark_push(cursor)
			:: else
			fi;
			cursor_advance()
		fi
	fi
}

#ifdef FINALIZE
/* What clients touch meanwhile is drained first: its finalizers are not due. */
inline finalize_slice()
{
	if
	:: (mark != POM_NIL || stack != POM_NIL) && (cursor == POM_NIL || RULE(FINALIZE_DRAINED)) ->
		mark_slice()
	:: else ->
		if
		:: cursor == POM_NIL ->
			if
			:: RULE(FINALIZE_RESCUES) -> stack = finalized
			:: else ->
				do
				:: finalized != POM_NIL -> PAINT(finalized, POM_BLACK);
							   finalized = shadow[finalized]
				:: else -> break
				od
			fi;
			finalized = POM_NIL;
			phase = POM_DRAIN
		:: else ->
			if
			:: COLOUR(cursor) == POM_WHITE && FINALIZER_DUE(cursor) ->
				reach_unfinalized();
				assert(!reach[cursor]);
				PAINT(cursor, POM_GRAY);
				if
				:: RULE(FINALIZE_ALL) ->
					shadow[cursor] = finalized;
					finalized = cursor
				:: else ->
					shadow[cursor] = stack;
					stack = cursor
				fi;
				pom_watch_finalize(cursor)
			:: else
			fi;
			cursor_advance()
		fi
	fi
}
#endif

inline drain_slice()
{
	if
	:: (mark != POM_NIL || stack != POM_NIL) && RULE(CONDEMN_AT_ONCE) -> mark_slice()
	:: else -> condemn()
	fi
}

/* --- collect.c: freeing -------------------------------------------------- */

inline free_white()
{
	if
	:: WATCHED(cursor, WEAK_FREE) -> pom_watch_die(cursor)
	:: !WATCHED(cursor, WEAK_FREE) && cursor_slot < SLOTS(cursor) ->
		v = SLOT(cursor, cursor_slot);
		if
		:: v == POM_NIL
		:: v != POM_NIL && CONDEMNED(v)
		:: else ->
			if
			:: RULE(FREE_DROPS) -> pom_object_drop_slot(cursor, cursor_slot, BY_FREE)
			:: else -> in_[v]--; SLOT(cursor, cursor_slot) = POM_NIL
			fi
		fi;
		cursor_slot++
	:: else
	fi;
	if
	:: cursor_slot >= SLOTS(cursor) && !WATCHED(cursor, WEAK_FREE) ->
		cursor_advance()
	:: else
	fi
}

inline free_slice()
{
	if
	:: cursor == POM_NIL ->
		cursor = head[TRACE];
		phase = POM_RELEASE
	:: else ->
		assert(used[cursor]);
		if
		:: COLOUR(cursor) == POM_WHITE -> free_white()
		:: else -> cursor_advance()
		fi
	fi
}

/* Its slots stay as they are: they are the block's, and nobody looks at that again. */
inline release_white(d)
{
	assert(!shadow[d]);
	pom_object_release(d);
	in_[d] = 0;
	j = 0;
	do
	:: j < SLOTS(d) -> SLOT(d, j) = POM_NIL; j++
	:: else -> break
	od
}

inline release_other(o)
{
	PAINT(o, 0);
	shadow[o] = 0;
	if
	:: !RULE(CAND_KEPT) -> CLEAR(o, POM_CAND)
	:: else
	fi;
	if
	:: state[o] & POM_LIMBO ->
		if
		:: RULE(LIMBO_RELEASED) -> pom_object_release(o)
		:: else
		fi
	:: (state[o] & POM_CAND) && !(state[o] & POM_LIMBO) && RULE(RELEASE_LISTS) ->
		pom_candidate_add(o)
	:: else
	fi
}

inline visits_end()
{
#ifdef VISITS
	visits = 0
#else
	skip
#endif
}

inline collection_end()
{
	head[TRACE] = POM_NIL;
	tail[TRACE] = POM_NIL;
	phase = POM_IDLE;
	lo = 0;
	hi = 0;
	visits_end();
	callers_end();
	normalise()
}

inline release_slice()
{
	if
	:: cursor == POM_NIL -> collection_end()
	:: else ->
		assert(used[cursor]);
		o = cursor;
		cursor_advance();
		link[o] = POM_NIL;
		if
		:: COLOUR(o) == POM_WHITE -> release_white(o)
		:: else -> release_other(o)
		fi
	fi
}

inline collection_slice()
{
#ifdef VISITS
	visits++;
	assert(visits <= 6 * N + 3 * (SLOTS0 + SLOTS1 + (N > 2 -> SLOTS2 : 0)) + 3 +
	       N * WEAK_HOLDERS + (FINALIZERS -> N + FINALIZERS + 2 : 0));
#endif
	if
	:: phase == POM_TRACE -> trace_slice()
	:: phase == POM_RESCUE -> rescue_slice()
#ifdef FINALIZE
	:: phase == POM_FINALIZING -> finalize_slice()
#endif
	:: phase == POM_DRAIN -> drain_slice()
	:: phase == POM_FREE -> free_slice()
	:: phase == POM_RELEASE -> release_slice()
#ifdef EPOCHS_END
	:: phase == POM_RENUMBER -> renumber_slice()
#endif
	fi
}
