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


def thread_label(thread: int) -> str:
    """Return a thread as people write it; nsys packs machine, process and thread into one number.

    >>> thread_label(281694691144619), thread_label(7)
    ('process 13096, thread 13227', 'thread 7')
    """
    process, number = thread >> 24 & 0xFFFFFF, thread & 0xFFFFFF
    return f"process {process}, thread {number}" if thread > 0xFFFFFFFF else f"thread {thread}"


def graph_notes(graphs: Sequence[GraphFigures]) -> Iterable[str]:
    """Return what must be said of CUDA graphs whose kernels are not in the capture."""
    way_out = "capture with --cuda-graph-trace=node to see them"
    if traced := sum(figures.traced_count for figures in graphs):
        time = fmt.duration(sum(figures.traced_ns for figures in graphs))
        yield (
            f"{traced} CUDA graph launches were traced as a whole: their kernels are hidden, and their {time} count "
            f"for the launch of the graph, as compute; {way_out}"
        )
    if lost := sum(figures.lost_count for figures in graphs):
        yield (
            f"{lost} CUDA graph launches have no traced work: their kernels are hidden, busy time leaves them out; "
            f"{way_out}"
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
                f"GPU {timeline.device_id}: {fmt.count(queue.early_count)} of {fmt.count(queue.launch_count)} pieces "
                f"of work start before their launch call, by up to {fmt.duration(queue.clock_error_ns)}: the clocks of "
                "CPU and GPU disagree in this capture; launch latency and causes of idle time are not known"
            )


def lost_notes(timelines: Sequence[DeviceTimeline]) -> Iterable[str]:
    """Return how much work has no launching call, where that leaves idle time without a cause."""
    for timeline in timelines:
        whole = timeline.kernel_count + timeline.copy_count
        lost = whole - timeline.queue.launch_count
        if lost > 0 and timeline.idle_by_cause["unknown"] and not timeline.queue.clock_error_ns:
            yield (
                f"GPU {timeline.device_id}: {fmt.count(lost)} of {fmt.count(whole)} pieces of work have no launch call "
                "in the capture (migrations of managed memory have none, nor has what was launched before it began); "
                "what the GPU waited for before them is not known"
            )


def memory_notes(uses: Sequence[MemoryUse]) -> Iterable[str]:
    """Return how the use of memory was counted."""
    if any(not use.is_total for use in uses):
        yield "memory that was allocated before the capture began is not in the figures"
