// SPDX-License-Identifier: GPL-2.0
/*
 * KCOV: each thread that runs programs has its own trace. Only the module is
 * built to leave one (make KCOV=1), so all that is in it counts.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kcov.h>

#include "coverage.h"

#define TRACE_WORDS	(64U << 10)

/* For the thread that calls; without KCOV only results are gathered. */
void coverage_open(struct coverage *coverage, struct coverage_map *map)
{
	int fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);
	void *trace;

	coverage->map = map;
	coverage->trace = NULL;
	if (fd < 0)
		return;
	if (ioctl(fd, KCOV_INIT_TRACE, (unsigned long)TRACE_WORDS))
		return;
	trace = mmap(NULL, TRACE_WORDS * sizeof(__u64), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (trace == MAP_FAILED || ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
		return;
	coverage->trace = trace;
}

void coverage_begin(struct coverage *coverage)
{
	if (coverage->trace)
		__atomic_store_n(&coverage->trace[0], 0, __ATOMIC_RELAXED);
}

static bool bit_is_new(__u8 *bits, __u32 bit)
{
	__u8 mask = 1 << bit % 8;

	if (bits[bit / 8] & mask)
		return false;
	return !(__atomic_fetch_or(&bits[bit / 8], mask, __ATOMIC_RELAXED) & mask);
}

static __u32 feature(__u64 from, __u64 to)
{
	return ((from << 7 ^ to) * 0x9e3779b97f4a7c15ULL) >> (64 - COVERAGE_FEATURE_BITS);
}

void coverage_end(struct coverage *coverage, unsigned int kind, int error)
{
	struct coverage_map *map = coverage->map;
	__u64 i, n, pc, last = 0;

	if (!map)
		return;
	map->features += bit_is_new(map->feature, feature(kind + 1, error));
	if (!coverage->trace)
		return;
	n = __atomic_load_n(&coverage->trace[0], __ATOMIC_RELAXED);
	for (i = 1; i <= n; i++) {
		pc = coverage->trace[i] & ((1 << COVERAGE_PC_BITS) - 1);
		map->pcs += bit_is_new(map->pc, pc);
		map->features += bit_is_new(map->feature, feature(last, pc));
		last = pc;
	}
}
