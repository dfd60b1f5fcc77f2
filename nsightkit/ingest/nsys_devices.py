"""One number for each GPU where every process of an export counts its GPUs from 0.

In: an `Export`. Out: `DeviceNumbers`, or None where the numbers of all processes already mean the same GPUs.

A process under CUDA_VISIBLE_DEVICES sees its only GPU as device 0, so that the work of four ranks on four GPUs would
all be on device 0. TARGET_INFO_CUDA_DEVICE says which GPU a device of a process is; where two processes differ, the
GPU's own number stands for it. A device that is not listed keeps its number.

Source: columns gpuId, cudaId and pid of TARGET_INFO_CUDA_DEVICE. That deviceId is the number of the process follows
from two public exports in which cards are listed in reverse: device 0 holds the contexts of each process's default
device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nsightkit.ingest import nsys_schema as nsys
from nsightkit.ingest.nsys_tables import Export, Recipe, Texts, ints, narrow, nulls
from nsightkit.parquet import int64_array

if TYPE_CHECKING:
    import pyarrow as pa

Recipes = Callable[[frozenset[str]], Mapping[str, Recipe]]
NOTE = (
    "the processes count their GPUs each from 0 (CUDA_VISIBLE_DEVICES); GPUs have the numbers under which nsys lists "
    "them"
)
_SOURCES = ("deviceId", "globalPid")


@dataclass(frozen=True)
class DeviceNumbers:
    """(process number, its device) -> GPU."""

    gpu_of: Mapping[tuple[int, int], int]

    def of(self, device: int | None, process_key: int | None) -> int | None:
        """Return the GPU that is `device` of a process."""
        if device is None or process_key is None:
            return device
        return self.gpu_of.get((process_key >> 24 & 0xFFFFFF, device), device)

    def recipes(self, made: Recipes) -> Recipes:
        """Return recipes as `made`, but with GPUs for devices."""

        def mended(present: frozenset[str]) -> Mapping[str, Recipe]:
            found = made(present)
            if "device_id" not in found or not present.issuperset(_SOURCES):
                return found
            return {**found, "device_id": Recipe(_SOURCES, self._column)}

        return mended

    def _column(self, batch: pa.RecordBatch, texts: Texts) -> pa.Array:
        device, process = batch.column("deviceId"), ints(batch.column("globalPid")) >> 24 & 0xFFFFFF
        given = ints(device)
        gpu = given.copy()
        for (pid, mine), number in self.gpu_of.items():
            gpu[(process == pid) & (given == mine)] = number
        return narrow(int64_array(np.asarray(gpu), nulls(device)))


def device_numbers(export: Export) -> DeviceNumbers | None:
    """Return the GPU of each device of each process, None where one device number never means two GPUs."""
    if not export.has_rows(nsys.CUDA_DEVICE):
        return None
    rows = [row for row in export.rows(nsys.CUDA_DEVICE, ("gpuId", "cudaId", "pid")) if None not in row.values()]
    gpu_of = {(row["pid"] & 0xFFFFFF, row["cudaId"]): row["gpuId"] for row in rows}
    meanings: dict[int, set[int]] = {}
    for (_, device), gpu in gpu_of.items():
        meanings.setdefault(device, set()).add(gpu)
    return DeviceNumbers(gpu_of) if any(len(gpus) > 1 for gpus in meanings.values()) else None
