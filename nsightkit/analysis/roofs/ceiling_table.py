"""Ceilings side by side: the data sheet, ncu's peak at the clock of the launch, and what was measured.

In: counters of a kernel, its GPU, and measured roofs if there are any. Out: `CeilingRow` values, one a peak, with the
one that is drawn. Peaks that nobody states are left out.

Source: docs/method.md, "Measured ceilings".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nsightkit.analysis.grouping import number
from nsightkit.analysis.roofs.peaks import LEVELS, Gpu, dtypes_of
from nsightkit.analysis.work.analytic import NO_ROOFS, Roofs
from nsightkit.gpus import find_gpu

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


def ceiling_rows(counters: Mapping[str, float | None], gpu: Gpu, measured: Roofs = NO_ROOFS) -> list[CeilingRow]:
    """Return every peak that at least one source states.

    Args:
        counters: canonical metrics of a kernel; those called peak_… are ncu's.
        gpu: whose data sheet is asked, matched by name and SM count.
        measured: ceilings of the same device.
    """
    spec = find_gpu(gpu.name, gpu.sm_count)
    sheet = spec.values if spec else {}
    rows = []
    for dtype in dtypes_of(gpu):
        peak = measured.peaks.get(dtype.name)
        found = (
            sheet.get(dtype.peak.removeprefix("peak_")),
            number(counters.get(dtype.peak)),
            peak.low if peak else None,
        )
        rows.append(_row(dtype.label, "op/s" if dtype.peak.endswith("_op_per_s") else "flop/s", found))
    for level in LEVELS:
        bandwidth = measured.bandwidth.low if measured.bandwidth and level.name == "DRAM" else None
        stated = sheet.get("dram_bytes_per_s") if level.name == "DRAM" else None
        rows.append(_row(level.name, "byte/s", (stated, number(counters.get(level.peak)), bandwidth)))
    return [row for row in rows if row.drawn]


def _row(name: str, unit: str, found: tuple[float | None, float | None, float | None]) -> CeilingRow:
    sheet, ncu, measured = found
    # The order in which roofs are taken: counters by ncu's peak, work from shapes by what was measured.
    stated = dict(zip(SOURCES, (ncu, measured, sheet), strict=True))
    drawn = next((source for source, value in stated.items() if value), "")
    return CeilingRow(name, unit, sheet, ncu, measured, drawn)
