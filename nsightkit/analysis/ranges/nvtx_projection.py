"""Which range of the program launched each piece of GPU work.

In: the tables of one capture. Out: `Attribution`: for each kernel and memory operation the innermost range around the
call that launched it, with the way up to the outermost. Push/pop ranges of a thread nest; start/end ranges do not and
are kept apart (`read_spans`). Work that was launched outside every range of its thread goes to the range that is open
in its process, and is marked as inherited; the rest is unattributed, and its amount is always told.

Source: NVIDIA's reports nvtx_gpu_proj_* and nvtx_kern_sum count a launch as inside a range if the call begins not
before and ends not after it, on the same thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from nsightkit.analysis.arrays import (
    Codes,
    Ints,
    Mask,
    arrow_codes,
    arrow_mask,
    arrow_text,
    combined,
    ints,
    known,
    lanes,
    looked_up,
    words,
)
from nsightkit.analysis.ranges.range_forest import RangeForest, build_forest
from nsightkit.analysis.work.operations import Calls, CaptureTables, Operations, read_calls, read_operations

NO_NAME = "(no name)"
PLAIN_DOMAIN = "torch.profiler"
NESTING_KINDS = ("push_pop", "user_annotation")


@dataclass(frozen=True)
class Spans:
    """Named ranges in the order of their table; `names` are distinct and hold the domain ("NCCL:ncclAllReduce")."""

    start_ns: Ints
    end_ns: Ints
    process: Ints
    thread: Ints
    name_code: Codes
    names: pa.Array
    no_end_thread: Mask  # no thread is recorded for the end; NVIDIA's reports leave out ranges that have one
    unclosed_count: int

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.start_ns.size)


@dataclass(frozen=True)
class Nodes:
    """Places in the stacks of ranges. Node i < forest.size is range i under its parent.

    More nodes stand for a range that crosses others, under the ranges around a launch that are not its ancestors.
    """

    range_position: Codes
    parent: Codes
    depth: Codes

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.parent.size)

    @cached_property
    def levels(self) -> list[Codes]:
        """The nodes of each depth, outermost first."""
        deepest = int(self.depth.max(initial=-1))
        # Sixteen bits are sorted digit by digit, several times as fast.
        depth = self.depth.astype(np.int16) if deepest < 1 << 15 else self.depth
        bounds = np.cumsum(np.bincount(depth, minlength=deepest + 1))
        return np.split(np.argsort(depth, kind="stable").astype(np.int32), bounds[:-1]) if depth.size else []


@dataclass(frozen=True)
class Attribution:
    """GPU work of one capture and the ranges that launched it."""

    capture_id: str
    operations: Operations
    calls: Calls
    spans: Spans  # push/pop ranges
    forest: RangeForest
    nodes: Nodes
    node: Codes  # (operations,) -1 where no range is known
    inherited: Mask  # (operations,) launched by a thread without an open range
    apart: Spans  # start/end ranges

    @cached_property
    def total_ns(self) -> int:
        """Sum of the durations of all GPU work."""
        return int(self.operations.duration_ns.sum())

    def time_of(self, mask: Mask) -> int:
        """Return the sum of the durations of the work in `mask`."""
        return int(self.operations.duration_ns.sum(where=mask))

    @property
    def unattributed_ns(self) -> int:
        """Sum of the durations of work that no range launched."""
        return self.time_of(self.node < 0)

    @property
    def unattributed_share(self) -> float | None:
        """That sum as a share of all GPU work; None without GPU work."""
        return self.unattributed_ns / self.total_ns if self.total_ns else None

    @cached_property
    def node_name(self) -> Codes:
        """Code of each node's name in `spans.names`."""
        return self.spans.name_code[self.forest.row[self.nodes.range_position]]


def attribute(tables: CaptureTables, as_nsys: bool = False) -> Attribution:
    """Attribute the GPU work of one capture to its ranges.

    Args:
        tables: the rows of the capture.
        as_nsys: follow NVIDIA's reports: work of threads without an open range is not inherited, and a range that was
            never closed ends with the last range rather than with the capture.
    """
    calls = read_calls(tables)
    operations = read_operations(tables, calls)
    end_ns = None if as_nsys else capture_end(calls, operations)
    spans = read_spans(tables, NESTING_KINDS, end_ns)
    lane, call_lane = _lanes(spans, calls)
    forest = build_forest(lane, spans.start_ns, spans.end_ns)
    node = forest.innermost_of_calls(operations.call, call_lane, calls.start_ns, calls.end_ns)
    inherited = np.zeros(operations.size, np.bool_)
    if not as_nsys and spans.size:
        homeless = np.flatnonzero((node < 0) & (operations.call >= 0))
        homeless = homeless[np.argsort(calls.start_ns[operations.call[homeless]])]
        found = _open_in_process(forest, spans, calls, operations, homeless)
        node[homeless] = found
        inherited[homeless[found >= 0]] = True
    nodes = _nodes(forest, _cross(forest, operations, calls, node))
    apart = read_spans(tables, ("start_end",), end_ns)
    return Attribution(tables.capture_id, operations, calls, spans, forest, nodes, node, inherited, apart)


def capture_end(calls: Calls, operations: Operations) -> int:
    """Return the last moment at which the capture saw a call or GPU work."""
    return int(max(calls.end_ns.max(initial=0), operations.end_ns.max(initial=0)))


def read_spans(tables: CaptureTables, kinds: tuple[str, ...], end_ns: int | None) -> Spans:
    """Return the ranges of `kinds`.

    Args:
        tables: the rows of the capture.
        kinds: as in the column `kind` of the table `nvtx_ranges`.
        end_ns: where a range ends that was never closed; None for the last end of any range.
    """
    rows = tables.nvtx_ranges
    code, kinds_seen = words(rows, "kind")
    wanted = np.array([kind in kinds for kind in kinds_seen.to_pylist()] + [False])[code]
    rows = rows if wanted.all() else rows.filter(arrow_mask(wanted))
    start, closed = ints(rows, "start_ns"), known(rows, "duration_ns")
    end = np.maximum(ints(rows, "duration_ns", 0), 0)
    end += start
    last = int(max(end.max(initial=0), start.max(initial=0), end_ns or 0))
    end[~closed] = last
    code, names = _labels(rows)
    return Spans(
        start, end, ints(rows, "process_id"), ints(rows, "thread_id"), code, names,
        ~known(rows, "end_thread_id"), int((~closed).sum()),
    )  # fmt: skip


def _labels(rows: pa.Table) -> tuple[Codes, pa.Array]:
    """Return names with their domain in front, as nsys prints them; an annotation of torch.profiler has none."""
    name, names = words(rows, "name")
    domain, domains = words(rows, "domain")
    if not name.size:
        return name, pa.nulls(0, pa.string())
    domain_words = [None if word == PLAIN_DOMAIN else word for word in domains.to_pylist()] + [None]
    prefixes = np.array([word is not None for word in domain_words])[domain]
    odd = prefixes | (name < 0)
    if not odd.any():
        return name, names
    code, first = combined(np.where(odd, domain, -1).astype(np.int32), name)
    own = [NO_NAME if word is None else word for word in names.take(arrow_codes(name[first])).to_pylist()]
    heads = [domain_words[place] for place in domain[first]]
    labels = [word if head is None else f"{head}:{word}" for head, word in zip(heads, own, strict=True)]
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return np.array([places[label] for label in labels], np.int32)[code], arrow_text(list(places))


def _lanes(spans: Spans, calls: Calls) -> tuple[Codes, Codes]:
    """Return the lane (process and thread) of ranges and calls; -1 for calls of threads without ranges."""
    lane, processes, threads = lanes(spans.process, spans.thread)
    known = {pair: place for place, pair in enumerate(zip(processes.tolist(), threads.tolist(), strict=True))}
    pairs = zip(calls.lane_process.tolist(), calls.lane_thread.tolist(), strict=True)
    own = np.array([known.get(pair, -1) for pair in pairs], np.int32)
    return lane, calls.lane if bool((own == np.arange(own.size)).all()) else looked_up(own, calls.lane)


def _cross(forest: RangeForest, operations: Operations, calls: Calls, node: Codes) -> list[tuple[int, int, int]]:
    """Give operations in lanes with crossing ranges nodes that lie under every range around their launch.

    Return the nodes that are needed beside the ranges themselves.
    """
    if not forest.crossing_count:
        return []
    places = np.flatnonzero(node >= 0)
    places = places[forest.lane_crosses[forest.lane[node[places]]]]
    end = calls.end_ns[operations.call[places]]
    around = [node[places]]
    while (around[-1] >= 0).any():
        around.append(forest.next_outer(around[-1], end))
    stacks = np.stack(around[:-1]) if len(around) > 1 else np.empty((0, places.size), np.int32)
    odd = np.flatnonzero((stacks >= 0).sum(axis=0) > forest.depth[node[places]] + 1)
    new: dict[tuple[int, int], int] = {}
    rows: list[tuple[int, int, int]] = []
    for column in odd:
        above = -1
        for depth, position in enumerate(int(p) for p in stacks[::-1, column] if p >= 0):
            usual = above == forest.parent[position]
            key = (above, position)
            if not usual and key not in new:
                new[key] = forest.size + len(rows)
                rows.append((position, above, depth))
            above = position if usual else new[key]
        node[places[column]] = above
    return rows


def _nodes(forest: RangeForest, extra: list[tuple[int, int, int]]) -> Nodes:
    own = np.arange(forest.size, dtype=np.int32)
    if not extra:
        return Nodes(own, forest.parent, forest.depth)
    more = np.array(extra, np.int32)
    columns = zip((own, forest.parent, forest.depth), more.T, strict=True)
    return Nodes(*(np.concatenate(pair).astype(np.int32) for pair in columns))


def _open_in_process(forest: RangeForest, spans: Spans, calls: Calls, operations: Operations, places: Ints) -> Codes:
    """Return for operations at `places` the range of any thread of their process that began last around the call."""
    call = operations.call[places]
    start, end, process = calls.start_ns[call], calls.end_ns[call], calls.lane_process[calls.lane[call]]
    best = np.full(places.size, -1, np.int32)
    began = np.full(places.size, np.iinfo(np.int64).min)
    lanes = np.arange(forest.lane_crosses.size)
    first = np.searchsorted(forest.lane, lanes)
    # Asking thread by thread needs no second forest; the threads of a process that have ranges are few.
    for lane, owner in zip(lanes, spans.process[forest.row[first]], strict=True):
        mine = np.flatnonzero(process == owner)
        found = forest.innermost(np.full(mine.size, lane), start[mine], end[mine])
        later = (found >= 0) & (forest.start_ns[found] > began[mine])
        best[mine[later]], began[mine[later]] = found[later], forest.start_ns[found[later]]
    return best
