// SPDX-License-Identifier: MIT
/*
 * The table of what a session holds: handle -> count and takes (internal.h says
 * what these are), a map. The caller holds the session's lock.
 */
#include <errno.h>

#include "internal.h"

/* The entry of a handle that the program, not only a batcher, holds; or NULL. */
static struct pyobjmem_entry *find_held(const struct pyobjmem_map *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = pyobjmem_map_find(table, handle);

	return entry && entry->count > entry->lent ? entry : NULL;
}

/*
 * Enter a take that was gained, for which room was reserved. Returns how many
 * takes of the object are to be given back, as one is enough.
 */
unsigned int pyobjmem_table_add(struct pyobjmem_map *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = pyobjmem_map_enter(table, handle);

	entry->count++;
	if (++entry->takes < TAKES_MAX)
		return 0;
	entry->takes = 1;
	return TAKES_MAX - 1;
}

/* Count one more. */
int pyobjmem_table_get(struct pyobjmem_map *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = find_held(table, handle);

	if (!entry)
		return -ENOENT;
	entry->count++;
	return 0;
}

/*
 * Count one less. Returns 0 if others still count, or, if it was the last, how
 * many takes are to be given back: the entry is gone.
 */
static int drop(struct pyobjmem_map *table, struct pyobjmem_entry *entry)
{
	int takes = (int)entry->takes;

	if (--entry->count)
		return 0;
	pyobjmem_map_remove(table, entry);
	return takes;
}

/* Count one less of the program's holds: as drop(), or -ENOENT. */
int pyobjmem_table_put(struct pyobjmem_map *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = find_held(table, handle);

	return entry ? drop(table, entry) : -ENOENT;
}

/*
 * Take one of the program's holds for a batcher. Returns 0 if it is lent and to be
 * put with pyobjmem_table_put_lent(); or, if it was the only one, how many takes
 * are to be given back: the entry is gone; or -ENOENT.
 */
int pyobjmem_table_lend(struct pyobjmem_map *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = find_held(table, handle);

	if (!entry)
		return -ENOENT;
	if (entry->count == 1)
		return drop(table, entry);
	entry->lent++;
	return 0;
}

/* Put what was lent: as drop(), or -ENOENT if the session has left meanwhile. */
int pyobjmem_table_put_lent(struct pyobjmem_map *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = pyobjmem_map_find(table, handle);

	if (!entry || !entry->lent)
		return -ENOENT;
	entry->lent--;
	return drop(table, entry);
}

/* How often the program holds it. */
uint64_t pyobjmem_table_count(const struct pyobjmem_map *table, uint64_t handle)
{
	const struct pyobjmem_entry *entry = pyobjmem_map_find(table, handle);

	return entry ? entry->count - entry->lent : 0;
}
