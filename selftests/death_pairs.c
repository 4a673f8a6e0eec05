// SPDX-License-Identifier: GPL-2.0
/*
 * Death with a thread in each of two operations: all pairs of some that take long
 * or take more than one step. Whether both threads were in theirs when the kill
 * came is told by what they had noted in shared memory.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "death.h"

#define LARGE		65536U
#define ENTRIES		128
#define RING		300

/* One of the two threads. */
struct worker {
	struct death *death;
	unsigned int number;
	int session;		/* of both */
	__u64 shared;		/* a container that both hold */
	void (*works)(struct worker *worker);
};

#define DOES(worker, call) INSIDE((worker)->death, (worker)->number, call)

static void set_refs(struct worker *worker)
{
	__u64 handle;

	CHILD_CHECK(!container_create(worker->session, 1, &handle));
	CHILD_CHECK(!ref_set(worker->session, handle, 0, worker->shared, NULL));
	CHILD_CHECK(!DOES(worker, ref_set(worker->session, worker->shared, worker->number, handle,
					  NULL)));
	CHILD_CHECK(!DOES(worker, ref_set(worker->session, worker->shared, worker->number, 0,
					  NULL)));
	CHILD_CHECK(!object_put(worker->session, handle));
}

static void batches(struct worker *worker)
{
	struct pyobjmem_batch_entry entries[ENTRIES];
	__u64 handle[ENTRIES];
	unsigned int i;

	for (i = 0; i < ENTRIES; i++)
		entries[i] = entry_create(i & 1, "payload", 8, 1);
	CHILD_CHECK(!DOES(worker, batch_run(worker->session, entries, ENTRIES, 0, NULL)));
	for (i = 0; i < ENTRIES; i++) {
		handle[i] = entries[i].command.create.out_handle;
		entries[i] = entry_set_ref(handle[i], 0, i ? handle[i - 1] : 0);
	}
	CHILD_CHECK(!DOES(worker, batch_run(worker->session, entries, ENTRIES, 0, NULL)));
	for (i = 0; i < ENTRIES; i++)
		entries[i] = entry_put(handle[i]);
	CHILD_CHECK(!DOES(worker, batch_run(worker->session, entries, ENTRIES, 0, NULL)));
}

static void collects(struct worker *worker)
{
	__u64 first, last, next;
	unsigned int i;

	CHILD_CHECK(!container_create(worker->session, 1, &first));
	last = first;
	for (i = 0; i < RING; i++) {
		CHILD_CHECK(!object_create(worker->session, 0, NULL, 8, &last, 1, &next));
		if (last != first)
			CHILD_CHECK(!object_put(worker->session, last));
		last = next;
	}
	CHILD_CHECK(!ref_set(worker->session, first, 0, last, NULL));
	CHILD_CHECK(!object_put(worker->session, last));
	CHILD_CHECK(!object_put(worker->session, first));
	for (i = 0; i < 10; i++)
		CHILD_CHECK(!DOES(worker, heap_collect(worker->session, 2, NULL)));
}

static void reads(struct worker *worker)
{
	char *buffer = malloc(LARGE);
	__u64 handle;
	int i;

	CHILD_CHECK(!object_create(worker->session, PYOBJMEM_CREATE_MUTABLE, NULL, LARGE, NULL, 0,
				   &handle));
	for (i = 0; i < 10; i++)
		CHILD_CHECK(DOES(worker, object_read(worker->session, handle, 0, buffer,
						     LARGE)) == LARGE);
	CHILD_CHECK(!object_put(worker->session, handle));
	free(buffer);
}

static void tickets(struct worker *worker)
{
	__u64 handle;
	int ticket;

	CHILD_CHECK(!container_create(worker->session, 1, &handle));
	ticket = DOES(worker, object_export(worker->session, handle));
	CHILD_CHECK(ticket >= 0);
	CHILD_CHECK(!object_put(worker->session, handle));
	CHILD_CHECK(!DOES(worker, ticket_redeem(worker->session, ticket, &handle)));
	CHILD_CHECK(!DOES(worker, close(ticket)));
	CHILD_CHECK(!object_put(worker->session, handle));
}

/* With sessions of its own */
static void joins(struct worker *worker)
{
	int session = DOES(worker, test_heap_join(&worker->death->heap));

	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!root_get(session, 0, NULL));
	CHILD_CHECK(!container_create(session, 1, NULL));
	CHILD_CHECK(!DOES(worker, session_leave(session)));
	close(session);
}

static const struct {
	const char *name;
	void (*works)(struct worker *worker);
} operations[] = {
	{ "SET_REF", set_refs },
	{ "BATCH", batches },
	{ "COLLECT", collects },
	{ "READ", reads },
	{ "EXPORT and REDEEM", tickets },
	{ "JOIN and LEAVE", joins },
};

/* Of 1,000 kills, those of each pair */
#define KILLS	8
/* and of a pair that is slow to be in both at once */
#define TRIES	200
#define PAIRS	(ARRAY_SIZE(operations) * (ARRAY_SIZE(operations) + 1) / 2)

/* --- Victims ----------------------------------------------------------------- */

struct pair {
	struct death *death;
	size_t operation[WORKERS];
};

static void *work(void *argument)
{
	struct worker *worker = argument;

	for (;;)
		worker->works(worker);
	return NULL;
}

static int two_at_work(struct child_side *side)
{
	struct pair *pair = side->argument;
	struct worker worker[WORKERS];
	pthread_t thread;
	unsigned int i;

	side->argument = pair->death;
	worker[0].session = join_in_child(side);
	CHILD_CHECK(!container_create(worker[0].session, WORKERS, &worker[0].shared));
	for (i = 0; i < WORKERS; i++) {
		worker[i] = worker[0];
		worker[i].death = pair->death;
		worker[i].number = i;
		worker[i].works = operations[pair->operation[i]].works;
	}
	for (i = 0; i < WORKERS; i++)
		CHILD_CHECK(!pthread_create(&thread, NULL, work, &worker[i]));
	child_ready(side);
	wait_for_death();
}

/* --- Kills ------------------------------------------------------------------- */

FIXTURE(pairs)
{
	struct death death;
};

FIXTURE_SETUP(pairs)
{
	death_begin(_metadata, &self->death);
}

FIXTURE_TEARDOWN(pairs)
{
	death_end(_metadata, &self->death);
}

static unsigned int kill_pair(struct __test_metadata *_metadata, struct pair *pair)
{
	struct death *death = pair->death;
	struct child child;

	memset(death->at_death, 0, sizeof(*death->at_death));
	ASSERT_EQ(0, child_start(&child, two_at_work, pair)) return 0;
	ASSERT_TRUE(child_wait_ready(&child)) return 0;
	sleep_us(random_below(&death->seed, 10000));
	meet(death, WORKERS);
	ASSERT_EQ(-SIGKILL, child_kill(&child)) return 0;
	expect_baseline(_metadata, death);
	return inside(death, 0) && inside(death, 1);
}

TEST_F_TIMEOUT(pairs, die_in_both_operations, DEATH_SECONDS)
{
	unsigned int kills = kills_of(KILLS * PAIRS) / PAIRS ?: 1, i, both, all = 0;
	struct pair pair = { .death = &self->death };
	size_t a, b;

	for (a = 0; a < ARRAY_SIZE(operations); a++) {
		for (b = a; b < ARRAY_SIZE(operations); b++) {
			TH_LOG("%s and %s", operations[a].name, operations[b].name);
			pair.operation[0] = a;
			pair.operation[1] = b;
			for (i = both = 0; i < kills || (!both && i < TRIES); i++)
				both += kill_pair(_metadata, &pair);
			TH_LOG("%u kills, %u of them in both", i, both);
			EXPECT_LT(0, both);
			all += both;
		}
	}
	EXPECT_LE(kills * PAIRS / 8, all);
}

TEST_HARNESS_MAIN
