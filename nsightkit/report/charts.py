"""Charts as SVG text, drawn by hand from data: primitives, strips and histograms.

In: numbers and labels in base units. Out: one `<svg>` element as text, readable by screen readers (title, description)
and colored by classes only: the page's style sheet gives them their colors, `standalone` puts them into a file. All
text that goes in is escaped here, so that no kernel name can become markup.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from nsightkit.analysis.results import Histogram
from nsightkit.report import format as fmt

# Colors by class, (light, dark). Source: the color-blind safe palette of Okabe and Ito, gray for unknown.
PALETTE = {
    "compute": ("#D55E00", "#E8742A"),
    "memory": ("#0072B2", "#3D9BDB"),
    "latency": ("#E69F00", "#E69F00"),
    "balanced": ("#009E73", "#1DB88D"),
    "unknown": ("#767676", "#9A9A9A"),
    "ink": ("#1B1E23", "#E7E9EC"),
    "quiet": ("#5A616B", "#A4ABB5"),
    "line": ("#E3E5E8", "#343941"),
    "accent": ("#5B4B9A", "#B0A3EA"),
    "surface": ("#FFFFFF", "#16181C"),
}
# Verdicts have a shape beside their color, see `outline`.
VERDICT_MARKS = ("compute", "memory", "latency", "balanced", "unknown")
FAMILY_MARKS = tuple(f"f{place}" for place in range(9))
# Muted, so that no family is taken for a verdict.
_FAMILY_COLORS = ("#5F6B8A", "#96A3BE", "#B29B7B", "#8B7690", "#9FB08C", "#74928F", "#C2A39B", "#CDC39D", "#A9A9A9")
PALETTE |= {mark: (color, color) for mark, color in zip(FAMILY_MARKS, _FAMILY_COLORS, strict=True)}
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


@cache
def style_rules(chosen: int) -> str:
    """Return the color variables of the light (0) or the dark (1) theme as CSS declarations."""
    return "".join(f"--{name}:{pair[chosen]};" for name, pair in PALETTE.items())


@cache
def chart_rules() -> str:
    """Return the CSS rules that all charts use."""
    fills = "".join(f".{name}{{fill:var(--{name})}}" for name in PALETTE)
    return fills + (
        f"svg text{{font-family:{_FONT};font-size:12px;fill:var(--ink)}}svg .q{{fill:var(--quiet)}}"
        "svg .m{text-anchor:middle}svg .e{text-anchor:end}svg .on{fill:var(--surface)}"
        ".plot:not(.wide) text{paint-order:stroke;stroke:var(--surface);stroke-width:3px;stroke-linejoin:round}"
        ".lines{stroke:var(--line);stroke-width:1;fill:none}.axis{stroke:var(--quiet);stroke-width:1;fill:none}"
        ".roof{stroke:var(--ink);stroke-width:1.25;fill:none}.gap{stroke:var(--quiet);stroke-dasharray:2 3;fill:none}"
        ".point{fill-opacity:.82;stroke:var(--surface);stroke-width:1}"
        ".unknown.point,.flagged.point{fill-opacity:0;stroke:var(--unknown);stroke-width:1.75}"
    )


def standalone(svg: str) -> str:
    """Return `svg` as a file of its own: with its colors, for light and dark surroundings."""
    style = (
        f"<style>:root{{{style_rules(0)}}}@media screen and (prefers-color-scheme:dark){{:root{{{style_rules(1)}}}}}"
        f"svg{{background:var(--surface)}}{chart_rules()}</style>"
    )
    opening, rest = svg.split(">", 1)
    if " width=" not in opening:
        # Alone it has no column to fill.
        opening += f' width="{opening.partition(chr(34) + "0 0 ")[2].partition(" ")[0]}"'
    return f'{opening} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'


def escape(text: str) -> str:
    """Return `text` harmless inside markup, on one line."""
    return html.escape(fmt.printable(text))


def num(value: float) -> str:
    """Return a coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


def label(x: float, y: float, text: str, options: str = "") -> str:
    """Return a text element; `options` are further attributes.

    Classes are one letter, since a page has thousands of labels: q is quiet, s, m and e say which part of the text is
    at `x` (start, middle or end).
    """
    return f'<text x="{num(x)}" y="{num(y)}"{" " + options if options else ""}>{escape(text)}</text>'


@dataclass(frozen=True, slots=True)
class Canvas:
    """The size of a drawing, and what it shows in words; one whose parts are links is a group, no image."""

    width: int
    height: int
    title: str
    description: str
    classes: str = ""
    stretch: bool = False
    linked: bool = False

    def svg(self, parts: Sequence[str]) -> str:
        """Return the drawing made of `parts`."""
        size = f'viewBox="0 0 {self.width} {self.height}"' + (' preserveAspectRatio="none"' if self.stretch else "")
        # A plot is drawn at its own size, so that the words of all are equally large.
        size = f'width="{self.width}" {size}' if "plot" in self.classes else size
        role = "group" if self.linked else "img"
        names = f' class="{self.classes}"' if self.classes else ""
        described = f"<desc>{escape(self.description)}</desc>" if self.description else ""
        return f'<svg{names} role="{role}" {size}><title>{escape(self.title)}</title>{described}{"".join(parts)}</svg>'


def outline(bound: str, place: tuple[float, float], r: float) -> str:
    """Return the shape of `bound` at `place`: as large as a circle of radius `r`."""
    x, y = place
    if bound == "memory":
        return f"M{num(x - 0.89 * r)} {num(y - 0.89 * r)}h{num(1.77 * r)}v{num(1.77 * r)}h{num(-1.77 * r)}z"
    if bound == "latency":
        return f"M{num(x)} {num(y - 1.5 * r)}l{num(1.35 * r)} {num(2.33 * r)}h{num(-2.7 * r)}z"
    if bound == "balanced":
        step = num(1.25 * r)
        return f"M{num(x)} {num(y - 1.25 * r)}l{step} {step}l-{step} {step}l-{step} -{step}z"
    return _circle(x, y, r)


def half_width(bound: str, r: float) -> float:
    """Return how far the shape of `bound` reaches to either side: a triangle of the same area is broader."""
    return r * {"latency": 1.35, "balanced": 1.25}.get(bound, 1.0)


def _circle(x: float, y: float, r: float) -> str:
    return f"M{num(x - r)} {num(y)}a{num(r)} {num(r)} 0 1 0 {num(2 * r)} 0a{num(r)} {num(r)} 0 1 0 {num(-2 * r)} 0z"


# Characters by their width in em, in DejaVu Sans: the broadest font of the stack, so that in the others there is room
# to spare. Of what is not listed digits and letters have `_OTHER_WIDTH` at most, all else an em.
_GLYPHS = {0.32: " ,.·'ijlIJ\u202f", 0.42: "/:;\\|f-()[]tr!", 0.54: '"*_`–sz?', 0.62: "LFvxyPTYaoec", 0.65: "µ",
           0.79: "AVBRXZCUHNDG&OQK", 0.84: "w#+<=>^~×÷→±≥≤", 0.87: "M"}  # fmt: skip
_WIDTHS = {glyph: width for width, glyphs in _GLYPHS.items() for glyph in glyphs}
_OTHER_WIDTH, _BROAD = 0.65, "mW@%"


def text_width(text: str, size: float = 12) -> float:
    """Return how wide `text` is at most, in the units of the drawing.

    >>> round(text_width("1 GFLOP/s")), round(text_width("iiii")), round(text_width("WWWW"))
    (65, 15, 48)
    """
    return size * sum(_WIDTHS.get(c) or (_OTHER_WIDTH if c.isascii() and c not in _BROAD else 1.0) for c in text)


def fitted(text: str, room: float) -> str:
    """Return `text`, cut after its first third where it is wider than `room`: names of ranges differ at their ends."""
    cut, kept = text, len(text)
    while kept > 3 and text_width(cut) > room:
        kept -= 1
        cut = f"{text[: kept // 3].rstrip()}…{text[kept // 3 - kept :].lstrip()}"
    return cut


def shortened(text: str, most: int) -> str:
    """Return `text` with at most `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a whole: the class that colors it, its name, its share from 0 to 1, and its value as text."""

    mark: str
    label: str
    share: float
    text: str


def strip(parts: Sequence[Part], title: str) -> str:
    """Return one bar that is the whole, without labels: the page writes them below as text."""
    canvas = Canvas(1000, 24, title, _in_words(parts), "strip", stretch=True)
    return canvas.svg(_strip_rects(parts, 1000, 0))


def labeled_strip(parts: Sequence[Part], title: str) -> str:
    """Return the same bar with its labels in the drawing, for a file."""
    drawn, x, y = _strip_rects(parts, 720, 8), 0.0, 54.0
    for part in parts:
        words = f"{part.label} {part.text}"
        width = text_width(words) + 30
        if x + width > 720:
            x, y = 0.0, y + 20
        drawn.append(_key(part.mark, (x + 5.5, y - 4.5)))
        drawn.append(label(x + 16, y, words))
        x += width
    return Canvas(720, int(y) + 12, title, _in_words(parts)).svg(drawn)


def _key(mark: str, center: tuple[float, float]) -> str:
    """Return the mark of a legend's entry as the page has it: a verdict has its shape, a family a square."""
    x, y = center
    if mark in VERDICT_MARKS:
        return f'<path class="{mark} point" d="{outline(mark, center, 4.5)}"/>'
    return f'<rect class="{mark}" x="{num(x - 5.5)}" y="{num(y - 5.5)}" width="11" height="11"/>'


def _strip_rects(parts: Sequence[Part], width: float, top: float) -> list[str]:
    drawn, x = [], 0.0
    for part in parts:
        size = part.share * width
        # A slit of surface between the parts keeps neighbors apart without a line.
        drawn.append(
            f'<rect class="{part.mark}" x="{num(x)}" y="{num(top)}" width="{num(max(0.6, size - 2))}" height="24">'
            f"<title>{escape(part.label)}: {escape(part.text)}</title></rect>"
        )
        x += size
    return drawn


def _in_words(parts: Sequence[Part]) -> str:
    return "; ".join(f"{part.label} {part.text}" for part in parts)


_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 332, 22, 150


def histogram(data: Histogram, names: Sequence[str]) -> str:
    """Return the bars of one histogram; `names` are those of the kernels, for the words under the pointer."""
    factor, unit = fmt.axis_scale(max(map(abs, data.edges), default=0.0), data.unit)
    most = max(data.counts, default=0)
    step = (_RIGHT - _LEFT) / max(1, len(data.counts))
    drawn = [f'<path class="axis" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>']
    for place, count in enumerate(data.counts):
        if count:
            height = (_BOTTOM - _TOP) * count / most
            x, y = _LEFT + place * step, _BOTTOM - height
            where = f"{fmt.plain(data.edges[place] / factor)} to {fmt.plain(data.edges[place + 1] / factor)} {unit}"
            members = ", ".join(names[i] for i in data.members[place][:6]) + (" …" if count > 6 else "")
            drawn.append(
                f'<rect class="accent" x="{num(x + 1)}" y="{num(y)}" width="{num(step - 2)}" height="{num(height)}">'
                f"<title>{escape(f'{where}: {members}')}</title></rect>"
            )
            drawn.append(label(x + step / 2, y - 5, str(count), 'class="m"'))
    drawn += _edge_labels(data, factor, step)
    drawn.append(label(_RIGHT, 184, unit, 'class="q e"'))
    described = f"{sum(data.counts)} kernels in {len(data.counts)} bins; the fullest holds {most}."
    return Canvas(340, 190, f"{data.label}: how many kernels have which value", described).svg(drawn)


def _edge_labels(data: Histogram, factor: float, step: float) -> list[str]:
    every = max(1, round(len(data.edges) / 5))
    # As many digits as keep neighbors apart.
    gap = (data.edges[-1] - data.edges[0]) / factor / len(data.counts) * every
    decimals = min(6, max(0, 1 - math.floor(math.log10(gap)))) if gap > 0 else 3
    drawn = []
    for place in range(0, len(data.edges), every):
        anchor = "s" if place == 0 else "e" if place == len(data.edges) - 1 else "m"
        text = f"{data.edges[place] / factor:.{decimals}f}"
        drawn.append(label(_LEFT + place * step, _BOTTOM + 17, text, f'class="q {anchor}"'))
    return drawn
