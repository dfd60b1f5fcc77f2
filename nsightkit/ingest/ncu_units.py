"""Units as any version of ncu prints them, brought to base units.

In: a unit as printed (Kbyte, usecond, cycle/nsecond, Ghz, …). Out: the factor to its base unit and that unit's one
spelling: byte, ns, hz, byte/s, inst/cycle, %. ncu scales decimally: a Kbyte has 1000 bytes.
"""

from functools import cache

_SCALE = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_NS = {
    "s": 1e9,
    "second": 1e9,
    "ms": 1e6,
    "msecond": 1e6,
    "us": 1e3,
    "usecond": 1e3,
    "ns": 1.0,
    "nsecond": 1.0,
}
_PER_SECOND = {unit: 1e9 / ns for unit, ns in _NS.items()}
_SPELLINGS = {"sectors": "sector", "bytes": "byte", "percent": "%", "Hz": "hz", "nanosecond": "ns"}


@cache
def to_base(unit: str) -> tuple[float, str]:
    """Return the factor from `unit` to its base unit, and the base unit; an unknown unit is its own base."""
    above, slash, below = unit.strip().partition("/")
    factor, base = _numerator(above)
    if not slash:
        return factor, base
    if below in _PER_SECOND:
        return factor * _PER_SECOND[below], "hz" if base == "cycle" else f"{base}/s"
    divisor, base_below = _numerator(below)
    return factor / divisor, f"{base}/{base_below}"


def _numerator(word: str) -> tuple[float, str]:
    if word in _NS:
        return _NS[word], "ns"
    word = _SPELLINGS.get(word, word)
    scaled = _SPELLINGS.get(word[1:], word[1:])
    if word[:1] in _SCALE and scaled in ("byte", "hz", "inst", "cycle", "sector", "request", "warp", "thread", "block"):
        return _SCALE[word[0]], scaled
    return 1.0, word
