"""Ranks of one job side by side: who is slow, who waits in collectives, and how evenly each range is spread.

In: captures of the ranks, one by one, and their ranks where known. Out: `RankComparison`. A rank is one device of one
capture. Clocks of different hosts are never compared: only durations are. Collectives are matched by name and order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from nsightkit.analysis.arrays import Ints, Mask
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.ranges.range_projection import inside
from nsightkit.analysis.ranges.range_summary import RangeSearch, matching
from nsightkit.analysis.timeline.timeline import DeviceTimeline, TimelineInputs, device_timelines, timeline_inputs
from nsightkit.analysis.timeline.timeline_parts import range_windows
from nsightkit.analysis.work.operations import CaptureTables
from nsightkit.analysis.work.work_groups import WorkRow, work_by


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
    """GPU time of one range on all ranks, collectives left out; a rank without it counts as 0.

    With its collectives a range is even on all ranks, as whoever is early waits in them.
    """

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
_COLLECTIVES = "communication"  # the family


def compare_ranks(
    captures: Iterable[CaptureTables], ranks: Mapping[str, int], within: str | None = None
) -> RankComparison:
    """Compare the ranks in `captures`; `ranks` is capture -> rank where it is known.

    With `within` only while work of ranges of that name was on the GPU, and only the collectives that they launched.

    Raises:
        AnalysisError: no range of a capture has the name `within`.

    Source: a collective ends on all ranks together, so a rank whose kernel runs longer than the shortest one has
    waited for it by the difference; the shortest belongs to the rank that came last.
    """
    rows: list[RankRow] = []
    collectives: list[_Durations] = []
    ranges: list[dict[str, int]] = []
    search = RangeSearch(within)
    for tables in captures:
        inputs, attribution = timeline_inputs(tables), attribute(tables)
        found = work_by([attribution], ("device", "range", "family"), within) if search.look(attribution) else []
        timelines = device_timelines(inputs, range_windows(attribution, within) if within else None)
        chosen = inputs.is_collective & (inside(attribution, matching(attribution, within)) if within else True)
        for timeline in timelines:
            rows.append(_row(timeline, ranks.get(tables.capture_id), len(timelines) > 1))
            collectives.append(_collectives(inputs, chosen & (inputs.operations.device == timeline.device_id)))
            ranges.append(_range_times(row for row in found if row.keys[0] == str(timeline.device_id)))
    search.check()
    waits, matched, unmatched = _waits(collectives)
    median = float(np.median([row.compute_ns for row in rows])) if rows else 0.0
    whole = [
        replace(row, wait_ns=wait, compute_ratio=row.compute_ns / median if median else None)
        for row, wait in zip(rows, waits, strict=True)
    ]
    pairs = sorted(zip(whole, ranges, strict=True), key=lambda pair: _place(pair[0]))
    spreads = _spreads([row.label for row, _ in pairs], [times for _, times in pairs])
    return RankComparison(tuple(row for row, _ in pairs), tuple(spreads), matched, unmatched)


def _place(row: RankRow) -> tuple[bool, int, str, int]:
    """Return what ranks are ordered by: job-rank10 comes after job-rank2."""
    return (row.rank is None, row.rank or 0, row.capture_id, row.device_id)


def _range_times(rows: Iterable[WorkRow]) -> dict[str, int]:
    """Return range -> GPU time of one device without collectives."""
    times: dict[str, int] = {}
    for row in rows:
        if row.keys[2] != _COLLECTIVES:
            times[row.keys[1]] = times.get(row.keys[1], 0) + row.gpu_ns
    return times


def _row(timeline: DeviceTimeline, rank: int | None, several: bool) -> RankRow:
    name = timeline.capture_id if rank is None else f"rank {rank}"
    return RankRow(
        f"{name}, GPU {timeline.device_id}" if several else name, rank, timeline.capture_id, timeline.device_id,
        timeline.span_ns, timeline.compute_ns, None, timeline.communication_ns, timeline.exposed_communication_ns, None,
        timeline.idle_ns,
    )  # fmt: skip


def _collectives(inputs: TimelineInputs, chosen: Mask) -> _Durations:
    """Return name -> durations of its launches in the order of their starts."""
    work = inputs.operations
    mine = np.flatnonzero(chosen)
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
