// SPDX-License-Identifier: GPL-2.0
/*
 * Areas of memory of all kinds. Each lies alone in addresses that nothing else
 * uses, more of them than an object can have bytes: whatever the kernel copies,
 * it hits its area or nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

#include "memory.h"

#define PAGE		4096UL
#define RESERVED	(256UL << 20)
#define LATE_US		700

const char *const memory_names[AREAS] = {
	[DATA] = "data",
	[ROOM] = "room",
	[CONSTANT] = "constant",
	[NOTHING] = "nothing",
	[BRINK] = "brink",
	[SHIFTY] = "shifty",
	[LATE] = "late",
};

static const size_t area_bytes[AREAS] = {
	[DATA] = DATA_BYTES,
	[ROOM] = THREADS * (size_t)ROOM_BYTES,
	[CONSTANT] = 4 * PAGE,
	[NOTHING] = 4 * PAGE,
	[BRINK] = PAGE,
	[SHIFTY] = 4 * PAGE,
	[LATE] = 8 * PAGE,
};

static char *areas[AREAS];
static char late_contents[8 * PAGE] __attribute__((aligned(PAGE)));
static int late_fd = -1;
static int memory_fd = -1;
static bool changed;

int memory_find(const char *name)
{
	int area;

	for (area = 0; area < AREAS; area++)
		if (!strcmp(memory_names[area], name))
			return area;
	return -1;
}

/* Read and write memory, and behind it nothing. */
void *memory_reserve(size_t bytes)
{
	char *at = mmap(NULL, bytes + RESERVED, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED || mprotect(at, bytes, PROT_READ | PROT_WRITE))
		_exit(3);
	return at;
}

/* Who waits for a page of the area gets it, after a while. */
static void *bring_pages(void *unused)
{
	struct pollfd ready = { .fd = late_fd, .events = POLLIN };
	struct uffdio_copy copy;
	struct uffd_msg message;

	for (;;) {
		poll(&ready, 1, -1);
		if (read(late_fd, &message, sizeof(message)) != sizeof(message) ||
		    message.event != UFFD_EVENT_PAGEFAULT)
			continue;
		usleep(LATE_US);
		copy = (struct uffdio_copy){
			.dst = message.arg.pagefault.address & ~(PAGE - 1),
			.len = PAGE,
		};
		copy.src = (__u64)late_contents + (copy.dst - (__u64)areas[LATE]);
		ioctl(late_fd, UFFDIO_COPY, &copy);
	}
	return unused;
}

/* Without userfaultfd the area is like any other. */
static void late_init(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register region = {
		.range = { .start = (__u64)areas[LATE], .len = area_bytes[LATE] },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	pthread_t thread;

	late_fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (late_fd < 0)
		return;
	if (ioctl(late_fd, UFFDIO_API, &api) || ioctl(late_fd, UFFDIO_REGISTER, &region) ||
	    pthread_create(&thread, NULL, bring_pages, NULL)) {
		close(late_fd);
		late_fd = -1;
	}
}

/* A child has memory of its own; pages of the late area come at once there. */
void memory_forked(void)
{
	close(memory_fd);
	memory_fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	late_fd = -1;
}

void memory_init(void)
{
	unsigned int *word, n;
	int area;

	for (area = 0; area < AREAS; area++)
		areas[area] = memory_reserve(area_bytes[area]);
	word = (unsigned int *)areas[DATA];
	for (n = 0; n < DATA_BYTES / sizeof(*word); n++)
		word[n] = (n + 1) * 2654435761U;
	mprotect(areas[DATA], area_bytes[DATA], PROT_READ);
	mprotect(areas[CONSTANT], area_bytes[CONSTANT], PROT_READ);
	mprotect(areas[NOTHING], area_bytes[NOTHING], PROT_NONE);
	memory_fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	late_init();
}

/* After a program that may have changed something */
void memory_reset(void)
{
	if (!changed)
		return;
	changed = false;
	mprotect(areas[SHIFTY], area_bytes[SHIFTY], PROT_READ | PROT_WRITE);
	madvise(areas[LATE], area_bytes[LATE], MADV_DONTNEED);
}

void *memory_address(unsigned int area, __u64 offset, unsigned int thread)
{
	if (area == BRINK)
		return areas[area] + PAGE - offset % PAGE;
	if (area == ROOM)
		return areas[area] + thread * ROOM_BYTES + offset % ROOM_BYTES;
	if (area == LATE)
		changed = true;
	return areas[area] + offset % area_bytes[area];
}

/* Write to memory whatever its protection is; false if there is none. */
bool memory_put(void *to, const void *from, size_t length)
{
	size_t offset = (char *)to - areas[LATE];

	if (late_fd >= 0 && offset < area_bytes[LATE]) {
		if (length > area_bytes[LATE] - offset)
			length = area_bytes[LATE] - offset;
		memcpy(late_contents + offset, from, length);
		return true;
	}
	return pwrite(memory_fd, from, length, (off_t)to) == (ssize_t)length;
}

bool memory_get(void *to, void *from, size_t length)
{
	return pread(memory_fd, to, length, (off_t)from) == (ssize_t)length;
}

int memory_protect(__u64 protection)
{
	changed = true;
	return mprotect(areas[SHIFTY], area_bytes[SHIFTY], protection & 3) ? -errno : 0;
}

int memory_drop(unsigned int area)
{
	changed = true;
	if (area == DATA || area == CONSTANT)
		return 0;
	return madvise(areas[area], area_bytes[area], MADV_DONTNEED) ? -errno : 0;
}
