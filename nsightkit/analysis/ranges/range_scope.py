"""The rows of a capture that belong to ranges of one name.

In: the tables of a capture, its `Attribution`, and the name of a range. Out: the same tables with fewer rows: GPU work
that was launched inside, and calls, ranges and operators that lie inside on the same thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nsightkit.analysis.arrays import Ints, Mask, arrow_mask, combined, dense, ints
from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.ranges.range_projection import inside
from nsightkit.analysis.ranges.range_summary import matching
from nsightkit.analysis.work.operations import CaptureTables
from nsightkit.tables import GPU_WORK

if TYPE_CHECKING:
    import pyarrow as pa


def tables_inside(tables: CaptureTables, attribution: Attribution, pattern: str) -> CaptureTables:
    """Return what of a capture belongs to the ranges that `pattern` means; no rows where there are none.

    Args:
        tables: the rows of the capture.
        attribution: made from these rows.
        pattern: as in `range_summary.matching`.
    """
    launched = inside(attribution, matching(attribution, pattern))
    parts: dict[str, pa.Table] = {}
    begin = 0
    for name in GPU_WORK:
        rows = getattr(tables, name)
        if rows is None:
            continue
        parts[name] = rows.filter(arrow_mask(launched[begin : begin + rows.num_rows]))
        begin += rows.num_rows
    for name in _HOST:
        parts[name] = rows_inside(getattr(tables, name), attribution, pattern)
    return CaptureTables(tables.capture_id, **parts)


def rows_inside(rows: pa.Table, attribution: Attribution, pattern: str) -> pa.Table:
    """Return the rows that lie inside a range that `pattern` means, on its thread.

    Args:
        rows: any table of the capture with start_ns, duration_ns, process_id and thread_id; a row without a duration
            counts where it begins.
        attribution: of the capture.
        pattern: as in `range_summary.matching`.
    """
    start = ints(rows, "start_ns")
    end = start + np.maximum(ints(rows, "duration_ns", 0), 0)
    places = (start, end, ints(rows, "process_id"), ints(rows, "thread_id"))
    return rows.filter(arrow_mask(_covered(places, attribution, matching(attribution, pattern))))


# In the order of `Operations`.
_HOST = ("cuda_api_calls", "nvtx_ranges")
_Places = tuple[Ints, Ints, Ints, Ints]


def _covered(places: _Places, attribution: Attribution, wanted: Mask) -> Mask:
    """Return which places (start, end, process, thread) lie inside a wanted range of their thread."""
    spans = attribution.spans
    chosen = np.flatnonzero(wanted[spans.name_code]) if spans.size else np.zeros(0, np.int64)
    if not chosen.size or not places[0].size:
        return np.zeros(places[0].size, np.bool_)
    given = (spans.start_ns, spans.end_ns, spans.process, spans.thread)
    both = [np.concatenate([mine[chosen], theirs]) for mine, theirs in zip(given, places, strict=True)]
    start, end = _on_one_axis(*both)
    order = np.argsort(start[: chosen.size], kind="stable")
    begins, reach = start[order], np.maximum.accumulate(end[order])
    before = np.searchsorted(begins, start[chosen.size :], side="right") - 1
    # Of all wanted ranges that began before it, the one that reaches farthest must reach its end.
    return (before >= 0) & (reach[np.maximum(before, 0)] >= end[chosen.size :])


def _on_one_axis(start: Ints, end: Ints, process: Ints, thread: Ints) -> tuple[Ints, Ints]:
    """Lay out intervals by thread, so that those of different threads never meet."""
    lane, _ = combined(dense(process)[0], dense(thread)[0])
    origin = int(start.min())
    width = int(end.max()) - origin + 1
    offset = lane.astype(np.int64) * width - origin
    return start + offset, end + offset
