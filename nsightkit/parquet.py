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

import numpy as np
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
# Times and ids grow slowly: their differences are small. Measured: 8.2 bytes a launch,
# where plain int64 with snappy takes 18.4.
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
            array = array_of(values, field.type)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise TableError(f"table {table.name}, column {field.name}: {error}", slug="table-mismatch") from None
    if array.null_count and not field.nullable:
        raise TableError(f"table {table.name}, column {field.name}: a value is missing", slug="table-mismatch")
    return array


def array_of(values: Any, type_: pa.DataType) -> pa.Array:
    """Return `values`, a list or numpy array, as Arrow; None is null.

    The usual kinds are put together here, because `pyarrow.array` imports pandas wherever that is installed, which
    costs more than reading a small capture; what is unusual goes through it.
    """
    if pa.types.is_dictionary(type_) and type_.value_type == pa.string():
        return array_of(values, pa.string()).dictionary_encode()
    built = _strings(values) if type_ == pa.string() else _numbers(values, type_)
    return pa.array(values, type_) if built is None else built


def _strings(values: Sequence[Any]) -> pa.Array | None:
    nulls = [value is None for value in values]
    if not all(null or type(value) is str for null, value in zip(nulls, values, strict=True)):
        return None
    encoded = [b"" if value is None else value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(item) for item in encoded], out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        return None
    buffers = [
        _validity(np.array(nulls, np.bool_)),
        pa.py_buffer(offsets.astype(np.int32)),
        pa.py_buffer(b"".join(encoded)),
    ]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


# Arrow type -> the numpy type of its buffer, and the numpy kinds that fit it without loss.
_BUFFERS = {
    pa.int32(): (np.int32, "i"),
    pa.int64(): (np.int64, "i"),
    pa.float64(): (np.float64, "fi"),
    pa.bool_(): (np.bool_, "b"),
}


def _numbers(values: Any, type_: pa.DataType) -> pa.Array | None:
    dtype, kinds = _BUFFERS.get(type_, (None, ""))
    if dtype is None:
        return None
    numbers, nulls = (values, None) if isinstance(values, np.ndarray) else _without_nulls(values, dtype)
    if numbers.dtype.kind not in kinds or numbers.ndim != 1:
        return None
    if dtype is np.int32 and len(numbers) and (numbers.min() < -(2**31) or numbers.max() >= 2**31):
        return None
    data = np.packbits(numbers, bitorder="little") if dtype is np.bool_ else np.ascontiguousarray(numbers, dtype)
    return pa.Array.from_buffers(type_, len(numbers), [_validity(nulls), pa.py_buffer(data)])


def _without_nulls(values: Sequence[Any], dtype: Any) -> tuple[Any, Any]:
    nulls = np.array([value is None for value in values], np.bool_)
    filler = next((value for value in values if value is not None), dtype())
    return np.array([filler if value is None else value for value in values] or np.zeros(0, dtype)), nulls


def _validity(nulls: Any) -> pa.Buffer | None:
    if nulls is None or not nulls.any():
        return None
    return pa.py_buffer(np.packbits(~nulls, bitorder="little"))


def int64_array(values: Any, nulls: Any = None) -> pa.Array:
    """Return a numpy array of int64 as Arrow; `nulls`, an array of bool of the same length, says where it is null."""
    return pa.Array.from_buffers(
        pa.int64(), len(values), [_validity(nulls), pa.py_buffer(np.ascontiguousarray(values))]
    )


def with_capture_id(table: Table, data: TableData, capture_id: str, only: Sequence[str] | None = None) -> pa.Table:
    """Return `data`, rows of one capture without their `capture_id`, as an Arrow table that has it.

    `only` names the other columns to return, None for all that are declared; `data` may hold more.
    """
    parts = list(_parts(table, data, capture_id, only))
    if not parts:
        return _no_rows(schema_of(table, None if only is None else ("capture_id", *only)))
    return _in_one_piece(parts)


def _in_one_piece(parts: list[pa.Table]) -> pa.Table:
    """Return the rows of `parts`, which is emptied, with each column of numbers or names in one piece.

    Such a column can be read as numpy without a copy. The pieces of each are freed before the next is joined.
    """
    whole = pa.concat_tables(parts).unify_dictionaries()
    schema, columns = whole.schema, whole.columns
    parts.clear()
    del whole
    for place, column in enumerate(columns):
        if column.type != pa.string():  # texts of many rows may be more than one piece can hold
            columns[place] = column.combine_chunks()
    return pa.Table.from_arrays(columns, schema=schema)


def prefixed(rows: pa.Table, prefix: str) -> pa.Table:
    """Return `rows` with `prefix` before every `capture_id`."""
    if not prefix or "capture_id" not in rows.column_names or not rows.num_rows:
        return rows
    column = rows["capture_id"].combine_chunks()
    names = pa.array([prefix + name for name in column.dictionary.to_pylist()], pa.string())
    renamed = pa.DictionaryArray.from_arrays(column.indices, names)
    return rows.set_column(rows.column_names.index("capture_id"), rows.schema.field("capture_id"), renamed)


def _no_rows(schema: pa.Schema) -> pa.Table:
    # Arrow's own way to an empty table imports pandas.
    return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def require_text(path: Path) -> Path:
    """Return `path`, which Arrow takes as UTF-8 only; names on a disk may be any bytes.

    Raises:
        IngestError: its name is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise IngestError(
            f"{path}: the name holds bytes that are no UTF-8; rename the file or folder (where it looks right in the "
            "shell, set LC_ALL=C.UTF-8)",
            slug="bad-file-name",
        ) from None
    return path


def write_table(path: Path, table: Table, data: TableData, provenance: Mapping[str, str]) -> int:
    """Write the rows of `table` to `path` under a temporary name, rename, and return how many there were.

    A stream is written batch by batch, so memory holds few at a time. `provenance` needs the key ``capture_id``.

    Raises:
        TableError: the rows do not fit the table.
        IngestError: the name of the file is not UTF-8.
    """
    require_text(path).parent.mkdir(parents=True, exist_ok=True)
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


def _parts(table: Table, data: TableData, capture_id: str, only: Sequence[str] | None = None) -> Iterator[pa.Table]:
    rest = Table(table.name, table.row_meaning, table.columns[1:])
    whole = isinstance(data, (pa.Table, Mapping))
    for part in [data] if whole else (pa.Table.from_batches([batch]) for batch in data):
        rows = conform(rest, part, only)
        indices = array_of(np.zeros(rows.num_rows, np.int32), pa.int32())
        column = pa.DictionaryArray.from_arrays(indices, array_of([capture_id], pa.string()))
        yield rows.add_column(0, schema_of(table).field(0), column)


def ahead(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield `batches`; a second thread makes the next one while the caller works on this one."""
    from concurrent.futures import ThreadPoolExecutor

    source = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, source, None)
            yield batch


# Fewer, larger pages and extremes of the times only: a fifth less work, for files that are read as a whole.
_LARGE_PAGES = {"data_page_size": 8 << 20, "write_batch_size": 65536}


def _writer_options(table: Table) -> dict[str, Any]:
    names = [c.name for c in table.columns if c.dtype in ("name", "int32", "bool")]
    delta = {n: "DELTA_BINARY_PACKED" for n in _DELTA if n in table.column_names and table.column(n).dtype == "int64"}
    return {"compression": "zstd", "compression_level": 1, "use_dictionary": names, "column_encoding": delta,
            "write_statistics": [n for n in ("start_ns",) if n in delta], **_LARGE_PAGES}  # fmt: skip


def row_count(path: Path) -> int | None:
    """Return how many rows a table on disk has, from its end alone; None where it is damaged."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid):
        return None


def read_table(table: Table, paths: Sequence[Path], columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of `table` in `paths` as one Arrow table; no paths give no rows.

    Raises:
        IngestError: a file is not readable parquet.
    """
    schema = schema_of(table, columns)
    parts = []
    for path in map(require_text, paths):
        try:
            with pq.ParquetFile(path) as file:
                stored = set(file.schema_arrow.names)  # each look at schema_arrow reads the schema anew
                present = [n for n in schema.names if n in stored]
                parts.append(conform(table, file.read(columns=present), columns))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise IngestError(
                f"{path}: damaged table ({reason}); ingest the capture again", slug="damaged-run"
            ) from None
    return pa.concat_tables(parts).unify_dictionaries() if parts else _no_rows(schema)
