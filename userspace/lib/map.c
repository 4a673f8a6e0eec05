// SPDX-License-Identifier: MIT
/*
 * Maps: records that are found by their first member, a 64-bit key that is not 0.
 * The caller holds the session's lock.
 *
 * Open addressing with linear probing. At most three quarters of the places are
 * used, so that a search ends soon. A record that goes leaves no mark: those
 * behind it move up, so pointers to records last until the next change only.
 * Room is reserved before an operation whose result is to be entered, so
 * that entering it cannot fail.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define SIZE_MIN	64

static void *record_at(const struct pyobjmem_map *map, size_t i)
{
	return map->records + i * map->record_size;
}

static uint64_t key_at(const struct pyobjmem_map *map, size_t i)
{
	return *(uint64_t *)record_at(map, i);
}

/* Where the search for a key begins: multiplication mixes upwards. */
static size_t home(const struct pyobjmem_map *map, uint64_t key)
{
	return (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (map->size - 1);
}

static size_t next(const struct pyobjmem_map *map, size_t i)
{
	return (i + 1) & (map->size - 1);
}

/* The place of a key, or the empty one where it belongs. There are some. */
static size_t search(const struct pyobjmem_map *map, uint64_t key)
{
	size_t i = home(map, key);

	while (key_at(map, i) && key_at(map, i) != key)
		i = next(map, i);
	return i;
}

/* The record of a key, or NULL. */
void *pyobjmem_map_find(const struct pyobjmem_map *map, uint64_t key)
{
	size_t i;

	if (!map->used || !key)
		return NULL;
	i = search(map, key);
	return key_at(map, i) ? record_at(map, i) : NULL;
}

static int resize(struct pyobjmem_map *map, size_t size)
{
	struct pyobjmem_map new = *map;
	size_t i;

	if (size > SIZE_MAX / map->record_size)
		return -ENOMEM;
	new.size = size;
	new.records = pyobjmem_sys_alloc(size * map->record_size);
	if (!new.records)
		return -ENOMEM;
	for (i = 0; i < map->size; i++)
		if (key_at(map, i))
			memcpy(record_at(&new, search(&new, key_at(map, i))), record_at(map, i),
			       map->record_size);
	free(map->records);
	*map = new;
	return 0;
}

/* Make sure that @n more records can be entered. */
int pyobjmem_map_reserve(struct pyobjmem_map *map, size_t n)
{
	size_t wanted = map->used + map->reserved + n;
	size_t size = map->size ? map->size : SIZE_MIN;

	if (!n)
		return 0;
	while (size / 4 * 3 < wanted) {
		if (size > SIZE_MAX / 2)
			return -ENOMEM;
		size *= 2;
	}
	if (size != map->size && resize(map, size) < 0)
		return -ENOMEM;
	map->reserved += n;
	return 0;
}

void pyobjmem_map_unreserve(struct pyobjmem_map *map, size_t n)
{
	map->reserved -= n;
}

/* The record of a key. If there is none, a new one, for which room was reserved. */
void *pyobjmem_map_enter(struct pyobjmem_map *map, uint64_t key)
{
	size_t i = search(map, key);
	void *record = record_at(map, i);

	if (!key_at(map, i)) {
		memset(record, 0, map->record_size);
		*(uint64_t *)record = key;
		map->used++;
	}
	return record;
}

/* Remove a record, and move up those behind it that were kept from their places. */
void pyobjmem_map_remove(struct pyobjmem_map *map, void *record)
{
	size_t gap = (size_t)((char *)record - map->records) / map->record_size;
	size_t i, mask = map->size - 1;

	for (i = next(map, gap); key_at(map, i); i = next(map, i)) {
		size_t distance = (i - home(map, key_at(map, i))) & mask;

		if (distance < ((i - gap) & mask))
			continue;
		memcpy(record_at(map, gap), record_at(map, i), map->record_size);
		gap = i;
	}
	*(uint64_t *)record_at(map, gap) = 0;
	map->used--;
	/* Give memory back; that it cannot be had for a smaller map is no harm. */
	if (map->size > SIZE_MIN && map->used + map->reserved < map->size / 8)
		resize(map, map->size / 2);
}

/* Forget everything; what is reserved stays so. */
void pyobjmem_map_clear(struct pyobjmem_map *map)
{
	if (map->used)
		memset(map->records, 0, map->size * map->record_size);
	map->used = 0;
}

void pyobjmem_map_destroy(struct pyobjmem_map *map)
{
	free(map->records);
}
