// SPDX-License-Identifier: GPL-2.0
/*
 * Delta debugging: lines are taken away in halves, quarters, down to one by one,
 * then values are made the usual ones, as long as the same kind of thing is
 * found. Programs of several threads get several tries.
 *
 * Where what is found kills the machine, the last program that it recorded is a
 * smaller one: the host begins here again with it, until nothing dies any more.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "calls.h"
#include "generate.h"
#include "minimise.h"

#define TRIES_THREADS	12U
#define TRIES_ALONE	2U

struct search {
	struct program *program;
	char finding[512];
	minimise_run run;
	time_t end;
	unsigned int runs;
};

/* Findings are of the same kind if they agree up to the colon. */
static bool same_kind(const char *one, const char *other)
{
	size_t length = strcspn(one, ":");

	return !strncmp(one, other, length + 1);
}

/* Whether the candidate finds the same; then it becomes the program. */
static bool try_candidate(struct search *search, const struct program *candidate)
{
	unsigned int tries = program_threads(candidate) > 1 ? TRIES_THREADS : TRIES_ALONE;
	const char *finding;

	while (tries--) {
		if (time(NULL) >= search->end)
			return false;
		search->runs++;
		finding = search->run(candidate);
		if (!finding || (*search->finding && !same_kind(search->finding, finding)))
			continue;
		*search->program = *candidate;
		snprintf(search->finding, sizeof(search->finding), "%s", finding);
		return true;
	}
	return false;
}

static bool fewer_lines(struct search *search)
{
	struct program candidate;
	unsigned int size, line;
	bool changed = false;

	for (size = (search->program->count + 1) / 2; size; size /= 2) {
		for (line = 0; line < search->program->count;) {
			candidate = *search->program;
			program_remove(&candidate, line, size);
			if (try_candidate(search, &candidate))
				changed = true;
			else
				line += size;
		}
	}
	return changed;
}

static bool simpler_value(struct search *search, unsigned int line, unsigned int i)
{
	const struct call *call = &search->program->call[line];
	const struct parameter *parameter = &call_kinds[call->kind].parameter[i];
	struct program candidate = *search->program;

	if (!parameter->name ||
	    (call->value[i].kind == NUMBER && call->value[i].number == parameter->usual))
		return false;
	candidate.call[line].value[i] = (struct value){ .number = parameter->usual };
	return try_candidate(search, &candidate);
}

static bool simpler_values(struct search *search)
{
	struct program candidate;
	bool changed = false;
	unsigned int line, i;

	for (line = 0; line < search->program->count; line++) {
		for (i = 0; i < call_kinds[search->program->call[line].kind].parameters; i++)
			if (simpler_value(search, line, i))
				changed = true;
		if (!search->program->call[line].thread)
			continue;
		candidate = *search->program;
		candidate.call[line].thread = 0;
		if (try_candidate(search, &candidate))
			changed = true;
	}
	return changed;
}

/*
 * Make @program smaller for at most so many seconds. @finding is what it finds,
 * or NULL if that is not known. Returns what the smaller one finds, or NULL if
 * it is not found again.
 */
const char *minimise(struct program *program, const char *finding, unsigned int seconds,
		     minimise_run run)
{
	static struct search search;
	struct program same = *program;

	search = (struct search){
		.program = program,
		.run = run,
		.end = time(NULL) + seconds,
	};
	snprintf(search.finding, sizeof(search.finding), "%s", finding ?: "");
	if (finding && !try_candidate(&search, &same))
		return NULL;
	while (fewer_lines(&search) || simpler_values(&search))
		;
	printf("fuzz: %u runs to make it smaller\n", search.runs);
	return *search.finding ? search.finding : NULL;
}
