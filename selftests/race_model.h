/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the races are about, as a small model: some objects, who refers to them,
 * and what each step of an operation does. All orders of the steps of two
 * operations give the outcomes that are allowed.
 */
#ifndef RACE_MODEL_H
#define RACE_MODEL_H

#define STEPS		4	/* most of one operation */
#define OUTCOMES	70	/* orders of 4 and 4 steps */

/* Objects, and how they begin */
enum {
	R,		/* R[0] -> X; all sessions hold it, and the observer */
	X,		/* X[0] -> C, C[0] -> X: nothing but R keeps them */
	C,
	Y,		/* all sessions hold it */
	H1,		/* all sessions hold it; H1[0] -> H2, H2[0] -> H1 */
	H2,
	G1,		/* garbage: G1[0] -> G2, G2[0] -> G1 */
	G2,
	M,		/* mutable payload; all sessions hold it, and the observer */
	K,		/* the ticket's; K[0] -> K */
	Z1,		/* the root's; Z1[0] -> Z2, Z2[0] -> Z1 */
	Z2,
	F,		/* of each session that is joined: its finalizer is due */
	NEW = F + 3,	/* what is created: one by each side */
	OBJECTS = NEW + 2,
	NOTHING = -1,
};

#define SLOTS		3

enum {
	SESSION_VICTIM = 2,	/* 0 and 1 are the sides' */
	SESSION_JOIN,		/* two that have not joined yet */
	SESSIONS = SESSION_JOIN + 2,
};

enum session_state { FRESH, JOINED, LEFT, CLOSED };

/* Weak holds: all sessions have one of G1; the other is what WEAK makes, of H1. */
#define COOKIE		1
#define COOKIE_NEW	2

#define EVENTS		8	/* most of a session */

/* What the steps of an operation gave. */
struct result {
	int rc[STEPS];
	int value[STEPS];
};

#define UNTRIED	1	/* instead of an error number */

struct model {
	struct {
		bool lives;
		bool frozen;
		bool observed;
		int takes[SESSIONS];
		int tickets;
		int slot[SLOTS];
		int finalizer;		/* the session that has it, if it has not run */
		int due;		/* the session whose events hold it */
		bool weak[SESSIONS][COOKIE_NEW + 1];
	} object[OBJECTS];
	enum session_state session[SESSIONS];
	struct {
		int count;
		int type[EVENTS];
		int object[EVENTS];
	} events[SESSIONS];
	int abandoned;
	int root;
	bool ticket;		/* its descriptor is open */
	int content;		/* of M */
	bool same;		/* both sides use the first session */
};

/* What can be seen of it. */
struct seen {
	struct result result[2];
	int objects;
	int tickets;
	int sessions;
	int holds[2];		/* -1: the session has ended */
	int events[2];		/* the same */
	int weak;
	int finalizers;
	int abandoned;
	int slot0;		/* of R */
	int slot2;
	int root;
	int content;
};

static inline unsigned int session_of(bool same, unsigned int side)
{
	return same ? 0 : side;
}

static inline bool model_external(const struct model *m, int o)
{
	int s;

	for (s = 0; s < SESSIONS; s++)
		if (m->object[o].takes[s])
			return true;
	return m->object[o].observed || m->object[o].tickets || m->root == o ||
	       m->object[o].due != NOTHING;
}

static inline bool model_internal(const struct model *m, int o)
{
	int from, i;

	for (from = 0; from < OBJECTS; from++)
		for (i = 0; i < SLOTS; i++)
			if (m->object[from].lives && m->object[from].slot[i] == o)
				return true;
	return false;
}

static inline void model_tell(struct model *m, int session, int type, int o)
{
	int n = m->events[session].count++;

	m->events[session].type[n] = type;
	m->events[session].object[n] = o;
}

static inline void model_die(struct model *m, int o)
{
	int s, c;

	m->object[o].lives = false;
	for (s = 0; s < SESSIONS; s++)
		for (c = 0; c <= COOKIE_NEW; c++)
			if (m->object[o].weak[s][c])
				model_tell(m, s, PYOBJMEM_EVENT_WEAK_DEAD, o);
	memset(m->object[o].weak, 0, sizeof(m->object[o].weak));
}

/* No counts: the finalizer first. */
static inline void model_unreferenced(struct model *m, int o)
{
	int session = m->object[o].finalizer;

	if (session == NOTHING) {
		model_die(m, o);
		return;
	}
	m->object[o].finalizer = NOTHING;
	m->object[o].due = session;
	model_tell(m, session, PYOBJMEM_EVENT_FINALIZE, o);
}

/* What the counts free. */
static inline void model_settle(struct model *m)
{
	bool again;
	int o;

	do {
		again = false;
		for (o = 0; o < OBJECTS; o++) {
			if (m->object[o].lives && !model_external(m, o) && !model_internal(m, o)) {
				model_unreferenced(m, o);
				again = true;
			}
		}
	} while (again);
}

/* What is frozen is not looked at, and keeps what it names. No cycle has a finalizer. */
static inline void model_collect(struct model *m)
{
	bool reached[OBJECTS] = {}, again;
	int o, i;

	do {
		again = false;
		for (o = 0; o < OBJECTS; o++) {
			if (!m->object[o].lives)
				continue;
			if (!reached[o] && (m->object[o].frozen || model_external(m, o))) {
				reached[o] = true;
				again = true;
			}
			for (i = 0; reached[o] && i < SLOTS; i++) {
				int to = m->object[o].slot[i];

				if (to != NOTHING && !reached[to]) {
					reached[to] = true;
					again = true;
				}
			}
		}
	} while (again);
	for (o = 0; o < OBJECTS; o++)
		if (m->object[o].lives && !reached[o])
			model_die(m, o);
}

static inline void model_end(struct model *m, unsigned int session, enum session_state state)
{
	int o;

	m->session[session] = state;
	m->events[session].count = 0;
	for (o = 0; o < OBJECTS; o++) {
		m->object[o].takes[session] = 0;
		memset(m->object[o].weak[session], 0, sizeof(m->object[o].weak[session]));
		if (m->object[o].finalizer != (int)session && m->object[o].due != (int)session)
			continue;
		m->object[o].finalizer = NOTHING;
		m->object[o].due = NOTHING;
		m->abandoned++;
	}
	model_settle(m);
}

/* What an operation of a session that is not joined gives, else 0. */
static inline int model_refuses(const struct model *m, unsigned int session)
{
	switch (m->session[session]) {
	case JOINED:
		return 0;
	case CLOSED:
		return -EBADF;
	default:
		return -ENOTCONN;
	}
}

/* What naming an object gives that the session may not hold. */
static inline int model_names(const struct model *m, unsigned int session, int o)
{
	if (!m->object[o].lives)
		return -ESTALE;
	return m->object[o].takes[session] ? 0 : -ENOENT;
}

static inline void model_start(struct model *m, bool same, bool victim)
{
	static const struct { int from, to; } edges[] = {
		{ R, X }, { X, C }, { C, X }, { H1, H2 }, { H2, H1 }, { G1, G2 }, { G2, G1 },
		{ K, K }, { Z1, Z2 }, { Z2, Z1 },
	};
	static const int held[] = { R, Y, H1, M };
	size_t i;
	int o, s;

	memset(m, 0, sizeof(*m));
	for (o = 0; o < OBJECTS; o++) {
		m->object[o].lives = o < F;
		m->object[o].finalizer = NOTHING;
		m->object[o].due = NOTHING;
		for (i = 0; i < SLOTS; i++)
			m->object[o].slot[i] = NOTHING;
	}
	for (i = 0; i < sizeof(edges) / sizeof(*edges); i++)
		m->object[edges[i].from].slot[0] = edges[i].to;
	for (s = 0; s < SESSION_JOIN; s++) {
		if (s == SESSION_VICTIM && !victim)
			continue;
		m->session[s] = JOINED;
		for (i = 0; i < sizeof(held) / sizeof(*held); i++)
			m->object[held[i]].takes[s] = 1;
		m->object[G1].weak[s][COOKIE] = true;
		m->object[F + s].lives = true;
		m->object[F + s].due = s;
		model_tell(m, s, PYOBJMEM_EVENT_FINALIZE, F + s);
	}
	m->object[R].observed = true;
	m->object[M].observed = true;
	m->object[K].tickets = 1;
	m->ticket = true;
	m->root = Z1;
	m->same = same;
}

static inline int model_holds(const struct model *m, unsigned int session)
{
	int o, n = 0;

	if (m->session[session] != JOINED)
		return -1;
	for (o = 0; o < OBJECTS; o++)
		n += !!m->object[o].takes[session];
	return n;
}

static inline void model_see(const struct model *m, struct seen *seen)
{
	int i, s, c;

	for (i = 0; i < OBJECTS; i++) {
		seen->objects += m->object[i].lives;
		seen->tickets += m->object[i].tickets;
		seen->finalizers += m->object[i].finalizer != NOTHING;
		for (s = 0; s < SESSIONS; s++)
			for (c = 0; c <= COOKIE_NEW; c++)
				seen->weak += m->object[i].weak[s][c];
	}
	for (i = 0; i < SESSIONS; i++)
		seen->sessions += m->session[i] == JOINED;
	for (i = 0; i < 2; i++) {
		seen->holds[i] = model_holds(m, i);
		seen->events[i] = m->session[i] == JOINED ? m->events[i].count : -1;
	}
	seen->abandoned = m->abandoned;
	seen->slot0 = m->object[R].slot[0];
	seen->slot2 = m->object[R].slot[2];
	seen->root = m->root;
	seen->content = m->content;
}

#endif /* RACE_MODEL_H */
