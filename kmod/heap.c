// SPDX-License-Identifier: GPL-2.0
/*
 * Heaps: one audience each. Owns the two spaces, the roots, the lock, the heap's
 * files and its life: a heap lives while somebody uses it (a session that joined,
 * a descriptor, a ticket), and everything in it goes with the last of them. The
 * structure itself stays while a session, even one that has ended, points to it.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "pyobjmem.h"

/* Sessions of a heap that may be ending at once, and its works. */
#define HEAP_WORKERS	2

/* What is behind a heap descriptor. */
struct heap_file {
	struct pom_heap *heap;
	u32 rights;
};

/* --- Works ---------------------------------------------------------------- */

static void heap_settle_work(struct work_struct *work)
{
	pom_heap_settle(container_of(work, struct pom_heap, settle));
}

static void heap_trim(struct pom_heap *heap)
{
	pom_heap_lock(heap);
	pom_pool_trim(heap);
	pom_heap_unlock(heap);
}

static void heap_trim_work(struct work_struct *work)
{
	heap_trim(container_of(to_delayed_work(work), struct pom_heap, trim));
}

/**
 * pom_heap_relieve - make room after a limit was hit or memory ran out
 * @heap: the heap
 *
 * Garbage must not make an operation fail: collect once, give back what is
 * empty. The caller then tries once more.
 *
 * Context: may sleep; heap->lock must not be held.
 */
void pom_heap_relieve(struct pom_heap *heap)
{
	heap_trim(heap);
	pom_collect(heap, PYOBJMEM_GENERATIONS - 1, NULL);
}

/* --- Life ---------------------------------------------------------------- */

static void heap_free(struct kref *kref)
{
	struct pom_heap *heap = container_of(kref, struct pom_heap, kref);

	pom_user_put(heap->user);
	mutex_destroy(&heap->lock);
	kvfree(heap);
}

/**
 * pom_heap_get - keep the structure
 * @heap: the heap
 */
void pom_heap_get(struct pom_heap *heap)
{
	kref_get(&heap->kref);
}

/**
 * pom_heap_put - give the structure back
 * @heap: the heap
 *
 * Context: may sleep.
 */
void pom_heap_put(struct pom_heap *heap)
{
	kref_put(&heap->kref, heap_free);
}

static void heap_destroy_space(struct pom_space *space)
{
	pom_pool_discard_all(space);
	pom_space_destroy(space);
}

/* Nobody uses the heap: objects need not be freed one by one. */
static void heap_destroy_work(struct work_struct *work)
{
	struct pom_heap *heap = container_of(work, struct pom_heap, destroy);

	pom_debugfs_remove(heap);
	pom_shrinker_remove(heap);
	/* A collection that somebody left to the worker may empty pools to the last. */
	destroy_workqueue(heap->wq);
	cancel_delayed_work_sync(&heap->trim);
	heap_destroy_space(&heap->space[POM_OBJECTS]);
	heap_destroy_space(&heap->space[POM_DATA]);
	atomic_long_dec(&heap->user->heaps);
	pom_heap_put(heap);
}

/**
 * pom_heap_use - become a user of a heap
 * @heap: the heap
 *
 * Return: false if the last user has gone.
 */
bool pom_heap_use(struct pom_heap *heap)
{
	return refcount_inc_not_zero(&heap->users);
}

/**
 * pom_heap_unuse - stop using a heap; with the last user everything in it goes
 * @heap: the heap
 *
 * Context: does not sleep. The heap must not be used afterwards.
 */
void pom_heap_unuse(struct pom_heap *heap)
{
	if (refcount_dec_and_test(&heap->users))
		queue_work(pom_wq, &heap->destroy);
}

/* Reclaim comes to us, too: what is allocated under the lock might wait for us. */
static void heap_teach_lockdep(struct pom_heap *heap)
{
	fs_reclaim_acquire(GFP_KERNEL);
	might_lock(&heap->lock);
	fs_reclaim_release(GFP_KERNEL);
}

static void heap_init(struct pom_heap *heap, u32 flags)
{
	static atomic64_t last_id = ATOMIC64_INIT(0);

	kref_init(&heap->kref);
	refcount_set(&heap->users, 1);
	heap->id = atomic64_inc_return(&last_id);
	heap->nomap = flags & PYOBJMEM_HEAP_NOMAP;
	mutex_init(&heap->lock);
	if (POM_DEBUG)
		heap_teach_lockdep(heap);
	INIT_LIST_HEAD(&heap->sessions);
	INIT_LIST_HEAD(&heap->tickets);
	INIT_LIST_HEAD(&heap->reap);
	heap->watches = RB_ROOT;
	init_waitqueue_head(&heap->collected_wait);
	heap->dying = POM_NIL;
	heap->dropping = POM_NIL;
	heap->pages_limit = min_t(u64, READ_ONCE(pom_heap_bytes), POM_SPACE_BYTES) >> PAGE_SHIFT;
	heap->objects_limit = READ_ONCE(pom_heap_objects);
	pom_gc_init(heap);
	INIT_WORK(&heap->settle, heap_settle_work);
	INIT_WORK(&heap->collect, pom_collect_work);
	INIT_DELAYED_WORK(&heap->trim, heap_trim_work);
	INIT_WORK(&heap->destroy, heap_destroy_work);
}

/**
 * pom_heap_create - make a heap
 * @flags: PYOBJMEM_HEAP_*
 *
 * Context: may sleep.
 * Return: the heap, used once by the caller, or an error pointer.
 */
struct pom_heap *pom_heap_create(u32 flags)
{
	struct pom_heap *heap;
	int ret = -ENOMEM;

	heap = kvzalloc(sizeof(*heap), POM_GFP);
	if (!heap)
		return ERR_PTR(-ENOMEM);
	heap->user = pom_user_get();
	if (!heap->user)
		goto err_free;
	if (!pom_user_charge(&heap->user->heaps, 1, READ_ONCE(pom_user_heaps))) {
		ret = -EDQUOT;
		goto err_user;
	}
	heap_init(heap, flags);
	heap->wq = alloc_workqueue("pyobjmem/%llu", WQ_UNBOUND, HEAP_WORKERS, heap->id);
	if (!heap->wq)
		goto err_charge;
	if (pom_space_init(&heap->space[POM_OBJECTS], heap, POM_OBJECTS))
		goto err_wq;
	if (pom_space_init(&heap->space[POM_DATA], heap, POM_DATA))
		goto err_space;
	pom_debugfs_add(heap);
	pom_shrinker_add(heap);
	return heap;

err_space:
	pom_space_destroy(&heap->space[POM_OBJECTS]);
err_wq:
	destroy_workqueue(heap->wq);
err_charge:
	atomic_long_dec(&heap->user->heaps);
err_user:
	pom_user_put(heap->user);
err_free:
	kvfree(heap);
	return ERR_PTR(ret);
}

/* --- Descriptors --------------------------------------------------------- */

static int heap_file_release(struct inode *inode, struct file *file)
{
	struct heap_file *hf = file->private_data;

	pom_heap_unuse(hf->heap);
	kfree(hf);
	return 0;
}

static void heap_file_show(struct seq_file *m, struct file *file)
{
	struct heap_file *hf = file->private_data;

	seq_printf(m, "heap:\t%llu\nrights:\t%#x\n", hf->heap->id, hf->rights);
}

static const struct file_operations heap_fops = {
	.owner = THIS_MODULE,
	.release = heap_file_release,
	.show_fdinfo = heap_file_show,
};

/**
 * pom_heap_file - make a file that others can join through
 * @heap: the heap; the file uses it
 * @rights: PYOBJMEM_RIGHT_* that they get
 *
 * Context: may sleep.
 * Return: the file or an error pointer.
 */
struct file *pom_heap_file(struct pom_heap *heap, u32 rights)
{
	struct heap_file *hf;
	struct file *file;

	hf = kzalloc(sizeof(*hf), POM_GFP);
	if (!hf)
		return ERR_PTR(-ENOMEM);
	hf->heap = heap;
	hf->rights = rights;
	file = anon_inode_getfile("[pyobjmem-heap]", &heap_fops, hf, O_RDWR);
	if (IS_ERR(file)) {
		kfree(hf);
		return file;
	}
	refcount_inc(&heap->users);
	return file;
}

/**
 * pom_heap_from_fd - the heap of a descriptor
 * @fd: a number
 * @rights: those that the descriptor carries
 *
 * Context: may sleep.
 * Return: the heap, used once more, or an error pointer: -EBADF, -EINVAL.
 */
struct pom_heap *pom_heap_from_fd(int fd, u32 *rights)
{
	struct file *file = fget(fd);
	struct pom_heap *heap = ERR_PTR(-EINVAL);
	struct heap_file *hf;

	if (!file)
		return ERR_PTR(-EBADF);
	if (file->f_op == &heap_fops) {
		hf = file->private_data;
		heap = hf->heap;
		*rights = hf->rights;
		refcount_inc(&heap->users);	/* not the first: the file is one */
	}
	fput(file);
	return heap;
}

/* --- Operations ---------------------------------------------------------- */

/**
 * pom_heap_set_root - SET_ROOT
 * @session: the session
 * @cmd: the command
 *
 * Context: heap->lock.
 * Return: 0 or an error with nothing changed.
 */
int pom_heap_set_root(struct pom_session *session, struct pyobjmem_set_root *cmd)
{
	struct pom_heap *heap = session->heap;
	struct pom_object obj;
	u32 root;
	int ret;

	if (cmd->root >= PYOBJMEM_ROOTS)
		return -EINVAL;
	root = array_index_nospec(cmd->root, PYOBJMEM_ROOTS);
	if (cmd->handle) {
		ret = pom_object_held(session, cmd->handle, &obj);
		if (!ret)
			ret = pom_ext_get(heap, &obj);
		if (ret)
			return ret;
	}
	cmd->out_old = heap->roots[root];
	heap->roots[root] = cmd->handle;
	if (cmd->out_old)
		pom_ext_put_at(heap, pom_link(cmd->out_old));
	return 0;
}

/**
 * pom_heap_get_root - GET_ROOT
 * @session: the session
 * @cmd: the command
 * @stash: memory to use
 *
 * Context: heap->lock.
 * Return: 0; -EAGAIN if @stash is short; an error with nothing changed.
 */
int pom_heap_get_root(struct pom_session *session, struct pyobjmem_get_root *cmd,
		      struct pom_stash *stash)
{
	struct pom_heap *heap = session->heap;
	struct pom_object obj;
	u64 handle;
	int ret;

	if (cmd->root >= PYOBJMEM_ROOTS)
		return -EINVAL;
	handle = heap->roots[array_index_nospec(cmd->root, PYOBJMEM_ROOTS)];
	if (handle) {
		pom_object_at(heap, pom_link(handle), &obj);
		ret = pom_object_take(session, &obj, stash);
		if (ret)
			return ret;
	}
	cmd->out_handle = handle;
	return 0;
}

/**
 * pom_heap_configure - HEAP_CONFIGURE
 * @session: the session
 * @cmd: the command
 *
 * Context: heap->lock.
 * Return: 0 or -EINVAL with nothing changed.
 */
int pom_heap_configure(struct pom_session *session, struct pyobjmem_heap_configure *cmd)
{
	struct pom_heap *heap = session->heap;
	u64 pages = cmd->bytes >> PAGE_SHIFT;
	u32 i;

	lockdep_assert_held(&heap->lock);
	if (cmd->flags & PYOBJMEM_CONFIGURE_BYTES &&
	    (!PAGE_ALIGNED(cmd->bytes) || pages > heap->pages_limit || pages < heap->pages))
		return -EINVAL;
	if (cmd->flags & PYOBJMEM_CONFIGURE_OBJECTS &&
	    (cmd->objects > heap->objects_limit || cmd->objects < heap->objects))
		return -EINVAL;
	if (cmd->flags & PYOBJMEM_CONFIGURE_COLLECT && cmd->collect > 1)
		return -EINVAL;

	if (cmd->flags & PYOBJMEM_CONFIGURE_BYTES)
		WRITE_ONCE(heap->pages_limit, pages);
	if (cmd->flags & PYOBJMEM_CONFIGURE_OBJECTS)
		heap->objects_limit = cmd->objects;
	if (cmd->flags & PYOBJMEM_CONFIGURE_COLLECT)
		heap->gc.enabled = cmd->collect;
	for (i = 0; cmd->flags & PYOBJMEM_CONFIGURE_THRESHOLDS && i < PYOBJMEM_GENERATIONS; i++)
		heap->gc.threshold[i] = cmd->thresholds[i];
	return 0;
}
