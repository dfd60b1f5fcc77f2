"""Picks the kernels that deserve hardware counters, and the launches of them that stand for the others.

In: the tables of a timeline, and the range that is asked about. Out: `TargetPlan`: the kernels that make up the wished
share of the GPU time inside the range, and a few of its steps in which their launches are to be measured.

A kernel is told apart by name, grid, block, dynamic shared memory, cluster, the ranges around it, and its place within
the step: matrix products that differ only in their inner size share all but the last. Places whose durations lie close
together form one mode; each mode is a target of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from nsightkit.analysis.arrays import Codes, arrow_mask, ints, known
from nsightkit.analysis.kernel_names.form import normal_form, spell
from nsightkit.analysis.ranges.nvtx_projection import Attribution, attribute
from nsightkit.analysis.ranges.range_names import normal_name
from nsightkit.analysis.work.operations import CaptureTables
from nsightkit.errors import AnalysisError

if TYPE_CHECKING:
    import pyarrow as pa

# Two places of a step whose durations differ by more belong to different modes.
MODE_RATIO = 1.3
_MOST_MODES = 6
_GEOMETRY = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z")
_CLUSTER = ("cluster_x", "cluster_y", "cluster_z")
_SHARED = "dynamic_shared_memory_bytes"
# A child range is the step of a range where it comes at least so often and holds at least this share of its time.
_LEAST_STEPS = 2
_LEAST_STEP_SHARE = 0.5

_MOST_WORDS = 6
_LONGEST_LITERAL = 200

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """What both profilers tell of a launch. The name is in the form common to both; None is "not recorded"."""

    name: str
    grid: Triple
    block: Triple
    dynamic_shared_memory_bytes: int | None
    cluster: Triple | None
    nvtx_path: str  # default domain, outermost first, numbers that count instances replaced by *

    def agrees(self, other: Shape) -> bool:
        """Say whether the two could be one launch: what one of them does not record is left out."""
        same = (self.name, self.grid, self.block, self.nvtx_path) == (
            other.name,
            other.grid,
            other.block,
            other.nvtx_path,
        )
        return same and all(
            None in pair or pair[0] == pair[1]
            for pair in (
                (self.dynamic_shared_memory_bytes, other.dynamic_shared_memory_bytes),
                (self.cluster, other.cluster),
            )
        )


@dataclass(frozen=True, slots=True)
class TimedLaunch:
    """One launch inside the range as the timeline saw it; `place` counts launches of its shape within the step."""

    shape: Shape
    kernel_name: str
    step: int  # instance of the step range in its process, from 1
    place: int
    duration_ns: int


@dataclass(frozen=True, slots=True)
class Target:
    """Launches that are taken for alike: one shape, and places of the step whose durations lie close together."""

    shape: Shape
    kernel_name: str  # as the timeline prints it
    places: frozenset[int]
    mode: int  # 0 is the fastest of its shape
    mode_count: int
    launch_count: int
    total_ns: int
    mean_ns: float
    min_ns: int
    max_ns: int
    share: float  # of all kernel time inside the range


@dataclass(frozen=True)
class TargetPlan:
    """What is to be measured, and of what it is a part."""

    range_name: str | None
    step_name: str | None  # the range whose instances are counted, numbers replaced by *; None without any range
    steps: tuple[int, ...]  # instances in which launches are measured
    step_labels: Mapping[int, str]  # the name of each instance
    targets: tuple[Target, ...]
    launches: tuple[TimedLaunch, ...]  # every launch inside the range, in order
    total_ns: int
    launch_limit: int | None = None  # so many launches are measured at most

    @property
    def step_count(self) -> int:
        """How many instances of the step there are; 1 without any range."""
        return len({item.step for item in self.launches})

    @property
    def included_ranges(self) -> tuple[str, ...]:
        """The names of the ranges that the chosen steps are."""
        return tuple(dict.fromkeys(self.step_labels[step] for step in self.steps if step in self.step_labels))

    @property
    def counted_instances(self) -> tuple[int, ...]:
        """The instances to be counted out where all steps have one name; none where their names tell them apart."""
        alike = len(set(self.step_labels.values())) == 1
        return self.steps if alike and len(self.step_labels) > len(self.steps) else ()

    @property
    def coverage(self) -> float:
        """The share of the range's kernel time that the targets make up."""
        return sum(target.share for target in self.targets)

    @property
    def expected(self) -> tuple[TimedLaunch, ...]:
        """The launches of the targets' kernels in the chosen steps, in order."""
        names = {target.shape.name for target in self.targets}
        return tuple(item for item in self.launches if item.step in self.steps and item.shape.name in names)

    @cached_property
    def kernel_regex(self) -> str:
        """A regular expression that the demangled names of the targets match, and few others of the range."""
        names = dict.fromkeys(target.kernel_name for target in self.targets)
        others = dict.fromkeys(item.kernel_name for item in self.launches if item.kernel_name not in names)
        return "|".join(dict.fromkeys(name_regex(name, tuple(others)) for name in names))

    @cached_property
    def measured(self) -> tuple[TimedLaunch, ...]:
        """The launches in the chosen steps that the expression lets through, in order."""
        through = re.compile(self.kernel_regex)
        passing = {name for name in {item.kernel_name for item in self.launches} if through.search(name)}
        found = [item for item in self.launches if item.step in self.steps and item.kernel_name in passing]
        return tuple(found[: self.launch_limit])


@dataclass(frozen=True)
class Wish:
    """What the user asks for."""

    range_name: str | None = None
    coverage: float = 0.9
    most_targets: int = 20


def plan_targets(tables: CaptureTables, wish: Wish) -> TargetPlan:
    """Return the kernels to be measured.

    Args:
        tables: the rows of one timeline.
        wish: range, coverage and the most targets.

    Raises:
        AnalysisError: the range was never seen, or no kernel ran inside it.
    """
    own = replace(tables, nvtx_ranges=_default_domain(tables.nvtx_ranges))
    # ncu's filter knows only the ranges of the launching thread: nothing is inherited from other threads.
    found = attribute(own, as_nsys=True)
    paths, inside = _inside(found, wish.range_name)
    if not inside.size:
        raise AnalysisError(_why_none(found, wish.range_name, tables.nvtx_ranges), slug="no-targets")
    step_name, steps, labels = _steps(found, inside, paths, wish.range_name)
    launches = _launches(tables, found, inside, paths, steps)
    total_ns = sum(item.duration_ns for item in launches)
    targets = _chosen(_targets(launches, total_ns), wish)
    numbers = sorted({item.step for item in launches})
    return TargetPlan(wish.range_name, step_name, _sampled(numbers), labels, targets, launches, total_ns)


def _default_domain(ranges: pa.Table) -> pa.Table:
    """Return the ranges that both tools show in one path: those of the default domain."""
    mask = ~known(ranges, "domain")
    return ranges if mask.all() else ranges.filter(arrow_mask(mask))


def _why_none(found: Attribution, range_name: str | None, ranges: pa.Table) -> str:
    if not found.operations.kernel_count:
        return "the timeline holds no kernel: there is nothing to measure with ncu"
    if range_name is not None and range_name not in found.spans.names.to_pylist():
        own = range_name.rpartition("@")[0] or range_name
        rows = zip(ranges["name"].to_pylist(), ranges["domain"].to_pylist(), strict=True)
        domains = sorted({domain for name, domain in rows if domain and name in (own, range_name)})
        if domains:
            return (
                f"the range '{own}' is of the NVTX domain {', '.join(domains)}: nsys and ncu nest domains differently, "
                "so that only ranges of the default domain can be counted for ncu; make it without a domain"
            )
        names = ", ".join(sorted(set(found.spans.names.to_pylist()))[:10]) or "none"
        return f"the range '{range_name}' was never seen; ranges of this timeline: {names}"
    return f"no kernel was launched inside the range '{range_name}'"


def _inside(found: Attribution, range_name: str | None) -> tuple[dict[int, tuple[int, ...]], Codes]:
    """Return the ranges around each node (outermost first), and the kernels launched inside the range, in order."""
    node = found.node[: found.operations.kernel_count]
    paths: dict[int, tuple[int, ...]] = {-1: ()}
    for number in np.unique(node[node >= 0]).tolist():
        _climb(found, number, paths)
    names = found.spans.names.to_pylist()
    codes = found.node_name
    wanted = {
        number for number, path in paths.items()
        if range_name is None or any(names[codes[place]] == range_name for place in path)
    }  # fmt: skip
    kernels = np.flatnonzero(np.isin(node, list(wanted))).astype(np.int32)
    order = np.lexsort((found.operations.correlation[kernels], found.operations.start_ns[kernels]))
    return paths, kernels[order]


def _climb(found: Attribution, number: int, paths: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
    way = []
    while number not in paths:
        way.append(number)
        number = int(found.nodes.parent[number])
    path = paths[number]
    for node in reversed(way):
        path = (*path, node)
        paths[node] = path
    return path


def _steps(
    found: Attribution, inside: Codes, paths: dict[int, tuple[int, ...]], range_name: str | None
) -> tuple[str | None, dict[int, int], dict[int, str]]:
    """Return the form of the range that repeats, for its nodes which instance each is, and the instances' names.

    That is a range directly inside the wished one which comes often (also as step_0, step_1, …) and holds most of its
    time, else the wished one.
    """
    if range_name is None:
        return None, {}, {}
    names = found.spans.names.to_pylist()
    codes = found.node_name
    within: dict[str, set[int]] = defaultdict(set)
    time: dict[str, int] = defaultdict(int)
    for operation in inside.tolist():
        path = paths[int(found.node[operation])]
        labels = [names[codes[node]] for node in path]
        place = labels.index(range_name) + 1
        if place < len(path):
            form = normal_name(labels[place])
            within[form].add(path[place])
            time[form] += int(found.operations.duration_ns[operation])
    total = sum(int(value) for value in found.operations.duration_ns[inside])
    fitting = [n for n, nodes in within.items() if len(nodes) >= _LEAST_STEPS and time[n] >= _LEAST_STEP_SHARE * total]
    if not fitting:
        return range_name, *_numbered(found, {range_name})
    longest = max(fitting, key=lambda name: time[name])
    return longest, *_numbered(found, {name for name in names if normal_name(name) == longest})


def _numbered(found: Attribution, wanted: set[str]) -> tuple[dict[int, int], dict[int, str]]:
    """Return for the nodes of the ranges `wanted` which instance of its process each is, from 1, and their names."""
    names = found.spans.names.to_pylist()
    nodes = np.flatnonzero(np.isin(found.node_name, [code for code, name in enumerate(names) if name in wanted]))
    position = found.nodes.range_position[nodes]
    process = found.spans.process[found.forest.row[position]]
    start = found.forest.start_ns[position]
    numbers: dict[int, int] = {}
    for owner in np.unique(process).tolist():
        mine = nodes[process == owner]
        begun = start[process == owner]
        # A range that crosses others has several nodes: they are one instance.
        rank = {moment: place for place, moment in enumerate(sorted(set(begun.tolist())), 1)}
        numbers.update({int(node): rank[int(moment)] for node, moment in zip(mine, begun, strict=True)})
    return numbers, {number: names[found.node_name[node]] for node, number in numbers.items()}


def _launches(
    tables: CaptureTables, found: Attribution, inside: Codes, paths: dict[int, tuple[int, ...]], steps: dict[int, int]
) -> tuple[TimedLaunch, ...]:
    rows = tables.kernel_launches
    geometry = np.stack([ints(rows, name, 1) for name in _GEOMETRY])
    shared, clusters = ints(rows, _SHARED), np.stack([ints(rows, name, 0) for name in _CLUSTER])
    names, codes = found.spans.names.to_pylist(), found.node_name
    counted: dict[tuple[int, Shape], int] = defaultdict(int)
    launches = []
    for row in inside.tolist():
        kernel = found.operations.names[found.operations.name_code[row]]
        path = paths[int(found.node[row])]
        g = tuple(geometry[:, row].tolist())
        c = tuple(clusters[:, row].tolist())
        shape = Shape(
            common_name(kernel), g[:3], g[3:], None if shared[row] < 0 else int(shared[row]),
            c if any(c) else None, "/".join(normal_name(names[codes[node]]) for node in path),
        )  # fmt: skip
        step = next((steps[node] for node in path if node in steps), 1)
        place = counted[step, shape]
        counted[step, shape] += 1
        launches.append(TimedLaunch(shape, kernel, step, place, int(found.operations.duration_ns[row])))
    return tuple(launches)


@cache
def common_name(kernel_name: str) -> str:
    """Return a kernel's name in the form in which nsys and ncu agree."""
    return normal_form(spell(kernel_name))


def _targets(launches: Sequence[TimedLaunch], total_ns: int) -> list[Target]:
    by_shape: dict[Shape, dict[int, list[TimedLaunch]]] = defaultdict(lambda: defaultdict(list))
    for item in launches:
        by_shape[item.shape][item.place].append(item)
    return [target for shape, places in by_shape.items() for target in _modes_of(shape, places, total_ns)]


def _modes_of(shape: Shape, places: Mapping[int, Sequence[TimedLaunch]], total_ns: int) -> Iterable[Target]:
    typical = {place: float(median(item.duration_ns for item in items)) for place, items in places.items()}
    modes = split_modes(typical)
    for number, members in enumerate(modes):
        items = [item for place in members for item in places[place]]
        times = [item.duration_ns for item in items]
        spent = sum(times)
        yield Target(
            shape, items[0].kernel_name, frozenset(members), number, len(modes), len(items), spent, spent / len(items),
            min(times), max(times), spent / total_ns if total_ns else 0.0,
        )  # fmt: skip


def split_modes(typical_ns: Mapping[int, float]) -> list[list[int]]:
    """Return the places in groups of alike durations, fastest first: cut where the next is longer by `MODE_RATIO`.

    Of more than six groups only the five widest gaps are cut.
    """
    order = sorted(typical_ns, key=lambda place: (typical_ns[place], place))
    gaps = [
        (typical_ns[after] / typical_ns[before] if typical_ns[before] > 0 else float("inf"), cut)
        for cut, (before, after) in enumerate(pairwise(order), 1)
        if typical_ns[after] > typical_ns[before]
    ]
    wide = sorted((gap for gap in gaps if gap[0] > MODE_RATIO), reverse=True)[: _MOST_MODES - 1]
    cuts = [0, *sorted(cut for _, cut in wide), len(order)]
    return [order[first:last] for first, last in pairwise(cuts)]


def _chosen(targets: Sequence[Target], wish: Wish) -> tuple[Target, ...]:
    ordered = sorted(targets, key=lambda target: (-target.total_ns, target.kernel_name, target.mode))
    chosen: list[Target] = []
    covered = 0.0
    for target in ordered[: wish.most_targets]:
        if covered >= wish.coverage:
            break
        chosen.append(target)
        covered += target.share
    return tuple(chosen)


def _sampled(steps: Sequence[int]) -> tuple[int, ...]:
    """Return an early and a late step; not the first of several, which is cold."""
    early = steps[1] if len(steps) > 2 else steps[0]
    return tuple(dict.fromkeys((early, steps[-1])))


def name_regex(kernel_name: str, others: Sequence[str] = ()) -> str:
    """Return a regular expression for a demangled name, whichever tool printed it.

    Tools print one name differently (`(bool)0` and `0`, namespaces lost), so the expression is a few words of the
    name in their order: the function's own, and of the others as many as are needed to leave out the names in `others`.
    What it still lets through is left out by the join.
    """
    form = common_name(kernel_name)
    words = re.findall(r"\w+", form)
    if not words:
        return re.escape(kernel_name[:_LONGEST_LITERAL])
    head = max(0, len(re.findall(r"\w+", re.split(r"[<(\[]", form)[0])) - 1)
    chosen = [words[head]]
    expression = _in_order(chosen)
    for word in words[head + 1 :]:
        clashing = [name for name in others if re.search(expression, name)]
        if not clashing or len(chosen) >= _MOST_WORDS:
            break
        longer = _in_order([*chosen, word])
        if words.count(word) == 1 and sum(bool(re.search(longer, name)) for name in clashing) < len(clashing):
            chosen.append(word)
            expression = longer
    return expression


def _in_order(words: Sequence[str]) -> str:
    return ".*".join(_word(word) for word in words)


def _word(word: str) -> str:
    """Return what a word may look like: numbers have suffixes, truth values are numbers in some tools."""
    truth = {"0": "(?:0|false)", "1": "(?:1|true)"}
    if word.isdigit():
        return rf"\b{truth.get(word, word)}[uUlL]*\b"
    return rf"\b{word}\b"
