// SPDX-License-Identifier: MIT
/*
 * Several threads on one session: at the end no take is missing or left.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

enum { THREADS = 4, ROUNDS = 3000 };

static struct pyobjmem *shared;
static uint64_t hub;
static bool thread_failed[THREADS];

/* Hold and drop the same few objects, in all the ways there are. */
static void *juggle(void *argument)
{
	unsigned int id = (unsigned int)(uintptr_t)argument;
	uint64_t seed = id + 1, value;
	int i, k, result;

	for (i = 0; i < ROUNDS; i++) {
		uint64_t r = random_next(&seed) >> 33;

		result = pyobjmem_get_ref(shared, hub, r % 4, &value);
		if (result || !value)
			goto fail;
		for (k = 0; k < (int)(r / 4 % 3); k++)
			if (pyobjmem_get(shared, value))
				goto fail;
		for (; k >= 0; k--)
			if (pyobjmem_put(shared, value))
				goto fail;
	}
	return NULL;
fail:
	thread_failed[id] = true;
	return NULL;
}

static void *juggle_batched(void *argument)
{
	unsigned int id = (unsigned int)(uintptr_t)argument;
	struct pyobjmem_object object = { .payload_size = 8, .slots = 1 };
	struct pyobjmem_batcher *batcher = NULL;
	uint64_t values[64], handle;
	int i, k;

	if (pyobjmem_batch_new(shared, 0, &batcher))
		goto fail;
	for (i = 0; i < ROUNDS / 30; i++) {
		pyobjmem_batch_create(batcher, &object, &handle);
		for (k = 0; k < 64; k++)
			pyobjmem_batch_get_ref(batcher, hub, (uint32_t)k % 4, &values[k]);
		if (pyobjmem_batch_flush(batcher))
			goto fail;
		pyobjmem_batch_set_ref(batcher, handle, 0, values[i % 64], NULL);
		for (k = 0; k < 64; k++)
			if (pyobjmem_batch_put(batcher, values[k]))
				goto fail;
		pyobjmem_batch_put(batcher, handle);
		if (i % 2 && pyobjmem_batch_flush(batcher))
			goto fail;
	}
	pyobjmem_batch_free(batcher);
	return NULL;
fail:
	thread_failed[id] = true;
	return NULL;
}

static void run_threads(void *(*odd)(void *), void *(*even)(void *))
{
	pthread_t threads[THREADS];
	uint64_t leaf;
	uint32_t i;

	shared = start();
	hub = make(shared, 4);
	for (i = 0; i < 4; i++) {
		leaf = make(shared, 0);
		pyobjmem_set_ref(shared, hub, i, leaf, NULL);
		pyobjmem_put(shared, leaf);
	}
	fake_yield(true);
	memset(thread_failed, 0, sizeof(thread_failed));
	for (i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, i % 2 ? odd : even, (void *)(uintptr_t)i);
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		CHECK(!thread_failed[i]);
	}
	/* All that is left is the hub, and what it names. */
	CHECK_EQUAL(5, fake_objects());
	CHECK_EQUAL(1, fake_held(pyobjmem_fd(shared)));
	CHECK_EQUAL(1, shared->table.used);
	CHECK_EQUAL(0, shared->table.reserved);
	end(shared);
}

static void threads_single(void)
{
	run_threads(juggle, juggle);
}

static void threads_batched(void)
{
	run_threads(juggle_batched, juggle_batched);
}

static void threads_mixed(void)
{
	run_threads(juggle, juggle_batched);
}

/* --- Callbacks -------------------------------------------------------------- */

enum { SUBJECTS = 500 };

/* An object, and how often its callbacks ran. */
struct subject {
	int finalized;
	int died;
	bool dropped;
};

static struct subject subjects[THREADS][SUBJECTS];
static int callbacks_now;

/* Callbacks of a session never run side by side. */
static void enter_callback(void)
{
	CHECK_EQUAL(1, __atomic_add_fetch(&callbacks_now, 1, __ATOMIC_RELAXED));
}

static void leave_callback(void)
{
	sched_yield();
	__atomic_sub_fetch(&callbacks_now, 1, __ATOMIC_RELAXED);
}

static void subject_finalize(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct subject *subject = data;

	enter_callback();
	subject->finalized++;
	CHECK_EQUAL(0, subject->died);
	CHECK_EQUAL(1, pyobjmem_holds(session, handle));
	leave_callback();
}

static void subject_died(struct pyobjmem *session, uint64_t weak, uint64_t handle, void *data)
{
	struct subject *subject = data;

	(void)session;
	(void)weak;
	enter_callback();
	subject->died++;
	CHECK_EQUAL(1, subject->finalized);
	CHECK(!fake_lives(handle));
	leave_callback();
}

/* Make objects and let them die, with weak holds that are dropped around then. */
static void *make_and_drop(void *argument)
{
	unsigned int id = (unsigned int)(uintptr_t)argument;
	struct pyobjmem_object object = {
		.flags = PYOBJMEM_CREATE_FINALIZE,
		.finalizer = subject_finalize,
	};
	uint64_t handle, weak;
	int i, result;

	for (i = 0; i < SUBJECTS; i++) {
		object.data = &subjects[id][i];
		if (pyobjmem_create(shared, &object, &handle) ||
		    pyobjmem_weak(shared, handle, subject_died, object.data, &weak))
			goto fail;
		if (i % 4 == 1)
			subjects[id][i].dropped = !pyobjmem_weak_drop(shared, weak);
		if (pyobjmem_put(shared, handle))
			goto fail;
		if (i % 4 == 2) {
			result = pyobjmem_weak_drop(shared, weak);
			if (result && result != -ENOENT)
				goto fail;
			subjects[id][i].dropped = !result;
		}
		if (i % 4 == 3 && pyobjmem_dispatch(shared, (int)id % 2) < 0)
			goto fail;
	}
	return NULL;
fail:
	thread_failed[id] = true;
	return NULL;
}

static void dispatchers(bool direct)
{
	pthread_t threads[THREADS];
	unsigned int i, k;

	shared = start();
	pyobjmem_set_direct(shared, direct);
	fake_yield(true);
	memset(thread_failed, 0, sizeof(thread_failed));
	memset(subjects, 0, sizeof(subjects));
	for (i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, make_and_drop, (void *)(uintptr_t)i);
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		CHECK(!thread_failed[i]);
	}
	/* In direct mode somebody has seen to each of them. */
	if (direct)
		CHECK_EQUAL(0, fake_events(pyobjmem_fd(shared)));
	while (pyobjmem_dispatch(shared, 0) > 0)
		;
	for (i = 0; i < THREADS; i++) {
		for (k = 0; k < SUBJECTS; k++) {
			CHECK_EQUAL(1, subjects[i][k].finalized);
			CHECK_EQUAL(!subjects[i][k].dropped, subjects[i][k].died);
		}
	}
	CHECK_EQUAL(0, shared->table.used);
	CHECK_EQUAL(0, shared->table.reserved);
	CHECK_EQUAL(0, shared->finalizers.used);
	CHECK_EQUAL(0, shared->weaks.used);
	end(shared);
}

/* A callback that takes its time. */
static struct {
	bool began;
	bool may_end;
	bool ended;
} slow;

static void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

static bool is_set(bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void take_time(struct pyobjmem *session, uint64_t handle, void *data)
{
	(void)session;
	(void)handle;
	(void)data;
	set(&slow.began);
	while (!is_set(&slow.may_end))
		usleep(1000);
	usleep(20000);
	set(&slow.ended);
}

static void *dispatch_once(void *argument)
{
	CHECK_EQUAL(1, pyobjmem_dispatch(argument, 0));
	return NULL;
}

static void threads_wait_for_the_dispatcher(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make_with(session, 0, take_time, NULL);
	pthread_t thread;

	memset(&slow, 0, sizeof(slow));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	pthread_create(&thread, NULL, dispatch_once, session);
	while (!is_set(&slow.began))
		usleep(1000);
	CHECK_EQUAL(0, pyobjmem_dispatch(session, 0));
	CHECK_EQUAL(0, pyobjmem_dispatch(session, 15));
	CHECK(!is_set(&slow.ended));
	set(&slow.may_end);
	CHECK_EQUAL(0, pyobjmem_dispatch(session, -1));
	CHECK(is_set(&slow.ended));
	pthread_join(thread, NULL);
	end(session);
}

static void *dispatch_waiting(void *argument)
{
	CHECK_EQUAL(0, pyobjmem_dispatch(argument, -1));
	return NULL;
}

/* The threads that wait in the parent are not in the child, which does not miss them. */
static void fork_child_closes_what_threads_wait_for(void)
{
	struct pyobjmem *session = start();
	uint64_t a = make_with(session, 0, take_time, NULL);
	pthread_t dispatcher, waiter;
	int status = -1;
	pid_t pid;

	memset(&slow, 0, sizeof(slow));
	CHECK_EQUAL(0, pyobjmem_put(session, a));
	pthread_create(&dispatcher, NULL, dispatch_once, session);
	while (!is_set(&slow.began))
		usleep(1000);
	pthread_create(&waiter, NULL, dispatch_waiting, session);
	usleep(20000);
	pid = fork();
	if (!pid) {
		alarm(10);
		pyobjmem_close(session);
		_exit(0);
	}
	CHECK_EQUAL(pid, waitpid(pid, &status, 0));
	CHECK_EQUAL(0, status);
	set(&slow.may_end);
	pthread_join(dispatcher, NULL);
	pthread_join(waiter, NULL);
	end(session);
}

static void threads_dispatch(void)
{
	dispatchers(false);
}

static void threads_dispatch_directly(void)
{
	dispatchers(true);
}

const struct test threads_tests[] = {
	TEST(threads_single),
	TEST(threads_batched),
	TEST(threads_mixed),
	TEST(threads_wait_for_the_dispatcher),
	TEST(fork_child_closes_what_threads_wait_for),
	TEST(threads_dispatch),
	TEST(threads_dispatch_directly),
	{ 0 },
};
