"""One roofline per kernel.

In: the roofline points. Out: a small drawing each, under the kernel's own roof.
"""

from __future__ import annotations

from itertools import islice

from nsightkit.report import blocks, marks, rooflines
from nsightkit.report.blocks import Block, Figure, Group, Section, Text
from nsightkit.report.context import MANY_KERNELS, NEEDS_COUNTERS, NEEDS_ROOFLINE, Context
from nsightkit.report.labels import sentence

_MARKDOWN_FIGURES = 24
# With more of them the page grows too large to be mailed.
_MOST_FIGURES = 200


def build(context: Context) -> Section:
    """Return the rooflines of the kernels, those with most time first."""
    made = (_figure(context, index) for index, _ in context.kernels)
    figures = tuple(islice((figure for figure in made if figure), _MOST_FIGURES))
    if len(figures) == 1:
        words = "One kernel has a place under a roofline, and the section before shows it."
        return Section("kernel-rooflines", "Rooflines by kernel", missing=words)
    if not figures:
        needed = NEEDS_ROOFLINE if context.analysis.kernels else NEEDS_COUNTERS
        return Section("kernel-rooflines", "Rooflines by kernel", missing=needed)
    words = (
        "Each kernel under its own roof: the peak of the dtypes it uses and the DRAM bandwidth, both at the clocks of "
        "its launches. The dotted line is the distance to the roof."
    )
    points = len(marks.of(context)) if len(figures) == _MOST_FIGURES else len(figures)
    if points > len(figures):
        words += f" {blocks.hidden_rows(points, len(figures), 'kernels')} The roofline above has all of them."
    parts: tuple[Block, ...] = (Text(words, "note"), Group(figures, layout="grid", markdown_limit=_MARKDOWN_FIGURES))
    return Section("kernel-rooflines", "Rooflines by kernel", parts)


def _figure(context: Context, index: int) -> Figure | None:
    mark = marks.mark_of(context, index)
    if mark is None:
        return None
    name = f"roofline-{index + 1}"
    few = len(context.kernels) <= MANY_KERNELS
    words = sentence(context.analysis.kernels[index]) if few else ""
    drawn = rooflines.single(mark, hover=few)
    return Figure(name, mark.name, drawn, words, mark.words, href=mark.href)
