// SPDX-License-Identifier: GPL-2.0
/*
 * COLLECTED events: which sessions get them, what they tell, and what becomes of those
 * that nobody reads.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"

FIXTURE(collected)
{
	struct test_heap heap;
	int session;
	int other;		/* a second session of the heap */
};

FIXTURE_SETUP(collected)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->other);
}

FIXTURE_TEARDOWN(collected)
{
	close(self->other);
	EXPECT_CLEAN_END(&self->heap);
}

TEST_F(collected, comes_to_those_who_joined_with_the_flag)
{
	int wants = join_collected(&self->heap), g;

	ASSERT_LE(0, wants);
	for (g = 0; g < 3; g++) {
		EXPECT_EQ(0, event_poll(wants, 0));
		ASSERT_EQ(0, heap_collect(self->other, g, NULL));
		EXPECT_EQ(POLLIN, event_poll(wants, 0));
		EXPECT_EVENTS(wants, EVENT_COLLECTED(g, 0, 0));
		EXPECT_NO_EVENTS(self->session);
		EXPECT_NO_EVENTS(self->other);
	}
	/* Those from before are not its business. */
	close(wants);
	wants = join_collected(&self->heap);
	ASSERT_LE(0, wants);
	EXPECT_NO_EVENTS(wants);
	close(wants);
}

TEST(collected_comes_to_who_created_the_heap_with_the_flag)
{
	struct test_heap heap;

	ASSERT_EQ(0, test_heap_open(&heap, PYOBJMEM_HEAP_COLLECTED));
	ASSERT_EQ(0, heap_collect(heap.session, 1, NULL));
	EXPECT_EVENTS(heap.session, EVENT_COLLECTED(1, 0, 0));
	EXPECT_CLEAN_END(&heap);
}

TEST_F(collected, flags_of_join_that_are_not_known_are_refused)
{
	int session = session_open();

	ASSERT_LE(0, session);
	EXPECT_EQ(-EOPNOTSUPP, heap_join_flags(session, self->heap.fd, PYOBJMEM_HEAP_NOMAP));
	EXPECT_EQ(-EOPNOTSUPP, heap_join_flags(session, self->heap.fd, 1U << 31));
	EXPECT_EQ(0, heap_join_flags(session, self->heap.fd, PYOBJMEM_HEAP_COLLECTED));
	close(session);
}

/* With what the collection did; behind the events that came of it. */
TEST_F(collected, tells_what_was_done)
{
	int wants = join_collected(&self->heap), i;
	__u64 object[5];

	ASSERT_LE(0, wants);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, object_create(wants, i < 2 ? PYOBJMEM_CREATE_FINALIZE : 0, NULL, 8,
					   NULL, 1, &object[i]));
		ASSERT_EQ(0, ref_set(wants, object[i], 0, object[i], NULL));
		if (i == 2)
			ASSERT_EQ(0, weak_hold(wants, object[i], 9));
		ASSERT_EQ(0, object_put(wants, object[i]));
	}
	ASSERT_EQ(0, heap_collect(self->session, 0, NULL));
	EXPECT_EVENTS(wants, EVENT_FINALIZE(object[0]), EVENT_FINALIZE(object[1]),
		      EVENT_WEAK_DEAD(object[2], 9), EVENT_COLLECTED(0, 3, 2));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, object_put(wants, object[i]));
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EVENTS(wants, EVENT_COLLECTED(2, 2, 0));
	close(wants);
}

/* The last of them are kept; how many were lost is told. */
TEST_F(collected, that_nobody_reads_are_lost_and_counted)
{
	struct pyobjmem_event event[PYOBJMEM_EVENTS_COLLECTED + 1];
	int wants = join_collected(&self->heap), i, more = 5;
	struct pyobjmem_stats stats;

	ASSERT_LE(0, wants);
	for (i = 0; i < PYOBJMEM_EVENTS_COLLECTED; i++)
		ASSERT_EQ(0, heap_collect(self->session, i % 3, NULL));
	for (; i < PYOBJMEM_EVENTS_COLLECTED + more; i++)
		ASSERT_EQ(0, heap_collect(self->session, i % 3, NULL));
	/* They are of a fixed number, and take nothing from the session's limit. */
	ASSERT_EQ(0, heap_stats(wants, &stats));
	EXPECT_EQ(0, stats.out_events);
	EXPECT_EQ(0, stats.out_watches);
	ASSERT_EQ(PYOBJMEM_EVENTS_COLLECTED,
		  events_read(wants, event, PYOBJMEM_EVENTS_COLLECTED + 1));
	for (i = 0; i < PYOBJMEM_EVENTS_COLLECTED; i++) {
		EXPECT_EQ(PYOBJMEM_EVENT_COLLECTED, event[i].type);
		EXPECT_EQ((i + more) % 3, event[i].generation);
		EXPECT_EQ(i ? 0 : more, event[i].lost);
	}
	ASSERT_EQ(0, heap_collect(self->session, 1, NULL));
	EXPECT_EVENTS(wants, EVENT_COLLECTED(1, 0, 0));
	close(wants);
}

/* One that was begun to be read and could not be written stays, too. */
TEST_F(collected, into_a_bad_buffer_stays)
{
	int wants = join_collected(&self->heap);
	char *area = guarded_pages(POOL_BYTES);

	ASSERT_NE(NULL, area);
	ASSERT_LE(0, wants);
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EQ(-EFAULT, event_read_once(wants, (void *)(area + POOL_BYTES - 8), 1));
	EXPECT_EVENTS(wants, EVENT_COLLECTED(2, 0, 0));
	munmap(area, 2 * POOL_BYTES);
	close(wants);
}

TEST_F(collected, comes_of_collections_by_themselves)
{
	int wants = join_collected(&self->heap), i;

	ASSERT_LE(0, wants);
	ASSERT_EQ(0, heap_automatic(self->session, true));
	for (i = 0; i < 701; i++)
		ASSERT_EQ(0, container_create(self->session, 1, NULL));
	EXPECT_EQ(POLLIN, event_poll(wants, SOON_MS));
	ASSERT_EQ(0, heap_automatic(self->session, false));
	EXPECT_EVENTS(wants, EVENT_COLLECTED(0, 0, 0));
	close(wants);
}

TEST_HARNESS_MAIN
