// SPDX-License-Identifier: GPL-2.0
/*
 * Eight processes at work on one graph, all operations mixed, and every 100 ms one
 * of them, any, is killed and replaced. Now and then all go, and nothing is left.
 *
 * PYOBJMEM_SOAK_SECONDS in the environment is how long. One line every ten seconds
 * tells how far it is.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"

#define WORKERS		8
#define HELD		64	/* handles that a worker knows */
#define SLOTS		6
#define EVENTS		64	/* that are read at once */
#define WEAK_MOST	500	/* weak holds and finalizers of a worker */
#define OBJECTS_MOST	8000	/* then all begin anew */
#define LARGE		40000U
#define KILL_MS		100
#define SECONDS		10
#define ROUND_S		8
#define TELL_S		10
#define STUCK_S		30	/* no operation of anybody for so long */

/* What all processes see. */
struct shared {
	struct test_heap heap;
	int sockets[2];
	bool stop;
	bool failed;
	unsigned int prune;		/* counts the times that all drop all */
	unsigned long operations[WORKERS];
	char wrong[200];		/* the first answer that should not be */
};

struct worker {
	struct shared *shared;
	unsigned int number;
	__u64 seed;
	int session;
	__u64 handle[HELD];		/* held once for each entry, or 0 */
	__u64 weak[HELD];		/* held weakly once, with its index as the cookie, or 0 */
	char buffer[LARGE];
};

/* --- Answers ----------------------------------------------------------------- */

static void wrong(struct shared *shared, const char *what, long rc)
{
	if (!__atomic_exchange_n(&shared->failed, true, __ATOMIC_SEQ_CST))
		snprintf(shared->wrong, sizeof(shared->wrong), "%s gave %ld", what, rc);
	__atomic_store_n(&shared->stop, true, __ATOMIC_SEQ_CST);
}

/* What a worker holds, nobody else can take from it: nothing may fail. */
#define MUST(worker, call) ({							\
	long __rc = (call);							\
										\
	if (__rc)								\
		wrong((worker)->shared, #call, __rc);				\
	!__rc;									\
})

/* A payload tells its length and key, and follows from them. */
static void make_payload(struct worker *worker, __u32 length)
{
	__u64 key = random_next(&worker->seed);

	fill_pattern(worker->buffer, length, key);
	memcpy(worker->buffer, &key, sizeof(key));
}

static void check_payload(struct worker *worker, __u64 handle)
{
	ssize_t got = object_read(worker->session, handle, 0, worker->buffer, LARGE);
	__u64 key, first, state;

	if (got < (ssize_t)sizeof(key)) {
		wrong(worker->shared, "READ", got);
		return;
	}
	memcpy(&key, worker->buffer, sizeof(key));
	state = key * 0x9e3779b97f4a7c15ULL + 1;
	first = random_next(&state);
	memcpy(worker->buffer, &first, sizeof(first));
	if (!has_pattern(worker->buffer, got, key))
		wrong(worker->shared, "another payload", got);
}

/* --- What a worker does -------------------------------------------------------- */

static __u64 *entry(struct worker *worker)
{
	return &worker->handle[random_below(&worker->seed, HELD)];
}

/* Keep a hold just gained in the place of another. */
static void keep(struct worker *worker, __u64 handle)
{
	__u64 *place = entry(worker);

	if (*place)
		MUST(worker, object_put(worker->session, *place));
	*place = handle;
}

static void creates(struct worker *worker)
{
	static const __u32 lengths[] = { 8, 24, 100, 400, 1000, 4000, LARGE };
	__u32 length = lengths[random_below(&worker->seed, ARRAY_SIZE(lengths))];
	__u32 mutable = length <= 4000 && random_below(&worker->seed, 3) == 0;
	__u64 edges[SLOTS] = {}, handle = 0;
	unsigned int i;

	if (length > 1000 && random_below(&worker->seed, 4))
		length = 16;
	for (i = 0; i < SLOTS / 2; i++)
		edges[i] = *entry(worker);
	make_payload(worker, length);
	if (MUST(worker, object_create(worker->session, mutable ? PYOBJMEM_CREATE_MUTABLE : 0,
				       worker->buffer, length, edges, SLOTS, &handle)))
		keep(worker, handle);
}

static void sets_ref(struct worker *worker)
{
	__u64 handle = *entry(worker);
	__u64 value = random_below(&worker->seed, 3) ? *entry(worker) : 0;

	if (handle)
		MUST(worker, ref_set(worker->session, handle, random_below(&worker->seed, SLOTS),
				     value, NULL));
}

static void gets_ref(struct worker *worker)
{
	__u64 handle = *entry(worker), value = 0;

	if (handle && MUST(worker, ref_get(worker->session, handle,
					   random_below(&worker->seed, SLOTS), &value)) && value)
		keep(worker, value);
}

static void sets_root(struct worker *worker)
{
	__u64 handle = random_below(&worker->seed, 4) ? *entry(worker) : 0;

	MUST(worker, root_set(worker->session, random_below(&worker->seed, PYOBJMEM_ROOTS),
			      handle, NULL));
}

static void gets_root(struct worker *worker)
{
	__u64 handle = 0;

	if (MUST(worker, root_get(worker->session, random_below(&worker->seed, PYOBJMEM_ROOTS),
				  &handle)) && handle)
		keep(worker, handle);
}

static void puts_one(struct worker *worker)
{
	keep(worker, 0);
}

static void reads(struct worker *worker)
{
	__u64 handle = *entry(worker);

	if (handle)
		check_payload(worker, handle);
}

/* Wholly, so that others never see a half: what is mutable fits into one piece. */
static void writes(struct worker *worker)
{
	struct pyobjmem_inspect inspect;
	__u64 handle = *entry(worker);

	if (!handle || !MUST(worker, object_inspect(worker->session, handle, &inspect)) ||
	    !(inspect.out_flags & PYOBJMEM_CREATE_MUTABLE))
		return;
	make_payload(worker, inspect.out_payload);
	MUST(worker, object_write(worker->session, handle, 0, worker->buffer,
				  inspect.out_payload) != (ssize_t)inspect.out_payload);
}

static void sends(struct worker *worker)
{
	__u64 handle = *entry(worker);
	int ticket;

	if (!handle)
		return;
	ticket = object_export(worker->session, handle);
	if (ticket < 0) {
		wrong(worker->shared, "EXPORT", ticket);
		return;
	}
	descriptor_send(worker->shared->sockets[0], ticket);
	close(ticket);
}

static void receives(struct worker *worker)
{
	int ticket = descriptor_receive(worker->shared->sockets[1]);
	__u64 handle = 0;

	if (ticket < 0)
		return;
	if (MUST(worker, ticket_redeem(worker->session, ticket, &handle)))
		keep(worker, handle);
	close(ticket);
}

static void batches(struct worker *worker)
{
	struct pyobjmem_batch_entry entries[40];
	__u32 count = ARRAY_SIZE(entries), i;
	__u64 key = 0, first, state = 1, bytes[2];

	/* A payload for all, of key 0 */
	first = random_next(&state);
	bytes[0] = key;
	fill_pattern(worker->buffer, sizeof(bytes), key);
	memcpy(&bytes[1], worker->buffer + sizeof(first), sizeof(bytes[1]));
	for (i = 0; i < count; i++) {
		__u64 handle = *entry(worker);

		if (i % 4 == 0)
			entries[i] = entry_create(0, bytes, sizeof(bytes), SLOTS);
		else if (i % 4 == 1 && handle)
			entries[i] = entry_set_ref(handle, i % SLOTS, *entry(worker));
		else if (i % 4 == 2 && handle)
			entries[i] = entry_get_ref(handle, i % SLOTS);
		else
			entries[i] = entry_get_root(i);
	}
	if (!MUST(worker, batch_run(worker->session, entries, count, 0, NULL)))
		return;
	for (i = 0; i < count; i++) {
		const union pyobjmem_command *command = &entries[i].command;

		if (!MUST(worker, entries[i].out_result))
			return;
		if (entries[i].op == PYOBJMEM_OP_CREATE)
			keep(worker, command->create.out_handle);
		else if (entries[i].op == PYOBJMEM_OP_GET_REF)
			keep(worker, command->get_ref.out_handle);
		else if (entries[i].op == PYOBJMEM_OP_GET_ROOT)
			keep(worker, command->get_root.out_handle);
	}
}

/* Like any other, but that it comes back when nobody else wants it any more. */
static void creates_with_finalizer(struct worker *worker)
{
	__u64 edges[SLOTS] = { *entry(worker) }, handle = 0;

	if (stats_watches(worker->session) > WEAK_MOST)
		return;
	make_payload(worker, 16);
	if (MUST(worker, object_create(worker->session, PYOBJMEM_CREATE_FINALIZE, worker->buffer,
				       16, edges, SLOTS, &handle)))
		keep(worker, handle);
}

/* Instead of what was held weakly in that place, if that lives. */
static void holds_weakly(struct worker *worker)
{
	__u64 cookie = random_below(&worker->seed, HELD), *weak = &worker->weak[cookie];
	__u64 handle = *entry(worker);
	int rc = *weak ? weak_drop(worker->session, *weak, cookie) : 0;

	if (rc && rc != -ESTALE)
		wrong(worker->shared, "WEAK_DROP", rc);
	*weak = handle;
	if (handle)
		MUST(worker, weak_hold(worker->session, handle, cookie));
}

static void upgrades(struct worker *worker)
{
	__u64 *weak = &worker->weak[random_below(&worker->seed, HELD)];
	int rc;

	if (!*weak)
		return;
	rc = weak_upgrade(worker->session, *weak);
	if (!rc) {
		check_payload(worker, *weak);
		keep(worker, *weak);
	} else if (rc == -ESTALE) {
		*weak = 0;
	} else {
		wrong(worker->shared, "UPGRADE", rc);
	}
}

static void event_comes(struct worker *worker, const struct pyobjmem_event *event)
{
	switch (event->type) {
	case PYOBJMEM_EVENT_FINALIZE:
		/* Its finalizer lets some of them live on. */
		check_payload(worker, event->handle);
		keep(worker, event->handle);
		break;
	case PYOBJMEM_EVENT_WEAK_DEAD:
		if (event->cookie >= HELD)
			wrong(worker->shared, "a cookie", event->cookie);
		else if (worker->weak[event->cookie] == event->handle)
			worker->weak[event->cookie] = 0;
		break;
	default:
		wrong(worker->shared, "a type of event", event->type);
	}
}

static void reads_events(struct worker *worker)
{
	struct pyobjmem_event events[EVENTS];
	int i, n = events_read(worker->session, events, EVENTS);

	if (n < 0)
		wrong(worker->shared, "read", n);
	for (i = 0; i < n; i++)
		event_comes(worker, &events[i]);
}

static void collects(struct worker *worker)
{
	MUST(worker, heap_collect(worker->session, random_below(&worker->seed, 3), NULL));
}

static void freezes(struct worker *worker)
{
	if (random_below(&worker->seed, 10) == 0)
		MUST(worker, heap_freeze(worker->session));
	else
		MUST(worker, heap_unfreeze(worker->session));
}

/* Another session of this process comes, takes something, and goes. */
static void comes_and_goes(struct worker *worker)
{
	int session = test_heap_join(&worker->shared->heap);

	if (session < 0) {
		wrong(worker->shared, "join", session);
		return;
	}
	MUST(worker, root_get(session, random_below(&worker->seed, PYOBJMEM_ROOTS), NULL));
	MUST(worker, container_create(session, 1, NULL));
	if (random_below(&worker->seed, 2))
		MUST(worker, session_leave(session));
	close(session);
}

static const struct {
	void (*does)(struct worker *worker);
	unsigned int often;
} mix[] = {
	{ creates, 10 }, { sets_ref, 18 }, { gets_ref, 18 }, { sets_root, 6 }, { gets_root, 8 },
	{ puts_one, 8 }, { reads, 8 }, { writes, 4 }, { sends, 4 }, { receives, 4 },
	{ batches, 1 }, { collects, 1 }, { freezes, 1 }, { comes_and_goes, 1 },
	{ creates_with_finalizer, 2 }, { holds_weakly, 2 }, { upgrades, 2 }, { reads_events, 2 },
};

static void drop_all(struct worker *worker)
{
	unsigned int i;

	reads_events(worker);

	for (i = 0; i < HELD; i++) {
		if (worker->handle[i])
			MUST(worker, object_put(worker->session, worker->handle[i]));
		worker->handle[i] = 0;
	}
}

/* The graph grows as long as it is reached: then roots and holds go. */
static void prune(struct worker *worker, unsigned int *seen)
{
	unsigned int now, root;

	if (stats_objects(worker->session) > OBJECTS_MOST)
		__atomic_compare_exchange_n(&worker->shared->prune, seen, *seen + 1, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	now = __atomic_load_n(&worker->shared->prune, __ATOMIC_SEQ_CST);
	if (now == *seen && stats_objects(worker->session) <= OBJECTS_MOST)
		return;
	*seen = now;
	for (root = 0; root < PYOBJMEM_ROOTS; root++)
		MUST(worker, root_set(worker->session, root, 0, NULL));
	drop_all(worker);
	MUST(worker, heap_unfreeze(worker->session));
	MUST(worker, heap_collect(worker->session, 2, NULL));
}

static int works(struct child_side *side)
{
	struct worker *worker = side->argument;
	struct shared *shared = worker->shared;
	unsigned int seen = shared->prune, choice, i;

	close(shared->heap.session);
	worker->session = test_heap_join(&shared->heap);
	CHILD_CHECK(worker->session >= 0);
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		choice = random_below(&worker->seed, 100);
		for (i = 0; choice >= mix[i].often; i++)
			choice -= mix[i].often;
		mix[i].does(worker);
		__atomic_fetch_add(&shared->operations[worker->number], 1, __ATOMIC_RELAXED);
		if (random_below(&worker->seed, 64) == 0)
			prune(worker, &seen);
	}
	return 0;
}

/* --- The soak -------------------------------------------------------------------- */

FIXTURE(soak)
{
	struct shared *shared;
	struct worker worker;		/* what the next child begins with */
	struct child child[WORKERS];
	struct pyobjmem_stats baseline;
	__u64 seed;
	__u64 began;
	__u64 told;
	unsigned long kills;
	unsigned long rounds;
};

FIXTURE_SETUP(soak)
{
	self->seed = random_seed();
	TH_LOG("seed %#llx", (unsigned long long)self->seed);
	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	ASSERT_EQ(0, test_heap_open(&self->shared->heap, 0));
	ASSERT_EQ(0, heap_automatic(self->shared->heap.session, true));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
				self->shared->sockets));
	ASSERT_EQ(0, heap_collect(self->shared->heap.session, 2, NULL));
	ASSERT_EQ(0, heap_stats(self->shared->heap.session, &self->baseline));
}

FIXTURE_TEARDOWN(soak)
{
	close(self->shared->sockets[0]);
	close(self->shared->sockets[1]);
	EXPECT_CLEAN_END(&self->shared->heap);
}

static int start_worker(FIXTURE_DATA(soak) *self, unsigned int i)
{
	memset(self->worker.handle, 0, sizeof(self->worker.handle));
	memset(self->worker.weak, 0, sizeof(self->worker.weak));
	self->worker.shared = self->shared;
	self->worker.number = i;
	self->worker.seed = random_next(&self->seed) | 1;
	return child_start(&self->child[i], works, &self->worker);
}

static unsigned long operations(const struct shared *shared)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < WORKERS; i++)
		sum += __atomic_load_n(&shared->operations[i], __ATOMIC_RELAXED);
	return sum;
}

static void tell(FIXTURE_DATA(soak) *self)
{
	struct pyobjmem_stats stats;
	char text[512];

	heap_stats(self->shared->heap.session, &stats);
	snprintf(text, sizeof(text), "%s", heap_verify(self->shared->heap.number));
	text[strcspn(text, "\n")] = 0;
	fprintf(stderr, "# soak: %llu s: %lu kills, %lu rounds, %lu operations, ",
		(unsigned long long)(now_ns() - self->began) / 1000000000, self->kills,
		self->rounds, operations(self->shared));
	fprintf(stderr, "%llu objects, %llu KB, %llu weak, %llu finalizers, %llu abandoned, ",
		stats.out_objects, stats.out_page_bytes / 1024, stats.out_weak,
		stats.out_finalizers, stats.out_finalizers_abandoned);
	fprintf(stderr, "verify: %s\n", text);
	self->told = now_ns();
}

/* All have gone: what is left are roots, tickets in the queue, and garbage. */
static void expect_nothing_left(struct __test_metadata *_metadata, FIXTURE_DATA(soak) *self)
{
	int session = self->shared->heap.session, fd;
	struct pyobjmem_stats stats;
	__u32 root;

	ASSERT_STREQ("", self->shared->wrong);
	while ((fd = descriptor_receive(self->shared->sockets[1])) >= 0)
		close(fd);
	ASSERT_TRUE(wait_until(stats_sessions(session) == 1, SOON_MS));
	ASSERT_VERIFIED(self->shared->heap.number);
	for (root = 0; root < PYOBJMEM_ROOTS; root++)
		ASSERT_EQ(0, root_set(session, root, 0, NULL));
	ASSERT_EQ(0, heap_unfreeze(session));
	ASSERT_TRUE(wait_until(!heap_collect(session, 2, NULL) && !stats_objects(session),
			       SOON_MS));
	ASSERT_EQ(0, heap_collect(session, 2, NULL));
	ASSERT_EQ(0, heap_stats(session, &stats));
	ASSERT_EQ(0, stats.out_objects);
	ASSERT_EQ(0, stats.out_tickets);
	ASSERT_EQ(0, stats.out_holds);
	ASSERT_EQ(0, stats.out_candidates);
	ASSERT_EQ(0, stats.out_weak);
	ASSERT_EQ(0, stats.out_finalizers);
	ASSERT_EQ(self->baseline.out_arenas, stats.out_arenas);
	ASSERT_EQ(self->baseline.out_page_bytes, stats.out_page_bytes);
	ASSERT_EQ(self->baseline.out_used_bytes, stats.out_used_bytes);
	ASSERT_EQ(stats.out_created, stats.out_freed_counted + stats.out_freed_collected);
	ASSERT_VERIFIED(self->shared->heap.number);
}

/* Until @end, one after the other is killed and replaced. */
static void kill_until(struct __test_metadata *_metadata, FIXTURE_DATA(soak) *self, __u64 end)
{
	unsigned long before = operations(self->shared), now;
	__u64 moved = now_ns();
	unsigned int i;

	while (now_ns() < end && !self->shared->stop) {
		sleep_us(random_below(&self->seed, 2 * KILL_MS * 1000));
		i = random_below(&self->seed, WORKERS);
		ASSERT_EQ(-SIGKILL, child_kill(&self->child[i]));
		self->kills++;
		ASSERT_EQ(0, start_worker(self, i));
		if (now_ns() - self->told > TELL_S * 1000000000ULL)
			tell(self);
		now = operations(self->shared);
		if (now != before)
			moved = now_ns();
		before = now;
		ASSERT_GT(STUCK_S * 1000000000ULL, now_ns() - moved);
	}
}

TEST_F_TIMEOUT(soak, eight_processes_that_are_killed, 7 * 24 * 3600)
{
	const char *text = getenv("PYOBJMEM_SOAK_SECONDS");
	unsigned long seconds = text ? strtoul(text, NULL, 0) : SECONDS;
	__u64 end, round_end;
	unsigned int i;

	self->began = now_ns();
	self->told = self->began;
	end = self->began + seconds * 1000000000ULL;
	do {
		self->shared->stop = false;
		for (i = 0; i < WORKERS; i++)
			ASSERT_EQ(0, start_worker(self, i));
		round_end = now_ns() + random_below(&self->seed, ROUND_S * 1000) * 1000000ULL;
		kill_until(_metadata, self, round_end < end ? round_end : end);
		/* Half of them by chance go by a signal, the rest by themselves. */
		for (i = 0; i < WORKERS; i++)
			if (random_below(&self->seed, 2))
				kill(self->child[i].pid, SIGKILL);
		self->shared->stop = true;
		for (i = 0; i < WORKERS; i++)
			ASSERT_GE(0, child_end(&self->child[i]));
		expect_nothing_left(_metadata, self);
		self->rounds++;
	} while (now_ns() < end);
	tell(self);
	EXPECT_LT(seconds, self->kills);
	EXPECT_LT(seconds * 10, operations(self->shared));
}

TEST_HARNESS_MAIN
