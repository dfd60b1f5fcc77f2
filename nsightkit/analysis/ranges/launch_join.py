"""Which call on the CPU put a piece of work on the GPU.

In: correlation ids with the process of the work and of the calls. Out: per piece of work the row of its call, -1 where
the capture does not hold it. Ids restart in each process, so a join by correlation id alone is wrong as soon as there
are two; one call may own many kernels (CUDA graphs).
"""

from __future__ import annotations

import numpy as np

from nsightkit.analysis.arrays import Codes, Ints, Mask, dense

CHUNK = 1 << 16
# A lookup table may hold this many empty places for each id; ids that are sparser are sorted and searched instead.
_MOST_EMPTY = 8


def join_launches(work_process: Ints, work_correlation: Ints, call_process: Ints, call_correlation: Ints) -> Codes:
    """Return for each piece of work the row of the call with the same process and correlation id, -1 for none.

    Ids below zero join nothing. Where calls share an id in one process, the last of them is taken.
    """
    codes, processes = dense(work_process)
    found = np.full(work_process.size, -1, np.int32)
    for code, process in enumerate(processes):
        mine = slice(None) if processes.size == 1 else codes == code
        calls = np.flatnonzero((call_process == process) & (call_correlation >= 0))
        found[mine] = _lookup(work_correlation[mine], call_correlation[calls], calls.astype(np.int32))
    return found


def _lookup(wanted: Ints, ids: Ints, rows: Codes) -> Codes:
    valid = wanted >= 0
    if not ids.size or not valid.any():
        return np.full(wanted.size, -1, np.int32)
    low, high = int(wanted[valid].min()), int(wanted.max())
    near = (ids >= low) & (ids <= high)
    ids, rows = ids[near], rows[near]
    if high - low <= _MOST_EMPTY * (wanted.size + ids.size):
        return _by_table(wanted, ids - low, rows, (low, high))
    return _by_search(wanted, ids, rows)


def _by_table(wanted: Ints, places: Ints, rows: Codes, bounds: tuple[int, int]) -> Codes:
    low, high = bounds
    # The last place answers ids that are not known.
    table = np.full(high - low + 2, -1, np.int32)
    table[places] = rows
    found = np.empty(wanted.size, np.int32)
    for first in range(0, wanted.size, CHUNK):
        part = wanted[first : first + CHUNK] - low
        part[part < 0] = high - low + 1
        found[first : first + CHUNK] = table[part]
    return found


def _by_search(wanted: Ints, ids: Ints, rows: Codes) -> Codes:
    if not ids.size:
        return np.full(wanted.size, -1, np.int32)
    order = np.argsort(ids, kind="stable")
    ids, rows = ids[order], rows[order]
    place = np.searchsorted(ids, wanted, side="right") - 1
    hit: Mask = (place >= 0) & (ids[np.maximum(place, 0)] == wanted)
    return np.where(hit, rows[np.maximum(place, 0)], np.int32(-1)).astype(np.int32)
