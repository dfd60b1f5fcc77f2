"""The run along time: phases, busy time, what the GPU waited for.

In: the activity of one capture and its timelines. Out: one strip and its parts as a table that adds up.
"""

from __future__ import annotations

from nsightkit.report import blocks, timeline_charts
from nsightkit.report.blocks import Cell, Column, DataTable, Figure, Section
from nsightkit.report.context import NEEDS_TIMELINE, Context

_COLUMNS = (
    Column("device_id", "GPU"),
    Column("part", "Part"),
    Column("time_ns", "Time", "ns", "number"),
    Column("share", "Share of the span", "1", "share"),
)


def build(context: Context) -> Section:
    """Return the strip and the parts of the span."""
    story = context.analysis.story
    if story is None or story.activity is None:
        return Section("timeline", "Timeline", missing=NEEDS_TIMELINE)
    title = "Phases and busy time along the run"
    caption = (
        "Height is the share of each moment in which the GPU worked; a phase reaches from the first start to the last "
        f"end of the GPU work of an instance. As traced: tracing itself makes gaps. {context.timeline_scope}."
    )
    drawn = timeline_charts.strip(story.activity, story.phases)
    figure = Figure("timeline-strip", title, drawn, caption, title, _parts(context), wide=True)
    return Section("timeline", "Timeline", (figure,))


def _parts(context: Context) -> DataTable:
    story = context.analysis.story
    if story is not None and story.timelines:
        from nsightkit.analysis.timeline.timeline_parts import time_parts

        rows = [(str(p.device_id), ("· " * p.level) + p.part, p.time_ns, p.share) for p in time_parts(story.timelines)]
    else:
        activity = story.activity if story else None
        strips, span = (activity.strips, activity.span_ns) if activity else ((), 1)
        rows = [(str(s.device_id), "busy", s.busy_ns, s.busy_ns / span) for s in strips]
    cells = tuple(
        (Cell(device), Cell(part), blocks.number(time, "ns"), blocks.share(share)) for device, part, time, share in rows
    )
    return DataTable("timeline-parts", "What the span is made of", _COLUMNS, cells)
