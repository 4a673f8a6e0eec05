/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The only file that knows kernel versions. The code is written for 6.12;
 * what an older kernel lacks is added here.
 */
#ifndef _POM_COMPAT_H
#define _POM_COMPAT_H

#include <linux/compiler.h>
#include <linux/mm.h>
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

#endif /* _POM_COMPAT_H */
