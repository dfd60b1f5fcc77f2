"""Makes the example reports beside this file, from runs of our own.

In: nothing. Out: three reports of what was measured here and now, on the CPU: cpu-demo.html (a language model that
decodes, profiled), kv-decode.html (a study of its cache) and kv-compare.html (its runs with and without the cache, side
by side); and two of what no GPU was measured for: timeline.html and counters.html, which the builders of the tests put
together.
Run it from a checkout with ``.venv/bin/python reports/examples/make.py``.
"""

import shutil
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
    """Put together a report with counters of twenty kernels, and all that a report tells beside them."""
    from builders.analysis import make_analysis, make_info, make_story
    from nsightkit.report import render_report
    from nsightkit.report.context import ReportOptions
    from nsightkit.run import Run

    info = make_info(name="counters", hostname=None)
    (page,) = render_report(Run(folder), info, make_story(make_analysis(20)), ReportOptions(("html",)))
    return page


def study(folder):
    """Run the study of the KV cache at its small size; return its page."""
    command = [*NSIGHTKIT, "study", "kv-decode", "--size", "small", "--tool", "none", "-o", "kv-decode"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "kv-decode" / "report" / "report.html"


def comparison(folder):
    """Set the results of that study with the cache beside those without; return the page."""
    for state in ("on", "off"):
        side = folder / f"cache-{state}"
        side.mkdir()
        for place, path in enumerate(sorted((folder / "kv-decode").rglob("results.json"))):
            if f"kv_cache={state}" in str(path):
                shutil.copy(path, side / f"{place}.json")
    command = [*NSIGHTKIT, "compare", "cache-off", "cache-on", "-o", "changes"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "changes" / "compare.html"


def without_this_machine(run, name):
    """Take out what names the machine: folders in command lines, and the host."""
    info = run.read_info()
    shown = [tuple(Path(word).name if word.startswith("/") else word for word in c.argv) for c in info.captures]
    captures = tuple(replace(c, argv=argv) for c, argv in zip(info.captures, shown, strict=True))
    run.write_info(replace(info, name=name, hostname=None, captures=captures))


def rendered(run, name):
    """Render a run whose machine was taken out; return its page."""
    without_this_machine(run, name)
    command = [*NSIGHTKIT, "render", str(run.path), "--format", "html"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return run.report_dir / "report.html"


def keep(page, name, scratch):
    """Copy a page beside this file, unless it names a folder of this machine."""
    text = page.read_text(encoding="utf-8")
    if str(HERE.parents[1]) in text or scratch in text:
        sys.exit(f"{name}: the report names a folder of this machine")
    (HERE / f"{name}.html").write_text(text, encoding="utf-8")


def main():
    """Make all five; the names of pages on the command line make only these."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pages = {
            "cpu-demo": lambda: rendered(cpu_demo(folder), "cpu-demo"),
            "kv-decode": lambda: study(folder),
            "kv-compare": lambda: comparison(folder),
            "timeline": lambda: rendered(timeline(folder), "timeline"),
            "counters": lambda: counters(folder / "counters"),
        }
        for name, make in pages.items():
            if not sys.argv[1:] or name in sys.argv[1:]:
                keep(make(), name, scratch)


if __name__ == "__main__":
    main()
