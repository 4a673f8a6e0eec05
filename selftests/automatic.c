// SPDX-License-Identifier: GPL-2.0
/*
 * What a heap does by itself, beyond CPython's thresholds, which graph.c has:
 * it collects when there are many candidates, and it gives back memory and
 * collects when the system is short of memory.
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
	EXPECT_TRUE(wait_until(collections(self->session) == 1, SOON_MS));
	EXPECT_EQ(0, stats_candidates(self->session));
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

/* --- Short of memory -------------------------------------------------------- */

/* The kernel asks all that keep memory to give back what they can. */
static void ask_for_memory(struct __test_metadata *_metadata)
{
	ASSERT_EQ(0, file_write("/proc/sys/vm/drop_caches", "2"));
}

/* Objects of many sizes that come and go leave empty pools, in both windows. */
static void leave_empty_pools(struct __test_metadata *_metadata, int session)
{
	__u64 handle;
	__u32 size;

	for (size = 8; size <= 400; size += 8) {
		ASSERT_EQ(0, object_create(session, PYOBJMEM_CREATE_MUTABLE, NULL, size, NULL,
					   size / 8, &handle));
		ASSERT_EQ(0, object_put(session, handle));
	}
}

/*
 * Empty pools go by themselves, too, a second after the first of them came to be:
 * it is tried again where the machine takes that long.
 */
TEST_F(automatic, empty_pools_go_when_memory_is_short)
{
	unsigned int tries = 0;
	__u64 began, before, after;

	do {
		/* Those that are there had their second already. */
		ASSERT_TRUE(wait_until(!stats_page_bytes(self->session), SOON_MS));
		began = now_ns();
		leave_empty_pools(_metadata, self->session);
		before = stats_page_bytes(self->session);
		ask_for_memory(_metadata);
		after = stats_page_bytes(self->session);
	} while (now_ns() - began > 900000000 && ++tries < 10);
	ASSERT_GT(10, tries);
	EXPECT_LT(50 * POOL_BYTES, before);
	EXPECT_EQ(0, after);
}

TEST_F(automatic, what_is_in_use_stays_when_memory_is_short)
{
	__u64 handle, parent = build_family(_metadata, self->session, 100);
	char text[4];
	__u32 i;

	ask_for_memory(_metadata);
	EXPECT_TRUE(wait_until(collections(self->session) == 1, SOON_MS));
	EXPECT_EQ(101, stats_objects(self->session));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, ref_get(self->session, parent, i, &handle));
		ASSERT_EQ(sizeof(text), object_read(self->session, handle, 0, text, sizeof(text)));
	}
}

TEST_F(automatic, garbage_goes_when_memory_is_short)
{
	drop_rings(_metadata, self->session, 100);
	ask_for_memory(_metadata);
	EXPECT_TRUE(wait_until(!stats_objects(self->session), SOON_MS));
	EXPECT_EQ(1, collections(self->session));
	/* With nothing new there is nothing to do. */
	ask_for_memory(_metadata);
	sleep_us(300000);
	EXPECT_EQ(1, collections(self->session));
}

TEST_F(automatic, garbage_stays_when_memory_is_short_and_told_to)
{
	drop_rings(_metadata, self->session, 100);
	set_automatic(_metadata, self->session, true, 0);
	ask_for_memory(_metadata);
	set_automatic(_metadata, self->session, false, ~0U);
	ask_for_memory(_metadata);
	sleep_us(300000);
	EXPECT_EQ(0, collections(self->session));
	EXPECT_EQ(100, stats_objects(self->session));
}

/* Heaps come and go, and clients work, while memory is asked for. */
struct beside {
	int stop;
	int rc;
	__u64 rounds;
};

static void *heaps_come_and_go(void *argument)
{
	struct beside *beside = argument;
	struct test_heap heap;
	__u64 ring;
	int i, rc = 0;

	while (!rc && !__atomic_load_n(&beside->stop, __ATOMIC_RELAXED)) {
		rc = test_heap_open(&heap, 0);
		if (rc)
			break;
		rc = heap_automatic(heap.session, true);
		for (i = 0; i < 50 && !rc; i++) {
			rc = container_create(heap.session, 1 + i, &ring);
			rc = rc ?: ref_set(heap.session, ring, 0, ring, NULL);
			rc = rc ?: object_put(heap.session, ring);
		}
		test_heap_close(&heap);
		beside->rounds++;
	}
	beside->rc = rc;
	return NULL;
}

TEST_F_TIMEOUT(automatic, heaps_come_and_go_while_memory_is_short, 60)
{
	struct beside beside[2] = {};
	pthread_t thread[2];
	__u64 end;
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, heaps_come_and_go, &beside[i]));
	end = now_ns() + 2000000000ULL;
	while (now_ns() < end)
		ask_for_memory(_metadata);
	for (i = 0; i < 2; i++)
		__atomic_store_n(&beside[i].stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
		EXPECT_EQ(0, beside[i].rc);
		EXPECT_LT(0, beside[i].rounds);
	}
}

TEST_HARNESS_MAIN
