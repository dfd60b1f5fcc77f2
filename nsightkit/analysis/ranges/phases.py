"""Which phase of the program spent its GPU time in which family of kernels.

In: the attribution of GPU work to ranges. Out: `Phases`: the ranges that split the run best, their instances on the
time axis, the time of each family in each of them, and where in the tree of ranges a kernel runs. Sums of durations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import CHUNK, Codes, Ints, Mask
from nsightkit.analysis.kernel_names import describe_kernel
from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.ranges.range_names import normalized
from nsightkit.analysis.ranges.range_projection import Projection, paths_of, project

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
    segments: tuple[Segment, ...]
    paths: dict[
        str, tuple[tuple[str, float], ...]
    ]  # kernel -> its range paths with their share of its time, two at most
    inherited_ns: int = 0  # launched by threads without an open range
    crossing_count: int = 0  # ranges that cross another of their thread


def read_phases(attribution: Attribution) -> Phases | None:
    """Return the phases of a capture, None where no range launched any GPU work."""
    if not (attribution.node >= 0).any():
        return None
    of_name, labels = normalized(attribution.spans.names)
    label = of_name[attribution.node_name]
    whole = project(attribution)
    phase_of_node = _phase_nodes(attribution, label, whole)
    # One place more than nodes: it answers for work of no range, whose node is -1.
    label_of_node = np.append(label[phase_of_node], np.int32(-1))
    wanted = _largest(label_of_node[:-1], whole.own_ns, len(labels))
    row = np.array([*(wanted.get(place, len(wanted)) for place in range(len(labels))), len(wanted) + 1], np.int32)
    names = [*(labels[place] for place in wanted), REST, OUTSIDE]
    kinds, times, counts = _by_family(attribution, row[label_of_node], len(names))
    order = [at for at in np.argsort(-times.sum(axis=0), kind="stable").tolist() if counts[:, at].any()]
    kept = [place for place in range(len(names)) if counts[place].any()]
    return Phases(
        tuple(names[place] for place in kept),
        tuple(kinds[at] for at in order),
        tuple(tuple(times[place][order].tolist()) for place in kept),
        _segments(attribution, (phase_of_node, whole), label, {place: kept.index(at) for place, at in wanted.items()}),
        _paths(attribution, label, labels),
        attribution.time_of(attribution.inherited),
        attribution.forest.crossing_count,
    )


def _by_family(attribution: Attribution, row: Codes, rows: int) -> tuple[list[str], Ints, Ints]:
    """Return the families, and time and launches of each phase (a `row` of each node) in each of them."""
    work = attribution.operations
    said = [describe_kernel(name or "").family for name in work.names] + ["unclassified"]
    kinds = sorted({*said, COPIES, GRAPHS})
    column = np.array([kinds.index(family) for family in said], np.int32)
    times, counts = np.zeros(rows * len(kinds), np.int64), np.zeros(rows * len(kinds), np.int64)
    ends = (work.kernel_count, work.size - work.graph_count, work.size)
    for fixed, begin, end in ((None, 0, ends[0]), (COPIES, ends[0], ends[1]), (GRAPHS, ends[1], ends[2])):
        for first in range(begin, end, CHUNK):
            part = slice(first, min(first + CHUNK, end))
            at = row[attribution.node[part]] * len(kinds)
            at += column[work.name_code[part]] if fixed is None else kinds.index(fixed)
            np.add.at(times, at, work.duration_ns[part])
            np.add.at(counts, at, 1)
    return kinds, times.reshape(rows, -1), counts.reshape(rows, -1)


@dataclass(frozen=True)
class PhaseInstances:
    """Every instance of every phase that had GPU work: which phase, its work and its time on the GPU."""

    names: tuple[str, ...]
    phase: Codes  # (instances,) place in `names`
    start_ns: Ints
    end_ns: Ints
    gpu_ns: Ints  # sum of the durations of its work


def phase_instances(attribution: Attribution, device: int | None = None) -> PhaseInstances:
    """Return all instances of the phases; with `device` only work on that GPU counts."""
    of_name, labels = normalized(attribution.spans.names)
    label = of_name[attribution.node_name]
    everything = project(attribution)
    phases = np.unique(_phase_nodes(attribution, label, everything)[_has_own_work(attribution)])
    whole = everything if device is None else project(attribution, attribution.operations.device == device)
    phases = phases[whole.operation_count[phases] > 0]
    used, code = np.unique(label[phases], return_inverse=True)
    names = tuple(labels[place] for place in used.tolist())
    return PhaseInstances(
        names, code.astype(np.int32), whole.first_ns[phases], whole.last_ns[phases], whole.gpu_ns[phases]
    )


def _phase_nodes(attribution: Attribution, label: Codes, whole: Projection) -> Codes:
    """Return for each node the node of the phase that it belongs to: itself or one of its ancestors."""
    nodes = attribution.nodes
    depth, total = 0, max(1, attribution.total_ns)
    levels = nodes.levels
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


def _has_own_work(attribution: Attribution) -> Mask:
    """Return the nodes that are the innermost range of some GPU work."""
    # The last place takes work of no range, whose node is -1.
    found = np.zeros(attribution.nodes.size + 1, np.bool_)
    found[attribution.node] = True
    return found[:-1]


def _segments(
    attribution: Attribution, nodes: tuple[Codes, Projection], label: Codes, rows: dict[int, int]
) -> tuple[Segment, ...]:
    phase_of_node, whole = nodes
    origin = int(attribution.operations.start_ns.min())
    phases = np.unique(phase_of_node[_has_own_work(attribution)])
    phases = phases[np.isin(label[phases], list(rows))]
    longest = phases[np.argsort(-whole.projected_ns[phases], kind="stable")[:MOST_SEGMENTS]]
    longest = longest[np.argsort(whole.first_ns[longest], kind="stable")]
    return tuple(
        Segment(rows[int(label[node])], int(whole.first_ns[node]) - origin, int(whole.last_ns[node]) - origin)
        for node in longest.tolist()
    )


def _paths(attribution: Attribution, label: Codes, labels: list[str]) -> dict[str, tuple[tuple[str, float], ...]]:
    work, width = attribution.operations, len(attribution.operations.names) + 1
    of_node, paths = paths_of(attribution.nodes, label)
    # One place more than paths for what no range launched, and one more than names for what has none.
    path = np.append(of_node, len(paths)) * width
    pairs, sums = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for first in range(0, work.kernel_count, CHUNK):
        part = slice(first, min(first + CHUNK, work.kernel_count))
        mine = path[attribution.node[part]] + work.name_code[part] % width
        pairs, sums = _summed(np.concatenate([pairs, mine]), np.concatenate([sums, work.duration_ns[part]]))
    whole = np.zeros(width, np.int64)
    np.add.at(whole, pairs % width, sums)
    found: dict[int, dict[str, int]] = {}
    for pair, time in zip(pairs.tolist(), sums.tolist(), strict=True):
        if pair // width < len(paths) and pair % width < width - 1:
            text = " / ".join(labels[place] for place in paths[pair // width])
            found.setdefault(pair % width, {})[text] = time
    return {work.names[code]: _two_largest(times, int(whole[code])) for code, times in found.items()}


def _summed(keys: Ints, values: Ints) -> tuple[Ints, Ints]:
    """Return the distinct keys in rising order, and the sum of the values of each."""
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return keys[first], np.add.reduceat(values, first)


def _two_largest(times: dict[str, int], whole: int) -> tuple[tuple[str, float], ...]:
    ranked = sorted(times.items(), key=lambda item: -item[1])[:2]
    return tuple((path, time / whole if whole else 0.0) for path, time in ranked)
