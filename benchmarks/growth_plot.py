"""Draws cost per kernel against the number of kernels, as a small SVG.

In: named lines of kernels -> ns per kernel. Out: the text of the drawing.
"""

from collections.abc import Mapping

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 340, 60, 44, 56
COLORS = ("#1f5fa8", "#b3541e")


def draw(lines: Mapping[str, Mapping[int, float]]) -> str:
    """Return the drawing; both axes begin at zero, so that what is flat looks flat."""
    most = max(max(line) for line in lines.values())
    highest = max(max(line.values()) for line in lines.values()) * 1.15

    def place(kernels: float, cost: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - 24) * kernels / most
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * cost / highest, 1)

    parts = [_axes(place, most, highest)]
    for number, (name, line) in enumerate(lines.items()):
        points = [place(kernels, line[kernels]) for kernels in sorted(line)]
        color = COLORS[number]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for kernels, (x, y) in zip(sorted(line), points, strict=True):
            parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{color}"/>')
            parts.append(f'<text x="{x}" y="{y - 9}" text-anchor="middle" fill="{color}">{line[kernels]:.0f}</text>')
        parts.append(f'<text x="{LEFT}" y="{18 + 17 * number}" fill="{color}">{name}: ns of CPU per kernel</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *parts, "</svg>"]) + "\n"


def _axes(place, most: int, highest: float) -> str:  # type: ignore[no-untyped-def]
    (left, bottom), (right, top) = place(0, 0), place(most, highest)
    parts = [f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="#777"/>']
    for million in range(int(most / 1e6 + 0.5) + 1):
        x, _ = place(min(million * 1e6, most), 0)
        parts.append(f'<text x="{x}" y="{bottom + 17}" text-anchor="middle" fill="#333">{million}M</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{bottom + 35}" text-anchor="middle" fill="#333">kernels</text>')
    return "".join(parts)
