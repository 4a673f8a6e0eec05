// SPDX-License-Identifier: GPL-2.0
/*
 * A collector that stops after each slice, for the KUnit suites. See kunit.h.
 *
 * Whoever is killed in pom_collect() stops after a slice: a thread is, each time
 * that it gets the lock. It runs where the test does, so it comes to nothing before it
 * is killed. The worker that would finish is one that does nothing.
 */
#include <linux/kthread.h>
#include <linux/preempt.h>
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
		pom_collect(c->fixture->heap, c->generation, NULL);
		complete(&c->done);
	}
}

/**
 * pom_collector_start - start a collector
 * @test: the test; its heap does not collect by itself until the collector stops, and
 *	it stays on its processor
 * @generation: what is collected
 *
 * Return: the collector. It stops at the latest when the test ends.
 */
struct pom_collector *pom_collector_start(struct kunit *test, u32 generation)
{
	struct pom_collector *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	struct pom_fixture *f = test->priv;
	int cpu = raw_smp_processor_id();

	KUNIT_ASSERT_NOT_NULL(test, c);
	c->fixture = f;
	c->generation = generation;
	init_completion(&c->go);
	init_completion(&c->ready);
	init_completion(&c->done);
	c->thread = kthread_create(collector, c, "pyobjmem-collect");
	KUNIT_ASSERT_FALSE(test, IS_ERR(c->thread));
	get_task_struct(c->thread);
	f->collector = c;

	INIT_WORK(&c->fixture->heap->collect, do_not_finish);
	cpumask_copy(&c->cpus, current->cpus_ptr);
	set_cpus_allowed_ptr(current, cpumask_of(cpu));
	kthread_bind(c->thread, cpu);
	wake_up_process(c->thread);
	return c;
}

/**
 * pom_collector_slice - do a slice of a collection
 * @c: the collector: if none is under way, it begins one of its generation
 */
void pom_collector_slice(struct pom_collector *c)
{
	pom_heap_lock(c->fixture->heap);
	complete(&c->go);
	wait_for_completion(&c->ready);
	while (READ_ONCE(c->thread->__state) != TASK_KILLABLE)
		schedule_timeout_uninterruptible(1);
	/* The lock is its own now, and it hears of both at once. */
	preempt_disable();
	mutex_unlock(&c->fixture->heap->lock);
	send_sig(SIGKILL, c->thread, 1);
	preempt_enable();
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
	c->fixture->collector = NULL;
	set_cpus_allowed_ptr(current, &c->cpus);
	flush_work(&c->fixture->heap->collect);
	INIT_WORK(&c->fixture->heap->collect, pom_collect_work);
}
