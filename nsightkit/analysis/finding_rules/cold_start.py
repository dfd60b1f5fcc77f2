"""Whether the measurement holds its own warm-up: the first instance of a repeated range against the others.

In: repetitions of ranges. Out: findings about the measurement, which save no time but change every number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nsightkit.analysis.findings import SPAN, Finding, FindingInputs, Number

if TYPE_CHECKING:
    from nsightkit.analysis.ranges.repetitions import Repetition

_COLD = 2.0
_MOST = 2


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """Look at the ranges that took most time."""
    span = inputs.activity.span_ns if inputs.activity else 0
    cold = [
        row for row in inputs.repetitions
        if row.cold_ratio is not None and row.cold_ratio >= _COLD
        and row.instance_count * row.steady_mean_ns + row.first_ns >= 0.1 * span
    ]  # fmt: skip
    largest: dict[str, Repetition] = {}
    for row in cold:
        largest.setdefault(row.name, row)
    for row in list(largest.values())[:_MOST]:
        yield Finding(
            "cold_start", f"Leave the first '{row.name}' out: it is a cold start",
            "Leave the first instance out of the capture (--range with warm-up), or look at the others alone.",
            (Number("the median of the others", row.cold_ratio or 0.0, "×"),
             Number("on the GPU for the first, start to end", row.first_ns, "ns"),
             Number("in the median of the others", row.steady_median_ns, "ns"),
             Number("instances", row.instance_count, "count")),
            None, None, SPAN, "no time to save: what the numbers mean", "high", "both were measured in one capture",
        )  # fmt: skip
