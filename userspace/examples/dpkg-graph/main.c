// SPDX-License-Identifier: MIT
/*
 * dpkg-graph [--package NAME] [LIST]: the main job, step by step. Every figure that
 * the kernel gives is compared with what plain arithmetic on the list says.
 *
 * Exit status: 0 if all figures are what they must be, 1 if not, 2 if something
 * failed altogether.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "graph.h"

#define LIST		"/var/lib/dpkg/status"
#define WORKERS		4U
#define VICTIM		2U		/* its index: the third of them */
#define SHOWN_CYCLES	5U
#define SHOWN_COLUMNS	72U

/* What the death of a process needs: a second, and more where it is emulated. */
#define DEATH_NS	5000000000u

/**
 * struct story - all there is to tell
 * @list: the packages
 * @graph: the graph in plain memory
 * @cycles: the cycles in it
 * @freed: packages that counting alone frees
 * @package: the package whose closure is asked for
 * @name: its name
 * @closure: its closure, as it must be
 * @heap: the objects
 * @workers: the processes
 * @reports: what they reported first
 */
struct story {
	struct list list;
	struct graph graph;
	struct cycles cycles;
	uint32_t freed;
	uint32_t package;
	char *name;
	struct closure closure;
	struct heap heap;
	struct worker workers[WORKERS];
	struct report reports[WORKERS];
};

static double seconds_since(uint64_t start)
{
	return (double)(now_ns() - start) / 1e9;
}

static uint32_t edge_count(const struct story *story)
{
	return story->graph.first[story->graph.count];
}

/* Packages that only the collector can free */
static uint32_t left_count(const struct story *story)
{
	return story->graph.count - story->freed;
}

/* --- 1. The list ---------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	if (x[0] != y[0])
		return x[0] < y[0] ? 1 : -1;
	return x[1] < y[1] ? -1 : 1;
}

/* As many names as fit into a line */
static void show_cycle(const struct story *story, uint32_t cycle, uint32_t size)
{
	char line[SHOWN_COLUMNS] = "";
	int used = 0, more;
	uint32_t i, n = 0;

	for (i = 0; i < story->graph.count; i++) {
		struct text name = story->list.packages[i].name;

		if (story->cycles.cycle[i] != cycle)
			continue;
		more = snprintf(line + used, sizeof(line) - (size_t)used, "%s%.*s",
				n ? ", " : "", (int)name.length, name.start);
		if (more < 0 || (size_t)(used + more) >= sizeof(line)) {
			line[used] = '\0';
			break;
		}
		used += more;
		n++;
	}
	show("  %4u: %s%s", size, line, size > n ? ", ..." : "");
}

/* The largest cycles */
static void show_cycles(const struct story *story)
{
	const struct cycles *cycles = &story->cycles;
	uint32_t (*sizes)[2] = allocate(cycles->count, sizeof(*sizes));
	uint32_t i;

	for (i = 0; i < cycles->count; i++)
		sizes[i][1] = i;
	for (i = 0; i < story->graph.count; i++)
		if (cycles->cycle[i] != NOBODY)
			sizes[cycles->cycle[i]][0]++;
	qsort(sizes, cycles->count, sizeof(*sizes), by_size);
	for (i = 0; i < cycles->count && i < SHOWN_CYCLES; i++)
		show_cycle(story, sizes[i][1], sizes[i][0]);
	if (cycles->count > SHOWN_CYCLES)
		show("  and %s more", number(cycles->count - SHOWN_CYCLES));
	free(sizes);
}

static void choose_package(struct story *story, const char *name)
{
	struct text text;

	story->package = name ? graph_find(&story->graph, name) : graph_choose(&story->graph);
	if (story->package == NOBODY)
		die("%s: no such package in the list", name);
	text = story->list.packages[story->package].name;
	story->name = strndup(text.start, text.length);
	if (!story->name)
		die("no memory");
	graph_closure(&story->graph, story->package, &story->closure);
}

static void read_list(struct story *story, const char *path, const char *package)
{
	uint64_t start = now_ns();

	show_step("The list: %s", path);
	list_read(&story->list, path);
	if (!story->list.count)
		die("%s: no packages", path);
	if (story->list.count > PYOBJMEM_SLOTS_MAX)
		die("%s: %s packages are too many for one index", path,
		    number(story->list.count));
	graph_build(&story->graph, &story->list);
	graph_cycles(&story->graph, &story->cycles);
	story->freed = graph_freed_by_counts(&story->graph);
	choose_package(story, package);

	show("%s packages of %s stanzas, %s dependencies: %s edges (%.2f s)",
	     number(story->list.count), number(story->list.stanzas),
	     number(story->graph.relations), number(edge_count(story)), seconds_since(start));
	show("%s dependencies were resolved by Provides, %s name nothing in the list",
	     number(story->graph.virtual), number(story->graph.unresolved));
	show("%s needs %s packages, itself included: %s installed", story->name,
	     number(story->closure.packages), kibibytes(story->closure.size));
	show("%s packages need one another; cycles: %s", number(story->cycles.packages),
	     number(story->cycles.count));
	show_cycles(story);
	show("Once nothing refers to any of them from outside, counting frees %s, and %s",
	     number(story->freed), number(left_count(story)));
	show("are left that are in cycles or that only cycles keep.");
}

/* --- 2. The objects ------------------------------------------------------- */

/* So that figures do not depend on when the heap collects by itself. */
static void collect_by_hand(struct heap *heap)
{
	struct pyobjmem_heap_configure configure = {
		.size = sizeof(configure),
		.flags = PYOBJMEM_CONFIGURE_COLLECT,
	};

	must(pyobjmem_configure(heap->session, &configure), "configure");
}

static void check_census(struct story *story, uint32_t sessions, uint64_t scratch)
{
	struct census census;
	uint64_t objects = (uint64_t)story->graph.count + 1;

	heap_census(&story->heap, &story->graph, sessions, scratch, &census);
	show_check("references from outside: sessions, and the root",
		   objects * sessions + 1, census.external);
	show_check("references between objects",
		   (uint64_t)edge_count(story) + story->graph.count + scratch, census.internal);
	show_check("packages with another count, size or number of slots", 0, census.strange);
	if (census.strange)
		show("the first of them is %.*s",
		     (int)story->list.packages[census.first].name.length,
		     story->list.packages[census.first].name.start);
}

static void build(struct story *story)
{
	struct pyobjmem_stats stats;
	uint64_t start;

	show_step("The objects: one a package, a slot for each edge, and an index");
	heap_open(&story->heap, -1);
	collect_by_hand(&story->heap);
	start = now_ns();
	heap_build(&story->heap, &story->graph);
	show("built in heap %s, the index is published under root %d (%.2f s)",
	     number(pyobjmem_heap(story->heap.session)), ROOT_INDEX, seconds_since(start));

	heap_stats(&story->heap, &stats);
	show_check("objects", (uint64_t)story->graph.count + 1, stats.out_objects);
	show_check("objects that this process holds", (uint64_t)story->graph.count + 1,
		   stats.out_holds);
	check_census(story, 1, 0);

	heap_release(&story->heap);
	heap_stats(&story->heap, &stats);
	show_check("objects that this process holds after it put them", 0, stats.out_holds);
	show_check("objects: the root keeps them", (uint64_t)story->graph.count + 1,
		   stats.out_objects);
	map_verify(&story->heap);
	show("bytes of objects %s, bytes taken from the system %s",
	     number(stats.out_used_bytes), number(stats.out_page_bytes));
	map_show(&story->heap);
}

/* --- 3. The workers ------------------------------------------------------- */

static void check_report(const struct story *story, unsigned int worker,
			 const struct report *report)
{
	uint64_t holds = story->graph.count + 1 + report->scratch;

	if (report->packages == story->graph.count &&
	    report->closure.packages == story->closure.packages &&
	    report->closure.size == story->closure.size && report->holds == holds) {
		show_good("worker %u found %s packages: %s needs %s of them, %s", worker,
			  number(report->packages), story->name,
			  number(report->closure.packages), kibibytes(report->closure.size));
		return;
	}
	show_failure("worker %u:", worker);
	show_check("packages found through the root", story->graph.count, report->packages);
	show_check("packages that are needed", story->closure.packages,
		   report->closure.packages);
	show_check("their installed size in KiB", story->closure.size, report->closure.size);
	show_check("objects that it holds", holds, report->holds);
}

static void start_workers(struct story *story)
{
	unsigned int i;

	show_step("Four processes walk from the root, each with a session of its own");
	for (i = 0; i < WORKERS; i++)
		worker_start(&story->workers[i], i + 1, story->heap.fd, story->name,
			     i == VICTIM);
	for (i = 0; i < WORKERS; i++) {
		if (!worker_report(&story->workers[i], &story->reports[i]))
			die("worker %u ended before it reported", i + 1);
		check_report(story, i + 1, &story->reports[i]);
	}
	if (story->reports[VICTIM].scratch)
		show("Worker %u made %s objects of its own besides.", VICTIM + 1,
		     number(story->reports[VICTIM].scratch));
	show("Each holds all it found; worker %u goes on taking and putting packages.",
	     VICTIM + 1);
}

/* --- 4. A death ----------------------------------------------------------- */

/* Wait until the dead session is gone and so are the objects that only it had. */
static bool wait_for_death(struct story *story, uint64_t sessions, uint64_t objects)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint64_t start = now_ns();
	struct pyobjmem_inspect inspect;
	struct pyobjmem_stats stats;

	do {
		heap_stats(&story->heap, &stats);
		heap_inspect(&story->heap, story->heap.index, &inspect);
		if (stats.out_sessions == sessions && stats.out_objects == objects &&
		    inspect.out_external == sessions + 1)
			return true;
		nanosleep(&pause, NULL);
	} while (now_ns() - start < DEATH_NS);
	return false;
}

/* What the kernel's list says of a session, and what its process said. */
static void check_session(struct story *story, const char *name, pid_t pid, uint64_t expected)
{
	uint64_t holds;

	if (!map_holds(&story->heap, pid, &holds))
		show_failure("%s, process %d, is not among the sessions", name, pid);
	else if (holds != expected)
		show_failure("%s, process %d, holds %s objects, but should hold %s", name, pid,
			     number(holds), number(expected));
	else
		show_good("%-12s process %-7d holds %10s objects", name, pid, number(holds));
}

/* The sessions, with the victim or without. */
static void check_sessions(struct story *story, bool victim)
{
	uint64_t holds;
	char name[16];
	unsigned int i;

	if (!map_available(&story->heap))
		return;
	check_session(story, "this one", getpid(), (uint64_t)story->graph.count + 1);
	for (i = 0; i < WORKERS; i++) {
		snprintf(name, sizeof(name), "worker %u", i + 1);
		if (i != VICTIM || victim)
			check_session(story, name, story->workers[i].pid,
				      story->reports[i].holds);
		else if (map_holds(&story->heap, story->workers[i].pid, &holds))
			show_failure("%s is dead and still has a session", name);
		else
			show_good("%-12s has no session any more", name);
	}
}

static void kill_victim(struct story *story)
{
	struct worker *victim = &story->workers[VICTIM];
	uint64_t start;
	int status;

	start = now_ns();
	if (kill(victim->pid, SIGKILL))
		die("kill: %s", strerror(errno));
	status = worker_wait(victim);
	show_check("signal that ended it", SIGKILL, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	if (wait_for_death(story, WORKERS, (uint64_t)story->graph.count + 1))
		show("What it held was gone %.3f s after the signal was sent.",
		     seconds_since(start));
	else
		show_failure("some of what it held is still there after %.1f s",
			     seconds_since(start));
}

static void kill_one(struct story *story)
{
	const struct report *victim = &story->reports[VICTIM];
	uint64_t objects = (uint64_t)story->graph.count + 1;
	struct pyobjmem_stats before, after;

	show_step("Worker %u is busy, holds %s objects, and gets SIGKILL", VICTIM + 1,
		  number(victim->holds));
	heap_hold(&story->heap);
	heap_stats(&story->heap, &before);
	show_check("sessions: four workers and this process", WORKERS + 1, before.out_sessions);
	show_check("objects", objects + victim->scratch, before.out_objects);
	check_census(story, WORKERS + 1, victim->scratch);
	check_sessions(story, true);

	kill_victim(story);

	heap_stats(&story->heap, &after);
	show_check("sessions", WORKERS, after.out_sessions);
	show_check("objects: those that only it held went with it", objects, after.out_objects);
	show_check("objects freed by its death", victim->scratch,
		   after.out_freed_counted - before.out_freed_counted);
	check_census(story, WORKERS, 0);
	check_sessions(story, false);
	map_verify(&story->heap);
	show("So %s holds are gone, one of each of the %s objects of the graph%s",
	     number(victim->holds), number(objects), victim->scratch ? "," : ".");
	if (victim->scratch)
		show("and one of each of the %s that only it had.", number(victim->scratch));
	heap_release(&story->heap);
}

static bool wait_for_sessions(struct story *story, uint64_t sessions)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint64_t start = now_ns();
	struct pyobjmem_stats stats;

	do {
		heap_stats(&story->heap, &stats);
		if (stats.out_sessions == sessions)
			return true;
		nanosleep(&pause, NULL);
	} while (now_ns() - start < DEATH_NS);
	return false;
}

static void go_on(struct story *story)
{
	struct report report;
	unsigned int i;
	int status;

	show_step("The other three go on: they drop everything and walk again");
	for (i = 0; i < WORKERS; i++)
		if (i != VICTIM)
			worker_command(&story->workers[i], 'w');
	for (i = 0; i < WORKERS; i++) {
		if (i == VICTIM)
			continue;
		if (!worker_report(&story->workers[i], &report))
			die("worker %u ended before it reported", i + 1);
		check_report(story, i + 1, &report);
	}
	for (i = 0; i < WORKERS; i++) {
		if (i == VICTIM)
			continue;
		worker_command(&story->workers[i], 'q');
		status = worker_wait(&story->workers[i]);
		if (status)
			show_failure("worker %u ended with status %#x", i + 1,
				     (unsigned int)status);
	}
	if (!wait_for_sessions(story, 1))
		show_failure("sessions are left although their processes ended");
}

/* --- 5. and 6. The end ---------------------------------------------------- */

static void drop_root(struct story *story)
{
	struct pyobjmem_stats before, after;
	uint64_t start;

	show_step("The root is set to nothing: the counts do what they can");
	heap_stats(&story->heap, &before);
	show_check("objects", (uint64_t)story->graph.count + 1, before.out_objects);
	show_check("sessions: this process", 1, before.out_sessions);
	show_check("objects that it holds", 0, before.out_holds);
	start = now_ns();
	must(pyobjmem_set_root(story->heap.session, ROOT_INDEX, PYOBJMEM_NONE, NULL),
	     "set_root");
	show("done (%.3f s)", seconds_since(start));
	heap_stats(&story->heap, &after);
	show_check("objects freed by their counts: packages, and the index",
		   (uint64_t)story->freed + 1,
		   after.out_freed_counted - before.out_freed_counted);
	show_check("objects left in cycles, or kept by cycles", left_count(story),
		   after.out_objects);
	map_verify(&story->heap);
	map_show(&story->heap);
}

static void collect(struct story *story)
{
	struct pyobjmem_collect result = { .size = sizeof(result) };
	struct pyobjmem_stats before, after;

	show_step("The collector frees the cycles");
	heap_stats(&story->heap, &before);
	must(pyobjmem_collect(story->heap.session, PYOBJMEM_GENERATIONS - 1, &result),
	     "collect");
	heap_stats(&story->heap, &after);
	show_check("objects collected", left_count(story), result.out_collected);
	show_check("objects that it looked at and that live", 0, result.out_survivors);
	show_check("objects freed by the collector, by STATS", left_count(story),
		   after.out_freed_collected - before.out_freed_collected);
	show_check("objects", 0, after.out_objects);
	show_check("arenas", 0, after.out_arenas);
	show_check("bytes taken from the system", 0, after.out_page_bytes);
	show_check("objects created less objects freed", 0,
		   after.out_created - after.out_freed_counted - after.out_freed_collected);
	show("%s objects visited in %s slices, %.3f ms, the longest slice %.3f ms",
	     number(result.out_visited), number(result.out_slices),
	     (double)result.out_duration_ns / 1e6, (double)result.out_longest_ns / 1e6);
	map_verify(&story->heap);
	map_show(&story->heap);
}

/* -------------------------------------------------------------------------- */

noreturn static void print_usage(FILE *to, int status)
{
	fprintf(to, "usage: dpkg-graph [--package NAME] [LIST]\n"
		    "\n"
		    "  LIST             list of Debian packages: dpkg's status file or a\n"
		    "                   Packages file, not compressed (" LIST ")\n"
		    "  --package NAME   package whose dependencies the workers find (one\n"
		    "                   with many)\n");
	exit(status);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "package", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static struct story story;
	const char *package = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "p:h", options, NULL)) != -1) {
		if (option == 'p')
			package = optarg;
		else
			print_usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : 2);
	}
	if (argc - optind > 1)
		print_usage(stderr, 2);
	/* A worker that died shows when it is talked to. */
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);

	read_list(&story, optind < argc ? argv[optind] : LIST, package);
	build(&story);
	start_workers(&story);
	kill_one(&story);
	go_on(&story);
	drop_root(&story);
	collect(&story);
	heap_close(&story.heap);
	graph_free(&story.graph);
	list_free(&story.list);
	free(story.cycles.cycle);
	free(story.name);

	if (show_failures()) {
		printf("\n%u figures are not what they must be.\n", show_failures());
		return 1;
	}
	printf("\nEvery figure is what it must be.\n");
	return 0;
}
