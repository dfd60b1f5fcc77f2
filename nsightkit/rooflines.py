"""Rooflines for notebooks and scripts: ``nsightkit.roofline_points("reports/decode")``.

In: a run directory, a capture, or a folder of captures. Out: `RooflineRow` values, one for each kernel or operator.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nsightkit.errors import AnalysisError, IngestError
from nsightkit.ingest.dataset import Dataset, open_dataset

if TYPE_CHECKING:
    from nsightkit.analysis.results import RooflineRow
    from nsightkit.analysis.roofs.roofline_rows import RooflineChoice

WANTED = ("kernel_counters", "cpu_operators", "kernel_launches", "gpus", "nvtx_ranges", "cuda_api_calls")
SUMS_ONLY = "printed sums hold neither work nor traffic: use ncu, or torch.profiler with record_shapes=True"
# With samples the phases of the timeline are judged, so all GPU work counts.
WANTED_SAMPLED = (*WANTED, "memory_operations", "graph_launches", "reported_sums", "gpu_metric_samples")


def roofline_points(path: str | Path, choice: RooflineChoice | None = None) -> list[RooflineRow]:
    """Return where every kernel or operator of a run stands, the longest first; those without a place are there too.

    >>> [row.point for row in roofline_points("reports/decode")]  # doctest: +SKIP

    Args:
        path: a run directory, a capture, or a folder of captures.
        choice: levels, precision, GPU and roofs; see `analysis.roofline_rows.RooflineChoice`.

    Raises:
        IngestError: `path` is none of these, or damaged.
        AnalysisError: it holds nothing with a time.
    """
    dataset = open_dataset([Path(path)], dict.fromkeys(WANTED_SAMPLED))
    if not dataset.info.captures and dataset.failures:
        failure = dataset.failures[0]
        raise IngestError(failure.reason, slug=failure.slug)
    return rows_of(dataset, choice)


def rows_of(dataset: Dataset, choice: RooflineChoice | None = None) -> list[RooflineRow]:
    """Return the same of captures that are open already, with the tables of `WANTED_SAMPLED` at least."""
    from nsightkit.analysis.roofs.roofline_rows import roofline_rows

    # Ranges and calls may be many: they are read only where they are of use.
    needed = WANTED if choice is not None and (choice.dtype or choice.by_range) else WANTED[:4]
    tables = {name: dataset.rows(name) for name in needed if dataset.has(name)}
    if not any(tables.get(name) for name in WANTED[:3]):
        if summed := _summed(dataset):
            return summed
        raise AnalysisError(
            f"{dataset.name}: no kernels and no operators in it; a roofline needs a report of Nsight Compute, a trace "
            "of torch.profiler, or at least a timeline or sums of nsys",
            slug="no-roofline",
        )
    rows = roofline_rows(tables, choice)
    if choice is not None and choice.by_range:
        from nsightkit.analysis.roofs.phase_rows import with_phases

        rows = with_phases(rows, dataset, choice)
    return sorted(rows, key=lambda row: -(row.total_ns or 0.0))


def _summed(dataset: Dataset) -> list[RooflineRow]:
    """Return the kernels of printed sums ('nsys stats'): their time is all that is known of them."""
    from nsightkit.analysis.kernel_summary import kernels_from_sums
    from nsightkit.analysis.results import RooflineRow

    kernels = kernels_from_sums(dataset.rows("reported_sums") if dataset.has("reported_sums") else [])
    return [
        RooflineRow(
            dataset.name, kernel.friendly_name, kernel.family, "none", "UNKNOWN", float(kernel.total_ns), kernel.share,
            kernel.launch_count, "DRAM", None, None, None, kernel_name=kernel.kernel_name, missing=(SUMS_ONLY,),
        )
        for kernel in kernels
    ]  # fmt: skip
