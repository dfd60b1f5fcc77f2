"""What published configurations and names of weights mean in our own model.

In: a configuration as transformers or nanoGPT writes it. Out: the shape, and for each of our weights the published ones
that it is made of. Source: the configurations and modules of transformers' GPT-2, Llama, Mistral, Qwen2, Qwen3 and
DeepSeek-V2, and of nanoGPT's model.py.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.shape import GptShape

Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How one of our weights is made: `parts` are read, then joined along the first dimension, or stacked by expert."""

    parts: tuple[str, ...]
    transposed: bool = False
    experts: int = 0

    def make(self, read: Read) -> Tensor:
        """Return the weight."""
        made = [read(part) for part in self.parts]
        if self.experts:
            each = len(made) // self.experts
            return torch.stack([torch.cat(made[i * each : (i + 1) * each]) for i in range(self.experts)])
        joined = made[0] if len(made) == 1 else torch.cat(made)
        return joined.t().contiguous() if self.transposed else joined


def shape_of(config: Mapping[str, Any], max_length: int | None) -> GptShape:
    """Return the shape that `config` describes, with room for `max_length` positions (None: all that it knows).

    Raises:
        ValueError: the model is of a kind that is not known here, or has fewer positions.
    """
    kind = config.get("model_type")
    if kind not in _KINDS:
        raise ValueError(f"model_type '{kind}' is not known here; known are {', '.join(_KINDS)}")
    try:
        sizes = _KINDS[kind](config)
    except KeyError as error:
        raise ValueError(f"config.json has no {error.args[0]}") from None
    most = sizes.pop("most_positions")
    if max_length is not None and max_length > most:
        raise ValueError(f"{max_length} positions are more than the model's {most}; ask for fewer tokens")
    return GptShape(**sizes, max_length=max_length or most)


def _gpt2(config: Mapping[str, Any]) -> dict[str, Any]:
    _expect(config, "activation_function", ("gelu_new", "gelu_pytorch_tanh"), "gelu_new")
    return {
        "layers": config["n_layer"], "heads": config["n_head"], "kv_heads": config["n_head"], "width": config["n_embd"],
        "mlp_width": config.get("n_inner") or 0, "vocabulary": config["vocab_size"], "tanh_gelu": True,
        "norm_epsilon": config.get("layer_norm_epsilon", 1e-5), "most_positions": config["n_positions"],
    }  # fmt: skip


def _nanogpt(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "layers": config["n_layer"], "heads": config["n_head"], "kv_heads": config["n_head"], "width": config["n_embd"],
        "vocabulary": config["vocab_size"], "bias": config["bias"], "most_positions": config["block_size"],
    }  # fmt: skip


def _llama(config: Mapping[str, Any]) -> dict[str, Any]:
    _expect(config, "hidden_act", ("silu",), "silu")
    for name in ("attention_bias", "mlp_bias"):
        _expect(config, name, (False, None), False)
    heads = config["num_attention_heads"]
    return {
        "layers": config["num_hidden_layers"], "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads, "width": config["hidden_size"],
        "head_width": config.get("head_dim") or 0, "mlp_width": config["intermediate_size"],
        "vocabulary": config["vocab_size"], "gated_mlp": True, "rms_norm": True, "bias": False,
        "norm_epsilon": config.get("rms_norm_eps", 1e-6), "rotary_base": _rotary_base(config),
        "most_positions": _most_positions(config),
    }  # fmt: skip


def _rotary_base(config: Mapping[str, Any]) -> float:
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        raise ValueError(f"rope_scaling '{kind}' is not known here; only plain rotary positions are")
    return float(config.get("rope_theta") or scaling.get("rope_theta") or 10000.0)


def _most_positions(config: Mapping[str, Any]) -> int:
    most = config.get("max_position_embeddings", 2048)
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    # Inside the first window the attention of both kinds is the same.
    return min(most, window) if window else most


def _qwen2(config: Mapping[str, Any]) -> dict[str, Any]:
    return _llama(config) | {"qkv_bias": True}


def _qwen3(config: Mapping[str, Any]) -> dict[str, Any]:
    return _llama(config) | {"head_norm": True}


def _deepseek(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of DeepSeek-OCR's decoder, which has plain attention."""
    sizes = config.get("language_config") or config
    _expect(sizes, "use_mla", (False,), True)
    _expect(sizes, "scoring_func", ("softmax",), "softmax")
    _expect(sizes, "norm_topk_prob", (False,), False)
    _expect(sizes, "routed_scaling_factor", (1, 1.0), 1.0)
    return _llama({key: value for key, value in sizes.items() if key != "head_dim"}) | {
        "experts": sizes["n_routed_experts"], "active_experts": sizes["num_experts_per_tok"],
        "shared_experts": sizes.get("n_shared_experts") or 0, "expert_width": sizes["moe_intermediate_size"],
        "dense_layers": sizes.get("first_k_dense_replace", 0),
    }  # fmt: skip


def _expect(config: Mapping[str, Any], name: str, allowed: tuple[object, ...], default: object) -> None:
    """Raise ValueError where `config` asks for a part that our model does not have."""
    value = config.get(name, default)
    if value not in allowed:
        raise ValueError(f"config.json: {name} is {value!r}; here it can be {' or '.join(map(repr, allowed))}")


_KINDS = {
    "gpt2": _gpt2,
    "nanogpt": _nanogpt,
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "DeepseekOCR": _deepseek,
    "deepseek_vl_v2": _deepseek,
}


def recipes_of(config: Mapping[str, Any], shape: GptShape) -> Iterator[tuple[str, Recipe]]:
    """Return our name and the recipe of every weight of the model."""
    old = config["model_type"] in ("gpt2", "nanogpt")
    yield from (_gpt2_names(shape, config["model_type"] == "gpt2") if old else _llama_names(shape))


def _gpt2_names(shape: GptShape, transposed: bool) -> Iterator[tuple[str, Recipe]]:
    """Return GPT-2's names; transformers stores its matrices transposed, nanoGPT as they are."""
    vectors = ("weight", "bias") if shape.bias else ("weight",)
    maps = {"attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj", "mlp.up": "mlp.c_fc",
            "mlp.down": "mlp.c_proj"}  # fmt: skip
    yield "tokens", Recipe(("transformer.wte.weight",))
    yield "positions", Recipe(("transformer.wpe.weight",))
    for layer in range(shape.layers):
        for vector in vectors:
            for ours, theirs in {**maps, "norm1": "ln_1", "norm2": "ln_2"}.items():
                turned = transposed and vector == "weight" and ours in maps
                yield f"blocks.{layer}.{ours}.{vector}", Recipe((f"transformer.h.{layer}.{theirs}.{vector}",), turned)
    for vector in vectors:
        yield f"norm.{vector}", Recipe((f"transformer.ln_f.{vector}",))
    yield "head.weight", Recipe(("lm_head.weight",))


def _llama_names(shape: GptShape) -> Iterator[tuple[str, Recipe]]:
    yield "tokens", Recipe(("model.embed_tokens.weight",))
    for layer in range(shape.layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        yield f"{ours}.norm1.weight", Recipe((f"{theirs}.input_layernorm.weight",))
        yield f"{ours}.norm2.weight", Recipe((f"{theirs}.post_attention_layernorm.weight",))
        yield f"{ours}.attention.out.weight", Recipe((f"{theirs}.self_attn.o_proj.weight",))
        for vector in ("weight", "bias") if shape.qkv_bias else ("weight",):
            parts = tuple(f"{theirs}.self_attn.{part}_proj.{vector}" for part in "qkv")
            yield f"{ours}.attention.qkv.{vector}", Recipe(parts)
        if shape.head_norm:
            yield f"{ours}.attention.query_norm.weight", Recipe((f"{theirs}.self_attn.q_norm.weight",))
            yield f"{ours}.attention.key_norm.weight", Recipe((f"{theirs}.self_attn.k_norm.weight",))
        if shape.experts and layer >= shape.dense_layers:
            yield from _expert_names(shape, f"{ours}.mlp", f"{theirs}.mlp")
        else:
            yield from _mlp_names(f"{ours}.mlp", f"{theirs}.mlp")
    yield "norm.weight", Recipe(("model.norm.weight",))
    yield "head.weight", Recipe(("lm_head.weight",))


def _mlp_names(ours: str, theirs: str) -> Iterator[tuple[str, Recipe]]:
    for part in ("gate", "up", "down"):
        yield f"{ours}.{part}.weight", Recipe((f"{theirs}.{part}_proj.weight",))


def _expert_names(shape: GptShape, ours: str, theirs: str) -> Iterator[tuple[str, Recipe]]:
    each = [f"{theirs}.experts.{expert}" for expert in range(shape.experts)]
    both = tuple(f"{one}.{part}_proj.weight" for one in each for part in ("gate", "up"))
    yield f"{ours}.router.weight", Recipe((f"{theirs}.gate.weight",))
    yield f"{ours}.gate_up", Recipe(both, experts=shape.experts)
    yield f"{ours}.down", Recipe(tuple(f"{one}.down_proj.weight" for one in each), experts=shape.experts)
    if shape.shared_experts:
        yield from _mlp_names(f"{ours}.shared", f"{theirs}.shared_experts")
