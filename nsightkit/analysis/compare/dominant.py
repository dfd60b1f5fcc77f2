"""The costliest kernel of each side in the family that takes the most time of both, side by side.

In: a `Comparison`. Out: `DominantPair`. Two programs may spend their time in kernels of other names; what one launch of
each is, and how often it runs, belongs beside one another all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nsightkit.analysis.compare.comparison import Comparison, Difference, SideValues
from nsightkit.analysis.compare.matching import GONE, NEW

# Families of which a comparison says nothing together.
_NO_FAMILY = ("unclassified", "copy")
# What is shown of a profiled launch where a side has it.
COUNTED_FACTS = (
    "duration_ns", "registers_per_thread", "theoretical_occupancy_pct", "achieved_occupancy_pct", "sm_throughput_pct",
    "memory_throughput_pct", "dram_throughput_pct", "flop", "dram_bytes", "flop_per_byte", "l2_hit_rate_pct",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DominantSide:
    """The costliest kernel of one side: its values, and what one profiled launch of it counted."""

    name: str
    values: SideValues
    share: float  # of the time of all kernels of its side, 0 to 1
    counters: Mapping[str, float]  # mean per profiled launch, with the sum of FLOP and the intensity

    @property
    def geometry(self) -> str | None:
        """The grid and block that it is mostly launched with."""
        return max(self.values.geometries, key=lambda text: self.values.geometries[text], default=None)


@dataclass(frozen=True, slots=True)
class DominantPair:
    """One kernel of each side; `is_same` where both are one kernel."""

    family: str
    base: DominantSide
    head: DominantSide
    is_same: bool


def dominant_pair(comparison: Comparison) -> DominantPair | None:
    """Return the pair; None where no family runs on both sides."""
    shared = [row for row in comparison.families if row.how not in (NEW, GONE) and row.name not in _NO_FAMILY]
    if not shared:
        return None
    family = max(shared, key=lambda row: row.base.compared_ns + row.head.compared_ns).name
    rows = [row for row in comparison.kernels if row.family == family]
    old = max((row for row in rows if row.base.sum_ns), key=lambda row: row.base.compared_ns, default=None)
    new = max((row for row in rows if row.head.sum_ns), key=lambda row: row.head.compared_ns, default=None)
    if old is None or new is None:
        return None
    whole = comparison.whole
    return DominantPair(
        family,
        _side(old, old.base, whole.base, 0),
        _side(new, new.head, whole.head, -1),
        old is new,
    )


def _side(row: Difference, values: SideValues, whole: SideValues, at: int) -> DominantSide:
    # The name of a renamed kernel holds those of both sides.
    name = row.name.split(" → ")[at]
    return DominantSide(name, values, values.sum_ns / whole.sum_ns, _with_intensity(values.counters))


def _with_intensity(counters: Mapping[str, float]) -> dict[str, float]:
    found = dict(counters)
    flop = [value for metric, value in counters.items() if metric.endswith("_flop")]
    if flop:
        found["flop"] = sum(flop)
        if counters.get("dram_bytes"):
            found["flop_per_byte"] = found["flop"] / counters["dram_bytes"]
    return found
