"""The first half of the vision encoder: a transformer over patches that attends inside windows, and a compressor.

In: images (batch, 3, side, side), side a multiple of patch × 4. Out: a map (batch, out, side ÷ patch ÷ 4, the same).
Most blocks attend only inside square windows, which the padded map is cut into; a few attend over all of it. Positions
are learned, and the distance of two patches adds to their score. Names of weights are those of DeepSeek-OCR's published
checkpoint. Source: Kirillov et al. (2023), arXiv 2304.02643; Li et al. (2022), arXiv 2203.16527; the compressor:
Wei et al. (2025), arXiv 2510.18234.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import Linear, reserved
from nsightkit import annotate


@dataclass(frozen=True)
class SamShape:
    """Sizes; `grid` is the side in patches for which positions are stored, other sides interpolate them."""

    layers: int = 12
    heads: int = 12
    width: int = 768
    patch: int = 16
    window: int = 14
    grid: int = 64
    global_layers: tuple[int, ...] = (2, 5, 8, 11)
    neck: int = 256
    out: int = 1024


def windows_of(x: Tensor, window: int) -> Tensor:
    """Cut `x` (batch, rows, columns, width), padded with zeros, into (batch × count, window, window, width)."""
    batch, rows, columns, width = x.shape
    x = F.pad(x, (0, 0, 0, -columns % window, 0, -rows % window))
    high, wide = x.shape[1] // window, x.shape[2] // window
    x = x.view(batch, high, window, wide, window, width)
    return x.transpose(2, 3).reshape(-1, window, window, width)


def joined_windows(cut: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `windows_of` for a map of `size` rows and columns; the padding goes."""
    window, width = cut.shape[1], cut.shape[-1]
    high, wide = (-(-side // window) for side in size)
    x = cut.view(-1, high, wide, window, window, width).transpose(2, 3)
    return x.reshape(-1, high * window, wide * window, width)[:, : size[0], : size[1]]


class PatchAttention(nn.Module):
    """Attention over a square of patches; distances add to the scores."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        """Reserve the weights; `side` is that of the square for which distances are stored."""
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = Linear(width, 3 * width), Linear(width, width)
        self.rel_pos_h, self.rel_pos_w = (reserved(2 * side - 1, width // heads) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Attend over all patches of `x` (batch, rows, columns, width)."""
        batch, rows, columns, width = x.shape
        qkv = self.qkv(x).view(batch, rows * columns, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        # A contiguous mask of the scores' dtype keeps the fused kernels usable.
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=self._distances(query, rows, columns))
        return self.proj(y.transpose(1, 2).reshape(batch, rows, columns, width))

    def _distances(self, query: Tensor, rows: int, columns: int) -> Tensor:
        """Return what distance adds to each score: (batch, heads, rows × columns, rows × columns)."""
        grid = query.unflatten(2, (rows, columns))
        down = torch.einsum("bhrcw,rkw->bhrck", grid, _by_distance(self.rel_pos_h, rows))
        across = torch.einsum("bhrcw,ckw->bhrck", grid, _by_distance(self.rel_pos_w, columns))
        # (batch, heads, row, column, key row, key column), then both pairs as one index each, as the scores have it.
        return (down[..., :, None] + across[..., None, :]).flatten(4).flatten(2, 3)


def _by_distance(stored: Tensor, side: int) -> Tensor:
    """Return the embedding of each distance: (side, side, width), interpolated where another side is stored."""
    if stored.shape[0] != 2 * side - 1:
        line = stored.float().t()[None]
        stored = F.interpolate(line, size=2 * side - 1, mode="linear")[0].t().to(stored.dtype)
    place = torch.arange(side, device=stored.device)
    return stored[place[:, None] - place[None, :] + side - 1]


class Mlp(nn.Module):
    """The feed-forward part, under the names of the checkpoint."""

    def __init__(self, width: int) -> None:
        """Reserve the two maps."""
        super().__init__()
        self.lin1, self.lin2 = Linear(width, 4 * width), Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the part's output."""
        return self.lin2(F.gelu(self.lin1(x)))


class SamBlock(nn.Module):
    """One layer; `window` 0 attends over the whole map."""

    def __init__(self, shape: SamShape, window: int) -> None:
        """Make the parts."""
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = (nn.LayerNorm(shape.width, 1e-6) for _ in range(2))
        self.attn = PatchAttention(shape.width, shape.heads, window or shape.grid)
        self.mlp = Mlp(shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (batch, rows, columns, width) one layer further."""
        normed = self.norm1(x)
        with annotate.range("window_attention" if self.window else "global_attention"):
            if self.window:
                y = joined_windows(self.attn(windows_of(normed, self.window)), (x.shape[1], x.shape[2]))
            else:
                y = self.attn(normed)
        x = x + y
        with annotate.range("mlp"):
            return x + self.mlp(self.norm2(x))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map (batch, channels, rows, columns)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normed."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Patches(nn.Module):
    """Maps each patch of an image to one vector."""

    def __init__(self, shape: SamShape) -> None:
        """Reserve the convolution."""
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch)

    def forward(self, images: Tensor) -> Tensor:
        """Return (batch, rows, columns, width)."""
        return self.proj(images).permute(0, 2, 3, 1)


class Sam(nn.Module):
    """Patches, blocks, neck and the two convolutions that leave a sixteenth of the positions."""

    def __init__(self, shape: SamShape) -> None:
        """Make the parts."""
        super().__init__()
        self.patch_embed = Patches(shape)
        self.pos_embed = reserved(1, shape.grid, shape.grid, shape.width)
        self.blocks = nn.ModuleList(
            SamBlock(shape, 0 if layer in shape.global_layers else shape.window) for layer in range(shape.layers)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(shape.width, shape.neck, 1, bias=False),
            ChannelNorm(shape.neck, 1e-6),
            nn.Conv2d(shape.neck, shape.neck, 3, padding=1, bias=False),
            ChannelNorm(shape.neck, 1e-6),
        )
        self.net_2 = nn.Conv2d(shape.neck, 2 * shape.neck, 3, stride=2, padding=1, bias=False)
        self.net_3 = nn.Conv2d(2 * shape.neck, shape.out, 3, stride=2, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the compressed map (batch, out, rows ÷ 4, columns ÷ 4)."""
        x = self.patch_embed(images)
        x = x + resized(self.pos_embed, x.shape[1])
        for layer, block in enumerate(self.blocks):
            with annotate.range("layer", payload=layer):
                x = block(x)
        return self.net_3(self.net_2(self.neck(x.permute(0, 3, 1, 2))))


def resized(positions: Tensor, side: int) -> Tensor:
    """Return learned positions (1, grid, grid, width) for a map of `side`: bicubic, as the published model does it."""
    if positions.shape[1] == side:
        return positions
    grid = positions.float().permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return grid.permute(0, 2, 3, 1).to(positions.dtype)
