"""The rule of the DeepSeek-OCR kernel study, as its data prove it: SM throughput minus DRAM throughput.

In: both throughputs in percent of their peaks. Out: compute_bound beyond `margin` points, memory_bound below minus
`margin`, else balanced. Latency is not among its words: a kernel that uses neither side is balanced.
"""

from nsightkit.analysis.results import Verdict
from nsightkit.analysis.roofs.rules.evidence import DRAM, SM, Evidence


def judge(evidence: Evidence, margin: float) -> Verdict:
    """Return the verdict; `margin` is in points."""
    missing = evidence.missing(SM, DRAM)
    if missing:
        return evidence.unknown("sol-gap", "unknown", missing)
    inputs = evidence.inputs(SM, DRAM)
    gap = inputs[SM] - inputs[DRAM]
    bound, word = "BALANCED", "balanced"
    if abs(gap) > margin:
        bound, word = ("COMPUTE", "compute_bound") if gap > 0 else ("MEMORY", "memory_bound")
    distance = abs(abs(gap) - margin)
    return Verdict(bound, "sol-gap", "throughput", word, distance, "points", inputs, (), evidence.flags)
