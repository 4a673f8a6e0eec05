// SPDX-License-Identifier: GPL-2.0
/*
 * The last user of a heap goes while operations on it run in other threads: the
 * heap stays until they are done, then everything goes. Its descriptor is closed
 * before, so that the session is the only user.
 *
 * It takes a kernel with KASAN to see every mistake here; a heap that stays, or
 * a process that hangs, is seen by any.
 */
#include "kselftest_harness.h"
#include <pthread.h>
#include "pyobjmem_test.h"

#define RINGS		2000
#define ROUNDS		30
#define LARGE_BYTES	(1024 * 1024)

/* A session that is the only user of its heap, and what a thread does to it. */
struct last {
	int session;
	__u64 number;
	__u64 kept;
	int (*does)(struct last *last);
};

static int collects(struct last *last)
{
	return heap_collect(last->session, 2, NULL);
}

static int freezes(struct last *last)
{
	return heap_freeze(last->session) ?: heap_unfreeze(last->session);
}

static int creates_large(struct last *last)
{
	__u64 handle;
	int rc = object_create(last->session, 0, NULL, LARGE_BYTES, NULL, 0, &handle);

	return rc ?: object_put(last->session, handle);
}

static int creates_many_slots(struct last *last)
{
	static __u64 edges[5000];
	__u64 handle;
	size_t i;
	int rc;

	for (i = 0; i < 5000; i++)
		edges[i] = last->kept;
	rc = object_create(last->session, 0, NULL, 0, edges, 5000, &handle);
	return rc ?: object_put(last->session, handle);
}

static int exports(struct last *last)
{
	int ticket = object_export(last->session, last->kept);

	if (ticket < 0)
		return ticket;
	close(ticket);
	return 0;
}

/* Garbage enough for a collection of many slices. */
static int fill(struct last *last)
{
	__u64 a, b;
	int rc = container_create(last->session, 1, &last->kept), i;

	for (i = 0; !rc && i < RINGS; i++) {
		rc = container_create(last->session, 1, &a) ?:
		     container_create(last->session, 1, &b) ?:
		     ref_set(last->session, a, 0, b, NULL) ?:
		     ref_set(last->session, b, 0, a, NULL) ?:
		     object_put(last->session, a) ?:
		     object_put(last->session, b);
	}
	return rc;
}

static void *until_refused(void *argument)
{
	struct last *last = argument;
	int rc;

	do {
		rc = last->does(last);
	} while (!rc);
	return (void *)(intptr_t)rc;
}

FIXTURE(last)
{
	struct last last;
	unsigned int seed;
};

FIXTURE_SETUP(last)
{
	self->seed = 1;
}

FIXTURE_TEARDOWN(last)
{
}

FIXTURE_VARIANT(last)
{
	int (*does)(struct last *last);
};

FIXTURE_VARIANT_ADD(last, collect) { .does = collects };
FIXTURE_VARIANT_ADD(last, freeze) { .does = freezes };
FIXTURE_VARIANT_ADD(last, create_large) { .does = creates_large };
FIXTURE_VARIANT_ADD(last, create_many_slots) { .does = creates_many_slots };
FIXTURE_VARIANT_ADD(last, export) { .does = exports };

TEST_F_TIMEOUT(last, session_leaves, 120)
{
	struct test_heap heap;
	pthread_t thread;
	void *result;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, test_heap_open(&heap, 0));
		close(heap.fd);
		self->last = (struct last){
			.session = heap.session,
			.number = heap.number,
			.does = variant->does,
		};
		ASSERT_EQ(0, fill(&self->last));
		ASSERT_EQ(0, pthread_create(&thread, NULL, until_refused, &self->last));
		sleep_us(rand_r(&self->seed) % 3000);
		ASSERT_EQ(0, session_leave(heap.session));
		ASSERT_EQ(0, pthread_join(thread, &result));
		EXPECT_EQ(-ENOTCONN, (int)(intptr_t)result);
		EXPECT_HEAP_GONE(heap.number);
		close(heap.session);
	}
}

TEST_HARNESS_MAIN
