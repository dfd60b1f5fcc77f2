"""One process run, kernel by kernel: what a comparison needs of it and a baseline keeps.

In: Arrow tables of one run. Out: `RunSums`, per kernel the launches, the exact total, the spread of its launches, its
geometries, its counters, and which kernel followed which. That is a few hundred rows however many launches there were.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from nsightkit.analysis.arrays import CHUNK, Codes, Ints, ints, known, narrow_ints, words
from nsightkit.analysis.compare.comparability import COUNTED, OPERATORS, TIMELINE
from nsightkit.analysis.grouping import COUNTERS, number
from nsightkit.analysis.kernel_names import describe_kernel

if TYPE_CHECKING:
    import pyarrow as pa

_GEOMETRY = tuple(f"{part}_{axis}" for part in ("grid", "block") for axis in "xyz")
_MISSING = -(1 << 62)


@dataclass(frozen=True, slots=True)
class KernelSum:
    """All launches of one kernel in one process run."""

    kernel_name: str
    launch_count: int
    untimed_count: int  # launches whose duration is not known; they are in no total
    total_ns: int
    squared_deviation_ns2: float  # sum over launches of (duration - mean)²
    geometries: Mapping[str, int] = field(default_factory=dict)  # "grid / block" -> launches; empty if not known
    paths: frozenset[str] = frozenset()  # NVTX paths it ran in; empty if not known
    counters: Mapping[str, float] = field(default_factory=dict)  # canonical metric -> mean per profiled launch
    ordinals: Mapping[str, int] = field(default_factory=dict)  # "range#place in it" -> launches; empty if not known


@dataclass(frozen=True)
class RunSums:
    """One process run. `basis` says whose times these are: a timeline's, or those of profiled launches."""

    basis: str
    kernels: Mapping[str, KernelSum]
    successions: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (kernel, next in its stream) -> times

    @property
    def total_ns(self) -> int:
        """Time of all launches."""
        return sum(kernel.total_ns for kernel in self.kernels.values())

    @property
    def launch_count(self) -> int:
        """Number of launches, timed or not."""
        return sum(kernel.launch_count for kernel in self.kernels.values())

    @property
    def untimed_count(self) -> int:
        """Number of launches without a duration."""
        return sum(kernel.untimed_count for kernel in self.kernels.values())


def sum_launches(launches: pa.Table) -> RunSums:
    """Return the sums over rows of kernel_launches.

    Args:
        launches: rows of one process run (several captures are several ranks of it).
    """
    codes, dictionary = words(launches, "kernel_name")
    names = dictionary.to_pylist()
    durations = ints(launches, "duration_ns", _MISSING)
    order, streams = _launch_order(launches)
    geometry = _Geometry.of(launches, codes)
    moments = _moments(codes, durations, len(names))
    kernels = {
        name: replace(_kernel_sum(name, at, moments), geometries=geometry.of_kernel(at))
        for at, name in enumerate(names)
        if moments[0][at]
    }
    return RunSums(TIMELINE, kernels, _successions(codes, names, order, streams))


def _moments(codes: Codes, durations: Ints, size: int) -> tuple[Ints, Ints, Ints, Any]:
    """Return per kernel launches, timed launches, total and squared deviations."""
    timed = durations != _MISSING
    # bincount would widen them anew each time.
    known_codes, values = codes.astype(np.intp), durations
    launches = counts = np.bincount(known_codes, minlength=size)
    if not timed.all():
        known_codes, values = known_codes[timed], durations[timed]
        counts = np.bincount(known_codes, minlength=size)
    # A sum of whole numbers in doubles is exact below 2^53 ns, which is 104 days of GPU time.
    totals = np.bincount(known_codes, weights=values, minlength=size)
    means = totals / np.maximum(counts, 1)
    deviations = np.zeros(size)
    step = max(CHUNK, size)
    for begin in range(0, values.size, step):
        part = slice(begin, begin + step)
        apart = values[part] - means[known_codes[part]]
        deviations += np.bincount(known_codes[part], weights=apart * apart, minlength=size)
    return launches, counts, totals.astype(np.int64), deviations


def _kernel_sum(name: str, at: int, moments: tuple[Ints, Ints, Ints, Any]) -> KernelSum:
    launches, counts, totals, deviations = (values[at] for values in moments)
    return KernelSum(name, int(launches), int(launches - counts), int(totals), float(deviations))


def _launch_order(launches: pa.Table) -> tuple[Ints, Ints]:
    """Return the rows in the order of begin within each stream, and the stream of each row as a code."""
    stream = words(launches, "capture_id")[0].astype(np.int64)
    for name in ("process_id", "device_id", "stream_id"):
        column = narrow_ints(launches, name)
        if column.size and (column != column[0]).any():
            stream = np.unique(np.stack([stream, column]), axis=1, return_inverse=True)[1].reshape(-1)
    starts = ints(launches, "start_ns", 0)
    in_order = bool(np.all(starts[1:] >= starts[:-1]))
    if starts.size and (stream == stream[0]).all():
        return (np.arange(starts.size) if in_order else np.argsort(starts, kind="stable")), stream
    order = np.argsort(stream, kind="stable") if in_order else np.lexsort((starts, stream))
    return order, stream


def _successions(codes: Codes, names: Sequence[str], order: Ints, streams: Ints) -> dict[tuple[str, str], int]:
    if order.size < 2:
        return {}
    in_turn, stream = codes[order].astype(np.int64), streams[order]
    pairs = in_turn[:-1] * len(names) + in_turn[1:]
    pairs = pairs[stream[:-1] == stream[1:]]
    counts = np.bincount(pairs) if len(names) <= 2000 else None
    found = np.flatnonzero(counts) if counts is not None else np.unique(pairs)
    times = counts[found] if counts is not None else np.unique(pairs, return_counts=True)[1]
    return {
        (names[pair // len(names)], names[pair % len(names)]): count
        for pair, count in zip(found.tolist(), times.tolist(), strict=True)
    }


@dataclass(frozen=True)
class _Geometry:
    """Which grids and blocks each kernel was launched with."""

    texts: Mapping[int, Mapping[str, int]]

    @classmethod
    def of(cls, launches: pa.Table, codes: Codes) -> _Geometry:
        if not known(launches, "grid_x").any():
            return cls({})
        import pyarrow as pa

        sizes = [narrow_ints(launches, name, 0) for name in _GEOMETRY]
        # One number a row in place of seven, of the columns that vary at all.
        key = codes.astype(np.uint64)
        for column in sizes:
            if (column != column[0]).any():
                key = (key ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
                key ^= key >> np.uint64(29)
        # Hashing is several times faster than numpy's sort.
        groups = pa.array(key).dictionary_encode().indices.to_numpy()
        counts = np.bincount(groups)
        first = np.zeros(counts.size, np.int64)
        first[groups[::-1]] = np.arange(key.size)[::-1]
        texts: dict[int, dict[str, int]] = {}
        for row, count in zip(first.tolist(), counts.tolist(), strict=True):
            numbers = [str(int(column[row])) for column in sizes]
            text = f"{'×'.join(numbers[:3])} / {'×'.join(numbers[3:])}"
            texts.setdefault(int(codes[row]), {})[text] = count
        return cls(texts)

    def of_kernel(self, code: int) -> Mapping[str, int]:
        return self.texts.get(code, {})


def sum_reported(sums: pa.Table) -> RunSums:
    """Return the sums that `nsys stats` printed (table reported_sums): no order and no geometry is known."""
    kernels: dict[str, KernelSum] = {}
    for row in sums.to_pylist():
        if not str(row["report"]).endswith("gpu_kern_sum"):
            continue
        count, deviation = int(row["instance_count"] or 0), float(row.get("std_ns") or 0.0)
        part = KernelSum(row["name"], count, 0, int(row["total_ns"] or 0), deviation**2 * max(count - 1, 0))
        kernels[part.kernel_name] = add_sums([kernels[row["name"]], part]) if row["name"] in kernels else part
    return RunSums(TIMELINE, kernels)


def sum_operators(operators: pa.Table) -> RunSums:
    """Return the sums over rows of cpu_operators: calls, and time without that of the operators they called.

    Operators call one another, so which follows which says nothing.

    Args:
        operators: rows of one process run.
    """
    codes, dictionary = words(operators, "operator_name")
    names = dictionary.to_pylist()
    moments = _moments(codes, ints(operators, "self_ns", _MISSING), len(names))
    return RunSums(OPERATORS, {name: _kernel_sum(name, at, moments) for at, name in enumerate(names) if moments[0][at]})


def sum_counted(rows: Sequence[Mapping[str, Any]]) -> RunSums:
    """Return the sums over profiled launches (table kernel_counters): times are those under the profiler's clocks."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["kernel_name"], []).append(row)
    in_order = [row["kernel_name"] for row in sorted(rows, key=lambda r: (r["capture_id"], r["launch_index"]))]
    followers: dict[tuple[str, str], int] = {}
    for pair in pairwise(in_order):
        followers[pair] = followers.get(pair, 0) + 1
    return RunSums(COUNTED, {name: _counted_sum(name, members) for name, members in grouped.items()}, followers)


def _counted_sum(name: str, rows: Sequence[Mapping[str, Any]]) -> KernelSum:
    measured = [row for row in rows if not row.get("failed")]
    times = [round(ns) for row in measured if (ns := number(row.get("duration_ns"))) is not None]
    mean = sum(times) / len(times) if times else 0.0
    geometries: dict[str, int] = {}
    for row in rows:
        if row.get("grid_x") is not None:
            sizes = [str(row.get(column)) for column in _GEOMETRY]
            text = f"{'×'.join(sizes[:3])} / {'×'.join(sizes[3:])}"
            geometries[text] = geometries.get(text, 0) + 1
    paths = frozenset(row["nvtx_path"] for row in rows if row.get("nvtx_path"))
    spread = math.fsum((time - mean) ** 2 for time in times)
    untimed = len(rows) - len(times)
    return KernelSum(name, len(rows), untimed, sum(times), spread, geometries, paths, mean_counters(measured))


def mean_counters(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean per launch of every counter that all of `rows` have."""
    members = list(rows)
    found = {}
    for metric in COUNTERS:
        values = [row.get(metric) for row in members]
        finite = [float(value) for value in values if value is not None and math.isfinite(value)]
        if finite and len(finite) == len(values):
            found[metric] = math.fsum(finite) / len(finite)
    return found


def with_counters(sums: RunSums, rows: Sequence[Mapping[str, Any]]) -> RunSums:
    """Return a timeline's sums with the counters of the same run's profiled launches beside them.

    The tools print one kernel in different ways: the normal form joins them.
    """
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if not row.get("failed"):
            grouped.setdefault(describe_kernel(row["kernel_name"]).normal, []).append(row)
    kernels = dict(sums.kernels)
    for name, kernel in sums.kernels.items():
        found = grouped.get(describe_kernel(name).normal)
        if found:
            kernels[name] = replace(kernel, counters=mean_counters(found))
    return replace(sums, kernels=kernels)


def add_sums(parts: Sequence[KernelSum]) -> KernelSum:
    """Return several kernels, or parts of one, as one; counters stay only where there is a single part."""
    if len(parts) == 1:
        return parts[0]
    timed = sum(part.launch_count - part.untimed_count for part in parts)
    total = sum(part.total_ns for part in parts)
    mean = total / timed if timed else 0.0
    spread = 0.0
    geometries: dict[str, int] = {}
    for part in parts:
        count = part.launch_count - part.untimed_count
        if count:
            spread += part.squared_deviation_ns2 + count * (part.total_ns / count - mean) ** 2
        for text, times in part.geometries.items():
            geometries[text] = geometries.get(text, 0) + times
    return KernelSum(
        parts[0].kernel_name,
        sum(part.launch_count for part in parts),
        sum(part.untimed_count for part in parts),
        total,
        spread,
        geometries,
        frozenset().union(*(part.paths for part in parts)),
        ordinals=next((part.ordinals for part in parts if part.ordinals), {}),
    )


def stored_tables(sums: RunSums, ranges: Mapping[str, RunSums]) -> dict[str, dict[str, list[Any]]]:
    """Return the columns of kernel_sums, kernel_successions and counter_means that stand for a run and its ranges."""
    rows: list[tuple[str | None, KernelSum, str | None, int]] = []
    places: list[KernelSum | None] = []  # on the first row of a kernel only: they may be long
    for nvtx_range, part in ((None, sums), *ranges.items()):
        for kernel in part.kernels.values():
            shapes: list[tuple[str | None, int]] = [*kernel.geometries.items()] or [(None, kernel.launch_count)]
            rows += [(nvtx_range, kernel, geometry, launches) for geometry, launches in shapes]
            places += [kernel, *([None] * (len(shapes) - 1))]
    pairs = list(sums.successions.items())
    counters = [(k.kernel_name, metric, value) for k in sums.kernels.values() for metric, value in k.counters.items()]
    return {
        "kernel_sums": {
            "nvtx_range": [nvtx_range for nvtx_range, _, _, _ in rows],
            "basis": [sums.basis] * len(rows),
            "kernel_name": [kernel.kernel_name for _, kernel, _, _ in rows],
            "geometry": [geometry for _, _, geometry, _ in rows],
            "launch_count": [launches for _, _, _, launches in rows],
            "untimed_count": [kernel.untimed_count for _, kernel, _, _ in rows],
            "total_ns": [kernel.total_ns for _, kernel, _, _ in rows],
            "squared_deviation_ns2": [kernel.squared_deviation_ns2 for _, kernel, _, _ in rows],
            "nvtx_paths": [json.dumps(sorted(kernel.paths)) if kernel else None for kernel in places],
            "nvtx_places": [json.dumps(dict(sorted(kernel.ordinals.items()))) if kernel else None for kernel in places],
        },
        "kernel_successions": {
            "kernel_name": [pair[0] for pair, _ in pairs],
            "next_kernel_name": [pair[1] for pair, _ in pairs],
            "succession_count": [times for _, times in pairs],
        },
        "counter_means": {
            "kernel_name": [name for name, _, _ in counters],
            "metric": [metric for _, metric, _ in counters],
            "value": [value for _, _, value in counters],
        },
    }


def from_stored(sums: pa.Table, successions: pa.Table, counters: pa.Table, nvtx_range: str | None = None) -> RunSums:
    """Return the sums that `stored_tables` made rows of; of one NVTX range, or of the whole run."""
    rows = [row for row in sums.to_pylist() if row["nvtx_range"] == nvtx_range]
    measured: dict[str, dict[str, float]] = {}
    for row in counters.to_pylist():
        measured.setdefault(row["kernel_name"], {})[row["metric"]] = row["value"]
    kernels: dict[str, KernelSum] = {}
    for row in rows:
        name, old = row["kernel_name"], kernels.get(row["kernel_name"])
        geometries = dict(old.geometries) if old else {}
        if row["geometry"]:
            geometries[row["geometry"]] = row["launch_count"]
        kernels[name] = KernelSum(
            name,
            row["launch_count"] + (old.launch_count if old else 0),
            row["untimed_count"],
            row["total_ns"],
            row["squared_deviation_ns2"],
            geometries,
            old.paths if old else frozenset(json.loads(row["nvtx_paths"] or "[]")),
            measured.get(name, {}),
            old.ordinals if old else json.loads(row.get("nvtx_places") or "{}"),
        )
    followed = {(r["kernel_name"], r["next_kernel_name"]): r["succession_count"] for r in successions.to_pylist()}
    return RunSums(rows[0]["basis"] if rows else TIMELINE, kernels, followed if nvtx_range is None else {})
