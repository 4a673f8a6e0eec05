// SPDX-License-Identifier: GPL-2.0
/*
 * The module, the device, the table of operations, and those operations that
 * are not about objects. See pyobjmem.h for the design.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/build_bug.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "call.h"

struct workqueue_struct *pom_wq;

unsigned long pom_heap_bytes = POM_SPACE_BYTES;
module_param_named(heap_bytes, pom_heap_bytes, ulong, 0644);
MODULE_PARM_DESC(heap_bytes, "Most bytes that a new heap may take (default 32 GB)");

unsigned long pom_heap_objects = U32_MAX;
module_param_named(heap_objects, pom_heap_objects, ulong, 0644);
MODULE_PARM_DESC(heap_objects, "Most objects that a new heap may have (default 4294967295)");

unsigned long pom_session_holds = 1UL << 26;
module_param_named(session_holds, pom_session_holds, ulong, 0644);
MODULE_PARM_DESC(session_holds, "Most objects that a session may hold (default 67108864)");

unsigned long pom_session_watches = 1UL << 22;
module_param_named(session_watches, pom_session_watches, ulong, 0644);
MODULE_PARM_DESC(session_watches, "Most weak holds and finalizers that a session may have (default 4194304)");

unsigned long pom_user_bytes;
module_param_named(user_bytes, pom_user_bytes, ulong, 0644);
MODULE_PARM_DESC(user_bytes, "Most bytes that the heaps and sessions of one user may take (default half of the memory)");

unsigned long pom_user_sessions = 16384;
module_param_named(user_sessions, pom_user_sessions, ulong, 0644);
MODULE_PARM_DESC(user_sessions, "Most sessions that one user may have open (default 16384)");

unsigned long pom_user_heaps = 4096;
module_param_named(user_heaps, pom_user_heaps, ulong, 0644);
MODULE_PARM_DESC(user_heaps, "Most heaps that one user may have (default 4096)");

unsigned int pom_first_generation = 1;
module_param_named(first_generation, pom_first_generation, uint, 0444);
MODULE_PARM_DESC(first_generation, "For tests: where the generations of a place start (default 1)");

unsigned int pom_first_epoch;
module_param_named(first_epoch, pom_first_epoch, uint, 0444);
MODULE_PARM_DESC(first_epoch, "For tests: where the birth epochs of a heap start (default 0)");

#ifdef DEBUG
unsigned int pom_red_zone = 8;
module_param_named(red_zone, pom_red_zone, uint, 0444);
MODULE_PARM_DESC(red_zone, "For tests: bytes behind each block that nobody may write (multiple of 8, to 64, default 8)");
#endif

/* --- Operations that are not about objects ------------------------------- */

static int request_query(struct pom_session *session, struct pom_request *rq)
{
	rq->cmd.query = (struct pyobjmem_query) {
		.size = rq->cmd.query.size,
		.out_abi = PYOBJMEM_ABI,
		.out_operations = PYOBJMEM_OP_COUNT,
		.out_features = PYOBJMEM_FEATURE_WEAK | PYOBJMEM_FEATURE_FINALIZE,
		.out_arena_bytes = POM_ARENA_BYTES,
		.out_pool_bytes = POM_POOL_BYTES,
		.out_class_step = POM_CLASS_STEP,
		.out_class_max = POM_CLASS_MAX,
		.out_roots = PYOBJMEM_ROOTS,
		.out_generations = PYOBJMEM_GENERATIONS,
		.out_batch_max = PYOBJMEM_BATCH_MAX,
		.out_batch_bytes = PYOBJMEM_BATCH_BYTES,
		.out_slots_max = PYOBJMEM_SLOTS_MAX,
		.out_window_bytes = POM_SPACE_BYTES,
		.out_payload_max = U32_MAX,
		.out_heap_bytes = READ_ONCE(pom_heap_bytes),
		.out_heap_objects = READ_ONCE(pom_heap_objects),
		.out_session_holds = READ_ONCE(pom_session_holds),
		.out_user_bytes = READ_ONCE(pom_user_bytes),
		.out_session_watches = READ_ONCE(pom_session_watches),
	};
	return pom_reply(rq);
}

/* The reply is written before the session joins: joining cannot be undone. */
static int request_heap_create(struct pom_session *session, struct pom_request *rq)
{
	struct pyobjmem_heap_create *cmd = &rq->cmd.heap_create;
	struct pom_heap *heap;
	struct file *file;
	int fd, ret;

	if (cmd->rights & ~PYOBJMEM_RIGHTS)
		return -EOPNOTSUPP;
	ret = pom_session_joinable(session);
	if (ret)
		return ret;
	heap = pom_heap_create(cmd->flags);
	if (IS_ERR(heap))
		return PTR_ERR(heap);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		ret = fd;
		goto out_heap;
	}
	file = pom_heap_file(heap, cmd->rights);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto err_fd;
	}
	cmd->out_fd = fd;
	cmd->out_heap = heap->id;
	ret = pom_reply(rq);
	if (!ret)
		ret = pom_session_join(session, heap, PYOBJMEM_RIGHTS,
				       cmd->flags & PYOBJMEM_HEAP_COLLECTED);
	if (ret)
		goto err_file;
	fd_install(fd, file);
	goto out_heap;

err_file:
	fput(file);
err_fd:
	put_unused_fd(fd);
out_heap:
	pom_heap_unuse(heap);
	return ret;
}

static int request_heap_join(struct pom_session *session, struct pom_request *rq)
{
	struct pyobjmem_heap_join *cmd = &rq->cmd.heap_join;
	struct pom_heap *heap;
	int ret;

	heap = pom_heap_from_fd(cmd->fd, &cmd->out_rights);
	if (IS_ERR(heap))
		return PTR_ERR(heap);
	cmd->out_heap = heap->id;
	ret = pom_reply(rq);
	if (!ret)
		ret = pom_session_join(session, heap, cmd->out_rights,
				       cmd->flags & PYOBJMEM_HEAP_COLLECTED);
	pom_heap_unuse(heap);
	return ret;
}

static int request_leave(struct pom_session *session, struct pom_request *rq)
{
	return pom_session_end(session) ? 0 : -ENOTCONN;
}

static int session_check(struct pom_session *session)
{
	int ret = pom_session_lock(session);

	if (!ret)
		pom_heap_unlock(session->heap);
	return ret;
}

static int request_heap_configure(struct pom_session *session, struct pom_request *rq)
{
	int ret = pom_session_lock(session);

	if (ret)
		return ret;
	ret = -EPERM;
	if (session->rights & PYOBJMEM_RIGHT_CONFIGURE)
		ret = pom_heap_configure(session, &rq->cmd.heap_configure);
	pom_heap_unlock(session->heap);
	return ret;
}

static int request_collect(struct pom_session *session, struct pom_request *rq)
{
	struct pyobjmem_collect *cmd = &rq->cmd.collect;
	struct pom_gc_run run;
	int ret;

	if (cmd->generation >= PYOBJMEM_GENERATIONS)
		return -EINVAL;
	ret = session_check(session);
	if (!ret)
		ret = pom_collect(session->heap, cmd->generation, &run);
	if (ret)
		return ret;
	cmd->out_visited = run.visited;
	cmd->out_collected = run.collected;
	cmd->out_finalizers = run.finalizers;
	cmd->out_survivors = run.visited - run.collected;
	cmd->out_slices = run.slices;
	cmd->out_longest_ns = run.longest_ns;
	cmd->out_duration_ns = run.duration_ns;
	return pom_reply(rq);
}

static int request_freeze(struct pom_session *session, struct pom_request *rq)
{
	int ret = session_check(session);

	if (!ret && !(session->rights & PYOBJMEM_RIGHT_CONFIGURE))
		ret = -EPERM;
	return ret ?: pom_freeze(session->heap, rq->op == PYOBJMEM_OP_FREEZE);
}

static int request_stats(struct pom_session *session, struct pom_request *rq)
{
	struct pyobjmem_stats *cmd = &rq->cmd.stats;
	int ret;

	*cmd = (struct pyobjmem_stats) { .size = cmd->size };
	ret = pom_session_lock(session);
	if (ret)
		return ret;
	pom_heap_stats(session->heap, cmd);
	cmd->out_holds = session->holds.count;
	cmd->out_watches = session->nr_watches;
	cmd->out_events = session->nr_events;
	pom_heap_unlock(session->heap);
	cmd->out_holds_limit = READ_ONCE(pom_session_holds);
	cmd->out_watches_limit = READ_ONCE(pom_session_watches);
	return pom_reply(rq);
}

static int request_export(struct pom_session *session, struct pom_request *rq)
{
	struct pyobjmem_export *cmd = &rq->cmd.export;
	struct file *file;
	int fd, ret;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = pom_ticket_create(session, cmd->handle);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	cmd->out_fd = fd;
	ret = pom_reply(rq);
	if (ret) {
		fput(file);
		put_unused_fd(fd);
		return ret;
	}
	fd_install(fd, file);
	return 0;
}

/* A REDEEM, for pom_session_do(). */
struct redeem_call {
	struct pyobjmem_redeem *cmd;
	const struct file *file;
};

static int redeem_do(struct pom_session *session, void *data, struct pom_stash *stash)
{
	struct redeem_call *call = data;

	return pom_ticket_redeem(session, call->cmd, call->file, stash);
}

static int request_redeem(struct pom_session *session, struct pom_request *rq)
{
	struct redeem_call call = { .cmd = &rq->cmd.redeem };
	struct pom_stash stash;
	struct file *file;
	int ret;

	file = fget(rq->cmd.redeem.fd);
	if (!file)
		return -EBADF;
	call.file = file;
	pom_stash_init(&stash, session);
	ret = pom_session_do(session, redeem_do, &call, &stash);
	pom_stash_drain(&stash);
	fput(file);
	if (ret)
		return ret;
	ret = pom_reply(rq);
	if (ret)
		pom_call_undo(session, rq->cmd.redeem.out_handle, false);
	return ret;
}

/* --- The table ----------------------------------------------------------- */

#define OP(_op, _struct, _last, _execute, ...)				\
	[PYOBJMEM_OP_##_op] = {						\
		.execute = _execute,					\
		.size = sizeof(struct _struct) +			\
			BUILD_BUG_ON_ZERO(sizeof(struct _struct) >	\
					  sizeof(union pom_command)) +	\
			BUILD_BUG_ON_ZERO(sizeof(struct _struct) % 8),	\
		.min_size = offsetofend(struct _struct, _last),		\
		__VA_ARGS__						\
	}
#define RESERVED(_struct)	.reserved = offsetof(struct _struct, __reserved)

const struct pom_op pom_ops[PYOBJMEM_OP_COUNT] = {
	OP(QUERY, pyobjmem_query, out_session_watches, request_query, .heapless = true),
	OP(HEAP_CREATE, pyobjmem_heap_create, out_heap, request_heap_create,
	   .flags = PYOBJMEM_HEAP_FLAGS, .heapless = true),
	OP(HEAP_JOIN, pyobjmem_heap_join, out_heap, request_heap_join,
	   .flags = PYOBJMEM_JOIN_FLAGS, .heapless = true),
	OP(LEAVE, pyobjmem_leave, flags, request_leave, .heapless = true),
	OP(HEAP_CONFIGURE, pyobjmem_heap_configure, collect, request_heap_configure,
	   .flags = PYOBJMEM_CONFIGURE_FLAGS),
	OP(CREATE, pyobjmem_create, out_handle, pom_request_object,
	   .flags = PYOBJMEM_CREATE_FLAGS, RESERVED(pyobjmem_create), .batch = true,
	   .carries = true),
	OP(GET, pyobjmem_get, handle, pom_request_object, .batch = true, .silent = true,
	   .plain = true),
	OP(PUT, pyobjmem_put, handle, pom_request_object, .batch = true, .silent = true,
	   .plain = true),
	OP(SET_REF, pyobjmem_set_ref, out_old, pom_request_object,
	   .flags = PYOBJMEM_SET_REF_FLAGS, RESERVED(pyobjmem_set_ref), .batch = true,
	   .plain = true),
	OP(GET_REF, pyobjmem_get_ref, out_handle, pom_request_object,
	   RESERVED(pyobjmem_get_ref), .batch = true),
	OP(READ, pyobjmem_read, out_slots, pom_request_read, .batch = true,
	   .carries = true),
	OP(WRITE, pyobjmem_write, out_length, pom_request_write, .batch = true,
	   .carries = true),
	OP(SET_ROOT, pyobjmem_set_root, out_old, pom_request_object,
	   RESERVED(pyobjmem_set_root), .batch = true, .plain = true),
	OP(GET_ROOT, pyobjmem_get_root, out_handle, pom_request_object,
	   RESERVED(pyobjmem_get_root), .batch = true),
	OP(EXPORT, pyobjmem_export, __reserved, request_export, RESERVED(pyobjmem_export)),
	OP(REDEEM, pyobjmem_redeem, out_handle, request_redeem, RESERVED(pyobjmem_redeem)),
	OP(WEAK, pyobjmem_weak, cookie, pom_request_object, .batch = true, .silent = true),
	OP(UPGRADE, pyobjmem_upgrade, handle, pom_request_object, .batch = true,
	   .silent = true),
	OP(WEAK_DROP, pyobjmem_weak_drop, cookie, pom_request_object, .batch = true,
	   .silent = true, .plain = true),
	OP(COLLECT, pyobjmem_collect, out_duration_ns, request_collect,
	   RESERVED(pyobjmem_collect)),
	OP(FREEZE, pyobjmem_freeze, flags, request_freeze),
	OP(UNFREEZE, pyobjmem_unfreeze, flags, request_freeze),
	OP(STATS, pyobjmem_stats, out_gc, request_stats),
	OP(INSPECT, pyobjmem_inspect, out_weak, pom_request_inspect),
	OP(BATCH, pyobjmem_batch, __reserved, pom_request_batch,
	   .flags = PYOBJMEM_BATCH_FLAGS, RESERVED(pyobjmem_batch)),
};

/* --- The device ---------------------------------------------------------- */

static int pom_open(struct inode *inode, struct file *file)
{
	struct pom_session *session = pom_session_open();

	if (IS_ERR(session))
		return PTR_ERR(session);
	file->private_data = session;
	return nonseekable_open(inode, file);
}

static int pom_release(struct inode *inode, struct file *file)
{
	struct pom_session *session = file->private_data;

	/* A kernel thread puts files of others: it must not be held up. */
	if (current->flags & PF_KTHREAD) {
		pom_session_end_later(session, pom_wq);
		return 0;
	}
	/*
	 * The mm of a process goes before its files do. So where nobody else has
	 * the file, the holds are gone before the parent learns of the death.
	 */
	if (!pom_session_end(session))
		flush_work(&session->end);
	pom_session_put(session);
	return 0;
}

/*
 * The session may leave in another thread, and it may be the last: the heap
 * stays until the operation is done.
 */
static int execute_in_heap(struct pom_session *session, const struct pom_op *op,
			   struct pom_request *rq)
{
	struct pom_heap *heap = pom_session_heap(session);
	int ret;

	if (!heap || !pom_heap_use(heap))
		return -ENOTCONN;
	ret = op->execute(session, rq);
	pom_heap_unuse(heap);
	return ret;
}

static long pom_ioctl(struct file *file, unsigned int number, unsigned long arg)
{
	struct pom_session *session = file->private_data;
	struct pom_request rq = { .op = _IOC_NR(number), .user = (void __user *)arg };
	const struct pom_op *op;
	u32 size;
	int ret;

	if (rq.op >= PYOBJMEM_OP_COUNT || number != _IO(PYOBJMEM_TYPE, rq.op))
		return -ENOTTY;
	if (session->mm != current->mm)
		return -EIO;
	rq.op = array_index_nospec(rq.op, PYOBJMEM_OP_COUNT);
	op = &pom_ops[rq.op];

	if (get_user(size, (u32 __user *)rq.user))
		return -EFAULT;
	if (size < op->min_size)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(&rq.cmd, op->size, rq.user, size);
	if (ret)
		return ret;
	rq.size = min_t(u32, size, op->size);
	rq.cmd.head.size = size;	/* not what a second read may have found */
	ret = pom_op_check(op, &rq.cmd);
	if (ret)
		return ret;
	return op->heapless ? op->execute(session, &rq) : execute_in_heap(session, op, &rq);
}

/* Windows come with PYOBJMEM_FEATURE_WINDOWS. */
static int pom_mmap(struct file *file, struct vm_area_struct *vma)
{
	return -EOPNOTSUPP;
}

static void pom_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct pom_session *session = file->private_data;
	struct pom_heap *heap = pom_session_heap(session);

	seq_printf(m, "ended:\t%d\n", READ_ONCE(session->ended));
	if (heap)
		seq_printf(m, "heap:\t%llu\nrights:\t%#x\nholds:\t%llu\nwatches:\t%llu\nevents:\t%llu\n",
			   heap->id, session->rights, READ_ONCE(session->holds.count),
			   READ_ONCE(session->nr_watches), READ_ONCE(session->nr_events));
}

static const struct file_operations pom_fops = {
	.owner = THIS_MODULE,
	.open = pom_open,
	.release = pom_release,
	.unlocked_ioctl = pom_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = pom_mmap,
	.read = pom_read,
	.poll = pom_poll,
	.show_fdinfo = pom_show_fdinfo,
};

static struct miscdevice pom_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pyobjmem",
	.mode = 0660,
	.fops = &pom_fops,
};

/* Sizes that programs were built with do not change by accident. */
static void __init check_abi(void)
{
	BUILD_BUG_ON(sizeof(struct pyobjmem_head) != 16);
	BUILD_BUG_ON(sizeof(struct pyobjmem_query) != 120);
	BUILD_BUG_ON(sizeof(struct pyobjmem_heap_create) != 24);
	BUILD_BUG_ON(sizeof(struct pyobjmem_heap_join) != 24);
	BUILD_BUG_ON(sizeof(struct pyobjmem_leave) != 8);
	BUILD_BUG_ON(sizeof(struct pyobjmem_heap_configure) != 40);
	BUILD_BUG_ON(sizeof(struct pyobjmem_create) != 48);
	BUILD_BUG_ON(sizeof(struct pyobjmem_get) != 16);
	BUILD_BUG_ON(sizeof(struct pyobjmem_put) != 16);
	BUILD_BUG_ON(sizeof(struct pyobjmem_set_ref) != 48);
	BUILD_BUG_ON(sizeof(struct pyobjmem_get_ref) != 32);
	BUILD_BUG_ON(sizeof(struct pyobjmem_read) != 56);
	BUILD_BUG_ON(sizeof(struct pyobjmem_write) != 48);
	BUILD_BUG_ON(sizeof(struct pyobjmem_set_root) != 32);
	BUILD_BUG_ON(sizeof(struct pyobjmem_get_root) != 24);
	BUILD_BUG_ON(sizeof(struct pyobjmem_export) != 24);
	BUILD_BUG_ON(sizeof(struct pyobjmem_redeem) != 24);
	BUILD_BUG_ON(sizeof(struct pyobjmem_weak) != 24);
	BUILD_BUG_ON(sizeof(struct pyobjmem_upgrade) != 16);
	BUILD_BUG_ON(sizeof(struct pyobjmem_weak_drop) != 24);
	BUILD_BUG_ON(sizeof(struct pyobjmem_event) != 56);
	BUILD_BUG_ON(sizeof(struct pyobjmem_collect) != 72);
	BUILD_BUG_ON(sizeof(struct pyobjmem_freeze) != 8);
	BUILD_BUG_ON(sizeof(struct pyobjmem_unfreeze) != 8);
	BUILD_BUG_ON(sizeof(struct pyobjmem_gc_stats) != 40);
	BUILD_BUG_ON(sizeof(struct pyobjmem_stats) != 360);
	BUILD_BUG_ON(sizeof(struct pyobjmem_inspect) != 64);
	BUILD_BUG_ON(sizeof(union pyobjmem_command) != 56);
	BUILD_BUG_ON(sizeof(struct pyobjmem_batch_entry) != 64);
	BUILD_BUG_ON(sizeof(struct pyobjmem_batch) != 32);
}

static int __init pom_init(void)
{
	int ret;

	check_abi();
	if (!pom_first_generation || pom_red_zone > 64 || pom_red_zone % POM_CLASS_STEP)
		return -EINVAL;
	if (!pom_user_bytes)
		pom_user_bytes = (totalram_pages() / 2) << PAGE_SHIFT;
	ret = pom_watch_init();
	if (ret)
		return ret;
	pom_wq = alloc_workqueue("pyobjmem", WQ_UNBOUND, 0);
	if (!pom_wq) {
		ret = -ENOMEM;
		goto err_watch;
	}
	pom_debugfs_init();
	ret = pom_shrinker_init();
	if (ret)
		goto err_debugfs;
	ret = misc_register(&pom_misc);
	if (ret)
		goto err_shrinker;
	return 0;

err_shrinker:
	pom_shrinker_exit();
err_debugfs:
	pom_debugfs_exit();
	destroy_workqueue(pom_wq);
err_watch:
	pom_watch_exit();
	return ret;
}

/* No file is open: every session has ended or is being ended by a worker. */
static void __exit pom_exit(void)
{
	misc_deregister(&pom_misc);
	pom_shrinker_exit();
	drain_workqueue(pom_wq);
	destroy_workqueue(pom_wq);
	pom_session_exit();
	pom_watch_exit();
	pom_debugfs_exit();
}

module_init(pom_init);
module_exit(pom_exit);

MODULE_AUTHOR("The pyobjmem authors");
MODULE_DESCRIPTION("Reference counted objects shared by processes, with a cycle collector");
MODULE_LICENSE("GPL");
MODULE_ALIAS("devname:pyobjmem");
