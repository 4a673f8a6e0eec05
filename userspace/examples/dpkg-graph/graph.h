/* SPDX-License-Identifier: MIT */
/*
 * dpkg-graph: the packages of a Debian system, and what depends on what, as
 * objects that several processes share.
 *
 *	main.c		the story: builds, publishes, kills, drops, collects, checks
 *	parse.c		a list of packages -> packages
 *	graph.c		packages -> edges, and what is to be expected of them
 *	heap.c		edges -> objects, and what the kernel says of them
 *	worker.c	the processes that walk the objects
 *	map.c		what debugfs shows
 *	show.c		how it is shown to a person
 */
#ifndef GRAPH_H
#define GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#include <pyobjmem.h>

#define NOBODY			UINT32_MAX

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#define PRINTF(text, first)	__attribute__((format(printf, text, first)))

/* --- parse.c -------------------------------------------------------------- */

/* A part of the list, not ended by a zero byte. */
struct text {
	const char *start;
	size_t length;
};

/**
 * struct package - one package
 * @name: its name
 * @version: its version
 * @architecture: what it is built for, or "all"
 * @pre_depends: the field Pre-Depends, as it is in the list
 * @depends: the field Depends
 * @provides: the field Provides
 * @size: the field Installed-Size, in KiB
 */
struct package {
	struct text name;
	struct text version;
	struct text architecture;
	struct text pre_depends;
	struct text depends;
	struct text provides;
	uint32_t size;
};

/**
 * struct list - a list of packages
 * @text: the file
 * @length: its length
 * @mapped: whether it is mapped, not read
 * @packages: the packages, in the order of the file
 * @count: number of packages
 * @stanzas: number of stanzas in the file
 */
struct list {
	const char *text;
	size_t length;
	bool mapped;
	struct package *packages;
	uint32_t count;
	uint32_t stanzas;
};

void list_read(struct list *list, const char *path);
void list_free(struct list *list);
bool text_equal(struct text a, struct text b);
uint64_t text_hash(struct text text);
struct text text_of(const char *string);

/* --- graph.c -------------------------------------------------------------- */

/**
 * struct graph - what depends on what
 * @list: the packages
 * @count: number of packages
 * @first: edges of package i are to[first[i]] to to[first[i + 1] - 1]
 * @to: packages depended upon
 * @into: how many edges lead to each package
 * @relations: dependencies in the list
 * @virtual: how many of them were resolved by Provides
 * @unresolved: how many of them name nothing in the list
 */
struct graph {
	const struct list *list;
	uint32_t count;
	uint32_t *first;
	uint32_t *to;
	uint32_t *into;
	uint32_t relations;
	uint32_t virtual;
	uint32_t unresolved;
};

/**
 * struct closure - a package and all that it needs
 * @packages: how many, itself included
 * @size: their installed size in KiB
 */
struct closure {
	uint64_t packages;
	uint64_t size;
};

/**
 * struct cycles - packages that need one another
 * @cycle: the cycle that each package is in, NOBODY if in none
 * @count: number of cycles
 * @packages: packages in cycles
 */
struct cycles {
	uint32_t *cycle;
	uint32_t count;
	uint32_t packages;
};

void graph_build(struct graph *graph, const struct list *list);
void graph_free(struct graph *graph);
void graph_closure(const struct graph *graph, uint32_t package, struct closure *closure);
uint32_t graph_freed_by_counts(const struct graph *graph);
void graph_cycles(const struct graph *graph, struct cycles *cycles);
uint32_t graph_find(const struct graph *graph, const char *name);
uint32_t graph_choose(const struct graph *graph);

static inline uint32_t graph_slots(const struct graph *graph, uint32_t package)
{
	return graph->first[package + 1] - graph->first[package];
}

/* --- heap.c --------------------------------------------------------------- */

/* The root that names the index, an object with a slot for each package. */
#define ROOT_INDEX	0

/* Type tags */
#define TYPE_PACKAGE	1
#define TYPE_INDEX	2
#define TYPE_SCRATCH	3

/**
 * struct payload - how the payload of a package begins
 * @size: installed size in KiB
 *
 * The name and the version follow, each ended by a zero byte.
 */
struct payload {
	uint32_t size;
};

/**
 * struct heap - the objects, as this process knows them
 * @session: the session
 * @batcher: for it
 * @fd: descriptor through which others join
 * @index: the index, if held
 * @handles: the packages, if held
 * @count: number of packages
 */
struct heap {
	struct pyobjmem *session;
	struct pyobjmem_batcher *batcher;
	int fd;
	uint64_t index;
	uint64_t *handles;
	uint32_t count;
};

void heap_open(struct heap *heap, int fd);
void heap_close(struct heap *heap);
void heap_build(struct heap *heap, const struct graph *graph);
void heap_hold(struct heap *heap);
void heap_release(struct heap *heap);
void heap_stats(struct heap *heap, struct pyobjmem_stats *stats);
void heap_inspect(struct heap *heap, uint64_t handle, struct pyobjmem_inspect *inspect);

/**
 * struct census - what INSPECT says of all objects of the graph
 * @external: sum of the sessions and roots that refer to them
 * @internal: sum of the slots that name them
 * @strange: objects of which a figure is not what the list says
 * @first: the first of them, or NOBODY
 */
struct census {
	uint64_t external;
	uint64_t internal;
	uint32_t strange;
	uint32_t first;
};

void heap_census(struct heap *heap, const struct graph *graph, uint32_t sessions,
		 uint64_t scratch, struct census *census);

/* --- worker.c ------------------------------------------------------------- */

/* The worker that is killed holds at least so many objects. */
#define HOLDS_MIN	4096

/**
 * struct report - what a worker found
 * @packages: packages found through the root
 * @closure: the package asked for, and all that it needs
 * @scratch: objects that the worker made for itself
 * @holds: objects that it holds, by STATS
 */
struct report {
	uint64_t packages;
	struct closure closure;
	uint64_t scratch;
	uint64_t holds;
};

/**
 * struct worker - a process that walks the graph
 * @pid: the process
 * @commands: to it: 'w' to walk again, 'q' to quit
 * @reports: from it
 */
struct worker {
	pid_t pid;
	int commands;
	int reports;
};

void worker_start(struct worker *worker, unsigned int number, int heap_fd, const char *package,
		  bool victim);
void worker_command(struct worker *worker, char command);
bool worker_report(struct worker *worker, struct report *report);
int worker_wait(struct worker *worker);

/* --- map.c ---------------------------------------------------------------- */

bool map_available(struct heap *heap);
void map_show(struct heap *heap);
bool map_holds(struct heap *heap, pid_t pid, uint64_t *holds);
void map_verify(struct heap *heap);

/* --- show.c --------------------------------------------------------------- */

PRINTF(1, 2) noreturn void die(const char *format, ...);
void must(int error, const char *what);
void *allocate(size_t count, size_t size);

PRINTF(1, 2) void show_step(const char *format, ...);
PRINTF(1, 2) void show(const char *format, ...);
PRINTF(1, 2) void show_failure(const char *format, ...);
void show_check(const char *what, uint64_t expected, uint64_t found);
PRINTF(1, 2) void show_good(const char *format, ...);
void show_progress(const char *what, uint64_t done, uint64_t total);
void show_no_progress(void);
unsigned int show_failures(void);

/* Numbers for people; valid until the eighth call after this one. */
const char *number(uint64_t value);
const char *kibibytes(uint64_t value);
uint64_t now_ns(void);

#endif /* GRAPH_H */
