"""What a workload imports: ranges that every profiler sees, timing with its spread, and results with a schema.

In: a program that says what it does now, and the part of it that is to be timed. Out: ranges in NVTX and in
torch.profiler, `Measurement`, and a results file. Torch is never imported from here.

    from nsightkit import annotate

    with annotate.range("decode_step", payload=7):
        ...
"""

from nsightkit.annotate.measuring import Laps, Measurement, Plan, measure, merged
from nsightkit.annotate.nvml import GpuUse, gpu_use
from nsightkit.annotate.ranges import profiled, range
from nsightkit.annotate.results import (
    RESULTS_SCHEMA,
    check_results,
    describe_machine,
    results_file,
    results_of,
    write_results,
)
from nsightkit.annotate.spread import OUTLIER_RULE, Spread, percentile, spread_of
from nsightkit.annotate.work import state_work

__all__ = [
    "OUTLIER_RULE",
    "RESULTS_SCHEMA",
    "GpuUse",
    "Laps",
    "Measurement",
    "Plan",
    "Spread",
    "check_results",
    "describe_machine",
    "gpu_use",
    "measure",
    "merged",
    "percentile",
    "profiled",
    "range",
    "results_file",
    "results_of",
    "spread_of",
    "state_work",
    "write_results",
]
