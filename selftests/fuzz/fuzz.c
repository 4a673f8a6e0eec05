// SPDX-License-Identifier: GPL-2.0
/*
 * The fuzzer, as it runs in the virtual machine.
 *
 *	fuzz [option]...
 *
 *	--seed N		of all decisions (1)
 *	--seconds N		how long (60)
 *	--corpus DIRECTORY	programs to begin with; may be repeated
 *	--record		write each program to standard output before it runs,
 *				in lines that begin with @, for the host to keep,
 *				and end the machine when its kernel complains
 *	--replay FILE		run this program only
 *	--times N		so often (1)
 *	--shrink FILE		make this program smaller
 *
 * What is deterministic: the programs are a function of the seed, of the corpus,
 * and of where the programs before have been. A program of one thread does the
 * same each time, but for the workers of the kernel. How the calls of several
 * threads interleave is left to chance: such programs are tried several times.
 *
 * It stops at the first thing that is wrong, and makes the program smaller. What
 * can be wrong: an error that the header does not document, a line that gives
 * something else than it says, bytes that are not those that were written, an
 * operation in a strange address space, a call that does not return, a heap that
 * does not verify, a heap that stays. The rest the kernel finds, and panics.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "actions.h"
#include "corpus.h"
#include "coverage.h"
#include "generate.h"
#include "minimise.h"
#include "runner.h"
#include "worker.h"

#define REPORT_S	10
#define MINIMISE_S	90
#define NEW_OF		6	/* one program of so many is all new */

static struct {
	__u64 seed;
	unsigned int seconds;
	unsigned int times;
	bool record;
	const char *replay;
	const char *shrink;
} options = { .seed = 1, .seconds = 60, .times = 1 };

static unsigned int programs_run;
static time_t began;

/* Until all is with the host: what is on its way is lost in a panic. */
static void drain(void)
{
	int waiting;

	while (!ioctl(STDOUT_FILENO, TIOCOUTQ, &waiting) && waiting)
		usleep(50);
}

/* @what is a word; lines of the program follow. */
static void record(const char *what, const struct program *program)
{
	static char text[TEXT_MAX], out[2 * TEXT_MAX];
	char *line, *rest = text, *at = out;

	if (!options.record)
		return;
	at += sprintf(at, "@%s\n", what);
	if (program) {
		program_print(program, text, sizeof(text));
		while ((line = strsep(&rest, "\n")) && *line)
			at += sprintf(at, "@ %s\n", line);
	}
	fflush(stdout);
	if (write(STDOUT_FILENO, out, at - out) != at - out)
		exit(3);
	drain();
}

static const char *run(const struct program *program)
{
	programs_run++;
	record("run", program);
	return worker_run(program);
}

static void report(void)
{
	static time_t last;
	time_t now = time(NULL);

	if (now < last + REPORT_S)
		return;
	last = now;
	printf("fuzz: %ld s: %u programs (%.1f/s), %llu calls, %u PCs, %u features, corpus %u\n",
	       (long)(now - began), programs_run,
	       programs_run / (double)(now > began ? now - began : 1),
	       (unsigned long long)shared->calls, shared->coverage.pcs,
	       shared->coverage.features, corpus_count());
	fflush(stdout);
}

static void print_program(const struct program *program)
{
	static char text[TEXT_MAX];

	program_print(program, text, sizeof(text));
	fputs(text, stdout);
}

/* Something is wrong: this is the end. */
static void __attribute__((noreturn)) give_up(const struct program *program, const char *finding)
{
	static struct program smaller;
	char first[512];
	const char *again;

	snprintf(first, sizeof(first), "%s", finding);
	printf("fuzz: after %ld s and %u programs: %s\n", (long)(time(NULL) - began), programs_run,
	       first);
	fflush(stdout);
	record("found", program);
	smaller = *program;
	again = minimise(&smaller, first, MINIMISE_S, run);
	printf(again ? "fuzz: the smallest program that gives\nfuzz: %s\n" :
		       "fuzz: not found again by the same program:\nfuzz: %s\n", again ?: first);
	print_program(&smaller);
	fflush(stdout);
	record("found", &smaller);
	worker_end();
	exit(1);
}

static void try_program(const struct program *program)
{
	unsigned int features = shared->coverage.features;
	const char *finding = run(program);

	if (finding)
		give_up(program, finding);
	if (shared->coverage.features == features)
		return;
	record("keep", NULL);
	corpus_add(program);
}

static void fuzz(void)
{
	static struct program program;

	while (time(NULL) < began + options.seconds) {
		if (one_in(NEW_OF) || !corpus_count()) {
			generate_program(&program);
		} else {
			program = *corpus_pick();
			mutate_program(&program, corpus_pick());
		}
		if (program.count)
			try_program(&program);
		report();
	}
}

/* Returns the exit status. */
static int replay(void)
{
	static struct program program;
	const char *finding;
	unsigned int i;

	if (!program_load(options.replay, &program))
		return 3;
	for (i = 0; i < options.times; i++) {
		struct program delayed = program;

		if (i && program_threads(&program) > 1)
			delay_program(&delayed);
		finding = run(&delayed);
		if (!finding)
			continue;
		printf("fuzz: run %u: %s\n", i + 1, finding);
		return 1;
	}
	printf("fuzz: %u runs, nothing found\n", options.times);
	return 0;
}

static int shrink(void)
{
	static struct program program;
	const char *finding;

	if (!program_load(options.shrink, &program))
		return 3;
	finding = minimise(&program, NULL, options.seconds, run);
	record("smallest", &program);
	printf("fuzz: smallest: %s\n", finding ?: "what is found kills the machine");
	print_program(&program);
	return 0;
}

static void usage(void)
{
	fputs("fuzz: unknown option, or no value\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	const char *corpora[8];
	unsigned int n = 0, i;
	int status = 0;

	if (argc == 2 && !strcmp(argv[1], PAUSE_OPTION)) {
		pause();
		return 0;
	}
	for (argv++; *argv; argv++) {
		if (!strcmp(*argv, "--record")) {
			options.record = true;
			worker_ends_machine = true;
			continue;
		}
		if (!argv[1])
			usage();
		if (!strcmp(*argv, "--seed"))
			options.seed = strtoull(*++argv, NULL, 0);
		else if (!strcmp(*argv, "--seconds"))
			options.seconds = atoi(*++argv);
		else if (!strcmp(*argv, "--times"))
			options.times = atoi(*++argv);
		else if (!strcmp(*argv, "--replay"))
			options.replay = *++argv;
		else if (!strcmp(*argv, "--shrink"))
			options.shrink = *++argv;
		else if (!strcmp(*argv, "--corpus") && n < ARRAY_LENGTH(corpora))
			corpora[n++] = *++argv;
		else
			usage();
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	random_start(options.seed);
	if (worker_init()) {
		fprintf(stderr, "fuzz: cannot start: %s\n", strerror(errno));
		return 3;
	}
	began = time(NULL);
	if (options.replay) {
		status = replay();
	} else if (options.shrink) {
		status = shrink();
	} else {
		for (i = 0; i < n; i++)
			printf("fuzz: %u programs of %s\n", corpus_load(corpora[i], try_program),
			       corpora[i]);
		began = time(NULL);
		fuzz();
		printf("fuzz: done: seed %llu, %u programs, %llu calls, %u PCs, corpus %u\n",
		       (unsigned long long)options.seed, programs_run,
		       (unsigned long long)shared->calls, shared->coverage.pcs, corpus_count());
	}
	worker_end();
	return status;
}
