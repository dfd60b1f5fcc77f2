"""Columns of Arrow tables as numpy arrays, without Python objects per row.

In: an Arrow table as declared in `tables`. Out: int64 arrays, presence masks, and dictionary codes with their words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsightkit.analysis import durations

if TYPE_CHECKING:
    import pyarrow as pa

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


def ints(table: pa.Table, name: str, missing: int = -1) -> Ints:
    """Return column `name` as int64 with `missing` in place of nulls; a table without the column is all nulls."""
    if name not in table.column_names:
        return np.full(table.num_rows, missing, np.int64)
    values = durations.integers(table[name])
    return np.where(durations.present(table[name]), values, missing) if table[name].null_count else values


def known(table: pa.Table, name: str) -> Mask:
    """Return where column `name` is not null."""
    return durations.present(table[name]) if name in table.column_names else np.zeros(table.num_rows, np.bool_)


def words(table: pa.Table, name: str) -> tuple[Codes, pa.Array]:
    """Return a text column as codes into its distinct words, which stay in Arrow; null is -1."""
    import pyarrow as pa

    if name not in table.column_names or not table.num_rows:
        return np.full(table.num_rows, -1, np.int32), pa.nulls(0, pa.string())
    column = table[name].combine_chunks()
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = codes_of(encoded.indices)
    return np.where(durations.present_in(encoded), codes, -1) if encoded.null_count else codes, encoded.dictionary


def codes_of(indices: pa.Array) -> Codes:
    """Return the indices of a dictionary column as they lie in memory; what is null is arbitrary."""
    data = indices.buffers()[1]
    if data is None or not len(indices):
        return np.zeros(len(indices), np.int32)
    width = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}[indices.type.bit_width]
    return np.frombuffer(data, width)[indices.offset : indices.offset + len(indices)].astype(np.int32, copy=False)


def arrow_codes(codes: Codes) -> pa.Array:
    """Return codes as an Arrow array, null where negative, without the import of pandas that `pa.array` brings."""
    import pyarrow as pa

    valid = pa.py_buffer(np.packbits(codes >= 0, bitorder="little"))
    return pa.Array.from_buffers(pa.int32(), codes.size, [valid, pa.py_buffer(np.ascontiguousarray(codes, np.int32))])


def arrow_mask(mask: Mask) -> pa.Array:
    """Return a mask as an Arrow array."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.bool_(), mask.size, [None, pa.py_buffer(np.packbits(mask, bitorder="little"))])


def arrow_text(texts: list[str]) -> pa.Array:
    """Return texts as an Arrow array, again without pandas."""
    import pyarrow as pa

    data = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.concatenate([np.zeros(1, np.int32), np.cumsum([len(item) for item in data], dtype=np.int32)])
    return pa.Array.from_buffers(pa.string(), len(data), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(data))])


def distinct(values: npt.NDArray[Any]) -> list[int]:
    """Return the distinct values in rising order; of a column that has one value without a sort."""
    if not values.size or bool((values == values[0]).all()):
        return [int(value) for value in values[:1]]
    return [int(value) for value in _unique(values)]


def _unique(values: npt.NDArray[Any]) -> Ints:
    # Without counts numpy asks whether the array is masked, and imports numpy.ma for that.
    return np.unique(values, return_counts=True)[0]


def dense(values: Ints) -> tuple[Codes, Ints]:
    """Return `values` as codes 0…n-1 and the n distinct values in rising order."""
    found = _unique(values[_changes(values)])
    return np.searchsorted(found, values).astype(np.int32), found


def _changes(values: Ints) -> Mask:
    # Ids of processes and threads come in long runs: looking at the changes alone spares the sort of all of them.
    keep = np.ones(values.size, np.bool_)
    np.not_equal(values[1:], values[:-1], out=keep[1:])
    return keep


def combined(first: Codes, second: Codes) -> tuple[Codes, Codes]:
    """Return one code for each distinct pair, and for each such code the index of a row that has it."""
    width = int(second.max(initial=-1)) + 2
    pairs = (first.astype(np.int64) + 1) * width + (second + 1)
    if bool((first == first[:1]).all()):
        # The second column alone tells the pairs apart: no sort of long columns is needed.
        return _first_rows(second + 1)
    _, rows, codes = np.unique(pairs, return_index=True, return_inverse=True)
    return codes.astype(np.int32), rows.astype(np.int32)


def _first_rows(codes: Codes) -> tuple[Codes, Codes]:
    seen = np.full(int(codes.max(initial=-1)) + 1, -1, np.int32)
    seen[codes[::-1]] = np.arange(codes.size - 1, -1, -1, dtype=np.int32)
    used = seen >= 0
    return (np.cumsum(used) - 1).astype(np.int32)[codes], seen[used]
