/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Candidates, counts and the cascade: kmod/candidate.c and kmod/object.c. At most one
 * reference goes under one lock hold here, and whoever drops it leaves the rest to
 * `step': the code's pom_object_dropped() is called there.
 */

/* --- candidate.c --------------------------------------------------------- */

inline pom_list_splice(from, to)
{
	if
	:: head[from] == POM_NIL
	:: else ->
		if
		:: head[to] == POM_NIL ->
			head[to] = head[from]
		:: else ->
			link[tail[to]] = head[from];
			shadow[head[from]] = tail[to]
		fi;
		tail[to] = tail[from];
		head[from] = POM_NIL;
		tail[from] = POM_NIL
	fi
}

inline pom_candidate_add(a)
{
	g = GENERATION(a);
	SET(a, POM_LISTED);
	link[a] = POM_NIL;
	shadow[a] = tail[g];
	if
	:: tail[g] == POM_NIL -> head[g] = a
	:: else -> link[tail[g]] = a
	fi;
	tail[g] = a
}

/* What is done with an object that leaves a list: the work list may be empty now. */
inline candidate_left(r)
{
	if
	:: head[WORK] == POM_NIL -> tail[WORK] = POM_NIL
	:: else
	fi;
	CLEAR(r, POM_LISTED)
}

inline pom_candidate_remove(r)
{
	if
	:: shadow[r] == POM_NIL || r == head[WORK] && RULE(WORK_HEAD) ->
		g = 0;
		do
		:: g < WORK && head[g] != r -> g++
		:: else -> break
		od;
		head[g] = link[r]
	:: else
	fi;
	if
	:: shadow[r] != POM_NIL -> link[shadow[r]] = link[r]
	:: else
	fi;
	if
	:: link[r] == POM_NIL ->
		g = 0;
		do
		:: g < WORK && tail[g] != r -> g++
		:: else -> break
		od;
		tail[g] = shadow[r]
	:: else ->
		shadow[link[r]] = shadow[r]
	fi;
	link[r] = POM_NIL;
	shadow[r] = 0;
	candidate_left(r)
}

/* It stays linked to the next one, whose previous one is the end of the trace list then. */
inline pom_candidate_pop(r)
{
	head[WORK] = link[r];
	candidate_left(r)
}

inline pom_candidate_flag(f)
{
	if
	:: COLOUR(f) && !RULE(CAND_TRACED)
	:: else ->
		SET(f, POM_CAND);
		if
		:: state[f] & (POM_LISTED | POM_COLOUR)
		:: else -> pom_candidate_add(f)
		fi
	fi
}

inline pom_candidate_unflag(f)
{
	if
	:: (state[f] & POM_LISTED) && RULE(DYING_UNLISTED) -> pom_candidate_remove(f)
	:: else
	fi;
	CLEAR(f, POM_CAND)
}

inline pom_mark_push(m)
{
	closed = closed && !RULE(CLOSED_SURVIVORS);
	PAINT(m, POM_GRAY);
	shadow[m] = stack;
	stack = m
}

inline pom_gc_touch(t)
{
	if
	:: phase != POM_IDLE && phase < POM_FREE && COLOUR(t) == POM_WHITE -> pom_mark_push(t)
	:: else
	fi
}

/* --- object.c ------------------------------------------------------------ */

inline pom_ext_get(t)
{
	ext[t]++;
	if
	:: ext[t] == 1 && RULE(TOUCH) -> pom_gc_touch(t)
	:: else
	fi
}

/* The block goes: nothing may lead to it. `step' sees what still does. */
inline pom_object_release(r)
{
	assert(used[r] && !ext[r] && (!in_[r] || RELEASED(r)));
	assert(!(state[r] & (POM_COLOUR | POM_LISTED)) || RELEASED(r) || !RULE(LIMBO));
	if
	:: SLOTS(r) -> g = GENERATION(r); live[g]--
	:: else
	fi;
	used[r] = 0;
	if
	:: RULE(RELEASE_RESETS) -> state[r] = 0; born[r] = 0; shadow[r] = 0
	:: else
	fi;
	watches_forget(r);
	link[r] = 0
}

inline object_die(d)
{
	if
	:: !SLOTS(d) && !COLOUR(d) && (!(state[d] & POM_WATCHED) || !RULE(WEAK_LEAF)) ->
		pom_object_release(d)
	:: else ->
		pom_candidate_unflag(d);
		if
		:: RULE(DYING_TOUCH) -> pom_gc_touch(d)
		:: else
		fi;
		SET(d, POM_DYING);
		in_[d] = dying;
		dying = d
	fi
}

/* The last reference goes: the finalizer first, if there is somebody to run it. */
inline object_unreferenced(d)
{
	if
	:: (state[d] & POM_WATCHED) && !RULE(WEAK_AFTER) -> pom_watch_die(d)
	:: else
	fi;
	if
	:: FINALIZER_DUE(d) -> pom_watch_finalize(d)
	:: else -> object_die(d)
	fi
}

inline pom_object_dropped(d)
{
	assert(used[d] && !(state[d] & POM_DEAD) && !CONDEMNED(d));
	if
	:: !ext[d] && !in_[d] -> object_unreferenced(d)
	:: !ext[d] && in_[d] && (SLOTS(d) || !RULE(LEAF)) ->
		if
		:: why == BY_PUT && !RULE(CAND_PUT)
		:: why == BY_ROOT && !RULE(CAND_ROOT)
		:: why == BY_SET_REF && !RULE(CAND_SET_REF)
		:: why == BY_DEATH && !RULE(CAND_DEATH)
		:: why == BY_CASCADE && !RULE(CAND_CASCADE)
		:: why == BY_FREE && !RULE(CAND_FREE)
		:: GENERATION(d) == POM_PERMANENT && !RULE(CAND_PERMANENT)
		:: else -> pom_candidate_flag(d)
		fi
	:: else
	fi
}

/* `step' tells the one who loses it. */
inline pom_object_drop_slot(d, s, reason)
{
	if
	:: SLOT(d, s) != POM_NIL ->
		lost = SLOT(d, s);
		why = reason;
		SLOT(d, s) = POM_NIL;
		in_[lost]--
	:: else
	fi
}

inline pom_ext_put(d, reason)
{
	ext[d]--;
	lost = d;
	why = reason
}

/* Take the next one off the cascade, or a watch or a slot off the one that was taken. */
inline pom_cascade_slice()
{
	if
	:: dropping == POM_NIL ->
		dropping = dying;
		dropping_slot = 0;
		assert(used[dropping]);
		dying = in_[dropping];
		in_[dropping] = 0
	:: WATCHED(dropping, WEAK_CASCADE) ->
		pom_watch_die(dropping)
	:: dropping != POM_NIL && !WATCHED(dropping, WEAK_CASCADE) ->
		assert(used[dropping]);
		if
		:: dropping_slot < SLOTS(dropping) ->
			pom_object_drop_slot(dropping, dropping_slot, BY_CASCADE);
			dropping_slot++
		:: else
		fi
	fi;
	if
	:: dropping_slot >= SLOTS(dropping) && !WATCHED(dropping, WEAK_CASCADE) ->
		whole = dropping;
		dropping = POM_NIL;
		dropping_slot = 0
	:: else
	fi
}

inline cascade_whole(d)
{
	if
	:: COLOUR(d) && RULE(LIMBO) ->
		CLEAR(d, POM_DYING);
		SET(d, POM_LIMBO)
	:: else ->
		pom_object_release(d)
	fi
}
