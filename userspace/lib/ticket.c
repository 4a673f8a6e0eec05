// SPDX-License-Identifier: MIT
/*
 * Tickets, and how descriptors travel over a socket.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "internal.h"

API int pyobjmem_export(struct pyobjmem *session, uint64_t handle)
{
	struct pyobjmem_export export = { .size = sizeof(export), .handle = handle };
	int error = pyobjmem_sys_ioctl(session->fd, PYOBJMEM_EXPORT, &export);

	return error ? error : export.out_fd;
}

API int pyobjmem_redeem(struct pyobjmem *session, int ticket, uint64_t *handle)
{
	struct pyobjmem_redeem redeem = { .size = sizeof(redeem), .fd = ticket };
	int error = pyobjmem_take(session, PYOBJMEM_REDEEM, &redeem, &redeem.out_handle);

	if (!error)
		*handle = redeem.out_handle;
	return error;
}

/* Room for a control message with one descriptor, aligned. */
union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

API int pyobjmem_send_fd(int socket, int fd)
{
	union control control = { .room = { 0 } };
	char byte = 0;
	struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &vector,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int saved = errno;
	int error = 0;

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
		error = -errno;
	errno = saved;
	return error;
}

API int pyobjmem_recv_fd(int socket)
{
	union control control = { .room = { 0 } };
	char byte;
	struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &vector,
		.msg_iovlen = 1,
		.msg_control = control.room,
		/* CMSG_SPACE would have room for a second descriptor. */
		.msg_controllen = CMSG_LEN(sizeof(int)),
	};
	struct cmsghdr *header;
	int saved = errno;
	ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	int fd;

	if (received < 0) {
		fd = -errno;
		errno = saved;
		return fd;
	}
	header = CMSG_FIRSTHDR(&message);
	if (!header)
		return received ? -EBADMSG : -EPIPE;
	if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
	    header->cmsg_len != CMSG_LEN(sizeof(fd)))
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	if (message.msg_flags & MSG_CTRUNC) {
		pyobjmem_sys_close(fd);
		return -EBADMSG;
	}
	return fd;
}

API int pyobjmem_send(struct pyobjmem *session, uint64_t handle, int socket)
{
	int ticket = pyobjmem_export(session, handle);
	int error;

	if (ticket < 0)
		return ticket;
	error = pyobjmem_send_fd(socket, ticket);
	pyobjmem_sys_close(ticket);
	pyobjmem_dispatch_direct(session, false);
	return error;
}

API int pyobjmem_receive(struct pyobjmem *session, int socket, uint64_t *handle)
{
	int ticket = pyobjmem_recv_fd(socket);
	int error;

	if (ticket < 0)
		return ticket;
	error = pyobjmem_redeem(session, ticket, handle);
	pyobjmem_sys_close(ticket);
	pyobjmem_dispatch_direct(session, false);
	return error;
}
