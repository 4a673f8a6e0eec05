// SPDX-License-Identifier: GPL-2.0
/*
 * The text of programs: what is logged, replayed, minimised and kept.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "memory.h"

const unsigned int register_count[VALUE_KINDS] = {
	[SESSION] = SESSIONS,
	[DESCRIPTOR] = FILES,
	[HANDLE] = HANDLES,
	[CHILD] = CHILDREN,
};

static const char register_letter[VALUE_KINDS] = {
	[SESSION] = 's',
	[DESCRIPTOR] = 'f',
	[HANDLE] = 'h',
	[CHILD] = 'c',
};

static const struct {
	int number;
	const char *name;
} errors[] = {
#define ERROR(name) { name, #name }
	{ 0, "OK" },
	ERROR(ENOTTY), ERROR(EINVAL), ERROR(E2BIG), ERROR(EOPNOTSUPP), ERROR(EFAULT),
	ERROR(EBADF), ERROR(ENOENT), ERROR(ESTALE), ERROR(EPERM), ERROR(EXDEV), ERROR(EIO),
	ERROR(ENOTCONN), ERROR(EALREADY), ERROR(ECANCELED), ERROR(EMFILE), ERROR(ENFILE),
	ERROR(ENOSPC), ERROR(EDQUOT), ERROR(ENOMEM), ERROR(EOVERFLOW), ERROR(EINTR),
#undef ERROR
};

const char *error_name(int error)
{
	static __thread char other[16];
	unsigned int i;

	for (i = 0; i < ARRAY_LENGTH(errors); i++)
		if (errors[i].number == error)
			return errors[i].name;
	snprintf(other, sizeof(other), "errno %d", error);
	return other;
}

void call_init(struct call *call, unsigned int kind)
{
	unsigned int i;

	memset(call, 0, sizeof(*call));
	call->kind = kind;
	call->expect = ANYTHING;
	for (i = 0; i < call_kinds[kind].parameters; i++)
		call->value[i].number = call_kinds[kind].parameter[i].usual;
}

/* The number of threads that a program needs */
unsigned int program_threads(const struct program *program)
{
	unsigned int i, threads = 1;

	for (i = 0; i < program->count; i++)
		if (program->call[i].thread >= threads)
			threads = program->call[i].thread + 1;
	return threads;
}

/* Printing */

struct text {
	char *at;
	size_t room;
};

static void __attribute__((format(printf, 2, 3))) put(struct text *text, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text->at, text->room, format, arguments);
	va_end(arguments);
	if ((size_t)length >= text->room)
		length = text->room ? text->room - 1 : 0;
	text->at += length;
	text->room -= length;
}

static void put_number(struct text *text, __u64 number)
{
	if (number < 65536)
		put(text, "%llu", (unsigned long long)number);
	else if (-number < 65536)
		put(text, "-%llu", (unsigned long long)-number);
	else
		put(text, "%#llx", (unsigned long long)number);
}

static void put_value(struct text *text, const struct call *call, const struct value *value)
{
	unsigned int i;

	switch (value->kind) {
	case NUMBER:
		put_number(text, value->number);
		return;
	case EDGES:
		for (i = 0; i < value->index; i++) {
			put(text, i ? "," : "[");
			put_value(text, call, &call->edge[i]);
		}
		put(text, "]");
		return;
	case MEMORY:
		put(text, "&%s", memory_names[value->index]);
		break;
	default:
		put(text, "%c%u", register_letter[value->kind], value->index);
		break;
	}
	if (value->number) {
		put(text, "+");
		put_number(text, value->number);
	}
}

static void put_call(struct text *text, const struct call *call)
{
	const struct call_kind *kind = &call_kinds[call->kind];
	unsigned int i;

	if (call->thread)
		put(text, "t%u ", call->thread);
	if (kind->out != NUMBER)
		put(text, "%c%u = ", register_letter[kind->out], call->out);
	put(text, "%s", kind->name);
	for (i = 0; i < kind->parameters; i++) {
		const struct parameter *parameter = &kind->parameter[i];
		const struct value *value = &call->value[i];

		if (parameter->name && value->kind == NUMBER && value->number == parameter->usual)
			continue;
		put(text, parameter->name ? " %s=" : " ", parameter->name);
		put_value(text, call, value);
	}
	if (call->expect != ANYTHING)
		put(text, " ! %s", error_name(call->expect));
	put(text, "\n");
}

/* Returns the length of the text. */
size_t program_print(const struct program *program, char *buffer, size_t room)
{
	struct text text = { .at = buffer, .room = room };
	unsigned int i;

	*buffer = 0;
	for (i = 0; i < program->count; i++)
		put_call(&text, &program->call[i]);
	return text.at - buffer;
}

/* Parsing */

static const char *parse_value(struct call *call, char *text, struct value *value);

static const char *parse_edges(struct call *call, char *text, struct value *value)
{
	const char *wrong;
	char *rest, *word;

	if (text[strlen(text) - 1] != ']')
		return "a list that does not end";
	text[strlen(text) - 1] = 0;
	value->kind = EDGES;
	rest = text + 1;
	while ((word = strsep(&rest, ","))) {
		if (value->index == EDGES_MAX)
			return "too many edges";
		if (*word == '[')
			return "a list in a list";
		wrong = parse_value(call, word, &call->edge[value->index++]);
		if (wrong)
			return wrong;
	}
	return NULL;
}

static const char *parse_number(const char *text, __u64 *number)
{
	char *end;

	*number = *text == '-' ? -strtoull(text + 1, &end, 0) : strtoull(text, &end, 0);
	return end == text || *end ? "not a number" : NULL;
}

static int register_kind(const char *text)
{
	int kind;

	for (kind = 0; kind < VALUE_KINDS; kind++)
		if (register_letter[kind] && register_letter[kind] == *text && isdigit(text[1]))
			return kind;
	return -1;
}

static const char *parse_value(struct call *call, char *text, struct value *value)
{
	int kind = register_kind(text);
	char *plus;
	int area;

	memset(value, 0, sizeof(*value));
	if (*text == '[')
		return parse_edges(call, text, value);
	if (kind < 0 && *text != '&')
		return parse_number(text, &value->number);
	plus = strchr(text, '+');
	if (plus)
		*plus++ = 0;
	if (kind < 0) {
		area = memory_find(text + 1);
		if (area < 0)
			return "no such area of memory";
		value->kind = MEMORY;
		value->index = area;
	} else {
		value->kind = kind;
		value->index = atoi(text + 1);
		if (value->index >= register_count[kind])
			return "no such register";
	}
	return plus ? parse_number(plus, &value->number) : NULL;
}

static const char *parse_expectation(struct call *call, const char *name)
{
	unsigned int i;

	for (i = 0; name && i < ARRAY_LENGTH(errors); i++) {
		if (!strcmp(errors[i].name, name)) {
			call->expect = errors[i].number;
			return NULL;
		}
	}
	return "no such error";
}

static const char *parse_parameter(struct call *call, char *word, unsigned int *unnamed)
{
	const struct call_kind *kind = &call_kinds[call->kind];
	char *text = strchr(word, '=');
	unsigned int i;

	if (!text) {
		for (i = *unnamed; i < kind->parameters; i++) {
			if (kind->parameter[i].name)
				continue;
			*unnamed = i + 1;
			return parse_value(call, word, &call->value[i]);
		}
		return "too many values";
	}
	*text++ = 0;
	for (i = 0; i < kind->parameters; i++)
		if (kind->parameter[i].name && !strcmp(kind->parameter[i].name, word))
			return parse_value(call, text, &call->value[i]);
	return "no such parameter";
}

static const char *parse_call(struct call *call, char *line)
{
	unsigned int thread = 0, out = 0, unnamed = 0;
	char *word = strsep(&line, " ");
	const char *wrong = NULL;
	enum value_kind out_kind = NUMBER;
	int kind;

	if (*word == 't' && isdigit(word[1])) {
		thread = atoi(word + 1);
		word = strsep(&line, " ");
	}
	if (word && register_kind(word) >= 0) {
		out_kind = register_kind(word);
		out = atoi(word + 1);
		word = strsep(&line, " ");
		if (!word || strcmp(word, "="))
			return "no = behind a register";
		word = strsep(&line, " ");
	}
	kind = word ? call_kind_find(word) : -1;
	if (kind < 0)
		return "no such call";
	if (thread >= THREADS || call_kinds[kind].out != out_kind ||
	    (out_kind != NUMBER && out >= register_count[out_kind]))
		return "wrong register or thread";
	call_init(call, kind);
	call->thread = thread;
	call->out = out;
	while (!wrong && (word = strsep(&line, " "))) {
		if (!strcmp(word, "!"))
			return parse_expectation(call, line);
		wrong = parse_parameter(call, word, &unnamed);
	}
	return wrong;
}

/* Returns NULL, or what is wrong. */
const char *program_parse(struct program *program, const char *text)
{
	char *copy = strdup(text), *rest = copy, *line;
	const char *wrong = NULL;

	program->count = 0;
	while (!wrong && (line = strsep(&rest, "\n"))) {
		if (!*line || *line == '#')
			continue;
		if (program->count == LINES_MAX)
			wrong = "too many lines";
		else
			wrong = parse_call(&program->call[program->count++], line);
	}
	free(copy);
	return wrong;
}
