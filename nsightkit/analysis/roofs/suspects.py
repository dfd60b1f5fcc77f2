"""Numbers that cannot be: kept as the profiler printed them, flagged with the likely cause, left out of verdicts.

In: counters of one kernel. Out: the counters that may be judged, and a flag for each that may not.
"""

import math
from collections.abc import Mapping

from nsightkit.analysis.grouping import Counters

# Percentages are computed from counters, so 100 may come out with the rounding of a double.
PERCENT_LIMIT = 100.0 + 1e-6


def trusted_counters(counters: Mapping[str, float | None]) -> tuple[Counters, tuple[str, ...]]:
    """Return `counters` with None in place of suspects, and one flag per suspect."""
    causes = {name: _cause(name, value) for name, value in counters.items() if value is not None}
    trusted = {name: None if causes.get(name) else value for name, value in counters.items()}
    return trusted, tuple(f"{name}: {cause}" for name, cause in causes.items() if cause)


def _cause(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "no number; the profiler could not compute it"
    if value < 0:
        return "negative; a counter overflowed or the profiler's passes differed"
    if name.endswith("_pct") and value > PERCENT_LIMIT:
        return "above 100 %; its parts were counted in passes that differed"
    return ""
