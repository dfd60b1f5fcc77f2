"""The measured exit statuses of the real nsys, row by row: each ends in a capture or in a message that says what to do.

A row is what nsys does, as its reference of facts has it: status 0 proves nothing.
"""

import subprocess

import pytest
from click.testing import CliRunner

from nsightkit.cli import cli
from nsightkit.run import Run

pytestmark = pytest.mark.nsight

WORK = "import time, nvtx\nwith nvtx.annotate('decode'):\n    time.sleep(0.01)\nopen('ended', 'w').close()\n"


@pytest.fixture
def here(tmp_path, monkeypatch, nsight_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{nsight_path}:/usr/bin:/bin")
    (tmp_path / "work.py").write_text(WORK, encoding="utf-8")
    return tmp_path


def profile(*args):
    return CliRunner().invoke(cli, ["profile", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead", *args])


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("import sys\nprint('no such tensor')\nsys.exit(7)\n", "exit code 7"),
        ("import os\nprint('no such tensor')\nos.kill(os.getpid(), 9)\n", "exit code 137 (SIGKILL)"),
    ],
)  # fmt: skip
def test_status_of_the_target_is_told_and_the_report_is_kept(here, script, status):
    (here / "bad.py").write_text(script, encoding="utf-8")
    done = profile("bad.py")
    assert done.exit_code == 1
    assert f"bad under nsys failed with {status}; kept in r/capture: timeline.nsys-rep" in done.stderr
    assert "no such tensor" in done.stderr.partition("last lines")[2]
    assert (here / "r" / "capture" / "timeline.nsys-rep").is_file()


def test_a_folder_that_is_not_there_is_made_first(here):
    done = CliRunner().invoke(cli, ["profile", "work.py", "--tool", "nsys", "-o", "a/b/c", "--no-render",
                                    "--no-overhead"])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (here / "a" / "b" / "c" / "capture" / "timeline.sqlite").is_file()


def test_an_old_report_of_the_name_is_overwritten_not_put_elsewhere(here):
    # nsys without --force-overwrite would leave its report in the temporary folder, and end with 0.
    (here / "r" / "capture").mkdir(parents=True)
    (here / "r" / "capture" / "timeline.nsys-rep").write_text("old")
    done = profile("work.py", "--resume")
    assert done.exit_code == 0, done.output
    (capture,) = Run(here / "r").read_info().captures
    assert capture.row_counts["nvtx_ranges"] == 1


def test_a_range_ends_the_capture_and_not_the_program(here):
    done = profile("work.py", "--range", "decode")
    assert done.exit_code == 0, done.output
    (capture,) = Run(here / "r").read_info().captures
    assert capture.exit_code == 0
    assert (here / "ended").is_file()


def test_the_default_end_of_a_range_would_end_the_program(here):
    done = profile("work.py", "--range", "decode", "--extra-nsys=--capture-range-end=stop-shutdown")
    assert done.exit_code == 1
    assert "exit code 143 (SIGTERM)" in done.stderr


def test_a_range_that_never_opens_leaves_no_report_with_status_0(here):
    done = profile("work.py", "--range", "nomatch")
    assert done.exit_code == 1
    assert "the NVTX range 'nomatch' never began" in done.stderr


def test_a_refused_value_is_quoted(here):
    done = profile("work.py", "--extra-nsys=--trace=cuda,bogus")
    assert done.exit_code == 1
    assert "Illegal --trace argument 'bogus'" in done.stderr.splitlines()[-2]
    assert "nsightkit explain tool-refused" in done.stderr


@pytest.mark.parametrize("words", [("--extra-nsys=--env-var=A=B",), ("--extra-nsys=-e", "--extra-nsys=A=B")])
def test_variables_of_the_user_and_ours_are_one_option(here, words):
    done = profile("work.py", "--range", "decode", *words)
    assert done.exit_code == 0, done.output
    (capture,) = Run(here / "r").read_info().captures
    assert "--env-var=A=B,NSYS_NVTX_PROFILER_REGISTER_ONLY=0" in capture.argv


def test_a_program_that_is_not_there_is_named_before_nsys_starts(here):
    done = profile("--", "/no/such/program")
    assert done.exit_code == 1
    assert "'/no/such/program' is no program on PATH" in done.stderr
    assert not (here / "r").exists()


def test_reports_that_are_missing_or_no_reports(here):
    (here / "x.nsys-rep").write_text("garbage")
    for name, slug in (("x.nsys-rep", "not-a-capture"), ("missing.nsys-rep", "no-such-file")):
        done = CliRunner().invoke(cli, ["ingest", name, "-o", "i"])
        assert done.exit_code == 1
        assert f"nsightkit explain {slug}" in done.stderr
        assert name in done.stderr


def test_stats_without_a_kernel_table_are_named_by_what_nsys_said(here):
    assert profile("work.py").exit_code == 0
    done = subprocess.run(["nsys", "stats", "-r", "cuda_gpu_kern_sum", "r/capture/timeline.sqlite"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0
    (here / "stats.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    read = CliRunner().invoke(cli, ["ingest", "stats.txt", "-o", "i"])
    assert read.exit_code == 1
    assert "a printout of nsys stats without a table" in read.stderr
    assert "does not contain CUDA kernel data" in read.stderr
