"""``nsightkit verdict``: what bounds a run as a whole, with the numbers that decide.

In: captures of one run. Out: one row a capture; where it cannot be decided, what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option
from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.analysis.timeline.run_verdict import RunVerdict
    from nsightkit.analysis.timeline.whole_run import RunFigures
    from nsightkit.ingest.dataset import Dataset

Row = dict[str, Any]
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
)  # fmt: skip


@click.command("verdict")
@paths_argument(required=False)
@click.option(
    "--tracing-ratio", type=click.FloatRange(min=0, min_open=True),
    help="Wall time with the profiler ÷ without it, where the run did not measure it.",
)  # fmt: skip
@format_option
def command(paths: tuple[Path, ...], tracing_ratio: float | None, format_: str) -> None:
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
    verdicts = list(_verdicts(dataset, tracing_ratio))
    rows = [{name: getattr(found, name) for name in found.__slots__} | {"capture_id": c} for c, found in verdicts]
    emit(FIELDS, rows, format_, f"{dataset.name}: what bounds the run")
    if format_ in ("table", "markdown"):
        for capture, found in verdicts:
            for text in _numbers(found):
                click.echo(fmt.printable(f"{capture}: {text}"))
    finish(dataset)


def _verdicts(dataset: Dataset, given: float | None) -> Iterable[tuple[str, RunVerdict]]:
    from nsightkit.analysis.timeline.run_verdict import bound_shares, judge_run

    figures = _figures(dataset, given)
    bounds = {capture: bound_shares(rows) for capture, rows in _rows(dataset).items()}
    timed = [capture.capture_id for capture in dataset.info.captures if capture.capture_id in figures]
    if not timed:
        # Summaries and counters have no timeline: one answer for all of them.
        ratios = [ratio for ratio in (given, *_measured(dataset).values()) if ratio is not None]
        yield dataset.name, judge_run(None, tracing_ratio=ratios[0] if ratios else None)
    for capture in timed:
        yield capture, judge_run(figures[capture], bounds.get(capture))


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
    from nsightkit.analysis.timeline.timeline import device_timelines, timeline_inputs
    from nsightkit.analysis.timeline.whole_run import run_figures
    from nsightkit.analysis.work.operations import by_capture
    from nsightkit.cli.attributed import WANTED

    if not dataset.has("kernel_launches"):
        return {}
    measured = _measured(dataset)
    found = {}
    for tables in by_capture({name: dataset.arrow(name) for name in WANTED}):
        ratio = given if given is not None else measured.get(tables.capture_id)
        inputs = timeline_inputs(tables)
        figures = run_figures(device_timelines(inputs), ratio) if inputs.operations.size else None
        if figures is not None:
            found[tables.capture_id] = figures
    return found


def _rows(dataset: Dataset) -> dict[str, list[Any]]:
    """Return roofline rows by capture, of captures with operators: counters are of another execution."""
    if not dataset.has("cpu_operators"):
        return {}
    from nsightkit.analysis.roofs.roofline_rows import roofline_rows

    tables = {name: dataset.rows(name) for name in ("cpu_operators", "kernel_launches", "gpus") if dataset.has(name)}
    rows: dict[str, list[Any]] = {}
    for row in roofline_rows(tables):
        rows.setdefault(row.capture_id, []).append(row)
    return rows


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
        yield f"{name} {shown}{held}"
    yield from found.flags
