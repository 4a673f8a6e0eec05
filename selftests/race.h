/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two sides of a race, a thread each, that do one thing each at the same time.
 * They come to a common start, then one of them waits a little. How long is
 * random, between two bounds that follow from what has happened: they move in
 * where one side was over before the other began, and out otherwise. So all ways
 * in which the two can overlap come about, and few rounds are lost.
 *
 * Include it behind pyobjmem_test.h.
 */
#ifndef RACE_H
#define RACE_H

#include <limits.h>
#include <sched.h>
#include <semaphore.h>

#define RACE_SIDES	2
#define RACE_DELAY	2000	/* turns of a loop, at first */
#define RACE_DELAY_MAX	100000
#define RACE_PUSH	16

/* Turns of a loop that waits: when it has been quick, and when it is too long. */
#define RACE_SHORT	500
#define RACE_LONG	20000

/* The warm-up: how often it is to be quick, how long at the most, the end of it. */
#define RACE_QUICK	5
#define RACE_WARM_UP_NS	10000000
#define RACE_GO		UINT_MAX

struct race {
	sem_t ready;			/* the second side may come to the start */
	bool over;
	unsigned int round;
	unsigned int ball[RACE_SIDES];
	unsigned int come[RACE_SIDES];	/* in this and the next two: a round */
	unsigned int began[RACE_SIDES];
	unsigned int ended[RACE_SIDES];
	bool late[RACE_SIDES];		/* the other had ended when it began */
	int delay;			/* > 0: of the first side, < 0: of the second */
	int low;
	int high;
	int push;			/* by how much a bound goes out when all is late */
	__u64 seed;
	unsigned int fair;		/* rounds before which both were seen to run */
	unsigned int overlapped;	/* rounds in which both were in it */
};

static inline void race_init(struct race *race, __u64 seed)
{
	memset(race, 0, sizeof(*race));
	sem_init(&race->ready, 0, 0);
	race->seed = seed;
	race->low = -RACE_DELAY;
	race->high = RACE_DELAY;
	race->push = RACE_PUSH;
}

/* One processor for each side, if there are two. */
static inline void race_pin(unsigned int side)
{
	cpu_set_t allowed, one;
	int cpu, n = side;

	/* All that there are: a thread begins with its maker's. */
	memset(&allowed, 0xff, sizeof(allowed));
	sched_setaffinity(0, sizeof(allowed), &allowed);
	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) || CPU_COUNT(&allowed) < RACE_SIDES)
		return;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || n--)
			continue;
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/*
 * Wait for a number that the other side sets. What takes long is not worth a
 * processor. Returns how many turns it took.
 */
static inline unsigned int race_await(unsigned int *number, unsigned int value)
{
	unsigned int turns = 0;

	while (__atomic_load_n(number, __ATOMIC_SEQ_CST) != value)
		if (++turns > RACE_LONG)
			sleep_us(50);
	return turns;
}

/*
 * Both are at the start, but the machine may be a virtual one, of which only one
 * processor runs now. Throw a ball there and back until it is quick some times
 * in a row: then both run, and will for a moment.
 */
static inline void race_warm_up(struct race *race, unsigned int side)
{
	__u64 end = now_ns() + RACE_WARM_UP_NS;
	unsigned int quick = 0, ball, last = 0;

	while (side) {
		ball = __atomic_load_n(&race->ball[0], __ATOMIC_SEQ_CST);
		if (ball == RACE_GO)
			return;
		if (ball != last)
			__atomic_store_n(&race->ball[1], last = ball, __ATOMIC_SEQ_CST);
	}
	for (ball = 1; quick < RACE_QUICK && now_ns() < end; ball++) {
		__atomic_store_n(&race->ball[0], ball, __ATOMIC_SEQ_CST);
		quick = race_await(&race->ball[1], ball) < RACE_SHORT ? quick + 1 : 0;
	}
	race->fair += quick == RACE_QUICK;
	__atomic_store_n(&race->ball[0], RACE_GO, __ATOMIC_SEQ_CST);
}

static inline void race_delay(int turns)
{
	for (; turns > 0; turns--)
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * The first side prepares a round; the second comes to the start meanwhile, so
 * that it is awake when the first comes.
 */
static inline void race_prepare(struct race *race)
{
	race->round++;
	race->ball[0] = 0;
	race->ball[1] = 0;
	race->delay = race->low + (int)random_below(&race->seed, race->high - race->low + 1);
	sem_post(&race->ready);
}

/* The second side waits for it; false: there is none any more. */
static inline bool race_wait(struct race *race)
{
	while (sem_wait(&race->ready))
		;
	return !race->over;
}

static inline void race_over(struct race *race)
{
	race->over = true;
	sem_post(&race->ready);
}

/* Go: right before what is raced. */
static inline void race_begin(struct race *race, unsigned int side)
{
	unsigned int round = race->round;

	__atomic_store_n(&race->come[side], round, __ATOMIC_SEQ_CST);
	race_await(&race->come[!side], round);
	race_warm_up(race, side);
	race_delay(side ? -race->delay : race->delay);
	__atomic_store_n(&race->began[side], round, __ATOMIC_SEQ_CST);
	race->late[side] = __atomic_load_n(&race->ended[!side], __ATOMIC_SEQ_CST) == round;
}

/* Right behind it */
static inline void race_end(struct race *race, unsigned int side)
{
	__atomic_store_n(&race->ended[side], race->round, __ATOMIC_SEQ_CST);
}

/* One side was over before the other began. If that goes on, it is not by chance. */
static inline void race_missed(struct race *race, bool first_late)
{
	if (first_late) {
		race->high -= (race->high - race->delay) / 2 + 1;
		race->low -= race->push;
	} else {
		race->low += (race->delay - race->low) / 2 + 1;
		race->high += race->push;
	}
	if (race->push < RACE_DELAY_MAX / 8)
		race->push *= 2;
}

/* The first side waits for the second, and learns from the round. */
static inline void race_judge(struct race *race)
{
	race_await(&race->ended[1], race->round);
	if (race->late[0] || race->late[1]) {
		race_missed(race, race->late[0]);
	} else {
		race->overlapped++;
		race->high += abs(race->high) / 32 + RACE_PUSH;
		race->low -= abs(race->low) / 32 + RACE_PUSH;
		race->push = RACE_PUSH;
	}
	if (race->high > RACE_DELAY_MAX)
		race->high = RACE_DELAY_MAX;
	if (race->low < -RACE_DELAY_MAX)
		race->low = -RACE_DELAY_MAX;
	/* Nothing is left between them: something else was slow. */
	if (race->high - race->low < RACE_PUSH) {
		race->high = RACE_DELAY;
		race->low = -RACE_DELAY;
	}
}

#endif /* RACE_H */
