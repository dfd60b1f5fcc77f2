"""Finds what is to be profiled.

In: the name of a bundled workload, the path of a script, or a command, and arguments. Out: `Workload`.
"""

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from nsightkit.errors import CaptureError
from nsightkit.resources import resource_dir

DEFAULT = "kv_decode"
# A line of its own in a script: each run launches the same kernels in the same order.
_DETERMINISTIC = re.compile(r"^# nsightkit: deterministic\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Workload:
    """A Python script or any `program`, and its arguments; a bundled one also takes `--results PATH`."""

    name: str
    script: Path | None
    args: tuple[str, ...] = ()
    bundled: bool = False
    program: str | None = None

    @property
    def deterministic(self) -> bool:
        """Whether the script says of itself that each run launches the same kernels: ncu may then repeat the run."""
        if self.script is None:
            return False
        try:
            return _DETERMINISTIC.search(self.script.read_text(encoding="utf-8", errors="replace")) is not None
        except OSError:
            return False

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line without a profiler."""
        if self.script is None:
            return (self.program or self.name, *self.args)
        return (self.program or sys.executable, str(self.script), *self.args)


def bundled_workloads() -> list[str]:
    """Return the names of the workloads that come with nsightkit."""
    return sorted(path.stem for path in resource_dir("workloads").glob("*.py") if not path.stem.startswith("_"))


def find_workload(name: str, args: tuple[str, ...] = ()) -> Workload:
    """Return the workload called `name`, or the script at that path.

    Raises:
        CaptureError: it is neither; the message lists the bundled ones.
    """
    if name in bundled_workloads():
        return Workload(name, resource_dir("workloads") / f"{name}.py", args, bundled=True)
    script = Path(name)
    if script.is_file():
        return Workload(script.stem, script, args)
    raise CaptureError(
        f"'{name}' is neither a script nor a bundled workload; bundled: {', '.join(bundled_workloads())}; "
        "a script is named by its path, its arguments follow after --; any other program follows after -- by itself",
        slug="unknown-workload",
    )


def selfcheck_workload_path() -> Path:
    """Return the program whose work is known beforehand."""
    return Path(__file__).resolve().with_name("selfcheck_workload.py")


def find_command(words: tuple[str, ...]) -> Workload:
    """Return the program `words[0]` with its arguments; `python SCRIPT …` is told apart, so that torch can run it too.

    Raises:
        CaptureError: there is no such program.
    """
    program, *args = words
    if shutil.which(program) is None:
        raise CaptureError(f"'{program}' is no program on PATH; what follows -- is run as it is", slug="cannot-start")
    if Path(program).name.startswith("python") and args and args[0].endswith(".py") and Path(args[0]).is_file():
        return Workload(Path(args[0]).stem, Path(args[0]), tuple(args[1:]), program=program)
    return Workload(Path(program).name, None, tuple(args), program=program)
