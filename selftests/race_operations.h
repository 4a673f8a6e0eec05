/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The operations that are raced: how each is done, and what each of its steps
 * does to the model.
 */
#ifndef RACE_OPERATIONS_H
#define RACE_OPERATIONS_H

#include "race_model.h"

#define CONTENT_BYTES	2048	/* of M: one piece of READ and WRITE */

/* The scene as it is in the kernel. */
struct scene {
	struct test_heap heap;		/* the observer's */
	__u64 keeper;			/* keeps what makes collections long */
	int session[SESSIONS];
	int ticket;
	__u64 handle[OBJECTS];
	pid_t victim;
	unsigned int *go;		/* tells the victim to exit, shared */
	bool same;
	bool victim_needed;
	__u64 abandoned;		/* finalizers, before the race */
};

/* A step of an operation, as it is taken in the model. */
struct step {
	unsigned int side;
	unsigned int session;
	unsigned int number;
	struct result *result;	/* of the whole operation */
	int *rc;		/* of this step */
	int *value;
};

struct operation {
	const char *name;
	bool is_death;
	unsigned int steps;
	void (*does)(struct scene *scene, unsigned int side, struct result *result);
	void (*apply)(struct model *m, const struct step *s);
	bool (*untried)(const struct model *m, const struct step *s);	/* if any can be */
	bool any_session;	/* applied whatever state the session is in */
};

/* The model's number of a handle; of a new object, which has no number yet, NEW. */
static inline int object_of(const struct scene *scene, __u64 handle)
{
	int o;

	if (!handle)
		return NOTHING;
	for (o = 0; o < NEW; o++)
		if (scene->handle[o] == handle)
			return o;
	return NEW;
}

static inline int side_session(const struct scene *scene, unsigned int side)
{
	return scene->session[session_of(scene->same, side)];
}

#define DOES(name) static void name##_does(struct scene *scene, unsigned int side,	\
					   struct result *result)
#define APPLY(name) static void name##_apply(struct model *m, const struct step *s)

/* --- References -------------------------------------------------------------- */

DOES(set_ref)
{
	__u64 old = 0;

	result->rc[0] = ref_set(side_session(scene, side), scene->handle[R], 0, scene->handle[Y],
				&old);
	if (!result->rc[0])
		result->value[0] = object_of(scene, old);
}

APPLY(set_ref)
{
	*s->value = m->object[R].slot[0];
	m->object[R].slot[0] = Y;
	model_settle(m);
}

DOES(get_ref)
{
	__u64 handle = 0;

	result->rc[0] = ref_get(side_session(scene, side), scene->handle[R], 0, &handle);
	if (!result->rc[0])
		result->value[0] = object_of(scene, handle);
}

APPLY(get_ref)
{
	*s->value = m->object[R].slot[0];
	if (*s->value != NOTHING)
		m->object[*s->value].takes[s->session]++;
}

/*
 * Take what R names and what that names, empty the slot in between, and read
 * what nothing but our hold keeps now. To the collector both are candidates that
 * live by what R names: it must notice that they are taken.
 */
DOES(move)
{
	__u64 outer = 0, inner = 0, old = 0;
	int session = side_session(scene, side), *rc = result->rc;
	char bytes[8];

	rc[1] = UNTRIED;
	rc[2] = UNTRIED;
	rc[3] = UNTRIED;
	rc[0] = ref_get(session, scene->handle[R], 0, &outer);
	if (rc[0])
		return;
	result->value[0] = object_of(scene, outer);
	rc[1] = ref_get(session, outer, 0, &inner);
	if (!rc[1])
		result->value[1] = object_of(scene, inner);
	rc[2] = ref_set(session, outer, 0, 0, &old);
	if (!rc[2])
		result->value[2] = object_of(scene, old);
	if (!inner)
		return;
	rc[3] = object_read(session, inner, 0, bytes, sizeof(bytes));
	if (rc[3] > 0)
		result->value[3] = bytes[0];
}

static bool move_untried(const struct model *m, const struct step *s)
{
	(void)m;
	return (s->number && s->result->rc[0]) ||
	       (s->number == 3 && (s->result->rc[1] || s->result->value[1] == NOTHING));
}

APPLY(move)
{
	int outer = s->result->value[0];

	switch (s->number) {
	case 0:
		*s->value = m->object[R].slot[0];
		m->object[*s->value].takes[s->session]++;
		break;
	case 1:
		*s->value = m->object[outer].slot[0];
		if (*s->value != NOTHING)
			m->object[*s->value].takes[s->session]++;
		break;
	case 2:
		*s->value = m->object[outer].slot[0];
		m->object[outer].slot[0] = NOTHING;
		model_settle(m);
		break;
	default:
		*s->rc = 8;
		*s->value = s->result->value[1];
	}
}

DOES(inspect)
{
	struct pyobjmem_inspect unused;
	__u64 edges[SLOTS] = { 0 };

	result->rc[0] = object_edges(side_session(scene, side), scene->handle[R], edges, SLOTS,
				     &unused);
	if (result->rc[0])
		return;
	result->value[0] = object_of(scene, edges[0]);
	result->value[1] = object_of(scene, edges[2]);
}

APPLY(inspect)
{
	*s->value = m->object[R].slot[0];
	s->result->value[1] = m->object[R].slot[2];
}

/* --- Holds and objects --------------------------------------------------------- */

DOES(put)
{
	result->rc[0] = object_put(side_session(scene, side), scene->handle[H1]);
}

static void apply_put(struct model *m, unsigned int session, int o, int *rc)
{
	*rc = model_names(m, session, o);
	if (!*rc)
		m->object[o].takes[session]--;
	model_settle(m);
}

APPLY(put)
{
	apply_put(m, s->session, H1, s->rc);
}

DOES(get)
{
	result->rc[0] = object_get(side_session(scene, side), scene->handle[H1]);
}

APPLY(get)
{
	*s->rc = model_names(m, s->session, H1);
	if (!*s->rc)
		m->object[H1].takes[s->session]++;
}

DOES(create)
{
	__u64 edges[SLOTS] = { scene->handle[Y], scene->handle[H1], scene->handle[R] };

	result->rc[0] = object_create(side_session(scene, side), 0, NULL, 0, edges, SLOTS, NULL);
}

APPLY(create)
{
	static const int edges[SLOTS] = { Y, H1, R };
	int i;

	for (i = 0; i < SLOTS && !*s->rc; i++)
		*s->rc = model_names(m, s->session, edges[i]);
	if (*s->rc)
		return;
	m->object[NEW + s->side].lives = true;
	m->object[NEW + s->side].takes[s->session] = 1;
	for (i = 0; i < SLOTS; i++)
		m->object[NEW + s->side].slot[i] = edges[i];
}

DOES(write)
{
	char bytes[CONTENT_BYTES];

	memset(bytes, 1 + side, sizeof(bytes));
	result->rc[0] = object_write(side_session(scene, side), scene->handle[M], 0, bytes,
				     sizeof(bytes));
}

APPLY(write)
{
	*s->rc = CONTENT_BYTES;
	m->content = 1 + s->side;
}

/* All bytes of a payload the same, or -1 */
static int content_of(int session, __u64 handle, int *rc)
{
	char bytes[CONTENT_BYTES];

	*rc = object_read(session, handle, 0, bytes, sizeof(bytes));
	if (*rc != CONTENT_BYTES)
		return 0;
	return all_bytes(bytes, sizeof(bytes), bytes[0]) ? bytes[0] : -1;
}

DOES(read)
{
	result->value[0] = content_of(side_session(scene, side), scene->handle[M],
				      &result->rc[0]);
}

APPLY(read)
{
	*s->rc = CONTENT_BYTES;
	*s->value = m->content;
}

/* --- Roots and tickets ---------------------------------------------------------- */

DOES(set_root)
{
	__u64 old = 0;

	result->rc[0] = root_set(side_session(scene, side), 1, scene->handle[Y], &old);
	if (!result->rc[0])
		result->value[0] = object_of(scene, old);
}

APPLY(set_root)
{
	*s->value = m->root;
	m->root = Y;
	model_settle(m);
}

DOES(get_root)
{
	__u64 handle = 0;

	result->rc[0] = root_get(side_session(scene, side), 1, &handle);
	if (!result->rc[0])
		result->value[0] = object_of(scene, handle);
}

APPLY(get_root)
{
	*s->value = m->root;
	m->object[m->root].takes[s->session]++;
}

/* The new ticket is looked at and closed afterwards: rc is its descriptor. */
DOES(export)
{
	result->rc[0] = object_export(side_session(scene, side), scene->handle[H1]);
}

APPLY(export)
{
	*s->rc = model_names(m, s->session, H1);
	if (!*s->rc)
		m->object[H1].tickets++;
}

DOES(redeem)
{
	__u64 handle = 0;

	result->rc[0] = ticket_redeem(side_session(scene, side), scene->ticket, &handle);
	if (!result->rc[0])
		result->value[0] = object_of(scene, handle);
}

APPLY(redeem)
{
	*s->rc = m->session[s->session] == CLOSED || !m->ticket ? -EBADF :
			model_refuses(m, s->session);
	if (*s->rc)
		return;
	*s->value = K;
	m->object[K].takes[s->session]++;
}

DOES(close_ticket)
{
	(void)side;
	result->rc[0] = close(scene->ticket) ? -errno : 0;
}

APPLY(close_ticket)
{
	*s->rc = m->ticket ? 0 : -EBADF;
	if (m->ticket)
		m->object[K].tickets--;
	m->ticket = false;
	model_settle(m);
}

/* --- Weak holds, finalizers, events ------------------------------------------------ */

DOES(weak)
{
	result->rc[0] = weak_hold(side_session(scene, side), scene->handle[H1], COOKIE_NEW);
}

APPLY(weak)
{
	bool *weak = &m->object[H1].weak[s->session][COOKIE_NEW];

	*s->rc = model_names(m, s->session, H1) ?: *weak ? -EALREADY : 0;
	if (!*s->rc)
		*weak = true;
}

/* Of garbage, so that the collector decides. */
DOES(upgrade)
{
	result->rc[0] = weak_upgrade(side_session(scene, side), scene->handle[G1]);
}

static int model_weak(const struct model *m, const struct step *s)
{
	if (!m->object[G1].lives)
		return -ESTALE;
	return m->object[G1].weak[s->session][COOKIE] ? 0 : -ENOENT;
}

APPLY(upgrade)
{
	*s->rc = model_weak(m, s);
	if (!*s->rc)
		m->object[G1].takes[s->session]++;
}

DOES(weak_drop)
{
	result->rc[0] = weak_drop(side_session(scene, side), scene->handle[G1], COOKIE);
}

APPLY(weak_drop)
{
	*s->rc = model_weak(m, s);
	if (!*s->rc)
		m->object[G1].weak[s->session][COOKIE] = false;
}

/* One event: that of the finalizer, if nobody has read it yet */
DOES(read_event)
{
	struct pyobjmem_event event;

	result->rc[0] = event_read_once(side_session(scene, side), &event, 1);
	if (result->rc[0] != 1)
		return;
	result->value[0] = object_of(scene, event.handle);
	result->value[1] = event.type;
}

APPLY(read_event)
{
	int *count = &m->events[s->session].count, *type = m->events[s->session].type;
	int *object = m->events[s->session].object, o = object[0];

	if (m->session[s->session] != JOINED) {
		*s->rc = m->session[s->session] == CLOSED ? -EBADF : 0;
		return;
	}
	*s->rc = *count ? 1 : -EAGAIN;
	if (!*count)
		return;
	*s->value = o < NEW ? o : NEW;
	s->result->value[1] = type[0];
	if (type[0] == PYOBJMEM_EVENT_FINALIZE) {
		m->object[o].due = NOTHING;
		m->object[o].takes[s->session]++;
	}
	--*count;
	memmove(type, type + 1, *count * sizeof(*type));
	memmove(object, object + 1, *count * sizeof(*object));
}

/* An object with a finalizer, which is due at once */
DOES(finalize)
{
	int session = side_session(scene, side);
	__u64 handle;

	result->rc[1] = UNTRIED;
	result->rc[0] = object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 0, NULL, 0,
				      &handle);
	if (!result->rc[0])
		result->rc[1] = object_put(session, handle);
}

static bool finalize_untried(const struct model *m, const struct step *s)
{
	(void)m;
	return s->number && s->result->rc[0];
}

APPLY(finalize)
{
	int o = NEW + s->side;

	if (s->number) {
		apply_put(m, s->session, o, s->rc);
		return;
	}
	m->object[o].lives = true;
	m->object[o].finalizer = s->session;
	m->object[o].takes[s->session] = 1;
}

/* --- Many steps ------------------------------------------------------------------ */

DOES(batch)
{
	struct pyobjmem_batch_entry entries[] = {
		entry_put(scene->handle[H1]),
		entry_set_ref(scene->handle[R], 2, scene->handle[Y]),
		entry_get_root(1),
	};
	__u32 done = 0, i;
	int rc = batch_run(side_session(scene, side), entries, ARRAY_SIZE(entries),
			   PYOBJMEM_BATCH_CONTINUE, &done);

	for (i = 0; i < ARRAY_SIZE(entries); i++)
		result->rc[i] = i < done ? entries[i].out_result : UNTRIED;
	if (rc) {
		result->rc[0] = rc;
		return;
	}
	if (!result->rc[1])
		result->value[1] = object_of(scene, entries[1].command.set_ref.out_old);
	if (!result->rc[2])
		result->value[2] = object_of(scene, entries[2].command.get_root.out_handle);
}

/* A session that ends stops it; the call as a whole succeeds if it has begun. */
static bool batch_untried(const struct model *m, const struct step *s)
{
	const int *rc = s->result->rc;

	return s->number && (rc[s->number - 1] == UNTRIED || rc[0] == -ENOTCONN ||
			     rc[0] == -EBADF || model_refuses(m, s->session));
}

APPLY(batch)
{
	switch (s->number) {
	case 0:
		apply_put(m, s->session, H1, s->rc);
		break;
	case 1:
		*s->value = m->object[R].slot[2];
		m->object[R].slot[2] = Y;
		break;
	default:
		*s->value = m->root;
		m->object[m->root].takes[s->session]++;
	}
}

DOES(collect)
{
	result->rc[0] = heap_collect(side_session(scene, side), 2, NULL);
}

APPLY(collect)
{
	(void)s;
	model_collect(m);
}

DOES(freeze)
{
	result->rc[0] = heap_freeze(side_session(scene, side));
	result->rc[1] = heap_unfreeze(side_session(scene, side));
}

APPLY(freeze)
{
	int o;

	for (o = 0; o < OBJECTS; o++)
		m->object[o].frozen = !s->number && m->object[o].lives;
}

/* --- Sessions -------------------------------------------------------------------- */

DOES(leave)
{
	result->rc[0] = session_leave(side_session(scene, side));
}

APPLY(leave)
{
	model_end(m, s->session, LEFT);
}

DOES(close)
{
	result->rc[0] = close(side_session(scene, side)) ? -errno : 0;
}

APPLY(close)
{
	*s->rc = m->session[s->session] == CLOSED ? -EBADF : 0;
	model_end(m, s->session, CLOSED);
}

DOES(join)
{
	int session = scene->session[SESSION_JOIN + session_of(scene->same, side)];

	result->rc[0] = heap_join(session, scene->heap.fd);
	result->rc[1] = session_leave(session);
}

APPLY(join)
{
	unsigned int session = SESSION_JOIN + s->session;
	enum session_state state = m->session[session];

	if (s->number) {
		*s->rc = state == LEFT ? -ENOTCONN : 0;
		model_end(m, session, LEFT);
	} else {
		*s->rc = state == LEFT ? -ENOTCONN : state == JOINED ? -EALREADY : 0;
		if (state == FRESH)
			m->session[session] = JOINED;
	}
}

/* When waitpid() returns, what the victim held is gone. */
static void ends(struct scene *scene, int expected, struct result *result)
{
	int status;

	if (waitpid(scene->victim, &status, 0) != scene->victim || status != expected)
		result->rc[0] = -ECHILD;
	scene->victim = -1;
}

DOES(kill)
{
	(void)side;
	kill(scene->victim, SIGKILL);
	ends(scene, SIGKILL, result);
}

DOES(exit)
{
	(void)side;
	__atomic_store_n(scene->go, 1, __ATOMIC_SEQ_CST);
	ends(scene, 0, result);
}

static void apply_death(struct model *m, const struct step *s)
{
	*s->rc = 0;
	model_end(m, SESSION_VICTIM, LEFT);
}

APPLY(kill)
{
	apply_death(m, s);
}

APPLY(exit)
{
	apply_death(m, s);
}

#define OPERATION(_name, _steps, ...) {					\
	.name = #_name,							\
	.steps = _steps,						\
	.does = _name##_does,						\
	.apply = _name##_apply,						\
	__VA_ARGS__							\
}

static const struct operation operations[] = {
	OPERATION(collect, 1),
	OPERATION(set_ref, 1),
	OPERATION(get_ref, 1),
	OPERATION(move, 4, .untried = move_untried),
	OPERATION(inspect, 1),
	OPERATION(put, 1),
	OPERATION(get, 1),
	OPERATION(create, 1),
	OPERATION(write, 1),
	OPERATION(read, 1),
	OPERATION(set_root, 1),
	OPERATION(get_root, 1),
	OPERATION(export, 1),
	OPERATION(redeem, 1, .any_session = true),
	OPERATION(close_ticket, 1, .any_session = true),
	OPERATION(weak, 1),
	OPERATION(upgrade, 1),
	OPERATION(weak_drop, 1),
	OPERATION(read_event, 1, .any_session = true),
	OPERATION(finalize, 2, .untried = finalize_untried),
	OPERATION(batch, 3, .untried = batch_untried),
	OPERATION(freeze, 2),
	OPERATION(leave, 1),
	OPERATION(close, 1, .any_session = true),
	OPERATION(join, 2, .any_session = true),
	OPERATION(kill, 1, .any_session = true, .is_death = true),
	OPERATION(exit, 1, .any_session = true, .is_death = true),
};

#define OPERATION_COUNT	ARRAY_SIZE(operations)

/* Take one step of an operation of @side in the model. */
static inline void take_step(struct model *m, const struct operation *operation,
			     unsigned int side, unsigned int number, struct result *result)
{
	struct step step = {
		.side = side,
		.session = session_of(m->same, side),
		.number = number,
		.result = result,
		.rc = &result->rc[number],
		.value = &result->value[number],
	};

	if (operation->untried && operation->untried(m, &step)) {
		*step.rc = UNTRIED;
		return;
	}
	*step.rc = operation->any_session ? 0 : model_refuses(m, step.session);
	if (!*step.rc)
		operation->apply(m, &step);
}

#endif /* RACE_OPERATIONS_H */
