"""Conditions held against two sides: passed, regressed, inconclusive, or accepted before.

In: conditions, and the process runs of base and head. Out: `Outcome` values. `timing_gate` holds the same conditions
against results of benchmarks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from nsightkit.analysis.compare.comparison import (
    ComparedSide,
    Comparison,
    Difference,
    sample_of,
)
from nsightkit.analysis.compare.conditions import BOUND, DIFFERENCE, OF_KERNELS, RELATIVE, TIMES, Condition, wrong
from nsightkit.analysis.compare.noise import (
    Change,
    NoiseOptions,
    Sample,
    benjamini_hochberg,
    estimate_changes,
    estimate_log_ratios,
    smallest_step,
    t_quantile,
    t_upper,
)
from nsightkit.analysis.compare.other_work import OTHER_COUNT, UNTIMED
from nsightkit.analysis.grouping import COUNTERS
from nsightkit.analysis.kernel_names import FAMILIES, describe_kernel
from nsightkit.errors import AnalysisError

PASSED, REGRESSED, INCONCLUSIVE, ACCEPTED = "passed", "regressed", "inconclusive", "accepted"


class NotComparableError(AnalysisError):
    """The two sides must not be compared."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one condition came to. `change` and its interval are ratios for a relative condition, else base units."""

    condition: Condition
    subject: str  # what was measured, in words
    status: str
    base: float | None
    head: float
    change: float
    low: float | None
    high: float | None
    smallest: float | None  # the smallest change that would have been seen
    reason: str = ""


@dataclass(frozen=True)
class GateInput:
    """What conditions are held against: the compared sides, per NVTX range the same, and the tolerance for error."""

    sides: tuple[ComparedSide, ComparedSide]
    comparison: Comparison
    ranges: Mapping[str, tuple[ComparedSide, ComparedSide]]
    noise: NoiseOptions
    per_token: bool = False  # divide total_ns and launch_count by the tokens of each run


@dataclass(frozen=True)
class Subject:
    """What one condition is held against: a value per process run of each side."""

    words: str
    base: Sample | None
    head: Sample


def evaluate(conditions: Sequence[Condition], given: GateInput, accepted: Mapping[str, float]) -> list[Outcome]:
    """Hold every condition against the two sides.

    Args:
        conditions: what must hold.
        given: the sides.
        accepted: condition text -> the change that was accepted for it once; up to it the condition passes.

    Raises:
        ConditionError: a condition names a range, family or kernel that neither side has.
        NotComparableError: only one side has what a condition asks for.
    """
    _refuse_metrics_of_results(conditions)
    return hold(conditions, lambda condition: _subjects(condition, given), given.noise, accepted)


def hold(
    conditions: Sequence[Condition],
    subjects_of: Callable[[Condition], Iterable[Subject]],
    noise: NoiseOptions,
    accepted: Mapping[str, float],
) -> list[Outcome]:
    """Hold every condition against its subjects; those of one condition are judged together."""
    return [
        _with_acceptance(outcome, accepted.get(f"{condition.text} [{outcome.subject}]"))
        for condition in conditions
        for outcome in _outcomes(condition, list(subjects_of(condition)), noise)
    ]


def _refuse_metrics_of_results(conditions: Sequence[Condition]) -> None:
    for condition in conditions:
        if condition.metric not in OF_KERNELS or condition.scope == "setting":
            raise wrong(condition.text, "asks for what only results of a benchmark have, and these are captures")


def _outcomes(condition: Condition, subjects: Sequence[Subject], noise: NoiseOptions) -> Iterator[Outcome]:
    if not subjects:
        # An empty list would pass: nothing regressed in it.
        raise NotComparableError(
            f"condition '{condition.text}': all that it names is on one side only, so there is no change to hold; "
            "state a bound without sign, or hold the whole run",
            slug="not-comparable",
        )
    judged = [_judge(condition, subject, noise, len(subjects)) for subject in subjects]
    q_values = benjamini_hochberg([p for _, p in judged])
    for (outcome, _), q_value in zip(judged, q_values, strict=True):
        if outcome.status == REGRESSED and q_value is not None and q_value > noise.alpha:
            yield replace(outcome, status=INCONCLUSIVE, reason="one of many: it may be chance")
        else:
            yield outcome


def _with_acceptance(outcome: Outcome, limit: float | None) -> Outcome:
    if limit is None or outcome.low is None or outcome.high is None:
        return outcome
    if outcome.status not in (REGRESSED, INCONCLUSIVE):
        return outcome
    # The accepted figure was measured too: the same program measured again lies above it half of the time.
    within = outcome.low <= limit if outcome.condition.sign == ">" else outcome.high >= limit
    return replace(outcome, status=ACCEPTED, reason="accepted before") if within else outcome


def _subjects(condition: Condition, given: GateInput) -> Iterator[Subject]:
    if condition.scope == "range":
        sides = given.ranges.get(condition.scope_name)
        if sides is None:
            raise wrong(
                condition.text,
                f"names the range {condition.scope_name}, which neither side has; 'nsightkit ranges' lists them",
            )
        names = (_all_names(sides[0]), _all_names(sides[1]))
        yield _subject(condition, f"range {condition.scope_name}", sides, names, given.per_token)
    elif condition.scope == "family":
        yield _family(condition, given)
    elif condition.scope.startswith("kernel"):
        yield from _kernels(condition, given)
    else:
        _refuse_other_work(condition, [given.comparison.whole])
        names = (_all_names(given.sides[0]), _all_names(given.sides[1]))
        yield _subject(condition, "run", given.sides, names, given.per_token)


def _refuse_other_work(condition: Condition, rows: Iterable[Difference]) -> None:
    """Refuse to hold sums of profiled launches that are not the same work on both sides.

    Raises:
        NotComparableError: a row is flagged; the time of a launch may be held where only their number differs.
    """
    if condition.kind == BOUND:
        return
    for row in rows:
        # What has no duration is judged by what the condition names: see _refuse_untimed.
        flags = tuple(flag for flag in row.flags if flag != UNTIMED)
        if flags and not (flags == (OTHER_COUNT,) and condition.metric not in ("total_ns", "launch_count")):
            raise NotComparableError(
                f"condition '{condition.text}': {row.name} is {flags[0]}; profile the same launches on both sides",
                slug="not-comparable",
            )


def _family(condition: Condition, given: GateInput) -> Subject:
    names = tuple(
        tuple(n for n in _all_names(side) if describe_kernel(n).family.lower() == condition.scope_name.lower())
        for side in given.sides
    )
    named = [row for row in given.comparison.families if row.name.lower() == condition.scope_name.lower()]
    _refuse_other_work(condition, named)
    if not any(names):
        known = {family.lower(): family for family in FAMILIES}
        name = condition.scope_name.lower()
        near = [] if name in known else get_close_matches(name, known, 2)
        meant = f"; did you mean {' or '.join(known[name] for name in near)}" if near else ""
        raise wrong(condition.text, f"names a family that neither side has{meant}; families are {', '.join(FAMILIES)}")
    return _subject(condition, f"family {condition.scope_name}", given.sides, (names[0], names[1]), given.per_token)


def _kernels(condition: Condition, given: GateInput) -> Iterator[Subject]:
    pattern = re.compile(condition.scope_name)
    rows = [
        row
        for row in given.comparison.kernels
        if any(pattern.search(text) for n in (*row.base.kernel_names, *row.head.kernel_names) for text in _texts(n))
    ]
    if not rows:
        raise wrong(condition.text, "matches no kernel of either side; 'nsightkit top' lists them")
    _refuse_other_work(condition, rows)
    if condition.scope == "kernels":
        for row in rows:
            # New and gone kernels have no change to hold against; the comparison lists them.
            if row.base.kernel_names and row.head.kernel_names:
                names = (row.base.kernel_names, row.head.kernel_names)
                yield _subject(condition, row.name, given.sides, names, given.per_token)
        return
    base = tuple(name for row in rows for name in row.base.kernel_names)
    head = tuple(name for row in rows for name in row.head.kernel_names)
    yield _subject(condition, f"kernel {condition.scope_name}", given.sides, (base, head), given.per_token)


def _texts(name: str) -> tuple[str, str, str]:
    described = describe_kernel(name)
    return name, described.normal, described.friendly


def _all_names(side: ComparedSide) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for run in side.runs for name in run.kernels))


def _subject(
    condition: Condition,
    words: str,
    sides: tuple[ComparedSide, ComparedSide],
    names: tuple[Sequence[str], Sequence[str]],
    per_token: bool,
) -> Subject:
    _refuse_untimed(condition, words, sides, names)
    samples = [_sample(condition, chosen, side, per_token) for side, chosen in zip(sides, names, strict=True)]
    base, head = samples
    if head is None or (base is None and condition.kind != BOUND):
        missing = sides[1].name if head is None else sides[0].name
        raise NotComparableError(
            f"condition '{condition.text}': {missing} does not have {condition.metric} for {words}; "
            f"{_way_out(condition)}",
            slug="not-comparable",
        )
    return Subject(words, base, head)


def _refuse_untimed(
    condition: Condition,
    words: str,
    sides: tuple[ComparedSide, ComparedSide],
    names: tuple[Sequence[str], Sequence[str]],
) -> None:
    """Refuse to hold a total that lacks launches: it would pass for being cut off.

    Raises:
        NotComparableError: launches of a side have no duration.
    """
    if condition.metric not in TIMES or (condition.metric == "mean_ns" and max(map(len, names)) == 1):
        return
    for side, chosen in zip(sides, names, strict=True):
        found = [run.kernels[name] for run in side.runs for name in chosen if name in run.kernels]
        untimed, launches = (sum(getattr(kernel, key) for kernel in found) for key in ("untimed_count", "launch_count"))
        if untimed:
            raise NotComparableError(
                f"condition '{condition.text}': {untimed} of {launches} launches of {side.name} for {words} have no "
                "duration, so its time is not known; capture it again, or hold mean_ns of one kernel",
                slug="not-comparable",
            )


def _way_out(condition: Condition) -> str:
    if condition.metric == "per_token_ns":
        return "ingest it again with --tokens N"
    if condition.metric in COUNTERS:
        return "profile both sides with ncu and the same sections"
    return "check that the range or kernel runs on both sides"


def _sample(condition: Condition, names: Sequence[str], side: ComparedSide, per_token: bool) -> Sample | None:
    """Return one value a run; None where a run lacks it."""
    import numpy as np

    if not names or not side.runs:
        return None
    divided = condition.metric == "per_token_ns" or (per_token and condition.metric == "total_ns")
    times = sample_of([names], side, divided)
    if condition.metric == "total_ns":
        return times
    if condition.metric == "per_token_ns":
        return times if side.tokens else None
    found = [[run.kernels[name] for name in names if name in run.kernels] for run in side.runs]
    counts = np.array([[float(sum(kernel.launch_count for kernel in kernels))] for kernels in found])
    if condition.metric == "launch_count":
        return Sample(counts / (side.tokens if per_token and side.tokens else 1), np.zeros_like(counts))
    if condition.metric == "mean_ns":
        timed = counts - np.array([[float(sum(kernel.untimed_count for kernel in kernels))] for kernels in found])
        return Sample(times.values / timed, times.launch_variance / timed**2) if timed.all() else None
    values = [[kernel.counters.get(condition.metric) for kernel in kernels] for kernels in found]
    if any(not row or None in row for row in values):
        return None
    weighted = [
        sum((value or 0.0) * kernel.launch_count for value, kernel in zip(row, kernels, strict=True))
        / max(1, sum(kernel.launch_count for kernel in kernels))
        for row, kernels in zip(values, found, strict=True)
    ]
    column = np.array([[value] for value in weighted])
    return Sample(column, np.zeros_like(column))


def _judge(condition: Condition, subject: Subject, noise: NoiseOptions, size: int) -> tuple[Outcome, float | None]:
    """Return the outcome, and the p-value of "the condition is not broken"."""
    change = _change(condition, subject, noise)
    base = None if subject.base is None else float(subject.base.values.mean())
    head = float(subject.head.values.mean())
    relative = condition.kind == RELATIVE
    if change.spread is None:
        shown = math.exp(change.value) if relative else change.value
        runs = min(side.run_count for side in (subject.base, subject.head) if side is not None)
        reason = f"{runs} process run{'s' if runs > 1 else ''} a side: described, not judged; 5 are needed"
        return Outcome(condition, subject.words, INCONCLUSIVE, base, head, shown, None, None, None, reason), None
    half = t_quantile(1 - noise.alpha / 2, change.spread.freedom) * change.spread.error
    bar = math.log(condition.value) if relative else condition.value
    status = _status(condition.sign, change.value - half, change.value + half, bar)
    direction = 1 if condition.sign == ">" else -1
    smallest = bar + direction * smallest_step(change.spread, noise, size)
    figures = [change.value, change.value - half, change.value + half, smallest]
    value, low, high, seen = (math.exp(figure) if relative else figure for figure in figures)
    reason = "" if math.isfinite(half) else "some runs lack it altogether, so its spread is not known"
    outcome = Outcome(condition, subject.words, status, base, head, value, low, high, seen, reason)
    return outcome, _p_value(direction * (change.value - bar), change) if size > 1 else None


def _change(condition: Condition, subject: Subject, noise: NoiseOptions) -> Change:
    if condition.kind != RELATIVE or subject.base is None:
        return estimate_changes(subject.base if condition.kind == DIFFERENCE else None, subject.head, noise)[0]
    change = estimate_log_ratios(subject.base, subject.head, noise)[0]
    if change is None:
        raise NotComparableError(
            f"condition '{condition.text}': {condition.metric} of {subject.words} is zero on one side, so no ratio can "
            "be formed; state an absolute change",
            slug="not-comparable",
        )
    return change


def _status(sign: str, low: float, high: float, bar: float) -> str:
    if sign == ">":
        return REGRESSED if low > bar else PASSED if high <= bar else INCONCLUSIVE
    return REGRESSED if high < bar else PASSED if low >= bar else INCONCLUSIVE


def _p_value(beyond: float, change: Change) -> float | None:
    spread = change.spread
    if spread is None:
        return None
    if spread.error == 0 or not math.isfinite(spread.error):
        return 0.0 if beyond > 0 and spread.error == 0 else 1.0
    return min(1.0, 2 * t_upper(beyond / spread.error, spread.freedom))


def exit_code_of(outcomes: Sequence[Outcome], inconclusive: str | None = None) -> int:
    """Return 0 passed, 1 regressed, 4 inconclusive; `inconclusive` ("pass" or "fail") settles the last."""
    statuses = {outcome.status for outcome in outcomes}
    if REGRESSED in statuses:
        return 1
    if INCONCLUSIVE in statuses:
        return {"pass": 0, "fail": 1}.get(inconclusive or "", 4)
    return 0
