"""What a range costs on the CPU against what it costs on the GPU: calls, launches, and the time between operators.

In: the tables of a capture, the name of a range. Out: `HostCost`. What a tool did not record is None: nsys has no
operators, a CPU has no launches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nsightkit.analysis.arrays import Mask, ints, lanes
from nsightkit.analysis.ranges.nvtx_projection import Spans, attribute
from nsightkit.analysis.ranges.range_scope import rows_inside, tables_inside
from nsightkit.analysis.ranges.range_summary import matching
from nsightkit.analysis.timeline.intervals import union
from nsightkit.analysis.work.operations import CaptureTables

if TYPE_CHECKING:
    import pyarrow as pa

# What puts work on the GPU, in CUDA's runtime and driver interface; graph launches among them.
_LAUNCH_CALLS = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cuGraphLaunch")


@dataclass(frozen=True, slots=True)
class HostCost:
    """Sums over all ranges of one name; times in ns. CPU times were taken with tracing on."""

    range_name: str
    range_count: int
    wall_ns: int  # of the ranges, on the CPU; where ranges nest, the outermost of each thread
    operator_count: int | None = None
    operator_ns: int | None = None  # inside operators; the rest of the wall is Python, ranges and waiting
    launch_count: int | None = None  # kernels that ran
    gpu_ns: int | None = None  # their time
    launch_call_count: int | None = None
    launch_call_ns: int | None = None

    @property
    def between_ns(self) -> int | None:
        """Wall time outside operators, None without operators."""
        return None if self.operator_ns is None else max(0, self.wall_ns - self.operator_ns)

    @property
    def operator_mean_ns(self) -> float | None:
        """CPU time of one operator call, its own."""
        return None if not self.operator_count or self.operator_ns is None else self.operator_ns / self.operator_count

    @property
    def busy_share(self) -> float | None:
        """Kernel time by wall time of the ranges: both of one capture and one range. None without kernels."""
        return None if self.gpu_ns is None or not self.wall_ns else self.gpu_ns / self.wall_ns


def host_cost(tables: CaptureTables, operators: pa.Table | None, name: str) -> HostCost | None:
    """Return the cost of the ranges called `name`; None where the capture has no such range.

    Args:
        tables: the rows of one capture.
        operators: its cpu_operators, None where it has none.
        name: as in `range_summary.matching`.
    """
    attribution = attribute(tables)
    wanted = matching(attribution, name)
    if not wanted.any():
        return None
    spans = attribution.spans
    mine = wanted[spans.name_code]
    part = tables_inside(tables, attribution, name)
    called = _calls(part.cuda_api_calls) if part.cuda_api_calls.num_rows else (None, None)
    kernels = part.kernel_launches
    launched = kernels.num_rows > 0
    inside = rows_inside(operators, attribution, name) if operators is not None and operators.num_rows else None
    return HostCost(
        name,
        int(mine.sum()),
        _wall_ns(spans, mine),
        None if inside is None else inside.num_rows,
        None if inside is None else int(ints(inside, "self_ns", 0).sum()),
        kernels.num_rows if launched else None,
        int(ints(kernels, "duration_ns", 0).sum()) if launched else None,
        *called,
    )


def _wall_ns(spans: Spans, mine: Mask) -> int:
    """Return the time of the ranges in `mine`, summed over threads: ranges that nest or overlap count it once."""
    lane, _, threads = lanes(spans.process[mine], spans.thread[mine])
    start, end = spans.start_ns[mine], spans.end_ns[mine]
    return sum(union(start[lane == each], end[lane == each]).total_ns for each in range(threads.size))


def _calls(calls: pa.Table) -> tuple[int, int]:
    """Return how many of `calls` launch work, and how long these took."""
    names = calls["name"].to_pylist()
    times = ints(calls, "duration_ns", 0)
    chosen = [place for place, name in enumerate(names) if name and name.startswith(_LAUNCH_CALLS)]
    return len(chosen), int(times[chosen].sum()) if chosen else 0
