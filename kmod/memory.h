/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The memory of a heap: spaces of arenas of pools of blocks, the tables of what
 * sessions hold, the stash that operations bring along, and the users who pay for
 * it. Included by pyobjmem.h, which has the rules.
 */
#ifndef _POM_MEMORY_H
#define _POM_MEMORY_H

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
 * @in: slots that name it, or did when it was condemned; link of the cascade while
 *	dying
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
#define POM_WATCHED	0x40	/* has watches: see watch.c */
#define POM_FINALIZE	0x80	/* one of them is its finalizer, which has not run */
#define POM_DEAD	(POM_DYING | POM_LIMBO)

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
void pom_pool_trim(struct pom_heap *heap);

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

#endif /* _POM_MEMORY_H */
