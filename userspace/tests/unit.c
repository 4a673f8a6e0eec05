// SPDX-License-Identifier: MIT
/*
 * Tests of the library that need no kernel module: the kernel is played by
 * fake.c. Prints TAP.
 */
#include "unit.h"

bool unit_failed;

/* xorshift64*: the same numbers in every run. */
uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

/* A session that has joined a heap, in a kernel without any past. */
struct pyobjmem *start(void)
{
	struct pyobjmem *session = NULL;

	fake_reset();
	CHECK_EQUAL(0, pyobjmem_open(&session));
	CHECK_EQUAL(0, pyobjmem_heap_create(session, 0, 0, NULL));
	return session;
}

/* Close the session; nothing must have been put twice, and nothing be left. */
void end(struct pyobjmem *session)
{
	pyobjmem_close(session);
	CHECK_EQUAL(0, fake_underflows());
	CHECK_EQUAL(0, fake_objects());
}

/* An object with @slots slots, held once. */
uint64_t make(struct pyobjmem *session, uint32_t slots)
{
	struct pyobjmem_object object = { .slots = slots, .payload_size = 8 };
	uint64_t handle = 0;

	CHECK_EQUAL(0, pyobjmem_create(session, &object, &handle));
	return handle;
}

/* The same with a finalizer. */
uint64_t make_with(struct pyobjmem *session, uint32_t slots, pyobjmem_finalizer_fn finalizer,
		   void *data)
{
	struct pyobjmem_object object = {
		.slots = slots,
		.flags = PYOBJMEM_CREATE_FINALIZE,
		.finalizer = finalizer,
		.data = data,
	};
	uint64_t handle = 0;

	CHECK_EQUAL(0, pyobjmem_create(session, &object, &handle));
	return handle;
}

static const struct test *const all[] = {
	table_tests, session_tests, finalizer_tests, event_tests, weak_tests,
	batch_tests, threads_tests, socket_tests,
};

int main(void)
{
	unsigned int i, n = 0, failures = 0;
	const struct test *test;

	for (i = 0; i < ARRAY_SIZE(all); i++)
		for (test = all[i]; test->name; test++)
			n++;
	printf("1..%u\n", n);
	for (i = 0, n = 0; i < ARRAY_SIZE(all); i++) {
		for (test = all[i]; test->name; test++) {
			unit_failed = false;
			test->function();
			failures += unit_failed;
			printf("%sok %u %s\n", unit_failed ? "not " : "", ++n, test->name);
			fflush(stdout);
		}
	}
	return failures ? 1 : 0;
}
