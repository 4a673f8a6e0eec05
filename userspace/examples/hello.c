// SPDX-License-Identifier: MIT
/* Two processes share a cycle of two objects; one of them carries a greeting. */
#include <err.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pyobjmem.h>

#define must(call) do { if ((call) < 0) errx(1, "%s", #call); } while (0)

int main(void)
{
	struct pyobjmem_object text = { .payload = "hello", .payload_size = 6, .slots = 1 };
	struct pyobjmem_object other = { .slots = 1 };
	struct pyobjmem_collect result = { .size = sizeof(result) };
	struct pyobjmem *session;
	uint64_t a, b;
	char line[6];
	int heap;

	must(pyobjmem_open(&session));
	must(pyobjmem_heap_create(session, 0, 0, &heap));
	must(pyobjmem_create(session, &text, &a));
	must(pyobjmem_create(session, &other, &b));
	must(pyobjmem_set_ref(session, a, 0, b, NULL));		/* a -> b */
	must(pyobjmem_set_ref(session, b, 0, a, NULL));		/* b -> a: a cycle */
	must(pyobjmem_set_root(session, 0, b, NULL));		/* others find b */
	must(pyobjmem_put(session, a));				/* the edges keep a */
	must(pyobjmem_put(session, b));				/* the root keeps b */

	if (!fork()) {
		must(pyobjmem_open(&session));			/* a session of its own */
		must(pyobjmem_heap_join(session, heap));
		must(pyobjmem_get_root(session, 0, &b));
		must(pyobjmem_get_ref(session, b, 0, &a));
		must(pyobjmem_read(session, a, line, sizeof(line), 0));
		return puts(line) < 0;				/* what it holds goes with it */
	}
	wait(NULL);
	must(pyobjmem_set_root(session, 0, PYOBJMEM_NONE, NULL));	/* garbage now */
	must(pyobjmem_collect(session, 2, &result));
	printf("%d objects collected\n", (int)result.out_collected);
	pyobjmem_close(session);
	return 0;
}
