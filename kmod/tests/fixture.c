// SPDX-License-Identifier: GPL-2.0
/*
 * The heap and the session that the KUnit suites work on. See kunit.h.
 */
#include <linux/mm.h>
#include <linux/module.h>

#include "kunit.h"

unsigned long pom_random_seed = 42;
module_param_named(random_seed, pom_random_seed, ulong, 0444);
MODULE_PARM_DESC(random_seed, "KUnit: where what is random begins (default 42)");

static bool own_resources;

/**
 * pom_fixture_suite_init - the .suite_init of a suite
 * @suite: the suite
 *
 * Until 6.2, the suites of a module run before its init function has.
 *
 * Return: 0 or -ENOMEM.
 */
int pom_fixture_suite_init(struct kunit_suite *suite)
{
	if (pom_wq)
		return 0;
	own_resources = true;
	if (pom_watch_init())
		return -ENOMEM;
	pom_debugfs_init();
	pom_wq = alloc_workqueue("pyobjmem-kunit", WQ_UNBOUND, 0);
	return pom_wq ? 0 : -ENOMEM;
}

/**
 * pom_fixture_suite_exit - the .suite_exit of a suite
 * @suite: the suite
 */
void pom_fixture_suite_exit(struct kunit_suite *suite)
{
	if (!own_resources)
		return;
	own_resources = false;
	drain_workqueue(pom_wq);
	destroy_workqueue(pom_wq);
	pom_wq = NULL;
	pom_watch_exit();
	pom_debugfs_exit();
}

/* Empty pools go when a test says so, and not after a second. */
static void fixture_no_trim(struct work_struct *work)
{
}

/**
 * pom_fixture_init - the .init of a suite
 * @test: the test; its priv is set
 *
 * Return: 0 or an error.
 */
int pom_fixture_init(struct kunit *test)
{
	struct pom_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	if (!pom_user_bytes)
		pom_user_bytes = (totalram_pages() / 2) << PAGE_SHIFT;
	f->heap = pom_heap_create(0);
	if (IS_ERR(f->heap))
		return PTR_ERR(f->heap);
	f->heap->gc.enabled = false;
	INIT_DELAYED_WORK(&f->heap->trim, fixture_no_trim);
	pom_session_init(&f->session, f->heap->user);
	test->priv = f;
	KUNIT_ASSERT_EQ(test, pom_session_join(&f->session, f->heap, PYOBJMEM_RIGHTS, false),
			0);
	pom_stash_init(&f->stash, &f->session);
	return 0;
}

/* Drop what the session has, as pom_session_end() does, which wants an mm. */
static void fixture_drop_holds(struct pom_fixture *f)
{
	int budget = INT_MAX;
	u64 cursor = 0;
	u32 link;

	pom_heap_lock(f->heap);
	f->session.ended = true;
	pom_watch_drop(&f->session, &budget);
	while ((link = pom_holds_pop(&f->session.holds, &cursor)) != POM_NIL)
		pom_ext_put_at(f->heap, link);
	list_del_init(&f->session.heap_node);
	f->heap->nr_sessions--;
	pom_heap_unlock(f->heap);
	pom_heap_settle(f->heap);
}

/**
 * pom_fixture_exit - the .exit of a suite: everything must go
 * @test: the test
 */
void pom_fixture_exit(struct kunit *test)
{
	struct pom_fixture *f = test->priv;

	if (!f)
		return;
	if (test->status == KUNIT_FAILURE)
		kunit_info(test, "random_seed=%#lx", pom_random_seed);
	if (f->collector)
		pom_collector_stop(f->collector);	/* the test has failed */
	fixture_drop_holds(f);
	pom_fixture_collect(test, 2);
	KUNIT_EXPECT_EQ(test, f->heap->objects, 0ULL);
	KUNIT_EXPECT_EQ(test, f->heap->pages, 0ULL);
	KUNIT_EXPECT_EQ(test, f->heap->space[POM_OBJECTS].arenas, 0);
	KUNIT_EXPECT_EQ(test, f->heap->space[POM_DATA].arenas, 0);
	pom_holds_destroy(&f->session.holds);
	pom_stash_drain(&f->stash);
	pom_heap_unuse(f->heap);	/* the session */
	pom_heap_put(f->heap);
	pom_heap_unuse(f->heap);	/* the creator */
}

/* Do something under the lock, until the stash has what it needs. */
#define WITH_STASH(f, call) ({						\
	struct pom_fixture *_f = (f);					\
	int _ret, _fill = 0;						\
									\
	do {								\
		pom_heap_lock(_f->heap);				\
		pom_stash_begin(&_f->stash);				\
		_ret = (call);						\
		pom_heap_unlock(_f->heap);				\
		if (_ret == -EAGAIN)					\
			_fill = pom_stash_fill(&_f->stash);		\
	} while (_ret == -EAGAIN && !_fill);				\
	_fill ?: _ret;							\
})

/**
 * pom_fixture_create - create an object
 * @test: the test
 * @slots: number of slots
 * @payload: size of the payload, which is zeros
 *
 * Return: the object, held.
 */
u64 pom_fixture_create(struct kunit *test, u32 slots, u32 payload)
{
	struct pyobjmem_create cmd = { .slots = slots, .payload_size = payload };
	u64 handle = pom_fixture_make(test->priv, &cmd);

	KUNIT_ASSERT_NE(test, handle, PYOBJMEM_NONE);
	return handle;
}

/**
 * pom_fixture_make - create an object of any kind
 * @f: the fixture
 * @what: slots, size of the payload, flags
 *
 * Return: the object, held; PYOBJMEM_NONE if it fails.
 */
u64 pom_fixture_make(struct pom_fixture *f, const struct pyobjmem_create *what)
{
	struct pyobjmem_create cmd = *what;
	struct pom_args args = {};
	int ret;

	ret = WITH_STASH(f, pom_object_create(&f->session, &cmd, &args, &f->stash));
	return ret ? PYOBJMEM_NONE : cmd.out_handle;
}

/**
 * pom_fixture_weak - hold an object weakly
 * @f: the fixture
 * @handle: the object, held
 * @cookie: of the weak hold
 *
 * Return: 0 or an error.
 */
int pom_fixture_weak(struct pom_fixture *f, u64 handle, u64 cookie)
{
	struct pyobjmem_weak cmd = { .handle = handle, .cookie = cookie };

	return WITH_STASH(f, pom_weak_hold(&f->session, &cmd, &f->stash));
}

/**
 * pom_fixture_upgrade - take an object that is held weakly
 * @f: the fixture
 * @handle: the object
 *
 * Return: 0 or an error.
 */
int pom_fixture_upgrade(struct pom_fixture *f, u64 handle)
{
	struct pyobjmem_upgrade cmd = { .handle = handle };

	return WITH_STASH(f, pom_weak_upgrade(&f->session, &cmd, &f->stash));
}

/**
 * pom_fixture_event - read an event, as read(2) does, which wants user memory
 * @f: the fixture
 * @event: kind, handle and cookie are set. What is to be finalized is held, and
 *	was not before
 *
 * Return: false if there is none.
 */
bool pom_fixture_event(struct pom_fixture *f, struct pom_watch *event)
{
	struct list_head *events = &f->session.events;

	/* Nobody else reads, so what is the first stays it. */
	if (list_empty(events))
		return false;
	*event = *list_first_entry(events, struct pom_watch, entry);
	return !WITH_STASH(f, pom_event_take(&f->session, &f->stash));
}

/**
 * pom_fixture_put - let go of an object once
 * @test: the test
 * @handle: the object
 */
void pom_fixture_put(struct kunit *test, u64 handle)
{
	struct pom_fixture *f = test->priv;
	int ret;

	pom_heap_lock(f->heap);
	ret = pom_object_put(&f->session, handle);
	pom_heap_unlock(f->heap);
	pom_heap_settle(f->heap);
	KUNIT_ASSERT_EQ_MSG(test, ret, 0, "handle %#llx", handle);
}

/**
 * pom_fixture_set_ref - set a slot
 * @f: the fixture
 * @from: the object
 * @slot: index of its slot
 * @to: what it names then
 *
 * What dies of it is left to pom_heap_settle().
 *
 * Return: 0 or an error.
 */
int pom_fixture_set_ref(struct pom_fixture *f, u64 from, u32 slot, u64 to)
{
	struct pyobjmem_set_ref cmd = { .handle = from, .slot = slot, .value = to };
	int ret;

	pom_heap_lock(f->heap);
	ret = pom_object_set_ref(&f->session, &cmd);
	pom_heap_unlock(f->heap);
	return ret;
}

/**
 * pom_fixture_get_ref - take what a slot names
 * @f: the fixture
 * @from: the object
 * @slot: index of its slot
 * @to: what it names
 *
 * Return: 0 or an error.
 */
int pom_fixture_get_ref(struct pom_fixture *f, u64 from, u32 slot, u64 *to)
{
	struct pyobjmem_get_ref cmd = { .handle = from, .slot = slot };
	int ret;

	ret = WITH_STASH(f, pom_object_get_ref(&f->session, &cmd, &f->stash));
	*to = cmd.out_handle;
	return ret;
}

/**
 * pom_fixture_drop_rings - make garbage
 * @test: the test
 * @count: of so many containers that only they themselves refer to
 */
void pom_fixture_drop_rings(struct kunit *test, u32 count)
{
	u64 handle;

	while (count--) {
		handle = pom_fixture_create(test, 1, 0);
		KUNIT_ASSERT_EQ(test, pom_fixture_set_ref(test->priv, handle, 0, handle), 0);
		pom_fixture_put(test, handle);
	}
}

/**
 * pom_fixture_find - find an object
 * @f: the fixture
 * @handle: any number
 * @obj: the object
 *
 * Return: 0 or an error.
 */
int pom_fixture_find(struct pom_fixture *f, u64 handle, struct pom_object *obj)
{
	int ret;

	pom_heap_lock(f->heap);
	ret = pom_object_find(f->heap, handle, obj);
	pom_heap_unlock(f->heap);
	return ret;
}

/**
 * pom_fixture_collect - collect
 * @test: the test
 * @generation: oldest generation
 *
 * Return: number of objects collected.
 */
u64 pom_fixture_collect(struct kunit *test, u32 generation)
{
	struct pom_fixture *f = test->priv;
	struct pom_gc_run run = {};

	KUNIT_EXPECT_EQ(test, pom_collect(f->heap, generation, &run), 0);
	return run.collected;
}

/**
 * pom_fixture_take - take a block
 * @f: the fixture
 * @space: where
 * @size: bytes
 * @block: the block
 *
 * Return: 0 or an error.
 */
int pom_fixture_take(struct pom_fixture *f, struct pom_space *space, u64 size,
		     struct pom_block *block)
{
	return WITH_STASH(f, pom_block_alloc(space, size, &f->stash, block));
}

/**
 * pom_fixture_give - give it back
 * @f: the fixture
 * @space: where
 * @block: the block: all zeros, unless it is a run
 */
void pom_fixture_give(struct pom_fixture *f, struct pom_space *space,
		      const struct pom_block *block)
{
	pom_heap_lock(f->heap);
	pom_block_free(space, block->pool, block->index);
	pom_heap_unlock(f->heap);
}

/**
 * pom_fixture_trim - give back all empty pools
 * @f: the fixture
 */
void pom_fixture_trim(struct pom_fixture *f)
{
	pom_heap_lock(f->heap);
	pom_pool_trim(f->heap);
	pom_heap_unlock(f->heap);
}

/**
 * pom_fixture_verify - recount the heap
 * @f: the fixture
 * @text: POM_VERDICT bytes
 *
 * Return: what verify says, without the end of the line.
 */
char *pom_fixture_verify(struct pom_fixture *f, char *text)
{
	struct seq_file m = { .private = f->heap, .buf = text, .size = POM_VERDICT - 1 };

	pom_verify_show(&m, NULL);
	text[min_t(size_t, m.count, POM_VERDICT - 1)] = 0;
	return strim(text);
}
