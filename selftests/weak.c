// SPDX-License-Identifier: GPL-2.0
/*
 * Weak holds: WEAK, UPGRADE and WEAK_DROP, what they refuse, what they cost, and the
 * WEAK_DEAD events that come of them.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"

FIXTURE(weak)
{
	struct test_heap heap;
	int session;
	int other;		/* a second session of the heap */
	__u64 object;		/* held by session: one slot, empty */
};

FIXTURE_SETUP(weak)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, container_create(self->session, 1, &self->object));
}

FIXTURE_TEARDOWN(weak)
{
	close(self->other);
	EXPECT_CLEAN_END(&self->heap);
}

static __u32 takes(int session, __u64 handle)
{
	struct pyobjmem_inspect inspect;

	return object_inspect(session, handle, &inspect) ? 0 : inspect.out_takes;
}

static __u64 weak_holds(int session)
{
	struct pyobjmem_stats stats;

	return heap_stats(session, &stats) ? ~0ULL : stats.out_weak;
}

static __u64 watches(int session)
{
	struct pyobjmem_stats stats;

	return heap_stats(session, &stats) ? ~0ULL : stats.out_watches;
}

/* Let the other session hold the object as well. */
static void share(struct __test_metadata *_metadata, FIXTURE_DATA(weak) *self)
{
	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	ASSERT_EQ(0, root_get(self->other, 0, NULL));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
}

/* --- What is refused ------------------------------------------------------ */

TEST_F(weak, nothing_is_einval)
{
	EXPECT_EQ(-EINVAL, weak_hold(self->session, PYOBJMEM_NONE, 1));
	EXPECT_EQ(-EINVAL, weak_upgrade(self->session, PYOBJMEM_NONE));
	EXPECT_EQ(-EINVAL, weak_drop(self->session, PYOBJMEM_NONE, 1));
}

TEST_F(weak, without_a_heap_is_enotconn)
{
	int session = session_open();

	ASSERT_LE(0, session);
	EXPECT_EQ(-ENOTCONN, weak_hold(session, self->object, 1));
	EXPECT_EQ(-ENOTCONN, weak_upgrade(session, self->object));
	EXPECT_EQ(-ENOTCONN, weak_drop(session, self->object, 1));
	close(session);
}

TEST_F(weak, what_is_not_held_is_enoent)
{
	EXPECT_EQ(-ENOENT, weak_hold(self->other, self->object, 1));
	EXPECT_EQ(-ENOENT, weak_upgrade(self->other, self->object));
	EXPECT_EQ(-ENOENT, weak_drop(self->other, self->object, 1));
	EXPECT_EQ(0, weak_holds(self->session));
}

/* A hold is not a weak hold, nor is that of another session. */
TEST_F(weak, upgrade_needs_a_weak_hold_of_the_session)
{
	EXPECT_EQ(-ENOENT, weak_upgrade(self->session, self->object));
	share(_metadata, self);
	ASSERT_EQ(0, weak_hold(self->other, self->object, 1));
	EXPECT_EQ(-ENOENT, weak_upgrade(self->session, self->object));
	EXPECT_EQ(-ENOENT, weak_drop(self->session, self->object, 1));
	EXPECT_EQ(1, takes(self->session, self->object));
}

TEST_F(weak, the_same_cookie_is_ealready)
{
	__u64 second;

	ASSERT_EQ(0, container_create(self->session, 1, &second));
	ASSERT_EQ(0, weak_hold(self->session, self->object, 7));
	EXPECT_EQ(-EALREADY, weak_hold(self->session, self->object, 7));
	EXPECT_EQ(1, weak_holds(self->session));
	EXPECT_EQ(0, weak_hold(self->session, self->object, 8));
	EXPECT_EQ(0, weak_hold(self->session, second, 7));
	share(_metadata, self);
	EXPECT_EQ(0, weak_hold(self->other, self->object, 7));
	EXPECT_EQ(4, weak_holds(self->session));
	EXPECT_EQ(3, watches(self->session));
	EXPECT_EQ(1, watches(self->other));
}

TEST_F(weak, a_dead_object_is_estale)
{
	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EQ(-ESTALE, weak_hold(self->session, self->object, 2));
	EXPECT_EQ(-ESTALE, weak_upgrade(self->session, self->object));
	EXPECT_EQ(-ESTALE, weak_drop(self->session, self->object, 1));
	ASSERT_EVENTS(self->session, EVENT_WEAK_DEAD(self->object, 1));
	EXPECT_EQ(-ESTALE, weak_hold(self->session, self->object, 2));
	EXPECT_EQ(-ESTALE, weak_upgrade(self->session, self->object));
	EXPECT_EQ(-ESTALE, weak_drop(self->session, self->object, 1));
}

/* Where a heap cannot be mapped, nobody is told whether an object that he does not hold lives. */
TEST(weak_in_an_unmappable_heap_a_dead_object_is_enoent)
{
	struct test_heap heap;
	__u64 object;

	ASSERT_EQ(0, test_heap_open(&heap, PYOBJMEM_HEAP_NOMAP));
	ASSERT_EQ(0, container_create(heap.session, 1, &object));
	ASSERT_EQ(0, weak_hold(heap.session, object, 1));
	EXPECT_EQ(0, weak_upgrade(heap.session, object));
	EXPECT_EQ(0, object_put(heap.session, object));
	ASSERT_EQ(0, object_put(heap.session, object));
	EXPECT_EQ(-ENOENT, weak_hold(heap.session, object, 2));
	EXPECT_EQ(-ENOENT, weak_upgrade(heap.session, object));
	EXPECT_EQ(-ENOENT, weak_drop(heap.session, object, 1));
	EXPECT_EVENTS(heap.session, EVENT_WEAK_DEAD(object, 1));
	EXPECT_EQ(-ENOENT, weak_upgrade(heap.session, object));
	EXPECT_CLEAN_END(&heap);
}

/* --- What it does --------------------------------------------------------- */

TEST_F(weak, keeps_nothing_alive)
{
	struct pyobjmem_inspect inspect;

	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, object_inspect(self->session, self->object, &inspect));
	EXPECT_EQ(1, inspect.out_external);
	EXPECT_EQ(0, inspect.out_internal);
	EXPECT_EQ(1, inspect.out_weak);
	EXPECT_NO_EVENTS(self->session);
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(weak, upgrade_takes_once_and_the_weak_hold_stays)
{
	share(_metadata, self);
	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, weak_upgrade(self->session, self->object));
	EXPECT_EQ(2, takes(self->session, self->object));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EQ(-ENOENT, object_get(self->session, self->object));

	ASSERT_EQ(0, weak_upgrade(self->session, self->object));
	EXPECT_EQ(1, takes(self->session, self->object));
	ASSERT_EQ(0, object_put(self->other, self->object));
	EXPECT_EQ(1, stats_objects(self->session));
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(self->object, 1));
}

/* As long as anything names it: a root, a ticket, a slot, another session. */
TEST_F(weak, upgrade_works_as_long_as_the_object_lives)
{
	int ticket = object_export(self->session, self->object);
	__u64 parent;

	ASSERT_LE(0, ticket);
	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, weak_upgrade(self->session, self->object));
	ASSERT_EQ(0, root_set(self->session, 3, self->object, NULL));
	ASSERT_EQ(0, object_put(self->session, self->object));
	close(ticket);
	ASSERT_EQ(0, weak_upgrade(self->session, self->object));
	ASSERT_EQ(0, container_create(self->session, 1, &parent));
	ASSERT_EQ(0, ref_set(self->session, parent, 0, self->object, NULL));
	ASSERT_EQ(0, root_set(self->session, 3, PYOBJMEM_NONE, NULL));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, weak_upgrade(self->session, self->object));
	share(_metadata, self);
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, object_put(self->session, parent));
	ASSERT_EQ(0, weak_upgrade(self->session, self->object));
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_NO_EVENTS(self->session);
	ASSERT_EQ(0, object_put(self->other, self->object));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(self->object, 1));
}

TEST_F(weak, each_cookie_of_each_session_is_told)
{
	share(_metadata, self);
	ASSERT_EQ(0, weak_hold(self->session, self->object, 0));
	ASSERT_EQ(0, weak_hold(self->session, self->object, ~0ULL));
	ASSERT_EQ(0, weak_hold(self->other, self->object, 0));
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_NO_EVENTS(self->session);
	EXPECT_NO_EVENTS(self->other);
	ASSERT_EQ(0, object_put(self->other, self->object));
	EXPECT_EVENTS_UNORDERED(self->session, EVENT_WEAK_DEAD(self->object, 0),
				EVENT_WEAK_DEAD(self->object, ~0ULL));
	EXPECT_EVENTS(self->other, EVENT_WEAK_DEAD(self->object, 0));
}

TEST_F(weak, drop_leaves_no_event)
{
	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, weak_hold(self->session, self->object, 2));
	ASSERT_EQ(0, weak_drop(self->session, self->object, 1));
	EXPECT_EQ(-ENOENT, weak_drop(self->session, self->object, 1));
	EXPECT_EQ(1, weak_holds(self->session));
	EXPECT_EQ(0, weak_upgrade(self->session, self->object));
	EXPECT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(self->object, 2));
}

/* What the session does not hold can still be dropped, and is then out of reach. */
TEST_F(weak, drop_needs_no_hold)
{
	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, weak_drop(self->session, self->object, 1));
	EXPECT_EQ(-ENOENT, weak_upgrade(self->session, self->object));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	EXPECT_NO_EVENTS(self->session);
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(weak, holds_of_all_kinds_of_objects)
{
	__u64 object;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(object_kinds); i++) {
		ASSERT_EQ(0, object_of_kind(self->session, i, 0, &object));
		ASSERT_EQ(0, weak_hold(self->session, object, i));
		ASSERT_EQ(0, weak_upgrade(self->session, object));
		ASSERT_EQ(0, object_put(self->session, object));
		ASSERT_EQ(0, object_put(self->session, object));
		EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(object, i));
	}
}

/* --- How objects die ------------------------------------------------------ */

TEST_F(weak, objects_that_a_collection_frees_are_told)
{
	ASSERT_EQ(0, ref_set(self->session, self->object, 0, self->object, NULL));
	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_NO_EVENTS(self->session);
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(self->object, 1));
	EXPECT_EQ(-ESTALE, weak_upgrade(self->session, self->object));
}

/* A cycle that nobody has found dead can be got hold of, and is no garbage then. */
TEST_F(weak, upgrade_of_garbage_that_was_not_collected_saves_it)
{
	struct pyobjmem_collect collect;
	__u64 peer;

	ASSERT_EQ(0, container_create(self->session, 1, &peer));
	ASSERT_EQ(0, ref_set(self->session, self->object, 0, peer, NULL));
	ASSERT_EQ(0, ref_set(self->session, peer, 0, self->object, NULL));
	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, object_put(self->session, peer));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, weak_upgrade(self->session, self->object));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(0, collect.out_collected);
	EXPECT_NO_EVENTS(self->session);
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(2, collect.out_collected);
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(self->object, 1));
}

/* The parent dies first; so its event comes first. */
TEST_F(weak, events_come_in_the_order_of_deaths)
{
	__u64 chain[5];
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &chain[i]));
		ASSERT_EQ(0, weak_hold(self->session, chain[i], i));
		if (i)
			ASSERT_EQ(0, ref_set(self->session, chain[i - 1], 0, chain[i], NULL));
	}
	for (i = 4; i >= 0; i--)
		ASSERT_EQ(0, object_put(self->session, chain[i]));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(chain[0], 0), EVENT_WEAK_DEAD(chain[1], 1),
		      EVENT_WEAK_DEAD(chain[2], 2), EVENT_WEAK_DEAD(chain[3], 3),
		      EVENT_WEAK_DEAD(chain[4], 4));
}

/* More than one hold of the lock takes. */
TEST_F(weak, thousands_of_one_object_are_told_each_once)
{
	struct pyobjmem_event event;
	struct pyobjmem_inspect inspect;
	unsigned int i, n = 3000;
	char *seen = calloc(n, 1);

	for (i = 0; i < n; i++)
		ASSERT_EQ(0, weak_hold(self->session, self->object, i));
	EXPECT_EQ(n, weak_holds(self->session));
	ASSERT_EQ(0, object_inspect(self->session, self->object, &inspect));
	EXPECT_EQ(PYOBJMEM_INSPECT_WEAK_MAX, inspect.out_weak);
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EQ(0, weak_holds(self->session));
	EXPECT_EQ(n, events_waiting(self->session));
	EXPECT_EQ(0, stats_objects(self->session));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(1, events_read(self->session, &event, 1));
		ASSERT_EQ(PYOBJMEM_EVENT_WEAK_DEAD, event.type);
		ASSERT_EQ(self->object, event.handle);
		ASSERT_GT(n, event.cookie);
		ASSERT_EQ(0, seen[event.cookie]++);
	}
	EXPECT_NO_EVENTS(self->session);
	free(seen);
}

/* A new object where an old one was has nothing to do with the weak holds of that. */
TEST_F(weak, of_a_place_that_is_used_again_are_not_confused)
{
	__u64 old = self->object, new = old;
	int i;

	ASSERT_EQ(0, weak_hold(self->session, old, 1));
	ASSERT_EQ(0, weak_hold(self->session, old, 2));
	ASSERT_EQ(0, object_put(self->session, old));
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &new));
		if ((__u32)new == (__u32)old)
			break;
	}
	ASSERT_EQ((__u32)old, (__u32)new);
	ASSERT_NE(old, new);
	EXPECT_EQ(-ENOENT, weak_upgrade(self->session, new));
	EXPECT_EQ(-ENOENT, weak_drop(self->session, new, 1));
	EXPECT_EQ(-ESTALE, weak_upgrade(self->session, old));
	EXPECT_EQ(-ESTALE, weak_drop(self->session, old, 1));
	ASSERT_EQ(0, weak_hold(self->session, new, 1));
	EXPECT_EQ(-ESTALE, weak_drop(self->session, old, 1));
	ASSERT_EQ(0, object_put(self->session, new));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(old, 1), EVENT_WEAK_DEAD(old, 2),
		      EVENT_WEAK_DEAD(new, 1));
}

/* --- Ends of sessions ----------------------------------------------------- */

TEST_F(weak, holds_end_with_their_session)
{
	share(_metadata, self);
	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, weak_hold(self->other, self->object, 1));
	ASSERT_EQ(0, weak_hold(self->other, self->object, 2));
	ASSERT_EQ(0, session_leave(self->other));
	EXPECT_EQ(1, weak_holds(self->session));
	EXPECT_EQ(-ENOTCONN, weak_upgrade(self->other, self->object));
	EXPECT_NO_EVENTS(self->session);
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(self->object, 1));
}

static int hold_weakly_and_wait(struct child_side *side)
{
	FIXTURE_DATA(weak) *self = side->argument;
	int session = test_heap_join(&self->heap);
	__u64 object, own;
	int i;

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!root_get(session, 0, &object));
	for (i = 0; i < 1000; i++)
		CHILD_CHECK(!weak_hold(session, object, i));
	/* Events that wait go, too. */
	CHILD_CHECK(!container_create(session, 0, &own));
	for (i = 0; i < 1000; i++)
		CHILD_CHECK(!weak_hold(session, own, i));
	CHILD_CHECK(!object_put(session, own));
	child_ready(side);
	child_waits(side);
	return 0;
}

/* The last hold is that of a process that is killed: those that hold weakly are told. */
TEST_F(weak, a_killed_session_takes_its_own_and_tells_others)
{
	struct child child;

	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	ASSERT_EQ(0, weak_hold(self->session, self->object, 5));
	ASSERT_EQ(0, child_start(&child, hold_weakly_and_wait, self));
	ASSERT_TRUE(child_wait_ready(&child));
	EXPECT_EQ(1001, weak_holds(self->session));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	EXPECT_NO_EVENTS(self->session);
	ASSERT_EQ(-SIGKILL, child_kill(&child));
	EXPECT_TRUE(wait_until(stats_sessions(self->session) == 2, SOON_MS));
	EXPECT_EQ(0, weak_holds(self->session));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(self->object, 5));
}

/* --- Limits --------------------------------------------------------------- */

/* Weak holds, finalizers and events that wait count; what is dropped or read does not. */
TEST_F(weak, session_watches_is_a_limit)
{
	struct pyobjmem_query query;
	struct pyobjmem_stats stats;
	__u64 saved, limited, second;
	int rc[6];

	ASSERT_EQ(0, container_create(self->session, 1, &second));
	ASSERT_EQ(0, parameter_read("session_watches", &saved));
	ASSERT_EQ(0, parameter_write("session_watches", 3));
	rc[0] = weak_hold(self->session, self->object, 1) ?:
		weak_hold(self->session, second, 1) ?:
		object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0, &limited);
	rc[1] = weak_hold(self->session, self->object, 2);
	rc[2] = object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0, NULL);
	object_put(self->session, second);
	rc[3] = weak_hold(self->session, self->object, 2);	/* its event waits */
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(second, 1));
	rc[4] = weak_hold(self->session, self->object, 2);
	rc[5] = weak_drop(self->session, self->object, 2) ?:
		object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0, &second);
	EXPECT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(0, session_query(self->session, &query));
	ASSERT_EQ(0, parameter_write("session_watches", saved));
	EXPECT_EQ(0, rc[0]);
	EXPECT_EQ(-EDQUOT, rc[1]);
	EXPECT_EQ(-EDQUOT, rc[2]);
	EXPECT_EQ(-EDQUOT, rc[3]);
	EXPECT_EQ(0, rc[4]);
	EXPECT_EQ(0, rc[5]);
	EXPECT_EQ(3, query.out_session_watches);
	EXPECT_EQ(3, stats.out_watches_limit);
	EXPECT_EQ(3, stats.out_watches);
	EXPECT_EQ(3, stats.out_objects);
	EXPECT_EQ(2, stats.out_finalizers);
	EXPECT_EQ(1, stats.out_weak);
}

/* The least limit of bytes that lets the user have one more weak hold; it is @saved then. */
static __u64 bytes_for_one(int session, __u64 object, __u64 saved)
{
	__u64 low = 0, high = 1ULL << 40, middle;

	while (high - low > 1) {
		middle = (low + high) / 2;
		parameter_write("user_bytes", middle);
		if (weak_hold(session, object, 12345)) {
			low = middle;
		} else {
			weak_drop(session, object, 12345);
			high = middle;
		}
	}
	parameter_write("user_bytes", saved);
	return high;
}

TEST_F(weak, user_bytes_are_charged_and_given_back)
{
	__u64 saved, first, with_one, last, kept, object;
	int i, rc;

	ASSERT_EQ(0, container_create(self->session, 1, &kept));
	ASSERT_EQ(0, parameter_read("user_bytes", &saved));
	first = bytes_for_one(self->session, self->object, saved);
	ASSERT_EQ(0, weak_hold(self->session, kept, 1));
	with_one = bytes_for_one(self->session, self->object, saved);
	ASSERT_EQ(0, weak_drop(self->session, kept, 1));
	ASSERT_EQ(0, parameter_write("user_bytes", 1));
	rc = weak_hold(self->session, self->object, 1);
	ASSERT_EQ(0, parameter_write("user_bytes", saved));
	EXPECT_EQ(-EDQUOT, rc);
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &object));
		ASSERT_EQ(0, weak_hold(self->session, object, 1));
		ASSERT_EQ(0, weak_hold(self->session, object, 2));
		ASSERT_EQ(0, weak_drop(self->session, object, 1));
		ASSERT_EQ(-EALREADY, weak_hold(self->session, object, 2));
		ASSERT_EQ(0, object_put(self->session, object));
		ASSERT_EVENTS(self->session, EVENT_WEAK_DEAD(object, 2));
	}
	last = bytes_for_one(self->session, self->object, saved);
	EXPECT_LT(first, with_one);
	EXPECT_EQ(first, last);
}

TEST_F(weak, upgrade_at_the_limit_of_holds_is_edquot)
{
	__u64 saved;
	int rc[2];

	ASSERT_EQ(0, root_set(self->session, 0, self->object, NULL));
	ASSERT_EQ(0, weak_hold(self->session, self->object, 1));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, container_create(self->session, 1, NULL));
	ASSERT_EQ(0, parameter_read("session_holds", &saved));
	ASSERT_EQ(0, parameter_write("session_holds", 1));
	rc[0] = weak_upgrade(self->session, self->object);
	ASSERT_EQ(0, parameter_write("session_holds", saved));
	rc[1] = weak_upgrade(self->session, self->object);
	EXPECT_EQ(-EDQUOT, rc[0]);
	EXPECT_EQ(0, rc[1]);
}

/* --- In a batch ----------------------------------------------------------- */

TEST_F(weak, operations_in_a_batch)
{
	struct pyobjmem_batch_entry entries[] = {
		entry_weak(self->object, 1), entry_weak(self->object, 1),
		entry_upgrade(self->object), entry_put(self->object),
		entry_weak_drop(self->object, 2), entry_weak(self->object, 2),
		entry_weak_drop(self->object, 1), entry_put(self->object),
		entry_upgrade(self->object), entry_weak_drop(self->object, 2),
	};
	static const int expected[] = {
		0, -EALREADY, 0, 0, -ENOENT, 0, 0, 0, -ESTALE, -ESTALE,
	};
	__u32 done;
	size_t i;

	ASSERT_EQ(0, batch_run(self->session, entries, ARRAY_SIZE(entries),
			       PYOBJMEM_BATCH_CONTINUE, &done));
	EXPECT_EQ(ARRAY_SIZE(entries), done);
	for (i = 0; i < ARRAY_SIZE(entries); i++)
		EXPECT_EQ(expected[i], entries[i].out_result) {
			TH_LOG("entry %zu", i);
		}
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(self->object, 2));
}

/* Each needs memory of its own, that the batch has to bring along under way. */
TEST_F(weak, a_thousand_in_a_batch)
{
	struct pyobjmem_batch_entry *entries = calloc(1000, sizeof(*entries));
	__u32 done;
	int i;

	for (i = 0; i < 1000; i++)
		entries[i] = entry_weak(self->object, i);
	ASSERT_EQ(0, batch_run(self->session, entries, 1000, 0, &done));
	EXPECT_EQ(1000, done);
	EXPECT_EQ(1000, weak_holds(self->session));
	for (i = 0; i < 1000; i++)
		entries[i] = entry_weak_drop(self->object, 999 - i);
	ASSERT_EQ(0, batch_run(self->session, entries, 1000, 0, &done));
	EXPECT_EQ(1000, done);
	EXPECT_EQ(0, weak_holds(self->session));
	free(entries);
}

TEST_HARNESS_MAIN
