"""The drawings of a comparison as SVG text: waterfall, scatter, moved points.

In: steps, pairs of times, moves. Out: SVG text, see `report.charts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nsightkit.analysis.compare.moved_points import Move
from nsightkit.report import format as fmt
from nsightkit.report.charts import Canvas, escape, fitted, label, num, shortened
from nsightkit.report.placing import Places, around, path_lines
from nsightkit.report.rooflines import Frame, LogScale

_NAMES, _LEFT, _RIGHT, _ROW = 250, 262, 600, 26
# A waterfall whose steps are shorter than this share of the totals is cut off on the left, and says so.
_VISIBLE = 0.3
# Names keep clear of so many points; to keep clear of hundreds would leave no name.
_MOST_KEPT_CLEAR = 40


@dataclass(frozen=True, slots=True)
class Step:
    """One bar between the two totals."""

    name: str
    difference_ns: float


def is_cut(base_ns: float, steps: Sequence[Step]) -> bool:
    """Say whether the axis of the waterfall does not begin at 0."""
    levels = _levels(base_ns, steps)
    return max(levels) - min(levels) < _VISIBLE * max(levels)


def _levels(base_ns: float, steps: Sequence[Step]) -> list[float]:
    levels = [base_ns]
    for step in steps:
        levels.append(levels[-1] + step.difference_ns)
    return levels


def waterfall(base_ns: float, steps: Sequence[Step], names: tuple[str, str], title: str) -> str:
    """Return the bars that lead from the total of base to the total of head."""
    levels = _levels(base_ns, steps)
    low, high = min(levels), max(levels)
    low = max(0.0, low - 0.25 * (high - low)) if is_cut(base_ns, steps) else 0.0
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - low) / span

    drawn = _total(names[0], at(base_ns), 0, fmt.duration(base_ns))
    for place, step in enumerate(steps, 1):
        ends = sorted((at(levels[place - 1]), at(levels[place])))
        mark = "compute" if step.difference_ns > 0 else "memory"
        words = f"{step.name}: {fmt.signed_duration(step.difference_ns)}"
        drawn.append(label(_NAMES, _y(place) + 14, fitted(step.name, _NAMES - 4), 'class="e"'))
        drawn.append(
            f'<rect class="{mark}" x="{num(ends[0])}" y="{_y(place)}" width="{num(max(1.0, ends[1] - ends[0]))}" '
            f'height="18"><title>{escape(words)}</title></rect>'
        )
        drawn.append(label(ends[1] + 6, _y(place) + 14, fmt.signed_duration(step.difference_ns)))
    drawn += _total(names[1], at(levels[-1]), len(steps) + 1, fmt.duration(levels[-1]))
    described = f"{fmt.duration(base_ns)} to {fmt.duration(levels[-1])}: " + "; ".join(
        f"{step.name} {fmt.signed_duration(step.difference_ns)}" for step in steps[:6]
    )
    return Canvas(680, _y(len(steps) + 2) + 4, title, described, "plot").svg(drawn)


def _y(place: int) -> int:
    return 8 + place * _ROW


def _total(name: str, end: float, place: int, text: str) -> list[str]:
    width = max(1.0, end - _LEFT)
    return [
        label(_NAMES, _y(place) + 14, fitted(name, _NAMES - 4), 'class="e"'),
        f'<rect class="unknown" x="{_LEFT}" y="{_y(place)}" width="{num(width)}" height="18"/>',
        label(_LEFT + width + 6, _y(place) + 14, text),
    ]


@dataclass(frozen=True, slots=True)
class Spot:
    """One kernel of both sides; `mark` is the class that colors it."""

    name: str
    base_ns: float
    head_ns: float
    mark: str


def scatter(spots: Sequence[Spot], title: str) -> str:
    """Return base against head on logarithmic axes, with the line on which nothing changed. `spots` not empty."""
    logs = [math.log10(value) for spot in spots for value in (spot.base_ns, spot.head_ns)]
    # One kernel alone still gets an axis with ticks.
    margin = max(0.2, (1 - max(logs) + min(logs)) / 2)
    low, high = min(logs) - margin, max(logs) + margin
    frame = Frame(LogScale(low, high, 96, 500), LogScale(low, high, 400, 14))
    drawn = _time_axes(frame)
    drawn.append(f'<path class="axis" d="{frame.path([(10**low, 10**low), (10**high, 10**high)])}"/>')
    ordered = sorted(spots, key=lambda spot: -abs(spot.head_ns - spot.base_ns))
    for spot in reversed(ordered):
        words = f"{spot.name}: {fmt.duration(spot.base_ns)} to {fmt.duration(spot.head_ns)}"
        drawn.append(
            f'<circle class="{spot.mark} point" cx="{num(frame.x.at(spot.base_ns))}" '
            f'cy="{num(frame.y.at(spot.head_ns))}" r="5"><title>{escape(words)}</title></circle>'
        )
    drawn += _spot_labels(frame, ordered)
    above = sum(spot.head_ns > spot.base_ns for spot in spots)
    described = f"{len(spots)} kernels; {above} take more time in head, {len(spots) - above} do not."
    return Canvas(520, 444, title, described, "plot").svg(drawn)


def _spot_labels(frame: Frame, spots: Sequence[Spot]) -> list[str]:
    """Name the kernels that changed the most, where their names find a place."""
    found = frame.spots([(spot.base_ns, spot.head_ns) for spot in spots])
    places = Places((98, 14, 516, 398), [(x - 5, y - 5, x + 5, y + 5) for x, y in found[:_MOST_KEPT_CLEAR]])
    places.lines.append((frame.x.start, frame.y.start, frame.x.end, frame.y.end))
    named = zip(spots[:4], found, strict=False)
    return [places.put(shortened(spot.name, 30), around(x, y, 5)) for spot, (x, y) in named]


def _time_axes(frame: Frame) -> list[str]:
    drawn = []
    for tick in _time_ticks(frame.x):
        x, y = frame.x.at(tick), frame.y.at(tick)
        drawn.append(f'<path class="lines" d="M{num(x)} 400V14M96 {num(y)}H500"/>')
        drawn.append(label(x, 416, fmt.duration(tick), 'class="q m"'))
        drawn.append(label(90, y + 4, fmt.duration(tick), 'class="q e"'))
    drawn.append(label(500, 436, "time in base", 'class="q e"'))
    drawn.append(label(96, 10, "time in head", 'class="q"'))
    return drawn


def _time_ticks(scale: LogScale) -> list[float]:
    """Return powers of ten, or ones, twos and fives of them where there are fewer than two."""
    ticks = scale.ticks()
    if len(ticks) >= 2:
        return ticks
    powers = range(math.floor(scale.low), math.ceil(scale.high) + 1)
    found = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return [tick for tick in found if scale.low <= math.log10(tick) <= scale.high]


def moved(moves: Sequence[Move], title: str) -> str:
    """Return the points of both sides under the highest roofs, joined where they moved. `moves` must not be empty."""
    points = [point for move in moves for point in (move.base, move.head)]
    bandwidth = max(point.peak_bytes_per_s for point in points)
    peak = max(point.peak_flop_per_s for point in points)
    xs = [point.flop_per_byte for point in points] + [peak / bandwidth]
    ys = [point.flop_per_s for point in points] + [peak]
    frame = Frame(LogScale(*_span(xs), 96, 664), LogScale(*_span(ys), 400, 14))
    drawn = frame.axes("arithmetic intensity, FLOP per byte of DRAM traffic", "FLOP/s")
    start = max(10**frame.x.low, 10**frame.y.low / bandwidth)
    roof = [(start, start * bandwidth), (peak / bandwidth, peak), (10**frame.x.high, peak)]
    drawn.append(f'<path class="roof" d="{frame.path(roof)}"/>')
    roofs = f"{fmt.with_unit(peak, 'flop/s')}, {fmt.with_unit(bandwidth, 'byte/s')}"
    places = Places((98, 0, 672, 398), lines=path_lines(frame.spots(roof)))
    drawn.append(places.put(roofs, [(660, frame.y.at(peak) - 6, "e")]))
    for move in reversed(moves):
        drawn += _move(frame, move)
    drawn += _move_labels(frame, moves, places)
    described = "; ".join(f"{move.name}: {_words(move)}" for move in moves[:5])
    return Canvas(680, 440, title, described, "plot").svg(drawn)


def _move_labels(frame: Frame, moves: Sequence[Move], places: Places) -> list[str]:
    """Name the points that changed the most, leaving out names that find no place."""
    heads = frame.spots([(move.head.flop_per_byte, move.head.flop_per_s) for move in moves])
    bases = frame.spots([(move.base.flop_per_byte, move.base.flop_per_s) for move in moves])
    places.taken += [(x - 6, y - 6, x + 6, y + 6) for x, y in (*heads, *bases)][:_MOST_KEPT_CLEAR]
    places.lines += [(*base, *head) for base, head in zip(bases, heads, strict=True)]
    named = zip(moves[:6], heads, strict=False)
    return [places.put(shortened(move.name, 30), around(x, y, 6)) for move, (x, y) in named]


def _move(frame: Frame, move: Move) -> list[str]:
    ends = [(p.flop_per_byte, p.flop_per_s) for p in (move.base, move.head)]
    places = [(num(frame.x.at(a)), num(frame.y.at(b))) for a, b in ends]
    title = f"<title>{escape(f'{move.name}: {_words(move)}')}</title>"
    return [
        f'<path class="axis" d="{frame.path(ends)}"/>',
        f'<circle class="unknown point" cx="{places[0][0]}" cy="{places[0][1]}" r="5">{title}</circle>',
        f'<circle class="accent point" cx="{places[1][0]}" cy="{places[1][1]}" r="6">{title}</circle>',
    ]


def _words(move: Move) -> str:
    return (
        f"{fmt.with_unit(move.base.flop_per_byte, 'flop/byte')} and {fmt.with_unit(move.base.flop_per_s, 'flop/s')} to "
        f"{fmt.with_unit(move.head.flop_per_byte, 'flop/byte')} and {fmt.with_unit(move.head.flop_per_s, 'flop/s')}"
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    logs = [math.log10(value) for value in values]
    low, high = min(logs) - 0.2, max(logs) + 0.25
    return (low, high) if high - low >= 2 else ((low + high) / 2 - 1, (low + high) / 2 + 1)
