"""``nsightkit ranks``: the ranks of one job side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.scoping import scope_words, within_option
from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.analysis.timeline.ranks import RangeSpread, RankComparison
    from nsightkit.ingest.dataset import Dataset

VIEWS = ("ranks", "ranges")
# With more ranks the matrix is wider than a page; the machine formats always have it.
_MOST_COLUMNS = 8
# The rank with most takes less than this many times the mean: nothing to name.
_EVEN = 1.02
_RANKS = (
    Field("label", "rank"), Field("rank", "rank", shown=False), Field("capture_id", "capture", shown=False),
    Field("device_id", "GPU", shown=False), Field("span_ns", "span", "ns"), Field("compute_ns", "compute", "ns"),
    Field("compute_ratio", "by median", "×"), Field("communication_ns", "communication", "ns"),
    Field("exposed_communication_ns", "exposed", "ns"), Field("wait_ns", "waited in it", "ns"),
    Field("idle_ns", "idle", "ns"),
)  # fmt: skip
_RANGES = (
    Field("name", "range"), Field("mean_ns", "mean", "ns"), Field("min_ns", "least", "ns"),
    Field("median_ns", "median", "ns"), Field("max_ns", "most", "ns"), Field("imbalance", "most / mean", "×"),
    Field("slowest", "most on"),
)  # fmt: skip
_DOC = """Compare the ranks of one job: who is slow, and who waits.

PATH is a folder of captures, one a rank, or a run made from them. A rank is one GPU of one capture. Its number comes
from a torch.profiler trace, or from the word rank and the number in the name of the file ('-o run-rank%q{RANK}') or of
its folder.

\b
What --show lists:
  ranks   time by rank (default). A collective ends on all ranks together: where its kernel runs longer than on
          the rank on which it was shortest, the rank has waited. The one that waits least is the one the others
          wait for.
  ranges  GPU time of each range (the innermost around the launch) by rank, most uneven first. Collectives are left
          out: with them a range is even on all ranks, as whoever is early waits in them.

\b
nsightkit ranks captures/
nsightkit ranks runs/all-ranks --show ranges --format csv
nsightkit ranks runs/all-ranks --in 'step_*'
"""


@click.command("ranks", help=_DOC)
@paths_argument(required=False)
@click.option("--show", type=click.Choice(VIEWS), default="ranks", show_default=True, help="What to list; see above.")
@within_option
@click.option("--limit", type=click.IntRange(min=0), default=30, show_default=True, help="Rows to print; 0 prints all.")
@format_option
def command(paths: tuple[Path, ...], show: str, within: str | None, limit: int, format_: str) -> None:
    """See _DOC."""
    from nsightkit.analysis.timeline.ranks import compare_ranks
    from nsightkit.cli.attributed import WANTED, captures_of
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset(or_newest_run(paths), WANTED)
    if dataset.info.captures:
        known = {c.capture_id: c.rank for c in dataset.info.captures if c.rank is not None}
        found = compare_ranks(captures_of(dataset), known, within)
        _print(dataset, found, (show, limit, format_), scope_words(within))
        for text in told(found):
            note(text)
    finish(dataset)


def _print(dataset: Dataset, found: RankComparison, shape: tuple[str, int, str], scope: str) -> None:
    show, limit, format_ = shape
    for_people = format_ in ("table", "markdown")
    listed: list[dict[str, Any]] = [asdict(row) for row in (found.rows if show == "ranks" else found.ranges)]
    rows = listed[:limit] if limit and for_people else listed
    fields = list(_RANKS) if show == "ranks" else _range_fields(found, format_)
    if format_ != "json" and show == "ranges":
        rows = [row | row["rank_ns"] for row in rows]
    rest = f", {len(listed) - len(rows)} rows left out (--limit 0)" if len(rows) < len(listed) else ""
    count = "1 rank" if len(found.rows) == 1 else f"{fmt.count(len(found.rows))} ranks"
    caption = f"{dataset.name}: {count}, GPU time, {scope}, as the GPU ran{rest}"
    emit(fields, rows, format_, caption)


def _range_fields(found: RankComparison, format_: str) -> list[Field]:
    """Return the columns: one a rank, for people as long as these fit; in JSON they are one object."""
    if format_ == "json":
        return [*_RANGES, Field("rank_ns", "by rank")]
    labels = [row.label for row in found.rows]
    fits = len(labels) <= _MOST_COLUMNS or format_ not in ("table", "markdown")
    return [*_RANGES, *(Field(label, label, "ns") for label in labels if fits)]


def told(found: RankComparison) -> Iterator[str]:
    """Return what the rows say together: who is waited for, how uneven the worst range is, and what did not match."""
    if len(found.rows) < 2:
        yield "one rank alone has nothing to be compared with; name the captures of the others too"
        return
    straggler = found.straggler
    if straggler and found.matched_count:
        others = [row.wait_ns or 0 for row in found.rows if row is not straggler]
        yield (
            f"waits least in collectives: {straggler.label}; the others wait {fmt.duration(sum(others) / len(others))} "
            f"each on average, in {fmt.count(found.matched_count)} collectives that all ranks ran"
        )
    elif straggler:
        yield f"computes longest: {straggler.label}; no collectives could be matched, so who waits is not known"
    if found.unmatched_names:
        yield (
            f"{len(found.unmatched_names)} kinds of collectives were not run equally often by all ranks and are left "
            "out of the waiting times"
        )
    unknown = [row.label for row in found.rows if row.rank is None]
    if unknown:
        yield f"no rank is known for {', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''}"
    if found.ranges:
        yield _most_uneven(found.ranges[0])


def _most_uneven(worst: RangeSpread) -> str:
    if (worst.imbalance or 1.0) < _EVEN:
        return "ranges: all are even over the ranks, collectives left out"
    return (
        f"most uneven range: {worst.name}, {fmt.duration(worst.max_ns)} on {worst.slowest} against "
        f"{fmt.duration(worst.mean_ns)} on average"
    )
