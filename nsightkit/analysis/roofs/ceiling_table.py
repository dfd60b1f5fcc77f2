"""Ceilings side by side: the data sheet, ncu's peak at the clock of the launch, and what was measured.

In: counters of a kernel, its GPU, and measured roofs if there are any. Out: `CeilingRow` values, one a peak, with the
one that is drawn. Peaks that nobody states are left out.

Source: docs/method.md, "Measured ceilings".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nsightkit.analysis.grouping import number
from nsightkit.analysis.roofs.peaks import LEVELS, Gpu, dtypes_of
from nsightkit.gpus import find_gpu

if TYPE_CHECKING:
    from nsightkit.analysis.work.analytic import Roofs

SOURCES = ("ncu", "measured", "data sheet")


@dataclass(frozen=True, slots=True)
class CeilingRow:
    """One peak per second; None where a source does not state it."""

    name: str  # FP32, tensor BF16, …, or DRAM, L2, L1
    unit: str  # flop/s, op/s or byte/s
    data_sheet: float | None
    ncu: float | None
    measured: float | None
    drawn: str  # which of `SOURCES` a kernel with these counters is judged by
    device: str = ""  # whose peak it is


def ceiling_rows(counters: Mapping[str, Any], gpu: Gpu, measured: Roofs | None = None) -> list[CeilingRow]:
    """Return every peak that at least one source states.

    Args:
        counters: canonical metrics of a kernel; those called peak_… are ncu's.
        gpu: whose data sheet is asked, matched by name and SM count.
        measured: ceilings of the same device, None where it was not measured.
    """
    peaks, memory = (measured.peaks, measured.bandwidth) if measured else ({}, None)
    spec = find_gpu(gpu.name, gpu.sm_count)
    sheet = spec.values if spec else {}
    rows = []
    for dtype in dtypes_of(gpu):
        peak = peaks.get(dtype.name)
        found = (
            sheet.get(dtype.peak.removeprefix("peak_")),
            number(counters.get(dtype.peak)),
            peak.low if peak else None,
        )
        rows.append(_row(dtype.label, "op/s" if dtype.peak.endswith("_op_per_s") else "flop/s", found))
    for level in LEVELS:
        bandwidth = memory.low if memory and level.name == "DRAM" else None
        stated = sheet.get("dram_bytes_per_s") if level.name == "DRAM" else None
        rows.append(_row(level.name, "byte/s", (stated, number(counters.get(level.peak)), bandwidth)))
    return [row for row in rows if row.drawn]


def _row(name: str, unit: str, found: tuple[float | None, float | None, float | None]) -> CeilingRow:
    sheet, ncu, measured = found
    # The order in which roofs are taken: counters by ncu's peak, work from shapes by what was measured.
    stated = dict(zip(SOURCES, (ncu, measured, sheet), strict=True))
    drawn = next((source for source, value in stated.items() if value), "")
    return CeilingRow(name, unit, sheet, ncu, measured, drawn)


def ceilings_by_gpu(
    counted: Iterable[Mapping[str, Any]], devices: Iterable[Mapping[str, Any]], measured: Roofs | None = None
) -> list[CeilingRow]:
    """Return the ceilings of every kind of GPU in the captures, and of the CPU where one was measured.

    Args:
        counted: rows of kernel_counters; of each kind of GPU the longest launch gives ncu's peaks and their clock.
        devices: rows of gpus.
        measured: ceilings that were measured on one of them.
    """
    longest: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in (*devices, *counted):
        kind = row.get("gpu_name"), row.get("compute_capability"), row.get("sm_count")
        if kind[0] and (row.get("duration_ns") or 0.0) >= (longest.get(kind, {}).get("duration_ns") or 0.0):
            longest[kind] = row
    own = measured if measured and measured.device == "cuda" else None
    found = [
        replace(row, device=str(kind[0]))
        for kind, counters in longest.items()
        for row in ceiling_rows(counters, Gpu(*kind), own)
    ]
    if measured and measured.device == "cpu":
        found += [replace(row, device="CPU") for row in ceiling_rows({}, Gpu(), measured)]
    return found
