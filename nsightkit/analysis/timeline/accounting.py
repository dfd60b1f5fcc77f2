"""Sums that must come out: checks on a capture that say expected, found, and whether it holds.

In: timelines and attributions. Out: `Invariant` values. They hold by construction on sound captures; where one fails,
the capture is damaged or a definition is broken, and no share made from it may be trusted.

Sums of kernel time and the CPU time of one thread add up along the ranges; busy unions and projected spans do not, as
work of two ranges may run at once, and are not checked that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.ranges.range_projection import project
from nsightkit.analysis.ranges.range_summary import PathRow, RangeSummary, summarize_ranges
from nsightkit.analysis.timeline.timeline import DeviceTimeline
from nsightkit.analysis.work.operations import Operations

# Shares are sums of floating point numbers.
_SHARE_ERROR = 1e-9


@dataclass(frozen=True, slots=True)
class Invariant:
    """One sum that must come out."""

    name: str
    scope: str  # which capture, device or range
    expected: float
    found: float
    holds: bool
    unit: str = "ns"


def _equal(name: str, scope: str, expected: float, found: float) -> Invariant:
    return Invariant(name, scope, expected, found, expected == found)


def check_timeline(timeline: DeviceTimeline) -> list[Invariant]:
    """Check one device: busy and idle make the span, the parts make busy, the causes make idle."""
    scope = f"{timeline.capture_id}, device {timeline.device_id}"
    parts = timeline.compute_ns + timeline.exposed_communication_ns + timeline.exposed_copy_ns
    levels = sum(timeline.busy_streams_ns.values())
    either = timeline.overlapped_communication_ns + timeline.exposed_communication_ns
    return [
        _equal("busy + idle = span", scope, timeline.span_ns, timeline.busy_ns + timeline.idle_ns),
        _equal("compute + exposed communication + exposed copies = busy", scope, timeline.busy_ns, parts),
        _equal("gaps by cause = idle", scope, timeline.idle_ns, sum(timeline.idle_by_cause.values())),
        _equal("time by number of busy streams = busy", scope, timeline.busy_ns, levels),
        _equal("overlapped + exposed = communication", scope, timeline.communication_ns, either),
    ]


def check_work(capture_id: str, work: Operations) -> list[Invariant]:
    """Check the GPU work of one capture: nothing ends before it starts; what does counts as 0 ns everywhere here."""
    return [Invariant("work that ends before it starts", capture_id, 0, work.reversed_count, not work.reversed_count)]


def check_attribution(attribution: Attribution) -> list[Invariant]:
    """Check one capture: GPU time of ranges and the rest make the whole, and so at every level; CPU time nests."""
    nodes, scope = attribution.nodes, attribution.capture_id
    sums = project(attribution)
    outermost = int(sums.gpu_ns[nodes.parent < 0].sum())
    below = np.zeros(nodes.size, np.int64)
    inner = np.flatnonzero(nodes.parent >= 0)
    np.add.at(below, nodes.parent[inner], sums.gpu_ns[inner])
    return [
        _equal("outermost ranges + unattributed = GPU time", scope, attribution.total_ns,
               outermost + attribution.unattributed_ns),
        _equal("children + own = parent, GPU time, ranges that break it", scope, 0,
               int((below + sums.own_ns != sums.gpu_ns).sum())),
        _equal("children within parent, CPU time, ranges that break it", scope, 0, _overfull(attribution)),
    ]  # fmt: skip


def _overfull(attribution: Attribution) -> int:
    """Return how many ranges are shorter than the ranges inside them together; crossing threads are left out."""
    forest = attribution.forest
    length = forest.end_ns - forest.start_ns
    children = np.zeros(forest.size, np.int64)
    inner = np.flatnonzero(forest.parent >= 0)
    np.add.at(children, forest.parent[inner], length[inner])
    sound = ~forest.lane_crosses[forest.lane] if forest.size else np.zeros(0, np.bool_)
    return int((sound & (children > length)).sum())


def check_shares(summary: RangeSummary) -> list[Invariant]:
    """Check a summary: own times and the rest make one."""
    total = summary.totals.gpu_ns
    if not total:
        return []
    own = sum(row.own_ns / total for row in summary.rows if row.kind == "push_pop")
    found = own + summary.totals.unattributed_ns / total
    return [
        Invariant("shares of own time + unattributed = 1", "all ranges", 1.0, found, abs(found - 1) < _SHARE_ERROR, "1")
    ]


def check_paths(paths: Sequence[PathRow]) -> list[Invariant]:
    """Check each path that has inner ranges: the parts of a phase and its own time make the phase.

    For a decode range this is prefill + steps + overhead = total.
    """
    inner: dict[tuple[str, ...], int] = {}
    for row in paths:
        inner[row.path[:-1]] = inner.get(row.path[:-1], 0) + row.gpu_ns
    return [
        _equal("parts + own = range, GPU time", " / ".join(row.path), row.gpu_ns, inner[row.path] + row.own_ns)
        for row in paths
        if row.path in inner
    ]


def check_ranges(attribution: Attribution) -> list[Invariant]:
    """Check all that can be checked of the ranges of one capture, with names as they are."""
    summary = summarize_ranges([attribution])
    return [*check_attribution(attribution), *check_shares(summary), *check_paths(summary.paths)]


def broken(invariants: Iterable[Invariant]) -> list[Invariant]:
    """Return the invariants that do not hold."""
    return [invariant for invariant in invariants if not invariant.holds]
