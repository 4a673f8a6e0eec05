# SPDX-License-Identifier: GPL-2.0
#
# For people: what can be made here. Facts about the module are in Kbuild.
# Everything generated goes below build/.

BUILD   := $(CURDIR)/build

# The stock kernel that is built for and booted. These are looked up when they
# are used, because the packages that bring them may only just be coming.
RELEASE  = $(shell scripts/kernel release)
KDIR     = $(shell scripts/kernel headers $(RELEASE))
VARIANT  = $(if $(DEBUG),-debug)$(if $(KUNIT),-kunit)$(if $(COVERAGE),-coverage)$(if $(KCOV),-kcov)
TREE     = $(BUILD)/kmod-$(RELEASE)$(VARIANT)
MODULE   = $(TREE)/kmod/pyobjmem.ko

# Kbuild puts objects where it finds the sources: hence a tree of links. There
# is no BTF of the whole kernel among Debian's headers to add the module's to.
KBUILD   = $(MAKE) --no-print-directory -C $(KDIR) M=$(TREE) W=1 KCFLAGS=-Werror \
	   CONFIG_DEBUG_INFO_BTF_MODULES= $(if $(DEBUG),CONFIG_PYOBJMEM_DEBUG=y) \
	   $(if $(KUNIT),CONFIG_PYOBJMEM_KUNIT_TEST=y) \
	   $(if $(COVERAGE),GCOV_PROFILE=y) $(if $(KCOV),KCOV_INSTRUMENT=y)

USERSPACE = $(MAKE) $(if $(V),,-s) --no-print-directory -C userspace \
	    BUILD=$(BUILD)/userspace CFLAGS='-O2 -g -Werror'

# One thing after the other here, and as many at once as there are processors
# in the makes below.
.NOTPARALLEL:
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif

all: module userspace	## build the module, the library, the tools and the examples

module:			## build the module (DEBUG=1: with its checks, KUNIT=1: its tests, COVERAGE=1 or KCOV=1: telling where it was)
	@test -n "$(KDIR)"
	@mkdir -p $(TREE)
	@cp -rsf $(CURDIR)/Kbuild $(CURDIR)/kmod $(CURDIR)/uapi $(TREE)
	+@$(KBUILD) modules

userspace:		## build the library, the tools and the examples
	+@$(USERSPACE) all

selftests: userspace	## build the tests
	+@$(MAKE) --no-print-directory -C selftests OUTPUT=$(BUILD)/selftests \
		KSELFTEST=$$(scripts/kernel source)/tools/testing/selftests \
		LIBRARY=$(BUILD)/userspace/lib/libpyobjmem.a

run: packages		## boot Debian's kernel in a virtual machine and run the demonstration (PACKAGES=FILE: of another list)
	+@$(MAKE) --no-print-directory all
	@selftests/vm/demo $(RELEASE) $(MODULE) $(if $(PACKAGES),'$(PACKAGES)')

check: packages-check	## run all tests
	+@scripts/check

check-debug: packages-check	## run the tests on a kernel that finds mistakes (which is made first: some minutes)
	+@scripts/check-debug

check-kcsan: packages-check	## run those tests that use threads on a kernel that finds data races (which is made first)
	+@scripts/check-kcsan

coverage: packages-check	## print which lines of the module the tests reach, and list the others
	+@scripts/coverage

kunit: packages-check	## run the KUnit suites natively, in User Mode Linux (which is made first: some minutes)
	+@scripts/check-kunit

bench-collect: packages-bench	## compare COLLECT, natively, with the collectors of CPython, PHP and Nim
	+@scripts/bench-collect

model: packages-check	## search the model of the collector completely, and see that it needs each of its rules
	+@scripts/check-model

soak: packages-check	## kill 10,000 times, then a process every 100 ms for half an hour
	+@scripts/soak

fuzz: packages-check	## run random programs on the kernel of 'check-debug' until one finds something (SEED=N, SECONDS=N)
	+@scripts/fuzz $(if $(SEED),--seed '$(SEED)') $(if $(SECONDS),--seconds '$(SECONDS)')

style:			## run checkpatch, sparse and kernel-doc
	+@scripts/style

sparse: module
	+@$(KBUILD) C=2 CF=-D__CHECK_ENDIAN__ modules

install:		## install the module for the running kernel, and the rest
	@scripts/kernel own >/dev/null
	+@$(MAKE) --no-print-directory RELEASE=$$(uname -r) all install-files

install-files:
	+@$(KBUILD) INSTALL_MOD_PATH=$(DESTDIR) modules_install
	install -D -m 644 kmod/60-pyobjmem.rules $(DESTDIR)/usr/lib/udev/rules.d/60-pyobjmem.rules
	+@$(USERSPACE) DESTDIR=$(DESTDIR) install
ifeq ($(DESTDIR),)
	getent group pyobjmem >/dev/null || groupadd --system pyobjmem
	depmod -a $(RELEASE)
	ldconfig
endif

load:			## load the module into the running kernel
	@scripts/kernel own >/dev/null
	+@$(MAKE) --no-print-directory RELEASE=$$(uname -r) module
	insmod $(BUILD)/kmod-$$(uname -r)/kmod/pyobjmem.ko

unload:			## unload it again
	rmmod pyobjmem

packages:		## get what 'run' needs from Debian's packages
	@scripts/packages run

packages-check:		## get what the checks need as well
	@scripts/packages check

packages-bench:		## get what the benchmarks need as well
	@scripts/packages bench

clean:			## remove what was built
	rm -rf $(BUILD)

help:			## list this
	@sed -n 's/^\([a-z-]*\):.*## */  \1\t/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: all module userspace selftests run check style sparse install install-files load unload
.PHONY: check-debug check-kcsan coverage kunit soak fuzz model bench-collect
.PHONY: packages packages-check packages-bench clean help
