"""All profiled kernels under the DRAM roofline, or operators by work from shapes where there are no counters.

In: the roofline points. Out: the normalized and the physical picture, and the points as a table.
"""

from __future__ import annotations

from collections import Counter

from nsightkit.analysis.results import ClassifiedKernel
from nsightkit.report import blocks, marks, operator_rooflines, rooflines
from nsightkit.report.blocks import Cell, Column, DataTable, Figure, Group, Section
from nsightkit.report.context import MANY_KERNELS, NEEDS_COUNTERS, NEEDS_ROOFLINE, Context
from nsightkit.report.labels import metric_label

_COLUMNS = (
    Column("friendly_name", "Kernel"),
    Column("bound", "Bound", kind="bound"),
    Column("precision", "Precision"),
    Column("flop_per_byte", "Intensity", "flop/byte", "number"),
    Column("ridge_flop_per_byte", "Ridge", "flop/byte", "number", markdown=False),
    Column("flop_per_s", "Rate", "flop/s", "number"),
    Column("roof_flop_per_s", "Roof there", "flop/s", "number"),
    Column("efficiency", "Of its roof", "1", "share"),
    Column("time_share", "Time share", "1", "share"),
    Column("flags", "Flags", markdown=False),
)

_PHYSICAL = "The highest roofs are drawn; each kernel is judged against its own, at the clocks of its launches."


def build(context: Context) -> Section:
    """Return the two rooflines and the table of points."""
    points = marks.of(context)
    if not points and context.analysis.work:
        return Section("roofline", "Roofline", (*operator_rooflines.parts(context), *_ceilings(context)))
    if not points:
        needed = NEEDS_ROOFLINE if context.analysis.kernels else NEEDS_COUNTERS
        return Section("roofline", "Roofline", missing=needed + _lacking(context))
    title = "Normalized roofline: intensity ÷ ridge against rate ÷ peak"
    how_many = blocks.counted(len(points), "kernel")
    alt = f"{how_many} under one roof; each is divided by its own ridge point and its own peak."
    normal = Figure(
        "roofline-normalized", title, rooflines.normalized(points, title), marks.caption(context), alt, wide=True
    )
    title = "Physical roofline: FLOP per byte against FLOP/s"
    alt = f"{how_many} under the roofs of DRAM and of the pipes in use."
    drawn = rooflines.physical(points, title, below=marks.strip_of(context))
    bare = Figure("roofline-physical", title, drawn, _PHYSICAL, alt, wide=True)
    # Of many kernels the physical picture stands once, on the first screen.
    drawings = (normal, bare) if len(context.kernels) <= MANY_KERNELS else (normal,)
    return Section("roofline", "Roofline", (Group(drawings, layout="even"), _table(context), *_ceilings(context)))


def _ceilings(context: Context) -> tuple[DataTable, ...]:
    """Return the peaks that each source states, and which of them a kernel is held against."""
    rows = context.analysis.ceilings
    if not rows:
        return ()
    columns = (
        Column("device", "Device"), Column("name", "Ceiling"), Column("data_sheet", "Data sheet", kind="number"),
        Column("ncu", "ncu, at the clock of the longest launch", kind="number"),
        Column("measured", "Measured", kind="number"), Column("drawn", "Held against"),
    )  # fmt: skip
    cells = tuple(
        (
            blocks.text(row.device), Cell(row.name),
            *(blocks.number(value, row.unit, "–") for value in (row.data_sheet, row.ncu, row.measured)),
            Cell(row.drawn),
        )
        for row in rows
    )  # fmt: skip
    caption = (
        "Dense peaks, products with FP32 accumulation. Data sheets hold at the boost clock; ncu's are its "
        "peak_sustained at the clock of a launch; measured ones are what torch reached (nsightkit ceilings)."
    )
    return (DataTable("ceilings", "Ceilings side by side", columns, cells, caption),)


def _lacking(context: Context) -> str:
    """Name what most kernels lack, as the rules say it."""
    lacking = Counter(name for kernel in context.analysis.kernels for name in kernel.verdict.missing)
    words = [f"{metric_label(name)} (on {blocks.counted(count, 'kernel')})" for name, count in lacking.most_common(3)]
    return f" Lacking most often here: {', '.join(words)}." if words else ""


def _table(context: Context) -> DataTable:
    placed = [(index, kernel) for index, kernel in context.kernels if kernel.point is not None]
    flagged = any(kernel.point.flags for _, kernel in placed if kernel.point)
    columns = _COLUMNS if flagged else _COLUMNS[:-1]
    rows = tuple(_row(context, index, kernel)[: len(columns)] for index, kernel in placed)
    caption = (
        "Sums over the profiled launches of a kernel: work ÷ DRAM bytes, work ÷ time. The roof is the lower of compute "
        f"peak and intensity × bandwidth. {context.counter_scope}, at the clocks of that capture."
    )
    total = sum(1 for kernel in context.analysis.kernels if kernel.point is not None)
    hidden = blocks.hidden_rows(total, len(rows), "points")
    return DataTable("roofline-points", "Roofline points", columns, rows, caption, hidden)


def _row(context: Context, index: int, kernel: ClassifiedKernel) -> tuple[Cell, ...]:
    point = kernel.point
    numbers = [
        blocks.share(getattr(point, c.key)) if c.kind == "share" else blocks.number(getattr(point, c.key), c.unit)
        for c in _COLUMNS[3:8]
    ]
    flags = "; ".join(point.flags) if point else ""
    return (
        blocks.text(kernel.friendly_name, context.href(index)),
        Cell(kernel.verdict.bound),
        blocks.text(point.precision if point else None),
        *numbers,
        blocks.share(kernel.time_share),
        blocks.text(flags) if flags else Cell("", "none"),
    )
