"""What a GPU did over time: busy, idle and why, streams side by side, compute against communication, the launch queue.

In: the tables of one capture. Out: `DeviceTimeline`, one a device, with times in ns that add up: compute, exposed
communication, exposed copies and idle time by cause make the span. Busy time is the union over all streams and
processes of a device, so nothing that ran at once counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nsightkit.analysis.arrays import CHUNK, Codes, Ints, Mask, distinct
from nsightkit.analysis.kernel_names import describe_kernel
from nsightkit.analysis.timeline.gaps import (
    COLLECTIVE,
    COPY,
    EMPTY_QUEUE,
    HOST,
    SYNCHRONIZATION,
    CallLanes,
    Gaps,
    call_lanes,
    find_gaps,
)
from nsightkit.analysis.timeline.intervals import NOWHERE, Intervals, depth_profile, union
from nsightkit.analysis.work.operations import Calls, CaptureTables, Operations, read_calls, read_operations


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """How far the host ran ahead of the GPU. Depth counts work whose launch call has begun but that has not started."""

    launch_count: int  # pieces of work with a known launch call
    launch_ns: float | None  # median, from the begin of the launch call to the start of the work
    idle_launch_ns: float | None  # as launch_ns, for work that found the queue empty: what a launch costs at best
    mean_depth: float | None  # over the span or the windows
    max_depth: int | None
    early_count: int = 0  # pieces of work that start before their launch call began: the clocks disagree
    clock_error_ns: int | None = None  # by how much at least; then no other figure here is known, nor a cause of idle


@dataclass(frozen=True)
class DeviceTimeline:
    """One device over its span (first start to last end of its work) or over chosen windows of it; times in ns."""

    capture_id: str
    device_id: int
    start_ns: int
    span_ns: int
    busy_ns: int
    idle_ns: int
    compute_ns: int  # at least one kernel that is no collective
    exposed_communication_ns: int  # a collective, and no other kernel
    exposed_copy_ns: int  # copies and fills, and no kernel
    idle_by_cause: dict[str, int]
    communication_ns: int  # a collective, whatever else
    overlapped_communication_ns: int  # collective and other kernels at once
    kernel_count: int
    copy_count: int
    stream_count: int
    busy_streams_ns: dict[int, int]  # so many streams at once -> ns
    queue: QueueFigures
    gaps: Gaps = field(repr=False)

    @property
    def busy_share(self) -> float | None:
        """Share of the span in which the device worked."""
        return self.busy_ns / self.span_ns if self.span_ns else None

    @property
    def mean_streams(self) -> float | None:
        """Streams that worked at once, on average over the busy time."""
        total = sum(level * time for level, time in self.busy_streams_ns.items())
        return total / self.busy_ns if self.busy_ns else None

    @property
    def overlapped_share(self) -> float | None:
        """Share of the communication that ran beside other kernels; None without communication."""
        return self.overlapped_communication_ns / self.communication_ns if self.communication_ns else None


@dataclass(frozen=True)
class TimelineInputs:
    """One capture, read once: its work, its calls, and which work is communication."""

    capture_id: str
    operations: Operations
    calls: Calls
    lanes: CallLanes
    is_collective: Mask


def timeline_inputs(tables: CaptureTables) -> TimelineInputs:
    """Read what a timeline needs."""
    calls = read_calls(tables)
    operations = read_operations(tables, calls)
    collective = np.array([describe_kernel(name).family == "communication" for name in operations.names] + [False])
    flags = collective[operations.name_code] & operations.is_kernel
    return TimelineInputs(tables.capture_id, operations, calls, call_lanes(calls), flags)


def device_timelines(inputs: TimelineInputs, windows: Mapping[int, Intervals] | None = None) -> list[DeviceTimeline]:
    """Return the timeline of each device with GPU work, over its span or over its `windows`."""
    chosen = dict.fromkeys(distinct(inputs.operations.device)) if windows is None else windows
    return [_of_device(inputs, device, chosen.get(device, NOWHERE)) for device in distinct(inputs.operations.device)]


def _of_device(inputs: TimelineInputs, device: int, windows: Intervals | None) -> DeviceTimeline:
    mine = inputs.operations.device == device
    work, collective = inputs.operations.only(mine), inputs.is_collective[mine]
    whole = Intervals(work.start_ns.min(keepdims=True), work.end_ns.max(keepdims=True))
    scope = whole if windows is None else windows.overlap(whole)
    # One after the other, and the sets last: each of them needs much memory for a while.
    touched = scope.within(work.start_ns, work.end_ns) > 0
    streams, levels = _stream_use(work, inputs.calls, (scope, touched))
    gaps = find_gaps(work, inputs.calls, inputs.lanes, collective)
    early, error = early_starts(work, inputs.calls)
    gaps = gaps.of_unknown_cause() if error else gaps
    queue = _no_queue(work, (early, error)) if error else _queue(work, inputs.calls, gaps, scope)
    sets = _sets(work, collective, scope)
    kernels = sets.compute.overlap(sets.communication)
    memory = ~(work.is_kernel | work.is_graph)
    return DeviceTimeline(
        inputs.capture_id, device, int(scope.start_ns[0]) if scope.count else 0, scope.total_ns,
        sets.busy.total_ns, scope.total_ns - sets.busy.total_ns, sets.compute.total_ns,
        sets.communication.without(sets.compute).total_ns,
        sets.copies.without(sets.compute).without(sets.communication).total_ns,
        gaps.by_cause(scope), sets.communication.total_ns, kernels.total_ns,
        int((touched & work.is_kernel).sum()), int((touched & memory).sum()),
        streams, levels, queue, gaps,
    )  # fmt: skip


# A few early starts are the limit of the clocks' resolution; many mean that CPU and GPU times do not fit together.
_EARLY_SHARE = 0.01


def early_starts(work: Operations, calls: Calls) -> tuple[int, int | None]:
    """Return how much work starts before its launch call began, and by how many ns where it is too much to go on."""
    known = np.flatnonzero(work.call >= 0)
    ahead = calls.start_ns[work.call[known]] - work.start_ns[known]
    count = int((ahead > 0).sum())
    return count, int(ahead.max()) if count > _EARLY_SHARE * known.size else None


@dataclass(frozen=True)
class _Sets:
    busy: Intervals
    compute: Intervals
    communication: Intervals
    copies: Intervals


def _sets(work: Operations, collective: Mask, scope: Intervals) -> _Sets:
    busy = union(work.start_ns, work.end_ns).overlap(scope)

    def chosen(mask: Mask) -> Intervals:
        return busy if mask.all() else union(work.start_ns[mask], work.end_ns[mask]).overlap(scope)

    # A graph that was traced as a whole runs kernels that cannot be told from its copies.
    kernel = work.is_kernel | work.is_graph
    return _Sets(busy, chosen(kernel & ~collective), chosen(collective), chosen(~kernel))


def _streams(work: Operations, calls: Calls) -> Ints | Codes:
    """Return a number for the stream of each piece of work: stream 7 of two processes (MPS) is two streams."""
    if calls.lane_process.size < 2 or not (calls.lane_process != calls.lane_process[0]).any():
        return work.stream
    processes: Ints = np.unique(calls.lane_process, return_inverse=True)[1]
    owner: Ints = np.append(processes[calls.lane], 0)[work.call]
    lost = work.call < 0
    if lost.any() and not lost.all():
        # Work whose call is not known counts for a process that is known to use the stream.
        streams, first = np.unique(work.stream[~lost], return_index=True)
        place = np.minimum(np.searchsorted(streams, work.stream[lost]), streams.size - 1)
        owner[lost] = np.where(streams[place] == work.stream[lost], owner[~lost][first][place], 0)
    numbered: Ints = work.stream.astype(np.int64) * (int(processes.max()) + 1) + owner
    return numbered


def _stream_use(work: Operations, calls: Calls, part: tuple[Intervals, Mask]) -> tuple[int, dict[int, int]]:
    """Return how many streams had work in a scope, and for how long how many of them at once."""
    scope, touched = part
    stream = _streams(work, calls)
    masks = (stream == one for one in distinct(stream))
    used = [union(work.start_ns[mine], work.end_ns[mine]).overlap(scope) for mine in masks]
    starts, ends = np.concatenate([one.start_ns for one in used]), np.concatenate([one.end_ns for one in used])
    return len(distinct(stream[touched])), depth_profile(starts, ends)


def _no_queue(work: Operations, early: tuple[int, int | None]) -> QueueFigures:
    return QueueFigures(int((work.call >= 0).sum()), None, None, None, None, *early)


def _queue(work: Operations, calls: Calls, gaps: Gaps, scope: Intervals) -> QueueFigures:
    known = (work.call >= 0) & (scope.within(work.start_ns, work.end_ns) > 0)
    count = int(known.sum())
    if not count:
        return QueueFigures(0, None, None, None, None)
    # Mostly all of it is known; then nothing is copied.
    some = slice(None) if count == known.size else np.flatnonzero(known)
    call, started = work.call[some], work.start_ns[some]
    launch_ns = _median(started - calls.start_ns[call])
    late = gaps.next_operation[np.isin(gaps.cause, _LATE) & (scope.within(gaps.start_ns, gaps.end_ns) > 0)]
    idle_launch_ns = _median(work.start_ns[late] - calls.start_ns[work.call[late]])
    return QueueFigures(count, launch_ns, idle_launch_ns, *_depth(work, calls, scope))


def _depth(work: Operations, calls: Calls, scope: Intervals) -> tuple[float | None, int | None]:
    """Return how much work waits within `scope`, on average over its time and at most, whatever launched the work."""
    known = slice(None) if (work.call >= 0).all() else np.flatnonzero(work.call >= 0)
    begun = calls.start_ns[work.call[known]]
    started = np.maximum(work.start_ns[known], begun)
    # Neither figure asks which begin and which start belong to the same work.
    begun.sort()
    started.sort()
    # Most waits right after a begin of a call, or already where a window opens.
    opening = np.searchsorted(begun, scope.start_ns, side="right") - np.searchsorted(started, scope.start_ns)
    most, waited = int(opening.max(initial=0)), 0
    for first in range(0, begun.size, CHUNK):
        begins = begun[first : first + CHUNK]
        waited += int(scope.within(begins, started[first : first + CHUNK]).sum())
        depth = np.arange(first + 1, first + 1 + begins.size) - np.searchsorted(started, begins, side="right")
        most = max(most, int(depth[scope.within(begins, begins + 1) > 0].max(initial=0)))
    return waited / scope.total_ns if scope.total_ns else None, most


# Gaps whose next launch call came after the GPU had run dry.
_LATE = (SYNCHRONIZATION, COLLECTIVE, COPY, HOST, EMPTY_QUEUE)


def _median(values: Ints) -> float | None:
    return float(np.median(values)) if values.size else None
