/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of libpyobjmem share: two sessions of one heap that collects only
 * when it is told to, and at the end recounts and goes.
 */
#ifndef LIBRARY_H
#define LIBRARY_H

#include "kselftest_harness.h"
#include "pyobjmem_test.h"

#include <pyobjmem.h>

FIXTURE(library)
{
	struct pyobjmem *session;
	struct pyobjmem *other;
	__u64 number;
	int heap;
};

FIXTURE_SETUP(library)
{
	ASSERT_EQ(0, pyobjmem_open(&self->session));
	ASSERT_EQ(0, pyobjmem_heap_create(self->session, 0, PYOBJMEM_RIGHTS, &self->heap));
	ASSERT_EQ(0, heap_automatic(pyobjmem_fd(self->session), false));
	self->number = pyobjmem_heap(self->session);
	ASSERT_NE(0, self->number);
	ASSERT_EQ(0, pyobjmem_open(&self->other));
	ASSERT_EQ(0, pyobjmem_heap_join(self->other, self->heap));
}

/* Whatever a test left held must be gone with its sessions. */
FIXTURE_TEARDOWN(library)
{
	EXPECT_VERIFIED(self->number);
	pyobjmem_close(self->other);
	pyobjmem_close(self->session);
	close(self->heap);
	EXPECT_HEAP_GONE(self->number);
}

/* An object with @slots slots, held once. */
static inline uint64_t make(struct pyobjmem *session, uint32_t slots)
{
	struct pyobjmem_object object = { .slots = slots, .payload_size = 16 };
	uint64_t handle = PYOBJMEM_NONE;

	return pyobjmem_create(session, &object, &handle) ? PYOBJMEM_NONE : handle;
}

static inline __u64 holds(struct pyobjmem *session)
{
	return stats_holds(pyobjmem_fd(session));
}

static inline __u64 objects(struct pyobjmem *session)
{
	return stats_objects(pyobjmem_fd(session));
}

static inline __u32 takes(struct pyobjmem *session, uint64_t handle)
{
	struct pyobjmem_inspect inspect = { .size = sizeof(inspect) };

	return pyobjmem_inspect(session, handle, NULL, 0, &inspect) ? 0 : inspect.out_takes;
}

#endif /* LIBRARY_H */
