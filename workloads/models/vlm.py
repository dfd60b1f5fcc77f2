"""A model that reads pages, of DeepSeek-OCR's shape: tiles → sam → clip → projector → decoder.

In: a page as one image of its whole and some of its tiles, and the ids of a prompt. Out: the embeddings that the
decoder is given, and the decoder, a `Gpt` with experts. Source: Wei et al. (2025), arXiv 2510.18234, and the
configuration of the published model.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clip import Clip, ClipShape
from models.gpt import Gpt
from models.layers import Linear, fill_weights, reserved
from models.sam import Sam, SamShape
from models.shape import GptShape
from nsightkit import annotate


@dataclass(frozen=True)
class VlmShape:
    """The parts' sizes; `page_side` and `tile_side` are pixels, `most_tiles` bounds how finely a page is cut."""

    sam: SamShape
    clip: ClipShape
    decoder: GptShape
    page_side: int
    tile_side: int
    most_tiles: int = 9


def _decoder(**sizes: int) -> GptShape:
    return GptShape(gated_mlp=True, rms_norm=True, norm_epsilon=1e-6, rotary_base=10000.0, bias=False, **sizes)


SHAPES = {
    "small": VlmShape(
        SamShape(layers=4, heads=4, width=64, patch=16, window=5, grid=16, global_layers=(1, 3), neck=16, out=64),
        ClipShape(layers=3, heads=4, width=64, mlp_width=256, grid=4),
        _decoder(layers=4, heads=4, kv_heads=4, width=128, vocabulary=512, mlp_width=512, experts=16, active_experts=4,
                 shared_experts=2, expert_width=64, dense_layers=1),
        page_side=256, tile_side=128,
    ),
    # 64 experts of which 6 answer, and 2 shared ones: 3 billion weights, of which a token meets 570 million.
    "document": VlmShape(
        SamShape(), ClipShape(),
        _decoder(layers=12, heads=10, kv_heads=10, width=1280, vocabulary=129280, mlp_width=6848, experts=64,
                 active_experts=6, shared_experts=2, expert_width=896, dense_layers=1),
        page_side=1024, tile_side=640,
    ),
}  # fmt: skip


class _Projector(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Vlm(nn.Module):
    """Vision encoder, projector, decoder."""

    def __init__(self, shape: VlmShape) -> None:
        """Make the parts."""
        super().__init__()
        self.shape = shape
        self.sam_model, self.vision_model = Sam(shape.sam), Clip(shape.clip)
        self.projector = _Projector(shape.sam.out + shape.clip.width, shape.decoder.width)
        # Learned vectors that end a row of patches, and that part tiles from the page.
        self.image_newline, self.view_separator = reserved(shape.decoder.width), reserved(shape.decoder.width)
        self.decoder = Gpt(shape.decoder)

    def sam(self, views: list[Tensor]) -> list[Tensor]:
        """Return the map of each batch of images."""
        with annotate.range("sam", category="stage", payload=len(views)):
            return [self.sam_model(view) for view in views]

    def clip(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the positions of each map without the class token: (batch, positions, width)."""
        with annotate.range("clip", category="stage", payload=len(maps)):
            return [self.vision_model(each)[:, 1:] for each in maps]

    def project(self, maps: list[Tensor], seen: list[Tensor]) -> list[Tensor]:
        """Return what the decoder is given of each view: (batch, side, side, width)."""
        with annotate.range("projector", category="stage", payload=len(maps)):
            both = [torch.cat((y, x.flatten(2).transpose(1, 2)), dim=-1) for x, y in zip(maps, seen, strict=True)]
            return [self.projector(x).unflatten(1, maps[i].shape[2:]) for i, x in enumerate(both)]

    def arranged(self, projected: list[Tensor], tiling: tuple[int, int], prompt: Tensor) -> Tensor:
        """Return the sequence (1, length, width): rows of the tiles, rows of the page, separator, prompt ids.

        `projected` ends with the page; `tiling` is columns and rows of tiles, (1, 1) for none.
        """
        parts = []
        if len(projected) > 1:
            columns, rows = tiling
            tiles = projected[0].unflatten(0, (rows, columns))
            parts.append(self._lines(tiles.transpose(1, 2).flatten(0, 1).flatten(1, 2)))
        parts += [self._lines(projected[-1][0]), self.view_separator[None], F.embedding(prompt, self.decoder.tokens)]
        return torch.cat(parts)[None]

    def _lines(self, grid: Tensor) -> Tensor:
        """Return `grid` (rows, columns, width) row by row, each ended by the learned newline."""
        ends = self.image_newline.expand(grid.shape[0], 1, -1)
        return torch.cat((grid, ends), dim=1).flatten(0, 1)


def image_tokens(shape: VlmShape, tiling: tuple[int, int]) -> int:
    """Return how many positions a page takes in the decoder."""
    page, tile = (side // shape.sam.patch // 4 for side in (shape.page_side, shape.tile_side))
    columns, rows = tiling
    tiles = (columns * tile + 1) * rows * tile if tiling != (1, 1) else 0
    return tiles + (page + 1) * page + 1


def build_vlm(shape: VlmShape, seed: int, device: torch.device, dtype: torch.dtype) -> Vlm:
    """Return a model with random weights: for one seed the same ones on each device, rounded to `dtype`."""
    # Weights are made one by one where they belong; the empty ones take no memory.
    with torch.device("meta"):
        model = Vlm(shape).eval()
    fill_weights(model, seed, device, dtype)
    return model.requires_grad_(False)
