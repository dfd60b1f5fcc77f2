"""Sets of moments on one time axis: union, overlap, difference, and how many things ran at once.

In: begins and ends as arrays. Out: `Intervals`, sorted and disjoint. An interval holds its begin and not its end, so
intervals that touch merge and an empty one is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import Ints

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Intervals:
    """Disjoint intervals in rising order, both arrays of shape (intervals,)."""

    start_ns: Ints
    end_ns: Ints

    @property
    def total_ns(self) -> int:
        """Sum of the lengths."""
        return int((self.end_ns - self.start_ns).sum())

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.start_ns.size)

    def before(self, moments_ns: Ints) -> Ints:
        """Return how much of the set lies before each moment."""
        if not self.count:
            return np.zeros(moments_ns.size, np.int64)
        done = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.end_ns - self.start_ns)])
        place = np.searchsorted(self.start_ns, moments_ns, side="right")
        inside = np.minimum(moments_ns, self.end_ns[np.maximum(place, 1) - 1]) - self.start_ns[np.maximum(place, 1) - 1]
        return np.where(place > 0, done[np.maximum(place, 1) - 1] + inside, 0)

    def within(self, start_ns: Ints, end_ns: Ints) -> Ints:
        """Return how much of the set lies in each interval start_ns…end_ns."""
        return np.where(end_ns > start_ns, self.before(end_ns) - self.before(start_ns), 0)

    def overlap(self, other: Intervals) -> Intervals:
        """Return what lies in both sets."""
        first = np.searchsorted(other.end_ns, self.start_ns, side="right")
        last = np.searchsorted(other.start_ns, self.end_ns, side="left")
        counts = np.maximum(last - first, 0)
        mine = np.repeat(np.arange(self.count), counts)
        offset = np.arange(mine.size) - np.repeat(np.cumsum(counts) - counts, counts)
        theirs = first[mine] + offset
        start = np.maximum(self.start_ns[mine], other.start_ns[theirs])
        return Intervals(start, np.minimum(self.end_ns[mine], other.end_ns[theirs]))

    def without(self, other: Intervals) -> Intervals:
        """Return what lies in this set and not in `other`."""
        if not self.count or not other.count:
            return self
        return self.overlap(other.gaps(int(self.start_ns[0]), int(self.end_ns[-1])))

    def gaps(self, start_ns: int, end_ns: int) -> Intervals:
        """Return what of start_ns…end_ns is not in the set."""
        start = np.clip(np.concatenate([[start_ns], self.end_ns]), start_ns, end_ns)
        end = np.clip(np.concatenate([self.start_ns, [end_ns]]), start_ns, end_ns)
        return Intervals(start[end > start], end[end > start])


def union(start_ns: Ints, end_ns: Ints) -> Intervals:
    """Return the moments that are in any of the intervals, which may overlap and need no order."""
    some = end_ns > start_ns
    start, end = start_ns[some], end_ns[some]
    if not start.size:
        return Intervals(_NONE, _NONE)
    if not bool((start[1:] >= start[:-1]).all()):
        order = np.argsort(start, kind="stable")
        start, end = start[order], end[order]
    reach = np.maximum.accumulate(end)
    first = np.concatenate([[True], start[1:] > reach[:-1]])
    last = np.concatenate([first[1:], [True]])
    return Intervals(start[first], reach[last])


def depth_profile(start_ns: Ints, end_ns: Ints) -> dict[int, int]:
    """Return level -> ns: how long exactly so many of the intervals were open at once, level 0 left out."""
    if not start_ns.size:
        return {}
    moments = np.concatenate([start_ns, end_ns])
    steps = np.concatenate([np.ones(start_ns.size, np.int64), np.full(end_ns.size, -1)])
    order = np.argsort(moments, kind="stable")
    level = np.cumsum(steps[order])[:-1]
    length = np.diff(moments[order])
    times = np.bincount(level[length > 0], weights=length[length > 0].astype(np.float64))
    return {depth: round(time) for depth, time in enumerate(times.tolist()) if depth and time}
