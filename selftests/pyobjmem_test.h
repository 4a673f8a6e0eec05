/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of pyobjmem share besides the operations: time and randomness,
 * heaps to test with, debugfs, descriptors and children.
 *
 * Include it behind kselftest_harness.h.
 */
#ifndef PYOBJMEM_TEST_H
#define PYOBJMEM_TEST_H

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"
#include "operations.h"

#define PARAMETERS	"/sys/module/pyobjmem/parameters/"
#define DEBUGFS		"/sys/kernel/debug"

#define POOL_BYTES	4096U
#define ARENA_BYTES	(256U * 1024)
#define SMALL_MAX	512U

/* What must be over within a second, with room for a slow machine. */
#define SOON_MS		3000

/* Objects of all kinds: leaves, containers, in pools and in runs, sealed and mutable */
static const struct {
	__u32 flags, payload, slots;
} object_kinds[] = {
	{ 0, 0, 0 }, { 0, 400, 0 }, { 0, 0, 30 }, { 0, 100000, 0 }, { 0, 0, 1000 },
	{ PYOBJMEM_CREATE_MUTABLE, 0, 0 }, { PYOBJMEM_CREATE_MUTABLE, 300, 2 },
	{ PYOBJMEM_CREATE_MUTABLE, 300000, 2 },
};

/* One of kind @kind, with more @flags */
static inline int object_of_kind(int fd, unsigned int kind, __u32 flags, __u64 *object)
{
	return object_create(fd, object_kinds[kind].flags | flags, NULL,
			     object_kinds[kind].payload, NULL, object_kinds[kind].slots, object);
}

/* Time and randomness */

static inline __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static inline void sleep_us(unsigned int us)
{
	struct timespec t = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L };

	nanosleep(&t, NULL);
}

/* Wait until @condition holds, for @ms at the most; tells whether it does. */
#define wait_until(condition, ms) ({					\
	__u64 __end = now_ns() + (ms) * 1000000ULL;			\
	bool __held;							\
									\
	while (!(__held = (condition)) && now_ns() < __end)		\
		sleep_us(1000);						\
	__held;								\
})

/* xorshift64*: the same numbers from the same seed everywhere. */
static inline __u64 random_next(__u64 *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

static inline __u32 random_below(__u64 *state, __u32 bound)
{
	return (random_next(state) >> 32) % bound;
}

/* A seed: PYOBJMEM_SEED where that is set, else from the clock. */
static inline __u64 random_seed(void)
{
	const char *text = getenv("PYOBJMEM_SEED");
	__u64 seed = text ? strtoull(text, NULL, 0) : now_ns() * 0x9e3779b97f4a7c15ULL;

	return seed ?: 1;
}

/* Bytes that depend on @key, so that no two objects have the same content. */
static inline void fill_pattern(void *buffer, size_t length, __u64 key)
{
	__u64 state = key * 0x9e3779b97f4a7c15ULL + 1;
	unsigned char *bytes = buffer;
	__u64 word;

	for (; length >= sizeof(word); length -= sizeof(word), bytes += sizeof(word)) {
		word = random_next(&state);
		memcpy(bytes, &word, sizeof(word));
	}
	word = random_next(&state);
	memcpy(bytes, &word, length);
}

static inline bool has_pattern(const void *buffer, size_t length, __u64 key)
{
	unsigned char *expected = malloc(length + 1);
	bool same;

	fill_pattern(expected, length, key);
	same = !memcmp(buffer, expected, length);
	free(expected);
	return same;
}

static inline bool all_bytes(const void *buffer, size_t length, unsigned char value)
{
	const unsigned char *bytes = buffer;

	while (length && *bytes == value) {
		bytes++;
		length--;
	}
	return !length;
}

/* A heap with a session that made it and does not collect by itself */

struct test_heap {
	int session;
	int fd;			/* the heap's descriptor */
	__u64 number;
};

static inline int test_heap_open(struct test_heap *heap, __u32 flags)
{
	int rc;

	heap->fd = -1;
	heap->session = session_open();
	if (heap->session < 0)
		return heap->session;
	rc = heap_create(heap->session, flags, PYOBJMEM_RIGHTS, &heap->fd, &heap->number);
	if (rc) {
		close(heap->session);
		heap->session = -1;
		return rc;
	}
	return heap_automatic(heap->session, false);
}

/* Another session of the heap, in this process or in a child. */
static inline int test_heap_join(const struct test_heap *heap)
{
	int session = session_open();
	int rc;

	if (session < 0)
		return session;
	rc = heap_join(session, heap->fd);
	if (rc) {
		close(session);
		return rc;
	}
	return session;
}

static inline void test_heap_close(struct test_heap *heap)
{
	if (heap->fd >= 0)
		close(heap->fd);
	if (heap->session >= 0)
		close(heap->session);
	heap->fd = -1;
	heap->session = -1;
}

/* Single figures; ~0 if they cannot be had */

#define STATS_FIGURE(name)						\
static inline __u64 stats_##name(int fd)				\
{									\
	struct pyobjmem_stats stats;					\
									\
	return heap_stats(fd, &stats) ? ~0ULL : stats.out_##name;	\
}

STATS_FIGURE(objects)
STATS_FIGURE(created)
STATS_FIGURE(freed_counted)
STATS_FIGURE(freed_collected)
STATS_FIGURE(arenas)
STATS_FIGURE(page_bytes)
STATS_FIGURE(sessions)
STATS_FIGURE(tickets)
STATS_FIGURE(candidates)
STATS_FIGURE(permanent)
STATS_FIGURE(holds)
STATS_FIGURE(finalizers_abandoned)
STATS_FIGURE(watches)

/* The identity of used, free, unused and slack bytes. */
static inline bool stats_bytes_add_up(const struct pyobjmem_stats *stats)
{
	return stats->out_arena_bytes == stats->out_arenas * ARENA_BYTES &&
	       stats->out_arena_bytes == stats->out_used_bytes + stats->out_free_bytes +
					 stats->out_unused_bytes + stats->out_slack_bytes;
}

/* Small files: debugfs, module parameters, /proc */

static inline ssize_t file_read(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got;

	if (fd < 0)
		return -errno;
	do {
		got = read(fd, text + length, room - 1 - length);
		if (got > 0)
			length += got;
	} while (got > 0);
	close(fd);
	text[length] = 0;
	return length;
}

static inline int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t rc;

	if (fd < 0)
		return -errno;
	rc = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

static inline int parameter_read(const char *name, __u64 *value)
{
	char path[128], text[64];
	ssize_t rc;

	*value = 0;
	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	rc = file_read(path, text, sizeof(text));
	if (rc < 0)
		return rc;
	*value = strtoull(text, NULL, 0);
	return 0;
}

/* What a block has besides slots and payload: a head; in debug builds a red zone. */
static inline __u32 overhead_bytes(void)
{
	static __u64 red_zone = ~0ULL;

	if (red_zone == ~0ULL)
		parameter_read("red_zone", &red_zone);
	return sizeof(struct pyobjmem_head) + red_zone;
}

#define OVERHEAD_BYTES	overhead_bytes()

static inline int parameter_write(const char *name, __u64 value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return file_write(path, text);
}

/* Where the heaps show themselves; mounts debugfs if nobody has. */
static inline const char *debugfs_heaps(void)
{
	if (access(DEBUGFS "/pyobjmem", F_OK))
		mount("debugfs", DEBUGFS, "debugfs", 0, NULL);
	return DEBUGFS "/pyobjmem";
}

static inline ssize_t heap_file(__u64 number, const char *name, char *text, size_t room)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%llu/%s", debugfs_heaps(), (unsigned long long)number,
		 name);
	return file_read(path, text, room);
}

/* What the recount of a heap says: "ok\n", or what is wrong. */
static inline const char *heap_verify(__u64 number)
{
	static __thread char text[512];
	ssize_t rc = heap_file(number, "verify", text, sizeof(text));

	if (rc < 0)
		snprintf(text, sizeof(text), "cannot read verify of heap %llu: %s",
			 (unsigned long long)number, strerror(-rc));
	return text;
}

static inline bool heap_exists(__u64 number)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%llu", debugfs_heaps(), (unsigned long long)number);
	return !access(path, F_OK);
}

/* Heaps that there are in the whole system, -1 if that cannot be seen. */
static inline int heaps_count(void)
{
	DIR *directory = opendir(debugfs_heaps());
	struct dirent *entry;
	int count = 0;

	if (!directory)
		return -1;
	while ((entry = readdir(directory)))
		count += entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
	closedir(directory);
	return count;
}

#define ASSERT_VERIFIED(number)	ASSERT_STREQ("ok\n", heap_verify(number))
#define EXPECT_VERIFIED(number)	EXPECT_STREQ("ok\n", heap_verify(number))

/* A heap is to go soon after the last thing that kept it. */
#define EXPECT_HEAP_GONE(number) EXPECT_TRUE(wait_until(!heap_exists(number), SOON_MS))

/* Recount a heap, close it, and see that it goes. For the end of a test. */
#define EXPECT_CLEAN_END(heap) do {					\
	if ((heap)->session >= 0)					\
		EXPECT_VERIFIED((heap)->number);			\
	test_heap_close(heap);						\
	EXPECT_HEAP_GONE((heap)->number);				\
} while (0)

/* Descriptors through sockets */

static inline int descriptor_send(int socket, int fd)
{
	return descriptor_send_flags(socket, fd, 0);
}

static inline int descriptor_receive(int socket)
{
	return descriptor_receive_flags(socket, MSG_CMSG_CLOEXEC);
}

/* Children */

/* A child as its parent sees it. */
struct child {
	pid_t pid;
	int pipe_fd;		/* what the child says; ends when it is gone */
	int gate_fd;		/* closed, it lets child_waits() return */
};

/* What a child gets. */
struct child_side {
	void *argument;
	int pipe_fd;
	int gate_fd;
};

/* A child that runs @function and exits with what it returns, 0 for success. */
static inline int child_start(struct child *child, int (*function)(struct child_side *),
			      void *argument)
{
	struct child_side side = { .argument = argument };
	int up[2], down[2];

	*child = (struct child){ .pid = -1, .pipe_fd = -1, .gate_fd = -1 };
	if (pipe2(up, O_CLOEXEC) || pipe2(down, O_CLOEXEC))
		return -errno;
	child->pid = fork();
	if (child->pid < 0)
		return -errno;
	if (!child->pid) {
		close(up[0]);
		close(down[1]);
		side.pipe_fd = up[1];
		side.gate_fd = down[0];
		_exit(function(&side));
	}
	close(up[1]);
	close(down[0]);
	child->pipe_fd = up[0];
	child->gate_fd = down[1];
	return 0;
}

static inline void child_says(struct child_side *side, const void *data, size_t length)
{
	if (write(side->pipe_fd, data, length) != (ssize_t)length)
		_exit(120);
}

static inline void child_ready(struct child_side *side)
{
	child_says(side, "r", 1);
}

/* Until the parent closes the gate, or is gone. */
static inline void child_waits(struct child_side *side)
{
	char byte;

	while (read(side->gate_fd, &byte, 1) < 0 && errno == EINTR)
		;
}

/* Hear @length bytes from the child; false if it is gone before. */
static inline bool child_hear(struct child *child, void *data, size_t length)
{
	size_t have = 0;
	ssize_t got;

	while (have < length) {
		got = read(child->pipe_fd, (char *)data + have, length - have);
		if (got <= 0)
			return false;
		have += got;
	}
	return true;
}

static inline bool child_wait_ready(struct child *child)
{
	char byte;

	return child_hear(child, &byte, 1);
}

static inline void child_release(struct child *child)
{
	if (child->gate_fd >= 0)
		close(child->gate_fd);
	child->gate_fd = -1;
}

/* Its exit code, or minus the signal that ended it. */
static inline int child_end(struct child *child)
{
	int status;

	child_release(child);
	while (waitpid(child->pid, &status, 0) < 0) {
		if (errno != EINTR)
			return 127;
	}
	close(child->pipe_fd);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int child_kill(struct child *child)
{
	kill(child->pid, SIGKILL);
	return child_end(child);
}

/*
 * In a child: leave with the line's number where something is not as it
 * should be, so that the parent can name the place.
 */
#define CHILD_CHECK(condition) do {					\
	if (!(condition)) {						\
		fprintf(stderr, "# %s:%d: child: not so: %s (errno %d)\n", \
			__FILE__, __LINE__, #condition, errno);		\
		_exit(1);						\
	}								\
} while (0)

/* A page that cannot be reached right behind @bytes of pages that can. */
static inline void *guarded_pages(size_t bytes)
{
	char *area = mmap(NULL, bytes + POOL_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		return NULL;
	mprotect(area + bytes, POOL_BYTES, PROT_NONE);
	return area;
}

#endif /* PYOBJMEM_TEST_H */
