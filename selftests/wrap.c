// SPDX-License-Identifier: GPL-2.0
/*
 * The ends of 32-bit ranges: generations of places, and birth epochs. They come
 * after 2^32 objects in one place and 2^32 collections; the module's parameters
 * first_generation and first_epoch let both begin just before.
 *
 * Load the module with first_generation=0xfffffff0 first_epoch=0xfffffff0.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#define NEAR_THE_END	0xffff0000U

FIXTURE(wrap)
{
	struct test_heap heap;
	int session;
	__u64 first_generation, first_epoch;
};

FIXTURE_SETUP(wrap)
{
	ASSERT_EQ(0, parameter_read("first_generation", &self->first_generation));
	ASSERT_EQ(0, parameter_read("first_epoch", &self->first_epoch));
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
}

FIXTURE_TEARDOWN(wrap)
{
	EXPECT_CLEAN_END(&self->heap);
}

static int compare_u64(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

/* No handle twice, none with a generation of 0. */
static void assert_unique(struct __test_metadata *_metadata, __u64 *handles, size_t count)
{
	size_t i;

	qsort(handles, count, sizeof(*handles), compare_u64);
	for (i = 0; i < count; i++) {
		ASSERT_NE(0, handles[i] >> 32);
		if (i)
			ASSERT_NE(handles[i - 1], handles[i]);
	}
}

/* Blocks whose place has no generation left are not used again. */
static void use_up(struct __test_metadata *_metadata, FIXTURE_DATA(wrap) *self, __u32 size,
		   bool collect)
{
	const size_t count = 6000;
	__u64 *handles = calloc(count, sizeof(*handles));
	struct pyobjmem_stats stats;
	size_t i;

	for (i = 0; i < count; i++) {
		ASSERT_EQ(0, object_create(self->session, 0, "wrap", 4, NULL, size / 8,
					   &handles[i]));
		ASSERT_EQ(0, object_put(self->session, handles[i]));
		ASSERT_EQ(-ESTALE, object_get(self->session, handles[i]));
		if (collect && i % 16 == 0)
			ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
		if (i % 500 == 0)
			ASSERT_VERIFIED(self->heap.number);
	}
	/* All of them stay dead. */
	for (i = 0; i < count; i += 7)
		ASSERT_EQ(-ESTALE, object_get(self->session, handles[i]));
	assert_unique(_metadata, handles, count);
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(0, stats.out_objects);
	EXPECT_EQ(0, stats.out_arenas);
	EXPECT_EQ(0, stats.out_page_bytes);
	EXPECT_TRUE(stats_bytes_add_up(&stats));
	free(handles);
}

TEST_F(wrap, generations_of_small_blocks)
{
	if (self->first_generation < NEAR_THE_END)
		SKIP(return, "the module was not loaded with first_generation=0xfffffff0");
	use_up(_metadata, self, 48, false);
}

TEST_F(wrap, generations_of_small_blocks_whose_arenas_go)
{
	if (self->first_generation < NEAR_THE_END)
		SKIP(return, "the module was not loaded with first_generation=0xfffffff0");
	use_up(_metadata, self, 96, true);
}

TEST_F(wrap, generations_of_large_blocks)
{
	if (self->first_generation < NEAR_THE_END)
		SKIP(return, "the module was not loaded with first_generation=0xfffffff0");
	use_up(_metadata, self, 2 * POOL_BYTES, false);
}

TEST_F(wrap, generations_of_blocks_of_arenas)
{
	__u64 handles[80];
	size_t i;

	if (self->first_generation < NEAR_THE_END)
		SKIP(return, "the module was not loaded with first_generation=0xfffffff0");
	for (i = 0; i < ARRAY_SIZE(handles); i++) {
		ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, NULL,
					   ARENA_BYTES, NULL, ARENA_BYTES / 8, &handles[i]));
		ASSERT_EQ(0, object_put(self->session, handles[i]));
	}
	assert_unique(_metadata, handles, ARRAY_SIZE(handles));
	EXPECT_EQ(0, stats_page_bytes(self->session));
}

/* Objects of a pool that live on while its place comes to its end. */
TEST_F(wrap, living_objects_in_a_place_that_has_come_to_its_end)
{
	__u64 handle[3000];
	char text[8];
	size_t i;

	if (self->first_generation < NEAR_THE_END)
		SKIP(return, "the module was not loaded with first_generation=0xfffffff0");
	for (i = 0; i < ARRAY_SIZE(handle); i++) {
		ASSERT_EQ(0, object_create(self->session, 0, &i, sizeof(i), NULL, 1, &handle[i]));
		if (i % 3 == 0)
			ASSERT_EQ(0, object_put(self->session, handle[i]));
	}
	for (i = 0; i < ARRAY_SIZE(handle); i++)
		ASSERT_EQ(i % 3 ? (ssize_t)sizeof(i) : -ESTALE,
			  object_read(self->session, handle[i], 0, text, sizeof(text)));
	ASSERT_VERIFIED(self->heap.number);
	for (i = 0; i < ARRAY_SIZE(handle); i++)
		if (i % 3)
			ASSERT_EQ(0, object_put(self->session, handle[i]));
	assert_unique(_metadata, handle, ARRAY_SIZE(handle));
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EQ(0, stats_arenas(self->session));
}

static __u32 generation_of(int session, __u64 handle)
{
	struct pyobjmem_inspect inspect;

	return object_inspect(session, handle, &inspect) ? ~0U : inspect.out_generation;
}

static void make_dead_pair(struct __test_metadata *_metadata, int session)
{
	__u64 a, b;

	ASSERT_EQ(0, container_create(session, 1, &a));
	ASSERT_EQ(0, object_create(session, 0, NULL, 8, &a, 1, &b));
	ASSERT_EQ(0, ref_set(session, a, 0, b, NULL));
	ASSERT_EQ(0, object_put(session, a));
	ASSERT_EQ(0, object_put(session, b));
}

/* Objects keep their generation across the end of the epochs. */
TEST_F(wrap, generations_across_the_end_of_the_epochs)
{
	__u64 frozen, old, middle, kept, young;
	struct pyobjmem_collect collect;
	unsigned int i;

	if (self->first_epoch < NEAR_THE_END)
		SKIP(return, "the module was not loaded with first_epoch=0xfffffff0");
	ASSERT_EQ(0, container_create(self->session, 1, &frozen));
	ASSERT_EQ(0, heap_freeze(self->session));
	ASSERT_EQ(0, container_create(self->session, 1, &old));
	make_dead_pair(_metadata, self->session);
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	ASSERT_EQ(2, collect.out_collected);
	ASSERT_EQ(0, container_create(self->session, 1, &kept));
	for (i = 0; i < 60; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &middle));
		make_dead_pair(_metadata, self->session);
		ASSERT_EQ(0, heap_collect(self->session, 0, &collect));
		ASSERT_EQ(2, collect.out_collected);
		ASSERT_EQ(0, container_create(self->session, 1, &young));
		ASSERT_EQ(0, generation_of(self->session, young));
		ASSERT_EQ(1, generation_of(self->session, middle));
		ASSERT_EQ(1, generation_of(self->session, kept));
		ASSERT_EQ(2, generation_of(self->session, old));
		ASSERT_EQ(PYOBJMEM_GENERATIONS, generation_of(self->session, frozen));
		ASSERT_EQ(1, stats_permanent(self->session));
		ASSERT_EQ(0, object_put(self->session, young));
		ASSERT_EQ(0, object_put(self->session, middle));
		ASSERT_VERIFIED(self->heap.number);
	}
	ASSERT_EQ(0, heap_unfreeze(self->session));
	EXPECT_EQ(2, generation_of(self->session, frozen));
	ASSERT_EQ(0, object_put(self->session, frozen));
	ASSERT_EQ(0, object_put(self->session, old));
	ASSERT_EQ(0, object_put(self->session, kept));
	EXPECT_EQ(0, stats_objects(self->session));
}

/* Garbage of each age is found in its time, on both sides of the end. */
TEST_F(wrap, old_garbage_across_the_end_of_the_epochs)
{
	struct pyobjmem_collect collect;
	unsigned int i;
	__u64 ring;

	if (self->first_epoch < NEAR_THE_END)
		SKIP(return, "the module was not loaded with first_epoch=0xfffffff0");
	for (i = 0; i < 30; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &ring));
		ASSERT_EQ(0, ref_set(self->session, ring, 0, ring, NULL));
		make_dead_pair(_metadata, self->session);
		ASSERT_EQ(0, heap_collect(self->session, 1, &collect));
		ASSERT_EQ(2, collect.out_collected);
		ASSERT_EQ(0, object_put(self->session, ring));
		make_dead_pair(_metadata, self->session);
		ASSERT_EQ(0, heap_collect(self->session, 1, &collect));
		ASSERT_EQ(2, collect.out_collected);
		ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
		ASSERT_EQ(1, collect.out_collected);
	}
	EXPECT_EQ(0, stats_objects(self->session));
}

/* FREEZE advances the epoch too. */
TEST_F(wrap, freeze_across_the_end_of_the_epochs)
{
	struct pyobjmem_collect collect;
	unsigned int i;
	__u64 ring;

	if (self->first_epoch < NEAR_THE_END)
		SKIP(return, "the module was not loaded with first_epoch=0xfffffff0");
	for (i = 0; i < 60; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &ring));
		ASSERT_EQ(0, ref_set(self->session, ring, 0, ring, NULL));
		ASSERT_EQ(0, heap_freeze(self->session));
		ASSERT_EQ(1, stats_permanent(self->session));
		ASSERT_EQ(0, object_put(self->session, ring));
		ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
		ASSERT_EQ(0, collect.out_collected);
		ASSERT_EQ(0, heap_unfreeze(self->session));
		ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
		ASSERT_EQ(1, collect.out_collected);
	}
}

/* What is to keep its generation, whatever others do */
struct keeper {
	int session;
	__u64 handle[3];	/* of generations 1, 2 and the permanent one */
	bool stop;
	__u64 looks;
	__u64 others;		/* generations that were not as they should be */
	int rc;
};

static void *look_and_work(void *argument)
{
	struct keeper *keeper = argument;
	__u64 ring, leaf;
	int rc = 0;
	__u32 i;

	while (!rc && !__atomic_load_n(&keeper->stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < 3; i++)
			keeper->others += generation_of(keeper->session, keeper->handle[i]) !=
					  i + 1;
		keeper->looks++;
		rc = container_create(keeper->session, 1, &ring);
		rc = rc ?: ref_set(keeper->session, ring, 0, ring, NULL);
		rc = rc ?: object_put(keeper->session, ring);
		rc = rc ?: object_create(keeper->session, 0, "leaf", 4, NULL, 0, &leaf);
		rc = rc ?: object_put(keeper->session, leaf);
	}
	keeper->rc = rc;
	return NULL;
}

/* All is dated anew in many slices, between which another client works. */
TEST_F_TIMEOUT(wrap, others_work_while_the_epochs_end, 120)
{
	struct keeper keeper = { .session = test_heap_join(&self->heap) };
	const unsigned int count = 20000;
	struct pyobjmem_collect collect;
	pthread_t thread;
	unsigned int i;
	__u64 handle;

	if (self->first_epoch < NEAR_THE_END)
		SKIP(return, "the module was not loaded with first_epoch=0xfffffff0");
	ASSERT_LE(0, keeper.session);
	ASSERT_EQ(0, container_create(keeper.session, 1, &keeper.handle[2]));
	ASSERT_EQ(0, heap_freeze(self->session));
	ASSERT_EQ(0, container_create(keeper.session, 1, &keeper.handle[1]));
	for (i = 0; i < count; i++)
		ASSERT_EQ(0, container_create(self->session, 2, &handle));
	ASSERT_EQ(0, heap_collect(self->session, 1, NULL));
	ASSERT_EQ(0, container_create(keeper.session, 1, &keeper.handle[0]));
	ASSERT_EQ(0, heap_collect(self->session, 0, NULL));

	ASSERT_EQ(0, pthread_create(&thread, NULL, look_and_work, &keeper));
	for (i = 0; i < 40; i++) {
		make_dead_pair(_metadata, self->session);
		ASSERT_EQ(0, heap_collect(self->session, 0, &collect));
		ASSERT_LE(2, collect.out_collected);
		ASSERT_VERIFIED(self->heap.number);
	}
	__atomic_store_n(&keeper.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, keeper.rc);
	EXPECT_LT(0, keeper.looks);
	EXPECT_EQ(0, keeper.others);
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EQ(count + 3, stats_objects(self->session));
	close(keeper.session);
}

TEST_HARNESS_MAIN
