"""What bounds a run as a whole: its launches, transfers, communication, memory, arithmetic, or not decidable.

In: figures of the timeline, bounds of kernels in the same scope, timings of a step with its floor. Out: `RunVerdict`
with the numbers that decide, their thresholds, and what is missing. Each ratio has one scope: numbers of two
executions are never divided by one another.

Source: docs/method.md, "The whole run".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from nsightkit.analysis.results import RooflineRow
from nsightkit.analysis.timeline.whole_run import LOSS_THRESHOLD, MOST_TRACING_OVERHEAD, RunFigures
from nsightkit.errors import AnalysisError

RUN_BOUNDS = ("LAUNCH", "TRANSFER", "COMMUNICATION", "MEMORY", "COMPUTE", "LATENCY", "UNKNOWN")
# Idle time says something about launches only if there is much of it, and most of it begins with an empty queue.
IDLE_THRESHOLD = 0.3
EMPTY_QUEUE_THRESHOLD = 0.5
# One bound has to hold this share of all GPU time, known or not, to be that of the run.
BOUND_THRESHOLD = 0.5
# A step this many times its floor is overhead-bound by its timings alone.
FLOOR_FACTOR = 2.0
NO_TIMELINE = "a timeline: start and end of every kernel and copy, and its launch call, of one execution"
NO_OVERHEAD = "tracing overhead, told from noise: the same run without the profiler, on a quiet machine"
NO_CALLS = "launch calls in the capture, on a clock that agrees with the GPU's"
NO_GRAPHS = "the work inside CUDA graphs: capture with --cuda-graph-trace=node"
NO_BOUNDS = "bounds of the kernels in the same scope: counters (ncu), or a torch.profiler trace with shapes"


@dataclass(frozen=True, slots=True)
class StepTime:
    """How long a step took without a profiler, and what it must take at least.

    `least_bytes` are weights and KV cache, `least_flop` its arithmetic; rates are those of the device.
    """

    measured_ns: float
    least_bytes: float
    bytes_per_s: float
    least_flop: float = 0.0
    flop_per_s: float = 0.0
    scope: str = ""

    @property
    def floor_ns(self) -> float:
        """The longer of both times at the roof."""
        compute = self.least_flop / self.flop_per_s if self.flop_per_s else 0.0
        return max(self.least_bytes / self.bytes_per_s, compute) * 1e9


@dataclass(frozen=True, slots=True)
class Scoped:
    """A time and what it covers."""

    time_ns: float
    scope: str


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """What bounds a run; `inputs` are the numbers that decided, `thresholds` those that they were held against."""

    bound: str  # one of RUN_BOUNDS
    reason: str
    inputs: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def share_of(part: Scoped, whole: Scoped) -> float:
    """Return part ÷ whole of one scope.

    Raises:
        AnalysisError: they cover different executions or ranges, so that their ratio means nothing.
    """
    if part.scope != whole.scope:
        raise AnalysisError(
            f"a time of '{part.scope}' is no share of a time of '{whole.scope}': capture both in one run and range",
            slug="two-scopes",
        )
    return part.time_ns / whole.time_ns


def bound_shares(rows: Iterable[RooflineRow]) -> dict[str, float]:
    """Return bound -> share of the time of all rows; rows without a time count for nothing."""
    times: dict[str, float] = defaultdict(float)
    for row in rows:
        times[row.bound] += row.total_ns or 0.0
    whole = sum(times.values())
    return {bound: time / whole for bound, time in times.items()} if whole else {}


def judge_run(
    figures: RunFigures | None,
    bounds: dict[str, float] | None = None,
    step: StepTime | None = None,
    tracing_ratio: float | None = None,
) -> RunVerdict:
    """Return what bounds a run.

    Args:
        figures: of the timeline; None where there is none.
        bounds: bound -> share of the GPU time in the scope of the timeline, see `bound_shares`.
        step: timings of a step without a profiler, which may show overhead where there is no timeline.
        tracing_ratio: traced by untraced wall time; asked for only where `figures`, which hold it, are missing.
    """
    if figures is None:
        if step:
            return _from_timings(step)
        numbers = {} if tracing_ratio is None else {"tracing_ratio": tracing_ratio}
        missing = (NO_TIMELINE, NO_OVERHEAD) if tracing_ratio is None else (NO_TIMELINE,)
        return RunVerdict("UNKNOWN", "not decidable", numbers, missing=missing)
    if figures.hidden_graph_count:
        reason = (
            f"{figures.hidden_graph_count} launches of CUDA graphs have no traced work: what looks idle may be theirs"
        )
        return RunVerdict("UNKNOWN", reason, _numbers(figures), missing=(NO_GRAPHS,))
    if figures.idle_share > IDLE_THRESHOLD and (figures.empty_queue_share_of_idle or 0.0) > EMPTY_QUEUE_THRESHOLD:
        return _launches(figures)
    for name, words in (("TRANSFER", "copies"), ("COMMUNICATION", "communication")):
        # Idle time inside a blocking copy may be the tracer's.
        share = figures.shares[name] if figures.tracing_allows_idle_verdict else figures.alone(name)
        if share > LOSS_THRESHOLD and figures.largest_loss == name:
            reason = f"{_share(share)} of the span goes to {words} that nothing hides"
            return RunVerdict(name, reason, _numbers(figures), {name.lower() + "_share": LOSS_THRESHOLD})
    if 1 - figures.shares["GPU"] <= LOSS_THRESHOLD:
        return _busy(figures, bounds)
    if figures.largest_loss == "UNKNOWN":
        reason = f"what the GPU waited for is not known for {_share(figures.shares['UNKNOWN'])} of the span"
        return RunVerdict("UNKNOWN", reason, _numbers(figures), {"loss_share": LOSS_THRESHOLD}, (NO_CALLS,))
    reason = f"no single cause: the largest loss is {figures.largest_loss.lower()}, "
    reason += f"{_share(figures.shares[figures.largest_loss])} of the span"
    return RunVerdict("UNKNOWN", reason, _numbers(figures), {"loss_share": LOSS_THRESHOLD})


def _numbers(figures: RunFigures) -> dict[str, float]:
    found = {
        "span_ns": float(figures.span_ns),
        "idle_share": figures.idle_share,
        "empty_queue_share_of_idle": figures.empty_queue_share_of_idle,
        "tracing_ratio": figures.tracing_ratio,
        "corrected_idle_share": figures.corrected_idle_share,
    }
    shares = {f"{name.lower()}_share": share for name, share in figures.shares.items() if share}
    return {name: value for name, value in found.items() if value is not None} | shares


def _launches(figures: RunFigures) -> RunVerdict:
    numbers = _numbers(figures)
    thresholds = {
        "idle_share": IDLE_THRESHOLD,
        "empty_queue_share_of_idle": EMPTY_QUEUE_THRESHOLD,
        "tracing_ratio": MOST_TRACING_OVERHEAD,
        "corrected_idle_share": IDLE_THRESHOLD,
    }
    if figures.tracing_ratio is None or figures.corrected_idle_share is None:
        reason = f"{_idle(figures)}, but how much of that the profiler caused is not known"
        return RunVerdict("UNKNOWN", reason, numbers, thresholds, (NO_OVERHEAD,))
    if figures.tracing_ratio > MOST_TRACING_OVERHEAD:
        reason = (
            f"the traced run took {figures.tracing_ratio:.2f} times as long as the run itself: idle time proves nothing"
        )
        return RunVerdict("UNKNOWN", reason, numbers, thresholds)
    if figures.corrected_idle_share <= IDLE_THRESHOLD:
        return RunVerdict("UNKNOWN", "the idle time does not survive the correction for tracing", numbers, thresholds)
    return RunVerdict("LAUNCH", _idle(figures), numbers, thresholds)


def _idle(figures: RunFigures) -> str:
    """Say how idle the GPU is, and for which of both: slow launches, or a program that does something else."""
    return f"the GPU is idle for {_share(figures.idle_share)} of the span: {_waited_for(figures)}"


def _waited_for(figures: RunFigures) -> str:
    launch, host = figures.shares["LAUNCH"], figures.shares["HOST"]
    if host > launch:
        return f"it waits for the program, which is outside CUDA (1 ms or more at a time) for {_share(host)} of it"
    return f"it waits for launches that come too late for {_share(launch + host)} of it"


def _share(value: float) -> str:
    return "more than 99 %" if 0.995 <= value < 1 else f"{100 * value:.0f} %"


def _busy(figures: RunFigures, bounds: dict[str, float] | None) -> RunVerdict:
    numbers, thresholds = _numbers(figures), {"gpu_share": 1 - LOSS_THRESHOLD, "bound_share": BOUND_THRESHOLD}
    busy = f"the GPU computes for {_share(figures.shares['GPU'])} of the span"
    if not bounds:
        return RunVerdict(
            "UNKNOWN", f"{busy}; by what its kernels are bound is not known", numbers, thresholds, (NO_BOUNDS,)
        )
    numbers |= {f"{bound.lower()}_bound_share": share for bound, share in bounds.items()}
    largest = max(bounds, key=lambda bound: bounds[bound])
    if largest in ("MEMORY", "COMPUTE", "LATENCY") and bounds[largest] >= BOUND_THRESHOLD:
        reason = f"{busy}, and kernels bound by {largest.lower()} hold {_share(bounds[largest])} of that"
        return RunVerdict(largest, reason, numbers, thresholds)
    missing = (NO_BOUNDS,) if largest == "UNKNOWN" else ()
    return RunVerdict("UNKNOWN", f"{busy}, and no bound holds half of that", numbers, thresholds, missing)


def _from_timings(step: StepTime) -> RunVerdict:
    ratio = step.measured_ns / step.floor_ns
    numbers = {"step_ns": step.measured_ns, "floor_ns": step.floor_ns, "step_by_floor": ratio}
    thresholds = {"step_by_floor": FLOOR_FACTOR}
    if ratio >= FLOOR_FACTOR:
        reason = f"a step takes {ratio:.1f} times what its bytes and arithmetic need: overhead, by its timings alone"
        return RunVerdict(
            "LAUNCH", reason, numbers, thresholds, flags=("from timings: what the overhead is was not seen",)
        )
    reason = "a step is near its floor; a time that is flat over the batch would not prove overhead either"
    return RunVerdict("UNKNOWN", reason, numbers, thresholds, (NO_TIMELINE,))
