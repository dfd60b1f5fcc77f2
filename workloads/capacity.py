"""Finds how many users can be decoded for at the same time: by the memory model, and on a GPU by search as well.

The memory model is that of `nsightkit model`: (memory − weights) ÷ cache of one user, for each way to keep keys and
values. The search loads the model, reserves the cache of N users, runs their prefill and one step, and looks for the
largest N that ends without running out of memory. On a CPU only the model speaks: a CPU swaps before it refuses.

    python capacity.py --memory-gb 80 --layers 32 --heads 32 --width 4096 --positions 2048
    python capacity.py --variants v1,v2 --dtype bfloat16
"""

import argparse
import sys
from dataclasses import replace

try:
    import torch

    from models.decoding import TIMED, Work, decode_once, table
    from models.gpt import Gpt
    from models.memory import memory_of, on_paper
    from models.options import Parser, add_common, completed, model_of, positive, positive_number, settings_of, truth
    from models.search import Found, largest_that_fits, misfit_of
    from models.variants import VARIANTS, Decoder, missing_for
    from nsightkit import annotate
    from nsightkit.analysis.work import paper_model as paper
except ModuleNotFoundError as error:
    print(f"capacity needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)

# Where weights on a CPU would be more than this, nothing is run: the model is there for its arithmetic.
_SMALL_BYTES = 2e9
_COLUMNS = (
    ("variant", "variant", "s"), ("positions", "positions", "d"), ("kv_bytes_per_user", "KV bytes a user", ".0f"),
    ("users_on_paper", "users on paper", "d"), ("users_found", "users found", "d"),
    ("found_over_paper_share", "found ÷ paper", ".2f"),
)  # fmt: skip


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = Parser("capacity", __doc__)
    add = parser.add_argument
    add("--variants", default="v1,v2,v3,v4", metavar="NAME,…", help="of the KV cache (default: v1,v2,v3,v4)")
    add("--positions", type=positive, metavar="N",
        help="positions that each user reserves (default: prompt and new tokens)")  # fmt: skip
    add("--memory-gb", type=positive_number, metavar="GB",
        help="memory for weights and caches, in 10^9 bytes (default: what is free on the device now)")  # fmt: skip
    add("--search", type=truth, metavar="true|false", help="search by trying (default: on a GPU only)")
    add("--most", type=positive, default=1 << 20, metavar="N", help="the search looks no further (default: 2^20)")
    add_common(parser, bench_iters=3, without=("batch-size",))
    options = parser.parse_args(argv)
    options.variants = list(dict.fromkeys(options.variants.split(",")))
    if unknown := [name for name in options.variants if name not in VARIANTS or not VARIANTS[name].use_cache]:
        cached = [variant.name for variant in VARIANTS.values() if variant.use_cache]
        parser.error(f"no variant with a cache '{unknown[0]}'; there are {', '.join(cached)}")
    options.positions = options.positions or options.prompt_len + options.max_new_tokens
    if options.positions < options.prompt_len + 1:
        parser.error(f"--positions {options.positions} has no room for a prompt of {options.prompt_len} and a token")
    completed(parser, options, options.positions)
    if options.search is None:
        options.search = options.device.type == "cuda"
    if options.search and options.device.type == "cpu":
        parser.error("--search true needs a GPU: on a CPU memory does not run out, it swaps")
    return options


def paper_row(name: str, options: argparse.Namespace, memory_bytes: float | None) -> dict[str, float | str | None]:
    """Return what the memory model says of the variant `name`; users are null where the memory is not known."""
    variant, shape = VARIANTS[name], on_paper(options.shape)
    if variant.shared:
        shape = replace(shape, kv_layers=(shape.layers + 1) // 2)
    cache = paper.INT8 if variant.quantized else paper.PLAIN
    work = paper.Work(1, options.prompt_len, 1, dtype=options.dtype, cache=cache)
    users = None if memory_bytes is None else paper.capacity(shape, work, options.positions, memory_bytes)
    return {
        "variant": name,
        "positions": options.positions,
        "weight_bytes": shape.stored_weights * work.value_bytes,
        "memory_bytes": memory_bytes,
        "kv_bytes_per_user": paper.kv_bytes(shape, work, options.positions),
        "users_on_paper": users,
        "users_found": None,
        "found_over_paper_share": None,
    }


def searched(model: Gpt, name: str, options: argparse.Namespace) -> Found:
    """Return how many users fit beside `model` by trying.

    Raises:
        RuntimeError: a try failed for another reason than memory.
    """
    return largest_that_fits(lambda users: misfit_of(lambda: _serve(model, name, users, options)), options.most)


def _serve(model: Gpt, name: str, users: int, options: argparse.Namespace) -> None:
    ids = torch.zeros((users, options.prompt_len), dtype=torch.long, device=options.device)
    with torch.inference_mode(), annotate.range("capacity_try", payload=users):
        decoder = Decoder(model, VARIANTS[name], users)
        decoder.feed(ids)
        decoder.feed(ids[:, :1])
        annotate.Laps(str(options.device)).wait()


def main(argv: list[str] | None = None) -> None:
    """Run the workload."""
    options = parse_arguments(argv)
    memory_bytes, what = (options.memory_gb * 1e9, "--memory-gb") if options.memory_gb else memory_of(options.device)
    try:
        model = model_of(options) if _runs(options) else None
    except ValueError as error:
        print(f"capacity: {error}", file=sys.stderr)
        sys.exit(1)
    rows = [paper_row(name, options, memory_bytes) for name in options.variants]
    notes = [f"memory: {what}" + ("" if memory_bytes is None else f", {memory_bytes / 1e9:.2f} GB"),
             "on paper: weights and cache only; activations and the allocator's losses come on top"]  # fmt: skip
    notes += _search(model, rows, options) if options.search else ["no search: it needs a GPU; only the model speaks"]
    measured = _one_user(model, options)
    if model is not None:
        notes.append(_checked(measured.last, options))
    if options.results:
        _write(options, rows, (measured, notes))
    print(table(rows, _COLUMNS))
    print("\n".join(f"capacity: {note}" for note in notes))


def _runs(options: argparse.Namespace) -> bool:
    """Return whether the model itself is made: always for a search, else only a small one."""
    size = on_paper(options.shape).stored_weights * paper.DTYPES[options.dtype][0]
    return options.search or options.device.type == "cuda" or size <= _SMALL_BYTES


def _one_user(model: Gpt | None, options: argparse.Namespace) -> annotate.Measurement:
    """Return the measured decode of one user; without a sample where the model was not made."""
    plan = annotate.Plan(options.warmup_iters, options.bench_iters, options.seed, str(options.device))
    if model is None:
        return annotate.Measurement(plan, "nothing was timed", (), None, "nothing was run")
    work = Work(1, options.prompt_len, options.max_new_tokens)
    return annotate.measure(lambda laps: decode_once(model, work, options.seed, laps), plan)


def _checked(cache_bytes: int, options: argparse.Namespace) -> str:
    """Return whether the plain cache of one user takes what the memory model says."""
    each = cache_bytes / (options.prompt_len + options.max_new_tokens)
    plain = paper.kv_position_bytes(on_paper(options.shape), paper.Work(1, 1, 0, dtype=options.dtype))
    verdict = "as the memory model says" if each == plain else f"where the memory model says {plain:.0f}"
    return f"one user was decoded for: a token takes {each:.0f} bytes in the plain cache, {verdict}"


def _search(model: Gpt, rows: list[dict], options: argparse.Namespace) -> list[str]:
    notes = []
    for row in rows:
        if (missing := missing_for(VARIANTS[row["variant"]], str(options.device))) is not None:
            notes.append(f"{row['variant']} was not searched: {missing}")
            continue
        found = searched(model, row["variant"], options)
        row["users_found"] = found.largest
        row["found_over_paper_share"] = found.largest / row["users_on_paper"] if row["users_on_paper"] else None
        notes.append(f"{row['variant']}: {found.largest} users, {len(found.tried)} tries, ended by: {found.reason}")
    return notes


def _write(options: argparse.Namespace, rows: list[dict], made: tuple[annotate.Measurement, list[str]]) -> None:
    measured, notes = made
    metrics = {f"{row['variant']}_{key}": row[key] for row in rows for key in ("users_on_paper", "users_found")}
    runs = options.warmup_iters + options.bench_iters if measured.repetitions else 0
    own = {"timed": f"{TIMED}; one user", "tokens_run": runs * options.max_new_tokens,
           "metrics": metrics | {"memory_bytes": rows[0]["memory_bytes"]}, "rows": rows, "notes": notes}  # fmt: skip
    machine = annotate.describe_machine(str(options.device), options.dtype)
    data = annotate.results_of("capacity", settings_of(options), machine, measured, own)
    annotate.write_results(options.results, data)


if __name__ == "__main__":
    main()
