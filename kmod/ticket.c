// SPDX-License-Identifier: GPL-2.0
/*
 * Tickets: files that keep one object alive while it travels between processes.
 * Owns the files. A ticket counts once in the object's ext and uses the heap. No
 * object ever holds a file, so tickets in flight can form no cycle.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>

#include "pyobjmem.h"

static void ticket_destroy(struct pom_ticket *ticket)
{
	struct pom_heap *heap = ticket->heap;

	pom_heap_lock(heap);
	list_del(&ticket->node);
	heap->nr_tickets--;
	pom_ext_put_at(heap, pom_link(ticket->handle));
	pom_heap_unlock(heap);
	pom_heap_settle(heap);
	pom_heap_unuse(heap);
	kfree(ticket);
}

static int ticket_release(struct inode *inode, struct file *file)
{
	ticket_destroy(file->private_data);
	return 0;
}

static void ticket_show(struct seq_file *m, struct file *file)
{
	struct pom_ticket *ticket = file->private_data;

	seq_printf(m, "heap:\t%llu\nhandle:\t%#llx\n", ticket->heap->id, ticket->handle);
}

static const struct file_operations ticket_fops = {
	.owner = THIS_MODULE,
	.release = ticket_release,
	.show_fdinfo = ticket_show,
};

/**
 * pom_ticket_create - EXPORT
 * @session: the session
 * @handle: an object that it holds
 *
 * Context: may sleep; heap->lock must not be held.
 * Return: the file or an error pointer.
 */
struct file *pom_ticket_create(struct pom_session *session, u64 handle)
{
	struct pom_ticket *ticket;
	struct pom_object obj;
	struct pom_heap *heap;
	struct file *file;
	int ret;

	ticket = kzalloc(sizeof(*ticket), POM_GFP);
	if (!ticket)
		return ERR_PTR(-ENOMEM);
	ret = pom_session_lock(session);
	if (ret)
		goto err_free;
	heap = session->heap;
	ret = pom_object_held(session, handle, &obj);
	if (!ret)
		ret = pom_ext_get(heap, &obj);
	if (ret)
		goto err_unlock;
	refcount_inc(&heap->users);	/* not the first: the session is one */
	ticket->heap = heap;
	ticket->handle = handle;
	list_add(&ticket->node, &heap->tickets);
	heap->nr_tickets++;
	pom_heap_unlock(heap);

	file = anon_inode_getfile("[pyobjmem-ticket]", &ticket_fops, ticket, O_RDWR);
	if (IS_ERR(file))
		ticket_destroy(ticket);
	return file;

err_unlock:
	pom_heap_unlock(heap);
err_free:
	kfree(ticket);
	return ERR_PTR(ret);
}

/**
 * pom_ticket_redeem - REDEEM
 * @session: the session
 * @cmd: the command
 * @file: what its descriptor names
 * @stash: memory to use
 *
 * Context: heap->lock.
 * Return: 0; -EAGAIN if @stash is short; an error with nothing changed.
 */
int pom_ticket_redeem(struct pom_session *session, struct pyobjmem_redeem *cmd,
		      const struct file *file, struct pom_stash *stash)
{
	struct pom_ticket *ticket;
	struct pom_object obj;
	int ret;

	if (file->f_op != &ticket_fops)
		return -EINVAL;
	ticket = file->private_data;
	if (ticket->heap != session->heap)
		return -EXDEV;
	pom_object_at(session->heap, pom_link(ticket->handle), &obj);
	ret = pom_object_take(session, &obj, stash);
	if (ret)
		return ret;
	cmd->out_handle = ticket->handle;
	return 0;
}
