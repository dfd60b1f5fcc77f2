"""The kernels whose single launches take longest.

In: the classified kernels. Out: the ten with the highest mean duration, with the verdict from the same rows.
"""

from __future__ import annotations

from nsightkit.report import blocks
from nsightkit.report.blocks import Cell, Column, DataTable, Section
from nsightkit.report.context import NEEDS_COUNTERS, Context

_ROWS = 10
_COLUMNS = (
    Column("friendly_name", "Kernel"),
    Column("bound", "Bound", kind="bound"),
    Column("duration_ns", "Duration", "ns", "number"),
    Column("library", "Library"),
    Column("grid", "Grid"),
    Column("block", "Block"),
    Column("launch_count", "Launches", "count", "number"),
)


def build(context: Context) -> Section:
    """Return the table of the longest kernels."""
    timed = [(i, k) for i, k in enumerate(context.analysis.kernels) if k.duration_ns is not None]
    if not timed:
        return Section("longest", "Longest kernels", missing=NEEDS_COUNTERS)
    if len(timed) < 2:
        return Section("longest", "Longest kernels", missing="One profiled kernel has a duration: there is no order.")
    timed.sort(key=lambda pair: -(pair[1].duration_ns or 0.0))
    rows = tuple(
        (
            blocks.text(k.friendly_name, context.href(i)),
            Cell(k.verdict.bound),
            blocks.number(k.duration_ns, "ns"),
            blocks.text(k.library),
            blocks.text(k.grid),
            blocks.text(k.block),
            blocks.number(k.launch_count, "count"),
        )
        for i, k in timed[:_ROWS]
    )
    caption = f"Mean duration of one launch, at the clocks of the counter capture. {context.counter_scope}."
    hidden = blocks.hidden_rows(len(timed), len(rows), "profiled kernels")
    return Section(
        "longest", "Longest kernels", (DataTable("longest-kernels", "By duration", _COLUMNS, rows, caption, hidden),)
    )
