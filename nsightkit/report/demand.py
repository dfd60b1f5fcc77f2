"""What the workload asks of a chip: bandwidth, caches, GEMV, fusion, precision, parallelism, as figures.

In: a `Context`. Out: one table, whose rows name what they are a share of and how sure they are, and what the capture
cannot say. Rates are sums of bytes over sums of time; percentages of a profiler are weighted by time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nsightkit.analysis.results import ClassifiedKernel
from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Cell, Column, DataTable
from nsightkit.report.context import BOUND_WORDS, Context

_COLUMNS = (
    Column("topic", "Asks for"),
    Column("figure", "Figure"),
    Column("value", "Value", "", "number"),
    Column("scope", "Of"),
    Column("confidence", "Confidence"),
)
_POINTWISE = ("elementwise", "activation", "copy", "cat", "layout")
_PERCENTAGES = (
    ("bandwidth", "dram_throughput_pct", "DRAM throughput of its peak, weighted by time"),
    ("caches", "l2_hit_rate_pct", "L2 hit rate, weighted by time"),
    ("caches", "l1_hit_rate_pct", "L1 hit rate, weighted by time"),
    ("parallelism", "achieved_occupancy_pct", "Achieved occupancy, weighted by time"),
    ("arithmetic", "tensor_pipe_pct", "Tensor pipe active, weighted by time"),
)
_TIMED = ("high", "all launches of the capture were timed")
_NAMED = ("medium", "all launches were timed; what a kernel does is taken from its name")
_MOST_OF_TIME = 0.8
# Half of a peak that a kernel can reach.
_BUSY_PCT = 60.0
Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class _Scope:
    """What rows of one source are of, and how sure they are."""

    words: str
    sure: tuple[str, str]

    def row(self, topic: str, label: str, value: float, unit: str) -> Row:
        """Return one row."""
        level, reason = self.sure
        return Cell(topic), Cell(label), blocks.number(value, unit), Cell(self.words), Cell(level, reason)


def table(context: Context) -> DataTable | None:
    """Return the table, None where nothing can be said."""
    rows = [*_of_timeline(context), *_of_waiting(context), *_of_counters(context)]
    if not rows:
        return None
    caption = (
        "For those who design chips or choose them: what this workload asks of the hardware, as measured here. "
        f"No advice follows from one workload alone. Not said: {_not_said(context)}."
    )
    order = ("bandwidth", "caches", "GEMV", "fusion", "precision", "arithmetic", "parallelism", "links")
    ranked = sorted(rows, key=lambda row: order.index(row[0].text))
    return DataTable("demand", "What the workload asks of the hardware", _COLUMNS, tuple(ranked), caption)


def _not_said(context: Context) -> str:
    absent = ["power and energy, which no capture here measures"]
    if not context.analysis.top_kernels:
        absent.append("GEMV, fusion and launches, which need a timeline")
    if not context.analysis.kernels:
        absent.append("caches, precision and occupancy, which need counters")
    return "; ".join(absent)


def _of_timeline(context: Context) -> list[Row]:
    top = context.analysis.top_kernels
    total = sum(kernel.total_ns for kernel in top)
    if not total:
        return []
    launches = sum(kernel.launch_count for kernel in top)
    shares = {
        "Matrix times vector (GEMV)": ("GEMV", ("GEMV",)),
        "Matrix times matrix (GEMM, convolution)": ("arithmetic", ("GEMM", "convolution")),
        "Attention": ("arithmetic", ("attention",)),
        "Pointwise work, copies and layout": ("fusion", _POINTWISE),
        "Communication between GPUs": ("links", ("communication",)),
    }
    named = _Scope(f"kernel time, {context.timeline_scope}", _NAMED)
    timed = _Scope(blocks.counted(launches, "launch", "launches"), _TIMED)
    rows = [
        named.row(topic, name, sum(k.total_ns for k in top if k.family in families) / total, "1")
        for name, (topic, families) in shares.items()
        if any(k.family in families for k in top)
    ]
    rows.append(timed.row("fusion", "Mean duration of a launch", total / launches, "ns"))
    if context.info.tokens:
        rows.append(timed.row("fusion", "Launches per token", launches / context.info.tokens, "count"))
    return rows


def _of_waiting(context: Context) -> list[Row]:
    figures = context.analysis.story.figures if context.analysis.story else None
    if figures is None or not figures.alone("COMMUNICATION"):
        return []
    scope = _Scope(f"span on the GPU, {context.timeline_scope}", _TIMED)
    return [scope.row("links", "Communication while nothing computes", figures.alone("COMMUNICATION"), "1")]


def _of_counters(context: Context) -> list[Row]:
    timed = [kernel for kernel in context.analysis.kernels if kernel.total_ns]
    if not timed:
        return []
    scope = _Scope(f"profiled GPU time, {context.counter_scope}", _sure(context, timed))
    rows = [
        scope.row("bandwidth" if c.bound == "MEMORY" else "parallelism" if c.bound == "LATENCY" else "arithmetic",
                  f"Time in {BOUND_WORDS[c.bound]} kernels", c.time_share, "1")
        for c in context.analysis.classes
        if c.bound not in ("OVERALL", "UNKNOWN") and c.time_share
    ]  # fmt: skip
    moved = [k for k in timed if k.counters.get("dram_bytes") is not None]
    if moved:
        time = math.fsum(k.total_ns or 0.0 for k in moved)
        total = math.fsum(k.counters["dram_bytes"] or 0.0 for k in moved)
        rows.append(scope.row("bandwidth", "DRAM traffic over time", total / time * 1e9, "byte/s"))
    for topic, name, label in _PERCENTAGES:
        value = _weighted(timed, name)
        if value is not None:
            rows.append(scope.row(topic, label, value, "%"))
    rows += _parts(timed, scope)
    return rows + _precisions(context, scope)


def _sure(context: Context, kernels: list[ClassifiedKernel]) -> tuple[str, str]:
    """Say how far the profiled launches stand for the run."""
    launches = sum(kernel.launch_count for kernel in kernels)
    weights = context.analysis.story.weights.values() if context.analysis.story else ()
    if weights:
        share = min(1.0, sum(weight.share for weight in weights))
        return (
            "medium" if share >= _MOST_OF_TIME else "low",
            f"the profiled launches stand for {fmt.share(share)} of the timeline's kernel time",
        )
    if context.analysis.top_kernels:
        matched = [timed for kernel in kernels if (timed := context.timeline_of.get(kernel.kernel_name))]
        share = min(1.0, sum(kernel.share for kernel in dict.fromkeys(matched)))
        return "low", (
            f"{fmt.share(share)} of the timeline's kernel time bears the name of a profiled kernel; which of its "
            "launches was profiled is not known"
        )
    return (
        "low",
        f"{blocks.counted(launches, 'profiled launch', 'profiled launches')}: which part of a run is not known",
    )


def _parts(kernels: list[ClassifiedKernel], scope: _Scope) -> list[Row]:
    """Return shares of time in kernels that pass a threshold of one counter."""
    tests: tuple[tuple[str, str, str, Callable[[float], bool]], ...] = (
        ("bandwidth", f"Time in kernels at {_BUSY_PCT:.0f} % or more of DRAM's peak", "dram_throughput_pct",
         lambda value: value >= _BUSY_PCT),
        ("parallelism", "Time in launches of less than one wave of blocks", "waves_per_sm", lambda value: value < 1),
    )  # fmt: skip
    rows = []
    for topic, label, name, passes in tests:
        known = [(v, k.total_ns or 0.0) for k in kernels if (v := k.counters.get(name)) is not None]
        whole = math.fsum(time for _, time in known)
        if whole:
            share = math.fsum(time for value, time in known if passes(value)) / whole
            rows.append(scope.row(topic, label, share, "1"))
    return rows


def _weighted(kernels: list[ClassifiedKernel], name: str) -> float | None:
    known = [(v, k.total_ns or 0.0) for k in kernels if (v := k.counters.get(name)) is not None and 0 <= v <= 100]
    whole = math.fsum(time for _, time in known)
    return math.fsum(value * time for value, time in known) / whole if whole else None


def _precisions(context: Context, scope: _Scope) -> list[Row]:
    times: dict[str, float] = {}
    for kernel in context.analysis.kernels:
        if kernel.point is not None:
            times[kernel.point.precision] = times.get(kernel.point.precision, 0.0) + (kernel.total_ns or 0.0)
    whole = sum(kernel.total_ns or 0.0 for kernel in context.analysis.kernels)
    ranked = sorted(times.items(), key=lambda item: -item[1])[:6]
    return [
        scope.row("precision", f"Time in kernels that compute in {name}", time / whole, "1")
        for name, time in ranked
        if whole
    ]
