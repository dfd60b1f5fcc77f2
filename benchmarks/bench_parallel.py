"""Many captures at once: `nsightkit ingest` of a folder with one process and with two, as whole commands in turn.

Usage: bench_parallel.py [EXPORTS [KERNELS]]; by default 16 exports of 200 000 kernels each, made first.

In: exports made from a seed. Out: wall times of both, and the time of two processes by half the time of one, whose bar
is 1.15; CPU time beside it, which tells what a busy machine hides: wall times mean little where others use its cores.
"""

import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_nsys import make_export

NSIGHTKIT = str(Path(sys.executable).with_name("nsightkit"))
ROUNDS = 3
JOBS = 2
BAR = 1.15


def main() -> None:
    exports, kernels = (*map(int, sys.argv[1:3]), *(16, 200_000)[len(sys.argv[1:3]) :])
    with tempfile.TemporaryDirectory() as folder:
        captures = make_exports(Path(folder) / "captures", exports, kernels)
        walls = {jobs: [] for jobs in (1, JOBS)}
        for _ in range(ROUNDS):
            for jobs, found in walls.items():
                found.append(cost(captures, Path(folder) / "run", jobs))
    print(f"{exports} exports of {kernels} kernels, {ROUNDS} rounds in turn, medians; load {os.getloadavg()[0]:.1f}")
    medians = [[statistics.median(column) for column in zip(*found, strict=True)] for found in walls.values()]
    (serial, serial_cpu), (parallel, parallel_cpu) = medians
    print(f"1 process    {serial:7.2f} s   {serial / exports:6.3f} s an export   {serial_cpu:7.2f} s of CPU")
    print(f"{JOBS} processes  {parallel:7.2f} s   {parallel / exports:6.3f} s an export   {parallel_cpu:7.2f} s of CPU")
    print(
        f"by serial / {JOBS}: {parallel / (serial / JOBS):.2f} (bar {BAR}); CPU by CPU {parallel_cpu / serial_cpu:.2f}"
    )


def make_exports(folder: Path, count: int, kernels: int) -> Path:
    """Write exports that differ: a copy of a capture is read only once."""
    folder.mkdir()
    first = folder / "rank0.sqlite"
    make_export(first, kernels)
    for number in range(1, count):
        path = folder / f"rank{number}.sqlite"
        shutil.copyfile(first, path)
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA user_version = {number}")
    return folder


def cost(captures: Path, run: Path, jobs: int) -> tuple[float, float]:
    """Return the seconds that one whole command took, and those of all its processes on a core."""
    begun, before = time.perf_counter(), os.times()
    subprocess.run([NSIGHTKIT, "ingest", captures, "-o", run, "--jobs", str(jobs)], check=True, capture_output=True)
    took, after = time.perf_counter() - begun, os.times()
    shutil.rmtree(run)
    return took, sum(after[2:4]) - sum(before[2:4])


if __name__ == "__main__":
    main()
