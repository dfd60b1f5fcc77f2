"""Numbers as ncu prints them under any locale.

In: all numeric texts of one file. Out: `NumberFormat`, which of point and comma is the decimal sign there, decided
once per file from numbers that can be read one way only, and the reading of each text with the error band of its
printing. ncu prints with the thousands separator of the locale: 12,532,580 · 12.532.580 · 12 532 580.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nsightkit.errors import IngestError

# A locale may group with a point, a comma, an apostrophe, or any of these blanks.
_BLANKS = str.maketrans("", "", " \u00a0\u202f\u2009'\u2019")
_NUMBER = re.compile(r"[+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d+)?")
_GROUPED = {sign: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:{re.escape(sign)}\d{{3}})+") for sign in ".,"}
_NO_NUMBER = frozenset({"", "n/a", "no data", "(!) n/a", "(!) nan", "na", "none", "null", "-"})


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a file writes numbers; `sure` is false where it rests on ncu's habit and on no number of the file."""

    decimal: str = "."
    sure: bool = False

    def read(self, text: str) -> tuple[float, float] | None:
        """Return the value of `text` and half a unit of its last digit, None where it is no number (nan is one)."""
        word = text.strip().translate(_BLANKS)
        if word.lower() in ("nan", "+nan", "-nan", "inf", "+inf", "-inf"):
            return float(word), 0.0
        if not _NUMBER.fullmatch(word):
            return None
        digits = word.replace("," if self.decimal == "." else ".", "").replace(self.decimal, ".")
        try:
            value = float(digits)
        except ValueError:
            return None
        return value, _half_a_digit(digits)


def _half_a_digit(digits: str) -> float:
    mantissa, _, exponent = digits.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.5 * math.pow(10.0, min(int(exponent or 0), 300) - decimals) if decimals or exponent else 0.5


def is_missing(text: str) -> bool:
    """Say whether a printed value stands for none."""
    return text.strip().lower() in _NO_NUMBER


def number_format(texts: Iterable[str], name: str) -> NumberFormat:
    """Decide how a file writes numbers.

    Args:
        texts: the values of the file, others than numbers among them.
        name: the file, for the message.

    Raises:
        IngestError: some numbers can only be read with a decimal point and others only with a decimal comma.
    """
    evidence: dict[str, str] = {}
    doubtful = False
    for text in texts:
        if "." not in text and "," not in text:
            continue
        word = text.strip().translate(_BLANKS)
        if _NUMBER.fullmatch(word):
            sign = _decimal_sign(word)
            evidence.setdefault(sign, text.strip())
            doubtful = doubtful or sign == "?."
    certain = [sign for sign in ".," if sign in evidence]
    if len(certain) == 2:
        raise IngestError(
            f"{name}: numbers are written in two ways ({evidence['.']} and {evidence[',']}), so none can be trusted; "
            "export the CSV again with one locale (LC_ALL=C)",
            slug="ncu-csv-numbers",
        )
    if certain:
        return NumberFormat(certain[0], sure=True)
    return NumberFormat(".", sure=not doubtful)


def _decimal_sign(word: str) -> str:
    """Return the sign that must be decimal in `word`; ?. or ?, where it may be either; "" where it has neither."""
    point, comma = word.rfind("."), word.rfind(",")
    if point >= 0 and comma >= 0:
        return "." if point > comma else ","
    sign = "." if point >= 0 else ","
    if sign not in word:
        return ""
    other = "," if sign == "." else "."
    grouped = _GROUPED[sign].fullmatch(word) is not None
    if word.count(sign) > 1:
        # 12.532.580 is a number of a locale; 560.35.03 is a version.
        return other if grouped else ""
    return "?" + sign if grouped else sign
