"""What keeps single kernels from their roof: their distance to it, with the cause that the counters name.

In: kernels with counters, NVIDIA's rules on them, occupancy limiters, and shares of the timeline. Out: one finding a
kernel at most. The stake is a share of the timeline where there is one: counters come from another execution, and only
the fraction that a launch could save is taken from them. A kernel that the timeline does not hold gives no finding, nor
does one whose name stands there for launches that differ: which of them was profiled is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from nsightkit.analysis.finding_weights import SPREAD, KernelWeight, kernel_weight
from nsightkit.analysis.findings import LEAST_SHARE, Finding, FindingInputs, Number, Withheld
from nsightkit.analysis.kernel_causes import (
    LESS_WORK,
    SAME_WORK,
    SMALL_GRID,
    Cause,
    below_roof,
    by_counters,
    by_rules,
    of_rule,
)
from nsightkit.analysis.results import ClassifiedKernel

if TYPE_CHECKING:
    from nsightkit.analysis.advice import KernelAdvice

_MOST = 5
# From so many on, kernels with too few blocks are one finding: there is one thing to do.
_SEVERAL = 3


def find(inputs: FindingInputs) -> Iterator[Finding | Withheld]:
    """Look at each profiled kernel, and keep those with most at stake."""
    found: list[Finding] = []
    absent: list[ClassifiedKernel] = []
    for place, kernel in enumerate(inputs.kernels):
        weight = kernel_weight(inputs, place)
        if weight is None:
            absent.append(kernel)
        finding = _finding(inputs, place, weight) if weight else None
        found += [finding] if finding else []
    found = [finding for finding in _together(found) if (finding.stake_share or 0.0) >= LEAST_SHARE]
    yield from sorted(found, key=lambda item: -(item.stake_share or 0.0))[:_MOST]
    if inputs.top_kernels:
        yield from _not_joined(inputs, absent)


def _together(found: list[Finding]) -> list[Finding]:
    """Make one finding of several kernels with too few blocks; their times are apart, so that stakes may be summed."""
    small = sorted((one for one in found if one.title.endswith(SMALL_GRID)), key=lambda one: -(one.stake_ns or 0.0))
    if len(small) < _SEVERAL or len({one.stake_of for one in small}) > 1:
        return found
    first = small[0]
    shares, waves = (sum(one.evidence[-1].value for one in small), max(one.evidence[-2].value for one in small))
    doubtful = next((one for one in small if one.confidence == "low"), first)
    merged = replace(
        first, title=f"{len(small)} kernels: {SMALL_GRID}",
        evidence=(Number("kernels, each of less than one wave of blocks per SM", len(small), "count"),
                  Number("waves the largest of them has", waves), Number(first.evidence[-1].label, shares, "1")),
        stake_ns=sum(one.stake_ns or 0.0 for one in small), stake_share=sum(one.stake_share or 0.0 for one in small),
        basis="for each its distance to the roof or NVIDIA's estimate, and no more than its empty places for blocks",
        confidence=doubtful.confidence, reason=doubtful.reason,
        kernels=tuple(dict.fromkeys(name for one in small for name in one.kernels)),
    )  # fmt: skip
    return [merged, *(one for one in found if one not in small)]


def _not_joined(inputs: FindingInputs, absent: list[ClassifiedKernel]) -> Iterator[Withheld]:
    """Say of how many profiled kernels the time in the timeline is not known, and why."""
    unlike = sum(kernel.kernel_name in inputs.timeline_shares for kernel in absent)
    of_all = f"of {len(inputs.kernels)} profiled kernels"
    if unlike:
        yield Withheld(
            "kernel_limits",
            f"{unlike} {of_all} bear the name of launches in the timeline whose durations differ more than "
            f"{SPREAD:.0f}-fold, and which of these was profiled is not known: what they would save is not said "
            "('nsightkit deepen' profiles launches at their place in the timeline)",
        )
    if len(absent) > unlike:
        yield Withheld(
            "kernel_limits",
            f"{len(absent) - unlike} {of_all} do not occur in the timeline, or not under one name: what they would "
            "save of it is not said",
        )


def _finding(inputs: FindingInputs, place: int, weight: KernelWeight) -> Finding | None:
    kernel = inputs.kernels[place]
    told = _by_roof(inputs, place) or _by_estimate(inputs, place)
    if told is None:
        return None
    cause, saving, evidence = told
    if cause.most is not None:
        evidence.append(Number("waves of blocks per SM", kernel.counters.get("waves_per_sm") or 0.0))
        saving = min(saving, cause.most)
    fraction, basis = saving
    confidence = "low" if weight.doubt else "medium"
    reason = weight.doubt or f"{weight.ground}; a roof is seldom reached"
    return Finding(
        "kernel_limits", f"{kernel.friendly_name}: {cause.words}", cause.action,
        (*evidence, Number(f"of the {weight.of}", weight.share, "1")),
        fraction * weight.total_ns, fraction * weight.share, weight.of, basis, confidence, reason,
        (kernel.kernel_name,),
    )  # fmt: skip


# What would help, which part of its time that saves at most and why, and the evidence.
_Told = tuple[Cause, tuple[float, str], list[Number]]


def _by_roof(inputs: FindingInputs, place: int) -> _Told | None:
    """Return what a kernel that the roofline judged could save: the way to its roof."""
    kernel = inputs.kernels[place]
    point = kernel.point
    # A kernel that another rule judged is held back by something that its roof does not show.
    judged = kernel.verdict.rule == "roofline" and kernel.verdict.bound != "UNKNOWN"
    if not judged or point is None or point.flags or not 0 < point.efficiency <= 1:
        return None
    cause = by_counters(inputs, place) or by_rules(inputs, place) or below_roof(kernel)
    evidence = [Number("of its roof", point.efficiency, "1")]
    # With less to fetch or to compute the roof itself moves.
    known = [one for one in _global(inputs, place) if one.rule in cause.rules and one.rule in LESS_WORK]
    best = max(known, key=_estimate, default=None)
    if best is None or _estimate(best) / 100 <= 1 - point.efficiency:
        return cause, (1 - point.efficiency, "its distance to the roof"), evidence
    return cause, *_estimated(best, evidence)


def _by_estimate(inputs: FindingInputs, place: int) -> _Told | None:
    """Return what NVIDIA's global estimates say: that of the cause by the counters, else the largest with its own."""
    known = _global(inputs, place)
    if not known:
        return None
    largest = max(known, key=_estimate)
    cause = by_counters(inputs, place)
    best = max((one for one in known if cause and one.rule in cause.rules), key=_estimate, default=None)
    if cause is None or best is None:
        cause, best = of_rule(inputs, place, largest), largest
    saving, evidence = _estimated(best, [])
    busiest = _busiest_pct(inputs.kernels[place])
    if best.rule in SAME_WORK and busiest is not None and 1 - busiest / 100 < saving[0]:
        # The same work keeps its busiest unit at work for as long.
        evidence.append(Number("of its peak on its busiest unit", busiest, "%"))
        saving = (1 - busiest / 100, "the distance of its busiest unit from its peak")
    return cause, saving, evidence


def _estimated(advice: KernelAdvice, evidence: list[Number]) -> tuple[tuple[float, str], list[Number]]:
    """Return what NVIDIA estimates with its ground, and the evidence with it."""
    told = Number(f"of its time could go, by NVIDIA's rule {advice.rule}", _estimate(advice), "%")
    return (_estimate(advice) / 100, f"NVIDIA's estimate, rule {advice.rule}"), [*evidence, told]


def _global(inputs: FindingInputs, place: int) -> list[KernelAdvice]:
    return [
        advice for advice in inputs.advice.get(place, ())
        if advice.speedup_kind == "GLOBAL" and 0 < _estimate(advice) < 100
    ]  # fmt: skip


def _estimate(advice: KernelAdvice) -> float:
    return advice.estimated_speedup_pct or 0.0


def _busiest_pct(kernel: ClassifiedKernel) -> float | None:
    known = (kernel.counters.get(f"{side}_throughput_pct") for side in ("sm", "memory"))
    return max((value for value in known if value is not None and 0 <= value <= 100), default=None)
