// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of the fuzzer that have found something once, each a case: those of
 * one thread a few times, those of several many times, with another line delayed
 * each time. See fuzz/program.h for how to read them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest.h"

#include "actions.h"
#include "generate.h"
#include "worker.h"

#define TIMES_ALONE	3U
#define TIMES_THREADS	40U
#define MEET_US		30000000U

static const struct {
	const char *name;
	const char *text;
} regressions[] = {
#include "regressions.h"
};

/* Returns NULL, or what is wrong. */
static const char *replay(const struct program *program)
{
	unsigned int threads = program_threads(program), i;
	unsigned int times = threads > 1 ? TIMES_THREADS : TIMES_ALONE;
	const char *finding = NULL;

	for (i = 0; i < times && !finding; i++) {
		struct program delayed = *program;

		if (i && threads > 1)
			delay_program(&delayed);
		finding = worker_run(&delayed);
	}
	return finding;
}

int main(int argc, char **argv)
{
	const char *seed = getenv("PYOBJMEM_SEED");
	static struct program program;
	const char *wrong;
	unsigned int i;

	if (argc == 2 && !strcmp(argv[1], PAUSE_OPTION)) {
		pause();
		return 0;
	}
	random_start(seed ? strtoull(seed, NULL, 0) : 1);
	ksft_print_header();
	ksft_set_plan(ARRAY_LENGTH(regressions));
	worker_meet_us = MEET_US;
	if (worker_init())
		ksft_exit_fail_msg("the process that runs programs does not start\n");
	for (i = 0; i < ARRAY_LENGTH(regressions); i++) {
		wrong = program_parse(&program, regressions[i].text);
		if (wrong)
			ksft_print_msg("line %u: %s\n", program.count, wrong);
		else
			wrong = replay(&program);
		if (wrong)
			ksft_print_msg("found: %s; PYOBJMEM_SEED=%s\n", wrong, seed ?: "1");
		ksft_test_result(!wrong, "regressions.%s\n", regressions[i].name);
	}
	worker_end();
	ksft_finished();
}
