"""Conditions that a change must meet, as in ``total_ns > +3%``: parsed, and held against two sides.

In: the text of conditions, and the process runs of base and head. Out: `Outcome` values: passed, regressed,
inconclusive, or accepted. A condition that cannot be understood raises ConditionError, which is wrong usage.

    [SCOPE.]METRIC > VALUE      SCOPE: RANGE, range:RANGE, family:FAMILY, kernel:REGEX (together), kernels:REGEX (each)
    VALUE: +3% or -3% (change), +5ms (change in the unit of the metric), 20ms (bound on head)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nsightkit.analysis.compare.comparison import ComparedSide, Comparison, sample_of
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
from nsightkit.analysis.grouping import COUNTERS
from nsightkit.analysis.kernel_names import FAMILIES, describe_kernel
from nsightkit.errors import AnalysisError

PASSED, REGRESSED, INCONCLUSIVE, ACCEPTED = "passed", "regressed", "inconclusive", "accepted"
TIMES = ("total_ns", "per_token_ns", "mean_ns")
METRICS = (*TIMES, "launch_count", *COUNTERS)
RELATIVE, DIFFERENCE, BOUND = "relative", "difference", "bound"
_TIME_UNITS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_BYTE_UNITS = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_CONDITION = re.compile(r"^(?:(?P<scope>.+)\.)?(?P<metric>[a-z0-9_]+)\s*(?P<sign>[<>])\s*(?P<value>[^<>=]+)$", re.S)
_VALUE = re.compile(r"^(?P<plus>[+-]?)(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*(?P<unit>%|[a-zA-Zµ]*)$")


class ConditionError(AnalysisError):
    """A condition cannot be understood or names what neither side has: wrong usage."""

    exit_code = 2


class NotComparableError(AnalysisError):
    """The two sides must not be compared."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``--fail-on``: fails where METRIC of SCOPE lies beyond `value` on the side that `sign` names."""

    text: str
    scope: str  # run, range, family, kernel or kernels
    scope_name: str
    metric: str
    sign: str  # > or <
    kind: str  # RELATIVE, DIFFERENCE or BOUND
    value: float  # a ratio for RELATIVE (1.03), else base units


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


def parse_condition(text: str) -> Condition:
    """Return the condition that `text` states.

    Raises:
        ConditionError: it has no such form, an unknown metric, or a value that is no finite number.
    """
    found = _CONDITION.match(text.strip())
    if not found:
        raise _wrong(text, "is no condition; write it as 'total_ns > +3%' or 'decode.per_token_ns > +2%'")
    metric = found["metric"]
    if metric not in METRICS:
        raise _wrong(
            text, f"has the unknown metric {metric}; known are {', '.join((*TIMES, 'launch_count'))} and counters"
        )
    scope, name = _scope(text, found["scope"])
    kind, value = _value(text, metric, found["value"].strip())
    return Condition(text.strip(), scope, name, metric, found["sign"], kind, value)


def _wrong(text: str, why: str) -> ConditionError:
    return ConditionError(f"condition '{text}' {why}", slug="bad-condition")


def _scope(text: str, scope: str | None) -> tuple[str, str]:
    if scope is None or scope == "run":
        return "run", ""
    kind, colon, name = scope.partition(":")
    if not colon:
        return "range", scope
    if kind not in ("range", "family", "kernel", "kernels") or not name:
        raise _wrong(text, f"has the unknown scope {kind}; known are range:, family:, kernel: and kernels:")
    if kind.startswith("kernel"):
        try:
            re.compile(name)
        except re.error as error:
            raise _wrong(text, f"has no valid regular expression ({error})") from None
    return kind, name


def _value(text: str, metric: str, value: str) -> tuple[str, float]:
    found = _VALUE.match(value)
    if not found or not math.isfinite(float(found["number"])):
        raise _wrong(text, f"has the value '{value}', which is no finite number")
    number = float(found["plus"] + found["number"])
    if found["unit"] == "%" and not metric.endswith("_pct"):
        if not found["plus"]:
            raise _wrong(text, f"is not clear: write +{value} for a change by {value}")
        if number <= -100:
            raise _wrong(text, "asks for a change by -100 % or more, which no measurement can show")
        return RELATIVE, 1 + number / 100
    units = {**(_TIME_UNITS if metric.endswith("_ns") else {}), **(_BYTE_UNITS if metric.endswith("_bytes") else {})}
    if found["unit"] == "%" and found["plus"]:
        return RELATIVE, 1 + number / 100
    if found["unit"] and found["unit"] != "%" and found["unit"] not in units:
        raise _wrong(text, f"has the unknown unit {found['unit']} for {metric}")
    scaled = number * units.get(found["unit"], 1.0)
    return (DIFFERENCE if found["plus"] else BOUND), scaled


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
    return [outcome for condition in conditions for outcome in _outcomes(condition, given, accepted)]


def _outcomes(condition: Condition, given: GateInput, accepted: Mapping[str, float]) -> Iterator[Outcome]:
    subjects = list(_subjects(condition, given))
    judged = [_judge(condition, subject, given.noise, len(subjects)) for subject in subjects]
    q_values = benjamini_hochberg([p for _, p in judged])
    for (outcome, _), q_value in zip(judged, q_values, strict=True):
        settled = outcome
        if outcome.status == REGRESSED and q_value is not None and q_value > given.noise.alpha:
            settled = replace(outcome, status=INCONCLUSIVE, reason="one of many kernels: it may be chance")
        yield _with_acceptance(settled, accepted.get(f"{condition.text} [{outcome.subject}]"))


def _with_acceptance(outcome: Outcome, limit: float | None) -> Outcome:
    if limit is None or outcome.status not in (REGRESSED, INCONCLUSIVE):
        return outcome
    within = outcome.change <= limit if outcome.condition.sign == ">" else outcome.change >= limit
    return replace(outcome, status=ACCEPTED, reason="accepted before") if within else outcome


@dataclass(frozen=True)
class _Subject:
    words: str
    base: Sample | None
    head: Sample


def _subjects(condition: Condition, given: GateInput) -> Iterator[_Subject]:
    if condition.scope == "range":
        sides = given.ranges.get(condition.scope_name)
        if sides is None:
            raise _wrong(condition.text, f"names the range {condition.scope_name}, which neither side has")
        names = (_all_names(sides[0]), _all_names(sides[1]))
        yield _subject(condition, f"range {condition.scope_name}", sides, names, given.per_token)
    elif condition.scope == "family":
        yield _family(condition, given)
    elif condition.scope.startswith("kernel"):
        yield from _kernels(condition, given)
    else:
        names = (_all_names(given.sides[0]), _all_names(given.sides[1]))
        yield _subject(condition, "run", given.sides, names, given.per_token)


def _family(condition: Condition, given: GateInput) -> _Subject:
    names = tuple(
        tuple(n for n in _all_names(side) if describe_kernel(n).family.lower() == condition.scope_name.lower())
        for side in given.sides
    )
    if not any(names):
        raise _wrong(condition.text, f"names a family that neither side has; families are {', '.join(FAMILIES)}")
    return _subject(condition, f"family {condition.scope_name}", given.sides, (names[0], names[1]), given.per_token)


def _kernels(condition: Condition, given: GateInput) -> Iterator[_Subject]:
    pattern = re.compile(condition.scope_name)
    rows = [
        row
        for row in given.comparison.kernels
        if any(pattern.search(text) for n in (*row.base.kernel_names, *row.head.kernel_names) for text in _texts(n))
    ]
    if not rows:
        raise _wrong(condition.text, "matches no kernel of either side; 'nsightkit top' lists them")
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
) -> _Subject:
    samples = [_sample(condition, chosen, side, per_token) for side, chosen in zip(sides, names, strict=True)]
    base, head = samples
    if head is None or (base is None and condition.kind != BOUND):
        missing = sides[1].name if head is None else sides[0].name
        raise NotComparableError(
            f"condition '{condition.text}': {missing} does not have {condition.metric} for {words}; "
            f"{_way_out(condition)}",
            slug="not-comparable",
        )
    return _Subject(words, base, head)


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
        return Sample(times.values / counts, times.launch_variance / counts**2) if counts.all() else None
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


def _judge(condition: Condition, subject: _Subject, noise: NoiseOptions, size: int) -> tuple[Outcome, float | None]:
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
    outcome = Outcome(condition, subject.words, status, base, head, value, low, high, seen)
    return outcome, _p_value(direction * (change.value - bar), change) if size > 1 else None


def _change(condition: Condition, subject: _Subject, noise: NoiseOptions) -> Change:
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
