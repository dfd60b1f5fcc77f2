"""Allocations of device memory in a trace of torch.profiler (``profile_memory=True``) as our table.

In: the events of a trace. Out: the columns of `device_memory`, with the totals of PyTorch's caching allocator.

Source: PyTorch writes an instant event "[memory]" for each; device type 1 is CUDA (c10/core/DeviceType.h), and the
totals are those of the device after the event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nsightkit.ingest.chrome_trace import nanoseconds
from nsightkit.tables import TABLES

MEMORY_EVENT, _CUDA = "[memory]", 1
_TOTALS = {"allocated_bytes": "Total Allocated", "reserved_bytes": "Total Reserved"}


def device_memory(rows: Iterable[Mapping[str, int]]) -> dict[str, list[Any]]:
    """Return `rows` of `memory_row` as columns."""
    columns: dict[str, list[Any]] = {name: [] for name in TABLES["device_memory"].column_names[1:]}
    for row in rows:
        for name, values in columns.items():
            values.append(row.get(name))
    return columns


def memory_row(event: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the row of an event "[memory]": an allocation or release on a GPU, at its time in the file."""
    args, moment = event.get("args"), nanoseconds(event.get("ts"))
    if moment is None or not isinstance(args, dict) or args.get("Device Type") != _CUDA:
        return None
    changed = args.get("Bytes")
    if not _is_count(changed):
        return None
    totals = {ours: args[theirs] for ours, theirs in _TOTALS.items() if _is_count(args.get(theirs))}
    places = {"device_id": args.get("Device Id"), "process_id": event.get("pid")}
    known = {name: place for name, place in places.items() if _is_count(place)}
    return {"time_ns": moment, "changed_bytes": changed, **known, **totals}


def _is_count(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**62
