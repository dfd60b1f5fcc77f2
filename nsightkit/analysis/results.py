"""What the analyses return: frozen records with the unit of each number in its name.

In: nothing. Out: the types that `report` and `cli` read. None stands for "not known", never for zero.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nsightkit.analysis.roofs.ceiling_table import CeilingRow
    from nsightkit.analysis.story import Story
    from nsightkit.analysis.work.phase_use import PhaseUse

BOUNDS = ("COMPUTE", "MEMORY", "LATENCY", "BALANCED", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class KernelSummary:
    """All launches of one kernel (by full demangled name) as a timeline profiler saw them."""

    kernel_name: str
    friendly_name: str
    family: str
    library: str
    launch_count: int
    total_ns: int
    share: float  # of the total_ns of all kernels, 0 to 1
    mean_ns: float
    median_ns: float
    p95_ns: float | None  # None where only printed sums are known
    min_ns: int
    max_ns: int
    std_ns: float | None  # sample deviation; None for one launch
    per_token_ns: float | None  # None where tokens are not known


@dataclass(frozen=True, slots=True)
class OperatorSummary:
    """All calls of one framework operator on the CPU."""

    operator_name: str
    call_count: int
    self_ns: int
    total_ns: int
    share: float  # of the self time of all operators, 0 to 1
    mean_ns: float
    per_token_ns: float | None


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """Where one kernel or operator stands under the roofline of one level: sums over its launches or calls."""

    kernel_name: str
    precision: str  # the dtype with the largest compute time, or "mixed: …"
    level: str  # DRAM, L2 or L1
    flop: float
    moved_bytes: float
    duration_ns: float
    flop_per_byte: float
    flop_per_s: float
    ridge_flop_per_byte: float  # effective ridge: (flop ÷ compute time) ÷ bandwidth
    peak_flop_per_s: float  # effective: flop ÷ compute time
    peak_bytes_per_s: float
    roof_flop_per_s: float  # attainable at this intensity
    efficiency: float  # roofline time ÷ measured time
    roof_source: str  # where the peaks come from, in words
    flags: tuple[str, ...] = ()  # suspects; a flagged point is left out of verdicts
    tier: str = "counters"  # counters, or analytic: work from shapes over measured time (experimental)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule says of one kernel, and on what ground."""

    bound: str  # one of BOUNDS
    rule: str  # roofline, sol-gap or ncu
    tier: str  # counters, throughput or none: which inputs were there
    rule_verdict: str  # the rule's own word for it
    margin: float | None  # distance from another bound by the same rule, in margin_unit; larger is surer
    margin_unit: str
    inputs: dict[str, float] = field(default_factory=dict)  # name with unit -> value; amounts are sums over launches
    missing: tuple[str, ...] = ()  # canonical metrics that the rule lacks
    flags: tuple[str, ...] = ()
    limiter: str = ""  # the busiest unit, where the breakdown of the throughputs names it
    immaterial: tuple[str, ...] = ()  # of `missing`, what cannot change the verdict: its pipe was idle
    remedy: str = ""  # UNKNOWN only: what to run to collect what is missing


@dataclass(frozen=True, slots=True)
class ClassifiedKernel:
    """One profiled kernel: its counters and its verdict.

    Launches of one kernel with the same capture, name, grid and block are one row; sums are sums, percentages are
    weighted by duration.
    """

    capture_id: str
    kernel_name: str
    friendly_name: str
    family: str
    library: str
    launch_count: int
    failed_count: int
    duration_ns: float | None  # mean per launch
    total_ns: float | None  # over the profiled launches
    time_share: float | None  # of the profiled launches' total time, 0 to 1
    grid: str
    block: str
    counters: dict[str, float | None]  # canonical metric -> value over the launches
    verdict: Verdict
    point: RooflinePoint | None
    nvtx_path: str | None = None
    other_levels: tuple[RooflinePoint, ...] = ()  # the same work against L2 and L1, where ncu counted them


@dataclass(frozen=True, slots=True)
class RooflineRow:
    """One line of a roofline: a kernel, or all calls of an operator with one set of shapes; `point` is one place.

    A row without floating-point work has no point and stands on the bandwidth strip: `moved_bytes` over `total_ns`.
    """

    capture_id: str
    name: str  # kernel as people say it, or operator
    family: str
    tier: str  # counters, throughput, analytic or none
    bound: str  # one of BOUNDS
    total_ns: float | None
    time_share: float | None  # of the GPU time (or self time of the CPU) of the capture, 0 to 1
    count: int  # launches or calls
    level: str
    moved_bytes: float | None
    bytes_per_s: float | None
    point: RooflinePoint | None
    flop: float | None = None  # also where no roof is known
    formula: str = ""  # analytic: how flop and bytes were found
    shapes: str = ""  # analytic: what they were found from
    kernel_name: str = ""  # full name of the kernel; of an operator call, of the kernel that does its arithmetic
    missing: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    range_name: str = ""  # the range that it ran in, where rows are told apart by range
    grid: str = ""  # counters: rows of one kernel differ by it and by `block`
    block: str = ""
    peak_bytes_per_s: float | None = None  # what `bytes_per_s` is held against, at this level
    bandwidth_source: str = ""  # where that comes from, in words
    immaterial: tuple[str, ...] = ()  # of `missing`, what could not have shown anything: its pipe was idle

    @property
    def bandwidth_share(self) -> float | None:
        """Traffic ÷ bandwidth; None where either is not known."""
        return self.bytes_per_s / self.peak_bytes_per_s if self.bytes_per_s and self.peak_bytes_per_s else None

    @property
    def nearer_roof(self) -> str | None:
        """The roof that the row would meet first: a level of memory or a precision. It is no verdict."""
        point = self.point
        if point is not None:
            return point.precision if point.flop_per_byte >= point.ridge_flop_per_byte else point.level
        # Traffic alone meets the bandwidth; None where even that was assumed.
        known = self.bandwidth_share is not None and self.flop == 0
        return self.level if known and not any(flag.startswith("assumed") for flag in self.flags) else None


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """All kernels with one bound. `bound` is OVERALL for the line over all of them."""

    bound: str
    kernel_count: int
    count_share: float
    total_ns: float | None
    time_share: float | None
    means: dict[str, float | None]  # canonical metric -> unweighted mean over kernels


@dataclass(frozen=True, slots=True)
class Histogram:
    """How one metric is spread over the profiled kernels."""

    metric: str
    label: str
    unit: str
    edges: tuple[float, ...]  # (n + 1,)
    counts: tuple[int, ...]  # (n,)
    members: tuple[tuple[int, ...], ...]  # per bin, indices into Analysis.kernels
    missing_count: int


@dataclass(frozen=True, slots=True)
class SumRow:
    """One line of a summary: API calls, memory operations or NVTX ranges."""

    name: str
    instance_count: int
    total_ns: int
    share: float
    mean_ns: float
    median_ns: float
    min_ns: int
    max_ns: int
    std_ns: float | None
    style: str | None = None


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One line of a summary of memory operations by the bytes they moved."""

    name: str
    instance_count: int
    total_bytes: int
    mean_bytes: float
    median_bytes: float
    min_bytes: int
    max_bytes: int
    std_bytes: float | None  # sample deviation; None for one operation


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything that a report needs, computed from the tables alone."""

    top_kernels: tuple[KernelSummary, ...] = ()
    top_operators: tuple[OperatorSummary, ...] = ()
    api_calls: tuple[SumRow, ...] = ()
    memory_operations: tuple[SumRow, ...] = ()
    ranges: tuple[SumRow, ...] = ()
    kernels: tuple[ClassifiedKernel, ...] = ()
    classes: tuple[ClassSummary, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    rule: str = "auto"
    margin: float = 5.0
    span_ns: int | None = None  # first start to last end on the GPU
    busy_ns: int | None = None  # union over streams of one GPU; None with several GPUs
    notes: tuple[str, ...] = ()
    work: tuple[RooflineRow, ...] = ()  # operators with work from shapes, where there are no counters
    targets: tuple[dict[str, Any], ...] = ()  # rows of counter_targets: what a timeline chose for ncu, and the join
    ceilings: "tuple[CeilingRow, ...]" = ()  # data sheet, ncu's and measured peaks side by side
    phase_uses: "tuple[PhaseUse, ...]" = ()  # MFU and MBU of each phase, by source of its work
    story: "Story | None" = None  # findings, phases, timeline strip, NVIDIA's rules; None where not asked for
