"""What a timeline shows at a glance: a strip of busy time and phases, phases by family, launches one after the other.

In: the tables of one capture. Out: `Activity`, small enough for a report whatever the size of the capture: arrays of a
fixed number of bins, and rows for the kernels that took most time. Times count from the first start on the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import Ints, Mask, distinct
from nsightkit.analysis.kernel_names import describe_kernel
from nsightkit.analysis.timeline.intervals import union
from nsightkit.analysis.work.operations import CaptureTables, Operations, read_calls, read_operations

BINS = 240
MOST_KERNELS = 24
MOST_POINTS = 160
MOST_DEVICES = 8
_CHAIN_FAMILIES = ("elementwise", "activation", "copy")


@dataclass(frozen=True, slots=True)
class DeviceStrip:
    """One device over time: `busy` has the share of each of `BINS` equal parts of the span in which it worked."""

    device_id: int
    busy_ns: int
    busy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LaunchSeries:
    """The launches of one kernel in the order of time."""

    kernel_name: str
    launch_count: int
    total_ns: int
    points: tuple[
        tuple[float, float, float, float], ...
    ]  # start, and least, median, most duration of a run of launches
    per_point: int  # launches behind one point
    edges: tuple[float, ...]  # of the histogram of durations, in ns
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Chains:
    """Runs of kernels on one stream that each write one output per input position: what could be one kernel."""

    chain_count: int
    launch_count: int  # in chains of two or more
    total_ns: int
    saved_ns: int  # all but the longest kernel of each chain: what fusing could save at most


@dataclass(frozen=True)
class Activity:
    """One capture at a glance."""

    capture_id: str
    span_ns: int
    strips: tuple[DeviceStrip, ...]
    series: tuple[LaunchSeries, ...]
    chains: Chains
    kernel_ns: int  # sum over all kernels


def read_activity(tables: CaptureTables) -> Activity | None:
    """Return the activity of a capture, None where nothing ran on a GPU."""
    work = read_operations(tables, read_calls(tables))
    if not work.size:
        return None
    origin = int(work.start_ns.min())
    span = max(1, int(work.end_ns.max()) - origin)
    devices = distinct(work.device)[:MOST_DEVICES]
    families = [describe_kernel(name or "").family for name in work.names]
    return Activity(
        tables.capture_id,
        span,
        tuple(_strip(work, device, origin, span) for device in devices),
        tuple(_series(work, origin)),
        _chains(work, families),
        int(work.duration_ns[work.is_kernel].sum()),
    )


def _strip(work: Operations, device: int, origin: int, span: int) -> DeviceStrip:
    mine = work.device == device
    busy = union(work.start_ns[mine], work.end_ns[mine])
    edges: Ints = (origin + np.linspace(0, span, BINS + 1)).astype(np.int64)
    length = np.maximum(np.diff(edges), 1)
    share = np.minimum(busy.within(edges[:-1], edges[1:]) / length, 1.0)
    return DeviceStrip(device, busy.total_ns, tuple(np.round(share, 3).tolist()))


def _series(work: Operations, origin: int) -> list[LaunchSeries]:
    kernel = np.flatnonzero(work.is_kernel & (work.name_code >= 0))
    code, duration = work.name_code[kernel], work.duration_ns[kernel]
    totals = np.zeros(len(work.names), np.int64)
    np.add.at(totals, code, duration)
    rows = []
    for name in np.argsort(-totals, kind="stable")[:MOST_KERNELS].tolist():
        mine = kernel[code == name]
        if mine.size > 1:
            mine = mine[np.argsort(work.start_ns[mine], kind="stable")]
            rows.append(_one_series(work.names[name], work.start_ns[mine] - origin, work.duration_ns[mine]))
    return rows


def _one_series(name: str, start: Ints, duration: Ints) -> LaunchSeries:
    per_point = -(-start.size // MOST_POINTS)
    points = []
    for begin in range(0, start.size, per_point):
        part = duration[begin : begin + per_point]
        points.append((float(start[begin]), float(part.min()), float(np.median(part)), float(part.max())))
    counts, edges = np.histogram(duration, bins=20)
    return LaunchSeries(
        name, int(start.size), int(duration.sum()), tuple(points), per_point, tuple(edges.tolist()),
        tuple(counts.tolist()),
    )  # fmt: skip


def _chains(work: Operations, families: list[str]) -> Chains:
    """Find runs of pointwise kernels; the tensors between them are not in a capture, so this is an upper bound."""
    pointwise = np.array([family in _CHAIN_FAMILIES for family in families] + [False])
    count = work.kernel_count  # kernels stand first
    start, stream, device = work.start_ns[:count], work.stream[:count], work.device[:count]
    order = np.lexsort((start, stream, device))
    fits: Mask = pointwise[work.name_code[order]]
    goes_on = fits.copy()
    goes_on[:1] = False
    goes_on[1:] &= fits[:-1]
    for lane in (stream, device):
        goes_on[1:] &= np.diff(lane[order]) == 0
    # Only members of chains are looked at further: the first of each is the one before a run of `goes_on`.
    member: Mask = goes_on | np.append(goes_on[1:], False)
    first = np.flatnonzero(~goes_on[member])
    if not first.size:
        return Chains(0, 0, 0, 0)
    duration = work.duration_ns[order[member]]
    total = int(duration.sum())
    return Chains(int(first.size), int(duration.size), total, total - int(np.maximum.reduceat(duration, first).sum()))
