"""Repeated measurements in a few numbers: median, percentiles, a confidence interval, and what stands apart.

In: samples in nanoseconds. Out: `Spread`. No sample is dropped: those that stand apart are counted and named, because
a percentile without its slow tail is not one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

# Source: Tukey, Exploratory Data Analysis (1977), the inner fences.
OUTLIER_RULE = "Tukey: beyond the quartiles by more than 1.5 times their distance; counted, not dropped"
# Percentiles of a bootstrap need about a thousand resamples. Source: Efron and Tibshirani (1993), chapter 13.
_RESAMPLES = 1000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """`count` samples in nanoseconds; the interval is the bootstrap's of the median, None below five samples."""

    count: int
    median_ns: float
    p50_ns: float
    p95_ns: float
    p99_ns: float
    min_ns: float
    max_ns: float
    mean_ns: float
    ci_low_ns: float | None
    ci_high_ns: float | None
    outliers: tuple[int, ...]  # places of the samples

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers with the rules behind them."""
        rules = {"outlier_rule": OUTLIER_RULE, "interval": f"{_CONFIDENCE:.0%} percentile bootstrap of the median"}
        return asdict(self) | {"outliers": list(self.outliers)} | rules


def spread_of(samples_ns: Sequence[float], seed: int = 0) -> Spread | None:
    """Return the spread of `samples_ns`, None where there is none; the bootstrap is drawn from `seed`."""
    if not samples_ns:
        return None
    low, high = _interval(samples_ns, seed)
    return Spread(
        count=len(samples_ns),
        median_ns=median(samples_ns),
        p50_ns=percentile(samples_ns, 50),
        p95_ns=percentile(samples_ns, 95),
        p99_ns=percentile(samples_ns, 99),
        min_ns=min(samples_ns),
        max_ns=max(samples_ns),
        mean_ns=sum(samples_ns) / len(samples_ns),
        ci_low_ns=low,
        ci_high_ns=high,
        outliers=_outliers(samples_ns),
    )


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the value below which `percent` of `samples` lie, neighbors joined by a line.

    Source: Hyndman and Fan (1996), definition 7.

    Raises:
        ValueError: there is no sample, or `percent` is not from 0 to 100.
    """
    if not samples or not 0 <= percent <= 100:
        raise ValueError("a percentile needs a sample, and a number from 0 to 100")
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _outliers(samples: Sequence[float]) -> tuple[int, ...]:
    first, third = percentile(samples, 25), percentile(samples, 75)
    reach = 1.5 * (third - first)
    return tuple(i for i, value in enumerate(samples) if not first - reach <= value <= third + reach)


def _interval(samples: Sequence[float], seed: int) -> tuple[float | None, float | None]:
    # Fewer than five say nothing about their own spread.
    if len(samples) < 5:
        return None, None
    draw = random.Random(seed)
    medians = [median(draw.choices(samples, k=len(samples))) for _ in range(_RESAMPLES)]
    tail = (1 - _CONFIDENCE) / 2 * 100
    return percentile(medians, tail), percentile(medians, 100 - tail)
