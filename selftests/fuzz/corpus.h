/* SPDX-License-Identifier: GPL-2.0 */
/* The programs that have been somewhere new. */
#ifndef FUZZ_CORPUS_H
#define FUZZ_CORPUS_H

#include "program.h"

unsigned int corpus_count(void);
const struct program *corpus_pick(void);
void corpus_add(const struct program *program);
bool program_load(const char *path, struct program *program);
unsigned int corpus_load(const char *directory, void (*each)(const struct program *program));

#endif /* FUZZ_CORPUS_H */
