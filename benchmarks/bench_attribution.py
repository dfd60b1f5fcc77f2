"""Attribution of kernels to ranges: beside a numba stack sweep, growth from half a million to five, beside nsys stats.

Usage: bench_attribution.py [EXPORT.sqlite]; peers come from requirements.txt and are left out where they are missing.

In: launches and ranges made from a seed, eight threads in two processes with ranges four deep. Out: millions of kernels
a second and ns per kernel, as medians of rounds taken in turn, and with an export of about 200 000 kernels the wall
time of the whole command beside `nsys stats --report nvtx_kern_sum`.
"""

import shutil
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.ranges.range_forest import build_forest
from nsightkit.analysis.ranges.range_summary import RangeSummary, summarize_ranges
from nsightkit.analysis.work.operations import by_capture
from paired import measure, report

ROUNDS = 5
SIZES = (500_000, 1_000_000, 2_000_000, 5_000_000)
THREADS = 8
PROCESSES = 2
PER_OPERATOR = 5
DEPTHS = (12 * 4 * 4, 4 * 4, 4, 1)  # operators in a step, a layer, a module, an operator


def main() -> None:
    interval_step()
    growth()
    if len(sys.argv) > 1:
        whole_command(sys.argv[1])


def thread_of(number: int, kernels: int) -> dict[str, np.ndarray]:
    """Launches of one thread and the ranges around them, as columns."""
    rng = np.random.default_rng(number)
    operators = max(1, kernels // PER_OPERATOR)
    call_ns = rng.integers(1500, 8000, (operators, PER_OPERATOR))
    pause_ns = rng.integers(0, 2000, (operators, PER_OPERATOR))
    step_ns = np.concatenate([pause_ns[..., None], call_ns[..., None]], axis=2).reshape(operators, -1)
    step_ns = np.concatenate([np.full((operators, 1), 2000), step_ns, np.full((operators, 1), 500)], axis=1)
    edges = np.cumsum(step_ns.ravel()).reshape(operators, -1)
    starts, ends = [], []
    for depth, size in enumerate(DEPTHS):
        first = np.arange(0, operators, size)
        last = np.minimum(first + size, operators) - 1
        starts.append(edges[first, 0] - (len(DEPTHS) - depth) * 100)
        ends.append(edges[last, -1] - depth * 50)
    names = [np.arange(s.size) % period + offset for s, period, offset in
             zip(starts, (1, 12, 4, 8), (0, 1, 13, 17), strict=True)]  # fmt: skip
    return {
        "start": edges[:, 1:-1:2].ravel(), "end": edges[:, 2:-1:2].ravel(),
        "range_start": np.concatenate(starts), "range_end": np.concatenate(ends), "name": np.concatenate(names),
    }  # fmt: skip


def capture_of(kernels: int) -> dict[str, np.ndarray]:
    """Columns of all threads, calls in the order of time."""
    parts = [thread_of(number, kernels // THREADS) for number in range(THREADS)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns["lane"] = np.repeat(np.arange(THREADS), [part["start"].size for part in parts]).astype(np.int32)
    columns["range_lane"] = np.repeat(np.arange(THREADS), [part["range_start"].size for part in parts]).astype(np.int32)
    order = np.argsort(columns["start"], kind="stable")
    for name in ("start", "end", "lane"):
        columns[name] = columns[name][order]
    return columns


def ours(c: dict[str, np.ndarray]) -> np.ndarray:
    """The ranges' forest, and the innermost range of each launch, as a row of the ranges."""
    forest = build_forest(c["range_lane"], c["range_start"], c["range_end"])
    call = np.arange(c["start"].size, dtype=np.int32)
    found = forest.innermost_of_calls(call, c["lane"], c["start"], c["end"])
    return np.append(forest.row, -1).astype(np.int32)[found]


def numba_sweep():  # type: ignore[no-untyped-def]  # noqa: C901
    """A stack that is swept along both sorted lists, compiled; None without numba."""
    try:
        import numba
    except ImportError:
        return None

    @numba.njit
    def sweep(order, r_order, calls, ranges):  # type: ignore[no-untyped-def]
        (lane, start, end), (r_lane, r_start, r_end) = calls, ranges
        found = np.full(start.size, -1, np.int64)
        stack = np.empty(r_start.size, np.int64)
        top, place, current = 0, 0, -1
        for k in order:
            if lane[k] != current:
                current, top = lane[k], 0
                while place < r_order.size and r_lane[r_order[place]] < current:
                    place += 1
            while place < r_order.size and r_lane[r_order[place]] == current and r_start[r_order[place]] <= start[k]:
                while top and r_end[stack[top - 1]] < r_end[r_order[place]]:
                    top -= 1
                stack[top] = r_order[place]
                top += 1
                place += 1
            while top and r_end[stack[top - 1]] < start[k]:
                top -= 1
            level = top
            while level and r_end[stack[level - 1]] < end[k]:
                level -= 1
            if level:
                found[k] = stack[level - 1]
        return found

    def run(c: dict[str, np.ndarray]) -> np.ndarray:
        span = int(max(c["end"].max(), c["range_end"].max())) + 1
        order = np.argsort(c["lane"].astype(np.int64) * span + c["start"], kind="stable")
        key = c["range_lane"].astype(np.int64) * span + c["range_start"]
        r_order = np.lexsort((-c["range_end"], key))
        calls, ranges = (tuple(c[side + name] for name in ("lane", "start", "end")) for side in ("", "range_"))
        return sweep(order, r_order, calls, ranges)

    return run


def nsys_ai_sweep(c: dict[str, np.ndarray]):  # type: ignore[no-untyped-def]
    """The sweep of nsys-ai over the same launches and ranges, its rows made before; None where it is not installed."""
    try:
        from nsys_ai.parquet_cache import _sweep_nvtx_kernel_map
    except ImportError:
        return None
    order = np.lexsort((c["range_start"], c["range_lane"]))
    ranges = [c[name][order].tolist() for name in ("range_lane", "range_start", "range_end", "name")]
    rows = list(zip(*ranges[:3], map(str, ranges[3]), strict=True))
    launches = [c[name].tolist() for name in ("lane", "start", "end")]
    kernels = [(*call, call[2] + 5000, call[2] + 8000, "k") for call in zip(*launches, strict=True)]
    return lambda: _sweep_nvtx_kernel_map(kernels, rows)


def interval_step() -> None:
    """The step from launches to innermost ranges, in memory."""
    sweep = numba_sweep()
    print("innermost range of each launch, in memory  (bar: one thread as fast as numba, flat from 1M to 5M)")
    for kernels in (1_000_000, 5_000_000):
        columns = capture_of(kernels)
        ways: dict[str, Callable[[], object]] = {"nsightkit": partial(ours, columns)}
        if sweep is not None:
            assert (sweep(columns) == ours(columns)).all(), "the two differ"
            ways["numba"] = partial(sweep, columns)
        compare(ways, columns["start"].size)
    columns = capture_of(200_000)
    peer = nsys_ai_sweep(columns)
    if peer is not None:
        print("the same beside the sweep of nsys-ai  (bar: 20 × faster)")
        compare({"nsightkit": partial(ours, columns), "nsys-ai": peer}, columns["start"].size)


def compare(ways: dict[str, Callable[[], object]], launches: int) -> None:
    """Time the ways in turn; print rates from medians, and each way's time by that of the first, round by round."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            taken[name].append((seconds(work), seconds(work, time.process_time)))
    first = next(iter(taken.values()))
    for name, times in taken.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        ratios = [
            statistics.median(mine[at] / theirs[at] for mine, theirs in zip(times, first, strict=True)) for at in (0, 1)
        ]
        print(
            f"  {launches:>9} launches, {name:<22} {launches / wall / 1e6:6.2f} M/s, {ratios[0]:6.2f} × the first;  "
            f"{launches / cpu / 1e6:6.2f} M a second of CPU, {ratios[1]:6.2f} ×"
        )


def growth() -> dict[int, float]:
    """Join, attribution and sums by name and path, from Arrow tables in memory; ns of CPU per kernel by size."""
    print("join, attribution, sums by name and path: ns of CPU per kernel  (bar: 5M at most 1.2 × of 1M)")
    cost = {}
    for kernels in SIZES:
        tables = arrow_tables(capture_of(kernels))
        count = tables["kernel_launches"].num_rows
        times = [seconds(partial(summed, tables), time.process_time) for _ in range(3)]
        cost[count] = statistics.median(times) / count * 1e9
        print(f"  {count:>9} kernels: {cost[count]:6.0f} ns/kernel")
    sizes = sorted(cost)
    print(f"  5M by 1M: {cost[sizes[-1]] / cost[sizes[1]]:.2f} ×")
    return cost


def summed(tables: dict[str, pa.Table]) -> RangeSummary:
    return summarize_ranges(attribute(part) for part in by_capture(tables))


def arrow_tables(c: dict[str, np.ndarray]) -> dict[str, pa.Table]:
    """The columns as the tables of a capture; ids restart in each process."""
    process = (c["lane"] % PROCESSES).astype(np.int64)
    ids = np.empty(process.size, np.int64)
    for number in range(PROCESSES):
        mine = process == number
        ids[mine] = np.arange(int(mine.sum())) + 100
    names = pa.array([f"range {number}" for number in range(32)])
    size, ranges = process.size, c["range_lane"].size
    capture = pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), pa.array(["bench"]))
    capture_of_ranges = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ranges, np.int32)), pa.array(["bench"]))
    kernel = pa.DictionaryArray.from_arrays(
        pa.array(np.arange(size, dtype=np.int32) % 40), pa.array([f"k{i}" for i in range(40)])
    )
    call = pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), pa.array(["cudaLaunchKernel_v7000"]))
    kind = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ranges, np.int32)), pa.array(["push_pop"]))
    return {
        "kernel_launches": pa.table({
            "capture_id": capture, "kernel_name": kernel, "start_ns": c["end"] + 5000,
            "duration_ns": np.full(size, 3000),
            "device_id": process, "stream_id": c["lane"], "process_id": process << 24, "correlation_id": ids,
        }),
        "cuda_api_calls": pa.table({
            "capture_id": capture, "name": call, "start_ns": c["start"], "duration_ns": c["end"] - c["start"],
            "process_id": process << 24, "thread_id": (process << 24) + c["lane"], "correlation_id": ids,
        }),
        "nvtx_ranges": pa.table({
            "capture_id": capture_of_ranges,
            "name": pa.DictionaryArray.from_arrays(pa.array(c["name"].astype(np.int32)), names),
            "kind": kind, "start_ns": c["range_start"], "duration_ns": c["range_end"] - c["range_start"],
            "process_id": (c["range_lane"] % PROCESSES).astype(np.int64) << 24,
            "thread_id": ((c["range_lane"] % PROCESSES).astype(np.int64) << 24) + c["range_lane"],
        }),
    }  # fmt: skip


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    begin = clock()
    work()
    return clock() - begin


def whole_command(export: str) -> None:
    """The command on an export beside NVIDIA's report, whole processes in turn."""
    commands = {
        "nsightkit ranges": [str(Path(sys.executable).with_name("nsightkit")), "ranges", export, "--limit", "0"]
    }
    nsys = shutil.which("nsys")
    if nsys:
        line = [
            nsys,
            "stats",
            "--report",
            "nvtx_kern_sum",
            "--format",
            "csv",
            "--force-export=false",
            "--output",
            "-",
            export,
        ]
        commands["nsys stats --report nvtx_kern_sum"] = line
    report(f"ranges of {export}", measure(commands, ROUNDS), "5 × faster than nsys")


if __name__ == "__main__":
    main()
