"""The layers that the models are built of: linear maps, norms, rotary positions, attention, feed-forward parts.

In: activations whose last dimension is the width. Out: activations. Weights are only reserved here: `fill_weights`
draws them, or a loader copies them in.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def reserved(*size: int) -> nn.Parameter:
    """Return room for a weight of this size; its values are whatever was there."""
    return nn.Parameter(torch.empty(size), requires_grad=False)


class Linear(nn.Module):
    """A linear map whose weights are only reserved."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        """Reserve the weight (outputs, inputs) and the bias."""
        super().__init__()
        self.weight = reserved(outputs, inputs)
        self.bias = reserved(outputs) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension of `x`."""
        return F.linear(x, self.weight, self.bias)


class RmsNorm(nn.Module):
    """Divides by the root mean square, in fp32. Source: Zhang and Sennrich (2019), arXiv 1910.07467."""

    def __init__(self, width: int, epsilon: float) -> None:
        """Start with weights of 1."""
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(width)), epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normed over its last dimension, in its dtype."""
        whole = x if x.dtype == torch.float64 else x.float()
        normed = whole * torch.rsqrt(whole.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * normed.to(x.dtype)


class Mlp(nn.Module):
    """The feed-forward part of a layer: two maps with GELU between, or three with a SiLU gate."""

    def __init__(self, sizes: tuple[int, int], gated: bool, bias: bool, tanh_gelu: bool = False) -> None:
        """Reserve the maps; `sizes` are the width outside and inside.

        Source of the gate: Shazeer (2020), arXiv 2002.05202.
        """
        super().__init__()
        width, inner = sizes
        self.up, self.down = Linear(width, inner, bias), Linear(inner, width, bias)
        self.gate = Linear(width, inner, bias) if gated else None
        self._gelu = "tanh" if tanh_gelu else "none"

    def forward(self, x: Tensor) -> Tensor:
        """Return the part's output for `x`."""
        if self.gate is not None:
            return self.down(F.silu(self.gate(x)) * self.up(x))
        return self.down(F.gelu(self.up(x), approximate=self._gelu))


def rotated(x: Tensor, start: int, base: float) -> Tensor:
    """Turn pairs of values (i, i + half) of `x` (…, length, head_width) by their position; the first is `start`.

    Source: Su et al. (2021), arXiv 2104.09864, in the half-split order of transformers' Llama, whose published weights
    are stored for it.
    """
    half = x.shape[-1] // 2
    # Angles in fp32 at least: at position 1000 bf16 cannot tell neighbors apart.
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    rates = base ** (-torch.arange(half, device=x.device, dtype=exact) / half)
    places = torch.arange(start, start + x.shape[-2], device=x.device, dtype=exact)
    angle = torch.outer(places, rates)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return what `query` (batch, heads, new, head_width) finds among `key` and `value`, in its shape.

    These are (batch, kv_heads, seen, head_width): of all positions seen, the new ones last. A block of several queries
    starts at position 0.
    """
    if (repeats := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    # One new position may see all: only a block of several needs the mask.
    return F.scaled_dot_product_attention(query, key, value, is_causal=query.shape[2] > 1)


def fill_weights(model: nn.Module, seed: int, device: torch.device, dtype: torch.dtype) -> None:
    """Draw every weight from `seed`: norms are 1 and 0, the rest uniform with the deviation 0.02.

    Each weight goes to `device` as it is drawn, so that a large model needs its memory only there.
    """
    generator = np.random.default_rng(seed)
    for name, weight in list(model.named_parameters()):
        path, _, leaf = name.rpartition(".")
        owner = model.get_submodule(path)
        drawn = torch.from_numpy(_drawn(owner, leaf, tuple(weight.shape), generator))
        setattr(owner, leaf, nn.Parameter(drawn.to(device=device, dtype=dtype), requires_grad=False))


def _drawn(owner: nn.Module, leaf: str, size: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    if isinstance(owner, (nn.LayerNorm, RmsNorm)):
        return np.full(size, float(leaf == "weight"), dtype=np.float32)
    # Uniform with the deviation 0.02 that GPT-2 starts from.
    spread = 0.02 * np.sqrt(3)
    return (generator.random(size, dtype=np.float32) * 2 - 1) * np.float32(spread)
