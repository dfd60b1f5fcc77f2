"""Tables of what is kept of a run: sums of a baseline and the results that a workload measured itself.

In: nothing. Out: one `Table` each.
"""

from nsightkit.tables.schema import column, required, table

KERNEL_SUMS = table(
    "kernel_sums", "all launches of one kernel with one grid and block in one process run, as a baseline keeps them", [
    column("nvtx_range", "name", "range that the launches belong to; null for the whole run"),
    required("basis", "name", "timeline: all launches; counters: launches profiled with counters"),
    required("kernel_name", "name", "full demangled name"),
    column("geometry", "name", "grid / block; null where it was not recorded"),
    required("launch_count", "int64", "launches, with or without a duration"),
    column("untimed_count", "int64", "launches without a duration; repeated on each row of a kernel"),
    column("total_ns", "int64", "sum of the durations of the kernel; repeated on each of its rows"),
    column("squared_deviation_ns2", "double", "sum over launches of (duration - mean)²; repeated on each of its rows"),
    column("nvtx_paths", "string", "NVTX paths that it ran in, as JSON; on its first row"),
    column("nvtx_places", "string", "launches per innermost range and place in it, as JSON; on its first row"),
])  # fmt: skip

KERNEL_SUCCESSIONS = table(
    "kernel_successions", "one pair of kernels that followed one another within a stream", [
    required("kernel_name", "name", "the first of the two"), required("next_kernel_name", "name", "the second"),
    required("succession_count", "int64", "how often"),
])  # fmt: skip

COUNTER_MEANS = table("counter_means", "one counter of one kernel of one process run", [
    required("kernel_name", "name", "full demangled name"),
    required("metric", "name", "canonical metric, a column of kernel_counters"),
    column("value", "double", "mean per profiled launch, in the unit of that column"),
])  # fmt: skip

RESULTS = table("results", "one metric of one run of a workload, as the workload itself measured it", [
    required("workload", "name", "the workload"), required("settings", "string", "its settings, as JSON"),
    required("status", "name", "done or failed"), column("message", "string", "why it failed"),
    column("metric", "name", "name of the metric, which ends in its unit; null where the run failed"),
    column("value", "double", "in the unit that the name of the metric ends in"),
])  # fmt: skip
