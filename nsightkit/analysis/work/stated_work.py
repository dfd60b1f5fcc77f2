"""Work that the program itself states of its ranges, over the time that their work took on the GPU.

In: the marks that `annotate.state_work` left in a timeline, and its attribution. Out: `StatedWork`, one for each range
name; as `RooflineRow` values of the tier `analytic`. It is what the model needs on paper, not what ran.

Source: docs/method.md, "Work that a program states".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nsightkit.analysis.arrays import Codes, Ints, ints, words
from nsightkit.analysis.ranges.range_names import normalized
from nsightkit.analysis.ranges.range_projection import project
from nsightkit.analysis.results import RooflineRow
from nsightkit.analysis.work.analytic import NO_ROOFS, Roofs, analytic_rows
from nsightkit.analysis.work.formulas import Work
from nsightkit.analysis.work.work_model import CallRecord

if TYPE_CHECKING:
    import pyarrow as pa

    from nsightkit.analysis.ranges.nvtx_projection import Attribution

PREFIX = "nsightkit.work "
BYTES_MARK = PREFIX + "bytes"
FLOP_MARKS = {
    PREFIX + "flop float64": "fp64",
    PREFIX + "flop float32": "fp32",
    PREFIX + "flop tfloat32": "tensor_tf32",
    PREFIX + "flop bfloat16": "tensor_bf16",
    PREFIX + "flop float16": "tensor_fp16",
    PREFIX + "flop float8": "tensor_fp8",
    PREFIX + "flop int8": "tensor_int8",
}
STATED = "work as the program states it, over the time from first start to last end on the GPU"
SEVERAL = "it states several types of arithmetic; all is held against the peak of the one with most"


@dataclass(frozen=True, slots=True)
class StatedWork:
    """All instances of one range name that state work."""

    name: str
    instance_count: int
    span_ns: int  # first start to last end of the GPU work, summed over instances
    gpu_ns: int  # sum of the durations of that work
    flop: float
    moved_bytes: float
    dtype: str  # a name of `peaks.DTYPES`: of most of the work
    dtype_count: int
    idle_count: int  # instances that state work and launched none


def stated_work(attribution: Attribution, ranges: pa.Table) -> list[StatedWork]:
    """Return the stated work of each range name, the longest first.

    Args:
        attribution: of the capture.
        ranges: its rows of nvtx_ranges, with `payload`.
    """
    marks = _Marks.of(ranges)
    if not marks.names or not attribution.forest.size:
        return []
    node = _around(attribution, marks)
    whole = project(attribution)
    of_name, labels = normalized(attribution.spans.names)
    label = of_name[attribution.node_name]
    nodes = np.unique(node[node >= 0])
    found = []
    for code in np.unique(label[nodes]).tolist():
        mine = nodes[label[nodes] == code]
        busy = mine[whole.operation_count[mine] > 0]
        if busy.size:
            times = int((whole.last_ns[busy] - whole.first_ns[busy]).sum()), int(whole.gpu_ns[busy].sum())
            counted = marks.sums(np.isin(node, busy))
            found.append(_stated(labels[code], (int(busy.size), int(mine.size - busy.size)), times, counted))
    return sorted(found, key=lambda stated: -stated.span_ns)


@dataclass(frozen=True)
class _Marks:
    """The marks of a capture."""

    start_ns: Ints
    process: Ints
    thread: Ints
    name_code: Codes
    names: tuple[str | None, ...]  # "" where it is no mark of ours
    payload: np.ndarray[tuple[int], np.dtype[np.float64]]

    @classmethod
    def of(cls, ranges: pa.Table) -> _Marks:
        code, names = words(ranges, "name")
        texts = [text if text == BYTES_MARK or text in FLOP_MARKS else "" for text in names.to_pylist()]
        if not any(texts):
            nothing = np.zeros(0, np.int64)
            return cls(nothing, nothing, nothing, nothing.astype(np.int32), (), np.zeros(0))
        wanted = np.array([bool(text) for text in texts] + [False])[code]
        payload = ranges["payload"].to_numpy().astype(np.float64)
        wanted &= np.isfinite(payload)
        start, process, thread = (ints(ranges, name)[wanted] for name in ("start_ns", "process_id", "thread_id"))
        return cls(start, process, thread, code[wanted], tuple(texts), payload[wanted])

    def sums(self, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, float]:
        """Return the text of each mark -> the sum of its numbers among the `chosen`."""
        totals = np.bincount(self.name_code[chosen], self.payload[chosen], minlength=len(self.names))
        seen = set(np.unique(self.name_code[chosen]).tolist())
        return {name: float(totals[place]) for place, name in enumerate(self.names) if name and place in seen}


def _around(attribution: Attribution, marks: _Marks) -> Codes:
    """Return the innermost range around each mark on its own thread, -1 where there is none."""
    forest, spans = attribution.forest, attribution.spans
    found = np.full(marks.start_ns.size, -1, np.int32)
    for process, thread in set(zip(marks.process.tolist(), marks.thread.tolist(), strict=True)):
        here = (spans.process[forest.row] == process) & (spans.thread[forest.row] == thread)
        if here.any():
            mine = np.flatnonzero((marks.process == process) & (marks.thread == thread))
            lane = np.full(mine.size, forest.lane[np.argmax(here)])
            found[mine] = forest.innermost(lane, marks.start_ns[mine], marks.start_ns[mine])
    return found


def _stated(name: str, counts: tuple[int, int], times: tuple[int, int], sums: Mapping[str, float]) -> StatedWork:
    flops = {FLOP_MARKS[mark]: value for mark, value in sums.items() if mark in FLOP_MARKS}
    dtype = max(flops, key=lambda one: flops[one]) if flops else "fp32"
    return StatedWork(
        name, counts[0], *times, sum(flops.values()), sums.get(BYTES_MARK, 0.0), dtype, len(flops), counts[1]
    )


def stated_rows(capture_id: str, stated: list[StatedWork], total_ns: int, roofs: Roofs = NO_ROOFS) -> list[RooflineRow]:
    """Return stated work as lines of a roofline.

    Args:
        capture_id: goes into the rows.
        stated: of that capture.
        total_ns: GPU time of all work of the capture.
        roofs: of the device that it ran on.
    """
    rows = []
    for work in stated:
        record = CallRecord(
            work.name, "", work.span_ns, 0, 0, None, None, Work(work.flop, work.moved_bytes, 0.0, work.dtype),
            kernel_count=work.instance_count, range_name=work.name,
        )  # fmt: skip
        (row,) = analytic_rows(capture_id, [record], roofs)
        busy = f"{work.name}: work of its own kept the GPU busy for {work.gpu_ns / work.span_ns:.1%} of that time"
        several = (SEVERAL,) if work.dtype_count > 1 else ()
        idle = (f"{work.idle_count} instances state work and launched none: left out",) if work.idle_count else ()
        share = work.gpu_ns / total_ns if total_ns else None
        rows.append(
            replace(
                row, family="range", count=work.instance_count, time_share=share, formula="as the program states it",
                flags=(*row.flags, STATED, busy, *several, *idle),
            )
        )  # fmt: skip
    return rows
