"""Runs a matrix of workload settings, one process each, so that it can be cut off and taken up again.

In: a `SweepPlan` and a folder. Out: ``cells/<cell>/`` with the log, the results and, written last, ``cell.json``: a
cell with that file is never run again. A cell that fails (out of memory, say) is recorded and passed over.

    SWEEP/sweep.json   SWEEP/cells/<cell>/{cell.json,log.txt,results.json}   SWEEP/tables/results/<cell>.parquet
"""

import hashlib
import itertools
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nsightkit.annotate import check_results
from nsightkit.capture.process import ChildResult, run_child
from nsightkit.capture.workload import Workload, require_torch
from nsightkit.errors import CaptureError
from nsightkit.run import write_text

Progress = Callable[[str, int, int], None]
# Ends the child with us, also where we are killed without a word; an exec keeps the request. Linux only.
_TIED = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); os.execv(sys.argv[1], sys.argv[1:])"
)
_MEMORY_WORDS = (
    "out of memory",
    "OutOfMemoryError",
    "ALLOC_FAILED",
    "not enough memory",
    "can't allocate memory",
    "MemoryError",
)


@dataclass(frozen=True)
class SweepPlan:
    """What to run: every combination of the values of `axes`, or the `listed` settings, all with `args`."""

    workload: str
    axes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    args: tuple[str, ...] = ()
    tool: str = "none"
    listed: tuple[tuple[tuple[str, str], ...], ...] = ()
    tool_args: tuple[str, ...] = ()  # words for nsightkit profile

    def settings(self) -> Iterator[tuple[tuple[str, str], ...]]:
        """Yield the settings of each cell, in the order of the axes; the last axis changes fastest."""
        if self.listed:
            yield from self.listed
            return
        names = [name for name, _ in self.axes]
        for values in itertools.product(*(values for _, values in self.axes)):
            yield tuple(zip(names, values, strict=True))

    @property
    def key(self) -> str:
        """A short name that is equal for equal plans."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Cell:
    """One run: its name (a folder), and what became of it, None while it is open."""

    name: str
    settings: tuple[tuple[str, str], ...]
    status: str | None = None  # done or failed
    message: str = ""
    exit_code: int | None = None
    wall_s: float | None = None

    @property
    def args(self) -> tuple[str, ...]:
        """The settings as options of the workload."""
        return tuple(part for name, value in self.settings for part in (f"--{name.replace('_', '-')}", value))


@dataclass(frozen=True)
class Sweep:
    """A plan with its folder."""

    plan: SweepPlan
    workload: Workload
    folder: Path
    timeout_s: float | None = None

    def path(self, cell: Cell) -> Path:
        """Return the folder of `cell`."""
        return self.folder / "cells" / cell.name

    def results_path(self, cell: Cell) -> Path:
        """Return where the workload of `cell` writes its results."""
        folder = self.path(cell)
        return folder / "results.json" if self.plan.tool == "none" else folder / "run" / "capture" / "results.json"

    def cells(self) -> list[Cell]:
        """Return all cells with what is known of them."""
        made: dict[str, Cell] = {}
        for settings in self.plan.settings():
            name = _cell_name(settings)
            made.setdefault(name, self._known(Cell(name, settings)))
        return list(made.values())

    def _known(self, cell: Cell) -> Cell:
        try:
            data = json.loads((self.path(cell) / "cell.json").read_text(encoding="utf-8"))
            return Cell(cell.name, cell.settings, data["status"], data["message"], data["exit_code"], data["wall_s"])
        except (OSError, ValueError, KeyError, TypeError):
            return cell


def open_sweep(sweep: Sweep) -> None:
    """Write the plan into the folder, or check that the one there is the same.

    Raises:
        CaptureError: the folder holds something else.
    """
    path = sweep.folder / "sweep.json"
    text = json.dumps(asdict(sweep.plan), indent=2) + "\n"
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != json.loads(text):
            raise CaptureError(
                f"{sweep.folder}: holds a sweep with another plan; name another folder with -o", slug="other-sweep"
            )
        return
    if sweep.folder.is_dir() and any(sweep.folder.iterdir()):
        raise CaptureError(
            f"{sweep.folder}: is not empty and no sweep; name another folder with -o", slug="other-sweep"
        )
    write_text(path, text)


def run_sweep(sweep: Sweep, progress: Progress, retry_failed: bool = False) -> list[Cell]:
    """Run every open cell and return all of them.

    Raises:
        ToolError: the workload needs torch, which is not installed.
        CaptureError: the folder is taken, or Ctrl-C was pressed; what is done stays done.
    """
    require_torch(sweep.workload)
    open_sweep(sweep)
    ended = []
    with _alone(sweep.folder):
        cells = sweep.cells()
        for place, cell in enumerate(cells):
            progress(cell.name, place, len(cells))
            again = cell.status is None or (retry_failed and cell.status == "failed")
            ended.append(_run_cell(sweep, cell) if again else cell)
            progress(cell.name, place + 1, len(cells))
    return ended


def results_of(sweep: Sweep, cell: Cell) -> dict[str, Any] | None:
    """Return the results of `cell`, None where it has none that are whole."""
    try:
        data = json.loads(sweep.results_path(cell).read_text(encoding="utf-8"))
        check_results(data)
    except (OSError, ValueError):
        return None
    return dict(data)


def _run_cell(sweep: Sweep, cell: Cell) -> Cell:
    folder = sweep.path(cell)
    if cell.status is None and results_of(sweep, cell) is not None:
        # The workload had ended when we were cut off: its results are whole.
        return _ended(sweep, Cell(cell.name, cell.settings, "done", "taken up from an earlier call", 0))
    shutil.rmtree(folder, ignore_errors=True)
    result = run_child(_tied(_argv(sweep, cell)), folder / "log.txt", sweep.timeout_s)
    whole = results_of(sweep, cell) is not None
    if result.exit_code == 0 and whole:
        return _ended(sweep, Cell(cell.name, cell.settings, "done", "", 0, result.wall_s))
    message = _reason(result, sweep.timeout_s)
    return _ended(sweep, Cell(cell.name, cell.settings, "failed", message, result.exit_code, result.wall_s))


def _argv(sweep: Sweep, cell: Cell) -> tuple[str, ...]:
    args = (*sweep.plan.args, *cell.args)
    if sweep.plan.tool == "none":
        return (sys.executable, str(sweep.workload.script), *args, "--results", str(sweep.results_path(cell)))
    name = sweep.plan.workload if sweep.workload.bundled else str(sweep.workload.script)
    run = sweep.path(cell) / "run"
    return (
        sys.executable,
        "-m",
        "nsightkit",
        "profile",
        name,
        "--tool",
        sweep.plan.tool,
        "--no-render",
        *sweep.plan.tool_args,
        "-o",
        str(run),
        "--",
        *args,
    )


def _tied(argv: tuple[str, ...]) -> tuple[str, ...]:
    return (sys.executable, "-c", _TIED, *argv) if sys.platform == "linux" else argv


def _ended(sweep: Sweep, cell: Cell) -> Cell:
    _write_rows(sweep, cell)
    write_text(sweep.path(cell) / "cell.json", json.dumps(asdict(cell), indent=2) + "\n")
    return cell


def _write_rows(sweep: Sweep, cell: Cell) -> None:
    from nsightkit import parquet
    from nsightkit.tables import RESULTS

    data = results_of(sweep, cell) if cell.status == "done" else None
    metrics: dict[str, float | None] = data["metrics"] if data else {}
    names: list[str | None] = [*metrics] or [None]
    count = len(names)
    columns = {
        "workload": [sweep.plan.workload] * count,
        "settings": [json.dumps(data["settings"] if data else dict(cell.settings))] * count,
        "status": [cell.status] * count,
        "message": [cell.message or None] * count,
        "metric": names,
        "value": [None if (value := metrics.get(str(name))) is None else float(value) for name in names],
    }
    path = sweep.folder / "tables" / "results" / f"{cell.name}.parquet"
    parquet.write_table(path, RESULTS, columns, {"capture_id": cell.name})


def _reason(result: ChildResult, timeout_s: float | None) -> str:
    # Our own programs end with a pointer to the documentation; the line before it is the reason.
    lines = [line for line in result.lines()[1:] if not line.startswith("more: ")]
    text = "\n".join(lines)
    if result.timed_out:
        return f"ended after {timeout_s:g} s"
    if any(word in text for word in _MEMORY_WORDS):
        return "out of memory: " + next(line for line in reversed(lines) if any(w in line for w in _MEMORY_WORDS))[:300]
    if result.exit_code in (-9, 137):
        return "killed, as the system does where memory runs out"
    if result.exit_code == 0:
        return "it ended well, but left no results that fit the schema of nsightkit.annotate"
    return f"{result.exit_text}: {(lines or ['it printed nothing'])[-1][:300]}"


def _cell_name(settings: tuple[tuple[str, str], ...]) -> str:
    plain = ",".join(f"{name}={value}" for name, value in settings) or "only"
    safe = re.sub(r"[^A-Za-z0-9=,._-]+", "-", plain)[:80]
    return safe if safe == plain else f"{safe}-{hashlib.sha256(plain.encode()).hexdigest()[:6]}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go of however we end."""
    try:
        import fcntl
    except ModuleNotFoundError:
        yield
        return
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CaptureError(f"{folder}: another sweep runs in it; wait for its end", slug="other-sweep") from None
        yield
