// SPDX-License-Identifier: GPL-2.0
/*
 * What a heap does by itself, beyond CPython's thresholds, which graph.c has:
 * it collects when there are many candidates.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

/* Candidates that start a full collection, where less than four times as many live */
#define MANY	10000

FIXTURE(automatic)
{
	struct test_heap heap;
	int session;
};

/* The heap collects by itself, but no number of new objects is enough. */
static void set_automatic(struct __test_metadata *_metadata, int session, bool on, __u32 threshold)
{
	struct pyobjmem_heap_configure configure = {
		.flags = PYOBJMEM_CONFIGURE_COLLECT | PYOBJMEM_CONFIGURE_THRESHOLDS,
		.thresholds = { threshold, 10, 10 },
		.collect = on,
	};

	ASSERT_EQ(0, heap_configure(session, &configure));
}

FIXTURE_SETUP(automatic)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	set_automatic(_metadata, self->session, true, ~0U);
}

FIXTURE_TEARDOWN(automatic)
{
	EXPECT_CLEAN_END(&self->heap);
}

static __u64 collections(int session)
{
	struct pyobjmem_stats stats;

	if (heap_stats(session, &stats))
		return ~0ULL;
	return stats.out_gc[0].collections + stats.out_gc[1].collections +
	       stats.out_gc[2].collections;
}

/* Containers that only they themselves refer to. Whatever it drops is a candidate. */
static void drop_rings(struct __test_metadata *_metadata, int session, unsigned int count)
{
	__u64 ring;

	while (count--) {
		ASSERT_EQ(0, container_create(session, 1, &ring));
		ASSERT_EQ(0, ref_set(session, ring, 0, ring, NULL));
		ASSERT_EQ(0, object_put(session, ring));
	}
}

/* A held object that names @count containers, none of which is held */
static __u64 build_family(struct __test_metadata *_metadata, int session, __u32 count)
{
	__u64 parent, child;
	__u32 i;

	ASSERT_EQ(0, container_create(session, count, &parent));
	for (i = 0; i < count; i++) {
		ASSERT_EQ(0, container_create(session, 1, &child));
		ASSERT_EQ(0, ref_set(session, parent, i, child, NULL));
		ASSERT_EQ(0, object_put(session, child));
	}
	return parent;
}

static void touch_family(struct __test_metadata *_metadata, int session, __u64 parent, __u32 count)
{
	__u64 child;
	__u32 i;

	for (i = 0; i < count; i++) {
		ASSERT_EQ(0, ref_get(session, parent, i, &child));
		ASSERT_EQ(0, object_put(session, child));
	}
}

TEST_F_TIMEOUT(automatic, many_candidates_are_collected, 60)
{
	drop_rings(_metadata, self->session, MANY);
	sleep_us(300000);
	EXPECT_EQ(0, collections(self->session));
	EXPECT_EQ(MANY, stats_candidates(self->session));
	drop_rings(_metadata, self->session, 1);
	EXPECT_TRUE(wait_until(!stats_objects(self->session), SOON_MS));
	EXPECT_EQ(1, collections(self->session));
}

TEST_F_TIMEOUT(automatic, many_candidates_are_not_collected_when_told_not_to, 60)
{
	set_automatic(_metadata, self->session, false, ~0U);
	drop_rings(_metadata, self->session, MANY + 1);
	set_automatic(_metadata, self->session, true, 0);
	drop_rings(_metadata, self->session, MANY + 1);
	sleep_us(300000);
	EXPECT_EQ(0, collections(self->session));
	EXPECT_EQ(2 * (MANY + 1), stats_objects(self->session));
}

/* Those that can not go start no collection, and none after the other. */
TEST_F_TIMEOUT(automatic, permanent_candidates_start_no_collection, 60)
{
	__u64 parent;

	set_automatic(_metadata, self->session, false, ~0U);
	parent = build_family(_metadata, self->session, 2 * MANY);
	ASSERT_EQ(0, heap_freeze(self->session));
	set_automatic(_metadata, self->session, true, ~0U);
	touch_family(_metadata, self->session, parent, 2 * MANY);
	drop_rings(_metadata, self->session, 10);
	sleep_us(300000);
	EXPECT_EQ(0, collections(self->session));
	EXPECT_EQ(2 * MANY + 10, stats_candidates(self->session));
	ASSERT_EQ(0, heap_unfreeze(self->session));
	/* The next one that comes about tells. */
	drop_rings(_metadata, self->session, 1);
	EXPECT_TRUE(wait_until(!stats_candidates(self->session), SOON_MS));
	EXPECT_EQ(1, collections(self->session));
	EXPECT_EQ(2 * MANY + 1, stats_objects(self->session));
}

/*
 * What is let go again and again survives each collection. Each needs as many
 * candidates as the first, so that the cost of letting go does not grow.
 */
TEST_F_TIMEOUT(automatic, candidates_that_survive_start_one_collection_in_thousands, 120)
{
	const unsigned int rounds = 6, count = MANY + MANY / 2;
	unsigned int round;
	__u64 parent;

	parent = build_family(_metadata, self->session, count);
	for (round = 0; round < rounds; round++)
		touch_family(_metadata, self->session, parent, count);
	sleep_us(300000);
	EXPECT_LT(0, collections(self->session));
	EXPECT_GE((rounds + 1) * count / MANY, collections(self->session)) {
		TH_LOG("%u made candidates %u times, %llu collections", count, rounds + 1,
		       (unsigned long long)collections(self->session));
	}
	EXPECT_EQ(count + 1, stats_objects(self->session));
}

TEST_HARNESS_MAIN
