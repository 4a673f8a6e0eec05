/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of adversaries share: how much a collection may cost, whatever
 * others do meanwhile, and that nothing is left of them.
 *
 * Include it behind queue.h.
 */
#ifndef ADVERSARY_H
#define ADVERSARY_H

/*
 * Visits under one hold of the lock; and the most of an object: it is stamped, traced,
 * judged, finalized, marked, freed and released; of a slot: traced, and marked or freed.
 */
#define SLICE		256U
#define OBJECT_VISITS	7U
#define SLOT_VISITS	2U

/* No hold of the lock takes that long on any machine that is well. */
#define SANE_NS		1000000000ULL

/* Tests take so many seconds at the most, on a slow machine, too. */
#define ADVERSARY_SECONDS	240

struct adversary {
	struct test_heap heap;
	int session;
	__u64 seed;
	struct pyobjmem_stats before;	/* when nothing has been done */
	struct queue queue;
	bool stop;			/* for threads */
};

/* A module that checks itself all the time is slow: what is large is smaller then. */
static inline unsigned int scaled(unsigned int size)
{
	return overhead_bytes() > sizeof(struct pyobjmem_head) ? size / 16 : size;
}

static inline void adversary_begin(struct __test_metadata *_metadata,
				   struct adversary *adversary)
{
	adversary->seed = random_seed();
	TH_LOG("seed %#llx", (unsigned long long)adversary->seed);
	ASSERT_EQ(0, test_heap_open(&adversary->heap, 0));
	adversary->session = adversary->heap.session;
	adversary->queue.session = adversary->session;
	ASSERT_EQ(0, heap_stats(adversary->session, &adversary->before));
}

/* All that lives is what should; memory comes back, and the counts are right. */
static inline void adversary_end(struct __test_metadata *_metadata, struct adversary *adversary)
{
	struct pyobjmem_stats stats;

	EXPECT_TRUE(wait_until(stats_sessions(adversary->session) == 1, SOON_MS));
	EXPECT_EQ(0, heap_collect(adversary->session, 2, NULL));
	ASSERT_EQ(0, heap_stats(adversary->session, &stats));
	TH_LOG("longest hold of the lock by the collector: %llu us",
	       (unsigned long long)stats.out_longest_ns / 1000);
	EXPECT_GT(SANE_NS, stats.out_longest_ns);
	EXPECT_EQ(0, stats.out_objects);
	EXPECT_EQ(0, stats.out_holds);
	EXPECT_EQ(0, stats.out_candidates);
	EXPECT_EQ(0, stats.out_weak);
	EXPECT_EQ(0, stats.out_finalizers);
	EXPECT_EQ(0, stats.out_events);
	EXPECT_EQ(0, stats.out_watches);
	EXPECT_EQ(adversary->before.out_arenas, stats.out_arenas);
	EXPECT_EQ(adversary->before.out_page_bytes, stats.out_page_bytes);
	EXPECT_EQ(adversary->before.out_used_bytes, stats.out_used_bytes);
	EXPECT_EQ(stats.out_created, stats.out_freed_counted + stats.out_freed_collected);
	EXPECT_CLEAN_END(&adversary->heap);
}

/*
 * What a collection may cost that looked at objects with @slots slots together, and
 * of which @watches weak holds and finalizers fired. A slice makes SLICE visits, one
 * of which may be spent to find where the last one stopped; phases end, too.
 */
static inline __u64 slices_most(const struct pyobjmem_collect *collect, __u64 slots,
				__u64 watches)
{
	__u64 visits = OBJECT_VISITS * collect->out_visited + SLOT_VISITS * slots + watches;

	return visits / (SLICE - 1) + 4;
}

#define EXPECT_BOUNDED(collect, slots, watches) do {				\
	EXPECT_LE((collect)->out_slices, slices_most(collect, slots, watches));	\
	EXPECT_GT(SANE_NS, (collect)->out_longest_ns);				\
	EXPECT_EQ((collect)->out_visited,					\
		  (collect)->out_collected + (collect)->out_survivors);		\
} while (0)

static inline __u64 collections_full(int session)
{
	struct pyobjmem_stats stats;

	return heap_stats(session, &stats) ? ~0ULL : stats.out_gc[2].collections;
}

STATS_FIGURE(slices)

#endif /* ADVERSARY_H */
