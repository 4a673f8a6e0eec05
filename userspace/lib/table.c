// SPDX-License-Identifier: MIT
/*
 * The table of what a session holds: handle -> count and takes (internal.h says
 * what these are). The caller holds the session's lock.
 *
 * At most three quarters of the places are used, so that a search ends soon.
 * An entry that goes leaves no mark: those behind it move up. Room is reserved
 * before an operation that gains a take, so that entering it cannot fail.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define SIZE_MIN	64

/* Where the search for a handle begins: multiplication mixes upwards. */
static size_t home(const struct pyobjmem_table *table, uint64_t handle)
{
	return (size_t)((handle * 0x9e3779b97f4a7c15u) >> 32) & (table->size - 1);
}

static size_t next(const struct pyobjmem_table *table, size_t i)
{
	return (i + 1) & (table->size - 1);
}

/* The place of a handle, or the empty one where it belongs. @size is not 0. */
static struct pyobjmem_entry *search(const struct pyobjmem_table *table, uint64_t handle)
{
	size_t i = home(table, handle);

	while (table->entries[i].handle != PYOBJMEM_NONE && table->entries[i].handle != handle)
		i = next(table, i);
	return &table->entries[i];
}

/* The entry of a handle, or NULL. */
static struct pyobjmem_entry *find(const struct pyobjmem_table *table, uint64_t handle)
{
	struct pyobjmem_entry *entry;

	if (!table->used || handle == PYOBJMEM_NONE)
		return NULL;
	entry = search(table, handle);
	return entry->handle == handle ? entry : NULL;
}

/* The entry of a handle that the program, not only a batcher, holds; or NULL. */
static struct pyobjmem_entry *find_held(const struct pyobjmem_table *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = find(table, handle);

	return entry && entry->count > entry->lent ? entry : NULL;
}

static int resize(struct pyobjmem_table *table, size_t size)
{
	struct pyobjmem_table new = { .size = size, .used = table->used };
	size_t i;

	if (size > SIZE_MAX / sizeof(*new.entries))
		return -ENOMEM;
	new.entries = pyobjmem_sys_alloc(size * sizeof(*new.entries));
	if (!new.entries)
		return -ENOMEM;
	for (i = 0; i < table->size; i++)
		if (table->entries[i].handle != PYOBJMEM_NONE)
			*search(&new, table->entries[i].handle) = table->entries[i];
	free(table->entries);
	table->entries = new.entries;
	table->size = size;
	return 0;
}

/* Make sure that @n more entries can be added. */
int pyobjmem_table_reserve(struct pyobjmem_table *table, size_t n)
{
	size_t wanted = table->used + table->reserved + n;
	size_t size = table->size ? table->size : SIZE_MIN;

	while (size / 4 * 3 < wanted) {
		if (size > SIZE_MAX / 2)
			return -ENOMEM;
		size *= 2;
	}
	if (size != table->size && resize(table, size) < 0)
		return -ENOMEM;
	table->reserved += n;
	return 0;
}

void pyobjmem_table_unreserve(struct pyobjmem_table *table, size_t n)
{
	table->reserved -= n;
}

/*
 * Enter a take that was gained, for which room was reserved. Returns how many
 * takes of the object are to be given back, as one is enough.
 */
unsigned int pyobjmem_table_add(struct pyobjmem_table *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = search(table, handle);

	if (entry->handle != handle) {
		*entry = (struct pyobjmem_entry){ .handle = handle };
		table->used++;
	}
	entry->count++;
	if (++entry->takes < TAKES_MAX)
		return 0;
	entry->takes = 1;
	return TAKES_MAX - 1;
}

/* Count one more. */
int pyobjmem_table_get(struct pyobjmem_table *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = find_held(table, handle);

	if (!entry)
		return -ENOENT;
	entry->count++;
	return 0;
}

/* Empty a place and move up those behind it that were kept from theirs. */
static void erase(struct pyobjmem_table *table, struct pyobjmem_entry *entry)
{
	size_t gap = (size_t)(entry - table->entries);
	size_t i, mask = table->size - 1;

	for (i = next(table, gap); table->entries[i].handle != PYOBJMEM_NONE; i = next(table, i)) {
		size_t distance = (i - home(table, table->entries[i].handle)) & mask;

		if (distance < ((i - gap) & mask))
			continue;
		table->entries[gap] = table->entries[i];
		gap = i;
	}
	table->entries[gap].handle = PYOBJMEM_NONE;
	table->used--;
}

/*
 * Count one less. Returns 0 if others still count, or, if it was the last, how
 * many takes are to be given back: the entry is gone.
 */
static int drop(struct pyobjmem_table *table, struct pyobjmem_entry *entry)
{
	int takes = (int)entry->takes;

	if (--entry->count)
		return 0;
	erase(table, entry);
	/* Give memory back; that it cannot be had for a smaller table is no harm. */
	if (table->size > SIZE_MIN && table->used + table->reserved < table->size / 8)
		resize(table, table->size / 2);
	return takes;
}

/* Count one less of the program's holds: as drop(), or -ENOENT. */
int pyobjmem_table_put(struct pyobjmem_table *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = find_held(table, handle);

	return entry ? drop(table, entry) : -ENOENT;
}

/*
 * Take one of the program's holds for a batcher. Returns 0 if it is lent and to be
 * put with pyobjmem_table_put_lent(); or, if it was the only one, how many takes
 * are to be given back: the entry is gone; or -ENOENT.
 */
int pyobjmem_table_lend(struct pyobjmem_table *table, uint64_t handle)
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
int pyobjmem_table_put_lent(struct pyobjmem_table *table, uint64_t handle)
{
	struct pyobjmem_entry *entry = find(table, handle);

	if (!entry || !entry->lent)
		return -ENOENT;
	entry->lent--;
	return drop(table, entry);
}

/* How often the program holds it. */
uint64_t pyobjmem_table_count(const struct pyobjmem_table *table, uint64_t handle)
{
	const struct pyobjmem_entry *entry = find(table, handle);

	return entry ? entry->count - entry->lent : 0;
}

/* Forget everything; what is reserved stays so. */
void pyobjmem_table_clear(struct pyobjmem_table *table)
{
	if (table->used)
		memset(table->entries, 0, table->size * sizeof(*table->entries));
	table->used = 0;
}

void pyobjmem_table_destroy(struct pyobjmem_table *table)
{
	free(table->entries);
}
