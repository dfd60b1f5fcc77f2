"""What the page of a comparison is made from, and the tables that both kinds of comparison share.

In: comparisons with their checks and sentences. Out: blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nsightkit.analysis.compare.comparability import SAME, UNKNOWN, Check, agreed
from nsightkit.analysis.compare.comparison import Comparison, Difference
from nsightkit.analysis.compare.moved_points import Move
from nsightkit.analysis.compare.timing_comparison import TimedComparison
from nsightkit.report import blocks
from nsightkit.report.blocks import Block, Column, DataTable, Text


@dataclass(frozen=True)
class Compared:
    """One head against the base, kernel by kernel."""

    comparison: Comparison
    checks: tuple[Check, ...]
    summary: str
    phases: tuple[Difference, ...] = ()
    moves: tuple[Move, ...] = ()
    dominant: tuple[str, Sequence[Mapping[str, str]]] = ("", ())  # caption, and fact, base, head of each line


@dataclass(frozen=True)
class TimedPage:
    """One head against the base, by the timings of benchmarks."""

    comparison: TimedComparison
    summary: str


def comparability(checks: Sequence[Check], suffix: str) -> list[Block]:
    """Return the list that stands before every number: what differs, then what agrees and what is not known."""
    columns = (
        Column("name", "comparability"), Column("base", "base"), Column("head", "head"), Column("status", "status"),
        Column("message", "remark"),
    )  # fmt: skip
    shown = [check for check in checks if check.status not in (SAME, UNKNOWN)]
    rows = tuple(
        tuple(blocks.text(text) for text in (check.name, check.base, check.head, check.status, check.message))
        for check in shown
    )
    same = "; ".join(agreed(checks)) or "nothing"
    unknown = ", ".join(check.name for check in checks if check.status == UNKNOWN)
    words = f"Same on both sides: {same}." + (f" Not known on a side: {unknown}." if unknown else "")
    found: list[Block] = [Text(words)]
    if rows:
        found.insert(0, DataTable(f"comparability{suffix}", "What differs between the sides", columns, rows))
    return found
