// SPDX-License-Identifier: GPL-2.0
/*
 * Races of two: each operation against each other and itself, aligned so that
 * they overlap in all ways. What both give, and what can be seen afterwards, must be
 * what some order of their steps gives.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"
#include "race.h"
#include "race_operations.h"

/* A pair is raced in bunches of rounds, until it has overlapped often enough. */
#define BUNCH_MS	45
#define OVERLAPS_LEAST	5
#define PATIENCE_MS	2000	/* for all pairs of a test */

/* So often both sides of a pair have run when it began: then it must overlap. */
#define FAIR_LEAST	30

#define ROUNDS_LEAST	5
#define ROUNDS_MOST	1000

/* Slots of an object that is always a candidate: several slices of a collection. */
#define WIDE		600

/* The observer's objects: what keeps the wide one, that, and what it names. */
#define OBSERVED	3

/* While a scene is built: where other sessions find the objects that all share. */
#define ROOT_BUILD	10
#define SHARED		5	/* the last is only held weakly in the end */

/* Everything about one pair. */
struct duel {
	struct scene scene;
	struct race race;
	const struct operation *operation[RACE_SIDES];
	struct result result[RACE_SIDES];
	int exported[RACE_SIDES];
	struct seen outcome[2][OUTCOMES];	/* by scene.same */
	unsigned int outcomes[2];
};

struct bunch {
	unsigned int rounds;
	unsigned int fair;
	unsigned int overlapped;
};

/* --- What is allowed ------------------------------------------------------------ */

static void add_outcome(struct duel *duel, bool same, const struct seen *seen)
{
	unsigned int i;

	for (i = 0; i < duel->outcomes[same]; i++)
		if (!memcmp(&duel->outcome[same][i], seen, sizeof(*seen)))
			return;
	duel->outcome[same][duel->outcomes[same]++] = *seen;
}

/* All orders of what is left of both. */
static void try_orders(struct duel *duel, const struct model *model, const struct seen *seen,
		       unsigned int first, unsigned int second)
{
	unsigned int step[RACE_SIDES] = { first, second }, side;
	struct model next;
	struct seen more;
	bool done = true;

	for (side = 0; side < RACE_SIDES; side++) {
		const struct operation *operation = duel->operation[side];

		if (step[side] == operation->steps)
			continue;
		done = false;
		next = *model;
		more = *seen;
		take_step(&next, operation, side, step[side], &more.result[side]);
		try_orders(duel, &next, &more, first + !side, second + side);
	}
	if (done) {
		more = *seen;
		model_see(model, &more);
		add_outcome(duel, model->same, &more);
	}
}

static void find_outcomes(struct duel *duel)
{
	struct model model;
	struct seen seen;
	int same;

	for (same = 0; same < 2; same++) {
		memset(&seen, 0, sizeof(seen));
		model_start(&model, same, duel->scene.victim_needed);
		duel->outcomes[same] = 0;
		try_orders(duel, &model, &seen, 0, 0);
	}
}

/* --- The scene ------------------------------------------------------------------- */

/* An object whose finalizer is due, which a session is told when it reads that. */
static int create_due(int session, __u64 *handle)
{
	return object_create(session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0, handle) ?:
	       object_put(session, *handle);
}

/* What sessions besides the first take: what all hold, and weakly what is garbage. */
static void entries_share(const struct scene *scene, struct pyobjmem_batch_entry *entries)
{
	int i;

	for (i = 0; i < SHARED; i++)
		entries[i] = entry_get_root(ROOT_BUILD + i);
	entries[SHARED] = entry_weak(scene->handle[G1], COOKIE);
	entries[SHARED + 1] = entry_put(scene->handle[G1]);
}

/* It holds what all hold, until it is told to go. */
static void victim(struct scene *scene)
{
	struct pyobjmem_batch_entry entries[SHARED + 2];
	__u64 due;
	cpu_set_t all;
	int session, i;

	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	for (i = 0; i < SESSIONS; i++)
		if (i != SESSION_VICTIM)
			close(scene->session[i]);
	close(scene->heap.session);
	close(scene->ticket);
	session = test_heap_join(&scene->heap);
	entries_share(scene, entries);
	if (session < 0 || batch_run(session, entries, ARRAY_SIZE(entries), 0, NULL) ||
	    create_due(session, &due))
		_exit(1);
	__atomic_store_n(scene->go, 2, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(scene->go, __ATOMIC_SEQ_CST) != 1)
		sched_yield();
	_exit(0);
}

static int start_victim(struct scene *scene)
{
	*scene->go = 0;
	scene->victim = fork();
	if (scene->victim < 0)
		return -errno;
	if (!scene->victim)
		victim(scene);
	return wait_until(*scene->go == 2, SOON_MS) ? 0 : -ECHILD;
}

/* Several operations at once, each of which must succeed */
static int batch_all(int session, struct pyobjmem_batch_entry *entries, __u32 count)
{
	__u32 done = 0, i;
	int rc = batch_run(session, entries, count, 0, &done);

	if (rc)
		return rc;
	for (i = 0; i < done; i++)
		if (entries[i].out_result)
			return entries[i].out_result;
	return 0;
}

static int create_objects(struct scene *scene)
{
	struct pyobjmem_batch_entry entries[F];
	static char content[CONTENT_BYTES];
	char payload[F][8] = {};
	int o, rc;

	for (o = 0; o < F; o++) {
		payload[o][0] = o;
		entries[o] = o == M ? entry_create(PYOBJMEM_CREATE_MUTABLE, content,
						   CONTENT_BYTES, 0)
				    : entry_create(0, payload[o], 8, SLOTS);
	}
	rc = batch_all(scene->session[0], entries, F);
	for (o = 0; o < F; o++)
		scene->handle[o] = entries[o].command.create.out_handle;
	for (o = 0; !rc && o < RACE_SIDES; o++)
		rc = create_due(scene->session[o], &scene->handle[F + o]);
	return rc;
}

/* Edges and roots; then the first session holds no more than it is to hold. */
static int link_objects(struct scene *scene)
{
	const __u64 *h = scene->handle;
	struct pyobjmem_batch_entry entries[] = {
		entry_set_ref(h[R], 0, h[X]), entry_set_ref(h[X], 0, h[C]),
		entry_set_ref(h[C], 0, h[X]), entry_set_ref(h[H1], 0, h[H2]),
		entry_set_ref(h[H2], 0, h[H1]), entry_set_ref(h[G1], 0, h[G2]),
		entry_set_ref(h[G2], 0, h[G1]), entry_set_ref(h[K], 0, h[K]),
		entry_set_ref(h[Z1], 0, h[Z2]), entry_set_ref(h[Z2], 0, h[Z1]),
		entry_set_root(1, h[Z1]), entry_set_root(ROOT_BUILD, h[R]),
		entry_set_root(ROOT_BUILD + 1, h[M]), entry_set_root(ROOT_BUILD + 2, h[Y]),
		entry_set_root(ROOT_BUILD + 3, h[H1]), entry_set_root(ROOT_BUILD + 4, h[G1]),
		entry_weak(h[G1], COOKIE),
		entry_put(h[X]), entry_put(h[C]), entry_put(h[H2]), entry_put(h[G1]),
		entry_put(h[G2]), entry_put(h[K]), entry_put(h[Z1]), entry_put(h[Z2]),
	};

	scene->ticket = object_export(scene->session[0], h[K]);
	if (scene->ticket < 0)
		return scene->ticket;
	return batch_all(scene->session[0], entries, ARRAY_SIZE(entries));
}

/* Others take what they are to hold. */
static int share_objects(struct scene *scene)
{
	struct pyobjmem_batch_entry entries[SHARED + 2];
	int i, rc;

	entries_share(scene, entries);
	rc = batch_all(scene->session[1], entries, ARRAY_SIZE(entries)) ?:
	     batch_all(scene->heap.session, entries, 2);
	if (!rc && scene->victim_needed)
		rc = start_victim(scene);
	for (i = 0; i < SHARED; i++)
		entries[i] = entry_set_root(ROOT_BUILD + i, PYOBJMEM_NONE);
	return rc ?: batch_all(scene->heap.session, entries, SHARED);
}

/* What is always there becomes a candidate again: the collector starts with it. */
static int touch_wide(struct scene *scene)
{
	__u64 wide;

	return ref_get(scene->heap.session, scene->keeper, 0, &wide) ?:
	       object_put(scene->heap.session, wide);
}

static int scene_build(struct scene *scene, bool wide_first)
{
	int s, rc = wide_first ? touch_wide(scene) : 0;

	for (s = 0; s < SESSIONS; s++) {
		if (s == SESSION_VICTIM)
			continue;
		scene->session[s] = s < SESSION_JOIN ? test_heap_join(&scene->heap)
						     : session_open();
		if (scene->session[s] < 0)
			return scene->session[s];
		rc = rc ?: event_nonblock(scene->session[s], true);
	}
	scene->abandoned = stats_finalizers_abandoned(scene->heap.session);
	rc = rc ?: create_objects(scene) ?: link_objects(scene) ?: share_objects(scene);
	return rc ?: wide_first ? 0 : touch_wide(scene);
}

/* What two operations closed must not be closed again: it may be another's. */
static void forget_closed(struct duel *duel)
{
	struct scene *scene = &duel->scene;
	unsigned int side;

	for (side = 0; side < RACE_SIDES; side++) {
		const struct operation *operation = duel->operation[side];
		struct result *result = &duel->result[side];

		duel->exported[side] = -1;
		if (operation->does == export_does && result->rc[0] >= 0) {
			duel->exported[side] = result->rc[0];
			result->rc[0] = 0;
		} else if (operation->does == close_ticket_does && !result->rc[0]) {
			scene->ticket = -1;
		} else if (operation->does == close_does && !result->rc[0]) {
			scene->session[session_of(scene->same, side)] = -1;
		}
	}
}

static void look_at_session(int session, int *holds, int *events)
{
	struct pyobjmem_stats stats;

	*holds = -1;
	*events = -1;
	if (session < 0 || heap_stats(session, &stats))
		return;
	*holds = stats.out_holds;
	*events = stats.out_events;
}

static void scene_look(struct duel *duel, struct seen *seen)
{
	struct scene *scene = &duel->scene;
	int observer = scene->heap.session, i;
	struct pyobjmem_inspect unused;
	struct pyobjmem_stats stats;
	__u64 edges[SLOTS] = { 0 }, root = 0;

	memset(seen, 0, sizeof(*seen));
	memcpy(seen->result, duel->result, sizeof(seen->result));
	heap_stats(observer, &stats);
	seen->objects = stats.out_objects - OBSERVED;
	seen->tickets = stats.out_tickets;
	seen->sessions = stats.out_sessions - 1;
	seen->weak = stats.out_weak;
	seen->finalizers = stats.out_finalizers;
	seen->abandoned = stats.out_finalizers_abandoned - scene->abandoned;
	for (i = 0; i < 2; i++)
		look_at_session(scene->session[i], &seen->holds[i], &seen->events[i]);
	object_edges(observer, scene->handle[R], edges, SLOTS, &unused);
	seen->slot0 = object_of(scene, edges[0]);
	seen->slot2 = object_of(scene, edges[2]);
	root_get(observer, 1, &root);
	seen->root = object_of(scene, root);
	object_put(observer, root);
	seen->content = content_of(observer, scene->handle[M], &i);
}

static int scene_clear(struct duel *duel)
{
	struct scene *scene = &duel->scene;
	struct pyobjmem_stats stats;
	int s, side, rc;

	for (s = 0; s < SESSIONS; s++)
		if (s != SESSION_VICTIM && scene->session[s] >= 0)
			close(scene->session[s]);
	if (scene->ticket >= 0)
		close(scene->ticket);
	for (side = 0; side < RACE_SIDES; side++)
		if (duel->exported[side] >= 0)
			close(duel->exported[side]);
	/* Who froze the heap may have left before it could unfreeze it. */
	rc = heap_unfreeze(scene->heap.session) ?:
	     root_set(scene->heap.session, 1, PYOBJMEM_NONE, NULL) ?:
	     object_put(scene->heap.session, scene->handle[R]) ?:
	     object_put(scene->heap.session, scene->handle[M]) ?:
	     heap_collect(scene->heap.session, 2, NULL) ?:
	     heap_stats(scene->heap.session, &stats);
	if (rc)
		return rc;
	return stats.out_objects == OBSERVED && stats.out_holds == 1 && !stats.out_tickets &&
	       !stats.out_weak && !stats.out_finalizers && stats.out_sessions == 1 ? 0 :
	       -EBADMSG;
}

/* --- Races ------------------------------------------------------------------------ */

FIXTURE(race)
{
	struct duel duel;
	unsigned int *go;
};

FIXTURE_VARIANT(race)
{
	const char *name;
};

#define RACES(operation) FIXTURE_VARIANT_ADD(race, operation) { .name = #operation }

RACES(collect);
RACES(set_ref);
RACES(get_ref);
RACES(move);
RACES(inspect);
RACES(put);
RACES(get);
RACES(create);
RACES(write);
RACES(read);
RACES(set_root);
RACES(get_root);
RACES(export);
RACES(redeem);
RACES(close_ticket);
RACES(weak);
RACES(upgrade);
RACES(weak_drop);
RACES(read_event);
RACES(finalize);
RACES(batch);
RACES(freeze);
RACES(leave);
RACES(close);
RACES(join);

FIXTURE_SETUP(race)
{
	struct scene *scene = &self->duel.scene;
	__u64 edges[WIDE], wide;
	int i;

	self->duel.race.seed = random_seed();
	TH_LOG("seed %#llx", (unsigned long long)self->duel.race.seed);
	ASSERT_EQ(0, test_heap_open(&scene->heap, 0));
	scene->go = mmap(NULL, sizeof(*scene->go), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, scene->go);
	ASSERT_EQ(0, container_create(scene->heap.session, 1, &edges[0]));
	for (i = 1; i < WIDE; i++)
		edges[i] = edges[0];
	ASSERT_EQ(0, object_create(scene->heap.session, 0, NULL, 0, edges, WIDE, &wide));
	ASSERT_EQ(0, object_create(scene->heap.session, 0, NULL, 0, &wide, 1, &scene->keeper));
	ASSERT_EQ(0, object_put(scene->heap.session, wide));
	ASSERT_EQ(0, object_put(scene->heap.session, edges[0]));
	race_pin(0);
}

FIXTURE_TEARDOWN(race)
{
	EXPECT_CLEAN_END(&self->duel.scene.heap);
}

static void *second_side(void *argument)
{
	struct duel *duel = argument;
	struct race *race = &duel->race;

	race_pin(1);
	while (race_wait(race)) {
		race_begin(race, 1);
		duel->operation[1]->does(&duel->scene, 1, &duel->result[1]);
		race_end(race, 1);
	}
	return NULL;
}

static void log_seen(struct __test_metadata *_metadata, const char *what, const struct seen *s)
{
	int i;

	TH_LOG("%s:", what);
	for (i = 0; i < 2; i++)
		TH_LOG("   %d: rc %d %d %d %d, value %d %d %d %d", i, s->result[i].rc[0],
		       s->result[i].rc[1], s->result[i].rc[2], s->result[i].rc[3],
		       s->result[i].value[0], s->result[i].value[1], s->result[i].value[2],
		       s->result[i].value[3]);
	TH_LOG("   %d objects, %d tickets, %d sessions, %d and %d held", s->objects, s->tickets,
	       s->sessions, s->holds[0], s->holds[1]);
	TH_LOG("   %d and %d events, %d weak, %d finalizers, %d abandoned", s->events[0],
	       s->events[1], s->weak, s->finalizers, s->abandoned);
	TH_LOG("   slots %d %d, root %d, content %d", s->slot0, s->slot2, s->root, s->content);
}

static void expect_allowed(struct __test_metadata *_metadata, struct duel *duel)
{
	const struct scene *scene = &duel->scene;
	struct seen seen;
	unsigned int i;

	scene_look(duel, &seen);
	for (i = 0; i < duel->outcomes[scene->same]; i++)
		if (!memcmp(&seen, &duel->outcome[scene->same][i], sizeof(seen)))
			return;
	TH_LOG("round %u, delay %d, %s", duel->race.round, duel->race.delay,
	       scene->same ? "one session" : "two sessions");
	log_seen(_metadata, "got", &seen);
	for (i = 0; i < duel->outcomes[scene->same]; i++)
		log_seen(_metadata, "expected", &duel->outcome[scene->same][i]);
	ASSERT_TRUE(!"one of what is expected");
}

static void one_round(struct __test_metadata *_metadata, struct duel *duel)
{
	struct scene *scene = &duel->scene;
	struct race *race = &duel->race;

	race_prepare(race);
	scene->same = random_below(&race->seed, 2);
	ASSERT_EQ(0, scene_build(scene, random_below(&race->seed, 2)));
	memset(duel->result, 0, sizeof(duel->result));
	race_begin(race, 0);
	duel->operation[0]->does(scene, 0, &duel->result[0]);
	race_end(race, 0);
	race_judge(race);
	forget_closed(duel);
	expect_allowed(_metadata, duel);
	ASSERT_VERIFIED(scene->heap.number);
	ASSERT_EQ(0, scene_clear(duel));
}

/* A bunch of rounds of one pair; how many there were is added to @all. */
static void one_bunch(struct __test_metadata *_metadata, struct duel *duel, struct bunch *all)
{
	__u64 end = now_ns() + BUNCH_MS * 1000000ULL;
	struct race *race = &duel->race;
	pthread_t thread;

	TH_LOG("%s against %s", duel->operation[0]->name, duel->operation[1]->name);
	duel->scene.victim_needed = duel->operation[1]->is_death;
	find_outcomes(duel);
	race_init(race, race->seed);
	ASSERT_EQ(0, pthread_create(&thread, NULL, second_side, duel));
	while (race->round < ROUNDS_MOST && (race->round < ROUNDS_LEAST || now_ns() < end))
		one_round(_metadata, duel);
	race_over(race);
	pthread_join(thread, NULL);
	TH_LOG("%u of %u rounds overlapped", race->overlapped, race->round);
	all->rounds += race->round;
	all->fair += race->fair;
	all->overlapped += race->overlapped;
}

/*
 * With those that come behind it in the table, itself included. A machine that
 * does not run both sides at once for a while is given time: those that have hardly
 * overlapped come again when all others have had their turn.
 */
TEST_F_TIMEOUT(race, against_others, 300)
{
	__u64 end = now_ns() + PATIENCE_MS * 1000000ULL;
	struct bunch all[OPERATION_COUNT] = {}, sum = {};
	size_t a = 0, b;
	bool again;

	while (strcmp(operations[a].name, variant->name))
		a++;
	self->duel.operation[0] = &operations[a];
	do {
		again = false;
		for (b = a; b < OPERATION_COUNT; b++) {
			if (all[b].overlapped >= OVERLAPS_LEAST)
				continue;
			self->duel.operation[1] = &operations[b];
			one_bunch(_metadata, &self->duel, &all[b]);
			again |= all[b].overlapped < OVERLAPS_LEAST;
		}
	} while (again && now_ns() < end);
	for (b = a; b < OPERATION_COUNT; b++) {
		if (!all[b].overlapped)
			TH_LOG("%s and %s never overlapped, in %u rounds, %u of them fair",
			       operations[a].name, operations[b].name, all[b].rounds,
			       all[b].fair);
		if (all[b].fair >= FAIR_LEAST)
			EXPECT_LT(0, all[b].overlapped);
		sum.rounds += all[b].rounds;
		sum.fair += all[b].fair;
		sum.overlapped += all[b].overlapped;
	}
	TH_LOG("all: %u of %u rounds overlapped, %u were fair", sum.overlapped, sum.rounds,
	       sum.fair);
	if (sum.fair >= FAIR_LEAST)
		EXPECT_LT(0, sum.overlapped);
}

TEST_HARNESS_MAIN
