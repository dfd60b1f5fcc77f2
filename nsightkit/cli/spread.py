"""Says how far the captures of one run differ: repetitions of the workload, or instances of a range within one.

In: a run with several captures. Out: one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nsightkit.ingest.dataset import tables_of
from nsightkit.report import format as fmt
from nsightkit.run import Capture, Run


def spread_line(run: Run, captures: Sequence[Capture], range_name: str | None) -> str:
    """Return the smallest and the largest count and times; of instances of a range the process's wall time is one."""
    counts = [capture.row_counts.get("kernel_launches", 0) for capture in captures]
    text = f"spread over {len(captures)} captures: kernels {min(counts)} to {max(counts)}"
    text += _between("kernel time", (_kernel_ns(run, capture) for capture in captures))
    if range_name is None:
        walls = (None if capture.wall_s is None else capture.wall_s * 1e9 for capture in captures)
        return text + _between("wall time", walls)
    return text + _between(f"range {range_name}", (_range_ns(run, capture, range_name) for capture in captures))


def _between(label: str, values: Iterable[float | None]) -> str:
    known = sorted(value for value in values if value)
    return f", {label} {fmt.duration(known[0])} to {fmt.duration(known[-1])}" if known else ""


def _kernel_ns(run: Run, capture: Capture) -> float | None:
    table = tables_of(run, capture, {"kernel_launches": ("duration_ns",)}).get("kernel_launches")
    return None if table is None else sum(value or 0 for value in table["duration_ns"].to_pylist())


def _range_ns(run: Run, capture: Capture, name: str) -> float | None:
    table = tables_of(run, capture, {"nvtx_ranges": ("name", "duration_ns")}).get("nvtx_ranges")
    rows = [] if table is None else zip(table["name"].to_pylist(), table["duration_ns"].to_pylist(), strict=True)
    return max((value for own, value in rows if own == name and value is not None), default=None)
