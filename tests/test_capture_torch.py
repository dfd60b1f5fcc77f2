"""torch.profiler around a script in a child: its trace, its exit status, its arguments."""

import _thread
import gzip
import json
import sys

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

    def test_interrupt_keeps_the_partial_trace(self, tmp_path):
        request = request_for(tmp_path, WORK + "print('working')\nimport time; time.sleep(300)")

        def interrupt(line):
            if line == "working":
                _thread.interrupt_main()

        with pytest.raises(CaptureError, match="interrupted"):
            load_backend("torch").capture_workload(request, interrupt)
        assert [e for e in events(request.capture_dir / "torch-trace.json.gz") if e.get("name") == "aten::mm"]
