"""Arithmetic intensity against the effective ridge point, as far as the profiler's throughputs do not contradict.

In: the place of a kernel under the DRAM roofline, and its compute and memory throughput. Out: COMPUTE or MEMORY by the
larger of the times at the roof, LATENCY where compute and memory are both low, UNKNOWN where inputs are missing or
suspect, or where units that the DRAM roofline does not see are clearly busier.

Source: docs/method.md, "Roofline" and "When the roofline may judge".
"""

from collections.abc import Sequence

from nsightkit.analysis.results import Verdict
from nsightkit.analysis.roofs.roofline import Placement
from nsightkit.analysis.roofs.rules.evidence import APART_POINTS, LOW_PCT, MEMORY, SM, SMALL_GRID_WAVES, WAVES, Evidence

NOT_DECIDED = "not decided"
NO_WORK = "no floating-point work"
# How well the peaks are known. ncu: its passes differ by as much. Data sheets: how far the figures that NVIDIA and
# its drivers state for one GPU lie apart (B200: 7672 to 8000 GB/s; L40S: 362 against 366 TFLOP/s).
NCU_UNCERTAINTY = 0.02
SHEET_UNCERTAINTY = 0.05
FAR_FROM_ROOF = "far from its roof, and without throughputs the cause is not known"


def judge(evidence: Evidence, margin: float) -> Verdict:
    """Return the verdict; the threshold is the ridge point, so `margin` is not used."""
    roof = evidence.roofline
    placed = roof.placement
    if placed is None:
        return _verdict(evidence, "UNKNOWN", NOT_DECIDED)
    if placed.suspect:
        return _verdict(evidence, "UNKNOWN", "above the roof")
    sm, memory = evidence.counters.get(SM), evidence.counters.get(MEMORY)
    if sm is None or memory is None:
        return _without_throughput(evidence, placed)
    if max(sm, memory) < LOW_PCT:
        return _low_throughput(evidence, placed, max(sm, memory))
    busier = _contradiction(placed, sm, memory)
    return _verdict(evidence, "UNKNOWN", NOT_DECIDED, flags=(busier,)) if busier else _by_ridge(evidence, placed)


def _without_throughput(evidence: Evidence, placed: Placement) -> Verdict:
    if not placed.flop:
        # Integer work would not show in the roofline at all.
        return _verdict(evidence, "UNKNOWN", NO_WORK)
    if placed.efficiency * 100 < LOW_PCT:
        # Far from its roof, and without throughputs nobody can say why.
        return _verdict(evidence, "UNKNOWN", NOT_DECIDED, flags=(FAR_FROM_ROOF,))
    return _by_ridge(evidence, placed)


def _low_throughput(evidence: Evidence, placed: Placement, highest: float) -> Verdict:
    if placed.at_most_ns / placed.duration_ns * 100 < LOW_PCT:
        return _verdict(evidence, "LATENCY", _low_word(evidence), (LOW_PCT - highest, "points"))
    if placed.efficiency * 100 >= LOW_PCT:
        # GeForce: the tensor pipe is at its roof for FP32 accumulation while the throughput reads half.
        return _by_ridge(evidence, placed)
    near = "compute may be nearer to its roof than its throughput reads: not all work could be timed"
    return _verdict(evidence, "UNKNOWN", NOT_DECIDED, flags=(near,))


def _low_word(evidence: Evidence) -> str:
    """Return why both sides are low, as far as NVIDIA's rule can say it: more counters may not explain less."""
    waves = evidence.counters.get(WAVES)
    if waves is None or waves >= SMALL_GRID_WAVES:
        return "low throughput"
    return "low throughput: small grid"


def _contradiction(placed: Placement, sm: float, memory: float) -> str:
    """Say which units outside the DRAM roofline are clearly busier than those that it sees; "" where none are."""
    compute = max(sm, placed.compute_ns / placed.duration_ns * 100)
    if placed.bound == "MEMORY" and sm >= LOW_PCT and sm - memory >= APART_POINTS:
        return "units of the SM that do no counted arithmetic are busier than memory"
    if placed.bound == "COMPUTE" and memory >= LOW_PCT and memory - compute >= APART_POINTS:
        return "a memory level above DRAM is busier than compute"
    return ""


def _by_ridge(evidence: Evidence, placed: Placement, flags: Sequence[str] = ()) -> Verdict:
    if placed.bound is None:
        return _verdict(evidence, "UNKNOWN", NOT_DECIDED, flags=flags)
    word = "at or above the ridge" if placed.bound == "COMPUTE" else "below the ridge"
    if not placed.flop:
        return _verdict(evidence, placed.bound, word if evidence.roofline.missing else NO_WORK, flags=flags)
    low, high = sorted((placed.compute_ns, placed.memory_ns))
    side = "above" if placed.bound == "COMPUTE" else "below"
    close = _too_close(evidence, high / low)
    return _verdict(evidence, placed.bound, word, (high / low, f"× {side} the ridge"), (*flags, *close))


def _too_close(evidence: Evidence, factor: float) -> tuple[str, ...]:
    """Say so where the distance from the ridge is within the uncertainty of the peaks."""
    point = evidence.roofline.point
    sheet = point is None or "data sheet" in point.roof_source
    known_to = SHEET_UNCERTAINTY if sheet else NCU_UNCERTAINTY
    if factor > 1 + known_to:
        return ()
    source = "a data sheet's peaks" if sheet else "ncu's peaks"
    within = f"within what {source} are known to ({known_to * 100:.0f} %)"
    return (f"at the ridge: {factor:.2f} × is {within}; both sides may bound",)


def _verdict(
    evidence: Evidence,
    bound: str,
    word: str,
    margin: tuple[float | None, str] = (None, ""),
    flags: Sequence[str] = (),
) -> Verdict:
    roof, unknown = evidence.roofline, bound == "UNKNOWN"
    return Verdict(
        bound,
        "roofline",
        "none" if unknown else "counters",
        word,
        *margin,
        inputs=_inputs(evidence, bound),
        missing=(*roof.missing, *(evidence.missing(SM, MEMORY) if unknown else ())),
        flags=(*evidence.flags, *roof.flags, *flags),
        immaterial=() if unknown else roof.immaterial,
    )


def _inputs(evidence: Evidence, bound: str) -> dict[str, float]:
    inputs = evidence.inputs("dram_bytes", SM, MEMORY, *((WAVES,) if bound == "LATENCY" else ()))
    if (total := evidence.counters.get("duration_ns")) is not None:
        # Of all launches, as the bytes and the work beside it; duration_ns of a row is the mean of one launch.
        inputs = {"total_ns": total} | inputs
    placed, intensity = evidence.roofline.placement, evidence.roofline.flop_per_byte
    if intensity is not None:
        inputs["flop_per_byte"] = intensity
    if placed is not None:
        inputs |= {"flop": placed.flop, "compute_ns": placed.compute_ns, "memory_ns": placed.memory_ns}
    return inputs
