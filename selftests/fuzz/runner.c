// SPDX-License-Identifier: GPL-2.0
/*
 * Running the lines of a program one after the other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "actions.h"
#include "runner.h"

#define SLOW_S		30
#define EDGES_BYTES	(EDGES_FILLED * sizeof(__u64))

struct registers registers;
struct shared *shared;
bool runs_32_bits;

/* Note what is wrong; only the first counts. */
void found(const char *format, ...)
{
	va_list arguments;

	if (atomic_exchange(&shared->found, 1))
		return;
	va_start(arguments, format);
	vsnprintf(shared->finding, sizeof(shared->finding), format, arguments);
	va_end(arguments);
}

/* For the thread that will run. */
void runner_init(struct runner *runner, unsigned int thread)
{
	memset(runner, 0, sizeof(*runner));
	runner->thread = thread;
	runner->command = mmap(NULL, COMMAND_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	runner->entries = memory_reserve(PYOBJMEM_BATCH_MAX * sizeof(*runner->entries));
	runner->edges = memory_reserve(LINES_MAX * EDGES_BYTES +
				       PYOBJMEM_SLOTS_MAX * sizeof(__u64));
	runner->fail_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	coverage_open(&runner->coverage, &shared->coverage);
}

/* The @nth allocation or copy of this thread from now on fails; 0: none. */
void runner_fail(struct runner *runner, __u64 nth)
{
	char text[24];
	int length;

	if (runner->fail_fd < 0)
		return;
	length = snprintf(text, sizeof(text), "%u", (unsigned int)nth & 0xffff);
	/* The copy of the text itself may be what fails. */
	if (pwrite(runner->fail_fd, text, length, 0) != length &&
	    pwrite(runner->fail_fd, text, length, 0) != length)
		found("fuzzer: fail-nth: %s", strerror(errno));
}

/* The next line of the same thread behind @line */
unsigned int runner_next(const struct runner *runner, unsigned int line)
{
	do {
		line++;
	} while (line < runner->program->count &&
		 runner->program->call[line].thread != runner->thread);
	return line;
}

static __u64 register_value(const struct value *value)
{
	switch (value->kind) {
	case SESSION:
		return registers.session[value->index] + value->number;
	case DESCRIPTOR:
		return registers.descriptor[value->index] + value->number;
	case HANDLE:
		return registers.handle[value->index] + value->number;
	case CHILD:
		return registers.child[value->index];
	default:
		return value->number;
	}
}

/* The handles that a line points to, repeated up to the number of slots */
static __u64 edges_value(struct runner *runner, const struct call *call,
			 const struct value *value)
{
	__u64 *edges = runner->edges + (call - runner->program->call) % LINES_MAX * EDGES_FILLED;
	__u64 slots = call_kinds[call->kind].batch ? runner_value(runner, call, V_OWN + 1) : 1;
	unsigned int i;

	for (i = 0; value->index && i < slots && i < EDGES_FILLED; i++)
		edges[i] = register_value(&call->edge[i % value->index]);
	return (__u64)edges;
}

/* The value of a line's parameter */
__u64 runner_value(struct runner *runner, const struct call *call, unsigned int i)
{
	const struct value *value = &call->value[i];

	switch (value->kind) {
	case MEMORY:
		return (__u64)memory_address(value->index, value->number, runner->thread);
	case EDGES:
		return edges_value(runner, call, value);
	default:
		return register_value(value);
	}
}

/* Judging what a line that is no operation gave */
void runner_judge(struct runner *runner, const struct call *call, int error)
{
	const struct call_kind *kind = &call_kinds[call->kind];

	if (call->expect != ANYTHING && call->expect != error)
		found("expected: line %u, %s, was to give %s but gave %s", runner->line + 1,
		      kind->name, error_name(call->expect), error_name(error));
	if (!call_may_give(kind, error))
		found("errno: %s gave %s, which it must not", kind->name, error_name(error));
}

static int ioctl_32_bits(int fd, unsigned int number, void *structure)
{
	long result = 54;	/* the number of ioctl(2) there */

	asm volatile("int $0x80"
		     : "+a" (result)
		     : "b" (fd), "c" (number), "d" (structure)
		     : "memory", "r8", "r9", "r10", "r11");
	return result;
}

static __u64 seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Make the call of an operation. Returns the errno. */
int runner_submit(struct runner *runner, const struct call *call, int fd, unsigned int op,
		  void *structure, size_t size)
{
	unsigned int number = _IO(PYOBJMEM_TYPE, op);
	void *at = (void *)runner_value(runner, call, V_AT);
	__u64 began = seconds();
	int error;

	if (at)
		memory_put(at, structure, size);
	if (call->value[V_FAIL].number)
		runner_fail(runner, call->value[V_FAIL].number);
	if (call->value[V_BITS].number == 32 && runs_32_bits && !at)
		error = -ioctl_32_bits(fd, number, structure);
	else
		error = ioctl(fd, number, at ?: structure) ? errno : 0;
	if (call->value[V_FAIL].number)
		runner_fail(runner, 0);
	if (seconds() - began > SLOW_S)
		found("slow: %s took more than %u seconds", call_kinds[call->kind].name, SLOW_S);
	if (at && !error && !memory_get(structure, at, size))
		memset(structure, 0, size);	/* it went away meanwhile */
	shared->calls++;
	return error;
}

static void runner_line(struct runner *runner, const struct call *call)
{
	const struct call_kind *kind = &call_kinds[call->kind];
	__u64 times = kind->act ? 1 : call->value[V_TIMES].number;
	int error = 0;

	if (times > TIMES_MAX)
		times = TIMES_MAX;
	if (kind->act) {
		coverage_begin(&runner->coverage);
		error = -kind->act(runner, call);
		if (error < 0)
			error = 0;
		coverage_end(&runner->coverage, call->kind, error);
		runner_judge(runner, call, error);
		return;
	}
	if (kind->op == PYOBJMEM_OP_BATCH)
		times = 1;	/* it repeats its lines instead */
	while (times--) {
		coverage_begin(&runner->coverage);
		error = kind->op == PYOBJMEM_OP_BATCH ? runner_batch(runner, call) :
							runner_operation(runner, call);
		coverage_end(&runner->coverage, call->kind, error);
		if (error)
			break;
	}
}

/* Run the lines of this thread among @count from @from on. */
void runner_run(struct runner *runner, unsigned int from, unsigned int count)
{
	unsigned int line, end = from + count;

	for (line = from; line < end && line < runner->program->count; line++) {
		const struct call *call = &runner->program->call[line];

		if (call->thread != runner->thread)
			continue;
		runner->line = line;
		runner_line(runner, call);
		line = runner_consumed(runner, call, line);
	}
}
