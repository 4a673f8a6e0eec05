/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A program of the fuzzer: calls that some threads make, each on a line.
 *
 *	f0 = heap s0 rights=1
 *	h3 = create s0 slots=2 edges=[h1,0] source=&data+64 bytes=24
 *	t1 put s0 h3 ! ENOENT
 *
 * A line names its thread (t0 if it does not), the register that gets the
 * result, the call, the values of those of its parameters that are not the
 * usual ones, and behind ! the error that it must give, or OK. A value is
 *
 *	17, 0x11, -1	a number
 *	s0 f1 h2 c3	what is in a register: a session, another descriptor, a
 *			handle, a child; also when it is closed or dead by now
 *	h2+0x100000000	the same and a number: a handle of another generation
 *	&room+12	an address in an area of memory, see memory.c
 *	[h1,0,h2]	edges: a pointer to handles, these again and again
 *
 * Lines that begin with # are comments.
 */
#ifndef FUZZ_PROGRAM_H
#define FUZZ_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#define ARRAY_LENGTH(array)	(sizeof(array) / sizeof((array)[0]))

#define LINES_MAX	64U
#define VALUES_MAX	14U
#define EDGES_MAX	4U
#define TEXT_MAX	16384U

#define THREADS		3U
#define SESSIONS	4U
#define FILES		8U
#define HANDLES		24U
#define CHILDREN	3U

/* What is expected of a line that may give what it likes */
#define ANYTHING	1

enum value_kind {
	NUMBER,
	SESSION,
	DESCRIPTOR,
	HANDLE,
	CHILD,
	MEMORY,
	EDGES,
	VALUE_KINDS,
};

/**
 * struct value - the value of a parameter
 * @kind: what it is
 * @index: register or area; of edges, how many
 * @number: the number, or what is added to the register or address
 */
struct value {
	__u8 kind;
	__u8 index;
	__u64 number;
};

/**
 * struct call - a line
 * @kind: index in the table of calls
 * @thread: who makes it
 * @out: register for the result
 * @expect: the errno that it must give, 0 for success, or ANYTHING
 * @value: values of the parameters, in the order of the table
 * @edge: what the value that is EDGES consists of
 */
struct call {
	__u8 kind;
	__u8 thread;
	__u8 out;
	int expect;
	struct value value[VALUES_MAX];
	struct value edge[EDGES_MAX];
};

struct program {
	unsigned int count;
	struct call call[LINES_MAX];
};

extern const unsigned int register_count[VALUE_KINDS];

void call_init(struct call *call, unsigned int kind);
unsigned int program_threads(const struct program *program);
size_t program_print(const struct program *program, char *text, size_t room);
const char *program_parse(struct program *program, const char *text);
const char *error_name(int error);

#endif /* FUZZ_PROGRAM_H */
