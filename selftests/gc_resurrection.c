// SPDX-License-Identifier: GPL-2.0
/*
 * CPython's test_gc, GCTests: those about finalizers and weak references. Each test
 * is named after the one that it stands for, and what COLLECT returns is what
 * gc.collect() returns there. How the one is mapped onto the other: gc.h.
 *
 * Without a meaning here:
 *
 *	test_legacy_finalizer, _newclass	there is no finalizer that makes garbage
 *						uncollectable: all are as PEP 442 has it
 *	test_del_newclass			as test_del: classes have no kinds here
 *	test_trash_weakref_clear		no object hides its references, and no
 *						weak reference is garbage
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"
#include "gc.h"

FIXTURE(gc)
{
	struct program program;
	int session;
};

FIXTURE_SETUP(gc)
{
	ASSERT_EQ(0, program_begin(&self->program, 0));
	self->session = self->program.session;
}

FIXTURE_TEARDOWN(gc)
{
	EXPECT_CLEAN_END(&self->program.heap);
}

/* --- Finalizers that do something ----------------------------------------- */

static void allocate_finalize(int session, __u64 handle, void *argument)
{
	unsigned int *failed = argument;
	__u64 object[4];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(object); i++)
		*failed += !!container_create(session, 1, &object[i]);
	for (i = 0; i < ARRAY_SIZE(object); i++)
		*failed += !!ref_set(session, object[i], 0, handle, NULL) ||
			   object_put(session, object[i]);
}

/* Finalizers that make objects, so that a collection begins while they run */
TEST_F(gc, del)
{
	unsigned int failed = 0, i;
	__u64 object;

	self->program.handler.finalize = allocate_finalize;
	self->program.handler.argument = &failed;
	ASSERT_EQ(0, gc_enable(self->session, 1));
	for (i = 1; i <= 200; i++) {
		object = new_finalized(_metadata, self->session, 1);
		if (i % 2)
			link_to(_metadata, self->session, object, 0, object);
		del(_metadata, self->session, object);
		ASSERT_LE(0, events_handle(self->session, &self->program.handler));
	}
	ASSERT_EQ(0, heap_automatic(self->session, false));
	ASSERT_LE(0, gc_collect(&self->program));
	EXPECT_EQ(0, failed);
	EXPECT_EQ(200, self->program.handler.finalized);
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_LT(0, gc_collections(self->session));
}

struct late {
	__u64 cyclic, late, func;
	int upgraded, calls;
};

static void late_finalize(int session, __u64 handle, void *argument)
{
	struct late *late = argument;

	late->calls++;
	if (handle == late->late) {
		late->upgraded = weak_call(session, late->func);
		return;
	}
	/* Only now it can be named by a weak reference that the collector did not see. */
	ref_get(session, handle, 0, &late->func);
	weak_hold(session, late->func, 0);
	object_put(session, late->func);
	object_put(session, late->late);
}

/*
 * The finalizer of a cycle makes a weak reference to a part of it, and lets go of
 * an object whose finalizer follows that reference: while the cycle is freed. CPython
 * hands out the function, which has to be usable then; here what is being freed cannot
 * be got hold of.
 */
TEST_F(gc, function_tp_clear_leaves_consistent_state)
{
	struct late late = { .upgraded = 1 };
	__u64 func, edges[2];

	self->program.handler.finalize = late_finalize;
	self->program.handler.argument = &late;
	func = new_object(_metadata, self->session, 0, 1);
	late.late = new_finalized(_metadata, self->session, 0);
	edges[0] = func;
	edges[1] = late.late;
	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, edges, 2,
				   &late.cyclic));
	link_to(_metadata, self->session, func, 0, late.cyclic);
	del(_metadata, self->session, func);
	del(_metadata, self->session, late.cyclic);
	EXPECT_EQ(2, gc_collect(&self->program));
	EXPECT_EQ(func, late.func);
	EXPECT_EQ(2, late.calls);
	EXPECT_EQ(-ESTALE, late.upgraded);
	EXPECT_EQ(1, self->program.handler.died);
	EXPECT_EQ(0, stats_objects(self->session));
}

static void resurrect(int session, __u64 handle, void *argument)
{
	*(int *)argument += !object_get(session, handle);
}

TEST_F(gc, is_finalized)
{
	__u64 three = new_object(_metadata, self->session, 0, 0);
	__u64 lazarus = new_finalized(_metadata, self->session, 1);
	struct pyobjmem_inspect inspect;
	int stored = 0;

	self->program.handler.finalize = resurrect;
	self->program.handler.argument = &stored;
	ASSERT_EQ(0, object_inspect(self->session, three, &inspect));
	EXPECT_EQ(0, inspect.out_flags);
	ASSERT_EQ(0, object_inspect(self->session, lazarus, &inspect));
	EXPECT_EQ(PYOBJMEM_CREATE_FINALIZE, inspect.out_flags);
	del(_metadata, self->session, lazarus);
	ASSERT_EQ(0, gc_collect(&self->program));
	ASSERT_EQ(1, stored);
	ASSERT_EQ(0, object_inspect(self->session, lazarus, &inspect));
	EXPECT_EQ(PYOBJMEM_CREATE_FINALIZE | PYOBJMEM_INSPECT_FINALIZED, inspect.out_flags);
}

/* --- Deep nests, freed by their counts ------------------------------------ */

struct ouch {
	struct program *program;
	int n;
	int failed;
};

static void ouch_finalize(int session, __u64 handle, void *argument)
{
	struct ouch *ouch = argument;

	(void)handle;
	if (++ouch->n % 17 == 0 && collect(session, 2) < 0)
		ouch->failed++;
}

/* [[[[], Ouch()], Ouch()], Ouch()], and what collects while that is taken apart */
TEST_F(gc, trashcan)
{
	struct ouch ouch = { .program = &self->program };
	__u64 t, nest, instance;
	int nests, i;

	self->program.handler.finalize = ouch_finalize;
	self->program.handler.argument = &ouch;
	ASSERT_EQ(0, gc_enable(self->session, 10));
	for (nests = 1; nests <= 6; nests++) {
		t = new_object(_metadata, self->session, 0, 1);
		for (i = 0; i < 150; i++) {
			nest = new_object(_metadata, self->session, 0, 2);
			instance = new_finalized(_metadata, self->session, 1);
			link_to(_metadata, self->session, nest, 0, t);
			link_to(_metadata, self->session, nest, 1, instance);
			del(_metadata, self->session, t);
			del(_metadata, self->session, instance);
			t = nest;
		}
		del(_metadata, self->session, t);
		ASSERT_LE(0, events_handle(self->session, &self->program.handler));
		ASSERT_EQ(150 * nests, ouch.n);
	}
	ASSERT_EQ(0, heap_automatic(self->session, false));
	EXPECT_EQ(0, ouch.failed);
	EXPECT_EQ(0, stats_objects(self->session));
}

#define NESTING	60

struct nests {
	int session;
	unsigned long inits;
	unsigned long dels;
	int failed;
	bool *exit;
};

static void nests_finalize(int session, __u64 handle, void *argument)
{
	struct nests *nests = argument;
	struct pyobjmem_inspect inspect;

	nests->dels++;
	if (object_inspect(session, handle, &inspect) || inspect.out_slots != 1)
		nests->failed++;
	sched_yield();
}

/* x = C([]), and then x = [C([x])] again and again */
static void make_nested(struct nests *nests)
{
	__u64 x = PYOBJMEM_NONE, inner = x, instance = x;
	int i;

	nests->failed += !!container_create(nests->session, 1, &x);
	for (i = 0; i < NESTING; i++) {
		nests->failed += !!object_create(nests->session, 0, NULL, 0, &x, 1, &inner);
		nests->failed += !!object_create(nests->session, PYOBJMEM_CREATE_FINALIZE, NULL,
						 0, &inner, 1, &instance);
		nests->inits++;
		nests->failed += object_put(nests->session, x) ||
				 object_put(nests->session, inner);
		x = instance;
	}
	nests->failed += !!object_put(nests->session, x);
}

static void *nests_thread(void *argument)
{
	struct nests *nests = argument;
	struct event_handler handler = { .finalize = nests_finalize, .argument = nests };

	while (!__atomic_load_n(nests->exit, __ATOMIC_RELAXED)) {
		make_nested(nests);
		nests->failed += events_handle(nests->session, &handler) < 0;
	}
	return NULL;
}

/* Two threads of one session: either runs the finalizers of both. */
TEST_F(gc, trashcan_threads)
{
	struct nests nests[2] = {};
	struct event_handler handler = { .finalize = nests_finalize, .argument = &nests[0] };
	pthread_t thread[2];
	bool exit = false;
	int i;

	for (i = 0; i < 2; i++) {
		nests[i].session = self->session;
		nests[i].exit = &exit;
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, nests_thread, &nests[i]));
	}
	sleep_us(1000000);
	__atomic_store_n(&exit, true, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	EXPECT_LE(0, gc_collect_with(self->session, &handler));
	EXPECT_EQ(0, nests[0].failed + nests[1].failed);
	EXPECT_LT(0, nests[0].inits);
	EXPECT_EQ(nests[0].inits + nests[1].inits, nests[0].dels + nests[1].dels);
	EXPECT_EQ(0, stats_objects(self->session));
}

/* --- Bugs that CPython had ------------------------------------------------ */

struct ouches {
	__u64 object[2];
	int result[4];
	int count;
};

static void deref_all(int session, __u64 handle, __u64 cookie, void *argument)
{
	struct ouches *ouch = argument;
	int i;

	(void)handle;
	(void)cookie;
	for (i = 0; i < 2; i++)
		ouch->result[ouch->count++ % 4] = weak_call(session, ouch->object[i]);
}

/* The callback of each of two weak references follows both: neither gives anything. */
TEST_F(gc, bug1055820b)
{
	struct ouches ouch = {};
	int i;

	self->program.handler.weak_dead = deref_all;
	self->program.handler.argument = &ouch;
	for (i = 0; i < 2; i++) {
		ouch.object[i] = new_self_cycle(_metadata, self->session, 0);
		ASSERT_EQ(0, weak_hold(self->session, ouch.object[i], i));
	}
	EXPECT_EQ(0, gc_collect(&self->program));
	EXPECT_EQ(0, ouch.count);
	for (i = 0; i < 2; i++)
		del(_metadata, self->session, ouch.object[i]);
	EXPECT_EQ(2, gc_collect(&self->program));
	EXPECT_EQ(4, ouch.count);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(-ESTALE, ouch.result[i]);
}

static void cut_slot(int session, __u64 handle, void *argument)
{
	*(int *)argument += !ref_set(session, handle, 1, PYOBJMEM_NONE, NULL);
}

/* A finalizer breaks the cycle that it is in: what is then freed, is by its counts. */
TEST_F(gc, bug21435)
{
	__u64 a, b, x;
	int cut = 0;

	self->program.handler.finalize = cut_slot;
	self->program.handler.argument = &cut;
	a = new_object(_metadata, self->session, 0, 1);
	x = new_object(_metadata, self->session, 0, 1);
	b = new_finalized(_metadata, self->session, 2);
	link_to(_metadata, self->session, b, 0, x);
	link_to(_metadata, self->session, b, 1, a);
	link_to(_metadata, self->session, a, 0, b);
	del(_metadata, self->session, a);
	del(_metadata, self->session, b);
	del(_metadata, self->session, x);
	EXPECT_EQ(0, gc_collect(&self->program));
	EXPECT_EQ(1, cut);
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(3, stats_freed_counted(self->session));
}

/* --- Resurrection --------------------------------------------------------- */

TEST_F(gc, resurrection_only_happens_once_per_object)
{
	int resurrected = 0;
	__u64 lazarus;

	self->program.handler.finalize = resurrect;
	self->program.handler.argument = &resurrected;
	lazarus = new_self_cycle(_metadata, self->session, PYOBJMEM_CREATE_FINALIZE);
	EXPECT_EQ(0, resurrected);
	del(_metadata, self->session, lazarus);
	EXPECT_EQ(0, gc_collect(&self->program));
	EXPECT_EQ(1, resurrected);
	EXPECT_EQ(1, stats_objects(self->session));
	del(_metadata, self->session, lazarus);
	EXPECT_EQ(1, gc_collect(&self->program));
	EXPECT_EQ(1, resurrected);
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(gc, resurrection_is_transitive)
{
	__u64 lazarus, cargo, got;
	int resurrected = 0;

	self->program.handler.finalize = resurrect;
	self->program.handler.argument = &resurrected;
	lazarus = new_finalized(_metadata, self->session, 1);
	cargo = new_object(_metadata, self->session, 0, 2);
	link_to(_metadata, self->session, cargo, 0, cargo);
	link_to(_metadata, self->session, cargo, 1, lazarus);
	link_to(_metadata, self->session, lazarus, 0, cargo);
	del(_metadata, self->session, lazarus);
	del(_metadata, self->session, cargo);
	EXPECT_EQ(0, gc_collect(&self->program));
	EXPECT_EQ(1, resurrected);
	ASSERT_EQ(0, ref_get(self->session, lazarus, 0, &got));
	EXPECT_EQ(cargo, got);
	EXPECT_EQ(cargo, slot_value(self->session, cargo, 0));
	EXPECT_EQ(lazarus, slot_value(self->session, cargo, 1));
	del(_metadata, self->session, lazarus);
	del(_metadata, self->session, cargo);
	EXPECT_EQ(2, gc_collect(&self->program));
	EXPECT_EQ(1, resurrected);
}

static __u64 collected_by_full(int session)
{
	struct pyobjmem_stats stats;

	return heap_stats(session, &stats) ? ~0ULL : stats.out_gc[2].collected;
}

TEST_F(gc, resurrection_does_not_block_cleanup_of_other_objects)
{
	int n, i, resurrected = 0;
	__u64 z[2];

	self->program.handler.finalize = resurrect;
	self->program.handler.argument = &resurrected;
	for (i = 0; i < 100; i++)
		del(_metadata, self->session, new_self_cycle(_metadata, self->session, 0));
	EXPECT_EQ(100, gc_collect(&self->program));
	EXPECT_EQ(100, collected_by_full(self->session));

	for (n = 0; n < 2; n++) {
		z[n] = new_self_cycle(_metadata, self->session, PYOBJMEM_CREATE_FINALIZE);
		for (i = 0; n && i < 100; i++)
			del(_metadata, self->session,
			    new_self_cycle(_metadata, self->session, 0));
		del(_metadata, self->session, z[n]);
		/* Those that are only resurrected do not count. */
		EXPECT_EQ(100 * n, gc_collect(&self->program));
		EXPECT_EQ(100 + 100 * n, collected_by_full(self->session));
		EXPECT_EQ(1 + n, resurrected);
	}
	for (n = 0; n < 2; n++)
		del(_metadata, self->session, z[n]);
	EXPECT_EQ(2, gc_collect(&self->program));
	EXPECT_EQ(202, collected_by_full(self->session));
	EXPECT_EQ(2, resurrected);
}

/* PythonFinalizationTests.test_ast_fini: an instance takes its type with it. */
TEST_F(gc, ast_fini)
{
	__u64 type = new_object(_metadata, self->session, 0, 1);
	__u64 instance = new_object(_metadata, self->session, 0, 1);

	link_to(_metadata, self->session, instance, 0, type);
	ASSERT_EQ(0, weak_hold(self->session, type, 1));
	ASSERT_EQ(0, weak_hold(self->session, instance, 2));
	del(_metadata, self->session, type);
	EXPECT_EQ(0, gc_collect(&self->program));
	EXPECT_EQ(2, stats_objects(self->session));
	del(_metadata, self->session, instance);
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(instance, 2), EVENT_WEAK_DEAD(type, 1));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_HARNESS_MAIN
