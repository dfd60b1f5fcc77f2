"""How much memory a decode takes on paper, and how much this machine has."""

from dataclasses import asdict
from pathlib import Path

import torch

from models.shape import GptShape
from nsightkit.analysis.work import paper_model as paper
from nsightkit.analysis.work.model_shapes import ModelShape, shape_from


def on_paper(shape: GptShape) -> ModelShape:
    """Return `shape` as `nsightkit model` knows it; its head has weights of its own."""
    learned = 0 if shape.rotary_base else shape.max_length
    entry = asdict(shape) | {"learned_positions": learned, "tied_head": False, "biases": shape.bias}
    return shape_from(entry)


def predicted_bytes(shape: GptShape, dtype: str, batch_size: int) -> float:
    """Return the bytes of weights, the reserved cache and the logits; activations come on top."""
    paper_shape, work = on_paper(shape), paper.Work(batch_size, 1, 0, dtype=dtype)
    logits = batch_size * shape.vocabulary * work.value_bytes
    return paper_shape.stored_weights * work.value_bytes + paper.kv_bytes(paper_shape, work, shape.max_length) + logits


def memory_of(device: torch.device) -> tuple[int | None, str]:
    """Return the bytes that are free on `device`, and what they are called."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0], "free memory of the GPU"
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None, "memory of this machine is not known"
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024, "available memory of this machine"
    return None, "memory of this machine is not known"
