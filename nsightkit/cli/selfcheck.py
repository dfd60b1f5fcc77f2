"""``nsightkit selfcheck``: profile a program whose work is known, and compare what comes out with the truth.

In: this machine. Out: one line a comparison, and a zip with all that is needed to look into it elsewhere.
"""

import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from nsightkit.analysis.selfcheck import Check, check_captures, check_counters, check_timeline
from nsightkit.capture import Workload, selfcheck_workload_path
from nsightkit.capture.doctor import examine
from nsightkit.capture.probes import find_gpus, read_facts
from nsightkit.cli.inputs import named_run, new_run
from nsightkit.cli.jobs import make_job, run_job, show_plan, show_quality
from nsightkit.cli.output import note
from nsightkit.cli.profile_options import Wishes
from nsightkit.errors import NsightkitError, ToolError
from nsightkit.ingest.dataset import tables_of
from nsightkit.run import Run, write_text

_MARKS = {True: "pass   ", False: "FAIL   ", None: "unknown"}
# Captures themselves may be large; what was read from them is in the tables.
_LARGEST_BYTES = 20_000_000
# nsys writes the environment of the program into these, with what secrets it holds.
_WITH_ENVIRONMENT = (".nsys-rep", ".sqlite", ".qdstrm", ".qdrep")
# Five runs of the program and one under ncu: no more than ten minutes in all, usually two.
_RUN_S, _COUNTERS_S = 90.0, 120.0


@click.command("selfcheck")
@click.option("--gpu", is_flag=True, help="Check nsys and ncu on a GPU. Without it: torch.profiler on the CPU.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run directory. Default: ./reports/selfcheck-….")
@click.option("--dry-run", is_flag=True, help="Print the command lines and stop.")
def command(gpu: bool, output: Path | None, dry_run: bool) -> None:
    """Verify on this machine what nsightkit claims.

    A small program runs matrix products of known operations, a sum of known bytes, a kernel of known length, a CUDA
    graph, a pause, and ranges. It is profiled with nsys, then its longest kernels with ncu, and what comes out is
    compared with the truth: ranges, counts, filters, the join, operations, bytes, durations, roofs, overhead, verdicts.
    It takes ten minutes at most; evidence.zip in the run directory can be
    mailed: it holds tables, verdicts and logs, and leaves out what nsys wrote, as that holds the environment. The exit
    code is 1 where a comparison fails. What it shows on a GPU is not verified yet.

    \b
    nsightkit selfcheck                without a GPU: ranges and pause under torch.profiler
    nsightkit selfcheck --gpu          on the day that a GPU is there
    """
    if gpu and not dry_run and not find_gpus():
        raise ToolError("selfcheck --gpu needs an NVIDIA GPU, and nvidia-smi lists none; see 'nsightkit doctor'",
                        slug="no-gpu")  # fmt: skip
    run = named_run("selfcheck") if output is None else new_run((), output)
    truth_path = run.capture_dir / "truth.json"
    device = "cuda" if gpu else "cpu"
    args = (str(truth_path), "--device", device)
    workload = Workload("selfcheck", selfcheck_workload_path(), args)
    tool = "nsys" if gpu else "torch"
    job = make_job(tool, run, workload, Wishes(tool=tool, timeout=_RUN_S, overhead=gpu))
    if dry_run:
        show_plan(job)
        return
    info = run_job(job)
    for capture in info.captures:
        show_quality(capture)
    checks = _timeline_checks(run, json.loads(truth_path.read_text(encoding="utf-8")))
    if gpu:
        checks += _counter_checks(run, json.loads(truth_path.read_text(encoding="utf-8")))
    checks += check_captures([(c.backend, c.quality, c.overhead) for c in run.read_info().captures])
    _finish(run, checks)


def _timeline_checks(run: Run, truth: dict[str, Any]) -> list[Check]:
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.work.operations import by_capture

    (capture, *_) = run.read_info().captures
    wanted = {name: None for name in ("kernel_launches", "cuda_api_calls", "memory_operations", "nvtx_ranges")}
    tables = tables_of(run, capture, wanted)
    inside = 0
    if "kernel_launches" in tables:
        (rows,) = by_capture(tables)
        found = attribute(rows)
        names = found.spans.names.to_pylist()
        chain = {"decode", "decode_step"}
        nodes = [names[found.node_name[n]] if n >= 0 else None for n in found.node[: found.operations.kernel_count]]
        inside = sum(name in chain for name in nodes)
    ranges = _rows(tables, "nvtx_ranges")
    return check_timeline(truth, ranges, _rows(tables, "kernel_launches"), inside)


def _rows(tables: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return list(tables[name].to_pylist()) if name in tables else []


def _counter_checks(run: Run, truth: dict[str, Any]) -> list[Check]:
    from nsightkit.cli.phases import deepen

    try:
        deepen(run, Wishes(range_name="decode", coverage=0.999, budget=_COUNTERS_S, timeout=_COUNTERS_S))
    except NsightkitError as error:
        note(str(error))
        return [Check("counters", "measured", str(error).splitlines()[0][:200], False)]
    counters = next(capture for capture in run.read_info().captures if capture.backend == "ncu")
    tables = tables_of(run, counters, {"kernel_counters": None, "counter_targets": None})
    return check_counters(truth, _rows(tables, "kernel_counters"), _rows(tables, "counter_targets"))


def _finish(run: Run, checks: list[Check]) -> None:
    for check in checks:
        click.echo(f"{_MARKS[check.passed]}  {check.name}: expected {check.expected}, found {check.found}")
    facts = read_facts()
    evidence = {
        "checks": [asdict(check) for check in checks],
        "doctor": [asdict(finding) for finding in examine(facts)],
        "facts": asdict(facts),
    }
    write_text(run.path / "checks.json", json.dumps(evidence, indent=2) + "\n")
    click.echo(f"evidence: {_bundle(run)}")
    failed = [check for check in checks if check.passed is False]
    click.echo(f"{len(checks) - len(failed)} of {len(checks)} comparisons did not fail")
    if failed:
        raise click.exceptions.Exit(1)


def _bundle(run: Run) -> Path:
    """Write everything but large captures, and those that hold the environment, into one zip; return its path."""
    target = run.path / "evidence.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(run.path.rglob("*")):
            if path == target or not path.is_file() or path.suffix in _WITH_ENVIRONMENT:
                continue
            if path.stat().st_size <= _LARGEST_BYTES:
                archive.write(path, path.relative_to(run.path))
    return target
