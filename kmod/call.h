/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What main.c, request.c, batch.c and call.c share: requests, and the table of
 * operations. They are the only ones that see pointers to user memory.
 */
#ifndef _POM_CALL_H
#define _POM_CALL_H

#include "pyobjmem.h"

/**
 * union pom_command - kernel copy of the structure of any operation
 * @head: what all begin with
 * @query: QUERY
 * @heap_create: HEAP_CREATE
 * @heap_join: HEAP_JOIN
 * @heap_configure: HEAP_CONFIGURE
 * @export: EXPORT
 * @redeem: REDEEM
 * @collect: COLLECT
 * @stats: STATS
 * @inspect: INSPECT
 * @batch: BATCH
 * @object: those that a BATCH can carry
 */
union pom_command {
	struct {
		u32 size;
		u32 flags;
	} head;
	struct pyobjmem_query query;
	struct pyobjmem_heap_create heap_create;
	struct pyobjmem_heap_join heap_join;
	struct pyobjmem_heap_configure heap_configure;
	struct pyobjmem_export export;
	struct pyobjmem_redeem redeem;
	struct pyobjmem_collect collect;
	struct pyobjmem_stats stats;
	struct pyobjmem_inspect inspect;
	struct pyobjmem_batch batch;
	union pyobjmem_command object;
};

/**
 * struct pom_request - one ioctl
 * @op: number of the operation
 * @size: bytes of @cmd that the caller knows
 * @user: the caller's structure
 * @cmd: the kernel's copy
 * @small: room for small copies from and to user memory
 */
struct pom_request {
	u32 op;
	u32 size;
	void __user *user;
	union pom_command cmd;
	u64 small[16];
};

/**
 * struct pom_op - an operation, as the table in main.c has it
 * @execute: does it
 * @size: size of its structure
 * @min_size: least size that is accepted
 * @flags: flags that are known
 * @reserved: offset of a reserved member, 0 (where size lies) if there is none
 * @batch: can be part of a BATCH
 * @carries: points to a payload, to edges or to a buffer
 * @silent: has no reply
 * @plain: needs no memory
 * @heapless: the session need not have joined a heap
 */
struct pom_op {
	int (*execute)(struct pom_session *session, struct pom_request *rq);
	u16 size;
	u16 min_size;
	u32 flags;
	u16 reserved;
	bool batch;
	bool carries;
	bool silent;
	bool plain;
	bool heapless;
};

extern const struct pom_op pom_ops[PYOBJMEM_OP_COUNT];

int pom_op_check(const struct pom_op *op, const void *cmd);
int pom_reply(const struct pom_request *rq);
int pom_session_do(struct pom_session *session,
		   int (*fn)(struct pom_session *session, void *data, struct pom_stash *stash),
		   void *data, struct pom_stash *stash);
int pom_call_check(u32 op, const union pyobjmem_command *cmd);
u64 pom_call_measure(u32 op, const union pyobjmem_command *cmd, struct pom_args *args);
int pom_call_stage(u32 op, const union pyobjmem_command *cmd, struct pom_args *args,
		   void *buffer);
int pom_call_large(struct pom_session *session, const struct pyobjmem_create *cmd,
		   struct pom_args *args);
bool pom_call_in_slices(u32 op, const union pyobjmem_command *cmd, const struct pom_args *args);
int pom_call_locked(struct pom_session *session, u32 op, union pyobjmem_command *cmd,
		    struct pom_args *args, struct pom_stash *stash);
int pom_call_run(struct pom_session *session, u32 op, union pyobjmem_command *cmd,
		 struct pom_args *args, struct pom_stash *stash);
void pom_call_undo(struct pom_session *session, u64 handle, bool created);
void pom_args_discard(struct pom_args *args);

int pom_request_object(struct pom_session *session, struct pom_request *rq);
int pom_request_read(struct pom_session *session, struct pom_request *rq);
int pom_request_write(struct pom_session *session, struct pom_request *rq);
int pom_request_inspect(struct pom_session *session, struct pom_request *rq);
int pom_request_batch(struct pom_session *session, struct pom_request *rq);

#endif /* _POM_CALL_H */
