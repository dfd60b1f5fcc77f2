"""The sizes of a language model, and which of the usual parts it is built of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GptShape:
    """The sizes of a model; `heads` is a multiple of `kv_heads`. 0 means "follows from the others" or "has none".

    The defaults are GPT-2's parts: learned positions, layer norms, GELU, biases. `rotary_base` above 0 turns queries
    and keys instead of adding positions. `experts` above 0 is a mixture of experts in all but the first `dense_layers`
    layers. Names that the paper model knows too mean the same there.
    """

    layers: int = 6
    heads: int = 8
    kv_heads: int = 8
    width: int = 512
    vocabulary: int = 4096
    max_length: int = 1024
    head_width: int = 0
    mlp_width: int = 0
    gated_mlp: bool = False
    tanh_gelu: bool = False
    rms_norm: bool = False
    norm_epsilon: float = 1e-5
    rotary_base: float = 0.0
    head_norm: bool = False
    bias: bool = True
    qkv_bias: bool = False
    experts: int = 0
    active_experts: int = 0
    shared_experts: int = 0
    expert_width: int = 0
    dense_layers: int = 0

    def __post_init__(self) -> None:
        """Fill in what follows, and refuse sizes that do not fit.

        Raises:
            ValueError: says which.
        """
        if min(self.layers, self.heads, self.kv_heads, self.width, self.vocabulary, self.max_length) < 1:
            raise ValueError("every size of the model must be at least 1")
        if not self.head_width and self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.heads} heads")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads are not a multiple of {self.kv_heads} KV heads")
        object.__setattr__(self, "head_width", self.head_width or self.width // self.heads)
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        if self.rotary_base and self.head_width % 2:
            raise ValueError(f"rotary positions turn pairs of values; a head of {self.head_width} has an odd one")
        if self.experts and not 1 <= self.active_experts <= self.experts:
            raise ValueError(f"{self.active_experts} active of {self.experts} experts cannot be")

    @property
    def query_width(self) -> int:
        """Values of all queries of one position."""
        return self.heads * self.head_width

    @property
    def kv_width(self) -> int:
        """Values of all keys of one position; there are as many of values."""
        return self.kv_heads * self.head_width
