# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What 'make check' and those like it share: parts, and their sum.
#
# Each part prints its name, what it found and how long it took; what it said
# besides is kept in build/<name of the script>/. The last line is the sum of
# all. A part that cannot run is a failure.
#
# PYOBJMEM_SEED in the environment is the seed of the tests that are random;
# where it is not set, one is made up, and printed. PYOBJMEM_KILLS is how many
# kills the tests of death make, and PYOBJMEM_SOAK_SECONDS how long the soak is,
# where they are set.
cd "${top:?}" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

logs=build/${0##*/}
make=(make --no-print-directory)
: "${PYOBJMEM_SEED:=0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')}"
passed=0
failed=0
skipped=0

rm -rf "$logs"
mkdir -p "$logs"

title()
{
	echo
	echo "$*"
}

# Run the rest of the arguments as the part that is called $1.
part()
{
	local name=$1 began=$SECONDS log status=0

	shift
	log=$logs/$(echo "$name" | tr -c '[:alnum:].\n' '-').log
	"$@" >"$log" 2>&1 || status=$?
	if [ $status -eq 0 ]; then
		passed=$((passed + 1))
		echo "  ok     $name ($((SECONDS - began)) s)"
	else
		failed=$((failed + 1))
		echo "  not ok $name ($((SECONDS - began)) s)"
		tail -n 60 "$log" | sed 's/^/      /'
	fi
	return $status
}

# Judge the test programs whose output comes from the rest of the arguments,
# and is kept in $1: each of their cases counts, and beside them, where $2 gives
# it a name, whether the command itself succeeds.
programs()
{
	local log=$logs/$1 name=$2 began=$SECONDS status=0 p=0 f=0 s=0

	shift 2
	"$@" 2>&1 | tee "$log.log" | scripts/ktap "$log.counts" || status=$?
	read -r p f s <"$log.counts" || status=1
	passed=$((passed + p))
	failed=$((failed + f))
	skipped=$((skipped + s))
	[ $((p + f + s)) -gt 0 ] || status=1
	if [ $status -ne 0 ]; then
		failed=$((failed + 1))
		echo "  not ok ${name:-$*} ($((SECONDS - began)) s)"
	elif [ -n "$name" ]; then
		passed=$((passed + 1))
		echo "  ok     $name ($((SECONDS - began)) s)"
	fi
}

# Make something in which each warning is an error, those of the linker and of
# modpost included, which are heard only when it runs
quietly()
{
	local log status=0

	rm -f build/kmod-*/Module.symvers
	log=$("${make[@]}" "$@" 2>&1) || status=$?
	echo "$log"
	[ $status -eq 0 ] && ! grep -qi 'warning' <<<"$log"
}

# Test programs in a virtual machine that is called $1: options of
# selftests/vm/run, then --, then the names of the programs, and where it is
# needed another -- and what the guest runs after them. An array that is called
# before_tests holds what it runs first.
before_tests=()
selftests()
{
	local name=$1 options=() programs=() environment=() limit machine each

	shift
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		programs+=("/selftests/$1")
		shift
	done
	for each in PYOBJMEM_SEED PYOBJMEM_KILLS PYOBJMEM_SOAK_SECONDS; do
		[ -z "${!each-}" ] || environment+=("$each=${!each}")
	done
	limit=$(program_limit)
	machine=$((limit * (${#programs[@]} < 6 ? ${#programs[@]} : 6)))
	selftests/vm/run --output "$top/build/vm/$name" --timeout $machine "${options[@]}" \
		--add build/selftests:/selftests --add selftests/vm/run-selftests \
		-- ${before_tests[@]+"${before_tests[@]}"} \
			env "${environment[@]}" run-selftests "$limit" "${programs[@]}" "$@"
}

# Seconds that a test program may take: what selftests/settings says, unless a
# variable that is called seconds_each does.
program_limit()
{
	echo "${seconds_each:-$(sed -n 's/^timeout=//p' selftests/settings)}"
}

# The same on the stock kernel: called $1, parameters $2 of the module, tests
stock_selftests()
{
	local name=$1 parameters=$2 release image

	shift 2
	release=$(scripts/kernel release) && image=$(scripts/kernel image "$release") ||
		return 1
	selftests "$name" --kernel "$image" --memory 2048 \
		--module "build/kmod-$release/kmod/pyobjmem.ko" \
		--parameters "$parameters" -- "$@"
}

# Make the kernel of our own that is called $1, which is $release then. It takes
# some minutes: what it tells meanwhile is shown.
exec 3>&1
make_kernel()
{
	scripts/kernel "$1" 2>&3
}

own_kernel()
{
	part "$1 kernel" make_kernel "$1" || return 1
	release=$(tail -n 1 "$logs/$1-kernel.log")
}

# The names of all test programs, but for those that are named
tests()
{
	local file except=" $* "

	for file in selftests/*.c; do
		file=${file##*/}
		[[ $except == *" ${file%.c} "* ]] || echo "${file%.c}"
	done
}

# Run the arguments, which are parts, beside what follows. What it prints comes with
# join.
beside=
beside()
{
	beside=$logs/beside
	(
		passed=0
		failed=0
		skipped=0
		"$@"
		echo "$passed $failed $skipped" >"$beside.counts"
	) >"$beside.log" 2>&1 &
}

join()
{
	local p=0 f=1 s=0

	[ -n "$beside" ] || return 0
	wait
	cat "$beside.log"
	[ ! -e "$beside.counts" ] || read -r p f s <"$beside.counts"
	passed=$((passed + p))
	failed=$((failed + f))
	skipped=$((skipped + s))
}

# The KUnit suites that the module has
kunit_suites()
{
	sed -n 's/^\t\.name = "\(.*\)",$/\1/p' kmod/tests/*_kunit.c
}

# The sum, whose exit status is that of the script
finish()
{
	local sum="$passed passed, $failed failed"

	[ $skipped -eq 0 ] || sum="$sum, $skipped skipped"
	echo
	echo "$((SECONDS / 60)) min $((SECONDS % 60)) s; everything that was printed is in $logs and build/vm"
	echo "$sum"
	[ $failed -eq 0 ]
}
