"""The verdict on captures: ours, and those made elsewhere, of which only their tables can be known.

In: a run and a capture in it, or a dataset. Out: the record that stands in ``run.json`` and opens the report.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nsightkit.run import Capture, Run, RunInfo

if TYPE_CHECKING:
    from nsightkit.analysis.quality import CaptureFacts, Quality
    from nsightkit.ingest.dataset import Dataset

_JUDGED = ("nsys", "ncu", "torch")


def judge(run: Run, capture: Capture, facts: CaptureFacts) -> Quality:
    """Return the verdict on one capture of `run` from its tables."""
    from nsightkit.analysis.quality import judge_capture, needed
    from nsightkit.ingest.dataset import tables_of

    return judge_capture(tables_of(run, capture, needed(capture.backend)), facts)


def judge_stored(run: Run, capture: Capture) -> dict[str, Any]:
    """Return the verdict on a capture made elsewhere whose tables were just written to `run`; empty for none."""
    if not _is_recorded(capture.backend, capture.row_counts.get("reported_sums", 0)):
        return {}
    return judge(run, capture, _elsewhere(capture)).as_record()


def judged(dataset: Dataset) -> RunInfo:
    """Return what is known of `dataset`, with a verdict on each capture that came without one."""
    captures = [
        capture if capture.quality else replace(capture, quality=_judge_loaded(dataset, capture))
        for capture in dataset.info.captures
    ]
    return replace(dataset.info, captures=tuple(captures))


def _judge_loaded(dataset: Dataset, capture: Capture) -> dict[str, Any]:
    from nsightkit.analysis.quality import judge_capture, needed
    from nsightkit.analysis.work.operations import rows_of

    printed = rows_of(capture.capture_id, dataset.arrow("reported_sums", ("capture_id",)))
    if not _is_recorded(capture.backend, printed.num_rows):
        return {}
    tables = {
        name: rows_of(capture.capture_id, dataset.arrow(name, ("capture_id", *columns)))
        for name, columns in needed(capture.backend).items()
    }
    return judge_capture(tables, _elsewhere(capture)).as_record()


def _is_recorded(backend: str, sum_count: int) -> bool:
    """Whether a profiler's own record is at hand, and not printed sums or a benchmark."""
    return backend in _JUDGED and not sum_count


def _elsewhere(capture: Capture) -> CaptureFacts:
    from nsightkit.analysis.quality import CaptureFacts

    return CaptureFacts(capture.backend, made_elsewhere=True)
