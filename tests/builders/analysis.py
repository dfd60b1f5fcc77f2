"""Hand-made analyses for the tests of the report.

In: how many kernels, and which of them are hostile. Out: `Analysis` and `RunInfo` whose numbers agree with each other.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from nsightkit.analysis.advice import KernelAdvice
from nsightkit.analysis.counters.stalls import Stall
from nsightkit.analysis.distributions import make_histograms, summarize_classes
from nsightkit.analysis.findings import FindingInputs, Findings, Withheld, find
from nsightkit.analysis.ranges.phases import Phases, Segment
from nsightkit.analysis.results import (
    Analysis,
    ClassifiedKernel,
    KernelSummary,
    OperatorSummary,
    RooflinePoint,
    SumRow,
    Verdict,
)
from nsightkit.analysis.story import Story
from nsightkit.analysis.timeline.activity import BINS, Activity, Chains, DeviceStrip, LaunchSeries
from nsightkit.analysis.timeline.whole_run import COSTS, RunFigures
from nsightkit.parquet import write_table
from nsightkit.run import Capture, Run, RunInfo
from nsightkit.tables import COUNTER_COLUMNS, TABLES

HOSTILE_NAMES: tuple[str, ...] = (
    "void a<b>|c*(int, `x`) [y](z)",
    "<script>document.title='owned'</script>",
    "</script><img src=x onerror=alert(1)>",
    "line one\nline two\r\n# heading\n- item",
    "\x1b[31mred\x1b[0m\u202etxt.exe",
    "```\nfence\n````",
    'quote" onmouseover="alert(1)',
    "javascript:alert(1) https://example.org/?a=1&b=2 www.example.org",
    "{{ 7*7 }}{% raw %}",
    "kernel<" + "int, " * 2000 + "float>",
    "=1+cmd|'/c calc'!A0",
    "\ud800half <!-- --> ]]> &amp; \u2028",
)

PEAK_FLOP = 48.7e12
PEAK_BYTES = 717e9


@dataclass(frozen=True)
class Shape:
    """What one kernel of the builder is like."""

    friendly: str
    family: str
    library: str
    bound: str
    duration_ns: float
    flop: float | None
    moved_bytes: float | None
    sm_pct: float
    memory_pct: float
    dram_pct: float


SHAPES = (
    Shape("GEMM 128×128 (FP16)", "GEMM", "CUTLASS", "COMPUTE", 404_700.0, 1.66e10, 2.2e7, 91.2, 48.1, 12.4),
    Shape("GEMV (BF16, template=7)", "GEMV", "cuBLAS", "MEMORY", 18_340.0, 2.36e7, 1.18e7, 14.6, 90.2, 89.7),
    Shape("Elementwise Add (BF16, vec)", "elementwise", "ATen", "MEMORY", 9_820.0, 3.1e6, 5.1e6, 11.3, 72.4, 72.1),
    Shape("Flash Split-KV (BF16)", "attention", "FlashAttention", "LATENCY", 10_340.0, 1.9e8, 6e5, 21.5, 18.2, 8.1),
    Shape("Mean Reduction (FP32)", "reduction", "ATen", "BALANCED", 7_970.0, None, 1.1e6, 63.0, 66.1, 18.9),
    Shape("Bitonic Sort", "sort", "ATen", "UNKNOWN", 2_310.0, None, None, 0.0, 0.0, 0.0),
)  # fmt: skip


def make_kernel(index: int, name: str | None = None) -> ClassifiedKernel:
    """Return one classified kernel; every sixth is alike but for its size."""
    shape = _scaled(SHAPES[index % len(SHAPES)], 1.0 / (1 + index // len(SHAPES)))
    friendly = name or shape.friendly + (f" #{index}" if index >= len(SHAPES) else "")
    full = name or f"void ns::kernel_{index}<{shape.library}, (int){index}, float>(ns::Params<float, {index}>)"
    duration = shape.duration_ns
    return ClassifiedKernel(
        capture_id="ncu-full",
        kernel_name=full,
        friendly_name=friendly,
        family=shape.family,
        library=shape.library,
        launch_count=2,
        failed_count=0,
        duration_ns=duration,
        total_ns=2 * duration,
        time_share=None,
        grid=f"({index + 1}, 1, 1)",
        block="(128, 1, 1)",
        counters=_counters(shape, duration),
        verdict=_verdict(shape),
        point=_point(shape, full, duration),
        nvtx_path="decode/step" if index % 2 else None,
    )


def _scaled(shape: Shape, scale: float) -> Shape:
    flop = None if shape.flop is None else shape.flop * scale
    moved = None if shape.moved_bytes is None else shape.moved_bytes * scale
    return replace(shape, duration_ns=shape.duration_ns * scale, flop=flop, moved_bytes=moved)


def _counters(shape: Shape, duration: float) -> dict[str, float | None]:
    known = shape.moved_bytes is not None
    moved = shape.moved_bytes
    rate = moved / duration * 1e9 if moved is not None else None
    return {
        "duration_ns": duration,
        "sm_clock_hz": 2.295e9,
        "dram_bytes": moved,
        "dram_bytes_per_s": rate,
        "fp32_flop": shape.flop,
        "sm_throughput_pct": shape.sm_pct if known else None,
        "memory_throughput_pct": shape.memory_pct if known else None,
        "dram_throughput_pct": shape.dram_pct if known else None,
        "l1_throughput_pct": shape.memory_pct * 0.7 if known else None,
        "l2_throughput_pct": shape.memory_pct * 0.4 if known else None,
        "l1_hit_rate_pct": 100 - shape.memory_pct if known else None,
        "l2_hit_rate_pct": 41.53 if known else None,
        "achieved_occupancy_pct": 39.51 if known else None,
        "theoretical_occupancy_pct": 100.0 if known else None,
        "memory_busy_pct": shape.memory_pct * 0.9 if known else None,
        "max_bandwidth_pct": shape.memory_pct if known else None,
        "waves_per_sm": 3.2,
        "registers_per_thread": 40.0,
    }


def _verdict(shape: Shape) -> Verdict:
    if shape.bound == "UNKNOWN":
        missing = ("sm_throughput_pct", "memory_throughput_pct")
        return Verdict("UNKNOWN", "auto", "none", "", None, "", missing=missing)
    inputs = {"sm_throughput_pct": shape.sm_pct, "memory_throughput_pct": shape.memory_pct}
    if shape.flop is None:
        return Verdict(shape.bound, "ncu", "throughput", "Balanced Throughput", 6.9, "points", inputs, ("fp32_flop",))
    word = "at or above the ridge" if shape.bound == "COMPUTE" else "below the ridge"
    return Verdict(shape.bound, "roofline", "counters", word, 4.25, "times the ridge", inputs)


def _point(shape: Shape, full: str, duration: float) -> RooflinePoint | None:
    if shape.flop is None or shape.moved_bytes is None:
        return None
    intensity, rate = shape.flop / shape.moved_bytes, shape.flop / duration * 1e9
    roof = min(PEAK_FLOP, intensity * PEAK_BYTES)
    return RooflinePoint(
        kernel_name=full,
        precision="FP32",
        level="DRAM",
        flop=shape.flop,
        moved_bytes=shape.moved_bytes,
        duration_ns=duration,
        flop_per_byte=intensity,
        flop_per_s=rate,
        ridge_flop_per_byte=PEAK_FLOP / PEAK_BYTES,
        peak_flop_per_s=PEAK_FLOP,
        peak_bytes_per_s=PEAK_BYTES,
        roof_flop_per_s=roof,
        efficiency=rate / roof,
        roof_source="ncu's peak at the clock of the launch",
    )


def make_top(count: int, names: tuple[str, ...] = ()) -> tuple[KernelSummary, ...]:
    """Return summaries of `count` kernels, the longest first; the first ones are called `names`."""
    totals = [90_000_000 // (place + 1) ** 2 for place in range(count)]
    whole = sum(totals)
    return tuple(_summary(place, total, total / whole, names) for place, total in enumerate(totals))


def _summary(place: int, total: int, share: float, names: tuple[str, ...]) -> KernelSummary:
    shape = SHAPES[place % len(SHAPES)]
    name = names[place] if place < len(names) else None
    launches = 100 * (place + 1)
    mean = total / launches
    return KernelSummary(
        kernel_name=name or f"void ns::timeline_{place}<{shape.library}, (int){place}>(float *)",
        friendly_name=name or shape.friendly + (f" #{place}" if place >= len(SHAPES) else ""),
        family=shape.family,
        library=shape.library,
        launch_count=launches,
        total_ns=total,
        share=share,
        mean_ns=mean,
        median_ns=mean * 0.9,
        p95_ns=mean * 1.7,
        min_ns=int(mean * 0.5),
        max_ns=int(mean * 2.5),
        std_ns=mean * 0.2,
        per_token_ns=total / 16,
    )


def make_operators(count: int = 12) -> tuple[OperatorSummary, ...]:
    """Return operators of a CPU run."""
    own = [9_000_000 // (place + 1) for place in range(count)]
    names = ("aten::addmm", "aten::bmm", "aten::softmax", "aten::layer_norm")
    return tuple(
        OperatorSummary(
            names[place] if place < len(names) else f"aten::op_{place}",
            48, ns, ns * 2, ns / sum(own), ns / 48, ns / 16,
        )
        for place, ns in enumerate(own)
    )  # fmt: skip


def make_sums(*names: str) -> tuple[SumRow, ...]:
    """Return summary lines called `names`."""
    totals = [5_000_000 // (place + 1) for place in range(len(names))]
    return tuple(
        SumRow(name, 10, total, total / sum(totals), total / 10, total / 11, total // 20, total // 4, 10.0)
        for name, total in zip(names, totals, strict=True)
    )


def classified(count: int, names: tuple[str, ...] = ()) -> tuple[ClassifiedKernel, ...]:
    """Return `count` classified kernels with time shares; the first ones are called `names`."""
    kernels = [make_kernel(i, names[i] if i < len(names) else None) for i in range(count)]
    whole = sum(k.total_ns or 0.0 for k in kernels)
    return tuple(replace(k, time_share=(k.total_ns or 0.0) / whole) for k in kernels)


def with_every_counter(kernel: ClassifiedKernel) -> ClassifiedKernel:
    """Return `kernel` as a full set of sections would have it: every counter is there, and its name is long."""
    known = {name: value for name, value in kernel.counters.items() if value is not None}
    rest = {c.name: 0.0 if c.name.endswith(("_flop", "_op")) else 12345.678901 for c in COUNTER_COLUMNS}
    return replace(kernel, counters=rest | known, kernel_name=kernel.kernel_name + "<int, float>" * 25)


def make_story(analysis: Analysis, names: tuple[str, ...] = ("prefill", "decode")) -> Analysis:
    """Return `analysis` with all that a report tells beyond its tables; phases are called `names`."""
    first = [kernel.kernel_name for kernel in analysis.top_kernels[:3]]
    points = ((0.0, 10.0, 20.0, 40.0), (5e8, 15.0, 30.0, 50.0))
    series = tuple(LaunchSeries(name, 300, 9_000, points, 150, (10.0, 30.0, 50.0), (200, 100)) for name in first)
    strips = (DeviceStrip(0, 139_000_000, tuple(0.2 + 0.6 * (place % 2) for place in range(BINS))),)
    activity = Activity("timeline", 676_000_000, strips, series, Chains(40, 100, 9_000_000, 5_000_000), 134_000_000)
    phases = Phases(
        names, ("GEMM", "elementwise"), tuple((9_000_000 // (i + 1), 1_000_000) for i in range(len(names))),
        tuple(Segment(i, i * 100_000_000, (i + 1) * 90_000_000) for i in range(len(names))),
        {name: ((" / ".join(names), 0.75),) for name in first},
    )  # fmt: skip
    rule = KernelAdvice(
        "CPIStall", "Long Scoreboard Stalls", "Warps wait <b>long</b>.", "OPTIMIZATION", "GLOBAL", 42.5, 1
    )
    local = replace(rule, rule="IssueSlotUtilization", title="", speedup_kind="LOCAL", estimated_speedup_pct=61.0)
    advice = {place: (rule, local) for place in range(len(analysis.kernels))}
    limiters = dict.fromkeys(range(len(analysis.kernels)), "registers")
    parts = {**dict.fromkeys(COSTS, 0.0), "GPU": 0.7, "COMMUNICATION": 0.2, "TRANSFER": 0.1}
    figures = RunFigures(676_000_000, parts, 0.0, None, None, None, None, None)
    seen = FindingInputs(analysis.top_kernels, analysis.kernels, activity, figures, advice=advice, limiters=limiters)
    found = find(seen)
    withheld = (Withheld("waiting", "the overhead of tracing was not measured"), *found.withheld)
    stalls = {
        place: (Stall("long_scoreboard", 0.6, 6.0), Stall("wait", 0.3, 3.0), Stall("selected", 0.1, 1.0))
        for place in range(len(analysis.kernels))
    }
    told = Findings(found.found, withheld)
    story = Story(activity, phases, advice=advice, limiters=limiters, stalls=stalls, findings=told)
    return replace(analysis, story=story)


def make_analysis(count: int = 6, names: tuple[str, ...] = (), timeline: bool = True, full: bool = False) -> Analysis:
    """Return an analysis of a run with a timeline and with counters of `count` kernels."""
    kernels = classified(count, names)
    if full:
        kernels = tuple(with_every_counter(kernel) for kernel in kernels)
    return Analysis(
        top_kernels=make_top(max(6, count), names) if timeline else (),
        api_calls=make_sums("cudaLaunchKernel", "cudaMemcpyAsync") if timeline else (),
        memory_operations=make_sums("[CUDA memcpy Host-to-Device]", "[CUDA memset]") if timeline else (),
        ranges=make_sums(":prefill", ":decode") if timeline else (),
        kernels=kernels,
        classes=tuple(summarize_classes(kernels)),
        histograms=tuple(make_histograms(kernels)),
        span_ns=676_000_000 if timeline else None,
        busy_ns=139_000_000 if timeline else None,
    )


def make_info(**changes: object) -> RunInfo:
    """Return the description of a run with an nsys and an ncu capture."""
    known = {
        "name": "kv-decode",
        "workload": "kv_decode.py",
        "workload_args": ("--tokens", "16"),
        "tokens": 16,
        "created_utc": "2026-01-31T12:00:00+00:00",
        "hostname": "bench-1",
        "gpu_name": "NVIDIA GeForce RTX 4080 SUPER",
        "compute_capability": "8.9",
        "driver_version": "570.10",
        "cuda_version": "12.8",
        "nsightkit_version": "0.1.0",
        "captures": (
            Capture("timeline", "nsys", "2025.6", "decode.sqlite", ("nsys", "profile"), scope="whole run"),
            Capture("ncu-full", "ncu", "2025.4", "decode.ncu-rep", ("ncu", "--set", "full"), scope="12 launches"),
        ),
    }  # fmt: skip
    return RunInfo(**{**known, **changes})  # type: ignore[arg-type]


def make_run(folder: Path, kernels: int = 3) -> Run:
    """Write a run directory with tables of a timeline and of counters, as ingesting would, and return it."""
    run = Run(folder)
    launches = {
        "kernel_name": ["void gemm<float>(float *)"] * 2 + ["copy"],
        "start_ns": [0, 2_000, 6_000],
        "duration_ns": [1_000, 3_000, 500],
        "device_id": [0, 0, 0],
    }
    names = [f"void profiled_{place}<float>(float *)" for place in range(kernels)]
    counters = {
        "launch_index": list(range(kernels)),
        "kernel_name": names,
        "failed": [False] * kernels,
        "duration_ns": [1_000.0 * (place + 1) for place in range(kernels)],
        "sm_throughput_pct": [91.0] * kernels,
        "memory_throughput_pct": [20.0] * kernels,
        "dram_throughput_pct": [10.0] * kernels,
    }
    for column in COUNTER_COLUMNS:
        value = 0.0 if column.name.endswith(("_flop", "_op")) else 43.21 if column.unit == "%" else 1.5e6
        counters.setdefault(column.name, [value] * kernels)
    counters["fp32_flop"] = [2.4e7 * (place + 1) for place in range(kernels)]
    counters["peak_fp32_flop_per_s"] = [PEAK_FLOP] * kernels
    counters["peak_dram_bytes_per_s"] = [PEAK_BYTES] * kernels
    counters["dram_bytes"] = [1.2e5 * (place + 1) for place in range(kernels)]
    for table, capture, rows in (("kernel_launches", "timeline", launches), ("kernel_counters", "ncu-full", counters)):
        write_table(run.table_path(table, capture), TABLES[table], rows, {"capture_id": capture})
    run.write_info(make_info())
    return run
