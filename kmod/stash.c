// SPDX-License-Identifier: GPL-2.0
/*
 * Stashes: memory that an operation brings along, because nothing is allocated
 * under heap->lock. An attempt says in stash->lacks what it was short of;
 * pom_stash_fill() gets it; pom_stash_drain() frees what was not used. Belongs
 * to one operation, or one BATCH.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "pyobjmem.h"

/**
 * pom_stash_init - make an empty stash
 * @stash: the stash
 * @session: for whose operation it is; it has joined a heap
 */
void pom_stash_init(struct pom_stash *stash, struct pom_session *session)
{
	memset(stash, 0, sizeof(*stash));
	INIT_LIST_HEAD(&stash->arenas);
	INIT_LIST_HEAD(&stash->chunks);
	stash->payer = session->heap->user;
	stash->holder = session->user;
}

static int fill_pools(struct pom_stash *stash)
{
	struct pom_pool *pool;
	unsigned int i;

	for (i = 0; i < POM_SPACES; i++) {
		if (!stash->lacks.pool[i])
			continue;
		pom_pool_discard(stash->pool[i]);
		stash->pool[i] = NULL;
		pool = pom_pool_prepare(stash->payer, i, stash->lacks.pool[i]);
		if (IS_ERR(pool))
			return PTR_ERR(pool);
		stash->pool[i] = pool;
	}
	return 0;
}

static int fill_arenas(struct pom_stash *stash)
{
	struct pom_arena *arena;
	struct pom_chunk *chunk;
	u32 i;

	for (i = 0; i < stash->lacks.arenas; i++) {
		arena = kzalloc(sizeof(*arena), POM_GFP);
		if (!arena)
			return -ENOMEM;
		list_add(&arena->node, &stash->arenas);
		cond_resched();
	}
	for (i = 0; i < stash->lacks.chunks; i++) {
		chunk = kzalloc(sizeof(*chunk), POM_GFP);
		if (!chunk)
			return -ENOMEM;
		list_add(&chunk->node, &stash->chunks);
	}
	return 0;
}

/* Memory for the table of holds, charged to the session's user. */
static int holds_alloc(struct pom_user *user, size_t n, size_t size, void *memory)
{
	void **p = memory;
	int ret;

	ret = pom_user_charge_bytes(user, n * size);
	if (ret)
		return ret;
	*p = kvcalloc(n, size, POM_GFP);
	if (*p)
		return 0;
	pom_user_uncharge_bytes(user, n * size);
	return -ENOMEM;
}

static void holds_free(struct pom_user *user, size_t n, size_t size, void *memory)
{
	if (!memory)
		return;
	kvfree(memory);
	pom_user_uncharge_bytes(user, n * size);
}

static int fill_holds(struct pom_stash *stash)
{
	u32 order = stash->lacks.hold_dir - 1;
	unsigned int i;
	int ret;

	for (i = 0; stash->lacks.hold_pages && i < ARRAY_SIZE(stash->hold_page); i++) {
		if (stash->hold_page[i])
			continue;
		ret = holds_alloc(stash->holder, 1, sizeof(*stash->hold_page[i]),
				  &stash->hold_page[i]);
		if (ret)
			return ret;
	}
	if (!stash->lacks.hold_dir)
		return 0;
	holds_free(stash->holder, 1UL << stash->hold_dir_order, sizeof(*stash->hold_dir),
		   stash->hold_dir);
	stash->hold_dir = NULL;
	stash->hold_dir_order = order;
	return holds_alloc(stash->holder, 1UL << order, sizeof(*stash->hold_dir),
			   &stash->hold_dir);
}

static int fill_watch(struct pom_stash *stash)
{
	struct pom_watch *watch;

	if (!stash->lacks.watch)
		return 0;
	watch = pom_watch_alloc(stash->holder);
	if (IS_ERR(watch))
		return PTR_ERR(watch);
	stash->watch = watch;
	return 0;
}

/**
 * pom_stash_fill - get what the last attempt lacked
 * @stash: the stash
 *
 * Context: may sleep; heap->lock must not be held.
 * Return: 0, -ENOMEM, or -EDQUOT at the limit of a user.
 */
int pom_stash_fill(struct pom_stash *stash)
{
	int ret;

	might_sleep();
	stash->filled = true;
	ret = fill_pools(stash);
	if (!ret)
		ret = fill_arenas(stash);
	if (!ret)
		ret = fill_holds(stash);
	if (!ret)
		ret = fill_watch(stash);
	return ret;
}

/**
 * pom_stash_drain - free what was not used
 * @stash: the stash
 *
 * Context: may sleep; heap->lock must not be held.
 */
void pom_stash_drain(struct pom_stash *stash)
{
	struct pom_arena *arena, *next_arena;
	struct pom_chunk *chunk, *next_chunk;
	unsigned int i;

	if (!stash->filled)
		return;
	for (i = 0; i < POM_SPACES; i++)
		pom_pool_discard(stash->pool[i]);
	list_for_each_entry_safe(arena, next_arena, &stash->arenas, node)
		kfree(arena);
	list_for_each_entry_safe(chunk, next_chunk, &stash->chunks, node)
		kfree(chunk);
	pom_watch_free(stash->holder, stash->watch);
	for (i = 0; i < ARRAY_SIZE(stash->hold_page); i++)
		holds_free(stash->holder, 1, sizeof(*stash->hold_page[i]), stash->hold_page[i]);
	holds_free(stash->holder, 1UL << stash->hold_dir_order, sizeof(*stash->hold_dir),
		   stash->hold_dir);
}
