"""The sentence that says what a difference is made of.

In: a `Difference` or a whole `Comparison`. Out: text. A sentence is made only from what both sides measured; where
counters are missing it says so instead of guessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nsightkit.analysis.compare.comparability import COUNTED, OPERATORS, worded
from nsightkit.analysis.compare.comparison import KERNEL, Comparison, Difference
from nsightkit.analysis.compare.matching import GONE, NEW
from nsightkit.analysis.compare.other_work import OTHER_GEOMETRY

# Two figures closer than this count as the same; counters repeat within it. Source: docs/method.md.
CLOSE = 0.03
_CAUSES = ("registers_per_thread", "achieved_occupancy_pct", "l2_hit_rate_pct", "l1_hit_rate_pct")
_WORDS = {
    "registers_per_thread": "registers per thread",
    "achieved_occupancy_pct": "achieved occupancy",
    "l2_hit_rate_pct": "L2 hit rate",
    "l1_hit_rate_pct": "L1 hit rate",
}


@dataclass(frozen=True, slots=True)
class Work:
    """What both sides measured per launch; None where one of them did not."""

    flop: float | None = None  # head ÷ base
    dram_bytes: float | None = None
    cycles: float | None = None
    clock: float | None = None
    duration: float | None = None


def counters_of(row: Difference) -> dict[str, tuple[float, float]]:
    """Return the counters that both sides have, with the sum of FLOP and the intensity, as (base, head)."""
    old, new = (_with_sums(side.counters, row) for side in (row.base, row.head))
    return {metric: (old[metric], new[metric]) for metric in old if metric in new}


def _with_sums(counters: Mapping[str, float], row: Difference) -> dict[str, float]:
    found = dict(counters)
    both = set(row.base.counters) & set(row.head.counters)
    flop = [counters[metric] for metric in both if metric.endswith("_flop")]
    if flop:
        found["flop"] = sum(flop)
        if counters.get("dram_bytes"):
            found["flop_per_byte"] = found["flop"] / counters["dram_bytes"]
    return found


def work_of(row: Difference) -> Work:
    """Return head ÷ base of what the counters say of one launch."""
    counters = counters_of(row)

    def ratio(metric: str) -> float | None:
        old, new = counters.get(metric, (0.0, 0.0))
        return new / old if old > 0 and new > 0 else None

    return Work(
        ratio("flop"), ratio("dram_bytes"), ratio("sm_elapsed_cycles"), ratio("sm_clock_hz"), ratio("duration_ns")
    )


def diagnose(row: Difference) -> str:
    """Return what the difference of one item is made of."""
    if row.how in (NEW, GONE):
        alone = row.head if row.how == NEW else row.base
        words = "only in head" if row.how == NEW else "only in base"
        return f"{words}, without a duration" if alone.is_unmeasured else words
    if OTHER_GEOMETRY in row.flags:
        return OTHER_GEOMETRY
    if not row.base.sum_ns or not row.head.sum_ns or not row.base.sum_launches:
        return (
            f"no duration in {'base' if row.base.is_unmeasured else 'head'}"
            if _is_unmeasured(row)
            else "no time on one side"
        )
    launches = row.head.compared_launches / row.base.compared_launches
    time = (row.head.mean_ns or 0.0) / (row.base.mean_ns or 1.0)
    parts = [_launch_words(launches, row.basis), _time_words(time, row), _untimed_words(row)]
    return worded("; ".join(part for part in parts if part), row.basis) or "no change"


def _is_unmeasured(row: Difference) -> bool:
    return row.base.is_unmeasured or row.head.is_unmeasured


def _untimed_words(row: Difference) -> str:
    """Return how many launches are in no total, which makes a side look shorter than it is."""
    lacking = [
        f"{values.sum_launches - values.sum_timed} of {values.sum_launches} launches in {side}"
        for side, values in (("base", row.base), ("head", row.head))
        if values.sum_timed < values.sum_launches
    ]
    return f"{' and '.join(lacking)} without a duration, in no total" if lacking else ""


def _launch_words(launches: float, basis: str) -> str:
    if is_close(launches):
        return ""
    if basis == COUNTED:
        return f"{launches:.3g}× as many launches profiled"
    return f"fewer launches ({launches:.3g}×): algorithmic" if launches < 1 else f"more launches ({launches:.3g}×)"


def _time_words(time: float, row: Difference) -> str:
    if is_close(time):
        return _clock_words(row) if row.level == KERNEL else ""
    change = f"{'more' if time > 1 else 'less'} time per launch ({time:.3g}×)"
    if row.level != KERNEL or row.basis == OPERATORS:
        return change
    reason = _reason(work_of(row), row)
    return f"{change}: {reason}" if reason else f"{change}; no counters on both sides to say why"


def _clock_words(row: Difference) -> str:
    """Return what the counters say where the time is the same at another clock."""
    work = work_of(row)
    if work.clock is None or is_close(work.clock):
        return ""
    old, new = counters_of(row)["sm_clock_hz"]
    cycles = "" if work.cycles is None or is_close(work.cycles) else f", {work.cycles:.3g}× cycles"
    return f"same time at another clock ({old / 1e9:.3g} → {new / 1e9:.3g} GHz){cycles}"


def _reason(work: Work, row: Difference) -> str:
    """Return what the counters say, from the surest cause to the least."""
    if work == Work():
        return ""
    if work.flop is not None and not is_close(work.flop):
        return f"other work, {work.flop:.3g}× FLOP" + _bytes_words(work.dram_bytes)
    same_flop = "same FLOP" if work.flop is not None else "FLOP not counted on both sides"
    if work.dram_bytes is not None and not is_close(work.dram_bytes):
        return f"{same_flop}, {work.dram_bytes:.3g}× DRAM bytes"
    same = same_flop + (", same DRAM bytes" if work.dram_bytes is not None else "")
    if _is_clock(work):
        counted = counters_of(row)["sm_clock_hz"]
        slower = "lower" if counted[1] < counted[0] else "higher"
        return f"same kernel, {slower} clock ({counted[0] / 1e9:.3g} → {counted[1] / 1e9:.3g} GHz)"
    if work.cycles is not None and not is_close(work.cycles):
        return f"{same}, {work.cycles:.3g}× cycles" + _cause_words(row)
    return same + _cause_words(row)


def _is_clock(work: Work) -> bool:
    """Say whether the clock alone explains the time: the cycles are the same."""
    return (
        work.clock is not None
        and not is_close(work.clock)
        and (work.cycles is None or is_close(work.cycles))
        and (work.cycles is not None or (work.duration is not None and is_close(work.duration * work.clock)))
    )


def _bytes_words(ratio: float | None) -> str:
    return "" if ratio is None else ", same DRAM bytes" if is_close(ratio) else f", {ratio:.3g}× DRAM bytes"


def _cause_words(row: Difference) -> str:
    counters = counters_of(row)
    found = [
        f"{_WORDS[metric]} {old:.3g} → {new:.3g}"
        for metric in _CAUSES
        for old, new in [counters.get(metric, (0.0, 0.0))]
        if old and not is_close(new / old)
    ]
    return f"; {', '.join(found)}" if found else ""


def is_close(ratio: float) -> bool:
    """Say whether two figures are called the same."""
    return abs(ratio - 1) <= CLOSE


@dataclass(frozen=True, slots=True)
class Contributions:
    """What the difference of the whole is made of, in ns per run; the parts add up to the difference."""

    launches_ns: float  # kernels of both sides: more or fewer launches
    time_ns: float  # kernels of both sides: more or less time per launch
    new_ns: float
    gone_ns: float

    @property
    def total_ns(self) -> float:
        """The whole difference."""
        return self.launches_ns + self.time_ns + self.new_ns + self.gone_ns


def contributions_of(comparison: Comparison) -> Contributions:
    """Return what the whole difference is made of."""
    launches = time = new = gone = 0.0
    for row in comparison.kernels:
        effect = row.launches_effect_ns
        if effect is not None:
            launches += effect
            time += row.difference_ns - effect
        elif row.difference_ns > 0:
            new += row.difference_ns
        else:
            gone += row.difference_ns
    return Contributions(launches, time, new, gone)


def main_part(parts: Contributions) -> str:
    """Return in words the largest part that goes the way of the whole difference."""
    named = {
        "fewer launches" if parts.launches_ns < 0 else "more launches": parts.launches_ns,
        "less time per launch" if parts.time_ns < 0 else "more time per launch": parts.time_ns,
        "kernels that are only in head": parts.new_ns,
        "kernels that are only in base": parts.gone_ns,
    }
    along = {words: ns for words, ns in named.items() if ns * parts.total_ns > 0}
    return max(along, key=lambda words: abs(along[words])) if along else "nothing in particular"
