"""Tables of a timeline: launches, calls, copies, ranges, operators, GPUs, samples.

In: nothing. Out: one `Table` each.
"""

from nsightkit.tables.schema import GEOMETRY, PLACE, column, required, table, xyz

_PROCESS = column("process_id", "int64", "process key of the profiler (nsys: globalPid, all 64 bits)")
_THREAD = column("thread_id", "int64", "thread key of the profiler (nsys: globalTid, all 64 bits)")
_START = required("start_ns", "int64", "begin, counted from the start of the capture session")
_DURATION = column("duration_ns", "int64", "how long it took; null where the end was not recorded")
_CORRELATION = column("correlation_id", "int64", "joins work on the GPU with the call that launched it, per process")


KERNEL_LAUNCHES = table(
    "kernel_launches",
    "one execution of a kernel, as a timeline profiler saw it",
    [
        required("kernel_name", "name", "full demangled name, as the profiler prints it"),
        column("short_name", "name", "name without template arguments and parameters, where the profiler has it"),
        _START,
        _DURATION,
        *PLACE,
        _PROCESS,
        _CORRELATION,
        *GEOMETRY,
        *xyz("cluster", "thread blocks per cluster"),
        column("registers_per_thread", "int32", "registers per thread"),
        column("static_shared_memory_bytes", "int32", "static shared memory per block"),
        column("dynamic_shared_memory_bytes", "int32", "dynamic shared memory per block"),
        column("shared_memory_bytes", "int32", "static and dynamic together, where only their sum is recorded"),
        column("local_memory_per_thread_bytes", "int32", "local memory per thread"),
        column("graph_node_id", "int64", "node of a CUDA graph; null outside graphs"),
        column("graph_id", "int64", "CUDA graph; null outside graphs or where not recorded"),
        column("external_id", "int64", "framework operator that launched it (torch.profiler: External id)"),
    ],
)

CUDA_API_CALLS = table(
    "cuda_api_calls",
    "one call of the CUDA runtime or driver API on the CPU",
    [
        required("name", "name", "function, with the version suffix that the profiler recorded"),
        column("api", "name", "runtime or driver"),
        _START,
        _DURATION,
        _PROCESS,
        _THREAD,
        _CORRELATION,
        column("return_value", "int32", "status that the call returned; 0 is success"),
    ],
)

MEMORY_OPERATIONS = table(
    "memory_operations",
    "one copy or fill on the GPU",
    [
        required("operation", "name", "what was done, in nsys's words, as [CUDA memcpy Host-to-Device]"),
        _START,
        _DURATION,
        column("moved_bytes", "int64", "bytes copied or filled"),
        column("source_kind", "name", "memory that was read: pageable, pinned, device, managed, …"),
        column("destination_kind", "name", "memory that was written"),
        *PLACE,
        _PROCESS,
        _CORRELATION,
        column("graph_node_id", "int64", "node of a CUDA graph; null outside graphs"),
    ],
)

GRAPH_LAUNCHES = table(
    "graph_launches",
    "one launch of a CUDA graph that was traced as a whole; the kernels in it are not in the capture",
    [
        _START,
        _DURATION,
        *PLACE,
        _PROCESS,
        _CORRELATION,
        column("graph_id", "int64", "CUDA graph, as the profiler numbers it"),
        column("graph_exec_id", "int64", "executable graph, as the profiler numbers it"),
    ],
)

NVTX_RANGES = table(
    "nvtx_ranges",
    "one named range or mark of the program",
    [
        column("name", "name", "text of the range; null where a range has none"),
        column("domain", "name", "NVTX domain; torch.profiler for its annotations; null for the default domain"),
        required("kind", "name", "push_pop, start_end, mark or user_annotation"),
        _START,
        _DURATION,
        _PROCESS,
        _THREAD,
        column("end_thread_id", "int64", "thread on which a start_end range ended, where it is another"),
        column("category", "int32", "category number of the range"),
        column("color", "int64", "ARGB color"),
        column("payload", "double", "numeric payload"),
    ],
)

CPU_OPERATORS = table(
    "cpu_operators",
    "one call of a framework operator on the CPU (torch.profiler)",
    [
        required("operator_name", "name", "operator, as aten::addmm"),
        _START,
        _DURATION,
        column("self_ns", "int64", "duration less that of the operators it called on the same thread"),
        _PROCESS,
        _THREAD,
        column("external_id", "int64", "joins kernels with the operator that launched them"),
        column("sequence_number", "int64", "joins forward and backward operators"),
        column("input_shapes", "name", "shapes of the inputs, as JSON"),
        column("input_dtypes", "name", "types of the inputs, as JSON"),
        column("input_strides", "name", "strides of the inputs, as JSON"),
        column("input_values", "name", "inputs that are no tensors (strides of a filter, flags), as JSON"),
        column("depth", "int32", "how many operators enclose it; 0 is outermost"),
        column("is_leaf", "bool", "whether it called no other operator"),
    ],
)

GPUS = table(
    "gpus",
    "one GPU that the capture describes",
    [
        required("device_id", "int32", "CUDA device as the profiler numbers it"),
        column("gpu_name", "name", "name as the driver gives it"),
        column("compute_capability", "name", "major.minor"),
        column("sm_count", "int32", "streaming multiprocessors"),
        column("max_clock_hz", "double", "highest SM clock"),
        column("memory_bytes_per_s", "double", "DRAM bandwidth as the driver states it"),
        column("memory_bytes", "int64", "DRAM size"),
        column("l2_bytes", "int64", "L2 cache size"),
    ],
)

DIAGNOSTICS = table("diagnostics", "one message that the profiler left in the capture", [
    required("severity", "name", "info, warning or error"),
    required("text", "string", "the message"),
    column("source", "name", "part of the profiler that speaks"),
])  # fmt: skip

REPORTED_SUMS = table(
    "reported_sums",
    "one line of a summary that a profiler printed (nsys stats); its launches are not in the input",
    [
        required("report", "name", "which summary: cuda_gpu_kern_sum, cuda_api_sum, nvtx_sum, …"),
        required("name", "name", "what the line is about: kernel, call, operation or range"),
        column("instance_count", "int64", "how often it ran"),
        column("total_ns", "int64", "sum of its durations"),
        column("mean_ns", "double", "as printed"),
        column("median_ns", "double", "as printed"),
        column("min_ns", "int64", "as printed"),
        column("max_ns", "int64", "as printed"),
        column("std_ns", "double", "sample standard deviation, as printed"),
        column("total_bytes", "double", "sum of the bytes moved, for memory summaries by size"),
        column("mean_bytes", "double", "as printed"),
        column("median_bytes", "double", "as printed"),
        column("min_bytes", "double", "as printed"),
        column("max_bytes", "double", "as printed"),
        column("std_bytes", "double", "as printed"),
        column("style", "name", "for NVTX: PushPop or StartEnd"),
        column("printed_pct", "double", "share of the time as printed, in percent"),
    ],
)


GPU_METRIC_SAMPLES = table("gpu_metric_samples", "one sample of one metric of a whole GPU (nsys --gpu-metrics)", [
    required("device_id", "int32", "GPU as nsys numbers it; CUDA's number too, unless devices were hidden"),
    required("metric", "name", "our name, which ends in its unit: sm_issue_pct, tensor_active_pct, dram_read_pct, …"),
    required("time_ns", "int64", "end of the sampling interval, counted from the start of the capture session"),
    column("value", "double", "mean over the interval, in the unit that the name of the metric ends in"),
])  # fmt: skip

# Tables whose rows are work of a GPU.
GPU_WORK = (KERNEL_LAUNCHES.name, MEMORY_OPERATIONS.name, GRAPH_LAUNCHES.name)

DEVICE_MEMORY = table("device_memory", "one allocation or release of memory of a GPU, as the program asked for it", [
    required("time_ns", "int64", "when, counted from the start of the capture session"),
    column("device_id", "int32", "GPU"), column("process_id", "int64", "process"),
    required("changed_bytes", "int64", "size; negative where it is released"),
    column("memory_kind", "name", "device, array, managed, …; null where the profiler does not say"),
    column("allocated_bytes", "int64", "allocated after it, by the allocator's own count; null where not recorded"),
    column("reserved_bytes", "int64", "held by the allocator after it, used or not; null where not recorded"),
])  # fmt: skip
