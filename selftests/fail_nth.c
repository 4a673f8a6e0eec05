// SPDX-License-Identifier: GPL-2.0
/*
 * Every operation, with its n-th allocation or copy to or from the user failing,
 * for n = 1, 2, ... until a run meets no fault. Twice: with that fault alone,
 * after which the module may still succeed by collecting garbage and trying
 * again, and with every allocation from the n-th on failing.
 *
 * Whatever happens, an operation takes place wholly or not at all, gives the
 * promised error, takes place when it is tried again without faults, and leaks
 * nothing.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"
#include "faults.h"

#define NTH_MAX		4000U	/* more faults than any operation can meet */
#define LEAVES		600U	/* enough to split the table of a session's holds twice */
#define LIST_LENGTH	50U
#define RING_LENGTH	1000U
#define RINGS		3U
#define STEPS		16U	/* of chains that split a table of holds on their way */
#define DUE		20U	/* garbage with a finalizer, and garbage without */
#define PAGES_BYTES	20000U
#define HUB_ROOT	0U
#define LEAF_ROOT	1U
#define TEST_ROOT	5U
#define NEW_USER	4711

/* What an operation can change */

struct picture {
	__s64 objects;
	__s64 holds;
	__s64 tickets;
	__s64 sessions;
	__s64 weak;
	__s64 finalizers;
	__s64 events;		/* of the session, those of COLLECTED not */
	__s64 watches;		/* of the session */
	__s64 external;		/* of the object that it is about */
	__s64 internal;
	__s64 takes;
};

/* What is there when none of the operations is under way. */
struct rest {
	struct picture picture;
	__u64 page_bytes;
	__u64 used_bytes;
	int descriptor;		/* the eighth that is free */
	int heaps;
};

FIXTURE_VARIANT(fail_nth);

FIXTURE(fail_nth)
{
	const struct _fixture_variant_fail_nth *chain;
	struct faults faults;
	struct test_heap heap;
	struct rest rest;
	char complaint[640];
	__u64 hub;		/* root 0: names all leaves */
	__u64 leaf[LEAVES];
	__u64 due[STEPS];	/* their finalizers are due */
	struct pyobjmem_event event;
	int session;		/* the one that operates; new for each n */
	int made;		/* a session that an operation opened */
	int made_fd;		/* a descriptor that it returned, or was given */
	__u64 number;
	__u64 subject;		/* the object whose counts are compared */
	__u64 other;
	__u64 handle;		/* what an operation returned */
	unsigned int done;	/* steps that took place */
	bool clean;		/* no allocation failed in this run */
	struct pyobjmem_write write;
	struct pyobjmem_inspect inspect;
	__u64 edges[LEAVES];
	unsigned char payload[PAGES_BYTES];
	unsigned char written[PAGES_BYTES];
	unsigned char content[PAGES_BYTES];
	struct pyobjmem_batch_entry entries[PYOBJMEM_BATCH_MAX];
	__u32 count;
	__u32 tried;
};

#define WORLD	FIXTURE_DATA(fail_nth)

FIXTURE_VARIANT(fail_nth)
{
	const char *name;
	/* Everything before the fault. */
	int (*prepare)(WORLD *w);
	/* What is to fail; can be called again after it failed. */
	int (*step)(WORLD *w);
	/* What is wrong afterwards, besides the figures; NULL if nothing is. */
	const char *(*judge)(WORLD *w, int rc);
	struct picture change;	/* by each step */
	unsigned int steps;	/* 1 if 0 */
	__u32 bytes, slots, flags;
	bool unjoined;		/* the session is not in the heap at first */
	bool allocates;
	bool silent;		/* neither allocates nor copies */
	bool late;		/* EFAULT can mean that only the reply got lost */
	bool batch;
};

/* The first complaint is the one that is told. */
#define complain(world, ...) do {					\
	WORLD *__w = (world);						\
									\
	if (!*__w->complaint)						\
		snprintf(__w->complaint, sizeof(__w->complaint), __VA_ARGS__); \
} while (0)

static void picture_take(const WORLD *w, struct picture *picture)
{
	struct pyobjmem_inspect inspect;
	struct pyobjmem_stats stats;

	memset(picture, 0, sizeof(*picture));
	if (heap_stats(w->heap.session, &stats)) {
		picture->objects = -1;
		return;
	}
	picture->objects = stats.out_objects;
	picture->tickets = stats.out_tickets;
	picture->sessions = stats.out_sessions;
	picture->weak = stats.out_weak;
	picture->finalizers = stats.out_finalizers;
	if (!heap_stats(w->session, &stats)) {
		picture->holds = stats.out_holds;
		picture->events = stats.out_events;
		picture->watches = stats.out_watches;
	}
	if (!w->subject)
		return;
	if (!object_inspect(w->session, w->subject, &inspect))
		picture->takes = inspect.out_takes;
	else if (object_inspect(w->heap.session, w->subject, &inspect))
		return;
	picture->external = inspect.out_external;
	picture->internal = inspect.out_internal;
}

static struct picture picture_plus(const struct picture *picture, const struct picture *change,
				   unsigned int times)
{
	return (struct picture){
		.objects = picture->objects + change->objects * times,
		.holds = picture->holds + change->holds * times,
		.tickets = picture->tickets + change->tickets * times,
		.sessions = picture->sessions + change->sessions * times,
		.weak = picture->weak + change->weak * times,
		.finalizers = picture->finalizers + change->finalizers * times,
		.events = picture->events + change->events * times,
		.watches = picture->watches + change->watches * times,
		.external = picture->external + change->external * times,
		.internal = picture->internal + change->internal * times,
		.takes = picture->takes + change->takes * times,
	};
}

static bool picture_same(const struct picture *a, const struct picture *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static const char *picture_text(const struct picture *picture, char *text, size_t room)
{
	int n = snprintf(text, room, "%lld objects %lld holds %lld tickets %lld sessions ",
			 picture->objects, picture->holds, picture->tickets, picture->sessions);

	n += snprintf(text + n, room - n, "%lld+%lld counts %lld takes ", picture->external,
		      picture->internal, picture->takes);
	snprintf(text + n, room - n, "%lld weak %lld finalizers %lld events %lld watches",
		 picture->weak, picture->finalizers, picture->events, picture->watches);
	return text;
}

static void expect_picture(WORLD *w, const char *when, const struct picture *expected,
			   const struct picture *came)
{
	char one[240], two[240];

	if (picture_same(expected, came))
		return;
	complain(w, "%s: expected %s, came %s", when,
		 picture_text(expected, one, sizeof(one)), picture_text(came, two, sizeof(two)));
}

/* Graphs */

static int run_batch(WORLD *w)
{
	__u32 i;
	int rc = batch_run(w->session, w->entries, w->count, 0, NULL);

	for (i = 0; !rc && i < w->count; i++)
		rc = w->entries[i].out_result;
	return rc;
}

/* Hold the first @count leaves, and the hub. */
static int hold_leaves(WORLD *w, unsigned int count)
{
	unsigned int i;

	w->entries[0] = entry_get_root(HUB_ROOT);
	for (i = 0; i < count; i++)
		w->entries[1 + i] = entry_get_ref(w->hub, i);
	w->count = 1 + count;
	return run_batch(w);
}

/* A list that nothing but the hold of its head keeps alive. */
static int make_list(WORLD *w, __u64 *head)
{
	__u64 next = 0;
	unsigned int i;
	int rc = 0;

	for (i = 0; !rc && i < LIST_LENGTH; i++) {
		rc = object_create(w->session, 0, NULL, 8, &next, 1, head);
		if (!rc && next)
			rc = object_put(w->session, next);
		next = *head;
	}
	return rc;
}

/* A ring that nothing keeps alive. */
static int make_garbage(WORLD *w)
{
	__u32 i;
	int rc;

	w->count = RING_LENGTH;
	for (i = 0; i < RING_LENGTH; i++)
		w->entries[i] = entry_create(0, NULL, 8, 1);
	rc = run_batch(w);
	for (i = 0; i < RING_LENGTH && !rc; i++) {
		__u64 next = w->entries[(i + 1) % RING_LENGTH].command.create.out_handle;

		rc = ref_set(w->session, w->entries[i].command.create.out_handle, 0, next, NULL);
	}
	for (i = 0; i < RING_LENGTH && !rc; i++)
		w->entries[i] = entry_put(w->entries[i].command.create.out_handle);
	return rc ?: run_batch(w);
}

static int make_world(WORLD *w)
{
	unsigned int i;
	int rc = test_heap_open(&w->heap, 0);

	w->session = w->heap.session;
	for (i = 0; i < LEAVES; i++)
		w->entries[i] = entry_create(0, NULL, 8, 0);
	w->count = LEAVES;
	rc = rc ?: run_batch(w);
	for (i = 0; i < LEAVES; i++) {
		w->leaf[i] = w->entries[i].command.create.out_handle;
		w->entries[i] = entry_put(w->leaf[i]);
	}
	rc = rc ?: object_create(w->heap.session, 0, NULL, 0, w->leaf, LEAVES, &w->hub);
	rc = rc ?: root_set(w->heap.session, HUB_ROOT, w->hub, NULL);
	rc = rc ?: root_set(w->heap.session, LEAF_ROOT, w->leaf[0], NULL);
	rc = rc ?: run_batch(w);
	w->session = -1;
	fill_pattern(w->payload, sizeof(w->payload), 1);
	fill_pattern(w->written, sizeof(w->written), 2);
	return rc;
}

/* Before and after each n */

/* The eighth: a number that is lost lies behind those that were closed. */
static int free_descriptor(void)
{
	int fd[8];
	int i;

	for (i = 0; i < 8; i++)
		fd[i] = dup(STDERR_FILENO);
	while (i--)
		close(fd[i]);
	return fd[7];
}

static void rest_take(WORLD *w, struct rest *rest)
{
	struct pyobjmem_stats stats;

	memset(rest, 0, sizeof(*rest));
	heap_unfreeze(w->heap.session);
	heap_collect(w->heap.session, 2, NULL);
	picture_take(w, &rest->picture);
	if (!heap_stats(w->heap.session, &stats)) {
		rest->page_bytes = stats.out_page_bytes;
		rest->used_bytes = stats.out_used_bytes;
	}
	rest->descriptor = free_descriptor();
	rest->heaps = heaps_count();
}

static void begin(WORLD *w)
{
	int rc;

	w->number = 0;
	w->done = 0;
	w->handle = 0;
	w->tried = 0;
	w->session = session_open();
	rc = w->session < 0 ? w->session : 0;
	if (!rc && !w->chain->unjoined)
		rc = heap_join(w->session, w->heap.fd);
	if (!rc && w->chain->prepare)
		rc = w->chain->prepare(w);
	if (rc)
		complain(w, "prepare: expected 0, came %d", rc);
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void end(WORLD *w)
{
	struct rest rest;

	shut(&w->session);
	shut(&w->made);
	shut(&w->made_fd);
	if (getuid())
		setreuid(0, -1);
	w->subject = 0;
	root_set(w->heap.session, TEST_ROOT, 0, NULL);
	if (!wait_until(heaps_count() == w->rest.heaps, SOON_MS))
		complain(w, "at rest: expected %d heaps, came %d", w->rest.heaps, heaps_count());
	rest_take(w, &rest);
	expect_picture(w, "at rest", &w->rest.picture, &rest.picture);
	if (memcmp(&rest, &w->rest, sizeof(rest)))
		complain(w, "pages, used, descriptor: expected %llu %llu %d, came %llu %llu %d",
			 w->rest.page_bytes, w->rest.used_bytes, w->rest.descriptor,
			 rest.page_bytes, rest.used_bytes, rest.descriptor);
}

/* Sessions and heaps */

static int prepare_user(WORLD *w)
{
	(void)w;
	return setreuid(NEW_USER, -1) ? -errno : 0;
}

static int step_open(WORLD *w)
{
	w->made = session_open();
	return w->made < 0 ? w->made : 0;
}

/* The session is one user's, its heap the first of another. */
static int prepare_session_of_another(WORLD *w)
{
	int rc = step_open(w);

	return rc ?: prepare_user(w);
}

static int step_heap(WORLD *w)
{
	int rc = w->made < 0 ? step_open(w) : 0;

	return rc ?: heap_create(w->made, 0, PYOBJMEM_RIGHTS, &w->made_fd, &w->number);
}

static const char *judge_heap(WORLD *w, int rc)
{
	struct pyobjmem_stats stats;

	if (rc)
		return w->made < 0 || heap_stats(w->made, &stats) == -ENOTCONN ? NULL :
		       "a session that is in no heap";
	if (heap_stats(w->made, &stats) || stats.out_heap != w->number || stats.out_sessions != 1)
		return "a heap with one session";
	/* debugfs is no part of the operation: a heap does without. */
	if (w->clean && strcmp(heap_verify(w->number), "ok\n"))
		return "a heap that debugfs shows";
	return NULL;
}

static int step_join(WORLD *w)
{
	return heap_join(w->session, w->heap.fd);
}

static int prepare_holds(WORLD *w)
{
	return hold_leaves(w, LEAVES) ?: make_list(w, &w->handle);
}

static int step_close(WORLD *w)
{
	shut(&w->session);
	return 0;
}

static int step_leave(WORLD *w)
{
	return session_leave(w->session);
}

/* Objects */

static int prepare_edges(WORLD *w)
{
	return hold_leaves(w, w->chain->slots);
}

static int step_create(WORLD *w)
{
	return object_create(w->session, w->chain->flags, w->payload, w->chain->bytes,
			     w->chain->slots ? w->leaf : NULL, w->chain->slots, &w->handle);
}

static const char *judge_create(WORLD *w, int rc)
{
	if (rc)
		return NULL;
	if (object_read(w->session, w->handle, 0, w->content, PAGES_BYTES) != w->chain->bytes ||
	    memcmp(w->content, w->payload, w->chain->bytes))
		return "the payload that was given";
	if (object_edges(w->session, w->handle, w->edges, LEAVES, &w->inspect) ||
	    w->inspect.out_slots != w->chain->slots ||
	    memcmp(w->edges, w->leaf, w->chain->slots * sizeof(__u64)))
		return "the edges that were given";
	return NULL;
}

static int prepare_get_ref(WORLD *w)
{
	w->subject = w->leaf[LEAVES - 1];
	return hold_leaves(w, 1);
}

static int step_get_ref(WORLD *w)
{
	return ref_get(w->session, w->hub, LEAVES - 1 - w->done, &w->handle);
}

static const char *judge_get_ref(WORLD *w, int rc)
{
	return rc || w->handle == w->leaf[LEAVES - w->done] ? NULL : "the leaf of this slot";
}

/* So many that the table of holds splits in one of the steps. */
static int prepare_split(WORLD *w)
{
	return hold_leaves(w, 375);
}

static int prepare_get_root(WORLD *w)
{
	w->subject = w->hub;
	return 0;
}

static int step_get_root(WORLD *w)
{
	return root_get(w->session, HUB_ROOT, &w->handle);
}

/* A container with a list at slot 0, and an object to put into slot 1. */
static int prepare_container(WORLD *w)
{
	__u64 edges[2] = {};
	int rc = make_list(w, &edges[0]);

	rc = rc ?: object_create(w->session, 0, NULL, 0, edges, 2, &w->other);
	rc = rc ?: object_put(w->session, edges[0]);
	return rc ?: container_create(w->session, 1, &w->subject);
}

static int step_set_ref(WORLD *w)
{
	return ref_set(w->session, w->other, 1, w->subject, NULL);
}

static const char *judge_set_ref(WORLD *w, int rc)
{
	__u64 edges[2];

	if (rc)
		return NULL;
	if (object_edges(w->session, w->other, edges, 2, NULL) || edges[1] != w->subject)
		return "the reference that was set";
	return NULL;
}

static int step_drop_ref(WORLD *w)
{
	return ref_set(w->session, w->other, 0, 0, NULL);
}

static int step_set_root(WORLD *w)
{
	return root_set(w->session, TEST_ROOT, w->subject, NULL);
}

static int step_get(WORLD *w)
{
	return object_get(w->session, w->subject);
}

static int prepare_list(WORLD *w)
{
	return make_list(w, &w->handle);
}

static int step_put(WORLD *w)
{
	return object_put(w->session, w->handle);
}

/* Payloads and looks */

static int prepare_payload(WORLD *w)
{
	return object_create(w->session, PYOBJMEM_CREATE_MUTABLE, w->payload, w->chain->bytes, NULL,
			     0, &w->subject);
}

static int step_read(WORLD *w)
{
	ssize_t got = object_read(w->session, w->subject, 0, w->content, w->chain->bytes);

	return got < 0 ? got : got == w->chain->bytes ? 0 : -EPIPE;
}

static const char *judge_read(WORLD *w, int rc)
{
	return rc || !memcmp(w->content, w->payload, w->chain->bytes) ? NULL : "the payload";
}

static int step_write(WORLD *w)
{
	w->write = (struct pyobjmem_write){
		.size = sizeof(w->write),
		.handle = w->subject,
		.buffer = pointer(w->written),
		.length = w->chain->bytes,
	};
	return operate(w->session, PYOBJMEM_OP_WRITE, &w->write);
}

/* The new bytes up to the end of a page, the old ones behind. */
static const char *judge_write(WORLD *w, int rc)
{
	__u32 bytes = w->chain->bytes, end = 0;

	if (object_read(w->session, w->subject, 0, w->content, bytes) != bytes)
		return "a payload that can be read";
	while (end < bytes && w->content[end] == w->written[end])
		end++;
	/* A byte or so may be the same in both. */
	if (end < bytes)
		end -= end % POOL_BYTES;
	if (memcmp(w->content + end, w->payload + end, bytes - end))
		return "new bytes up to the end of a page, then old ones";
	if (!rc && end < bytes)
		return "new bytes only";
	/* The last reply may have got lost: then it is still 0. */
	if (rc ? w->write.out_length && w->write.out_length != end : w->write.out_length != bytes)
		return "as many new bytes as were reported";
	return NULL;
}

static int prepare_hub(WORLD *w)
{
	w->subject = w->hub;
	return hold_leaves(w, 0);
}

static int step_inspect(WORLD *w)
{
	return object_edges(w->session, w->hub, w->edges, LEAVES, &w->inspect);
}

static const char *judge_inspect(WORLD *w, int rc)
{
	return rc || !memcmp(w->edges, w->leaf, sizeof(w->leaf)) ? NULL : "all edges";
}

static int step_stats(WORLD *w)
{
	struct pyobjmem_stats stats;

	return heap_stats(w->session, &stats);
}

static int step_query(WORLD *w)
{
	struct pyobjmem_query query;

	return session_query(w->session, &query);
}

static int step_configure(WORLD *w)
{
	return heap_automatic(w->session, false);
}

/* Tickets */

static int prepare_leaf(WORLD *w)
{
	return container_create(w->session, 0, &w->subject);
}

static int step_export(WORLD *w)
{
	w->made_fd = object_export(w->session, w->subject);
	return w->made_fd < 0 ? w->made_fd : 0;
}

static const char *judge_export(WORLD *w, int rc)
{
	__u64 handle;

	if (rc)
		return NULL;
	if (ticket_redeem(w->heap.session, w->made_fd, &handle) || handle != w->subject ||
	    object_put(w->heap.session, handle))
		return "a ticket of the object";
	return NULL;
}

static int prepare_ticket(WORLD *w)
{
	w->subject = w->hub;
	w->made_fd = object_export(w->heap.session, w->hub);
	return w->made_fd < 0 ? w->made_fd : 0;
}

static int step_redeem(WORLD *w)
{
	return ticket_redeem(w->session, w->made_fd, &w->handle);
}

static const char *judge_handle(WORLD *w, int rc)
{
	return rc || w->handle == w->subject ? NULL : "the handle of the object";
}

/* The collector */

static int prepare_garbage(WORLD *w)
{
	unsigned int i;
	int rc = 0;

	for (i = 0; !rc && i < RINGS; i++)
		rc = make_garbage(w);
	return rc;
}

static int step_collect(WORLD *w)
{
	return heap_collect(w->session, 2, NULL);
}

static int step_freeze(WORLD *w)
{
	return heap_freeze(w->session);
}

static const char *judge_freeze(WORLD *w, int rc)
{
	bool frozen = stats_permanent(w->heap.session);

	return frozen == !rc ? NULL : rc ? "nothing frozen" : "the hub frozen";
}

static int prepare_frozen(WORLD *w)
{
	return heap_freeze(w->heap.session);
}

static int step_unfreeze(WORLD *w)
{
	return heap_unfreeze(w->session);
}

static const char *judge_unfreeze(WORLD *w, int rc)
{
	bool frozen = stats_permanent(w->heap.session);

	return frozen == !!rc ? NULL : rc ? "the hub frozen" : "nothing frozen";
}

/* Weak holds, finalizers, events */

static int step_weak(WORLD *w)
{
	return weak_hold(w->session, w->subject, w->done);
}

static int prepare_weak(WORLD *w)
{
	return prepare_leaf(w) ?: weak_hold(w->session, w->subject, 0);
}

static int step_weak_drop(WORLD *w)
{
	return weak_drop(w->session, w->subject, 0);
}

/* What is not held, but held weakly. */
static int prepare_upgrades(WORLD *w)
{
	int rc = prepare_split(w);
	unsigned int i;

	for (i = 1; !rc && i <= STEPS; i++)
		rc = ref_get(w->session, w->hub, LEAVES - i, NULL) ?:
		     weak_hold(w->session, w->leaf[LEAVES - i], i) ?:
		     object_put(w->session, w->leaf[LEAVES - i]);
	return rc;
}

static int step_upgrade(WORLD *w)
{
	return weak_upgrade(w->session, w->leaf[LEAVES - 1 - w->done]);
}

static const char *judge_upgrade(WORLD *w, int rc)
{
	struct pyobjmem_inspect inspect;
	__u64 leaf = w->leaf[LEAVES - w->done];

	(void)rc;
	return !w->done || !object_inspect(w->session, leaf, &inspect) ? NULL : "a hold of it";
}

/* Events wait that are to become holds. */
static int prepare_finalizers(WORLD *w)
{
	int rc = prepare_split(w);
	unsigned int i;

	for (i = 0; !rc && i < STEPS; i++)
		rc = object_create(w->session, PYOBJMEM_CREATE_FINALIZE, NULL, 8, NULL, 0,
				   &w->due[i]) ?:
		     object_put(w->session, w->due[i]);
	return rc;
}

/* Events wait that change nothing. */
static int prepare_deaths(WORLD *w)
{
	unsigned int i;
	int rc = 0;

	for (i = 0; !rc && i < STEPS; i++)
		rc = container_create(w->session, 0, &w->due[i]) ?:
		     weak_hold(w->session, w->due[i], i) ?:
		     object_put(w->session, w->due[i]);
	return rc;
}

static int step_read_event(WORLD *w)
{
	int n = event_read_once(w->session, &w->event, 1);

	return n < 0 ? n : n == 1 ? 0 : -EPIPE;
}

static const char *judge_finalize(WORLD *w, int rc)
{
	(void)rc;
	if (!w->done || event_equal(&w->event, &EVENT_FINALIZE(w->due[w->done - 1])) || rc)
		return NULL;
	return "the events in their order";
}

static const char *judge_weak_dead(WORLD *w, int rc)
{
	__u64 last = w->done - 1;

	if (!w->done || rc || event_equal(&w->event, &EVENT_WEAK_DEAD(w->due[last], last)))
		return NULL;
	return "the events in their order";
}

/* Garbage that is held weakly, of one object each; half of it has finalizers. */
static int prepare_due(WORLD *w)
{
	unsigned int i;
	__u64 handle;
	int rc = 0;

	for (i = 0; !rc && i < 2 * DUE; i++)
		rc = object_create(w->session, i & 1 ? PYOBJMEM_CREATE_FINALIZE : 0, NULL, 8,
				   NULL, 1, &handle) ?:
		     ref_set(w->session, handle, 0, handle, NULL) ?:
		     weak_hold(w->session, handle, i) ?:
		     object_put(w->session, handle);
	return rc;
}

/* All of that, and events that wait, in a session that is going to end. */
static int prepare_watches(WORLD *w)
{
	return prepare_due(w) ?: prepare_finalizers(w) ?: prepare_deaths(w) ?:
	       weak_hold(w->session, w->hub, 1);
}

/* Batches */

static void add_entry(WORLD *w, struct pyobjmem_batch_entry entry)
{
	w->entries[w->count++] = entry;
}

/* One of each, and creates of many sizes: new pools, new arenas. */
static int prepare_mixed(WORLD *w)
{
	__u64 target = 0;
	__u32 size;
	int rc = prepare_hub(w);

	w->subject = 0;
	rc = rc ?: object_create(w->session, PYOBJMEM_CREATE_MUTABLE, w->payload, 9000, NULL, 1,
				 &w->other);
	rc = rc ?: container_create(w->session, 1, &target);
	rc = rc ?: weak_hold(w->session, target, 1);
	w->count = 0;
	add_entry(w, entry_create(0, w->payload, 100, 0));
	add_entry(w, entry_create(PYOBJMEM_CREATE_MUTABLE, w->payload, 300, 2));
	add_entry(w, entry_create(0, w->payload, 9000, 3));
	add_entry(w, entry_create(PYOBJMEM_CREATE_MUTABLE, w->payload, 9000, 3));
	add_entry(w, entry_write(w->other, 10, w->payload, 5000));
	add_entry(w, entry_read(w->other, 20, w->content, 5000));
	add_entry(w, entry_set_ref(w->other, 0, target));
	add_entry(w, entry_get_ref(w->hub, 9));
	add_entry(w, entry_get_root(LEAF_ROOT));
	add_entry(w, entry_set_root(TEST_ROOT, target));
	add_entry(w, entry_get(target));
	add_entry(w, entry_weak(target, 2));
	add_entry(w, entry_weak(w->other, 2));
	add_entry(w, entry_upgrade(target));
	add_entry(w, entry_create(PYOBJMEM_CREATE_FINALIZE, w->payload, 200, 1));
	for (size = 8; size <= SMALL_MAX; size += 120)
		add_entry(w, entry_create(0, w->payload, size, 0));
	return rc;
}

static int prepare_get_refs(WORLD *w)
{
	int rc = prepare_hub(w);

	w->subject = 0;
	for (w->count = 0; w->count < LEAVES; w->count++)
		w->entries[w->count] = entry_get_ref(w->hub, w->count);
	return rc;
}

static int step_batch(WORLD *w)
{
	return batch_run(w->session, w->entries, w->count, w->chain->flags, &w->tried);
}

/* What those entries change that have taken place, or of which it is not known. */
static struct picture batch_change(const WORLD *w, __u32 count, bool all)
{
	struct picture change = {};
	__u32 i;

	for (i = 0; i < count; i++) {
		if (w->entries[i].out_result && !all)
			continue;
		change.objects += w->entries[i].op == PYOBJMEM_OP_CREATE;
		change.weak += w->entries[i].op == PYOBJMEM_OP_WEAK;
		change.finalizers += w->entries[i].op == PYOBJMEM_OP_CREATE &&
				     w->entries[i].command.create.flags & PYOBJMEM_CREATE_FINALIZE;
		change.holds += w->entries[i].op == PYOBJMEM_OP_CREATE ||
				w->entries[i].op == PYOBJMEM_OP_GET_REF ||
				w->entries[i].op == PYOBJMEM_OP_GET_ROOT;
	}
	change.watches = change.weak + change.finalizers;
	return change;
}

static bool batch_result_promised(const WORLD *w, const struct pyobjmem_batch_entry *entry)
{
	switch (entry->out_result) {
	case 0:
		return true;
	case -ENOMEM:
		return !w->clean;
	case -EFAULT:
		return w->faults.fired[COPY] && entry->op == PYOBJMEM_OP_READ;
	default:
		return false;
	}
}

static const char *judge_batch(WORLD *w, int rc)
{
	bool go_on = w->chain->flags & PYOBJMEM_BATCH_CONTINUE;
	__u32 i;

	if (rc)
		return rc == -EFAULT || !w->tried ? NULL : "no operation tried";
	if (!w->tried)
		return "some operation tried";
	for (i = 0; i < w->tried; i++) {
		if (!batch_result_promised(w, &w->entries[i]))
			return "results of 0 or ENOMEM, or of READ EFAULT";
		/* A READ whose buffer cannot be written is found when all is over. */
		if (!go_on && w->entries[i].out_result == -ENOMEM && i + 1 < w->tried)
			return "an end at the first failure";
	}
	if (w->tried < w->count && (go_on || !w->entries[w->tried - 1].out_result))
		return "all operations tried";
	return NULL;
}

/* The sweep */

static int run_steps(WORLD *w)
{
	unsigned int steps = w->chain->steps ?: 1;
	int rc = 0;

	while (w->done < steps && !(rc = w->chain->step(w)))
		w->done++;
	return rc;
}

/* Is the error one that the fault explains? */
static void check_error(WORLD *w, bool met, int rc)
{
	const unsigned int *fired = w->faults.fired;
	bool copy = fired[COPY];

	if (met && !copy && w->clean)
		complain(w, "no kind of fault was counted");
	else if (!met && rc)
		complain(w, "no fault: expected 0, came %d", rc);
	else if (met && copy && !w->chain->batch && rc != -EFAULT)
		complain(w, "failing copy: expected %d, came %d", -EFAULT, rc);
	else if (rc && rc != -EFAULT && rc != -ENOMEM)
		complain(w, "expected 0, %d or %d, came %d", -ENOMEM, -EFAULT, rc);
	else if ((rc == -EFAULT && !copy) || (rc == -ENOMEM && w->clean))
		complain(w, "slab %u page %u copy %u: an error for which there was no fault: %d",
			 fired[SLAB], fired[PAGE], fired[COPY], rc);
}

/* Has it taken place wholly, or not at all? */
static void check_change(WORLD *w, const struct picture *before, int rc)
{
	struct picture change = w->chain->change;
	struct picture after, wanted, whole;
	char when[32];

	snprintf(when, sizeof(when), "errno %d", -rc);
	picture_take(w, &after);
	if (w->chain->batch) {
		change = batch_change(w, rc ? w->count : w->tried, rc);
		wanted = picture_plus(before, &change, rc ? w->tried > 0 : 1);
	} else {
		wanted = picture_plus(before, &change, w->done);
	}
	whole = picture_plus(before, &change, w->done + 1);
	if (rc == -EFAULT && (w->chain->late || w->chain->batch) && picture_same(&whole, &after))
		return;
	expect_picture(w, when, &wanted, &after);
}

static void check_judge(WORLD *w, int rc)
{
	const char *missing = w->chain->judge ? w->chain->judge(w, rc) : NULL;

	if (missing)
		complain(w, "errno %d: expected %s", -rc, missing);
	if (strcmp(heap_verify(w->heap.number), "ok\n"))
		complain(w, "errno %d: verify: expected ok, came %s", -rc,
			 heap_verify(w->heap.number));
}

/* What has failed takes place if it is tried again. */
static void check_again(WORLD *w, const struct picture *before)
{
	struct picture after, wanted;
	int rc;

	w->clean = true;
	rc = run_steps(w);
	if (rc) {
		complain(w, "again, without faults: expected 0, came %d", rc);
		return;
	}
	picture_take(w, &after);
	wanted = picture_plus(before, &w->chain->change, w->done);
	expect_picture(w, "again, without faults", &wanted, &after);
	check_judge(w, 0);
}

/* Returns the error, and in @met whether there were n faults to meet. */
static int run_nth(WORLD *w, unsigned int n, bool persist, bool *met)
{
	struct picture before;
	int rc;

	*met = false;
	begin(w);
	picture_take(w, &before);
	if (!*w->complaint && faults_arm(&w->faults, n, persist))
		complain(w, "faults cannot be armed");
	if (*w->complaint)
		return 0;
	rc = run_steps(w);
	*met = faults_disarm(&w->faults, n);
	w->clean = !w->faults.fired[SLAB] && !w->faults.fired[PAGE];

	check_error(w, *met, rc);
	check_change(w, &before, rc);
	check_judge(w, rc);
	if (rc && !w->chain->batch)
		check_again(w, &before);
	end(w);
	return rc;
}

static void sweep(struct __test_metadata *_metadata, WORLD *w, bool persist)
{
	const char *how = persist ? "all from the n-th on" : "the n-th alone";
	unsigned int n = 0, refused = 0;
	bool met;

	memset(w->faults.total, 0, sizeof(w->faults.total));
	ASSERT_EQ(0, faults_persist(persist));
	/* First without a fault: what the kernel allocates only once is there then. */
	do {
		refused += run_nth(w, n, persist, &met) == -ENOMEM;
		if (*w->complaint)
			TH_LOG("%s, %s, n = %u: %s", w->chain->name, how, n, w->complaint);
		ASSERT_STREQ("", w->complaint);
		ASSERT_GT(NTH_MAX, ++n);
	} while (met || n == 1);
	printf("#   %s, %s: n to %u: slab %u, page %u, copy %u; ENOMEM %u times\n",
	       w->chain->name, how, n - 2, w->faults.total[SLAB], w->faults.total[PAGE],
	       w->faults.total[COPY], refused);
	fflush(stdout);
	/* A sweep that meets no fault proves nothing. */
	if (w->chain->silent)
		EXPECT_EQ(2, n);
	if (w->faults.there[COPY] && !w->chain->allocates && !w->chain->silent)
		EXPECT_LT(0, w->faults.total[COPY]);
	if (w->chain->allocates) {
		EXPECT_LT(0, w->faults.total[SLAB]);
		if (persist && !w->chain->batch)
			EXPECT_LT(0, refused);
	}
}

/* What the user of this process is charged */

static bool can_create(WORLD *w)
{
	__u64 handle;

	return !object_create(w->heap.session, 0, NULL, 2 * POOL_BYTES, NULL, 0, &handle) &&
	       !object_put(w->heap.session, handle);
}

static bool can_open(WORLD *w)
{
	int fd = session_open();

	(void)w;
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool can_make_heap(WORLD *w)
{
	int session = session_open();
	bool can = !heap_create(session, 0, 0, &w->made_fd, NULL);

	shut(&w->made_fd);
	close(session);
	return can;
}

/* Is one more possible soon, and not more than that, if only @limit are allowed? */
static bool limit_fits(WORLD *w, const char *parameter, __u64 limit, bool (*can)(WORLD *w))
{
	bool fits;
	__u64 old;

	parameter_read(parameter, &old);
	parameter_write(parameter, limit);
	fits = wait_until(can(w), SOON_MS);
	parameter_write(parameter, limit - 1);
	fits = fits && !can(w);
	parameter_write(parameter, old);
	return fits;
}

/* The lowest limit with which an object can be created. */
static __u64 lowest_bytes(WORLD *w)
{
	__u64 low = 0, high = 1 << 22, middle, old;

	parameter_read("user_bytes", &old);
	heap_collect(w->heap.session, 2, NULL);
	while (low < high) {
		middle = low + (high - low) / 2;
		parameter_write("user_bytes", middle);
		if (can_create(w))
			high = middle;
		else
			low = middle + 1;
	}
	parameter_write("user_bytes", old);
	return low;
}

/* The base's session and heap are charged, and nothing of what was there before. */
static void expect_settled(struct __test_metadata *_metadata, WORLD *w)
{
	EXPECT_TRUE(limit_fits(w, "user_sessions", 2, can_open));
	EXPECT_TRUE(limit_fits(w, "user_heaps", 2, can_make_heap));
}

/* The chains */

FIXTURE_SETUP(fail_nth)
{
	const char *missing;

	self->chain = variant;
	self->heap.session = -1;
	self->heap.fd = -1;
	self->session = -1;
	self->made = -1;
	self->made_fd = -1;
	missing = faults_open(&self->faults);
	if (missing)
		SKIP(return, "this kernel has no %s", missing);
	/* No page is to be missing while faults are armed. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	ASSERT_EQ(0, make_world(self));
	rest_take(self, &self->rest);
}

FIXTURE_TEARDOWN(fail_nth)
{
	struct test_heap *heap = &self->heap;

	if (heap->session < 0)
		return;
	faults_close(&self->faults);
	shut(&self->session);
	shut(&self->made);
	shut(&self->made_fd);
	EXPECT_EQ(0, root_set(heap->session, HUB_ROOT, 0, NULL));
	EXPECT_EQ(0, root_set(heap->session, LEAF_ROOT, 0, NULL));
	EXPECT_EQ(0, object_put(heap->session, self->hub));
	EXPECT_EQ(0, heap_collect(heap->session, 2, NULL));
	EXPECT_EQ(0, stats_objects(heap->session));
	EXPECT_EQ(0, stats_holds(heap->session));
	EXPECT_EQ(0, stats_tickets(heap->session));
	EXPECT_EQ(0, stats_page_bytes(heap->session));
	EXPECT_EQ(0, stats_arenas(heap->session));
	EXPECT_EQ(1, stats_sessions(heap->session));
	EXPECT_CLEAN_END(heap);
	EXPECT_TRUE(wait_until(!heaps_count(), SOON_MS));
}

FIXTURE_VARIANT_ADD(fail_nth, open) {
	.name = "open", .step = step_open, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, heap_create) {
	.name = "heap_create", .step = step_heap, .judge = judge_heap, .allocates = true,
};

/* The first session of a user makes his entry as well. */
FIXTURE_VARIANT_ADD(fail_nth, open_of_new_user) {
	.name = "open_of_new_user", .prepare = prepare_user, .step = step_open,
	.allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, heap_create_of_new_user) {
	.name = "heap_create_of_new_user", .prepare = prepare_session_of_another,
	.step = step_heap, .judge = judge_heap, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, join) {
	.name = "join", .step = step_join, .change = { .sessions = 1 }, .unjoined = true,
};

FIXTURE_VARIANT_ADD(fail_nth, create_small) {
	.name = "create_small", .step = step_create, .judge = judge_create, .bytes = 100,
	.change = { .objects = 1, .holds = 1 }, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, create_large) {
	.name = "create_large", .step = step_create, .judge = judge_create,
	.bytes = PAGES_BYTES, .change = { .objects = 1, .holds = 1 }, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, create_mutable) {
	.name = "create_mutable", .step = step_create, .judge = judge_create, .bytes = 100,
	.flags = PYOBJMEM_CREATE_MUTABLE, .change = { .objects = 1, .holds = 1 },
	.allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, create_large_mutable) {
	.name = "create_large_mutable", .step = step_create, .judge = judge_create,
	.bytes = PAGES_BYTES, .flags = PYOBJMEM_CREATE_MUTABLE,
	.change = { .objects = 1, .holds = 1 }, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, create_edges) {
	.name = "create_edges", .prepare = prepare_edges, .step = step_create,
	.judge = judge_create, .bytes = 24, .slots = 9,
	.change = { .objects = 1, .holds = 1 }, .allocates = true,
};

/* More edges than are set under one hold of the lock, and a large block. */
FIXTURE_VARIANT_ADD(fail_nth, create_many_edges) {
	.name = "create_many_edges", .prepare = prepare_edges, .step = step_create,
	.judge = judge_create, .bytes = 5000, .slots = 300,
	.change = { .objects = 1, .holds = 1 }, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, get_ref) {
	.name = "get_ref", .prepare = prepare_get_ref, .step = step_get_ref,
	.judge = judge_get_ref,
	.change = { .holds = 1, .external = 1, .internal = 1, .takes = 1 },
};

FIXTURE_VARIANT_ADD(fail_nth, get_ref_split) {
	.name = "get_ref_split", .prepare = prepare_split, .step = step_get_ref, .steps = 16,
	.judge = judge_get_ref, .change = { .holds = 1 }, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, get_root) {
	.name = "get_root", .prepare = prepare_get_root, .step = step_get_root,
	.judge = judge_handle, .change = { .holds = 1, .external = 1, .takes = 1 },
	.allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, set_ref) {
	.name = "set_ref", .prepare = prepare_container, .step = step_set_ref,
	.judge = judge_set_ref, .change = { .internal = 1 }, .late = true,
};

FIXTURE_VARIANT_ADD(fail_nth, drop_ref) {
	.name = "drop_ref", .prepare = prepare_container, .step = step_drop_ref,
	.change = { .objects = -(int)LIST_LENGTH }, .late = true,
};

FIXTURE_VARIANT_ADD(fail_nth, set_root) {
	.name = "set_root", .prepare = prepare_container, .step = step_set_root,
	.change = { .external = 1 }, .late = true,
};

FIXTURE_VARIANT_ADD(fail_nth, get) {
	.name = "get", .prepare = prepare_leaf, .step = step_get, .change = { .takes = 1 },
};

FIXTURE_VARIANT_ADD(fail_nth, put) {
	.name = "put", .prepare = prepare_list, .step = step_put,
	.change = { .objects = -(int)LIST_LENGTH, .holds = -1 },
};

FIXTURE_VARIANT_ADD(fail_nth, read) {
	.name = "read", .prepare = prepare_payload, .step = step_read, .judge = judge_read,
	.bytes = 100,
};

FIXTURE_VARIANT_ADD(fail_nth, read_pages) {
	.name = "read_pages", .prepare = prepare_payload, .step = step_read,
	.judge = judge_read, .bytes = PAGES_BYTES, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, write) {
	.name = "write", .prepare = prepare_payload, .step = step_write, .judge = judge_write,
	.bytes = 100, .late = true,
};

FIXTURE_VARIANT_ADD(fail_nth, write_pages) {
	.name = "write_pages", .prepare = prepare_payload, .step = step_write,
	.judge = judge_write, .bytes = PAGES_BYTES, .allocates = true, .late = true,
};

FIXTURE_VARIANT_ADD(fail_nth, batch_mixed) {
	.name = "batch_mixed", .prepare = prepare_mixed, .step = step_batch,
	.judge = judge_batch, .flags = PYOBJMEM_BATCH_CONTINUE, .allocates = true,
	.batch = true,
};

FIXTURE_VARIANT_ADD(fail_nth, batch_stopping) {
	.name = "batch_stopping", .prepare = prepare_mixed, .step = step_batch,
	.judge = judge_batch, .allocates = true, .batch = true,
};

FIXTURE_VARIANT_ADD(fail_nth, batch_get_refs) {
	.name = "batch_get_refs", .prepare = prepare_get_refs, .step = step_batch,
	.judge = judge_batch, .flags = PYOBJMEM_BATCH_CONTINUE, .allocates = true,
	.batch = true,
};

FIXTURE_VARIANT_ADD(fail_nth, export) {
	.name = "export", .prepare = prepare_leaf, .step = step_export, .judge = judge_export,
	.change = { .tickets = 1, .external = 1 }, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, redeem) {
	.name = "redeem", .prepare = prepare_ticket, .step = step_redeem,
	.judge = judge_handle, .change = { .holds = 1, .external = 1, .takes = 1 },
	.allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, inspect) {
	.name = "inspect", .prepare = prepare_hub, .step = step_inspect,
	.judge = judge_inspect,
};

FIXTURE_VARIANT_ADD(fail_nth, collect) {
	.name = "collect", .prepare = prepare_garbage, .step = step_collect,
	.change = { .objects = -(int)(RINGS * RING_LENGTH) }, .late = true,
};

FIXTURE_VARIANT_ADD(fail_nth, freeze) {
	.name = "freeze", .step = step_freeze, .judge = judge_freeze,
};

FIXTURE_VARIANT_ADD(fail_nth, unfreeze) {
	.name = "unfreeze", .prepare = prepare_frozen, .step = step_unfreeze,
	.judge = judge_unfreeze,
};

FIXTURE_VARIANT_ADD(fail_nth, configure) {
	.name = "configure", .step = step_configure,
};

FIXTURE_VARIANT_ADD(fail_nth, stats) {
	.name = "stats", .step = step_stats,
};

FIXTURE_VARIANT_ADD(fail_nth, query) {
	.name = "query", .step = step_query, .unjoined = true,
};

FIXTURE_VARIANT_ADD(fail_nth, leave) {
	.name = "leave", .prepare = prepare_holds, .step = step_leave,
	.change = {
		.objects = -(int)LIST_LENGTH, .holds = -(int)(LEAVES + 2), .sessions = -1,
	},
};

FIXTURE_VARIANT_ADD(fail_nth, close) {
	.name = "close", .prepare = prepare_holds, .step = step_close, .silent = true,
	.change = {
		.objects = -(int)LIST_LENGTH, .holds = -(int)(LEAVES + 2), .sessions = -1,
	},
};

FIXTURE_VARIANT_ADD(fail_nth, create_finalize) {
	.name = "create_finalize", .step = step_create, .judge = judge_create, .bytes = 100,
	.flags = PYOBJMEM_CREATE_FINALIZE,
	.change = { .objects = 1, .holds = 1, .finalizers = 1, .watches = 1 },
	.allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, create_large_finalize) {
	.name = "create_large_finalize", .prepare = prepare_edges, .step = step_create,
	.judge = judge_create, .bytes = PAGES_BYTES, .slots = 300,
	.flags = PYOBJMEM_CREATE_FINALIZE | PYOBJMEM_CREATE_MUTABLE,
	.change = { .objects = 1, .holds = 1, .finalizers = 1, .watches = 1 },
	.allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, weak) {
	.name = "weak", .prepare = prepare_leaf, .step = step_weak, .steps = 3,
	.change = { .weak = 1, .watches = 1 }, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, weak_drop) {
	.name = "weak_drop", .prepare = prepare_weak, .step = step_weak_drop,
	.change = { .weak = -1, .watches = -1 },
};

FIXTURE_VARIANT_ADD(fail_nth, upgrade_split) {
	.name = "upgrade_split", .prepare = prepare_upgrades, .step = step_upgrade,
	.steps = STEPS, .judge = judge_upgrade, .change = { .holds = 1 }, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, read_finalize_split) {
	.name = "read_finalize_split", .prepare = prepare_finalizers, .step = step_read_event,
	.steps = STEPS, .judge = judge_finalize,
	.change = { .holds = 1, .events = -1, .watches = -1 }, .allocates = true,
};

FIXTURE_VARIANT_ADD(fail_nth, read_weak_dead) {
	.name = "read_weak_dead", .prepare = prepare_deaths, .step = step_read_event,
	.steps = STEPS, .judge = judge_weak_dead, .change = { .events = -1, .watches = -1 },
};

FIXTURE_VARIANT_ADD(fail_nth, collect_watches) {
	.name = "collect_watches", .prepare = prepare_due, .step = step_collect, .late = true,
	.change = {
		.objects = -(int)DUE, .weak = -(int)DUE, .finalizers = -(int)DUE,
		.events = 2 * DUE,
	},
};

/* Objects of one with a finalizer that is due go with the session, rings do not. */
FIXTURE_VARIANT_ADD(fail_nth, leave_watches) {
	.name = "leave_watches", .prepare = prepare_watches, .step = step_leave,
	.change = {
		.objects = -(int)STEPS, .holds = -376, .sessions = -1,
		.weak = -(int)(2 * DUE + 1), .finalizers = -(int)DUE,
		.events = -(int)(2 * STEPS), .watches = -(int)(3 * DUE + 2 * STEPS + 1),
	},
};

FIXTURE_VARIANT_ADD(fail_nth, close_watches) {
	.name = "close_watches", .prepare = prepare_watches, .step = step_close, .silent = true,
	.change = {
		.objects = -(int)STEPS, .holds = -376, .sessions = -1,
		.weak = -(int)(2 * DUE + 1), .finalizers = -(int)DUE,
		.events = -(int)(2 * STEPS), .watches = -(int)(3 * DUE + 2 * STEPS + 1),
	},
};

TEST_F_TIMEOUT(fail_nth, sweep, 90)
{
	__u64 bytes;

	if (self->heap.session < 0)
		return;
	expect_settled(_metadata, self);
	bytes = lowest_bytes(self);
	sweep(_metadata, self, false);
	sweep(_metadata, self, true);
	expect_settled(_metadata, self);
	EXPECT_EQ(0, heap_collect(self->heap.session, 2, NULL));
	EXPECT_TRUE(limit_fits(self, "user_bytes", bytes, can_create));
}

TEST_HARNESS_MAIN
