// SPDX-License-Identifier: GPL-2.0
/*
 * A process of its own runs the programs: it may die of one, on purpose or not,
 * and hang. Its threads live as long as it does. When a program is over it
 * recounts all heaps, closes everything, and sees that all heaps go.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"
#include "worker.h"

#define PARAMETERS	"/sys/module/pyobjmem/parameters/"
#define FIRST_FD	40
#define HANG_MS		90000
#define LOOK_MS		200
#define GONE_MS		10000
#define DEATH_MS	3000

int worker_first_fd = FIRST_FD;
bool worker_ends_machine;
unsigned int worker_meet_us = 20000;

static pid_t worker;
static int to_worker = -1, from_worker = -1;
static struct runner runners[THREADS];
static sem_t begin[THREADS], done;
static __u64 *parameters;
static int heaps_before;

/* The module's parameters */

void worker_parameter(const char *name, __u64 value)
{
	char path[128], text[32];
	int fd;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	if (write(fd, text, strlen(text)) < 0)
		found("fuzzer: %s: %s", path, strerror(errno));
	close(fd);
}

static void parameters_remember(void)
{
	char path[128], text[32] = "";
	unsigned int i;
	int fd;

	parameters = calloc(module_parameters_count, sizeof(*parameters));
	for (i = 0; i < module_parameters_count; i++) {
		snprintf(path, sizeof(path), PARAMETERS "%s", module_parameters[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
			parameters[i] = strtoull(text, NULL, 0);
		close(fd);
	}
}

static void parameters_restore(void)
{
	unsigned int i;

	if (!atomic_exchange(&shared->limited, 0))
		return;
	for (i = 0; i < module_parameters_count; i++)
		worker_parameter(module_parameters[i], i ? parameters[i] : USER_BYTES);
}

/* All heaps there are */

static void heap_verify(const char *name)
{
	char path[320], text[256];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), HEAPS_DIRECTORY "/%s/verify", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;		/* it went meanwhile */
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got < 0)
		return;
	text[got] = 0;
	if (strcmp(text, "ok\n"))
		found("verify: heap %s: %s", name, text);
}

/* Returns how many there are. */
static int heaps_each(void (*visit)(const char *name))
{
	DIR *directory = opendir(HEAPS_DIRECTORY);
	struct dirent *entry;
	int count = 0;

	if (!directory)
		return 0;
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		count++;
		if (visit)
			visit(entry->d_name);
	}
	closedir(directory);
	return count;
}

/* Everything is closed: what is left now is lost. */
static void heaps_gone(void)
{
	int ms, left;

	for (ms = 0; ms < GONE_MS; ms++) {
		left = heaps_each(NULL);
		if (left <= heaps_before)
			return;
		usleep(ms < 20 ? 200 : 1000);
	}
	found("left: %d heaps are left", left - heaps_before);
	heaps_before = left;
}

static void children_end(void)
{
	unsigned int i, n = shared->children;

	for (i = 0; i < n && i < SHARED_CHILDREN; i++) {
		if (shared->child[i] <= 0)
			continue;
		kill(shared->child[i], SIGKILL);
		waitpid(shared->child[i], NULL, 0);
	}
	shared->children = 0;
}

/* In the worker */

static void descriptors_close(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	syscall(SYS_close_range, FIRST_FD, ~0U, 0);
}

static void registers_init(const struct program *program)
{
	unsigned int i;

	memset(&registers, 0, sizeof(registers));
	memset(registers.session, -1, sizeof(registers.session));
	memset(registers.descriptor, -1, sizeof(registers.descriptor));
	memset(registers.queue, -1, sizeof(registers.queue));
	for (i = 0; i < program->count; i++) {
		const char *name = call_kinds[program->call[i].kind].name;

		if (strcmp(name, "send") && strcmp(name, "receive"))
			continue;
		if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, registers.queue[0]) ||
		    socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, registers.queue[1]))
			found("fuzzer: socketpair: %s", strerror(errno));
		return;
	}
}

static void runner_start(unsigned int thread, unsigned int threads)
{
	struct runner *runner = &runners[thread];

	runner->program = &shared->program;
	runner->threads = threads;
	runner->alone = threads == 1;
	runner_run(runner, 0, LINES_MAX);
	registers.finished[thread] = 1;
}

static void *runner_thread(void *argument)
{
	unsigned int thread = (unsigned long)argument;

	runner_init(&runners[thread], thread);
	sem_post(&done);
	for (;;) {
		while (sem_wait(&begin[thread]))
			;
		runner_start(thread, program_threads(&shared->program));
		sem_post(&done);
	}
	return NULL;
}

static void program_run(void)
{
	unsigned int i, threads = program_threads(&shared->program);

	registers_init(&shared->program);
	for (i = 1; i < threads; i++)
		sem_post(&begin[i]);
	runner_start(0, threads);
	for (i = 1; i < threads; i++)
		while (sem_wait(&done))
			;
	heaps_each(heap_verify);
	children_end();
	descriptors_close();
	memory_reset();
}

/* Keep low numbers for what is the fuzzer's, so that all others can be closed. */
static void own_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd < FIRST_FD - 1);
}

static void __attribute__((noreturn)) worker_main(int in, int out)
{
	unsigned long i;
	pthread_t thread;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memory_init();
	sem_init(&done, 0, 0);
	runner_init(&runners[0], 0);
	for (i = 1; i < THREADS; i++) {
		sem_init(&begin[i], 0, 0);
		if (pthread_create(&thread, NULL, runner_thread, (void *)i))
			_exit(3);
		while (sem_wait(&done))
			;
	}
	own_descriptors();
	while (read(in, &byte, 1) == 1) {
		program_run();
		if (write(out, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

/* What the kernel says */

static int kernel_fd = -1;

static void kernel_listen(void)
{
	kernel_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kernel_fd >= 0)
		lseek(kernel_fd, 0, SEEK_END);
}

static void kernel_ask(const char *key)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, key, 1) != 1)
		exit(3);
	close(fd);
}

/*
 * The kernel is not as it was: where the machine is only ours, it ends here, so
 * that nothing but the program that did it is the last that was recorded.
 */
static void kernel_lost(const char *what)
{
	if (!worker_ends_machine)
		return;
	printf("fuzz: %s\n", what);
	fflush(stdout);
	kernel_ask("w");
	kernel_ask("c");
}

/* Not all complaints are panics: those of lockdep are not. */
static bool kernel_complains(void)
{
	static const char *const complaints[] = {
		"WARNING: ", "BUG: ", "ODEBUG: ", "UBSAN: ", "INFO: possible", "INFO: trying",
	};
	char text[2048];
	unsigned int i;
	ssize_t got;

	while (kernel_fd >= 0 && ((got = read(kernel_fd, text, sizeof(text) - 1)) > 0 ||
				  (got < 0 && errno == EPIPE))) {
		text[got > 0 ? got : 0] = 0;
		for (i = 0; i < ARRAY_LENGTH(complaints); i++) {
			char *at = strstr(text, complaints[i]);

			if (!at)
				continue;
			at[strcspn(at, "\n")] = 0;
			found("kernel: %s", at);
			return true;
		}
	}
	return false;
}

/* In the process that thinks up programs */

static int worker_start(void)
{
	int down[2], up[2];

	if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC))
		return -errno;
	fflush(stdout);
	worker = fork();
	if (worker < 0)
		return -errno;
	if (!worker) {
		close(down[1]);
		close(up[0]);
		worker_main(down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	to_worker = down[1];
	from_worker = up[0];
	return 0;
}

/* Nothing that comes later is to see that we were here. */
void worker_end(void)
{
	unsigned int i;

	kill(worker, SIGKILL);
	waitpid(worker, NULL, 0);
	close(to_worker);
	close(from_worker);
	for (i = 0; i < module_parameters_count; i++)
		worker_parameter(module_parameters[i], parameters[i]);
}

static void fault_setting(const char *directory, const char *file, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", directory, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "# %s: %s\n", path, strerror(errno));
	close(fd);
}

/* Only what fail-nth asks for, of all allocations, and without a word */
static void faults_init(void)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc", "fail_usercopy" };
	unsigned int i;

	for (i = 0; i < ARRAY_LENGTH(kinds); i++) {
		fault_setting(kinds[i], "verbose", "0");
		fault_setting(kinds[i], "probability", "0");
		fault_setting(kinds[i], "task-filter", "Y");
		fault_setting(kinds[i], "times", "1000000000");
		if (i == 2)
			continue;
		fault_setting(kinds[i], "ignore-gfp-wait", "N");
	}
	fault_setting("fail_page_alloc", "min-order", "0");
}

/* Whether this kernel runs 32-bit system calls: int 0x80 is a fault where not */
static bool try_32_bits(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		long result = 20;	/* getpid(2) there */

		asm volatile("int $0x80" : "+a" (result) : : "memory", "r8", "r9", "r10", "r11");
		_exit(result == getpid() ? 0 : 1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

int worker_init(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		return -errno;
	runs_32_bits = try_32_bits();
	faults_init();
	parameters_remember();
	heaps_before = heaps_each(NULL);
	kernel_listen();
	shared->limited = 1;
	parameters_restore();
	return worker_start();
}

/* The worker has died or hangs. */
static void worker_lost(void)
{
	int status, ms = 0;
	bool hung;

	/* Who is killed closes its pipe before it can be waited for. */
	while ((hung = waitpid(worker, &status, WNOHANG) != worker) && ms++ < DEATH_MS)
		usleep(1000);
	if (hung) {
		found("hung: the program was not over after %d seconds", HANG_MS / 1000);
		kill(worker, SIGKILL);
		for (ms = 0; waitpid(worker, &status, WNOHANG) != worker; ms++) {
			if (ms == DEATH_MS)
				kernel_lost("hung: who runs the program cannot be killed");
			usleep(1000);
		}
	} else if (!shared->dying || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
		found("died: the process that ran the program ended with status %#x", status);
	}
	children_end();
	close(to_worker);
	close(from_worker);
	if (worker_start())
		exit(3);
}

/* Wait until the worker replies, for so long at the most. */
static bool reply_wait(void)
{
	struct pollfd reply = { .fd = from_worker, .events = POLLIN };
	int ms;

	for (ms = 0; ms < HANG_MS; ms += LOOK_MS) {
		if (poll(&reply, 1, LOOK_MS) == 1)
			return true;
		if (kernel_complains())
			kernel_lost(shared->finding);
	}
	return false;
}

/* Run a program. Returns NULL, or what is wrong. */
const char *worker_run(const struct program *program)
{
	char byte = 0;
	bool lost;

	shared->program = *program;
	shared->found = 0;
	shared->dying = 0;
	lost = write(to_worker, &byte, 1) != 1 || !reply_wait() ||
	       read(from_worker, &byte, 1) != 1;
	if (lost)
		worker_lost();
	parameters_restore();
	heaps_gone();
	if (kernel_complains())
		kernel_lost(shared->finding);
	return shared->found ? shared->finding : NULL;
}
