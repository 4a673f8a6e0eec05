// SPDX-License-Identifier: GPL-2.0
/*
 * BATCH: the same operations as one by one, in their order, each with its
 * result; what happens when one fails at each place; limits; bad pointers.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#define SLOTS	4U
#define PAYLOAD	64U

FIXTURE(batch)
{
	struct test_heap heap;
	int session;
	int other;
	__u64 object;		/* SLOTS slots, mutable, PAYLOAD bytes */
	__u64 sealed;		/* SLOTS slots */
	__u64 unheld;
	__u64 dead;
	struct pyobjmem_stats before;
};

FIXTURE_SETUP(batch)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, NULL, PAYLOAD, NULL,
				   SLOTS, &self->object));
	ASSERT_EQ(0, container_create(self->session, SLOTS, &self->sealed));
	ASSERT_EQ(0, container_create(self->other, SLOTS, &self->unheld));
	ASSERT_EQ(0, container_create(self->session, SLOTS, &self->dead));
	ASSERT_EQ(0, object_put(self->session, self->dead));
	ASSERT_EQ(0, heap_stats(self->session, &self->before));
}

FIXTURE_TEARDOWN(batch)
{
	EXPECT_VERIFIED(self->heap.number);
	close(self->other);
	EXPECT_CLEAN_END(&self->heap);
}

static void expect_unchanged(struct __test_metadata *_metadata, FIXTURE_DATA(batch) *self)
{
	struct pyobjmem_inspect inspect;
	struct pyobjmem_stats now;
	char payload[PAYLOAD];
	__u64 edges[SLOTS];

	ASSERT_EQ(0, heap_stats(self->session, &now));
	EXPECT_EQ(self->before.out_objects, now.out_objects);
	EXPECT_EQ(self->before.out_created, now.out_created);
	EXPECT_EQ(self->before.out_holds, now.out_holds);
	EXPECT_EQ(self->before.out_used_bytes, now.out_used_bytes);
	ASSERT_EQ(0, object_edges(self->session, self->object, edges, SLOTS, &inspect));
	EXPECT_EQ(1, inspect.out_takes);
	EXPECT_EQ(1, inspect.out_external);
	EXPECT_EQ(0, inspect.out_internal);
	EXPECT_TRUE(all_bytes(edges, sizeof(edges), 0));
	ASSERT_EQ(PAYLOAD, object_read(self->session, self->object, 0, payload, PAYLOAD));
	EXPECT_TRUE(all_bytes(payload, PAYLOAD, 0));
}

TEST_F(batch, of_one_of_each)
{
	char text[PAYLOAD], back[PAYLOAD] = "";
	struct pyobjmem_batch_entry entries[] = {
		entry_create(0, "new", 4, 1),
		entry_get(self->object),
		entry_set_ref(self->object, 2, self->sealed),
		entry_get_ref(self->object, 2),
		entry_write(self->object, 3, "written", 8),
		entry_read(self->object, 3, back, 100),
		entry_set_root(9, self->sealed),
		entry_get_root(9),
		entry_get_root(10),
		entry_put(self->object),
	};
	struct pyobjmem_inspect inspect;
	__u32 done = 0;
	size_t i;

	memset(back, 'x', sizeof(back));
	ASSERT_EQ(0, batch_run(self->session, entries, ARRAY_SIZE(entries), 0, &done));
	EXPECT_EQ(ARRAY_SIZE(entries), done);
	for (i = 0; i < ARRAY_SIZE(entries); i++) {
		const struct pyobjmem_batch_entry *entry = &entries[i];

		EXPECT_EQ(0, entry->out_result) {
			TH_LOG("entry %zu", i);
		}
	}
	ASSERT_EQ(4, object_read(self->session, entries[0].command.create.out_handle, 0, text,
				 PAYLOAD));
	EXPECT_STREQ("new", text);
	EXPECT_EQ(0, entries[2].command.set_ref.out_old);
	EXPECT_EQ(self->sealed, entries[3].command.get_ref.out_handle);
	EXPECT_EQ(8, entries[4].command.write.out_length);
	EXPECT_EQ(PAYLOAD - 3, entries[5].command.read.out_length);
	EXPECT_EQ(PAYLOAD, entries[5].command.read.out_payload);
	EXPECT_EQ(SLOTS, entries[5].command.read.out_slots);
	EXPECT_STREQ("written", back);
	EXPECT_TRUE(all_bytes(back + 8, PAYLOAD - 3 - 8, 0));
	EXPECT_TRUE(all_bytes(back + PAYLOAD - 3, 3, 'x'));
	EXPECT_EQ(0, entries[6].command.set_root.out_old);
	EXPECT_EQ(self->sealed, entries[7].command.get_root.out_handle);
	EXPECT_EQ(0, entries[8].command.get_root.out_handle);
	ASSERT_EQ(0, object_inspect(self->session, self->object, &inspect));
	EXPECT_EQ(1, inspect.out_takes);
	ASSERT_EQ(0, object_inspect(self->session, self->sealed, &inspect));
	EXPECT_EQ(3, inspect.out_takes);
	EXPECT_EQ(2, inspect.out_external);
	EXPECT_EQ(1, inspect.out_internal);
}

/* Each sees what those before it did. */
TEST_F(batch, is_done_in_its_order)
{
	char first[2] = "", second[2] = "";
	struct pyobjmem_batch_entry entries[] = {
		entry_set_ref(self->object, 0, self->sealed),
		entry_set_ref(self->object, 0, self->object),
		entry_set_ref(self->object, 0, 0),
		entry_write(self->object, 0, "a", 1),
		entry_read(self->object, 0, first, 1),
		entry_write(self->object, 0, "b", 1),
		entry_read(self->object, 0, second, 1),
		entry_get(self->sealed),
		entry_put(self->sealed),
		entry_put(self->sealed),
		entry_put(self->sealed),
	};
	__u32 done;

	ASSERT_EQ(0, batch_run(self->session, entries, ARRAY_SIZE(entries), 0, &done));
	EXPECT_EQ(ARRAY_SIZE(entries), done);
	EXPECT_EQ(0, entries[0].command.set_ref.out_old);
	EXPECT_EQ(self->sealed, entries[1].command.set_ref.out_old);
	EXPECT_EQ(self->object, entries[2].command.set_ref.out_old);
	EXPECT_STREQ("a", first);
	EXPECT_STREQ("b", second);
	EXPECT_EQ(0, entries[9].out_result);
	EXPECT_EQ(-ESTALE, entries[10].out_result);
}

/* The entry that is to fail, in the ways that there are. */
static const struct failing {
	const char *what;
	__u32 op;
	int result;
} failing[] = {
	{ "PUT of a dead object", PYOBJMEM_OP_PUT, -ESTALE },
	{ "GET of what is not held", PYOBJMEM_OP_GET, -ENOENT },
	{ "SET_REF of no slot", PYOBJMEM_OP_SET_REF, -EINVAL },
	{ "WRITE to a sealed object", PYOBJMEM_OP_WRITE, -EPERM },
	{ "CREATE with a bad type", PYOBJMEM_OP_CREATE, -EINVAL },
	{ "GET_ROOT of no root", PYOBJMEM_OP_GET_ROOT, -EINVAL },
	{ "STATS", PYOBJMEM_OP_STATS, -EOPNOTSUPP },
	{ "COLLECT", PYOBJMEM_OP_COLLECT, -EOPNOTSUPP },
	{ "BATCH", PYOBJMEM_OP_BATCH, -EOPNOTSUPP },
	{ "an unknown number", PYOBJMEM_OP_COUNT, -ENOTTY },
};

static struct pyobjmem_batch_entry failing_entry(FIXTURE_DATA(batch) *self,
						 const struct failing *failing)
{
	struct pyobjmem_batch_entry entry;

	switch (failing->op) {
	case PYOBJMEM_OP_PUT:
		return entry_put(self->dead);
	case PYOBJMEM_OP_GET:
		return entry_get(self->unheld);
	case PYOBJMEM_OP_SET_REF:
		return entry_set_ref(self->object, SLOTS, 0);
	case PYOBJMEM_OP_WRITE:
		return entry_write(self->sealed, 0, "x", 1);
	case PYOBJMEM_OP_CREATE:
		entry = entry_create(0, NULL, 8, 0);
		entry.command.create.type = 65536;
		return entry;
	case PYOBJMEM_OP_GET_ROOT:
		return entry_get_root(PYOBJMEM_ROOTS);
	default:
		entry = entry_get(self->object);
		entry.op = failing->op;
		return entry;
	}
}

#define ENTRIES	8

/* Entry i sets byte i of the payload, so that it shows which took place. */
static void marking_entries(FIXTURE_DATA(batch) *self, struct pyobjmem_batch_entry *entries,
			    unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		entries[i] = entry_write(self->object, i, "!", 1);
		entries[i].out_result = 12345;
	}
}

static void expect_marks(struct __test_metadata *_metadata, FIXTURE_DATA(batch) *self,
			 const char *expected)
{
	char marks[PAYLOAD + 1] = "";
	unsigned int i;

	ASSERT_EQ(PAYLOAD, object_read(self->session, self->object, 0, marks, PAYLOAD));
	for (i = 0; i < PAYLOAD; i++)
		marks[i] = marks[i] ?: '.';
	marks[strlen(expected)] = 0;
	ASSERT_STREQ(expected, marks);
}

TEST_F(batch, stops_at_the_first_that_fails_wherever_it_is)
{
	struct pyobjmem_batch_entry entries[ENTRIES];
	char expected[ENTRIES + 1] = "", zeros[PAYLOAD] = "";
	unsigned int k, f, i;
	__u32 done;

	for (f = 0; f < ARRAY_SIZE(failing); f++)
		for (k = 0; k < ENTRIES; k++) {
			marking_entries(self, entries, ENTRIES);
			entries[k] = failing_entry(self, &failing[f]);
			ASSERT_EQ(0, batch_run(self->session, entries, ENTRIES, 0, &done));
			ASSERT_EQ(k + 1, done) {
				TH_LOG("%s at %u", failing[f].what, k);
			}
			for (i = 0; i < k; i++)
				ASSERT_EQ(0, entries[i].out_result);
			ASSERT_EQ(failing[f].result, entries[k].out_result) {
				TH_LOG("%s at %u", failing[f].what, k);
			}
			for (i = 0; i < ENTRIES; i++)
				expected[i] = i < k ? '!' : '.';
			expect_marks(_metadata, self, expected);
			ASSERT_EQ(PAYLOAD, object_write(self->session, self->object, 0, zeros,
							PAYLOAD));
		}
	expect_unchanged(_metadata, self);
}

TEST_F(batch, goes_on_after_a_failure_if_told_to)
{
	struct pyobjmem_batch_entry entries[ENTRIES];
	char expected[ENTRIES + 1] = "", zeros[PAYLOAD] = "";
	unsigned int k, f, i;
	__u32 done;

	for (f = 0; f < ARRAY_SIZE(failing); f++)
		for (k = 0; k < ENTRIES; k++) {
			marking_entries(self, entries, ENTRIES);
			entries[k] = failing_entry(self, &failing[f]);
			ASSERT_EQ(0, batch_run(self->session, entries, ENTRIES,
					       PYOBJMEM_BATCH_CONTINUE, &done));
			ASSERT_EQ(ENTRIES, done);
			for (i = 0; i < ENTRIES; i++) {
				ASSERT_EQ(i == k ? failing[f].result : 0, entries[i].out_result) {
					TH_LOG("%s at %u, entry %u", failing[f].what, k, i);
				}
				expected[i] = i == k ? '.' : '!';
			}
			expect_marks(_metadata, self, expected);
			ASSERT_EQ(PAYLOAD, object_write(self->session, self->object, 0, zeros,
							PAYLOAD));
		}
	expect_unchanged(_metadata, self);
}

/* All of them fail, and all of them are tried. */
TEST_F(batch, of_failures_only)
{
	struct pyobjmem_batch_entry entries[ARRAY_SIZE(failing)];
	size_t i;
	__u32 done;

	for (i = 0; i < ARRAY_SIZE(entries); i++)
		entries[i] = failing_entry(self, &failing[i]);
	ASSERT_EQ(0, batch_run(self->session, entries, ARRAY_SIZE(entries),
			       PYOBJMEM_BATCH_CONTINUE, &done));
	EXPECT_EQ(ARRAY_SIZE(entries), done);
	for (i = 0; i < ARRAY_SIZE(entries); i++)
		ASSERT_EQ(failing[i].result, entries[i].out_result);
	expect_unchanged(_metadata, self);
}

/* What a batch cannot carry, each of it. */
TEST_F(batch, carries_only_operations_on_objects)
{
	static const __u32 allowed = 1U << PYOBJMEM_OP_CREATE | 1U << PYOBJMEM_OP_GET |
		1U << PYOBJMEM_OP_PUT | 1U << PYOBJMEM_OP_SET_REF | 1U << PYOBJMEM_OP_GET_REF |
		1U << PYOBJMEM_OP_READ | 1U << PYOBJMEM_OP_WRITE | 1U << PYOBJMEM_OP_SET_ROOT |
		1U << PYOBJMEM_OP_GET_ROOT | 1U << PYOBJMEM_OP_WEAK |
		1U << PYOBJMEM_OP_UPGRADE | 1U << PYOBJMEM_OP_WEAK_DROP;
	struct pyobjmem_batch_entry entry;
	__u32 op;

	for (op = 0; op < PYOBJMEM_OP_COUNT; op++) {
		if (allowed & 1U << op)
			continue;
		memset(&entry, 0, sizeof(entry));
		entry.op = op;
		entry.command.size = sizeof(entry.command);
		ASSERT_EQ(0, batch_run(self->session, &entry, 1, 0, NULL));
		EXPECT_EQ(-EOPNOTSUPP, entry.out_result) {
			TH_LOG("operation %#x", op);
		}
	}
	for (op = PYOBJMEM_OP_COUNT; op; op <<= 1) {
		entry.op = op;
		ASSERT_EQ(0, batch_run(self->session, &entry, 1, 0, NULL));
		EXPECT_EQ(-ENOTTY, entry.out_result);
	}
	expect_unchanged(_metadata, self);
}

/* The rules for structures hold inside too, as that entry's result. */
TEST_F(batch, checks_each_structure_as_a_single_call_does)
{
	struct pyobjmem_batch_entry entries[] = {
		entry_get(self->object), entry_get(self->object), entry_get(self->object),
		entry_get_root(0), entry_get(self->object), entry_get(self->object),
		entry_get(self->object),
	};
	static const int results[] = {
		-EINVAL, -E2BIG, -EOPNOTSUPP, -EOPNOTSUPP, 0, -EINVAL, -E2BIG,
	};
	size_t i;

	entries[0].command.size = sizeof(struct pyobjmem_get) - 1;
	entries[1].command.size = sizeof(struct pyobjmem_get) + 8;
	entries[1].command.raw[2] = 1;
	entries[2].command.get.flags = 1U << 31;
	entries[3].command.get_root.__reserved = 1;
	/* Longer than the kernel knows, but with zeros. */
	entries[4].command.size = sizeof(union pyobjmem_command);
	entries[5].command.size = 0;
	/* Longer than there is room for. */
	entries[6].command.size = sizeof(union pyobjmem_command) + 8;
	ASSERT_EQ(0, batch_run(self->session, entries, ARRAY_SIZE(entries),
			       PYOBJMEM_BATCH_CONTINUE, NULL));
	for (i = 0; i < ARRAY_SIZE(entries); i++) {
		const struct pyobjmem_batch_entry *entry = &entries[i];

		EXPECT_EQ(results[i], entry->out_result) {
			TH_LOG("entry %zu", i);
		}
	}
	ASSERT_EQ(0, object_put(self->session, self->object));
	expect_unchanged(_metadata, self);
}

/* Only what was tried is written back. */
TEST_F(batch, leaves_the_entries_behind_alone)
{
	struct pyobjmem_batch_entry entries[ENTRIES], copy[ENTRIES];
	__u32 done;

	marking_entries(self, entries, ENTRIES);
	entries[2] = entry_put(self->dead);
	memcpy(copy, entries, sizeof(copy));
	ASSERT_EQ(0, batch_run(self->session, entries, ENTRIES, 0, &done));
	ASSERT_EQ(3, done);
	EXPECT_EQ(0, memcmp(&entries[3], &copy[3], (ENTRIES - 3) * sizeof(entries[0])));
}

TEST_F(batch, handles_of_one_are_used_by_the_next)
{
	struct pyobjmem_batch_entry entries[100];
	__u64 handle[100];
	struct pyobjmem_inspect inspect;
	unsigned int i;

	for (i = 0; i < 100; i++)
		entries[i] = entry_create(i % 2 ? PYOBJMEM_CREATE_MUTABLE : 0, &i, sizeof(i), 1);
	ASSERT_EQ(0, batch_run(self->session, entries, 100, 0, NULL));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, entries[i].out_result);
		handle[i] = entries[i].command.create.out_handle;
	}
	/* A ring. */
	for (i = 0; i < 100; i++)
		entries[i] = entry_set_ref(handle[i], 0, handle[(i + 1) % 100]);
	ASSERT_EQ(0, batch_run(self->session, entries, 100, 0, NULL));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, entries[i].out_result);
		ASSERT_EQ(0, object_inspect(self->session, handle[i], &inspect));
		ASSERT_EQ(1, inspect.out_internal);
	}
	for (i = 0; i < 100; i++)
		entries[i] = entry_put(handle[i]);
	ASSERT_EQ(0, batch_run(self->session, entries, 100, 0, NULL));
	EXPECT_EQ(self->before.out_objects + 100, stats_objects(self->session));
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EQ(self->before.out_objects, stats_objects(self->session));
}

TEST_F(batch, initial_edges_inside)
{
	struct pyobjmem_batch_entry entries[4];
	__u64 edges[600], seen[600];
	struct pyobjmem_inspect inspect;
	unsigned int i;

	for (i = 0; i < 600; i++)
		edges[i] = i % 3 ? self->sealed : self->object;
	for (i = 0; i < 4; i++) {
		entries[i] = entry_create(0, "x", 1, 150 * (i + 1));
		entries[i].command.create.edges = pointer(edges);
	}
	ASSERT_EQ(0, batch_run(self->session, entries, 4, 0, NULL));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, entries[i].out_result);
		ASSERT_EQ(0, object_edges(self->session, entries[i].command.create.out_handle, seen,
					  600, &inspect));
		ASSERT_EQ(150 * (i + 1), inspect.out_slots);
		ASSERT_EQ(0, memcmp(edges, seen, inspect.out_slots * sizeof(__u64)));
	}
	ASSERT_EQ(0, object_inspect(self->session, self->sealed, &inspect));
	EXPECT_EQ((150 + 300 + 450 + 600) / 3 * 2, inspect.out_internal);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, object_put(self->session, entries[i].command.create.out_handle));
	ASSERT_EQ(0, object_inspect(self->session, self->sealed, &inspect));
	EXPECT_EQ(0, inspect.out_internal);
}

/* Limits */

TEST_F(batch, count_limits)
{
	struct pyobjmem_batch_entry *entries = calloc(PYOBJMEM_BATCH_MAX + 1, sizeof(*entries));
	__u32 done, i;

	for (i = 0; i <= PYOBJMEM_BATCH_MAX; i++)
		entries[i] = entry_get(self->object);
	EXPECT_EQ(-EINVAL, batch_run(self->session, entries, 0, 0, NULL));
	EXPECT_EQ(-E2BIG, batch_run(self->session, entries, PYOBJMEM_BATCH_MAX + 1, 0, NULL));
	EXPECT_EQ(-E2BIG, batch_run(self->session, entries, UINT32_MAX, 0, NULL));
	expect_unchanged(_metadata, self);
	ASSERT_EQ(0, batch_run(self->session, entries, PYOBJMEM_BATCH_MAX, 0, &done));
	EXPECT_EQ(PYOBJMEM_BATCH_MAX, done);
	for (i = 0; i < PYOBJMEM_BATCH_MAX; i++)
		ASSERT_EQ(0, object_put(self->session, self->object));
	expect_unchanged(_metadata, self);
	free(entries);
}

TEST_F(batch, entry_size_einval)
{
	static const __u32 sizes[] = { 0, 1, 63, 65, 72, 128, UINT32_MAX };
	struct pyobjmem_batch_entry entries[4];
	size_t i;

	marking_entries(self, entries, 4);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct pyobjmem_batch batch = {
			.size = sizeof(batch),
			.entries = pointer(entries),
			.count = 2,
			.entry_size = sizes[i],
		};

		EXPECT_EQ(-EINVAL, operate(self->session, PYOBJMEM_OP_BATCH, &batch));
	}
	expect_unchanged(_metadata, self);
}

TEST_F(batch, bytes_up_to_the_limit)
{
	const __u32 quarter = PYOBJMEM_BATCH_BYTES / 4;
	struct pyobjmem_batch_entry entries[4];
	char *payload = malloc(PYOBJMEM_BATCH_BYTES), *back = malloc(PYOBJMEM_BATCH_BYTES);
	unsigned int i;

	fill_pattern(payload, PYOBJMEM_BATCH_BYTES, 1);
	for (i = 0; i < 4; i++)
		entries[i] = entry_create(i % 2 ? PYOBJMEM_CREATE_MUTABLE : 0,
					  payload + i * quarter, quarter, 0);
	ASSERT_EQ(0, batch_run(self->session, entries, 4, 0, NULL));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, entries[i].out_result);
		entries[i] = entry_read(entries[i].command.create.out_handle, 0,
					back + i * quarter, quarter);
	}
	ASSERT_EQ(0, batch_run(self->session, entries, 4, 0, NULL));
	EXPECT_EQ(0, memcmp(payload, back, PYOBJMEM_BATCH_BYTES));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, entries[i].out_result);
		ASSERT_EQ(0, object_put(self->session, entries[i].command.read.handle));
	}
	/* All in one. */
	entries[0] = entry_create(0, payload, PYOBJMEM_BATCH_BYTES, 0);
	ASSERT_EQ(0, batch_run(self->session, entries, 1, 0, NULL));
	ASSERT_EQ(0, entries[0].out_result);
	free(payload);
	free(back);
}

TEST_F(batch, more_bytes_than_the_limit)
{
	char *buffer = malloc(PYOBJMEM_BATCH_BYTES + 8);
	__u64 *edges = calloc(PYOBJMEM_BATCH_BYTES / 8 + 1, sizeof(*edges));
	struct pyobjmem_batch_entry entries[3] = { entry_get(self->object) };

	memset(buffer, 0, PYOBJMEM_BATCH_BYTES + 8);
	entries[1] = entry_create(0, buffer, PYOBJMEM_BATCH_BYTES - 8, 0);
	entries[2] = entry_create(0, buffer, 16, 0);
	EXPECT_EQ(-E2BIG, batch_run(self->session, entries, 3, 0, NULL));
	entries[2] = entry_read(self->object, 0, buffer, 16);
	EXPECT_EQ(-E2BIG, batch_run(self->session, entries, 3, 0, NULL));
	entries[2] = entry_write(self->object, 0, buffer, 16);
	EXPECT_EQ(-E2BIG, batch_run(self->session, entries, 3, 0, NULL));
	entries[1] = entry_create(0, NULL, 8, PYOBJMEM_BATCH_BYTES / 8 + 1);
	entries[1].command.create.edges = pointer(edges);
	EXPECT_EQ(-E2BIG, batch_run(self->session, entries, 2, 0, NULL));
	/* Sums that would wrap. */
	entries[1] = entry_read(self->object, 0, buffer, UINT64_MAX);
	entries[2] = entry_read(self->object, 0, buffer, 16);
	EXPECT_EQ(-E2BIG, batch_run(self->session, entries, 3, 0, NULL));
	expect_unchanged(_metadata, self);
	free(buffer);
	free(edges);
}

/* At the heap's limit, one by one it would go: so it does in a batch. */
TEST_F(batch, a_large_create_finds_the_room_that_a_put_before_it_made)
{
	const __u32 size = 30 * POOL_BYTES;
	struct pyobjmem_batch_entry entries[2];
	__u64 large;

	ASSERT_EQ(0, object_create(self->session, 0, NULL, size, NULL, 0, &large));
	ASSERT_EQ(0, heap_limit_bytes(self->session, 40 * POOL_BYTES));
	entries[0] = entry_put(large);
	entries[1] = entry_create(0, NULL, size, 0);
	ASSERT_EQ(0, batch_run(self->session, entries, 2, 0, NULL));
	EXPECT_EQ(0, entries[0].out_result);
	EXPECT_EQ(0, entries[1].out_result);
}

TEST_F(batch, limits_of_the_heap_are_results)
{
	struct pyobjmem_batch_entry entries[20];
	__u32 done, i;

	ASSERT_EQ(0, heap_limit_objects(self->session, self->before.out_objects + 5));
	for (i = 0; i < ARRAY_SIZE(entries); i++)
		entries[i] = entry_create(0, NULL, 8, 0);
	ASSERT_EQ(0, batch_run(self->session, entries, ARRAY_SIZE(entries), 0, &done));
	EXPECT_EQ(6, done);
	EXPECT_EQ(0, entries[4].out_result);
	EXPECT_EQ(-ENOSPC, entries[5].out_result);
	EXPECT_EQ(self->before.out_objects + 5, stats_objects(self->session));
	for (i = 0; i < 5; i++)
		ASSERT_EQ(0, object_put(self->session, entries[i].command.create.out_handle));
	EXPECT_EQ(self->before.out_objects, stats_objects(self->session));
}

/* Bad pointers */

/* A bad pointer anywhere: nothing at all took place. */
TEST_F(batch, efault_before_effects_changes_nothing)
{
	char *area = guarded_pages(POOL_BYTES);
	const void *bad[] = { (void *)8, (void *)~0xfffUL, area + POOL_BYTES - 4 };
	struct pyobjmem_batch_entry entries[ENTRIES];
	unsigned int k, b, kind;
	__u32 done;

	for (kind = 0; kind < 4; kind++)
		for (b = 0; b < ARRAY_SIZE(bad); b++)
			for (k = 0; k < ENTRIES; k++) {
				marking_entries(self, entries, ENTRIES);
				if (kind == 0)
					entries[k] = entry_create(0, bad[b], 16, 0);
				else if (kind == 1)
					entries[k] = entry_create(PYOBJMEM_CREATE_MUTABLE, bad[b],
								  3 * POOL_BYTES, 0);
				else if (kind == 2)
					entries[k] = entry_write(self->object, 0, bad[b], 16);
				else
					entries[k] = entry_create(0, NULL, 0, 2);
				if (kind == 3)
					entries[k].command.create.edges = pointer(bad[b]);
				done = 99;
				ASSERT_EQ(-EFAULT, batch_run(self->session, entries, ENTRIES,
							     PYOBJMEM_BATCH_CONTINUE, &done)) {
					TH_LOG("kind %u, pointer %u, entry %u", kind, b, k);
				}
				ASSERT_EQ(0, done);
			}
	expect_unchanged(_metadata, self);
}

TEST_F(batch, efault_of_the_entries)
{
	struct pyobjmem_batch_entry *area = guarded_pages(POOL_BYTES);
	struct pyobjmem_batch_entry *last = area + POOL_BYTES / sizeof(*area) - 1;
	__u32 done = 99;

	marking_entries(self, last, 1);
	EXPECT_EQ(-EFAULT, batch_run(self->session, last, 2, 0, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(-EFAULT, batch_run(self->session, NULL, 1, 0, NULL));
	EXPECT_EQ(-EFAULT, batch_run(self->session, (void *)~0xfffUL, 1, 0, NULL));
	expect_unchanged(_metadata, self);
}

/* The results cannot be written: out_done tells that operations took place. */
TEST_F(batch, efault_after_effects_tells_how_many)
{
	struct pyobjmem_batch_entry *area = guarded_pages(POOL_BYTES);
	__u32 done = 99;

	marking_entries(self, area, ENTRIES);
	ASSERT_EQ(0, mprotect(area, POOL_BYTES, PROT_READ));
	EXPECT_EQ(-EFAULT, batch_run(self->session, area, ENTRIES, 0, &done));
	EXPECT_EQ(ENTRIES, done);
	expect_marks(_metadata, self, "!!!!!!!!.");
}

TEST_F(batch, read_into_a_bad_buffer_is_a_result)
{
	char good[8] = "", *area = guarded_pages(POOL_BYTES);
	struct pyobjmem_batch_entry entries[] = {
		entry_write(self->object, 0, "abcdefgh", 8),
		entry_read(self->object, 0, (void *)8, 8),
		entry_read(self->object, 0, area + POOL_BYTES - 4, 8),
		entry_read(self->object, 0, good, 8),
	};
	__u32 done;

	ASSERT_EQ(0, batch_run(self->session, entries, ARRAY_SIZE(entries),
			       PYOBJMEM_BATCH_CONTINUE, &done));
	EXPECT_EQ(ARRAY_SIZE(entries), done);
	EXPECT_EQ(0, entries[0].out_result);
	EXPECT_EQ(-EFAULT, entries[1].out_result);
	EXPECT_EQ(-EFAULT, entries[2].out_result);
	EXPECT_EQ(0, entries[3].out_result);
	EXPECT_EQ(0, memcmp(good, "abcdefgh", 8));
}

/* A batch of many drops: the cascades are done when it returns. */
TEST_F(batch, cascades_are_done_when_it_returns)
{
	struct pyobjmem_batch_entry entries[10];
	__u64 head, next;
	unsigned int i, j;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &head));
		for (j = 0; j < 1000; j++) {
			ASSERT_EQ(0, object_create(self->session, 0, NULL, 0, &head, 1, &next));
			ASSERT_EQ(0, object_put(self->session, head));
			head = next;
		}
		entries[i] = entry_put(head);
	}
	EXPECT_EQ(self->before.out_objects + 10010, stats_objects(self->session));
	ASSERT_EQ(0, batch_run(self->session, entries, 10, 0, NULL));
	EXPECT_EQ(self->before.out_objects, stats_objects(self->session));
}

/* As large as it gets, mixed, a few times: nothing is lost on the way. */
TEST_F(batch, of_a_thousand)
{
	struct pyobjmem_batch_entry *entries = calloc(PYOBJMEM_BATCH_MAX, sizeof(*entries));
	unsigned int i, round;
	char payload[200];

	for (round = 0; round < 5; round++) {
		fill_pattern(payload, sizeof(payload), round);
		for (i = 0; i < PYOBJMEM_BATCH_MAX; i++)
			entries[i] = entry_create(i % 3 ? 0 : PYOBJMEM_CREATE_MUTABLE, payload,
						  i % sizeof(payload), i % 4);
		ASSERT_EQ(0, batch_run(self->session, entries, PYOBJMEM_BATCH_MAX, 0, NULL));
		EXPECT_EQ(self->before.out_objects + PYOBJMEM_BATCH_MAX,
			  stats_objects(self->session));
		ASSERT_VERIFIED(self->heap.number);
		for (i = 0; i < PYOBJMEM_BATCH_MAX; i++)
			entries[i] = entry_put(entries[i].command.create.out_handle);
		ASSERT_EQ(0, batch_run(self->session, entries, PYOBJMEM_BATCH_MAX, 0, NULL));
		EXPECT_EQ(self->before.out_objects, stats_objects(self->session));
	}
	free(entries);
}

TEST_HARNESS_MAIN
