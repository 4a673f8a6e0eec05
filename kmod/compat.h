/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The only file that knows kernel versions. The code is written for 6.12;
 * what an older kernel lacks is added here.
 */
#ifndef _POM_COMPAT_H
#define _POM_COMPAT_H

#include <linux/compiler.h>
#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "pyobjmem needs Linux 6.1 or newer"
#endif

/* A pool is a page and a handle's place is 8 bytes: see pyobjmem.h. */
#if PAGE_SIZE != 4096
#error "pyobjmem needs pages of 4 KB"
#endif
#ifndef CONFIG_64BIT
#error "pyobjmem needs a 64-bit kernel: slots are read and written as one word"
#endif
#ifndef CONFIG_MMU_NOTIFIER
#error "pyobjmem needs CONFIG_MMU_NOTIFIER: sessions end with their mm"
#endif

/* 6.6 */
#ifndef __counted_by
#define __counted_by(member)
#endif

typedef unsigned long pom_shrink_fn(struct shrinker *shrinker, struct shrink_control *sc);

/**
 * pom_shrinker_register - register a shrinker
 * @name: its name
 * @count: tells what it could free
 * @scan: frees
 *
 * 6.7 made shrinkers things that are allocated.
 *
 * Return: the shrinker, or NULL if there is no memory.
 */
static inline struct shrinker *pom_shrinker_register(const char *name, pom_shrink_fn *count,
						     pom_shrink_fn *scan)
{
	struct shrinker *shrinker;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker = shrinker_alloc(0, "%s", name);
#else
	shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);
#endif
	if (!shrinker)
		return NULL;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker->seeks = DEFAULT_SEEKS;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_register(shrinker);
#else
	if (register_shrinker(shrinker, "%s", name)) {
		kfree(shrinker);
		return NULL;
	}
#endif
	return shrinker;
}

/**
 * pom_shrinker_unregister - undo pom_shrinker_register()
 * @shrinker: the shrinker; nobody is in it afterwards
 */
static inline void pom_shrinker_unregister(struct shrinker *shrinker)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	shrinker_free(shrinker);
#else
	unregister_shrinker(shrinker);
	kfree(shrinker);
#endif
}

#endif /* _POM_COMPAT_H */
