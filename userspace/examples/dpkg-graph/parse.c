// SPDX-License-Identifier: MIT
/*
 * Lists of packages: dpkg's status file, or a Packages file of an archive.
 *
 * A list is stanzas with an empty line between them; a stanza is fields, "Name:
 * value", whose value goes on in lines that begin with a space. Which stanzas
 * count: where there is a field Status, those whose package is installed. Of
 * several with the same name and architecture, the highest version, and of
 * equal versions the first. That one takes the place of the first in the list.
 *
 * The file is read once, and packages point into it.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph.h"

bool text_equal(struct text a, struct text b)
{
	return a.length == b.length && !memcmp(a.start, b.start, a.length);
}

/* FNV-1a */
uint64_t text_hash(struct text text)
{
	uint64_t hash = 0xcbf29ce484222325;
	size_t i;

	for (i = 0; i < text.length; i++)
		hash = (hash ^ (unsigned char)text.start[i]) * 0x100000001b3;
	return hash ^ hash >> 32;
}

struct text text_of(const char *string)
{
	return (struct text){ .start = string, .length = strlen(string) };
}

/* --- Versions ------------------------------------------------------------- */

/* Where a character that is no digit sorts: ~ before the end, letters first. */
static int order(const struct text *text, size_t i)
{
	unsigned char c;

	if (i >= text->length)
		return 0;
	c = (unsigned char)text->start[i];
	if (isdigit(c))
		return 0;
	if (c == '~')
		return -1;
	return isalpha(c) ? c : c + 256;
}

static bool digit_at(const struct text *text, size_t i)
{
	return i < text->length && isdigit((unsigned char)text->start[i]);
}

/* Compare numbers of any length; moves both positions behind them. */
static int compare_numbers(const struct text *a, size_t *i, const struct text *b, size_t *j)
{
	int first = 0;

	while (digit_at(a, *i) && a->start[*i] == '0')
		++*i;
	while (digit_at(b, *j) && b->start[*j] == '0')
		++*j;
	while (digit_at(a, *i) && digit_at(b, *j)) {
		if (!first)
			first = a->start[*i] - b->start[*j];
		++*i;
		++*j;
	}
	if (digit_at(a, *i))
		return 1;
	if (digit_at(b, *j))
		return -1;
	return first;
}

/* Compare upstream versions or revisions as Debian's policy says. */
static int compare_parts(struct text a, struct text b)
{
	size_t i = 0, j = 0;
	int result;

	while (i < a.length || j < b.length) {
		while ((i < a.length && !digit_at(&a, i)) || (j < b.length && !digit_at(&b, j))) {
			result = order(&a, i) - order(&b, j);
			if (result)
				return result;
			i++;
			j++;
		}
		result = compare_numbers(&a, &i, &b, &j);
		if (result)
			return result;
	}
	return 0;
}

/* Cut the epoch off, "0" if there is none. */
static struct text cut_epoch(struct text *version)
{
	const char *colon = memchr(version->start, ':', version->length);
	struct text epoch = { .start = "0", .length = 1 };

	if (!colon)
		return epoch;
	epoch.start = version->start;
	epoch.length = (size_t)(colon - version->start);
	version->start += epoch.length + 1;
	version->length -= epoch.length + 1;
	return epoch;
}

/* Cut the revision off, behind the last hyphen. */
static struct text cut_revision(struct text *version)
{
	const char *hyphen = memrchr(version->start, '-', version->length);
	struct text revision = { .start = "0", .length = 1 };

	if (!hyphen)
		return revision;
	revision.start = hyphen + 1;
	revision.length = version->length - (size_t)(hyphen + 1 - version->start);
	version->length = (size_t)(hyphen - version->start);
	return revision;
}

static int compare_versions(struct text a, struct text b)
{
	int result = compare_parts(cut_epoch(&a), cut_epoch(&b));
	struct text revision_a, revision_b;

	if (result)
		return result;
	revision_a = cut_revision(&a);
	revision_b = cut_revision(&b);
	result = compare_parts(a, b);
	return result ? result : compare_parts(revision_a, revision_b);
}

/* --- Stanzas -------------------------------------------------------------- */

/* Read all of @fd, which cannot be mapped. */
static const char *read_all(int fd, const char *path, size_t *length)
{
	size_t size = 1 << 20, used = 0;
	char *text = NULL;
	ssize_t n;

	do {
		if (!text || used == size) {
			size *= 2;
			text = realloc(text, size);
			if (!text)
				die("%s: no memory", path);
		}
		n = read(fd, text + used, size - used);
		if (n < 0)
			die("%s: %s", path, strerror(errno));
		used += (size_t)n;
	} while (n);
	*length = used;
	return text;
}

static void list_open(struct list *list, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *map;

	if (fd < 0 || fstat(fd, &status) < 0)
		die("%s: %s", path, strerror(errno));
	map = MAP_FAILED;
	if (S_ISREG(status.st_mode) && status.st_size) {
		list->length = (size_t)status.st_size;
		map = mmap(NULL, list->length, PROT_READ, MAP_PRIVATE, fd, 0);
	}
	list->mapped = map != MAP_FAILED;
	list->text = list->mapped ? map : read_all(fd, path, &list->length);
	close(fd);
}

static struct text trimmed(const char *start, const char *end)
{
	while (start < end && isspace((unsigned char)*start))
		start++;
	while (start < end && isspace((unsigned char)end[-1]))
		end--;
	return (struct text){ .start = start, .length = (size_t)(end - start) };
}

/* Field name at @line, @length characters without the colon: is it @name? */
static bool field_is(const char *line, size_t length, const char *name)
{
	return strlen(name) == length && !strncasecmp(line, name, length);
}

static uint32_t parse_number(struct text text)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < text.length && isdigit((unsigned char)text.start[i]); i++)
		if (value < UINT32_MAX)
			value = value * 10 + (uint64_t)(text.start[i] - '0');
	return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

/* "install ok installed": the last word says what is there. */
static bool status_is_installed(struct text status)
{
	static const char *const installed[] = {
		"installed", "triggers-pending", "triggers-awaited",
	};
	const char *space = memrchr(status.start, ' ', status.length);
	struct text word = status;
	size_t i;

	if (space)
		word = trimmed(space, status.start + status.length);
	for (i = 0; i < ARRAY_SIZE(installed); i++)
		if (text_equal(word, text_of(installed[i])))
			return true;
	return false;
}

static void parse_field(struct package *package, bool *counts, const char *line, size_t length,
			struct text value)
{
	/* Most fields are none of these, and their first character tells. */
	switch (line[0] | 0x20) {
	case 'p':
		if (field_is(line, length, "Package"))
			package->name = value;
		else if (field_is(line, length, "Pre-Depends"))
			package->pre_depends = value;
		else if (field_is(line, length, "Provides"))
			package->provides = value;
		break;
	case 'v':
		if (field_is(line, length, "Version"))
			package->version = value;
		break;
	case 'd':
		if (field_is(line, length, "Depends"))
			package->depends = value;
		break;
	case 'a':
		if (field_is(line, length, "Architecture"))
			package->architecture = value;
		break;
	case 'i':
		if (field_is(line, length, "Installed-Size"))
			package->size = parse_number(value);
		break;
	case 's':
		if (field_is(line, length, "Status"))
			*counts = status_is_installed(value);
		break;
	}
}

/* The end of the line at @at: its newline, or the end of the file. */
static const char *line_end(const char *at, const char *end)
{
	const char *newline = memchr(at, '\n', (size_t)(end - at));

	return newline ? newline : end;
}

/* Parse the stanza at @at; returns where the next one may begin. */
static const char *parse_stanza(const char *at, const char *end, struct package *package,
				bool *counts)
{
	const struct text empty = { .start = at };
	const char *line = at, *value, *stop;

	*package = (struct package){
		.name = empty,
		.version = empty,
		.architecture = empty,
		.pre_depends = empty,
		.depends = empty,
		.provides = empty,
	};
	*counts = true;
	while (line < end) {
		stop = line_end(line, end);
		if (!trimmed(line, stop).length)
			return stop;
		while (stop + 1 < end && (stop[1] == ' ' || stop[1] == '\t'))
			stop = line_end(stop + 1, end);
		value = memchr(line, ':', (size_t)(stop - line));
		if (value)
			parse_field(package, counts, line, (size_t)(value - line),
				    trimmed(value + 1, stop));
		line = stop < end ? stop + 1 : end;
	}
	return end;
}

/* --- The list ------------------------------------------------------------- */

/**
 * struct seen - packages by name and architecture
 * @places: open addressing; index of a package + 1, or 0
 * @mask: number of @places - 1, a power of two - 1
 */
struct seen {
	uint32_t *places;
	size_t mask;
};

/* The place of a package, or the empty one where it belongs. */
static uint32_t *seen_place(const struct seen *seen, const struct list *list,
			    const struct package *package)
{
	size_t i = (size_t)(text_hash(package->name) + 31 * text_hash(package->architecture));
	const struct package *other;

	for (;; i++) {
		uint32_t *place = &seen->places[i & seen->mask];

		if (!*place)
			return place;
		other = &list->packages[*place - 1];
		if (text_equal(other->name, package->name) &&
		    text_equal(other->architecture, package->architecture))
			return place;
	}
}

static void seen_grow(struct seen *seen, const struct list *list)
{
	uint32_t i;

	free(seen->places);
	seen->mask = seen->mask * 2 + 1;
	seen->places = allocate(seen->mask + 1, sizeof(*seen->places));
	for (i = 0; i < list->count; i++)
		*seen_place(seen, list, &list->packages[i]) = i + 1;
}

static void list_add(struct list *list, struct seen *seen, uint32_t *room,
		     const struct package *package)
{
	uint32_t *place;

	if (2 * (uint64_t)list->count >= seen->mask)
		seen_grow(seen, list);
	place = seen_place(seen, list, package);
	if (*place) {
		struct package *other = &list->packages[*place - 1];

		if (compare_versions(package->version, other->version) > 0)
			*other = *package;
		return;
	}
	if (list->count == *room) {
		*room *= 2;
		list->packages = realloc(list->packages, *room * sizeof(*list->packages));
		if (!list->packages)
			die("no memory for %u packages", *room);
	}
	list->packages[list->count++] = *package;
	*place = list->count;
}

void list_read(struct list *list, const char *path)
{
	struct seen seen = { .mask = 1023 };
	struct package package;
	const char *at, *end;
	uint32_t room = 1024;
	bool counts;

	*list = (struct list){ 0 };
	list_open(list, path);
	list->packages = allocate(room, sizeof(*list->packages));
	seen_grow(&seen, list);
	end = list->text + list->length;
	at = list->text;
	while (at < end) {
		at = parse_stanza(at, end, &package, &counts);
		if (package.name.length) {
			list->stanzas++;
			if (counts)
				list_add(list, &seen, &room, &package);
			show_progress("bytes read", (uint64_t)(at - list->text), list->length);
		}
		/* The empty line behind it */
		at = line_end(at, end);
		if (at < end)
			at++;
	}
	free(seen.places);
}

void list_free(struct list *list)
{
	free(list->packages);
	if (list->mapped)
		munmap((void *)list->text, list->length);
	else
		free((void *)list->text);
}
