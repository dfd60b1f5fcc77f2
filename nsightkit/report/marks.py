"""The kernels that have a place on a roofline, ready to be drawn.

In: a `Context`. Out: `rooflines.Mark` values and the words below the picture.
"""

from __future__ import annotations

from nsightkit.report import format as fmt
from nsightkit.report.context import Context
from nsightkit.report.roofline_strip import Absent, strip
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
    levels = tuple(point for point in kernel.other_levels if usable(point))
    return Mark(kernel.point, name, kernel.verdict.bound, kernel.time_share, context.href(index), levels)


def strip_of(context: Context) -> list[str]:
    """Return the strip of the kernels that have no point, for `rooflines.physical`."""
    found = []
    for index, kernel in context.kernels:
        if mark_of(context, index) is None:
            percent = kernel.counters.get("dram_throughput_pct")
            share = None if percent is None else percent / 100
            name = fmt.printable(kernel.friendly_name)
            found.append(Absent(name, kernel.verdict.bound, kernel.time_share, share, context.href(index)))
    return strip(found, 440, len(context.kernels))


def caption(context: Context) -> str:
    """Say what the picture covers, where its roofs come from, and which kernels are not on it."""
    drawn = of(context)
    sources = "; ".join(dict.fromkeys(mark.point.roof_source for mark in drawn))
    absent = len(context.analysis.kernels) - len(drawn)
    whole = f"{fmt.count(absent)} of {fmt.count(len(context.analysis.kernels))} profiled kernels"
    without = f" {whole} lack FLOP or DRAM counters and have no place under the roofs." if absent else ""
    flagged = sum(1 for mark in drawn if mark.point.flags)
    suspects = f" {fmt.count(flagged)} hollow points are suspect and left out of verdicts." if flagged else ""
    return f"Point area: share of the profiled time. Roofs: {sources}. {context.counter_scope}.{without}{suspects}"
