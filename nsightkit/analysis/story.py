"""What a report tells beyond its tables: findings, phases, the strip of the timeline, NVIDIA's rules on each kernel.

In: tables by name and the analysis made from them. Out: `Story`. A part whose tables are absent is empty, and what it
needs is not even imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nsightkit.analysis.findings import FindingInputs, Findings, Withheld, find
from nsightkit.analysis.results import Analysis
from nsightkit.analysis.roofs.occupancy import occupancy_limiter

if TYPE_CHECKING:
    import pyarrow as pa

    from nsightkit.analysis.advice import KernelAdvice
    from nsightkit.analysis.overview import Tables
    from nsightkit.analysis.ranges.phases import Phases
    from nsightkit.analysis.ranges.repetitions import Repetition
    from nsightkit.analysis.timeline.activity import Activity
    from nsightkit.analysis.timeline.timeline import DeviceTimeline
    from nsightkit.analysis.timeline.whole_run import RunFigures
    from nsightkit.analysis.work.operations import CaptureTables

_WORK = ("kernel_launches", "memory_operations")
_TIMELINE = (*_WORK, "cuda_api_calls", "nvtx_ranges")


@dataclass(frozen=True)
class Story:
    """What was found; `activity`, `phases` and `figures` are of the one capture that has a timeline."""

    activity: Activity | None = None
    phases: Phases | None = None
    timelines: tuple[DeviceTimeline, ...] = ()
    figures: RunFigures | None = None
    advice: dict[int, tuple[KernelAdvice, ...]] = field(
        default_factory=dict
    )  # place in Analysis.kernels -> NVIDIA's rules
    limiters: dict[int, str] = field(default_factory=dict)  # place -> what limits its occupancy
    findings: Findings = field(default_factory=Findings)


def tell(
    tables: Tables, analysis: Analysis, counted: Sequence[dict[str, Any]], tracing_ratio: float | None = None
) -> Story | None:
    """Return the story of a run, None where it holds neither GPU work nor counters.

    Args:
        tables: the tables of the run.
        analysis: made from them.
        counted: the rows of kernel_counters.
        tracing_ratio: wall time of the traced run by that of the same run untraced; None where not measured.
    """
    traced = _traced(tables, tracing_ratio)
    if traced == _Traced() and not analysis.kernels and not analysis.top_kernels:
        return None
    advice = _advice(tables, analysis, counted)
    limiters = _limiters(analysis, counted)
    found = find(
        FindingInputs(
            analysis.top_kernels, analysis.kernels, traced.activity, traced.figures, tracing_ratio,
            traced.repetitions, advice, limiters,
        )
    )  # fmt: skip
    findings = Findings(found.found, (*traced.withheld, *found.withheld))
    return Story(traced.activity, traced.phases, traced.timelines, traced.figures, advice, limiters, findings)


@dataclass(frozen=True)
class _Traced:
    activity: Activity | None = None
    phases: Phases | None = None
    timelines: tuple[DeviceTimeline, ...] = ()
    figures: RunFigures | None = None
    repetitions: tuple[Repetition, ...] = ()
    withheld: tuple[Withheld, ...] = ()


def _traced(tables: Tables, tracing_ratio: float | None) -> _Traced:
    rows = {name: tables.arrow(name) for name in _TIMELINE if tables.has(name)}
    if not any(name in rows and rows[name].num_rows for name in _WORK):
        return _Traced()
    from nsightkit.analysis.timeline.activity import read_activity
    from nsightkit.analysis.work.operations import by_capture

    captures = [part for part in by_capture(rows) if part.kernel_launches.num_rows or part.memory_operations.num_rows]
    if len(captures) != 1:
        reason = f"{len(captures)} captures have a timeline, each with a clock of its own: idle time is not judged"
        return _Traced(withheld=(Withheld("waiting", reason),))
    (capture,) = captures
    phases, repeated = _ranges(capture) if _has_rows(rows, "nvtx_ranges") else (None, ())
    if not _has_rows(rows, "cuda_api_calls"):
        return _Traced(read_activity(capture), phases, repetitions=repeated)
    timelines, figures, withheld = _figures(capture, tracing_ratio)
    return _Traced(read_activity(capture), phases, timelines, figures, repeated, withheld)


def _has_rows(rows: Mapping[str, pa.Table], name: str) -> bool:
    return name in rows and bool(rows[name].num_rows)


def _ranges(capture: CaptureTables) -> tuple[Phases | None, tuple[Repetition, ...]]:
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.ranges.phases import read_phases
    from nsightkit.analysis.ranges.repetitions import repetitions

    attribution = attribute(capture)
    return read_phases(attribution), tuple(repetitions(attribution))


def _figures(
    capture: CaptureTables, tracing_ratio: float | None
) -> tuple[tuple[DeviceTimeline, ...], RunFigures | None, tuple[Withheld, ...]]:
    from nsightkit.analysis.timeline.timeline import device_timelines, timeline_inputs
    from nsightkit.analysis.timeline.whole_run import graph_figures, run_figures

    inputs = timeline_inputs(capture)
    timelines = tuple(device_timelines(inputs))
    hidden = graph_figures(inputs).hidden_count
    if hidden:
        reason = (
            f"{hidden} CUDA graph launches have no traced work: their kernels are hidden, and idle time is not known; "
            "capture with --cuda-graph-trace=node"
        )
        return timelines, None, (Withheld("waiting", reason),)
    return timelines, run_figures(timelines, tracing_ratio), ()


def _advice(
    tables: Tables, analysis: Analysis, counted: Sequence[dict[str, Any]]
) -> dict[int, tuple[KernelAdvice, ...]]:
    if not analysis.kernels or not tables.has("rule_results"):
        return {}
    from nsightkit.analysis.advice import advice_by_kernel

    return advice_by_kernel(tables.rows("rule_results"), counted, analysis.kernels)


def _limiters(analysis: Analysis, counted: Sequence[dict[str, Any]]) -> dict[int, str]:
    chips = {row["capture_id"]: row.get("compute_capability") for row in counted}
    named = {
        place: occupancy_limiter(kernel, chips.get(kernel.capture_id)) for place, kernel in enumerate(analysis.kernels)
    }
    return {place: name for place, name in named.items() if name}
