"""The roofline at every level of memory, for all precisions together or for one.

In: counters of one kernel and its GPU. Out: `RooflinePoint` values for DRAM, L2 and L1. L2 and L1 are ncu's
hierarchical definition (bytes that L2 returns to the crossbar, bytes that L1 writes back to registers), which is
smaller than all traffic of these caches; bulk copies (TMA) do not pass L1 and have no point there.

Source: SpeedOfLight_Hierarchical*RooflineChart, ncu 2025.3.1 section files; docs/method.md, "Levels".
"""

from collections.abc import Sequence

from nsightkit.analysis.grouping import number
from nsightkit.analysis.results import RooflinePoint
from nsightkit.analysis.roofs.peaks import DTYPES, LEVELS, Dtype, Gpu, Level, bandwidth_of, first_level, peak_of
from nsightkit.analysis.roofs.roofline import ABOVE_ROOF, NS, Counters, place_kernel

PRECISIONS = tuple(dtype.name for dtype in DTYPES)


def level_named(name: str) -> Level:
    """Return the level called `name`, in any case; raises KeyError where there is none."""
    return {level.name.casefold(): level for level in LEVELS}[name.casefold()]


def other_levels(kernel_name: str, counters: Counters, gpu: Gpu) -> tuple[RooflinePoint, ...]:
    """Return the points at the levels that do not judge the kernel, where their traffic and peak were collected."""
    others = [level for level in LEVELS if level is not first_level(gpu)]
    points = (place_kernel(kernel_name, counters, gpu, level).point for level in others)
    return tuple(point for point in points if point is not None)


def points_at(
    kernel_name: str, counters: Counters, gpu: Gpu, levels: Sequence[Level], precision: str | None = None
) -> list[RooflinePoint]:
    """Return the points of a kernel at `levels`; with `precision` (as tensor_bf16) only the work of that type counts.

    Args:
        kernel_name: goes into the points.
        counters: canonical metrics in base units, sums over the launches.
        gpu: whose data sheet stands in where the capture has no peaks.
        levels: of `peaks.LEVELS`.
        precision: one of `PRECISIONS`; None for all types that share the slowest pipe.
    """
    if precision is None:
        found = [place_kernel(kernel_name, counters, gpu, level).point for level in levels]
    else:
        dtype = next(dtype for dtype in DTYPES if dtype.name == precision)
        found = [_textbook(kernel_name, counters, gpu, (level, dtype)) for level in levels]
    return [point for point in found if point is not None]


def _textbook(kernel_name: str, counters: Counters, gpu: Gpu, chosen: tuple[Level, Dtype]) -> RooflinePoint | None:
    level, dtype = chosen
    duration, moved = number(counters.get("duration_ns")), number(counters.get(level.moved))
    work, bandwidth = number(counters.get(dtype.work)), bandwidth_of(counters, gpu, level)
    peak = peak_of(dtype, counters, gpu) if work else None
    if not duration or not moved or not work or bandwidth is None or peak is None:
        return None
    intensity, rate = work / moved, work / duration * NS
    roof = min(peak.low, intensity * bandwidth.low)
    flags = (f"{rate / roof:.2f} times the roof",) if rate > ABOVE_ROOF * roof else ()
    return RooflinePoint(
        kernel_name, dtype.label, level.name, work, moved, duration, intensity, rate, peak.low / bandwidth.low,
        peak.low, bandwidth.low, roof, rate / roof, f"compute: {peak.source}; {level.name}: {bandwidth.source}", flags,
    )  # fmt: skip
