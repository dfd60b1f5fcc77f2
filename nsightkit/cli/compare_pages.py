"""Turns comparisons into the pages that ``nsightkit compare -o`` writes.

In: what was compared. Out: compare.html and compare.md in the folder that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsightkit.analysis.compare.comparability import Check
from nsightkit.analysis.compare.comparison import Comparison, Difference
from nsightkit.analysis.compare.timing_comparison import TimedComparison
from nsightkit.cli.sides import LoadedSide

if TYPE_CHECKING:
    from nsightkit.analysis.roofs.peaks import Gpu
    from nsightkit.report.comparison.parts import Compared, TimedPage


@dataclass(frozen=True)
class ComparedHead:
    """One head against the base, with the sentences that were printed."""

    side: LoadedSide
    comparison: Comparison
    checks: Sequence[Check]
    phases: Sequence[Difference]
    summary: str


def write_pages(folder: Path | None, make: Callable[[], Sequence[Compared | TimedPage]]) -> None:
    """Write the pages that `make` returns into `folder` and say where they are; nothing where it is None."""
    if folder is None:
        return
    from nsightkit.report.comparison import write_comparison

    written = write_comparison(folder, make())
    for path in written[:2]:
        click.echo(f"report: {path}", err=True)


def kernel_pages(base: LoadedSide, compared: Sequence[ComparedHead]) -> list[Compared]:
    """Return one page a head, with the points that moved."""
    from nsightkit.analysis.compare.moved_points import moved_points
    from nsightkit.cli.compare_words import dominant_rows
    from nsightkit.report.comparison.parts import Compared

    return [
        Compared(
            one.comparison,
            tuple(one.checks),
            one.summary,
            tuple(one.phases),
            tuple(moved_points(one.comparison, _gpu(base), _gpu(one.side))),
            dominant_rows(one.comparison),
        )
        for one in compared
    ]


def timed_pages(compared: Sequence[TimedComparison]) -> list[TimedPage]:
    """Return one page a head."""
    from nsightkit.cli.timings import timing_summary
    from nsightkit.report.comparison.parts import TimedPage

    return [TimedPage(comparison, timing_summary(comparison)) for comparison in compared]


def _gpu(side: LoadedSide) -> Gpu:
    from nsightkit.analysis.roofs.peaks import Gpu

    info = side.runs[0].dataset.info
    return Gpu(info.gpu_name or side.facts.facts.get("gpu"), info.compute_capability)
