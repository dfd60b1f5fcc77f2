"""A small GPT-like decoder in plain torch, with a KV cache that can be left out.

In: token ids (batch, length). Out: logits of the last position (batch, vocabulary). Grouped-query attention where there
are fewer KV heads than heads. Weights are random: the work is real, the words are not.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nsightkit import annotate


@dataclass(frozen=True)
class GptShape:
    """The sizes of a model; `width` is a multiple of `heads`, and `heads` of `kv_heads`."""

    layers: int = 6
    heads: int = 8
    kv_heads: int = 8
    width: int = 512
    vocabulary: int = 4096
    max_length: int = 1024

    def __post_init__(self) -> None:
        """Refuse sizes that do not divide.

        Raises:
            ValueError: says which.
        """
        sizes = (self.layers, self.heads, self.kv_heads, self.width, self.vocabulary, self.max_length)
        if min(sizes) < 1:
            raise ValueError("every size of the model must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads are not a multiple of {self.kv_heads} KV heads")

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.width // self.heads


class KVCache:
    """Keys and values of the positions seen so far: per layer (batch, kv_heads, max_length, head_width)."""

    def __init__(self, shape: GptShape, batch_size: int, like: Tensor) -> None:
        """Reserve room for `batch_size` sequences with dtype and device of `like`."""
        size = (batch_size, shape.kv_heads, shape.max_length, shape.head_width)
        self.keys = [like.new_zeros(size) for _ in range(shape.layers)]
        self.values = [like.new_zeros(size) for _ in range(shape.layers)]
        self.length = 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new positions of `layer` behind the old ones and return all of them; `length` stays."""
        end = self.length + key.shape[2]
        self.keys[layer][:, :, self.length : end] = key
        self.values[layer][:, :, self.length : end] = value
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def owner(self, layer: int) -> int:
        """Return the layer whose keys and values `layer` uses: its own, unless a kind of cache shares them."""
        return layer

    def borrowed(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return the keys and values that the owner of `layer` has just extended."""
        raise ValueError(f"layer {layer} has keys and values of its own")

    @property
    def used_bytes(self) -> int:
        """Bytes of the positions seen so far."""
        parts = (*self.keys, *self.values)
        return sum(part[:, :, : self.length].numel() * part.element_size() for part in parts)

    def copied(self) -> "KVCache":
        """Return a cache of its own with the same content."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        for name in ("keys", "values"):
            setattr(copy, name, [part.clone() for part in getattr(self, name)])
        return copy


class Linear(nn.Module):
    """A linear map whose weights are only reserved: `build_gpt` fills them."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        """Reserve the weight (outputs, inputs) and the bias."""
        super().__init__()
        self.weight = _reserved(outputs, inputs)
        self.bias = _reserved(outputs) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension of `x`."""
        return F.linear(x, self.weight, self.bias)


def _reserved(*size: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(size), requires_grad=False)


class Attention(nn.Module):
    """Causal self-attention, with or without a cache."""

    def __init__(self, shape: GptShape) -> None:
        """Make the two projections; queries, keys and values share one."""
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_width
        self.qkv = Linear(shape.width, shape.width + 2 * kv_width)
        self.out = Linear(shape.width, shape.width)

    def forward(self, x: Tensor, layer: int, cache: KVCache | None) -> Tensor:
        """Attend from every position of `x` (batch, length, width) to itself and those before it."""
        batch, length, width = x.shape
        shape = self.shape
        query, key, value = self._projected(x, layer, cache)
        query = query.view(batch, length, shape.heads, -1).transpose(1, 2)
        if key is None:
            key, value = cache.borrowed(layer)
        else:
            key = key.view(batch, length, shape.kv_heads, -1).transpose(1, 2)
            value = value.view(batch, length, shape.kv_heads, -1).transpose(1, 2)
            if cache is not None:
                key, value = cache.extend(layer, key, value)
        if shape.kv_heads < shape.heads:
            repeats = shape.heads // shape.kv_heads
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        # One new position may see all: only a block of several needs the mask, and then it starts at position 0.
        y = F.scaled_dot_product_attention(query, key, value, is_causal=length > 1)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))

    def _projected(self, x: Tensor, layer: int, cache: KVCache | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return queries, keys and values; only queries for a layer that borrows the others."""
        width = self.shape.width
        if cache is not None and cache.owner(layer) != layer:
            bias = None if self.qkv.bias is None else self.qkv.bias[:width]
            return F.linear(x, self.qkv.weight[:width], bias), None, None
        kv_width = self.shape.kv_heads * self.shape.head_width
        return self.qkv(x).split((width, kv_width, kv_width), dim=2)


class Block(nn.Module):
    """One layer: attention and a feed-forward part, each behind a norm and beside a residual."""

    def __init__(self, shape: GptShape) -> None:
        """Make the parts."""
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attention = Attention(shape)
        self.up, self.down = Linear(shape.width, 4 * shape.width), Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor, layer: int, cache: KVCache | None) -> Tensor:
        """Return `x` (batch, length, width) one layer further."""
        with annotate.range("attention"):
            x = x + self.attention(self.norm1(x), layer, cache)
        with annotate.range("mlp"):
            return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """Embedding, blocks, final norm, head."""

    def __init__(self, shape: GptShape) -> None:
        """Make the parts."""
        super().__init__()
        self.shape = shape
        self.tokens = _reserved(shape.vocabulary, shape.width)
        self.positions = _reserved(shape.max_length, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = Linear(shape.width, shape.vocabulary, bias=False)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the logits after the last of `ids` (batch, length) and note the new positions in `cache`.

        Without a cache `ids` is the whole sequence; with one, the part that the cache has not seen: all of the prompt
        first, then one token a call.

        Raises:
            ValueError: the sequence outgrows the model, or several tokens come behind others.
        """
        x = self._layered(ids, cache)
        with annotate.range("head"):
            return self.head(self.norm(x[:, -1]))

    def all_logits(self, ids: Tensor) -> Tensor:
        """Return the logits after every position of `ids`: (batch, length, vocabulary). For training."""
        return self.head(self.norm(self._layered(ids, None)))

    def _layered(self, ids: Tensor, cache: KVCache | None) -> Tensor:
        seen = cache.length if cache is not None else 0
        end = seen + ids.shape[1]
        if end > self.shape.max_length:
            raise ValueError(f"{end} positions are more than the model's {self.shape.max_length}")
        if seen and ids.shape[1] > 1:
            raise ValueError("behind a cached prefix the model takes one token at a time")
        x = F.embedding(ids, self.tokens) + self.positions[seen:end]
        for layer, block in enumerate(self.blocks):
            with annotate.range("layer", payload=layer):
                x = block(x, layer, cache)
        if cache is not None:
            cache.length = end
        return x


def build_gpt(shape: GptShape, seed: int, device: torch.device, dtype: torch.dtype) -> Gpt:
    """Return a model with random weights: for one seed the same ones on each device, rounded to `dtype`.

    They are drawn by numpy, so that a profile shows the work of the model and not the making of its weights.
    """
    model = Gpt(shape).eval()
    generator = np.random.default_rng(seed)
    for name, weight in model.named_parameters():
        weight.data = torch.from_numpy(_drawn(name, tuple(weight.shape), generator))
    return model.to(device=device, dtype=dtype)


def _drawn(name: str, size: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    if "norm" in name:
        return np.full(size, float(name.endswith("weight")), dtype=np.float32)
    # Uniform with the deviation 0.02 that GPT-2 starts from.
    spread = 0.02 * np.sqrt(3)
    return (generator.random(size, dtype=np.float32) * 2 - 1) * np.float32(spread)
