"""Tables of profiled launches: their counters, all metrics, stalls, rule results, and the targets they were chosen by.

In: nothing. Out: one `Table` each, and `COUNTER_COLUMNS`, one column per canonical metric.
"""

from nsightkit.tables.schema import GEOMETRY, PLACE, column, required, table, xyz

# What L2 looks up, what it handles, and what goes in from and out to L1.
_L2_RATES = ("tags", "sectors", "input", "output")
_BLOCK_LIMITS = (("registers", "its registers"), ("shared_memory", "its shared memory"), ("warps", "its warps"),
                 ("limit", "the chip's own limit"), ("barriers", "its barriers"))  # fmt: skip

# Each of these has an entry of the same name in metrics.toml, which says how it is found in a report.
COUNTER_COLUMNS = [
    column("duration_ns", "double", "time of this launch under the profiler's clocks"),
    column("sm_elapsed_cycles", "double", "cycles of the SM clock"),
    column("sm_clock_hz", "double", "SM clock during the launch"),
    column("dram_clock_hz", "double", "DRAM clock during the launch"),
    column("dram_bytes", "double", "bytes moved between L2 and DRAM, both directions"),
    column("dram_read_bytes", "double", "bytes read from DRAM"),
    column("dram_write_bytes", "double", "bytes written to DRAM"),
    column("dram_bytes_per_s", "double", "achieved DRAM traffic as the profiler states it"),
    column("l2_bytes", "double", "bytes returned by L2, in ncu's hierarchical definition"),
    column("l1_bytes", "double", "bytes returned by L1, in ncu's hierarchical definition"),
    column("fp64_flop", "double", "FP64 operations outside the tensor pipe"),
    column("fp32_flop", "double", "FP32 operations outside the tensor pipe"),
    column("fp16_flop", "double", "FP16 and BF16 operations outside the tensor pipe"),
    column("tensor_fp64_flop", "double", "tensor operations on FP64"),
    column("tensor_tf32_flop", "double", "tensor operations on TF32"),
    column("tensor_bf16_flop", "double", "tensor operations on BF16"),
    column("tensor_fp16_flop", "double", "tensor operations on FP16, either accumulator"),
    column("tensor_fp8_flop", "double", "tensor operations on FP8"),
    column("tensor_fp4_flop", "double", "tensor operations on FP4 and FP6"),
    column("tensor_int8_op", "double", "tensor operations on INT8 and smaller"),
    column("peak_fp64_flop_per_s", "double", "FP64 roof at the clock of this launch"),
    column("peak_fp32_flop_per_s", "double", "FP32 roof at the clock of this launch"),
    column("peak_fp16_flop_per_s", "double", "FP16 vector roof at the clock of this launch"),
    column("peak_tensor_fp64_flop_per_s", "double", "tensor FP64 roof at the clock of this launch"),
    column("peak_tensor_tf32_flop_per_s", "double", "tensor TF32 roof at the clock of this launch"),
    column("peak_tensor_bf16_flop_per_s", "double", "tensor BF16 roof at the clock of this launch"),
    column("peak_tensor_fp16_flop_per_s", "double", "tensor FP16 roof at the clock of this launch"),
    column("peak_tensor_fp8_flop_per_s", "double", "tensor FP8 roof at the clock of this launch"),
    column("peak_tensor_fp4_flop_per_s", "double", "tensor FP4 roof at the clock of this launch"),
    column("peak_tensor_int8_op_per_s", "double", "tensor INT8 roof at the clock of this launch"),
    column("peak_dram_bytes_per_s", "double", "DRAM roof at the clock of this launch"),
    column("peak_l2_bytes_per_s", "double", "L2 roof at the clock of this launch, in ncu's hierarchical definition"),
    column("peak_l1_bytes_per_s", "double", "L1 roof at the clock of this launch, in ncu's hierarchical definition"),
    column("sm_throughput_pct", "double", "compute throughput: busiest unit of the SM, of its peak"),
    column("memory_throughput_pct", "double", "busiest unit that ncu counts for it in L1, L2, DRAM, over all cycles"),
    column("dram_throughput_pct", "double", "DRAM throughput of its peak"),
    column("l1_throughput_pct", "double", "L1/TEX throughput of its peak, over the cycles in which it was active"),
    column("l2_throughput_pct", "double", "L2 throughput of its peak"),
    column("l1_hit_rate_pct", "double", "L1/TEX sector hits"),
    column("l2_hit_rate_pct", "double", "L2 sector hits"),
    column("achieved_occupancy_pct", "double", "warps active of the most an SM can hold, mean over the launch"),
    column("theoretical_occupancy_pct", "double", "warps that the launch geometry allows, of the most an SM can hold"),
    column("memory_busy_pct", "double", "Mem Busy of MemoryWorkloadAnalysis"),
    column("max_bandwidth_pct", "double", "Max Bandwidth of MemoryWorkloadAnalysis"),
    column("tensor_pipe_pct", "double", "cycles in which the tensor pipe was active"),
    column("fma_pipe_pct", "double", "cycles in which the FMA pipe was active"),
    column("fp64_pipe_pct", "double", "cycles in which the FP64 pipe was active"),
    column("alu_pipe_pct", "double", "cycles in which the pipe for integers and logic was active"),
    column("xu_pipe_pct", "double", "transcendental and conversion instructions, of the most that the pipe can issue"),
    column("lsu_pipe_pct", "double", "load and store instructions, of the most that the pipe can issue"),
    column("issue_slots_pct", "double", "cycles in which a scheduler issued an instruction"),
    column("shared_memory_pct", "double", "reads of the data banks of L1 and shared memory, of their peak"),
    column("fp16_pipe_pct", "double", "FP16 instructions, of the most that their pipe can issue"),
    column("l1_data_pipe_pct", "double", "wavefronts through the data stage of L1, of its peak over all cycles"),
    column("l1_requests_pct", "double", "requests of loads and stores to L1, of their peak over all cycles"),
    column("l1_to_l2_pct", "double", "requests from L1 toward L2, of their peak over all cycles"),
    *(column(f"l2_{what}_pct", "double", f"{what} of L2, of the peak over all cycles") for what in _L2_RATES),
    column("integer_op", "double", "integer operations outside the tensor pipe"),
    column("waves_per_sm", "double", "launched blocks over the blocks that fit at once"),
    column("registers_per_thread", "double", "registers per thread"),
    column("dynamic_shared_memory_bytes", "double", "dynamic shared memory per block"),
    column("static_shared_memory_bytes", "double", "static shared memory per block"),
    *(column(f"blocks_by_{what}", "double", f"blocks that fit on an SM by {words}") for what, words in _BLOCK_LIMITS),
]

_LAUNCH_INDEX = required("launch_index", "int32", "ordinal of the profiled launch in its capture, from 0")

KERNEL_COUNTERS = table(
    "kernel_counters",
    "one launch profiled with hardware counters (ncu); a counter that was not collected is null",
    [
        _LAUNCH_INDEX,
        required("kernel_name", "name", "full demangled name where the capture has it, else the function name"),
        column("function_name", "name", "name without template arguments and parameters"),
        column("failed", "bool", "whether the profiler could not measure it: counters are null then", nullable=False),
        *PLACE,
        *GEOMETRY,
        *xyz("cluster", "thread blocks per cluster; 1 × 1 × 1 where the launch has none"),
        column("nvtx_path", "name", "push/pop ranges open at the launch, outermost first, joined by /"),
        column("gpu_name", "name", "device name"),
        column("compute_capability", "name", "major.minor"),
        column("sm_count", "int32", "streaming multiprocessors"),
        *COUNTER_COLUMNS,
    ],
)

METRIC_VALUES = table(
    "metric_values", "one metric of one profiled launch, under the profiler's own name, in base units", [
    _LAUNCH_INDEX,
    required("metric_name", "name", "ncu's name; for a details page without names, section and label joined by /"),
    column("unit", "name", "base unit, as ncu spells it"),
    column("value", "double", "numeric value; null where it is text or was not available"),
    column("text", "string", "value that is no number"),
])  # fmt: skip

WARP_STALLS = table("warp_stalls", "one state of the warps of one profiled launch that was seen at the schedulers", [
    _LAUNCH_INDEX, required("reason", "name", "ncu's word for it; selected means that the warp issued"),
    required("warps_per_issue", "double", "warps in that state for each cycle in which a scheduler issued"),
])  # fmt: skip

RULE_RESULTS = table("rule_results", "one finding that ncu's own rules attached to a profiled launch", [
    _LAUNCH_INDEX,
    column("section", "name", "identifier of the ncu section, or its title in a CSV"),
    required("rule", "name", "identifier of the rule, or its title in a CSV"),
    column("title", "name", "heading of the message; empty in some reports"),
    column("message", "string", "what ncu says, link markup removed"),
    column("kind", "name", "OK, OPTIMIZATION, WARNING or ERROR, as ncu rates it"),
    column("speedup_kind", "name", "GLOBAL (of the launch) or LOCAL (of the section); never added up"),
    column("estimated_speedup_pct", "double", "ncu's estimate"),
])  # fmt: skip

COUNTER_TARGETS = table(
    "counter_targets",
    "one kind of launch that ncu was sent to measure, as the timeline weighs it, and the launches that stand for it",
    [
        required("target_index", "int32", "order by total time, from 0"),
        required("kernel_name", "name", "full demangled name, as the timeline prints it"),
        column("nvtx_range", "name", "range that all launches lie in; null for the whole run"),
        column("nvtx_path", "name", "ranges of the default domain around the launches, numbers replaced by *"),
        *GEOMETRY,
        column("dynamic_shared_memory_bytes", "int64", "dynamic shared memory per block"),
        required("mode", "int32", "which group of alike durations of its shape, 0 is the fastest"),
        required("mode_count", "int32", "how many such groups the shape has"),
        required("launch_count", "int64", "launches in the timeline that it stands for"),
        required("total_ns", "int64", "their time in the timeline"),
        required("mean_ns", "double", "their mean time in the timeline"),
        column("min_ns", "int64", "their shortest time in the timeline"),
        column("max_ns", "int64", "their longest time in the timeline"),
        required("range_share", "double", "of the kernel time inside the range, 0 to 1"),
        required("covered_share", "double", "of the kernel time inside the range: this target and those before it"),
        required("match", "name", "exact, shape, ambiguous or none: how sure the join is"),
        column("launch_indices", "name", "the profiled launches that stand for it, as JSON; of the same capture_id"),
        column("ncu_mean_ns", "double", "their mean time under ncu's clocks and caches"),
        column("nsys_mean_ns", "double", "mean time of the same launches in the timeline"),
        column("duration_ratio", "double", "ncu over nsys; above 1.2 it is flagged"),
        column("flags", "string", "what to know before using it, as JSON"),
    ],
)
