// SPDX-License-Identifier: GPL-2.0
/*
 * PID 1 of the test machine.
 *
 * It mounts what a Linux system has, loads /needed.ko and /pyobjmem.ko where
 * they are there, runs the command that /command holds (its arguments one after
 * the other, each ended by a zero byte), unloads the module, and only if all of
 * that went well writes the token that the host chose to the third serial port.
 * Where the kernel has kmemleak, memory that was lost is a failure.
 *
 * The first port is the kernel's console and belongs to it alone, the second
 * one carries what the command prints. Whatever goes wrong here panics the
 * kernel or powers off without the token: the host takes both for a failure.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define MODULE		"pyobjmem"
#define MODULE_FILE	"/" MODULE ".ko"
#define NEEDED_FILE	"/needed.ko"
#define LEAKS		"/sys/kernel/debug/kmemleak"
#define OUTPUT_PORT	"/dev/ttyS1"
#define RESULT_PORT	"/dev/ttyS2"

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

/* Bits of /proc/sys/kernel/tainted that a healthy kernel does not have */
static const struct {
	unsigned int bit;
	const char *name;
} taints[] = {
	{ 5, "bad page" },
	{ 7, "oops" },
	{ 9, "warning" },
	{ 14, "soft lockup" },
};

noreturn static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

noreturn static void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("init: ", stdout);
	vprintf(format, arguments);
	putchar('\n');
	va_end(arguments);
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	power_off();
}

static const struct {
	const char *type;
	const char *where;
	bool optional;
} mounts[] = {
	{ "proc", "/proc" },
	{ "sysfs", "/sys" },
	{ "devpts", "/dev/pts" },
	{ "tmpfs", "/dev/shm" },
	{ "tmpfs", "/tmp" },
	{ "tmpfs", "/run" },
	{ "debugfs", "/sys/kernel/debug" },
	{ "tracefs", "/sys/kernel/tracing", true },
	{ "cgroup2", "/sys/fs/cgroup", true },
};

static void mount_all(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(mounts[i].where, 0755);
		if (mount(mounts[i].type, mounts[i].where, mounts[i].type, 0,
			  NULL) && !mounts[i].optional)
			fail("mount %s: %s", mounts[i].where, strerror(errno));
	}
	chmod("/tmp", 01777);
}

/* Bytes pass unchanged: what the command writes is what the host reads. */
static int open_port(const char *name)
{
	struct termios termios;
	int fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (tcgetattr(fd, &termios)) {
		close(fd);
		return -1;
	}
	cfmakeraw(&termios);
	termios.c_cflag |= CLOCAL;
	cfsetspeed(&termios, B115200);
	tcsetattr(fd, TCSANOW, &termios);
	return fd;
}

static void open_output(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int port = open_port(OUTPUT_PORT);

	if (null < 0 || port < 0)
		power_off();
	dup2(null, STDIN_FILENO);
	dup2(port, STDOUT_FILENO);
	dup2(port, STDERR_FILENO);
}

/* The value of an argument of the kernel's command line, or NULL. */
static char *kernel_argument(const char *name)
{
	static char line[4096];
	size_t length = strlen(name);
	char *word, *rest = line;
	ssize_t got;
	int fd;

	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	got = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	close(fd);
	if (got < 0)
		return NULL;
	line[got] = '\0';
	while ((word = strsep(&rest, "\n "))) {
		if (!strncmp(word, name, length) && word[length] == '=')
			return word + length + 1;
	}
	return NULL;
}

/* A whole small file, ended by a zero byte, or NULL. */
static char *read_file(const char *name, size_t *size)
{
	static char buffer[1 << 20];
	ssize_t got = 0, all = 0;
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	do {
		all += got;
		got = read(fd, buffer + all, sizeof(buffer) - 1 - all);
	} while (got > 0);
	close(fd);
	if (got < 0)
		return NULL;
	buffer[all] = '\0';
	*size = all;
	return buffer;
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
}

/* Run a program with this one's output and wait for it alone. */
static int run(char *const *command)
{
	int status;
	pid_t child, done;

	fflush(stdout);
	child = fork();
	if (child < 0)
		fail("fork: %s", strerror(errno));
	if (!child) {
		setsid();
		execvp(command[0], command);
		fprintf(stderr, "init: %s: %s\n", command[0], strerror(errno));
		_exit(127);
	}
	/* The orphans of the command are ours as well. */
	do {
		done = wait(&status);
	} while (done != child && (done > 0 || errno == EINTR));
	if (done != child)
		fail("wait: %s", strerror(errno));
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Load a module, where there is one. */
static void load_module(const char *file, const char *parameters)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0 || syscall(SYS_finit_module, fd, parameters, 0))
		fail("%s does not load: %s", file, strerror(errno));
	close(fd);
}

static void load_modules(void)
{
	static const char none[] = "";
	size_t size;

	load_module(NEEDED_FILE, none);
	load_module(MODULE_FILE, read_file("/parameters", &size) ?: none);
}

static void ask_kmemleak(const char *what)
{
	size_t length = strlen(what);
	int fd = open(LEAKS, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, what, length) != (ssize_t)length)
		fail("%s: %s: %s", LEAKS, what, strerror(errno));
	close(fd);
}

/*
 * Find the memory that nothing points to. What is younger than five seconds is
 * passed over, and so is what has changed since the last time.
 */
static void find_leaks(void)
{
	sleep(6);
	ask_kmemleak("scan");
	ask_kmemleak("scan");
}

static bool have_kmemleak(void)
{
	return !access(LEAKS, F_OK);
}

/* What the kernel has lost before the module came is not the module's. */
static void forget_leaks(void)
{
	if (!have_kmemleak())
		return;
	find_leaks();
	ask_kmemleak("clear");
}

/*
 * Before 6.2 a kernel loses the name of a cache whose directory cannot be made,
 * as when that is what a test makes fail.
 */
static bool lost_by_kernel(const char *leak)
{
	return strstr(leak, " kobject_set_name_vargs+") && strstr(leak, " sysfs_slab_add+");
}

/* Print those of the leaks of kmemleak's report that are the module's, return how many. */
static unsigned int report_leaks(char *report)
{
	static const char begin[] = "unreferenced object ";
	unsigned int count = 0;
	char *leak, *next;

	for (leak = strstr(report, begin); leak; leak = next) {
		next = strstr(leak + 1, begin);
		if (next)
			next[-1] = '\0';
		if (lost_by_kernel(leak))
			continue;
		puts(leak);
		count++;
	}
	return count;
}

static void check_leaks(const char *when)
{
	size_t size;
	char *text;

	if (!have_kmemleak())
		return;
	find_leaks();
	text = read_file(LEAKS, &size);
	if (!text)
		fail("%s: %s", LEAKS, strerror(errno));
	if (report_leaks(text))
		fail("memory is lost, %s", when);
	printf("init: no memory is lost, %s\n", when);
}

static void ask_kernel(char key)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, &key, 1) != 1)
		printf("init: /proc/sysrq-trigger: %s\n", strerror(errno));
	close(fd);
}

/* Who cannot be killed hangs in the kernel: let it say where. */
static void end_everything(void)
{
	int tries;
	pid_t done;

	for (tries = 0; tries < 200; tries++) {
		kill(-1, SIGKILL);
		do {
			done = waitpid(-1, NULL, WNOHANG);
		} while (done > 0);
		if (done < 0 && errno == ECHILD)
			return;
		usleep(100000);
	}
	ask_kernel('l');
	ask_kernel('w');
	fail("a process cannot be killed: it hangs in the kernel");
}

/*
 * The module must go when nobody uses it. Those who have just died may still
 * be dropping what they held, for which they have a second.
 */
static void unload_module(void)
{
	int tries;

	for (tries = 0; tries < 50; tries++) {
		if (!syscall(SYS_delete_module, MODULE, O_NONBLOCK)) {
			printf("init: module unloaded\n");
			return;
		}
		if (errno == ENOENT)
			return;
		if (errno != EAGAIN && errno != EBUSY)
			break;
		usleep(100000);
	}
	fail("%s does not unload: %s", MODULE, strerror(errno));
}

static void check_kernel(void)
{
	unsigned long tainted;
	size_t size, i;
	char *text;

	text = read_file("/proc/sys/kernel/tainted", &size);
	if (!text)
		fail("/proc/sys/kernel/tainted: %s", strerror(errno));
	tainted = strtoul(text, NULL, 10);
	for (i = 0; i < ARRAY_SIZE(taints); i++) {
		if (tainted & 1UL << taints[i].bit)
			fail("the kernel is tainted: %s", taints[i].name);
	}
}

static char **read_command(void)
{
	static char *command[256];
	size_t size, n = 0;
	char *p, *text = read_file("/command", &size);

	if (!text || !size)
		fail("there is no command");
	for (p = text; p < text + size; p += strlen(p) + 1) {
		if (n == ARRAY_SIZE(command) - 1)
			fail("the command has too many arguments");
		command[n++] = strdup(p);
	}
	return command;
}

static void tell(const char *token)
{
	char line[256];
	int fd, length;

	fd = open_port(RESULT_PORT);
	length = snprintf(line, sizeof(line), "%s passed\n", token);
	if (fd < 0 || write(fd, line, length) != length || tcdrain(fd))
		fail("%s: %s", RESULT_PORT, strerror(errno));
}

int main(void)
{
	static char *const install[] = {
		"/bin/busybox", "--install", "-s", "/bin", NULL
	};
	char **command;
	char *token;
	int status;

	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	open_output();
	mount_all();
	symlink("/proc/self/fd", "/dev/fd");

	setenv("PATH", "/bin", 1);
	setenv("HOME", "/tmp", 1);
	setenv("TERM", "dumb", 1);
	setenv("PYOBJMEM_ACCEL", kernel_argument(MODULE ".accel") ?: "", 1);
	token = kernel_argument(MODULE ".token");
	if (!token)
		fail("the host gave no token");
	token = strdup(token);
	loopback_up();
	if (run(install))
		fail("busybox does not install itself");
	forget_leaks();
	load_modules();

	command = read_command();
	status = run(command);
	end_everything();
	if (status)
		fail("%s: exit status %d", command[0], status);
	/* While the module is there, the names of its functions are known. */
	check_leaks("with the module loaded");
	unload_module();
	check_leaks("with the module unloaded");
	check_kernel();

	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	tell(token);
	power_off();
}
