"""NVIDIA's own summaries of ranges and launches, computed as `nsys stats` computes them.

In: an `Attribution` made with ``as_nsys=True``. Out: rows of nvtx_gpu_proj_sum, nvtx_kern_sum and cuda_kern_exec_sum.
They are for comparison. Here nested ranges of one name count their work twice, a launch of many kernels is one GPU
operation of its range, and a start/end range owns what its own thread launched, unless the thread of its end is
recorded. `range_summary` counts otherwise.

Source: the columns and definitions of `nsys stats --help-reports`, nsys 2023.4; found equal on real exports.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nsightkit.analysis import durations
from nsightkit.analysis.arrays import Codes, Ints, combined
from nsightkit.analysis.ranges.nvtx_projection import Attribution, Spans, attribute, read_spans
from nsightkit.analysis.ranges.range_forest import build_forest
from nsightkit.analysis.work.operations import CaptureTables, Operations

Row = dict[str, Any]
NESTING, APART = "PushPop", "StartEnd"
_MASK = 0xFFFFFF


@dataclass(frozen=True)
class Pairs:
    """Every range around the launch of every operation: two columns of the same length."""

    operation: Ints
    span: Ints


@dataclass(frozen=True)
class NsysView:
    """One capture with all its ranges, of both styles, as NVIDIA's reports see them."""

    attribution: Attribution
    spans: Spans
    styles: list[str]
    pairs: Pairs
    parent: Ints  # per span, -1 for none
    depth: Ints


def nsys_view(tables: CaptureTables) -> NsysView:
    """Return one capture as NVIDIA's reports see it."""
    # These reports know kernels, copies and fills: no launches of whole graphs.
    tables = replace(tables, graph_launches=None)
    base = attribute(tables, as_nsys=True)
    spans = read_spans(tables, ("push_pop", "start_end", "user_annotation"), None)
    kinds = tables.nvtx_ranges["kind"].to_pylist() if tables.nvtx_ranges.num_rows else []
    styles = [APART if kind == "start_end" else NESTING for kind in kinds if kind != "mark"]
    counted = np.flatnonzero(spans.no_end_thread)
    _, lane = np.unique(np.concatenate([spans.thread, base.calls.thread]), return_inverse=True)
    forest = build_forest(lane[: spans.size][counted], spans.start_ns[counted], spans.end_ns[counted])
    call = base.operations.call
    place = np.flatnonzero(call >= 0)
    lanes = lane[spans.size :][call[place]] if place.size else np.empty(0, np.int64)
    end = base.calls.end_ns[call[place]]
    pairs = _walk(forest.innermost(lanes, base.calls.start_ns[call[place]], end), place, end, forest)
    whole = Pairs(pairs.operation, counted[forest.row[pairs.span]])
    parent, depth = _parents(forest, counted, spans)
    return NsysView(base, spans, styles, whole, parent, depth)


def _walk(found: Codes, place: Ints, end: Ints, forest: Any) -> Pairs:
    operations, positions = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    while (hit := found >= 0).any():
        found, place, end = found[hit], place[hit], end[hit]
        operations.append(place)
        positions.append(found.astype(np.int64))
        found = forest.next_outer(found, end) if forest.crossing_count else forest.climb(forest.parent[found], end)
    return Pairs(np.concatenate(operations), np.concatenate(positions))


def _parents(forest: Any, counted: Ints, spans: Spans) -> tuple[Ints, Ints]:
    """Return parent and level: NVIDIA's parent is the shortest range around a range, not the one that began last."""
    parent = np.full(spans.size, -1, np.int64)
    depth = np.zeros(spans.size, np.int64)
    up = forest.parent.astype(np.int64)
    if forest.crossing_count:
        up = _shortest_around(forest)
    has = up >= 0
    parent[counted[forest.row[has]]] = counted[forest.row[up[has]]]
    above = parent.copy()
    while (above >= 0).any():
        depth += above >= 0
        above = np.where(above >= 0, parent[above], -1)
    return parent, depth


def _shortest_around(forest: Any) -> Ints:
    best = np.full(forest.size, -1, np.int64)
    length = np.full(forest.size, np.iinfo(np.int64).max)
    place = np.arange(forest.size)
    around = forest.parent.copy()
    while (hit := around >= 0).any():
        place, around = place[hit], around[hit]
        size = forest.end_ns[around] - forest.start_ns[around]
        shorter = size < length[place]
        best[place[shorter]], length[place[shorter]] = around[shorter], size[shorter]
        around = forest.next_outer(around, forest.end_ns[place])
    return best


def nvtx_gpu_proj_sum(view: NsysView) -> list[Row]:
    """Return one row per range name and style: spans of GPU work, GPU operations, level, children."""
    operations, pairs = view.attribution.operations, view.pairs
    count = view.spans.size
    first = np.full(count, np.iinfo(np.int64).max)
    last = np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(first, pairs.span, operations.start_ns[pairs.operation])
    np.maximum.at(last, pairs.span, operations.end_ns[pairs.operation])
    launches = np.unique(pairs.span * max(view.attribution.calls.start_ns.size, 1) + operations.call[pairs.operation])
    per_span = np.bincount(launches // max(view.attribution.calls.start_ns.size, 1), minlength=count)
    has = np.flatnonzero(per_span > 0)
    children = np.bincount(view.parent[has][view.parent[has] >= 0], minlength=count)
    keys = _span_keys(view, has)
    rows = []
    for (name, style), members in keys.items():
        spans = np.array(members)
        projected = last[spans] - first[spans]
        rows.append(
            {
                "range": name, "style": style, "total_proj_ns": int(projected.sum()),
                "total_range_ns": int((view.spans.end_ns[spans] - view.spans.start_ns[spans]).sum()),
                "range_instances": spans.size, **_statistics(projected, "proj"),
                "total_gpu_ops": int(per_span[spans].sum()), "avg_gpu_ops": float(per_span[spans].mean()),
                "avg_range_lvl": float(view.depth[spans].mean()),
                "avg_num_child": float(children[spans].mean()),
            }
        )  # fmt: skip
    return sorted(rows, key=lambda row: -row["total_proj_ns"])


def _span_keys(view: NsysView, spans: Ints) -> dict[tuple[str, str], list[int]]:
    names = view.spans.names.to_pylist()
    keys: dict[tuple[str, str], list[int]] = {}
    for span in spans.tolist():
        keys.setdefault((names[view.spans.name_code[span]], view.styles[span]), []).append(span)
    return keys


def nvtx_kern_sum(view: NsysView) -> list[Row]:
    """Return one row per range name, process, thread and kernel; work outside every range has no range."""
    base, pairs = view.attribution, view.pairs
    kernels = base.operations.kernel_count
    inside = pairs.operation < kernels
    operation, span = pairs.operation[inside], pairs.span[inside]
    outside = np.setdiff1d(np.arange(kernels), operation)
    operation, span = np.concatenate([operation, outside]), np.concatenate([span, np.full(outside.size, -1)])
    styles = np.array([style == APART for style in view.styles] + [False])
    code = np.where(span >= 0, view.spans.name_code[span] * 2 + styles[span], -1) if view.spans.size else span
    thread = _threads(base, operation)
    group, first = _groups(code, thread, base.operations.name_code[operation])
    figures = durations.by_group(group, base.operations.duration_ns[operation], len(first)) if len(first) else None
    kernel_count = _distinct_in(group, operation, len(first))
    range_count = _distinct_in(group[span >= 0], span[span >= 0], len(first))
    names = view.spans.names.to_pylist()
    found = []
    for at, row in enumerate(first):
        tid = int(thread[row])
        label = None if code[row] < 0 else names[code[row] // 2]
        found.append(
            {
                "nvtx_range": label, "style": None if label is None else view.styles[span[row]],
                "pid": None if tid < 0 else tid >> 24 & _MASK, "tid": None if tid < 0 else tid & _MASK,
                "nvtx_inst": int(range_count[at]), "kern_inst": int(kernel_count[at]),
                **_figures(figures, at), "kernel_name": _name(base.operations, operation[row]),
            }
        )  # fmt: skip
    return sorted(found, key=_kern_order)


def _figures(figures: Any, at: int) -> Row:
    return {
        "total_ns": int(figures.totals[at]), "mean_ns": float(figures.means[at]),
        "median_ns": float(figures.medians[at]), "min_ns": int(figures.minima[at]), "max_ns": int(figures.maxima[at]),
        "std_ns": figures.deviation(at) or 0.0,
    }  # fmt: skip


def _distinct_in(group: Codes, members: Ints, size: int) -> Ints:
    """Return how many distinct `members` each group has."""
    width = int(members.max(initial=0)) + 1
    return np.bincount(np.unique(group.astype(np.int64) * width + members) // width, minlength=size)


def _kern_order(row: Row) -> tuple[Any, ...]:
    """Order as nsys prints: by range, process and thread, what is missing first, then longest first."""
    missing = (row["nvtx_range"] is not None, row["pid"] is not None)
    return (missing[0], row["nvtx_range"] or "", missing[1], row["pid"] or 0, row["tid"] or 0, -row["total_ns"])


def _threads(base: Attribution, operation: Ints) -> Ints:
    call = base.operations.call[operation]
    calls = base.calls
    return np.where(call >= 0, calls.lane_thread[calls.lane[call]], -1) if calls.lane.size else np.full(call.size, -1)


def _name(operations: Operations, operation: int) -> str | None:
    code = int(operations.name_code[operation])
    return operations.names[code] if code >= 0 else None


def _groups(*keys: Any) -> tuple[Codes, list[int]]:
    """Return the group of each row, rows of equal keys being one group, and one row of each group."""
    if not keys[0].size:
        return np.zeros(0, np.int32), []
    code = np.unique(keys[0], return_inverse=True)[1].astype(np.int32)
    for key in keys[1:]:
        code, _ = combined(code, np.unique(key, return_inverse=True)[1].astype(np.int32))
    _, first = np.unique(code, return_index=True)
    return code, [int(row) for row in first]


def _members(code: Codes) -> list[Ints]:
    """Return the rows of each group, in the order of the groups."""
    order = np.argsort(code, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code[order])) + 1) if order.size else []


def cuda_kern_exec_sum(view: NsysView) -> list[Row]:
    """Return one row per thread, device, call and kernel: time in the call, in the queue, in the kernel, and in all.

    The queue time runs from the end of the call to the start of the kernel; kernels that began earlier have none.
    """
    base = view.attribution
    kernels = np.flatnonzero(base.operations.call[: base.operations.kernel_count] >= 0)
    call = base.operations.call[kernels]
    api_names = [plain_call_name(name) for name in base.calls.names.to_pylist()]
    places = {name: place for place, name in enumerate(dict.fromkeys(api_names))}
    api = np.array([places[name] for name in api_names], np.int32)[base.calls.name_code[call]] if call.size else call
    thread, device = base.calls.thread[call], base.operations.device[kernels]
    code, rows = _groups(thread, device, api, base.operations.name_code[kernels])
    found = [
        {
            "pid": int(thread[row]) >> 24 & _MASK, "tid": int(thread[row]) & _MASK, "device_id": int(device[row]),
            **_execution(base, kernels[members]), "api_name": list(places)[api[row]],
            "kernel_name": _name(base.operations, kernels[row]),
        }
        for members, row in zip(_members(code), rows, strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda row: -row["t_mean_ns"])


def plain_call_name(name: str) -> str:
    """Return a call without its version, as nsys prints it: ``_v`` and four digits are cut, a longer version is not."""
    return name[:-6] if name[-6:-4] == "_v" else name


def _execution(base: Attribution, kernels: Ints) -> Row:
    operations, call = base.operations, base.operations.call[kernels]
    start, end = base.calls.start_ns[call], base.calls.end_ns[call]
    queue = operations.start_ns[kernels] - end
    queue = queue[queue >= 0]
    return {
        "count": int(kernels.size), "qcount": int(queue.size),
        **_statistics(np.maximum(end, operations.end_ns[kernels]) - start, "t"),
        **_statistics(end - start, "a"), **_statistics(queue, "q"),
        **_statistics(operations.duration_ns[kernels], "k"),
    }  # fmt: skip


def _statistics(values: Ints, prefix: str) -> Row:
    """Return mean, median, least, largest and sample deviation; without values all None but the deviation, as nsys."""
    head = f"{prefix}_" if prefix else ""
    if not values.size:
        return {**dict.fromkeys(f"{head}{name}_ns" for name in ("mean", "median", "min", "max")), f"{head}std_ns": 0.0}
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return {
        f"{head}mean_ns": float(values.mean()), f"{head}median_ns": float(np.median(values)),
        f"{head}min_ns": int(values.min()), f"{head}max_ns": int(values.max()), f"{head}std_ns": spread,
    }  # fmt: skip
