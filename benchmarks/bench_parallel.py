"""Many captures at once: `nsightkit ingest` of a folder with one process and with two, as whole commands in turn.

Usage: bench_parallel.py [EXPORTS [KERNELS]]; by default 16 exports of 200 000 kernels each, made first.

In: exports made from a seed. Out: wall times of both, and the time of two processes by half the time of one, whose bar
is 1.15. One process reads ahead in a second thread, so half of its time is less than half of its work.
"""

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
                found.append(wall(captures, Path(folder) / "run", jobs))
    serial, parallel = (statistics.median(found) for found in walls.values())
    print(f"{exports} exports of {kernels} kernels, {ROUNDS} rounds in turn, medians")
    print(f"1 process    {serial:7.2f} s   {serial / exports:6.3f} s an export")
    print(f"{JOBS} processes  {parallel:7.2f} s   {parallel / exports:6.3f} s an export")
    print(f"by serial / {JOBS}: {parallel / (serial / JOBS):.2f} (bar {BAR})")


def make_exports(folder: Path, count: int, kernels: int) -> Path:
    """Write exports that differ: a copy of a capture is read only once."""
    folder.mkdir()
    first = folder / "rank0.sqlite"
    make_export(first, kernels)
    for number in range(1, count):
        path = folder / f"rank{number}.sqlite"
        shutil.copyfile(first, path)
        with sqlite3.connect(path) as connection:
            connection.execute("INSERT INTO StringIds VALUES (?, ?)", (1_000_000, f"rank {number}"))
    return folder


def wall(captures: Path, run: Path, jobs: int) -> float:
    """Return the seconds that one whole command took."""
    begun = time.perf_counter()
    subprocess.run([NSIGHTKIT, "ingest", captures, "-o", run, "--jobs", str(jobs)], check=True, capture_output=True)
    took = time.perf_counter() - begun
    shutil.rmtree(run)
    return took


if __name__ == "__main__":
    main()
