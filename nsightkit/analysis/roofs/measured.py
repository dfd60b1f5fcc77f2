"""Measured ceilings as roofs.

In: rates that `nsightkit ceilings` measured on a device. Out: `Roofs` for work from shapes.
"""

from collections.abc import Mapping

from nsightkit.analysis.roofs.peaks import Peak
from nsightkit.analysis.work.analytic import Roofs


def roofs_from(flop_per_s: Mapping[str, float], bytes_per_s: float | None, source: str, device: str) -> Roofs:
    """Return roofs from measured rates.

    Args:
        flop_per_s: type of arithmetic (a name of `peaks.DTYPES`) -> operations per second.
        bytes_per_s: memory traffic per second.
        source: where and how they were measured, in words.
        device: cpu or cuda; they hold for work on that only.
    """
    peaks = {name: Peak(value, value, source) for name, value in flop_per_s.items() if value > 0}
    return Roofs(peaks, Peak(bytes_per_s, bytes_per_s, source) if bytes_per_s else None, device)
