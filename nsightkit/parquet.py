"""Tables on disk: rows go into parquet files that explain themselves, and come back as Arrow.

In: a declared table and its rows, as columns of lists or arrays, one Arrow table, or a stream of record batches.
Out: a parquet file (zstd-1, delta encoding for times and correlation ids, dictionary for names) whose metadata hold
the schema version, the meaning of a row, unit and doc of every column, and the provenance of the rows.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from nsightkit.errors import IngestError, TableError
from nsightkit.tables import SCHEMA_VERSION, Column, Table

Columns: TypeAlias = Mapping[str, Sequence[Any]]
TableData: TypeAlias = Columns | pa.Table | Iterable[pa.RecordBatch]

_TYPES = {
    "string": pa.string(),
    "name": pa.dictionary(pa.int32(), pa.string()),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
}
# Times and ids grow slowly: their differences are small. Source: shared measurements, 8.2 byte a row.
_DELTA = ("start_ns", "duration_ns", "correlation_id")


def schema_of(table: Table, only: Sequence[str] | None = None) -> pa.Schema:
    """Return the Arrow schema of `table`, or of the columns named in `only`, with unit and doc as field metadata."""
    chosen = [c for c in table.columns if only is None or c.name in only]
    return pa.schema([_field(c) for c in chosen])


def _field(column: Column) -> pa.Field:
    metadata = {"unit": column.unit, "doc": column.doc}
    return pa.field(column.name, _TYPES[column.dtype], column.nullable, metadata)


def conform(table: Table, data: Columns | pa.Table, only: Sequence[str] | None = None) -> pa.Table:
    """Return `data` with exactly the columns, order and types that `table` declares; missing columns are null.

    Raises:
        TableError: a column is unknown, does not fit its type, or has nulls where none are allowed.
    """
    names = data.column_names if isinstance(data, pa.Table) else list(data)
    unknown = [n for n in names if n not in table.column_names]
    if unknown:
        raise TableError(f"table {table.name} has no column {unknown[0]}", slug="table-mismatch")
    schema = schema_of(table, only)
    count = data.num_rows if isinstance(data, pa.Table) else len(next(iter(data.values()), ()))
    arrays = [_array(table, f, data[f.name] if f.name in names else None, count) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(table: Table, field: pa.Field, values: Any, count: int) -> pa.Array | pa.ChunkedArray:
    try:
        if values is None:
            array = pa.nulls(count, field.type)
        elif isinstance(values, (pa.Array, pa.ChunkedArray)):
            array = values.cast(field.type) if values.type != field.type else values
        else:
            array = pa.array(values, field.type)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise TableError(f"table {table.name}, column {field.name}: {error}", slug="table-mismatch") from None
    if array.null_count and not field.nullable:
        raise TableError(f"table {table.name}, column {field.name}: a value is missing", slug="table-mismatch")
    return array


def with_capture_id(table: Table, data: TableData, capture_id: str) -> pa.Table:
    """Return `data`, rows of one capture without their `capture_id`, as an Arrow table that has it."""
    parts = list(_parts(table, data, capture_id))
    return pa.concat_tables(parts).unify_dictionaries() if parts else schema_of(table).empty_table()


def write_table(path: Path, table: Table, data: TableData, provenance: Mapping[str, str]) -> int:
    """Write the rows of `table` to `path` under a temporary name, rename, and return how many there were.

    A stream is written batch by batch, so memory holds one at a time. `provenance` needs the key ``capture_id``.

    Raises:
        TableError: the rows do not fit the table.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    meta = {"nsightkit": json.dumps({"table": table.name, "row_meaning": table.row_meaning,
                                     "schema_version": SCHEMA_VERSION, **provenance})}  # fmt: skip
    schema = schema_of(table).with_metadata(meta)
    rows = 0
    try:
        with pq.ParquetWriter(partial, schema, **_writer_options(table)) as writer:
            for part in _parts(table, data, provenance["capture_id"]):
                writer.write_table(part.replace_schema_metadata(meta))
                rows += part.num_rows
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _parts(table: Table, data: TableData, capture_id: str) -> Iterator[pa.Table]:
    rest = Table(table.name, table.row_meaning, table.columns[1:])
    whole = isinstance(data, (pa.Table, Mapping))
    for part in [data] if whole else (pa.Table.from_batches([batch]) for batch in data):
        rows = conform(rest, part)
        indices = pa.nulls(rows.num_rows, pa.int32()).fill_null(0)
        column = pa.DictionaryArray.from_arrays(indices, pa.array([capture_id], pa.string()))
        yield rows.add_column(0, schema_of(table).field(0), column)


def _writer_options(table: Table) -> dict[str, Any]:
    names = [c.name for c in table.columns if c.dtype in ("name", "int32", "bool")]
    delta = {n: "DELTA_BINARY_PACKED" for n in _DELTA if n in table.column_names and table.column(n).dtype == "int64"}
    return {"compression": "zstd", "compression_level": 1, "use_dictionary": names, "column_encoding": delta}


def read_table(table: Table, paths: Sequence[Path], columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of `table` in `paths` as one Arrow table; no paths give no rows.

    Raises:
        IngestError: a file is not readable parquet.
    """
    schema = schema_of(table, columns)
    parts = []
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                present = [n for n in schema.names if n in file.schema_arrow.names]
                parts.append(conform(table, file.read(columns=present), columns))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise IngestError(
                f"{path}: damaged table ({reason}); ingest the capture again", slug="damaged-run"
            ) from None
    return pa.concat_tables(parts).unify_dictionaries() if parts else schema.empty_table()
