// SPDX-License-Identifier: GPL-2.0
/*
 * Handles are names, not rights: those of dead objects, invented ones, those of
 * another session and of another heap open nothing, and tell nothing where
 * the heap is not mapped.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

FIXTURE(handles)
{
	struct test_heap heap;
	int session;
	int other;
	__u64 container;	/* two slots, payload of 64 bytes: a block of 96 */
	int no_such;		/* the errno of what names no living object */
	struct pyobjmem_stats before;
};

FIXTURE_VARIANT(handles)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(handles, mappable) { .flags = 0 };
FIXTURE_VARIANT_ADD(handles, nomap) { .flags = PYOBJMEM_HEAP_NOMAP };

#define BLOCK_WORDS	(96 / 8)
#define POOL_WORDS	(POOL_BYTES / 8)
#define ARENA_WORDS	(ARENA_BYTES / 8)

FIXTURE_SETUP(handles)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, variant->flags));
	self->session = self->heap.session;
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 64, NULL, 2, &self->container));
	ASSERT_EQ(0, heap_stats(self->session, &self->before));
	self->no_such = variant->flags & PYOBJMEM_HEAP_NOMAP ? -ENOENT : -ESTALE;
}

FIXTURE_TEARDOWN(handles)
{
	EXPECT_VERIFIED(self->heap.number);
	close(self->other);
	EXPECT_CLEAN_END(&self->heap);
}

/* Every operation that takes a handle, in each place where it takes one. */
static void expect_refused(struct __test_metadata *_metadata, FIXTURE_DATA(handles) *self,
			   __u64 bad, int error)
{
	const __u64 edges[2] = { self->container, bad };
	struct pyobjmem_inspect inspect;
	struct pyobjmem_batch_entry entries[] = {
		entry_get(bad), entry_put(bad), entry_set_ref(bad, 0, 0),
		entry_set_ref(self->container, 0, bad), entry_get_ref(bad, 0),
		entry_read(bad, 0, &inspect, 1), entry_write(bad, 0, &inspect, 1),
		entry_set_root(0, bad),
	};
	struct pyobjmem_stats before, after;
	char byte = 0;
	size_t i;

	ASSERT_EQ(0, heap_stats(self->session, &before));
	EXPECT_EQ(error, object_get(self->session, bad));
	EXPECT_EQ(error, object_put(self->session, bad));
	EXPECT_EQ(error, ref_set(self->session, bad, 0, self->container, NULL));
	EXPECT_EQ(error, ref_set(self->session, self->container, 0, bad, NULL));
	EXPECT_EQ(error, ref_get(self->session, bad, 0, NULL));
	EXPECT_EQ(error, object_read(self->session, bad, 0, &byte, 1));
	EXPECT_EQ(error, object_write(self->session, bad, 0, &byte, 1));
	EXPECT_EQ(error, root_set(self->session, 0, bad, NULL));
	EXPECT_EQ(error, object_export(self->session, bad));
	EXPECT_EQ(error, object_inspect(self->session, bad, &inspect));
	EXPECT_EQ(error, object_create(self->session, 0, NULL, 8, edges, 2, NULL));
	ASSERT_EQ(0, batch_run(self->session, entries, ARRAY_SIZE(entries),
			       PYOBJMEM_BATCH_CONTINUE, NULL));
	for (i = 0; i < ARRAY_SIZE(entries); i++) {
		const struct pyobjmem_batch_entry *entry = &entries[i];

		EXPECT_EQ(error, entry->out_result) {
			TH_LOG("entry %zu of a batch", i);
		}
	}
	ASSERT_EQ(0, heap_stats(self->session, &after));
	EXPECT_EQ(before.out_objects, after.out_objects);
	EXPECT_EQ(before.out_holds, after.out_holds);
	EXPECT_EQ(before.out_tickets, after.out_tickets);
	if (!_metadata->passed)
		TH_LOG("handle %#llx", (unsigned long long)bad);
}

static __u64 handle_of(__u32 place, __u32 generation)
{
	return (__u64)generation << 32 | place;
}

TEST_F(handles, of_a_dead_object)
{
	__u64 dead;

	ASSERT_EQ(0, container_create(self->session, 2, &dead));
	ASSERT_EQ(0, object_put(self->session, dead));
	expect_refused(_metadata, self, dead, self->no_such);
}

TEST_F(handles, of_a_dead_object_whose_block_is_used_again)
{
	__u64 dead, heir = 0;
	unsigned int i;

	ASSERT_EQ(0, container_create(self->session, 2, &dead));
	ASSERT_EQ(0, object_put(self->session, dead));
	for (i = 0; i < 1000 && (__u32)heir != (__u32)dead; i++)
		ASSERT_EQ(0, container_create(self->session, 2, &heir));
	ASSERT_EQ((__u32)dead, (__u32)heir);
	ASSERT_NE(dead, heir);
	expect_refused(_metadata, self, dead, self->no_such);
}

TEST_F(handles, of_a_dead_object_whose_page_is_gone)
{
	__u64 dead, large;

	ASSERT_EQ(0, object_create(self->session, 0, NULL, 400, NULL, 0, &dead));
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 3 * ARENA_BYTES, NULL, 0, &large));
	ASSERT_EQ(0, object_put(self->session, dead));
	ASSERT_EQ(0, object_put(self->session, large));
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	ASSERT_EQ(POOL_BYTES, stats_page_bytes(self->session));
	expect_refused(_metadata, self, dead, self->no_such);
	expect_refused(_metadata, self, large, self->no_such);
}

TEST_F(handles, of_a_collected_object)
{
	__u64 dead;

	ASSERT_EQ(0, container_create(self->session, 2, &dead));
	ASSERT_EQ(0, ref_set(self->session, dead, 0, dead, NULL));
	ASSERT_EQ(0, object_put(self->session, dead));
	expect_refused(_metadata, self, dead, -ENOENT);	/* it lives, unheld */
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	expect_refused(_metadata, self, dead, self->no_such);
}

TEST_F(handles, of_another_session)
{
	__u64 unheld;

	ASSERT_EQ(0, container_create(self->other, 2, &unheld));
	expect_refused(_metadata, self, unheld, -ENOENT);
	ASSERT_EQ(0, root_set(self->other, 5, unheld, NULL));
	expect_refused(_metadata, self, unheld, -ENOENT);
	/* GET_ROOT makes it good, for the takes that it gave. */
	ASSERT_EQ(0, root_get(self->session, 5, NULL));
	EXPECT_EQ(0, object_get(self->session, unheld));
	EXPECT_EQ(0, object_put(self->session, unheld));
	EXPECT_EQ(0, object_put(self->session, unheld));
	expect_refused(_metadata, self, unheld, -ENOENT);
}

TEST_F(handles, of_what_a_slot_names)
{
	__u64 child;

	ASSERT_EQ(0, container_create(self->session, 1, &child));
	ASSERT_EQ(0, ref_set(self->session, self->container, 1, child, NULL));
	ASSERT_EQ(0, object_put(self->session, child));
	expect_refused(_metadata, self, child, -ENOENT);
}

TEST_F(handles, with_another_generation)
{
	const __u32 place = self->container, generation = self->container >> 32;

	expect_refused(_metadata, self, handle_of(place, generation + 1), self->no_such);
	if (handle_of(place, generation - 1))
		expect_refused(_metadata, self, handle_of(place, generation - 1), self->no_such);
	expect_refused(_metadata, self, handle_of(place, UINT32_MAX), self->no_such);
	expect_refused(_metadata, self, handle_of(place, generation ^ 0x80000000), self->no_such);
	if (place)
		expect_refused(_metadata, self, handle_of(place, 0), self->no_such);
}

/* A generation of 0 is what a free block has: it must not be taken for one. */
TEST_F(handles, with_generation_0_of_a_free_block)
{
	const __u32 place = self->container;
	__u32 block;

	for (block = 1; block < POOL_BYTES / 96; block++)
		expect_refused(_metadata, self, handle_of(place + block * BLOCK_WORDS, 0),
			       self->no_such);
}

TEST_F(handles, of_a_free_block)
{
	const __u32 place = self->container, generation = self->container >> 32;
	__u32 block;

	for (block = 1; block < POOL_BYTES / 96; block++) {
		expect_refused(_metadata, self,
			       handle_of(place + block * BLOCK_WORDS, generation), self->no_such);
		expect_refused(_metadata, self,
			       handle_of(place + block * BLOCK_WORDS, generation + 1),
			       self->no_such);
	}
}

TEST_F(handles, in_the_middle_of_a_block)
{
	const __u32 place = self->container, generation = self->container >> 32;
	__u32 word;

	for (word = 1; word < BLOCK_WORDS; word++)
		expect_refused(_metadata, self, handle_of(place + word, generation),
			       self->no_such);
}

/* Behind the last block of a pool there may be a rest. */
TEST_F(handles, in_the_rest_of_a_pool)
{
	const __u32 first = self->container / POOL_WORDS * POOL_WORDS;
	const __u32 generation = self->container >> 32;
	__u32 word;

	for (word = POOL_BYTES / 96 * BLOCK_WORDS; word < POOL_WORDS; word++)
		expect_refused(_metadata, self, handle_of(first + word, generation),
			       self->no_such);
}

TEST_F(handles, in_the_middle_of_a_large_block)
{
	static const __u32 words[] = {
		1, 2, POOL_WORDS - 1, POOL_WORDS, POOL_WORDS + 1, 2 * POOL_WORDS,
		ARENA_WORDS - 1, ARENA_WORDS, ARENA_WORDS + POOL_WORDS,
	};
	__u64 large;
	size_t i;

	ASSERT_EQ(0, object_create(self->session, 0, NULL, ARENA_BYTES + 2 * POOL_BYTES, NULL, 0,
				   &large));
	for (i = 0; i < ARRAY_SIZE(words); i++)
		expect_refused(_metadata, self, large + words[i], self->no_such);
}

TEST_F(handles, of_pools_without_a_page)
{
	const __u32 place = self->container, generation = self->container >> 32;
	__u32 pool;

	for (pool = 1; pool < ARENA_WORDS / POOL_WORDS; pool += 9)
		expect_refused(_metadata, self, handle_of(place + pool * POOL_WORDS, generation),
			       self->no_such);
}

TEST_F(handles, beyond_the_arenas)
{
	const __u32 generation = self->container >> 32;
	__u32 bit;

	expect_refused(_metadata, self, handle_of(UINT32_MAX, generation), self->no_such);
	expect_refused(_metadata, self, handle_of(UINT32_MAX - 1, generation), self->no_such);
	expect_refused(_metadata, self, handle_of(UINT32_MAX / POOL_WORDS * POOL_WORDS,
						  generation), self->no_such);
	for (bit = ARENA_WORDS; bit; bit <<= 1)
		expect_refused(_metadata, self, handle_of((__u32)self->container | bit,
							  generation), self->no_such);
	expect_refused(_metadata, self, UINT64_MAX, self->no_such);
}

/* Every bit matters. */
TEST_F(handles, with_one_bit_changed)
{
	unsigned int bit;

	for (bit = 0; bit < 64; bit++)
		if (self->container ^ 1ULL << bit)
			expect_refused(_metadata, self, self->container ^ 1ULL << bit,
				       self->no_such);
}

TEST_F(handles, invented_at_random)
{
	struct pyobjmem_inspect inspect;
	__u64 seed = random_seed(), handle;
	unsigned int i;

	TH_LOG("seed %#llx", (unsigned long long)seed);
	for (i = 0; i < 20000; i++) {
		handle = random_next(&seed);
		if (i % 2)	/* near what there is */
			handle = handle_of(handle % ARENA_WORDS, 1 + (handle >> 32) % 4);
		if (!handle || handle == self->container)
			continue;
		ASSERT_EQ(self->no_such, object_inspect(self->session, handle, &inspect)) {
			TH_LOG("handle %#llx", (unsigned long long)handle);
		}
		ASSERT_EQ(self->no_such, object_put(self->session, handle));
	}
	EXPECT_EQ(1, stats_objects(self->session));
}

TEST_F(handles, of_a_mutable_payload)
{
	const __u32 generation = self->container >> 32;
	__u64 handle;
	__u32 place;

	/* The data window is none of the object window's places. */
	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, NULL, 400, NULL, 0,
				   &handle));
	for (place = 0; place < 2 * POOL_WORDS; place++) {
		__u64 guess = handle_of(place, generation);

		if (guess == handle || guess == self->container || !guess)
			continue;
		ASSERT_EQ(self->no_such, object_get(self->session, guess)) {
			TH_LOG("handle %#llx", (unsigned long long)guess);
		}
	}
}

TEST_F(handles, of_another_heap)
{
	struct test_heap stranger;
	char text[8];
	__u64 handle, foreign = 0;
	unsigned int i;

	/* The other heap goes on where this one has nothing. */
	ASSERT_EQ(0, test_heap_open(&stranger, variant->flags));
	for (i = 0; i < 3000; i++)
		ASSERT_EQ(0, object_create(stranger.session, 0, NULL, 64, NULL, 2, &foreign));
	expect_refused(_metadata, self, foreign, self->no_such);

	/* The same name in both heaps names an object in each. */
	ASSERT_EQ(0, object_create(self->session, 0, "here", 5, NULL, 0, &handle));
	for (foreign = 0, i = 0; foreign != handle && i < 3000; i++)
		ASSERT_EQ(0, object_create(stranger.session, 0, "there", 6, NULL, 0, &foreign));
	if (foreign == handle) {
		ASSERT_EQ(5, object_read(self->session, handle, 0, text, sizeof(text)));
		EXPECT_STREQ("here", text);
		ASSERT_EQ(6, object_read(stranger.session, handle, 0, text, sizeof(text)));
		EXPECT_STREQ("there", text);
		ASSERT_EQ(0, object_put(stranger.session, foreign));
		EXPECT_EQ(0, object_get(self->session, handle));
		EXPECT_EQ(self->no_such, object_get(stranger.session, foreign));
	}
	EXPECT_CLEAN_END(&stranger);
}

/* After a session has ended, its handles are as good as anybody's. */
TEST_F(handles, of_a_session_that_has_ended)
{
	__u64 handle;

	ASSERT_EQ(0, container_create(self->other, 2, &handle));
	ASSERT_EQ(0, session_leave(self->other));
	expect_refused(_metadata, self, handle, self->no_such);
}

TEST_HARNESS_MAIN
