"""Tells what Python and launches cost: CPU time of an operator against GPU time, launches a token, Python stacks.

With PATH it reads a capture of nsys or torch.profiler, or a run of nsightkit. Without one it first profiles a small
decode under torch.profiler, which also works without a GPU: there an operator does its work on the CPU, and there are
no launches. Times are those of the ranges called --range, with tracing on: compare, do not quote.

    python python_overhead.py --variant v2
    python python_overhead.py profile.sqlite --range decode --tokens 16
"""

# nsightkit: no tokens
import argparse
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

try:
    from nsightkit import annotate
    from nsightkit.analysis.work.host_cost import HostCost, host_cost
    from nsightkit.analysis.work.operations import by_capture
    from nsightkit.errors import NsightkitError
    from nsightkit.ingest import open_dataset
    from nsightkit.ingest.python_stacks import PythonFrame, python_frames
except ModuleNotFoundError as error:
    print(f"python_overhead needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)

_TABLES = ("kernel_launches", "cuda_api_calls", "memory_operations", "graph_launches", "nvtx_ranges")
_TOKENS = 16


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="python_overhead", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("path", nargs="?", type=Path, metavar="PATH", help="capture or run (default: profile a small decode now)")
    add("--range", default="decode", metavar="NAME", help="what is looked at (default: decode)")
    add("--tokens", type=int, metavar="N", help="tokens in these ranges (default: what the run says)")
    add("--variant", default="v1", metavar="NAME", help="without PATH: variant of kv_variants (default: v1)")
    add("--threads", type=int, default=1, metavar="N", help="without PATH: threads of torch (default: 1)")
    add("--results", type=annotate.results_file, metavar="PATH", help="write the sums there as JSON")
    options = parser.parse_args(argv)
    for name in ("tokens", "threads"):
        number = getattr(options, name)
        if number is not None and number < 1:
            parser.error(f"argument --{name}: must be at least 1")
    return options


def profiled(options: argparse.Namespace, folder: Path) -> Path:
    """Run a small decode under torch.profiler and return its run directory."""
    run = folder / "run"
    words = [sys.executable, "-m", "nsightkit", "profile", "kv_variants", "--tool", "torch", "--no-overhead",
             "--no-render", "-o", str(run), "--", "--variant", options.variant, "--layers", "4", "--heads", "4",
             "--width", "128", "--vocabulary", "512", "--prompt-len", "32", "--max-new-tokens", str(_TOKENS),
             "--warmup-iters", "0", "--bench-iters", "1", "--phases", "false",
             "--threads", str(options.threads)]  # fmt: skip
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        # The last line is the reason; before it stands the usage of kv_variants, after it our pointer to the docs.
        said = [line.strip() for line in done.stderr.splitlines() if line.strip() and not line.startswith("more: ")]
        reason = said[-1] if said else f"exit code {done.returncode}"
        raise NsightkitError(f"the decode could not be profiled: {reason}", slug="workload-failed")
    options.tokens = options.tokens or _TOKENS
    return run


def costs_of(path: Path, name: str) -> tuple[list[tuple[str, HostCost]], list[PythonFrame], int | None]:
    """Return (capture, its cost) of each capture with ranges called `name`, Python's frames, and the run's tokens."""
    dataset = open_dataset([path])
    if not dataset.info.captures and dataset.failures:
        raise NsightkitError(dataset.failures[0].reason, slug=dataset.failures[0].slug)
    operators = dataset.arrow("cpu_operators") if dataset.has("cpu_operators") else None
    parts = by_capture({table: dataset.arrow(table) for table in _TABLES if dataset.has(table)})
    found = [(t.capture_id, cost) for t in parts if (cost := host_cost(t, operators, name)) is not None]
    stored = sorted((path / "capture").glob("*.sqlite")) if path.is_dir() else [path]
    frames = [frame for file in stored if file.suffix == ".sqlite" for frame in python_frames(file)]
    return found, frames, dataset.info.tokens


def metrics_of(cost: HostCost, tokens: int | None) -> dict[str, float | None]:
    """Return the cost, in all and a token."""
    each = {
        "operators": cost.operator_count, "operator_ns": cost.operator_ns, "between_operators_ns": cost.between_ns,
        "launches": cost.launch_count, "launch_call_ns": cost.launch_call_ns, "gpu_ns": cost.gpu_ns,
        "wall_ns": cost.wall_ns,
    }  # fmt: skip
    found: dict[str, float | None] = {
        f"{name}_per_token": value / tokens if value is not None and tokens else None for name, value in each.items()
    }
    return found | {"operator_mean_ns": cost.operator_mean_ns, "gpu_busy_share": cost.busy_share}


def lines_of(capture: str, cost: HostCost, tokens: int | None) -> list[str]:
    """Return the cost in words."""
    of = f" for {tokens} tokens" if tokens else ""
    ranges = "range" if cost.range_count == 1 else "ranges"
    said = [f"{capture}: {cost.range_count} {ranges} '{cost.range_name}', {cost.wall_ns / 1e6:.3f} ms{of}, tracing on"]
    if cost.operator_count:
        said.append(f"  {cost.operator_count} operator calls, {cost.operator_mean_ns / 1e3:.2f} µs of CPU each; "
                    f"{100 * cost.between_ns / cost.wall_ns:.1f} % of the time lies between operators")  # fmt: skip
    if cost.launch_count:
        said.append(f"  {cost.launch_count} kernels, {cost.gpu_ns / cost.launch_count / 1e3:.2f} µs of GPU each; "
                    f"the GPU works {100 * cost.busy_share:.1f} % of the ranges' time")  # fmt: skip
        if cost.launch_call_count:
            said.append(f"  {cost.launch_call_count} launch calls, "
                        f"{cost.launch_call_ns / cost.launch_call_count / 1e3:.2f} µs of CPU each")  # fmt: skip
    else:
        said.append("  no kernel ran on a GPU here: an operator's CPU time is its work as well")
    if tokens:
        per = [(cost.operator_count, "operator calls"), (cost.launch_count, "launches")]
        said.append("  a token: " + ", ".join(f"{n / tokens:.1f} {what}" for n, what in per if n))
    return said


def main(argv: list[str] | None = None) -> None:
    """Run the analysis."""
    options = parse_arguments(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = options.path or profiled(options, Path(folder))
            found, frames, tokens = costs_of(path, options.range)
    except NsightkitError as error:
        print(f"python_overhead: {error}", file=sys.stderr)
        sys.exit(1)
    tokens = options.tokens or tokens
    if not found:
        print(f"python_overhead: {options.path or 'the decode'}: no range called '{options.range}'", file=sys.stderr)
        sys.exit(1)
    for capture, cost in found:
        print("\n".join(lines_of(capture, cost, tokens)))
    if frames:
        print("Python functions by the CPU time of the CUDA calls that they made:")
    for frame in frames[:20]:
        print(f"  {frame.call_ns / 1e6:9.3f} ms  {frame.call_count:7d} calls  {frame.function} ({frame.file})")
    if not frames:
        print("no Python stacks: nsys records them with 'nsightkit profile --tool nsys --python-stacks'")
    if options.results:
        _write(options, found, frames, tokens)


def _write(options: argparse.Namespace, found: list, frames: list[PythonFrame], tokens: int | None) -> None:
    measured = annotate.measure(lambda laps: None, annotate.Plan(warmup=0, repeats=1))
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()
                if name != "results"}  # fmt: skip
    rows = [{"row": "capture", "capture": capture, **asdict(cost)} for capture, cost in found]
    rows += [{"row": "function", "function": frame.function, "file": frame.file, "call_count": frame.call_count,
              "call_ns": frame.call_ns} for frame in frames]  # fmt: skip
    own = {"timed": "nothing: sums over a capture", "tokens_run": tokens or 0, "rows": rows,
           "metrics": metrics_of(found[0][1], tokens)}  # fmt: skip
    machine = annotate.describe_machine("cpu", "as captured")
    annotate.write_results(options.results, annotate.results_of("python_overhead", settings, machine, measured, own))


if __name__ == "__main__":
    main()
