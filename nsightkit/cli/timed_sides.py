"""Results of benchmarks as sides of a comparison.

In: an argument: a results file (JSON or JSON lines), a folder of them, a sweep without a profiler, a folder of such
sweeps, a quoted pattern, several of these joined by commas, or a baseline of results. Out: `TimedSide`, or None where
the argument names something else.
"""

from __future__ import annotations

import glob
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nsightkit.analysis.compare.stored_timings import timings_from_stored
from nsightkit.analysis.compare.timing_comparison import TimedSide
from nsightkit.analysis.foreign_results import Item, Results, parse_results
from nsightkit.baseline import find_baseline, read_timings
from nsightkit.errors import IngestError
from nsightkit.run import is_run

# A trace of torch.profiler is JSON too, and far larger than results.
_MOST_BYTES = 16 << 20
_SUFFIXES = (".json", ".jsonl")


def timed_side(argument: str, baselines: Path) -> TimedSide | None:
    """Return the timings that `argument` names; None where it names no results.

    Raises:
        IngestError: results are damaged, or hold no timing.
    """
    stored = find_baseline(argument, baselines)
    if stored is not None:
        kept = read_timings(stored)
        return None if kept is None else TimedSide(stored.name, Results(timings=timings_from_stored(kept)))
    found = [item for path in _paths(argument) for item in _items(path)]
    if not found:
        return None
    return TimedSide(Path(argument).name or argument, _parsed(argument, found))


def _paths(argument: str) -> list[Path]:
    if os.path.exists(argument):
        return [Path(argument)]
    matches = [Path(match) for match in sorted(glob.glob(argument))]
    parts = [part for part in argument.split(",") if part]
    return matches or ([path for part in parts for path in _paths(part)] if len(parts) > 1 else [])


def _items(path: Path) -> Iterator[Item]:
    if path.is_dir() and os.access(path, os.R_OK | os.X_OK):
        yield from _of_folder(path)
    elif path.suffix in _SUFFIXES:
        yield from _of_file(path)


def _of_folder(path: Path) -> Iterator[Item]:
    if (path / "sweep.json").is_file():
        yield from _of_sweep(path)
    elif not is_run(path):
        for file in sorted(path.iterdir()):
            # Not every folder below: those of runs are read as captures.
            yield from _items(file) if file.is_file() or (file / "sweep.json").is_file() else ()


def _of_sweep(folder: Path) -> Iterator[Item]:
    """Return the timings of a sweep without a profiler: a traced program times its tracer too."""
    if json.loads((folder / "sweep.json").read_text(encoding="utf-8")).get("tool") != "none":
        return
    files = sorted(folder.glob("cells/*/results.json"))
    for file in files:
        for _, data in _of_file(file):
            yield (f"{file.parent.name}/{file.name}", data)
    if not files:
        for file in sorted((folder / "tables" / "results").glob("*.parquet")):
            yield from _of_table(file)


def _of_file(path: Path) -> Iterator[Item]:
    """Return the objects of one file; none where it is no results file, which other readers may know."""
    try:
        if not 0 < path.stat().st_size <= _MOST_BYTES:
            return
        text = path.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else [text]
        objects = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return
    for data in objects:
        if isinstance(data, dict) and _is_result(data):
            yield (path.name, data)


def _is_result(data: dict[str, Any]) -> bool:
    return ("params" in data and "metrics" in data) or "benchmark_name" in data or {"workload", "settings"} <= set(data)


def _of_table(path: Path) -> Iterator[Item]:
    """Return what a row set of the table `results` says, in the shape of a results file."""
    import pyarrow.parquet as pq

    rows = [row for row in pq.ParquetFile(path).read().to_pylist() if row["status"] == "done" and row["metric"]]
    if not rows:
        return
    settings = json.loads(rows[0]["settings"])
    yield (
        path.stem,
        {
            "schema_version": 0,
            "workload": rows[0]["workload"],
            "settings": settings,
            "metrics": {row["metric"]: row["value"] for row in rows},
            "machine": {"device_name": None, "dtype": settings.get("dtype")},
            "spreads": {},
            "repetitions": [],
            "warmup_iters": settings.get("warmup_iters"),
            "peak_memory_bytes": None,
        },
    )


def _parsed(argument: str, items: Sequence[Item]) -> Results:
    try:
        results = parse_results(items)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IngestError(
            f"{argument}: results that lack a part ({error!r}); make them again", slug="no-results"
        ) from None
    if not results.timings:
        raise IngestError(
            f"{argument}: holds results and no timing of decoded tokens; 'nsightkit study --from' reads the others",
            slug="no-results",
        )
    for timing in results.timings:
        if not (timing.new_tokens > 0 and math.isfinite(timing.decode_ms) and timing.decode_ms > 0):
            raise IngestError(
                f"{timing.source}: {timing.decode_ms} ms for {timing.new_tokens} tokens is no timing; leave it out",
                slug="no-results",
            )
    return results
