"""Loads DeepSeek-OCR's published weights into a `Vlm`; nothing is ever downloaded.

In: a local folder as it is published: config.json and *.safetensors. Out: the model. The vision encoder's sizes are not
in config.json: they are those of the published model, or of the file vision.json beside it. Checked with a small folder
of the same form: the published weights themselves were not tried.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch

from models.clip import ClipShape
from models.published import shape_of
from models.sam import SamShape
from models.vlm import SHAPES, Vlm, VlmShape
from models.weights import Weights, open_weights, place, place_decoder

# Where our names and the published ones part; the spelling of the second is the checkpoint's.
_NAMES = {"image_newline": "model.image_newline", "view_separator": "model.view_seperator"}


def vlm_shape(folder: Path, max_length: int) -> VlmShape:
    """Return the shape of the model in `folder`.

    Raises:
        ValueError: the folder holds another kind of model.
    """
    weights = open_weights(folder)
    shape = replace(SHAPES["document"], decoder=shape_of(weights.config, max_length))
    if not (folder / "vision.json").is_file():
        return shape
    try:
        sizes = json.loads((folder / "vision.json").read_text(encoding="utf-8"))
        sam = sizes["sam"] | {"global_layers": tuple(sizes["sam"]["global_layers"])}
        sides = {name: sizes[name] for name in ("page_side", "tile_side")}
        return replace(shape, sam=SamShape(**sam), clip=ClipShape(**sizes["clip"]), **sides)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder / 'vision.json'}: {error}") from None


def load_vlm(folder: Path, shape: VlmShape, device: torch.device, dtype: torch.dtype) -> Vlm:
    """Return the model in `folder`.

    Raises:
        ValueError: a weight is missing or of another size.
    """
    weights = open_weights(folder)
    with torch.device("meta"):
        model = Vlm(shape).eval()
    place_decoder(model.decoder, weights, device, dtype)
    for name in [name for name, _ in model.named_parameters() if not name.startswith("decoder.")]:
        place(model, name, _read(weights, name).to(device=device, dtype=dtype))
    return model.requires_grad_(False)


def _read(weights: Weights, name: str) -> torch.Tensor:
    return weights.tensor(_NAMES.get(name, f"model.{name}"))
