"""Reads a trace of torch.profiler: kernels, copies, CUDA calls, operators with their shapes, annotations.

In: a Chrome trace (JSON, plain or gzip). Out: `CaptureData`; a kernel carries the operator that launched it, joined by
the correlation id of its launching call. Times count from the first event of the trace.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nsightkit.errors import IngestError
from nsightkit.ingest.chrome_trace import Decimals, Nesting, load_trace, nanoseconds, nest
from nsightkit.ingest.reader import CaptureData, Wanted, wants
from nsightkit.tables import TABLES

BACKEND = "torch"

# Source: the categories that PyTorch's profiler library (Kineto) writes, as found in traces of V100 to B200.
_CATEGORIES = {
    "kernel": "kernel_launches",
    "gpu_memcpy": "memory_operations",
    "gpu_memset": "memory_operations",
    "cuda_runtime": "cuda_api_calls",
    "cuda_driver": "cuda_api_calls",
    "cpu_op": "cpu_operators",
    "user_annotation": "nvtx_ranges",
}
_DIRECTIONS = {"H": "Host", "D": "Device", "P": "Peer", "A": "Array", "U": "Unified"}
_MEMCPY = re.compile(r"Memcpy (\w)to(\w) \((.+) -> (.+)\)")
_MEMSET = re.compile(r"Memset \((.+)\)")
_MARKS = (b'"traceEvents"', b'"deviceProperties"', b'"distributedInfo"')
Columns = dict[str, list[Any]]


def recognizes(path: Path, head: bytes) -> bool:
    """Say whether `head` begins a JSON object that is a Chrome trace."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return text[:1] == b"{" and any(mark in text for mark in _MARKS)


def read(paths: tuple[Path, ...], wanted: Wanted) -> CaptureData:
    """Read one trace.

    Raises:
        IngestError: truncated, no trace, or a trace without any event of torch.profiler.
    """
    trace = load_trace(paths[0])
    events = _Events.of(trace["traceEvents"])
    if not any(events.by_table.values()):
        raise IngestError(
            f"{paths[0]}: a trace, but without events of torch.profiler (kernel, cpu_op, cuda_runtime, …); "
            "export it with torch.profiler's export_chrome_trace",
            slug="no-torch-events",
        )
    tables = {name: build(events) for name, build in _BUILDERS.items() if wants(wanted, name)}
    tables["gpus"] = _gpus(trace.get("deviceProperties"))
    filled = {name: columns for name, columns in tables.items() if next(iter(columns.values())) and wants(wanted, name)}
    return CaptureData(
        BACKEND,
        filled,
        tool_version=_version(trace),
        scope=_scope(trace, events),
        facts=_facts(trace, events, tables["gpus"]),
        notes=tuple(events.notes()),
        rank=_rank(trace),
    )


@dataclass(frozen=True, slots=True)
class _Event:
    """One event with its times as integers, relative to the trace's first."""

    name: str
    category: str
    start_ns: int
    duration_ns: int | None
    process_id: int | None
    thread_id: int | None
    args: Mapping[str, Any]

    @property
    def end_ns(self) -> int:
        return self.start_ns + max(self.duration_ns or 0, 0)


@dataclass
class _Events:
    """The events by the table that they go into, and what was odd about them."""

    by_table: dict[str, list[_Event]]
    odd: Counter[str]
    resolution_ns: int
    _operators: _Operators | None = None
    launch_calls: dict[int, _Event] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: Sequence[Any]) -> _Events:
        odd: Counter[str] = Counter()
        known = [e for e in raw if isinstance(e, dict) and e.get("cat") in _CATEGORIES and e.get("ph", "X") == "X"]
        starts = [nanoseconds(e.get("ts")) for e in known]
        zero = min((start for start in starts if start is not None), default=0)
        by_table: dict[str, list[_Event]] = defaultdict(list)
        for item, start in zip(known, starts, strict=True):
            if start is None:
                odd["no-time"] += 1
                continue
            by_table[_CATEGORIES[item["cat"]]].append(_event(item, start - zero, odd))
        odd["duplicate"] = _duplicates(by_table["kernel_launches"])
        fine = any(isinstance(e.get("ts"), Decimals) for e in known)
        calls = {c: e for e in by_table["cuda_api_calls"] if (c := _int(e.args.get("correlation"))) is not None}
        return cls(by_table, odd, 1 if fine else 1000, launch_calls=calls)

    @property
    def operators(self) -> _Operators:
        if self._operators is None:
            self._operators = _Operators.of(self.by_table["cpu_operators"], self.resolution_ns)
        return self._operators

    def call_of(self, event: _Event) -> _Event | None:
        """Return the CUDA call that launched `event`, None where it is not in the trace."""
        correlation = _int(event.args.get("correlation"))
        return None if correlation is None else self.launch_calls.get(correlation)

    def notes(self) -> Iterable[str]:
        """Say what a reader of the numbers must know."""
        kernels = self.by_table["kernel_launches"]
        if not kernels:
            yield "no kernels: the trace holds work of the CPU only; no GPU was traced"
        unlaunched = sum(self.call_of(kernel) is None for kernel in kernels)
        if unlaunched:
            yield f"{unlaunched} of {len(kernels)} kernels were launched by a call that the trace does not hold"
        yield from (text.format(count=self.odd[key]) for key, text in _ODD.items() if self.odd[key])


_ODD = {
    "no-time": "{count} events have no usable time and were left out",
    "text-time": "{count} events give their time as text, not as a number; it was read as microseconds",
    "negative": "{count} events have a negative duration, kept as it is: the clocks of CPU and GPU may disagree",
    "no-duration": "{count} events have no duration: their end was not recorded",
    "duplicate": "{count} kernels stand in the trace twice with the same times; all are kept",
}


def _event(item: Mapping[str, Any], start_ns: int, odd: Counter[str]) -> _Event:
    duration = nanoseconds(item.get("dur"))
    if duration is None:
        odd["no-duration"] += 1
    elif duration < 0:
        odd["negative"] += 1
    # A decimal stands as `Decimals`; a plain str was quoted in the file.
    odd["text-time"] += type(item.get("ts")) is str or type(item.get("dur")) is str
    args = item.get("args")
    return _Event(
        _text(item.get("name")), item["cat"], start_ns, duration,
        _int(item.get("pid")), _int(item.get("tid")), args if isinstance(args, dict) else {},
    )  # fmt: skip


def _duplicates(kernels: Sequence[_Event]) -> int:
    seen = Counter((k.name, k.start_ns, k.duration_ns, k.thread_id, _int(k.args.get("correlation"))) for k in kernels)
    return sum(count - 1 for count in seen.values())


@dataclass(frozen=True)
class _Operators:
    """The operators, their nesting per thread, and where each External id is."""

    events: list[_Event]
    threads: dict[tuple[int | None, int | None], tuple[list[int], Nesting]]
    by_id: dict[int, _Event]

    @classmethod
    def of(cls, events: list[_Event], resolution_ns: int) -> _Operators:
        members: dict[tuple[int | None, int | None], list[int]] = defaultdict(list)
        for index, event in enumerate(events):
            members[event.process_id, event.thread_id].append(index)
        threads = {
            key: (indices, nest([(events[i].start_ns, events[i].end_ns) for i in indices], resolution_ns))
            for key, indices in members.items()
        }
        by_id = {number: e for e in events if (number := _int(e.args.get("External id"))) is not None}
        return cls(events, threads, by_id)

    def launching(self, event: _Event, call: _Event | None) -> int | None:
        """Return the External id of the operator that launched `event` through `call`, None for none.

        Some releases wrote the correlation id under "External id": a number counts only where its operator was open
        during the call; else the innermost open operator of the call's thread is taken.
        """
        number = _int(event.args.get("External id"))
        named = None if number is None else self.by_id.get(number)
        if call is None:
            return number if named else None
        if named and named.thread_id == call.thread_id and named.start_ns <= call.start_ns <= named.end_ns:
            return number
        indices, nesting = self.threads.get((call.process_id, call.thread_id), ([], None))
        inner = nesting.innermost(call.start_ns) if nesting else -1
        return _int(self.events[indices[inner]].args.get("External id")) if inner >= 0 else None


def _kernel_launches(events: _Events) -> Columns:
    columns = _empty("kernel_launches")
    for event in events.by_table["kernel_launches"]:
        args = event.args
        row = _gpu_row(event, events) | {
            "kernel_name": event.name,
            "registers_per_thread": _int(args.get("registers per thread"), 32),
            "shared_memory_bytes": _int(args.get("shared memory"), 32),
            "graph_node_id": _int(args.get("graph node id")) or None,
            "graph_id": _int(args.get("graph id")) or None,
            "external_id": events.operators.launching(event, events.call_of(event)),
        }
        for name in ("grid", "block", "cluster"):
            row |= {f"{name}_{axis}": value for axis, value in zip("xyz", _xyz(args.get(name)), strict=True)}
        _append(columns, row)
    return columns


def _gpu_row(event: _Event, events: _Events) -> dict[str, Any]:
    call = events.call_of(event)
    return {
        "start_ns": event.start_ns,
        "duration_ns": event.duration_ns,
        "device_id": _int(event.args.get("device"), 32),
        "context_id": _int(event.args.get("context"), 32),
        "stream_id": _int(event.args.get("stream"), 32),
        # In the file a kernel's "pid" is the number of its GPU.
        "process_id": call.process_id if call else None,
        "correlation_id": _int(event.args.get("correlation")),
    }


def _memory_operations(events: _Events) -> Columns:
    columns = _empty("memory_operations")
    for event in events.by_table["memory_operations"]:
        operation, source, destination = _memory_words(event.name)
        row = _gpu_row(event, events) | {
            "operation": operation,
            "moved_bytes": _int(event.args.get("bytes")),
            "source_kind": source,
            "destination_kind": destination,
            "graph_node_id": _int(event.args.get("graph node id")) or None,
        }
        _append(columns, row)
    return columns


def _memory_words(name: str) -> tuple[str, str | None, str | None]:
    """Return operation, source and destination in nsys's words, so that tools can be compared."""
    if match := _MEMCPY.fullmatch(name):
        ends = [_DIRECTIONS.get(match[i], match[i]) for i in (1, 2)]
        return f"[CUDA memcpy {ends[0]}-to-{ends[1]}]", match[3].lower(), match[4].lower()
    if match := _MEMSET.fullmatch(name):
        return "[CUDA memset]", None, match[1].lower()
    return name, None, None


def _cuda_api_calls(events: _Events) -> Columns:
    columns = _empty("cuda_api_calls")
    for event in events.by_table["cuda_api_calls"]:
        row = _cpu_row(event) | {
            "name": event.name,
            "api": event.category.removeprefix("cuda_"),
            "correlation_id": _int(event.args.get("correlation")),
        }
        _append(columns, row)
    return columns


def _cpu_row(event: _Event) -> dict[str, Any]:
    return {
        "start_ns": event.start_ns,
        "duration_ns": event.duration_ns,
        "process_id": event.process_id,
        "thread_id": event.thread_id,
    }


def _nvtx_ranges(events: _Events) -> Columns:
    columns = _empty("nvtx_ranges")
    for event in events.by_table["nvtx_ranges"]:
        _append(
            columns,
            _cpu_row(event) | {"name": event.name, "domain": "torch.profiler", "kind": "user_annotation"},
        )
    return columns


def _cpu_operators(events: _Events) -> Columns:
    columns = _empty("cpu_operators")
    for indices, nesting in events.operators.threads.values():
        for place, index in enumerate(indices):
            event = events.operators.events[index]
            args = event.args
            row = _cpu_row(event) | {
                "operator_name": event.name,
                "self_ns": nesting.self_ns[place] if event.duration_ns is not None else None,
                "external_id": _int(args.get("External id")),
                "sequence_number": _int(args.get("Sequence number")),
                "input_shapes": _json(args.get("Input Dims")),
                "input_dtypes": _json(args.get("Input type")),
                "input_strides": _json(args.get("Input Strides")),
                "input_values": _json(args.get("Concrete Inputs")),
                "depth": nesting.depths[place],
                "is_leaf": nesting.leaves[place],
            }
            _append(columns, row)
    return columns


_BUILDERS = {
    "kernel_launches": _kernel_launches,
    "cuda_api_calls": _cuda_api_calls,
    "memory_operations": _memory_operations,
    "nvtx_ranges": _nvtx_ranges,
    "cpu_operators": _cpu_operators,
}


def _gpus(devices: Any) -> Columns:
    columns = _empty("gpus")
    for device in devices if isinstance(devices, list) else ():
        if not isinstance(device, dict) or (number := _int(device.get("id"), 32)) is None:
            continue
        major, minor = _int(device.get("computeMajor")), _int(device.get("computeMinor"))
        row = {
            "device_id": number,
            "gpu_name": _text(device.get("name")) or None,
            "compute_capability": None if major is None or minor is None else f"{major}.{minor}",
            "sm_count": _int(device.get("numSms"), 32),
            "memory_bytes": _int(device.get("totalGlobalMem")),
        }
        _append(columns, row)
    return columns


def _facts(trace: Mapping[str, Any], events: _Events, gpus: Columns) -> dict[str, str]:
    used = {_int(kernel.args.get("device")) for kernel in events.by_table["kernel_launches"]}
    facts: dict[str, str | None] = {
        "torch_version": _version(trace),
        "cuda_version": _cuda_version(_int(trace.get("cuda_runtime_version"))) if used else None,
    }
    for name in ("gpu_name", "compute_capability"):
        values = {value for device, value in zip(gpus["device_id"], gpus[name], strict=True) if device in used}
        facts[name] = values.pop() if len(values) == 1 else None
    return {name: value for name, value in facts.items() if value}


def _version(trace: Mapping[str, Any]) -> str | None:
    # Only a trace that nsightkit's own runner made states it.
    version = trace.get("torch_version")
    return _text(version) if isinstance(version, str) and version else None


def _cuda_version(number: int | None) -> str | None:
    # Source: CUDA_VERSION is 1000 × major + 10 × minor.
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def _rank(trace: Mapping[str, Any]) -> int | None:
    ranks = trace.get("distributedInfo")
    return _int(ranks.get("rank")) if isinstance(ranks, dict) else None


def _scope(trace: Mapping[str, Any], events: _Events) -> str:
    kernels = len(events.by_table["kernel_launches"])
    parts = [f"the whole trace of torch.profiler: {kernels} kernel launches, "
             f"{len(events.by_table['cpu_operators'])} operator calls"]  # fmt: skip
    ranks = trace.get("distributedInfo")
    if isinstance(ranks, dict) and _int(ranks.get("rank")) is not None:
        world = _int(ranks.get("world_size"))
        parts.append(f"rank {_int(ranks.get('rank'))}" + (f" of {world}" if world else ""))
    return ", ".join([*parts, "times from its first event"])


def _empty(table: str) -> Columns:
    return {name: [] for name in TABLES[table].column_names if name != "capture_id"}


def _append(columns: Columns, row: Mapping[str, Any]) -> None:
    for name, values in columns.items():
        values.append(row.get(name))


def _int(value: Any, bits: int = 64) -> int | None:
    """Return a whole number that fits `bits`, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else None


def _xyz(value: Any) -> tuple[int | None, int | None, int | None]:
    if not isinstance(value, list) or len(value) != 3:
        return None, None, None
    x, y, z = (_int(item, 32) for item in value)
    return x, y, z


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    # JSON may hold half a surrogate pair, which no UTF-8 can.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
