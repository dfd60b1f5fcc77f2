"""The verdict on captures that were made elsewhere: what their tables show, and what nobody can know of them.

In: a run and a capture in it, or a dataset. Out: the record that stands in ``run.json`` and opens the report.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nsightkit.run import Capture, Run, RunInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from nsightkit.ingest.dataset import Dataset

_JUDGED = ("nsys", "ncu", "torch")


def judge_stored(run: Run, capture: Capture) -> dict[str, Any]:
    """Return the verdict on a capture whose tables were just written to `run`; empty where it has none."""
    from nsightkit import parquet
    from nsightkit.analysis.quality import NEEDED
    from nsightkit.tables import TABLES

    if not _is_recorded(capture.backend, capture.row_counts.get("reported_sums", 0)):
        return {}
    return _verdict(capture.backend, {
        name: parquet.read_table(TABLES[name], [run.table_path(name, capture.capture_id)], columns)
        for name, columns in NEEDED.items()
        if capture.row_counts.get(name)
    })  # fmt: skip


def judged(dataset: Dataset) -> RunInfo:
    """Return what is known of `dataset`, with a verdict on each capture that came without one."""
    captures = [
        capture if capture.quality else replace(capture, quality=_judge_loaded(dataset, capture))
        for capture in dataset.info.captures
    ]
    return replace(dataset.info, captures=tuple(captures))


def _judge_loaded(dataset: Dataset, capture: Capture) -> dict[str, Any]:
    from nsightkit.analysis.quality import NEEDED

    printed = _of(dataset.arrow("reported_sums", ("capture_id",)), capture.capture_id)
    if not _is_recorded(capture.backend, printed.num_rows):
        return {}
    return _verdict(capture.backend, {
        name: _of(dataset.arrow(name, ("capture_id", *columns)), capture.capture_id) for name, columns in NEEDED.items()
    })  # fmt: skip


def _of(rows: pa.Table, capture_id: str) -> pa.Table:
    from nsightkit.analysis.arrays import chosen, words

    if not rows.num_rows:
        return rows
    codes, names = words(rows, "capture_id")
    at = names.to_pylist().index(capture_id) if capture_id in names.to_pylist() else -1
    return chosen(rows, codes == at)


def _is_recorded(backend: str, sum_count: int) -> bool:
    """Whether a profiler's own record is at hand, and not printed sums or a benchmark."""
    return backend in _JUDGED and not sum_count


def _verdict(backend: str, tables: Mapping[str, pa.Table]) -> dict[str, Any]:
    from nsightkit.analysis.quality import CaptureFacts, judge_capture

    return judge_capture(tables, CaptureFacts(backend, made_elsewhere=True)).as_record()
