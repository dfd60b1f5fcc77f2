"""Conditions that a change must meet, as in ``total_ns > +3%``: the grammar, and nothing of what is held against them.

In: the text of a condition. Out: `Condition`. What cannot be understood raises ConditionError, which is wrong usage.

    [SCOPE.]METRIC > VALUE
    SCOPE of captures: RANGE, range:RANGE, family:FAMILY, kernel:REGEX (together), kernels:REGEX (each)
    SCOPE of benchmark results: setting:batch=8,prompt=128; none is every setting by itself
    VALUE: +3% or -3% (change), +5ms (change in the unit of the metric), 20ms (bound on head)
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches

from nsightkit.analysis.grouping import COUNTERS
from nsightkit.errors import AnalysisError

TIMES = ("total_ns", "per_token_ns", "mean_ns")
OF_KERNELS = (*TIMES, "launch_count", *COUNTERS)
# What results of a benchmark are held against; tokens_per_s is that of all sequences together.
OF_RESULTS = ("total_ns", "per_token_ns", "prefill_ns", "tokens_per_s", "peak_bytes")
METRICS = tuple(dict.fromkeys((*OF_KERNELS, *OF_RESULTS)))
RELATIVE, DIFFERENCE, BOUND = "relative", "difference", "bound"
_SCOPES = ("range", "family", "kernel", "kernels", "setting")
_TIME_UNITS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_BYTE_UNITS = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_LARGEST_UNIT = max(*_TIME_UNITS.values(), *_BYTE_UNITS.values())
_PASTED = str.maketrans({"\N{MINUS SIGN}": "-", "\N{GREEK SMALL LETTER MU}": "\N{MICRO SIGN}"})
_CONDITION = re.compile(r"^(?:(?P<scope>.+)\.)?(?P<metric>[A-Za-z0-9_]+)\s*(?P<sign>[<>])\s*(?P<value>[^<>=]+)$", re.S)
_VALUE = re.compile(r"^(?P<plus>[+-]?)(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*(?P<unit>%|[a-zA-Zµ]*)$")


class ConditionError(AnalysisError):
    """A condition cannot be understood or names what neither side has: wrong usage."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``--fail-on``: fails where METRIC of SCOPE lies beyond `value` on the side that `sign` names."""

    text: str
    scope: str  # run, range, family, kernel, kernels or setting
    scope_name: str
    metric: str
    sign: str  # > or <
    kind: str  # RELATIVE, DIFFERENCE or BOUND
    value: float  # a ratio for RELATIVE (1.03), else base units


def parse_condition(text: str) -> Condition:
    """Return the condition that `text` states.

    Raises:
        ConditionError: it has no such form, an unknown metric, or a value that is no finite number.
    """
    found = _CONDITION.match(text.strip())
    if not found:
        raise wrong(text, "is no condition; write it as 'total_ns > +3%' or 'decode.per_token_ns > +2%'")
    metric = found["metric"]
    if metric not in METRICS:
        raise wrong(text, f"has the unknown metric {metric}; {_meant(metric)}")
    scope, name = _scope(text, found["scope"])
    kind, value = _value(text, metric, found["value"].strip())
    return Condition(text.strip(), scope, name, metric, found["sign"], kind, value)


def wrong(text: str, why: str) -> ConditionError:
    """Return the error that condition `text` is wrong usage, and why."""
    return ConditionError(f"condition '{text}' {why}", slug="bad-condition")


def _meant(metric: str) -> str:
    near = get_close_matches(metric.lower(), METRICS, n=1)
    known = f"known are {', '.join(OF_KERNELS[:4])} and counters, and of results {', '.join(OF_RESULTS)}"
    return f"did you mean {near[0]}? {known.capitalize()}" if near else known


def _scope(text: str, scope: str | None) -> tuple[str, str]:
    if scope is None or scope == "run":
        return "run", ""
    kind, colon, name = scope.partition(":")
    if not colon:
        return "range", scope
    if kind in _SCOPES and not name:
        raise wrong(text, f"names no {kind}; write what is meant behind '{kind}:'")
    if kind not in _SCOPES:
        known = ", ".join(f"{one}:" for one in _SCOPES[:-1])
        raise wrong(text, f"has the unknown scope {kind}; known are {known} and {_SCOPES[-1]}:")
    if kind.startswith("kernel"):
        try:
            re.compile(name)
        except re.error as error:
            raise wrong(text, f"has no valid regular expression ({error})") from None
    return kind, name


def _value(text: str, metric: str, value: str) -> tuple[str, float]:
    # Figures are pasted from reports, which print a typographic minus; keyboards have two letters for micro.
    found = _VALUE.match(value.translate(_PASTED))
    if not found or not math.isfinite(float(found["number"]) * _LARGEST_UNIT):
        raise wrong(text, f"has the value '{value}', which is no finite number; write it as +3%, -2.5%, +5ms or 20ms")
    number = float(found["plus"] + found["number"])
    if found["unit"] == "%" and not metric.endswith("_pct"):
        if not found["plus"]:
            raise wrong(text, f"is not clear: write +{value} for a change by {value}")
        if number <= -100:
            raise wrong(text, "asks for a change by -100 % or more, which no measurement can show")
        return RELATIVE, 1 + number / 100
    units = {**(_TIME_UNITS if metric.endswith("_ns") else {}), **(_BYTE_UNITS if metric.endswith("_bytes") else {})}
    if found["unit"] == "%" and found["plus"]:
        return RELATIVE, 1 + number / 100
    if found["unit"] and found["unit"] != "%" and found["unit"] not in units:
        raise wrong(text, f"has the unknown unit {found['unit']} for {metric}")
    scaled = number * units.get(found["unit"], 1.0)
    return (DIFFERENCE if found["plus"] else BOUND), scaled
