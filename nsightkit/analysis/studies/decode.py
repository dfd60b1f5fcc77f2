"""Decode with and without a KV cache: pairs, ceilings, launch counts, cost, and what bounds a step.

In: timings. Out: one row a pair of arms, and the numbers that say how much a cache could win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nsightkit.analysis.foreign_results import DECODE_ALONE, Timing
from nsightkit.analysis.work import paper_model as paper
from nsightkit.gpus import GpuSpec, all_gpus, gpu_of_key

# Source: docs/method.md, "The regime of a step": below twice the roofline time, streaming weights looks the same.
OVERHEAD_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms that differ in the cache only."""

    on: Timing
    off: Timing

    @property
    def speedup(self) -> float:
        """How many times faster the cached arm decodes."""
        return self.off.decode_ms / self.on.decode_ms

    @property
    def interval(self) -> tuple[float, float] | None:
        """The speed-up between the ends of both arms' 95 % intervals over their repetitions; None without them.

        Wider than an interval of the quotient: both arms would have to err in opposite directions at once.
        """
        if self.on.ci_ms is None or self.off.ci_ms is None or self.on.ci_ms[0] <= 0:
            return None
        return self.off.ci_ms[0] / self.on.ci_ms[1], self.off.ci_ms[1] / self.on.ci_ms[0]

    @property
    def with_prefill(self) -> float | None:
        """The same with the prompt's forward pass in both.

        None where one does not time it, or where it is not known whether decode already holds it.
        """
        if self.on.prefill_ms is None or self.off.prefill_ms is None or self.on.scope != DECODE_ALONE:
            return None
        return (self.off.prefill_ms + self.off.decode_ms) / (self.on.prefill_ms + self.on.decode_ms)


def pairs_of(timings: Sequence[Timing]) -> list[Pair]:
    """Return the pairs of equal GPU, dtype, batch, prompt, tokens and scope, by prompt, then batch, then tokens."""
    arms: dict[tuple[object, ...], dict[bool, Timing]] = {}
    for t in timings:
        if t.cached is not None:
            key = (t.gpu, t.dtype, t.batch, t.prompt, t.new_tokens, t.scope, t.model)
            arms.setdefault(key, {}).setdefault(t.cached, t)
    pairs = [Pair(arm[True], arm[False]) for arm in arms.values() if len(arm) == 2]
    return sorted(pairs, key=lambda pair: (pair.on.prompt, pair.on.batch, pair.on.new_tokens))


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that a cache can win, in work: positions processed, and pairs of positions attended to."""

    prompt: int
    steps: int
    positions_off: int
    positions_on: int
    pairs_off: int
    pairs_on: int

    @property
    def per_token_work(self) -> float:
        """Ceiling for all that is done once a position: projections, feed-forward parts, norms."""
        return self.positions_off / self.positions_on

    @property
    def attention(self) -> float:
        """Ceiling for attention."""
        return self.pairs_off / self.pairs_on


def ceiling(prompt: int, steps: int) -> Ceiling:
    """Return the ceilings of prefill and `steps` decode steps behind it."""
    lengths = range(prompt, prompt + steps + 1)
    return Ceiling(
        prompt,
        steps,
        sum(lengths),
        prompt + steps,
        sum(n * n for n in lengths),
        prompt * prompt + sum(lengths) - prompt,
    )


def amdahl(*parts: tuple[float, float]) -> float:
    """Return the speed-up where each (share, factor) of the time becomes `factor` times faster; the rest stays.

    Source: Amdahl (1967), AFIPS Spring Joint Computer Conference 30.
    """
    return 1 / (1 - sum(share for share, _ in parts) + sum(share / factor for share, factor in parts))


@dataclass(frozen=True, slots=True)
class Regime:
    """What bounds a step: its time against the roofline time of its work."""

    bound: str  # OVERHEAD, UNKNOWN, or what the roofline says: COMPUTE, MEMORY
    step_ns: float
    floor_ns: float | None
    reason: str


def regime(timing: Timing, peaks: paper.Peaks | None) -> Regime:
    """Return what bounds a decode step of `timing`, by its time against the floor of its middle step."""
    step_ns = timing.ms_per_token * 1e6
    if peaks is None or timing.model is None or timing.dtype not in paper.DTYPES:
        return Regime("UNKNOWN", step_ns, None, "the peaks of this device are not in the table of GPUs")
    work = paper.Work(timing.batch, timing.prompt, timing.new_tokens, bool(timing.cached), timing.dtype)
    cost = paper.step_costs(timing.model, work)[timing.new_tokens // 2]
    floor_ns = peaks.time_ns(cost)
    ratio = step_ns / floor_ns
    if ratio >= OVERHEAD_RATIO:
        return Regime("OVERHEAD", step_ns, floor_ns, f"{ratio:.1f} times the roofline time")
    if ratio < 1:
        return Regime("UNKNOWN", step_ns, floor_ns, f"{ratio:.2f} of the roofline time: faster than the table allows")
    bound = "COMPUTE" if cost.flop_per_byte > peaks.ridge_flop_per_byte else "MEMORY"
    return Regime(bound, step_ns, floor_ns, f"{ratio:.2f} times the roofline time")


@dataclass(frozen=True, slots=True)
class Predicted:
    """One GPU by the paper model."""

    gpu: str
    batch: int
    step_on_ns: float
    speedup: float


def peaks_named(name: str | None, dtype: str | None) -> paper.Peaks | None:
    """Return the peaks of the GPU that a results file names, None where the table has no such name or no such peak.

    Results do not state the SM count, so a cut-down GPU of the same name would be taken for the whole one.
    """
    plain = " ".join((name or "").casefold().removeprefix("nvidia").split())
    for gpu in all_gpus():
        known = {" ".join(one.casefold().removeprefix("nvidia").split()) for one in gpu.names}
        if plain in known and dtype in paper.DTYPES and gpu.value(paper.DTYPES[str(dtype)][1]) is not None:
            return paper.peaks_of(gpu, str(dtype))
    return None


# The original's GPU: its roofs are drawn where the table of GPUs lacks what was measured on.
_REFERENCE_GPU = "rtx-a6000"


def reference_peaks(dtype: str) -> paper.Peaks:
    """Return the peaks of the GPU of the KV variants study."""
    return paper.peaks_of(gpu_of_key(_REFERENCE_GPU), dtype)


# Data-center and workstation GPUs of four generations, for the table across GPUs.
_COMPARED = ("v100-sxm2", "t4", "a100-80gb-sxm", "rtx-4090", "h100-sxm", "b200")


def predicted_across(timing: Timing, batches: Sequence[int]) -> list[Predicted]:
    """Return `predicted` for GPUs of several generations."""
    return predicted([gpu for gpu in all_gpus() if gpu.key in _COMPARED], timing, batches)


def predicted(gpus: Sequence[GpuSpec], timing: Timing, batches: Sequence[int]) -> list[Predicted]:
    """Return the roofline time of a cached step and the speed-up over no cache, for each GPU that has the peaks."""
    rows = []
    model, dtype = timing.model, "bfloat16"
    for gpu in gpus if model is not None else ():
        if gpu.value(paper.DTYPES[dtype][1]) is None or gpu.value("dram_bytes_per_s") is None:
            continue
        peaks = paper.peaks_of(gpu, dtype)
        for batch in batches:
            assert model is not None
            works = [paper.Work(batch, timing.prompt, timing.new_tokens, cached, dtype) for cached in (True, False)]
            on, off = (paper.decode_time_ns(model, work, peaks) for work in works)
            rows.append(Predicted(gpu.key, batch, on / timing.new_tokens, off / on))
    return rows


@dataclass(frozen=True, slots=True)
class Price:
    """What serving costs, in one calculation: seconds a reply × price a second, shared by the batch."""

    dollars_per_hour: float
    replies_per_day: float
    tokens_per_reply: float
    replies_per_user_day: float = 1.0

    def per_reply(self, timing: Timing) -> float:
        """Return dollars for one reply: its share of the batch's time."""
        seconds = self.tokens_per_reply / timing.tokens_per_s_aggregate
        return seconds * self.dollars_per_hour / 3600

    def per_user_year(self, timing: Timing) -> float:
        """Return dollars for one user and year."""
        return 365 * self.replies_per_user_day * self.per_reply(timing)

    def per_year(self, timing: Timing) -> float:
        """Return dollars a year, decode only, with every batch full."""
        return 365 * self.replies_per_day * self.per_reply(timing)


@dataclass(frozen=True, slots=True)
class Fit:
    """A straight line through points by least squares, and how much of their scatter it explains."""

    slope: float
    intercept: float
    r_squared: float | None


def fit_line(points: Sequence[tuple[float, float]]) -> Fit | None:
    """Return the line through `points`, None for fewer than two different places."""
    if len({x for x, _ in points}) < 2:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    intercept = mean_y - slope * mean_x
    if abs(intercept) < 1e-9 * max(abs(y) for _, y in points):
        intercept = 0.0  # what rounding leaves
    total = sum((y - mean_y) ** 2 for _, y in points)
    rest = sum((y - intercept - slope * x) ** 2 for x, y in points)
    return Fit(slope, intercept, 1 - rest / total if total else None)
