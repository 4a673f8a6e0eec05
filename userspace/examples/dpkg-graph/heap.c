// SPDX-License-Identifier: MIT
/*
 * The graph as objects: a package is an object whose payload is its size, name
 * and version and whose slots name what it needs; the index is an object with a
 * slot for each package; a root names the index.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph.h"

/* Open a session; make a heap if @fd is negative, else join that one. */
void heap_open(struct heap *heap, int fd)
{
	*heap = (struct heap){ .fd = fd };
	must(pyobjmem_open(&heap->session), "/dev/pyobjmem");
	if (fd < 0)
		must(pyobjmem_heap_create(heap->session, 0, 0, &heap->fd), "heap_create");
	else
		must(pyobjmem_heap_join(heap->session, fd), "heap_join");
	must(pyobjmem_batch_new(heap->session, 0, &heap->batcher), "batch_new");
}

void heap_close(struct heap *heap)
{
	pyobjmem_batch_free(heap->batcher);
	pyobjmem_close(heap->session);
	free(heap->handles);
}

static void flush(struct heap *heap, const char *what)
{
	must(pyobjmem_batch_flush(heap->batcher), what);
}

/* --- Building ------------------------------------------------------------- */

static void *append(void *to, struct text text)
{
	memcpy(to, text.start, text.length);
	((char *)to)[text.length] = '\0';
	return (char *)to + text.length + 1;
}

static size_t payload_bytes(const struct package *package)
{
	return sizeof(struct payload) + package->name.length + package->version.length + 2;
}

/* Queue the creation of a package, its slots empty. */
static void create_package(struct heap *heap, const struct graph *graph, uint32_t i, char *buffer)
{
	const struct package *package = &graph->list->packages[i];
	struct payload payload = { .size = package->size };
	struct pyobjmem_object object = {
		.payload = buffer,
		.payload_size = (uint32_t)payload_bytes(package),
		.slots = graph_slots(graph, i),
		.type = TYPE_PACKAGE,
	};

	memcpy(buffer, &payload, sizeof(payload));
	append(append(buffer + sizeof(payload), package->name), package->version);
	must(pyobjmem_batch_create(heap->batcher, &object, &heap->handles[i]), "create");
}

static void create_packages(struct heap *heap, const struct graph *graph)
{
	size_t longest = 0;
	char *buffer;
	uint32_t i;

	for (i = 0; i < graph->count; i++)
		if (payload_bytes(&graph->list->packages[i]) > longest)
			longest = payload_bytes(&graph->list->packages[i]);
	buffer = allocate(longest, 1);
	for (i = 0; i < graph->count; i++) {
		create_package(heap, graph, i, buffer);
		show_progress("objects created", i, graph->count);
	}
	flush(heap, "create");
	free(buffer);
}

static void set_edge(struct heap *heap, const struct graph *graph, uint32_t i, uint32_t slot)
{
	uint32_t to = graph->to[graph->first[i] + slot];

	must(pyobjmem_batch_set_ref(heap->batcher, heap->handles[i], slot, heap->handles[to],
				    NULL), "set_ref");
}

static void link_packages(struct heap *heap, const struct graph *graph)
{
	uint32_t i, slot, edges = graph->first[graph->count];

	for (i = 0; i < graph->count; i++) {
		for (slot = 0; slot < graph_slots(graph, i); slot++)
			set_edge(heap, graph, i, slot);
		show_progress("edges drawn", graph->first[i], edges);
	}
	flush(heap, "set_ref");
}

/* All packages, all edges, and the index under its root. Everything is held. */
void heap_build(struct heap *heap, const struct graph *graph)
{
	struct pyobjmem_object index = { .slots = graph->count, .type = TYPE_INDEX };

	heap->count = graph->count;
	heap->handles = allocate(graph->count, sizeof(*heap->handles));
	create_packages(heap, graph);
	link_packages(heap, graph);
	index.edges = heap->handles;
	must(pyobjmem_create(heap->session, &index, &heap->index), "create");
	must(pyobjmem_set_root(heap->session, ROOT_INDEX, heap->index, NULL), "set_root");
}

/* --- Holding -------------------------------------------------------------- */

/* Find the index and all packages through the root, and hold them. */
void heap_hold(struct heap *heap)
{
	struct pyobjmem_inspect inspect;
	uint32_t i;

	must(pyobjmem_get_root(heap->session, ROOT_INDEX, &heap->index), "get_root");
	if (heap->index == PYOBJMEM_NONE)
		die("the root names nothing");
	heap_inspect(heap, heap->index, &inspect);
	if (inspect.out_type != TYPE_INDEX)
		die("the root does not name the index");
	heap->count = inspect.out_slots;
	free(heap->handles);
	heap->handles = allocate(heap->count, sizeof(*heap->handles));
	for (i = 0; i < heap->count; i++)
		must(pyobjmem_batch_get_ref(heap->batcher, heap->index, i, &heap->handles[i]),
		     "get_ref");
	flush(heap, "get_ref");
}

/* Drop the holds of the index and of all packages. */
void heap_release(struct heap *heap)
{
	uint32_t i;

	for (i = 0; i < heap->count; i++) {
		must(pyobjmem_batch_put(heap->batcher, heap->handles[i]), "put");
		show_progress("holds dropped", i, heap->count);
	}
	must(pyobjmem_batch_put(heap->batcher, heap->index), "put");
	flush(heap, "put");
	heap->count = 0;
	heap->index = PYOBJMEM_NONE;
}

/* --- Looking -------------------------------------------------------------- */

void heap_stats(struct heap *heap, struct pyobjmem_stats *stats)
{
	*stats = (struct pyobjmem_stats){ .size = sizeof(*stats) };
	must(pyobjmem_stats(heap->session, stats), "stats");
}

void heap_inspect(struct heap *heap, uint64_t handle, struct pyobjmem_inspect *inspect)
{
	*inspect = (struct pyobjmem_inspect){ .size = sizeof(*inspect) };
	must(pyobjmem_inspect(heap->session, handle, NULL, 0, inspect), "inspect");
}

/*
 * Look at every object, all of which are held: @sessions hold each; the index, what
 * the list says, and its share of @scratch objects name it; and its slots and
 * payload are those of the list, in whose order the packages are in the index.
 */
void heap_census(struct heap *heap, const struct graph *graph, uint32_t sessions,
		 uint64_t scratch, struct census *census)
{
	uint64_t count = heap->count;
	struct pyobjmem_inspect inspect;
	uint32_t i;

	heap_inspect(heap, heap->index, &inspect);
	*census = (struct census){
		.external = inspect.out_external,
		.internal = inspect.out_internal,
		.first = NOBODY,
	};
	for (i = 0; i < heap->count; i++) {
		heap_inspect(heap, heap->handles[i], &inspect);
		census->external += inspect.out_external;
		census->internal += inspect.out_internal;
		show_progress("objects inspected", i, heap->count);
		if (inspect.out_external == sessions &&
		    inspect.out_internal == 1 + graph->into[i] +
					    scratch / count + (i < scratch % count) &&
		    inspect.out_slots == graph_slots(graph, i) &&
		    inspect.out_payload == payload_bytes(&graph->list->packages[i]))
			continue;
		if (!census->strange++)
			census->first = i;
	}
}
