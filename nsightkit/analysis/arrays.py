"""Columns of Arrow tables as numpy arrays, without Python objects per row.

In: an Arrow table as declared in `tables`. Out: int64 arrays, presence masks, and dictionary codes with their words.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from nsightkit.analysis import durations

if TYPE_CHECKING:
    import pyarrow as pa

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
# So many values at once stay in the processor's cache, with what is made from them.
CHUNK = 1 << 16
_FEW = 256
_FEW_LANES = 4
_VERY_FEW = 12


def ints(table: pa.Table, name: str, missing: int = -1) -> Ints:
    """Return column `name` as int64 with `missing` in place of nulls; a table without the column is all nulls."""
    if name not in table.column_names:
        return np.full(table.num_rows, missing, np.int64)
    values = durations.integers(table[name])
    return np.where(durations.present(table[name]), values, missing) if table[name].null_count else values


def narrow_ints(table: pa.Table, name: str, missing: int = -1) -> npt.NDArray[np.integer[Any]]:
    """Return the same in the width in which it lies in memory, where that is at hand: half the memory to go through."""
    if name in table.column_names and not table[name].null_count:
        return durations.stored(table[name])
    return ints(table, name, missing)


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


def chosen(table: pa.Table, mask: Mask) -> pa.Table:
    """Return the rows in `mask`; those that lie together, as one capture's do, without a copy.

    Arrow's own filter imports pyarrow.compute, which costs a tenth of a small report.
    """
    places = np.flatnonzero(mask)
    if not places.size:
        return table.slice(0, 0)
    first, count = int(places[0]), int(places.size)
    return table.slice(first, count) if places[-1] - first == count - 1 else table.filter(arrow_mask(mask))


def arrow_text(texts: list[str]) -> pa.Array:
    """Return texts as an Arrow array, again without pandas."""
    import pyarrow as pa

    data = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.concatenate([np.zeros(1, np.int32), np.cumsum([len(item) for item in data], dtype=np.int32)])
    return pa.Array.from_buffers(pa.string(), len(data), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(data))])


def distinct(values: npt.NDArray[Any]) -> list[int]:
    """Return the distinct values in rising order; few of them are found without a sort."""
    few = _few_distinct(values)
    return [int(value) for value in (_unique(values) if few is None else few)]


def give_back() -> None:
    """Return to the system the memory that Arrow and the C library hold for later use: of 5M launches a third.

    From then on arrays of more than a megabyte go back as soon as they are freed, which glibc would unlearn.
    """
    import ctypes

    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # only glibc has them
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 1 << 20)
        library.malloc_trim(0)


# Source: malloc.h of glibc.
_MMAP_THRESHOLD = -3


def _unique(values: npt.NDArray[Any]) -> Ints:
    # Without counts numpy asks whether the array is masked, and imports numpy.ma for that.
    return np.unique(values, return_counts=True)[0]


def dense(values: Ints) -> tuple[Codes, Ints]:
    """Return `values` as codes 0…n-1 and the n distinct values in rising order."""
    found = _few_distinct(values)
    if found is None:
        found = _unique(values[_changes(values)])
    codes = np.zeros(values.size, np.int32)
    for begin in range(0, values.size if found.size > 1 else 0, CHUNK):
        codes[begin : begin + CHUNK] = places_among(found, values[begin : begin + CHUNK])
    return codes, found


def _few_distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return the distinct values in rising order without a sort of all of them, None where they are many."""
    found = values[:1]
    for begin in range(0, values.size, CHUNK):
        part = values[begin : begin + CHUNK]
        new = found[places_among(found, part)] != part
        if new.any():
            found = _unique(np.concatenate([found, part[new]]))
            if found.size > _FEW:
                return None
    return np.array(found)


def places_among(rising: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return for each value its place in `rising`; for one that is not there, the place of another."""
    if rising.size > _VERY_FEW:
        return np.minimum(np.searchsorted(rising, values), rising.size - 1)
    # To compare with each of very few is many times as fast as to search, and small numbers are added fastest.
    place = np.zeros(values.size, np.int8)
    for one in rising[1:]:
        place += (values >= one).view(np.int8)
    return place.astype(np.intp)


def lanes(process: Ints, thread: Ints) -> tuple[Codes, Ints, Ints]:
    """Return a code for each distinct pair of process and thread, and process and thread of each code."""
    processes, threads = _few_distinct(process), _few_distinct(thread)
    if processes is None or threads is None:
        codes = dense(process)[0], dense(thread)[0]
        code, row = combined(*codes)
        return code, process[row], thread[row]
    code = np.empty(process.size, np.int32)
    for begin in range(0, process.size, CHUNK):
        part = slice(begin, begin + CHUNK)
        code[part] = places_among(processes, process[part]) * threads.size + places_among(threads, thread[part])
    code, pairs = renumbered(code, processes.size * threads.size)
    return code, processes[pairs // max(threads.size, 1)], threads[pairs % max(threads.size, 1)]


def renumbered(codes: Ints | Codes, limit: int) -> tuple[Codes, Ints]:
    """Return codes from 0 to below `limit` as 0…n-1, and the n that there are in rising order."""
    if limit > max(_FEW, codes.size):
        found, numbers = np.unique(codes, return_inverse=True)
        return numbers.astype(np.int32), found.astype(np.int64)
    seen = np.zeros(limit, np.bool_)
    for begin in range(0, codes.size, CHUNK):
        seen[codes[begin : begin + CHUNK].astype(np.intp, copy=False)] = True
    return looked_up(np.cumsum(seen, dtype=np.int32) - np.int32(1), codes), np.flatnonzero(seen)


def by_lane(lane: Codes) -> tuple[Ints, Ints]:
    """Return the rows of the lanes 0, 1, … one after the other, in their order, and where each lane begins and ends.

    Rows of negative lanes are left out.
    """
    lanes_seen = int(lane.max(initial=-1)) + 1
    if lanes_seen <= _FEW_LANES:
        # To look for each of a few lanes in turn is faster than to sort.
        small = lane.astype(np.int8)
        rows = [np.zeros(0, np.int64), *(np.flatnonzero(small == number) for number in range(lanes_seen))]
        return np.concatenate(rows), np.cumsum([part.size for part in rows])
    bounds = np.cumsum(np.bincount(lane + 1))
    # Eight or sixteen bits are sorted digit by digit, several times as fast.
    kind = next((kind for kind in (np.int8, np.int16) if bounds.size <= np.iinfo(kind).max), np.int32)
    order = np.argsort(lane.astype(kind), kind="stable")
    return order[bounds[0] :], bounds - bounds[0]


_Kind = TypeVar("_Kind", bound=np.generic)


def looked_up(values: npt.NDArray[_Kind], places: Ints | Codes) -> npt.NDArray[_Kind]:
    """Return the value at each place, where -1 is the last, in blocks: as `values[places]`, several times as fast."""
    found = np.empty(places.size, values.dtype)
    for begin in range(0, places.size, CHUNK):
        part = slice(begin, begin + CHUNK)
        # Places of the machine's own width, and no look for errors, make most of the difference.
        found[part] = values.take(places[part].astype(np.intp, copy=False), mode="wrap")
    return found


def narrowest(values: Ints | Codes) -> Ints | Codes:
    """Return values as int32 where they fit: half the memory."""
    if values.dtype == np.int32:
        return values
    found = np.empty(values.size, np.int32)
    for begin in range(0, values.size, CHUNK):
        part = values[begin : begin + CHUNK]
        if int(part.min()) < -(2**31) or int(part.max()) >= 2**31:
            return values
        found[begin : begin + CHUNK] = part
    return found


def _changes(values: Ints) -> Mask:
    # Ids of processes and threads come in long runs: looking at the changes alone spares the sort of all of them.
    keep = np.ones(values.size, np.bool_)
    np.not_equal(values[1:], values[:-1], out=keep[1:])
    return keep


def combined(first: Codes, second: Codes) -> tuple[Codes, Codes]:
    """Return one code for each distinct pair, and for each such code the index of a row that has it."""
    if bool((first == first[:1]).all()):
        return _first_rows(second + 1)
    width = int(second.max(initial=-1)) + 2
    if (int(first.max(initial=-1)) + 2) * width <= max(_FEW, first.size):
        # Few pairs are possible: no sort of long columns is needed.
        pairs = first + np.int32(1)
        pairs *= np.int32(width)
        pairs += second
        pairs += np.int32(1)
        return _first_rows(pairs)
    wide = (first.astype(np.int64) + 1) * width + (second + 1)
    _, rows, codes = np.unique(wide, return_index=True, return_inverse=True)
    return codes.astype(np.int32), rows.astype(np.int32)


def _first_rows(codes: Codes) -> tuple[Codes, Codes]:
    seen = np.full(int(codes.max(initial=-1)) + 1, -1, np.int32)
    seen[codes[::-1]] = np.arange(codes.size - 1, -1, -1, dtype=np.int32)
    used = seen >= 0
    return (np.cumsum(used) - 1).astype(np.int32)[codes], seen[used]
