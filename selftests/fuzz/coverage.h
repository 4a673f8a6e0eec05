/* SPDX-License-Identifier: GPL-2.0 */
/* Where in the module programs have been. */
#ifndef FUZZ_COVERAGE_H
#define FUZZ_COVERAGE_H

#include <stdbool.h>
#include <linux/types.h>

#define COVERAGE_PC_BITS	20
#define COVERAGE_FEATURE_BITS	18

/**
 * struct coverage_map - what has been seen in this run of the fuzzer
 * @pcs: distinct places in the module
 * @features: distinct steps from one place to the next, and results of calls
 * @pc: the places
 * @feature: the steps and results
 *
 * It lies in memory that processes share. Threads may both count what is new.
 */
struct coverage_map {
	__u32 pcs;
	__u32 features;
	__u8 pc[(1 << COVERAGE_PC_BITS) / 8];
	__u8 feature[(1 << COVERAGE_FEATURE_BITS) / 8];
};

/**
 * struct coverage - where the kernel writes where this thread goes
 * @trace: number of places, then the places; NULL without KCOV
 * @map: where it is gathered
 */
struct coverage {
	__u64 *trace;
	struct coverage_map *map;
};

void coverage_open(struct coverage *coverage, struct coverage_map *map);
void coverage_begin(struct coverage *coverage);
void coverage_end(struct coverage *coverage, unsigned int kind, int error);

#endif /* FUZZ_COVERAGE_H */
