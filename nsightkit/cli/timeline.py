"""``nsightkit timeline``: how busy each GPU was, and what it waited for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.analysis.ranges.nvtx_projection import Attribution
    from nsightkit.analysis.timeline.accounting import Invariant
    from nsightkit.analysis.timeline.timeline import DeviceTimeline
    from nsightkit.analysis.timeline.whole_run import GraphFigures
    from nsightkit.analysis.work.operations import CaptureTables

VIEWS = ("parts", "gaps", "copies", "repetitions", "checks")
_DOC = """Say how busy each GPU was, and what it waited for.

\b
What --show lists:
  parts        busy and idle time, and what they are made of (default). Parts add up to the span, which runs from the
               first start to the last end of the GPU's work. Exposed means that no other kernel ran at the same time.
  gaps         the longest gaps with their cause and what came next
  copies       copies and fills with the achieved bandwidth
  repetitions  ranges that repeat: the first instance against the others, and how even these are
  checks       sums that must come out, and whether they do

Causes of idle time: 'empty queue' is work that was launched after the GPU had run dry; 'host' the same with 1 ms or
more outside CUDA; 'synchronization', 'collective' and 'copy' are waits of the launching thread; 'queued' is work that
had been launched in time.

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
    "gaps": (
        Field("capture_id", "capture", shown=False), Field("device_id", "GPU"), Field("start_ns", "at", "ns"),
        Field("gap_ns", "gap", "ns"), Field("cause", "cause"), Field("next_range", "next work's range"),
        Field("next_name", "next work"), Field("last_name", "work before", shown=False),
    ),
    "copies": (
        Field("operation", "operation"), Field("source_kind", "from"), Field("destination_kind", "to"),
        Field("operation_count", "count", "count"), Field("moved_bytes", "moved", "byte"),
        Field("total_ns", "time", "ns"), Field("bytes_per_s", "rate", "byte/s"),
        Field("best_bytes_per_s", "best", "byte/s"),
    ),
    "repetitions": (
        Field("name", "range"), Field("thread_id", "thread", shown=False),
        Field("instance_count", "instances", "count"), Field("first_ns", "first", "ns"),
        Field("steady_median_ns", "median of the others", "ns"), Field("cold_ratio", "first / median", "×"),
        Field("steady_mean_ns", "mean", "ns"), Field("steady_std_ns", "std", "ns"),
        Field("variation", "std / mean", "1"), Field("min_ns", "min", "ns"), Field("max_ns", "max", "ns"),
    ),
    "checks": (
        Field("name", "what must be equal"), Field("scope", "of"), Field("expected", "expected"),
        Field("found", "found"), Field("unit", "unit", shown=False), Field("holds", "holds"),
    ),
}  # fmt: skip


@dataclass
class _Found:
    rows: list[Any] = field(default_factory=list)
    timelines: list[DeviceTimeline] = field(default_factory=list)
    graphs: list[GraphFigures] = field(default_factory=list)
    broken: list[Invariant] = field(default_factory=list)


@click.command("timeline", help=_DOC)
@paths_argument(required=False)
@click.option("--show", type=click.Choice(VIEWS), default="parts", show_default=True, help="What to list; see above.")
@click.option(
    "--in",
    "within",
    metavar="RANGE",
    help="Only while work of ranges of this name was on the GPU, and of copies and repetitions only what is inside; * "
    "and ? stand for text.",
)
@click.option("--limit", type=click.IntRange(min=0), default=30, show_default=True, help="Rows to show; 0 shows all.")
@format_option
def command(paths: tuple[Path, ...], show: str, within: str | None, limit: int, format_: str) -> None:
    """See _DOC."""
    from nsightkit.cli.attributed import WANTED, captures_of
    from nsightkit.ingest.dataset import open_dataset

    columns = {**WANTED, "memory_operations": None}
    dataset = open_dataset(or_newest_run(paths), columns)
    found = _Found()
    for tables in captures_of(dataset):
        _add(found, tables, show, (within, limit))
    if found.timelines:
        for_people = format_ in ("table", "markdown")
        rows = found.rows[:limit] if limit and for_people and show != "parts" else found.rows
        scope = f"inside {within}" if within else "whole capture"
        caption = f"{dataset.name}: timeline, {show}, {scope}, times as the GPU ran"
        emit(_FIELDS[show], [_row(row, for_people) for row in rows], format_, caption)
        for text in told(found.timelines, found.graphs, found.broken):
            note(text)
    finish(dataset)


def _row(record: Any, for_people: bool) -> dict[str, Any]:
    row = asdict(record)
    if for_people and "part" in row:
        row["part"] = "· " * row["level"] + row["part"]
    if for_people and row.get("next_name"):
        from nsightkit.analysis.kernel_names import describe_kernel

        row["next_name"] = (
            row["next_name"] if row["next_name"][:1] == "[" else describe_kernel(row["next_name"]).friendly
        )
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
    windows = timeline_parts.range_windows(attribution, within) if attribution and within else None
    part, inner = (tables, attribution) if attribution is None or within is None else _part(tables, attribution, within)
    timelines = device_timelines(inputs, windows)
    checks = [check for timeline in timelines for check in accounting.check_timeline(timeline)]
    if inner and show == "checks":
        checks += accounting.check_attribution(inner)
    makers: dict[str, Any] = {
        "parts": lambda: timeline_parts.time_parts(timelines),
        "gaps": lambda: [
            row
            for timeline in timelines
            for row in timeline_parts.longest_gaps(timeline, attribution, limit, windows)  # type: ignore[arg-type]
        ],
        "copies": lambda: copy_rates.copy_rates(part.memory_operations),
        "repetitions": lambda: repetitions.repetitions(inner),  # type: ignore[arg-type]
        "checks": lambda: checks,
    }
    found.rows += makers[show]()
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
    for timeline in timelines:
        yield _device_line(timeline)
    yield from graph_notes(graphs)
    for check in broken:
        yield f"does not come out: {check.name} ({check.scope}): expected {check.expected:.0f}, found {check.found:.0f}"


def graph_notes(graphs: Sequence[GraphFigures]) -> Iterable[str]:
    """Return what must be said of CUDA graphs whose kernels are not in the capture."""
    way_out = "capture with --cuda-graph-trace=node to see them"
    if traced := sum(figures.traced_count for figures in graphs):
        time = fmt.duration(sum(figures.traced_ns for figures in graphs))
        yield (
            f"{traced} CUDA graph launches were traced as a whole: their kernels are hidden, and their {time} count "
            f"for the launch of the graph, as compute; {way_out}"
        )
    if lost := sum(figures.lost_count for figures in graphs):
        yield (
            f"{lost} CUDA graph launches have no traced work: their kernels are hidden, busy time leaves them out; "
            f"{way_out}"
        )


def _device_line(timeline: DeviceTimeline) -> str:
    queue = timeline.queue
    streams = "1 stream" if timeline.stream_count == 1 else f"{timeline.stream_count} streams"
    parts = [f"{streams}, {fmt.plain(timeline.mean_streams)} at once while busy"]
    if timeline.communication_ns:
        parts.append(
            f"communication {fmt.duration(timeline.communication_ns)}, {fmt.share(timeline.overlapped_share)} of it "
            "beside other kernels"
        )
    if queue.launch_count:
        parts.append(f"launch to start {fmt.duration(queue.launch_ns)} (median)")
        parts.append(f"queue {fmt.plain(queue.mean_depth)} deep on average, at most {fmt.count(queue.max_depth)}")
    return f"GPU {timeline.device_id}: " + "; ".join(parts)
