// SPDX-License-Identifier: GPL-2.0
/*
 * Graphs: cycles of all shapes are collected when nothing outside of them refers
 * to them, exactly these and exactly then; generations; large graphs.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "queue.h"

#include <ctype.h>

FIXTURE(graph)
{
	struct test_heap heap;
	int session;
	struct queue queue;
};

FIXTURE_SETUP(graph)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	self->queue.session = self->session;
}

FIXTURE_TEARDOWN(graph)
{
	EXPECT_CLEAN_END(&self->heap);
}

/* Figures of a full collection that belong together. */
static void collect_exactly(struct __test_metadata *_metadata, int session, __u64 collected)
{
	__u64 before = stats_objects(session);
	struct pyobjmem_collect collect;

	ASSERT_EQ(0, heap_collect(session, 2, &collect));
	EXPECT_EQ(collected, collect.out_collected);
	EXPECT_EQ(before - collected, stats_objects(session));
	EXPECT_EQ(0, collect.out_finalizers);
	EXPECT_EQ(collect.out_visited, collect.out_collected + collect.out_survivors);
	EXPECT_GE(before, collect.out_visited);
	EXPECT_LT(0, collect.out_slices);
	EXPECT_LE(collect.out_longest_ns, collect.out_duration_ns);
	EXPECT_EQ(0, stats_candidates(session));
}

/* --- Shapes ---------------------------------------------------------------- */

FIXTURE(shape)
{
	FIXTURE_DATA(graph) graph;
	unsigned int nodes;
	bool edge[16][16];
	bool alive[16];
	__u64 handle[16];
};

/* Edges as "0>1 1>0"; the node that a second process may hold. */
FIXTURE_VARIANT(shape)
{
	const char *edges;
	unsigned int held;
};

#define SHAPE(name, node, text)							\
	FIXTURE_VARIANT_ADD(shape, name) { .held = node, .edges = text }

SHAPE(self, 0, "0>0");
SHAPE(pair, 1, "0>1 1>0");
SHAPE(triangle, 2, "0>1 1>2 2>0");
SHAPE(cross_edge, 1, "0>1 1>2 2>0 1>3 3>2");
SHAPE(backtrack, 2, "0>1 1>2 2>3 3>1 2>0");
SHAPE(two_cycles_joined, 2, "0>1 1>0 1>2 2>3 3>2");
SHAPE(two_cycles_joined_first_held, 0, "0>1 1>0 1>2 2>3 3>2");
SHAPE(two_cycles_sharing_a_node, 4, "0>1 1>2 2>0 2>3 3>4 4>2");
SHAPE(ring_with_a_tail, 3, "0>1 1>0 1>2 2>3");
SHAPE(ring_behind_a_chain, 1, "0>1 1>2 2>3 3>4 4>2");
SHAPE(doubly_linked_list, 2, "0>1 1>0 1>2 2>1 2>3 3>2 3>4 4>3");
SHAPE(tree_with_parent_links, 3, "0>1 0>2 1>0 2>0 1>3 3>1 1>4 4>1 2>5 5>2");
SHAPE(double_edges, 0, "0>1 0>1 1>0 1>0 1>1");
SHAPE(two_apart, 3, "0>1 1>0 2>3 3>2");
SHAPE(lattice, 4, "0>1 1>2 2>5 5>8 8>7 7>6 6>3 3>0 1>4 4>7 3>4 4>5");
SHAPE(clique_of_four, 0, "0>1 0>2 0>3 1>0 1>2 1>3 2>0 2>1 2>3 3>0 3>1 3>2");
SHAPE(no_cycle, 2, "0>1 0>2 1>3 2>3 3>4");

FIXTURE_SETUP(shape)
{
	graph_setup(_metadata, &self->graph, NULL);
}

FIXTURE_TEARDOWN(shape)
{
	graph_teardown(_metadata, &self->graph, NULL);
}

static void shape_build(struct __test_metadata *_metadata, FIXTURE_DATA(shape) *self,
			const char *edges)
{
	struct queue *queue = &self->graph.queue;
	__u32 slots[16] = { 0 }, from, to;
	const char *at;

	memset(self->edge, 0, sizeof(self->edge));
	memset(self->alive, 0, sizeof(self->alive));
	self->nodes = 0;
	for (at = edges; *at; at++) {
		if (!isdigit((unsigned char)*at))
			continue;
		from = *at - '0';
		self->nodes = from + 1 > self->nodes ? from + 1 : self->nodes;
		if (at[1] == '>')
			slots[from]++;
	}
	create_many(_metadata, queue, self->handle, self->nodes, slots, 0);
	for (at = edges; *at; at++) {
		if (*at != '>')
			continue;
		from = at[-1] - '0';
		to = at[1] - '0';
		self->edge[from][to] = true;
		queue_add(_metadata, queue, entry_set_ref(self->handle[from], --slots[from],
							  self->handle[to]));
	}
	queue_flush(_metadata, queue);
	for (from = 0; from < self->nodes; from++)
		self->alive[from] = true;
}

/* What counts alone leave, if @held (or none: -1) is held: how many objects. */
static unsigned int counts_leave(FIXTURE_DATA(shape) *self, int held)
{
	unsigned int i, j, left = 0;
	bool again = true, named;

	while (again) {
		again = false;
		for (i = 0; i < self->nodes; i++) {
			named = (int)i == held;
			for (j = 0; j < self->nodes; j++)
				named |= self->alive[j] && self->edge[j][i];
			if (self->alive[i] && !named) {
				self->alive[i] = false;
				again = true;
			}
		}
	}
	for (i = 0; i < self->nodes; i++)
		left += self->alive[i];
	return left;
}

/* What is reachable from @held, or nothing: how many objects. */
static unsigned int reachable(FIXTURE_DATA(shape) *self, int held)
{
	unsigned int i, j, count = 0;
	bool seen[16] = { false }, again = true;

	if (held >= 0)
		seen[held] = true;
	while (again) {
		again = false;
		for (i = 0; i < self->nodes; i++)
			for (j = 0; j < self->nodes; j++)
				if (seen[i] && self->edge[i][j] && !seen[j]) {
					seen[j] = true;
					again = true;
				}
	}
	for (i = 0; i < self->nodes; i++) {
		self->alive[i] = seen[i];
		count += seen[i];
	}
	return count;
}

TEST_F(shape, unheld)
{
	int session = self->graph.session;
	unsigned int left;

	shape_build(_metadata, self, variant->edges);
	/* While it is held from here, all of it lives. */
	collect_exactly(_metadata, session, 0);
	put_many(_metadata, &self->graph.queue, self->handle, self->nodes);
	left = counts_leave(self, -1);
	ASSERT_EQ(left, stats_objects(session));
	collect_exactly(_metadata, session, left);
	collect_exactly(_metadata, session, 0);
}

/* Hold what root 0 names, from another process, until told to go. */
static int hold_root(struct child_side *side)
{
	struct test_heap *heap = side->argument;
	int session;
	__u64 handle;

	close(heap->session);
	session = test_heap_join(heap);
	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!root_get(session, 0, &handle));
	CHILD_CHECK(handle);
	child_ready(side);
	child_waits(side);
	return 0;
}

static void held_then_not(struct __test_metadata *_metadata, FIXTURE_DATA(shape) *self,
			  const char *edges, int held, bool kill)
{
	int session = self->graph.session;
	unsigned int left, live;
	struct child child;

	shape_build(_metadata, self, edges);
	ASSERT_EQ(0, root_set(session, 0, self->handle[held], NULL));
	ASSERT_EQ(0, child_start(&child, hold_root, &self->graph.heap));
	ASSERT_TRUE(child_wait_ready(&child));
	ASSERT_EQ(0, root_set(session, 0, 0, NULL));
	put_many(_metadata, &self->graph.queue, self->handle, self->nodes);
	left = counts_leave(self, held);
	EXPECT_EQ(left, stats_objects(session));
	live = reachable(self, held);
	collect_exactly(_metadata, session, left - live);
	EXPECT_VERIFIED(self->graph.heap.number);
	collect_exactly(_metadata, session, 0);

	EXPECT_EQ(kill ? -SIGKILL : 0, kill ? child_kill(&child) : child_end(&child));
	ASSERT_TRUE(wait_until(stats_sessions(session) == 1, SOON_MS));
	left = counts_leave(self, -1);
	EXPECT_EQ(left, stats_objects(session));
	collect_exactly(_metadata, session, left);
	EXPECT_EQ(0, stats_objects(session));
}

TEST_F(shape, held_by_another_process)
{
	held_then_not(_metadata, self, variant->edges, variant->held, false);
}

TEST_F(shape, held_by_a_process_that_is_killed)
{
	held_then_not(_metadata, self, variant->edges, variant->held, true);
}

/* Two copies side by side, one of them held: the other goes alone. */
TEST_F(shape, two_copies_one_held)
{
	int session = self->graph.session;
	__u64 first[16];
	unsigned int left, i;

	shape_build(_metadata, self, variant->edges);
	memcpy(first, self->handle, sizeof(first));
	shape_build(_metadata, self, variant->edges);
	ASSERT_EQ(0, root_set(session, 0, first[variant->held], NULL));
	put_many(_metadata, &self->graph.queue, self->handle, self->nodes);
	for (i = 0; i < self->nodes; i++)
		ASSERT_EQ(0, object_get(session, first[i]));
	put_many(_metadata, &self->graph.queue, first, self->nodes);
	left = counts_leave(self, -1);
	ASSERT_EQ(left + self->nodes, stats_objects(session));
	collect_exactly(_metadata, session, left);
	put_many(_metadata, &self->graph.queue, first, self->nodes);
	for (i = 0; i < self->nodes; i++)
		self->alive[i] = true;
	left = counts_leave(self, variant->held);
	EXPECT_EQ(left, stats_objects(session));
	collect_exactly(_metadata, session, left - reachable(self, variant->held));
	ASSERT_EQ(0, root_set(session, 0, 0, NULL));
	left = counts_leave(self, -1);
	collect_exactly(_metadata, session, left);
	EXPECT_EQ(0, stats_objects(session));
}

/* --- Large ------------------------------------------------------------------ */

#define LARGE	100000

/* A chain, held by its head only. */
static __u64 build_chain(struct __test_metadata *_metadata, FIXTURE_DATA(graph) *self,
			 unsigned int length)
{
	__u64 *handle = calloc(length, sizeof(*handle)), head;
	unsigned int i;

	create_many(_metadata, &self->queue, handle, length, NULL, 1);
	for (i = 1; i < length; i++)
		queue_add(_metadata, &self->queue, entry_set_ref(handle[i - 1], 0, handle[i]));
	queue_flush(_metadata, &self->queue);
	put_many(_metadata, &self->queue, handle + 1, length - 1);
	head = handle[0];
	free(handle);
	return head;
}

TEST_F_TIMEOUT(graph, chain_of_100000_goes_with_one_put, 60)
{
	__u64 head = build_chain(_metadata, self, LARGE);

	ASSERT_EQ(LARGE, stats_objects(self->session));
	ASSERT_EQ(1, stats_holds(self->session));
	/* Done when the call returns, without recursion. */
	ASSERT_EQ(0, object_put(self->session, head));
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(LARGE, stats_freed_counted(self->session));
	collect_exactly(_metadata, self->session, 0);
}

TEST_F_TIMEOUT(graph, ring_of_100000_goes_with_collect, 60)
{
	__u64 *handle = calloc(LARGE, sizeof(*handle));
	unsigned int i;

	create_many(_metadata, &self->queue, handle, LARGE, NULL, 1);
	for (i = 0; i < LARGE; i++)
		queue_add(_metadata, &self->queue,
			  entry_set_ref(handle[i], 0, handle[(i + 1) % LARGE]));
	queue_flush(_metadata, &self->queue);
	/* One hold keeps all of it. */
	put_many(_metadata, &self->queue, handle + 1, LARGE - 1);
	collect_exactly(_metadata, self->session, 0);
	ASSERT_VERIFIED(self->heap.number);
	ASSERT_EQ(0, object_put(self->session, handle[0]));
	EXPECT_EQ(LARGE, stats_objects(self->session));
	collect_exactly(_metadata, self->session, LARGE);
	EXPECT_EQ(LARGE, stats_freed_collected(self->session));
	free(handle);
}

/* A long chain that hangs on a dead ring: the collector takes it along. */
TEST_F_TIMEOUT(graph, long_tail_of_a_dead_ring, 60)
{
	__u64 head = build_chain(_metadata, self, LARGE / 4), ring;

	ASSERT_EQ(0, container_create(self->session, 2, &ring));
	ASSERT_EQ(0, ref_set(self->session, ring, 0, ring, NULL));
	ASSERT_EQ(0, ref_set(self->session, ring, 1, head, NULL));
	ASSERT_EQ(0, object_put(self->session, head));
	ASSERT_EQ(0, object_put(self->session, ring));
	EXPECT_EQ(LARGE / 4 + 1, stats_objects(self->session));
	collect_exactly(_metadata, self->session, LARGE / 4 + 1);
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F_TIMEOUT(graph, clique_of_300, 60)
{
	const unsigned int count = 300;
	struct pyobjmem_inspect inspect;
	__u64 *handle = calloc(count, sizeof(*handle));
	unsigned int i, j;

	create_many(_metadata, &self->queue, handle, count, NULL, count);
	for (i = 0; i < count; i++)
		for (j = 0; j < count; j++)
			queue_add(_metadata, &self->queue,
				  entry_set_ref(handle[i], j, handle[j]));
	queue_flush(_metadata, &self->queue);
	ASSERT_EQ(0, object_inspect(self->session, handle[7], &inspect));
	EXPECT_EQ(count, inspect.out_internal);
	put_many(_metadata, &self->queue, handle + 1, count - 1);
	collect_exactly(_metadata, self->session, 0);
	ASSERT_VERIFIED(self->heap.number);
	ASSERT_EQ(0, object_put(self->session, handle[0]));
	collect_exactly(_metadata, self->session, count);
	free(handle);
}

TEST_F_TIMEOUT(graph, object_of_100000_slots, 60)
{
	__u64 target[10], hub, *edges = calloc(LARGE, sizeof(*edges));
	struct pyobjmem_inspect inspect;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(target); i++)
		ASSERT_EQ(0, container_create(self->session, 0, &target[i]));
	ASSERT_EQ(0, container_create(self->session, LARGE, &hub));
	for (i = 0; i < LARGE - 1; i++)
		queue_add(_metadata, &self->queue,
			  entry_set_ref(hub, i, target[i % ARRAY_SIZE(target)]));
	queue_add(_metadata, &self->queue, entry_set_ref(hub, LARGE - 1, hub));
	queue_flush(_metadata, &self->queue);
	ASSERT_EQ(0, object_edges(self->session, hub, edges, LARGE, &inspect));
	ASSERT_EQ(LARGE, inspect.out_slots);
	ASSERT_EQ(1, inspect.out_internal);
	for (i = 0; i < LARGE - 1; i++)
		ASSERT_EQ(target[i % ARRAY_SIZE(target)], edges[i]);
	ASSERT_EQ(0, object_inspect(self->session, target[0], &inspect));
	ASSERT_EQ(LARGE / ARRAY_SIZE(target), inspect.out_internal);
	ASSERT_VERIFIED(self->heap.number);

	put_many(_metadata, &self->queue, target, ARRAY_SIZE(target));
	ASSERT_EQ(0, object_put(self->session, hub));
	EXPECT_EQ(1 + ARRAY_SIZE(target), stats_objects(self->session));
	collect_exactly(_metadata, self->session, 1 + ARRAY_SIZE(target));
	free(edges);
}

/* With its edges at once, and dropped by a PUT. */
TEST_F_TIMEOUT(graph, object_of_100000_initial_edges, 60)
{
	__u64 target, hub, *edges = calloc(LARGE, sizeof(*edges));
	struct pyobjmem_inspect inspect;
	unsigned int i;

	ASSERT_EQ(0, container_create(self->session, 0, &target));
	for (i = 0; i < LARGE; i++)
		edges[i] = i % 5 ? target : 0;
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 3, edges, LARGE, &hub));
	ASSERT_EQ(0, object_inspect(self->session, target, &inspect));
	EXPECT_EQ(LARGE / 5 * 4, inspect.out_internal);
	ASSERT_EQ(0, object_put(self->session, hub));
	ASSERT_EQ(0, object_inspect(self->session, target, &inspect));
	EXPECT_EQ(0, inspect.out_internal);
	EXPECT_EQ(1, stats_objects(self->session));
	free(edges);
}

TEST_F_TIMEOUT(graph, object_of_most_slots, 60)
{
	__u64 hub;

	ASSERT_EQ(0, container_create(self->session, PYOBJMEM_SLOTS_MAX, &hub));
	ASSERT_EQ(0, ref_set(self->session, hub, PYOBJMEM_SLOTS_MAX - 1, hub, NULL));
	ASSERT_EQ(-EINVAL, ref_set(self->session, hub, PYOBJMEM_SLOTS_MAX, hub, NULL));
	ASSERT_EQ(0, object_put(self->session, hub));
	collect_exactly(_metadata, self->session, 1);
}

/* A collection costs what changed, not what lives. */
TEST_F_TIMEOUT(graph, quiet_objects_are_not_visited, 60)
{
	__u64 *handle = calloc(LARGE / 4, sizeof(*handle)), ring;
	struct pyobjmem_collect collect;

	create_many(_metadata, &self->queue, handle, LARGE / 4, NULL, 2);
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(0, collect.out_visited);
	ASSERT_EQ(0, container_create(self->session, 1, &ring));
	ASSERT_EQ(0, ref_set(self->session, ring, 0, ring, NULL));
	ASSERT_EQ(0, object_put(self->session, ring));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(1, collect.out_visited);
	EXPECT_EQ(1, collect.out_collected);
	free(handle);
}

/* --- Generations ------------------------------------------------------------ */

static __u32 generation_of(int session, __u64 handle)
{
	struct pyobjmem_inspect inspect;

	return object_inspect(session, handle, &inspect) ? ~0U : inspect.out_generation;
}

/* A dead ring of two, so that a collection has something to do. */
static void make_dead_pair(struct __test_metadata *_metadata, int session)
{
	__u64 a, b;

	ASSERT_EQ(0, container_create(session, 1, &a));
	ASSERT_EQ(0, object_create(session, 0, NULL, 8, &a, 1, &b));
	ASSERT_EQ(0, ref_set(session, a, 0, b, NULL));
	ASSERT_EQ(0, object_put(session, a));
	ASSERT_EQ(0, object_put(session, b));
}

static __u64 collect_generation(struct __test_metadata *_metadata, int session, __u32 generation)
{
	struct pyobjmem_collect collect;

	ASSERT_EQ(0, heap_collect(session, generation, &collect));
	EXPECT_EQ(collect.out_visited, collect.out_collected + collect.out_survivors);
	return collect.out_collected;
}

TEST_F(graph, survivors_grow_older)
{
	static const struct { __u32 collect, old, young; } steps[] = {
		{ 0, 1, 1 }, { 0, 1, 1 }, { 1, 2, 2 }, { 0, 2, 1 }, { 2, 2, 2 }, { 1, 2, 2 },
	};
	__u64 old, young;
	size_t i;

	ASSERT_EQ(0, container_create(self->session, 1, &old));
	ASSERT_EQ(0, generation_of(self->session, old));
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &young));
		ASSERT_EQ(0, generation_of(self->session, young));
		make_dead_pair(_metadata, self->session);
		EXPECT_EQ(2, collect_generation(_metadata, self->session, steps[i].collect));
		EXPECT_EQ(steps[i].old, generation_of(self->session, old)) {
			TH_LOG("step %zu", i);
		}
		EXPECT_EQ(steps[i].young, generation_of(self->session, young)) {
			TH_LOG("step %zu", i);
		}
	}
}

/* Dead in generation @age: only a collection of that or an older one finds it. */
static void die_at(struct __test_metadata *_metadata, FIXTURE_DATA(graph) *self, __u32 age)
{
	__u64 ring;
	__u32 g;

	ASSERT_EQ(0, container_create(self->session, 1, &ring));
	ASSERT_EQ(0, ref_set(self->session, ring, 0, ring, NULL));
	for (g = 0; g < age; g++) {
		make_dead_pair(_metadata, self->session);
		collect_generation(_metadata, self->session, g);
	}
	ASSERT_EQ(age, generation_of(self->session, ring));
	ASSERT_EQ(0, object_put(self->session, ring));
	for (g = 0; g < age; g++)
		EXPECT_EQ(0, collect_generation(_metadata, self->session, g));
	EXPECT_EQ(1, stats_objects(self->session));
	EXPECT_EQ(1, collect_generation(_metadata, self->session, age));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(graph, young_garbage_is_found_by_each_collection)
{
	die_at(_metadata, self, 0);
}

TEST_F(graph, middle_garbage_is_not_found_by_a_young_collection)
{
	die_at(_metadata, self, 1);
}

TEST_F(graph, old_garbage_is_found_by_a_full_collection_only)
{
	die_at(_metadata, self, 2);
}

/* An old object: it has seen a full collection. */
static __u64 make_old(struct __test_metadata *_metadata, FIXTURE_DATA(graph) *self, __u32 slots)
{
	__u64 old;

	ASSERT_EQ(0, container_create(self->session, slots, &old));
	make_dead_pair(_metadata, self->session);
	ASSERT_EQ(2, collect_generation(_metadata, self->session, 2));
	ASSERT_EQ(2, generation_of(self->session, old));
	return old;
}

TEST_F(graph, ring_across_generations_needs_a_full_collection)
{
	__u64 old = make_old(_metadata, self, 1), young;

	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, &old, 1, &young));
	ASSERT_EQ(0, ref_set(self->session, old, 0, young, NULL));
	ASSERT_EQ(0, object_put(self->session, old));
	ASSERT_EQ(0, object_put(self->session, young));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 0));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 1));
	EXPECT_EQ(2, stats_objects(self->session));
	EXPECT_EQ(2, collect_generation(_metadata, self->session, 2));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(graph, old_objects_keep_young_ones)
{
	__u64 old = make_old(_metadata, self, 1), young;
	__u64 seen;

	ASSERT_EQ(0, container_create(self->session, 1, &young));
	ASSERT_EQ(0, ref_set(self->session, young, 0, young, NULL));
	ASSERT_EQ(0, ref_set(self->session, old, 0, young, NULL));
	ASSERT_EQ(0, object_put(self->session, young));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 0));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 1));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 2));
	ASSERT_EQ(0, ref_get(self->session, old, 0, &seen));
	EXPECT_EQ(young, seen);
}

/* And through an old one that nobody holds, but that a held one names. */
TEST_F(graph, old_objects_keep_young_ones_though_not_held)
{
	__u64 middle, top, young, seen;

	ASSERT_EQ(0, container_create(self->session, 1, &middle));
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, &middle, 1, &top));
	make_dead_pair(_metadata, self->session);
	collect_generation(_metadata, self->session, 2);
	ASSERT_EQ(0, container_create(self->session, 1, &young));
	ASSERT_EQ(0, ref_set(self->session, young, 0, young, NULL));
	ASSERT_EQ(0, ref_set(self->session, middle, 0, young, NULL));
	ASSERT_EQ(0, object_put(self->session, middle));
	ASSERT_EQ(0, object_put(self->session, young));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 0));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 2));
	ASSERT_EQ(0, ref_get(self->session, top, 0, &seen));
	ASSERT_EQ(0, ref_get(self->session, seen, 0, &seen));
	EXPECT_EQ(young, seen);
	ASSERT_VERIFIED(self->heap.number);
}

TEST_F(graph, young_garbage_of_old_garbage_waits_for_a_full_collection)
{
	__u64 old = make_old(_metadata, self, 2), young;

	ASSERT_EQ(0, ref_set(self->session, old, 0, old, NULL));
	ASSERT_EQ(0, container_create(self->session, 1, &young));
	ASSERT_EQ(0, ref_set(self->session, young, 0, young, NULL));
	ASSERT_EQ(0, ref_set(self->session, old, 1, young, NULL));
	ASSERT_EQ(0, object_put(self->session, young));
	ASSERT_EQ(0, object_put(self->session, old));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 0));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 1));
	EXPECT_EQ(2, collect_generation(_metadata, self->session, 2));
	EXPECT_EQ(0, stats_objects(self->session));
}

/* Young garbage that names old objects lets go of them. */
TEST_F(graph, young_garbage_lets_go_of_old_objects)
{
	__u64 old = make_old(_metadata, self, 1), young;

	ASSERT_EQ(0, container_create(self->session, 2, &young));
	ASSERT_EQ(0, ref_set(self->session, young, 0, young, NULL));
	ASSERT_EQ(0, ref_set(self->session, young, 1, old, NULL));
	ASSERT_EQ(0, object_put(self->session, old));
	ASSERT_EQ(0, object_put(self->session, young));
	EXPECT_EQ(1, collect_generation(_metadata, self->session, 0));
	/* The old one was dropped by its count. */
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(graph, stats_tell_the_generations)
{
	struct pyobjmem_stats stats;
	__u64 leaf, container[10];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(container); i++)
		ASSERT_EQ(0, container_create(self->session, 1, &container[i]));
	ASSERT_EQ(0, container_create(self->session, 0, &leaf));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(10, stats.out_gc[0].containers);
	EXPECT_EQ(10, stats.out_gc[0].count);
	EXPECT_EQ(0, stats.out_gc[1].containers);

	make_dead_pair(_metadata, self->session);
	collect_generation(_metadata, self->session, 0);
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(0, stats.out_gc[0].containers);
	EXPECT_EQ(10, stats.out_gc[1].containers);
	EXPECT_EQ(1, stats.out_gc[0].collections);
	EXPECT_EQ(2, stats.out_gc[0].collected);
	EXPECT_EQ(0, stats.out_gc[0].count);
	EXPECT_EQ(1, stats.out_gc[1].count);

	make_dead_pair(_metadata, self->session);
	ASSERT_EQ(0, object_put(self->session, container[0]));
	collect_generation(_metadata, self->session, 1);
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(0, stats.out_gc[1].containers);
	EXPECT_EQ(9, stats.out_gc[2].containers);
	EXPECT_EQ(1, stats.out_gc[1].collections);
	EXPECT_EQ(2, stats.out_gc[1].collected);
	EXPECT_EQ(0, stats.out_gc[1].count);
	EXPECT_EQ(1, stats.out_gc[2].count);

	collect_generation(_metadata, self->session, 2);
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(1, stats.out_gc[2].collections);
	EXPECT_EQ(0, stats.out_gc[2].collected);
	EXPECT_EQ(0, stats.out_gc[2].count);
	EXPECT_EQ(4, stats.out_freed_collected);
	for (i = 1; i < ARRAY_SIZE(container); i++)
		ASSERT_EQ(0, object_put(self->session, container[i]));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(0, stats.out_gc[2].containers);
}

/* --- Freeze ----------------------------------------------------------------- */

TEST_F(graph, freeze_and_unfreeze_move_everything)
{
	__u64 before, between;

	ASSERT_EQ(0, container_create(self->session, 1, &before));
	ASSERT_EQ(0, heap_freeze(self->session));
	EXPECT_EQ(PYOBJMEM_GENERATIONS, generation_of(self->session, before));
	EXPECT_EQ(1, stats_permanent(self->session));
	ASSERT_EQ(0, container_create(self->session, 1, &between));
	EXPECT_EQ(0, generation_of(self->session, between));
	ASSERT_EQ(0, heap_freeze(self->session));
	EXPECT_EQ(2, stats_permanent(self->session));
	EXPECT_EQ(PYOBJMEM_GENERATIONS, generation_of(self->session, between));
	make_dead_pair(_metadata, self->session);
	EXPECT_EQ(2, collect_generation(_metadata, self->session, 2));
	EXPECT_EQ(PYOBJMEM_GENERATIONS, generation_of(self->session, before));
	ASSERT_EQ(0, heap_unfreeze(self->session));
	EXPECT_EQ(0, stats_permanent(self->session));
	EXPECT_EQ(2, generation_of(self->session, before));
	EXPECT_EQ(2, generation_of(self->session, between));
	ASSERT_EQ(0, heap_unfreeze(self->session));
	EXPECT_EQ(2, generation_of(self->session, before));
}

TEST_F(graph, frozen_garbage_waits_for_unfreeze)
{
	__u64 ring;

	make_dead_pair(_metadata, self->session);
	ASSERT_EQ(0, container_create(self->session, 1, &ring));
	ASSERT_EQ(0, ref_set(self->session, ring, 0, ring, NULL));
	ASSERT_EQ(0, heap_freeze(self->session));
	ASSERT_EQ(0, object_put(self->session, ring));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 2));
	EXPECT_EQ(3, stats_objects(self->session));
	/* They are candidates still, for the collection after UNFREEZE. */
	EXPECT_EQ(3, stats_candidates(self->session));
	ASSERT_VERIFIED(self->heap.number);
	ASSERT_EQ(0, heap_unfreeze(self->session));
	EXPECT_EQ(3, collect_generation(_metadata, self->session, 2));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(graph, counts_of_frozen_objects_work)
{
	__u64 parent, child;

	ASSERT_EQ(0, container_create(self->session, 1, &child));
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, &child, 1, &parent));
	ASSERT_EQ(0, object_put(self->session, child));
	ASSERT_EQ(0, heap_freeze(self->session));
	EXPECT_EQ(2, stats_permanent(self->session));
	ASSERT_EQ(0, object_put(self->session, parent));
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(0, stats_permanent(self->session));
}

TEST_F(graph, frozen_objects_keep_young_ones)
{
	__u64 frozen, young, seen;

	ASSERT_EQ(0, container_create(self->session, 1, &frozen));
	ASSERT_EQ(0, heap_freeze(self->session));
	ASSERT_EQ(0, container_create(self->session, 1, &young));
	ASSERT_EQ(0, ref_set(self->session, young, 0, young, NULL));
	ASSERT_EQ(0, ref_set(self->session, frozen, 0, young, NULL));
	ASSERT_EQ(0, object_put(self->session, young));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 2));
	ASSERT_EQ(0, ref_get(self->session, frozen, 0, &seen));
	EXPECT_EQ(young, seen);
}

TEST_F(graph, ring_of_frozen_and_young_waits_for_unfreeze)
{
	__u64 frozen, young;

	ASSERT_EQ(0, container_create(self->session, 1, &frozen));
	ASSERT_EQ(0, heap_freeze(self->session));
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, &frozen, 1, &young));
	ASSERT_EQ(0, ref_set(self->session, frozen, 0, young, NULL));
	ASSERT_EQ(0, object_put(self->session, frozen));
	ASSERT_EQ(0, object_put(self->session, young));
	EXPECT_EQ(0, collect_generation(_metadata, self->session, 2));
	EXPECT_EQ(2, stats_objects(self->session));
	ASSERT_EQ(0, heap_unfreeze(self->session));
	EXPECT_EQ(2, collect_generation(_metadata, self->session, 2));
}

/* --- By itself -------------------------------------------------------------- */

static void set_thresholds(struct __test_metadata *_metadata, int session, bool on, __u32 t0,
			   __u32 t1, __u32 t2)
{
	struct pyobjmem_heap_configure configure = {
		.flags = PYOBJMEM_CONFIGURE_COLLECT | PYOBJMEM_CONFIGURE_THRESHOLDS,
		.thresholds = { t0, t1, t2 },
		.collect = on,
	};

	ASSERT_EQ(0, heap_configure(session, &configure));
}

static __u64 collections(int session)
{
	struct pyobjmem_stats stats;

	if (heap_stats(session, &stats))
		return ~0ULL;
	return stats.out_gc[0].collections + stats.out_gc[1].collections +
	       stats.out_gc[2].collections;
}

TEST_F(graph, collects_by_itself_when_told_to)
{
	unsigned int i;

	ASSERT_EQ(0, heap_automatic(self->session, true));
	for (i = 0; i < 1000; i++)
		make_dead_pair(_metadata, self->session);
	EXPECT_TRUE(wait_until(stats_freed_collected(self->session) > 0, SOON_MS));
	EXPECT_LT(0, collections(self->session));
}

TEST_F(graph, does_not_collect_by_itself_when_told_not_to)
{
	unsigned int i;

	for (i = 0; i < 2000; i++)
		make_dead_pair(_metadata, self->session);
	sleep_us(300000);
	EXPECT_EQ(0, collections(self->session));
	EXPECT_EQ(4000, stats_objects(self->session));
	collect_exactly(_metadata, self->session, 4000);
}

TEST_F(graph, threshold_of_0_means_never)
{
	unsigned int i;

	set_thresholds(_metadata, self->session, true, 0, 10, 10);
	for (i = 0; i < 2000; i++)
		make_dead_pair(_metadata, self->session);
	sleep_us(300000);
	EXPECT_EQ(0, collections(self->session));
}

TEST_F(graph, threshold_is_what_starts_a_collection)
{
	unsigned int i;

	set_thresholds(_metadata, self->session, true, 100, 10, 10);
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, container_create(self->session, 1, NULL));
	sleep_us(300000);
	EXPECT_EQ(0, collections(self->session));
	/* CPython's rule: more than the threshold. */
	ASSERT_EQ(0, container_create(self->session, 1, NULL));
	EXPECT_TRUE(wait_until(collections(self->session) == 1, SOON_MS));
	EXPECT_EQ(101, stats_objects(self->session));
}

TEST_F(graph, objects_without_slots_start_no_collection)
{
	unsigned int i;

	set_thresholds(_metadata, self->session, true, 100, 10, 10);
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(0, container_create(self->session, 0, NULL));
	sleep_us(300000);
	EXPECT_EQ(0, collections(self->session));
}

/* Created and freed in turn they start none either. */
TEST_F(graph, containers_that_come_and_go_start_no_collection)
{
	unsigned int i;
	__u64 handle;

	set_thresholds(_metadata, self->session, true, 100, 10, 10);
	for (i = 0; i < 2000; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &handle));
		ASSERT_EQ(0, object_put(self->session, handle));
	}
	sleep_us(300000);
	EXPECT_EQ(0, collections(self->session));
}

TEST_F(graph, older_generations_are_collected_in_their_turn)
{
	struct pyobjmem_stats stats;
	unsigned int i;

	set_thresholds(_metadata, self->session, true, 10, 2, 2);
	for (i = 0; i < 1000; i++) {
		make_dead_pair(_metadata, self->session);
		if (i % 10 == 9)
			sleep_us(1000);		/* the worker collects */
	}
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_LT(0, stats.out_gc[0].collections);
	EXPECT_LT(0, stats.out_gc[1].collections);
	EXPECT_LT(0, stats.out_gc[2].collections);
	EXPECT_LT(stats.out_gc[1].collections, stats.out_gc[0].collections);
}

/* The worker has done @number collections, one more each time there are over @threshold. */
static void expect_collections(struct __test_metadata *_metadata, int session, __u64 number)
{
	ASSERT_TRUE(wait_until(collections(session) == number, SOON_MS)) {
		TH_LOG("expected %llu collections, got %llu", (unsigned long long)number,
		       (unsigned long long)collections(session));
	}
}

/*
 * CPython's 25 % rule: the oldest generation waits until a quarter as much as it
 * has came into it. So the one whose turn it is not takes its place.
 */
TEST_F(graph, the_oldest_generation_waits_for_a_quarter_more)
{
	struct pyobjmem_stats before, after;
	unsigned int round, i;

	for (i = 0; i < 4000; i++)
		ASSERT_EQ(0, container_create(self->session, 1, NULL));
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	ASSERT_EQ(0, heap_stats(self->session, &before));
	ASSERT_EQ(1, before.out_gc[2].collections);

	/* Each round a collection: 0, then 1 instead of 0 or 2, in turn. */
	set_thresholds(_metadata, self->session, true, 10, 0, 0);
	for (round = 0; round < 40; round++) {
		for (i = 0; i < 11; i++)
			ASSERT_EQ(0, container_create(self->session, 1, NULL));
		expect_collections(_metadata, self->session, 2 + round);
	}
	ASSERT_EQ(0, heap_stats(self->session, &after));
	EXPECT_EQ(1, after.out_gc[2].collections);
	EXPECT_LT(10, after.out_gc[1].collections);

	/* The quarter has come about. */
	set_thresholds(_metadata, self->session, false, 10, 0, 0);
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(0, container_create(self->session, 1, NULL));
	ASSERT_EQ(0, heap_collect(self->session, 1, NULL));
	set_thresholds(_metadata, self->session, true, 10, 0, 0);
	for (i = 0; i < 11; i++)
		ASSERT_EQ(0, container_create(self->session, 1, NULL));
	EXPECT_TRUE(wait_until(!heap_stats(self->session, &after) &&
			       after.out_gc[2].collections == 2, SOON_MS)) {
		TH_LOG("expected 2 full collections, got %llu",
		       (unsigned long long)after.out_gc[2].collections);
	}
}

TEST_HARNESS_MAIN
