// SPDX-License-Identifier: GPL-2.0
/*
 * Blocks, pools and arenas: every size, contents that stay what they are, full
 * arenas, reuse, limits, and the way back to nothing.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#include <ctype.h>

FIXTURE(alloc)
{
	struct test_heap heap;
	int session;
	unsigned char *buffer;
	size_t room;
};

FIXTURE_SETUP(alloc)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	self->room = 8U << 20;
	self->buffer = malloc(self->room);
	ASSERT_NE(NULL, self->buffer);
}

FIXTURE_TEARDOWN(alloc)
{
	free(self->buffer);
	EXPECT_CLEAN_END(&self->heap);
}

static void assert_bytes_add_up(struct __test_metadata *_metadata,
				const struct pyobjmem_stats *stats)
{
	ASSERT_TRUE(stats_bytes_add_up(stats)) {
		TH_LOG("used %llu + free %llu + unused %llu + slack %llu != %llu arenas: %llu",
		       (unsigned long long)stats->out_used_bytes,
		       (unsigned long long)stats->out_free_bytes,
		       (unsigned long long)stats->out_unused_bytes,
		       (unsigned long long)stats->out_slack_bytes,
		       (unsigned long long)stats->out_arenas,
		       (unsigned long long)stats->out_arena_bytes);
	}
}

/* After the last object, and a collection: not a page is left. */
static void assert_nothing_left(struct __test_metadata *_metadata, int session)
{
	struct pyobjmem_stats stats;

	ASSERT_EQ(0, heap_collect(session, 2, NULL));
	ASSERT_EQ(0, heap_stats(session, &stats));
	ASSERT_EQ(0, stats.out_objects);
	ASSERT_EQ(0, stats.out_holds);
	ASSERT_EQ(stats.out_created, stats.out_freed_counted + stats.out_freed_collected);
	ASSERT_EQ(0, stats.out_arenas);
	ASSERT_EQ(0, stats.out_arena_bytes);
	ASSERT_EQ(0, stats.out_page_bytes);
	ASSERT_EQ(0, stats.out_used_bytes);
	ASSERT_EQ(0, stats.out_free_bytes);
	ASSERT_EQ(0, stats.out_unused_bytes);
	ASSERT_EQ(0, stats.out_slack_bytes);
}

struct sample {
	__u64 handle;
	__u32 flags;
	__u32 size;
	__u32 slots;
};

static void sample_create(struct __test_metadata *_metadata, FIXTURE_DATA(alloc) *self,
			  struct sample *sample, __u64 key)
{
	fill_pattern(self->buffer, sample->size, key);
	ASSERT_EQ(0, object_create(self->session, sample->flags, self->buffer, sample->size,
				   NULL, sample->slots, &sample->handle)) {
		TH_LOG("%u bytes, %u slots, flags %u", sample->size, sample->slots,
		       sample->flags);
	}
}

/* Everything that can be known about it is what was asked for. */
static void sample_check(struct __test_metadata *_metadata, FIXTURE_DATA(alloc) *self,
			 const struct sample *sample, __u64 key)
{
	struct pyobjmem_inspect inspect;
	__u64 edges[16];
	__u32 i;

	memset(edges, 0xff, sizeof(edges));
	ASSERT_EQ(0, object_edges(self->session, sample->handle, edges, ARRAY_SIZE(edges),
				  &inspect));
	ASSERT_EQ(sample->size, inspect.out_payload);
	ASSERT_EQ(sample->slots, inspect.out_slots);
	ASSERT_EQ(sample->flags, inspect.out_flags);
	ASSERT_EQ(1, inspect.out_external);
	ASSERT_EQ(0, inspect.out_internal);
	ASSERT_EQ(1, inspect.out_takes);
	for (i = 0; i < sample->slots && i < ARRAY_SIZE(edges); i++)
		ASSERT_EQ(0, edges[i]);
	memset(self->buffer, 0x55, sample->size + 1);
	ASSERT_EQ(sample->size, object_read(self->session, sample->handle, 0, self->buffer,
					    sample->size + 1));
	ASSERT_TRUE(has_pattern(self->buffer, sample->size, key)) {
		TH_LOG("%u bytes, %u slots, flags %u: not what was written", sample->size,
		       sample->slots, sample->flags);
	}
	ASSERT_EQ(0x55, self->buffer[sample->size]);
}

/* All at once, checked, then put in another order than they came. */
static void samples_run(struct __test_metadata *_metadata, FIXTURE_DATA(alloc) *self,
			struct sample *samples, size_t count)
{
	const size_t stride = 7919;	/* a prime, and no divisor of any count here */
	struct pyobjmem_stats stats;
	size_t i;

	for (i = 0; i < count; i++)
		sample_create(_metadata, self, &samples[i], i);
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	ASSERT_EQ(count, stats.out_objects);
	assert_bytes_add_up(_metadata, &stats);
	ASSERT_VERIFIED(self->heap.number);
	for (i = 0; i < count; i++)
		sample_check(_metadata, self, &samples[i], i);
	for (i = 0; i < count; i++)
		ASSERT_EQ(0, object_put(self->session, samples[i * stride % count].handle));
	ASSERT_VERIFIED(self->heap.number);
	assert_nothing_left(_metadata, self->session);
}

FIXTURE(sizes)
{
	FIXTURE_DATA(alloc) alloc;
};

FIXTURE_VARIANT(sizes)
{
	__u32 flags;
	__u32 slots;
};

FIXTURE_VARIANT_ADD(sizes, sealed_leaf) { .flags = 0, .slots = 0 };
FIXTURE_VARIANT_ADD(sizes, sealed_with_a_slot) { .flags = 0, .slots = 1 };
FIXTURE_VARIANT_ADD(sizes, sealed_with_slots) { .flags = 0, .slots = 6 };
FIXTURE_VARIANT_ADD(sizes, mutable_leaf) { .flags = PYOBJMEM_CREATE_MUTABLE, .slots = 0 };
FIXTURE_VARIANT_ADD(sizes, mutable_with_slots) { .flags = PYOBJMEM_CREATE_MUTABLE, .slots = 3 };

FIXTURE_SETUP(sizes)
{
	alloc_setup(_metadata, &self->alloc, NULL);
}

FIXTURE_TEARDOWN(sizes)
{
	alloc_teardown(_metadata, &self->alloc, NULL);
}

TEST_F(sizes, every_payload_from_0_to_600)
{
	static struct sample samples[601];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(samples); i++)
		samples[i] = (struct sample){
			.flags = variant->flags, .size = i, .slots = variant->slots,
		};
	samples_run(_metadata, &self->alloc, samples, ARRAY_SIZE(samples));
}

/* Payloads around all sizes at which something else begins. */
TEST_F(sizes, around_every_boundary)
{
	static const __u32 boundaries[] = {
		SMALL_MAX, POOL_BYTES / 2, POOL_BYTES, 2 * POOL_BYTES, 3 * POOL_BYTES,
		16 * POOL_BYTES, ARENA_BYTES - POOL_BYTES, ARENA_BYTES, ARENA_BYTES + POOL_BYTES,
		2 * ARENA_BYTES, 3 * ARENA_BYTES + 2 * POOL_BYTES, 10 * ARENA_BYTES,
	};
	static const int steps[] = { -8, -1, 0, 1, 8 };
	static struct sample samples[2 * ARRAY_SIZE(boundaries) * ARRAY_SIZE(steps)];
	__u32 head = OVERHEAD_BYTES + 8 * variant->slots;
	size_t i, j, n = 0;

	/* Of the payload, and of the block with all that it has besides. */
	for (i = 0; i < ARRAY_SIZE(boundaries); i++)
		for (j = 0; j < ARRAY_SIZE(steps); j++) {
			samples[n++] = (struct sample){ .size = boundaries[i] + steps[j] };
			samples[n++] = (struct sample){ .size = boundaries[i] - head + steps[j] };
		}
	for (i = 0; i < n; i++) {
		samples[i].flags = variant->flags;
		samples[i].slots = variant->slots;
	}
	/* The largest ones one after another: together they are too much to copy. */
	samples_run(_metadata, &self->alloc, samples, n * 3 / 4);
	for (i = n * 3 / 4; i < n; i++)
		samples_run(_metadata, &self->alloc, &samples[i], 1);
}

TEST_F(alloc, slots_of_every_count_from_0_to_600)
{
	__u64 handle[601];
	struct pyobjmem_inspect inspect;
	static __u64 edges[601];
	unsigned int i, j;

	for (i = 0; i <= 600; i++) {
		for (j = 0; j < i; j++)
			edges[j] = handle[j];
		ASSERT_EQ(0, object_create(self->session, 0, &i, sizeof(i), edges, i, &handle[i]));
	}
	for (i = 0; i <= 600; i++) {
		memset(edges, 0xff, sizeof(edges));
		ASSERT_EQ(0, object_edges(self->session, handle[i], edges, 601, &inspect));
		ASSERT_EQ(i, inspect.out_slots);
		ASSERT_EQ(600 - i, inspect.out_internal);
		ASSERT_EQ(0, memcmp(edges, handle, i * sizeof(__u64)));
		ASSERT_EQ(sizeof(i), object_read(self->session, handle[i], 0, &j, sizeof(j)));
		ASSERT_EQ(i, j);
	}
	ASSERT_VERIFIED(self->heap.number);
	for (i = 0; i <= 600; i++)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	assert_nothing_left(_metadata, self->session);
}

/* Blocks of a class that is a multiple of 16 begin at a multiple of 16. */
TEST_F(alloc, classes_of_16_are_aligned_to_16)
{
	__u64 handle[8];
	__u32 block;
	size_t i;

	for (block = 32; block <= SMALL_MAX; block += 16) {
		for (i = 0; i < ARRAY_SIZE(handle); i++) {
			ASSERT_EQ(0, object_create(self->session, 0, NULL, block - OVERHEAD_BYTES,
						   NULL, 0, &handle[i]));
			EXPECT_EQ(0, (__u32)handle[i] & 1);
		}
		for (i = 0; i < ARRAY_SIZE(handle); i++)
			ASSERT_EQ(0, object_put(self->session, handle[i]));
	}
}

TEST_F(alloc, type_and_flags_are_kept)
{
	static const __u32 types[] = { 0, 1, 255, 256, 32768, 65535 };
	struct pyobjmem_inspect inspect;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		struct pyobjmem_create create = {
			.size = sizeof(create),
			.flags = i & 1 ? PYOBJMEM_CREATE_MUTABLE : 0,
			.payload_size = 10,
			.type = types[i],
		};

		ASSERT_EQ(0, operate(self->session, PYOBJMEM_OP_CREATE, &create));
		ASSERT_EQ(0, object_inspect(self->session, create.out_handle, &inspect));
		EXPECT_EQ(types[i], inspect.out_type);
		EXPECT_EQ(create.flags, inspect.out_flags);
	}
}

/* Reading and writing */

TEST_F(alloc, read_of_every_range)
{
	static const __u32 sizes[] = { 0, 1, 40, 3 * POOL_BYTES - 100 };
	struct pyobjmem_read read;
	unsigned char all[3 * POOL_BYTES];
	__u64 handle, offset, length;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		const __u64 step = sizes[i] > 100 ? 509 : 1;

		fill_pattern(all, sizes[i], i);
		ASSERT_EQ(0, object_create(self->session, 0, all, sizes[i], NULL, 2, &handle));
		for (offset = 0; offset <= sizes[i]; offset += step)
			for (length = 0; length <= sizes[i] + 8; length += step) {
				__u64 expected = length < sizes[i] - offset ? length :
						 sizes[i] - offset;

				memset(self->buffer, 0x77, length + 1);
				read = (struct pyobjmem_read){
					.size = sizeof(read), .handle = handle,
					.buffer = pointer(self->buffer), .offset = offset,
					.length = length, .out_length = ~0ULL,
				};
				ASSERT_EQ(0, operate(self->session, PYOBJMEM_OP_READ, &read));
				ASSERT_EQ(expected, read.out_length);
				ASSERT_EQ(sizes[i], read.out_payload);
				ASSERT_EQ(2, read.out_slots);
				ASSERT_EQ(0, memcmp(self->buffer, all + offset, expected));
				ASSERT_TRUE(all_bytes(self->buffer + expected,
						      length + 1 - expected, 0x77));
			}
		ASSERT_EQ(0, object_put(self->session, handle));
	}
}

/* A length of 0 tells the size and needs no buffer; so does a huge length. */
TEST_F(alloc, read_lengths_without_end)
{
	__u64 handle;

	fill_pattern(self->buffer, 100, 1);
	ASSERT_EQ(0, object_create(self->session, 0, self->buffer, 100, NULL, 0, &handle));
	EXPECT_EQ(0, object_read(self->session, handle, 0, NULL, 0));
	EXPECT_EQ(0, object_read(self->session, handle, 100, NULL, UINT64_MAX));
	memset(self->buffer, 0, 101);
	EXPECT_EQ(100, object_read(self->session, handle, 0, self->buffer, UINT64_MAX));
	EXPECT_TRUE(has_pattern(self->buffer, 100, 1));
	EXPECT_EQ(0, self->buffer[100]);
}

TEST_F(alloc, write_changes_its_range_and_nothing_else)
{
	const __u32 size = 3 * POOL_BYTES - 24;
	unsigned char *shadow = malloc(size);
	__u64 handle, before, after;
	unsigned int i;
	__u64 seed = random_seed();

	TH_LOG("seed %#llx", (unsigned long long)seed);
	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, "guard", 5, NULL, 0,
				   &before));
	memset(shadow, 0, size);
	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, NULL, size, NULL, 1,
				   &handle));
	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, "guard", 5, NULL, 0,
				   &after));
	for (i = 0; i < 400; i++) {
		__u32 offset = random_below(&seed, size + 1);
		__u32 length = random_below(&seed, i % 2 ? 64 : size);

		if (length > size - offset)
			length = size - offset;
		fill_pattern(shadow + offset, length, i);
		ASSERT_EQ(length, object_write(self->session, handle, offset, shadow + offset,
					       length));
		ASSERT_EQ(size, object_read(self->session, handle, 0, self->buffer, size));
		ASSERT_EQ(0, memcmp(shadow, self->buffer, size));
	}
	ASSERT_EQ(5, object_read(self->session, before, 0, self->buffer, 100));
	ASSERT_EQ(0, memcmp("guard", self->buffer, 5));
	ASSERT_EQ(5, object_read(self->session, after, 0, self->buffer, 100));
	ASSERT_EQ(0, memcmp("guard", self->buffer, 5));
	free(shadow);
}

TEST_F(alloc, write_of_nothing)
{
	__u64 handle;

	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, NULL, 0, NULL, 0,
				   &handle));
	EXPECT_EQ(0, object_write(self->session, handle, 0, NULL, 0));
	EXPECT_EQ(-EINVAL, object_write(self->session, handle, 0, self->buffer, 1));
	EXPECT_EQ(0, object_read(self->session, handle, 0, self->buffer, 10));
}

/* What @out_length counts is what was written, up to the page that failed. */
TEST_F(alloc, write_that_fails_half_way_tells_how_far_it_came)
{
	const size_t good = 2 * POOL_BYTES + 100;
	char *area = guarded_pages(3 * POOL_BYTES);
	char *source = area + 3 * POOL_BYTES - good;
	struct pyobjmem_write write = {
		.size = sizeof(write),
		.buffer = pointer(source),
		.length = 4 * POOL_BYTES,
	};

	memset(source, 0xee, good);
	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, NULL, 4 * POOL_BYTES,
				   NULL, 0, &write.handle));
	ASSERT_EQ(-EFAULT, operate(self->session, PYOBJMEM_OP_WRITE, &write));
	ASSERT_GE(good, write.out_length);
	ASSERT_EQ(4 * POOL_BYTES, object_read(self->session, write.handle, 0, self->buffer,
					      4 * POOL_BYTES));
	EXPECT_TRUE(all_bytes(self->buffer, write.out_length, 0xee));
	EXPECT_TRUE(all_bytes(self->buffer + write.out_length,
			      4 * POOL_BYTES - write.out_length, 0));
}

/* Fresh blocks */

struct fresh {
	__u32 flags;
	__u32 size;
	__u32 slots;
};

/* Whatever the block had before, it comes back empty. */
TEST_F(alloc, fresh_blocks_read_zero)
{
	static const struct fresh kinds[] = {
		{ 0, 48, 0 }, { 0, 40, 3 }, { 0, 496, 0 }, { 0, 3 * POOL_BYTES, 0 },
		{ 0, 5, 600 }, { 0, ARENA_BYTES + 9, 1 },
		{ PYOBJMEM_CREATE_MUTABLE, 64, 0 }, { PYOBJMEM_CREATE_MUTABLE, 61, 4 },
		{ PYOBJMEM_CREATE_MUTABLE, 2 * POOL_BYTES + 8, 0 },
	};
	__u64 old[32], handle, target, *edges;
	struct pyobjmem_inspect inspect;
	size_t i, j, n;

	ASSERT_EQ(0, container_create(self->session, 0, &target));
	edges = malloc(600 * sizeof(__u64));
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct fresh *kind = &kinds[i];
		const size_t count = kind->size > POOL_BYTES ? 2 : ARRAY_SIZE(old);

		memset(self->buffer, 0xff, kind->size);
		for (n = 0; n < kind->slots; n++)
			edges[n] = target;
		for (j = 0; j < count; j++)
			ASSERT_EQ(0, object_create(self->session, kind->flags, self->buffer,
						   kind->size, edges, kind->slots, &old[j]));
		for (j = 0; j < count; j++)
			ASSERT_EQ(0, object_put(self->session, old[j]));
		for (j = 0; j < count; j++) {
			ASSERT_EQ(0, object_create(self->session, kind->flags, NULL, kind->size,
						   NULL, kind->slots, &handle));
			ASSERT_EQ(kind->size, object_read(self->session, handle, 0, self->buffer,
							  kind->size));
			ASSERT_TRUE(all_bytes(self->buffer, kind->size, 0)) {
				TH_LOG("kind %zu: old bytes come through", i);
			}
			memset(edges, 0xff, 600 * sizeof(__u64));
			ASSERT_EQ(0, object_edges(self->session, handle, edges, 600, &inspect));
			ASSERT_TRUE(all_bytes(edges, kind->slots * sizeof(__u64), 0));
			ASSERT_EQ(0, inspect.out_internal);
			old[j] = handle;
		}
		for (j = 0; j < count; j++)
			ASSERT_EQ(0, object_put(self->session, old[j]));
	}
	ASSERT_EQ(0, object_put(self->session, target));
	assert_nothing_left(_metadata, self->session);
	free(edges);
}

/* Pools and arenas */

/* One character a place, as debugfs draws them; figures of the whole heap. */
struct map {
	unsigned int arenas, pages, empty, full, partial, first, further;
};

static int map_read(__u64 number, struct map *map)
{
	static char text[1 << 20];
	ssize_t length = heap_file(number, "arenas", text, sizeof(text));
	char *line = text, *at;

	memset(map, 0, sizeof(*map));
	if (length < 0)
		return length;
	for (; *line; line++) {
		if (strncmp(line, "object ", 7) && strncmp(line, "data ", 5))
			return -EPROTO;
		at = strchr(line, ' ') + 1;
		at += strspn(at, "0123456789");
		if (*at++ != ' ' || strcspn(at, "\n") != ARENA_BYTES / POOL_BYTES)
			return -EPROTO;
		for (line = at; *line != '\n'; line++) {
			map->pages += *line != '.';
			map->empty += *line == '_';
			map->full += *line == '#';
			map->partial += isdigit((unsigned char)*line);
			map->first += *line == 'L';
			map->further += *line == 'l';
			if (!strchr("._#Ll123456789", *line))
				return -EPROTO;
		}
		map->arenas++;
	}
	return 0;
}

TEST_F(alloc, map_agrees_with_stats)
{
	struct pyobjmem_stats stats;
	__u64 handle[400];
	struct map map;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(handle); i++)
		ASSERT_EQ(0, object_create(self->session, i % 3 ? 0 : PYOBJMEM_CREATE_MUTABLE,
					   NULL, i * i / 4, NULL, i % 5, &handle[i]));
	for (i = 0; i < ARRAY_SIZE(handle); i += 2)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	assert_bytes_add_up(_metadata, &stats);
	ASSERT_EQ(0, map_read(self->heap.number, &map));
	EXPECT_EQ(stats.out_arenas, map.arenas);
	EXPECT_EQ(stats.out_page_bytes, map.pages * (__u64)POOL_BYTES);
	EXPECT_EQ(0, map.empty);
	EXPECT_LT(0, map.partial);
	EXPECT_LT(0, map.first);
	EXPECT_LT(0, map.further);
}

/* Exactly so many blocks as a pool and an arena have, and not a page more. */
TEST_F(alloc, arenas_are_filled_before_another_is_taken)
{
	const unsigned int per_pool = POOL_BYTES / 64, pools = ARENA_BYTES / POOL_BYTES;
	const unsigned int count = 3 * per_pool * pools;
	__u64 *handle = calloc(count + 1, sizeof(*handle));
	struct pyobjmem_stats stats;
	struct map map;
	unsigned int i;

	for (i = 0; i < count; i++) {
		ASSERT_EQ(0, object_create(self->session, 0, NULL, 64 - OVERHEAD_BYTES, NULL, 0,
					   &handle[i]));
		if (i % 999)
			continue;
		ASSERT_EQ(0, heap_stats(self->session, &stats));
		ASSERT_EQ((i / per_pool + 1) * (__u64)POOL_BYTES, stats.out_page_bytes);
		ASSERT_EQ(i / per_pool / pools + 1, stats.out_arenas);
		assert_bytes_add_up(_metadata, &stats);
	}
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(3, stats.out_arenas);
	EXPECT_EQ(3 * ARENA_BYTES, stats.out_used_bytes);
	EXPECT_EQ(0, stats.out_free_bytes);
	EXPECT_EQ(0, stats.out_unused_bytes);
	EXPECT_EQ(0, stats.out_slack_bytes);
	ASSERT_EQ(0, map_read(self->heap.number, &map));
	EXPECT_EQ(3 * pools, map.full);

	/* One more needs a fourth arena; put, it is not needed any more. */
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 64 - OVERHEAD_BYTES, NULL, 0,
				   &handle[count]));
	EXPECT_EQ(4, stats_arenas(self->session));
	ASSERT_EQ(0, object_put(self->session, handle[count]));
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EQ(3, stats_arenas(self->session));

	for (i = 0; i < count; i++)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	assert_nothing_left(_metadata, self->session);
	free(handle);
}

/* Pools of odd classes leave some bytes at their end: slack, counted. */
TEST_F(alloc, slack_of_every_class)
{
	struct pyobjmem_stats stats;
	__u64 handle;
	__u32 block;

	for (block = OVERHEAD_BYTES; block <= SMALL_MAX; block += 8) {
		ASSERT_EQ(0, object_create(self->session, 0, NULL, block - OVERHEAD_BYTES, NULL, 0,
					   &handle));
		ASSERT_EQ(0, heap_stats(self->session, &stats));
		ASSERT_EQ(block, stats.out_used_bytes);
		ASSERT_EQ(POOL_BYTES % block, stats.out_slack_bytes);
		ASSERT_EQ(POOL_BYTES - POOL_BYTES % block - block, stats.out_free_bytes);
		ASSERT_EQ(POOL_BYTES, stats.out_page_bytes);
		assert_bytes_add_up(_metadata, &stats);
		ASSERT_EQ(0, object_put(self->session, handle));
		ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	}
}

TEST_F(alloc, large_blocks_take_whole_pools)
{
	struct pyobjmem_stats stats;
	__u64 handle;
	__u32 block, pools;

	for (block = SMALL_MAX + 8; block < 3 * ARENA_BYTES; block = block * 5 / 4 & ~7) {
		pools = (block + POOL_BYTES - 1) / POOL_BYTES;
		ASSERT_EQ(0, object_create(self->session, 0, NULL, block - OVERHEAD_BYTES, NULL, 0,
					   &handle));
		ASSERT_EQ(0, heap_stats(self->session, &stats));
		ASSERT_EQ(block, stats.out_used_bytes);
		ASSERT_EQ(pools * POOL_BYTES - block, stats.out_slack_bytes);
		ASSERT_EQ(pools * POOL_BYTES, stats.out_page_bytes);
		ASSERT_EQ((block + ARENA_BYTES - 1) / ARENA_BYTES, stats.out_arenas);
		assert_bytes_add_up(_metadata, &stats);
		ASSERT_EQ(0, object_put(self->session, handle));
		ASSERT_EQ(0, stats_page_bytes(self->session));
	}
}

/* A gap between large blocks is found again by one that fits, and by a page. */
TEST_F(alloc, gaps_between_large_blocks_are_used)
{
	const __u32 four = 4 * POOL_BYTES - OVERHEAD_BYTES;
	__u64 handle[32], page;
	size_t i;

	for (i = 0; i < 32; i++)
		ASSERT_EQ(0, object_create(self->session, 0, NULL, four, NULL, 0, &handle[i]));
	ASSERT_EQ(2, stats_arenas(self->session));
	for (i = 0; i < 32; i += 2)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	/* Five pools fit nowhere. */
	ASSERT_EQ(0, object_create(self->session, 0, NULL, four + POOL_BYTES, NULL, 0, &page));
	EXPECT_EQ(3, stats_arenas(self->session));
	ASSERT_EQ(0, object_put(self->session, page));
	EXPECT_EQ(2, stats_arenas(self->session));
	for (i = 0; i < 32; i += 2)
		ASSERT_EQ(0, object_create(self->session, 0, NULL, four, NULL, 0, &handle[i]));
	EXPECT_EQ(2, stats_arenas(self->session));
	EXPECT_EQ(2 * ARENA_BYTES, stats_page_bytes(self->session));
	ASSERT_EQ(0, object_create(self->session, 0, NULL, 8, NULL, 0, &page));
	EXPECT_EQ(3, stats_arenas(self->session));
	ASSERT_EQ(0, object_put(self->session, page));
	for (i = 0; i < 32; i++)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	assert_nothing_left(_metadata, self->session);
}

static int compare_u64(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

/* The block is used again and again, its name never. */
TEST_F(alloc, reuse_takes_the_same_page_and_another_handle)
{
	const size_t count = 5000;
	__u64 *handles = calloc(count, sizeof(*handles));
	size_t i;

	for (i = 0; i < count; i++) {
		ASSERT_EQ(0, container_create(self->session, 1, &handles[i]));
		ASSERT_EQ(0, object_put(self->session, handles[i]));
	}
	EXPECT_EQ(POOL_BYTES, stats_page_bytes(self->session));
	qsort(handles, count, sizeof(*handles), compare_u64);
	for (i = 1; i < count; i++)
		ASSERT_NE(handles[i - 1], handles[i]);
	free(handles);
	assert_nothing_left(_metadata, self->session);
}

/* Generations outlive the page and the arena: they were given back meanwhile. */
TEST_F(alloc, handles_stay_unique_after_arenas_were_given_back)
{
	const size_t rounds = 200, each = 4;
	__u64 *handles = calloc(rounds * each, sizeof(*handles));
	size_t i, j;

	for (i = 0; i < rounds; i++) {
		const __u32 size = i % 4 == 3 ? 2 * POOL_BYTES : 16 + i % 4 * 100;

		for (j = 0; j < each; j++)
			ASSERT_EQ(0, object_create(self->session, 0, NULL, size, NULL, 0,
						   &handles[i * each + j]));
		for (j = 0; j < each; j++)
			ASSERT_EQ(0, object_put(self->session, handles[i * each + j]));
		ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
		ASSERT_EQ(0, stats_arenas(self->session));
		/* The old ones name nothing, whatever lies there now. */
		ASSERT_EQ(-ESTALE, object_get(self->session, handles[i * each]));
	}
	qsort(handles, rounds * each, sizeof(*handles), compare_u64);
	for (i = 1; i < rounds * each; i++)
		ASSERT_NE(handles[i - 1], handles[i]);
	free(handles);
}

/* A few empty pools stay, against thrashing: COLLECT gives them back. */
TEST_F(alloc, empty_pools_are_kept_until_collect)
{
	const unsigned int per_pool = POOL_BYTES / 64, pools = 100;
	__u64 *handle = calloc(per_pool * pools, sizeof(*handle));
	struct pyobjmem_stats stats;
	unsigned int i;

	for (i = 0; i < per_pool * pools; i++)
		ASSERT_EQ(0, object_create(self->session, 0, NULL, 64 - OVERHEAD_BYTES, NULL, 0,
					   &handle[i]));
	for (i = 0; i < per_pool * pools; i++)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_LE(POOL_BYTES, stats.out_page_bytes);
	EXPECT_GE(16 * POOL_BYTES, stats.out_page_bytes);
	EXPECT_EQ(0, stats.out_used_bytes);
	assert_bytes_add_up(_metadata, &stats);
	assert_nothing_left(_metadata, self->session);
	free(handle);
}

TEST_F(alloc, empty_pools_are_given_back_after_a_second)
{
	__u64 handle;

	ASSERT_EQ(0, container_create(self->session, 0, &handle));
	ASSERT_EQ(0, object_put(self->session, handle));
	EXPECT_EQ(POOL_BYTES, stats_page_bytes(self->session));
	EXPECT_TRUE(wait_until(!stats_page_bytes(self->session), 1000 + SOON_MS));
	EXPECT_EQ(0, stats_arenas(self->session));
}

/* Sparse use costs the pages that are used, and those drain. */
TEST_F(alloc, pools_drain_when_their_last_block_goes)
{
	const unsigned int per_pool = POOL_BYTES / 128, pools = 64;
	__u64 *handle = calloc(per_pool * pools, sizeof(*handle));
	unsigned int i;

	for (i = 0; i < per_pool * pools; i++)
		ASSERT_EQ(0, object_create(self->session, 0, NULL, 128 - OVERHEAD_BYTES, NULL, 0,
					   &handle[i]));
	/* All but the first of each pool. */
	for (i = 0; i < per_pool * pools; i++)
		if (i % per_pool)
			ASSERT_EQ(0, object_put(self->session, handle[i]));
	EXPECT_EQ(pools * POOL_BYTES, stats_page_bytes(self->session));
	/* Then all of every other pool. */
	for (i = 0; i < per_pool * pools; i += 2 * per_pool)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	ASSERT_EQ(0, heap_collect(self->session, 2, NULL));
	EXPECT_EQ(pools / 2 * POOL_BYTES, stats_page_bytes(self->session));
	ASSERT_VERIFIED(self->heap.number);
	for (i = per_pool; i < per_pool * pools; i += 2 * per_pool)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	assert_nothing_left(_metadata, self->session);
	free(handle);
}

/* Random sizes come and go; the sum holds all the time. */
TEST_F(alloc, bytes_add_up_all_the_time)
{
	static struct sample live[600];
	struct pyobjmem_stats stats;
	__u64 seed = random_seed();
	unsigned int i, n;
	__u64 key[600];

	TH_LOG("seed %#llx", (unsigned long long)seed);
	for (i = 0; i < 6000; i++) {
		n = random_below(&seed, ARRAY_SIZE(live));
		if (live[n].handle) {
			if (i % 8 == 0)
				sample_check(_metadata, self, &live[n], key[n]);
			ASSERT_EQ(0, object_put(self->session, live[n].handle));
			live[n].handle = 0;
		} else {
			live[n].flags = random_below(&seed, 2) ? PYOBJMEM_CREATE_MUTABLE : 0;
			live[n].slots = random_below(&seed, 5);
			live[n].size = random_below(&seed, 1U << (5 + random_below(&seed, 10)));
			key[n] = i;
			sample_create(_metadata, self, &live[n], i);
		}
		if (i % 50 == 0) {
			ASSERT_EQ(0, heap_stats(self->session, &stats));
			assert_bytes_add_up(_metadata, &stats);
		}
		if (i % 500 == 0)
			ASSERT_VERIFIED(self->heap.number);
	}
	for (n = 0; n < ARRAY_SIZE(live); n++)
		if (live[n].handle) {
			sample_check(_metadata, self, &live[n], key[n]);
			ASSERT_EQ(0, object_put(self->session, live[n].handle));
			live[n].handle = 0;
		}
	assert_nothing_left(_metadata, self->session);
}

/* Limits */

TEST_F(alloc, limit_of_objects)
{
	__u64 handle[10];
	size_t i, round;

	ASSERT_EQ(0, heap_limit_objects(self->session, ARRAY_SIZE(handle)));
	for (round = 0; round < 3; round++) {
		for (i = 0; i < ARRAY_SIZE(handle); i++)
			ASSERT_EQ(0, container_create(self->session, 1, &handle[i]));
		ASSERT_EQ(-ENOSPC, container_create(self->session, 1, NULL));
		ASSERT_EQ(0, object_put(self->session, handle[3]));
		ASSERT_EQ(0, container_create(self->session, 1, &handle[3]));
		ASSERT_EQ(-ENOSPC, container_create(self->session, 1, NULL));
		ASSERT_EQ(ARRAY_SIZE(handle), stats_objects(self->session));
		for (i = 0; i < ARRAY_SIZE(handle); i++)
			ASSERT_EQ(0, object_put(self->session, handle[i]));
	}
	assert_nothing_left(_metadata, self->session);
}

TEST_F(alloc, limit_of_bytes)
{
	const __u64 limit = 16 * POOL_BYTES;
	__u64 handle[16 * POOL_BYTES / 512];
	size_t i;

	ASSERT_EQ(0, heap_limit_bytes(self->session, limit));
	for (i = 0; i < ARRAY_SIZE(handle); i++)
		ASSERT_EQ(0, object_create(self->session, 0, NULL, 512 - OVERHEAD_BYTES, NULL, 0,
					   &handle[i]));
	EXPECT_EQ(limit, stats_page_bytes(self->session));
	EXPECT_EQ(-ENOSPC, object_create(self->session, 0, NULL, 512 - OVERHEAD_BYTES, NULL, 0,
					 NULL));
	EXPECT_EQ(-ENOSPC, object_create(self->session, 0, NULL, 0, NULL, 0, NULL));
	EXPECT_EQ(-ENOSPC, object_create(self->session, 0, NULL, POOL_BYTES, NULL, 0, NULL));
	EXPECT_EQ(ARRAY_SIZE(handle), stats_objects(self->session));
	EXPECT_EQ(limit, stats_page_bytes(self->session));

	/* Empty pools of one class do not stand in the way of another. */
	for (i = 0; i < ARRAY_SIZE(handle); i++)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, object_create(self->session, 0, NULL, POOL_BYTES - OVERHEAD_BYTES,
					   NULL, 0, &handle[i]));
	EXPECT_EQ(limit, stats_page_bytes(self->session));
	for (i = 0; i < 16; i++)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	/* All of it for one object. */
	ASSERT_EQ(0, object_create(self->session, 0, NULL, limit - OVERHEAD_BYTES, NULL, 0,
				   &handle[0]));
	EXPECT_EQ(-ENOSPC, object_create(self->session, 0, NULL, 0, NULL, 0, NULL));
	ASSERT_EQ(0, object_put(self->session, handle[0]));
	assert_nothing_left(_metadata, self->session);
}

/* A mutable object that finds room for its head but not for its payload. */
TEST_F(alloc, limit_of_bytes_between_head_and_payload)
{
	struct pyobjmem_stats before, after;
	__u64 handle;

	ASSERT_EQ(0, heap_limit_bytes(self->session, 2 * POOL_BYTES));
	ASSERT_EQ(0, container_create(self->session, 0, &handle));
	ASSERT_EQ(0, heap_stats(self->session, &before));
	EXPECT_EQ(-ENOSPC, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, NULL,
					 2 * POOL_BYTES, NULL, 0, NULL));
	ASSERT_EQ(0, heap_stats(self->session, &after));
	EXPECT_EQ(before.out_objects, after.out_objects);
	EXPECT_EQ(before.out_used_bytes, after.out_used_bytes);
	assert_bytes_add_up(_metadata, &after);
	ASSERT_VERIFIED(self->heap.number);
	ASSERT_EQ(0, object_put(self->session, handle));
	assert_nothing_left(_metadata, self->session);
}

/* Dead cycles of @pairs objects each that nobody has collected yet. */
static void make_dead_pairs(struct __test_metadata *_metadata, int session, unsigned int pairs,
			    __u32 payload)
{
	__u64 a, b;

	while (pairs--) {
		ASSERT_EQ(0, object_create(session, 0, NULL, payload, NULL, 1, &a));
		ASSERT_EQ(0, object_create(session, 0, NULL, payload, &a, 1, &b));
		ASSERT_EQ(0, ref_set(session, a, 0, b, NULL));
		ASSERT_EQ(0, object_put(session, a));
		ASSERT_EQ(0, object_put(session, b));
	}
}

TEST_F(alloc, dead_cycles_give_way_at_the_limit_of_objects)
{
	unsigned int i;
	__u64 handle;

	ASSERT_EQ(0, heap_automatic(self->session, true));
	ASSERT_EQ(0, heap_limit_objects(self->session, 100));
	make_dead_pairs(_metadata, self->session, 50, 8);
	ASSERT_EQ(100, stats_objects(self->session));
	for (i = 0; i < 100; i++)
		ASSERT_EQ(0, container_create(self->session, 1, &handle)) {
			TH_LOG("object %u", i);
		}
	EXPECT_EQ(100, stats_freed_collected(self->session));
	EXPECT_EQ(-ENOSPC, container_create(self->session, 1, NULL));
}

TEST_F(alloc, dead_cycles_give_way_at_the_limit_of_bytes)
{
	const __u32 payload = 2 * POOL_BYTES;
	unsigned int i;

	ASSERT_EQ(0, heap_automatic(self->session, true));
	ASSERT_EQ(0, heap_limit_bytes(self->session, 30 * POOL_BYTES));
	make_dead_pairs(_metadata, self->session, 5, payload);
	ASSERT_EQ(30 * POOL_BYTES, stats_page_bytes(self->session));
	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, object_create(self->session, 0, NULL, payload, NULL, 1, NULL)) {
			TH_LOG("object %u", i);
		}
	EXPECT_EQ(10, stats_freed_collected(self->session));
}

/* The same in a batch. */
TEST_F(alloc, dead_cycles_give_way_to_a_batch)
{
	struct pyobjmem_batch_entry entries[64];
	__u32 done, i;

	ASSERT_EQ(0, heap_automatic(self->session, true));
	ASSERT_EQ(0, heap_limit_objects(self->session, ARRAY_SIZE(entries)));
	make_dead_pairs(_metadata, self->session, ARRAY_SIZE(entries) / 2, 8);
	for (i = 0; i < ARRAY_SIZE(entries); i++)
		entries[i] = entry_create(0, NULL, 8, 1);
	ASSERT_EQ(0, batch_run(self->session, entries, ARRAY_SIZE(entries), 0, &done));
	EXPECT_EQ(ARRAY_SIZE(entries), done);
	for (i = 0; i < ARRAY_SIZE(entries); i++)
		EXPECT_EQ(0, entries[i].out_result);
	EXPECT_EQ(ARRAY_SIZE(entries), stats_objects(self->session));
}

/* An object of several megabytes, sealed and mutable, and back to nothing. */
TEST_F(alloc, objects_of_megabytes)
{
	struct sample samples[] = {
		{ .size = 1 << 20 },
		{ .size = (4 << 20) + 3, .slots = 2 },
		{ .size = 2 << 20, .flags = PYOBJMEM_CREATE_MUTABLE, .slots = 1 },
		{ .size = (1 << 20) - OVERHEAD_BYTES },
	};

	samples_run(_metadata, self, samples, ARRAY_SIZE(samples));
}

/* Both blocks of an object need an arena that is not there yet. */
TEST_F(alloc, large_mutable_objects_on_an_empty_heap)
{
	static const struct { __u32 slots, size; } kinds[] = {
		{ 0, 8 }, { 300, 8 }, { 300, POOL_BYTES }, { 300, ARENA_BYTES }, { 300, 0 },
		{ 3, 3 * ARENA_BYTES }, { ARENA_BYTES / 8, 8 },
		{ ARENA_BYTES / 8, ARENA_BYTES + 8 },
	};
	__u64 handle;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		fill_pattern(self->buffer, kinds[i].size, i);
		ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, self->buffer,
					   kinds[i].size, NULL, kinds[i].slots, &handle));
		memset(self->buffer, 0, kinds[i].size);
		ASSERT_EQ(kinds[i].size, object_read(self->session, handle, 0, self->buffer,
						     kinds[i].size));
		ASSERT_TRUE(has_pattern(self->buffer, kinds[i].size, i));
		ASSERT_EQ(0, object_put(self->session, handle));
		assert_nothing_left(_metadata, self->session);
	}
}

/* As many handles as blocks, over many arenas, half of them given back. */
TEST_F(alloc, many_objects_and_back)
{
	const unsigned int count = 60000;
	__u64 *handle = calloc(count, sizeof(*handle));
	struct pyobjmem_stats stats;
	unsigned int i;

	for (i = 0; i < count; i++)
		ASSERT_EQ(0, object_create(self->session, 0, &i, sizeof(i), NULL, i % 4,
					   &handle[i]));
	ASSERT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(count, stats.out_objects);
	EXPECT_EQ(count, stats.out_holds);
	assert_bytes_add_up(_metadata, &stats);
	for (i = 0; i < count; i += 2)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	for (i = 1; i < count; i += 200) {
		unsigned int value;

		ASSERT_EQ(sizeof(i), object_read(self->session, handle[i], 0, &value,
						 sizeof(value)));
		ASSERT_EQ(i, value);
	}
	ASSERT_VERIFIED(self->heap.number);
	for (i = 1; i < count; i += 2)
		ASSERT_EQ(0, object_put(self->session, handle[i]));
	assert_nothing_left(_metadata, self->session);
	free(handle);
}

TEST_HARNESS_MAIN
