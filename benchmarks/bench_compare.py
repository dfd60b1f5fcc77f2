"""Compares two runs of a million launches, against reading their tables: ``python benchmarks/bench_compare.py``.

The bar: comparing takes at most 3 times as long as reading both tables of launches alone. Best of three each.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from nsightkit import parquet
from nsightkit.analysis.compare.comparison import compare_runs
from nsightkit.cli.sides import load_side
from nsightkit.run import Run
from nsightkit.tables import KERNEL_LAUNCHES
from tests.builders.pairs import write_run

KERNELS = 120
BAR = 3.0


def big_rows(launches: int, seed: int):
    rng = np.random.default_rng(seed)
    codes = np.tile(np.arange(KERNELS), launches // KERNELS + 1)[:launches]
    durations = rng.lognormal(9, 0.5, launches).astype(np.int64)
    names = [f"void library::kernel_{number}<float, {number % 7}, (bool)0>(Params)" for number in range(KERNELS)]
    if seed:
        names[:10] = [f"void library::renamed_{number}<float>(Params)" for number in range(10)]
    ones = np.ones(launches, np.int32)
    import pyarrow as pa

    columns = {
        "capture_id": pa.DictionaryArray.from_arrays(np.zeros(launches, np.int32), ["nsys"]),
        "kernel_name": pa.DictionaryArray.from_arrays(codes.astype(np.int32), names),
        "start_ns": np.cumsum(durations + 300),
        "duration_ns": durations,
        "device_id": ones * 0,
        "stream_id": ones * 7,
        "process_id": ones.astype(np.int64),
        "correlation_id": np.arange(launches),
        "grid_x": (codes % 5 + 1).astype(np.int32) * 64,
        "block_x": ones * 128,
        **{f"{part}_{axis}": ones for part in ("grid", "block") for axis in "yz"},
    }
    return parquet.conform(KERNEL_LAUNCHES, pa.table(columns))


def best_of(function, times: int = 3) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return min(taken)


def main() -> int:
    launches = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        paths = [write_run(Path(folder) / name, big_rows(launches, seed)) for seed, name in enumerate(("base", "head"))]

        def read() -> None:
            for path in paths:
                parquet.read_table(KERNEL_LAUNCHES, Run(path).table_paths("kernel_launches"))

        def compare() -> None:
            base, head = (load_side(str(path), Path(folder)) for path in paths)
            found = compare_runs(base.compared(), head.compared())
            assert found.whole.base.sum_launches == launches

        reading, comparing = best_of(read), best_of(compare)
    ratio = comparing / reading
    print(f"{launches} launches a side: read {reading:.3f} s, compare {comparing:.3f} s, ratio {ratio:.2f} (bar {BAR})")
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
