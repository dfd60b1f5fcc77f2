"""The table of the first screen: the few kernels or operators that cost most.

In: everything. Out: one table, as short as the screen asks for; the sections below it have all rows.
"""

from __future__ import annotations

from nsightkit.report import blocks
from nsightkit.report.blocks import Cell, Column, DataTable
from nsightkit.report.context import FIRST_ROWS, Context


def costliest(context: Context) -> DataTable | None:
    """Return what took most time: kernels of the timeline, else profiled ones, else operators of the CPU."""
    if context.analysis.top_kernels:
        return _of_timeline(context)
    if context.kernels:
        return _of_counters(context)
    return _of_operators(context) if context.analysis.top_operators else None


def _of_counters(context: Context) -> DataTable:
    kernels = context.kernels[:FIRST_ROWS]
    columns = (Column("friendly_name", "Kernel"), Column("bound", "Bound", kind="bound"),
               Column("time_share", "Share", "1", "share"), Column("duration_ns", "Mean", "ns", "number"))  # fmt: skip
    rows = tuple(
        (blocks.text(k.friendly_name, context.href(i), (k.library,)), Cell(k.verdict.bound),
         blocks.share(k.time_share), blocks.number(k.duration_ns, "ns"))
        for i, k in kernels
    )  # fmt: skip
    hidden = blocks.hidden_rows(len(context.analysis.kernels), len(kernels), "profiled kernels")
    caption = f"Share of the profiled GPU time. {context.counter_scope}."
    return DataTable("overview-kernels", "Kernels that cost most", columns, rows, caption, hidden)


def _of_timeline(context: Context) -> DataTable:
    top = context.analysis.top_kernels
    columns = (Column("friendly_name", "Kernel"), Column("share", "Share", "1", "share"),
               Column("total_ns", "Total", "ns", "number"),
               Column("launch_count", "Launches", "count", "number"))  # fmt: skip
    rows = tuple(
        (blocks.text(k.friendly_name, f"#{context.names[k.kernel_name]}", (k.library,)), blocks.share(k.share),
         blocks.number(k.total_ns, "ns"), blocks.number(k.launch_count, "count"))
        for k in top[:FIRST_ROWS]
    )  # fmt: skip
    hidden = blocks.hidden_rows(len(top), len(rows), "kernels", 1 - sum(k.share for k in top[:FIRST_ROWS]))
    caption = f"Share of the kernel time. {context.timeline_scope}."
    return DataTable("overview-kernels", "Kernels that cost most", columns, rows, caption, hidden)


def _of_operators(context: Context) -> DataTable:
    top = context.analysis.top_operators
    columns = (
        Column("operator_name", "Operator"), Column("share", "Share", "1", "share"),
        Column("self_ns", "Own time", "ns", "number"), Column("call_count", "Calls", "count", "number"),
    )  # fmt: skip
    rows = tuple(
        (blocks.text(o.operator_name), blocks.share(o.share), blocks.number(o.self_ns, "ns"),
         blocks.number(o.call_count, "count"))
        for o in top[:FIRST_ROWS]
    )  # fmt: skip
    hidden = blocks.hidden_rows(len(top), len(rows), "operators", 1 - sum(o.share for o in top[:FIRST_ROWS]))
    caption = f"Share of the operators' own time on the CPU. {context.timeline_scope}."
    return DataTable("overview-operators", "Operators that cost most", columns, rows, caption, hidden)
