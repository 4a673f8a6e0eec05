// SPDX-License-Identifier: GPL-2.0
/*
 * Watches: what a session has asked to be told of an object. A finalizer, of which
 * an object has at most one, its creator's; or a weak hold. Owns the watches of a
 * heap: armed, they are in its tree, beside those of the same object; fired, they
 * are the events of their session, which event.c delivers. Either way they are on
 * one list of the session, and end with it. All under heap->lock.
 *
 * The order is the same everywhere: finalizer (once), then the weak holds die,
 * then the memory goes. So a weak hold is armed as long as its object can come back.
 *
 * A FINALIZE event counts in the object's ext, as a hold does: it turns into one
 * when it is read. So a finalizer needs no memory when it is due.
 */
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "pyobjmem.h"

static struct kmem_cache *watch_cache;

/**
 * pom_watch_init - get ready for watches
 *
 * Return: 0 or -ENOMEM.
 */
int pom_watch_init(void)
{
	watch_cache = KMEM_CACHE(pom_watch, SLAB_ACCOUNT);
	return watch_cache ? 0 : -ENOMEM;
}

/**
 * pom_watch_exit - undo pom_watch_init()
 */
void pom_watch_exit(void)
{
	kmem_cache_destroy(watch_cache);
}

/* --- Memory -------------------------------------------------------------- */

/**
 * pom_watch_alloc - memory for a watch
 * @user: to whom it is charged
 *
 * Context: may sleep.
 * Return: the watch or an error pointer: -EDQUOT, -ENOMEM.
 */
struct pom_watch *pom_watch_alloc(struct pom_user *user)
{
	struct pom_watch *watch;
	int ret = pom_user_charge_bytes(user, sizeof(*watch));

	if (ret)
		return ERR_PTR(ret);
	watch = kmem_cache_zalloc(watch_cache, POM_GFP);
	if (watch)
		return watch;
	pom_user_uncharge_bytes(user, sizeof(*watch));
	return ERR_PTR(-ENOMEM);
}

/**
 * pom_watch_free - give it back
 * @user: to whom it is charged
 * @watch: the watch, neither armed nor queued; or NULL
 */
void pom_watch_free(struct pom_user *user, struct pom_watch *watch)
{
	if (!watch)
		return;
	kmem_cache_free(watch_cache, watch);
	pom_user_uncharge_bytes(user, sizeof(*watch));
}

/**
 * pom_watch_room - make sure that a session can have one more watch
 * @session: the session
 * @stash: memory to use
 *
 * Return: 0; -EAGAIN if @stash is short; -EDQUOT at the session's limit.
 */
int pom_watch_room(struct pom_session *session, struct pom_stash *stash)
{
	if (session->nr_watches >= READ_ONCE(pom_session_watches))
		return -EDQUOT;
	if (stash->watch)
		return 0;
	stash->lacks.watch = true;
	return -EAGAIN;
}

/* --- The tree ------------------------------------------------------------ */

static int compare_numbers(u64 a, u64 b)
{
	return (a > b) - (a < b);
}

static int compare_objects(const void *key, const struct rb_node *node)
{
	const struct pom_watch *a = key, *b = rb_entry(node, struct pom_watch, node);

	return compare_numbers(pom_link(a->handle), pom_link(b->handle));
}

/* Of one object, the finalizer comes first. */
static int compare_sessions(const void *key, const struct rb_node *node)
{
	const struct pom_watch *a = key, *b = rb_entry(node, struct pom_watch, node);

	return compare_objects(key, node) ?: compare_numbers(a->kind, b->kind) ?:
	       compare_numbers((unsigned long)a->session, (unsigned long)b->session);
}

static int compare_watches(const void *key, const struct rb_node *node)
{
	const struct pom_watch *a = key, *b = rb_entry(node, struct pom_watch, node);

	return compare_sessions(key, node) ?: compare_numbers(a->cookie, b->cookie);
}

static bool watch_less(struct rb_node *a, const struct rb_node *b)
{
	return compare_watches(rb_entry(a, struct pom_watch, node), b) < 0;
}

/* A watch if it is of this object, else NULL. */
static struct pom_watch *watch_of(struct rb_node *node, u32 link)
{
	struct pom_watch *watch = rb_entry_safe(node, struct pom_watch, node);

	return watch && pom_link(watch->handle) == link ? watch : NULL;
}

/* The first watch of an object: its finalizer, if that is armed. */
static struct pom_watch *watch_first(const struct pom_heap *heap, u32 link)
{
	struct pom_watch key = { .handle = link };

	lockdep_assert_held(&heap->lock);
	return rb_entry_safe(rb_find_first(&key, &heap->watches, compare_objects),
			     struct pom_watch, node);
}

/* Whether a session holds an object weakly */
static bool watch_weak(struct pom_session *session, u32 link)
{
	struct pom_watch key = {
		.handle = link,
		.kind = POM_WATCH_WEAK,
		.session = session,
	};

	return rb_find(&key, &session->heap->watches, compare_sessions);
}

/* The weak hold that it has with a cookie */
static struct pom_watch *watch_with_cookie(struct pom_session *session, u32 link, u64 cookie)
{
	struct pom_watch key = {
		.handle = link,
		.kind = POM_WATCH_WEAK,
		.session = session,
		.cookie = cookie,
	};

	return rb_entry_safe(rb_find(&key, &session->heap->watches, compare_watches),
			     struct pom_watch, node);
}

/**
 * pom_watch_arm - begin to watch an object
 * @session: the session
 * @obj: the object
 * @kind: a finalizer, if it is new, or a weak hold
 * @cookie: of a weak hold, which has no equal; of a finalizer 0
 * @stash: pom_watch_room() returned 0 for it
 */
void pom_watch_arm(struct pom_session *session, struct pom_object *obj,
		   enum pom_watch_kind kind, u64 cookie, struct pom_stash *stash)
{
	struct pom_heap *heap = session->heap;
	struct pom_watch *watch = stash->watch;

	stash->watch = NULL;
	watch->session = session;
	watch->handle = pom_object_handle(obj);
	watch->cookie = cookie;
	watch->kind = kind;
	rb_add(&watch->node, &heap->watches, watch_less);
	list_add_tail(&watch->entry, &session->watches);
	session->nr_watches++;
	heap->nr_watches[kind]++;
	obj->side->state |= POM_WATCHED;
	if (kind == POM_WATCH_FINALIZE)
		obj->side->state |= POM_FINALIZE;
}

static void watch_disarm(struct pom_heap *heap, struct pom_object *obj, struct pom_watch *watch)
{
	u32 link = obj->block.link;

	if (!watch_of(rb_prev(&watch->node), link) && !watch_of(rb_next(&watch->node), link))
		obj->side->state &= ~POM_WATCHED;
	if (watch->kind == POM_WATCH_FINALIZE)
		obj->side->state &= ~POM_FINALIZE;
	rb_erase(&watch->node, &heap->watches);
	heap->nr_watches[watch->kind]--;
}

/* A watch that has been disarmed, or whose event has been delivered */
static void watch_release(struct pom_watch *watch)
{
	struct pom_session *session = watch->session;

	list_del(&watch->entry);
	session->nr_watches--;
	pom_watch_free(session->user, watch);
}

/* One that has been disarmed becomes an event. */
static void watch_fire(struct pom_watch *watch)
{
	struct pom_session *session = watch->session;

	list_move_tail(&watch->entry, &session->events);
	/* Pairs with event_pending(). */
	WRITE_ONCE(session->nr_events, session->nr_events + 1);
	wake_up_interruptible_poll(pom_session_wait(session), EPOLLIN | EPOLLRDNORM);
}

/* --- What becomes of them ------------------------------------------------ */

/**
 * pom_watch_finalize - a finalizer is due
 * @heap: the heap
 * @obj: an object with POM_FINALIZE
 *
 * Return: whether it is queued: its event counts in ext now, which the caller
 * adds. False if its session has ended.
 */
bool pom_watch_finalize(struct pom_heap *heap, struct pom_object *obj)
{
	struct pom_watch *watch = watch_first(heap, obj->block.link);

	if (watch->session->ended)
		return false;
	watch_disarm(heap, obj, watch);
	watch_fire(watch);
	return true;
}

/**
 * pom_watch_die - an object is dead: so are its weak holds
 * @heap: the heap
 * @obj: the object
 * @budget: visits that may be made; what is left of it
 *
 * Return: whether it has no watches any more.
 */
bool pom_watch_die(struct pom_heap *heap, struct pom_object *obj, int *budget)
{
	struct pom_watch *watch;

	for (; obj->side->state & POM_WATCHED; --*budget) {
		if (*budget <= 0)
			return false;
		watch = watch_first(heap, obj->block.link);
		watch_disarm(heap, obj, watch);
		if (watch->kind == POM_WATCH_WEAK && !watch->session->ended) {
			watch_fire(watch);
			continue;
		}
		heap->finalizers_abandoned += watch->kind == POM_WATCH_FINALIZE;
		watch_release(watch);
	}
	return true;
}

/**
 * pom_watch_cancel - an object has not been created after all
 * @session: the session that was to have it
 * @handle: the object; it may have gone
 */
void pom_watch_cancel(struct pom_session *session, u64 handle)
{
	struct pom_watch *watch;
	struct pom_object obj;

	if (pom_object_find(session->heap, handle, &obj) || !(obj.side->state & POM_FINALIZE))
		return;
	watch = watch_first(session->heap, obj.block.link);
	watch_disarm(session->heap, &obj, watch);
	watch_release(watch);
}

/**
 * pom_watch_delivered - the first event of a session has been read
 * @session: the session
 */
void pom_watch_delivered(struct pom_session *session)
{
	watch_release(list_first_entry(&session->events, struct pom_watch, entry));
	WRITE_ONCE(session->nr_events, session->nr_events - 1);
}

static void session_drop_watch(struct pom_session *session)
{
	struct pom_watch *watch = list_first_entry(&session->watches, struct pom_watch, entry);
	struct pom_heap *heap = session->heap;
	struct pom_object obj;

	pom_object_at(heap, pom_link(watch->handle), &obj);
	watch_disarm(heap, &obj, watch);
	heap->finalizers_abandoned += watch->kind == POM_WATCH_FINALIZE;
	watch_release(watch);
}

static void session_drop_event(struct pom_session *session)
{
	struct pom_watch *watch = list_first_entry(&session->events, struct pom_watch, entry);
	bool finalize = watch->kind == POM_WATCH_FINALIZE;
	u32 link = pom_link(watch->handle);

	pom_watch_delivered(session);
	if (!finalize)
		return;
	session->heap->finalizers_abandoned++;
	pom_ext_put_at(session->heap, link);
}

/**
 * pom_watch_drop - drop some of the watches of a session that has ended
 * @session: the session
 * @budget: watches and events that may be dropped; what is left of it
 *
 * Finalizers that have not been delivered are passed on to nobody, but counted.
 *
 * Return: whether there is more.
 */
bool pom_watch_drop(struct pom_session *session, int *budget)
{
	lockdep_assert_held(&session->heap->lock);
	for (; *budget > 0 && !list_empty(&session->watches); --*budget)
		session_drop_watch(session);
	for (; *budget > 0 && !list_empty(&session->events); --*budget)
		session_drop_event(session);
	return !list_empty(&session->watches) || !list_empty(&session->events);
}

/**
 * pom_watch_count - count the weak holds of an object
 * @heap: the heap
 * @obj: the object
 *
 * Return: how many there are, or PYOBJMEM_INSPECT_WEAK_MAX if there are more.
 */
u32 pom_watch_count(const struct pom_heap *heap, const struct pom_object *obj)
{
	struct pom_watch *watch;
	u32 n = 0;

	if (!(obj->side->state & POM_WATCHED))
		return 0;
	watch = watch_first(heap, obj->block.link);
	while (watch && n < PYOBJMEM_INSPECT_WEAK_MAX) {
		n += watch->kind == POM_WATCH_WEAK;
		watch = watch_of(rb_next(&watch->node), obj->block.link);
	}
	return n;
}

/**
 * pom_watch_consistent - whether the flags of an object tell what watches it has
 * @heap: the heap
 * @obj: the object
 *
 * Return: whether they do.
 */
bool pom_watch_consistent(const struct pom_heap *heap, const struct pom_object *obj)
{
	const struct pom_watch *watch = watch_first(heap, obj->block.link);
	bool finalize = watch && watch->kind == POM_WATCH_FINALIZE;

	return !!(obj->side->state & POM_WATCHED) == !!watch &&
	       !!(obj->side->state & POM_FINALIZE) == finalize &&
	       (!watch || watch->handle == pom_object_handle(obj));
}

/* --- Operations ---------------------------------------------------------- */

/**
 * pom_weak_hold - WEAK
 * @session: the session
 * @cmd: the command
 * @stash: memory to use
 *
 * Context: heap->lock.
 * Return: 0; -EAGAIN if @stash is short; an error with nothing changed.
 */
int pom_weak_hold(struct pom_session *session, const struct pyobjmem_weak *cmd,
		  struct pom_stash *stash)
{
	struct pom_object obj;
	int ret;

	ret = pom_object_held(session, cmd->handle, &obj);
	if (ret)
		return ret;
	if (watch_with_cookie(session, obj.block.link, cmd->cookie))
		return -EALREADY;
	ret = pom_watch_room(session, stash);
	if (ret)
		return ret;
	pom_watch_arm(session, &obj, POM_WATCH_WEAK, cmd->cookie, stash);
	return 0;
}

/**
 * pom_weak_upgrade - UPGRADE
 * @session: the session
 * @cmd: the command
 * @stash: memory to use
 *
 * Context: heap->lock.
 * Return: 0; -EAGAIN if @stash is short; an error with nothing changed.
 */
int pom_weak_upgrade(struct pom_session *session, const struct pyobjmem_upgrade *cmd,
		     struct pom_stash *stash)
{
	struct pom_object obj;
	int ret;

	ret = pom_object_find(session->heap, cmd->handle, &obj);
	if (ret)
		return ret;
	/* Its weak holds may have gone before it does. */
	if (pom_condemned(&session->heap->gc, obj.side))
		return pom_stale(session->heap);
	if (!watch_weak(session, obj.block.link))
		return -ENOENT;
	return pom_object_take(session, &obj, stash);
}

/**
 * pom_weak_drop - WEAK_DROP
 * @session: the session
 * @cmd: the command
 *
 * Context: heap->lock.
 * Return: 0 or an error with nothing changed.
 */
int pom_weak_drop(struct pom_session *session, const struct pyobjmem_weak_drop *cmd)
{
	struct pom_watch *watch;
	struct pom_object obj;
	int ret;

	ret = pom_object_find(session->heap, cmd->handle, &obj);
	if (ret)
		return ret;
	watch = watch_with_cookie(session, obj.block.link, cmd->cookie);
	if (!watch)
		return pom_condemned(&session->heap->gc, obj.side) ? pom_stale(session->heap) :
								     -ENOENT;
	watch_disarm(session->heap, &obj, watch);
	watch_release(watch);
	return 0;
}
