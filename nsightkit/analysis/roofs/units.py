"""The unit that limits a kernel, by name, where the breakdown of its throughputs shows it.

In: counters of one kernel, in percent of the peak of each unit. Out: the name of the busiest unit with its figure.
ncu's compute and memory throughput are each the largest of a list of rates over all elapsed cycles; the one that equals
it is the limit. L1 throughput is over active cycles and L2 throughput has other members, so neither is in the list.

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
# Rates inside a cache say over which cycles they are, as the throughput of the same cache may read higher beside them.
MEMORY_UNITS = {
    "dram_throughput_pct": "DRAM",
    "l1_data_pipe_pct": "L1 (data stage, over all cycles)",
    "l1_requests_pct": "L1 (requests of loads and stores, over all cycles)",
    "l1_to_l2_pct": "L1 (requests toward L2, over all cycles)",
    "l2_tags_pct": "L2 (tags, over all cycles)",
    "l2_sectors_pct": "L2 (sectors, over all cycles)",
    "l2_input_pct": "L2 (data from L1, over all cycles)",
    "l2_output_pct": "L2 (data to L1, over all cycles)",
    "shared_memory_pct": "L1 and shared memory banks",
}
BREAKDOWN = tuple(name for name in MEMORY_UNITS if name.startswith(("l1_", "l2_")))
# The percentages come from passes of the profiler that differ a little.
SAME_POINTS = 2.0

Counters = Mapping[str, float | None]


def limiting_unit(counters: Counters) -> str:
    """Return the busiest unit as "XU pipe (…) 92.1 %", "" where the breakdown does not show which one it is.

    Without either throughput it is the busiest of those that were collected, and says so.
    """
    sm, memory = number(counters.get("sm_throughput_pct")), number(counters.get("memory_throughput_pct"))
    if sm is None and memory is None:
        return _busiest_collected(counters)
    if sm is None or memory is None:
        return ""
    units, highest = (SM_UNITS, sm) if sm >= memory else (_memory_units(counters), memory)
    known = {label: value for name, label in units.items() if (value := number(counters.get(name))) is not None}
    near = {label: value for label, value in known.items() if abs(value - highest) <= SAME_POINTS}
    if not near:
        return ""
    label = min(near, key=lambda name: abs(near[name] - highest))
    return f"{label} {near[label]:.1f} %"


def _busiest_collected(counters: Counters) -> str:
    units = SM_UNITS | MEMORY_UNITS
    known = {label: value for name, label in units.items() if (value := number(counters.get(name)))}
    if not known:
        return ""
    label = max(known, key=lambda name: known[name])
    return f"{label} {known[label]:.1f} %, of those that were collected"


def _memory_units(counters: Counters) -> Mapping[str, str]:
    """Return the units to choose from: without a breakdown L2 as a whole too, if no figure beside it is larger."""
    if any(counters.get(name) is not None for name in BREAKDOWN):
        return MEMORY_UNITS
    beside = [number(counters.get(name)) or 0.0 for name in ("l1_throughput_pct", "dram_throughput_pct")]
    l2 = number(counters.get("l2_throughput_pct")) or 0.0
    return MEMORY_UNITS | {"l2_throughput_pct": "L2"} if l2 >= max(beside) else MEMORY_UNITS
