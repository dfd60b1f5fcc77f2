"""Phases: the named ranges of the program.

In: the sums over ranges. Out: one table; ranges nest, so their shares do not add up to a whole.
"""

from __future__ import annotations

from nsightkit.report import sums
from nsightkit.report.blocks import Section
from nsightkit.report.context import Context

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
    return Section("ranges", "Ranges", (sums.without_bars(shown),))
