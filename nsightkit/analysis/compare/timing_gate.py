"""Conditions held against results of benchmarks, setting by setting.

In: conditions, and the compared timings of both sides. Out: `Outcome` values, as `gate` makes them of kernels. One file
of results is one process run; its repetitions are the launches of the noise model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nsightkit.analysis.compare.conditions import BOUND, OF_RESULTS, Condition, wrong
from nsightkit.analysis.compare.gate import NotComparableError, Outcome, Subject, hold
from nsightkit.analysis.compare.noise import NoiseOptions, Sample
from nsightkit.analysis.compare.timing_comparison import (
    SETTING,
    TimedComparison,
    TimedDifference,
    sample_of_timings,
    variance_ns2,
)
from nsightkit.analysis.foreign_results import Timing

# What a setting is called by, whether or not it varies: an acceptance must find it again. Tokens are not among them:
# whether they count depends on the other conditions of the call.
_ALWAYS = ("batch", "prompt")


def evaluate_timings(
    conditions: Sequence[Condition], comparison: TimedComparison, noise: NoiseOptions, accepted: Mapping[str, float]
) -> list[Outcome]:
    """Hold every condition against the settings of both sides; without a scope each setting by itself.

    Raises:
        ConditionError: a condition asks for what results do not have, or for a setting that neither side has.
        NotComparableError: only one side has what a condition asks for.
    """
    return hold(conditions, lambda condition: _subjects(condition, comparison), noise, accepted)


def _subjects(condition: Condition, comparison: TimedComparison) -> Iterator[Subject]:
    if condition.metric not in OF_RESULTS:
        raise wrong(condition.text, f"asks for {condition.metric}; results of a benchmark have {', '.join(OF_RESULTS)}")
    rows = [row for row in comparison.rows if _is_meant(condition, row)]
    if not rows:
        raise wrong(condition.text, "names a setting that neither side has; 'nsightkit compare' lists them")
    lacking = [setting_words(row, comparison) for row in rows if row.base and not row.head]
    if lacking:
        # A setting that is no longer timed would pass by its absence.
        raise NotComparableError(
            f"condition '{condition.text}': {comparison.head_name} does not time {'; '.join(lacking[:4])}"
            f"{' …' if len(lacking) > 4 else ''}; time it again, or name the settings with setting:batch=N",
            slug="not-comparable",
        )
    held = [row for row in rows if row.head and (row.base or condition.kind == BOUND)]
    yield from (_subject(condition, row, comparison) for row in held)


def _is_meant(condition: Condition, row: TimedDifference) -> bool:
    if condition.scope == "run":
        return True
    if condition.scope != "setting":
        raise wrong(
            condition.text,
            f"has the scope {condition.scope}, which results of a benchmark do not have; theirs is setting:batch=8",
        )
    return all(dict(row.setting).get(name) == value for name, value in _wanted(condition))


def _wanted(condition: Condition) -> list[tuple[str, str]]:
    wanted = []
    for part in condition.scope_name.split(","):
        name, equals, value = (text.strip() for text in part.partition("="))
        if not equals or name not in SETTING:
            raise wrong(condition.text, f"has no setting '{part}'; write it as setting:batch=8,prompt=128 "
                        f"with {', '.join(SETTING)}")  # fmt: skip
        wanted.append((name, value))
    return wanted


def setting_words(row: TimedDifference, comparison: TimedComparison) -> str:
    """Return what tells one setting from the others, in words."""
    several = {
        name for name in SETTING if len({dict(one.setting).get(name) for one in comparison.rows}) > 1
    } | {*_ALWAYS}  # fmt: skip
    return ", ".join(f"{name} {value}" for name, value in row.setting if name in several) or "all timings"


def _subject(condition: Condition, row: TimedDifference, comparison: TimedComparison) -> Subject:
    words = setting_words(row, comparison)
    base, head = (
        _sample(condition.metric, timings, row.per_token) if timings else None for timings in (row.base, row.head)
    )
    if head is None or (base is None and condition.kind != BOUND):
        missing = comparison.head_name if head is None else comparison.base_name
        raise NotComparableError(
            f"condition '{condition.text}': {missing} does not record {condition.metric} for {words}; leave the "
            "condition out, or time the program with a benchmark that records it",
            slug="not-comparable",
        )
    return Subject(words, base, head)


def _sample(metric: str, timings: Sequence[Timing], per_token: bool) -> Sample | None:
    """Return one value a process run; None where a run does not record the metric."""
    import numpy as np

    if metric in ("total_ns", "per_token_ns"):
        return sample_of_timings(timings, per_token or metric == "per_token_ns")
    if metric == "tokens_per_s":
        rates = np.array([[timing.tokens_per_s_aggregate] for timing in timings])
        # To first order the relative variance of a rate is that of its time.
        relative = [[variance_ns2(timing, False) / (timing.decode_ms * 1e6) ** 2] for timing in timings]
        return Sample(rates, np.array(relative) * rates**2)
    values = [_other(metric, timing) for timing in timings]
    if None in values:
        return None
    column = np.array([[value] for value in values], dtype=float)
    return Sample(column, np.zeros_like(column))


def _other(metric: str, timing: Timing) -> float | None:
    if metric == "peak_bytes":
        return timing.peak_bytes
    return None if timing.prefill_ms is None else timing.prefill_ms * 1e6
