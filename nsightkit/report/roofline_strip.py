"""The strip below a roofline: what has no place under it, by how much of the memory's bandwidth it uses.

In: the kernels and operators without a point. Out: SVG text, see `charts`. A place needs work in FLOP; without it the
traffic alone can still be told, and what is not known at all stands at the far left, so that nothing is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nsightkit.report import format as fmt
from nsightkit.report.charts import escape, label, num, outline

# Hundreds of operators take no time, and lie on one another.
_MOST_DRAWN = 100
_LEFT, _RIGHT, _UNKNOWN = 176.0, 656.0, 118.0


@dataclass(frozen=True, slots=True)
class Absent:
    """One kernel or operator without a place; `bandwidth_share` is of the peak, None where it is not known."""

    name: str
    bound: str
    time_share: float | None
    bandwidth_share: float | None
    href: str = ""


def strip(absent: Sequence[Absent], top: float, whole: int, what: str = "kernels") -> list[str]:
    """Return the strip with its upper edge at `top`; `whole` is how many there are with those that have a place."""
    if not absent:
        return []
    y = top + 36
    words = f"{fmt.count(len(absent))} of {fmt.count(whole)} {what} have no place above: by their DRAM throughput"
    if len(absent) > _MOST_DRAWN:
        words += f", the {_MOST_DRAWN} longest"
    drawn = [
        label(96, top + 14, words, 'class="q"'),
        f'<path class="axis" d="M{num(_LEFT)} {num(y)}H{num(_RIGHT)}"/>',
        *(label(_at(share), y + 20, f"{share * 100:.0f} %", 'class="q m"') for share in (0.0, 0.5, 1.0)),
    ]
    if any(one.bandwidth_share is None for one in absent):
        drawn.append(label(_UNKNOWN, y + 20, "not known", 'class="q m"'))
    ranked = sorted(absent, key=lambda one: -(one.time_share or 0.0))
    return drawn + [_drawn(one, y) for one in ranked[:_MOST_DRAWN]]


def _at(share: float) -> float:
    return _LEFT + min(1.0, max(0.0, share)) * (_RIGHT - _LEFT)


def _drawn(one: Absent, y: float) -> str:
    size = min(10.0, max(3.5, 16 * math.sqrt(one.time_share or 0.0)))
    x = _UNKNOWN if one.bandwidth_share is None else _at(one.bandwidth_share)
    reach = "DRAM throughput not known"
    if one.bandwidth_share is not None:
        reach = f"DRAM throughput {fmt.share(one.bandwidth_share)} of its peak"
    words = escape(f"{one.name}: {reach}, {fmt.share(one.time_share)} of the time, {one.bound.lower()}")
    bound = one.bound.lower()
    shape = f'<path class="{bound} point" d="{outline(bound, (x, y), size)}"><title>{words}</title></path>'
    return f'<a href="{one.href}" tabindex="-1">{shape}</a>' if one.href else shape
