"""What ``nsightkit gate`` does: loads both sides, holds the conditions against them, prints, records acceptance.

In: what the command line asked for. Out: text and the exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from nsightkit.analysis.compare.comparison import CompareOptions, Comparison
from nsightkit.analysis.compare.gate import (
    INCONCLUSIVE,
    REGRESSED,
    RELATIVE,
    Condition,
    GateInput,
    NotComparableError,
    Outcome,
    evaluate,
    exit_code_of,
    parse_condition,
)
from nsightkit.analysis.compare.noise import NoiseOptions
from nsightkit.baseline import Acceptance, accept_regressions, now_utc, read_baseline
from nsightkit.cli.comparing import checked, compare_sides, summary
from nsightkit.cli.output import Field, Row, emit, note
from nsightkit.cli.sides import LoadedSide, load_side
from nsightkit.errors import IngestError
from nsightkit.report import format as fmt
from nsightkit.tables import unit_of

FIELDS = (
    Field("condition", "fail on"),
    Field("subject", "of"),
    Field("status", "status"),
    Field("base_text", "base"),
    Field("head_text", "head"),
    Field("change_text", "change"),
    Field("interval_text", "95 % interval"),
    Field("smallest_text", "could have seen"),
    Field("reason", "remark"),
)
_EXACT = ("condition", "subject", "status", "base", "head", "change", "low", "high", "smallest", "reason")
_MACHINE_FIELDS = tuple(Field(name, name) for name in _EXACT)


@dataclass(frozen=True)
class GateRequest:
    """What the command line asked for."""

    texts: Sequence[str]
    inconclusive: str | None
    reason: str | None
    varies: Sequence[str]
    per_token: bool
    baselines: Path
    format_: str


def hold_and_print(base: str, head: str, request: GateRequest) -> int:
    """Hold the conditions against both sides, print the outcomes, and return the exit code.

    Raises:
        ConditionError: a condition cannot be understood.
        NotComparableError: the sides must not be compared.
    """
    conditions = [parse_condition(text) for text in request.texts]
    ranges = sorted({condition.scope_name for condition in conditions if condition.scope == "range"})
    sides = _loaded(base, request, ranges), _loaded(head, request, ranges)
    if request.reason is not None and (not request.reason.strip() or sides[0].baseline is None):
        raise click.UsageError("--accept needs a reason, and a stored baseline as BASE to record it in")
    # Totals of other numbers of tokens may stand beside each other only if none of them is held against the other.
    per_token = request.per_token or all(condition.metric == "per_token_ns" for condition in conditions)
    noise = NoiseOptions()
    try:
        checked(*sides, request.varies, per_token)
        comparison = compare_sides(*sides, CompareOptions(noise, request.per_token))
        given = replace(_input(sides, comparison, ranges, noise), per_token=request.per_token)
        outcomes = evaluate(conditions, given, _accepted(sides[0]))
    except NotComparableError as error:
        _emit([_refused(condition, error) for condition in conditions], request.format_, "")
        raise
    _emit([_row(outcome) for outcome in outcomes], request.format_, summary(comparison))
    if request.reason is not None and sides[0].baseline is not None:
        accepted = _accept(sides[0].baseline, outcomes, request.reason, sides[1].name)
        outcomes = [outcome for outcome in outcomes if outcome not in accepted]
    return exit_code_of(outcomes, request.inconclusive)


def _loaded(name: str, request: GateRequest, ranges: Sequence[str]) -> LoadedSide:
    """Return a side; one that cannot be read is not comparable, since exit code 1 means that it regressed."""
    try:
        return load_side(name, request.baselines, ranges)
    except IngestError as error:
        raise NotComparableError(str(error), slug=error.slug) from None


def _input(
    sides: tuple[LoadedSide, LoadedSide], comparison: Comparison, ranges: Sequence[str], noise: NoiseOptions
) -> GateInput:
    found = {}
    for name in ranges:
        present = [side.has_range(name) for side in sides]
        if all(present):
            found[name] = (sides[0].compared(name), sides[1].compared(name))
        elif any(present):
            lacking = sides[present.index(False)].name
            raise NotComparableError(
                f"{lacking}: no kernel was launched within an NVTX range '{name}', which the other side has; capture "
                "NVTX on both sides (and save a baseline with --range)",
                slug="not-comparable",
            )
    return GateInput((sides[0].compared(), sides[1].compared()), comparison, found, noise)


def _accepted(side: LoadedSide) -> dict[str, float]:
    if side.baseline is None:
        return {}
    return {item.condition: item.change for item in read_baseline(side.baseline).accepted}


def _accept(path: Path, outcomes: Sequence[Outcome], reason: str, head: str) -> list[Outcome]:
    failed = [outcome for outcome in outcomes if outcome.status == REGRESSED]
    if not failed:
        note("nothing regressed: nothing to accept")
        return []
    when = now_utc()
    accept_regressions(
        path,
        [Acceptance(f"{item.condition.text} [{item.subject}]", item.change, reason, when, head) for item in failed],
    )
    note(f"{len(failed)} regressions recorded as accepted in {path}: {reason}")
    return failed


def _refused(condition: Condition, error: NotComparableError) -> Row:
    return {"condition": condition.text, "status": "not comparable", "reason": str(error)}


def _row(outcome: Outcome) -> Row:
    return {
        "condition": outcome.condition.text,
        **{name: getattr(outcome, name) for name in _EXACT if name != "condition"},
        "base_text": _value(outcome, outcome.base),
        "head_text": _value(outcome, outcome.head),
        "change_text": _change(outcome, outcome.change),
        "interval_text": ""
        if outcome.low is None or outcome.high is None
        else f"{_change(outcome, outcome.low)} to {_change(outcome, outcome.high)}",
        "smallest_text": "" if outcome.smallest is None else _change(outcome, outcome.smallest),
    }


def _value(outcome: Outcome, value: float | None) -> str:
    metric = outcome.condition.metric
    return (
        fmt.MISSING if value is None else fmt.with_unit(value, "count" if metric == "launch_count" else unit_of(metric))
    )


def _change(outcome: Outcome, value: float) -> str:
    if outcome.condition.kind == RELATIVE:
        return f"{(value - 1) * 100:+.2f} %"
    return _value(outcome, value)


def _emit(rows: Sequence[Row], format_: str, caption: str) -> None:
    machine = format_ not in ("table", "markdown")
    emit(_MACHINE_FIELDS if machine else FIELDS, rows, format_, caption)
    if not machine and any(row["status"] == INCONCLUSIVE for row in rows):
        note("inconclusive is no pass: repeat both sides (five runs at least), or settle it with --inconclusive")
