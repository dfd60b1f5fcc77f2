"""Why the warps of a kernel waited: reasons by their share of the warps that a scheduler held.

In: rows of warp_stalls and kernel_counters. Out: `Stall` values by classified kernel, the largest first. The samples of
the launches of a kernel are weighted by their duration.

Source: WarpStateStats, "Warp State", of the Nsight Compute documentation, "Metrics guide, warp stall reasons".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nsightkit.analysis.results import ClassifiedKernel

Row = Mapping[str, Any]
# What the states mean; the rest is called by ncu's own word.
MEANINGS = {
    "barrier": "waiting at a barrier of the block",
    "branch_resolving": "waiting for a branch target",
    "dispatch_stall": "waiting for the dispatcher",
    "drain": "waiting for stores to drain at exit",
    "gmma": "waiting for the tensor core (warp group)",
    "imc_miss": "waiting for a constant",
    "lg_throttle": "queue of local and global memory full",
    "long_scoreboard": "waiting for global or local memory",
    "math_pipe_throttle": "waiting for a busy arithmetic pipe",
    "membar": "waiting at a memory barrier",
    "mio_throttle": "queue of shared memory and special functions full",
    "no_instruction": "waiting for an instruction to be fetched",
    "not_selected": "ready, another warp was chosen",
    "selected": "issuing",
    "short_scoreboard": "waiting for shared memory or special functions",
    "sleeping": "sleeping",
    "tex_throttle": "queue of textures full",
    "wait": "waiting a fixed number of cycles",
}


@dataclass(frozen=True, slots=True)
class Stall:
    """One state of the warps of a kernel; the shares of all states of a kernel add up to one."""

    reason: str  # ncu's word
    share: float  # of the warps that a scheduler held, 0 to 1
    warps_per_issue: float


def stalls_by_kernel(
    rows: Iterable[Row], launches: Iterable[Row], kernels: Sequence[ClassifiedKernel]
) -> dict[int, tuple[Stall, ...]]:
    """Return place in `kernels` -> states of its warps, the largest share first.

    Args:
        rows: of warp_stalls.
        launches: rows of kernel_counters, which tell the kernel and the duration of a launch.
        kernels: as `classify_kernels` gives them.
    """
    from nsightkit.analysis.advice import kernel_places

    places = kernel_places(launches := list(launches), kernels)
    durations = {(row["capture_id"], row["launch_index"]): row.get("duration_ns") or 0.0 for row in launches}
    sums: dict[int, dict[str, float]] = {}
    weights: dict[int, dict[Any, float]] = {}
    for row in rows:
        launch = row["capture_id"], row["launch_index"]
        place, weight = places.get(launch), durations.get(launch, 0.0)
        if place is not None and weight > 0:
            reasons = sums.setdefault(place, {})
            reasons[row["reason"]] = reasons.get(row["reason"], 0.0) + weight * row["warps_per_issue"]
            weights.setdefault(place, {})[launch] = weight
    return {place: _stalls(reasons, sum(weights[place].values())) for place, reasons in sums.items()}


def _stalls(reasons: Mapping[str, float], weight: float) -> tuple[Stall, ...]:
    whole = sum(reasons.values())
    found = [Stall(name, value / whole, value / weight) for name, value in reasons.items()]
    return tuple(sorted(found, key=lambda stall: -stall.share))
