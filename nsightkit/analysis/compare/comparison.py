"""What changed between two sides, kernel by kernel, and whether it is real.

In: the process runs of both sides as `RunSums`. Out: `Comparison`, with a `Difference` for the whole run, each family
and each kernel. No kernel is dropped: the kernels' totals add up to the whole of each side to the nanosecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nsightkit.analysis.compare.comparability import COUNTED, OPERATORS, TIMELINE, worded
from nsightkit.analysis.compare.matching import GONE, NEW, SAME_NAME, KernelFacts, Match, Side, match_kernels
from nsightkit.analysis.compare.noise import (
    Estimate,
    NoiseOptions,
    Sample,
    benjamini_hochberg,
    estimate_ratios,
    verdict_of,
)
from nsightkit.analysis.compare.other_work import OTHER_GEOMETRY, UNTIMED, flags_of
from nsightkit.analysis.compare.run_sums import KernelSum, RunSums, add_sums
from nsightkit.analysis.grouping import SUMMED
from nsightkit.analysis.kernel_names import describe_kernel, tell_apart

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RUN, FAMILY, KERNEL = "run", "family", "kernel"


@dataclass(frozen=True)
class ComparedSide:
    """The process runs of one side; `tokens` is what each run produced, None where it is not known."""

    name: str
    runs: Sequence[RunSums]
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How to compare: noise model, and whether times are divided by tokens before they are judged."""

    noise: NoiseOptions = field(default_factory=NoiseOptions)
    per_token: bool = False


@dataclass(frozen=True, slots=True)
class SideValues:
    """One item on one side. Sums run over all process runs of the side, everything else is per run."""

    kernel_names: tuple[str, ...]
    run_count: int
    sum_launches: int
    sum_timed: int  # launches whose duration is known; the others are in no time
    sum_ns: int
    tokens: int | None
    counters: Mapping[str, float] = field(default_factory=dict)
    geometries: Mapping[str, int] = field(default_factory=dict)
    per_token: bool = False  # whether the comparison divides by tokens

    @property
    def divisor(self) -> int:
        """What sums are divided by for the comparison: the runs, and their tokens if that was asked for."""
        return self.run_count * (self.tokens if self.per_token and self.tokens else 1)

    @property
    def is_unmeasured(self) -> bool:
        """Whether it was launched and no launch has a duration: its time is not known, and not zero."""
        return self.sum_launches > 0 and not self.sum_timed

    @property
    def compared_ns(self) -> float:
        """The time that is compared: per run, or per token."""
        return self.sum_ns / self.divisor

    @property
    def compared_launches(self) -> float:
        """The launches that are compared: per run, or per token."""
        return self.sum_launches / self.divisor

    @property
    def launch_count(self) -> float:
        """Launches per run."""
        return self.sum_launches / self.run_count

    @property
    def total_ns(self) -> float:
        """Time per run."""
        return self.sum_ns / self.run_count

    @property
    def mean_ns(self) -> float | None:
        """Time per launch that was timed."""
        return self.sum_ns / self.sum_timed if self.sum_timed else None

    @property
    def per_token_ns(self) -> float | None:
        """Time per token of a run."""
        return self.total_ns / self.tokens if self.tokens else None


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of a comparison. Only `total` differences are judged: `verdict` is None where they cannot be."""

    level: str  # run, family or kernel
    name: str
    family: str
    how: str  # same, renamed, split, merged, new or gone
    confidence: float
    base: SideValues
    head: SideValues
    estimate: Estimate  # of head ÷ base total, per token if that was asked for
    q_value: float | None = None
    verdict: str | None = None
    grounds: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()  # why the two sides are not the same work; a flagged line is not judged
    basis: str = TIMELINE

    @property
    def difference_ns(self) -> float:
        """Head minus base, per run or per token."""
        return self.head.compared_ns - self.base.compared_ns

    @property
    def launches_effect_ns(self) -> float | None:
        """What the other number of launches accounts for; with `time_effect_ns` it makes the whole difference."""
        if self.base.mean_ns is None or self.head.mean_ns is None:
            return None
        more = self.head.sum_timed / self.head.divisor - self.base.sum_timed / self.base.divisor
        return more * (self.base.mean_ns + self.head.mean_ns) / 2

    @property
    def time_effect_ns(self) -> float | None:
        """What the other time per launch accounts for."""
        effect = self.launches_effect_ns
        return None if effect is None else self.difference_ns - effect


@dataclass(frozen=True)
class Comparison:
    """All differences; kernels are sorted by the size of their difference."""

    base_name: str
    head_name: str
    basis: str
    whole: Difference
    families: tuple[Difference, ...]
    kernels: tuple[Difference, ...]
    options: CompareOptions
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Difference, ...]:
        """The whole run, then families, then kernels."""
        return (self.whole, *self.families, *self.kernels)


@dataclass(frozen=True)
class _Item:
    level: str
    name: str
    family: str
    base: tuple[str, ...]
    head: tuple[str, ...]
    match: Match | None = None


def compare_runs(base: ComparedSide, head: ComparedSide, options: CompareOptions | None = None) -> Comparison:
    """Compare two sides of at least one process run each.

    Below `noise.MIN_RUNS` runs a side the differences are described and not judged.
    """
    options = options or CompareOptions()
    basis = base.runs[0].basis
    matches = match_kernels(_matching_side(base), _matching_side(head))
    names = [name for match in matches for name in (*match.base, *match.head)]
    # Kernels of both sides together: two lines of one table must not look alike.
    friendly = dict(zip(names, tell_apart(names), strict=True))
    kernels = [_kernel_item(match, friendly) for match in matches]
    whole = _judge(_whole_items(base, head), base, head, options)[0]
    # Families are those of kernels.
    families = [] if basis == OPERATORS else _judge(_family_items(base, head), base, head, options)
    found = _judge(kernels, base, head, options)
    notes = _notes(found, basis)
    return Comparison(
        base.name,
        head.name,
        basis,
        whole,
        tuple(sorted(families, key=_by_size)),
        tuple(sorted(found, key=_by_size)),
        options,
        notes,
    )


def _by_size(row: Difference) -> tuple[float, str]:
    return (-abs(row.difference_ns), row.name)


def merged_kernels(side: ComparedSide) -> dict[str, KernelSum]:
    """Return the kernels of all runs of a side, each as one."""
    parts: dict[str, list[KernelSum]] = {}
    for run in side.runs:
        for name, kernel in run.kernels.items():
            parts.setdefault(name, []).append(kernel)
    return {name: add_sums(found) for name, found in parts.items()}


def _matching_side(side: ComparedSide) -> Side:
    facts = []
    operators = side.runs[0].basis == OPERATORS
    for name, kernel in merged_kernels(side).items():
        described = describe_kernel(name)
        facts.append(
            KernelFacts(
                name,
                described.normal,
                # An operator keeps its name: another name is another operator, which a family of its own says.
                name if operators else described.family,
                # Per run, so that sides with different numbers of runs can be matched.
                round(kernel.launch_count / len(side.runs)),
                round(kernel.total_ns / len(side.runs)),
                kernel.geometries,
                kernel.paths,
                kernel.ordinals,
            )
        )
    successions: dict[tuple[str, str], int] = {}
    for run in side.runs:
        for pair, times in run.successions.items():
            successions[pair] = successions.get(pair, 0) + times
    return Side(facts, successions)


def _whole_items(base: ComparedSide, head: ComparedSide) -> list[_Item]:
    return [
        _Item(
            RUN, worded("all kernels", base.runs[0].basis), "", tuple(merged_kernels(base)), tuple(merged_kernels(head))
        )
    ]


def _family_items(base: ComparedSide, head: ComparedSide) -> list[_Item]:
    members: dict[str, tuple[list[str], list[str]]] = {}
    for at, side in enumerate((base, head)):
        for name in merged_kernels(side):
            members.setdefault(describe_kernel(name).family, ([], []))[at].append(name)
    return [_Item(FAMILY, family, family, tuple(old), tuple(new)) for family, (old, new) in members.items()]


def _kernel_item(match: Match, friendly: Mapping[str, str]) -> _Item:
    first = describe_kernel((match.base or match.head)[0])
    if match.how == SAME_NAME and len({*match.base, *match.head}) > 1:
        # One kernel as two tools print it: what differs in print tells nothing apart.
        name = first.friendly
    else:
        name = " + ".join(dict.fromkeys(friendly[one] for one in match.base or match.head))
    if match.base and match.head and match.how != SAME_NAME:
        name += " → " + " + ".join(dict.fromkeys(friendly[one] for one in match.head))
    return _Item(KERNEL, name, first.family, match.base, match.head, match)


def _judge(items: Sequence[_Item], base: ComparedSide, head: ComparedSide, options: CompareOptions) -> list[Difference]:
    # Kernels of one side alone have no ratio and are no part of the tests.
    size = max(1, sum(bool(item.base and item.head) for item in items))
    samples = (
        sample_of([item.base for item in items], base, options.per_token),
        sample_of([item.head for item in items], head, options.per_token),
    )
    estimates = estimate_ratios(*samples, options.noise, size)
    q_values = benjamini_hochberg([estimate.p_value for estimate in estimates])
    return [
        _difference(item, (base, head), estimate, q, options)
        for item, estimate, q in zip(items, estimates, q_values, strict=True)
    ]


def sample_of(groups: Sequence[Sequence[str]], side: ComparedSide, per_token: bool) -> Sample:
    """Return per run the total of each group of kernels, and the variance that its launches give it."""
    import numpy as np

    values: NDArray[np.float64] = np.zeros((len(side.runs), len(groups)))
    variance: NDArray[np.float64] = np.zeros_like(values)
    divisor = float(side.tokens) if per_token and side.tokens else 1.0
    for at, run in enumerate(side.runs):
        for column, names in enumerate(groups):
            found = [run.kernels[name] for name in names if name in run.kernels]
            values[at, column] = sum(kernel.total_ns for kernel in found) / divisor
            variance[at, column] = sum(kernel.squared_deviation_ns2 for kernel in found) / divisor**2
    return Sample(values, variance)


def _difference(
    item: _Item,
    sides: tuple[ComparedSide, ComparedSide],
    estimate: Estimate,
    q_value: float | None,
    options: CompareOptions,
) -> Difference:
    basis = sides[0].runs[0].basis
    base, head = (
        _values(names, side, options.per_token) for names, side in zip((item.base, item.head), sides, strict=True)
    )
    flags = flags_of(base, head, basis, item.level == KERNEL)
    verdict = None if flags else verdict_of(estimate, q_value, options.noise)
    how = item.match.how if item.match else SAME_NAME if item.base and item.head else GONE if item.base else NEW
    grounds = item.match.grounds if item.match else ()
    confidence = item.match.confidence if item.match else 1.0
    return Difference(
        item.level,
        item.name,
        item.family,
        how,
        confidence,
        base,
        head,
        estimate,
        q_value,
        verdict,
        grounds,
        flags,
        basis,
    )


def _values(names: Sequence[str], side: ComparedSide, per_token: bool) -> SideValues:
    found = [run.kernels[name] for run in side.runs for name in names if name in run.kernels]
    geometries: dict[str, int] = {}
    for kernel in found:
        for text, times in kernel.geometries.items():
            geometries[text] = geometries.get(text, 0) + times
    return SideValues(
        tuple(names),
        len(side.runs),
        sum(kernel.launch_count for kernel in found),
        sum(kernel.launch_count - kernel.untimed_count for kernel in found),
        sum(kernel.total_ns for kernel in found),
        side.tokens,
        _counters(names, side),
        geometries,
        per_token,
    )


def _counters(names: Sequence[str], side: ComparedSide) -> dict[str, float]:
    """Return the counters of one item: means per launch for one kernel, sums of work for the parts of a split one."""
    if not 0 < len(names) <= 8:
        return {}
    per_kernel = [_mean_counters([run.kernels[name] for run in side.runs if name in run.kernels]) for name in names]
    common = set(per_kernel[0]).intersection(*per_kernel[1:])
    if len(names) > 1:
        common &= SUMMED
    return {metric: sum(counters[metric] for counters in per_kernel) for metric in sorted(common)}


def _mean_counters(kernels: Sequence[KernelSum]) -> dict[str, float]:
    counted = [kernel.counters for kernel in kernels if kernel.counters]
    if not counted:
        return {}
    common = set(counted[0]).intersection(*counted[1:])
    return {metric: sum(counters[metric] for counters in counted) / len(counted) for metric in common}


def _notes(kernels: Sequence[Difference], basis: str) -> tuple[str, ...]:
    notes = []
    if basis == COUNTED:
        notes.append("totals are of the profiled launches only, under the profiler's clocks; they are no run time")
    if basis == OPERATORS:
        notes.append("no kernel was traced: these are the framework's operators, by their own time on the CPU")
    other = sum(OTHER_GEOMETRY in row.flags for row in kernels)
    if other:
        notes.append(
            f"{other} of {len(kernels)} kernels were profiled with other grids or blocks on each side: other work, "
            "described and not judged; profile the same launches (--launch-skip, --kernel-id)"
        )
    untimed = sum(UNTIMED in row.flags for row in kernels)
    if untimed:
        notes.append(
            f"{untimed} of {len(kernels)} kernels have launches without a duration: their totals, and that of all, are "
            "too small by an unknown time and are not judged; capture again"
        )
    runs = min(kernels[0].base.run_count, kernels[0].head.run_count) if kernels else 0
    if kernels and all(row.estimate.low is None for row in kernels):
        notes.append(
            f"described, not judged: {runs} process run{'s' if runs > 1 else ''} a side, and a verdict needs 5; "
            "run both programs in turn"
        )
    return tuple(notes)
