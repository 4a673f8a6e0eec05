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
 *	collect  the cycle collector, beside object
 *	candidate  what lost a reference; when it is time to collect
 *	epoch    dates of birth, which make generations
 *	pool     a page of equal blocks, or a run of pages that is one block
 *	poison   in a debug build, what lies where nobody is to write
 *	stash    memory that an operation brings along
 *	arena    64 places for pools, 256 KB of a space
 *	user     what the sessions and heaps of one user may take together
 *
 * Calls go down this list, never up; a stash knows how to make what is needed.
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
 * of it + FINALIZE events of it, and in == slots that name it. An object is freed when both
 * are 0. The file verify.c recounts all that.
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

/* Geometry. A place in a space is named by a link: its offset / 8. */
#define POM_LINK_SHIFT		3
#define POM_POOL_SHIFT		PAGE_SHIFT
#define POM_POOL_BYTES		PAGE_SIZE
#define POM_ARENA_POOLS		64	/* the bits of arena->free_pools */
#define POM_ARENA_SHIFT		(POM_POOL_SHIFT + 6)
#define POM_ARENA_BYTES		BIT(POM_ARENA_SHIFT)
#define POM_SPACE_SHIFT		(32 + POM_LINK_SHIFT)
#define POM_SPACE_BYTES		BIT_ULL(POM_SPACE_SHIFT)
#define POM_ARENAS		(1U << (POM_SPACE_SHIFT - POM_ARENA_SHIFT))
#define POM_CHUNK_ARENAS	256U
#define POM_CHUNKS		(POM_ARENAS / POM_CHUNK_ARENAS)
#define POM_POOL_LINKS		(POM_POOL_BYTES >> POM_LINK_SHIFT)

/* The link that names no place: an object is larger than the last 8 bytes. */
#define POM_NIL			U32_MAX

/* Size classes of blocks: 8, 16, ... 512. */
#define POM_CLASS_STEP		8
#define POM_CLASS_MAX		512
#define POM_CLASSES		(POM_CLASS_MAX / POM_CLASS_STEP)

/* Pools of a class by how full they are: empty, quarters, not listed if full. */
#define POM_BUCKETS		5

/* Empty pools that a space keeps besides one a class. */
#define POM_EMPTY_KEPT		8

/* A count is refused beyond this, so that no 32-bit field ever wraps. */
#define POM_COUNT_MAX		0x80000000U

/* Most slots or objects that are visited under one hold of heap->lock. */
#define POM_SLICE		256

/* make DEBUG=1 */
#ifdef DEBUG
#define POM_DEBUG	true
#else
#define POM_DEBUG	false
#endif

#define POM_GFP		(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

struct pom_heap;
struct pom_session;
struct pom_stash;
struct pom_watch;
struct poll_table_struct;

/* --- user.c ------------------------------------------------------------- */

/**
 * struct pom_user - what one user takes
 * @node: in the table of users, under pom_users_lock
 * @count: sessions and heaps that point here, under pom_users_lock
 * @uid: who it is
 * @bytes: blocks of the heaps the user created, with what is kept about them,
 *	and the tables of holds and the watches of the sessions the user opened
 * @sessions: sessions the user opened
 * @heaps: heaps the user created
 */
struct pom_user {
	struct list_head node;
	unsigned long count;
	kuid_t uid;
	atomic_long_t bytes;
	atomic_long_t sessions;
	atomic_long_t heaps;
};

struct pom_user *pom_user_get(void);
void pom_user_put(struct pom_user *user);
bool pom_user_charge(atomic_long_t *counter, unsigned long n, unsigned long limit);
int pom_user_charge_bytes(struct pom_user *user, u64 bytes);
void pom_user_uncharge_bytes(struct pom_user *user, u64 bytes);

/* --- arena.c ------------------------------------------------------------ */

enum pom_space_kind {
	POM_OBJECTS,	/* heads, slots, sealed payloads; blocks have side headers */
	POM_DATA,	/* payloads of mutable objects */
	POM_SPACES,
};

/**
 * struct pom_side - what the kernel knows of an object, out of clients' sight
 * @ext: sessions, roots, tickets and FINALIZE events that refer to it
 * @in: slots that name it; link of the cascade while dying
 * @shadow: previous candidate while listed; trial count while white; link of
 *	the mark stack while gray
 * @state: colour and POM_* flags
 * @born: epoch of the heap at its creation
 * @link: next candidate while listed; next traced while traced
 *
 * Which of the uses is in force follows from @state: see collect.c.
 */
struct pom_side {
	u32 ext;
	u32 in;
	u32 shadow;
	u32 state;
	u32 born;
	u32 link;
};

/* Colours of an object that the running collection traces */
#define POM_WHITE	0x01	/* may be garbage */
#define POM_GRAY	0x02	/* survives, its slots are to be visited */
#define POM_BLACK	0x03	/* survives */
#define POM_COLOUR	0x03	/* mask; 0: not traced */
/* Flags */
#define POM_CAND	0x04	/* lost a reference: may have become garbage */
#define POM_LISTED	0x08	/* is on a list of candidates */
#define POM_DYING	0x10	/* counts are 0: on the cascade */
#define POM_LIMBO	0x20	/* dead, but the collection has it linked */
#define POM_DONE	0x40	/* condemned, slots dropped, waits for in == 0 */
#define POM_WATCHED	0x80	/* has watches: see watch.c */
#define POM_FINALIZE	0x100	/* one of them is its finalizer, which has not run */
#define POM_DEAD	(POM_DYING | POM_LIMBO | POM_DONE)

/**
 * struct pom_pool - equal blocks in one page, or one block in a run of pages
 * @base: the page (for a run: the first page)
 * @side: side headers, one a block; NULL in the data space
 * @size: bytes of a block
 * @magic: 65536 / words of a block, rounded up; 0 for a run: see pom_block_index()
 * @pages: 1, or number of pages of a run
 * @arena: where it lies (for a run: where it begins)
 * @blocks: number of blocks
 * @live: blocks in use
 * @place: index in the arena
 * @bucket: which list of its class it is on, POM_BUCKETS if none
 * @node: in space->partial[][], or in heap->reap
 * @run: addresses of all pages of a run, else NULL
 * @user: to whom it is charged
 * @cost: bytes that are charged
 * @free: bitmap of free blocks
 *
 * What finding, taking and giving back blocks needs comes first: a cache line.
 */
struct pom_pool {
	void *base;
	struct pom_side *side;
	u64 size;
	u32 magic;
	u32 pages;
	struct pom_arena *arena;
	u16 blocks;
	u16 live;
	u8 place;
	u8 bucket;
	struct list_head node;
	void **run;
	struct pom_user *user;
	u64 cost;
	u64 free[];
};

/**
 * struct pom_arena - 64 places for pools
 * @node: in space->by_free[], or in a stash
 * @free_pools: places that a pool may take
 * @index: number of the arena in its space
 * @pages: places that have a page
 * @pool: the pool that begins at a place
 * @page: the page at a place
 * @generation: the generation that the next object at a place gets; 0 when
 *	they are used up: such a place is never used again. Outlives the pool;
 *	when the arena goes, the highest of them stays in its chunk.
 */
struct pom_arena {
	struct list_head node;
	u64 free_pools;
	u32 index;
	u32 pages;
	struct pom_pool *pool[POM_ARENA_POOLS];
	void *page[POM_ARENA_POOLS];
	u32 generation[POM_ARENA_POOLS];
};

/**
 * struct pom_chunk - directory of 256 arenas; lives as long as the heap
 * @node: in a stash
 * @arena: the arenas that there are
 * @generation: where the generations of an arena start when it comes back
 */
struct pom_chunk {
	struct list_head node;
	struct pom_arena *arena[POM_CHUNK_ARENAS];
	u32 generation[POM_CHUNK_ARENAS];
};

/**
 * struct pom_space - 32 GB of places, the address space of one window
 * @heap: whose it is
 * @kind: POM_OBJECTS or POM_DATA
 * @chunk: directory of arenas
 * @taken: bitmap of arenas that exist or are used up
 * @hint: no arena below this number is free
 * @arenas: arenas that exist
 * @pages: pages in use
 * @used: bytes of blocks in use
 * @slack: bytes at the end of pools and runs that no block can use
 * @empty: empty pools kept, all classes
 * @spare: those of them that are not the only one of their class
 * @by_free_map: bit n - 1: by_free[n] is not empty
 * @by_free: arenas by number of free places, 1 to 64
 * @partial: pools with free blocks by class and fullness
 */
struct pom_space {
	struct pom_heap *heap;
	enum pom_space_kind kind;
	struct pom_chunk *chunk[POM_CHUNKS];
	unsigned long *taken;
	u32 hint;
	u32 arenas;
	u64 pages;
	u64 used;
	u64 slack;
	u32 empty;
	u32 spare;
	u64 by_free_map;
	struct list_head by_free[POM_ARENA_POOLS + 1];
	struct list_head partial[POM_CLASSES][POM_BUCKETS];
};

int pom_space_init(struct pom_space *space, struct pom_heap *heap, enum pom_space_kind kind);
void pom_space_destroy(struct pom_space *space);
int pom_arena_room(struct pom_space *space, u64 pages);
int pom_arena_place(struct pom_space *space, struct pom_pool *pool, struct pom_stash *stash);
void pom_arena_remove(struct pom_space *space, struct pom_pool *pool, struct pom_stash *stash);
struct pom_arena *pom_arena_next(const struct pom_space *space, u32 *number);

/* --- pool.c ------------------------------------------------------------- */

/**
 * struct pom_block - a block, found or allocated; valid under heap->lock
 * @pool: its pool
 * @index: its index in the pool
 * @link: its place in the space
 */
struct pom_block {
	struct pom_pool *pool;
	u32 index;
	u32 link;
};

struct pom_pool *pom_pool_prepare(struct pom_user *user, enum pom_space_kind kind, u64 size);
void pom_pool_discard(struct pom_pool *pool);
void pom_pool_discard_all(struct pom_space *space);
int pom_block_alloc(struct pom_space *space, u64 size, struct pom_stash *stash,
		    struct pom_block *block);
void pom_block_free(struct pom_space *space, struct pom_pool *pool, u32 index);
void pom_block_undo(struct pom_space *space, const struct pom_block *block,
		    struct pom_stash *stash);
bool pom_block_find(struct pom_space *space, u32 link, struct pom_block *block);
void pom_block_copy(const struct pom_block *block, u64 offset, void *buffer, size_t length,
		    bool write);
u32 pom_pool_next_generation(struct pom_space *space, struct pom_pool *pool);
void pom_pool_trim(struct pom_space *space);

/* --- poison.c ----------------------------------------------------------- */

void pom_poison_pool(struct pom_pool *pool);
void pom_poison_take(struct pom_pool *pool, u32 index);
void pom_poison_give(struct pom_pool *pool, u32 index);
bool pom_poison_intact(const struct pom_pool *pool, u32 index);
void pom_red_zone_set(const struct pom_block *block, u64 used);
bool pom_red_zone_intact(const struct pom_block *block, u64 used);

/* --- hold.c ------------------------------------------------------------- */

/**
 * struct pom_hold - one object held by one session
 * @link: the object
 * @takes: how often the session has taken it; 0: the entry is empty
 */
struct pom_hold {
	u32 link;
	u32 takes;
};

#define POM_HOLD_PAGE_SLOTS	510U

/**
 * struct pom_hold_page - a piece of the table, split in two when three quarters full
 * @depth: how many bits of the hash its entries have in common
 * @count: entries in use
 * @slot: open addressing, linear probing
 */
struct pom_hold_page {
	u32 depth;
	u32 count;
	struct pom_hold slot[POM_HOLD_PAGE_SLOTS];
};

/**
 * struct pom_holds - what a session holds: an extendible hash table
 * @dir: 1 << @depth pointers to pages, several to a shallow page
 * @depth: log2 of the entries of @dir in use
 * @order: log2 of the entries that @dir has room for
 * @count: objects held
 * @multiplier: odd and random, so that nobody can choose handles that collide
 * @user: to whom the memory is charged
 *
 * Under heap->lock. An insertion moves at most one page of entries.
 */
struct pom_holds {
	struct pom_hold_page **dir;
	u32 depth;
	u32 order;
	u64 count;
	u64 multiplier;
	struct pom_user *user;
};

void pom_holds_init(struct pom_holds *holds, struct pom_user *user);
void pom_holds_destroy(struct pom_holds *holds);
struct pom_hold *pom_holds_find(struct pom_holds *holds, u32 link);
int pom_holds_room(struct pom_holds *holds, u32 link, struct pom_stash *stash);
void pom_holds_insert(struct pom_holds *holds, u32 link);
void pom_holds_remove(struct pom_holds *holds, struct pom_hold *hold);
struct pom_hold *pom_holds_next(struct pom_holds *holds, u64 *cursor);
u32 pom_holds_pop(struct pom_holds *holds, u64 *cursor);

/* --- stash.c ------------------------------------------------------------ */

/**
 * struct pom_stash - memory that an operation brings along
 * @payer: the user to whom pools are charged
 * @holder: the user to whom tables of holds are charged
 * @pool: an unplaced pool for a space
 * @arenas: unused arenas
 * @chunks: unused chunks
 * @hold_page: unused pages for the table of holds
 * @hold_dir: unused directory for it
 * @hold_dir_order: log2 of the entries of @hold_dir
 * @watch: an unused watch
 * @filled: there may be something in it
 * @lacks: reset before each attempt, set by what returns -EAGAIN
 * @lacks.pool: size of the blocks for which a pool is missing, per space
 * @lacks.arenas: number of arenas
 * @lacks.chunks: number of chunks
 * @lacks.hold_dir: log2 of the entries of a directory plus 1, or 0
 * @lacks.hold_pages: two pages
 * @lacks.watch: a watch
 */
struct pom_stash {
	struct pom_user *payer;
	struct pom_user *holder;
	struct pom_pool *pool[POM_SPACES];
	struct list_head arenas;
	struct list_head chunks;
	struct pom_hold_page *hold_page[2];
	struct pom_hold_page **hold_dir;
	u32 hold_dir_order;
	struct pom_watch *watch;
	bool filled;
	struct {
		u64 pool[POM_SPACES];
		u32 arenas;
		u32 chunks;
		u32 hold_dir;
		bool hold_pages;
		bool watch;
	} lacks;
};

void pom_stash_init(struct pom_stash *stash, struct pom_session *session);
int pom_stash_fill(struct pom_stash *stash);
void pom_stash_drain(struct pom_stash *stash);

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

/* --- candidate.c, epoch.c, collect.c ------------------------------------ */

#define POM_PERMANENT	PYOBJMEM_GENERATIONS

/* So many new candidates start a full collection, if a quarter of what lives is less, */
#define POM_CANDIDATES_FEW	10000
/* and one for so many visits of the last: what it takes to let go stays bounded. */
#define POM_CANDIDATE_VISITS	64

enum pom_phase {
	POM_IDLE,
	POM_TRACE,	/* stamp, subtract edges inside */
	POM_RESCUE,	/* what is referred to from outside survives */
	POM_FINALIZING,	/* what has a finalizer that is due survives */
	POM_DRAIN,	/* so does what that reaches */
	POM_FREE,	/* what is white is dead: its slots are dropped */
	POM_RELEASE,	/* all blocks go back, all survivors out of the trace list */
	POM_RENUMBER,	/* no collection: all is dated anew */
};

/**
 * struct pom_list - candidates or traced objects, linked through their sides
 * @head: first, or POM_NIL
 * @tail: last, or POM_NIL
 */
struct pom_list {
	u32 head;
	u32 tail;
};

/**
 * struct pom_gc_run - what one collection did
 * @number: how many collections began before and with it
 * @generation: oldest generation it collected
 * @lived: containers that lived when it began, but for the permanent
 * @born: containers created since
 * @visited: objects stamped
 * @visits: visits of objects and slots
 * @collected: objects condemned
 * @finalizers: FINALIZE events queued
 * @slices: holds of the lock
 * @longest_ns: longest of them
 * @began_ns: when it began
 * @duration_ns: how long it took in all
 */
struct pom_gc_run {
	u64 number;
	u32 generation;
	u64 lived;
	u64 born;
	u64 visited;
	u64 visits;
	u64 collected;
	u64 finalizers;
	u64 slices;
	u64 longest_ns;
	u64 began_ns;
	u64 duration_ns;
};

/**
 * struct pom_gc - the collector of a heap, all under heap->lock
 * @phase: what the running collection does, or the renumbering
 * @epoch: the date of birth of new objects
 * @created_at: heap->created when @epoch last advanced
 * @bound: generation g is born at or after bound[g] and before bound[g - 1]
 * @sweep: the generation that a renumbering is at
 * @place: the next place of it
 * @cand: candidates by generation, and of the permanent generation
 * @candidates: how many of all generations, and of the work list
 * @frozen: those of them that are permanent: no collection looks at them
 * @left: the others when the last full collection ended, or fewer
 * @price: so many more pay for what that one did
 * @toll: so many more must come about before they start the next one
 * @lo: the running collection traces what was born at or after this,
 * @hi: and before this
 * @work: candidates that it has not stamped yet
 * @trace: objects that it has stamped
 * @outside: sum of the shadows of the white ones; more where one died or was taken
 * @stack: mark stack, through shadow
 * @finalized: another, of objects whose finalizers are due, until all are found
 * @finalizable: it has stamped an object whose finalizer has not run
 * @cursor: the object being visited, or POM_NIL
 * @slot: next slot of @cursor to visit
 * @mark: the object taken from @stack whose slots are being visited
 * @mark_slot: next slot of it
 * @run: the running collection, or the last
 * @moved: containers that it moved into generation 2
 * @enabled: collect by itself
 * @due: a collection by itself is queued
 * @pressure: it is to be a full one, because memory is short
 * @threshold: as gc.set_threshold()
 * @count: as gc.get_count()
 * @live: containers by generation
 * @long_lived_total: containers that survived the last full collection
 * @long_lived_pending: containers that came into generation 2 since
 * @stats: collections, objects collected and FINALIZE events by generation
 * @slices: slices of all collections
 * @longest_ns: longest of all
 * @total_ns: time of all
 */
struct pom_gc {
	enum pom_phase phase;
	u32 epoch;
	u64 created_at;
	u32 bound[PYOBJMEM_GENERATIONS];
	u32 sweep;
	u32 place;
	struct pom_list cand[PYOBJMEM_GENERATIONS + 1];
	u64 candidates;
	u64 frozen;
	u64 left;
	u64 price;
	u64 toll;
	u32 lo;
	u32 hi;
	struct pom_list work;
	struct pom_list trace;
	u64 outside;
	u32 stack;
	u32 finalized;
	bool finalizable;
	u32 cursor;
	u32 slot;
	u32 mark;
	u32 mark_slot;
	struct pom_gc_run run;
	u64 moved;
	bool enabled;
	bool due;
	bool pressure;
	u32 threshold[PYOBJMEM_GENERATIONS];
	u32 count[PYOBJMEM_GENERATIONS];
	u64 live[PYOBJMEM_GENERATIONS + 1];
	u64 long_lived_total;
	u64 long_lived_pending;
	struct {
		u64 collections;
		u64 collected;
		u64 finalizers;
	} stats[PYOBJMEM_GENERATIONS];
	u64 slices;
	u64 longest_ns;
	u64 total_ns;
};

void pom_list_reset(struct pom_list *list);
void pom_list_splice(struct pom_heap *heap, struct pom_list *from, struct pom_list *to);
void pom_candidate_add(struct pom_heap *heap, struct pom_side *side, u32 link);
void pom_candidate_remove(struct pom_heap *heap, struct pom_side *side, u32 link);
void pom_candidate_pop(struct pom_gc *gc, struct pom_side *side);
void pom_candidate_flag(struct pom_heap *heap, struct pom_object *obj);
void pom_candidate_unflag(struct pom_heap *heap, struct pom_object *obj);
void pom_gc_init(struct pom_heap *heap);
int pom_gc_due(const struct pom_gc *gc);
void pom_gc_ended(struct pom_gc *gc);
void pom_gc_check(struct pom_heap *heap);
u64 pom_gc_worth(const struct pom_gc *gc);
void pom_gc_press(struct pom_heap *heap);
void pom_gc_born(struct pom_heap *heap, struct pom_object *obj);
void pom_gc_freed(struct pom_heap *heap, struct pom_object *obj);
void pom_gc_touch(struct pom_heap *heap, struct pom_object *obj);
void pom_mark_push(struct pom_gc *gc, struct pom_side *side, u32 link);
u32 pom_gc_generation(const struct pom_gc *gc, u32 born);
bool pom_epoch_ended(const struct pom_heap *heap);
void pom_epoch_advance(struct pom_heap *heap);
void pom_renumber_start(struct pom_heap *heap);
void pom_renumber_slice(struct pom_heap *heap, int visits);
int pom_collect(struct pom_heap *heap, u32 generation, struct pom_gc_run *run);
void pom_collect_help(struct pom_heap *heap, int visits);
int pom_freeze(struct pom_heap *heap, bool freeze);
void pom_collect_work(struct work_struct *work);

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
