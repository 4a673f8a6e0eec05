// SPDX-License-Identifier: MIT
/*
 * The graph in plain memory, and what can be said of it without the kernel.
 *
 * An edge for each relation in Pre-Depends and Depends that resolves: to the first
 * of its alternatives that there is, be it a package or something that a
 * package provides; then the first in the list that does. Of packages with the
 * same name and several architectures it is the one with the dependent package's
 * own, or else the one for all, or else the first; a relation that names an
 * architecture (but "any" and "native") wants that one. Versions in relations are
 * not looked at. Two relations that lead to the same package are one edge; one
 * that leads back to the package itself is an edge, too.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

/* --- Names ---------------------------------------------------------------- */

/**
 * struct name - what a relation can name
 * @text: the name; empty if the place is
 * @first: the first package called so, or NOBODY
 * @last: the last one
 * @provider: the first package that provides it, or NOBODY
 */
struct name {
	struct text text;
	uint32_t first;
	uint32_t last;
	uint32_t provider;
};

/**
 * struct names - all names, and the list that is being resolved
 * @names: open addressing
 * @mask: number of places - 1, a power of two - 1
 * @used: number of names
 * @next: the next package of the same name, or NOBODY
 * @list: the packages
 */
struct names {
	struct name *names;
	size_t mask;
	size_t used;
	uint32_t *next;
	const struct list *list;
};

static struct name *name_place(const struct names *names, struct text text)
{
	size_t i = (size_t)text_hash(text);

	for (;; i++) {
		struct name *name = &names->names[i & names->mask];

		if (!name->text.length || text_equal(name->text, text))
			return name;
	}
}

static void names_grow(struct names *names)
{
	struct names new = { .mask = names->mask * 2 + 1 };
	size_t i;

	new.names = allocate(new.mask + 1, sizeof(*new.names));
	for (i = 0; names->names && i <= names->mask; i++)
		if (names->names[i].text.length)
			*name_place(&new, names->names[i].text) = names->names[i];
	free(names->names);
	names->names = new.names;
	names->mask = new.mask;
}

static struct name *name_add(struct names *names, struct text text)
{
	struct name *name;

	if (names->used * 2 >= names->mask)
		names_grow(names);
	name = name_place(names, text);
	if (!name->text.length) {
		*name = (struct name){
			.text = text,
			.first = NOBODY,
			.last = NOBODY,
			.provider = NOBODY,
		};
		names->used++;
	}
	return name;
}

static void name_package(struct names *names, uint32_t package)
{
	struct name *name = name_add(names, names->list->packages[package].name);

	names->next[package] = NOBODY;
	if (name->first == NOBODY)
		name->first = package;
	else
		names->next[name->last] = package;
	name->last = package;
}

/* --- Relations ------------------------------------------------------------ */

/* Cut off the part of @text up to @separator; false if there is nothing left. */
static bool cut(struct text *text, char separator, struct text *part)
{
	const char *found;

	if (!text->length)
		return false;
	part->start = text->start;
	found = memchr(text->start, separator, text->length);
	part->length = found ? (size_t)(found - text->start) : text->length;
	text->start += part->length + (found ? 1 : 0);
	text->length -= part->length + (found ? 1 : 0);
	return true;
}

/* The name at the head of an alternative, and the architecture it asks for. */
static void parse_alternative(struct text text, struct text *name, struct text *architecture)
{
	size_t i = 0, start;

	while (i < text.length && isspace((unsigned char)text.start[i]))
		i++;
	start = i;
	while (i < text.length && !isspace((unsigned char)text.start[i]) &&
	       !memchr(":([<", text.start[i], 4))
		i++;
	*name = (struct text){ .start = text.start + start, .length = i - start };
	*architecture = (struct text){ .start = text.start + i };
	if (i == text.length || text.start[i] != ':')
		return;
	start = ++i;
	while (i < text.length && !isspace((unsigned char)text.start[i]) &&
	       !memchr("([<", text.start[i], 3))
		i++;
	*architecture = (struct text){ .start = text.start + start, .length = i - start };
	if (text_equal(*architecture, text_of("any")) ||
	    text_equal(*architecture, text_of("native")))
		architecture->length = 0;
}

/* Which of the packages with one name: the best is the first of the best kind. */
static uint32_t choose(const struct names *names, const struct name *name,
		       const struct package *dependent, struct text wanted)
{
	uint32_t i, all = NOBODY;

	for (i = name->first; i != NOBODY; i = names->next[i]) {
		struct text architecture = names->list->packages[i].architecture;

		if (text_equal(architecture,
			       wanted.length ? wanted : dependent->architecture))
			return i;
		if (all == NOBODY && text_equal(architecture, text_of("all")))
			all = i;
	}
	if (wanted.length || all != NOBODY)
		return all;
	return name->first;
}

/* Resolve "a | b | c". */
static uint32_t resolve(const struct names *names, struct text relation,
			const struct package *dependent, bool *virtual)
{
	struct text alternative, text, wanted;
	const struct name *name;
	uint32_t package;

	*virtual = false;
	while (cut(&relation, '|', &alternative)) {
		parse_alternative(alternative, &text, &wanted);
		if (!text.length)
			continue;
		name = name_place(names, text);
		if (!name->text.length)
			continue;
		package = choose(names, name, dependent, wanted);
		if (package != NOBODY)
			return package;
		if (name->provider != NOBODY && !wanted.length) {
			*virtual = true;
			return name->provider;
		}
	}
	return NOBODY;
}

static bool is_blank(struct text text)
{
	size_t i;

	for (i = 0; i < text.length; i++)
		if (!isspace((unsigned char)text.start[i]))
			return false;
	return true;
}

static void name_provided(struct names *names, uint32_t package)
{
	struct text provides = names->list->packages[package].provides;
	struct text part, text, architecture;
	struct name *name;

	while (cut(&provides, ',', &part)) {
		parse_alternative(part, &text, &architecture);
		if (!text.length)
			continue;
		name = name_add(names, text);
		if (name->provider == NOBODY)
			name->provider = package;
	}
}

/* --- Edges ---------------------------------------------------------------- */

/**
 * struct builder - a graph that is being built
 * @graph: the graph
 * @names: how to resolve
 * @edges: edges so far
 * @room: for how many there is room
 * @seen: the last package that got an edge to each package, + 1
 */
struct builder {
	struct graph *graph;
	struct names names;
	uint32_t edges;
	uint32_t room;
	uint32_t *seen;
};

static void add_edge(struct builder *builder, uint32_t from, uint32_t to)
{
	struct graph *graph = builder->graph;

	if (builder->seen[to] == from + 1)
		return;
	builder->seen[to] = from + 1;
	if (builder->edges == builder->room) {
		builder->room *= 2;
		graph->to = realloc(graph->to, builder->room * sizeof(*graph->to));
		if (!graph->to)
			die("no memory for %u edges", builder->room);
	}
	graph->to[builder->edges++] = to;
	graph->into[to]++;
}

static void add_relations(struct builder *builder, uint32_t package, struct text relations)
{
	struct graph *graph = builder->graph;
	struct text relation;
	bool virtual;
	uint32_t to;

	while (cut(&relations, ',', &relation)) {
		if (is_blank(relation))
			continue;
		to = resolve(&builder->names, relation, &graph->list->packages[package],
			     &virtual);
		graph->relations++;
		graph->virtual += virtual;
		if (to == NOBODY)
			graph->unresolved++;
		else
			add_edge(builder, package, to);
	}
}

void graph_build(struct graph *graph, const struct list *list)
{
	struct builder builder = {
		.graph = graph,
		.names = { .mask = 1023, .list = list },
		.room = 1024,
	};
	uint32_t i;

	*graph = (struct graph){ .list = list, .count = list->count };
	graph->first = allocate(list->count + 1, sizeof(*graph->first));
	graph->into = allocate(list->count, sizeof(*graph->into));
	graph->to = allocate(builder.room, sizeof(*graph->to));
	builder.seen = allocate(list->count, sizeof(*builder.seen));
	builder.names.next = allocate(list->count, sizeof(*builder.names.next));
	names_grow(&builder.names);
	for (i = 0; i < list->count; i++) {
		name_package(&builder.names, i);
		name_provided(&builder.names, i);
	}
	for (i = 0; i < list->count; i++) {
		graph->first[i] = builder.edges;
		add_relations(&builder, i, list->packages[i].pre_depends);
		add_relations(&builder, i, list->packages[i].depends);
		show_progress("packages resolved", i, list->count);
	}
	graph->first[i] = builder.edges;
	free(builder.names.names);
	free(builder.names.next);
	free(builder.seen);
}

void graph_free(struct graph *graph)
{
	free(graph->first);
	free(graph->to);
	free(graph->into);
}

/* --- What is to be expected ----------------------------------------------- */

/* All that a package needs, breadth first. */
void graph_closure(const struct graph *graph, uint32_t package, struct closure *closure)
{
	uint32_t *queue = allocate(graph->count, sizeof(*queue));
	bool *seen = allocate(graph->count, sizeof(*seen));
	uint32_t head = 0, tail = 0, edge;

	*closure = (struct closure){ 0 };
	seen[package] = true;
	queue[tail++] = package;
	while (head < tail) {
		package = queue[head++];
		closure->size += graph->list->packages[package].size;
		for (edge = graph->first[package]; edge < graph->first[package + 1]; edge++) {
			if (seen[graph->to[edge]])
				continue;
			seen[graph->to[edge]] = true;
			queue[tail++] = graph->to[edge];
		}
	}
	closure->packages = tail;
	free(queue);
	free(seen);
}

/*
 * How many packages counting alone frees once nothing outside refers to any:
 * those that nothing refers to, then those that only these referred to, and so on.
 */
uint32_t graph_freed_by_counts(const struct graph *graph)
{
	uint32_t *into = allocate(graph->count, sizeof(*into));
	uint32_t *queue = allocate(graph->count, sizeof(*queue));
	uint32_t head = 0, tail = 0, i, edge;

	memcpy(into, graph->into, graph->count * sizeof(*into));
	for (i = 0; i < graph->count; i++)
		if (!into[i])
			queue[tail++] = i;
	while (head < tail) {
		i = queue[head++];
		for (edge = graph->first[i]; edge < graph->first[i + 1]; edge++)
			if (!--into[graph->to[edge]])
				queue[tail++] = graph->to[edge];
	}
	free(into);
	free(queue);
	return tail;
}

/**
 * struct search - Tarjan's search for strongly connected components
 * @graph: the graph
 * @cycles: what is found
 * @order: when a package was first seen, from 1; 0 if not yet
 * @low: the earliest package still on @stack that it leads to
 * @edge: its next edge to look at
 * @caller: from where it was reached
 * @stack: packages whose component is not known yet
 * @depth: how many
 * @time: packages seen
 */
struct search {
	const struct graph *graph;
	struct cycles *cycles;
	uint32_t *order;
	uint32_t *low;
	uint32_t *edge;
	uint32_t *caller;
	uint32_t *stack;
	uint32_t depth;
	uint32_t time;
};

static void enter(struct search *search, uint32_t package, uint32_t caller)
{
	search->order[package] = ++search->time;
	search->low[package] = search->time;
	search->edge[package] = search->graph->first[package];
	search->caller[package] = caller;
	search->stack[search->depth++] = package;
}

static bool needs_itself(const struct graph *graph, uint32_t package)
{
	uint32_t edge;

	for (edge = graph->first[package]; edge < graph->first[package + 1]; edge++)
		if (graph->to[edge] == package)
			return true;
	return false;
}

/* All edges of @package were looked at. If it leads a component, take that off. */
static void leave(struct search *search, uint32_t package)
{
	struct cycles *cycles = search->cycles;
	uint32_t caller = search->caller[package], member;
	bool cyclic;

	if (caller != NOBODY && search->low[package] < search->low[caller])
		search->low[caller] = search->low[package];
	if (search->low[package] != search->order[package])
		return;
	cyclic = search->stack[search->depth - 1] != package ||
		 needs_itself(search->graph, package);
	do {
		member = search->stack[--search->depth];
		search->low[member] = UINT32_MAX;
		if (cyclic) {
			cycles->cycle[member] = cycles->count;
			cycles->packages++;
		}
	} while (member != package);
	cycles->count += cyclic;
}

/* Without recursion: a chain of packages may be long. */
static void visit(struct search *search, uint32_t package)
{
	const struct graph *graph = search->graph;
	uint32_t to;

	enter(search, package, NOBODY);
	while (package != NOBODY) {
		if (search->edge[package] == graph->first[package + 1]) {
			leave(search, package);
			package = search->caller[package];
			continue;
		}
		to = graph->to[search->edge[package]++];
		if (!search->order[to]) {
			enter(search, to, package);
			package = to;
		} else if (search->low[to] != UINT32_MAX &&
			   search->order[to] < search->low[package]) {
			search->low[package] = search->order[to];
		}
	}
}

void graph_cycles(const struct graph *graph, struct cycles *cycles)
{
	struct search search = { .graph = graph, .cycles = cycles };
	uint32_t i;

	*cycles = (struct cycles){ 0 };
	cycles->cycle = allocate(graph->count, sizeof(*cycles->cycle));
	search.order = allocate(graph->count, sizeof(*search.order));
	search.low = allocate(graph->count, sizeof(*search.low));
	search.edge = allocate(graph->count, sizeof(*search.edge));
	search.caller = allocate(graph->count, sizeof(*search.caller));
	search.stack = allocate(graph->count, sizeof(*search.stack));
	for (i = 0; i < graph->count; i++)
		cycles->cycle[i] = NOBODY;
	for (i = 0; i < graph->count; i++)
		if (!search.order[i])
			visit(&search, i);
	free(search.order);
	free(search.low);
	free(search.edge);
	free(search.caller);
	free(search.stack);
}

uint32_t graph_find(const struct graph *graph, const char *name)
{
	struct text text = text_of(name);
	uint32_t i;

	for (i = 0; i < graph->count; i++)
		if (text_equal(graph->list->packages[i].name, text))
			return i;
	return NOBODY;
}

/* A package that needs many: the best of those with the most edges. */
uint32_t graph_choose(const struct graph *graph)
{
	enum { CANDIDATES = 32 };
	uint32_t candidates[CANDIDATES], count = 0, best = 0, i, k;
	struct closure closure;
	uint64_t most = 0;

	for (i = 0; i < graph->count; i++) {
		for (k = count; k && graph_slots(graph, candidates[k - 1]) <
				     graph_slots(graph, i); k--)
			if (k < CANDIDATES)
				candidates[k] = candidates[k - 1];
		if (k < CANDIDATES)
			candidates[k] = i;
		if (k < CANDIDATES && count < CANDIDATES)
			count++;
	}
	for (k = 0; k < count; k++) {
		graph_closure(graph, candidates[k], &closure);
		if (closure.packages > most) {
			most = closure.packages;
			best = candidates[k];
		}
	}
	return best;
}
