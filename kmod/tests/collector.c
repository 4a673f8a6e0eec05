// SPDX-License-Identifier: GPL-2.0
/*
 * A collector that stops after each slice, for the KUnit suites. See kunit.h.
 *
 * Whoever is killed in pom_collect() stops after a slice: a thread is, each time
 * that it waits for the lock. The worker that would finish is one that does nothing.
 */
#include <linux/kthread.h>
#include <linux/sched/signal.h>

#include "kunit.h"

static void do_not_finish(struct work_struct *work)
{
}

static int collector(void *data)
{
	struct pom_collector *c = data;

	allow_signal(SIGKILL);
	for (;;) {
		wait_for_completion(&c->go);
		if (c->stop)
			return 0;
		flush_signals(current);
		complete(&c->ready);
		pom_collect(c->heap, c->generation, NULL);
		complete(&c->done);
	}
}

/**
 * pom_collector_start - start a collector
 * @test: the test; its heap does not collect by itself until the collector stops
 * @c: the collector, of generation 0
 */
void pom_collector_start(struct kunit *test, struct pom_collector *c)
{
	struct pom_fixture *f = test->priv;

	*c = (struct pom_collector) { .heap = f->heap };
	init_completion(&c->go);
	init_completion(&c->ready);
	init_completion(&c->done);
	INIT_WORK(&c->heap->collect, do_not_finish);
	c->thread = kthread_run(collector, c, "pyobjmem-collect");
	KUNIT_ASSERT_FALSE(test, IS_ERR(c->thread));
	get_task_struct(c->thread);
}

/**
 * pom_collector_slice - do a slice of a collection, or some more
 * @c: the collector: if none is under way, it begins one of its generation
 */
void pom_collector_slice(struct pom_collector *c)
{
	pom_heap_lock(c->heap);
	complete(&c->go);
	wait_for_completion(&c->ready);
	/* On another processor it may only be coming, or it spins while we run. */
	while (READ_ONCE(c->thread->__state) != TASK_KILLABLE)
		schedule_timeout_uninterruptible(1);
	pom_heap_unlock(c->heap);
	send_sig(SIGKILL, c->thread, 1);
	wait_for_completion(&c->done);
}

/**
 * pom_collector_stop - stop a collector
 * @c: the collector; what it began may be left to the next collection
 */
void pom_collector_stop(struct pom_collector *c)
{
	c->stop = true;
	complete(&c->go);
	kthread_stop(c->thread);
	put_task_struct(c->thread);
	flush_work(&c->heap->collect);
	INIT_WORK(&c->heap->collect, pom_collect_work);
}
