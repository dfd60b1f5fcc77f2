"""Reads Nsight Systems exports that are folders of tables: ``parquetdir`` and ``arrowdir``.

In: a folder that ``nsys export --type parquetdir`` or ``--type arrowdir`` wrote. Out: `CaptureData`, by the same rules
as an SQLite export, whose tables and columns have the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsightkit.errors import IngestError
from nsightkit.ingest import nsys_schema as nsys
from nsightkit.ingest.nsys_capture import BACKEND, capture_data
from nsightkit.ingest.reader import CaptureData, Wanted

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BACKEND", "read", "recognizes"]

_SUFFIXES = (".parquet", ".arrow")
_BATCH_ROWS = 131_072


def recognizes(path: Path, head: bytes) -> bool:
    """Say whether `path` is a folder that holds tables of an nsys export."""
    if head or not path.is_dir():
        return False
    return any((path / f"{table}{suffix}").is_file() for table in nsys.KNOWN_TABLES for suffix in _SUFFIXES)


def read(paths: tuple[Path, ...], wanted: Wanted) -> CaptureData:
    """Read one export.

    Raises:
        IngestError: a table is damaged, or the schema is not known.
    """
    from nsightkit.parquet import require_text

    return capture_data(Folder(require_text(paths[0])), wanted)


class Folder:
    """An export of one file a table."""

    def __init__(self, path: Path) -> None:
        """Look at the folder `path`; tables are opened when they are needed."""
        self.path = path
        self.notes: tuple[str, ...] = ()
        self._files = {file.stem: file for file in sorted(path.iterdir()) if file.suffix in _SUFFIXES}

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of `table`, none where there is no such table."""
        return frozenset(self._schema(table).names) if table in self._files else frozenset()

    def has_rows(self, table: str) -> bool:
        """Say whether `table` exists and holds a row."""
        return table in self._files and any(batch.num_rows for batch in self._read(table, None))

    def rows(self, table: str, wanted: Sequence[str]) -> list[dict[str, Any]]:
        """Return a small table as dictionaries; a column that the export lacks is None."""
        present = [name for name in wanted if name in self.columns(table)]
        batches = self._read(table, present) if present else iter(())
        return [dict.fromkeys(wanted) | row for batch in batches for row in batch.to_pylist()]

    @cached_property
    def _strings(self) -> dict[int, str]:
        return {row["id"]: row["value"] for row in self.rows(nsys.STRINGS, ("id", "value"))}

    def strings(self, ids: Iterable[int]) -> dict[int, str]:
        """Return the texts of `ids` from StringIds."""
        return {i: self._strings[i] for i in ids if i in self._strings}

    def domains(self, event_type: int) -> list[dict[str, Any]]:
        """Return the NVTX rows that name a domain, by start."""
        names = ("start", "domainId", "globalTid", "text", "textId")
        found = [row for row in self.rows(nsys.NVTX, (*names, "eventType")) if row["eventType"] == event_type]
        return sorted(found, key=lambda row: int(row["start"]))

    def batches(self, table: str, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the columns `wanted` of `table`: whole numbers as int64, reals as float64, text as strings."""
        import pyarrow as pa

        for batch in self._read(table, wanted):
            arrays = [_usual(batch.column(name)) for name in wanted]
            yield pa.RecordBatch.from_arrays(arrays, names=list(wanted))

    def _schema(self, table: str) -> pa.Schema:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self._files[table]
        try:
            if file.suffix == ".parquet":
                return pq.read_schema(file)
            with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as reader:
                return reader.schema
        except (OSError, ValueError) as error:
            raise _damaged(file, error) from None

    def _read(self, table: str, wanted: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self._files[table]
        names = None if wanted is None else list(wanted)
        try:
            if file.suffix == ".parquet":
                with pq.ParquetFile(file) as parquet:
                    yield from parquet.iter_batches(_BATCH_ROWS, columns=names)
            else:
                with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as reader:
                    for batch in reader:
                        yield batch if names is None else batch.select(names)
        except (OSError, ValueError) as error:
            raise _damaged(file, error) from None


def _usual(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_null(kind):
        return array.cast(pa.int64(), safe=False)
    if pa.types.is_floating(kind):
        return array.cast(pa.float64())
    return array.cast(pa.string())


def _damaged(file: Path, error: Exception) -> IngestError:
    return IngestError(
        f"{file}: a damaged table ({str(error).splitlines()[0]}); export the report again",
        slug="damaged-database",
    )
