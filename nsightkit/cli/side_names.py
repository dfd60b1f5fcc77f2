"""Short names of the sides of a comparison, which tell them apart.

In: the sides as a user wrote them. Out: one name each: the last parts of its path, as few as keep the names different.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_LONGEST = 64  # parts of a path; a path has fewer


def side_names(arguments: Sequence[str]) -> list[str]:
    """Return a name for each of `arguments`; the same argument twice keeps one name."""
    for length in range(1, _LONGEST):
        names = [_name(argument, length) for argument in arguments]
        if len(set(names)) == len(set(arguments)):
            return names
    return list(arguments)


def _name(argument: str, length: int) -> str:
    parts = [part for part in argument.split(",") if part]
    if os.path.exists(argument) or len(parts) < 2:
        return _last(argument, length)
    # Several process runs: the first stands for all.
    return f"{_last(parts[0], length)} and {len(parts) - 1} more"


def _last(argument: str, length: int) -> str:
    path = Path(argument)
    if path.name in ("", ".."):
        path = path.resolve()
    return "/".join(part for part in path.parts[-length:] if part != path.anchor) or argument
