#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""How long gc.collect() takes: the graphs of kmod/tests/collect_bench.c.

Prints a line for each collection: the workload, how many objects died, and how
many nanoseconds it took. What else lives is frozen before.
"""
import gc
import os
import sys
import time

RINGS, RING_OBJECTS = 100, 21
DEAD_OBJECTS = 1000000
LIVE_OBJECTS = 2000000
PAIRS = 500
LISTS = 1000
RINGS_TIMES, TIMES = 50, 5


class Node:
    __slots__ = ("first", "second")

    def __init__(self):
        self.first = self.second = None


def collect(workload, dead):
    """gc.collect(), timed."""
    began = time.perf_counter_ns()
    got = gc.collect()
    ns = time.perf_counter_ns() - began
    if got != dead:
        raise SystemExit(f"{workload}: {got} objects collected instead of {dead}")
    print("bench:", workload, dead, ns)


def link_both(a, b):
    a.first = b
    b.second = a


def make_rings():
    for _ in range(RINGS):
        ring = [Node() for _ in range(RING_OBJECTS)]
        for i in range(RING_OBJECTS):
            link_both(ring[i], ring[(i + 1) % RING_OBJECTS])


def make_random():
    state = 42

    def below(n):
        nonlocal state
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        return state * n >> 32

    nodes = [Node() for _ in range(DEAD_OBJECTS)]
    order = list(range(DEAD_OBJECTS))
    for i in range(DEAD_OBJECTS - 1, 0, -1):
        j = below(i + 1)
        order[i], order[j] = order[j], order[i]
    for i in range(DEAD_OBJECTS):
        nodes[i].first = nodes[order[i]]
        nodes[i].second = nodes[below(DEAD_OBJECTS)]


def make_ring():
    nodes = [Node() for _ in range(DEAD_OBJECTS)]
    for i in range(DEAD_OBJECTS):
        nodes[i].first = nodes[(i + 1) % DEAD_OBJECTS]


def make_live():
    """The root of a tree, and pairs that name each other."""
    every = LIVE_OBJECTS // (PAIRS * TIMES)
    nodes, pairs = [], []
    for i in range(LIVE_OBJECTS):
        nodes.append(Node())
        if i:
            setattr(nodes[(i - 1) // 2], "second" if (i - 1) % 2 else "first", nodes[i])
        if i % every == 0:
            a, b = Node(), Node()
            link_both(a, b)
            link_both(b, a)
            pairs.append((a, b))
    return nodes[0], pairs


def live():
    root, pairs = make_live()
    collect("settle", 0)
    for _ in range(TIMES):
        collect("live", 0)
    for i in range(TIMES):
        pairs[i::TIMES] = [None] * PAIRS
        collect("spread", 2 * PAIRS)
    return root


def traversal():
    top = []
    for n in range(1, LISTS):
        top = [top] * n
    collect("settle", 0)
    for _ in range(TIMES):
        collect("traversal", 0)


gc.disable()
gc.collect()
gc.freeze()
for _ in range(RINGS_TIMES):
    make_rings()
    collect("rings", RINGS * RING_OBJECTS)
make_random()
collect("random", DEAD_OBJECTS)
make_ring()
collect("ring", DEAD_OBJECTS)
tree = live()
gc.freeze()
traversal()
# Nothing is measured of taking the tree down.
sys.stdout.flush()
os._exit(0)
