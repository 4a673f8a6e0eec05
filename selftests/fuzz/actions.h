/* SPDX-License-Identifier: GPL-2.0 */
/* The calls of programs that are no operations of the module. */
#ifndef FUZZ_ACTIONS_H
#define FUZZ_ACTIONS_H

struct call;
struct runner;

/* Parameter of fork */
#define FORK_NEXT	0
#define FORK_STAY	1
#define FORK_EXEC	2

/* What a child that has become another program is called with */
#define PAUSE_OPTION	"--pause"

int action_chain(struct runner *runner, const struct call *call);
int action_close(struct runner *runner, const struct call *call);
int action_descriptors(struct runner *runner, const struct call *call);
int action_die(struct runner *runner, const struct call *call);
int action_drop(struct runner *runner, const struct call *call);
int action_dup(struct runner *runner, const struct call *call);
int action_fdinfo(struct runner *runner, const struct call *call);
int action_fork(struct runner *runner, const struct call *call);
int action_ioctl(struct runner *runner, const struct call *call);
int action_kill(struct runner *runner, const struct call *call);
int action_limit(struct runner *runner, const struct call *call);
int action_meet(struct runner *runner, const struct call *call);
int action_mmap(struct runner *runner, const struct call *call);
int action_open(struct runner *runner, const struct call *call);
int action_pause(struct runner *runner, const struct call *call);
int action_poll(struct runner *runner, const struct call *call);
int action_protect(struct runner *runner, const struct call *call);
int action_events(struct runner *runner, const struct call *call);
int action_receive(struct runner *runner, const struct call *call);
int action_send(struct runner *runner, const struct call *call);
int action_show(struct runner *runner, const struct call *call);

#endif /* FUZZ_ACTIONS_H */
