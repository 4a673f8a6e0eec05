// SPDX-License-Identifier: GPL-2.0
/*
 * Finalizers: the session that made an object with one is told before the object
 * dies, once, and gets a hold with it.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"

FIXTURE(finalize)
{
	struct test_heap heap;
	int session;
};

FIXTURE_SETUP(finalize)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
}

FIXTURE_TEARDOWN(finalize)
{
	EXPECT_CLEAN_END(&self->heap);
}

TEST_F(finalize, is_told_before_an_object_dies_of_its_counts)
{
	struct event_handler handler = {};
	__u64 object;

	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0,
				   &object));
	EXPECT_NO_EVENTS(self->session);
	ASSERT_EQ(0, weak_hold(self->session, object, 7));
	ASSERT_EQ(0, object_put(self->session, object));
	ASSERT_EVENTS(self->session, EVENT_FINALIZE(object));
	ASSERT_EQ(0, object_put(self->session, object));
	EXPECT_EVENTS_UNORDERED(self->session, EVENT_WEAK_DEAD(object, 7));
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(0, events_handle(self->session, &handler));
}

TEST_HARNESS_MAIN
