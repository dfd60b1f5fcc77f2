"""How sure a difference between two sets of process runs is.

In: per side a `Sample`, what every process run measured of each item (kernel, family, whole run). Out: `Estimate`,
the ratio with its interval and the smallest difference that could have been seen; and verdicts over many items.

The unit is the process run. Runs are drawn again with replacement, then launches within each drawn run; the spread of
these draws, widened for few runs and with Student's t in place of the normal law, gives the interval.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

MIN_RUNS = 5  # a side, for a verdict. Source: docs/method.md, differences between runs.
FASTER, SLOWER, SAME, INCONCLUSIVE = "faster", "slower", "same", "inconclusive"


@dataclass(frozen=True, slots=True)
class NoiseOptions:
    """How to judge: tolerated relative change, error rate, power of the stated difference, number of draws, seed."""

    tolerance: float = 0.02
    alpha: float = 0.05
    power: float = 0.8
    draws: int = 2000
    seed: int = 20240501


@dataclass(frozen=True)
class Sample:
    """What the runs of one side measured: `values[run, item]` and the variance that launches alone would give it."""

    values: Matrix  # (runs, items), base units, not negative
    launch_variance: Matrix  # (runs, items): variance of `values` under drawing the launches of a run again

    @property
    def run_count(self) -> int:
        """The number of process runs."""
        return int(self.values.shape[0])


@dataclass(frozen=True, slots=True)
class Estimate:
    """Head over base for one item. Everything but the ratio is None where a side has fewer than `MIN_RUNS` runs."""

    ratio: float | None  # mean over runs of head ÷ mean over runs of base; None where a side is zero
    low: float | None = None
    high: float | None = None
    p_value: float | None = None  # of "changed by no more than the tolerance", two-sided
    smallest_ratio: float | None = None  # the slowdown that would have been seen in `power` of such comparisons


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard error and degrees of freedom of one difference."""

    error: float
    freedom: float


def estimate_ratios(base: Sample, head: Sample, options: NoiseOptions, family_size: int = 1) -> list[Estimate]:
    """Return head ÷ base for every item.

    Args:
        base: the runs of the base.
        head: the runs of the head, the same items in the same order.
        options: tolerance, error rate, draws, seed.
        family_size: how many items are judged together; the smallest difference that is stated allows for it.

    Source: hierarchical bootstrap, Davison and Hinkley, Bootstrap Methods and their Application (1997), 3.8; widening
    by n/(n-1) and Student's t, Hesterberg, What Teachers Should Know About the Bootstrap (2015), 4.3.
    """
    quotients = zip(base.values.mean(axis=0), head.values.mean(axis=0), strict=True)
    return [
        _estimate(change.value, change.spread, options, family_size)
        if change is not None and change.spread is not None
        else Estimate(_quotient(new, old))
        for change, (old, new) in zip(estimate_log_ratios(base, head, options), quotients, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Change:
    """Head minus base of one item, or head alone, in the unit of its values."""

    value: float
    spread: Spread | None  # None where there are too few runs


def estimate_changes(base: Sample | None, head: Sample, options: NoiseOptions) -> list[Change]:
    """Return head minus base for every item; without a base, head itself."""
    sides = [head] if base is None else [base, head]
    means = [side.values.mean(axis=0) for side in sides]
    values = means[-1] - means[0] if base is not None else means[0]
    if min(side.run_count for side in sides) < MIN_RUNS:
        return [Change(float(value), None) for value in values]
    # The error of a mean is the error of its logarithm times the mean.
    errors = [
        [error * mean if mean > 0 else 0.0 for error, mean in zip(_log_errors(side, options), mean_row, strict=True)]
        for side, mean_row in zip(sides, means, strict=True)
    ]
    runs = [side.run_count for side in sides]
    return [
        Change(float(value), welch(errors[0][at] if len(sides) == 2 else 0.0, runs[0], errors[-1][at], runs[-1]))
        for at, value in enumerate(values)
    ]


def estimate_log_ratios(base: Sample, head: Sample, options: NoiseOptions) -> list[Change | None]:
    """Return log(head ÷ base) for every item, None where a side is zero."""
    import numpy as np

    means = base.values.mean(axis=0), head.values.mean(axis=0)
    judged = min(base.run_count, head.run_count) >= MIN_RUNS
    errors = (_log_errors(base, options), _log_errors(head, options)) if judged else None
    found: list[Change | None] = []
    for item, (old, new) in enumerate(zip(*means, strict=True)):
        if old <= 0 or new <= 0:
            found.append(None)
            continue
        spread = welch(errors[0][item], base.run_count, errors[1][item], head.run_count) if errors else None
        found.append(Change(float(np.log(new / old)), spread))
    return found


def _quotient(head: float, base: float) -> float | None:
    return float(head / base) if base > 0 and head > 0 else None


def _estimate(log_ratio: float, spread: Spread, options: NoiseOptions, family_size: int) -> Estimate:
    half = t_quantile(1 - options.alpha / 2, spread.freedom) * spread.error
    bar = math.log1p(options.tolerance)
    smallest = bar + smallest_step(spread, options, family_size)
    return Estimate(
        math.exp(log_ratio),
        math.exp(log_ratio - half),
        math.exp(log_ratio + half),
        two_sided_p(abs(log_ratio) - bar, spread),
        math.exp(smallest),
    )


def _log_errors(side: Sample, options: NoiseOptions) -> Matrix:
    """Return the standard error of the logarithm of each item's mean over runs, shape (items,)."""
    import numpy as np

    runs = side.run_count
    # Seeded by the data, not by the side: swapping base and head then gives the same draws, so the mirrored result.
    rng = np.random.default_rng([options.seed, zlib.crc32(np.ascontiguousarray(side.values).tobytes())])
    weights = rng.multinomial(runs, np.full(runs, 1 / runs), size=options.draws).astype(float)
    errors = np.empty(side.values.shape[1])
    chunk = 256  # items at a time: bounds the memory at draws × chunk
    for start in range(0, len(errors), chunk):
        part = slice(start, start + chunk)
        drawn = weights @ side.values[:, part]
        variance = weights @ side.launch_variance[:, part]
        errors[part] = _spread_of_logs(drawn, variance, rng) * math.sqrt(runs / (runs - 1))
    return errors


def _spread_of_logs(drawn: Matrix, variance: Matrix, rng: np.random.Generator) -> Matrix:
    """Return the deviation of log(sum of drawn launches); launches follow the lognormal law of their two moments.

    Drawing each launch again costs a pass over all launches for every draw; for a sum of launches its first two
    moments say as much (a test compares both).
    """
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        square = np.log1p(np.where(drawn > 0, variance / drawn**2, 0.0))
        logs = np.log(drawn) - square / 2 + np.sqrt(square) * rng.standard_normal(drawn.shape)
    # A kernel that some runs lack can be missing from a draw altogether: its ratio has no bound.
    finite = np.isfinite(logs).all(axis=0)
    spread = np.full(drawn.shape[1], math.inf)
    spread[finite] = logs[:, finite].std(axis=0)
    # Draws of a constant differ by rounding only.
    spread[spread < 1e-12] = 0.0
    return spread


def welch(base_error: float, base_runs: int, head_error: float, head_runs: int) -> Spread:
    """Return the error of a difference of two means and its degrees of freedom (Welch and Satterthwaite)."""
    base_part, head_part = float(base_error) ** 2, float(head_error) ** 2
    total = base_part + head_part
    if total == 0 or not math.isfinite(total):
        return Spread(math.sqrt(total), base_runs + head_runs - 2)
    lower = base_part**2 / (base_runs - 1) + head_part**2 / (head_runs - 1)
    return Spread(math.sqrt(total), total**2 / lower)


def smallest_step(spread: Spread, options: NoiseOptions, family_size: int = 1) -> float:
    """Return how far beyond the tolerance a true change must lie to be seen with the stated power.

    The error is itself estimated from few runs; its upper bound at the stated power is taken, so that the promise
    holds for another set of such runs.
    """
    reach = t_quantile(1 - options.alpha / (2 * family_size), spread.freedom) + t_quantile(
        options.power, spread.freedom
    )
    return reach * spread.error * _assurance(spread.freedom, options.power)


def _assurance(freedom: float, power: float) -> float:
    """Return the factor that makes an estimated deviation an upper bound with probability `power`.

    Source: Wilson and Hilferty (1931), the cube root of a chi-square value is nearly normal.
    """
    part = 2 / (9 * freedom)
    chi_square = freedom * (1 - part - NormalDist().inv_cdf(power) * math.sqrt(part)) ** 3
    return math.sqrt(freedom / chi_square)


def two_sided_p(beyond: float, spread: Spread) -> float:
    """Return the p-value of a change that lies `beyond` the tolerated one (negative: within it)."""
    if spread.error == 0:
        return 0.0 if beyond > 0 else 1.0
    if not math.isfinite(spread.error):
        return 1.0
    return min(1.0, 2 * t_upper(beyond / spread.error, spread.freedom))


def verdict_of(estimate: Estimate, q_value: float | None, options: NoiseOptions) -> str | None:
    """Return faster, slower, same or inconclusive; None where there are too few runs to judge.

    Args:
        estimate: ratio and interval.
        q_value: p-value adjusted for all items judged together; None where the item stands alone.
        options: tolerance and error rate.
    """
    if estimate.low is None or estimate.high is None:
        return None
    top = 1 + options.tolerance
    sure = q_value is None or q_value <= options.alpha
    if estimate.low > top:
        return SLOWER if sure else INCONCLUSIVE
    if estimate.high < 1 / top:
        return FASTER if sure else INCONCLUSIVE
    return SAME if estimate.low >= 1 / top and estimate.high <= top else INCONCLUSIVE


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted so that at most that share of the changes reported is false; None stays None.

    Source: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995) 289.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    smallest = 1.0
    for rank in range(len(known), 0, -1):
        p, index = known[rank - 1]
        smallest = min(smallest, p * len(known) / rank)
        adjusted[index] = smallest
    return adjusted


def t_upper(t: float, freedom: float) -> float:
    """Return the probability that Student's t with `freedom` degrees exceeds `t`."""
    tail = 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))
    return tail if t >= 0 else 1 - tail


@lru_cache(maxsize=4096)
def t_quantile(probability: float, freedom: float) -> float:
    """Return the value that Student's t stays below with `probability`, between 0.5 and 1."""
    # Newton's method from below: the upper tail falls and is convex there, so that no step goes too far.
    value = NormalDist().inv_cdf(probability)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi * freedom)
    for _ in range(100):
        density = scale * (1 + value * value / freedom) ** (-(freedom + 1) / 2)
        step = (t_upper(value, freedom) - (1 - probability)) / density
        value += step
        if abs(step) < 1e-10 * max(1.0, value):
            break
    return value


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function by its continued fraction.

    Source: NIST Digital Library of Mathematical Functions, 8.17.22; evaluated by Lentz's method.
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 500):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + step * d)
            c = 1 + step / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * fraction
