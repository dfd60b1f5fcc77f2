"""nsys exports: ingest beside pandas, and the kernel summary beside nsys's own, as whole processes.

Usage: bench_nsys.py [EXPORT.sqlite]; without an export, one with a million kernels is made first.
"""

import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

import numpy as np

from paired import apart, measure, report

NSIGHTKIT = str(Path(sys.executable).with_name("nsightkit"))
ROUNDS = 5
KERNEL = [
    *("start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid", "demangledName", "shortName"),
    *("registersPerThread", "gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ"),
    *("staticSharedMemory", "dynamicSharedMemory", "localMemoryPerThread", "graphNodeId"),
]
RUNTIME = ["start", "end", "eventClass", "globalTid", "correlationId", "nameId", "returnValue"]
NVTX = [
    *("start", "end", "eventType", "category", "color", "text", "globalTid", "endGlobalTid", "textId", "domainId"),
    *("uint64Value", "int64Value", "doubleValue", "uint32Value", "int32Value", "floatValue"),
]
TABLES = {"CUPTI_ACTIVITY_KIND_KERNEL": KERNEL, "CUPTI_ACTIVITY_KIND_RUNTIME": RUNTIME, "NVTX_EVENTS": NVTX}
UNUSED = ["launchType", "cacheConfig", "localMemoryTotal", "gridId", "sharedMemoryExecuted", "mangledName"]
# The columns that our tables are made of, in the plainest way.
PANDAS = """
import sqlite3, sys, pandas as pd
database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
tables = TABLES | {"StringIds": ["id", "value"]}
for table, columns in tables.items():
    names = ", ".join(f'"{name}"' for name in columns)
    pd.read_sql(f"SELECT {names} FROM {table}", database).to_parquet(f"{sys.argv[2]}/{table}.parquet")
"""


def make_export(path: Path, kernels: int = 1_000_000, names: int | None = None) -> None:
    """Write an export with a call a kernel, and a range around every five; they have `names` names, or each its own."""
    random = np.random.default_rng(7)
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA journal_mode=off; PRAGMA synchronous=off")
    connection.execute("CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL)")
    functions = [f"void at::native::kernel_{i}<float, {i}ul>(int, std::array<char*, {i}ul>)" for i in range(60)]
    connection.executemany("INSERT INTO StringIds VALUES (?, ?)", enumerate([*functions, "cudaLaunchKernel_v7000"]))
    # Calls of one thread take turns, and so do its ranges.
    start = np.cumsum(random.integers(6001, 20000, kernels)) + 10**9
    which = np.minimum(random.zipf(1.35, kernels) - 1, 59)
    process = np.repeat((random.integers(0, 2, kernels // 5 + 1) + 1_204_511) << 24, 5)[:kernels]
    fill(connection, "CUPTI_ACTIVITY_KIND_KERNEL", [*KERNEL, *UNUSED], kernels, {
        "start": start, "end": start + 2000 + 500 * which, "streamId": 7 + random.integers(0, 20, kernels),
        "correlationId": np.arange(kernels) + 1, "globalPid": process, "demangledName": which, "shortName": which,
        "registersPerThread": 16 + which * 7 % 200, "gridX": 1 << which % 13, "blockX": 32 << which % 5,
        "dynamicSharedMemory": which % 3 * 16384, "mangledName": which,
    })  # fmt: skip
    fill(connection, "CUPTI_ACTIVITY_KIND_RUNTIME", RUNTIME, kernels, {
        "start": start - 9000, "end": start - 4000, "globalTid": process + 1, "correlationId": np.arange(kernels) + 1,
        "nameId": np.full(kernels, 60),
    })  # fmt: skip
    ranges = kernels // 5
    fill(connection, "NVTX_EVENTS", NVTX, ranges, {
        "start": start[::5][:ranges] - 9500, "end": start[4::5][:ranges] - 3500, "eventType": np.full(ranges, 59),
        "text": [f"aten::addmm, op_id = {i % (names or ranges)}" for i in range(ranges)],
        "globalTid": process[::5][:ranges] + 1,
        **{name: [None] * ranges for name in ("category", "endGlobalTid", "textId", *NVTX[10:])},
    })  # fmt: skip
    connection.commit()
    connection.close()


def fill(connection, table, columns, count, given):
    kinds = {"text": "TEXT", "doubleValue": "REAL", "floatValue": "REAL"}
    connection.execute(f"CREATE TABLE {table} (" + ", ".join(f'"{c}" {kinds.get(c, "INTEGER")}' for c in columns) + ")")
    values = [given.get(name, np.zeros(count, np.int64)) for name in columns]
    lists = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    connection.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(columns))})", zip(*lists, strict=True))


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-nsys-"))
    try:
        export = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "million.sqlite"
        if not export.exists():
            apart(make_export, export)
        script = folder / "with_pandas.py"
        script.write_text(f"TABLES = {TABLES!r}\n{PANDAS}")
        ingest = {
            "nsightkit ingest": [NSIGHTKIT, "ingest", str(export), "--force", "-o", str(folder / "run")],
            "pandas read_sql + to_parquet": [sys.executable, str(script), str(export), str(folder)],
        }
        report("export → parquet", measure(ingest, ROUNDS), "8 × faster than pandas, at most 300 MB")
        summary = {"nsightkit top": [NSIGHTKIT, "top", str(export)]}
        nsys = shutil.which("nsys") or str(Path.home() / ".cache" / "nsight" / "bin" / "nsys")
        if Path(nsys).exists():
            stats = [nsys, "stats", "--report", "cuda_gpu_kern_sum", "--format", "csv", str(export)]
            summary["nsys stats --report cuda_gpu_kern_sum"] = stats
        report("kernel summary", measure(summary, ROUNDS), "3 × faster than nsys stats")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
