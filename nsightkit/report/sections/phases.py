"""Which phase spent its GPU time in which family of kernels.

In: the phases. Out: a heat map and its table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsightkit.report import blocks, timeline_charts
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Cell, Column, DataTable, Figure, Section, Text
from nsightkit.report.context import Context

if TYPE_CHECKING:
    from nsightkit.analysis.ranges.phases import Phases

_FAMILIES = 12
_NEEDED = (
    "No GPU work was launched inside a named range. Mark the phases of the program with NVTX ranges (nsys) or "
    "record_function (torch.profiler), and profile it again."
)


def build(context: Context) -> Section:
    """Return the heat map of phases and families."""
    story = context.analysis.story
    if story is None or story.phases is None:
        uses = _uses(context)
        several = story is not None and story.timeline_count > 1
        needed = context.needs_timeline if several else _NEEDED
        return Section("phases", "Phases by family", uses, missing="" if uses else needed)
    phases = story.phases
    title = "GPU time by phase and family"
    caption = (
        "Shares of the GPU time of all phases; sums of durations of kernels, copies and fills by the range that "
        f"launched them. {context.timeline_scope}."
    )
    alt = f"{len(phases.names)} phases by {len(phases.families)} families; the table has the numbers."
    drawn = timeline_charts.heat(phases, _FAMILIES)
    figure = Figure("phase-heat", title, drawn, caption, alt, _table(phases, context.info.tokens), wide=True)
    return Section("phases", "Phases by family", (figure, *_odd(phases), *_uses(context)))


def _odd(phases: Phases) -> tuple[Text, ...]:
    """Return what was guessed or counts more than once when work was given to phases."""
    said = [
        f"{fmt.duration(phases.inherited_ns)} were launched by threads without an open range (as PyTorch's backward "
        "pass is) and count for the range that was open in their process."
    ] if phases.inherited_ns else []  # fmt: skip
    if phases.crossing_count:
        ranges = blocks.counted(phases.crossing_count, "range crosses", "ranges cross")
        said.append(f"{ranges} another of their thread; work launched inside both counts for the outermost here.")
    return tuple(Text(text, "note") for text in said)


def _uses(context: Context) -> tuple[DataTable, ...]:
    """Return MFU and MBU by phase, one line a source of its work."""
    uses = context.analysis.phase_uses
    if not uses:
        return ()
    columns = (
        Column("phase", "Phase"), Column("source", "Work from"), Column("time_ns", "Time", "ns", "number"),
        Column("flop", "FLOP", "flop", "number"), Column("moved_bytes", "Bytes", "byte", "number"),
        Column("flop_share", "MFU", "1", "share"), Column("bytes_share", "MBU", "1", "share"),
        Column("peak", "Peak", markdown=False), Column("flags", "To know", markdown=False),
    )  # fmt: skip
    rows = tuple(
        (
            blocks.text(use.phase), Cell(use.source), blocks.number(use.time_ns, "ns"), blocks.number(use.flop, "flop"),
            blocks.number(use.moved_bytes, "byte"), blocks.share(use.flop_share), blocks.share(use.bytes_share),
            blocks.text(use.peak), blocks.text("; ".join(use.flags)),
        )
        for use in uses
    )  # fmt: skip
    scopes = "; ".join(dict.fromkeys(f"{use.source}: {use.scope}" for use in uses))
    caption = (
        "Work ÷ (time × peak) and bytes ÷ (time × bandwidth). Each line has the time of its own execution: "
        f"{scopes}. Stated work and shapes are experimental: not compared with counters."
    )
    return (DataTable("phase-use", "Use of the peaks by phase: MFU and MBU", columns, rows, caption),)


def _table(phases: Phases, tokens: int | None) -> DataTable:
    columns = (Column("phase", "Phase"), Column("family", "Family"), Column("gpu_ns", "GPU time", "ns", "number"),
               Column("share", "Share", "1", "share"),
               *((Column("per_token_ns", "Per token", "ns", "number"),) if tokens else ()))  # fmt: skip
    whole = sum(map(sum, phases.times_ns)) or 1
    rows = [
        (blocks.text(name), Cell(family), blocks.number(time, "ns"), blocks.share(time / whole),
         *((blocks.number(time / tokens, "ns"),) if tokens else ()))
        for name, times in zip(phases.names, phases.times_ns, strict=True)
        for family, time in zip(phases.families, times, strict=True)
        if time
    ]  # fmt: skip
    hidden = ""
    if len(phases.families) > _FAMILIES:
        hidden = f"The drawing shows the {fmt.count(_FAMILIES)} largest of {fmt.count(len(phases.families))} families."
    return DataTable("phase-families", "GPU time by phase and family", columns, tuple(rows), "", hidden)
