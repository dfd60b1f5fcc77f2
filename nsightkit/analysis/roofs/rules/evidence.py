"""What a rule may look at.

In: counters without suspects, and the roofline made from them. Out: `Evidence`, with what is known and what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nsightkit.analysis.grouping import Counters
from nsightkit.analysis.results import Verdict
from nsightkit.analysis.roofs.roofline import Roofline

SM, MEMORY, DRAM = "sm_throughput_pct", "memory_throughput_pct", "dram_throughput_pct"
# Below this both sides count as idle, above it one of them as busy; sides that lie closer than APART count as equal.
# Source: ncu 2025.3.1, rule SOLBottleneck.
LOW_PCT = 60.0
APART_POINTS = 10.0
WAVES = "waves_per_sm"
SMALL_GRID_WAVES = 1.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Counters of one kernel without suspects; `flags` say what was left out and what to know about them."""

    counters: Counters
    roofline: Roofline
    flags: tuple[str, ...] = ()

    def inputs(self, *names: str) -> dict[str, float]:
        """Return those of `names` that are known."""
        return {name: value for name in names if (value := self.counters.get(name)) is not None}

    def missing(self, *names: str) -> tuple[str, ...]:
        """Return those of `names` that are not known."""
        return tuple(name for name in names if self.counters.get(name) is None)

    def unknown(self, rule: str, word: str, missing: Sequence[str], flags: Sequence[str] = ()) -> Verdict:
        """Return the verdict of a `rule` that cannot judge."""
        return Verdict("UNKNOWN", rule, "none", word, None, "", {}, tuple(missing), (*self.flags, *flags))
