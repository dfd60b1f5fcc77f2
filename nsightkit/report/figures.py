"""Figure files for papers and slides, drawn by matplotlib.

In: a `Context` and a format (png, pdf, svg). Out: one file a histogram, the two rooflines, one roofline a kernel with
its levels of memory, and the operators by work from shapes.
This is the only module that imports matplotlib, and it is imported only where figure files are asked for.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter, PercentFormatter

from nsightkit.analysis.results import Histogram, RooflinePoint
from nsightkit.report import format as fmt
from nsightkit.report import marks, operator_rooflines
from nsightkit.report.charts import PALETTE
from nsightkit.report.context import BOUND_WORDS, Context
from nsightkit.report.rooflines import Mark, log_span
from nsightkit.run import replacing

_SHAPES = {"COMPUTE": "o", "MEMORY": "s", "LATENCY": "^", "BALANCED": "D", "UNKNOWN": "o"}
_Color = tuple[float, float, float, float]
_EDGE = 0.8
_SIZE_IN = (6.4, 4.2)
_DOTS_PER_INCH = 200
# A file for each kernel; more of them nobody prints.
_MOST_KERNELS = 24


def write_figures(folder: Path, context: Context) -> list[Path]:
    """Write the figures of `context` below `folder` in the format that its options name; return their paths.

    Raises:
        ReportError: the folder cannot be written.
    """
    kind = context.options.figures or "png"
    drawn = {
        f"paper-histogram-{h.metric.replace('_', '-')}": _histogram(h)
        for h in context.analysis.histograms
        if sum(h.counts)
    }
    points = marks.of(context)
    if points:
        drawn["paper-roofline-normalized"] = _roofline(points, normalized=True)
        drawn["paper-roofline-physical"] = _roofline(points, normalized=False)
    for mark in points[:_MOST_KERNELS]:
        drawn[f"paper-roofline-{mark.href.removeprefix('#')}"] = _single(mark)
    operators = operator_rooflines.marks_of(context)
    if operators:
        drawn["paper-roofline-operators"] = _roofline(operators, normalized=False)
    # Text stays text, and the same data give the same file.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "nsightkit", "pdf.fonttype": 42}
    with matplotlib.rc_context(settings):
        return [_save(folder / f"{name}.{kind}", figure, kind) for name, figure in drawn.items()]


def _histogram(data: Histogram) -> Figure:
    factor, unit = fmt.axis_scale(max(map(abs, data.edges)), data.unit)
    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.stairs(data.counts, [edge / factor for edge in data.edges], fill=True, color=PALETTE["accent"][0])
    axes.set(xlabel=f"{data.label} [{unit}]" if unit else data.label, ylabel="kernels")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _roofline(points: list[Mark], normalized: bool) -> Figure:
    figure = Figure(figsize=_SIZE_IN, layout="constrained")
    axes = figure.subplots()
    for bound, word in BOUND_WORDS.items():
        chosen = [mark for mark in points if mark.bound == bound]
        if chosen:
            x, y = _coordinates(chosen, normalized)
            axes.scatter(x, y, s=[_area(mark) for mark in chosen], marker=_SHAPES[bound], linewidths=_EDGE,
                         c=[_colors(bound, mark.point)[0] for mark in chosen],
                         edgecolors=[_colors(bound, mark.point)[1] for mark in chosen])  # fmt: skip
            # The legend shows the bound alone: one size for all, hollow where the bound is unknown.
            face, edge = _colors(bound)
            axes.scatter([], [], s=42, marker=_SHAPES[bound], linewidths=_EDGE, facecolors=face, edgecolors=edge,
                         label=word)  # fmt: skip
    _log_axes(axes, [_coordinates([mark], normalized) for mark in points], [mark.point for mark in points], normalized)
    _draw_roof(axes, points, normalized)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _colors(bound: str, point: RooflinePoint | None = None) -> tuple[_Color, _Color]:
    """Return fill and edge as on the page: hollow where the bound is unknown or the point is flagged."""
    if bound == "UNKNOWN" or (point is not None and point.flags):
        return (1.0, 1.0, 1.0, 0.0), to_rgba(PALETTE["unknown"][0])
    return to_rgba(PALETTE[bound.lower()][0], 0.82), to_rgba(PALETTE["surface"][0])


def _single(mark: Mark) -> Figure:
    """Return one kernel under its own roof at every level that was counted, with the distance to it."""
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for point in (mark.point, *mark.other_levels):
        face, edge = _colors(mark.bound, point)
        axes.scatter(point.flop_per_byte, point.flop_per_s, s=42, marker=_SHAPES[mark.bound], linewidths=_EDGE,
                     facecolors=face, edgecolors=edge)  # fmt: skip
        axes.annotate(f"{point.level} {fmt.share(point.efficiency)} of roof", (point.flop_per_byte, point.flop_per_s),
                      xytext=(0, -12), textcoords="offset points", ha="center", fontsize=7)  # fmt: skip
        axes.plot([point.flop_per_byte] * 2, [point.flop_per_s, point.roof_flop_per_s], color=PALETTE["quiet"][0],
                  linestyle=":", linewidth=1)  # fmt: skip
    levels = (mark.point, *mark.other_levels)
    _log_axes(axes, [([p.flop_per_byte], [p.flop_per_s]) for p in levels], levels, normalized=False)
    axes.set_title(mark.name[:60], fontsize=8)
    left, right = axes.get_xlim()
    for point in levels:
        corner = point.peak_flop_per_s / point.peak_bytes_per_s
        axes.plot([left, corner, right], [left * point.peak_bytes_per_s, *[point.peak_flop_per_s] * 2],
                  color=PALETTE["ink"][0], linewidth=0.8, zorder=0)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _log_axes(
    axes: Any, places: Sequence[tuple[list[float], list[float]]], points: Sequence[RooflinePoint], normalized: bool
) -> None:
    """Give the axes the reach of `places` and of the roofs of `points`, and ticks at powers of ten."""
    ridges = [1.0] if normalized else [point.ridge_flop_per_byte for point in points]
    peaks = [1.0] if normalized else [point.peak_flop_per_s for point in points]
    x_low, x_high = log_span([value for xs, _ in places for value in xs] + ridges, 0.4)
    y_low, y_high = log_span([value for _, ys in places for value in ys] + peaks, 0.3)
    axes.set(xscale="log", yscale="log", xlabel=_X_LABEL[normalized], ylabel=_Y_LABEL[normalized],
             xlim=(10**x_low, 10**x_high), ylim=(10**y_low, 10**y_high))  # fmt: skip
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %") if normalized else EngFormatter(sep="\u00a0"))
    axes.xaxis.set_major_formatter(EngFormatter(sep="\u00a0"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


_X_LABEL = {True: "arithmetic intensity ÷ ridge point", False: "arithmetic intensity [FLOP/byte]"}
_Y_LABEL = {True: "rate ÷ peak", False: "rate [FLOP/s]"}


def _coordinates(points: list[Mark], normalized: bool) -> tuple[list[float], list[float]]:
    if normalized:
        x = [mark.point.flop_per_byte / mark.point.ridge_flop_per_byte for mark in points]
        return x, [mark.point.flop_per_s / mark.point.peak_flop_per_s for mark in points]
    return [mark.point.flop_per_byte for mark in points], [mark.point.flop_per_s for mark in points]


def _draw_roof(axes: Any, points: list[Mark], normalized: bool) -> None:
    low, high = axes.get_xlim()
    if normalized:
        low, high = min(low, 0.5), max(high, 3.0)
        axes.plot([low, 1.0, high], [low, 1.0, 1.0], color=PALETTE["ink"][0], linewidth=1, zorder=0)
        return
    bandwidth = max(mark.point.peak_bytes_per_s for mark in points)
    foot = max(low, axes.get_ylim()[0] / bandwidth)
    axes.annotate(f"DRAM {fmt.with_unit(bandwidth, 'byte/s')}", (foot, foot * bandwidth), xytext=(8, -2),
                  textcoords="offset points", va="top", fontsize=8)  # fmt: skip
    for peak, name in {mark.point.peak_flop_per_s: mark.point.precision for mark in points}.items():
        right = max(high, 3 * peak / bandwidth)
        axes.plot(
            [low, peak / bandwidth, right],
            [low * bandwidth, peak, peak],
            color=PALETTE["ink"][0],
            linewidth=0.8,
            zorder=0,
        )
        if len(points) == 1 or peak == max(mark.point.peak_flop_per_s for mark in points):
            axes.annotate(f"{name} {fmt.with_unit(peak, 'flop/s')}", (right, peak), ha="right", va="bottom", fontsize=8)


def _area(mark: Mark) -> float:
    return max(16.0, 900 * (mark.time_share or 0.0))


def _save(path: Path, figure: Figure, kind: str) -> Path:
    drawn = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    figure.savefig(drawn, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)
    with replacing(path) as partial:
        partial.write_bytes(drawn.getvalue())
    return path
