"""Synthetic pages: drawn with Pillow from a seed, so that no document is needed and no two pages are alike.

In: how many, a seed. Out: `Page`: an image and what is on it; and the views of it that a model reads.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

# Width and height of the pages, in turn: portrait, landscape, a slip, a spread, a square.
_FORMATS = ((850, 1100), (1100, 850), (500, 400), (1400, 700), (900, 900), (700, 1400), (640, 640))
# The tile that the pages are cut for. A model with smaller tiles sees the same cut, only coarser.
_TILE_SIDE = 640
_KINDS = ("text", "columns", "table", "form")
_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"


@dataclass(frozen=True)
class Page:
    """One page; `ink_share` is the share of dark pixels."""

    image: Image.Image
    kind: str
    words: int
    ink_share: float


def draw_pages(count: int, seed: int) -> list[Page]:
    """Return `count` pages; the same for the same seed and version of Pillow."""
    return [_draw(random.Random(f"{seed}/{number}"), number) for number in range(count)]


def _draw(draw_from: random.Random, number: int) -> Page:
    kind = _KINDS[number % len(_KINDS)]
    image = Image.new("L", draw_from.choice(_FORMATS), 255)
    pen = ImageDraw.Draw(image)
    margin = draw_from.randint(20, 60)
    pen.text((margin, margin), _words(draw_from, 3).title(), font=ImageFont.load_default(30), fill=0)
    box = (margin, margin + 60, image.width - margin, image.height - margin)
    words = 3 + {"text": _text, "columns": _columns, "table": _table, "form": _form}[kind](pen, box, draw_from)
    return Page(image, kind, words, float(np.mean(np.asarray(image) < 128)))


def _words(draw_from: random.Random, count: int) -> str:
    weights = range(len(_LETTERS), 0, -1)
    return " ".join("".join(draw_from.choices(_LETTERS, weights, k=draw_from.randint(2, 10))) for _ in range(count))


def _text(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], draw_from: random.Random) -> int:
    """Fill the part of `box` that a text of random length takes; return its words."""
    size = draw_from.randint(10, 18)
    font, words = ImageFont.load_default(size), 0
    lines = int((box[3] - box[1]) / (size * 1.5) * draw_from.uniform(0.3, 1))
    for line in range(lines):
        text = _words(draw_from, draw_from.randint(2, 14)).split()
        while text and pen.textlength(" ".join(text), font=font) > box[2] - box[0]:
            text.pop()
        pen.text((box[0], box[1] + line * size * 1.5), " ".join(text), font=font, fill=0)
        words += len(text)
    return words


def _columns(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], draw_from: random.Random) -> int:
    count = draw_from.randint(2, 3)
    wide = (box[2] - box[0]) // count
    return sum(_text(pen, (box[0] + i * wide, box[1], box[0] + (i + 1) * wide - 10, box[3]), draw_from)
               for i in range(count))  # fmt: skip


def _table(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], draw_from: random.Random) -> int:
    rows, columns = draw_from.randint(4, 20), draw_from.randint(2, 6)
    high, wide = (box[3] - box[1]) / rows, (box[2] - box[0]) / columns
    font = ImageFont.load_default(12)
    for row in range(rows):
        for column in range(columns):
            corner = (box[0] + column * wide, box[1] + row * high)
            pen.rectangle((*corner, corner[0] + wide, corner[1] + high), outline=0)
            pen.text((corner[0] + 3, corner[1] + 3), f"{draw_from.uniform(0, 1000):.1f}", font=font, fill=0)
    return rows * columns


def _form(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], draw_from: random.Random) -> int:
    fields, font = draw_from.randint(3, 12), ImageFont.load_default(14)
    high = (box[3] - box[1]) / fields
    for field in range(fields):
        top = box[1] + field * high
        pen.text((box[0], top), _words(draw_from, 1) + ":", font=font, fill=0)
        pen.line((box[0] + 120, top + 16, box[2], top + 16), fill=0, width=2)
    return fields


def tiling_of(size: tuple[int, int], most: int) -> tuple[int, int]:
    """Return columns and rows of tiles for a page of `size` (width, height); (1, 1) where one view is enough.

    The tiling with 2 to `most` tiles whose shape is nearest to the page's, the larger one at a tie if the page has the
    pixels for it. Source: the dynamic tiling of InternVL, Chen et al. (2024), arXiv 2404.16821, that DeepSeek-OCR uses.
    """
    width, height = size
    if max(width, height) <= _TILE_SIDE:
        return (1, 1)
    choices = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if 2 <= c * r <= most]
    shape, pixels = width / height, width * height

    def cost(tiling: tuple[int, int]) -> tuple[float, bool, int]:
        columns, rows = tiling
        covered = pixels > 0.5 * _TILE_SIDE**2 * columns * rows
        return (abs(columns / rows - shape), not covered, -columns * rows if covered else columns * rows)

    return min(choices, key=cost)


def views_of(page: Page, sides: tuple[int, int], tiling: tuple[int, int], like: Tensor) -> list[Tensor]:
    """Return the batches of images that a model reads of `page`: its tiles where there are any, then the whole.

    `sides` are pixels of the whole and of a tile. Values are -1 to 1, with dtype and device of `like`.
    """
    page_side, tile_side = sides
    image = page.image
    views = []
    if tiling != (1, 1):
        columns, rows = tiling
        large = _tensor(image.resize((columns * tile_side, rows * tile_side)), like)
        cut = large.unflatten(2, (columns, tile_side)).unflatten(1, (rows, tile_side))
        views.append(cut.permute(1, 3, 0, 2, 4).flatten(0, 1))
    return [*views, _tensor(_padded(image, page_side), like)[None]]


def _padded(image: Image.Image, side: int) -> Image.Image:
    """Return `image` in a gray square, its shape kept."""
    scale = side / max(image.size)
    small = image.resize(tuple(max(1, round(length * scale)) for length in image.size))
    square = Image.new("L", (side, side), 127)
    square.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return square


def _tensor(image: Image.Image, like: Tensor) -> Tensor:
    gray = torch.from_numpy(np.array(image)).to(like) / 127.5 - 1
    return gray.expand(3, -1, -1)
