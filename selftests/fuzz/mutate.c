// SPDX-License-Identifier: GPL-2.0
/*
 * Changing a program a little.
 */
#include <string.h>

#include "calls.h"
#include "generate.h"

static void mutate_value(struct program *program)
{
	unsigned int line = random_below(program->count);
	struct call *call = &program->call[line];
	const struct call_kind *kind = &call_kinds[call->kind];

	if (kind->parameters)
		generate_value(program, line, call, random_below(kind->parameters));
}

/* Odd sizes and addresses, faults, repetition: what is rare otherwise */
static void mutate_common(struct program *program)
{
	unsigned int tries, line = random_below(program->count), i = 1 + random_below(V_OWN - 1);
	struct call *call = &program->call[line];

	if (call_kinds[call->kind].act)
		return;
	for (tries = 0; tries < 20; tries++) {
		generate_value(program, line, call, i);
		if (call->value[i].kind != NUMBER ||
		    call->value[i].number != call_kinds[call->kind].parameter[i].usual)
			return;
	}
}

static void mutate_out(struct program *program)
{
	struct call *call = &program->call[random_below(program->count)];
	enum value_kind out = call_kinds[call->kind].out;

	if (out != NUMBER)
		call->out = random_below(register_count[out]);
}

static void mutate_thread(struct program *program)
{
	struct call *call = &program->call[random_below(program->count)];

	call->thread = random_below(one_in(4) ? THREADS : program_threads(program));
}

static void mutate_insert(struct program *program)
{
	unsigned int line = random_below(program->count + 1);
	struct call call;

	generate_call(program, line, &call);
	program_insert(program, line, &call);
}

/* A line again, elsewhere */
static void mutate_repeat(struct program *program)
{
	struct call call = program->call[random_below(program->count)];

	program_insert(program, random_below(program->count + 1), &call);
}

/* Some lines of another program */
static void mutate_splice(struct program *program, const struct program *other)
{
	unsigned int line = random_below(program->count + 1);
	unsigned int from = random_below(other->count);
	unsigned int n = 1 + random_below(other->count - from);

	while (n-- && program->count < LINES_MAX)
		program_insert(program, line++, &other->call[from++]);
}

/* Change @program one to some times; lines may come from @other. */
void mutate_program(struct program *program, const struct program *other)
{
	unsigned int times = 1 + random_below(4);

	while (times--) {
		if (!program->count) {
			mutate_insert(program);
			continue;
		}
		switch (random_below(16)) {
		case 0 ... 4:
			mutate_insert(program);
			break;
		case 5 ... 8:
			mutate_value(program);
			break;
		case 9:
			mutate_common(program);
			break;
		case 10:
			mutate_out(program);
			break;
		case 11:
			mutate_thread(program);
			break;
		case 12:
			mutate_repeat(program);
			break;
		case 13:
			if (other->count)
				mutate_splice(program, other);
			break;
		default:
			program_remove(program, random_below(program->count),
				       1 + random_below(one_in(3) ? 4 : 1));
			break;
		}
	}
}

/*
 * Let one line wait a little first, for the sake of threads. Returns false if
 * there is no room.
 */
bool delay_program(struct program *program)
{
	unsigned int line = random_below(program->count + 1);
	struct call pause;

	if (program->count == LINES_MAX)
		return false;
	call_init(&pause, call_kind_find("pause"));
	pause.value[0].number = random_below(one_in(2) ? 200 : 3000);
	pause.thread = random_below(program_threads(program));
	program_insert(program, line, &pause);
	return true;
}
