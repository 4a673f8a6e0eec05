# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts share: where things are, and how a script gives up.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What is fetched or unpacked once and kept between builds, outside the tree.
cache=${XDG_CACHE_HOME:-${HOME:-$top/build}/.cache}/pyobjmem

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# Run the rest of the script alone: others may be filling the cache as well.
lock_cache()
{
	mkdir -p "$cache"
	exec 8>"$cache/lock"
	if ! flock -n 8; then
		echo "waiting for another build that fills $cache"
		flock 8
	fi
}
