// SPDX-License-Identifier: GPL-2.0
/*
 * Races of three and more: objects on the move while others collect, the last
 * users of a heap against who joins it, a ticket's last descriptor and its maker's
 * death against who redeems it. They begin together, each after a random delay.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#define MOVERS		2
#define BOXES		8	/* of each mover */
#define PARCELS		4	/* in them */
#define MOVING_MS	4000
#define WIDE		600	/* slots, to make collections long */
#define ROUNDS		300
#define DELAY		3000	/* turns of a loop */

/* What a parcel is known by; inside it is another object that only it names. */
struct label {
	__u32 mover;
	__u32 parcel;
	__u32 inside;
	__u32 unused;
};

struct move {
	struct test_heap heap;
	__u64 shelf;			/* names the boxes, held by all */
	__u64 box[MOVERS][BOXES];	/* held by who is at it */
	unsigned int at[MOVERS][PARCELS];	/* the box, known to its mover */
	__u64 wide;
	bool stop;
	char wrong[200];		/* the first that was */
	unsigned long moved;
	unsigned long seen;
	unsigned long collected;
};

struct mover {
	struct move *move;
	pthread_t thread;
	unsigned int number;
	int session;
	__u64 seed;
};

static bool stopped(const struct move *move)
{
	return __atomic_load_n(&move->stop, __ATOMIC_RELAXED);
}

static void wrong(struct move *move, const char *what, long rc)
{
	if (!__atomic_exchange_n(&move->stop, true, __ATOMIC_SEQ_CST))
		snprintf(move->wrong, sizeof(move->wrong), "%s: %ld", what, rc);
}

#define MUST(move, call) do {							\
	long __rc = (call);							\
										\
	if (__rc)								\
		wrong(move, #call, __rc);					\
} while (0)

static bool label_is(int session, __u64 handle, const struct label *expected)
{
	struct label label;

	return object_read(session, handle, 0, &label, sizeof(label)) == sizeof(label) &&
	       !memcmp(&label, expected, sizeof(label));
}

/* A parcel that can be reached is whole, and so is what is in it. */
static void check_parcel(struct move *move, int session, __u64 handle, unsigned int mover,
			 unsigned int parcel)
{
	struct label label = { .mover = mover, .parcel = parcel };
	__u64 inside = 0;

	if (!label_is(session, handle, &label))
		wrong(move, "not the parcel", parcel);
	MUST(move, ref_get(session, handle, 0, &inside));
	label.inside = 1;
	if (!label_is(session, inside, &label))
		wrong(move, "not what was in the parcel", parcel);
	MUST(move, object_put(session, inside));
}

static __u64 take_box(struct mover *mover, unsigned int whose, unsigned int box)
{
	__u32 slot = whose * BOXES + box;
	__u64 handle = 0;

	MUST(mover->move, ref_get(mover->session, mover->move->shelf, slot, &handle));
	return handle;
}

/*
 * Each moves its own parcels between its own boxes: out of one, so that nothing but
 * the hold keeps it, then into another, so that nothing but the slot does.
 */
static void move_parcel(struct mover *mover, unsigned int parcel, unsigned int to)
{
	struct move *move = mover->move;
	unsigned int *at = &move->at[mover->number][parcel];
	__u64 from_box = take_box(mover, mover->number, *at), to_box, handle = 0, there = 0;

	MUST(move, ref_get(mover->session, from_box, 0, &handle));
	MUST(move, ref_set(mover->session, from_box, 0, 0, NULL));
	if (random_below(&mover->seed, 4) == 0)
		sleep_us(random_below(&mover->seed, 100));
	check_parcel(move, mover->session, handle, mover->number, parcel);
	to_box = take_box(mover, mover->number, to);
	if (ref_compare_set(mover->session, to_box, 0, 0, handle, &there))
		MUST(move, ref_set(mover->session, from_box, 0, handle, NULL));
	else
		*at = to;
	MUST(move, object_put(mover->session, to_box));
	MUST(move, object_put(mover->session, from_box));
	MUST(move, object_put(mover->session, handle));
}

static void *moves(void *argument)
{
	struct mover *mover = argument;

	while (!stopped(mover->move)) {
		move_parcel(mover, random_below(&mover->seed, PARCELS),
			    random_below(&mover->seed, BOXES));
		__atomic_fetch_add(&mover->move->moved, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Whoever looks sees a parcel or nothing, and what it has taken is whole. */
static void *looks(void *argument)
{
	struct mover *mover = argument;
	struct move *move = mover->move;
	struct label label;
	__u64 handle;

	while (!stopped(move)) {
		unsigned int whose = random_below(&mover->seed, MOVERS);
		__u64 box = take_box(mover, whose, random_below(&mover->seed, BOXES));

		handle = 0;
		MUST(move, ref_get(mover->session, box, 0, &handle));
		MUST(move, object_put(mover->session, box));
		if (!handle)
			continue;
		if (object_read(mover->session, handle, 0, &label, sizeof(label)) != sizeof(label))
			wrong(move, "a parcel that cannot be read", label.parcel);
		else
			check_parcel(move, mover->session, handle, whose, label.parcel);
		MUST(move, object_put(mover->session, handle));
		__atomic_fetch_add(&move->seen, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *collects(void *argument)
{
	struct mover *mover = argument;
	struct move *move = mover->move;
	struct pyobjmem_collect result = {};
	__u64 wide = 0;

	while (!stopped(move)) {
		/* Held and dropped, the wide object is a candidate again. */
		MUST(move, ref_get(mover->session, move->wide, 0, &wide));
		MUST(move, object_put(mover->session, wide));
		MUST(move, heap_collect(mover->session, random_below(&mover->seed, 3), &result));
		if (result.out_collected)
			wrong(move, "collected what was no garbage", result.out_collected);
		__atomic_fetch_add(&move->collected, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* A parcel: two objects that name each other, the second known to the first alone. */
static int create_parcel(struct move *move, unsigned int mover, unsigned int parcel)
{
	struct label label = { .mover = mover, .parcel = parcel };
	int session = move->heap.session, rc;
	__u64 outside, inside;

	rc = object_create(session, 0, &label, sizeof(label), NULL, 1, &outside);
	label.inside = 1;
	rc = rc ?: object_create(session, 0, &label, sizeof(label), &outside, 1, &inside) ?:
	     ref_set(session, outside, 0, inside, NULL) ?:
	     ref_set(session, move->box[mover][parcel], 0, outside, NULL) ?:
	     object_put(session, outside) ?: object_put(session, inside);
	move->at[mover][parcel] = parcel;
	return rc;
}

FIXTURE(many)
{
	struct move move;
	__u64 seed;
};

FIXTURE_SETUP(many)
{
	self->seed = random_seed();
	TH_LOG("seed %#llx", (unsigned long long)self->seed);
	ASSERT_EQ(0, test_heap_open(&self->move.heap, 0));
}

FIXTURE_TEARDOWN(many)
{
	EXPECT_CLEAN_END(&self->move.heap);
}

static void build_boxes(struct __test_metadata *_metadata, struct move *move)
{
	int session = move->heap.session;
	__u64 edges[WIDE], wide;
	unsigned int i, k;

	for (i = 0; i < MOVERS; i++) {
		for (k = 0; k < BOXES; k++)
			ASSERT_EQ(0, container_create(session, 1, &move->box[i][k]));
		for (k = 0; k < PARCELS; k++)
			ASSERT_EQ(0, create_parcel(move, i, k));
	}
	ASSERT_EQ(0, object_create(session, 0, NULL, 0, &move->box[0][0], MOVERS * BOXES,
				   &move->shelf));
	ASSERT_EQ(0, root_set(session, 0, move->shelf, NULL));
	/* The wide object names the boxes: what is in them is traced late. */
	for (i = 0; i < WIDE; i++)
		edges[i] = move->box[i % MOVERS][i / MOVERS % BOXES];
	ASSERT_EQ(0, object_create(session, 0, NULL, 0, edges, WIDE, &wide));
	ASSERT_EQ(0, object_create(session, 0, NULL, 0, &wide, 1, &move->wide));
	ASSERT_EQ(0, root_set(session, 1, move->wide, NULL));
	ASSERT_EQ(0, object_put(session, wide));
	for (i = 0; i < MOVERS * BOXES; i++)
		ASSERT_EQ(0, object_put(session, move->box[i / BOXES][i % BOXES]));
}

/* A session of its own that holds the shelf and what names the wide object. */
static int join_boxes(struct move *move)
{
	int session = test_heap_join(&move->heap);

	if (session < 0)
		return session;
	return root_get(session, 0, NULL) ?: root_get(session, 1, NULL) ?: session;
}

TEST_F_TIMEOUT(many, what_moves_is_never_freed, 120)
{
	static void *(* const functions[])(void *) = { moves, moves, collects, looks };
	struct mover mover[ARRAY_SIZE(functions)];
	struct move *move = &self->move;
	struct pyobjmem_stats stats;
	unsigned int i;

	build_boxes(_metadata, move);
	for (i = 0; i < ARRAY_SIZE(functions); i++) {
		mover[i] = (struct mover){ .move = move, .number = i, .seed = self->seed + i };
		mover[i].session = join_boxes(move);
		ASSERT_LE(0, mover[i].session);
	}
	for (i = 0; i < ARRAY_SIZE(functions); i++)
		ASSERT_EQ(0, pthread_create(&mover[i].thread, NULL, functions[i], &mover[i]));
	wait_until(stopped(move), MOVING_MS);
	move->stop = true;
	for (i = 0; i < ARRAY_SIZE(functions); i++)
		pthread_join(mover[i].thread, NULL);
	TH_LOG("%lu moved, %lu seen, %lu collections", move->moved, move->seen, move->collected);
	EXPECT_STREQ("", move->wrong);
	EXPECT_LT(100, move->moved);
	EXPECT_LT(10, move->collected);
	EXPECT_LT(10, move->seen);
	for (i = 0; i < ARRAY_SIZE(functions); i++)
		close(mover[i].session);
	ASSERT_TRUE(wait_until(stats_sessions(move->heap.session) == 1, SOON_MS));
	ASSERT_EQ(0, heap_stats(move->heap.session, &stats));
	EXPECT_EQ(MOVERS * (BOXES + 2 * PARCELS) + 3, stats.out_objects);
	EXPECT_EQ(2, stats.out_holds);
}

/* --- Three at once --------------------------------------------------------------- */

struct crowd {
	pthread_barrier_t start;
	struct test_heap heap;
	int joiner;
	int ticket;
	struct child maker;
	int rc[3];
	__u64 handle;
};

struct one {
	struct crowd *crowd;
	pthread_t thread;
	unsigned int number;
	unsigned int delay;
	int (*does)(struct crowd *crowd);
};

static void *one_does(void *argument)
{
	struct one *one = argument;
	unsigned int turn;

	pthread_barrier_wait(&one->crowd->start);
	for (turn = 0; turn < one->delay; turn++)
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	one->crowd->rc[one->number] = one->does(one->crowd);
	return NULL;
}

static void all_do(struct __test_metadata *_metadata, struct crowd *crowd, __u64 *seed,
		   int (* const does[3])(struct crowd *crowd))
{
	struct one one[3];
	unsigned int i;

	ASSERT_EQ(0, pthread_barrier_init(&crowd->start, NULL, 3));
	for (i = 0; i < 3; i++) {
		one[i] = (struct one){ .crowd = crowd, .number = i, .does = does[i] };
		one[i].delay = random_below(seed, DELAY);
		ASSERT_EQ(0, pthread_create(&one[i].thread, NULL, one_does, &one[i]));
	}
	for (i = 0; i < 3; i++)
		pthread_join(one[i].thread, NULL);
	pthread_barrier_destroy(&crowd->start);
}

static int joins(struct crowd *crowd)
{
	return heap_join(crowd->joiner, crowd->heap.fd);
}

static int closes_heap(struct crowd *crowd)
{
	return close(crowd->heap.fd) ? -errno : 0;
}

static int leaves(struct crowd *crowd)
{
	return session_leave(crowd->heap.session);
}

/* Who joins has the heap and all that is in it, or there is none any more. */
TEST_F_TIMEOUT(many, join_against_the_last_users, 120)
{
	static int (* const does[])(struct crowd *) = { joins, closes_heap, leaves };
	unsigned int round, joined = 0;
	struct crowd crowd;
	__u64 handle;
	char text[8];

	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, test_heap_open(&crowd.heap, 0));
		ASSERT_EQ(0, object_create(crowd.heap.session, 0, "there", 6, NULL, 1, &handle));
		ASSERT_EQ(0, ref_set(crowd.heap.session, handle, 0, handle, NULL));
		ASSERT_EQ(0, root_set(crowd.heap.session, 0, handle, NULL));
		crowd.joiner = session_open();
		ASSERT_LE(0, crowd.joiner);
		all_do(_metadata, &crowd, &self->seed, does);
		EXPECT_EQ(0, crowd.rc[1]);
		EXPECT_EQ(0, crowd.rc[2]);
		if (crowd.rc[0]) {
			EXPECT_EQ(-EBADF, crowd.rc[0]);
		} else {
			ASSERT_EQ(0, root_get(crowd.joiner, 0, &handle));
			ASSERT_EQ(6, object_read(crowd.joiner, handle, 0, text, sizeof(text)));
			EXPECT_STREQ("there", text);
			EXPECT_EQ(1, stats_sessions(crowd.joiner));
			EXPECT_VERIFIED(crowd.heap.number);
			joined++;
		}
		close(crowd.joiner);
		close(crowd.heap.session);
		EXPECT_HEAP_GONE(crowd.heap.number);
	}
	TH_LOG("joined in %u of %u rounds", joined, round);
	EXPECT_LT(0, joined);
	EXPECT_GT(round, joined);
}

static int redeems(struct crowd *crowd)
{
	return ticket_redeem(crowd->heap.session, crowd->ticket, &crowd->handle);
}

static int closes_ticket(struct crowd *crowd)
{
	return close(crowd->ticket) ? -errno : 0;
}

static int kills_maker(struct crowd *crowd)
{
	return child_kill(&crowd->maker);
}

struct maker {
	struct test_heap *heap;
	int socket;
};

/* A ticket of an object that only its maker holds; the sender keeps no copy. */
static int makes_a_ticket(struct child_side *side)
{
	struct maker *maker = side->argument;
	int session, ticket;
	__u64 handle;

	close(maker->heap->session);
	session = test_heap_join(maker->heap);
	CHILD_CHECK(session >= 0);
	CHILD_CHECK(!object_create(session, 0, "there", 6, NULL, 1, &handle));
	CHILD_CHECK(!ref_set(session, handle, 0, handle, NULL));
	ticket = object_export(session, handle);
	CHILD_CHECK(ticket >= 0);
	CHILD_CHECK(!descriptor_send(maker->socket, ticket));
	close(ticket);
	child_ready(side);
	for (;;)
		pause();
}

/* Who redeems has the object, or it has gone with the last that kept it. */
TEST_F_TIMEOUT(many, redeem_against_close_and_the_makers_death, 120)
{
	static int (* const does[])(struct crowd *) = { redeems, closes_ticket, kills_maker };
	struct crowd crowd = { .heap = self->move.heap };
	int session = crowd.heap.session, sockets[2];
	unsigned int round, redeemed = 0;
	struct maker maker;
	char text[8];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets));
	maker = (struct maker){ .heap = &self->move.heap, .socket = sockets[0] };
	for (round = 0; round < ROUNDS / 3; round++) {
		ASSERT_EQ(0, child_start(&crowd.maker, makes_a_ticket, &maker));
		ASSERT_TRUE(child_wait_ready(&crowd.maker));
		crowd.ticket = descriptor_receive(sockets[1]);
		ASSERT_LE(0, crowd.ticket);
		all_do(_metadata, &crowd, &self->seed, does);
		EXPECT_EQ(0, crowd.rc[1]);
		EXPECT_EQ(-SIGKILL, crowd.rc[2]);
		if (crowd.rc[0]) {
			EXPECT_EQ(-EBADF, crowd.rc[0]);
		} else {
			ASSERT_EQ(6, object_read(session, crowd.handle, 0, text, sizeof(text)));
			EXPECT_STREQ("there", text);
			EXPECT_EQ(0, object_put(session, crowd.handle));
			redeemed++;
		}
		ASSERT_EQ(0, heap_collect(session, 2, NULL));
		ASSERT_EQ(0, stats_objects(session));
		ASSERT_EQ(0, stats_tickets(session));
		ASSERT_EQ(1, stats_sessions(session));
		ASSERT_VERIFIED(crowd.heap.number);
	}
	TH_LOG("redeemed in %u of %u rounds", redeemed, round);
	EXPECT_LT(0, redeemed);
	EXPECT_GT(round, redeemed);
	close(sockets[0]);
	close(sockets[1]);
}

TEST_HARNESS_MAIN
