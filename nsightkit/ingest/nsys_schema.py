"""What nsys writes into its exports: names of tables and columns, enumerations, and where each goes in our tables.

In: nothing. Out: constants. The columns of an export differ from version to version, so every one of them is looked
for by name and may be missing.

Source: NVIDIA's Nsight Systems Analysis Guide (export schema 3.25) and real exports of nsys 2021 to 2026.3.
"""

KERNEL = "CUPTI_ACTIVITY_KIND_KERNEL"
RUNTIME = "CUPTI_ACTIVITY_KIND_RUNTIME"
MEMCPY = "CUPTI_ACTIVITY_KIND_MEMCPY"
MEMSET = "CUPTI_ACTIVITY_KIND_MEMSET"
GRAPH_TRACE = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
NVTX = "NVTX_EVENTS"
DIAGNOSTICS = "DIAGNOSTIC_EVENT"
GPU = "TARGET_INFO_GPU"
CUDA_DEVICE = "TARGET_INFO_CUDA_DEVICE"
SYSTEM_ENV = "TARGET_INFO_SYSTEM_ENV"
SESSION_START = "TARGET_INFO_SESSION_START_TIME"
STREAMS = ("TARGET_INFO_CUDA_CONTEXT_INFO", "TARGET_INFO_CUDA_STREAM")
GPU_METRICS = "GPU_METRICS"
MEMORY_USAGE = "CUDA_GPU_MEMORY_USAGE_EVENTS"
GPU_METRIC_NAMES = "TARGET_INFO_GPU_METRICS"
EXPORT_META = ("META_DATA_EXPORT", "EXPORT_META_DATA")
STRINGS = "StringIds"

# Any of these makes a database, or a folder of tables, an nsys export.
KNOWN_TABLES = (
    STRINGS,
    KERNEL,
    RUNTIME,
    MEMCPY,
    MEMSET,
    GRAPH_TRACE,
    NVTX,
    GPU,
    SYSTEM_ENV,
    "ProcessStreams",
    *EXPORT_META,
)

# Our column -> theirs, where the value is taken as it is.
_PLACE = {"device_id": "deviceId", "context_id": "contextId", "stream_id": "streamId"}
_WORK = {**_PLACE, "process_id": "globalPid", "correlation_id": "correlationId", "graph_node_id": "graphNodeId"}
KERNEL_COLUMNS = {
    **_WORK,
    **{f"{ours}_{axis}": f"{theirs}{axis.upper()}" for ours, theirs in
       (("grid", "grid"), ("block", "block"), ("cluster", "cluster")) for axis in "xyz"},
    "registers_per_thread": "registersPerThread",
    "static_shared_memory_bytes": "staticSharedMemory",
    "dynamic_shared_memory_bytes": "dynamicSharedMemory",
    "local_memory_per_thread_bytes": "localMemoryPerThread",
    "graph_id": "graphId",
}  # fmt: skip
API_COLUMNS = {"thread_id": "globalTid", "correlation_id": "correlationId", "return_value": "returnValue"}
MEMORY_COLUMNS = {**_WORK, "moved_bytes": "bytes"}
GRAPH_COLUMNS = {
    **_PLACE,
    "process_id": "globalPid",
    "correlation_id": "correlationId",
    "graph_id": "graphId",
    "graph_exec_id": "graphExecId",
}
NVTX_COLUMNS = {"thread_id": "globalTid", "end_thread_id": "endGlobalTid", "category": "category", "color": "color"}

NVTX_DOMAIN = 75
NVTX_MARK = 34
NVTX_KINDS = {59: "push_pop", 70: "push_pop", 60: "start_end", 71: "start_end", NVTX_MARK: "mark"}
NVTX_PAYLOADS = ("uint64Value", "int64Value", "uint32Value", "int32Value", "doubleValue", "floatValue")

# eventClass of an API call
API_KINDS = {0: "runtime", 1: "driver"}

# copyKind; the words are those in which nsys prints its sums.
COPY_KINDS = {
    0: "Unknown", 1: "Host-to-Device", 2: "Device-to-Host", 3: "Host-to-Array", 4: "Array-to-Host", 5: "Array-to-Array",
    6: "Array-to-Device", 7: "Device-to-Array", 8: "Device-to-Device", 9: "Host-to-Host", 10: "Peer-to-Peer",
    11: "Unified Host-to-Device", 12: "Unified Device-to-Host", 13: "Unified Device-to-Device",
}  # fmt: skip
MEMSET_OPERATION = "[CUDA memset]"

# srcKind, dstKind, memKind
MEMORY_KINDS = {
    0: "pageable", 1: "pinned", 2: "device", 3: "array", 4: "managed", 5: "device static", 6: "managed static",
    7: "unknown",
}  # fmt: skip

# Metrics of `--gpu-metrics` as nsys calls them on some chips -> our name. A unit in brackets may follow the name; of
# the several units of one metric only percent (and MHz) is on a scale of its own.
# Source: metric sets of nsys 2023.4 for TU10x to GH100; analysis scripts in public repositories for 2024 and later.
SAMPLED = {
    "GR Active": "gr_active_pct",
    "SM Active": "sm_active_pct",
    "SMs Active": "sm_active_pct",
    "SM Issue": "sm_issue_pct",
    "Tensor Active": "tensor_active_pct",
    "Tensor Active / FP16 Active": "tensor_active_pct",
    "DRAM Read Bandwidth": "dram_read_pct",
    "DRAM Write Bandwidth": "dram_write_pct",
    "Compute Warps in Flight": "compute_warps_pct",
    "GPC Clock Frequency": "gpc_clock_hz",
}
SAMPLED_UNITS = {"_pct": ("", "Throughput %"), "_hz": ("", "MHz")}
# The clock is stored in Hz although its unit is called MHz; a smaller number would be MHz indeed.
LEAST_HZ = 100_000

# memoryOperationType
MEMORY_RELEASE = 1

SEVERITIES = {1: "info", 2: "warning", 3: "error"}  # 4 is verbose: not kept
DIAGNOSTIC_SOURCES = {1: "injection", 2: "daemon", 3: "analysis"}


def copy_operation(kind: int) -> str:
    """Return how nsys names a copy in its sums.

    >>> copy_operation(1)
    '[CUDA memcpy Host-to-Device]'
    """
    return f"[CUDA memcpy {COPY_KINDS.get(kind, COPY_KINDS[0])}]"
