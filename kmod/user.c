// SPDX-License-Identifier: GPL-2.0
/*
 * Users: what the sessions and heaps of one user id may take together. Owns the
 * table of users; an entry lives while a session or heap points to it.
 */
#include <linux/cred.h>
#include <linux/slab.h>
#include <linux/uidgid.h>

#include "pyobjmem.h"

static DEFINE_MUTEX(pom_users_lock);
static LIST_HEAD(pom_users);

static struct pom_user *user_find(kuid_t uid)
{
	struct pom_user *user;

	lockdep_assert_held(&pom_users_lock);
	list_for_each_entry(user, &pom_users, node)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

/**
 * pom_user_get - the entry of the current user
 *
 * Context: may sleep; no lock of ours held.
 * Return: the entry, to be put with pom_user_put(), or NULL without memory.
 */
struct pom_user *pom_user_get(void)
{
	struct pom_user *user;

	mutex_lock(&pom_users_lock);
	user = user_find(current_uid());
	if (!user) {
		user = kzalloc(sizeof(*user), POM_GFP);
		if (!user)
			goto unlock;
		user->uid = current_uid();
		list_add(&user->node, &pom_users);
	}
	user->count++;
unlock:
	mutex_unlock(&pom_users_lock);
	return user;
}

/**
 * pom_user_put - give an entry back
 * @user: from pom_user_get()
 *
 * Context: may sleep.
 */
void pom_user_put(struct pom_user *user)
{
	mutex_lock(&pom_users_lock);
	if (!--user->count) {
		list_del(&user->node);
		kfree(user);
	}
	mutex_unlock(&pom_users_lock);
}

/**
 * pom_user_charge - take some of what a user may have
 * @counter: which of the counters
 * @n: how much
 * @limit: most of it
 *
 * Return: whether there was so much; if not, nothing has changed.
 */
bool pom_user_charge(atomic_long_t *counter, unsigned long n, unsigned long limit)
{
	long have = atomic_long_read(counter);

	do {
		if (n > limit || have > limit - n)
			return false;
	} while (!atomic_long_try_cmpxchg(counter, &have, have + n));
	return true;
}

/**
 * pom_user_charge_bytes - take some of the memory that a user may have
 * @user: the user
 * @bytes: how much
 *
 * Return: 0, or -EDQUOT with nothing changed.
 */
int pom_user_charge_bytes(struct pom_user *user, u64 bytes)
{
	return pom_user_charge(&user->bytes, bytes, READ_ONCE(pom_user_bytes)) ? 0 : -EDQUOT;
}

/**
 * pom_user_uncharge_bytes - give it back
 * @user: the user
 * @bytes: how much
 */
void pom_user_uncharge_bytes(struct pom_user *user, u64 bytes)
{
	atomic_long_sub(bytes, &user->bytes);
}
