/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Events of a session as the tests see them: read them, say which ones are
 * expected, run a destructor for each finalizer that is due.
 *
 *	EXPECT_EVENTS(session, EVENT_FINALIZE(a), EVENT_WEAK_DEAD(b, 7));
 *	EXPECT_EVENTS_UNORDERED(session, ...);	where the collector chooses the order
 *	EXPECT_NO_EVENTS(session);
 *
 * A session that they read from is O_NONBLOCK from then on. What the expectations
 * read is gone, and each FINALIZE event among it is a hold that is to be put.
 *
 * Include it behind kselftest_harness.h and pyobjmem_test.h.
 */
#ifndef EVENT_H
#define EVENT_H

#include <poll.h>

/* Each number of events that a test expects in one go is smaller. */
#define EVENTS_MAX	2048

/* --- Reading -------------------------------------------------------------- */

static inline int event_nonblock(int session, bool on)
{
	int flags = fcntl(session, F_GETFL);

	if (flags < 0)
		return -errno;
	if (!!(flags & O_NONBLOCK) == on)
		return 0;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(session, F_SETFL, flags) ? -errno : 0;
}

/* One read(2). Returns the number of events, 0 at the session's end, or a negative errno. */
static inline int event_read_once(int session, struct pyobjmem_event *events, unsigned int room)
{
	ssize_t got = read(session, events, room * sizeof(*events));

	if (got < 0)
		return -errno;
	return got % sizeof(*events) ? -EPROTO : got / (ssize_t)sizeof(*events);
}

/* All that there are and that fit, without waiting. Returns how many, or a negative errno. */
static inline int events_read(int session, struct pyobjmem_event *events, unsigned int room)
{
	unsigned int done = 0;
	int got;

	got = event_nonblock(session, true);
	while (!got && done < room) {
		got = event_read_once(session, events + done, room - done);
		if (got <= 0)
			break;
		done += got;
		got = 0;
	}
	return got && got != -EAGAIN && !done ? got : (int)done;
}

/* What poll(2) tells at once, or within @ms. */
static inline short event_poll(int session, int ms)
{
	struct pollfd pollfd = { .fd = session, .events = POLLIN };

	return poll(&pollfd, 1, ms) < 0 ? -1 : pollfd.revents;
}

/* How many FINALIZE and WEAK_DEAD events wait; ~0 if the session has ended. */
static inline __u64 events_waiting(int session)
{
	struct pyobjmem_stats stats;

	return heap_stats(session, &stats) ? ~0ULL : stats.out_events;
}

/* Another session of a heap, that wants COLLECTED events. */
static inline int join_collected(struct test_heap *heap)
{
	int session = session_open();

	return session < 0 ? session :
	       heap_join_flags(session, heap->fd, PYOBJMEM_HEAP_COLLECTED) ?: session;
}

/* --- Expecting ------------------------------------------------------------ */

#define EVENT_FINALIZE(object) ((struct pyobjmem_event){			\
	.size = sizeof(struct pyobjmem_event),				\
	.type = PYOBJMEM_EVENT_FINALIZE,				\
	.handle = (object),						\
})

#define EVENT_WEAK_DEAD(object, number) ((struct pyobjmem_event){	\
	.size = sizeof(struct pyobjmem_event),				\
	.type = PYOBJMEM_EVENT_WEAK_DEAD,				\
	.handle = (object),						\
	.cookie = (number),						\
})

#define EVENT_COLLECTED(oldest, objects, events) ((struct pyobjmem_event){ \
	.size = sizeof(struct pyobjmem_event),				\
	.type = PYOBJMEM_EVENT_COLLECTED,				\
	.generation = (oldest),						\
	.collected = (objects),						\
	.finalizers = (events),						\
})

static inline bool event_equal(const struct pyobjmem_event *a, const struct pyobjmem_event *b)
{
	return !memcmp(a, b, sizeof(*a));
}

#define EVENT_FORMAT	"%s(type %u size %u handle %#llx cookie %llu %s)"
#define RUN_FORMAT	"generation %u collected %llu finalizers %llu lost %llu"

static inline void event_print(char *text, size_t room, const struct pyobjmem_event *event)
{
	static const char * const type[] = { "no type", "FINALIZE", "WEAK_DEAD", "COLLECTED" };
	char run[128];

	if (!event) {
		snprintf(text, room, "nothing");
		return;
	}
	snprintf(run, sizeof(run), RUN_FORMAT, event->generation,
		 (unsigned long long)event->collected, (unsigned long long)event->finalizers,
		 (unsigned long long)event->lost);
	snprintf(text, room, EVENT_FORMAT,
		 event->type < ARRAY_SIZE(type) ? type[event->type] : "unknown", event->type,
		 event->size, (unsigned long long)event->handle,
		 (unsigned long long)event->cookie, run);
}

/* Move an event that equals @expected to the front of @came. */
static inline void event_fetch(const struct pyobjmem_event *expected,
			       struct pyobjmem_event *came, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (!event_equal(expected, came + i))
			continue;
		came[i] = came[0];
		came[0] = *expected;
		return;
	}
}

/*
 * Read all events there are. Returns "" if they are exactly those expected, else
 * what the first difference is.
 */
static inline const char *events_differ(int session, const struct pyobjmem_event *expected,
					unsigned int count, bool ordered)
{
	static __thread struct pyobjmem_event came[EVENTS_MAX];
	static __thread char text[600];
	char want[256], have[256];
	unsigned int i, n;
	int got;

	got = events_read(session, came, EVENTS_MAX);
	if (got < 0) {
		snprintf(text, sizeof(text), "read: %s", strerror(-got));
		return text;
	}
	n = got;
	for (i = 0; i < count || i < n; i++) {
		if (!ordered && i < count && i < n)
			event_fetch(expected + i, came + i, n - i);
		if (i < count && i < n && event_equal(expected + i, came + i))
			continue;
		event_print(want, sizeof(want), i < count ? expected + i : NULL);
		event_print(have, sizeof(have), i < n ? came + i : NULL);
		snprintf(text, sizeof(text), "event %u, expected %u, came %u: expected %s, came %s",
			 i, count, n, want, have);
		return text;
	}
	return "";
}

#define EVENTS_DIFFER(session, ordered, ...) ({				\
	const struct pyobjmem_event __events[] = { __VA_ARGS__ };	\
									\
	events_differ(session, __events, ARRAY_SIZE(__events), ordered); \
})

#define EXPECT_EVENTS(session, ...)					\
	EXPECT_STREQ("", EVENTS_DIFFER(session, true, __VA_ARGS__))
#define ASSERT_EVENTS(session, ...)					\
	ASSERT_STREQ("", EVENTS_DIFFER(session, true, __VA_ARGS__))
#define EXPECT_EVENTS_UNORDERED(session, ...)				\
	EXPECT_STREQ("", EVENTS_DIFFER(session, false, __VA_ARGS__))
#define EXPECT_NO_EVENTS(session)					\
	EXPECT_STREQ("", events_differ(session, NULL, 0, true))

/* --- Handling ------------------------------------------------------------- */

/**
 * struct event_handler - what a session does with its events
 * @finalize: run the finalizer of an object, which the session holds; its hold is
 *	put afterwards. May be NULL, as all of them
 * @weak_dead: an object is dead that was held weakly
 * @collected: a collection has come to its end
 * @argument: for them
 * @finalized: how many FINALIZE events were handled
 * @died: how many WEAK_DEAD events
 * @collections: how many COLLECTED events
 */
struct event_handler {
	void (*finalize)(int session, __u64 handle, void *argument);
	void (*weak_dead)(int session, __u64 handle, __u64 cookie, void *argument);
	void (*collected)(int session, const struct pyobjmem_event *event, void *argument);
	void *argument;
	unsigned int finalized;
	unsigned int died;
	unsigned int collections;
};

/* Returns 0, or a negative errno: of the PUT, or -EPROTO for an event that is none. */
static inline int event_handle(int session, const struct pyobjmem_event *event,
			       struct event_handler *handler)
{
	if (event->size != sizeof(*event))
		return -EPROTO;
	switch (event->type) {
	case PYOBJMEM_EVENT_FINALIZE:
		handler->finalized++;
		if (handler->finalize)
			handler->finalize(session, event->handle, handler->argument);
		return object_put(session, event->handle);
	case PYOBJMEM_EVENT_WEAK_DEAD:
		handler->died++;
		if (handler->weak_dead)
			handler->weak_dead(session, event->handle, event->cookie,
					   handler->argument);
		return 0;
	case PYOBJMEM_EVENT_COLLECTED:
		handler->collections++;
		if (handler->collected)
			handler->collected(session, event, handler->argument);
		return 0;
	default:
		return -EPROTO;
	}
}

/*
 * Handle the events there are, one at a time, also those that come of handling
 * them: until there is none. Returns how many there were, or a negative errno.
 */
static inline int events_handle(int session, struct event_handler *handler)
{
	struct pyobjmem_event event;
	int n, rc;

	for (n = 0;; n++) {
		rc = events_read(session, &event, 1);
		if (rc <= 0)
			return rc ?: n;
		rc = event_handle(session, &event, handler);
		if (rc)
			return rc;
	}
}

#endif /* EVENT_H */
