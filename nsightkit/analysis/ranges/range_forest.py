"""Which range encloses which, and which range is the innermost around a moment, for any number of threads at once.

In: begin, end and lane (thread) of ranges, as arrays. Out: `RangeForest`. A range encloses an interval if it begins
not later and ends not earlier (both ends count, as in NVIDIA's reports); the innermost is the one that began last.
That holds for nested and for crossing ranges alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from nsightkit.analysis.arrays import CHUNK, Codes, Ints, Mask, by_lane, looked_up
from nsightkit.errors import AnalysisError

_LARGEST_KEY = 1 << 62
# One pass over all ranges for each level is the fastest way while there are few levels.
_MOST_PASSES = 12
# From so many lanes on, the ranges of all lanes are searched at once rather than lane after lane.
_MOST_TURNS = 100


@dataclass(frozen=True)
class RangeForest:
    """Ranges in the order of lane, begin, and length (longer first); positions below mean places in this order.

    `parent` is the position of the innermost range that encloses a range, -1 for none; `depth` counts such ancestors.
    `lane_crosses` marks the lanes in which ranges overlap without one enclosing the other, or an empty range touches
    another; there a range that encloses a call need not be an ancestor of the innermost one.
    """

    row: Ints  # (n,) place in the input
    lane: Ints  # (n,)
    start_ns: Ints  # (n,)
    end_ns: Ints  # (n,)
    parent: Codes  # (n,)
    depth: Codes  # (n,)
    key: Ints  # (n,) lane and begin on one axis, rising
    origin_ns: int
    span_ns: int
    lane_crosses: Mask  # (lanes,)
    crossing_count: int  # ranges that begin inside another of their lane and end after it

    @property
    def size(self) -> int:
        """How many ranges there are."""
        return int(self.row.size)

    def keys(self, lane: Ints | Codes, moment_ns: Ints) -> Ints:
        """Return `moment_ns` on the axis of `key`; a moment outside all ranges goes to the edge of its lane."""
        clipped = np.clip(moment_ns - self.origin_ns, -1, self.span_ns - 2)
        return np.asarray(lane, np.int64) * self.span_ns + clipped

    def innermost(self, lane: Ints | Codes, start_ns: Ints, end_ns: Ints) -> Codes:
        """Return the position of the innermost range of `lane` around each interval, -1 where there is none.

        Negative lanes have no ranges. Intervals that come sorted by lane and begin are answered fastest.
        """
        if not self.size:
            return np.full(start_ns.size, -1, np.int32)
        last = np.searchsorted(self.key, self.keys(lane, start_ns), side="right").astype(np.int32) - np.int32(1)
        last[(last >= 0) & (self.lane[last] != lane)] = -1
        return self.climb(last, end_ns)

    def innermost_of_calls(self, call: Codes, lane: Codes, start_ns: Ints, end_ns: Ints) -> Codes:
        """Return the position of the innermost range around the call of each piece of work, -1 where there is none.

        Args:
            call: for each piece of work the row of its call, -1 for none, shape (work,).
            lane: lane of each call, -1 for a lane without ranges, shape (calls,).
            start_ns: when each call began.
            end_ns: when each call ended.
        """
        # One place more than calls, so that -1 finds -1 there.
        of_call = np.full(lane.size + 1, -1, np.int32)
        asked = _asked_for(call, lane)
        edges = np.searchsorted(self.lane, np.arange(self.lane_crosses.size + 1)).tolist()
        # A block's arrays stay in the cache and are used again; those of all calls would be fresh memory each time. A
        # second thread gains nothing: blocks this small wait for each other's steps in Python.
        for begin in range(0, lane.size, CHUNK):
            part = slice(begin, begin + CHUNK)
            self._fill(of_call[:-1][part], asked[part], (start_ns[part], end_ns[part]), edges)
        return looked_up(of_call, call)

    def _fill(self, found: Codes, lane: Codes, times: tuple[Ints, Ints], edges: list[int]) -> None:
        """Set `found` for a block of calls; the ranges of lane i lie from edges[i] up to edges[i + 1]."""
        start_ns, end_ns = times
        rows, bounds = by_lane(lane)
        if bounds.size > _MOST_TURNS:
            key = self.keys(lane[rows], start_ns[rows])
            if bool((key[1:] < key[:-1]).any()):
                rows = rows[np.argsort(key, kind="stable")]
            found[rows] = self.innermost(lane[rows], start_ns[rows], end_ns[rows])
            return
        for number in range(min(bounds.size, len(edges)) - 1):
            mine = rows[bounds[number] : bounds[number + 1]]
            if not mine.size or edges[number] == edges[number + 1]:
                continue
            moments = start_ns[mine]
            if bool((moments[1:] < moments[:-1]).any()):
                order = np.argsort(moments, kind="stable")
                mine, moments = mine[order], moments[order]
            last = _last_opened(self.start_ns[edges[number] : edges[number + 1]], moments, edges[number])
            found[mine] = self.climb(last, end_ns[mine])

    def climb(self, position: Codes, end_ns: Ints) -> Codes:
        """Return the first of `position` and its ancestors that ends at `end_ns` or later, -1 for none."""
        found = position.copy()
        # What lies outside wraps around, and does not count: without looking for errors a lookup takes half the time.
        ends = self.end_ns.take(found.astype(np.intp), mode="wrap")
        active = np.flatnonzero((ends < end_ns) & (found >= 0))
        while active.size:
            moved = self.parent[found[active]]
            found[active] = moved
            active = active[(moved >= 0) & (self.end_ns[moved] < end_ns[active])]
        return found

    def next_outer(self, position: Codes, end_ns: Ints) -> Codes:
        """Return the next range outwards from `position` that encloses a call ending at `end_ns`, crossing or not."""
        before = np.maximum(position, 1) - np.int32(1)
        same = (position > 0) & (self.lane[before] == self.lane[position])
        return self.climb(np.where(same, before, np.int32(-1)).astype(np.int32), end_ns)


def build_forest(lane: Ints | Codes, start_ns: Ints, end_ns: Ints) -> RangeForest:
    """Return the forest of ranges; `lane` numbers threads from 0.

    Raises:
        AnalysisError: the times span more than the axis can hold, which only damaged clocks do.
    """
    lane = np.asarray(lane, np.int64)
    origin = int(start_ns.min()) if start_ns.size else 0
    # One unit before and one after each lane keep queries outside its ranges from meeting a neighbor.
    span = (int(max(end_ns.max(), start_ns.max())) - origin if start_ns.size else 0) + 3
    lanes = int(lane.max()) + 1 if lane.size else 0
    if lanes * span > _LARGEST_KEY:
        raise AnalysisError(
            f"the ranges span {span / 1e9:.0f} s in {lanes} threads: their clock is damaged; capture again",
            slug="damaged-clock",
        )
    key = lane * span
    key += start_ns
    key -= origin
    ends = key - start_ns
    ends += end_ns
    ends.sort()
    order = _order(key, end_ns)
    lane, start_ns, end_ns, key = (column[order] for column in (lane, start_ns, end_ns, key))
    empty = start_ns == end_ns
    depth = _depth(key, ends, key[empty])
    parent = _parent(depth)
    crosses = _crossed(lane, end_ns, parent, lanes)
    # An empty range lies inside whatever ends at its moment, which counting cannot see.
    crosses[lane[empty][_hits(ends, key[empty]) > 1]] = True
    count = _repair(lane, start_ns, end_ns, crosses, (parent, depth)) if crosses.any() else 0
    return RangeForest(order, lane, start_ns, end_ns, parent, depth, key, origin, span, crosses, count)


def _crossed(lane: Ints, end_ns: Ints, parent: Codes, lanes: int) -> Mask:
    """Return the lanes in which a range ends after the one that it was found to lie in."""
    found = np.zeros(lanes, np.bool_)
    for begin in range(0, lane.size, CHUNK):
        part = slice(begin, begin + CHUNK)
        above = parent[part].astype(np.intp)
        found[lane[part][(above >= 0) & (end_ns.take(above, mode="wrap") < end_ns[part])]] = True
    return found


def _asked_for(call: Codes, lane: Codes) -> Codes:
    """Return `lane` with -1 for calls that launched none of the work, where these are most of all calls."""
    if lane.size <= 2 * call.size:
        return lane
    asked = np.zeros(lane.size + 1, np.bool_)
    asked[call] = True
    return np.where(asked[:-1], lane, np.int32(-1))


def _last_opened(begins: Ints, moments: Ints, offset: int) -> Codes:
    """Return for rising `moments` the position of the last range that had begun; -1 if none of the lane had."""
    first, last = (int(place) for place in np.searchsorted(begins, moments[[0, -1]], side="right"))
    if last - first > moments.size:
        found = np.searchsorted(begins, moments, side="right").astype(np.int32)
    else:
        # Fewer ranges than moments: looking up each range among the moments takes fewer searches.
        opened = np.bincount(np.searchsorted(moments, begins[first:last], side="left"), minlength=moments.size)
        found = np.cumsum(opened, dtype=np.int32)
        found += np.int32(first)
    none = int(np.searchsorted(found, 1)) if first == 0 else 0
    found += np.int32(offset - 1)
    found[:none] = -1
    return found


def _order(key: Ints, end: Ints) -> Ints:
    """Return the order by key, longer ranges first; of two equal ranges the later row is the inner one."""
    if bool((key[1:] > key[:-1]).all()):
        return np.arange(key.size)
    # An unstable sort is several times faster, and ties are put in order by themselves.
    order = np.argsort(key)
    ordered = key[order]
    tied = ordered[1:] == ordered[:-1]
    if tied.any():
        members = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        rows = order[members]
        order[members] = rows[np.lexsort((rows, -end[rows], key[rows]))]
    return order


def _depth(key: Ints, ends: Ints, empty: Ints) -> Codes:
    """Return how many ranges opened before each and are still open, where ranges nest."""
    depth = np.empty(key.size, np.int32)
    for begin in range(0, key.size, CHUNK):
        part = key[begin : begin + CHUNK]
        closed = np.searchsorted(ends, part, side="right")
        if empty.size:
            # Ends of empty ranges that begin with a range, but come after it, did not close before it.
            closed -= _hits(empty, part)
        depth[begin : begin + CHUNK] = np.arange(begin, begin + part.size) - closed
    return depth


def _hits(rising: Ints, values: Ints) -> Ints:
    """Return how often each of `values` is in `rising`."""
    return np.searchsorted(rising, values, side="right") - np.searchsorted(rising, values, side="left")


def _parent(depth: Codes) -> Codes:
    """Return the nearest earlier range that is one level higher."""
    parent = np.full(depth.size, -1, np.int32)
    deepest = int(depth.max(initial=0))
    latest = np.zeros(_MOST_PASSES, np.int32)  # the last range of each level so far
    for begin in range(0, depth.size, CHUNK):
        part, found = depth[begin : begin + CHUNK], parent[begin : begin + CHUNK]
        place = np.arange(begin, begin + part.size, dtype=np.int32)
        for level in range(min(int(part.max()), _MOST_PASSES)):
            above = np.maximum.accumulate(np.where(part == level, place, latest[level]))
            mine = np.flatnonzero(part == level + 1)
            found[mine] = above[mine]
        for level in range(min(deepest, _MOST_PASSES)):
            mine = np.flatnonzero(part == level)
            latest[level] = mine[-1] + begin if mine.size else latest[level]
    if deepest > _MOST_PASSES:
        _deep_parents(depth, parent)
    return parent


def _deep_parents(depth: Codes, parent: Codes) -> None:
    """Fill in the parents of the deepest levels at once, however many there are."""
    inner = np.flatnonzero(depth > _MOST_PASSES)
    by_level = np.argsort(depth, kind="stable")
    axis = depth[by_level].astype(np.int64) * depth.size + by_level
    place = np.searchsorted(axis, (depth[inner].astype(np.int64) - 1) * depth.size + inner) - 1
    parent[inner] = by_level[np.maximum(place, 0)]


def _repair(lane: Ints, start: Ints, end: Ints, crosses: Mask, tree: tuple[Codes, Codes]) -> int:
    """Set parent and depth anew in the lanes that cross, with a stack of falling ends; return how many ranges cross."""
    parent, depth = tree
    count = 0
    for number in np.flatnonzero(crosses):
        first, last = np.searchsorted(lane, [number, number + 1])
        stack: list[int] = []
        open_ends: list[int] = []
        for place in range(first, last):
            ends = int(end[place])
            while stack and end[stack[-1]] < ends:
                stack.pop()
            parent[place] = stack[-1] if stack else -1
            depth[place] = depth[stack[-1]] + 1 if stack else 0
            stack.append(place)
            while open_ends and open_ends[0] <= start[place]:
                heappop(open_ends)
            count += bool(open_ends and open_ends[0] < ends)
            heappush(open_ends, ends)
    return count
