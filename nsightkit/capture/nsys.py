"""Drives Nsight Systems: a timeline of kernels, copies, CUDA calls and NVTX ranges.

In: a request. Out: the command line of `nsys profile`, or its SQLite export after running it. Exit status 0 proves
nothing: nsys also returns it when the report lies elsewhere or was never made, so the files themselves are checked.
"""

import re
import shutil
import sys
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
    require_success,
)
from nsightkit.capture.process import ChildResult, run_child
from nsightkit.errors import CaptureError

TOOL = "nsys"
_PROBE = Probe(
    TOOL, "NVIDIA Nsight Systems", re.compile(r"NVIDIA Nsight Systems version (\d{4}\.\d+(?:\.\d+)*)"),
    ("profile", "--help"),
)  # fmt: skip
# Every option that the installed nsys does not list in its help is left out: the names changed over the years.
_WISHED = (
    # Windows knows no trace of the operating system's calls under this name.
    ("--trace", "cuda,nvtx" if sys.platform == "win32" else "cuda,nvtx,osrt"),
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
# Missing in older releases without loss to the numbers.
_EXPENDABLE = ("--discard-environment",)


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
    result = run_child(planned.argv, request.log_path, request.timeout_s, on_line)
    require_success(result, request, TOOL)
    report = _settled(_stem(request).with_suffix(".nsys-rep"), result)
    export = _settled(_stem(request).with_suffix(".sqlite"), result)
    notes = list(planned.notes)
    if not report.is_file() and not export.is_file():
        raise missing_output(result, report, TOOL)
    if not export.is_file():
        notes.append("nsys made no SQLite export; the report itself was read")
    paths = (export if export.is_file() else report,)
    return Captured(TOOL, paths, planned, result.exit_code, result.wall_s, tuple(notes))


def _stem(request: Request) -> Path:
    return request.capture_dir / "timeline"


def _plan(request: Request, tool: Tool | None) -> Plan:
    options, unknown = known_options(tool, _WISHED)
    path, version = (tool.path, tool.version) if tool else (TOOL, None)
    notes = [] if tool else ["nsys is not on PATH: these are the options for a current one"]
    lost = [name for name in unknown if name not in _EXPENDABLE]
    if lost:
        notes.append(f"nsys {version} does not know {', '.join(lost)}: left out")
    argv = (
        path, "profile", *(f"{name}={value}" for name, value in options), "--output", str(_stem(request)),
        *request.workload.argv,
    )  # fmt: skip
    return Plan(argv, version, tuple(notes))


def _settled(wanted: Path, result: ChildResult) -> Path:
    """Move the file that nsys put elsewhere to where it was asked for; return where it was asked for."""
    if wanted.is_file():
        return wanted
    for line in result.lines():
        said = Path(line.strip())
        if said.suffix == wanted.suffix and said.is_absolute() and said.is_file():
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
