// SPDX-License-Identifier: GPL-2.0
/*
 * Death in the middle of a copy from or to the memory of a process. The victim
 * makes its own page faults wait (userfaultfd), so that the operation stands still
 * at a known place for as long as we like: with memory taken and nothing done,
 * half done, or all done and not told. Nobody else notices, and the kill comes
 * when it is certain that it is there.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "death.h"

#include <linux/userfaultfd.h>
#include <sys/syscall.h>

#define LARGE		65536U
#define ENTRIES		200	/* of a batch: more than a page of them */
#define EDGES		1000

/* What a victim has: a page where it stops, in the middle of some. */
struct victim {
	int session;
	int fd;			/* tells of faults */
	char *pages;		/* LARGE bytes */
	int heap_fd;
	int other_session;	/* not joined */
	int ticket;
	__u64 object;		/* mutable, large */
	int (*operates)(struct victim *victim);
};

/* Reading (or also writing, with @protect only writing) page @page stops us. */
static void stop_at(struct victim *victim, unsigned int page, bool protect)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { pointer(victim->pages) + page * POOL_BYTES, POOL_BYTES },
		.mode = protect ? UFFDIO_REGISTER_MODE_WP : UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_writeprotect rule = {
		.range = range.range,
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (protect)
		api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	CHILD_CHECK(fd >= 0);
	CHILD_CHECK(!ioctl(fd, UFFDIO_API, &api));
	if (!protect)
		CHILD_CHECK(!madvise(victim->pages + page * POOL_BYTES, POOL_BYTES,
				     MADV_DONTNEED));
	CHILD_CHECK(!ioctl(fd, UFFDIO_REGISTER, &range));
	if (protect)
		CHILD_CHECK(!ioctl(fd, UFFDIO_WRITEPROTECT, &rule));
	/* Only now there is something to read from it. */
	__atomic_store_n(&victim->fd, fd, __ATOMIC_RELEASE);
}

/* An operation whose structure can be read but not be written. */
static int operate_untold(struct victim *victim, int fd, unsigned int op, const void *command,
			  size_t size)
{
	memcpy(victim->pages, command, size);
	stop_at(victim, 0, true);
	return operate(fd, op, victim->pages);
}

/* --- Operations that stop ---------------------------------------------------- */

static int batch_entries(struct victim *victim)
{
	struct pyobjmem_batch_entry *entries = (void *)victim->pages;
	unsigned int i;

	for (i = 0; i < ENTRIES; i++)
		entries[i] = entry_create(0, "payload", 8, 1);
	stop_at(victim, 1, false);
	return batch_run(victim->session, entries, ENTRIES, 0, NULL);
}

/* Memory for large objects was taken, nothing was done yet. */
static int batch_payload(struct victim *victim)
{
	struct pyobjmem_batch_entry entries[3] = {
		entry_create(PYOBJMEM_CREATE_MUTABLE, NULL, LARGE, 1),
		entry_create(0, NULL, LARGE, 2000),
		entry_create(0, victim->pages, LARGE, 0),
	};

	stop_at(victim, 5, false);
	return batch_run(victim->session, entries, 3, 0, NULL);
}

/* All was done, READ's buffer stops it. */
static int batch_buffer(struct victim *victim)
{
	struct pyobjmem_batch_entry entries[3] = {
		entry_create(PYOBJMEM_CREATE_MUTABLE, NULL, LARGE, 1),
		entry_get_root(0),
		entry_read(victim->object, 0, victim->pages, LARGE),
	};

	stop_at(victim, 5, true);
	return batch_run(victim->session, entries, 3, 0, NULL);
}

/* All was done, and cannot be told. */
static int batch_results(struct victim *victim)
{
	struct pyobjmem_batch_entry *entries = (void *)victim->pages;
	unsigned int i;

	for (i = 0; i < ENTRIES; i++)
		entries[i] = i & 1 ? entry_create(0, "payload", 8, 1) : entry_get_root(0);
	stop_at(victim, 1, true);
	return batch_run(victim->session, entries, ENTRIES, 0, NULL);
}

static int create_payload(struct victim *victim)
{
	stop_at(victim, 7, false);
	return object_create(victim->session, 0, victim->pages, LARGE, NULL, 1, NULL);
}

static int create_edges(struct victim *victim)
{
	__u64 *edges = (void *)victim->pages;
	unsigned int i;

	for (i = 0; i < EDGES; i++)
		edges[i] = victim->object;
	stop_at(victim, 1, false);
	return object_create(victim->session, 0, NULL, 0, edges, EDGES, NULL);
}

static int create_reply(struct victim *victim)
{
	struct pyobjmem_create command = { .size = sizeof(command), .slots = 1 };

	return operate_untold(victim, victim->session, PYOBJMEM_OP_CREATE, &command,
			      sizeof(command));
}

static int get_root_reply(struct victim *victim)
{
	struct pyobjmem_get_root command = { .size = sizeof(command) };

	return operate_untold(victim, victim->session, PYOBJMEM_OP_GET_ROOT, &command,
			      sizeof(command));
}

static int read_buffer(struct victim *victim)
{
	stop_at(victim, 3, true);
	return object_read(victim->session, victim->object, 0, victim->pages, LARGE);
}

static int write_buffer(struct victim *victim)
{
	stop_at(victim, 3, false);
	return object_write(victim->session, victim->object, 0, victim->pages, LARGE);
}

/* A ticket that has no descriptor yet */
static int export_reply(struct victim *victim)
{
	struct pyobjmem_export command = { .size = sizeof(command), .handle = victim->object };

	return operate_untold(victim, victim->session, PYOBJMEM_OP_EXPORT, &command,
			      sizeof(command));
}

static int redeem_reply(struct victim *victim)
{
	struct pyobjmem_redeem command = { .size = sizeof(command), .fd = victim->ticket };

	return operate_untold(victim, victim->session, PYOBJMEM_OP_REDEEM, &command,
			      sizeof(command));
}

static int join_reply(struct victim *victim)
{
	struct pyobjmem_heap_join command = { .size = sizeof(command), .fd = victim->heap_fd };

	return operate_untold(victim, victim->other_session, PYOBJMEM_OP_HEAP_JOIN, &command,
			      sizeof(command));
}

static int collect_reply(struct victim *victim)
{
	struct pyobjmem_collect command = { .size = sizeof(command), .generation = 2 };

	return operate_untold(victim, victim->session, PYOBJMEM_OP_COLLECT, &command,
			      sizeof(command));
}

/* --- Victims ----------------------------------------------------------------- */

struct copy {
	struct death death;
	int (*operates)(struct victim *victim);
};

static void *operates(void *argument)
{
	struct victim *victim = argument;

	victim->operates(victim);
	/* It cannot come back, because nobody serves its fault. */
	_exit(1);
}

/* Something of everything, then the operation; the parent hears when it stands. */
static int stands_in_a_copy(struct child_side *side)
{
	struct copy *copy = side->argument;
	struct victim victim = { .operates = copy->operates, .heap_fd = copy->death.heap.fd };
	struct uffd_msg message;
	pthread_t thread;
	__u64 handle;

	victim.session = join_in_child(side);
	victim.pages = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);
	CHILD_CHECK(victim.pages != MAP_FAILED);
	memset(victim.pages, 'x', LARGE);
	CHILD_CHECK(!object_create(victim.session, PYOBJMEM_CREATE_MUTABLE, victim.pages, LARGE,
				   NULL, 1, &victim.object));
	CHILD_CHECK(!ref_set(victim.session, victim.object, 0, victim.object, NULL));
	CHILD_CHECK(!container_create(victim.session, 1, &handle));
	victim.ticket = object_export(victim.session, handle);
	CHILD_CHECK(victim.ticket >= 0);
	CHILD_CHECK(!object_put(victim.session, handle));
	victim.other_session = session_open();
	CHILD_CHECK(victim.other_session >= 0);
	victim.fd = -1;
	CHILD_CHECK(!pthread_create(&thread, NULL, operates, &victim));
	while (__atomic_load_n(&victim.fd, __ATOMIC_ACQUIRE) < 0)
		sleep_us(50);
	CHILD_CHECK(read(victim.fd, &message, sizeof(message)) == sizeof(message));
	CHILD_CHECK(message.event == UFFD_EVENT_PAGEFAULT);
	child_ready(side);
	wait_for_death();
}

FIXTURE(copy)
{
	struct copy copy;
};

FIXTURE_VARIANT(copy)
{
	int (*operates)(struct victim *victim);
	unsigned int objects;	/* of the victim: done before it stopped */
	unsigned int tickets;
};

/* All have the large object and the ticket's. */
#define STANDS_IN(name, more_objects, more_tickets)			\
FIXTURE_VARIANT_ADD(copy, name) {					\
	.operates = name,						\
	.objects = 2 + (more_objects),					\
	.tickets = 1 + (more_tickets),					\
}

STANDS_IN(batch_entries, 0, 0);
STANDS_IN(batch_payload, 0, 0);
STANDS_IN(batch_buffer, 1, 0);
STANDS_IN(batch_results, ENTRIES / 2, 0);
STANDS_IN(create_payload, 0, 0);
STANDS_IN(create_edges, 0, 0);
STANDS_IN(create_reply, 1, 0);
STANDS_IN(get_root_reply, 0, 0);
STANDS_IN(read_buffer, 0, 0);
STANDS_IN(write_buffer, 0, 0);
STANDS_IN(export_reply, 0, 1);
STANDS_IN(redeem_reply, 0, 0);
STANDS_IN(join_reply, 0, 0);
STANDS_IN(collect_reply, 0, 0);

FIXTURE_SETUP(copy)
{
	death_begin(_metadata, &self->copy.death);
	self->copy.operates = variant->operates;
}

FIXTURE_TEARDOWN(copy)
{
	death_end(_metadata, &self->copy.death);
}

TEST_F_TIMEOUT(copy, is_left_in_the_middle, DEATH_SECONDS)
{
	struct death *death = &self->copy.death;
	unsigned int kills = kills_of(10), i;
	struct child child;
	__u64 handle;

	for (i = 0; i < kills; i++) {
		ASSERT_EQ(0, child_start(&child, stands_in_a_copy, &self->copy));
		ASSERT_TRUE(child_wait_ready(&child));
		/* It stands there, and nobody has to wait for it. */
		ASSERT_EQ(BASELINE + variant->objects, stats_objects(death->session));
		ASSERT_EQ(variant->tickets, stats_tickets(death->session));
		ASSERT_EQ(0, container_create(death->session, 1, &handle));
		ASSERT_EQ(0, object_put(death->session, handle));
		ASSERT_EQ(0, heap_collect(death->session, 2, NULL));
		ASSERT_VERIFIED(death->heap.number);
		ASSERT_EQ(-SIGKILL, child_kill(&child));
		expect_baseline(_metadata, death);
	}
}

TEST_HARNESS_MAIN
