"""Times of a Chrome trace, exact to the nanosecond, and how the spans of one thread lie inside each other.

In: numbers as they stand in the file, each decimal kept as its text, so that a time of 16 digits loses nothing. Out:
whole nanoseconds, and `Nesting`.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

# Half of what int64 holds: sums and differences of two times still fit.
_LARGEST_NS = 2**62


class Decimals(str):
    """A decimal number as it stands in the file; a plain `str` is a JSON string."""

    __slots__ = ()


def nanoseconds(microseconds: Any) -> int | None:
    """Return a time of the trace, in microseconds, as whole nanoseconds; None where it is no usable number.

    >>> nanoseconds(Decimals("1712195495519689.047")), nanoseconds(167), nanoseconds("3.5"), nanoseconds("soon")
    (1712195495519689047, 167000, 3500, None)
    """
    if isinstance(microseconds, int) and not isinstance(microseconds, bool):
        ns = microseconds * 1000
    elif isinstance(microseconds, str):
        parsed = _decimal_ns(microseconds)
        if parsed is None:
            return None
        ns = parsed
    else:
        return None
    return ns if abs(ns) < _LARGEST_NS else None


def _decimal_ns(text: str) -> int | None:
    whole, _, fraction = text.partition(".")
    if text.isascii() and whole.isdigit() and len(fraction) <= 3 and (fraction.isdigit() or not fraction):
        # The common case, without Decimal: 20 times faster.
        return int(whole) * 1000 + int(fraction.ljust(3, "0"))
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    if not value.is_finite() or value.adjusted() > 18:
        return None
    return int((value * 1000).to_integral_value())


@dataclass(frozen=True, slots=True)
class Nesting:
    """How the spans of one thread lie inside each other; lists by index of the span, `parents` -1 for none."""

    depths: list[int]
    parents: list[int]
    self_ns: list[int]
    leaves: list[bool]
    _order: list[int] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)

    def innermost(self, time_ns: int) -> int:
        """Return the index of the innermost span that is open at `time_ns`, -1 for none."""
        place = bisect_right(self._starts, time_ns) - 1
        index = self._order[place] if place >= 0 else -1
        while index >= 0 and self._ends[index] < time_ns:
            index = self.parents[index]
        return index


def nest(spans: Sequence[tuple[int, int]], resolution_ns: int) -> Nesting:
    """Return the nesting of `spans`, (start, end) in ns on one thread.

    Args:
        spans: in any order.
        resolution_ns: by how much an inner span may seem to outlast its outer one, because times were rounded.
    """
    count = len(spans)
    order = sorted(range(count), key=lambda i: (spans[i][0], -spans[i][1], i))
    result = Nesting(
        [0] * count, [-1] * count, [end - start for start, end in spans], [True] * count,
        order, [spans[i][0] for i in order], [end for _, end in spans],
    )  # fmt: skip
    stack: list[int] = []
    for index in order:
        start, end = spans[index]
        while stack and (start >= spans[stack[-1]][1] or end > spans[stack[-1]][1] + resolution_ns):
            stack.pop()
        if stack:
            outer = stack[-1]
            result.parents[index] = outer
            result.leaves[outer] = False
            result.self_ns[outer] -= min(end, spans[outer][1]) - start
        result.depths[index] = len(stack)
        stack.append(index)
    return result
