"""Where kernels stood under their roofline before and after.

In: a `Comparison` and the GPU of each side. Out: `Move` values, for kernels whose work, traffic and time both sides
counted. A point is the mean launch: its work over its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nsightkit.analysis.compare.comparison import Comparison
from nsightkit.analysis.results import RooflinePoint
from nsightkit.analysis.roofs.peaks import Gpu
from nsightkit.analysis.roofs.roofline import place_kernel


@dataclass(frozen=True, slots=True)
class Move:
    """One kernel on both sides; `same_work` is False where grids or launch counts differ."""

    name: str
    base: RooflinePoint
    head: RooflinePoint
    difference_ns: float
    same_work: bool


def moved_points(comparison: Comparison, base_gpu: Gpu, head_gpu: Gpu) -> list[Move]:
    """Return the kernels that have a place on both sides, those with the largest difference first."""
    found = []
    for row in comparison.kernels:
        before = _point(row.name, row.base.counters, base_gpu)
        after = _point(row.name, row.head.counters, head_gpu)
        if before is not None and after is not None:
            found.append(Move(row.name, before, after, row.difference_ns, not row.flags))
    return found


def _point(name: str, counters: Mapping[str, float], gpu: Gpu) -> RooflinePoint | None:
    return place_kernel(name, counters, gpu).point if counters else None
