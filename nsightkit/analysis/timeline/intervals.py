"""Sets of moments on one time axis: union, overlap, difference, and how many things ran at once.

In: begins and ends as arrays. Out: `Intervals`, sorted and disjoint. An interval holds its begin and not its end, so
intervals that touch merge and an empty one is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nsightkit.analysis.arrays import CHUNK, Ints, Mask

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
        if self.count == 1:
            return np.asarray(np.clip(moments_ns, self.start_ns[0], self.end_ns[0]) - self.start_ns[0], np.int64)
        place = np.searchsorted(self.start_ns, moments_ns, side="right")
        last = np.maximum(place, 1) - 1
        inside = np.minimum(moments_ns, self.end_ns[last]) - self.start_ns[last]
        return np.where(place > 0, self._done_ns[last] + inside, 0)

    @cached_property
    def _done_ns(self) -> Ints:
        """How much of the set lies before each interval."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.end_ns - self.start_ns)])

    def within(self, start_ns: Ints, end_ns: Ints) -> Ints:
        """Return how much of the set lies in each interval start_ns…end_ns."""
        found = self.before(end_ns)
        found -= self.before(start_ns)
        found[end_ns <= start_ns] = 0
        return found

    def overlap(self, other: Intervals) -> Intervals:
        """Return what lies in both sets."""
        if self.count and other.count == 1 and other._covers(self):
            return self
        first = np.searchsorted(other.end_ns, self.start_ns, side="right")
        last = np.searchsorted(other.start_ns, self.end_ns, side="left")
        counts = np.maximum(last - first, 0)
        mine = np.repeat(np.arange(self.count), counts)
        offset = np.arange(mine.size) - np.repeat(np.cumsum(counts) - counts, counts)
        theirs = first[mine] + offset
        start = np.maximum(self.start_ns[mine], other.start_ns[theirs])
        return Intervals(start, np.minimum(self.end_ns[mine], other.end_ns[theirs]))

    def _covers(self, other: Intervals) -> bool:
        """Say whether this one interval holds all of `other`."""
        return bool(self.start_ns[0] <= other.start_ns[0] and self.end_ns[0] >= other.end_ns[-1])

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


NOWHERE = Intervals(_NONE, _NONE)


def union(start_ns: Ints, end_ns: Ints) -> Intervals:
    """Return the moments that are in any of the intervals, which may overlap and need no order."""
    start, end = _with_length(start_ns, end_ns)
    if not start.size:
        return NOWHERE
    if bool((start[1:] >= start[:-1]).all()):
        reach = np.maximum.accumulate(end)
        first = np.append(True, start[1:] > reach[:-1])
        return Intervals(start[first], reach[np.append(first[1:], True)])
    begins, ends = [], []
    for moments, opens, level in _swept(start, end):
        begins.append(moments[opens & (level == 1)])
        ends.append(moments[level == 0])
    return Intervals(np.concatenate(begins), np.concatenate(ends))


def depth_profile(start_ns: Ints, end_ns: Ints) -> dict[int, int]:
    """Return level -> ns: how long exactly so many of the intervals were open at once, level 0 left out."""
    start, end = _with_length(start_ns, end_ns)
    times = np.zeros(1, np.int64)
    reached, before = 0, None
    for moments, _, level in _swept(start, end):
        length = np.diff(moments, prepend=moments[0] if before is None else before)
        levels = np.append(reached, level[:-1])
        times = np.append(times, np.zeros(max(0, int(levels.max()) + 1 - times.size), np.int64))
        np.add.at(times, levels, length)
        reached, before = int(level[-1]), int(moments[-1])
    return {depth: time for depth, time in enumerate(times.tolist()) if depth and time}


def _with_length(start_ns: Ints, end_ns: Ints) -> tuple[Ints, Ints]:
    some = end_ns > start_ns
    return (start_ns, end_ns) if some.all() else (start_ns[some], end_ns[some])


def _swept(start: Ints, end: Ints) -> Iterator[tuple[Ints, Mask, Ints]]:
    """Yield the begins and ends in the order of time, some at once: moment, whether it is a begin, how many are open.

    Of one moment the begins come first, so that intervals that touch are never all closed between.
    """
    if not start.size:
        return
    origin = int(start.min())
    # One sort of one number is several times faster than a sort of places.
    keys = np.empty(2 * start.size, np.int64)
    np.subtract(start, origin, out=keys[: start.size])
    np.subtract(end, origin, out=keys[start.size :])
    keys <<= 1
    keys[start.size :] |= 1
    keys.sort()
    level = 0
    for begin in range(0, keys.size, CHUNK):
        part = keys[begin : begin + CHUNK]
        closes = part & 1
        levels = np.cumsum(1 - 2 * closes) + level
        level = int(levels[-1])
        yield (part >> 1) + origin, closes == 0, levels
