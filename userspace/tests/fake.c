// SPDX-License-Identifier: MIT
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake.h"
#include "internal.h"

#define SESSIONS	8
#define FIRST_FD	1000
#define SLOTS_MAX	64U
#define PAYLOAD_MAX	65536U

struct object {
	bool lives;
	uint32_t generation;
	uint32_t flags;
	uint32_t type;
	uint32_t external;
	uint32_t internal;
	uint32_t slots;
	uint32_t payload_size;
	uint64_t slot[SLOTS_MAX];
	unsigned char *payload;
};

struct session {
	bool open;
	bool joined;
	bool ended;
	uint32_t takes[FAKE_OBJECTS];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object objects[FAKE_OBJECTS];
static struct session sessions[SESSIONS];
static uint64_t roots[PYOBJMEM_ROOTS];
static unsigned long calls[PYOBJMEM_OP_COUNT];
static unsigned long underflows;
static unsigned int hint;
static bool yielding;
static struct pyobjmem_batch_entry last_batch[PYOBJMEM_BATCH_MAX];
static uint32_t last_batch_count;

static struct {
	unsigned int op;
	bool always;
	int error;
} failure;

static pthread_mutex_t alloc_lock = PTHREAD_MUTEX_INITIALIZER;
static int alloc_countdown = -1;

/* --- Objects -------------------------------------------------------------- */

static struct object *object_of(uint64_t handle)
{
	uint32_t place = (uint32_t)handle;
	struct object *object;

	if (!place || place >= FAKE_OBJECTS)
		return NULL;
	object = &objects[place];
	return object->lives && object->generation == handle >> 32 ? object : NULL;
}

static void free_if_dead(struct object *object)
{
	static struct object *stack[FAKE_OBJECTS];
	unsigned int n = 0;
	uint32_t i;

	if (object->external || object->internal)
		return;
	stack[n++] = object;
	while (n) {
		object = stack[--n];
		object->lives = false;
		free(object->payload);
		object->payload = NULL;
		for (i = 0; i < object->slots; i++) {
			struct object *value = object_of(object->slot[i]);

			if (value && !--value->internal && !value->external)
				stack[n++] = value;
		}
	}
}

static int check(struct session *session, uint64_t handle)
{
	if (!handle)
		return -EINVAL;
	if (!object_of(handle))
		return -ESTALE;
	return session->takes[(uint32_t)handle] ? 0 : -ENOENT;
}

static void take(struct session *session, uint64_t handle)
{
	if (!session->takes[(uint32_t)handle]++)
		object_of(handle)->external++;
}

static int do_create(struct session *session, struct pyobjmem_create *create)
{
	const uint64_t *edges = (const uint64_t *)(uintptr_t)create->edges;
	struct object *object;
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
	*object = (struct object){
		.lives = true,
		.generation = object->generation + 1,
		.flags = create->flags,
		.type = create->type,
		.slots = create->slots,
		.payload_size = create->payload_size,
		.payload = calloc(1, create->payload_size + 1),
	};
	if (create->payload)
		memcpy(object->payload, (void *)(uintptr_t)create->payload, create->payload_size);
	for (i = 0; edges && i < create->slots; i++) {
		object->slot[i] = edges[i];
		if (edges[i])
			object_of(edges[i])->internal++;
	}
	create->out_handle = (uint64_t)object->generation << 32 | place;
	take(session, create->out_handle);
	return 0;
}

static int do_put(struct session *session, struct pyobjmem_put *put)
{
	int error = check(session, put->handle);

	if (error) {
		underflows++;
		return error;
	}
	if (!--session->takes[(uint32_t)put->handle]) {
		object_of(put->handle)->external--;
		free_if_dead(object_of(put->handle));
	}
	return 0;
}

static int do_set_ref(struct session *session, struct pyobjmem_set_ref *set)
{
	int error = check(session, set->handle);
	struct object *object = object_of(set->handle);

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
		object_of(set->value)->internal++;
	if (set->out_old) {
		object_of(set->out_old)->internal--;
		free_if_dead(object_of(set->out_old));
	}
	return 0;
}

static int do_get_ref(struct session *session, struct pyobjmem_get_ref *get)
{
	int error = check(session, get->handle);
	struct object *object = object_of(get->handle);

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
	struct object *object = object_of(read->handle);

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
	struct object *object = object_of(write->handle);

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
		object_of(set->handle)->external++;
	if (set->out_old) {
		object_of(set->out_old)->external--;
		free_if_dead(object_of(set->out_old));
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

/* --- Calls ---------------------------------------------------------------- */

static int do_command(struct session *session, unsigned int op, union pyobjmem_command *command)
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
	default:
		return -EOPNOTSUPP;
	}
}

static int do_batch(struct session *session, struct pyobjmem_batch *batch)
{
	struct pyobjmem_batch_entry *entries = (void *)(uintptr_t)batch->entries;
	uint64_t bytes = 0;
	uint32_t i;

	if (!batch->count || batch->entry_size != sizeof(*entries))
		return -EINVAL;
	if (batch->count > PYOBJMEM_BATCH_MAX)
		return -E2BIG;
	for (i = 0; i < batch->count; i++) {
		union pyobjmem_command *command = &entries[i].command;

		if (entries[i].op == PYOBJMEM_OP_CREATE)
			bytes += (command->create.payload ? command->create.payload_size : 0) +
				 (command->create.edges ? 8ULL * command->create.slots : 0);
		if (entries[i].op == PYOBJMEM_OP_READ)
			bytes += command->read.length;
		if (entries[i].op == PYOBJMEM_OP_WRITE)
			bytes += command->write.length;
	}
	if (bytes > PYOBJMEM_BATCH_BYTES)
		return -E2BIG;
	memcpy(last_batch, entries, batch->count * sizeof(*entries));
	last_batch_count = batch->count;
	for (i = 0; i < batch->count; i++) {
		entries[i].out_result = do_command(session, entries[i].op, &entries[i].command);
		batch->out_done = i + 1;
		if (entries[i].out_result && !(batch->flags & PYOBJMEM_BATCH_CONTINUE))
			break;
		if (yielding && i % 16 == 7) {
			pthread_mutex_unlock(&lock);
			sched_yield();
			pthread_mutex_lock(&lock);
		}
	}
	return 0;
}

static int do_leave(struct session *session)
{
	uint32_t i;

	for (i = 1; i < FAKE_OBJECTS; i++) {
		if (!session->takes[i])
			continue;
		session->takes[i] = 0;
		objects[i].external--;
		free_if_dead(&objects[i]);
	}
	session->ended = true;
	return 0;
}

static int do_stats(struct pyobjmem_stats *stats)
{
	stats->out_heap = 1;
	stats->out_objects = fake_objects();
	return 0;
}

static int do_call(struct session *session, unsigned int op, void *argument)
{
	if (op >= PYOBJMEM_OP_COUNT)
		return -ENOTTY;
	calls[op]++;
	if (failure.error && failure.op == op) {
		int error = failure.error;

		if (!failure.always)
			failure.error = 0;
		return error;
	}
	if (op == PYOBJMEM_OP_HEAP_CREATE || op == PYOBJMEM_OP_HEAP_JOIN) {
		if (session->joined)
			return -EALREADY;
		session->joined = true;
		if (op == PYOBJMEM_OP_HEAP_CREATE) {
			((struct pyobjmem_heap_create *)argument)->out_heap = 1;
			((struct pyobjmem_heap_create *)argument)->out_fd = -1;
		} else {
			((struct pyobjmem_heap_join *)argument)->out_heap = 1;
		}
		return 0;
	}
	if (!session->joined || session->ended)
		return -ENOTCONN;
	switch (op) {
	case PYOBJMEM_OP_LEAVE:
		return do_leave(session);
	case PYOBJMEM_OP_STATS:
		return do_stats(argument);
	case PYOBJMEM_OP_BATCH:
		return do_batch(session, argument);
	default:
		return do_command(session, op, argument);
	}
}

static struct session *session_of(int fd)
{
	if (fd < FIRST_FD || fd >= FIRST_FD + SESSIONS || !sessions[fd - FIRST_FD].open)
		return NULL;
	return &sessions[fd - FIRST_FD];
}

int pyobjmem_sys_ioctl(int fd, unsigned long command, void *argument)
{
	struct session *session;
	int result;

	if (yielding)
		sched_yield();
	pthread_mutex_lock(&lock);
	session = session_of(fd);
	result = session ? do_call(session, (unsigned int)command & 0xff, argument) : -EBADF;
	pthread_mutex_unlock(&lock);
	if (yielding)
		sched_yield();
	return result;
}

int pyobjmem_sys_open(void)
{
	int i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < SESSIONS && sessions[i].open; i++)
		;
	if (i < SESSIONS) {
		memset(&sessions[i], 0, sizeof(sessions[i]));
		sessions[i].open = true;
	}
	pthread_mutex_unlock(&lock);
	return i < SESSIONS ? FIRST_FD + i : -EDQUOT;
}

void pyobjmem_sys_close(int fd)
{
	struct session *session;

	pthread_mutex_lock(&lock);
	session = session_of(fd);
	if (session) {
		do_leave(session);
		session->open = false;
	}
	pthread_mutex_unlock(&lock);
	/* Descriptors that travelled over a socket are real ones. */
	if (fd >= 0 && fd < FIRST_FD)
		close(fd);
}

static bool alloc_fails(void)
{
	bool fails;

	pthread_mutex_lock(&alloc_lock);
	fails = alloc_countdown == 0;
	if (alloc_countdown >= 0)
		alloc_countdown--;
	pthread_mutex_unlock(&alloc_lock);
	return fails;
}

void *pyobjmem_sys_alloc(size_t size)
{
	return alloc_fails() ? NULL : calloc(1, size);
}

void *pyobjmem_sys_realloc(void *memory, size_t size)
{
	return alloc_fails() ? NULL : realloc(memory, size);
}

/* --- For the tests -------------------------------------------------------- */

void fake_reset(void)
{
	uint32_t i;

	for (i = 0; i < FAKE_OBJECTS; i++) {
		free(objects[i].payload);
		objects[i] = (struct object){ .generation = objects[i].generation };
	}
	memset(sessions, 0, sizeof(sessions));
	memset(roots, 0, sizeof(roots));
	memset(calls, 0, sizeof(calls));
	failure.error = 0;
	alloc_countdown = -1;
	underflows = 0;
	yielding = false;
	last_batch_count = 0;
}

int fake_open(void)
{
	return pyobjmem_sys_open();
}

unsigned long fake_calls(void)
{
	unsigned long sum = 0;
	int i;

	for (i = 0; i < PYOBJMEM_OP_COUNT; i++)
		sum += calls[i];
	return sum;
}

unsigned long fake_calls_of(unsigned int op)
{
	return calls[op];
}

void fake_fail(unsigned int op, int error)
{
	failure.op = op;
	failure.always = false;
	failure.error = error;
}

void fake_fail_always(unsigned int op, int error)
{
	failure.op = op;
	failure.always = true;
	failure.error = error;
}

void fake_fail_alloc(unsigned int after)
{
	alloc_countdown = (int)after;
}

void fake_yield(bool on)
{
	yielding = on;
}

unsigned int fake_objects(void)
{
	unsigned int i, n = 0;

	for (i = 1; i < FAKE_OBJECTS; i++)
		n += objects[i].lives;
	return n;
}

uint32_t fake_takes(int fd, uint64_t handle)
{
	return object_of(handle) ? session_of(fd)->takes[(uint32_t)handle] : 0;
}

unsigned int fake_held(int fd)
{
	unsigned int i, n = 0;

	for (i = 1; i < FAKE_OBJECTS; i++)
		n += !!session_of(fd)->takes[i];
	return n;
}

bool fake_lives(uint64_t handle)
{
	return object_of(handle);
}

uint32_t fake_external(uint64_t handle)
{
	return object_of(handle) ? object_of(handle)->external : 0;
}

const struct pyobjmem_batch_entry *fake_last_batch(uint32_t *count)
{
	*count = last_batch_count;
	return last_batch;
}

unsigned long fake_underflows(void)
{
	return underflows;
}
