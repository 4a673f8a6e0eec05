// SPDX-License-Identifier: GPL-2.0
/*
 * CPython's test_gc, GCTests: each test is named after the one that it stands
 * for, and what COLLECT returns is what gc.collect() returns there. How the one is
 * mapped onto the other: gc.h. Those about finalizers and weak references:
 * gc_resurrection.c; GCCallbackTests, GCTogglingTests, and those about the end of
 * an interpreter: gc_callbacks.c.
 *
 * Without a meaning here:
 *
 *	test_saveall			nothing keeps garbage for a look at it
 *	test_boom_new, test_boom2_new	as test_boom and test_boom2: classes have
 *					no kinds here
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

/* Such a graph is collected when its names go, all of it, at once and not before. */
static void collected_at_once(struct __test_metadata *_metadata, struct program *program,
			      const char *edges, __s64 count)
{
	__u64 objects = stats_objects(program->session);
	struct graph graph;

	graph_make(_metadata, program->session, edges, &graph);
	EXPECT_EQ(0, gc_collect(program));
	graph_del(_metadata, program->session, &graph);
	EXPECT_EQ(objects + count, stats_objects(program->session));
	EXPECT_EQ(count, gc_collect(program));
	EXPECT_EQ(objects, stats_objects(program->session));
	EXPECT_EQ(0, gc_collect(program));
	EXPECT_NO_EVENTS(program->session);
}

/* --- Shapes --------------------------------------------------------------- */

/* What there is of a class: 0 itself, 1 __mro__, 2 __dict__, of which 3 and 4 */
#define CLASS_A	"0>2 0>1 1>0 2>4 2>3 3>0 4>0"

TEST_F(gc, list)
{
	collected_at_once(_metadata, &self->program, "0>0", 1);
}

TEST_F(gc, dict)
{
	collected_at_once(_metadata, &self->program, "0>0", 1);
}

/* A tuple is made with what it holds: with edges, and only then it is in a cycle. */
TEST_F(gc, tuple)
{
	__u64 list = new_object(_metadata, self->session, 0, 1), tuple;

	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, &list, 1, &tuple));
	link_to(_metadata, self->session, list, 0, tuple);
	EXPECT_EQ(0, gc_collect(&self->program));
	del(_metadata, self->session, tuple);
	del(_metadata, self->session, list);
	EXPECT_EQ(2, gc_collect(&self->program));
	EXPECT_EQ(0, gc_collect(&self->program));
}

TEST_F(gc, class)
{
	collected_at_once(_metadata, &self->program, CLASS_A " 2>0", 5);
}

TEST_F(gc, newstyleclass)
{
	collected_at_once(_metadata, &self->program, CLASS_A, 5);
}

/* Its class is alive. */
TEST_F(gc, instance)
{
	struct graph class;
	__u64 a;

	graph_make(_metadata, self->session, CLASS_A, &class);
	EXPECT_EQ(0, gc_collect(&self->program));
	a = new_object(_metadata, self->session, 0, 2);
	link_to(_metadata, self->session, a, 0, a);
	link_to(_metadata, self->session, a, 1, class.node[0]);
	del(_metadata, self->session, a);
	EXPECT_EQ(1, gc_collect(&self->program));
	graph_del(_metadata, self->session, &class);
	EXPECT_EQ(5, gc_collect(&self->program));
}

/* One with a dict, then two classes, then a class with an instance of its own */
TEST_F(gc, newinstance)
{
	collected_at_once(_metadata, &self->program, "0>0", 1);
	collected_at_once(_metadata, &self->program, "0>1 1>0", 2);
	collected_at_once(_metadata, &self->program,
			  "0>2 0>1 1>0 2>6 2>3 3>0 6>0 4>5 4>7 4>0 5>0 5>4 7>0", 8);
	collected_at_once(_metadata, &self->program, CLASS_A " 2>5 5>0", 6);
}

/* An instance and its bound method */
TEST_F(gc, method)
{
	collected_at_once(_metadata, &self->program, "0>1 1>0", 2);
}

/* A function and the dict of its globals */
TEST_F(gc, function)
{
	collected_at_once(_metadata, &self->program, "0>1 1>0", 2);
}

/* A frame that a variable in it names: nothing else ever did. */
TEST_F(gc, frame)
{
	EXPECT_EQ(0, gc_collect(&self->program));
	del(_metadata, self->session, new_self_cycle(_metadata, self->session, 0));
	EXPECT_EQ(1, gc_collect(&self->program));
}

/* --- Nobody's code runs while the collector looks ------------------------- */

/* __getattr__ would break the cycle: it is not asked, nor is anybody else. */
TEST_F(gc, boom)
{
	struct pyobjmem_collect command;
	struct graph graph;

	graph_make(_metadata, self->session, "0>1 1>0", &graph);
	graph_del(_metadata, self->session, &graph);
	ASSERT_EQ(0, heap_collect(self->session, 2, &command));
	EXPECT_EQ(2, command.out_collected);
	EXPECT_EQ(2, command.out_visited);
	EXPECT_EQ(0, command.out_finalizers);
	EXPECT_NO_EVENTS(self->session);
}

/* The same for objects with an attribute that changes, each with a weak reference. */
TEST_F(gc, boom2)
{
	__u64 object[2], x = 1;
	int i;

	for (i = 0; i < 2; i++)
		object[i] = new_object(_metadata, self->session, PYOBJMEM_CREATE_MUTABLE, 1);
	for (i = 0; i < 2; i++) {
		link_to(_metadata, self->session, object[i], 0, object[!i]);
		ASSERT_EQ(8, object_write(self->session, object[i], 0, &x, 8));
		ASSERT_EQ(0, weak_hold(self->session, object[i], i));
	}
	for (i = 0; i < 2; i++)
		del(_metadata, self->session, object[i]);
	EXPECT_EQ(2, collect(self->session, 2));
	EXPECT_EVENTS_UNORDERED(self->session, EVENT_WEAK_DEAD(object[0], 0),
				EVENT_WEAK_DEAD(object[1], 1));
}

/* --- Counts and generations ----------------------------------------------- */

#define EXPECT_COUNTS(session, a, b, c) do {				\
	struct pyobjmem_stats __stats;					\
									\
	ASSERT_EQ(0, heap_stats(session, &__stats));			\
	EXPECT_EQ(a, __stats.out_gc[0].count);				\
	EXPECT_EQ(b, __stats.out_gc[1].count);				\
	EXPECT_EQ(c, __stats.out_gc[2].count);				\
} while (0)

TEST_F(gc, get_count)
{
	ASSERT_EQ(0, gc_collect(&self->program));
	EXPECT_COUNTS(self->session, 0, 0, 0);
	new_object(_metadata, self->session, 0, 0);
	EXPECT_COUNTS(self->session, 0, 0, 0);
	new_object(_metadata, self->session, 0, 1);
	EXPECT_COUNTS(self->session, 1, 0, 0);
}

TEST_F(gc, collect_generations)
{
	struct pyobjmem_inspect inspect;
	__u32 g, generation[3];
	__u64 x;

	ASSERT_EQ(0, gc_collect(&self->program));
	x = new_object(_metadata, self->session, 0, 1);
	EXPECT_EQ(0, collect(self->session, 0));
	EXPECT_COUNTS(self->session, 0, 1, 0);
	ASSERT_EQ(0, object_inspect(self->session, x, &inspect));
	generation[0] = inspect.out_generation;
	EXPECT_EQ(0, collect(self->session, 1));
	EXPECT_COUNTS(self->session, 0, 0, 1);
	ASSERT_EQ(0, object_inspect(self->session, x, &inspect));
	generation[1] = inspect.out_generation;
	EXPECT_EQ(0, collect(self->session, 2));
	EXPECT_COUNTS(self->session, 0, 0, 0);
	ASSERT_EQ(0, object_inspect(self->session, x, &inspect));
	generation[2] = inspect.out_generation;
	for (g = 0; g < 3; g++)
		EXPECT_EQ(g + 1 < 2 ? g + 1 : 2, generation[g]);
}

TEST_F(gc, get_stats)
{
	struct pyobjmem_stats old, new;
	int i;

	ASSERT_EQ(0, heap_stats(self->session, &old));
	del(_metadata, self->session, new_self_cycle(_metadata, self->session, 0));
	EXPECT_EQ(1, collect(self->session, 0));
	ASSERT_EQ(0, heap_stats(self->session, &new));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(old.out_gc[i].collections + (i == 0), new.out_gc[i].collections);
		EXPECT_EQ(old.out_gc[i].collected + (i == 0), new.out_gc[i].collected);
	}
	del(_metadata, self->session, new_self_cycle(_metadata, self->session, 0));
	EXPECT_EQ(1, collect(self->session, 2));
	ASSERT_EQ(0, heap_stats(self->session, &new));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(old.out_gc[i].collections + (i != 1), new.out_gc[i].collections);
		EXPECT_EQ(old.out_gc[i].collected + (i != 1), new.out_gc[i].collected);
	}
}

TEST_F(gc, freeze)
{
	new_object(_metadata, self->session, 0, 1);
	ASSERT_EQ(0, heap_freeze(self->session));
	EXPECT_EQ(1, stats_permanent(self->session));
	ASSERT_EQ(0, heap_unfreeze(self->session));
	EXPECT_EQ(0, stats_permanent(self->session));
}

/* And test_get_objects_generations: where an object is, and nowhere else */
TEST_F(gc, get_objects)
{
	static const int then[] = { 0, 1, 2, 2 };
	struct pyobjmem_inspect inspect;
	struct pyobjmem_stats stats;
	size_t i;
	__u64 l;
	int g;

	ASSERT_EQ(0, gc_collect(&self->program));
	l = new_self_cycle(_metadata, self->session, 0);
	for (i = 0; i < ARRAY_SIZE(then); i++) {
		if (i)
			EXPECT_EQ(0, collect(self->session, i - 1));
		ASSERT_EQ(0, object_inspect(self->session, l, &inspect));
		EXPECT_EQ(then[i], inspect.out_generation);
		ASSERT_EQ(0, heap_stats(self->session, &stats));
		for (g = 0; g < 3; g++)
			EXPECT_EQ(g == then[i], stats.out_gc[g].containers);
	}
	del(_metadata, self->session, l);
	EXPECT_EQ(1, gc_collect(&self->program));
}

/* What is asked for by generation is COLLECT here; that of None is that of 2. */
TEST_F(gc, get_objects_arguments)
{
	static const __u32 wrong[] = { 3, 1000, -1000, ~0U };
	size_t i;

	del(_metadata, self->session, new_self_cycle(_metadata, self->session, 0));
	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		EXPECT_EQ(-EINVAL, collect(self->session, wrong[i]));
	EXPECT_EQ(0, gc_collections(self->session));
	EXPECT_EQ(1, collect(self->session, 2));
}

/* --- Looking at objects --------------------------------------------------- */

TEST_F(gc, get_referents)
{
	__u64 leaf[3], edges[4] = { ~0ULL, ~0ULL, ~0ULL, ~0ULL }, tuple;
	struct pyobjmem_inspect inspect;
	__u64 zeros[3];
	int i;

	for (i = 0; i < 3; i++)
		leaf[i] = new_object(_metadata, self->session, 0, 0);
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, leaf, 3, &tuple));
	ASSERT_EQ(0, object_edges(self->session, tuple, edges, 4, &inspect));
	EXPECT_EQ(3, inspect.out_slots);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(leaf[i], edges[i]);

	for (i = 0; i < 3; i++)
		zeros[i] = leaf[0];
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, zeros, 3, &tuple));
	ASSERT_EQ(0, object_edges(self->session, tuple, edges, 4, &inspect));
	EXPECT_EQ(3, inspect.out_slots);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(leaf[0], edges[i]);

	ASSERT_EQ(0, object_edges(self->session, leaf[0], edges, 4, &inspect));
	EXPECT_EQ(0, inspect.out_slots);
	EXPECT_EQ(1 + 3, inspect.out_internal);
}

/* Of 3.13: an object that the collector does not know can be asked as well. */
TEST_F(gc, get_referents_on_capsule)
{
	__u64 capsule = new_object(_metadata, self->session, PYOBJMEM_CREATE_MUTABLE, 0);
	struct pyobjmem_inspect inspect;
	__u64 edges[1] = { 5 };

	ASSERT_EQ(0, object_edges(self->session, capsule, edges, 1, &inspect));
	EXPECT_EQ(0, inspect.out_slots);
	EXPECT_EQ(5, edges[0]);
}

/* What has no slots is never looked at by the collector. */
TEST_F(gc, is_tracked)
{
	__u64 leaf = new_object(_metadata, self->session, 0, 0);
	__u64 container, list = new_object(_metadata, self->session, 0, 2);
	struct pyobjmem_stats stats;

	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(1, stats.out_gc[0].containers);
	container = new_object(_metadata, self->session, 0, 1);
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(2, stats.out_gc[0].containers);

	link_to(_metadata, self->session, list, 0, leaf);
	link_to(_metadata, self->session, list, 1, container);
	del(_metadata, self->session, leaf);
	EXPECT_EQ(0, stats_candidates(self->session));
	del(_metadata, self->session, container);
	EXPECT_EQ(1, stats_candidates(self->session));
}

TEST_HARNESS_MAIN
