"""Measures what a way to keep keys and values costs in quality: perplexity of a small trained language model.

The model (BPE, 512 tokens, 4 layers) was trained once on an excerpt of CPython's documentation topics and lies beside
this script; the text that is measured is the tenth that it never saw. Each window is fed token by token, as decoding
does, so that the cache is what answers. Real weights are taken from a local folder, with their own tokenizer.

    python perplexity.py --variant v2
    python perplexity.py --weights ~/models/gpt2 --text page.txt --window-len 256
"""

import argparse
import math
import sys
from pathlib import Path

try:
    import torch
    import torch.nn.functional as F

    from nsightkit import annotate
except ModuleNotFoundError as error:
    print(f"perplexity needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)
from models.checkpoint import FOLDER
from models.gpt import Gpt
from models.options import DTYPES, Parser, add_machine, not_negative, on_machine, positive
from models.texts import ids_of
from models.variants import VARIANTS, Decoder, align_queries, chosen_variant
from models.weights import load_gpt


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = Parser("perplexity", __doc__)
    add = parser.add_argument
    add("--variant", default="v1", metavar="NAME", help=f"{', '.join(VARIANTS)} (default: v1)")
    add("--windows", type=positive, default=64, metavar="N", help="windows of the text (default: 64)")
    add(
        "--window-len",
        "--max-new-tokens",
        dest="window_len",
        type=positive,
        default=64,
        metavar="N",
        help="predicted tokens of a window, one step each (default: 64)",
    )
    add("--warmup-iters", type=not_negative, default=0, metavar="N", help="times before, not timed (default: 0)")
    add("--weights", type=Path, default=FOLDER, metavar="FOLDER",
        help="real weights: config.json, *.safetensors and tokenizer.json, or nanoGPT's ckpt.pt, or what "
        "perplexity_model/train.py wrote (default: the small model that comes with nsightkit)")  # fmt: skip
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--text", type=Path, metavar="FILE",
                        help="text to measure (default: the tenth that the small model never saw)")  # fmt: skip
    source.add_argument("--ids", type=Path, metavar="FILE",
                        help="token ids to measure: .npy, or 16-bit numbers as nanoGPT's val.bin")  # fmt: skip
    add_machine(parser)
    options = parser.parse_args(argv)
    try:
        on_machine(options)
        chosen_variant(options.variant, str(options.device))
    except ValueError as error:
        parser.error(str(error))
    return options


def windows_of(options: argparse.Namespace, vocabulary: int) -> torch.Tensor:
    """Return token ids (windows, length + 1) of the text, spread evenly over it.

    Raises:
        ValueError: the text has fewer windows, or ids that the model does not know.
    """
    ids, length = ids_of(options.weights, options.text, options.ids), options.window_len
    most = max(len(ids) - 1, 0) // length
    if options.windows > most:
        raise ValueError(f"--windows {options.windows}: the text has {most} windows of {length} tokens")
    if max(ids) >= vocabulary:
        raise ValueError(f"the text has the token {max(ids)}, the model knows {vocabulary}: they do not fit")
    starts = [place * (most // options.windows) * length for place in range(options.windows)]
    return torch.tensor([ids[start : start + length + 1] for start in starts], device=options.device)


def losses_of(model: Gpt, windows: torch.Tensor, variant: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of each predicted token and the token thought likeliest, both (windows, length)."""
    decoder = Decoder(model, VARIANTS[variant], len(windows))
    losses, likeliest = [], []
    with torch.inference_mode():
        for place in range(windows.shape[1] - 1):
            logits = decoder.feed(windows[:, place : place + 1]).double()
            losses.append(F.cross_entropy(logits, windows[:, place + 1], reduction="none"))
            likeliest.append(logits.argmax(-1))
    return torch.stack(losses, 1), torch.stack(likeliest, 1)


def main(argv: list[str] | None = None) -> None:
    """Run the workload."""
    options = parse_arguments(argv)
    try:
        model = load_gpt(options.weights, options.window_len, options.device, DTYPES[options.dtype])
        windows = windows_of(options, model.shape.vocabulary)
    except (OSError, ValueError) as error:
        print(f"perplexity: {error}", file=sys.stderr)
        sys.exit(1)
    if VARIANTS[options.variant].aligned:
        align_queries(model)

    def work(laps: annotate.Laps) -> torch.Tensor:
        with annotate.range("perplexity"), laps.time("evaluation"):
            return losses_of(model, windows, options.variant)[0]

    measured = annotate.measure(work, annotate.Plan(options.warmup_iters, 1, options.seed, str(options.device)))
    # Windows are the independent part: tokens of one window are not.
    by_window = measured.last.mean(dim=1)
    loss = by_window.mean().item()
    error = (by_window.std() / math.sqrt(len(by_window))).item() if len(by_window) > 1 else None
    metrics = {"perplexity": math.exp(loss), "loss": loss, "loss_standard_error": error,
               "evaluated_tokens": measured.last.numel()}  # fmt: skip
    if options.results:
        # Of files only the names: where they lay says nothing and differs on each machine.
        settings = {name: value.name if isinstance(value, Path) else value
                    for name, value in vars(options).items() if name != "results"}  # fmt: skip
        settings["device"] = str(options.device)
        tokens = measured.last.numel() * (options.warmup_iters + 1)
        own = {"timed": "evaluation: all windows, one token at a time", "tokens_run": tokens, "metrics": metrics}
        machine = annotate.describe_machine(str(options.device), options.dtype)
        annotate.write_results(options.results, annotate.results_of("perplexity", settings, machine, measured, own))
    spread = "of one window" if error is None else f"± {error:.6f} between windows"
    print(f"perplexity: {options.variant}, {options.dtype}: {metrics['perplexity']:.4f} over "
          f"{metrics['evaluated_tokens']} tokens (loss {loss:.6f} {spread})")  # fmt: skip


if __name__ == "__main__":
    main()
