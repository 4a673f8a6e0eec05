// SPDX-License-Identifier: GPL-2.0
/*
 * The interface as such: numbers, sizes, lengths, flags, reserved members and
 * pointers of every operation, and what QUERY says.
 */
#include <stddef.h>

#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#define ASSERT_LAYOUT(type, bytes, last, last_offset)				\
	_Static_assert(sizeof(struct type) == (bytes), "size of " #type);	\
	_Static_assert((bytes) % 8 == 0, "a multiple of 8: " #type);		\
	_Static_assert(offsetof(struct type, last) == (last_offset), "layout of " #type)

ASSERT_LAYOUT(pyobjmem_head, 16, flags, 14);
ASSERT_LAYOUT(pyobjmem_query, 120, out_session_watches, 112);
ASSERT_LAYOUT(pyobjmem_heap_create, 24, out_heap, 16);
ASSERT_LAYOUT(pyobjmem_heap_join, 24, out_heap, 16);
ASSERT_LAYOUT(pyobjmem_leave, 8, flags, 4);
ASSERT_LAYOUT(pyobjmem_heap_configure, 40, collect, 36);
ASSERT_LAYOUT(pyobjmem_create, 48, out_handle, 40);
ASSERT_LAYOUT(pyobjmem_get, 16, handle, 8);
ASSERT_LAYOUT(pyobjmem_put, 16, handle, 8);
ASSERT_LAYOUT(pyobjmem_set_ref, 48, out_old, 40);
ASSERT_LAYOUT(pyobjmem_get_ref, 32, out_handle, 24);
ASSERT_LAYOUT(pyobjmem_read, 56, out_slots, 52);
ASSERT_LAYOUT(pyobjmem_write, 48, out_length, 40);
ASSERT_LAYOUT(pyobjmem_set_root, 32, out_old, 24);
ASSERT_LAYOUT(pyobjmem_get_root, 24, out_handle, 16);
ASSERT_LAYOUT(pyobjmem_export, 24, __reserved, 20);
ASSERT_LAYOUT(pyobjmem_redeem, 24, out_handle, 16);
ASSERT_LAYOUT(pyobjmem_weak, 24, cookie, 16);
ASSERT_LAYOUT(pyobjmem_upgrade, 16, handle, 8);
ASSERT_LAYOUT(pyobjmem_weak_drop, 24, cookie, 16);
ASSERT_LAYOUT(pyobjmem_event, 56, lost, 48);
ASSERT_LAYOUT(pyobjmem_collect, 72, out_duration_ns, 64);
ASSERT_LAYOUT(pyobjmem_freeze, 8, flags, 4);
ASSERT_LAYOUT(pyobjmem_unfreeze, 8, flags, 4);
ASSERT_LAYOUT(pyobjmem_gc_stats, 40, threshold, 36);
ASSERT_LAYOUT(pyobjmem_stats, 360, out_gc, 240);
ASSERT_LAYOUT(pyobjmem_inspect, 64, out_weak, 60);
ASSERT_LAYOUT(pyobjmem_batch_entry, 64, command, 8);
ASSERT_LAYOUT(pyobjmem_batch, 32, __reserved, 28);

_Static_assert(PYOBJMEM_OP_QUERY == 0x00 && PYOBJMEM_OP_CREATE == 0x05 &&
	       PYOBJMEM_OP_EXPORT == 0x0e && PYOBJMEM_OP_COLLECT == 0x13 &&
	       PYOBJMEM_OP_BATCH == 0x18 && PYOBJMEM_OP_COUNT == 0x19, "numbers");

#define POISON		0xcc
#define POISON_WORD	0xccccccccU
#define PAYLOAD_BYTES	64U
#define HELD_WEAKLY	1	/* cookie of a weak hold that there is */

union command {
	struct { __u32 size, flags; };
	struct pyobjmem_query query;
	struct pyobjmem_heap_create heap_create;
	struct pyobjmem_heap_join heap_join;
	struct pyobjmem_leave leave;
	struct pyobjmem_heap_configure heap_configure;
	struct pyobjmem_create create;
	struct pyobjmem_get get;
	struct pyobjmem_put put;
	struct pyobjmem_set_ref set_ref;
	struct pyobjmem_get_ref get_ref;
	struct pyobjmem_read read;
	struct pyobjmem_write write;
	struct pyobjmem_set_root set_root;
	struct pyobjmem_get_root get_root;
	struct pyobjmem_export export;
	struct pyobjmem_redeem redeem;
	struct pyobjmem_weak weak;
	struct pyobjmem_upgrade upgrade;
	struct pyobjmem_weak_drop weak_drop;
	struct pyobjmem_collect collect;
	struct pyobjmem_freeze freeze;
	struct pyobjmem_unfreeze unfreeze;
	struct pyobjmem_stats stats;
	struct pyobjmem_inspect inspect;
	struct pyobjmem_batch batch;
	__u32 words[2 * POOL_BYTES / sizeof(__u32)];
	unsigned char bytes[2 * POOL_BYTES];
};

/* What holds for an operation. */
static const struct rules {
	size_t size;
	__u32 known_flags;
	size_t reserved;		/* offset of a member that must be 0 */
	bool unjoined;			/* for a session that has joined no heap */
} all_rules[PYOBJMEM_OP_COUNT] = {
#define RULES(name, type, ...)							\
	[PYOBJMEM_OP_##name] = { .size = sizeof(struct pyobjmem_##type), __VA_ARGS__ }
#define RESERVED(type)		.reserved = offsetof(struct pyobjmem_##type, __reserved)
#define KNOWN_FLAGS(flags)	.known_flags = (flags)
#define UNJOINED		.unjoined = true
	RULES(QUERY, query,),
	RULES(HEAP_CREATE, heap_create, UNJOINED, KNOWN_FLAGS(PYOBJMEM_HEAP_FLAGS)),
	RULES(HEAP_JOIN, heap_join, UNJOINED, KNOWN_FLAGS(PYOBJMEM_JOIN_FLAGS)),
	RULES(LEAVE, leave,),
	RULES(HEAP_CONFIGURE, heap_configure, KNOWN_FLAGS(PYOBJMEM_CONFIGURE_FLAGS)),
	RULES(CREATE, create, RESERVED(create), KNOWN_FLAGS(PYOBJMEM_CREATE_FLAGS)),
	RULES(GET, get,),
	RULES(PUT, put,),
	RULES(SET_REF, set_ref, RESERVED(set_ref), KNOWN_FLAGS(PYOBJMEM_SET_REF_FLAGS)),
	RULES(GET_REF, get_ref, RESERVED(get_ref)),
	RULES(READ, read,),
	RULES(WRITE, write,),
	RULES(SET_ROOT, set_root, RESERVED(set_root)),
	RULES(GET_ROOT, get_root, RESERVED(get_root)),
	RULES(EXPORT, export, RESERVED(export)),
	RULES(REDEEM, redeem, RESERVED(redeem)),
	RULES(WEAK, weak,),
	RULES(UPGRADE, upgrade,),
	RULES(WEAK_DROP, weak_drop,),
	RULES(COLLECT, collect, RESERVED(collect)),
	RULES(FREEZE, freeze,),
	RULES(UNFREEZE, unfreeze,),
	RULES(STATS, stats,),
	RULES(INSPECT, inspect,),
	RULES(BATCH, batch, RESERVED(batch), KNOWN_FLAGS(PYOBJMEM_BATCH_FLAGS)),
};

/* An operation and all that it needs to succeed. */
struct trial {
	unsigned int op;
	const struct rules *rules;
	struct test_heap heap;
	struct test_heap unjoined;	/* only its session: it joined nothing */
	union command *command;
	struct pyobjmem_stats before;
	int session;			/* through which the operation goes */
	int ticket;
	__u64 container;
	__u64 writable;
	unsigned char payload[PAYLOAD_BYTES];
	__u64 edges[2];
	struct pyobjmem_batch_entry entry;
};

static void trial_begin(struct __test_metadata *_metadata, struct trial *self, unsigned int op)
{
	self->op = op;
	self->rules = &all_rules[op];
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	ASSERT_EQ(0, container_create(self->heap.session, 2, &self->container));
	ASSERT_EQ(0, object_create(self->heap.session, PYOBJMEM_CREATE_MUTABLE, NULL,
				   PAYLOAD_BYTES, NULL, 2, &self->writable));
	/* The container names itself, and is what root 1 names. */
	ASSERT_EQ(0, ref_set(self->heap.session, self->container, 1, self->container, NULL));
	ASSERT_EQ(0, root_set(self->heap.session, 1, self->container, NULL));
	self->ticket = object_export(self->heap.session, self->container);
	ASSERT_LE(0, self->ticket);
	ASSERT_EQ(0, weak_hold(self->heap.session, self->container, HELD_WEAKLY));

	self->unjoined.fd = -1;
	self->unjoined.session = session_open();
	ASSERT_LE(0, self->unjoined.session);
	self->session = self->rules->unjoined ? self->unjoined.session : self->heap.session;

	self->command = mmap(NULL, sizeof(*self->command), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->command);
	ASSERT_EQ(0, heap_stats(self->heap.session, &self->before));
}

static void trial_end(struct __test_metadata *_metadata, struct trial *self)
{
	EXPECT_VERIFIED(self->heap.number);
	close(self->ticket);
	test_heap_close(&self->unjoined);
	EXPECT_CLEAN_END(&self->heap);
}

/* One variant an operation, so that each has a line for each of its rules. */
#define TRIALS(name)								\
	FIXTURE(name) { struct trial trial; };					\
	FIXTURE_VARIANT(name) { unsigned int op; };				\
	FIXTURE_SETUP(name)							\
	{									\
		trial_begin(_metadata, &self->trial, variant->op);		\
	}									\
	FIXTURE_TEARDOWN(name)							\
	{									\
		trial_end(_metadata, &self->trial);				\
	}

#define OPERATION(name)								\
	FIXTURE_VARIANT_ADD(operation, name) { .op = PYOBJMEM_OP_##name }

TRIALS(operation);
OPERATION(QUERY);
OPERATION(HEAP_CREATE);
OPERATION(HEAP_JOIN);
OPERATION(LEAVE);
OPERATION(HEAP_CONFIGURE);
OPERATION(CREATE);
OPERATION(GET);
OPERATION(PUT);
OPERATION(SET_REF);
OPERATION(GET_REF);
OPERATION(READ);
OPERATION(WRITE);
OPERATION(SET_ROOT);
OPERATION(GET_ROOT);
OPERATION(EXPORT);
OPERATION(REDEEM);
OPERATION(WEAK);
OPERATION(UPGRADE);
OPERATION(WEAK_DROP);
OPERATION(COLLECT);
OPERATION(FREEZE);
OPERATION(UNFREEZE);
OPERATION(STATS);
OPERATION(INSPECT);
OPERATION(BATCH);

/* Those that write something back. */
#define REPLYING(name)								\
	FIXTURE_VARIANT_ADD(reply, name) { .op = PYOBJMEM_OP_##name }

TRIALS(reply);
REPLYING(QUERY);
REPLYING(HEAP_CREATE);
REPLYING(HEAP_JOIN);
REPLYING(CREATE);
REPLYING(SET_REF);
REPLYING(GET_REF);
REPLYING(READ);
REPLYING(WRITE);
REPLYING(SET_ROOT);
REPLYING(GET_ROOT);
REPLYING(EXPORT);
REPLYING(REDEEM);
REPLYING(COLLECT);
REPLYING(STATS);
REPLYING(INSPECT);
REPLYING(BATCH);

/* Those with a reserved member. */
#define RESERVING(name)								\
	FIXTURE_VARIANT_ADD(reserved, name) { .op = PYOBJMEM_OP_##name }

TRIALS(reserved);
RESERVING(CREATE);
RESERVING(SET_REF);
RESERVING(GET_REF);
RESERVING(SET_ROOT);
RESERVING(GET_ROOT);
RESERVING(EXPORT);
RESERVING(REDEEM);
RESERVING(COLLECT);
RESERVING(BATCH);

static void prepare_object(struct trial *self)
{
	union command *c = self->command;

	switch (self->op) {
	case PYOBJMEM_OP_CREATE:
		self->edges[0] = self->container;
		self->edges[1] = 0;
		c->create.payload = pointer(self->payload);
		c->create.payload_size = PAYLOAD_BYTES;
		c->create.edges = pointer(self->edges);
		c->create.slots = 2;
		c->create.type = 7;
		c->create.__reserved = 0;
		break;
	case PYOBJMEM_OP_GET:
	case PYOBJMEM_OP_PUT:
	case PYOBJMEM_OP_UPGRADE:
		c->get.handle = self->container;
		break;
	case PYOBJMEM_OP_WEAK:
		c->weak.handle = self->container;
		c->weak.cookie = HELD_WEAKLY + 1;
		break;
	case PYOBJMEM_OP_WEAK_DROP:
		c->weak_drop.handle = self->container;
		c->weak_drop.cookie = HELD_WEAKLY;
		break;
	case PYOBJMEM_OP_SET_REF:
		c->set_ref.handle = self->container;
		c->set_ref.value = self->writable;
		c->set_ref.expected = 0;
		c->set_ref.slot = 0;
		c->set_ref.__reserved = 0;
		break;
	case PYOBJMEM_OP_GET_REF:
		c->get_ref.handle = self->container;
		c->get_ref.slot = 1;
		c->get_ref.__reserved = 0;
		break;
	case PYOBJMEM_OP_READ:
	case PYOBJMEM_OP_WRITE:
		c->read.handle = self->writable;
		c->read.buffer = pointer(self->payload);
		c->read.offset = 0;
		c->read.length = PAYLOAD_BYTES;
		break;
	case PYOBJMEM_OP_EXPORT:
		c->export.handle = self->container;
		c->export.__reserved = 0;
		break;
	case PYOBJMEM_OP_INSPECT:
		c->inspect.handle = self->container;
		c->inspect.edges = pointer(self->edges);
		c->inspect.capacity = 2;
		break;
	}
}

/*
 * A call in which all is well. Whatever is not input is poisoned, and so are
 * the bytes behind the structure.
 */
static void prepare(struct trial *self)
{
	union command *c = self->command;

	memset(c, POISON, sizeof(*c));
	c->size = self->rules->size;
	c->flags = 0;
	switch (self->op) {
	case PYOBJMEM_OP_HEAP_CREATE:
		c->heap_create.rights = 0;
		break;
	case PYOBJMEM_OP_HEAP_JOIN:
		c->heap_join.fd = self->heap.fd;
		break;
	case PYOBJMEM_OP_HEAP_CONFIGURE:
		c->flags = PYOBJMEM_CONFIGURE_COLLECT;
		c->heap_configure.collect = 0;
		break;
	case PYOBJMEM_OP_SET_ROOT:
		c->set_root.handle = self->container;
		c->set_root.root = 2;
		c->set_root.__reserved = 0;
		break;
	case PYOBJMEM_OP_GET_ROOT:
		c->get_root.root = 1;
		c->get_root.__reserved = 0;
		break;
	case PYOBJMEM_OP_REDEEM:
		c->redeem.fd = self->ticket;
		c->redeem.__reserved = 0;
		break;
	case PYOBJMEM_OP_COLLECT:
		c->collect.generation = 2;
		c->collect.__reserved = 0;
		break;
	case PYOBJMEM_OP_BATCH:
		self->entry = entry_get(self->container);
		c->batch.entries = pointer(&self->entry);
		c->batch.count = 1;
		c->batch.entry_size = sizeof(self->entry);
		c->batch.__reserved = 0;
		break;
	default:
		prepare_object(self);
	}
}

static int call(struct trial *self)
{
	int rc = operate(self->session, self->op, self->command);

	/* A descriptor that nobody closes would keep the heap. */
	if (!rc && self->op == PYOBJMEM_OP_EXPORT)
		close(self->command->export.out_fd);
	if (!rc && self->op == PYOBJMEM_OP_HEAP_CREATE)
		close(self->command->heap_create.out_fd);
	return rc;
}

/* First poisoned word of an operation that succeeded, -1 for none. */
static int poisoned_word(struct trial *self)
{
	unsigned int i;

	for (i = 0; i < self->rules->size / sizeof(__u32); i++) {
		/* Of HEAP_CONFIGURE only what @flags names is looked at. */
		if (self->op == PYOBJMEM_OP_HEAP_CONFIGURE)
			break;
		if (self->command->words[i] == POISON_WORD)
			return i * sizeof(__u32);
	}
	return -1;
}

static void expect_unchanged(struct __test_metadata *_metadata, struct trial *self)
{
	struct pyobjmem_stats now;

	ASSERT_EQ(0, heap_stats(self->heap.session, &now));
	EXPECT_EQ(self->before.out_objects, now.out_objects);
	EXPECT_EQ(self->before.out_gc[0].containers, now.out_gc[0].containers);
	EXPECT_EQ(self->before.out_used_bytes, now.out_used_bytes);
	EXPECT_EQ(self->before.out_sessions, now.out_sessions);
	EXPECT_EQ(self->before.out_tickets, now.out_tickets);
	EXPECT_EQ(self->before.out_holds, now.out_holds);
	EXPECT_EQ(self->before.out_watches, now.out_watches);
	EXPECT_EQ(self->before.out_weak, now.out_weak);
	EXPECT_EQ(self->before.out_finalizers, now.out_finalizers);
	EXPECT_EQ(self->before.out_permanent, now.out_permanent);
	EXPECT_EQ(self->before.out_gc[2].collections, now.out_gc[2].collections);
}

TEST_F(operation, exact_size)
{
	struct trial *trial = &self->trial;

	prepare(trial);
	ASSERT_EQ(0, call(trial));
	EXPECT_EQ(-1, poisoned_word(trial)) {
		TH_LOG("a member was not written");
	}
	EXPECT_TRUE(all_bytes(trial->command->bytes + trial->rules->size, POOL_BYTES, POISON));
}

TEST_F(operation, longer_with_zeros)
{
	struct trial *trial = &self->trial;

	prepare(trial);
	memset(trial->command->bytes + trial->rules->size, 0, 8);
	trial->command->size = trial->rules->size + 8;
	ASSERT_EQ(0, call(trial));
	EXPECT_EQ(-1, poisoned_word(trial));
	EXPECT_TRUE(all_bytes(trial->command->bytes + trial->rules->size, 8, 0));
}

TEST_F(operation, as_long_as_a_page_with_zeros)
{
	struct trial *trial = &self->trial;

	prepare(trial);
	memset(trial->command->bytes + trial->rules->size, 0, POOL_BYTES);
	trial->command->size = POOL_BYTES;
	EXPECT_EQ(0, call(trial));
}

TEST_F(operation, longer_with_junk)
{
	struct trial *trial = &self->trial;
	size_t extra;

	for (extra = 1; extra <= 16; extra++) {
		prepare(trial);
		memset(trial->command->bytes + trial->rules->size, 0, extra);
		trial->command->bytes[trial->rules->size + extra - 1] = 1;
		trial->command->size = trial->rules->size + extra;
		ASSERT_EQ(-E2BIG, call(trial)) {
			TH_LOG("%zu bytes more", extra);
		}
	}
	expect_unchanged(_metadata, trial);
}

TEST_F(operation, longer_than_a_page)
{
	struct trial *trial = &self->trial;

	prepare(trial);
	memset(trial->command->bytes + trial->rules->size, 0, POOL_BYTES);
	trial->command->size = POOL_BYTES + 1;
	EXPECT_EQ(-E2BIG, call(trial));
	trial->command->size = UINT32_MAX;
	EXPECT_EQ(-E2BIG, call(trial));
	expect_unchanged(_metadata, trial);
}

TEST_F(operation, shorter)
{
	struct trial *trial = &self->trial;
	size_t size;

	for (size = 0; size < trial->rules->size; size++) {
		prepare(trial);
		trial->command->size = size;
		ASSERT_EQ(-EINVAL, call(trial)) {
			TH_LOG("%zu of %zu bytes", size, trial->rules->size);
		}
	}
	expect_unchanged(_metadata, trial);
}

TEST_F(operation, null_pointer)
{
	struct trial *trial = &self->trial;

	EXPECT_EQ(-EFAULT, operate(trial->session, trial->op, NULL));
	expect_unchanged(_metadata, trial);
}

TEST_F(operation, end_of_the_structure_not_readable)
{
	struct trial *trial = &self->trial;
	char *area = guarded_pages(POOL_BYTES);
	size_t there;

	ASSERT_NE(NULL, area);
	for (there = 4; there < trial->rules->size; there += 4) {
		void *at = area + POOL_BYTES - there;

		prepare(trial);
		memcpy(at, trial->command, there);
		ASSERT_EQ(-EFAULT, operate(trial->session, trial->op, at)) {
			TH_LOG("%zu of %zu bytes can be read", there, trial->rules->size);
		}
	}
	expect_unchanged(_metadata, trial);
}

/* "If the reply cannot be written nothing has changed": no hold is left over. */
TEST_F(reply, not_writable_changes_nothing)
{
	struct trial *trial = &self->trial;
	struct pyobjmem_inspect inspect;
	int spare;

	spare = dup(trial->session);
	close(spare);
	prepare(trial);
	ASSERT_EQ(0, mprotect(trial->command, sizeof(*trial->command), PROT_READ));
	EXPECT_EQ(-EFAULT, call(trial));

	if (trial->op == PYOBJMEM_OP_COLLECT)
		return;			/* a collection that took place is not undone */
	expect_unchanged(_metadata, trial);
	ASSERT_EQ(0, object_inspect(trial->heap.session, trial->container, &inspect));
	EXPECT_EQ(1, inspect.out_takes);
	EXPECT_EQ(1 + 1 + 1, inspect.out_external);	/* session, root, ticket */
	EXPECT_EQ(1, inspect.out_internal);
	ASSERT_EQ(0, object_edges(trial->heap.session, trial->container, trial->edges, 2,
				  &inspect));
	EXPECT_EQ(0, trial->edges[0]);
	/* No descriptor was left behind either. */
	ASSERT_EQ(spare, dup(trial->session));
	close(spare);
}

/* A session to which HEAP_CREATE or HEAP_JOIN could not reply is as it was. */
TEST_F(reply, not_writable_then_writable)
{
	struct trial *trial = &self->trial;

	prepare(trial);
	ASSERT_EQ(0, mprotect(trial->command, sizeof(*trial->command), PROT_READ));
	EXPECT_EQ(-EFAULT, call(trial));
	ASSERT_EQ(0, mprotect(trial->command, sizeof(*trial->command), PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, call(trial));
}

TEST_F(operation, unknown_flags)
{
	struct trial *trial = &self->trial;
	__u32 flag;

	for (flag = 1; flag; flag <<= 1) {
		if (flag & trial->rules->known_flags)
			continue;
		prepare(trial);
		trial->command->flags |= flag;
		ASSERT_EQ(-EOPNOTSUPP, call(trial)) {
			TH_LOG("flag %#x", flag);
		}
	}
	expect_unchanged(_metadata, trial);
}

TEST_F(reserved, member_must_be_0)
{
	struct trial *trial = &self->trial;
	unsigned int bit;

	for (bit = 0; bit < 32; bit++) {
		prepare(trial);
		trial->command->words[trial->rules->reserved / sizeof(__u32)] = 1U << bit;
		ASSERT_EQ(-EOPNOTSUPP, call(trial)) {
			TH_LOG("bit %u", bit);
		}
	}
	expect_unchanged(_metadata, trial);
}

/* The command is the number with no size and no direction, and nothing else. */
TEST_F(operation, other_encodings_of_its_number)
{
	struct trial *trial = &self->trial;
	const unsigned int op = trial->op;
	const unsigned long commands[] = {
		_IOR(PYOBJMEM_TYPE, op, union command),
		_IOW(PYOBJMEM_TYPE, op, __u64),
		_IOWR(PYOBJMEM_TYPE, op, __u32),
		_IO(PYOBJMEM_TYPE - 1, op),
		_IO(PYOBJMEM_TYPE + 1, op),
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		prepare(trial);
		errno = 0;
		ASSERT_EQ(-1, ioctl(trial->session, commands[i], trial->command));
		EXPECT_EQ(ENOTTY, errno) {
			TH_LOG("command %#lx", commands[i]);
		}
	}
	expect_unchanged(_metadata, trial);
}

FIXTURE(device)
{
	int session;
};

FIXTURE_SETUP(device)
{
	self->session = session_open();
	ASSERT_LE(0, self->session);
}

FIXTURE_TEARDOWN(device)
{
	close(self->session);
}

TEST_F(device, unknown_numbers)
{
	static union command command;
	unsigned int nr;

	for (nr = PYOBJMEM_OP_COUNT; nr < 256; nr++) {
		memset(&command, 0, sizeof(command));
		command.size = 64;
		ASSERT_EQ(-ENOTTY, operate(self->session, nr, &command)) {
			TH_LOG("number %#x", nr);
		}
		ASSERT_EQ(-ENOTTY, operate(self->session, nr, NULL));
	}
}

TEST_F(device, query_tells_the_geometry)
{
	struct pyobjmem_query query;

	ASSERT_EQ(0, session_query(self->session, &query));
	EXPECT_EQ(PYOBJMEM_ABI, query.out_abi);
	EXPECT_EQ(PYOBJMEM_OP_COUNT, query.out_operations);
	EXPECT_EQ(ARENA_BYTES, query.out_arena_bytes);
	EXPECT_EQ(POOL_BYTES, query.out_pool_bytes);
	EXPECT_EQ(8, query.out_class_step);
	EXPECT_EQ(SMALL_MAX, query.out_class_max);
	EXPECT_EQ(PYOBJMEM_ROOTS, query.out_roots);
	EXPECT_EQ(PYOBJMEM_GENERATIONS, query.out_generations);
	EXPECT_EQ(PYOBJMEM_BATCH_MAX, query.out_batch_max);
	EXPECT_EQ(PYOBJMEM_BATCH_BYTES, query.out_batch_bytes);
	EXPECT_EQ(PYOBJMEM_SLOTS_MAX, query.out_slots_max);
	EXPECT_EQ(0, query.__reserved);
}

TEST_F(device, query_tells_the_limits)
{
	struct pyobjmem_query query;
	__u64 value;

	ASSERT_EQ(0, session_query(self->session, &query));
	/* A handle has 32 bits for the offset divided by 8. */
	EXPECT_LT(0, query.out_window_bytes);
	EXPECT_GE(32ULL << 30, query.out_window_bytes);
	EXPECT_EQ(0, query.out_window_bytes % ARENA_BYTES);
	EXPECT_LT(0, query.out_payload_max);
	EXPECT_GE(UINT32_MAX, query.out_payload_max);
	EXPECT_GE(query.out_window_bytes, query.out_payload_max);

	ASSERT_EQ(0, parameter_read("heap_bytes", &value));
	EXPECT_EQ(value, query.out_heap_bytes);
	ASSERT_EQ(0, parameter_read("heap_objects", &value));
	EXPECT_EQ(value, query.out_heap_objects);
	ASSERT_EQ(0, parameter_read("session_holds", &value));
	EXPECT_EQ(value, query.out_session_holds);
	ASSERT_EQ(0, parameter_read("user_bytes", &value));
	EXPECT_EQ(value, query.out_user_bytes);
}

TEST_F(device, query_needs_no_heap_and_changes_nothing)
{
	struct pyobjmem_query first, second;
	int heap_fd;

	ASSERT_EQ(0, session_query(self->session, &first));
	ASSERT_EQ(0, heap_create(self->session, 0, 0, &heap_fd, NULL));
	close(heap_fd);
	ASSERT_EQ(0, session_query(self->session, &second));
	EXPECT_EQ(0, memcmp(&first, &second, sizeof(first)));
	ASSERT_EQ(0, session_leave(self->session));
	ASSERT_EQ(0, session_query(self->session, &second));
	EXPECT_EQ(0, memcmp(&first, &second, sizeof(first)));
}

/* What the features say is offered, and nothing else. */
TEST_F(device, features_match_what_is_offered)
{
	struct pyobjmem_query query;
	__u64 handle;
	int heap_fd;
	void *map;

	ASSERT_EQ(0, session_query(self->session, &query));
	EXPECT_EQ(PYOBJMEM_FEATURE_WEAK | PYOBJMEM_FEATURE_FINALIZE, query.out_features);
	ASSERT_EQ(0, heap_create(self->session, 0, 0, &heap_fd, NULL));
	close(heap_fd);
	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0,
				   &handle));
	EXPECT_EQ(0, weak_hold(self->session, handle, 0));
	map = mmap(NULL, POOL_BYTES, PROT_READ, MAP_SHARED, self->session, 0);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(EOPNOTSUPP, errno);
}

/* The mode is 0660: whoever is neither owner nor of the group stays outside. */
TEST_F(device, is_closed_to_others)
{
	struct stat status;

	ASSERT_EQ(0, stat(DEVICE, &status));
	EXPECT_TRUE(S_ISCHR(status.st_mode));
	EXPECT_EQ(0660, status.st_mode & 0777);
}

/* ioctl() as a 32-bit program makes it. */
static int compat_ioctl(int fd, unsigned int command, void *argument)
{
#ifdef __x86_64__
	const int compat_nr_ioctl = 54;
	long rc;

	asm volatile("int $0x80"
		     : "=a" (rc)
		     : "a" (compat_nr_ioctl), "b" (fd), "c" (command), "d" (argument)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)rc;
#else
	return -ENOSYS;
#endif
}

static void trap_unhandled(int signal)
{
	_exit(signal == SIGSEGV ? 255 : 1);	/* the harness takes 255 for SKIP */
}

TEST_F(device, compat_ioctl_takes_the_same_structures)
{
	union command *command = mmap(NULL, sizeof(*command), PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct pyobjmem_inspect inspect;
	int heap_fd;

	ASSERT_NE(MAP_FAILED, command);
	signal(SIGSEGV, trap_unhandled);
	memset(command, 0, sizeof(*command));
	command->size = sizeof(command->query);
	if (compat_ioctl(self->session, PYOBJMEM_QUERY, command) == -ENOSYS)
		SKIP(return, "the kernel runs no 32-bit programs");
	EXPECT_EQ(PYOBJMEM_ABI, command->query.out_abi);

	ASSERT_EQ(0, heap_create(self->session, 0, 0, &heap_fd, NULL));
	close(heap_fd);
	memset(command, 0, sizeof(*command));
	command->size = sizeof(command->create);
	command->create.payload_size = 24;
	command->create.slots = 3;
	ASSERT_EQ(0, compat_ioctl(self->session, PYOBJMEM_CREATE, command));
	ASSERT_EQ(0, object_inspect(self->session, command->create.out_handle, &inspect));
	EXPECT_EQ(24, inspect.out_payload);
	EXPECT_EQ(3, inspect.out_slots);
	EXPECT_EQ(-ENOTTY, compat_ioctl(self->session, _IO(PYOBJMEM_TYPE, PYOBJMEM_OP_COUNT),
					command));
}

TEST_HARNESS_MAIN
