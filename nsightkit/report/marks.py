"""The kernels that have a place on a roofline, ready to be drawn.

In: a `Context`. Out: `rooflines.Mark` values and the words below the picture.
"""

from __future__ import annotations

from nsightkit.report import format as fmt
from nsightkit.report.context import Context
from nsightkit.report.rooflines import Mark, usable


def of(context: Context) -> list[Mark]:
    """Return one mark a kernel that can be drawn, those with most time first."""
    return [mark for mark in (mark_of(context, index) for index, _ in context.kernels) if mark]


def mark_of(context: Context, index: int) -> Mark | None:
    """Return the mark of `Analysis.kernels[index]`, None where it has no point on logarithmic axes."""
    kernel = context.analysis.kernels[index]
    if kernel.point is None or not usable(kernel.point):
        return None
    name = fmt.printable(kernel.friendly_name)
    return Mark(kernel.point, name, kernel.verdict.bound, kernel.time_share, context.href(index))


def caption(context: Context) -> str:
    """Say what the picture covers, where its roofs come from, and which kernels are not on it."""
    drawn = of(context)
    sources = "; ".join(dict.fromkeys(mark.point.roof_source for mark in drawn))
    absent = len(context.analysis.kernels) - len(drawn)
    whole = f"{fmt.count(absent)} of {fmt.count(len(context.analysis.kernels))} profiled kernels"
    without = f" {whole} lack FLOP or DRAM counters and are not drawn." if absent else ""
    flagged = sum(1 for mark in drawn if mark.point.flags)
    suspects = f" {fmt.count(flagged)} hollow points are suspect and left out of verdicts." if flagged else ""
    return f"Point area: share of the profiled time. Roofs: {sources}. {context.counter_scope}.{without}{suspects}"
