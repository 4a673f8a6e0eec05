/* SPDX-License-Identifier: GPL-2.0 */
/* The memory that pointers in programs point to. */
#ifndef FUZZ_MEMORY_H
#define FUZZ_MEMORY_H

#include "program.h"

enum area {
	DATA,		/* bytes that are known and never change */
	ROOM,		/* for what the kernel writes, each thread its own */
	CONSTANT,	/* cannot be written */
	NOTHING,	/* cannot be reached at all */
	BRINK,		/* the last bytes before what cannot be reached */
	SHIFTY,		/* programs change its protection, and drop its pages */
	LATE,		/* a page comes only after some time (userfaultfd) */
	AREAS,
};

extern const char *const memory_names[AREAS];

/* Bytes of payloads whose contents can be told */
#define DATA_BYTES	(4096U * 1024)
#define ROOM_BYTES	(1024U * 1024)

int memory_find(const char *name);
void memory_init(void);
void memory_forked(void);
void memory_reset(void);
void *memory_reserve(size_t bytes);
void *memory_address(unsigned int area, __u64 offset, unsigned int thread);
bool memory_put(void *to, const void *from, size_t length);
bool memory_get(void *to, void *from, size_t length);
int memory_protect(__u64 protection);
int memory_drop(unsigned int area);

#endif /* FUZZ_MEMORY_H */
