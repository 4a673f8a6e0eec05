// SPDX-License-Identifier: GPL-2.0
/*
 * Making up programs. Most values are sensible, so that most calls do something;
 * the rest is junk. Registers are preferred that lines above have filled.
 */
#include <string.h>
#include <sys/ioctl.h>

#include <linux/pyobjmem.h>

#include "calls.h"
#include "generate.h"
#include "memory.h"

static __u64 state = 1;

/* xorshift64*: the same numbers from the same seed everywhere. */
static __u64 random_next(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dULL;
}

void random_start(__u64 seed)
{
	state = seed ?: 1;
	random_next();
	random_next();
}

__u32 random_below(__u32 bound)
{
	return bound ? (random_next() >> 32) % bound : 0;
}

bool one_in(__u32 n)
{
	return !random_below(n);
}

static __u64 junk(void)
{
	switch (random_below(7)) {
	case 0:
		return 0;
	case 1:
		return ~0ULL;
	case 2:
		return random_next();
	case 3:
		return 1ULL << random_below(64);
	case 4:
		return (1ULL << random_below(64)) - 1;
	case 5:
		return 1ULL << 32 | random_below(1 << 20);
	default:
		return random_below(4096);
	}
}

static struct value number(__u64 value)
{
	return (struct value){ .kind = NUMBER, .number = value };
}

static struct value memory(enum area area, __u64 offset)
{
	return (struct value){ .kind = MEMORY, .index = area, .number = offset };
}

/*
 * A register, one that a line above @line fills if there is any; with @session,
 * a line on that session.
 */
static struct value pick_of(const struct program *program, unsigned int line,
			    enum value_kind kind, const struct value *session)
{
	__u8 filled[LINES_MAX];
	unsigned int i, n = 0;

	for (i = 0; i < line && i < program->count; i++) {
		const struct call *call = &program->call[i];

		if (call_kinds[call->kind].out == kind &&
		    (!session || call->value[V_SESSION].index == session->index))
			filled[n++] = call->out;
	}
	return (struct value){
		.kind = kind,
		.index = n && !one_in(16) ? filled[random_below(n)] :
					    random_below(register_count[kind]),
	};
}

static struct value pick(const struct program *program, unsigned int line, enum value_kind kind)
{
	return pick_of(program, line, kind, NULL);
}

/* Mostly what the session of the call holds */
static struct value pick_handle(const struct program *program, unsigned int line,
				const struct call *call)
{
	struct value value = pick_of(program, line, HANDLE,
				     one_in(8) ? NULL : &call->value[V_SESSION]);

	if (one_in(50))
		return number(junk());
	if (one_in(30))
		value.number = one_in(2) ? 1ULL << 32 : 1 + random_below(9);
	return value;
}

static struct value pick_descriptor(const struct program *program, unsigned int line)
{
	if (one_in(25))
		return number((int)junk());
	return pick(program, line, one_in(12) ? SESSION : DESCRIPTOR);
}

static __u64 some_bytes(void)
{
	switch (random_below(16)) {
	case 0:
		return 0;
	case 1:
		return 480 + random_below(48);
	case 2:
		return 4096 - 24 + random_below(32);
	case 3:
		return random_below(9000);
	case 4:
		return 8 * random_below(64);
	case 5:
		return one_in(3) ? (256 << 10) - 32 + random_below(64) : random_below(70000);
	case 6:
		return one_in(4) ? random_below(1500000) : 4096 * random_below(20);
	case 7:
		return one_in(8) ? junk() : 16;
	default:
		return random_below(300);
	}
}

static __u64 some_slots(void)
{
	switch (random_below(24)) {
	case 0:
		return 250 + random_below(20);
	case 1:
		return random_below(70);
	case 2:
		return one_in(3) ? random_below(2000) : 509 - random_below(4);
	case 3:
		return one_in(30) ? PYOBJMEM_SLOTS_MAX - random_below(2) : 1;
	case 4:
		return one_in(20) ? junk() : 2;
	default:
		return random_below(4);
	}
}

static __u64 some_times(__u64 usual)
{
	if (!one_in(usual > 1 ? 2 : 25))
		return usual;
	return one_in(4) ? 200 + random_below(420) : 2 + random_below(20);
}

static __u64 some_size(__u64 usual)
{
	static const __u32 odd[] = { 0, 4, 8, 64, 4096, 4097, ~0U };

	if (!one_in(60))
		return usual;
	return one_in(2) ? odd[random_below(ARRAY_LENGTH(odd))] :
			   usual + 8 * random_below(5) - 16;
}

static __u64 some_limit(__u64 step)
{
	switch (random_below(6)) {
	case 0:
		return junk();
	case 1:
		return step * random_below(8);
	case 2:
		return random_below(8 << 20);
	case 3:
		return step * random_below(3000);
	default:
		return step * random_below(64);
	}
}

static __u64 some_below(__u64 limit)
{
	if (one_in(50))
		return one_in(2) ? limit : junk();
	return random_below(limit);
}

static __u64 some_command(void)
{
	unsigned int op = random_below(PYOBJMEM_OP_COUNT + 3);

	switch (random_below(5)) {
	case 0:
		return junk() & ~0U;
	case 1:
		return _IOC(_IOC_READ | _IOC_WRITE, PYOBJMEM_TYPE, op, 16);
	case 2:
		return _IO(PYOBJMEM_TYPE + 1, op);
	case 3:
		return _IOC(_IOC_NONE, PYOBJMEM_TYPE, op, 8);
	default:
		return _IO(PYOBJMEM_TYPE, op);
	}
}

/* An address whose use fails in some way, or takes long */
static struct value odd_memory(void)
{
	static const enum area areas[] = { CONSTANT, NOTHING, BRINK, SHIFTY, LATE, ROOM };
	enum area area = areas[random_below(ARRAY_LENGTH(areas))];

	if (one_in(20))
		return number(one_in(2) ? 0xffff888000000000ULL : 0x7ffffffff000ULL);
	return memory(area, area == BRINK ? 1 + random_below(one_in(3) ? 4096 : 400) :
					    random_below(one_in(2) ? 8 : 16384));
}

static struct value some_source(void)
{
	if (one_in(3))
		return number(0);
	if (one_in(9))
		return odd_memory();
	return memory(DATA, random_below(one_in(4) ? DATA_BYTES : 64));
}

static struct value some_edges(const struct program *program, unsigned int line,
			       struct call *call)
{
	struct value value = { .kind = EDGES, .index = 1 + random_below(EDGES_MAX) };
	unsigned int i;

	if (one_in(2))
		return number(0);
	if (one_in(30))
		return odd_memory();
	for (i = 0; i < value.index; i++)
		call->edge[i] = one_in(5) ? number(0) : pick_handle(program, line, call);
	return value;
}

/* Make up the value of parameter @i of a call that stands at @line. */
void generate_value(const struct program *program, unsigned int line, struct call *call,
		    unsigned int i)
{
	const struct parameter *parameter = &call_kinds[call->kind].parameter[i];
	struct value *value = &call->value[i];

	*value = number(parameter->usual);
	switch (parameter->type) {
	case P_SESSION:
		*value = pick(program, line, one_in(200) ? DESCRIPTOR : SESSION);
		break;
	case P_DESCRIPTOR:
		*value = pick_descriptor(program, line);
		break;
	case P_CHILD:
		*value = pick(program, line, CHILD);
		break;
	case P_VALUE:
		if (!one_in(5))
			*value = pick_handle(program, line, call);
		break;
	case P_HANDLE:
		*value = pick_handle(program, line, call);
		break;
	case P_EDGES:
		*value = some_edges(program, line, call);
		break;
	case P_SOURCE:
		*value = some_source();
		break;
	case P_TARGET:
		*value = one_in(6) ? odd_memory() : memory(ROOM, random_below(64));
		break;
	case P_PLACE:
		if (one_in(20))
			*value = odd_memory();
		if (value->kind == NUMBER)
			value->number = 0;
		break;
	case P_AREA:
		*value = memory(one_in(2) ? LATE : SHIFTY, 0);
		break;
	case P_FLAGS:
		if (one_in(parameter->limit ? 2 : 60))
			value->number = one_in(30) ? junk() & ~0U :
						     random_below(parameter->limit + 1);
		break;
	case P_BELOW:
		value->number = some_below(parameter->limit);
		break;
	case P_BYTES:
		value->number = some_bytes();
		break;
	case P_OFFSET:
		value->number = one_in(3) ? some_bytes() : 0;
		break;
	case P_SLOTS:
		value->number = some_slots();
		break;
	case P_SIZE:
		value->number = some_size(parameter->usual);
		break;
	case P_RESERVED:
		if (one_in(80))
			value->number = junk() & ~0U;
		break;
	case P_BITS:
		if (one_in(40))
			value->number = 32;
		break;
	case P_TIMES:
		value->number = some_times(parameter->usual);
		break;
	case P_FAIL:
		if (one_in(16))
			value->number = 1 + random_below(one_in(3) ? 24 : 6);
		break;
	case P_NEXT:
		value->number = 1 + random_below(6);
		break;
	case P_LIMIT:
		value->number = some_limit(parameter->limit);
		break;
	case P_COMMAND:
		value->number = some_command();
		break;
	}
}

static unsigned int some_kind(void)
{
	unsigned int i, at, sum = 0;

	for (i = 0; i < call_kinds_count; i++)
		sum += call_kinds[i].weight;
	at = random_below(sum);
	for (i = 0; at >= call_kinds[i].weight; i++)
		at -= call_kinds[i].weight;
	return i;
}

/* A register for a result: of sessions, rather one that is not in use */
static unsigned int random_out(const struct program *program, enum value_kind kind)
{
	unsigned int out = random_below(register_count[kind]), i;

	for (i = 0; kind == SESSION && i < program->count; i++)
		if (call_kinds[program->call[i].kind].out == kind && program->call[i].out == out &&
		    !one_in(8))
			return (out + 1) % register_count[kind];
	return out;
}

/* Calls that make more of what another has done */
static const struct {
	const char *first;
	const char *then;
} follow_ups[] = {
	{ "heap", "join" },
	{ "export", "redeem" }, { "export", "redeem" }, { "export", "close" },
	{ "export", "send" }, { "send", "receive" },
	{ "receive", "redeem" }, { "receive", "join" },
	{ "redeem", "put" }, { "redeem", "close" },
	{ "create", "set_ref" }, { "create", "get_ref" }, { "create", "put" },
	{ "create", "read" }, { "create", "write" }, { "create", "export" },
	{ "create", "set_root" }, { "set_root", "get_root" }, { "set_ref", "get_ref" },
	{ "chain", "put" }, { "chain", "set_ref" }, { "put", "collect" },
	{ "set_ref", "put" }, { "get_ref", "put" }, { "get_root", "put" },
	{ "freeze", "unfreeze" }, { "fork", "kill" },
	{ "create", "weak" }, { "weak", "put" }, { "weak", "upgrade" }, { "weak", "weak_drop" },
	{ "upgrade", "put" }, { "put", "events" }, { "collect", "events" }, { "put", "upgrade" },
	{ "events", "put" }, { "events", "set_root" }, { "events", "weak" },
};

/* A kind that follows up line @first, or any */
static unsigned int follow_up(const struct program *program, unsigned int first)
{
	const char *name = call_kinds[program->call[first].kind].name;
	unsigned int at = random_below(ARRAY_LENGTH(follow_ups)), i;

	for (i = 0; i < ARRAY_LENGTH(follow_ups); i++) {
		unsigned int n = (at + i) % ARRAY_LENGTH(follow_ups);

		if (!strcmp(follow_ups[n].first, name))
			return call_kind_find(follow_ups[n].then);
	}
	return some_kind();
}

static bool is_about(enum parameter_type type, enum value_kind kind)
{
	switch (type) {
	case P_DESCRIPTOR:
		return kind == DESCRIPTOR;
	case P_HANDLE:
		return kind == HANDLE;
	case P_CHILD:
		return kind == CHILD;
	default:
		return false;
	}
}

/* Let a call be about the result of line @first, or about the object it is about. */
static void follow_values(const struct call *first, struct call *call)
{
	const struct call_kind *before = &call_kinds[first->kind];
	const struct call_kind *kind = &call_kinds[call->kind];
	struct value result = { .kind = before->out, .index = first->out };
	unsigned int i;

	if (result.kind == NUMBER && before->parameters > V_OWN)
		result = first->value[V_OWN];
	for (i = 0; i < kind->parameters; i++)
		if (is_about(kind->parameter[i].type, result.kind))
			call->value[i] = result;
	if (result.kind == HANDLE && kind->parameters && before->parameters &&
	    kind->parameter[0].type == P_SESSION && first->value[0].kind == SESSION)
		call->value[0] = first->value[0];
}

/* A call that is to stand at @line of the program */
void generate_call(const struct program *program, unsigned int line, struct call *call)
{
	const struct call_kind *kind;
	unsigned int i, first = random_below(line);
	bool follows = line && !one_in(3);

	call_init(call, follows ? follow_up(program, first) : some_kind());
	kind = &call_kinds[call->kind];
	if (kind->out != NUMBER)
		call->out = random_out(program, kind->out);
	for (i = 0; i < kind->parameters; i++)
		generate_value(program, line, call, i);
	if (follows && !one_in(8))
		follow_values(&program->call[first], call);
	call->thread = random_below(program_threads(program));
}

void program_insert(struct program *program, unsigned int line, const struct call *call)
{
	if (program->count == LINES_MAX)
		return;
	memmove(&program->call[line + 1], &program->call[line],
		(program->count - line) * sizeof(*call));
	program->call[line] = *call;
	program->count++;
}

void program_remove(struct program *program, unsigned int line, unsigned int count)
{
	if (count > program->count - line)
		count = program->count - line;
	memmove(&program->call[line], &program->call[line + count],
		(program->count - line - count) * sizeof(program->call[0]));
	program->count -= count;
}

/* Sessions and heaps to begin with, and threads that start together */
static const char *const beginnings[] = {
	"s0 = open\nf0 = heap s0 rights=1\n",
	"s0 = open\nf0 = heap s0 rights=1\nconfigure s0 flags=4 first=2 second=2 third=2\n",
	"s0 = open\nf0 = heap s0 flags=1\ns1 = open\njoin s1 f0\n",
	"s0 = open\nf0 = heap s0 rights=1\ns1 = open\njoin s1 f0\n",
	"s0 = open\nf0 = heap s0\ns1 = open\nf1 = heap s1\n",
	"s0 = open\nf0 = heap s0\ns1 = open\nf1 = heap s1\nh0 = create s0 slots=2\n"
	"f2 = export s0 h0\n",
	"s0 = open\nf0 = heap s0\ns1 = open\njoin s1 f0\nh0 = create s0 slots=1\n"
	"f1 = export s0 h0\nmeet\nt1 meet\n",
	"s0 = open\nf0 = heap s0 rights=1\ns1 = open\njoin s1 f0\nmeet\nt1 meet\n",
	"s0 = open\nf0 = heap s0\nh0 = create s0 slots=2\nh1 = create s0 slots=2 edges=[h0]\n"
	"set_root s0 h0\nset_ref s0 h0 h1\nmeet\nt1 meet\n",
	"s0 = open\nf0 = heap s0 rights=1\ns1 = open\njoin s1 f0\nh0 = chain s0 length=300 ring=1\n"
	"meet\nt1 meet\nt2 meet\n",
	"s0 = open\nf0 = heap s0 flags=2\nh0 = create s0 flags=2 slots=2\nweak s0 h0\n"
	"set_ref s0 h0 h0\n",
	"s0 = open\nf0 = heap s0\ns1 = open\njoin s1 f0 flags=2\nh0 = create s0 flags=2 slots=1\n"
	"h1 = create s0 flags=2 slots=1 edges=[h0]\nset_ref s0 h0 h1\nweak s0 h1\nput s0 h0\n"
	"meet\nt1 meet\n",
	"",
};

void generate_program(struct program *program)
{
	unsigned int lines = 3 + random_below(18);
	struct call call;

	program_parse(program, beginnings[random_below(ARRAY_LENGTH(beginnings))]);
	while (lines-- && program->count < LINES_MAX) {
		generate_call(program, program->count, &call);
		program_insert(program, program->count, &call);
	}
}
