"""The roofline without counters: operator calls with work from shapes, under the data sheet or measured ceilings.

In: call records and the roofs of the device. Out: `RooflineRow` values, one for each operator with one set of shapes.
All of it is experimental: a verdict needs 60 % of a roof, work that rests on an assumption gives none, and a point
above the roof is kept, flagged and left out.

Source: docs/method.md, "Work from shapes".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nsightkit.analysis.results import RooflinePoint, RooflineRow
from nsightkit.analysis.roofs.peaks import DTYPES, FP64_ON_TENSOR, Gpu, Peak, bandwidth_of, dtypes_of, peak_of
from nsightkit.analysis.roofs.roofline import ABOVE_ROOF, NEAR_ROOF, NS
from nsightkit.analysis.roofs.rules.ridge import SHEET_UNCERTAINTY
from nsightkit.analysis.work.formulas import formula_of
from nsightkit.analysis.work.work_model import CallRecord

EXPERIMENTAL = "experimental: work from shapes, not compared with counters"
AT_RIDGE = f"at the ridge, within what these peaks are known to ({SHEET_UNCERTAINTY * 100:.0f} %); both sides may bound"
_LABELS = {dtype.name: dtype.label for dtype in DTYPES}


@dataclass(frozen=True, slots=True)
class Roofs:
    """What a device can do: peaks by name of the type of arithmetic, and the bandwidth of its memory."""

    peaks: Mapping[str, Peak]
    bandwidth: Peak | None
    device: str = ""  # of measured roofs: cpu or cuda

    @property
    def known(self) -> bool:
        """Whether there is any roof to judge by."""
        return self.bandwidth is not None


NO_ROOFS = Roofs({}, None)


def roofs_of(gpu: Gpu) -> Roofs:
    """Return the data sheet of a GPU as roofs; none where it is not in the table."""
    peaks = {dtype.name: peak for dtype in dtypes_of(gpu) if (peak := peak_of(dtype, {}, gpu))}
    if gpu.version not in FP64_ON_TENSOR and "fp64" in peaks:
        # FP64 matrix instructions run on the FP64 pipe there.
        peaks.setdefault("tensor_fp64", peaks["fp64"])
    return Roofs(peaks, bandwidth_of({}, gpu))


@dataclass(frozen=True, slots=True)
class _Group:
    """All calls of one operator with one set of shapes: sums over them."""

    record: CallRecord  # the longest of them
    count: int
    time_ns: int
    flop: float
    moved_bytes: float


def analytic_rows(capture_id: str, records: Iterable[CallRecord], roofs: Roofs = NO_ROOFS) -> list[RooflineRow]:
    """Return one row for each operator with one set of shapes, the longest in total first.

    Args:
        capture_id: goes into the rows.
        records: the calls of one capture.
        roofs: of the device that they ran on; without them work and time are all there is.
    """
    groups: dict[tuple[str, ...], list[CallRecord]] = defaultdict(list)
    for record in records:
        dtype = record.work.dtype if record.work else record.reason
        assumption = record.work.assumption if record.work else ""
        groups[record.range_name, record.name, record.shapes, dtype, assumption].append(record)
    merged = [_merged(members) for members in groups.values()]
    whole = sum(group.time_ns for group in merged)
    rows = [_row(capture_id, group, roofs, whole) for group in merged]
    return sorted(rows, key=lambda row: -(row.total_ns or 0.0))


def _merged(records: Sequence[CallRecord]) -> _Group:
    works = [record.work for record in records if record.work]
    return _Group(
        max(records, key=lambda record: record.time_ns),
        len(records),
        sum(record.time_ns for record in records),
        sum(work.flop for work in works),
        sum(work.moved_bytes for work in works),
    )


def _row(capture_id: str, group: _Group, roofs: Roofs, whole_ns: int) -> RooflineRow:
    record, work = group.record, group.record.work
    bound, flags, missing = _judged(group, roofs)
    rate = group.moved_bytes / group.time_ns * NS if work and group.time_ns else None
    formula = formula_of(record.name)
    return RooflineRow(
        capture_id=capture_id,
        name=_shown(record),
        family=_family(record),
        tier="analytic" if work else "none",
        bound=bound,
        total_ns=float(group.time_ns),
        time_share=group.time_ns / whole_ns if whole_ns else None,
        count=group.count,
        level="DRAM",
        moved_bytes=group.moved_bytes if work else None,
        bytes_per_s=rate,
        point=_point(group, roofs, flags),
        flop=group.flop if work else None,
        formula=formula.text if formula and work else "",
        shapes=record.shapes,
        kernel_name=record.main_kernel,
        missing=missing,
        flags=flags,
        range_name=record.range_name,
        peak_bytes_per_s=roofs.bandwidth.low if roofs.bandwidth else None,
        bandwidth_source=roofs.bandwidth.source if roofs.bandwidth else "",
    )


def _shown(record: CallRecord) -> str:
    """Return the operator, or the kernel as people say it where no operator is known; `kernel_name` has it in full."""
    from nsightkit.analysis.kernel_names import describe_kernel

    return describe_kernel(record.name).friendly if record.name == record.main_kernel else record.name


def _family(record: CallRecord) -> str:
    from nsightkit.analysis.kernel_names import describe_kernel

    return describe_kernel(record.main_kernel).family if record.main_kernel else "cpu"


def _times(group: _Group, roofs: Roofs) -> tuple[float | None, float | None]:
    """Return compute and memory time at the roof in ns; None where the roof is not known."""
    work = group.record.work
    if work is None or roofs.bandwidth is None:
        return None, None
    peak = roofs.peaks.get(work.dtype)
    compute = 0.0 if not group.flop else group.flop / peak.low * NS if peak else None
    return compute, group.moved_bytes / roofs.bandwidth.low * NS


def _judged(group: _Group, roofs: Roofs) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    work = group.record.work
    if work is None:
        return "UNKNOWN", (), (group.record.reason,)
    flags = [EXPERIMENTAL, *([f"assumed: {work.assumption}"] if work.assumption else [])]
    compute, memory = _times(group, roofs)
    if compute is None or memory is None:
        lacking = "peak of " + _LABELS[work.dtype] if roofs.known else "roof of the device (name it, or measure it)"
        return "UNKNOWN", tuple(flags), (lacking,)
    share = max(compute, memory) / group.time_ns if group.time_ns else 0.0
    if share > ABOVE_ROOF:
        return "UNKNOWN", (*flags, _above(share, compute, memory)), ()
    if work.assumption or not share:
        return "UNKNOWN", tuple(flags), ()
    if share < NEAR_ROOF:
        far = f"{share:.1%} of the roof: latency, more traffic than the shapes need, or a unit that they do not show"
        return "UNKNOWN", (*flags, far), ()
    if min(compute, memory) * (1 + SHEET_UNCERTAINTY) >= max(compute, memory):
        flags.append(AT_RIDGE)
    return ("COMPUTE" if compute >= memory else "MEMORY"), tuple(flags), ()


def _above(share: float, compute: float, memory: float) -> str:
    if memory >= compute:
        return f"{share:.2f} times the roof: cache-served (tensors lay in a cache), or another machine than the roof's"
    return f"{share:.2f} times the roof: the clock, the accumulate type or the machine may be another than the roof's"


def _point(group: _Group, roofs: Roofs, flags: tuple[str, ...]) -> RooflinePoint | None:
    work, bandwidth = group.record.work, roofs.bandwidth
    peak = roofs.peaks.get(work.dtype) if work else None
    if (
        work is None
        or bandwidth is None
        or peak is None
        or not group.flop
        or not group.moved_bytes
        or not group.time_ns
    ):
        return None
    intensity, rate = group.flop / group.moved_bytes, group.flop / group.time_ns * NS
    roof = min(peak.low, intensity * bandwidth.low)
    return RooflinePoint(
        kernel_name=group.record.name,
        precision=_LABELS[work.dtype],
        level="DRAM",
        flop=group.flop,
        moved_bytes=group.moved_bytes,
        duration_ns=float(group.time_ns),
        flop_per_byte=intensity,
        flop_per_s=rate,
        ridge_flop_per_byte=peak.low / bandwidth.low,
        peak_flop_per_s=peak.low,
        peak_bytes_per_s=bandwidth.low,
        roof_flop_per_s=roof,
        efficiency=rate / roof,
        roof_source=peak.source if peak.source == bandwidth.source else f"{peak.source}; {bandwidth.source}",
        flags=flags,
        tier="analytic",
    )
