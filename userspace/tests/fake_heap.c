// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fake_heap.h"

struct fake_event {
	struct fake_event *next;
	struct pyobjmem_event event;
};

struct fake_weak {
	struct fake_weak *next;
	struct session *session;
	uint64_t cookie;
};

struct session fake_sessions[SESSIONS];
unsigned long fake_put_errors;

static struct fake_object objects[FAKE_OBJECTS];
static uint64_t roots[PYOBJMEM_ROOTS];
static unsigned int hint;
static bool deaths_hidden;
static uint32_t event_size = sizeof(struct pyobjmem_event);

/* --- Life and death ------------------------------------------------------- */

struct fake_object *fake_object_of(uint64_t handle)
{
	uint32_t place = (uint32_t)handle;
	struct fake_object *object;

	if (!place || place >= FAKE_OBJECTS)
		return NULL;
	object = &objects[place];
	return object->lives && object->generation == handle >> 32 ? object : NULL;
}

static uint64_t handle_of(const struct fake_object *object)
{
	return (uint64_t)object->generation << 32 | (uint64_t)(object - objects);
}

void fake_queue(struct session *session, const struct pyobjmem_event *event)
{
	struct fake_event **end = &session->events;

	while (*end)
		end = &(*end)->next;
	*end = calloc(1, sizeof(**end));
	(*end)->event = *event;
}

/* The weak holds of an object die, or those of one session are dropped. */
static void weaks_end(struct fake_object *object, struct session *dropped)
{
	struct fake_weak **at = &object->weaks, *weak;

	while ((weak = *at)) {
		struct pyobjmem_event event = {
			.type = PYOBJMEM_EVENT_WEAK_DEAD,
			.handle = handle_of(object),
			.cookie = weak->cookie,
		};

		if (dropped && weak->session != dropped) {
			at = &weak->next;
			continue;
		}
		if (!dropped)
			fake_queue(weak->session, &event);
		*at = weak->next;
		free(weak);
	}
}

/* If an object has a finalizer that can run, queue its event, which holds it. */
static bool finalize(struct fake_object *object)
{
	struct pyobjmem_event event = {
		.type = PYOBJMEM_EVENT_FINALIZE,
		.handle = handle_of(object),
	};
	struct session *owner = object->owner;

	object->owner = NULL;
	if (!owner || owner->ended)
		return false;
	object->external++;
	fake_queue(owner, &event);
	return true;
}

static void object_end(struct fake_object *object)
{
	object->lives = false;
	free(object->payload);
	object->payload = NULL;
}

static void free_if_dead(struct fake_object *object)
{
	static struct fake_object *stack[FAKE_OBJECTS];
	unsigned int n = 0;
	uint32_t i;

	if (object->external || object->internal || finalize(object))
		return;
	stack[n++] = object;
	while (n) {
		object = stack[--n];
		weaks_end(object, NULL);
		object_end(object);
		for (i = 0; i < object->slots; i++) {
			struct fake_object *value = fake_object_of(object->slot[i]);

			if (value && !--value->internal && !value->external && !finalize(value))
				stack[n++] = value;
		}
	}
}

/* --- Collector ------------------------------------------------------------ */

/* Mark what is held, and all that it reaches. */
static void mark(void)
{
	static struct fake_object *stack[FAKE_OBJECTS];
	struct fake_object *object;
	unsigned int n = 0;
	uint32_t i;

	for (i = 1; i < FAKE_OBJECTS; i++) {
		objects[i].marked = objects[i].lives && objects[i].external;
		if (objects[i].marked)
			stack[n++] = &objects[i];
	}
	while (n) {
		object = stack[--n];
		for (i = 0; i < object->slots; i++) {
			struct fake_object *value = fake_object_of(object->slot[i]);

			if (!value || value->marked)
				continue;
			value->marked = true;
			stack[n++] = value;
		}
	}
}

static void drop_slots(struct fake_object *object)
{
	struct fake_object *value;
	uint32_t i;

	for (i = 0; i < object->slots; i++) {
		value = fake_object_of(object->slot[i]);
		object->slot[i] = PYOBJMEM_NONE;
		if (!value)
			continue;
		value->internal--;
		if (value->marked)
			free_if_dead(value);
	}
}

int fake_collect(struct pyobjmem_collect *collect)
{
	struct pyobjmem_event event = { .type = PYOBJMEM_EVENT_COLLECTED };
	uint32_t i;

	mark();
	for (i = 1; i < FAKE_OBJECTS; i++)
		if (objects[i].lives && !objects[i].marked && finalize(&objects[i]))
			collect->out_finalizers++;
	if (collect->out_finalizers)
		mark();
	for (i = 1; i < FAKE_OBJECTS; i++) {
		if (!objects[i].lives || objects[i].marked)
			continue;
		weaks_end(&objects[i], NULL);
		drop_slots(&objects[i]);
	}
	for (i = 1; i < FAKE_OBJECTS; i++) {
		if (!objects[i].lives || objects[i].marked)
			continue;
		object_end(&objects[i]);
		collect->out_collected++;
	}
	event.generation = collect->generation;
	event.collected = collect->out_collected;
	event.finalizers = collect->out_finalizers;
	for (i = 0; i < SESSIONS; i++)
		if (fake_sessions[i].collected && !fake_sessions[i].ended)
			fake_queue(&fake_sessions[i], &event);
	return 0;
}

/* --- Operations ------------------------------------------------------------ */

static int stale(void)
{
	return deaths_hidden ? -ENOENT : -ESTALE;
}

static int check(struct session *session, uint64_t handle)
{
	if (!handle)
		return -EINVAL;
	if (!fake_object_of(handle))
		return stale();
	return session->takes[(uint32_t)handle] ? 0 : -ENOENT;
}

static void take(struct session *session, uint64_t handle)
{
	if (!session->takes[(uint32_t)handle]++)
		fake_object_of(handle)->external++;
}

static int do_create(struct session *session, struct pyobjmem_create *create)
{
	const uint64_t *edges = (const uint64_t *)(uintptr_t)create->edges;
	struct fake_object *object;
	unsigned int place;
	uint32_t i;
	int error;

	if (create->slots > SLOTS_MAX || create->payload_size > PAYLOAD_MAX)
		return -E2BIG;
	for (i = 0; edges && i < create->slots; i++) {
		error = edges[i] ? check(session, edges[i]) : 0;
		if (error)
			return error;
	}
	for (i = 1; i < FAKE_OBJECTS; i++) {
		place = 1 + (hint + i) % (FAKE_OBJECTS - 1);
		if (!objects[place].lives)
			break;
	}
	if (i == FAKE_OBJECTS)
		return -ENOSPC;
	hint = place;
	object = &objects[place];
	*object = (struct fake_object){
		.lives = true,
		.generation = object->generation + 1,
		.flags = create->flags,
		.type = create->type,
		.slots = create->slots,
		.payload_size = create->payload_size,
		.owner = create->flags & PYOBJMEM_CREATE_FINALIZE ? session : NULL,
		.payload = calloc(1, create->payload_size + 1),
	};
	if (create->payload)
		memcpy(object->payload, (void *)(uintptr_t)create->payload, create->payload_size);
	for (i = 0; edges && i < create->slots; i++) {
		object->slot[i] = edges[i];
		if (edges[i])
			fake_object_of(edges[i])->internal++;
	}
	create->out_handle = (uint64_t)object->generation << 32 | place;
	take(session, create->out_handle);
	return 0;
}

static int do_put(struct session *session, struct pyobjmem_put *put)
{
	int error = check(session, put->handle);

	if (error) {
		fake_put_errors++;
		return error;
	}
	if (!--session->takes[(uint32_t)put->handle]) {
		fake_object_of(put->handle)->external--;
		free_if_dead(fake_object_of(put->handle));
	}
	return 0;
}

static int do_set_ref(struct session *session, struct pyobjmem_set_ref *set)
{
	int error = check(session, set->handle);
	struct fake_object *object = fake_object_of(set->handle);

	if (!error && set->value)
		error = check(session, set->value);
	if (error)
		return error;
	if (set->slot >= object->slots)
		return -EINVAL;
	set->out_old = object->slot[set->slot];
	if (set->flags & PYOBJMEM_SET_REF_COMPARE && set->out_old != set->expected)
		return -ECANCELED;
	object->slot[set->slot] = set->value;
	if (set->value)
		fake_object_of(set->value)->internal++;
	if (set->out_old) {
		fake_object_of(set->out_old)->internal--;
		free_if_dead(fake_object_of(set->out_old));
	}
	return 0;
}

static int do_get_ref(struct session *session, struct pyobjmem_get_ref *get)
{
	int error = check(session, get->handle);
	struct fake_object *object = fake_object_of(get->handle);

	if (error)
		return error;
	if (get->slot >= object->slots)
		return -EINVAL;
	get->out_handle = object->slot[get->slot];
	if (get->out_handle)
		take(session, get->out_handle);
	return 0;
}

static int do_read(struct session *session, struct pyobjmem_read *read)
{
	int error = check(session, read->handle);
	struct fake_object *object = fake_object_of(read->handle);

	if (error)
		return error;
	if (read->offset > object->payload_size)
		return -EINVAL;
	read->out_payload = object->payload_size;
	read->out_slots = object->slots;
	read->out_length = object->payload_size - read->offset;
	if (read->out_length > read->length)
		read->out_length = read->length;
	memcpy((void *)(uintptr_t)read->buffer, object->payload + read->offset, read->out_length);
	return 0;
}

static int do_write(struct session *session, struct pyobjmem_write *write)
{
	int error = check(session, write->handle);
	struct fake_object *object = fake_object_of(write->handle);

	if (error)
		return error;
	if (!(object->flags & PYOBJMEM_CREATE_MUTABLE))
		return -EPERM;
	if (write->offset > object->payload_size ||
	    write->length > object->payload_size - write->offset)
		return -EINVAL;
	memcpy(object->payload + write->offset, (void *)(uintptr_t)write->buffer, write->length);
	write->out_length = write->length;
	return 0;
}

static int do_set_root(struct session *session, struct pyobjmem_set_root *set)
{
	int error = set->handle ? check(session, set->handle) : 0;

	if (error)
		return error;
	if (set->root >= PYOBJMEM_ROOTS)
		return -EINVAL;
	set->out_old = roots[set->root];
	roots[set->root] = set->handle;
	if (set->handle)
		fake_object_of(set->handle)->external++;
	if (set->out_old) {
		fake_object_of(set->out_old)->external--;
		free_if_dead(fake_object_of(set->out_old));
	}
	return 0;
}

static int do_get_root(struct session *session, struct pyobjmem_get_root *get)
{
	if (get->root >= PYOBJMEM_ROOTS)
		return -EINVAL;
	get->out_handle = roots[get->root];
	if (get->out_handle)
		take(session, get->out_handle);
	return 0;
}

static struct fake_weak **find_weak(struct session *session, struct fake_object *object,
				    const uint64_t *cookie)
{
	struct fake_weak **at = &object->weaks;

	while (*at && ((*at)->session != session || (cookie && (*at)->cookie != *cookie)))
		at = &(*at)->next;
	return at;
}

static int do_weak(struct session *session, struct pyobjmem_weak *weak)
{
	int error = check(session, weak->handle);
	struct fake_object *object = fake_object_of(weak->handle);
	const uint64_t cookie = weak->cookie;
	struct fake_weak **at;

	if (error)
		return error;
	if (*find_weak(session, object, &cookie))
		return -EALREADY;
	at = &object->weaks;
	while (*at)
		at = &(*at)->next;
	*at = calloc(1, sizeof(**at));
	(*at)->session = session;
	(*at)->cookie = cookie;
	return 0;
}

static int do_upgrade(struct session *session, struct pyobjmem_upgrade *upgrade)
{
	struct fake_object *object = fake_object_of(upgrade->handle);

	if (!object)
		return stale();
	if (!*find_weak(session, object, NULL))
		return -ENOENT;
	take(session, upgrade->handle);
	return 0;
}

static int do_weak_drop(struct session *session, struct pyobjmem_weak_drop *drop)
{
	struct fake_object *object = fake_object_of(drop->handle);
	const uint64_t cookie = drop->cookie;
	struct fake_weak **at, *weak;

	if (!object)
		return stale();
	at = find_weak(session, object, &cookie);
	weak = *at;
	if (!weak)
		return -ENOENT;
	*at = weak->next;
	free(weak);
	return 0;
}

int fake_command(struct session *session, unsigned int op, union pyobjmem_command *command)
{
	int error;

	switch (op) {
	case PYOBJMEM_OP_CREATE:
		return do_create(session, &command->create);
	case PYOBJMEM_OP_GET:
		error = check(session, command->get.handle);
		if (!error)
			take(session, command->get.handle);
		return error;
	case PYOBJMEM_OP_PUT:
		return do_put(session, &command->put);
	case PYOBJMEM_OP_SET_REF:
		return do_set_ref(session, &command->set_ref);
	case PYOBJMEM_OP_GET_REF:
		return do_get_ref(session, &command->get_ref);
	case PYOBJMEM_OP_READ:
		return do_read(session, &command->read);
	case PYOBJMEM_OP_WRITE:
		return do_write(session, &command->write);
	case PYOBJMEM_OP_SET_ROOT:
		return do_set_root(session, &command->set_root);
	case PYOBJMEM_OP_GET_ROOT:
		return do_get_root(session, &command->get_root);
	case PYOBJMEM_OP_WEAK:
		return do_weak(session, &command->weak);
	case PYOBJMEM_OP_UPGRADE:
		return do_upgrade(session, &command->upgrade);
	case PYOBJMEM_OP_WEAK_DROP:
		return do_weak_drop(session, &command->weak_drop);
	default:
		return -EOPNOTSUPP;
	}
}

/* --- Events and the end of sessions ---------------------------------------- */

/* The hold of a queued event becomes a take of the session, or goes. */
static void settle_finalize(struct session *session, uint64_t handle, bool taken)
{
	struct fake_object *object = fake_object_of(handle);

	if (taken && !session->takes[(uint32_t)handle]++)
		return;
	object->external--;
	if (!taken)
		free_if_dead(object);
}

static struct pyobjmem_event pop(struct session *session)
{
	struct fake_event *first = session->events;
	struct pyobjmem_event event = first->event;

	session->events = first->next;
	free(first);
	return event;
}

ssize_t fake_read(struct session *session, void *buffer, size_t size)
{
	struct pyobjmem_event event;
	char *to = buffer;

	if (size < event_size)
		return -EINVAL;
	if (!session->events)
		return session->ended ? 0 : -EAGAIN;
	for (; session->events && (size_t)(to - (char *)buffer) + event_size <= size;
	     to += event_size) {
		event = pop(session);
		if (event.type == PYOBJMEM_EVENT_FINALIZE)
			settle_finalize(session, event.handle, true);
		event.size = event_size;
		memset(to, 0x5a, event_size);
		memcpy(to, &event, sizeof(event));
	}
	return to - (char *)buffer;
}

void fake_leave(struct session *session)
{
	struct pyobjmem_event event;
	uint32_t i;

	session->ended = true;
	for (i = 1; i < FAKE_OBJECTS; i++)
		weaks_end(&objects[i], session);
	while (session->events) {
		event = pop(session);
		if (event.type == PYOBJMEM_EVENT_FINALIZE)
			settle_finalize(session, event.handle, false);
	}
	for (i = 1; i < FAKE_OBJECTS; i++) {
		if (objects[i].owner == session)
			objects[i].owner = NULL;
		if (!session->takes[i])
			continue;
		session->takes[i] = 0;
		objects[i].external--;
		free_if_dead(&objects[i]);
	}
}

/* --- For the tests -------------------------------------------------------- */

void fake_heap_reset(void)
{
	uint32_t i;

	for (i = 0; i < SESSIONS; i++)
		while (fake_sessions[i].events)
			pop(&fake_sessions[i]);
	memset(fake_sessions, 0, sizeof(fake_sessions));
	for (i = 0; i < FAKE_OBJECTS; i++) {
		while (objects[i].weaks) {
			struct fake_weak *weak = objects[i].weaks;

			objects[i].weaks = weak->next;
			free(weak);
		}
		free(objects[i].payload);
		objects[i] = (struct fake_object){ .generation = objects[i].generation };
	}
	memset(roots, 0, sizeof(roots));
	fake_put_errors = 0;
	deaths_hidden = false;
	event_size = sizeof(struct pyobjmem_event);
}

void fake_hide_deaths(bool on)
{
	deaths_hidden = on;
}

void fake_event_size(uint32_t size)
{
	event_size = size;
}

unsigned int fake_objects(void)
{
	unsigned int i, n = 0;

	for (i = 1; i < FAKE_OBJECTS; i++)
		n += objects[i].lives;
	return n;
}

unsigned int fake_count_events(const struct session *session)
{
	const struct fake_event *event;
	unsigned int n = 0;

	for (event = session->events; event; event = event->next)
		n++;
	return n;
}
