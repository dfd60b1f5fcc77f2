"""Start/end ranges, which overlap freely and so stay out of the stacks: what was launched while each was open.

In: an `Attribution` that kept the start/end ranges of its capture. Out: `Instances`, arrays with one entry per range.
A launch belongs to a start/end range if it is on the thread that started the range and its call began inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nsightkit.analysis.arrays import CHUNK, Codes, Ints, Mask, distinct
from nsightkit.analysis.ranges.nvtx_projection import Attribution
from nsightkit.analysis.ranges.range_names import normalized


@dataclass(frozen=True)
class Instances:
    """Ranges that launched GPU work: one entry each, and their sums by label, the code of the name they go under."""

    kind: str
    label: Codes  # (instances,)
    projected_ns: Ints  # (instances,)
    # By row: GPU time without what a namesake around it counts already, own GPU time, operations and kernels counted
    # likewise, time between push and pop, depth.
    sums: Ints  # (6, labels)

    @classmethod
    def joined(cls, parts: Sequence[Instances], labels: int) -> Instances:
        """Return the instances of several captures as one; there are so many labels."""
        sums = np.zeros((parts[0].sums.shape[0], labels), np.int64)
        for part in parts:
            sums[:, : part.sums.shape[1]] += part.sums
        if len(parts) == 1:
            return cls(parts[0].kind, parts[0].label, parts[0].projected_ns, sums)
        labelled = np.concatenate([part.label for part in parts])
        return cls(parts[0].kind, labelled, np.concatenate([part.projected_ns for part in parts]), sums)


def summed(code: Ints | Codes, columns: Sequence[Ints | Codes], size: int) -> Ints:
    """Return the sums of each column by code, shape (columns, size); codes below zero count nowhere."""
    sums = np.zeros((len(columns), size), np.int64)
    for begin in range(0, code.size, CHUNK):
        part = slice(begin, begin + CHUNK)
        place = code[part].astype(np.intp)
        known = place >= 0
        whole = bool(known.all())
        place = place if whole else place[known]
        for row, column in zip(sums, columns, strict=True):
            values = column[part].astype(np.int64, copy=False)
            np.add.at(row, place, values if whole else values[known])
    return sums


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
    label = label[own]
    projected = _extreme(np.maximum, operations.end_ns[place], first, last) - _extreme(
        np.minimum, operations.start_ns[place], first, last
    )
    fresh = _fresh(label, first, last)
    gpu = _sums(operations.duration_ns[place], fresh, last)
    kernels = _sums(place < operations.kernel_count, fresh, last)
    columns = (gpu, gpu, last - fresh, kernels, spans.end_ns[own] - spans.start_ns[own], np.zeros_like(gpu))
    return Instances("start_end", label, projected, summed(label, columns, int(label.max(initial=-1)) + 1))


def _fresh(label: Codes, first: Ints, last: Ints) -> Ints:
    """Return where each slice first…last begins that no earlier one of its label holds: work counts once for a name."""
    order = np.lexsort((first, label))
    # One axis for all labels: what an earlier label reached lies below every slice of a later one.
    width = int(last.max(initial=0)) + 1
    base = label[order].astype(np.int64) * width
    reached = np.append(0, np.maximum.accumulate(base + last[order])[:-1]) - base
    found = np.empty_like(first)
    found[order] = np.clip(reached, first[order], last[order])
    return found


def _sums(values: Ints | Mask, first: Ints, last: Ints) -> Ints:
    """Return the sum of each slice."""
    running = np.cumsum(values, dtype=np.int64)
    return np.asarray(running[last - 1] - np.where(first > 0, running[first - 1], 0))


def _extreme(gather: np.ufunc, values: Ints, first: Ints, last: Ints) -> Ints:
    """Return the least or largest value of each slice; no slice is empty."""
    if not first.size:
        return np.zeros(0, np.int64)
    padded = np.append(values, values[-1:])
    bounds = np.stack([first, last], axis=1).ravel()
    return np.asarray(gather.reduceat(padded, bounds)[::2])
