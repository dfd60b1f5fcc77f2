"""Numbers as people read them: three significant digits, an SI prefix, the unit beside.

In: numbers in base units. Out: text. Missing is "–"; a share that is not exactly 0 or 1 is never
printed as 0 % or 100 %. This is the only place where pretty units are made.
"""

import math
from collections.abc import Callable

MISSING = "–"
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
THIN_SPACE = "\u202f"


def significant(value: float) -> str:
    """Return `value` with three significant digits and thousands apart.

    >>> significant(0.012345), significant(12.345), significant(1234.5)
    ('0.0123', '12.3', '1\u202f234')
    """
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    digits = max(0, 2 - magnitude)
    if digits and round(abs(value), digits) >= 10 ** (magnitude + 1):
        digits -= 1
    return f"{value:.{min(digits, 12)}f}" if magnitude < 3 else count(round(value))


def count(value: float | None) -> str:
    """Return a whole number with thousands apart.

    >>> count(78016)
    '78\u202f016'
    """
    return MISSING if value is None else f"{round(value):,}".replace(",", THIN_SPACE)


def duration(ns: float | None) -> str:
    """Return nanoseconds in the unit that leaves one to three digits before the point.

    >>> duration(404700), duration(7.97e3), duration(0)
    ('405 µs', '7.97 µs', '0 ns')
    """
    return _scaled(ns, _TIMES, "")


def signed_duration(ns: float | None) -> str:
    """Return a difference in time with its sign.

    >>> signed_duration(7970), signed_duration(-2e6), signed_duration(0)
    ('+7.97 µs', '−2.00 ms', '±0 ns')
    """
    if ns is None:
        return MISSING
    return f"{'+' if ns > 0 else '−' if ns < 0 else '±'}{duration(abs(ns))}"


def rate(value: float | None, unit: str) -> str:
    """Return a value with an SI prefix.

    >>> rate(209.5e12, "FLOP/s")
    '210 TFLOP/s'
    """
    return _scaled(value, _PREFIXES, unit)


def bytes_(value: float | None) -> str:
    """Return bytes with a decimal prefix.

    >>> bytes_(2_600_000)
    '2.60 MB'
    """
    return _scaled(value, _PREFIXES, "B")


def _scaled(value: float | None, steps: tuple[tuple[float, str], ...], unit: str) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    # Rounding to three digits may reach the next prefix: 999.96 µs is 1.00 ms.
    size = float(f"{abs(value):.2e}")
    factor, prefix = next(((f, p) for f, p in steps if size >= f), steps[-1])
    return f"{significant(value / factor)} {prefix}{unit}".rstrip()


def share(value: float | None) -> str:
    """Return a share from 0 to 1 in percent.

    >>> share(0.344), share(0.99999), share(0.00001), share(1.0)
    ('34.4 %', '>99.9 %', '<0.1 %', '100 %')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value in (0, 1):
        return f"{value * 100:.0f} %"
    percent = f"{value * 100:.1f}"
    return "<0.1 %" if percent == "0.0" else ">99.9 %" if percent == "100.0" else f"{percent} %"


def factor(value: float) -> str:
    """Return a ratio: to a thousandth about 1, with three significant digits far from it.

    >>> factor(0.9989), factor(0.000182), factor(23.592)
    ('0.999×', '0.000182×', '23.6×')
    """
    return f"{value:.3f}×" if 0.1 <= value < 9.9995 else f"{significant(value)}×"


def percent(value: float | None) -> str:
    """Return a profiler's percentage with two decimals, as the profilers print it.

    >>> percent(36.214)
    '36.21 %'
    """
    return MISSING if value is None or not math.isfinite(value) else f"{value:.2f} %"


def plain(value: float | str | None) -> str:
    """Return text as it is and a number with three significant digits."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    return value if isinstance(value, str) else significant(value)


_SYMBOLS = {"flop/s": "FLOP/s", "flop/byte": "FLOP/B", "flop": "FLOP", "byte": "B", "byte/s": "B/s", "Hz": "Hz",
            "op": "op", "op/s": "op/s"}  # fmt: skip


def axis_scale(largest: float, unit: str) -> tuple[float, str]:
    """Return the divisor and the unit for the numbers along an axis that reaches to `largest`.

    >>> axis_scale(404700, "ns"), axis_scale(1.4e12, "byte/s"), axis_scale(87.5, "%")
    ((1000.0, 'µs'), (1000000000000.0, 'TB/s'), (1.0, '%'))
    """
    if unit == "1":
        return 0.01, "%"
    if unit == "count" or (unit != "ns" and unit not in _SYMBOLS):
        return 1.0, "" if unit == "count" else unit
    steps = _TIMES if unit == "ns" else _PREFIXES
    factor, prefix = next(((f, p) for f, p in steps if abs(largest) >= f), steps[-1])
    return factor, prefix + _SYMBOLS.get(unit, "")


def tick(value: float, unit: str) -> str:
    """Return a power of ten for an axis, with an SI prefix and without needless digits.

    >>> tick(1e12, "FLOP/s"), tick(0.01, ""), tick(100e9, "FLOP/s")
    ('1 TFLOP/s', '0.01', '100 GFLOP/s')
    """
    factor, prefix = next(((f, p) for f, p in _PREFIXES if value >= f * 0.999), _PREFIXES[-1])
    return f"{value / factor:.6g} {prefix}{unit}".rstrip()


# Unit -> how a value of it is printed.
BY_UNIT: dict[str, Callable[[float | None], str]] = {
    "ns": duration,
    "byte": bytes_,
    "byte/s": lambda value: rate(value, "B/s"),
    "flop": lambda value: rate(value, "FLOP"),
    "flop/s": lambda value: rate(value, "FLOP/s"),
    "flop/byte": lambda value: rate(value, "FLOP/B"),
    "op": lambda value: rate(value, "op"),
    "op/s": lambda value: rate(value, "op/s"),
    "Hz": lambda value: rate(value, "Hz"),
    "%": percent,
    "1": share,
    "count": count,
    "cycle": lambda value: rate(value, "cycle"),
}


def with_unit(value: float | None, unit: str) -> str:
    """Return `value` printed as its unit asks; a unit that is not known is put behind the number."""
    if unit in BY_UNIT:
        return BY_UNIT[unit](value)
    text = plain(value)
    return text if text == MISSING else f"{text} {unit}".rstrip()


def printable(text: str) -> str:
    r"""Return `text` on one line with control characters made visible, so that no terminal obeys a kernel's name.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    # Nearly all text passes here at once.
    if text.isprintable() or text.replace(THIN_SPACE, "").isprintable():
        return text
    return "".join(
        # Spaces other than the ASCII one count as unprintable, but our own numbers hold them.
        c if c.isprintable() or c == THIN_SPACE else c.encode("unicode_escape").decode()
        for c in text
    )


_MARKS = str.maketrans({c: "\\" + c for c in "*_`[]"})


def markdown_cell(text: str) -> str:
    """Return `text` so that Markdown shows it as it is inside a table cell."""
    escaped = printable(text).replace("\\", "\\\\").replace("|", "\\|").replace("&", "&amp;").replace("<", "&lt;")
    # An address in a kernel's name must not become a link.
    escaped = escaped.replace("://", "&#58;//").replace("www.", "www&#46;")
    return escaped.replace(">", "&gt;").translate(_MARKS)
