"""`profile --tool torch` on a CPU: operations, bytes and a roofline in the report, from any kind of script."""

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from nsightkit.capture.ceilings import Ceilings, read_ceilings, write_ceilings
from nsightkit.cli import cli, measured_roofs
from nsightkit.errors import CaptureError
from nsightkit.ingest import open_dataset
from nsightkit.run import Run

pytestmark = pytest.mark.torch

WORK = """
import argparse, sys, threading
import torch

def work(count):
    with torch.profiler.record_function("decode"):
        for _ in range(count):
            torch.mm(torch.ones(64, 128), torch.ones(128, 32))

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2)
    parser.add_argument("--status", type=int, default=0)
    options = parser.parse_args()
    work(options.count)
    other = threading.Thread(target=work, args=(3,))
    other.start()
    other.join()
    q = torch.ones(1, 2, 16, 8)
    torch.nn.functional.scaled_dot_product_attention(q, q, q)
    sys.exit(options.status)

if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
"""
# Kept ceilings last a week from here.
MEASURED_UTC = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
CEILINGS = Ceilings("a CPU", "cpu", 1, "2.0", MEASURED_UTC, 64, 64, 3, {"fp32": 5e10}, 1e10,
                    {"fp32": 0.95, "memory": 0.9})  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (tmp_path / "work.py").write_text(WORK, encoding="utf-8")
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """The requests for ceilings; they are answered at once."""
    found = []

    def measure(request, timeout_s=None, python=None):
        found.append((request, python))
        return CEILINGS

    monkeypatch.setattr("nsightkit.capture.ceilings.measure_ceilings", measure)
    return found


def profile(*args):
    return CliRunner().invoke(cli, ["profile", "--tool", "torch", "-o", "r", "--no-overhead", *args])


def report(here):
    return (here / "r" / "report" / "report.md").read_text(encoding="utf-8")


class TestReport:
    def test_holds_operations_bytes_and_the_roofline_of_this_cpu(self, here, asked):
        done = profile("work.py", "--", "--count", "4")
        assert done.exit_code == 0, done.output
        ((request, _),) = asked
        assert (request.device, request.threads) == ("cpu", 1)
        assert "measuring what this CPU reaches with 1 threads" in done.stderr
        text = report(here)
        # Seven products of 2·64·32·128; attention 4·b·h·q·k·d by our formula.
        assert "| mm 64×128 · 128×32 | analytic |" in text
        assert "3.67 MFLOP" in text
        assert "16.4 kFLOP" in text
        assert "torch's own count of operations reads zero for scaled\\_dot\\_product\\_attention" in text
        assert "measured on a CPU, 1 threads" in text
        assert (here / "r" / "report" / "figures" / "roofline-operators.svg").is_file()
        page = (here / "r" / "report" / "report.html").read_text(encoding="utf-8")
        assert "Roofline of operators" in page
        assert "FLOP of the operators" in page
        assert text.index("Capture quality: usable (no kernels") < text.index("**aten::")

    def test_without_roofs_says_how_to_get_them(self, here, asked):
        done = profile("work.py", "--no-ceilings")
        assert done.exit_code == 0, done.output
        assert asked == []
        text = report(here)
        assert "No roof of this CPU was measured" in text
        assert "MFLOP" in text
        write_ceilings(here / "r" / "ceilings.json", CEILINGS)
        assert CliRunner().invoke(cli, ["render", "r"]).exit_code == 0
        assert "measured on a CPU, 1 threads" in report(here)
        assert "No roof of this CPU" not in report(here)

    def test_threads_that_the_script_starts_are_there(self, here, asked):
        profile("work.py", "--", "--count", "2", "--status", "0")
        rows = open_dataset([here / "r"]).rows("cpu_operators")
        products = [row for row in rows if row["operator_name"] == "aten::mm"]
        assert len(products) == 5
        assert len({row["thread_id"] for row in products}) == 2


class TestCeilings:
    def test_are_kept_for_later_runs_of_the_same_threads_and_torch(self, here, asked):
        import torch

        stamped = measured_roofs._cache_path(1, torch.__version__)
        assert profile("work.py", "--no-render").exit_code == 0
        assert len(asked) == 1
        # What was measured is of another torch: it is kept under that name.
        kept = measured_roofs._cache_path(CEILINGS.threads, CEILINGS.torch_version)
        kept.rename(stamped)
        (here / "r").rename(here / "first")
        again = profile("work.py", "--no-render")
        assert f"roofs of this CPU as measured at {MEASURED_UTC}" in again.stderr
        assert len(asked) == 1
        assert read_ceilings(here / "r" / "ceilings.json") == CEILINGS

    @pytest.mark.parametrize("spread", [{"fp32": 0.3, "memory": 0.9}, {"fp32": 0.9, "memory": 0.3}, {}])
    def test_of_a_busy_machine_are_not_kept(self, here, monkeypatch, spread):
        from dataclasses import replace

        monkeypatch.setattr("nsightkit.capture.ceilings.measure_ceilings", lambda *_: replace(CEILINGS, spread=spread))
        done = profile("work.py", "--no-render")
        assert "the machine was busy" in done.stderr
        assert list((here / "cache").rglob("*.json")) == []
        assert (here / "r" / "ceilings.json").is_file()

    def test_old_ones_are_measured_again(self, here):
        from dataclasses import replace

        measured_roofs._remember(replace(CEILINGS, created_utc="2020-01-01T00:00:00Z"))
        assert measured_roofs._remembered(CEILINGS.threads, CEILINGS.torch_version) is None

    def test_that_cannot_be_measured_leave_the_run(self, here, monkeypatch):
        def fails(*_):
            raise CaptureError("the ceilings of cpu could not be measured", slug="no-ceilings")

        monkeypatch.setattr("nsightkit.capture.ceilings.measure_ceilings", fails)
        done = profile("work.py")
        assert done.exit_code == 0, done.output
        assert "the report has no roofline of this CPU" in done.stderr
        assert "No roof of this CPU was measured" in report(here)

    def test_ranks_do_not_measure_at_once(self, here, asked, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
        done = profile("work.py", "--no-render")
        assert done.exit_code == 0, done.output
        assert asked == []
        assert "ranks of a job share the machine" in done.stderr
        assert Run(here / "r" / "rank1").read_info().rank == 1


class TestPrograms:
    def test_a_module_with_options_of_the_interpreter(self, here, asked):
        (here / "pack").mkdir()
        (here / "pack" / "__init__.py").write_text("")
        (here / "pack" / "__main__.py").write_text(
            "import sys, torch\nprint('words', sys.argv[1:])\ntorch.mm(torch.ones(2, 2), torch.ones(2, 2))\n"
        )
        import sys

        done = profile("--no-render", "--", sys.executable, "-X", "dev", "-u", "-m", "pack", "a", "-m")
        assert done.exit_code == 0, done.output
        assert "words ['a', '-m']" in done.stderr
        info = Run(here / "r").read_info()
        assert info.workload == "pack"
        assert info.captures[0].argv[1:4] == ("-X", "dev", "-u")
        assert info.captures[0].argv[-4:] == ("-m", "pack", "a", "-m")

    def test_threads_that_an_older_torch_would_not_record_are_named(self, tmp_path):
        from nsightkit.capture.torch_profiler import _unseen

        (note,) = _unseen({"unseen_threads": 2, "seconds": 1.0})
        assert note.startswith("2 threads were started, and their operators, if any, are not in the trace")
        assert _unseen({"unseen_threads": 0, "seconds": 1.0, "children_s": 0.0}) == []

    def test_work_in_other_processes_is_said_not_to_be_there(self, here, asked):
        (here / "parent.py").write_text(
            "import subprocess, sys, torch\ntorch.mm(torch.ones(2, 2), torch.ones(2, 2))\n"
            "if len(sys.argv) > 1:\n"
            "    subprocess.run([sys.executable, '-c', 'for i in range(30_000_000): pass'], check=True)\n"
        )
        quiet = profile("parent.py", "--no-render")
        assert "processes that the script started" not in quiet.stdout
        (here / "r").rename(here / "first")
        done = profile("parent.py", "--no-render", "--", "child")
        assert "torch.profiler does not see them; --tool nsys follows them" in done.stdout

    def test_exit_status_of_the_script(self, here):
        done = profile("work.py", "--no-render", "--", "--status", "3")
        assert done.exit_code == 1
        assert "work under torch.profiler failed with exit code 3" in done.stderr
        assert "torch-trace.json.gz" in done.stderr

    @pytest.mark.parametrize("launcher", ["torchrun", "bash"])
    def test_what_is_no_python_says_what_is(self, here, launcher, monkeypatch):
        (here / "bin").mkdir()
        (here / "bin" / launcher).write_text("#!/bin/sh\n")
        (here / "bin" / launcher).chmod(0o755)
        monkeypatch.setenv("PATH", f"{here / 'bin'}:/usr/bin:/bin")
        done = profile("--", launcher, "work.py")
        assert done.exit_code == 1
        assert f"'{launcher}' is no Python script" in done.stderr
        assert ("--no-python nsightkit profile --tool torch" in done.stderr) is (launcher == "torchrun")

    def test_a_folder_of_ranks_is_one_job(self, here, asked, monkeypatch):
        for rank in ("0", "1"):
            for name, value in (
                ("RANK", rank),
                ("WORLD_SIZE", "2"),
                ("LOCAL_RANK", rank),
                ("TORCHELASTIC_RUN_ID", "x"),
            ):
                monkeypatch.setenv(name, value)
            assert profile("work.py", "--no-render").exit_code == 0
        dataset = open_dataset([here / "r"])
        assert sorted(capture.rank for capture in dataset.info.captures) == [0, 1]
        names = [json.loads((here / "r" / f"rank{rank}" / "run.json").read_text())["rank_count"] for rank in (0, 1)]
        assert names == [2, 2]
