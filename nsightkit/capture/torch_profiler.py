"""Drives torch.profiler: operators with their shapes, annotations and, where there is a GPU, kernels.

In: a request. Out: the command line that runs the workload in a child under torch.profiler, or the trace after running
it. The workload needs no change; see `torch_runner`.
"""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from nsightkit.capture.backend import Captured, OnLine, Plan, Request, missing_output, require_success
from nsightkit.capture.process import run_child
from nsightkit.errors import ToolError

TOOL = "torch"
_RUNNER = Path(__file__).resolve().with_name("torch_runner.py")


def plan(request: Request) -> Plan:
    """Return the command line; torch itself is not asked for."""
    output = str(_trace(request))
    argv = (sys.executable, str(_RUNNER), output, str(request.workload.script), *request.workload.args)
    found = importlib.util.find_spec("torch") is not None
    notes = () if found else ("torch is not installed here",)
    return Plan(argv, importlib.metadata.version("torch") if found else None, notes)


def capture_workload(request: Request, on_line: OnLine | None = None) -> Captured:
    """Run the workload under torch.profiler.

    Raises:
        ToolError: torch is not installed.
        CaptureError: the workload failed or took too long, or no trace came out.
    """
    planned = plan(request)
    if planned.tool_version is None:
        raise ToolError(
            f"torch is not installed for {sys.executable}; install it with  pip install 'nsightkit[workloads]'",
            slug="torch-missing",
        )
    result = run_child(planned.argv, request.log_path, request.timeout_s, on_line)
    require_success(result, request, "torch.profiler")
    trace = _trace(request)
    if not trace.is_file():
        raise missing_output(result, trace, "torch.profiler")
    return Captured(TOOL, (trace,), planned, result.exit_code, result.wall_s, planned.notes)


def _trace(request: Request) -> Path:
    return request.capture_dir / "torch-trace.json.gz"
