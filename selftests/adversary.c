// SPDX-License-Identifier: GPL-2.0
/*
 * Adversaries of the collector: who changes what it looks at, all the time, and
 * graphs that are made to cost it much. Every collection ends within the visits
 * that the design promises, whatever others do; once they stop, the one in
 * progress and one full one leave no garbage.
 *
 * Those with weak holds and finalizers are in adversary_watch.c.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "queue.h"
#include "adversary.h"

#include <semaphore.h>

FIXTURE(adversary)
{
	struct adversary adversary;
	int session;
};

FIXTURE_SETUP(adversary)
{
	adversary_begin(_metadata, &self->adversary);
	self->session = self->adversary.session;
}

FIXTURE_TEARDOWN(adversary)
{
	adversary_end(_metadata, &self->adversary);
}

static int join_in_child(struct child_side *side)
{
	struct adversary *adversary = side->argument;
	int session;

	close(adversary->heap.session);
	session = test_heap_join(&adversary->heap);
	CHILD_CHECK(session >= 0);
	return session;
}

/* --- A hub ------------------------------------------------------------------- */

#define HUB_NODES	scaled(16000)
#define HUB_COLLECTIONS	30	/* of those that look at all of it */
#define HUB_NS		10000000000ULL
#define KEEPER_SLOTS	200

/*
 * Let the keeper's slots name the hub and empty them, one by one: each time it is
 * a candidate, over and over. Most of the time nobody holds it.
 */
static int decrement_hub(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 keeper, hub;
	unsigned int i;

	CHILD_CHECK(!root_get(session, 0, &keeper));
	child_ready(side);
	for (;;) {
		CHILD_CHECK(!ref_get(session, keeper, 0, &hub));
		for (i = 1; i < KEEPER_SLOTS; i++)
			CHILD_CHECK(!ref_set(session, keeper, i, hub, NULL));
		CHILD_CHECK(!object_put(session, hub));
		for (i = 1; i < KEEPER_SLOTS; i++)
			CHILD_CHECK(!ref_set(session, keeper, i, 0, NULL));
	}
}

/* A hub that names all there is, and is named by it; root 0 keeps the hub's keeper. */
static void build_hub(struct __test_metadata *_metadata, struct adversary *adversary,
		      unsigned int nodes)
{
	__u64 *node = calloc(nodes, sizeof(*node)), hub, keeper;
	int session = adversary->session;
	unsigned int i;

	ASSERT_EQ(0, container_create(session, nodes, &hub));
	create_naming(_metadata, &adversary->queue, node, nodes, 0, &hub);
	for (i = 0; i < nodes; i++)
		queue_add(_metadata, &adversary->queue, entry_set_ref(hub, i, node[i]));
	put_many(_metadata, &adversary->queue, node, nodes);
	ASSERT_EQ(0, container_create(session, KEEPER_SLOTS, &keeper));
	ASSERT_EQ(0, ref_set(session, keeper, 0, hub, NULL));
	ASSERT_EQ(0, root_set(session, 0, keeper, NULL));
	ASSERT_EQ(0, object_put(session, keeper));
	ASSERT_EQ(0, object_put(session, hub));
	free(node);
}

TEST_F_TIMEOUT(adversary, hub_over_the_heap_decremented_in_a_loop, ADVERSARY_SECONDS)
{
	unsigned int nodes = HUB_NODES, whole = 0, i;
	struct pyobjmem_collect collect;
	__u64 end = now_ns() + HUB_NS;
	struct child child;

	build_hub(_metadata, &self->adversary, nodes);
	ASSERT_EQ(0, child_start(&child, decrement_hub, &self->adversary));
	ASSERT_TRUE(child_wait_ready(&child));
	for (i = 0; whole < HUB_COLLECTIONS && now_ns() < end; i++) {
		ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
		EXPECT_BOUNDED(&collect, 2 * nodes + 1, 0);
		EXPECT_GE(nodes + 2, collect.out_visited);
		EXPECT_EQ(0, collect.out_collected);
		whole += collect.out_visited > nodes;
	}
	TH_LOG("%u of %u collections looked at all", whole, i);
	EXPECT_LT(0, whole);
	EXPECT_EQ(-SIGKILL, child_kill(&child));
	ASSERT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS));

	/* It has stopped: what it left is looked at once, and never again. */
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(0, collect.out_visited);
	EXPECT_VERIFIED(self->adversary.heap.number);
	ASSERT_EQ(0, root_set(self->session, 0, 0, NULL));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(nodes + 1, collect.out_collected);
}

/* --- Candidates --------------------------------------------------------------- */

#define MILLION		scaled(1 << 20)
#define PARENT_SLOTS	BATCH

/*
 * As many candidates as @count, below parents that the top names and that name the
 * top: all of it is of a session that ends, and root 0 keeps the top.
 */
static void build_candidates(struct __test_metadata *_metadata, struct adversary *adversary,
			     unsigned int count)
{
	unsigned int parents = count / PARENT_SLOTS, i;
	__u64 node[PARENT_SLOTS], top, parent;
	int session = test_heap_join(&adversary->heap);

	ASSERT_LE(0, session);
	adversary->queue.session = session;
	ASSERT_EQ(0, container_create(session, parents, &top));
	ASSERT_EQ(0, root_set(session, 0, top, NULL));
	for (i = 0; i < parents; i++) {
		create_naming(_metadata, &adversary->queue, node, PARENT_SLOTS, 0, &top);
		ASSERT_EQ(0, object_create(session, 0, NULL, 0, node, PARENT_SLOTS, &parent));
		ASSERT_EQ(0, ref_set(session, top, i, parent, NULL));
	}
	ASSERT_EQ(0, session_leave(session));
	close(session);
	adversary->queue.session = adversary->session;
}

TEST_F_TIMEOUT(adversary, a_list_of_a_million_candidates, ADVERSARY_SECONDS)
{
	unsigned int count = MILLION, parents = count / PARENT_SLOTS, slots;
	struct pyobjmem_collect collect;

	slots = 2 * count + parents;
	build_candidates(_metadata, &self->adversary, count);
	EXPECT_EQ(count + parents, stats_candidates(self->session));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	TH_LOG("all live: %llu visited in %llu slices", collect.out_visited, collect.out_slices);
	EXPECT_BOUNDED(&collect, slots, 0);
	EXPECT_EQ(0, collect.out_collected);
	EXPECT_LE(count + parents, collect.out_visited);
	EXPECT_EQ(0, stats_candidates(self->session));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(0, collect.out_visited);

	ASSERT_EQ(0, root_set(self->session, 0, 0, NULL));
	EXPECT_EQ(1, stats_candidates(self->session));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	TH_LOG("all dead: %llu visited in %llu slices", collect.out_visited, collect.out_slices);
	EXPECT_BOUNDED(&collect, slots, 0);
	EXPECT_EQ(count + parents + 1, collect.out_collected);
}

/* --- A graph that others change ------------------------------------------------- */

#define MUTATORS	2
#define GRAPH_ROOTS	8
#define GRAPH_SLOTS	4
#define GRAPH_MOST	(scaled(32000) + 2000)
#define GRAPH_ROUNDS	8

/* Down from a root, some steps at random; 0 or an object that is held once more. */
static __u64 walk(int session, __u64 *seed)
{
	unsigned int steps = random_below(seed, 20);
	__u64 handle, next;

	CHILD_CHECK(!root_get(session, random_below(seed, GRAPH_ROOTS), &handle));
	while (handle && steps--) {
		CHILD_CHECK(!ref_get(session, handle, random_below(seed, GRAPH_SLOTS), &next));
		if (!next)
			break;
		CHILD_CHECK(!object_put(session, handle));
		handle = next;
	}
	return handle;
}

/* One change of the graph, after which nothing is held. */
static void mutate(int session, __u64 *seed, bool grow)
{
	__u64 a = walk(session, seed), b = walk(session, seed), new = 0;
	__u64 edges[GRAPH_SLOTS] = { a, b };
	__u32 slot = random_below(seed, GRAPH_SLOTS);

	switch (random_below(seed, grow ? 40 : 10)) {
	case 0:
		CHILD_CHECK(!root_set(session, random_below(seed, GRAPH_ROOTS), a ?: b, NULL));
		break;
	case 1 ... 3:
		if (a)
			CHILD_CHECK(!ref_set(session, a, slot, 0, NULL));
		break;
	case 4 ... 9:
		if (a)
			CHILD_CHECK(!ref_set(session, a, slot, b, NULL));
		break;
	default:
		CHILD_CHECK(!object_create(session, 0, NULL, 8, edges, GRAPH_SLOTS, &new));
		if (a)
			CHILD_CHECK(!ref_set(session, a, slot, new, NULL));
		else
			CHILD_CHECK(!root_set(session, slot, new, NULL));
		CHILD_CHECK(!object_put(session, new));
	}
	if (a)
		CHILD_CHECK(!object_put(session, a));
	if (b)
		CHILD_CHECK(!object_put(session, b));
}

static int mutate_always(struct child_side *side)
{
	struct adversary *adversary = side->argument;
	__u64 seed = adversary->seed ^ ((__u64)getpid() << 32);
	int session = join_in_child(side);
	struct pyobjmem_stats stats;
	unsigned int i;

	child_ready(side);
	for (i = 0;; i++) {
		if (i % 64 == 0)
			CHILD_CHECK(!heap_stats(session, &stats));
		mutate(session, &seed, stats.out_objects < GRAPH_MOST);
	}
}

/* What is reachable from the roots, counted by taking all of it. */
struct reached {
	__u64 *handle;
	unsigned int count;
	unsigned int room;		/* of the hash table, a power of 2 */
};

static bool reach(struct reached *reached, __u64 *table, __u64 handle)
{
	unsigned int i = (handle * 0x9e3779b97f4a7c15ULL) >> 32;

	for (;; i++) {
		i &= reached->room - 1;
		if (table[i] == handle)
			return false;
		if (!table[i])
			break;
	}
	table[i] = handle;
	reached->handle[reached->count++] = handle;
	return true;
}

static unsigned int count_reachable(struct __test_metadata *_metadata,
				    struct adversary *adversary)
{
	__u64 edges[GRAPH_SLOTS], handle, *table;
	struct reached reached = { .room = 1 };
	int session = adversary->session;
	unsigned int i, slot;

	while (reached.room < 4 * (stats_objects(session) + 1))
		reached.room *= 2;
	table = calloc(reached.room, sizeof(*table));
	reached.handle = calloc(reached.room, sizeof(*reached.handle));
	for (i = 0; i < GRAPH_ROOTS; i++) {
		ASSERT_EQ(0, root_get(session, i, &handle));
		if (handle && !reach(&reached, table, handle))
			ASSERT_EQ(0, object_put(session, handle));
	}
	for (i = 0; i < reached.count; i++) {
		ASSERT_EQ(0, object_edges(session, reached.handle[i], edges, GRAPH_SLOTS, NULL));
		for (slot = 0; slot < GRAPH_SLOTS; slot++) {
			if (!edges[slot] || !reach(&reached, table, edges[slot]))
				continue;
			ASSERT_EQ(0, ref_get(session, reached.handle[i], slot, &handle));
			ASSERT_EQ(edges[slot], handle);
		}
	}
	put_many(_metadata, &adversary->queue, reached.handle, reached.count);
	free(reached.handle);
	free(table);
	return reached.count;
}

/* A thread that collects until it is told to stop: the last is then in progress. */
static void *collect_always(void *argument)
{
	struct adversary *adversary = argument;
	long failed = 0;

	while (!failed && !__atomic_load_n(&adversary->stop, __ATOMIC_SEQ_CST))
		failed = heap_collect(adversary->session, 2, NULL);
	return (void *)failed;
}

/* Two sessions change the graph, a third collects: it ends each time. */
static void collect_while_mutated(struct __test_metadata *_metadata,
				  struct adversary *adversary, __u64 *collected)
{
	__u64 end = now_ns() + 300000000;
	struct pyobjmem_collect collect;
	unsigned int i = 0;

	do {
		ASSERT_EQ(0, heap_collect(adversary->session, 2, &collect));
		EXPECT_BOUNDED(&collect, GRAPH_SLOTS * collect.out_visited, 0);
		*collected += collect.out_collected;
	} while (++i < 3 || now_ns() < end);
}

TEST_F_TIMEOUT(adversary, graph_mutated_while_it_is_collected, ADVERSARY_SECONDS)
{
	struct adversary *adversary = &self->adversary;
	struct child child[MUTATORS];
	unsigned int round, i, live;
	__u64 collected = 0, most = 0, objects;
	pthread_t thread;
	void *failed;

	for (round = 0; round < GRAPH_ROUNDS; round++) {
		adversary->stop = false;
		random_next(&adversary->seed);
		for (i = 0; i < MUTATORS; i++) {
			ASSERT_EQ(0, child_start(&child[i], mutate_always, adversary));
			ASSERT_TRUE(child_wait_ready(&child[i]));
		}
		collect_while_mutated(_metadata, adversary, &collected);
		ASSERT_EQ(0, pthread_create(&thread, NULL, collect_always, adversary));
		sleep_us(random_below(&adversary->seed, 20000));
		for (i = 0; i < MUTATORS; i++)
			ASSERT_EQ(-SIGKILL, child_kill(&child[i]));
		ASSERT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS));
		__atomic_store_n(&adversary->stop, true, __ATOMIC_SEQ_CST);
		ASSERT_EQ(0, pthread_join(thread, &failed));
		ASSERT_EQ(NULL, failed);

		/* The one in progress has ended: one full one, and all garbage is gone. */
		ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
		objects = stats_objects(self->session);
		live = count_reachable(_metadata, adversary);
		ASSERT_EQ(live, objects);
		ASSERT_VERIFIED(adversary->heap.number);
		most = live > most ? live : most;
	}
	TH_LOG("%llu objects at the most, %llu collected meanwhile", most, collected);
	EXPECT_LT(0, collected);
	for (i = 0; i < GRAPH_ROOTS; i++)
		ASSERT_EQ(0, root_set(self->session, i, 0, NULL));
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EQ(0, stats_objects(self->session));
}

/* --- Many slots ------------------------------------------------------------------ */

#define MANY_SLOTS	100000U
#define TARGETS		100U

/* Set the slots of the hub, again and again, to other objects that it names anyway. */
static int set_slots(struct child_side *side)
{
	struct adversary *adversary = side->argument;
	int session = join_in_child(side);
	__u64 hub, target[TARGETS];
	unsigned int i, slot;

	CHILD_CHECK(!root_get(session, 0, &hub));
	for (i = 0; i < TARGETS; i++)
		CHILD_CHECK(!ref_get(session, hub, i, &target[i]));
	child_ready(side);
	for (;;) {
		slot = TARGETS + random_below(&adversary->seed, MANY_SLOTS - TARGETS);
		CHILD_CHECK(!ref_set(session, hub, slot,
				     target[random_below(&adversary->seed, TARGETS)], NULL));
	}
}

TEST_F_TIMEOUT(adversary, object_of_100000_slots, ADVERSARY_SECONDS)
{
	__u64 target[TARGETS], hub, stays, *edges = calloc(MANY_SLOTS, sizeof(*edges));
	const unsigned int slots = MANY_SLOTS + TARGETS;
	struct pyobjmem_collect collect;
	struct child child;
	unsigned int i;

	ASSERT_EQ(0, container_create(self->session, 1, &target[0]));
	for (i = 1; i < TARGETS; i++)
		ASSERT_EQ(0, container_create(self->session, 1, &target[i]));
	for (i = 0; i < MANY_SLOTS; i++)
		edges[i] = target[i % TARGETS];
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, edges, MANY_SLOTS, &hub));
	for (i = 0; i < TARGETS; i++)
		ASSERT_EQ(0, ref_set(self->session, target[i], 0, hub, NULL));
	ASSERT_EQ(0, root_set(self->session, 0, hub, NULL));
	put_many(_metadata, &self->adversary.queue, target, TARGETS);
	ASSERT_EQ(0, object_put(self->session, hub));

	ASSERT_EQ(0, child_start(&child, set_slots, &self->adversary));
	ASSERT_TRUE(child_wait_ready(&child));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
		EXPECT_BOUNDED(&collect, slots, 0);
		EXPECT_EQ(0, collect.out_collected);
	}
	EXPECT_EQ(-SIGKILL, child_kill(&child));
	ASSERT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS));
	/* One slot names what stays: so all of them are looked at when it is freed, too. */
	ASSERT_EQ(0, container_create(self->session, 0, &stays));
	ASSERT_EQ(0, root_get(self->session, 0, &hub));
	ASSERT_EQ(0, ref_set(self->session, hub, 0, stays, NULL));
	ASSERT_EQ(0, object_put(self->session, hub));
	ASSERT_EQ(0, root_set(self->session, 0, 0, NULL));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(1 + TARGETS, collect.out_collected);
	EXPECT_BOUNDED(&collect, slots, 0);
	/* It was traced and dropped in pieces, each of them a slice. */
	EXPECT_LE(2 * slots / SLICE, collect.out_slices);
	TH_LOG("%llu slices for %u slots", collect.out_slices, slots);
	ASSERT_EQ(0, object_put(self->session, stays));
	free(edges);
}

/* --- Two collections ------------------------------------------------------------- */

#define ASKERS		2
#define ASK_ROUNDS	100
#define ASK_RING	300
#define WAIT_ROUNDS	20

struct asker {
	struct adversary *adversary;
	__u32 generation;
	unsigned int ring;
	sem_t *ready;			/* it is */
	sem_t *go;			/* it is to ask */
	__u64 mine;			/* garbage that it made before it asked */
	__u64 seed;
	struct pyobjmem_collect collect;
	int rc;
};

/* A ring that nobody holds; returns one of it. */
static __u64 drop_ring(int session, unsigned int count)
{
	__u64 first, last, next;

	CHILD_CHECK(!container_create(session, 1, &first));
	for (last = first; count > 1; count--, last = next) {
		CHILD_CHECK(!object_create(session, 0, NULL, 8, &last, 1, &next));
		if (last != first)
			CHILD_CHECK(!object_put(session, last));
	}
	CHILD_CHECK(!ref_set(session, first, 0, last, NULL));
	CHILD_CHECK(!object_put(session, last));
	CHILD_CHECK(!object_put(session, first));
	return first;
}

static void *ask(void *argument)
{
	struct asker *asker = argument;
	unsigned int i, turns = random_below(&asker->seed, 5000);
	int session = asker->adversary->session;

	asker->mine = drop_ring(session, asker->ring);
	sem_post(asker->ready);
	sem_wait(asker->go);
	for (i = 0; i < turns; i++)
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	asker->rc = heap_collect(session, asker->generation, &asker->collect);
	/* What was garbage when it asked is gone when it is answered. */
	if (!asker->rc && object_get(session, asker->mine) != -ESTALE)
		asker->rc = -EEXIST;
	return NULL;
}

struct asking {
	struct asker asker[ASKERS];
	pthread_t thread[ASKERS];
	sem_t ready;
	sem_t go;
};

static void asking_init(struct asking *asking, struct adversary *adversary, unsigned int ring)
{
	unsigned int i;

	memset(asking, 0, sizeof(*asking));
	sem_init(&asking->ready, 0, 0);
	sem_init(&asking->go, 0, 0);
	for (i = 0; i < ASKERS; i++) {
		asking->asker[i].adversary = adversary;
		asking->asker[i].seed = random_next(&adversary->seed);
		asking->asker[i].generation = 2;
		asking->asker[i].ring = ring;
		asking->asker[i].ready = &asking->ready;
		asking->asker[i].go = &asking->go;
	}
}

/* All of them stand ready to ask. */
static void asking_start(struct __test_metadata *_metadata, struct asking *asking)
{
	unsigned int i;

	for (i = 0; i < ASKERS; i++)
		ASSERT_EQ(0, pthread_create(&asking->thread[i], NULL, ask, &asking->asker[i]));
	for (i = 0; i < ASKERS; i++)
		sem_wait(&asking->ready);
}

static void asking_go(struct asking *asking)
{
	unsigned int i;

	for (i = 0; i < ASKERS; i++)
		sem_post(&asking->go);
}

/* Both have been answered. Tells whether it was the same collection. */
static bool asking_end(struct __test_metadata *_metadata, struct asking *asking)
{
	const struct pyobjmem_collect *a = &asking->asker[0].collect;
	const struct pyobjmem_collect *b = &asking->asker[1].collect;
	unsigned int i;

	for (i = 0; i < ASKERS; i++) {
		ASSERT_EQ(0, pthread_join(asking->thread[i], NULL)) return false;
		ASSERT_EQ(0, asking->asker[i].rc) return false;
	}
	return a->out_visited == b->out_visited && a->out_slices == b->out_slices &&
	       a->out_duration_ns == b->out_duration_ns;
}

/* The first begins one, the second waits for its end and begins another. */
TEST_F_TIMEOUT(adversary, two_collections_asked_for_at_once, ADVERSARY_SECONDS)
{
	unsigned int shared = 0, round, i;
	struct pyobjmem_collect *collect;
	struct asking asking;
	__u64 before;

	asking_init(&asking, &self->adversary, ASK_RING);
	for (round = 0; round < ASK_ROUNDS; round++) {
		before = collections_full(self->session);
		asking_start(_metadata, &asking);
		asking_go(&asking);
		/* The first may help with the second one, and is told of that then. */
		shared += asking_end(_metadata, &asking);
		for (i = 0; i < ASKERS; i++) {
			collect = &asking.asker[i].collect;
			EXPECT_BOUNDED(collect, collect->out_visited, 0);
		}
		ASSERT_EQ(before + 2, collections_full(self->session));
		ASSERT_EQ(0, stats_objects(self->session));
	}
	TH_LOG("%u rounds, the second collection answered both %u times", ASK_ROUNDS, shared);
}

static void *collect_once(void *argument)
{
	struct adversary *adversary = argument;

	return (void *)(long)heap_collect(adversary->session, 2, NULL);
}

/* While a long one is in progress both wait, and share the next. */
TEST_F_TIMEOUT(adversary, two_that_wait_share_the_next, ADVERSARY_SECONDS)
{
	struct adversary *adversary = &self->adversary;
	unsigned int shared = 0, round;
	__u64 keeper, hub, slices, before;
	struct asking asking;
	pthread_t first;
	void *failed;

	asking_init(&asking, adversary, ASK_RING);
	asking.asker[1].generation = 0;
	/* What is not held but names so much makes a collection long. */
	ASSERT_EQ(0, container_create(self->session, PYOBJMEM_SLOTS_MAX, &hub));
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, &hub, 1, &keeper));
	ASSERT_EQ(0, object_put(self->session, hub));
	for (round = 0; round < WAIT_ROUNDS; round++) {
		ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
		asking_start(_metadata, &asking);
		ASSERT_EQ(0, ref_get(self->session, keeper, 0, &hub));
		ASSERT_EQ(0, object_put(self->session, hub));
		before = collections_full(self->session);
		slices = stats_slices(self->session);
		ASSERT_EQ(0, pthread_create(&first, NULL, collect_once, adversary));
		while (stats_slices(self->session) == slices)
			;
		asking_go(&asking);
		shared += asking_end(_metadata, &asking);
		ASSERT_EQ(0, pthread_join(first, &failed));
		ASSERT_EQ(NULL, failed);
		/* One was in progress, and of those who came then each waits for one. */
		ASSERT_GE(before + 3, collections_full(self->session));
	}
	TH_LOG("%u of %u rounds shared", shared, WAIT_ROUNDS);
	EXPECT_LT(0, shared);
	ASSERT_EQ(0, object_put(self->session, keeper));
}

/* --- A block that comes back ------------------------------------------------------- */

#define DROPS		scaled(1 << 20)
#define WIDE		200000	/* so long is a collection, in slots */
#define PLACES		4096
#define REUSES		16	/* in one batch */

/*
 * An object that is created and dropped, over and over, always in the same place,
 * so that its next handle is known. The collector looks at it meanwhile: it is
 * named by what is held, and names what takes some slices.
 */
struct reuse {
	__u64 keeper;
	__u64 wide;
	__u64 handle;			/* what the keeper names */
	__u64 last[PLACES];		/* the last handle of a place */
	__u64 stray[REUSES];		/* those that came elsewhere, held */
	unsigned int strays;
	unsigned int dropped;
	unsigned int traced;		/* how often its place was not free again */
	struct pyobjmem_batch_entry entries[4 * REUSES];
};

static void reuse_init(struct __test_metadata *_metadata, int session, struct reuse *reuse)
{
	static __u64 edges[WIDE];
	unsigned int i;

	memset(reuse, 0, sizeof(*reuse));
	ASSERT_EQ(0, container_create(session, 1, &edges[0]));
	for (i = 1; i < WIDE; i++)
		edges[i] = edges[0];
	ASSERT_EQ(0, object_create(session, 0, NULL, 8, edges, WIDE, &reuse->wide));
	ASSERT_EQ(0, container_create(session, 2, &reuse->keeper));
	ASSERT_EQ(0, ref_set(session, reuse->keeper, 1, reuse->wide, NULL));
	ASSERT_EQ(0, object_put(session, edges[0]));
}

/* A handle that was never there before: the next generation of its place. */
static void expect_new(struct __test_metadata *_metadata, struct reuse *reuse, __u64 handle)
{
	__u64 *last = &reuse->last[(__u32)handle % PLACES];

	if ((__u32)*last == (__u32)handle)
		ASSERT_LT(*last, handle);
	*last = handle;
}

static void reuse_begin(struct __test_metadata *_metadata, int session, struct reuse *reuse)
{
	while (reuse->strays)
		ASSERT_EQ(0, object_put(session, reuse->stray[--reuse->strays]));
	ASSERT_EQ(0, object_create(session, 0, NULL, 8, &reuse->wide, 1, &reuse->handle));
	expect_new(_metadata, reuse, reuse->handle);
	ASSERT_EQ(0, ref_set(session, reuse->keeper, 0, reuse->handle, NULL));
	ASSERT_EQ(0, object_put(session, reuse->handle));
}

/* Drop what the keeper names, create it again, let the keeper alone keep it. */
static void reuse_many(struct __test_metadata *_metadata, int session, struct reuse *reuse)
{
	struct pyobjmem_batch_entry *entry = reuse->entries;
	__u64 guess = reuse->handle;
	unsigned int i;

	for (i = 0; i < REUSES; i++, entry += 4) {
		guess += 1ULL << 32;
		entry[0] = entry_set_ref(reuse->keeper, 0, 0);
		entry[1] = entry_create(0, NULL, 8, 1);
		entry[1].command.create.edges = pointer(&reuse->wide);
		entry[2] = entry_set_ref(reuse->keeper, 0, guess);
		entry[3] = entry_put(guess);
	}
	ASSERT_EQ(0, batch_run(session, reuse->entries, 4 * REUSES, PYOBJMEM_BATCH_CONTINUE, NULL));
	for (entry = reuse->entries; entry < reuse->entries + 4 * REUSES; entry += 4) {
		ASSERT_EQ(0, entry[0].out_result);
		ASSERT_EQ(0, entry[1].out_result);
		ASSERT_EQ(entry[2].out_result, entry[3].out_result);
		expect_new(_metadata, reuse, entry[1].command.create.out_handle);
		if (entry[2].out_result)
			reuse->stray[reuse->strays++] = entry[1].command.create.out_handle;
		else
			reuse->handle = entry[1].command.create.out_handle;
	}
}

/* With pauses, so that there is time to drop something. */
static void *collect_often(void *argument)
{
	struct adversary *adversary = argument;
	long failed = 0;

	while (!failed && !__atomic_load_n(&adversary->stop, __ATOMIC_SEQ_CST)) {
		failed = heap_collect(adversary->session, 2, NULL);
		sleep_us(20000);
	}
	return (void *)failed;
}

TEST_F_TIMEOUT(adversary, block_created_and_dropped_while_it_is_traced, ADVERSARY_SECONDS)
{
	unsigned int drops = DROPS, batches = 0;
	__u64 pages, collections;
	struct reuse reuse;
	pthread_t thread;
	void *failed;

	reuse_init(_metadata, self->session, &reuse);
	reuse_begin(_metadata, self->session, &reuse);
	pages = stats_page_bytes(self->session);
	collections = collections_full(self->session);
	ASSERT_EQ(0, pthread_create(&thread, NULL, collect_often, &self->adversary));
	while (reuse.dropped < drops) {
		reuse_many(_metadata, self->session, &reuse);
		reuse.dropped += REUSES - reuse.strays;
		reuse.traced += !!reuse.strays;
		if (reuse.strays)
			reuse_begin(_metadata, self->session, &reuse);
		if (++batches % 1024 == 0)
			ASSERT_EQ(pages, stats_page_bytes(self->session));
	}
	__atomic_store_n(&self->adversary.stop, true, __ATOMIC_SEQ_CST);
	ASSERT_EQ(0, pthread_join(thread, &failed));
	ASSERT_EQ(NULL, failed);
	collections = collections_full(self->session) - collections;
	TH_LOG("%u dropped, in %u of %u batches one while it was traced, %llu collections",
	       reuse.dropped, reuse.traced, batches, collections);
	/* Its place was taken as long as the collection had it linked. */
	EXPECT_LT(0, reuse.traced);
	EXPECT_LT(0, collections);
	ASSERT_EQ(0, object_put(self->session, reuse.wide));
	ASSERT_EQ(0, object_put(self->session, reuse.keeper));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_HARNESS_MAIN
