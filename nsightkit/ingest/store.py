"""Writes the tables of captures into a run directory.

In: sources and a run, here or on shared storage. Out: parquet files, ``run.json``, and the failures. A capture that
cannot be read leaves no file. In how many processes it is done, on which machines, and in which order they end changes
nothing in the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import Any

from nsightkit import parquet
from nsightkit.errors import NsightkitError, ReportError
from nsightkit.ingest import parallel
from nsightkit.ingest.cluster import Cluster, connected
from nsightkit.ingest.dataset import capture_of, merge_infos
from nsightkit.ingest.kernel_totals import merged, sums_of
from nsightkit.ingest.places import Place, RemoteRun, place_of
from nsightkit.ingest.reader import Wanted
from nsightkit.ingest.sources import Failure, Source, find_sources
from nsightkit.run import Capture, Run, RunInfo
from nsightkit.tables import TABLES

Progress = Callable[[str, int, int], None]
# Says what a capture is worth, from the tables in the run. Handed in, because the reading stage does not analyse.
Judge = Callable[[Run, Capture], Mapping[str, Any]]
# What is complete is noted no more often than this: of what is read in between, a kill costs the reading.
NOTE_S = 2.0


@dataclass(frozen=True)
class IngestOptions:
    """How to ingest: `wanted` tables (None: all but `metric_values`), tokens of the work, and a progress callback.

    `progress` is called with the capture's name, how many are done, and how many there are. With `jobs` above 1 so many
    processes are started, which import the program again: a script must then guard its own start with
    ``if __name__ == "__main__"``. With `resume` captures whose tables the run already holds are not read again. With
    `scheduler`, the address of a Dask scheduler, its workers read instead; they must see the captures, and the run, at
    the same paths, and they leave sums over all captures in the run's summary/. `judge`, a function at the top of a
    module, gives each capture its quality.
    """

    wanted: Wanted = None
    tokens: int | None = None
    progress: Progress | None = None
    jobs: int = 1
    resume: bool = False
    scheduler: str | None = None
    judge: Judge | None = None


@dataclass(frozen=True)
class _Task:
    """One capture to read, as it travels to another process."""

    source: Source
    place: Place
    wanted: Wanted
    judge: Judge | None


@dataclass(frozen=True)
class _Unwritable:
    """What stops all: the run directory cannot be written. Errors of ours do not survive the way between processes."""

    message: str
    slug: str


def ingest_paths(
    paths: Sequence[Path], run: Run | RemoteRun, options: IngestOptions | None = None
) -> tuple[RunInfo, list[Failure]]:
    """Ingest every capture in `paths` into `run`; return its description and what failed.

    Raises:
        ReportError: the run directory cannot be written.
        IngestError: the scheduler or the storage that is asked for is not to be had.
    """
    options = options or IngestOptions()
    sources, failures = find_sources(paths)
    before = (place_of(run).info() if options.resume else None) or RunInfo()
    info = RunInfo(name=run.path.name if isinstance(run, Run) else run.name, tokens=options.tokens or before.tokens)
    info, more = ingest_sources(sources, run, info, options)
    return info, [*failures, *more]


def ingest_sources(
    sources: Sequence[Source], run: Run | RemoteRun, info: RunInfo, options: IngestOptions | None = None
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
    if options.scheduler is None or not sources:
        return _ingest(sources, place_of(run), info, (options, None))
    # A worker has another working directory.
    run = Run(run.path.absolute()) if isinstance(run, Run) else run
    with connected(options.scheduler) as cluster:
        return _ingest([_absolute(source) for source in sources], place_of(run), info, (options, cluster))


def _absolute(source: Source) -> Source:
    return replace(source, paths=tuple(path.absolute() for path in source.paths))


def _ingest(
    sources: Sequence[Source], place: Place, info: RunInfo, how: tuple[IngestOptions, Cluster | None]
) -> tuple[RunInfo, list[Failure]]:
    options, cluster = how
    done = _complete(sources, place, options) if options.resume else {}
    tasks = {
        at: _Task(source, place, options.wanted, options.judge) for at, source in enumerate(sources) if at not in done
    }
    failures: dict[int, Failure] = {}
    noted = monotonic()
    try:
        if options.progress and tasks:
            options.progress(sources[min(tasks)].capture_id, len(done), len(sources))
        for at, result in _outcomes(tasks, options.jobs, cluster):
            if isinstance(result, _Unwritable):
                raise ReportError(result.message, slug=result.slug)
            if isinstance(result, Capture):
                done[at] = result
            else:
                failures[at] = result or _died(sources[at])
            if options.progress:
                options.progress(sources[at].capture_id, len(done) + len(failures), len(sources))
            if done and monotonic() - noted >= NOTE_S:
                # A process that is killed (SIGKILL) has no time to say what is complete.
                place.note(_info_of(info, [done[at] for at in sorted(done)]))
                noted = monotonic()
    finally:
        # Also where the user stops it: what is complete can be used, and need not be read again.
        info = _described(info, place, [done[at] for at in sorted(done)])
    if cluster:
        _summarize(place, info, cluster)
    return info, [failures[at] for at in sorted(failures)]


_Outcome = Capture | Failure | _Unwritable


def _outcomes(tasks: Mapping[int, _Task], jobs: int, cluster: Cluster | None) -> Iterator[tuple[int, _Outcome | None]]:
    return cluster.each(_outcome, tasks) if cluster else parallel.each(_outcome, tasks, jobs)


def _summarize(place: Place, info: RunInfo, cluster: Cluster) -> None:
    """Let the workers sum up what they wrote; only the sums travel."""
    items = [(place, capture.capture_id) for capture in info.captures if capture.row_counts.get("kernel_launches")]
    if items:
        place.write_summary(cluster.reduced(_sums, merged, items))


def _sums(item: tuple[Place, str]) -> Any:
    return sums_of(*item)


def is_ingest_of(run: Run, sources: Sequence[Source]) -> bool:
    """Return whether `run` holds just `sources`, read by this version from the files as they are now."""
    try:
        info = run.read_info()
    except NsightkitError:
        return False
    return len(info.captures) == len(sources) == len(_complete(sources, place_of(run), IngestOptions()))


def _described(info: RunInfo, place: Place, captures: Sequence[Capture]) -> RunInfo:
    if not captures:
        # Stopped before the first was known: what the processes have written by then is listed nowhere. Where nothing
        # can be written, nothing can be removed, and that is told already.
        with suppress(OSError):
            place.keep_only(place.info() or info)
        return info
    info = _info_of(info, captures)
    place.keep_only(info)
    place.write_info(info)
    return info


def _info_of(info: RunInfo, captures: Sequence[Capture]) -> RunInfo:
    return _with_facts(info, merge_infos([RunInfo(captures=(c,), **c.facts) for c in captures]))  # type: ignore[arg-type]


def _died(source: Source) -> Failure:
    reason = (
        f"{source.paths[0]}: the process that read it ended unexpectedly, perhaps for lack of memory; the other "
        "captures are complete, and --resume reads this one again"
    )
    return Failure(source.paths[0], reason, "reader-died", source.named)


def _complete(sources: Sequence[Source], place: Place, options: IngestOptions) -> dict[int, Capture]:
    """Return number -> capture for the sources that this version has read into the run as they are now."""
    from nsightkit import __version__

    info = place.info()
    if info is None or info.nsightkit_version != __version__:
        return {}
    known = {c.capture_id: c for c in info.captures if c.input_state}
    return {
        at: known[source.capture_id]
        for at, source in enumerate(sources)
        if source.capture_id in known
        and known[source.capture_id].input_state == _state(source, options.wanted)
        and place.holds(known[source.capture_id])
    }


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


def _outcome(task: _Task) -> Capture | Failure | _Unwritable:
    source = task.source
    try:
        with task.place.writing() as run:
            capture = _ingest_one(source, run, task.wanted)
            return replace(capture, quality=dict(task.judge(run, capture))) if task.judge else capture
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
