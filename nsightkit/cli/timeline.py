"""``nsightkit timeline``: how busy each GPU was, and what it waited for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.scoping import no_work, scope_words, several, within_option
from nsightkit.report import format as fmt
from nsightkit.report.timeline_words import (
    broken_notes,
    clock_notes,
    device_label,
    graph_notes,
    lost_notes,
    memory_notes,
    thread_label,
)

if TYPE_CHECKING:
    from nsightkit.analysis.ranges.nvtx_projection import Attribution
    from nsightkit.analysis.ranges.range_summary import RangeSearch
    from nsightkit.analysis.timeline.accounting import Invariant
    from nsightkit.analysis.timeline.timeline import DeviceTimeline
    from nsightkit.analysis.timeline.whole_run import GraphFigures
    from nsightkit.analysis.work.operations import CaptureTables

Row = dict[str, Any]
VIEWS = ("parts", "devices", "gaps", "copies", "repetitions", "memory", "checks")
_DOC = """Say how busy each GPU was, and what it waited for.

\b
What --show lists:
  parts        busy and idle time, and what they are made of (default). Parts add up to the span, which runs from the
               first start to the last end of the GPU's work. Exposed means that no other kernel ran at the same time.
  devices      streams at once, communication beside other kernels, launch latency and queue depth of each GPU
  gaps         the longest gaps with their cause and what came next
  copies       copies and fills with the achieved bandwidth
  repetitions  ranges that repeat: the first instance against the others, and how even the others are
  memory       memory of each GPU in use, where allocations were recorded (torch.profiler with profile_memory=True,
               nsys with --cuda-memory-usage=true)
  checks       sums that must come out, and whether they do

Causes of idle time: 'empty queue' is work that was launched after the GPU had run dry; 'host' the same with 1 ms or
more outside CUDA; 'synchronization', 'collective' and 'copy' are waits of the launching thread; 'queued' is work that
had been launched in time. With --in, the span is the time from the first start to the last end of the GPU work of
each instance, whatever else ran then; copies and repetitions are those inside.

\b
nsightkit timeline profile.sqlite
nsightkit timeline profile.sqlite --in 'decode_*'
nsightkit timeline profile.sqlite --show gaps --in decode --limit 10
"""
_FIELDS: dict[str, tuple[Field, ...]] = {
    "parts": (
        Field("capture_id", "capture", shown=False), Field("device_id", "GPU"), Field("part", "part"),
        Field("part_of", "part of", shown=False), Field("level", "level", "count", shown=False),
        Field("time_ns", "time", "ns"), Field("share", "share", "1"),
    ),
    "devices": (
        Field("capture_id", "capture", shown=False), Field("device_id", "GPU"),
        Field("stream_count", "streams", "count"), Field("mean_streams", "at once while busy", ""),
        Field("communication_ns", "communication", "ns"), Field("overlapped_share", "beside kernels", "1"),
        Field("launch_ns", "launch to start", "ns"), Field("idle_launch_ns", "with an empty queue", "ns"),
        Field("mean_depth", "queue, mean", ""), Field("max_depth", "at most", "count"),
    ),
    "gaps": (
        Field("capture_id", "capture", shown=False), Field("device_id", "GPU"), Field("start_ns", "at", "ns"),
        Field("gap_ns", "gap", "ns"), Field("cause", "cause"), Field("next_range", "next work's range"),
        Field("next_name", "next work"), Field("last_name", "work before", shown=False),
    ),
    "copies": (
        Field("capture_id", "capture", shown=False), Field("operation", "operation"),
        Field("source_kind", "from"), Field("destination_kind", "to"),
        Field("operation_count", "count", "count"), Field("moved_bytes", "moved", "byte"),
        Field("total_ns", "time", "ns"), Field("bytes_per_s", "rate", "byte/s"),
        Field("best_bytes_per_s", "best", "byte/s"),
    ),
    "repetitions": (
        Field("capture_id", "capture", shown=False), Field("name", "range"),
        Field("thread_id", "thread", shown=False),
        Field("instance_count", "instances", "count"), Field("first_ns", "first", "ns"),
        Field("steady_median_ns", "median of the others", "ns"), Field("cold_ratio", "first / median", "×"),
        Field("steady_mean_ns", "their mean", "ns"), Field("steady_std_ns", "their std", "ns"),
        Field("variation", "std / mean", "1"), Field("min_ns", "min of all", "ns"), Field("max_ns", "max of all", "ns"),
    ),
    "memory": (
        Field("capture_id", "capture", shown=False), Field("device_id", "GPU"),
        Field("event_count", "allocations and releases", "count"), Field("peak_bytes", "most in use", "byte"),
        Field("peak_ns", "at", "ns"), Field("last_bytes", "at the end", "byte"),
        Field("peak_reserved_bytes", "most held by the allocator", "byte"),
        Field("is_total", "is_total", shown=False), Field("points", "points", shown=False),
    ),
    "checks": (
        Field("name", "what must be equal"), Field("scope", "of"), Field("expected", "expected"),
        Field("found", "found"), Field("unit", "unit", shown=False), Field("holds", "holds"),
    ),
}  # fmt: skip


_LARGEST_FIRST: dict[str, Callable[[Row], Any]] = {
    "gaps": lambda row: -row["gap_ns"],
    "copies": lambda row: -row["total_ns"],
    "repetitions": lambda row: -row["instance_count"] * row["steady_mean_ns"],
}
# GPUs of which the figures are told beside any listing.
_MOST_LINES = 8
_NO_ROWS = {
    "parts": "no GPU work",
    "devices": "no GPU work",
    "gaps": "no gaps: the GPU was never idle between its first start and its last end",
    "copies": "no copies and fills with a size and an end",
    "repetitions": "no range repeats: that takes three instances with GPU work on one thread",
    "memory": "no allocations of GPU memory were recorded: torch.profiler records them with profile_memory=True, nsys "
    "with --cuda-memory-usage=true",
    "checks": "nothing to check",
}


@dataclass
class _Found:
    search: RangeSearch
    rows: list[Row] = field(default_factory=list)
    timelines: list[DeviceTimeline] = field(default_factory=list)
    graphs: list[GraphFigures] = field(default_factory=list)
    broken: list[Invariant] = field(default_factory=list)


@click.command("timeline", help=_DOC)
@paths_argument(required=False)
@click.option("--show", type=click.Choice(VIEWS), default="parts", show_default=True, help="What to list; see above.")
@within_option
@click.option("--limit", type=click.IntRange(min=0), default=30, show_default=True, help="Rows to print; 0 prints all.")
@format_option
def command(paths: tuple[Path, ...], show: str, within: str | None, limit: int, format_: str) -> None:
    """See _DOC."""
    from nsightkit.analysis.ranges.range_summary import RangeSearch
    from nsightkit.analysis.timeline.memory_use import memory_use
    from nsightkit.cli.attributed import WANTED, captures_of
    from nsightkit.ingest.dataset import open_dataset

    if within and show == "memory":
        raise click.UsageError("--show memory takes no --in: an allocation belongs to no range")
    columns = {**WANTED, "memory_operations": None, **({"device_memory": None} if show == "memory" else {})}
    dataset = open_dataset(or_newest_run(paths), columns)
    found, for_people = _Found(RangeSearch(within)), format_ in ("table", "markdown")
    for tables in captures_of(dataset, keep=within is not None or show == "copies"):
        _add(found, tables, show, (within, limit if for_people else 0))
    if dataset.info.captures:
        found.search.check()
    uses = memory_use(dataset.arrow("device_memory")) if show == "memory" else []
    found.rows += map(asdict, uses)
    if found.timelines or (within and dataset.info.captures):
        rows = sorted(found.rows, key=_LARGEST_FIRST[show]) if show in _LARGEST_FIRST else found.rows
        rows = rows[:limit] if limit and for_people and show not in ("parts", "devices") else rows
        caption = f"{dataset.name}: timeline, {show}, {scope_words(within)}, times as the GPU ran"
        emit(
            _fields(show, rows, {timeline.capture_id for timeline in found.timelines}),
            [_row(row, for_people) for row in rows],
            format_,
            caption,
        )
        if not rows:
            note(no_work(within) if within and not found.timelines else _NO_ROWS[show])
        for text in (*several(within or "", found.search.forms), *memory_notes(uses),
                     *told(found.timelines, found.graphs, found.broken)):  # fmt: skip
            note(text)
    finish(dataset)


def _fields(show: str, rows: Sequence[Row], captures: Collection[str]) -> list[Field]:
    """Return the columns; capture and thread are shown where there are several, else they would say nothing."""
    names = [(row["capture_id"], row["name"]) for row in rows] if show == "repetitions" else []
    said = {"capture_id": len(captures) > 1, "thread_id": len(set(names)) < len(names)}
    return [replace(field, shown=True) if said.get(field.name) else field for field in _FIELDS[show]]


def _row(record: Row, for_people: bool) -> Row:
    row = dict(record)
    if for_people and "part" in row:
        row["part"] = "· " * row["level"] + row["part"]
    if for_people and row.get("next_name"):
        from nsightkit.analysis.kernel_names import describe_kernel

        row["next_name"] = (
            row["next_name"] if row["next_name"][:1] == "[" else describe_kernel(row["next_name"]).friendly
        )
    if for_people and "thread_id" in row:
        row["thread_id"] = thread_label(row["thread_id"])
    if for_people and "expected" in row:
        row |= {name: fmt.with_unit(row[name], "count") for name in ("expected", "found")}
    return row


def _add(found: _Found, tables: CaptureTables, show: str, scope: tuple[str | None, int]) -> None:
    from nsightkit.analysis.ranges import repetitions
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.timeline import accounting, copy_rates, timeline_parts
    from nsightkit.analysis.timeline.timeline import device_timelines, timeline_inputs
    from nsightkit.analysis.timeline.whole_run import graph_figures

    within, limit = scope
    inputs = timeline_inputs(tables)
    needs_ranges = within is not None or show in ("gaps", "repetitions", "checks")
    attribution = attribute(tables) if needs_ranges else None
    if attribution:
        found.search.look(attribution)
    windows = timeline_parts.range_windows(attribution, within) if attribution and within else None
    part, inner = (tables, attribution) if attribution is None or within is None else _part(tables, attribution, within)
    # Ranges may have launched nothing, or nothing on one of several GPUs.
    timelines = [timeline for timeline in device_timelines(inputs, windows) if windows is None or timeline.span_ns]
    checks = accounting.check_work(tables.capture_id, inputs.operations)
    checks += [check for timeline in timelines for check in accounting.check_timeline(timeline)]
    if inner and show == "checks":
        checks += accounting.check_ranges(inner)
    makers: dict[str, Any] = {
        "parts": lambda: timeline_parts.time_parts(timelines),
        "devices": lambda: timeline_parts.device_rows(timelines),
        "gaps": lambda: [
            row
            for timeline in timelines
            for row in timeline_parts.longest_gaps(timeline, attribution, limit, windows)  # type: ignore[arg-type]
        ],
        "copies": lambda: copy_rates.copy_rates(part.memory_operations),
        "repetitions": lambda: repetitions.repetitions(inner),  # type: ignore[arg-type]
        "memory": list,
        "checks": lambda: checks,
    }
    found.rows += [{"capture_id": tables.capture_id} | asdict(row) for row in makers[show]()]
    found.timelines += timelines
    found.graphs.append(graph_figures(inputs))
    found.broken += accounting.broken(checks)


def _part(tables: CaptureTables, attribution: Attribution, within: str) -> tuple[CaptureTables, Attribution]:
    """Return the rows that belong to a range, and what of their ranges launched them."""
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.ranges.range_scope import tables_inside

    part = tables_inside(tables, attribution, within)
    return part, attribute(part)


def told(
    timelines: Sequence[DeviceTimeline], graphs: Sequence[GraphFigures], broken: Sequence[Invariant]
) -> Iterable[str]:
    """Return what must be said beside the rows: streams, communication, launches, hidden graphs, broken sums."""
    for timeline in timelines[:_MOST_LINES]:
        yield f"{device_label(timeline, timelines)}: {_device_line(timeline)}"
    if len(timelines) > _MOST_LINES:
        yield f"and {len(timelines) - _MOST_LINES} more GPUs ('--show devices' lists all)"
    yield from clock_notes(timelines)
    yield from lost_notes(timelines)
    yield from graph_notes(graphs)
    yield from broken_notes(broken)


def _device_line(timeline: DeviceTimeline) -> str:
    queue = timeline.queue
    streams = "1 stream" if timeline.stream_count == 1 else f"{timeline.stream_count} streams"
    parts = [f"{streams}, {fmt.plain(timeline.mean_streams)} at once while busy"]
    if timeline.communication_ns:
        parts.append(
            f"communication {fmt.duration(timeline.communication_ns)}, {fmt.share(timeline.overlapped_share)} of it "
            "beside other kernels"
        )
    if queue.launch_ns is not None:
        parts.append(f"launch to start {fmt.duration(queue.launch_ns)} (median)")
        parts.append(f"queue {fmt.plain(queue.mean_depth)} deep on average, at most {fmt.count(queue.max_depth)}")
    return "; ".join(parts)
