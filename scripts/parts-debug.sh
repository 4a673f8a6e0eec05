# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What 'make check', 'make check-debug' and 'make coverage' share: the selftests,
# the KUnit suites and the fuzzer on the debug kernel. On top of parts.sh.
#
# PYOBJMEM_FUZZ_SECONDS in the environment is how long the fuzzer runs (180).

# KUnit's own module
kunit_module()
{
	echo "$(scripts/kernel headers "$release")/lib/kunit/kunit.ko"
}

# The debug kernel, and the module as it is here with its checks, with its KUnit
# suites and without them. The arguments are more variables of make.
build_debug()
{
	own_kernel debug || return 1
	part "module, DEBUG=1 KUNIT=1 $*" quietly module "RELEASE=$release" DEBUG=1 KUNIT=1 "$@"
	part "module, DEBUG=1 $*" quietly module "RELEASE=$release" DEBUG=1 "$@"
}

# The KUnit suites and then tests, in a machine that is called $1 with the modules
# that make's variables have called $2; the rest are as those of selftests().
debug_machine()
{
	local name=$1 variant=$2 image kunit before_tests tree=build/kmod-$release-debug

	shift 2
	image=$(scripts/kernel image "$release") || return 1
	kunit=$(kunit_module) || return 1
	mapfile -t before_tests < <(kunit_suites)
	before_tests=(run-kunit "${before_tests[@]}" --)
	selftests "$name" --kernel "$image" --memory 3072 --needed "$kunit" \
		--module "$tree-kunit$variant/kmod/pyobjmem.ko" \
		--add "$tree$variant/kmod/pyobjmem.ko:/plain.ko" \
		--add selftests/vm/run-kunit "$@"
}

# Each kill takes several times as long there: the thousand are the stock kernel's.
run_debug()
{
	local PYOBJMEM_KILLS=${PYOBJMEM_KILLS:-250} all

	title "KUnit and selftests on the debug kernel, PYOBJMEM_SEED=$PYOBJMEM_SEED"
	mapfile -t all < <(tests wrap)
	programs selftests-debug \
		"the kernel found nothing, the module unloaded, and no memory is lost" \
		debug_machine selftests-debug "" -- "${all[@]}"
}

run_fuzz()
{
	title "random programs on the debug kernel"
	programs fuzz "" scripts/fuzz --seconds "${PYOBJMEM_FUZZ_SECONDS:-180}"
}
