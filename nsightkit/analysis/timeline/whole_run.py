"""What a verdict on the whole run may be made from, as data; the wording of the verdict is made elsewhere.

In: timelines of devices, calls, and, where it was measured, how much slower the traced run was. Out: `RunFigures`.

Source: the rules for launch-bound runs and for tracing overhead in docs/method.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.timeline.timeline import DeviceTimeline, TimelineInputs

# Above this ratio of traced to untraced wall time, idle time says more of the profiler than of the program.
MOST_TRACING_OVERHEAD = 1.1
# A run that computes for more than the rest of its span is bound by the GPU.
LOSS_THRESHOLD = 0.3
# Of the idle time, what may be of unknown cause for a statement on the rest.
_MOST_UNKNOWN = 0.5
_GRAPH_LAUNCH = re.compile(r"^(cuda|cu)GraphLaunch(_|$)")
COSTS = ("GPU", "LAUNCH", "HOST", "SYNCHRONIZATION", "TRANSFER", "COMMUNICATION", "QUEUED", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class GraphFigures:
    """CUDA graphs of a capture: in graph mode their kernels are hidden, and only the launch call is seen."""

    launch_count: int
    hidden_count: int  # graph launches without any traced kernel or copy of theirs
    traced_count: int = 0  # graph launches of which begin and end on the GPU are known as a whole
    traced_ns: int = 0  # their time

    @property
    def mode(self) -> str:
        """How graphs were traced: none, node, graph, or mixed."""
        if not self.launch_count:
            return "none"
        return {0: "node", self.launch_count: "graph"}.get(self.hidden_count, "mixed")

    @property
    def lost_count(self) -> int:
        """Hidden graph launches of which not even the time is known."""
        return max(0, self.hidden_count - self.traced_count)


@dataclass(frozen=True, slots=True)
class RunFigures:
    """Shares of the span (summed over devices) by what the time went to; they add up to one."""

    span_ns: int
    shares: dict[str, float]  # every name in COSTS
    idle_share: float
    empty_queue_share_of_idle: float | None  # idle in gaps whose launch came late, and no wait or copy was the cause
    tracing_ratio: float | None  # traced wall time by untraced; None where it was not measured
    corrected_idle_share: float | None  # idle_share less what tracing may have added; None where that is not known
    tracing_allows_idle_verdict: bool | None
    mean_launch_ns: float | None
    hidden_graph_count: int = 0  # launches of CUDA graphs of which not even the time is known: idle may be their work
    # The idle part of TRANSFER and COMMUNICATION: the host was inside a blocking copy, or waited for a collective.
    waited: dict[str, float] = field(default_factory=dict)

    def alone(self, name: str) -> float:
        """Return the share of the span in which copies (TRANSFER) or collectives ran and nothing computed."""
        return self.shares[name] - self.waited.get(name, 0.0)

    @property
    def largest_loss(self) -> str:
        """What, beside computing, took the largest share."""
        losses = {name: share for name, share in self.shares.items() if name != "GPU"}
        return max(losses, key=lambda name: losses[name])

    @property
    def dominant(self) -> str:
        """What bounds the run: GPU where computing leaves little else, else the largest loss."""
        return "GPU" if 1 - self.shares["GPU"] <= LOSS_THRESHOLD else self.largest_loss


def graph_figures(inputs: TimelineInputs | Attribution) -> GraphFigures:
    """Return how the graph launches of a capture were traced."""
    names = inputs.calls.names.to_pylist()
    is_launch = np.array([bool(_GRAPH_LAUNCH.match(name or "")) for name in names] + [False])[inputs.calls.name_code]
    owned = np.zeros(inputs.calls.start_ns.size, np.int64)
    work = inputs.operations
    np.add.at(owned, work.call[(work.call >= 0) & ~work.is_graph], 1)
    hidden = int((is_launch & (owned == 0)).sum())
    return GraphFigures(
        max(int(is_launch.sum()), work.graph_count), max(hidden, work.graph_count), work.graph_count,
        int(work.duration_ns[work.is_graph].sum()),
    )  # fmt: skip


def run_figures(
    timelines: Sequence[DeviceTimeline], tracing_ratio: float | None = None, hidden_graph_count: int = 0
) -> RunFigures | None:
    """Return the figures of a run; None where nothing ran on a GPU.

    Args:
        timelines: the devices of the run.
        tracing_ratio: wall time of the traced run by that of the same run untraced.
        hidden_graph_count: `GraphFigures.lost_count` of the capture.
    """
    span = sum(timeline.span_ns for timeline in timelines)
    if not span:
        return None
    costs = dict.fromkeys(COSTS, 0)
    for timeline in timelines:
        for name, time in _costs(timeline).items():
            costs[name] += time
    idle = sum(timeline.idle_ns for timeline in timelines)
    late = sum(t.idle_by_cause["empty queue"] + t.idle_by_cause["host"] for t in timelines)
    # Where a good part of the idle time has no known cause, what share of it began with an empty queue is not known.
    told = idle and costs["UNKNOWN"] <= _MOST_UNKNOWN * idle
    launches = [t.queue.idle_launch_ns for t in timelines if t.queue.idle_launch_ns is not None]
    allowed = None if tracing_ratio is None else tracing_ratio <= MOST_TRACING_OVERHEAD
    return RunFigures(
        span, {name: time / span for name, time in costs.items()}, idle / span, late / idle if told else None,
        tracing_ratio, _corrected(idle / span, tracing_ratio), allowed,
        sum(launches) / len(launches) if launches else None, hidden_graph_count, _waited(timelines, span),
    )  # fmt: skip


def _costs(timeline: DeviceTimeline) -> dict[str, int]:
    idle = timeline.idle_by_cause
    return {
        "GPU": timeline.compute_ns,
        "LAUNCH": idle["empty queue"],
        "HOST": idle["host"],
        "SYNCHRONIZATION": idle["synchronization"],
        "TRANSFER": timeline.exposed_copy_ns + idle["copy"],
        "COMMUNICATION": timeline.exposed_communication_ns + idle["collective"],
        "QUEUED": idle["queued"],
        "UNKNOWN": idle["unknown"],
    }


def _waited(timelines: Sequence[DeviceTimeline], span_ns: int) -> dict[str, float]:
    causes = {"TRANSFER": "copy", "COMMUNICATION": "collective"}
    return {name: sum(t.idle_by_cause[cause] for t in timelines) / span_ns for name, cause in causes.items()}


def _corrected(idle_share: float, ratio: float | None) -> float | None:
    """Return the idle share of the untraced run if all that tracing added was idle time of the GPU."""
    if ratio is None or ratio <= 0:
        return None
    return max(0.0, 1 - (1 - idle_share) * max(ratio, 1.0))
