"""Rooflines as files: a picture by matplotlib, a page that holds it with a table, exact values as CSV.

In: roofline rows. Out: one file, written under a temporary name first. The picture shows each bandwidth and each peak
that a point was judged by; what has no floating-point work stands on a strip of bandwidths below.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsightkit.cli.roofline_words import is_placed_as_bound, told_apart
from nsightkit.errors import ReportError
from nsightkit.report import format as fmt
from nsightkit.run import replacing, write_text

if TYPE_CHECKING:
    from nsightkit.analysis.results import RooflinePoint, RooflineRow

MARKERS = {"DRAM": "o", "L2": "s", "L1": "^"}
COLORS = {"COMPUTE": "#b3460e", "MEMORY": "#1f5fa8", "LATENCY": "#7a3b8f", "BALANCED": "#3c7a3c", "UNKNOWN": "#777777"}
_MOST_LABELS = 8
# Behind words, so that no line runs through them.
_PAPER = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}
_SHAPES = {"DRAM": "circle", "L2": "square", "L1": "triangle"}
# Where along its line the name of a bandwidth may stand, as factors of its foot.
_ALONG = (1.0, 2.0, 4.0, 8.0, 16.0)
_SAME = 1.05
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222;"
    "background:#fff}svg{max-width:100%;height:auto}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:.25rem .6rem;border-bottom:1px solid #ccc;"
    "text-align:right}td:first-child,th:first-child{text-align:left;overflow-wrap:anywhere}"
)


def write_csv(path: Path, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write exact values in base units; lists as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = [row.get(name) for name in names]
        writer.writerow([json.dumps(value) if isinstance(value, (tuple, list)) else value for value in values])
    write_text(path, text.getvalue())


def write_picture(path: Path, rows: Sequence[RooflineRow], title: str) -> None:
    """Draw the rows to a file whose suffix says the format.

    Raises:
        ReportError: no row has a place, or the file cannot be written.
    """
    content = _drawn(rows, title, path.suffix.lower().removeprefix("."))
    with replacing(path, "file") as partial:
        partial.write_bytes(content)


def write_page(path: Path, rows: Sequence[RooflineRow], title: str, remarks: Sequence[str]) -> None:
    """Write one page: the picture where there is anything to draw, then every row."""
    placed = any(row.point or row.bytes_per_s for row in rows)
    picture = _drawn(rows, title, "svg").decode() if placed else "<p>No row has a place.</p>"
    body = picture[picture.index("<svg") :] if placed else picture
    heads = ("kernel or operator", "tier", "bound", "of time", "count", "level", "FLOP", "bytes", "of its roof", "why")
    lines = [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in _cells(row))}</tr>" for row in rows]
    notes = "".join(f"<li>{html.escape(fmt.printable(text))}</li>" for text in remarks)
    write_text(
        path,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1>{body}<ul>{notes}</ul><table><tr>"
        f"{''.join(f'<th>{head}</th>' for head in heads)}</tr>{''.join(lines)}</table></html>\n",
    )


def _cells(row: RooflineRow) -> list[str]:
    label = f"{row.name} ({row.shapes})" if row.shapes else row.name
    why = "; ".join((*row.missing, *row.flags, row.formula)) if not row.point else "; ".join((row.formula, *row.flags))
    return [
        fmt.printable(label), row.tier, row.bound, fmt.share(row.time_share), fmt.count(row.count), row.level,
        fmt.with_unit(row.flop, "flop"), fmt.with_unit(row.moved_bytes, "byte"),
        fmt.share(row.point.efficiency if row.point else row.bandwidth_share), fmt.printable(why.strip("; ")),
    ]  # fmt: skip


def _drawn(rows: Sequence[RooflineRow], title: str, format_: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    points = [row for row in rows if row.point and _usable(row.point)]
    strip = [row for row in rows if row.point is None and row.bytes_per_s]
    if not points and not strip:
        raise ReportError(
            "no row has a place under a roof: the inputs lack work, traffic or the roof itself; "
            "'nsightkit roofline PATH' without -o lists what is missing",
            slug="nothing-to-draw",
        )
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nsightkit", "font.size": 9}):
        figure = Figure(figsize=(9, 2.6 if not points else 6.8 if strip else 5.8), layout="constrained")
        figure.suptitle(_plain(title, 110), fontsize=10)
        ratios = [5, 1] if strip and points else [1]
        axes = figure.subplots(len(ratios), 1, squeeze=False, gridspec_kw={"height_ratios": ratios})[:, 0]
        if points:
            _draw_roofs(axes[0], points)
            _draw_points(axes[0], points)
        if strip:
            _draw_strip(axes[-1], strip)
        # Words for what shape, area and filling mean; `_name_colors` tells the colors.
        axes[0].set_title(_legend([*points, *strip]), fontsize=8, color="#444", loc="left")
        _name_colors(figure, [*points, *strip])
        _keep_apart(figure, axes)
        out = io.BytesIO()
        stamp = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[format_]
        figure.savefig(out, format=format_, metadata=stamp, dpi=150)
    return out.getvalue()


def _usable(point: RooflinePoint) -> bool:
    numbers = (point.flop_per_byte, point.flop_per_s, point.peak_flop_per_s, point.peak_bytes_per_s)
    return all(math.isfinite(value) and value > 0 for value in numbers)


def _plain(text: str, most: int) -> str:
    """Return text that matplotlib takes as it is: no math, no control characters, not too long."""
    shown = fmt.printable(text)
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return shown.replace("\\", "\\\\").replace("$", r"\$")


def _distinct(values: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    kept: list[tuple[str, float]] = []
    for name, value in sorted(set(values), key=lambda item: (item[0], -item[1])):
        if not kept or kept[-1][0] != name or kept[-1][1] / value > _SAME:
            kept.append((name, value))
    return kept


def _draw_roofs(axes: Any, rows: Sequence[RooflineRow]) -> None:
    points = [row.point for row in rows if row.point]
    low = min(min(p.flop_per_byte, p.ridge_flop_per_byte) for p in points) / 3
    high = max(max(p.flop_per_byte, p.ridge_flop_per_byte) for p in points) * 3
    peaks = _distinct([(p.precision, p.peak_flop_per_s) for p in points])[:8]
    top = max(value for _, value in peaks)
    for level, bandwidth in _distinct([(p.level, p.peak_bytes_per_s) for p in points])[:9]:
        end = min(high, top / bandwidth)
        axes.plot([low, end], [low * bandwidth, end * bandwidth], color="#444", linewidth=1)
        words = f"{level} {fmt.with_unit(bandwidth, 'byte/s')}"
        # To the right of the line's foot, so that it does not run through its own name.
        axes.annotate(words, (low, low * bandwidth), xytext=(26, 2), textcoords="offset points", color="#444",
                      gid="bandwidth", bbox=_PAPER)  # fmt: skip
    steepest = max(p.peak_bytes_per_s for p in points)
    for name, peak in peaks:
        axes.plot([peak / steepest, high], [peak, peak], color="#444", linewidth=1)
        words = _plain(f"{name} {fmt.with_unit(peak, 'flop/s')}", 60)
        axes.annotate(words, (high, peak), xytext=(-4, 3), textcoords="offset points", ha="right", color="#444",
                      bbox=_PAPER)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="FLOP per byte", ylabel="FLOP/s")
    # Room for the points and names at the lower edge.
    axes.margins(y=0.1)
    axes.grid(color="#ddd", linewidth=0.5)


def _draw_points(axes: Any, rows: Sequence[RooflineRow]) -> None:
    ordered = sorted(rows, key=lambda row: -(row.time_share or 0.0))
    low, high = (math.log10(edge) for edge in axes.get_xlim())
    named: set[tuple[str, str]] = set()
    for row in ordered:
        point = row.point
        if point is None:
            continue
        size = _area(row)
        filled = COLORS[row.bound] if point.tier == "counters" else "none"
        axes.scatter(
            point.flop_per_byte, point.flop_per_s, s=size, marker=MARKERS[point.level], facecolors=filled,
            edgecolors=COLORS[row.bound], linewidths=1.2, zorder=3,
        )  # fmt: skip
        label = told_apart(row.name, row, rows)
        # Points of one name lie close together: one label is enough for them.
        if len(named) < _MOST_LABELS and (label, point.level) not in named:
            right = math.log10(point.flop_per_byte) > low + 0.6 * (high - low)
            away = 5 + math.sqrt(size) / 2
            axes.annotate(
                _plain(label, 34), (point.flop_per_byte, point.flop_per_s), textcoords="offset points", fontsize=8,
                xytext=(-away if right else away, 3), ha="right" if right else "left", gid="name", bbox=_PAPER,
            )  # fmt: skip
            named.add((label, point.level))


def _area(row: RooflineRow) -> float:
    """Return the area of a marker in square points."""
    return 20 + 400 * (row.time_share or 0.0)


def _name_colors(figure: Any, rows: Sequence[RooflineRow]) -> None:
    from matplotlib.lines import Line2D

    bounds = [bound for bound in COLORS if any(row.bound == bound for row in rows)]
    keys = [Line2D([], [], color=COLORS[bound], marker="o", linestyle="none", label=bound) for bound in bounds]
    figure.legend(handles=keys, loc="outside lower left", ncols=len(keys), fontsize=8, frameon=False)


def _keep_apart(figure: Any, axes: Iterable[Any]) -> None:
    """Move names to where they cover nothing; a name for which there is no place is left out."""
    figure.draw_without_rendering()
    for one in axes:
        taken = _places(one)
        points = len(taken)
        for text in (text for text in one.texts if text.get_gid() != "name"):
            _place_roof(text, taken, points)
        for text in (text for text in one.texts if text.get_gid() == "name"):
            _place_name(text, one.bbox, taken)


def _place_roof(text: Any, taken: list[Any], points: int) -> None:
    """Move the name of a bandwidth along its line until it covers no point, if there is such a place."""
    x, y = text.xy
    # Roofs of several devices may lie close together: one name is enough for them.
    text.set_visible(not any(text.get_window_extent().overlaps(other) for other in taken[points:]))
    if not text.get_visible():
        return
    for factor in _ALONG if text.get_gid() == "bandwidth" else ():
        text.xy = (x * factor, y * factor)
        if not any(text.get_window_extent().overlaps(other) for other in taken):
            break
    else:
        text.xy = (x, y)
        # The only roof keeps its name, whatever it covers.
        text.set_visible(text.get_gid() != "bandwidth" or len(taken) == points)
    taken += [text.get_window_extent()] if text.get_visible() else []


def _place_name(text: Any, inner: Any, taken: list[Any]) -> None:
    first = (text.xyann[0], text.xyann[1], text.get_ha())
    # Clear of the marker, whose half width one of the two offsets holds.
    away = max(abs(text.xyann[0]), abs(text.xyann[1]), 8)
    others = [(away, -12, "left"), (-away, -12, "right"), (away, 5, "left"), (-away, 5, "right")]
    for x, y, side in (first, *others):
        text.xyann = (x, y)
        text.set_ha(side)
        box = text.get_window_extent()
        inside = inner.x0 <= box.x0 and box.x1 <= inner.x1 and inner.y0 <= box.y0 and box.y1 <= inner.y1
        if inside and not any(box.overlaps(other) for other in taken):
            taken.append(box)
            return
    text.set_visible(False)


def _places(axes: Any) -> list[Any]:
    """Return the box around each point, in pixels."""
    from matplotlib.transforms import Bbox

    boxes = []
    for one in axes.collections:
        radius = math.sqrt(one.get_sizes()[0]) / 2 * axes.figure.dpi / 72
        for x, y in axes.transData.transform(one.get_offsets()):
            boxes.append(Bbox.from_extents(x - radius, y - radius, x + radius, y + radius))
    return boxes


def _legend(rows: Sequence[RooflineRow]) -> str:
    levels = {row.level for row in rows}
    shapes = ", ".join(f"{shape} {level}" for level, shape in _SHAPES.items() if level in levels)
    tiers = {"analytic": "work from shapes or stated (experimental)", "sampled": "samples of the whole GPU"}
    known = " or ".join(words for tier, words in tiers.items() if any(row.tier == tier for row in rows))
    hollow = f"; hollow: {known}" if known else ""
    roofs = {(row.point.level, row.point.peak_bytes_per_s) for row in rows if row.point}
    several = len(_distinct(list(roofs))) > len({level for level, _ in roofs})
    own = "; several roofs: each point has that of its own launch" if several else ""
    color = "" if all(map(is_placed_as_bound, rows)) else "; color: the verdict, not the side of the ridge"
    return f"{shapes}; area: share of time{hollow}{own}{color}"


def _draw_strip(axes: Any, strip: Sequence[RooflineRow]) -> None:
    """Draw what has traffic and no counted arithmetic: its bytes per second beside the bandwidth."""
    ordered = sorted(strip, key=lambda row: -(row.time_share or 0.0))
    for place, row in enumerate(ordered):
        axes.scatter(row.bytes_per_s, 0, s=_area(row), facecolors="none", zorder=3,
                     marker=MARKERS[row.level], edgecolors=COLORS[row.bound], linewidths=1.2)  # fmt: skip
        if place < _MOST_LABELS:
            axes.annotate(_plain(row.name, 30), (row.bytes_per_s, 0),
                          xytext=(0, 4 + math.sqrt(_area(row)) / 2), textcoords="offset points",
                          fontsize=7, ha="center", gid="name", bbox=_PAPER)  # fmt: skip
    peaks = _distinct([(row.level, row.peak_bytes_per_s) for row in strip if row.peak_bytes_per_s])[:3]
    values = [row.bytes_per_s or 0.0 for row in strip] + [value for _, value in peaks]
    for level, bandwidth in peaks:
        axes.axvline(bandwidth, color="#444", linewidth=1)
        words = f"{level} {fmt.with_unit(bandwidth, 'byte/s')} "
        axes.annotate(words, (bandwidth, -0.9), fontsize=7, ha="right", color="#444", bbox=_PAPER)
    tiers = ", ".join(dict.fromkeys(row.tier for row in ordered))
    words = f"traffic of rows without counted arithmetic, bytes per second (tiers: {tiers})"
    axes.set(xscale="log", yticks=[], ylim=(-1, 2), xlim=(min(values) / 3, max(values) * 1.5), xlabel=words)
