"""What the workload asks of a chip: bandwidth, caches, GEMV, fusion, precision, parallelism, as figures.

In: a `Context`. Out: one table, whose rows name what they are a share of. Rates are sums of bytes over sums of time;
percentages of a profiler are weighted by time.
"""

from __future__ import annotations

import math

from nsightkit.analysis.results import ClassifiedKernel
from nsightkit.report import blocks
from nsightkit.report.blocks import Cell, Column, DataTable
from nsightkit.report.context import BOUND_WORDS, Context

_COLUMNS = (Column("figure", "Figure"), Column("value", "Value", "", "number"), Column("scope", "Of"))
_POINTWISE = ("elementwise", "activation", "copy", "cat", "layout")
_PERCENTAGES = {
    "dram_throughput_pct": "DRAM throughput of its peak, weighted by time",
    "l2_hit_rate_pct": "L2 hit rate, weighted by time",
    "l1_hit_rate_pct": "L1 hit rate, weighted by time",
    "achieved_occupancy_pct": "Achieved occupancy, weighted by time",
    "tensor_pipe_pct": "Tensor pipe active, weighted by time",
}
Row = tuple[Cell, ...]


def table(context: Context) -> DataTable | None:
    """Return the table, None where nothing can be said."""
    rows = [*_of_timeline(context), *_of_counters(context)]
    if not rows:
        return None
    caption = (
        "For those who design chips or choose them: what this workload asks of the hardware, as measured here. "
        "No advice follows from one workload alone."
    )
    return DataTable("demand", "What the workload asks of the hardware", _COLUMNS, tuple(rows), caption)


def _row(label: str, value: float, unit: str, scope: str) -> Row:
    return Cell(label), blocks.number(value, unit), Cell(scope)


def _of_timeline(context: Context) -> list[Row]:
    top = context.analysis.top_kernels
    total = sum(kernel.total_ns for kernel in top)
    if not total:
        return []
    launches = sum(kernel.launch_count for kernel in top)
    shares = {
        "Matrix times vector (GEMV)": ("GEMV",), "Matrix times matrix (GEMM, convolution)": ("GEMM", "convolution"),
        "Attention": ("attention",), "Pointwise work, copies and layout": _POINTWISE,
    }  # fmt: skip
    scope = f"kernel time, {context.timeline_scope}"
    rows = [
        _row(name, sum(k.total_ns for k in top if k.family in families) / total, "1", scope)
        for name, families in shares.items()
        if any(k.family in families for k in top)
    ]
    rows.append(
        _row("Mean duration of a launch", total / launches, "ns", f"{blocks.counted(launches, 'launch', 'launches')}")
    )
    if context.info.tokens:
        rows.append(_row("Launches per token", launches / context.info.tokens, "count", scope))
    return rows


def _of_counters(context: Context) -> list[Row]:
    timed = [kernel for kernel in context.analysis.kernels if kernel.total_ns]
    scope = f"profiled GPU time, {context.counter_scope}"
    rows = [
        _row(f"Time in {BOUND_WORDS[c.bound]} kernels", c.time_share, "1", scope)
        for c in context.analysis.classes
        if c.bound != "OVERALL" and c.time_share
    ]
    moved = [k for k in timed if k.counters.get("dram_bytes") is not None]
    if moved:
        time = math.fsum(k.total_ns or 0.0 for k in moved)
        total = math.fsum(k.counters["dram_bytes"] or 0.0 for k in moved)
        rows.append(_row("DRAM traffic over time", total / time * 1e9, "byte/s", scope))
    for name, label in _PERCENTAGES.items():
        value = _weighted(timed, name)
        if value is not None:
            rows.append(_row(label, value, "%", scope))
    return rows + _precisions(context, scope)


def _weighted(kernels: list[ClassifiedKernel], name: str) -> float | None:
    known = [(v, k.total_ns or 0.0) for k in kernels if (v := k.counters.get(name)) is not None and 0 <= v <= 100]
    whole = math.fsum(time for _, time in known)
    return math.fsum(value * time for value, time in known) / whole if whole else None


def _precisions(context: Context, scope: str) -> list[Row]:
    times: dict[str, float] = {}
    for kernel in context.analysis.kernels:
        if kernel.point is not None:
            times[kernel.point.precision] = times.get(kernel.point.precision, 0.0) + (kernel.total_ns or 0.0)
    whole = sum(kernel.total_ns or 0.0 for kernel in context.analysis.kernels)
    ranked = sorted(times.items(), key=lambda item: -item[1])[:6]
    return [_row(f"Time in kernels that compute in {name}", time / whole, "1", scope) for name, time in ranked if whole]
