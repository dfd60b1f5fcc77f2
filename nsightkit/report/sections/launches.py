"""The launches of the kernels that take most time, one after the other and as a histogram.

In: the series of durations. Out: a small drawing each; where in the tree of ranges the kernel runs stands below it.
"""

from __future__ import annotations

from nsightkit.report import blocks, timeline_charts
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Figure, Group, Section, Text
from nsightkit.report.context import Context

_MOST = 12


def build(context: Context) -> Section:
    """Return the drawings, those with most time first."""
    story = context.analysis.story
    activity = story.activity if story else None
    if activity is None or not activity.series:
        return Section("launches", "Launches over time", missing=context.needs_timeline)
    figures = []
    for place, data in enumerate(activity.series[:_MOST], 1):
        name = fmt.printable(context.friendly_names.get(data.kernel_name, (data.kernel_name, ""))[0])
        words = f"{fmt.duration(data.total_ns)} in {blocks.counted(data.launch_count, 'launch', 'launches')}."
        if data.per_point > 1:
            words += f" A point is the median of {fmt.count(data.per_point)}; its line reaches from least to most."
        paths = (story.phases.paths if story and story.phases else {}).get(data.kernel_name, ())
        words += "".join(f" {fmt.share(share)} in {fmt.printable(path)}." for path, share in paths[:1])
        drawn = timeline_charts.series(data, activity.span_ns)
        href = f"#{context.names[data.kernel_name]}" if data.kernel_name in context.names else ""
        figures.append(Figure(f"launches-{place}", name, drawn, words, f"Launches of {name}", href=href))
    note = f"Most time and more than one launch: {blocks.counted(len(figures), 'kernel')}. {context.timeline_scope}."
    return Section("launches", "Launches over time", (Text(note, "note"), Group(tuple(figures), layout="grid")))
