"""GPU time by any combination of phase, range, kernel, family, stream, device and rank.

In: attributions of any number of captures, and keys. Out: `WorkRow`, one a combination that occurs; rows add up to the
time of all work, so a matrix of phase by family is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import Codes, Ints
from nsightkit.analysis.durations import dense
from nsightkit.analysis.kernel_names import describe_kernel
from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.ranges.range_names import normalized
from nsightkit.analysis.ranges.range_projection import inside
from nsightkit.analysis.ranges.range_summary import RangeSearch, matching

NO_RANGE = "(no range)"
MEMORY_FAMILY = "copy and fill"
GRAPH_FAMILY = "CUDA graph"
NO_RANK = "(no rank)"


@dataclass(frozen=True, slots=True)
class WorkRow:
    """All GPU work with one combination of keys."""

    keys: tuple[str, ...]  # in the order asked for
    gpu_ns: int
    share: float
    operation_count: int
    per_token_ns: float | None = None


def work_by(
    captures: Iterable[Attribution], by: Sequence[str], within: str | None = None, tokens: int | None = None,
    ranks: Mapping[str, int] | None = None,
) -> list[WorkRow]:  # fmt: skip
    """Return GPU time by the combination of `by`, largest first.

    Args:
        captures: looked at one by one.
        by: some of KEYS; a phase is the outermost range of a launch, a range the innermost.
        within: only work launched inside ranges of this name.
        tokens: what the work produced, for time per token.
        ranks: capture -> rank, where it is known.

    Raises:
        AnalysisError: no range has the name in `within`.
    """
    sums: dict[tuple[str, ...], list[int]] = {}
    search = RangeSearch(within)
    for attribution in captures:
        chosen = np.ones(attribution.operations.size, np.bool_)
        search.look(attribution)
        if within is not None:
            chosen = inside(attribution, matching(attribution, within))
        columns = [_rank(attribution, ranks or {}) if key == "rank" else KEYS[key](attribution) for key in by]
        _add(sums, attribution, columns, np.flatnonzero(chosen))
    search.check()
    total = sum(time for time, _ in sums.values())
    rows = [
        WorkRow(keys, time, time / total if total else 0.0, count, time / tokens if tokens else None)
        for keys, (time, count) in sums.items()
    ]
    return sorted(rows, key=lambda row: (-row.gpu_ns, row.keys))


def _add(
    sums: dict[tuple[str, ...], list[int]], attribution: Attribution, columns: Sequence[Column], place: Ints
) -> None:
    if not place.size:
        return
    group, keys = dense([codes[place] for codes, _ in columns])
    times, counts = np.zeros(len(keys), np.int64), np.bincount(group, minlength=len(keys))
    np.add.at(times, group, attribution.operations.duration_ns[place])
    for key, time, count in zip(keys, times.tolist(), counts.tolist(), strict=True):
        words = tuple(names[code] for code, (_, names) in zip(key, columns, strict=True))
        entry = sums.setdefault(words, [0, 0])
        entry[0] += time
        entry[1] += count


Column = tuple[Codes, list[str]]


def _range(attribution: Attribution) -> Column:
    return _range_column(attribution, attribution.node)


def _phase(attribution: Attribution) -> Column:
    nodes = attribution.nodes
    outermost = np.arange(nodes.size, dtype=np.int32)
    for level in nodes.levels[1:]:
        outermost[level] = outermost[nodes.parent[level]]
    node = attribution.node
    return _range_column(attribution, np.where(node >= 0, outermost[node], -1) if nodes.size else node)


def _range_column(attribution: Attribution, node: Codes) -> Column:
    if not attribution.nodes.size:
        return np.zeros(node.size, np.int32), [NO_RANGE]
    of_name, labels = normalized(attribution.spans.names)
    code = of_name[attribution.node_name][node]
    return np.where(node >= 0, code, len(labels)).astype(np.int32), [*labels, NO_RANGE]


def _kernel(attribution: Attribution) -> Column:
    work = attribution.operations
    return np.where(work.name_code >= 0, work.name_code, len(work.names)).astype(np.int32), [*work.names, ""]


def _family(attribution: Attribution) -> Column:
    code, names = _kernel(attribution)
    work = attribution.operations
    families = [describe_kernel(name or "").family for name in names]
    places = {name: place for place, name in enumerate(dict.fromkeys([*families, MEMORY_FAMILY, GRAPH_FAMILY]))}
    found = np.array([places[name] for name in families], np.int32)[code]
    others = np.where(work.is_graph, places[GRAPH_FAMILY], places[MEMORY_FAMILY])
    return np.where(work.is_kernel, found, others).astype(np.int32), list(places)


def _rank(attribution: Attribution, ranks: Mapping[str, int]) -> Column:
    rank = ranks.get(attribution.capture_id)
    return np.zeros(attribution.operations.size, np.int32), [NO_RANK if rank is None else str(rank)]


def _number(name: str) -> Callable[[Attribution], Column]:
    def column(attribution: Attribution) -> Column:
        values, codes = np.unique(getattr(attribution.operations, name), return_inverse=True)
        return codes.astype(np.int32), [str(value) for value in values]

    return column


KEYS: dict[str, Callable[[Attribution], Column]] = {
    "phase": _phase,
    "range": _range,
    "kernel": _kernel,
    "family": _family,
    "stream": _number("stream"),
    "device": _number("device"),
}
