"""Folders of small real-format weights, and what a plain reading of the published models' formulas makes of them.

In: a kind and a seed. Out: a folder as transformers or nanoGPT writes it, and its weights by published name. The
references are written from the formulas, position by position, and share no code with the models that are tested.
"""

import json
import math
from pathlib import Path

import torch
from torch import Tensor

LLAMA = {
    "model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "hidden_size": 16, "intermediate_size": 24, "vocab_size": 40, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "rope_theta": 500.0, "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": 40, "n_positions": 32,
        "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}  # fmt: skip
MOE = LLAMA | {
    "model_type": "DeepseekOCR", "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "n_shared_experts": 1, "moe_intermediate_size": 8, "first_k_dense_replace": 1, "use_mla": False,
}  # fmt: skip


def drawn(sizes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Random weights; those of norms lie around 1."""
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(size, generator=generator) * 0.2 for name, size in sizes.items()}
    return {name: value + 1 if "norm" in name or "ln_" in name else value for name, value in made.items()}


def llama_sizes(config: dict) -> dict[str, tuple[int, ...]]:
    """Names and sizes of the weights of Llama, Qwen and DeepSeek's decoder."""
    width, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head = config.get("head_dim", width // heads)
    kv = config["num_key_value_heads"] * head
    sizes = {"model.embed_tokens.weight": (config["vocab_size"], width), "model.norm.weight": (width,)}
    if not config.get("tie_word_embeddings"):
        sizes["lm_head.weight"] = (config["vocab_size"], width)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        sizes |= {f"{at}.input_layernorm.weight": (width,), f"{at}.post_attention_layernorm.weight": (width,)}
        for part, out in (("q", heads * head), ("k", kv), ("v", kv)):
            sizes[f"{at}.self_attn.{part}_proj.weight"] = (out, width)
            if config["model_type"] == "qwen2":
                sizes[f"{at}.self_attn.{part}_proj.bias"] = (out,)
        sizes[f"{at}.self_attn.o_proj.weight"] = (width, heads * head)
        if config["model_type"] == "qwen3":
            sizes |= {f"{at}.self_attn.{part}_norm.weight": (head,) for part in "qk"}
        if "n_routed_experts" in config and layer >= config["first_k_dense_replace"]:
            each = config["moe_intermediate_size"]
            sizes[f"{at}.mlp.gate.weight"] = (config["n_routed_experts"], width)
            for expert in range(config["n_routed_experts"]):
                sizes |= _mlp(f"{at}.mlp.experts.{expert}", width, each)
            sizes |= _mlp(f"{at}.mlp.shared_experts", width, each * config["n_shared_experts"])
        else:
            sizes |= _mlp(f"{at}.mlp", width, inner)
    return sizes


def _mlp(at: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {f"{at}.gate_proj.weight": (inner, width), f"{at}.up_proj.weight": (inner, width),
            f"{at}.down_proj.weight": (width, inner)}  # fmt: skip


def gpt2_sizes(config: dict, bias: bool = True) -> dict[str, tuple[int, ...]]:
    """Names and sizes of GPT-2's weights as transformers stores them: matrices transposed."""
    width = config["n_embd"]
    sizes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (config["vocab_size"], width),
                                         "transformer.wpe.weight": (config["n_positions"], width)}  # fmt: skip
    parts = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width), "mlp.c_fc": (width, 4 * width),
             "mlp.c_proj": (4 * width, width)}  # fmt: skip
    for layer in range(config["n_layer"]):
        at = f"transformer.h.{layer}"
        sizes |= {f"{at}.{name}.weight": size for name, size in parts.items()}
        sizes |= {f"{at}.ln_{number}.weight": (width,) for number in (1, 2)}
        if bias:
            sizes |= {f"{at}.{name}.bias": size[1:] for name, size in parts.items()}
            sizes |= {f"{at}.ln_{number}.bias": (width,) for number in (1, 2)}
    sizes["transformer.ln_f.weight"] = (width,)
    if bias:
        sizes["transformer.ln_f.bias"] = (width,)
    return sizes


def write_folder(folder: Path, config: dict, weights: dict[str, Tensor], shards: int = 1) -> Path:
    """Write config.json and the weights, in `shards` files with an index where there are several."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    names = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)] if shards > 1 else []
    if not names:
        save_file(weights, folder / "model.safetensors")
        return folder
    places = {weight: names[place % shards] for place, weight in enumerate(weights)}
    for name in names:
        save_file({weight: weights[weight] for weight, file in places.items() if file == name}, folder / name)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def write_nanogpt(folder: Path, weights: dict[str, Tensor], bias: bool, prefix: str = "") -> Path:
    """Write ckpt.pt as nanoGPT's train.py does: matrices as they are, the head tied to the embedding."""
    folder.mkdir(parents=True, exist_ok=True)
    as_is = {f"{prefix}{name}": value.t().contiguous() if _is_map(name) else value for name, value in weights.items()}
    as_is[f"{prefix}lm_head.weight"] = weights["transformer.wte.weight"]
    sizes = {"n_layer": GPT2["n_layer"], "n_head": GPT2["n_head"], "n_embd": GPT2["n_embd"], "bias": bias,
             "block_size": GPT2["n_positions"], "vocab_size": GPT2["vocab_size"], "dropout": 0.0}  # fmt: skip
    torch.save({"model": as_is, "model_args": sizes, "iter_num": 5, "best_val_loss": torch.tensor(3.0)},
               folder / "ckpt.pt")  # fmt: skip
    return folder


def _is_map(name: str) -> bool:
    return name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))


def llama_logits(config: dict, w: dict[str, Tensor], ids: list[int]) -> Tensor:
    """Logits after the last of `ids`, in double precision, one position and one head at a time."""
    w = {name: value.double() for name, value in w.items()}
    x = w["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        x = x + _llama_attention(config, w, at, _rms(x, w[f"{at}.input_layernorm.weight"], config["rms_norm_eps"]))
        y = _rms(x, w[f"{at}.post_attention_layernorm.weight"], config["rms_norm_eps"])
        x = x + (_experts(config, w, f"{at}.mlp", y) if f"{at}.mlp.gate.weight" in w else _gated(w, f"{at}.mlp", y))
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return _rms(x[-1], w["model.norm.weight"], config["rms_norm_eps"]) @ head.T


def _rms(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + epsilon) * weight


def _gated(w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    gate = x @ w[f"{at}.gate_proj.weight"].T
    return (gate / (1 + torch.exp(-gate)) * (x @ w[f"{at}.up_proj.weight"].T)) @ w[f"{at}.down_proj.weight"].T


def _experts(config: dict, w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    rows = []
    for row in x:
        shares = torch.softmax(w[f"{at}.gate.weight"] @ row, dim=0)
        best = sorted(range(len(shares)), key=lambda e, s=shares: -float(s[e]))[: config["num_experts_per_tok"]]
        made = sum(shares[e] * _gated(w, f"{at}.experts.{e}", row) for e in best)
        rows.append(made + _gated(w, f"{at}.shared_experts", row))
    return torch.stack(rows)


def _llama_attention(config: dict, w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    parts = []
    for part in "qkv":
        made = x @ w[f"{at}.self_attn.{part}_proj.weight"].T
        if f"{at}.self_attn.{part}_proj.bias" in w:
            made = made + w[f"{at}.self_attn.{part}_proj.bias"]
        parts.append(made.view(len(x), heads if part == "q" else kv, -1))
    query, key, value = parts
    if f"{at}.self_attn.q_norm.weight" in w:
        query = _rms(query, w[f"{at}.self_attn.q_norm.weight"], config["rms_norm_eps"])
        key = _rms(key, w[f"{at}.self_attn.k_norm.weight"], config["rms_norm_eps"])
    query, key = (_turned(part, config["rope_theta"]) for part in (query, key))
    found = torch.zeros_like(query)
    for head in range(heads):
        own = head // (heads // kv)
        for place in range(len(x)):
            scores = key[: place + 1, own] @ query[place, head] / math.sqrt(query.shape[-1])
            found[place, head] = torch.softmax(scores, dim=0) @ value[: place + 1, own]
    return found.reshape(len(x), -1) @ w[f"{at}.self_attn.o_proj.weight"].T


def _turned(x: Tensor, theta: float) -> Tensor:
    """Rotate the pairs (i, i + half) as complex numbers."""
    half = x.shape[-1] // 2
    turned = torch.view_as_complex(torch.stack((x[..., :half], x[..., half:]), dim=-1).contiguous())
    for place in range(len(x)):
        angles = torch.tensor([place / theta ** (2 * i / (2 * half)) for i in range(half)], dtype=torch.float64)
        turned[place] = turned[place] * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((turned.real, turned.imag), dim=-1)


def gpt2_logits(config: dict, w: dict[str, Tensor], ids: list[int], exact_gelu: bool = False) -> Tensor:
    """Logits after the last of `ids`, in double precision."""
    w = {name.removeprefix("transformer."): value.double() for name, value in w.items()}
    x = w["wte.weight"][ids] + w["wpe.weight"][: len(ids)]
    heads = config["n_head"]
    for layer in range(config["n_layer"]):
        at = f"h.{layer}"
        q, k, v = _map(w, f"{at}.attn.c_attn", _layer_norm(w, f"{at}.ln_1", x)).chunk(3, dim=-1)
        found = torch.zeros_like(q)
        for part in range(heads):
            own = slice(part * q.shape[1] // heads, (part + 1) * q.shape[1] // heads)
            scores = q[:, own] @ k[:, own].T / math.sqrt(q.shape[1] // heads)
            hidden = torch.triu(torch.ones_like(scores), 1).bool()
            found[:, own] = torch.softmax(scores.masked_fill(hidden, -math.inf), dim=-1) @ v[:, own]
        x = x + _map(w, f"{at}.attn.c_proj", found)
        inner = _gelu(_map(w, f"{at}.mlp.c_fc", _layer_norm(w, f"{at}.ln_2", x)), exact_gelu)
        x = x + _map(w, f"{at}.mlp.c_proj", inner)
    return _layer_norm(w, "ln_f", x[-1]) @ w["wte.weight"].T


def _map(w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    made = x @ w[f"{at}.weight"]
    return made + w[f"{at}.bias"] if f"{at}.bias" in w else made


def _layer_norm(w: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    made = centered / torch.sqrt((centered**2).mean(-1, keepdim=True) + 1e-5) * w[f"{at}.weight"]
    return made + w[f"{at}.bias"] if f"{at}.bias" in w else made


def _gelu(x: Tensor, exact: bool) -> Tensor:
    if exact:
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
