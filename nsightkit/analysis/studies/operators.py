"""Which operators a phase spends its CPU time in.

In: operator calls and ranges of one traced run, as rows. Out: one profile a phase, its operators by their own time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator inside a phase; `self_ns` leaves out the operators that it calls."""

    name: str
    call_count: int
    self_ns: int
    share: float  # of the own time of all operators in the phase


@dataclass(frozen=True, slots=True)
class PhaseProfile:
    """One phase: all ranges of one name."""

    name: str
    range_count: int
    duration_ns: int
    call_count: int
    operators: tuple[OperatorRow, ...]  # longest first

    @property
    def self_ns(self) -> int:
        """Time inside operators; the rest of the phase is Python and the framework between them."""
        return sum(row.self_ns for row in self.operators)

    def top(self, count: int) -> tuple[OperatorRow, ...]:
        """Return the `count` operators with most time."""
        return self.operators[:count]


def phase_profiles(operators: Sequence[Row], ranges: Sequence[Row], names: Sequence[str]) -> list[PhaseProfile]:
    """Return a profile for each of `names` that has a range, in their order.

    A call belongs to a phase where it begins inside one of the phase's ranges on the same thread.
    """
    return [
        _profile(name, [row for row in ranges if row["name"] == name], operators)
        for name in names
        if any(row["name"] == name for row in ranges)
    ]


def _profile(name: str, ranges: Sequence[Row], operators: Sequence[Row]) -> PhaseProfile:
    spans: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for row in ranges:
        spans[row["thread_id"]].append((row["start_ns"], row["start_ns"] + row["duration_ns"]))
    for found in spans.values():
        found.sort()
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for call in operators:
        if _inside(call["start_ns"], spans.get(call["thread_id"], [])):
            entry = sums[call["operator_name"]]
            entry[0] += 1
            entry[1] += call["self_ns"] or 0
    total = sum(entry[1] for entry in sums.values()) or 1
    rows = [OperatorRow(op, count, own, own / total) for op, (count, own) in sums.items()]
    rows.sort(key=lambda row: (-row.self_ns, row.name))
    whole = sum(row["duration_ns"] for row in ranges)
    return PhaseProfile(name, len(ranges), whole, sum(row.call_count for row in rows), tuple(rows))


def _inside(moment: int, spans: Sequence[tuple[int, int]]) -> bool:
    place = bisect_right(spans, (moment, 1 << 62)) - 1
    return place >= 0 and moment < spans[place][1]
