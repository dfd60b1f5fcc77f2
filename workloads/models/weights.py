"""Loads real weights from a local folder; nothing is ever downloaded.

In: a folder with config.json and *.safetensors as transformers writes it, with nanoGPT's ckpt.pt, or with the model
that `perplexity_model/train.py` made. Out: `Gpt` on a device, in a dtype. Only tensors are read: no code from the
folder runs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import checkpoint
from models.gpt import Gpt
from models.published import recipes_of, shape_of
from models.shape import GptShape

_TIED = {"lm_head.weight": ("model.embed_tokens.weight", "transformer.wte.weight")}


@dataclass(frozen=True)
class Weights:
    """The stored weights of a folder: their names, and a function that reads one."""

    folder: Path
    config: dict[str, Any]
    names: frozenset[str]
    read: Callable[[str], Tensor]

    def tensor(self, name: str) -> Tensor:
        """Return the weight called `name`; a head that is not stored is the embedding, as the models tie them.

        Raises:
            ValueError: it is not there.
        """
        # GPT-2 is published with and without the prefix of its inner module.
        for candidate in (name, *_TIED.get(name, ())):
            for stored in (candidate, candidate.removeprefix("transformer."), f"_orig_mod.{candidate}"):
                if stored in self.names:
                    return self.read(stored)
        raise ValueError(f"{self.folder}: no weight '{name}' among {len(self.names)}")


def is_own(folder: Path) -> bool:
    """Return whether `folder` holds a model that train.py made."""
    return (folder / "shape.json").is_file()


def open_weights(folder: Path) -> Weights:
    """Return what is stored in `folder`.

    Raises:
        ValueError: it holds no weights that can be read here, and what would do.
    """
    if (folder / "config.json").is_file():
        return _safetensors(folder, _json(folder / "config.json"))
    if (folder / "ckpt.pt").is_file():
        return _nanogpt(folder)
    what = "holds neither config.json with *.safetensors nor ckpt.pt" if folder.is_dir() else "is no folder"
    raise ValueError(f"{folder} {what}; name a local folder as transformers' save_pretrained or nanoGPT writes it")


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} is not a JSON object")
    return data


def _safetensors(folder: Path, config: dict[str, Any]) -> Weights:
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError:
        raise ValueError("safetensors is not installed: pip install 'nsightkit[workloads]'") from None
    index = folder / "model.safetensors.index.json"
    files = sorted(set(_json(index).get("weight_map", {}).values())) if index.is_file() else []
    paths = [folder / Path(str(name)).name for name in files] or sorted(folder.glob("*.safetensors"))
    if not paths:
        old = ", ".join(sorted(path.name for path in folder.glob("*.bin"))[:3])
        hint = f"; {old} is a pickle: save it again with safe_serialization=True" if old else ""
        raise ValueError(f"{folder} has config.json and no *.safetensors{hint}")
    try:
        opened = [safe_open(path, framework="pt") for path in paths]
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{folder}: {error}") from None
    places = {name: file for file in opened for name in file.keys()}  # noqa: SIM118 - no mapping
    return Weights(folder, config, frozenset(places), lambda name: places[name].get_tensor(name))


def _nanogpt(folder: Path) -> Weights:
    from pickle import UnpicklingError

    try:
        content = torch.load(folder / "ckpt.pt", map_location="cpu", weights_only=True, mmap=True)
        stored, sizes = content["model"], dict(content["model_args"])
    except (OSError, RuntimeError, UnpicklingError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{folder / 'ckpt.pt'} is not nanoGPT's: {reason}") from None
    return Weights(folder, {"model_type": "nanogpt", "bias": True, **sizes}, frozenset(stored), stored.__getitem__)


def shape_in(folder: Path, max_length: int | None) -> GptShape:
    """Return the shape of the model in `folder`, with room for `max_length` positions (None: all it knows).

    Raises:
        ValueError: the folder holds no model, or one with fewer positions.
    """
    if is_own(folder):
        return checkpoint.shape_in(folder, max_length)
    return shape_of(open_weights(folder).config, max_length)


def load_gpt(folder: Path, max_length: int | None, device: torch.device, dtype: torch.dtype) -> Gpt:
    """Return the model in `folder`.

    Raises:
        ValueError: something is missing, of another size, or of a kind that is not known.
    """
    if is_own(folder):
        return checkpoint.load_model(folder, device, dtype, max_length)
    weights = open_weights(folder)
    shape = shape_of(weights.config, max_length)
    with torch.device("meta"):
        model = Gpt(shape).eval()
    place_decoder(model, weights, device, dtype)
    return model.requires_grad_(False)


def place_decoder(model: Gpt, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
    """Copy the published weights into `model`, one after the other.

    Raises:
        ValueError: one is missing or of another size.
    """
    for name, recipe in recipes_of(weights.config, model.shape):
        made = recipe.make(weights.tensor)
        if name == "positions":
            made = made[: model.shape.max_length]
        place(model, name, made.to(device=device, dtype=dtype))


def place(model: nn.Module, name: str, weight: Tensor) -> None:
    """Put `weight` where `model` has the parameter called `name`.

    Raises:
        ValueError: its size is another.
    """
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    wanted = tuple(getattr(owner, leaf).shape)
    if tuple(weight.shape) != wanted:
        raise ValueError(f"weight {name} is {tuple(weight.shape)}, not {wanted}")
    setattr(owner, leaf, nn.Parameter(weight, requires_grad=False))
