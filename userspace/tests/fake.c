// SPDX-License-Identifier: MIT
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_heap.h"
#include "internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long calls[FAKE_OP_COUNT];
static bool yielding;
static void (*when_empty)(void);
static struct pyobjmem_batch_entry last_batch[PYOBJMEM_BATCH_MAX];
static uint32_t last_batch_count;

static struct {
	unsigned int op;
	bool always;
	int error;
} failure;

static pthread_mutex_t alloc_lock = PTHREAD_MUTEX_INITIALIZER;
static int alloc_countdown = -1;

/* --- Calls ---------------------------------------------------------------- */

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
		entries[i].out_result = fake_command(session, entries[i].op, &entries[i].command);
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

static int do_stats(struct pyobjmem_stats *stats)
{
	stats->out_heap = 1;
	stats->out_objects = fake_objects();
	return 0;
}

/* Whether a call is to fail: the error, or 0. */
static int failing(unsigned int op)
{
	int error = failure.error;

	calls[op]++;
	if (!error || failure.op != op)
		return 0;
	if (!failure.always)
		failure.error = 0;
	return error;
}

static int do_call(struct session *session, unsigned int op, void *argument)
{
	int error;

	if (op >= PYOBJMEM_OP_COUNT)
		return -ENOTTY;
	error = failing(op);
	if (error)
		return error;
	if (op == PYOBJMEM_OP_HEAP_CREATE || op == PYOBJMEM_OP_HEAP_JOIN) {
		if (session->joined)
			return -EALREADY;
		session->joined = true;
		session->collected = *((uint32_t *)argument + 1) & PYOBJMEM_HEAP_COLLECTED;
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
		fake_leave(session);
		return 0;
	case PYOBJMEM_OP_COLLECT:
		return fake_collect(argument);
	case PYOBJMEM_OP_STATS:
		return do_stats(argument);
	case PYOBJMEM_OP_BATCH:
		return do_batch(session, argument);
	default:
		return fake_command(session, op, argument);
	}
}

static struct session *session_of(int fd)
{
	if (fd < FIRST_FD || fd >= FIRST_FD + SESSIONS || !fake_sessions[fd - FIRST_FD].open)
		return NULL;
	return &fake_sessions[fd - FIRST_FD];
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

ssize_t pyobjmem_sys_read(int fd, void *buffer, size_t size)
{
	void (*function)(void) = when_empty;
	struct session *session;
	ssize_t result;

	if (yielding)
		sched_yield();
	pthread_mutex_lock(&lock);
	session = session_of(fd);
	result = failing(FAKE_OP_READ);
	if (!result)
		result = !session ? -EBADF : !session->joined ? -ENOTCONN :
			 fake_read(session, buffer, size);
	pthread_mutex_unlock(&lock);
	if (function && result == -EAGAIN) {
		when_empty = NULL;
		function();
	}
	if (yielding)
		sched_yield();
	return result;
}

static bool readable(int fd)
{
	struct session *session;
	bool result;

	pthread_mutex_lock(&lock);
	session = session_of(fd);
	result = !session || session->ended || session->events;
	pthread_mutex_unlock(&lock);
	return result;
}

int pyobjmem_sys_poll(int fd, int timeout)
{
	int error, i;

	pthread_mutex_lock(&lock);
	error = failing(FAKE_OP_POLL);
	pthread_mutex_unlock(&lock);
	if (error)
		return error;
	for (i = 0; !readable(fd); i++) {
		if (timeout >= 0 && i >= timeout)
			return 0;
		usleep(1000);
	}
	return 1;
}

int pyobjmem_sys_nonblock(int fd)
{
	(void)fd;
	return 0;
}

int pyobjmem_sys_open(void)
{
	int i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < SESSIONS && fake_sessions[i].open; i++)
		;
	if (i < SESSIONS) {
		memset(&fake_sessions[i], 0, sizeof(fake_sessions[i]));
		fake_sessions[i].open = true;
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
		fake_leave(session);
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
	fake_heap_reset();
	memset(calls, 0, sizeof(calls));
	failure.error = 0;
	alloc_countdown = -1;
	yielding = false;
	when_empty = NULL;
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

	for (i = 0; i < FAKE_OP_COUNT; i++)
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

uint32_t fake_takes(int fd, uint64_t handle)
{
	return fake_object_of(handle) ? session_of(fd)->takes[(uint32_t)handle] : 0;
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
	return fake_object_of(handle);
}

uint32_t fake_external(uint64_t handle)
{
	return fake_object_of(handle) ? fake_object_of(handle)->external : 0;
}

const struct pyobjmem_batch_entry *fake_last_batch(uint32_t *count)
{
	*count = last_batch_count;
	return last_batch;
}

unsigned long fake_underflows(void)
{
	return fake_put_errors;
}

void fake_when_empty(void (*function)(void))
{
	when_empty = function;
}

unsigned int fake_events(int fd)
{
	return fake_count_events(session_of(fd));
}

void fake_push(int fd, const struct pyobjmem_event *event)
{
	fake_queue(session_of(fd), event);
}
