// SPDX-License-Identifier: MIT
/*
 * Who reads events, and when: direct mode, dispatching, the events of collections.
 */
#include <errno.h>
#include <unistd.h>

#include "trace.h"

/* Clear a slot of the object. */
static void note_and_clear(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	note(session, handle, data);
	trace->result = pyobjmem_set_ref(session, handle, 0, PYOBJMEM_NONE, NULL);
}

static void note_and_leave(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	note(session, handle, data);
	trace->result = pyobjmem_leave(session);
}

static void note_and_dispatch(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	note(session, handle, data);
	trace->result = pyobjmem_dispatch(session, -1);
}

/* --- Direct mode ------------------------------------------------------------- */

static void direct_put_runs_the_finalizer(void)
{
	struct pyobjmem *session = start();
	struct trace trace = { 0 };
	uint64_t a = make_with(session, 0, note, &trace);

	pyobjmem_set_direct(session, true);
	CHECK_EQUAL(0, pyobjmem_get(session, a));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, trace.runs);
	CHECK_EQUAL(0, fake_calls_of(FAKE_OP_READ));
	errno = EDOM;
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(EDOM, errno);
	CHECK_EQUAL(1, trace.runs);
	CHECK(!fake_lives(a));
	end(session);
}

static void direct_runs_after_all_that_drops(void)
{
	struct pyobjmem *session = start();
	struct trace traces[3] = { 0 };
	uint64_t a = make(session, 1), b;

	pyobjmem_set_direct(session, true);
	b = make_with(session, 0, note, &traces[0]);
	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, b, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(0, traces[0].runs);
	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, PYOBJMEM_NONE, NULL));
	CHECK_EQUAL(1, traces[0].runs);

	b = make_with(session, 0, note, &traces[1]);
	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, b, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(0, pyobjmem_compare_and_set_ref(session, a, 0, b, PYOBJMEM_NONE, NULL));
	CHECK_EQUAL(1, traces[1].runs);

	b = make_with(session, 0, note, &traces[2]);
	CHECK_EQUAL(0, pyobjmem_set_root(session, 9, b, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(0, traces[2].runs);
	CHECK_EQUAL(0, pyobjmem_set_root(session, 9, PYOBJMEM_NONE, NULL));
	CHECK_EQUAL(1, traces[2].runs);
	end(session);
}

static void direct_costs_nothing_without_callbacks(void)
{
	struct pyobjmem *session = start();
	struct trace trace = { 0 };
	uint64_t a = make(session, 1), b = make(session, 0);
	uint64_t c = make_with(session, 0, note, &trace);

	pyobjmem_set_direct(session, true);
	CHECK_EQUAL(0, pyobjmem_put(session, c));
	CHECK_EQUAL(1, trace.runs);
	fake_fail_always(FAKE_OP_READ, -EIO);
	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, b, NULL));
	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, PYOBJMEM_NONE, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_collect(session, 2, NULL));
	/* The event, the end of events after it: no more. */
	CHECK_EQUAL(2, fake_calls_of(FAKE_OP_READ));
	end(session);
}

static char *deepest, *highest;

static void note_stack(struct pyobjmem *session, uint64_t handle, void *data)
{
	char here;

	if (!highest || &here > highest)
		highest = &here;
	if (!deepest || &here < deepest)
		deepest = &here;
	note_and_clear(session, handle, data);
}

/* Each finalizer drops the last reference to the next object: no deeper stack. */
static void direct_chain_does_not_recurse(void)
{
	enum { COUNT = 4000 };
	struct pyobjmem *session = start();
	struct trace trace = { 0 };
	uint64_t last = PYOBJMEM_NONE, next;
	int i;

	deepest = NULL;
	highest = NULL;
	pyobjmem_set_direct(session, true);
	for (i = 0; i < COUNT; i++) {
		next = make_with(session, 1, note_stack, &trace);
		if (last) {
			CHECK_EQUAL(0, pyobjmem_set_ref(session, next, 0, last, NULL));
			CHECK_EQUAL(0, pyobjmem_put(session, last));
		}
		last = next;
	}
	CHECK_EQUAL(0, trace.runs);
	CHECK_EQUAL(0, pyobjmem_put(session, last));
	CHECK_EQUAL(COUNT, trace.runs);
	CHECK(highest - deepest < 4096);
	CHECK_EQUAL(0, fake_objects());
	end(session);
}

static struct {
	struct pyobjmem *session;
	uint64_t handle;
} late;

static void put_late(void)
{
	CHECK_EQUAL(0, pyobjmem_put(late.session, late.handle));
}

/* A put between the last read and the end of the dispatcher that did it. */
static void direct_put_that_comes_late_is_not_forgotten(void)
{
	struct pyobjmem *session = start();
	struct trace first = { 0 }, second = { 0 };
	uint64_t a = make_with(session, 0, note, &first);

	pyobjmem_set_direct(session, true);
	late.session = session;
	late.handle = make_with(session, 0, note, &second);
	fake_when_empty(put_late);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(1, first.runs);
	CHECK_EQUAL(1, second.runs);
	CHECK_EQUAL(0, fake_objects());
	end(session);
}

static void errors_of_reading_are_not_the_operations(void)
{
	struct pyobjmem *session = start();
	struct trace trace = { 0 };
	uint64_t a = make_with(session, 0, note, &trace);

	pyobjmem_set_direct(session, true);
	fake_fail(FAKE_OP_READ, -EDQUOT);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, trace.runs);
	CHECK(fake_lives(a));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK(!fake_lives(a));
	end(session);
}

/* --- Dispatching -------------------------------------------------------------- */

static void dispatch_tells_errors(void)
{
	struct pyobjmem *session = NULL;
	struct trace trace = { 0 };
	uint64_t a;

	fake_reset();
	CHECK_EQUAL(0, pyobjmem_open(&session));
	CHECK_EQUAL(-ENOTCONN, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, pyobjmem_heap_create(session, 0, 0, NULL));
	a = make_with(session, 0, note, &trace);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	fake_fail(FAKE_OP_READ, -EDQUOT);
	CHECK_EQUAL(-EDQUOT, pyobjmem_dispatch(session, 0));
	fake_fail(FAKE_OP_READ, -EIO);
	CHECK_EQUAL(-EIO, pyobjmem_dispatch(session, -1));
	CHECK_EQUAL(0, fake_calls_of(FAKE_OP_POLL));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, pyobjmem_leave(session));
	CHECK_EQUAL(-ENOTCONN, pyobjmem_dispatch(session, -1));
	end(session);
}

/* No memory for the takes that come with events: they stay where they are. */
static void dispatch_without_memory(void)
{
	struct pyobjmem *session = start();
	struct trace trace = { 0 };
	uint64_t handles[40];
	int i;

	handles[0] = make_with(session, 0, note, &trace);
	for (i = 1; i < 40; i++)
		handles[i] = make(session, 0);
	CHECK_EQUAL(0, pyobjmem_put(session, handles[0]));
	fake_fail_alloc(0);
	CHECK_EQUAL(-ENOMEM, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(1, fake_events(pyobjmem_fd(session)));
	CHECK_EQUAL(0, session->table.reserved);
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	end(session);
}

static void dispatch_waits(void)
{
	struct pyobjmem *session = start();
	struct trace trace = { 0 };
	uint64_t a = make_with(session, 0, note, &trace);

	CHECK_EQUAL(0, pyobjmem_dispatch(session, 5));
	CHECK_EQUAL(1, fake_calls_of(FAKE_OP_POLL));
	fake_fail(FAKE_OP_POLL, -EINTR);
	CHECK_EQUAL(-EINTR, pyobjmem_dispatch(session, -1));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, -1));
	CHECK_EQUAL(2, fake_calls_of(FAKE_OP_POLL));
	end(session);
}

static void *drop_later(void *argument)
{
	struct pyobjmem_put put = { .size = sizeof(put) };

	put.handle = ((struct trace *)argument)->other;
	usleep(20000);
	pyobjmem_sys_ioctl(((struct trace *)argument)->result, PYOBJMEM_PUT, &put);
	return NULL;
}

/* Another session drops the last reference while this one waits. */
static void dispatch_is_woken(void)
{
	struct pyobjmem *session = start(), *other = NULL;
	struct trace trace = { 0 };
	pthread_t thread;
	int ran = 0;

	CHECK_EQUAL(0, pyobjmem_open(&other));
	CHECK_EQUAL(0, pyobjmem_heap_join(other, 0));
	trace.other = make_with(session, 0, note, &trace);
	trace.result = pyobjmem_fd(other);
	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, trace.other, NULL));
	CHECK_EQUAL(0, pyobjmem_get_root(other, 0, &trace.other));
	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, PYOBJMEM_NONE, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, trace.other));
	pthread_create(&thread, NULL, drop_later, &trace);
	while (!ran)
		ran = pyobjmem_dispatch(session, -1);
	CHECK_EQUAL(1, ran);
	CHECK_EQUAL(1, trace.runs);
	pthread_join(thread, NULL);
	pyobjmem_close(other);
	end(session);
}

static void dispatch_in_a_callback_leaves_it_to_the_outer_one(void)
{
	struct pyobjmem *session = start();
	struct trace outer = { .result = -1 }, inner = { 0 };
	uint64_t a = make_with(session, 0, note_and_dispatch, &outer);
	uint64_t b = make_with(session, 0, note, &inner);

	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(2, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, outer.result);
	CHECK_EQUAL(1, inner.runs);
	end(session);
}

static void leave_in_a_callback_ends_the_others(void)
{
	struct pyobjmem *session = start();
	struct trace first = { .result = -1 }, second = { 0 };
	uint64_t a = make_with(session, 0, note_and_leave, &first);
	uint64_t b = make_with(session, 0, note, &second);

	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, first.result);
	CHECK_EQUAL(0, second.runs);
	CHECK_EQUAL(0, fake_objects());
	end(session);
}

static void close_runs_nothing(void)
{
	struct pyobjmem *session = start();
	struct trace due = { 0 }, later = { 0 };
	uint64_t a = make_with(session, 0, note, &due);

	make_with(session, 0, note, &later);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	end(session);
	CHECK_EQUAL(0, due.runs);
	CHECK_EQUAL(0, later.runs);
}

/* Larger events, of types that are not known, of what the library did not make. */
static void events_of_another_kernel(void)
{
	struct pyobjmem_event strange = { .type = 77 };
	struct pyobjmem_create create = {
		.size = sizeof(create),
		.flags = PYOBJMEM_CREATE_FINALIZE,
	};
	struct pyobjmem *session = start();
	struct pyobjmem_put put = { .size = sizeof(put) };
	int i, fd = pyobjmem_fd(session);
	struct trace traces[60] = { 0 };
	uint64_t a;

	fake_event_size(88);
	for (i = 0; i < 60; i++) {
		fake_push(fd, &strange);
		a = make_with(session, 0, note, &traces[i]);
		CHECK_EQUAL(0, pyobjmem_put(session, a));
	}
	CHECK_EQUAL(0, pyobjmem_sys_ioctl(fd, PYOBJMEM_CREATE, &create));
	put.handle = create.out_handle;
	CHECK_EQUAL(0, pyobjmem_sys_ioctl(fd, PYOBJMEM_PUT, &put));
	CHECK_EQUAL(60, pyobjmem_dispatch(session, 0));
	for (i = 0; i < 60; i++)
		CHECK_EQUAL(1, traces[i].runs);
	CHECK_EQUAL(0, fake_objects());
	CHECK_EQUAL(0, session->table.used);
	end(session);
}

/* --- Collections ---------------------------------------------------------------- */

struct collections {
	int runs;
	struct pyobjmem_event event;
};

static void note_collected(struct pyobjmem *session, const struct pyobjmem_event *event,
			   void *data)
{
	struct collections *collections = data;

	(void)session;
	collections->runs++;
	collections->event = *event;
}

static void collected_is_asked_for(void)
{
	struct pyobjmem *session = NULL, *other = NULL;
	struct collections collections = { 0 };
	uint64_t a;

	fake_reset();
	CHECK_EQUAL(0, pyobjmem_open(&session));
	CHECK_EQUAL(0, pyobjmem_on_collected(session, note_collected, &collections));
	CHECK_EQUAL(0, pyobjmem_heap_create(session, 0, 0, NULL));
	CHECK_EQUAL(0, pyobjmem_open(&other));
	CHECK_EQUAL(0, pyobjmem_heap_join(other, 0));
	CHECK_EQUAL(-EALREADY, pyobjmem_on_collected(other, note_collected, &collections));
	a = make(session, 1);
	CHECK_EQUAL(0, pyobjmem_set_ref(session, a, 0, a, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_collect(other, 1, NULL));
	CHECK_EQUAL(0, fake_events(pyobjmem_fd(other)));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(1, collections.runs);
	CHECK_EQUAL(1, collections.event.generation);
	CHECK_EQUAL(1, collections.event.collected);
	pyobjmem_set_direct(session, true);
	CHECK_EQUAL(0, pyobjmem_collect(session, 2, NULL));
	CHECK_EQUAL(2, collections.runs);
	CHECK_EQUAL(0, collections.event.collected);
	CHECK_EQUAL(0, pyobjmem_on_collected(session, NULL, NULL));
	CHECK_EQUAL(0, pyobjmem_collect(session, 2, NULL));
	CHECK_EQUAL(0, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(2, collections.runs);
	pyobjmem_close(other);
	end(session);
}

static void collected_when_joining(void)
{
	struct pyobjmem *session = start(), *other = NULL;
	struct collections collections = { 0 };

	CHECK_EQUAL(0, pyobjmem_open(&other));
	CHECK_EQUAL(0, pyobjmem_on_collected(other, note_collected, &collections));
	CHECK_EQUAL(0, pyobjmem_heap_join(other, 0));
	CHECK_EQUAL(0, pyobjmem_collect(session, 0, NULL));
	CHECK_EQUAL(1, pyobjmem_dispatch(other, 0));
	CHECK_EQUAL(1, collections.runs);
	pyobjmem_close(other);
	end(session);
}

const struct test event_tests[] = {
	TEST(direct_put_runs_the_finalizer),
	TEST(direct_runs_after_all_that_drops),
	TEST(direct_costs_nothing_without_callbacks),
	TEST(direct_chain_does_not_recurse),
	TEST(direct_put_that_comes_late_is_not_forgotten),
	TEST(errors_of_reading_are_not_the_operations),
	TEST(dispatch_tells_errors),
	TEST(dispatch_without_memory),
	TEST(dispatch_waits),
	TEST(dispatch_is_woken),
	TEST(dispatch_in_a_callback_leaves_it_to_the_outer_one),
	TEST(leave_in_a_callback_ends_the_others),
	TEST(close_runs_nothing),
	TEST(events_of_another_kernel),
	TEST(collected_is_asked_for),
	TEST(collected_when_joining),
	{ 0 },
};
