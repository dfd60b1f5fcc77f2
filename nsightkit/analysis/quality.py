"""Says whether a capture may be trusted, before any chart is drawn from it.

In: the tables of one capture, and what its command line knows of it. Out: `Quality`: good, usable or unusable, with the
reasons and for each of them what to do about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nsightkit.analysis.arrays import Ints, Mask, arrow_mask, ints, known, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

VERDICTS = ("good", "usable", "unusable")
# Source: docs/method.md, "Capturing": above this ratio no idle or launch-bound verdict is given.
MOST_OVERHEAD = 1.1
_MOST_FAILED = 0.5
# A first step that takes so much longer than the median holds work of another kind: warm-up, or the prompt.
_LONG_FIRST = 3.0
_CLOCK_SPREAD = 0.05
# Source: messages of nsys on lost events.
_DROPPED = re.compile(
    r"[Nn]ot all (?:CUDA|NVTX|OS runtime) events|size limit on recording|[Dd]ropped|buffer overflow|"
    r"events? (?:were|was|have been) lost"
)
_NO_CUDA = re.compile(r"No CUDA events collected|CUPTI_ERROR|Subscribe returned")
# Source: PyTorch's native_functions.yaml: operators dispatched for CUDA (or ROCm) only.
_GPU_ALONE = re.compile(r"aten::(record_stream|_?cudnn_|_?miopen_)")
_OTHER_PHASE = re.compile(r"prefill|prompt|warm-?up", re.IGNORECASE)


@dataclass(frozen=True)
class CaptureFacts:
    """What the command line knows of a capture; None is "not known"."""

    backend: str
    range_name: str | None = None  # what the user asked for
    range_limited: bool = False  # nothing but the range was recorded
    overhead_ratio: float | None = None  # traced ÷ untraced
    overhead_interval: tuple[float, float] | None = None  # of that ratio
    overhead_wanted: bool = True
    overhead_single: float | None = None  # traced ÷ untraced of one timing each
    clock_control: str | None = None
    other_processes: tuple[str, ...] = ()
    warm_repetitions: int | None = None  # before the first timed one
    made_elsewhere: bool = False  # nsightkit did not run the program
    tool: str = ""


@dataclass(frozen=True)
class Reason:
    """Why a capture is not good: how bad, what is wrong, and what to do."""

    verdict: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Quality:
    """The verdict on a capture: the worst of its reasons."""

    verdict: str
    reasons: tuple[Reason, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return it as ``run.json`` keeps it."""
        return {
            "verdict": self.verdict,
            "reasons": [reason.text for reason in self.reasons],
            "remedies": [reason.remedy for reason in self.reasons],
        }

    def __str__(self) -> str:
        return f"{self.verdict}: {'; '.join(r.text for r in self.reasons)}" if self.reasons else self.verdict


@dataclass(frozen=True)
class _Capture:
    tables: Mapping[str, pa.Table]
    facts: CaptureFacts

    def rows(self, name: str) -> int:
        """Return how many rows table `name` has."""
        table = self.tables.get(name)
        return 0 if table is None else int(table.num_rows)


def judge_capture(tables: Mapping[str, pa.Table], facts: CaptureFacts) -> Quality:
    """Return the verdict on one capture.

    Args:
        tables: table name -> its rows of this capture; a table without rows may be missing.
        facts: what the command line knows.
    """
    capture = _Capture(tables, facts)
    reasons = tuple(reason for check in _CHECKS for reason in check(capture))
    worst = max((VERDICTS.index(reason.verdict) for reason in reasons), default=0)
    ordered = sorted(reasons, key=lambda reason: -VERDICTS.index(reason.verdict))
    return Quality(VERDICTS[worst], tuple(ordered))


def _kernels(capture: _Capture) -> Iterator[Reason]:
    if capture.rows("kernel_launches") or capture.rows("kernel_counters") or _graph_launches(capture).any():
        return
    if capture.facts.backend == "torch" and capture.rows("cpu_operators"):
        if _needs_a_gpu(capture):
            yield Reason(
                "usable", "no kernels: operators that only a GPU has were called, but no GPU was traced; the times are "
                "those of the CPU that launched them, and rates of work from shapes are too high",
                "trace the GPU too (ProfilerActivity.CUDA)",
            )  # fmt: skip
            return
        yield Reason("usable", "no kernels: no GPU was traced; the times are those of the CPU",
                     "run it where torch sees a GPU")  # fmt: skip
        return
    ranges = "; its ranges hold CPU time only" if capture.rows("nvtx_ranges") else ""
    calls = capture.rows("cuda_api_calls")
    if calls:
        yield Reason(
            "unusable", f"no kernels, although the CUDA API was called {calls} times{ranges}",
            "check 'nsightkit doctor' (WSL, another profiler); let the program end by itself; set "
            "CuptiUseRawGpuTimestamps=false in nsys's config.ini",
        )  # fmt: skip
    else:
        yield Reason(
            "unusable", f"no kernels: no GPU was traced{ranges}",
            "run it where there is a GPU ('nsightkit doctor'), and check that the program uses it",
        )  # fmt: skip


def _needs_a_gpu(capture: _Capture) -> bool:
    _, names = words(capture.tables["cpu_operators"], "operator_name")
    return any(_GPU_ALONE.match(name or "") for name in names.to_pylist())


def _range_seen(capture: _Capture) -> Iterator[Reason]:
    name = capture.facts.range_name
    if name is None or capture.facts.backend == "ncu":
        return
    start, _ = _instances(capture, name)
    if not start.size and not capture.facts.range_limited:
        yield Reason("unusable", f"the range {name} was never seen", "check its spelling: nsightkit top --by nvtx")
    elif start.size <= 1 and not capture.facts.warm_repetitions:
        yield Reason(
            "usable", f"only the first repetition of {name} was captured: it is cold (libraries load, caches fill)",
            "capture more with --repeat, or let the workload warm up before the range",
        )  # fmt: skip


def _instances(capture: _Capture, name: str) -> tuple[Ints, Ints]:
    """Return begin and end of the instances of range `name`, in order of begin."""
    table = capture.tables.get("nvtx_ranges")
    if table is None or not table.num_rows:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    codes, names = words(table, "name")
    wanted = np.array([word == name for word in names.to_pylist()] + [False])[codes]
    rows = table.filter(arrow_mask(wanted))
    start = ints(rows, "start_ns")
    order = np.argsort(start, kind="stable")
    return start[order], (start + np.maximum(ints(rows, "duration_ns", 0), 0))[order]


def _wrong_phase(capture: _Capture) -> Iterator[Reason]:
    name = capture.facts.range_name
    if name is None or _OTHER_PHASE.search(name):
        return
    start, end = _instances(capture, name)
    table = capture.tables.get("nvtx_ranges")
    if not start.size or table is None:
        return
    codes, names = words(table, "name")
    others = np.array([bool(_OTHER_PHASE.search(word or "")) for word in names.to_pylist()] + [False])[codes]
    rows = table.filter(arrow_mask(others))
    begin = ints(rows, "start_ns")
    inside = np.searchsorted(start, begin, side="right") - 1
    hit = (inside >= 0) & (begin < end[np.maximum(inside, 0)]) & (begin > start[np.maximum(inside, 0)])
    if hit.any():
        lost = int(np.maximum(ints(rows, "duration_ns", 0), 0)[hit].sum()) / max(int((end - start).sum()), 1)
        found = (rows.filter(arrow_mask(hit))["name"].to_pylist() or [""])[0]
        yield Reason(
            "usable", f"the range {name} also holds {found}: {lost:.0%} of its time",
            f"put {found} before the range, or choose the ranges of the steps with --range",
        )  # fmt: skip
        return
    yield from _long_first(capture, name, (int(start[0]), int(end[0])))


def _long_first(capture: _Capture, name: str, bounds: tuple[int, int]) -> Iterator[Reason]:
    """Yield where the first of the equal ranges inside the first instance is much longer than the others."""
    table = capture.tables["nvtx_ranges"]
    begin, length = ints(table, "start_ns"), np.maximum(ints(table, "duration_ns", 0), 0)
    inside = (begin > bounds[0]) & (begin + length <= bounds[1])
    codes, names = words(table, "name")
    for code, word in enumerate(names.to_pylist()):
        mine = np.flatnonzero(inside & (codes == code))
        if mine.size >= 4:
            ordered = length[mine[np.argsort(begin[mine], kind="stable")]]
            median = float(np.median(ordered[1:]))
            if median > 0 and ordered[0] > _LONG_FIRST * median:
                yield Reason(
                    "usable",
                    f"the first {word} in {name} takes {ordered[0] / median:.1f} times as long as the others: it holds "
                    "warm-up or the prompt",
                    "let the workload warm up before the range, or leave the first step out",
                )
                return


def _graphs(capture: _Capture) -> Iterator[Reason]:
    launched = _graph_launches(capture)
    table = capture.tables.get("kernel_launches")
    if not launched.any() or (table is not None and known(table, "graph_node_id").any()):
        return
    hidden = int(launched.sum()) - _seen_launches(capture, launched)
    if hidden:
        of_all = f"{hidden} launches" if hidden == launched.sum() else f"{hidden} of {int(launched.sum())} launches"
        yield Reason(
            "unusable" if table is None or not table.num_rows else "usable",
            f"kernels are hidden in CUDA graphs: {of_all} of graphs, and none of their kernels was recorded",
            "trace graphs node by node (--cuda-graph-trace=node, nsightkit's default; needs driver support)",
        )


def _graph_launches(capture: _Capture) -> Mask:
    """Return which rows of cuda_api_calls launch a graph."""
    table = capture.tables.get("cuda_api_calls")
    if table is None or not table.num_rows:
        return np.zeros(0, np.bool_)
    codes, names = words(table, "name")
    chosen: Mask = np.array([(w or "").startswith(("cudaGraphLaunch", "cuGraphLaunch")) for w in names.to_pylist()]
                            + [False])[codes]  # fmt: skip
    return chosen


def _seen_launches(capture: _Capture, launched: Mask) -> int:
    """Return of how many graph launches a kernel was recorded: torch.profiler tells it by the correlation id alone."""
    calls, table = capture.tables["cuda_api_calls"], capture.tables.get("kernel_launches")
    if table is None or not table.num_rows:
        return 0
    # Correlation ids restart in each process.
    processes, ids = ints(calls, "process_id")[launched], ints(calls, "correlation_id")[launched]
    there = np.isin(ints(table, "correlation_id"), ids[ids >= 0])
    kernels = set(zip(ints(table, "process_id")[there].tolist(), ints(table, "correlation_id")[there].tolist(),
                      strict=True))  # fmt: skip
    return sum(key in kernels for key in zip(processes.tolist(), ids.tolist(), strict=True))


def _failed(capture: _Capture) -> Iterator[Reason]:
    table = capture.tables.get("kernel_counters")
    if table is None or not table.num_rows:
        return
    failed = sum(table["failed"].to_pylist())
    share = failed / table.num_rows
    if failed:
        yield Reason(
            "unusable" if share > _MOST_FAILED else "usable",
            f"ncu could not measure {failed} of {table.num_rows} launches ({share:.0%}): their counters are NaN",
            "use the ncu release that fits the driver (one that was newer gave NaN), or collect fewer metrics",
        )
    blind = int((~known(table, "dram_bytes") & ~known(table, "dram_throughput_pct")).sum()) - failed
    if blind > 0:
        yield Reason(
            "usable", f"{blind} of {table.num_rows} launches have no DRAM counter: they get no roofline",
            "collect the set detailed or the metrics of nsightkit; some integrated GPUs have no such counter",
        )  # fmt: skip


def _dropped(capture: _Capture) -> Iterator[Reason]:
    table = capture.tables.get("diagnostics")
    for text in dict.fromkeys(table["text"].to_pylist() if table is not None else ()):
        first = " ".join(text.split())[:200]
        if _NO_CUDA.search(text):
            yield Reason("usable", f'CUDA tracing is in doubt: nsys said "{first}"',
                         "see 'nsightkit doctor'; end other profilers")  # fmt: skip
        elif _DROPPED.search(text):
            yield Reason("usable", f'events are missing: nsys said "{first}"',
                         "capture a shorter part (--range, --window), and let the program end by itself")  # fmt: skip


def _clocks(capture: _Capture) -> Iterator[Reason]:
    table = capture.tables.get("kernel_counters")
    if table is None or not table.num_rows or capture.facts.clock_control != "none":
        return
    clock = np.array([value for value in table["sm_clock_hz"].to_pylist() if value])
    spread = float(clock.max() / clock.min() - 1) if clock.size else 0.0
    moved = f"; the SM clock moved by {spread:.0%} between launches" if spread > _CLOCK_SPREAD else ""
    yield Reason("usable", f"the clocks were not locked: times depend on temperature and load{moved}",
                 "--clock-control base, where the GPU allows it (not on MIG)")  # fmt: skip


def _overhead(capture: _Capture) -> Iterator[Reason]:
    facts = capture.facts
    if facts.backend == "ncu":
        return
    if facts.made_elsewhere and not any(map(capture.rows, ("kernel_launches", "cuda_api_calls", "cpu_operators"))):
        return  # nothing was traced that could have been slowed down
    if facts.overhead_ratio is None:
        if facts.overhead_interval is not None:
            yield _unmeasurable(facts.backend, *facts.overhead_interval)
        elif facts.overhead_single is not None:
            yield Reason(
                "usable", "the overhead of tracing is not known: timed once each, the run took "
                f"{facts.overhead_single:.2f} times as long with the profiler, and no profiler makes a run shorter; no "
                "idle or launch-bound verdict is given",
                "capture when the machine is quiet, and several times (--repeat 3)",
            )  # fmt: skip
        elif facts.made_elsewhere:
            yield Reason(
                "usable", "the overhead of tracing is not known: no untraced run was timed beside it",
                "to have it measured, capture with 'nsightkit profile'",
            )  # fmt: skip
        elif facts.overhead_wanted:
            yield Reason("usable", "the overhead of tracing is not known: no idle or launch-bound verdict is given",
                         "capture the whole run (no --range, --gate, --window or --no-overhead) of a program that also "
                         "runs without the profiler")  # fmt: skip
    elif facts.overhead_ratio > MOST_OVERHEAD:
        yield Reason(
            "usable", f"tracing made the run {facts.overhead_ratio:.2f} times as long: no idle or launch-bound verdict "
            "is given",
            _trace_less(facts.backend),
        )  # fmt: skip


def _trace_less(backend: str) -> str:
    """Return what makes tracing cheaper; torch.profiler always records every operator of the whole run."""
    if backend == "torch":
        return "give each operator more work (a larger batch), or on a GPU use --tool nsys, which records less"
    return "trace less (--range, no --python-stacks), or fewer ranges per step"


def _unmeasurable(backend: str, low: float, high: float) -> Reason:
    interval = f"{low:.2f} … {high:.2f} times as long"
    if low > MOST_OVERHEAD:
        return Reason(
            "usable", f"tracing made the run at least {low:.2f} times as long ({interval}): no idle or launch-bound "
            "verdict is given",
            _trace_less(backend),
        )  # fmt: skip
    return Reason(
        "usable", f"the overhead of tracing is not measurable here ({interval}): no idle or launch-bound verdict is "
        "given",
        "capture when the machine is quiet, and more work at once (--tokens)",
    )  # fmt: skip


def _others(capture: _Capture) -> Iterator[Reason]:
    if capture.facts.other_processes:
        names = ", ".join(capture.facts.other_processes[:3])
        yield Reason("usable", f"other processes were on the GPU: {names}", "end them, or choose a free GPU")


_CHECKS: tuple[Callable[[_Capture], Iterator[Reason]], ...] = (
    _kernels, _graphs, _range_seen, _wrong_phase, _failed, _dropped, _clocks, _overhead, _others,
)  # fmt: skip
# The tables that a verdict needs, with their columns.
NEEDED: dict[str, tuple[str, ...]] = {
    "kernel_launches": ("start_ns", "graph_node_id"),
    "cuda_api_calls": ("name",),
    "nvtx_ranges": ("name", "start_ns", "duration_ns"),
    "cpu_operators": ("operator_name",),
    "diagnostics": ("text",),
    "kernel_counters": ("failed", "dram_bytes", "dram_throughput_pct", "sm_clock_hz"),
}
# nsys names the node of a graph; torch.profiler leaves only the id of the launch to tell whose kernels were seen.
_NEEDED_OF_TORCH: dict[str, tuple[str, ...]] = {
    name: (*NEEDED[name], "process_id", "correlation_id") for name in ("kernel_launches", "cuda_api_calls")
}


def needed(backend: str) -> dict[str, tuple[str, ...]]:
    """Return the tables that a verdict on a capture of `backend` needs, with their columns."""
    return {**NEEDED, **_NEEDED_OF_TORCH} if backend == "torch" else NEEDED
