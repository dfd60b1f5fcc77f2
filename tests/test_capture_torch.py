"""torch.profiler around a script in a child: its trace, its exit status, its arguments."""

import _thread
import gzip
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from nsightkit.capture import Request, Workload, load_backend, torch_profiler
from nsightkit.errors import CaptureError, ToolError

WORK = """
import sys, torch
torch.set_num_threads(1)
print("argv", sys.argv, "name", __name__, "path", sys.path[0])
with torch.profiler.record_function("decode"):
    torch.mm(torch.ones(8, 4), torch.ones(4, 2))
"""


def request_for(tmp_path, code=WORK, args=("--x", "1 2"), timeout_s=None):
    script = tmp_path / "work.py"
    script.write_text(code, encoding="utf-8")
    return Request(Workload("work", script, args), tmp_path / "run" / "capture", timeout_s)


def capture(request):
    return load_backend("torch").capture_workload(request)


def events(path):
    return json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def test_missing_torch_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_profiler.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"pip install 'nsightkit\[workloads\]'") as caught:
        capture(request_for(tmp_path))
    assert caught.value.slug == "torch-missing"
    assert not (tmp_path / "run").exists()


def test_plan_is_the_command_that_is_run(tmp_path):
    request = request_for(tmp_path)
    argv = torch_profiler.plan(request).argv
    assert argv[0] == sys.executable
    assert argv[1].endswith("torch_runner.py")
    assert argv[2:] == (str(request.capture_dir / "torch-trace.json.gz"), str(request.workload.script), "--x", "1 2")


@pytest.mark.torch
class TestWithTorch:
    def test_trace_has_operators_with_shapes_and_ranges(self, tmp_path):
        request = request_for(tmp_path)
        done = capture(request)
        (path,) = done.paths
        found = events(path)
        product = next(e for e in found if e.get("name") == "aten::mm")
        assert product["args"]["Input Dims"] == [[8, 4], [4, 2]]
        assert [e["name"] for e in found if e.get("cat") == "user_annotation"] == ["decode"]
        assert done.exit_code == 0
        assert sorted(p.name for p in request.capture_dir.iterdir()) == ["child.log", "torch-trace.json.gz"]

    def test_script_sees_what_it_would_see_alone(self, tmp_path):
        request = request_for(tmp_path)
        capture(request)
        script = str(request.workload.script)
        assert f"argv {[script, '--x', '1 2']} name __main__ path {tmp_path}" in request.log_path.read_text()

    def test_version_is_in_the_trace_and_the_plan(self, tmp_path):
        import torch

        done = capture(request_for(tmp_path))
        trace = json.loads(gzip.decompress(done.paths[0].read_bytes()))
        assert trace["torch_version"] == torch.__version__ == done.plan.tool_version

    @pytest.mark.parametrize(
        ("end", "code", "said"),
        [
            ("raise SystemExit(7)", 7, ""),
            ("raise SystemExit('no weights')", 1, "no weights"),
            ("raise ValueError('wrong shape')", 1, "ValueError: wrong shape"),
        ],
    )
    def test_failing_script_keeps_its_status_and_the_trace(self, tmp_path, end, code, said):
        request = request_for(tmp_path, WORK + end)
        with pytest.raises(CaptureError) as caught:
            capture(request)
        text = str(caught.value)
        assert f"failed with exit code {code}; kept in" in text
        assert said in text
        trace = request.capture_dir / "torch-trace.json.gz"
        assert [e["name"] for e in events(trace) if e.get("name") == "aten::mm"] == ["aten::mm"]

    @pytest.mark.parametrize("end", ["raise SystemExit", "raise SystemExit(0)", "sys.exit()"])
    def test_good_ends(self, tmp_path, end):
        assert capture(request_for(tmp_path, WORK + end)).exit_code == 0

    def test_script_that_skips_python_s_end_leaves_no_trace(self, tmp_path):
        with pytest.raises(CaptureError, match=r"left no torch-trace\.json\.gz") as caught:
            capture(request_for(tmp_path, "import os; os._exit(0)"))
        assert caught.value.slug == "no-output"
        assert "Most likely the script ended its process itself (os._exit" in str(caught.value)

    def test_script_may_change_its_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "work.py").write_text(WORK + "import os; os.chdir('/')", encoding="utf-8")
        request = Request(Workload("work", Path("work.py")), Path("run/capture"))
        done = capture(request)
        assert done.paths == (Path("run/capture/torch-trace.json.gz"),)
        assert done.workload_wall_s is not None

    def test_script_that_profiles_itself_is_named(self, tmp_path):
        own = "with torch.profiler.profile():\n    torch.ones(4) + 1\n"
        with pytest.raises(CaptureError, match="only one profiler can record") as caught:
            capture(request_for(tmp_path, WORK + own))
        assert caught.value.slug == "profiler-taken"

    def test_its_own_failure_comes_before_that(self, tmp_path):
        own = "with torch.profiler.profile():\n    torch.ones(4) + 1\nraise SystemExit(5)"
        with pytest.raises(CaptureError, match="failed with exit code 5") as caught:
            capture(request_for(tmp_path, WORK + own))
        assert caught.value.slug == "workload-failed"

    def test_failure_leaves_only_the_trace_and_a_traceback_of_the_script(self, tmp_path):
        request = request_for(tmp_path, WORK + "def f(): raise ValueError('x')\nf()")
        with pytest.raises(CaptureError):
            capture(request)
        assert sorted(p.name for p in request.capture_dir.iterdir()) == ["child.log", "torch-trace.json.gz"]
        said = request.log_path.read_text(encoding="utf-8").split("\n", 1)[1]
        assert "runpy" not in said
        assert "torch_runner" not in said
        assert ", in f" in said


def test_python_without_torch_is_named(tmp_path):
    python = tmp_path / "python3"
    # -S: without the packages that are installed beside it.
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    script = tmp_path / "work.py"
    script.write_text("import torch", encoding="utf-8")
    request = Request(Workload("work", script, program=str(python)), tmp_path / "run" / "capture")
    with pytest.raises(ToolError, match=f"torch is not installed for {python}") as caught:
        capture(request)
    assert caught.value.slug == "torch-missing"


@pytest.mark.torch
@pytest.mark.usefixtures("hears_signals")
class TestInterrupt:
    def test_interrupt_keeps_the_partial_trace(self, tmp_path):
        request = request_for(tmp_path, WORK + "print('working')\nimport time; time.sleep(300)")

        def interrupt(line):
            if line == "working":
                _thread.interrupt_main()

        with pytest.raises(CaptureError, match="interrupted"):
            load_backend("torch").capture_workload(request, interrupt)
        assert sorted(p.name for p in request.capture_dir.iterdir()) == ["child.log", "torch-trace.json.gz"]
        assert [e for e in events(request.capture_dir / "torch-trace.json.gz") if e.get("name") == "aten::mm"]

    def test_time_limit_keeps_the_trace_where_interrupts_were_ignored(self, tmp_path):
        # As in a job in the background of a shell.
        request = request_for(tmp_path, WORK + "print('working')\nimport time; time.sleep(300)", timeout_s=300)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)

        def end(line):
            if line == "working":
                child = int((request.capture_dir / "pid").read_text())
                os.kill(child, signal.SIGINT)

        try:
            code = f"import os; open({str(request.capture_dir / 'pid')!r}, 'w').write(str(os.getpid()))\n"
            request.workload.script.write_text(code + request.workload.script.read_text())
            with pytest.raises(CaptureError, match="failed with exit code 130"):
                load_backend("torch").capture_workload(request, end)
        finally:
            signal.signal(signal.SIGINT, before)
        assert [e for e in events(request.capture_dir / "torch-trace.json.gz") if e.get("name") == "aten::mm"]
