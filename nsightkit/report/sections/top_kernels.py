"""Which kernels cost the time, and which operators where there is no GPU.

In: the kernel and operator summaries. Out: one table each, grouped by full demangled name.
"""

from __future__ import annotations

from nsightkit.report import blocks
from nsightkit.report.blocks import Block, Cell, Column, DataTable, Section
from nsightkit.report.context import NEEDS_TIMELINE, Context

_KERNEL_COLUMNS = (
    Column("friendly_name", "Kernel"),
    Column("library", "Library"),
    Column("share", "Share", "1", "share"),
    Column("total_ns", "Total", "ns", "number"),
    Column("launch_count", "Launches", "count", "number"),
    Column("mean_ns", "Mean", "ns", "number"),
    Column("median_ns", "Median", "ns", "number"),
    Column("p95_ns", "95th pct.", "ns", "number"),
    Column("min_ns", "Min", "ns", "number", markdown=False),
    Column("max_ns", "Max", "ns", "number", markdown=False),
)
_PER_TOKEN = Column("per_token_ns", "Per token", "ns", "number")
_OPERATOR_COLUMNS = (
    Column("operator_name", "Operator"),
    Column("share", "Share", "1", "share"),
    Column("self_ns", "Own time", "ns", "number"),
    Column("total_ns", "Total", "ns", "number"),
    Column("call_count", "Calls", "count", "number"),
    Column("mean_ns", "Mean", "ns", "number"),
)


def build(context: Context) -> Section:
    """Return the tables of kernels and of operators."""
    parts: list[Block] = []
    if context.analysis.top_kernels:
        parts.append(_kernels(context))
    if context.analysis.top_operators:
        parts.append(_operators(context))
    title = "Top operators" if context.analysis.top_operators and not context.analysis.top_kernels else "Top kernels"
    return Section("top-kernels", title, tuple(parts), "" if parts else NEEDS_TIMELINE)


def _kernels(context: Context) -> DataTable:
    tokens = bool(context.info.tokens)
    columns = _KERNEL_COLUMNS + ((_PER_TOKEN,) if tokens else ())
    if tokens:
        # Eight columns are what a page of Markdown holds: per token is worth more than the tail.
        columns = tuple(c if c.key != "p95_ns" else Column(c.key, c.header, c.unit, c.kind, False) for c in columns)
    top = context.analysis.top_kernels
    shown = top[: context.top_count]
    rows = tuple(
        (
            blocks.text(k.friendly_name, f"#{context.names[k.kernel_name]}", (k.family,)),
            blocks.text(k.library),
            blocks.share(k.share),
            *(_cell(k, column) for column in columns[3:]),
        )
        for k in shown
    )
    caption = (
        f"Launches of one full demangled name are one row. Durations as traced, at the clocks of that run. "
        f"{context.timeline_scope}{_scope(context)}."
    )
    rest = 1 - sum(k.share for k in shown)
    hidden = blocks.hidden_rows(len(top), len(shown), "kernels", rest)
    return DataTable("kernels-by-time", "Kernels by total time", columns, rows, caption, hidden)


def _operators(context: Context) -> DataTable:
    columns = _OPERATOR_COLUMNS + ((_PER_TOKEN,) if context.info.tokens else ())
    top = context.analysis.top_operators
    shown = top[: context.top_count]
    rows = tuple(
        (blocks.text(o.operator_name), blocks.share(o.share), *(_cell(o, column) for column in columns[2:]))
        for o in shown
    )
    caption = (
        "Own time is the time of an operator less that of the operators it called on the same thread; shares are of "
        f"all own time. CPU time as traced. {context.timeline_scope}{_scope(context)}."
    )
    hidden = blocks.hidden_rows(len(top), len(shown), "operators", 1 - sum(o.share for o in shown))
    return DataTable("operators-by-time", "Operators on the CPU by own time", columns, rows, caption, hidden)


def _cell(row: object, column: Column) -> Cell:
    missing = "only sums were printed" if column.key == "p95_ns" else blocks.NOT_COLLECTED
    return blocks.number(getattr(row, column.key), column.unit, missing)


def _scope(context: Context) -> str:
    scopes = [c.scope for c in context.info.captures if c.backend != "ncu" and c.scope]
    return f"; {'; '.join(dict.fromkeys(scopes))}".rstrip(".") if scopes else ""
