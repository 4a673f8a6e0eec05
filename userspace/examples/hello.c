// SPDX-License-Identifier: MIT
/* Two processes share three objects, two of which make a cycle. */
#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pyobjmem.h>

static void must(long result)
{
	if (result < 0)
		errx(1, "%s", strerror((int)-result));
}

int main(void)
{
	struct pyobjmem_object text = { .payload = "hello, world", .payload_size = 13 };
	struct pyobjmem_object first = { .slots = 1 }, second = { .slots = 2 };
	struct pyobjmem_collect result = { .size = sizeof(result) };
	struct pyobjmem *session;
	uint64_t a, b, hello;
	char line[13];
	int heap;

	must(pyobjmem_open(&session));
	must(pyobjmem_heap_create(session, 0, 0, &heap));
	must(pyobjmem_create(session, &text, &hello));
	must(pyobjmem_create(session, &first, &a));
	second.edges = (uint64_t[]){ a, hello };
	must(pyobjmem_create(session, &second, &b));		/* b -> a, b -> hello */
	must(pyobjmem_set_ref(session, a, 0, b, NULL));		/* a -> b: a cycle */
	must(pyobjmem_set_root(session, 0, a, NULL));		/* where others find it */

	if (!fork()) {
		must(pyobjmem_open(&session));			/* a session of its own */
		must(pyobjmem_heap_join(session, heap));
		must(pyobjmem_get_root(session, 0, &a));
		must(pyobjmem_get_ref(session, a, 0, &b));
		must(pyobjmem_get_ref(session, b, 1, &hello));
		must(pyobjmem_read(session, hello, line, sizeof(line), 0));
		puts(line);
		return 0;					/* its holds go with it */
	}
	wait(NULL);
	must(pyobjmem_set_root(session, 0, PYOBJMEM_NONE, NULL));
	must(pyobjmem_put(session, hello));
	must(pyobjmem_put(session, a));
	must(pyobjmem_put(session, b));				/* only the cycle is left */
	must(pyobjmem_collect(session, 2, &result));
	printf("%llu objects collected\n", (unsigned long long)result.out_collected);
	pyobjmem_close(session);
	return 0;
}
