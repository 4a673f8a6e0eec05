// SPDX-License-Identifier: GPL-2.0
/*
 * Holds: the table of what a session holds. Owns the table; the counts of the
 * objects are object.c's. All under heap->lock.
 *
 * Extendible hashing: a directory of 2^depth pointers to pages of 510 entries.
 * A page that is three quarters full is split by one more bit of the hash, so
 * an insertion moves at most 510 entries, and now and then copies the directory,
 * a word for some 380 holds. An empty page merges with its neighbour. On average
 * 16 bytes a hold.
 */
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "pyobjmem.h"

/* A page is split rather than filled beyond this. */
#define PAGE_FULL	(POM_HOLD_PAGE_SLOTS * 3 / 4)

/* An end for tables in which nearly all hashes begin alike; not seen in life. */
#define DEPTH_MAX	26

/*
 * Links of objects created together are an arithmetic progression, which one
 * multiplication would only turn into another: hence the shift in between.
 */
static u64 hash_of(const struct pom_holds *holds, u32 link)
{
	u64 hash = link * holds->multiplier;

	hash ^= hash >> 32;
	return hash * GOLDEN_RATIO_64;
}

/* The high bits choose the page, others the first slot there. */
static u32 dir_index(const struct pom_holds *holds, u64 hash)
{
	return (hash >> 32 << holds->depth) >> 32;
}

static u32 first_slot(u64 hash)
{
	return ((hash >> 16 & 0xffff) * POM_HOLD_PAGE_SLOTS) >> 16;
}

static u32 next_slot(u32 i)
{
	return i + 1 < POM_HOLD_PAGE_SLOTS ? i + 1 : 0;
}

static struct pom_hold_page *page_of(const struct pom_holds *holds, u64 hash)
{
	return holds->dir[dir_index(holds, hash)];
}

static struct pom_hold *page_add(struct pom_hold_page *page, u64 hash, u32 link, u32 takes)
{
	u32 i = first_slot(hash);

	while (page->slot[i].takes)
		i = next_slot(i);
	page->slot[i].link = link;
	page->slot[i].takes = takes;
	page->count++;
	return &page->slot[i];
}

static void page_free(struct pom_holds *holds, struct pom_hold_page *page)
{
	kvfree(page);
	pom_user_uncharge_bytes(holds->user, sizeof(*page));
}

static void dir_free(struct pom_holds *holds)
{
	kvfree(holds->dir);
	pom_user_uncharge_bytes(holds->user, sizeof(*holds->dir) << holds->order);
}

/**
 * pom_holds_init - make an empty table
 * @holds: the table
 * @user: to whom its memory is charged
 */
void pom_holds_init(struct pom_holds *holds, struct pom_user *user)
{
	memset(holds, 0, sizeof(*holds));
	holds->user = user;
	holds->multiplier = get_random_u64() | 1;
}

/**
 * pom_holds_destroy - free the table
 * @holds: the table; what it held was dropped before
 *
 * Context: may sleep; heap->lock need not be held, nobody else knows the table.
 */
void pom_holds_destroy(struct pom_holds *holds)
{
	struct pom_hold_page *page = NULL;
	u32 i;

	if (!holds->dir)
		return;
	for (i = 0; i < 1U << holds->depth; i++) {
		if (holds->dir[i] == page)
			continue;
		page = holds->dir[i];
		/* Those that follow are compared with it, not looked at. */
		page_free(holds, page);
		cond_resched();
	}
	dir_free(holds);
	holds->dir = NULL;
}

/**
 * pom_holds_find - look an object up
 * @holds: the table
 * @link: the object
 *
 * Return: its entry, valid until the next insertion or removal, or NULL.
 */
struct pom_hold *pom_holds_find(struct pom_holds *holds, u32 link)
{
	u64 hash = hash_of(holds, link);
	struct pom_hold_page *page;
	u32 i;

	if (!holds->dir)
		return NULL;
	page = page_of(holds, hash);
	for (i = first_slot(hash); page->slot[i].takes; i = next_slot(i))
		if (page->slot[i].link == link)
			return &page->slot[i];
	return NULL;
}

/* Make the directory as large as the one in the stash, or make the first. */
static void dir_grow(struct pom_holds *holds, struct pom_stash *stash)
{
	struct pom_hold_page **dir = stash->hold_dir;
	u32 i, shift = holds->dir ? stash->hold_dir_order - holds->depth : 0;

	if (holds->dir) {
		for (i = 0; i < 1U << stash->hold_dir_order; i++)
			dir[i] = holds->dir[i >> shift];
		dir_free(holds);
		holds->depth = stash->hold_dir_order;
	} else {
		dir[0] = stash->hold_page[0];
		stash->hold_page[0] = NULL;
		holds->depth = 0;
	}
	holds->dir = dir;
	holds->order = stash->hold_dir_order;
	stash->hold_dir = NULL;
}

/* The directory has room for more entries than are in use: use twice as many. */
static void dir_spread(struct pom_holds *holds)
{
	u32 i = 1U << holds->depth;

	while (i--) {
		holds->dir[2 * i] = holds->dir[i];
		holds->dir[2 * i + 1] = holds->dir[i];
	}
	holds->depth++;
}

/* First entry of the directory that points to the page of a hash, and how many. */
static u32 page_span(const struct pom_holds *holds, const struct pom_hold_page *page,
		     u64 hash, u32 *first)
{
	u32 span = 1U << (holds->depth - page->depth);

	*first = dir_index(holds, hash) & ~(span - 1);
	return span;
}

static void page_split(struct pom_holds *holds, u64 hash, struct pom_stash *stash)
{
	struct pom_hold_page *old = page_of(holds, hash), *half;
	u32 first, span = page_span(holds, old, hash, &first);
	u64 h;
	u32 i;

	for (i = 0; i < 2; i++)
		stash->hold_page[i]->depth = old->depth + 1;
	for (i = 0; i < POM_HOLD_PAGE_SLOTS; i++) {
		if (!old->slot[i].takes)
			continue;
		h = hash_of(holds, old->slot[i].link);
		half = stash->hold_page[(h >> (63 - old->depth)) & 1];
		page_add(half, h, old->slot[i].link, old->slot[i].takes);
	}
	for (i = 0; i < span; i++)
		holds->dir[first + i] = stash->hold_page[i >= span / 2];
	stash->hold_page[0] = NULL;
	stash->hold_page[1] = NULL;
	page_free(holds, old);
}

/* Pages are missing, and unless @entries is 0 a directory of so many entries. */
static int room_lacks(struct pom_stash *stash, u32 entries)
{
	stash->lacks.hold_pages = true;
	stash->lacks.hold_dir = entries ? ilog2(entries) + 1 : 0;
	return -EAGAIN;
}

/**
 * pom_holds_room - make sure that one more object can be inserted
 * @holds: the table
 * @link: the object, which is not in the table
 * @stash: memory to use
 *
 * Return: 0; -EAGAIN if @stash is short; -EDQUOT at the session's limit.
 */
int pom_holds_room(struct pom_holds *holds, u32 link, struct pom_stash *stash)
{
	u64 hash = hash_of(holds, link);
	struct pom_hold_page *page;

	if (holds->count >= READ_ONCE(pom_session_holds))
		return -EDQUOT;
	if (!holds->dir) {
		if (!stash->hold_dir || !stash->hold_page[0])
			return room_lacks(stash, 1);
		dir_grow(holds, stash);
	}
	for (;;) {
		page = page_of(holds, hash);
		if (page->count < PAGE_FULL)
			return 0;
		if (page->depth == DEPTH_MAX)
			return -EDQUOT;
		if (page->depth == holds->depth) {
			if (holds->depth < holds->order)
				dir_spread(holds);
			else if (stash->hold_dir && stash->hold_dir_order > holds->depth)
				dir_grow(holds, stash);
			else
				return room_lacks(stash, 2U << holds->depth);
		}
		if (!stash->hold_page[0] || !stash->hold_page[1])
			return room_lacks(stash, 0);
		page_split(holds, hash, stash);
	}
}

/**
 * pom_holds_insert - insert an object, taken once
 * @holds: the table; pom_holds_room() returned 0 for the object
 * @link: the object
 */
void pom_holds_insert(struct pom_holds *holds, u32 link)
{
	u64 hash = hash_of(holds, link);

	page_add(page_of(holds, hash), hash, link, 1);
	holds->count++;
}

/* Let the neighbour of an empty page take over its part of the directory. */
static void page_merge(struct pom_holds *holds, u64 hash)
{
	struct pom_hold_page *page, *buddy;
	u32 first, span, other, i;

	for (;;) {
		page = page_of(holds, hash);
		if (!page->depth)
			break;
		span = page_span(holds, page, hash, &first);
		other = first ^ span;
		buddy = holds->dir[other];
		if (buddy->depth != page->depth || (page->count && buddy->count))
			return;
		if (page->count)
			swap(page, buddy);
		for (i = 0; i < span; i++) {
			holds->dir[first + i] = buddy;
			holds->dir[other + i] = buddy;
		}
		buddy->depth--;
		page_free(holds, page);
	}
	holds->depth = 0;
}

/**
 * pom_holds_remove - remove an entry
 * @holds: the table
 * @hold: the entry; its page is compacted
 */
void pom_holds_remove(struct pom_holds *holds, struct pom_hold *hold)
{
	u64 hash = hash_of(holds, hold->link);
	struct pom_hold_page *page = page_of(holds, hash);
	u32 gap = hold - page->slot, i, home;

	/* Move back what was only pushed on by the entry: no tombstones. */
	for (i = next_slot(gap); page->slot[i].takes; i = next_slot(i)) {
		home = first_slot(hash_of(holds, page->slot[i].link));
		if (gap <= i ? (home <= gap || home > i) : (home <= gap && home > i)) {
			page->slot[gap] = page->slot[i];
			gap = i;
		}
	}
	page->slot[gap].takes = 0;
	page->slot[gap].link = 0;
	holds->count--;
	if (!--page->count && page->depth)
		page_merge(holds, hash);
}

/**
 * pom_holds_next - walk through the table
 * @holds: the table; nothing may be inserted or removed meanwhile
 * @cursor: 0 at first, then left to this function
 *
 * Return: an entry, or NULL after the last.
 */
struct pom_hold *pom_holds_next(struct pom_holds *holds, u64 *cursor)
{
	struct pom_hold_page *page;
	u32 slot;
	u64 i;

	while (holds->dir) {
		i = div_u64_rem(*cursor, POM_HOLD_PAGE_SLOTS, &slot);
		if (i >> holds->depth)
			break;
		page = holds->dir[i];
		/* Seen under the index before: such entries lie side by side. */
		if (i && holds->dir[i - 1] == page) {
			*cursor += POM_HOLD_PAGE_SLOTS - slot;
			continue;
		}
		++*cursor;
		if (page->slot[slot].takes)
			return &page->slot[slot];
	}
	return NULL;
}

/**
 * pom_holds_pop - take an object out of the table of a session that ends
 * @holds: the table: only walked through and popped from now on
 * @cursor: 0 at first, then left to this function
 *
 * Return: an object, however often it was taken, or POM_NIL if there is none.
 */
u32 pom_holds_pop(struct pom_holds *holds, u64 *cursor)
{
	struct pom_hold *hold = pom_holds_next(holds, cursor);

	if (!hold)
		return POM_NIL;
	hold->takes = 0;
	holds->count--;
	return hold->link;
}
