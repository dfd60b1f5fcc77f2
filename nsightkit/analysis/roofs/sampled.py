"""The roofline of a phase from samples of the whole GPU, where nothing was counted kernel by kernel.

In: samples of one capture, the phases of its timeline, and its GPUs. Out: `SampledPhase`, means over the samples that
lie wholly inside one phase; as `RooflineRow` values of the tier `sampled`. nsys samples DRAM, issue slots and the
tensor pipe, and no cache and no other pipe: where none of the three is busy, the samples cannot say why.

Source: metric sets of nsys 2023.4; docs/method.md, "Samples of the whole GPU".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nsightkit.analysis.arrays import Ints, Mask, arrow_mask, ints, words
from nsightkit.analysis.ranges.phases import OUTSIDE, PhaseInstances, phase_instances
from nsightkit.analysis.results import RooflineRow
from nsightkit.analysis.roofs.peaks import Gpu, bandwidth_of
from nsightkit.analysis.roofs.roofline import NS, TENSOR_ACTIVITY_FACTOR
from nsightkit.analysis.roofs.rules.evidence import APART_POINTS, LOW_PCT
from nsightkit.analysis.timeline.intervals import union
from nsightkit.gpus import find_gpu

if TYPE_CHECKING:
    import pyarrow as pa

    from nsightkit.analysis.ranges.nvtx_projection import Attribution
    from nsightkit.analysis.work.operations import CaptureTables

# Fewer samples than this make no mean.
LEAST_SAMPLES = 10
WHOLE_CAPTURE = "whole capture"
ISSUE, TENSOR, READ, WRITE = "sm_issue_pct", "tensor_active_pct", "dram_read_pct", "dram_write_pct"
DRAM = "dram_pct"
DEVICE_WIDE = "sampled: means over the whole GPU while the phase ran, idle time between its kernels included"
NOT_BUSY = (
    "neither DRAM nor issue slots nor the tensor pipe is busy: idle time, latency, or a unit that nsys does not sample "
    "(caches, special functions)"
)


@dataclass(frozen=True, slots=True)
class SampledPhase:
    """One phase on one GPU: `means` in percent (dram_pct is reads and writes) and gpc_clock_hz, by our names."""

    name: str
    device: int
    span_ns: int  # first start to last end of its work, summed over instances that do not overlap
    gpu_ns: int  # sum of the durations of its work
    instance_count: int
    sample_count: int  # wholly inside an instance, and in no other phase
    shared_count: int  # left out: another phase ran too
    interval_ns: float  # between two samples
    means: Mapping[str, float]
    bound: str
    margin: float | None  # points
    reason: str  # why it is UNKNOWN


@dataclass(frozen=True)
class _Samples:
    """All samples of one GPU: one row a moment, NaN where a metric has none."""

    time_ns: Ints
    interval_ns: float
    values: Mapping[str, Any]

    def inside(self, begins: Ints, ends: Ints) -> Mask:
        """Return which samples cover a stretch of time that lies in one of the (disjoint, rising) intervals."""
        if not begins.size:
            return np.zeros(self.time_ns.size, np.bool_)
        from_ns = self.time_ns - self.interval_ns
        place = np.searchsorted(begins, from_ns, side="right") - 1
        return np.asarray((place >= 0) & (ends[np.maximum(place, 0)] >= self.time_ns))


def sampled_phases(attribution: Attribution, samples: pa.Table, gpus: Mapping[int, Gpu]) -> list[SampledPhase]:
    """Return what was sampled in each phase, the longest first.

    Args:
        attribution: of the capture.
        samples: rows of gpu_metric_samples of the same capture.
        gpus: device -> what the capture says of it.
    """
    found: list[SampledPhase] = []
    for device, read in _by_device(samples).items():
        found += _of_device(attribution, device, read, gpus.get(device, Gpu()))
    return sorted(found, key=lambda phase: -phase.gpu_ns)


def _by_device(rows: pa.Table) -> dict[int, _Samples]:
    device, moment = ints(rows, "device_id"), ints(rows, "time_ns")
    codes, names = words(rows, "metric")
    value = rows["value"].to_numpy()
    found = {}
    for one in np.unique(device).tolist():
        mine = device == one
        times, place = np.unique(moment[mine], return_inverse=True)
        values = {}
        for code, name in enumerate(names.to_pylist()):
            of_metric = codes[mine] == code
            if of_metric.any():
                values[name] = np.full(times.size, np.nan)
                values[name][place[of_metric]] = value[mine][of_metric]
        interval = float(np.median(np.diff(times))) if times.size > 1 else 0.0
        found[one] = _Samples(times, interval, values)
    return found


def _of_device(attribution: Attribution, device: int, samples: _Samples, gpu: Gpu) -> list[SampledPhase]:
    phases = phase_instances(attribution, device)
    if not phases.names:
        phases = _whole(attribution, device)
    spans = [_spans(phases, place) for place in range(len(phases.names))]
    masks = [samples.inside(*pair) for pair in spans]
    alone = np.sum(masks, axis=0) == 1 if masks else np.zeros(samples.time_ns.size, np.bool_)
    found = []
    for place, (name, (begins, ends), mask) in enumerate(zip(phases.names, spans, masks, strict=True)):
        means = _means(samples, mask & alone)
        count = int((mask & alone).sum())
        bound, margin, reason = _judged(means, count, gpu)
        mine = phases.phase == place
        found.append(
            SampledPhase(
                name, device, int((ends - begins).sum()), int(phases.gpu_ns[mine].sum()), int(mine.sum()), count,
                int((mask & ~alone).sum()), samples.interval_ns, means, bound, margin, reason,
            )
        )  # fmt: skip
    return found


def _whole(attribution: Attribution, device: int) -> PhaseInstances:
    work = attribution.operations
    mine = work.device == device
    if not mine.any():
        none = np.zeros(0, np.int64)
        return PhaseInstances((), none.astype(np.int32), none, none, none)
    start, end = work.start_ns[mine], work.end_ns[mine]
    return PhaseInstances(
        (WHOLE_CAPTURE,), np.zeros(1, np.int32), np.array([start.min()]), np.array([end.max()]),
        np.array([(end - start).sum()]),
    )  # fmt: skip


def _spans(phases: PhaseInstances, place: int) -> tuple[Ints, Ints]:
    mine = phases.phase == place
    merged = union(phases.start_ns[mine], phases.end_ns[mine])
    return merged.start_ns, merged.end_ns


def _means(samples: _Samples, chosen: Mask) -> dict[str, float]:
    if not chosen.any():
        return {}
    found = {}
    for name, values in samples.values.items():
        known = values[chosen]
        known = known[np.isfinite(known)]
        if known.size:
            found[name] = float(known.mean())
    if READ in found and WRITE in found:
        found[DRAM] = found[READ] + found[WRITE]
    return found


def _judged(means: Mapping[str, float], count: int, gpu: Gpu) -> tuple[str, float | None, str]:
    """Return bound, margin in points, and why there is none; thresholds are those of NVIDIA's rule."""
    if count < LEAST_SAMPLES:
        return "UNKNOWN", None, (
            f"{count} samples lie wholly inside it, {LEAST_SAMPLES} are needed: its instances are short beside the "
            "sampling interval; sample more often (--gpu-metrics-frequency)"
        )  # fmt: skip
    missing = [name for name in (DRAM, ISSUE, TENSOR) if name not in means]
    if missing:
        return "UNKNOWN", None, f"not sampled on this GPU: {', '.join(missing)}"
    if any(not 0 <= means[name] <= 100 for name in (DRAM, ISSUE, TENSOR)):
        return "UNKNOWN", None, "a sampled share is below zero or above 100 %: suspect"
    memory, most = means[DRAM], max(means[ISSUE], means[TENSOR] * _tensor_factor(gpu))
    compute = max(means[ISSUE], means[TENSOR])
    if max(memory, most) < LOW_PCT:
        return "UNKNOWN", None, NOT_BUSY
    if memory - most >= APART_POINTS and memory >= LOW_PCT:
        return "MEMORY", min(memory - LOW_PCT, memory - most - APART_POINTS), ""
    if compute - memory >= APART_POINTS and compute >= LOW_PCT:
        return "COMPUTE", min(compute - LOW_PCT, compute - memory - APART_POINTS), ""
    if most > compute:
        return "UNKNOWN", None, "it depends on the rate at which the tensor pipe accumulates, which is not known"
    return "BALANCED", APART_POINTS - abs(compute - memory), ""


def _tensor_factor(gpu: Gpu) -> float:
    """Return how many times its sampled activity the tensor pipe may have been used."""
    spec = find_gpu(gpu.name, gpu.sm_count)
    full, half = (spec.value(name) if spec else None for name in
                  ("tensor_fp16_flop_per_s", "tensor_fp16_acc16_flop_per_s"))  # fmt: skip
    return 1.0 if full is not None and full == half else TENSOR_ACTIVITY_FACTOR


def sampled_rows(
    capture_id: str, phases: Sequence[SampledPhase], gpus: Mapping[int, Gpu], stated: Mapping[int, float | None],
    unattributed_ns: int = 0,
) -> list[RooflineRow]:  # fmt: skip
    """Return the phases as lines of a roofline: the traffic stands on the bandwidth strip, the bound is sampled.

    Args:
        capture_id: goes into the rows.
        phases: of that capture.
        gpus: device -> what the capture says of it.
        stated: device -> bandwidth in byte/s as the driver states it; else the data sheet counts.
        unattributed_ns: time of work outside all phases; it gets a line of its own.
    """
    whole = sum(phase.gpu_ns for phase in phases) + unattributed_ns
    several = len({phase.device for phase in phases}) > 1
    rows = [_row(capture_id, phase, _bandwidth(phase, gpus, stated), whole, several) for phase in phases]
    if rows and unattributed_ns and not any(phase.name == WHOLE_CAPTURE for phase in phases):
        rows.append(_outside(capture_id, unattributed_ns, whole))
    return rows


def _bandwidth(
    phase: SampledPhase, gpus: Mapping[int, Gpu], stated: Mapping[int, float | None]
) -> tuple[float | None, str]:
    told = stated.get(phase.device)
    if told:
        return told, "the bandwidth that the driver states"
    peak = bandwidth_of({}, gpus.get(phase.device, Gpu()))
    return (peak.low, peak.source) if peak else (None, "")


def _row(
    capture_id: str, phase: SampledPhase, bandwidth: tuple[float | None, str], whole_ns: int, several: bool
) -> RooflineRow:
    rate, source = bandwidth
    busy = phase.means.get(DRAM)
    traffic = busy / 100 * rate if rate and busy is not None else None
    name = f"{phase.name} (GPU {phase.device})" if several else phase.name
    return RooflineRow(
        capture_id=capture_id,
        name=name,
        family="phase",
        tier="sampled",
        bound=phase.bound,
        total_ns=float(phase.span_ns),
        time_share=phase.gpu_ns / whole_ns if whole_ns else None,
        count=phase.instance_count,
        level="DRAM",
        moved_bytes=traffic * phase.span_ns / NS if traffic is not None else None,
        bytes_per_s=traffic,
        point=None,
        missing=(phase.reason,) if phase.reason else (),
        flags=(DEVICE_WIDE, told(phase), *((f"bytes: sampled share × {source}",) if traffic is not None else ())),
        range_name=phase.name,
        peak_bytes_per_s=rate,
        bandwidth_source=source,
    )


def told(phase: SampledPhase) -> str:
    """Return the means with their number, in words."""
    words = {DRAM: "DRAM", ISSUE: "issue slots", TENSOR: "tensor pipe", "sm_active_pct": "SMs active"}
    shares = [f"{text} {phase.means[name]:.1f} %" for name, text in words.items() if name in phase.means]
    clock = phase.means.get("gpc_clock_hz")
    shares += [f"clock {clock / 1e6:.0f} MHz"] if clock else []
    margin = "" if phase.margin is None else f", {phase.margin:.1f} points from the threshold"
    shared = f", {phase.shared_count} left out as another phase ran too" if phase.shared_count else ""
    return f"{phase.name}: {', '.join(shares) or 'nothing'} in {phase.sample_count} samples{margin}{shared}"


def _outside(capture_id: str, time_ns: int, whole_ns: int) -> RooflineRow:
    return RooflineRow(
        capture_id, OUTSIDE, "phase", "none", "UNKNOWN", float(time_ns), time_ns / whole_ns, 0, "DRAM", None, None,
        None, missing=("no range launched it",), range_name=OUTSIDE,
    )  # fmt: skip


def captures_sampled(
    captures: Iterable[CaptureTables], samples: pa.Table, gpus: Sequence[Mapping[str, Any]]
) -> dict[str, list[RooflineRow]]:
    """Return capture -> its phases as lines of a roofline, for captures that hold samples and GPU work.

    Args:
        captures: the tables of each.
        samples: rows of gpu_metric_samples of all of them.
        gpus: rows of the table gpus.
    """
    from nsightkit.analysis.ranges.nvtx_projection import attribute

    code, names = words(samples, "capture_id")
    places = {name: place for place, name in enumerate(names.to_pylist())}
    found = {}
    for tables in captures:
        mine = code == places.get(tables.capture_id, -2)
        if not mine.any():
            continue
        attribution = attribute(tables)
        described = [row for row in gpus if row["capture_id"] == tables.capture_id]
        known = {r["device_id"]: Gpu(r["gpu_name"], r["compute_capability"], r["sm_count"]) for r in described}
        stated = {r["device_id"]: r["memory_bytes_per_s"] for r in described}
        phases = sampled_phases(attribution, samples.filter(arrow_mask(mine)), known)
        rows = sampled_rows(tables.capture_id, phases, known, stated, attribution.unattributed_ns)
        if rows:
            found[tables.capture_id] = rows
    return found
