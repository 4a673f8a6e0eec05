// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: dates of birth. What happens to objects, and all dates are made anew in
 * slices meanwhile, is compared with a table of their generations, which knows
 * nothing of dates.
 */
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/seq_file.h>

#include "kunit.h"

static unsigned int epoch_rounds = 2;
module_param(epoch_rounds, uint, 0444);
MODULE_PARM_DESC(epoch_rounds, "KUnit: ends of the epochs that are met (default 2)");

#define NODES	120
#define ROOM	256

struct ages {
	struct pom_fixture *f;
	struct rnd_state rnd;
	u64 handle[NODES];		/* 0: there is none */
	u32 generation[NODES];
	struct pom_differs differs;
	u64 slices;
	char verdict[ROOM];
};

static u32 below(struct ages *a, u32 limit)
{
	return prandom_u32_state(&a->rnd) % limit;
}

static struct ages *ages_new(struct kunit *test)
{
	struct ages *a = kunit_kzalloc(test, sizeof(*a), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, a);
	a->f = test->priv;
	prandom_seed_state(&a->rnd, pom_random_seed);
	return a;
}

/* --- What may happen while all is dated anew -------------------------------- */

/* Small ones, large ones, and sometimes one that takes more than an arena */
static void node_create(struct kunit *test, struct ages *a, u32 i)
{
	u32 payload = below(a, 400);

	if (below(a, 64) == 0)
		payload = POM_ARENA_BYTES + below(a, POM_ARENA_BYTES);
	else if (below(a, 16) == 0)
		payload = below(a, 10 * POM_POOL_BYTES);
	a->handle[i] = pom_fixture_create(test, 1 + below(a, 3), payload);
	a->generation[i] = 0;
}

/* Let go of one that may be named by another: then it lives on, as a candidate. */
static void node_touch(struct kunit *test, struct ages *a, u32 i)
{
	u32 to = below(a, NODES);

	if (!a->handle[to] || to == i)
		return;
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(a->f, a->handle[i], 0, a->handle[to]), 0);
	pom_fixture_put(test, a->handle[to]);
	KUNIT_ASSERT_EQ(test, pom_fixture_get_ref(a->f, a->handle[i], 0, &a->handle[to]), 0);
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(a->f, a->handle[i], 0, PYOBJMEM_NONE), 0);
	pom_heap_settle(a->f->heap);
}

static void client_step(struct kunit *test, struct ages *a)
{
	u32 i = below(a, NODES);

	if (!a->handle[i]) {
		node_create(test, a, i);
	} else if (below(a, 3) == 0) {
		pom_fixture_put(test, a->handle[i]);
		a->handle[i] = PYOBJMEM_NONE;
	} else {
		node_touch(test, a, i);
	}
}

/* --- What moves them from one generation to another -------------------------- */

static void ages_collect(struct kunit *test, struct ages *a, u32 g)
{
	u32 i;

	pom_fixture_collect(test, g);
	for (i = 0; i < NODES; i++)
		if (a->generation[i] <= g)
			a->generation[i] = g ? 2 : 1;
}

static void ages_freeze(struct kunit *test, struct ages *a, bool freeze)
{
	u32 i;

	KUNIT_ASSERT_EQ(test, pom_freeze(a->f->heap, freeze), 0);
	for (i = 0; i < NODES; i++)
		if (freeze || a->generation[i] == POM_PERMANENT)
			a->generation[i] = freeze ? POM_PERMANENT : 2;
}

static void ages_move(struct kunit *test, struct ages *a)
{
	switch (below(a, 6)) {
	case 0:
		ages_freeze(test, a, true);
		break;
	case 1:
		ages_freeze(test, a, false);
		break;
	case 2:
		ages_collect(test, a, 2);
		break;
	case 3:
		ages_collect(test, a, 1);
		break;
	default:
		ages_collect(test, a, 0);
	}
}

/* --- The comparison ----------------------------------------------------------- */

static bool heap_good(struct ages *a)
{
	struct seq_file m = { .private = a->f->heap, .buf = a->verdict, .size = ROOM };

	pom_verify_show(&m, NULL);
	a->verdict[min_t(size_t, m.count, ROOM - 1)] = 0;
	return !strcmp(a->verdict, "ok\n");
}

static bool ages_same(struct ages *a)
{
	struct pom_gc *gc = &a->f->heap->gc;
	struct pom_object obj;
	u32 i;

	for (i = 0; i < NODES; i++) {
		if (!a->handle[i])
			continue;
		if (!pom_same(&a->differs, "an object is there",
			      pom_fixture_find(a->f, a->handle[i], &obj), 0) ||
		    !pom_same(&a->differs, "generation",
			      pom_gc_generation(gc, obj.side->born), a->generation[i]))
			return false;
	}
	return true;
}

static void ages_check(struct kunit *test, struct ages *a, u32 round)
{
	struct pom_gc *gc = &a->f->heap->gc;

	POM_ASSERT_SAME(test, ages_same(a), &a->differs,
			"round %u, sweep %u, place %#x, bounds %u %u %u", round, gc->sweep,
			gc->place, gc->bound[0], gc->bound[1], gc->bound[2]);
	KUNIT_ASSERT_TRUE_MSG(test, heap_good(a), "round %u, sweep %u, place %#x: %s", round,
			      gc->sweep, gc->place, a->verdict);
}

static void ages_renumber(struct kunit *test, struct ages *a, u32 round)
{
	struct pom_heap *heap = a->f->heap;
	u32 steps, visits = 1 << below(a, 9);

	pom_heap_lock(heap);
	heap->gc.epoch = U32_MAX;
	pom_renumber_start(heap);
	pom_heap_unlock(heap);
	while (READ_ONCE(heap->gc.phase) == POM_RENUMBER) {
		pom_heap_lock(heap);
		pom_renumber_slice(heap, 1 + below(a, visits));
		pom_heap_unlock(heap);
		a->slices++;
		ages_check(test, a, round);
		for (steps = below(a, 4); steps; steps--)
			client_step(test, a);
		ages_check(test, a, round);
	}
	KUNIT_ASSERT_LE(test, heap->gc.epoch, 3U);
}

/* The boundaries are anywhere when the epochs end: at the last ones, or low ones. */
static void nothing_changes_its_generation(struct kunit *test)
{
	struct ages *a = ages_new(test);
	u32 round, steps;

	for (round = 0; round < epoch_rounds; round++) {
		for (steps = below(a, 80); steps; steps--) {
			if (below(a, 8) == 0)
				ages_move(test, a);
			client_step(test, a);
		}
		if (below(a, 2)) {
			pom_heap_lock(a->f->heap);
			a->f->heap->gc.epoch = max(a->f->heap->gc.epoch, U32_MAX - 3);
			pom_heap_unlock(a->f->heap);
			for (steps = below(a, 3); steps; steps--) {
				ages_move(test, a);
				client_step(test, a);
			}
		}
		ages_renumber(test, a, round);
		ages_move(test, a);
		ages_check(test, a, round);
	}
	kunit_info(test, "%llu slices", a->slices);
	ages_freeze(test, a, false);
}

/* --- Who waits for it --------------------------------------------------------- */

/* One of each generation; all epochs are used, and another one is needed. */
static void ages_of_each(struct kunit *test, struct ages *a)
{
	u32 i;

	node_create(test, a, 3);
	ages_freeze(test, a, true);
	for (i = 3; i--;) {
		node_create(test, a, i);
		if (i)
			ages_collect(test, a, i - 1);
	}
	ages_check(test, a, 0);
	for (i = 0; i < 4; i++)
		KUNIT_ASSERT_EQ(test, a->generation[i], i);
	pom_heap_lock(a->f->heap);
	a->f->heap->gc.epoch = U32_MAX;
	pom_heap_unlock(a->f->heap);
}

static void renumber_begin(struct kunit *test, struct ages *a)
{
	pom_heap_lock(a->f->heap);
	pom_renumber_start(a->f->heap);
	pom_renumber_slice(a->f->heap, 1);
	pom_heap_unlock(a->f->heap);
	KUNIT_ASSERT_EQ(test, a->f->heap->gc.phase, POM_RENUMBER);
}

static void expect_over(struct kunit *test, struct ages *a)
{
	KUNIT_EXPECT_EQ(test, a->f->heap->gc.phase, POM_IDLE);
	KUNIT_EXPECT_LE(test, a->f->heap->gc.epoch, 4U);
	ages_check(test, a, 0);
	ages_freeze(test, a, false);
}

static void freeze_waits(struct kunit *test)
{
	struct ages *a = ages_new(test);

	ages_of_each(test, a);
	renumber_begin(test, a);
	ages_freeze(test, a, true);
	expect_over(test, a);
}

static void unfreeze_waits(struct kunit *test)
{
	struct ages *a = ages_new(test);

	ages_of_each(test, a);
	renumber_begin(test, a);
	ages_freeze(test, a, false);
	expect_over(test, a);
}

static void a_collection_waits(struct kunit *test)
{
	struct ages *a = ages_new(test);
	struct pom_gc *gc = &a->f->heap->gc;
	u64 number;

	ages_of_each(test, a);
	number = gc->run.number;
	renumber_begin(test, a);
	ages_collect(test, a, 1);
	KUNIT_EXPECT_EQ(test, gc->run.number, number + 1);
	expect_over(test, a);
}

/* It needs no epoch if there is nobody who would have to be younger. */
static void freeze_at_the_end_renumbers_if_it_must(struct kunit *test)
{
	struct ages *a = ages_new(test);
	struct pom_gc *gc = &a->f->heap->gc;

	ages_of_each(test, a);
	gc->created_at = a->f->heap->created;
	ages_freeze(test, a, false);
	KUNIT_EXPECT_EQ(test, gc->epoch, U32_MAX);
	node_create(test, a, 5);
	ages_freeze(test, a, false);
	KUNIT_EXPECT_EQ(test, gc->epoch, U32_MAX);
	ages_freeze(test, a, true);
	expect_over(test, a);
}

/* One that was begun and left is finished by the worker; it is no collection. */
static void the_worker_finishes_it(struct kunit *test)
{
	struct ages *a = ages_new(test);
	struct pom_gc *gc = &a->f->heap->gc;
	u64 number;

	ages_of_each(test, a);
	number = gc->run.number;
	renumber_begin(test, a);
	queue_work(a->f->heap->wq, &a->f->heap->collect);
	flush_work(&a->f->heap->collect);
	KUNIT_EXPECT_EQ(test, gc->run.number, number);
	expect_over(test, a);
}

/* A collection by itself needs an epoch, too, and is not forgotten over that. */
static void the_worker_collects_behind_it(struct kunit *test)
{
	struct ages *a = ages_new(test);
	struct pom_gc *gc = &a->f->heap->gc;
	u64 number;

	ages_of_each(test, a);
	number = gc->run.number;
	gc->count[0] = gc->threshold[0];
	gc->enabled = true;
	node_create(test, a, 4);
	flush_work(&a->f->heap->collect);
	gc->enabled = false;
	KUNIT_EXPECT_EQ(test, gc->run.number, number + 1);
	KUNIT_EXPECT_EQ(test, gc->run.generation, 0U);
	a->generation[0] = 1;
	a->generation[4] = 1;
	expect_over(test, a);
}

/* Whoever is killed leaves it where it is. */
static void a_killed_caller_leaves_it(struct kunit *test)
{
	struct ages *a = ages_new(test);
	struct pom_gc *gc = &a->f->heap->gc;
	struct pom_collector *collector;
	u64 number;
	u32 i;

	/* More than a slice visits */
	for (i = 0; i < 16; i++)
		pom_fixture_create(test, 1, 16 * POM_ARENA_BYTES);
	ages_of_each(test, a);
	number = gc->run.number;
	collector = pom_collector_start(test, 0);
	pom_collector_slice(collector);
	KUNIT_EXPECT_EQ(test, gc->phase, POM_RENUMBER);
	KUNIT_EXPECT_EQ(test, gc->run.number, number);
	ages_check(test, a, 0);
	pom_collector_stop(collector);
	ages_collect(test, a, 0);
	KUNIT_EXPECT_EQ(test, gc->run.number, number + 1);
	expect_over(test, a);
}

/* Who creates owes a renumbering nothing, however much was created before. */
static void who_creates_is_left_alone(struct kunit *test)
{
	struct ages *a = ages_new(test);
	struct pom_gc *gc = &a->f->heap->gc;
	u32 i, place;

	ages_of_each(test, a);
	renumber_begin(test, a);
	place = gc->place;
	gc->run.born = U32_MAX;
	for (i = 10; i < 20; i++)
		node_create(test, a, i);
	KUNIT_EXPECT_EQ(test, gc->place, place);
	ages_freeze(test, a, false);
	expect_over(test, a);
}

static struct kunit_case epoch_cases[] = {
	KUNIT_CASE(nothing_changes_its_generation),
	KUNIT_CASE(freeze_waits),
	KUNIT_CASE(unfreeze_waits),
	KUNIT_CASE(a_collection_waits),
	KUNIT_CASE(freeze_at_the_end_renumbers_if_it_must),
	KUNIT_CASE(the_worker_finishes_it),
	KUNIT_CASE(the_worker_collects_behind_it),
	KUNIT_CASE(a_killed_caller_leaves_it),
	KUNIT_CASE(who_creates_is_left_alone),
	{}
};

static struct kunit_suite epoch_suite = {
	.name = "pyobjmem_epoch",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = epoch_cases,
};

kunit_test_suite(epoch_suite);
