"""Statistics of durations or sizes by group: count, sum, mean, median, 95th percentile, extremes, deviation.

In: columns of an Arrow table. Out: `Statistics`, one entry a group. Sums, extremes and medians are exact. The columns
are read as numpy arrays from Arrow's own buffers, since Arrow's way to numpy imports pandas where that is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
_WIDTHS = {32: np.int32, 64: np.int64}


@dataclass(frozen=True)
class Statistics:
    """One entry a group in each array, all of shape (groups,); values in the unit of the input."""

    counts: Ints
    totals: Ints
    means: Floats
    medians: Floats
    p95s: Floats
    minima: Ints
    maxima: Ints
    deviations: Floats  # sample deviation; NaN where a group has one value

    def deviation(self, group: int) -> float | None:
        """Return the sample deviation of a group, None where it has one value."""
        return None if self.counts[group] < 2 else float(self.deviations[group])


def integers(column: pa.ChunkedArray) -> Ints:
    """Return an int32 or int64 column, shape (rows,), as int64; what is null is arbitrary.

    An int64 column that lies in one piece is not copied, and so cannot be written to.
    """
    return stored(column).astype(np.int64, copy=False)


def stored(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return an int32 or int64 column in the width in which it lies in memory; what is null is arbitrary."""
    parts = [_numbers(chunk) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros(0, np.int64)])


def _numbers(chunk: pa.Array) -> npt.NDArray[Any]:
    data = chunk.buffers()[1]
    if data is None:
        return np.zeros(len(chunk), np.int64)
    return np.frombuffer(data, _WIDTHS[chunk.type.bit_width])[chunk.offset :][: len(chunk)]


def present(column: pa.ChunkedArray) -> Mask:
    """Return where a column is not null, shape (rows,)."""
    parts = [np.zeros(0, np.bool_)]
    for chunk in column.chunks:
        if chunk.null_count == 0:
            parts.append(np.ones(len(chunk), np.bool_))
        elif chunk.null_count == len(chunk):
            parts.append(np.zeros(len(chunk), np.bool_))
        else:
            holder = chunk.indices if hasattr(chunk, "indices") else chunk
            bits = np.unpackbits(np.frombuffer(holder.buffers()[0], np.uint8), bitorder="little")
            parts.append(bits[holder.offset : holder.offset + len(chunk)].astype(np.bool_))
    return np.concatenate(parts)


def words(column: pa.ChunkedArray) -> tuple[Codes, list[str]]:
    """Return a text column as codes, shape (rows,), into its distinct words; null is -1."""
    known: dict[str, int] = {}
    parts = [np.zeros(0, np.int32)]
    for chunk in column.chunks:
        encoded = chunk if hasattr(chunk, "indices") else chunk.dictionary_encode()
        texts = encoded.dictionary.to_pylist()
        places = [-1 if text is None else known.setdefault(text, len(known)) for text in texts]
        data = encoded.indices.buffers()[1]
        whole = np.zeros(len(chunk), np.int32) if data is None else np.frombuffer(data, np.int32)
        codes = whole[encoded.indices.offset :][: len(chunk)]
        where = np.array([*places, -1], np.int32)
        if chunk.null_count:
            codes = np.where(present_in(encoded), codes, len(places)) if len(places) else np.zeros(len(chunk), np.int32)
        parts.append(where[np.asarray(codes, np.int32)])
    return np.concatenate(parts), list(known)


def present_in(encoded: pa.DictionaryArray) -> Mask:
    """Return where a dictionary column is not null."""
    import pyarrow as pa

    return present(pa.chunked_array([encoded.indices]))


def by_group(codes: npt.NDArray[Any], values: Ints, groups: int) -> Statistics:
    """Return the statistics of `values` by the group that `codes` gives each; every group has a value.

    Args:
        codes: group of each value, 0 to groups - 1, shape (values,).
        values: durations in ns or sizes in bytes, shape (values,).
        groups: how many groups there are.
    """
    ordered = _sorted_within(codes, values, groups)
    counts = np.bincount(codes, minlength=groups).astype(np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)[:-1]])
    totals = np.add.reduceat(ordered, starts)
    means = totals / counts
    squares = np.repeat(means, counts)
    np.subtract(ordered, squares, out=squares)
    np.square(squares, out=squares)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.sqrt(np.add.reduceat(squares, starts) / (counts - 1))
    last = starts + counts - 1
    return Statistics(
        counts, totals, means, _quantile(ordered, starts, counts, 0.5), _quantile(ordered, starts, counts, 0.95),
        ordered[starts], ordered[last], deviations,
    )  # fmt: skip


def _sorted_within(codes: npt.NDArray[Any], values: Ints, groups: int) -> Ints:
    """Return the values ordered by group, then by size."""
    low = int(values.min())
    bits = (int(values.max()) - low).bit_length()
    if bits + groups.bit_length() > 62:
        return values[np.lexsort((values, codes))]
    # One sort of one number is several times faster than a sort by two keys; in place, as fresh memory costs as much.
    keys = codes.astype(np.int64)
    keys <<= bits
    keys |= values - low
    keys.sort()
    keys &= (1 << bits) - 1
    keys += low
    return keys


def _quantile(ordered: Ints, starts: Ints, counts: Ints, share: float) -> Floats:
    """Return the value at `share` of each group, linear between neighbors."""
    place = (counts - 1) * share
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, counts - 1)
    lower, upper = ordered[starts + below].astype(np.float64), ordered[starts + above].astype(np.float64)
    return np.asarray(lower + (upper - lower) * (place - below))


def dense(codes: Sequence[npt.NDArray[Any]]) -> tuple[Codes, list[tuple[int, ...]]]:
    """Return rows with equal `codes` as groups: the group of each row, and the codes of each group."""
    combined = np.zeros(len(codes[0]), np.int64)
    for part in codes:
        combined = combined * (int(part.max(initial=0)) + 2) + part + 1
    _, first, group = np.unique(combined, return_index=True, return_inverse=True)
    return group.astype(np.int32), [tuple(int(part[at]) for part in codes) for at in first.tolist()]
