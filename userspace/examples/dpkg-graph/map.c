// SPDX-License-Identifier: MIT
/*
 * What debugfs shows of the heap. It may not be there, or not be for this user:
 * then that is said once, and everything else goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

#define DEBUGFS		"/sys/kernel/debug/pyobjmem"

/* Of more arenas than MAP_ALL only the first and last are shown. */
#define MAP_ALL		20U
#define MAP_FIRST	8U
#define MAP_LAST	4U

static FILE *map_open(struct heap *heap, const char *name)
{
	unsigned long long heap_number = pyobjmem_heap(heap->session);
	char path[128];

	snprintf(path, sizeof(path), DEBUGFS "/%llu/%s", heap_number, name);
	return fopen(path, "re");
}

bool map_available(struct heap *heap)
{
	static bool told;
	FILE *file = map_open(heap, "arenas");

	if (file) {
		fclose(file);
		return true;
	}
	if (!told)
		show("(no map of the arenas: " DEBUGFS ": %s)", strerror(errno));
	told = true;
	return false;
}

/**
 * struct figures - pools by what they are
 * @arenas: arenas
 * @full: pools whose blocks are all in use
 * @partly: pools with some blocks in use
 * @empty: pools without, kept for a moment
 * @large: pages of large blocks
 * @none: places without a page
 */
struct figures {
	uint32_t arenas;
	uint32_t full;
	uint32_t partly;
	uint32_t empty;
	uint32_t large;
	uint32_t none;
};

static void count_pools(struct figures *figures, const char *pools)
{
	for (; *pools && *pools != '\n'; pools++) {
		switch (*pools) {
		case '#':
			figures->full++;
			break;
		case '_':
			figures->empty++;
			break;
		case '.':
			figures->none++;
			break;
		case 'L':
		case 'l':
			figures->large++;
			break;
		default:
			figures->partly++;
		}
	}
}

/* Count everything; returns the number of lines. */
static uint32_t map_count(FILE *file, struct figures *figures)
{
	char *line = NULL, *pools;
	size_t size = 0;

	*figures = (struct figures){ 0 };
	while (getline(&line, &size, file) > 0) {
		pools = strrchr(line, ' ');
		if (!pools)
			continue;
		figures->arenas++;
		count_pools(figures, pools + 1);
	}
	free(line);
	return figures->arenas;
}

static void map_lines(FILE *file, uint32_t count)
{
	char window[16], pools[80];
	unsigned int i, arena;

	for (i = 0; fscanf(file, "%15s %u %79s", window, &arena, pools) == 3; i++) {
		if (count <= MAP_ALL || i < MAP_FIRST || i >= count - MAP_LAST)
			show("%-6s %4u %s", window, arena, pools);
		else if (i == MAP_FIRST)
			show("... %s more arenas ...", number(count - MAP_FIRST - MAP_LAST));
	}
}

/* The arenas, a character a pool. */
void map_show(struct heap *heap)
{
	struct figures figures;
	uint32_t count;
	FILE *file;

	if (!map_available(heap))
		return;
	file = map_open(heap, "arenas");
	if (!file)
		return;
	count = map_count(file, &figures);
	if (!count) {
		show("No arena is left.");
		fclose(file);
		return;
	}
	show("The arenas, 256 KB each, a character a pool of 4 KB (. no page, 1-9 tenths");
	show("in use, # full, _ empty, L large object, l its further pages):");
	rewind(file);
	map_lines(file, count);
	fclose(file);
	show("arenas %s; pools full %s, partly full %s, empty %s; pages of large objects %s;",
	     number(count), number(figures.full), number(figures.partly),
	     number(figures.empty), number(figures.large));
	show("places without a page %s", number(figures.none));
}

/* What the kernel says that the session of a process holds. */
bool map_holds(struct heap *heap, pid_t wanted, uint64_t *holds)
{
	FILE *file = map_open(heap, "sessions");
	unsigned long long value = 0;
	bool found = false;
	int pid;

	/* Weak holds and events follow. */
	while (file && !found && fscanf(file, "%d %*s %llu %*u %*u", &pid, &value) == 2)
		found = pid == wanted;
	*holds = value;
	if (file)
		fclose(file);
	return found;
}

/* Have the kernel recount everything. */
void map_verify(struct heap *heap)
{
	char text[256] = "";
	FILE *file;

	if (!map_available(heap))
		return;
	file = map_open(heap, "verify");
	if (!file || !fgets(text, sizeof(text), file))
		snprintf(text, sizeof(text), "verify cannot be read");
	if (file)
		fclose(file);
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, "ok"))
		show_failure("the kernel's own recount: %s", text);
	else
		show_good("the kernel recounted every reference and every byte");
}
