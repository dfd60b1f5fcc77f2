"""GPU time by range: one row a name, or one a path from the outermost range down.

In: attributions of any number of captures. Out: `RangeSummary`: rows, and how much of the GPU time no range launched.

Work counts once for a name even where ranges of that name nest (recursion), so that a share never passes one; NVIDIA
counts it once for each of them (`nsys_reports`). Only instances that launched GPU work count as instances.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nsightkit.analysis import durations
from nsightkit.analysis.arrays import CHUNK, Codes, Ints, Mask, looked_up, renumbered
from nsightkit.analysis.ranges.nvtx_projection import Attribution, Spans
from nsightkit.analysis.ranges.range_names import means, meant, normal_name, normalized
from nsightkit.analysis.ranges.range_projection import Projection, inside, paths_of, per_range, project, repeats
from nsightkit.analysis.ranges.span_projection import Instances, project_spans, summed
from nsightkit.errors import AnalysisError


@dataclass(frozen=True, slots=True)
class RangeRow:
    """All instances of one range name. `mean_ns` and its neighbors are of the projected time of one instance."""

    name: str
    kind: str  # push_pop or start_end
    share: float | None  # gpu_ns of the time of all GPU work
    gpu_ns: int  # sum over the kernels and memory operations launched inside, each once
    own_ns: int  # the part that no range inside it launched
    operation_count: int
    kernel_count: int
    instance_count: int
    projected_ns: int  # first start to last end of an instance's GPU work, summed over the instances
    mean_ns: float
    median_ns: float
    min_ns: int
    max_ns: int
    std_ns: float | None
    range_ns: int  # time between push and pop on the CPU, summed over the instances that lie in no namesake
    mean_depth: float
    per_token_ns: float | None = None  # gpu_ns by token


@dataclass(frozen=True, slots=True)
class PathRow:
    """All instances of one path; children and own time add up to gpu_ns."""

    path: tuple[str, ...]
    share: float | None
    gpu_ns: int
    own_ns: int
    operation_count: int
    kernel_count: int
    instance_count: int

    @property
    def depth(self) -> int:
        """How many ranges are around it."""
        return len(self.path) - 1


@dataclass(frozen=True, slots=True)
class RangeTotals:
    """Where all GPU time of the captures went, and what a reader must know of the ranges."""

    gpu_ns: int = 0
    inherited_ns: int = 0  # launched by a thread without an open range, while one was open in its process
    unattributed_ns: int = 0  # launched outside every range
    unlaunched_ns: int = 0  # the part of that whose launching call is not in the capture
    crossing_count: int = 0
    unclosed_count: int = 0
    empty_count: int = 0  # ranges that launched no GPU work
    graph_count: int = 0  # launches of CUDA graphs whose kernels are hidden
    graph_ns: int = 0  # their part of gpu_ns

    @property
    def unattributed_share(self) -> float | None:
        """Share of the GPU time that no range launched; None without GPU work."""
        return self.unattributed_ns / self.gpu_ns if self.gpu_ns else None

    def plus(self, other: RangeTotals) -> RangeTotals:
        """Return the totals of both."""
        return RangeTotals(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True)
class RangeSummary:
    """Rows, largest GPU time first, and the totals they are shares of."""

    rows: tuple[RangeRow, ...]
    totals: RangeTotals
    paths: tuple[PathRow, ...] = ()


@dataclass(frozen=True)
class RangeOptions:
    """How to group: `raw_names` keeps names as they are; `within` keeps only what was launched inside such a range."""

    raw_names: bool = False
    within: str | None = None
    tokens: int | None = None


@dataclass
class _Gathered:
    labels: dict[str, int] = field(default_factory=dict)
    parts: list[Instances] = field(default_factory=list)
    paths: dict[tuple[str, ...], Ints] = field(default_factory=dict)
    totals: RangeTotals = field(default_factory=RangeTotals)


def summarize_ranges(captures: Iterable[Attribution], options: RangeOptions | None = None) -> RangeSummary:
    """Return GPU time by range over all `captures`, which are looked at one by one.

    Raises:
        AnalysisError: no range has the name in `options.within`.
    """
    options = options or RangeOptions()
    gathered = _Gathered()
    search = RangeSearch(options.within)
    for attribution in captures:
        search.look(attribution)
        chosen = None if options.within is None else inside(attribution, matching(attribution, options.within))
        _gather(gathered, attribution, options, chosen)
    search.check()
    rows = _rows(gathered, options)
    paths = [_path_row(path, sums, gathered.totals.gpu_ns) for path, sums in gathered.paths.items()]
    return RangeSummary(tuple(rows), gathered.totals, tuple(_in_tree_order(paths)))


def matching(attribution: Attribution, pattern: str) -> Mask:
    """Return which names of `attribution` the pattern means: the name itself, its normal form, or with * and ?."""
    names = attribution.spans.names.to_pylist()
    return np.array([means(name, pattern) for name in names], np.bool_)


def no_such_range(pattern: str, names: Sequence[str], apart: Sequence[str] = ()) -> AnalysisError:
    """Return the error for a pattern that no range has; the names most like it stand first.

    Args:
        pattern: what was asked for.
        names: of the push/pop ranges and annotations.
        apart: of the start/end ranges.
    """
    from difflib import get_close_matches

    known = list(dict.fromkeys(normal_name(name) for name in names))
    by_case = {name.casefold(): name for name in known}
    near = [by_case[name] for name in get_close_matches(pattern.casefold(), by_case, 3)]
    known = list(dict.fromkeys((*near, *known)))
    listed = ", ".join(repr(name) for name in known[:8]) + (" …" if len(known) > 8 else "")
    hint = f"there are {listed}" if known else "the capture has no ranges; annotate the program with NVTX"
    if any(means(name, pattern) for name in apart):
        hint = f"that is a start/end range, which does not nest; name a push/pop range or an annotation; {hint}"
    elif near:
        hint = f"is it {near[0]!r}? {hint}"
    return AnalysisError(f"no range matches {pattern!r}: {hint}", slug="no-such-range")


@dataclass
class RangeSearch:
    """Whether any of several captures has a range that `pattern` means: one rank may lack what the others have."""

    pattern: str | None
    forms: list[str] = field(default_factory=list)  # of the names that were found
    names: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)

    def look(self, attribution: Attribution) -> bool:
        """Return whether this capture has such a range, or all are meant."""
        if self.pattern is None:
            return True
        names = names_in_use(attribution.spans)
        found = meant(names, self.pattern)
        self.forms = list(dict.fromkeys((*self.forms, *found)))
        if not self.forms:
            self.names += names
            self.apart += names_in_use(attribution.apart)
        return bool(found)

    def check(self) -> None:
        """Raise where none had.

        Raises:
            AnalysisError: no range has such a name.
        """
        if self.pattern is not None and not self.forms:
            raise no_such_range(self.pattern, self.names, self.apart)


def names_in_use(spans: Spans) -> list[str]:
    """Return the names of ranges, in the order of their codes; `spans.names` may hold those of other captures too."""
    used = np.zeros(len(spans.names) + 1, np.bool_)
    used[spans.name_code] = True
    return [name for name, there in zip(spans.names.to_pylist(), used.tolist(), strict=False) if there]


def _gather(gathered: _Gathered, attribution: Attribution, options: RangeOptions, chosen: Mask | None) -> None:
    code, labels = _labels(attribution, options)
    nodes = project(attribution, chosen)
    ranges = per_range(attribution, nodes)
    places = np.array([gathered.labels.setdefault(label, len(gathered.labels)) for label in labels], np.int32)
    inner = None
    if chosen is not None and options.within is not None and attribution.nodes.size:
        inner = _below(attribution, matching(attribution, options.within))
    if attribution.forest.size:
        gathered.parts.append(_instances(attribution, (nodes, ranges), looked_up(places, code), inner))
    gathered.parts += project_spans(attribution, gathered.labels, options.raw_names, chosen)
    _add_paths(gathered.paths, attribution, nodes, (code, labels, inner))
    gathered.totals = gathered.totals.plus(_totals(attribution, ranges, chosen))


def _labels(attribution: Attribution, options: RangeOptions) -> tuple[Codes, list[str]]:
    """Return the label of each name's code, through the names of ranges at their position in the forest."""
    names = attribution.spans.names
    if options.raw_names or not len(names):
        of_name, labels = np.arange(len(names), dtype=np.int32), names.to_pylist()
    else:
        of_name, labels = normalized(names)
    return (looked_up(of_name, attribution.node_name) if attribution.nodes.size else np.empty(0, np.int32)), labels


def _below(attribution: Attribution, wanted: Mask) -> Mask:
    marked = wanted[attribution.node_name]
    for level in attribution.nodes.levels[1:]:
        marked[level] |= marked[attribution.nodes.parent[level]]
    return marked


def _instances(
    attribution: Attribution, sums: tuple[Projection, Projection], label: Codes, inner: Mask | None
) -> Instances:
    nodes, ranges = sums
    forest, size = attribution.forest, attribution.forest.size
    again = repeats(attribution, label, inner)
    counted, wall = ranges, forest.end_ns - forest.start_ns
    if again.any():
        names = ("operation_count", "kernel_count", "gpu_ns")
        once = replace(nodes, **{name: np.where(again, 0, getattr(nodes, name)) for name in names})
        counted = per_range(attribution, once)
        wall[again[:size]] = 0
    has = ranges.has_work if inner is None else ranges.has_work & inner[:size]
    columns = (counted.gpu_ns, ranges.own_ns, counted.operation_count, counted.kernel_count, wall, forest.depth)
    label, projected = label[:size], ranges.projected_ns
    labels = int(label.max()) + 1
    if has.all():
        return Instances("push_pop", label, projected, summed(label, columns, labels))
    by_label = summed(np.where(has, label, -1), columns, labels)
    return Instances("push_pop", label[has], projected[has], by_label)


def _totals(attribution: Attribution, ranges: Projection, chosen: Mask | None) -> RangeTotals:
    work = attribution.operations
    times = np.zeros(4, np.int64)
    for begin in range(0, work.size, CHUNK):
        part = slice(begin, begin + CHUNK)
        ns = work.end_ns[part] - work.start_ns[part]
        if chosen is not None:
            ns *= chosen[part]
        homeless = attribution.node[part] < 0
        unlaunched = homeless & (work.call[part] < 0)
        times += [ns.sum(), ns[attribution.inherited[part]].sum(), ns[homeless].sum(), ns[unlaunched].sum()]
    total, inherited, unattributed, unlaunched_ns = times.tolist()
    graphs = slice(work.size - work.graph_count, None)
    counted = np.ones(work.graph_count, np.bool_) if chosen is None else chosen[graphs]
    return RangeTotals(
        total, inherited, unattributed, unlaunched_ns,
        attribution.forest.crossing_count, attribution.spans.unclosed_count,
        0 if chosen is not None else int((~ranges.has_work).sum()),
        int(counted.sum()), int((work.end_ns[graphs] - work.start_ns[graphs]).sum(where=counted)),
    )  # fmt: skip


def _rows(gathered: _Gathered, options: RangeOptions) -> list[RangeRow]:
    labels = list(gathered.labels)
    total = gathered.totals.gpu_ns
    rows: list[RangeRow] = []
    for kind in ("push_pop", "start_end"):
        parts = [part for part in gathered.parts if part.kind == kind and part.label.size]
        if parts:
            rows += _rows_of(Instances.joined(parts, len(labels)), labels, total, options.tokens)
    return sorted(rows, key=lambda row: (-row.gpu_ns, row.name))


def _rows_of(whole: Instances, labels: list[str], total: int, tokens: int | None) -> list[RangeRow]:
    group, used = renumbered(whole.label, len(labels))
    statistics = durations.by_group(group, whole.projected_ns, used.size)
    rows = []
    for at, code in enumerate(used.tolist()):
        gpu, own, operations, kernels, wall, depth = whole.sums[:, code].tolist()
        count = int(statistics.counts[at])
        rows.append(
            RangeRow(
                labels[code], whole.kind, gpu / total if total else None, gpu, own, operations, kernels, count,
                int(statistics.totals[at]), float(statistics.means[at]), float(statistics.medians[at]),
                int(statistics.minima[at]), int(statistics.maxima[at]), statistics.deviation(at), wall, depth / count,
                gpu / tokens if tokens else None,
            )
        )  # fmt: skip
    return rows


def _add_paths(
    paths: dict[tuple[str, ...], Ints],
    attribution: Attribution,
    nodes: Projection,
    naming: tuple[Codes, list[str], Mask | None],
) -> None:
    """Add the sums of each distinct path; its text is made once, never per range."""
    code, labels, inner = naming
    path, found = paths_of(attribution.nodes, code, nodes.has_work if inner is None else nodes.has_work & inner)
    texts = [tuple(labels[place] for place in one) for one in found]
    one = np.broadcast_to(np.int64(1), path.shape)
    sums = summed(path, (nodes.gpu_ns, nodes.own_ns, nodes.operation_count, nodes.kernel_count, one), len(texts))
    for text, row in zip(texts, sums.T, strict=True):
        paths[text] = paths[text] + row if text in paths else row


def _path_row(path: tuple[str, ...], sums: Ints, total: int) -> PathRow:
    gpu, own, operations, kernels, instances = (int(value) for value in sums)
    return PathRow(path, gpu / total if total else None, gpu, own, operations, kernels, instances)


def _in_tree_order(rows: list[PathRow]) -> list[PathRow]:
    """Return the rows so that each path follows the one it is in, largest GPU time first among siblings."""
    time = {row.path: row.gpu_ns for row in rows}

    def place(row: PathRow) -> tuple[tuple[int, str], ...]:
        heads = (row.path[: level + 1] for level in range(len(row.path)))
        return tuple((-time.get(head, 0), head[-1]) for head in heads)

    return sorted(rows, key=place)
