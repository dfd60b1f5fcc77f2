"""Every table that nsightkit knows, declared as data.

In: nothing. Out: `TABLES`, a mapping from name to `Table`; `docs/tables.md` and the metadata of each parquet
file are made from it. Units are part of the column name (`_ns`, `_bytes`, `_pct`, …); see `UNIT_OF_SUFFIX`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SCHEMA_VERSION = 1

# Longest suffix first: `_bytes_per_s` must win over `_s`.
UNIT_OF_SUFFIX = {
    "_flop_per_byte": "flop/byte",
    "_flop_per_s": "flop/s",
    "_op_per_s": "op/s",
    "_bytes_per_s": "byte/s",
    "_per_token_ns": "ns",
    "_flop": "flop",
    "_op": "op",
    "_bytes": "byte",
    "_hz": "Hz",
    "_ns": "ns",
    "_pct": "%",
    "_share": "1",
    "_cycles": "cycle",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `dtype` is string, name (a string that repeats), int32, int64, double or bool."""

    name: str
    dtype: str
    doc: str
    unit: str = ""
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what a row stands for, and its columns in order."""

    name: str
    row_meaning: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """Return the column called `name`; raises KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}")

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def unit_of(column_name: str) -> str:
    """Return the unit that the suffix of `column_name` promises, "" where it promises none."""
    return next((unit for suffix, unit in UNIT_OF_SUFFIX.items() if column_name.endswith(suffix)), "")


def _column(name: str, dtype: str, doc: str, nullable: bool = True) -> Column:
    return Column(name, dtype, doc, unit_of(name), nullable)


def _required(name: str, dtype: str, doc: str) -> Column:
    return _column(name, dtype, doc, nullable=False)


def _table(name: str, row_meaning: str, columns: Sequence[Column]) -> Table:
    capture = _required("capture_id", "name", "which capture of the run the row comes from")
    return Table(name, row_meaning, (capture, *columns))


def _xyz(prefix: str, doc: str) -> list[Column]:
    return [_column(f"{prefix}_{axis}", "int32", f"{doc}, {axis}") for axis in "xyz"]


_PLACE = [
    _column("device_id", "int32", "CUDA device as the profiler numbers it"),
    _column("context_id", "int32", "CUDA context"),
    _column("stream_id", "int32", "CUDA stream"),
]
_PROCESS = _column("process_id", "int64", "process key of the profiler (nsys: globalPid, all 64 bits)")
_THREAD = _column("thread_id", "int64", "thread key of the profiler (nsys: globalTid, all 64 bits)")
_START = _required("start_ns", "int64", "begin, counted from the start of the capture session")
_DURATION = _column("duration_ns", "int64", "how long it took; null where the end was not recorded")
_CORRELATION = _column("correlation_id", "int64", "joins work on the GPU with the call that launched it, per process")
_GEOMETRY = [*_xyz("grid", "thread blocks"), *_xyz("block", "threads per block")]

KERNEL_LAUNCHES = _table(
    "kernel_launches",
    "one execution of a kernel, as a timeline profiler saw it",
    [
        _required("kernel_name", "name", "full demangled name, as the profiler prints it"),
        _column("short_name", "name", "name without template arguments and parameters, where the profiler has it"),
        _START,
        _DURATION,
        *_PLACE,
        _PROCESS,
        _CORRELATION,
        *_GEOMETRY,
        *_xyz("cluster", "thread blocks per cluster"),
        _column("registers_per_thread", "int32", "registers per thread"),
        _column("static_shared_memory_bytes", "int32", "static shared memory per block"),
        _column("dynamic_shared_memory_bytes", "int32", "dynamic shared memory per block"),
        _column("shared_memory_bytes", "int32", "static and dynamic together, where only their sum is recorded"),
        _column("local_memory_per_thread_bytes", "int32", "local memory per thread"),
        _column("graph_node_id", "int64", "node of a CUDA graph; null outside graphs"),
        _column("graph_id", "int64", "CUDA graph; null outside graphs or where not recorded"),
        _column("external_id", "int64", "framework operator that launched it (torch.profiler: External id)"),
    ],
)

CUDA_API_CALLS = _table(
    "cuda_api_calls",
    "one call of the CUDA runtime or driver API on the CPU",
    [
        _required("name", "name", "function, with the version suffix that the profiler recorded"),
        _column("api", "name", "runtime or driver"),
        _START,
        _DURATION,
        _PROCESS,
        _THREAD,
        _CORRELATION,
        _column("return_value", "int32", "status that the call returned; 0 is success"),
    ],
)

MEMORY_OPERATIONS = _table(
    "memory_operations",
    "one copy or fill on the GPU",
    [
        _required("operation", "name", "what was done, in nsys's words, as [CUDA memcpy Host-to-Device]"),
        _START,
        _DURATION,
        _column("moved_bytes", "int64", "bytes copied or filled"),
        _column("source_kind", "name", "memory that was read: pageable, pinned, device, managed, …"),
        _column("destination_kind", "name", "memory that was written"),
        *_PLACE,
        _PROCESS,
        _CORRELATION,
        _column("graph_node_id", "int64", "node of a CUDA graph; null outside graphs"),
    ],
)

GRAPH_LAUNCHES = _table(
    "graph_launches",
    "one launch of a CUDA graph that was traced as a whole; the kernels in it are not in the capture",
    [
        _START,
        _DURATION,
        *_PLACE,
        _PROCESS,
        _CORRELATION,
        _column("graph_id", "int64", "CUDA graph, as the profiler numbers it"),
        _column("graph_exec_id", "int64", "executable graph, as the profiler numbers it"),
    ],
)

NVTX_RANGES = _table(
    "nvtx_ranges",
    "one named range or mark of the program",
    [
        _column("name", "name", "text of the range; null where a range has none"),
        _column("domain", "name", "NVTX domain; torch.profiler for its annotations; null for the default domain"),
        _required("kind", "name", "push_pop, start_end, mark or user_annotation"),
        _START,
        _DURATION,
        _PROCESS,
        _THREAD,
        _column("end_thread_id", "int64", "thread on which a start_end range ended, where it is another"),
        _column("category", "int32", "category number of the range"),
        _column("color", "int64", "ARGB color"),
        _column("payload", "double", "numeric payload"),
    ],
)

CPU_OPERATORS = _table(
    "cpu_operators",
    "one call of a framework operator on the CPU (torch.profiler)",
    [
        _required("operator_name", "name", "operator, as aten::addmm"),
        _START,
        _DURATION,
        _column("self_ns", "int64", "duration less that of the operators it called on the same thread"),
        _PROCESS,
        _THREAD,
        _column("external_id", "int64", "joins kernels with the operator that launched them"),
        _column("sequence_number", "int64", "joins forward and backward operators"),
        _column("input_shapes", "name", "shapes of the inputs, as JSON"),
        _column("input_dtypes", "name", "types of the inputs, as JSON"),
        _column("input_strides", "name", "strides of the inputs, as JSON"),
        _column("input_values", "name", "inputs that are no tensors (strides of a filter, flags), as JSON"),
        _column("depth", "int32", "how many operators enclose it; 0 is outermost"),
        _column("is_leaf", "bool", "whether it called no other operator"),
    ],
)

GPUS = _table(
    "gpus",
    "one GPU that the capture describes",
    [
        _required("device_id", "int32", "CUDA device as the profiler numbers it"),
        _column("gpu_name", "name", "name as the driver gives it"),
        _column("compute_capability", "name", "major.minor"),
        _column("sm_count", "int32", "streaming multiprocessors"),
        _column("max_clock_hz", "double", "highest SM clock"),
        _column("memory_bytes_per_s", "double", "DRAM bandwidth as the driver states it"),
        _column("memory_bytes", "int64", "DRAM size"),
        _column("l2_bytes", "int64", "L2 cache size"),
    ],
)

DIAGNOSTICS = _table(
    "diagnostics",
    "one message that the profiler left in the capture",
    [
        _required("severity", "name", "info, warning or error"),
        _required("text", "string", "the message"),
        _column("source", "name", "part of the profiler that speaks"),
    ],
)

REPORTED_SUMS = _table(
    "reported_sums",
    "one line of a summary that a profiler printed (nsys stats); its launches are not in the input",
    [
        _required("report", "name", "which summary: cuda_gpu_kern_sum, cuda_api_sum, nvtx_sum, …"),
        _required("name", "name", "what the line is about: kernel, call, operation or range"),
        _column("instance_count", "int64", "how often it ran"),
        _column("total_ns", "int64", "sum of its durations"),
        _column("mean_ns", "double", "as printed"),
        _column("median_ns", "double", "as printed"),
        _column("min_ns", "int64", "as printed"),
        _column("max_ns", "int64", "as printed"),
        _column("std_ns", "double", "sample standard deviation, as printed"),
        _column("total_bytes", "double", "sum of the bytes moved, for memory summaries by size"),
        _column("mean_bytes", "double", "as printed"),
        _column("median_bytes", "double", "as printed"),
        _column("min_bytes", "double", "as printed"),
        _column("max_bytes", "double", "as printed"),
        _column("std_bytes", "double", "as printed"),
        _column("style", "name", "for NVTX: PushPop or StartEnd"),
        _column("printed_pct", "double", "share of the time as printed, in percent"),
    ],
)

# Each of these has an entry of the same name in metrics.toml, which says how it is found in a report.
# What L2 looks up, what it handles, and what goes in from and out to L1.
_L2_RATES = ("tags", "sectors", "input", "output")
COUNTER_COLUMNS = [
    _column("duration_ns", "double", "time of this launch under the profiler's clocks"),
    _column("sm_elapsed_cycles", "double", "cycles of the SM clock"),
    _column("sm_clock_hz", "double", "SM clock during the launch"),
    _column("dram_clock_hz", "double", "DRAM clock during the launch"),
    _column("dram_bytes", "double", "bytes moved between L2 and DRAM, both directions"),
    _column("dram_read_bytes", "double", "bytes read from DRAM"),
    _column("dram_write_bytes", "double", "bytes written to DRAM"),
    _column("dram_bytes_per_s", "double", "achieved DRAM traffic as the profiler states it"),
    _column("l2_bytes", "double", "bytes returned by L2, in ncu's hierarchical definition"),
    _column("l1_bytes", "double", "bytes returned by L1, in ncu's hierarchical definition"),
    _column("fp64_flop", "double", "FP64 operations outside the tensor pipe"),
    _column("fp32_flop", "double", "FP32 operations outside the tensor pipe"),
    _column("fp16_flop", "double", "FP16 and BF16 operations outside the tensor pipe"),
    _column("tensor_fp64_flop", "double", "tensor operations on FP64"),
    _column("tensor_tf32_flop", "double", "tensor operations on TF32"),
    _column("tensor_bf16_flop", "double", "tensor operations on BF16"),
    _column("tensor_fp16_flop", "double", "tensor operations on FP16, either accumulator"),
    _column("tensor_fp8_flop", "double", "tensor operations on FP8"),
    _column("tensor_fp4_flop", "double", "tensor operations on FP4 and FP6"),
    _column("tensor_int8_op", "double", "tensor operations on INT8 and smaller"),
    _column("peak_fp64_flop_per_s", "double", "FP64 roof at the clock of this launch"),
    _column("peak_fp32_flop_per_s", "double", "FP32 roof at the clock of this launch"),
    _column("peak_fp16_flop_per_s", "double", "FP16 vector roof at the clock of this launch"),
    _column("peak_tensor_fp64_flop_per_s", "double", "tensor FP64 roof at the clock of this launch"),
    _column("peak_tensor_tf32_flop_per_s", "double", "tensor TF32 roof at the clock of this launch"),
    _column("peak_tensor_bf16_flop_per_s", "double", "tensor BF16 roof at the clock of this launch"),
    _column("peak_tensor_fp16_flop_per_s", "double", "tensor FP16 roof at the clock of this launch"),
    _column("peak_tensor_fp8_flop_per_s", "double", "tensor FP8 roof at the clock of this launch"),
    _column("peak_tensor_fp4_flop_per_s", "double", "tensor FP4 roof at the clock of this launch"),
    _column("peak_tensor_int8_op_per_s", "double", "tensor INT8 roof at the clock of this launch"),
    _column("peak_dram_bytes_per_s", "double", "DRAM roof at the clock of this launch"),
    _column("peak_l2_bytes_per_s", "double", "L2 roof at the clock of this launch, in ncu's hierarchical definition"),
    _column("peak_l1_bytes_per_s", "double", "L1 roof at the clock of this launch, in ncu's hierarchical definition"),
    _column("sm_throughput_pct", "double", "compute throughput: busiest unit of the SM, of its peak"),
    _column("memory_throughput_pct", "double", "busiest unit that ncu counts for it in L1, L2, DRAM, over all cycles"),
    _column("dram_throughput_pct", "double", "DRAM throughput of its peak"),
    _column("l1_throughput_pct", "double", "L1/TEX throughput of its peak, over the cycles in which it was active"),
    _column("l2_throughput_pct", "double", "L2 throughput of its peak"),
    _column("l1_hit_rate_pct", "double", "L1/TEX sector hits"),
    _column("l2_hit_rate_pct", "double", "L2 sector hits"),
    _column("achieved_occupancy_pct", "double", "warps active of the most an SM can hold, mean over the launch"),
    _column("theoretical_occupancy_pct", "double", "warps that the launch geometry allows, of the most an SM can hold"),
    _column("memory_busy_pct", "double", "Mem Busy of MemoryWorkloadAnalysis"),
    _column("max_bandwidth_pct", "double", "Max Bandwidth of MemoryWorkloadAnalysis"),
    _column("tensor_pipe_pct", "double", "cycles in which the tensor pipe was active"),
    _column("fma_pipe_pct", "double", "cycles in which the FMA pipe was active"),
    _column("fp64_pipe_pct", "double", "cycles in which the FP64 pipe was active"),
    _column("alu_pipe_pct", "double", "cycles in which the pipe for integers and logic was active"),
    _column("xu_pipe_pct", "double", "transcendental and conversion instructions, of the most that the pipe can issue"),
    _column("lsu_pipe_pct", "double", "load and store instructions, of the most that the pipe can issue"),
    _column("issue_slots_pct", "double", "cycles in which a scheduler issued an instruction"),
    _column("shared_memory_pct", "double", "reads of the data banks of L1 and shared memory, of their peak"),
    _column("fp16_pipe_pct", "double", "FP16 instructions, of the most that their pipe can issue"),
    _column("l1_data_pipe_pct", "double", "wavefronts through the data stage of L1, of its peak over all cycles"),
    _column("l1_requests_pct", "double", "requests of loads and stores to L1, of their peak over all cycles"),
    _column("l1_to_l2_pct", "double", "requests from L1 toward L2, of their peak over all cycles"),
    *(_column(f"l2_{what}_pct", "double", f"{what} of L2, of the peak over all cycles") for what in _L2_RATES),
    _column("integer_op", "double", "integer operations outside the tensor pipe"),
    _column("waves_per_sm", "double", "launched blocks over the blocks that fit at once"),
    _column("registers_per_thread", "double", "registers per thread"),
    _column("dynamic_shared_memory_bytes", "double", "dynamic shared memory per block"),
    _column("static_shared_memory_bytes", "double", "static shared memory per block"),
]

_LAUNCH_INDEX = _required("launch_index", "int32", "ordinal of the profiled launch in its capture, from 0")

KERNEL_COUNTERS = _table(
    "kernel_counters",
    "one launch profiled with hardware counters (ncu); a counter that was not collected is null",
    [
        _LAUNCH_INDEX,
        _required("kernel_name", "name", "full demangled name where the capture has it, else the function name"),
        _column("function_name", "name", "name without template arguments and parameters"),
        _column("failed", "bool", "whether the profiler could not measure it: counters are null then", nullable=False),
        *_PLACE,
        *_GEOMETRY,
        *_xyz("cluster", "thread blocks per cluster; 1 × 1 × 1 where the launch has none"),
        _column("nvtx_path", "name", "push/pop ranges open at the launch, outermost first, joined by /"),
        _column("gpu_name", "name", "device name"),
        _column("compute_capability", "name", "major.minor"),
        _column("sm_count", "int32", "streaming multiprocessors"),
        *COUNTER_COLUMNS,
    ],
)

METRIC_VALUES = _table(
    "metric_values",
    "one metric of one profiled launch, under the profiler's own name, in base units",
    [
        _LAUNCH_INDEX,
        _required("metric_name", "name", "ncu's name; for a details page without names, section and label joined by /"),
        _column("unit", "name", "base unit, as ncu spells it"),
        _column("value", "double", "numeric value; null where it is text or was not available"),
        _column("text", "string", "value that is no number"),
    ],
)

RULE_RESULTS = _table(
    "rule_results",
    "one finding that ncu's own rules attached to a profiled launch",
    [
        _LAUNCH_INDEX,
        _column("section", "name", "identifier of the ncu section, or its title in a CSV"),
        _required("rule", "name", "identifier of the rule, or its title in a CSV"),
        _column("title", "name", "heading of the message; empty in some reports"),
        _column("message", "string", "what ncu says, link markup removed"),
        _column("kind", "name", "OK, OPTIMIZATION, WARNING or ERROR, as ncu rates it"),
        _column("speedup_kind", "name", "GLOBAL (of the launch) or LOCAL (of the section); never added up"),
        _column("estimated_speedup_pct", "double", "ncu's estimate"),
    ],
)

KERNEL_SUMS = _table(
    "kernel_sums",
    "all launches of one kernel with one grid and block in one process run, as a baseline keeps them",
    [
        _column("nvtx_range", "name", "range that the launches belong to; null for the whole run"),
        _required("basis", "name", "timeline: all launches; counters: launches profiled with counters"),
        _required("kernel_name", "name", "full demangled name"),
        _column("geometry", "name", "grid / block; null where it was not recorded"),
        _required("launch_count", "int64", "launches, with or without a duration"),
        _column("untimed_count", "int64", "launches without a duration; repeated on each row of a kernel"),
        _column("total_ns", "int64", "sum of the durations of the kernel; repeated on each of its rows"),
        _column(
            "squared_deviation_ns2", "double", "sum over launches of (duration - mean)²; repeated on each of its rows"
        ),
        _column("nvtx_paths", "string", "NVTX paths that it ran in, as JSON"),
    ],
)

KERNEL_SUCCESSIONS = _table(
    "kernel_successions",
    "one pair of kernels that followed one another within a stream",
    [
        _required("kernel_name", "name", "the first of the two"),
        _required("next_kernel_name", "name", "the second"),
        _required("succession_count", "int64", "how often"),
    ],
)

COUNTER_MEANS = _table(
    "counter_means",
    "one counter of one kernel of one process run",
    [
        _required("kernel_name", "name", "full demangled name"),
        _required("metric", "name", "canonical metric, a column of kernel_counters"),
        _column("value", "double", "mean per profiled launch, in the unit of that column"),
    ],
)

COUNTER_TARGETS = _table(
    "counter_targets",
    "one kind of launch that ncu was sent to measure, as the timeline weighs it, and the launches that stand for it",
    [
        _required("target_index", "int32", "order by total time, from 0"),
        _required("kernel_name", "name", "full demangled name, as the timeline prints it"),
        _column("nvtx_range", "name", "range that all launches lie in; null for the whole run"),
        _column("nvtx_path", "name", "ranges of the default domain around the launches, numbers replaced by *"),
        *_GEOMETRY,
        _column("dynamic_shared_memory_bytes", "int64", "dynamic shared memory per block"),
        _required("mode", "int32", "which group of alike durations of its shape, 0 is the fastest"),
        _required("mode_count", "int32", "how many such groups the shape has"),
        _required("launch_count", "int64", "launches in the timeline that it stands for"),
        _required("total_ns", "int64", "their time in the timeline"),
        _required("mean_ns", "double", "their mean time in the timeline"),
        _column("min_ns", "int64", "their shortest time in the timeline"),
        _column("max_ns", "int64", "their longest time in the timeline"),
        _required("range_share", "double", "of the kernel time inside the range, 0 to 1"),
        _required("covered_share", "double", "of the kernel time inside the range: this target and those before it"),
        _required("match", "name", "exact, shape, ambiguous or none: how sure the join is"),
        _column("launch_indices", "name", "the profiled launches that stand for it, as JSON; of the same capture_id"),
        _column("ncu_mean_ns", "double", "their mean time under ncu's clocks and caches"),
        _column("nsys_mean_ns", "double", "mean time of the same launches in the timeline"),
        _column("duration_ratio", "double", "ncu over nsys; above 1.2 it is flagged"),
        _column("flags", "string", "what to know before using it, as JSON"),
    ],
)

RESULTS = _table("results", "one metric of one run of a workload, as the workload itself measured it", [
    _required("workload", "name", "the workload"), _required("settings", "string", "its settings, as JSON"),
    _required("status", "name", "done or failed"), _column("message", "string", "why it failed"),
    _column("metric", "name", "name of the metric, which ends in its unit; null where the run failed"),
    _column("value", "double", "in the unit that the name of the metric ends in"),
])  # fmt: skip

TABLES = {table.name: table for table in (
    KERNEL_LAUNCHES, CUDA_API_CALLS, MEMORY_OPERATIONS, GRAPH_LAUNCHES, NVTX_RANGES, CPU_OPERATORS, GPUS, DIAGNOSTICS,
    REPORTED_SUMS, KERNEL_COUNTERS, METRIC_VALUES, RULE_RESULTS, KERNEL_SUMS, KERNEL_SUCCESSIONS,
    COUNTER_MEANS, COUNTER_TARGETS, RESULTS,
)}  # fmt: skip
