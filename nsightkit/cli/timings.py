"""What ``nsightkit compare`` does where the sides are results of benchmarks: timings side by side.

In: the sides and what the command line asked for. Out: text or rows on stdout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click

from nsightkit.analysis.compare.comparability import SAME, UNKNOWN, Check, agreed, refusals
from nsightkit.analysis.compare.comparison import CompareOptions
from nsightkit.analysis.compare.gate import NotComparableError
from nsightkit.analysis.compare.timing_comparison import (
    SETTING,
    TimedComparison,
    TimedDifference,
    TimedSide,
    compare_timings,
)
from nsightkit.analysis.foreign_results import Timing
from nsightkit.cli.output import Field, Row, emit, note, paragraph
from nsightkit.cli.side_names import side_names
from nsightkit.cli.timed_sides import timed_side
from nsightkit.errors import AnalysisError
from nsightkit.report import format as fmt

_CHECKS = (
    Field("name", "comparability"), Field("base", "base"), Field("head", "head"), Field("status", "status"),
    Field("message", "remark"),
)  # fmt: skip
_FLAGS = (Field("rule", "unfairness"), Field("subject", "where"), Field("text", "proof"))
TIMES_ONLY = (
    "Results hold timings and no kernels: they do not say what the difference is made of. Profile both "
    "programs with nsys and compare the captures"
)


def timed_sides(arguments: Sequence[str], baselines: Path) -> list[TimedSide] | None:
    """Return the sides where all of them are results of benchmarks, None where none is.

    Raises:
        NotComparableError: only some are.
    """
    sides = {argument: timed_side(argument, baselines) for argument in arguments}
    found = [side for side in sides.values() if side is not None]
    if found and len(found) < len(sides):
        other = next(argument for argument, side in sides.items() if side is None)
        raise NotComparableError(
            f"{found[0].name} holds timings of a benchmark and {other} does not; compare results with results, and "
            "captures with captures",
            slug="not-comparable",
        )
    names = dict(zip(arguments, side_names(arguments), strict=True))
    return [replace(side, name=names[a]) for a in arguments if (side := sides[a]) is not None] or None


def compare_results(
    sides: Sequence[TimedSide], options: CompareOptions, varies: Sequence[str], format_: str
) -> list[TimedComparison]:
    """Compare each side with the first, print it, and return what was compared.

    Raises:
        NotComparableError: two sides must not be compared.
    """
    made = [compared_timings(sides[0], head, options, varies) for head in sides[1:]]
    if format_ in ("table", "markdown"):
        for comparison in made:
            _show(comparison, format_)
        return made
    rows = [timing_row(row, comparison) for comparison in made for row in comparison.rows]
    for row in rows[:1]:
        row["flags"] = [f"{flag.rule}: {flag.subject}: {flag.text}" for flag in made[0].flags]
    emit([replace(field, shown=True) for field in timing_fields(made[0])], rows, format_)
    return made


def refuse_ranges(names: Sequence[str]) -> None:
    """Refuse the choice of a range.

    Raises:
        AnalysisError: one was chosen.
    """
    if names:
        raise AnalysisError(
            f"results of a benchmark hold no NVTX range '{names[0]}'; leave it out, or compare captures",
            slug="no-such-range",
        )


def compared_timings(
    base: TimedSide, head: TimedSide, options: CompareOptions, varies: Sequence[str]
) -> TimedComparison:
    """Return the comparison of two sides.

    Raises:
        NotComparableError: something must not differ and does.
    """
    comparison = compare_timings(base, head, options, varies)
    refused = refusals(comparison.checks)
    if refused:
        reasons = "\n".join(f"  {reason}" for reason in refused)
        raise NotComparableError(f"{base.name} and {head.name} cannot be compared:\n{reasons}", slug="not-comparable")
    return comparison


def timing_fields(comparison: TimedComparison) -> list[Field]:
    """Return the columns; what is the same on all lines is said above them."""
    judged = any(row.verdict for row in comparison.rows)
    several = {name for name in SETTING if len({dict(row.setting).get(name) for row in comparison.rows}) > 1}
    unit = "a token" if comparison.options.per_token else "all tokens"
    prefill = any(t.prefill_ms is not None for row in comparison.rows for t in (*row.base, *row.head))
    return [
        Field("head_name", "compared", shown=False),
        *(Field(name, name, shown=name in several) for name in SETTING),
        Field("base_runs", "runs, base", "count", shown=judged),
        Field("head_runs", "head", "count", shown=judged),
        Field("base_ns", f"{unit}, base", "ns"),
        Field("head_ns", "head", "ns"),
        Field("difference_ns", "difference", "ns"),
        Field("ratio", "ratio", "×"),
        Field("speedup", "times as fast", "×"),
        Field("ratio_low", "from", "×", shown=judged),
        Field("ratio_high", "to", "×", shown=judged),
        Field("smallest_ratio", "could have seen", "×", shown=judged),
        Field("verdict", "verdict", shown=judged),
        Field("base_step_ns", "a step, base", "ns"),
        Field("head_step_ns", "head", "ns"),
        Field("base_prefill_ns", "prefill, base", "ns", shown=prefill),
        Field("head_prefill_ns", "head", "ns", shown=prefill),
        Field("base_tokens_per_s", "tokens/s in all, base", ""),
        Field("head_tokens_per_s", "head", ""),
        Field("base_peak_bytes", "peak memory, base", "byte"),
        Field("head_peak_bytes", "head", "byte"),
        *(Field(name, name, shown=False) for name in ("q_value", "base_sources", "head_sources", "checks", "flags")),
    ]


def timing_row(row: TimedDifference, comparison: TimedComparison) -> Row:
    """Return one setting with exact values."""
    estimate = row.estimate
    ratio = estimate.ratio
    sides = {"base": row.base, "head": row.head}
    return {
        "head_name": comparison.head_name,
        **dict.fromkeys(SETTING),
        **dict(row.setting),
        "base_ns": row.base_ns,
        "head_ns": row.head_ns,
        "difference_ns": row.difference_ns,
        "ratio": ratio,
        "speedup": 1 / ratio if ratio else None,
        "ratio_low": estimate.low,
        "ratio_high": estimate.high,
        "smallest_ratio": estimate.smallest_ratio,
        "verdict": row.verdict,
        **{f"{side}_{key}": value for side, timings in sides.items() for key, value in _values(timings).items()},
        "q_value": row.q_value,
        "checks": [check_row(check) for check in comparison.checks],
        "flags": [],
    }


def _values(timings: Sequence[Timing]) -> dict[str, Any]:
    prefill, peak = _mean([t.prefill_ms for t in timings]), _mean([t.peak_bytes for t in timings])
    step = _mean([t.ms_per_token for t in timings])
    return {
        "runs": len(timings),
        "step_ns": None if step is None else step * 1e6,
        "prefill_ns": None if prefill is None else prefill * 1e6,
        "tokens_per_s": _mean([t.tokens_per_s_aggregate for t in timings]),
        "peak_bytes": peak,
        "sources": [t.source for t in timings],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def check_row(check: Check) -> Row:
    """Return a line of the list of comparability as a row."""
    return {name: getattr(check, name) for name in ("name", "base", "head", "status", "message")}


def timing_summary(comparison: TimedComparison) -> str:
    """Return what changed, and whether it is judged."""
    rows = comparison.compared
    ratios = [row.estimate.ratio for row in rows if row.estimate.ratio]
    if set(ratios) == {1.0}:
        sentence = f"{comparison.head_name} takes the time of {comparison.base_name} in {_settings(len(rows))}"
    elif len(rows) == 1:
        row = rows[0]
        one = "a token" if comparison.options.per_token else f"{fmt.count(row.head[0].new_tokens)} tokens"
        sentence = (
            f"{comparison.head_name} takes {fmt.duration(row.head_ns)} for {one}, {comparison.base_name} "
            f"{fmt.duration(row.base_ns)}: {ratios[0]:.3g}×, {1 / ratios[0]:.3g} times as fast"
        )
    else:
        sentence = (
            f"{_settings(len(rows))}: {comparison.head_name} takes {min(ratios):.3g} to {max(ratios):.3g}× the time of "
            f"{comparison.base_name}, {1 / max(ratios):.3g} to {1 / min(ratios):.3g} times as fast"
        )
    return f"{sentence}. {_verdict_words(comparison)}"


def _settings(count: int) -> str:
    return f"{fmt.count(count)} setting{'' if count == 1 else 's'}"


def _verdict_words(comparison: TimedComparison) -> str:
    words = [row.verdict for row in comparison.compared if row.verdict]
    if words:
        counted = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        rest = len(comparison.compared) - len(words)
        return f"Verdicts: {counted}" + (f"; {rest} described, not judged." if rest else ".")
    least = min(min(len(row.base), len(row.head)) for row in comparison.compared)
    runs = f"{least} process run{'' if least == 1 else 's'} a side and setting"
    return f"Described, not judged ({runs}; a verdict needs 5)."


def _show(comparison: TimedComparison, format_: str) -> None:
    title = f"{comparison.base_name} (base) against {comparison.head_name} (head)"
    same = agreed(comparison.checks)
    unknown = [check.name for check in comparison.checks if check.status == UNKNOWN]
    said = [f"same: {'; '.join(same)}"] if same else []
    said += [f"not known: {', '.join(unknown)}"] if unknown else []
    differing = [check_row(check) for check in comparison.checks if check.status not in (SAME, UNKNOWN)]
    if differing:
        emit(_CHECKS, differing, format_, caption=f"{title}: {'. '.join(said)}")
        click.echo()
    else:
        paragraph(f"{title}: {'. '.join(said)}", format_)
    paragraph(timing_summary(comparison), format_)
    emit(timing_fields(comparison), [timing_row(row, comparison) for row in comparison.rows], format_)
    if comparison.flags:
        click.echo()
        rows = [{"rule": flag.rule, "subject": flag.subject, "text": flag.text} for flag in comparison.flags]
        emit(_FLAGS, rows, format_, caption="What would mislead")
    note(TIMES_ONLY)
