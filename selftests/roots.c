// SPDX-License-Identifier: GPL-2.0
/*
 * Roots: 64 places of a heap that keep an object each and let every session of
 * the heap find it.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

FIXTURE(roots)
{
	struct test_heap heap;
	int session;
	int other;
	__u64 object;
};

FIXTURE_SETUP(roots)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, object_create(self->session, 0, "root", 5, NULL, 1, &self->object));
}

FIXTURE_TEARDOWN(roots)
{
	EXPECT_VERIFIED(self->heap.number);
	close(self->other);
	EXPECT_CLEAN_END(&self->heap);
}

static __u32 external(int session, __u64 handle)
{
	struct pyobjmem_inspect inspect;

	return object_inspect(session, handle, &inspect) ? ~0U : inspect.out_external;
}

TEST_F(roots, are_empty_at_first)
{
	__u64 seen;
	__u32 i;

	for (i = 0; i < PYOBJMEM_ROOTS; i++) {
		seen = 1;
		ASSERT_EQ(0, root_get(self->other, i, &seen));
		EXPECT_EQ(0, seen);
	}
	EXPECT_EQ(0, stats_holds(self->other));
}

TEST_F(roots, each_names_its_own)
{
	__u64 handle[PYOBJMEM_ROOTS], seen;
	__u32 i;

	for (i = 0; i < PYOBJMEM_ROOTS; i++) {
		ASSERT_EQ(0, container_create(self->session, 0, &handle[i]));
		ASSERT_EQ(0, root_set(self->session, i, handle[i], &seen));
		ASSERT_EQ(0, seen);
	}
	for (i = 0; i < PYOBJMEM_ROOTS; i++) {
		ASSERT_EQ(0, root_get(self->other, i, &seen));
		ASSERT_EQ(handle[i], seen);
		ASSERT_EQ(3, external(self->session, handle[i]));
	}
	EXPECT_EQ(PYOBJMEM_ROOTS, stats_holds(self->other));
}

TEST_F(roots, of_one_object_count_each)
{
	__u32 i;

	for (i = 0; i < PYOBJMEM_ROOTS; i++) {
		ASSERT_EQ(0, root_set(self->session, i, self->object, NULL));
		ASSERT_EQ(2 + i, external(self->session, self->object));
	}
	for (i = 0; i < PYOBJMEM_ROOTS; i++) {
		ASSERT_EQ(0, root_set(self->session, i, 0, NULL));
		ASSERT_EQ(PYOBJMEM_ROOTS - i, external(self->session, self->object));
	}
}

TEST_F(roots, tell_what_they_named)
{
	__u64 second, old = 1;

	ASSERT_EQ(0, container_create(self->session, 0, &second));
	ASSERT_EQ(0, root_set(self->session, 7, self->object, &old));
	EXPECT_EQ(0, old);
	ASSERT_EQ(0, root_set(self->session, 7, second, &old));
	EXPECT_EQ(self->object, old);
	EXPECT_EQ(1, external(self->session, self->object));
	EXPECT_EQ(2, external(self->session, second));
	ASSERT_EQ(0, root_set(self->session, 7, 0, &old));
	EXPECT_EQ(second, old);
	ASSERT_EQ(0, root_set(self->session, 7, 0, &old));
	EXPECT_EQ(0, old);
}

TEST_F(roots, may_be_set_to_what_they_name)
{
	__u64 old;

	ASSERT_EQ(0, root_set(self->session, 7, self->object, NULL));
	ASSERT_EQ(0, root_set(self->session, 7, self->object, &old));
	EXPECT_EQ(self->object, old);
	EXPECT_EQ(2, external(self->session, self->object));
}

TEST_F(roots, keep_alive)
{
	__u64 seen;
	char text[8];

	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EQ(1, stats_objects(self->session));
	EXPECT_EQ(-ENOENT, object_get(self->session, self->object));
	ASSERT_EQ(0, root_get(self->session, 0, &seen));
	EXPECT_EQ(self->object, seen);
	ASSERT_EQ(5, object_read(self->session, seen, 0, text, sizeof(text)));
	EXPECT_STREQ("root", text);
	ASSERT_EQ(0, object_put(self->session, seen));
	ASSERT_EQ(0, root_set(self->session, 0, 0, NULL));
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(1, stats_freed_counted(self->session));
}

/* Whoever replaces the last reference frees, holder or not. */
TEST_F(roots, can_be_cleared_by_any_session)
{
	__u64 old;

	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, root_set(self->other, 0, 0, &old));
	EXPECT_EQ(self->object, old);
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(roots, give_a_take_each_time)
{
	struct pyobjmem_inspect inspect;
	int i;

	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	for (i = 1; i <= 5; i++) {
		ASSERT_EQ(0, root_get(self->other, 0, NULL));
		ASSERT_EQ(0, object_inspect(self->other, self->object, &inspect));
		EXPECT_EQ(i, inspect.out_takes);
		EXPECT_EQ(3, inspect.out_external);
	}
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, object_put(self->other, self->object));
	EXPECT_EQ(-ENOENT, object_put(self->other, self->object));
}

/* The graph waits in the heap for the next one to join. */
TEST_F(roots, outlive_all_sessions)
{
	__u64 child, seen, below;
	char text[8];

	ASSERT_EQ(0, container_create(self->session, 0, &child));
	ASSERT_EQ(0, ref_set(self->session, self->object, 0, child, NULL));
	ASSERT_EQ(0, root_set(self->session, 63, self->object, NULL));
	close(self->other);
	close(self->session);
	self->heap.session = test_heap_join(&self->heap);
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->heap.session);
	EXPECT_EQ(2, stats_objects(self->heap.session));
	EXPECT_EQ(0, stats_holds(self->heap.session));
	EXPECT_EQ(-ENOENT, object_get(self->heap.session, self->object));
	ASSERT_EQ(0, root_get(self->heap.session, 63, &seen));
	EXPECT_EQ(self->object, seen);
	ASSERT_EQ(0, ref_get(self->heap.session, seen, 0, &below));
	EXPECT_EQ(child, below);
	ASSERT_EQ(5, object_read(self->heap.session, seen, 0, text, sizeof(text)));
	EXPECT_STREQ("root", text);
}

/* A root is a reference like others: what it names is no garbage. */
TEST_F(roots, keep_cycles_from_the_collector)
{
	struct pyobjmem_collect collect;

	ASSERT_EQ(0, ref_set(self->session, self->object, 0, self->object, NULL));
	ASSERT_EQ(0, root_set(self->session, 1, self->object, NULL));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(0, collect.out_collected);
	EXPECT_EQ(1, stats_objects(self->session));
	ASSERT_EQ(0, root_set(self->session, 1, 0, NULL));
	EXPECT_EQ(1, stats_objects(self->session));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(1, collect.out_collected);
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(roots, of_two_heaps_are_apart)
{
	struct test_heap stranger;
	__u64 seen;

	ASSERT_EQ(0, test_heap_open(&stranger, 0));
	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	ASSERT_EQ(0, root_get(stranger.session, 0, &seen));
	EXPECT_EQ(0, seen);
	EXPECT_CLEAN_END(&stranger);
}

TEST_HARNESS_MAIN
