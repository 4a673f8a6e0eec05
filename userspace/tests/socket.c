// SPDX-License-Identifier: MIT
/*
 * Descriptors over sockets.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

static void descriptors_travel(void)
{
	int pair[2], pipe_fds[2], fd;
	char c = 0;

	CHECK_EQUAL(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_EQUAL(0, pipe(pipe_fds));
	CHECK_EQUAL(0, pyobjmem_send_fd(pair[0], pipe_fds[1]));
	fd = pyobjmem_recv_fd(pair[1]);
	CHECK(fd >= 0);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK_EQUAL(1, write(fd, "x", 1));
	CHECK_EQUAL(1, read(pipe_fds[0], &c, 1));
	CHECK_EQUAL('x', c);
	close(fd);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(pair[0]);
	CHECK_EQUAL(-EPIPE, pyobjmem_recv_fd(pair[1]));
	errno = 0;
	CHECK_EQUAL(-EPIPE, pyobjmem_send_fd(pair[1], 0));
	CHECK_EQUAL(-EBADF, pyobjmem_recv_fd(-1));
	CHECK_EQUAL(0, errno);
	close(pair[1]);
}

static void message_without_descriptor(void)
{
	int pair[2];

	CHECK_EQUAL(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_EQUAL(1, write(pair[0], "x", 1));
	CHECK_EQUAL(-EBADMSG, pyobjmem_recv_fd(pair[1]));
	close(pair[0]);
	close(pair[1]);
}

/* A sender that attaches two leaves none of them open here. */
static void message_with_two_descriptors(void)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = { .room = { 0 } };
	char byte = 0;
	struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &vector,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	int pair[2], fds[2] = { 0, 1 }, before, after;

	CHECK_EQUAL(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
	CHECK_EQUAL(1, sendmsg(pair[0], &message, 0));
	before = dup(0);
	close(before);
	CHECK_EQUAL(-EBADMSG, pyobjmem_recv_fd(pair[1]));
	after = dup(0);
	close(after);
	CHECK_EQUAL(before, after);
	close(pair[0]);
	close(pair[1]);
}

const struct test socket_tests[] = {
	TEST(descriptors_travel),
	TEST(message_without_descriptor),
	TEST(message_with_two_descriptors),
	{ 0 },
};
