"""Keeps two commands from writing into one folder.

In: the folder that a command is about to write. Out: it is held until the command ends, or that somebody else has it.
The system lets go of it however the command ends.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from nsightkit.errors import ReportError

_KEY = "nsightkit.cli.holding"


def hold(folder: Path) -> None:
    """Keep other commands from writing into `folder` until this one ends: two would mix what they write.

    Raises:
        ReportError: another command holds it.
    """
    if not is_ours(folder):
        raise ReportError(
            f"{folder}: another nsightkit writes into it; wait for its end, or name another folder",
            slug="output-taken",
        )


def is_ours(folder: Path) -> bool:
    """Hold `folder`, made where it is missing, for the running command; say whether nobody else has it.

    Outside a command, where the system has no such locks, and where nothing can be written, nobody is kept out: what is
    wrong there is said by who writes.
    """
    ctx = click.get_current_context(silent=True)
    if ctx is None or os.name != "posix":
        return True
    held: set[str] = ctx.find_root().meta.setdefault(_KEY, set())
    name = str(folder.absolute())
    if name not in held:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        handle = _locked(folder)
        if handle == _TAKEN:
            return False
        held.add(name)
        ctx.find_root().call_on_close(lambda: _let_go(handle, made))
    return True


_TAKEN = -2
_NONE = -1


def _locked(folder: Path) -> int:
    """Return the handle of the lock on `folder`, or that somebody has it, or that none can be had."""
    import fcntl

    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return _TAKEN
        except OSError:  # some network file systems lock no folders
            os.close(handle)
            return _NONE
        return handle
    return _NONE


def _let_go(handle: int, made: Sequence[Path]) -> None:
    """End the lock, and remove the folders that were made for it and stayed empty."""
    with suppress(OSError):
        for folder in made:
            folder.rmdir()
    if handle != _NONE:
        os.close(handle)
