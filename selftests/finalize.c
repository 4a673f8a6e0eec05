// SPDX-License-Identifier: GPL-2.0
/*
 * Finalizers: the session that made an object with one is told before the object
 * dies, once, whatever lets it die, and gets a hold with the event.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"

FIXTURE(finalize)
{
	struct test_heap heap;
	int session;		/* the owner of finalizers */
	int other;		/* a second session of the heap */
};

FIXTURE_SETUP(finalize)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->other);
}

FIXTURE_TEARDOWN(finalize)
{
	close(self->other);
	EXPECT_CLEAN_END(&self->heap);
}

static __u64 new_finalized(struct __test_metadata *_metadata, int session, __u32 slots)
{
	__u64 handle = PYOBJMEM_NONE;

	ASSERT_EQ(0, object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, slots,
				   &handle));
	return handle;
}

#define FIGURE(name)							\
static __u64 name(int session)						\
{									\
	struct pyobjmem_stats stats;					\
									\
	return heap_stats(session, &stats) ? ~0ULL : stats.out_##name;	\
}

FIGURE(finalizers)
FIGURE(finalizers_abandoned)
FIGURE(watches)

static __u32 takes(int session, __u64 handle)
{
	struct pyobjmem_inspect inspect;

	return object_inspect(session, handle, &inspect) ? 0 : inspect.out_takes;
}

/* The finalizer of an object is due now: run it, and see the object go for good. */
#define EXPECT_LAST_ACT(session, object) do {				\
	EXPECT_EVENTS(session, EVENT_FINALIZE(object));			\
	EXPECT_EQ(0, object_put(session, object));			\
	EXPECT_NO_EVENTS(session);					\
	EXPECT_EQ(-ESTALE, object_get(session, object));		\
} while (0)

/* --- By counts ------------------------------------------------------------ */

TEST_F(finalize, comes_before_an_object_dies_of_its_counts)
{
	__u64 object = new_finalized(_metadata, self->session, 0);

	EXPECT_NO_EVENTS(self->session);
	EXPECT_EQ(1, finalizers(self->session));
	ASSERT_EQ(0, object_put(self->session, object));
	EXPECT_EQ(0, finalizers(self->session));
	EXPECT_EQ(1, stats_objects(self->session));
	EXPECT_LAST_ACT(self->session, object);
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(0, finalizers_abandoned(self->session));
}

TEST_F(finalize, comes_for_objects_of_all_kinds)
{
	__u64 object;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(object_kinds); i++) {
		ASSERT_EQ(0, object_of_kind(self->session, i, PYOBJMEM_CREATE_FINALIZE, &object));
		ASSERT_EQ(0, object_put(self->session, object));
		EXPECT_LAST_ACT(self->session, object);
	}
}

/* The last reference may be a slot, a root, a ticket, or the hold of another session. */
TEST_F(finalize, comes_whatever_the_last_reference_was)
{
	__u64 object[4], parent;
	int ticket, i;

	for (i = 0; i < 4; i++)
		object[i] = new_finalized(_metadata, self->session, 1);
	ASSERT_EQ(0, container_create(self->session, 1, &parent));
	ASSERT_EQ(0, ref_set(self->session, parent, 0, object[0], NULL));
	ASSERT_EQ(0, root_set(self->session, 0, object[1], NULL));
	ticket = object_export(self->session, object[2]);
	ASSERT_LE(0, ticket);
	ASSERT_EQ(0, root_set(self->session, 1, object[3], NULL));
	ASSERT_EQ(0, root_get(self->other, 1, NULL));
	ASSERT_EQ(0, root_set(self->session, 1, PYOBJMEM_NONE, NULL));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, object_put(self->session, object[i]));
	EXPECT_NO_EVENTS(self->session);

	ASSERT_EQ(0, ref_set(self->session, parent, 0, PYOBJMEM_NONE, NULL));
	EXPECT_LAST_ACT(self->session, object[0]);
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	EXPECT_LAST_ACT(self->session, object[1]);
	close(ticket);
	EXPECT_TRUE(wait_until(events_waiting(self->session) == 1, SOON_MS));
	EXPECT_LAST_ACT(self->session, object[2]);
	ASSERT_EQ(0, session_leave(self->other));
	EXPECT_LAST_ACT(self->session, object[3]);
}

/* What only an object with a finalizer names lives as long as it. */
TEST_F(finalize, keeps_all_that_the_object_reaches)
{
	__u64 object = new_finalized(_metadata, self->session, 1), child, grandchild, got;

	ASSERT_EQ(0, container_create(self->session, 1, &child));
	ASSERT_EQ(0, object_create(self->session, 0, "cargo", 5, NULL, 0, &grandchild));
	ASSERT_EQ(0, ref_set(self->session, object, 0, child, NULL));
	ASSERT_EQ(0, ref_set(self->session, child, 0, grandchild, NULL));
	ASSERT_EQ(0, weak_hold(self->session, grandchild, 1));
	ASSERT_EQ(0, object_put(self->session, grandchild));
	ASSERT_EQ(0, object_put(self->session, child));
	ASSERT_EQ(0, object_put(self->session, object));
	ASSERT_EVENTS(self->session, EVENT_FINALIZE(object));
	ASSERT_EQ(0, ref_get(self->session, object, 0, &got));
	EXPECT_EQ(child, got);
	ASSERT_EQ(0, object_put(self->session, child));
	ASSERT_EQ(0, object_put(self->session, object));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(grandchild, 1));
	EXPECT_EQ(0, stats_objects(self->session));
}

/* A cascade that meets objects with finalizers: each dies when its own has run. */
TEST_F(finalize, stops_a_cascade_until_it_has_run)
{
	__u64 chain[4];
	int i;

	for (i = 0; i < 4; i++) {
		chain[i] = new_finalized(_metadata, self->session, 1);
		if (i)
			ASSERT_EQ(0, ref_set(self->session, chain[i - 1], 0, chain[i], NULL));
	}
	for (i = 3; i >= 0; i--)
		ASSERT_EQ(0, object_put(self->session, chain[i]));
	for (i = 0; i < 4; i++) {
		EXPECT_EVENTS(self->session, EVENT_FINALIZE(chain[i]));
		EXPECT_EQ(4 - i, stats_objects(self->session));
		ASSERT_EQ(0, object_put(self->session, chain[i]));
	}
	EXPECT_NO_EVENTS(self->session);
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(finalize, of_thousands_come_each_once)
{
	struct event_handler handler = {};
	struct pyobjmem_batch_entry *entries = calloc(1000, sizeof(*entries));
	__u64 parent, handle;
	int i, round;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, container_create(self->session, 1000, &parent));
		for (i = 0; i < 1000; i++)
			entries[i] = entry_create(PYOBJMEM_CREATE_FINALIZE, NULL, 8, i % 2);
		ASSERT_EQ(0, batch_run(self->session, entries, 1000, 0, NULL));
		for (i = 0; i < 1000; i++) {
			handle = entries[i].command.create.out_handle;
			ASSERT_EQ(0, entries[i].out_result);
			ASSERT_EQ(0, ref_set(self->session, parent, i, handle, NULL));
			ASSERT_EQ(0, object_put(self->session, handle));
		}
		ASSERT_EQ(0, object_put(self->session, parent));
		EXPECT_EQ(1000, events_waiting(self->session));
		EXPECT_EQ(1000, events_handle(self->session, &handler));
		EXPECT_EQ(1000 * (round + 1), handler.finalized);
		EXPECT_EQ(0, stats_objects(self->session));
	}
	free(entries);
}

/* --- The hold ------------------------------------------------------------- */

/* Until it is read, the object is nobody's to name; then it is held once. */
TEST_F(finalize, event_gives_a_take_when_it_is_read)
{
	__u64 object = new_finalized(_metadata, self->session, 0);

	ASSERT_EQ(0, object_put(self->session, object));
	EXPECT_EQ(-ENOENT, object_get(self->session, object));
	EXPECT_EQ(0, stats_holds(self->session));
	EXPECT_VERIFIED(self->heap.number);
	EXPECT_EVENTS(self->session, EVENT_FINALIZE(object));
	EXPECT_EQ(1, takes(self->session, object));
	EXPECT_EQ(1, stats_holds(self->session));
	EXPECT_VERIFIED(self->heap.number);
	ASSERT_EQ(0, object_put(self->session, object));
}

/* Who got hold of it while the event waited has one take more. */
TEST_F(finalize, event_of_what_is_held_already_is_one_take_more)
{
	__u64 object = new_finalized(_metadata, self->session, 0);
	struct pyobjmem_inspect inspect;

	ASSERT_EQ(0, weak_hold(self->session, object, 1));
	ASSERT_EQ(0, object_put(self->session, object));
	ASSERT_EQ(0, weak_upgrade(self->session, object));
	ASSERT_EQ(0, object_inspect(self->session, object, &inspect));
	EXPECT_EQ(1, inspect.out_takes);
	EXPECT_EQ(2, inspect.out_external);	/* the session and the event */
	EXPECT_EVENTS(self->session, EVENT_FINALIZE(object));
	ASSERT_EQ(0, object_inspect(self->session, object, &inspect));
	EXPECT_EQ(2, inspect.out_takes);
	EXPECT_EQ(1, inspect.out_external);
	ASSERT_EQ(0, object_put(self->session, object));
	EXPECT_NO_EVENTS(self->session);
	ASSERT_EQ(0, object_put(self->session, object));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(object, 1));
}

/* A hold that another session got meanwhile does not take the event back. */
TEST_F(finalize, event_comes_though_another_session_upgrades)
{
	__u64 object = new_finalized(_metadata, self->session, 0);

	ASSERT_EQ(0, root_set(self->session, 0, object, NULL));
	ASSERT_EQ(0, root_get(self->other, 0, NULL));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	ASSERT_EQ(0, weak_hold(self->other, object, 1));
	ASSERT_EQ(0, object_put(self->session, object));
	ASSERT_EQ(0, object_put(self->other, object));
	ASSERT_EQ(0, weak_upgrade(self->other, object));
	EXPECT_EVENTS(self->session, EVENT_FINALIZE(object));
	ASSERT_EQ(0, object_put(self->session, object));
	EXPECT_NO_EVENTS(self->other);
	ASSERT_EQ(0, object_put(self->other, object));
	EXPECT_NO_EVENTS(self->session);
	EXPECT_EVENTS(self->other, EVENT_WEAK_DEAD(object, 1));
}

/* Finalizer, then weak holds, then memory: everywhere the same. */
TEST_F(finalize, comes_before_weak_holds_die)
{
	__u64 object[2];
	int i;

	for (i = 0; i < 2; i++) {
		object[i] = new_finalized(_metadata, self->session, 1);
		ASSERT_EQ(0, weak_hold(self->session, object[i], i));
	}
	/* One goes by its counts, the other by collection. */
	ASSERT_EQ(0, ref_set(self->session, object[1], 0, object[1], NULL));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, object_put(self->session, object[i]));
		ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
		EXPECT_EVENTS(self->session, EVENT_FINALIZE(object[i]));
		EXPECT_EQ(0, weak_upgrade(self->session, object[i]));
		EXPECT_EQ(0, object_put(self->session, object[i]));
		EXPECT_NO_EVENTS(self->session);
		ASSERT_EQ(0, object_put(self->session, object[i]));
		ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
		EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(object[i], i));
	}
}

/* --- Once ----------------------------------------------------------------- */

/* Made reachable again in every way there is, it does not come a second time. */
TEST_F(finalize, comes_once_in_an_objects_life)
{
	struct pyobjmem_inspect inspect;
	__u64 object, parent;
	int way, ticket = -1;

	ASSERT_EQ(0, container_create(self->session, 1, &parent));
	for (way = 0; way < 4; way++) {
		object = new_finalized(_metadata, self->session, 1);
		ASSERT_EQ(0, object_inspect(self->session, object, &inspect));
		EXPECT_EQ(PYOBJMEM_CREATE_FINALIZE, inspect.out_flags);
		ASSERT_EQ(0, object_put(self->session, object));
		EXPECT_EVENTS(self->session, EVENT_FINALIZE(object));
		ASSERT_EQ(0, object_inspect(self->session, object, &inspect));
		EXPECT_EQ(PYOBJMEM_CREATE_FINALIZE | PYOBJMEM_INSPECT_FINALIZED,
			  inspect.out_flags);
		if (way == 0)
			ASSERT_EQ(0, object_get(self->session, object));
		if (way == 1)
			ASSERT_EQ(0, ref_set(self->session, parent, 0, object, NULL));
		if (way == 2)
			ASSERT_EQ(0, root_set(self->session, 0, object, NULL));
		if (way == 3)
			ticket = object_export(self->session, object);
		ASSERT_EQ(0, object_put(self->session, object));
		EXPECT_EQ(2, stats_objects(self->session));
		if (way == 0)
			ASSERT_EQ(0, object_put(self->session, object));
		if (way == 1)
			ASSERT_EQ(0, ref_set(self->session, parent, 0, PYOBJMEM_NONE, NULL));
		if (way == 2)
			ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
		close(ticket);
		EXPECT_TRUE(wait_until(stats_objects(self->session) == 1, SOON_MS));
		EXPECT_NO_EVENTS(self->session);
	}
}

/* --- By collection -------------------------------------------------------- */

TEST_F(finalize, of_garbage_comes_instead_of_its_collection)
{
	__u64 object = new_finalized(_metadata, self->session, 1);
	struct pyobjmem_collect collect;

	ASSERT_EQ(0, ref_set(self->session, object, 0, object, NULL));
	ASSERT_EQ(0, object_put(self->session, object));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(1, collect.out_visited);
	EXPECT_EQ(0, collect.out_collected);
	EXPECT_EQ(1, collect.out_finalizers);
	EXPECT_EQ(1, collect.out_survivors);
	/* As long as nobody reads it, it is not queued again. */
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(0, collect.out_collected);
	EXPECT_EQ(0, collect.out_finalizers);
	EXPECT_EVENTS(self->session, EVENT_FINALIZE(object));
	ASSERT_EQ(0, object_put(self->session, object));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(1, collect.out_collected);
	EXPECT_EQ(0, collect.out_finalizers);
	EXPECT_NO_EVENTS(self->session);
}

/* Also of those that hang on another one, in the same collection; to each its owner. */
TEST_F(finalize, of_all_garbage_come_in_one_collection)
{
	__u64 first = new_finalized(_metadata, self->session, 2), second, third, leaf;
	struct pyobjmem_collect collect;

	second = new_finalized(_metadata, self->session, 1);
	leaf = new_finalized(_metadata, self->session, 0);
	third = new_finalized(_metadata, self->other, 1);
	ASSERT_EQ(0, root_set(self->other, 0, third, NULL));
	ASSERT_EQ(0, root_get(self->session, 0, NULL));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	ASSERT_EQ(0, ref_set(self->session, first, 0, first, NULL));
	ASSERT_EQ(0, ref_set(self->session, first, 1, second, NULL));
	ASSERT_EQ(0, ref_set(self->session, second, 0, third, NULL));
	ASSERT_EQ(0, ref_set(self->session, third, 0, leaf, NULL));
	ASSERT_EQ(0, object_put(self->other, third));
	ASSERT_EQ(0, object_put(self->session, third));
	ASSERT_EQ(0, object_put(self->session, leaf));
	ASSERT_EQ(0, object_put(self->session, second));
	ASSERT_EQ(0, object_put(self->session, first));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(4, collect.out_finalizers);
	EXPECT_EQ(0, collect.out_collected);
	EXPECT_EVENTS_UNORDERED(self->session, EVENT_FINALIZE(first), EVENT_FINALIZE(second),
				EVENT_FINALIZE(leaf));
	EXPECT_EVENTS(self->other, EVENT_FINALIZE(third));
	ASSERT_EQ(0, object_put(self->other, third));
	ASSERT_EQ(0, object_put(self->session, leaf));
	ASSERT_EQ(0, object_put(self->session, second));
	ASSERT_EQ(0, object_put(self->session, first));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(4, collect.out_collected);
	EXPECT_EQ(0, stats_objects(self->session));
}

/* --- Whose it is ---------------------------------------------------------- */

TEST_F(finalize, is_told_to_the_creator_only)
{
	__u64 object = new_finalized(_metadata, self->session, 0);

	ASSERT_EQ(0, root_set(self->session, 0, object, NULL));
	ASSERT_EQ(0, root_get(self->other, 0, NULL));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	ASSERT_EQ(0, object_put(self->session, object));
	ASSERT_EQ(0, object_put(self->other, object));
	EXPECT_NO_EVENTS(self->other);
	EXPECT_LAST_ACT(self->session, object);
}

/* Of a session that has ended it is not run, but counted. */
TEST_F(finalize, of_a_session_that_left_is_counted)
{
	__u64 kept = new_finalized(_metadata, self->other, 0);
	__u64 dead = new_finalized(_metadata, self->other, 0);
	struct pyobjmem_inspect inspect;

	ASSERT_EQ(0, root_set(self->other, 0, kept, NULL));
	ASSERT_EQ(0, root_get(self->session, 0, NULL));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	ASSERT_EQ(0, weak_hold(self->session, kept, 1));
	EXPECT_EQ(2, finalizers(self->session));
	ASSERT_EQ(0, session_leave(self->other));
	EXPECT_EQ(0, finalizers(self->session));
	EXPECT_EQ(2, finalizers_abandoned(self->session));
	EXPECT_EQ(-ESTALE, object_get(self->session, dead));
	ASSERT_EQ(0, object_inspect(self->session, kept, &inspect));
	EXPECT_EQ(PYOBJMEM_CREATE_FINALIZE | PYOBJMEM_INSPECT_FINALIZED, inspect.out_flags);
	ASSERT_EQ(0, object_put(self->session, kept));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(kept, 1));
	EXPECT_EQ(2, finalizers_abandoned(self->session));
}

/* So is one whose event waited; one that was read has been delivered. */
TEST_F(finalize, that_waits_at_the_end_is_counted)
{
	__u64 read_one = new_finalized(_metadata, self->other, 1);
	__u64 waiting = new_finalized(_metadata, self->other, 1), child;

	ASSERT_EQ(0, container_create(self->other, 1, &child));
	ASSERT_EQ(0, ref_set(self->other, waiting, 0, child, NULL));
	ASSERT_EQ(0, object_put(self->other, child));
	ASSERT_EQ(0, object_put(self->other, read_one));
	EXPECT_EVENTS(self->other, EVENT_FINALIZE(read_one));
	ASSERT_EQ(0, object_put(self->other, waiting));
	EXPECT_EQ(1, events_waiting(self->other));
	EXPECT_EQ(3, stats_objects(self->session));
	ASSERT_EQ(0, session_leave(self->other));
	EXPECT_EQ(1, finalizers_abandoned(self->session));
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(3, stats_freed_counted(self->session));
	EXPECT_NO_EVENTS(self->other);
}

#define OWNED	2000

static int own_and_wait(struct child_side *side)
{
	FIXTURE_DATA(finalize) *self = side->argument;
	int session = test_heap_join(&self->heap);
	__u64 object, list;
	int i;

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!container_create(session, OWNED, &list));
	for (i = 0; i < 2 * OWNED; i++) {
		CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 1,
					   &object));
		if (i < OWNED)
			CHILD_CHECK(!ref_set(session, list, i, object, NULL));
		CHILD_CHECK(!object_put(session, object));
	}
	CHILD_CHECK(!root_set(session, 0, list, NULL));
	child_ready(side);
	child_waits(side);
	return 0;
}

/* Half of them wait as events, half are armed on objects that a root keeps. */
TEST_F(finalize, of_a_killed_process_are_counted)
{
	struct child child;

	ASSERT_EQ(0, child_start(&child, own_and_wait, self));
	ASSERT_TRUE(child_wait_ready(&child));
	EXPECT_EQ(OWNED, finalizers(self->session));
	EXPECT_EQ(2 * OWNED + 1, stats_objects(self->session));
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	EXPECT_TRUE(wait_until(stats_sessions(self->session) == 2, SOON_MS));
	EXPECT_EQ(2 * OWNED, finalizers_abandoned(self->session));
	EXPECT_EQ(OWNED + 1, stats_objects(self->session));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(2 * OWNED, finalizers_abandoned(self->session));
}

/* --- What never was ------------------------------------------------------- */

/* Nothing is left of a CREATE that failed: no object, no finalizer, no event. */
static void nothing_was_created(struct __test_metadata *_metadata, FIXTURE_DATA(finalize) *self,
				__u64 objects)
{
	EXPECT_EQ(objects, stats_objects(self->session));
	EXPECT_EQ(0, finalizers(self->session));
	EXPECT_EQ(0, finalizers_abandoned(self->session));
	EXPECT_EQ(0, watches(self->session));
	EXPECT_NO_EVENTS(self->session);
	EXPECT_VERIFIED(self->heap.number);
}

TEST_F(finalize, create_whose_reply_is_lost_gives_no_event)
{
	struct pyobjmem_create *create = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE,
					      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static const __u32 slots[] = { 0, 1, 1000 };
	size_t i;

	ASSERT_NE(MAP_FAILED, (void *)create);
	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		ASSERT_EQ(0, mprotect(create, POOL_BYTES, PROT_READ | PROT_WRITE));
		*create = (struct pyobjmem_create){
			.size = sizeof(*create),
			.flags = PYOBJMEM_CREATE_FINALIZE,
			.payload_size = 8,
			.slots = slots[i],
		};
		ASSERT_EQ(0, mprotect(create, POOL_BYTES, PROT_READ));
		EXPECT_EQ(-EFAULT, operate(self->session, PYOBJMEM_OP_CREATE, create));
		nothing_was_created(_metadata, self, 0);
	}
	munmap(create, POOL_BYTES);
}

/* The edges of a large object are set after it was made; one of them is not held. */
TEST_F(finalize, create_with_a_bad_edge_gives_no_event)
{
	__u64 edges[300], held, not_held;
	int i;

	ASSERT_EQ(0, container_create(self->session, 1, &held));
	ASSERT_EQ(0, container_create(self->other, 1, &not_held));
	for (i = 0; i < 300; i++)
		edges[i] = held;
	edges[299] = not_held;
	EXPECT_EQ(-ENOENT, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, edges,
					 300, NULL));
	EXPECT_EQ(-ENOENT, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8,
					 edges + 200, 100, NULL));
	nothing_was_created(_metadata, self, 2);
}

TEST_F(finalize, create_beyond_a_limit_gives_no_event)
{
	__u64 saved, object;
	int rc;

	ASSERT_EQ(0, container_create(self->session, 1, &object));
	ASSERT_EQ(0, parameter_read("session_holds", &saved));
	ASSERT_EQ(0, parameter_write("session_holds", 1));
	rc = object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 1, NULL);
	ASSERT_EQ(0, parameter_write("session_holds", saved));
	EXPECT_EQ(-EDQUOT, rc);
	ASSERT_EQ(0, heap_limit_objects(self->session, 1));
	EXPECT_EQ(-ENOSPC, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL,
					 1, NULL));
	nothing_was_created(_metadata, self, 1);
}

/* In a BATCH whose results cannot be written they took place: their finalizers do, too. */
TEST_F(finalize, create_in_a_batch_whose_results_are_lost_took_place)
{
	struct pyobjmem_batch_entry *entries = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE,
						    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u32 done = 0;
	int i;

	ASSERT_NE(MAP_FAILED, (void *)entries);
	for (i = 0; i < 10; i++)
		entries[i] = entry_create(PYOBJMEM_CREATE_FINALIZE, NULL, 8, i);
	ASSERT_EQ(0, mprotect(entries, POOL_BYTES, PROT_READ));
	EXPECT_EQ(-EFAULT, batch_run(self->other, entries, 10, 0, &done));
	EXPECT_EQ(10, done);
	EXPECT_EQ(10, stats_holds(self->other));
	EXPECT_EQ(10, finalizers(self->session));
	ASSERT_EQ(0, session_leave(self->other));
	EXPECT_EQ(10, finalizers_abandoned(self->session));
	EXPECT_EQ(0, stats_objects(self->session));
	munmap(entries, POOL_BYTES);
}

TEST_HARNESS_MAIN
