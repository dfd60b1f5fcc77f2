"""Copies and fills: how much was moved, how long it took, and at which rate.

In: rows of `memory_operations`. Out: `CopyRate`, one a kind and pair of memories. The rate is bytes by time of the
operations themselves, latency included; overlapping operations of one kind count their time twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nsightkit.analysis import durations
from nsightkit.analysis.arrays import ints, known, words

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("operation", "source_kind", "destination_kind", "moved_bytes", "duration_ns")


@dataclass(frozen=True, slots=True)
class CopyRate:
    """All operations of one kind."""

    operation: str
    source_kind: str | None
    destination_kind: str | None
    operation_count: int
    moved_bytes: int
    total_ns: int
    bytes_per_s: float | None  # over all; None where they took no time
    best_bytes_per_s: float | None  # of the fastest one, so that it is never below the rate over all


def copy_rates(operations: pa.Table) -> list[CopyRate]:
    """Return what was moved by kind, most time first; operations without a size or an end are left out."""
    usable = known(operations, "moved_bytes") & known(operations, "duration_ns")
    coded = [words(operations, name) for name in ("operation", "source_kind", "destination_kind")]
    if not usable.any():
        return []
    group, keys = durations.dense([codes[usable] for codes, _ in coded])
    size, time = ints(operations, "moved_bytes")[usable], ints(operations, "duration_ns")[usable]
    names = [found.to_pylist() for _, found in coded]
    rows = []
    for at, key in enumerate(keys):
        mine = group == at
        labels = [names[column][code] if code >= 0 else None for column, code in enumerate(key)]
        moved, took = int(size[mine].sum()), int(time[mine].sum())
        timed = mine & (time > 0)
        best = float((size[timed] / time[timed]).max()) * 1e9 if timed.any() else None
        rate = moved / took * 1e9 if took > 0 else None
        rows.append(CopyRate(str(labels[0]), labels[1], labels[2], int(mine.sum()), moved, took, rate, best))
    return sorted(rows, key=lambda row: (-row.total_ns, row.operation))
