// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions: one open of the device, bound to the address space that opened it.
 * Owns how a session begins, joins a heap, and ends.
 *
 * A session ends with its mm (exit, SIGKILL, exec), with its last file, or by
 * LEAVE, whichever comes first. There is one path for all, pom_session_end(), and it
 * is taken once. File descriptors alone would not do: they survive in fork
 * children and in messages under way.
 *
 * The notifier of an mm only marks: its release runs under the SRCU of all
 * notifiers, where a slow one would hold up every process that exits. A worker
 * drops the holds, in slices.
 */
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "pyobjmem.h"

static struct mmu_notifier *owner_alloc(struct mm_struct *mm)
{
	struct pom_mm *owner = kzalloc(sizeof(*owner), POM_GFP);

	if (!owner)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&owner->lock);
	INIT_LIST_HEAD(&owner->sessions);
	return &owner->mn;
}

static void owner_free(struct mmu_notifier *mn)
{
	kfree(container_of(mn, struct pom_mm, mn));
}

/**
 * pom_session_end_later - let a worker end a session
 * @session: the session; the caller's reference goes to the worker
 * @wq: where; that of its heap only if the session cannot have ended
 *
 * Context: any; may sleep if it is the last reference.
 */
void pom_session_end_later(struct pom_session *session, struct workqueue_struct *wq)
{
	if (!queue_work(wq, &session->end))
		pom_session_put(session);
}

/*
 * A session on the list still has the reference of its file, or of the worker that
 * the file left it to: it leaves the list before that is put. So what is put here
 * is never the last reference.
 */
static void owner_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct pom_mm *owner = container_of(mn, struct pom_mm, mn);
	struct pom_session *session;
	struct pom_heap *heap;

	spin_lock(&owner->lock);
	list_for_each_entry(session, &owner->sessions, mm_node) {
		heap = pom_session_heap(session);
		kref_get(&session->kref);
		pom_session_end_later(session, heap ? heap->wq : pom_wq);
	}
	spin_unlock(&owner->lock);
}

static const struct mmu_notifier_ops owner_ops = {
	.alloc_notifier = owner_alloc,
	.free_notifier = owner_free,
	.release = owner_release,
};

static void session_end_work(struct work_struct *work)
{
	struct pom_session *session = container_of(work, struct pom_session, end);

	pom_session_end(session);
	pom_session_put(session);
}

/**
 * pom_session_init - what every session begins with
 * @session: the session, all zeros
 * @user: who opened it
 */
void pom_session_init(struct pom_session *session, struct pom_user *user)
{
	kref_init(&session->kref);
	session->user = user;
	mutex_init(&session->join_lock);
	INIT_LIST_HEAD(&session->heap_node);
	pom_holds_init(&session->holds, user);
	INIT_LIST_HEAD(&session->watches);
	INIT_LIST_HEAD(&session->events);
	init_waitqueue_head(&session->wait);
	mutex_init(&session->read_lock);
}

/**
 * pom_session_open - begin a session of the current address space
 *
 * Context: may sleep.
 * Return: the session or an error pointer: -EDQUOT, -ENOMEM, -EINTR.
 */
struct pom_session *pom_session_open(void)
{
	struct pom_session *session;
	struct mmu_notifier *mn;
	int ret = -ENOMEM;

	if (!current->mm)
		return ERR_PTR(-EINVAL);
	session = kzalloc(sizeof(*session), POM_GFP);
	if (!session)
		return ERR_PTR(-ENOMEM);
	session->user = pom_user_get();
	if (!session->user)
		goto err_free;
	if (!pom_user_charge(&session->user->sessions, 1, READ_ONCE(pom_user_sessions))) {
		ret = -EDQUOT;
		goto err_user;
	}
	mn = mmu_notifier_get(&owner_ops, current->mm);
	if (IS_ERR(mn)) {
		ret = PTR_ERR(mn);
		goto err_charge;
	}

	INIT_WORK(&session->end, session_end_work);
	pom_session_init(session, session->user);
	session->mm = current->mm;
	session->pid = task_tgid_nr(current);
	get_task_comm(session->comm, current);
	session->owner = container_of(mn, struct pom_mm, mn);
	spin_lock(&session->owner->lock);
	list_add(&session->mm_node, &session->owner->sessions);
	spin_unlock(&session->owner->lock);
	return session;

err_charge:
	atomic_long_dec(&session->user->sessions);
err_user:
	pom_user_put(session->user);
err_free:
	kfree(session);
	return ERR_PTR(ret);
}

static void session_free(struct kref *kref)
{
	struct pom_session *session = container_of(kref, struct pom_session, kref);

	pom_holds_destroy(&session->holds);
	if (session->heap)
		pom_heap_put(session->heap);
	mmu_notifier_put(&session->owner->mn);
	atomic_long_dec(&session->user->sessions);
	pom_user_put(session->user);
	mutex_destroy(&session->read_lock);
	mutex_destroy(&session->join_lock);
	kfree(session);
}

/**
 * pom_session_put - give a session back
 * @session: one that has ended if this is the last reference
 *
 * Context: may sleep if this is the last reference.
 */
void pom_session_put(struct pom_session *session)
{
	kref_put(&session->kref, session_free);
}

static int session_joinable(struct pom_session *session)
{
	lockdep_assert_held(&session->join_lock);
	if (session->ended)
		return -ENOTCONN;
	return session->heap ? -EALREADY : 0;
}

/**
 * pom_session_joinable - whether a session could join a heap now
 * @session: the session
 *
 * Context: may sleep.
 * Return: 0, -EALREADY, or -ENOTCONN if the session has ended.
 */
int pom_session_joinable(struct pom_session *session)
{
	int ret;

	mutex_lock(&session->join_lock);
	ret = session_joinable(session);
	mutex_unlock(&session->join_lock);
	return ret;
}

/**
 * pom_session_join - join a heap
 * @session: the session
 * @heap: the heap, used by the caller
 * @rights: PYOBJMEM_RIGHT_*
 * @wants_collected: it gets COLLECTED events
 *
 * Context: may sleep.
 * Return: 0, -EALREADY, or -ENOTCONN if the session has ended.
 */
int pom_session_join(struct pom_session *session, struct pom_heap *heap, u32 rights,
		     bool wants_collected)
{
	int ret;

	mutex_lock(&session->join_lock);
	ret = session_joinable(session);
	if (ret)
		goto unlock;

	refcount_inc(&heap->users);	/* not the first: the caller is one */
	pom_heap_get(heap);
	session->rights = rights;
	session->wants_collected = wants_collected;
	pom_heap_lock(heap);
	session->collected_seen = heap->nr_collected;
	list_add_tail(&session->heap_node, &heap->sessions);
	heap->nr_sessions++;
	pom_heap_unlock(heap);
	/* Pairs with pom_session_heap(). */
	smp_store_release(&session->heap, heap);
unlock:
	mutex_unlock(&session->join_lock);
	return ret;
}

/**
 * pom_session_heap - the heap of a session
 * @session: the session
 *
 * Return: the heap, valid as long as the session is, or NULL before it joined.
 */
struct pom_heap *pom_session_heap(struct pom_session *session)
{
	/* Pairs with pom_session_join(): rights and lists are set before. */
	return smp_load_acquire(&session->heap);
}

/**
 * pom_session_lock - lock the heap of a session for an operation
 * @session: the session
 *
 * Context: may sleep.
 * Return: 0 with session->heap locked; -ENOTCONN, -EINTR.
 */
int pom_session_lock(struct pom_session *session)
{
	struct pom_heap *heap = pom_session_heap(session);
	int ret;

	if (!heap)
		return -ENOTCONN;
	ret = pom_heap_lock_killable(heap);
	if (ret)
		return ret;
	if (session->ended) {
		pom_heap_unlock(heap);
		return -ENOTCONN;
	}
	return 0;
}

/* Drop all weak holds and finalizers, a slice of them at a time. */
static void session_drop_watches(struct pom_session *session)
{
	struct pom_heap *heap = session->heap;
	bool more;
	int budget;

	do {
		budget = POM_SLICE;
		pom_heap_lock(heap);
		more = pom_watch_drop(session, &budget);
		pom_heap_unlock(heap);
		cond_resched();
	} while (more);
}

/* Drop all holds, a slice of them at a time. */
static void session_drop_holds(struct pom_session *session)
{
	struct pom_heap *heap = session->heap;
	u32 link = POM_NIL;
	u64 cursor = 0;
	int i, budget;

	do {
		budget = POM_SLICE;
		pom_heap_lock(heap);
		for (i = 0; i < POM_SLICE; i++) {
			link = pom_holds_pop(&session->holds, &cursor);
			if (link == POM_NIL)
				break;
			pom_ext_put_at(heap, link);
		}
		pom_cascade_slice(heap, &budget);
		pom_heap_unlock(heap);
		cond_resched();
	} while (link != POM_NIL);
	pom_heap_settle(heap);
}

/**
 * pom_session_end - end a session
 * @session: the session
 *
 * Context: may sleep; no lock held.
 * Return: whether it was this call that ended it.
 */
bool pom_session_end(struct pom_session *session)
{
	struct pom_holds holds;
	struct pom_heap *heap;
	bool ended;

	mutex_lock(&session->join_lock);
	heap = session->heap;
	if (heap)
		pom_heap_lock(heap);
	ended = session->ended;
	WRITE_ONCE(session->ended, true);	/* Pairs with pom_read() and pom_poll(). */
	if (heap)
		pom_heap_unlock(heap);
	mutex_unlock(&session->join_lock);
	if (ended)
		return false;

	spin_lock(&session->owner->lock);
	list_del_init(&session->mm_node);
	spin_unlock(&session->owner->lock);
	if (!heap)
		return true;

	wake_up_interruptible_poll(pom_session_wait(session), EPOLLHUP);
	session_drop_watches(session);
	session_drop_holds(session);
	pom_heap_lock(heap);
	list_del_init(&session->heap_node);
	heap->nr_sessions--;
	pom_verify_debug(heap);
	holds = session->holds;
	pom_holds_init(&session->holds, session->user);
	pom_heap_unlock(heap);
	pom_holds_destroy(&holds);
	pom_heap_unuse(heap);
	return true;
}

/**
 * pom_session_exit - wait for what notifiers still have to do
 *
 * Context: module exit, all sessions are gone.
 */
void pom_session_exit(void)
{
	mmu_notifier_synchronize();
}
