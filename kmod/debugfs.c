// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs: pyobjmem/<heap>/{stats,arenas,sessions,verify}, for administrators. Each
 * file takes heap->lock for as long as it writes: a large heap waits for it.
 */
#include <linux/debugfs.h>
#include <linux/module.h>

#include "pyobjmem.h"

static struct dentry *pom_debugfs;

static void stats_show_gc(struct seq_file *m, u32 generation, const struct pyobjmem_gc_stats *gc)
{
	seq_printf(m, "gc%u collections %llu collected %llu finalizers %llu ", generation,
		   gc->collections, gc->collected, gc->finalizers);
	seq_printf(m, "containers %llu count %u threshold %u\n", gc->containers, gc->count,
		   gc->threshold);
}

static int stats_show(struct seq_file *m, void *unused)
{
	struct pom_heap *heap = m->private;
	struct pyobjmem_stats s = {};
	unsigned int i;

	pom_heap_lock(heap);
	pom_heap_stats(heap, &s);
	pom_heap_unlock(heap);

#define SHOW(name)	seq_printf(m, #name " %llu\n", (u64)s.out_##name)
	SHOW(heap);
	SHOW(objects);
	SHOW(created);
	SHOW(freed_counted);
	SHOW(freed_collected);
	SHOW(arenas);
	SHOW(arena_bytes);
	SHOW(used_bytes);
	SHOW(free_bytes);
	SHOW(unused_bytes);
	SHOW(slack_bytes);
	SHOW(page_bytes);
	SHOW(bytes_limit);
	SHOW(objects_limit);
	SHOW(sessions);
	SHOW(tickets);
	SHOW(weak);
	SHOW(finalizers);
	SHOW(finalizers_abandoned);
	SHOW(candidates);
	SHOW(permanent);
	SHOW(slices);
	SHOW(longest_ns);
	SHOW(collect_ns);
#undef SHOW
	for (i = 0; i < PYOBJMEM_GENERATIONS; i++)
		stats_show_gc(m, i, &s.out_gc[i]);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stats);

static char place_char(const struct pom_arena *arena, unsigned int place)
{
	static const char tenths[] = "_123456789#";
	const struct pom_pool *pool = arena->pool[place];

	if (!arena->page[place])
		return '.';
	if (!pool)
		return 'l';
	if (pom_pool_is_run(pool))
		return 'L';
	if (pool->live == pool->blocks)
		return '#';
	return tenths[min(DIV_ROUND_UP(pool->live * 10, pool->blocks), 9)];
}

static void arenas_show_space(struct seq_file *m, const struct pom_space *space)
{
	char map[POM_ARENA_POOLS + 1] = {};
	const struct pom_arena *arena;
	u32 number = 0, place;

	while ((arena = pom_arena_next(space, &number))) {
		for (place = 0; place < POM_ARENA_POOLS; place++)
			map[place] = place_char(arena, place);
		seq_printf(m, "%s %u %s\n", space->kind == POM_DATA ? "data" : "object",
			   arena->index, map);
		cond_resched();
	}
}

static int arenas_show(struct seq_file *m, void *unused)
{
	struct pom_heap *heap = m->private;

	pom_heap_lock(heap);
	arenas_show_space(m, &heap->space[POM_OBJECTS]);
	arenas_show_space(m, &heap->space[POM_DATA]);
	pom_heap_unlock(heap);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(arenas);

static int sessions_show(struct seq_file *m, void *unused)
{
	struct pom_heap *heap = m->private;
	struct pom_session *session;

	pom_heap_lock(heap);
	list_for_each_entry(session, &heap->sessions, heap_node) {
		seq_printf(m, "%d ", session->pid);
		seq_escape(m, session->comm, " \t\n\\");	/* the process chose it */
		seq_printf(m, " %llu %llu %llu\n", session->holds.count, session->nr_watches,
			   session->nr_events);
	}
	pom_heap_unlock(heap);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(sessions);

static int verify_show(struct seq_file *m, void *unused)
{
	return pom_verify_show(m, unused);
}
DEFINE_SHOW_ATTRIBUTE(verify);

/**
 * pom_debugfs_add - show a heap
 * @heap: the heap
 */
void pom_debugfs_add(struct pom_heap *heap)
{
	char name[24];

	snprintf(name, sizeof(name), "%llu", heap->id);
	heap->debugfs = debugfs_create_dir(name, pom_debugfs);
	debugfs_create_file("stats", 0400, heap->debugfs, heap, &stats_fops);
	debugfs_create_file("arenas", 0400, heap->debugfs, heap, &arenas_fops);
	debugfs_create_file("sessions", 0400, heap->debugfs, heap, &sessions_fops);
	debugfs_create_file("verify", 0400, heap->debugfs, heap, &verify_fops);
}

/**
 * pom_debugfs_remove - hide a heap, and wait until nobody looks at it
 * @heap: the heap
 */
void pom_debugfs_remove(struct pom_heap *heap)
{
	debugfs_remove(heap->debugfs);
}

/**
 * pom_debugfs_init - make the directory of all heaps
 */
void pom_debugfs_init(void)
{
	pom_debugfs = debugfs_create_dir(KBUILD_MODNAME, NULL);
}

/**
 * pom_debugfs_exit - remove it
 */
void pom_debugfs_exit(void)
{
	debugfs_remove(pom_debugfs);
}
