"""What ran on the GPU, kernels and memory operations together, with the calls that launched it.

In: the Arrow tables of one capture. Out: `CaptureTables`, which knows how to split a dataset by capture, and
`Operations`, arrays with one entry per piece of work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from nsightkit.analysis.arrays import Codes, Ints, Mask, chosen, give_back, ints, lanes, narrowest, words
from nsightkit.analysis.ranges.launch_join import join_launches
from nsightkit.tables import CUDA_API_CALLS, GRAPH_LAUNCHES, KERNEL_LAUNCHES, MEMORY_OPERATIONS, NVTX_RANGES, Table

if TYPE_CHECKING:
    import pyarrow as pa

# What stands for a CUDA graph that was traced as a whole, where a kernel or a copy has its name.
GRAPH_NAME = "[CUDA graph launch]"
_TABLES = (KERNEL_LAUNCHES, CUDA_API_CALLS, MEMORY_OPERATIONS, NVTX_RANGES, GRAPH_LAUNCHES)
CAPTURE_TABLES = tuple(table.name for table in _TABLES)
# From so many pieces of work on, what was freed is given back to the system between the steps.
MANY = 1_000_000


@dataclass(frozen=True)
class CaptureTables:
    """The tables of one capture that tell where its time went; any of them may be empty.

    With `work`, calls and GPU work were read already (`condensed`), and their tables have no rows left.
    """

    capture_id: str
    kernel_launches: pa.Table
    cuda_api_calls: pa.Table
    memory_operations: pa.Table
    nvtx_ranges: pa.Table
    graph_launches: pa.Table | None = None
    work: tuple[Calls, Operations] | None = field(default=None, repr=False)


def empty_table(table: Table) -> pa.Table:
    """Return `table` without rows, each column of a type that the analyses can read."""
    import pyarrow as pa

    types = {"string": pa.string(), "name": pa.dictionary(pa.int32(), pa.string()), "double": pa.float64()}
    return pa.table({c.name: pa.nulls(0, types.get(c.dtype, pa.int64())) for c in table.columns})


def by_capture(tables: Mapping[str, pa.Table]) -> Iterator[CaptureTables]:
    """Split tables (name -> rows of any number of captures) by capture, in the order in which captures appear."""
    whole = {t.name: empty_table(t) if tables.get(t.name) is None else tables[t.name] for t in _TABLES}
    names = [words(rows, "capture_id")[1].to_pylist() for rows in whole.values() if rows.num_rows]
    captures = list(dict.fromkeys(name for some in names for name in some))
    for capture in captures:
        yield CaptureTables(capture, **{name: rows_of(capture, rows) for name, rows in whole.items()})


def rows_of(capture: str, rows: pa.Table) -> pa.Table:
    """Return the rows of one capture."""
    codes, names = words(rows, "capture_id")
    mine = np.array([name == capture for name in names.to_pylist()] + [False])
    return rows if mine[:-1].all() else chosen(rows, mine[codes])


@dataclass(frozen=True)
class Calls:
    """Calls of the CUDA API, in the order of their table. A call whose end is not known ends where it began.

    A lane is a thread of a process: few, so that one small number a call tells both.
    """

    start_ns: Ints
    end_ns: Ints
    lane: Codes
    lane_process: Ints  # (lanes,)
    lane_thread: Ints  # (lanes,)
    correlation: Ints | Codes
    name_code: Codes
    names: pa.Array

    @property
    def process(self) -> Ints:
        """Process of each call, made anew each time it is asked for."""
        return self.lane_process[self.lane]

    @property
    def thread(self) -> Ints:
        """Thread of each call, made anew each time it is asked for."""
        return self.lane_thread[self.lane]


@dataclass(frozen=True)
class Operations:
    """Work on the GPU: kernels first, then memory operations, then whole graphs, each in the order of its table.

    Work whose end is not known lasts 0 ns. `name_code` points into `names`, kernels and operations together.
    """

    start_ns: Ints
    end_ns: Ints
    device: Codes
    stream: Codes
    correlation: Ints | Codes
    name_code: Codes
    names: tuple[str, ...]
    kernel_count: int
    call: Codes  # row of the launching call, -1 where it is not known
    graph_count: int = 0  # launches of CUDA graphs whose kernels are hidden
    reversed_count: int = 0  # of the whole capture: work that ends before it starts, counted as 0 ns

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
        found = np.zeros(self.size, np.bool_)
        found[: self.kernel_count] = True
        return found

    @cached_property
    def is_graph(self) -> Mask:
        """Which are whole CUDA graphs."""
        found = np.zeros(self.size, np.bool_)
        found[self.size - self.graph_count :] = True
        return found

    def only(self, mask: Mask) -> Operations:
        """Return the operations in `mask`."""
        if mask.all():
            return self
        names = ("start_ns", "end_ns", "device", "stream", "correlation", "name_code", "call")
        parts = {name: getattr(self, name)[mask] for name in names}
        graphs = int(mask[self.size - self.graph_count :].sum())
        return replace(self, kernel_count=int(mask[: self.kernel_count].sum()), graph_count=graphs, **parts)


def condensed(tables: CaptureTables) -> CaptureTables:
    """Return the capture with its calls and GPU work read and joined, without their rows and correlation ids.

    Where nobody else holds the tables, this frees half of the memory of a large capture, and all that is asked of it
    later shares what was read.
    """
    return tables if tables.work is not None else read_condensed(tables.capture_id, lambda name: getattr(tables, name))


def read_condensed(capture_id: str, rows_of: Callable[[str], pa.Table | None]) -> CaptureTables:
    """Return a capture as `condensed` does, one table after the other, so that no two large ones are held at once.

    Args:
        capture_id: name of the capture.
        rows_of: gives the rows of a table, all of this capture, None where there are none; called once for each.
    """
    empty = CaptureTables(capture_id, *(empty_table(table) for table in _TABLES[:4]))

    def given(*names: str) -> CaptureTables:
        return replace(empty, **{name: rows for name in names if (rows := rows_of(name)) is not None})

    operations, process = _unjoined(given("kernel_launches", "memory_operations", "graph_launches"))
    # What was not copied is a view of the rows, and would keep their columns.
    operations, process = replace(operations, correlation=narrowest(operations.correlation)), narrowest(process)
    many = operations.size > MANY
    if many:
        give_back()
    rows = given("cuda_api_calls")
    if many:
        give_back()
    calls = read_calls(rows)
    del rows
    operations = _joined_with(calls, operations, process)
    # They are joined: the ids have done their work.
    work = (_without_ids(calls, calls.lane.size), _without_ids(operations, operations.size))
    del calls, operations, process
    read = replace(given("nvtx_ranges"), work=work)
    if many:
        give_back()
    return read


def _without_ids(whole: _Whole, size: int) -> _Whole:
    return replace(whole, correlation=np.broadcast_to(np.int32(-1), (size,)))


def read_calls(tables: CaptureTables) -> Calls:
    """Return the calls of a capture."""
    if tables.work is not None:
        return tables.work[0]
    rows = tables.cuda_api_calls
    start = ints(rows, "start_ns")
    codes, names = words(rows, "name")
    end = np.maximum(ints(rows, "duration_ns", 0), 0)
    end += start
    lane, processes, threads = lanes(ints(rows, "process_id"), ints(rows, "thread_id"))
    return Calls(start, end, lane, processes, threads, ints(rows, "correlation_id"), codes, names)


def read_operations(tables: CaptureTables, calls: Calls) -> Operations:
    """Return the GPU work of a capture, joined with its calls by correlation id and process."""
    return tables.work[1] if tables.work is not None else _joined_with(calls, *_unjoined(tables))


def _joined_with(calls: Calls, operations: Operations, process: Ints | Codes) -> Operations:
    work = (process, operations.correlation)
    return replace(operations, call=join_launches(work, (calls.lane, calls.correlation), calls.lane_process))


def _unjoined(tables: CaptureTables) -> tuple[Operations, Ints | Codes]:
    """Return the GPU work of a capture without its calls, and the process of each piece."""
    graphs = tables.graph_launches if tables.graph_launches is not None else tables.kernel_launches.slice(0, 0)
    sources = ((tables.kernel_launches, "kernel_name"), (tables.memory_operations, "operation"), (graphs, None))
    codes: list[Codes] = []
    names: list[str] = []
    for rows, name in sources:
        found, distinct = words(rows, name) if name else (np.zeros(rows.num_rows, np.int32), [GRAPH_NAME])
        codes.append(np.where(found >= 0, found + np.int32(len(names)), np.int32(-1)) if names else found)
        names += distinct if isinstance(distinct, list) else distinct.to_pylist()
    worked = [rows for rows, _ in sources]
    correlation, process = (_joined(worked, name) for name in ("correlation_id", "process_id"))
    device, stream = (_joined(worked, name, np.int32) for name in ("device_id", "stream_id"))
    start = _joined(worked, "start_ns")
    duration = _joined(worked, "duration_ns")
    # A null is -1 here.
    backwards = int((duration < -1).sum())
    end = np.maximum(duration, 0)
    del duration
    end += start
    return Operations(
        start, end, device, stream, correlation, _in_one([part for part in codes if part.size]), tuple(names),
        tables.kernel_launches.num_rows, np.empty(0, np.int32), graphs.num_rows, backwards,
    ), process  # fmt: skip


def _joined(tables: list[pa.Table], name: str, dtype: type[np.integer[Any]] = np.int64) -> npt.NDArray[Any]:
    """Return a column of one table after the other, null as -1."""
    parts = [ints(rows, name).astype(dtype, copy=False) for rows in tables if rows.num_rows]
    return _in_one(parts) if parts else np.zeros(0, dtype)


def _in_one(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return the parts one after the other; a single one, as most captures have it, without a copy."""
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.int32), *parts])


_Whole = TypeVar("_Whole", Calls, Operations)
