"""A timeline for Perfetto and chrome://tracing: ranges and calls by thread, GPU work by stream, arrows between them.

In: the tables of a capture with their attribution, and what is known of kernels by name. Out: a file in the Trace Event
Format (JSON, gzip where the name ends in .gz), written row by row, so memory does not grow with it.

Source: Trace Event Format. Complete events of one track must nest: crossing ranges and start/end ranges are written as
asynchronous events, and work that overlaps in one stream (CUDA graphs) goes to further tracks of that stream.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from nsightkit.analysis.ranges.nvtx_projection import Attribution, Spans
from nsightkit.analysis.work.operations import CaptureTables
from nsightkit.run import replacing

Event = dict[str, Any]
# Rows are turned into Python objects so many at a time.
_BATCH = 8192
_VERSION = re.compile(r"_v\d+$")
_PLACES = ("capture_id", "start_ns", "duration_ns", "device_id", "stream_id", "process_id")
_MOST_EXACT = 1 << 53
# Of the 10 000 numbers that a capture has for its processes, those of GPUs begin here.
_GPU_PROCESSES = 5_000


@dataclass(frozen=True)
class TraceInputs:
    """One capture: its tables, its attribution, and facts by kernel name (verdict, family, …) for the arguments."""

    tables: CaptureTables
    attribution: Attribution
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def write_trace(path: Path, captures: Iterable[TraceInputs]) -> int:
    """Write a trace of `captures` to `path` under a temporary name, rename, and return how many events it has.

    Raises:
        ReportError: the file cannot be written.
    """
    with replacing(path, "file") as partial, _opened(partial, path.suffix == ".gz") as file:
        return _write(file, captures)


def _opened(path: Path, compress: bool) -> IO[str]:
    if compress:
        return gzip.open(path, "wt", encoding="utf-8", compresslevel=5)
    return path.open("w", encoding="utf-8")


def _write(file: IO[str], captures: Iterable[TraceInputs]) -> int:
    file.write('{"displayTimeUnit":"ns","traceEvents":[')
    count = 0
    for number, capture in enumerate(captures):
        for event in trace_events(capture, number):
            file.write(",\n" if count else "\n")
            file.write(json.dumps(event, ensure_ascii=True, separators=(",", ":")))
            count += 1
    file.write("\n]}\n")
    return count


def trace_events(capture: TraceInputs, number: int = 0) -> Iterator[Event]:
    """Return the events of one capture; `number` keeps the processes of several captures apart."""
    tracks = _Tracks(capture.tables.capture_id, number)
    yield from _range_events(capture.attribution, tracks)
    yield from _apart_events(capture.attribution.apart, tracks)
    yield from _call_events(capture, tracks)
    yield from _work_events(capture, tracks)
    yield from tracks.named()


class _Tracks:
    """Numbers for processes and threads, and the events that name them."""

    def __init__(self, capture_id: str, number: int) -> None:
        self._capture_id, self._base = capture_id, number * 10_000
        self.prefix = f"c{number}-"
        self._processes: dict[tuple[str, int], int] = {}
        self._threads: dict[tuple[int, Any], int] = {}
        self._names: list[Event] = []
        self._free: dict[tuple[int, int], list[int]] = {}

    def process(self, kind: str, identity: int) -> int:
        """Return the pid of a process or a GPU."""
        key = (kind, identity)
        if key not in self._processes:
            offset = _GPU_PROCESSES if kind == "GPU" else 1
            self._processes[key] = self._base + offset + len(self._processes)
            shown = identity >> 24 & 0xFFFFFF if kind == "process" and identity > 0xFFFFFFFF else identity
            self._name("process_name", self._processes[key], 0, f"{kind} {shown} ({self._capture_id})")
        return self._processes[key]

    def thread(self, process: int, identity: Any, label: str) -> int:
        """Return the tid of a track of `process`."""
        key = (process, identity)
        if key not in self._threads:
            self._threads[key] = 1 + sum(owner == process for owner, _ in self._threads)
            self._name("thread_name", process, self._threads[key], label)
        return self._threads[key]

    def stream(self, process: int, stream: int, start: int, end: int) -> int:
        """Return the tid for work of a stream: the first of its tracks that is free at `start`."""
        ends = self._free.setdefault((process, stream), [])
        lane = next((place for place, free in enumerate(ends) if free <= start), len(ends))
        ends[lane : lane + 1] = [end]
        label = f"stream {stream}" + (f" ({lane + 1})" if lane else "")
        return self.thread(process, (stream, lane), label)

    def _name(self, what: str, process: int, thread: int, name: str) -> None:
        self._names.append({"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}})

    def named(self) -> Sequence[Event]:
        """Return the events that name processes and threads."""
        return self._names


def microseconds(ns: int) -> float:
    """Return the unit of the format; doubles keep single ns up to about 100 days."""
    return ns / 1000


def _complete(place: tuple[int, int], times: tuple[int, int], name: str, category: str, args: Event) -> Event:
    return {
        "ph": "X", "cat": category, "name": name, "pid": place[0], "tid": place[1], "ts": microseconds(times[0]),
        "dur": microseconds(times[1] - times[0]), "args": args,
    }  # fmt: skip


def _thread_label(thread: int) -> str:
    return f"thread {thread & 0xFFFFFF if thread > 0xFFFFFFFF else thread}"


def _range_events(attribution: Attribution, tracks: _Tracks) -> Iterator[Event]:
    forest, spans = attribution.forest, attribution.spans
    names = spans.names.to_pylist()
    for position, row in enumerate(forest.row.tolist()):
        process = tracks.process("process", int(spans.process[row]))
        thread = tracks.thread(process, int(spans.thread[row]), _thread_label(int(spans.thread[row])))
        times = (int(spans.start_ns[row]), int(spans.end_ns[row]))
        name = names[spans.name_code[row]]
        if forest.lane_crosses[forest.lane[position]]:
            yield from _asynchronous((process, thread), times, name, f"{tracks.prefix}r{row}")
        else:
            args = {"depth": int(forest.depth[position])}
            yield _complete((process, thread), times, name, "range", args)


def _apart_events(spans: Spans, tracks: _Tracks) -> Iterator[Event]:
    names = spans.names.to_pylist()
    for row in range(spans.size):
        process = tracks.process("process", int(spans.process[row]))
        thread = tracks.thread(process, int(spans.thread[row]), _thread_label(int(spans.thread[row])))
        times = (int(spans.start_ns[row]), int(spans.end_ns[row]))
        yield from _asynchronous((process, thread), times, names[spans.name_code[row]], f"{tracks.prefix}s{row}")


def _asynchronous(place: tuple[int, int], times: tuple[int, int], name: str, identity: str) -> Iterator[Event]:
    common = {"cat": "range", "name": name, "id": identity, "pid": place[0], "tid": place[1]}
    yield {"ph": "b", "ts": microseconds(times[0]), **common}
    yield {"ph": "e", "ts": microseconds(times[1]), **common}


def _call_events(capture: TraceInputs, tracks: _Tracks) -> Iterator[Event]:
    calls = capture.attribution.calls
    names = [_VERSION.sub("", name or "") for name in calls.names.to_pylist()]
    for row, lane in enumerate(calls.lane.tolist()):
        process = tracks.process("process", int(calls.lane_process[lane]))
        thread_id = int(calls.lane_thread[lane])
        thread = tracks.thread(process, thread_id, _thread_label(thread_id))
        times = (int(calls.start_ns[row]), int(calls.end_ns[row]))
        args = {"correlation_id": int(calls.correlation[row])}
        yield _complete((process, thread), times, names[calls.name_code[row]], "cuda_api", args)


def _work_events(capture: TraceInputs, tracks: _Tracks) -> Iterator[Event]:
    attribution = capture.attribution
    work, calls = attribution.operations, attribution.calls
    paths = _Paths(attribution)
    for row, details in enumerate(_details(capture.tables)):
        process = tracks.process("GPU", int(work.device[row]))
        start, end = int(work.start_ns[row]), int(work.end_ns[row])
        thread = tracks.stream(process, int(work.stream[row]), start, end)
        name = work.names[work.name_code[row]] if work.name_code[row] >= 0 else ""
        args = {**details, **capture.facts.get(name, {})}
        if attribution.node[row] >= 0:
            args["range"] = paths.of(int(attribution.node[row]))
            args["range_inherited"] = bool(attribution.inherited[row])
        category = "kernel" if row < work.kernel_count else "graph" if work.is_graph[row] else "memory"
        yield _complete((process, thread), (start, end), _short(name, category), category, args)
        call = int(work.call[row])
        if call >= 0:
            lane = int(calls.lane[call])
            caller = tracks.process("process", int(calls.lane_process[lane]))
            origin = (caller, tracks.thread(caller, int(calls.lane_thread[lane]), ""), int(calls.start_ns[call]))
            yield from _arrow(origin, (process, thread, start), f"{tracks.prefix}f{row}")


def _arrow(origin: tuple[int, int, int], target: tuple[int, int, int], identity: str) -> Iterator[Event]:
    for phase, (process, thread, moment) in (("s", origin), ("f", target)):
        event = {"ph": phase, "cat": "launch", "name": "launch", "id": identity, "pid": process, "tid": thread,
                 "ts": microseconds(moment)}  # fmt: skip
        yield event | {"bp": "e"} if phase == "f" else event


def _short(name: str, category: str) -> str:
    """Return a name that fits a track; the full one is among the arguments."""
    if category != "kernel":
        return name.strip("[]")
    from nsightkit.analysis.kernel_names import describe_kernel

    return describe_kernel(name).friendly


def _details(tables: CaptureTables) -> Iterator[Event]:
    for table in (tables.kernel_launches, tables.memory_operations, tables.graph_launches):
        if table is None:
            continue
        kept = [name for name in table.column_names if name not in _PLACES]
        rows = table.select(kept)
        for first in range(0, rows.num_rows, _BATCH):
            for row in rows.slice(first, _BATCH).to_pylist():
                yield {name: _exact(value) for name, value in row.items() if value is not None}


def _exact(value: Any) -> Any:
    """Return a number that a double cannot hold as text: viewers read numbers as doubles."""
    return str(value) if isinstance(value, int) and abs(value) > _MOST_EXACT else value


class _Paths:
    """Paths of ranges as text, each made once."""

    def __init__(self, attribution: Attribution) -> None:
        self._attribution = attribution
        self._known: dict[int, str] = {}

    def of(self, node: int) -> str:
        """Return the ranges from the outermost to `node`."""
        if node not in self._known:
            above = int(self._attribution.nodes.parent[node])
            name = str(self._attribution.spans.names[int(self._attribution.node_name[node])].as_py())
            self._known[node] = f"{self.of(above)} / {name}" if above >= 0 else name
        return self._known[node]
