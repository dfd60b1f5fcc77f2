"""Repetitions of a range: is the first one cold, and how even are the rest.

In: an `Attribution`. Out: `Repetition`, one a name that occurs at least three times on a thread, in the order of time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import Ints
from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.ranges.range_names import normalized
from nsightkit.analysis.ranges.range_projection import per_range, project

FEWEST = 3


@dataclass(frozen=True, slots=True)
class Repetition:
    """Instances of one range name on one thread, by the time from first start to last end of their GPU work."""

    name: str
    thread_id: int
    instance_count: int
    first_ns: int
    steady_median_ns: float  # of all but the first
    steady_mean_ns: float
    steady_std_ns: float | None  # sample deviation; None for fewer than two
    cold_ratio: float | None  # first by steady median
    variation: float | None  # deviation by mean of the steady instances
    min_ns: int
    max_ns: int


def repetitions(attribution: Attribution, fewest: int = FEWEST) -> list[Repetition]:
    """Return the repeated ranges that launched GPU work, longest in all first."""
    if not attribution.forest.size:
        return []
    forest = attribution.forest
    ranges = per_range(attribution, project(attribution))
    of_name, labels = normalized(attribution.spans.names)
    code = of_name[attribution.spans.name_code[forest.row]]
    has = np.flatnonzero(ranges.has_work)
    keys = forest.lane[has] * (len(labels) + 1) + code[has]
    # Within a lane the forest is in the order of time, and the sort is stable.
    order = np.argsort(keys, kind="stable")
    groups = np.split(has[order], np.flatnonzero(np.diff(keys[order])) + 1) if has.size else []
    threads = attribution.spans.thread[forest.row]
    found = [
        _repetition(labels[code[group[0]]], int(threads[group[0]]), ranges.projected_ns[group])
        for group in groups
        if group.size >= fewest
    ]
    return sorted(found, key=lambda row: (-row.instance_count * row.steady_mean_ns, row.name))


def _repetition(name: str, thread: int, times: Ints) -> Repetition:
    steady = times[1:]
    mean, median = float(steady.mean()), float(np.median(steady))
    spread = float(steady.std(ddof=1)) if steady.size > 1 else None
    return Repetition(
        name, thread, int(times.size), int(times[0]), median, mean, spread, int(times[0]) / median if median else None,
        spread / mean if spread is not None and mean else None, int(times.min()), int(times.max()),
    )  # fmt: skip
