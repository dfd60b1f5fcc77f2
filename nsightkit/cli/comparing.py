"""What ``compare``, ``gate`` and ``baseline`` share: options, the check of comparability, rows for the printer.

In: loaded sides and comparisons. Out: rows with exact values, and sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from nsightkit.analysis.compare.comparability import (
    SAME,
    UNKNOWN,
    Allowances,
    Check,
    agreed,
    check_comparable,
    worded,
)
from nsightkit.analysis.compare.comparability import refusals as refused_by
from nsightkit.analysis.compare.comparison import KERNEL, CompareOptions, Comparison, Difference, compare_runs
from nsightkit.analysis.compare.diagnosis import (
    counters_of,
    diagnose,
)
from nsightkit.analysis.compare.gate import NotComparableError
from nsightkit.analysis.compare.matching import GONE, NEW
from nsightkit.cli.compare_pages import ComparedHead, kernel_pages, timed_pages, write_pages
from nsightkit.cli.compare_words import dominant_rows, summary
from nsightkit.cli.output import Field, Row, emit, note, paragraph
from nsightkit.cli.side_places import placed
from nsightkit.cli.sides import LoadedSide, load_side, named_apart
from nsightkit.cli.timings import check_row, compare_results, refuse_ranges, timed_sides
from nsightkit.errors import AnalysisError

CHECK_FIELDS = (
    Field("name", "comparability"),
    Field("base", "base"),
    Field("head", "head"),
    Field("status", "status"),
    Field("message", "remark"),
)
DOMINANT_FIELDS = (Field("fact", "fact"), Field("base", "base"), Field("head", "head"))


def checked(base: LoadedSide, head: LoadedSide, varies: Sequence[str], per_token: bool) -> list[Check]:
    """Return the list of checks.

    Raises:
        NotComparableError: something must not differ and does.
    """
    checks = check_comparable(base.facts, head.facts, Allowances(varies, per_token))
    refused = refused_by(checks)
    if refused:
        reasons = "\n".join(f"  {reason}" for reason in refused)
        raise NotComparableError(f"{base.name} and {head.name} cannot be compared:\n{reasons}", slug="not-comparable")
    return checks


def check_rows(checks: Sequence[Check]) -> list[Row]:
    """Return the checks that a reader must see: all but what is the same or not known."""
    return [check_row(check) for check in checks if check.status not in (SAME, UNKNOWN)]


def check_sentence(checks: Sequence[Check]) -> str:
    """Return which facts are the same and which are not known."""
    same = agreed(checks)
    unknown = [check.name for check in checks if check.status == UNKNOWN]
    parts = [f"same: {'; '.join(same)}"] if same else []
    parts += [f"Not known on a side: {', '.join(unknown)}"] if unknown else []
    return ". ".join(parts)


def difference_fields(comparison: Comparison) -> list[Field]:
    """Return the columns of a comparison; intervals and verdicts are shown where something was judged."""
    judged = any(row.estimate.low is not None for row in comparison.rows)
    confident = any(row.confidence < 1 for row in comparison.kernels)
    return [
        Field("head_name", "compared", shown=False),
        Field("level", "level", shown=False),
        Field("name", "what"),
        Field("how", "match"),
        Field("confidence", "confidence", "1", shown=confident),
        Field("base_launches", worded("launches, base", comparison.basis), "count"),
        Field("head_launches", "head", "count"),
        Field("base_mean_ns", worded("per launch, base", comparison.basis), "ns"),
        Field("head_mean_ns", "head", "ns"),
        Field("base_total_ns", "total, base", "ns"),
        Field("head_total_ns", "head", "ns"),
        Field("base_per_token_ns", "per token, base", "ns", shown=comparison.options.per_token),
        Field("head_per_token_ns", "head", "ns", shown=comparison.options.per_token),
        Field("difference_ns", "difference", "ns"),
        Field("ratio", "ratio", "×"),
        Field("ratio_low", "from", "×", shown=judged),
        Field("ratio_high", "to", "×", shown=judged),
        Field("smallest_ratio", "could have seen", "×", shown=judged),
        Field("verdict", "verdict", shown=judged),
        Field("diagnosis", "why"),
        *(Field(name, name, shown=False) for name in _HIDDEN),
    ]


_HIDDEN = (
    "family", "base_kernels", "head_kernels", "base_runs", "head_runs", "q_value", "launches_effect_ns",
    "time_effect_ns", "counters", "grounds", "flags", "checks",
)  # fmt: skip


def difference_row(row: Difference, comparison: Comparison) -> Row:
    """Return one line of a comparison with exact values."""
    estimate = row.estimate
    return {
        "head_name": comparison.head_name,
        "level": row.level,
        "name": row.name,
        "how": row.how,
        "confidence": row.confidence,
        **{
            f"{side}_{key}": value
            for side, values in (("base", row.base), ("head", row.head))
            for key, value in (
                ("launches", values.launch_count),
                ("mean_ns", values.mean_ns),
                ("total_ns", None if values.is_unmeasured else values.total_ns),
                ("per_token_ns", None if values.is_unmeasured else values.per_token_ns),
                ("kernels", list(values.kernel_names) if row.level == KERNEL else []),
                ("runs", values.run_count),
            )
        },
        "difference_ns": None if row.base.is_unmeasured or row.head.is_unmeasured else row.difference_ns,
        "ratio": estimate.ratio,
        "ratio_low": estimate.low,
        "ratio_high": estimate.high,
        "smallest_ratio": estimate.smallest_ratio,
        "verdict": row.verdict,
        "diagnosis": diagnose(row),
        "family": row.family,
        "q_value": row.q_value,
        "launches_effect_ns": row.launches_effect_ns,
        "time_effect_ns": row.time_effect_ns,
        "counters": {metric: list(pair) for metric, pair in counters_of(row).items()},
        "grounds": list(row.grounds),
        "flags": list(row.flags),
        "checks": [],
    }


def shortened(kernels: Sequence[Difference], limit: int) -> tuple[list[Difference], list[Difference]]:
    """Return the kernels to show and the rest; new, gone and judged changes are always shown."""
    if not limit:
        return list(kernels), []
    shown = [
        row
        for at, row in enumerate(kernels)
        if at < limit or row.how in (NEW, GONE) or row.verdict in ("slower", "faster")
    ]
    return shown, [row for row in kernels if row not in shown]


def whole_row(comparison: Comparison, checks: Sequence[Check]) -> Row:
    """Return the line of the whole run, with all checks for the machine formats."""
    return {**difference_row(comparison.whole, comparison), "checks": [check_row(check) for check in checks]}


def rest_row(rest: Sequence[Difference], comparison: Comparison) -> dict[str, Any]:
    """Return one line for the kernels that are not shown, so that the column still adds up."""
    return {
        "name": worded(f"{len(rest)} other kernels", comparison.basis),
        "base_launches": sum(row.base.launch_count for row in rest),
        "head_launches": sum(row.head.launch_count for row in rest),
        "base_total_ns": sum(row.base.total_ns for row in rest),
        "head_total_ns": sum(row.head.total_ns for row in rest),
        "difference_ns": sum(row.difference_ns for row in rest),
    }


@dataclass(frozen=True)
class CompareRequest:
    """What the command line asked for."""

    baselines: Path
    varies: Sequence[str]
    options: CompareOptions
    range_name: str | None
    phases: Sequence[str]
    limit: int
    format_: str
    output: Path | None = None


def compare_and_print(base: str, heads: Sequence[str], request: CompareRequest) -> None:
    """Compare each of `heads` with `base` and print it.

    Raises:
        NotComparableError: two sides must not be compared.
    """
    ranges = (*((request.range_name,) if request.range_name else ()), *request.phases)
    timed = timed_sides([base, *heads], request.baselines)
    if timed is not None:
        refuse_ranges(ranges)
        made = compare_results(timed, request.options, request.varies, request.format_)
        write_pages(request.output, lambda: timed_pages(made))
        return
    loaded = [load_side(side, request.baselines, ranges) for side in (base, *heads)]
    first, *others = named_apart(loaded, (base, *heads))
    compared = [_compared(first, other, request) for other in others]
    # Before the lines: a reader of the first few of them may close the pipe.
    write_pages(request.output, lambda: kernel_pages(first, compared))
    if request.format_ in ("table", "markdown"):
        for one in compared:
            _show(one.comparison, one.phases, one.checks, request)
    else:
        fields = [replace(field, shown=True) for field in difference_fields(compared[-1].comparison)]
        emit(fields, [row for one in compared for row in _machine_rows(one)], request.format_)


def _compared(first: LoadedSide, second: LoadedSide, request: CompareRequest) -> ComparedHead:
    checks = checked(first, second, request.varies, request.options.per_token)
    comparison = compare_sides(first, second, request.options, request.range_name)
    phases = [_phase(first, second, request.options, name) for name in request.phases]
    return ComparedHead(second, comparison, checks, phases, summary(comparison))


def _machine_rows(one: ComparedHead) -> list[Row]:
    details = (*one.phases, *one.comparison.families, *one.comparison.kernels)
    return [whole_row(one.comparison, one.checks), *(difference_row(row, one.comparison) for row in details)]


def compare_sides(
    base: LoadedSide, head: LoadedSide, options: CompareOptions, range_name: str | None = None
) -> Comparison:
    """Compare two loaded sides, whole or within one NVTX range.

    Raises:
        AnalysisError: a side has no kernel in the range.
    """
    if range_name is not None:
        for side in (base, head):
            if not side.has_range(range_name):
                raise AnalysisError(
                    f"{side.name}: no kernel was launched within an NVTX range '{range_name}'; "
                    "'nsightkit ranges' lists them",
                    slug="no-such-range",
                )
    old, new = placed(base, head)
    found = compare_runs(old.compared(range_name), new.compared(range_name), options)
    scope = (f"only kernels launched inside {range_name}",) if range_name else ()
    return replace(found, notes=(*scope, *found.notes))


def _phase(base: LoadedSide, head: LoadedSide, options: CompareOptions, name: str) -> Difference:
    """Return the whole of one NVTX range as a line; ranges may overlap, so these lines need not add up.

    A range of one side alone is a line too: a program may have a phase that the other does not.
    """
    if not (base.has_range(name) or head.has_range(name)):
        compare_sides(base, head, options, name)
    made = compare_runs(base.compared(name), head.compared(name), options)
    return replace(made.whole, level="phase", name=f"range {name}")


def _show(
    comparison: Comparison, phases: Sequence[Difference], checks: Sequence[Check], request: CompareRequest
) -> None:
    format_, limit = request.format_, request.limit
    title = f"{comparison.base_name} (base) against {comparison.head_name} (head)"
    rows = check_rows(checks)
    if rows:
        emit(CHECK_FIELDS, rows, format_, caption=f"{title}: {check_sentence(checks)}")
    else:
        paragraph(f"{title}: {check_sentence(checks)}", format_)
    paragraph(summary(comparison), format_)
    for text in comparison.notes:
        paragraph(f"Note: {text}.", format_)
    fields = difference_fields(comparison)
    details = [difference_row(row, comparison) for row in (*phases, *comparison.families)]
    groups = ["Whole run", *(["phases"] if phases else []), *(["families"] if comparison.families else [])]
    caption = " and ".join(part for part in (", ".join(groups[:-1]), groups[-1]) if part)
    emit(fields, [whole_row(comparison, checks), *details], format_, caption=caption)
    said, facts = dominant_rows(comparison)
    if facts:
        click.echo()
        emit(DOMINANT_FIELDS, facts, format_, caption=said)
    shown, rest = shortened(comparison.kernels, limit)
    lines = [difference_row(row, comparison) for row in shown]
    click.echo()
    emit(
        fields,
        [*lines, *([rest_row(rest, comparison)] if rest else [])],
        format_,
        caption=worded("Kernels", comparison.basis),
    )
    if rest:
        note(worded(f"{len(rest)} kernels are summed up in the last line; --limit 0 shows all", comparison.basis))
