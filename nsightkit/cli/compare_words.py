"""The sentences of a comparison of kernels: what changed, by how much, what it is made of, and whether it is judged.

In: a `Comparison`. Out: text.
"""

from __future__ import annotations

from collections.abc import Sequence

from nsightkit.analysis.compare.comparability import COUNTED, OPERATORS, TIMELINE, worded
from nsightkit.analysis.compare.comparison import Comparison, Difference
from nsightkit.analysis.compare.diagnosis import Contributions, contributions_of, diagnose, is_close, main_part
from nsightkit.analysis.compare.dominant import COUNTED_FACTS, dominant_pair
from nsightkit.analysis.compare.matching import GONE, NEW
from nsightkit.report import format as fmt
from nsightkit.tables import unit_of

_COUNTED_WORDS = {
    "duration_ns": "duration (ncu)", "registers_per_thread": "registers per thread (ncu)",
    "theoretical_occupancy_pct": "theoretical occupancy (ncu)", "achieved_occupancy_pct": "achieved occupancy (ncu)",
    "sm_throughput_pct": "compute throughput (ncu)", "memory_throughput_pct": "memory throughput (ncu)",
    "dram_throughput_pct": "DRAM throughput (ncu)", "flop": "FLOP (ncu)", "dram_bytes": "DRAM bytes (ncu)",
    "flop_per_byte": "intensity (ncu)", "l2_hit_rate_pct": "L2 hit rate (ncu)",
}  # fmt: skip
MOST_RATIO = 10  # a smallest change beyond it is told as that, and not to the last digit
_MOST_FAMILIES = 3
_FAMILY_SHARE = 0.05  # of the whole difference, below which a family goes without saying

_TIMES = {TIMELINE: "GPU time", COUNTED: "profiled time", OPERATORS: "operators' own CPU time"}


def summary(comparison: Comparison) -> str:
    """Return what changed, by how much, what it is made of, and whether it is judged."""
    if comparison.basis == COUNTED and any(row.flags or row.how in (NEW, GONE) for row in comparison.kernels):
        return f"{_counted_sentence(comparison)} {_verdict_words(comparison)}"
    whole = comparison.whole
    unit = " per token" if comparison.options.per_token else " per run" if whole.base.run_count > 1 else ""
    what = _TIMES[comparison.basis]
    old, new = whole.base.compared_ns, whole.head.compared_ns
    sentence = (
        f"{comparison.head_name} takes {fmt.duration(new)} of {what}{unit}, {comparison.base_name} "
        f"{fmt.duration(old)}: {fmt.signed_duration(whole.difference_ns)}"
    )
    if whole.base.compared_ns and any(row.difference_ns for row in comparison.kernels):
        parts = contributions_of(comparison)
        made_of = (
            "launches without a duration left out"
            if whole.flags
            else f"no change beyond 3 %{_both_ways(comparison)}"
            if whole.verdict is None and is_close(new / old)
            else worded(f"mostly {main_part(parts)}: {_parts_words(parts)}", comparison.basis)
        )
        sentence += f" ({new / old:.3g}×), {made_of}"
    return f"{sentence}.{_families_sentence(comparison)} {_verdict_words(comparison)}"


def _both_ways(comparison: Comparison) -> str:
    """Return what kernels gain and lose where that cancels out: a sum that stays says nothing of its parts."""
    more = sum(row.difference_ns for row in comparison.kernels if row.difference_ns > 0)
    less = sum(row.difference_ns for row in comparison.kernels if row.difference_ns < 0)
    if is_close(1 + min(more, -less) / comparison.whole.base.compared_ns):
        return ""
    return worded(
        f" in sum, of kernels that changed both ways: {fmt.signed_duration(more)} and {fmt.signed_duration(less)}",
        comparison.basis,
    )


def _counted_sentence(comparison: Comparison) -> str:
    """Return what changed among the launches that both sides profiled: which are profiled is a choice."""
    kernels = comparison.kernels
    both = [row for row in kernels if row.base.sum_timed and row.head.sum_timed and not row.flags]
    other = [row for row in kernels if row.flags]
    alone = {how: [row for row in kernels if row.how == how] for how in (NEW, GONE)}
    left_out = [
        f"{len(rows)} {words} ({fmt.duration(sum(row.base.compared_ns for row in rows))} and "
        f"{fmt.duration(sum(row.head.compared_ns for row in rows))})"
        for words, rows in (
            ("profiled with other launches", other), ("only in head", alone[NEW]), ("only in base", alone[GONE])
        )
        if rows
    ]  # fmt: skip
    said = "No kernel was profiled with the same launches on both sides"
    if both:
        old, new = (sum(getattr(row, side).compared_ns for row in both) for side in ("base", "head"))
        kernel = "kernel was" if len(both) == 1 else "kernels were"
        said = (
            f"{len(both)} {kernel} profiled with the same launches on both sides: {comparison.head_name} takes "
            f"{fmt.duration(new)} for them, {comparison.base_name} {fmt.duration(old)} ({new / old:.3g}×)"
        )
    return (
        f"{said}. Left out, since which launches are profiled is a choice: {', '.join(left_out)}; the totals "
        f"({fmt.duration(comparison.whole.base.compared_ns)} and "
        f"{fmt.duration(comparison.whole.head.compared_ns)}) are of other work."
    )


def _parts_words(parts: Contributions) -> str:
    named = (
        ("number of launches", parts.launches_ns),
        ("time per launch", parts.time_ns),
        ("only in head", parts.new_ns),
        ("only in base", parts.gone_ns),
    )
    return ", ".join(f"{words} {fmt.signed_duration(ns)}" for words, ns in named if ns)


def _verdict_words(comparison: Comparison) -> str:
    whole = comparison.whole
    runs = f"{whole.base.run_count} against {whole.head.run_count} process runs"
    if whole.flags and whole.estimate.low is not None:
        return f"Described, not judged ({runs}): {whole.flags[0]}."
    if whole.verdict is None or whole.estimate.low is None or whole.estimate.high is None:
        return f"Described, not judged ({runs}; a verdict needs 5 a side)."
    tolerance = fmt.share(comparison.options.noise.tolerance)
    smallest = whole.estimate.smallest_ratio
    seen = (
        f"a slowdown to {smallest:.3f}× would have been seen"
        if smallest is not None and smallest <= MOST_RATIO
        else f"the runs differ so much that no slowdown below {MOST_RATIO}× would have been seen"
    )
    return (
        f"Verdict: {whole.verdict} ({whole.estimate.low:.3f} to {whole.estimate.high:.3f}×, {runs}, tolerance "
        f"{tolerance}; {seen})."
    )


def _families_sentence(comparison: Comparison) -> str:
    """Return which families the difference lies in, and what each is made of; nothing where one is all there is."""
    whole = comparison.whole
    if comparison.basis != TIMELINE or not whole.base.sum_ns or whole.flags:
        return ""
    if is_close(whole.head.compared_ns / whole.base.compared_ns):
        return ""
    told = [
        f"{row.name} {fmt.signed_duration(row.difference_ns)} ({_family_words(row)})"
        for row in comparison.families[:_MOST_FAMILIES]
        if abs(row.difference_ns) >= _FAMILY_SHARE * abs(whole.difference_ns)
    ]
    return f" By family: {', '.join(told)}." if told and len(comparison.families) > 1 else ""


def _family_words(row: Difference) -> str:
    """Return what the difference of a family is made of; where each part is small, that and not 'no change'."""
    return "launches and time per launch within 3 %" if (words := diagnose(row)) == "no change" else words


def dominant_rows(comparison: Comparison) -> tuple[str, list[dict[str, str]]]:
    """Return a caption and one line a fact of the costliest kernel of each side; no line where both are one kernel."""
    pair = dominant_pair(comparison)
    if pair is None or pair.is_same:
        return "", []
    sides = (pair.base, pair.head)
    rows = [
        _fact("kernel", [side.name for side in sides]),
        _fact("launches", [fmt.count(side.values.launch_count) for side in sides]),
        _fact("total", [fmt.duration(side.values.total_ns) for side in sides]),
        _fact("of its side's time", [fmt.share(side.share) for side in sides]),
        _fact("per launch", [fmt.duration(side.values.mean_ns) for side in sides]),
        _fact("grid / block", [side.geometry or fmt.MISSING for side in sides]),
    ]
    for metric in COUNTED_FACTS:
        values = [side.counters.get(metric) for side in sides]
        if any(value is not None for value in values):
            unit = "flop/byte" if metric == "flop_per_byte" else "flop" if metric == "flop" else unit_of(metric)
            rows.append(_fact(_COUNTED_WORDS.get(metric, metric), [fmt.with_unit(value, unit) for value in values]))
    scope = "times and launches of the timeline" if comparison.basis == TIMELINE else "times of profiled launches"
    counted = any(row["fact"].endswith("(ncu)") for row in rows)
    beside = (
        "; what ends in (ncu) is the mean of the launches that were profiled, an execution of its own"
        if counted
        else ""
    )
    return f"The costliest kernel of {pair.family} on each side: {scope}{beside}", rows


def _fact(words: str, texts: Sequence[str]) -> dict[str, str]:
    return {"fact": words, "base": texts[0], "head": texts[1]}
