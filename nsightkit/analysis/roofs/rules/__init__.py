"""The rules that say what bounds a kernel: one module each, listed in `RULES`.

In: `Evidence` of one kernel and a margin in points. Out: a `Verdict`.
"""

from collections.abc import Callable

from nsightkit.analysis.results import Verdict
from nsightkit.analysis.roofs.rules import auto, ncu, ridge, sol_gap
from nsightkit.analysis.roofs.rules.evidence import Evidence

Rule = Callable[[Evidence, float], Verdict]

RULES: dict[str, Rule] = {"auto": auto.judge, "roofline": ridge.judge, "sol-gap": sol_gap.judge, "ncu": ncu.judge}
