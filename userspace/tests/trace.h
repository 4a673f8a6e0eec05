/* SPDX-License-Identifier: MIT */
/*
 * A finalizer that leaves a trace.
 */
#ifndef TRACE_H
#define TRACE_H

#include "unit.h"

/* What a finalizer is to do, and what it saw. */
struct trace {
	int runs;
	int order;
	uint64_t handle;
	uint64_t holds;
	bool lived;
	int result;
	uint64_t other;
	uint32_t slot;
};

/* Write down what there is to see, and disturb errno. */
void note(struct pyobjmem *session, uint64_t handle, void *data);

#endif /* TRACE_H */
