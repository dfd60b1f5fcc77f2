"""Every table that nsightkit knows, declared as data.

In: nothing. Out: `TABLES`, a mapping from name to `Table`; `docs/tables.md` and the metadata of each parquet
file are made from it. Units are part of the column name (`_ns`, `_bytes`, `_pct`, …); see `UNIT_OF_SUFFIX`.
"""

from nsightkit.tables.counters import (
    COUNTER_COLUMNS,
    COUNTER_TARGETS,
    KERNEL_COUNTERS,
    METRIC_VALUES,
    RULE_RESULTS,
    WARP_STALLS,
)
from nsightkit.tables.kept import COUNTER_MEANS, KERNEL_SUCCESSIONS, KERNEL_SUMS, RESULTS
from nsightkit.tables.schema import SCHEMA_VERSION, UNIT_OF_SUFFIX, Column, Table, unit_of
from nsightkit.tables.timeline import (
    CPU_OPERATORS,
    CUDA_API_CALLS,
    DEVICE_MEMORY,
    DIAGNOSTICS,
    GPU_METRIC_SAMPLES,
    GPU_WORK,
    GPUS,
    GRAPH_LAUNCHES,
    KERNEL_LAUNCHES,
    MEMORY_OPERATIONS,
    NVTX_RANGES,
    REPORTED_SUMS,
)

__all__ = [
    "COUNTER_COLUMNS", "COUNTER_MEANS", "COUNTER_TARGETS", "CPU_OPERATORS", "CUDA_API_CALLS", "DEVICE_MEMORY",
    "DIAGNOSTICS", "GPUS", "GPU_METRIC_SAMPLES", "GPU_WORK", "GRAPH_LAUNCHES", "KERNEL_COUNTERS", "KERNEL_LAUNCHES",
    "KERNEL_SUCCESSIONS", "KERNEL_SUMS", "MEMORY_OPERATIONS", "METRIC_VALUES", "NVTX_RANGES", "REPORTED_SUMS",
    "RESULTS", "RULE_RESULTS", "SCHEMA_VERSION", "TABLES", "UNIT_OF_SUFFIX", "WARP_STALLS", "Column", "Table",
    "unit_of",
]  # fmt: skip

TABLES = {table.name: table for table in (
    KERNEL_LAUNCHES, CUDA_API_CALLS, MEMORY_OPERATIONS, GRAPH_LAUNCHES, NVTX_RANGES, CPU_OPERATORS, GPUS, DIAGNOSTICS,
    REPORTED_SUMS, KERNEL_COUNTERS, METRIC_VALUES, WARP_STALLS, RULE_RESULTS, KERNEL_SUMS,
    KERNEL_SUCCESSIONS, COUNTER_MEANS, COUNTER_TARGETS, RESULTS, GPU_METRIC_SAMPLES,
    DEVICE_MEMORY,
)}  # fmt: skip
