// SPDX-License-Identifier: MIT
/*
 * Events: they are read, and what they are for is called.
 *
 * One thread of a session does that at a time, without any lock. It reads as many
 * events as its buffer has room for, enters the holds that came with them, and
 * goes through them; and so on, until there are none. Whoever else has a reason
 * to look for events meanwhile (another thread, or an operation that a callback
 * does) leaves a note (again): it is looked for under the lock before the thread
 * ends, so nobody's events are forgotten. That is why callbacks do not nest.
 *
 * Finalizers come before the weak holds of their object, because the kernel queues
 * the events of these when it dies, which it does not before its hold is put.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "internal.h"

/* Size of an event of the first version: none is smaller. */
#define EVENT_MIN	56

/* Events that are read together */
#define EVENTS		32

/**
 * pyobjmem_finalizer_enter() - say what is to be called before an object dies
 * @session: the session, whose lock the caller holds; it has room in finalizers
 * @finalizer: object and function
 */
void pyobjmem_finalizer_enter(struct pyobjmem *session,
			      const struct pyobjmem_finalizer *finalizer)
{
	struct pyobjmem_finalizer *new;

	new = pyobjmem_map_enter(&session->finalizers, finalizer->handle);
	*new = *finalizer;
}

/* --- One event: each returns how many callbacks were run -------------------- */

static int run_finalizer(struct pyobjmem *session, uint64_t handle)
{
	struct pyobjmem_finalizer finalizer = { 0 }, *found;

	pthread_mutex_lock(&session->lock);
	found = pyobjmem_map_find(&session->finalizers, handle);
	if (found) {
		finalizer = *found;
		pyobjmem_map_remove(&session->finalizers, found);
	}
	pthread_mutex_unlock(&session->lock);
	if (finalizer.function)
		finalizer.function(session, handle, finalizer.data);
	/* The hold that came with the event. If the session has left, it is gone. */
	pyobjmem_put_quietly(session, handle);
	return finalizer.function ? 1 : 0;
}

static int run_weak(struct pyobjmem *session, const struct pyobjmem_event *event)
{
	struct pyobjmem_weak_hold hold = { 0 }, *found;

	pthread_mutex_lock(&session->lock);
	found = pyobjmem_map_find(&session->weaks, event->cookie);
	if (found && found->handle == event->handle) {
		hold = *found;
		pyobjmem_map_remove(&session->weaks, found);
	}
	pthread_mutex_unlock(&session->lock);
	if (!hold.callback || hold.dropped)
		return 0;
	hold.callback(session, hold.number, hold.handle, hold.data);
	return 1;
}

static int run_collected(struct pyobjmem *session, const struct pyobjmem_event *event)
{
	pyobjmem_collected_fn callback;
	void *data;

	pthread_mutex_lock(&session->lock);
	callback = session->collected;
	data = session->collected_data;
	pthread_mutex_unlock(&session->lock);
	if (!callback)
		return 0;
	callback(session, event, data);
	return 1;
}

static int run(struct pyobjmem *session, const struct pyobjmem_event *event)
{
	switch (event->type) {
	case PYOBJMEM_EVENT_FINALIZE:
		return run_finalizer(session, event->handle);
	case PYOBJMEM_EVENT_WEAK_DEAD:
		return run_weak(session, event);
	case PYOBJMEM_EVENT_COLLECTED:
		return run_collected(session, event);
	default:
		return 0;
	}
}

/* --- Reading ---------------------------------------------------------------- */

/**
 * struct buffer - events as they were read
 * @words: the bytes, of which @length are valid
 * @length: the size
 */
struct buffer {
	uint64_t words[EVENTS * EVENT_MIN / 8];
	size_t length;
};

/* The event at @at, which moves on; false at the end. */
static bool next_event(const struct buffer *buffer, size_t *at, struct pyobjmem_event *event)
{
	const char *from = (const char *)buffer->words + *at;
	size_t left = buffer->length - *at;
	uint32_t size;

	if (left < EVENT_MIN)
		return false;
	memcpy(&size, from, sizeof(size));
	if (size < EVENT_MIN || size > left)
		return false;
	memset(event, 0, sizeof(*event));
	memcpy(event, from, size < sizeof(*event) ? size : sizeof(*event));
	*at += size;
	return true;
}

/* Enter the holds that came with events. There is room for them. */
static void enter_takes(struct pyobjmem *session, const struct buffer *buffer)
{
	struct pyobjmem_event event;
	unsigned int surplus;
	size_t at = 0;

	while (next_event(buffer, &at, &event)) {
		if (event.type != PYOBJMEM_EVENT_FINALIZE)
			continue;
		pthread_mutex_lock(&session->lock);
		surplus = pyobjmem_table_add(&session->table, event.handle);
		pthread_mutex_unlock(&session->lock);
		if (surplus)
			pyobjmem_give_back(session, event.handle, surplus);
	}
}

/* Read what there is. Returns 1, 0 if there was nothing, or an error. */
static int fill(struct pyobjmem *session, struct buffer *buffer)
{
	ssize_t result;
	int error;

	pthread_mutex_lock(&session->lock);
	/* Notes left until now are about events that the read below sees. */
	session->again = false;
	error = pyobjmem_map_reserve(&session->table, EVENTS);
	pthread_mutex_unlock(&session->lock);
	if (error)
		return error;
	result = pyobjmem_sys_read(session->fd, buffer->words, sizeof(buffer->words));
	buffer->length = result > 0 ? (size_t)result : 0;
	enter_takes(session, buffer);
	pthread_mutex_lock(&session->lock);
	pyobjmem_map_unreserve(&session->table, EVENTS);
	pthread_mutex_unlock(&session->lock);
	if (result == -EAGAIN)
		return 0;
	if (!result)
		return -ENOTCONN;
	return result < 0 ? (int)result : 1;
}

/* Read events and call what they are for, until there are none. */
static int drain(struct pyobjmem *session, unsigned int *ran)
{
	struct pyobjmem_event event;
	struct buffer buffer;
	int result;
	size_t at;

	while ((result = fill(session, &buffer)) > 0)
		for (at = 0; next_event(&buffer, &at, &event);)
			*ran += (unsigned int)run(session, &event);
	return result;
}

/*
 * Be the thread that runs callbacks. Returns 0, an error of reading, or -EBUSY if
 * there is one that does, which will look again.
 */
static int work(struct pyobjmem *session, unsigned int *ran)
{
	int saved = errno;
	int error;

	*ran = 0;
	pthread_mutex_lock(&session->lock);
	if (session->dispatching) {
		session->again = true;
		pthread_mutex_unlock(&session->lock);
		return -EBUSY;
	}
	session->dispatching = true;
	session->dispatcher = pthread_self();
	do {
		pthread_mutex_unlock(&session->lock);
		error = drain(session, ran);
		pthread_mutex_lock(&session->lock);
	} while (session->again && !error);
	session->dispatching = false;
	pthread_cond_broadcast(&session->idle);
	pthread_mutex_unlock(&session->lock);
	errno = saved;
	return error;
}

/* --- When ------------------------------------------------------------------- */

/**
 * pyobjmem_dispatch_direct() - after an operation, run callbacks if that is wanted
 * @session: the session
 * @collected: the operation was a collection, which has an event of its own
 */
void pyobjmem_dispatch_direct(struct pyobjmem *session, bool collected)
{
	unsigned int ran;
	bool due;

	if (!__atomic_load_n(&session->direct, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&session->lock);
	due = session->finalizers.used || session->weaks.used ||
	      (collected && session->collected);
	pthread_mutex_unlock(&session->lock);
	if (due)
		work(session, &ran);
}

/* Wait until no thread runs callbacks, @timeout ms at the most, but not for oneself. */
static void wait_idle(struct pyobjmem *session, int timeout)
{
	struct timespec end;
	int error = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += timeout / 1000;
	end.tv_nsec += timeout % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000L) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&session->lock);
	while (session->dispatching && !error) {
		if (pthread_equal(session->dispatcher, pthread_self()))
			break;
		if (timeout < 0)
			error = pthread_cond_wait(&session->idle, &session->lock);
		else
			error = pthread_cond_timedwait(&session->idle, &session->lock, &end);
	}
	pthread_mutex_unlock(&session->lock);
}

API int pyobjmem_dispatch(struct pyobjmem *session, int timeout)
{
	unsigned int ran;
	int error = work(session, &ran);

	if (!error && !ran && timeout) {
		error = pyobjmem_sys_poll(session->fd, timeout);
		if (error <= 0)
			return error;
		error = work(session, &ran);
	} else if (error == -EBUSY && timeout) {
		wait_idle(session, timeout);
	}
	if (ran)
		return ran > INT_MAX ? INT_MAX : (int)ran;
	return error == -EBUSY ? 0 : error;
}

API void pyobjmem_set_direct(struct pyobjmem *session, bool direct)
{
	__atomic_store_n(&session->direct, direct, __ATOMIC_RELAXED);
}

API int pyobjmem_on_collected(struct pyobjmem *session, pyobjmem_collected_fn callback,
			      void *data)
{
	int error = 0;

	pthread_mutex_lock(&session->lock);
	if (session->heap && !session->asked) {
		error = -EALREADY;
	} else {
		session->collected = callback;
		session->collected_data = data;
	}
	pthread_mutex_unlock(&session->lock);
	return error;
}
