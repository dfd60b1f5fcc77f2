"""Tables of summary lines, as ranges, API calls and memory operations share them.

In: `SumRow` values. Out: a `DataTable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nsightkit.analysis.results import SumRow
from nsightkit.report import blocks
from nsightkit.report.blocks import Column, DataTable

COLUMNS = (
    Column("name", "Name"),
    Column("share", "Share", "1", "share"),
    Column("total_ns", "Total", "ns", "number"),
    Column("instance_count", "Count", "count", "number"),
    Column("mean_ns", "Mean", "ns", "number"),
    Column("median_ns", "Median", "ns", "number"),
    Column("min_ns", "Min", "ns", "number"),
    Column("max_ns", "Max", "ns", "number"),
)


def table(name: str, title: str, rows: Sequence[SumRow], caption: str, limit: int) -> DataTable:
    """Return the table of `rows`, the first `limit` of them (0: all)."""
    shown = rows[:limit] if limit else rows
    cells = tuple(
        (
            blocks.text(row.name or "(no name)", tags=(row.style,) if row.style else ()),
            blocks.share(row.share),
            *(blocks.number(getattr(row, column.key), column.unit) for column in COLUMNS[2:]),
        )
        for row in shown
    )
    return DataTable(name, title, COLUMNS, cells, caption, blocks.hidden_rows(len(rows), len(shown), "rows"))


def without_bars(data: DataTable) -> DataTable:
    """Return `data` without bars: a share of rows that lie in one another is no part of a whole."""
    columns = tuple(replace(column, kind="number") if column.kind == "share" else column for column in data.columns)
    rows = tuple(tuple(replace(cell, bar=None) for cell in row) for row in data.rows)
    return replace(data, columns=columns, rows=rows)
