// SPDX-License-Identifier: GPL-2.0
/*
 * Loading: whatever fails while the module is loaded, nothing of it stays. Another
 * copy of the module, /plain.ko, takes the place of the one that is loaded.
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "faults.h"

#include <sys/syscall.h>

#define PLAIN		"/plain.ko"
#define NAME		"pyobjmem"
#define ATTEMPTS_MAX	5000U

static int unload(void)
{
	return syscall(SYS_delete_module, NAME, O_NONBLOCK) ? -errno : 0;
}

static int load(int module)
{
	return syscall(SYS_finit_module, module, "", 0) ? -errno : 0;
}

static bool anything_there(void)
{
	return !access("/sys/module/" NAME, F_OK) || !access("/dev/" NAME, F_OK) ||
	       !access(DEBUGFS "/" NAME, F_OK);
}

FIXTURE(load)
{
};

FIXTURE_SETUP(load)
{
}

FIXTURE_TEARDOWN(load)
{
}

TEST_F_TIMEOUT(load, with_every_allocation_failing, 120)
{
	struct faults faults;
	const char *missing;
	unsigned int n, failed = 0;
	bool met = true;
	int module, rc;

	module = open(PLAIN, O_RDONLY | O_CLOEXEC);
	if (module < 0)
		SKIP(return, "there is no " PLAIN " to load");
	missing = faults_open(&faults);
	if (missing)
		SKIP(return, "this kernel has no %s", missing);
	/* Heaps of the test before may take a moment to go. */
	ASSERT_TRUE(wait_until(!unload(), SOON_MS));

	for (n = 1; met && n < ATTEMPTS_MAX; n++) {
		ASSERT_EQ(0, faults_arm(&faults, n, false));
		rc = load(module);
		met = faults_disarm(&faults, n);
		if (!rc) {
			ASSERT_EQ(0, unload());
		} else {
			failed++;
			ASSERT_TRUE(met) {
				TH_LOG("error %d, and nothing was made to fail", rc);
			}
		}
		ASSERT_FALSE(anything_there()) {
			TH_LOG("n = %u, error %d: something of it stays", n, rc);
		}
	}
	EXPECT_FALSE(met);
	/* Its structure, two queues and their directories, and the device at the least. */
	EXPECT_LE(5, failed);
	TH_LOG("%u faults, %u of them made it fail", n - 2, failed);
	faults_close(&faults);
	ASSERT_EQ(0, load(module));
	EXPECT_EQ(0, access("/dev/" NAME, F_OK));
}

TEST_HARNESS_MAIN
