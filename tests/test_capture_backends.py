"""The backends against stand-ins that refuse what the real tools refuse: command lines, results, faults."""

import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from builders.processes import gone
from fake_tools.install import VERSIONS, calls, install
from nsightkit.capture import (
    BACKENDS,
    Counters,
    Options,
    Request,
    Scope,
    Workload,
    bundled_workloads,
    find_workload,
    load_backend,
)
from nsightkit.errors import CaptureError, ToolError

SCRIPT = "import sys\nprint('ran with', *sys.argv[1:])\n"
TOOL_VERSIONS = [(tool, version) for tool, versions in VERSIONS.items() for version in versions]


def request_for(tmp_path, code=SCRIPT, args=("--flag", "a b"), timeout_s=None):
    script = tmp_path / "my script.py"
    script.write_text(code, encoding="utf-8")
    return Request(Workload("my script", script, args), tmp_path / "run" / "capture", timeout_s)


def capture(tool, request):
    return load_backend(tool).capture_workload(request)


class TestList:
    def test_each_backend_is_found_by_its_tool(self):
        assert [load_backend(tool).TOOL for tool in ("nsys", "ncu", "torch")] == ["nsys", "ncu", "torch"]
        assert len(BACKENDS) == 3

    def test_other_tools_are_not_known(self):
        with pytest.raises(KeyError):
            load_backend("perf")


class TestWorkload:
    def test_bundled_are_the_scripts_not_their_models(self):
        assert "kv_decode" in bundled_workloads()
        assert not [name for name in bundled_workloads() if name.startswith("_") or name == "models"]

    def test_bundled_by_name(self):
        workload = find_workload("kv_decode", ("--seed", "1"))
        assert workload.bundled
        assert workload.argv == (sys.executable, str(workload.script), "--seed", "1")

    def test_script_by_path(self, tmp_path):
        script = tmp_path / "train.py"
        script.write_text("")
        assert find_workload(str(script)) == Workload("train", script)

    @pytest.mark.parametrize("first", ["#!/usr/bin/env python3\n", "#!/usr/bin/python3.11 -u\n", "#!/opt/python\n"])
    def test_first_line_may_name_python(self, tmp_path, first):
        script = tmp_path / "train"
        script.write_text(first, encoding="utf-8")
        assert find_workload(str(script)) == Workload("train", script)

    @pytest.mark.parametrize("content", [b"just notes\n", b"\x7fELF\0\0", b"#!/bin/sh\n", b"", b"# python\n"])
    def test_other_files_are_not_run_as_python(self, tmp_path, content):
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        with pytest.raises(CaptureError, match=r"is no Python script: it does not end in \.py") as caught:
            find_workload(str(path))
        assert f"nsightkit profile -- {path}" in str(caught.value)
        assert caught.value.slug == "unknown-workload"

    def test_each_bundled_workload_says_whether_it_takes_tokens(self):
        without = {name for name in bundled_workloads() if not find_workload(name).decodes}
        assert without == {"layer_similarity", "python_overhead"}

    def test_unknown_lists_the_bundled(self):
        with pytest.raises(CaptureError, match=r"a bundled workload; did you mean kv_decode\? bundled: .*kv_decode"):
            find_workload("kv_decoed")
        with pytest.raises(CaptureError, match=r"neither a script nor a bundled workload; bundled: .*kv_decode"):
            find_workload("nothing_like_it")

    def test_folder_is_no_script(self, tmp_path):
        with pytest.raises(CaptureError) as caught:
            find_workload(str(tmp_path))
        assert caught.value.slug == "unknown-workload"


class TestCommandLines:
    def test_nsys_old(self, tmp_path, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54")
        request = request_for(tmp_path)
        plan = load_backend("nsys").plan(request)
        assert plan.argv == (
            str(bin_dir / "nsys"), "profile", "--trace=cuda,nvtx,osrt", "--sample=none", "--cpuctxsw=none",
            "--cuda-graph-trace=node", "--cuda-memory-usage=true", "--wait=primary", "--force-overwrite=true",
            "--export=sqlite", "--output", str(request.capture_dir / "timeline"),
            sys.executable, str(request.workload.script), "--flag", "a b",
        )  # fmt: skip
        assert plan.tool_version == "2023.4.4.54"
        assert plan.notes == ()

    def test_nsys_new_keeps_the_environment_out_of_the_report(self, tmp_path, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204")
        assert "--discard-environment=true" in load_backend("nsys").plan(request_for(tmp_path)).argv

    def test_ncu_old(self, tmp_path, bin_dir):
        install(bin_dir, "ncu", "2024.1.1.0")
        request = request_for(tmp_path)
        plan = load_backend("ncu").plan(request)
        assert plan.argv == (
            str(bin_dir / "ncu"), "--config-file", "off", "--target-processes", "all", "--set", "detailed", "--nvtx",
            "--graph-profiling", "node", "--clock-control", "base", "--cache-control", "all", "--force-overwrite",
            "--export", str(request.capture_dir / "counters"),
            sys.executable, str(request.workload.script), "--flag", "a b",
        )  # fmt: skip
        assert plan.tool_version == "2024.1.1.0"

    def test_ncu_new_keeps_full_names(self, tmp_path, bin_dir):
        install(bin_dir, "ncu", "2026.1.0.0")
        argv = load_backend("ncu").plan(request_for(tmp_path)).argv
        assert argv[argv.index("--rename-kernels") + 1] == "off"

    @pytest.mark.parametrize("tool", ["nsys", "ncu"])
    def test_without_the_tool_the_plan_says_so(self, tmp_path, bin_dir, tool):
        plan = load_backend(tool).plan(request_for(tmp_path))
        assert plan.argv[0] == tool
        assert plan.tool_version is None
        assert plan.notes == (f"{tool} is not on PATH: these are the options for a current one",)

    def test_lost_option_is_said(self, tmp_path, bin_dir):
        # A release so old that it has no mode for CUDA graphs.
        bin_dir.mkdir()
        script = bin_dir / "nsys"
        script.write_text("#!/bin/sh\ncase $1 in --version) echo NVIDIA Nsight Systems version 2020.1.1;;\n"
                          "*) echo ' --trace= --output= --export= --force-overwrite=';; esac\n")  # fmt: skip
        script.chmod(0o755)
        plan = load_backend("nsys").plan(request_for(tmp_path))
        assert "--cuda-graph-trace=node" not in plan.argv
        lost = "--sample, --cpuctxsw, --cuda-graph-trace, --cuda-memory-usage, --wait"
        assert plan.notes == (f"nsys 2020.1.1 does not know {lost}: left out",)


@pytest.mark.parametrize(("tool", "version"), TOOL_VERSIONS)
def test_stand_in_accepts_and_records_exactly_the_plan(tmp_path, bin_dir, tool, version):
    record = install(bin_dir, tool, version)
    request = request_for(tmp_path)
    done = capture(tool, request)
    assert done.exit_code == 0
    assert done.plan.tool_version == version
    assert calls(record)[-1] == list(done.plan.argv[1:])
    assert done.paths[0].is_file()
    assert "ran with --flag a b" in request.log_path.read_text()


@pytest.mark.parametrize("tool", ["nsys", "ncu"])
def test_stand_in_refuses_what_the_real_one_refuses(tmp_path, bin_dir, tool):
    install(bin_dir, tool, VERSIONS[tool][0])
    words = (["profile"] if tool == "nsys" else []) + ["--bogus=1", "true"]
    done = subprocess.run([bin_dir / tool, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unrecognised option '--bogus=1'" in done.stdout + done.stderr


class TestNsys:
    def test_good_capture_is_its_export(self, tmp_path, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54", "kernels")
        done = capture("nsys", request_for(tmp_path))
        (path,) = done.paths
        assert path.name == "timeline.sqlite"
        with sqlite3.connect(path) as base:
            assert base.execute("SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL").fetchone() == (3,)
        base.close()
        assert done.wall_s > 0

    def test_without_export_the_report_is_the_capture(self, tmp_path, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54", "no-export")
        done = capture("nsys", request_for(tmp_path))
        assert done.paths[0].name == "timeline.nsys-rep"
        assert done.notes[:-1] == ("nsys made no SQLite export; the report itself was read",)

    @pytest.mark.parametrize(("version", "said"), [("2023.4.4.54", True), ("2026.1.1.204", False)])
    def test_an_nsys_that_keeps_the_environment_is_named(self, tmp_path, bin_dir, version, said):
        install(bin_dir, "nsys", version)
        notes = capture("nsys", request_for(tmp_path)).notes
        assert any("keeps the environment of the program" in text for text in notes) is said

    def test_report_put_elsewhere_is_moved_where_it_was_asked_for(self, tmp_path, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54", "elsewhere")
        request = request_for(tmp_path)
        done = capture("nsys", request)
        assert done.paths == (request.capture_dir / "timeline.sqlite",)
        assert (request.capture_dir / "timeline.nsys-rep").is_file()

    def test_status_0_without_report_is_an_error(self, tmp_path, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54", "no-output")
        with pytest.raises(CaptureError, match=r"ended with exit code 0 but left no timeline\.nsys-rep") as caught:
            capture("nsys", request_for(tmp_path))
        assert caught.value.slug == "no-output"

    def test_failing_workload(self, tmp_path, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54")
        request = request_for(tmp_path, "print('so far')\nraise SystemExit(7)\n")
        with pytest.raises(CaptureError) as caught:
            capture("nsys", request)
        text = str(caught.value)
        assert "my script under nsys failed with exit code 7" in text
        assert "kept in" in text
        assert "timeline.nsys-rep" in text
        assert "so far" in text
        assert str(request.log_path) in text
        assert (request.capture_dir / "timeline.sqlite").is_file()

    @pytest.mark.parametrize(
        ("behavior", "said"),
        [
            ("agent-lost", "Connection to Agent lost. This is most likely a bug. Internal reason: 'End of file'."),
            ("agent-launcher", "Agent launcher failed."),
            # The last line of an exception of four, without the tag in front of it.
            ("agent-exception", "Local Endpoint is not available."),
        ],
    )
    def test_lost_agent_is_the_fault_of_nsys_not_of_the_workload(self, tmp_path, bin_dir, behavior, said):
        record = install(bin_dir, "nsys", "2023.4.4.54", behavior)
        with pytest.raises(CaptureError, match="3 times in a row") as caught:
            capture("nsys", request_for(tmp_path))
        assert len([words for words in calls(record) if "--output" in words]) == 3
        assert caught.value.slug == "agent-lost"
        assert f'it said "{said}"; nothing was captured, and whether my script ran is not known' in str(caught.value)
        assert "run it again" in str(caught.value)

    def test_agent_lost_at_the_start_is_tried_again(self, tmp_path, bin_dir):
        record = install(bin_dir, "nsys", "2023.4.4.54", "agent-lost-once")
        heard = []
        done = load_backend("nsys").capture_workload(request_for(tmp_path), heard.append)
        assert len([words for words in calls(record) if "--output" in words]) == 2
        assert done.paths[0].is_file()
        assert (
            "nsys lost its agent at the start and was started 2 times; the program may have begun as often"
            in done.notes
        )
        assert any("once more" in line for line in heard)

    def test_agent_lost_late_is_not_tried_again(self, tmp_path, bin_dir, monkeypatch):
        from nsightkit.capture import nsys

        monkeypatch.setattr(nsys, "_START_S", 0.0)
        record = install(bin_dir, "nsys", "2023.4.4.54", "agent-lost-once")
        with pytest.raises(CaptureError, match="the process that collects: it said"):
            capture("nsys", request_for(tmp_path))
        assert len([words for words in calls(record) if "--output" in words]) == 1

    def test_first_error_is_quoted_where_the_last_lines_hide_it(self, tmp_path, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54")
        code = "print('Failed to open the weights')\nfor n in range(40): print('line', n)\nraise SystemExit(7)\n"
        with pytest.raises(CaptureError, match='exit code 7; the first error is "Failed to open the weights"; kept'):
            capture("nsys", request_for(tmp_path, code))

    def test_workload_that_speaks_of_an_agent_is_no_lost_one(self, tmp_path, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54")
        with pytest.raises(CaptureError, match="failed with exit code 3") as caught:
            capture("nsys", request_for(tmp_path, "print('Connection to Agent lost.')\nraise SystemExit(3)\n"))
        assert caught.value.slug == "workload-failed"

    def test_refused_option_is_the_tools_fault_not_the_workloads(self, tmp_path, bin_dir, monkeypatch):
        install(bin_dir, "nsys", "2023.4.4.54")
        from nsightkit.capture import nsys

        monkeypatch.setattr(nsys, "_WISHED", (("--trace", "cuda,wddm"), ("--export", "sqlite")))
        with pytest.raises(ToolError, match="Illegal --trace argument 'wddm'") as caught:
            capture("nsys", request_for(tmp_path))
        assert caught.value.slug == "tool-refused"

    @pytest.mark.parametrize(
        ("counters", "extra", "said"),
        [
            (Counters(clock_control="boost"), (), "the argument for option '--clock-control' is invalid"),
            (Counters(replay_mode="range", kernel_regex="x"), (), "Option kernel-name is not supported during range"),
            (Counters(), ("--sect=x",), "option '--sect=x' is ambiguous and matches '--section'"),
            (Counters(kernel_regex="("), (), "Invalid regex provided to --kernel option"),
        ],
    )
    @pytest.mark.nsight
    def test_value_that_the_real_ncu_refuses_is_no_failure_of_the_workload(
        self, tmp_path, nsight_path, monkeypatch, counters, extra, said
    ):
        monkeypatch.setenv("PATH", f"{nsight_path}:/usr/bin:/bin")
        request = replace(request_for(tmp_path), options=Options(counters=counters, extra=extra))
        with pytest.raises(ToolError) as caught:
            capture("ncu", request)
        assert caught.value.slug == "tool-refused"
        assert f'ncu refused the command line: it said "==ERROR== {said}' in str(caught.value)

    @pytest.mark.nsight
    def test_reason_of_a_refusal_is_quoted_with_it(self, tmp_path, nsight_path, monkeypatch):
        monkeypatch.setenv("PATH", f"{nsight_path}:/usr/bin:/bin")
        request = replace(request_for(tmp_path), options=Options(extra=("--wait=never",)))
        with pytest.raises(ToolError, match=r"Illegal --wait argument: never\. Possible --wait values are"):
            capture("nsys", request)

    def test_in_range_replay_the_profiler_api_is_the_range(self, tmp_path, bin_dir):
        install(bin_dir, "ncu", "2024.1.1.0")
        options = Options(Scope(profiler_api=True), Counters(replay_mode="range"))
        done = capture("ncu", replace(request_for(tmp_path), options=options))
        assert "--profile-from-start" not in done.plan.argv
        assert done.plan.argv[done.plan.argv.index("--replay-mode") + 1] == "range"


class TestNcu:
    @pytest.mark.parametrize(("behavior", "name"), [("good", "counters.ncu-rep"), ("packed", "counters.ncu-repz")])
    def test_good_capture(self, tmp_path, bin_dir, behavior, name):
        install(bin_dir, "ncu", "2026.1.0.0", behavior)
        done = capture("ncu", request_for(tmp_path))
        assert done.paths[0].name == name
        assert "ncu set the clocks itself (--clock-control base) and ncu emptied the caches" in done.notes[-1]

    @pytest.mark.parametrize(
        ("behavior", "error", "slug", "text"),
        [
            ("no-driver", ToolError, "no-gpu", "failed to connect to the CUDA driver (stub libcuda"),
            ("no-permission", ToolError, "no-counter-permission", "NVreg_RestrictProfilingToAdminUsers=0"),
            ("no-kernels", CaptureError, "no-kernels", "launched none on a GPU"),
            ("npm", ToolError, "tool-unusable", "it said '17.1.14' (the npm package npm-check-updates"),
        ],
    )
    def test_faults(self, tmp_path, bin_dir, behavior, error, slug, text):
        install(bin_dir, "ncu", "2024.1.1.0", behavior)
        with pytest.raises(error) as caught:
            capture("ncu", request_for(tmp_path))
        assert caught.value.slug == slug
        assert text in str(caught.value)

    def test_failing_workload(self, tmp_path, bin_dir):
        install(bin_dir, "ncu", "2024.1.1.0")
        with pytest.raises(CaptureError, match="failed with exit code 3; no capture came out"):
            capture("ncu", request_for(tmp_path, "raise SystemExit(3)"))


@pytest.mark.parametrize("tool", ["nsys", "ncu"])
class TestEither:
    def test_missing_tool_is_one_sentence(self, tmp_path, bin_dir, tool):
        request = request_for(tmp_path)
        with pytest.raises(ToolError) as caught:
            capture(tool, request)
        assert caught.value.slug == "tool-missing"
        assert str(caught.value).startswith(f"{tool} (NVIDIA Nsight ")
        assert "\n" not in str(caught.value)
        assert not request.capture_dir.exists()

    def test_hanging_workload(self, tmp_path, bin_dir, tool):
        install(bin_dir, tool, VERSIONS[tool][0])
        request = request_for(tmp_path, "import time\nprint('going')\ntime.sleep(300)\n", timeout_s=2.0)
        with pytest.raises(CaptureError, match=r"did not end within 2 s and was stopped") as caught:
            capture(tool, request)
        assert caught.value.slug == "capture-timeout"
        assert "going" in request.log_path.read_text()
        assert ("ncu --clock-control reset" in str(caught.value)) == (tool == "ncu")

    def test_folder_that_cannot_be_written(self, tmp_path, bin_dir, tool):
        install(bin_dir, tool, VERSIONS[tool][0])
        (tmp_path / "run").write_text("a file")
        with pytest.raises(CaptureError) as caught:
            capture(tool, request_for(tmp_path))
        assert caught.value.slug == "cannot-write"


@pytest.mark.nsight
class TestRealNsys:
    @pytest.fixture
    def real(self, nsight_path, monkeypatch):
        monkeypatch.setenv("PATH", f"{nsight_path}:/usr/bin:/bin")

    RANGES = (
        "import nvtx, time\n"
        "for _ in range(3):\n"
        "    with nvtx.annotate('outer'):\n"
        "        for _ in range(2):\n"
        "            with nvtx.annotate('inner'):\n"
        "                time.sleep(0.002)\n"
    )

    def test_ranges_of_a_script_are_in_the_export(self, tmp_path, real):
        done = capture("nsys", request_for(tmp_path, self.RANGES, ()))
        assert done.exit_code == 0
        with sqlite3.connect(done.paths[0]) as base:
            found = base.execute(
                "SELECT coalesce(text, value), count(*), min(end - start) FROM NVTX_EVENTS "
                "LEFT JOIN StringIds ON textId = id WHERE eventType = 59 GROUP BY 1 ORDER BY 1"
            ).fetchall()
        base.close()
        assert [(name, count) for name, count, _ in found] == [("inner", 6), ("outer", 3)]
        assert found[0][2] >= 2_000_000
        assert found[1][2] >= 4_000_000

    def test_its_help_lists_every_option_that_matters(self, tmp_path, real):
        assert load_backend("nsys").plan(request_for(tmp_path)).notes == ()

    def test_status_of_the_workload_comes_through(self, tmp_path, real):
        with pytest.raises(CaptureError, match="failed with exit code 7; kept in"):
            capture("nsys", request_for(tmp_path, "raise SystemExit(7)", ()))

    def test_time_limit_keeps_the_partial_report(self, tmp_path, real):
        request = request_for(tmp_path, "import time\ntime.sleep(300)\n", (), timeout_s=3.0)
        with pytest.raises(CaptureError, match=r"kept in .*timeline\.nsys-rep"):
            capture("nsys", request)

    # nsys gives the workload a session of its own, and asks it to end with SIGTERM only.
    STUBBORN = (
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.fork()\n"
        "pathlib.Path(f'{os.getpid()}.pid').touch()\n"
        "time.sleep(300)\n"
    )

    def test_time_limit_ends_a_workload_that_does_not_want_to_end(self, tmp_path, monkeypatch, real):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(CaptureError) as caught:
            capture("nsys", request_for(tmp_path, self.STUBBORN, (), timeout_s=3.0))
        assert caught.value.slug == "capture-timeout"
        pids = [path.stem for path in tmp_path.glob("*.pid")]
        assert len(pids) == 2
        assert all(map(gone, pids))

    # The agent's command line names the session, which nsys calls by its own id.
    AGENT_ENDS = (
        "import os, pathlib, signal, time\n"
        "def above(pid):\n"
        "    return int(pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])\n"
        "session = f'--session-name=profile-{above(os.getppid())}'.encode()\n"
        "lines = {p: p.read_bytes().split(bytes(1)) for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')}\n"
        "(agent,) = [int(p.parent.name) for p, words in lines.items() if session in words]\n"
        "pathlib.Path(f'{os.getpid()}.pid').touch()\n"
        "os.kill(agent, signal.SIGKILL)\n"
        "time.sleep(300)\n"
    )

    def test_lost_agent_is_named_and_the_rest_of_the_workload_ended(self, tmp_path, monkeypatch, real):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(CaptureError, match="Connection to Agent lost") as caught:
            capture("nsys", request_for(tmp_path, self.AGENT_ENDS, (), timeout_s=60.0))
        assert caught.value.slug == "agent-lost"
        pids = [path.stem for path in tmp_path.glob("*.pid")]
        assert len(pids) == 3  # it is tried again
        assert all(map(gone, pids))


@pytest.mark.nsight
def test_real_ncu_without_a_driver_or_with_one(tmp_path, nsight_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{nsight_path}:/usr/bin:/bin")
    # The script launches no kernel: with a driver nothing is profiled, without one ncu cannot start.
    with pytest.raises((ToolError, CaptureError)) as caught:
        capture("ncu", request_for(tmp_path, "pass", ()))
    assert caught.value.slug in ("no-gpu", "no-kernels")
