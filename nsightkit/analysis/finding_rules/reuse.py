"""Kernels that could read less from DRAM: their algorithm reads the same data again, and L2 does not hold it.

In: kernels with counters and a point under the DRAM roof. Out: one finding a kernel at most. Only products of matrices,
convolutions and attention read their inputs several times; a kernel that streams its data has nothing to reuse, however
low its hit rate is. The stake is the time at the DRAM roof less that at the next roof, so the kernel must be at DRAM's.

Source: docs/method.md, "Findings".
"""

from __future__ import annotations

from collections.abc import Iterator

from nsightkit.analysis.finding_weights import kernel_weight
from nsightkit.analysis.findings import Finding, FindingInputs, Number
from nsightkit.analysis.roofs.roofline import NEAR_ROOF

_REUSING = ("GEMM", "convolution", "attention", "MoE")
_LOW_HIT_RATE_PCT = 50.0
_MOST = 3


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """Look at each kernel that reuses data and is bound by DRAM."""
    places = range(len(inputs.kernels))
    found = [finding for place in places if (finding := _finding(inputs, place)) is not None]
    yield from sorted(found, key=lambda finding: -(finding.stake_share or 0.0))[:_MOST]


def _finding(inputs: FindingInputs, place: int) -> Finding | None:
    kernel = inputs.kernels[place]
    point, hits = kernel.point, kernel.counters.get("l2_hit_rate_pct")
    if kernel.family not in _REUSING or kernel.verdict.bound != "MEMORY" or point is None or point.flags:
        return None
    if hits is None or not 0 <= hits < _LOW_HIT_RATE_PCT or point.level != "DRAM" or not kernel.total_ns:
        return None
    memory = point.moved_bytes / point.peak_bytes_per_s * 1e9 / point.duration_ns
    others = [point.flop / point.peak_flop_per_s * 1e9 / point.duration_ns]
    others += [
        level.moved_bytes / level.peak_bytes_per_s * 1e9 / point.duration_ns
        for level in kernel.other_levels
        if level.level == "L2" and not level.flags
    ]
    saved = memory - max(others)
    # DRAM must be what is waited for.
    weight = kernel_weight(inputs, place) if memory >= NEAR_ROOF and saved > 0 else None
    if weight is None:
        return None
    evidence = (
        Number("of its L2 accesses hit", hits, "%"), Number("of its duration at the DRAM roof", memory, "1"),
        Number("of its duration at the next roof", max(others), "1"),
        Number("to and from DRAM", point.moved_bytes, "byte"),
    )  # fmt: skip
    return Finding(
        "reuse", f"{kernel.friendly_name}: hold in L2 what it reads again from DRAM",
        "Walk the tiles so that neighbors share rows and columns (swizzle), or use larger tiles.",
        evidence, saved * weight.total_ns, saved * weight.share, weight.of,
        "its time at the DRAM roof less that at the next roof", "low",
        "the family reads its inputs several times, but how large they are is not in the counters"
        + (f"; {weight.doubt}" if weight.doubt else ""),
        (kernel.kernel_name,),
    )  # fmt: skip
