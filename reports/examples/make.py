"""Makes the example reports beside this file, from runs of our own.

In: nothing. Out: cpu-demo.html (a language model that decodes on the CPU, profiled here and now), timeline.html and
counters.html (runs that the builders of the tests put together; no GPU was measured for them).
Run it from a checkout with ``.venv/bin/python reports/examples/make.py``.
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
NSIGHTKIT = [sys.executable, "-m", "nsightkit"]
TOKENS = 8


def cpu_demo(folder):
    """Profile the bundled workload under torch.profiler."""
    from nsightkit.run import Run

    command = [*NSIGHTKIT, "profile", "--tool", "torch", "--tokens", str(TOKENS), "-o", "cpu-demo"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return Run(folder / "cpu-demo")


def timeline(folder):
    """Put together a timeline in which the GPU waits for launches, with the overhead of tracing measured."""
    from builders.timeline import launch_bound, write_run
    from nsightkit.run import Run

    run = Run(write_run(folder / "timeline", launch_bound(7)))
    info = run.read_info()
    overhead = {"ratio": 1.03, "basis": "as the builder says"}
    run.write_info(replace(info, captures=tuple(replace(c, overhead=overhead) for c in info.captures)))
    return run


def counters(folder):
    """Put together a run with counters of twenty kernels."""
    from builders.analysis import make_run

    return make_run(folder / "counters", 20)


def without_this_machine(run, name):
    """Take out what names the machine: folders in command lines, and the host."""
    info = run.read_info()
    shown = [tuple(Path(word).name if word.startswith("/") else word for word in c.argv) for c in info.captures]
    captures = tuple(replace(c, argv=argv) for c, argv in zip(info.captures, shown, strict=True))
    run.write_info(replace(info, name=name, hostname=None, captures=captures))


def main():
    """Make all three."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, make in (("cpu-demo", cpu_demo), ("timeline", timeline), ("counters", counters)):
            run = make(folder)
            without_this_machine(run, name)
            subprocess.run(
                [*NSIGHTKIT, "render", str(run.path), "--format", "html"], check=True, stdout=subprocess.DEVNULL
            )
            text = (run.report_dir / "report.html").read_text(encoding="utf-8")
            if str(HERE.parents[1]) in text or scratch in text:
                sys.exit(f"{name}: the report names a folder of this machine")
            (HERE / f"{name}.html").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
