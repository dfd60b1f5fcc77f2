"""What a profiled kernel weighs in the timeline: how often it ran there, and for how long.

In: rows of counter_targets, which tell the launches of ncu that stand for launches of the timeline. Out: `Weight`
values by classified kernel. ncu's own times are of another execution and are never used as weights.

Source: docs/method.md, "Capturing".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nsightkit.analysis.results import ClassifiedKernel

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Weight:
    """The launches of the timeline that one profiled kernel stands for."""

    launch_count: int
    total_ns: int
    share: float  # of the kernel time inside `range_name`, 0 to 1
    range_name: str | None  # None: the whole run
    match: str  # exact, or shape where the place within the step could not be told
    duration_ratio: float | None  # ncu ÷ nsys, the farthest from one
    flags: tuple[str, ...] = ()


def timeline_weights(
    targets: Iterable[Row], launches: Iterable[Row], kernels: Sequence[ClassifiedKernel]
) -> dict[int, Weight]:
    """Return place in `kernels` -> its weight in the timeline; a kernel that was joined to nothing has none.

    Args:
        targets: rows of counter_targets.
        launches: rows of kernel_counters, which tell the kernel of a launch.
        kernels: as `classify_kernels` gives them.
    """
    from nsightkit.analysis.advice import kernel_places

    place_of = kernel_places(launches, kernels)
    found: dict[int, list[Row]] = {}
    for row in targets:
        places = {place_of.get((row["capture_id"], index)) for index in json.loads(row["launch_indices"] or "[]")}
        # Launches of one target have one shape; where they do not, the join cannot be believed.
        if len(places) == 1 and (place := places.pop()) is not None:
            found.setdefault(place, []).append(row)
    return {place: _summed(rows) for place, rows in found.items()}


def _summed(rows: Sequence[Row]) -> Weight:
    ratios = [ratio for row in rows if (ratio := row["duration_ratio"])]
    flags = [flag for row in rows for flag in json.loads(row["flags"] or "[]")]
    return Weight(
        sum(row["launch_count"] for row in rows), sum(row["total_ns"] for row in rows),
        min(1.0, sum(row["range_share"] for row in rows)), rows[0]["nvtx_range"],
        "exact" if all(row["match"] == "exact" for row in rows) else "shape",
        max(ratios, key=lambda ratio: max(ratio, 1 / ratio), default=None), tuple(dict.fromkeys(flags)),
    )  # fmt: skip
