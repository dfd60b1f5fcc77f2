"""What keeps single kernels from their roof: their distance to it, with the cause that the counters name.

In: kernels with counters, NVIDIA's rules on them, occupancy limiters, and shares of the timeline. Out: one finding a
kernel at most. The stake is a share of the timeline where there is one: counters come from another execution, and only
the fraction that a launch could save is taken from them. A kernel that the timeline does not hold gives no finding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nsightkit.analysis.findings import (
    KERNEL_TIME,
    LEAST_SHARE,
    PROFILED_TIME,
    Finding,
    FindingInputs,
    Number,
    Withheld,
)
from nsightkit.analysis.results import ClassifiedKernel

_MOST = 5
_LEAST_TAIL = 0.2
_TAIL = "even out its waves of blocks, the last is mostly empty"
_LOW_OCCUPANCY_PCT = 50.0
_LEAST_ESTIMATE_PCT = 10.0
# Launches of one name that differ by more than this have several shapes, and the profiled one is one of them.
_SPREAD = 2.0


@dataclass(frozen=True, slots=True)
class _Weight:
    share: float
    total_ns: float
    of: str
    doubt: str = ""


def find(inputs: FindingInputs) -> Iterator[Finding | Withheld]:
    """Look at each profiled kernel, and keep those with most at stake."""
    found: list[Finding] = []
    absent = 0
    for place, kernel in enumerate(inputs.kernels):
        weight = _weight(inputs, place, kernel)
        absent += weight is None
        finding = _finding(inputs, place, weight) if weight else None
        if finding and (finding.stake_share or 0.0) >= LEAST_SHARE:
            found.append(finding)
    yield from sorted(found, key=lambda item: -(item.stake_share or 0.0))[:_MOST]
    if absent and inputs.top_kernels:
        yield Withheld(
            "kernel_limits",
            f"{absent} of {len(inputs.kernels)} profiled kernels do not occur in the timeline, or not under one name: "
            "what they would save of it is not said",
        )


def _weight(inputs: FindingInputs, place: int, kernel: ClassifiedKernel) -> _Weight | None:
    if place in inputs.weights:
        joined = inputs.weights[place]
        of = f"{KERNEL_TIME} in {joined.range_name}" if joined.range_name else KERNEL_TIME
        doubt = "" if joined.match == "exact" else "which of its launches ncu saw could not be told, only their shape"
        return _Weight(joined.share, joined.total_ns, of, "; ".join((*([doubt] if doubt else []), *joined.flags)))
    if not inputs.top_kernels:
        if kernel.total_ns is None or kernel.time_share is None:
            return None
        return _Weight(kernel.time_share, kernel.total_ns, PROFILED_TIME)
    timed = inputs.timeline_shares.get(kernel.kernel_name)
    if timed is None:
        return None
    rows = [other.total_ns or 0.0 for other in inputs.kernels if other.kernel_name == kernel.kernel_name]
    part = (kernel.total_ns or 0.0) / sum(rows) if sum(rows) else 0.0
    doubt = ""
    if len(rows) > 1:
        doubt = "several grids of this kernel were profiled, and its time was split among them as in the counters"
    elif timed.min_ns and timed.max_ns > _SPREAD * timed.min_ns:
        doubt = (
            f"its launches in the timeline differ {timed.max_ns / timed.min_ns:.1f}-fold, and one shape was profiled"
        )
    return _Weight(timed.share * part, timed.total_ns * part, KERNEL_TIME, doubt)


def _finding(inputs: FindingInputs, place: int, weight: _Weight) -> Finding | None:
    kernel = inputs.kernels[place]
    fraction, basis, evidence = _saving(inputs, place)
    if fraction is None:
        return None
    cause, action = _cause(inputs, place)
    if cause == _TAIL:
        # More than the empty part of the last wave no even grid can save.
        fraction, basis = min(fraction, _tail(kernel)), "the empty part of its last wave"
        evidence.append(Number("waves of blocks per SM", kernel.counters.get("waves_per_sm") or 0.0))
    confidence = "low" if weight.doubt else "medium"
    reason = weight.doubt or "the counters are of these launches; a roof is seldom reached"
    return Finding(
        "kernel_limits", f"{kernel.friendly_name}: {cause}", action,
        (*evidence, Number(f"of the {weight.of}", weight.share, "1")),
        fraction * weight.total_ns, fraction * weight.share, weight.of, basis, confidence, reason,
        (kernel.kernel_name,),
    )  # fmt: skip


def _saving(inputs: FindingInputs, place: int) -> tuple[float | None, str, list[Number]]:
    kernel = inputs.kernels[place]
    point = kernel.point
    # A kernel that another rule judged is held back by something that its roof does not show.
    judged = kernel.verdict.rule == "roofline" and kernel.verdict.bound != "UNKNOWN"
    if judged and point is not None and not point.flags and 0 < point.efficiency <= 1:
        return 1 - point.efficiency, "its distance to the roof", [Number("of its roof", point.efficiency, "1")]
    best = next(
        (a for a in inputs.advice.get(place, ()) if a.speedup_kind == "GLOBAL" and a.estimated_speedup_pct), None
    )
    if best is not None and 0 < (best.estimated_speedup_pct or 0.0) < 100:
        percent = best.estimated_speedup_pct or 0.0
        return (
            percent / 100,
            f"NVIDIA's estimate, rule {best.rule}",
            [Number("of its time, by NVIDIA's estimate", percent, "%")],
        )
    return None, "", []


def _tail(kernel: ClassifiedKernel) -> float:
    """Return how much of the waves of blocks is empty: 1.2 waves take the time of 2, and 0.8 of them do nothing."""
    waves = kernel.counters.get("waves_per_sm")
    return (math.ceil(waves) - waves) / math.ceil(waves) if waves is not None and waves > 1 else 0.0


def _cause(inputs: FindingInputs, place: int) -> tuple[str, str]:
    """Return the most specific cause that the evidence supports, and what to do about it."""
    kernel = inputs.kernels[place]
    counters, bound = kernel.counters, kernel.verdict.bound
    waves, occupancy = counters.get("waves_per_sm"), counters.get("achieved_occupancy_pct")
    rules = {a.rule: a for a in inputs.advice.get(place, ()) if (a.estimated_speedup_pct or 0.0) >= _LEAST_ESTIMATE_PCT}
    if bound == "LATENCY" and waves is not None and waves < 1:
        return (
            "a larger grid, since it does not fill the GPU",
            "Give it more blocks: a larger batch, split-K, or smaller tiles.",
        )
    if bound == "LATENCY" and occupancy is not None and occupancy < _LOW_OCCUPANCY_PCT and place in inputs.limiters:
        limiter = inputs.limiters[place]
        return (
            f"raise its occupancy, limited by {limiter}: nothing is busy",
            f"Use less of {limiter}, or more work a thread.",
        )
    if _tail(kernel) >= _LEAST_TAIL:
        return _TAIL, "Change the tile or the grid so that waves come out even."
    if "UncoalescedGlobalAccess" in rules or "MemoryCacheAccessPattern" in rules:
        return "let its threads use all the bytes they fetch", "Make neighboring threads read neighboring addresses."
    stall = rules.get("CPIStall")
    if stall is not None and stall.title:
        return (
            f"cut the time its warps wait ({stall.title.lower()})",
            "See NVIDIA's rule on its card for the instruction to look at.",
        )
    if "TheoreticalOccupancy" in rules or "AchievedOccupancy" in rules:
        limiter = f", limited by {inputs.limiters[place]}" if place in inputs.limiters else ""
        return (
            f"more warps to hide its latency{limiter}",
            "Launch more blocks, or use fewer registers and less shared memory.",
        )
    words = {"COMPUTE": "computes", "MEMORY": "moves data", "LATENCY": "waits"}
    return (
        f"bring it closer to its roof: it {words.get(bound, 'runs')} below",
        "Compare its tile, dtype and access pattern with a faster kernel.",
    )
