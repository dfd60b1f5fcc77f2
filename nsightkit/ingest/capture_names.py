"""What a capture is called, and which rank of a job it is, by the names of its files and folders.

In: the files of each capture. Out: names of which no two are equal, and the rank that a path states.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

# What '-o run-rank%q{RANK}' makes of a file name. The number that nsys adds of itself (report1) says nothing, and a
# local rank starts at 0 again on each host.
_RANK = re.compile(r"(?<![a-z])rank[-_.=]?(\d{1,9})(?!\d)", re.IGNORECASE)
_LOCAL = re.compile(r"local[-_.]?rank[-_.=]?\d+", re.IGNORECASE)
_MOST_LETTERS = 80


def rank_in(file_name: str) -> int | None:
    """Return the rank that a file name states, None where it states none or several.

    >>> rank_in("train-rank3.sqlite"), rank_in("report3.sqlite"), rank_in("local_rank0.sqlite")
    (3, None, None)
    """
    found = {int(number) for number in _RANK.findall(_LOCAL.sub("", file_name))}
    return found.pop() if len(found) == 1 else None


def rank_of(path: Path) -> int | None:
    """Return the rank that the name of a file states, or else that of its folder (job/rank3/report1.sqlite)."""
    own = rank_in(path.name)
    return rank_in(path.absolute().parent.name) if own is None else own


def names_of(captures: Sequence[Sequence[Path]]) -> list[str]:
    """Return a name for each capture, given by its files: the file's, with folders in front where several share it."""
    parts = [_parts(paths) for paths in captures]
    least = [_least(paths, len(captures) > 1) for paths in captures]
    names = [_joined(*both) for both in zip(parts, least, strict=True)]
    sharing: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        sharing.setdefault(name, []).append(place)
    for places in (places for places in sharing.values() if len(places) > 1):
        told = _told_apart([parts[place] for place in places], max(least[place] for place in places))
        for place, name in zip(places, told, strict=True):
            names[place] = name
    taken: set[str] = set()
    return [_numbered(name, taken) for name in names]


def _parts(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return what a name can be made of: the folders, and the file's name without its endings if there is one file."""
    folders = paths[0].absolute().parent.parts
    return folders if len(paths) > 1 else (*folders, paths[0].name.split(".")[0])


def _least(paths: Sequence[Path], has_others: bool) -> int:
    """Return of how many parts a name is made at least."""
    base = paths[0].name.split(".")[0]
    # Among others such a name says nothing; alone it is what the user called it.
    says_nothing = not base or (has_others and base in ("profile", "ncu", "report"))
    return 2 if says_nothing and len(paths) == 1 else 1


def _told_apart(parts: Sequence[tuple[str, ...]], least: int) -> list[str]:
    """Return names with as few folders in front as tell most of them apart (node0-gpu1-report1)."""
    tries = []
    for count in range(least, max(len(part) for part in parts) + 1):
        tries.append([_joined(part, count) for part in parts])
        if len(set(tries[-1])) == len(parts):
            break
    return max(tries, key=lambda names: len(set(names)))


def _joined(parts: tuple[str, ...], count: int) -> str:
    return _plain("-".join(part[:_MOST_LETTERS] for part in parts[-count:]))[-2 * _MOST_LETTERS :] or "capture"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")


def _numbered(stem: str, taken: set[str]) -> str:
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name
