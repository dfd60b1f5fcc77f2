"""Sums over API calls, memory operations and NVTX ranges, as ``nsys stats`` prints them.

In: rows of `cuda_api_calls`, `memory_operations`, `nvtx_ranges`, or of `reported_sums`. Out: `SumRow` and `SizeRow`
records, largest total first.

Source: equal to NVIDIA's reports cuda_api_sum, cuda_gpu_mem_time_sum, cuda_gpu_mem_size_sum, nvtx_sum and
nvtx_pushpop_sum. As there, a range that was never closed lasts until the last time stamp of the ranges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nsightkit.analysis import durations
from nsightkit.analysis.durations import Ints, Mask
from nsightkit.analysis.results import SizeRow, SumRow

if TYPE_CHECKING:
    import pyarrow as pa

API_COLUMNS = ("name", "duration_ns")
MEMORY_COLUMNS = ("operation", "duration_ns", "moved_bytes")
RANGE_COLUMNS = ("name", "domain", "kind", "start_ns", "duration_ns")
STYLES = {"push_pop": "PushPop", "start_end": "StartEnd", "user_annotation": "Annotation"}
_VERSION_SUFFIX = re.compile(r"_v.{4}$")


def summarize_api(calls: pa.Table) -> list[SumRow]:
    """Return the CUDA calls by name; a version suffix of four digits is left out, as nsys does."""
    codes, names = durations.words(calls["name"])
    known = durations.present(calls["duration_ns"]) & (codes >= 0)
    shown = [_VERSION_SUFFIX.sub("", name) for name in names]
    return _sums([codes[known]], durations.integers(calls["duration_ns"])[known], lambda group: (shown[group[0]], None))


def summarize_memory(operations: pa.Table) -> list[SumRow]:
    """Return the copies and fills by kind, and the time they took."""
    codes, names = durations.words(operations["operation"])
    known = durations.present(operations["duration_ns"])
    values = durations.integers(operations["duration_ns"])[known]
    return _sums([codes[known]], values, lambda group: (names[group[0]], None))


def summarize_memory_sizes(operations: pa.Table) -> list[SizeRow]:
    """Return the copies and fills by kind, and the bytes they moved."""
    codes, names = durations.words(operations["operation"])
    known = durations.present(operations["moved_bytes"])
    if not known.any():
        return []
    group, of_group = durations.dense([codes[known]])
    s = durations.by_group(group, durations.integers(operations["moved_bytes"])[known], len(of_group))
    rows = [
        SizeRow(
            names[code], int(s.counts[at]), int(s.totals[at]), float(s.means[at]), float(s.medians[at]),
            int(s.minima[at]), int(s.maxima[at]), s.deviation(at),
        )
        for at, (code,) in enumerate(of_group)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row.total_bytes, row.name))


def summarize_ranges(ranges: pa.Table, kinds: Sequence[str] = tuple(STYLES)) -> list[SumRow]:
    """Return the ranges by domain, name and style; ``kinds=("push_pop",)`` gives nvtx_pushpop_sum."""
    kind_codes, kind_words = durations.words(ranges["kind"])
    wanted = np.isin(kind_codes, [code for code, kind in enumerate(kind_words) if kind in kinds])
    if not wanted.any():
        return []
    names, name_words = durations.words(ranges["name"])
    domains, domain_words = durations.words(ranges["domain"])

    def label(group: tuple[int, ...]) -> tuple[str, str | None]:
        domain, name, kind = group
        text = name_words[name] if name >= 0 else ""
        prefixed = domain >= 0 and kind_words[kind] != "user_annotation"
        return f"{domain_words[domain]}:{text}" if prefixed else text, STYLES[kind_words[kind]]

    codes = [domains[wanted], names[wanted], kind_codes[wanted]]
    return _sums(codes, _closed(ranges, wanted), label)


def _closed(ranges: pa.Table, wanted: Mask) -> Ints:
    """Return the durations of the wanted ranges; what was never closed lasts until the last time stamp."""
    starts, values = durations.integers(ranges["start_ns"]), durations.integers(ranges["duration_ns"])
    closed = durations.present(ranges["duration_ns"])
    if not closed.all():
        last = max(int(starts.max()), int((starts + values)[closed].max(initial=0)))
        values = np.where(closed, values, last - starts)
    return values[wanted]


def _sums(codes: Sequence[Any], values: Ints, label: Any) -> list[SumRow]:
    if not len(values):
        return []
    group, of_group = durations.dense(codes)
    s = durations.by_group(group, values, len(of_group))
    whole = int(s.totals.sum())
    rows = []
    for at, members in enumerate(of_group):
        name, style = label(members)
        total = int(s.totals[at])
        rows.append(
            SumRow(
                name, int(s.counts[at]), total, total / whole if whole else 0.0, float(s.means[at]),
                float(s.medians[at]), int(s.minima[at]), int(s.maxima[at]), s.deviation(at), style,
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: (-row.total_ns, row.instance_count, row.name))


def sums_from_report(rows: Iterable[Mapping[str, Any]], report: str) -> list[SumRow]:
    """Return the lines of one printed summary by time, such as cuda_api_sum, largest total first."""
    chosen = [row for row in rows if row["report"] == report and row["total_ns"] is not None]
    whole = sum(row["total_ns"] for row in chosen)
    found = [
        SumRow(
            row["name"], row["instance_count"], row["total_ns"], row["total_ns"] / whole if whole else 0.0,
            row["mean_ns"], row["median_ns"], row["min_ns"], row["max_ns"],
            row["std_ns"] if row["instance_count"] > 1 else None, row["style"],
        )
        for row in chosen
    ]  # fmt: skip
    return sorted(found, key=lambda row: (-row.total_ns, row.instance_count, row.name))
