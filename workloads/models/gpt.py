"""A decoder-only language model in plain torch, with a KV cache that can be left out.

In: token ids (batch, length). Out: logits of the last position (batch, vocabulary). `GptShape` says which parts it has:
those of GPT-2, of Llama and Qwen, or of a mixture of experts. Drawn weights are random: the work is real, the words are
not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.cache import KVCache
from models.experts import Experts
from models.layers import Linear, Mlp, RmsNorm, attended, fill_weights, reserved, rotated
from models.shape import GptShape
from nsightkit import annotate

__all__ = ["Gpt", "GptShape", "KVCache", "build_gpt", "every_position"]


class Attention(nn.Module):
    """Causal self-attention, with or without a cache."""

    def __init__(self, shape: GptShape) -> None:
        """Make the two projections; queries, keys and values share one."""
        super().__init__()
        self.shape = shape
        self.qkv = Linear(shape.width, shape.query_width + 2 * shape.kv_width, shape.bias or shape.qkv_bias)
        self.out = Linear(shape.query_width, shape.width, shape.bias)
        self.query_norm, self.key_norm = (
            RmsNorm(shape.head_width, shape.norm_epsilon) if shape.head_norm else None for _ in range(2)
        )

    def forward(self, x: Tensor, layer: int, cache: KVCache | None) -> Tensor:
        """Attend from every position of `x` (batch, length, width) to itself and those before it."""
        batch, length, _ = x.shape
        query, key, value = self._placed(x, layer, cache)
        y = attended(query, key, value) if cache is None else cache.attend(layer, query, key, value)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))

    def _placed(self, x: Tensor, layer: int, cache: KVCache | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return queries, keys and values by head, turned where positions are rotary."""
        shape, start = self.shape, 0 if cache is None else cache.length
        query, key, value = self._projected(x, layer, cache)
        query = self._turned(_by_head(query, shape.heads), self.query_norm, start)
        if key is None:
            return query, None, None
        key = self._turned(_by_head(key, shape.kv_heads), self.key_norm, start)
        return query, key, _by_head(value, shape.kv_heads)

    def _turned(self, heads: Tensor, norm: RmsNorm | None, start: int) -> Tensor:
        if norm is not None:
            heads = norm(heads)
        return rotated(heads, start, self.shape.rotary_base) if self.shape.rotary_base else heads

    def _projected(self, x: Tensor, layer: int, cache: KVCache | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return queries, keys and values; only queries for a layer that borrows the others."""
        width = self.shape.query_width
        if cache is not None and cache.owner(layer) != layer:
            bias = None if self.qkv.bias is None else self.qkv.bias[:width]
            return F.linear(x, self.qkv.weight[:width], bias), None, None
        return self.qkv(x).split((width, self.shape.kv_width, self.shape.kv_width), dim=2)


def _by_head(x: Tensor, heads: int) -> Tensor:
    batch, length, _ = x.shape
    return x.view(batch, length, heads, -1).transpose(1, 2)


class Block(nn.Module):
    """One layer: attention and a feed-forward part, each behind a norm and beside a residual."""

    def __init__(self, shape: GptShape, layer: int) -> None:
        """Make the parts; the first `dense_layers` layers have no experts."""
        super().__init__()
        self.norm1, self.norm2 = _norm(shape), _norm(shape)
        self.attention = Attention(shape)
        if shape.experts and layer >= shape.dense_layers:
            self.mlp = Experts(shape)
        else:
            self.mlp = Mlp((shape.width, shape.mlp_width), shape.gated_mlp, shape.bias, shape.tanh_gelu)

    def forward(self, x: Tensor, layer: int, cache: KVCache | None) -> Tensor:
        """Return `x` (batch, length, width) one layer further."""
        with annotate.range("attention"):
            x = x + self.attention(self.norm1(x), layer, cache)
        with annotate.range("mlp"):
            return x + self.mlp(self.norm2(x))


def _norm(shape: GptShape) -> nn.Module:
    if shape.rms_norm:
        return RmsNorm(shape.width, shape.norm_epsilon)
    return nn.LayerNorm(shape.width, shape.norm_epsilon, bias=shape.bias)


class Gpt(nn.Module):
    """Embedding, blocks, final norm, head."""

    def __init__(self, shape: GptShape) -> None:
        """Make the parts."""
        super().__init__()
        self.shape = shape
        self.tokens = reserved(shape.vocabulary, shape.width)
        self.positions = None if shape.rotary_base else reserved(shape.max_length, shape.width)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm = _norm(shape)
        self.head = Linear(shape.width, shape.vocabulary, bias=False)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the logits after the last of `ids` (batch, length) and note the new positions in `cache`.

        Without a cache `ids` is the whole sequence; with one, the part that the cache has not seen: all of the prompt
        first, then one token a call.

        Raises:
            ValueError: the sequence outgrows the model, or several tokens come behind others.
        """
        return self.from_embeddings(F.embedding(ids, self.tokens), cache)

    def from_embeddings(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return what `forward` does, for the embeddings `x` (batch, length, width) of tokens or of an image."""
        x = self._layered(x, cache)
        with annotate.range("head"):
            return self.head(self.norm(x[:, -1]))

    def _layered(self, x: Tensor, cache: KVCache | None) -> Tensor:
        new, seen = x.shape[1], cache.length if cache is not None else 0
        end = seen + new
        if end > self.shape.max_length:
            raise ValueError(f"{end} positions are more than the model's {self.shape.max_length}")
        if seen and new > 1:
            raise ValueError("behind a cached prefix the model takes one token at a time")
        if self.positions is not None:
            x = x + self.positions[seen:end]
        for layer, block in enumerate(self.blocks):
            with annotate.range("layer", payload=layer):
                x = block(x, layer, cache)
        if cache is not None:
            cache.length = end
        return x


def every_position(model: Gpt, ids: Tensor) -> Tensor:
    """Return the logits after every position of `ids`: (batch, length, vocabulary). For training and checks."""
    return model.head(model.norm(model._layered(F.embedding(ids, model.tokens), None)))


def build_gpt(shape: GptShape, seed: int, device: torch.device, dtype: torch.dtype) -> Gpt:
    """Return a model with random weights: for one seed the same ones on each device, rounded to `dtype`.

    They are drawn by numpy, so that a profile shows the work of the model and not the making of its weights.
    """
    model = Gpt(shape).eval()
    fill_weights(model, seed, device, dtype)
    return model
