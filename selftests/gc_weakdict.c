// SPDX-License-Identifier: GPL-2.0
/*
 * CPython's test_weakref, MappingTestCase: what a weak dictionary that a client keeps
 * can rely on while objects die. Each test is named after the one that it stands for.
 * How the one is mapped onto the other: gc.h. A weak dictionary is a table of weak
 * holds; in one with weak keys an entry holds a value besides. The WEAK_DEAD event
 * removes the entry. An iterator holds the object that it is at.
 *
 * Without a meaning here:
 *
 *	test_weak_values, test_weak_keys,	the protocol of mappings, which is the
 *	test_weak_*_iters, test_make_weak_*,	client's
 *	test_weak_*_dict_*, test_weak_*_union_operators,
 *	test_weak_*_delitem,
 *	test_weak_keyed_cascading_deletes,
 *	test_remove_closure, WeakValueDictionaryTestCase,
 *	WeakKeyDictionaryTestCase
 */
#include "kselftest_harness.h"
#include "pyobjmem_test.h"
#include "event.h"
#include "gc.h"

#define ENTRIES	400

struct entry {
	__u64 object;		/* held weakly, or 0: the entry is empty */
	__u64 value;		/* held, or 0 */
};

struct dict {
	int session;
	int length;
	int failed;
	struct entry entry[ENTRIES];
};

/* Remove an entry whose object has died, unless it has another one by now. */
static void dict_dead(int session, __u64 handle, __u64 cookie, void *argument)
{
	struct dict *dict = argument;
	struct entry *entry = &dict->entry[cookie];

	if (entry->object != handle)
		return;
	if (entry->value && object_put(session, entry->value))
		dict->failed++;
	*entry = (struct entry){};
	dict->length--;
}

static int dict_update(struct dict *dict)
{
	struct event_handler handler = { .weak_dead = dict_dead, .argument = dict };

	return events_handle(dict->session, &handler);
}

/* What is there already is replaced. */
static int dict_set(struct dict *dict, unsigned int key, __u64 object, __u64 value)
{
	struct entry *entry = &dict->entry[key];

	if (entry->object) {
		weak_drop(dict->session, entry->object, key);
		if (entry->value)
			object_put(dict->session, entry->value);
		dict->length--;
	}
	*entry = (struct entry){ .object = object, .value = value };
	dict->length++;
	return weak_hold(dict->session, object, key);
}

/* Get hold of the object of an entry: 0, -ENOENT if there is none, -ESTALE if it died. */
static int dict_get(struct dict *dict, unsigned int key)
{
	if (!dict->entry[key].object)
		return -ENOENT;
	return weak_upgrade(dict->session, dict->entry[key].object);
}

/* What the next iterator of it would begin with, held; 0 if there is nothing. */
static __u64 dict_next(struct dict *dict, unsigned int *place)
{
	for (; *place < ENTRIES; ++*place)
		if (!dict_get(dict, *place))
			return dict->entry[(*place)++].object;
	return 0;
}

FIXTURE(weakdict)
{
	struct program program;
	int session;
	struct dict dict;
};

FIXTURE_SETUP(weakdict)
{
	memset(&self->dict, 0, sizeof(self->dict));
	ASSERT_EQ(0, program_begin(&self->program, 0));
	self->session = self->program.session;
	self->dict.session = self->session;
	self->program.handler.weak_dead = dict_dead;
	self->program.handler.argument = &self->dict;
}

FIXTURE_TEARDOWN(weakdict)
{
	EXPECT_EQ(0, self->dict.failed);
	EXPECT_CLEAN_END(&self->program.heap);
}

/* @n cycles, entries that name them, and with @keyed a value in each. */
static void dict_fill(struct __test_metadata *_metadata, FIXTURE_DATA(weakdict) *self,
		      __u64 *object, int n, bool keyed)
{
	__u64 value = PYOBJMEM_NONE;
	int i;

	for (i = 0; i < n; i++) {
		object[i] = new_self_cycle(_metadata, self->session, 0);
		if (keyed)
			value = new_object(_metadata, self->session, 0, 0);
		ASSERT_EQ(0, dict_set(&self->dict, i, object[i], value));
	}
}

/* --- How long it is ------------------------------------------------------- */

#define ITEMS	20

static void len_cycles(struct __test_metadata *_metadata, FIXTURE_DATA(weakdict) *self,
		       bool keyed)
{
	__u64 object[ITEMS], at;
	unsigned int place = 0;
	int i;

	dict_fill(_metadata, self, object, ITEMS, keyed);
	at = dict_next(&self->dict, &place);
	ASSERT_EQ(object[0], at);
	for (i = 0; i < ITEMS; i++)
		del(_metadata, self->session, object[i]);
	EXPECT_EQ(ITEMS - 1, gc_collect(&self->program));
	EXPECT_EQ(1, self->dict.length);
	del(_metadata, self->session, at);
	EXPECT_EQ(1, gc_collect(&self->program));
	EXPECT_EQ(0, self->dict.length);
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(weakdict, weak_keyed_len_cycles)
{
	len_cycles(_metadata, self, true);
}

TEST_F(weakdict, weak_valued_len_cycles)
{
	len_cycles(_metadata, self, false);
}

/* Collections by themselves at every moment */
static void len_race(struct __test_metadata *_metadata, FIXTURE_DATA(weakdict) *self,
		     bool keyed)
{
	__u64 object[ITEMS], at;
	unsigned int place;
	int threshold, i, n1;

	for (threshold = 1; threshold < 100; threshold++) {
		ASSERT_LE(0, collect(self->session, 0));
		ASSERT_EQ(0, gc_enable(self->session, threshold));
		dict_fill(_metadata, self, object, ITEMS, keyed);
		for (i = 0; i < ITEMS; i++)
			del(_metadata, self->session, object[i]);
		place = 0;
		at = dict_next(&self->dict, &place);
		ASSERT_LE(0, dict_update(&self->dict));
		n1 = self->dict.length;
		EXPECT_LE(at ? 1 : 0, n1);
		EXPECT_GE(ITEMS, n1);
		if (at)
			del(_metadata, self->session, at);
		ASSERT_LE(0, dict_update(&self->dict));
		EXPECT_LE(0, self->dict.length);
		EXPECT_GE(n1, self->dict.length);
		/* The next round sets the same keys. */
		ASSERT_LE(0, gc_collect(&self->program));
		ASSERT_EQ(0, self->dict.length);
		ASSERT_EQ(0, stats_objects(self->session));
	}
}

TEST_F(weakdict, weak_keyed_len_race)
{
	len_race(_metadata, self, true);
}

TEST_F(weakdict, weak_valued_len_race)
{
	len_race(_metadata, self, false);
}

/* --- Iterating ------------------------------------------------------------ */

static void destroy_while_iterating(struct __test_metadata *_metadata,
				    FIXTURE_DATA(weakdict) *self, bool keyed)
{
	int n = 10, i, seen = 1;
	__u64 object[10], at;
	unsigned int place = 0;

	dict_fill(_metadata, self, object, n, keyed);
	at = dict_next(&self->dict, &place);
	ASSERT_EQ(object[0], at);
	/* Destroy the one that the iterator is at, and one that it has not come to. */
	del(_metadata, self->session, object[0]);
	del(_metadata, self->session, object[n - 1]);
	EXPECT_EQ(1, gc_collect(&self->program));
	EXPECT_EQ(n - 1, self->dict.length);
	do {
		del(_metadata, self->session, at);
		at = dict_next(&self->dict, &place);
		seen += !!at;
	} while (at);
	EXPECT_EQ(n - 1, seen);
	EXPECT_EQ(1, gc_collect(&self->program));
	EXPECT_EQ(n - 2, self->dict.length);
	for (i = 1; i < n - 1; i++) {
		EXPECT_EQ(object[i], self->dict.entry[i].object);
		del(_metadata, self->session, object[i]);
	}
	EXPECT_EQ(n - 2, gc_collect(&self->program));
	EXPECT_EQ(0, self->dict.length);
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(weakdict, weak_keys_destroy_while_iterating)
{
	destroy_while_iterating(_metadata, self, true);
}

TEST_F(weakdict, weak_values_destroy_while_iterating)
{
	destroy_while_iterating(_metadata, self, false);
}

/* --- While another process collects --------------------------------------- */

static bool gate_closed(struct child_side *side)
{
	struct pollfd pollfd = { .fd = side->gate_fd, .events = POLLIN };

	return poll(&pollfd, 1, 0) != 0;
}

static int collect_forever(struct child_side *side)
{
	FIXTURE_DATA(weakdict) *self = side->argument;
	int session = test_heap_join(&self->program.heap);

	CHILD_CHECK(session >= 0);
	child_ready(side);
	while (!gate_closed(side))
		CHILD_CHECK(collect(session, 2) >= 0);
	return 0;
}

static void collecting_begin(struct __test_metadata *_metadata, FIXTURE_DATA(weakdict) *self,
			     struct child *child)
{
	ASSERT_EQ(0, child_start(child, collect_forever, self));
	ASSERT_TRUE(child_wait_ready(child));
}

/* It collects no more, and the rest is collected here. */
static void collecting_end(struct __test_metadata *_metadata, FIXTURE_DATA(weakdict) *self,
			   struct child *child)
{
	ASSERT_EQ(0, child_end(child));
	EXPECT_LE(0, gc_collect(&self->program));
	EXPECT_EQ(0, self->dict.length);
	EXPECT_EQ(0, stats_objects(self->session));
}

#define ROUNDS	500

/* There is always something: what was there and is got hold of, or what is new. */
static __u64 dict_setdefault(struct __test_metadata *_metadata, struct dict *dict,
			     unsigned int key)
{
	__u64 object;
	int rc;

	rc = dict_get(dict, key);
	if (!rc)
		return dict->entry[key].object;
	EXPECT_TRUE(rc == -ENOENT || rc == -ESTALE);
	object = new_self_cycle(_metadata, dict->session, 0);
	EXPECT_EQ(0, dict_set(dict, key, object, PYOBJMEM_NONE));
	return object;
}

TEST_F(weakdict, threaded_weak_valued_setdefault)
{
	struct child child;
	__u64 x;
	int i;

	collecting_begin(_metadata, self, &child);
	for (i = 0; i < ROUNDS; i++) {
		x = dict_setdefault(_metadata, &self->dict, 10);
		ASSERT_EQ(x, slot_value(self->session, x, 0));
		del(_metadata, self->session, x);
		ASSERT_LE(0, dict_update(&self->dict));
	}
	collecting_end(_metadata, self, &child);
}

/* The object or nothing: never one that is dying. */
TEST_F(weakdict, threaded_weak_valued_pop)
{
	struct child child;
	__u64 x;
	int i, rc;

	collecting_begin(_metadata, self, &child);
	for (i = 0; i < ROUNDS; i++) {
		x = new_self_cycle(_metadata, self->session, 0);
		ASSERT_EQ(0, dict_set(&self->dict, 10, x, PYOBJMEM_NONE));
		del(_metadata, self->session, x);
		rc = dict_get(&self->dict, 10);
		ASSERT_TRUE(rc == 0 || rc == -ESTALE);
		if (!rc) {
			ASSERT_EQ(0, weak_drop(self->session, x, 10));
			self->dict.entry[10].object = PYOBJMEM_NONE;
			self->dict.length--;
			ASSERT_EQ(x, slot_value(self->session, x, 0));
			del(_metadata, self->session, x);
		}
		ASSERT_LE(0, dict_update(&self->dict));
	}
	collecting_end(_metadata, self, &child);
}

/* What tells that the old object of a key is dead does not remove the new one. */
TEST_F(weakdict, threaded_weak_valued_consistency)
{
	struct child child;
	__u64 o;
	int i;

	collecting_begin(_metadata, self, &child);
	for (i = 0; i < ROUNDS; i++) {
		o = new_self_cycle(_metadata, self->session, 0);
		ASSERT_EQ(0, dict_set(&self->dict, 10, o, PYOBJMEM_NONE));
		ASSERT_LE(0, dict_update(&self->dict));
		ASSERT_EQ(1, self->dict.length);
		ASSERT_EQ(o, self->dict.entry[10].object);
		del(_metadata, self->session, o);
	}
	collecting_end(_metadata, self, &child);
}

struct copying {
	FIXTURE_DATA(weakdict) *self;
	bool keyed;
	bool deep;
	__u64 list;		/* names them all, in the first root */
};

/* Take all that the list names into a weak dictionary of this process. */
static void copying_fill(struct copying *copying, struct dict *dict)
{
	__u64 object, value = PYOBJMEM_NONE;
	int i;

	dict->session = test_heap_join(&copying->self->program.heap);
	CHILD_CHECK(dict->session >= 0);
	CHILD_CHECK(!root_get(dict->session, 0, NULL));
	for (i = 0; i < ENTRIES; i++) {
		CHILD_CHECK(!ref_get(dict->session, copying->list, i, &object));
		if (copying->keyed)
			CHILD_CHECK(!container_create(dict->session, 0, &value));
		CHILD_CHECK(!dict_set(dict, i, object, value));
		CHILD_CHECK(!object_put(dict->session, object));
	}
	CHILD_CHECK(!object_put(dict->session, copying->list));
}

/* One pass over it, in which each object is held, looked at, and copied if that is @deep. */
static int copying_pass(struct dict *dict, bool deep)
{
	__u64 copy[ENTRIES], id;
	int copied = 0, i, rc;

	for (i = 0; i < ENTRIES; i++) {
		rc = dict_get(dict, i);
		if (rc == -ENOENT || rc == -ESTALE)
			continue;
		CHILD_CHECK(!rc);
		CHILD_CHECK(object_read(dict->session, dict->entry[i].object, 0, &id, 8) == 8);
		CHILD_CHECK(id == (__u64)i);
		copy[copied] = dict->entry[i].object;
		if (deep) {
			CHILD_CHECK(!object_create(dict->session, 0, &id, 8, NULL, 1,
						   &copy[copied]));
			CHILD_CHECK(!object_put(dict->session, dict->entry[i].object));
		}
		copied++;
	}
	for (i = 0; i < copied; i++)
		CHILD_CHECK(!object_put(dict->session, copy[i]));
	return copied;
}

static int copying_child(struct child_side *side)
{
	struct copying *copying = side->argument;
	static struct dict dict;
	int length = ENTRIES;

	copying_fill(copying, &dict);
	CHILD_CHECK(copying_pass(&dict, copying->deep) == ENTRIES);
	child_ready(side);
	while (!gate_closed(side)) {
		CHILD_CHECK(copying_pass(&dict, copying->deep) <= length);
		CHILD_CHECK(dict_update(&dict) >= 0);
		CHILD_CHECK(dict.length <= length && dict.length >= 0);
		length = dict.length;
	}
	/* All are dead, but for those that a pass held when they were to be collected. */
	CHILD_CHECK(collect(dict.session, 2) >= 0);
	CHILD_CHECK(dict_update(&dict) >= 0);
	CHILD_CHECK(!dict.length && !dict.failed);
	return 0;
}

/*
 * A list of cycles goes one by one, at random, while another process copies a weak
 * dictionary of them, again and again.
 */
static void dict_copy(struct __test_metadata *_metadata, FIXTURE_DATA(weakdict) *self,
		      bool keyed, bool deep)
{
	struct copying copying = { .self = self, .keyed = keyed, .deep = deep };
	__u64 seed = random_seed(), state = seed, object, id;
	int left[ENTRIES], i, n;
	struct child child;

	copying.list = new_object(_metadata, self->session, 0, ENTRIES);
	for (i = 0; i < ENTRIES; i++) {
		id = i;
		left[i] = i;
		ASSERT_EQ(0, object_create(self->session, 0, &id, 8, NULL, 1, &object));
		link_to(_metadata, self->session, object, 0, object);
		link_to(_metadata, self->session, copying.list, i, object);
		del(_metadata, self->session, object);
	}
	ASSERT_EQ(0, root_set(self->session, 0, copying.list, NULL));
	ASSERT_EQ(0, child_start(&child, copying_child, &copying));
	ASSERT_TRUE(child_wait_ready(&child));
	for (n = ENTRIES; n; n--) {
		i = random_below(&state, n);
		link_to(_metadata, self->session, copying.list, left[i], PYOBJMEM_NONE);
		left[i] = left[n - 1];
		if (n % 10 == 0)
			ASSERT_LE(0, collect(self->session, 2));
	}
	ASSERT_LE(0, collect(self->session, 2));
	ASSERT_EQ(0, root_set(self->session, 0, PYOBJMEM_NONE, NULL));
	del(_metadata, self->session, copying.list);
	ASSERT_EQ(0, child_end(&child)) {
		TH_LOG("seed %#llx", (unsigned long long)seed);
	}
	EXPECT_TRUE(wait_until(stats_sessions(self->session) == 1, SOON_MS));
	EXPECT_LE(0, gc_collect(&self->program));
	EXPECT_EQ(0, stats_objects(self->session));
}

TEST_F(weakdict, threaded_weak_key_dict_copy)
{
	dict_copy(_metadata, self, true, false);
}

TEST_F(weakdict, threaded_weak_key_dict_deepcopy)
{
	dict_copy(_metadata, self, true, true);
}

TEST_F(weakdict, threaded_weak_value_dict_copy)
{
	dict_copy(_metadata, self, false, false);
}

TEST_F(weakdict, threaded_weak_value_dict_deepcopy)
{
	dict_copy(_metadata, self, false, true);
}

TEST_HARNESS_MAIN
