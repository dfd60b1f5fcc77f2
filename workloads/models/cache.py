"""The plain KV cache: keys and values of every layer and position."""

from torch import Tensor

from models.layers import attended
from models.shape import GptShape


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

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store the new positions and return what `query` (batch, heads, new, head_width) finds, in its shape."""
        return attended(query, *self.extend(layer, key, value))

    def owner(self, layer: int) -> int:
        """Return the layer whose keys and values `layer` uses: its own, unless a kind of cache shares them."""
        return layer

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
