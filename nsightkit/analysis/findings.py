"""What would help most: few findings, each from a rule, with evidence, scope and confidence, ranked by time at stake.

In: `FindingInputs`, what the other analyses found. Out: `Findings`. What is at stake is an upper bound. A rule whose
evidence is not in the capture does not guess: it says in a `Withheld` what it would need.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from nsightkit.analysis.results import ClassifiedKernel, KernelSummary, RooflineRow

if TYPE_CHECKING:
    from nsightkit.analysis.advice import KernelAdvice
    from nsightkit.analysis.counters.timeline_weights import Weight
    from nsightkit.analysis.ranges.repetitions import Repetition
    from nsightkit.analysis.timeline.activity import Activity
    from nsightkit.analysis.timeline.whole_run import RunFigures

# One module each below finding_rules/; the order is the order in which they are asked.
RULES = ("waiting", "families", "chains", "attention", "kernel_limits", "reuse", "cold_start")
# Less than this share of its scope is no finding.
LEAST_SHARE = 0.02
KERNEL_TIME = "kernel time"
PROFILED_TIME = "profiled GPU time"
SPAN = "span on the GPU"
OPERATOR_TIME = "GPU time of all operator calls"


@dataclass(frozen=True, slots=True)
class Number:
    """One number of the evidence in base units."""

    label: str
    value: float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to do, what it could save at most, and on what ground.

    `stake_share` is of `stake_of`; None for a finding about the measurement itself.
    """

    rule: str
    title: str
    action: str
    evidence: tuple[Number, ...]
    stake_ns: float | None
    stake_share: float | None
    stake_of: str
    basis: str  # how the stake was found, in words
    confidence: str  # high, medium or low
    reason: str  # why no more and no less confidence
    kernels: tuple[str, ...] = ()  # full names


@dataclass(frozen=True, slots=True)
class Withheld:
    """What a rule does not say, because its evidence is not in the capture or not in the same scope."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings, largest stake first, and what was withheld."""

    found: tuple[Finding, ...] = ()
    withheld: tuple[Withheld, ...] = ()


@dataclass(frozen=True)
class FindingInputs:
    """What the rules look at; all of it may be absent. `tracing_ratio` is traced by untraced wall time."""

    top_kernels: Sequence[KernelSummary] = ()
    kernels: Sequence[ClassifiedKernel] = ()
    activity: Activity | None = None
    figures: RunFigures | None = None
    tracing_ratio: float | None = None
    repetitions: Sequence[Repetition] = ()
    advice: dict[int, tuple[KernelAdvice, ...]] = field(default_factory=dict)  # place in `kernels` -> NVIDIA's rules
    limiters: dict[int, str] = field(default_factory=dict)  # place in `kernels` -> occupancy limiter
    work: Sequence[RooflineRow] = ()  # operator calls with shapes, where there are no counters
    weights: dict[int, Weight] = field(default_factory=dict)  # place in `kernels` -> what it stands for in the timeline

    @cached_property
    def kernel_ns(self) -> int:
        """Time of all kernels in the timeline, 0 without one."""
        return sum(kernel.total_ns for kernel in self.top_kernels)

    def family(self, *families: str) -> list[KernelSummary]:
        """Return the kernels of the timeline that belong to `families`."""
        return [kernel for kernel in self.top_kernels if kernel.family in families]

    def share_of(self, kernels: Iterable[KernelSummary]) -> float:
        """Return the share of the kernel time that `kernels` take."""
        return sum(kernel.total_ns for kernel in kernels) / self.kernel_ns if self.kernel_ns else 0.0

    @cached_property
    def profiled_ns(self) -> dict[str, list[float]]:
        """Name of a profiled kernel -> the times of its rows, one a grid."""
        found: dict[str, list[float]] = {}
        for kernel in self.kernels:
            found.setdefault(kernel.kernel_name, []).append(kernel.total_ns or 0.0)
        return found

    @cached_property
    def timeline_shares(self) -> dict[str, KernelSummary]:
        """Name of a profiled kernel -> the kernel of the timeline that it is, where that is not in doubt."""
        if not self.top_kernels or not self.kernels:
            return {}
        from nsightkit.analysis.kernel_names import match_kernels

        by_name = {kernel.kernel_name: kernel for kernel in self.top_kernels}
        matches = match_kernels([kernel.kernel_name for kernel in self.kernels], list(by_name))
        return {match.name: by_name[match.candidates[0]] for match in matches if match.status == "matched"}


def find(inputs: FindingInputs) -> Findings:
    """Return what the rules find, ranked by the time at stake: shares of a span and of kernel time do not compare."""
    said: list[Finding | Withheld] = []
    for rule in RULES:
        said += import_module(f"nsightkit.analysis.finding_rules.{rule}").find(inputs)
    found = [item for item in said if isinstance(item, Finding)]
    found = [item for item in found if item.stake_share is None or item.stake_share >= LEAST_SHARE]
    ranked = sorted(found, key=lambda item: -1.0 if item.stake_ns is None else item.stake_ns, reverse=True)
    return Findings(tuple(ranked), tuple(item for item in said if isinstance(item, Withheld)))
