"""What to say of rows whose place under the roof and whose verdict are two things.

In: roofline rows. Out: lines. For operators from shapes: why how much of the time is UNKNOWN, which roof is nearer and
how far away it is, and what would decide. For kernels: that other units than those of the roofline gave the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.analysis.results import RooflineRow

_FAR = (
    "below 60 % of the nearer roof: shapes cannot tell latency from traffic or units that they do not show "
    "(counters can: ncu --set roofline)"
)
_ASSUMED = "rests on an assumption, named below"
_ABOVE = "above its roof"
_MOST = 5
_BUSY = {
    "COMPUTE": "the SM is busy with more than the operations that were counted",
    "MEMORY": "a memory level above DRAM is busier",
}
_LACKING = "lacks a roof to be held against"


def unjudged(rows: Sequence[RooflineRow]) -> list[str]:
    """Return the lines for the analytic rows that are UNKNOWN; none where there are none."""
    open_ = [row for row in rows if row.tier == "analytic" and row.bound == "UNKNOWN" and row.family != "range"]
    whole = sum(row.total_ns or 0.0 for row in rows)
    if not open_ or not whole:
        return []
    reasons = list(map(_reason, open_))
    lines = []
    for reason in (_ASSUMED, _FAR, _ABOVE, _LACKING):
        time = sum(row.total_ns or 0.0 for row, own in zip(open_, reasons, strict=True) if own == reason)
        lines += [f"UNKNOWN, {fmt.share(time / whole)} of the time: {reason}"] if time else []
    return [*lines, *_nearer(open_, whole)]


def otherwise_bound(rows: Sequence[RooflineRow]) -> list[str]:
    """Return a line for each counted row whose throughputs, not its place, gave the verdict; a few at most."""
    found = [row for row in rows if row.tier == "counters" and row.point and row.bound in ("COMPUTE", "MEMORY")]
    lines = []
    for row in found:
        point = row.point
        side = "COMPUTE" if point and point.flop_per_byte >= point.ridge_flop_per_byte else "MEMORY"
        if side != row.bound:
            why = next((flag for flag in row.flags if "busier" in flag), _BUSY[row.bound])
            lines.append(f"{row.name} is {row.bound} by its throughputs, not by its place: {why}")
    return list(dict.fromkeys(lines))[:_MOST]


def _reason(row: RooflineRow) -> str:
    if row.missing:
        return _LACKING
    if any("times the roof" in flag for flag in row.flags):
        return _ABOVE
    return _ASSUMED if any(flag.startswith("assumed") for flag in row.flags) else _FAR


def _nearer(rows: Sequence[RooflineRow], whole: float) -> list[str]:
    """Return one line for each roof that is the nearer one: time at that roof over time measured, both summed."""
    lines = []
    for roof in dict.fromkeys(row.nearer_roof for row in rows if row.nearer_roof):
        members = [row for row in rows if row.nearer_roof == roof]
        time = sum(row.total_ns or 0.0 for row in members)
        at_roof = sum((row.total_ns or 0.0) * (_of_roof(row) or 0.0) for row in members)
        lines.append(
            f"nearer roof {roof} for {fmt.share(time / whole)} of the time: at {fmt.share(at_roof / time)} of it taken "
            "together (a place, not a verdict)"
        )
    return lines


def _of_roof(row: RooflineRow) -> float | None:
    return row.point.efficiency if row.point else row.bandwidth_share
