"""Start/end ranges, which overlap freely and so stay out of the stacks: what was launched while each was open.

In: an `Attribution` that kept the start/end ranges of its capture. Out: `Instances`, arrays with one entry per range.
A launch belongs to a start/end range if it is on the thread that started the range and its call began inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from nsightkit.analysis.arrays import Codes, Ints, Mask, distinct
from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.ranges.range_names import normalized


@dataclass(frozen=True)
class Instances:
    """Ranges that launched GPU work, one entry each; `label` is a code of the name they are grouped under."""

    kind: str
    label: Codes
    gpu_ns: Ints  # 0 for what a namesake around it counts already
    own_ns: Ints
    operation_count: Ints
    kernel_count: Ints
    projected_ns: Ints
    range_ns: Ints
    depth: Ints

    @classmethod
    def joined(cls, parts: Sequence[Instances]) -> Instances:
        """Return the instances of several captures as one."""
        columns = [field.name for field in fields(cls)][1:]
        return cls(parts[0].kind, *(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def project_spans(
    attribution: Attribution, labels: dict[str, int], raw_names: bool, chosen: Mask | None
) -> list[Instances]:
    """Return the start/end ranges that launched GPU work, thread by thread; new names are added to `labels`."""
    spans, operations = attribution.apart, attribution.operations
    if not spans.size:
        return []
    label = _labels(attribution, labels, raw_names)
    # One place more, for work whose call is not known.
    lane = np.append(attribution.calls.lane, np.int32(-1))[operations.call]
    lane[operations.call < 0] = -1
    if chosen is not None:
        lane[~chosen] = -1
    found = []
    for owner in distinct(spans.thread):
        place = np.flatnonzero(np.isin(lane, np.flatnonzero(attribution.calls.lane_thread == owner)))
        if place.size:
            found.append(_record(attribution, place.astype(np.int32), np.flatnonzero(spans.thread == owner), label))
    return found


def _labels(attribution: Attribution, labels: dict[str, int], raw_names: bool) -> Codes:
    names = attribution.apart.names
    codes, words = (np.arange(len(names)), names.to_pylist()) if raw_names else normalized(names)
    places = np.array([labels.setdefault(word, len(labels)) for word in words], np.int32)
    return places[codes][attribution.apart.name_code]


def _record(attribution: Attribution, place: Codes, own: Ints, label: Codes) -> Instances:
    """Return the instances of the ranges `own` of one thread, which launched the operations at `place`."""
    operations, spans = attribution.operations, attribution.apart
    moments = attribution.calls.start_ns[operations.call[place]]
    if bool((moments[1:] < moments[:-1]).any()):
        order = np.argsort(moments, kind="stable")
        moments, place = moments[order], place[order]
    first = np.searchsorted(moments, spans.start_ns[own])
    last = np.searchsorted(moments, spans.end_ns[own], side="right")
    has = np.flatnonzero(last > first)
    own, first, last = own[has], first[has], last[has]
    gpu = _sums(operations.duration_ns[place], first, last)
    projected = _extreme(np.maximum, operations.end_ns[place], first, last) - _extreme(
        np.minimum, operations.start_ns[place], first, last
    )
    kernels = _sums(place < operations.kernel_count, first, last)
    return Instances(
        "start_end", label[own], gpu, gpu, last - first, kernels, projected,
        spans.end_ns[own] - spans.start_ns[own], np.zeros(own.size, np.int64),
    )  # fmt: skip


def _sums(values: Ints | Mask, first: Ints, last: Ints) -> Ints:
    """Return the sum of each slice; no slice is empty."""
    running = np.cumsum(values, dtype=np.int64)
    return np.asarray(running[last - 1] - np.where(first > 0, running[first - 1], 0))


def _extreme(gather: np.ufunc, values: Ints, first: Ints, last: Ints) -> Ints:
    """Return the least or largest value of each slice; no slice is empty."""
    if not first.size:
        return np.zeros(0, np.int64)
    padded = np.append(values, values[-1:])
    bounds = np.stack([first, last], axis=1).ravel()
    return np.asarray(gather.reduceat(padded, bounds)[::2])
