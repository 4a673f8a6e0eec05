// SPDX-License-Identifier: GPL-2.0
/*
 * Events: what read(2) and poll(2) on a session tell. FINALIZE and WEAK_DEAD are
 * the watches that have fired, in the order in which they did; COLLECTED comes out of
 * the ring in which the heap keeps the last few collections, so that it costs
 * the same however many sessions want to know.
 *
 * An event is looked at, written to the reader, and only then taken off, so that
 * none is lost to a bad buffer. session->read_lock keeps readers from coming
 * in between; nothing but a reader and the session's end takes events off.
 */
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "call.h"

/**
 * pom_event_collected - a collection has come to its end: tell who wants to know
 * @heap: the heap
 *
 * Context: heap->lock.
 */
void pom_event_collected(struct pom_heap *heap)
{
	u64 n = heap->nr_collected;

	lockdep_assert_held(&heap->lock);
	heap->collected[n % PYOBJMEM_EVENTS_COLLECTED] = heap->gc.run;
	WRITE_ONCE(heap->nr_collected, n + 1);	/* Pairs with event_pending(). */
	wake_up_interruptible_poll(&heap->collected_wait, EPOLLIN | EPOLLRDNORM);
}

/* A guess, without a lock: whoever is told to look does so under it. */
static bool event_pending(struct pom_session *session, struct pom_heap *heap)
{
	return READ_ONCE(session->nr_events) ||
	       (session->wants_collected &&
		READ_ONCE(heap->nr_collected) != READ_ONCE(session->collected_seen));
}

/* Returns whether there is one; @seen is what collected_seen becomes with it. */
static bool event_look_collected(struct pom_session *session, struct pyobjmem_event *event,
				 u64 *seen)
{
	struct pom_heap *heap = session->heap;
	u64 first = session->collected_seen, lost = 0;
	const struct pom_gc_run *run;

	if (!session->wants_collected || first == heap->nr_collected)
		return false;
	if (heap->nr_collected - first > PYOBJMEM_EVENTS_COLLECTED)
		lost = heap->nr_collected - first - PYOBJMEM_EVENTS_COLLECTED;
	run = &heap->collected[(first + lost) % PYOBJMEM_EVENTS_COLLECTED];
	event->type = PYOBJMEM_EVENT_COLLECTED;
	event->generation = run->generation;
	event->collected = run->collected;
	event->finalizers = run->finalizers;
	event->lost = lost;
	*seen = first + lost + 1;
	return true;
}

/**
 * struct event_read - an event on its way to a reader
 * @event: what he gets
 * @seen: of COLLECTED, what collected_seen becomes with it
 */
struct event_read {
	struct pyobjmem_event event;
	u64 seen;
};

/* Look at the next event: for pom_session_do(). Return: 0 or -ENODATA. */
static int event_look(struct pom_session *session, void *data, struct pom_stash *stash)
{
	struct event_read *read = data;
	struct pom_watch *watch;

	read->event = (struct pyobjmem_event) { .size = sizeof(read->event) };
	watch = list_first_entry_or_null(&session->events, struct pom_watch, entry);
	if (!watch)
		return event_look_collected(session, &read->event, &read->seen) ? 0 : -ENODATA;
	read->event.type = watch->kind == POM_WATCH_FINALIZE ? PYOBJMEM_EVENT_FINALIZE :
							       PYOBJMEM_EVENT_WEAK_DEAD;
	read->event.handle = watch->handle;
	read->event.cookie = watch->cookie;
	return 0;
}

/**
 * pom_event_take - take the first watch that has fired off
 * @session: the session: there is one
 * @stash: memory to use
 *
 * What is to be finalized is held from now on; the event gives up its own count.
 *
 * Context: heap->lock.
 * Return: 0; -EAGAIN if @stash is short; an error with nothing changed.
 */
int pom_event_take(struct pom_session *session, struct pom_stash *stash)
{
	struct pom_watch *watch = list_first_entry(&session->events, struct pom_watch, entry);
	struct pom_object obj;
	int ret;

	if (watch->kind == POM_WATCH_FINALIZE) {
		pom_object_at(session->heap, pom_link(watch->handle), &obj);
		ret = pom_object_take(session, &obj, stash);
		if (ret)
			return ret;
		pom_ext_put(session->heap, &obj);
	}
	pom_watch_delivered(session);
	return 0;
}

/* Take off what was looked at: for pom_session_do(). */
static int event_take_off(struct pom_session *session, void *data, struct pom_stash *stash)
{
	struct event_read *read = data;

	if (read->event.type != PYOBJMEM_EVENT_COLLECTED)
		return pom_event_take(session, stash);
	WRITE_ONCE(session->collected_seen, read->seen);
	return 0;
}

/* Return: 0, -ENODATA if there is no event, or an error. */
static int event_deliver(struct pom_session *session, char __user *buffer)
{
	struct event_read read;
	struct pom_stash stash;
	int ret;

	pom_stash_init(&stash, session);
	ret = pom_session_do(session, event_look, &read, &stash);
	if (!ret && copy_to_user(buffer, &read.event, sizeof(read.event)))
		ret = -EFAULT;
	if (!ret)
		ret = pom_session_do(session, event_take_off, &read, &stash);
	pom_stash_drain(&stash);
	return ret;
}

/* Those that there are and that fit. Return: bytes, or as event_deliver(). */
static ssize_t events_deliver(struct pom_session *session, char __user *buffer, size_t length)
{
	size_t done = 0;
	int ret;

	if (mutex_lock_interruptible(&session->read_lock))
		return -ERESTARTSYS;
	while (length - done >= sizeof(struct pyobjmem_event)) {
		ret = event_deliver(session, buffer + done);
		if (ret)
			break;
		done += sizeof(struct pyobjmem_event);
		if (signal_pending(current))
			break;
		cond_resched();
	}
	mutex_unlock(&session->read_lock);
	return done ?: ret;
}

/**
 * pom_read - read(2)
 * @file: the session's
 * @buffer: where events go
 * @length: its size
 * @pos: not used
 *
 * Context: may sleep and fault.
 * Return: bytes, a multiple of the size of an event; 0 if the session has ended;
 * or an error that the header of the interface lists.
 */
ssize_t pom_read(struct file *file, char __user *buffer, size_t length, loff_t *pos)
{
	struct pom_session *session = file->private_data;
	struct pom_heap *heap = pom_session_heap(session);
	ssize_t ret;

	if (session->mm != current->mm)
		return -EIO;
	if (length < sizeof(struct pyobjmem_event))
		return -EINVAL;
	if (!heap)
		return READ_ONCE(session->ended) ? 0 : -ENOTCONN;
	for (;;) {
		/* It may leave meanwhile, and be the last: see execute_in_heap(). */
		if (!pom_heap_use(heap))
			return 0;
		ret = events_deliver(session, buffer, length);
		pom_heap_unuse(heap);
		if (ret == -ENOTCONN)
			return 0;
		if (ret != -ENODATA)
			return ret;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		ret = wait_event_interruptible(*pom_session_wait(session),
					       event_pending(session, heap) ||
					       READ_ONCE(session->ended));
		if (ret)
			return ret;
	}
}

/**
 * pom_poll - poll(2)
 * @file: the session's
 * @table: who waits
 *
 * Return: EPOLL*.
 */
__poll_t pom_poll(struct file *file, struct poll_table_struct *table)
{
	struct pom_session *session = file->private_data;
	struct pom_heap *heap = pom_session_heap(session);
	__poll_t mask = 0;

	if (session->mm != current->mm)
		return EPOLLERR;
	if (!heap)
		return READ_ONCE(session->ended) ? EPOLLHUP : EPOLLERR;
	poll_wait(file, pom_session_wait(session), table);
	if (READ_ONCE(session->ended))
		mask |= EPOLLHUP;
	else if (event_pending(session, heap))
		mask |= EPOLLIN | EPOLLRDNORM;
	return mask;
}
