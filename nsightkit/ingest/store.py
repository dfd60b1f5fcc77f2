"""Writes the tables of captures into a run directory.

In: sources and a run. Out: parquet files, ``run.json``, and the failures. A capture that cannot be read leaves no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nsightkit import parquet
from nsightkit.errors import NsightkitError, ReportError
from nsightkit.ingest.dataset import capture_of, merge_infos
from nsightkit.ingest.reader import Wanted
from nsightkit.ingest.sources import Failure, Source, find_sources
from nsightkit.run import Run, RunInfo
from nsightkit.tables import TABLES

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class IngestOptions:
    """How to ingest: `wanted` tables (None: all but `metric_values`), tokens of the work, and a progress callback.

    `progress` is called with the capture's name, how many are done, and how many there are.
    """

    wanted: Wanted = None
    tokens: int | None = None
    progress: Progress | None = None


def ingest_paths(
    paths: Sequence[Path], run: Run, options: IngestOptions | None = None
) -> tuple[RunInfo, list[Failure]]:
    """Ingest every capture in `paths` into `run`; return its description and what failed.

    Raises:
        ReportError: the run directory cannot be written.
    """
    options = options or IngestOptions()
    sources, failures = find_sources(paths)
    info = RunInfo(name=run.path.name, tokens=options.tokens)
    info, more = ingest_sources(sources, run, info, options)
    return info, [*failures, *more]


def ingest_sources(
    sources: Sequence[Source], run: Run, info: RunInfo, options: IngestOptions | None = None
) -> tuple[RunInfo, list[Failure]]:
    """Write the tables of `sources` below `run` and its description; return the description and what failed.

    Args:
        sources: captures to read.
        run: where to write.
        info: what is already known of the run (name, workload, tokens); facts of the captures are added.
        options: what to read and whom to tell.

    Raises:
        ReportError: the run directory cannot be written.
    """
    options = options or IngestOptions()
    infos: list[RunInfo] = []
    failures: list[Failure] = []
    for done, source in enumerate(sources):
        if options.progress:
            options.progress(source.capture_id, done, len(sources))
        try:
            infos.append(_ingest_one(source, run, options.wanted))
        except ReportError:
            raise
        except NsightkitError as error:
            failures.append(Failure(source.paths[0], str(error), error.slug, source.named))
    if infos:
        info = _with_facts(info, merge_infos(infos))
        _forget_others(run, info)
        run.write_info(info)
    return info, failures


def _forget_others(run: Run, info: RunInfo) -> None:
    """Remove tables that a replaced run left behind: they are of captures that the run no longer has."""
    kept = {(name, capture.capture_id) for capture in info.captures for name in capture.row_counts}
    for path in run.path.glob("tables/*/*.parquet"):
        if (path.parent.name, path.stem) not in kept:
            path.unlink()


def _ingest_one(source: Source, run: Run, wanted: Wanted) -> RunInfo:
    from nsightkit import __version__

    written: list[Path] = []
    counts = {}
    try:
        data = source.read(wanted)
        provenance = {
            "capture_id": source.capture_id,
            "backend": data.backend,
            "tool_version": data.tool_version or "",
            "source": ", ".join(path.name for path in source.paths),
            "nsightkit_version": __version__,
        }
        for name, rows in data.tables.items():
            path = run.table_path(name, source.capture_id)
            written.append(path)
            counts[name] = parquet.write_table(path, TABLES[name], rows, provenance)
    except OSError as error:
        _remove(written)
        message = f"cannot write {run.path}: {error.strerror}; name another folder with -o"
        raise ReportError(message, slug="cannot-write") from None
    except NsightkitError:
        _remove(written)
        raise
    capture = replace(capture_of(source, data), row_counts=counts)
    return RunInfo(captures=(capture,), **data.facts)  # type: ignore[arg-type]


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _with_facts(info: RunInfo, found: RunInfo) -> RunInfo:
    from nsightkit import __version__

    known: dict[str, Any] = {
        name: value for name in _FACTS if (value := getattr(found, name)) is not None and getattr(info, name) is None
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    stamps: dict[str, Any] = {
        "created_utc": info.created_utc or known.pop("created_utc", None) or now,
        "nsightkit_version": __version__,
    }
    return replace(info, captures=(*info.captures, *found.captures), **known, **stamps)


_FACTS = ("gpu_name", "compute_capability", "driver_version", "cuda_version", "torch_version", "created_utc", "tokens")
