"""Joins what ncu measured with what the timeline weighs.

In: a `TargetPlan`, and the launches that ncu profiled. Out: for each target the profiled launches that stand for it,
how sure that is, and the ratio of their durations. The two tools saw different executions: ncu gives work and time of a
launch under its own clocks, the timeline only says how often it ran and what share that was. A launch that was profiled
outside the range is never joined.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from nsightkit.analysis.counters.targets import Shape, Target, TargetPlan, TimedLaunch, common_name
from nsightkit.analysis.ranges.range_names import normal_name

# Source: docs/method.md, "Capturing": above this ratio of durations the clocks or caches of ncu change the picture.
MOST_RATIO = 1.2


@dataclass(frozen=True, slots=True)
class ProfiledLaunch:
    """One launch as ncu profiled it; `nvtx_path` is None where ncu did not record ranges."""

    launch_index: int
    shape: Shape
    nvtx_names: tuple[str, ...] | None
    duration_ns: float | None
    failed: bool


@dataclass(frozen=True, slots=True)
class JoinedTarget:
    """A target with the launches that stand for it.

    `match` is exact (shape and place within the step), shape (the shape has one mode, places could not be told),
    ambiguous (the shape has several modes and places could not be told: not joined) or none.
    """

    target: Target
    match: str
    launch_indices: tuple[int, ...]
    ncu_mean_ns: float | None
    nsys_mean_ns: float | None  # of the same launches of the timeline where they are known, else of all of the target
    duration_ratio: float | None  # ncu ÷ nsys
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Join:
    """All targets in the order of the plan, and what was left out."""

    rows: tuple[JoinedTarget, ...]
    joined_share: float  # of the range's kernel time
    aligned: bool  # whether the launches came in the order of the timeline
    notes: tuple[str, ...] = field(default=())


def profiled_launches(rows: Sequence[Mapping[str, Any]]) -> list[ProfiledLaunch]:
    """Return rows of kernel_counters as launches, in the order in which ncu saw them."""
    return [_profiled(row) for row in sorted(rows, key=lambda row: int(row["launch_index"]))]


def _profiled(row: Mapping[str, Any]) -> ProfiledLaunch:
    path = row.get("nvtx_path")
    # domain@range: only the default domain stands in the key, as the two tools nest domains differently.
    names = None if path is None else tuple(name for name in path.split("/") if "@" not in name)
    shared = row.get("dynamic_shared_memory_bytes")
    shape = Shape(
        common_name(row["kernel_name"]), _triple(row, "grid"), _triple(row, "block"),
        None if shared is None else int(shared), _cluster(row), "/".join(map(normal_name, names or ())),
    )  # fmt: skip
    return ProfiledLaunch(int(row["launch_index"]), shape, names, row.get("duration_ns"), bool(row.get("failed")))


def _cluster(row: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Return the cluster's size; None where ncu did not collect it."""
    return None if row.get("cluster_x") is None else _triple(row, "cluster")


def _triple(row: Mapping[str, Any], what: str) -> tuple[int, int, int]:
    x, y, z = (row.get(f"{what}_{axis}") for axis in "xyz")
    return (x or 1, y or 1, z or 1)


def join_counters(plan: TargetPlan, profiled: Sequence[ProfiledLaunch]) -> Join:
    """Join the profiled launches with the targets of `plan`."""
    inside = [item for item in profiled if _is_inside(item, plan.range_name)]
    names = {target.shape.name for target in plan.targets}
    wanted = [item for item in inside if item.shape.name in names]
    expected = plan.expected[: len(wanted)] if plan.launch_limit else plan.expected
    aligned = len(wanted) == len(expected) and all(
        mine.shape.agrees(its.shape) for mine, its in zip(expected, wanted, strict=True)
    )
    pairs: list[tuple[ProfiledLaunch, TimedLaunch | None]]
    pairs = list(zip(wanted, expected, strict=True)) if aligned else [(item, None) for item in wanted]
    by_shape: dict[Shape, list[tuple[ProfiledLaunch, TimedLaunch | None]]] = defaultdict(list)
    for item, timed in pairs:
        by_shape[item.shape].append((item, timed))
    rows = tuple(_joined(target, _of_shape(target, by_shape)) for target in plan.targets)
    share = sum(row.target.share for row in rows if row.launch_indices)
    outside = len(profiled) - len(inside)
    return Join(rows, share, aligned, tuple(_notes(outside, aligned, expected, wanted)))


def _is_inside(item: ProfiledLaunch, range_name: str | None) -> bool:
    return range_name is None or (item.nvtx_names is not None and range_name in item.nvtx_names)


def _of_shape(
    target: Target, by_shape: Mapping[Shape, list[tuple[ProfiledLaunch, TimedLaunch | None]]]
) -> list[tuple[ProfiledLaunch, TimedLaunch | None]]:
    return [pair for shape, pairs in by_shape.items() if target.shape.agrees(shape) for pair in pairs]


def _joined(target: Target, pairs: Sequence[tuple[ProfiledLaunch, TimedLaunch | None]]) -> JoinedTarget:
    if not pairs:
        return JoinedTarget(target, "none", (), None, None, None, ("ncu profiled no launch of it",))
    placed = [(item, timed) for item, timed in pairs if timed is not None]
    if placed:
        chosen = [(item, timed) for item, timed in placed if timed.place in target.places]
        return _row(target, "exact" if chosen else "none", [p for p, _ in chosen], [t.duration_ns for _, t in chosen])
    if target.mode_count > 1:
        flag = f"its launches fall into {target.mode_count} modes, and ncu's could not be told apart"
        return JoinedTarget(target, "ambiguous", (), None, None, None, (flag,))
    return _row(target, "shape", [item for item, _ in pairs], [target.mean_ns])


def _row(target: Target, match: str, items: Sequence[ProfiledLaunch], nsys_ns: Sequence[float]) -> JoinedTarget:
    measured = [item.duration_ns for item in items if not item.failed and item.duration_ns]
    ncu_mean = fmean(measured) if measured else None
    nsys_mean = fmean(nsys_ns) if nsys_ns else None
    ratio = ncu_mean / nsys_mean if ncu_mean and nsys_mean else None
    flags = []
    if ratio is not None and ratio > MOST_RATIO:
        flags.append(f"{ratio:.2f} times as long under ncu: locked clocks, emptied caches")
    elif ratio is not None and ratio < 1 / MOST_RATIO:
        flags.append(f"{ratio:.2f} times as long under ncu: other clocks, or other work")
    if measured and max(measured) > 2 * median(measured):
        flags.append(f"ncu's durations spread from {min(measured):.0f} to {max(measured):.0f} ns")
    if len(measured) < len(items):
        flags.append(f"{len(items) - len(measured)} of {len(items)} launches could not be measured")
    indices = tuple(item.launch_index for item in items)
    return JoinedTarget(target, match, indices, ncu_mean, nsys_mean, ratio, tuple(flags))


def _notes(outside: int, aligned: bool, expected: Sequence[TimedLaunch], inside: Sequence[ProfiledLaunch]) -> list[str]:
    notes = []
    if outside:
        notes.append(f"{outside} launches were profiled outside the range and are not joined to it")
    if not aligned and inside:
        notes.append(
            f"ncu saw {len(inside)} launches inside the range where the timeline has {len(expected)}, or in another "
            "order: places within the step could not be told"
        )
    return notes
