"""How much memory of a GPU was in use over time, where the profiler recorded allocations.

In: rows of `device_memory`. Out: `MemoryUse`, one a capture and GPU. Where the allocator states its totals they are
taken; else sizes are added up, which leaves out what was allocated before the capture began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nsightkit.analysis.arrays import Ints, arrow_mask, combined, dense, ints, known, words

if TYPE_CHECKING:
    import pyarrow as pa

# Points of the curve: a report is no larger for a longer capture.
POINTS = 240
# Pinned and pageable memory is the host's; managed memory may lie on either side.
_ON_DEVICE = ("device", "array", "device static")


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """One GPU of one capture."""

    capture_id: str
    device_id: int
    event_count: int
    peak_bytes: int
    peak_ns: int  # when it was first reached
    last_bytes: int
    peak_reserved_bytes: int | None  # held by a caching allocator, used or not
    is_total: bool  # the allocator's own totals; else only what was allocated since the capture began
    points: tuple[tuple[int, int], ...]  # time, and the most in use until the next point


def memory_use(rows: pa.Table) -> list[MemoryUse]:
    """Return the use of each GPU, by capture and device; rows of host memory and of no known GPU are left out."""
    kinds, names = words(rows, "memory_kind")
    texts = names.to_pylist()
    on_device = np.array([*(text in _ON_DEVICE for text in texts), True])[kinds]
    rows = rows.filter(arrow_mask(on_device & known(rows, "device_id")))
    if not rows.num_rows:
        return []
    captures, capture_names = words(rows, "capture_id")
    devices, device_ids = dense(ints(rows, "device_id"))
    group, _ = combined(captures, devices)
    labels = capture_names.to_pylist()
    found = []
    for code in np.unique(group).tolist():
        mine = np.flatnonzero(group == code)
        mine = mine[np.argsort(ints(rows, "time_ns")[mine], kind="stable")]
        place = (str(labels[captures[mine[0]]]), int(device_ids[devices[mine[0]]]))
        found.append(_use(place, rows, mine))
    return sorted(found, key=lambda use: (use.capture_id, use.device_id))


def _use(place: tuple[str, int], rows: pa.Table, mine: Ints) -> MemoryUse:
    time = ints(rows, "time_ns")[mine]
    is_total = bool(known(rows, "allocated_bytes")[mine].all())
    used = ints(rows, "allocated_bytes")[mine] if is_total else np.cumsum(ints(rows, "changed_bytes")[mine])
    reserved = ints(rows, "reserved_bytes")[mine][known(rows, "reserved_bytes")[mine]]
    # What was allocated before is released too: the least that must have been there is added.
    used = used if is_total else used - min(0, int(used.min()))
    peak = int(np.argmax(used))
    return MemoryUse(
        *place, int(mine.size), int(used[peak]), int(time[peak]), int(used[-1]),
        int(reserved.max()) if reserved.size else None, is_total, _points(time, used),
    )  # fmt: skip


def _points(time: Ints, used: Ints) -> tuple[tuple[int, int], ...]:
    step = -(-time.size // POINTS)
    starts = np.arange(0, time.size, step)
    return tuple(zip(time[starts].tolist(), np.maximum.reduceat(used, starts).tolist(), strict=True))
