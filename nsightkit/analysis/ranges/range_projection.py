"""What each range had the GPU do: sums over the work launched inside it, and when that work ran.

In: an `Attribution`. Out: `Projection`, arrays with one entry per node or, through `per_range`, per range. Sums of
kernel time add up along the tree (children and own give the parent); spans from first start to last end do not, as work
of one range may run beside that of another.

Source: NVIDIA's reports nvtx_gpu_proj_* take the span from the first start to the last end of the GPU work of a range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import CHUNK, Codes, Ints, Mask
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
        return np.where(self.has_work, self.last_ns - self.first_ns, 0)


def project(attribution: Attribution, chosen: Mask | None = None) -> Projection:
    """Sum up the work of each node; only the operations in `chosen` count where it is given."""
    node = attribution.node if chosen is None else np.where(chosen, attribution.node, np.int32(-1))
    own = _own(attribution.operations, node, attribution.nodes.size)
    own_ns = own.gpu_ns.copy()
    climb(attribution.nodes, (own.operation_count, own.kernel_count, own.gpu_ns), np.add)
    climb(attribution.nodes, (own.first_ns,), np.minimum)
    climb(attribution.nodes, (own.last_ns,), np.maximum)
    return Projection(own.operation_count, own.kernel_count, own_ns, own.gpu_ns, own.first_ns, own.last_ns)


def _own(operations: Operations, node: Codes, count: int) -> Projection:
    sums = [np.zeros(count, np.int64) for _ in range(3)]
    first, last = np.full(count, _NEVER, np.int64), np.full(count, -_NEVER, np.int64)
    for begin in range(0, operations.size, CHUNK):
        place = np.flatnonzero(node[begin : begin + CHUNK] >= 0) + begin
        mine, start, end = node[place], operations.start_ns[place], operations.end_ns[place]
        np.add.at(sums[0], mine, 1)
        np.add.at(sums[1], mine[place < operations.kernel_count], 1)
        np.add.at(sums[2], mine, end - start)
        np.minimum.at(first, mine, start)
        np.maximum.at(last, mine, end)
    return Projection(sums[0], sums[1], sums[2], sums[2], first, last)


def climb(nodes: Nodes, arrays: tuple[Ints, ...], gather: np.ufunc) -> None:
    """Gather the values of children into their parents, innermost first, in place."""
    for level in nodes.levels()[:0:-1]:
        for values in arrays:
            gather.at(values, nodes.parent[level], values[level])


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
    place = np.flatnonzero(nodes.parent >= 0)
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
    for level in attribution.nodes.levels()[1:]:
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
    for depth, level in enumerate(nodes.levels()):
        if chosen is not None:
            level = level[chosen[level]]
        above = path[nodes.parent[level]] if depth else np.full(level.size, -1)
        pairs, place = np.unique((above + 1) * width + label[level], return_inverse=True)
        path[level] = place + len(found)
        heads = (pair // width - 1 for pair in pairs.tolist())
        found += [
            (*(found[head] if head >= 0 else ()), pair % width)
            for head, pair in zip(heads, pairs.tolist(), strict=True)
        ]
    return path, found
