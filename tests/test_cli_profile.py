"""``nsightkit profile`` from the command line to the run directory, with stand-in tools and with real ones."""

import json
import shlex
import sqlite3
import sys

import pytest
from click.testing import CliRunner

from fake_tools.install import VERSIONS, calls, install
from nsightkit.capture.nsys import unseen_ranges
from nsightkit.cli import cli
from nsightkit.run import Run


def profile(*args):
    return CliRunner().invoke(cli, ["profile", *args])


def only_run(here):
    (path,) = (here / "reports").iterdir()
    return Run(path)


class TestNsysStandIn:
    def test_ends_in_a_run_with_tables(self, here, bin_dir):
        record = install(bin_dir, "nsys", "2023.4.4.54", "kernels")
        done = profile("work.py", "--tool", "nsys", "--tokens", "16", "--no-render", "--", "--flag", "a b", "--", "c")
        assert done.exit_code == 0, done.output
        run = only_run(here)
        assert run.path.name.startswith("work-2")
        info = run.read_info()
        assert (info.workload, info.tokens) == ("work", 16)
        assert info.workload_args == ("--max-new-tokens", "16", "--flag", "a b", "--", "c")
        (capture,) = info.captures
        assert (capture.backend, capture.exit_code, capture.tool_version) == ("nsys", 0, "2023.4.4.54")
        assert list(capture.argv[1:]) == calls(record)[-1]
        assert capture.argv[-6:] == ("--max-new-tokens", "16", "--flag", "a b", "--", "c")
        assert capture.wall_s > 0
        assert capture.row_counts["kernel_launches"] == 3
        assert capture.row_counts["nvtx_ranges"] == 2
        assert "ran with --max-new-tokens 16 --flag a b -- c" in (run.capture_dir / "child.log").read_text()
        assert f"run: {run.path.relative_to(here)}" in done.stdout
        assert "no kernels" not in done.stdout

    def test_no_kernels_is_said_and_kept(self, here, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54")
        done = profile("work.py", "--tool", "nsys", "--no-render")
        assert done.exit_code == 0, done.output
        assert "no kernels: no GPU was traced" in done.stdout
        (capture,) = only_run(here).read_info().captures
        assert any("no kernels: no GPU was traced" in text for text in capture.notes)

    @pytest.mark.parametrize(
        ("target", "said"),
        [
            (("--", "--help"), "no NVTX ranges, although kv_decode makes them: "),
            (("work.py",), "no NVTX ranges, whether or not work makes any: "),
        ],
    )
    def test_lost_ranges_are_explained_by_both_versions(self, here, bin_dir, monkeypatch, target, said):
        monkeypatch.setattr("nsightkit.capture.nsys.version", lambda package: "0.2.12")
        install(bin_dir, "nsys", "2023.4.4.54", "no-ranges")
        done = profile("--tool", "nsys", "--no-render", *target)
        assert done.exit_code == 0, done.output
        why = "nsys 2023.4.4.54 does not record ranges of the Python package nvtx 0.2.12; pip install 'nvtx<0.2.12'"
        assert f"{said}{why}, or install a newer nsys" in done.stdout

    @pytest.mark.parametrize(("nsys", "nvtx"), [("2023.4.4.54", "0.2.11"), ("2024.1.1.3", "0.2.12")])
    def test_versions_that_go_together_are_not_blamed(self, here, bin_dir, monkeypatch, nsys, nvtx):
        monkeypatch.setattr("nsightkit.capture.nsys.version", lambda package: nvtx)
        install(bin_dir, "nsys", "2023.4.4.54", "no-ranges")
        assert unseen_ranges(nsys, nvtx) is None
        done = profile("--tool", "nsys", "--no-render", "work.py")
        assert ("no NVTX ranges" in done.stdout) == (nvtx == "0.2.12")

    def test_a_range_that_cannot_be_seen_is_no_matter_of_its_spelling(self, here, bin_dir, monkeypatch):
        monkeypatch.setattr("nsightkit.capture.nsys.version", lambda package: "0.2.17")
        install(bin_dir, "nsys", "2023.4.4.54", "no-range")
        done = profile("work.py", "--tool", "nsys", "--range", "outer")
        assert done.exit_code == 1
        assert "it never saw the NVTX range 'outer', and can see none of this package" in done.stderr
        assert "pip install 'nvtx<0.2.12'" in done.stderr
        assert "spelling" not in done.stderr

    def test_a_window_after_the_end_is_the_likely_reason_for_nothing(self, here, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54", "no-output")
        done = profile("work.py", "--tool", "nsys", "--window", "30:5")
        assert done.exit_code == 1
        assert "Most likely work ended before the window began, 30 s after its start" in done.stderr
        assert "name an earlier one (--window DELAY:DURATION)" in done.stderr

    def test_auto_takes_nsys_where_it_is_on_path(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204")
        done = profile("work.py", "--dry-run")
        assert "nsys profile" in done.stdout

    def test_render_is_the_last_step(self, here, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54", "kernels")
        done = profile("work.py", "--tool", "nsys", "-o", "mine")
        assert done.exit_code == 0, done.output
        assert (here / "mine" / "report" / "report.html").is_file()
        assert "mine/report/report.html" in done.stdout

    def test_failing_script_is_exit_1_with_its_last_lines(self, here, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54")
        (here / "work.py").write_text("print('so far')\nraise SystemExit('no data')\n")
        done = profile("work.py", "--tool", "nsys", "-o", "mine")
        assert done.exit_code == 1
        assert "work under nsys failed with exit code 1" in done.stderr
        assert "no data" in done.stderr
        assert "mine/capture/child.log" in done.stderr
        assert "nsightkit explain workload-failed" in done.stderr
        assert (here / "mine" / "capture" / "timeline.sqlite").is_file()
        assert not (here / "mine" / "run.json").exists()

    def test_output_that_holds_something_is_refused_before_anything_runs(self, here, bin_dir):
        record = install(bin_dir, "nsys", "2023.4.4.54")
        (here / "mine").mkdir()
        (here / "mine" / "file").write_text("keep")
        done = profile("work.py", "--tool", "nsys", "-o", "mine")
        assert done.exit_code == 1
        assert "is not empty" in done.stderr
        assert not record.exists()
        assert (here / "mine" / "file").read_text() == "keep"

    def test_capture_that_is_none_is_named(self, here, bin_dir):
        install(bin_dir, "ncu", "2026.1.0.0")
        done = profile("work.py", "--tool", "ncu", "-o", "mine")
        assert done.exit_code == 1
        assert "counters.ncu-rep" in done.stderr
        assert "Traceback" not in done.output


class TestMessages:
    @pytest.mark.parametrize("tool", ["nsys", "ncu"])
    def test_missing_tool(self, here, bin_dir, tool):
        done = profile("--tool", tool)
        assert done.exit_code == 1
        assert done.stdout == ""
        first, second = done.stderr.splitlines()
        assert first.startswith(f"Error: {tool} (NVIDIA Nsight")
        assert "not on PATH" in first
        assert second == "more: nsightkit explain tool-missing"
        assert not (here / "reports").exists()

    def test_unknown_workload_lists_the_bundled(self, here):
        done = profile("nothing")
        assert done.exit_code == 1
        assert "bundled: " in done.stderr
        assert "kv_decode" in done.stderr

    def test_tokens_said_twice(self, here, bin_dir):
        done = profile("--tokens", "3", "--", "--max-new-tokens", "4")
        assert done.exit_code == 2
        assert "give one of them" in done.stderr

    @pytest.mark.parametrize("args", [("--tokens", "0"), ("--timeout", "0"), ("--tool", "perf"), ("a.py", "b.py")])
    def test_wrong_usage_is_exit_2(self, here, args):
        assert profile(*args).exit_code == 2

    def test_help_is_for_newcomers(self):
        done = profile("--help")
        assert done.exit_code == 0
        assert "[WORKLOAD] [-- ARGS...]" in done.stdout
        assert "  nsightkit profile --tool torch --tokens 16 " in done.stdout
        for option in ("--tool", "--tokens", "--output", "--name", "--timeout", "--dry-run", "--no-render"):
            assert option in done.stdout


class TestDryRun:
    def test_line_is_the_command_and_nothing_happens(self, here, bin_dir):
        record = install(bin_dir, "nsys", "2023.4.4.54")
        done = profile("work.py", "--tool", "nsys", "--dry-run", "-o", "my run", "--", "it's")
        assert done.exit_code == 0
        words = shlex.split(done.stdout)
        assert words[0] == "PYTHONUNBUFFERED=1"
        assert words[1:3] == [str(bin_dir / "nsys"), "profile"]
        assert words[-4:] == ["my run/capture/timeline", sys.executable, "work.py", "it's"]
        assert done.stderr == ""
        assert calls(record) == [["--version"], ["profile", "--help"]]
        assert [p.name for p in here.iterdir()] == ["work.py"]

    @pytest.mark.parametrize("tool", ["nsys", "ncu"])
    def test_without_the_tool_it_still_shows_the_options(self, here, bin_dir, tool):
        done = profile("--tool", tool, "--dry-run", "--tokens", "16")
        assert done.exit_code == 0
        words = shlex.split(done.stdout)
        assert words[1] == tool
        assert words[words.index("--max-new-tokens") + 1] == "16"
        assert f"note: {tool} is not on PATH" in done.stderr

    @pytest.mark.parametrize("tool", ["nsys", "ncu"])
    @pytest.mark.parametrize("place", [0, 1])
    def test_stand_in_accepts_the_line_as_printed(self, here, bin_dir, tool, place):
        import subprocess

        install(bin_dir, tool, VERSIONS[tool][place])
        done = profile("work.py", "--tool", tool, "--dry-run", "-o", "my run", "--", "it's")
        (here / "my run" / "capture").mkdir(parents=True)
        ran = subprocess.run(["sh", "-c", done.stdout], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "ran with it's" in ran.stdout

    def test_bundled_workload_keeps_results_and_leaves_out_the_warm_up(self, here, bin_dir):
        words = shlex.split(profile("--tool", "torch", "--dry-run", "--tokens", "7", "-o", "r").stdout)
        assert words[-6:] == ["--max-new-tokens", "7", "--warmup-iters", "0", "--results", "r/capture/results.json"]

    def test_own_settings_of_the_workload_win(self, here, bin_dir):
        own = ["--warmup-iters=2", "--results", "mine.json"]
        words = shlex.split(profile("--tool", "torch", "--dry-run", "--", *own).stdout)
        assert words[-3:] == own
        assert words.count("--results") == 1


@pytest.mark.torch
def test_torch_run_of_the_default_workload(here, bin_dir):
    small = ("--layers", "2", "--width", "32", "--heads", "2", "--prompt-len", "8", "--vocabulary", "64")
    done = profile(
        "--tool", "torch", "--tokens", "4", "--name", "my demo", "--no-render", "--no-ceilings", "--", *small
    )
    assert done.exit_code == 0, done.output
    run = only_run(here)
    assert run.path.name.startswith("my-demo-2")
    info = run.read_info()
    assert (info.workload, info.tokens) == ("kv_decode", 4)
    # Its defaults are no arguments: compare knows them from here.
    assert info.captures[0].settings["workload"].keys() == {"batch_size", "prompt_len", "dtype"}
    import torch

    assert info.torch_version == torch.__version__
    (capture,) = info.captures
    assert capture.backend == "torch"
    # prefill, decode, 4 steps; 2 layers with attention and mlp in 5 forward passes, and their heads.
    assert capture.row_counts["nvtx_ranges"] == 1 + 1 + 4 + 5 * (2 * 3 + 1)
    assert capture.row_counts["cpu_operators"] > 100
    assert "1 timed and 0 warm-up repetitions (the first one is cold)" in capture.scope
    assert "no kernels" in done.stdout
    assert json.loads((run.capture_dir / "results.json").read_text())["tokens_run"] == 4
    assert "tokens/s" in done.stderr


@pytest.mark.torch
def test_tokens_count_every_repetition_that_was_traced(here, bin_dir):
    small = ("--layers", "1", "--width", "16", "--heads", "1", "--prompt-len", "4", "--vocabulary", "16")
    done = profile(
        "--tool",
        "torch",
        "--tokens",
        "2",
        "-o",
        "r",
        "--no-render",
        "--no-ceilings",
        "--",
        *small,
        "--bench-iters",
        "3",
    )
    assert done.exit_code == 0, done.output
    assert Run(here / "r").read_info().tokens == 6


@pytest.mark.nsight
@pytest.mark.torch
def test_real_nsys_records_the_phases_of_the_default_workload(here, nsight_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{nsight_path}:/usr/bin:/bin")
    small = ("--layers", "2", "--width", "32", "--heads", "2", "--prompt-len", "8", "--vocabulary", "64")
    done = profile("--tool", "nsys", "--tokens", "16", "-o", "r", "--no-render", "--", *small)
    assert done.exit_code == 0, done.output
    assert "no kernels: no GPU was traced" in done.stdout
    with sqlite3.connect(here / "r" / "capture" / "timeline.sqlite") as base:
        counts = dict(base.execute(
            "SELECT coalesce(text, value), count(*) FROM NVTX_EVENTS LEFT JOIN StringIds ON textId = id "
            "WHERE eventType = 59 GROUP BY 1"
        ))  # fmt: skip
        # What a workload says of its work in numbers is a mark, and no range.
        ((marks,),) = base.execute("SELECT count(*) FROM NVTX_EVENTS WHERE eventType = 34")
    base.close()
    assert counts == {"prefill": 1, "decode": 1, "decode_step": 16, "head": 17, "layer": 34, "attention": 34, "mlp": 34}
    (capture,) = Run(here / "r").read_info().captures
    assert capture.row_counts["nvtx_ranges"] == sum(counts.values()) + marks
