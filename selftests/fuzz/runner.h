/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Running a program: the registers, the threads, and what they are judged by.
 */
#ifndef FUZZ_RUNNER_H
#define FUZZ_RUNNER_H

#include <stdatomic.h>
#include <sys/types.h>

#include <linux/pyobjmem.h>

#include "calls.h"
#include "coverage.h"
#include "memory.h"

#define SHARED_CHILDREN	64U

/**
 * struct shared - what the process that runs programs shares with the one that
 * thinks them up, and with its children
 * @program: what to run
 * @calls: calls made, ever
 * @dying: the program has killed the process on purpose
 * @limited: it has changed parameters of the module
 * @found: something is wrong: @finding says what
 * @finding: a word for the kind of it, a colon, and the rest
 * @children: how many there are
 * @child: children of the program
 * @coverage: see there
 */
struct shared {
	struct program program;
	atomic_ullong calls;
	atomic_int dying;
	atomic_int limited;
	atomic_int found;
	char finding[512];
	atomic_uint children;
	pid_t child[SHARED_CHILDREN];
	struct coverage_map coverage;
};

/* What is known of a session */
struct session_note {
	__u64 heap;
	pid_t pid;		/* in whose memory it was opened */
	bool nomap;
};

/* What is known of an object: it is sealed, and its bytes are those of DATA */
struct handle_note {
	bool known;
	bool zero;		/* or zeros */
	__u64 heap;
	__u64 source;
	__u32 bytes;
};

/* Registers: those of all threads. They race, as the programs do. */
struct registers {
	int session[SESSIONS];
	int descriptor[FILES];
	__u64 handle[HANDLES];
	pid_t child[CHILDREN];
	struct session_note session_note[SESSIONS];
	struct handle_note handle_note[HANDLES];
	int queue[2][2];
	atomic_uint met[THREADS];
	atomic_int finished[THREADS];
};

/**
 * struct runner - a thread that runs its share of a program
 * @thread: its number
 * @program: the program
 * @line: the line it is at
 * @threads: how many run
 * @alone: no other thread does: what is predictable can be checked
 * @child: it is a child of the program
 * @coverage: see there
 * @command: for the structure of an operation, in the first 4 GB
 * @entries: for those of a BATCH
 * @edges: for handles that structures point to, EDGES_BYTES a line
 * @fail_fd: says which allocation is to fail
 */
struct runner {
	unsigned int thread;
	const struct program *program;
	unsigned int line;
	unsigned int threads;
	bool alone;
	bool child;
	struct coverage coverage;
	void *command;
	struct pyobjmem_batch_entry *entries;
	__u64 *edges;
	int fail_fd;
};

#define COMMAND_BYTES	8192U
#define COMMAND_USED	512U	/* the longest structure has less */
#define EDGES_FILLED	4096U
#define TIMES_MAX	1000U

extern struct registers registers;
extern struct shared *shared;
extern bool runs_32_bits;

void found(const char *format, ...) __attribute__((format(printf, 1, 2)));
void runner_init(struct runner *runner, unsigned int thread);
void runner_run(struct runner *runner, unsigned int from, unsigned int count);
unsigned int runner_next(const struct runner *runner, unsigned int line);
__u64 runner_value(struct runner *runner, const struct call *call, unsigned int i);
void runner_judge(struct runner *runner, const struct call *call, int error);
int runner_operation(struct runner *runner, const struct call *call);
int runner_submit(struct runner *runner, const struct call *call, int fd, unsigned int op,
		  void *structure, size_t size);
void runner_fail(struct runner *runner, __u64 nth);

/* operation.c */
void operation_fill(struct runner *runner, const struct call *call, void *structure);
void operation_take(struct runner *runner, const struct call *call, const void *structure);
void operation_judge(struct runner *runner, const struct call *call, int session, int error);

/* batch.c */
int runner_batch(struct runner *runner, const struct call *call);
unsigned int runner_consumed(struct runner *runner, const struct call *call, unsigned int line);

#endif /* FUZZ_RUNNER_H */
