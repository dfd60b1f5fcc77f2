"""Allocations of device memory (``nsys profile --cuda-memory-usage=true``) as our table.

In: an `Export`. Out: the columns of `device_memory`; no rows where they were not recorded.

Source: table CUDA_GPU_MEMORY_USAGE_EVENTS of nsys exports; ENUM_CUDA_DEV_MEM_EVENT_OPER has 0 for an allocation and 1
for a release, and ENUM_CUDA_MEM_KIND the kinds of memory.
"""

from __future__ import annotations

from typing import Any

from nsightkit.ingest import nsys_schema as nsys
from nsightkit.ingest.nsys_devices import DeviceNumbers
from nsightkit.ingest.nsys_tables import Export

_NAMES = ("start", "deviceId", "globalPid", "bytes", "memKind", "memoryOperationType")


def device_memory(export: Export, devices: DeviceNumbers | None = None) -> dict[str, list[Any]]:
    """Return one row an allocation or release, in the order of the export; `devices` tells GPUs of processes apart."""
    if not export.has_rows(nsys.MEMORY_USAGE):
        return {}
    rows = [row for row in export.rows(nsys.MEMORY_USAGE, _NAMES) if None not in (row["start"], row["bytes"])]
    return {
        "time_ns": [row["start"] for row in rows],
        "device_id": [devices.of(row["deviceId"], row["globalPid"]) if devices else row["deviceId"] for row in rows],
        "process_id": [row["globalPid"] for row in rows],
        "changed_bytes": [-row["bytes"] if row["memoryOperationType"] == nsys.MEMORY_RELEASE else row["bytes"]
                          for row in rows],
        "memory_kind": [nsys.MEMORY_KINDS.get(row["memKind"]) for row in rows],
    }  # fmt: skip
