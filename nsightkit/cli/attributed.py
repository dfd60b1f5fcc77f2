"""What the commands about ranges and the timeline share: which tables they read, and the captures that have any.

In: a dataset. Out: captures with their tables, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nsightkit.errors import AnalysisError
from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.analysis.ranges.nvtx_projection import Attribution
    from nsightkit.analysis.work.operations import CaptureTables
    from nsightkit.ingest.dataset import Dataset

# Only these columns are read from the captures.
WANTED: dict[str, tuple[str, ...] | None] = {
    "kernel_launches": (
        "kernel_name", "start_ns", "duration_ns", "device_id", "stream_id", "process_id", "correlation_id",
    ),
    "cuda_api_calls": ("name", "start_ns", "duration_ns", "process_id", "thread_id", "correlation_id"),
    "memory_operations": (
        "operation", "start_ns", "duration_ns", "moved_bytes", "device_id", "stream_id", "process_id", "correlation_id",
    ),
    "graph_launches": ("start_ns", "duration_ns", "device_id", "stream_id", "process_id", "correlation_id"),
    "nvtx_ranges": (
        "name", "domain", "kind", "start_ns", "duration_ns", "process_id", "thread_id", "end_thread_id",
    ),
}  # fmt: skip


def graph_note(count: int, time_ns: int) -> str:
    """Return what must be said of GPU time that belongs to CUDA graphs whose kernels are not in the capture."""
    return (
        f"{fmt.duration(time_ns)} of it are {count} CUDA graph launches that were traced as a whole: the kernels in "
        "them are hidden"
    )


def lost_graphs(attribution: Attribution) -> int:
    """Return how many launches of CUDA graphs have no traced work, not even as a whole."""
    if not any("GraphLaunch" in (name or "") for name in attribution.calls.names.to_pylist()):
        return 0
    from nsightkit.analysis.timeline.whole_run import graph_figures

    return graph_figures(attribution).lost_count


def captures_of(dataset: Dataset, keep: bool = True) -> Iterator[CaptureTables]:
    """Return the captures that have GPU work, each with its tables.

    Args:
        dataset: opened with `WANTED`.
        keep: whether the rows are asked for again; without, they are read into arrays and dropped, which takes half of
            the memory.

    Raises:
        AnalysisError: none has any, so that there is no timeline to speak of.
    """
    from nsightkit.analysis.work.operations import by_capture, condensed, read_condensed

    work = ("kernel_launches", "memory_operations", "graph_launches")
    if not any(dataset.has(name) and dataset.holds_rows(name) for name in work):
        if not dataset.info.captures:
            return
        if within := getattr(dataset, "within", ""):
            raise AnalysisError(f"{dataset.name}: ranges named '{within}' launched no GPU work", slug="no-timeline")
        raise AnalysisError(
            f"{dataset.name}: no GPU work with start and end in it; name a capture of nsys or torch.profiler that has "
            "kernels ('nsightkit info' lists what a capture holds)",
            slug="no-timeline",
        )
    if not keep and len(dataset.info.captures) == 1:
        yield read_condensed(dataset.info.captures[0].capture_id, dataset.take)
    elif keep:
        yield from by_capture({name: dataset.arrow(name) for name in WANTED})
    else:
        yield from map(condensed, by_capture({name: dataset.take(name) for name in WANTED}))
