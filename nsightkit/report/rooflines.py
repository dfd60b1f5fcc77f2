"""Rooflines as SVG text: all kernels under physical or normalized roofs, and one kernel under its own.

In: roofline points of the analysis with verdict and time share. Out: SVG text, see `charts`. Both axes are logarithmic
with ticks at powers of ten; a point's area is its share of the profiled time, its color and shape are its verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nsightkit.analysis.results import RooflinePoint
from nsightkit.report import format as fmt
from nsightkit.report.charts import Canvas, escape, half_width, label, num, outline, shortened
from nsightkit.report.context import MANY_KERNELS
from nsightkit.report.placing import Box, Places, around, path_lines

# Roofs closer than this are drawn as one: they differ by the clock of the launch.
_SAME_ROOF = 1.10
_MOST_ROOFS = 4
# Labels keep clear of the largest points; to keep clear of hundreds would leave no label.
_MOST_KEPT_CLEAR = 40
# Where labels may stand on the large drawings: right of the axis and above the numbers of the other.
_ROOM = (98.0, 0.0, 672.0, 400.0)


@dataclass(frozen=True, slots=True)
class Mark:
    """One kernel on a roofline."""

    point: RooflinePoint
    name: str
    bound: str
    time_share: float | None
    href: str = ""
    other_levels: tuple[RooflinePoint, ...] = ()

    @property
    def brief(self) -> str:
        """Name and distance, for pictures whose numbers stand elsewhere on the page."""
        return f"{self.name}: {fmt.share(self.point.efficiency)} of its roof"

    @property
    def words(self) -> str:
        """All numbers of the point, for the text under the pointer."""
        p = self.point
        return (
            f"{self.name}: {fmt.with_unit(p.flop_per_byte, 'flop/byte')}, {fmt.with_unit(p.flop_per_s, 'flop/s')}, "
            f"{fmt.share(p.efficiency)} of its roof, {fmt.share(self.time_share)} of the profiled time, "
            f"{self.bound.lower()}, {p.precision}" + "".join(f"; {flag}" for flag in p.flags)
        )


@dataclass(frozen=True, slots=True)
class LogScale:
    """Maps powers of ten to places on the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of `value`, clamped to the axis."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return the powers of ten along the axis, five at most."""
        powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
        return [10.0**power for power in powers][:: max(1, math.ceil(len(powers) / 6))]


@dataclass(frozen=True, slots=True)
class Frame:
    """Two axes of a drawing."""

    x: LogScale
    y: LogScale

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Return a path through `points`, given in the units of the axes."""
        return "M" + "L".join(f"{num(self.x.at(a))} {num(self.y.at(b))}" for a, b in points)

    def spots(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return the places of `points`, given in the units of the axes."""
        return [(self.x.at(a), self.y.at(b)) for a, b in points]

    def axes(self, x_unit: str, y_unit: str) -> list[str]:
        """Return grid, ticks and their labels."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        lines = "".join(f"M{num(self.x.at(t))} {num(bottom)}V{num(top)}" for t in self.x.ticks())
        lines += "".join(f"M{num(left)} {num(self.y.at(t))}H{num(right)}" for t in self.y.ticks())
        drawn = [f'<path class="lines" d="{lines}"/>']
        for t in self.x.ticks():
            drawn.append(label(self.x.at(t), bottom + 16, fmt.tick(t, ""), 'class="q m"'))
        for t in self.y.ticks():
            text = f"{t * 100:.6g} %" if y_unit == "%" else fmt.tick(t, y_unit)
            drawn.append(label(left - 6, self.y.at(t) + 4, text, 'class="q e"'))
        drawn.append(label(right, bottom + 34, x_unit, 'class="q e"'))
        return drawn


def usable(point: RooflinePoint | None) -> bool:
    """Say whether `point` has a place on logarithmic axes."""
    if point is None:
        return False
    numbers = (point.flop_per_byte, point.flop_per_s, point.ridge_flop_per_byte, point.peak_flop_per_s)
    return all(math.isfinite(value) and value > 0 for value in numbers)


def physical(marks: Sequence[Mark], title: str, labels: int = 5, below: Sequence[str] = ()) -> str:
    """Return intensity against rate, under the roofs of the hardware, with `below` in the 56 units under the axis.

    `marks` must not be empty.
    """
    points = [mark.point for mark in marks]
    bandwidths = _distinct([p.peak_bytes_per_s for p in points])[:_MOST_ROOFS]
    peaks = _compute_roofs(points)
    x_values = [p.flop_per_byte for p in points] + [p.ridge_flop_per_byte for p in points]
    y_values = [p.flop_per_s for p in points] + [peak for _, peak in peaks]
    frame = Frame(LogScale(*log_span(x_values, 0.2), 96, 664), LogScale(*log_span(y_values, 0.25), 400, 14))
    drawn = frame.axes("arithmetic intensity, FLOP per byte of DRAM traffic", "FLOP/s")
    placed = [(m, m.point.flop_per_byte, m.point.flop_per_s) for m in marks]
    places = Places(_ROOM, _boxes(frame, placed))
    drawn += _bandwidth_lines(frame, bandwidths, max(peak for _, peak in peaks), places)
    drawn += _peak_lines(frame, peaks, max(bandwidths), places)
    drawn += [*_points(frame, placed, (labels, False), places), *below]
    return Canvas(680, 502 if below else 440, title, _described(marks), "plot", linked=any(m.href for m in marks)).svg(
        drawn
    )


def normalized(marks: Sequence[Mark], title: str, labels: int = 8) -> str:
    """Return intensity ÷ ridge against rate ÷ peak, so that all kernels share one roof. `marks` must not be empty."""
    placed = [
        (m, m.point.flop_per_byte / m.point.ridge_flop_per_byte, m.point.flop_per_s / m.point.peak_flop_per_s)
        for m in marks
    ]
    x_low, x_high = log_span([x for _, x, _ in placed] + [1.0, 3.0], 0.2)
    y_low, y_high = log_span([y for _, _, y in placed] + [1.0], 0.25)
    frame = Frame(LogScale(x_low, x_high, 96, 664), LogScale(y_low, y_high, 400, 14))
    drawn = frame.axes("intensity ÷ ridge point: left of 1 the memory roof is nearer, right of 1 the compute roof", "%")
    foot = 10 ** max(x_low, y_low)
    roof, ridge = [(foot, foot), (1.0, 1.0), (10**x_high, 1.0)], [(1.0, 10**y_low), (1.0, 1.0)]
    drawn.append(f'<path class="roof" d="{frame.path(roof)}"/>')
    drawn.append(f'<path class="gap" d="{frame.path(ridge)}"/>')
    places = Places(_ROOM, _boxes(frame, placed), path_lines(frame.spots(roof)) + path_lines(frame.spots(ridge)))
    drawn.append(places.put("rate ÷ peak", [(100, 11, "s")], "q"))
    drawn.append(places.put("compute roof: 100 % of peak", [(660, frame.y.at(1.0) - 7, "e")]))
    drawn += _points(frame, placed, (labels, len(marks) <= MANY_KERNELS), places)
    return Canvas(680, 440, title, _described(marks), "plot", linked=any(m.href for m in marks)).svg(drawn)


def single(mark: Mark, hover: bool = True) -> str:
    """Return one kernel under its own roof, with the distance to it; with `hover` its numbers are under the pointer."""
    p = mark.point
    x_low, x_high = log_span([p.flop_per_byte, p.ridge_flop_per_byte], 0.4)
    foot = p.peak_bytes_per_s * min(p.flop_per_byte, p.ridge_flop_per_byte)
    y_low, y_high = log_span([p.flop_per_s, p.peak_flop_per_s, foot], 0.25)
    frame = Frame(LogScale(x_low, x_high, 86, 300), LogScale(y_low, y_high, 150, 12))
    drawn = frame.axes("FLOP/B", "FLOP/s")
    left, right = 10**x_low, 10**x_high
    start = max(left, 10**y_low / p.peak_bytes_per_s)
    ridge = p.peak_flop_per_s / p.peak_bytes_per_s
    roof = [(start, start * p.peak_bytes_per_s), (ridge, p.peak_flop_per_s), (right, p.peak_flop_per_s)]
    drawn.append(f'<path class="roof" d="{frame.path(roof)}"/>')
    gap = frame.path([(p.flop_per_byte, p.flop_per_s), (p.flop_per_byte, p.roof_flop_per_s)])
    drawn.append(f'<path class="gap" d="{gap}"/>')
    x, y = frame.x.at(p.flop_per_byte), frame.y.at(p.flop_per_s)
    drawn.append(_shape(mark, (x, y), 6, mark.words if hover else ""))
    lines = [*path_lines(frame.spots(roof)), (x, y, x, frame.y.at(p.roof_flop_per_s))]
    size = half_width(mark.bound.lower(), 6)
    places = Places((88, 0, 308, 148), [(x - size, y - size, x + size, y + size)], lines)
    drawn.append(places.put(f"{fmt.share(p.efficiency)} of roof", around(x, y, size)))
    return Canvas(308, 190, f"Roofline of {mark.name}", "").svg(drawn)


def log_span(values: Sequence[float], margin: float) -> tuple[float, float]:
    """Return where an axis for `values` begins and ends, as powers of ten, with `margin` on both sides."""
    finite = [math.log10(v) for v in values if math.isfinite(v) and v > 0]
    low, high = min(finite) - margin, max(finite) + margin
    # Fewer than two powers of ten make no axis.
    return (low, high) if high - low >= 2 else ((low + high) / 2 - 1, (low + high) / 2 + 1)


def _distinct(values: Sequence[float]) -> list[float]:
    """Return `values` from the highest down, without those close to the one before."""
    kept: list[float] = []
    for value in sorted((v for v in values if math.isfinite(v) and v > 0), reverse=True):
        if not kept or kept[-1] / value > _SAME_ROOF:
            kept.append(value)
    return kept


def _compute_roofs(points: Sequence[RooflinePoint]) -> list[tuple[str, float]]:
    by_precision: dict[str, list[float]] = {}
    for p in points:
        by_precision.setdefault(p.precision, []).append(p.peak_flop_per_s)
    # A mixed roof is no line of the hardware; it is drawn only where there is no other.
    pure = {k: v for k, v in by_precision.items() if not k.startswith("mixed")} or by_precision
    roofs = [(name, peak) for name, values in pure.items() for peak in _distinct(values)[:2]]
    return sorted(roofs, key=lambda roof: -roof[1])[: _MOST_ROOFS + 1]


def _bandwidth_lines(frame: Frame, bandwidths: Sequence[float], top_peak: float, places: Places) -> list[str]:
    drawn = []
    for bandwidth in bandwidths:
        start = max(10**frame.x.low, 10**frame.y.low / bandwidth)
        end = min(10**frame.x.high, top_peak / bandwidth)
        ends = [(start, start * bandwidth), (end, end * bandwidth)]
        drawn.append(f'<path class="roof" d="{frame.path(ends)}"/>')
        places.lines += path_lines(frame.spots(ends))
    # The highest is named; the others differ from it by the clock.
    named = f"DRAM {fmt.with_unit(bandwidths[0], 'byte/s')}"
    return [*drawn, places.along(named, places.lines[-len(bandwidths)])]


def _peak_lines(frame: Frame, peaks: Sequence[tuple[str, float]], bandwidth: float, places: Places) -> list[str]:
    drawn: list[str] = []
    starts = {peak: frame.x.at(peak / bandwidth) for _, peak in peaks}
    for _, peak in peaks:
        line = [(peak / bandwidth, peak), (10**frame.x.high, peak)]
        drawn.append(f'<path class="roof" d="{frame.path(line)}"/>')
        places.lines += path_lines(frame.spots(line))
    for name, peak in peaks:
        # At the right end of the line, or where it begins if a point is in the way; under it if another roof is.
        y = frame.y.at(peak)
        spots = [
            (660, y - 6, "e"),
            (starts[peak] + 12, y - 6, "s"),
            (660, y + 15, "e"),
            (starts[peak] + 12, y + 15, "s"),
        ]
        drawn.append(places.put(f"{name} {fmt.with_unit(peak, 'flop/s')}", spots))
    return drawn


def _boxes(frame: Frame, placed: Sequence[tuple[Mark, float, float]]) -> list[Box]:
    """Return the places that the largest points take, for labels to keep clear of."""
    largest = sorted(placed, key=lambda item: -(item[0].time_share or 0.0))[:_MOST_KEPT_CLEAR]
    found = [(frame.x.at(a), frame.y.at(b), _reach(mark)) for mark, a, b in largest]
    return [(x - size, y - size, x + size, y + size) for x, y, size in found]


def _points(
    frame: Frame, placed: Sequence[tuple[Mark, float, float]], labels: tuple[int, bool], places: Places
) -> list[str]:
    """Return the points; `labels` says how many get their name, and whether all get all numbers under the pointer."""
    drawn, named = [], []
    for mark, a, b in sorted(placed, key=lambda item: -(item[0].time_share or 0.0)):
        x, y, size = frame.x.at(a), frame.y.at(b), _radius(mark.time_share)
        shape = _shape(mark, (x, y), size, mark.words if labels[1] else mark.brief)
        drawn.append(f'<a href="{mark.href}" tabindex="-1">{shape}</a>' if mark.href else shape)
        named.append((mark.name, x, y, _reach(mark)))
    # A name that finds no free place is left to the table.
    for name, x, y, size in named[: labels[0]]:
        spots = around(x, y, size)
        drawn.append(places.put(shortened(name, 48), spots) or places.put(shortened(name, 30), spots))
    return drawn


def _radius(time_share: float | None) -> float:
    # Area stands for the share; a floor keeps small kernels visible.
    return min(18.0, max(3.5, 22 * math.sqrt(time_share or 0.0)))


def _reach(mark: Mark) -> float:
    return half_width(mark.bound.lower(), _radius(mark.time_share))


def _shape(mark: Mark, place: tuple[float, float], r: float, words: str) -> str:
    bound = mark.bound.lower()
    flagged = " flagged" if mark.point.flags else ""
    path = outline(bound, place, r)
    titled = f"><title>{escape(words)}</title></path>" if words else "/>"
    return f'<path class="{bound}{flagged} point" d="{path}"{titled}'


def _described(marks: Sequence[Mark]) -> str:
    return f"{len(marks)} kernels. " + " ".join(f"{mark.words}." for mark in marks[:5])
