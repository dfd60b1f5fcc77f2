"""Figure files for papers and slides, drawn by matplotlib.

In: a `Context` and a format (png, pdf, svg). Out: one file a histogram and the two rooflines.
This is the only module that imports matplotlib, and it is imported only where figure files are asked for.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nsightkit.analysis.results import Histogram
from nsightkit.errors import ReportError
from nsightkit.report import format as fmt
from nsightkit.report import marks
from nsightkit.report.charts import PALETTE
from nsightkit.report.context import BOUND_WORDS, Context
from nsightkit.report.rooflines import Mark

_SHAPES = {"COMPUTE": "o", "MEMORY": "s", "LATENCY": "^", "BALANCED": "D", "UNKNOWN": "o"}
_SIZE_IN = (6.4, 4.2)
_DOTS_PER_INCH = 200


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
            drawn = axes.scatter(x, y, s=[_area(mark) for mark in chosen], marker=_SHAPES[bound], label=word)
            drawn.set(color=PALETTE[bound.lower()][0], alpha=0.82, linewidths=0.5, edgecolors="white")
    axes.set(xscale="log", yscale="log", xlabel=_X_LABEL[normalized], ylabel=_Y_LABEL[normalized])
    _draw_roof(axes, points, normalized)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(drawn.getvalue())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ReportError(
            f"cannot write {path}: {error.strerror}; name another folder with -o", slug="cannot-write"
        ) from None
    return path
