<?php
// SPDX-License-Identifier: GPL-2.0
//
// How long gc_collect_cycles() takes: the graphs of kmod/tests/collect_bench.c.
//
// Prints a line for each collection: the workload, how many objects died, and how
// many nanoseconds it took.

const RINGS = 100, RING_OBJECTS = 21;
const DEAD_OBJECTS = 1000000;
const LIVE_OBJECTS = 2000000;
const PAIRS = 500;
const LISTS = 1000;
const RINGS_TIMES = 50, TIMES = 5;

final class Node
{
	public $first = null;
	public $second = null;
}

final class Items
{
	public $items = [];
}

// gc_collect_cycles(), timed
function collect(string $workload, int $dead): void
{
	$began = hrtime(true);
	$got = gc_collect_cycles();
	$ns = hrtime(true) - $began;
	if ($got !== $dead) {
		fprintf(STDERR, "%s: %d objects collected instead of %d\n", $workload, $got, $dead);
		exit(1);
	}
	echo "bench: $workload $dead $ns\n";
}

function link_both(Node $a, Node $b): void
{
	$a->first = $b;
	$b->second = $a;
}

function make_rings(): void
{
	for ($r = 0; $r < RINGS; $r++) {
		$ring = [];
		for ($i = 0; $i < RING_OBJECTS; $i++)
			$ring[] = new Node;
		for ($i = 0; $i < RING_OBJECTS; $i++)
			link_both($ring[$i], $ring[($i + 1) % RING_OBJECTS]);
	}
}

function below(int &$state, int $n): int
{
	$state = ($state * 1664525 + 1013904223) & 0xffffffff;
	return $state * $n >> 32;
}

function make_nodes(): array
{
	$nodes = [];
	for ($i = 0; $i < DEAD_OBJECTS; $i++)
		$nodes[] = new Node;
	return $nodes;
}

function make_random(): void
{
	$state = 42;
	$nodes = make_nodes();
	$order = range(0, DEAD_OBJECTS - 1);
	for ($i = DEAD_OBJECTS - 1; $i; $i--) {
		$j = below($state, $i + 1);
		[$order[$i], $order[$j]] = [$order[$j], $order[$i]];
	}
	for ($i = 0; $i < DEAD_OBJECTS; $i++) {
		$nodes[$i]->first = $nodes[$order[$i]];
		$nodes[$i]->second = $nodes[below($state, DEAD_OBJECTS)];
	}
}

function make_ring(): void
{
	$nodes = make_nodes();
	for ($i = 0; $i < DEAD_OBJECTS; $i++)
		$nodes[$i]->first = $nodes[($i + 1) % DEAD_OBJECTS];
}

// The root of a tree, and pairs that name each other
function make_live(): array
{
	$every = intdiv(LIVE_OBJECTS, PAIRS * TIMES);
	$nodes = $pairs = [];
	for ($i = 0; $i < LIVE_OBJECTS; $i++) {
		$nodes[] = new Node;
		if ($i) {
			$parent = $nodes[intdiv($i - 1, 2)];
			if (($i - 1) % 2)
				$parent->second = $nodes[$i];
			else
				$parent->first = $nodes[$i];
		}
		if ($i % $every == 0) {
			$a = new Node;
			$b = new Node;
			link_both($a, $b);
			link_both($b, $a);
			$pairs[] = [$a, $b];
		}
	}
	return [$nodes[0], $pairs];
}

function live(): Node
{
	[$root, $pairs] = make_live();
	collect('settle', 0);
	for ($t = 0; $t < TIMES; $t++)
		collect('live', 0);
	for ($t = 0; $t < TIMES; $t++) {
		for ($i = $t; $i < PAIRS * TIMES; $i += TIMES)
			$pairs[$i] = null;
		collect('spread', 2 * PAIRS);
	}
	return $root;
}

// An array alone is a value, and would be copied. What loses a reference is the last.
function traversal(): void
{
	$top = new Items;
	for ($n = 1; $n < LISTS; $n++) {
		$next = new Items;
		$next->items = array_fill(0, $n, $top);
		$top = $next;
	}
	unset($next);
	collect('settle', 0);
	for ($t = 0; $t < TIMES; $t++) {
		$again = $top;
		unset($again);
		collect('traversal', 0);
	}
}

gc_disable();
for ($t = 0; $t < RINGS_TIMES; $t++) {
	make_rings();
	collect('rings', RINGS * RING_OBJECTS);
}
make_random();
collect('random', DEAD_OBJECTS);
make_ring();
collect('ring', DEAD_OBJECTS);
$tree = live();
traversal();
