"""Phases: the named ranges of the program.

In: the sums over ranges. Out: one table; ranges nest, so their shares do not add up to a whole.
"""

from __future__ import annotations

from nsightkit.report import blocks, sums
from nsightkit.report.blocks import Column, DataTable, Section
from nsightkit.report.context import Context
from nsightkit.report.timeline_words import thread_label

_MOST_REPETITIONS = 12
_REPETITIONS = (
    Column("name", "Range"),
    Column("thread_id", "Thread", markdown=False),
    Column("instance_count", "Instances", "count", "number"),
    Column("first_ns", "First", "ns", "number"),
    Column("steady_median_ns", "Median of the others", "ns", "number"),
    Column("cold_ratio", "First ÷ median", "", "number"),
    Column("variation", "Deviation ÷ mean of the others", "1", "number"),
)
_NEEDED = (
    "No named ranges in this run. Mark the phases of the program with NVTX ranges (nsys) or record_function "
    "(torch.profiler), and profile it again."
)


def build(context: Context) -> Section:
    """Return the table of ranges."""
    rows = context.analysis.ranges
    if not rows:
        return Section("ranges", "Ranges", missing=_NEEDED)
    caption = (
        "Wall time of each range on its own thread, waiting included; this is CPU time, not GPU time. Ranges nest: "
        f"a share is of the sum over all ranges, and shares do not add up to the run. {context.timeline_scope}."
    )
    shown = sums.table("range-sums", "Ranges by total time", rows, caption, context.options.limit)
    return Section("ranges", "Ranges", (sums.without_bars(shown), *_repetitions(context)))


def _repetitions(context: Context) -> tuple[DataTable, ...]:
    """Return how the first instance of ranges that repeat compares with the others, and how even these are."""
    found = context.analysis.story.repetitions if context.analysis.story else ()
    if not found:
        return ()
    rows = tuple(
        (blocks.text(row.name), blocks.text(thread_label(row.thread_id)),
         *(blocks.number(getattr(row, column.key), column.unit) for column in _REPETITIONS[2:]))
        for row in found[:_MOST_REPETITIONS]
    )  # fmt: skip
    title = "Ranges that repeat: the first against the others"
    caption = f"First start to last end of the GPU work of each instance. {context.timeline_scope}."
    hidden = blocks.hidden_rows(len(found), len(rows), "ranges")
    return (DataTable("range-repetitions", title, _REPETITIONS, rows, caption, hidden),)
