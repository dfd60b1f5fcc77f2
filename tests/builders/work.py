"""Operators with work from shapes, as a trace of torch.profiler without counters gives them.

In: nothing. Out: an `Analysis`.
"""

from dataclasses import replace

from builders.analysis import make_operators
from nsightkit.analysis.results import Analysis, RooflinePoint, RooflineRow

EXPERIMENTAL = "experimental: work from shapes, not compared with counters"


def work_row(place: int, time_ns: float, flop: float | None = 2e9, moved: float = 1e7) -> RooflineRow:
    """Return an operator with work from shapes; without FLOP it has no point."""
    point = flop and RooflinePoint(
        "aten::mm", "FP32", "DRAM", flop, moved, time_ns, flop / moved, flop / time_ns * 1e9, 75.0, 7.5e13, 1e12,
        7.5e13, 0.4, "data sheet (test)", (EXPERIMENTAL,), "analytic",
    )  # fmt: skip
    return RooflineRow(
        "torch", "aten::mm" if flop else "aten::copy_", "GEMM", "analytic", "UNKNOWN", time_ns, None, 3, "DRAM", moved,
        moved / time_ns * 1e9, point or None, flop, "2 m n k", f"{place + 1}×512 float, 512×512 float",
        flags=(EXPERIMENTAL,),
    )  # fmt: skip


def with_work() -> Analysis:
    """Return an analysis of four operators: two with a point, one that moves bytes only, one without a formula."""
    rows = [work_row(0, 9e4), work_row(1, 6e4, flop=None), work_row(2, 3e4), replace(work_row(3, 1e4), tier="none")]
    whole = sum(row.total_ns for row in rows)
    rows[3] = replace(rows[3], point=None, flop=None, moved_bytes=None, bytes_per_s=None, flags=(), missing=("no",))
    work = tuple(replace(row, time_share=row.total_ns / whole) for row in rows)
    return Analysis(top_operators=make_operators(), work=work)
