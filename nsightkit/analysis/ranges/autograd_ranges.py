"""Operator calls with shapes from a timeline: the NVTX ranges of torch.autograd.profiler.emit_nvtx(record_shapes=True).

In: rows of nvtx_ranges, cuda_api_calls and kernel_launches of one capture, and the type of the tensors, which such a
range does not hold. Out: rows like those of cpu_operators, and launches that name the operator that was open at
their call.

Source: PyTorch, torch/csrc/profiler/util.cpp (getNvtxStr): "name, seq = n, op_id = n, sizes = [[…], …]".
"""

from __future__ import annotations

import bisect
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
_SIZES = re.compile(r"^(?P<name>[\w:.]+)(?:, seq = -?\d+)?(?:, op_id = -?\d+)?, sizes = (?P<sizes>\[[\d\[\], -]*\])")
# What people say -> the name of the element type in a trace of torch.profiler.
TYPES = {
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
}


def operators_of(ranges: Iterable[Row], dtype: str) -> list[dict[str, Any]]:
    """Return operator rows of the ranges that hold shapes; all tensors count as `dtype`, a key of `TYPES`."""
    found = [row for item in ranges if (row := _operator(item, TYPES[dtype]))]
    threads: dict[tuple[Any, Any], list[dict[str, Any]]] = defaultdict(list)
    for number, row in enumerate(found):
        row["external_id"] = number
        threads[row["process_id"], row["thread_id"]].append(row)
    for members in threads.values():
        _nest(members)
    return found


def _operator(item: Row, dtype: str) -> dict[str, Any] | None:
    match = _SIZES.match(item["name"] or "")
    if match is None or item["duration_ns"] is None:
        return None
    try:
        shapes = json.loads(match["sizes"])
    except ValueError:
        return None
    # An empty list is a number, or what is no tensor: neither has bytes that matter.
    dtypes = [dtype if shape else "" for shape in shapes]
    return {
        "operator_name": match["name"], "start_ns": item["start_ns"], "duration_ns": item["duration_ns"],
        "self_ns": item["duration_ns"], "process_id": item["process_id"], "thread_id": item["thread_id"],
        "input_shapes": json.dumps(shapes), "input_dtypes": json.dumps(dtypes), "input_strides": None,
        "input_values": None, "depth": 0,
    }  # fmt: skip


def _nest(rows: list[dict[str, Any]]) -> None:
    rows.sort(key=lambda row: (row["start_ns"], -row["duration_ns"]))
    ends: list[int] = []
    for row in rows:
        while ends and ends[-1] <= row["start_ns"]:
            ends.pop()
        row["depth"] = len(ends)
        ends.append(row["start_ns"] + row["duration_ns"])


def launches_with_operators(
    launches: Iterable[Row], calls: Iterable[Row], operators: Sequence[Row]
) -> list[dict[str, Any]]:
    """Return the launches, each with the external_id of the innermost operator that was open when its call began."""
    by_call = {(c["process_id"], c["correlation_id"]): c for c in calls if c["correlation_id"] is not None}
    threads: dict[tuple[Any, Any], list[Row]] = defaultdict(list)
    for row in sorted(operators, key=lambda row: (row["start_ns"], row["depth"])):
        threads[row["process_id"], row["thread_id"]].append(row)
    begins = {key: [row["start_ns"] for row in rows] for key, rows in threads.items()}
    found = []
    for launch in launches:
        call = by_call.get((launch["process_id"], launch["correlation_id"]))
        key = (call["process_id"], call["thread_id"]) if call else None
        inner = _innermost(threads[key], begins[key], call["start_ns"]) if call and key in threads else None
        found.append(dict(launch) | {"external_id": inner})
    return found


def _innermost(rows: Sequence[Row], begins: Sequence[int], moment: int) -> int | None:
    place = bisect.bisect_right(begins, moment) - 1
    depth = None
    while place >= 0:
        row = rows[place]
        # Walking back, only what encloses the operators already passed can still be open.
        if (depth is None or row["depth"] < depth) and row["start_ns"] + row["duration_ns"] > moment:
            return int(row["external_id"])
        depth = row["depth"] if depth is None else min(depth, row["depth"])
        if depth == 0:
            return None
        place -= 1
    return None
