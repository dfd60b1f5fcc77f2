"""Start/end ranges, which overlap freely and so stay out of the stacks: what was launched while each was open.

In: an `Attribution` that kept the start/end ranges of its capture. Out: `Instances`, arrays with one entry per range.
A launch belongs to a start/end range if it is on the thread that started the range and its call began inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from nsightkit.analysis.arrays import Codes, Ints, Mask
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
    """Return the start/end ranges that launched GPU work, none or one record; new names are added to `labels`."""
    spans = attribution.apart
    if not spans.size:
        return []
    place, slices = _slices(attribution, chosen)
    return [_record(attribution, place, slices, _labels(attribution, labels, raw_names))]


def _slices(attribution: Attribution, chosen: Mask | None) -> tuple[Ints, tuple[Ints, Ints]]:
    """Return operations in the order of launch, thread by thread, and which slice of them each range owns."""
    spans, calls = attribution.apart, attribution.calls
    place = np.flatnonzero(attribution.operations.call >= 0 if chosen is None else chosen)
    place = place[attribution.operations.call[place] >= 0]
    call = attribution.operations.call[place]
    thread, start = calls.thread[call], calls.start_ns[call]
    parts, first, last = [np.zeros(0, np.int64)], np.zeros(spans.size, np.int64), np.zeros(spans.size, np.int64)
    offset = 0
    for owner in np.unique(spans.thread).tolist():
        mine = np.flatnonzero(thread == owner)
        mine = mine[np.argsort(start[mine], kind="stable")]
        moments, own = start[mine], np.flatnonzero(spans.thread == owner)
        first[own] = offset + np.searchsorted(moments, spans.start_ns[own])
        last[own] = offset + np.searchsorted(moments, spans.end_ns[own], side="right")
        parts.append(place[mine])
        offset += mine.size
    return np.concatenate(parts), (first, last)


def _labels(attribution: Attribution, labels: dict[str, int], raw_names: bool) -> Codes:
    names = attribution.apart.names
    codes, words = (np.arange(len(names)), names.to_pylist()) if raw_names else normalized(names)
    places = np.array([labels.setdefault(word, len(labels)) for word in words], np.int32)
    return places[codes][attribution.apart.name_code]


def _record(attribution: Attribution, place: Ints, slices: tuple[Ints, Ints], label: Codes) -> Instances:
    operations, spans = attribution.operations, attribution.apart
    first, last = slices
    duration = operations.duration_ns[place]
    has = np.flatnonzero(last > first)
    gpu = _sums(duration, first, last)[has]
    projected = _extreme(np.maximum, operations.end_ns[place], first[has], last[has]) - _extreme(
        np.minimum, operations.start_ns[place], first[has], last[has]
    )
    kernels = _sums((place < operations.kernel_count).astype(np.int64), first, last)[has]
    return Instances(
        "start_end", label[has], gpu, gpu, (last - first)[has], kernels, projected,
        (spans.end_ns - spans.start_ns)[has], np.zeros(has.size, np.int64),
    )  # fmt: skip


def _sums(values: Ints, first: Ints, last: Ints) -> Ints:
    running = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    return np.asarray(running[last] - running[first])


def _extreme(gather: np.ufunc, values: Ints, first: Ints, last: Ints) -> Ints:
    """Return the least or largest value of each slice; no slice is empty."""
    if not first.size:
        return np.zeros(0, np.int64)
    padded = np.append(values, values[-1:])
    bounds = np.stack([first, last], axis=1).ravel()
    return np.asarray(gather.reduceat(padded, bounds)[::2])
