"""Lines and bars for studies, as SVG text.

In: named series of points, or named values, in base units. Out: a `Figure` with its table twin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nsightkit.report import format as fmt
from nsightkit.report.blocks import Figure, Key, counted
from nsightkit.report.charts import (
    FAMILY_MARKS,
    Canvas,
    Part,
    escape,
    fitted,
    label,
    labeled_strip,
    num,
    strip,
    text_width,
)
from nsightkit.report.studies.parts import change, table

_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH, _HEIGHT = 92, 430, 18, 240, 600, 284
_MOST_NAME = 340


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its name, the unit of its values, and whether it is logarithmic."""

    name: str
    unit: str = ""
    log: bool = False

    @property
    def title(self) -> str:
        """The name, with its scale where equal distances are equal factors."""
        return f"{self.name}, log scale" if self.log else self.name


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
    described = "; ".join(f"{name}: {counted(len(points), 'point')}" for name, points in kept)
    room = max((_RIGHT + 37 + text_width(name) for name, _ in kept), default=0.0)
    svg = Canvas(max(_WIDTH, math.ceil(room)), _HEIGHT, title, described, "plot").svg(drawn)
    rows = [(name, x, y) for name, points in kept for x, y in points]
    twin = table(
        f"{id_}-numbers", title, (("series", "text"), (axes[0].name, axes[0].unit), (axes[1].name, axes[1].unit)), rows
    )
    return Figure(id_, title, svg, caption, f"{title}. {described}", twin, wide=True)


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
    # A mark follows the order that the caller gives, so that one name has one color in all figures of a report.
    marks = {name: FAMILY_MARKS[place % len(FAMILY_MARKS)] for place, (name, _) in enumerate(series)}
    for name, points in sorted(series, key=lambda one: -one[1][-1][1]):
        mark = marks[name]
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
    drawn = []
    free = -math.inf
    for value in values:
        text, place = fmt.with_unit(value, axis.unit) if value else "0", scale.at(value)
        if up:
            drawn.append(label(_LEFT - 6, place + 4, text, 'class="q e"'))
        elif place - text_width(text) / 2 >= free:
            drawn.append(label(place, _BOTTOM + 16, text, 'class="q m"'))
            free = place + text_width(text) / 2 + 8
    title = (_LEFT + 6, _TOP - 4, "q") if up else (_RIGHT, _BOTTOM + 34, "q e")
    drawn.append(label(title[0], title[1], axis.title, f'class="{title[2]}"'))
    return drawn


Interval = tuple[float, float] | None
Bar = tuple[str, float | None] | tuple[str, float | None, Interval]


def bars(
    id_: str,
    title: str,
    named: Sequence[Bar],
    axis: Axis,
    caption: str,
) -> Figure:
    """Return one horizontal bar a value, from 0; a value that is not known has a dash.

    A third place is a confidence interval: it is drawn as a whisker and stands in the numbers.
    """
    spans = any(len(one) == 3 for one in named)
    values = [(one[0], one[1]) for one in named]
    known: list[Interval] = [one[2] if len(one) == 3 else None for one in named]
    most = max([v for _, v in values if v is not None] + [span[1] for span in known if span], default=0.0)
    across = _Bars(_names_room(name for name, _ in values), most, axis)
    drawn = []
    for place, ((name, value), span) in enumerate(zip(values, known, strict=True)):
        drawn += _bar(8 + place * 26, (name, value), span, across)
    described = "; ".join(f"{name} {_printed(value, axis)}" for name, value in values)
    svg = Canvas(across.left + 442, 16 + 26 * len(values), title, described, "plot").svg(drawn)
    columns = [("name", "text"), (axis.name, axis.unit)]
    rows: list[tuple[object, ...]] = list(values)
    if spans:
        columns += [("low", axis.unit), ("high", axis.unit)]
        rows = [(*value, *(span or (None, None))) for value, span in zip(values, known, strict=True)]
    twin = table(f"{id_}-numbers", title, columns, rows)
    return Figure(id_, title, svg, caption, f"{title}. {described}", twin, wide=True)


@dataclass(frozen=True, slots=True)
class _Bars:
    """Where bars begin, the value that is 300 long, and their axis."""

    left: int
    most: float
    axis: Axis

    def reach(self, value: float | None) -> float:
        """Return how far a bar or a whisker goes; below 0 there is no room for one."""
        return max(0.0, 300 * value / self.most) if value and self.most > 0 else 0.0


def _names_room(names: Iterable[str]) -> int:
    """Return where bars begin: behind their longest name, but not so far that none is left."""
    return math.ceil(min(_MOST_NAME, max([142.0, *map(text_width, names)]))) + 16


def _bar(y: float, value: tuple[str, float | None], span: Interval, across: _Bars) -> list[str]:
    name, amount = value
    left, width = across.left, across.reach(amount)
    drawn = [label(left - 8, y + 13, fitted(name, left - 12), 'class="e"')]
    end = width
    if amount:
        drawn.append(f'<rect class="accent" x="{left}" y="{num(y)}" width="{num(max(1, width))}" height="18"/>')
    if span:
        low, high = (across.reach(edge) for edge in span)
        end = max(high, width)
        x, x2 = num(left + low), num(left + high)
        drawn.append(f'<path class="roof" d="M{x} {num(y + 5)}v8M{x} {num(y + 9)}H{x2}M{x2} {num(y + 5)}v8"/>')
    drawn.append(label(left + 6 + end, y + 13, _printed(amount, across.axis)))
    return drawn


def _printed(value: float | None, axis: Axis) -> str:
    """Return the words of a bar; a relative change has its own, as in tables."""
    return change(value) if axis.unit == "change" and value is not None else fmt.with_unit(value, axis.unit)


def stacked_bars(id_: str, title: str, rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], caption: str) -> Figure:
    """Return one bar a row, made of its parts in nanoseconds, all on one scale; the parts are named below."""
    most = max((sum(value for _, value in parts) for _, parts in rows), default=0.0) or 1.0
    names = list(dict.fromkeys(part for _, parts in rows for part, _ in parts))
    drawn: list[str] = []
    left = _names_room(name for name, _ in rows)
    for place, (name, parts) in enumerate(rows):
        x, y = float(left), 8 + place * 26
        drawn.append(label(left - 8, y + 13, fitted(name, left - 12), 'class="e"'))
        for part, value in parts:
            width = 300 * value / most
            drawn.append(
                f'<rect class="{FAMILY_MARKS[names.index(part) % len(FAMILY_MARKS)]}" x="{num(x)}" y="{y}" '
                f'width="{num(max(0.5, width - 1))}" height="18"><title>{escape(f"{name}, {part}: ")}'
                f"{escape(fmt.duration(value))}</title></rect>"
            )
            x += width
        drawn.append(label(x + 6, y + 13, fmt.duration(sum(value for _, value in parts))))
    y, x = 26 + 26 * len(rows), float(left)
    for place, part in enumerate(names):
        if x > left and x + 14 + text_width(part) > left + 442:
            y, x = y + 20, float(left)
        drawn.append(f'<rect class="{FAMILY_MARKS[place % len(FAMILY_MARKS)]}" x="{num(x)}" y="{y - 9}" width="9" '
                     'height="9"/>')  # fmt: skip
        drawn.append(label(x + 14, y, part))
        x += 34 + text_width(part)
    described = "; ".join(f"{name}: " + ", ".join(f"{p} {fmt.duration(v)}" for p, v in parts) for name, parts in rows)
    svg = Canvas(left + 442, y + 12, title, described, "plot").svg(drawn)
    numbers = [(name, part, value) for name, parts in rows for part, value in parts]
    twin = table(f"{id_}-numbers", title, (("row", "text"), ("part", "text"), ("time", "ns")), numbers)
    return Figure(id_, title, svg, caption, f"{title}. {described}", twin, wide=True)


def heat_map(id_: str, title: str, names: Sequence[str], values: Sequence[Sequence[float]], caption: str) -> Figure:
    """Return a square of shades for a symmetric matrix of values from -1 to 1; the number stands in each place."""
    size = min(44, 380 // max(1, len(names)))
    drawn = []
    for i, row in enumerate(values):
        drawn.append(label(60, 24 + size * (i + 0.6), names[i], 'class="e"'))
        drawn.append(label(66 + size * (i + 0.5), 14, names[i], 'class="m"'))
        for j, value in enumerate(row):
            x, y = 66 + size * j, 20 + size * i
            drawn.append(
                f'<rect class="accent" fill-opacity="{min(1.0, abs(value)):.3f}" x="{x}" y="{y}" width="{size - 1}" '
                f'height="{size - 1}"><title>{escape(f"{names[i]}, {names[j]}: {value:.4f}")}</title></rect>'
            )
            if size >= 30:
                shade = "on m" if abs(value) > 0.6 else "m"
                drawn.append(label(x + size / 2, y + size / 2 + 4, f"{value:.2f}", f'class="{shade}"'))
    side = 66 + size * len(names) + 10
    svg = Canvas(max(_WIDTH, side), 30 + size * len(names), title, f"{len(names)} by {len(names)} values").svg(drawn)
    numbers = [(names[i], names[j], value) for i, row in enumerate(values) for j, value in enumerate(row) if i < j]
    twin = table(f"{id_}-numbers", title, (("a", "text"), ("b", "text"), ("cosine", "")), numbers)
    return Figure(id_, title, svg, caption, title, twin)


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
