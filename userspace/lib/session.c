// SPDX-License-Identifier: MIT
/*
 * Sessions and heaps, the collector, and how takes are gained and given back.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "internal.h"

API const char *pyobjmem_version(void)
{
	return VERSION;
}

/* --- Takes ---------------------------------------------------------------- */

/**
 * pyobjmem_take() - do an operation that gives a take, and enter it
 * @session: the session
 * @command: the operation
 * @argument: its structure
 * @handle: its member that names what was taken, or PYOBJMEM_NONE
 */
int pyobjmem_take(struct pyobjmem *session, unsigned long command, void *argument,
		  const __u64 *handle)
{
	unsigned int surplus = 0;
	int error;

	pthread_mutex_lock(&session->lock);
	error = pyobjmem_map_reserve(&session->table, 1);
	pthread_mutex_unlock(&session->lock);
	if (error)
		return error;

	error = pyobjmem_sys_ioctl(session->fd, command, argument);

	pthread_mutex_lock(&session->lock);
	if (!error && *handle != PYOBJMEM_NONE)
		surplus = pyobjmem_table_add(&session->table, *handle);
	pyobjmem_map_unreserve(&session->table, 1);
	pthread_mutex_unlock(&session->lock);
	if (surplus)
		pyobjmem_give_back(session, *handle, surplus);
	return error;
}

static int put_once(struct pyobjmem *session, uint64_t handle)
{
	struct pyobjmem_put put = { .size = sizeof(put), .handle = handle };

	return pyobjmem_sys_ioctl(session->fd, PYOBJMEM_PUT, &put);
}

/**
 * pyobjmem_give_back() - give takes back that are not in the table any more
 * @session: the session
 * @handle: of what
 * @takes: how many, at most TAKES_MAX
 *
 * Return: 0, or the first error. There is none unless the session is at an end.
 */
int pyobjmem_give_back(struct pyobjmem *session, uint64_t handle, unsigned int takes)
{
	struct pyobjmem_batch_entry entries[TAKES_MAX];
	struct pyobjmem_batch batch = {
		.size = sizeof(batch),
		.flags = PYOBJMEM_BATCH_CONTINUE,
		.entries = pyobjmem_pointer(entries),
		.count = takes,
		.entry_size = sizeof(entries[0]),
	};
	int result, error = 0;
	unsigned int i;

	if (takes > 1) {
		for (i = 0; i < takes; i++) {
			entries[i] = (struct pyobjmem_batch_entry){ .op = PYOBJMEM_OP_PUT };
			entries[i].command.put.size = sizeof(entries[i].command.put);
			entries[i].command.put.handle = handle;
		}
		if (!pyobjmem_sys_ioctl(session->fd, PYOBJMEM_BATCH, &batch))
			return entries[takes - 1].out_result;
		/* It needs memory that a single operation does not need. */
	}
	for (i = 0; i < takes; i++) {
		result = put_once(session, handle);
		if (result && !error)
			error = result;
	}
	return error;
}

/**
 * pyobjmem_put_quietly() - put, and run no callback
 * @session: the session
 * @handle: an object that it holds
 *
 * Return: 1 if the kernel was told, 0 if it was not the last hold, or an error.
 */
int pyobjmem_put_quietly(struct pyobjmem *session, uint64_t handle)
{
	int error, takes;

	pthread_mutex_lock(&session->lock);
	takes = pyobjmem_table_put(&session->table, handle);
	pthread_mutex_unlock(&session->lock);
	if (takes <= 0)
		return takes;
	error = pyobjmem_give_back(session, handle, (unsigned int)takes);
	return error ? error : 1;
}

/* --- Sessions ------------------------------------------------------------- */

/* A condition whose timeouts do not depend on what time people say it is. */
static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attributes);
	pthread_condattr_destroy(&attributes);
}

static int session_new(int fd, struct pyobjmem **out)
{
	struct pyobjmem *session = pyobjmem_sys_alloc(sizeof(*session));

	if (!session)
		return -ENOMEM;
	session->fd = fd;
	session->table = MAP_OF(struct pyobjmem_entry);
	session->finalizers = MAP_OF(struct pyobjmem_finalizer);
	session->weaks = MAP_OF(struct pyobjmem_weak_hold);
	pthread_mutex_init(&session->lock, NULL);
	cond_init(&session->idle);
	*out = session;
	return 0;
}

API int pyobjmem_open(struct pyobjmem **session)
{
	int fd = pyobjmem_sys_open();
	int error;

	if (fd < 0)
		return fd;
	error = session_new(fd, session);
	if (error)
		pyobjmem_sys_close(fd);
	return error;
}

API int pyobjmem_open_fd(int fd, struct pyobjmem **session)
{
	struct pyobjmem_stats stats = { .size = sizeof(stats) };
	int error = pyobjmem_sys_ioctl(fd, PYOBJMEM_STATS, &stats);

	/* Anything that is the device answers this with 0 or -ENOTCONN. */
	if (error && error != -ENOTCONN)
		return error;
	error = session_new(fd, session);
	if (error)
		return error;
	(*session)->heap = stats.out_heap;
	/* With which flags it has joined is not known. */
	(*session)->asked = stats.out_heap != 0;
	/* Fails for what is no descriptor only, and it is one. */
	pyobjmem_sys_nonblock(fd);
	return 0;
}

API void pyobjmem_close(struct pyobjmem *session)
{
	if (!session)
		return;
	pyobjmem_sys_close(session->fd);
	pyobjmem_map_destroy(&session->table);
	pyobjmem_map_destroy(&session->finalizers);
	pyobjmem_map_destroy(&session->weaks);
	/*
	 * idle is not destroyed: that would wait for the threads that wait for it, and
	 * in a fork child there are none to end. It owns nothing but its memory.
	 */
	pthread_mutex_destroy(&session->lock);
	free(session);
}

API int pyobjmem_fd(const struct pyobjmem *session)
{
	return session->fd;
}

API int pyobjmem_query(struct pyobjmem *session, struct pyobjmem_query *query)
{
	return pyobjmem_sys_ioctl(session->fd, PYOBJMEM_QUERY, query);
}

API int pyobjmem_leave(struct pyobjmem *session)
{
	struct pyobjmem_leave leave = { .size = sizeof(leave) };
	int error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_LEAVE, &leave);

	if (error)
		return error;
	/*
	 * Takes that other threads gained before and enter only now stay in the
	 * table: of no use, and of no harm, as the session never joins again.
	 */
	pthread_mutex_lock(&session->lock);
	pyobjmem_map_clear(&session->table);
	pyobjmem_map_clear(&session->finalizers);
	pyobjmem_map_clear(&session->weaks);
	session->collected = NULL;
	pthread_mutex_unlock(&session->lock);
	return 0;
}

/* --- Heaps ---------------------------------------------------------------- */

/* The flags of a call that joins a heap: COLLECTED events if there is a callback. */
static uint32_t join_flags(struct pyobjmem *session, uint32_t flags)
{
	pthread_mutex_lock(&session->lock);
	if (session->collected)
		flags |= PYOBJMEM_HEAP_COLLECTED;
	pthread_mutex_unlock(&session->lock);
	return flags;
}

static void joined(struct pyobjmem *session, uint64_t heap, uint32_t rights, uint32_t flags)
{
	pthread_mutex_lock(&session->lock);
	session->heap = heap;
	session->rights = rights;
	session->asked = flags & PYOBJMEM_HEAP_COLLECTED;
	pthread_mutex_unlock(&session->lock);
}

API int pyobjmem_heap_create(struct pyobjmem *session, uint32_t flags, uint32_t rights,
			     int *heap_fd)
{
	struct pyobjmem_heap_create create = {
		.size = sizeof(create),
		.flags = join_flags(session, flags),
		.rights = rights,
	};
	int error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_HEAP_CREATE, &create);

	if (error)
		return error;
	joined(session, create.out_heap, PYOBJMEM_RIGHTS, create.flags);
	if (heap_fd)
		*heap_fd = create.out_fd;
	else
		pyobjmem_sys_close(create.out_fd);
	return 0;
}

API int pyobjmem_heap_join(struct pyobjmem *session, int heap_fd)
{
	struct pyobjmem_heap_join join = {
		.size = sizeof(join),
		.flags = join_flags(session, 0),
		.fd = heap_fd,
	};
	int error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_HEAP_JOIN, &join);

	if (!error)
		joined(session, join.out_heap, join.out_rights, join.flags);
	return error;
}

API uint64_t pyobjmem_heap(struct pyobjmem *session)
{
	uint64_t heap;

	pthread_mutex_lock(&session->lock);
	heap = session->heap;
	pthread_mutex_unlock(&session->lock);
	return heap;
}

API uint32_t pyobjmem_rights(struct pyobjmem *session)
{
	uint32_t rights;

	pthread_mutex_lock(&session->lock);
	rights = session->rights;
	pthread_mutex_unlock(&session->lock);
	return rights;
}

API int pyobjmem_configure(struct pyobjmem *session,
			   const struct pyobjmem_heap_configure *configure)
{
	/* The kernel writes nothing back: the structure has no out_ members. */
	return pyobjmem_sys_ioctl(session->fd, PYOBJMEM_HEAP_CONFIGURE, (void *)configure);
}

API int pyobjmem_stats(struct pyobjmem *session, struct pyobjmem_stats *stats)
{
	return pyobjmem_sys_ioctl(session->fd, PYOBJMEM_STATS, stats);
}

/* --- Collector ------------------------------------------------------------ */

API int pyobjmem_collect(struct pyobjmem *session, uint32_t generation,
			 struct pyobjmem_collect *result)
{
	struct pyobjmem_collect collect = { .size = sizeof(collect) };
	int error;

	if (!result)
		result = &collect;
	result->generation = generation;
	error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_COLLECT, result);
	if (!error)
		pyobjmem_dispatch_direct(session, true);
	return error;
}

API int pyobjmem_freeze(struct pyobjmem *session)
{
	struct pyobjmem_freeze freeze = { .size = sizeof(freeze) };

	return pyobjmem_sys_ioctl(session->fd, PYOBJMEM_FREEZE, &freeze);
}

API int pyobjmem_unfreeze(struct pyobjmem *session)
{
	struct pyobjmem_unfreeze unfreeze = { .size = sizeof(unfreeze) };

	return pyobjmem_sys_ioctl(session->fd, PYOBJMEM_UNFREEZE, &unfreeze);
}
