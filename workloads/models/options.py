"""Options that the workloads share: sizes of the model or real weights, dtype, device, and how values are written.

In: an argparse parser. Out: options added to it, and their values checked; the model that they describe.
"""

import argparse
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import torch

from models.gpt import Gpt, GptShape, build_gpt
from models.weights import load_gpt, shape_in
from nsightkit.annotate import results_file

DTYPES = {
    "float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16, "float64": torch.float64, "fp64": torch.float64,
}  # fmt: skip
_WORK = (
    ("prompt-len", 128, "tokens of the prompt"),
    ("batch-size", 1, "sequences decoded together"),
    ("max-new-tokens", 16, "decode steps, one token each, after the first token that prefill yields"),
)
_SIZES = (
    ("layers", 6, "layers of the model"),
    ("heads", 8, "attention heads"),
    ("kv-heads", None, "heads of keys and values; fewer than --heads is grouped-query attention (default: all)"),
    ("width", 512, "width of the model"),
    ("vocabulary", 4096, "tokens that the model knows"),
)


class Parser(argparse.ArgumentParser):
    """A parser whose --help shows the workload's docstring as it is, and that knows what a typo meant."""

    def __init__(self, name: str, description: str | None) -> None:
        """Name the workload."""
        super().__init__(
            prog=name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """End with usage and `message`, and the option that was likely meant."""
        unknown, known = message.partition("unrecognized arguments: ")[2].split(), list(self._option_string_actions)
        near = [match for word in unknown for match in get_close_matches(word.partition("=")[0], known, n=1)]
        super().error(f"{message}; did you mean {' and '.join(near)}?" if near else message)


def add_common(parser: argparse.ArgumentParser, bench_iters: int = 1, without: tuple[str, ...] = ()) -> None:
    """Add the work but what is in `without`, sizes, repetitions, dtype, device, seed and the results file."""
    for name, default, help_ in (*_WORK, ("bench-iters", bench_iters, "repetitions that are timed")):
        if name not in without:
            shown = f"{help_} (default: {default})"
            parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=shown)
    add_model(parser)
    add = parser.add_argument
    add("--warmup-iters", type=not_negative, default=1, metavar="N",
        help="repetitions before, not timed but seen by a profiler (default: 1)")  # fmt: skip
    add_machine(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the sizes of the model, and the folder that replaces them."""
    for name, default, help_ in _SIZES:
        shown = help_ if default is None else f"{help_} (default: {default})"
        parser.add_argument(f"--{name}", type=positive, metavar="N", help=shown)
    parser.add_argument(
        "--weights", type=Path, metavar="FOLDER",
        help="real weights instead of sizes: config.json and *.safetensors (GPT-2, Llama, Mistral, Qwen2, Qwen3), or "
        "nanoGPT's ckpt.pt; nothing is downloaded")  # fmt: skip


def add_machine(parser: argparse.ArgumentParser, dtype: str | None = "float32") -> None:
    """Add dtype, device, seed, threads and the results file."""
    add = parser.add_argument
    add("--dtype", choices=tuple(DTYPES), default=dtype, metavar="DTYPE",
        help=f"of weights and cache: {', '.join(DTYPES)} (default: {dtype or 'that of the size'})")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, a GPU if there is one)")
    add("--seed", type=not_negative, default=0, metavar="N", help="of weights and prompt (default: 0)")
    add("--threads", type=positive, metavar="N", help="threads of torch on the CPU (default: what torch chooses)")
    add("--results", type=results_file, metavar="PATH", help="write settings and timings there as JSON")


def completed(parser: argparse.ArgumentParser, options: argparse.Namespace, positions: int | None = None) -> None:
    """Put shape and device into `options`, and one spelling of the dtype; ends the program where they cannot be.

    `positions` is the longest sequence, where prompt and new tokens do not say it.
    """
    if positions is None:
        positions = options.prompt_len + options.max_new_tokens
    try:
        on_machine(options)
        options.shape = _shape(options, positions)
    except ValueError as error:
        parser.error(str(error))


def on_machine(options: argparse.Namespace) -> None:
    """Put the device and one spelling of the dtype into `options`, and set the threads.

    Raises:
        ValueError: there is no such device.
    """
    options.dtype = str(DTYPES[options.dtype]).removeprefix("torch.")
    if options.threads:
        torch.set_num_threads(options.threads)
    options.device = device_of(options.device)


def _shape(options: argparse.Namespace, positions: int) -> GptShape:
    names = {name: name.replace("-", "_") for name, _, _ in _SIZES}
    given = {name: value for name, key in names.items() if (value := getattr(options, key)) is not None}
    if options.weights is not None:
        if given:
            raise ValueError(f"--weights and --{next(iter(given))}: the sizes are those of the weights; leave one out")
        shape = shape_in(options.weights, positions)
    else:
        sizes = {names[name]: given.get(name, default) for name, default, _ in _SIZES}
        sizes["kv_heads"] = sizes["kv_heads"] or sizes["heads"]
        shape = GptShape(**sizes, max_length=positions)
    for key in names.values():
        setattr(options, key, getattr(shape, key))
    return shape


def model_of(options: argparse.Namespace) -> Gpt:
    """Return the model of `completed` options: the real one, or one with random weights.

    Raises:
        ValueError: the folder's weights are not those of its shape.
    """
    dtype = DTYPES[options.dtype]
    if options.weights is not None:
        return load_gpt(options.weights, options.shape.max_length, options.device, dtype)
    return build_gpt(options.shape, options.seed, options.device, dtype)


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


def positive_list(text: str) -> list[int]:
    """Return the whole numbers of 1 or more that `text` lists, parted by commas."""
    return [positive(part.strip()) for part in text.split(",")]


def positive_number(text: str) -> float:
    """Return a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return number


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
    """Return the options as a results file keeps them; of the weights only the folder's name."""
    kept = {name: value for name, value in vars(options).items() if name not in ("shape", "results")}
    if kept.get("weights") is not None:
        kept["weights"] = Path(kept["weights"]).resolve().name
    return kept | {"device": str(options.device), "shape": asdict(options.shape)}
