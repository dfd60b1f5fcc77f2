"""What each range had the GPU do: sums over the work launched inside it, and when that work ran.

In: an `Attribution`. Out: `Projection`, arrays with one entry per node or, through `per_range`, per range. Sums of
kernel time add up along the tree (children and own give the parent); spans from first start to last end do not, as work
of one range may run beside that of another.

Source: NVIDIA's reports nvtx_gpu_proj_* take the span from the first start to the last end of the GPU work of a range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import CHUNK, Codes, Ints, Mask, renumbered
from nsightkit.analysis.ranges.nvtx_projection import Attribution, Nodes
from nsightkit.analysis.work.operations import Operations

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Projection:
    """Work launched inside each node (or range), its children included; `own_ns` leaves the children out.

    Where `operation_count` is 0, `first_ns` is larger than `last_ns`.
    """

    operation_count: Ints
    kernel_count: Ints
    own_ns: Ints
    gpu_ns: Ints  # sum of the durations
    first_ns: Ints
    last_ns: Ints

    @property
    def has_work(self) -> Mask:
        """Which have any GPU work."""
        return np.asarray(self.operation_count > 0)

    @property
    def projected_ns(self) -> Ints:
        """From the first start to the last end of the work; 0 without work."""
        found = self.last_ns - self.first_ns
        found[~self.has_work] = 0
        return found


def project(attribution: Attribution, chosen: Mask | None = None) -> Projection:
    """Sum up the work of each node; only the operations in `chosen` count where it is given."""
    node = attribution.node if chosen is None else np.where(chosen, attribution.node, np.int32(-1))
    own = _own(attribution.operations, node, attribution.nodes.size)
    own_ns = own.gpu_ns.copy()
    sums = ((own.operation_count, np.add), (own.kernel_count, np.add), (own.gpu_ns, np.add))
    climb(attribution.nodes, (*sums, (own.first_ns, np.minimum), (own.last_ns, np.maximum)))
    return Projection(own.operation_count, own.kernel_count, own_ns, own.gpu_ns, own.first_ns, own.last_ns)


def _own(operations: Operations, node: Codes, count: int) -> Projection:
    every, others, sums = (np.zeros(count, np.int64) for _ in range(3))
    first, last = np.full(count, _NEVER, np.int64), np.full(count, -_NEVER, np.int64)
    for begin in range(0, operations.size, CHUNK):
        part = slice(begin, begin + CHUNK)
        mine, start, end = node[part].astype(np.intp), operations.start_ns[part], operations.end_ns[part]
        known = mine >= 0
        if not known.all():
            mine, start, end = mine[known], start[known], end[known]
        np.add.at(every, mine, 1)
        np.add.at(sums, mine, end - start)
        np.minimum.at(first, mine, start)
        np.maximum.at(last, mine, end)
    beyond = node[operations.kernel_count :]
    np.add.at(others, beyond[beyond >= 0], 1)
    return Projection(every, np.subtract(every, others, out=others), sums, sums, first, last)


def climb(nodes: Nodes, sums: tuple[tuple[Ints, np.ufunc], ...]) -> None:
    """Gather the values of children into their parents, innermost first, in place; each array in its own way."""
    for level in nodes.levels[:0:-1]:
        for begin in range(0, level.size, CHUNK):
            own = level[begin : begin + CHUNK].astype(np.intp)
            parent = nodes.parent[own].astype(np.intp)
            for values, gather in sums:
                gather.at(values, parent, values[own])


def per_range(attribution: Attribution, nodes: Projection) -> Projection:
    """Return the projection of each range, at its position in the forest."""
    size = attribution.forest.size
    if attribution.nodes.size == size:
        return nodes
    where = attribution.nodes.range_position[size:]
    gathered = {}
    for name in ("operation_count", "kernel_count", "own_ns", "gpu_ns", "first_ns", "last_ns"):
        values = getattr(nodes, name)
        whole = values[:size].copy()
        gather = {"first_ns": np.minimum, "last_ns": np.maximum}.get(name, np.add)
        gather.at(whole, where, values[size:])
        gathered[name] = whole
    return Projection(**gathered)


def repeats(attribution: Attribution, code: Codes, among: Mask | None = None) -> Mask:
    """Return which nodes lie, at any depth, inside another node of the same `code`: recursion and nested namesakes.

    Args:
        attribution: of the capture.
        code: of each node, shape (nodes,).
        among: nodes that count as being around another, with all that lies inside them; None for all.
    """
    nodes = attribution.nodes
    inside = np.zeros(nodes.size, np.bool_)
    for begin in range(0, nodes.size, CHUNK):
        place = np.flatnonzero(nodes.parent[begin : begin + CHUNK] >= 0) + begin
        above = nodes.parent[place]
        while place.size:
            same = code[above] == code[place]
            same &= True if among is None else among[above]
            inside[place[same]] = True
            further = ~same & (nodes.parent[above] >= 0)
            place, above = place[further], nodes.parent[above[further]]
    return inside


def inside(attribution: Attribution, wanted: Mask) -> Mask:
    """Return which operations were launched inside any range whose name is `wanted` (one flag per name)."""
    marked = wanted[attribution.node_name] if attribution.nodes.size else np.empty(0, np.bool_)
    for level in attribution.nodes.levels[1:]:
        marked[level] |= marked[attribution.nodes.parent[level]]
    return np.where(attribution.node >= 0, marked[attribution.node] if marked.size else False, False)


def paths_of(nodes: Nodes, label: Codes, chosen: Mask | None = None) -> tuple[Ints, list[tuple[int, ...]]]:
    """Return the path of each node as a code, and the labels of each path from the outermost range down.

    Args:
        nodes: places in the stacks.
        label: of each node, shape (nodes,).
        chosen: nodes that matter, with all that are around them; None for all. The others have the code -1.
    """
    path = np.full(nodes.size, -1, np.int64)
    found: list[tuple[int, ...]] = []
    width = int(label.max(initial=-1)) + 1
    for depth, level in enumerate(nodes.levels):
        if chosen is not None:
            level = level[chosen[level]]
        above = path[nodes.parent[level]] + 1 if depth else np.zeros(level.size, np.int64)
        place, pairs = renumbered(above * width + label[level], (len(found) + 1) * width)
        path[level] = place + len(found)
        heads = (pair // width - 1 for pair in pairs.tolist())
        found += [
            (*(found[head] if head >= 0 else ()), pair % width)
            for head, pair in zip(heads, pairs.tolist(), strict=True)
        ]
    return path, found
