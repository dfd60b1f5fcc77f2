"""What a study says of profiled runs: which tool gave which number, kernel mixes, instance counts, the dominant GEMM.

In: `Trace` records: captures of one arm with their analysis. Out: sections. Numbers of nsys and of ncu are of separate
executions, so each table names its tool, and none divides one by the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nsightkit.analysis.results import Analysis, ClassifiedKernel, ClassSummary, KernelSummary, RooflineRow
from nsightkit.analysis.roofs.occupancy import occupancy_limiter
from nsightkit.analysis.studies.instances import (
    Decoded,
    Stall,
    closed_forms,
    counted_kernels,
    counted_operators,
    dominant_gemm,
)
from nsightkit.analysis.studies.operators import PhaseProfile
from nsightkit.analysis.work.host_cost import HostCost
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Section, Text
from nsightkit.report.studies.parts import table
from nsightkit.run import RunInfo

_MIX_ROWS = 10
NO_TRACE = (
    "No run of this study was profiled. 'nsightkit study NAME --tool nsys+ncu' profiles them on a machine with a GPU, "
    "'--tool torch' anywhere; '--from' takes captures that are there already."
)

_NO_KERNEL = (
    "The profiled runs launched no kernel on a GPU, and their tool records no operators. '--tool torch' gives "
    "operators in their place."
)


@dataclass(frozen=True)
class Trace:
    """One profiled arm: what it did (None: not recorded), and what its captures hold."""

    label: str
    info: RunInfo
    analysis: Analysis
    run: Decoded | None = None
    decode_kernels: tuple[KernelSummary, ...] = ()  # of decode alone, where the timeline has such a range
    phases: tuple[PhaseProfile, ...] = ()  # operators of a torch trace
    stalls: dict[tuple[str, str], Stall] = field(default_factory=dict)
    by_rule: dict[str, tuple[ClassSummary, ...]] = field(default_factory=dict)  # rule -> classes by it
    host: HostCost | None = None  # of decode
    placed: tuple[RooflineRow, ...] = ()  # operator calls of decode with work from shapes, where there are no kernels
    part: str = ""  # the part of the study that it belongs to
    device: str = ""

    def tools(self, *backends: str) -> str:
        """Return tool and version of the captures of `backends`, "" where there is none."""
        found = [c for c in self.info.captures if not backends or c.backend in backends]
        return " + ".join(dict.fromkeys(f"{c.backend} {c.tool_version or ''}".strip() for c in found))

    @property
    def timeline(self) -> str:
        """The tool behind the timeline."""
        return self.tools("nsys", "nsys-stats", "torch") or "a timeline"


def tools_section(traces: Sequence[Trace]) -> Section:
    """Return which numbers come from which tool, with the tokens that each run decoded."""
    if not traces:
        return Section("tools", "Which tool measured what", missing=NO_TRACE)
    columns = (("arm", "text"), ("tool", "text"), ("gives", "text"), ("decode steps", "count"), ("batch", "count"),
               ("prompt", "count"), ("runs in the capture", "count"), ("kernels launched", "count"),
               ("profiled launches", "count"))  # fmt: skip
    caption = (
        "Each line is an execution of its own. Counts and shares of time are the timeline's, work per launch is that "
        "of the counters; a number of one is never divided by a number of the other here."
    )
    rows = [row for trace in traces for row in _tool_rows(trace)]
    return Section("tools", "Which tool measured what", (table("tools-table", "Captures", columns, rows, caption),))


_GIVES = {
    "nsys": "how often and how long: counts, shares, phases",
    "nsys-stats": "printed sums: counts and shares",
    "torch": "operator calls and their CPU time",
    "ncu": "what one launch does: throughputs, occupancy, work",
}


def _tool_rows(trace: Trace) -> list[list[object]]:
    run = trace.run
    launched = sum(k.launch_count for k in trace.analysis.top_kernels) or None
    profiled = sum(k.launch_count for k in trace.analysis.kernels) or None
    backends = list(dict.fromkeys(c.backend for c in trace.info.captures))
    return [
        [trace.label, trace.tools(backend), _GIVES.get(backend, ""), run.steps if run else None,
         run.batch if run else None, run.prompt if run else None, run.runs if run else None,
         None if backend == "ncu" else launched, profiled if backend == "ncu" else None]
        for backend in backends
    ]  # fmt: skip


def mix_section(traces: Sequence[Trace]) -> Section:
    """Return the kernels of each arm by time and by count; operators where no GPU was traced."""
    blocks = [block for place, trace in enumerate(traces, 1) for block in _mix(trace, place)]
    if not blocks:
        return Section("mix", "Kernel mixes", missing=_NO_KERNEL if traces else NO_TRACE)
    return Section("mix", "Kernel mixes", tuple(blocks))


def _mix(trace: Trace, place: int) -> list[Block]:
    kernels = trace.decode_kernels or trace.analysis.top_kernels
    if kernels:
        where = "decode alone" if trace.decode_kernels else "the whole capture"
        rows = [[k.friendly_name, k.library, k.launch_count, k.total_ns, k.share, k.median_ns]
                for k in kernels[:_MIX_ROWS]]  # fmt: skip
        columns = (("kernel", "text"), ("library", "text"), ("instances", "count"), ("time", "ns"), ("share", "1"),
                   ("median", "ns"))  # fmt: skip
        caption = f"{trace.timeline}, {where}, at the clocks of that run; {_rest(kernels)}."
        return [table(f"mix-{place}", f"{trace.label}: kernels", columns, rows, caption)]
    decode = next((p for p in trace.phases if p.name == "decode"), None)
    if decode is None or not decode.operators:
        return []
    rows = [[o.name, o.call_count, o.self_ns, o.share] for o in decode.top(_MIX_ROWS)]
    heads = (("operator", "text"), ("calls", "count"), ("own time", "ns"), ("share", "1"))
    covered = sum(o.share for o in decode.top(_MIX_ROWS))
    caption = (
        f"{trace.timeline}, decode alone, CPU time with tracing on; no kernel ran on a GPU, so operators stand here. "
        f"The {min(_MIX_ROWS, len(decode.operators))} longest of {len(decode.operators)}, {fmt.share(covered)}."
    )
    return [table(f"mix-{place}", f"{trace.label}: operators", heads, rows, caption)]


def _rest(kernels: Sequence[KernelSummary]) -> str:
    shown = kernels[:_MIX_ROWS]
    return f"the {len(shown)} longest of {len(kernels)}, {fmt.share(sum(k.share for k in shown))} of the time"


def counts_section(traces: Sequence[Trace], layers: int | None, steps: int | None) -> Section:
    """Return the closed forms and what each tool counted; `layers` and `steps` stand where nothing was traced."""
    columns = (("arm", "text"), ("what", "text"), ("closed form", "text"), ("expected", "count"), ("counted", "count"),
               ("check", "text"))  # fmt: skip
    rows, told = [], []
    for trace in traces:
        if trace.run is None:
            continue
        counted = _counted(trace)
        told.append(f"{trace.label}: L = {trace.run.layers} layers, N = {trace.run.steps} steps, {trace.timeline}")
        rows += [[trace.label, c.what, c.formula, c.expected, c.counted, c.verdict]
                 for c in closed_forms(trace.run.layers, trace.run.steps, counted)]  # fmt: skip
    if not rows and layers and steps:
        told.append(f"L = {layers} layers, N = {steps} steps; nothing was traced here to check them against")
        rows = [["both", c.what, c.formula, c.expected, None, "not counted"] for c in closed_forms(layers, steps)]
    if not rows:
        return Section("launches", "Instance counts", missing="The results do not state the layers of the model.")
    words = (
        "Counts of one run: a prefill and N decode steps, in both arms. With torch.profiler these are calls of "
        "aten::scaled_dot_product_attention and aten::linear, the head's left out; with a GPU timeline launches of "
        "attention and GEMM kernels, of which a split call launches several."
    )
    made = table("counts", "Closed forms", columns, rows, ". ".join(told) + ".")
    return Section("launches", "Instance counts", (Text(words), made))


def _counted(trace: Trace) -> dict[str, float | None]:
    if trace.run is None:
        return {}
    if trace.analysis.top_kernels:
        return counted_kernels(trace.analysis.top_kernels, trace.decode_kernels, trace.run)
    return counted_operators(trace.phases, trace.run)


_NEEDS_COUNTERS = (
    "No arm has hardware counters: they come from Nsight Compute on a GPU ('--tool nsys+ncu', or '--from' with its "
    "reports)."
)


def gemm_section(traces: Sequence[Trace]) -> Section:
    """Return the dominant GEMM of each arm side by side: what its launch looks like and what holds it back."""
    found = [(trace, kernel) for trace in traces if (kernel := dominant_gemm(trace.analysis.kernels)) is not None]
    if not found:
        return Section("gemm", "The dominant GEMM", missing=_NEEDS_COUNTERS)
    columns = (("", "text"), *((trace.label, "text") for trace, _ in found))
    facts = [_facts(trace, kernel) for trace, kernel in found]
    rows = [[name, *(fact[name] for fact in facts)] for name in facts[0]]
    caption = (
        "The GEMM with the longest profiled launch of each arm, mean over its profiled launches, at the clocks that "
        "Nsight Compute sets. Longer here is not slower in all: how often it runs stands under kernel mixes."
    )
    return Section("gemm", "The dominant GEMM", (table("gemm-table", "Per launch", columns, rows, caption),))


def _facts(trace: Trace, kernel: ClassifiedKernel) -> dict[str, str]:
    counters, run = kernel.counters, trace.run
    stall = trace.stalls.get((kernel.capture_id, kernel.kernel_name))
    percents = {
        name: _pct(counters.get(f"{key}_pct"))
        for name, key in (("compute throughput", "sm_throughput"), ("memory throughput", "memory_throughput"),
                          ("DRAM throughput", "dram_throughput"), ("theoretical occupancy", "theoretical_occupancy"),
                          ("achieved occupancy", "achieved_occupancy"))
    }  # fmt: skip
    registers = counters.get("registers_per_thread")
    return {
        "kernel": kernel.friendly_name,
        "decode steps of the run": fmt.count(run.steps) if run else "not recorded",
        "profiled launches": fmt.count(kernel.launch_count),
        "duration": fmt.duration(kernel.duration_ns),
        "grid": kernel.grid,
        "block": kernel.block,
        "registers a thread": fmt.count(int(registers)) if registers else "not collected",
        **percents,
        "occupancy limited by": occupancy_limiter(kernel, trace.info.compute_capability) or "not known",
        "warps wait for": _stall_words(stall),
        "bound": f"{kernel.verdict.bound.lower()} ({kernel.verdict.rule})",
    }


def _pct(value: float | None) -> str:
    return "not collected" if value is None else f"{value:.1f} %"


def _stall_words(stall: Stall | None) -> str:
    if stall is None:
        return "not collected"
    return stall.reason if stall.pct is None else f"{stall.reason} ({stall.pct:.1f} % of the cycles)"
