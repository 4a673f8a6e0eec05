/* SPDX-License-Identifier: GPL-2.0 */
/* Making up programs, and changing them. */
#ifndef FUZZ_GENERATE_H
#define FUZZ_GENERATE_H

#include "program.h"

void random_start(__u64 seed);
__u32 random_below(__u32 bound);
bool one_in(__u32 n);

void generate_value(const struct program *program, unsigned int line, struct call *call,
		    unsigned int i);
void generate_call(const struct program *program, unsigned int line, struct call *call);
void generate_program(struct program *program);
void program_insert(struct program *program, unsigned int line, const struct call *call);
void program_remove(struct program *program, unsigned int line, unsigned int count);

/* mutate.c */
void mutate_program(struct program *program, const struct program *other);
bool delay_program(struct program *program);

#endif /* FUZZ_GENERATE_H */
