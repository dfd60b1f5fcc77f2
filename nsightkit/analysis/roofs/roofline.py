"""The roofline of one kernel at one level of memory: its times at the roof, the bound, and the point to draw.

In: counters of one kernel (sums over its launches) and what is known of its GPU. Out: `Roofline`. Work that was not
counted is an interval, from nothing to what the busy counters allow; a bound is given only if it holds over all of it.

Source: S. Williams, A. Waterman, D. Patterson, "Roofline", CACM 52(4), 2009; docs/method.md, "Roofline".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from nsightkit.analysis.grouping import number
from nsightkit.analysis.results import RooflinePoint
from nsightkit.analysis.roofs.peaks import (
    DRAM,
    FP64_ON_TENSOR,
    Dtype,
    Gpu,
    Level,
    Peak,
    bandwidth_of,
    dtypes_of,
    peak_of,
)

NS = 1e9
# Work above this share of the roof is no achievement but a wrong input.
ABOVE_ROOF = 1.02
# Below this share of its roof something else limits a kernel: latency, or traffic and units that are not shown.
NEAR_ROOF = 0.6
# GeForce: at its roof for FP32 accumulation the tensor pipe counts as active in half of the cycles.
TENSOR_ACTIVITY_FACTOR = 2.0
# A second type with at least this share of its pipe's time is named beside the first.
MIXED_SHARE = 0.05
# A pipe that was busy for no more than this did nothing that changes a verdict or an intensity.
IDLE_PCT = 1.0
# Where a pipe's activity is not known: counted work above this share of its roof is not incidental.
INCIDENTAL_PCT = 5.0
_HALVES = ("FP16", "BF16")
_PIPE_PCT = {"fp64": "fp64_pipe_pct", "fma": "fma_pipe_pct", "tensor": "tensor_pipe_pct", "fp16": "fp16_pipe_pct"}

Counters = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class WorkTime:
    """How long the work of one type takes at its peak: between `low_ns` and `high_ns`; `ns` is drawn."""

    dtype: Dtype
    pipe: str
    work: float  # flop or op; 0 where it was not counted; with `ns` 0 where its peak is not known
    ns: float
    low_ns: float
    high_ns: float
    missing: str = ""  # the metric that would close the interval
    source: str = ""  # where the peak comes from
    most: float = 0.0  # work that was not counted: what `high_ns` at peak gives; 0: idle, or peak not known


@dataclass(frozen=True, slots=True)
class Placement:
    """Times at the roof of a kernel whose duration, traffic and bandwidth are known.

    `compute_ns` belongs to the slowest pipe, `flop` is the work on it. `at_most_ns` is the longest of all times if work
    that was not counted took as long as the busy counters allow. `bound` is COMPUTE, MEMORY, or None where uncounted
    work or an unknown accumulate type decides. `suspect`: the measurement lies above the roof.
    """

    bound: str | None
    flop: float
    compute_ns: float
    memory_ns: float
    duration_ns: float
    at_most_ns: float
    suspect: bool

    @property
    def efficiency(self) -> float:
        """Roofline time ÷ measured time."""
        return max(self.compute_ns, self.memory_ns) / self.duration_ns


@dataclass(frozen=True, slots=True)
class Roofline:
    """Where a kernel stands; `placement` is None where inputs are `missing`, `point` also where there is no flop.

    `flop_per_byte` needs no roof: work of the pipe that did most, over DRAM traffic. `immaterial` are those of
    `missing` whose pipe was idle.
    """

    placement: Placement | None = None
    point: RooflinePoint | None = None
    flop_per_byte: float | None = None
    missing: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    immaterial: tuple[str, ...] = ()


def place_kernel(kernel_name: str, counters: Counters, gpu: Gpu, level: Level = DRAM) -> Roofline:
    """Return where a kernel stands under the roofline of `level`.

    Args:
        kernel_name: goes into the point.
        counters: canonical metrics in base units, sums over the launches; None where not collected.
        gpu: whose data sheet stands in where the capture has no peaks.
        level: whose traffic and bandwidth count.
    """
    # A duration of zero was not measured.
    duration, moved = number(counters.get("duration_ns")) or None, number(counters.get(level.moved))
    bandwidth = bandwidth_of(counters, gpu, level)
    works = [_work_time(dtype, counters, gpu) for dtype in dtypes_of(gpu)]
    uncounted = tuple(work.missing for work in works if work.missing)
    absent = [
        name
        for name, value in (("duration_ns", duration), (level.moved, moved), (level.peak, bandwidth))
        if value is None
    ]
    if duration is None or moved is None or bandwidth is None:
        return Roofline(flop_per_byte=_intensity(works, moved), missing=(*absent, *uncounted))
    if all(work.missing for work in works):
        share = moved / bandwidth.low * NS / duration
        of = f"of its bandwidth by {bandwidth.source}"
        flag = f"{level.name} at {share * 100:.0f} % {of}; no arithmetic was counted beside it"
        return Roofline(flop_per_byte=_intensity(works, moved), missing=uncounted, flags=(flag,))
    if moved == 0:
        absent = ["l2_bytes"] if level is DRAM and number(counters.get("l2_bytes")) is None else []
        flag = f"no {level.name} traffic, so no place under the {level.name} roofline"
        return Roofline(missing=(*absent, *uncounted), flags=(flag,))
    active = (number(counters.get("tensor_pipe_pct")) or 0.0) / 100 * duration
    case = _Case(kernel_name, duration, moved, bandwidth, _slowest(works), level.name, active)
    return _decided(case, works, uncounted, _immaterial(case, works, counters))


@dataclass(frozen=True, slots=True)
class _Case:
    """A kernel whose duration, traffic and bandwidth are known."""

    kernel_name: str
    duration_ns: float
    moved_bytes: float
    bandwidth: Peak
    slowest: list[WorkTime]  # the types on the pipe that needs longest
    level: str
    # How long the tensor pipe was active. Older instructions (mma.sync) reach a fraction of the peak on a chip with
    # newer ones: 2731 of 4096 BF16 operations a cycle and SM on CC 9.0, 2048 of 8192 on 10.0 (peaks in reports).
    tensor_active_ns: float = 0.0

    @property
    def memory_ns(self) -> float:
        return self.moved_bytes / self.bandwidth.low * NS

    @property
    def compute_ns(self) -> float:
        return sum(work.ns for work in self.slowest)

    @property
    def flop(self) -> float:
        return sum(work.work for work in self.slowest if work.ns)

    @property
    def efficiency(self) -> float:
        return max(self.compute_ns, self.memory_ns) / self.duration_ns


def _work_time(dtype: Dtype, counters: Counters, gpu: Gpu) -> WorkTime:
    pipe = pipe_of(dtype, gpu)
    work = number(counters.get(dtype.work))
    if work == 0:
        return WorkTime(dtype, pipe, 0.0, 0.0, 0.0, 0.0)
    peak = peak_of(dtype, counters, gpu)
    if work and peak:
        nominal = work / peak.low * NS
        return WorkTime(dtype, pipe, work, nominal, work / peak.high * NS, nominal, source=peak.source)
    limit = _busy_ns(dtype, counters)
    missing = dtype.peak if work else dtype.work if limit else ""
    busy = number(counters.get(_PIPE_PCT[pipe]))
    # Hopper's tensor pipe counts as active in some 0.2 % of the cycles of kernels without tensor instructions.
    most = limit / NS * peak.high if peak and (busy is None or busy > IDLE_PCT) else 0.0
    return WorkTime(dtype, pipe, work or 0.0, 0.0, 0.0, limit, missing, most=most)


def _busy_ns(dtype: Dtype, counters: Counters) -> float:
    """Return the longest time that work of `dtype` can have kept its pipe busy; infinite where nothing limits it.

    `sm_throughput_pct` is the busiest unit of the SM and thus no less than any one pipe.
    """
    duration, sm = number(counters.get("duration_ns")), number(counters.get("sm_throughput_pct"))
    tensor = number(counters.get("tensor_pipe_pct")) if dtype.pipe == "tensor" else None
    busiest = sm if tensor is None else tensor
    if busiest == 0:
        return 0.0
    if busiest is None or duration is None:
        return float("inf")
    return busiest / 100 * duration * (TENSOR_ACTIVITY_FACTOR if dtype.pipe == "tensor" else 1.0)


def pipe_of(dtype: Dtype, gpu: Gpu) -> str:
    """Return the pipe that executes `dtype`.

    Source: Nsight Compute documentation, "Pipelines": half-precision arithmetic is a pipe of its own up to GA100 and
    part of the FMA pipe from GA10x on. FP64 matrix instructions run on the FP64 pipe except on the data center chips.
    """
    version = gpu.version
    if dtype.name == "fp16":
        return "fp16" if version is not None and version <= 8.0 else "fma"
    if dtype.name == "tensor_fp64":
        return "tensor" if version is None or version in FP64_ON_TENSOR else "fp64"
    return dtype.pipe


def _pipes(works: Sequence[WorkTime]) -> list[list[WorkTime]]:
    ordered = sorted(works, key=lambda work: work.pipe)
    return [list(members) for _, members in groupby(ordered, key=lambda work: work.pipe)]


def _slowest(works: Sequence[WorkTime]) -> list[WorkTime]:
    return max(_pipes(works), key=lambda pipe: sum(work.ns for work in pipe))


def _longest(pipe: Sequence[WorkTime]) -> float:
    """Return the longest time of a pipe: what was counted, or the limit of all its work where some was not."""
    counted = sum(work.high_ns for work in pipe if not work.missing)
    return max(counted, *(work.high_ns for work in pipe if work.missing), 0.0)


def _immaterial(case: _Case, works: Sequence[WorkTime], counters: Counters) -> tuple[str, ...]:
    """Return the metrics that were not collected and could not have shown anything that matters."""
    absent = [work for work in works if work.missing == work.dtype.work]
    return tuple(work.missing for work in absent if _idle(work, case, works, counters))


def _idle(work: WorkTime, case: _Case, works: Sequence[WorkTime], counters: Counters) -> bool:
    busy = number(counters.get("fp16_pipe_pct" if work.dtype.name == "fp16" else _PIPE_PCT[work.pipe]))
    if busy is None and work.pipe == "fma":
        counted = sum(other.ns for other in works if other.pipe == "fma") / case.duration_ns * 100
        whole = number(counters.get("fma_pipe_pct"))
        busy = None if whole is None else max(whole - counted, 0.0)
    if busy is not None:
        return busy <= IDLE_PCT
    incidental = case.compute_ns / case.duration_ns * 100 < INCIDENTAL_PCT
    return not (work.pipe == "tensor" or incidental or _says_half(case.kernel_name))


def _says_half(kernel_name: str) -> bool:
    from nsightkit.analysis.kernel_names import describe_kernel

    return describe_kernel(kernel_name).dtype in _HALVES


def _decided(
    case: _Case, works: Sequence[WorkTime], uncounted: tuple[str, ...], immaterial: tuple[str, ...]
) -> Roofline:
    low = max(sum(work.low_ns for work in pipe) for pipe in _pipes(works))
    high = max(*map(_longest, _pipes(works)), case.tensor_active_ns)
    bound = "COMPUTE" if low >= case.memory_ns else "MEMORY" if high < case.memory_ns else None
    suspects = _suspects(case)
    placement = Placement(
        bound,
        flop=case.flop,
        compute_ns=case.compute_ns,
        memory_ns=case.memory_ns,
        duration_ns=case.duration_ns,
        at_most_ns=max(high, case.memory_ns),
        suspect=bool(suspects),
    )
    unseen = _unseen(works)
    point = None if unseen else _point(case, suspects)
    flags = (*suspects, *_notes(case, bound, [w for w in works if w.missing not in immaterial], unseen))
    return Roofline(placement, point, _intensity(works, case.moved_bytes), uncounted, flags, immaterial)


def _intensity(works: Sequence[WorkTime], moved: float | None) -> float | None:
    if not moved or _tensor_uncounted(works):
        return None
    timed = sum(work.work for work in _slowest(works) if work.ns)
    most = max(sum(work.work for work in pipe) for pipe in _pipes(works))
    return (timed or most) / moved or None


def _suspects(case: _Case) -> tuple[str, ...]:
    if case.efficiency <= ABOVE_ROOF:
        return ()
    if case.memory_ns >= case.compute_ns:
        cause = f"{case.level} traffic and duration may stem from different passes of the profiler"
    elif any("data sheet" in work.source for work in case.slowest):
        cause = "the clock or the accumulate type may be another than the data sheet's"
    else:
        cause = "padded or sparse tiles may count as work, or the counters stem from different passes"
    return (f"{case.efficiency:.2f} times the roof: {cause}",)


def _notes(case: _Case, bound: str | None, works: Sequence[WorkTime], unseen: str) -> tuple[str, ...]:
    notes = []
    if bound is None and any(work.low_ns < work.ns for work in case.slowest):
        notes.append("the bound depends on the accumulate type, which is not known")
    if bound is None and case.tensor_active_ns >= case.memory_ns > max(map(_longest, _pipes(works))):
        notes.append("the tensor pipe was active for longer than its operations take at the peak: theirs may be lower")
    uncounted = [work.dtype.label for work in works if work.missing == work.dtype.work]
    if unseen:
        notes.append(f"no point: {unseen}")
    elif case.compute_ns and uncounted:
        notes.append(f"intensity is a lower bound: {', '.join(uncounted)} not counted")
    return tuple(notes)


def _unseen(works: Sequence[WorkTime]) -> str:
    """Say what hides the work that matters, so that a point would mislead; "" where nothing does."""
    without = [work.dtype.label for work in works if work.missing == work.dtype.peak]
    if without:
        return f"no peak is known for {', '.join(without)}; the data sheet needs the name of the GPU"
    return "tensor work was not counted and may be most of it" if _tensor_uncounted(works) else ""


def _tensor_uncounted(works: Sequence[WorkTime]) -> bool:
    """Say whether no tensor work was counted although it may have taken longer, or been more, than all that was."""
    tensor = [work for work in works if work.dtype.name.startswith("tensor_")]
    absent = [work for work in tensor if work.missing == work.dtype.work]
    if len(absent) < len(tensor):
        return False
    counted = _slowest(works)
    longer = max((work.high_ns for work in absent), default=0.0) > sum(work.ns for work in counted)
    return longer or max((work.most for work in absent), default=0.0) > sum(work.work for work in counted)


def _point(case: _Case, suspects: tuple[str, ...]) -> RooflinePoint | None:
    flop, compute_ns = case.flop, case.compute_ns
    if not flop:
        return None
    intensity, peak = flop / case.moved_bytes, flop / compute_ns * NS
    return RooflinePoint(
        kernel_name=case.kernel_name,
        precision=_precision(case.slowest),
        level=case.level,
        flop=flop,
        moved_bytes=case.moved_bytes,
        duration_ns=case.duration_ns,
        flop_per_byte=intensity,
        flop_per_s=flop / case.duration_ns * NS,
        ridge_flop_per_byte=peak / case.bandwidth.low,
        peak_flop_per_s=peak,
        peak_bytes_per_s=case.bandwidth.low,
        roof_flop_per_s=min(peak, intensity * case.bandwidth.low),
        efficiency=case.efficiency,
        roof_source=_roof_source(case),
        flags=suspects,
    )


def _precision(works: Sequence[WorkTime]) -> str:
    total = sum(work.ns for work in works)
    named = [work for work in works if work.ns and work.ns >= MIXED_SHARE * total]
    names = [work.dtype.label for work in sorted(named, key=lambda work: -work.ns)]
    return names[0] if len(names) == 1 else "mixed: " + " + ".join(names)


def _roof_source(case: _Case) -> str:
    compute = sorted({work.source for work in case.slowest if work.ns})
    if compute == [case.bandwidth.source]:
        return case.bandwidth.source
    return f"compute: {' and '.join(compute)}; {case.level}: {case.bandwidth.source}"
