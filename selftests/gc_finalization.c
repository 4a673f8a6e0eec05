// SPDX-License-Identifier: GPL-2.0
/*
 * CPython's test_finalization (PEP 442): each test is named after its class and the
 * one that it stands for, but for the spelling of "homogeneous". Every finalizer sees
 * an object that is whole, and runs once. How the one is mapped onto the other: gc.h.
 *
 * In two things the kernel differs, and the tests say so:
 *
 *  - an object without slots has one finalizer in its life as all others have;
 *    CPython calls that of an object without GC each time;
 *  - weak references to what a collection found, and a finalizer then made
 *    reachable again, live on, as they do in CPython from 3.15 on if they have no
 *    callback; before, they were dead.
 *
 * Without a meaning here:
 *
 *	LegacyFinalizationTest.test_legacy		there is no tp_del: one kind of
 *	LegacyFinalizationTest.test_legacy_resurrect	finalizer, which runs once and
 *	LegacyFinalizationTest.test_legacy_self_cycle	keeps nothing from collection
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"
#include "gc.h"

#define NODES	6

enum kind {
	SIMPLE,		/* does nothing */
	RESURRECTOR,	/* keeps itself */
	SUICIDAL,	/* lets go of all that it refers to */
};

/* Each node has two slots, left and right: both itself where it is alone. */
struct node {
	__u64 handle;
	enum kind kind;
	int calls;
	bool suicided;
	bool survivor;
};

FIXTURE(finalization)
{
	struct program program;
	int session;
	struct node node[NODES];
	int nodes;
	bool cyclic;
	int insane;		/* objects that were not as they should be */
};

/* What a slot is to name: its neighbour, unless one of the two has killed itself. */
static __u64 slot_expected(FIXTURE_DATA(finalization) *self, int i, int slot)
{
	int other = (i + (slot ? 1 : self->nodes - 1)) % self->nodes;

	if (!self->cyclic || self->node[i].suicided)
		return PYOBJMEM_NONE;
	return self->node[other].handle;
}

static bool node_sane(FIXTURE_DATA(finalization) *self, int i)
{
	__u64 handle = self->node[i].handle, id;
	struct pyobjmem_inspect inspect;
	__u64 edges[2] = {};

	if (object_edges(self->session, handle, edges, 2, &inspect) ||
	    object_read(self->session, handle, 0, &id, sizeof(id)) != sizeof(id))
		return false;
	if (id != i + 100U || !(inspect.out_flags & PYOBJMEM_INSPECT_FINALIZED))
		return false;
	return !inspect.out_slots || (edges[0] == slot_expected(self, i, 0) &&
				      edges[1] == slot_expected(self, i, 1));
}

static void node_finalize(int session, __u64 handle, void *argument)
{
	FIXTURE_DATA(finalization) *self = argument;
	struct node *node = self->node;
	int i = 0;

	while (i < self->nodes && node[i].handle != handle)
		i++;
	if (i == self->nodes || !node_sane(self, i)) {
		self->insane++;
		return;
	}
	node[i].calls++;
	if (node[i].kind == RESURRECTOR)
		node[i].survivor = !object_get(session, handle);
	if (node[i].kind != SUICIDAL)
		return;
	node[i].suicided = true;
	self->insane += ref_set(session, handle, 0, PYOBJMEM_NONE, NULL) ||
			ref_set(session, handle, 1, PYOBJMEM_NONE, NULL);
}

FIXTURE_SETUP(finalization)
{
	memset(self, 0, sizeof(*self));
	ASSERT_EQ(0, program_begin(&self->program, 0));
	self->session = self->program.session;
	self->program.handler.finalize = node_finalize;
	self->program.handler.argument = self;
}

FIXTURE_TEARDOWN(finalization)
{
	EXPECT_EQ(0, self->insane);
	EXPECT_CLEAN_END(&self->program.heap);
}

/* Nodes that have names and weak references; in a ring if they have slots. */
static void nodes_make(struct __test_metadata *_metadata, FIXTURE_DATA(finalization) *self,
		       const enum kind *kind, int nodes, __u32 slots)
{
	__u64 id;
	int i;

	self->nodes = nodes;
	self->cyclic = false;
	for (i = 0; i < nodes; i++) {
		id = i + 100;
		self->node[i] = (struct node){ .kind = kind[i] };
		ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, &id, 8, NULL,
					   slots, &self->node[i].handle));
		ASSERT_EQ(0, weak_hold(self->session, self->node[i].handle, i));
	}
}

static void nodes_chain(struct __test_metadata *_metadata, FIXTURE_DATA(finalization) *self)
{
	int i;

	self->cyclic = true;
	for (i = 0; i < self->nodes; i++) {
		link_to(_metadata, self->session, self->node[i].handle, 0,
			slot_expected(self, i, 0));
		link_to(_metadata, self->session, self->node[i].handle, 1,
			slot_expected(self, i, 1));
	}
}

static void nodes_del(struct __test_metadata *_metadata, FIXTURE_DATA(finalization) *self)
{
	int i;

	for (i = 0; i < self->nodes; i++)
		del(_metadata, self->session, self->node[i].handle);
}

static void survivors_clear(struct __test_metadata *_metadata, FIXTURE_DATA(finalization) *self)
{
	int i;

	for (i = 0; i < self->nodes; i++)
		if (self->node[i].survivor)
			del(_metadata, self->session, self->node[i].handle);
}

/* All finalizers have been called once, and these weak references are dead. */
static void nodes_check(struct __test_metadata *_metadata, FIXTURE_DATA(finalization) *self,
			bool alive)
{
	int i;

	for (i = 0; i < self->nodes; i++) {
		EXPECT_EQ(1, self->node[i].calls);
		EXPECT_EQ(alive ? 0 : -ESTALE, weak_call(self->session, self->node[i].handle));
	}
	EXPECT_EQ(alive ? 0 : self->nodes, self->program.handler.died);
	EXPECT_EQ(alive ? self->nodes : 0, stats_objects(self->session));
}

/* --- Without cycles ------------------------------------------------------- */

static const enum kind one_simple[] = { SIMPLE };
static const enum kind one_resurrector[] = { RESURRECTOR };
static const enum kind one_suicidal[] = { SUICIDAL };

static void simple(struct __test_metadata *_metadata, FIXTURE_DATA(finalization) *self,
		   __u32 slots)
{
	nodes_make(_metadata, self, one_simple, 1, slots);
	nodes_del(_metadata, self);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
}

static void simple_resurrect(struct __test_metadata *_metadata, FIXTURE_DATA(finalization) *self,
			     __u32 slots)
{
	nodes_make(_metadata, self, one_resurrector, 1, slots);
	nodes_del(_metadata, self);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, true);
	EXPECT_TRUE(self->node[0].survivor);
	survivors_clear(_metadata, self);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
}

TEST_F(finalization, simple)
{
	simple(_metadata, self, 2);
}

TEST_F(finalization, simple_resurrect)
{
	simple_resurrect(_metadata, self, 2);
}

TEST_F(finalization, non_gc)
{
	simple(_metadata, self, 0);
}

/* CPython calls the finalizer twice: see the top. */
TEST_F(finalization, non_gc_resurrect)
{
	simple_resurrect(_metadata, self, 0);
}

/* --- One object that refers to itself ------------------------------------- */

TEST_F(finalization, self_cycle_simple)
{
	nodes_make(_metadata, self, one_simple, 1, 2);
	nodes_chain(_metadata, self);
	nodes_del(_metadata, self);
	EXPECT_EQ(1, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
}

/* The weak reference lives as long as the object: see the top. */
TEST_F(finalization, self_cycle_simple_resurrect)
{
	nodes_make(_metadata, self, one_resurrector, 1, 2);
	nodes_chain(_metadata, self);
	nodes_del(_metadata, self);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, true);
	EXPECT_TRUE(self->node[0].survivor);
	survivors_clear(_metadata, self);
	EXPECT_EQ(1, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
}

/* Its finalizer drops the last reference: no collection has to find it. */
TEST_F(finalization, self_cycle_simple_suicide)
{
	nodes_make(_metadata, self, one_suicidal, 1, 2);
	nodes_chain(_metadata, self);
	nodes_del(_metadata, self);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
}

/* --- Rings ---------------------------------------------------------------- */

static void non_resurrecting_chain(struct __test_metadata *_metadata,
				   FIXTURE_DATA(finalization) *self, const enum kind *kind,
				   int nodes, __s64 collected)
{
	nodes_make(_metadata, self, kind, nodes, 2);
	nodes_chain(_metadata, self);
	nodes_del(_metadata, self);
	EXPECT_EQ(nodes, stats_objects(self->session));
	EXPECT_EQ(collected, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
}

/* If one of them comes back all do: each reaches all, or is reached from one that does. */
static void resurrecting_chain(struct __test_metadata *_metadata,
			       FIXTURE_DATA(finalization) *self, const enum kind *kind,
			       int nodes)
{
	int i;

	nodes_make(_metadata, self, kind, nodes, 2);
	nodes_chain(_metadata, self);
	nodes_del(_metadata, self);
	EXPECT_EQ(0, gc_collect(&self->program));
	nodes_check(_metadata, self, true);
	for (i = 0; i < nodes; i++)
		EXPECT_EQ(kind[i] == RESURRECTOR, self->node[i].survivor);
	survivors_clear(_metadata, self);
	EXPECT_EQ(nodes, gc_collect(&self->program));
	nodes_check(_metadata, self, false);
}

TEST_F(finalization, homogeneous)
{
	static const enum kind kind[] = { SIMPLE, SIMPLE, SIMPLE };

	non_resurrecting_chain(_metadata, self, kind, 3, 3);
}

TEST_F(finalization, homogeneous_resurrect)
{
	static const enum kind kind[] = { RESURRECTOR, RESURRECTOR, RESURRECTOR };

	resurrecting_chain(_metadata, self, kind, 3);
}

TEST_F(finalization, homogeneous_suicidal)
{
	static const enum kind kind[] = { SUICIDAL, SUICIDAL, SUICIDAL };

	non_resurrecting_chain(_metadata, self, kind, 3, 0);
}

TEST_F(finalization, heterogeneous_suicidal_one)
{
	static const enum kind kind[] = { SUICIDAL, SIMPLE, SUICIDAL, SIMPLE };

	non_resurrecting_chain(_metadata, self, kind, 4, 0);
}

/* Two that are left in a cycle hold those that were not. */
TEST_F(finalization, heterogeneous_suicidal_two)
{
	static const enum kind kind[] = { SUICIDAL, SUICIDAL, SIMPLE, SIMPLE };

	non_resurrecting_chain(_metadata, self, kind, 4, 4);
}

TEST_F(finalization, heterogeneous_resurrect_one)
{
	static const enum kind kind[] = { RESURRECTOR, SIMPLE, RESURRECTOR, SIMPLE };

	resurrecting_chain(_metadata, self, kind, 4);
}

TEST_F(finalization, heterogeneous_resurrect_two)
{
	static const enum kind kind[] = {
		RESURRECTOR, SIMPLE, SUICIDAL, RESURRECTOR, SIMPLE, SUICIDAL,
	};

	resurrecting_chain(_metadata, self, kind, 6);
}

TEST_F(finalization, heterogeneous_resurrect_three)
{
	static const enum kind kind[] = {
		RESURRECTOR, RESURRECTOR, SIMPLE, SIMPLE, SUICIDAL, SUICIDAL,
	};

	resurrecting_chain(_metadata, self, kind, 6);
}

TEST_HARNESS_MAIN
