"""Tiny exports of Nsight Systems, in SQLite of several schemas and as a parquetdir.

In: a `Capture`: kernels, calls, copies, ranges, … as plain records. Out: files like those that ``nsys export`` writes.
"""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PID = 4711


def process_key(pid: int) -> int:
    """Return a globalPid, with hardware and VM bits set as real ones have."""
    return 1 << 56 | pid << 24


def thread_key(pid: int, tid: int | None = None) -> int:
    return process_key(pid) | (pid if tid is None else tid)


@dataclass(frozen=True)
class Kernel:
    name: str
    start: int
    end: int | None
    pid: int = PID
    correlation: int = 1
    stream: int = 7
    device: int = 0
    grid: tuple[int, int, int] = (1, 1, 1)
    block: tuple[int, int, int] = (32, 1, 1)
    graph_node: int | None = None


@dataclass(frozen=True)
class Call:
    name: str
    start: int
    end: int
    pid: int = PID
    correlation: int = 1
    event_class: int = 0
    thread: int | None = None


@dataclass(frozen=True)
class Copy:
    kind: int | None  # None is a fill
    start: int
    end: int
    size: int
    pid: int = PID
    correlation: int | None = None
    stream: int = 7


@dataclass(frozen=True)
class Range:
    start: int
    end: int | None
    text: str | None = None
    registered: str | None = None
    domain: int = 0
    kind: int = 59
    pid: int = PID
    end_thread: int | None = None
    thread: int | None = None
    payload: tuple[str, float] | None = None


@dataclass(frozen=True)
class Graph:
    """One launch of a CUDA graph that is traced as a whole."""

    start: int
    end: int | None
    pid: int = PID
    correlation: int = 1
    stream: int = 7
    device: int = 0


@dataclass(frozen=True)
class Capture:
    kernels: tuple[Kernel, ...] = ()
    calls: tuple[Call, ...] = ()
    copies: tuple[Copy, ...] = ()
    ranges: tuple[Range, ...] = ()
    graph_launches: int = 0
    graphs: tuple[Graph, ...] = ()
    gpus: tuple[tuple[int, str, int], ...] = ((0, "NVIDIA Test", 10),)  # id, name, multiprocessors
    environment: tuple[tuple[str, str], ...] = ()
    schema: str = "2025"  # 2021 (no version table), 2022 (EXPORT_META_DATA), 2025 (cluster columns)
    extra: dict[str, tuple[list[tuple[str, str]], list[tuple[Any, ...]]]] = field(default_factory=dict)


Tables = dict[str, tuple[list[tuple[str, str]], list[tuple[Any, ...]]]]
INT, T, R = "INTEGER", "TEXT", "REAL"


class _Strings:
    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.ids.setdefault(text, len(self.ids) + 1)


def tables_of(capture: Capture) -> Tables:
    """Return table -> (columns, rows); as in a lazy export, what has no rows is left out."""
    strings = _Strings()
    found: Tables = {
        "CUPTI_ACTIVITY_KIND_KERNEL": _kernels(capture, strings),
        "CUPTI_ACTIVITY_KIND_RUNTIME": _calls(capture, strings),
        "CUPTI_ACTIVITY_KIND_MEMCPY": _copies(capture),
        "CUPTI_ACTIVITY_KIND_MEMSET": _fills(capture),
        "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": _graphs(capture),
        "NVTX_EVENTS": _ranges(capture, strings),
        "TARGET_INFO_GPU": (
            [("id", INT), ("name", T), *((n, INT) for n in ("smCount", "computeMajor", "computeMinor", "clockRate"))],
            [(i, name, sms, 9 if sms else 0, 0, 1_500_000_000) for i, name, sms in capture.gpus],
        ),
        "TARGET_INFO_SYSTEM_ENV": ([("name", T), ("value", T)], list(capture.environment)),
    }  # fmt: skip
    meta = {"2021": None, "2022": "EXPORT_META_DATA"}.get(capture.schema, "META_DATA_EXPORT")
    if meta:
        found[meta] = ([("name", T), ("value", T)], [("EXPORT_PRODUCT_VERSION", f"{capture.schema}.1.2.3")])
    found["StringIds"] = ([("id", INT), ("value", T)], [(i, text) for text, i in strings.ids.items()])
    kept = {name: table for name, table in found.items() if table[1] or name == "StringIds"}
    return {**kept, **capture.extra}


def _kernels(capture: Capture, strings: _Strings) -> Any:
    columns = [(n, INT) for n in (
        "start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid", "demangledName", "shortName",
        "registersPerThread", "gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ", "staticSharedMemory",
        "dynamicSharedMemory", "localMemoryPerThread", "graphNodeId")]  # fmt: skip
    rows: list[tuple[Any, ...]] = [
        (k.start, k.end, k.device, 1, k.stream, k.correlation, process_key(k.pid), strings(k.name),
         strings(k.name.split("<")[0]), 32, *k.grid, *k.block, 0, 1024, 0, k.graph_node)
        for k in capture.kernels
    ]  # fmt: skip
    if capture.schema == "2025":
        columns += [("graphId", INT), ("clusterX", INT), ("clusterY", INT), ("clusterZ", INT), ("tensorSize", T)]
        rows = [(*row, None, 2, 1, 1, "[]") for row in rows]
    return columns, rows


def _calls(capture: Capture, strings: _Strings) -> Any:
    columns = [(n, INT) for n in ("start", "end", "eventClass", "globalTid", "correlationId", "nameId", "returnValue")]
    rows = [
        (c.start, c.end, c.event_class, thread_key(c.pid, c.thread), c.correlation, strings(c.name), 0)
        for c in capture.calls
    ]
    return columns, rows


def _graphs(capture: Capture) -> Any:
    if not capture.graphs:
        columns = [("start", INT), ("end", INT), ("graphId", INT)]
        return columns, [(i, i + 1, 1) for i in range(capture.graph_launches)]
    names = (
        "start",
        "end",
        "deviceId",
        "contextId",
        "streamId",
        "correlationId",
        "globalPid",
        "graphId",
        "graphExecId",
    )
    rows = [(g.start, g.end, g.device, 1, g.stream, g.correlation, process_key(g.pid), 3, 4) for g in capture.graphs]
    return [(n, INT) for n in names], rows


def _copies(capture: Capture) -> Any:
    names = (
        "start", "end", "deviceId", "streamId", "globalPid", "bytes", "copyKind", "srcKind", "dstKind", "correlationId",
    )  # fmt: skip
    rows = [
        (c.start, c.end, 0, c.stream, process_key(c.pid), c.size, c.kind, 1, 2, c.correlation)
        for c in capture.copies
        if c.kind is not None
    ]
    return [(n, INT) for n in names], rows


def _fills(capture: Capture) -> Any:
    names = ("start", "end", "deviceId", "streamId", "globalPid", "bytes", "memKind")
    rows = [(c.start, c.end, 0, 7, process_key(c.pid), c.size, 2) for c in capture.copies if c.kind is None]
    return [(n, INT) for n in names], rows


def _ranges(capture: Capture, strings: _Strings) -> Any:
    before, after = (
        ("start", "end", "eventType", "category", "color"),
        ("globalTid", "endGlobalTid", "textId", "domainId"),
    )
    integers = [(n, INT) for n in (*after, "uint64Value", "int64Value")]
    columns = [*((n, INT) for n in before), ("text", T), *integers, ("doubleValue", R)]
    payloads = ("uint64Value", "int64Value", "doubleValue")
    rows = [
        (r.start, r.end, r.kind, None, 255, r.text, thread_key(r.pid, r.thread), r.end_thread,
         None if r.registered is None else strings(r.registered), r.domain,
         *(r.payload[1] if r.payload and r.payload[0] == name else None for name in payloads))
        for r in capture.ranges
    ]  # fmt: skip
    return columns, rows


def write_sqlite(path: Path, capture: Capture) -> Path:
    """Write `capture` as an SQLite export."""
    connection = sqlite3.connect(path)
    for name, (columns, rows) in tables_of(capture).items():
        key = " PRIMARY KEY" if name == "StringIds" else ""
        declared = ", ".join(f'"{column}" {kind}{key if column == "id" else ""}' for column, kind in columns)
        connection.execute(f'CREATE TABLE "{name}" ({declared})')
        marks = ",".join("?" * len(columns))
        connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', rows)
    connection.commit()
    connection.close()
    return path


_ARROW = {INT: pa.int64(), T: pa.string(), R: pa.float64()}
# nsys writes these unsigned into parquet, as its real parquetdir exports have them.
_UNSIGNED = ("globalTid", "globalPid", "endGlobalTid", "domainId", "nameId", "category")


def write_parquetdir(folder: Path, capture: Capture, suffix: str = ".parquet") -> Path:
    """Write `capture` as a folder of parquet tables, or of Arrow streams with `suffix` .arrow."""
    folder.mkdir()
    for name, (columns, rows) in tables_of(capture).items():
        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        arrays = [
            pa.array(list(column), pa.uint64() if field_name in _UNSIGNED else _ARROW[kind])
            for column, (field_name, kind) in zip(values, columns, strict=True)
        ]
        table = pa.table(arrays, names=[column for column, _ in columns])
        path = folder / f"{name}{suffix}"
        if suffix == ".parquet":
            pq.write_table(table, path)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
    return folder


# Two processes whose correlation ids collide, a graph's nodes, ranges of every kind: one export with all the traps.
BUSY = Capture(
    kernels=(
        Kernel("void gemm<float>(int)", 1000, 1600, correlation=1),
        Kernel("void gemm<float>(int)", 2000, 2400, correlation=2),
        Kernel("void gemm<float>(int)", 3000, 3500, pid=PID + 1, correlation=1, stream=9),
        Kernel("copy<a|b>(char*)", 4000, 4010, correlation=3, graph_node=7 << 32 | 1),
        Kernel("copy<a|b>(char*)", 4020, 4030, correlation=3, graph_node=7 << 32 | 2),
    ),
    calls=(
        Call("cudaLaunchKernel_v7000", 900, 950, correlation=1),
        Call("cudaLaunchKernel_v7000", 1900, 1930, correlation=2),
        Call("cudaLaunchKernel_v7000", 2900, 2960, pid=PID + 1, correlation=1),
        Call("cudaGraphLaunch_v10000", 3900, 3990, correlation=3),
        Call("cuMemcpyAsync", 100, 180, correlation=4, event_class=1),
    ),
    copies=(Copy(1, 10, 60, 1000), Copy(1, 70, 90, 3000), Copy(8, 100, 110, 500), Copy(None, 120, 121, 64)),
    ranges=(
        Range(5, None, text="work", domain=1, kind=75),
        Range(800, 4100, text="decode"),
        Range(850, 2500, registered="step"),
        Range(2600, 3600, registered="step", pid=PID + 1),
        Range(860, 960, text="inner", domain=1),
        Range(900, 4200, text="request", kind=60, end_thread=thread_key(PID, 9)),
        Range(950, None, text="still open", payload=("doubleValue", 2.5)),
        Range(990, None, text="mark", kind=34, payload=("int64Value", -3)),
        Range(4300, None, text="category", kind=33),
    ),
)


@dataclass(frozen=True)
class Sampling:
    """Samples of one GPU: every `every` ns from the first, one tuple of values a moment, in the order of `metrics`."""

    metrics: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    every: int = 100
    first: int = 100
    device: int = 0


SAMPLED_METRICS = (
    "SMs Active [Throughput %]", "SM Issue [Throughput %]", "Tensor Active [Throughput %]",
    "DRAM Read Bandwidth [Throughput %]", "DRAM Write Bandwidth [Throughput %]", "GPC Clock Frequency [MHz]",
)  # fmt: skip


def sampled(*samplings: Sampling) -> Tables:
    """Return the two tables of `nsys profile --gpu-metrics-devices`, for `Capture.extra`."""
    names: list[tuple[Any, ...]] = []
    rows: list[tuple[Any, ...]] = []
    for sampling in samplings:
        kind = 1 << 56 | 1 << 48 | 7 << 32 | 0x1000 | sampling.device
        names += [(kind, 7, "GPU", place, name) for place, name in enumerate(sampling.metrics)]
        for turn, values in enumerate(sampling.values):
            moment = sampling.first + turn * sampling.every
            rows += [(moment + 5, moment, kind, place, value) for place, value in enumerate(values)]
    columns = [("typeId", INT), ("sourceId", INT), ("typeName", T), ("metricId", INT), ("metricName", T)]
    held = [(name, INT) for name in ("rawTimestamp", "timestamp", "typeId", "metricId", "value")]
    return {"TARGET_INFO_GPU_METRICS": (columns, names), "GPU_METRICS": (held, rows)}
