/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The process that runs programs, and what must hold when one is over.
 */
#ifndef FUZZ_WORKER_H
#define FUZZ_WORKER_H

#include <stdbool.h>
#include <linux/types.h>

struct program;

#define HEAPS_DIRECTORY	"/sys/kernel/debug/pyobjmem"

/* Bytes that all heaps may take unless a program says otherwise */
#define USER_BYTES	(96ULL << 20)

/* Descriptors below are the fuzzer's own. */
extern int worker_first_fd;

/* End the machine when its kernel complains or hangs: it is only there for us. */
extern bool worker_ends_machine;

/*
 * How long a thread waits for the others to meet it. Short for programs that are
 * made up, in which they may never come.
 */
extern unsigned int worker_meet_us;

int worker_init(void);
void worker_end(void);
void worker_parameter(const char *name, __u64 value);
const char *worker_run(const struct program *program);

#endif /* FUZZ_WORKER_H */
