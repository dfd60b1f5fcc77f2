"""What ``nsightkit gate`` does: loads both sides, holds the conditions against them, prints, records acceptance.

In: what the command line asked for. Out: text and the exit code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from nsightkit.analysis.compare.comparability import agreed
from nsightkit.analysis.compare.comparison import CompareOptions, Comparison
from nsightkit.analysis.compare.conditions import RELATIVE, Condition, parse_condition
from nsightkit.analysis.compare.gate import (
    ACCEPTED,
    INCONCLUSIVE,
    PASSED,
    REGRESSED,
    GateInput,
    NotComparableError,
    Outcome,
    evaluate,
    exit_code_of,
)
from nsightkit.analysis.compare.noise import NoiseOptions
from nsightkit.analysis.compare.timing_comparison import TimedSide
from nsightkit.analysis.compare.timing_gate import evaluate_timings
from nsightkit.baseline import Acceptance, accept_regressions, find_baseline, now_utc, read_baseline
from nsightkit.cli.compare_words import MOST_RATIO, summary
from nsightkit.cli.comparing import check_rows, checked, compare_sides
from nsightkit.cli.output import Field, Row, emit, note
from nsightkit.cli.sides import LoadedSide, load_side, named_apart
from nsightkit.cli.timings import compared_timings, timed_sides, timing_summary
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
_STATUSES = (REGRESSED, INCONCLUSIVE, ACCEPTED, PASSED)
_ENDS = {0: "passed", 1: "regressed", 4: "inconclusive"}
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
    within: str | None = None  # range of the conditions that name no scope


def hold_and_print(base: str, head: str, request: GateRequest) -> int:
    """Hold the conditions against both sides, print the outcomes, and return the exit code.

    Raises:
        ConditionError: a condition cannot be understood.
        NotComparableError: the sides must not be compared.
    """
    conditions = [_inside(parse_condition(text), request.within) for text in request.texts]
    for condition in conditions:
        _warn_of_direction(condition)
    stored = find_baseline(base, request.baselines)
    if request.reason is not None and (not request.reason.strip() or stored is None):
        raise click.UsageError("--accept needs a reason, and a stored baseline as BASE to record it in")
    accepted = {item.condition: item.change for item in read_baseline(stored).accepted} if stored else {}
    try:
        timed = _timed((base, head), request)
        held = _of_results(timed, conditions, request, accepted) if timed else None
        outcomes, said = held or _of_kernels((base, head), conditions, request, accepted)
    except NotComparableError as error:
        _head_line("not comparable", request.format_)
        _emit([_refused(condition, error) for condition in conditions], request.format_, "")
        raise
    accepting = request.reason is not None and stored is not None
    left = [outcome for outcome in outcomes if not (accepting and outcome.status == REGRESSED)]
    code = exit_code_of(left, request.inconclusive)
    _head_line(_outcome_words(outcomes, code, accepting, request.inconclusive), request.format_)
    _emit([_row(outcome) for outcome in outcomes], request.format_, said)
    if request.inconclusive is None and any(outcome.status == INCONCLUSIVE for outcome in outcomes):
        _advise_repetition(request.format_)
    if request.reason is not None and stored is not None:
        _accept(stored, outcomes, request.reason, Path(head).name or head)
    return code


def _inside(condition: Condition, within: str | None) -> Condition:
    """Return a condition on the whole run as one on the range `within`.

    Raises:
        click.UsageError: the condition has a scope of its own, which would leave the range unsaid.
    """
    if within is None:
        return condition
    if condition.scope != "run":
        raise click.UsageError(f"--in {within} goes with conditions without a SCOPE; '{condition.text}' has one")
    text = f"range:{within}.{condition.text.removeprefix('run.')}"
    return replace(condition, text=text, scope="range", scope_name=within)


def _head_line(words: str, format_: str) -> None:
    """Print how it ended before everything else: a comment on a pull request is read from its top."""
    if format_ in ("table", "markdown"):
        click.echo(f"{'### ' if format_ == 'markdown' else ''}nsightkit gate: {words}\n")


def _outcome_words(outcomes: Sequence[Outcome], code: int, accepting: bool, inconclusive: str | None) -> str:
    settled = {REGRESSED: ", accepted now"} if accepting else {}
    settled |= {INCONCLUSIVE: f", settled by --inconclusive {inconclusive}"} if inconclusive else {}
    counts = Counter(outcome.status for outcome in outcomes)
    parts = [f"{counts[status]} {status}{settled.get(status, '')}" for status in _STATUSES if counts[status]]
    return f"{_ENDS[code]} ({len(outcomes)} check{'' if len(outcomes) == 1 else 's'}: {'; '.join(parts)})"


def _warn_of_direction(condition: Condition) -> None:
    """Say so where a condition fails on what is better: more tokens a second."""
    if condition.metric == "tokens_per_s" and condition.sign == ">":
        note(f"'{condition.text}' fails where the program gets faster; for the slower write 'tokens_per_s < -3%'")


def _timed(arguments: Sequence[str], request: GateRequest) -> list[TimedSide] | None:
    """Return both sides where they are results of benchmarks; damaged ones are not comparable."""
    try:
        return timed_sides(arguments, request.baselines)
    except IngestError as error:
        raise NotComparableError(str(error), slug=error.slug) from None


def _per_token(conditions: Sequence[Condition], request: GateRequest) -> bool:
    """Say whether times are divided by tokens.

    Totals of other numbers of tokens may stand beside each other only if none of them is held against the other.
    """
    divided = ("per_token_ns", "tokens_per_s")
    return request.per_token or all(condition.metric in divided for condition in conditions)


def _of_results(
    sides: Sequence[TimedSide], conditions: Sequence[Condition], request: GateRequest, accepted: Mapping[str, float]
) -> tuple[list[Outcome], str]:
    noise = NoiseOptions()
    options = CompareOptions(noise, _per_token(conditions, request))
    comparison = compared_timings(sides[0], sides[1], options, request.varies)
    return evaluate_timings(conditions, comparison, noise, accepted), timing_summary(comparison)


def _of_kernels(
    arguments: tuple[str, str], conditions: Sequence[Condition], request: GateRequest, accepted: Mapping[str, float]
) -> tuple[list[Outcome], str]:
    ranges = sorted({condition.scope_name for condition in conditions if condition.scope == "range"})
    base, head = named_apart([_loaded(name, request, ranges) for name in arguments], arguments)
    noise = NoiseOptions()
    checks = checked(base, head, request.varies, _per_token(conditions, request))
    comparison = compare_sides(base, head, CompareOptions(noise, request.per_token))
    given = replace(_input((base, head), comparison, ranges, noise), per_token=request.per_token)
    said = f"{summary(comparison)} Same on both sides: {'; '.join(agreed(checks))}."
    for check in check_rows(checks):
        if check["message"]:
            said += f" {check['name'].capitalize()}: {check['message']}."
    return evaluate(conditions, given, accepted), said


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


def _accept(path: Path, outcomes: Sequence[Outcome], reason: str, head: str) -> None:
    failed = [outcome for outcome in outcomes if outcome.status == REGRESSED]
    if not failed:
        note("nothing regressed: nothing to accept")
        return
    when = now_utc()
    accept_regressions(
        path,
        [Acceptance(f"{item.condition.text} [{item.subject}]", item.change, reason, when, head) for item in failed],
    )
    note(f"{len(failed)} regression{'' if len(failed) == 1 else 's'} recorded as accepted in {path}: {reason}")


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
        if outcome.low is None or outcome.high is None or not math.isfinite(outcome.high - outcome.low)
        else f"{_change(outcome, outcome.low)} to {_change(outcome, outcome.high)}",
        "smallest_text": "" if outcome.smallest is None else _smallest(outcome, outcome.smallest),
    }


def _smallest(outcome: Outcome, value: float) -> str:
    """Return the smallest change that would have been seen; beyond tenfold the runs say nothing."""
    if outcome.condition.kind == RELATIVE and not 1 / MOST_RATIO <= value <= MOST_RATIO:
        return f"none below {MOST_RATIO}×"
    return _change(outcome, value)


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


def _advise_repetition(format_: str) -> None:
    if format_ in ("table", "markdown"):
        note("inconclusive is no pass: repeat both sides (five runs at least), or settle it with --inconclusive")
