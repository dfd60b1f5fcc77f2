"""Decodes tokens with a small GPT-like model, with or without a KV cache.

Without the cache each step runs the whole sequence again; with it, only the newest token. Both arms use the same
weights, the same precision and the same clock, and both time the same thing: the prompt (prefill, which yields the
first token) and then one decode step a token. The ranges prefill, decode, decode_step, layer, attention, mlp and head
are seen by nsys, ncu and torch.profiler.

Run it alone, or under a profiler with `nsightkit profile`:

    python kv_decode.py --prompt-len 64 --max-new-tokens 16
    python kv_decode.py --no-kv-cache --dtype bfloat16 --results results.json
"""

# nsightkit: deterministic
import argparse
import sys
from dataclasses import dataclass, field

try:
    import numpy as np
    import torch

    from nsightkit import annotate
except ModuleNotFoundError as error:
    print(f"kv_decode needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)
from models.costs import Cost, PhaseCosts, phase_costs
from models.gpt import Gpt, KVCache
from models.options import DTYPES, Parser, add_common, completed, model_of, settings_of, truth

_TIMED = (
    "prefill: the prompt's forward pass and the choice of the first token; decode: max_new_tokens steps, each a "
    "forward pass and the choice of a token; the cache is reserved before, the device idle before and after"
)


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = Parser("kv_decode", __doc__)
    add = parser.add_argument
    add("--phase", choices=("both", "prefill", "decode"), default="both",
        help="what is timed; decode runs the prefill that it needs, but does not time it (default: both)")  # fmt: skip
    cache = parser.add_mutually_exclusive_group()
    cache.add_argument("--kv-cache", type=truth, nargs="?", const=True, default=True, metavar="true|false",
                       help="keep keys and values of earlier tokens (default: true)")  # fmt: skip
    cache.add_argument("--no-kv-cache", dest="kv_cache", action="store_false", help="the same as --kv-cache false")
    add("--cache-prefix", type=truth, nargs="?", const=True, default=False, metavar="true|false",
        help="with --phase decode and a cache: prefill once, and start each repetition from a copy of that cache "
        "(default: false)")  # fmt: skip
    add("--prefix-source", choices=("random", "model"), default="random",
        help="the prompt: random tokens, or what the model says after one random token (default: random)")  # fmt: skip
    add("--mark-capture", action="store_true",
        help="bracket the timed repetitions with cudaProfilerStart and cudaProfilerStop")  # fmt: skip
    add_common(parser)
    options = parser.parse_args(argv)
    if options.cache_prefix and not (options.kv_cache and options.phase == "decode"):
        parser.error("--cache-prefix needs --phase decode and a KV cache: elsewhere there is no prefix to keep")
    completed(parser, options)
    return options


def make_prompt(options: argparse.Namespace, model: Gpt | None = None) -> torch.Tensor:
    """Return token ids (batch, prompt_len): random ones, or the greedy words of `model` after one random token."""
    generator = np.random.default_rng(options.seed + 1)
    drawn = generator.integers(options.shape.vocabulary, size=(options.batch_size, options.prompt_len))
    ids = torch.from_numpy(drawn).to(options.device)
    if options.prefix_source == "random" or model is None:
        return ids
    cache = KVCache(options.shape, options.batch_size, model.head.weight)
    ids = ids[:, :1]
    while ids.shape[1] < options.prompt_len:
        ids = _extended(ids, model(ids[:, -1:], cache))
    return ids


@dataclass
class Decode:
    """One arm: `run` does the phases once and times them."""

    model: Gpt
    prompt: torch.Tensor
    options: argparse.Namespace
    _prefix: tuple[KVCache, torch.Tensor] | None = None
    _costs: PhaseCosts = field(init=False)

    def __post_init__(self) -> None:
        """Compute what each phase costs on paper, outside of what is timed."""
        self._costs = phase_costs(self.options)

    def run(self, laps: annotate.Laps) -> torch.Tensor:
        """Return the token ids (batch, prompt_len + tokens made); `laps` gets prefill, decode and decode_step."""
        options = self.options
        with torch.inference_mode():
            cache, ids = self._prefilled(laps)
            if options.phase == "prefill":
                return ids
            with annotate.range("decode", payload=options.batch_size), laps.time("decode"):
                for token in range(options.max_new_tokens):
                    with annotate.range("decode_step", payload=token), laps.time("decode_step"):
                        self._state(self._costs.steps[token])
                        ids = _extended(ids, self.model(ids[:, -1:] if cache else ids, cache))
        return ids

    def _prefilled(self, laps: annotate.Laps) -> tuple[KVCache | None, torch.Tensor]:
        if self._prefix is not None:
            laps.wait()
            return self._prefix[0].copied(), self._prefix[1]
        options = self.options
        cache = KVCache(options.shape, options.batch_size, self.model.head.weight) if options.kv_cache else None
        # The stopwatch of a phase that was not asked for is thrown away.
        own = laps if options.phase != "decode" else annotate.Laps(str(options.device))
        with annotate.range("prefill", payload=options.batch_size), own.time("prefill"):
            self._state(self._costs.prefill)
            ids = _extended(self.prompt, self.model(self.prompt, cache))
        if options.cache_prefix and cache is not None:
            self._prefix = cache, ids
            cache = cache.copied()
        laps.wait()
        return cache, ids

    def _state(self, cost: Cost) -> None:
        annotate.state_work(cost.flop, cost.moved_bytes, self.options.dtype)


def _extended(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.cat((ids, logits.argmax(dim=-1, keepdim=True)), dim=1)


def metrics_of(options: argparse.Namespace, measured: annotate.Measurement) -> dict[str, float | None]:
    """Return medians over the repetitions, percentiles over all steps; None for what was not timed."""
    prefill, decode, step = measured.spread("prefill"), measured.spread("decode"), measured.sample_spread("decode_step")
    total_ms = decode.median_ns / 1e6 if decode else None
    per_second = options.max_new_tokens / (total_ms / 1e3) if total_ms else None
    shape = options.shape
    row_bytes = 2 * shape.layers * shape.kv_heads * shape.head_width * DTYPES[options.dtype].itemsize
    positions = options.prompt_len + (options.max_new_tokens if options.phase != "prefill" else 0)
    return {
        "time_to_first_token_ms": prefill.median_ns / 1e6 if prefill else None,
        "decode_total_ms": total_ms,
        "time_per_output_token_ms": total_ms / options.max_new_tokens if total_ms else None,
        "step_p50_ms": step.p50_ns / 1e6 if step else None,
        "step_p95_ms": step.p95_ns / 1e6 if step else None,
        "step_p99_ms": step.p99_ns / 1e6 if step else None,
        "tokens_per_s_per_sequence": per_second,
        "tokens_per_s_aggregate": per_second * options.batch_size if per_second else None,
        # What the cache holds when the last token has been chosen.
        "kv_cache_bytes": options.batch_size * positions * row_bytes if options.kv_cache else 0,
    }


def summary(options: argparse.Namespace, metrics: dict[str, float | None]) -> str:
    """Return one line for people."""
    parts = [f"kv_decode: KV cache {'on' if options.kv_cache else 'off'}, {options.dtype}, {options.device}, "
             f"batch {options.batch_size}"]  # fmt: skip
    if (first := metrics["time_to_first_token_ms"]) is not None:
        parts.append(f"first token after {first:.2f} ms")
    if (total := metrics["decode_total_ms"]) is not None:
        parts.append(f"decode {total:.2f} ms for {options.max_new_tokens} tokens = "
                     f"{metrics['time_per_output_token_ms']:.3f} ms each, "
                     f"{metrics['tokens_per_s_per_sequence']:.1f} tokens/s a sequence, "
                     f"{metrics['tokens_per_s_aggregate']:.1f} in all")  # fmt: skip
    return "; ".join(parts)


def main(argv: list[str] | None = None) -> None:
    """Run the workload."""
    options = parse_arguments(argv)
    try:
        model = model_of(options)
    except ValueError as error:
        print(f"kv_decode: {error}", file=sys.stderr)
        sys.exit(1)
    with torch.inference_mode():
        prompt = make_prompt(options, model)
    plan = annotate.Plan(
        options.warmup_iters, options.bench_iters, options.seed, str(options.device), options.mark_capture
    )
    measured = annotate.measure(Decode(model, prompt, options).run, plan)
    metrics = metrics_of(options, measured)
    if options.results:
        runs = options.warmup_iters + options.bench_iters
        own = {
            "timed": _TIMED,
            "tokens_run": runs * options.max_new_tokens * (options.phase != "prefill"),
            "metrics": metrics,
        }
        machine = annotate.describe_machine(str(options.device), options.dtype)
        data = annotate.results_of("kv_decode", settings_of(options), machine, measured, own)
        annotate.write_results(options.results, data)
    print(summary(options, metrics))


if __name__ == "__main__":
    main()
