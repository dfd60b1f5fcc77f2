"""Sentences on a timeline that the command line and the report share: hidden CUDA graphs, sums that do not come out.

In: figures of the analyses. Out: text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.analysis.timeline.accounting import Invariant
    from nsightkit.analysis.timeline.memory_use import MemoryUse
    from nsightkit.analysis.timeline.timeline import DeviceTimeline
    from nsightkit.analysis.timeline.whole_run import GraphFigures

_SEE_KERNELS = "capture with --cuda-graph-trace=node to see them"


def thread_label(thread: int) -> str:
    """Return a thread as people write it; nsys packs machine, process and thread into one number.

    >>> thread_label(281694691144619), thread_label(7)
    ('process 13096, thread 13227', 'thread 7')
    """
    process, number = thread >> 24 & 0xFFFFFF, thread & 0xFFFFFF
    return f"process {process}, thread {number}" if thread > 0xFFFFFFFF else f"thread {thread}"


def device_label(timeline: DeviceTimeline, among: Sequence[DeviceTimeline]) -> str:
    """Return what to call a device among others: with its capture where there are several."""
    several = any(other.capture_id != timeline.capture_id for other in among)
    return f"{timeline.capture_id}, GPU {timeline.device_id}" if several else f"GPU {timeline.device_id}"


def graph_notes(graphs: Sequence[GraphFigures]) -> Iterable[str]:
    """Return what must be said of CUDA graphs whose kernels are not in the capture."""
    if traced := sum(figures.traced_count for figures in graphs):
        time = fmt.duration(sum(figures.traced_ns for figures in graphs))
        yield (
            f"{traced} CUDA graph launches were traced as a whole: their kernels are hidden, and their {time} count "
            f"for the launch of the graph, as compute; {_SEE_KERNELS}"
        )
    if lost := sum(figures.lost_count for figures in graphs):
        yield lost_graph_note(lost)


def lost_graph_note(count: int) -> str:
    """Return what must be said of graph launches of which not even the time is known."""
    return (
        f"{count} CUDA graph launches have no traced work: their kernels are hidden, and no time here holds them; "
        f"{_SEE_KERNELS}"
    )


def broken_notes(broken: Sequence[Invariant]) -> Iterable[str]:
    """Return which sums do not come out."""
    for check in broken:
        expected, found = fmt.with_unit(check.expected, "count"), fmt.with_unit(check.found, "count")
        yield f"does not come out: {check.name} ({check.scope}): expected {expected}, found {found}"


def clock_notes(timelines: Sequence[DeviceTimeline]) -> Iterable[str]:
    """Return where the clocks of CPU and GPU disagree, so that what the GPU waited for cannot be told."""
    for timeline in timelines:
        queue = timeline.queue
        if queue.clock_error_ns:
            yield (
                f"{device_label(timeline, timelines)}: {fmt.count(queue.early_count)} of "
                f"{fmt.count(queue.launch_count)} pieces of work start before their launch call, by up to "
                f"{fmt.duration(queue.clock_error_ns)}: the clocks of CPU and GPU disagree "
                "in this capture; launch latency and causes of idle time are not known"
            )


def lost_notes(timelines: Sequence[DeviceTimeline]) -> Iterable[str]:
    """Return how much work has no launching call, where that leaves idle time without a cause."""
    for timeline in timelines:
        whole = timeline.kernel_count + timeline.copy_count
        lost = whole - timeline.queue.launch_count
        if lost > 0 and timeline.idle_by_cause["unknown"] and not timeline.queue.clock_error_ns:
            yield (
                f"{device_label(timeline, timelines)}: {fmt.count(lost)} of {fmt.count(whole)} pieces of work have no "
                "launch call in the capture (migrations of managed memory have none, nor has what was launched before "
                "it began); what the GPU waited for before them is not known"
            )


def memory_notes(uses: Sequence[MemoryUse]) -> Iterable[str]:
    """Return how the use of memory was counted."""
    if any(not use.is_total for use in uses):
        yield "memory that was allocated before the capture began is not in the figures"
