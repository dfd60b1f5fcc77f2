"""Measures what a way to keep keys and values costs in quality: perplexity of a small trained language model.

The model (BPE, 512 tokens, 4 layers) was trained once on an excerpt of CPython's documentation topics and lies beside
this script; the text that is measured is the tenth that it never saw. Each window is fed token by token, as decoding
does, so that the cache is what answers.

    python perplexity.py --variant v2
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
from models.checkpoint import FOLDER, load_model, load_tokenizer, split_corpus
from models.gpt import Gpt
from models.options import DTYPES, device_of, positive
from models.variants import UNTESTED, VARIANTS, Decoder, align_queries


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = argparse.ArgumentParser(prog="perplexity", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("--variant", default="v1", metavar="NAME", help=f"{', '.join(VARIANTS)} (default: v1)")
    add("--windows", type=positive, default=64, metavar="N", help="windows of the model's context (default: 64)")
    add("--weights", type=Path, default=FOLDER, metavar="FOLDER",
        help="a folder that perplexity_model/train.py wrote (default: the one that comes with nsightkit)")  # fmt: skip
    add("--dtype", choices=tuple(DTYPES), default="float32", help="of weights and cache (default: float32)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    add("--threads", type=positive, metavar="N", help="threads of torch on the CPU")
    add("--results", type=Path, metavar="PATH", help="write settings and results there as JSON")
    options = parser.parse_args(argv)
    if options.variant in UNTESTED:
        parser.error(f"{options.variant} is untested: {UNTESTED[options.variant]}")
    if options.variant not in VARIANTS:
        parser.error(f"no variant '{options.variant}'; there are {', '.join(VARIANTS)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    options.dtype = str(DTYPES[options.dtype]).removeprefix("torch.")
    try:
        options.device = device_of(options.device)
    except ValueError as error:
        parser.error(str(error))
    return options


def windows_of(options: argparse.Namespace, length: int) -> torch.Tensor:
    """Return token ids (windows, length + 1) of the text that the model never saw, spread evenly over it.

    Raises:
        ValueError: the text has fewer windows.
    """
    ids = load_tokenizer(options.weights).encode(split_corpus(options.weights)[1])
    most = (len(ids) - 1) // length
    if options.windows > most:
        raise ValueError(f"--windows {options.windows}: the text has {most} windows of {length} tokens")
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
        model = load_model(options.weights, options.device, DTYPES[options.dtype])
        windows = windows_of(options, model.shape.max_length)
    except (OSError, ValueError) as error:
        print(f"perplexity: {error}", file=sys.stderr)
        sys.exit(1)
    if VARIANTS[options.variant].aligned:
        align_queries(model)

    def work(laps: annotate.Laps) -> torch.Tensor:
        with annotate.range("perplexity"), laps.time("evaluation"):
            return losses_of(model, windows, options.variant)[0]

    measured = annotate.measure(work, annotate.Plan(warmup=0, repeats=1, device=str(options.device)))
    # Windows are the independent part: tokens of one window are not.
    by_window = measured.last.mean(dim=1)
    loss, error = by_window.mean().item(), (by_window.std() / math.sqrt(len(by_window))).item()
    metrics = {"perplexity": math.exp(loss), "loss": loss, "loss_standard_error": error,
               "evaluated_tokens": measured.last.numel()}  # fmt: skip
    if options.results:
        settings = {name: str(value) if isinstance(value, (Path, torch.device)) else value
                    for name, value in vars(options).items() if name not in ("results", "weights")}  # fmt: skip
        own = {"timed": "evaluation: all windows, one token at a time", "tokens_run": measured.last.numel(),
               "metrics": metrics}  # fmt: skip
        machine = annotate.describe_machine(str(options.device), options.dtype)
        annotate.write_results(options.results, annotate.results_of("perplexity", settings, machine, measured, own))
    print(f"perplexity: {options.variant}, {options.dtype}: {metrics['perplexity']:.4f} over "
          f"{metrics['evaluated_tokens']} tokens (loss {loss:.6f} ± {error:.6f} between windows)")  # fmt: skip


if __name__ == "__main__":
    main()
