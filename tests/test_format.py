"""Numbers as people read them."""

import doctest
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.report import format as fmt


def test_the_examples_in_the_docstrings_hold():
    failures, count = doctest.testmod(fmt)
    assert count >= 8
    assert failures == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(999.4, "999"), (9.996, "10.0"), (0.1, "0.100"), (1e-9, "0.00000000100"), (-2.5, "-2.50"), (78016, "78\u202f016")],
)
def test_three_significant_digits(value, text):
    assert fmt.significant(value) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [(999.4, "999 ns"), (999.96e3, "1.00 ms"), (2_176_669_000, "2.18 s"), (0.5, "0.500 ns"), (None, "–")],
)
def test_durations_change_unit_where_rounding_reaches_the_next(ns, text):
    assert fmt.duration(ns) == text


@given(st.floats(min_value=1e-3, max_value=1e17))
def test_a_printed_rate_is_within_half_a_percent(value):
    text = fmt.rate(value, "B/s")
    number, prefix = re.fullmatch(r"([\d.\u202f]+) (\D?)B/s", text).groups()
    factor = {"P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1}[prefix]
    assert float(number.replace("\u202f", "")) * factor == pytest.approx(value, rel=5.1e-3)


@given(st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_a_share_that_is_not_all_or_nothing_is_never_printed_so(value):
    assert not re.fullmatch(r"(0(\.0+)?|100(\.0+)?) %", fmt.share(value))


@pytest.mark.parametrize(
    ("largest", "unit", "scale"),
    [(1000, "ns", (1e3, "µs")), (999, "ns", (1.0, "ns")), (1e9, "byte/s", (1e9, "GB/s")), (-2e6, "ns", (1e6, "ms")),
     (0.4, "1", (0.01, "%")), (5000, "count", (1.0, ""))],
)  # fmt: skip
def test_an_axis_takes_the_unit_of_its_end(largest, unit, scale):
    assert fmt.axis_scale(largest, unit) == scale


@pytest.mark.parametrize("unit", list(fmt.BY_UNIT))
def test_missing_is_a_dash_in_every_unit(unit):
    assert fmt.with_unit(None, unit) == fmt.MISSING
    if unit != "count":
        assert fmt.with_unit(math.nan, unit) == fmt.MISSING


@pytest.mark.parametrize("name", ["a\x1b[31mred", "a\nb", "a\u202eb", "a\x00b", "a\tb"])
def test_control_characters_are_made_visible(name):
    assert fmt.printable(name).isprintable()
    assert fmt.printable(name) != name


@pytest.mark.parametrize("name", ["a<b>|c*", "<script>alert(1)</script>", "a`b`", "[x](http://y)", "a\nb", "a\\|b"])
def test_a_hostile_name_stays_inside_its_markdown_cell(name):
    cell = fmt.markdown_cell(name)
    assert "\n" not in cell
    assert not re.search(r"(?<!\\)[|`*\[\]_]", cell.replace("\\\\", ""))
    assert "<" not in cell
