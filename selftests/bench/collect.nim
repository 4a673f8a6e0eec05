# SPDX-License-Identifier: GPL-2.0
#
# How long GC_fullCollect() of ORC takes: the graphs of kmod/tests/collect_bench.c.
#
# Prints a line for each collection: the workload, how many objects died, and how
# many nanoseconds it took. Nim does not tell how many it collected: that the
# memory of all of them came back is checked.
import std/monotimes

const
  Rings = 100
  RingObjects = 21
  DeadObjects = 1000000
  LiveObjects = 2000000
  Pairs = 500
  Lists = 1000
  RingsTimes = 50
  Times = 5

type
  Node = ref object
    first, second: Node
  Items = ref object
    items: seq[Items]

# What an object takes from the allocator: the two fields, and two words of ORC's
const NodeBytes = 32

proc collect(workload: string, dead: int) =
  let before = getOccupiedMem()
  let began = getMonoTime().ticks
  GC_fullCollect()
  let ns = getMonoTime().ticks - began
  let bytes = before - getOccupiedMem()
  if bytes < dead * NodeBytes:
    quit workload & ": " & $bytes & " bytes came back of " & $dead & " objects"
  echo "bench: ", workload, " ", dead, " ", ns

proc linkBoth(a, b: Node) =
  a.first = b
  b.second = a

proc makeNodes(n: int): seq[Node] =
  result = newSeq[Node](n)
  for i in 0 ..< n:
    result[i] = Node()

proc makeRings() =
  for r in 1 .. Rings:
    let ring = makeNodes(RingObjects)
    for i in 0 ..< RingObjects:
      linkBoth(ring[i], ring[(i + 1) mod RingObjects])

proc below(state: var uint32, n: int): int =
  state = state * 1664525 + 1013904223
  int(uint64(state) * uint64(n) shr 32)

proc makeRandom() =
  var state = 42'u32
  let nodes = makeNodes(DeadObjects)
  var order = newSeq[int32](DeadObjects)
  for i in 0 ..< DeadObjects:
    order[i] = int32(i)
  for i in countdown(DeadObjects - 1, 1):
    swap(order[i], order[below(state, i + 1)])
  for i in 0 ..< DeadObjects:
    nodes[i].first = nodes[order[i]]
    nodes[i].second = nodes[below(state, DeadObjects)]

proc makeRing() =
  let nodes = makeNodes(DeadObjects)
  for i in 0 ..< DeadObjects:
    nodes[i].first = nodes[(i + 1) mod DeadObjects]

# The root of a tree, and pairs that name each other
proc makeLive(): (Node, seq[(Node, Node)]) =
  const every = LiveObjects div (Pairs * Times)
  var nodes: seq[Node]
  for i in 0 ..< LiveObjects:
    nodes.add Node()
    if i > 0:
      if (i - 1) mod 2 == 0:
        nodes[(i - 1) div 2].first = nodes[i]
      else:
        nodes[(i - 1) div 2].second = nodes[i]
    if i mod every == 0:
      let a = Node()
      let b = Node()
      linkBoth(a, b)
      linkBoth(b, a)
      result[1].add (a, b)
  result[0] = nodes[0]

proc live(): Node =
  var pairs: seq[(Node, Node)]
  (result, pairs) = makeLive()
  collect("settle", 0)
  for t in 1 .. Times:
    collect("live", 0)
  for t in 0 ..< Times:
    for i in countup(t, Pairs * Times - 1, Times):
      pairs[i] = (nil, nil)
    collect("spread", 2 * Pairs)

# What loses a reference is the last.
var top, again: Items

proc traversal() =
  top = Items()
  for n in 1 ..< Lists:
    let next = Items(items: newSeq[Items](n))
    for i in 0 ..< n:
      next.items[i] = top
    top = next
  collect("settle", 0)
  for t in 1 .. Times:
    again = top
    again = nil
    collect("traversal", 0)

GC_disableOrc()
for t in 1 .. RingsTimes:
  makeRings()
  collect("rings", Rings * RingObjects)
makeRandom()
collect("random", DeadObjects)
makeRing()
collect("ring", DeadObjects)
let tree = live()
doAssert tree != nil
traversal()
