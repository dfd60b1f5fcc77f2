"""Kernels by the time they take: one line a full demangled name, as ``nsys stats`` counts them.

In: rows of `kernel_launches`; or of `reported_sums`, where only printed sums are known; or of `kernel_counters`.
Out: `KernelSummary` records, longest total first.

Source: equals NVIDIA's report cuda_gpu_kern_sum; the 95th percentile is linear between neighbors, as numpy's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nsightkit.analysis import durations
from nsightkit.analysis.results import KernelSummary

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("kernel_name", "duration_ns")
# The first of these that a printout has counts; the others say the same again.
KERNEL_REPORTS = ("cuda_gpu_kern_sum", "cuda_gpu_kern_gb_sum")


def summarize_kernels(launches: pa.Table, tokens: int | None = None) -> list[KernelSummary]:
    """Return one record a kernel, longest total first.

    Args:
        launches: rows of `kernel_launches`; the columns kernel_name and duration_ns are enough. Launches whose end was
            not recorded are left out.
        tokens: tokens that the captured work produced, for `per_token_ns`.
    """
    measured = durations.present(launches["duration_ns"])
    codes, names = durations.words(launches["kernel_name"])
    known = measured & (codes >= 0)
    codes, values = codes[known], durations.integers(launches["duration_ns"])[known]
    if not len(codes):
        return []
    group, of_group = durations.dense([codes])
    statistics = durations.by_group(group, values, len(of_group))
    whole = int(statistics.totals.sum())
    found = [_summary(names[code], statistics, at, whole, tokens) for at, (code,) in enumerate(of_group)]
    return _by_total(found)


def _summary(name: str, s: durations.Statistics, at: int, whole: int, tokens: int | None) -> KernelSummary:
    total = int(s.totals[at])
    return KernelSummary(
        name,
        *_said_by(name),
        launch_count=int(s.counts[at]),
        total_ns=total,
        share=total / whole if whole else 0.0,
        mean_ns=float(s.means[at]),
        median_ns=float(s.medians[at]),
        p95_ns=float(s.p95s[at]),
        min_ns=int(s.minima[at]),
        max_ns=int(s.maxima[at]),
        std_ns=s.deviation(at),
        per_token_ns=total / tokens if tokens else None,
    )


def kernels_from_sums(rows: Iterable[Mapping[str, Any]], tokens: int | None = None) -> list[KernelSummary]:
    """Return the kernels of printed sums, longest total first; percentiles are not known.

    Lines of one kernel with several geometries, or of several captures, are added up: then the median, and the
    deviation, are not known exactly, and the median is the mean of the lines' medians weighted by launches.
    """
    kernels = [row for row in rows if row["report"] in KERNEL_REPORTS and row["total_ns"] is not None]
    chosen = _one_report_each(kernels)
    merged: dict[str, list[Mapping[str, Any]]] = {}
    for row in chosen:
        merged.setdefault(row["name"], []).append(row)
    whole = sum(row["total_ns"] for row in chosen)
    return _by_total([_merged(name, lines, whole, tokens) for name, lines in merged.items()])


def kernels_from_counters(rows: Iterable[Mapping[str, Any]], tokens: int | None = None) -> list[KernelSummary]:
    """Return the profiled launches of ncu by kernel, longest total first.

    Their durations are those of single launches under ncu's clocks and caches: no timeline, and no share of a run.
    """
    measured = [row for row in rows if row["duration_ns"] is not None and row["duration_ns"] > 0]
    if not measured:
        return []
    names = list(dict.fromkeys(row["kernel_name"] for row in measured))
    place = {name: at for at, name in enumerate(names)}
    codes = np.array([place[row["kernel_name"]] for row in measured], np.int32)
    values = np.array([round(row["duration_ns"]) for row in measured], np.int64)
    statistics = durations.by_group(codes, values, len(names))
    whole = int(statistics.totals.sum())
    return _by_total([_summary(name, statistics, at, whole, tokens) for at, name in enumerate(names)])


def _one_report_each(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    best: dict[Any, str] = {}
    for row in rows:
        capture, report = row.get("capture_id"), row["report"]
        if KERNEL_REPORTS.index(report) <= KERNEL_REPORTS.index(best.get(capture, report)):
            best[capture] = report
    return [row for row in rows if best[row.get("capture_id")] == row["report"]]


def _merged(name: str, lines: Sequence[Mapping[str, Any]], whole: int, tokens: int | None) -> KernelSummary:
    count, total = sum(line["instance_count"] for line in lines), sum(line["total_ns"] for line in lines)
    medians = [line["median_ns"] if line["median_ns"] is not None else line["mean_ns"] for line in lines]
    weights = [line["instance_count"] for line in lines]
    return KernelSummary(
        name,
        *_said_by(name),
        launch_count=count,
        total_ns=total,
        share=total / whole if whole else 0.0,
        mean_ns=total / count if count else 0.0,
        median_ns=float(np.average(medians, weights=weights)) if count else 0.0,
        p95_ns=None,
        min_ns=min(line["min_ns"] for line in lines),
        max_ns=max(line["max_ns"] for line in lines),
        std_ns=lines[0]["std_ns"] if len(lines) == 1 and count > 1 else None,
        per_token_ns=total / tokens if tokens else None,
    )


def _said_by(name: str) -> tuple[str, str, str]:
    """Return friendly name, family and library."""
    from nsightkit.analysis.kernel_names import describe_kernel

    said = describe_kernel(name)
    return said.friendly, said.family, said.library


def _by_total(found: list[KernelSummary]) -> list[KernelSummary]:
    return sorted(found, key=lambda kernel: (-kernel.total_ns, kernel.launch_count, kernel.kernel_name))
