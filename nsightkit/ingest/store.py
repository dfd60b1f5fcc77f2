"""Writes the tables of captures into a run directory.

In: sources and a run. Out: parquet files, ``run.json``, and the failures. A capture that cannot be read leaves no file.
In how many processes it is done and in which order they end changes nothing in the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nsightkit import parquet
from nsightkit.errors import NsightkitError, ReportError
from nsightkit.ingest import parallel
from nsightkit.ingest.dataset import capture_of, merge_infos
from nsightkit.ingest.reader import Wanted
from nsightkit.ingest.sources import Failure, Source, find_sources
from nsightkit.run import Capture, Run, RunInfo, is_run
from nsightkit.tables import TABLES

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class IngestOptions:
    """How to ingest: `wanted` tables (None: all but `metric_values`), tokens of the work, and a progress callback.

    `progress` is called with the capture's name, how many are done, and how many there are. With `jobs` above 1 so many
    processes are started, which import the program again: a script must then guard its own start with
    ``if __name__ == "__main__"``. With `resume` captures whose tables the run already holds are not read again.
    """

    wanted: Wanted = None
    tokens: int | None = None
    progress: Progress | None = None
    jobs: int = 1
    resume: bool = False


@dataclass(frozen=True)
class _Task:
    """One capture to read, as it travels to another process."""

    source: Source
    run: Run
    wanted: Wanted


@dataclass(frozen=True)
class _Unwritable:
    """What stops all: the run directory cannot be written. Errors of ours do not survive the way between processes."""

    message: str
    slug: str


def ingest_paths(
    paths: Sequence[Path], run: Run, options: IngestOptions | None = None
) -> tuple[RunInfo, list[Failure]]:
    """Ingest every capture in `paths` into `run`; return its description and what failed.

    Raises:
        ReportError: the run directory cannot be written.
    """
    options = options or IngestOptions()
    sources, failures = find_sources(paths)
    before = run.read_info() if options.resume and is_run(run.path) else RunInfo()
    info = RunInfo(name=run.path.name, tokens=options.tokens or before.tokens)
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
    done = _complete(sources, run, options) if options.resume else {}
    tasks = {place: _Task(source, run, options.wanted) for place, source in enumerate(sources) if place not in done}
    failures: dict[int, Failure] = {}
    if options.progress and tasks:
        options.progress(sources[min(tasks)].capture_id, len(done), len(sources))
    try:
        for place, result in parallel.each(_outcome, tasks, options.jobs):
            name = sources[place].capture_id
            if isinstance(result, _Unwritable):
                raise ReportError(result.message, slug=result.slug)
            if isinstance(result, Capture):
                done[place] = result
            else:
                failures[place] = result or _died(sources[place])
            if options.progress:
                options.progress(name, len(done) + len(failures), len(sources))
    finally:
        # Also where the user stops it: what is complete can be used, and need not be read again.
        info = _described(info, run, [done[place] for place in sorted(done)])
    return info, [failures[place] for place in sorted(failures)]


def _described(info: RunInfo, run: Run, captures: Sequence[Capture]) -> RunInfo:
    if not captures:
        return info
    info = _with_facts(info, merge_infos([RunInfo(captures=(c,), **c.facts) for c in captures]))  # type: ignore[arg-type]
    _forget_others(run, info)
    run.write_info(info)
    return info


def _died(source: Source) -> Failure:
    reason = (
        f"{source.paths[0]}: the process that read it ended unexpectedly, perhaps for lack of memory; the other "
        "captures are complete, and --resume reads this one again"
    )
    return Failure(source.paths[0], reason, "reader-died", source.named)


def _complete(sources: Sequence[Source], run: Run, options: IngestOptions) -> dict[int, Capture]:
    """Return place -> capture for the sources that this version has read into `run` as they are now."""
    from nsightkit import __version__

    if not is_run(run.path):
        return {}
    info = run.read_info()
    known = {c.capture_id: c for c in info.captures if c.input_state} if info.nsightkit_version == __version__ else {}
    return {
        place: known[source.capture_id]
        for place, source in enumerate(sources)
        if source.capture_id in known
        and known[source.capture_id].input_state == _state(source, options.wanted)
        and _has_tables(run, known[source.capture_id])
    }


def _has_tables(run: Run, capture: Capture) -> bool:
    paths = {name: run.table_path(name, capture.capture_id) for name in capture.row_counts}
    return all(path.is_file() and parquet.row_count(path) == capture.row_counts[name] for name, path in paths.items())


def _state(source: Source, wanted: Wanted) -> str:
    """Return what must be equal for the tables of a capture to be those that reading it again would give."""
    files = [file for path in source.paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    try:
        found = [file.stat() for file in files]
    except OSError:
        return ""
    sizes = ", ".join(f"{one.st_size} byte of {one.st_mtime_ns}" for one in found)
    tables = "default tables" if wanted is None else "tables " + ", ".join(sorted(wanted))
    # Two captures of one name in two folders may swap names when one goes; folders themselves are nobody's business.
    places = blake2b("\n".join(str(path.resolve()) for path in source.paths).encode(errors="replace"), digest_size=8)
    return f"{sizes}; {tables}; {places.hexdigest()}"


def _forget_others(run: Run, info: RunInfo) -> None:
    """Remove tables that a replaced run left behind: they are of captures that the run no longer has."""
    kept = {(name, capture.capture_id) for capture in info.captures for name in capture.row_counts}
    for path in run.path.glob("tables/*/*.parquet"):
        if (path.parent.name, path.stem) not in kept:
            path.unlink()
    for path in run.path.glob("tables/*/.*.partial"):
        path.unlink()


def _outcome(task: _Task) -> Capture | Failure | _Unwritable:
    source = task.source
    try:
        return _ingest_one(source, task.run, task.wanted)
    except ReportError as error:
        return _Unwritable(str(error), error.slug)
    except NsightkitError as error:
        return Failure(source.paths[0], str(error), error.slug, source.named)


def _ingest_one(source: Source, run: Run, wanted: Wanted) -> Capture:
    from nsightkit import __version__

    written: list[Path] = []
    counts = {}
    try:
        state = _state(source, wanted)
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
        raise ReportError(f"cannot write {run.path}: {error.strerror}", slug="cannot-write") from None
    except NsightkitError:
        _remove(written)
        raise
    return replace(capture_of(source, data), row_counts=counts, facts=dict(data.facts), input_state=state)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        # What cannot be removed was never written.
        with suppress(OSError):
            path.unlink()


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
