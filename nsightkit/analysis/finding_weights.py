"""What a profiled kernel weighs in the run: in the timeline where one is there, else among the profiled launches.

In: `FindingInputs`. Out: a `KernelWeight`. Counters come from another execution than the timeline: launches that were
joined with it weigh what these weigh there. A name alone joins only where all its launches take about as long.

Source: docs/method.md, "Findings".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nsightkit.analysis.findings import KERNEL_TIME, PROFILED_TIME

if TYPE_CHECKING:
    from nsightkit.analysis.findings import FindingInputs
    from nsightkit.analysis.results import ClassifiedKernel, KernelSummary

# Launches of one name that differ by more than this have several shapes, and the profiled one is one of them.
SPREAD = 2.0
# Source: docs/method.md, "Two phases": above this ratio ncu's duration and the timeline's are not of one mind.
_OTHER_DURATION = 1.2


@dataclass(frozen=True, slots=True)
class KernelWeight:
    """What a profiled kernel is of a whole, in words which whole, and why that is in doubt or not."""

    share: float
    total_ns: float
    of: str
    doubt: str = ""
    ground: str = "the counters are of these launches"


def kernel_weight(inputs: FindingInputs, place: int) -> KernelWeight | None:
    """Return what kernel `place` weighs, None where a timeline is there and does not tell.

    The weight is that in the timeline where there is one, else that among the profiled launches.
    """
    kernel = inputs.kernels[place]
    if place in inputs.weights:
        joined = inputs.weights[place]
        of = f"{KERNEL_TIME} in {joined.range_name}" if joined.range_name else KERNEL_TIME
        doubt = "" if joined.match == "exact" else "which of its launches ncu saw could not be told, only their shape"
        doubts = "; ".join((*([doubt] if doubt else []), *joined.flags))
        return KernelWeight(
            joined.share, joined.total_ns, of, doubts, "the counters are of launches at the same places of the step"
        )
    if not inputs.top_kernels:
        if kernel.total_ns is None or kernel.time_share is None:
            return None
        return KernelWeight(kernel.time_share, kernel.total_ns, PROFILED_TIME)
    timed = inputs.timeline_shares.get(kernel.kernel_name)
    return None if timed is None else _by_name(inputs, kernel, timed)


def _by_name(inputs: FindingInputs, kernel: ClassifiedKernel, timed: KernelSummary) -> KernelWeight | None:
    """Return the weight of a kernel that only its name joins with the timeline; None where its launches differ."""
    rows = inputs.profiled_ns[kernel.kernel_name]
    part = (kernel.total_ns or 0.0) / sum(rows) if sum(rows) else 0.0
    doubts = ["joined by its name alone"]
    if len(rows) > 1:
        doubts.append(
            "several grids of this kernel were profiled, and its time was split among them as in the counters"
        )
    elif timed.min_ns and timed.max_ns > SPREAD * timed.min_ns:
        return None
    elif kernel.duration_ns and timed.mean_ns and kernel.duration_ns > _OTHER_DURATION * timed.mean_ns:
        doubts.append(f"under ncu it took {kernel.duration_ns / timed.mean_ns:.2f} times as long")
    doubt = "; ".join(doubts) if len(doubts) > 1 else ""
    ground = "joined by its name alone, but all its launches in the timeline take about as long"
    return KernelWeight(timed.share * part, timed.total_ns * part, KERNEL_TIME, doubt, ground)
