/* SPDX-License-Identifier: MIT */
/*
 * A small model of the kernel module, for tests of the library that need none:
 * one heap, objects with counts, sessions with takes, BATCH, weak holds, finalizers
 * and their events, and a collector that knows no generations. It takes the place
 * of lib/sys.c. It counts calls, and fails when it is told to.
 */
#ifndef FAKE_H
#define FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/pyobjmem.h>

#define FAKE_OBJECTS	8192U

/* What is no ioctl, where an operation is named below. */
enum {
	FAKE_OP_READ = PYOBJMEM_OP_COUNT,
	FAKE_OP_POLL,
	FAKE_OP_COUNT,
};

/* Everything as at the start. */
void fake_reset(void);

/* A descriptor of a new session, as open() gives. */
int fake_open(void);

/* Calls so far: all of them, and those of one operation. */
unsigned long fake_calls(void);
unsigned long fake_calls_of(unsigned int op);

/* The next call of @op fails with @error; or all do. */
void fake_fail(unsigned int op, int error);
void fake_fail_always(unsigned int op, int error);

/* The (@after + 1)th allocation of the library from now on fails, once. */
void fake_fail_alloc(unsigned int after);

/* Operations give other threads a chance at awkward places. */
void fake_yield(bool on);

/* Events are as large as those of another kernel; one more event comes. */
void fake_event_size(uint32_t size);
void fake_push(int fd, const struct pyobjmem_event *event);

/* Once, when a read has found nothing, before that is told. */
void fake_when_empty(void (*function)(void));

/* As in a heap that cannot be mapped: ENOENT, not ESTALE, for what is dead. */
void fake_hide_deaths(bool on);

/* What the model knows. */
unsigned int fake_objects(void);
uint32_t fake_takes(int fd, uint64_t handle);
unsigned int fake_held(int fd);
bool fake_lives(uint64_t handle);
uint32_t fake_external(uint64_t handle);
unsigned int fake_events(int fd);
const struct pyobjmem_batch_entry *fake_last_batch(uint32_t *count);

/* PUTs of what was not taken; must stay 0. */
unsigned long fake_underflows(void);

#endif /* FAKE_H */
