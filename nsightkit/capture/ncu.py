"""Drives Nsight Compute: hardware counters of every kernel.

In: a request. Out: the command line of `ncu`, or its report after running it. ncu also returns status 0 when it
profiled nothing, so the report must be there.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from nsightkit.capture.options import RANGE_REPLAYS, Counters, Options
from nsightkit.capture.process import ChildResult, run_child
from nsightkit.errors import CaptureError, ToolError

TOOL = "ncu"
_PROBE = Probe(
    TOOL, "NVIDIA Nsight Compute", re.compile(r"Nsight Compute.*?Version (\d{4}\.\d+(?:\.\d+)*)", re.DOTALL),
    ("--help",), " (the npm package npm-check-updates also installs an 'ncu')",
)  # fmt: skip
_FIRST = (
    # A configuration file in the working directory would silently add sections.
    ("--config-file", "off"),
    ("--target-processes", "all"),
)
# Detailed is the smallest set with the work and traffic that a roofline needs.
_DEFAULT_SET = "detailed"
_LAST = (
    ("--nvtx", None),
    # Kernels inside CUDA graphs one by one: the default, said because it decides what a row is.
    ("--graph-profiling", "node"),
    # Names must match those of nsys.
    ("--rename-kernels", "off"),
    ("--force-overwrite", None),
)
_UNLOCK = "; the GPU's clocks may still be locked: ncu --clock-control reset"
_EXPENDABLE = ("--rename-kernels", "--graph-profiling")


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
        _raise_for_message(result, request)
    locked = request.options.counters.clock_control != "none"
    require_success(result, request, TOOL, _UNLOCK if locked else "")
    report = next((p for p in _reports(request) if p.is_file()), None)
    if report is None:
        raise missing_output(result, _reports(request)[0], TOOL)
    notes = (*planned.notes, *_conditions(request.options.counters))
    return Captured(TOOL, (report,), planned, result.exit_code, result.wall_s, notes, None, _settings(request))


def _conditions(counters: Counters) -> list[str]:
    notes = []
    if counters.clock_control != "none":
        notes.append(f"ncu set the clocks itself (--clock-control {counters.clock_control})")
    if counters.cache_control == "all":
        notes.append("ncu emptied the caches before each pass")
    return [f"{' and '.join(notes)}: its times are not the program's"] if notes else []


def _settings(request: Request) -> dict[str, Any]:
    counters = request.options.counters
    return {
        "clock_control": counters.clock_control,
        "cache_control": counters.cache_control,
        "replay_mode": counters.replay_mode or "kernel",
        "nvtx_include": list(counters.nvtx_include),
        "range_instances": list(counters.range_instances),
        "scope": str(request.options.scope),
    }


def _reports(request: Request) -> tuple[Path, Path]:
    stem = request.stem("counters")
    return stem.with_name(f"{stem.name}.ncu-rep"), stem.with_name(f"{stem.name}.ncu-repz")


def _plan(request: Request, tool: Tool | None) -> Plan:
    given = {word.partition("=")[0] for word in request.options.extra}
    wished = [option for option in _wished(request) if option[0] not in given]
    options, unknown = known_options(tool, wished)
    path, version = (tool.path, tool.version) if tool else (TOOL, None)
    notes = [] if tool else ["ncu is not on PATH: these are the options for a current one"]
    lost = [name for name in unknown if name not in _EXPENDABLE]
    if lost:
        notes.append(f"ncu {version} does not know {', '.join(dict.fromkeys(lost))}: left out")
    flat = [word for name, value in options for word in ((name,) if value is None else (name, value))]
    stem = str(request.stem("counters"))
    argv = (path, *flat, *request.options.extra, "--export", stem, *request.workload.argv)
    return Plan(argv, version, tuple(notes))


def _wished(request: Request) -> Iterator[tuple[str, str | None]]:
    counters = request.options.counters
    yield from _FIRST
    yield from _collected(counters)
    yield from _LAST[:1]
    yield from _filters(request.options)
    yield from _LAST[1:3]
    if counters.replay_mode:
        yield "--replay-mode", counters.replay_mode
    yield "--clock-control", counters.clock_control
    yield "--cache-control", counters.cache_control
    yield from _LAST[3:]


def _collected(counters: Counters) -> Iterator[tuple[str, str | None]]:
    """Yield what is measured. Any section or metric drops ncu's default set, so the set is always said."""
    if counters.section_set or not counters.metrics:
        yield "--set", counters.section_set or _DEFAULT_SET
    for section in counters.sections:
        yield "--section", section
    if counters.metrics:
        yield "--metrics", ",".join(counters.metrics)


def _filters(options: Options) -> Iterator[tuple[str, str | None]]:
    """Yield which launches are measured. A name alone would mean a start/end range: push/pop ones need the slash."""
    counters = options.counters
    includes = counters.nvtx_include
    if options.scope.nvtx_range is not None:
        includes = (*includes, f"{_with_domain(options.scope.nvtx_range)}/")
    for include in includes:
        yield "--nvtx-include", include
    if options.scope.nvtx_range is not None and not counters.range_instances:
        yield "--range-filter", instances_filter(tuple(range(1, options.scope.range_count + 1)))
    if counters.range_instances:
        yield "--range-filter", instances_filter(counters.range_instances)
    if options.scope.profiler_api and counters.replay_mode not in RANGE_REPLAYS:
        # In range replay cudaProfilerStart and cudaProfilerStop are the ranges, and ncu refuses the option.
        yield "--profile-from-start", "off"
    if counters.kernel_regex:
        yield "--kernel-name-base", "demangled"
        yield "--kernel-name", f"regex:{counters.kernel_regex}"
    if counters.launch_skip is not None:
        yield "--launch-skip", str(counters.launch_skip)
    if counters.launch_count is not None:
        yield "--launch-count", str(counters.launch_count)


def _with_domain(name: str) -> str:
    """Return a range in ncu's form: range@domain, as nsys has it, is domain@range there."""
    own, at, domain = name.rpartition("@")
    return f"{nvtx_literal(domain)}@{nvtx_literal(own)}" if at and own and domain else nvtx_literal(name)


def nvtx_literal(name: str) -> str:
    """Return a range's name with what has a meaning in ncu's filter escaped."""
    return re.sub(r"([\\/\[\]+*,@])", r"\\\1", name)


def instances_filter(instances: tuple[int, ...]) -> str:
    """Return the filter that takes these instances of the included NVTX range, counted from 1."""
    return f"no::{'|'.join(map(str, instances))}"


def _raise_for_message(result: ChildResult, request: Request) -> None:
    text = "\n".join(result.lines()[1:])
    if "ERR_NVGPUCTRPERM" in text:
        raise ToolError(
            "ncu may not read the GPU's counters (ERR_NVGPUCTRPERM): run as root, in a container with "
            "--cap-add SYS_ADMIN, or load the driver with NVreg_RestrictProfilingToAdminUsers=0; "
            f"'--tool nsys' and '--tool torch' need no counters. Log: {result.log_path}",
            slug="no-counter-permission",
        )
    if re.search(r"driver resource was unavailable|resource.{0,20}unavailable", text, re.IGNORECASE):
        raise ToolError(
            f'another program holds the GPU\'s counters: ncu said "{result.first_error()}"; pause DCGM with  dcgmi '
            "profile --pause  (and --resume afterwards), end other profilers; 'nsightkit doctor' names them. "
            f"Log: {result.log_path}",
            slug="counters-busy",
        )
    if "Unsupported GPU" in text:
        raise ToolError(
            f'this ncu does not know the GPU: it said "{result.first_error()}"; install a release that does '
            f"('nsightkit doctor' says which). Log: {result.log_path}",
            slug="tool-too-old",
        )
    if "failed to connect to the CUDA driver" in text:
        raise ToolError(
            f'ncu found no CUDA driver: it said "{result.first_error()}"; counters need an NVIDIA GPU, while '
            f"'--tool torch' measures on the CPU. Log: {result.log_path}",
            slug="no-gpu",
        )
    if result.exit_code == 0 and "No kernels were profiled" in text:
        raise CaptureError(
            f"ncu profiled no kernel; likely causes in this order: {'; '.join(_causes(request))}. "
            f"Log: {result.log_path}",
            slug="no-kernels",
        )


def _causes(request: Request) -> Iterator[str]:
    """Yield why no kernel was profiled, the likeliest first: a filter is a likelier reason than the workload."""
    options, counters = request.options, request.options.counters
    if options.scope.nvtx_range is not None or counters.nvtx_include:
        names = ", ".join((*counters.nvtx_include, *filter(None, [options.scope.nvtx_range])))
        yield f"no kernel was launched inside the NVTX range ({names}): compare 'nsightkit top --by nvtx'"
    if counters.kernel_regex:
        yield f"no kernel's demangled name matches '{counters.kernel_regex[:200]}'"
    if counters.launch_skip:
        yield f"fewer than {counters.launch_skip + 1} launches passed the filters"
    if options.scope.profiler_api:
        yield "cudaProfilerStart was never called"
    yield "the workload launched none on a GPU (does it use the CPU?)"
    yield "a launcher started the work in a process that had ended before, or through another machine"
