"""Decodes prompts of several lengths and fits how the times grow: a line or a parabola.

The first repetition of each length is cold (allocator, libraries, page faults): it is kept apart, said, and in no
median and no fit. Prefill is fitted over the prompt length; a decode step over the mean number of positions it
sees, at which a step that reads a KV cache grows along a line. The better fit is the one that foretells left-out
points better.

    python sequence_sweep.py --lengths 32,64,128,256,512
    python sequence_sweep.py --kv-cache false --results results.json
"""

# nsightkit: deterministic
import argparse
import sys
from dataclasses import asdict

try:
    from models.decoding import TIMED, Point, Work, cold_ratio, measure_point, table
    from models.fits import Fit, better, fitted
    from models.options import Parser, add_common, completed, model_of, positive_list, settings_of, truth
    from models.search import ran_out
    from nsightkit import annotate
except ModuleNotFoundError as error:
    print(f"sequence_sweep needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)

_COLUMNS = (
    ("prompt_len", "prompt", "d"), ("time_to_first_token_ms", "first token ms", ".2f"),
    ("time_per_output_token_ms", "ms a token", ".3f"), ("step_p50_ms", "p50 ms", ".3f"),
    ("step_p95_ms", "p95 ms", ".3f"), ("step_p99_ms", "p99 ms", ".3f"),
    ("tokens_per_s_per_sequence", "tokens/s each", ".1f"), ("tokens_per_s_aggregate", "tokens/s in all", ".1f"),
    ("kv_cache_bytes", "KV bytes", "d"), ("cold_decode_ms", "cold decode ms", ".2f"),
    ("decode_total_ms", "decode ms", ".2f"), ("gpu_utilization_pct", "GPU %", ".0f"), ("power_w", "W", ".0f"),
    ("joules_per_token", "J a token", ".3g"),
)  # fmt: skip


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = Parser("sequence_sweep", __doc__)
    parser.add_argument("--lengths", type=positive_list, default=[16, 32, 64, 128, 256], metavar="N,N,…",
                        help="tokens of the prompt (default: 16,32,64,128,256)")  # fmt: skip
    parser.add_argument("--kv-cache", type=truth, nargs="?", const=True, default=True, metavar="true|false",
                        help="keep keys and values of earlier tokens (default: true)")  # fmt: skip
    add_common(parser, bench_iters=5, without=("prompt-len",))
    parser.set_defaults(warmup_iters=0)
    options = parser.parse_args(argv)
    options.lengths = sorted(set(options.lengths))
    completed(parser, options, options.lengths[-1] + options.max_new_tokens)
    return options


def measured_lengths(options: argparse.Namespace) -> tuple[dict[int, Point], list[str]]:
    """Return what each length took, the longest last, and what is to be said of it.

    Raises:
        ValueError: the weights are not those of the model.
        RuntimeError: a length failed for another reason than memory.
    """
    model, points, notes = model_of(options), {}, []
    plan = annotate.Plan(options.warmup_iters, options.bench_iters + 1, options.seed, str(options.device))
    for length in options.lengths:
        work = Work(options.batch_size, length, options.max_new_tokens, options.kv_cache)
        try:
            points[length] = measure_point(model, work, plan, cold=True)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            notes.append(f"prompt {length}: out of memory; longer ones were not tried")
            break
    return points, notes


def fits_of(rows: list[dict], options: argparse.Namespace) -> dict[str, tuple[Fit | None, Fit | None]]:
    """Return the line and the parabola through prefill and through a decode step."""
    lengths = [float(row["prompt_len"]) for row in rows]
    # Step i of n sees the prompt and i tokens, i from 1 to n.
    seen = [length + (options.max_new_tokens + 1) / 2 for length in lengths]
    series = {
        "prefill": (lengths, [row["time_to_first_token_ms"] for row in rows]),
        "step": (seen, [row["time_per_output_token_ms"] for row in rows]),
    }
    return {name: (fitted(x, y, 1), fitted(x, y, 2)) for name, (x, y) in series.items()}


def metrics_of(rows: list[dict], fits: dict[str, tuple[Fit | None, Fit | None]]) -> dict[str, float | None]:
    """Return the fits' coefficients in ms, ms a token and ms a token²; null where the points are too few."""
    metrics: dict[str, float | None] = {"cold_over_warm_ratio": cold_ratio(rows)}
    for name, both in fits.items():
        for kind, fit in zip(("linear", "quadratic"), both, strict=True):
            found = asdict(fit) if fit else dict.fromkeys(("constant", "linear", "quadratic", "r_squared", "left_out"))
            units = {"constant": "constant_ms", "linear": "slope_ms", "quadratic": "curvature_ms",
                     "r_squared": "r_squared", "left_out": "left_out_error_share"}  # fmt: skip
            metrics |= {f"{name}_{kind}_{units[key]}": value for key, value in found.items()}
    return metrics


def sentences(fits: dict[str, tuple[Fit | None, Fit | None]], ratio: float | None) -> list[str]:
    """Return the fits and the cold runs in words."""
    said = []
    for name, (line, parabola) in fits.items():
        kind = better(line, parabola)
        if kind is None:
            said.append(f"{name}: too few lengths for a line and a parabola; give four or more")
            continue
        fit = line if kind == "linear" else parabola
        curve = f" + {fit.quadratic:.3g}·n²" if kind == "quadratic" else ""
        shape = "line" if kind == "linear" else "parabola"
        said.append(
            f"{name} grows along a {shape}: {fit.constant:.4g} + {fit.linear:.4g}·n{curve} ms, R² {fit.r_squared:.4f}; "
            f"a left-out length is foretold to {100 * fit.left_out:.1f} % (other fit "
            f"{100 * _other(kind, line, parabola):.1f} %)"
        )
    if ratio is not None:
        said.append(f"the first repetition of each length is cold and left out: {ratio:.2f} times the rest's median")
    return said


def _other(kind: str, line: Fit, parabola: Fit) -> float:
    return parabola.left_out if kind == "linear" else line.left_out


def main(argv: list[str] | None = None) -> None:
    """Run the workload."""
    options = parse_arguments(argv)
    try:
        points, notes = measured_lengths(options)
    except ValueError as error:
        print(f"sequence_sweep: {error}", file=sys.stderr)
        sys.exit(1)
    if not points:
        print(f"sequence_sweep: {notes[0]}", file=sys.stderr)
        sys.exit(1)
    rows = [point.row for point in points.values()]
    fits = fits_of(rows, options)
    metrics = metrics_of(rows, fits)
    notes += sentences(fits, metrics["cold_over_warm_ratio"])
    if (missing := next(iter(points.values())).no_gpu_use) is not None:
        notes.append(f"no utilization, clocks, power or energy: {missing}")
    if options.results:
        _write(options, metrics, points, notes)
    print(table(rows, _COLUMNS))
    print("\n".join(f"sequence_sweep: {note}" for note in notes))


def _write(options: argparse.Namespace, metrics: dict, points: dict[int, Point], notes: list[str]) -> None:
    runs = (options.warmup_iters + options.bench_iters + 1) * len(points)
    own = {"timed": f"{TIMED}; the first repetition of each length is only in cold_decode_ms",
           "tokens_run": runs * options.max_new_tokens, "metrics": metrics,
           "rows": [point.row for point in points.values()], "notes": notes}  # fmt: skip
    machine = annotate.describe_machine(str(options.device), options.dtype)
    measured = annotate.merged({f"prompt_{length}": point.measured for length, point in points.items()})
    data = annotate.results_of("sequence_sweep", settings_of(options), machine, measured, own)
    annotate.write_results(options.results, data)


if __name__ == "__main__":
    main()
