// SPDX-License-Identifier: MIT
/*
 * A worker: a process with a session of its own that finds the packages through
 * the root, and all that one of them needs by walking from object to object. All
 * it knows of the graph comes from the heap.
 *
 * One of the workers is to be killed. It holds many objects, some of them its
 * own, and is busy all the time.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph.h"

/* Bytes of a payload that are read at first: longer ones are rare. */
#define READ_BYTES	256U
/* Operations whose results are gathered before they are looked at */
#define CHUNK		1024U

/**
 * struct walk - what a worker knows
 * @heap: the index and the packages, all held
 * @name: the package asked for
 * @package: its index, NOBODY if it was not found
 * @slots: slots of each package
 * @sizes: installed size of each package in KiB
 * @places: packages by handle: open addressing, index + 1 or 0
 * @mask: number of @places - 1, a power of two - 1
 */
struct walk {
	struct heap heap;
	const char *name;
	uint32_t package;
	uint32_t *slots;
	uint32_t *sizes;
	uint32_t *places;
	size_t mask;
};

/* --- Packages by handle --------------------------------------------------- */

static uint32_t *handle_place(const struct walk *walk, uint64_t handle)
{
	size_t i = (size_t)(handle * 0x9e3779b97f4a7c15u >> 32);

	for (;; i++) {
		uint32_t *place = &walk->places[i & walk->mask];

		if (!*place || walk->heap.handles[*place - 1] == handle)
			return place;
	}
}

static void index_handles(struct walk *walk)
{
	uint32_t i;

	walk->mask = 1;
	while (walk->mask < 2 * (size_t)walk->heap.count)
		walk->mask = walk->mask * 2 + 1;
	walk->places = allocate(walk->mask + 1, sizeof(*walk->places));
	for (i = 0; i < walk->heap.count; i++)
		*handle_place(walk, walk->heap.handles[i]) = i + 1;
}

/* --- Payloads ------------------------------------------------------------- */

/* What the payload of a package says; @length bytes of it are at @bytes. */
static void take_payload(struct walk *walk, uint32_t package, const char *bytes, size_t length)
{
	struct payload payload;

	if (length < sizeof(payload) + 2 || bytes[length - 1])
		die("package %u has a strange payload", package);
	memcpy(&payload, bytes, sizeof(payload));
	walk->sizes[package] = payload.size;
	if (walk->package == NOBODY && !strcmp(bytes + sizeof(payload), walk->name))
		walk->package = package;
}

/* A payload that was not read as a whole. */
static void read_long(struct walk *walk, uint32_t package, uint32_t length)
{
	char *bytes = allocate(length, 1);
	ssize_t n = pyobjmem_read(walk->heap.session, walk->heap.handles[package], bytes,
				  length, 0);

	must((int)n, "read");
	take_payload(walk, package, bytes, (size_t)n);
	free(bytes);
}

/* Read all payloads, a batch at a time; learn the number of slots thereby. */
static void read_packages(struct walk *walk)
{
	struct pyobjmem_extent *extents = allocate(CHUNK, sizeof(*extents));
	char *buffer = allocate(CHUNK, READ_BYTES);
	uint32_t first, i, n;

	walk->slots = allocate(walk->heap.count, sizeof(*walk->slots));
	walk->sizes = allocate(walk->heap.count, sizeof(*walk->sizes));
	for (first = 0; first < walk->heap.count; first += n) {
		n = walk->heap.count - first < CHUNK ? walk->heap.count - first : CHUNK;
		for (i = 0; i < n; i++)
			must(pyobjmem_batch_read(walk->heap.batcher,
						 walk->heap.handles[first + i],
						 buffer + i * READ_BYTES, READ_BYTES, 0,
						 &extents[i]), "read");
		must(pyobjmem_batch_flush(walk->heap.batcher), "read");
		for (i = 0; i < n; i++) {
			walk->slots[first + i] = extents[i].slots;
			if (extents[i].length < extents[i].payload)
				read_long(walk, first + i, extents[i].payload);
			else
				take_payload(walk, first + i, buffer + i * READ_BYTES,
					     (size_t)extents[i].length);
		}
	}
	free(extents);
	free(buffer);
}

/* --- Walking -------------------------------------------------------------- */

/**
 * struct frontier - packages found, and those of them whose edges are to be walked
 * @queue: packages in the order in which they were found
 * @head: the next one to walk from
 * @tail: number of packages found
 * @seen: whether each package was found
 */
struct frontier {
	uint32_t *queue;
	uint32_t head;
	uint32_t tail;
	bool *seen;
};

static void found(struct walk *walk, struct frontier *frontier, uint64_t handle)
{
	uint32_t package = *handle_place(walk, handle);

	if (!package--)
		die("an edge leads to what is not in the index");
	if (frontier->seen[package])
		return;
	frontier->seen[package] = true;
	frontier->queue[frontier->tail++] = package;
}

/* Hold what the slots of the next packages name: at least CHUNK, if there are. */
static uint32_t walk_edges(struct walk *walk, struct frontier *frontier, uint64_t *values)
{
	uint32_t n = 0, package, slot;

	while (n < CHUNK && frontier->head < frontier->tail) {
		package = frontier->queue[frontier->head++];
		for (slot = 0; slot < walk->slots[package]; slot++)
			must(pyobjmem_batch_get_ref(walk->heap.batcher,
						    walk->heap.handles[package], slot,
						    &values[n++]), "get_ref");
	}
	must(pyobjmem_batch_flush(walk->heap.batcher), "get_ref");
	return n;
}

static void walk_closure(struct walk *walk, struct closure *closure)
{
	uint32_t count = walk->heap.count, most = 0, i, n;
	struct frontier frontier = {
		.queue = allocate(count, sizeof(*frontier.queue)),
		.seen = allocate(count, sizeof(*frontier.seen)),
	};
	uint64_t *values;

	for (i = 0; i < count; i++)
		if (walk->slots[i] > most)
			most = walk->slots[i];
	values = allocate(CHUNK + most, sizeof(*values));

	found(walk, &frontier, walk->heap.handles[walk->package]);
	while (frontier.head < frontier.tail) {
		n = walk_edges(walk, &frontier, values);
		for (i = 0; i < n; i++) {
			if (values[i] == PYOBJMEM_NONE)
				die("a slot is empty");
			found(walk, &frontier, values[i]);
			/* All packages are held already: once is enough. */
			must(pyobjmem_batch_put(walk->heap.batcher, values[i]), "put");
		}
	}
	must(pyobjmem_batch_flush(walk->heap.batcher), "put");

	closure->packages = frontier.tail;
	closure->size = 0;
	for (i = 0; i < frontier.tail; i++)
		closure->size += walk->sizes[frontier.queue[i]];
	free(frontier.queue);
	free(frontier.seen);
	free(values);
}

/* From the root to the closure. Everything found stays held. */
static void walk_all(struct walk *walk, struct report *report)
{
	struct pyobjmem_stats stats;

	walk->package = NOBODY;
	heap_hold(&walk->heap);
	index_handles(walk);
	read_packages(walk);
	if (walk->package == NOBODY)
		die("%s is not in the heap", walk->name);
	walk_closure(walk, &report->closure);
	heap_stats(&walk->heap, &stats);
	report->packages = walk->heap.count;
	report->holds = stats.out_holds;
}

static void walk_forget(struct walk *walk)
{
	heap_release(&walk->heap);
	free(walk->slots);
	free(walk->sizes);
	free(walk->places);
}

/* --- The process ---------------------------------------------------------- */

/* Objects of the worker's own, each with an edge to a package. */
static void make_scratch(struct walk *walk, struct report *report)
{
	struct pyobjmem_object object = { .slots = 1, .payload_size = 16, .type = TYPE_SCRATCH };
	struct pyobjmem_stats stats;
	uint64_t *handles;
	size_t i, n = 0;

	if (report->holds < HOLDS_MIN)
		n = (size_t)(HOLDS_MIN - report->holds);
	handles = allocate(n, sizeof(*handles));
	for (i = 0; i < n; i++) {
		object.edges = &walk->heap.handles[i % walk->heap.count];
		must(pyobjmem_batch_create(walk->heap.batcher, &object, &handles[i]), "create");
	}
	must(pyobjmem_batch_flush(walk->heap.batcher), "create");
	heap_stats(&walk->heap, &stats);
	report->scratch = n;
	report->holds = stats.out_holds;
	free(handles);
}

static bool commanded(int commands)
{
	struct pollfd wait = { .fd = commands, .events = POLLIN };

	return poll(&wait, 1, 0) != 0;
}

/* Take all packages once more and put them again, until told otherwise. */
static void be_busy(struct walk *walk, int commands)
{
	uint64_t values[CHUNK];
	uint32_t first = 0, i, n;

	while (!commanded(commands)) {
		n = walk->heap.count - first < CHUNK ? walk->heap.count - first : CHUNK;
		for (i = 0; i < n; i++)
			must(pyobjmem_batch_get_ref(walk->heap.batcher, walk->heap.index,
						    first + i, &values[i]), "get_ref");
		must(pyobjmem_batch_flush(walk->heap.batcher), "get_ref");
		for (i = 0; i < n; i++)
			must(pyobjmem_batch_put(walk->heap.batcher, values[i]), "put");
		first = (first + n) % walk->heap.count;
	}
}

noreturn static void work(int heap_fd, const char *package, bool victim, int commands, int reports)
{
	struct walk walk = { .name = package };
	struct report report = { 0 };
	char command;

	show_no_progress();
	heap_open(&walk.heap, heap_fd);
	for (;;) {
		walk_all(&walk, &report);
		if (victim)
			make_scratch(&walk, &report);
		if (write(reports, &report, sizeof(report)) != sizeof(report))
			exit(2);
		if (victim)
			be_busy(&walk, commands);
		/* The end of the file means that the parent has gone. */
		if (read(commands, &command, 1) != 1)
			exit(2);
		if (command != 'w')
			break;
		walk_forget(&walk);
	}
	heap_close(&walk.heap);
	exit(0);
}

void worker_start(struct worker *worker, unsigned int number, int heap_fd, const char *package,
		  bool victim)
{
	int commands[2], reports[2];
	char name[16];

	if (pipe(commands) || pipe(reports))
		die("pipe: %s", strerror(errno));
	fflush(stdout);
	worker->pid = fork();
	if (worker->pid < 0)
		die("fork: %s", strerror(errno));
	if (!worker->pid) {
		close(commands[1]);
		close(reports[0]);
		snprintf(name, sizeof(name), "worker-%u", number);
		prctl(PR_SET_NAME, name);
		work(heap_fd, package, victim, commands[0], reports[1]);
	}
	close(commands[0]);
	close(reports[1]);
	worker->commands = commands[1];
	worker->reports = reports[0];
}

void worker_command(struct worker *worker, char command)
{
	if (write(worker->commands, &command, 1) != 1)
		die("worker %d does not listen: %s", worker->pid, strerror(errno));
}

/* What the worker found; false if it ended instead. */
bool worker_report(struct worker *worker, struct report *report)
{
	return read(worker->reports, report, sizeof(*report)) == sizeof(*report);
}

/* The worker's exit status as waitpid() gives it. */
int worker_wait(struct worker *worker)
{
	int status;

	while (waitpid(worker->pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %s", strerror(errno));
	close(worker->commands);
	close(worker->reports);
	return status;
}
