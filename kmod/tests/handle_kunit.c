// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: handles: a place and a generation, and every way of not being one.
 */
#include <linux/prandom.h>
#include <linux/slab.h>

#include "kunit.h"

#define MANY	(POM_POOL_BYTES / POM_HEAD_BYTES)	/* the most objects in a page */
#define JUNK	200000

/* Objects under test. */
struct handles {
	struct pom_fixture *f;
	u32 n;
	u64 handle[MANY];
	bool lives[MANY];
};

static struct handles *handles_new(struct kunit *test)
{
	struct handles *h = kunit_kzalloc(test, sizeof(*h), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, h);
	h->f = test->priv;
	return h;
}

/* Objects of @size bytes, until their page is full. */
static void handles_fill(struct kunit *test, struct handles *h, u32 size)
{
	for (h->n = 0; h->n < POM_POOL_BYTES / size; h->n++) {
		h->handle[h->n] = pom_fixture_create(test, 0, size - POM_OVERHEAD);
		h->lives[h->n] = true;
	}
}

static void handles_drop(struct kunit *test, struct handles *h, u32 i)
{
	pom_fixture_put(test, h->handle[i]);
	h->lives[i] = false;
}

static void handles_drop_all(struct kunit *test, struct handles *h)
{
	u32 i;

	for (i = 0; i < h->n; i++)
		if (h->lives[i])
			handles_drop(test, h, i);
}

static int find(struct kunit *test, u64 handle, struct pom_object *obj)
{
	return pom_fixture_find(test->priv, handle, obj);
}

static void stale(struct kunit *test, u64 handle)
{
	struct pom_object obj;

	KUNIT_ASSERT_EQ_MSG(test, find(test, handle, &obj), -ESTALE, "handle %#llx", handle);
}

static u64 handle_of(u32 link, u32 generation)
{
	return (u64)generation << 32 | link;
}

/* --- What a handle is ------------------------------------------------------- */

/* The address that a link stands for, by the geometry that clients will know. */
static void *address_of(struct pom_heap *heap, u32 link)
{
	u64 offset = (u64)link * 8;
	u32 number = offset / POM_ARENA_BYTES;
	struct pom_arena *arena;

	arena = heap->space[POM_OBJECTS].chunk[number / 256]->arena[number % 256];
	return arena->page[offset % POM_ARENA_BYTES / POM_POOL_BYTES] + offset % POM_POOL_BYTES;
}

static void it_is_a_place_and_a_generation(struct kunit *test)
{
	struct handles *h = handles_new(test);
	struct pom_object obj;
	u32 size, i;

	for (size = POM_OVERHEAD; size <= POM_CLASS_MAX; size += POM_CLASS_STEP) {
		handles_fill(test, h, size);
		for (i = 0; i < h->n; i++) {
			KUNIT_ASSERT_EQ(test, find(test, h->handle[i], &obj), 0);
			KUNIT_ASSERT_EQ(test, obj.block.link, lower_32_bits(h->handle[i]));
			KUNIT_ASSERT_EQ(test, obj.block.index, i);
			KUNIT_ASSERT_EQ(test, pom_object_handle(&obj), h->handle[i]);
			KUNIT_ASSERT_PTR_EQ(test, (void *)obj.head,
					    address_of(h->f->heap, lower_32_bits(h->handle[i])));
			KUNIT_ASSERT_EQ(test, obj.head->generation, upper_32_bits(h->handle[i]));
			KUNIT_ASSERT_NE(test, obj.head->generation, 0);
			KUNIT_ASSERT_PTR_EQ(test, obj.side, obj.block.pool->side + i);
		}
		/* At the links that the size leads to, in one page. */
		for (i = 1; i < h->n; i++)
			KUNIT_ASSERT_EQ(test, pom_link(h->handle[i]),
					pom_link(h->handle[0]) + i * size / 8);
		handles_drop_all(test, h);
		pom_fixture_trim(h->f);
	}
}

/* Every link of a page, with every generation that its objects have. */
static void every_other_link_of_a_page_is_stale(struct kunit *test)
{
	struct handles *h = handles_new(test);
	struct pom_object obj;
	u32 size, w, i, page, first, last;

	for (size = POM_OVERHEAD; size <= POM_CLASS_MAX; size += POM_CLASS_STEP) {
		handles_fill(test, h, size);
		first = upper_32_bits(h->handle[0]);
		last = upper_32_bits(h->handle[h->n - 1]);
		KUNIT_ASSERT_EQ(test, last - first, h->n - 1);
		for (i = 1; i < h->n; i += 3)
			handles_drop(test, h, i);
		page = pom_link(h->handle[0]);
		for (w = 0; w < POM_POOL_LINKS; w++) {
			i = w / (size / 8);
			if (w % (size / 8) || i >= h->n || !h->lives[i]) {
				stale(test, handle_of(page + w, first));
				stale(test, handle_of(page + w, last));
				if (i < h->n)
					stale(test, handle_of(page + w, first + i));
				/* What is free says 0, and what is not may, too. */
				if (page + w)
					stale(test, handle_of(page + w, 0));
				continue;
			}
			KUNIT_ASSERT_EQ(test, find(test, h->handle[i], &obj), 0);
			KUNIT_ASSERT_EQ(test, obj.block.index, i);
		}
		handles_drop_all(test, h);
		pom_fixture_trim(h->f);
		cond_resched();
	}
}

static void every_other_generation_is_stale(struct kunit *test)
{
	u64 first = pom_fixture_create(test, 0, 24), handle = pom_fixture_create(test, 0, 24);
	u32 link = pom_link(handle), generation = upper_32_bits(handle);
	struct pom_object obj;
	u32 i;

	for (i = 0; i < 32; i++)
		stale(test, handle_of(link, generation ^ BIT(i)));
	stale(test, handle_of(link, generation + 1));
	stale(test, handle_of(link, generation - 1));
	stale(test, handle_of(link, upper_32_bits(first)));
	stale(test, handle_of(link, 0));
	stale(test, handle_of(link, U32_MAX));
	stale(test, handle_of(link, ~generation));
	KUNIT_EXPECT_EQ(test, find(test, PYOBJMEM_NONE, &obj), -EINVAL);
	KUNIT_EXPECT_EQ(test, find(test, handle, &obj), 0);
}

/* --- Where nothing is ------------------------------------------------------- */

static void links_where_nothing_is_are_stale(struct kunit *test)
{
	static const u32 edges[] = {
		POM_POOL_LINKS,				/* the next page */
		POM_POOL_LINKS * 63, POM_POOL_LINKS * 64 - 1,
		POM_POOL_LINKS * 64,			/* the next arena */
		POM_POOL_LINKS * 64 * 255, POM_POOL_LINKS * 64 * 256 - 1,
		POM_POOL_LINKS * 64 * 256,		/* the next chunk */
		0x7fffffff, 0x80000000, POM_NIL - POM_POOL_LINKS, POM_NIL - 1, POM_NIL,
	};
	u64 handle = pom_fixture_create(test, 0, 0);
	u32 generation = upper_32_bits(handle);
	u32 i;

	KUNIT_ASSERT_EQ(test, pom_link(handle), 0);
	for (i = 0; i < ARRAY_SIZE(edges); i++) {
		stale(test, handle_of(edges[i], generation));
		stale(test, handle_of(edges[i], 0));
		stale(test, handle_of(edges[i], U32_MAX));
	}
	for (i = 0; i < 32; i++)
		stale(test, handle_of(BIT(i), generation));
	stale(test, generation);		/* the halves swapped */
}

static void links_into_a_run_are_stale(struct kunit *test)
{
	static const u32 bytes[] = { 520, 4096, 4104, 3 * 4096, 70 * 4096, 129 * 4096 };
	struct pom_object obj;
	u32 i, w, links, link;
	u64 handle;

	for (i = 0; i < ARRAY_SIZE(bytes); i++) {
		handle = pom_fixture_create(test, 0, bytes[i] - POM_OVERHEAD);
		link = pom_link(handle);
		KUNIT_ASSERT_EQ(test, find(test, handle, &obj), 0);
		KUNIT_ASSERT_EQ(test, link % POM_POOL_LINKS, 0);
		KUNIT_ASSERT_EQ(test, obj.block.pool->pages, DIV_ROUND_UP(bytes[i], 4096));
		links = obj.block.pool->pages * POM_POOL_LINKS;
		for (w = 1; w < links; w++)
			stale(test, handle + w);
		pom_fixture_put(test, handle);
		stale(test, handle);
	}
}

/* The data space has links, too: they are no objects. */
static void payloads_are_not_objects(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_space *data = &f->heap->space[POM_DATA];
	struct pom_block block;
	u32 i;

	for (i = 0; i < 100; i++) {
		KUNIT_ASSERT_EQ(test, pom_fixture_take(f, data, 64, &block), 0);
		stale(test, handle_of(block.link, 1));
		memset(pom_block_byte(&block, 0), 1, 64);
		stale(test, handle_of(block.link, 0x01010101));
		memset(pom_block_byte(&block, 0), 0, 64);
		pom_fixture_give(f, data, &block);
	}
}

/* --- What dies ----------------------------------------------------------------- */

static void the_next_object_has_another_handle(struct kunit *test)
{
	u64 before[32], handle;
	struct pom_object obj;
	u32 i, j;

	for (i = 0; i < ARRAY_SIZE(before); i++) {
		handle = pom_fixture_create(test, 0, 40);
		if (i)
			KUNIT_ASSERT_EQ(test, pom_link(handle), pom_link(before[0]));
		for (j = 0; j < i; j++) {
			KUNIT_ASSERT_NE(test, handle, before[j]);
			stale(test, before[j]);
		}
		KUNIT_ASSERT_EQ(test, find(test, handle, &obj), 0);
		pom_fixture_put(test, handle);
		stale(test, handle);
		before[i] = handle;
	}
}

/* What was written into an object is not there in the next one. */
static void the_next_object_is_all_zeros(struct kunit *test)
{
	struct pom_object obj;
	u32 size, round;
	u64 handle;

	for (size = 8; size <= POM_CLASS_MAX - POM_HEAD_BYTES; size += POM_CLASS_STEP) {
		for (round = 0; round < 2; round++) {
			handle = pom_fixture_create(test, 0, size);
			KUNIT_ASSERT_EQ(test, find(test, handle, &obj), 0);
			KUNIT_ASSERT_EQ(test, obj.block.index, 0);
			KUNIT_ASSERT_NULL(test, memchr_inv(obj.head + 1, 0, size));
			memset(obj.head + 1, 0xff, size);
			pom_fixture_put(test, handle);
		}
		pom_fixture_trim(test->priv);
	}
}

/* It waits for its slots to be dropped: its block is in use, its handle is not. */
static void what_is_dying_is_stale(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	u64 handle = pom_fixture_create(test, 2, 0);
	struct pom_object obj;
	struct pom_block block;

	pom_heap_lock(f->heap);
	KUNIT_EXPECT_EQ(test, pom_object_put(&f->session, handle), 0);
	KUNIT_EXPECT_TRUE(test, pom_block_find(&f->heap->space[POM_OBJECTS], pom_link(handle),
					       &block));
	KUNIT_EXPECT_EQ(test, pom_object_find(f->heap, handle, &obj), -ESTALE);
	pom_heap_unlock(f->heap);
	pom_heap_settle(f->heap);
	stale(test, handle);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 0ULL);
}

static void what_others_hold_is_not_held(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	u64 holder = pom_fixture_create(test, 1, 0), handle = pom_fixture_create(test, 0, 0);
	struct pyobjmem_set_ref cmd = { .handle = holder, .value = handle };
	struct pom_object obj;

	pom_heap_lock(f->heap);
	KUNIT_EXPECT_EQ(test, pom_object_set_ref(&f->session, &cmd), 0);
	KUNIT_EXPECT_EQ(test, pom_object_held(&f->session, handle, &obj), 0);
	KUNIT_EXPECT_EQ(test, pom_object_put(&f->session, handle), 0);
	KUNIT_EXPECT_EQ(test, pom_object_find(f->heap, handle, &obj), 0);
	KUNIT_EXPECT_EQ(test, pom_object_held(&f->session, handle, &obj), -ENOENT);
	pom_heap_unlock(f->heap);
}

/* Where nothing can be mapped, nobody is told what has been there. */
static void a_heap_that_cannot_be_mapped_does_not_tell(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	u64 handle = pom_fixture_create(test, 0, 0);
	struct pom_object obj;

	f->heap->nomap = true;
	KUNIT_EXPECT_EQ(test, find(test, handle, &obj), 0);
	pom_fixture_put(test, handle);
	KUNIT_EXPECT_EQ(test, find(test, handle, &obj), -ENOENT);
	KUNIT_EXPECT_EQ(test, find(test, handle_of(POM_NIL, 1), &obj), -ENOENT);
	KUNIT_EXPECT_EQ(test, find(test, PYOBJMEM_NONE, &obj), -EINVAL);
}

/* --- Generations ------------------------------------------------------------ */

static void a_generation_is_never_given_twice(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	u32 last = 0, i;
	u64 handle;

	/* The page goes and comes back, and so does the arena. */
	for (i = 0; i < 100; i++) {
		handle = pom_fixture_create(test, 0, i % 3 ? 40 : 4000);
		KUNIT_EXPECT_EQ(test, lower_32_bits(handle), 0);
		KUNIT_EXPECT_GT(test, upper_32_bits(handle), last);
		last = upper_32_bits(handle);
		pom_fixture_put(test, handle);
		pom_fixture_trim(f);
		KUNIT_EXPECT_EQ(test, f->heap->pages, 0ULL);
	}
}

/* When an arena comes back, all its places go on from the highest of them. */
static void an_arena_remembers_the_highest(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	u64 first, handle;
	u32 i, highest;

	first = pom_fixture_create(test, 0, 4000);
	for (i = 0; i < 10; i++) {
		handle = pom_fixture_create(test, 0, 4000);
		KUNIT_EXPECT_EQ(test, pom_link(handle), POM_POOL_LINKS);
		pom_fixture_put(test, handle);
	}
	highest = upper_32_bits(handle);
	KUNIT_EXPECT_EQ(test, highest, upper_32_bits(first) + 9);
	pom_fixture_put(test, first);
	KUNIT_EXPECT_EQ(test, f->heap->space[POM_OBJECTS].arenas, 0);
	for (i = 0; i < 3; i++) {
		handle = pom_fixture_create(test, 0, 4000);
		KUNIT_EXPECT_EQ(test, pom_link(handle), i * POM_POOL_LINKS);
		KUNIT_EXPECT_EQ(test, upper_32_bits(handle), highest + 1);
	}
}

/* Let the next object at the place of @handle have the last generation. */
static void to_the_last_generation(struct kunit *test, u64 handle)
{
	struct pom_fixture *f = test->priv;
	struct pom_object obj;

	pom_heap_lock(f->heap);
	pom_object_at(f->heap, pom_link(handle), &obj);
	obj.block.pool->arena->generation[obj.block.pool->place] = U32_MAX;
	pom_heap_unlock(f->heap);
}

static void a_place_without_generations_is_left(struct kunit *test)
{
	u64 first, last, next;
	struct pom_object obj;

	first = pom_fixture_create(test, 0, 40);
	to_the_last_generation(test, first);
	last = pom_fixture_create(test, 0, 40);
	KUNIT_EXPECT_EQ(test, upper_32_bits(last), U32_MAX);
	KUNIT_EXPECT_EQ(test, find(test, last, &obj), 0);
	next = pom_fixture_create(test, 0, 40);
	KUNIT_EXPECT_NE(test, pom_link(next) / POM_POOL_LINKS, 0);
	pom_fixture_put(test, first);
	pom_fixture_put(test, last);
	stale(test, last);
	stale(test, handle_of(pom_link(last), 0));
	last = pom_fixture_create(test, 0, 56);
	KUNIT_EXPECT_NE(test, pom_link(last) / POM_POOL_LINKS, 0);
}

static void an_arena_without_generations_is_left(struct kunit *test)
{
	struct pom_fixture *f = test->priv;
	struct pom_differs differs;
	u64 first, last;

	first = pom_fixture_create(test, 0, 40);
	to_the_last_generation(test, first);
	last = pom_fixture_create(test, 0, 40);
	pom_fixture_put(test, first);
	pom_fixture_put(test, last);
	pom_fixture_trim(f);
	POM_ASSERT_SAME(test, pom_recount(&f->heap->space[POM_OBJECTS], &differs), &differs,
			"a place less");
	KUNIT_EXPECT_EQ(test, f->heap->space[POM_OBJECTS].arenas, 0);
	first = pom_fixture_create(test, 0, 4000);
	KUNIT_EXPECT_EQ(test, pom_link(first), POM_POOL_LINKS * POM_ARENA_POOLS);
	stale(test, last);
}

/* --- Junk --------------------------------------------------------------------- */

/* Live and dead handles with a bit or two turned, halves exchanged, or made up. */
static u64 junk(struct handles *h, struct rnd_state *rnd)
{
	u64 handle = h->handle[prandom_u32_state(rnd) % h->n];

	switch (prandom_u32_state(rnd) % 6) {
	case 0:
		return handle_of(prandom_u32_state(rnd), prandom_u32_state(rnd));
	case 1:
		return handle_of(prandom_u32_state(rnd) % 4096, upper_32_bits(handle));
	case 2:
		return handle_of(pom_link(handle), prandom_u32_state(rnd) % 512);
	case 3:
		handle ^= BIT_ULL(prandom_u32_state(rnd) % 64);
		fallthrough;
	case 4:
		return handle ^ BIT_ULL(prandom_u32_state(rnd) % 64);
	default:
		return handle;
	}
}

static void of_junk_only_the_living_is_found(struct kunit *test)
{
	struct handles *h = handles_new(test);
	struct pom_object obj;
	struct rnd_state rnd;
	u32 i, j, found = 0;
	bool lives;
	u64 handle;

	prandom_seed_state(&rnd, pom_random_seed);
	for (i = 0; i < MANY; i++) {
		h->handle[i] = pom_fixture_create(test, 0, prandom_u32_state(&rnd) % 600);
		h->lives[i] = true;
	}
	h->n = MANY;
	for (i = 0; i < MANY; i++)
		if (prandom_u32_state(&rnd) % 3 == 0)
			handles_drop(test, h, i);
	for (i = 0; i < JUNK; i++) {
		handle = junk(h, &rnd);
		lives = false;
		for (j = 0; j < MANY && !lives; j++)
			lives = h->lives[j] && h->handle[j] == handle;
		if (handle)
			KUNIT_ASSERT_EQ_MSG(test, find(test, handle, &obj), lives ? 0 : -ESTALE,
					    "handle %#llx", handle);
		found += lives;
	}
	KUNIT_EXPECT_GT(test, found, JUNK / 20);
}

static struct kunit_case handle_cases[] = {
	KUNIT_CASE(it_is_a_place_and_a_generation),
	KUNIT_CASE(every_other_link_of_a_page_is_stale),
	KUNIT_CASE(every_other_generation_is_stale),
	KUNIT_CASE(links_where_nothing_is_are_stale),
	KUNIT_CASE(links_into_a_run_are_stale),
	KUNIT_CASE(payloads_are_not_objects),
	KUNIT_CASE(the_next_object_has_another_handle),
	KUNIT_CASE(the_next_object_is_all_zeros),
	KUNIT_CASE(what_is_dying_is_stale),
	KUNIT_CASE(what_others_hold_is_not_held),
	KUNIT_CASE(a_heap_that_cannot_be_mapped_does_not_tell),
	KUNIT_CASE(a_generation_is_never_given_twice),
	KUNIT_CASE(an_arena_remembers_the_highest),
	KUNIT_CASE(a_place_without_generations_is_left),
	KUNIT_CASE(an_arena_without_generations_is_left),
	KUNIT_CASE(of_junk_only_the_living_is_found),
	{}
};

static struct kunit_suite handle_suite = {
	.name = "pyobjmem_handle",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = handle_cases,
};

kunit_test_suite(handle_suite);
