// SPDX-License-Identifier: MIT
/*
 * Finalizers: when they run, how often, and what comes of it.
 */
#include <errno.h>
#include <string.h>

#include "trace.h"

static void note_and_get(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	note(session, handle, data);
	trace->result = pyobjmem_get(session, handle);
}

/* Store the object in a slot of another one that lives. */
static void note_and_store(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	note(session, handle, data);
	trace->result = pyobjmem_set_ref(session, trace->other, trace->slot, handle, NULL);
}

static void finalizer_runs_when_dispatched(void)
{
	struct pyobjmem *session = start();
	struct trace trace = { 0 };
	uint64_t a = make_with(session, 0, note, &trace);

	CHECK_EQUAL(0, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, trace.runs);
	CHECK(fake_lives(a));
	errno = EDOM;
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(EDOM, errno);
	CHECK_EQUAL(1, trace.runs);
	CHECK_EQUAL(a, trace.handle);
	CHECK_EQUAL(1, trace.holds);
	CHECK(trace.lived);
	CHECK(!fake_lives(a));
	CHECK_EQUAL(0, session->table.used);
	CHECK_EQUAL(0, session->table.reserved);
	CHECK_EQUAL(0, session->finalizers.used);
	CHECK_EQUAL(0, session->finalizers.reserved);
	CHECK_EQUAL(0, pyobjmem_dispatch(session, 0));
	end(session);
}

static void finalizer_has_to_be_given(void)
{
	struct pyobjmem_object object = { .flags = PYOBJMEM_CREATE_FINALIZE };
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = NULL;
	uint64_t handle = 7;

	CHECK_EQUAL(-EINVAL, pyobjmem_create(session, &object, &handle));
	CHECK_EQUAL(0, pyobjmem_batch_new(session, 0, &batcher));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_create(batcher, &object, &handle));
	CHECK_EQUAL(7, handle);
	CHECK_EQUAL(0, fake_calls_of(PYOBJMEM_OP_CREATE));
	pyobjmem_batch_free(batcher);
	end(session);
}

/* Programs that were built before there were finalizers have smaller structures. */
static void finalizer_is_not_looked_for_without_the_flag(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_object object;
	uint64_t handle;

	memset(&object, 0x55, sizeof(object));
	memset(&object, 0, offsetof(struct pyobjmem_object, finalizer));
	CHECK_EQUAL(0, pyobjmem_create(session, &object, &handle));
	CHECK_EQUAL(0, session->finalizers.used);
	CHECK_EQUAL(0, pyobjmem_put(session, handle));
	CHECK(!fake_lives(handle));
	end(session);
}

static void finalizer_needs_memory_before(void)
{
	struct pyobjmem_object object = { .flags = PYOBJMEM_CREATE_FINALIZE, .finalizer = note };
	struct pyobjmem *session = start();
	uint64_t handle = 7;

	fake_fail_alloc(0);
	CHECK_EQUAL(-ENOMEM, pyobjmem_create(session, &object, &handle));
	fake_fail_alloc(1);
	CHECK_EQUAL(-ENOMEM, pyobjmem_create(session, &object, &handle));
	CHECK_EQUAL(0, fake_calls_of(PYOBJMEM_OP_CREATE));
	fake_fail(PYOBJMEM_OP_CREATE, -EDQUOT);
	CHECK_EQUAL(-EDQUOT, pyobjmem_create(session, &object, &handle));
	CHECK_EQUAL(7, handle);
	CHECK_EQUAL(0, session->finalizers.used);
	CHECK_EQUAL(0, session->finalizers.reserved);
	CHECK_EQUAL(0, session->table.reserved);
	end(session);
}

static void get_in_a_finalizer_keeps_the_object(void)
{
	struct pyobjmem *session = start();
	struct trace trace = { .result = -1 };
	uint64_t a = make_with(session, 0, note_and_get, &trace);

	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, trace.result);
	CHECK(fake_lives(a));
	CHECK_EQUAL(1, pyobjmem_holds(session, a));
	/* Once in a life. */
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK(!fake_lives(a));
	CHECK_EQUAL(0, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(1, trace.runs);
	end(session);
}

static void edge_made_in_a_finalizer_keeps_the_object(void)
{
	struct pyobjmem *session = start();
	struct trace trace = { .other = make(session, 2), .slot = 1, .result = -1 };
	uint64_t a = make_with(session, 0, note_and_store, &trace), value;

	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, trace.result);
	CHECK(fake_lives(a));
	CHECK_EQUAL(0, pyobjmem_holds(session, a));
	CHECK_EQUAL(0, pyobjmem_get_ref(session, trace.other, 1, &value));
	CHECK_EQUAL(a, value);
	end(session);
}

/* What the finalizer's object refers to is whole when it runs, and dies after it. */
static void finalizers_run_from_the_top(void)
{
	struct pyobjmem *session = start();
	struct trace upper = { 0 }, lower = { 0 };
	uint64_t a = make_with(session, 1, note, &upper);
	uint64_t b = make_with(session, 0, note, &lower);

	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, b, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(2, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(1, lower.order - upper.order);
	CHECK_EQUAL(0, fake_objects());
	end(session);
}

/* More than are read together; each take is entered, and none is left. */
static void finalizers_in_great_numbers(void)
{
	enum { COUNT = 1000 };
	static struct trace traces[COUNT];
	static uint64_t handles[COUNT];
	struct pyobjmem *session = start();
	int i;

	memset(traces, 0, sizeof(traces));
	for (i = 0; i < COUNT; i++)
		handles[i] = make_with(session, 0, note, &traces[i]);
	for (i = 0; i < COUNT; i++)
		CHECK_EQUAL(0, pyobjmem_put(session, handles[i]));
	CHECK_EQUAL(COUNT, pyobjmem_dispatch(session, 0));
	for (i = 0; i < COUNT; i++) {
		CHECK_EQUAL(1, traces[i].runs);
		CHECK_EQUAL(handles[i], traces[i].handle);
		CHECK(!i || traces[i].order == traces[i - 1].order + 1);
	}
	CHECK(fake_calls_of(FAKE_OP_READ) < COUNT / 25);
	CHECK_EQUAL(0, fake_objects());
	CHECK_EQUAL(0, session->table.used);
	end(session);
}

/* All of a cycle's finalizers find the cycle whole. */
static void finalizers_of_a_cycle(void)
{
	struct pyobjmem *session = start();
	struct trace one = { 0 }, two = { 0 };
	struct pyobjmem_collect result = { .size = sizeof(result) };
	uint64_t a = make_with(session, 1, note, &one), b = make_with(session, 1, note, &two);

	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, b, NULL));
	CHECK_EQUAL(0, pyobjmem_set_ref(session, b, 0, a, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	pyobjmem_set_direct(session, true);
	CHECK_EQUAL(0, pyobjmem_collect(session, 2, &result));
	CHECK_EQUAL(2, result.out_finalizers);
	CHECK_EQUAL(1, one.runs);
	CHECK_EQUAL(1, two.runs);
	CHECK(one.lived && two.lived);
	CHECK_EQUAL(2, fake_objects());
	CHECK_EQUAL(0, pyobjmem_collect(session, 2, NULL));
	CHECK_EQUAL(0, fake_objects());
	CHECK_EQUAL(1, one.runs);
	end(session);
}

static void batch_makes_finalizers(void)
{
	enum { COUNT = 100 };
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = NULL;
	struct trace traces[COUNT] = { 0 };
	struct pyobjmem_object object = {
		.flags = PYOBJMEM_CREATE_FINALIZE,
		.finalizer = note,
	};
	uint64_t handles[COUNT];
	int i;

	CHECK_EQUAL(0, pyobjmem_batch_new(session, 0, &batcher));
	for (i = 0; i < COUNT; i++) {
		object.data = &traces[i];
		object.flags = i % 2 ? PYOBJMEM_CREATE_FINALIZE : 0;
		CHECK_EQUAL(i, pyobjmem_batch_create(batcher, &object, &handles[i]));
	}
	/* Dropped together if not done together. */
	fake_fail_alloc(2);
	CHECK_EQUAL(-ENOMEM, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(0, session->table.reserved);
	CHECK_EQUAL(0, session->finalizers.reserved);
	for (i = 0; i < COUNT; i++) {
		object.data = &traces[i];
		object.flags = i % 2 ? PYOBJMEM_CREATE_FINALIZE : 0;
		CHECK_EQUAL(i, pyobjmem_batch_create(batcher, &object, &handles[i]));
	}
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(COUNT / 2, session->finalizers.used);
	CHECK_EQUAL(0, session->finalizers.reserved);
	pyobjmem_set_direct(session, true);
	for (i = 0; i < COUNT; i++)
		CHECK_EQUAL(0, pyobjmem_batch_put(batcher, handles[i]));
	CHECK_EQUAL(0, traces[1].runs);
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	for (i = 0; i < COUNT; i++)
		CHECK_EQUAL(i % 2, traces[i].runs);
	CHECK_EQUAL(0, fake_objects());
	pyobjmem_batch_free(batcher);
	end(session);
}

const struct test finalizer_tests[] = {
	TEST(finalizer_runs_when_dispatched),
	TEST(finalizer_has_to_be_given),
	TEST(finalizer_is_not_looked_for_without_the_flag),
	TEST(finalizer_needs_memory_before),
	TEST(get_in_a_finalizer_keeps_the_object),
	TEST(edge_made_in_a_finalizer_keeps_the_object),
	TEST(finalizers_run_from_the_top),
	TEST(finalizers_in_great_numbers),
	TEST(finalizers_of_a_cycle),
	TEST(batch_makes_finalizers),
	{ 0 },
};
