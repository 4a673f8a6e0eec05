/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Programs of CPython's tests of its collector, in terms of pyobjmem: what gc_*.c
 * share. How one is mapped onto the other:
 *
 *	list, tuple, dict, instance	a container, a slot for each reference
 *	int, str			an object without slots
 *	a name				a hold; a global of several programs: a root
 *	del name			PUT
 *	__del__				CREATE with FINALIZE, and what the owner does about
 *					the event; its PUT is the end of __del__
 *	weakref.ref(o, callback)	WEAK with a cookie, and what the owner does about
 *					the event
 *	ref()				UPGRADE; None is ESTALE
 *	gc.collect()			COLLECT, handle the events, COLLECT, as long as a
 *					finalizer was due: the kernel cannot run them
 *	its result			objects collected, of all these COLLECTs
 *	an interpreter			a process, or a session
 *
 * CPython's weak references are objects, that can be garbage. Here they are a
 * session's, and are never garbage: what is tested of those that are has no
 * counterpart unless it can be said of a session that ends.
 *
 * Include it behind kselftest_harness.h, pyobjmem_test.h and event.h.
 */
#ifndef GC_H
#define GC_H

/* An interpreter: its heap, and what it does with events. */
struct program {
	struct test_heap heap;
	int session;
	struct event_handler handler;
};

static inline int program_begin(struct program *program, __u32 heap_flags)
{
	int rc = test_heap_open(&program->heap, heap_flags);

	program->session = program->heap.session;
	program->handler = (struct event_handler){};
	return rc;
}

/* gc.collect(g): what COLLECT returns, or a negative errno. */
static inline __s64 collect(int session, __u32 generation)
{
	struct pyobjmem_collect command;
	int rc = heap_collect(session, generation, &command);

	return rc ? rc : (__s64)command.out_collected;
}

/* gc.collect(): what CPython's would return, or a negative errno. */
static inline __s64 gc_collect_with(int session, struct event_handler *handler)
{
	unsigned int before;
	__s64 sum = 0, rc;

	do {
		before = handler->finalized;
		rc = collect(session, 2);
		if (rc < 0)
			return rc;
		sum += rc;
		rc = events_handle(session, handler);
		if (rc < 0)
			return rc;
	} while (handler->finalized != before);
	return sum;
}

static inline __s64 gc_collect(struct program *program)
{
	return gc_collect_with(program->session, &program->handler);
}

static inline __u64 new_object(struct __test_metadata *_metadata, int session, __u32 flags,
			       __u32 slots)
{
	__u64 handle = PYOBJMEM_NONE;

	ASSERT_EQ(0, object_create(session, flags, NULL, 8, NULL, slots, &handle));
	return handle;
}

/* An instance of a class with __del__ */
static inline __u64 new_finalized(struct __test_metadata *_metadata, int session, __u32 slots)
{
	return new_object(_metadata, session, PYOBJMEM_CREATE_FINALIZE, slots);
}

static inline void link_to(struct __test_metadata *_metadata, int session, __u64 from,
			   __u32 slot, __u64 to)
{
	ASSERT_EQ(0, ref_set(session, from, slot, to, NULL));
}

static inline void del(struct __test_metadata *_metadata, int session, __u64 handle)
{
	ASSERT_EQ(0, object_put(session, handle));
}

/* An object that refers to itself: the only reference there will be, but for a name. */
static inline __u64 new_self_cycle(struct __test_metadata *_metadata, int session, __u32 flags)
{
	__u64 handle = new_object(_metadata, session, flags, 1);

	link_to(_metadata, session, handle, 0, handle);
	return handle;
}

/* What calling a weak reference gives: an errno if that is None. */
static inline int weak_call(int session, __u64 handle)
{
	int rc = weak_upgrade(session, handle);

	return rc ?: object_put(session, handle);
}

/* What a slot names, or ~0. */
static inline __u64 slot_value(int session, __u64 handle, __u32 slot)
{
	struct pyobjmem_inspect inspect;
	__u64 edges[16];

	if (object_edges(session, handle, edges, ARRAY_SIZE(edges), &inspect) ||
	    slot >= ARRAY_SIZE(edges) || slot >= inspect.out_slots)
		return ~0ULL;
	return edges[slot];
}

/* --- Graphs --------------------------------------------------------------- */

#define GRAPH_NODES	16

struct graph {
	__u64 node[GRAPH_NODES];
	unsigned int nodes;
};

/* Nodes with the edges of @text, "0>1 1>0", in their order; each node has a name. */
static inline void graph_make(struct __test_metadata *_metadata, int session, const char *text,
			      struct graph *graph)
{
	__u32 slots[GRAPH_NODES] = {}, used[GRAPH_NODES] = {};
	unsigned int from, to, i;
	const char *place;
	int length;

	graph->nodes = 0;
	for (place = text; sscanf(place, " %u>%u%n", &from, &to, &length) == 2; place += length) {
		ASSERT_LT(from, GRAPH_NODES);
		ASSERT_LT(to, GRAPH_NODES);
		slots[from]++;
		graph->nodes = from >= graph->nodes ? from + 1 : graph->nodes;
		graph->nodes = to >= graph->nodes ? to + 1 : graph->nodes;
	}
	for (i = 0; i < graph->nodes; i++)
		graph->node[i] = new_object(_metadata, session, 0, slots[i]);
	for (place = text; sscanf(place, " %u>%u%n", &from, &to, &length) == 2; place += length)
		link_to(_metadata, session, graph->node[from], used[from]++, graph->node[to]);
}

static inline void graph_del(struct __test_metadata *_metadata, int session,
			     const struct graph *graph)
{
	unsigned int i;

	for (i = 0; i < graph->nodes; i++)
		del(_metadata, session, graph->node[i]);
}

/* --- Collections by themselves -------------------------------------------- */

/* gc.enable() with gc.set_threshold(@all, @all, @all) */
static inline int gc_enable(int session, __u32 all)
{
	struct pyobjmem_heap_configure command = {
		.flags = PYOBJMEM_CONFIGURE_THRESHOLDS | PYOBJMEM_CONFIGURE_COLLECT,
		.thresholds = { all, all, all },
		.collect = 1,
	};

	return heap_configure(session, &command);
}

/* Collections of all generations so far, or ~0. */
static inline __u64 gc_collections(int session)
{
	struct pyobjmem_stats stats;

	if (heap_stats(session, &stats))
		return ~0ULL;
	return stats.out_gc[0].collections + stats.out_gc[1].collections +
	       stats.out_gc[2].collections;
}

#endif /* GC_H */
