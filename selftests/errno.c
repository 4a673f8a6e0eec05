// SPDX-License-Identifier: GPL-2.0
/*
 * Every cell of the errno contract: one fault a test while everything else is
 * valid. After each of them nothing has changed; the fixture's end sees to it.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#include <sys/file.h>

#define PAYLOAD_BYTES	48U
#define SLOTS		2U

/* All that a refused operation could have changed and that can be seen. */
struct picture {
	struct pyobjmem_stats stats;
	struct pyobjmem_inspect sealed, writable;
	__u64 sealed_edges[SLOTS], writable_edges[SLOTS];
	unsigned char sealed_payload[PAYLOAD_BYTES], writable_payload[PAYLOAD_BYTES];
	__u64 roots[PYOBJMEM_ROOTS];
};

FIXTURE(errors)
{
	struct test_heap heap;
	struct test_heap stranger;	/* another heap */
	int session;			/* heap.session */
	int other;			/* a second session of the heap */
	int unjoined;
	int ticket;			/* of writable */
	int foreign_ticket;
	__u64 sealed;			/* SLOTS slots, slot 1 names writable */
	__u64 writable;			/* mutable, SLOTS slots */
	__u64 leaf;			/* no slots */
	__u64 unheld;			/* only the other session holds it */
	__u64 dead;
	struct picture before;
};

static void take_picture(struct __test_metadata *_metadata, FIXTURE_DATA(errors) *self,
			 struct picture *picture)
{
	struct pyobjmem_stats *stats = &picture->stats;
	unsigned int i;

	memset(picture, 0, sizeof(*picture));
	ASSERT_EQ(0, heap_stats(self->session, stats));
	/* Pages come and go by themselves; the collector's clock may be read. */
	stats->out_arenas = 0;
	stats->out_arena_bytes = 0;
	stats->out_free_bytes = 0;
	stats->out_unused_bytes = 0;
	stats->out_slack_bytes = 0;
	stats->out_page_bytes = 0;
	ASSERT_EQ(0, object_edges(self->session, self->sealed, picture->sealed_edges, SLOTS,
				  &picture->sealed));
	ASSERT_EQ(0, object_edges(self->session, self->writable, picture->writable_edges, SLOTS,
				  &picture->writable));
	picture->sealed.edges = 0;
	picture->writable.edges = 0;
	ASSERT_EQ(PAYLOAD_BYTES, object_read(self->session, self->sealed, 0,
					     picture->sealed_payload, PAYLOAD_BYTES));
	ASSERT_EQ(PAYLOAD_BYTES, object_read(self->session, self->writable, 0,
					     picture->writable_payload, PAYLOAD_BYTES));
	for (i = 0; i < PYOBJMEM_ROOTS; i++) {
		ASSERT_EQ(0, root_get(self->other, i, &picture->roots[i]));
		if (picture->roots[i])
			ASSERT_EQ(0, object_put(self->other, picture->roots[i]));
	}
}

FIXTURE_SETUP(errors)
{
	unsigned char payload[PAYLOAD_BYTES];
	__u64 edges[SLOTS] = { 0, 0 };
	__u64 foreign;

	self->stranger.session = -1;
	self->stranger.fd = -1;
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	ASSERT_EQ(0, test_heap_open(&self->stranger, 0));
	self->session = self->heap.session;
	self->other = test_heap_join(&self->heap);
	ASSERT_LE(0, self->other);
	self->unjoined = session_open();
	ASSERT_LE(0, self->unjoined);

	fill_pattern(payload, PAYLOAD_BYTES, 1);
	ASSERT_EQ(0, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, payload, PAYLOAD_BYTES,
				   NULL, SLOTS, &self->writable));
	edges[1] = self->writable;
	ASSERT_EQ(0, object_create(self->session, 0, payload, PAYLOAD_BYTES, edges, SLOTS,
				   &self->sealed));
	ASSERT_EQ(0, object_create(self->session, 0, payload, PAYLOAD_BYTES, NULL, 0,
				   &self->leaf));
	ASSERT_EQ(0, container_create(self->other, SLOTS, &self->unheld));
	/* Nothing takes the dead one's place: it was the last to come. */
	ASSERT_EQ(0, container_create(self->session, SLOTS, &self->dead));
	ASSERT_EQ(0, object_put(self->session, self->dead));
	ASSERT_EQ(0, root_set(self->session, 0, self->sealed, NULL));
	self->ticket = object_export(self->session, self->writable);
	ASSERT_LE(0, self->ticket);
	ASSERT_EQ(0, container_create(self->stranger.session, 0, &foreign));
	self->foreign_ticket = object_export(self->stranger.session, foreign);
	ASSERT_LE(0, self->foreign_ticket);
	take_picture(_metadata, self, &self->before);
}

FIXTURE_TEARDOWN(errors)
{
	struct picture after;

	take_picture(_metadata, self, &after);
	EXPECT_EQ(0, memcmp(&self->before.stats, &after.stats, sizeof(after.stats)));
	EXPECT_EQ(self->before.stats.out_objects, after.stats.out_objects);
	EXPECT_EQ(self->before.stats.out_created, after.stats.out_created);
	EXPECT_EQ(self->before.stats.out_used_bytes, after.stats.out_used_bytes);
	EXPECT_EQ(self->before.stats.out_holds, after.stats.out_holds);
	EXPECT_EQ(self->before.stats.out_tickets, after.stats.out_tickets);
	EXPECT_EQ(0, memcmp(&self->before, &after, sizeof(after)));
	EXPECT_VERIFIED(self->stranger.number);
	close(self->ticket);
	close(self->foreign_ticket);
	close(self->other);
	close(self->unjoined);
	test_heap_close(&self->stranger);
	EXPECT_HEAP_GONE(self->stranger.number);
	EXPECT_CLEAN_END(&self->heap);
}

/* ENOTCONN */

/* Each operation, valid as to its structure, of a session without a heap. */
static void expect_not_connected(struct __test_metadata *_metadata, FIXTURE_DATA(errors) *self,
				 int session)
{
	struct pyobjmem_batch_entry entry = entry_get_root(0);
	struct pyobjmem_heap_configure configure = {
		.flags = PYOBJMEM_CONFIGURE_COLLECT,
		.collect = 1,
	};
	struct pyobjmem_stats stats;
	struct pyobjmem_inspect inspect;
	char byte = 0;

	EXPECT_EQ(-ENOTCONN, heap_configure(session, &configure));
	EXPECT_EQ(-ENOTCONN, object_create(session, 0, NULL, 8, NULL, 1, NULL));
	EXPECT_EQ(-ENOTCONN, object_get(session, self->sealed));
	EXPECT_EQ(-ENOTCONN, object_put(session, self->sealed));
	EXPECT_EQ(-ENOTCONN, ref_set(session, self->sealed, 0, self->writable, NULL));
	EXPECT_EQ(-ENOTCONN, ref_get(session, self->sealed, 1, NULL));
	EXPECT_EQ(-ENOTCONN, object_read(session, self->sealed, 0, &byte, 1));
	EXPECT_EQ(-ENOTCONN, object_write(session, self->writable, 0, &byte, 1));
	EXPECT_EQ(-ENOTCONN, root_set(session, 1, self->sealed, NULL));
	EXPECT_EQ(-ENOTCONN, root_get(session, 0, NULL));
	EXPECT_EQ(-ENOTCONN, object_export(session, self->sealed));
	EXPECT_EQ(-ENOTCONN, ticket_redeem(session, self->ticket, NULL));
	EXPECT_EQ(-ENOTCONN, heap_collect(session, 2, NULL));
	EXPECT_EQ(-ENOTCONN, heap_freeze(session));
	EXPECT_EQ(-ENOTCONN, heap_unfreeze(session));
	EXPECT_EQ(-ENOTCONN, heap_stats(session, &stats));
	EXPECT_EQ(-ENOTCONN, object_inspect(session, self->sealed, &inspect));
	EXPECT_EQ(-ENOTCONN, batch_run(session, &entry, 1, 0, NULL));
}

TEST_F(errors, enotconn_before_a_heap_is_joined)
{
	expect_not_connected(_metadata, self, self->unjoined);
}

TEST_F(errors, enotconn_after_leave)
{
	int session = test_heap_join(&self->heap);

	ASSERT_LE(0, session);
	ASSERT_EQ(0, session_leave(session));
	expect_not_connected(_metadata, self, session);
	EXPECT_EQ(-ENOTCONN, session_leave(session));
	EXPECT_EQ(-ENOTCONN, heap_join(session, self->heap.fd));
	EXPECT_EQ(-ENOTCONN, heap_create(session, 0, 0, NULL, NULL));
	close(session);
}

/* HEAP_CREATE, HEAP_JOIN */

TEST_F(errors, heap_create_ealready)
{
	int heaps = heaps_count();

	EXPECT_EQ(-EALREADY, heap_create(self->session, 0, 0, NULL, NULL));
	EXPECT_EQ(-EALREADY, heap_create(self->other, 0, 0, NULL, NULL));
	EXPECT_EQ(heaps, heaps_count());
}

TEST_F(errors, heap_create_eopnotsupp_rights)
{
	__u32 right;

	for (right = 1; right; right <<= 1) {
		if (!(right & PYOBJMEM_RIGHTS))
			EXPECT_EQ(-EOPNOTSUPP, heap_create(self->unjoined, 0, right, NULL, NULL));
	}
}

/* Leave no descriptor to the process, run @function, give them back. */
static void without_descriptors(struct rlimit *saved)
{
	struct rlimit none;
	int lowest = dup(0);

	close(lowest);
	getrlimit(RLIMIT_NOFILE, saved);
	none = *saved;
	none.rlim_cur = lowest;
	setrlimit(RLIMIT_NOFILE, &none);
}

TEST_F(errors, heap_create_emfile)
{
	int heaps = heaps_count();
	struct rlimit saved;
	int rc;

	without_descriptors(&saved);
	rc = heap_create(self->unjoined, 0, 0, NULL, NULL);
	setrlimit(RLIMIT_NOFILE, &saved);
	EXPECT_EQ(-EMFILE, rc);
	EXPECT_TRUE(wait_until(heaps_count() == heaps, SOON_MS));
	/* The session is free to join. */
	EXPECT_EQ(0, heap_join(self->unjoined, self->heap.fd));
	EXPECT_EQ(0, session_leave(self->unjoined));
}

TEST_F(errors, heap_join_ealready)
{
	EXPECT_EQ(-EALREADY, heap_join(self->session, self->heap.fd));
	EXPECT_EQ(-EALREADY, heap_join(self->session, self->stranger.fd));
}

TEST_F(errors, heap_join_ebadf)
{
	int closed = dup(0);

	close(closed);
	EXPECT_EQ(-EBADF, heap_join(self->unjoined, closed));
	EXPECT_EQ(-EBADF, heap_join(self->unjoined, -1));
	EXPECT_EQ(-EBADF, heap_join(self->unjoined, INT32_MAX));
	EXPECT_EQ(-EBADF, heap_join(self->unjoined, INT32_MIN));
}

TEST_F(errors, heap_join_einval_other_kinds_of_descriptors)
{
	int null = open("/dev/null", O_RDWR);
	int path = open(DEVICE, O_PATH);
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-EINVAL, heap_join(self->unjoined, null));
	EXPECT_EQ(-EINVAL, heap_join(self->unjoined, pipes[0]));
	EXPECT_EQ(-EINVAL, heap_join(self->unjoined, self->session));
	EXPECT_EQ(-EINVAL, heap_join(self->unjoined, self->unjoined));
	EXPECT_EQ(-EINVAL, heap_join(self->unjoined, self->ticket));
	/* An O_PATH descriptor is not open for anything: fget() gives EBADF. */
	EXPECT_EQ(-EBADF, heap_join(self->unjoined, path));
	close(path);
	close(null);
	close(pipes[0]);
	close(pipes[1]);
}

/* HEAP_CONFIGURE, FREEZE, UNFREEZE */

TEST_F(errors, rights_eperm)
{
	int heap_fd, owner = session_open(), plain = session_open();
	struct pyobjmem_heap_configure configure = {
		.flags = PYOBJMEM_CONFIGURE_COLLECT,
	};

	/* A heap whose descriptor carries no right. */
	ASSERT_EQ(0, heap_create(owner, 0, 0, &heap_fd, NULL));
	ASSERT_EQ(0, heap_join(plain, heap_fd));
	EXPECT_EQ(-EPERM, heap_configure(plain, &configure));
	EXPECT_EQ(-EPERM, heap_freeze(plain));
	EXPECT_EQ(-EPERM, heap_unfreeze(plain));
	/* Who made the heap has every right. */
	EXPECT_EQ(0, heap_configure(owner, &configure));
	EXPECT_EQ(0, heap_freeze(owner));
	EXPECT_EQ(0, heap_unfreeze(owner));
	close(heap_fd);
	close(plain);
	close(owner);
}

TEST_F(errors, heap_configure_einval_bytes_no_multiple_of_a_page)
{
	EXPECT_EQ(-EINVAL, heap_limit_bytes(self->session,
					    self->before.stats.out_bytes_limit - 1));
	EXPECT_EQ(-EINVAL, heap_limit_bytes(self->session, 8 * ARENA_BYTES + 8));
}

TEST_F(errors, heap_configure_einval_raised)
{
	EXPECT_EQ(-EINVAL, heap_limit_bytes(self->session,
					    self->before.stats.out_bytes_limit + POOL_BYTES));
	EXPECT_EQ(-EINVAL, heap_limit_objects(self->session,
					      self->before.stats.out_objects_limit + 1));
}

TEST_F(errors, heap_configure_einval_below_what_is_in_use)
{
	EXPECT_EQ(-EINVAL, heap_limit_objects(self->session,
					      self->before.stats.out_objects - 1));
	EXPECT_EQ(-EINVAL, heap_limit_objects(self->session, 0));
	EXPECT_EQ(-EINVAL, heap_limit_bytes(self->session, 0));
}

TEST_F(errors, heap_configure_einval_collect)
{
	struct pyobjmem_heap_configure configure = {
		.flags = PYOBJMEM_CONFIGURE_COLLECT,
		.collect = 2,
	};

	EXPECT_EQ(-EINVAL, heap_configure(self->session, &configure));
}

/* All members are checked before any is set: the fixture's end sees it. */
TEST_F(errors, heap_configure_sets_nothing_if_one_member_is_bad)
{
	struct pyobjmem_heap_configure configure = {
		.flags = PYOBJMEM_CONFIGURE_FLAGS,
		.bytes = self->before.stats.out_bytes_limit / 2 & ~(POOL_BYTES - 1ULL),
		.objects = self->before.stats.out_objects_limit / 2,
		.thresholds = { 1, 2, 3 },
		.collect = 2,
	};

	EXPECT_EQ(-EINVAL, heap_configure(self->session, &configure));
	configure.collect = 1;
	configure.objects = 0;
	EXPECT_EQ(-EINVAL, heap_configure(self->session, &configure));
	configure.objects = self->before.stats.out_objects_limit;
	configure.bytes = 1;
	EXPECT_EQ(-EINVAL, heap_configure(self->session, &configure));
}

/* CREATE */

static int create_with(FIXTURE_DATA(errors) *self, __u32 payload_size, __u32 slots, __u32 type)
{
	struct pyobjmem_create create = {
		.size = sizeof(create),
		.payload_size = payload_size,
		.slots = slots,
		.type = type,
	};

	return operate(self->session, PYOBJMEM_OP_CREATE, &create);
}

/* Where payload_size can tell more than one object may have. */
TEST_F(errors, create_e2big_payload)
{
	struct pyobjmem_query query;

	ASSERT_EQ(0, session_query(self->session, &query));
	if (query.out_payload_max < UINT32_MAX) {
		EXPECT_EQ(-E2BIG, create_with(self, query.out_payload_max + 1, 0, 0));
		EXPECT_EQ(-E2BIG, create_with(self, UINT32_MAX, 0, 0));
	}
	EXPECT_EQ(-E2BIG, create_with(self, 8, UINT32_MAX, 0));
}

TEST_F(errors, create_e2big_slots)
{
	EXPECT_EQ(-E2BIG, create_with(self, 8, PYOBJMEM_SLOTS_MAX + 1, 0));
	EXPECT_EQ(-E2BIG, create_with(self, 8, UINT32_MAX, 0));
	EXPECT_EQ(-E2BIG, create_with(self, 8, 1U << 29, 0));
}

TEST_F(errors, create_einval_type)
{
	EXPECT_EQ(-EINVAL, create_with(self, 8, 0, 65536));
	EXPECT_EQ(-EINVAL, create_with(self, 8, 0, UINT32_MAX));
}

static int create_with_edge(FIXTURE_DATA(errors) *self, __u64 bad)
{
	const __u64 edges[3] = { self->sealed, self->writable, bad };

	return object_create(self->session, 0, NULL, 8, edges, 3, NULL);
}

TEST_F(errors, create_enoent_edge)
{
	EXPECT_EQ(-ENOENT, create_with_edge(self, self->unheld));
}

TEST_F(errors, create_estale_edge)
{
	EXPECT_EQ(-ESTALE, create_with_edge(self, self->dead));
}

TEST_F(errors, create_efault_payload)
{
	char *area = guarded_pages(POOL_BYTES);
	size_t size;

	EXPECT_EQ(-EFAULT, object_create(self->session, 0, (void *)8, 64, NULL, 0, NULL));
	EXPECT_EQ(-EFAULT, object_create(self->session, 0, (void *)~0xfffUL, 64, NULL, 0, NULL));
	/* Its end cannot be read: small, a page, several pages. */
	for (size = 16; size <= 4 * POOL_BYTES; size *= 4) {
		const char *at = area + POOL_BYTES - (size <= POOL_BYTES ? size : POOL_BYTES) + 1;

		EXPECT_EQ(-EFAULT, object_create(self->session, 0, at, size, NULL, 0, NULL));
		EXPECT_EQ(-EFAULT, object_create(self->session, PYOBJMEM_CREATE_MUTABLE, at, size,
						 NULL, 0, NULL));
	}
}

TEST_F(errors, create_efault_edges)
{
	__u64 *area = guarded_pages(POOL_BYTES);
	__u64 *last = area + POOL_BYTES / sizeof(__u64) - 1;

	*last = self->sealed;
	EXPECT_EQ(-EFAULT, object_create(self->session, 0, NULL, 8, (void *)8, 1, NULL));
	EXPECT_EQ(-EFAULT, object_create(self->session, 0, NULL, 8, last, 2, NULL));
	EXPECT_EQ(-EFAULT, object_create(self->session, 0, NULL, 8, last, 4096, NULL));
}

/* GET, PUT */

TEST_F(errors, get_einval)
{
	EXPECT_EQ(-EINVAL, object_get(self->session, 0));
}

TEST_F(errors, get_enoent)
{
	EXPECT_EQ(-ENOENT, object_get(self->session, self->unheld));
}

TEST_F(errors, get_estale)
{
	EXPECT_EQ(-ESTALE, object_get(self->session, self->dead));
}

TEST_F(errors, put_einval)
{
	EXPECT_EQ(-EINVAL, object_put(self->session, 0));
}

TEST_F(errors, put_enoent)
{
	EXPECT_EQ(-ENOENT, object_put(self->session, self->unheld));
	/* However often another session holds it. */
	ASSERT_EQ(0, object_get(self->other, self->unheld));
	EXPECT_EQ(-ENOENT, object_put(self->session, self->unheld));
	ASSERT_EQ(0, object_put(self->other, self->unheld));
}

TEST_F(errors, put_estale)
{
	EXPECT_EQ(-ESTALE, object_put(self->session, self->dead));
}

/* SET_REF, GET_REF */

TEST_F(errors, set_ref_einval_handle)
{
	EXPECT_EQ(-EINVAL, ref_set(self->session, 0, 0, self->writable, NULL));
}

TEST_F(errors, set_ref_einval_slot)
{
	EXPECT_EQ(-EINVAL, ref_set(self->session, self->sealed, SLOTS, self->writable, NULL));
	EXPECT_EQ(-EINVAL, ref_set(self->session, self->sealed, UINT32_MAX, self->writable, NULL));
	EXPECT_EQ(-EINVAL, ref_set(self->session, self->sealed, 1U << 31, self->writable, NULL));
	EXPECT_EQ(-EINVAL, ref_set(self->session, self->leaf, 0, self->writable, NULL));
	EXPECT_EQ(-EINVAL, ref_set(self->session, self->sealed, SLOTS, 0, NULL));
}

TEST_F(errors, set_ref_enoent_handle)
{
	EXPECT_EQ(-ENOENT, ref_set(self->session, self->unheld, 0, self->writable, NULL));
}

TEST_F(errors, set_ref_enoent_value)
{
	EXPECT_EQ(-ENOENT, ref_set(self->session, self->sealed, 0, self->unheld, NULL));
	/* That a slot names it is not enough to name it again. */
	ASSERT_EQ(0, object_put(self->session, self->writable));
	EXPECT_EQ(-ENOENT, ref_set(self->session, self->sealed, 0, self->writable, NULL));
	ASSERT_EQ(0, ref_get(self->session, self->sealed, 1, NULL));
}

TEST_F(errors, set_ref_estale_handle)
{
	EXPECT_EQ(-ESTALE, ref_set(self->session, self->dead, 0, self->writable, NULL));
}

TEST_F(errors, set_ref_estale_value)
{
	EXPECT_EQ(-ESTALE, ref_set(self->session, self->sealed, 0, self->dead, NULL));
}

TEST_F(errors, set_ref_ecanceled)
{
	__u64 old = 1;

	EXPECT_EQ(-ECANCELED, ref_compare_set(self->session, self->sealed, 0, self->writable,
					      self->sealed, &old));
	EXPECT_EQ(0, old);
	EXPECT_EQ(-ECANCELED, ref_compare_set(self->session, self->sealed, 1, 0, self->sealed,
					      &old));
	EXPECT_EQ(self->writable, old);
	EXPECT_EQ(-ECANCELED, ref_compare_set(self->session, self->sealed, 1, self->dead, 0,
					      &old));
	EXPECT_EQ(self->writable, old);
}

TEST_F(errors, get_ref_einval_handle)
{
	EXPECT_EQ(-EINVAL, ref_get(self->session, 0, 0, NULL));
}

TEST_F(errors, get_ref_einval_slot)
{
	EXPECT_EQ(-EINVAL, ref_get(self->session, self->sealed, SLOTS, NULL));
	EXPECT_EQ(-EINVAL, ref_get(self->session, self->sealed, UINT32_MAX, NULL));
	EXPECT_EQ(-EINVAL, ref_get(self->session, self->leaf, 0, NULL));
}

TEST_F(errors, get_ref_enoent)
{
	EXPECT_EQ(-ENOENT, ref_get(self->session, self->unheld, 0, NULL));
}

TEST_F(errors, get_ref_estale)
{
	EXPECT_EQ(-ESTALE, ref_get(self->session, self->dead, 0, NULL));
}

/* READ, WRITE */

TEST_F(errors, read_einval_handle)
{
	char byte;

	EXPECT_EQ(-EINVAL, object_read(self->session, 0, 0, &byte, 1));
}

TEST_F(errors, read_einval_offset)
{
	char byte;

	EXPECT_EQ(-EINVAL, object_read(self->session, self->sealed, PAYLOAD_BYTES + 1, &byte, 1));
	EXPECT_EQ(-EINVAL, object_read(self->session, self->writable, PAYLOAD_BYTES + 1, &byte, 1));
	EXPECT_EQ(-EINVAL, object_read(self->session, self->sealed, UINT64_MAX, &byte, 1));
	EXPECT_EQ(-EINVAL, object_read(self->session, self->sealed, 1ULL << 32, &byte, 1));
	EXPECT_EQ(-EINVAL, object_read(self->session, self->sealed, -1ULL << 63, &byte, 1));
}

TEST_F(errors, read_enoent)
{
	char byte;

	EXPECT_EQ(-ENOENT, object_read(self->session, self->unheld, 0, &byte, 1));
}

TEST_F(errors, read_estale)
{
	char byte;

	EXPECT_EQ(-ESTALE, object_read(self->session, self->dead, 0, &byte, 1));
}

TEST_F(errors, read_efault)
{
	char *area = guarded_pages(POOL_BYTES);

	EXPECT_EQ(-EFAULT, object_read(self->session, self->sealed, 0, NULL, 1));
	EXPECT_EQ(-EFAULT, object_read(self->session, self->sealed, 0, area + POOL_BYTES - 8, 16));
	EXPECT_EQ(-EFAULT, object_read(self->session, self->writable, 0, (void *)~0xfffUL, 16));
	mprotect(area, POOL_BYTES, PROT_READ);
	EXPECT_EQ(-EFAULT, object_read(self->session, self->writable, 0, area, 16));
}

TEST_F(errors, write_einval_handle)
{
	char byte = 0;

	EXPECT_EQ(-EINVAL, object_write(self->session, 0, 0, &byte, 1));
}

TEST_F(errors, write_einval_range)
{
	char bytes[PAYLOAD_BYTES + 1] = {};

	EXPECT_EQ(-EINVAL, object_write(self->session, self->writable, PAYLOAD_BYTES, bytes, 1));
	EXPECT_EQ(-EINVAL, object_write(self->session, self->writable, 0, bytes,
					PAYLOAD_BYTES + 1));
	EXPECT_EQ(-EINVAL, object_write(self->session, self->writable, 1, bytes, PAYLOAD_BYTES));
	EXPECT_EQ(-EINVAL, object_write(self->session, self->writable, PAYLOAD_BYTES + 1, bytes,
					0));
	EXPECT_EQ(-EINVAL, object_write(self->session, self->writable, UINT64_MAX, bytes, 2));
	EXPECT_EQ(-EINVAL, object_write(self->session, self->writable, 1, bytes, UINT64_MAX));
	EXPECT_EQ(-EINVAL, object_write(self->session, self->writable, 1ULL << 32, bytes, 1));
}

TEST_F(errors, write_enoent)
{
	char byte = 0;

	EXPECT_EQ(-ENOENT, object_write(self->session, self->unheld, 0, &byte, 1));
}

TEST_F(errors, write_estale)
{
	char byte = 0;

	EXPECT_EQ(-ESTALE, object_write(self->session, self->dead, 0, &byte, 1));
}

TEST_F(errors, write_eperm_sealed)
{
	char byte = 0;

	EXPECT_EQ(-EPERM, object_write(self->session, self->sealed, 0, &byte, 1));
}

TEST_F(errors, write_efault)
{
	char *area = guarded_pages(POOL_BYTES);

	memset(area, 0xaa, POOL_BYTES);
	EXPECT_EQ(-EFAULT, object_write(self->session, self->writable, 0, NULL, 1));
	EXPECT_EQ(-EFAULT, object_write(self->session, self->writable, 0, area + POOL_BYTES, 16));
	EXPECT_EQ(-EFAULT, object_write(self->session, self->writable, 0, area + POOL_BYTES - 8,
					16));
}

/* SET_ROOT, GET_ROOT */

TEST_F(errors, set_root_einval_root)
{
	EXPECT_EQ(-EINVAL, root_set(self->session, PYOBJMEM_ROOTS, self->sealed, NULL));
	EXPECT_EQ(-EINVAL, root_set(self->session, UINT32_MAX, self->sealed, NULL));
	EXPECT_EQ(-EINVAL, root_set(self->session, PYOBJMEM_ROOTS, 0, NULL));
}

TEST_F(errors, set_root_enoent)
{
	EXPECT_EQ(-ENOENT, root_set(self->session, 1, self->unheld, NULL));
	EXPECT_EQ(-ENOENT, root_set(self->session, 0, self->unheld, NULL));
}

TEST_F(errors, set_root_estale)
{
	EXPECT_EQ(-ESTALE, root_set(self->session, 1, self->dead, NULL));
}

TEST_F(errors, get_root_einval)
{
	EXPECT_EQ(-EINVAL, root_get(self->session, PYOBJMEM_ROOTS, NULL));
	EXPECT_EQ(-EINVAL, root_get(self->session, UINT32_MAX, NULL));
}

/* EXPORT, REDEEM */

TEST_F(errors, export_einval)
{
	EXPECT_EQ(-EINVAL, object_export(self->session, 0));
}

TEST_F(errors, export_enoent)
{
	EXPECT_EQ(-ENOENT, object_export(self->session, self->unheld));
}

TEST_F(errors, export_estale)
{
	EXPECT_EQ(-ESTALE, object_export(self->session, self->dead));
}

TEST_F(errors, export_emfile)
{
	struct rlimit saved;
	int rc;

	without_descriptors(&saved);
	rc = object_export(self->session, self->sealed);
	setrlimit(RLIMIT_NOFILE, &saved);
	EXPECT_EQ(-EMFILE, rc);
}

/* ENFILE is for those without CAP_SYS_ADMIN: give it up for the one call. */
TEST_F(errors, export_and_heap_create_enfile)
{
	char saved[64] = "";
	int rc_export, rc_create;

	ASSERT_LT(0, file_read("/proc/sys/fs/file-max", saved, sizeof(saved)));
	ASSERT_EQ(0, seteuid(65534));
	rc_export = object_export(self->session, self->sealed);
	if (rc_export >= 0)
		close(rc_export);
	EXPECT_LE(0, rc_export);
	ASSERT_EQ(0, seteuid(0));

	ASSERT_EQ(0, file_write("/proc/sys/fs/file-max", "0"));
	rc_export = seteuid(65534) ? 0 : object_export(self->session, self->sealed);
	rc_create = heap_create(self->unjoined, 0, 0, NULL, NULL);
	if (seteuid(0))
		abort();
	EXPECT_EQ(0, file_write("/proc/sys/fs/file-max", saved));
	EXPECT_EQ(-ENFILE, rc_export);
	EXPECT_EQ(-ENFILE, rc_create);
}

TEST_F(errors, redeem_ebadf)
{
	int closed = dup(0);

	close(closed);
	EXPECT_EQ(-EBADF, ticket_redeem(self->session, closed, NULL));
	EXPECT_EQ(-EBADF, ticket_redeem(self->session, -1, NULL));
	EXPECT_EQ(-EBADF, ticket_redeem(self->session, INT32_MAX, NULL));
}

TEST_F(errors, redeem_einval_other_kinds_of_descriptors)
{
	int null = open("/dev/null", O_RDWR);

	EXPECT_EQ(-EINVAL, ticket_redeem(self->session, null, NULL));
	EXPECT_EQ(-EINVAL, ticket_redeem(self->session, self->heap.fd, NULL));
	EXPECT_EQ(-EINVAL, ticket_redeem(self->session, self->session, NULL));
	EXPECT_EQ(-EINVAL, ticket_redeem(self->session, self->other, NULL));
	close(null);
}

TEST_F(errors, redeem_exdev)
{
	EXPECT_EQ(-EXDEV, ticket_redeem(self->session, self->foreign_ticket, NULL));
	EXPECT_EQ(-EXDEV, ticket_redeem(self->stranger.session, self->ticket, NULL));
}

/* COLLECT, INSPECT, and what is not offered */

TEST_F(errors, collect_einval)
{
	EXPECT_EQ(-EINVAL, heap_collect(self->session, PYOBJMEM_GENERATIONS, NULL));
	EXPECT_EQ(-EINVAL, heap_collect(self->session, UINT32_MAX, NULL));
}

TEST_F(errors, inspect_einval)
{
	struct pyobjmem_inspect inspect;

	EXPECT_EQ(-EINVAL, object_inspect(self->session, 0, &inspect));
}

TEST_F(errors, inspect_enoent)
{
	struct pyobjmem_inspect inspect;

	EXPECT_EQ(-ENOENT, object_inspect(self->session, self->unheld, &inspect));
}

TEST_F(errors, inspect_estale)
{
	struct pyobjmem_inspect inspect;

	EXPECT_EQ(-ESTALE, object_inspect(self->session, self->dead, &inspect));
}

TEST_F(errors, inspect_efault)
{
	__u64 *area = guarded_pages(POOL_BYTES);

	EXPECT_EQ(-EFAULT, object_edges(self->session, self->sealed, (void *)8, SLOTS, NULL));
	EXPECT_EQ(-EFAULT, object_edges(self->session, self->sealed,
					area + POOL_BYTES / sizeof(__u64) - 1, SLOTS, NULL));
}

/* ENOSPC: limits of a heap of its own, so that the fixture's stays as it is */

TEST_F(errors, create_enospc_objects)
{
	int session = self->stranger.session;
	struct pyobjmem_stats before, after;

	ASSERT_EQ(0, heap_limit_objects(session, 1));
	ASSERT_EQ(0, heap_stats(session, &before));
	ASSERT_EQ(1, before.out_objects);
	EXPECT_EQ(-ENOSPC, container_create(session, 1, NULL));
	EXPECT_EQ(-ENOSPC, object_create(session, 0, NULL, 3 * POOL_BYTES, NULL, 0, NULL));
	ASSERT_EQ(0, heap_stats(session, &after));
	EXPECT_EQ(before.out_objects, after.out_objects);
	EXPECT_EQ(before.out_used_bytes, after.out_used_bytes);
	EXPECT_EQ(before.out_holds, after.out_holds);
}

TEST_F(errors, create_enospc_bytes)
{
	int session = self->stranger.session;
	struct pyobjmem_stats before, after;

	ASSERT_EQ(0, heap_limit_bytes(session, 4 * POOL_BYTES));
	ASSERT_EQ(0, heap_stats(session, &before));
	EXPECT_EQ(-ENOSPC, object_create(session, 0, NULL, 4 * POOL_BYTES, NULL, 0, NULL));
	EXPECT_EQ(-ENOSPC, object_create(session, PYOBJMEM_CREATE_MUTABLE, NULL, 4 * POOL_BYTES,
					 NULL, 0, NULL));
	EXPECT_EQ(-ENOSPC, object_create(session, 0, NULL, 64 * ARENA_BYTES, NULL, 0, NULL));
	ASSERT_EQ(0, heap_stats(session, &after));
	EXPECT_EQ(before.out_objects, after.out_objects);
	EXPECT_EQ(before.out_used_bytes, after.out_used_bytes);
	EXPECT_EQ(before.out_holds, after.out_holds);
	EXPECT_GE(4 * POOL_BYTES, after.out_page_bytes);
}

/* A payload that one object may have, but not the heap. */
TEST_F(errors, create_enospc_larger_than_the_heap)
{
	struct pyobjmem_query query;

	ASSERT_EQ(0, session_query(self->session, &query));
	ASSERT_EQ(0, heap_limit_bytes(self->stranger.session, ARENA_BYTES));
	EXPECT_EQ(-ENOSPC, object_create(self->stranger.session, PYOBJMEM_CREATE_MUTABLE, NULL,
					 query.out_payload_max, NULL, 0, NULL));
}

/* EDQUOT: the heaps of a user may take so many bytes */

TEST_F(errors, create_edquot_user_bytes)
{
	struct pyobjmem_stats before, after;
	__u64 saved;
	int rc[4];

	ASSERT_EQ(0, heap_stats(self->stranger.session, &before));
	ASSERT_EQ(0, parameter_read("user_bytes", &saved));
	ASSERT_EQ(0, parameter_write("user_bytes", ARENA_BYTES));
	rc[0] = object_create(self->stranger.session, 0, NULL, ARENA_BYTES, NULL, 0, NULL);
	rc[1] = object_create(self->stranger.session, PYOBJMEM_CREATE_MUTABLE, NULL, ARENA_BYTES,
			      NULL, 0, NULL);
	do {
		rc[2] = object_create(self->stranger.session, 0, NULL, 400, NULL, 0, NULL);
	} while (!rc[2]);
	/* Refused before the system's memory is taken for it. */
	rc[3] = object_create(self->stranger.session, 0, NULL, 3U << 30, NULL, 0, NULL);
	ASSERT_EQ(0, parameter_write("user_bytes", saved));
	EXPECT_EQ(-EDQUOT, rc[0]);
	EXPECT_EQ(-EDQUOT, rc[1]);
	EXPECT_EQ(-EDQUOT, rc[2]);
	EXPECT_EQ(-EDQUOT, rc[3]);
	ASSERT_EQ(0, heap_stats(self->stranger.session, &after));
	EXPECT_LT(before.out_objects, after.out_objects);
	EXPECT_GE(ARENA_BYTES, after.out_page_bytes);
}

/* EDQUOT: a session may hold so many objects */

FIXTURE(quota)
{
	struct test_heap heap;
	__u64 saved;
	int session;		/* holds as many objects as it may */
	int ticket;
	__u64 held[4];
	__u64 parent;		/* one of held; its slot 0 names what is not held */
};

FIXTURE_SETUP(quota)
{
	__u64 child;
	size_t i;

	ASSERT_EQ(0, parameter_read("session_holds", &self->saved));
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	ASSERT_EQ(0, container_create(self->heap.session, 1, &self->parent));
	ASSERT_EQ(0, container_create(self->heap.session, 0, &child));
	ASSERT_EQ(0, ref_set(self->heap.session, self->parent, 0, child, NULL));
	ASSERT_EQ(0, root_set(self->heap.session, 0, self->parent, NULL));
	ASSERT_EQ(0, root_set(self->heap.session, 1, child, NULL));
	self->ticket = object_export(self->heap.session, child);
	ASSERT_LE(0, self->ticket);

	ASSERT_EQ(0, parameter_write("session_holds", ARRAY_SIZE(self->held)));
	self->session = test_heap_join(&self->heap);
	ASSERT_LE(0, self->session);
	ASSERT_EQ(0, root_get(self->session, 0, &self->held[0]));
	ASSERT_EQ(self->parent, self->held[0]);
	for (i = 1; i < ARRAY_SIZE(self->held); i++)
		ASSERT_EQ(0, container_create(self->session, 1, &self->held[i]));
}

FIXTURE_TEARDOWN(quota)
{
	struct pyobjmem_stats stats;

	EXPECT_EQ(0, heap_stats(self->session, &stats));
	EXPECT_EQ(0, parameter_write("session_holds", self->saved));
	EXPECT_EQ(ARRAY_SIZE(self->held), stats.out_holds);
	EXPECT_EQ(ARRAY_SIZE(self->held), stats.out_holds_limit);
	EXPECT_EQ(ARRAY_SIZE(self->held) + 1, stats.out_objects);
	close(self->ticket);
	close(self->session);
	EXPECT_CLEAN_END(&self->heap);
}

TEST_F(quota, create_edquot)
{
	EXPECT_EQ(-EDQUOT, container_create(self->session, 1, NULL));
}

TEST_F(quota, get_ref_edquot)
{
	EXPECT_EQ(-EDQUOT, ref_get(self->session, self->parent, 0, NULL));
}

TEST_F(quota, get_root_edquot)
{
	EXPECT_EQ(-EDQUOT, root_get(self->session, 1, NULL));
}

TEST_F(quota, redeem_edquot)
{
	EXPECT_EQ(-EDQUOT, ticket_redeem(self->session, self->ticket, NULL));
}

TEST_F(quota, more_takes_of_what_is_held_are_free)
{
	EXPECT_EQ(0, root_get(self->session, 0, NULL));
	EXPECT_EQ(0, object_get(self->session, self->held[1]));
	EXPECT_EQ(0, object_put(self->session, self->parent));
	EXPECT_EQ(0, object_put(self->session, self->held[1]));
	/* An empty root gives nothing to hold. */
	EXPECT_EQ(0, root_get(self->session, 9, NULL));
}

TEST_F(quota, room_comes_back_with_put)
{
	__u64 handle;

	ASSERT_EQ(0, object_put(self->session, self->held[3]));
	ASSERT_EQ(0, root_get(self->session, 1, &handle));
	EXPECT_EQ(-EDQUOT, container_create(self->session, 1, NULL));
	ASSERT_EQ(0, object_put(self->session, handle));
	ASSERT_EQ(0, container_create(self->session, 1, &self->held[3]));
}

/* ENOMEM, never a signal: the cgroup of the caller has no memory left */

#define CGROUPS		"/tmp/pyobjmem-cgroup"
#define CGROUP		CGROUPS "/pyobjmem"
#define CGROUP_BYTES	(8U << 20)

static int enter_cgroup(void)
{
	char text[32];

	mkdir("/tmp", 0755);
	mkdir(CGROUPS, 0755);
	if (mount("cgroup2", CGROUPS, "cgroup2", 0, NULL))
		return -errno;
	if (file_write(CGROUPS "/cgroup.subtree_control", "+memory") ||
	    (mkdir(CGROUP, 0755) && errno != EEXIST))
		return -ENODEV;
	snprintf(text, sizeof(text), "%u", CGROUP_BYTES);
	if (file_write(CGROUP "/memory.max", text))
		return -ENODEV;
	file_write(CGROUP "/memory.swap.max", "0");
	snprintf(text, sizeof(text), "%d", getpid());
	return file_write(CGROUP "/cgroup.procs", text);
}

/*
 * Fill the heap up to the cgroup's limit, with objects of side->argument bytes.
 * Once the cgroup is full nothing else may be charged to this process: not a
 * page of a pipe, and not what debugfs would take. The parent looks at verify.
 */
static int fill_to_enomem(struct child_side *side)
{
	const __u32 size = *(__u32 *)side->argument;
	struct pyobjmem_stats stats;
	struct test_heap heap;
	__u64 handle, first = 0;
	unsigned int count;
	int rc, repeat;

	CHILD_CHECK(!enter_cgroup());
	CHILD_CHECK(!test_heap_open(&heap, 0));
	child_says(side, &heap.number, sizeof(heap.number));
	for (count = 0; count < CGROUP_BYTES / 64; count++) {
		rc = object_create(heap.session, 0, NULL, size, &first, 1, &handle);
		if (rc)
			break;
		/* A chain, so that one handle is enough to give all of it back. */
		if (first)
			CHILD_CHECK(!object_put(heap.session, first));
		first = handle;
	}
	CHILD_CHECK(rc == -ENOMEM);
	CHILD_CHECK(!heap_stats(heap.session, &stats));
	CHILD_CHECK(stats.out_objects == count && stats.out_holds == 1);
	/* It stays refused, the heap stays whole and works, all comes back. */
	for (repeat = 0; repeat < 3; repeat++)
		CHILD_CHECK(object_create(heap.session, 0, NULL, 64 * size, NULL, 1, &handle) ==
			    -ENOMEM);
	close(side->pipe_fd);
	child_waits(side);
	CHILD_CHECK(!object_put(heap.session, first));
	CHILD_CHECK(!heap_collect(heap.session, 2, NULL));
	CHILD_CHECK(!heap_stats(heap.session, &stats));
	CHILD_CHECK(!stats.out_objects && !stats.out_page_bytes);
	CHILD_CHECK(!object_create(heap.session, 0, NULL, size, NULL, 1, &handle));
	return 0;
}

TEST(create_enomem_in_a_full_cgroup)
{
	static const __u32 sizes[] = { 200, 64 * 1024 };
	struct child child;
	__u64 number;
	bool there;
	size_t i;

	mkdir("/tmp", 0755);
	mkdir(CGROUPS, 0755);
	if (mount("cgroup2", CGROUPS, "cgroup2", 0, NULL))
		SKIP(return, "no cgroup2 can be mounted");
	there = !file_write(CGROUPS "/cgroup.subtree_control", "+memory");
	umount2(CGROUPS, MNT_DETACH);
	if (!there)
		SKIP(return, "cgroup2 has no memory controller here");
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, child_start(&child, fill_to_enomem, (void *)&sizes[i]));
		EXPECT_TRUE(child_hear(&child, &number, sizeof(number)));
		EXPECT_FALSE(child_wait_ready(&child));
		EXPECT_VERIFIED(number);
		EXPECT_EQ(0, child_end(&child)) {
			TH_LOG("objects of %u bytes", sizes[i]);
		}
		rmdir(CGROUP);
		umount2(CGROUPS, MNT_DETACH);
	}
}

TEST(eoverflow_of_a_count)
{
	SKIP(return, "a count ends near 2^32: that many references take hours to make");
}

TEST_HARNESS_MAIN
