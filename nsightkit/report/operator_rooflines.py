"""Operators under the roofs of their device: work from shapes over measured time, where there are no counters.

In: the rows of `Analysis.work`. Out: drawings, the table of operators with their tier, and the formulas that were used.
Without a roof of the device the table still tells operations and bytes, and what would supply the roof.

Source: docs/method.md, "Work from shapes".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nsightkit.analysis.results import RooflineRow
from nsightkit.report import blocks, rooflines
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Column, DataTable, Fact, Figure, Group, Text
from nsightkit.report.context import Context
from nsightkit.report.roofline_strip import Absent, strip
from nsightkit.report.rooflines import Mark, usable
from nsightkit.run import CEILINGS_NAME

_ROWS = 25
# More names than this on a drawing hide each other.
_LABELED = 4
_COLUMNS = (
    Column("name", "Operator"),
    Column("tier", "Tier"),
    Column("bound", "Bound", kind="bound"),
    Column("time_share", "Of time", "1", "share"),
    Column("count", "Calls", "count", "number", markdown=False),
    Column("flop", "FLOP", "flop", "number"),
    Column("moved_bytes", "Bytes", "byte", "number"),
    Column("flop_per_byte", "Intensity", "flop/byte", "number", markdown=False),
    Column("flop_per_s", "Rate", "flop/s", "number"),
    Column("bytes_per_s", "Traffic", "byte/s", "number", markdown=False),
    Column("efficiency", "Of its roof", "1", "share"),
    Column("flags", "To know", markdown=False),
)
# Words of a flag -> what stands in the table.
_SHORT = {
    "cache-served": "cache-served", "times the roof": "above its roof", "of the roof": "neither roof is near",
    "assumed": "a type is assumed",
}  # fmt: skip
_TIERS = (
    "Tier analytic: operations and bytes follow from the shapes of the calls, not from counters. Bytes are compulsory "
    "traffic, each tensor once, so that the intensity is the algorithm's. Experimental: not compared with counters yet."
)
_ATTENTION = (
    "torch's own count of operations reads zero for scaled_dot_product_attention on the CPU; the figures here are by "
    "the formula below."
)


def placed(context: Context) -> list[RooflineRow]:
    """Return the rows with work, the longest first."""
    return [row for row in context.analysis.work if row.tier == "analytic"]


def marks_of(context: Context) -> list[Mark]:
    """Return the operators that have a place under a roof, the longest first."""
    numbered = list(enumerate(placed(context), 1))
    return [mark for number, row in numbered if (mark := _mark(row, _href(context, number)))]


def figure(context: Context, name: str, labels: int = _LABELED) -> Figure | None:
    """Return the operators under their roofs; None where no roof is known."""
    drawn = marks_of(context)
    if not drawn:
        return None
    title = "Roofline of operators: FLOP per byte against FLOP/s, from shapes"
    sources = "; ".join(dict.fromkeys(mark.point.roof_source for mark in drawn))
    caption = (
        f"Tier analytic (experimental). Point area: share of the operators' time. Roofs: {sources}. "
        f"{context.timeline_scope}. A point above its roof was served by a cache or met another load than the roof did."
    )
    alt = f"{len(drawn)} operators under the roofs of memory and of the types they compute in; the table has them."
    return Figure(
        name, title, rooflines.physical(drawn, title, labels, _below(context, drawn)), caption, alt, wide=True
    )


def _below(context: Context, drawn: Sequence[Mark]) -> list[str]:
    """Return the strip of the operators that have bytes or a time only."""
    rows = context.analysis.work
    numbers = {id(row): number for number, row in enumerate(placed(context), 1)}
    peak = max(mark.point.peak_bytes_per_s for mark in drawn)
    absent = [
        Absent(
            shown_name(row),
            row.bound,
            row.time_share,
            None if row.bytes_per_s is None else row.bytes_per_s / peak,
            _href(context, numbers[id(row)]) if id(row) in numbers else "",
        )
        for row in rows
        if row.point is None or not usable(row.point)
    ]
    return strip(absent, 440, len(rows), "rows of operators")


def facts(context: Context) -> list[Fact]:
    """Return operations and bytes of all operators that have a formula."""
    rows = placed(context)
    if not rows:
        return []
    flop, moved = sum(row.flop or 0.0 for row in rows), sum(row.moved_bytes or 0.0 for row in rows)
    share = _covered(context.analysis.work, rows)
    scope = f"from shapes (tier analytic, experimental), for {fmt.share(share)} of the operators' time"
    return [
        Fact("FLOP of the operators", fmt.with_unit(flop, "flop"), blocks.exact(flop, "flop"), scope),
        Fact("bytes of the operators", fmt.with_unit(moved, "byte"), blocks.exact(moved, "byte"), scope),
    ]


def parts(context: Context) -> list[Block]:
    """Return the drawing, the table of operators, and the formulas."""
    rows = placed(context)
    if not rows:
        return []
    drawn = figure(context, "roofline-operators")
    said = [Text(_TIERS, "note")]
    if any("scaled_dot_product" in row.name and row.flop for row in rows) and _on_cpu(rows):
        said.append(Text(_ATTENTION, "note"))
    if drawn is None:
        said.append(Text(_no_roof(rows), "note"))
    formulas = Group((_formulas(rows),), "Formulas of the operators", "fold")
    return [*([drawn] if drawn else []), *said, _table(context, rows), formulas]


def _on_cpu(rows: Sequence[RooflineRow]) -> bool:
    return all(row.family == "cpu" for row in rows)


def _no_roof(rows: Sequence[RooflineRow]) -> str:
    if not _on_cpu(rows):
        return "No roof: the GPU is not in the table of data sheets. Name one with --gpu."
    return (
        f"No roof of this CPU was measured. Measure it once with 'nsightkit ceilings -o RUN/{CEILINGS_NAME}' on the "
        "machine and with the threads of the run, then render the run again."
    )


def shown_count(context: Context) -> int:
    """Return how many operators the table shows: these can be selected."""
    limit = context.options.limit and max(context.options.limit // 2, _ROWS)
    return min(len(placed(context)), limit or len(placed(context)))


def _href(context: Context, number: int) -> str:
    return f"#operator-{number}" if number <= shown_count(context) else ""


def _mark(row: RooflineRow, href: str) -> Mark | None:
    if row.point is None or not usable(row.point):
        return None
    return Mark(row.point, shown_name(row), row.bound, row.time_share, href)


def shown_name(row: RooflineRow) -> str:
    """Return the operator with its leading shapes, as drawings and tables call it."""
    name = row.name.removeprefix("aten::").removeprefix("_")
    shapes = " · ".join(part.partition(" ")[0] for part in row.shapes.split(", ")[:3] if "×" in part)
    return fmt.printable(f"{name} {shapes}".strip())


def _covered(all_rows: Sequence[RooflineRow], rows: Sequence[RooflineRow]) -> float | None:
    whole = sum(row.total_ns or 0.0 for row in all_rows)
    return sum(row.total_ns or 0.0 for row in rows) / whole if whole else None


def _table(context: Context, rows: Sequence[RooflineRow]) -> DataTable:
    shown = rows[: shown_count(context)]
    rest = 1 - (_covered(context.analysis.work, shown) or 0.0)
    without = sum(1 for row in context.analysis.work if row.tier == "none")
    share = 1 - (_covered(context.analysis.work, rows) or 0.0)
    caption = (
        "All calls of an operator with one set of shapes are one row: sums of work, bytes and time. "
        f"{fmt.count(without)} rows without a formula take {fmt.share(share)} of the time; "
        f"'nsightkit roofline RUN' lists them. {context.timeline_scope}."
    )
    hidden = blocks.hidden_rows(len(rows), len(shown), "operators with work", rest)
    cells = tuple(map(_row, shown))
    anchors = tuple(f"operator-{number}" for number in range(1, len(shown) + 1))
    return DataTable("operator-points", "Operators under their roofs", _COLUMNS, cells, caption, hidden, anchors)


def _row(row: RooflineRow) -> tuple[Cell, ...]:
    point, intensity = row.point, row.flop / row.moved_bytes if row.flop and row.moved_bytes else None
    rate = row.flop / row.total_ns * 1e9 if row.flop and row.total_ns else None
    return (
        _name(row),
        blocks.text(row.tier),
        Cell(row.bound),
        blocks.share(row.time_share),
        blocks.number(row.count, "count"),
        blocks.number(row.flop, "flop"),
        blocks.number(row.moved_bytes, "byte"),
        blocks.number(intensity, "flop/byte", "no floating-point work"),
        blocks.number(rate, "flop/s", "no floating-point work"),
        blocks.number(row.bytes_per_s, "byte/s"),
        blocks.share(point.efficiency if point else None, "no place: no floating-point work, or no roof"),
        _to_know(row),
    )


def _name(row: RooflineRow) -> Cell:
    """Return the operator with its main shapes; all of them, with their types, are under the pointer."""
    cell = blocks.text(shown_name(row))
    return replace(cell, exact=fmt.printable(f"{row.name}: {row.shapes}")) if row.shapes else cell


def _to_know(row: RooflineRow) -> Cell:
    """Return what sets a row apart in a few words; the whole of it is under the pointer."""
    flags = row.flags[1:]
    if not flags:
        return Cell("", "none")
    short = next((words for mark, words in _SHORT.items() if mark in flags[-1]), flags[-1])
    return replace(blocks.text(short), exact=fmt.printable("; ".join(flags)))


def _formulas(rows: Sequence[RooflineRow]) -> DataTable:
    columns = (Column("name", "Operator"), Column("formula", "Formula of its work"))
    found = dict.fromkeys((row.name, row.formula) for row in rows)
    cells = tuple((blocks.text(name), blocks.text(formula)) for name, formula in found)
    return DataTable("operator-formulas", "Formulas of the operators", columns, cells)
