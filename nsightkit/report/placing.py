"""Where the names on a drawing may stand: clear of the points, of each other, and of lines where there is room.

In: the room of a drawing, the boxes that are taken, the lines across it. Out: labels as SVG text, see `charts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from nsightkit.report.charts import label, num, text_width

Box = tuple[float, float, float, float]
# Where a name starts (x, y) and which part of it stands there: s start, m middle, e end.
Spot = tuple[float, float, str]
_SHARE_STARTS = {"s": 0.0, "m": 0.5, "e": 1.0}


@dataclass(slots=True)
class Places:
    """The places on a drawing: `room` holds all labels, `taken` grows with each; `lines` are crossed at need."""

    room: Box
    taken: list[Box] = field(default_factory=list)
    lines: list[Box] = field(default_factory=list)

    def put(self, words: str, spots: Sequence[Spot], mark: str = "") -> str:
        """Return `words`, of class `mark`, at the first free one of `spots`, "" where none is.

        A spot on a line is chosen at need only: if all others are taken.
        """
        free = [(spot, box) for spot in spots if self.is_free(box := _box(words, spot))]
        clear = [(spot, box) for spot, box in free if not any(crosses(line, box) for line in self.lines)]
        if not free:
            return ""
        (x, y, anchor), box = (clear or free)[0]
        self.taken.append(box)
        return label(x, y, words, f'class="{f"{mark} {anchor}".strip()}"')

    def is_free(self, box: Box) -> bool:
        """Say whether `box` lies in the room and on nothing that is taken."""
        left, top, right, bottom = self.room
        inside = box[0] >= left and box[2] <= right and box[1] >= top and box[3] <= bottom
        return inside and all(box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in self.taken)

    def along(self, words: str, line: Box) -> str:
        """Return `words` turned along `line`, a little above it, where they cover nothing.

        Where no part of the line is free or long enough they stand level below its middle; they are never left out.
        """
        x0, y0, x1, y1 = line
        angle = math.atan2(y1 - y0, x1 - x0)
        fits = text_width(words) < math.hypot(x1 - x0, y1 - y0)
        turned = [_turned(words, line, part, angle) for part in (0.42, 0.6, 0.25, 0.75, 0.12, 0.88)]
        for text, boxes in turned if fits else ():
            if all(map(self.is_free, boxes)):
                self.taken += boxes
                return text
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        level = self.put(words, [(middle[0] + 10, middle[1] + drop, "s") for drop in (16, 30, 44)])
        if level:
            return level
        text, boxes = turned[0]
        self.taken += boxes
        return text


def around(x: float, y: float, size: float) -> list[Spot]:
    """Return the spots of a name beside a point of `size`: right, left, above, below, then at its corners."""
    near = size * 0.7 + 4
    return [
        (x + size + 5, y + 4, "s"), (x - size - 5, y + 4, "e"), (x, y - size - 7, "m"), (x, y + size + 14, "m"),
        (x + near, y - near - 2, "s"), (x - near, y - near - 2, "e"), (x + near, y + near + 9, "s"),
        (x - near, y + near + 9, "e"),
    ]  # fmt: skip


def path_lines(path: Sequence[tuple[float, float]]) -> list[Box]:
    """Return the parts of a drawn path, each from point to point."""
    return [(*start, *end) for start, end in pairwise(path)]


def crosses(line: Box, box: Box) -> bool:
    """Say whether a line from (0, 1) to (2, 3) has a part in `box`.

    >>> crosses((0, 0, 10, 10), (4, 0, 6, 10)), crosses((0, 0, 10, 10), (6, 0, 9, 3))
    (True, False)
    """
    x0, y0, x1, y1 = line
    enter, leave = 0.0, 1.0
    for start, step, low, high in ((x0, x1 - x0, box[0], box[2]), (y0, y1 - y0, box[1], box[3])):
        if step == 0:
            if not low <= start <= high:
                return False
            continue
        first, last = sorted(((low - start) / step, (high - start) / step))
        enter, leave = max(enter, first), min(leave, last)
    return enter <= leave


def _box(words: str, spot: Spot) -> Box:
    width = text_width(words)
    left = spot[0] - width * _SHARE_STARTS[spot[2]]
    return (left, spot[1] - 11, left + width, spot[1] + 3)


def _turned(words: str, line: Box, part: float, angle: float) -> tuple[str, list[Box]]:
    """Return a label along a line, and the places of its letters: one box around it all would keep too much clear."""
    sin, cos = math.sin(angle), math.cos(angle)
    # The foot of the letters is 6 away from the line.
    x = line[0] + (line[2] - line[0]) * part + 6 * sin
    y = line[1] + (line[3] - line[1]) * part - 6 * cos
    step, boxes = text_width(words) / len(words), []
    for place in range(len(words)):
        far = (place + 0.5 - len(words) / 2) * step
        # The middle of a letter is 4 above its foot.
        a, b = x + far * cos + 4 * sin, y + far * sin - 4 * cos
        wide, high = step / 2 * abs(cos) + 7 * abs(sin), step / 2 * abs(sin) + 7 * abs(cos)
        boxes.append((a - wide, b - high, a + wide, b + high))
    return label(x, y, words, f'class="m" transform="rotate({num(math.degrees(angle))} {num(x)} {num(y)})"'), boxes
