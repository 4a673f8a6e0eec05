// SPDX-License-Identifier: MIT
/*
 * Weak holds and their callbacks.
 */
#include <errno.h>
#include <string.h>

#include "unit.h"

struct trace {
	int runs;
	int order;
	uint64_t weak;
	uint64_t handle;
	bool lived;
	uint64_t other;
	int result;
};

static int clock_now;

static void note(struct pyobjmem *session, uint64_t weak, uint64_t handle, void *data)
{
	struct trace *trace = data;

	(void)session;
	trace->runs++;
	trace->order = ++clock_now;
	trace->weak = weak;
	trace->handle = handle;
	trace->lived = fake_lives(handle);
}

static void note_and_drop_other(struct pyobjmem *session, uint64_t weak, uint64_t handle,
				void *data)
{
	struct trace *trace = data;

	note(session, weak, handle, data);
	trace->result = pyobjmem_weak_drop(session, trace->other);
}

static void note_finalizer(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	trace->result = pyobjmem_upgrade(session, trace->weak, &trace->other);
	if (!trace->result)
		pyobjmem_put(session, trace->other);
	note(session, trace->weak, handle, data);
}

static uint64_t hold_weakly(struct pyobjmem *session, uint64_t handle, struct trace *trace)
{
	uint64_t weak = 0;

	CHECK_EQUAL(0, pyobjmem_weak(session, handle, trace ? note : NULL, trace, &weak));
	CHECK(weak);
	return weak;
}

static void weak_callback_runs_when_the_object_is_dead(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), weak, handle = 7;
	struct trace trace = { 0 };

	weak = hold_weakly(session, a, &trace);
	CHECK_EQUAL(0, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK(!fake_lives(a));
	CHECK_EQUAL(0, trace.runs);
	CHECK_EQUAL(-ESTALE, pyobjmem_upgrade(session, weak, &handle));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(1, trace.runs);
	CHECK_EQUAL(weak, trace.weak);
	CHECK_EQUAL(a, trace.handle);
	CHECK(!trace.lived);
	CHECK_EQUAL(-ESTALE, pyobjmem_upgrade(session, weak, &handle));
	CHECK_EQUAL(7, handle);
	CHECK_EQUAL(-ENOENT, pyobjmem_weak_drop(session, weak));
	CHECK_EQUAL(0, session->weaks.used);
	end(session);
}

static void upgrade_gives_a_hold(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), weak = hold_weakly(session, a, NULL), handle = 7;
	unsigned long before;

	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, a, NULL));
	before = fake_calls();
	CHECK_EQUAL(0, pyobjmem_upgrade(session, weak, &handle));
	CHECK_EQUAL(a, handle);
	CHECK_EQUAL(2, pyobjmem_holds(session, a));
	CHECK_EQUAL(before, fake_calls());
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_upgrade(session, weak, &handle));
	CHECK_EQUAL(1, fake_calls_of(PYOBJMEM_OP_UPGRADE));
	CHECK_EQUAL(1, pyobjmem_holds(session, a));
	CHECK_EQUAL(1, fake_takes(pyobjmem_fd(session), a));
	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, PYOBJMEM_NONE, NULL));
	end(session);
}

static void upgrade_of_what_is_none(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), weak = hold_weakly(session, a, NULL), handle = 7;

	CHECK_EQUAL(-EINVAL, pyobjmem_upgrade(session, 0, &handle));
	CHECK_EQUAL(-EINVAL, pyobjmem_upgrade(session, weak + 1, &handle));
	CHECK_EQUAL(0, pyobjmem_weak_drop(session, weak));
	CHECK_EQUAL(-ESTALE, pyobjmem_upgrade(session, weak, &handle));
	CHECK_EQUAL(-ENOENT, pyobjmem_weak_drop(session, weak));
	CHECK_EQUAL(-ENOENT, pyobjmem_weak_drop(session, 0));
	weak = hold_weakly(session, a, NULL);
	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, a, NULL));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	fake_fail(PYOBJMEM_OP_UPGRADE, -EDQUOT);
	CHECK_EQUAL(-EDQUOT, pyobjmem_upgrade(session, weak, &handle));
	CHECK_EQUAL(7, handle);
	CHECK_EQUAL(0, pyobjmem_holds(session, a));
	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, PYOBJMEM_NONE, NULL));
	end(session);
}

static void weak_that_fails_is_none(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), weak = 7;

	CHECK_EQUAL(-EINVAL, pyobjmem_weak(session, PYOBJMEM_NONE, NULL, NULL, &weak));
	fake_fail(PYOBJMEM_OP_WEAK, -EDQUOT);
	CHECK_EQUAL(-EDQUOT, pyobjmem_weak(session, a, note, NULL, &weak));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(-ESTALE, pyobjmem_weak(session, a, note, NULL, &weak));
	CHECK_EQUAL(7, weak);
	CHECK_EQUAL(0, session->weaks.used);
	a = make(session, 0);
	pyobjmem_map_destroy(&session->weaks);
	session->weaks = MAP_OF(struct pyobjmem_weak_hold);
	fake_fail_alloc(0);
	CHECK_EQUAL(-ENOMEM, pyobjmem_weak(session, a, note, NULL, &weak));
	CHECK_EQUAL(0, session->weaks.reserved);
	end(session);
}

/* The first numbers are taken by weak holds that the library does not know. */
static void numbers_that_are_taken(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_weak raw = { .size = sizeof(raw), .handle = make(session, 0) };
	struct trace trace = { 0 };
	uint64_t weak;

	for (raw.cookie = 1; raw.cookie <= 3; raw.cookie++)
		CHECK_EQUAL(0, pyobjmem_sys_ioctl(pyobjmem_fd(session), PYOBJMEM_WEAK, &raw));
	weak = hold_weakly(session, raw.handle, &trace);
	CHECK_EQUAL(4, weak);
	CHECK_EQUAL(1, session->weaks.used);
	CHECK_EQUAL(0, pyobjmem_put(session, raw.handle));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(1, trace.runs);
	CHECK_EQUAL(0, session->weaks.used);
	end(session);
}

/* The same number, but of another object, by whoever used the descriptor. */
static void number_of_another_object(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), b = make(session, 0), weak;
	struct pyobjmem_weak raw = { .size = sizeof(raw), .handle = b };
	struct trace trace = { 0 };

	weak = hold_weakly(session, a, &trace);
	raw.cookie = weak;
	CHECK_EQUAL(0, pyobjmem_sys_ioctl(pyobjmem_fd(session), PYOBJMEM_WEAK, &raw));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(0, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, trace.runs);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	end(session);
}

/* The kernel says of what is dead that it is not held; the library knows better. */
static void weak_holds_where_deaths_are_hidden(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), weak, dropped, handle = 7;
	struct pyobjmem_batcher *batcher = NULL;
	struct trace trace = { 0 };

	fake_hide_deaths(true);
	weak = hold_weakly(session, a, &trace);
	dropped = hold_weakly(session, a, &trace);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(-ESTALE, pyobjmem_upgrade(session, weak, &handle));
	CHECK_EQUAL(7, handle);
	CHECK_EQUAL(0, pyobjmem_batch_new(session, 0, &batcher));
	CHECK_EQUAL(0, pyobjmem_batch_upgrade(batcher, weak, &handle));
	CHECK_EQUAL(-ESTALE, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(-ESTALE, pyobjmem_batch_result(batcher, 0));
	CHECK_EQUAL(0, pyobjmem_weak_drop(session, dropped));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(weak, trace.weak);
	CHECK_EQUAL(0, session->weaks.used);
	pyobjmem_batch_free(batcher);
	end(session);
}

static void several_weak_holds_of_one_object(void)
{
	struct pyobjmem *session = start();
	struct trace first = { 0 }, second = { 0 }, third = { 0 };
	uint64_t a = make(session, 0), one, two, three;

	one = hold_weakly(session, a, &first);
	two = hold_weakly(session, a, &second);
	three = hold_weakly(session, a, &third);
	CHECK(one != two && two != three && one != three);
	CHECK_EQUAL(0, pyobjmem_weak_drop(session, two));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(2, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(1, first.runs);
	CHECK_EQUAL(0, second.runs);
	CHECK_EQUAL(1, third.runs);
	CHECK_EQUAL(three, third.weak);
	end(session);
}

static void drop_before_the_death(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), weak;
	struct trace trace = { 0 };

	weak = hold_weakly(session, a, &trace);
	CHECK_EQUAL(0, pyobjmem_weak_drop(session, weak));
	CHECK_EQUAL(0, session->weaks.used);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, fake_events(pyobjmem_fd(session)));
	CHECK_EQUAL(0, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, trace.runs);
	end(session);
}

/* The event is queued already; it finds that nothing is to be called. */
static void drop_before_the_event(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0), weak;
	struct trace trace = { 0 };

	weak = hold_weakly(session, a, &trace);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(1, fake_events(pyobjmem_fd(session)));
	CHECK_EQUAL(0, pyobjmem_weak_drop(session, weak));
	CHECK_EQUAL(-ENOENT, pyobjmem_weak_drop(session, weak));
	CHECK_EQUAL(1, fake_calls_of(PYOBJMEM_OP_WEAK_DROP));
	/* It is known that there is something to read. */
	CHECK_EQUAL(1, session->weaks.used);
	CHECK_EQUAL(0, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, trace.runs);
	CHECK_EQUAL(0, session->weaks.used);
	CHECK_EQUAL(0, fake_events(pyobjmem_fd(session)));
	end(session);
}

/* Dropped by the callback of another one, whose event was read together with it. */
static void drop_while_events_are_worked_on(void)
{
	struct pyobjmem *session = start();
	struct trace first = { .result = 1 }, second = { 0 };
	uint64_t a = make(session, 0), b = make(session, 0), weak;

	CHECK_EQUAL(0, pyobjmem_weak(session, a, note_and_drop_other, &first, &weak));
	first.other = hold_weakly(session, b, &second);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_put(session, b));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, first.result);
	CHECK_EQUAL(0, second.runs);
	CHECK_EQUAL(0, session->weaks.used);
	end(session);
}

static void drop_of_itself_comes_too_late(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make(session, 0);
	struct trace trace = { 0 };

	CHECK_EQUAL(0, pyobjmem_weak(session, a, note_and_drop_other, &trace, &trace.other));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(-ENOENT, trace.result);
	end(session);
}

/* Finalizer first; it finds the weak hold in order. */
static void weak_dies_after_the_finalizer(void)
{
	struct pyobjmem *session = start();
	struct trace finalizer = { .result = -1 }, weak = { 0 };
	uint64_t a = make_with(session, 0, note_finalizer, &finalizer);

	finalizer.weak = hold_weakly(session, a, &weak);
	pyobjmem_set_direct(session, true);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(1, finalizer.runs);
	CHECK_EQUAL(0, finalizer.result);
	CHECK_EQUAL(a, finalizer.other);
	CHECK(finalizer.lived);
	CHECK_EQUAL(1, weak.runs);
	CHECK(!weak.lived);
	CHECK_EQUAL(1, weak.order - finalizer.order);
	end(session);
}

static void weak_holds_of_two_sessions(void)
{
	struct pyobjmem *session = start(), *other = NULL;
	struct trace here = { 0 }, there = { 0 };
	uint64_t a = make(session, 0), b = 0, weak;

	CHECK_EQUAL(0, pyobjmem_open(&other));
	CHECK_EQUAL(0, pyobjmem_heap_join(other, 0));
	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, a, NULL));
	CHECK_EQUAL(0, pyobjmem_get_root(other, 0, &b));
	hold_weakly(session, a, &here);
	weak = hold_weakly(other, b, &there);
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	CHECK_EQUAL(0, pyobjmem_put(other, b));
	pyobjmem_set_direct(session, true);
	CHECK_EQUAL(0, pyobjmem_set_root(session, 0, PYOBJMEM_NONE, NULL));
	CHECK_EQUAL(1, here.runs);
	CHECK_EQUAL(0, there.runs);
	CHECK_EQUAL(1, pyobjmem_dispatch(other, -1));
	CHECK_EQUAL(1, there.runs);
	CHECK_EQUAL(weak, there.weak);
	pyobjmem_close(other);
	end(session);
}

static void leave_ends_weak_holds(void)
{
	struct pyobjmem *session = start();
	struct trace trace = { 0 };
	uint64_t weak = hold_weakly(session, make(session, 0), &trace), handle;

	CHECK_EQUAL(0, pyobjmem_leave(session));
	CHECK_EQUAL(-ESTALE, pyobjmem_upgrade(session, weak, &handle));
	CHECK_EQUAL(-ENOENT, pyobjmem_weak_drop(session, weak));
	CHECK_EQUAL(0, trace.runs);
	end(session);
}

static void batch_holds_weakly(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = NULL;
	uint64_t a = make(session, 0), b = make(session, 0), weak[3] = { 0 }, handle = 0;
	struct trace traces[3] = { 0 };

	CHECK_EQUAL(0, pyobjmem_batch_new(session, PYOBJMEM_BATCH_CONTINUE, &batcher));
	CHECK_EQUAL(0, pyobjmem_batch_weak(batcher, a, note, &traces[0], &weak[0]));
	CHECK_EQUAL(1, pyobjmem_batch_weak(batcher, b + 1, note, &traces[1], &weak[1]));
	CHECK_EQUAL(2, pyobjmem_batch_weak(batcher, b, note, &traces[2], &weak[2]));
	CHECK_EQUAL(-ESTALE, pyobjmem_batch_flush(batcher));
	CHECK(weak[0] && weak[2] && weak[0] != weak[2]);
	CHECK_EQUAL(0, weak[1]);
	CHECK_EQUAL(2, session->weaks.used);

	CHECK_EQUAL(0, pyobjmem_batch_upgrade(batcher, weak[0], &handle));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_upgrade(batcher, weak[2] + 1, &handle));
	CHECK_EQUAL(0, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(a, handle);
	CHECK_EQUAL(2, pyobjmem_holds(session, a));

	CHECK_EQUAL(0, pyobjmem_batch_put(batcher, b));
	CHECK_EQUAL(0, pyobjmem_batch_upgrade(batcher, weak[2], &handle));
	CHECK_EQUAL(-ESTALE, pyobjmem_batch_flush(batcher));
	CHECK_EQUAL(-ESTALE, pyobjmem_batch_result(batcher, 0));
	CHECK_EQUAL(0, handle);
	CHECK_EQUAL(1, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(1, traces[2].runs);
	CHECK_EQUAL(-ESTALE, pyobjmem_batch_upgrade(batcher, weak[2], &handle));
	pyobjmem_batch_free(batcher);
	end(session);
}

/* Weak holds that were queued and never came to be leave no record. */
static void batch_drops_weak_holds_that_were_not_tried(void)
{
	struct pyobjmem *session = start();
	struct pyobjmem_batcher *batcher = NULL;
	uint64_t a = make(session, 0), weak[3], value;

	CHECK_EQUAL(0, pyobjmem_batch_new(session, 0, &batcher));
	CHECK_EQUAL(0, pyobjmem_batch_weak(batcher, a, NULL, NULL, &weak[0]));
	pyobjmem_batch_get_ref(batcher, a, 5, &value);
	CHECK_EQUAL(2, pyobjmem_batch_weak(batcher, a, NULL, NULL, &weak[1]));
	CHECK_EQUAL(-EINVAL, pyobjmem_batch_flush(batcher));
	CHECK(weak[0]);
	CHECK_EQUAL(0, weak[1]);
	CHECK_EQUAL(1, session->weaks.used);
	CHECK_EQUAL(0, pyobjmem_batch_weak(batcher, a, NULL, NULL, &weak[2]));
	pyobjmem_batch_free(batcher);
	CHECK_EQUAL(1, session->weaks.used);
	end(session);
}

const struct test weak_tests[] = {
	TEST(weak_callback_runs_when_the_object_is_dead),
	TEST(upgrade_gives_a_hold),
	TEST(upgrade_of_what_is_none),
	TEST(weak_that_fails_is_none),
	TEST(numbers_that_are_taken),
	TEST(number_of_another_object),
	TEST(weak_holds_where_deaths_are_hidden),
	TEST(several_weak_holds_of_one_object),
	TEST(drop_before_the_death),
	TEST(drop_before_the_event),
	TEST(drop_while_events_are_worked_on),
	TEST(drop_of_itself_comes_too_late),
	TEST(weak_dies_after_the_finalizer),
	TEST(weak_holds_of_two_sessions),
	TEST(leave_ends_weak_holds),
	TEST(batch_holds_weakly),
	TEST(batch_drops_weak_holds_that_were_not_tried),
	{ 0 },
};
