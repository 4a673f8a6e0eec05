// SPDX-License-Identifier: MIT
/*
 * How it is shown to a person: steps, checks, a progress line, numbers.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "graph.h"

static unsigned int steps;
static unsigned int failures;
static bool progress_off;
static int progress_width;

/* With spaces: not everything that shows this understands escape sequences. */
static void progress_clear(void)
{
	if (progress_width)
		printf("\r%*s\r", progress_width, "");
	progress_width = 0;
}

void die(const char *format, ...)
{
	va_list arguments;

	progress_clear();
	fflush(stdout);
	va_start(arguments, format);
	fprintf(stderr, "dpkg-graph: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	exit(2);
}

/* End if an operation of the library failed that must not. */
void must(int error, const char *what)
{
	if (error < 0)
		die("%s: %s", what, strerror(-error));
}

void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		die("no memory for %zu times %zu bytes", count, size);
	return memory;
}

void show_step(const char *format, ...)
{
	va_list arguments;

	progress_clear();
	printf("\n%u. ", ++steps);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
}

void show(const char *format, ...)
{
	va_list arguments;

	progress_clear();
	printf("     ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
}

void show_failure(const char *format, ...)
{
	va_list arguments;

	progress_clear();
	failures++;
	printf("   ✗ ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
}

/* Tell whether a figure of the kernel is what it must be. */
void show_check(const char *what, uint64_t expected, uint64_t found)
{
	progress_clear();
	if (found == expected)
		printf("   ✓ %-58s %12s\n", what, number(found));
	else
		show_failure("%s: expected %s, but it is %s", what, number(expected),
			     number(found));
}

/* Tell that several figures are what they must be. */
void show_good(const char *format, ...)
{
	va_list arguments;

	progress_clear();
	printf("   ✓ ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
}

/* Where somebody looks, and it takes a while; it goes away with what comes next. */
void show_progress(const char *what, uint64_t done, uint64_t total)
{
	static uint64_t shown;
	uint64_t now;

	if (progress_off || !isatty(STDOUT_FILENO))
		return;
	now = now_ns();
	if (!done || !shown)
		shown = now;
	if (now - shown < 200000000)
		return;
	shown = now;
	progress_clear();
	progress_width = printf("     %s: %s of %s", what, number(done), number(total));
	fflush(stdout);
}

/* A process beside the one that speaks to people is quiet. */
void show_no_progress(void)
{
	progress_off = true;
	progress_width = 0;
}

unsigned int show_failures(void)
{
	return failures;
}

/* One of a few buffers, in turn. */
static char *buffer(size_t *size)
{
	static char buffers[8][32];
	static unsigned int next;

	*size = sizeof(buffers[0]);
	return buffers[next++ % 8];
}

const char *number(uint64_t value)
{
	char digits[24];
	size_t size, length, i;
	char *text = buffer(&size), *to = text;

	length = (size_t)snprintf(digits, sizeof(digits), "%llu",
				  (unsigned long long)value);
	for (i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return text;
}

const char *kibibytes(uint64_t value)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	size_t size, unit = 0;
	char *text = buffer(&size);

	while (value >= 10 * 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(text, size, "%llu %s", (unsigned long long)value, units[unit]);
	return text;
}

uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}
