"""Reads a trace of torch.profiler: kernels, copies, CUDA calls, operators with their shapes, annotations.

In: a Chrome trace (JSON, plain or gzip). Out: `CaptureData`; a kernel carries the operator that launched it, joined by
the correlation id of its launching call. Times count from the first event of the trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nsightkit.errors import IngestError
from nsightkit.ingest.reader import CaptureData, Wanted, wants
from nsightkit.ingest.torch_events import Event, Events, integer, text
from nsightkit.ingest.torch_memory import device_memory
from nsightkit.ingest.trace_stream import stream_trace
from nsightkit.tables import TABLES

BACKEND = "torch"

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
    trace, events = _load(paths[0])
    if not any(events.by_table.values()):
        raise IngestError(
            f"{paths[0]}: a trace, but without events of torch.profiler (kernel, cpu_op, cuda_runtime, …); "
            "export it with torch.profiler's export_chrome_trace",
            slug="no-torch-events",
        )
    tables = {name: build(events) for name, build in _BUILDERS.items() if wants(wanted, name)}
    tables["gpus"] = _gpus(trace.get("deviceProperties"))
    if wants(wanted, "device_memory"):
        tables["device_memory"] = device_memory(events.memory)
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


def _load(path: Path) -> tuple[dict[str, Any], Events]:
    lists: list[Events] = []

    def restart() -> Callable[[Any], None]:
        lists.append(Events())
        return lists[-1].take

    trace = stream_trace(path, restart)
    lists[-1].finish()
    return trace, lists[-1]


def _kernel_launches(events: Events) -> Columns:
    kernels = events.by_table["kernel_launches"]
    columns = _gpu_columns(kernels, events)
    names = ("registers_per_thread", "shared_memory_bytes",
             *(f"{name}_{axis}" for name in ("grid", "block", "cluster") for axis in "xyz"))  # fmt: skip
    for place, name in enumerate(names, start=6):
        columns[name] = [kernel.details[place] for kernel in kernels]
    columns["kernel_name"] = [kernel.name for kernel in kernels]
    columns["graph_id"] = [kernel.details[4] for kernel in kernels]
    launching, call_of = events.operators.launching, events.call_of
    columns["external_id"] = [launching(kernel, call_of(kernel)) for kernel in kernels]
    return _in_order("kernel_launches", columns)


def _gpu_columns(work: list[Event], events: Events) -> Columns:
    calls = [events.call_of(event) for event in work]
    names = ("device_id", "context_id", "stream_id", "graph_node_id")
    return {
        "start_ns": [event.start_ns for event in work],
        "duration_ns": [event.duration_ns for event in work],
        # In the file a kernel's "pid" is the number of its GPU.
        "process_id": [call.process_id if call else None for call in calls],
        "correlation_id": [event.correlation for event in work],
        **{name: [event.details[place] for event in work] for place, name in enumerate(names)},
    }


def _memory_operations(events: Events) -> Columns:
    work = events.by_table["memory_operations"]
    words = [_memory_words(event.name) for event in work]
    columns = _gpu_columns(work, events)
    for place, name in enumerate(("operation", "source_kind", "destination_kind")):
        columns[name] = [found[place] for found in words]
    columns["moved_bytes"] = [event.details[5] for event in work]
    return _in_order("memory_operations", columns)


def _memory_words(name: str) -> tuple[str, str | None, str | None]:
    """Return operation, source and destination in nsys's words, so that tools can be compared."""
    if match := _MEMCPY.fullmatch(name):
        ends = [_DIRECTIONS.get(match[i], match[i]) for i in (1, 2)]
        return f"[CUDA memcpy {ends[0]}-to-{ends[1]}]", match[3].lower(), match[4].lower()
    if match := _MEMSET.fullmatch(name):
        return "[CUDA memset]", None, match[1].lower()
    return name, None, None


def _cuda_api_calls(events: Events) -> Columns:
    calls = events.by_table["cuda_api_calls"]
    own: Columns = {
        "name": [call.name for call in calls],
        "api": [call.category.removeprefix("cuda_") for call in calls],
        "correlation_id": [call.correlation for call in calls],
    }
    return _in_order("cuda_api_calls", _cpu_columns(calls) | own)


def _cpu_columns(events: list[Event]) -> Columns:
    return {
        "start_ns": [event.start_ns for event in events],
        "duration_ns": [event.duration_ns for event in events],
        "process_id": [event.process_id for event in events],
        "thread_id": [event.thread_id for event in events],
    }


def _nvtx_ranges(events: Events) -> Columns:
    ranges = events.by_table["nvtx_ranges"]
    same = {"domain": ["torch.profiler"] * len(ranges), "kind": ["user_annotation"] * len(ranges)}
    return _in_order("nvtx_ranges", _cpu_columns(ranges) | {"name": [event.name for event in ranges]} | same)


def _cpu_operators(events: Events) -> Columns:
    operators = events.operators
    threads = operators.threads.values()
    rows = [operators.events[index] for indices, _ in threads for index in indices]
    own_ns = (time for _, nesting in threads for time in nesting.self_ns)
    columns = _cpu_columns(rows) | {
        "operator_name": [event.name for event in rows],
        "self_ns": [None if e.duration_ns is None else time for e, time in zip(rows, own_ns, strict=True)],
        "external_id": [event.external_id for event in rows],
        "sequence_number": [event.sequence for event in rows],
        "depth": [depth for _, nesting in threads for depth in nesting.depths],
        "is_leaf": [leaf for _, nesting in threads for leaf in nesting.leaves],
    }
    for place, name in enumerate(("input_shapes", "input_dtypes", "input_strides", "input_values")):
        columns[name] = [event.details[place] for event in rows]
    return _in_order("cpu_operators", columns)


def _in_order(table: str, columns: Columns) -> Columns:
    """Return the columns in the table's order, what no trace holds as null."""
    missing = [None] * len(columns["start_ns"])
    return {name: columns.get(name, missing) for name in _names(table)}


_BUILDERS = {
    "kernel_launches": _kernel_launches,
    "cuda_api_calls": _cuda_api_calls,
    "memory_operations": _memory_operations,
    "nvtx_ranges": _nvtx_ranges,
    "cpu_operators": _cpu_operators,
}


def _gpus(devices: Any) -> Columns:
    columns: Columns = {name: [] for name in _names("gpus")}
    for device in devices if isinstance(devices, list) else ():
        if not isinstance(device, dict) or (number := integer(device.get("id"), 32)) is None:
            continue
        major, minor = integer(device.get("computeMajor")), integer(device.get("computeMinor"))
        row = {
            "device_id": number,
            "gpu_name": text(device.get("name")) or None,
            "compute_capability": None if major is None or minor is None else f"{major}.{minor}",
            "sm_count": integer(device.get("numSms"), 32),
            "memory_bytes": integer(device.get("totalGlobalMem")),
        }
        for name, values in columns.items():
            values.append(row.get(name))
    return columns


def _facts(trace: Mapping[str, Any], events: Events, gpus: Columns) -> dict[str, str]:
    used = {kernel.details[0] for kernel in events.by_table["kernel_launches"]}
    facts: dict[str, str | None] = {
        "torch_version": _version(trace),
        "cuda_version": _cuda_version(integer(trace.get("cuda_runtime_version"))) if used else None,
    }
    for name in ("gpu_name", "compute_capability"):
        values = {value for device, value in zip(gpus["device_id"], gpus[name], strict=True) if device in used}
        facts[name] = values.pop() if len(values) == 1 else None
    return {name: value for name, value in facts.items() if value}


def _version(trace: Mapping[str, Any]) -> str | None:
    # Only a trace that nsightkit's own runner made states it.
    version = trace.get("torch_version")
    return text(version) if isinstance(version, str) and version else None


def _cuda_version(number: int | None) -> str | None:
    # Source: CUDA_VERSION is 1000 × major + 10 × minor.
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def _rank(trace: Mapping[str, Any]) -> int | None:
    ranks = trace.get("distributedInfo")
    return integer(ranks.get("rank")) if isinstance(ranks, dict) else None


def _scope(trace: Mapping[str, Any], events: Events) -> str:
    kernels = len(events.by_table["kernel_launches"])
    parts = [f"the whole trace of torch.profiler: {kernels} kernel launches, "
             f"{len(events.by_table['cpu_operators'])} operator calls"]  # fmt: skip
    ranks = trace.get("distributedInfo")
    if isinstance(ranks, dict) and integer(ranks.get("rank")) is not None:
        world = integer(ranks.get("world_size"))
        parts.append(f"rank {integer(ranks.get('rank'))}" + (f" of {world}" if world else ""))
    return ", ".join([*parts, "times from its first event"])


def _names(table: str) -> list[str]:
    return [name for name in TABLES[table].column_names if name != "capture_id"]
