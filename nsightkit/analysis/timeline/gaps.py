"""Why a GPU did nothing: every gap in its work, with one cause.

In: the work of one device and the calls of its capture. Out: `Gaps`, arrays with one entry a gap. A gap ends with the
next piece of work; what the thread that launched this was doing since the GPU ran dry is the cause:

    queued           the call had begun before the GPU ran dry: launch latency, or waiting for another stream
    synchronization  the thread was waiting for the GPU when it ran dry, and could queue nothing
    collective       the same, and the last work was a collective
    copy             the thread was inside a blocking copy or fill when the GPU ran dry
    host             outside CUDA for at least HOST_NS and for most of the gap
    empty queue      none of these: the launch call came after the GPU had run dry
    unknown          the launching call is not in the capture

Source: the definition of an empty queue is that of the rule for launch-bound runs in docs/method.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from nsightkit.analysis.arrays import Codes, Ints, Mask, by_lane
from nsightkit.analysis.timeline.intervals import Intervals, union
from nsightkit.analysis.work.operations import Calls, Operations

QUEUED, SYNCHRONIZATION, COLLECTIVE, COPY, HOST, EMPTY_QUEUE, UNKNOWN = range(7)
CAUSES = ("queued", "synchronization", "collective", "copy", "host", "empty queue", "unknown")
# A thread that leaves CUDA alone for this long is loading data or computing, not preparing a launch.
HOST_NS = 1_000_000
HOST_SHARE = 0.5
_SYNCHRONIZING = re.compile(r"^(cuda|cu)(Device|Stream|Event|Ctx|Thread)Synchronize(_|$)")
_COPYING = re.compile(r"^(cuda|cu)Mem(cpy|set)")
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Gaps:
    """Gaps in the work of one device, in order; `next_operation` and `last_operation` are what is around them."""

    start_ns: Ints
    end_ns: Ints
    cause: Codes  # place in CAUSES
    next_operation: Codes
    last_operation: Codes

    def of_unknown_cause(self) -> Gaps:
        """Return the same gaps without their causes."""
        return replace(self, cause=np.full(self.cause.size, UNKNOWN, np.int32))

    def by_cause(self, windows: Intervals) -> dict[str, int]:
        """Return cause -> ns inside `windows`, every cause listed."""
        inside = windows.within(self.start_ns, self.end_ns)
        sums = np.zeros(len(CAUSES), np.int64)
        np.add.at(sums, self.cause, inside)
        return {cause: int(time) for cause, time in zip(CAUSES, sums, strict=True)}


@dataclass(frozen=True)
class CallLanes:
    """The calls of a capture by thread, laid out on one axis: thread number times `span_ns` plus time."""

    lane: Codes  # (calls,)
    origin_ns: int
    span_ns: int
    busy: Intervals  # inside any call
    waits: _Blocking
    copies: _Blocking

    def key(self, lane: Codes, moment_ns: Ints) -> Ints:
        """Return moments on the axis."""
        return lane.astype(np.int64) * self.span_ns + np.clip(moment_ns - self.origin_ns, 0, self.span_ns - 1)


@dataclass(frozen=True)
class _Blocking:
    """Calls in which a thread waits, by place on the axis of `CallLanes`."""

    start_key: Ints
    end_key: Ints

    def pending(self, lane_key: Ints, key: Ints) -> Mask:
        """Return where such a call of the lane had begun before `key` and had not ended by then."""
        if not self.start_key.size:
            return np.zeros(key.size, np.bool_)
        place = np.searchsorted(self.start_key, key, side="left") - 1
        found = np.maximum(place, 0)
        return (place >= 0) & (self.start_key[found] >= lane_key) & (self.end_key[found] >= key)


def call_lanes(calls: Calls) -> CallLanes:
    """Lay out the calls of a capture by thread."""
    lane = calls.lane
    origin = int(calls.start_ns.min()) if calls.start_ns.size else 0
    span = int(calls.end_ns.max() - origin) + 2 if calls.start_ns.size else 2
    busy = Intervals(np.empty(lane.size, np.int64), np.empty(lane.size, np.int64))
    rows, bounds = by_lane(lane)
    count = 0
    for number in range(bounds.size - 1):
        mine = rows[bounds[number] : bounds[number + 1]]
        found = union(calls.start_ns[mine], calls.end_ns[mine])
        busy.start_ns[count : count + found.count] = found.start_ns + (number * span - origin)
        busy.end_ns[count : count + found.count] = found.end_ns + (number * span - origin)
        count += found.count
    names = calls.names.to_pylist()
    waits, copies = (
        _blocking(calls, np.array([bool(kind.match(name or "")) for name in names] + [False]), (origin, span))
        for kind in (_SYNCHRONIZING, _COPYING)
    )
    return CallLanes(lane, origin, span, Intervals(busy.start_ns[:count], busy.end_ns[:count]), waits, copies)


def _blocking(calls: Calls, chosen: Mask, axis: tuple[int, int]) -> _Blocking:
    """Lay out the calls whose name is `chosen`, on the axis with that origin and width of a lane."""
    rows = np.flatnonzero(chosen[calls.name_code])
    lane = calls.lane[rows].astype(np.int64) * axis[1] - axis[0]
    start, end = lane + calls.start_ns[rows], lane + calls.end_ns[rows]
    order = np.argsort(start, kind="stable")
    begins, ends = start[order], end[order]
    # A driver call inside a runtime call must not hide that the outer one is still open; lanes are apart by more.
    return _Blocking(begins, np.maximum.accumulate(ends) if ends.size else ends)


def find_gaps(operations: Operations, calls: Calls, lanes: CallLanes, is_collective: Mask) -> Gaps:
    """Return the gaps of one device, whose work is `operations`, each with its cause.

    Args:
        operations: all GPU work of the device.
        calls: the calls of the capture.
        lanes: the same by thread.
        is_collective: which of `operations` are collectives.
    """
    order = np.argsort(operations.start_ns, kind="stable")
    start, end = operations.start_ns[order], operations.end_ns[order]
    reach = np.maximum.accumulate(end)
    opens = np.flatnonzero(start[1:] > reach[:-1]) + 1
    # The work that ended last before the gap: the latest one that raised the reach.
    raising = np.flatnonzero(np.concatenate([[True], end[1:] > reach[:-1]])) if order.size else np.zeros(0, np.int64)
    last = order[raising[np.searchsorted(raising, opens, side="left") - 1]] if opens.size else opens
    following: Codes = order[opens].astype(np.int32)
    previous: Codes = last.astype(np.int32)
    gaps = (reach[opens - 1], start[opens])
    del order, start, end, reach, opens, raising, last  # of 5M launches they would be 200 MB beside what follows
    cause = _causes(gaps, operations.call[following], (calls, lanes), is_collective[previous])
    return Gaps(gaps[0], gaps[1], cause, following, previous)


def _causes(gaps: tuple[Ints, Ints], call: Codes, where: tuple[Calls, CallLanes], after_collective: Mask) -> Codes:
    begin, end = gaps
    cause = np.full(begin.size, UNKNOWN, np.int32)
    known = np.flatnonzero(call >= 0)
    # What is made on the way would be 600 MB for five million gaps at once.
    for first in range(0, known.size, _BLOCK):
        some = known[first : first + _BLOCK]
        cause[some] = _known_causes((begin[some], end[some]), call[some], where, after_collective[some])
    return cause


def _known_causes(
    gaps: tuple[Ints, Ints], call: Codes, where: tuple[Calls, CallLanes], after_collective: Mask
) -> Codes:
    (calls, lanes), (begin, end) = where, gaps
    launched, lane = calls.start_ns[call], lanes.lane[call]
    dry, launch = lanes.key(lane, begin), lanes.key(lane, np.maximum(launched, begin))
    lane_key = lane.astype(np.int64) * lanes.span_ns
    outside = (launch - dry) - lanes.busy.within(dry, launch)
    waited = lanes.waits.pending(lane_key, dry)
    rules = (
        (launched < begin, QUEUED),
        ((outside >= HOST_NS) & (outside >= HOST_SHARE * (end - begin)), HOST),
        (waited & after_collective, COLLECTIVE),
        (waited, SYNCHRONIZATION),
        (lanes.copies.pending(lane_key, dry), COPY),
    )
    return np.select([rule for rule, _ in rules], [np.int32(name) for _, name in rules], np.int32(EMPTY_QUEUE))
