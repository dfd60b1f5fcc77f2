"""NVIDIA's own thresholds: the rule SOLBottleneck of Nsight Compute's SpeedOfLight section.

In: compute and memory throughput in percent, waves per SM. Out: a verdict whose own word is the title that ncu prints.

Source: ncu 2025.3.1, rule SOLBottleneck; compared with every report at hand that carries its result.
"""

from nsightkit.analysis.results import Verdict
from nsightkit.analysis.roofs.rules.evidence import APART_POINTS, LOW_PCT, MEMORY, SM, SMALL_GRID_WAVES, WAVES, Evidence

HIGH_PCT = 80.0


def judge(evidence: Evidence, margin: float) -> Verdict:
    """Return the verdict; the thresholds are NVIDIA's, so `margin` is not used."""
    missing = evidence.missing(SM, MEMORY)
    if missing:
        return evidence.unknown("ncu", "", missing)
    compute, memory = evidence.inputs(SM, MEMORY).values()
    high, apart = max(compute, memory), abs(compute - memory)
    larger = "COMPUTE" if compute > memory else "MEMORY" if memory > compute else "BALANCED"
    if high >= HIGH_PCT:
        return _verdict(evidence, larger, "High Throughput", _high_margin(high, high - apart))
    if high < LOW_PCT:
        return _verdict(evidence, "LATENCY", _low_title(evidence), LOW_PCT - high)
    if apart >= APART_POINTS:
        margin = min(apart - APART_POINTS, high - LOW_PCT)
        return _verdict(evidence, larger, f"High {larger.capitalize()} Throughput", margin)
    margin = min(APART_POINTS - apart, high - LOW_PCT, HIGH_PCT - high)
    return _verdict(evidence, "BALANCED", "Balanced Throughput", margin)


def _high_margin(high: float, low: float) -> float:
    """Return how far the busier side may fall, or the other rise, until the bound is another.

    Below 80 % it is another title that names the same side, as long as both are 10 points apart.
    """
    kept_down_to = min(HIGH_PCT, max(LOW_PCT, low + APART_POINTS))
    return high - max(low, kept_down_to)


def _low_title(evidence: Evidence) -> str:
    waves = evidence.counters.get(WAVES)
    if waves is None:
        return "Small Grid or Latency Issue"
    return "Small Grid" if waves < SMALL_GRID_WAVES else "Latency Issue"


def _verdict(evidence: Evidence, bound: str, title: str, margin: float) -> Verdict:
    # The waves only choose between two titles that are both LATENCY.
    missing = evidence.missing(WAVES) if bound == "LATENCY" else ()
    inputs = evidence.inputs(SM, MEMORY, WAVES)
    return Verdict(bound, "ncu", "throughput", title, margin, "points", inputs, missing, evidence.flags)
