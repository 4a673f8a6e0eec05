// SPDX-License-Identifier: GPL-2.0
/*
 * CPython's test_weakref, what has to do with the death of objects: ReferencesTestCase
 * and FinalizeTestCase. Each test is named after the one that it stands for. How the
 * one is mapped onto the other: gc.h. Weak dictionaries: gc_weakdict.c.
 *
 * Without a meaning here:
 *
 *	test_callbacks_on_callback	a callback is no object: nothing can hold it
 *					weakly
 *	test_callback_different_classes	as test_callback_reachable_one_way: nobody needs
 *					an object's class to be told of it
 *	test_gc_during_proxy_creation,	there are no proxies
 *	test_*proxy*
 *	test_cfunction, test_classes	types of objects have no kinds here
 *	test_repr_failure_gh99184,	of a language, not of its memory
 *	test_constructor_kwargs,
 *	test_init, test_equality,
 *	test_ordering, test_hashing,
 *	test_set_callback_attribute,
 *	test_arg_errors
 *	SubclassableWeakrefTestCase,	classes that use weak references are the
 *	WeakMethodTestCase		client's
 *	FinalizeTestCase.test_atexit	what has not run at the end never does: see
 *					gc_callbacks.c
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"
#include "gc.h"

FIXTURE(weakref)
{
	struct program program;
	int session;
};

FIXTURE_SETUP(weakref)
{
	ASSERT_EQ(0, program_begin(&self->program, 0));
	self->session = self->program.session;
}

FIXTURE_TEARDOWN(weakref)
{
	EXPECT_CLEAN_END(&self->program.heap);
}

static __u32 weak_count(int session, __u64 handle)
{
	struct pyobjmem_inspect inspect;

	return object_inspect(session, handle, &inspect) ? ~0U : inspect.out_weak;
}

/* --- References and callbacks --------------------------------------------- */

TEST_F(weakref, basic_ref)
{
	__u64 o = new_object(_metadata, self->session, 0, 1);
	struct pyobjmem_inspect inspect;

	ASSERT_EQ(0, weak_hold(self->session, o, 0));
	ASSERT_EQ(0, weak_upgrade(self->session, o));
	ASSERT_EQ(0, object_inspect(self->session, o, &inspect));
	EXPECT_EQ(2, inspect.out_takes);
	del(_metadata, self->session, o);
	EXPECT_EQ(0, weak_call(self->session, o));
	del(_metadata, self->session, o);
	EXPECT_EQ(-ESTALE, weak_call(self->session, o));
}

TEST_F(weakref, basic_callback)
{
	__u64 o = new_object(_metadata, self->session, 0, 1);

	ASSERT_EQ(0, weak_hold(self->session, o, 4711));
	EXPECT_EQ(0, gc_collect(&self->program));
	EXPECT_EQ(0, self->program.handler.died);
	del(_metadata, self->session, o);
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(o, 4711));
	EXPECT_EQ(-ESTALE, weak_call(self->session, o));
	EXPECT_EQ(0, gc_collect(&self->program));
	EXPECT_EQ(0, self->program.handler.died);
}

TEST_F(weakref, multiple_callbacks)
{
	__u64 o = new_object(_metadata, self->session, 0, 1);

	ASSERT_EQ(0, weak_hold(self->session, o, 1));
	ASSERT_EQ(0, weak_hold(self->session, o, 2));
	del(_metadata, self->session, o);
	EXPECT_EQ(-ESTALE, weak_call(self->session, o));
	EXPECT_EVENTS_UNORDERED(self->session, EVENT_WEAK_DEAD(o, 1), EVENT_WEAK_DEAD(o, 2));
}

struct calls {
	int result[16];
	int count;
	__u64 other;
};

static void call_self(int session, __u64 handle, __u64 cookie, void *argument)
{
	struct calls *calls = argument;

	(void)cookie;
	calls->result[calls->count++ % 16] = weak_call(session, handle);
}

/* All weak references are dead before the first callback runs. */
TEST_F(weakref, multiple_selfref_callbacks)
{
	__u64 c = new_object(_metadata, self->session, 0, 1);
	struct calls calls = {};
	int i;

	self->program.handler.weak_dead = call_self;
	self->program.handler.argument = &calls;
	ASSERT_EQ(0, weak_hold(self->session, c, 1));
	ASSERT_EQ(0, weak_hold(self->session, c, 2));
	del(_metadata, self->session, c);
	EXPECT_EQ(0, gc_collect(&self->program));
	EXPECT_EQ(2, calls.count);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(-ESTALE, calls.result[i]);
}

/*
 * A callback that comes while an error is on its way: a BATCH that fails behind the
 * PUT that kills the object tells its error, and the event is there.
 */
TEST_F(weakref, callbacks_protected)
{
	__u64 o = new_object(_metadata, self->session, 0, 1);
	struct pyobjmem_batch_entry entries[] = { entry_put(o), entry_get(o), entry_put(o) };
	__u32 done;

	ASSERT_EQ(0, weak_hold(self->session, o, 1));
	ASSERT_EQ(0, batch_run(self->session, entries, 3, 0, &done));
	EXPECT_EQ(2, done);
	EXPECT_EQ(0, entries[0].out_result);
	EXPECT_EQ(-ESTALE, entries[1].out_result);
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(o, 1));
}

/* A weak reference without a callback is shared: the cookie of none is 0. */
TEST_F(weakref, ref_reuse)
{
	__u64 o = new_object(_metadata, self->session, 0, 1);

	ASSERT_EQ(0, weak_hold(self->session, o, 0));
	ASSERT_EQ(0, weak_hold(self->session, o, 1));
	EXPECT_EQ(-EALREADY, weak_hold(self->session, o, 0));
	EXPECT_EQ(2, weak_count(self->session, o));
	EXPECT_EQ(0, weak_call(self->session, o));
	del(_metadata, self->session, o);
	EXPECT_EVENTS_UNORDERED(self->session, EVENT_WEAK_DEAD(o, 0), EVENT_WEAK_DEAD(o, 1));
}

TEST_F(weakref, getweakrefcount)
{
	__u64 o = new_object(_metadata, self->session, 0, 1);
	__u32 i;

	EXPECT_EQ(0, weak_count(self->session, o));
	for (i = 1; i <= 4; i++) {
		ASSERT_EQ(0, weak_hold(self->session, o, i));
		EXPECT_EQ(i, weak_count(self->session, o));
	}
	ASSERT_EQ(0, weak_drop(self->session, o, 1));
	ASSERT_EQ(0, weak_drop(self->session, o, 3));
	EXPECT_EQ(2, weak_count(self->session, o));
	EXPECT_EQ(0, weak_count(self->session, new_object(_metadata, self->session, 0, 0)));
}

/* Which there are: those that can be dropped, each once. */
TEST_F(weakref, getweakrefs)
{
	__u64 o = new_object(_metadata, self->session, 0, 1);
	__u64 other = new_object(_metadata, self->session, 0, 1);

	ASSERT_EQ(0, weak_hold(self->session, o, 1));
	ASSERT_EQ(0, weak_hold(self->session, o, 2));
	ASSERT_EQ(0, weak_hold(self->session, other, 3));
	EXPECT_EQ(-ENOENT, weak_drop(self->session, o, 3));
	EXPECT_EQ(0, weak_drop(self->session, o, 1));
	EXPECT_EQ(-ENOENT, weak_drop(self->session, o, 1));
	EXPECT_EQ(1, weak_count(self->session, o));
	EXPECT_EQ(1, weak_count(self->session, other));
	EXPECT_EQ(0, weak_drop(self->session, o, 2));
	EXPECT_EQ(-ENOENT, weak_call(self->session, o));
}

/* What tells one callback from another is the cookie, as long as it is to be called. */
TEST_F(weakref, callback_attribute)
{
	__u64 x = new_object(_metadata, self->session, 0, 1);

	ASSERT_EQ(0, weak_hold(self->session, x, ~0ULL));
	EXPECT_EQ(-EALREADY, weak_hold(self->session, x, ~0ULL));
	del(_metadata, self->session, x);
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(x, ~0ULL));
}

TEST_F(weakref, callback_attribute_after_deletion)
{
	__u64 x = new_object(_metadata, self->session, 0, 1);

	ASSERT_EQ(0, weak_hold(self->session, x, 1));
	del(_metadata, self->session, x);
	EXPECT_EQ(-ESTALE, weak_drop(self->session, x, 1));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(x, 1));
	EXPECT_EQ(-ESTALE, weak_drop(self->session, x, 1));
}

/* --- Callbacks that collect ----------------------------------------------- */

static void collect_dead(int session, __u64 handle, __u64 cookie, void *argument)
{
	(void)handle;
	(void)cookie;
	*(int *)argument += collect(session, 2) < 0;
}

/* Nothing that is being freed is freed twice. */
TEST_F(weakref, sf_bug_840829)
{
	__u64 c, c1, i, c2;
	int failed = 0;

	self->program.handler.weak_dead = collect_dead;
	self->program.handler.argument = &failed;
	c = new_object(_metadata, self->session, 0, 1);
	ASSERT_EQ(0, weak_hold(self->session, c, 0));
	del(_metadata, self->session, c);
	EXPECT_EQ(1, events_handle(self->session, &self->program.handler));

	c1 = new_object(_metadata, self->session, 0, 1);
	i = new_object(_metadata, self->session, 0, 1);
	c2 = new_object(_metadata, self->session, 0, 1);
	link_to(_metadata, self->session, c1, 0, i);
	link_to(_metadata, self->session, c2, 0, c1);
	ASSERT_EQ(0, weak_hold(self->session, i, 0));
	del(_metadata, self->session, i);
	del(_metadata, self->session, c1);
	del(_metadata, self->session, c2);
	EXPECT_EQ(1, events_handle(self->session, &self->program.handler));
	EXPECT_EQ(0, failed);
	EXPECT_EQ(4, stats_freed_counted(self->session));
}

TEST_F(weakref, callback_gcs)
{
	__u64 x = new_finalized(_metadata, self->session, 1);
	int failed = 0;

	self->program.handler.weak_dead = collect_dead;
	self->program.handler.argument = &failed;
	ASSERT_EQ(0, weak_hold(self->session, x, 0));
	del(_metadata, self->session, x);
	EXPECT_EQ(2, events_handle(self->session, &self->program.handler));
	EXPECT_EQ(1, self->program.handler.finalized);
	EXPECT_EQ(1, self->program.handler.died);
	EXPECT_EQ(0, failed);
	EXPECT_EQ(1, stats_freed_counted(self->session));
}

/* --- Callbacks that reach garbage ----------------------------------------- */

/*
 * CPython counts more objects in these three (14, 4 and 13 in 3.11 and 3.13): its weak
 * references and bound methods are garbage too, and classes are several objects. Its
 * tests do not look at the counts. Here they are those of the graph that is made.
 */

static void call_other(int session, __u64 handle, __u64 cookie, void *argument)
{
	struct calls *calls = argument;

	(void)handle;
	(void)cookie;
	calls->result[calls->count++ % 16] = weak_call(session, calls->other);
}

/*
 * The callback of one object uses another, which is in the same garbage: it is not
 * to see it half taken apart. It can only get there by a weak reference, and
 * that is dead.
 */
TEST_F(weakref, callback_in_cycle)
{
	struct calls calls = {};
	struct graph graph;

	self->program.handler.weak_dead = call_other;
	self->program.handler.argument = &calls;
	/* J, II, and an instance of II that refers to both */
	graph_make(_metadata, self->session, "0>0 1>1 2>0 2>1 2>2", &graph);
	calls.other = graph.node[2];
	ASSERT_EQ(0, weak_hold(self->session, graph.node[0], 0));
	ASSERT_EQ(0, weak_hold(self->session, graph.node[2], 0));
	graph_del(_metadata, self->session, &graph);
	EXPECT_EQ(3, gc_collect(&self->program));
	EXPECT_EQ(2, calls.count);
	EXPECT_EQ(-ESTALE, calls.result[0]);
	EXPECT_EQ(-ESTALE, calls.result[1]);
}

/* c2 refers to c1, which does not refer to it. */
TEST_F(weakref, callback_reachable_one_way)
{
	struct calls calls = {};
	struct graph graph;

	self->program.handler.weak_dead = call_other;
	self->program.handler.argument = &calls;
	graph_make(_metadata, self->session, "0>0 0>1", &graph);
	calls.other = graph.node[0];
	ASSERT_EQ(0, weak_hold(self->session, graph.node[0], 0));
	ASSERT_EQ(0, weak_hold(self->session, graph.node[1], 0));
	graph_del(_metadata, self->session, &graph);
	EXPECT_EQ(2, gc_collect(&self->program));
	EXPECT_EQ(2, calls.count);
	EXPECT_EQ(-ESTALE, calls.result[0]);
	EXPECT_EQ(-ESTALE, calls.result[1]);
}

/*
 * Weak references that are garbage themselves call nobody: those of a session that has
 * ended. One from outside is called.
 */
TEST_F(weakref, callback_in_cycle_resurrection)
{
	int trash = test_heap_join(&self->program.heap);
	struct graph graph;

	ASSERT_LE(0, trash);
	/* c1, c2 and their class */
	graph_make(_metadata, trash, "0>1 1>0 0>2 1>2 2>2", &graph);
	ASSERT_EQ(0, weak_hold(trash, graph.node[0], 1));
	ASSERT_EQ(0, weak_hold(trash, graph.node[1], 2));
	ASSERT_EQ(0, root_set(trash, 0, graph.node[2], NULL));
	ASSERT_EQ(0, root_get(self->session, 0, NULL));
	ASSERT_EQ(0, weak_hold(self->session, graph.node[2], 3));
	del(_metadata, self->session, graph.node[2]);
	ASSERT_EQ(0, root_set(trash, 0, PYOBJMEM_NONE, NULL));
	graph_del(_metadata, trash, &graph);
	ASSERT_EQ(0, session_leave(trash));
	EXPECT_NO_EVENTS(self->session);

	EXPECT_EQ(3, collect(self->session, 2));
	EXPECT_NO_EVENTS(trash);
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(graph.node[2], 3));
	EXPECT_EQ(-ESTALE, weak_call(self->session, graph.node[2]));
	EXPECT_EQ(0, gc_collect(&self->program));
	close(trash);
}

/* --- Beginnings and ends -------------------------------------------------- */

struct collecting {
	int session;
	int failed;
	bool stop;
};

static void *collecting_thread(void *argument)
{
	struct collecting *c = argument;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED))
		c->failed += collect(c->session, 2) < 0;
	return NULL;
}

/* Collections by a thread and by themselves while weak references are made and become garbage */
TEST_F(weakref, gc_during_ref_creation)
{
	struct collecting collecting = { .session = self->session };
	__u64 referenced = new_object(_metadata, self->session, 0, 1), a;
	pthread_t thread;
	int i;

	ASSERT_EQ(0, gc_enable(self->session, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, collecting_thread, &collecting));
	for (i = 1; i <= 500; i++) {
		a = new_self_cycle(_metadata, self->session, 0);
		ASSERT_EQ(0, weak_hold(self->session, referenced, i));
		ASSERT_EQ(0, weak_hold(self->session, a, i));
		del(_metadata, self->session, a);
		if (i % 2)
			ASSERT_EQ(0, weak_drop(self->session, referenced, i));
	}
	__atomic_store_n(&collecting.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	ASSERT_EQ(0, heap_automatic(self->session, false));
	EXPECT_EQ(0, collecting.failed);
	EXPECT_LE(0, gc_collect(&self->program));
	EXPECT_EQ(500, self->program.handler.died);
	EXPECT_EQ(250, weak_count(self->session, referenced));
	del(_metadata, self->session, referenced);
	EXPECT_LE(0, gc_collect(&self->program));
	EXPECT_EQ(750, self->program.handler.died);
	EXPECT_EQ(0, stats_objects(self->session));
}

static void weaken_finalize(int session, __u64 handle, void *argument)
{
	*(int *)argument = weak_hold(session, handle, 9);
}

/* A weak reference that the finalizer makes is dead when that is over. */
TEST_F(weakref, ref_created_during_del)
{
	__u64 w = new_finalized(_metadata, self->session, 1);
	int rc = 1;

	self->program.handler.finalize = weaken_finalize;
	self->program.handler.argument = &rc;
	del(_metadata, self->session, w);
	EXPECT_EQ(2, events_handle(self->session, &self->program.handler));
	EXPECT_EQ(0, rc);
	EXPECT_EQ(1, self->program.handler.died);
	EXPECT_EQ(-ESTALE, weak_call(self->session, w));
	EXPECT_EQ(0, stats_objects(self->session));
}

#define CHAIN	100

struct chain {
	int session;
	__u64 node[CHAIN];
	unsigned int told, wrong;
};

/* The next node is whole, or it is dead: nothing in between. */
static void chain_dead(int session, __u64 handle, __u64 cookie, void *argument)
{
	struct chain *chain = argument;
	__u64 next;
	int rc;

	chain->told++;
	if (handle != chain->node[cookie])
		chain->wrong++;
	if (cookie + 1 == CHAIN)
		return;
	next = chain->node[cookie + 1];
	rc = weak_upgrade(session, next);
	if (rc == -ESTALE)
		return;
	if (rc || (cookie + 2 < CHAIN && slot_value(session, next, 0) != chain->node[cookie + 2]) ||
	    object_put(session, next))
		chain->wrong++;
}

static void *chain_thread(void *argument)
{
	struct chain *chain = argument;
	struct event_handler handler = { .weak_dead = chain_dead, .argument = chain };

	while (chain->told < CHAIN)
		if (events_handle(chain->session, &handler) < 0)
			chain->wrong++;
	return NULL;
}

/* A long chain dies, while somebody tries to get hold of what is about to. */
TEST_F_TIMEOUT(weakref, trashcan_16602, 120)
{
	struct chain chain = {};
	pthread_t thread;
	int round, i;

	chain.session = test_heap_join(&self->program.heap);
	ASSERT_LE(0, chain.session);
	for (round = 0; round < 20; round++) {
		for (i = CHAIN - 1; i >= 0; i--) {
			chain.node[i] = new_object(_metadata, self->session, 0, 1);
			if (i + 1 < CHAIN)
				link_to(_metadata, self->session, chain.node[i], 0,
					chain.node[i + 1]);
		}
		/* Weak references belong to whoever wants to know. */
		for (i = 0; i < CHAIN; i++) {
			ASSERT_EQ(0, root_set(self->session, 0, chain.node[i], NULL));
			ASSERT_EQ(0, root_get(chain.session, 0, NULL));
			ASSERT_EQ(0, weak_hold(chain.session, chain.node[i], i));
			del(_metadata, chain.session, chain.node[i]);
		}
		ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
		for (i = CHAIN - 1; i > 0; i--)
			del(_metadata, self->session, chain.node[i]);
		chain.told = 0;
		ASSERT_EQ(0, pthread_create(&thread, NULL, chain_thread, &chain));
		del(_metadata, self->session, chain.node[0]);
		ASSERT_TRUE(wait_until(__atomic_load_n(&chain.told, __ATOMIC_RELAXED) == CHAIN,
				       SOON_MS));
		pthread_join(thread, NULL);
	}
	EXPECT_EQ(0, chain.wrong);
	EXPECT_EQ(0, stats_objects(self->session));
	close(chain.session);
}

/* --- FinalizeTestCase ----------------------------------------------------- */

/* Called, or detached: it is dropped, and there is no event of it. Else there is one. */
TEST_F(weakref, finalize)
{
	__u64 a = new_object(_metadata, self->session, 0, 1);

	ASSERT_EQ(0, weak_hold(self->session, a, 1));
	EXPECT_EQ(0, weak_call(self->session, a));
	ASSERT_EQ(0, weak_drop(self->session, a, 1));
	EXPECT_EQ(-ENOENT, weak_drop(self->session, a, 1));
	EXPECT_EQ(-ENOENT, weak_call(self->session, a));

	ASSERT_EQ(0, weak_hold(self->session, a, 2));
	ASSERT_EQ(0, weak_drop(self->session, a, 2));
	EXPECT_EQ(-ENOENT, weak_drop(self->session, a, 2));

	ASSERT_EQ(0, weak_hold(self->session, a, 3));
	del(_metadata, self->session, a);
	EXPECT_EQ(-ESTALE, weak_call(self->session, a));
	EXPECT_EQ(-ESTALE, weak_drop(self->session, a, 3));
	EXPECT_EVENTS(self->session, EVENT_WEAK_DEAD(a, 3));
}

/* Those of one object are told at once; in which order they are called, is the client's. */
TEST_F(weakref, order)
{
	__u64 a = new_object(_metadata, self->session, 0, 1);
	int i;

	for (i = 1; i <= 5; i++)
		ASSERT_EQ(0, weak_hold(self->session, a, i));
	ASSERT_EQ(0, weak_drop(self->session, a, 5));
	ASSERT_EQ(0, weak_drop(self->session, a, 3));
	EXPECT_EQ(-ENOENT, weak_drop(self->session, a, 3));
	del(_metadata, self->session, a);
	EXPECT_EVENTS_UNORDERED(self->session, EVENT_WEAK_DEAD(a, 4), EVENT_WEAK_DEAD(a, 2),
				EVENT_WEAK_DEAD(a, 1));
}

/* Nothing is left of them: the session's watches, and what is charged to the user. */
TEST_F(weakref, all_freed)
{
	__u64 a = new_object(_metadata, self->session, 0, 1);
	struct pyobjmem_stats stats;
	int i;

	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, weak_hold(self->session, a, i));
	for (i = 0; i < 50; i++)
		ASSERT_EQ(0, weak_drop(self->session, a, i));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(50, stats.out_watches);
	EXPECT_EQ(50, stats.out_weak);
	del(_metadata, self->session, a);
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(50, stats.out_watches);
	EXPECT_EQ(0, stats.out_weak);
	EXPECT_EQ(50, stats.out_events);
	EXPECT_EQ(50, events_handle(self->session, &self->program.handler));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(0, stats.out_watches);
	EXPECT_EQ(0, stats.out_events);
}

TEST_HARNESS_MAIN
