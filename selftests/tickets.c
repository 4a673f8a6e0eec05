// SPDX-License-Identifier: GPL-2.0
/*
 * Tickets: descriptors that keep one object alive on its way to another process,
 * wherever they are: open, duplicated, or in the queue of a socket.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

FIXTURE(tickets)
{
	struct test_heap heap;
	int session;
	__u64 object;
};

FIXTURE_SETUP(tickets)
{
	ASSERT_EQ(0, test_heap_open(&self->heap, 0));
	self->session = self->heap.session;
	ASSERT_EQ(0, object_create(self->session, 0, "parcel", 7, NULL, 1, &self->object));
}

FIXTURE_TEARDOWN(tickets)
{
	EXPECT_CLEAN_END(&self->heap);
}

static __u32 external(int session, __u64 handle)
{
	struct pyobjmem_inspect inspect;

	return object_inspect(session, handle, &inspect) ? ~0U : inspect.out_external;
}

TEST_F(tickets, count_each)
{
	int ticket[20];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ticket); i++) {
		ticket[i] = object_export(self->session, self->object);
		ASSERT_LE(0, ticket[i]);
		ASSERT_EQ(2 + i, external(self->session, self->object));
		ASSERT_EQ(1 + i, stats_tickets(self->session));
	}
	ASSERT_VERIFIED(self->heap.number);
	for (i = 0; i < ARRAY_SIZE(ticket); i++) {
		close(ticket[i]);
		ASSERT_EQ(ARRAY_SIZE(ticket) - i, external(self->session, self->object));
		ASSERT_EQ(ARRAY_SIZE(ticket) - 1 - i, stats_tickets(self->session));
	}
}

TEST_F(tickets, and_heap_descriptors_are_closed_on_exec)
{
	int ticket = object_export(self->session, self->object);

	EXPECT_EQ(FD_CLOEXEC, fcntl(ticket, F_GETFD));
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->heap.fd, F_GETFD));
	close(ticket);
}

TEST_F(tickets, keep_the_object)
{
	int ticket = object_export(self->session, self->object);

	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EQ(1, stats_objects(self->session));
	EXPECT_EQ(-ENOENT, object_get(self->session, self->object));
	close(ticket);
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(-ESTALE, object_get(self->session, self->object));
}

TEST_F(tickets, are_gone_with_the_last_duplicate)
{
	int ticket = object_export(self->session, self->object);
	int copy = dup(ticket);

	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EQ(1, stats_tickets(self->session));
	close(ticket);
	EXPECT_EQ(1, stats_objects(self->session));
	ASSERT_EQ(0, ticket_redeem(self->session, copy, NULL));
	ASSERT_EQ(0, object_put(self->session, self->object));
	close(copy);
	EXPECT_EQ(0, stats_objects(self->session));
	EXPECT_EQ(0, stats_tickets(self->session));
}

TEST_F(tickets, can_be_redeemed_again_and_again)
{
	struct pyobjmem_inspect inspect;
	int ticket = object_export(self->session, self->object);
	int other = test_heap_join(&self->heap);
	__u64 seen;
	int i;

	for (i = 1; i <= 5; i++) {
		ASSERT_EQ(0, ticket_redeem(other, ticket, &seen));
		ASSERT_EQ(self->object, seen);
		ASSERT_EQ(0, object_inspect(other, seen, &inspect));
		EXPECT_EQ(i, inspect.out_takes);
		EXPECT_EQ(3, inspect.out_external);
	}
	close(ticket);
	EXPECT_EQ(2, external(self->session, self->object));
	close(other);
	EXPECT_TRUE(wait_until(external(self->session, self->object) == 1, SOON_MS));
}

TEST_F(tickets, can_be_redeemed_by_who_made_them)
{
	struct pyobjmem_inspect inspect;
	int ticket = object_export(self->session, self->object);

	ASSERT_EQ(0, ticket_redeem(self->session, ticket, NULL));
	ASSERT_EQ(0, object_inspect(self->session, self->object, &inspect));
	EXPECT_EQ(2, inspect.out_takes);
	EXPECT_EQ(2, inspect.out_external);
	close(ticket);
}

/* Only what they were made for, though it names more. */
TEST_F(tickets, give_one_object)
{
	int ticket = object_export(self->session, self->object);
	int other = test_heap_join(&self->heap);
	__u64 child, seen;

	ASSERT_EQ(0, container_create(self->session, 0, &child));
	ASSERT_EQ(0, ref_set(self->session, self->object, 0, child, NULL));
	ASSERT_EQ(0, ticket_redeem(other, ticket, NULL));
	EXPECT_EQ(-ENOENT, object_get(other, child));
	ASSERT_EQ(0, ref_get(other, self->object, 0, &seen));
	EXPECT_EQ(child, seen);
	close(other);
	close(ticket);
}

TEST_F(tickets, keep_cycles_from_the_collector)
{
	int ticket = object_export(self->session, self->object);
	struct pyobjmem_collect collect;

	ASSERT_EQ(0, ref_set(self->session, self->object, 0, self->object, NULL));
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(0, collect.out_collected);
	close(ticket);
	EXPECT_EQ(1, stats_objects(self->session));
	ASSERT_EQ(0, heap_collect(self->session, 2, &collect));
	EXPECT_EQ(1, collect.out_collected);
}

/* Through sockets, between processes */

struct parcel {
	struct test_heap *heap;
	int socket;
	__u64 object;
};

/* Receive a ticket and look at what it names, with a session of its own. */
static int receive_parcel(struct child_side *side)
{
	struct parcel *parcel = side->argument;
	int session, ticket;
	char text[8];
	__u64 seen;

	close(parcel->heap->session);
	session = test_heap_join(parcel->heap);
	CHILD_CHECK(session >= 0);
	child_ready(side);
	ticket = descriptor_receive(parcel->socket);
	CHILD_CHECK(ticket >= 0);
	CHILD_CHECK(object_get(session, parcel->object) == -ENOENT);
	CHILD_CHECK(!ticket_redeem(session, ticket, &seen));
	close(ticket);
	CHILD_CHECK(seen == parcel->object);
	CHILD_CHECK(object_read(session, seen, 0, text, sizeof(text)) == 7);
	CHILD_CHECK(!strcmp(text, "parcel"));
	child_ready(side);
	child_waits(side);
	CHILD_CHECK(!object_put(session, seen));
	return 0;
}

TEST_F(tickets, travel_to_another_process)
{
	struct parcel parcel = { .heap = &self->heap, .object = self->object };
	struct child child;
	int sockets[2], ticket;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets));
	parcel.socket = sockets[1];
	ASSERT_EQ(0, child_start(&child, receive_parcel, &parcel));
	ASSERT_TRUE(child_wait_ready(&child));
	/* Made only now: a child inherits descriptors. */
	ticket = object_export(self->session, self->object);
	ASSERT_EQ(0, descriptor_send(sockets[0], ticket));
	close(ticket);
	ASSERT_EQ(0, object_put(self->session, self->object));
	ASSERT_TRUE(child_wait_ready(&child));
	EXPECT_EQ(1, stats_objects(self->session));
	EXPECT_TRUE(wait_until(!stats_tickets(self->session), SOON_MS));
	EXPECT_EQ(0, child_end(&child));
	EXPECT_TRUE(wait_until(!stats_objects(self->session), SOON_MS));
	close(sockets[0]);
	close(sockets[1]);
}

/* Create, send, and be gone before anybody looks. */
static int send_parcel(struct child_side *side)
{
	struct parcel *parcel = side->argument;
	int session = test_heap_join(parcel->heap);
	int ticket;
	__u64 handle;

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!object_create(session, 0, "parcel", 7, NULL, 1, &handle));
	ticket = object_export(session, handle);
	CHILD_CHECK(ticket >= 0);
	CHILD_CHECK(!descriptor_send(parcel->socket, ticket));
	raise(SIGKILL);
	return 1;
}

TEST_F(tickets, outlive_a_sender_who_dies_before_the_receiver_looks)
{
	struct parcel parcel = { .heap = &self->heap };
	struct child child;
	char text[8];
	__u64 seen;
	int sockets[2], ticket;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets));
	parcel.socket = sockets[0];
	ASSERT_EQ(0, child_start(&child, send_parcel, &parcel));
	ASSERT_EQ(-SIGKILL, child_end(&child));
	close(sockets[0]);
	ASSERT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS));
	EXPECT_EQ(2, stats_objects(self->session));
	EXPECT_EQ(1, stats_tickets(self->session));
	ASSERT_VERIFIED(self->heap.number);

	ticket = descriptor_receive(sockets[1]);
	ASSERT_LE(0, ticket);
	ASSERT_EQ(0, ticket_redeem(self->session, ticket, &seen));
	ASSERT_EQ(7, object_read(self->session, seen, 0, text, sizeof(text)));
	EXPECT_STREQ("parcel", text);
	ASSERT_EQ(0, object_put(self->session, seen));
	EXPECT_EQ(2, stats_objects(self->session));
	close(ticket);
	EXPECT_EQ(1, stats_objects(self->session));
	close(sockets[1]);
}

/* The socket goes, and the message in it was never read. */
TEST_F(tickets, in_a_queue_that_is_thrown_away_are_closed)
{
	int sockets[2], i;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets));
	for (i = 0; i < 5; i++) {
		int ticket = object_export(self->session, self->object);

		ASSERT_EQ(0, descriptor_send(sockets[0], ticket));
		close(ticket);
	}
	ASSERT_EQ(0, object_put(self->session, self->object));
	EXPECT_EQ(5, stats_tickets(self->session));
	EXPECT_EQ(1, stats_objects(self->session));
	close(sockets[0]);
	close(sockets[1]);
	EXPECT_TRUE(wait_until(!stats_tickets(self->session), SOON_MS));
	EXPECT_TRUE(wait_until(!stats_objects(self->session), SOON_MS));
}

/* No session and no descriptor of the heap is left: it lives in a queue. */
TEST_F(tickets, in_flight_keep_heap_and_object_without_any_session)
{
	int sockets[2], ticket, session, heap_fd;
	__u64 seen, number = self->heap.number;
	char text[8];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets));
	ticket = object_export(self->session, self->object);
	ASSERT_EQ(0, descriptor_send(sockets[0], ticket));
	ASSERT_EQ(0, descriptor_send(sockets[0], self->heap.fd));
	close(ticket);
	test_heap_close(&self->heap);
	sleep_us(100000);
	ASSERT_TRUE(heap_exists(number));
	ASSERT_VERIFIED(number);

	ticket = descriptor_receive(sockets[1]);
	heap_fd = descriptor_receive(sockets[1]);
	ASSERT_LE(0, heap_fd);
	session = session_open();
	ASSERT_EQ(0, heap_join(session, heap_fd));
	EXPECT_EQ(1, stats_objects(session));
	ASSERT_EQ(0, ticket_redeem(session, ticket, &seen));
	ASSERT_EQ(self->object, seen);
	ASSERT_EQ(7, object_read(session, seen, 0, text, sizeof(text)));
	EXPECT_STREQ("parcel", text);
	close(heap_fd);
	close(ticket);
	close(session);
	close(sockets[0]);
	close(sockets[1]);
	EXPECT_HEAP_GONE(number);
}

TEST_F(tickets, alone_keep_the_heap)
{
	__u64 number = self->heap.number, seen;
	int ticket = object_export(self->session, self->object);

	test_heap_close(&self->heap);
	sleep_us(100000);
	EXPECT_TRUE(heap_exists(number));
	EXPECT_VERIFIED(number);
	/* Nobody can join through it. */
	self->session = session_open();
	EXPECT_EQ(-EINVAL, heap_join(self->session, ticket));
	EXPECT_EQ(-ENOTCONN, ticket_redeem(self->session, ticket, &seen));
	close(self->session);
	close(ticket);
	EXPECT_HEAP_GONE(number);
}

TEST_F(tickets, of_another_heap_are_refused)
{
	struct test_heap stranger;
	int ticket = object_export(self->session, self->object);
	__u64 twin;

	ASSERT_EQ(0, test_heap_open(&stranger, 0));
	/* An object of the same name there makes no difference. */
	ASSERT_EQ(0, object_create(stranger.session, 0, "parcel", 7, NULL, 1, &twin));
	EXPECT_EQ(-EXDEV, ticket_redeem(stranger.session, ticket, NULL));
	EXPECT_EQ(1, external(stranger.session, twin));
	EXPECT_EQ(2, external(self->session, self->object));
	close(ticket);
	EXPECT_CLEAN_END(&stranger);
}

/* A descriptor of the device, a ticket and a heap are three kinds. */
TEST_F(tickets, take_no_operations)
{
	struct pyobjmem_query query = { .size = sizeof(query) };
	int ticket = object_export(self->session, self->object);
	char byte;

	EXPECT_EQ(-ENOTTY, operate(ticket, PYOBJMEM_OP_QUERY, &query));
	EXPECT_EQ(-ENOTTY, operate(self->heap.fd, PYOBJMEM_OP_QUERY, &query));
	EXPECT_GT(0, read(ticket, &byte, 1));
	EXPECT_GT(0, write(ticket, &byte, 1));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, POOL_BYTES, PROT_READ, MAP_SHARED, ticket, 0));
	close(ticket);
}

/* A long chain behind a ticket goes when it is closed. */
TEST_F(tickets, take_a_chain_along)
{
	__u64 head = self->object, next;
	int ticket, i;

	for (i = 0; i < 5000; i++) {
		ASSERT_EQ(0, object_create(self->session, 0, NULL, 0, &head, 1, &next));
		ASSERT_EQ(0, object_put(self->session, head));
		head = next;
	}
	ticket = object_export(self->session, head);
	ASSERT_EQ(0, object_put(self->session, head));
	EXPECT_EQ(5001, stats_objects(self->session));
	close(ticket);
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_HARNESS_MAIN
