"""The unit that limits a kernel, by name, where the breakdown of its throughputs shows it.

In: counters of one kernel, in percent of the peak of each unit. Out: the name of the busiest unit with its figure.
ncu's compute and memory throughput are each the largest of a list of units; the one that equals it is the limit.

Source: breakdown of sm__throughput and gpu__compute_memory_throughput, ncu 2025.3.1 section files.
"""

from collections.abc import Mapping

from nsightkit.analysis.grouping import number

SM_UNITS = {
    "tensor_pipe_pct": "tensor pipe",
    "fma_pipe_pct": "FMA pipe",
    "fp64_pipe_pct": "FP64 pipe",
    "alu_pipe_pct": "ALU pipe (integers and logic)",
    "xu_pipe_pct": "XU pipe (transcendental functions, conversions)",
    "lsu_pipe_pct": "LSU pipe (loads and stores)",
    "issue_slots_pct": "issue slots",
}
MEMORY_UNITS = {
    "dram_throughput_pct": "DRAM",
    "l2_throughput_pct": "L2",
    "l1_throughput_pct": "L1",
    "shared_memory_pct": "L1 and shared memory banks",
}
# The percentages come from passes of the profiler that differ a little.
SAME_POINTS = 2.0

Counters = Mapping[str, float | None]


def limiting_unit(counters: Counters) -> str:
    """Return the busiest unit as "XU pipe (…) 92.1 %", "" where the breakdown does not show which one it is."""
    sm, memory = number(counters.get("sm_throughput_pct")), number(counters.get("memory_throughput_pct"))
    if sm is None or memory is None:
        return ""
    units, highest = (SM_UNITS, sm) if sm >= memory else (MEMORY_UNITS, memory)
    known = {label: value for name, label in units.items() if (value := number(counters.get(name))) is not None}
    near = {label: value for label, value in known.items() if abs(value - highest) <= SAME_POINTS}
    if not near:
        return ""
    label = max(near, key=lambda name: near[name])
    return f"{label} {near[label]:.1f} %"
