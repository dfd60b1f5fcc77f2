"""Samples what a GPU does while a block runs: utilization, clocks, power and energy, by NVML.

In: the device of the work. Out: `GpuUse`, or the reason why there is none: no GPU, no `pynvml` (package nvidia-ml-py),
no driver. NVML counts the whole device, so other programs on it are in the numbers. Built against a stand-in:
*unverified on a GPU*.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# NVML refreshes its own figures every 20 to 170 ms, by generation; asking more often gives the same ones.
INTERVAL_S = 0.05


@dataclass(frozen=True)
class GpuUse:
    """Means over the samples of a block; None is what this GPU does not tell.

    `gpu_utilization_pct` is the share of time in which any kernel ran, as NVML defines it, not how full the GPU was.
    `energy_j` is the difference of the driver's energy counter, which starts with Volta.
    """

    sample_count: int
    gpu_utilization_pct: float | None
    sm_clock_hz: float | None
    memory_clock_hz: float | None
    power_w: float | None
    energy_j: float | None


class Watched:
    """What `gpu_use` found, once its block has ended: `use`, or the reason in `missing`."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.use: GpuUse | None = None
        self.missing: str | None = None


@contextmanager
def gpu_use(device: str) -> Iterator[Watched]:
    """Sample `device` while the block runs. The block runs all the same where nothing can be sampled."""
    watched = Watched()
    nvml, handle, watched.missing = _opened(device)
    if nvml is None:
        yield watched
        return
    sampler = _Sampler(nvml, handle)
    sampler.start()
    try:
        yield watched
    finally:
        watched.use = sampler.stop()
        nvml.nvmlShutdown()


def _opened(device: str) -> tuple[Any, Any, str | None]:
    if not device.startswith("cuda"):
        return None, None, "the work ran on a CPU; NVML knows NVIDIA's GPUs only"
    try:
        nvml = importlib.import_module("pynvml")
    except ModuleNotFoundError:
        return None, None, "pynvml is not installed: pip install nvidia-ml-py"
    try:
        nvml.nvmlInit()
        return nvml, _handle(nvml, device), None
    except nvml.NVMLError as error:
        return None, None, f"NVML: {error}"


def _handle(nvml: Any, device: str) -> Any:
    """Return NVML's handle of torch's `device`: by UUID, as CUDA_VISIBLE_DEVICES renumbers torch's devices only."""
    index = int(device.partition(":")[2] or 0)
    properties = sys.modules["torch"].cuda.get_device_properties(index)
    if (uuid := getattr(properties, "uuid", None)) is not None:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    return nvml.nvmlDeviceGetHandleByIndex(index)


class _Sampler:
    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nsightkit-nvml", daemon=True)
        self._samples: dict[str, list[float]] = {}
        self._count = 0

    def start(self) -> None:
        self._begin_mj = self._energy_mj()
        self._thread.start()

    def stop(self) -> GpuUse:
        self._ended.set()
        self._thread.join()
        # Also of a block that was shorter than the first sample.
        self._sample()
        begin, end = self._begin_mj, self._energy_mj()
        energy_j = (end - begin) / 1e3 if begin is not None and end is not None else None
        return GpuUse(
            sample_count=self._count,
            gpu_utilization_pct=self._mean("utilization"),
            sm_clock_hz=self._mean("sm"),
            memory_clock_hz=self._mean("memory"),
            power_w=self._mean("power"),
            energy_j=energy_j,
        )

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        nvml, handle = self._nvml, self._handle
        self._count += 1
        self._keep("utilization", lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        self._keep("sm", lambda: 1e6 * nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        self._keep("memory", lambda: 1e6 * nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))
        self._keep("power", lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3)

    def _keep(self, name: str, ask: Callable[[], float]) -> None:
        try:
            self._samples.setdefault(name, []).append(ask())
        except self._nvml.NVMLError:
            # What a GPU does not tell stays unknown.
            return

    def _mean(self, name: str) -> float | None:
        samples = self._samples.get(name)
        return statistics.fmean(samples) if samples else None

    def _energy_mj(self) -> float | None:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        except self._nvml.NVMLError:
            return None
