"""Work without counters: floating-point operations and bytes of operator calls, from the shapes in a trace.

In: rows of cpu_operators and kernel_launches of one capture. Out: `CallRecord` values. A point is an operator call with
the time of its kernels (without a GPU: its own time); each call is counted once, at the outermost operator that has a
formula. What has none is kept with its time. Everything here is experimental: it was not compared with counters.

Source: docs/method.md, "Work from shapes"; formulas in `analysis/formulas`.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nsightkit.analysis.ranges.range_names import phase_of
from nsightkit.analysis.work.formulas import FORMULAS, WRAPPERS, KernelShape, OperatorCall, Work, work_of
from nsightkit.analysis.work.formulas.call import call_of
from nsightkit.analysis.work.formulas.packed_attention import why_unknown

Row = Mapping[str, Any]
COUNTED_INSIDE = "its work is counted at an operator that it calls"
NO_SHAPES = "no input shapes in the trace (torch.profiler: record_shapes=True)"
NO_FORMULA = "no formula for this operator"
NOT_FITTING = "its shapes do not fit the formula, or the trace lacks an argument that it needs"
NO_OPERATOR = "launched by no operator that the trace names"
TIMELINE_ONLY = "a timeline holds neither work nor traffic: use ncu, or torch.profiler with record_shapes=True"


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One operator call, or the kernels that no operator launched; `reason` says why there is no `work`."""

    name: str
    shapes: str
    time_ns: int
    start_ns: int
    end_ns: int
    process_id: int | None
    thread_id: int | None
    work: Work | None
    main_kernel: str = ""  # the longest of its kernels
    kernel_count: int = 0
    reason: str = ""
    range_name: str = ""  # see `with_ranges`


@dataclass(frozen=True, slots=True)
class _Tree:
    """Operators by index, with the index of the one that encloses each (-1: none)."""

    rows: Sequence[Row]
    parents: Sequence[int]

    def chain(self, index: int) -> Iterator[int]:
        """Yield `index` and what encloses it, innermost first."""
        while index >= 0:
            yield index
            index = self.parents[index]


def call_records(operators: Sequence[Row], launches: Sequence[Row]) -> list[CallRecord]:
    """Return the operator calls of one capture with their work, and what remains without.

    Args:
        operators: rows of cpu_operators.
        launches: rows of kernel_launches; none where the trace is of the CPU only.
    """
    tree = _Tree(operators, _parents(operators))
    chosen = _chosen(tree)
    if launches:
        return _on_gpu(tree, chosen, launches)
    return _on_cpu(tree, chosen)


def _parents(operators: Sequence[Row]) -> list[int]:
    threads: dict[tuple[Any, Any], list[int]] = defaultdict(list)
    for index, row in enumerate(operators):
        threads[row["process_id"], row["thread_id"]].append(index)
    parents = [-1] * len(operators)
    for members in threads.values():
        _nest(operators, members, parents)
    return parents


def _nest(operators: Sequence[Row], members: list[int], parents: list[int]) -> None:
    # The reader has found the depths, with the clock's resolution in mind; the order of begins does the rest.
    members.sort(key=lambda i: (operators[i]["start_ns"], operators[i]["depth"] or 0))
    open_: list[int] = []
    for index in members:
        depth = operators[index]["depth"] or 0
        del open_[depth:]
        parents[index] = open_[-1] if open_ else -1
        open_ += [index] * (depth + 1 - len(open_))


def _end(row: Row) -> int:
    return int(row["start_ns"]) + max(int(row["duration_ns"] or 0), 0)


def _chosen(tree: _Tree) -> dict[int, int]:
    """Return operator -> the operator at which its work is counted, for all inside one that has a formula."""
    chosen: dict[int, int] = {}
    inside: set[int] = set()
    for index in range(len(tree.rows)):
        holders = [i for i in tree.chain(index) if tree.rows[i]["operator_name"] in FORMULAS]
        if holders:
            chosen[index] = holders[-1]
            inside.update(tree.chain(holders[-1]))
    for index in range(len(tree.rows)):
        if index in chosen:
            continue
        wrappers = [i for i in tree.chain(index) if tree.rows[i]["operator_name"] in WRAPPERS and i not in inside]
        if wrappers:
            chosen[index] = wrappers[-1]
    return chosen


def _on_gpu(tree: _Tree, chosen: Mapping[int, int], launches: Sequence[Row]) -> list[CallRecord]:
    by_id = {row["external_id"]: i for i, row in enumerate(tree.rows) if row["external_id"] is not None}
    groups: dict[int | str, list[Row]] = defaultdict(list)
    for launch in launches:
        index = by_id.get(launch["external_id"]) if launch["external_id"] is not None else None
        groups[launch["kernel_name"] if index is None else chosen.get(index, index)].append(launch)
    holders = set(chosen.values())
    return [_record(tree, key, members, key in holders) for key, members in groups.items()]


def _record(tree: _Tree, key: int | str, launches: Sequence[Row], counted: bool) -> CallRecord:
    kernels = tuple(
        KernelShape(k["kernel_name"], (k["grid_x"], k["grid_y"], k["grid_z"]), max(k["duration_ns"] or 0, 0))
        for k in launches
    )
    time = sum(kernel.duration_ns for kernel in kernels)
    if isinstance(key, str):
        start = min(k["start_ns"] for k in launches)
        reason = NO_OPERATOR if tree.rows else TIMELINE_ONLY
        return CallRecord(key, "", time, start, start, None, None, None, key, len(kernels), reason)
    return _of_operator(tree.rows[key], kernels, time, counted)


def _of_operator(row: Row, kernels: tuple[KernelShape, ...], time_ns: int, counted: bool) -> CallRecord:
    name = row["operator_name"]
    columns = [row["input_shapes"], row["input_dtypes"], row["input_strides"], row.get("input_values")]
    call = call_of(name, columns, kernels)
    work = work_of(call) if call and counted else None
    reason = ""
    if work is None:
        reason = _reason(name, call, counted)
    longest = max(kernels, key=lambda kernel: kernel.duration_ns, default=None)
    return CallRecord(
        name, _shapes_text(call), time_ns, row["start_ns"], _end(row), row["process_id"], row["thread_id"], work,
        longest.name if longest else "", len(kernels), reason,
    )  # fmt: skip


def _reason(name: str, call: OperatorCall | None, counted: bool) -> str:
    if name not in FORMULAS and name not in WRAPPERS:
        return NO_FORMULA
    if not counted:
        return COUNTED_INSIDE
    return NO_SHAPES if call is None else why_unknown(call) or NOT_FITTING


def _shapes_text(call: OperatorCall | None) -> str:
    """Return the shapes of the tensors with their types, as people write them."""
    if call is None:
        return ""
    parts = []
    for item in call.inputs:
        if isinstance(item, tuple):
            parts.append(f"list of {len(item)}")
        elif item is not None:
            dtype = item.dtype.removeprefix("c10::")
            parts.append(f"{'×'.join(map(str, item.shape)) or 'scalar'} {dtype}")
    return ", ".join(parts)


def _on_cpu(tree: _Tree, chosen: Mapping[int, int]) -> list[CallRecord]:
    records = []
    for index, row in enumerate(tree.rows):
        holder = chosen.get(index)
        if holder is None:
            own = max(int(row["self_ns"] or 0), 0)
            records.append(_of_operator(row, (), own, False))
        elif holder == index:
            records.append(_of_operator(row, (), _end(row) - int(row["start_ns"]), True))
    return records


def with_ranges(records: Iterable[CallRecord], ranges: Sequence[Row], phases: Sequence[str] = ()) -> list[CallRecord]:
    """Return the records, each with the innermost range that was open at its begin, or with one of `phases`.

    A call on a thread without ranges (autograd) takes the range that was open last in its process. Where any `phases`
    are given, only ranges count that are one of them (`range_names.phase_of`).
    """
    known = {} if not phases else {row["name"]: phase_of(row["name"], phases) for row in ranges if row["name"]}
    threads: dict[tuple[Any, Any], list[Row]] = defaultdict(list)
    for row in ranges:
        if row["duration_ns"] and row["name"] and (not phases or known[row["name"]]):
            threads[row["process_id"], row["thread_id"]].append(row)
            threads[row["process_id"], None].append(row)
    for members in threads.values():
        members.sort(key=lambda row: row["start_ns"])
    named = [(record, _range_of(record, threads)) for record in records]
    return [replace(record, range_name=known.get(name, name)) for record, name in named]


def _range_of(record: CallRecord, threads: Mapping[tuple[Any, Any], Sequence[Row]]) -> str:
    for thread in (record.thread_id, None):
        members = threads.get((record.process_id, thread), ())
        place = bisect.bisect_right(members, record.start_ns, key=lambda row: int(row["start_ns"]))
        for row in reversed(members[:place]):
            if _end(row) > record.start_ns:
                return str(row["name"])
    return ""
