// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: the table of holds against a plain array.
 */
#include <linux/prandom.h>
#include <linux/slab.h>

#include "kunit.h"

#define LINKS	20000

static void hold_insert(struct kunit *test, struct pom_holds *holds, u32 link)
{
	struct pom_fixture *f = test->priv;
	int ret;

	for (;;) {
		pom_stash_begin(&f->stash);
		ret = pom_holds_room(holds, link, &f->stash);
		if (ret != -EAGAIN)
			break;
		KUNIT_ASSERT_EQ(test, pom_stash_fill(&f->stash), 0);
	}
	KUNIT_ASSERT_EQ(test, ret, 0);
	pom_holds_insert(holds, link);
}

static void hold_remove(struct kunit *test, struct pom_holds *holds, u32 link)
{
	struct pom_hold *hold = pom_holds_find(holds, link);

	KUNIT_ASSERT_NOT_NULL(test, hold);
	KUNIT_ASSERT_EQ(test, hold->link, link);
	pom_holds_remove(holds, hold);
	KUNIT_ASSERT_NULL(test, pom_holds_find(holds, link));
}

/* Every entry of the table is in the array, and all of the array was seen. */
static void hold_compare(struct kunit *test, struct pom_holds *holds, const u8 *there, u32 step)
{
	struct pom_hold *hold;
	u64 cursor = 0, seen = 0;
	u32 i, n = 0;

	while ((hold = pom_holds_next(holds, &cursor))) {
		KUNIT_ASSERT_LT(test, hold->link / step, (u32)LINKS);
		KUNIT_ASSERT_TRUE(test, there[hold->link / step]);
		seen++;
	}
	for (i = 0; i < LINKS; i++) {
		n += there[i];
		if (there[i])
			KUNIT_ASSERT_NOT_NULL(test, pom_holds_find(holds, i * step));
		else
			KUNIT_ASSERT_NULL(test, pom_holds_find(holds, i * step));
	}
	KUNIT_ASSERT_EQ(test, seen, n);
	KUNIT_ASSERT_EQ(test, holds->count, n);
}

/* Grow to thousands, shrink to nothing, at random; steps as pools have them. */
static void it_is_what_an_array_is(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	static const u32 steps[] = { 2, 3, 8, 64, 512, 100003 };
	struct pom_holds holds;
	struct rnd_state rnd;
	u8 *there = kunit_kzalloc(test, LINKS, GFP_KERNEL);
	u32 s, i, link;
	int up;

	KUNIT_ASSERT_NOT_NULL(test, there);
	prandom_seed_state(&rnd, pom_random_seed);
	for (s = 0; s < ARRAY_SIZE(steps); s++) {
		pom_holds_init(&holds, f->session.user);
		for (up = 7; up > 0; up -= 2) {
			for (i = 0; i < 3 * LINKS / 2; i++) {
				link = prandom_u32_state(&rnd) % LINKS;
				if (!there[link] && (int)(prandom_u32_state(&rnd) % 8) < up)
					hold_insert(test, &holds, link * steps[s]);
				else if (there[link] && (int)(prandom_u32_state(&rnd) % 8) >= up)
					hold_remove(test, &holds, link * steps[s]);
				else
					continue;
				there[link] ^= 1;
			}
			hold_compare(test, &holds, there, steps[s]);
			cond_resched();
		}
		for (i = 0; i < LINKS; i++) {
			if (there[i])
				hold_remove(test, &holds, i * steps[s]);
			there[i] = 0;
		}
		hold_compare(test, &holds, there, steps[s]);
		KUNIT_EXPECT_EQ(test, holds.depth, 0);
		pom_holds_destroy(&holds);
	}
}

static void popping_gives_each_once(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_holds holds;
	u64 cursor = 0;
	u32 i, n = 0;

	pom_holds_init(&holds, f->session.user);
	for (i = 0; i < LINKS; i++)
		hold_insert(test, &holds, i * 8);
	KUNIT_EXPECT_LE(test, (1ULL << holds.depth) * sizeof(void *), 16ULL * LINKS);
	while (pom_holds_pop(&holds, &cursor) != POM_NIL)
		n++;
	KUNIT_EXPECT_EQ(test, n, LINKS);
	KUNIT_EXPECT_EQ(test, holds.count, 0ULL);
	pom_holds_destroy(&holds);
}

static void a_hold_costs_sixteen_bytes(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_hold_page *last = NULL;
	struct pom_holds holds;
	u64 bytes;
	u32 i;

	pom_holds_init(&holds, f->session.user);
	for (i = 0; i < LINKS; i++)
		hold_insert(test, &holds, i * 8);
	bytes = (8ULL << holds.depth);
	for (i = 0; i < 1U << holds.depth; i++) {
		if (holds.dir[i] != last)
			bytes += sizeof(*last);
		last = holds.dir[i];
	}
	/* 510 slots of 8 bytes, filled between three eighths and three quarters */
	KUNIT_EXPECT_LE(test, bytes, 22ULL * LINKS);
	kunit_info(test, "%llu bytes a hold", bytes / LINKS);
	pom_holds_destroy(&holds);
}

static struct kunit_case hold_cases[] = {
	KUNIT_CASE(it_is_what_an_array_is),
	KUNIT_CASE(popping_gives_each_once),
	KUNIT_CASE(a_hold_costs_sixteen_bytes),
	{}
};

static struct kunit_suite hold_suite = {
	.name = "pyobjmem_hold",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = hold_cases,
};

kunit_test_suite(hold_suite);
