"""Opens an nsys SQLite export without touching it, and streams its tables.

In: the path of a database. Out: `Database`: columns by table, small tables as rows, large ones as record batches.
Three ways lead to the rows, the fastest first, each picking up where the one before had to give up: straight from the
pages (`nsys_pages`), connectorx for numbers, and Python's own sqlite3.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import urllib.parse
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsightkit.errors import IngestError
from nsightkit.ingest import nsys_pages

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"SQLite format 3\0"
_ID_LIMIT = 500  # SQLite's own limit on parameters was 999 for long


@dataclass(frozen=True)
class TableInfo:
    """A table as the database declares it: columns with types, its root page, its integer primary key."""

    columns: dict[str, str]
    root_page: int
    key: str | None


class Database:
    """An nsys export that is only read; it is closed when nothing reads from it any more.

    Streams outlive the call that made them, and so does what they read from.
    """

    def __init__(self, path: Path, shown: Path | None = None) -> None:
        """Open `path`; messages name `shown` where that is what the user knows.

        Raises:
            IngestError: the file is missing, locked, half-written or damaged.
        """
        self.path = shown or path
        self.notes: tuple[str, ...] = ()
        self._is_copy = False
        self._file = self._readable_file(path)
        self._connection = self._connect()
        self.tables = self._read_schema()

    def _readable_file(self, path: Path) -> Path:
        """Return the file to read: the input, or a copy where a write-ahead log lies beside it."""
        _check_file(path, self.path)
        log = path.with_name(path.name + "-wal")
        if not (log.is_file() and log.stat().st_size):
            return path
        # SQLite would make or change files beside the input to read its log, so both are read as copies.
        self._is_copy = True
        folder = tempfile.mkdtemp(prefix="nsightkit-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        copy = Path(folder) / "export.sqlite"
        shutil.copyfile(path, copy)
        shutil.copyfile(log, copy.with_name("export.sqlite-wal"))
        self.notes = (
            f"{log.name} lies beside the export: nsys may have been stopped while it wrote, so rows may be missing",
        )
        return copy

    def _connect(self) -> sqlite3.Connection:
        if not self._is_copy:
            _check_lock(self._file, self.path)
            uri = f"{_file_uri(self._file)}?mode=ro&immutable=1"
        else:
            uri = f"{_file_uri(self._file)}?mode=rw"
        # A stream may be read by another thread than the one that opened it, never by two at a time.
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        weakref.finalize(self, connection.close)
        return connection

    def _read_schema(self) -> dict[str, TableInfo]:
        query = "SELECT name, rootpage FROM sqlite_master WHERE type = 'table'"
        found = {}
        for name, root in self._fetch(query):
            columns = self._fetch(f"PRAGMA table_info({_quoted(name)})")
            key = next((column[1] for column in columns if column[5]), None)
            found[str(name)] = TableInfo({str(c[1]): str(c[2]).upper() for c in columns}, int(root or 0), key)
        return found

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of `table`, none where there is no such table."""
        return frozenset(self.tables[table].columns) if table in self.tables else frozenset()

    def has_rows(self, table: str) -> bool:
        """Say whether `table` exists and holds a row."""
        return table in self.tables and bool(self._fetch(f"SELECT 1 FROM {_quoted(table)} LIMIT 1"))

    def rows(self, table: str, wanted: Sequence[str]) -> list[dict[str, Any]]:
        """Return a small table as dictionaries; a column that the export lacks is None."""
        present = [name for name in wanted if name in self.columns(table)]
        if not present:
            return []
        found = self._fetch(f"SELECT {_list(present)} FROM {_quoted(table)}")
        return [dict.fromkeys(wanted) | dict(zip(present, row, strict=True)) for row in found]

    def strings(self, ids: Iterable[int]) -> dict[int, str]:
        """Return the texts of `ids` from StringIds."""
        if not {"id", "value"} <= self.columns("StringIds"):
            return {}
        wanted = list(ids)
        found: dict[int, str] = {}
        for start in range(0, len(wanted), _ID_LIMIT):
            some = wanted[start : start + _ID_LIMIT]
            marks = ",".join("?" * len(some))
            found.update(self._fetch(f"SELECT id, value FROM StringIds WHERE id IN ({marks})", some))
        return found

    def domains(self, event_type: int) -> list[dict[str, Any]]:
        """Return the NVTX rows that name a domain; see `nsys_tables`."""
        names = ("start", "domainId", "globalTid", "text", "textId")
        present = [name for name in names if name in self.columns("NVTX_EVENTS")]
        query = f"SELECT {_list(present)} FROM NVTX_EVENTS WHERE eventType = ? ORDER BY start"
        found = self._fetch(query, [event_type])
        return [dict.fromkeys(names) | dict(zip(present, row, strict=True)) for row in found]

    def batches(self, table: str, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the columns `wanted` of `table`, in the order in which they were stored.

        Raises:
            IngestError: the database is damaged.
        """
        done = 0
        for way in (self._from_pages, self._from_connectorx):
            try:
                for batch in way(table, wanted, done):
                    done += batch.num_rows
                    yield batch
                return
            except nsys_pages.UnsupportedError:
                continue
        yield from self._from_sqlite(table, wanted, done)

    def _from_pages(self, table: str, wanted: Sequence[str], done: int) -> Iterator[pa.RecordBatch]:
        info = self.tables[table]
        if self._is_copy or info.key is not None:
            raise nsys_pages.UnsupportedError(table)
        kinds = {name: _KINDS.get(declared, "") for name, declared in info.columns.items()}
        layout = nsys_pages.Layout(info.root_page, kinds)
        yield from nsys_pages.read_batches(self._file, layout, wanted)

    def _from_connectorx(self, table: str, wanted: Sequence[str], done: int) -> Iterator[pa.RecordBatch]:
        import connectorx

        # On a value of another type than its column, or text that is not UTF-8, connectorx panics and prints a page of
        # Rust on the user's terminal: it gets numbers only, and only where all of them are numbers.
        if self._is_copy or self._has_other_than_numbers(table, wanted):
            raise nsys_pages.UnsupportedError(table)
        address = "sqlite://" + urllib.parse.quote(f"{_file_uri(self._file)}?mode=ro&immutable=1", safe="/")
        query = _select(table, wanted, done)
        try:
            yield from connectorx.read_sql(address, query, return_type="arrow_stream", batch_size=nsys_pages.BATCH_ROWS)
        except RuntimeError as error:
            raise nsys_pages.UnsupportedError(str(error)) from None

    def _has_other_than_numbers(self, table: str, wanted: Sequence[str]) -> bool:
        declared = {name: self.tables[table].columns[name] for name in wanted}
        if not set(declared.values()) <= {"INTEGER", "REAL"}:
            return True
        odd = [f"typeof({_quoted(name)}) NOT IN ('{kind.lower()}', 'null')" for name, kind in declared.items()]
        return bool(self._fetch(f"SELECT 1 FROM {_quoted(table)} WHERE {' OR '.join(odd)} LIMIT 1"))

    def _from_sqlite(self, table: str, wanted: Sequence[str], done: int) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        from nsightkit.parquet import array_of

        types = [_KINDS.get(self.tables[table].columns[name], "string") for name in wanted]
        try:
            cursor = self._connect().execute(_select(table, wanted, done))
            while rows := cursor.fetchmany(nsys_pages.BATCH_ROWS):
                arrays = [
                    array_of(_fitting(values, kind), getattr(pa, kind)())
                    for values, kind in zip(zip(*rows, strict=True), types, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(wanted))
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def _fetch(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def _damaged(self, error: sqlite3.Error) -> IngestError:
        return IngestError(
            f"{self.path}: a damaged or half-written SQLite database ({error}); export the report again with "
            "'nsys export --type sqlite'",
            slug="damaged-database",
        )


# Declared type -> Arrow type of the column
_KINDS = {"INTEGER": "int64", "REAL": "float64", "TEXT": "string"}


def _fitting(values: Sequence[Any], kind: str) -> list[Any]:
    """Return values as their column declares them: what is of another type is unknown."""
    if kind == "string":
        return [value if value is None or isinstance(value, str) else str(value) for value in values]
    if kind == "float64":
        return [float(value) if isinstance(value, (int, float)) else None for value in values]
    return [value if isinstance(value, int) else None for value in values]


def _select(table: str, wanted: Sequence[str], done: int) -> str:
    rest = f" LIMIT -1 OFFSET {done}" if done else ""
    return f"SELECT {_list(wanted)} FROM {_quoted(table)}{rest}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _file_uri(path: Path) -> str:
    # As bytes: names on a disk need not be UTF-8.
    return "file:" + urllib.parse.quote(os.fsencode(path.absolute()), safe="/:")


def _check_file(path: Path, shown: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise IngestError(f"{shown}: cannot be read ({error.strerror})", slug="cannot-read") from None
    if head != MAGIC:
        raise IngestError(f"{shown}: not an SQLite database", slug="not-a-capture")


def _check_lock(path: Path, shown: Path) -> None:
    """Refuse a database that another process is writing, or that a crash left half-written."""
    with path.open("rb") as file:
        writes_ahead = file.read(20)[18:20] == b"\2\2"
    if writes_ahead:  # without its log nobody writes it, and SQLite would make files beside it
        return
    connection = sqlite3.connect(f"{_file_uri(path)}?mode=ro", uri=True, timeout=0.2)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        reason = str(error)
        if "locked" in reason:
            raise IngestError(
                f"{shown}: the database is locked: another program, such as a running nsys export, is writing it; "
                "try again when it has ended",
                slug="locked-database",
            ) from None
        raise IngestError(
            f"{shown}: a half-written SQLite database ({reason}); export the report again with "
            "'nsys export --type sqlite'",
            slug="damaged-database",
        ) from None
    except sqlite3.DatabaseError as error:
        raise IngestError(
            f"{shown}: a damaged SQLite database ({error}); export the report again with 'nsys export --type sqlite'",
            slug="damaged-database",
        ) from None
    finally:
        connection.close()
