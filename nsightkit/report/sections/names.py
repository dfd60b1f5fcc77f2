"""Full names of the kernels in this report.

In: names from the timeline and from the counters. Out: a list that the tables link to.
"""

from __future__ import annotations

from nsightkit.report.blocks import Name, Names, Section, Text
from nsightkit.report.context import NEEDS_COUNTERS, NEEDS_TIMELINE, Context


def build(context: Context) -> Section:
    """Return the full names in the order in which the tables first show them."""
    if not context.names:
        return Section("names", "Full names", missing=f"{NEEDS_TIMELINE} {NEEDS_COUNTERS}")
    words = "As the profilers print them. Tools print one kernel differently, so a kernel may stand here twice."
    entries = tuple(
        Name(anchor, context.friendly_names[full][0], context.friendly_names[full][1], full)
        for full, anchor in context.names.items()
    )
    return Section("names", "Full names", (Text(words, "note"), Names(entries)))
