"""A device's time as parts that add up, the longest gaps, and the windows in which a range's work ran.

In: timelines and an `Attribution`. Out: rows for tables and `Intervals`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import Ints, Mask, distinct
from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.ranges.range_projection import per_range, project
from nsightkit.analysis.ranges.range_summary import matching
from nsightkit.analysis.timeline.gaps import CAUSES
from nsightkit.analysis.timeline.intervals import Intervals, union
from nsightkit.analysis.timeline.timeline import DeviceTimeline


@dataclass(frozen=True, slots=True)
class TimePart:
    """One part of a device's span; parts of the same `level` under one `part_of` add up to it."""

    capture_id: str
    device_id: int
    part: str
    part_of: str | None
    level: int
    time_ns: int
    share: float | None  # of the span


@dataclass(frozen=True, slots=True)
class GapRow:
    """One gap in the work of a device."""

    capture_id: str
    device_id: int
    start_ns: int
    gap_ns: int
    cause: str
    next_name: str | None
    next_range: str | None  # path of the range that launched what came next
    last_name: str | None


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """How a device was kept busy: streams side by side, communication beside other kernels, launches, their queue."""

    capture_id: str
    device_id: int
    stream_count: int
    mean_streams: float | None  # at once, over the busy time
    communication_ns: int
    overlapped_share: float | None  # of the communication
    launch_ns: float | None  # median, from the begin of the launch call to the start of the work
    idle_launch_ns: float | None  # likewise, of work that found the queue empty
    mean_depth: float | None  # of the queue, over the span
    max_depth: int | None


def device_rows(timelines: Sequence[DeviceTimeline]) -> list[DeviceRow]:
    """Return how each device was kept busy."""
    return [
        DeviceRow(
            timeline.capture_id, timeline.device_id, timeline.stream_count, timeline.mean_streams,
            timeline.communication_ns, timeline.overlapped_share, timeline.queue.launch_ns,
            timeline.queue.idle_launch_ns, timeline.queue.mean_depth, timeline.queue.max_depth,
        )
        for timeline in timelines
    ]  # fmt: skip


def time_parts(timelines: Sequence[DeviceTimeline]) -> list[TimePart]:
    """Return the parts of each device's span: busy and idle, and what these are made of."""
    rows: list[TimePart] = []
    for timeline in timelines:
        parts = [
            ("span", None, 0, timeline.span_ns),
            ("busy", "span", 1, timeline.busy_ns),
            ("compute", "busy", 2, timeline.compute_ns),
            ("exposed communication", "busy", 2, timeline.exposed_communication_ns),
            ("exposed copies", "busy", 2, timeline.exposed_copy_ns),
            ("idle", "span", 1, timeline.idle_ns),
            *((f"idle: {cause}", "idle", 2, timeline.idle_by_cause[cause]) for cause in CAUSES),
        ]
        rows += [
            TimePart(timeline.capture_id, timeline.device_id, part, of, level, time,
                     time / timeline.span_ns if timeline.span_ns else None)
            for part, of, level, time in parts
        ]  # fmt: skip
    return rows


def longest_gaps(
    timeline: DeviceTimeline, attribution: Attribution, limit: int, windows: Mapping[int, Intervals] | None = None
) -> list[GapRow]:
    """Return the longest gaps of a device, all with a `limit` of 0; with `windows`, what of them lies inside."""
    gaps = timeline.gaps
    whole = gaps.end_ns - gaps.start_ns
    length = whole if windows is None else windows[timeline.device_id].within(gaps.start_ns, gaps.end_ns)
    order = np.argsort(-length, kind="stable")
    order = order[length[order] > 0]
    mine = np.flatnonzero(attribution.operations.device == timeline.device_id)
    rows = []
    for gap in order[: limit or order.size].tolist():
        following = int(mine[gaps.next_operation[gap]])
        rows.append(
            GapRow(
                timeline.capture_id, timeline.device_id, int(gaps.start_ns[gap]), int(length[gap]),
                CAUSES[gaps.cause[gap]], _name(attribution, following), range_path(attribution, following),
                _name(attribution, int(mine[gaps.last_operation[gap]])),
            )
        )  # fmt: skip
    return rows


def _name(attribution: Attribution, operation: int) -> str | None:
    code = int(attribution.operations.name_code[operation])
    return attribution.operations.names[code] if code >= 0 else None


def range_path(attribution: Attribution, operation: int) -> str | None:
    """Return the ranges around the launch of an operation, outermost first, joined by slashes; None for none."""
    node = int(attribution.node[operation])
    names: list[str] = []
    while node >= 0:
        names.append(str(attribution.spans.names[int(attribution.node_name[node])].as_py()))
        node = int(attribution.nodes.parent[node])
    return " / ".join(reversed(names)) or None


def range_windows(attribution: Attribution, pattern: str) -> dict[int, Intervals]:
    """Return for each device when work that ranges of a name launched was on it: first start to last end by instance.

    Nothing where the capture has no such range, which `range_summary.RangeSearch` tells.
    """
    named = matching(attribution, pattern)[attribution.spans.name_code[attribution.forest.row]]
    devices = distinct(attribution.operations.device)
    return {device: _windows(attribution, named, device if len(devices) > 1 else None) for device in devices}


def _windows(attribution: Attribution, named: Mask, device: int | None) -> Intervals:
    """Return the windows of the ranges that are `named`, by their work on one device, or on the only one."""
    mine = None if device is None else attribution.operations.device == device
    ranges = per_range(attribution, project(attribution, mine))
    position: Ints = np.flatnonzero(named & ranges.has_work)
    return union(ranges.first_ns[position], ranges.last_ns[position])
