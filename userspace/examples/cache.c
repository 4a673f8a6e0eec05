// SPDX-License-Identifier: MIT
/* A cache that does not keep what it caches, and a finalizer that says goodbye. */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include <pyobjmem.h>

#define must(call) do { if ((call) < 0) errx(1, "%s", #call); } while (0)

/* A name, and while there is one the object that belongs to it, held weakly. */
struct entry {
	const char *name;
	uint64_t weak;
};

/* Called before the object dies. It is whole: it can be read, or be kept with a get. */
static void say_goodbye(struct pyobjmem *session, uint64_t handle, void *data)
{
	char text[32] = "";

	(void)data;
	must(pyobjmem_read(session, handle, text, sizeof(text) - 1, 0));
	printf("%s: goodbye\n", text);
}

/* Called when it is dead. */
static void forget(struct pyobjmem *session, uint64_t weak, uint64_t handle, void *data)
{
	struct entry *entry = data;

	(void)session;
	(void)handle;
	if (entry->weak == weak)
		entry->weak = 0;
	printf("%s: forgotten\n", entry->name);
}

/* The object of a name, held: the one that there is, or a new one. */
static uint64_t get(struct pyobjmem *session, struct entry *entry)
{
	struct pyobjmem_object object = {
		.payload = entry->name,
		.payload_size = (uint32_t)strlen(entry->name),
		.flags = PYOBJMEM_CREATE_FINALIZE,
		.finalizer = say_goodbye,
	};
	uint64_t handle;

	if (entry->weak && !pyobjmem_upgrade(session, entry->weak, &handle)) {
		printf("%s: found\n", entry->name);
		return handle;
	}
	must(pyobjmem_create(session, &object, &handle));
	must(pyobjmem_weak(session, handle, forget, entry, &entry->weak));
	printf("%s: made\n", entry->name);
	return handle;
}

int main(void)
{
	struct entry spam = { .name = "spam" };
	struct pyobjmem *session;
	uint64_t a, b;

	must(pyobjmem_open(&session));
	must(pyobjmem_heap_create(session, 0, 0, NULL));
	pyobjmem_set_direct(session, true);	/* callbacks run in the put that they are for */
	a = get(session, &spam);		/* made */
	b = get(session, &spam);		/* found: a and b are one object */
	must(pyobjmem_put(session, a));
	must(pyobjmem_put(session, b));		/* goodbye, forgotten */
	a = get(session, &spam);		/* made: another one */
	must(pyobjmem_put(session, a));		/* goodbye, forgotten */
	pyobjmem_close(session);
	return 0;
}
