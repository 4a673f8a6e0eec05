// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: the collector against brute force reachability. All directed graphs of
 * up to 4 objects with every pattern of holds, then random ones.
 */
#include <linux/bitmap.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/slab.h>

#include "kunit.h"

/* 4 is 2^20 graphs: seconds natively, half an hour in an emulated kernel with KASAN. */
static unsigned int graph_objects = 3;
module_param(graph_objects, uint, 0444);
MODULE_PARM_DESC(graph_objects, "KUnit: objects of the graphs that are all tried (1 to 4, default 3)");

static unsigned int random_graphs = 50;
module_param(random_graphs, uint, 0444);
MODULE_PARM_DESC(random_graphs, "KUnit: number of random graphs (default 50)");

#define NODES	200

/* By what an object is held. */
enum holder {
	SESSION,
	ROOT,
	TICKET,
	HOLDERS,
};

/* A graph: edges as a matrix, and who is held. */
struct graph {
	u32 n;
	u32 times;		/* slots for each edge: 1 or 2 */
	enum holder by[NODES];
	struct file *ticket[NODES];
	DECLARE_BITMAP(edge, NODES * NODES);
	DECLARE_BITMAP(held, NODES);
	DECLARE_BITMAP(reach, NODES);
	u64 handle[NODES];
};

static void set_ref(struct kunit *test, u64 from, u32 slot, u64 to)
{
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(test->priv, from, slot, to), 0);
}

static bool has_edge(const struct graph *g, u32 from, u32 to)
{
	return test_bit(from * NODES + to, g->edge);
}

/* What is reachable from the held ones, by looking until nothing changes. */
static void graph_reach(struct graph *g)
{
	bool changed = true;
	u32 i, j;

	bitmap_copy(g->reach, g->held, NODES);
	while (changed) {
		changed = false;
		for (i = 0; i < g->n; i++)
			for (j = 0; j < g->n; j++)
				if (test_bit(i, g->reach) && has_edge(g, i, j) &&
				    !test_and_set_bit(j, g->reach))
					changed = true;
	}
}

static void graph_link(struct kunit *test, struct graph *g)
{
	u32 i, j, k;

	for (i = 0; i < g->n; i++)
		for (j = 0; j < g->n; j++)
			for (k = 0; has_edge(g, i, j) && k < g->times; k++)
				set_ref(test, g->handle[i], k * g->n + j, g->handle[j]);
}

static void set_root(struct kunit *test, u32 root, u64 handle)
{
	struct pyobjmem_set_root cmd = { .root = root, .handle = handle };
	struct pom_fixture *f = test->priv;

	pom_heap_lock(f->heap);
	KUNIT_ASSERT_EQ(test, pom_heap_set_root(&f->session, &cmd), 0);
	pom_heap_unlock(f->heap);
	pom_heap_settle(f->heap);
}

/* What is held by a root or a ticket is not held by the session any more. */
static void graph_hold(struct kunit *test, struct graph *g)
{
	struct pom_fixture *f = test->priv;
	u32 i;

	for_each_set_bit(i, g->held, g->n) {
		if (g->by[i] == SESSION)
			continue;
		if (g->by[i] == ROOT) {
			set_root(test, i, g->handle[i]);
		} else {
			g->ticket[i] = pom_ticket_create(&f->session, g->handle[i]);
			KUNIT_ASSERT_FALSE(test, IS_ERR(g->ticket[i]));
		}
		pom_fixture_put(test, g->handle[i]);
	}
}

/* Let go of what is held, whatever by. */
static void graph_release(struct kunit *test, struct graph *g)
{
	u32 i;

	for_each_set_bit(i, g->held, g->n) {
		if (g->by[i] == SESSION)
			pom_fixture_put(test, g->handle[i]);
		else if (g->by[i] == ROOT)
			set_root(test, i, PYOBJMEM_NONE);
		else
			__fput_sync(g->ticket[i]);
	}
}

static void graph_put(struct kunit *test, struct graph *g, const unsigned long *which)
{
	struct pom_fixture *f = test->priv;
	u32 i;

	for_each_set_bit(i, which, g->n) {
		pom_heap_lock(f->heap);
		KUNIT_ASSERT_EQ(test, pom_object_put(&f->session, g->handle[i]), 0);
		pom_heap_unlock(f->heap);
	}
	pom_heap_settle(f->heap);
}

static bool lives(struct kunit *test, u64 handle)
{
	struct pom_object obj;

	return !pom_fixture_find(test->priv, handle, &obj);
}

/* Build it, let go of what is not held, collect: what is reachable lives. */
static void graph_run(struct kunit *test, struct graph *g)
{
	struct pom_fixture *f = test->priv;
	DECLARE_BITMAP(dropped, NODES);
	u32 i;

	for (i = 0; i < g->n; i++)
		g->handle[i] = pom_fixture_create(test, g->times * g->n, 0);
	graph_link(test, g);
	graph_hold(test, g);
	bitmap_complement(dropped, g->held, NODES);
	graph_put(test, g, dropped);
	pom_fixture_collect(test, 2);

	graph_reach(g);
	for (i = 0; i < g->n; i++)
		KUNIT_ASSERT_EQ_MSG(test, lives(test, g->handle[i]), test_bit(i, g->reach),
				    "object %u of %u, edges %*pb, held %*pb", i, g->n,
				    NODES * g->n, g->edge, g->n, g->held);
	KUNIT_ASSERT_EQ(test, f->heap->objects, (u64)bitmap_weight(g->reach, NODES));

	graph_release(test, g);
	pom_fixture_collect(test, 2);
	KUNIT_ASSERT_EQ(test, f->heap->objects, 0ULL);
}

static struct graph *graph_new(struct kunit *test, u32 n)
{
	struct graph *g = kunit_kzalloc(test, sizeof(*g), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, g);
	g->n = n;
	g->times = 1;
	return g;
}

/* The graph whose edges and holds are the bits of two numbers. */
static void small_graph(struct graph *g, u32 edges, u32 held)
{
	u32 i;

	bitmap_zero(g->edge, NODES * NODES);
	for (i = 0; i < g->n * g->n; i++)
		if (edges & BIT(i))
			__set_bit(i / g->n * NODES + i % g->n, g->edge);
	bitmap_zero(g->held, NODES);
	for (i = 0; i < g->n; i++)
		if (held & BIT(i))
			__set_bit(i, g->held);
}

/* Held by the session, and then by others as well: each object in turn by each. */
static void every_small_graph(struct kunit *test)
{
	struct graph *g = graph_new(test, 0);
	u32 edges, held, i, graphs = 0;

	for (g->n = 1; g->n <= min(graph_objects, 4U); g->n++) {
		for (edges = 0; edges < 1U << (g->n * g->n); edges++) {
			for (held = 0; held < 1U << g->n; held++) {
				small_graph(g, edges, held);
				for (i = 0; i < g->n; i++)
					g->by[i] = SESSION;
				graph_run(test, g);
				for (i = 0; i < g->n; i++)
					g->by[i] = (edges + held + i) % HOLDERS;
				if (held)
					graph_run(test, g);
				graphs++;
			}
			cond_resched();
		}
	}
	kunit_info(test, "%u graphs", graphs);
}

static void random_graph(struct graph *g, struct rnd_state *rnd)
{
	u32 degree = prandom_u32_state(rnd) % 4 + 1;
	u32 i, j;

	bitmap_zero(g->edge, NODES * NODES);
	bitmap_zero(g->held, NODES);
	g->n = 5 + prandom_u32_state(rnd) % (NODES - 4);
	for (i = 0; i < g->n; i++) {
		for (j = 0; j < degree; j++)
			__set_bit(i * NODES + prandom_u32_state(rnd) % g->n, g->edge);
		if (prandom_u32_state(rnd) % 32 == 0)
			__set_bit(i, g->held);
		/* No two by the same root. */
		g->by[i] = prandom_u32_state(rnd) % HOLDERS;
		if (g->by[i] == ROOT && i >= PYOBJMEM_ROOTS)
			g->by[i] = TICKET;
	}
	g->times = 1 + prandom_u32_state(rnd) % 2;
}

static void random_large_graphs(struct kunit *test)
{
	struct graph *g = graph_new(test, 0);
	struct rnd_state rnd;
	u32 i;

	prandom_seed_state(&rnd, pom_random_seed);
	for (i = 0; i < random_graphs; i++) {
		random_graph(g, &rnd);
		graph_run(test, g);
		cond_resched();
	}
}

/* Garbage that came about in steps, between collections of all generations. */
static void generations_find_it_in_the_end(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct graph *g = graph_new(test, 0);
	struct rnd_state rnd;
	u32 i, k;

	prandom_seed_state(&rnd, pom_random_seed + 1);
	for (i = 0; i < random_graphs; i++) {
		random_graph(g, &rnd);
		for (k = 0; k < g->n; k++) {
			g->handle[k] = pom_fixture_create(test, g->times * g->n, 0);
			if (prandom_u32_state(&rnd) % 8 == 0)
				pom_fixture_collect(test, prandom_u32_state(&rnd) % 3);
		}
		graph_link(test, g);
		graph_hold(test, g);
		for (k = 0; k < g->n; k++) {
			DECLARE_BITMAP(one, NODES) = {};

			__set_bit(k, one);
			if (!test_bit(k, g->held))
				graph_put(test, g, one);
			if (prandom_u32_state(&rnd) % 8 == 0)
				pom_fixture_collect(test, prandom_u32_state(&rnd) % 3);
		}
		pom_fixture_collect(test, 2);
		graph_reach(g);
		KUNIT_ASSERT_EQ(test, f->heap->objects, (u64)bitmap_weight(g->reach, NODES));
		graph_release(test, g);
		pom_fixture_collect(test, 2);
		KUNIT_ASSERT_EQ(test, f->heap->objects, 0ULL);
	}
}

/* Young garbage names an old object: that one becomes garbage, but is not looked at. */
static void older_generations_are_left(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	u64 old, young;
	u32 g;

	for (g = 0; g < 2; g++) {
		old = pom_fixture_create(test, 1, 0);
		set_ref(test, old, 0, old);
		pom_fixture_collect(test, g);
		young = pom_fixture_create(test, 2, 0);
		set_ref(test, young, 0, young);
		set_ref(test, young, 1, old);
		pom_fixture_put(test, old);
		pom_fixture_put(test, young);
		KUNIT_EXPECT_EQ(test, pom_fixture_collect(test, g), 1ULL);
		KUNIT_EXPECT_TRUE(test, lives(test, old));
		KUNIT_EXPECT_FALSE(test, lives(test, young));
		KUNIT_EXPECT_EQ(test, pom_fixture_collect(test, 2), 1ULL);
		KUNIT_EXPECT_EQ(test, f->heap->objects, 0ULL);
	}
}

static void renumbering_keeps_the_generations(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc *gc = &f->heap->gc;
	u64 handle[4];
	struct pom_object obj;
	u32 i;

	/* One permanent, one of each generation. */
	handle[3] = pom_fixture_create(test, 1, 0);
	KUNIT_ASSERT_EQ(test, pom_freeze(f->heap, true), 0);
	handle[2] = pom_fixture_create(test, 1, 0);
	pom_fixture_collect(test, 1);
	handle[1] = pom_fixture_create(test, 1, 0);
	pom_fixture_collect(test, 0);
	handle[0] = pom_fixture_create(test, 1, 0);
	gc->epoch = U32_MAX;
	/* The next collection renumbers, then moves 0 to 1. */
	pom_fixture_collect(test, 0);
	KUNIT_EXPECT_LT(test, gc->epoch, 10U);
	for (i = 0; i < 4; i++) {
		pom_heap_lock(f->heap);
		KUNIT_ASSERT_EQ(test, pom_object_find(f->heap, handle[i], &obj), 0);
		KUNIT_EXPECT_EQ(test, pom_gc_generation(gc, obj.side->born), max(i, 1U));
		pom_heap_unlock(f->heap);
	}
	KUNIT_ASSERT_EQ(test, pom_freeze(f->heap, false), 0);
}

static struct kunit_case collect_cases[] = {
	KUNIT_CASE(every_small_graph),
	KUNIT_CASE(random_large_graphs),
	KUNIT_CASE(generations_find_it_in_the_end),
	KUNIT_CASE(older_generations_are_left),
	KUNIT_CASE(renumbering_keeps_the_generations),
	{}
};

static struct kunit_suite collect_suite = {
	.name = "pyobjmem_collect",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = collect_cases,
};

kunit_test_suite(collect_suite);
