"""How the kernels of a capture are spread: by bound, in number and in time, and metric by metric.

In: the `ClassifiedKernel` records, from which every count and mean is made, so that a label and the count above it
cannot differ. Out: `ClassSummary` and `Histogram` records.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nsightkit.analysis.results import BOUNDS, ClassifiedKernel, ClassSummary, Histogram
from nsightkit.tables import unit_of

OVERALL = "OVERALL"
BIN_COUNT = 10
# The metrics whose class means the DeepSeek-OCR kernel study prints.
MEAN_METRICS = (
    "sm_throughput_pct",
    "dram_throughput_pct",
    "memory_throughput_pct",
    "achieved_occupancy_pct",
    "l1_hit_rate_pct",
    "l2_hit_rate_pct",
    "duration_ns",
)


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    label: str


# The thirteen histograms of the DeepSeek-OCR kernel study, in its order.
HISTOGRAM_METRICS = (
    _Metric("sm_throughput_pct", "SM throughput"),
    _Metric("dram_throughput_pct", "DRAM throughput"),
    _Metric("memory_throughput_pct", "Memory throughput"),
    _Metric("dram_bytes_per_s", "DRAM rate"),
    _Metric("l1_hit_rate_pct", "L1 hit rate"),
    _Metric("l1_throughput_pct", "L1 throughput"),
    _Metric("l2_hit_rate_pct", "L2 hit rate"),
    _Metric("l2_throughput_pct", "L2 throughput"),
    _Metric("achieved_occupancy_pct", "Achieved occupancy"),
    _Metric("theoretical_occupancy_pct", "Theoretical occupancy"),
    _Metric("duration_ns", "Duration"),
    _Metric("memory_busy_pct", "Memory busy"),
    _Metric("max_bandwidth_pct", "Max bandwidth"),
)


def metric_value(kernel: ClassifiedKernel, metric: str) -> float | None:
    """Return a metric of one kernel; `duration_ns` is the mean per launch. What is no finite number is None."""
    value = kernel.duration_ns if metric == "duration_ns" else kernel.counters.get(metric)
    return value if value is not None and math.isfinite(value) else None


def summarize_classes(kernels: Sequence[ClassifiedKernel]) -> list[ClassSummary]:
    """Return one line per bound that occurs, in the order of `BOUNDS`, then one over all kernels.

    Means are unweighted over the kernels that have the metric, as the DeepSeek-OCR study has them. Time shares are of
    the time of all kernels whose duration is known.
    """
    if not kernels:
        return []
    whole = _total_ns(kernels)
    classes = [(bound, [k for k in kernels if k.verdict.bound == bound]) for bound in BOUNDS]
    lines = [(bound, members) for bound, members in classes if members] + [(OVERALL, list(kernels))]
    return [_class(bound, members, len(kernels), whole) for bound, members in lines]


def _total_ns(kernels: Sequence[ClassifiedKernel]) -> float | None:
    known = [kernel.total_ns for kernel in kernels if kernel.total_ns is not None]
    return math.fsum(known) if known else None


def _class(bound: str, members: Sequence[ClassifiedKernel], count: int, whole_ns: float | None) -> ClassSummary:
    total = _total_ns(members)
    return ClassSummary(
        bound=bound,
        kernel_count=len(members),
        count_share=len(members) / count,
        total_ns=total,
        time_share=total / whole_ns if total is not None and whole_ns else None,
        means={metric: _mean(members, metric) for metric in MEAN_METRICS},
    )


def _mean(kernels: Sequence[ClassifiedKernel], metric: str) -> float | None:
    values = [value for kernel in kernels if (value := metric_value(kernel, metric)) is not None]
    return math.fsum(values) / len(values) if values else None


def make_histograms(kernels: Sequence[ClassifiedKernel]) -> list[Histogram]:
    """Return the thirteen histograms of the DeepSeek-OCR study over `kernels`, each with ten bins of equal width.

    The bins reach from the smallest to the largest value; the last one includes its upper edge. A metric that no kernel
    has gives a histogram without bins.
    """
    return [_histogram(kernels, metric) for metric in HISTOGRAM_METRICS]


def _histogram(kernels: Sequence[ClassifiedKernel], metric: _Metric) -> Histogram:
    values = [metric_value(kernel, metric.name) for kernel in kernels]
    edges = _edges([value for value in values if value is not None])
    members: list[list[int]] = [[] for _ in edges[1:]]
    for index, value in enumerate(values):
        if value is not None:
            members[_bin(value, edges)].append(index)
    return Histogram(
        metric=metric.name,
        label=metric.label,
        unit=unit_of(metric.name),
        edges=edges,
        counts=tuple(map(len, members)),
        members=tuple(map(tuple, members)),
        missing_count=values.count(None),
    )


def _edges(values: Sequence[float]) -> tuple[float, ...]:
    if not values:
        return ()
    low, high = min(values), max(values)
    if high == low:
        # One value: a bin of any width holds it; half a unit each side, as is customary.
        low, high = low - 0.5, high + 0.5
    return (*(low + (high - low) * i / BIN_COUNT for i in range(BIN_COUNT)), high)


def _bin(value: float, edges: Sequence[float]) -> int:
    """Return the bin of `value`: from its lower edge up to, but not with, its upper edge; the last holds both."""
    return next((i for i in range(len(edges) - 2, 0, -1) if value >= edges[i]), 0)
