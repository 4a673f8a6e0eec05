/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults: the n-th allocation or copy from or to user memory that this thread makes
 * in the kernel fails. Wants FAULT_INJECTION_DEBUG_FS; see fail_nth.c and load.c.
 */
#ifndef PYOBJMEM_FAULTS_H
#define PYOBJMEM_FAULTS_H

#include "pyobjmem_test.h"

enum kind { SLAB, PAGE, COPY, KINDS };

static const char *const kind_directory[KINDS] = {
	[SLAB] = "failslab",
	[PAGE] = "fail_page_alloc",
	[COPY] = "fail_usercopy",
};

struct faults {
	int nth_fd;		/* the n-th fails */
	int task_fd;		/* this task is one in which it does */
	bool there[KINDS];
	long times[KINDS];	/* goes down by one with each fault */
	unsigned int fired[KINDS];	/* since they were armed */
	unsigned int total[KINDS];
};

static inline int fault_set(enum kind kind, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), DEBUGFS "/%s/%s", kind_directory[kind], name);
	return file_write(path, text);
}

/* Returns what is missing, or NULL. */
static inline const char *faults_open(struct faults *faults)
{
	unsigned int kind;

	debugfs_heaps();
	faults->nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	faults->task_fd = open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC);
	if (faults->nth_fd < 0 || faults->task_fd < 0)
		return "fault injection";
	for (kind = 0; kind < KINDS; kind++) {
		faults->there[kind] = !fault_set(kind, "times", "1000000000");
		fault_set(kind, "verbose", "0");
		fault_set(kind, "probability", "0");
		fault_set(kind, "task-filter", "Y");
	}
	if (!faults->there[SLAB] || fault_set(SLAB, "ignore-gfp-wait", "N"))
		return kind_directory[SLAB];
	if (!faults->there[PAGE] || fault_set(PAGE, "ignore-gfp-wait", "N") ||
	    fault_set(PAGE, "min-order", "0"))
		return kind_directory[PAGE];
	return NULL;
}

/*
 * fail-nth goes before the probability, which is looked at again once the n-th
 * has failed: together they make all from the n-th on fail.
 */
static inline int faults_persist(bool persist)
{
	return fault_set(SLAB, "probability", persist ? "100" : "0") ?:
	       fault_set(PAGE, "probability", persist ? "100" : "0");
}

static inline void faults_close(struct faults *faults)
{
	faults_persist(false);
	close(faults->task_fd);
	close(faults->nth_fd);
}

static inline long faults_left(unsigned int kind)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), DEBUGFS "/%s/times", kind_directory[kind]);
	return file_read(path, text, sizeof(text)) < 0 ? 0 : atol(text);
}

static inline int faults_arm(struct faults *faults, unsigned int n, bool persist)
{
	unsigned int kind;
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", n);

	for (kind = 0; kind < KINDS; kind++)
		faults->times[kind] = faults_left(kind);
	if (n && persist && write(faults->task_fd, "1", 1) != 1)
		return -errno;
	return write(faults->nth_fd, text, length) == length ? 0 : -errno;
}

/* Tells whether the n-th was met. To ask is itself a copy that can fail. */
static inline bool faults_disarm(struct faults *faults, unsigned int n)
{
	char text[16] = "";
	ssize_t rc = pread(faults->nth_fd, text, sizeof(text) - 1, 0);
	bool met = n && rc > 0 && !atoi(text);
	unsigned int kind;

	while (write(faults->nth_fd, "0", 1) != 1)
		;
	while (write(faults->task_fd, "0", 1) != 1)
		;
	for (kind = 0; kind < KINDS; kind++) {
		faults->fired[kind] = met ? faults->times[kind] - faults_left(kind) : 0;
		faults->total[kind] += faults->fired[kind];
	}
	return met;
}

#endif /* PYOBJMEM_FAULTS_H */
