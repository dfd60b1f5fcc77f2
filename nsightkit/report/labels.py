"""Words for counters and for verdicts.

In: canonical metric names and classified kernels. Out: labels, units and one sentence a kernel: verdict first, then
the number that decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from nsightkit.analysis.results import ClassifiedKernel
from nsightkit.report import format as fmt
from nsightkit.report.context import BOUND_WORDS
from nsightkit.tables import unit_of

LABELS = {
    "sm_throughput_pct": "SM throughput",
    "dram_throughput_pct": "DRAM throughput",
    "memory_throughput_pct": "Memory throughput",
    "l1_throughput_pct": "L1 throughput",
    "l2_throughput_pct": "L2 throughput",
    "l1_hit_rate_pct": "L1 hit rate",
    "l2_hit_rate_pct": "L2 hit rate",
    "achieved_occupancy_pct": "Achieved occupancy",
    "theoretical_occupancy_pct": "Theoretical occupancy",
    "memory_busy_pct": "Memory busy",
    "max_bandwidth_pct": "Max bandwidth",
    "tensor_pipe_pct": "Tensor pipe active",
    "duration_ns": "Duration",
    "sm_elapsed_cycles": "SM cycles",
    "sm_clock_hz": "SM clock",
    "dram_clock_hz": "DRAM clock",
    "dram_bytes": "DRAM traffic",
    "dram_read_bytes": "DRAM read",
    "dram_write_bytes": "DRAM written",
    "dram_bytes_per_s": "DRAM rate",
    "l2_bytes": "Returned by L2",
    "l1_bytes": "Returned by L1",
    "waves_per_sm": "Waves per SM",
    "registers_per_thread": "Registers per thread",
    "dynamic_shared_memory_bytes": "Dynamic shared memory",
    "static_shared_memory_bytes": "Static shared memory",
    "peak_dram_bytes_per_s": "DRAM roof",
}
# So many metrics are named in a sentence.
_FEW = 4
# Inputs of a verdict that are no counters.
_INPUTS = {"flop": "work", "compute_ns": "time at the compute roof", "memory_ns": "time at the DRAM roof"}
_SUFFIXES = ("_flop_per_byte", "_flop_per_s", "_op_per_s", "_bytes_per_s", "_bytes", "_flop", "_op", "_pct", "_ns",
             "_hz", "_cycles", "_share")  # fmt: skip
_WORDS = {"fp64": "FP64", "fp32": "FP32", "fp16": "FP16", "bf16": "BF16", "tf32": "TF32", "fp8": "FP8", "fp4": "FP4",
          "int8": "INT8", "dram": "DRAM", "sm": "SM", "l1": "L1", "l2": "L2", "nvtx": "NVTX",
          "fma": "FMA", "alu": "ALU", "xu": "XU", "lsu": "LSU"}  # fmt: skip


def metric_unit(name: str) -> str:
    """Return the unit of a canonical metric or of an input of a verdict."""
    counted = name == "registers_per_thread" or name.startswith("blocks_by_")
    return "count" if counted else unit_of(f"_{name}")


def metric_label(name: str) -> str:
    """Return words for a canonical metric or for an input of a verdict.

    >>> metric_label("tensor_bf16_flop"), metric_label("ridge_flop_per_byte"), metric_label("peak_fp32_flop_per_s")
    ('Tensor BF16 work', 'Ridge', 'FP32 roof')
    """
    if name in LABELS:
        return LABELS[name]
    if name == "flop_per_byte":
        return "Arithmetic intensity"
    if name.startswith("peak_") and name.endswith("_per_s"):
        return f"{_spoken(name.removeprefix('peak_').rsplit('_per_s')[0].rsplit('_', 1)[0])} roof"
    stem = next((name.removesuffix(s) for s in _SUFFIXES if name.endswith(s) and name != s[1:]), name)
    return _spoken(stem) + (" work" if name.endswith(("_flop", "_op")) else "")


def _spoken(stem: str) -> str:
    words = [_WORDS.get(word, word) for word in stem.split("_")]
    return " ".join([words[0] if words[0] in _WORDS.values() else words[0].capitalize(), *words[1:]])


def metric_text(name: str, value: float | None) -> str:
    """Return "label value" for a sentence.

    >>> metric_text("duration_ns", 1500.0), metric_text("sm_throughput_pct", 36.21)
    ('duration 1.50 µs', 'SM throughput 36.21 %')
    """
    label = _INPUTS.get(name) or metric_label(name)
    label = label if label[:2].isupper() or label[1:2].isdigit() else label[0].lower() + label[1:]
    return f"{label} {fmt.with_unit(value, metric_unit(name))}"


def few_labels(metrics: Sequence[str]) -> str:
    """Return the first metrics in words, and how many more there are.

    >>> few_labels(("sm_throughput_pct", "dram_bytes"))
    'SM throughput, DRAM traffic'
    """
    words = [metric_label(name) for name in metrics]
    return (
        ", ".join(words) if len(words) <= _FEW else f"{', '.join(words[: _FEW - 1])} and {len(words) - _FEW + 1} more"
    )


def sentence(kernel: ClassifiedKernel) -> str:
    """Return the verdict of one kernel: the bound, then the number that decides."""
    bound = kernel.verdict.bound
    word = BOUND_WORDS.get(bound, bound.lower()).capitalize()
    if bound == "UNKNOWN":
        return f"Bound unknown: {_why_unknown(kernel)}."
    return f"{word}{_deciding(kernel)}."


def _why_unknown(kernel: ClassifiedKernel) -> str:
    if kernel.failed_count and kernel.failed_count >= kernel.launch_count:
        return "the profiler could not measure it"
    if kernel.verdict.flags:
        return "; ".join(kernel.verdict.flags)
    missing = few_labels(kernel.verdict.missing)
    return f"{missing} not collected" if missing else "the inputs of the rule are missing"


def _deciding(kernel: ClassifiedKernel) -> str:
    point, counters, bound = kernel.point, kernel.counters, kernel.verdict.bound
    if kernel.verdict.rule == "roofline" and point is not None and point.duration_ns > 0:
        if bound == "MEMORY":
            achieved = point.moved_bytes / point.duration_ns * 1e9
            return f": moves {_of(achieved, point.peak_bytes_per_s, 'byte/s')} through DRAM"
        if bound == "COMPUTE":
            return f": computes {_of(point.flop_per_s, point.peak_flop_per_s, 'flop/s')} ({point.precision})"
    names = (
        "sm_throughput_pct",
        "dram_throughput_pct" if kernel.verdict.rule == "sol-gap" else "memory_throughput_pct",
    )
    known = [metric_text(name, counters[name]) for name in names if counters.get(name) is not None]
    return f": {', '.join(known)} of peak" if known else ""


def _of(value: float, peak: float, unit: str) -> str:
    whole = fmt.with_unit(peak, unit)
    part = f" ({fmt.share(value / peak)})" if peak > 0 else ""
    return f"{fmt.with_unit(value, unit)} of {whole}{part}"
