"""Which call on the CPU put a piece of work on the GPU.

In: correlation ids with the process of the work and of the calls. Out: per piece of work the row of its call, -1 where
the capture does not hold it. Ids restart in each process, so a join by correlation id alone is wrong as soon as there
are two; one call may own many kernels (CUDA graphs).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import CHUNK, Codes, Ints, Mask, dense, distinct, places_among

# A lookup table may hold this many empty places for each id; ids that are sparser are sorted and searched instead.
_MOST_EMPTY = 8


def join_launches(
    work_process: Ints | Codes, work_correlation: Ints | Codes, call_process: Ints, call_correlation: Ints | Codes
) -> Codes:
    """Return for each piece of work the row of the call with the same process and correlation id, -1 for none.

    Ids below zero join nothing. Where calls share an id in one process, the last of them is taken.
    """
    _, processes = dense(call_process)
    low = max(_least(work_correlation), _least(call_correlation))
    width = min(int(work_correlation.max(initial=-1)), int(call_correlation.max(initial=-1))) - low + 1
    if width < 1:
        return np.full(work_process.size, -1, np.int32)
    if width * processes.size > _MOST_EMPTY * (work_process.size + call_process.size):
        return _by_process((work_process, work_correlation), (call_process, call_correlation))
    # Ids restart in each process: one table holds them all, and its last place answers what is not known.
    table = np.full(width * processes.size + 1, -1, np.int32)
    places = _Places(processes, low, width)
    for begin in range(0, call_process.size, CHUNK):
        part = places.of(call_process[begin : begin + CHUNK], call_correlation[begin : begin + CHUNK])
        table[part] = np.arange(begin, begin + part.size, dtype=np.int32)
    table[-1] = -1
    found = np.empty(work_process.size, np.int32)
    for begin in range(0, work_process.size, CHUNK):
        part = places.of(work_process[begin : begin + CHUNK], work_correlation[begin : begin + CHUNK])
        found[begin : begin + CHUNK] = table[part]
    return found


def _least(ids: Ints | Codes) -> int:
    return int(ids.min(where=ids >= 0, initial=np.iinfo(ids.dtype).max))


@dataclass(frozen=True)
class _Places:
    """Where the table holds an id of a process; the place after all others where it does not."""

    processes: Ints
    low: int
    width: int

    def of(self, process: Ints | Codes, correlation: Ints | Codes) -> Ints:
        code = places_among(self.processes, process)
        ids = correlation.astype(np.int64) - self.low
        place = code * self.width + ids
        place[(self.processes[code] != process) | (ids < 0) | (ids >= self.width)] = self.width * self.processes.size
        return np.asarray(place, np.int64)


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
