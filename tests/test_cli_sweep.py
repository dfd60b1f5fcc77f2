"""`nsightkit sweep`: every cell once, whatever happens; failures recorded; results in parquet."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from nsightkit import annotate
from nsightkit.capture.workload import Workload
from nsightkit.cli import cli
from nsightkit.cli.sweep import _axis
from nsightkit.cli.sweeping import Cell, Sweep, SweepPlan, open_sweep, run_sweep
from nsightkit.errors import CaptureError

# A workload that notes each start, and can sleep, fail, or run out of memory.
SCRIPT = """
import argparse, sys, time
from pathlib import Path
from nsightkit import annotate
parser = argparse.ArgumentParser()
parser.add_argument("--n", type=int)
parser.add_argument("--mode", default="well")
parser.add_argument("--sleep", type=float, default=0.0)
parser.add_argument("--notes", type=Path)
parser.add_argument("--results", type=Path)
options = parser.parse_args()
with options.notes.open("a") as notes:
    notes.write(f"{options.mode} {options.n}\\n")
time.sleep(options.sleep)
if options.mode == "memory":
    raise MemoryError(f"out of memory: tried to allocate {options.n} GiB")
if options.mode == "fail":
    sys.exit("no such thing \\x1b[31m")
if options.mode == "silent":
    sys.exit(0)
measured = annotate.measure(lambda laps: None, annotate.Plan(0, 1))
own = {"timed": "nothing", "tokens_run": 1, "metrics": {"time_per_output_token_ms": options.n * 1.0, "gap_ms": None}}
data = annotate.results_of("demo", {"n": options.n}, annotate.describe_machine("cpu", "float32"), measured, own)
annotate.write_results(options.results, data)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "demo.py"
    path.write_text(SCRIPT)
    return path


def sweep_args(script, *axes, extra=()):
    notes = script.with_name("notes.txt")
    parts = [part for axis in axes for part in ("--axis", axis)]
    return ["sweep", str(script), *parts, "-o", str(script.with_name("out")), *extra, "--", "--notes", str(notes)]


def started(script):
    return script.with_name("notes.txt").read_text().splitlines()


def test_every_cell_once_and_failures_passed_over(script):
    runner = CliRunner()
    args = sweep_args(script, "mode=well,memory,fail,silent", "n=1,2", extra=("--format", "json"))
    done = runner.invoke(cli, args)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [(r["mode"], r["n"], r["status"]) for r in rows[:3]] == [
        ("well", "1", "done"), ("well", "2", "done"), ("memory", "1", "failed"),
    ]  # fmt: skip
    assert [r["token_ns"] for r in rows[:3]] == [1e6, 2e6, None]
    assert rows[2]["message"] == "out of memory: MemoryError: out of memory: tried to allocate 1 GiB"
    assert rows[4]["message"] == "exit code 1: no such thing \\x1b[31m"
    assert rows[6]["message"].startswith("it ended well, but left no results")
    assert "6 of 8 cells failed" in done.stderr
    assert len(started(script)) == 8
    # A second call runs nothing; --retry-failed only the failed ones.
    assert runner.invoke(cli, args).exit_code == 0
    assert len(started(script)) == 8
    at = args.index("--format")
    assert runner.invoke(cli, [*args[:at], "--retry-failed", *args[at:]]).exit_code == 0
    assert len(started(script)) == 8 + 6


def test_results_in_parquet(script):
    assert CliRunner().invoke(cli, sweep_args(script, "mode=well,fail", "n=3")).exit_code == 0
    folder = script.with_name("out") / "tables" / "results"
    rows = [row for path in sorted(folder.glob("*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()]
    assert [(r["capture_id"], r["status"], r["metric"], r["value"]) for r in rows] == [
        ("mode=fail,n=3", "failed", None, None),
        ("mode=well,n=3", "done", "time_per_output_token_ms", 3.0),
        ("mode=well,n=3", "done", "gap_ms", None),
    ]
    assert json.loads(rows[1]["settings"]) == {"n": 3}


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a POSIX matter")
def test_killed_and_taken_up_again(script):
    """kill -9 in the middle of a cell: the second call finishes, and no cell that ended runs twice."""
    args = sweep_args(script, "n=1,2,3,4")
    args += ["--sleep", "0.4"]
    folder = script.with_name("out")
    child = subprocess.Popen([sys.executable, "-m", "nsightkit", *args], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 60
    notes = script.with_name("notes.txt")
    while time.monotonic() < deadline and not (notes.is_file() and len(started(script)) == 3):
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = {path.parent.name for path in folder.glob("cells/*/cell.json")}
    assert before == {"n=1", "n=2"}
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/cell.json")}
    if sys.platform == "linux":
        # The cell that was running ends with the sweep: it leaves nothing behind later.
        time.sleep(0.8)
        assert not (folder / "cells" / "n=3" / "results.json").exists()
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, done.output
    assert {path.parent.name for path in folder.glob("cells/*/cell.json")} == {"n=1", "n=2", "n=3", "n=4"}
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert started(script) == ["well 1", "well 2", "well 3", "well 3", "well 4"]


def test_results_that_were_whole_are_taken_up(script):
    notes = script.with_name("notes.txt")
    plan = SweepPlan("demo", (("n", ("1",)),), ("--notes", str(notes)))
    sweep = Sweep(plan, Workload("demo", script), script.with_name("out"))
    (cell,) = run_sweep(sweep, lambda *_: None)
    (sweep.path(cell) / "cell.json").unlink()
    (again,) = run_sweep(sweep, lambda *_: None)
    assert (again.status, again.message) == ("done", "taken up from an earlier call")
    # A half-written file is not taken for results.
    (sweep.path(cell) / "cell.json").unlink()
    sweep.results_path(cell).write_text('{"schema_version": 2')
    (third,) = run_sweep(sweep, lambda *_: None)
    assert (third.status, third.message) == ("done", "")
    assert len(started(script)) == 2


def test_a_cell_that_hangs_is_ended(script):
    done = CliRunner().invoke(cli, [*sweep_args(script, "n=1", extra=("--timeout", "0.5", "--format", "json")),
                                    "--sleep", "60"])  # fmt: skip
    assert json.loads(done.stdout)[0]["message"] == "ended after 0.5 s"


def test_a_folder_of_another_plan_is_refused(script, tmp_path):
    assert CliRunner().invoke(cli, sweep_args(script, "n=1")).exit_code == 0
    done = CliRunner().invoke(cli, sweep_args(script, "n=2"))
    assert done.exit_code == 1
    assert "holds a sweep with another plan" in done.stderr
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("x")
    with pytest.raises(CaptureError, match="is not empty and no sweep"):
        open_sweep(Sweep(SweepPlan("demo"), Workload("demo", script), full))


def test_a_running_sweep_is_not_disturbed(script):
    fcntl = pytest.importorskip("fcntl")
    folder = script.with_name("out")
    folder.mkdir()
    sweep = Sweep(SweepPlan("demo", (("n", ("1",)),)), Workload("demo", script), folder)
    open_sweep(sweep)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CaptureError, match="another sweep runs in it"):
            run_sweep(sweep, lambda *_: None)


def test_order_names_and_options_of_cells():
    plan = SweepPlan("w", (("batch_size", ("1", "2")), ("kv_cache", ("on", "off"))))
    sweep = Sweep(plan, Workload("w", Path("w.py")), Path("nowhere"))
    assert [cell.name for cell in sweep.cells()] == [
        "batch_size=1,kv_cache=on", "batch_size=1,kv_cache=off", "batch_size=2,kv_cache=on",
        "batch_size=2,kv_cache=off",
    ]  # fmt: skip
    assert Cell("x", (("batch_size", "2"),)).args == ("--batch-size", "2")
    odd = Sweep(SweepPlan("w", (("a", ("../x", "..*x")),)), Workload("w", Path("w.py")), Path("nowhere"))
    names = [cell.name for cell in odd.cells()]
    assert len(set(names)) == 2
    assert not any("/" in name for name in names)
    assert plan.key == SweepPlan(**vars(plan)).key != SweepPlan("w").key


@pytest.mark.parametrize("text", ["batch_size", "=1,2", "n=", "n=,"])
def test_axes_that_are_none(text, script):
    done = CliRunner().invoke(cli, sweep_args(script, text))
    assert done.exit_code == 2
    assert "is not NAME=VALUE" in done.stderr


def test_axes_are_spelled_as_options_or_as_settings():
    assert _axis("--batch-size=1,4,4") == ("batch_size", ("1", "4"))


def test_results_schema_is_the_one_that_is_checked(script):
    assert annotate.check_results is not None
    assert CliRunner().invoke(cli, sweep_args(script, "n=5")).exit_code == 0
    annotate.check_results(json.loads((script.with_name("out") / "cells" / "n=5" / "results.json").read_text()))


def test_a_sweep_without_one_result_does_not_end_well(script):
    args = sweep_args(script, "mode=fail,silent", "n=1")
    for _ in range(2):
        done = CliRunner().invoke(cli, args)
        assert done.exit_code == 1
        assert "2 of 2 cells failed; --retry-failed runs them again" in done.stderr
    args = [word.replace("out", "mixed") if word.endswith("out") else word for word in args]
    mixed = CliRunner().invoke(cli, [word.replace("fail,silent", "fail,well") for word in args])
    assert mixed.exit_code == 0
    assert "1 of 2 cells failed" in mixed.stderr


def test_an_axis_given_twice_is_refused(script):
    done = CliRunner().invoke(cli, sweep_args(script, "n_a=1", "n-a=2"))
    assert done.exit_code == 2
    assert "--axis n_a is given twice" in done.stderr
