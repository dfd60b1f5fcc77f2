"""Decodes tokens with a small GPT-like model, with or without a KV cache.

Without the cache each step runs the whole sequence again; with it, only the newest token. Both arms use the same
weights, the same precision and the same clock, and both time the same thing: the prompt (prefill, which yields the
first token) and then one decode step a token. The ranges prefill, decode, decode_step, layer, attention, mlp and head
are seen by nsys, ncu and torch.profiler.

Run it alone, or under a profiler with `nsightkit profile`:

    python kv_decode.py --prompt-len 64 --max-new-tokens 16
    python kv_decode.py --no-kv-cache --dtype bfloat16 --results results.json
"""

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

try:
    import numpy as np
    import torch

    from nsightkit import annotate
except ModuleNotFoundError as error:
    print(f"kv_decode needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)
from models.gpt import Gpt, GptShape, KVCache, build_gpt

DTYPES = {
    "float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16,
}  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """One repetition: wall times in nanoseconds; None for a phase that did not run or was not asked for."""

    prefill_ns: int | None
    decode_ns: int | None


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = argparse.ArgumentParser(prog="kv_decode", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add = parser.add_argument
    add("--phase", choices=("both", "prefill", "decode"), default="both",
        help="what is timed; decode runs the prefill that it needs, but does not time it (default: both)")  # fmt: skip
    cache = parser.add_mutually_exclusive_group()
    cache.add_argument("--kv-cache", type=_truth, nargs="?", const=True, default=True, metavar="true|false",
                       help="keep keys and values of earlier tokens (default: true)")  # fmt: skip
    cache.add_argument("--no-kv-cache", dest="kv_cache", action="store_false", help="the same as --kv-cache false")
    for name, default, help_ in (
        ("prompt-len", 128, "tokens of the prompt"),
        ("batch-size", 1, "sequences decoded together"),
        ("max-new-tokens", 16, "decode steps, one token each, after the first token that prefill yields"),
        ("layers", 6, "layers of the model"),
        ("heads", 8, "attention heads"),
        ("kv-heads", None, "heads of keys and values; fewer than --heads is grouped-query attention (default: all)"),
        ("width", 512, "width of the model"),
        ("vocabulary", 4096, "tokens that the model knows"),
        ("bench-iters", 1, "repetitions that are timed"),
    ):
        shown = help_ if default is None else f"{help_} (default: {default})"
        add(f"--{name}", type=_positive, default=default, metavar="N", help=shown)
    add("--warmup-iters", type=_not_negative, default=1, metavar="N",
        help="repetitions before, not timed but seen by a profiler (default: 1)")  # fmt: skip
    add("--dtype", choices=tuple(DTYPES), default="float32", help="of weights and cache (default: float32)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto, a GPU if there is one)")
    add("--seed", type=int, default=0, metavar="N", help="of weights and prompt (default: 0)")
    add("--results", type=Path, metavar="PATH", help="write settings and timings there as JSON")
    options = parser.parse_args(argv)
    options.dtype = str(DTYPES[options.dtype]).removeprefix("torch.")
    try:
        options.shape = _shape(options)
        options.device = _device(options.device)
    except ValueError as error:
        parser.error(str(error))
    return options


def _truth(text: str) -> bool:
    words = {"true": True, "on": True, "1": True, "yes": True, "false": False, "off": False, "0": False, "no": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")
    return words[text.lower()]


def _positive(text: str) -> int:
    number = _not_negative(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _not_negative(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def _shape(options: argparse.Namespace) -> GptShape:
    return GptShape(
        layers=options.layers, heads=options.heads, kv_heads=options.kv_heads or options.heads, width=options.width,
        vocabulary=options.vocabulary, max_length=options.prompt_len + options.max_new_tokens,
    )  # fmt: skip


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device '{name}' is not known; use auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU; use --device cpu")
    return device


def make_prompt(options: argparse.Namespace) -> torch.Tensor:
    """Return random token ids (batch, prompt_len)."""
    generator = np.random.default_rng(options.seed + 1)
    ids = generator.integers(options.shape.vocabulary, size=(options.batch_size, options.prompt_len))
    return torch.from_numpy(ids).to(options.device)


def run_once(model: Gpt, prompt: torch.Tensor, options: argparse.Namespace) -> tuple[Timing, torch.Tensor]:
    """Run the phases once; return their times and the token ids (batch, prompt_len + tokens made)."""
    cache = KVCache(options.shape, options.batch_size, model.head.weight) if options.kv_cache else None
    start = _now(options.device)
    with annotate.range("prefill"):
        ids = _extended(prompt, model(prompt, cache))
        end = _now(options.device)
    prefill_ns = end - start if options.phase != "decode" else None
    if options.phase == "prefill":
        return Timing(prefill_ns, None), ids
    start = _now(options.device)
    with annotate.range("decode"):
        for _ in range(options.max_new_tokens):
            with annotate.range("decode_step"):
                ids = _extended(ids, model(ids[:, -1:] if cache else ids, cache))
        end = _now(options.device)
    return Timing(prefill_ns, end - start), ids


def _extended(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.cat((ids, logits.argmax(dim=-1, keepdim=True)), dim=1)


def _now(device: torch.device) -> int:
    """Return the time in nanoseconds once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter_ns()


def results_of(options: argparse.Namespace, timings: list[Timing]) -> dict[str, object]:
    """Return settings, every timing, and the medians; units stand in the names."""
    settings = {name: value for name, value in vars(options).items() if name not in ("shape", "results")}
    return {
        "schema_version": 1,
        "workload": "kv_decode",
        "settings": settings | {"device": str(options.device)} | {"shape": asdict(options.shape)},
        "machine": {
            "device_name": torch.cuda.get_device_name(options.device) if options.device.type == "cuda" else "cpu",
            "torch_version": torch.__version__,
            "python_version": platform.python_version(),
            "threads": torch.get_num_threads(),
        },
        "timed": "prefill: the prompt's forward pass and the choice of the first token; decode: max_new_tokens steps, "
        "each a forward pass and the choice of a token; the cache is reserved before; wall time of a monotonic clock, "
        "the device idle before and after",
        "tokens_run": (options.warmup_iters + options.bench_iters)
        * options.max_new_tokens
        * (options.phase != "prefill"),
        "repetitions": [asdict(timing) for timing in timings],
        "metrics": metrics_of(options, timings),
    }


def metrics_of(options: argparse.Namespace, timings: list[Timing]) -> dict[str, float | None]:
    """Return medians over the repetitions; None for what was not timed."""
    prefill = [t.prefill_ns for t in timings if t.prefill_ns is not None]
    decode = [t.decode_ns for t in timings if t.decode_ns is not None]
    decode_ms = statistics.median(decode) / 1e6 if decode else None
    per_second = options.max_new_tokens / (decode_ms / 1e3) if decode_ms else None
    return {
        "time_to_first_token_ms": statistics.median(prefill) / 1e6 if prefill else None,
        "decode_total_ms": decode_ms,
        "decode_per_token_ms": decode_ms / options.max_new_tokens if decode_ms else None,
        "tokens_per_s_per_sequence": per_second,
        "tokens_per_s_aggregate": per_second * options.batch_size if per_second else None,
    }


def summary(options: argparse.Namespace, metrics: dict[str, float | None]) -> str:
    """Return one line for people."""
    parts = [f"kv_decode: KV cache {'on' if options.kv_cache else 'off'}, {options.dtype}, {options.device}, "
             f"batch {options.batch_size}"]  # fmt: skip
    if (first := metrics["time_to_first_token_ms"]) is not None:
        parts.append(f"first token after {first:.2f} ms")
    if (total := metrics["decode_total_ms"]) is not None:
        parts.append(f"decode {total:.2f} ms for {options.max_new_tokens} tokens = "
                     f"{metrics['decode_per_token_ms']:.3f} ms each, "
                     f"{metrics['tokens_per_s_per_sequence']:.1f} tokens/s a sequence, "
                     f"{metrics['tokens_per_s_aggregate']:.1f} in all")  # fmt: skip
    return "; ".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Run the workload."""
    options = parse_arguments(argv)
    model = build_gpt(options.shape, options.seed, options.device, DTYPES[options.dtype])
    prompt = make_prompt(options)
    timings = []
    with torch.inference_mode():
        for _ in range(options.warmup_iters):
            run_once(model, prompt, options)
        for _ in range(options.bench_iters):
            timings.append(run_once(model, prompt, options)[0])
    results = results_of(options, timings)
    if options.results:
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(results, indent=2, default=str) + "\n", encoding="utf-8")
    print(summary(options, metrics_of(options, timings)))


if __name__ == "__main__":
    main()
