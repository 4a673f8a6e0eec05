/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KUnit suites share: a heap, and a session that belongs to no process.
 * Sessions of the device are bound to an mm, which a KUnit thread does not have.
 *
 * Until 6.2, the suites of a module run before its parameters are set. So the
 * defaults of theirs are what the debug kernel can do; 'make kunit' has the module
 * in the kernel, and sets them higher.
 */
#ifndef _POM_TESTS_KUNIT_H
#define _POM_TESTS_KUNIT_H

#include <kunit/test.h>
#include <linux/completion.h>

#include "../pyobjmem.h"

/* The orders of taking and giving back n blocks are (2n - 1)(2n - 3)...1. */
#define POM_ORDER_MOST	6

/* What a block has besides slots and payload */
#define POM_OVERHEAD	((u32)POM_HEAD_BYTES + pom_red_zone)

/**
 * struct pom_fixture - a heap and a session in it
 * @heap: the heap; it neither collects nor trims by itself
 * @session: its only session
 * @stash: memory for operations
 * @collector: the one that runs, or NULL
 */
struct pom_fixture {
	struct pom_heap *heap;
	struct pom_session session;
	struct pom_stash stash;
	struct pom_collector *collector;
};

/**
 * struct pom_collector - a thread that collects, a slice each time
 * @fixture: whose heap it collects
 * @cpus: where the test ran before
 * @thread: the thread
 * @go: it is to do a slice
 * @ready: it is about to wait for the lock
 * @done: it has done the slice
 * @generation: of the next collection
 * @stop: it is to end
 */
struct pom_collector {
	struct pom_fixture *fixture;
	cpumask_t cpus;
	struct task_struct *thread;
	struct completion go;
	struct completion ready;
	struct completion done;
	u32 generation;
	bool stop;
};

/**
 * struct pom_differs - the first thing that is not as it should be
 * @what: what
 * @got: its value
 * @expected: the value that it should have
 */
struct pom_differs {
	const char *what;
	u64 got;
	u64 expected;
};

/* Conditions are checked millions of times: KUnit hears of those that do not hold. */
static inline bool pom_same(struct pom_differs *differs, const char *what, u64 got,
			    u64 expected)
{
	if (likely(got == expected))
		return true;
	*differs = (struct pom_differs) { what, got, expected };
	return false;
}

#define POM_ASSERT_SAME(test, same, differs, fmt, ...)	do {				\
	const struct pom_differs *_differs = (differs);					\
											\
	KUNIT_ASSERT_TRUE_MSG(test, same, "%s: got %#llx, expected %#llx: " fmt,	\
			      _differs->what, _differs->got, _differs->expected,	\
			      ##__VA_ARGS__);						\
} while (0)

/* Room for what verify says */
#define POM_VERDICT	256

extern unsigned long pom_random_seed;
extern unsigned int pom_order_blocks;

int pom_fixture_suite_init(struct kunit_suite *suite);
void pom_fixture_suite_exit(struct kunit_suite *suite);
int pom_fixture_init(struct kunit *test);
void pom_fixture_exit(struct kunit *test);
u64 pom_fixture_create(struct kunit *test, u32 slots, u32 payload);
u64 pom_fixture_make(struct pom_fixture *f, const struct pyobjmem_create *what);
int pom_fixture_weak(struct pom_fixture *f, u64 handle, u64 cookie);
int pom_fixture_upgrade(struct pom_fixture *f, u64 handle);
bool pom_fixture_event(struct pom_fixture *f, struct pom_watch *event);
void pom_fixture_put(struct kunit *test, u64 handle);
int pom_fixture_set_ref(struct pom_fixture *f, u64 from, u32 slot, u64 to);
int pom_fixture_get_ref(struct pom_fixture *f, u64 from, u32 slot, u64 *to);
void pom_fixture_drop_rings(struct kunit *test, u32 count);
int pom_fixture_find(struct pom_fixture *f, u64 handle, struct pom_object *obj);
u64 pom_fixture_collect(struct kunit *test, u32 generation);
int pom_fixture_take(struct pom_fixture *f, struct pom_space *space, u64 size,
		     struct pom_block *block);
void pom_fixture_give(struct pom_fixture *f, struct pom_space *space,
		      const struct pom_block *block);
void pom_fixture_trim(struct pom_fixture *f);
char *pom_fixture_verify(struct pom_fixture *f, char *text);

struct pom_collector *pom_collector_start(struct kunit *test, u32 generation);
void pom_collector_slice(struct pom_collector *c);
void pom_collector_stop(struct pom_collector *c);

u32 pom_order_count(u32 blocks);
void pom_order_decode(u32 number, u32 blocks, u8 *order);
char *pom_order_name(const u8 *order, u32 blocks, char *name);

bool pom_recount(struct pom_space *space, struct pom_differs *differs);

#endif /* _POM_TESTS_KUNIT_H */
