// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit: verify finds what is wrong. Each identity that it recounts is broken, one
 * at a time, in a heap that has one of everything; it must say so, and find
 * the heap in order again when that was undone.
 */
#include <linux/slab.h>

#include "kunit.h"

/**
 * struct scene - a heap that has one of everything
 * @heap: the heap
 * @session: its session
 * @parent: held; names @child
 * @child: a candidate of the oldest generation; names @young
 * @young: a candidate too, and young
 * @run: a large object
 * @watched: held weakly, with a finalizer; one of its kind is a FINALIZE event
 * @spare: what a change keeps until it is undone
 */
struct scene {
	struct pom_heap *heap;
	struct pom_session *session;
	struct pom_object parent;
	struct pom_object child;
	struct pom_object young;
	struct pom_object run;
	struct pom_object watched;
	u64 spare;
};

static struct pom_arena *scene_arena(struct scene *s)
{
	return s->parent.block.pool->arena;
}

static struct pom_space *scene_space(struct scene *s)
{
	return &s->heap->space[POM_OBJECTS];
}

/* --- What can be wrong: done with @by 1, undone with @by -1 ------------------ */

static void live_of_a_pool(struct scene *s, int by)
{
	s->parent.block.pool->live += by;
}

static void empty_run(struct scene *s, int by)
{
	s->run.block.pool->live -= by;
	s->run.block.pool->free[0] ^= 1;
}

static void free_block(struct scene *s, int by)
{
	struct pom_pool *pool = s->parent.block.pool;
	u32 index = find_first_bit((unsigned long *)pool->free, pool->blocks);

	*(u8 *)(pool->base + index * pool->size + pool->size - 1) ^= 1;
}

static void place_free_and_taken(struct scene *s, int by)
{
	scene_arena(s)->free_pools ^= 1ULL << s->parent.block.pool->place;
}

static void place_neither(struct scene *s, int by)
{
	scene_arena(s)->free_pools ^= 1ULL << (POM_ARENA_POOLS - 1);
}

static void pool_without_page(struct scene *s, int by)
{
	void **page = &scene_arena(s)->page[s->parent.block.pool->place];
	u64 old = (unsigned long)*page;

	*page = by > 0 ? NULL : (void *)(unsigned long)s->spare;
	s->spare = old;
	place_free_and_taken(s, by);
}

static void pages_of_an_arena(struct scene *s, int by)
{
	scene_arena(s)->pages += by;
}

static void bytes_of_a_space(struct scene *s, int by)
{
	scene_space(s)->used += by * POM_CLASS_STEP;
}

static void slack_of_a_pool(struct scene *s, int by)
{
	s->parent.block.pool->pages += by;
	scene_space(s)->slack += by * POM_POOL_BYTES;
}

static void objects_of_a_heap(struct scene *s, int by)
{
	s->heap->objects += by;
}

static void pages_of_a_heap(struct scene *s, int by)
{
	s->heap->pages += by;
}

static void hold_of_nothing(struct scene *s, int by)
{
	u64 cursor = 0;

	pom_holds_next(&s->session->holds, &cursor)->link ^= 1;
}

static void holds_of_a_session(struct scene *s, int by)
{
	s->session->holds.count += by;
}

static void slot_of_no_block(struct scene *s, int by)
{
	*pom_object_slot(&s->parent, 0) ^= 1;
}

static void slot_of_another_generation(struct scene *s, int by)
{
	*pom_object_slot(&s->parent, 0) ^= 1ULL << 32;
}

static void external_count(struct scene *s, int by)
{
	s->parent.side->ext += by;
}

static void internal_count(struct scene *s, int by)
{
	s->child.side->in += by;
}

static void state_of_a_candidate(struct scene *s, int by)
{
	s->parent.side->state ^= POM_CAND;
}

static void colour_while_idle(struct scene *s, int by)
{
	s->parent.side->state ^= POM_BLACK;
}

/* As if a collection were in @phase and had found that nobody refers to an object. */
static void condemn(struct scene *s, struct pom_object *obj, enum pom_phase phase, int by)
{
	s->heap->gc.phase = by > 0 ? phase : POM_IDLE;
	obj->side->state ^= POM_WHITE;
	obj->side->ext -= by;
}

static void condemned_and_held(struct scene *s, int by)
{
	condemn(s, &s->parent, POM_FREE, by);
	s->parent.side->ext += by;
}

static void condemned_and_dying(struct scene *s, int by)
{
	condemn(s, &s->parent, POM_FREE, by);
	s->parent.side->state ^= POM_LIMBO;
}

static void condemned_is_named(struct scene *s, int by)
{
	condemn(s, &s->child, POM_FREE, by);
	s->child.side->ext += by;
}

static void released_and_watched(struct scene *s, int by)
{
	condemn(s, &s->watched, POM_RELEASE, by);
}

static void released_names_a_living_one(struct scene *s, int by)
{
	condemn(s, &s->parent, POM_RELEASE, by);
}

static void forgotten_candidate(struct scene *s, int by)
{
	if (by > 0)
		pom_candidate_unflag(s->heap, &s->child);
	else
		pom_candidate_flag(s->heap, &s->child);
}

static void link_of_a_candidate(struct scene *s, int by)
{
	s->child.side->shadow ^= 1;
}

static void list_of_another_generation(struct scene *s, int by)
{
	u32 old = s->young.side->born;

	s->young.side->born = by > 0 ? 0 : s->spare;
	s->spare = old;
}

static void end_of_a_list(struct scene *s, int by)
{
	s->heap->gc.cand[2].tail ^= 1;
}

static void number_of_candidates(struct scene *s, int by)
{
	s->heap->gc.candidates += by;
}

static void number_of_permanent_candidates(struct scene *s, int by)
{
	s->heap->gc.frozen += by;
}

static void flag_of_a_finalizer(struct scene *s, int by)
{
	s->watched.side->state ^= POM_FINALIZE;
}

static void flag_of_watches(struct scene *s, int by)
{
	s->parent.side->state ^= POM_WATCHED;
}

static void watches_of_a_session(struct scene *s, int by)
{
	s->session->nr_watches += by;
}

static void events_of_a_session(struct scene *s, int by)
{
	s->session->nr_events += by;
}

static void weak_holds_of_a_heap(struct scene *s, int by)
{
	s->heap->nr_watches[POM_WATCH_WEAK] += by;
}

static struct pom_watch *first_event(struct scene *s)
{
	return list_first_entry(&s->session->events, struct pom_watch, entry);
}

static void event_of_the_dead(struct scene *s, int by)
{
	first_event(s)->handle += (u64)by << 32;
}

static void event_that_does_not_count(struct scene *s, int by)
{
	first_event(s)->kind = by > 0 ? POM_WATCH_WEAK : POM_WATCH_FINALIZE;
}

static void watch_of_no_block(struct scene *s, int by)
{
	struct pom_watch *watch = list_first_entry(&s->session->watches, struct pom_watch, entry);

	watch->handle ^= 1;
}

static void containers_of_a_generation(struct scene *s, int by)
{
	s->heap->gc.live[1] += by;
}

static void born_in_the_future(struct scene *s, int by)
{
	s->young.side->born += by;
}

static void red_zone(struct scene *s, int by)
{
	struct pom_block *block = &s->parent.block;

	*(u8 *)pom_block_byte(block, block->pool->size - 1) ^= 1;
}

static const struct change {
	const char *name;
	void (*make)(struct scene *s, int by);
	const char *says;
	bool debug;
} changes[] = {
	{ "live_of_a_pool", live_of_a_pool, "live" },
	{ "empty_run", empty_run, "empty but there" },
	{ "free_block", free_block, "was written to" },
	{ "place_free_and_taken", place_free_and_taken, "is free and has a page" },
	{ "place_neither", place_neither, "neither free nor taken" },
	{ "pool_without_page", pool_without_page, "a pool without a page" },
	{ "pages_of_an_arena", pages_of_an_arena, ": pages" },
	{ "bytes_of_a_space", bytes_of_a_space, "counters are not what is there" },
	{ "slack_of_a_pool", slack_of_a_pool, "space 0: used" },
	{ "objects_of_a_heap", objects_of_a_heap, "objects" },
	{ "pages_of_a_heap", pages_of_a_heap, "heap: pages" },
	{ "hold_of_nothing", hold_of_nothing, "holds no block" },
	{ "holds_of_a_session", holds_of_a_session, "counted" },
	{ "slot_of_no_block", slot_of_no_block, "names no block" },
	{ "slot_of_another_generation", slot_of_another_generation, "names a dead object" },
	{ "external_count", external_count, "ext is 1 more" },
	{ "internal_count", internal_count, "in is 1 more" },
	{ "state_of_a_candidate", state_of_a_candidate, ": state" },
	{ "colour_while_idle", colour_while_idle, "traced by no collection" },
	{ "condemned_and_held", condemned_and_held, "white, but ext is 1" },
	{ "condemned_and_dying", condemned_and_dying, "white, but ext is 0" },
	{ "condemned_is_named", condemned_is_named, "names a condemned one" },
	{ "released_and_watched", released_and_watched, "released, but watched" },
	{ "released_names_a_living_one", released_names_a_living_one, "names what lives" },
	{ "forgotten_candidate", forgotten_candidate, "no candidate, names a younger" },
	{ "link_of_a_candidate", link_of_a_candidate, "is linked wrongly" },
	{ "list_of_another_generation", list_of_another_generation, "is on the list of" },
	{ "end_of_a_list", end_of_a_list, "ends at" },
	{ "number_of_candidates", number_of_candidates, "candidates" },
	{ "number_of_permanent_candidates", number_of_permanent_candidates, "permanent" },
	{ "flag_of_a_finalizer", flag_of_a_finalizer, "does not tell its watches" },
	{ "flag_of_watches", flag_of_watches, "does not tell its watches" },
	{ "watches_of_a_session", watches_of_a_session, ": watches" },
	{ "events_of_a_session", events_of_a_session, ", events" },
	{ "weak_holds_of_a_heap", weak_holds_of_a_heap, "watches of kind 1" },
	{ "event_of_the_dead", event_of_the_dead, "is to finalize what is dead" },
	{ "event_that_does_not_count", event_that_does_not_count, "ext is 1 more" },
	{ "watch_of_no_block", watch_of_no_block, "watches no block" },
	{ "containers_of_a_generation", containers_of_a_generation, "containers of generation 1" },
	{ "born_in_the_future", born_in_the_future, "now is" },
	{ "red_zone", red_zone, "somebody wrote behind it", true },
};

/* --- The test ---------------------------------------------------------------- */

static void scene_set(struct kunit *test, u64 object, u64 value)
{
	KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(test->priv, object, 0, value), 0);
}

static void scene_find(struct kunit *test, u64 handle, struct pom_object *obj)
{
	KUNIT_ASSERT_EQ(test, pom_fixture_find(test->priv, handle, obj), 0);
}

/* One that is watched, and one whose finalizer is due */
static void scene_watch(struct kunit *test, struct scene *s)
{
	struct pyobjmem_create what = { .slots = 1, .flags = PYOBJMEM_CREATE_FINALIZE };
	u64 due = pom_fixture_make(test->priv, &what);
	u64 watched = pom_fixture_make(test->priv, &what);

	KUNIT_ASSERT_EQ(test, pom_fixture_weak(test->priv, watched, 1), 0);
	pom_fixture_put(test, due);
	scene_find(test, watched, &s->watched);
}

static void scene_build(struct kunit *test, struct scene *s)
{
	struct pom_fixture *f = test->priv;
	u64 parent = pom_fixture_create(test, 1, 3), child = pom_fixture_create(test, 1, 3);
	u64 young;

	s->heap = f->heap;
	s->session = &f->session;
	pom_fixture_collect(test, 2);
	/* The date of birth moves on with what is created. */
	pom_fixture_create(test, 1, 0);
	pom_fixture_collect(test, 0);
	young = pom_fixture_create(test, 1, 3);
	scene_set(test, parent, child);
	scene_set(test, child, young);
	pom_fixture_put(test, child);
	pom_fixture_put(test, young);
	scene_find(test, parent, &s->parent);
	scene_find(test, child, &s->child);
	scene_find(test, young, &s->young);
	scene_find(test, pom_fixture_create(test, 1, 2 * POM_POOL_BYTES), &s->run);
	scene_watch(test, s);
}

static void verify_finds(struct kunit *test)
{
	const struct change *change = test->param_value;
	struct scene s = {};
	char *text = kunit_kzalloc(test, POM_VERDICT, GFP_KERNEL);
	char *says;

	KUNIT_ASSERT_NOT_NULL(test, text);
	if (change->debug && !POM_DEBUG)
		kunit_skip(test, "only a debug build has red zones");
	scene_build(test, &s);
	KUNIT_EXPECT_STREQ(test, pom_fixture_verify(test->priv, text), "ok");

	pom_heap_lock(s.heap);
	change->make(&s, 1);
	pom_heap_unlock(s.heap);
	says = pom_fixture_verify(test->priv, text);
	KUNIT_EXPECT_NOT_NULL_MSG(test, strstr(says, change->says), "says \"%s\", not \"%s\"",
				  says, change->says);

	pom_heap_lock(s.heap);
	change->make(&s, -1);
	pom_heap_unlock(s.heap);
	KUNIT_EXPECT_STREQ(test, pom_fixture_verify(test->priv, text), "ok");
}

static void change_name(const struct change *change, char *name)
{
	strscpy(name, change->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(change, changes, change_name);

static struct kunit_case verify_cases[] = {
	KUNIT_CASE_PARAM(verify_finds, change_gen_params),
	{}
};

static struct kunit_suite verify_suite = {
	.name = "pyobjmem_verify",
	.suite_init = pom_fixture_suite_init,
	.suite_exit = pom_fixture_suite_exit,
	.init = pom_fixture_init,
	.exit = pom_fixture_exit,
	.test_cases = verify_cases,
};

kunit_test_suite(verify_suite);
