"""The two sides of a comparison as a user names them, loaded.

In: an argument: a capture, a folder of captures, a run directory, a folder of run directories, a stored baseline, a
quoted pattern, or several of these joined by commas. Out: `LoadedSide`, one `LoadedRun` for each process run.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.analysis.compare.comparability import COUNTED, OPERATORS, TIMELINE, SideFacts
from nsightkit.analysis.compare.comparison import ComparedSide
from nsightkit.analysis.compare.run_sums import (
    RunSums,
    from_stored,
    sum_counted,
    sum_launches,
    sum_operators,
    sum_reported,
    with_counters,
)
from nsightkit.baseline import find_baseline, run_paths
from nsightkit.cli.side_facts import LoadedRun, facts_of
from nsightkit.cli.side_names import side_names
from nsightkit.errors import AnalysisError, IngestError
from nsightkit.run import is_run

if TYPE_CHECKING:
    import pyarrow as pa

    from nsightkit.ingest.dataset import Dataset

_LAUNCH_COLUMNS = (
    "kernel_name", "start_ns", "duration_ns", "device_id", "stream_id", "process_id",
    *(f"{part}_{axis}" for part in ("grid", "block") for axis in "xyz"),
)  # fmt: skip
_WANTED: dict[str, tuple[str, ...] | None] = {
    "kernel_launches": _LAUNCH_COLUMNS,
    "reported_sums": None,
    "kernel_counters": None,
    "gpus": None,
    "diagnostics": None,
    "cpu_operators": ("operator_name", "self_ns", "start_ns", "process_id"),
    "kernel_sums": None,
    "kernel_successions": None,
    "counter_means": None,
}


@dataclass(frozen=True)
class LoadedSide:
    """One side: its process runs and what is known of it."""

    name: str
    runs: tuple[LoadedRun, ...]
    facts: SideFacts

    def compared(self, range_name: str | None = None) -> ComparedSide:
        """Return the runs for a comparison, of one NVTX range or whole."""
        sums = [run.sums if range_name is None else run.ranges[range_name] for run in self.runs]
        return ComparedSide(self.name, sums, self.facts.tokens)

    def has_range(self, range_name: str) -> bool:
        """Say whether kernels of every run belong to the range."""
        return all(run.ranges[range_name].launch_count for run in self.runs)


def load_side(argument: str, baselines: Path, ranges: Sequence[str] = ()) -> LoadedSide:
    """Load one side.

    Raises:
        IngestError: `argument` names nothing that can be compared.
        click.UsageError: it names one run twice.
    """
    paths = expand(argument, baselines)
    resolved = [path.resolve() for path in paths]
    twice = next((path for path in paths if resolved.count(path.resolve()) > 1), None)
    if twice is not None:
        raise click.UsageError(f"{twice} is named twice: a run that is counted twice would look surer than it is")
    runs = [_load_run(path, ranges) for path in paths]
    kept = _without_copies(runs)
    name = side_names([argument])[0]
    facts = facts_of(name, kept)
    if len(kept) < len(runs):
        text = f"{len(runs) - len(kept)} of {len(runs)} runs hold the same measurements as another and are counted once"
        facts = replace(facts, warnings=(*facts.warnings, text))
    return LoadedSide(name, tuple(kept), facts)


def named_apart(sides: Sequence[LoadedSide], arguments: Sequence[str]) -> list[LoadedSide]:
    """Return `sides` under names that tell them apart: 'report against report' says nothing to a reader elsewhere."""
    names = side_names(arguments)
    return [
        replace(side, name=name, facts=replace(side.facts, name=name)) for side, name in zip(sides, names, strict=True)
    ]


def expand(argument: str, baselines: Path) -> list[Path]:
    """Return the paths that `argument` names, one a process run.

    Raises:
        IngestError: there is none.
    """
    from nsightkit.ingest.sources import require_input

    path = Path(argument)
    stored = find_baseline(argument, baselines)
    if stored is not None:
        return run_paths(stored)
    if os.path.exists(path):
        require_input(path)
        inner = sorted(child for child in path.iterdir() if is_run(child)) if path.is_dir() and not is_run(path) else []
        return inner or [path]
    # A link to nothing matches itself.
    matches = sorted(match for match in glob.glob(argument) if match != argument)
    if matches:
        return [found for match in matches for found in expand(match, baselines)]
    parts = [part for part in argument.split(",") if part]
    if len(parts) > 1:
        return [found for part in parts for found in expand(part, baselines)]
    raise IngestError(
        f"{argument}: no such file, folder, pattern or baseline in {baselines}/{_meant(argument, baselines)}",
        slug="no-such-file",
    )


def _meant(argument: str, baselines: Path) -> str:
    from nsightkit.ingest.sources import near_name

    return near_name(Path(argument)) or near_name(baselines / argument)


def _load_run(path: Path, ranges: Sequence[str]) -> LoadedRun:
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset([path], _wanted(ranges))
    if not dataset.info.captures and dataset.failures:
        failure = dataset.failures[0]
        raise IngestError(failure.reason, slug=failure.slug)
    if dataset.has("kernel_sums"):
        return _from_baseline(dataset, ranges)
    if dataset.has("kernel_launches") and dataset.arrow("kernel_launches").num_rows:
        return _from_timeline(dataset, ranges, path)
    if dataset.has("reported_sums"):
        return LoadedRun(dataset, sum_reported(dataset.arrow("reported_sums")), _no_ranges(ranges), "nsys-stats")
    if dataset.has("kernel_counters"):
        sums = sum_counted(dataset.rows("kernel_counters"))
        return LoadedRun(dataset, sums, _counted_ranges(dataset, ranges), "ncu")
    if dataset.has("cpu_operators") and dataset.arrow("cpu_operators").num_rows:
        return _from_operators(dataset, ranges)
    backend = dataset.info.captures[0].backend if dataset.info.captures else ""
    return LoadedRun(dataset, RunSums(COUNTED if backend == "ncu" else TIMELINE, {}), _no_ranges(ranges), backend)


def _wanted(ranges: Sequence[str]) -> dict[str, tuple[str, ...] | None]:
    if not ranges:
        return _WANTED
    from nsightkit.cli.scoping import wanted_inside

    found = {**wanted_inside(), **_WANTED}
    for name, columns in wanted_inside().items():
        own = _WANTED.get(name)
        if columns is not None and own is not None:
            found[name] = tuple(dict.fromkeys((*own, *columns)))
    return found


def _inside(dataset: Dataset, name: str) -> Dataset | None:
    """Return what belongs to the ranges that `name` means, as ``--in`` says it everywhere; None where none is there."""
    from nsightkit.cli.scoping import scoped

    try:
        return scoped(dataset, name)
    except AnalysisError as error:
        if error.slug != "no-such-range":
            raise
        return None


def _no_ranges(ranges: Sequence[str]) -> dict[str, RunSums]:
    return {name: RunSums(TIMELINE, {}) for name in ranges}


def _from_baseline(dataset: Dataset, ranges: Sequence[str]) -> LoadedRun:
    tables = [dataset.arrow(name) for name in ("kernel_sums", "kernel_successions", "counter_means")]
    whole, *parts = (from_stored(tables[0], tables[1], tables[2], name) for name in (None, *ranges))
    backend = dataset.info.captures[0].backend if dataset.info.captures else ""
    return LoadedRun(dataset, whole, dict(zip(ranges, parts, strict=True)), backend)


def _from_timeline(dataset: Dataset, ranges: Sequence[str], path: Path) -> LoadedRun:
    launches, backend = _one_backend(dataset)
    sums = sum_launches(launches)
    if dataset.has("kernel_counters"):
        sums = with_counters(sums, dataset.rows("kernel_counters"))
    parts = {}
    for name in ranges:
        part = _inside(dataset, name)
        parts[name] = RunSums(TIMELINE, {}) if part is None else sum_launches(_of_backend(part, backend))
    return LoadedRun(dataset, sums, parts, backend, len(launches["device_id"].unique()), path)


def _from_operators(dataset: Dataset, ranges: Sequence[str]) -> LoadedRun:
    """Return what the CPU did where no GPU was traced."""
    parts = {}
    for name in ranges:
        part = _inside(dataset, name)
        parts[name] = RunSums(OPERATORS, {}) if part is None else sum_operators(part.arrow("cpu_operators"))
    operators = dataset.arrow("cpu_operators")
    return LoadedRun(dataset, sum_operators(operators), parts, dataset.info.captures[0].backend)


def _one_backend(dataset: Dataset) -> tuple[pa.Table, str]:
    """Return the launches as one tool saw them: a run that was traced by nsys and by torch holds each launch twice."""
    launches = dataset.arrow("kernel_launches")
    backends = {capture.capture_id: capture.backend for capture in dataset.info.captures}
    present = set(launches["capture_id"].unique().to_pylist())
    chosen = min((backends.get(name, "") for name in present), key=lambda b: (b != "nsys", b))
    return _of_backend(dataset, chosen), chosen


def _of_backend(dataset: Dataset, backend: str) -> pa.Table:
    """Return the launches that one tool saw."""
    import pyarrow as pa
    import pyarrow.compute as pc

    launches = dataset.arrow("kernel_launches")
    backends = {capture.capture_id: capture.backend for capture in dataset.info.captures}
    present = launches["capture_id"].unique().to_pylist()
    mine = [name for name in present if backends.get(name, "") == backend]
    if len(mine) == len(present):
        return launches
    return launches.filter(pc.is_in(launches["capture_id"].cast(pa.string()), pa.array(mine, pa.string())))


def _counted_ranges(dataset: Dataset, ranges: Sequence[str]) -> dict[str, RunSums]:
    rows = dataset.rows("kernel_counters") if ranges else []
    return {name: sum_counted([row for row in rows if _ran_inside(row, name)]) for name in ranges}


def _ran_inside(row: dict[str, Any], name: str) -> bool:
    from nsightkit.analysis.ranges.range_names import means

    return any(means(part.rpartition("@")[2], name) for part in str(row.get("nvtx_path") or "").split("/"))


def _without_copies(runs: Sequence[LoadedRun]) -> list[LoadedRun]:
    """Return the runs without those that hold, launch by launch, what another holds: copies are no new measurement."""
    kept: dict[object, LoadedRun] = {}
    for run in runs:
        kernels = frozenset(
            (k.kernel_name, k.launch_count, k.total_ns, k.squared_deviation_ns2) for k in run.sums.kernels.values()
        )
        kept.setdefault(kernels if kernels else id(run), run)
    return list(kept.values())
