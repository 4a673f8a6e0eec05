/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of death share: a heap with something in it that outlives all
 * who die, what it takes when nobody else is there, and the way to kill.
 *
 * Include it behind pyobjmem_test.h.
 */
#ifndef DEATH_H
#define DEATH_H

/* What lives through all of it: a list under root 0, held by the parent. */
#define BASELINE	50

/* Threads of one victim that tell what they do. */
#define WORKERS		2

/* A test that hangs is ended by who runs the program, not by the harness. */
#define DEATH_SECONDS	7200

/* Shared with the victims: what they were doing when they died. */
struct at_death {
	unsigned int inside[WORKERS];	/* 1: in an operation */
	unsigned int go;		/* from the parent */
};

struct death {
	struct test_heap heap;
	int session;
	__u64 object[BASELINE];
	__u64 seed;
	int sockets[2];
	struct at_death *at_death;
	struct pyobjmem_stats stats;	/* when nobody else is there */
	__u64 charge;			/* the same, what the user has taken */
};

/* Whether another page can be had while the user may take @limit bytes. */
static inline bool page_fits(struct death *death, __u64 limit)
{
	__u64 old, handle;
	int rc;

	if (parameter_read("user_bytes", &old) || parameter_write("user_bytes", limit))
		return false;
	rc = object_create(death->session, 0, NULL, POOL_BYTES, NULL, 0, &handle);
	parameter_write("user_bytes", old);
	return !(rc ?: object_put(death->session, handle));
}

/* The least limit with which a page can be had: what the user has, and a page. */
static inline __u64 page_charge(struct death *death)
{
	__u64 low = 0, high = 0, middle;

	parameter_read("user_bytes", &high);
	while (low + 1 < high) {
		middle = low + (high - low) / 2;
		if (page_fits(death, middle))
			high = middle;
		else
			low = middle;
	}
	return high;
}

static inline void death_begin(struct __test_metadata *_metadata, struct death *death)
{
	unsigned int i;

	death->seed = random_seed();
	TH_LOG("seed %#llx", (unsigned long long)death->seed);
	ASSERT_EQ(0, test_heap_open(&death->heap, 0));
	death->session = death->heap.session;
	for (i = 0; i < BASELINE; i++)
		ASSERT_EQ(0, object_create(death->session, PYOBJMEM_CREATE_MUTABLE, "stays", 6,
					   i ? &death->object[i - 1] : NULL, 1,
					   &death->object[i]));
	ASSERT_EQ(0, root_set(death->session, 0, death->object[BASELINE - 1], NULL));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, death->sockets));
	death->at_death = mmap(NULL, sizeof(*death->at_death), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, death->at_death);
	ASSERT_EQ(0, heap_collect(death->session, 2, NULL));
	death->charge = page_charge(death);
	ASSERT_EQ(0, heap_collect(death->session, 2, NULL));
	ASSERT_EQ(0, heap_stats(death->session, &death->stats));
}

static inline void death_end(struct __test_metadata *_metadata, struct death *death)
{
	close(death->sockets[0]);
	close(death->sockets[1]);
	EXPECT_CLEAN_END(&death->heap);
}

/* Cycles that were left behind are for the collector; a worker may be at others. */
static inline bool collected(struct death *death, struct pyobjmem_stats *stats)
{
	return !heap_collect(death->session, 2, NULL) && !heap_stats(death->session, stats) &&
	       stats->out_objects == BASELINE;
}

/* Soon after the death of all others, nothing is different from before. */
static inline void expect_baseline(struct __test_metadata *_metadata, struct death *death)
{
	struct pyobjmem_inspect inspect;
	struct pyobjmem_stats stats;
	unsigned int i;

	ASSERT_TRUE(wait_until(stats_sessions(death->session) == 1, SOON_MS)) {
		TH_LOG("sessions left: %llu",
		       (unsigned long long)stats_sessions(death->session));
	}
	ASSERT_TRUE(wait_until(collected(death, &stats), SOON_MS)) {
		TH_LOG("objects left: %llu", (unsigned long long)stats.out_objects - BASELINE);
	}
	ASSERT_EQ(BASELINE, stats.out_holds);
	ASSERT_EQ(0, stats.out_tickets);
	ASSERT_EQ(0, stats.out_weak);
	ASSERT_EQ(0, stats.out_finalizers);
	ASSERT_EQ(0, stats.out_watches);
	ASSERT_EQ(0, stats.out_events);
	ASSERT_EQ(BASELINE, stats.out_created - stats.out_freed_counted -
			    stats.out_freed_collected);
	ASSERT_TRUE(stats_bytes_add_up(&stats));
	ASSERT_EQ(death->stats.out_arenas, stats.out_arenas);
	ASSERT_EQ(death->stats.out_page_bytes, stats.out_page_bytes);
	ASSERT_EQ(death->stats.out_used_bytes, stats.out_used_bytes);
	ASSERT_EQ(death->stats.out_slack_bytes, stats.out_slack_bytes);
	ASSERT_TRUE(wait_until(page_fits(death, death->charge), SOON_MS)) {
		TH_LOG("more is charged to the user than before");
	}
	ASSERT_FALSE(page_fits(death, death->charge - 1)) {
		TH_LOG("less is charged to the user than before");
	}
	for (i = 0; i < BASELINE; i++) {
		ASSERT_EQ(0, object_inspect(death->session, death->object[i], &inspect));
		ASSERT_EQ(1 + (i == BASELINE - 1), inspect.out_external);
		ASSERT_EQ(i != BASELINE - 1, inspect.out_internal);
	}
	ASSERT_VERIFIED(death->heap.number);
}

/* --- In a victim ----------------------------------------------------------- */

static inline int join_in_child(struct child_side *side)
{
	struct death *death = side->argument;
	int session;

	close(death->heap.session);
	session = test_heap_join(&death->heap);
	CHILD_CHECK(session >= 0);
	return session;
}

/* Do something as thread @worker, so that the parent can tell that we are in it. */
#define INSIDE(death, worker, call) ({					\
	__typeof__(call) __result;					\
									\
	__atomic_store_n(&(death)->at_death->inside[worker], 1, __ATOMIC_SEQ_CST); \
	__result = (call);						\
	__atomic_store_n(&(death)->at_death->inside[worker], 0, __ATOMIC_SEQ_CST); \
	__result;							\
})

static inline void __attribute__((noreturn)) wait_for_death(void)
{
	for (;;)
		pause();
}

static inline int idle(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 handle;

	CHILD_CHECK(!root_get(session, 0, &handle));
	CHILD_CHECK(!object_create(session, 0, NULL, 100, &handle, 1, NULL));
	child_ready(side);
	wait_for_death();
}

/* A ring of @count objects, two or more, that nobody holds: to be collected */
static inline void ring_drop(int session, unsigned int count)
{
	__u64 first, last, next;

	CHILD_CHECK(!container_create(session, 1, &first));
	last = first;
	while (--count) {
		CHILD_CHECK(!object_create(session, 0, NULL, 8, &last, 1, &next));
		if (last != first)
			CHILD_CHECK(!object_put(session, last));
		last = next;
	}
	CHILD_CHECK(!ref_set(session, first, 0, last, NULL));
	CHILD_CHECK(!object_put(session, first));
	CHILD_CHECK(!object_put(session, last));
}

/* --- In the parent --------------------------------------------------------- */

/* How many kills are due to what has @share of 1,000 kills. */
static inline unsigned int kills_of(unsigned int share)
{
	const char *text = getenv("PYOBJMEM_KILLS");
	unsigned long kills = (text ? strtoul(text, NULL, 0) : 1000) * share / 1000;

	return kills ?: 1;
}

static inline bool inside(struct death *death, unsigned int worker)
{
	return __atomic_load_n(&death->at_death->inside[worker], __ATOMIC_SEQ_CST);
}

/*
 * Wait until the first @workers of the victim are in the middle, or long enough: one of
 * them comes there in the end, however much it does before.
 */
static inline void meet(struct death *death, unsigned int workers)
{
	__u64 end = now_ns() + (workers > 1 ? 500000000ULL : 5000000000ULL);
	unsigned int i;

	do {
		for (i = 0; i < workers && inside(death, i); i++)
			;
	} while (i < workers && now_ns() < end);
	if (random_below(&death->seed, 2))
		sleep_us(random_below(&death->seed, 200));
}

/* Throw away what is in the air. */
static inline unsigned int drain(struct death *death)
{
	unsigned int tickets = 0;
	int fd;

	fcntl(death->sockets[1], F_SETFL, O_NONBLOCK);
	while ((fd = descriptor_receive(death->sockets[1])) >= 0) {
		close(fd);
		tickets++;
	}
	return tickets;
}

#endif /* DEATH_H */
