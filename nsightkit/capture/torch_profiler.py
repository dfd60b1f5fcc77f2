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
from nsightkit.errors import CaptureError, ToolError

TOOL = "torch"
_SECONDS = ".seconds"
_RUNNER = Path(__file__).resolve().with_name("torch_runner.py")


def plan(request: Request) -> Plan:
    """Return the command line; torch itself is not asked for."""
    workload = request.workload
    if workload.script is None:
        raise CaptureError(
            f"torch.profiler runs inside Python, and '{workload.name}' is no Python script: name the script itself, or "
            "use --tool nsys",
            slug="not-a-script",
        )
    output = str(_trace(request))
    argv = (workload.program or sys.executable, str(_RUNNER), output, str(workload.script), *workload.args)
    found = workload.program is not None or importlib.util.find_spec("torch") is not None
    notes = () if found else ("torch is not installed here",)
    return Plan(argv, _version(workload.program) if found else None, notes)


def _version(program: str | None) -> str | None:
    """Return the version of torch; of another Python's it stands in the trace."""
    return importlib.metadata.version("torch") if program is None else None


def capture_workload(request: Request, on_line: OnLine | None = None) -> Captured:
    """Run the workload under torch.profiler.

    Raises:
        ToolError: torch is not installed.
        CaptureError: the workload failed or took too long, or no trace came out.
    """
    planned = plan(request)
    if planned.tool_version is None and request.workload.program is None:
        raise ToolError(
            f"torch is not installed for {sys.executable}; install it with  pip install 'nsightkit[workloads]'",
            slug="torch-missing",
        )
    result = run_child(planned.argv, request.log_path, request.timeout_s, on_line)
    require_success(result, request, "torch.profiler")
    trace = _trace(request)
    if not trace.is_file():
        raise missing_output(result, trace, "torch.profiler")
    seconds = _seconds(trace.with_name(f"{trace.name}{_SECONDS}"))
    return Captured(TOOL, (trace,), planned, result.exit_code, result.wall_s, planned.notes, seconds)


def plain_argv(request: Request) -> tuple[str, ...]:
    """Return the command line that times the script without a profiler."""
    workload = request.workload
    seconds = str(request.stem("untraced").with_suffix(_SECONDS))
    return (workload.program or sys.executable, str(_RUNNER), seconds, str(workload.script), *workload.args)


def plain_seconds(request: Request) -> float | None:
    """Return what that command measured."""
    return _seconds(request.stem("untraced").with_suffix(_SECONDS))


def _seconds(path: Path) -> float | None:
    """Return the seconds that the runner left in `path`, and remove it: they are kept in the run's description."""
    try:
        return float(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    finally:
        path.unlink(missing_ok=True)


def _trace(request: Request) -> Path:
    stem = request.stem("torch-trace")
    return stem.with_name(f"{stem.name}.json.gz")
