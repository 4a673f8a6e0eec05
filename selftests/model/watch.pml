/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Watches: weak holds and finalizers, and the events that they become. kmod/watch.c and
 * kmod/event.c. A weak hold is a bit of its session and its object here; the event that
 * it becomes changes nothing. A finalizer is POM_FINALIZE and its session, `owner', and
 * when it is due an event that holds the object, until read(2) makes a take of it.
 */

#ifdef WEAK
bit weak[SESSIONS * N];
#define WEAK_HOLD(s, o)	weak[(s) * N + (o)]
#if WEAK > 1
#define WEAKLY_HELD(o)	(WEAK_HOLD(0, o) || WEAK_HOLD(1, o))
#else
#define WEAKLY_HELD(o)	WEAK_HOLD(0, o)
#endif
#else
#define WEAK_HOLD(s, o)	false
#define WEAKLY_HELD(o)	false
#endif

#ifdef FINALIZE
bit event[N];			/* FINALIZE, queued */
bit spent[N];			/* it has run, or never will: what the model knows */
byte owner[N];			/* the session of the finalizer, or of the event */
#define QUEUED(o)	event[o]
#define FINALIZER_OF(s, o) ((state[o] & POM_FINALIZE) && owner[o] == (s))
#define EVENT_OF(s, o)	(event[o] && owner[o] == (s))
#define FINALIZER_DUE(o) ((state[o] & POM_FINALIZE) && \
			(!ended[owner[o]] || !RULE(FINALIZE_ENDED)))
#else
#define QUEUED(o)	false
#define FINALIZER_OF(s, o) false
#define EVENT_OF(s, o)	false
#define FINALIZER_DUE(o) false
#endif

/* Something is to be done about it before the slots of the dead @o are dropped. */
#if defined(WEAK) || defined(FINALIZE)
#define WATCHED(o, rule) ((o) != POM_NIL && (state[o] & POM_WATCHED) && RULE(rule))

inline watch_removed(a)
{
	if
	:: !(state[a] & POM_FINALIZE) && !WEAKLY_HELD(a) -> CLEAR(a, POM_WATCHED)
	:: else
	fi
}

inline finalizer_remove(a)
{
#ifdef FINALIZE
	CLEAR(a, POM_FINALIZE);
	owner[a] = 0;
	spent[a] = 1;
	watch_removed(a)
#else
	assert(false)
#endif
}

inline weak_remove(s, a)
{
#ifdef WEAK
	WEAK_HOLD(s, a) = 0;
	watch_removed(a)
#else
	assert(false)
#endif
}

/* One watch of an object that dies: a finalizer that nobody is left to run comes first. */
inline pom_watch_die(a)
{
	if
	:: state[a] & POM_FINALIZE ->
#ifdef FINALIZE
		assert(ended[owner[a]]);
#endif
		finalizer_remove(a)
	:: !(state[a] & POM_FINALIZE) && WEAK_HOLD(0, a) -> weak_remove(0, a)
	:: else -> weak_remove(SESSIONS - 1, a)
	fi
}
#else
#define WATCHED(o, rule) false

inline pom_watch_die(a)
{
	assert(false)
}
#endif

#ifdef FINALIZE
/* It becomes an event, and that holds the object. */
inline pom_watch_finalize(a)
{
	assert(used[a] && !(state[a] & POM_DEAD) && !ext[a]);
	assert(!spent[a] && !event[a] && !ended[owner[a]]);
	spent[a] = 1;
	event[a] = 1;
	if
	:: RULE(FINALIZE_ONCE) -> CLEAR(a, POM_FINALIZE)
	:: else
	fi;
	watch_removed(a);
	if
	:: !RULE(EVENT_HOLDS)
	:: RULE(FINALIZE_TOUCH) -> pom_ext_get(a)
	:: else -> ext[a]++
	fi
}
#else
inline pom_watch_finalize(a)
{
	assert(false)
}
#endif

/* The block is given back. */
inline watches_forget(a)
{
#ifdef FINALIZE
	spent[a] = 0
#else
	skip
#endif
}
