// SPDX-License-Identifier: GPL-2.0
/*
 * The corpus lies in memory, in the order in which it was found; the host keeps
 * what is recorded of it in files, which the next run begins with.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "corpus.h"
#include "generate.h"

#define CORPUS_MAX	4096U

static struct program *programs[CORPUS_MAX];
static unsigned int count;

unsigned int corpus_count(void)
{
	return count;
}

/* One of all, or of the latest; an empty one where there is none */
const struct program *corpus_pick(void)
{
	static const struct program nothing;
	unsigned int latest = count < 40 ? count : 40;

	if (!count)
		return &nothing;
	if (one_in(3))
		return programs[count - 1 - random_below(latest)];
	return programs[random_below(count)];
}

/*
 * When it is full a program goes that is chosen at random. What a line must give
 * is forgotten: it need not be so any more once something was changed.
 */
void corpus_add(const struct program *program)
{
	struct program *copy = malloc(sizeof(*copy));
	unsigned int victim, i;

	if (!copy)
		return;
	*copy = *program;
	for (i = 0; i < copy->count; i++)
		copy->call[i].expect = ANYTHING;
	if (count < CORPUS_MAX) {
		programs[count++] = copy;
		return;
	}
	victim = random_below(CORPUS_MAX);
	free(programs[victim]);
	programs[victim] = copy;
}

/* Read a program; what is wrong with it is told. */
bool program_load(const char *path, struct program *program)
{
	static char text[TEXT_MAX];
	const char *wrong;
	FILE *file = fopen(path, "r");
	size_t length;

	if (!file) {
		printf("# %s: cannot be read\n", path);
		return false;
	}
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = 0;
	wrong = program_parse(program, text);
	if (wrong)
		printf("# %s: line %u: %s\n", path, program->count, wrong);
	return !wrong;
}

/* Give each program of a directory to a function. Returns how many there were. */
unsigned int corpus_load(const char *directory, void (*each)(const struct program *program))
{
	static struct program program;
	struct dirent **entries;
	unsigned int loaded = 0;
	char path[512];
	int i, n;

	n = scandir(directory, &entries, NULL, alphasort);
	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && program_load(path, &program)) {
			loaded++;
			each(&program);
		}
		free(entries[i]);
	}
	return loaded;
}
