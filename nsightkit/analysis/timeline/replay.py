"""The timeline of a capture with other kernel times: when would the GPU be done if the host launched as it did?

In: work and calls of a capture, and a factor for each kernel. Out: `Replay`. Launch calls keep their times, work of a
stream keeps its order, and none starts earlier after its call than a launch takes at best. Waits of the host are not
shortened and streams do not wait for one another, so a gain is a lower bound where the host waits for the GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.work.operations import Calls, Operations


@dataclass(frozen=True, slots=True)
class Replay:
    """Spans on the GPU, first start to last end, in ns."""

    before_ns: int
    after_ns: int

    @property
    def speedup(self) -> float | None:
        """Span before ÷ after."""
        return self.before_ns / self.after_ns if self.after_ns else None


def replay(operations: Operations, calls: Calls, factors: Mapping[str, float], others: float = 1.0) -> Replay | None:
    """Return the span with kernel times multiplied by `factors`.

    Args:
        operations: work of one capture; copies keep their times.
        calls: the calls that launched it.
        factors: full kernel name -> time then ÷ time now.
        others: factor of kernels that are not in `factors`.
    """
    if not operations.size:
        return None
    per_name = np.array([factors.get(name, others) for name in operations.names] + [1.0])
    factor = np.where(operations.is_kernel, per_name[operations.name_code], 1.0)
    lengths = np.rint(operations.duration_ns * factor).astype(np.int64)
    starts = _replayed(operations, _earliest(operations, calls), lengths)
    before = int(operations.end_ns.max() - operations.start_ns.min())
    return Replay(before, int((starts + lengths).max() - starts.min()))


def _earliest(operations: Operations, calls: Calls) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return when each piece of work could start at the earliest: its own start where its call is not known."""
    known = operations.call >= 0
    begun = np.where(known, calls.start_ns[operations.call] if calls.start_ns.size else 0, operations.start_ns)
    delay = operations.start_ns - begun
    positive = delay[known & (delay > 0)]
    # The tenth of launches that wait least shows what a launch takes without a queue.
    least = int(np.percentile(positive, 10)) if positive.size else 0
    return begun + np.minimum(np.maximum(delay, 0), least)


def _replayed(
    operations: Operations,
    earliest: np.ndarray[tuple[int], np.dtype[np.int64]],
    lengths: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    ends: dict[tuple[int, int], int] = {}
    starts = np.zeros(operations.size, np.int64)
    places = zip(operations.device.tolist(), operations.stream.tolist(), strict=True)
    streams = list(places)
    for index in np.argsort(operations.start_ns, kind="stable").tolist():
        begin = max(int(earliest[index]), ends.get(streams[index], int(earliest[index])))
        starts[index] = begin
        ends[streams[index]] = begin + int(lengths[index])
    return starts
