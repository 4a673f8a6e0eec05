// SPDX-License-Identifier: GPL-2.0
/*
 * An operation: its structure filled from a line, what it returned put into
 * registers and judged.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

void operation_fill(struct runner *runner, const struct call *call, void *structure)
{
	const struct call_kind *kind = &call_kinds[call->kind];
	unsigned int i;

	for (i = 0; i < kind->parameters; i++) {
		const struct parameter *parameter = &kind->parameter[i];
		__u64 value = runner_value(runner, call, i);

		if (parameter->width)
			memcpy(structure + parameter->offset, &value, parameter->width);
	}
}

static struct session_note *session_note(const struct call *call)
{
	static __thread struct session_note unknown;
	const struct value *value = &call->value[V_SESSION];

	if (value->kind == SESSION)
		return &registers.session_note[value->index];
	unknown = (struct session_note){ .pid = getpid() };
	return &unknown;
}

static bool heap_is_nomap(__u64 heap)
{
	unsigned int i;

	for (i = 0; i < SESSIONS; i++)
		if (registers.session_note[i].heap == heap && registers.session_note[i].nomap)
			return true;
	return false;
}

/* What a CREATE that took place tells about its object */
static void note_object(const struct call *call, const struct pyobjmem_create *create,
			struct handle_note *note)
{
	const struct value *source = &call->value[V_OWN + 3];
	bool data = source->kind == MEMORY && source->index == DATA;

	note->known = false;
	note->heap = session_note(call)->heap;
	note->zero = !create->payload;
	note->source = source->number % DATA_BYTES;
	note->bytes = create->payload_size;
	if (create->flags & PYOBJMEM_CREATE_MUTABLE || !(data || note->zero) ||
	    (data && note->source + note->bytes > DATA_BYTES))
		return;
	note->known = true;
}

/* Put what an operation returned into registers. */
void operation_take(struct runner *runner, const struct call *call, const void *structure)
{
	const struct call_kind *kind = &call_kinds[call->kind];
	const struct pyobjmem_heap_create *create = structure;
	const struct pyobjmem_heap_join *join = structure;
	struct session_note *note = session_note(call);

	switch (kind->op) {
	case PYOBJMEM_OP_HEAP_CREATE:
		note->nomap = create->flags & PYOBJMEM_HEAP_NOMAP;
		note->heap = create->out_heap;
		break;
	case PYOBJMEM_OP_HEAP_JOIN:
		note->nomap = heap_is_nomap(join->out_heap);
		note->heap = join->out_heap;
		break;
	case PYOBJMEM_OP_CREATE:
		registers.handle_note[call->out].known = false;
		if (runner->alone)
			note_object(call, structure, &registers.handle_note[call->out]);
		break;
	default:
		if (kind->out == HANDLE)
			registers.handle_note[call->out].known = false;
		break;
	}
	if (kind->out == HANDLE)
		memcpy(&registers.handle[call->out], structure + kind->out_offset, sizeof(__u64));
	else if (kind->out == DESCRIPTOR)
		memcpy(&registers.descriptor[call->out], structure + kind->out_offset,
		       sizeof(int));
}

static void judge_bytes(const struct handle_note *note, const struct pyobjmem_read *read,
			const unsigned char *got, unsigned int thread)
{
	const unsigned char *expected = memory_address(DATA, note->source + read->offset, thread);
	__u64 i, length = note->bytes - read->offset;

	if (length > read->length)
		length = read->length;
	if (read->out_payload != note->bytes || read->out_length != length) {
		found("bytes: %llu of %u were read, %llu of %u expected",
		      (unsigned long long)read->out_length, read->out_payload,
		      (unsigned long long)length, note->bytes);
		return;
	}
	for (i = 0; i < length; i++) {
		if (got[i] == (note->zero ? 0 : expected[i]))
			continue;
		found("bytes: byte %llu of an object of %u is %#x instead of %#x",
		      (unsigned long long)(read->offset + i), note->bytes, got[i],
		      note->zero ? 0 : expected[i]);
		return;
	}
}

/* A READ of an object of which everything is known, into a place that is good */
static void judge_read(struct runner *runner, const struct call *call,
		       const struct pyobjmem_read *read)
{
	const struct value *handle = &call->value[V_OWN], *target = &call->value[V_OWN + 1];
	const struct handle_note *note = &registers.handle_note[handle->index];

	if (!runner->alone || handle->kind != HANDLE || handle->number || !note->known ||
	    note->heap != session_note(call)->heap || target->kind != MEMORY ||
	    target->index != ROOM || target->number % ROOM_BYTES + note->bytes > ROOM_BYTES)
		return;
	if (read->size < sizeof(*read) || call->value[V_AT].kind == MEMORY)
		return;
	judge_bytes(note, read, memory_address(ROOM, target->number, runner->thread),
		    runner->thread);
}

/* Judge what an operation on a descriptor gave. */
void operation_judge(struct runner *runner, const struct call *call, int session, int error)
{
	const struct call_kind *kind = &call_kinds[call->kind];
	const struct session_note *note = session_note(call);

	if (error == EBADF && (session < 0 || !runner->alone || runner->child))
		return;
	if (note->pid && note->pid != getpid() && error != EIO && session >= 0)
		found("mm: %s of a session of another address space gave %s", kind->name,
		      error_name(error));
	if (runner->alone && note->nomap && error == ESTALE)
		found("nomap: %s tells what lives in a heap that cannot be mapped", kind->name);
	runner_judge(runner, call, error);
}

/* Returns the errno. */
int runner_operation(struct runner *runner, const struct call *call)
{
	const struct call_kind *kind = &call_kinds[call->kind];
	int session = runner_value(runner, call, V_SESSION);
	void *structure = runner->command;
	int error;

	memset(structure, 0, COMMAND_USED);
	operation_fill(runner, call, structure);
	error = runner_submit(runner, call, session, kind->op, structure, kind->size);
	operation_judge(runner, call, session, error);
	if (!error) {
		operation_take(runner, call, structure);
		if (kind->op == PYOBJMEM_OP_READ)
			judge_read(runner, call, structure);
	}
	return error;
}
