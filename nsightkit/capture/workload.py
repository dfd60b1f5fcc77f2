"""Finds the script that is to be profiled.

In: the name of a bundled workload or the path of a script, and its arguments. Out: `Workload`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from nsightkit.errors import CaptureError
from nsightkit.resources import resource_dir

DEFAULT = "kv_decode"


@dataclass(frozen=True)
class Workload:
    """A Python script and its arguments; a bundled one also takes `--results PATH`."""

    name: str
    script: Path
    args: tuple[str, ...] = ()
    bundled: bool = False

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line without a profiler."""
        return (sys.executable, str(self.script), *self.args)


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
        "a script is named by its path, its arguments follow after --",
        slug="unknown-workload",
    )
