"""What changed between two sets of benchmark timings, setting by setting.

In: the timings of both sides, as `foreign_results` reads them. Out: `TimedComparison`: the list of what agrees, a line
for each setting (batch, prompt, tokens, ...) that both sides have, and those that only one side has. Several files of
one setting are its process runs; one is described and never judged.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, variance

from nsightkit.analysis.compare.comparability import (
    ALLOWED,
    DIFFERS,
    MUST_AGREE,
    REFUSED,
    SAME,
    UNKNOWN,
    Allowances,
    Check,
)
from nsightkit.analysis.compare.comparison import CompareOptions
from nsightkit.analysis.compare.noise import Estimate, Sample, benjamini_hochberg, estimate_ratios, verdict_of
from nsightkit.analysis.foreign_results import Results, Timing
from nsightkit.analysis.unfairness import Flag, find_flags
from nsightkit.analysis.work.model_shapes import ModelShape

# What makes two timings the same setting -> the way out where no setting is on both sides.
SETTING = {
    "arm": "name the files of one program only, as with a quoted pattern",
    "gpu": MUST_AGREE["gpu"],
    "dtype": MUST_AGREE["dtype"],
    "model": "time one model on both sides, or say that it is what you compare with '--varies model'",
    "scope": "time the same phase of both programs, or add '--varies scope'",
    "batch": MUST_AGREE["batch"],
    "prompt": MUST_AGREE["prompt"],
    "tokens": "compare per token with --per-token, or run both for as many",
}
_MOST_VALUES = 4
_NS_PER_MS = 1e6


@dataclass(frozen=True)
class TimedSide:
    """One side: its timings, each of one process run."""

    name: str
    results: Results


@dataclass(frozen=True, slots=True)
class TimedDifference:
    """One setting. `base` or `head` is empty where only the other side has it."""

    setting: tuple[tuple[str, str], ...]
    base: tuple[Timing, ...]
    head: tuple[Timing, ...]
    per_token: bool
    estimate: Estimate = field(default_factory=lambda: Estimate(None))
    q_value: float | None = None
    verdict: str | None = None

    @property
    def base_ns(self) -> float | None:
        """Mean time of all new tokens, or of one."""
        return mean_ns(self.base, self.per_token)

    @property
    def head_ns(self) -> float | None:
        """Mean time of all new tokens, or of one."""
        return mean_ns(self.head, self.per_token)

    @property
    def difference_ns(self) -> float | None:
        """Head minus base; None where a side is missing."""
        return None if self.base_ns is None or self.head_ns is None else self.head_ns - self.base_ns


@dataclass(frozen=True)
class TimedComparison:
    """All settings, sorted; those of both sides first."""

    base_name: str
    head_name: str
    checks: tuple[Check, ...]
    rows: tuple[TimedDifference, ...]
    flags: tuple[Flag, ...]
    options: CompareOptions

    @property
    def compared(self) -> tuple[TimedDifference, ...]:
        """The settings that both sides have."""
        return tuple(row for row in self.rows if row.base and row.head)


def mean_ns(timings: Sequence[Timing], per_token: bool) -> float | None:
    """Return the mean over process runs, in ns; None without any."""
    return fmean(_value_ns(timing, per_token) for timing in timings) if timings else None


def _value_ns(timing: Timing, per_token: bool) -> float:
    return timing.decode_ms * _NS_PER_MS / (timing.new_tokens if per_token else 1)


def compare_timings(
    base: TimedSide, head: TimedSide, options: CompareOptions, varies: Collection[str] = ()
) -> TimedComparison:
    """Compare two sides setting by setting. What is refused stands in `checks`, and then no line is compared."""
    allowed = Allowances(varies, options.per_token)
    names = _keys(base, head, allowed)
    groups = tuple(_grouped(side.results.timings, names) for side in (base, head))
    checks = _checks(base, head, groups, names, allowed)
    keys = sorted({**groups[0], **groups[1]}, key=lambda key: (not all(key in group for group in groups), _order(key)))
    rows = [_row(key, groups, names, options.per_token) for key in keys]
    both = Results(timings=(*base.results.timings, *head.results.timings))
    judged = _judge(rows, options)
    return TimedComparison(base.name, head.name, tuple(checks), tuple(judged), tuple(find_flags(both)), options)


def _facts(timing: Timing) -> dict[str, str | None]:
    return {
        "arm": timing.arm,
        "gpu": timing.gpu,
        "dtype": timing.dtype,
        "model": None if timing.model is None else model_words(timing.model),
        "scope": timing.scope or None,
        "batch": str(timing.batch),
        "prompt": str(timing.prompt),
        "tokens": str(timing.new_tokens),
    }


def model_words(model: ModelShape) -> str:
    """Return the sizes that tell one model from another."""
    return f"{model.layers} layers, {model.heads} heads, width {model.width}, vocabulary {model.vocabulary}"


def _keys(base: TimedSide, head: TimedSide, allowed: Allowances) -> list[str]:
    """Return what tells one setting from another: what is known of all timings and does not differ on purpose."""
    facts = [_facts(timing) for side in (base, head) for timing in side.results.timings]
    freed = {*allowed.varies, *(("tokens",) if allowed.per_token else ())}
    # One program a side: that is what is compared. Several on a side: each with its like.
    if all(len({t.arm for t in side.results.timings}) <= 1 for side in (base, head)):
        freed.add("arm")
    return [name for name in SETTING if name not in freed and all(fact[name] is not None for fact in facts)]


def _order(key: tuple[str | None, ...]) -> list[tuple[int, str]]:
    """Return what sorts numbers as numbers."""
    return [(int(value), "") if value and value.isascii() and value.isdigit() else (0, value or "") for value in key]


Groups = dict[tuple[str | None, ...], tuple[Timing, ...]]


def _grouped(timings: Sequence[Timing], names: Sequence[str]) -> Groups:
    groups: Groups = {}
    for timing in timings:
        facts = _facts(timing)
        key = tuple(facts[name] for name in names)
        groups[key] = (*groups.get(key, ()), timing)
    return {key: _without_copies(found) for key, found in groups.items()}


def _without_copies(timings: Sequence[Timing]) -> tuple[Timing, ...]:
    """Return the timings without those that hold another's figures: a copied file is no new measurement."""
    return tuple({replace(timing, source=""): timing for timing in reversed(timings)}.values())[::-1]


def _row(
    key: tuple[str | None, ...], groups: Sequence[Groups], names: Sequence[str], per_token: bool
) -> TimedDifference:
    setting = tuple((name, value or "") for name, value in zip(names, key, strict=True))
    return TimedDifference(setting, groups[0].get(key, ()), groups[1].get(key, ()), per_token)


def _checks(
    base: TimedSide, head: TimedSide, groups: Sequence[Groups], names: Sequence[str], allowed: Allowances
) -> list[Check]:
    common = [key for key in groups[0] if key in groups[1]]
    sides = [[timing for key in (common or group) for timing in group[key]] for group in groups]
    checks = [_agreement(name, sides, names, bool(common), allowed) for name in SETTING]
    if not common and not any(check.status == REFUSED for check in checks):
        text = "settings: no batch, prompt and number of tokens is on both sides; time the same ones"
        checks.append(Check("settings", _listed(sides[0], "batch"), _listed(sides[1], "batch"), REFUSED, text))
    if common:
        checks += [_mixture(side, group, common) for side, group in zip((base, head), groups, strict=True)]
        checks.append(_coverage(groups, common))
    order = (REFUSED, ALLOWED, DIFFERS, UNKNOWN, SAME)
    return sorted((check for check in checks if check.name), key=lambda check: order.index(check.status))


def _listed(timings: Sequence[Timing], name: str) -> str:
    values = list(dict.fromkeys(text for timing in timings if (text := _facts(timing)[name]) is not None))
    if name in ("batch", "prompt", "tokens"):
        values.sort(key=int)
    more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
    return ", ".join(values[:_MOST_VALUES]) + more


def _agreement(
    name: str, sides: Sequence[Sequence[Timing]], names: Sequence[str], paired: bool, allowed: Allowances
) -> Check:
    shown = (_listed(sides[0], name), _listed(sides[1], name))
    if not all(shown):
        return Check(name, *shown, UNKNOWN)
    if shown[0] == shown[1]:
        return Check(name, *shown, SAME)
    if name == "arm" and name not in names:
        return Check(name, *shown, ALLOWED, "what is compared")
    if name in allowed.varies or (name == "tokens" and allowed.per_token):
        return Check(name, *shown, ALLOWED, "differs on purpose" if name in allowed.varies else "divided by tokens")
    if paired or name not in names:
        return Check(name, *shown, DIFFERS)
    return Check(name, *shown, REFUSED, f"{name}: base has {shown[0]}, head {shown[1]}; {SETTING[name]}")


def _mixture(side: TimedSide, group: Groups, common: Sequence[tuple[str | None, ...]]) -> Check:
    """Refuse a side whose timings of one setting are of different programs or settings: a mean of them says nothing."""
    for key in common:
        facts = [_facts(timing) for timing in group[key]]
        for name in SETTING:
            values = list(dict.fromkeys(fact[name] or "not known" for fact in facts))
            if len(values) > 1:
                text = f"{side.name}: one setting holds several of {name} ({', '.join(values[:_MOST_VALUES])}); "
                return Check(name, "", "", REFUSED, text + "name the files of one")
    return Check("", "", "", SAME)


def _coverage(groups: Sequence[Groups], common: Sequence[tuple[str | None, ...]]) -> Check:
    shown = (f"{len(groups[0])}", f"{len(groups[1])}")
    if len(groups[0]) == len(groups[1]) == len(common):
        return Check("settings", *shown, SAME)
    text = f"{len(common)} are on both sides and are compared; the rest is listed"
    return Check("settings", *shown, DIFFERS, text)


def _judge(rows: Sequence[TimedDifference], options: CompareOptions) -> list[TimedDifference]:
    size = max(1, sum(bool(row.base and row.head) for row in rows))
    estimates = [
        estimate_ratios(
            sample_of_timings(row.base, row.per_token), sample_of_timings(row.head, row.per_token), options.noise, size
        )[0]
        if row.base and row.head
        else Estimate(None)
        for row in rows
    ]
    q_values = benjamini_hochberg([estimate.p_value for estimate in estimates])
    return [
        replace(row, estimate=estimate, q_value=q, verdict=verdict_of(estimate, q, options.noise))
        for row, estimate, q in zip(rows, estimates, q_values, strict=True)
    ]


def sample_of_timings(timings: Sequence[Timing], per_token: bool) -> Sample:
    """Return a value per process run, and the variance that its repetitions give it."""
    import numpy as np

    values = [[_value_ns(timing, per_token)] for timing in timings]
    return Sample(np.array(values), np.array([[variance_ns2(timing, per_token)] for timing in timings]))


def variance_ns2(timing: Timing, per_token: bool) -> float:
    """Return the variance of the mean over a run's repetitions, in ns²; 0 where they are not recorded."""
    if len(timing.samples_ms) < 2:
        return 0.0
    unit = _NS_PER_MS / (timing.new_tokens if per_token else 1)
    return variance(timing.samples_ms) / len(timing.samples_ms) * unit**2
