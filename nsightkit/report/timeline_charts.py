"""Charts of time as SVG text: the strip of the timeline, phases by family, launches one after the other.

In: results of the analyses in base units. Out: SVG text, see `charts`. The table twin of each is made by its section.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nsightkit.report import format as fmt
from nsightkit.report.charts import FAMILY_MARKS, Canvas, escape, fitted, label, num

if TYPE_CHECKING:
    from nsightkit.analysis.ranges.phases import Phases
    from nsightkit.analysis.timeline.activity import Activity, LaunchSeries
    from nsightkit.analysis.timeline.memory_use import MemoryUse

_LEFT, _WIDTH = 190, 1000
_ROW = 26
_MOST_ROWS = 8


def strip(activity: Activity, phases: Phases | None) -> str:
    """Return time from left to right: a row a phase with its instances, a row a GPU with its busy share as height."""
    scale = (_WIDTH - _LEFT) / activity.span_ns
    drawn, y = [], 4.0
    names = phases.names[:_MOST_ROWS] if phases else ()
    for place, name in enumerate(names):
        segments = [s for s in phases.segments if s.phase == place] if phases else []
        if not segments:
            continue
        drawn.append(label(_LEFT - 8, y + 15, fitted(fmt.printable(name), _LEFT - 10), 'class="e"'))
        path = "".join(_segment(s.start_ns * scale, s.end_ns * scale, y) for s in segments)
        words = f"{fmt.printable(name)}: {fmt.count(len(segments))} instances on the GPU"
        drawn.append(f'<path class="{FAMILY_MARKS[place % 8]}" d="{path}"><title>{escape(words)}</title></path>')
        y += _ROW
    for device in activity.strips:
        drawn += _busy_row(
            device.busy, y, f"GPU {device.device_id} busy {fmt.share(device.busy_ns / activity.span_ns)}"
        )
        y += 46
    drawn += _time_axis(activity.span_ns, y, scale)
    words = f"{fmt.duration(activity.span_ns)} from the first start to the last end on the GPU."
    return Canvas(_WIDTH + 10, int(y + 24), "Phases and busy time along the run", words, "plot wide").svg(drawn)


def _segment(start: float, end: float, y: float) -> str:
    """Return the path of one instance; what reaches out of the span of the strip is cut off."""
    start, end = (min(max(0.0, edge), _WIDTH - _LEFT) for edge in (start, end))
    width = max(0.7, end - start)
    return f"M{num(_LEFT + start)} {num(y + 4)}h{num(width)}v14h{num(-width)}z"


def _busy_row(busy: Sequence[float], y: float, words: str) -> list[str]:
    step = (_WIDTH - _LEFT) / max(1, len(busy))
    bottom = y + 38
    path = f"M{_LEFT} {num(bottom)}" + "".join(
        f"L{num(_LEFT + place * step)} {num(bottom - 34 * share)}h{num(step)}" for place, share in enumerate(busy)
    )
    return [
        label(_LEFT - 8, y + 26, words, 'class="e"'),
        f'<path class="accent" d="{path}L{_WIDTH} {num(bottom)}z"/>',
        f'<path class="axis" d="M{_LEFT} {num(bottom)}H{_WIDTH}"/>',
    ]


def _time_axis(span_ns: int, y: float, scale: float) -> list[str]:
    step = 10.0 ** math.floor(math.log10(span_ns))
    step = next(step * part for part in (0.2, 0.5, 1.0, 2.0) if span_ns / (step * part) <= 8)
    count = int(span_ns / step)
    return [
        label(
            _LEFT + place * step * scale,
            y + 14,
            fmt.duration(place * step) if place else "0",
            f'class="q {"m" if place else "s"}"',
        )
        for place in range(count + 1)
    ]


def memory(uses: Sequence[MemoryUse]) -> str:
    """Return bytes in use from left to right, a row a GPU, each on a scale up to its own peak."""
    drawn, y = [], 4.0
    begin = min(use.points[0][0] for use in uses)
    span = max(1, max(use.points[-1][0] for use in uses) - begin)
    scale = (_WIDTH - _LEFT) / span
    for use in uses[:_MOST_ROWS]:
        bottom, top = y + 60, max(1, use.peak_bytes)
        steps = "".join(
            f"H{num(_LEFT + (time - begin) * scale)}V{num(bottom - 56 * used / top)}" for time, used in use.points
        )
        words = f"GPU {use.device_id}, most {fmt.with_unit(use.peak_bytes, 'byte')}"
        drawn += [
            label(_LEFT - 8, y + 36, words, 'class="e"'),
            f'<path class="accent" d="M{_LEFT} {num(bottom)}{steps}H{_WIDTH}V{num(bottom)}z"/>',
            f'<path class="axis" d="M{_LEFT} {num(bottom)}H{_WIDTH}"/>',
        ]
        y += 68
    drawn += _time_axis(span, y, scale)
    words = f"{fmt.duration(span)} from the first to the last allocation or release."
    return Canvas(_WIDTH + 10, int(y + 24), "Memory in use along the run", words, "plot wide").svg(drawn)


def heat(phases: Phases, columns: int) -> str:
    """Return phases × families: darker is more of the GPU time of all phases; each cell says its share."""
    whole = sum(map(sum, phases.times_ns)) or 1
    left, width, height = 220, 76, 26
    drawn = [
        label(left + (place + 0.5) * width, 16 if place % 2 == 0 else 30, fitted(family, 2 * width - 8), 'class="m"')
        for place, family in enumerate(phases.families[:columns])
    ]
    for row, name in enumerate(phases.names):
        y = 38 + row * height
        drawn.append(label(left - 8, y + 17, fitted(fmt.printable(name), left - 10), 'class="e"'))
        for place, time in enumerate(phases.times_ns[row][:columns]):
            if not time:
                continue
            share = time / whole
            shade = round(0.08 + 0.72 * math.sqrt(share), 2)
            words = f"{fmt.printable(name)}, {phases.families[place]}: {fmt.duration(time)}, {fmt.share(share)}"
            drawn.append(
                f'<rect class="accent" fill-opacity="{shade}" x="{left + place * width + 1}" y="{y + 1}" '
                f'width="{width - 2}" height="{height - 2}"><title>{escape(words)}</title></rect>'
            )
            # White on the darkest cells, ink on the others: both keep their contrast.
            ink = ' class="m on"' if shade > 0.55 else ' class="m"'
            drawn.append(label(left + (place + 0.5) * width, y + 17, fmt.share(share), ink.strip()))
    # Few columns are not blown up to the width of the page, and the last label has its room.
    size = (max(_WIDTH, left + len(phases.families[:columns]) * width + 40), 44 + len(phases.names) * height)
    words = f"{len(phases.names)} phases, {len(phases.families)} families; the table below has every number."
    return Canvas(*size, "GPU time by phase and family", words, "plot wide").svg(drawn)


def series(data: LaunchSeries, span_ns: int) -> str:
    """Return the durations of one kernel in the order of time, with their histogram beside, on one axis."""
    low, high = data.edges[0], data.edges[-1]
    top, bottom, left, right = 12.0, 120.0, 58.0, 232.0
    reach = (high - low) or max(1.0, high * 0.1)

    def y_of(value: float) -> float:
        return bottom - (value - low) / reach * (bottom - top)

    x_of = [left + start / span_ns * (right - left) for start, *_ in data.points]
    spans = "".join(
        f"M{num(x)} {num(y_of(most))}V{num(max(y_of(least), y_of(most) + 0.6))}"
        for x, (_, least, _, most) in zip(x_of, data.points, strict=True)
    )
    dots = "".join(
        f"M{num(x - 1)} {num(y_of(middle) - 1)}h2v2h-2z" for x, (_, _, middle, _) in zip(x_of, data.points, strict=True)
    )
    step, most = (bottom - top) / len(data.counts), max(data.counts)
    bars = "".join(
        f"M242 {num(bottom - (place + 1) * step)}h{num(max(1.0, 60 * count / most))}v{num(step - 0.5)}H242z"
        for place, count in enumerate(data.counts)
        if count
    )
    drawn = [
        f'<path class="lines" d="M{num(left)} {num(bottom)}H{num(right)}"/><path class="axis" d="{spans}"/>',
        f'<path class="accent" d="{dots}"/><path class="f0" d="{bars}"/>',
        label(left - 4, top + 8, fmt.duration(high), 'class="q e"'),
        label(left - 4, bottom, fmt.duration(low), 'class="q e"'),
        label(left, bottom + 16, "a launch, along the run", 'class="q s"'),
        label(304, bottom + 16, "how many", 'class="q e"'),
    ]
    words = f"{fmt.count(data.launch_count)} launches from {fmt.duration(low)} to {fmt.duration(high)}."
    return Canvas(308, 142, "Durations of the launches over time, and their histogram", words).svg(drawn)
