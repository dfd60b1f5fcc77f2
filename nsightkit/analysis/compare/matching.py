"""Which kernels of two runs are the same piece of work, under whatever name.

In: the kernels of both sides with normal form, family, geometry, NVTX paths and order. Out: `Match` values that hold
every kernel of both sides exactly once: same, renamed, split, merged, new or gone, with a confidence and its grounds.

Kernels with one normal form are the same and anchor the order. Others are judged by what stands before and after them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

SAME_NAME, RENAMED, SPLIT, MERGED, NEW, GONE = "same", "renamed", "split", "merged", "new", "gone"
# What each ground weighs in a renamed kernel's confidence; what is not known is left out and lowers it.
WEIGHTS = {
    "order": 0.35,
    "family": 0.2,
    "geometry": 0.15,
    "count": 0.1,
    "time": 0.1,
    "name": 0.1,
    "path": 0.1,
    "place": 0.1,
}
BONUS = ("path", "place")  # without NVTX ranges a match may still be sure
CHAIN_WEIGHTS = {"order": 0.4, "count": 0.1, "family": 0.15, "geometry": 0.15, "time": 0.2}
ACCEPT = 0.65  # confidence below which two kernels stay new and gone
MARGIN = 0.03  # two candidates closer than this are ambiguous: neither is taken
LINKED = 0.9  # share of the launches of a kernel that the same kernel must follow, in a chain of a split
# How much of the order must agree, from the surest reading to the weakest: (what, share).
PASSES = (("split", 0.9), ("rename", 0.9), ("split", 0.6), ("rename", 0.6), ("rename", 0.25), ("rename", 0.0))
LEAST_TIME = 0.1  # a kernel that takes ten times as long, or a tenth, is not taken for a renamed or split one
OPEN_CREDIT = 0.7  # two neighbors that are both not matched yet may be the same
LONGEST_CHAIN = 4
_WORD = re.compile(r"[a-z]+|\d+")
# A template whose arguments are numbers only: with other numbers it is the same code, tuned anew. Types and functors
# are other work.
_TUNED = re.compile(r"(?P<function>[^<(]+)<[\s\d,-]+>")
_NUMBERED = re.compile(r"(?P<stem>triton_[a-z]+_.*)_\d+")  # torch.compile (Inductor)
RETUNED = 0.7  # confidence of the only such pair
_UNKNOWN_FAMILIES = ("", "unclassified", "other", "unknown")

Distribution = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """What matching knows of one kernel of one side."""

    name: str
    normal: str
    family: str = ""
    launch_count: int = 0
    total_ns: int = 0
    geometries: Mapping[str, int] = field(default_factory=dict)
    paths: frozenset[str] = frozenset()
    ordinals: Mapping[str, int] = field(default_factory=dict)  # "range#place in it" -> launches


@dataclass(frozen=True, slots=True)
class Match:
    """Kernels of both sides that stand for the same work; one side is empty for new and gone."""

    base: tuple[str, ...]
    head: tuple[str, ...]
    how: str
    confidence: float  # 1 where the normal form is the same or the kernel stands alone
    grounds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Side:
    """The kernels of one side and which followed which within a stream."""

    kernels: Sequence[KernelFacts]
    successions: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Neighbors:
    before: Mapping[str, Distribution]
    after: Mapping[str, Distribution]


def match_kernels(base: Side, head: Side) -> list[Match]:
    """Return every kernel of both sides in exactly one match."""
    return _Matcher(base, head).run()


class _Matcher:
    """The state of one matching: which kernels are still open, and the anchor that each matched kernel became."""

    def __init__(self, base: Side, head: Side) -> None:
        self.sides = (base, head)
        self.facts = tuple({kernel.name: kernel for kernel in side.kernels} for side in self.sides)
        self.anchors: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self.found: list[Match] = []
        self.similar: dict[tuple[str, str], float | None] = {}

    def run(self) -> list[Match]:
        self._match_names()
        while self._open(0) and self._open(1):
            neighbors = (self._neighbors(0), self._neighbors(1))
            accepted = self._first_pass_that_finds(neighbors)
            for match in accepted:
                self._accept(match)
            if not accepted:
                break
        for match in (*self._left_by_name(), *self._retuned()):  # generated names, and templates: never one kernel
            self._accept(match)
        gone = [Match((name,), (), GONE, 1.0) for name in self._open(0)]
        return [*self.found, *gone, *(Match((), (name,), NEW, 1.0) for name in self._open(1))]

    def _first_pass_that_finds(self, neighbors: tuple[_Neighbors, _Neighbors]) -> list[Match]:
        for what, order in PASSES:
            found = self._splits(neighbors, order) if what == "split" else self._renames(neighbors, order)
            if found:
                return found
        return []

    def _open(self, side: int) -> list[str]:
        return [name for name in self.facts[side] if name not in self.anchors[side]]

    def _accept(self, match: Match) -> None:
        anchor = f"#{len(self.found)}"
        self.found.append(match)
        self.anchors[0].update(dict.fromkeys(match.base, anchor))
        self.anchors[1].update(dict.fromkeys(match.head, anchor))

    def _match_names(self) -> None:
        groups: dict[str, tuple[list[str], list[str]]] = {}
        for side in (0, 1):
            for kernel in self.facts[side].values():
                groups.setdefault(kernel.normal, ([], []))[side].append(kernel.name)
        for normal, (base, head) in groups.items():
            if base and head and not self._is_renumbered(normal):
                self._accept(Match(tuple(base), tuple(head), SAME_NAME, 1.0, self._moved(base, head)))

    def _is_renumbered(self, normal: str) -> bool:
        """Say whether a generated kernel of one side runs as that of another number on the other.

        Inductor counts its kernels: one more at the front, and each name stands for the work of its neighbor.
        """
        stem = _stem(normal)
        if not stem:
            return False
        kin = [[k for k in facts.values() if _stem(k.normal) == stem and k.geometries] for facts in self.facts]
        own = [{g for k in side if k.normal == normal for g in k.geometries} for side in kin]
        others = [{g for k in side if k.normal != normal for g in k.geometries} for side in kin]
        return bool(own[0] and own[1] and not own[0] & own[1] and (own[0] & others[1] or own[1] & others[0]))

    def _left_by_name(self) -> list[Match]:
        """Return the renumbered kernels for which nothing better was found."""
        normals = [{self.facts[side][name].normal: name for name in self._open(side)} for side in (0, 1)]
        grounds = ("same name, other launch geometry",)
        return [
            Match((old,), (normals[1][normal],), SAME_NAME, RETUNED, grounds)
            for normal, old in normals[0].items()
            if normal in normals[1] and self._may_be_one(old, normals[1][normal])
        ]

    def _moved(self, base: Sequence[str], head: Sequence[str]) -> tuple[str, ...]:
        old, new = (_paths(self.facts[side][name] for name in names) for side, names in ((0, base), (1, head)))
        return ("runs in other NVTX ranges",) if old and new and not old & new else ()

    def _retuned(self) -> list[Match]:
        """Return the open kernels that are the only ones of one template, which differ in numbers alone."""
        found: dict[str, tuple[list[str], list[str]]] = {}
        for side in (0, 1):
            for name in self._open(side):
                function = _tuned(self.facts[side][name].normal)
                if function:
                    found.setdefault(function, ([], []))[side].append(name)
        return [
            Match((base[0],), (head[0],), RENAMED, RETUNED, ("one template, other numbers",))
            for base, head in found.values()
            if len(base) == len(head) == 1 and self._may_be_one(base[0], head[0])
        ]

    def _may_be_one(self, old: str, new: str) -> bool:
        """Say whether nothing that is known of both excludes that they are one kernel."""
        a, b = self.facts[0][old], self.facts[1][new]
        if _known(a.family) and _known(b.family) and a.family != b.family:
            return False
        if a.paths and b.paths and not a.paths & b.paths:
            return False
        return not (a.total_ns and b.total_ns) or _closeness(a.total_ns, b.total_ns) >= LEAST_TIME

    def _neighbors(self, side: int) -> _Neighbors:
        """Return what stands before and after each open kernel: anchors, and open kernels by their own name."""
        before: dict[str, dict[str, float]] = {}
        after: dict[str, dict[str, float]] = {}
        anchors = self.anchors[side]
        for (first, second), times in self.sides[side].successions.items():
            if first == second:
                continue
            if second not in anchors:
                _count(before.setdefault(second, {}), anchors.get(first, first), times)
            if first not in anchors:
                _count(after.setdefault(first, {}), anchors.get(second, second), times)
        return _Neighbors(*({name: _shares(found) for name, found in part.items()} for part in (before, after)))

    def _renames(self, neighbors: tuple[_Neighbors, _Neighbors], least_order: float) -> list[Match]:
        """Return the pairs that are each other's best candidate by a clear margin."""
        scored = []
        for old, new in product(self._open(0), self._open(1)):
            order = _order(old, new, neighbors)
            if order is not None and order < least_order:
                continue
            judged = self._confidence(old, new, order)
            if judged is not None and judged[0] >= ACCEPT:
                scored.append((judged[0], old, new, judged[1]))
        best: dict[tuple[int, str], list[float]] = {}
        for score, old, new, _ in scored:
            for key in ((0, old), (1, new)):
                best.setdefault(key, []).append(score)
        return [
            Match((old,), (new,), self._how(old, new), score, grounds)
            for score, old, new, grounds in scored
            if _is_clear(score, best[0, old]) and _is_clear(score, best[1, new])
        ]

    def _how(self, old: str, new: str) -> str:
        return SAME_NAME if self.facts[0][old].normal == self.facts[1][new].normal else RENAMED

    def _confidence(self, old: str, new: str, order: float | None) -> tuple[float, tuple[str, ...]] | None:
        if not self._may_be_one(old, new):
            return None
        a, b = self.facts[0][old], self.facts[1][new]
        values: dict[str, float | None] = {
            "order": order,
            "family": 1.0 if _known(a.family) and a.family == b.family else None,
            "geometry": _overlap(_shares(a.geometries), _shares(b.geometries))
            if a.geometries and b.geometries
            else None,
            "count": _closeness(a.launch_count, b.launch_count),
            "time": _closeness(a.total_ns, b.total_ns),
            "path": _jaccard(a.paths, b.paths) if a.paths and b.paths else None,
            "place": _overlap(_shares(a.ordinals), _shares(b.ordinals)) if a.ordinals and b.ordinals else None,
            "name": self._name_likeness(a.normal, b.normal),
        }
        weight = sum(WEIGHTS[key] for key, value in values.items() if value is not None)
        agreed = sum(WEIGHTS[key] * value for key, value in values.items() if value is not None)
        most = sum(value for key, value in WEIGHTS.items() if key not in BONUS)
        grounds = tuple(f"{key} {value:.2f}" for key, value in values.items() if value is not None)
        return agreed / weight * min(1.0, 0.5 + 0.5 * weight / most), grounds

    def _name_likeness(self, old: str, new: str) -> float:
        key = (old, new)
        if key not in self.similar:
            # One template with other arguments is the likeliest kind of renaming.
            alike = _function(old) == _function(new) and _function(old) != ""
            self.similar[key] = 1.0 if alike else _jaccard(_words(old), _words(new))
        return self.similar[key] or 0.0

    def _splits(self, neighbors: tuple[_Neighbors, _Neighbors], least_order: float) -> list[Match]:
        """Return kernels that became a chain of several between the same neighbors, and chains that became one."""
        candidates = [m for side in (0, 1) for m in self._whole_for_chain(side, neighbors, least_order)]
        taken: set[tuple[int, str]] = set()
        accepted = []
        for match in sorted(candidates, key=lambda m: (-m.confidence, m.base, m.head)):
            used = {*((0, name) for name in match.base), *((1, name) for name in match.head)}
            if not used & taken:
                taken |= used
                accepted.append(match)
        return accepted

    def _whole_for_chain(
        self, whole_side: int, neighbors: tuple[_Neighbors, _Neighbors], least_order: float
    ) -> Iterable[Match]:
        chain_side = 1 - whole_side
        chains = _chains(self._open(chain_side), neighbors[chain_side])
        for whole, chain in product(self._open(whole_side), chains):
            values = self._chain_grounds(whole, chain, whole_side, neighbors)
            if values is None or values["order"] < least_order or values["count"] < LINKED:
                continue
            grounds = tuple(f"{key} {value:.2f}" for key, value in values.items())
            confidence = sum(CHAIN_WEIGHTS[key] * value for key, value in values.items())
            if confidence < ACCEPT:
                continue
            if whole_side == 0:
                yield Match((whole,), chain, SPLIT, confidence, grounds)
            else:
                yield Match(chain, (whole,), MERGED, confidence, grounds)

    def _chain_grounds(
        self, whole: str, chain: Sequence[str], whole_side: int, neighbors: tuple[_Neighbors, _Neighbors]
    ) -> dict[str, float] | None:
        facts = self.facts[whole_side][whole]
        pieces = [self.facts[1 - whole_side][name] for name in chain]
        paths = _paths(pieces)
        if facts.paths and paths and not facts.paths & paths:
            return None
        together = _closeness(facts.total_ns, sum(piece.total_ns for piece in pieces))
        if max(_closeness(facts.total_ns, piece.total_ns) for piece in pieces) > together:
            # One piece alone takes the time of the whole: it is the whole, and the rest is new or gone.
            return None
        if facts.total_ns and any(piece.total_ns for piece in pieces) and together < LEAST_TIME:
            return None
        ours, theirs = neighbors[whole_side], neighbors[1 - whole_side]
        before = _agreement(ours.before.get(whole, {}), theirs.before.get(chain[0], {}))
        after = _agreement(ours.after.get(whole, {}), theirs.after.get(chain[-1], {}))
        return {
            "order": min(before, after),
            "count": min(_closeness(facts.launch_count, piece.launch_count) for piece in pieces),
            # A split keeps the family and often the grid in one of its pieces, and most of the time in all of them.
            "family": float(any(piece.family == facts.family for piece in pieces)),
            "geometry": max(_overlap(_shares(facts.geometries), _shares(piece.geometries)) for piece in pieces),
            "time": together,
        }


def _chains(names: Sequence[str], neighbors: _Neighbors) -> list[tuple[str, ...]]:
    """Return runs of two to `LONGEST_CHAIN` open kernels that nearly always follow one another."""
    open_names = set(names)
    following = {}
    for name in names:
        for other, share in neighbors.after.get(name, {}).items():
            if other in open_names and share >= LINKED and neighbors.before[other].get(name, 0) >= LINKED:
                following[name] = other
    chains = []
    for name in names:
        chain = [name]
        while len(chain) < LONGEST_CHAIN and chain[-1] in following and following[chain[-1]] not in chain:
            chain.append(following[chain[-1]])
            chains.append(tuple(chain))
    return chains


def _order(old: str, new: str, neighbors: tuple[_Neighbors, _Neighbors]) -> float | None:
    """Return which share of the launches has the same neighbors; None where no order is known."""
    base, head = neighbors
    parts = [
        _agreement(ours[old], theirs[new])
        for ours, theirs in ((base.before, head.before), (base.after, head.after))
        if old in ours and new in theirs
    ]
    return sum(parts) / len(parts) if parts else None


def _agreement(first: Distribution, second: Distribution) -> float:
    """Return the share of equal neighbors; neighbors that are still open on both sides count in part."""
    still_open = min(sum(share for key, share in side.items() if not key.startswith("#")) for side in (first, second))
    return _overlap(first, second) + OPEN_CREDIT * still_open


def _overlap(first: Distribution, second: Distribution) -> float:
    return sum(min(share, second.get(key, 0.0)) for key, share in first.items())


def _shares(counts: Mapping[str, float]) -> dict[str, float]:
    total = sum(counts.values())
    return {key: value / total for key, value in counts.items()} if total else {}


def _count(counts: dict[str, float], key: str, times: int) -> None:
    counts[key] = counts.get(key, 0) + times


def _closeness(first: int, second: int) -> float:
    return min(first, second) / max(first, second, 1)


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / len(first | second) if first | second else 0.0


def _paths(kernels: Iterable[KernelFacts]) -> frozenset[str]:
    return frozenset().union(*(kernel.paths for kernel in kernels))


def _words(name: str) -> frozenset[str]:
    return frozenset(_WORD.findall(name[:2000].lower()))


def _tuned(normal: str) -> str:
    found = _TUNED.match(normal[:2000])
    return found["function"].strip() if found else ""


def _stem(normal: str) -> str:
    found = _NUMBERED.fullmatch(normal[:2000])
    return found["stem"] if found else ""


def _function(normal: str) -> str:
    return re.split(r"[<(]", normal, maxsplit=1)[0]


def _known(family: str) -> bool:
    return family.lower() not in _UNKNOWN_FAMILIES


def _is_clear(score: float, rivals: Sequence[float]) -> bool:
    ranked = sorted(rivals, reverse=True)
    return score == ranked[0] and (len(ranked) == 1 or ranked[0] - ranked[1] >= MARGIN)
