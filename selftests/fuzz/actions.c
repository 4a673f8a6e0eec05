// SPDX-License-Identifier: GPL-2.0
/*
 * What programs do besides operations: descriptors, files, memory, processes.
 * Each returns 0 or a negative errno.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../descriptor.h"
#include "actions.h"
#include "runner.h"
#include "worker.h"

#define CHAIN_MAX	700U

static int argument_fd(struct runner *runner, const struct call *call)
{
	return runner_value(runner, call, 0);
}

/* Descriptors below these are the fuzzer's own. */
static bool is_ours(int fd)
{
	return fd >= 0 && fd < worker_first_fd;
}

int action_open(struct runner *runner, const struct call *call)
{
	int fd, error;

	if (call->value[1].number)
		runner_fail(runner, call->value[1].number);
	fd = open("/dev/pyobjmem", O_RDWR | O_NONBLOCK |
		  (call->value[0].number ? 0 : O_CLOEXEC));
	error = errno;
	if (call->value[1].number)
		runner_fail(runner, 0);
	if (fd < 0)
		return -error;
	registers.session_note[call->out] = (struct session_note){ .pid = getpid() };
	registers.session[call->out] = fd;
	return 0;
}

/* The register keeps nothing: its number may soon be another's. */
int action_close(struct runner *runner, const struct call *call)
{
	const struct value *value = &call->value[0];
	int fd;

	if (value->kind == SESSION)
		fd = __atomic_exchange_n(&registers.session[value->index], -1, __ATOMIC_RELAXED);
	else if (value->kind == DESCRIPTOR)
		fd = __atomic_exchange_n(&registers.descriptor[value->index], -1,
					 __ATOMIC_RELAXED);
	else
		fd = argument_fd(runner, call);
	return is_ours(fd) || !close(fd) ? 0 : -errno;
}

int action_dup(struct runner *runner, const struct call *call)
{
	int fd = argument_fd(runner, call);

	if (is_ours(fd))
		return 0;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (call->value[0].kind == SESSION)
		registers.session_note[call->out] =
			registers.session_note[call->value[0].index];
	else
		registers.session_note[call->out] = (struct session_note){};
	registers.session[call->out] = fd;
	return 0;
}

/* Objects of which each names the one before; as a ring, the first the last. */
int action_chain(struct runner *runner, const struct call *call)
{
	struct call plain = *call;
	int session = argument_fd(runner, call);
	__u64 length = call->value[1].number, first = 0, last = 0;
	int error = 0;

	memset(plain.value, 0, sizeof(plain.value));
	while (!error && length-- && length < CHAIN_MAX) {
		struct pyobjmem_create *create = runner->command;
		__u64 before = last;

		*create = (struct pyobjmem_create){
			.size = sizeof(*create),
			.slots = call->value[2].number,
			.edges = create->slots ? (__u64)runner->edges : 0,
		};
		memset(runner->edges, 0, 4 * sizeof(__u64));
		runner->edges[0] = before;
		create->edges = create->slots && create->slots <= 4 ? (__u64)runner->edges : 0;
		error = runner_submit(runner, &plain, session, PYOBJMEM_OP_CREATE, create,
				      sizeof(*create));
		if (error)
			break;
		last = create->out_handle;
		first = first ?: last;
		if (before && before != first) {
			struct pyobjmem_put put = { .size = sizeof(put), .handle = before };

			runner_submit(runner, &plain, session, PYOBJMEM_OP_PUT, &put, sizeof(put));
		}
	}
	if (last && call->value[3].number) {
		struct pyobjmem_set_ref ring = {
			.size = sizeof(ring), .handle = first, .value = last,
		};

		runner_submit(runner, &plain, session, PYOBJMEM_OP_SET_REF, &ring, sizeof(ring));
	}
	if (first && first != last) {
		struct pyobjmem_put put = { .size = sizeof(put), .handle = first };

		runner_submit(runner, &plain, session, PYOBJMEM_OP_PUT, &put, sizeof(put));
	}
	if (last) {
		registers.handle_note[call->out].known = false;
		registers.handle[call->out] = last;
	}
	return 0;
}

int action_send(struct runner *runner, const struct call *call)
{
	int fd = argument_fd(runner, call);

	if (is_ours(fd))
		return 0;
	return descriptor_send_flags(registers.queue[call->value[1].number % 2][0], fd,
				     MSG_DONTWAIT | MSG_NOSIGNAL);
}

int action_receive(struct runner *runner, const struct call *call)
{
	int fd = descriptor_receive_flags(registers.queue[call->value[0].number % 2][1],
					  MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	(void)runner;
	/* The message came without: there was no number for it. */
	if (fd == -ENOMSG)
		return -EMFILE;
	if (fd < 0)
		return fd;
	registers.descriptor[call->out] = fd;
	return 0;
}

int action_ioctl(struct runner *runner, const struct call *call)
{
	int fd = argument_fd(runner, call);
	unsigned long command = runner_value(runner, call, 1);
	void *at = (void *)runner_value(runner, call, 2) ?: runner->command;

	if (is_ours(fd))
		return 0;
	memset(runner->command, 0, COMMAND_USED);
	*(__u32 *)runner->command = 64;
	/* Those of all files: they change what a descriptor is. */
	if ((command >> 8 & 0xff) == 'T' || (command >> 8 & 0xff) == 'f')
		return 0;
	return ioctl(fd, command, at) ? -errno : 0;
}

int action_mmap(struct runner *runner, const struct call *call)
{
	int fd = argument_fd(runner, call);
	void *at;

	if (is_ours(fd))
		return 0;
	at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	munmap(at, 4096);
	return 0;
}

/* The object of the first event, if there is one to be finalized */
static void take_event(const struct call *call, void *from)
{
	struct pyobjmem_event event;

	if (!memory_get(&event, from, sizeof(event)) || event.type != PYOBJMEM_EVENT_FINALIZE)
		return;
	registers.handle[call->out] = event.handle;
	registers.handle_note[call->out].known = false;
}

/* Sessions are opened so that this does not wait. */
int action_events(struct runner *runner, const struct call *call)
{
	int fd = argument_fd(runner, call);
	void *target = (void *)runner_value(runner, call, 2);
	__u64 bytes = runner_value(runner, call, 1);
	ssize_t got;

	if (is_ours(fd))
		return 0;
	if (!target) {
		target = runner->command;
		bytes = bytes % COMMAND_USED + sizeof(struct pyobjmem_event);
	}
	got = read(fd, target, bytes);
	if (got < 0)
		return -errno;
	if (got % sizeof(struct pyobjmem_event))
		found("events: a part of an event was read: %zd bytes", got);
	if (got)
		take_event(call, target);
	return 0;
}

int action_poll(struct runner *runner, const struct call *call)
{
	struct pollfd fd = { .fd = argument_fd(runner, call), .events = POLLIN | POLLOUT };

	return poll(&fd, 1, 0) < 0 ? -errno : 0;
}

static int read_all(const char *path)
{
	char text[4096];
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == EMFILE ? 0 : -errno;
	do {
		got = read(fd, text, sizeof(text));
	} while (got > 0);
	close(fd);
	return 0;
}

int action_fdinfo(struct runner *runner, const struct call *call)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", argument_fd(runner, call));
	return read_all(path);
}

/* Look at all heaps while others change them. */
int action_show(struct runner *runner, const struct call *call)
{
	static const char *const files[] = { "stats", "arenas", "sessions", "verify" };
	DIR *directory = opendir(HEAPS_DIRECTORY);
	struct dirent *entry;
	char path[320];

	while (directory && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), HEAPS_DIRECTORY "/%s/%s", entry->d_name,
			 files[runner_value(runner, call, 0) % ARRAY_LENGTH(files)]);
		read_all(path);
	}
	if (directory)
		closedir(directory);
	return 0;
}

int action_protect(struct runner *runner, const struct call *call)
{
	return memory_protect(runner_value(runner, call, 0));
}

int action_drop(struct runner *runner, const struct call *call)
{
	const struct value *value = &call->value[0];

	(void)runner;
	return value->kind == MEMORY ? memory_drop(value->index) : 0;
}

int action_limit(struct runner *runner, const struct call *call)
{
	unsigned int which = call->value[0].number % module_parameters_count;

	(void)runner;
	shared->limited = 1;
	worker_parameter(module_parameters[which], call->value[1].number);
	return 0;
}

/* How many descriptors there may be; restored when the program is over. */
int action_descriptors(struct runner *runner, const struct call *call)
{
	struct rlimit limit;

	(void)runner;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = worker_first_fd + call->value[0].number % 40;
	setrlimit(RLIMIT_NOFILE, &limit);
	return 0;
}

static void __attribute__((noreturn)) child_runs(struct runner *runner, const struct call *call,
						 unsigned int last)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memory_forked();
	runner->coverage = (struct coverage){};
	runner->child = true;
	close(runner->fail_fd);
	runner->fail_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	runner_run(runner, runner->line + 1, last - runner->line);
	if (call->value[FORK_EXEC].number)
		execl("/proc/self/exe", "fuzz", PAUSE_OPTION, NULL);
	if (call->value[FORK_STAY].number)
		pause();
	_exit(0);
}

/* A child runs the lines that follow; this process goes on behind them. */
int action_fork(struct runner *runner, const struct call *call)
{
	unsigned int last = runner_consumed(runner, call, runner->line), n;
	pid_t pid;

	if (runner->child)
		return 0;
	n = atomic_fetch_add(&shared->children, 1);
	if (n >= SHARED_CHILDREN)
		return 0;
	shared->child[n] = 0;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		child_runs(runner, call, last);
	shared->child[n] = pid;
	registers.child[call->out] = pid;
	return 0;
}

int action_kill(struct runner *runner, const struct call *call)
{
	pid_t pid = runner_value(runner, call, 0);

	if (runner->child || pid <= 1 || call->value[0].kind != CHILD)
		return 0;
	if (kill(pid, SIGKILL))
		return -errno;
	waitpid(pid, NULL, 0);
	return 0;
}

/* All threads of the process end, wherever they are. */
int action_die(struct runner *runner, const struct call *call)
{
	(void)call;
	if (!runner->child)
		shared->dying = 1;
	kill(getpid(), SIGKILL);
	return 0;
}

static bool all_met(const struct runner *runner, unsigned int met)
{
	unsigned int i;

	for (i = 0; i < runner->threads; i++)
		if (registers.met[i] < met && !registers.finished[i])
			return false;
	return true;
}

/* Wait until the other threads have come to a line like this as often. */
int action_meet(struct runner *runner, const struct call *call)
{
	unsigned int met, us;

	(void)call;
	if (runner->child)
		return 0;
	met = ++registers.met[runner->thread];
	for (us = 0; us < worker_meet_us && !all_met(runner, met); us += 100)
		usleep(100);
	return 0;
}

int action_pause(struct runner *runner, const struct call *call)
{
	usleep(runner_value(runner, call, 0) % 5000);
	return 0;
}
