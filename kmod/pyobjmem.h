/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pyobjmem: CPython's object memory as a kernel service. The nouns, who owns
 * what, and the rules that hold between them.
 *
 *	main     module, device, table of operations
 *	request  one operation by an ioctl of its own
 *	batch    many operations in one call
 *	call     what these are made of: user memory in, lock, do, unlock
 *	session  one open of the device, bound to the mm that opened it
 *	hold     what a session holds: object -> number of takes
 *	heap     one audience: two spaces, roots, one lock, one collector
 *	event    what read(2) and poll(2) on a session tell
 *	ticket   a file that keeps one object alive while it travels
 *	shrinker what heaps give back when the system is short of memory
 *	lock     the lock of a heap, and what waits until it is dropped
 *	ops      the operations on objects
 *	object   a block with head and slots; its counts; the cascade of frees
 *	watch    what a session is to be told of an object: finalizers, weak holds
 *	collector  who collects, and when; FREEZE
 *	collect  what a collection does: the cycle collector itself
 *	candidate  what lost a reference; when it is time to collect
 *	epoch    dates of birth, which make generations
 *	pool     a page of equal blocks, or a run of pages that is one block
 *	poison   in a debug build, what lies where nobody is to write
 *	stash    memory that an operation brings along
 *	arena    64 places for pools, 256 KB of a space
 *	user     what the sessions and heaps of one user may take together
 *
 * Calls go down this list, never up; object, watch, collector and collect stand beside
 * each other. A stash knows how to make what is needed. The structures of what lies
 * below object are in memory.h and collect.h.
 * Only main, request, batch, call and event see pointers to user memory.
 *
 * Locks
 *
 *	session->join_lock	which heap the session belongs to, and ended
 *	session->read_lock	one reader of events at a time; held while they are copied
 *	  heap->lock		all that is in a heap: graph, pools, holds
 *	pom_heaps_lock		the list of heaps; heap->lock is tried under it, no more
 *	pom_mm->lock (spin)	the sessions of an mm; taken with no other
 *	pom_users_lock		the table of users; taken with no other
 *
 * Under heap->lock nothing is allocated, nothing is copied from or to user
 * memory, and nothing is unmapped: a user copy can be held open for ever
 * (userfaultfd), and an allocation can wait for reclaim that waits for us.
 * What an operation needs is put into its stash before; an operation that finds
 * its stash short returns -EAGAIN with nothing changed, and its caller
 * drops the lock, fills the stash and tries again. Pools to free are gathered
 * in heap->reap and freed by pom_heap_unlock().
 *
 * Counts
 *
 * For every object: ext == sessions that hold it + roots that name it + tickets
 * of it + FINALIZE events of it, and in == slots that name it. An object is freed
 * when both are 0, or when only garbage that the collector has condemned names it,
 * all of which goes together. The file verify.c recounts all that.
 */
#ifndef _POM_PYOBJMEM_H
#define _POM_PYOBJMEM_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linux/pyobjmem.h>

#include "compat.h"
#include "memory.h"

struct poll_table_struct;

/* --- object.c ----------------------------------------------------------- */

/**
 * struct pom_object - an object, found; valid while heap->lock is held
 * @block: where it lies
 * @side: what the kernel knows of it
 * @head: its head
 */
struct pom_object {
	struct pom_block block;
	struct pom_side *side;
	struct pyobjmem_head *head;
};

#define POM_HEAD_BYTES	sizeof(struct pyobjmem_head)
#define POM_SLOT_BYTES	sizeof(u64)

int pom_object_find(struct pom_heap *heap, u64 handle, struct pom_object *obj);
int pom_object_held(struct pom_session *session, u64 handle, struct pom_object *obj);
u64 pom_object_payload(struct pom_heap *heap, const struct pom_object *obj,
		       struct pom_block *block);
void pom_object_red_zones_set(struct pom_heap *heap, const struct pom_object *obj);
bool pom_object_red_zones_intact(struct pom_heap *heap, const struct pom_object *obj);
int pom_object_take(struct pom_session *session, struct pom_object *obj,
		    struct pom_stash *stash);
void pom_ext_put_at(struct pom_heap *heap, u32 link);
int pom_ext_get(struct pom_heap *heap, struct pom_object *obj);
void pom_ext_put(struct pom_heap *heap, struct pom_object *obj);
void pom_object_dropped(struct pom_heap *heap, struct pom_object *obj);
void pom_object_drop_slot(struct pom_heap *heap, struct pom_object *obj, u32 slot);
u32 pom_object_release(struct pom_heap *heap, struct pom_object *obj);
bool pom_cascade_slice(struct pom_heap *heap, int *budget);

/* --- watch.c ------------------------------------------------------------- */

enum pom_watch_kind {
	POM_WATCH_FINALIZE,
	POM_WATCH_WEAK,
	POM_WATCH_KINDS,
};

/**
 * struct pom_watch - a finalizer or a weak hold, or the event that has come of it
 * @node: in heap->watches while armed
 * @entry: in session->watches while armed, then in session->events
 * @session: whose it is
 * @handle: the object
 * @cookie: of a weak hold
 * @kind: which of the two
 */
struct pom_watch {
	struct rb_node node;
	struct list_head entry;
	struct pom_session *session;
	u64 handle;
	u64 cookie;
	enum pom_watch_kind kind;
};

int pom_watch_init(void);
void pom_watch_exit(void);
struct pom_watch *pom_watch_alloc(struct pom_user *user);
void pom_watch_free(struct pom_user *user, struct pom_watch *watch);
int pom_watch_room(struct pom_session *session, struct pom_stash *stash);
void pom_watch_arm(struct pom_session *session, struct pom_object *obj,
		   enum pom_watch_kind kind, u64 cookie, struct pom_stash *stash);
bool pom_watch_finalize(struct pom_heap *heap, struct pom_object *obj);
bool pom_watch_die(struct pom_heap *heap, struct pom_object *obj, int *budget);
void pom_watch_cancel(struct pom_session *session, u64 handle);
void pom_watch_delivered(struct pom_session *session);
bool pom_watch_drop(struct pom_session *session, int *budget);
u32 pom_watch_count(const struct pom_heap *heap, const struct pom_object *obj);
bool pom_watch_consistent(const struct pom_heap *heap, const struct pom_object *obj);
int pom_weak_hold(struct pom_session *session, const struct pyobjmem_weak *cmd,
		  struct pom_stash *stash);
int pom_weak_upgrade(struct pom_session *session, const struct pyobjmem_upgrade *cmd,
		     struct pom_stash *stash);
int pom_weak_drop(struct pom_session *session, const struct pyobjmem_weak_drop *cmd);

/* --- ops.c -------------------------------------------------------------- */

/**
 * struct pom_args - kernel copies of what an operation points to
 * @payload: payload of a small CREATE, bytes of WRITE, room for READ
 * @edges: first values of the slots of CREATE
 * @run: prepared runs of a large CREATE, the payload already in them
 * @staged: bytes of kernel memory for @payload and @edges
 */
struct pom_args {
	void *payload;
	u64 *edges;
	struct pom_pool *run[POM_SPACES];
	u64 staged;
};

/* Edges beyond this are linked in slices after the object was made. */
#define POM_EDGES_AT_ONCE	POM_SLICE

u64 pom_object_bytes(const struct pyobjmem_create *cmd);
u64 pom_object_data_bytes(const struct pyobjmem_create *cmd);
int pom_object_create(struct pom_session *session, struct pyobjmem_create *cmd,
		      struct pom_args *args, struct pom_stash *stash);
int pom_object_link(struct pom_session *session, u64 handle, const u64 *edges, u32 first,
		    u32 count);
int pom_object_get(struct pom_session *session, u64 handle);
int pom_object_put(struct pom_session *session, u64 handle);
int pom_object_set_ref(struct pom_session *session, struct pyobjmem_set_ref *cmd);
int pom_object_get_ref(struct pom_session *session, struct pyobjmem_get_ref *cmd,
		       struct pom_stash *stash);
int pom_object_read(struct pom_session *session, struct pyobjmem_read *cmd, void *buffer,
		    u64 offset, u64 length);
int pom_object_write(struct pom_session *session, struct pyobjmem_write *cmd, void *buffer,
		     u64 offset, u64 length);
int pom_object_inspect(struct pom_session *session, struct pyobjmem_inspect *cmd, u64 *edges,
		       u32 first, u32 count);

#include "collect.h"

/* --- heap.c ------------------------------------------------------------- */

/**
 * struct pom_heap - one audience
 * @kref: the users together, and each session that has ever joined
 * @users: sessions joined, descriptors, tickets; with the last one all goes
 * @node: in the list of heaps
 * @id: number, never used twice
 * @user: who created it and pays for it
 * @nomap: can never be mapped
 * @lock: all that follows; see the top of this file
 * @space: the blocks
 * @roots: handles of the roots
 * @sessions: sessions joined
 * @tickets: tickets that are open
 * @nr_sessions: how many
 * @nr_tickets: how many
 * @pages: pages of both spaces
 * @pages_limit: most of them
 * @objects: objects that live
 * @objects_limit: most of them
 * @created: objects ever created
 * @freed_counted: objects freed because their counts were 0
 * @freed_collected: objects freed by the collector
 * @watches: those that are armed, by object
 * @nr_watches: how many, by kind
 * @finalizers_abandoned: finalizers whose session ended before they were delivered
 * @collected: the last collections, for events
 * @nr_collected: collections that have come to their end
 * @dying: the cascade: objects whose counts are 0, linked through @in
 * @dropping: the one of them whose slots are being dropped, or POM_NIL
 * @dropping_slot: its next slot
 * @reap: pools to free once the lock is dropped
 * @verify_wait: in debug builds, so many ends of collections and sessions until
 *	the next recount
 * @gc: the collector
 * @collected_wait: readers of sessions that want COLLECTED events
 * @wq: for the works of this heap, and the ends of its sessions: a heap with
 *	thousands of them does not keep others waiting
 * @settle: finishes a cascade whose caller was killed
 * @collect: collects by itself, finishes what a killed caller began
 * @trim: gives back empty pools after a second
 * @destroy: frees everything
 * @debugfs: directory
 */
struct pom_heap {
	struct kref kref;
	refcount_t users;
	struct list_head node;
	u64 id;
	struct pom_user *user;
	bool nomap;

	struct mutex lock;	/* all that follows, up to gc */
	struct pom_space space[POM_SPACES];
	u64 roots[PYOBJMEM_ROOTS];
	struct list_head sessions;
	struct list_head tickets;
	u64 nr_sessions;
	u64 nr_tickets;
	u64 pages;
	u64 pages_limit;
	u64 objects;
	u64 objects_limit;
	u64 created;
	u64 freed_counted;
	u64 freed_collected;
	struct rb_root watches;
	u64 nr_watches[POM_WATCH_KINDS];
	u64 finalizers_abandoned;
	struct pom_gc_run collected[PYOBJMEM_EVENTS_COLLECTED];
	u64 nr_collected;
	u32 dying;
	u32 dropping;
	u32 dropping_slot;
	struct list_head reap;
	u64 verify_wait;
	struct pom_gc gc;

	wait_queue_head_t collected_wait;
	struct workqueue_struct *wq;
	struct work_struct settle;
	struct work_struct collect;
	struct delayed_work trim;
	struct work_struct destroy;
	struct dentry *debugfs;
};

struct pom_heap *pom_heap_create(u32 flags);
struct file *pom_heap_file(struct pom_heap *heap, u32 rights);
struct pom_heap *pom_heap_from_fd(int fd, u32 *rights);
void pom_heap_get(struct pom_heap *heap);
void pom_heap_put(struct pom_heap *heap);
bool pom_heap_use(struct pom_heap *heap);
void pom_heap_unuse(struct pom_heap *heap);
void pom_heap_relieve(struct pom_heap *heap);
int pom_heap_configure(struct pom_session *session, struct pyobjmem_heap_configure *cmd);
int pom_heap_set_root(struct pom_session *session, struct pyobjmem_set_root *cmd);
int pom_heap_get_root(struct pom_session *session, struct pyobjmem_get_root *cmd,
		      struct pom_stash *stash);

/* --- shrinker.c ---------------------------------------------------------- */

int pom_shrinker_init(void);
void pom_shrinker_exit(void);
void pom_shrinker_add(struct pom_heap *heap);
void pom_shrinker_remove(struct pom_heap *heap);
unsigned long pom_shrinker_count(void);
unsigned long pom_shrinker_scan(unsigned long pages);

/* --- lock.c, stats.c ---------------------------------------------------- */

void pom_heap_lock(struct pom_heap *heap);
int pom_heap_lock_killable(struct pom_heap *heap);
void pom_heap_unlock(struct pom_heap *heap);
void pom_heap_settle(struct pom_heap *heap);
void pom_heap_stats(struct pom_heap *heap, struct pyobjmem_stats *stats);

/* --- ticket.c ----------------------------------------------------------- */

/**
 * struct pom_ticket - an object on its way
 * @heap: its heap, used
 * @node: in heap->tickets
 * @handle: the object
 */
struct pom_ticket {
	struct pom_heap *heap;
	struct list_head node;
	u64 handle;
};

struct file *pom_ticket_create(struct pom_session *session, u64 handle);
int pom_ticket_redeem(struct pom_session *session, struct pyobjmem_redeem *cmd,
		      const struct file *file, struct pom_stash *stash);

/* --- session.c ---------------------------------------------------------- */

/**
 * struct pom_mm - the sessions of one address space
 * @mn: tells when it goes
 * @lock: protects @sessions
 * @sessions: those that have not ended
 */
struct pom_mm {
	struct mmu_notifier mn;
	spinlock_t lock;	/* sessions */
	struct list_head sessions;
};

/**
 * struct pom_session - one open of the device
 * @kref: the file, and a queued @end
 * @mm: the address space it belongs to; compared, never dereferenced
 * @owner: its notifier
 * @mm_node: in @owner->sessions, until the session ends
 * @user: who opened it
 * @pid: thread group that opened it, for people
 * @comm: its name, for people
 * @join_lock: serialises joining and ending
 * @heap: what it joined; set once, stays until the session is freed
 * @rights: PYOBJMEM_RIGHT_*, set before @heap
 * @ended: under @join_lock and heap->lock: no operation any more
 * @heap_node: in heap->sessions, under heap->lock
 * @holds: under heap->lock
 * @watches: those that are armed, under heap->lock
 * @events: those that have fired, in their order, under heap->lock
 * @nr_watches: on both lists, under heap->lock
 * @nr_events: on @events; changed under heap->lock
 * @wants_collected: gets COLLECTED events; set before @heap
 * @collected_seen: heap->nr_collected of the next one; changed under heap->lock
 * @wait: readers, unless they want COLLECTED events: see pom_session_wait()
 * @read_lock: held while an event is delivered
 * @end: ends the session when its mm goes
 */
struct pom_session {
	struct kref kref;
	struct mm_struct *mm;
	struct pom_mm *owner;
	struct list_head mm_node;
	struct pom_user *user;
	pid_t pid;
	char comm[TASK_COMM_LEN];
	struct mutex join_lock;	/* joining and ending */
	struct pom_heap *heap;
	u32 rights;
	bool ended;
	struct list_head heap_node;
	struct pom_holds holds;
	struct list_head watches;
	struct list_head events;
	u64 nr_watches;
	u64 nr_events;
	bool wants_collected;
	u64 collected_seen;
	wait_queue_head_t wait;
	struct mutex read_lock;	/* the delivery of events */
	struct work_struct end;
};

void pom_session_init(struct pom_session *session, struct pom_user *user);
struct pom_session *pom_session_open(void);
void pom_session_put(struct pom_session *session);
int pom_session_join(struct pom_session *session, struct pom_heap *heap, u32 rights,
		     bool wants_collected);
bool pom_session_end(struct pom_session *session);
void pom_session_end_later(struct pom_session *session, struct workqueue_struct *wq);
struct pom_heap *pom_session_heap(struct pom_session *session);
int pom_session_joinable(struct pom_session *session);
int pom_session_lock(struct pom_session *session);
void pom_session_exit(void);

/* --- event.c ------------------------------------------------------------- */

void pom_event_collected(struct pom_heap *heap);
int pom_event_take(struct pom_session *session, struct pom_stash *stash);
ssize_t pom_read(struct file *file, char __user *buffer, size_t length, loff_t *pos);
__poll_t pom_poll(struct file *file, struct poll_table_struct *table);

/* --- debugfs.c, verify.c ------------------------------------------------ */

void pom_debugfs_init(void);
void pom_debugfs_exit(void);
void pom_debugfs_add(struct pom_heap *heap);
void pom_debugfs_remove(struct pom_heap *heap);
int pom_verify_show(struct seq_file *m, void *unused);
void pom_verify_debug(struct pom_heap *heap);

/* --- main.c ------------------------------------------------------------- */

extern struct workqueue_struct *pom_wq;
extern unsigned long pom_heap_bytes;
extern unsigned long pom_heap_objects;
extern unsigned long pom_session_holds;
extern unsigned long pom_session_watches;
extern unsigned long pom_user_bytes;
extern unsigned long pom_user_sessions;
extern unsigned long pom_user_heaps;
extern unsigned int pom_first_generation;
extern unsigned int pom_first_epoch;
#ifdef DEBUG
extern unsigned int pom_red_zone;
#else
#define pom_red_zone 0U
#endif

#include "inline.h"

#endif /* _POM_PYOBJMEM_H */
