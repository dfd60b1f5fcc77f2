"""What a report tells beyond its tables: findings, phases, the strip of the timeline, NVIDIA's rules on each kernel.

In: tables by name and the analysis made from them. Out: `Story`. A part whose tables are absent is empty, and what it
needs is not even imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nsightkit.analysis.findings import FindingInputs, Findings, Withheld, find
from nsightkit.analysis.results import Analysis
from nsightkit.analysis.roofs.occupancy import occupancy_limiter
from nsightkit.tables import GPU_WORK

if TYPE_CHECKING:
    from nsightkit.analysis.advice import KernelAdvice
    from nsightkit.analysis.counters.stalls import Stall
    from nsightkit.analysis.counters.timeline_weights import Weight
    from nsightkit.analysis.overview import AnalysisOptions, Scope, Tables
    from nsightkit.analysis.ranges.phases import Phases
    from nsightkit.analysis.ranges.repetitions import Repetition
    from nsightkit.analysis.timeline.accounting import Invariant
    from nsightkit.analysis.timeline.activity import Activity
    from nsightkit.analysis.timeline.copy_rates import CopyRate
    from nsightkit.analysis.timeline.intervals import Intervals
    from nsightkit.analysis.timeline.memory_use import MemoryUse
    from nsightkit.analysis.timeline.timeline import DeviceTimeline
    from nsightkit.analysis.timeline.whole_run import GraphFigures, RunFigures
    from nsightkit.analysis.work.operations import CaptureTables

_WORK_COLUMNS = ("start_ns", "duration_ns", "device_id", "stream_id", "process_id", "correlation_id")
# Only these columns of what may be millions of rows are read.
_TIMELINE = {
    "kernel_launches": ("capture_id", "kernel_name", *_WORK_COLUMNS),
    "memory_operations": ("capture_id", "operation", *_WORK_COLUMNS),
    "graph_launches": ("capture_id", *_WORK_COLUMNS),
    "cuda_api_calls": (
        "capture_id", "name", "start_ns", "duration_ns", "process_id", "thread_id", "correlation_id",
    ),
    "nvtx_ranges": (
        "capture_id", "name", "domain", "kind", "start_ns", "duration_ns", "process_id", "thread_id", "end_thread_id",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Story:
    """What was found; `activity`, `phases` and `figures` are of the one capture that has a timeline."""

    activity: Activity | None = None
    phases: Phases | None = None
    timelines: tuple[DeviceTimeline, ...] = ()
    figures: RunFigures | None = None
    graphs: GraphFigures | None = None  # CUDA graphs, and whether their kernels are hidden
    memory: tuple[MemoryUse, ...] = ()  # of each GPU, where allocations were recorded
    broken: tuple[Invariant, ...] = ()  # sums that do not come out: the capture is damaged, or we are wrong
    advice: dict[int, tuple[KernelAdvice, ...]] = field(
        default_factory=dict
    )  # place in Analysis.kernels -> NVIDIA's rules
    limiters: dict[int, str] = field(default_factory=dict)  # place -> what limits its occupancy
    stalls: dict[int, tuple[Stall, ...]] = field(default_factory=dict)  # place -> why its warps waited
    weights: dict[int, Weight] = field(default_factory=dict)  # place -> what it stands for in the timeline
    findings: Findings = field(default_factory=Findings)
    timeline_count: int = 0  # captures that have a timeline
    repetitions: tuple[Repetition, ...] = ()  # ranges that repeat: the first instance against the others
    copies: tuple[CopyRate, ...] = ()  # copies and fills of all captures, with their rates


def tell(
    tables: Tables, analysis: Analysis, counted: Sequence[dict[str, Any]], options: AnalysisOptions
) -> Story | None:
    """Return the story of a run, None where it holds neither GPU work nor counters.

    Args:
        tables: the tables of the run.
        analysis: made from them.
        counted: the rows of kernel_counters.
        options: what it was made with.
    """
    traced = _traced(tables, options)
    if traced == _Traced() and not analysis.kernels and not analysis.top_kernels:
        return None
    advice = _advice(tables, analysis, counted)
    limiters = _limiters(analysis, counted)
    weights = _weights(tables, analysis, counted)
    found = find(
        FindingInputs(
            analysis.top_kernels, analysis.kernels, traced.activity, traced.figures, options.tracing_ratio,
            traced.repetitions, advice, limiters, analysis.work, weights,
        )
    )  # fmt: skip
    findings = Findings(found.found, (*traced.withheld, *found.withheld))
    stalls = _stalls(tables, analysis, counted)
    return Story(
        traced.activity, traced.phases, traced.timelines, traced.figures, traced.graphs, _memory(tables),
        traced.broken, advice,
        limiters, stalls, weights, findings, traced.count, traced.repetitions,
        _copies(tables),
    )  # fmt: skip


@dataclass(frozen=True)
class _Traced:
    activity: Activity | None = None
    phases: Phases | None = None
    timelines: tuple[DeviceTimeline, ...] = ()
    figures: RunFigures | None = None
    repetitions: tuple[Repetition, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    graphs: GraphFigures | None = None
    broken: tuple[Invariant, ...] = ()
    count: int = 0  # captures that have a timeline


def _traced(tables: Tables, options: AnalysisOptions) -> _Traced:
    count, capture = _only_capture(tables)
    if not count:
        return _Traced()
    if capture is None or capture.work is None:
        reason = f"{count} captures have a timeline, each with a clock of its own: idle time is not judged"
        return _Traced(withheld=(Withheld("waiting", reason),), count=count)
    from nsightkit.analysis.timeline.activity import read_activity

    phases, repeated, broken = _ranges(capture) if capture.nvtx_ranges.num_rows else (None, (), ())
    _give_back(capture)
    if not capture.work[0].start_ns.size:
        return _Traced(read_activity(capture), phases, repetitions=repeated, broken=broken)
    timed = _figures(capture, options)
    return replace(
        timed, activity=read_activity(capture), phases=phases, repetitions=repeated, broken=(*timed.broken, *broken)
    )


def _only_capture(tables: Tables) -> tuple[int, CaptureTables | None]:
    """Return how many captures have GPU work, and that one, read, where it is the only one.

    What its tables held is free again when this returns: everything after it shares what was read.
    """
    found = {capture for name in GPU_WORK if tables.has(name) for capture in _capture_ids(tables, name)}
    if len(found) != 1:
        return len(found), None
    from nsightkit.analysis.work.operations import read_condensed, rows_of

    (only,) = found
    return 1, read_condensed(
        only, lambda name: rows_of(only, tables.arrow(name, _TIMELINE[name])) if tables.has(name) else None
    )


def _capture_ids(tables: Tables, name: str) -> set[str]:
    from nsightkit.analysis.arrays import distinct, words

    codes, names = words(tables.arrow(name, ("capture_id",)), "capture_id")
    return {names[code].as_py() for code in distinct(codes)}


def _captures_of(tables: Tables) -> list[CaptureTables]:
    """Return the captures that have GPU work."""
    rows = {name: tables.arrow(name, columns) for name, columns in _TIMELINE.items() if tables.has(name)}
    if not any(name in rows and rows[name].num_rows for name in GPU_WORK):
        return []
    from nsightkit.analysis.work.operations import by_capture

    return [part for part in by_capture(rows) if any(_rows_in(part, name) for name in GPU_WORK)]


def _give_back(capture: CaptureTables) -> None:
    from nsightkit.analysis.arrays import give_back
    from nsightkit.analysis.work.operations import MANY

    if capture.work and capture.work[1].size > MANY:
        give_back()


def _rows_in(capture: CaptureTables, name: str) -> int:
    rows = getattr(capture, name)
    return 0 if rows is None else int(rows.num_rows)


def _ranges(capture: CaptureTables) -> tuple[Phases | None, tuple[Repetition, ...], tuple[Invariant, ...]]:
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.ranges.phases import read_phases
    from nsightkit.analysis.ranges.repetitions import repetitions
    from nsightkit.analysis.timeline.accounting import broken, check_ranges

    attribution = attribute(capture)
    _give_back(capture)
    return read_phases(attribution), tuple(repetitions(attribution)), tuple(broken(check_ranges(attribution)))


def _figures(capture: CaptureTables, options: AnalysisOptions) -> _Traced:
    from nsightkit.analysis.timeline.accounting import broken, check_timeline, check_work
    from nsightkit.analysis.timeline.timeline import device_timelines, timeline_inputs
    from nsightkit.analysis.timeline.whole_run import graph_figures, run_figures

    capture, windows = (capture, None) if options.scope is None else _around(options.scope, capture)
    inputs = timeline_inputs(capture)
    timelines = tuple(device_timelines(inputs, windows))
    found = _Traced(
        timelines=timelines,
        graphs=graph_figures(inputs),
        broken=tuple(
            broken(
                [
                    *check_work(capture.capture_id, inputs.operations),
                    *(check for timeline in timelines for check in check_timeline(timeline)),
                ]
            )
        ),
    )
    if found.graphs and found.graphs.lost_count:
        reason = (
            f"{found.graphs.lost_count} CUDA graph launches have no traced work: their kernels are hidden, and idle "
            "time is not known; capture with --cuda-graph-trace=node"
        )
        return replace(found, withheld=(Withheld("waiting", reason),))
    return replace(found, figures=run_figures(timelines, options.tracing_ratio))


def _around(scope: Scope, part: CaptureTables) -> tuple[CaptureTables, dict[int, Intervals]]:
    """Return the whole capture, and when work of the range was on each GPU."""
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.timeline.timeline_parts import range_windows

    captures = _captures_of(scope.around)
    whole = next((capture for capture in captures if capture.capture_id == part.capture_id), part)
    return whole, range_windows(attribute(whole), scope.within)


def _copies(tables: Tables) -> tuple[CopyRate, ...]:
    if not tables.has("memory_operations"):
        return ()
    from nsightkit.analysis.timeline.copy_rates import COLUMNS, copy_rates

    return tuple(copy_rates(tables.arrow("memory_operations", COLUMNS)))


def _memory(tables: Tables) -> tuple[MemoryUse, ...]:
    if not tables.has("device_memory"):
        return ()
    from nsightkit.analysis.timeline.memory_use import memory_use

    return tuple(memory_use(tables.arrow("device_memory")))


def _advice(
    tables: Tables, analysis: Analysis, counted: Sequence[dict[str, Any]]
) -> dict[int, tuple[KernelAdvice, ...]]:
    if not analysis.kernels or not tables.has("rule_results"):
        return {}
    from nsightkit.analysis.advice import advice_by_kernel

    return advice_by_kernel(tables.rows("rule_results"), counted, analysis.kernels)


def _stalls(tables: Tables, analysis: Analysis, counted: Sequence[dict[str, Any]]) -> dict[int, tuple[Stall, ...]]:
    if not analysis.kernels or not tables.has("warp_stalls"):
        return {}
    from nsightkit.analysis.counters.stalls import stalls_by_kernel

    return stalls_by_kernel(tables.rows("warp_stalls"), counted, analysis.kernels)


def _weights(tables: Tables, analysis: Analysis, counted: Sequence[dict[str, Any]]) -> dict[int, Weight]:
    if not analysis.kernels or not tables.has("counter_targets"):
        return {}
    from nsightkit.analysis.counters.timeline_weights import timeline_weights

    return timeline_weights(tables.rows("counter_targets"), counted, analysis.kernels)


def _limiters(analysis: Analysis, counted: Sequence[dict[str, Any]]) -> dict[int, str]:
    chips = {row["capture_id"]: row.get("compute_capability") for row in counted}
    named = {
        place: occupancy_limiter(kernel, chips.get(kernel.capture_id)) for place, kernel in enumerate(analysis.kernels)
    }
    return {place: name for place, name in named.items() if name}
