"""Words that tell kernels of one friendly name apart.

In: friendly names with the forms they came from. Out: the same names, with what differs in brackets where several
kernels share one. Each form is read once, so that a hostile name costs no more than its length.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

# Friendly, full and normal name, and the tile where it is known.
Described = tuple[str, str, str, str | None]

_WORD = re.compile(r"[A-Za-z_]\w*|-?\d+(?:\.\d+)?")
_READ_LENGTH = 16_384
_MOST_WORDS, _MOST_CHARACTERS = 4, 48


def told_apart(kernels: Sequence[Described]) -> list[str]:
    """Return one label per kernel; kernels with the same full name share it, others do not."""
    groups: dict[str, dict[str, Described]] = defaultdict(dict)
    for kernel in kernels:
        groups[kernel[0]].setdefault(kernel[1], kernel)
    labels = {full: label for group in groups.values() for full, label in _labels(list(group.values())).items()}
    return [labels[kernel[1]] for kernel in kernels]


def _labels(group: Sequence[Described]) -> dict[str, str]:
    if len(group) == 1:
        return {group[0][1]: group[0][0]}
    friendly, names = group[0][0], [kernel[1] for kernel in group]
    forms = ([_tile(kernel[3]) for kernel in group], _differing([kernel[2] for kernel in group]), _differing(names))
    details = next((form for form in forms if all(form) and len(set(form)) == len(form)), None)
    # What differs lies beyond what a label can hold: a number does, in the order of the listing.
    details = details or [f"variant {number}" for number in range(1, len(group) + 1)]
    return {name: f"{friendly} [{detail}]" for name, detail in zip(names, details, strict=True)}


def _tile(tile: str | None) -> str:
    return f"{tile.replace('x', '×')} tile" if tile else ""


def _differing(texts: Sequence[str]) -> list[str]:
    """Return for each text its words that the others do not all have in the same place, "" where there is none."""
    words = [_WORD.findall(text[:_READ_LENGTH]) for text in texts]
    if len({len(row) for row in words}) == 1:
        places = [place for place, column in enumerate(zip(*words, strict=True)) if len(set(column)) > 1]
        return [_shortened([row[place] for place in places]) for row in words]
    front, back = _common(words), _common([row[::-1] for row in words])
    shortest = min(map(len, words))
    back = min(back, shortest - front)
    return [_shortened(row[front : len(row) - back] or ["–"]) for row in words]


def _common(rows: Sequence[Sequence[str]]) -> int:
    """Return how many words all rows have alike at their beginning."""
    for place, column in enumerate(zip(*rows, strict=False)):
        if any(one != other for one, other in pairwise(column)):
            return place
    return min(map(len, rows))


def _shortened(words: Sequence[str]) -> str:
    text = ", ".join(words[:_MOST_WORDS]) + (", …" if len(words) > _MOST_WORDS else "")
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def apart_by_place(labels: Sequence[str], beside: Sequence[Sequence[str]]) -> list[str]:
    """Return `labels`, those that are still equal followed by the first words of `beside` that tell them apart."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        groups[label].append(index)
    found = list(labels)
    for members in (group for group in groups.values() if len(group) > 1):
        for index in members:
            found[index] = f"{labels[index]} [{', '.join(_needed([beside[i] for i in members], beside[index]))}]"
    return [label.removesuffix(" []") for label in found]


def _needed(group: Sequence[Sequence[str]], own: Sequence[str]) -> list[str]:
    """Return those words of `own` that differ within `group`, no more than it takes to be alone."""
    chosen: list[int] = []
    for place in range(len(own)):
        if len({tuple(row[i] for i in chosen) for row in group}) == len(group):
            break
        if len({row[place] for row in group}) > 1:
            chosen.append(place)
    return [own[place] for place in chosen]
