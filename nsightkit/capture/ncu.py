"""Drives Nsight Compute: hardware counters of every kernel.

In: a request. Out: the command line of `ncu`, or its report after running it. ncu also returns status 0 when it
profiled nothing, so the report must be there.
"""

import re
import shutil
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
from nsightkit.errors import CaptureError, ToolError

TOOL = "ncu"
_PROBE = Probe(
    TOOL, "NVIDIA Nsight Compute", re.compile(r"Nsight Compute.*?Version (\d{4}\.\d+(?:\.\d+)*)", re.DOTALL),
    ("--help",), " (the npm package npm-check-updates also installs an 'ncu')",
)  # fmt: skip
_WISHED = (
    # A configuration file in the working directory would silently add sections.
    ("--config-file", "off"),
    ("--target-processes", "all"),
    # Detailed is the smallest set with the work and traffic that a roofline needs.
    ("--set", "detailed"),
    ("--nvtx", None),
    # Names must match those of nsys.
    ("--rename-kernels", "off"),
    # The defaults changed between releases: what is not said is not known.
    ("--clock-control", "base"),
    ("--cache-control", "all"),
    ("--force-overwrite", None),
)
_EXPENDABLE = ("--rename-kernels",)
_CONDITIONS = "ncu locked the clocks to base and emptied the caches before each pass: its times are not the program's"


def plan(request: Request) -> Plan:
    """Return the command line for the ncu on PATH, or for a current one where there is none."""
    if shutil.which(TOOL) is None:
        return _plan(request, None)
    return _plan(request, find_tool(_PROBE))


def capture_workload(request: Request, on_line: OnLine | None = None) -> Captured:
    """Run the workload under ncu.

    Raises:
        ToolError: no usable ncu on PATH, no driver, or no permission to read counters.
        CaptureError: the workload failed or took too long, or no kernel was profiled.
    """
    planned = _plan(request, find_tool(_PROBE))
    result = run_child(planned.argv, request.log_path, request.timeout_s, on_line)
    if not result.timed_out:
        _raise_for_message(result)
    require_success(result, request, TOOL)
    report = next((p for p in _reports(request) if p.is_file()), None)
    if report is None:
        raise missing_output(result, _reports(request)[0], TOOL)
    return Captured(TOOL, (report,), planned, result.exit_code, result.wall_s, (*planned.notes, _CONDITIONS))


def _reports(request: Request) -> tuple[Path, Path]:
    stem = request.capture_dir / "counters"
    return stem.with_suffix(".ncu-rep"), stem.with_suffix(".ncu-repz")


def _plan(request: Request, tool: Tool | None) -> Plan:
    options, unknown = known_options(tool, _WISHED)
    path, version = (tool.path, tool.version) if tool else (TOOL, None)
    notes = [] if tool else ["ncu is not on PATH: these are the options for a current one"]
    lost = [name for name in unknown if name not in _EXPENDABLE]
    if lost:
        notes.append(f"ncu {version} does not know {', '.join(lost)}: left out")
    flat = [word for name, value in options for word in ((name,) if value is None else (name, value))]
    stem = str(_reports(request)[0].with_suffix(""))
    return Plan((path, *flat, "--export", stem, *request.workload.argv), version, tuple(notes))


def _raise_for_message(result: ChildResult) -> None:
    text = "\n".join(result.lines()[1:])
    if "ERR_NVGPUCTRPERM" in text:
        raise ToolError(
            "ncu may not read the GPU's counters (ERR_NVGPUCTRPERM): run as root, in a container with "
            "--cap-add SYS_ADMIN, or load the driver with NVreg_RestrictProfilingToAdminUsers=0; "
            f"'--tool nsys' and '--tool torch' need no counters. Log: {result.log_path}",
            slug="no-counter-permission",
        )
    if "failed to connect to the CUDA driver" in text:
        raise ToolError(
            f'ncu found no CUDA driver: it said "{result.first_error()}"; counters need an NVIDIA GPU, while '
            f"'--tool torch' measures on the CPU. Log: {result.log_path}",
            slug="no-gpu",
        )
    if result.exit_code == 0 and "No kernels were profiled" in text:
        raise CaptureError(
            f"ncu profiled no kernel: the workload launched none on a GPU, or ended before one. Log: {result.log_path}",
            slug="no-kernels",
        )
