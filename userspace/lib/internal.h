/* SPDX-License-Identifier: MIT */
/*
 * What the files of libpyobjmem share. None of it is exported.
 *
 *	sys.c		the system calls on the device; tests put another in its place
 *	map.c		records by 64-bit keys; no locks, no system calls
 *	table.c		what the session holds and how often, a map; no system calls
 *	session.c	sessions and heaps; takes that are gained and given back
 *	object.c	operations on objects and roots
 *	ticket.c	tickets, and descriptors over sockets
 *	weak.c		weak holds
 *	event.c		events, and the callbacks that they are for
 *	queue.c, batch.c	many operations in one call
 *
 * Counting
 *
 * For the kernel a session holds an object or does not, but it counts how often
 * the session took it, and wants as many PUTs. CREATE, GET_REF, GET_ROOT, REDEEM,
 * UPGRADE and FINALIZE events each are one take, and only their answer tells of
 * what. The library keeps for every handle that its session holds
 *
 *	count	how often the program holds it: each of those operations and
 *		each pyobjmem_get() is one more, each pyobjmem_put() one less
 *	takes	how often the kernel believes it is taken
 *
 * There is an entry as long as count is not 0. A put that leaves count above 0
 * and a get are nothing but arithmetic. A put that makes it 0 removes the entry
 * and then gives back all its takes. One take is enough to keep the object, so
 * takes above TAKES_MAX are given back before, which bounds what a put has to do.
 *
 * Why this is right with several threads, although the lock is dropped between
 * the table and the system call: at any time
 *
 *	takes in the kernel == takes in the table
 *			     + takes gained, but not yet entered in the table
 *			     + takes removed from the table, but not yet given back
 *
 * because every take is moved from one of these terms to the next by exactly one
 * thread, whatever the others do in between. So the kernel never gets a PUT
 * too many, and at the end none is missing. And while an entry exists its takes
 * are at least 1, so the kernel keeps the object for all who count on it. Thread
 * A's last put of an object against thread B's get_ref of the same object:
 *
 *	A removes the entry (1 take), B gets another take from the kernel, and
 *	then A's PUT and B's new entry come in either order: 1 take stays in the
 *	kernel, 1 in the table. If A's PUT comes before B's GET_REF, the object
 *	lives on only if the slot keeps it, as it must for B's GET_REF to find it.
 *
 * B's entry can not be mistaken for a newer object at the same place: handles
 * carry a generation. A pyobjmem_get() that races with the last put of the same
 * object is the program's error, as B did not hold what it wanted to hold once
 * more; it gets -ENOENT or a sound hold, depending on who comes first.
 *
 * A put that is queued in a batcher must not let the object go before the
 * operations queued ahead of it took place. If it is the last one, its takes
 * leave the table, and their PUTs are queued: nobody else can drop them. If
 * others hold the object, too, they could put it meanwhile, so the hold is lent
 * to the batcher: it keeps counting, but not for the program any more, until
 * the batcher puts it after the operations.
 *
 * Events
 *
 * An event names a handle (FINALIZE) or a number that the library chose
 * (WEAK_DEAD); what is to be called lies in one of two maps:
 *
 *	finalizers	handle -> function. Entered when CREATE has returned: nobody
 *			else knows the handle yet, so the object cannot have died.
 *			Removed by the event, of which there is one unless the
 *			session ends.
 *	weaks		number -> function, handle. Entered before WEAK, as the event
 *			may come before WEAK returns. Removed by the event, or by
 *			WEAK_DROP if that said that there will be none. If it said
 *			that the object is dead, the event is on its way: the
 *			record stays for it, marked as dropped.
 *
 * So as many events of these types can still come as there are records, and none
 * of them is mistaken for another: handles carry a generation, and numbers are
 * never used again. What is called is looked up, and the record removed, in one
 * hold of the lock, right before the call: who removes it first, the event or
 * a drop, has it.
 */
#ifndef PYOBJMEM_INTERNAL_H
#define PYOBJMEM_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <pyobjmem.h>

/* Everything is built with -fvisibility=hidden. */
#define API		__attribute__((visibility("default")))

#define DEVICE		"/dev/pyobjmem"

/* The Makefile reads it here. */
#define VERSION		"0.1.0"

/* Takes of one object that the library lets gather before it gives some back. */
#define TAKES_MAX	32U

/* --- sys.c ---------------------------------------------------------------- */

int pyobjmem_sys_open(void);
int pyobjmem_sys_ioctl(int fd, unsigned long command, void *argument);
ssize_t pyobjmem_sys_read(int fd, void *buffer, size_t size);
int pyobjmem_sys_poll(int fd, int timeout);
int pyobjmem_sys_nonblock(int fd);
void pyobjmem_sys_close(int fd);
void *pyobjmem_sys_alloc(size_t size);
void *pyobjmem_sys_realloc(void *memory, size_t size);

/* --- map.c ---------------------------------------------------------------- */

/**
 * struct pyobjmem_map - records by their keys
 * @records: open addressing, linear probing
 * @record_size: size of one. Its first member is the key, a uint64_t, 0 in an
 *	empty place.
 * @size: places of @records, 0 or a power of two
 * @used: records
 * @reserved: records for which there is room besides
 */
struct pyobjmem_map {
	char *records;
	size_t record_size;
	size_t size;
	size_t used;
	size_t reserved;
};

/* An empty map of records of a type */
#define MAP_OF(type)	((struct pyobjmem_map){ .record_size = sizeof(type) })

int pyobjmem_map_reserve(struct pyobjmem_map *map, size_t n);
void pyobjmem_map_unreserve(struct pyobjmem_map *map, size_t n);
void *pyobjmem_map_enter(struct pyobjmem_map *map, uint64_t key);
void *pyobjmem_map_find(const struct pyobjmem_map *map, uint64_t key);
void pyobjmem_map_remove(struct pyobjmem_map *map, void *record);
void pyobjmem_map_clear(struct pyobjmem_map *map);
void pyobjmem_map_destroy(struct pyobjmem_map *map);

/* --- table.c -------------------------------------------------------------- */

/**
 * struct pyobjmem_entry - an object that the session holds
 * @handle: which
 * @count: how often the program and batchers hold it, at least 1. 64 bits do not
 *	overflow in a lifetime.
 * @lent: how many of these holds belong to batchers, which will put them
 * @takes: how often the kernel believes it is taken, 1 to TAKES_MAX - 1
 */
struct pyobjmem_entry {
	uint64_t handle;
	uint64_t count;
	uint32_t lent;
	uint32_t takes;
};

unsigned int pyobjmem_table_add(struct pyobjmem_map *table, uint64_t handle);
int pyobjmem_table_get(struct pyobjmem_map *table, uint64_t handle);
int pyobjmem_table_put(struct pyobjmem_map *table, uint64_t handle);
int pyobjmem_table_lend(struct pyobjmem_map *table, uint64_t handle);
int pyobjmem_table_put_lent(struct pyobjmem_map *table, uint64_t handle);
uint64_t pyobjmem_table_count(const struct pyobjmem_map *table, uint64_t handle);

/* --- session.c ------------------------------------------------------------ */

/**
 * struct pyobjmem - a session
 * @fd: its descriptor of the device
 * @lock: protects all that follows. One lock is enough: it is held for a few
 *	instructions, while the operations that a program can do in parallel
 *	meet the one lock of the heap in the kernel anyway.
 * @heap: number of the heap, 0 before it has joined
 * @rights: PYOBJMEM_RIGHT_* that it has there
 * @table: what it holds
 * @finalizers: what objects of its own wait for
 * @weaks: its weak holds
 * @last_weak: number of the latest of them
 * @asked: COLLECTED events may come
 * @collected: what is called for them
 * @collected_data: what that gets
 * @dispatching: a thread, @dispatcher, reads events and runs callbacks
 * @again: others have asked for that meanwhile: it looks once more before it ends
 * @dispatcher: which
 * @idle: told when it has ended
 * @direct: callbacks run at once. Not protected: it is one flag.
 */
struct pyobjmem {
	int fd;
	pthread_mutex_t lock;
	uint64_t heap;
	uint32_t rights;
	struct pyobjmem_map table;
	struct pyobjmem_map finalizers;
	struct pyobjmem_map weaks;
	uint64_t last_weak;
	bool asked;
	pyobjmem_collected_fn collected;
	void *collected_data;
	bool dispatching;
	bool again;
	pthread_t dispatcher;
	pthread_cond_t idle;
	bool direct;
};

int pyobjmem_take(struct pyobjmem *session, unsigned long command, void *argument,
		  const __u64 *handle);
int pyobjmem_give_back(struct pyobjmem *session, uint64_t handle, unsigned int takes);
int pyobjmem_put_quietly(struct pyobjmem *session, uint64_t handle);

/* --- weak.c --------------------------------------------------------------- */

/**
 * struct pyobjmem_weak_hold - a weak hold
 * @number: its name, and the cookie of its event
 * @handle: the object
 * @callback: what is called when the object has died, or NULL
 * @data: what it gets
 * @dropped: nothing is called any more; the event is on its way
 */
struct pyobjmem_weak_hold {
	uint64_t number;
	uint64_t handle;
	pyobjmem_weak_fn callback;
	void *data;
	bool dropped;
};

int pyobjmem_weak_new(struct pyobjmem *session, const struct pyobjmem_weak_hold *hold,
		      uint64_t *number);
void pyobjmem_weak_forget(struct pyobjmem *session, uint64_t number);
int pyobjmem_weak_object(struct pyobjmem *session, uint64_t number, uint64_t *handle);

/* --- event.c -------------------------------------------------------------- */

/**
 * struct pyobjmem_finalizer - what is to be called before an object dies
 * @handle: the object
 * @function: what is called
 * @data: what it gets
 */
struct pyobjmem_finalizer {
	uint64_t handle;
	pyobjmem_finalizer_fn function;
	void *data;
};

void pyobjmem_finalizer_enter(struct pyobjmem *session,
			      const struct pyobjmem_finalizer *finalizer);
void pyobjmem_dispatch_direct(struct pyobjmem *session, bool collected);

/* A pointer as the kernel's structures carry it. */
static inline __u64 pyobjmem_pointer(const void *pointer)
{
	return (uintptr_t)pointer;
}

#endif /* PYOBJMEM_INTERNAL_H */
