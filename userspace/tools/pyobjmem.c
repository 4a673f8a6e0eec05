// SPDX-License-Identifier: MIT
/*
 * pyobjmem: show heaps to a person. What it shows comes from debugfs, which is
 * root's; what the kernel can do, from the device.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>

#include <pyobjmem.h>

#define DEBUGFS		"/sys/kernel/debug/pyobjmem"
#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#define PRINTF(text, first)	__attribute__((format(printf, text, first)))

PRINTF(1, 2) noreturn static void die(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fprintf(stderr, "pyobjmem: ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	exit(2);
}

static const char *hint(int error)
{
	switch (error) {
	case ENOENT:
		return ": is the module loaded, and debugfs mounted?";
	case EACCES:
	case EPERM:
		return ": are you root?";
	default:
		return "";
	}
}

/* --- Files of a heap ------------------------------------------------------ */

static FILE *heap_try_open(const char *heap, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), DEBUGFS "/%s/%s", heap, name);
	return fopen(path, "re");
}

static FILE *heap_open(const char *heap, const char *name)
{
	FILE *file = heap_try_open(heap, name);

	if (!file)
		die("heap %s: %s%s", heap, strerror(errno), errno == EACCES ? hint(errno) : "");
	return file;
}

static int by_number(const void *a, const void *b)
{
	unsigned long long x = *(const unsigned long long *)a, y = *(const unsigned long long *)b;

	return x < y ? -1 : x > y;
}

/* The numbers of all heaps, ascending; the caller frees them. */
static unsigned long long *heaps_list(size_t *count)
{
	DIR *directory = opendir(DEBUGFS);
	unsigned long long *heaps = NULL;
	struct dirent *entry;
	char *end;

	if (!directory)
		die(DEBUGFS ": %s%s", strerror(errno), hint(errno));
	*count = 0;
	while ((entry = readdir(directory))) {
		unsigned long long heap = strtoull(entry->d_name, &end, 10);

		if (!isdigit((unsigned char)entry->d_name[0]) || *end)
			continue;
		heaps = realloc(heaps, (*count + 1) * sizeof(*heaps));
		if (!heaps)
			die("no memory");
		heaps[(*count)++] = heap;
	}
	closedir(directory);
	if (*count)
		qsort(heaps, *count, sizeof(*heaps), by_number);
	return heaps;
}

/* The figure called @name in the file stats; false if there is none. */
static bool stats_figure(FILE *file, const char *name, unsigned long long *value)
{
	char line[256], found[64];

	rewind(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %llu", found, value) == 2 && !strcmp(found, name))
			return true;
	return false;
}

/* --- Numbers for people --------------------------------------------------- */

static void print_grouped(unsigned long long value, int width)
{
	char digits[24], text[32], *to = text;
	int length = snprintf(digits, sizeof(digits), "%llu", value), i;

	for (i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	printf("%*s", width, text);
}

static void print_bytes(unsigned long long bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	printf(unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* --- Commands ------------------------------------------------------------- */

static int show_list(const char *unused)
{
	static const char *const columns[] = {
		"objects", "arenas", "page_bytes", "sessions", "tickets", "candidates",
	};
	size_t count, i, k;
	unsigned long long *heaps = heaps_list(&count), value;
	char name[24];
	FILE *file;

	(void)unused;
	printf("%8s", "heap");
	for (k = 0; k < ARRAY_SIZE(columns); k++)
		printf(" %14s", columns[k]);
	printf("\n");
	for (i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%llu", heaps[i]);
		file = heap_try_open(name, "stats");
		if (!file)
			continue;		/* it went meanwhile */
		printf("%8s", name);
		for (k = 0; k < ARRAY_SIZE(columns); k++) {
			printf(" ");
			if (stats_figure(file, columns[k], &value))
				print_grouped(value, 14);
			else
				printf("%14s", "?");
		}
		printf("\n");
		fclose(file);
	}
	free(heaps);
	return 0;
}

static const struct {
	const char *name;
	const char *meaning;
} figures[] = {
	{ "heap", "number of the heap" },
	{ "objects", "objects that live" },
	{ "created", "objects ever created" },
	{ "freed_counted", "objects freed by their counts" },
	{ "freed_collected", "objects freed by the collector" },
	{ "arenas", "arenas that have pages" },
	{ "arena_bytes", "bytes of these arenas:" },
	{ "used_bytes", "  of blocks in use" },
	{ "free_bytes", "  of free blocks in pools" },
	{ "unused_bytes", "  of pools without a page" },
	{ "slack_bytes", "  that no block can use" },
	{ "page_bytes", "bytes taken from the system for blocks" },
	{ "bytes_limit", "most bytes the heap may take" },
	{ "objects_limit", "most objects the heap may have" },
	{ "sessions", "sessions joined" },
	{ "tickets", "tickets open or in flight" },
	{ "weak", "weak holds of all sessions" },
	{ "finalizers", "finalizers that have not run" },
	{ "finalizers_abandoned", "finalizers whose session ended before" },
	{ "candidates", "objects that a full collection begins with" },
	{ "permanent", "containers in the permanent generation" },
	{ "slices", "pieces into which all collections were cut" },
	{ "longest_ns", "longest of them in ns" },
	{ "collect_ns", "time of all collections in ns" },
};

static const char *meaning_of(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(figures); i++)
		if (!strcmp(figures[i].name, name))
			return figures[i].meaning;
	return name;
}

static int show_stats(const char *heap)
{
	FILE *file = heap_open(heap, "stats");
	char line[256], name[64];
	unsigned long long value;
	int n;

	while (fgets(line, sizeof(line), file)) {
		n = 0;
		if (sscanf(line, "%63s %llu %n", name, &value, &n) == 2 && !line[n]) {
			print_grouped(value, 20);
			printf("  %s\n", meaning_of(name));
		} else if (sscanf(line, "gc%llu %n", &value, &n) == 1 && n) {
			printf("%20s  generation %llu: %s", "", value, line + n);
		} else {
			printf("%20s  %s", "", line);
		}
	}
	fclose(file);
	return 0;
}

static int show_arenas(const char *heap)
{
	FILE *file = heap_open(heap, "arenas");
	char window[16], pools[80];
	bool any = false;
	unsigned long long arena;

	while (fscanf(file, "%15s %llu %79s", window, &arena, pools) == 3) {
		printf("%-6s %6llu  %s\n", window, arena, pools);
		any = true;
	}
	fclose(file);
	if (any) {
		puts("\nA line is an arena of 256 KB, a character a pool of 4 KB: . no page,");
		puts("_ empty, 1 to 9 tenths of its blocks in use, # full, L large object,");
		puts("l its further pages.");
	} else {
		puts("no arenas");
	}
	return 0;
}

static int show_sessions(const char *heap)
{
	FILE *file = heap_open(heap, "sessions");
	unsigned long long holds, watches, events;
	char line[256], name[128];
	int process;

	printf("%10s %14s %14s %10s  %s\n", "process", "holds", "weak, final.", "events",
	       "name");
	while (fgets(line, sizeof(line), file)) {
		/* Spaces in a name are escaped. */
		if (sscanf(line, "%d %127s %llu %llu %llu", &process, name, &holds, &watches,
			   &events) != 5)
			continue;
		printf("%10d ", process);
		print_grouped(holds, 14);
		printf(" ");
		print_grouped(watches, 14);
		printf(" %10llu  %s\n", events, name);
	}
	fclose(file);
	return 0;
}

static int verify_one(const char *heap)
{
	FILE *file = heap_open(heap, "verify");
	char line[256] = "";
	bool ok;

	if (!fgets(line, sizeof(line), file))
		die("heap %s: verify says nothing", heap);
	fclose(file);
	ok = !strcmp(line, "ok\n");
	printf("heap %s: %s", heap, line);
	return ok ? 0 : 1;
}

static int show_verify(const char *heap)
{
	size_t count, i;
	unsigned long long *heaps;
	char name[24];
	int status = 0;

	if (strcmp(heap, "all"))
		return verify_one(heap);
	heaps = heaps_list(&count);
	for (i = 0; i < count; i++) {
		FILE *file;

		snprintf(name, sizeof(name), "%llu", heaps[i]);
		file = heap_try_open(name, "verify");
		if (!file)
			continue;		/* it went meanwhile */
		fclose(file);
		status |= verify_one(name);
	}
	free(heaps);
	return status;
}

static void print_features(unsigned long long features)
{
	static const struct {
		unsigned long long bit;
		const char *name;
	} names[] = {
		{ PYOBJMEM_FEATURE_WINDOWS, "windows" },
		{ PYOBJMEM_FEATURE_WEAK, "weak holds" },
		{ PYOBJMEM_FEATURE_FINALIZE, "finalizers" },
		{ PYOBJMEM_FEATURE_URING, "io_uring" },
	};
	size_t i, n = 0;

	printf("%-40s", "features beyond the basic");
	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (features & names[i].bit)
			printf("%s%s", n++ ? ", " : "", names[i].name);
	printf("%s\n", n ? "" : "none");
}

static void print_limit(const char *what, unsigned long long value, bool bytes)
{
	printf("%-40s", what);
	if (bytes)
		print_bytes(value);
	else
		print_grouped(value, 0);
	printf("\n");
}

static int show_query(const char *unused)
{
	struct pyobjmem_query q = { .size = sizeof(q) };
	struct pyobjmem *session;
	int error = pyobjmem_open(&session);

	(void)unused;
	if (error)
		die("/dev/pyobjmem: %s", strerror(-error));
	error = pyobjmem_query(session, &q);
	pyobjmem_close(session);
	if (error)
		die("query: %s", strerror(-error));

	printf("%-40s%s\n", "library", pyobjmem_version());
	print_limit("interface of the kernel", q.out_abi, false);
	print_limit("operations", q.out_operations, false);
	print_features(q.out_features);
	print_limit("arena", q.out_arena_bytes, true);
	print_limit("pool", q.out_pool_bytes, true);
	print_limit("largest block in a pool", q.out_class_max, true);
	print_limit("distance of size classes", q.out_class_step, true);
	print_limit("largest payload", q.out_payload_max, true);
	print_limit("slots of an object", q.out_slots_max, false);
	print_limit("roots of a heap", q.out_roots, false);
	print_limit("operations in a batch", q.out_batch_max, false);
	print_limit("bytes in a batch", q.out_batch_bytes, true);
	print_limit("window of a heap", q.out_window_bytes, true);
	print_limit("bytes of a new heap", q.out_heap_bytes, true);
	print_limit("objects of a new heap", q.out_heap_objects, false);
	print_limit("holds of a new session", q.out_session_holds, false);
	print_limit("weak holds and finalizers of a session", q.out_session_watches, false);
	print_limit("bytes of a user", q.out_user_bytes, true);
	return 0;
}

static const struct command {
	const char *name;
	const char *argument;
	int (*function)(const char *argument);
	const char *help;
} commands[] = {
	{ "list", NULL, show_list, "all heaps" },
	{ "stats", "HEAP", show_stats, "the figures of a heap" },
	{ "arenas", "HEAP", show_arenas, "a map of its pools" },
	{ "sessions", "HEAP", show_sessions, "who joined it, and holds how much" },
	{ "verify", "HEAP|all", show_verify, "have the kernel recount everything" },
	{ "query", NULL, show_query, "what the kernel is able to do" },
};

noreturn static void print_usage(FILE *to, int status)
{
	size_t i;

	fprintf(to, "usage: pyobjmem COMMAND [ARGUMENT]\n\n");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-9s %-9s %s\n", commands[i].name,
			commands[i].argument ? commands[i].argument : "", commands[i].help);
	exit(status);
}

/* A heap is a number: nothing else may become part of a path. */
static bool is_heap(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
		print_usage(stdout, 0);
	for (i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++) {
		const struct command *command = &commands[i];

		if (strcmp(argv[1], command->name))
			continue;
		if (argc != (command->argument ? 3 : 2))
			print_usage(stderr, 2);
		if (command->argument && !is_heap(argv[2]) &&
		    !(command->function == show_verify && !strcmp(argv[2], "all")))
			die("%s: not the number of a heap", argv[2]);
		return command->function(argc > 2 ? argv[2] : NULL);
	}
	print_usage(stderr, 2);
}
