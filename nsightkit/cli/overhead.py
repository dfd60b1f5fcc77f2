"""Measures how much longer a workload takes under a profiler: runs without it, before and after the capture.

In: a job and what was captured. Out: the record `Capture.overhead`, and the line that says it. The first run without
the profiler comes before the capture: it fills the caches of the file system, which would else count for the profiler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nsightkit.capture.results import read_results
from nsightkit.capture.steps import time_untraced
from nsightkit.cli.output import note

if TYPE_CHECKING:
    from nsightkit.analysis.timeline.tracing_overhead import Repetition
    from nsightkit.capture import Captured
    from nsightkit.cli.jobs import Job

# Repetitions after the capture: as many as fit, and at least two, so that there are three with the one before.
_MOST_REPETITIONS, _LEAST_REPETITIONS = 4, 2
_REPETITIONS_S = 5.0
# A workload that takes longer without a profiler is not run again: the parts of one repetition have to do.
_AGAIN_S = 20.0


@dataclass(frozen=True)
class Untraced:
    """One process without the profiler: its wall time, and its repetitions where it says them."""

    wall_s: float
    repetitions: tuple[Repetition, ...] = ()
    settings: Mapping[str, Any] | None = None


def run_untraced(job: Job, number: int = 1, args: tuple[str, ...] = ()) -> Untraced | None:
    """Run the workload without a profiler; None where it failed or took too long."""
    suffix = "-untraced" if number == 1 else f"-untraced-{number}"
    wall_s = time_untraced(job.untraced(suffix, args), note)
    if wall_s is None:
        return None
    results = read_results(job.results_path(suffix)) if job.workload.bundled else {}
    return Untraced(wall_s, _repetitions(results), results.get("settings"))


def _repetitions(results: Mapping[str, Any]) -> tuple[Repetition, ...]:
    from nsightkit.analysis.timeline.tracing_overhead import parts_of

    found = results.get("repetitions")
    items = found if isinstance(found, list) else []
    return tuple(parts for item in items if isinstance(item, dict) and (parts := parts_of(item)))


def measure_overhead(job: Job, captured: Sequence[Captured], first: Untraced | None) -> dict[str, Any]:
    """Run the workload again without the profiler, and return the record; empty where nothing is known."""
    from nsightkit.analysis.timeline.tracing_overhead import overhead_of

    runs = [] if first is None else [first, *_again(job, first)]
    if not runs:
        note("the workload failed without the profiler: the overhead is not known")
        return {}
    suffixes = [""] if job.wishes.process_runs == 1 else [f"-run{n}" for n in range(1, len(captured) + 1)]
    traced = [item for suffix in suffixes for item in timed_repetitions(job, suffix)]
    found = overhead_of(traced, [item for run in runs for item in run.repetitions])
    if found is not None:
        what = "decode steps" if found.part_count > 1 else "timed repetitions"
        return asdict(found) | {"basis": f"wall time of the {what}"}
    walls = [(item.workload_wall_s,) for item in captured if item.workload_wall_s]
    same = [(run.wall_s,) for run in runs if run.settings is None or run is first]
    found = overhead_of(walls, same)
    return {} if found is None else asdict(found) | {"basis": "wall time of the process"}


def timed_repetitions(job: Job, suffix: str) -> tuple[Repetition, ...]:
    """Return what a bundled workload timed in the run whose files end in `suffix`; nothing for other programs."""
    return _repetitions(read_results(job.results_path(suffix))) if job.workload.bundled else ()


def _again(job: Job, first: Untraced) -> list[Untraced]:
    """Return more runs without the profiler: one of several repetitions, or two of a program that has none."""
    if first.wall_s > _AGAIN_S:
        return []
    note("again without the profiler, for the spread of its times")
    if first.repetitions and (first.settings or {}).get("bench_iters") is not None:
        each_s = max(sum(first.repetitions[0]), 1e-3)
        count = min(_MOST_REPETITIONS, max(_LEAST_REPETITIONS, int(_REPETITIONS_S / each_s)))
        more = [run_untraced(job, 2, ("--bench-iters", str(count)))]
    else:
        more = [run_untraced(job, number) for number in (2, 3)]
    return [run for run in more if run is not None]
