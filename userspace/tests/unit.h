/* SPDX-License-Identifier: MIT */
/*
 * What the unit tests share.
 */
#ifndef UNIT_H
#define UNIT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "fake.h"
#include "internal.h"

struct test {
	const char *name;
	void (*function)(void);
};

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

#define TEST(name)	{ #name, name }

/* Each ends with an empty one. */
extern const struct test table_tests[];
extern const struct test session_tests[];
extern const struct test finalizer_tests[];
extern const struct test event_tests[];
extern const struct test weak_tests[];
extern const struct test batch_tests[];
extern const struct test threads_tests[];
extern const struct test socket_tests[];

/* Whether the test that is running has failed */
extern bool unit_failed;

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("# %s:%d: %s\n", __func__, __LINE__, #condition);	\
		unit_failed = true;						\
	}								\
} while (0)

#define CHECK_EQUAL(expected, value) do {				\
	long long __expected = (long long)(expected);			\
	long long __value = (long long)(value);				\
									\
	if (__expected != __value) {					\
		printf("# %s:%d: %s is %lld, not %lld\n", __func__, __LINE__, #value,	\
		       __value, __expected);				\
		unit_failed = true;						\
	}								\
} while (0)

struct pyobjmem *start(void);
void end(struct pyobjmem *session);
uint64_t make(struct pyobjmem *session, uint32_t slots);
uint64_t make_with(struct pyobjmem *session, uint32_t slots, pyobjmem_finalizer_fn finalizer,
		   void *data);
uint64_t random_next(uint64_t *state);

#endif /* UNIT_H */
