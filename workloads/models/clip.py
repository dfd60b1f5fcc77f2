"""The second half of the vision encoder: a plain transformer over the compressed map, with a class token before it.

In: a map (batch, width, side, side). Out: (batch, side² + 1, width), the class token first. Names of weights are those
of DeepSeek-OCR's published checkpoint. Source: Radford et al. (2021), arXiv 2103.00020.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import Linear, reserved
from models.sam import resized
from nsightkit import annotate


@dataclass(frozen=True)
class ClipShape:
    """Sizes; `grid` is the side of the map for which positions are stored."""

    layers: int = 24
    heads: int = 16
    width: int = 1024
    mlp_width: int = 4096
    grid: int = 16


class ClipAttention(nn.Module):
    """Attention over all positions."""

    def __init__(self, shape: ClipShape) -> None:
        """Reserve the two maps."""
        super().__init__()
        self.heads = shape.heads
        self.qkv_proj, self.out_proj = Linear(shape.width, 3 * shape.width), Linear(shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over `x` (batch, positions, width)."""
        batch, length, width = x.shape
        qkv = self.qkv_proj(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.out_proj(y.transpose(1, 2).reshape(batch, length, width))


class QuickMlp(nn.Module):
    """The feed-forward part with CLIP's cheap GELU, x · sigmoid(1.702 x)."""

    def __init__(self, shape: ClipShape) -> None:
        """Reserve the two maps."""
        super().__init__()
        self.fc1, self.fc2 = Linear(shape.width, shape.mlp_width), Linear(shape.mlp_width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the part's output."""
        inner = self.fc1(x)
        return self.fc2(inner * torch.sigmoid(1.702 * inner))


class ClipLayer(nn.Module):
    """One layer."""

    def __init__(self, shape: ClipShape) -> None:
        """Make the parts."""
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.self_attn, self.mlp = ClipAttention(shape), QuickMlp(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` one layer further."""
        with annotate.range("attention"):
            x = x + self.self_attn(self.layer_norm1(x))
        with annotate.range("mlp"):
            return x + self.mlp(self.layer_norm2(x))


class _Embeddings(nn.Module):
    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.class_embedding = reserved(shape.width)
        self.position_embedding = nn.Embedding(shape.grid**2 + 1, shape.width)


class _Layers(nn.Module):
    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ClipLayer(shape) for _ in range(shape.layers))


class Clip(nn.Module):
    """Class token, positions, norm, layers."""

    def __init__(self, shape: ClipShape) -> None:
        """Make the parts."""
        super().__init__()
        self.embeddings, self.transformer = _Embeddings(shape), _Layers(shape)
        # The checkpoint spells it so.
        self.pre_layrnorm = nn.LayerNorm(shape.width)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (batch, positions + 1, width) for `maps` (batch, width, side, side)."""
        batch, _, side, _ = maps.shape
        parts = self.embeddings
        tokens = torch.cat((parts.class_embedding.expand(batch, 1, -1), maps.flatten(2).transpose(1, 2)), dim=1)
        x = self.pre_layrnorm(tokens + _positions(parts.position_embedding.weight, side))
        for layer, block in enumerate(self.transformer.layers):
            with annotate.range("layer", payload=layer):
                x = block(x)
        return x


def _positions(stored: Tensor, side: int) -> Tensor:
    """Return the class token's position and those of a map of `side`: (side² + 1, width)."""
    grid = round((stored.shape[0] - 1) ** 0.5)
    rest = resized(stored[1:].view(1, grid, grid, -1), side)
    return torch.cat((stored[:1], rest.reshape(side * side, -1)))
