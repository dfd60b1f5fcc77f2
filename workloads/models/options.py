"""Options that the workloads share: sizes of the model, dtype, device, and how values are written.

In: an argparse parser. Out: options added to it, and their values checked.
"""

import argparse
from pathlib import Path

import torch

from models.gpt import GptShape

DTYPES = {
    "float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16, "float64": torch.float64, "fp64": torch.float64,
}  # fmt: skip
_SIZES = (
    ("prompt-len", 128, "tokens of the prompt"),
    ("batch-size", 1, "sequences decoded together"),
    ("max-new-tokens", 16, "decode steps, one token each, after the first token that prefill yields"),
    ("layers", 6, "layers of the model"),
    ("heads", 8, "attention heads"),
    ("kv-heads", None, "heads of keys and values; fewer than --heads is grouped-query attention (default: all)"),
    ("width", 512, "width of the model"),
    ("vocabulary", 4096, "tokens that the model knows"),
)


def add_common(parser: argparse.ArgumentParser, bench_iters: int = 1) -> None:
    """Add sizes, repetitions, dtype, device, seed and the results file."""
    for name, default, help_ in (*_SIZES, ("bench-iters", bench_iters, "repetitions that are timed")):
        shown = help_ if default is None else f"{help_} (default: {default})"
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=shown)
    add = parser.add_argument
    add("--warmup-iters", type=not_negative, default=1, metavar="N",
        help="repetitions before, not timed but seen by a profiler (default: 1)")  # fmt: skip
    add("--dtype", choices=tuple(DTYPES), default="float32", help="of weights and cache (default: float32)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, a GPU if there is one)")
    add("--seed", type=int, default=0, metavar="N", help="of weights and prompt (default: 0)")
    add("--threads", type=positive, metavar="N", help="threads of torch on the CPU (default: what torch chooses)")
    add("--results", type=Path, metavar="PATH", help="write settings and timings there as JSON")


def completed(parser: argparse.ArgumentParser, options: argparse.Namespace, extra_positions: int = 0) -> None:
    """Put shape and device into `options`, and one spelling of the dtype; ends the program where they cannot be."""
    options.dtype = str(DTYPES[options.dtype]).removeprefix("torch.")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        options.shape = GptShape(
            layers=options.layers, heads=options.heads, kv_heads=options.kv_heads or options.heads,
            width=options.width, vocabulary=options.vocabulary,
            max_length=options.prompt_len + options.max_new_tokens + extra_positions,
        )  # fmt: skip
        options.device = device_of(options.device)
    except ValueError as error:
        parser.error(str(error))


def truth(text: str) -> bool:
    """Return the truth value that a user wrote."""
    words = {"true": True, "on": True, "1": True, "yes": True, "false": False, "off": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")
    return words[text.lower()]


def positive(text: str) -> int:
    """Return a whole number of 1 or more."""
    number = not_negative(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def not_negative(text: str) -> int:
    """Return a whole number of 0 or more."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def device_of(name: str) -> torch.device:
    """Return the device called `name`.

    Raises:
        ValueError: torch does not know or have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device '{name}' is not known; use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU; use --device cpu")
    return device


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """Return the options as a results file keeps them."""
    from dataclasses import asdict

    kept = {name: value for name, value in vars(options).items() if name not in ("shape", "results")}
    return kept | {"device": str(options.device), "shape": asdict(options.shape)}
