"""What every profiler's module takes and gives, and how an installed profiler is asked what it is.

In: a `Request`. Out: a `Plan` (the exact command line), or after running it a `Captured`. A backend is a module with
`TOOL`, `plan(request)` and `capture_workload(request, on_line)`.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nsightkit.capture.options import Options
from nsightkit.capture.process import ChildResult
from nsightkit.capture.workload import Workload
from nsightkit.errors import CaptureError, ToolError
from nsightkit.run import LOG_NAME

_PROBE_S = 120
# Source: what nsys 2023.4 and ncu 2024.1 answer to a wrong option or value, each tried.
_REFUSAL = re.compile(
    r"unrecogni[sz]ed option '|Illegal --\S+ argument|can(?:not| not) be specified more than once"
    r"|option (?:'\S+' )?is ambiguous and matches|the argument (?:\('.*'\) )?for option '--\S+' (?:is invalid|should)"
    r"|option is only allowed when --|==ERROR== (?:Option |Invalid |--\S+ requires )"
)
_FULL = re.compile(r"No space left on device|[Dd]isk (?:is )?full|ENOSPC|Disk quota exceeded")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


@dataclass(frozen=True)
class Request:
    """What is to be captured, where the files go, and how long it may take."""

    workload: Workload
    capture_dir: Path
    timeout_s: float | None = None
    options: Options = field(default_factory=Options)

    @property
    def log_path(self) -> Path:
        """What the profiler and the workload print."""
        stem = self.options.stem
        return self.capture_dir / (f"{stem}.log" if stem else LOG_NAME)

    def stem(self, default: str) -> Path:
        """Return the path of the profiler's files without their suffix."""
        return self.capture_dir / (self.options.stem or default)


@dataclass(frozen=True)
class Plan:
    """One command line; `notes` say what of it is uncertain."""

    argv: tuple[str, ...]
    tool_version: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Captured:
    """A capture that is there: its files to be ingested and how it was made."""

    backend: str
    paths: tuple[Path, ...]
    plan: Plan
    exit_code: int
    wall_s: float
    notes: tuple[str, ...] = ()
    workload_wall_s: float | None = None  # without the profiler's work afterwards; None where it cannot be told apart
    settings: dict[str, Any] = field(default_factory=dict)


OnLine = Callable[[str], None]


class Backend(Protocol):
    """The shape of a backend module."""

    TOOL: str

    def plan(self, request: Request) -> Plan:
        """Return the command line; without the tool, what the current version would get."""

    def capture_workload(self, request: Request, on_line: OnLine | None = None) -> Captured:
        """Run it; raises ToolError without the tool, CaptureError where no good capture came out."""


@dataclass(frozen=True)
class Tool:
    """An installed profiler: its path, version, and the options that its own help lists."""

    path: str
    version: str
    options: frozenset[str]


@dataclass(frozen=True)
class Probe:
    """How a profiler is asked: its name, its version's pattern, and the arguments that print its options."""

    name: str
    product: str
    version: re.Pattern[str]
    help_args: tuple[str, ...]
    impostor: str = ""  # what else goes by that name


def find_tool(probe: Probe) -> Tool:
    """Return the installed profiler.

    Raises:
        ToolError: it is not on PATH, does not answer, or is something else of that name.
    """
    path = shutil.which(probe.name)
    if path is None:
        raise ToolError(
            f"{probe.name} ({probe.product}) is not on PATH; install it from NVIDIA or add its folder to PATH, "
            "or use --tool torch, which needs no NVIDIA tool",
            slug="tool-missing",
        )
    said = _ask(path, ("--version",))
    version = probe.version.search(said)
    if version is None:
        first = (said.strip() or "nothing").splitlines()[0][:80]
        raise ToolError(
            f"{path} is not {probe.product}: asked for its version it said '{first}'{probe.impostor}; "
            f"put the folder of NVIDIA's {probe.name} first on PATH",
            slug="tool-unusable",
        )
    return Tool(path, version[1], frozenset(_OPTION.findall(_ask(path, probe.help_args))))


def _ask(path: str, args: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            [path, *args], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=_PROBE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ToolError(f"{path} {' '.join(args)} did not answer in {_PROBE_S} s", slug="tool-unusable") from None
    except OSError as error:
        raise ToolError(f"{path} cannot be run: {error.strerror}", slug="tool-unusable") from None
    return done.stdout + done.stderr


def known_options(
    tool: Tool | None, wished: Sequence[tuple[str, str | None]]
) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Return those of `wished` that `tool` lists in its help, and the names of the others.

    A tool that is absent, or whose help lists nothing, is taken to know them all.
    """
    if tool is None or not tool.options:
        return list(wished), []
    known = [option for option in wished if option[0] in tool.options]
    return known, [name for name, _ in wished if name not in tool.options]


def require_success(result: ChildResult, request: Request, tool: str, after_timeout: str = "") -> None:
    """Raise what a child that timed out or failed deserves; its files are kept.

    `after_timeout` is what to do once the tool was stopped in the middle of its work.

    Raises:
        ToolError: the profiler refused its own command line.
        CaptureError: with the exit code, the last lines and the log.
    """
    name = request.workload.name
    refusal = _refusal(result.lines()[1:])
    if result.exit_code and refusal:
        raise ToolError(
            f'{tool} refused the command line: it said "{refusal[:300]}"; another release may know it '
            f"('nsightkit profile --dry-run' shows the command). Log: {result.log_path}",
            slug="tool-refused",
        )
    kept = _kept(request)
    if result.timed_out:
        raise CaptureError(
            f"{name} under {tool} did not end within {request.timeout_s:g} s and was stopped; {kept}; "
            f"allow more with --timeout or profile fewer tokens{after_timeout}. Log: {result.log_path}",
            slug="capture-timeout",
        )
    require_space(result, request, tool)
    if result.exit_code:
        error, tail = result.first_error(), result.tail()
        # What comes first is the cause, and may lie far above the last lines.
        first = f'the first error is "{error}"; ' if error and error not in tail else ""
        raise CaptureError(
            f"{name} under {tool} failed with {result.exit_text}; {first}{kept}. Log: {result.log_path}. "
            f"Its last lines:\n{tail}",
            slug="workload-failed",
        )


def _refusal(lines: Sequence[str]) -> str | None:
    """Return what the tool says against its command line; nsys gives the reason in the line behind "Illegal …"."""
    place = next((place for place, line in enumerate(lines) if _REFUSAL.search(line)), None)
    if place is None:
        return None
    words = [line.strip() for line in lines[place : place + 2]]
    reason = words[0].startswith("Illegal") and len(words) > 1 and not words[1].startswith("usage")
    return " ".join(words if reason else words[:1])


def require_space(result: ChildResult, request: Request, tool: str) -> None:
    """Raise where the log says that the disk is full.

    Raises:
        CaptureError: with the line that says so.
    """
    full = next((line for line in result.lines()[1:] if _FULL.search(line)), None)
    if full:
        raise CaptureError(
            f'the disk is full: {tool} or the workload said "{full.strip()[:300]}"; {_kept(request)}; '
            f"write elsewhere with -o, or capture less with --range or --window. Log: {result.log_path}",
            slug="disk-full",
        )


def _kept(request: Request) -> str:
    files = sorted(p.name for p in request.capture_dir.iterdir() if p.is_file() and p.suffix != ".log")
    return f"kept in {request.capture_dir}: {', '.join(files)}" if files else "no capture came out"


def missing_output(result: ChildResult, wanted: Path, tool: str, likely: str = "") -> CaptureError:
    """Return the error for a profiler that ended well but left no capture; `likely` is its usual cause."""
    error = result.first_error()
    reason = f'it said "{error}"' if error else f"its last lines were:\n{result.tail()}"
    return CaptureError(
        f"{tool} ended with {result.exit_text} but left no {wanted.name} in {wanted.parent}; {reason}\n"
        f"{f'Most likely {likely}. ' if likely else ''}Log: {result.log_path}",
        slug="no-output",
    )
