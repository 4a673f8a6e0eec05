// SPDX-License-Identifier: MIT
/*
 * The calls that leave the library. Each returns 0 or more, or a negative errno,
 * and leaves errno as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"

int pyobjmem_sys_open(void)
{
	int saved = errno;
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		fd = -errno;
	errno = saved;
	return fd;
}

/*
 * EINTR is not retried: the kernel gives it only to a thread that has a fatal
 * signal pending, which never comes back here to see it.
 */
int pyobjmem_sys_ioctl(int fd, unsigned long command, void *argument)
{
	int saved = errno;
	int result = ioctl(fd, command, argument);

	if (result < 0)
		result = -errno;
	errno = saved;
	return result;
}

/*
 * Does not wait: -EAGAIN if there is nothing. So EINTR only means that somebody else
 * was reading when a signal came.
 */
ssize_t pyobjmem_sys_read(int fd, void *buffer, size_t size)
{
	int saved = errno;
	ssize_t result;

	do
		result = read(fd, buffer, size);
	while (result < 0 && errno == EINTR);
	if (result < 0)
		result = -errno;
	errno = saved;
	return result;
}

/* Wait until read would not. Returns 0 if that took longer than @timeout ms. */
int pyobjmem_sys_poll(int fd, int timeout)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	int saved = errno;
	int result = poll(&pollfd, 1, timeout);

	if (result < 0)
		result = -errno;
	errno = saved;
	return result;
}

int pyobjmem_sys_nonblock(int fd)
{
	int saved = errno;
	int result = fcntl(fd, F_GETFL);

	if (result >= 0)
		result = fcntl(fd, F_SETFL, result | O_NONBLOCK);
	if (result < 0)
		result = -errno;
	errno = saved;
	return result;
}

void pyobjmem_sys_close(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
}

/* Zeroed memory, or NULL. */
void *pyobjmem_sys_alloc(size_t size)
{
	int saved = errno;
	void *memory = calloc(1, size);

	errno = saved;
	return memory;
}

void *pyobjmem_sys_realloc(void *memory, size_t size)
{
	int saved = errno;

	memory = realloc(memory, size);
	errno = saved;
	return memory;
}
