"""The cost of a language model on paper: FLOP, bytes, intensity, roofline time and capacity.

In: a `ModelShape`, the work (batch, prompt, new tokens, cache), the size of a value, and what a GPU can do. Out: exact
counts of the matrix products (norms, softmax, activations and copies have none) and compulsory traffic: every weight
once a forward pass, the cache once. All of it is a prediction, not a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

from nsightkit.analysis.work.model_shapes import ModelShape
from nsightkit.errors import AnalysisError
from nsightkit.gpus import GpuSpec

# dtype -> bytes of a value, and the name of its peak in gpus.toml.
DTYPES = {
    "float64": (8, "fp64_flop_per_s"),
    "float32": (4, "fp32_flop_per_s"),
    "bfloat16": (2, "tensor_bf16_flop_per_s"),
    "float16": (2, "tensor_fp16_flop_per_s"),
}
# Source: 2·m·n·k for a matrix product is the convention of torch.utils.flop_counter and of the data sheets; the time is
# that of the roofline of Williams, Waterman and Patterson (2009).
FORMULAS = {
    "kv_bytes": "batch × positions × layers × values a position × bytes per value, + scales where quantized",
    "active_weights": "parameters − experts that a token is not sent to",
    "linear_flop": "2 × weights met × tokens",
    "attention_flop": "4 × layers × heads × head width × new × seen positions; no causal half left out",
    "latent_attention_flop": "2 × layers × heads × (2 × latent width + rope width) × new × seen positions",
    "whole_latent_attention_flop": "2 × layers × heads × (nope + rope + value width) × new × seen positions; no causal "
    "half left out",
    "head_flop": "2 × width × vocabulary × sequences: only the last position is mapped",
    "bytes": "weights once a forward pass + embedding rows + cache read + cache written",
    "intensity": "FLOP ÷ bytes",
    "time": "max(FLOP ÷ peak, bytes ÷ bandwidth), summed over forward passes",
    "capacity": "(memory − weights) ÷ cache of one sequence, rounded down",
}


@dataclass(frozen=True, slots=True)
class CacheKind:
    """How the cache keeps a value; None bytes is "as the model's dtype". A row of a head may have a scale."""

    value_bytes: float | None = None
    row_scale_bytes: float = 0.0


PLAIN = CacheKind()
INT8 = CacheKind(value_bytes=1, row_scale_bytes=4)


@dataclass(frozen=True, slots=True)
class Work:
    """What is decoded: `new_tokens` steps behind the first token, which prefill yields."""

    batch: int = 1
    prompt: int = 128
    new_tokens: int = 16
    cached: bool = True
    dtype: str = "bfloat16"
    cache: CacheKind = PLAIN

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            AnalysisError: says what.
        """
        if min(self.batch, self.prompt) < 1 or self.new_tokens < 0:
            raise AnalysisError("batch and prompt are at least 1, new tokens at least 0", slug="model-work")
        if self.dtype not in DTYPES:
            raise AnalysisError(f"dtype '{self.dtype}' is not one of {', '.join(DTYPES)}", slug="model-work")

    @property
    def value_bytes(self) -> int:
        """Bytes of a weight."""
        return DTYPES[self.dtype][0]


@dataclass(frozen=True, slots=True)
class Cost:
    """FLOP and bytes of one or more forward passes."""

    linear_flop: int
    attention_flop: int
    head_flop: int
    weight_bytes: float
    kv_read_bytes: float
    kv_written_bytes: float
    passes: int = 1

    @property
    def flop(self) -> int:
        """All FLOP."""
        return self.linear_flop + self.attention_flop + self.head_flop

    @property
    def moved_bytes(self) -> float:
        """All bytes."""
        return self.weight_bytes + self.kv_read_bytes + self.kv_written_bytes

    @property
    def flop_per_byte(self) -> float:
        """Arithmetic intensity."""
        return self.flop / self.moved_bytes

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a GPU can do on paper in one dtype."""

    name: str
    flop_per_s: float
    bytes_per_s: float

    def time_ns(self, cost: Cost) -> float:
        """Return the roofline time of one forward pass."""
        return 1e9 * max(cost.flop / self.flop_per_s, cost.moved_bytes / self.bytes_per_s)

    @property
    def ridge_flop_per_byte(self) -> float:
        """Intensity above which the arithmetic takes longer than the traffic."""
        return self.flop_per_s / self.bytes_per_s


def peaks_of(gpu: GpuSpec, dtype: str) -> Peaks:
    """Return the peaks of `gpu` for `dtype`.

    Raises:
        AnalysisError: the table lacks one of them.
    """
    name = DTYPES[dtype][1]
    peak, bandwidth = gpu.value(name), gpu.value("dram_bytes_per_s")
    if peak is None or bandwidth is None:
        missing = name if peak is None else "dram_bytes_per_s"
        raise AnalysisError(f"{gpu.key}: {missing} is not known; name another --gpu or --dtype", slug="no-peak")
    return Peaks(gpu.key, peak, bandwidth)


def kv_bytes(shape: ModelShape, work: Work, positions: int) -> float:
    """Return the bytes of the cache of `work.batch` sequences with `positions` positions."""
    return work.batch * positions * kv_position_bytes(shape, work)


def kv_position_bytes(shape: ModelShape, work: Work) -> float:
    """Return the bytes that one position of one sequence takes in the cache."""
    value_bytes = work.value_bytes if work.cache.value_bytes is None else work.cache.value_bytes
    rows = 1 if shape.latent_width else 2 * shape.kv_heads
    return shape.kv_layers * (shape.kv_row_values * value_bytes + rows * work.cache.row_scale_bytes)


def forward_cost(shape: ModelShape, work: Work, new: int, seen: int) -> Cost:
    """Return the cost of one forward pass over `new` positions a sequence, which see `seen` with themselves.

    Without a cache `new` equals `seen`, and nothing is read from one.
    """
    tokens = work.batch * new
    pair_flop = shape.whole_pair_flop if new == seen else shape.pair_flop
    weights = shape.read_weights(tokens) + shape.head_weights
    rows = tokens * shape.width * (2 if shape.learned_positions else 1)
    return Cost(
        linear_flop=2 * shape.token_weights * tokens,
        attention_flop=shape.layers * pair_flop * work.batch * new * seen,
        head_flop=2 * shape.head_weights * work.batch,
        weight_bytes=(weights + rows) * work.value_bytes,
        kv_read_bytes=kv_bytes(shape, work, seen - new) if work.cached else 0.0,
        kv_written_bytes=kv_bytes(shape, work, new) if work.cached else 0.0,
    )


def prefill_cost(shape: ModelShape, work: Work) -> Cost:
    """Return the cost of the prompt's forward pass."""
    return forward_cost(shape, work, work.prompt, work.prompt)


def step_costs(shape: ModelShape, work: Work) -> list[Cost]:
    """Return the cost of each decode step; step i sees the prompt and i + 1 tokens."""
    ends = [work.prompt + step + 1 for step in range(work.new_tokens)]
    return [forward_cost(shape, work, 1 if work.cached else end, end) for end in ends]


def decode_cost(shape: ModelShape, work: Work) -> Cost:
    """Return the cost of all decode steps together."""
    total = Cost(0, 0, 0, 0.0, 0.0, 0.0, 0)
    for cost in step_costs(shape, work):
        total += cost
    return total


def decode_time_ns(shape: ModelShape, work: Work, peaks: Peaks) -> float:
    """Return the roofline time of all decode steps: the sum over the steps, each with its own bound."""
    return sum(peaks.time_ns(cost) for cost in step_costs(shape, work))


def capacity(shape: ModelShape, work: Work, positions: int, memory_bytes: float) -> int:
    """Return how many sequences of `positions` positions fit beside the weights; 0 where the weights do not.

    Activations and the allocator's losses are not in it: a search on a GPU finds fewer.
    """
    free = memory_bytes - shape.stored_weights * work.value_bytes
    return max(0, int(free // (positions * kv_position_bytes(shape, work))))
