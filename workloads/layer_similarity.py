"""Compares the layers of a language model: the cosine between their weight matrices, taken as vectors.

Two layers that share keys and values must be alike, or the borrowing one attends to the wrong things. The matrices of
queries, keys, values, the attention's output and the feed-forward part are compared layer by layer. Drawn matrices of
equal size have a cosine of about 0, with a spread of 1 ÷ √(number of values).

    python layer_similarity.py
    python layer_similarity.py --weights FOLDER --results results.json
"""

# nsightkit: deterministic
# nsightkit: no tokens
import argparse
import math
import sys
from itertools import combinations
from pathlib import Path

try:
    import torch

    from nsightkit import annotate
except ModuleNotFoundError as error:
    print(f"layer_similarity needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)
from models.checkpoint import FOLDER
from models.gpt import Gpt
from models.options import DTYPES, Parser, positive
from models.weights import load_gpt


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = Parser("layer_similarity", __doc__)
    parser.add_argument("--weights", type=Path, default=FOLDER, metavar="FOLDER",
                        help="config.json and *.safetensors, or nanoGPT's ckpt.pt, or what perplexity_model/train.py "
                        "wrote (default: the small model that comes with nsightkit)")  # fmt: skip
    parser.add_argument("--threads", type=positive, metavar="N", help="threads of torch (default: what torch chooses)")
    parser.add_argument("--results", type=annotate.results_file, metavar="PATH", help="write the cosines there as JSON")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def matrices_of(model: Gpt) -> dict[str, dict[int, torch.Tensor]]:
    """Return name of a weight -> layer that has it -> its matrix in fp64; queries, keys and values apart."""
    shape = model.shape
    found: dict[str, dict[int, torch.Tensor]] = {}
    for layer, block in enumerate(model.blocks):
        query, key, value = block.attention.qkv.weight.split((shape.query_width, shape.kv_width, shape.kv_width))
        parts = {"query": query, "key": key, "value": value, "output": block.attention.out.weight}
        parts |= {name: part.weight for name, part in block.mlp.named_children() if hasattr(part, "weight")}
        for name, matrix in parts.items():
            found.setdefault(name, {})[layer] = matrix.detach().double()
    return found


def cosines(matrices: list[torch.Tensor]) -> torch.Tensor:
    """Return the cosine between all pairs of equally large matrices: (layers, layers), 1 on the diagonal.

    A matrix of zeros has no direction, so no cosine: NaN.
    """
    flat = torch.stack([matrix.reshape(-1) for matrix in matrices])
    flat = flat / flat.norm(dim=1, keepdim=True)
    return flat @ flat.T


def rows_of(model: Gpt) -> list[dict[str, object]]:
    """Return one row a weight and pair of layers."""
    return [
        {"weight": name, "layer_a": a, "layer_b": b, "cosine": _known(float(found[i, j]))}
        for name, matrices in matrices_of(model).items()
        if len({matrix.shape for matrix in matrices.values()}) == 1
        for found in (cosines(list(matrices.values())),)
        for (i, a), (j, b) in combinations(enumerate(matrices), 2)
    ]


def main(argv: list[str] | None = None) -> None:
    """Run the workload."""
    options = parse_arguments(argv)
    try:
        model = load_gpt(options.weights, None, torch.device("cpu"), DTYPES["float32"])
    except ValueError as error:
        print(f"layer_similarity: {error}", file=sys.stderr)
        sys.exit(1)

    def work(laps: annotate.Laps) -> list[dict[str, object]]:
        with annotate.range("layer_similarity"), laps.time("comparison"):
            return rows_of(model)

    measured = annotate.measure(work, annotate.Plan(warmup=0, repeats=1))
    rows = measured.last
    near = [row for row in rows if row["layer_b"] - row["layer_a"] == 1]
    means = {name: _mean([row["cosine"] for row in near if row["weight"] == name])
             for name in dict.fromkeys(row["weight"] for row in rows)}  # fmt: skip
    if options.results:
        source = "the model that comes with nsightkit" if options.weights == FOLDER else options.weights.name
        settings = {"source": source, "layers": model.shape.layers, "threads": options.threads}
        own = {"timed": "comparison: all pairs of layers", "tokens_run": 0, "rows": rows,
               "metrics": {f"{name}_neighbor_cosine": mean for name, mean in means.items()}}  # fmt: skip
        machine = annotate.describe_machine("cpu", "float32")
        annotate.write_results(
            options.results, annotate.results_of("layer_similarity", settings, machine, measured, own)
        )
    said = ", ".join(f"{name} {'–' if mean is None else f'{mean:.3f}'}" for name, mean in means.items())
    print(f"layer_similarity: {model.shape.layers} layers; mean cosine of neighbors: {said}")


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


if __name__ == "__main__":
    main()
