"""Fits how a time grows with a length: a line and a parabola, and which of the two the points call for."""

from dataclasses import dataclass

import numpy as np

# A parabola always lies nearer to the points; it is believed where it also foretells left-out points this much better.
_BETTER = 0.8


@dataclass(frozen=True)
class Fit:
    """y = constant + linear·x + quadratic·x²; `r_squared` of the points, `left_out` the error of foretold points.

    `left_out` is the root mean square, over the points, of the error at one point of a fit to all others, relative to
    the mean of y.
    """

    constant: float
    linear: float
    quadratic: float
    r_squared: float
    left_out: float


def fitted(x: list[float], y: list[float], degree: int) -> Fit | None:
    """Return the least-squares fit of `degree` 1 or 2; None where fewer than degree + 2 different x are there."""
    if len(set(x)) < degree + 2:
        return None
    places, values = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    factors = _solved(places, values, degree)
    rest = values - _at(factors, places)
    total = float(((values - values.mean()) ** 2).sum())
    errors = []
    for place in range(len(x)):
        kept = np.arange(len(x)) != place
        errors.append(values[place] - _at(_solved(places[kept], values[kept], degree), places[place]))
    left_out = float(np.sqrt(np.mean(np.square(errors))) / abs(values.mean())) if values.mean() else 0.0
    padded = [*map(float, factors), 0.0][:3]
    return Fit(*padded, 1 - float((rest**2).sum()) / total if total else 1.0, left_out)


def better(line: Fit | None, parabola: Fit | None) -> str | None:
    """Return linear or quadratic, by the error of left-out points; None where there are too few points for both."""
    if line is None or parabola is None:
        return None
    return "quadratic" if parabola.left_out < _BETTER * line.left_out else "linear"


def _solved(x: np.ndarray, y: np.ndarray, degree: int) -> np.ndarray:
    # Scaled to 1, so that squares of lengths do not drown the constant.
    scale = float(np.abs(x).max()) or 1.0
    powers = np.vander(x / scale, degree + 1, increasing=True)
    return np.linalg.lstsq(powers, y, rcond=None)[0] / scale ** np.arange(degree + 1)


def _at(factors: np.ndarray, x: np.ndarray) -> np.ndarray:
    return sum(factor * x**power for power, factor in enumerate(factors))
