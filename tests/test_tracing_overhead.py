"""How much longer a program takes under a profiler: what is a measurement, what a bound, and what neither."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.timeline.tracing_overhead import overhead_of, parts_of
from nsightkit.report.overhead_words import overhead_line

TIMES = st.lists(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=2), min_size=1, max_size=5)


def line(found):
    from dataclasses import asdict

    return overhead_line(asdict(found) | {"basis": "wall time"})


def test_steps_are_summed_in_four_parts():
    found = parts_of({"prefill_ns": [7], "decode_step_ns": [1e9] * 4 + [2e9] * 4, "decode_ns": [12e9]})
    assert found == pytest.approx((2.0, 2.0, 4.0, 4.0))


def test_phases_stand_in_where_there_are_no_steps():
    assert parts_of({"prefill_ns": [1_000_000_000], "decode_ns": 500_000_000}) == pytest.approx((1.5,))
    assert parts_of({"decode_step_ns": [1, 2]}) == ()
    assert parts_of({}) == ()


def test_a_clear_effect_is_measured_with_its_interval():
    found = overhead_of([(3.0, 6.1)], [(1.0, 2.0), (1.02, 2.04), (0.98, 1.96)])
    assert found.measurable
    assert found.ratio == pytest.approx(3.0, rel=0.03)
    assert 2.9 < found.low <= found.ratio <= found.high < 3.2
    assert line(found).startswith("overhead: 3.0")
    assert "3 without, 1 with the profiler" in line(found)


@pytest.mark.parametrize(
    ("traced", "untraced"),
    [
        ([(1.0,)], [(0.5,), (1.5,), (25.0,)]),  # 0.04 to 2: what one cold repetition gave
        ([(1.4, 1.4)], [(1.0, 1.0), (0.3, 1.4), (1.4, 0.3)]),  # the spread exceeds the effect
    ],
)
def test_noise_is_no_measurement(traced, untraced):
    found = overhead_of(traced, untraced)
    assert (found.measurable, found.ratio) == (False, None)
    assert f"not measurable: {found.low:.2f} … {found.high:.2f} times as long" in line(found)


def test_an_effect_too_small_to_see_has_an_upper_bound():
    found = overhead_of([(1.01,)], [(1.0,), (0.99,), (1.03,)])
    assert not found.measurable
    assert found.ratio == pytest.approx(1.01 / 0.99)
    assert "not measurable: 0.98 … 1.02" in line(found)
    assert "no more than 1.02 is taken" in line(found)


def test_one_timing_each_has_no_interval():
    found = overhead_of([(1.5,)], [(1.0,)])
    assert (found.ratio, found.low, found.high) == (1.5, None, None)
    assert "without an interval" in line(found)
    shorter = overhead_of([(0.5,)], [(1.0,)])
    assert shorter.ratio is None
    assert line(shorter).startswith("overhead: not measurable")


@pytest.mark.parametrize(("traced", "untraced"), [([], [(1.0,)]), ([(1.0,)], []), ([(1.0,)], [(1.0, 2.0)]),
                                                  ([()], [()]), ([(0.0,)], [(1.0,)])])  # fmt: skip
def test_nothing_to_compare(traced, untraced):
    assert overhead_of(traced, untraced) is None


@pytest.mark.parametrize(
    "record",
    [{"ratio": None}, {"ratio": None, "basis": "x", "low": 0.5, "high": 2.0}, {"ratio": 1.2, "traced_s": 2.0}, {}],
)
def test_every_record_can_be_printed(record):
    assert overhead_line(record).startswith("overhead: ")


@given(TIMES, TIMES)
def test_the_interval_holds_the_middle_and_a_measurement_never_holds_less_than_one(traced, untraced):
    found = overhead_of(traced, untraced)
    assert found.low <= found.middle * (1 + 1e-9)
    assert found.high >= found.middle * (1 - 1e-9)
    if found.measurable:
        assert found.low >= 1
        assert found.high - found.low <= found.ratio - 1
    elif found.ratio is not None:
        assert 1 <= found.ratio <= 1.1
    assert line(found)
