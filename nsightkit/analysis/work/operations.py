"""What ran on the GPU, kernels and memory operations together, with the calls that launched it.

In: the Arrow tables of one capture. Out: `CaptureTables`, which knows how to split a dataset by capture, and
`Operations`, arrays with one entry per piece of work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nsightkit.analysis.arrays import Codes, Ints, Mask, arrow_mask, ints, known, words
from nsightkit.analysis.ranges.launch_join import join_launches
from nsightkit.tables import CUDA_API_CALLS, GRAPH_LAUNCHES, KERNEL_LAUNCHES, MEMORY_OPERATIONS, NVTX_RANGES, Table

if TYPE_CHECKING:
    import pyarrow as pa

# What stands for a CUDA graph that was traced as a whole, where a kernel or a copy has its name.
GRAPH_NAME = "[CUDA graph launch]"
_TABLES = (KERNEL_LAUNCHES, CUDA_API_CALLS, MEMORY_OPERATIONS, NVTX_RANGES, GRAPH_LAUNCHES)


@dataclass(frozen=True)
class CaptureTables:
    """The tables of one capture that tell where its time went; any of them may be empty."""

    capture_id: str
    kernel_launches: pa.Table
    cuda_api_calls: pa.Table
    memory_operations: pa.Table
    nvtx_ranges: pa.Table
    graph_launches: pa.Table | None = None


def empty_table(table: Table) -> pa.Table:
    """Return `table` without rows, each column of a type that the analyses can read."""
    import pyarrow as pa

    types = {"string": pa.string(), "name": pa.dictionary(pa.int32(), pa.string()), "double": pa.float64()}
    return pa.table({c.name: pa.nulls(0, types.get(c.dtype, pa.int64())) for c in table.columns})


def by_capture(tables: Mapping[str, pa.Table]) -> Iterator[CaptureTables]:
    """Split tables (name -> rows of any number of captures) by capture, in the order in which captures appear."""
    given = {table.name: tables.get(table.name) for table in _TABLES}
    whole = {t.name: given[t.name] if given[t.name] is not None else empty_table(t) for t in _TABLES}
    coded = {name: words(rows, "capture_id") for name, rows in whole.items()}
    captures = list(dict.fromkeys(c for codes, names in coded.values() if codes.size for c in names.to_pylist()))
    for capture in captures:
        parts = {name: _rows_of(capture, captures, rows, coded[name]) for name, rows in whole.items()}
        yield CaptureTables(capture, **parts)


def _rows_of(capture: str, captures: list[str], rows: pa.Table, coded: tuple[Codes, pa.Array]) -> pa.Table:
    if len(captures) == 1:
        return rows
    codes, names = coded
    mine = np.array([name == capture for name in names.to_pylist()] + [False])
    return rows.filter(arrow_mask(mine[codes]))


@dataclass(frozen=True)
class Calls:
    """Calls of the CUDA API, in the order of their table. A call whose end is not known ends where it began."""

    start_ns: Ints
    end_ns: Ints
    process: Ints
    thread: Ints
    correlation: Ints
    name_code: Codes
    names: pa.Array


@dataclass(frozen=True)
class Operations:
    """Work on the GPU: kernels first, then memory operations, then whole graphs, each in the order of its table.

    Work whose end is not known lasts 0 ns. `name_code` points into `names`, kernels and operations together.
    """

    start_ns: Ints
    end_ns: Ints
    device: Codes
    stream: Codes
    process: Ints
    correlation: Ints
    name_code: Codes
    names: tuple[str, ...]
    kernel_count: int
    call: Codes  # row of the launching call, -1 where it is not known
    graph_count: int = 0  # launches of CUDA graphs whose kernels are hidden

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.start_ns.size)

    @cached_property
    def duration_ns(self) -> Ints:
        """How long each took."""
        return self.end_ns - self.start_ns

    @cached_property
    def is_kernel(self) -> Mask:
        """Which are kernels."""
        return np.arange(self.size) < self.kernel_count

    @cached_property
    def is_graph(self) -> Mask:
        """Which are whole CUDA graphs."""
        return np.arange(self.size) >= self.size - self.graph_count

    def only(self, mask: Mask) -> Operations:
        """Return the operations in `mask`."""
        names = ("start_ns", "end_ns", "device", "stream", "process", "correlation", "name_code", "call")
        parts = {name: getattr(self, name)[mask] for name in names}
        graphs = int(mask[self.size - self.graph_count :].sum())
        return replace(self, kernel_count=int(mask[: self.kernel_count].sum()), graph_count=graphs, **parts)


def read_calls(tables: CaptureTables) -> Calls:
    """Return the calls of a capture."""
    rows = tables.cuda_api_calls
    start = ints(rows, "start_ns")
    codes, names = words(rows, "name")
    duration = np.maximum(ints(rows, "duration_ns", 0), 0)
    return Calls(
        start, start + duration, ints(rows, "process_id"), ints(rows, "thread_id"),
        ints(rows, "correlation_id"), codes, names,
    )  # fmt: skip


def read_operations(tables: CaptureTables, calls: Calls) -> Operations:
    """Return the GPU work of a capture, joined with its calls by correlation id and process."""
    graphs = tables.graph_launches if tables.graph_launches is not None else tables.kernel_launches.slice(0, 0)
    sources = ((tables.kernel_launches, "kernel_name"), (tables.memory_operations, "operation"), (graphs, None))
    columns: dict[str, list[Ints]] = {name: [] for name in _COLUMNS}
    codes: list[Codes] = []
    names: list[str] = []
    for rows, name in sources:
        for column, source in _COLUMNS.items():
            columns[column].append(ints(rows, source))
        found, distinct = words(rows, name) if name else (np.zeros(rows.num_rows, np.int32), [GRAPH_NAME])
        codes.append(np.where(found >= 0, found + len(names), -1).astype(np.int32))
        names += distinct if isinstance(distinct, list) else distinct.to_pylist()
    alone = not (tables.memory_operations.num_rows or graphs.num_rows)
    whole = {name: parts[0] if alone else np.concatenate(parts) for name, parts in columns.items()}
    duration = np.maximum(whole.pop("duration"), 0)
    call = join_launches(whole["process"], whole["correlation"], calls.process, calls.correlation)
    return Operations(
        whole["start_ns"], whole["start_ns"] + duration, whole["device"].astype(np.int32),
        whole["stream"].astype(np.int32), whole["process"], whole["correlation"], np.concatenate(codes), tuple(names),
        tables.kernel_launches.num_rows, call, graphs.num_rows,
    )  # fmt: skip


_COLUMNS = {
    "start_ns": "start_ns",
    "duration": "duration_ns",
    "device": "device_id",
    "stream": "stream_id",
    "process": "process_id",
    "correlation": "correlation_id",
}


def unfinished_count(tables: CaptureTables) -> int:
    """Return how many kernels and memory operations have no recorded end."""
    whole = (tables.kernel_launches, tables.memory_operations, tables.graph_launches)
    return sum(int((~known(t, "duration_ns")).sum()) for t in whole if t is not None)
