"""Decodes with several batch sizes: throughput of a sequence and of all, latency percentiles, bytes of the KV cache.

With --auto the largest batch that fits is found by doubling and bisection, on a GPU until memory runs out, on a CPU
within --memory-limit-gb and --time-limit; then powers of two up to it are measured, and the best batch is named: the
smallest whose throughput in all is within 5 % of the highest. Where NVML (nvidia-ml-py) is there, utilization, clocks,
power and joules per token are sampled; elsewhere they are null and the results say why.

    python batch_sweep.py --batches 1,2,4,8
    python batch_sweep.py --auto --time-limit 30 --results results.json
"""

import argparse
import sys
import time

try:
    from models.decoding import TIMED, Point, Work, decode_once, measure_point, table
    from models.gpt import Gpt
    from models.memory import memory_of, predicted_bytes
    from models.options import (
        Parser,
        add_common,
        completed,
        model_of,
        positive,
        positive_list,
        positive_number,
        settings_of,
    )
    from models.search import Found, largest_that_fits, misfit_of, ran_out
    from nsightkit import annotate
except ModuleNotFoundError as error:
    print(f"batch_sweep needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)

# The throughput that counts as the highest: within 5 % of it.
_NEAR = 0.95
_COLUMNS = (
    ("batch_size", "batch", "d"), ("time_to_first_token_ms", "first token ms", ".2f"),
    ("time_per_output_token_ms", "ms a token", ".3f"), ("step_p50_ms", "p50 ms", ".3f"),
    ("step_p95_ms", "p95 ms", ".3f"), ("step_p99_ms", "p99 ms", ".3f"),
    ("tokens_per_s_per_sequence", "tokens/s each", ".1f"), ("tokens_per_s_aggregate", "tokens/s in all", ".1f"),
    ("kv_cache_bytes", "KV bytes", "d"), ("gpu_utilization_pct", "GPU %", ".0f"), ("power_w", "W", ".0f"),
    ("joules_per_token", "J a token", ".3g"),
)  # fmt: skip


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = Parser("batch_sweep", __doc__)
    add = parser.add_argument
    add("--batches", type=positive_list, default=[1, 2, 4, 8], metavar="N,N,…", help="batch sizes (default: 1,2,4,8)")
    add("--auto", action="store_true", help="search the largest batch that fits, and the best one")
    add("--most", type=positive, default=4096, metavar="N", help="--auto looks no further (default: 4096)")
    add("--time-limit", type=positive_number, default=60.0, metavar="SECONDS",
        help="--auto on a CPU: the search ends after this time, and a batch is refused whose one decode would take a "
        "quarter of it (default: 60)")  # fmt: skip
    add("--memory-limit-gb", type=positive_number, metavar="GB",
        help="--auto on a CPU: weights and cache may take so much, in 10^9 bytes (default: half of what is "
        "available)")  # fmt: skip
    add_common(parser, bench_iters=5, without=("batch-size",))
    parser.set_defaults(max_new_tokens=16, prompt_len=64)
    options = parser.parse_args(argv)
    completed(parser, options)
    return options


class Limits:
    """Why a batch does not fit: memory on any device, time and predicted bytes on a CPU only."""

    def __init__(self, model: Gpt, options: argparse.Namespace) -> None:
        """Read the clock and the memory."""
        self._model, self._options = model, options
        self._begin, self._slowest_s = time.monotonic(), (1, 0.0)
        self.on_cpu = options.device.type == "cpu"
        given, free = options.memory_limit_gb, memory_of(options.device)[0]
        self.memory_bytes = given * 1e9 if given else (free / 2 if free and self.on_cpu else None)

    def misfit(self, batch: int) -> str | None:
        """Return why `batch` does not fit, None where it does."""
        if self.on_cpu and (why := self._refused(batch)):
            return why
        options = self._options
        work = Work(batch, options.prompt_len, options.max_new_tokens)
        begin = time.monotonic()
        why = misfit_of(lambda: decode_once(self._model, work, options.seed, annotate.Laps(str(options.device))))
        if why is None:
            self._slowest_s = (batch, time.monotonic() - begin)
        return why

    def _refused(self, batch: int) -> str | None:
        """Return why `batch` is not even tried on a CPU, whose memory would be used up by swapping, not by an error."""
        if self.memory_bytes is not None:
            needed = predicted_bytes(self._options.shape, self._options.dtype, batch)
            if needed > self.memory_bytes:
                allowed = self.memory_bytes / 1e9
                return f"{needed / 1e9:.2f} GB of weights and cache are above the limit of {allowed:.2f} GB"
        last, took_s = self._slowest_s
        limit = self._options.time_limit
        # Time grows at most with the batch.
        if took_s * batch / last > limit / 4 or time.monotonic() - self._begin > limit:
            return f"the time limit of {limit:g} s"
        return None


def chosen_batches(model: Gpt, options: argparse.Namespace) -> tuple[list[int], Found | None, list[str]]:
    """Return what is to be measured, and with --auto what the search found and how it was bounded."""
    if not options.auto:
        return sorted(set(options.batches)), None, []
    limits = Limits(model, options)
    found = largest_that_fits(limits.misfit, options.most)
    notes = [f"largest batch {found.largest} of {len(found.tried)} tried; it ended by: {found.reason}"]
    if limits.on_cpu:
        bound = f"{limits.memory_bytes / 1e9:.2f} GB and " if limits.memory_bytes is not None else ""
        notes.append(f"on a CPU the search is bounded by {bound}{options.time_limit:g} s, not by running out of memory")
    powers = [1 << power for power in range(found.largest.bit_length())] if found.largest else []
    return sorted({*powers, found.largest} - {0}), found, notes


def measured_batch(model: Gpt, batch: int, options: argparse.Namespace) -> Point | None:
    """Return what `batch` took, None where memory ran out.

    Raises:
        RuntimeError: it failed for another reason.
    """
    plan = annotate.Plan(options.warmup_iters, options.bench_iters, options.seed, str(options.device))
    try:
        return measure_point(model, Work(batch, options.prompt_len, options.max_new_tokens), plan)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return None


def best_of(rows: list[dict[str, float | str | None]]) -> dict[str, float | str | None]:
    """Return the row of the smallest batch whose throughput in all is within 5 % of the highest."""
    highest = max(row["tokens_per_s_aggregate"] for row in rows)
    return min((row for row in rows if row["tokens_per_s_aggregate"] >= _NEAR * highest), key=lambda r: r["batch_size"])


def metrics_of(rows: list[dict[str, float | str | None]], found: Found | None) -> dict[str, float | None]:
    """Return what the sweep says as a whole."""
    best = best_of(rows)
    return {
        "largest_batch": found.largest if found else None,
        "smallest_batch_refused": found.refused if found else None,
        "best_batch": best["batch_size"],
        "best_tokens_per_s_aggregate": best["tokens_per_s_aggregate"],
        "best_tokens_per_s_per_sequence": best["tokens_per_s_per_sequence"],
        "best_time_to_first_token_ms": best["time_to_first_token_ms"],
        "best_time_per_output_token_ms": best["time_per_output_token_ms"],
        "best_joules_per_token": best["joules_per_token"],
        "speedup_over_smallest_batch": best["tokens_per_s_aggregate"] / rows[0]["tokens_per_s_aggregate"],
    }


def main(argv: list[str] | None = None) -> None:
    """Run the workload."""
    options = parse_arguments(argv)
    try:
        model = model_of(options)
    except ValueError as error:
        print(f"batch_sweep: {error}", file=sys.stderr)
        sys.exit(1)
    batches, found, notes = chosen_batches(model, options)
    points = {batch: measured_batch(model, batch, options) for batch in batches}
    done = {f"batch_{batch}": point for batch, point in points.items() if point is not None}
    if not done:
        print(f"batch_sweep: no batch fits: {found.reason if found else 'out of memory'}", file=sys.stderr)
        sys.exit(1)
    rows = [point.row if point else {"status": "out of memory", "batch_size": batch} for batch, point in points.items()]
    notes += [f"batch {batch}: out of memory" for batch, point in points.items() if point is None]
    measured_rows = [point.row for point in done.values()]
    if (missing := next(iter(done.values())).no_gpu_use) is not None:
        notes.append(f"no utilization, clocks, power or energy: {missing}")
    metrics = metrics_of(measured_rows, found)
    if options.results:
        _write(options, metrics, rows, (done, notes))
    print(table(rows, _COLUMNS))
    print("\n".join(f"batch_sweep: {note}" for note in notes))
    print(f"batch_sweep: best batch {metrics['best_batch']}, {metrics['best_tokens_per_s_aggregate']:.1f} tokens/s in "
          f"all, {metrics['best_tokens_per_s_per_sequence']:.1f} a sequence")  # fmt: skip


def _write(options: argparse.Namespace, metrics: dict, rows: list[dict], made: tuple[dict, list[str]]) -> None:
    done, notes = made
    tokens = sum((options.warmup_iters + options.bench_iters) * options.max_new_tokens for _ in done)
    own = {"timed": TIMED, "tokens_run": tokens, "metrics": metrics, "rows": rows, "notes": notes}
    machine = annotate.describe_machine(str(options.device), options.dtype)
    measured = annotate.merged({name: point.measured for name, point in done.items()})
    data = annotate.results_of("batch_sweep", settings_of(options), machine, measured, own)
    annotate.write_results(options.results, data)


if __name__ == "__main__":
    main()
