"""What a GPU can do in the best case: the peak of each type of arithmetic and of DRAM.

In: the counters of a kernel and what its capture says of the GPU. Out: `Peak`, with its source in words. The profiler's
own peak at the clock of the launch comes first, then the data sheet at the observed clock, else None.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nsightkit.analysis.grouping import number
from nsightkit.gpus import GpuSpec, find_gpu

FROM_NCU = "ncu's peak at the clock of the launch"
# Compute capabilities whose tensor pipe executes FP64 (data center chips).
FP64_ON_TENSOR = (8.0, 9.0, 10.0, 10.3)

Counters = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Dtype:
    """One type of arithmetic: its columns, its pipe, and the compute capability that brought it."""

    name: str
    label: str
    work: str
    peak: str
    pipe: str
    since: float


def _dtype(name: str, label: str, pipe: str, since: float) -> Dtype:
    unit = "op" if name == "tensor_int8" else "flop"
    return Dtype(name, label, f"{name}_{unit}", f"peak_{name}_{unit}_per_s", pipe, since)


# Source: CUDA C++ Programming Guide, "Compute Capabilities", for the last column.
DTYPES = (
    _dtype("fp64", "FP64", "fp64", 0.0),
    _dtype("fp32", "FP32", "fma", 0.0),
    _dtype("fp16", "FP16", "fp16", 5.3),
    _dtype("tensor_fp64", "tensor FP64", "tensor", 8.0),
    _dtype("tensor_tf32", "tensor TF32", "tensor", 8.0),
    _dtype("tensor_bf16", "tensor BF16", "tensor", 8.0),
    _dtype("tensor_fp16", "tensor FP16", "tensor", 7.0),
    _dtype("tensor_fp8", "tensor FP8", "tensor", 8.9),
    _dtype("tensor_fp4", "tensor FP4", "tensor", 10.0),
    _dtype("tensor_int8", "tensor INT8", "tensor", 7.2),
)


@dataclass(frozen=True, slots=True)
class Level:
    """One level of memory: its columns. L2 and L1 are what ncu's hierarchical charts count, see metrics.toml."""

    name: str
    moved: str
    peak: str


DRAM = Level("DRAM", "dram_bytes", "peak_dram_bytes_per_s")
L2 = Level("L2", "l2_bytes", "peak_l2_bytes_per_s")
L1 = Level("L1", "l1_bytes", "peak_l1_bytes_per_s")
LEVELS = (DRAM, L2, L1)
# Chips that share DRAM with the CPU have no counters of their own for it (Orin, Thor, GB10).
# Source: the section files of ncu 2025.3.1 enable DRAM metrics for no such chip.
WITHOUT_DRAM_COUNTERS = (8.7, 11.0, 12.1)


@dataclass(frozen=True, slots=True)
class Gpu:
    """What a capture says of the GPU; None where it says nothing."""

    name: str | None = None
    compute_capability: str | None = None
    sm_count: int | None = None

    @property
    def version(self) -> float | None:
        """The compute capability as a number that sorts."""
        major, _, minor = (self.compute_capability or "").partition(".")
        return int(major) + int(minor) / 10 if major.isdigit() and minor.isdigit() else None


@dataclass(frozen=True, slots=True)
class Peak:
    """A peak per second: from `low` to `high` where the accumulate type decides and is not known."""

    low: float
    high: float
    source: str


def dtypes_of(gpu: Gpu) -> tuple[Dtype, ...]:
    """Return the types of arithmetic that the GPU has; all of them where its compute capability is not known."""
    version = gpu.version
    return tuple(dtype for dtype in DTYPES if version is None or dtype.since <= version)


def peak_of(dtype: Dtype, counters: Counters, gpu: Gpu) -> Peak | None:
    """Return the peak of `dtype` in flop/s or op/s, None where it is not known."""
    measured = number(counters.get(dtype.peak))
    if measured:
        return Peak(measured, measured, FROM_NCU)
    spec = find_gpu(gpu.name, gpu.sm_count)
    name = dtype.peak.removeprefix("peak_")
    low = spec.value(name) if spec else None
    if spec is None or low is None:
        return None
    high = spec.value(name.replace("_flop", "_acc16_flop")) or low
    factor, source = _clock_factor(dtype, counters, spec)
    return Peak(low * factor, max(low, high) * factor, source)


def _clock_factor(dtype: Dtype, counters: Counters, spec: GpuSpec) -> tuple[float, str]:
    """Return observed clock ÷ the clock that the data sheet's figure holds at, with the source in words."""
    observed = number(counters.get("sm_clock_hz"))
    sheet = spec.value("boost_clock_hz")
    if dtype.pipe == "tensor":
        sheet = spec.value("tensor_clock_hz") or sheet
    if not observed or not sheet:
        return 1.0, f"data sheet ({spec.key}) at its boost clock"
    return observed / sheet, f"data sheet ({spec.key}) at the clock of the launch"


def bandwidth_of(counters: Counters, gpu: Gpu, level: Level = DRAM) -> Peak | None:
    """Return the bandwidth of `level` in byte/s, None where it is not known; data sheets state it for DRAM only."""
    measured = number(counters.get(level.peak))
    if measured:
        return Peak(measured, measured, FROM_NCU)
    spec = find_gpu(gpu.name, gpu.sm_count)
    stated = spec.value("dram_bytes_per_s") if spec and level is DRAM else None
    return Peak(stated, stated, f"data sheet ({spec.key})") if spec and stated else None


def first_level(gpu: Gpu) -> Level:
    """Return the level that judges a kernel: DRAM, or L2 where the chip has no DRAM counters."""
    return L2 if gpu.version in WITHOUT_DRAM_COUNTERS else DRAM
