"""What a run would take with other peaks: the largest term of each kernel anew, at unchanged efficiency.

In: roofline rows, and the peaks of now and then. Out: `WhatIf`. Only bandwidth and peaks can be projected: counters do
not say what another cache or another number of SMs would do. Not validated: no prediction was compared with a
measurement on the other GPU.

Source: docs/method.md, "What if".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nsightkit.analysis.results import RooflinePoint, RooflineRow
from nsightkit.analysis.roofs.peaks import DTYPES
from nsightkit.analysis.roofs.roofline import NEAR_ROOF, NS
from nsightkit.errors import AnalysisError
from nsightkit.gpus import GpuSpec

NOT_VALIDATED = "not validated: no prediction was compared with a measurement on the other GPU"
OTHER_CLOCKS = (
    "peaks now are ncu's at the clocks of the launch, which it may have locked, and peaks then those of a data sheet "
    "at its boost clock: part of the difference is the clock"
)
BANDWIDTH = "dram_bytes_per_s"
# Short names that a user may set.
ALIASES = {
    "bandwidth": BANDWIDTH,
    "bf16_flop_per_s": "tensor_bf16_flop_per_s",
    "tf32_flop_per_s": "tensor_tf32_flop_per_s",
    "fp8_flop_per_s": "tensor_fp8_flop_per_s",
    "fp4_flop_per_s": "tensor_fp4_flop_per_s",
    "int8_op_per_s": "tensor_int8_op_per_s",
}
PEAK_NAMES = {dtype.label: dtype.peak.removeprefix("peak_") for dtype in DTYPES}
SETTABLE = (BANDWIDTH, *PEAK_NAMES.values())


@dataclass(frozen=True, slots=True)
class Change:
    """Peaks by name (as in gpus.toml): before, where known, and after."""

    before: Mapping[str, float]
    after: Mapping[str, float]
    words: str


@dataclass(frozen=True, slots=True)
class Projection:
    """One row with its time then; `reason` says why a row keeps its time."""

    row: RooflineRow
    before_ns: float
    after_ns: float
    term_before: str  # COMPUTE or MEMORY: the larger time at the roof
    term_after: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """All rows, and the sums: GPU time of projected rows and of those that could not be projected.

    `far_ns` is the time of projected rows that lie far below their roof: what they gain or lose may be less.
    """

    rows: tuple[Projection, ...]
    before_ns: float
    after_ns: float
    unprojected_ns: float
    words: str
    flags: tuple[str, ...] = (NOT_VALIDATED,)
    far_ns: float = 0.0

    @property
    def speedup(self) -> float | None:
        """GPU time before ÷ after, what could not be projected unchanged."""
        return self.before_ns / self.after_ns if self.after_ns else None


def change_to_gpu(now: GpuSpec | None, then: GpuSpec) -> Change:
    """Return the change from the data sheet of `now` to that of `then`; where `now` is None, from measured roofs."""
    names = (BANDWIDTH, *PEAK_NAMES.values())
    before = {name: value for name in names if now and (value := now.value(name))}
    after = {name: value for name in names if (value := then.value(name))}
    instead = now.key if now else "the roofs of the capture"
    return Change(before, after, f"the data sheet of {then.key} instead of {instead}")


def change_of_settings(settings: Mapping[str, float]) -> Change:
    """Return a change of single peaks; all others stay.

    Raises:
        AnalysisError: a name is no peak, or a value is no rate.
    """
    after = {}
    for given, value in settings.items():
        name = ALIASES.get(given, given)
        if name not in SETTABLE:
            raise AnalysisError(
                f"no peak '{given}'; only bandwidth and peaks can be projected: {', '.join((*ALIASES, *SETTABLE))}",
                slug="unknown-peak",
            )
        if not 0 < value < float("inf"):
            raise AnalysisError(f"{given}={value}: a peak is a rate above zero", slug="unknown-peak")
        after[name] = value
    return Change({}, after, ", ".join(f"{name} = {value:.4g}" for name, value in after.items()))


def project(rows: Sequence[RooflineRow], change: Change) -> WhatIf:
    """Return the times that `rows` would take under `change`; only rows at the DRAM level count."""
    whole = change.words.startswith("the data sheet")
    found = tuple(_projected(row, change, whole) for row in rows if row.level == "DRAM" and row.total_ns)
    return WhatIf(
        found,
        sum(item.before_ns for item in found),
        sum(item.after_ns for item in found),
        sum(item.before_ns for item in found if item.reason),
        change.words,
        flags=(NOT_VALIDATED, *([OTHER_CLOCKS] if whole and _other_clocks(found, change) else [])),
        far_ns=sum(item.before_ns for item in found if not item.reason and _far(item.row)),
    )


def _other_clocks(found: Sequence[Projection], change: Change) -> bool:
    points = [item.row.point for item in found if not item.reason]
    return not change.before and any(point and "ncu's peak" in point.roof_source for point in points)


def _far(row: RooflineRow) -> bool:
    share = row.point.efficiency if row.point else row.bandwidth_share
    return share is not None and share < NEAR_ROOF


def _projected(row: RooflineRow, change: Change, whole: bool) -> Projection:
    total = row.total_ns or 0.0
    point = row.point
    if point is None:
        return _moved_only(row, change, whole)
    if any("times the roof" in flag for flag in point.flags):
        return Projection(row, total, total, "", "", "above the roof: its time is kept")
    if other := _other_limit(row, point):
        return Projection(row, total, total, "", "", other)
    name = PEAK_NAMES.get(point.precision)
    factors = (
        _factor(point.peak_flop_per_s, name, change, whole),
        _factor(point.peak_bytes_per_s, BANDWIDTH, change, whole),
    )
    if name is None or factors[0] is None or factors[1] is None:
        return Projection(row, total, total, "", "", f"no peak of {point.precision} to project to: its time is kept")
    return _moved(row, point, (factors[0], factors[1]))


def _terms(point: RooflinePoint) -> tuple[float, float]:
    """Return compute and memory time at the roof in ns."""
    return point.flop / point.peak_flop_per_s * NS, point.moved_bytes / point.peak_bytes_per_s * NS


def _other_limit(row: RooflineRow, point: RooflinePoint) -> str:
    """Say what limits the kernel if counters show that its larger time at the roof does not; "" otherwise."""
    compute, memory = _terms(point)
    if row.bound == "LATENCY":
        return "bound by latency, which no peak changes: its time is kept"
    if row.bound in ("UNKNOWN", "COMPUTE" if compute >= memory else "MEMORY"):
        return ""
    return f"bound by a unit outside this roofline ({row.bound}): its time is kept"


def _moved_only(row: RooflineRow, change: Change, whole: bool) -> Projection:
    """Project a row without arithmetic by its bandwidth, if it moves data of its own GPU's memory."""
    total = row.total_ns or 0.0
    before = change.before.get(BANDWIDTH)
    if row.bound == "LATENCY":
        return Projection(row, total, total, "", "", "bound by latency, which no peak changes: its time is kept")
    if row.flop != 0 or not row.moved_bytes or before is None or any(flag.startswith("assumed") for flag in row.flags):
        return Projection(row, total, total, "", "", "no place under a roof: its time is kept")
    factor = _factor(before, BANDWIDTH, change, whole)
    if factor is None:
        return Projection(row, total, total, "", "", "no bandwidth to project to: its time is kept")
    return Projection(row, total, total / factor, "MEMORY", "MEMORY")


def _moved(row: RooflineRow, point: RooflinePoint, factors: tuple[float, float]) -> Projection:
    compute, memory = _terms(point)
    then_compute, then_memory = compute / factors[0], memory / factors[1]
    efficiency = max(compute, memory) / point.duration_ns
    total = row.total_ns or 0.0
    return Projection(
        row, total, max(then_compute, then_memory) / efficiency * (total / point.duration_ns),
        "COMPUTE" if compute >= memory else "MEMORY", "COMPUTE" if then_compute >= then_memory else "MEMORY",
    )  # fmt: skip


def _factor(observed: float, name: str | None, change: Change, whole: bool) -> float | None:
    """Return peak then ÷ peak now: of two data sheets where both have it, else against the roof that was used."""
    if name is None:
        return None
    after = change.after.get(name)
    if after is None:
        # Another GPU without this type cannot run it; a single setting leaves the others as they are.
        return None if whole else 1.0
    return after / change.before.get(name, observed)
