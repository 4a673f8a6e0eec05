// SPDX-License-Identifier: GPL-2.0
/*
 * Death: a process is killed in whatever state it is, and exactly its holds go
 * with it, and soon. With death_copy.c, death_pairs.c, death_watch.c and the exec
 * of ending.c these are over 1,000 kills; PYOBJMEM_KILLS in the environment is another number.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "death.h"

/* All victims here have one thread. */
#define DOES(call) INSIDE(death, 0, call)

FIXTURE(death)
{
	struct death death;
};

FIXTURE_SETUP(death)
{
	death_begin(_metadata, &self->death);
}

FIXTURE_TEARDOWN(death)
{
	death_end(_metadata, &self->death);
}

/* --- States in which a process is killed ----------------------------------- */

/* Thousands of objects held, taken several times. */
static int holding_much(struct child_side *side)
{
	int session = join_in_child(side);
	__u64 edges[3] = { 0 }, next;
	unsigned int i;

	CHILD_CHECK(!root_get(session, 0, &edges[0]));
	for (i = 0; i < 3000; i++) {
		CHILD_CHECK(!object_create(session, i & 1, NULL, i % 700, edges, 1 + i % 3,
					   &next));
		CHILD_CHECK(!object_get(session, next));
		if (i % 5 == 0)
			edges[i % 3] = next;
	}
	child_ready(side);
	wait_for_death();
}

/* Lists grow and are dropped, all the time. */
static int building(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	__u64 head = 0, next;
	unsigned int i;

	child_ready(side);
	for (i = 1;; i++) {
		CHILD_CHECK(!DOES(object_create(session, i & 1, "payload", 8, &head, 1, &next)));
		if (head)
			CHILD_CHECK(!object_put(session, head));
		head = next;
		if (i % 500 == 0) {
			CHILD_CHECK(!object_put(session, head));
			head = 0;
		}
	}
}

static int in_batches(struct child_side *side)
{
	struct death *death = side->argument;
	struct pyobjmem_batch_entry *entries = calloc(PYOBJMEM_BATCH_MAX, sizeof(*entries));
	__u64 *handle = calloc(PYOBJMEM_BATCH_MAX, sizeof(*handle));
	int session = join_in_child(side);
	unsigned int i;

	child_ready(side);
	for (;;) {
		for (i = 0; i < PYOBJMEM_BATCH_MAX; i++)
			entries[i] = entry_create(i & 1, "payload", 8, 1);
		CHILD_CHECK(!DOES(batch_run(session, entries, PYOBJMEM_BATCH_MAX, 0, NULL)));
		for (i = 0; i < PYOBJMEM_BATCH_MAX; i++) {
			handle[i] = entries[i].command.create.out_handle;
			entries[i] = entry_set_ref(handle[i], 0, i ? handle[i - 1] : 0);
		}
		CHILD_CHECK(!DOES(batch_run(session, entries, PYOBJMEM_BATCH_MAX, 0, NULL)));
		for (i = 0; i < PYOBJMEM_BATCH_MAX; i++)
			entries[i] = entry_put(handle[i]);
		CHILD_CHECK(!DOES(batch_run(session, entries, PYOBJMEM_BATCH_MAX, 0, NULL)));
	}
}

/* Down the list under the root, taking and giving back. */
static int walking(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	__u64 handle, next;
	char text[8];

	child_ready(side);
	for (;;) {
		CHILD_CHECK(!root_get(session, 0, &handle));
		while (handle) {
			CHILD_CHECK(DOES(object_read(session, handle, 0, text, 6)) == 6);
			CHILD_CHECK(!DOES(ref_get(session, handle, 0, &next)));
			CHILD_CHECK(!object_put(session, handle));
			handle = next;
		}
	}
}

/* Rings of some size die and are collected. */
static int collecting(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	unsigned int i;

	child_ready(side);
	for (i = 0;; i++) {
		ring_drop(session, 401);
		CHILD_CHECK(!DOES(heap_collect(session, i % 3, NULL)));
	}
}

/* A chain of thousands goes with one PUT. */
static int dropping(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	__u64 head, next;
	unsigned int i;

	child_ready(side);
	for (;;) {
		CHILD_CHECK(!container_create(session, 1, &head));
		for (i = 0; i < 3000; i++) {
			CHILD_CHECK(!object_create(session, 0, NULL, 8, &head, 1, &next));
			CHILD_CHECK(!object_put(session, head));
			head = next;
		}
		CHILD_CHECK(!DOES(object_put(session, head)));
	}
}

/* Tickets into the air: some in the queue, some open. */
static int exporting(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	int ticket, kept = -1;
	__u64 handle;

	fcntl(death->sockets[0], F_SETFL, O_NONBLOCK);
	child_ready(side);
	for (;;) {
		CHILD_CHECK(!object_create(session, 0, NULL, 32, NULL, 1, &handle));
		ticket = object_export(session, handle);
		CHILD_CHECK(ticket >= 0);
		if (descriptor_send(death->sockets[0], ticket))
			sleep_us(200);
		CHILD_CHECK(!ticket_redeem(session, ticket, &handle));
		if (kept >= 0)
			close(kept);
		kept = ticket;
		CHILD_CHECK(!object_put(session, handle));
		CHILD_CHECK(!object_put(session, handle));
	}
}

/* Open, join, create, leave or close, again and again. */
static int coming_and_going(struct child_side *side)
{
	struct death *death = side->argument;
	unsigned int i;
	int session;

	close(death->heap.session);
	child_ready(side);
	for (i = 0;; i++) {
		session = DOES(test_heap_join(&death->heap));
		CHILD_CHECK(session >= 0);
		CHILD_CHECK(!root_get(session, 0, NULL));
		CHILD_CHECK(!container_create(session, 1, NULL));
		if (i & 1)
			CHILD_CHECK(!session_leave(session));
		close(session);
	}
}

/* Large payloads: many pages under way. */
static int writing_much(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	char *buffer = calloc(1, 300000);
	__u64 handle;

	child_ready(side);
	for (;;) {
		CHILD_CHECK(!object_create(session, PYOBJMEM_CREATE_MUTABLE, buffer, 300000, NULL,
					   300, &handle));
		CHILD_CHECK(DOES(object_write(session, handle, 1, buffer, 200000)) == 200000);
		CHILD_CHECK(DOES(object_read(session, handle, 1, buffer, 200000)) == 200000);
		CHILD_CHECK(!object_put(session, handle));
	}
}

/* Fill the queue with tickets, whose objects nothing else keeps. */
static int filling_a_queue(struct child_side *side)
{
	struct death *death = side->argument;
	int session = join_in_child(side);
	unsigned int sent = 0;
	int ticket, rc;
	__u64 handle;

	CHILD_CHECK(!fcntl(death->sockets[0], F_SETFL, O_NONBLOCK));
	do {
		CHILD_CHECK(!object_create(session, 0, NULL, 32, NULL, 1, &handle));
		CHILD_CHECK(!ref_set(session, handle, 0, handle, NULL));
		ticket = object_export(session, handle);
		CHILD_CHECK(ticket >= 0);
		CHILD_CHECK(!object_put(session, handle));
		rc = descriptor_send(death->sockets[0], ticket);
		close(ticket);
		sent += !rc;
	} while (!rc);
	CHILD_CHECK(rc == -EAGAIN && sent);
	child_says(side, &sent, sizeof(sent));
	wait_for_death();
}

/* The same, and both ends of the queue are its own. */
static int filling_its_own_queue(struct child_side *side)
{
	struct death *death = side->argument;

	close(death->sockets[0]);
	close(death->sockets[1]);
	CHILD_CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, death->sockets));
	return filling_a_queue(side);
}

/* --- Kills ------------------------------------------------------------------ */

/*
 * At a random moment. With @least, so many of 100 must die in the operation that
 * the state is called after.
 */
static void kill_in(struct __test_metadata *_metadata, struct death *death,
		    int (*state)(struct child_side *), unsigned int kills, unsigned int least)
{
	unsigned int i, met = 0;
	struct child child;

	for (i = 0; i < kills; i++) {
		death->at_death->inside[0] = 0;
		ASSERT_EQ(0, child_start(&child, state, death));
		ASSERT_TRUE(child_wait_ready(&child));
		sleep_us(random_below(&death->seed, 20000));
		if (least)
			meet(death, 1);
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		met += inside(death, 0);
		drain(death);
		/* But for rings nothing that it left needs the collector. */
		if (state != collecting)
			ASSERT_TRUE(wait_until(stats_objects(death->session) == BASELINE, SOON_MS));
		expect_baseline(_metadata, death);
	}
	TH_LOG("%u kills, %u of them in the operation", kills, met);
	if (kills >= 10)
		EXPECT_LE(least * kills, met * 100);
}

TEST_F_TIMEOUT(death, idle, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, idle, kills_of(52), 0);
}

TEST_F_TIMEOUT(death, holding_thousands_of_objects, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, holding_much, kills_of(20), 0);
}

TEST_F_TIMEOUT(death, building, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, building, kills_of(60), 10);
}

TEST_F_TIMEOUT(death, in_batches, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, in_batches, kills_of(60), 30);
}

TEST_F_TIMEOUT(death, walking, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, walking, kills_of(60), 10);
}

TEST_F_TIMEOUT(death, collecting, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, collecting, kills_of(60), 10);
}

TEST_F_TIMEOUT(death, dropping_a_chain, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, dropping, kills_of(40), 30);
}

TEST_F_TIMEOUT(death, with_tickets_in_the_air, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, exporting, kills_of(40), 0);
}

TEST_F_TIMEOUT(death, coming_and_going, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, coming_and_going, kills_of(60), 5);
}

TEST_F_TIMEOUT(death, with_large_payloads, DEATH_SECONDS)
{
	kill_in(_metadata, &self->death, writing_much, kills_of(40), 10);
}

/*
 * The tickets are in the queue for sure: they are counted there after the
 * victim's death, and what they name lives, though it is garbage but for them.
 */
TEST_F_TIMEOUT(death, with_tickets_in_a_queue_that_stays, DEATH_SECONDS)
{
	unsigned int kills = kills_of(50), sent, i;
	struct death *death = &self->death;
	struct child child;
	__u64 handle;
	int ticket;

	for (i = 0; i < kills; i++) {
		ASSERT_EQ(0, child_start(&child, filling_a_queue, death));
		ASSERT_TRUE(child_hear(&child, &sent, sizeof(sent)));
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		ASSERT_TRUE(wait_until(stats_sessions(death->session) == 1, SOON_MS));
		ASSERT_EQ(0, heap_collect(death->session, 2, NULL));
		ASSERT_TRUE(wait_until(stats_tickets(death->session) == sent, SOON_MS));
		ASSERT_EQ(BASELINE + sent, stats_objects(death->session));
		ASSERT_VERIFIED(death->heap.number);
		ticket = descriptor_receive(death->sockets[1]);
		ASSERT_LE(0, ticket);
		ASSERT_EQ(0, ticket_redeem(death->session, ticket, &handle));
		close(ticket);
		ASSERT_EQ(0, object_put(death->session, handle));
		ASSERT_EQ(sent - 1, drain(death));
		expect_baseline(_metadata, death);
	}
}

/* With the queue's last end the tickets in it go, in a work of the kernel. */
TEST_F_TIMEOUT(death, with_tickets_in_a_queue_that_goes, DEATH_SECONDS)
{
	unsigned int kills = kills_of(40), sent, i;
	struct death *death = &self->death;
	struct child child;

	for (i = 0; i < kills; i++) {
		ASSERT_EQ(0, child_start(&child, filling_its_own_queue, death));
		ASSERT_TRUE(child_hear(&child, &sent, sizeof(sent)));
		/* The last one did not fit into the queue: a cycle. */
		ASSERT_EQ(BASELINE + sent + 1, stats_objects(death->session));
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		ASSERT_TRUE(wait_until(stats_tickets(death->session) == 0, SOON_MS));
		expect_baseline(_metadata, death);
	}
}

/* Several at once, each doing something else, one killed after the other. */
TEST_F_TIMEOUT(death, one_of_several, DEATH_SECONDS)
{
	static int (* const states[])(struct child_side *) = {
		building, in_batches, walking, collecting, dropping, coming_and_going,
	};
	unsigned int rounds = (kills_of(30) + ARRAY_SIZE(states) - 1) / ARRAY_SIZE(states), round;
	struct child child[ARRAY_SIZE(states)];
	struct death *death = &self->death;
	size_t i;

	for (round = 0; round < rounds; round++) {
		for (i = 0; i < ARRAY_SIZE(states); i++) {
			ASSERT_EQ(0, child_start(&child[i], states[i], death));
			ASSERT_TRUE(child_wait_ready(&child[i]));
		}
		for (i = 0; i < ARRAY_SIZE(states); i++) {
			sleep_us(random_below(&death->seed, 50000));
			ASSERT_EQ(-SIGKILL, child_kill(&child[i]));
			ASSERT_VERIFIED(death->heap.number);
		}
		expect_baseline(_metadata, death);
	}
}

TEST_HARNESS_MAIN
