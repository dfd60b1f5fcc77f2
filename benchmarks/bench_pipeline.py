"""From exports of half a million to five million kernels to all tables and the report, as whole processes.

Usage: bench_pipeline.py [EXPORT.sqlite…]; by default four exports are made first, the largest takes minutes.

In: exports, smallest first. Out: wall and CPU time and peak memory of `nsightkit ingest`, `render` and `ranges` on
each, their time per kernel beside that on 1M kernels (bar: 1.3 ×, under 1 GB), and growth.svg, which shows it.
"""

import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

from bench_attribution import SIZES, growth
from bench_nsys import make_export
from growth_plot import draw
from paired import Cost, apart, measure

NSIGHTKIT = str(Path(sys.executable).with_name("nsightkit"))
ROUNDS = 3
NAMES = 1000  # of ranges


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-pipeline-"))
    try:
        exports = [Path(name) for name in sys.argv[1:]] or [made(folder / f"e{size}.sqlite", size) for size in SIZES]
        costs = {kernels_in(export): pipeline(export, folder / export.stem) for export in exports}
    finally:
        shutil.rmtree(folder)
    print("ingest and render, whole processes  (bar: under 1 GB, per kernel at most 1.3 × of 1M)")
    base = min(costs, key=lambda kernels: abs(kernels - 1_000_000))
    per_kernel = {
        kernels: (parts["ingest"].cpu_s + parts["render"].cpu_s) / kernels for kernels, parts in costs.items()
    }
    for kernels, parts in costs.items():
        steps = "; ".join(
            f"{name} {c.wall_s:.2f} s, CPU {c.cpu_s:.2f} s, {c.peak_mb:.0f} MB" for name, c in parts.items()
        )
        print(f"  {kernels:>9} kernels: {steps}; {per_kernel[kernels] / per_kernel[base]:.2f} × of 1M per kernel (CPU)")
    lines = {
        "export to tables to report, whole processes": {k: time * 1e9 for k, time in per_kernel.items()},
        "join, attribution and sums, in memory": growth(),
    }
    Path(__file__).with_name("growth.svg").write_text(draw(lines), encoding="utf-8")


def made(export: Path, kernels: int) -> Path:
    apart(make_export, export, kernels, NAMES)
    return export


def kernels_in(export: Path) -> int:
    with sqlite3.connect(f"file:{export}?mode=ro", uri=True) as connection:
        return int(connection.execute("SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone()[0])


def pipeline(export: Path, run: Path) -> dict[str, Cost]:
    steps = {
        "ingest": [NSIGHTKIT, "ingest", str(export), "--force", "-o", str(run)],
        "render": [NSIGHTKIT, "render", str(run)],
        "ranges": [NSIGHTKIT, "ranges", str(export), "--limit", "5"],
    }
    costs = measure(steps, ROUNDS)
    shutil.rmtree(run)
    return costs


if __name__ == "__main__":
    main()
