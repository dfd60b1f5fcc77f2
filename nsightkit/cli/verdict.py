"""``nsightkit verdict``: what bounds a run as a whole, with the numbers that decide.

In: captures of one run. Out: one row a capture; where it cannot be decided, what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.scoping import no_work, notes_of, scope_words, scoped, whole_of, within_of, within_option
from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.analysis.timeline.run_verdict import RunVerdict
    from nsightkit.analysis.timeline.whole_run import RunFigures
    from nsightkit.ingest.dataset import Dataset

FIELDS = (
    Field("capture_id", "capture"),
    Field("bound", "bound", wraps=False),
    Field("reason", "reason"),
    Field("inputs", "inputs", shown=False),
    Field("thresholds", "thresholds", shown=False),
    Field("missing", "missing"),
    Field("flags", "flags", shown=False),
)
_TABLES = (
    "kernel_launches", "cuda_api_calls", "memory_operations", "nvtx_ranges", "cpu_operators", "gpus", "kernel_counters",
    "graph_launches", "gpu_metric_samples",
)  # fmt: skip


@click.command("verdict")
@paths_argument(required=False)
@click.option(
    "--tracing-ratio", type=click.FloatRange(min=0, min_open=True),
    help="Wall time with the profiler ÷ without it, where the run did not measure it.",
)  # fmt: skip
@within_option
@format_option
def command(paths: tuple[Path, ...], tracing_ratio: float | None, within: str | None, format_: str) -> None:
    """Say what bounds a run: LAUNCH, TRANSFER, COMMUNICATION, MEMORY, COMPUTE or UNKNOWN.

    Launch-bound needs all of it: more than 30 % of the span idle, most of that in gaps where the next launch came after
    the GPU had run dry, and tracing that took at most 1.1 times as long as the run without it. Memory and compute need
    bounds of the kernels in the same capture. Numbers of two executions are never divided by one another.

    \b
    nsightkit verdict profile.sqlite --tracing-ratio 1.04
    nsightkit verdict trace.json.gz
    """
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset(or_newest_run(paths), dict.fromkeys(_TABLES) | {"reported_sums": None})
    if not dataset.info.captures:
        finish(dataset)
    dataset = scoped(dataset, within)
    verdicts = list(_verdicts(dataset, tracing_ratio))
    rows = [{name: getattr(found, name) for name in found.__slots__} | {"capture_id": c} for c, found in verdicts]
    bounded = f"what bounds the run {scope_words(within)}" if within else "what bounds the run"
    emit(FIELDS, rows, format_, f"{dataset.name}: {bounded}")
    if format_ in ("table", "markdown"):
        for capture, found in verdicts:
            for text in _numbers(found):
                click.echo(fmt.printable(f"{capture}: {text}"))
    for text in notes_of(dataset):
        note(text)
    finish(dataset)


def _verdicts(dataset: Dataset, given: float | None) -> Iterable[tuple[str, RunVerdict]]:
    from nsightkit.analysis.timeline.run_verdict import RunVerdict, bound_shares, judge_run

    figures = _figures(dataset, given)
    rows = _rows(dataset)
    bounds = {capture: bound_shares(found) for capture, found in rows.items()}
    flags = {capture: _flags(found) for capture, found in rows.items()}
    timed = [capture.capture_id for capture in dataset.info.captures if capture.capture_id in figures]
    within = within_of(dataset)
    if not timed and within and whole_of(dataset).has("kernel_launches"):
        yield dataset.name, RunVerdict("UNKNOWN", no_work(within))
    elif not timed:
        # Summaries and counters have no timeline: one answer for all of them.
        ratios = [ratio for ratio in (given, *_measured(dataset).values()) if ratio is not None]
        yield dataset.name, judge_run(None, tracing_ratio=ratios[0] if ratios else None)
    for capture in timed:
        found = judge_run(figures[capture], bounds.get(capture))
        yield capture, replace(found, flags=(*found.flags, *flags.get(capture, ())))


def _flags(rows: Iterable[Any]) -> tuple[str, ...]:
    """Return what to know of bounds that nsys sampled."""
    return tuple(dict.fromkeys(flag for row in rows if row.tier == "sampled" for flag in row.flags))


def _measured(dataset: Dataset) -> dict[str, float | None]:
    """Return capture -> traced ÷ untraced wall time as the run measured it, or at least; None where it is not known."""
    return {capture.capture_id: _at_least(capture.overhead) for capture in dataset.info.captures}


def _at_least(overhead: dict[str, Any]) -> float | None:
    from nsightkit.analysis.timeline.whole_run import MOST_TRACING_OVERHEAD

    ratio, low = overhead.get("ratio"), overhead.get("low")
    if ratio is None and low is not None and low > MOST_TRACING_OVERHEAD:
        # Not measurable, but more than is allowed whatever it is.
        return float(low)
    return None if ratio is None else float(ratio)


def _figures(dataset: Dataset, given: float | None) -> dict[str, RunFigures]:
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.timeline.timeline import device_timelines, timeline_inputs
    from nsightkit.analysis.timeline.timeline_parts import range_windows
    from nsightkit.analysis.timeline.whole_run import graph_figures, run_figures
    from nsightkit.analysis.work.operations import by_capture
    from nsightkit.cli.attributed import WANTED

    if not any(dataset.has(name) for name in ("kernel_launches", "memory_operations", "graph_launches")):
        return {}
    measured, within = _measured(dataset), within_of(dataset)
    found = {}
    # While a range had work on the GPU, other work may have run too: idle is judged among all of it.
    whole = whole_of(dataset)
    for tables in by_capture({name: whole.arrow(name) for name in WANTED}):
        ratio = given if given is not None else measured.get(tables.capture_id)
        inputs = timeline_inputs(tables)
        windows = range_windows(attribute(tables), within) if within else None
        if not inputs.operations.size:
            continue
        hidden = graph_figures(inputs).lost_count
        figures = run_figures(device_timelines(inputs, windows), ratio, hidden)
        if figures is not None:
            found[tables.capture_id] = figures
    return found


def _rows(dataset: Dataset) -> dict[str, list[Any]]:
    """Return roofline rows by capture, sampled or of operators with shapes: counters are of another execution."""
    from nsightkit.analysis.roofs.phase_rows import sampled_of

    sampled = sampled_of(dataset)
    if not dataset.has("cpu_operators"):
        return dict(sampled)
    from nsightkit.analysis.roofs.roofline_rows import roofline_rows

    tables = {name: dataset.rows(name) for name in ("cpu_operators", "kernel_launches", "gpus") if dataset.has(name)}
    rows: dict[str, list[Any]] = {}
    for row in roofline_rows(tables):
        rows.setdefault(row.capture_id, []).append(row)
    return rows | sampled


# The numbers that decide, in the words of the report; --format json has their names.
_WORDS = {
    "span_ns": "span",
    "idle_share": "idle, of the span",
    "empty_queue_share_of_idle": "idle with an empty queue, of the idle time",
    "tracing_ratio": "traced by untraced time",
    "corrected_idle_share": "idle corrected for tracing, of the span",
    "gpu_share": "GPU computing, of the span",
    "launch_share": "waiting for launches, of the span",
    "host_share": "waiting for the program outside CUDA, of the span",
    "transfer_share": "copies that nothing hides, of the span",
    "communication_share": "communication that nothing hides, of the span",
    "queued_share": "idle although work was queued, of the span",
    "synchronization_share": "waiting after a synchronization, of the span",
    "unknown_share": "idle of unknown cause, of the span",
    "bound_share": "time of the largest bound, of the GPU's",
    "step_ns": "step",
    "floor_ns": "its roofline time",
    "step_by_floor": "step by its roofline time",
}


def _numbers(found: RunVerdict) -> Iterable[str]:
    for name, value in found.inputs.items():
        shown = (
            fmt.with_unit(value, "ns")
            if name.endswith("_ns")
            else fmt.share(value)
            if "share" in name
            else f"{value:.2f}"
        )
        limit = found.thresholds.get(name)
        held = "" if limit is None else f" (threshold {fmt.share(limit) if 'share' in name else f'{limit:.2f}'})"
        yield f"{_WORDS.get(name, name.replace('_', ' '))} {shown}{held}"
    yield from found.flags
