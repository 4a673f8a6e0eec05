/* SPDX-License-Identifier: MIT */
/*
 * The heap behind the fake kernel: objects, what sessions hold, weak holds, events.
 * The caller holds the lock of fake.c.
 */
#ifndef FAKE_HEAP_H
#define FAKE_HEAP_H

#include "fake.h"

#define SESSIONS	8
#define FIRST_FD	1000
#define SLOTS_MAX	64U
#define PAYLOAD_MAX	65536U

struct session {
	bool open;
	bool joined;
	bool ended;
	bool collected;
	uint32_t takes[FAKE_OBJECTS];
	struct fake_event *events;
};

struct fake_object {
	bool lives;
	bool marked;
	uint32_t generation;
	uint32_t flags;
	uint32_t type;
	uint32_t external;
	uint32_t internal;
	uint32_t slots;
	uint32_t payload_size;
	struct session *owner;			/* whose finalizer has not run */
	struct fake_weak *weaks;
	uint64_t slot[SLOTS_MAX];
	unsigned char *payload;
};

extern struct session fake_sessions[SESSIONS];
extern unsigned long fake_put_errors;

struct fake_object *fake_object_of(uint64_t handle);
int fake_command(struct session *session, unsigned int op, union pyobjmem_command *command);
int fake_collect(struct pyobjmem_collect *collect);
void fake_leave(struct session *session);
ssize_t fake_read(struct session *session, void *buffer, size_t size);
void fake_queue(struct session *session, const struct pyobjmem_event *event);
unsigned int fake_count_events(const struct session *session);
void fake_heap_reset(void);

#endif /* FAKE_HEAP_H */
