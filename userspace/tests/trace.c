// SPDX-License-Identifier: MIT
#include <errno.h>

#include "trace.h"

static int clock_now;

void note(struct pyobjmem *session, uint64_t handle, void *data)
{
	struct trace *trace = data;

	trace->runs++;
	trace->order = ++clock_now;
	trace->handle = handle;
	trace->holds = pyobjmem_holds(session, handle);
	trace->lived = fake_lives(handle);
	errno = EXDEV;
}
