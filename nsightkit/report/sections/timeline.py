"""The run along time: phases, busy time, what the GPU waited for.

In: the activity of one capture and its timelines. Out: one strip and its parts as a table that adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nsightkit.report import blocks, timeline_charts
from nsightkit.report.blocks import Cell, Column, DataTable, Figure, Section, Text
from nsightkit.report.context import Context
from nsightkit.report.timeline_words import broken_notes, clock_notes, graph_notes, lost_notes, memory_notes

if TYPE_CHECKING:
    from nsightkit.analysis.story import Story
    from nsightkit.analysis.timeline.memory_use import MemoryUse

_COLUMNS = (
    Column("device_id", "GPU"),
    Column("part", "Part"),
    Column("time_ns", "Time", "ns", "number"),
    Column("share", "Share of the span", "1", "share"),
)

_DEVICES = (
    Column("device_id", "GPU"),
    Column("stream_count", "Streams", "count", "number"),
    Column("mean_streams", "At once while busy", "", "number"),
    Column("communication_ns", "Communication", "ns", "number"),
    Column("overlapped_share", "Beside other kernels", "1", "number"),
    Column("launch_ns", "Launch to start, median", "ns", "number"),
    Column("mean_depth", "Queue, mean", "", "number"),
    Column("max_depth", "Queue, most", "count", "number"),
)
_DEVICES_CAPTION = (
    "Launch to start: from the begin of the launch call, the wait for earlier work included. The queue is work whose "
    "call has begun and that has not started, over the span."
)

_MEMORY = (
    Column("device_id", "GPU"),
    Column("event_count", "Allocations and releases", "count", "number"),
    Column("peak_bytes", "Most in use", "byte", "number"),
    Column("peak_ns", "At", "ns", "number"),
    Column("last_bytes", "At the end", "byte", "number"),
    Column("peak_reserved_bytes", "Most held by the allocator", "byte", "number"),
)


def build(context: Context) -> Section:
    """Return the strip and the parts of the span."""
    story = context.analysis.story
    if story is None or story.activity is None:
        return Section("timeline", "Timeline", missing=context.needs_timeline)
    title = "Phases and busy time along the run"
    caption = (
        "Height is the share of each moment in which the GPU worked; a phase reaches from the first start to the last "
        f"end of the GPU work of an instance. As traced: tracing itself makes gaps. {context.timeline_scope}."
    )
    drawn = timeline_charts.strip(story.activity, story.phases)
    figure = Figure("timeline-strip", title, drawn, caption, title, _parts(context), wide=True)
    devices = (_devices(story),) if story.timelines else ()
    memory = (_memory(story.memory),) if story.memory else ()
    return Section("timeline", "Timeline", (figure, *devices, *memory, *_told(story)))


def _devices(story: Story) -> DataTable:
    """Return how each GPU was kept busy."""
    from nsightkit.analysis.timeline.timeline_parts import device_rows

    cells = tuple(
        (Cell(str(row.device_id)), blocks.number(row.stream_count, "count"), blocks.number(row.mean_streams, ""),
         blocks.number(row.communication_ns, "ns"), blocks.number(row.overlapped_share, "1"),
         blocks.number(row.launch_ns, "ns"), blocks.number(row.mean_depth, ""), blocks.number(row.max_depth, "count"))
        for row in device_rows(story.timelines)
    )  # fmt: skip
    return DataTable("timeline-devices", "Streams, communication and launches", _DEVICES, cells, _DEVICES_CAPTION)


def _told(story: Story) -> tuple[Text, ...]:
    """Return what a reader must know before trusting the figures: hidden kernels, clocks, sums that do not come out."""
    graphs = () if story.graphs is None else (story.graphs,)
    of_work = (*clock_notes(story.timelines), *lost_notes(story.timelines))
    texts = (*of_work, *graph_notes(graphs), *broken_notes(story.broken))
    return tuple(Text(text[0].upper() + text[1:] + ".", "note") for text in texts)


def _memory(uses: Sequence[MemoryUse]) -> Figure:
    """Return the memory in use along the run, as a curve, with its table."""
    cells = tuple(
        (Cell(str(u.device_id)), blocks.number(u.event_count, "count"), blocks.number(u.peak_bytes, "byte"),
         blocks.number(u.peak_ns, "ns"), blocks.number(u.last_bytes, "byte"),
         blocks.number(u.peak_reserved_bytes, "byte"))
        for u in uses
    )  # fmt: skip
    title = "Memory of the GPU in use"
    caption = " ".join(("What was allocated and not yet released, as the profiler recorded it.",
                        *(f"{text[0].upper()}{text[1:]}." for text in memory_notes(uses))))  # fmt: skip
    table = DataTable("memory-use", title, _MEMORY, cells)
    return Figure("memory-use-curve", title, timeline_charts.memory(uses), caption, title, table, wide=True)


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
