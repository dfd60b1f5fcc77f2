"""Loads the language model that the project trained: see perplexity_model/train.py.

In: its folder. Out: the model, its tokenizer, and the corpus in the part it was trained on and the part it never saw.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.bpe import Tokenizer
from models.gpt import Gpt, GptShape

FOLDER = Path(__file__).resolve().parent.parent / "perplexity_model"
_HELD_OUT = 0.1


def shape_in(folder: Path, max_length: int | None = None) -> GptShape:
    """Return the shape of the trained model, with room for `max_length` positions (None: all it was trained for).

    Raises:
        ValueError: the file is missing or of another kind, or the model has fewer positions.
    """
    try:
        shape = GptShape(**json.loads((folder / "shape.json").read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: no trained model ({error})") from None
    if max_length is not None and max_length > shape.max_length:
        raise ValueError(f"{max_length} positions are more than the model's {shape.max_length}; ask for fewer tokens")
    return replace(shape, max_length=max_length or shape.max_length)


def load_model(folder: Path, device: torch.device, dtype: torch.dtype, max_length: int | None = None) -> Gpt:
    """Return the trained model; its fp16 weights become `dtype`.

    Raises:
        ValueError: a file is missing, or the weights are not those of the shape.
    """
    shape = shape_in(folder, max_length)
    try:
        with np.load(folder / "weights.npz", allow_pickle=False) as file:
            weights = {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}
        weights["positions"] = weights["positions"][: shape.max_length]
        model = Gpt(shape).eval()
        model.load_state_dict(weights)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: no trained model ({str(error).splitlines()[0]})") from None
    return model.requires_grad_(False).to(device=device, dtype=dtype)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer that was learned with the model."""
    return Tokenizer.from_json((folder / "tokenizer.json").read_text(encoding="utf-8"))


def split_corpus(folder: Path) -> tuple[str, str]:
    """Return the text for training and the last tenth, which is for evaluation only."""
    text = (folder / "corpus.txt").read_text(encoding="utf-8")
    cut = int(len(text) * (1 - _HELD_OUT))
    return text[:cut], text[cut:]
