"""Why a kernel is slower than it could be, and what to do about it: by its counters first, then by NVIDIA's rules.

In: `FindingInputs` and the place of a kernel. Out: a `Cause`, the most specific one that the evidence supports. A
limiter or a small grid is to blame only for a kernel that waits.

Source: docs/method.md, "Findings".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsightkit.analysis.advice import KernelAdvice
    from nsightkit.analysis.findings import FindingInputs
    from nsightkit.analysis.results import ClassifiedKernel

SMALL_GRID = "a larger grid, since few blocks do not fill the GPU"
_TAIL = "even out its waves of blocks, the last is mostly empty"
_LEAST_TAIL = 0.2
_LOW_OCCUPANCY_PCT = 50.0
_LEAST_ESTIMATE_PCT = 10.0
# Source: NVIDIA's SpeedOfLight rule, whose threshold a latency-bound kernel is below.
_IDLE = "neither its SMs nor its memory reach 60 %"
_COMPARE = "Compare its tile, dtype and access pattern with a faster kernel."
# NVIDIA's rules that name a cause, the most specific first: what would help, and what to do.
_RULES = {
    "UncoalescedGlobalAccess": (
        "let its threads use all the bytes they fetch", "Make neighboring threads read neighboring addresses.",
    ),
    "MemoryCacheAccessPattern": (
        "let its threads use all the bytes they fetch", "Make neighboring threads read neighboring addresses.",
    ),
    "CPIStall": ("cut the time its warps wait", "See NVIDIA's rule on its card for the instruction to look at."),
    "TheoreticalOccupancy": (
        "more warps to hide its latency", "Use fewer registers and less shared memory, or other sizes of block.",
    ),
    "AchievedOccupancy": (
        "keep the places for its warps filled", "Launch more blocks, or blocks of more even work.",
    ),
}  # fmt: skip
_OTHER_RULES = {
    "WorkloadImbalance": ("even out the work among its SMs", "Give its blocks equal work, or launch more of them."),
    "SharedMemoryConflicts": (
        "avoid conflicts of banks in shared memory", "Pad or swizzle what its threads read from shared memory.",
    ),
}  # fmt: skip
# What these rules ask for leaves the units as much to do as before; what those ask for leaves them less.
SAME_WORK = frozenset({
    "LaunchConfiguration", "WorkloadImbalance", "TheoreticalOccupancy", "AchievedOccupancy", "CPIStall",
    "IssueSlotUtilization",
})  # fmt: skip
LESS_WORK = frozenset({
    "UncoalescedGlobalAccess", "MemoryCacheAccessPattern", "SharedMemoryConflicts", "FPInstructions",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cause:
    """What would help a kernel.

    `rules` are NVIDIA's rules that estimate it; `most` is the share of its time that it can save at most, by its own
    geometry, with the words for that.
    """

    words: str
    action: str
    rules: tuple[str, ...] = ()
    most: tuple[float, str] | None = None


def by_counters(inputs: FindingInputs, place: int) -> Cause | None:
    """Return the cause that launch geometry and occupancy show; None where they show none."""
    kernel = inputs.kernels[place]
    waves, waits = kernel.counters.get("waves_per_sm"), kernel.verdict.bound == "LATENCY"
    if waits and waves is not None and waves < 1:
        action = "Give it more blocks: a larger batch, split-K, or smaller tiles; or run small kernels side by side."
        return Cause(
            SMALL_GRID, action, ("LaunchConfiguration",), (1 - waves, "the places for blocks that it leaves empty")
        )
    if waits and _is_limited(kernel) and place in inputs.limiters:
        limiter = inputs.limiters[place]
        return Cause(
            f"raise its occupancy, limited by {limiter}: {_IDLE}", f"Use less of {limiter}, or more work a thread.",
            ("TheoreticalOccupancy", "AchievedOccupancy"),
        )  # fmt: skip
    if _tail(waves) >= _LEAST_TAIL:
        action = "Change the tile or the grid so that waves come out even."
        return Cause(_TAIL, action, ("LaunchConfiguration",), (_tail(waves), "the empty part of its last wave"))
    return None


def _is_limited(kernel: ClassifiedKernel) -> bool:
    """Return whether few warps are there because no more fit: a limiter is to blame for these alone."""
    achieved, fits = (kernel.counters.get(f"{kind}_occupancy_pct") for kind in ("achieved", "theoretical"))
    return achieved is not None and fits is not None and achieved < _LOW_OCCUPANCY_PCT and fits <= _LOW_OCCUPANCY_PCT


def _tail(waves: float | None) -> float:
    """Return how much of the waves of blocks is empty: 1.2 waves take the time of 2, and 0.8 of them do nothing."""
    return (math.ceil(waves) - waves) / math.ceil(waves) if waves is not None and waves > 1 else 0.0


def by_rules(inputs: FindingInputs, place: int) -> Cause | None:
    """Return the cause that one of NVIDIA's rules with an estimate that matters names."""
    rules = {a.rule: a for a in inputs.advice.get(place, ()) if (a.estimated_speedup_pct or 0.0) >= _LEAST_ESTIMATE_PCT}
    return next((of_rule(inputs, place, rules[name]) for name in _RULES if name in rules), None)


def of_rule(inputs: FindingInputs, place: int, advice: KernelAdvice) -> Cause:
    """Return what one of NVIDIA's rules asks for."""
    known = _RULES.get(advice.rule) or _OTHER_RULES.get(advice.rule)
    if known is None:
        return Cause(f"follow NVIDIA's rule {advice.title or advice.rule}", "See the rule on its card.", (advice.rule,))
    words, action = known
    if advice.rule == "CPIStall" and advice.title:
        words += f" ({advice.title.lower()})"
    elif advice.rule == "TheoreticalOccupancy" and place in inputs.limiters:
        words += f", limited by {inputs.limiters[place]}"
    return Cause(words, action, (advice.rule,))


def below_roof(kernel: ClassifiedKernel) -> Cause:
    """Return what is left to say of a kernel below its roof where nothing names a cause."""
    if kernel.verdict.bound in ("COMPUTE", "MEMORY"):
        roof = "compute" if kernel.verdict.bound == "COMPUTE" else "memory"
        return Cause(f"bring it closer to its {roof} roof", _COMPARE)
    return Cause(f"let it use more of the GPU: {_IDLE}", _COMPARE)
