"""NVIDIA's own rules on each profiled kernel, with the speed-ups they estimate.

In: rows of the table rule_results and the classified kernels. Out: `Advice` by place of the kernel. A global speed-up
is of the launch and may be weighed by its share of the time; a local one is of a section and is shown as it is. None
are added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nsightkit.analysis.results import ClassifiedKernel

_SERIOUS = ("OPTIMIZATION", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True)
class Advice:
    """One rule on one kernel; of several launches the largest estimate counts."""

    rule: str
    title: str
    message: str
    kind: str
    speedup_kind: str | None  # GLOBAL or LOCAL
    estimated_speedup_pct: float | None
    launch_count: int  # launches on which the rule said so


def advice_by_kernel(
    results: Iterable[dict[str, Any]], launches: Iterable[dict[str, Any]], kernels: Sequence[ClassifiedKernel]
) -> dict[int, tuple[Advice, ...]]:
    """Return place in `kernels` -> what NVIDIA's rules say of it, the largest global estimate first.

    Args:
        results: rows of rule_results.
        launches: rows of kernel_counters, which tell the kernel of a launch.
        kernels: as `classify_kernels` gives them.
    """
    places = {(k.capture_id, k.kernel_name, k.grid, k.block): place for place, k in enumerate(kernels)}
    kernel_of = {(row["capture_id"], row["launch_index"]): places.get(_key(row)) for row in launches}
    found: dict[int, dict[tuple[str, str, str], list[dict[str, Any]]]] = {}
    for row in results:
        place = kernel_of.get((row["capture_id"], row["launch_index"]))
        if place is not None and row["kind"] in _SERIOUS and row["message"]:
            key = (row["rule"], row["title"] or "", row["speedup_kind"] or "")
            found.setdefault(place, {}).setdefault(key, []).append(row)
    return {place: tuple(sorted(map(_advice, groups.values()), key=_rank)) for place, groups in found.items()}


def _key(row: dict[str, Any]) -> tuple[str, str, str, str]:
    sizes = {prefix: [row.get(f"{prefix}_{axis}") for axis in "xyz"] for prefix in ("grid", "block")}
    grid, block = ("" if None in size else "×".join(map(str, size)) for size in sizes.values())
    return row["capture_id"], row["kernel_name"], grid, block


def _advice(rows: list[dict[str, Any]]) -> Advice:
    first = max(rows, key=lambda row: row["estimated_speedup_pct"] or 0.0)
    launches = len({row["launch_index"] for row in rows})
    return Advice(
        first["rule"], first["title"] or "", first["message"], first["kind"], first["speedup_kind"],
        first["estimated_speedup_pct"], launches,
    )  # fmt: skip


def _rank(advice: Advice) -> tuple[int, float]:
    order = {"GLOBAL": 0, "LOCAL": 1}
    return order.get(advice.speedup_kind or "", 2), -(advice.estimated_speedup_pct or 0.0)
