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


def told_apart(label: str, row: RooflineRow, rows: Sequence[RooflineRow]) -> str:
    """Return `label`, with the type of arithmetic where `row` shares its name with another sum of the same level."""
    place = (row.name, row.level, row.capture_id)
    same = [other for other in rows if (other.name, other.level, other.capture_id) == place]
    return f"{label} ({_kind(row)})" if len(same) > 1 and not row.kernel_name and not row.shapes else label


def _kind(row: RooflineRow) -> str:
    if row.point:
        return row.point.precision
    return "no arithmetic" if row.flop == 0 else "no figure" if row.tier == "none" else f"tier {row.tier}"


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
        if not is_placed_as_bound(row):
            why = next((flag for flag in row.flags if "busier" in flag), _BUSY[row.bound])
            lines.append(f"{row.name} is {row.bound} by its throughputs, not by its place: {why}")
    return list(dict.fromkeys(lines))[:_MOST]


def is_placed_as_bound(row: RooflineRow) -> bool:
    """Whether the verdict is the side of the ridge that the row stands on; true for verdicts that are no side.

    Places at L2 and L1 are drawn beside and decide nothing.
    """
    point = row.point
    if point is None or point.tier != "counters" or row.level != "DRAM" or row.bound not in ("COMPUTE", "MEMORY"):
        return True
    return row.bound == ("COMPUTE" if point.flop_per_byte >= point.ridge_flop_per_byte else "MEMORY")


def without_level(rows: Sequence[RooflineRow]) -> list[str]:
    """Return a line for the levels at which some kernels have no place, with what was not collected."""
    lacking: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.tier != "none" and row.point is None and f"{row.level.lower()}_bytes" in row.missing:
            lacking.setdefault(row.level, {}).update(dict.fromkeys(row.missing))
    caches = {level: names for level, names in lacking.items() if level != "DRAM"}
    if not caches:
        return []
    names = dict.fromkeys(name for found in caches.values() for name in found if name.endswith("_bytes"))
    return [f"no place at {', '.join(caches)}: not collected: {', '.join(names)} (ncu --set roofline counts them)"]


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
