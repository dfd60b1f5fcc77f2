"""Drives Nsight Systems: a timeline of kernels, copies, CUDA calls and NVTX ranges.

In: a request. Out: the command line of `nsys profile`, or its SQLite export after running it. Exit status 0 proves
nothing: nsys also returns it when the report lies elsewhere or was never made, so the files themselves are checked.
"""

import re
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nsightkit.capture.backend import (
    Captured,
    OnLine,
    Plan,
    Probe,
    Request,
    Tool,
    find_tool,
    known_options,
    missing_output,
    require_space,
    require_success,
)
from nsightkit.capture.nsys_agent import agent_error, agent_lost
from nsightkit.capture.options import Options, Scope
from nsightkit.capture.process import ChildResult, end_rest, run_child
from nsightkit.capture.workload import Workload
from nsightkit.errors import CaptureError

TOOL = "nsys"
_PROBE = Probe(
    TOOL, "NVIDIA Nsight Systems", re.compile(r"NVIDIA Nsight Systems version (\d{4}\.\d+(?:\.\d+)*)"),
    ("profile", "--help"),
)  # fmt: skip
# Every option that the installed nsys does not list in its help is left out: the names changed over the years.
_WISHED = (
    # Windows knows no trace of the operating system's calls under this name, but one of its display driver.
    ("--trace", "cuda,nvtx,wddm" if sys.platform == "win32" else "cuda,nvtx,osrt"),
    # Both: without samples nsys still collects context switches.
    ("--sample", "none"),
    ("--cpuctxsw", "none"),
    # The default shows a whole graph as one row, and its kernels not at all.
    ("--cuda-graph-trace", "node"),
    ("--cuda-memory-usage", "true"),
    # A daemon that the workload leaves behind must not keep us waiting.
    ("--wait", "primary"),
    # The environment may hold secrets, and a report gets mailed.
    ("--discard-environment", "true"),
    ("--force-overwrite", "true"),
    ("--export", "sqlite"),
)
_STACKS = (
    # nsys takes backtraces only while it samples the CPU.
    ("--sample", "process-tree"),
    ("--cudabacktrace", "all"),
    ("--python-backtrace", "cuda"),
    ("--python-sampling", "true"),
)
_NVTX_UNSEEN = (0, 2, 12)
_NSYS_SEES = (2024, 1)
# The newer name first; the first that the installed nsys lists is taken.
_GPU_METRICS = ("--gpu-metrics-devices", "--gpu-metrics-device")
# Missing in older releases without loss to the numbers.
_EXPENDABLE = ("--discard-environment",)
# nsys says this as soon as the workload or the range has ended, before its own work on the report.
_COLLECTED = "Generating '"
_TERMINATED = 128 + 15
# nsys now and then loses its agent at the start (see `nsys_agent`); later the work would be done twice.
_MOST_TRIES, _START_S = 3, 10.0


def plan(request: Request) -> Plan:
    """Return the command line for the nsys on PATH, or for a current one where there is none."""
    if shutil.which(TOOL) is None:
        return _plan(request, None)
    return _plan(request, find_tool(_PROBE))


def capture_workload(request: Request, on_line: OnLine | None = None) -> Captured:
    """Run the workload under nsys.

    Raises:
        ToolError: no usable nsys on PATH.
        CaptureError: the workload failed or took too long, or no report came out.
    """
    planned = _plan(request, find_tool(_PROBE))
    result, collected_s, tries = _run(planned, request, on_line)
    if not _ended_by_window(result, request):
        require_success(result, request, TOOL)
    found = [path for path in _wanted(request, result) if path.is_file()]
    if not found:
        require_space(result, request, TOOL)
        raise _nothing(result, request, planned)
    notes = list(planned.notes)
    if tries > 1:
        notes.append(
            f"nsys lost its agent at the start and was started {tries} times; the program may have begun as often"
        )
    if any(path.suffix != ".sqlite" for path in found):
        notes.append("nsys made no SQLite export; the report itself was read")
    if "--discard-environment=true" not in planned.argv:
        notes.append(f"nsys {planned.tool_version} keeps the environment of the program in its own files, secrets "
                     "included: pass on tables and reports, not the .nsys-rep and .sqlite")  # fmt: skip
    settings = {"scope": str(request.options.scope), "graph_trace": "node"}
    return Captured(
        TOOL, tuple(found), planned, result.exit_code, result.wall_s, tuple(notes),
        collected_s if request.options.scope == Scope() else None, settings,
    )  # fmt: skip


def _ended_by_window(result: ChildResult, request: Request) -> bool:
    """Say whether nsys ended the workload because its window was over: status 143, measured with nsys 2023.4.4."""
    return request.options.scope.window is not None and result.exit_code == _TERMINATED and not result.timed_out


def _run(planned: Plan, request: Request, on_line: OnLine | None) -> tuple[ChildResult, float | None, int]:
    """Run it, again where nsys lost its agent at the start; return how it ended, when all was collected, the tries.

    Raises:
        CaptureError: the agent was lost late, or each time.
    """
    for tries in range(1, _MOST_TRIES + 1):
        watch = _Watch(on_line)
        result = run_child(planned.argv, request.log_path, request.timeout_s, watch)
        said = agent_lost(result)
        if said is None or result.timed_out or any(path.is_file() for path in _wanted(request, result)):
            break
        end_rest(result)
        if tries == _MOST_TRIES or result.wall_s > _START_S:
            raise agent_error(said, request, tries)
        if on_line:
            on_line("nsys lost its own agent at the start, which is no fault of the program: once more")
    return result, watch.collected_s, tries


class _Watch:
    """Passes lines on, and remembers when nsys had collected everything."""

    def __init__(self, on_line: OnLine | None) -> None:
        self._on_line, self._begin = on_line, time.monotonic()
        self.collected_s: float | None = None

    def __call__(self, line: str) -> None:
        if line.startswith(_COLLECTED) and self.collected_s is None:
            self.collected_s = time.monotonic() - self._begin
        if self._on_line:
            self._on_line(line)


def _wanted(request: Request, result: ChildResult) -> Iterator[Path]:
    """Yield what to read, one file a capture: the export, or the report where there is no export."""
    stem = request.stem("timeline")
    numbered = sorted(stem.parent.glob(f"{stem.name}.[0-9]*.nsys-rep"), key=_number_of)
    for report in numbered or [stem.with_name(f"{stem.name}.nsys-rep")]:
        export = report.with_suffix(".sqlite")
        _settled(report, result)
        yield export if _settled(export, result).is_file() else report


def _number_of(path: Path) -> int:
    return int(path.name.split(".")[-2])


def unseen_ranges(nsys_version: str | None, nvtx_version: str | None) -> str | None:
    """Return why this nsys records no range of this Python package nvtx, with the way out; None where it does.

    Source: measured with nsys 2023.4.4: nvtx up to 0.2.11 is recorded, 0.2.12 and later not, without a warning.
    """
    if nsys_version is None or nvtx_version is None:
        return None
    if _numbers(nvtx_version) < _NVTX_UNSEEN or _numbers(nsys_version) >= _NSYS_SEES:
        return None
    return (
        f"nsys {nsys_version} does not record ranges of the Python package nvtx {nvtx_version}; pip install "
        "'nvtx<0.2.12', or install a newer nsys"
    )


def unseen_ranges_of(workload: Workload, nsys_version: str | None) -> str | None:
    """Return the same for the nvtx that `workload` runs with; None where that is not the one of this Python."""
    if workload.script is None or workload.program is not None:
        return None
    try:
        return unseen_ranges(nsys_version, version("nvtx"))
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _nothing(result: ChildResult, request: Request, planned: Plan) -> CaptureError:
    scope = request.options.scope
    name = scope.nvtx_range
    if name is None and not scope.profiler_api:
        likely = (
            f"{request.workload.name} ended before the window began, {scope.window.delay_s:g} s after its start: name "
            "an earlier one (--window DELAY:DURATION), or record the whole run without it"
            if scope.window
            else ""
        )
        return missing_output(result, request.stem("timeline").with_suffix(".nsys-rep"), TOOL, likely)
    unseen = None if name is None else unseen_ranges_of(request.workload, planned.tool_version)
    if unseen is not None:
        return CaptureError(
            f"nsys captured nothing: it never saw the NVTX range '{name}', and can see none of this package: {unseen}. "
            f"Log: {result.log_path}",
            slug="range-never-opened",
        )
    opens, check = "cudaProfilerStart was never called", "that the workload calls it, in the process that works"
    if name is not None:
        opens = f"the NVTX range '{name}' never began"
        check = "its spelling (a range of a named domain is range@domain) and that the workload reaches it"
    return CaptureError(
        f"nsys captured nothing: {opens} while it watched; check {check}; without the option the whole run is "
        f"recorded. Log: {result.log_path}",
        slug="range-never-opened",
    )


def _plan(request: Request, tool: Tool | None) -> Plan:
    wished = [*_WISHED, *_scope_options(request.options.scope), *_more_options(request.options, tool)]
    extra = _with_one_environment(request.options.extra, dict(wished).get("--env-var"))
    # What the user passes through replaces ours: nsys takes no option twice.
    given = {word.partition("=")[0] for word in extra}
    wished = [(name, value) for name, value in dict(wished).items() if name not in given]
    options, unknown = known_options(tool, wished)
    path, version = (tool.path, tool.version) if tool else (TOOL, None)
    notes = [] if tool else ["nsys is not on PATH: these are the options for a current one"]
    lost = [name for name in unknown if name not in _EXPENDABLE]
    if lost:
        notes.append(f"nsys {version} does not know {', '.join(lost)}: left out")
    argv = (
        path, "profile", *(f"{name}={value}" for name, value in options), *extra,
        "--output", str(request.stem("timeline")), *request.workload.argv,
    )  # fmt: skip
    return Plan(argv, version, tuple(notes))


def _with_one_environment(extra: tuple[str, ...], ours: str | None) -> tuple[str, ...]:
    """Return `extra` with our variables added to the user's: nsys takes --env-var once, variables joined by commas."""
    words = list(extra)
    for place, word in enumerate(words):
        if word in ("-e", "--env-var") and place + 1 < len(words):
            words[place : place + 2] = [f"--env-var={words[place + 1]}"]
            break
    if ours is None:
        return tuple(words)
    return tuple(f"{word},{ours}" if word.startswith("--env-var=") else word for word in words)


def _scope_options(scope: Scope) -> Iterator[tuple[str, str | None]]:
    """Yield what limits the capture; the default end of a range would terminate the workload.

    Source: measured with nsys 2023.4.4: with `stop` and `repeat:N` the workload runs to its end with its own status.
    """
    if scope.nvtx_range is not None:
        yield "--capture-range", "nvtx"
        yield "--nvtx-capture", scope.nvtx_range
        # torch.cuda.nvtx passes plain strings, which by default open no range.
        yield "--env-var", "NSYS_NVTX_PROFILER_REGISTER_ONLY=0"
    elif scope.profiler_api:
        yield "--capture-range", "cudaProfilerApi"
    if scope.nvtx_range is not None or scope.profiler_api:
        yield "--capture-range-end", "stop" if scope.range_count == 1 else f"repeat:{scope.range_count}"
    if scope.window:
        yield "--delay", f"{scope.window.delay_s:g}"
        yield "--duration", f"{scope.window.duration_s:g}"
        # What was started for the window must not outlive it: a server would run for ever.
        yield "--kill", "sigterm"


def _more_options(options: Options, tool: Tool | None) -> Iterator[tuple[str, str | None]]:
    if options.python_stacks:
        yield from _STACKS
    if options.gpu_metrics:
        known = tool.options if tool and tool.options else frozenset(_GPU_METRICS)
        yield next((name for name in _GPU_METRICS if name in known), _GPU_METRICS[0]), "all"


def _settled(wanted: Path, result: ChildResult) -> Path:
    """Move the file that nsys put elsewhere to where it was asked for; return where it was asked for."""
    if wanted.is_file():
        return wanted
    for line in result.lines():
        said = Path(line.strip())
        if (
            said.suffix == wanted.suffix
            and said.is_absolute()
            and said.is_file()
            and said.parent != wanted.parent.absolute()
        ):
            _move(said, wanted)
            break
    return wanted


def _move(said: Path, wanted: Path) -> None:
    try:
        shutil.move(said, wanted)
    except OSError as error:
        raise CaptureError(
            f"nsys put its report at {said}, and it cannot be moved to {wanted}: {error.strerror}; "
            f"read it there with  nsightkit ingest {said}",
            slug="cannot-write",
        ) from None
