// SPDX-License-Identifier: GPL-2.0
/*
 * A BATCH: the lines behind it are its operations, as often as it says.
 */
#include <errno.h>
#include <string.h>

#include "actions.h"
#include "runner.h"

#define V_NEXT		V_OWN
#define V_ENTRIES	(V_OWN + 2)
#define V_COUNT		(V_OWN + 3)

/* The last line that belongs to @line: they are its thread's */
unsigned int runner_consumed(struct runner *runner, const struct call *call, unsigned int line)
{
	const struct call_kind *kind = &call_kinds[call->kind];
	__u64 n = 0;

	if (kind->act == action_fork)
		n = call->value[FORK_NEXT].number;
	else if (!kind->act && kind->op == PYOBJMEM_OP_BATCH)
		n = call->value[V_NEXT].number;
	while (n-- && runner_next(runner, line) < runner->program->count)
		line = runner_next(runner, line);
	return line;
}

/* The lines that a BATCH carries. Returns how many. */
static unsigned int batch_lines(struct runner *runner, const struct call *batch,
				const struct call **lines)
{
	unsigned int line = runner->line, last = runner_consumed(runner, batch, line);
	unsigned int n = 0;

	while (line < last) {
		const struct call *call;

		line = runner_next(runner, line);
		call = &runner->program->call[line];
		if (!call_kinds[call->kind].act)
			lines[n++] = call;
	}
	return n;
}

static void entry_fill(struct runner *runner, const struct call *call,
		       struct pyobjmem_batch_entry *entry)
{
	const struct call_kind *kind = &call_kinds[call->kind];
	__u64 structure[64] = {};

	operation_fill(runner, call, structure);
	entry->op = kind->op;
	entry->out_result = 0;
	memcpy(&entry->command, structure, sizeof(entry->command));
}

/* The session is that of the BATCH, whatever a line says. */
static void entries_judge(struct runner *runner, const struct pyobjmem_batch *batch,
			  const struct value *session, const struct call **lines,
			  unsigned int n, unsigned int filled)
{
	unsigned int i;

	if (batch->out_done > batch->count) {
		found("batch: %u of %u operations were tried", batch->out_done, batch->count);
		return;
	}
	for (i = 0; i < batch->out_done && i < filled; i++) {
		const struct pyobjmem_batch_entry *entry = &runner->entries[i];
		struct call call = *lines[i % n];

		call.value[V_SESSION] = *session;
		operation_judge(runner, &call, 0, -entry->out_result);
		if (!entry->out_result)
			operation_take(runner, &call, &entry->command);
	}
}

/* Returns the errno. */
int runner_batch(struct runner *runner, const struct call *call)
{
	const struct call *lines[LINES_MAX];
	unsigned int i, filled, n = batch_lines(runner, call, lines);
	int error, session = runner_value(runner, call, V_SESSION);
	struct pyobjmem_batch *batch = runner->command;
	void *elsewhere = (void *)runner_value(runner, call, V_ENTRIES);
	__u64 times = call->value[V_TIMES].number;

	filled = times > PYOBJMEM_BATCH_MAX ? n * PYOBJMEM_BATCH_MAX : n * times;
	if (filled > PYOBJMEM_BATCH_MAX)
		filled = PYOBJMEM_BATCH_MAX;
	for (i = 0; i < filled; i++) {
		if (i < n)
			entry_fill(runner, lines[i], &runner->entries[i]);
		else
			runner->entries[i] = runner->entries[i - n];
	}
	memset(batch, 0, COMMAND_USED);
	operation_fill(runner, call, batch);
	if (!batch->count)
		batch->count = filled;
	if (elsewhere)
		memory_put(elsewhere, runner->entries, filled * sizeof(*runner->entries));
	else
		batch->entries = (__u64)runner->entries;
	error = runner_submit(runner, call, session, PYOBJMEM_OP_BATCH, batch, sizeof(*batch));
	operation_judge(runner, call, session, error);
	if (error || call->value[V_AT].kind == MEMORY || !n)
		return error;
	if (elsewhere && !memory_get(runner->entries, elsewhere,
				     filled * sizeof(*runner->entries)))
		return error;
	entries_judge(runner, batch, &call->value[V_SESSION], lines, n, filled);
	return error;
}
