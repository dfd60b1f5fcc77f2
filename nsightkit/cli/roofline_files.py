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
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsightkit.errors import ReportError
from nsightkit.report import format as fmt
from nsightkit.run import write_text

if TYPE_CHECKING:
    from nsightkit.analysis.results import RooflinePoint, RooflineRow

MARKERS = {"DRAM": "o", "L2": "s", "L1": "^"}
COLORS = {"COMPUTE": "#b3460e", "MEMORY": "#1f5fa8", "LATENCY": "#7a3b8f", "BALANCED": "#3c7a3c", "UNKNOWN": "#777777"}
_MOST_LABELS = 8
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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ReportError(f"cannot write {path}: {error.strerror}; name another with -o", slug="cannot-write") from None


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
        fmt.share(row.point.efficiency if row.point else None), fmt.printable(why.strip("; ")),
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
        figure = Figure(figsize=(9, 6.5 if strip else 5.5), layout="constrained")
        figure.suptitle(_plain(title, 110), fontsize=10)
        ratios = [5, 1] if strip and points else [1]
        axes = figure.subplots(len(ratios), 1, squeeze=False, gridspec_kw={"height_ratios": ratios})[:, 0]
        if points:
            _draw_roofs(axes[0], points)
            _draw_points(axes[0], points)
        if strip:
            _draw_strip(axes[-1], strip, points)
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
        axes.annotate(words, (low, low * bandwidth), xytext=(4, 6), textcoords="offset points", color="#444")
    steepest = max(p.peak_bytes_per_s for p in points)
    for name, peak in peaks:
        axes.plot([peak / steepest, high], [peak, peak], color="#444", linewidth=1)
        words = _plain(f"{name} {fmt.with_unit(peak, 'flop/s')}", 60)
        axes.annotate(words, (high, peak), xytext=(-4, 3), textcoords="offset points", ha="right", color="#444")
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="FLOP per byte", ylabel="FLOP/s")
    axes.grid(color="#ddd", linewidth=0.5)


def _draw_points(axes: Any, rows: Sequence[RooflineRow]) -> None:
    ordered = sorted(rows, key=lambda row: -(row.time_share or 0.0))
    low, high = (math.log10(edge) for edge in axes.get_xlim())
    named: set[tuple[str, str]] = set()
    for row in ordered:
        point = row.point
        if point is None:
            continue
        size = 20 + 400 * (row.time_share or 0.0)
        filled = COLORS[row.bound] if point.tier == "counters" else "none"
        axes.scatter(
            point.flop_per_byte, point.flop_per_s, s=size, marker=MARKERS[point.level], facecolors=filled,
            edgecolors=COLORS[row.bound], linewidths=1.2, zorder=3,
        )  # fmt: skip
        # Points of one name lie close together: one label is enough for them.
        if len(named) < _MOST_LABELS and (row.name, point.level) not in named:
            right = math.log10(point.flop_per_byte) > low + 0.6 * (high - low)
            axes.annotate(
                _plain(row.name, 34), (point.flop_per_byte, point.flop_per_s), textcoords="offset points", fontsize=8,
                xytext=(-8 if right else 8, -10 if len(named) % 2 else 7), ha="right" if right else "left",
            )  # fmt: skip
            named.add((row.name, point.level))
    # Words for what color, shape and filling mean.
    axes.set_title(_legend(ordered), fontsize=8, color="#444", loc="left")


def _legend(rows: Sequence[RooflineRow]) -> str:
    bounds = ", ".join(dict.fromkeys(row.bound.lower() for row in rows))
    analytic = any(row.tier == "analytic" for row in rows)
    hollow = "; hollow: work from shapes (experimental)" if analytic else ""
    return f"circle DRAM, square L2, triangle L1; area: share of time; bounds here: {bounds}{hollow}"


def _draw_strip(axes: Any, strip: Sequence[RooflineRow], points: Sequence[RooflineRow]) -> None:
    for place, row in enumerate(sorted(strip, key=lambda row: -(row.time_share or 0.0))):
        axes.scatter(row.bytes_per_s, 0, s=20 + 400 * (row.time_share or 0.0), facecolors="none",
                     edgecolors=COLORS[row.bound], linewidths=1.2)  # fmt: skip
        if place < 3:
            axes.annotate(_plain(row.name, 30), (row.bytes_per_s, 0), xytext=(0, 9 + 9 * place),
                          textcoords="offset points", fontsize=7, ha="center")  # fmt: skip
    for _, bandwidth in _distinct([(r.point.level, r.point.peak_bytes_per_s) for r in points if r.point])[:3]:
        axes.axvline(bandwidth, color="#444", linewidth=1)
    axes.set(xscale="log", yticks=[], ylim=(-1, 2), xlabel="no floating-point work: bytes per second")
