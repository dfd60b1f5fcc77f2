"""Reads profiled runs for a study: the runs of its own sweeps, and captures of others.

In: run directories and capture files. Out: `Trace` records.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsightkit.analysis import AnalysisOptions, analyze_tables
from nsightkit.analysis.distributions import summarize_classes
from nsightkit.analysis.results import ClassSummary, KernelSummary, RooflineRow
from nsightkit.analysis.roofs.classification import classify_kernels
from nsightkit.analysis.studies.instances import Decoded, stalls_of
from nsightkit.analysis.studies.operators import PhaseProfile, phase_profiles
from nsightkit.analysis.work.host_cost import HostCost
from nsightkit.analysis.work.operations import CaptureTables
from nsightkit.cli.attributed import WANTED
from nsightkit.errors import NsightkitError
from nsightkit.ingest import open_dataset
from nsightkit.ingest.dataset import Dataset
from nsightkit.report.studies.traces import Trace
from nsightkit.run import is_run

PHASES = ("sam", "clip", "projector", "prefill", "decode")
_DECODE = "decode"
RULES = ("sol-gap", "ncu", "roofline", "auto")
_RULE = "sol-gap"  # the only rule that needs no more than a speed-of-light section


@dataclass(frozen=True)
class Captured:
    """Where the captures of one arm lie, and what is known of it."""

    label: str
    paths: tuple[Path, ...]
    part: str = ""
    results: dict[str, Any] | None = None
    gpu: str | None = None  # key of the table of GPUs, where the captures do not name theirs


def read_trace(captured: Captured) -> Trace:
    """Return the trace of one arm.

    Raises:
        NsightkitError: none of the paths can be read.
    """
    dataset = open_dataset(captured.paths)
    if not dataset.info.captures and dataset.failures:
        raise NsightkitError(dataset.failures[0].reason, slug=dataset.failures[0].slug)
    run = _decoded(captured)
    options = AnalysisOptions(_RULE, tokens=run.steps * run.runs if run else dataset.info.tokens, gpu=captured.gpu)
    rows = {name: dataset.rows(name) if dataset.has(name) else [] for name in ("rule_results", "kernel_counters")}
    device = captured.results["machine"]["device_name"] if captured.results else dataset.info.gpu_name
    return Trace(
        captured.label,
        dataset.info,
        analyze_tables(dataset, options),
        run,
        _kernels_of_decode(dataset),
        _operators(dataset),
        stalls_of(rows["rule_results"], rows["kernel_counters"]),
        _by_rule(rows["kernel_counters"], captured.gpu),
        _host_cost(dataset),
        _placed(dataset, captured.gpu),
        captured.part,
        device or _device_named(captured.gpu),
    )


def _device_named(key: str | None) -> str:
    """Return the words for a device that only the option states."""
    if key is None:
        return ""
    from nsightkit.gpus import gpu_of_key

    return f"{gpu_of_key(key).names[0]} (as --gpu says; the captures do not name it)"


def _by_rule(rows: list[dict[str, Any]], gpu: str | None) -> dict[str, tuple[ClassSummary, ...]]:
    """Return the classes of the profiled kernels by each rule."""
    return {rule: tuple(summarize_classes(classify_kernels(rows, rule, gpu=gpu))) for rule in RULES if rows}


def _decoded(captured: Captured) -> Decoded | None:
    settings = captured.results["settings"] if captured.results else {}
    if not {"layers", "max_new_tokens", "bench_iters"} <= set(settings):
        return None
    return Decoded(
        captured.label,
        settings["layers"],
        settings["max_new_tokens"],
        settings["bench_iters"] + settings.get("warmup_iters", 0),
        settings.get("kv_cache"),
        settings["batch_size"],
        settings["prompt_len"],
    )


def _timelines(dataset: Dataset) -> list[CaptureTables]:
    """Return the captures that have a timeline with ranges."""
    from nsightkit.analysis.work.operations import by_capture

    if not dataset.has("nvtx_ranges"):
        return []
    return list(by_capture({name: dataset.arrow(name) for name in WANTED if dataset.has(name)}))


def _kernels_of_decode(dataset: Dataset) -> tuple[KernelSummary, ...]:
    """Return the kernels that ranges named decode launched; none where the capture has no launches or no such range."""
    import pyarrow as pa

    from nsightkit.analysis.kernel_summary import summarize_kernels
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.ranges.range_scope import tables_inside

    parts = [tables_inside(tables, attribute(tables), _DECODE).kernel_launches for tables in _timelines(dataset)]
    return tuple(summarize_kernels(pa.concat_tables(parts).unify_dictionaries())) if parts else ()


def _placed(dataset: Dataset, gpu: str | None) -> tuple[RooflineRow, ...]:
    """Return the operator calls of decode with their work from shapes; none where a GPU ran kernels."""
    from nsightkit.analysis.roofs.roofline_rows import RooflineChoice
    from nsightkit.rooflines import rows_of

    if not dataset.has("cpu_operators") or (dataset.has("kernel_launches") and dataset.rows("kernel_launches")):
        return ()
    rows = rows_of(dataset, RooflineChoice(gpu=gpu, by_range=True, phases=(_DECODE,)))
    return tuple(row for row in rows if row.range_name == _DECODE)


def _host_cost(dataset: Dataset) -> HostCost | None:
    from nsightkit.analysis.work.host_cost import host_cost

    operators = dataset.arrow("cpu_operators") if dataset.has("cpu_operators") else None
    # A run of a study has one timeline; of several the first that has decode counts.
    return next((cost for t in _timelines(dataset) if (cost := host_cost(t, operators, _DECODE)) is not None), None)


def _operators(dataset: Dataset) -> tuple[PhaseProfile, ...]:
    if not (dataset.has("cpu_operators") and dataset.has("nvtx_ranges")):
        return ()
    calls = dataset.arrow("cpu_operators", ("operator_name", "start_ns", "self_ns", "thread_id")).to_pylist()
    ranges = dataset.arrow("nvtx_ranges", ("name", "start_ns", "duration_ns", "thread_id")).to_pylist()
    return tuple(phase_profiles(calls, ranges, PHASES))


def is_capture(path: Path) -> bool:
    """Say whether `path` is for the profilers' readers and not for those of results files."""
    if is_run(path):
        return True
    if path.is_dir():
        return not any(file.suffix in (".json", ".jsonl") for file in path.iterdir())
    return path.suffix != ".jsonl" and not _is_results(path)


def _is_results(path: Path) -> bool:
    if path.suffix != ".json" or not path.is_file() or path.stat().st_size > (64 << 20):
        return False
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # the reader of results says what is wrong with it
    return not (isinstance(data, list) or "traceEvents" in data)


def results_in(path: Path) -> dict[str, Any] | None:
    """Return the results that the workload left in a run directory, None where there are none."""
    try:
        data = json.loads((path / "capture" / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and "settings" in data else None


def foreign_traces(paths: Sequence[Path], together: bool, gpu: str | None = None) -> tuple[list[Trace], list[str]]:
    """Return a trace for each path, or one of all `together`; and what failed."""
    found, failed = [], []
    groups = [tuple(paths)] if together else [(path,) for path in paths]
    for group in groups:
        first = group[0]
        results = results_in(first) if is_run(first) else None
        label = " + ".join(path.name if path.is_dir() else path.name.split(".")[0] for path in group)
        try:
            found.append(read_trace(Captured(label, group, "foreign", results, gpu)))
        except NsightkitError as error:
            failed.append(str(error) if first.name in str(error) else f"{first.name}: {error}")
    return found, failed
