"""Columns of a SQLite table, decoded straight from its b-tree pages, thousands of rows at a time.

In: a database file that nobody writes to, a table's root page and columns. Out: record batches of int64, float64 and
string columns. What this shortcut does not handle raises `UnsupportedError`; the rows given so far are right, and SQL
reads the rest.

Source: the SQLite file format, sections 1.6 (b-tree pages) and 2.1 (record format); speed as measured in
benchmarks/bench_nsys.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 131_072
_CHUNK_PAGES = 256  # what is decoded at once should stay in the processor's cache
_CHUNK_BYTES = 1 << 26
_INTERIOR, _LEAF = 5, 13
_WORD = 8
_UTF8 = 1

# Body bytes, and right shift of a big-endian 8-byte word, by serial types of one byte.
_SIZES = np.array([0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0] + [(t - 12) // 2 for t in range(12, 128)], np.int64)
_SHIFTS = np.array([0, 56, 48, 40, 32, 16] + [0] * 122, np.int64)
_NULL, _REAL, _ZERO, _ONE, _FIRST_TEXT = 0, 7, 8, 9, 13

Bytes: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"
Ints: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.int64]]"
Bools: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]"


class UnsupportedError(Exception):
    """The table needs a full SQL engine; never shown to a user."""


@dataclass(frozen=True)
class Layout:
    """Where a table lies: its root page, and its columns in declared order with what each holds.

    A kind is int64, float64 or string; of any other kind a column can be passed over but not read.
    """

    root_page: int
    columns: Mapping[str, str]


def read_batches(path: Path, layout: Layout, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the columns `wanted` of a table as record batches, in rowid order.

    Raises:
        UnsupportedError: overflow pages, a value of another type than its column, …; SQL must read on.
    """
    import pyarrow as pa

    with path.open("rb") as file:
        parts: list[list[pa.Array]] = []
        rows = 0
        for part in _decoded(file, layout, wanted):
            parts.append(part)
            rows += len(part[0])
            if rows >= BATCH_ROWS:
                yield pa.RecordBatch.from_arrays(_joined(parts), names=list(wanted))
                parts, rows = [], 0
        if rows:
            yield pa.RecordBatch.from_arrays(_joined(parts), names=list(wanted))


def _joined(parts: list[list[pa.Array]]) -> list[pa.Array]:
    import pyarrow as pa

    return [pa.concat_arrays([part[index] for part in parts]) for index in range(len(parts[0]))]


def _decoded(file: BinaryIO, layout: Layout, wanted: Sequence[str]) -> Iterator[list[pa.Array]]:
    page_size, usable = _page_size(file, layout)
    leaves = _leaf_pages(file, page_size, layout.root_page)
    names = list(layout.columns)
    kinds = {names.index(name): layout.columns[name] for name in wanted}
    for start in range(0, len(leaves), _CHUNK_PAGES):
        data, bases = _pages(file, page_size, leaves[start : start + _CHUNK_PAGES])
        cells = _cells(data, bases)
        if len(cells):
            yield _columns(_rows(data, cells, usable), kinds)


def _page_size(file: BinaryIO, layout: Layout) -> tuple[int, int]:
    head = file.read(100)
    if len(head) < 100:
        raise UnsupportedError("no header")
    if int.from_bytes(head[56:60], "big") != _UTF8 and "string" in layout.columns.values():
        raise UnsupportedError("text is not UTF-8")
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    return size, size - head[20]


def _leaf_pages(file: BinaryIO, page_size: int, root: int) -> Ints:
    level = np.array([root], np.int64)
    for _ in range(20):
        if _children(file, page_size, int(level[0])) is None:
            return level  # all leaves of a b-tree lie equally deep
        below = [children for page in level if (children := _children(file, page_size, int(page))) is not None]
        if len(below) < len(level):
            raise UnsupportedError("uneven tree")
        level = np.concatenate(below)
    raise UnsupportedError("tree too deep")


def _children(file: BinaryIO, page_size: int, page: int) -> Ints | None:
    """Return the pages below an interior page, None for a leaf."""
    file.seek((page - 1) * page_size)
    data = file.read(page_size)
    if page < 2 or len(data) < page_size or data[0] not in (_INTERIOR, _LEAF):
        raise UnsupportedError("not a table page")
    if data[0] == _LEAF:
        return None
    count = int.from_bytes(data[3:5], "big")
    pointers = np.frombuffer(data, ">u2", count, 12)
    numbers = [int.from_bytes(data[p : p + 4], "big") for p in pointers.tolist()]
    return np.array([*numbers, int.from_bytes(data[8:12], "big")], np.int64)


def _pages(file: BinaryIO, page_size: int, pages: Ints) -> tuple[Bytes, Ints]:
    """Return the bytes of `pages`, with zeros behind them, and where each page begins."""
    first, count = int(pages.min()), int(pages.max() - pages.min()) + 1
    if count <= 2 * len(pages):  # nearly side by side: one read
        data = np.zeros((count + 1) * page_size, np.uint8)
        _fill(file, (first - 1) * page_size, data[: count * page_size])
        return data, (pages - first) * page_size
    data = np.zeros((len(pages) + 1) * page_size, np.uint8)
    for index, page in enumerate(pages.tolist()):
        _fill(file, (page - 1) * page_size, data[index * page_size : (index + 1) * page_size])
    return data, np.arange(len(pages), dtype=np.int64) * page_size


def _fill(file: BinaryIO, offset: int, target: Bytes) -> None:
    file.seek(offset)
    if file.readinto(target.data) != len(target):  # type: ignore[attr-defined]
        raise UnsupportedError("file ends early")


def _cells(data: Bytes, bases: Ints) -> Ints:
    """Return where each cell of the leaf pages at `bases` begins, in rowid order."""
    if (data[bases] != _LEAF).any():
        raise UnsupportedError("not a leaf")
    counts = data[bases + 3].astype(np.int64) << 8 | data[bases + 4]
    slots = np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(bases, counts)
    pointers = starts + 8 + 2 * slots
    return np.asarray(starts + (data[pointers].astype(np.int64) << 8 | data[pointers + 1]), np.int64)


def _rows(data: Bytes, cells: Ints, usable: int) -> Bytes:
    """Return the records of `cells` as a matrix, one row each, with a word of padding."""
    first = data[cells].astype(np.int64)
    long = first >= 0x80
    second = data[cells + 1].astype(np.int64)
    if (long & (second >= 0x80)).any():
        raise UnsupportedError("long record")
    sizes = np.where(long, (first & 0x7F) << 7 | second, first)
    longest = int(sizes.max())
    if longest > usable - 35:
        raise UnsupportedError("overflow page")
    begin = _after_rowid(data, cells + 1 + long)
    width = longest + _WORD
    if int(begin.max()) + width > len(data) or width * len(cells) > _CHUNK_BYTES:
        raise UnsupportedError("record too long")
    records = np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))[begin]
    return records.view(np.uint8).reshape(len(cells), width)


def _after_rowid(data: Bytes, at: Ints) -> Ints:
    lengths = {_varint_length(data, int(at[0])), _varint_length(data, int(at[-1]))}
    if len(lengths) == 1:  # rowids grow: equal lengths at both ends mean equal lengths between
        return at + lengths.pop()
    more = data[at] >= 0x80
    at = at + 1
    for _ in range(8):
        if not more.any():
            break
        following = data[at] >= 0x80
        at = at + more
        more = more & following
    return at


def _varint_length(data: Bytes, at: int) -> int:
    return next((n for n in range(1, 9) if data[at + n - 1] < 0x80), 9)


@dataclass(frozen=True)
class _Cell:
    """One column of many records: serial types (one if all are equal), and where the values lie in their rows."""

    types: Bytes | Ints
    uniform: bool
    offset: int | Ints


def _columns(rows: Bytes, kinds: Mapping[int, str]) -> list[pa.Array]:
    """Return the columns at the positions `kinds`; the records' own headers say where each lies."""
    last = max(kinds)
    lengths = rows[:, 0]
    if lengths.max() >= 0x80 or lengths.min() < last + 2:
        raise UnsupportedError("header")
    same = (rows[:, : last + 2] == rows[0, : last + 2]).all(axis=0)
    offset: int | Ints = int(lengths[0]) if same[0] else lengths.astype(np.int64)
    at: int | Ints = 1
    found: dict[int, pa.Array] = {}
    for position in range(last + 1):
        uniform = isinstance(at, int) and bool(same[at]) and rows[0, at] < 0x80
        types, at = (rows[:1, at], at + 1) if uniform else _types(rows, at)
        cell = _Cell(types, uniform, offset)
        if position in kinds:
            found[position] = _BUILDERS.get(kinds[position], _unsupported)(rows, cell)
        sizes = _SIZES[types] if types.dtype == np.uint8 else _long_sizes(types)
        offset = offset + (int(sizes[0]) if uniform else sizes)
    if np.any(np.asarray(at) > lengths):
        raise UnsupportedError("short header")
    return [found[position] for position in kinds]


def _long_sizes(types: Bytes | Ints) -> Ints:
    return np.where(types < 128, _SIZES[np.minimum(types, 127)], (types.astype(np.int64) - 12) >> 1)


def _types(rows: Bytes, at: int | Ints) -> tuple[Bytes | Ints, int | Ints]:
    """Return the serial types at `at` of each header, and where the next ones are."""
    narrow = np.ascontiguousarray(_bytes_at(rows, at))
    if narrow.max() < 0x80:
        return narrow, at + 1
    first = narrow.astype(np.int64)
    long = first >= 0x80
    second = _bytes_at(rows, at + 1).astype(np.int64)
    if (long & (second >= 0x80)).any():
        raise UnsupportedError("long serial type")
    return np.where(long, (first & 0x7F) << 7 | second, first), at + 1 + long


def _bytes_at(rows: Bytes, at: int | Ints) -> Bytes:
    if isinstance(at, int):
        return rows[:, at]
    if int(at.max()) >= rows.shape[1]:
        raise UnsupportedError("short record")
    return np.asarray(rows.reshape(-1)[_begins(rows) + at], np.uint8)


def _begins(rows: Bytes) -> Ints:
    return np.arange(rows.shape[0], dtype=np.int64) * rows.shape[1]


def _integers(rows: Bytes, cell: _Cell) -> pa.Array:
    from nsightkit.parquet import int64_array

    kind = int(cell.types[0])
    if int(cell.types.max()) > _ONE or (cell.types == _REAL).any():
        raise UnsupportedError("no integer")
    if cell.uniform and kind in (_NULL, _ZERO, _ONE):
        nulls = np.ones(len(rows), np.bool_) if kind == _NULL else None
        return int64_array(np.full(len(rows), kind == _ONE, np.int64), nulls)
    return int64_array(*_numbers(rows, cell))


def _numbers(rows: Bytes, cell: _Cell) -> tuple[Ints, Bools | None]:
    types = cell.types
    values = _words(rows, cell.offset) >> _SHIFTS[types]
    if cell.uniform:
        return values, None
    if types.max() >= _ZERO:
        values = np.where(types >= _ZERO, types.astype(np.int64) - _ZERO, values)
    if types.min() > _NULL:
        return values, None
    nulls = types == _NULL
    values[nulls] = 0
    return values, nulls


def _reals(rows: Bytes, cell: _Cell) -> pa.Array:
    """Return a column of reals; SQLite keeps those that are whole numbers as integers."""
    import pyarrow as pa

    if int(cell.types.max()) > _ONE:
        raise UnsupportedError("no number")
    if (cell.types == _NULL).all():
        return pa.nulls(len(rows), pa.float64())
    types = np.broadcast_to(cell.types, (len(rows),)).astype(np.int64)
    whole, _ = _numbers(rows, _Cell(types, False, cell.offset))
    values = np.where(types == _REAL, _words(rows, cell.offset).view(np.float64), whole.astype(np.float64))
    validity = pa.py_buffer(np.packbits(types != _NULL, bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), len(rows), [validity, pa.py_buffer(values)])


def _texts(rows: Bytes, cell: _Cell) -> pa.Array:
    import pyarrow as pa

    nulls = cell.types == _NULL
    if nulls.all():
        return pa.nulls(len(rows), pa.string())
    if (~nulls & ((cell.types < _FIRST_TEXT) | (cell.types % 2 == 0))).any():
        raise UnsupportedError("no text")
    lengths = np.broadcast_to(np.where(nulls, 0, (cell.types.astype(np.int64) - _FIRST_TEXT) >> 1), (len(rows),))
    if int(np.max(cell.offset + lengths)) > rows.shape[1]:
        raise UnsupportedError("record shorter than its header says")
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    places = np.repeat(_begins(rows) + cell.offset - offsets[:-1], lengths) + np.arange(offsets[-1])
    validity = pa.py_buffer(np.packbits(~nulls, bitorder="little")) if nulls.any() else None
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(rows.reshape(-1)[places])]
    texts = pa.Array.from_buffers(pa.string(), len(rows), buffers)
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raise UnsupportedError("text is not UTF-8") from None
    return texts


def _unsupported(rows: Bytes, cell: _Cell) -> pa.Array:
    raise UnsupportedError("type of column")


_BUILDERS = {"int64": _integers, "float64": _reals, "string": _texts}


def _words(rows: Bytes, offset: int | Ints) -> Ints:
    """Return the 8 bytes at `offset` of each row as a big-endian number."""
    count, width = rows.shape
    if int(np.max(offset)) + _WORD > width:
        raise UnsupportedError("record shorter than its header says")
    if isinstance(offset, int):
        return np.ndarray((count,), ">i8", rows, offset, (width,)).astype(np.int64)
    words = np.ndarray((rows.size - _WORD + 1,), "<i8", rows, strides=(1,))
    return np.asarray(words[_begins(rows) + offset].byteswap(inplace=True), np.int64)
