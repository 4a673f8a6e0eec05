// SPDX-License-Identifier: MIT
/*
 * The table of what a session holds.
 */
#include <errno.h>

#include "unit.h"

static void enter(struct pyobjmem_map *table, uint64_t handle)
{
	CHECK_EQUAL(0, pyobjmem_map_reserve(table, 1));
	pyobjmem_table_add(table, handle);
	pyobjmem_map_unreserve(table, 1);
}

static void table_counts(void)
{
	struct pyobjmem_map table = MAP_OF(struct pyobjmem_entry);

	CHECK_EQUAL(-ENOENT, pyobjmem_table_get(&table, 5));
	CHECK_EQUAL(-ENOENT, pyobjmem_table_put(&table, 5));
	enter(&table, 5);
	CHECK_EQUAL(0, pyobjmem_table_get(&table, 5));
	CHECK_EQUAL(2, pyobjmem_table_count(&table, 5));
	CHECK_EQUAL(0, pyobjmem_table_put(&table, 5));
	CHECK_EQUAL(1, pyobjmem_table_put(&table, 5));
	CHECK_EQUAL(-ENOENT, pyobjmem_table_put(&table, 5));
	CHECK_EQUAL(0, pyobjmem_table_count(&table, 5));
	CHECK_EQUAL(-ENOENT, pyobjmem_table_put(&table, PYOBJMEM_NONE));
	pyobjmem_map_destroy(&table);
}

static void table_gathers_takes(void)
{
	struct pyobjmem_map table = MAP_OF(struct pyobjmem_entry);
	unsigned int i;

	CHECK_EQUAL(0, pyobjmem_map_reserve(&table, 1));
	for (i = 1; i < TAKES_MAX; i++)
		CHECK_EQUAL(0, pyobjmem_table_add(&table, 9));
	/* 31 are in the table; the next one makes all but one superfluous. */
	CHECK_EQUAL(TAKES_MAX - 1, pyobjmem_table_add(&table, 9));
	CHECK_EQUAL(TAKES_MAX, pyobjmem_table_count(&table, 9));
	for (i = 1; i < TAKES_MAX; i++)
		CHECK_EQUAL(0, pyobjmem_table_put(&table, 9));
	CHECK_EQUAL(1, pyobjmem_table_put(&table, 9));

	for (i = 0; i < 3; i++)
		CHECK_EQUAL(0, pyobjmem_table_add(&table, 9));
	CHECK_EQUAL(0, pyobjmem_table_put(&table, 9));
	CHECK_EQUAL(0, pyobjmem_table_put(&table, 9));
	CHECK_EQUAL(3, pyobjmem_table_put(&table, 9));
	pyobjmem_map_destroy(&table);
}

/* Against plain arrays; handles that collide, growth and shrinking included. */
static void table_random(void)
{
	enum { HANDLES = 3000, STEPS = 400000 };
	static unsigned int count[HANDLES];
	static unsigned int takes[HANDLES];
	struct pyobjmem_map table = MAP_OF(struct pyobjmem_entry);
	uint64_t seed = 42, handle;
	unsigned int i, k, surplus;
	int result;

	for (i = 0; i < STEPS; i++) {
		/* Times of many entries and of few take turns. */
		bool grow = (i / 20000) % 2 == 0;

		k = (unsigned int)(random_next(&seed) % HANDLES);
		handle = (uint64_t)(k % 3 + 1) << 32 | (k + 1);
		switch ((random_next(&seed) >> 20) % (grow ? 3 : 8)) {
		case 0:
		case 1:
			CHECK_EQUAL(0, pyobjmem_map_reserve(&table, 1));
			surplus = pyobjmem_table_add(&table, handle);
			pyobjmem_map_unreserve(&table, 1);
			count[k]++;
			takes[k]++;
			CHECK(surplus < takes[k]);
			takes[k] -= surplus;
			CHECK(takes[k] < TAKES_MAX);
			break;
		case 2:
			result = pyobjmem_table_get(&table, handle);
			CHECK_EQUAL(count[k] ? 0 : -ENOENT, result);
			if (!result)
				count[k]++;
			break;
		default:
			result = pyobjmem_table_put(&table, handle);
			if (!count[k]) {
				CHECK_EQUAL(-ENOENT, result);
				break;
			}
			count[k]--;
			CHECK_EQUAL(count[k] ? 0 : takes[k], result);
			if (!count[k])
				takes[k] = 0;
		}
		CHECK_EQUAL(count[k], pyobjmem_table_count(&table, handle));
		if (unit_failed)
			break;
	}
	for (k = 0; k < HANDLES; k++) {
		handle = (uint64_t)(k % 3 + 1) << 32 | (k + 1);
		CHECK_EQUAL(count[k], pyobjmem_table_count(&table, handle));
		while (count[k]--)
			pyobjmem_table_put(&table, handle);
	}
	CHECK_EQUAL(0, table.used);
	CHECK(table.size <= 128);
	pyobjmem_map_destroy(&table);
}

static void table_reservation_holds(void)
{
	struct pyobjmem_map table = MAP_OF(struct pyobjmem_entry);
	unsigned int i;

	fake_reset();
	CHECK_EQUAL(0, pyobjmem_map_reserve(&table, 500));
	fake_fail_alloc(0);
	CHECK_EQUAL(-ENOMEM, pyobjmem_map_reserve(&table, 500));
	CHECK_EQUAL(500, table.reserved);
	fake_fail_alloc(0);
	for (i = 1; i <= 500; i++)
		pyobjmem_table_add(&table, i);
	/* Not even the shrinking that was tried takes room away that is reserved. */
	for (i = 1; i <= 500; i++)
		CHECK_EQUAL(1, pyobjmem_table_put(&table, i));
	for (i = 1; i <= 500; i++)
		pyobjmem_table_add(&table, i);
	CHECK_EQUAL(500, table.used);
	pyobjmem_map_destroy(&table);
}

const struct test table_tests[] = {
	TEST(table_counts),
	TEST(table_gathers_takes),
	TEST(table_random),
	TEST(table_reservation_holds),
	{ 0 },
};
