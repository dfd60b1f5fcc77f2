"""Launches of one kernel as one row: sums of work, bytes and time, percentages weighted by time.

In: rows of the table kernel_counters. Out: `KernelGroup` values. Ratios are never averaged: what is a rate over the
whole group is made from its sums. A launch that the profiler could not measure is counted and left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nsightkit.tables import COUNTER_COLUMNS

Row = dict[str, Any]
Counters = dict[str, float | None]
COUNTERS = tuple(column.name for column in COUNTER_COLUMNS)
# A launch has its own amount of these; everything else is a rate, a percentage or a setting.
SUMMED = frozenset(
    name
    for name in COUNTERS
    if name in ("duration_ns", "sm_elapsed_cycles")
    or (name.endswith(("_flop", "_op", "_bytes")) and "shared_memory" not in name)
)
# Launches of one row that differ by more than this in time probably differ in their work.
SPREAD_LIMIT = 1.5


@dataclass(frozen=True, slots=True)
class KernelGroup:
    """The profiled launches of one capture, kernel name, grid and block.

    `counters` has every canonical metric: sums for work, bytes, cycles and `duration_ns`; else means weighted by
    duration. A metric that a measured launch lacks is None.
    """

    capture_id: str
    kernel_name: str
    grid: str
    block: str
    launch_count: int  # measured launches
    failed_count: int
    counters: Counters
    gpu_name: str | None = None
    compute_capability: str | None = None
    sm_count: int | None = None
    nvtx_path: str | None = None  # None also where the launches differ
    notes: tuple[str, ...] = ()

    @property
    def total_ns(self) -> float | None:
        """Time of all measured launches, None where it is not known."""
        return number(self.counters["duration_ns"])


def number(value: float | None) -> float | None:
    """Return `value` if it is a finite number that is not negative, else None."""
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def group_launches(rows: Iterable[Row]) -> list[KernelGroup]:
    """Return one group per capture, kernel name, grid and block, in the order of first appearance.

    Args:
        rows: dictionaries with columns of kernel_counters; a column that is absent counts as None.
    """
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault(group_key(row), []).append(row)
    return [_group(key, members) for key, members in groups.items()]


def group_key(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return capture, kernel name, grid and block of a row of kernel_counters: what launches of one group share."""
    return row["capture_id"], row["kernel_name"], _xyz(row, "grid"), _xyz(row, "block")


def _xyz(row: Mapping[str, Any], prefix: str) -> str:
    sizes = [row.get(f"{prefix}_{axis}") for axis in "xyz"]
    return "" if None in sizes else "×".join(map(str, sizes))


def _group(key: tuple[str, str, str, str], rows: Sequence[Row]) -> KernelGroup:
    measured = [row for row in rows if not row.get("failed")]
    return KernelGroup(
        *key,
        launch_count=len(measured),
        failed_count=len(rows) - len(measured),
        counters=_merged(measured),
        gpu_name=_agreed(rows, "gpu_name"),
        compute_capability=_agreed(rows, "compute_capability"),
        sm_count=_agreed(rows, "sm_count"),
        nvtx_path=_agreed(rows, "nvtx_path"),
        notes=_spread(measured),
    )


def _agreed(rows: Sequence[Row], name: str) -> Any:
    values = {row.get(name) for row in rows}
    return values.pop() if len(values) == 1 else None


def _merged(rows: Sequence[Row]) -> Counters:
    if len(rows) == 1:
        return {name: rows[0].get(name) for name in COUNTERS}
    durations = [number(row.get("duration_ns")) for row in rows]
    # Without their durations launches of one geometry count alike.
    weights = [1.0 if None in durations else float(duration or 0) for duration in durations]
    return {name: _over_launches(name, [row.get(name) for row in rows], weights) for name in COUNTERS}


def _over_launches(name: str, values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    if not values or any(value is None for value in values):
        return None
    known = [float(value) for value in values if value is not None]
    if name in SUMMED:
        return math.fsum(known)
    # Equal values stay exactly what the profiler printed.
    if len(set(known)) == 1 or not any(weights):
        return known[0]
    return math.fsum(map(float.__mul__, known, weights)) / math.fsum(weights)


def _spread(rows: Sequence[Row]) -> tuple[str, ...]:
    durations = [ns for row in rows if (ns := number(row.get("duration_ns")))]
    if len(durations) < 2 or max(durations) <= SPREAD_LIMIT * min(durations):
        return ()
    ratio = max(durations) / min(durations)
    return (f"its launches differ {ratio:.1f}-fold in time and may differ in work: the row is their sum",)
