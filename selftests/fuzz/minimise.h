/* SPDX-License-Identifier: GPL-2.0 */
/* Making a program that finds something smaller. */
#ifndef FUZZ_MINIMISE_H
#define FUZZ_MINIMISE_H

#include <stddef.h>

#include "program.h"

/* Runs a program once; returns NULL or what is wrong. */
typedef const char *(*minimise_run)(const struct program *program);

const char *minimise(struct program *program, const char *finding, unsigned int seconds,
		     minimise_run run);

#endif /* FUZZ_MINIMISE_H */
