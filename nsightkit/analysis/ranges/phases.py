"""Which phase of the program spent its GPU time in which family of kernels.

In: the attribution of GPU work to ranges. Out: `Phases`: the ranges that split the run best, their instances on the
time axis, the time of each family in each of them, and where in the tree of ranges a kernel runs. Sums of durations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import Codes, Ints
from nsightkit.analysis.kernel_names import describe_kernel
from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.ranges.range_names import normalized
from nsightkit.analysis.ranges.range_projection import project

MOST_PHASES = 12
MOST_SEGMENTS = 400
OUTSIDE = "outside all ranges"
REST = "other ranges"
COPIES = "copies and fills"
GRAPHS = "CUDA graph"
# A range that holds this much of the time splits nothing: its children are the phases.
_WHOLE = 0.97
_MOST_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Segment:
    """One instance of a phase on the GPU: first start and last end of its work, from the first start of all."""

    phase: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Phases:
    """Phases in the order of their time, with the time in ns of each family; what no range launched comes last."""

    names: tuple[str, ...]
    families: tuple[str, ...]
    times_ns: tuple[tuple[int, ...], ...]  # (phases, families)
    launch_counts: tuple[int, ...]
    segments: tuple[Segment, ...]
    paths: dict[
        str, tuple[tuple[str, float], ...]
    ]  # kernel -> its range paths with their share of its time, two at most


def read_phases(attribution: Attribution) -> Phases | None:
    """Return the phases of a capture, None where no range launched any GPU work."""
    if not (attribution.node >= 0).any():
        return None
    of_name, labels = normalized(attribution.spans.names)
    label = of_name[attribution.node_name]
    phase_of_node = _phase_nodes(attribution, label)
    work = attribution.operations
    node = np.where(attribution.node >= 0, phase_of_node[attribution.node], -1)
    code = np.where(node >= 0, label[node], -1)
    wanted = _largest(code, work.duration_ns, len(labels))
    row = np.array([*(wanted.get(place, len(wanted)) for place in range(len(labels))), len(wanted) + 1], np.int64)[code]
    names = [*(labels[place] for place in wanted), REST, OUTSIDE]
    families = np.array([describe_kernel(name or "").family for name in work.names] + ["unclassified"], dtype=object)
    family = families[work.name_code]
    family[~work.is_kernel] = COPIES
    family[work.is_graph] = GRAPHS
    kinds, column = np.unique(family.astype(str), return_inverse=True)
    times = np.zeros((len(names), kinds.size), np.int64)
    np.add.at(times, (row, column), work.duration_ns)
    counts = np.bincount(row, minlength=len(names))
    order = np.argsort(-times.sum(axis=0), kind="stable")
    kept = [place for place in range(len(names)) if counts[place]]
    return Phases(
        tuple(names[place] for place in kept),
        tuple(kinds[order].tolist()),
        tuple(tuple(times[place][order].tolist()) for place in kept),
        tuple(int(counts[place]) for place in kept),
        _segments(attribution, phase_of_node, label, {place: kept.index(at) for place, at in wanted.items()}),
        _paths(attribution, label, labels),
    )


def _phase_nodes(attribution: Attribution, label: Codes) -> Codes:
    """Return for each node the node of the phase that it belongs to: itself or one of its ancestors."""
    nodes = attribution.nodes
    whole = project(attribution)
    depth, total = 0, max(1, attribution.total_ns)
    levels = nodes.levels()
    while depth + 1 < min(len(levels), _MOST_DEPTH):
        here = levels[depth]
        gpu = np.zeros(int(label.max(initial=0)) + 1, np.int64)
        np.add.at(gpu, label[here], whole.gpu_ns[here])
        below = whole.gpu_ns[levels[depth + 1]].sum()
        if gpu.max(initial=0) < _WHOLE * total or below < _WHOLE * total:
            break
        depth += 1
    found = np.arange(nodes.size, dtype=np.int32)
    for level in levels[depth + 1 :]:
        found[level] = found[nodes.parent[level]]
    return found


def _largest(code: Codes, duration: Ints, count: int) -> dict[int, int]:
    totals = np.zeros(count + 1, np.int64)
    np.add.at(totals, code, duration)
    order = np.argsort(-totals[:-1], kind="stable")[:MOST_PHASES].tolist()
    return {place: at for at, place in enumerate(place for place in order if totals[place])}


def _segments(
    attribution: Attribution, phase_of_node: Codes, label: Codes, rows: dict[int, int]
) -> tuple[Segment, ...]:
    whole, origin = project(attribution), int(attribution.operations.start_ns.min())
    phases = np.unique(phase_of_node[attribution.node[attribution.node >= 0]])
    found = [
        Segment(rows[int(label[node])], int(whole.first_ns[node]) - origin, int(whole.last_ns[node]) - origin)
        for node in phases.tolist()
        if int(label[node]) in rows
    ]
    longest = sorted(found, key=lambda segment: segment.start_ns - segment.end_ns)[:MOST_SEGMENTS]
    return tuple(sorted(longest, key=lambda segment: segment.start_ns))


def _paths(attribution: Attribution, label: Codes, labels: list[str]) -> dict[str, tuple[tuple[str, float], ...]]:
    work = attribution.operations
    kernel = np.flatnonzero(work.is_kernel & (attribution.node >= 0) & (work.name_code >= 0))
    pairs = work.name_code[kernel].astype(np.int64) << 32 | attribution.node[kernel]
    distinct, place = np.unique(pairs, return_inverse=True)
    sums = np.zeros(distinct.size, np.int64)
    np.add.at(sums, place, work.duration_ns[kernel])
    texts: dict[int, str] = {}
    found: dict[str, dict[str, int]] = {}
    for pair, time in zip(distinct.tolist(), sums.tolist(), strict=True):
        path = texts.get(pair & 0xFFFFFFFF) or texts.setdefault(
            pair & 0xFFFFFFFF, _path(attribution, pair & 0xFFFFFFFF, (label, labels))
        )
        times = found.setdefault(work.names[pair >> 32], {})
        times[path] = times.get(path, 0) + time
    totals = np.zeros(len(work.names), np.int64)
    everywhere = np.flatnonzero(work.is_kernel & (work.name_code >= 0))
    np.add.at(totals, work.name_code[everywhere], work.duration_ns[everywhere])
    whole = dict(zip(work.names, totals.tolist(), strict=True))
    return {name: _two_largest(times, whole[name]) for name, times in found.items()}


def _path(attribution: Attribution, node: int, naming: tuple[Codes, list[str]]) -> str:
    names: list[str] = []
    while node >= 0:
        names.append(naming[1][int(naming[0][node])])
        node = int(attribution.nodes.parent[node])
    return " / ".join(reversed(names))


def _two_largest(times: dict[str, int], whole: int) -> tuple[tuple[str, float], ...]:
    ranked = sorted(times.items(), key=lambda item: -item[1])[:2]
    return tuple((path, time / whole if whole else 0.0) for path, time in ranked)
