"""Finds the processes that a child started, also those that left its process group.

In: the id of a process group that we opened. Out: `Process` values; the ending of those that are left. nsys gives the
workload a session of its own: a signal to our group does not reach it, and one that ignores the polite signals of nsys
would run on. Read from /proc; where there is none (macOS, Windows) nothing is found, and the group has to do.
"""

import os
import signal
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process; `started` (in ticks since the machine started) tells it from a later one of the same id."""

    pid: int
    parent: int
    group: int
    started: int


def read_family(group: int, known: Collection[Process] = ()) -> frozenset[Process]:
    """Return what lives of process group `group` and of `known`, with all descendants."""
    living = {process.pid: process for process in _living()}
    identities = {(process.pid, process.started) for process in known}
    found = {p.pid for p in living.values() if p.group == group or (p.pid, p.started) in identities}
    while more := {p.pid for p in living.values() if p.parent in found} - found:
        found |= more
    return frozenset(living[pid] for pid in found)


def end_family(family: Collection[Process]) -> None:
    """Kill those of `family` that still live; an id that another process has by now is left alone."""
    for process in family:
        now = _read(_PROC / str(process.pid))
        if now is not None and now.started == process.started:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue


def _living() -> Iterator[Process]:
    return (process for folder in _PROC.glob("[0-9]*") if (process := _read(folder)) is not None)


def _read(folder: Path) -> Process | None:
    try:
        # The name before the last bracket may hold anything, blanks and brackets included.
        fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] in "ZX":
        return None
    return Process(int(folder.name), int(fields[1]), int(fields[2]), int(fields[19]))
