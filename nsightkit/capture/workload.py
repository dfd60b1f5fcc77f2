"""Finds what is to be profiled.

In: the name of a bundled workload, the path of a script, or a command, and arguments. Out: `Workload`.
"""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from nsightkit.errors import CaptureError, ToolError
from nsightkit.resources import resource_dir

DEFAULT = "kv_decode"
_PYTHON = re.compile(r"python(?:\d+(?:\.\d+)*)?(?:\.exe)?")
# A line of its own in a script: each run launches the same kernels in the same order.
_DETERMINISTIC = re.compile(r"^# nsightkit: deterministic\s*$", re.MULTILINE)
# The same of a bundled one: it decodes nothing, and knows neither --max-new-tokens nor --warmup-iters.
_NO_TOKENS = re.compile(r"^# nsightkit: no tokens\s*$", re.MULTILINE)
_WITHOUT_TORCH = ("python_overhead",)  # it can read a capture, and says itself what it lacks
# As Linux reads it: a program that is handed the file.
_SHEBANG = re.compile(rb"#!.*\bpython[\d.]*\b")


@dataclass(frozen=True)
class Workload:
    """A Python script or any `program`, and its arguments; a bundled one also takes `--results PATH`."""

    name: str
    script: Path | None
    args: tuple[str, ...] = ()
    bundled: bool = False
    program: str | None = None
    module: str | None = None  # of Python, instead of a script
    python_options: tuple[str, ...] = ()  # of the interpreter, as -u or -X importtime

    @property
    def deterministic(self) -> bool:
        """Whether the script says of itself that each run launches the same kernels: ncu may then repeat the run."""
        return self._says(_DETERMINISTIC)

    @property
    def decodes(self) -> bool:
        """Whether it takes a number of tokens; any program but a bundled one that says otherwise is taken to."""
        return not (self.bundled and self._says(_NO_TOKENS))

    def _says(self, line: re.Pattern[str]) -> bool:
        if self.script is None:
            return False
        try:
            return line.search(self.script.read_text(encoding="utf-8", errors="replace")) is not None
        except OSError:
            return False

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line without a profiler."""
        if self.module is not None:
            return (self.program or sys.executable, *self.python_options, "-m", self.module, *self.args)
        if self.script is None:
            return (self.program or self.name, *self.args)
        return (self.program or sys.executable, *self.python_options, str(self.script), *self.args)


def bundled_workloads() -> list[str]:
    """Return the names of the workloads that come with nsightkit."""
    return sorted(path.stem for path in resource_dir("workloads").glob("*.py") if not path.stem.startswith("_"))


def find_workload(name: str, args: tuple[str, ...] = ()) -> Workload:
    """Return the workload called `name`, or the script at that path.

    Raises:
        CaptureError: it is neither, or a file of another kind; the message lists the bundled ones.
    """
    if name in bundled_workloads():
        return Workload(name, resource_dir("workloads") / f"{name}.py", args, bundled=True)
    script = Path(name)
    if os.path.isfile(script):
        if _is_python(script):
            return Workload(script.stem, script, args)
        raise CaptureError(
            f"{name} is no Python script: it does not end in .py, and its first line names no Python (#!…python); "
            f"another program follows after --, as  nsightkit profile -- {_as_program(script)}",
            slug="unknown-workload",
        )
    near = get_close_matches(name, bundled_workloads(), n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise CaptureError(
        f"'{name}' is neither a script nor a bundled workload; {meant}bundled: {', '.join(bundled_workloads())}; "
        "a script is named by its path, its arguments follow after --; any other program follows after -- by itself",
        slug="unknown-workload",
    )


def require_torch(workload: Workload) -> None:
    """Raise before anything is run where a bundled workload cannot start.

    Raises:
        ToolError: torch is not installed.
    """
    if workload.bundled and workload.name not in _WITHOUT_TORCH and find_spec("torch") is None:
        raise torch_missing()


def torch_missing() -> ToolError:
    """Return the error where this Python has no torch."""
    return ToolError(
        f"torch is not installed for {sys.executable}; install it with  pip install 'nsightkit[workloads]'",
        slug="torch-missing",
    )


def _is_python(script: Path) -> bool:
    """Say whether `script` is for Python: else its bytes would be run as a program that nobody wrote."""
    if script.suffix.lower() in (".py", ".pyw"):
        return True
    try:
        with script.open("rb") as file:
            return _SHEBANG.match(file.readline(200)) is not None
    except OSError:
        return False


def _as_program(script: Path) -> str:
    return str(script) if len(script.parts) > 1 else f"./{script}"


def selfcheck_workload_path() -> Path:
    """Return the program whose work is known beforehand."""
    return Path(__file__).resolve().with_name("selfcheck_workload.py")


def find_command(words: tuple[str, ...]) -> Workload:
    """Return the program `words[0]` with its arguments.

    `python SCRIPT …` and `python -m MODULE …` are told apart, so that torch can run them too.

    Raises:
        CaptureError: there is no such program.
    """
    program, *args = words
    if shutil.which(program) is None:
        raise CaptureError(f"'{program}' is no program on PATH; what follows -- is run as it is", slug="cannot-start")
    if _PYTHON.fullmatch(Path(program).name):
        place = _options_end(args)
        options, rest = tuple(args[:place]), args[place:]
        if rest[:1] == ["-m"] and len(rest) > 1:
            module = rest[1]
            return Workload(module, None, tuple(rest[2:]), program=program, module=module, python_options=options)
        if rest and rest[0].endswith(".py") and Path(rest[0]).is_file():
            script = Path(rest[0])
            return Workload(script.stem, script, tuple(rest[1:]), program=program, python_options=options)
    return Workload(Path(program).name, None, tuple(args), program=program)


def _options_end(args: list[str]) -> int:
    """Return how many of `args` are options of the Python interpreter before its script or module."""
    place = 0
    while place < len(args) and args[place].startswith("-") and args[place] not in ("-m", "-c", "-"):
        place += 2 if args[place] in ("-X", "-W") else 1
    return place
