/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KUnit suites share: a heap, and a session that belongs to no process.
 * Sessions of the device are bound to an mm, which a KUnit thread does not have.
 */
#ifndef _POM_TESTS_KUNIT_H
#define _POM_TESTS_KUNIT_H

#include <kunit/test.h>

#include "../pyobjmem.h"

/**
 * struct pom_fixture - a heap and a session in it
 * @heap: the heap; it does not collect by itself
 * @session: its only session
 * @stash: memory for operations
 */
struct pom_fixture {
	struct pom_heap *heap;
	struct pom_session session;
	struct pom_stash stash;
};

int pom_fixture_suite_init(struct kunit_suite *suite);
void pom_fixture_suite_exit(struct kunit_suite *suite);
int pom_fixture_init(struct kunit *test);
void pom_fixture_exit(struct kunit *test);
u64 pom_fixture_create(struct kunit *test, u32 slots, u32 payload);
u64 pom_fixture_collect(struct kunit *test, u32 generation);

#endif /* _POM_TESTS_KUNIT_H */
