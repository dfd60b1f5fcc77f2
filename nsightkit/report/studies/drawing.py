"""Lines and bars for studies, as SVG text.

In: named series of points, or named values, in base units. Out: a `Figure` with its table twin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nsightkit.report import format as fmt
from nsightkit.report.blocks import Figure, Key
from nsightkit.report.charts import FAMILY_MARKS, Canvas, Part, escape, label, labeled_strip, num, strip
from nsightkit.report.studies.parts import table

_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH, _HEIGHT = 70, 440, 16, 220, 560, 262


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its name, the unit of its values, and whether it is logarithmic."""

    name: str
    unit: str = ""
    log: bool = False


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool

    def at(self, value: float) -> float:
        low, high, here = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((here - low) / (high - low) if high > low else 0.5)


Series = tuple[str, Sequence[tuple[float, float]]]


def lines(id_: str, title: str, series: Sequence[Series], axes: tuple[Axis, Axis], caption: str) -> Figure:
    """Return points joined by lines, each series named at its end; points that an axis cannot hold are left out."""
    kept = [(name, _drawable(points, axes)) for name, points in series]
    kept = [(name, points) for name, points in kept if points]
    drawn = _drawn(kept, axes) if kept else [label(_LEFT, 100, "no points to draw")]
    described = "; ".join(f"{name}: {len(points)} points" for name, points in kept)
    svg = Canvas(_WIDTH, _HEIGHT, title, described).svg(drawn)
    rows = [(name, x, y) for name, points in kept for x, y in points]
    twin = table(
        f"{id_}-numbers", title, (("series", "text"), (axes[0].name, axes[0].unit), (axes[1].name, axes[1].unit)), rows
    )
    return Figure(id_, title, svg, caption, f"{title}. {described}", twin)


def _drawable(points: Sequence[tuple[float, float]], axes: tuple[Axis, Axis]) -> list[tuple[float, float]]:
    return [p for p in points if all(math.isfinite(v) and (v > 0 or not a.log) for v, a in zip(p, axes, strict=True))]


def _drawn(series: Sequence[tuple[str, list[tuple[float, float]]]], axes: tuple[Axis, Axis]) -> list[str]:
    xs = [x for _, points in series for x, _ in points]
    ys = [y for _, points in series for _, y in points]
    across = _Scale(min(xs), max(xs), _LEFT + 10, _RIGHT, axes[0].log)
    # A linear axis of amounts starts at 0: a difference is not to look larger than it is.
    up = _Scale(min(ys) if axes[1].log else min(0.0, *ys), max(ys), _BOTTOM - 6, _TOP, axes[1].log)
    drawn = [f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT + 10}"/>']
    drawn += _ticks(across, sorted(set(xs)), axes[0], up=False) + _ticks(up, [up.low, up.high], axes[1], up=True)
    ends: list[float] = []
    for place, (name, points) in enumerate(sorted(series, key=lambda one: -one[1][-1][1])):
        mark = FAMILY_MARKS[place % len(FAMILY_MARKS)]
        spots = [(across.at(x), up.at(y)) for x, y in points]
        drawn.append(f'<path class="gap" d="M{"L".join(f"{num(x)} {num(y)}" for x, y in spots)}"/>')
        drawn += [
            f'<circle class="{mark}" cx="{num(x)}" cy="{num(y)}" r="4">'
            f"<title>{escape(f'{name}: {fmt.with_unit(b, axes[1].unit)}')}</title></circle>"
            for (x, y), (_, b) in zip(spots, points, strict=True)
        ]
        y = max([spots[-1][1] + 4, *(end + 14 for end in ends[-1:])])
        ends.append(y)
        drawn.append(f'<rect class="{mark}" x="{_RIGHT + 16}" y="{num(y - 9)}" width="9" height="9"/>')
        drawn.append(label(_RIGHT + 29, y, name))
    return drawn


def _ticks(scale: _Scale, values: Sequence[float], axis: Axis, up: bool) -> list[str]:
    step = max(1, math.ceil(len(values) / 6))
    drawn = []
    for value in values[::step]:
        text = fmt.with_unit(value, axis.unit)
        if up:
            drawn.append(label(_LEFT - 6, scale.at(value) + 4, text, 'text-anchor="end" class="quiet"'))
        else:
            drawn.append(label(scale.at(value), _BOTTOM + 16, text, 'text-anchor="middle" class="quiet"'))
    title = (_LEFT + 6, _TOP - 4, "start") if up else (_RIGHT, _BOTTOM + 34, "end")
    drawn.append(label(title[0], title[1], axis.name, f'text-anchor="{title[2]}" class="quiet"'))
    return drawn


def bars(id_: str, title: str, values: Sequence[tuple[str, float | None]], axis: Axis, caption: str) -> Figure:
    """Return one horizontal bar a value, from 0; a value that is not known has a dash."""
    most = max((value for _, value in values if value is not None), default=0.0)
    drawn = []
    for place, (name, value) in enumerate(values):
        y = 8 + place * 26
        drawn.append(label(150, y + 13, name, 'text-anchor="end"'))
        width = 300 * value / most if value and most > 0 else 0.0
        if width:
            drawn.append(f'<rect class="accent" x="158" y="{y}" width="{num(max(1, width))}" height="18"/>')
        drawn.append(label(164 + width, y + 13, fmt.with_unit(value, axis.unit)))
    described = "; ".join(f"{name} {fmt.with_unit(value, axis.unit)}" for name, value in values)
    svg = Canvas(_WIDTH, 16 + 26 * len(values), title, described).svg(drawn)
    twin = table(f"{id_}-numbers", title, (("name", "text"), (axis.name, axis.unit)), values)
    return Figure(id_, title, svg, caption, f"{title}. {described}", twin)


def stacked(id_: str, title: str, values: Sequence[tuple[str, float]], caption: str) -> Figure:
    """Return one bar that is the whole: times in nanoseconds and their shares."""
    total = sum(value for _, value in values) or 1.0
    parts = [
        Part(
            FAMILY_MARKS[place % len(FAMILY_MARKS)],
            name,
            value / total,
            f"{fmt.duration(value)} ({fmt.share(value / total)})",
        )
        for place, (name, value) in enumerate(values)
    ]
    twin = table(
        f"{id_}-numbers",
        title,
        (("part", "text"), ("time", "ns"), ("share", "1")),
        [(name, value, value / total) for name, value in values],
    )
    keys = tuple(Key(part.mark, part.label, part.text, "") for part in parts)
    return Figure(
        id_,
        title,
        strip(parts, title),
        caption,
        f"{title}. " + "; ".join(f"{p.label} {p.text}" for p in parts),
        twin,
        keys,
        labeled_strip(parts, title),
    )
