"""Ways to keep keys and values: none, plain, as INT8, shared between pairs of layers, and both; one registry.

In: the name of a variant and a shape. Out: its cache, and a model whose queries are aligned where the variant asks.
INT8 is symmetric per position and head: 8 bits a value and one fp32 scale a row.
"""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec

import torch
from torch import Tensor

from models.cache import KVCache
from models.gpt import Gpt
from models.layers import attended
from models.shape import GptShape


@dataclass(frozen=True)
class Variant:
    """What a variant does."""

    name: str
    description: str
    use_cache: bool = True
    quantized: bool = False
    shared: bool = False
    aligned: bool = False
    fused: bool = False

    def cache(self, shape: GptShape, batch_size: int, like: Tensor) -> KVCache | None:
        """Return an empty cache with device and dtype of `like`; None for the variant without one."""
        if not self.use_cache:
            return None
        if self.fused:
            return FusedInt8Cache(shape, batch_size, like)
        kind = {(False, False): KVCache, (True, False): Int8Cache, (False, True): SharedCache,
                (True, True): SharedInt8Cache}[self.quantized, self.shared]  # fmt: skip
        return kind(shape, batch_size, like)

    def cache_bytes_per_token(self, shape: GptShape, value_bytes: int) -> int:
        """Return the bytes that one position of one sequence takes; `value_bytes` is the size of one plain value."""
        if not self.use_cache:
            return 0
        layers = (shape.layers + 1) // 2 if self.shared else shape.layers
        row = shape.head_width + _SCALE_BYTES if self.quantized else shape.head_width * value_bytes
        return 2 * layers * shape.kv_heads * row


_SCALE_BYTES = 4

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("v0", "no cache", use_cache=False),
        Variant("v1", "KV cache"),
        Variant("v2", "INT8 KV cache", quantized=True),
        Variant("v2t", "INT8 KV cache, attention of a step in one Triton kernel", quantized=True, fused=True),
        Variant("v3", "KV cache, pairs of layers share", shared=True),
        Variant("v4", "INT8 KV cache, pairs of layers share", quantized=True, shared=True),
        Variant("v3a", "as v3, queries of the borrower replaced by the owner's", shared=True, aligned=True),
        Variant("v4a", "as v4, queries of the borrower replaced by the owner's", quantized=True, shared=True,
                aligned=True),
    )
}  # fmt: skip


def missing_for(variant: Variant, device: str) -> str | None:
    """Return why `variant` cannot run on `device`, None where it can."""
    if not variant.fused:
        return None
    if find_spec("triton") is None:
        return "its kernel needs Triton, which is not installed: pip install triton"
    if not device.startswith("cuda") and os.environ.get("TRITON_INTERPRET") != "1":
        return "its kernel needs a GPU, or Triton's slow interpreter: set TRITON_INTERPRET=1"
    return None


def chosen_variant(name: str, device: str) -> Variant:
    """Return the variant called `name`.

    Raises:
        ValueError: there is none (the message says which are near), or it cannot run on `device`.
    """
    if name not in VARIANTS:
        near = get_close_matches(name.lower(), VARIANTS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"no variant '{name}'; {hint}there are {', '.join(VARIANTS)}")
    if (missing := missing_for(VARIANTS[name], device)) is not None:
        raise ValueError(f"{name} cannot run here: {missing}")
    return VARIANTS[name]


def quantize(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return `rows` as INT8 and one scale for each last dimension: the largest magnitude ÷ 127."""
    largest = rows.float().abs().amax(dim=-1, keepdim=True)
    scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return torch.round(rows.float() / scale).clamp_(-127, 127).to(torch.int8), scale


def dequantize(stored: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what `quantize` kept, as `dtype`."""
    return (stored.float() * scale).to(dtype)


class Int8Cache(KVCache):
    """Keys and values as INT8 with a scale per layer, head and position; also the newest ones are read back."""

    def __init__(self, shape: GptShape, batch_size: int, like: Tensor) -> None:
        """Reserve values and scales."""
        size = (batch_size, shape.kv_heads, shape.max_length, shape.head_width)
        kept = self.kept_layers(shape)
        for name in ("keys", "values"):
            setattr(self, name, [like.new_zeros(size, dtype=torch.int8) for _ in kept])
            scales = [like.new_zeros((*size[:3], 1), dtype=torch.float32) for _ in kept]
            setattr(self, f"{name}_scales", scales)
        self.length = 0
        self._dtype = like.dtype

    @staticmethod
    def kept_layers(shape: GptShape) -> range:
        """Return the layers that have an entry."""
        return range(shape.layers)

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new positions of `layer` as INT8 and return all of them in the dtype of the model."""
        return self._read(self.place(layer), self._store(layer, key, value))

    def _store(self, layer: int, key: Tensor, value: Tensor) -> int:
        """Store the new positions of `layer` and return the end of all."""
        end, place = self.length + key.shape[2], self.place(layer)
        for name, new in (("keys", key), ("values", value)):
            stored, scale = quantize(new)
            getattr(self, name)[place][:, :, self.length : end] = stored
            getattr(self, f"{name}_scales")[place][:, :, self.length : end] = scale
        return end

    def place(self, layer: int) -> int:
        """Return the entry of `layer`."""
        return layer

    def _read(self, place: int, end: int) -> tuple[Tensor, Tensor]:
        return tuple(
            dequantize(getattr(self, name)[place][:, :, :end], getattr(self, f"{name}_scales")[place][:, :, :end],
                       self._dtype)
            for name in ("keys", "values")
        )  # fmt: skip

    @property
    def used_bytes(self) -> int:
        """Bytes of the positions seen so far, scales included."""
        scales = sum(part[:, :, : self.length].numel() for part in (*self.keys_scales, *self.values_scales))
        return super().used_bytes + _SCALE_BYTES * scales

    def copied(self) -> "Int8Cache":
        """Return a cache of its own with the same content."""
        copy = super().copied()
        for name in ("keys_scales", "values_scales"):
            setattr(copy, name, [part.clone() for part in getattr(self, name)])
        return copy


class FusedInt8Cache(Int8Cache):
    """As `Int8Cache`, but a step attends over the stored values themselves; prefill reads them back as it does."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store the new positions; attend to one of them in one kernel, without writing the stored values out."""
        if query.shape[2] > 1:
            return super().attend(layer, query, key, value)
        # Triton is not installed everywhere.
        from models.int8_attention import attend

        self._store(layer, key, value)
        keys, values = (
            (getattr(self, name)[layer], getattr(self, f"{name}_scales")[layer]) for name in ("keys", "values")
        )
        return attend(query, keys, values, self.length + 1)


class _Lending:
    """Each even layer keeps keys and values; the odd layer above it borrows them, in prefill too."""

    def owner(self, layer: int) -> int:
        """Return the even layer of the pair."""
        return layer - layer % 2

    def place(self, layer: int) -> int:
        """Return the entry of the pair."""
        return layer // 2

    def attend(self, layer: int, query: Tensor, key: Tensor | None, value: Tensor | None) -> Tensor:
        """Let a borrower, which has no key and value, see what the owner has just extended."""
        if key is None:
            return attended(query, *self.borrowed(layer))
        return super().attend(layer, query, key, value)


class SharedCache(_Lending, KVCache):
    """Plain values, one entry a pair of layers."""

    def __init__(self, shape: GptShape, batch_size: int, like: Tensor) -> None:
        """Reserve one entry a pair."""
        size = (batch_size, shape.kv_heads, shape.max_length, shape.head_width)
        pairs = (shape.layers + 1) // 2
        self.keys = [like.new_zeros(size) for _ in range(pairs)]
        self.values = [like.new_zeros(size) for _ in range(pairs)]
        self.length = 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new positions of the pair and return all of them."""
        self._end = self.length + key.shape[2]
        return super().extend(self.place(layer), key, value)

    def borrowed(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return what the owner has just extended."""
        place = self.place(layer)
        return self.keys[place][:, :, : self._end], self.values[place][:, :, : self._end]


class SharedInt8Cache(_Lending, Int8Cache):
    """INT8 values, one entry a pair of layers."""

    @staticmethod
    def kept_layers(shape: GptShape) -> range:
        """Return one entry a pair."""
        return range((shape.layers + 1) // 2)

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new positions of the pair and return all of them."""
        self._end = self.length + key.shape[2]
        return super().extend(layer, key, value)

    def borrowed(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return what the owner has just extended, read back once more."""
        return self._read(self.place(layer), self._end)


def align_queries(model: Gpt) -> None:
    """Give each borrowing layer the query weights of the layer that it borrows from. Changes the model."""
    width = model.shape.query_width
    for owner, borrower in zip(model.blocks[::2], model.blocks[1::2], strict=False):
        borrower.attention.qkv.weight.data[:width] = owner.attention.qkv.weight.data[:width]
        if borrower.attention.qkv.bias is not None:
            borrower.attention.qkv.bias.data[:width] = owner.attention.qkv.bias.data[:width]


class Decoder:
    """Feeds one sequence of tokens to a model and starts its window anew where the context is full.

    A full window is cut to its newer half, which becomes positions 0 and up again; the cache is filled anew with it.
    Keeping old entries behind new positions would attend with positions that no longer hold.
    """

    def __init__(self, model: Gpt, variant: Variant, batch_size: int) -> None:
        """Start with an empty window."""
        self._model, self._variant, self._batch_size = model, variant, batch_size
        self._ids: Tensor | None = None
        self._cache = self._empty()

    def _empty(self) -> KVCache | None:
        return self._variant.cache(self._model.shape, self._batch_size, self._model.head.weight)

    def feed(self, new: Tensor) -> Tensor:
        """Append `new` (batch, count) and return the logits after the last position (batch, vocabulary)."""
        fresh = self._ids is None
        ids = new if self._ids is None else torch.cat((self._ids, new), dim=1)
        if ids.shape[1] > self._model.shape.max_length:
            ids, fresh = ids[:, -(self._model.shape.max_length // 2) :], True
        if fresh:
            self._cache = self._empty()
        self._ids = ids
        part = ids if fresh or self._cache is None else new
        return self._model(part, self._cache)

    @property
    def cache_bytes(self) -> int:
        """Bytes in the cache now; 0 without one."""
        return 0 if self._cache is None else self._cache.used_bytes
