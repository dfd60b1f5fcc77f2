"""How long ``nsightkit render`` takes, beside a bare process that imports what no report can do without.

In: nothing; runs of 20 and of 500 profiled kernels are built first, judged as `profile` and `ingest` leave them. Out:
medians of whole processes, run in turn, and the size of the pages.
"""

import sys
import tempfile
from pathlib import Path

from paired import measure, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from builders.analysis import make_run
from nsightkit.ingest import open_dataset
from nsightkit.judging import judged

NSIGHTKIT = str(Path(sys.executable).with_name("nsightkit"))
SIZES = (20, 500)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        commands = {"import jinja2, pyarrow.parquet": [sys.executable, "-c", "import jinja2, pyarrow.parquet"]}
        for kernels in SIZES:
            run = make_run(Path(folder) / f"run-{kernels}", kernels)
            run.write_info(judged(open_dataset([run.path])))
            commands[f"nsightkit render, {kernels} kernels"] = [NSIGHTKIT, "render", str(run.path)]
        report("render a report", measure(commands, rounds=11), "20 kernels within 2 × the import; 500 under 3 s")
        for kernels in SIZES:
            size = (Path(folder) / f"run-{kernels}" / "report" / "report.html").stat().st_size
            print(f"  page of {kernels} kernels: {size / 1e3:.0f} kB")
