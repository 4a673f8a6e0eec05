// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: the collector beside a client. A collection is stopped after each of its
 * slices, and the client links, unlinks, takes, lets go and creates in between,
 * as a model does; some objects have finalizers, some are held weakly. What the client
 * can reach must live at all times, and what it cannot must go with the next full
 * collection, or be finalized and then go with the one after that.
 */
#include <linux/bitmap.h>
#include <linux/module.h>
#include <linux/prandom.h>

#include "kunit.h"

static unsigned int slice_rounds = 20;
module_param(slice_rounds, uint, 0444);
MODULE_PARM_DESC(slice_rounds, "KUnit: collections beside which a client works (default 20)");

#define NODES	300
#define SLOTS	8
#define NONE	NODES

/* Every eighth has no slots: such objects die at once, if they are not traced. */
#define LEAF(i)	((i) % 8 == 7)

/* What the client knows. */
struct world {
	struct pom_fixture *f;
	struct rnd_state rnd;
	u64 handle[NODES];	/* 0: there is none */
	u32 holds[NODES];
	bool finalizers;			/* some of what is made has one */
	DECLARE_BITMAP(finalizer, NODES);	/* it has not run */
	DECLARE_BITMAP(weak, NODES);		/* held weakly */
	u16 to[NODES][SLOTS];	/* NONE: the slot is empty */
	u16 queue[NODES];
	DECLARE_BITMAP(reach, NODES);
	DECLARE_BITMAP(before, NODES);
	DECLARE_BITMAP(due, NODES);	/* finalized by the running collection */
	struct pom_differs differs;

	struct pom_collector *collector;
	u64 between;		/* operations between slices */
	char verdict[POM_VERDICT];
};

static u32 below(struct world *w, u32 limit)
{
	return prandom_u32_state(&w->rnd) % limit;
}

static struct world *world_new(struct kunit *test)
{
	struct world *w = kunit_kzalloc(test, sizeof(*w), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, w);
	w->f = test->priv;
	prandom_seed_state(&w->rnd, pom_random_seed);
	return w;
}

static bool same(struct world *w, const char *what, u64 got, u64 expected)
{
	return pom_same(&w->differs, what, got, expected);
}

static void reach_add(struct world *w, u32 i, u32 *tail)
{
	if (i != NONE && !__test_and_set_bit(i, w->reach))
		w->queue[(*tail)++] = i;
}

/* What can be reached from what is held, without going through @except. */
static void world_reach_except(struct world *w, const unsigned long *except)
{
	u32 head = 0, tail = 0, i, s;

	bitmap_zero(w->reach, NODES);
	for (i = 0; i < NODES; i++)
		if (w->holds[i])
			reach_add(w, i, &tail);
	while (head < tail) {
		i = w->queue[head++];
		for (s = 0; !(except && test_bit(i, except)) && s < SLOTS; s++)
			reach_add(w, w->to[i][s], &tail);
	}
}

static void world_reach(struct world *w)
{
	world_reach_except(w, NULL);
}

/* --- The client ------------------------------------------------------------ */

static bool node_create(struct world *w, u32 i)
{
	struct pyobjmem_create what = {
		.slots = LEAF(i) ? 0 : SLOTS,
		.flags = w->finalizers && !below(w, 8) ? PYOBJMEM_CREATE_FINALIZE : 0,
	};
	u32 s;

	w->handle[i] = pom_fixture_make(w->f, &what);
	w->holds[i] = 1;
	__assign_bit(i, w->finalizer, what.flags);
	__assign_bit(i, w->weak, false);
	for (s = 0; s < SLOTS; s++)
		w->to[i][s] = NONE;
	return same(w, "CREATE", !w->handle[i], false);
}

static bool node_weaken(struct world *w, u32 i)
{
	bool again = __test_and_set_bit(i, w->weak);

	return same(w, "WEAK", pom_fixture_weak(w->f, w->handle[i], 0), again ? -EALREADY : 0);
}

/* What can be reached can be upgraded; what cannot, as long as nobody has noticed. */
static bool node_upgrade(struct world *w, u32 i)
{
	int ret;

	if (!test_bit(i, w->weak))
		return true;
	world_reach(w);
	ret = pom_fixture_upgrade(w->f, w->handle[i]);
	if (!ret)
		w->holds[i]++;
	else if (!test_bit(i, w->reach))
		return same(w, "UPGRADE of garbage", ret, -ESTALE);
	return same(w, "UPGRADE", ret, 0);
}

static bool node_put(struct world *w, u32 i)
{
	int ret;

	w->holds[i]--;
	pom_heap_lock(w->f->heap);
	ret = pom_object_put(&w->f->session, w->handle[i]);
	pom_heap_unlock(w->f->heap);
	pom_heap_settle(w->f->heap);
	return same(w, "PUT", ret, 0);
}

static bool node_link(struct world *w, u32 i, u32 slot, u32 to)
{
	u64 value = to == NONE ? PYOBJMEM_NONE : w->handle[to];
	int ret;

	w->to[i][slot] = to;
	ret = pom_fixture_set_ref(w->f, w->handle[i], slot, value);
	pom_heap_settle(w->f->heap);
	return same(w, "SET_REF", ret, 0);
}

static bool node_follow(struct world *w, u32 i, u32 slot)
{
	u32 to = w->to[i][slot];
	u64 handle;
	int ret;

	ret = pom_fixture_get_ref(w->f, w->handle[i], slot, &handle);
	if (to != NONE)
		w->holds[to]++;
	return same(w, "GET_REF", ret, 0) &&
	       same(w, "what a slot names", handle,
		    to == NONE ? PYOBJMEM_NONE : w->handle[to]);
}

/* One that is held, and has slots where it must; NONE if nothing is. */
static u32 any_held(struct world *w, bool leaf)
{
	u32 first = below(w, NODES), i, n;

	for (i = 0; i < NODES; i++) {
		n = (first + i) % NODES;
		if (w->holds[n] && (leaf || !LEAF(n)))
			return n;
	}
	return NONE;
}

/* The finalizer of an object runs now: the object is held. It was not reachable. */
static bool on_finalize(struct world *w, u32 i)
{
	w->holds[i]++;
	__set_bit(i, w->due);
	return same(w, "finalized", test_bit(i, w->reach), false) &&
	       same(w, "finalized once", __test_and_clear_bit(i, w->finalizer), true);
}

static bool on_weak_dead(struct world *w, u32 i)
{
	w->handle[i] = PYOBJMEM_NONE;
	return same(w, "weak and dead", test_bit(i, w->reach), false) &&
	       same(w, "dead once", __test_and_clear_bit(i, w->weak), true) &&
	       same(w, "dead before its finalizer", test_bit(i, w->finalizer), false);
}

/*
 * Read all events. What is finalized was not reachable before any of them, and
 * is held from then on. Of garbage everything is finalized, also what the client has
 * reached since through something that was. A place whose object is known to be dead
 * is free again.
 */
static bool client_events(struct world *w)
{
	struct pom_watch event;
	u32 i;

	world_reach_except(w, w->due);
	if (READ_ONCE(w->f->heap->gc.phase) == POM_IDLE)
		bitmap_zero(w->due, NODES);
	while (pom_fixture_event(w->f, &event)) {
		for (i = 0; i < NODES && w->handle[i] != event.handle; i++)
			;
		if (!same(w, "the object of an event", i < NODES, true))
			return false;
		if (event.kind == POM_WATCH_FINALIZE ? !on_finalize(w, i) : !on_weak_dead(w, i))
			return false;
	}
	return true;
}

/*
 * Along a path, taking what comes and emptying some of the slots behind: so what
 * the collector has seen named only by what it holds for garbage becomes held,
 * and is named no more.
 */
static bool client_walk(struct world *w, u32 i)
{
	u32 steps = 1 + below(w, 6), slot, s;

	while (steps--) {
		slot = below(w, SLOTS);
		for (s = 0; s < SLOTS && w->to[i][slot] == NONE; s++)
			slot = (slot + 1) % SLOTS;
		if (!node_follow(w, i, slot))
			return false;
		s = i;
		i = w->to[s][slot];
		if (i == NONE)
			return true;
		steps = LEAF(i) ? 0 : steps;
		if (below(w, 2) && !node_link(w, s, slot, NONE))
			return false;
	}
	return true;
}

static bool client_step(struct world *w)
{
	u32 i = any_held(w, false), slot = below(w, SLOTS), n = below(w, NODES);

	w->between++;
	if (!client_events(w))
		return false;
	if (i == NONE || below(w, 16) == 0)
		return w->handle[n] || node_create(w, n);
	switch (below(w, 10)) {
	case 0:
		return node_link(w, i, slot, NONE);
	case 1:
	case 2:
		return node_link(w, i, slot, any_held(w, true));
	case 3:
		return node_follow(w, i, slot);
	case 4:
		return client_walk(w, i);
	case 5:
		return node_weaken(w, any_held(w, true));
	case 6:
		return node_upgrade(w, n);
	default:
		return node_put(w, any_held(w, true));
	}
}

/* --- The test -------------------------------------------------------------- */

/* What can be reached lives; after a collection, nothing else does. */
static bool world_same(struct world *w, bool nothing_else)
{
	struct pom_object obj;
	bool lives;
	u32 i;

	world_reach(w);
	for (i = 0; i < NODES; i++) {
		if (!w->handle[i])
			continue;
		lives = !pom_fixture_find(w->f, w->handle[i], &obj);
		if (test_bit(i, w->reach) ? !same(w, "what is reached lives", lives, true) :
		    nothing_else && !same(w, "what is not reached lives", lives, false))
			return false;
	}
	if (!nothing_else)
		return true;
	for (i = 0; i < NODES; i++)
		if (!test_bit(i, w->reach))
			w->handle[i] = PYOBJMEM_NONE;
	return same(w, "objects", w->f->heap->objects, bitmap_weight(w->reach, NODES));
}

/* What is linked through the side headers is linked well in the middle, too. */
static bool world_verified(struct world *w)
{
	const char *says = pom_fixture_verify(w->f, w->verdict);

	if (!strcmp(says, "ok"))
		return true;
	pr_err("%s\n", says);
	return same(w, "verify", false, true);
}

/* As many objects as there can be, in a tangle of which little is held. */
static bool world_build(struct world *w)
{
	u32 i, s, keep = 1 + below(w, 40);

	for (i = 0; i < NODES; i++)
		if (!w->handle[i] && below(w, 8) &&
		    (!node_create(w, i) || (below(w, 2) && !node_weaken(w, i))))
			return false;
	for (i = 0; i < NODES; i++)
		for (s = 0; w->holds[i] && !LEAF(i) && s < SLOTS; s++)
			if (below(w, 4) == 0 && !node_link(w, i, s, any_held(w, true)))
				return false;
	for (i = 0; i < NODES; i++)
		while (w->holds[i] && below(w, keep))
			if (!node_put(w, i))
				return false;
	return true;
}

/* A collection of any generation, more often of the young, to its end or not */
static bool collection_run(struct world *w)
{
	u32 steps = 1 << below(w, 6), i;

	w->collector->generation = below(w, 2) ? 0 : below(w, PYOBJMEM_GENERATIONS);
	do {
		pom_collector_slice(w->collector);
		if (!client_events(w))
			return false;
		if (READ_ONCE(w->f->heap->gc.phase) == POM_IDLE)
			return true;
		for (i = 0; i < steps; i++)
			if (!client_step(w))
				return false;
		if (!world_same(w, false) || !world_verified(w))
			return false;
	} while (below(w, 64));
	return true;
}

/* Let go of what finalizers were given: nothing else is held of it. */
static bool client_finalize(struct world *w)
{
	u32 i;

	world_reach(w);
	bitmap_copy(w->before, w->reach, NODES);
	if (!client_events(w))
		return false;
	for (i = 0; i < NODES; i++)
		if (w->holds[i] && !test_bit(i, w->before) && !node_put(w, i))
			return false;
	return true;
}

/* Some collections with steps in them and between them, and then a full one */
static bool round_run(struct kunit *test, struct world *w)
{
	u32 collections = 1 + below(w, 4), steps, i;

	w->finalizers = below(w, 2);
	if (!world_build(w))
		return false;
	while (collections--) {
		if (!collection_run(w))
			return false;
		steps = below(w, 64);
		for (i = 0; i < steps; i++)
			if (!client_step(w))
				return false;
	}
	/* What is finalized may die of counts, which finalizes what it named. */
	pom_fixture_collect(test, 2);
	while (!list_empty(&w->f->session.events)) {
		if (!client_finalize(w))
			return false;
		pom_fixture_collect(test, 2);
	}
	return world_same(w, true);
}

static void what_can_be_reached_lives(struct kunit *test)
{
	struct world *w = world_new(test);
	u32 round;
	bool good = true;

	w->collector = pom_collector_start(test, 0);
	for (round = 0; good && round < slice_rounds; round++) {
		good = round_run(test, w);
		cond_resched();
	}
	pom_collector_stop(w->collector);
	POM_ASSERT_SAME(test, good, &w->differs, "round %u, %llu operations between slices",
			round, w->between);
	kunit_info(test, "%llu slices, %llu operations between them", w->f->heap->gc.slices,
		   w->between);
	KUNIT_EXPECT_GT(test, w->between, 10ULL * slice_rounds);
}

static struct kunit_case slices_cases[] = {
	KUNIT_CASE(what_can_be_reached_lives),
	{}
};

static struct kunit_suite slices_suite = {
	.name = "pyobjmem_slices",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = slices_cases,
};

kunit_test_suite(slices_suite);
