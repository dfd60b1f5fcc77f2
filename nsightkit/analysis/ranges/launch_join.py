"""Which call on the CPU put a piece of work on the GPU.

In: correlation ids with the process of the work and of the calls. Out: per piece of work the row of its call, -1 where
the capture does not hold it. Ids restart in each process, so a join by correlation id alone is wrong as soon as there
are two; one call may own many kernels (CUDA graphs).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nsightkit.analysis.arrays import CHUNK, Codes, Ints, Mask, distinct, places_among

# A lookup table may hold this many empty places for each id; ids that are sparser are sorted and searched instead.
_MOST_EMPTY = 8


def join_launches(
    work: tuple[Ints | Codes, Ints | Codes], calls: tuple[Codes, Ints | Codes], lane_process: Ints
) -> Codes:
    """Return for each piece of work the row of the call with the same process and correlation id, -1 for none.

    Ids below zero join nothing. Where calls share an id in one process, the last of them is taken.

    Args:
        work: process and correlation id of each piece of work.
        calls: lane and correlation id of each call.
        lane_process: process of each lane, shape (lanes,).
    """
    processes = np.array(distinct(lane_process), np.int64)
    of_lane = np.searchsorted(processes, lane_process)
    low = max(_least(work[1]), _least(calls[1]))
    width = min(int(ids.max(initial=-1)) for ids in (work[1], calls[1])) - low + 1
    if width < 1:
        return np.full(work[0].size, -1, np.int32)
    if width * processes.size > _MOST_EMPTY * (work[0].size + calls[0].size):
        return _by_process(work, (lane_process[calls[0]], calls[1]))
    # Ids restart in each process: one table holds them all, and its last place answers what is not known.
    shape = (low, width, width * processes.size + 1)
    table = _table(calls, of_lane, shape)
    found = np.empty(work[0].size, np.int32)
    for begin in range(0, work[0].size, CHUNK):
        process, ids = (column[begin : begin + CHUNK] for column in work)
        code = places_among(processes, process)
        part = _places(code, ids, shape)
        part[processes[code] != process] = table.size - 1
        found[begin : begin + CHUNK] = table[part]
    return found


def _table(calls: tuple[Codes, Ints | Codes], of_lane: npt.NDArray[np.intp], shape: tuple[int, int, int]) -> Codes:
    """Return the row of the last call with each id of each process, -1 for none."""
    table = np.full(shape[2], -1, np.int32)
    for begin in range(0, calls[0].size, CHUNK):
        lane, ids = (column[begin : begin + CHUNK] for column in calls)
        part = _places(of_lane[lane], ids, shape)
        table[part] = np.arange(begin, begin + part.size, dtype=np.int32)
    table[-1] = -1
    return table


def _least(ids: Ints | Codes) -> int:
    """Return the least id that is not below zero, or more than any where there is none."""
    least = int(ids.min(initial=np.iinfo(ids.dtype).max))
    return least if least >= 0 else int(ids.min(where=ids >= 0, initial=np.iinfo(ids.dtype).max))


def _places(code: npt.NDArray[np.intp], correlation: Ints | Codes, shape: tuple[int, int, int]) -> Ints:
    """Return where a table that holds `width` ids from `low` on for each process has ids; its last place for none."""
    low, width, size = shape
    ids = correlation.astype(np.int64) - low
    place = code * np.int64(width) + ids
    place[(ids < 0) | (ids >= width)] = size - 1
    return place


def _by_process(work: tuple[Ints | Codes, Ints | Codes], call: tuple[Ints, Ints | Codes]) -> Codes:
    found = np.full(work[0].size, -1, np.int32)
    for process in distinct(work[0]):
        mine = np.flatnonzero(work[0] == process)
        rows = np.flatnonzero((call[0] == process) & (call[1] >= 0))
        found[mine] = _by_search(work[1][mine], call[1][rows], rows.astype(np.int32))
    return found


def _by_search(wanted: Ints | Codes, ids: Ints | Codes, rows: Codes) -> Codes:
    if not ids.size:
        return np.full(wanted.size, -1, np.int32)
    order = np.argsort(ids, kind="stable")
    ids, rows = ids[order], rows[order]
    place = np.searchsorted(ids, wanted, side="right") - 1
    hit: Mask = (place >= 0) & (ids[np.maximum(place, 0)] == wanted)
    return np.where(hit, rows[np.maximum(place, 0)], np.int32(-1)).astype(np.int32)
