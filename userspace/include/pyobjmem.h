/* SPDX-License-Identifier: MIT */
/*
 * libpyobjmem: reference counted objects shared by processes.
 *
 * The kernel module pyobjmem keeps objects (a payload of bytes and slots that
 * refer to other objects) in heaps that several processes share. This library
 * is how a program uses them. The words (heap, session, hold, root, ticket) are
 * explained in pyobjmem(7), the kernel's side in <linux/pyobjmem.h>.
 *
 * Results: a function returns 0, or a value that is not negative, or a negative
 * error number as <linux/pyobjmem.h> lists them under "General format of the
 * operations". It leaves errno alone. Pointers by which a function returns
 * something may be NULL where that is said, and are written only when it
 * succeeds unless something else is said.
 *
 * Structures of the kernel's interface (struct pyobjmem_stats and so on) are
 * passed as they are: the caller sets their member size to sizeof(the
 * structure) and everything else to 0 or to what is asked. So programs,
 * libraries and kernels of different age understand each other.
 *
 * Threads: any number of them may use one session at the same time. A struct
 * pyobjmem_batcher is for one thread at a time. Callbacks (finalizers, those of
 * weak holds, pyobjmem_on_collected()) are described at pyobjmem_dispatch().
 *
 * fork(): a session belongs to the process that opened it. In the child every
 * operation on it is -EIO; the child may pyobjmem_close() it, and opens one of
 * its own.
 */
#ifndef PYOBJMEM_H
#define PYOBJMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/pyobjmem.h>

#ifdef __cplusplus
extern "C" {
#ifdef __GNUC__
/* Functions have names of structures of the kernel's interface, like stat(2). */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#endif

/** struct pyobjmem - a session and what it holds */
struct pyobjmem;

/** struct pyobjmem_batcher - operations that go to the kernel together */
struct pyobjmem_batcher;

/**
 * pyobjmem_finalizer_fn - what is to be done before an object dies
 * @session: the session that made the object
 * @handle: the object, which the session holds until the function returns
 * @data: what was given with the object
 *
 * The object is whole, and so is all that it refers to: it can be used as any
 * other, and made reachable again, with pyobjmem_get(), or by something that
 * is made to refer to it. Then it lives on, but it has no finalizer any more.
 */
typedef void (*pyobjmem_finalizer_fn)(struct pyobjmem *session, uint64_t handle, void *data);

/**
 * pyobjmem_weak_fn - what is to be done when an object has died
 * @session: the session that held it weakly
 * @weak: the number of the weak hold, which is gone
 * @handle: the object: a name only, of nothing that lives
 * @data: what was given with the weak hold
 */
typedef void (*pyobjmem_weak_fn)(struct pyobjmem *session, uint64_t weak, uint64_t handle,
				 void *data);

/**
 * pyobjmem_collected_fn - what is to be done when a collection has ended
 * @session: the session
 * @event: of the type PYOBJMEM_EVENT_COLLECTED: what the collection did
 * @data: what was given with the function
 */
typedef void (*pyobjmem_collected_fn)(struct pyobjmem *session,
				      const struct pyobjmem_event *event, void *data);

/**
 * struct pyobjmem_object - an object to be created
 * @payload: its first bytes, @payload_size of them; NULL for zeros
 * @edges: what its slots name at first, @slots handles that the session holds
 *	or PYOBJMEM_NONE; NULL for empty slots
 * @payload_size: size of the payload in bytes
 * @slots: number of slots, at most PYOBJMEM_SLOTS_MAX
 * @type: type tag of the program's, at most 65535
 * @flags: PYOBJMEM_CREATE_*
 * @finalizer: with PYOBJMEM_CREATE_FINALIZE, what is to be called, once, before
 *	the object dies; see pyobjmem_dispatch()
 * @data: what @finalizer gets
 *
 * @finalizer and @data are not looked at without PYOBJMEM_CREATE_FINALIZE.
 */
struct pyobjmem_object {
	const void *payload;
	const uint64_t *edges;
	uint32_t payload_size;
	uint32_t slots;
	uint32_t type;
	uint32_t flags;
	pyobjmem_finalizer_fn finalizer;
	void *data;
};

/**
 * struct pyobjmem_extent - what a batched read found
 * @length: bytes that were copied
 * @payload: size of the object's payload in bytes
 * @slots: number of the object's slots
 */
struct pyobjmem_extent {
	uint64_t length;
	uint32_t payload;
	uint32_t slots;
};

/* --- Sessions ------------------------------------------------------------ */

/**
 * pyobjmem_open() - open a session
 * @session: where it goes
 *
 * Return: 0; -ENOENT if the module is not loaded, -EACCES if the user may not
 * open the device, -EDQUOT if the user has too many sessions, -ENOMEM.
 */
int pyobjmem_open(struct pyobjmem **session);

/**
 * pyobjmem_open_fd() - make a session of a descriptor of the device
 * @fd: descriptor of /dev/pyobjmem that this process opened. It belongs to the
 *	session afterwards, if the call succeeds.
 * @session: where it goes
 *
 * The library does not know what was taken through the descriptor before. Such
 * objects can be used, and pyobjmem_get() takes them once more, but what the
 * library has not given cannot be put through it. Events that the library knows
 * nothing of are read and dropped, the hold of a finalizer's included. The
 * descriptor is made O_NONBLOCK, which only read(2) heeds.
 *
 * Return: 0; -EBADF, -ENOTTY if @fd is no descriptor of the device, -EIO if
 * another process opened it, -ENOMEM.
 */
int pyobjmem_open_fd(int fd, struct pyobjmem **session);

/**
 * pyobjmem_close() - end a session and drop all that it holds
 * @session: the session, or NULL. No other thread may use it any more, and
 *	its batchers are freed before.
 *
 * The kernel ends the session with the last copy of its descriptor. A fork
 * child that has one keeps it open, but not alive past this process: use
 * pyobjmem_leave() to be sure at once.
 *
 * Callbacks that have not begun never run, and a callback must not close its
 * own session. Finalizers of objects that others keep alive are gone: such
 * an object will die without, and the heap counts it (out_finalizers_abandoned of
 * pyobjmem_stats()).
 */
void pyobjmem_close(struct pyobjmem *session);

/**
 * pyobjmem_fd() - the session's descriptor
 * @session: the session
 *
 * It can be waited for with poll(2), epoll(7) or pyobjmem_dispatch(): POLLIN says
 * that there are events. Only the library is to read them.
 *
 * Return: the descriptor, which stays the session's. It is close-on-exec and
 * O_NONBLOCK.
 */
int pyobjmem_fd(const struct pyobjmem *session);

/**
 * pyobjmem_query() - what the kernel is able to do
 * @session: the session; it need not have joined a heap
 * @query: with size set; the kernel fills in the rest
 *
 * Return: 0; -EINVAL, -E2BIG or -EOPNOTSUPP for wrong input in @query.
 */
int pyobjmem_query(struct pyobjmem *session, struct pyobjmem_query *query);

/**
 * pyobjmem_leave() - end the session for the kernel
 * @session: the session
 *
 * All it held is gone when the call returns, and so are its weak holds and
 * finalizers: callbacks that have not begun never run. Every later operation but
 * pyobjmem_query() is -ENOTCONN; pyobjmem_close() frees the memory.
 *
 * Return: 0; -ENOTCONN if it has left before.
 */
int pyobjmem_leave(struct pyobjmem *session);

/**
 * pyobjmem_version() - the version of the library
 *
 * Return: a string such as "0.1.0".
 */
const char *pyobjmem_version(void);

/* --- Heaps --------------------------------------------------------------- */

/**
 * pyobjmem_heap_create() - make a heap and join it
 * @session: a session that has joined none
 * @flags: PYOBJMEM_HEAP_*
 * @rights: PYOBJMEM_RIGHT_* that those who join through the descriptor get.
 *	This session has all of them.
 * @heap_fd: where the descriptor goes through which others join; close-on-exec,
 *	the caller's to close. NULL if nobody is to join.
 *
 * The heap lives while a session that joined it, a descriptor of it or a ticket
 * of it does.
 *
 * Return: 0; -EALREADY, -EDQUOT, -EMFILE, -ENFILE, -ENOMEM, -EOPNOTSUPP.
 */
int pyobjmem_heap_create(struct pyobjmem *session, uint32_t flags, uint32_t rights,
			 int *heap_fd);

/**
 * pyobjmem_heap_join() - join a heap
 * @session: a session that has joined none
 * @heap_fd: descriptor of the heap, inherited or received; it stays open
 *
 * Return: 0; -EALREADY, -EBADF, -EINVAL if @heap_fd is no heap.
 */
int pyobjmem_heap_join(struct pyobjmem *session, int heap_fd);

/**
 * pyobjmem_heap() - the number of the heap, the name of its debugfs directory
 * @session: the session
 *
 * Return: the number; 0 if the session has joined no heap.
 */
uint64_t pyobjmem_heap(struct pyobjmem *session);

/**
 * pyobjmem_rights() - what the session may do to the heap as a whole
 * @session: the session
 *
 * Return: PYOBJMEM_RIGHT_* that it got with the heap. 0 for a session of
 * pyobjmem_open_fd() that had joined before: the kernel is not asked again.
 */
uint32_t pyobjmem_rights(struct pyobjmem *session);

/**
 * pyobjmem_configure() - lower limits, say when to collect
 * @session: a session with PYOBJMEM_RIGHT_CONFIGURE
 * @configure: with size set; flags says which of the members count
 *
 * Return: 0; -EPERM, -EINVAL for a limit that is higher than before or lower
 * than what is in use.
 */
int pyobjmem_configure(struct pyobjmem *session,
		       const struct pyobjmem_heap_configure *configure);

/**
 * pyobjmem_stats() - counters of the heap and of the session
 * @session: the session
 * @stats: with size set; the kernel fills in the rest
 *
 * Return: 0; -ENOTCONN.
 */
int pyobjmem_stats(struct pyobjmem *session, struct pyobjmem_stats *stats);

/* --- Objects ------------------------------------------------------------- */

/**
 * pyobjmem_create() - make an object
 * @session: the session, which holds it once afterwards
 * @object: what it is to be; copied
 * @handle: where its handle goes
 *
 * Return: 0; -E2BIG (payload or slots), -EINVAL (type, or a finalizer asked for
 * and not given), -EFAULT, -ENOENT and -ESTALE (an edge), -EOVERFLOW, -ENOSPC,
 * -EDQUOT, -ENOMEM, -EOPNOTSUPP.
 */
int pyobjmem_create(struct pyobjmem *session, const struct pyobjmem_object *object,
		    uint64_t *handle);

/**
 * pyobjmem_get() - hold an object once more
 * @session: the session
 * @handle: an object that it holds
 *
 * No system call: the library counts. For an object that the library does
 * not know to be held, the kernel is asked (see pyobjmem_open_fd()).
 *
 * Return: 0; -EINVAL, -ENOENT, -ESTALE.
 */
int pyobjmem_get(struct pyobjmem *session, uint64_t handle);

/**
 * pyobjmem_put() - hold an object once less
 * @session: the session
 * @handle: an object that it holds
 *
 * Only the last put of an object is a system call. Then, unless something else
 * refers to the object, it is freed with all that only it kept alive before
 * the call returns.
 *
 * Return: 0; -ENOENT if the library holds no such object: nothing has changed
 * then. Any other error is the kernel's and means that the session has ended,
 * and what it held with it.
 */
int pyobjmem_put(struct pyobjmem *session, uint64_t handle);

/**
 * pyobjmem_holds() - how often the session holds an object
 * @session: the session
 * @handle: any handle
 *
 * No system call. The kernel's figures (out_takes of pyobjmem_inspect()) are
 * smaller, as it counts one hold for any number of these.
 *
 * Return: gets not yet put.
 */
uint64_t pyobjmem_holds(struct pyobjmem *session, uint64_t handle);

/**
 * pyobjmem_set_ref() - set a slot of an object
 * @session: the session
 * @handle: the object, held
 * @slot: index of the slot
 * @value: what it is to name, held, or PYOBJMEM_NONE
 * @old: where what it named before goes, or NULL. That is a name only: the
 *	object may be dead already.
 *
 * The slot counts as a reference to @value: the session's own hold of it may go.
 *
 * Return: 0; -EINVAL, -ENOENT, -ESTALE, -EOVERFLOW.
 */
int pyobjmem_set_ref(struct pyobjmem *session, uint64_t handle, uint32_t slot, uint64_t value,
		     uint64_t *old);

/**
 * pyobjmem_compare_and_set_ref() - set a slot if it names what is expected
 * @session: the session
 * @handle: the object, held
 * @slot: index of the slot
 * @expected: what it must name now
 * @value: what it is to name, held, or PYOBJMEM_NONE
 * @old: where what it names, or named, goes; or NULL. Also written with
 *	-ECANCELED.
 *
 * Return: 0; -ECANCELED if the slot names something else, -EINVAL, -ENOENT,
 * -ESTALE, -EOVERFLOW.
 */
int pyobjmem_compare_and_set_ref(struct pyobjmem *session, uint64_t handle, uint32_t slot,
				 uint64_t expected, uint64_t value, uint64_t *old);

/**
 * pyobjmem_get_ref() - hold what a slot names
 * @session: the session
 * @handle: the object, held
 * @slot: index of the slot
 * @value: where the handle goes; PYOBJMEM_NONE for an empty slot
 *
 * Return: 0; -EINVAL, -ENOENT, -ESTALE, -EOVERFLOW, -EDQUOT, -ENOMEM.
 */
int pyobjmem_get_ref(struct pyobjmem *session, uint64_t handle, uint32_t slot, uint64_t *value);

/**
 * pyobjmem_read() - copy from a payload
 * @session: the session
 * @handle: the object, held
 * @buffer: where the bytes go
 * @length: bytes to copy at the most
 * @offset: first byte of the payload to copy
 *
 * Return: bytes copied, fewer than @length at the end of the payload; -EINVAL
 * if @offset lies behind it, -ENOENT, -ESTALE, -EFAULT, -ENOMEM.
 */
ssize_t pyobjmem_read(struct pyobjmem *session, uint64_t handle, void *buffer, size_t length,
		      uint64_t offset);

/**
 * pyobjmem_write() - copy into a payload
 * @session: the session
 * @handle: the object, held, made with PYOBJMEM_CREATE_MUTABLE
 * @buffer: the bytes
 * @length: how many
 * @offset: first byte of the payload to change
 *
 * Each aligned 4096 bytes of the payload are changed at once.
 *
 * Return: bytes copied. Fewer than @length if an error came half way: a call
 * for the rest tells which. -EINVAL if the range does not lie in the payload,
 * -ENOENT, -ESTALE, -EPERM if the object is sealed, -EFAULT, -ENOMEM.
 */
ssize_t pyobjmem_write(struct pyobjmem *session, uint64_t handle, const void *buffer,
		       size_t length, uint64_t offset);

/**
 * pyobjmem_inspect() - look at an object
 * @session: the session
 * @handle: the object, held
 * @edges: room for @capacity handles, where what the slots name goes, names
 *	only; NULL if @capacity is 0
 * @capacity: how many handles
 * @inspect: with size set; the kernel fills in the rest. Of more slots than
 *	@capacity only the first are written: out_slots tells.
 *
 * Return: 0; -EINVAL, -ENOENT, -ESTALE, -EFAULT, -ENOMEM.
 */
int pyobjmem_inspect(struct pyobjmem *session, uint64_t handle, uint64_t *edges,
		     uint32_t capacity, struct pyobjmem_inspect *inspect);

/**
 * pyobjmem_set_root() - set a root of the heap
 * @session: the session
 * @root: index of the root, below PYOBJMEM_ROOTS
 * @handle: what it is to name, held, or PYOBJMEM_NONE
 * @old: where what it named before goes, a name only; or NULL
 *
 * Return: 0; -EINVAL, -ENOENT, -ESTALE, -EOVERFLOW.
 */
int pyobjmem_set_root(struct pyobjmem *session, uint32_t root, uint64_t handle, uint64_t *old);

/**
 * pyobjmem_get_root() - hold what a root of the heap names
 * @session: the session
 * @root: index of the root, below PYOBJMEM_ROOTS
 * @handle: where the handle goes; PYOBJMEM_NONE for an empty root
 *
 * Return: 0; -EINVAL, -EOVERFLOW, -EDQUOT, -ENOMEM.
 */
int pyobjmem_get_root(struct pyobjmem *session, uint32_t root, uint64_t *handle);

/* --- Tickets ------------------------------------------------------------- */

/**
 * pyobjmem_export() - make a ticket of an object
 * @session: the session
 * @handle: the object, held
 *
 * A ticket is a descriptor that keeps the object alive while it travels. Any
 * session of the same heap can redeem it, any number of times.
 *
 * Return: the descriptor, close-on-exec, the caller's to close; -EINVAL,
 * -ENOENT, -ESTALE, -EOVERFLOW, -EMFILE, -ENFILE, -ENOMEM.
 */
int pyobjmem_export(struct pyobjmem *session, uint64_t handle);

/**
 * pyobjmem_redeem() - hold the object of a ticket
 * @session: the session
 * @ticket: the descriptor; it stays open
 * @handle: where the handle goes
 *
 * Return: 0; -EBADF, -EINVAL if @ticket is none, -EXDEV if it is of another
 * heap, -EOVERFLOW, -EDQUOT, -ENOMEM.
 */
int pyobjmem_redeem(struct pyobjmem *session, int ticket, uint64_t *handle);

/**
 * pyobjmem_send_fd() - send a descriptor over a socket
 * @socket: a connected AF_UNIX socket
 * @fd: descriptor of a heap or a ticket; it stays open
 *
 * One message of one byte goes with it. No SIGPIPE.
 *
 * Return: 0; what sendmsg(2) gives, -EINTR from a signal handler included.
 */
int pyobjmem_send_fd(int socket, int fd);

/**
 * pyobjmem_recv_fd() - receive what pyobjmem_send_fd() sent
 * @socket: a connected AF_UNIX socket
 *
 * Return: the descriptor, close-on-exec, the caller's to close; -EPIPE if the
 * other side has closed, -EBADMSG if the message carries something else, what
 * recvmsg(2) gives.
 */
int pyobjmem_recv_fd(int socket);

/**
 * pyobjmem_send() - send an object over a socket
 * @session: the session
 * @handle: the object, held; it may be put as soon as the call returns
 * @socket: a connected AF_UNIX socket
 *
 * Return: 0; as pyobjmem_export() and pyobjmem_send_fd().
 */
int pyobjmem_send(struct pyobjmem *session, uint64_t handle, int socket);

/**
 * pyobjmem_receive() - hold an object that pyobjmem_send() sent
 * @session: a session of the same heap
 * @socket: a connected AF_UNIX socket
 * @handle: where the handle goes
 *
 * Return: 0; as pyobjmem_recv_fd() and pyobjmem_redeem().
 */
int pyobjmem_receive(struct pyobjmem *session, int socket, uint64_t *handle);

/* --- Weak holds ---------------------------------------------------------- */

/*
 * A weak hold does not keep its object alive, but finds it while it lives. It goes
 * with pyobjmem_weak_drop() or with its object, whichever comes first. Its
 * number never comes again in the session.
 */

/**
 * pyobjmem_weak() - hold an object weakly
 * @session: the session
 * @handle: the object, held
 * @callback: what is to be called when the object has died, after its finalizer;
 *	or NULL
 * @data: what @callback gets
 * @weak: where the number of the weak hold goes, which is not 0
 *
 * A session may hold an object weakly any number of times. Should others put what
 * the caller holds meanwhile, @callback may run before the call returns.
 *
 * Return: 0; -EINVAL, -ENOENT, -ESTALE, -EDQUOT, -ENOMEM, -EOPNOTSUPP if the kernel
 * has none (PYOBJMEM_FEATURE_WEAK).
 */
int pyobjmem_weak(struct pyobjmem *session, uint64_t handle, pyobjmem_weak_fn callback,
		  void *data, uint64_t *weak);

/**
 * pyobjmem_upgrade() - hold the object of a weak hold
 * @session: the session
 * @weak: number of the weak hold, which stays
 * @handle: where the object goes
 *
 * No system call if the session holds the object anyway.
 *
 * Return: 0; -ESTALE if the object is dead or dying, or the weak hold has gone,
 * -EINVAL if there never was one of that number, -EOVERFLOW, -EDQUOT, -ENOMEM.
 */
int pyobjmem_upgrade(struct pyobjmem *session, uint64_t weak, uint64_t *handle);

/**
 * pyobjmem_weak_drop() - drop a weak hold
 * @session: the session
 * @weak: number of the weak hold
 *
 * If this gives 0, its callback has not begun and never will, although the object may
 * be dead already.
 *
 * Return: 0; -ENOENT if there is none: it was dropped, or its object has died,
 * and its callback has returned, or runs now. Any other error means that the
 * session has ended, and the weak hold with it.
 */
int pyobjmem_weak_drop(struct pyobjmem *session, uint64_t weak);

/* --- Events and callbacks -------------------------------------------------- */

/**
 * pyobjmem_dispatch() - run the callbacks that are due
 * @session: the session
 * @timeout: how many milliseconds to wait if none is; 0 not to wait; -1 for ever
 *
 * The kernel keeps events until they are read: objects whose finalizers are due
 * (they wait, alive, until then), weak holds that died, collections that ended. A
 * program that has finalizers or weak holds calls this now and then, or when
 * pyobjmem_fd() is readable, or has it done by pyobjmem_set_direct(): what is
 * not read counts towards out_watches_limit of pyobjmem_stats().
 *
 * Callbacks run in the thread that calls this, one after another, in the order of
 * their events, until there are none. A finalizer runs once in the life of its
 * object; afterwards the library puts the object (the callback must not, unless it
 * has taken it, too), and unless something refers to it now it dies; then the
 * callbacks of its weak holds run.
 *
 * Callbacks may use the session in every way, pyobjmem_leave() included, but must not
 * close it and must return. What becomes due meanwhile is not run inside of them,
 * but when they have returned: however long a chain of finalizers is, it needs
 * no stack. No lock of the library is held; none of the program's should be that a
 * callback wants.
 *
 * Threads: never do two threads run callbacks of one session at the same time. If
 * another thread is at it, it runs those, too, that become due meanwhile. This
 * call then waits until it is done, for @timeout; called by a callback, it
 * returns 0 at once.
 *
 * Return: callbacks that were run; 0 if none was due in time, or another thread ran
 * them; -EINTR if a signal handler ran while it waited, -ENOTCONN if the session
 * has joined no heap or has ended, -EIO in a fork child, -EDQUOT and -ENOMEM if
 * an object whose finalizer is due cannot be held now: the event stays.
 */
int pyobjmem_dispatch(struct pyobjmem *session, int timeout);

/**
 * pyobjmem_set_direct() - have callbacks run at once, or not
 * @session: the session
 * @direct: whether. Not, at first.
 *
 * With it, each function that may drop the last reference to an object runs the
 * callbacks that are due before it returns, as pyobjmem_dispatch() does: so, in
 * a program of one thread, an object's finalizer has run when the pyobjmem_put()
 * that it was for returns. These functions are pyobjmem_put(), pyobjmem_set_ref(),
 * pyobjmem_compare_and_set_ref(), pyobjmem_set_root(), pyobjmem_send(),
 * pyobjmem_receive(), pyobjmem_batch_flush(), pyobjmem_batch_free() and
 * pyobjmem_collect(). They do not wait for another thread that runs callbacks, and
 * called by a callback they leave them to who called that. An error while events
 * are read is not theirs: pyobjmem_dispatch() tells it.
 *
 * It costs nothing while the session has neither finalizers nor weak holds. If it
 * has, a system call for each of these that is one itself.
 *
 * What becomes due by others (a process that drops the last reference, a
 * collection that the heap begins) waits for the next of these functions or for
 * pyobjmem_dispatch().
 */
void pyobjmem_set_direct(struct pyobjmem *session, bool direct);

/**
 * pyobjmem_on_collected() - be told when a collection has ended
 * @session: a session that has joined no heap yet
 * @callback: what is to be called, by pyobjmem_dispatch(); NULL for nothing
 * @data: what @callback gets
 *
 * The session asks for these events when it joins a heap, whoever's collection it
 * is. Of those that nobody reads, PYOBJMEM_EVENTS_COLLECTED are kept. With
 * pyobjmem_set_direct() it runs in pyobjmem_collect(), and whenever other events
 * are looked for.
 *
 * Return: 0; -EALREADY if the session has joined a heap without asking for them.
 */
int pyobjmem_on_collected(struct pyobjmem *session, pyobjmem_collected_fn callback,
			  void *data);

/* --- Collector ----------------------------------------------------------- */

/**
 * pyobjmem_collect() - free the dead cycles
 * @session: the session
 * @generation: oldest generation to look at, 0 to 2; 2 for all
 * @result: with size set; the kernel fills in the rest. Or NULL.
 *
 * Return: 0; -EINVAL.
 */
int pyobjmem_collect(struct pyobjmem *session, uint32_t generation,
		     struct pyobjmem_collect *result);

/**
 * pyobjmem_freeze() - move what lives now out of the collector's way
 * @session: a session with PYOBJMEM_RIGHT_CONFIGURE
 *
 * Return: 0; -EPERM.
 */
int pyobjmem_freeze(struct pyobjmem *session);

/**
 * pyobjmem_unfreeze() - undo pyobjmem_freeze()
 * @session: a session with PYOBJMEM_RIGHT_CONFIGURE
 *
 * Return: 0; -EPERM.
 */
int pyobjmem_unfreeze(struct pyobjmem *session);

/* --- Batches ------------------------------------------------------------- */

/*
 * A batcher gathers operations and gives them to the kernel together: with
 * pyobjmem_batch_flush(), and by itself when PYOBJMEM_BATCH_MAX of them or
 * PYOBJMEM_BATCH_BYTES of their payloads, edges and buffers are gathered. They
 * take place in their order; operations of others can come in between.
 *
 * Input is copied when an operation is queued. Pointers for output are used
 * until pyobjmem_batch_flush() returns: handles and extents are 0 until their
 * operation has taken place, and stay so if it fails.
 *
 * Each function that queues returns the index of its operation: 0 for the first
 * one after a pyobjmem_batch_flush(), and so on. Or -E2BIG if the operation is
 * too big for any batch: do it by itself.
 *
 * Errors: the batcher stops at the first operation that fails. Those behind it
 * are not tried, nothing more can be queued (the functions return the error of
 * the one that failed), and pyobjmem_batch_flush() returns that error, too, and
 * makes the batcher ready for use again. With PYOBJMEM_BATCH_CONTINUE the
 * others are tried nevertheless, and pyobjmem_batch_flush() returns the first of
 * the errors. Between pyobjmem_batch_flush() and the next operation queued,
 * pyobjmem_batch_result() tells the result of each.
 *
 * Callbacks never run in the functions that queue, even if these flush: with
 * pyobjmem_set_direct() they run in pyobjmem_batch_flush() and pyobjmem_batch_free().
 *
 * A put is different, as it cannot fail: it takes effect when it is queued as
 * far as the session is concerned, and the kernel always learns of it, in order
 * if nothing failed before, but also when something did.
 */

/**
 * pyobjmem_batch_new() - make a batcher
 * @session: the session, which must outlive it
 * @flags: PYOBJMEM_BATCH_CONTINUE or 0
 * @batcher: where it goes. It takes a little more than 1 MiB of address space,
 *	of memory as much as it is used.
 *
 * Return: 0; -EOPNOTSUPP, -ENOMEM.
 */
int pyobjmem_batch_new(struct pyobjmem *session, uint32_t flags,
		       struct pyobjmem_batcher **batcher);

/**
 * pyobjmem_batch_free() - free a batcher
 * @batcher: the batcher, or NULL. Operations that have not been flushed are
 *	dropped, puts excepted.
 */
void pyobjmem_batch_free(struct pyobjmem_batcher *batcher);

/**
 * pyobjmem_batch_flush() - have everything done that is queued
 * @batcher: the batcher
 *
 * Return: 0 if all operations queued since the last call succeeded, or the
 * first error among them. An error of the call as a whole (-ENOMEM, -EIO,
 * -ENOTCONN) counts as one of the first operation that was not tried.
 */
int pyobjmem_batch_flush(struct pyobjmem_batcher *batcher);

/**
 * pyobjmem_batch_count() - operations that have an index
 * @batcher: the batcher
 *
 * Return: operations queued since the last pyobjmem_batch_flush(); right after it,
 * those it was about.
 */
int pyobjmem_batch_count(const struct pyobjmem_batcher *batcher);

/**
 * pyobjmem_batch_result() - how one operation went
 * @batcher: the batcher
 * @index: what the function that queued it returned
 *
 * Return: 0; the error of the operation; -EAGAIN if it was not tried (yet);
 * -EINVAL for an index that there is not.
 */
int pyobjmem_batch_result(const struct pyobjmem_batcher *batcher, int index);

/**
 * pyobjmem_batch_create() - queue a pyobjmem_create()
 * @batcher: the batcher
 * @object: what it is to be; copied
 * @handle: where its handle goes
 *
 * Return: the index; -E2BIG, -EINVAL (a finalizer asked for and not given) or the
 * error that the batcher stopped at.
 */
int pyobjmem_batch_create(struct pyobjmem_batcher *batcher,
			  const struct pyobjmem_object *object, uint64_t *handle);

/**
 * pyobjmem_batch_weak() - queue a pyobjmem_weak()
 * @batcher: the batcher
 * @handle: the object, held
 * @callback: what is to be called when the object has died; or NULL
 * @data: what @callback gets
 * @weak: where the number of the weak hold goes
 *
 * Return: the index; -ENOMEM or the error that the batcher stopped at.
 */
int pyobjmem_batch_weak(struct pyobjmem_batcher *batcher, uint64_t handle,
			pyobjmem_weak_fn callback, void *data, uint64_t *weak);

/**
 * pyobjmem_batch_upgrade() - queue a pyobjmem_upgrade()
 * @batcher: the batcher
 * @weak: number of the weak hold
 * @handle: where the object goes
 *
 * Return: the index; -ESTALE, -EINVAL, as pyobjmem_upgrade(), or the error that the
 * batcher stopped at.
 */
int pyobjmem_batch_upgrade(struct pyobjmem_batcher *batcher, uint64_t weak,
			   uint64_t *handle);

/**
 * pyobjmem_batch_put() - queue a pyobjmem_put()
 * @batcher: the batcher
 * @handle: an object that the session holds
 *
 * The hold passes to the batcher at once; operations queued before may use it.
 * A put has no index.
 *
 * Return: 0; -ENOENT if the session holds no such object.
 */
int pyobjmem_batch_put(struct pyobjmem_batcher *batcher, uint64_t handle);

/**
 * pyobjmem_batch_set_ref() - queue a pyobjmem_set_ref()
 * @batcher: the batcher
 * @handle: the object, held
 * @slot: index of the slot
 * @value: what it is to name, held, or PYOBJMEM_NONE
 * @old: where what it named before goes, or NULL
 *
 * Return: the index; the error that the batcher stopped at.
 */
int pyobjmem_batch_set_ref(struct pyobjmem_batcher *batcher, uint64_t handle, uint32_t slot,
			   uint64_t value, uint64_t *old);

/**
 * pyobjmem_batch_compare_and_set_ref() - queue a pyobjmem_compare_and_set_ref()
 * @batcher: the batcher
 * @handle: the object, held
 * @slot: index of the slot
 * @expected: what it must name
 * @value: what it is to name, held, or PYOBJMEM_NONE
 * @old: where what it names, or named, goes; or NULL
 *
 * Return: the index; the error that the batcher stopped at.
 */
int pyobjmem_batch_compare_and_set_ref(struct pyobjmem_batcher *batcher, uint64_t handle,
				       uint32_t slot, uint64_t expected, uint64_t value,
				       uint64_t *old);

/**
 * pyobjmem_batch_get_ref() - queue a pyobjmem_get_ref()
 * @batcher: the batcher
 * @handle: the object, held
 * @slot: index of the slot
 * @value: where the handle goes
 *
 * Return: the index; the error that the batcher stopped at.
 */
int pyobjmem_batch_get_ref(struct pyobjmem_batcher *batcher, uint64_t handle, uint32_t slot,
			   uint64_t *value);

/**
 * pyobjmem_batch_read() - queue a pyobjmem_read()
 * @batcher: the batcher
 * @handle: the object, held
 * @buffer: where the bytes go
 * @length: bytes to copy at the most
 * @offset: first byte of the payload to copy
 * @extent: where goes how much was copied and how much there is; or NULL
 *
 * Return: the index; -E2BIG or the error that the batcher stopped at.
 */
int pyobjmem_batch_read(struct pyobjmem_batcher *batcher, uint64_t handle, void *buffer,
			size_t length, uint64_t offset, struct pyobjmem_extent *extent);

/**
 * pyobjmem_batch_write() - queue a pyobjmem_write()
 * @batcher: the batcher
 * @handle: the object, held, made with PYOBJMEM_CREATE_MUTABLE
 * @buffer: the bytes; copied
 * @length: how many
 * @offset: first byte of the payload to change
 *
 * Return: the index; -E2BIG or the error that the batcher stopped at.
 */
int pyobjmem_batch_write(struct pyobjmem_batcher *batcher, uint64_t handle, const void *buffer,
			 size_t length, uint64_t offset);

/**
 * pyobjmem_batch_set_root() - queue a pyobjmem_set_root()
 * @batcher: the batcher
 * @root: index of the root
 * @handle: what it is to name, held, or PYOBJMEM_NONE
 * @old: where what it named before goes, or NULL
 *
 * Return: the index; the error that the batcher stopped at.
 */
int pyobjmem_batch_set_root(struct pyobjmem_batcher *batcher, uint32_t root, uint64_t handle,
			    uint64_t *old);

/**
 * pyobjmem_batch_get_root() - queue a pyobjmem_get_root()
 * @batcher: the batcher
 * @root: index of the root
 * @handle: where the handle goes
 *
 * Return: the index; the error that the batcher stopped at.
 */
int pyobjmem_batch_get_root(struct pyobjmem_batcher *batcher, uint32_t root, uint64_t *handle);

#ifdef __cplusplus
#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif
}
#endif

#endif /* PYOBJMEM_H */
