"""How each metric is spread over the profiled kernels.

In: the histograms. Out: one small drawing a metric with its bins as a table.
"""

from __future__ import annotations

from nsightkit.analysis.results import Histogram
from nsightkit.report import blocks, charts
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Cell, Column, DataTable, Figure, Group, Section, Text
from nsightkit.report.context import NEEDS_COUNTERS, Context

# A distribution of three values is three values.
LEAST_KERNELS = 4
_COLUMNS = (
    Column("from", "From", "", "number"),
    Column("to", "To", "", "number"),
    Column("count", "Kernels", "count", "number"),
)


def build(context: Context) -> Section:
    """Return the histograms of all metrics that any kernel has."""
    drawn = [h for h in context.analysis.histograms if sum(h.counts)]
    if drawn and len(context.analysis.kernels) < LEAST_KERNELS:
        few = blocks.counted(len(context.analysis.kernels), "profiled kernel")
        words = f"{few}, too few for a distribution: the cards have each value."
        return Section("histograms", "Histograms", missing=words)
    if not drawn:
        return Section("histograms", "Histograms", missing=NEEDS_COUNTERS)
    names = [fmt.printable(k.friendly_name) for k in context.analysis.kernels]
    absent = [h.label for h in context.analysis.histograms if not sum(h.counts)]
    words = f"Each kernel counts once, whatever its share of the time. {context.counter_scope}."
    if absent:
        words += f" Not collected: {', '.join(absent)}."
    figures = tuple(_figure(h, names) for h in drawn)
    return Section("histograms", "Histograms", (Text(words, "note"), Group(figures, layout="grid")))


def _figure(data: Histogram, names: list[str]) -> Figure:
    rows = tuple(
        (blocks.number(low, data.unit), blocks.number(high, data.unit), Cell(fmt.count(count), str(count)))
        for low, high, count in zip(data.edges[:-1], data.edges[1:], data.counts, strict=True)
    )
    without = f"; {fmt.count(data.missing_count)} lack it" if data.missing_count else ""
    table = DataTable(f"histogram-{data.metric.replace('_', '-')}-bins", data.label, _COLUMNS, rows)
    caption = f"{blocks.counted(sum(data.counts), 'kernel')}{without}."
    alt = f"Histogram of {data.label}"
    name = f"histogram-{data.metric.replace('_', '-')}"
    return Figure(name, data.label, charts.histogram(data, names), caption, alt, table)
