"""Where a run is kept: a folder of this machine, or shared storage that fsspec knows by a URL.

In: a `Run` or a `RemoteRun`. Out: a `Place`, through which the tables of a capture and the run's description are
written. On shared storage a table is written to the local disk first and then put there under its name as a whole, so
nobody sees a half; what was put there first stays valid whichever worker dies next.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from nsightkit import parquet
from nsightkit.errors import IngestError, ReportError
from nsightkit.run import INFO_NAME, Capture, Run, RunInfo, info_from, is_run, write_text

SUMMARY = "summary/kernel_totals.parquet"
# Beside the tables, until the run has its description: a command that is killed leaves both.
UNFINISHED = "tables/.unfinished.json"
_URL = re.compile(r"^[a-z][a-z0-9+.-]+://")


class Place(Protocol):
    """What is needed of the storage of a run, here or elsewhere."""

    def info(self) -> RunInfo | None:
        """Return the description of the run, or what was noted of one that was killed; None where there is neither."""

    def write_info(self, info: RunInfo) -> None:
        """Replace the description of the run."""

    def note(self, info: RunInfo) -> None:
        """Keep what is complete so far, for those who go on after this process was killed."""

    def holds(self, capture: Capture) -> bool:
        """Say whether all tables of `capture` are there and whole."""

    def keep_only(self, info: RunInfo) -> None:
        """Remove tables of captures that are not in `info`, halves that a killed process left, and the old summary."""

    def writing(self) -> AbstractContextManager[Run]:
        """Give a run directory; the tables that were written into it are in place once the context ends."""

    def opened(self, table: str, capture_id: str) -> IO[bytes]:
        """Open a table of a capture."""

    def write_summary(self, rows: Any) -> None:
        """Keep sums over all captures, an Arrow table."""


def is_url(text: str) -> bool:
    """Say whether `text` names storage by a URL.

    >>> is_url("s3://bucket/run"), is_url("runs/today"), is_url("C:/runs")
    (True, False, False)
    """
    return _URL.match(text) is not None


@dataclass(frozen=True)
class LocalPlace:
    """A run directory of this machine, or of a file system that all workers have mounted at one path."""

    run: Run

    def info(self) -> RunInfo | None:
        """See `Place`."""
        unfinished = self.run.path / UNFINISHED
        if unfinished.is_file():
            return info_from(unfinished.read_bytes(), unfinished)
        return self.run.read_info() if is_run(self.run.path) else None

    def write_info(self, info: RunInfo) -> None:
        """See `Place`."""
        self.run.write_info(info)
        (self.run.path / UNFINISHED).unlink(missing_ok=True)

    def note(self, info: RunInfo) -> None:
        """See `Place`."""
        write_text(self.run.path / UNFINISHED, json.dumps(asdict(info)) + "\n")

    def holds(self, capture: Capture) -> bool:
        """See `Place`."""
        paths = {name: self.run.table_path(name, capture.capture_id) for name in capture.row_counts}
        return all(p.is_file() and parquet.row_count(p) == capture.row_counts[name] for name, p in paths.items())

    def keep_only(self, info: RunInfo) -> None:
        """See `Place`."""
        kept = _kept(info)
        for path in self.run.path.glob("tables/*/*.parquet"):
            if (path.parent.name, path.stem) not in kept:
                path.unlink()
        for path in self.run.path.glob("tables/*/.*.partial"):
            path.unlink()
        (self.run.path / SUMMARY).unlink(missing_ok=True)

    @contextmanager
    def writing(self) -> Iterator[Run]:
        """See `Place`."""
        yield self.run

    def opened(self, table: str, capture_id: str) -> IO[bytes]:
        """See `Place`."""
        return self.run.table_path(table, capture_id).open("rb")

    def write_summary(self, rows: Any) -> None:
        """See `Place`."""
        import pyarrow.parquet as pq

        path = self.run.path / SUMMARY
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        pq.write_table(rows, partial)
        partial.replace(path)


@dataclass(frozen=True)
class RemoteRun:
    """A run on storage that fsspec reaches; travels between machines as its URL, and opens it where it is used."""

    url: str

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return PurePosixPath(self.url.rstrip("/")).name

    def info(self) -> RunInfo | None:
        """See `Place`.

        Raises:
            IngestError: the description is damaged or of a newer nsightkit.
        """
        store, root = self._store()
        for name in (UNFINISHED, INFO_NAME):
            if store.exists(f"{root}/{name}"):
                return info_from(store.cat_file(f"{root}/{name}"), f"{self.url}/{name}")
        return None

    def write_info(self, info: RunInfo) -> None:
        """See `Place`."""
        self._put(INFO_NAME, json.dumps(asdict(info), indent=2).encode() + b"\n")
        store, root = self._store()
        if store.exists(f"{root}/{UNFINISHED}"):
            store.rm_file(f"{root}/{UNFINISHED}")

    def note(self, info: RunInfo) -> None:
        """See `Place`."""
        self._put(UNFINISHED, json.dumps(asdict(info)).encode() + b"\n")

    def holds(self, capture: Capture) -> bool:
        """See `Place`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            for table, count in capture.row_counts.items():
                with self.opened(table, capture.capture_id) as file:
                    if pq.read_metadata(file).num_rows != count:
                        return False
        except (OSError, pa.ArrowInvalid):
            return False
        return True

    def keep_only(self, info: RunInfo) -> None:
        """See `Place`."""
        store, root = self._store()
        kept = _kept(info)
        for path in store.glob(f"{root}/tables/*/*.parquet"):
            if tuple(PurePosixPath(path).with_suffix("").parts[-2:]) not in kept:
                store.rm_file(path)
        for path in store.glob(f"{root}/tables/*/.*.partial"):
            store.rm_file(path)
        if store.exists(f"{root}/{SUMMARY}"):
            store.rm_file(f"{root}/{SUMMARY}")

    @contextmanager
    def writing(self) -> Iterator[Run]:
        """See `Place`."""
        with tempfile.TemporaryDirectory(prefix="nsightkit-") as folder:
            run = Run(Path(folder))
            yield run
            for path in run.path.glob("tables/*/*.parquet"):
                self._put(path.relative_to(run.path).as_posix(), path.read_bytes())

    def opened(self, table: str, capture_id: str) -> IO[bytes]:
        """See `Place`."""
        store, root = self._store()
        file: IO[bytes] = store.open(f"{root}/tables/{table}/{capture_id}.parquet", "rb")
        return file

    def write_summary(self, rows: Any) -> None:
        """See `Place`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink)
        self._put(SUMMARY, sink.getvalue().to_pybytes())

    def _put(self, name: str, data: bytes) -> None:
        store, root = self._store()
        path = PurePosixPath(f"{root}/{name}")
        # An object store shows an object when it is whole; a file system needs the detour over another name.
        partial = f"{path.parent}/.{path.name}.{os.getpid()}.partial"
        try:
            store.makedirs(str(path.parent), exist_ok=True)
            store.pipe_file(partial, data)
            store.mv(partial, str(path))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ReportError(f"cannot write {self.url}: {reason}", slug="cannot-write") from None

    def _store(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs

            store, root = url_to_fs(self.url)
        except ImportError as error:
            raise IngestError(
                f"{self.url}: {error}; storage by URL needs  pip install 'nsightkit[dask]'  and fsspec's package for "
                "this kind of storage",
                slug="storage-missing",
            ) from None
        except ValueError as error:
            raise IngestError(f"{self.url}: {error}; name storage that fsspec knows", slug="storage-missing") from None
        return store, str(root).rstrip("/")


def place_of(run: Run | RemoteRun) -> Place:
    """Return how to write to `run`."""
    return LocalPlace(run) if isinstance(run, Run) else run


def _kept(info: RunInfo) -> set[tuple[str, ...]]:
    return {(name, capture.capture_id) for capture in info.captures for name in capture.row_counts}
