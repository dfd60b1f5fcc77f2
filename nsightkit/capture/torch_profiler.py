"""Drives torch.profiler: operators with their shapes, annotations and, where there is a GPU, kernels.

In: a request. Out: the command line that runs the workload in a child under torch.profiler, or the trace after running
it. The workload needs no change; see `torch_runner`.
"""

import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

from nsightkit.capture.backend import Captured, OnLine, Plan, Request, missing_output, require_success
from nsightkit.capture.process import ChildResult, run_child
from nsightkit.capture.workload import torch_missing
from nsightkit.errors import CaptureError, ToolError

TOOL = "torch"
_SECONDS = ".seconds"
# Short helpers, as a query of the machine, are no part of the work.
_LEAST_CHILDREN_S, _CHILDREN_SHARE = 0.2, 0.1
_RUNNER = Path(__file__).resolve().with_name("torch_runner.py")
_TAKEN = "nsightkit: the script's own torch.profiler ended the recording"
_TAKEN_STATUS = 70
_LAUNCHED = {
    "torchrun": "torchrun --nproc-per-node N --no-python nsightkit profile --tool torch -o RUN SCRIPT",
    "srun": "srun nsightkit profile --tool torch -o RUN SCRIPT",
    "mpirun": "mpirun -n N nsightkit profile --tool torch -o RUN SCRIPT",
}


def plan(request: Request) -> Plan:
    """Return the command line; torch itself is not asked for."""
    workload = request.workload
    argv = _argv(request, str(_trace(request)))
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
        raise torch_missing()
    trace = _trace(request)
    try:
        result = run_child(planned.argv, request.log_path, request.timeout_s, on_line)
    finally:
        told = _told(trace.with_name(f"{trace.name}{_SECONDS}"))
    _refuse_start(result)
    require_success(result, request, "torch.profiler")
    if not trace.is_file():
        raise missing_output(result, trace, "torch.profiler", "the script ended its process itself (os._exit, os.exec…)"
                             ": the trace is written at its end; --tool nsys does not need that")  # fmt: skip
    settings = {"threads": told["threads"]} if "threads" in told else {}
    notes = (*planned.notes, *_unseen(told))
    return Captured(TOOL, (trace,), planned, result.exit_code, result.wall_s, notes, told.get("seconds"), settings)


def _refuse_start(result: ChildResult) -> None:
    """Raise where our own part could not work, which is no failure of the script.

    Raises:
        ToolError: the Python that was named has no torch.
        CaptureError: the script profiles itself.
    """
    last = (result.lines()[1:] or [""])[-1].strip()
    if result.exit_code and last == "ModuleNotFoundError: No module named 'torch'" and not _script_began(result):
        raise ToolError(
            f"torch is not installed for {result.argv[0]}: name the Python that has it, as  -- /path/of/python SCRIPT. "
            f"Log: {result.log_path}",
            slug="torch-missing",
        )
    if result.exit_code == _TAKEN_STATUS and last == _TAKEN:
        raise CaptureError(
            "the script uses torch.profiler itself, and only one profiler can record in a process: switch the script's "
            "own off; or let it export a Chrome trace and read that with  nsightkit ingest TRACE; or use --tool nsys. "
            f"Log: {result.log_path}",
            slug="profiler-taken",
        )


def _script_began(result: ChildResult) -> bool:
    """Say whether the traceback leaves our runner: then it is the script that misses torch."""
    frames = [line.strip() for line in result.lines()[1:] if line.lstrip().startswith('File "')]
    return not all(str(_RUNNER) in frame for frame in frames[-1:])


def _unseen(told: dict[str, Any]) -> list[str]:
    """Say where work was done in threads or processes that torch.profiler does not follow."""
    children, whole = told.get("children_s", 0.0), told.get("seconds", 0.0)
    notes = []
    if told.get("unseen_threads"):
        notes.append(
            f"{told['unseen_threads']} threads were started, and their operators, if any, are not in the trace: "
            "this torch records the main thread and autograd's only"
        )
    if children < _LEAST_CHILDREN_S or children < _CHILDREN_SHARE * whole:
        return notes
    return [
        *notes,
        f"processes that the script started took {children:.1f} s of CPU time beside the {whole:.1f} s of the script: "
        "torch.profiler does not see them; --tool nsys follows them",
    ]


def _argv(request: Request, output: str) -> tuple[str, ...]:
    """Return the command line that runs the workload in our runner.

    Raises:
        CaptureError: it is neither a script nor a module.
    """
    workload = request.workload
    if workload.script is None and workload.module is None:
        launcher = (
            f"; a launcher is told to start nsightkit in each of its processes: {_LAUNCHED[workload.name]}"
            if workload.name in _LAUNCHED
            else ""
        )
        raise CaptureError(
            f"torch.profiler runs inside Python, and '{workload.name}' is no Python script: name the script itself "
            f"('python SCRIPT' or 'python -m MODULE' behind --), or use --tool nsys{launcher}",
            slug="not-a-script",
        )
    program, *words = workload.argv
    # The interpreter's own options stand before the script.
    place = len(workload.python_options)
    return (program, *words[:place], str(_RUNNER), output, *words[place:])


def plain_argv(request: Request) -> tuple[str, ...]:
    """Return the command line that times the script without a profiler."""
    return _argv(request, str(request.stem("untraced").with_suffix(_SECONDS)))


def plain_seconds(request: Request) -> float | None:
    """Return what that command measured."""
    return _told(request.stem("untraced").with_suffix(_SECONDS)).get("seconds")


def _told(path: Path) -> dict[str, Any]:
    """Return what the runner left in `path`, and remove it: it is kept in the run's description."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    finally:
        path.unlink(missing_ok=True)
    return found if isinstance(found, dict) else {}


def _trace(request: Request) -> Path:
    stem = request.stem("torch-trace")
    return stem.with_name(f"{stem.name}.json.gz")
