// SPDX-License-Identifier: GPL-2.0
/*
 * Adversaries of the collector that have weak holds and finalizers: upgrades while
 * it condemns, chains of finalizers, and sessions that end in each of its phases.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"
#include "queue.h"
#include "adversary.h"

#include <sched.h>

FIXTURE(watch)
{
	struct adversary adversary;
	int session;
};

FIXTURE_SETUP(watch)
{
	adversary_begin(_metadata, &self->adversary);
	self->session = self->adversary.session;
}

FIXTURE_TEARDOWN(watch)
{
	adversary_end(_metadata, &self->adversary);
}

/* --- Chains of finalizers ------------------------------------------------------ */

#define CHAIN	1000

/* A chain below @tail, each with a finalizer: returns its head, which is held. */
static __u64 build_chain(struct __test_metadata *_metadata, int session, __u64 tail)
{
	__u64 head = tail, next = 0;
	unsigned int i;

	for (i = 0; i < CHAIN; i++) {
		ASSERT_EQ(0, object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, &head, 1,
					   &next)) return 0;
		if (i)
			ASSERT_EQ(0, object_put(session, head)) return 0;
		head = next;
	}
	return head;
}

/* It hangs on a dead ring: one collection tells of all, a second one frees them. */
TEST_F(watch, chain_of_1000_finalizers_in_garbage)
{
	struct event_handler handler = {};
	struct pyobjmem_collect collect;
	__u64 ring, head;

	ASSERT_EQ(0, container_create(self->session, 2, &ring));
	head = build_chain(_metadata, self->session, ring);
	ASSERT_EQ(0, ref_set(self->session, ring, 0, head, NULL));
	ASSERT_EQ(0, ref_set(self->session, ring, 1, ring, NULL));
	ASSERT_EQ(0, object_put(self->session, head));
	ASSERT_EQ(0, object_put(self->session, ring));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(CHAIN, collect.out_finalizers);
	EXPECT_EQ(0, collect.out_collected);
	EXPECT_EQ(CHAIN + 1, collect.out_survivors);
	EXPECT_BOUNDED(&collect, CHAIN + 2, CHAIN);
	EXPECT_EQ(CHAIN, events_waiting(self->session));
	/* All of it is whole until the last of them has run. */
	EXPECT_EQ(CHAIN + 1, stats_objects(self->session));
	EXPECT_EQ(CHAIN, events_handle(self->session, &handler));
	EXPECT_EQ(CHAIN, handler.finalized);
	EXPECT_EQ(CHAIN + 1, stats_objects(self->session));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(CHAIN + 1, collect.out_collected);
	EXPECT_EQ(0, collect.out_finalizers);
}

/* Dropped by its head: each dies when the finalizer of the one before has run. */
TEST_F(watch, chain_of_1000_finalizers_by_counts)
{
	struct event_handler handler = {};
	__u64 head = build_chain(_metadata, self->session, 0);
	struct pyobjmem_event event;
	unsigned int i;

	ASSERT_EQ(0, object_put(self->session, head));
	for (i = 0; i < CHAIN; i++) {
		ASSERT_EQ(1, events_waiting(self->session));
		ASSERT_EQ(CHAIN - i, stats_objects(self->session));
		ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
		ASSERT_EQ(CHAIN - i, stats_objects(self->session));
		if (i % 100 == 0)
			ASSERT_VERIFIED(self->adversary.heap.number);
		ASSERT_EQ(1, events_read(self->session, &event, 1));
		ASSERT_EQ(0, event_handle(self->session, &event, &handler));
	}
	EXPECT_EQ(CHAIN, handler.finalized);
	EXPECT_EQ(0, stats_objects(self->session));
}

/* --- Many weak holds of one object ----------------------------------------------- */

#define WEAK_HOLDS	scaled(50000)

static void hold_weakly(struct __test_metadata *_metadata, struct adversary *adversary,
			__u64 handle, unsigned int count)
{
	while (count)
		queue_add(_metadata, &adversary->queue, entry_weak(handle, count--));
	queue_flush(_metadata, &adversary->queue);
}

/* Read all events: a WEAK_DEAD for each cookie from 1 to @count. */
static void expect_all_dead(struct __test_metadata *_metadata, int session, __u64 handle,
			    unsigned int count)
{
	static struct pyobjmem_event events[1024];
	bool *seen = calloc(count + 1, sizeof(*seen));
	unsigned int all = 0;
	int i, n;

	while ((n = events_read(session, events, ARRAY_SIZE(events))) > 0) {
		for (i = 0; i < n; i++) {
			ASSERT_EQ(PYOBJMEM_EVENT_WEAK_DEAD, events[i].type);
			ASSERT_EQ(handle, events[i].handle);
			ASSERT_LE(1, events[i].cookie);
			ASSERT_GE(count, events[i].cookie);
			ASSERT_FALSE(seen[events[i].cookie]);
			seen[events[i].cookie] = true;
		}
		all += n;
	}
	EXPECT_EQ(count, all);
	free(seen);
}

TEST_F_TIMEOUT(watch, object_of_50000_weak_holds, ADVERSARY_SECONDS)
{
	unsigned int count = WEAK_HOLDS;
	struct pyobjmem_collect collect;
	__u64 ring, leaf;

	ASSERT_EQ(0, container_create(self->session, 1, &ring));
	ASSERT_EQ(0, ref_set(self->session, ring, 0, ring, NULL));
	hold_weakly(_metadata, &self->adversary, ring, count);
	ASSERT_EQ(0, object_put(self->session, ring));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(1, collect.out_collected);
	EXPECT_BOUNDED(&collect, 1, count);
	EXPECT_LE(count / SLICE, collect.out_slices);
	expect_all_dead(_metadata, self->session, ring, count);

	ASSERT_EQ(0, container_create(self->session, 0, &leaf));
	hold_weakly(_metadata, &self->adversary, leaf, count);
	ASSERT_EQ(0, object_put(self->session, leaf));
	EXPECT_EQ(0, stats_objects(self->session));
	expect_all_dead(_metadata, self->session, leaf, count);
}

/* --- Upgrades against the collector ------------------------------------------------ */

#define UPGRADERS	2
#define RINGS		4000
#define UPGRADE_ROUNDS	4U
#define UPGRADE_NS	1000000000ULL

/* What the processes see. */
struct upgrades {
	struct adversary *adversary;
	__u64 ring[RINGS];		/* one of each ring of two */
	bool stop;
	unsigned long taken;
	unsigned long stale;
};

/* A session's view of the rings: what it has been told. */
struct upgrader {
	int session;
	bool dead[RINGS];		/* UPGRADE said so */
	bool told[RINGS];		/* so did an event */
};

/* It was taken: all of the ring is there. */
static void check_ring(struct upgrader *upgrader, __u64 handle)
{
	__u64 other, back;

	CHILD_CHECK(!ref_get(upgrader->session, handle, 0, &other));
	CHILD_CHECK(other && other != handle);
	CHILD_CHECK(!ref_get(upgrader->session, other, 0, &back));
	CHILD_CHECK(back == handle);
	CHILD_CHECK(!object_put(upgrader->session, back));
	CHILD_CHECK(!object_put(upgrader->session, other));
	CHILD_CHECK(!object_put(upgrader->session, handle));
}

static void upgrade_one(struct upgrades *upgrades, struct upgrader *upgrader, unsigned int i)
{
	int rc = weak_upgrade(upgrader->session, upgrades->ring[i]);

	CHILD_CHECK(!rc || rc == -ESTALE);
	/* What is dead once is dead for ever. */
	CHILD_CHECK(rc || (!upgrader->dead[i] && !upgrader->told[i]));
	if (!rc)
		check_ring(upgrader, upgrades->ring[i]);
	upgrader->dead[i] |= rc == -ESTALE;
	__atomic_fetch_add(rc ? &upgrades->stale : &upgrades->taken, 1, __ATOMIC_RELAXED);
}

static void hear_of_deaths(struct upgrades *upgrades, struct upgrader *upgrader)
{
	struct pyobjmem_event events[64];
	int i, n;

	while ((n = events_read(upgrader->session, events, ARRAY_SIZE(events))) > 0) {
		for (i = 0; i < n; i++) {
			CHILD_CHECK(events[i].type == PYOBJMEM_EVENT_WEAK_DEAD);
			CHILD_CHECK(events[i].cookie < RINGS);
			CHILD_CHECK(events[i].handle == upgrades->ring[events[i].cookie]);
			CHILD_CHECK(!upgrader->told[events[i].cookie]);
			upgrader->told[events[i].cookie] = true;
		}
	}
	CHILD_CHECK(!n);
}

/* Upgrade all of them, in their order, as fast as possible, until told to stop. */
static int upgrade_always(struct child_side *side)
{
	static struct upgrader upgrader;
	struct upgrades *upgrades = side->argument;
	__u64 hub, handle;
	unsigned int i;

	close(upgrades->adversary->heap.session);
	upgrader.session = test_heap_join(&upgrades->adversary->heap);
	CHILD_CHECK(upgrader.session >= 0);
	CHILD_CHECK(!root_get(upgrader.session, 0, &hub));
	for (i = 0; i < RINGS; i++) {
		CHILD_CHECK(!ref_get(upgrader.session, hub, i, &handle));
		CHILD_CHECK(handle == upgrades->ring[i]);
		CHILD_CHECK(!weak_hold(upgrader.session, handle, i));
		CHILD_CHECK(!object_put(upgrader.session, handle));
	}
	CHILD_CHECK(!object_put(upgrader.session, hub));
	child_ready(side);
	for (i = 0; !__atomic_load_n(&upgrades->stop, __ATOMIC_SEQ_CST); i++) {
		upgrade_one(upgrades, &upgrader, i % RINGS);
		if (i % 256 == 0)
			hear_of_deaths(upgrades, &upgrader);
	}
	child_ready(side);
	child_waits(side);

	/* All have died; exactly one event told of each. */
	hear_of_deaths(upgrades, &upgrader);
	for (i = 0; i < RINGS; i++) {
		CHILD_CHECK(upgrader.told[i]);
		upgrade_one(upgrades, &upgrader, i);
		CHILD_CHECK(upgrader.dead[i]);
	}
	return 0;
}

/* Rings of two that a hub names, which root 0 names. */
static void build_rings(struct __test_metadata *_metadata, struct upgrades *upgrades)
{
	struct queue *queue = &upgrades->adversary->queue;
	int session = upgrades->adversary->session;
	__u64 *other = calloc(RINGS, sizeof(*other)), hub;
	unsigned int i;

	ASSERT_EQ(0, container_create(session, RINGS, &hub));
	create_many(_metadata, queue, upgrades->ring, RINGS, NULL, 1);
	create_many(_metadata, queue, other, RINGS, NULL, 1);
	for (i = 0; i < RINGS; i++) {
		queue_add(_metadata, queue, entry_set_ref(hub, i, upgrades->ring[i]));
		queue_add(_metadata, queue, entry_set_ref(other[i], 0, upgrades->ring[i]));
		queue_add(_metadata, queue, entry_set_ref(upgrades->ring[i], 0, other[i]));
	}
	put_many(_metadata, queue, upgrades->ring, RINGS);
	put_many(_metadata, queue, other, RINGS);
	ASSERT_EQ(0, root_set(session, 0, hub, NULL));
	ASSERT_EQ(0, object_put(session, hub));
	free(other);
}

/*
 * Collect while all is upgraded all the time. Whoever upgrades can keep what he
 * has, but no collection from its end, nor anything else from being collected.
 */
static unsigned long collect_against(struct __test_metadata *_metadata, int session)
{
	__u64 end = now_ns() + UPGRADE_NS;
	struct pyobjmem_collect collect;
	unsigned long collected = 0;

	do {
		ASSERT_EQ(0, heap_collect(session, 2, &collect)) return 0;
		EXPECT_BOUNDED(&collect, collect.out_visited, UPGRADERS * collect.out_visited);
		collected += collect.out_collected;
		sleep_us(1000);
	} while (now_ns() < end && collected < 2 * RINGS);
	return collected;
}

static void upgrade_round(struct __test_metadata *_metadata, struct upgrades *upgrades)
{
	struct adversary *adversary = upgrades->adversary;
	struct child child[UPGRADERS];
	unsigned long collected;
	unsigned int i;

	upgrades->stop = false;
	upgrades->taken = 0;
	upgrades->stale = 0;
	build_rings(_metadata, upgrades);
	for (i = 0; i < UPGRADERS; i++)
		ASSERT_EQ(0, child_start(&child[i], upgrade_always, upgrades));
	for (i = 0; i < UPGRADERS; i++)
		ASSERT_TRUE(child_wait_ready(&child[i]));
	ASSERT_EQ(0, root_set(adversary->session, 0, 0, NULL));
	collected = collect_against(_metadata, adversary->session);
	__atomic_store_n(&upgrades->stop, true, __ATOMIC_SEQ_CST);
	for (i = 0; i < UPGRADERS; i++)
		ASSERT_TRUE(child_wait_ready(&child[i]));
	TH_LOG("%lu collected meanwhile, %lu upgrades, %lu too late", collected, upgrades->taken,
	       upgrades->stale);
	EXPECT_LT(0, collected);

	ASSERT_EQ(0, heap_collect(adversary->session, 2, NULL));
	ASSERT_EQ(0, stats_objects(adversary->session));
	ASSERT_VERIFIED(adversary->heap.number);
	/* The last first: it has the gates of those before it, too. */
	while (i--)
		ASSERT_EQ(0, child_end(&child[i]));
	ASSERT_TRUE(wait_until(stats_sessions(adversary->session) == 1, SOON_MS));
}

TEST_F_TIMEOUT(watch, upgrades_while_it_condemns, ADVERSARY_SECONDS)
{
	struct upgrades *upgrades = mmap(NULL, sizeof(*upgrades), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long taken = 0;
	unsigned int round;

	ASSERT_NE(MAP_FAILED, upgrades);
	upgrades->adversary = &self->adversary;
	/* On a busy machine the collector may be done before anybody has his turn. */
	for (round = 0; round < (taken ? 1 : 10) * UPGRADE_ROUNDS; round++) {
		upgrade_round(_metadata, upgrades);
		taken += upgrades->taken;
	}
	EXPECT_LT(0, taken);
	munmap(upgrades, sizeof(*upgrades));
}

/* --- Sessions that end in each phase -------------------------------------------------- */

/*
 * What is collected, so that each phase takes long:
 *
 *	hub	lives, and names nothing with many slots: TRACE and RESCUE
 *	due	due[i] have finalizers, ours, and name
 *	spare	which has many slots: DRAIN
 *	dead	names all of due and node, which name it, in many slots: FREE
 *	node	node[i], among due, so that FINALIZING has far to go
 *	last	the last candidate: TRACE is told from RESCUE as long as it is not stamped
 */
#define PHASE_SLOTS	131072U
#define NODES		(scaled(12000) + 4000)
#define DUE_EACH	16	/* so many nodes, then one of due */

/* Of the victim: held, dead, with and without finalizers; weak holds of others */
#define VICTIM_OBJECTS	100
#define VICTIM_FINALIZERS	(2 * VICTIM_OBJECTS)

/* What can be told from outside. */
enum phase { BEFORE, TRACE, RESCUE, FINALIZING, DRAIN, FREE, OVER, PHASES };

static const char * const phase_name[PHASES] = {
	"before", "TRACE", "RESCUE", "FINALIZING", "DRAIN", "FREE", "over",
};

/* Of each phase and way to end: how often, and how often it was over within the phase */
#define WAYS	2
#define WANTED	2
#define TRIES	40

struct phases {
	struct adversary *adversary;
	__u64 keeper;
	__u64 hub;
	__u64 node[16000];
	unsigned int nodes;
	unsigned int due;		/* how many of them have finalizers */
	int victim;			/* the session, if it is in this process */
	struct child child;
	struct pyobjmem_stats before;
	unsigned int ended[PHASES][WAYS];
	unsigned int within[PHASES][WAYS];
};

/* The figures of our session tell how far the collection has come. */
static enum phase phase_now(const struct phases *phases)
{
	struct pyobjmem_stats stats;

	if (heap_stats(phases->adversary->session, &stats))
		return PHASES;
	if (stats.out_gc[2].collections > phases->before.out_gc[2].collections)
		return OVER;
	if (stats.out_slices == phases->before.out_slices)
		return BEFORE;
	if (stats.out_freed_collected > phases->before.out_freed_collected ||
	    stats.out_events > phases->due)
		return FREE;
	if (stats.out_events)
		return stats.out_events == phases->due ? DRAIN : FINALIZING;
	return stats.out_candidates ? TRACE : RESCUE;
}

/* What the victim has when it dies. Root 1 names what will be garbage. */
static void victim_takes(int session)
{
	__u64 keeper, hub, dead, handle, ring;
	unsigned int i;

	CHILD_CHECK(!root_get(session, 0, &keeper));
	CHILD_CHECK(!root_get(session, 1, &dead));
	CHILD_CHECK(!ref_get(session, keeper, 0, &hub));
	CHILD_CHECK(!container_create(session, VICTIM_OBJECTS, &ring));
	for (i = 0; i < VICTIM_OBJECTS; i++) {
		CHILD_CHECK(!weak_hold(session, hub, i));
		CHILD_CHECK(!ref_get(session, dead, i, &handle));
		CHILD_CHECK(!weak_hold(session, handle, i));
		CHILD_CHECK(!object_put(session, handle));
		CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, &ring, 1,
					   &handle));
		CHILD_CHECK(!ref_set(session, ring, i, handle, NULL));
		CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 1,
					   &handle));
		CHILD_CHECK(!ref_set(session, handle, 0, handle, NULL));
		CHILD_CHECK(!object_put(session, handle));
	}
	CHILD_CHECK(!object_put(session, dead));
	CHILD_CHECK(!object_put(session, hub));
}

static int victim_process(struct child_side *side)
{
	struct phases *phases = side->argument;
	int session;

	close(phases->adversary->heap.session);
	session = test_heap_join(&phases->adversary->heap);
	CHILD_CHECK(session >= 0);
	victim_takes(session);
	child_ready(side);
	child_waits(side);
	return 0;
}

static void victim_start(struct __test_metadata *_metadata, struct phases *phases, bool process)
{
	if (process) {
		ASSERT_EQ(0, child_start(&phases->child, victim_process, phases));
		ASSERT_TRUE(child_wait_ready(&phases->child));
		return;
	}
	phases->victim = test_heap_join(&phases->adversary->heap);
	ASSERT_LE(0, phases->victim);
	victim_takes(phases->victim);
}

/* It ends: by LEAVE, which returns when it is done, or by a signal. */
static void victim_ends(struct __test_metadata *_metadata, struct phases *phases, bool process)
{
	int rc = process ? child_kill(&phases->child) :
			   session_leave(phases->victim) ?: close(phases->victim);

	ASSERT_EQ(process ? -SIGKILL : 0, rc);
	ASSERT_TRUE(wait_until(stats_sessions(phases->adversary->session) == 1, SOON_MS));
}

/* All of it, held by nobody but roots 0 and 1. */
static void phases_build(struct __test_metadata *_metadata, struct phases *phases)
{
	struct queue *queue = &phases->adversary->queue;
	int session = phases->adversary->session;
	__u64 dead, spare;
	unsigned int i;

	ASSERT_EQ(0, container_create(session, PHASE_SLOTS, &dead));
	ASSERT_EQ(0, container_create(session, PHASE_SLOTS, &spare));
	phases->due = 0;
	for (i = 0; i < phases->nodes; i += DUE_EACH) {
		create_naming(_metadata, queue, phases->node + i, 1, PYOBJMEM_CREATE_FINALIZE,
			      &spare);
		create_naming(_metadata, queue, phases->node + i + 1, DUE_EACH - 1, 0, &dead);
		phases->due++;
	}
	for (i = 0; i < phases->nodes; i++)
		queue_add(_metadata, queue, entry_set_ref(dead, i, phases->node[i]));
	/* A few weak holds of ours, whose events come in FREE. */
	for (i = 1; i < DUE_EACH; i++)
		queue_add(_metadata, queue, entry_weak(phases->node[i], i));
	put_many(_metadata, queue, phases->node, phases->nodes);
	ASSERT_EQ(0, object_put(session, spare));
	ASSERT_EQ(0, root_set(session, 1, dead, NULL));
	ASSERT_EQ(0, object_put(session, dead));
}

/* It is garbage; the hub has lost a reference, too; and there is a last candidate. */
static void phases_drop(struct __test_metadata *_metadata, struct phases *phases)
{
	int session = phases->adversary->session;
	__u64 hub, last;

	ASSERT_EQ(0, root_set(session, 1, 0, NULL));
	ASSERT_EQ(0, ref_get(session, phases->keeper, 0, &hub));
	ASSERT_EQ(0, object_put(session, hub));
	ASSERT_EQ(0, container_create(session, 1, &last));
	ASSERT_EQ(0, ref_set(session, last, 0, last, NULL));
	ASSERT_EQ(0, object_put(session, last));
	ASSERT_EQ(0, heap_stats(session, &phases->before));
}

static void *collect_once(void *argument)
{
	struct adversary *adversary = argument;

	return (void *)(long)heap_collect(adversary->session, 2, NULL);
}

/*
 * The collector has to share one processor with us, who go first: so we come in
 * between any two of its slices, even if the machine is a virtual one of which only
 * one processor runs at a time.
 */
static int collect_beside(struct phases *phases, pthread_t *thread)
{
	struct sched_param param = { .sched_priority = 1 };
	cpu_set_t one;
	int rc;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	rc = sched_setaffinity(0, sizeof(one), &one) ||
	     pthread_create(thread, NULL, collect_once, phases->adversary);
	return rc || sched_setscheduler(0, SCHED_FIFO, &param);
}

static int collect_end(pthread_t thread)
{
	struct sched_param param = {};
	cpu_set_t all;
	void *rc;

	memset(&all, 0xff, sizeof(all));
	return pthread_join(thread, &rc) || rc || sched_setscheduler(0, SCHED_OTHER, &param) ||
	       sched_setaffinity(0, sizeof(all), &all);
}

/* Wait for a phase, and for some slices of it; returns where it is then. */
static enum phase await_phase(struct phases *phases, enum phase wanted)
{
	unsigned int more = random_below(&phases->adversary->seed, 20);
	__u64 end = now_ns() + SOON_MS * 1000000ULL;
	enum phase phase;

	while ((phase = phase_now(phases)) < wanted && now_ns() < end)
		sleep_us(20);
	while (phase == wanted && more--) {
		sleep_us(20);
		phase = phase_now(phases);
	}
	return phase;
}

/*
 * When the collection in progress and a full one have ended, what lives are keeper
 * and hub, and what our finalizers are still to see: the victim has left nothing.
 */
static void expect_no_victim(struct __test_metadata *_metadata, struct phases *phases)
{
	struct event_handler handler = {};
	int session = phases->adversary->session;
	struct pyobjmem_stats stats;

	ASSERT_EQ(0, heap_collect(session, 2, NULL));
	ASSERT_EQ(0, heap_stats(session, &stats));
	ASSERT_EQ(2 + phases->due + 1, stats.out_objects);
	ASSERT_EQ(0, stats.out_weak);
	ASSERT_EQ(0, stats.out_finalizers);
	ASSERT_EQ(VICTIM_FINALIZERS,
		  stats.out_finalizers_abandoned - phases->before.out_finalizers_abandoned);
	ASSERT_EQ(phases->due + DUE_EACH - 1, stats.out_events);
	ASSERT_VERIFIED(phases->adversary->heap.number);
	ASSERT_EQ(phases->due + DUE_EACH - 1, events_handle(session, &handler));
	ASSERT_EQ(phases->due, handler.finalized);
	ASSERT_EQ(2, stats_objects(session));
	ASSERT_EQ(0, heap_collect(session, 2, NULL));
	ASSERT_EQ(0, stats_candidates(session));
}

static void end_in_phase(struct __test_metadata *_metadata, struct phases *phases,
			 enum phase wanted, bool process)
{
	enum phase phase;
	pthread_t thread;

	phases_build(_metadata, phases);
	victim_start(_metadata, phases, process);
	phases_drop(_metadata, phases);
	ASSERT_EQ(0, collect_beside(phases, &thread));
	phase = await_phase(phases, wanted);
	victim_ends(_metadata, phases, process);
	phases->ended[phase][process]++;
	/* What it leaves are candidates: RESCUE looks like TRACE then. */
	phases->within[phase][process] += phase_now(phases) <= phase;
	ASSERT_EQ(0, collect_end(thread));
	expect_no_victim(_metadata, phases);
}

TEST_F_TIMEOUT(watch, session_ends_in_each_phase, ADVERSARY_SECONDS)
{
	struct phases *phases = calloc(1, sizeof(*phases));
	unsigned int way, try;
	enum phase phase;

	phases->adversary = &self->adversary;
	phases->nodes = NODES - NODES % DUE_EACH;
	ASSERT_EQ(0, container_create(self->session, PHASE_SLOTS, &phases->hub));
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, &phases->hub, 1, &phases->keeper));
	ASSERT_EQ(0, root_set(self->session, 0, phases->keeper, NULL));
	ASSERT_EQ(0, object_put(self->session, phases->hub));
	for (way = 0; way < WAYS; way++)
		for (phase = TRACE; phase <= FREE; phase++)
			for (try = 0; phases->ended[phase][way] < WANTED && try < TRIES; try++)
				end_in_phase(_metadata, phases, phase, way);
	for (phase = BEFORE; phase <= OVER; phase++)
		TH_LOG("%s: %u by LEAVE, %u within it; %u by SIGKILL, %u within it",
		       phase_name[phase], phases->ended[phase][0], phases->within[phase][0],
		       phases->ended[phase][1], phases->within[phase][1]);
	for (phase = TRACE; phase <= FREE; phase++) {
		EXPECT_LT(0, phases->ended[phase][0]);
		EXPECT_LT(0, phases->ended[phase][1]);
	}
	ASSERT_EQ(0, root_set(self->session, 0, 0, NULL));
	ASSERT_EQ(0, object_put(self->session, phases->keeper));
	free(phases);
}

TEST_HARNESS_MAIN
