// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations of several sessions, beside a plain model of what they must
 * do, kept here without looking at the module: objects, who has taken them how
 * often, slots, roots, tickets, generations. Every result is predicted, the
 * garbage of every collection too, and all that can be seen is compared
 * regularly.
 *
 *	oracle [SEED [OPERATIONS]], or PYOBJMEM_SEED and PYOBJMEM_OPS
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#define SESSIONS	6
#define TICKETS		12
#define OBJECTS		500	/* that live, about */
#define CHECK_EVERY	500
#define VERIFY_EVERY	1000
#define NOBODY		-1

#define PERMANENT	PYOBJMEM_GENERATIONS

struct object {
	__u64 handle;		/* 0 as long as the batch that creates it was not run */
	bool alive, marked;
	__u32 flags, type, size, slots;
	__u32 generation;
	unsigned char *payload;
	int *edge;		/* index of an object, or NOBODY */
	__u32 takes[SESSIONS];
	int at[SESSIONS];	/* where in session.held */
	__u32 roots, tickets, internal;
};

struct session {
	int fd;			/* negative: has left */
	int *held;
	int nr_held;
};

struct ticket {
	int fd;
	int object;
};

/* An operation, and what must come of it. */
struct step {
	struct pyobjmem_batch_entry entry;
	int result;
	int created;		/* the object whose handle it will tell, or NOBODY */
	bool tells_handle;	/* @handle is what out_handle or out_old must be */
	__u64 handle;
	void *buffer;		/* of READ; edges of CREATE */
	void *expected;		/* the bytes that READ must give */
	size_t length;
};

#define STEPS	PYOBJMEM_BATCH_MAX

FIXTURE(oracle)
{
	struct test_heap heap;
	bool nomap;
	__u64 first_seed, seed;
	unsigned int operations, operation;

	struct object *objects;
	int nr_objects, room;
	struct session session[SESSIONS];
	struct ticket ticket[TICKETS];
	int root[PYOBJMEM_ROOTS];
	__u64 alive, created, freed_counted, freed_collected;
	int *stack;		/* of what dies */

	__u64 *names;		/* every handle ever told: a hash table */
	size_t names_room;

	struct step *steps;
};

#define MODEL FIXTURE_DATA(oracle)

FIXTURE_VARIANT(oracle)
{
	__u32 flags;
	unsigned int share;	/* of the operations, in percent */
};

FIXTURE_VARIANT_ADD(oracle, mappable) { .flags = 0, .share = 100 };
FIXTURE_VARIANT_ADD(oracle, nomap) { .flags = PYOBJMEM_HEAP_NOMAP, .share = 20 };

/* Before main(): glibc gives constructors the arguments. */
static void __attribute__((constructor)) take_arguments(int argc, char **argv)
{
	if (argc > 1)
		setenv("PYOBJMEM_SEED", argv[1], 1);
	if (argc > 2)
		setenv("PYOBJMEM_OPS", argv[2], 1);
}

FIXTURE_SETUP(oracle)
{
	const char *operations = getenv("PYOBJMEM_OPS");
	int i;

	self->first_seed = random_seed();
	self->seed = self->first_seed;
	self->operations = (operations ? strtoul(operations, NULL, 0) : 100000) / 100 *
			   variant->share;
	TH_LOG("seed %#llx, %u operations", (unsigned long long)self->seed, self->operations);
	self->nomap = variant->flags & PYOBJMEM_HEAP_NOMAP;
	/* Each operation makes one object at the most, and collections a probe. */
	self->room = self->operations + STEPS + 1000;
	self->objects = calloc(self->room, sizeof(*self->objects));
	self->stack = calloc(self->room, sizeof(*self->stack));
	self->names_room = 4 * (size_t)self->room;
	self->names = calloc(self->names_room, sizeof(*self->names));
	self->steps = calloc(STEPS, sizeof(*self->steps));
	ASSERT_TRUE(self->objects && self->stack && self->names && self->steps);
	for (i = 0; i < TICKETS; i++)
		self->ticket[i].object = NOBODY;
	for (i = 0; i < PYOBJMEM_ROOTS; i++)
		self->root[i] = NOBODY;

	ASSERT_EQ(0, test_heap_open(&self->heap, variant->flags));
	for (i = 0; i < SESSIONS; i++) {
		self->session[i].fd = i ? test_heap_join(&self->heap) : self->heap.session;
		ASSERT_LE(0, self->session[i].fd);
		self->session[i].held = calloc(self->room, sizeof(int));
	}
}

FIXTURE_TEARDOWN(oracle)
{
	int i;

	if (!_metadata->passed)
		TH_LOG("seed %#llx, operation %u", (unsigned long long)self->first_seed,
		       self->operation);
	EXPECT_VERIFIED(self->heap.number);
	for (i = 0; i < SESSIONS; i++)
		close(self->session[i].fd);
	for (i = 0; i < TICKETS; i++)
		if (self->ticket[i].object != NOBODY)
			close(self->ticket[i].fd);
	close(self->heap.fd);
	EXPECT_HEAP_GONE(self->heap.number);
}

/* --- The model --------------------------------------------------------------- */

static __u32 external(MODEL *m, const struct object *o)
{
	__u32 count = o->roots + o->tickets;
	int s;

	for (s = 0; s < SESSIONS; s++)
		count += m->session[s].fd >= 0 && o->takes[s];
	return count;
}

static void free_payload(MODEL *m, int index)
{
	struct object *o = &m->objects[index];

	o->alive = false;
	m->alive--;
	free(o->payload);
	free(o->edge);
	o->payload = NULL;
	o->edge = NULL;
}

/* A reference to the object went: if it was the last, it goes, and so on. */
static void may_have_died(MODEL *m, int index)
{
	int depth = 0;
	__u32 i;

	if (m->objects[index].alive && !m->objects[index].internal &&
	    !external(m, &m->objects[index]))
		m->stack[depth++] = index;
	while (depth) {
		struct object *o = &m->objects[index = m->stack[--depth]];

		for (i = 0; i < o->slots; i++) {
			struct object *target = &m->objects[o->edge[i]];

			if (o->edge[i] == NOBODY)
				continue;
			if (!--target->internal && !external(m, target))
				m->stack[depth++] = o->edge[i];
		}
		m->freed_counted++;
		free_payload(m, index);
	}
}

static void take(MODEL *m, int s, int index)
{
	struct session *session = &m->session[s];
	struct object *o = &m->objects[index];

	if (!o->takes[s]++) {
		o->at[s] = session->nr_held;
		session->held[session->nr_held++] = index;
	}
}

static void give_back(MODEL *m, int s, int index)
{
	struct session *session = &m->session[s];
	struct object *o = &m->objects[index];
	int last;

	if (--o->takes[s])
		return;
	last = session->held[--session->nr_held];
	session->held[o->at[s]] = last;
	m->objects[last].at[s] = o->at[s];
	may_have_died(m, index);
}

static void set_edge(MODEL *m, int index, __u32 slot, int value)
{
	int old = m->objects[index].edge[slot];

	if (value != NOBODY)
		m->objects[value].internal++;
	m->objects[index].edge[slot] = value;
	if (old != NOBODY) {
		m->objects[old].internal--;
		may_have_died(m, old);
	}
}

static void set_root(MODEL *m, __u32 root, int value)
{
	int old = m->root[root];

	if (value != NOBODY)
		m->objects[value].roots++;
	m->root[root] = value;
	if (old != NOBODY) {
		m->objects[old].roots--;
		may_have_died(m, old);
	}
}

/* Everything that @generation and younger ones can lose, as a number. */
static unsigned int mark_garbage(MODEL *m, __u32 generation)
{
	unsigned int garbage = 0;
	int depth = 0, i;
	__u32 slot;

	for (i = 0; i < m->nr_objects; i++) {
		struct object *o = &m->objects[i];

		/* Older ones are outside: they keep what they name. */
		o->marked = o->alive && (o->generation > generation || external(m, o));
		if (o->marked)
			m->stack[depth++] = i;
	}
	while (depth) {
		struct object *o = &m->objects[m->stack[--depth]];

		for (slot = 0; slot < o->slots; slot++)
			if (o->edge[slot] != NOBODY && !m->objects[o->edge[slot]].marked) {
				m->objects[o->edge[slot]].marked = true;
				m->stack[depth++] = o->edge[slot];
			}
	}
	for (i = 0; i < m->nr_objects; i++)
		garbage += m->objects[i].alive && !m->objects[i].marked;
	return garbage;
}

/* Free what mark_garbage() found; what it named may die by its count. */
static void sweep_garbage(MODEL *m)
{
	int i;
	__u32 slot;

	for (i = 0; i < m->nr_objects; i++) {
		struct object *o = &m->objects[i];

		for (slot = 0; o->alive && !o->marked && slot < o->slots; slot++)
			if (o->edge[slot] != NOBODY && m->objects[o->edge[slot]].marked)
				set_edge(m, i, slot, NOBODY);
	}
	for (i = 0; i < m->nr_objects; i++)
		if (m->objects[i].alive && !m->objects[i].marked) {
			m->freed_collected++;
			free_payload(m, i);
		}
}

/* --- Choices ----------------------------------------------------------------- */

static bool chance(MODEL *m, unsigned int in)
{
	return !random_below(&m->seed, in);
}

static int any_session(MODEL *m)
{
	int s;

	do {
		s = random_below(&m->seed, SESSIONS);
	} while (m->session[s].fd < 0);
	return s;
}

/* An object that the session holds and whose handle is known, or NOBODY. */
static int any_held(MODEL *m, int s)
{
	const struct session *session = &m->session[s];
	int try, index;

	for (try = 0; try < 10 && session->nr_held; try++) {
		index = session->held[random_below(&m->seed, session->nr_held)];
		if (m->objects[index].handle)
			return index;
	}
	return NOBODY;
}

static bool fits(MODEL *m, int s, int index, bool dead)
{
	const struct object *o = &m->objects[index];

	return o->handle && (dead ? !o->alive : o->alive && !o->takes[s]);
}

/* A dead object, or one that lives and that the session does not hold. */
static int any_refused(MODEL *m, int s, bool dead)
{
	int try, index;

	for (try = 0; try < 50 && m->nr_objects; try++) {
		/* Rather one of late. */
		index = m->nr_objects - 1 - random_below(&m->seed, try % 2 && m->nr_objects > 2000 ?
							 2000 : m->nr_objects);
		if (fits(m, s, index, dead))
			return index;
	}
	return NOBODY;
}

static bool name_known(MODEL *m, __u64 name, bool add)
{
	size_t at = name * 0x9e3779b97f4a7c15ULL % m->names_room;

	for (; m->names[at]; at = (at + 1) % m->names_room)
		if (m->names[at] == name)
			return true;
	if (add)
		m->names[at] = name;
	return false;
}

/*
 * A handle that must be refused, and the errno. Dead, not held, or invented: of
 * a generation that no place comes to here.
 */
static __u64 bad_handle(MODEL *m, int s, int *result)
{
	const int no_such = m->nomap ? -ENOENT : -ESTALE;
	unsigned int kind = random_below(&m->seed, 3);
	int index;
	__u64 handle;

	if (kind < 2) {
		index = any_refused(m, s, kind);
		if (index != NOBODY) {
			*result = kind ? no_such : -ENOENT;
			return m->objects[index].handle;
		}
	}
	do {
		handle = random_next(&m->seed) | 1ULL << 63;
		if (chance(m, 2))	/* close to where objects are */
			handle = (handle & ~(__u64)UINT32_MAX) |
				 random_below(&m->seed, 4 * ARENA_BYTES / 8);
	} while (name_known(m, handle, false));
	*result = no_such;
	return handle;
}

static __u32 any_size(MODEL *m)
{
	switch (random_below(&m->seed, 40)) {
	case 0:
		return random_below(&m->seed, 20000);
	case 1:
		return random_below(&m->seed, 3000);
	case 2 ... 8:
		return random_below(&m->seed, 600);
	case 9:
		return 0;
	default:
		return random_below(&m->seed, 100);
	}
}

/* --- Steps: predict, and write the entry ------------------------------------- */

static void step_create(MODEL *m, int s, struct step *step)
{
	const __u32 slots = chance(m, 100) ? random_below(&m->seed, 600) :
					     random_below(&m->seed, 5);
	const bool with_edges = slots && chance(m, 2);
	struct pyobjmem_create *create = &step->entry.command.create;
	int index = m->nr_objects;
	struct object *o = &m->objects[index];
	__u64 *edges = calloc(slots + 1, sizeof(*edges));
	__u32 i;

	m->nr_objects++;
	*o = (struct object){ .alive = true, .slots = slots, .size = any_size(m) };
	o->flags = chance(m, 3) ? PYOBJMEM_CREATE_MUTABLE : 0;
	o->type = random_below(&m->seed, 65536);
	o->payload = calloc(1, o->size + 1);
	o->edge = calloc(slots + 1, sizeof(*o->edge));
	for (i = 0; i < slots; i++) {
		int target = with_edges && !chance(m, 4) ? any_held(m, s) : NOBODY;

		o->edge[i] = NOBODY;
		if (target == NOBODY)
			continue;
		edges[i] = m->objects[target].handle;
		set_edge(m, index, i, target);
	}
	step->entry = entry_create(o->flags, NULL, o->size, slots);
	create->type = o->type;
	if (!chance(m, 5)) {
		fill_pattern(o->payload, o->size, m->created);
		create->payload = pointer(o->payload);
	}
	if (with_edges)
		create->edges = pointer(edges);
	step->buffer = edges;
	step->created = index;
	m->created++;
	m->alive++;
	take(m, s, index);
}

static void step_set_ref(MODEL *m, int s, struct step *step, int index)
{
	struct object *o = &m->objects[index];
	const __u32 slot = random_below(&m->seed, o->slots);
	const int value = chance(m, 4) ? NOBODY : any_held(m, s);
	struct pyobjmem_set_ref *set = &step->entry.command.set_ref;
	int old = o->edge[slot];

	step->entry = entry_set_ref(o->handle, slot,
				    value == NOBODY ? 0 : m->objects[value].handle);
	step->tells_handle = true;
	step->handle = old == NOBODY ? 0 : m->objects[old].handle;
	if (chance(m, 3)) {
		set->flags = PYOBJMEM_SET_REF_COMPARE;
		set->expected = step->handle;
		if (chance(m, 3)) {
			/* Another object, a name that was never given, or nothing. */
			int other = any_held(m, s);

			set->expected = chance(m, 2) && other != NOBODY ?
					m->objects[other].handle : step->handle ? 0 : 12345;
			if (set->expected != step->handle) {
				step->result = -ECANCELED;
				return;
			}
		}
	}
	set_edge(m, index, slot, value);
}

static void step_get_ref(MODEL *m, int s, struct step *step, int index)
{
	struct object *o = &m->objects[index];
	const __u32 slot = random_below(&m->seed, o->slots);

	step->entry = entry_get_ref(o->handle, slot);
	step->tells_handle = true;
	if (o->edge[slot] == NOBODY)
		return;
	step->handle = m->objects[o->edge[slot]].handle;
	take(m, s, o->edge[slot]);
}

static void step_read(MODEL *m, struct step *step, int index)
{
	struct object *o = &m->objects[index];
	const __u32 offset = random_below(&m->seed, o->size + 1);
	const __u32 length = random_below(&m->seed, o->size + 20);

	step->length = length < o->size - offset ? length : o->size - offset;
	step->buffer = calloc(1, length + 1);
	step->expected = malloc(step->length + 1);
	memcpy(step->expected, o->payload + offset, step->length);
	step->entry = entry_read(o->handle, offset, step->buffer, length);
}

static void step_write(MODEL *m, struct step *step, int index)
{
	struct object *o = &m->objects[index];
	const __u32 offset = random_below(&m->seed, o->size + 1);
	const __u32 length = random_below(&m->seed, o->size - offset + 1);

	step->buffer = malloc(length + 1);
	fill_pattern(step->buffer, length, random_next(&m->seed));
	step->entry = entry_write(o->handle, offset, step->buffer, length);
	if (!(o->flags & PYOBJMEM_CREATE_MUTABLE)) {
		step->result = -EPERM;
		return;
	}
	step->length = length;
	memcpy(o->payload + offset, step->buffer, length);
}

/* A bad handle in one of the places where one can be. */
static void step_bad_handle(MODEL *m, int s, struct step *step, int held)
{
	const struct object *o = &m->objects[held];
	__u64 bad = bad_handle(m, s, &step->result);

	switch (random_below(&m->seed, 9)) {
	case 0:
		step->entry = entry_get(bad);
		break;
	case 1:
		step->entry = entry_put(bad);
		break;
	case 2:
		step->entry = entry_set_ref(bad, 0, 0);
		break;
	case 3:
		if (o->slots)
			step->entry = entry_set_ref(o->handle, 0, bad);
		else
			step->entry = entry_set_root(1, bad);
		break;
	case 4:
		step->entry = entry_get_ref(bad, 0);
		break;
	case 5:
		step->entry = entry_read(bad, 0, NULL, 0);
		break;
	case 6:
		step->entry = entry_write(bad, 0, NULL, 0);
		break;
	case 7:
		step->entry = entry_set_root(random_below(&m->seed, PYOBJMEM_ROOTS), bad);
		break;
	default:
		step->entry = entry_create(0, NULL, 8, 2);
		step->buffer = calloc(2, sizeof(__u64));
		((__u64 *)step->buffer)[0] = o->handle;
		((__u64 *)step->buffer)[1] = bad;
		step->entry.command.create.edges = pointer(step->buffer);
		break;
	}
}

/* Something else that is wrong with an operation on an object that is held. */
static void step_bad_value(MODEL *m, struct step *step, int held)
{
	const struct object *o = &m->objects[held];

	step->result = -EINVAL;
	switch (random_below(&m->seed, 9)) {
	case 0:
		step->entry = entry_get(0);
		break;
	case 1:
		step->entry = entry_put(0);
		break;
	case 2:
		step->entry = entry_set_ref(o->handle, o->slots + random_below(&m->seed, 3), 0);
		break;
	case 3:
		step->entry = entry_get_ref(o->handle, o->slots + random_below(&m->seed, 3));
		break;
	case 4:
		step->entry = entry_read(o->handle, o->size + 1ULL, NULL, 0);
		break;
	case 5:
		step->entry = entry_set_root(PYOBJMEM_ROOTS, o->handle);
		break;
	case 6:
		step->entry = entry_get(o->handle);
		step->entry.command.get.flags = 1U << random_below(&m->seed, 32);
		step->result = -EOPNOTSUPP;
		break;
	case 7:
		step->entry = entry_create(0, NULL, 8, PYOBJMEM_SLOTS_MAX + 1);
		step->result = -E2BIG;
		break;
	default:
		step->entry = entry_create(0, NULL, 8, 0);
		step->entry.command.create.type = 65536;
		break;
	}
}

/* One random operation that a batch can carry. */
static void step_any(MODEL *m, int s, struct step *step)
{
	const int held = any_held(m, s);
	const struct object *o = &m->objects[held == NOBODY ? 0 : held];
	unsigned int choice = random_below(&m->seed, 100);
	__u32 root = random_below(&m->seed, chance(m, 2) ? 4 : PYOBJMEM_ROOTS);

	*step = (struct step){ .created = NOBODY };
	/* Not many more than there are to be. */
	if (held == NOBODY || choice < (m->alive < OBJECTS ? 26 : 14)) {
		step_create(m, s, step);
	} else if (choice < 32) {
		step->entry = entry_get(o->handle);
		take(m, s, held);
	} else if (choice < 52) {
		step->entry = entry_put(o->handle);
		give_back(m, s, held);
	} else if (choice < 70 && o->slots) {
		step_set_ref(m, s, step, held);
	} else if (choice < 76 && o->slots) {
		step_get_ref(m, s, step, held);
	} else if (choice < 82) {
		step_read(m, step, held);
	} else if (choice < 87) {
		step_write(m, step, held);
	} else if (choice < 90) {
		const int value = chance(m, 2) ? NOBODY : held;

		step->entry = entry_set_root(root, value == NOBODY ? 0 : o->handle);
		step->tells_handle = true;
		step->handle = m->root[root] == NOBODY ? 0 : m->objects[m->root[root]].handle;
		set_root(m, root, value);
	} else if (choice < 93) {
		step->entry = entry_get_root(root);
		step->tells_handle = true;
		if (m->root[root] != NOBODY) {
			step->handle = m->objects[m->root[root]].handle;
			take(m, s, m->root[root]);
		}
	} else if (choice < 97) {
		step_bad_handle(m, s, step, held);
	} else {
		step_bad_value(m, step, held);
	}
}

/* --- Doing it ---------------------------------------------------------------- */

static __u64 told_handle(const struct pyobjmem_batch_entry *entry)
{
	switch (entry->op) {
	case PYOBJMEM_OP_SET_REF:
		return entry->command.set_ref.out_old;
	case PYOBJMEM_OP_GET_REF:
		return entry->command.get_ref.out_handle;
	case PYOBJMEM_OP_SET_ROOT:
		return entry->command.set_root.out_old;
	default:
		return entry->command.get_root.out_handle;
	}
}

static void step_check(struct __test_metadata *_metadata, MODEL *m, struct step *step)
{
	const struct pyobjmem_batch_entry *entry = &step->entry;

	ASSERT_EQ(step->result, entry->out_result) {
		TH_LOG("operation %#x", entry->op);
	}
	if (step->tells_handle)
		ASSERT_EQ(step->handle, told_handle(entry)) {
			TH_LOG("operation %#x", entry->op);
		}
	if (step->result)
		goto out;
	if (step->created != NOBODY) {
		__u64 handle = entry->command.create.out_handle;

		ASSERT_NE(0, handle);
		ASSERT_NE(0, handle >> 32);
		ASSERT_FALSE(name_known(m, handle, true)) {
			TH_LOG("handle %#llx was given before", (unsigned long long)handle);
		}
		m->objects[step->created].handle = handle;
	}
	if (entry->op == PYOBJMEM_OP_READ) {
		ASSERT_EQ(step->length, entry->command.read.out_length);
		ASSERT_EQ(0, memcmp(step->expected, step->buffer, step->length));
	}
	if (entry->op == PYOBJMEM_OP_WRITE)
		ASSERT_EQ(step->length, entry->command.write.out_length);
out:
	free(step->buffer);
	free(step->expected);
	step->buffer = NULL;
	step->expected = NULL;
}

static void run_single(struct __test_metadata *_metadata, MODEL *m)
{
	int s = any_session(m);
	struct step *step = m->steps;

	step_any(m, s, step);
	step->entry.out_result = operate(m->session[s].fd, step->entry.op, &step->entry.command);
	step_check(_metadata, m, step);
	m->operation++;
}

/* A put that must not take place: nothing is predicted for it. */
static void step_untried(MODEL *m, int s, struct step *step)
{
	const int held = any_held(m, s);

	*step = (struct step){ .created = NOBODY, .entry = entry_get_root(PYOBJMEM_ROOTS) };
	if (held != NOBODY)
		step->entry = entry_put(m->objects[held].handle);
}

static void run_batch(struct __test_metadata *_metadata, MODEL *m)
{
	static struct pyobjmem_batch_entry entries[STEPS];
	const bool go_on = chance(m, 2);
	unsigned int count = 1 + random_below(&m->seed, chance(m, 50) ? STEPS : 40);
	unsigned int tried = 0, i;
	int s = any_session(m);
	bool stopped = false;
	__u32 done = ~0U;

	for (i = 0; i < count; i++) {
		if (stopped) {
			step_untried(m, s, &m->steps[i]);
		} else {
			step_any(m, s, &m->steps[i]);
			tried++;
			stopped = m->steps[i].result && !go_on;
		}
		entries[i] = m->steps[i].entry;
	}
	ASSERT_EQ(0, batch_run(m->session[s].fd, entries, count,
			       go_on ? PYOBJMEM_BATCH_CONTINUE : 0, &done));
	ASSERT_EQ(tried, done);
	for (i = 0; i < tried; i++) {
		m->steps[i].entry = entries[i];
		step_check(_metadata, m, &m->steps[i]);
	}
	m->operation += count;
}

static void run_export(struct __test_metadata *_metadata, MODEL *m)
{
	struct ticket *ticket = &m->ticket[random_below(&m->seed, TICKETS)];
	int s = any_session(m), index = any_held(m, s), result = 0;
	__u64 bad;

	m->operation++;
	if (ticket->object != NOBODY) {
		ASSERT_EQ(0, close(ticket->fd));
		index = ticket->object;
		ticket->object = NOBODY;
		m->objects[index].tickets--;
		may_have_died(m, index);
	} else if (chance(m, 5)) {
		bad = bad_handle(m, s, &result);
		ASSERT_EQ(result, object_export(m->session[s].fd, bad));
	} else if (index != NOBODY) {
		ticket->fd = object_export(m->session[s].fd, m->objects[index].handle);
		ASSERT_LE(0, ticket->fd);
		ticket->object = index;
		m->objects[index].tickets++;
	}
}

static void run_redeem(struct __test_metadata *_metadata, MODEL *m)
{
	struct ticket *ticket = &m->ticket[random_below(&m->seed, TICKETS)];
	int s = any_session(m);
	__u64 handle;

	m->operation++;
	if (ticket->object == NOBODY) {
		ASSERT_EQ(-EINVAL, ticket_redeem(m->session[s].fd, m->heap.fd, NULL));
		return;
	}
	ASSERT_EQ(0, ticket_redeem(m->session[s].fd, ticket->fd, &handle));
	ASSERT_EQ(m->objects[ticket->object].handle, handle);
	take(m, s, ticket->object);
}

/* Objects of generation @from are of generation @to from now on. */
static void move_generation(MODEL *m, __u32 from, __u32 to)
{
	int i;

	for (i = 0; i < m->nr_objects; i++)
		if (m->objects[i].generation == from)
			m->objects[i].generation = to;
}

/*
 * Collect, with an object just made whose generation tells whether objects grew
 * older: that a collection may skip if it has nothing to do.
 */
static void run_collect(struct __test_metadata *_metadata, MODEL *m, __u32 generation)
{
	int s = any_session(m), fd = m->session[s].fd;
	struct pyobjmem_collect collect;
	struct pyobjmem_inspect probe;
	struct step *step = m->steps;
	unsigned int garbage;

	step_any(m, s, step);
	while (step->created == NOBODY) {
		step->entry.out_result = operate(fd, step->entry.op, &step->entry.command);
		step_check(_metadata, m, step);
		step_any(m, s, step);
		m->operation++;
	}
	step->entry.out_result = operate(fd, step->entry.op, &step->entry.command);
	step_check(_metadata, m, step);

	garbage = mark_garbage(m, generation);
	ASSERT_EQ(0, heap_collect(fd, generation, &collect));
	ASSERT_EQ(garbage, collect.out_collected) {
		TH_LOG("generation %u", generation);
	}
	ASSERT_EQ(collect.out_visited, collect.out_collected + collect.out_survivors);
	ASSERT_EQ(0, collect.out_finalizers);
	sweep_garbage(m);
	ASSERT_EQ(0, object_inspect(fd, m->objects[step->created].handle, &probe));
	if (probe.out_generation) {
		if (generation)
			move_generation(m, 1, 2);
		move_generation(m, 0, generation ? 2 : 1);
	}
	m->operation++;
}

static void run_freeze(struct __test_metadata *_metadata, MODEL *m)
{
	int s = any_session(m);
	__u32 g;

	m->operation++;
	if (chance(m, 2)) {
		ASSERT_EQ(0, heap_unfreeze(m->session[s].fd));
		move_generation(m, PERMANENT, 2);
		return;
	}
	ASSERT_EQ(0, heap_freeze(m->session[s].fd));
	for (g = 0; g < PERMANENT; g++)
		move_generation(m, g, PERMANENT);
}

static int sessions_joined(MODEL *m)
{
	int s, count = 0;

	for (s = 0; s < SESSIONS; s++)
		count += m->session[s].fd >= 0;
	return count;
}

/* A session leaves, or is closed; or one that has left comes again. */
static void run_session(struct __test_metadata *_metadata, MODEL *m, int s)
{
	struct session *session = &m->session[s];
	int fd = session->fd, index;

	m->operation++;
	if (fd < 0) {
		session->fd = test_heap_join(&m->heap);
		ASSERT_LE(0, session->fd);
		return;
	}
	if (sessions_joined(m) == 1)
		return;
	if (chance(m, 2))
		ASSERT_EQ(0, session_leave(fd));
	close(fd);
	/* In the model its takes go one by one. */
	while (session->nr_held) {
		index = session->held[session->nr_held - 1];
		m->objects[index].takes[s] = 1;
		give_back(m, s, index);
	}
	session->fd = -1;
	ASSERT_TRUE(wait_until(stats_sessions(m->session[any_session(m)].fd) ==
			       (__u64)sessions_joined(m), SOON_MS));
}

/* --- Comparing --------------------------------------------------------------- */

static void compare_object(struct __test_metadata *_metadata, MODEL *m, int s, int index)
{
	const struct object *o = &m->objects[index];
	struct pyobjmem_inspect inspect;
	static __u64 edges[1024];
	__u32 i;

	ASSERT_EQ(0, object_edges(m->session[s].fd, o->handle, edges, ARRAY_SIZE(edges),
				  &inspect)) {
		TH_LOG("handle %#llx", (unsigned long long)o->handle);
	}
	ASSERT_EQ(external(m, o), inspect.out_external);
	ASSERT_EQ(o->internal, inspect.out_internal);
	ASSERT_EQ(o->takes[s], inspect.out_takes);
	ASSERT_EQ(o->generation, inspect.out_generation);
	ASSERT_EQ(o->size, inspect.out_payload);
	ASSERT_EQ(o->slots, inspect.out_slots);
	ASSERT_EQ(o->type, inspect.out_type);
	ASSERT_EQ(o->flags, inspect.out_flags);
	for (i = 0; i < o->slots; i++)
		ASSERT_EQ(o->edge[i] == NOBODY ? 0 : m->objects[o->edge[i]].handle, edges[i]);
}

static void compare_stats(struct __test_metadata *_metadata, MODEL *m, int s)
{
	__u64 containers[PERMANENT + 1] = { 0 };
	struct pyobjmem_stats stats;
	__u64 tickets = 0;
	int i;

	for (i = 0; i < m->nr_objects; i++)
		if (m->objects[i].alive && m->objects[i].slots)
			containers[m->objects[i].generation]++;
	for (i = 0; i < TICKETS; i++)
		tickets += m->ticket[i].object != NOBODY;
	ASSERT_EQ(0, heap_stats(m->session[s].fd, &stats));
	ASSERT_EQ(m->alive, stats.out_objects);
	ASSERT_EQ(m->created, stats.out_created);
	ASSERT_EQ(m->freed_counted, stats.out_freed_counted);
	ASSERT_EQ(m->freed_collected, stats.out_freed_collected);
	ASSERT_EQ((__u64)sessions_joined(m), stats.out_sessions);
	ASSERT_EQ(tickets, stats.out_tickets);
	ASSERT_EQ((__u64)m->session[s].nr_held, stats.out_holds);
	for (i = 0; i < PERMANENT; i++)
		ASSERT_EQ(containers[i], stats.out_gc[i].containers) {
			TH_LOG("generation %d", i);
		}
	ASSERT_EQ(containers[PERMANENT], stats.out_permanent);
	ASSERT_TRUE(stats_bytes_add_up(&stats));
}

static void compare(struct __test_metadata *_metadata, MODEL *m)
{
	static unsigned char payload[20000];
	int s, i;

	for (s = 0; s < SESSIONS; s++) {
		const struct session *session = &m->session[s];

		if (session->fd < 0)
			continue;
		compare_stats(_metadata, m, s);
		for (i = 0; i < session->nr_held; i++)
			compare_object(_metadata, m, s, session->held[i]);
		for (i = m->operation % 16; i < session->nr_held; i += 16) {
			const struct object *o = &m->objects[session->held[i]];

			ASSERT_EQ(o->size, object_read(session->fd, o->handle, 0, payload,
						       sizeof(payload)));
			ASSERT_EQ(0, memcmp(o->payload, payload, o->size));
		}
	}
}

static void run_any(struct __test_metadata *_metadata, MODEL *m)
{
	switch (random_below(&m->seed, 400)) {
	case 0 ... 3:
		run_collect(_metadata, m, random_below(&m->seed, PYOBJMEM_GENERATIONS));
		break;
	case 4:
		run_freeze(_metadata, m);
		break;
	case 5 ... 7:
		run_session(_metadata, m, random_below(&m->seed, SESSIONS));
		break;
	case 8 ... 19:
		run_export(_metadata, m);
		break;
	case 20 ... 31:
		run_redeem(_metadata, m);
		break;
	case 32 ... 39:
		run_batch(_metadata, m);
		break;
	default:
		run_single(_metadata, m);
	}
}

/* Give everything back: both sides come to nothing. */
static void run_down(struct __test_metadata *_metadata, MODEL *m)
{
	int i, last = any_session(m), fd = m->session[last].fd, index;

	ASSERT_EQ(0, heap_unfreeze(fd));
	move_generation(m, PERMANENT, 2);
	for (i = 0; i < TICKETS; i++) {
		index = m->ticket[i].object;
		if (index == NOBODY)
			continue;
		close(m->ticket[i].fd);
		m->ticket[i].object = NOBODY;
		m->objects[index].tickets--;
		may_have_died(m, index);
	}
	for (i = 0; i < PYOBJMEM_ROOTS; i++) {
		ASSERT_EQ(0, root_set(fd, i, 0, NULL));
		set_root(m, i, NOBODY);
	}
	for (i = 0; i < SESSIONS; i++)
		if (i != last && m->session[i].fd >= 0)
			run_session(_metadata, m, i);
	while (m->session[last].nr_held) {
		index = m->session[last].held[0];
		ASSERT_EQ(0, object_put(fd, m->objects[index].handle));
		give_back(m, last, index);
	}
	compare(_metadata, m);
	index = mark_garbage(m, 2);
	ASSERT_EQ((__u64)index, m->alive);
	ASSERT_EQ(0, heap_collect(fd, 2, NULL));
	sweep_garbage(m);
	compare(_metadata, m);
	ASSERT_EQ(0, stats_objects(fd));
	ASSERT_EQ(0, stats_arenas(fd));
	ASSERT_EQ(0, stats_page_bytes(fd));
}

TEST_F_TIMEOUT(oracle, random_operations, 240)
{
	unsigned int next_check = 0, next_verify = 0;

	while (self->operation < self->operations) {
		run_any(_metadata, self);
		if (self->operation >= next_check) {
			compare(_metadata, self);
			next_check = self->operation + CHECK_EVERY;
		}
		if (self->operation >= next_verify) {
			ASSERT_VERIFIED(self->heap.number);
			next_verify = self->operation + VERIFY_EVERY;
		}
	}
	compare(_metadata, self);
	ASSERT_VERIFIED(self->heap.number);
	run_down(_metadata, self);
	TH_LOG("%u operations, %llu objects, %llu of them freed by count, %llu collected",
	       self->operation, (unsigned long long)self->created,
	       (unsigned long long)self->freed_counted,
	       (unsigned long long)self->freed_collected);
}

TEST_HARNESS_MAIN
