"""What every form of nsys export becomes: tables, facts, and notes on what is missing and why.

In: an `Export` and which tables are wanted. Out: `CaptureData`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nsightkit.errors import IngestError
from nsightkit.ingest import nsys_schema as nsys
from nsightkit.ingest.nsys_devices import NOTE, DeviceNumbers, device_numbers
from nsightkit.ingest.nsys_gpu_metrics import sample_stream
from nsightkit.ingest.nsys_memory import device_memory
from nsightkit.ingest.nsys_nvtx import range_stream
from nsightkit.ingest.nsys_tables import (
    Export,
    Stream,
    api_recipes,
    copy_recipes,
    fill_recipes,
    graph_recipes,
    kernel_recipes,
    together,
)
from nsightkit.ingest.reader import CaptureData, Wanted, wanted_columns, wants

if TYPE_CHECKING:
    import pyarrow as pa

    from nsightkit.parquet import TableData

BACKEND = "nsys"


def capture_data(export: Export, wanted: Wanted) -> CaptureData:
    """Return the capture in `export`; large tables are streams that read from it.

    Raises:
        IngestError: the export is no nsys export, or of an unknown schema.
    """
    if not any(export.columns(table) for table in nsys.KNOWN_TABLES):
        raise IngestError(
            f"{export.path}: a database of something else: it has none of the tables of an nsys export, such as "
            f"{nsys.STRINGS}; name a file that 'nsys export --type sqlite' wrote",
            slug="no-nsys-export",
        )
    gpus, devices = _gpus(export), device_numbers(export)
    tables: dict[str, TableData] = {**_large_tables(export, wanted, devices)}
    if wants(wanted, "gpus") and gpus["device_id"]:
        tables["gpus"] = gpus
    memory = device_memory(export, devices) if wants(wanted, "device_memory") else {}
    if memory.get("time_ns"):
        tables["device_memory"] = memory
    diagnostics = _diagnostics(export) if wants(wanted, "diagnostics") else {}
    if diagnostics.get("text"):
        tables["diagnostics"] = diagnostics
    return CaptureData(
        BACKEND, tables, tool_version=_tool_version(export), scope=_scope(export), facts=_facts(export, gpus),
        notes=(*_notes(export), *_lost(diagnostics), *([NOTE] if devices else [])),
    )  # fmt: skip


def _large_tables(export: Export, wanted: Wanted, devices: DeviceNumbers | None) -> dict[str, Iterable[pa.RecordBatch]]:
    def stream(ours: str, theirs: str, recipes: Any) -> Stream:
        return Stream(ours, theirs, devices.recipes(recipes) if devices else recipes, wanted_columns(wanted, ours))

    parts = [
        stream("kernel_launches", nsys.KERNEL, kernel_recipes),
        stream("cuda_api_calls", nsys.RUNTIME, api_recipes),
        stream("memory_operations", nsys.MEMCPY, copy_recipes),
        stream("memory_operations", nsys.MEMSET, fill_recipes),
        stream("graph_launches", nsys.GRAPH_TRACE, graph_recipes),
    ]
    if wants(wanted, "nvtx_ranges") and export.has_rows(nsys.NVTX):
        parts.append(range_stream(export, wanted_columns(wanted, "nvtx_ranges")))
    if wants(wanted, "gpu_metric_samples") and export.has_rows(nsys.GPU_METRICS):
        parts.append(sample_stream(export, wanted_columns(wanted, "gpu_metric_samples")))
    grouped: dict[str, list[Stream]] = {}
    for part in parts:
        if wants(wanted, part.ours) and export.has_rows(part.theirs):
            grouped.setdefault(part.ours, []).append(part)
    return {ours: together(streams, export) for ours, streams in grouped.items()}


def _gpus(export: Export) -> dict[str, list[Any]]:
    names = ("id", "name", "computeMajor", "computeMinor", "smCount", "clockRate", "memoryBandwidth", "totalMemory",
             "l2CacheSize")  # fmt: skip
    rows = [row for row in export.rows(nsys.GPU, names) if row["id"] is not None and row["smCount"] != 0]
    # Display adapters that run no CUDA are listed with no multiprocessors.
    return {
        "device_id": [row["id"] for row in rows],
        "gpu_name": [row["name"] for row in rows],
        "compute_capability": [_capability(row) for row in rows],
        "sm_count": [row["smCount"] for row in rows],
        "max_clock_hz": [_real(row["clockRate"]) for row in rows],
        "memory_bytes_per_s": [_real(row["memoryBandwidth"]) for row in rows],
        "memory_bytes": [row["totalMemory"] or None for row in rows],
        "l2_bytes": [row["l2CacheSize"] or None for row in rows],
    }


def _capability(row: dict[str, Any]) -> str | None:
    return f"{row['computeMajor']}.{row['computeMinor'] or 0}" if row["computeMajor"] else None


def _real(value: int | None) -> float | None:
    return float(value) if value else None


def _diagnostics(export: Export) -> dict[str, list[Any]]:
    rows = [
        row
        for row in export.rows(nsys.DIAGNOSTICS, ("severity", "text", "source"))
        if row["severity"] in nsys.SEVERITIES and row["text"] is not None
    ]
    return {
        "severity": [nsys.SEVERITIES[row["severity"]] for row in rows],
        "text": [row["text"] for row in rows],
        "source": [nsys.DIAGNOSTIC_SOURCES.get(row["source"]) for row in rows],
    }


def _lost(diagnostics: dict[str, list[Any]]) -> list[str]:
    """Quote what nsys says of events that it missed: sums and counts are then of those that it has."""
    said = dict.fromkeys(" ".join(text.split()) for text in diagnostics.get("text", ()) if text.startswith("Not all "))
    return [f'events may be missing: nsys said "{text[:200]}"' for text in said]


def _tool_version(export: Export) -> str | None:
    for table in nsys.EXPORT_META:
        for row in export.rows(table, ("name", "value")):
            if row["name"] == "EXPORT_PRODUCT_VERSION" and row["value"]:
                return str(row["value"])
    return None


def _scope(export: Export) -> str:
    for table in nsys.STREAMS:
        processes = {row["processId"] for row in export.rows(table, ("processId",))} - {None}
        if processes:
            return f"whole capture, {len(processes)} CUDA process{'es' if len(processes) > 1 else ''}"
    return "whole capture"


# The environment table also holds every environment variable of the target: nothing else is taken from it.
_ENVIRONMENT = {"NvDriverVersion": "driver_version", "CudaDriverVersion": "cuda_version"}


def _facts(export: Export, gpus: dict[str, list[Any]]) -> dict[str, str]:
    facts = {}
    for key in ("gpu_name", "compute_capability"):
        values = set(gpus[key])
        if len(values) == 1 and (value := values.pop()) is not None:
            facts[key] = str(value)
    for row in export.rows(nsys.SYSTEM_ENV, ("name", "value")):
        if row["name"] in _ENVIRONMENT and row["value"] not in (None, "", "0"):
            facts[_ENVIRONMENT[row["name"]]] = _version(row["name"], str(row["value"]))
    starts = [row["utcEpochNs"] for row in export.rows(nsys.SESSION_START, ("utcEpochNs",)) if row["utcEpochNs"]]
    if starts:
        facts["created_utc"] = datetime.fromtimestamp(starts[0] / 1e9, UTC).isoformat(timespec="seconds")
    return facts


def _version(name: str, value: str) -> str:
    """Return a packed version in its usual form.

    >>> _version("NvDriverVersion", "52510517"), _version("CudaDriverVersion", "12090")
    ('525.105.17', '12.9')
    """
    if not value.isdigit():
        return value
    if name == "CudaDriverVersion":
        return f"{int(value) // 1000}.{int(value) % 1000 // 10}"
    return f"{value[:3]}.{value[3:-2]}.{value[-2:]}" if len(value) in (7, 8) else value


def _notes(export: Export) -> Iterator[str]:
    yield from export.notes
    graphs = _count(export, nsys.GRAPH_TRACE)
    hidden = (
        f"kernels inside CUDA graphs are hidden: {graphs} graph launches were traced as a whole; "
        "capture with --cuda-graph-trace=node to see their kernels"
    )
    if export.has_rows(nsys.KERNEL):
        if graphs:
            yield hidden
    elif graphs:
        yield f"no kernel rows: {hidden}"
    elif export.has_rows(nsys.RUNTIME):
        yield (
            "no kernel rows, though CUDA calls were traced: the GPU's records are missing (no permission, WSL2, or the "
            "program was killed before they were written)"
        )
    else:
        yield "no kernel rows: CUDA was not traced, or the program did not use it"


def _count(export: Export, table: str) -> int:
    return len(export.rows(table, ("start",)))
