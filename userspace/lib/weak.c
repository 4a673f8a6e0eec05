// SPDX-License-Identifier: MIT
/*
 * Weak holds: numbers that the program knows, and their records, which end with
 * a drop or an event (internal.h says how).
 */
#include <errno.h>

#include "internal.h"

/**
 * pyobjmem_weak_new() - make the record of a weak hold that is to be
 * @session: the session
 * @hold: all but the number
 * @number: where that goes
 */
int pyobjmem_weak_new(struct pyobjmem *session, const struct pyobjmem_weak_hold *hold,
		      uint64_t *number)
{
	struct pyobjmem_weak_hold *new;
	int error;

	pthread_mutex_lock(&session->lock);
	error = pyobjmem_map_reserve(&session->weaks, 1);
	if (!error) {
		*number = ++session->last_weak;
		new = pyobjmem_map_enter(&session->weaks, *number);
		*new = *hold;
		new->number = *number;
		pyobjmem_map_unreserve(&session->weaks, 1);
	}
	pthread_mutex_unlock(&session->lock);
	return error;
}

/**
 * pyobjmem_weak_forget() - remove the record of a weak hold of which no event comes
 * @session: the session
 * @number: the weak hold's
 */
void pyobjmem_weak_forget(struct pyobjmem *session, uint64_t number)
{
	struct pyobjmem_weak_hold *hold;

	pthread_mutex_lock(&session->lock);
	hold = pyobjmem_map_find(&session->weaks, number);
	if (hold)
		pyobjmem_map_remove(&session->weaks, hold);
	pthread_mutex_unlock(&session->lock);
}

API int pyobjmem_weak(struct pyobjmem *session, uint64_t handle, pyobjmem_weak_fn callback,
		      void *data, uint64_t *weak)
{
	struct pyobjmem_weak_hold hold = { .handle = handle, .callback = callback, .data = data };
	struct pyobjmem_weak argument = { .size = sizeof(argument), .handle = handle };
	uint64_t number;
	int error;

	/* A cookie can be taken if the descriptor was used without the library. */
	do {
		error = pyobjmem_weak_new(session, &hold, &number);
		if (error)
			return error;
		argument.cookie = number;
		error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_WEAK, &argument);
		if (error)
			pyobjmem_weak_forget(session, number);
	} while (error == -EALREADY);
	if (!error)
		*weak = number;
	return error;
}

/**
 * pyobjmem_weak_object() - which object is it that a weak hold is of?
 * @session: the session
 * @number: the weak hold's
 * @handle: where the object goes, a name only
 *
 * Return: 0, -ESTALE or -EINVAL.
 */
int pyobjmem_weak_object(struct pyobjmem *session, uint64_t number, uint64_t *handle)
{
	const struct pyobjmem_weak_hold *hold;
	int error = 0;

	pthread_mutex_lock(&session->lock);
	hold = pyobjmem_map_find(&session->weaks, number);
	if (!number || number > session->last_weak)
		error = -EINVAL;
	else if (!hold || hold->dropped)
		error = -ESTALE;
	else
		*handle = hold->handle;
	pthread_mutex_unlock(&session->lock);
	return error;
}

API int pyobjmem_upgrade(struct pyobjmem *session, uint64_t weak, uint64_t *handle)
{
	struct pyobjmem_upgrade upgrade = { .size = sizeof(upgrade) };
	uint64_t object;
	int error = pyobjmem_weak_object(session, weak, &object);

	if (error)
		return error;
	/* What the session holds anyway lives. */
	pthread_mutex_lock(&session->lock);
	error = pyobjmem_table_get(&session->table, object);
	pthread_mutex_unlock(&session->lock);
	if (error) {
		upgrade.handle = object;
		error = pyobjmem_take(session, PYOBJMEM_UPGRADE, &upgrade, &upgrade.handle);
	}
	/* The weak hold has died with the object, and its event is not here yet. */
	if (error == -ENOENT)
		return -ESTALE;
	if (!error)
		*handle = object;
	return error;
}

API int pyobjmem_weak_drop(struct pyobjmem *session, uint64_t weak)
{
	struct pyobjmem_weak_drop drop = { .size = sizeof(drop), .cookie = weak };
	struct pyobjmem_weak_hold *hold;
	int error = 0;

	pthread_mutex_lock(&session->lock);
	hold = pyobjmem_map_find(&session->weaks, weak);
	if (!hold || hold->dropped) {
		error = -ENOENT;
	} else {
		/* From here on nothing is called. */
		hold->dropped = true;
		drop.handle = hold->handle;
	}
	pthread_mutex_unlock(&session->lock);
	if (error)
		return error;
	error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_WEAK_DROP, &drop);
	/* Dead, or dying: the event comes, or is being worked on, and removes the record. */
	if (error == -ESTALE || error == -ENOENT)
		return 0;
	pyobjmem_weak_forget(session, weak);
	return error;
}
