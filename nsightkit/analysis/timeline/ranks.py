"""Ranks of one job side by side: who is slow, who waits in collectives, and how evenly each range is spread.

In: captures of the ranks, one by one, and their ranks where known. Out: `RankComparison`. A rank is one device of one
capture. Clocks of different hosts are never compared: only durations are. Collectives are matched by name and order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from nsightkit.analysis.arrays import Ints
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.timeline.timeline import DeviceTimeline, TimelineInputs, device_timelines, timeline_inputs
from nsightkit.analysis.work.operations import CaptureTables
from nsightkit.analysis.work.work_groups import work_by


@dataclass(frozen=True, slots=True)
class RankRow:
    """One rank: times in ns of its own span."""

    label: str
    rank: int | None
    capture_id: str
    device_id: int
    span_ns: int
    compute_ns: int
    compute_ratio: float | None  # by the median of all ranks
    communication_ns: int
    exposed_communication_ns: int
    wait_ns: int | None  # in matched collectives, beyond the time of the rank that was shortest in each; None if none
    idle_ns: int


@dataclass(frozen=True, slots=True)
class RangeSpread:
    """GPU time of one range on all ranks; a rank without it counts as 0."""

    name: str
    mean_ns: float
    min_ns: int
    median_ns: float
    max_ns: int
    imbalance: float | None  # largest by mean; 1 is even
    slowest: str
    rank_ns: dict[str, int]  # label -> GPU time


@dataclass(frozen=True, slots=True)
class RankComparison:
    """All ranks by number, ranges with the largest time lost to imbalance first, and what was matched."""

    rows: tuple[RankRow, ...]
    ranges: tuple[RangeSpread, ...]
    matched_count: int  # collectives that every rank ran, in the same number for each name
    unmatched_names: tuple[str, ...]

    @property
    def straggler(self) -> RankRow | None:
        """The rank that the others wait for: it waits least in collectives, or computes longest where none matched."""
        if len(self.rows) < 2:
            return None
        if self.matched_count:
            return min(self.rows, key=lambda row: row.wait_ns or 0)
        return max(self.rows, key=lambda row: row.compute_ns)


_Durations = dict[str, Ints]


def compare_ranks(captures: Iterable[CaptureTables], ranks: Mapping[str, int]) -> RankComparison:
    """Compare the ranks in `captures`; `ranks` is capture -> rank where it is known.

    Source: a collective ends on all ranks together, so a rank whose kernel runs longer than the shortest one has
    waited for it by the difference; the shortest belongs to the rank that came last.
    """
    rows: list[RankRow] = []
    collectives: list[_Durations] = []
    ranges: list[dict[str, int]] = []
    for tables in captures:
        inputs = timeline_inputs(tables)
        found = work_by([attribute(tables)], ("device", "range"))
        timelines = device_timelines(inputs)
        for timeline in timelines:
            rows.append(_row(timeline, ranks.get(tables.capture_id), len(timelines) > 1))
            collectives.append(_collectives(inputs, timeline.device_id))
            ranges.append({row.keys[1]: row.gpu_ns for row in found if row.keys[0] == str(timeline.device_id)})
    waits, matched, unmatched = _waits(collectives)
    median = float(np.median([row.compute_ns for row in rows])) if rows else 0.0
    whole = [
        replace(row, wait_ns=wait, compute_ratio=row.compute_ns / median if median else None)
        for row, wait in zip(rows, waits, strict=True)
    ]
    spreads = _spreads([row.label for row in rows], ranges)
    ordered = sorted(whole, key=lambda row: (row.rank is None, row.rank or 0, row.capture_id, row.device_id))
    return RankComparison(tuple(ordered), tuple(spreads), matched, unmatched)


def _row(timeline: DeviceTimeline, rank: int | None, several: bool) -> RankRow:
    name = timeline.capture_id if rank is None else f"rank {rank}"
    return RankRow(
        f"{name}, GPU {timeline.device_id}" if several else name, rank, timeline.capture_id, timeline.device_id,
        timeline.span_ns, timeline.compute_ns, None, timeline.communication_ns, timeline.exposed_communication_ns, None,
        timeline.idle_ns,
    )  # fmt: skip


def _collectives(inputs: TimelineInputs, device: int) -> _Durations:
    """Return name -> durations of its launches in the order of their starts."""
    work = inputs.operations
    mine = np.flatnonzero(inputs.is_collective & (work.device == device))
    mine = mine[np.argsort(work.start_ns[mine], kind="stable")]
    codes = work.name_code[mine]
    return {work.names[code]: work.duration_ns[mine[codes == code]] for code in np.unique(codes).tolist()}


def _waits(ranks: list[_Durations]) -> tuple[list[int | None], int, tuple[str, ...]]:
    """Return what each rank waited in matched collectives, how many matched, and names that did not."""
    names = list(dict.fromkeys(name for rank in ranks for name in rank))
    fits = [name for name in names if len({rank[name].size if name in rank else 0 for rank in ranks}) == 1]
    if len(ranks) < 2 or not fits:
        return [None] * len(ranks), 0, tuple(names)
    waits = np.zeros(len(ranks), np.int64)
    for name in fits:
        times = np.stack([rank[name] for rank in ranks])
        waits += (times - times.min(axis=0)).sum(axis=1)
    matched = sum(ranks[0][name].size for name in fits)
    return [int(wait) for wait in waits], int(matched), tuple(name for name in names if name not in fits)


def _spreads(labels: list[str], ranges: list[dict[str, int]]) -> list[RangeSpread]:
    names = dict.fromkeys(name for rank in ranges for name in rank)
    found = []
    for name in names:
        times = [rank.get(name, 0) for rank in ranges]
        mean, most = sum(times) / len(times), max(times)
        found.append(
            RangeSpread(
                name, mean, min(times), float(np.median(times)), most, most / mean if mean else None,
                labels[times.index(most)], dict(zip(labels, times, strict=True)),
            )
        )  # fmt: skip
    return sorted(found, key=lambda row: (row.mean_ns - row.max_ns, row.name))
