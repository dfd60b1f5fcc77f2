"""What a language model's sizes are, for the arithmetic of `paper_model`.

In: sizes, or the name of an entry of model_shapes.toml. Out: `ModelShape`, which knows how many weights a token meets.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from nsightkit.errors import AnalysisError

SHAPES_FILE = Path(__file__).with_name("model_shapes.toml")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only transformer. 0 means "follows from the others" or "has none of it".

    `kv_layers` counts the layers that make keys and values of their own (0: all); the rest borrow them. `latent_width`
    above 0 is latent attention (MLA): one compressed row a position, with `rope_width` values beside it; `query_width`
    is the row that its queries are compressed to (0: they are not). `experts` above 0 is a mixture of experts in all
    but the first `dense_layers` layers.
    """

    layers: int
    heads: int
    width: int
    vocabulary: int
    kv_heads: int = 0
    head_width: int = 0
    mlp_width: int = 0
    gated_mlp: bool = False
    tied_head: bool = True
    biases: bool = False
    learned_positions: int = 0
    kv_layers: int = 0
    latent_width: int = 0
    query_width: int = 0
    rope_width: int = 0
    nope_width: int = 0
    value_width: int = 0
    experts: int = 0
    active_experts: int = 0
    shared_experts: int = 0
    expert_width: int = 0
    dense_layers: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        """Fill in what follows, and refuse sizes that cannot be.

        Raises:
            AnalysisError: says which.
        """
        if min(self.layers, self.heads, self.width, self.vocabulary) < 1:
            raise AnalysisError("a model needs at least one layer, head, channel and token", slug="model-shape")
        follows = {
            "kv_heads": self.heads,
            "head_width": self.width // self.heads,
            "mlp_width": 4 * self.width,
            "kv_layers": self.layers,
        }
        for name, value in follows.items():
            object.__setattr__(self, name, getattr(self, name) or value)
        if self.heads % self.kv_heads or self.width < self.heads:
            raise AnalysisError(
                f"{self.heads} heads, {self.kv_heads} KV heads and width {self.width} do not divide", slug="model-shape"
            )
        if self.active_experts > self.experts:
            raise AnalysisError(f"{self.active_experts} active of {self.experts} experts cannot be", slug="model-shape")

    @property
    def attention_weights(self) -> int:
        """Weights of one layer's projections."""
        if self.latent_width:
            spread = self.heads * (self.nope_width + self.rope_width)
            queries = self.query_width * (self.width + spread) if self.query_width else self.width * spread
            compressed = self.width * (self.latent_width + self.rope_width)
            expanded = self.latent_width * self.heads * (self.nope_width + self.value_width)
            return queries + compressed + expanded + self.heads * self.value_width * self.width
        return 2 * self.width * self.heads * self.head_width + self.kv_weights

    @property
    def kv_weights(self) -> int:
        """Weights of one layer's projection to keys and values; a layer that borrows has none to use."""
        return 0 if self.latent_width else 2 * self.width * self.kv_heads * self.head_width

    @property
    def moe_layers(self) -> int:
        """Layers with experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def dense_mlp_weights(self) -> int:
        """Weights of one dense feed-forward part."""
        return (3 if self.gated_mlp else 2) * self.width * self.mlp_width

    @property
    def expert_weights(self) -> int:
        """Weights of one expert."""
        return (3 if self.gated_mlp else 2) * self.width * (self.expert_width or self.mlp_width)

    @property
    def head_weights(self) -> int:
        """Weights of the map to the vocabulary."""
        return self.width * self.vocabulary

    @property
    def token_weights(self) -> int:
        """Weights of the layers' linear maps that one token is multiplied with."""
        attention = self.layers * self.attention_weights - (self.layers - self.kv_layers) * self.kv_weights
        dense = (self.layers - self.moe_layers) * self.dense_mlp_weights
        used = self.active_experts + self.shared_experts
        return attention + dense + self.moe_layers * (used * self.expert_weights + self.width * self.experts)

    def read_weights(self, tokens: int) -> float:
        """Return how many weights of the layers a forward pass over `tokens` tokens reads, each once.

        With experts it is the expected number for a router that treats all alike: E·(1 - (1 - k/E)^tokens) experts.
        Source: expected number of distinct draws.
        """
        if not self.experts:
            return float(self.token_weights)
        met = self.experts * (1 - (1 - self.active_experts / self.experts) ** tokens)
        return self.token_weights + self.moe_layers * (met - self.active_experts) * self.expert_weights

    @property
    def stored_weights(self) -> int:
        """All weights of the linear maps, embeddings, norms and biases: what the memory must hold."""
        experts = self.moe_layers * (self.experts - self.active_experts) * self.expert_weights
        borrowed = (self.layers - self.kv_layers) * self.kv_weights
        embeddings = self.head_weights * (1 if self.tied_head else 2) + self.learned_positions * self.width
        return self.token_weights + experts + borrowed + embeddings + self._vectors

    @property
    def active_weights(self) -> int:
        """Weights that one token meets, embeddings included: what papers call active parameters."""
        return self.stored_weights - self.moe_layers * (self.experts - self.active_experts) * self.expert_weights

    @property
    def _vectors(self) -> int:
        """Norms and biases."""
        norms = (2 * self.layers + 1) * self.width * (2 if self.biases else 1)
        if not self.biases:
            return norms
        outputs = self.heads * self.head_width + 2 * self.kv_heads * self.head_width + self.width
        return norms + self.layers * (outputs + self.mlp_width + self.width)

    @property
    def kv_row_values(self) -> int:
        """Values that the cache keeps of one position in one layer.

        Source: keys and values of each KV head; for latent attention one compressed row and the rotary key
        (DeepSeek-AI 2024, section 2.1).
        """
        if self.latent_width:
            return self.latent_width + self.rope_width
        return 2 * self.kv_heads * self.head_width

    @property
    def pair_flop(self) -> int:
        """FLOP of attention for one new position and one position that it sees, in one layer: scores and mixing.

        A step of latent attention reads the compressed rows as they are: the queries are brought to them (absorbed).
        """
        if self.latent_width:
            return 2 * self.heads * (2 * self.latent_width + self.rope_width)
        return 4 * self.heads * self.head_width

    @property
    def whole_pair_flop(self) -> int:
        """The same in a pass that makes all the keys and values it sees, as prefill does.

        Latent attention spreads them out to the heads then, which its linear maps count once a position.
        Source: DeepSeek-AI (2024), section 2.1.2; the published inference code attends so in prefill.
        """
        if self.latent_width:
            return 2 * self.heads * (self.nope_width + self.rope_width + self.value_width)
        return self.pair_flop


@cache
def known_shapes() -> dict[str, ModelShape]:
    """Return the entries of model_shapes.toml by name."""
    content = tomllib.loads(SHAPES_FILE.read_text(encoding="utf-8"))
    return {name: shape_from(entry) for name, entry in content.items()}


def shape_from(entry: dict[str, Any]) -> ModelShape:
    """Return the shape with the sizes in `entry`; other keys are passed over."""
    names = {field.name for field in fields(ModelShape)}
    return ModelShape(**{name: value for name, value in entry.items() if name in names and value is not None})


def shape_of_name(name: str) -> ModelShape:
    """Return the shape called `name`.

    Raises:
        AnalysisError: there is none; the message names the nearest and lists those there are.
    """
    if name not in known_shapes():
        near = get_close_matches(name.lower(), known_shapes(), n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise AnalysisError(
            f"no model '{name}'; {meant}known are {', '.join(known_shapes())}, or give --layers, --heads, --width and "
            "--vocabulary",
            slug="unknown-model",
        )
    return known_shapes()[name]
