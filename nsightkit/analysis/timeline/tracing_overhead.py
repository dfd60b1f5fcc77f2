"""How much longer a program takes under a profiler, with an interval, or that this cannot be said.

In: timings of repetitions with and without the profiler, each in parts that did the same work. Out: `Overhead`.

The same parts are compared: part k under the profiler ÷ part k of each repetition without it. The interval holds the
median of these ratios for every single repetition and for every single part: a machine that was busy for a while, and a
program of which only the start is slow, both widen it. No distribution is assumed.

Source: docs/method.md, "Capturing", overhead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from nsightkit.analysis.timeline.whole_run import MOST_TRACING_OVERHEAD

Repetition = Sequence[float]  # seconds, one for each part
# Decode steps are summed in so many parts, so that a moment of other load does not decide.
MOST_PARTS = 4
_LEAST_STEPS = 3


@dataclass(frozen=True, slots=True)
class Overhead:
    """`low` and `high` bound the ratio of traced to untraced time; None with one timing a side, which has no spread.

    `ratio` is what others may reckon with: the middle where it is measurable, the upper bound where the interval lies
    below what matters, None where nothing can be said.
    """

    ratio: float | None
    middle: float
    low: float | None
    high: float | None
    measurable: bool
    traced_s: float
    untraced_s: float
    traced_count: int
    untraced_count: int
    part_count: int


def parts_of(repetition: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the timed region of a repetition in a workload's results, in seconds; nothing where it has none."""
    steps = repetition.get("decode_step_ns")
    if isinstance(steps, list) and len(steps) >= _LEAST_STEPS:
        count = min(MOST_PARTS, len(steps))
        bounds = [len(steps) * place // count for place in range(count + 1)]
        return tuple(sum(steps[a:b]) * 1e-9 for a, b in pairwise(bounds))
    whole = sum(_total(repetition.get(phase)) for phase in ("prefill_ns", "decode_ns"))
    return (whole * 1e-9,) if whole else ()


def _total(value: Any) -> float:
    """Return a phase's time, which is a number or one for each of its steps."""
    return float(sum(value) if isinstance(value, list) else value or 0)


def overhead_of(traced: Sequence[Repetition], untraced: Sequence[Repetition]) -> Overhead | None:
    """Return how much longer the traced repetitions took; None where there is nothing to compare.

    Repetitions in other parts than the first traced one are left out.
    """
    parts = len(traced[0]) if traced else 0
    with_tool = [item for item in traced if len(item) == parts and all(value > 0 for value in item)]
    without = [item for item in untraced if len(item) == parts and all(value > 0 for value in item)]
    if not parts or not with_tool or not without:
        return None
    middle, low, high = _interval(with_tool, without)
    ratio, measurable = _usable(middle, low, high)
    return Overhead(
        ratio, middle, low, high, measurable, median(map(sum, with_tool)), median(map(sum, without)),
        len(with_tool), len(without), parts,
    )  # fmt: skip


def _interval(traced: Sequence[Repetition], untraced: Sequence[Repetition]) -> tuple[float, float | None, float | None]:
    """Return the median ratio, and the least and largest median of one repetition or one part."""
    ratios = {
        (t, u, part): traced[t][part] / untraced[u][part]
        for t in range(len(traced)) for u in range(len(untraced)) for part in range(len(traced[0]))
    }  # fmt: skip
    middle = median(ratios.values())
    if len(ratios) == 1:
        return middle, None, None
    groups: dict[tuple[int, int], list[float]] = {}
    for key, ratio in ratios.items():
        for place, member in enumerate(key):
            groups.setdefault((place, member), []).append(ratio)
    medians = [median(group) for group in groups.values()]
    return middle, min(medians), max(medians)


def _usable(middle: float, low: float | None, high: float | None) -> tuple[float | None, bool]:
    if low is None or high is None:
        return (middle, True) if middle >= 1 else (None, False)
    if low >= 1 and high - low <= middle - 1:
        return middle, True
    return (max(high, 1.0) if high <= MOST_TRACING_OVERHEAD and low >= 1 / MOST_TRACING_OVERHEAD else None), False
