// SPDX-License-Identifier: GPL-2.0
/*
 * Counting: what INSPECT says of an object follows from who holds it, which
 * slots name it, and nothing else; and with the last of them it goes.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

FIXTURE(counts)
{
	struct test_heap heap;
	int session;
	int other;
};

FIXTURE_SETUP(counts)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->other);
}

FIXTURE_TEARDOWN(counts)
{
	EXPECT_VERIFIED(self->heap.number);
	close(self->other);
	EXPECT_CLEAN_END(&self->heap);
}

#define ASSERT_COUNTS(handle, external, internal, takes) do {			\
	struct pyobjmem_inspect __inspect;					\
										\
	ASSERT_EQ(0, object_inspect(self->session, handle, &__inspect));	\
	ASSERT_EQ(external, __inspect.out_external);				\
	ASSERT_EQ(internal, __inspect.out_internal);				\
	ASSERT_EQ(takes, __inspect.out_takes);					\
} while (0)

/* Let the other session hold it too. */
static void share(struct __test_metadata *_metadata, FIXTURE_DATA(counts) *self, __u64 handle)
{
	__u64 seen;

	ASSERT_EQ(0, root_set(self->session, 0, handle, NULL));
	ASSERT_EQ(0, root_get(self->other, 0, &seen));
	ASSERT_EQ(handle, seen);
	ASSERT_EQ(0, root_set(self->session, 0, 0, NULL));
}

TEST_F(counts, create_gives_one_take)
{
	__u64 handle;

	ASSERT_EQ(0, container_create(self->session, 1, &handle));
	ASSERT_NE(0, handle);
	ASSERT_NE(0, handle >> 32);
	ASSERT_COUNTS(handle, 1, 0, 1);
	EXPECT_EQ(1, stats_holds(self->session));
	EXPECT_EQ(0, stats_holds(self->other));
}

TEST_F(counts, a_session_counts_once_however_often_it_takes)
{
	__u64 handle;
	unsigned int i;

	ASSERT_EQ(0, container_create(self->session, 1, &handle));
	for (i = 2; i <= 1000; i++) {
		ASSERT_EQ(0, object_get(self->session, handle));
		if (i % 100 == 0)
			ASSERT_COUNTS(handle, 1, 0, i);
	}
	EXPECT_EQ(1, stats_holds(self->session));
	while (--i) {
		ASSERT_EQ(1, stats_objects(self->session));
		ASSERT_EQ(0, object_put(self->session, handle));
	}
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(0, stats_holds(self->session));
	EXPECT_EQ(-ESTALE, object_put(self->session, handle));
}

TEST_F(counts, each_session_counts_once)
{
	int sessions[10];
	__u64 handle;
	size_t i;

	ASSERT_EQ(0, container_create(self->session, 1, &handle));
	ASSERT_EQ(0, root_set(self->session, 3, handle, NULL));
	ASSERT_COUNTS(handle, 2, 0, 1);
	for (i = 0; i < ARRAY_SIZE(sessions); i++) {
		sessions[i] = test_heap_join(&self->heap);
		ASSERT_LE(0, sessions[i]);
		ASSERT_EQ(0, root_get(sessions[i], 3, NULL));
		ASSERT_EQ(0, object_get(sessions[i], handle));
		ASSERT_COUNTS(handle, 3 + i, 0, 1);
	}
	for (i = 0; i < ARRAY_SIZE(sessions); i++) {
		ASSERT_EQ(0, object_put(sessions[i], handle));
		ASSERT_COUNTS(handle, 12 - i, 0, 1);
		ASSERT_EQ(0, object_put(sessions[i], handle));
		ASSERT_COUNTS(handle, 11 - i, 0, 1);
		ASSERT_EQ(-ENOENT, object_put(sessions[i], handle));
		close(sessions[i]);
	}
}

TEST_F(counts, one_session_cannot_give_back_what_another_holds)
{
	__u64 handle;

	ASSERT_EQ(0, container_create(self->session, 1, &handle));
	share(_metadata, self, handle);
	ASSERT_COUNTS(handle, 2, 0, 1);
	ASSERT_EQ(0, object_put(self->other, handle));
	ASSERT_EQ(-ENOENT, object_put(self->other, handle));
	ASSERT_COUNTS(handle, 1, 0, 1);
}

TEST_F(counts, the_last_holder_frees)
{
	__u64 handle;

	ASSERT_EQ(0, container_create(self->session, 1, &handle));
	share(_metadata, self, handle);
	ASSERT_EQ(0, object_put(self->session, handle));
	EXPECT_EQ(-ENOENT, object_put(self->session, handle));
	EXPECT_EQ(1, stats_objects(self->session));
	ASSERT_EQ(0, object_put(self->other, handle));
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(1, stats_freed_counted(self->session));
	EXPECT_EQ(-ESTALE, object_put(self->session, handle));
	EXPECT_EQ(-ESTALE, object_put(self->other, handle));
}

/* Slots */

TEST_F(counts, each_slot_counts)
{
	__u64 target, source;
	unsigned int i;

	ASSERT_EQ(0, container_create(self->session, 0, &target));
	ASSERT_EQ(0, container_create(self->session, 8, &source));
	for (i = 0; i < 8; i++) {
		__u64 old = 1;

		ASSERT_EQ(0, ref_set(self->session, source, i, target, &old));
		ASSERT_EQ(0, old);
		ASSERT_COUNTS(target, 1, i + 1, 1);
	}
	for (i = 0; i < 8; i++) {
		__u64 old = 1;

		ASSERT_EQ(0, ref_set(self->session, source, i, 0, &old));
		ASSERT_EQ(target, old);
		ASSERT_COUNTS(target, 1, 7 - i, 1);
	}
	ASSERT_COUNTS(source, 1, 0, 1);
}

TEST_F(counts, a_slot_keeps_alive)
{
	__u64 target, source, seen;

	ASSERT_EQ(0, container_create(self->session, 0, &target));
	ASSERT_EQ(0, container_create(self->session, 1, &source));
	ASSERT_EQ(0, ref_set(self->session, source, 0, target, NULL));
	ASSERT_EQ(0, object_put(self->session, target));
	EXPECT_EQ(2, stats_objects(self->session));
	EXPECT_EQ(-ENOENT, object_get(self->session, target));

	/* GET_REF gives a hold to whoever holds the object with the slot. */
	ASSERT_EQ(0, ref_get(self->session, source, 0, &seen));
	ASSERT_EQ(target, seen);
	ASSERT_COUNTS(target, 1, 1, 1);
	ASSERT_EQ(0, ref_get(self->session, source, 0, NULL));
	ASSERT_COUNTS(target, 1, 1, 2);
	ASSERT_EQ(0, object_put(self->session, target));
	ASSERT_EQ(0, object_put(self->session, target));
	EXPECT_EQ(2, stats_objects(self->session));
	ASSERT_EQ(0, object_put(self->session, source));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(counts, get_ref_of_an_empty_slot_takes_nothing)
{
	__u64 source, seen = 1;

	ASSERT_EQ(0, container_create(self->session, 2, &source));
	ASSERT_EQ(0, ref_get(self->session, source, 1, &seen));
	EXPECT_EQ(0, seen);
	EXPECT_EQ(1, stats_holds(self->session));
}

TEST_F(counts, set_ref_drops_what_was_there)
{
	__u64 first, second, source, old;

	ASSERT_EQ(0, container_create(self->session, 0, &first));
	ASSERT_EQ(0, container_create(self->session, 0, &second));
	ASSERT_EQ(0, container_create(self->session, 1, &source));
	ASSERT_EQ(0, ref_set(self->session, source, 0, first, NULL));
	ASSERT_EQ(0, object_put(self->session, first));
	ASSERT_EQ(0, ref_set(self->session, source, 0, second, &old));
	EXPECT_EQ(first, old);
	EXPECT_EQ(2, stats_objects(self->session));
	EXPECT_EQ(-ESTALE, object_get(self->session, old));
	ASSERT_COUNTS(second, 1, 1, 1);
}

TEST_F(counts, set_ref_to_what_is_there_already)
{
	__u64 target, source, old;

	ASSERT_EQ(0, container_create(self->session, 0, &target));
	ASSERT_EQ(0, container_create(self->session, 1, &source));
	ASSERT_EQ(0, ref_set(self->session, source, 0, target, NULL));
	ASSERT_EQ(0, ref_set(self->session, source, 0, target, &old));
	EXPECT_EQ(target, old);
	ASSERT_COUNTS(target, 1, 1, 1);
	ASSERT_EQ(0, ref_set(self->session, source, 0, 0, NULL));
	ASSERT_EQ(0, ref_set(self->session, source, 0, 0, &old));
	EXPECT_EQ(0, old);
	ASSERT_COUNTS(target, 1, 0, 1);
}

TEST_F(counts, set_ref_compare_sets_if_equal)
{
	__u64 first, second, source, old = 1;

	ASSERT_EQ(0, container_create(self->session, 0, &first));
	ASSERT_EQ(0, container_create(self->session, 0, &second));
	ASSERT_EQ(0, container_create(self->session, 1, &source));
	ASSERT_EQ(0, ref_compare_set(self->session, source, 0, 0, first, &old));
	EXPECT_EQ(0, old);
	ASSERT_EQ(0, ref_compare_set(self->session, source, 0, first, second, &old));
	EXPECT_EQ(first, old);
	ASSERT_COUNTS(first, 1, 0, 1);
	ASSERT_COUNTS(second, 1, 1, 1);
	ASSERT_EQ(0, ref_compare_set(self->session, source, 0, second, 0, &old));
	EXPECT_EQ(second, old);
	ASSERT_COUNTS(second, 1, 0, 1);
}

TEST_F(counts, set_ref_compare_leaves_the_counts_if_not_equal)
{
	__u64 first, second, source, old = 1;

	ASSERT_EQ(0, container_create(self->session, 0, &first));
	ASSERT_EQ(0, container_create(self->session, 0, &second));
	ASSERT_EQ(0, container_create(self->session, 1, &source));
	ASSERT_EQ(0, ref_set(self->session, source, 0, first, NULL));
	ASSERT_EQ(-ECANCELED, ref_compare_set(self->session, source, 0, second, second, &old));
	EXPECT_EQ(first, old);
	ASSERT_EQ(-ECANCELED, ref_compare_set(self->session, source, 0, 0, second, &old));
	EXPECT_EQ(first, old);
	ASSERT_COUNTS(first, 1, 1, 1);
	ASSERT_COUNTS(second, 1, 0, 1);
}

TEST_F(counts, an_object_may_name_itself)
{
	__u64 self_named;

	ASSERT_EQ(0, container_create(self->session, 3, &self_named));
	ASSERT_EQ(0, ref_set(self->session, self_named, 0, self_named, NULL));
	ASSERT_EQ(0, ref_set(self->session, self_named, 2, self_named, NULL));
	ASSERT_COUNTS(self_named, 1, 2, 1);
	ASSERT_EQ(0, ref_set(self->session, self_named, 0, 0, NULL));
	ASSERT_COUNTS(self_named, 1, 1, 1);
	ASSERT_EQ(0, ref_set(self->session, self_named, 2, 0, NULL));
	ASSERT_EQ(0, object_put(self->session, self_named));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(counts, initial_edges_count)
{
	__u64 target[3], edges[7], seen[7], source;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(target); i++)
		ASSERT_EQ(0, container_create(self->session, 0, &target[i]));
	edges[0] = target[0];
	edges[1] = 0;
	edges[2] = target[1];
	edges[3] = target[1];
	edges[4] = target[2];
	edges[5] = target[1];
	edges[6] = 0;
	ASSERT_EQ(0, object_create(self->session, 0, "x", 1, edges, 7, &source));
	ASSERT_COUNTS(target[0], 1, 1, 1);
	ASSERT_COUNTS(target[1], 1, 3, 1);
	ASSERT_COUNTS(target[2], 1, 1, 1);
	ASSERT_COUNTS(source, 1, 0, 1);
	ASSERT_EQ(0, object_edges(self->session, source, seen, 7, NULL));
	EXPECT_EQ(0, memcmp(edges, seen, sizeof(edges)));
	for (i = 0; i < ARRAY_SIZE(target); i++)
		ASSERT_EQ(0, object_put(self->session, target[i]));
	EXPECT_EQ(4, stats_objects(self->session));
	ASSERT_EQ(0, object_put(self->session, source));
	EXPECT_EQ(0, stats_objects(self->session));
}

/* One bad edge at any place, and none of the others was counted. */
TEST_F(counts, a_bad_initial_edge_leaves_the_others_uncounted)
{
	static const unsigned int sizes[] = { 1, 5, 300, 1000 };
	__u64 target, dead, unheld, edges[1000];
	unsigned int i, n, at;

	ASSERT_EQ(0, container_create(self->session, 0, &target));
	ASSERT_EQ(0, container_create(self->other, 0, &unheld));
	ASSERT_EQ(0, container_create(self->session, 0, &dead));
	ASSERT_EQ(0, object_put(self->session, dead));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (n = 0; n < sizes[i]; n++)
			edges[n] = target;
		for (at = 0; at < sizes[i]; at += 1 + sizes[i] / 7) {
			edges[at] = dead;
			ASSERT_EQ(-ESTALE, object_create(self->session, 0, NULL, 8, edges,
							 sizes[i], NULL));
			edges[at] = unheld;
			ASSERT_EQ(-ENOENT, object_create(self->session, 0, NULL, 8, edges,
							 sizes[i], NULL));
			edges[at] = target;
			ASSERT_COUNTS(target, 1, 0, 1);
		}
		edges[sizes[i] - 1] = unheld;
		ASSERT_EQ(-ENOENT, object_create(self->session, 0, NULL, 8, edges, sizes[i],
						 NULL));
		ASSERT_COUNTS(target, 1, 0, 1);
	}
	EXPECT_EQ(2, stats_objects(self->session));
	EXPECT_EQ(0, stats_candidates(self->session));
}

/* INSPECT writes as many edges as there is room for, and not one more. */
TEST_F(counts, inspect_writes_what_fits)
{
	__u64 target, source, edges[6], seen[8];
	struct pyobjmem_inspect inspect;
	unsigned int capacity, i;

	ASSERT_EQ(0, container_create(self->session, 0, &target));
	for (i = 0; i < 6; i++)
		edges[i] = i % 2 ? target : 0;
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 20, edges, 6, &source));
	for (capacity = 0; capacity <= 8; capacity++) {
		memset(seen, 0xee, sizeof(seen));
		ASSERT_EQ(0, object_edges(self->session, source, seen, capacity, &inspect));
		EXPECT_EQ(6, inspect.out_slots);
		EXPECT_EQ(20, inspect.out_payload);
		i = capacity < 6 ? capacity : 6;
		EXPECT_EQ(0, memcmp(edges, seen, i * sizeof(__u64)));
		EXPECT_TRUE(all_bytes(seen + i, sizeof(seen) - i * sizeof(__u64), 0xee));
	}
	/* Without room nothing is written, whatever the capacity says. */
	ASSERT_EQ(0, object_edges(self->session, source, NULL, 0, &inspect));
	EXPECT_EQ(6, inspect.out_slots);
}

/* Cascades */

TEST_F(counts, a_tree_goes_with_its_root)
{
	__u64 level[64], up[2], handle;
	unsigned int i, width;

	for (i = 0; i < 64; i++)
		ASSERT_EQ(0, container_create(self->session, 0, &level[i]));
	for (width = 32; width; width /= 2)
		for (i = 0; i < width; i++) {
			up[0] = level[2 * i];
			up[1] = level[2 * i + 1];
			ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, up, 2, &handle));
			ASSERT_EQ(0, object_put(self->session, up[0]));
			ASSERT_EQ(0, object_put(self->session, up[1]));
			level[i] = handle;
		}
	EXPECT_EQ(127, stats_objects(self->session));
	EXPECT_EQ(1, stats_holds(self->session));
	ASSERT_EQ(0, object_put(self->session, level[0]));
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(127, stats_freed_counted(self->session));
}

TEST_F(counts, a_shared_leaf_goes_with_the_last_that_names_it)
{
	__u64 leaf, parent[100];
	size_t i;

	ASSERT_EQ(0, container_create(self->session, 0, &leaf));
	for (i = 0; i < ARRAY_SIZE(parent); i++)
		ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, &leaf, 1, &parent[i]));
	ASSERT_COUNTS(leaf, 1, ARRAY_SIZE(parent), 1);
	ASSERT_EQ(0, object_put(self->session, leaf));
	for (i = 0; i < ARRAY_SIZE(parent); i++) {
		EXPECT_EQ(1 + ARRAY_SIZE(parent) - i, stats_objects(self->session));
		ASSERT_EQ(0, object_put(self->session, parent[i]));
	}
	EXPECT_EQ(0, stats_objects(self->session));
}

/* What another session holds stays, in the middle of a chain that goes. */
TEST_F(counts, a_cascade_stops_at_what_is_held)
{
	__u64 chain[100];
	size_t i;

	ASSERT_EQ(0, container_create(self->session, 1, &chain[0]));
	for (i = 1; i < ARRAY_SIZE(chain); i++)
		ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, &chain[i - 1], 1,
					   &chain[i]));
	share(_metadata, self, chain[49]);
	for (i = 0; i < ARRAY_SIZE(chain) - 1; i++)
		ASSERT_EQ(0, object_put(self->session, chain[i]));
	ASSERT_EQ(100, stats_objects(self->session));
	ASSERT_EQ(0, object_put(self->session, chain[99]));
	EXPECT_EQ(50, stats_objects(self->session));
	ASSERT_EQ(0, object_put(self->other, chain[49]));
	EXPECT_EQ(0, stats_objects(self->session));
}

/* Many holds, given back in another order: the table of holds stays right. */
TEST_F(counts, many_holds_in_random_order)
{
	const unsigned int count = 20000;
	__u64 *handle = calloc(count, sizeof(*handle)), swap;
	__u64 seed = random_seed();
	unsigned int i, j;

	TH_LOG("seed %#llx", (unsigned long long)seed);
	for (i = 0; i < count; i++)
		ASSERT_EQ(0, container_create(self->session, 0, &handle[i]));
	for (i = count - 1; i; i--) {
		j = random_below(&seed, i + 1);
		swap = handle[i];
		handle[i] = handle[j];
		handle[j] = swap;
	}
	for (i = 0; i < count; i += 3)
		ASSERT_EQ(0, object_get(self->session, handle[i]));
	EXPECT_EQ(count, stats_holds(self->session));
	for (i = 0; i < count; i++)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	for (i = 0; i < count; i++)
		ASSERT_EQ(i % 3 ? -ESTALE : 0, object_put(self->session, handle[i])) {
			TH_LOG("object %u", i);
		}
	EXPECT_EQ(0, stats_holds(self->session));
	EXPECT_EQ(0, stats_objects(self->session));
	free(handle);
}

/* The two together: created = alive + freed. */
TEST_F(counts, created_and_freed_are_counted)
{
	struct pyobjmem_stats stats;
	__u64 handle;
	unsigned int i;

	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &handle));
		if (i % 2)
			ASSERT_EQ(0, ref_set(self->session, handle, 0, handle, NULL));
		ASSERT_EQ(0, object_put(self->session, handle));
	}
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(100, stats.out_created);
	EXPECT_EQ(50, stats.out_objects);
	EXPECT_EQ(50, stats.out_freed_counted);
	EXPECT_EQ(0, stats.out_freed_collected);
	EXPECT_EQ(50, stats.out_candidates);
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(0, stats.out_objects);
	EXPECT_EQ(50, stats.out_freed_counted);
	EXPECT_EQ(50, stats.out_freed_collected);
	EXPECT_EQ(0, stats.out_candidates);
}

TEST_HARNESS_MAIN
