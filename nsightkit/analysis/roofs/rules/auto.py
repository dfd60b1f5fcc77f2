"""The roofline where its inputs are there, else NVIDIA's thresholds, else UNKNOWN.

In: evidence of one kernel. Out: the verdict of the first rule that can judge, under that rule's name and tier; what the
roofline lacked is named in `missing`.
"""

from dataclasses import replace

from nsightkit.analysis.results import Verdict
from nsightkit.analysis.roofs.rules import ncu, ridge
from nsightkit.analysis.roofs.rules.evidence import Evidence


def judge(evidence: Evidence, margin: float) -> Verdict:
    """Return the verdict of the best tier."""
    first = ridge.judge(evidence, margin)
    if first.bound != "UNKNOWN":
        return first
    second = ncu.judge(evidence, margin)
    missing = tuple(dict.fromkeys((*second.missing, *first.missing)))
    flags = tuple(dict.fromkeys((*first.flags, *second.flags)))
    if second.bound != "UNKNOWN":
        # What the roofline knows of the kernel stays visible beside the verdict that it could not give.
        idle = evidence.roofline.immaterial
        return replace(second, inputs=first.inputs | second.inputs, missing=missing, flags=flags, immaterial=idle)
    return replace(first, rule="auto", missing=missing, flags=flags)
