"""What ``nsightkit top`` lists by range, phase, family, stream, device or rank.

In: a dataset, keys, and perhaps the name of a range. Out: rows of GPU time with their columns. What no range launched
is always told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click

from nsightkit.cli.attributed import captures_of, graph_note, lost_graphs
from nsightkit.cli.output import Field
from nsightkit.report import format as fmt
from nsightkit.report.timeline_words import lost_graph_note

if TYPE_CHECKING:
    import pyarrow as pa

    from nsightkit.analysis.ranges.nvtx_projection import Attribution
    from nsightkit.ingest.dataset import Dataset

Row = dict[str, Any]
# Those of `analysis.work_groups`, which is not imported only to print the help page.
KEYS = ("phase", "range", "kernel", "family", "stream", "device", "rank")
NUMBERS = (
    Field("share", "share", "1"),
    Field("gpu_ns", "GPU time", "ns"),
    Field("operation_count", "GPU operations", "count"),
)


class Tables(Protocol):
    """What a listing reads from: a dataset, or what of it belongs to a range."""

    def has(self, table: str) -> bool:
        """Say whether there is such a table."""

    def arrow(self, table: str) -> pa.Table:
        """Return it."""

    def rows(self, table: str) -> list[Row]:
        """Return it as dictionaries."""


class ListingType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """One of the fixed listings, or keys of GPU work joined by commas."""

    name = "WHAT"

    def __init__(self, fixed: Sequence[str]) -> None:
        """Accept `fixed` and any combination of KEYS."""
        self.fixed = fixed

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value; anything unknown is wrong usage."""
        keys = value.split(",")
        if value in self.fixed or (set(keys) <= set(KEYS) and len(set(keys)) == len(keys)):
            return value
        self.fail(
            f"{value!r} is none of {', '.join(self.fixed)}, nor keys joined by commas out of {', '.join(KEYS)}"
            + self._meant(keys),
            param, ctx,
        )  # fmt: skip

    def _meant(self, keys: Sequence[str]) -> str:
        from difflib import get_close_matches

        near = [key if key in KEYS else next(iter(get_close_matches(key, (*KEYS, *self.fixed), 1)), "") for key in keys]
        return f". Did you mean '{','.join(dict.fromkeys(near))}'?" if all(near) else ""


@dataclass
class WorkListing:
    """Rows of GPU time, with the columns for people and the fields for machines, and what to say beside."""

    rows: list[Row]
    shown: tuple[Field, ...]
    exact: tuple[str, ...]
    told: list[str]


@dataclass
class _Seen:
    """Sums over the captures that passed by."""

    total_ns: int = 0
    unattributed_ns: int = 0
    inherited_ns: int = 0
    graph_count: int = 0
    graph_ns: int = 0
    lost_graph_count: int = 0
    has_ranges: bool = False

    def passing(self, captures: Iterable[Attribution]) -> Iterator[Attribution]:
        for attribution in captures:
            self.total_ns += attribution.total_ns
            self.unattributed_ns += attribution.unattributed_ns
            self.inherited_ns += attribution.time_of(attribution.inherited)
            self.has_ranges |= bool(attribution.spans.size)
            self.graph_count += attribution.operations.graph_count
            self.graph_ns += attribution.time_of(attribution.operations.is_graph)
            self.lost_graph_count += lost_graphs(attribution)
            yield attribution

    def notes(self, listed_ns: int, within: str | None) -> Iterator[str]:
        if within:
            share = listed_ns / self.total_ns if self.total_ns else None
            yield f"launched inside {within}: {fmt.share(share)} of {fmt.duration(self.total_ns)} GPU time"
        if self.total_ns:
            share = self.unattributed_ns / self.total_ns
            none = "" if self.has_ranges else "; the capture has no ranges"
            yield f"launched outside every range: {fmt.share(share)} of {fmt.duration(self.total_ns)} GPU time{none}"
        if self.graph_count:
            yield graph_note(self.graph_count, self.graph_ns)
        if self.lost_graph_count:
            yield lost_graph_note(self.lost_graph_count)
        if self.inherited_ns:
            yield (
                f"{fmt.duration(self.inherited_ns)} were launched by threads without an open range and count for the "
                "range that was open in their process"
            )


def work_listing(dataset: Dataset, keys: Sequence[str], within: str | None, tokens: int | None) -> WorkListing:
    """Return GPU time by `keys`, largest first.

    Raises:
        AnalysisError: there is no GPU work, or no range of the name `within`.
    """
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.work.work_groups import work_by

    ranks = {c.capture_id: c.rank for c in dataset.info.captures if c.rank is not None}
    seen = _Seen()
    captures = seen.passing(attribute(tables) for tables in captures_of(dataset))
    found = work_by(captures, keys, within, tokens, ranks)
    rows = [
        dict(zip(keys, row.keys, strict=True))
        | {"gpu_ns": row.gpu_ns, "share": row.share, "operation_count": row.operation_count,
           "per_token_ns": row.per_token_ns}
        for row in found
    ]  # fmt: skip
    shown = (*(Field("friendly" if key == "kernel" else key, key) for key in keys), *NUMBERS)
    exact = (*keys, "gpu_ns", "share", "operation_count", "per_token_ns")
    notes = [*seen.notes(sum(row.gpu_ns for row in found), within), *_rank_notes(dataset, keys)]
    return WorkListing([_with_short_name(row) for row in rows], shown, exact, notes)


def _with_short_name(row: Row) -> Row:
    from nsightkit.analysis.kernel_names import describe_kernel

    name = row.get("kernel")
    return row if not name else row | {"friendly": name if name[:1] == "[" else describe_kernel(name).friendly}


def _rank_notes(dataset: Dataset, keys: Sequence[str]) -> Iterator[str]:
    files = Counter(c.source for c in dataset.info.captures)
    unknown = [
        c.source if c.source and files[c.source] == 1 else c.capture_id for c in dataset.info.captures if c.rank is None
    ]
    if "rank" in keys and unknown:
        yield (
            f"no rank is known for {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}: a torch.profiler trace "
            "states it, and an nsys capture if its file name has the word rank and the number ('-o run-rank%q{RANK}')"
        )
