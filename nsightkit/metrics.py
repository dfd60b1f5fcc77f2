"""Canonical counters: which metrics of a report make up each column of `kernel_counters`.

In: metric values of one launch under ncu's names, in base units. Out: one value per canonical counter, None where the
report has no way to it. `metrics.toml` lists the ways in order; the first of which every metric has a value is taken.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# One product: a number, and the names of the metrics it is multiplied with.
Product = tuple[float, tuple[str, ...]]

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+\.?\d*(?:e[+-]?\d+)?(?![\w.]))|(?P<name>[A-Za-z_][\w.]*)|(?P<sign>[+*()]))")


@dataclass(frozen=True, slots=True)
class Alternative:
    """One way to a counter: a sum of products, and the compute capabilities for which it holds (None: all)."""

    text: str
    products: tuple[Product, ...]
    capabilities: tuple[float, float] | None = None

    @property
    def names(self) -> frozenset[str]:
        """The metrics that it needs."""
        return frozenset(name for _, names in self.products for name in names)

    def applies_to(self, compute_capability: float | None) -> bool:
        """Say whether it holds for a GPU; one that is limited holds for no unknown GPU."""
        if self.capabilities is None:
            return True
        low, high = self.capabilities
        return compute_capability is not None and low <= compute_capability <= high

    def value(self, raw: Mapping[str, float]) -> float | None:
        """Return the value of the expression, None where a metric has none."""
        total = 0.0
        for factor, names in self.products:
            for name in names:
                value = raw.get(name)
                if value is None:
                    return None
                factor *= value
            total += factor
        return total if math.isfinite(total) else None


@dataclass(frozen=True, slots=True)
class Counter:
    """One canonical counter: its unit, what it means, where that is written, and the ways to it in order."""

    name: str
    unit: str
    doc: str
    source: str
    alternatives: tuple[Alternative, ...]


def parse_expression(text: str) -> tuple[Product, ...]:
    """Return `text`, made of numbers, metric names, +, * and parentheses, as a sum of products.

    Raises:
        ValueError: `text` is no such expression.
    """
    tokens = _tokens(text)
    products = _sum_of(tokens, text)
    if tokens:
        raise ValueError(f"unexpected {tokens[0]!r} in {text!r}")
    return products


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unexpected {text[position:].lstrip()[:1]!r} in {text!r}")
        tokens.append(match.group().strip())
        position = match.end()
    return tokens


def _sum_of(tokens: list[str], text: str) -> tuple[Product, ...]:
    products = _product_of(tokens, text)
    while tokens and tokens[0] == "+":
        tokens.pop(0)
        products += _product_of(tokens, text)
    return products


def _product_of(tokens: list[str], text: str) -> tuple[Product, ...]:
    products = _factor_of(tokens, text)
    while tokens and tokens[0] == "*":
        tokens.pop(0)
        right = _factor_of(tokens, text)
        products = tuple((a * b, names + others) for a, names in products for b, others in right)
    return products


def _factor_of(tokens: list[str], text: str) -> tuple[Product, ...]:
    if not tokens or tokens[0] in "+*)":
        raise ValueError(f"something is missing in {text!r}")
    token = tokens.pop(0)
    if token == "(":
        inner = _sum_of(tokens, text)
        if not tokens or tokens.pop(0) != ")":
            raise ValueError(f"a parenthesis is not closed in {text!r}")
        return inner
    return ((float(token), ()),) if token[0].isdigit() else ((1.0, (token,)),)


@cache
def _declared() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("metrics.toml").read_text(encoding="utf-8"))


@cache
def counters() -> dict[str, Counter]:
    """Return the canonical counters by name, in the order in which they are declared."""
    return {name: _counter(name, entry) for name, entry in _declared()["counters"].items()}


def _counter(name: str, entry: Mapping[str, Any]) -> Counter:
    ways = tuple(_alternative(way) for way in entry["from"])
    return Counter(name, entry["unit"], entry["doc"], entry["source"], ways)


def _alternative(way: str | Mapping[str, str]) -> Alternative:
    if isinstance(way, str):
        return Alternative(way, parse_expression(way))
    low, high = way["cc"].split("-")
    return Alternative(way["expr"], parse_expression(way["expr"]), (float(low), float(high)))


def needed_names(wanted: Iterable[str] | None = None) -> frozenset[str]:
    """Return every metric that some way to the `wanted` counters mentions; None stands for all counters."""
    declared = counters()
    chosen = declared if wanted is None else [name for name in wanted if name in declared]
    return frozenset(name for key in chosen for way in declared[key].alternatives for name in way.names)


def resolve(raw: Mapping[str, float], compute_capability: str | None = None) -> dict[str, float | None]:
    """Return the canonical counters of one launch.

    Args:
        raw: finite metric values under ncu's names, in base units; what was not collected is not in it.
        compute_capability: major.minor of the GPU, for ways that hold for some GPUs only.
    """
    version = _version(compute_capability)
    return {name: _first_value(ways, raw) for name, ways in _ways_for(version)}


def _version(compute_capability: str | None) -> float | None:
    if compute_capability is None or not re.fullmatch(r"\d+\.\d", compute_capability):
        return None
    return float(compute_capability)


@cache
def _ways_for(
    version: float | None,
) -> tuple[tuple[str, tuple[Callable[[Mapping[str, float]], float | None], ...]], ...]:
    return tuple(
        (name, tuple(way.value for way in counter.alternatives if way.applies_to(version)))
        for name, counter in counters().items()
    )


def _first_value(
    ways: Iterable[Callable[[Mapping[str, float]], float | None]], raw: Mapping[str, float]
) -> float | None:
    return next((value for way in ways if (value := way(raw)) is not None), None)


def name_of_label(section: str, label: str, unit: str) -> str | None:
    """Return the metric that a details page shows as `label` under `section`, None where that is not known.

    Percent is told apart from amounts by `unit` (as `Memory Throughput`, which is both); an empty unit fits either.
    """
    name: str | None = _declared()["labels"].get(section, {}).get(label)
    if name is None or (unit and (unit == "%") != (".pct" in name or name.endswith("_pct"))):
        return None
    return name
