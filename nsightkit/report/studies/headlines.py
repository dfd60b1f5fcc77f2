"""The speed-up of a headline with its interval, and with the reservation that equal work of both arms raises.

In: pairs of arms. Out: words.
"""

from __future__ import annotations

from collections.abc import Sequence

from nsightkit.analysis.studies.decode import Pair
from nsightkit.analysis.unfairness import disturbance
from nsightkit.report import format as fmt
from nsightkit.report.studies.parts import ms


def times_faster(pair: Pair) -> str:
    """Return "N times faster" with the interval over repetitions, or with why there is none."""
    said = f"{fmt.plain(pair.speedup)} times faster"
    if pair.interval is not None:
        low, high = pair.interval
        return f"{said} ({fmt.plain(low)} to {fmt.plain(high)} between the 95 % intervals of both arms)"
    counts = {pair.on.sample_count, pair.off.sample_count}
    why = "too few repetitions" if all(count is not None for count in counts) else "repetitions are not recorded"
    return f"{said} (no interval: {why})"


def range_of(pairs: Sequence[Pair]) -> str:
    """Return the range of the speed-up over all pairs as a sentence, "" for one pair."""
    if len(pairs) < 2:
        return ""
    found = [pair.speedup for pair in pairs]
    return f" All {len(pairs)} pairs: {fmt.plain(min(found))} to {fmt.plain(max(found))} times."


def reservation(pair: Pair) -> str:
    """Return the sentence that belongs behind a speed-up whose arms did equal work in unequal time, else ""."""
    ratio = disturbance(pair)
    if ratio is None:
        return ""
    return (
        f" Reservation: prefill, the same work in both arms, took {fmt.duration(ms(pair.on.prefill_ms))} with and "
        f"{fmt.duration(ms(pair.off.prefill_ms))} without, so the machine was not quiet and the speed-up may be off by "
        f"{ratio:.2g} times."
    )


def listed(names: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])
