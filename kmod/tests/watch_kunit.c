// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: finalizers and weak holds. All directed graphs of up to 3 objects, with
 * every pattern of holds, of finalizers and of weak holds. Everything is let go of,
 * and then events are read until there are none, finalized objects let go of,
 * and the heap collected: what happens must be what reachability says.
 */
#include <linux/module.h>

#include "kunit.h"

/* 3 is 280,000 cases: seconds natively, many minutes in an emulated kernel with KASAN. */
static unsigned int watch_objects = 2;
module_param(watch_objects, uint, 0444);
MODULE_PARM_DESC(watch_objects, "KUnit: objects of the graphs with finalizers (1 to 3, default 2)");

#define NODES	3

/* Collections after which all is quiet: one finds what is to be finalized, one frees it. */
#define COLLECTIONS	2

/**
 * struct scene - a graph and what has happened
 * @f: the fixture
 * @n: number of objects
 * @edges: bit from * n + to
 * @held: by a root
 * @finalizers: who has one
 * @weak: who is held weakly
 * @reach: what is reachable from @held
 * @handle: the objects
 * @finalized: whose finalizer has run
 * @dead: whose weak hold has died
 * @differs: what is not as it should be
 */
struct scene {
	struct pom_fixture *f;
	u32 n;
	u32 edges;
	u32 held;
	u32 finalizers;
	u32 weak;
	u32 reach;
	u64 handle[NODES];
	u32 finalized;
	u32 dead;
	struct pom_differs differs;
};

static bool same(struct scene *s, const char *what, u64 got, u64 expected)
{
	return pom_same(&s->differs, what, got, expected);
}

static bool has_edge(const struct scene *s, u32 from, u32 to)
{
	return s->edges & BIT(from * s->n + to);
}

/* All that can be reached from some, themselves included */
static u32 reach_from(const struct scene *s, u32 from)
{
	u32 reach, i, j;

	do {
		reach = from;
		for (i = 0; i < s->n; i++)
			for (j = 0; reach & BIT(i) && j < s->n; j++)
				if (has_edge(s, i, j))
					from |= BIT(j);
	} while (from != reach);
	return reach;
}

static bool lives(struct scene *s, u32 i)
{
	struct pom_object obj;

	return !pom_fixture_find(s->f, s->handle[i], &obj);
}

static int set_root(struct scene *s, u32 root, u64 handle)
{
	struct pyobjmem_set_root cmd = { .root = root, .handle = handle };
	int ret;

	pom_heap_lock(s->f->heap);
	ret = pom_heap_set_root(&s->f->session, &cmd);
	pom_heap_unlock(s->f->heap);
	pom_heap_settle(s->f->heap);
	return ret;
}

static bool put(struct scene *s, u64 handle)
{
	int ret;

	pom_heap_lock(s->f->heap);
	ret = pom_object_put(&s->f->session, handle);
	pom_heap_unlock(s->f->heap);
	pom_heap_settle(s->f->heap);
	return same(s, "PUT", ret, 0);
}

static bool scene_build(struct scene *s)
{
	struct pyobjmem_create what = { .slots = s->n };
	int ret = 0;
	u32 i, j;

	s->reach = reach_from(s, s->held);
	s->finalized = 0;
	s->dead = 0;
	for (i = 0; i < s->n; i++) {
		what.flags = s->finalizers & BIT(i) ? PYOBJMEM_CREATE_FINALIZE : 0;
		s->handle[i] = pom_fixture_make(s->f, &what);
		if (!s->handle[i])
			return same(s, "CREATE", 0, 1);
		if (s->weak & BIT(i))
			ret = ret ?: pom_fixture_weak(s->f, s->handle[i], i);
		if (s->held & BIT(i))
			ret = ret ?: set_root(s, i, s->handle[i]);
	}
	for (i = 0; i < s->n; i++)
		for (j = 0; j < s->n; j++)
			if (has_edge(s, i, j))
				ret = ret ?: pom_fixture_set_ref(s->f, s->handle[i], j,
								 s->handle[j]);
	return same(s, "building", ret, 0);
}

/* A finalizer sees its object whole, and all that it reaches. */
static bool see_whole(struct scene *s, u32 i)
{
	u32 whole = 0, reach = reach_from(s, BIT(i)), j;

	for (j = 0; j < s->n; j++)
		if (lives(s, j))
			whole |= BIT(j);
	return same(s, "what a finalizer sees", reach & whole, reach);
}

static bool on_finalize(struct scene *s, u32 i)
{
	bool good = same(s, "a finalizer runs again", s->finalized & BIT(i), 0) &&
		    same(s, "a finalizer runs that is none", s->finalizers & BIT(i), BIT(i)) &&
		    same(s, "the finalizer of a reachable object", s->reach & BIT(i), 0) &&
		    same(s, "a weak hold died before the finalizer", s->dead & BIT(i), 0) &&
		    see_whole(s, i);

	s->finalized |= BIT(i);
	if (good && s->weak & BIT(i))
		good = same(s, "UPGRADE of what is being finalized",
			    pom_fixture_upgrade(s->f, s->handle[i]), 0) &&
		       put(s, s->handle[i]);
	return good && put(s, s->handle[i]);
}

static bool on_weak_dead(struct scene *s, u32 i)
{
	bool good = same(s, "a weak hold dies again", s->dead & BIT(i), 0) &&
		    same(s, "a weak hold dies that is none", s->weak & BIT(i), BIT(i)) &&
		    same(s, "a weak hold of a reachable object dies", s->reach & BIT(i), 0) &&
		    same(s, "a weak hold dies before the finalizer", s->finalized & BIT(i),
			 s->finalizers & BIT(i)) &&
		    same(s, "UPGRADE of the dead", pom_fixture_upgrade(s->f, s->handle[i]),
			 -ESTALE);

	s->dead |= BIT(i);
	return good;
}

/* Read events, and do what they ask for, until there are none. */
static bool scene_events(struct scene *s)
{
	struct pom_watch event;
	u32 i;

	while (pom_fixture_event(s->f, &event)) {
		for (i = 0; i < s->n && s->handle[i] != event.handle; i++)
			;
		if (!same(s, "the object of an event", i < s->n, true))
			return false;
		if (event.kind == POM_WATCH_FINALIZE ? !on_finalize(s, i) : !on_weak_dead(s, i))
			return false;
	}
	return true;
}

/* What is unreachable has gone, and whoever was to hear of it has. */
static bool scene_quiet(struct scene *s)
{
	u32 all = BIT(s->n) - 1, i;

	for (i = 0; i < s->n; i++)
		if (!same(s, "who lives", lives(s, i), !!(s->reach & BIT(i))))
			return false;
	return same(s, "who was finalized", s->finalized, s->finalizers & ~s->reach & all) &&
	       same(s, "whose weak holds died", s->dead, s->weak & ~s->reach & all) &&
	       same(s, "objects", s->f->heap->objects, hweight32(s->reach)) &&
	       same(s, "armed finalizers", s->f->heap->nr_watches[POM_WATCH_FINALIZE],
		    hweight32(s->finalizers & s->reach)) &&
	       same(s, "armed weak holds", s->f->heap->nr_watches[POM_WATCH_WEAK],
		    hweight32(s->weak & s->reach));
}

static bool scene_settle(struct scene *s)
{
	u32 i;

	for (i = 0; i < COLLECTIONS; i++)
		if (!scene_events(s) ||
		    !same(s, "COLLECT", pom_collect(s->f->heap, 2, NULL), 0))
			return false;
	return scene_events(s) && scene_quiet(s);
}

static bool scene_play(struct scene *s)
{
	u32 i;

	if (!scene_build(s))
		return false;
	for (i = 0; i < s->n; i++)
		if (!put(s, s->handle[i]))
			return false;
	if (!scene_settle(s))
		return false;
	/* Now what was held goes, too. */
	for (i = 0; i < s->n; i++)
		if (s->held & BIT(i) && !same(s, "SET_ROOT", set_root(s, i, 0), 0))
			return false;
	s->reach = 0;
	return scene_settle(s);
}

static void all_graphs(struct kunit *test)
{
	struct scene s = { .f = test->priv };
	u32 n = min_t(u32, watch_objects, NODES), sets = BIT(n);
	u32 number;

	s.n = n;
	for (s.edges = 0; s.edges < BIT(n * n); s.edges++) {
		for (number = 0; number < sets * sets * sets; number++) {
			s.held = number % sets;
			s.finalizers = number / sets % sets;
			s.weak = number / sets / sets;
			POM_ASSERT_SAME(test, scene_play(&s), &s.differs,
					"%u objects, edges %#x, held %#x, finalizers %#x, weak %#x",
					n, s.edges, s.held, s.finalizers, s.weak);
		}
		cond_resched();
	}
}

/* A finalizer that keeps its object: once, and never again. */
static void a_resurrected_object_is_not_finalized_again(struct kunit *test)
{
	struct pyobjmem_create what = { .slots = 1, .flags = PYOBJMEM_CREATE_FINALIZE };
	struct pom_fixture *f = test->priv;
	u64 handle = pom_fixture_make(f, &what);
	struct pom_watch event;

	KUNIT_ASSERT_EQ(test, pom_fixture_weak(f, handle, 7), 0);
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(f, handle, 0, handle), 0);
	pom_fixture_put(test, handle);
	KUNIT_EXPECT_EQ(test, pom_fixture_collect(test, 2), 0ULL);
	KUNIT_EXPECT_EQ(test, f->heap->gc.run.finalizers, 1ULL);
	KUNIT_ASSERT_TRUE(test, pom_fixture_event(f, &event));
	KUNIT_EXPECT_EQ(test, event.handle, handle);
	KUNIT_EXPECT_FALSE(test, pom_fixture_event(f, &event));

	/* It is kept by the event's hold, and then by nothing. */
	KUNIT_EXPECT_EQ(test, pom_fixture_collect(test, 2), 0ULL);
	KUNIT_EXPECT_EQ(test, pom_fixture_upgrade(f, handle), 0);
	pom_fixture_put(test, handle);
	pom_fixture_put(test, handle);
	KUNIT_EXPECT_EQ(test, pom_fixture_collect(test, 2), 1ULL);
	KUNIT_EXPECT_EQ(test, f->heap->gc.run.finalizers, 0ULL);
	KUNIT_ASSERT_TRUE(test, pom_fixture_event(f, &event));
	KUNIT_EXPECT_EQ(test, event.kind, POM_WATCH_WEAK);
	KUNIT_EXPECT_EQ(test, event.cookie, 7ULL);
	KUNIT_EXPECT_FALSE(test, pom_fixture_event(f, &event));
}

/* A session that has ended finalizes nothing, and what it was to finalize is counted. */
static void who_has_ended_finalizes_nothing(struct kunit *test)
{
	struct pyobjmem_create what = { .slots = 1, .flags = PYOBJMEM_CREATE_FINALIZE };
	struct pom_fixture *f = test->priv;
	u64 queued = pom_fixture_make(f, &what), armed = pom_fixture_make(f, &what);
	u64 late = pom_fixture_make(f, &what);
	int budget = 1;

	pom_fixture_put(test, queued);
	KUNIT_EXPECT_EQ(test, f->session.nr_events, 1ULL);
	KUNIT_EXPECT_EQ(test, f->session.nr_watches, 3ULL);

	f->session.ended = true;
	pom_fixture_put(test, late);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 2ULL);
	KUNIT_EXPECT_EQ(test, f->session.nr_events, 1ULL);
	KUNIT_EXPECT_EQ(test, f->heap->finalizers_abandoned, 1ULL);

	pom_heap_lock(f->heap);
	KUNIT_EXPECT_TRUE(test, pom_watch_drop(&f->session, &budget));
	budget = 2;
	KUNIT_EXPECT_FALSE(test, pom_watch_drop(&f->session, &budget));
	KUNIT_EXPECT_EQ(test, budget, 1);
	pom_heap_unlock(f->heap);
	pom_heap_settle(f->heap);

	KUNIT_EXPECT_EQ(test, f->heap->objects, 1ULL);
	pom_fixture_put(test, armed);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 0ULL);
	KUNIT_EXPECT_EQ(test, f->heap->finalizers_abandoned, 3ULL);
	KUNIT_EXPECT_EQ(test, f->session.nr_watches, 0ULL);
	KUNIT_EXPECT_EQ(test, f->session.nr_events, 0ULL);
}

static struct kunit_case watch_cases[] = {
	KUNIT_CASE(all_graphs),
	KUNIT_CASE(a_resurrected_object_is_not_finalized_again),
	KUNIT_CASE(who_has_ended_finalizes_nothing),
	{}
};

static struct kunit_suite watch_suite = {
	.name = "pyobjmem_watch",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = watch_cases,
};

kunit_test_suite(watch_suite);
