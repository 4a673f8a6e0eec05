// SPDX-License-Identifier: MIT
/*
 * The header in C++: it compiles without a warning, and all it declares can be
 * linked with the shared library. Functions that have the name of a structure of
 * the kernel's interface do not hide it from those who say struct.
 */
#include <pyobjmem.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace {

/* An operation is not called, but its address has to be there. */
const void *const functions[] = {
	reinterpret_cast<const void *>(&pyobjmem_open),
	reinterpret_cast<const void *>(&pyobjmem_open_fd),
	reinterpret_cast<const void *>(&pyobjmem_close),
	reinterpret_cast<const void *>(&pyobjmem_fd),
	reinterpret_cast<const void *>(&pyobjmem_query),
	reinterpret_cast<const void *>(&pyobjmem_leave),
	reinterpret_cast<const void *>(&pyobjmem_version),
	reinterpret_cast<const void *>(&pyobjmem_heap_create),
	reinterpret_cast<const void *>(&pyobjmem_heap_join),
	reinterpret_cast<const void *>(&pyobjmem_heap),
	reinterpret_cast<const void *>(&pyobjmem_rights),
	reinterpret_cast<const void *>(&pyobjmem_configure),
	reinterpret_cast<const void *>(&pyobjmem_stats),
	reinterpret_cast<const void *>(&pyobjmem_create),
	reinterpret_cast<const void *>(&pyobjmem_get),
	reinterpret_cast<const void *>(&pyobjmem_put),
	reinterpret_cast<const void *>(&pyobjmem_holds),
	reinterpret_cast<const void *>(&pyobjmem_set_ref),
	reinterpret_cast<const void *>(&pyobjmem_compare_and_set_ref),
	reinterpret_cast<const void *>(&pyobjmem_get_ref),
	reinterpret_cast<const void *>(&pyobjmem_read),
	reinterpret_cast<const void *>(&pyobjmem_write),
	reinterpret_cast<const void *>(&pyobjmem_inspect),
	reinterpret_cast<const void *>(&pyobjmem_set_root),
	reinterpret_cast<const void *>(&pyobjmem_get_root),
	reinterpret_cast<const void *>(&pyobjmem_export),
	reinterpret_cast<const void *>(&pyobjmem_redeem),
	reinterpret_cast<const void *>(&pyobjmem_send_fd),
	reinterpret_cast<const void *>(&pyobjmem_recv_fd),
	reinterpret_cast<const void *>(&pyobjmem_send),
	reinterpret_cast<const void *>(&pyobjmem_receive),
	reinterpret_cast<const void *>(&pyobjmem_weak),
	reinterpret_cast<const void *>(&pyobjmem_upgrade),
	reinterpret_cast<const void *>(&pyobjmem_weak_drop),
	reinterpret_cast<const void *>(&pyobjmem_dispatch),
	reinterpret_cast<const void *>(&pyobjmem_set_direct),
	reinterpret_cast<const void *>(&pyobjmem_on_collected),
	reinterpret_cast<const void *>(&pyobjmem_collect),
	reinterpret_cast<const void *>(&pyobjmem_freeze),
	reinterpret_cast<const void *>(&pyobjmem_unfreeze),
	reinterpret_cast<const void *>(&pyobjmem_batch_new),
	reinterpret_cast<const void *>(&pyobjmem_batch_free),
	reinterpret_cast<const void *>(&pyobjmem_batch_flush),
	reinterpret_cast<const void *>(&pyobjmem_batch_count),
	reinterpret_cast<const void *>(&pyobjmem_batch_result),
	reinterpret_cast<const void *>(&pyobjmem_batch_create),
	reinterpret_cast<const void *>(&pyobjmem_batch_weak),
	reinterpret_cast<const void *>(&pyobjmem_batch_upgrade),
	reinterpret_cast<const void *>(&pyobjmem_batch_put),
	reinterpret_cast<const void *>(&pyobjmem_batch_set_ref),
	reinterpret_cast<const void *>(&pyobjmem_batch_compare_and_set_ref),
	reinterpret_cast<const void *>(&pyobjmem_batch_get_ref),
	reinterpret_cast<const void *>(&pyobjmem_batch_read),
	reinterpret_cast<const void *>(&pyobjmem_batch_write),
	reinterpret_cast<const void *>(&pyobjmem_batch_set_root),
	reinterpret_cast<const void *>(&pyobjmem_batch_get_root),
};

} // namespace

int main()
{
	struct pyobjmem_stats stats = {};
	struct pyobjmem_collect result = {};
	struct pyobjmem_object object = {};
	struct pyobjmem *session = nullptr;

	stats.size = sizeof(stats);
	result.size = sizeof(result);
	object.slots = 2;
	object.flags = PYOBJMEM_CREATE_FINALIZE;
	/* A callback may be a lambda that captures nothing. */
	object.finalizer = [](struct pyobjmem *, uint64_t, void *data) {
		*static_cast<int *>(data) = 1;
	};
	for (const void *function : functions)
		if (!function)
			return 1;
	if (std::strcmp(pyobjmem_version(), "0.1.0") != 0)
		return 1;
	/* Whether the module is there or not: no other answer, and errno untouched. */
	errno = 0;
	int error = pyobjmem_open_fd(-1, &session);
	if (error != -EBADF || errno != 0)
		return 1;
	std::printf("%zu functions\n", sizeof(functions) / sizeof(functions[0]));
	return stats.size == sizeof(stats) && result.size && object.finalizer ? 0 : 1;
}
