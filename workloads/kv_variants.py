"""Decodes tokens with one of eight ways to keep keys and values, and tells where the time went.

v0 keeps none, v1 all, v2 as INT8, v3 shares them between pairs of layers, v4 does both; v3a and v4a give the borrowing
layer its owner's query weights. All variants run the same model in the same precision and time the same thing: prefill,
which yields the first token, and one step a token. v2t reads the INT8 values in one Triton kernel: it needs a GPU, or
Triton's interpreter (TRITON_INTERPRET=1), and is unverified on a GPU.

    python kv_variants.py --variant v2 --prompt-len 64 --max-new-tokens 16
"""

# nsightkit: deterministic
import argparse
import sys
from contextlib import contextmanager

try:
    import numpy as np
    import torch

    from nsightkit import annotate
except ModuleNotFoundError as error:
    print(f"kv_variants needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)
from models.gpt import Gpt
from models.options import DTYPES, Parser, add_common, completed, model_of, settings_of, truth
from models.variants import VARIANTS, Decoder, align_queries, chosen_variant, missing_for


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = Parser("kv_variants", __doc__)
    listed = "; ".join(f"{variant.name}: {variant.description}" for variant in VARIANTS.values())
    parser.add_argument("--variant", default="v1", metavar="NAME", help=f"{listed} (default: v1)")
    parser.add_argument(
        "--phases",
        type=truth,
        nargs="?",
        const=True,
        default=True,
        metavar="true|false",
        help="time the parts of the model in one repetition more, apart from the rest (default: true)",
    )
    add_common(parser, bench_iters=5)
    options = parser.parse_args(argv)
    completed(parser, options)
    try:
        chosen_variant(options.variant, str(options.device))
    except ValueError as error:
        parser.error(str(error))
    return options


def run(model: Gpt, prompt: torch.Tensor, options: argparse.Namespace, laps: annotate.Laps) -> Decoder:
    """Decode once; `laps` gets total, prefill and decode_step."""
    with torch.inference_mode(), laps.time("total"):
        decoder = Decoder(model, VARIANTS[options.variant], options.batch_size)
        with annotate.range("prefill", payload=options.batch_size), laps.time("prefill"):
            token = decoder.feed(prompt).argmax(dim=-1, keepdim=True)
        with annotate.range("decode", payload=options.batch_size):
            for place in range(options.max_new_tokens):
                with annotate.range("decode_step", payload=place), laps.time("decode_step"):
                    token = decoder.feed(token).argmax(dim=-1, keepdim=True)
    return decoder


@contextmanager
def timed_phases(model: Gpt, laps: annotate.Laps):
    """Time attention (with its norm left out), feed-forward part and head of each layer while the block runs."""
    open_laps = []

    def begin(name: str):
        def hook(*_):
            open_laps.append(laps.time(name))
            open_laps[-1].__enter__()

        return hook

    def end(*_) -> None:
        open_laps.pop().__exit__(None, None, None)

    hooks = [model.head.register_forward_pre_hook(begin("head")), model.head.register_forward_hook(end)]
    for block in model.blocks:
        hooks += [
            block.attention.register_forward_pre_hook(begin("attention")),
            block.attention.register_forward_hook(end),
            block.mlp.register_forward_pre_hook(begin("mlp")),
            block.mlp.register_forward_hook(end),
        ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def phases_of(model: Gpt, prompt: torch.Tensor, options: argparse.Namespace) -> dict[str, float]:
    """Return milliseconds by part of the model, of prefill and decode together; other is what is left."""
    laps = annotate.Laps(str(options.device))
    with timed_phases(model, laps):
        run(model, prompt, options, laps)
    samples = laps.samples_ns()
    parts = {f"{name}_ms": sum(samples.get(name, ())) / 1e6 for name in ("attention", "mlp", "head")}
    return parts | {"other_ms": sum(samples["total"]) / 1e6 - sum(parts.values())}


def metrics_of(options: argparse.Namespace, measured: annotate.Measurement) -> dict[str, float | None]:
    """Return medians over the repetitions and percentiles over the steps."""
    steps, step = measured.spread("decode_step"), measured.sample_spread("decode_step")
    first, total = measured.spread("prefill"), measured.spread("total")
    per_token_ms = steps.median_ns / 1e6 / options.max_new_tokens
    variant = VARIANTS[options.variant]
    per_token_bytes = variant.cache_bytes_per_token(options.shape, DTYPES[options.dtype].itemsize)
    return {
        "time_to_first_token_ms": first.median_ns / 1e6,
        "total_ms": total.median_ns / 1e6,
        "time_per_output_token_ms": per_token_ms,
        "step_p50_ms": step.p50_ns / 1e6,
        "step_p95_ms": step.p95_ns / 1e6,
        "step_p99_ms": step.p99_ns / 1e6,
        "tokens_per_s_per_sequence": 1e3 / per_token_ms,
        "tokens_per_s_aggregate": 1e3 / per_token_ms * options.batch_size,
        "kv_cache_bytes": measured.last.cache_bytes,
        "kv_bytes_per_token": per_token_bytes,
    }


def main(argv: list[str] | None = None) -> None:
    """Run the workload."""
    options = parse_arguments(argv)
    try:
        model = model_of(options)
    except ValueError as error:
        print(f"kv_variants: {error}", file=sys.stderr)
        sys.exit(1)
    if VARIANTS[options.variant].aligned:
        align_queries(model)
    drawn = np.random.default_rng(options.seed + 1).integers(
        options.vocabulary, size=(options.batch_size, options.prompt_len)
    )
    prompt = torch.from_numpy(drawn).to(options.device)
    plan = annotate.Plan(options.warmup_iters, options.bench_iters, options.seed, str(options.device))
    measured = annotate.measure(lambda laps: run(model, prompt, options, laps), plan)
    metrics = metrics_of(options, measured)
    if options.phases:
        metrics |= phases_of(model, prompt, options)
    if options.results:
        own = {
            "timed": "total: prefill and all decode steps; decode_step: one forward pass and the choice of a token; "
            "the parts of the model come from one repetition more, slowed down by their hooks",
            "tokens_run": (options.warmup_iters + options.bench_iters + options.phases) * options.max_new_tokens,
            "metrics": metrics,
            "notes": [
                f"{variant.name} is untested here: {why}"
                for variant in VARIANTS.values()
                if (why := missing_for(variant, str(options.device)))
            ],
        }
        machine = annotate.describe_machine(str(options.device), options.dtype)
        data = annotate.results_of("kv_variants", settings_of(options), machine, measured, own)
        annotate.write_results(options.results, data)
    print(
        f"kv_variants: {options.variant} ({VARIANTS[options.variant].description}), {options.dtype}, "
        f"{options.device}, batch {options.batch_size}; {metrics['time_per_output_token_ms']:.3f} ms a token, "
        f"cache {metrics['kv_cache_bytes']} bytes"
    )


if __name__ == "__main__":
    main()
