import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsightkit.analysis.compare.noise import (
    MIN_RUNS,
    Estimate,
    NoiseOptions,
    Sample,
    Spread,
    benjamini_hochberg,
    estimate_changes,
    estimate_ratios,
    smallest_step,
    t_quantile,
    t_upper,
    two_sided_p,
    verdict_of,
    welch,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.simulate_compare import SETTINGS, simulate, upper_bound


def sample(values, variance=0.0):
    column = np.array(values, float)[:, None]
    return Sample(column, np.full_like(column, variance))


# Published tables of Student's t.
@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.975, 4, 2.776445), (0.975, 8, 2.306004), (0.95, 1, 6.313752), (0.9995, 5, 6.868827), (0.8, 10, 0.879058)],
)
def test_t_quantile_is_that_of_the_tables(probability, freedom, value):
    assert t_quantile(probability, freedom) == pytest.approx(value, abs=1e-5)
    assert t_upper(value, freedom) == pytest.approx(1 - probability, abs=1e-6)


def test_t_tends_to_the_normal_law():
    assert t_quantile(0.975, 1e7) == pytest.approx(1.959964, abs=1e-5)
    assert t_upper(-1.0, 1e7) == pytest.approx(0.841345, abs=1e-5)


def test_benjamini_hochberg_as_in_the_paper_s_arithmetic():
    # p sorted .01 .02 .03 .5: q_i = min over j >= i of p_j * 4 / j.
    assert benjamini_hochberg([0.5, 0.01, None, 0.03, 0.02]) == pytest.approx([0.5, 0.04, None, 0.04, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_keep_the_order_and_never_fall(p_values):
    q_values = benjamini_hochberg(p_values)
    assert all(q >= p * (1 - 1e-12) for p, q in zip(p_values, q_values, strict=True))
    ranked = [q for _, q in sorted(zip(p_values, q_values, strict=True))]
    assert ranked == sorted(ranked)


def test_welch_with_equal_errors_has_the_freedom_of_both():
    spread = welch(0.03, 5, 0.03, 5)
    assert spread.error == pytest.approx(0.03 * math.sqrt(2))
    assert spread.freedom == pytest.approx(8)


@pytest.mark.parametrize("runs", [1, 4])
def test_few_runs_are_described_and_never_judged(runs):
    found = estimate_ratios(sample([100.0] * runs), sample([300.0] * runs), NoiseOptions())[0]
    assert found == Estimate(3.0)
    assert verdict_of(found, None, NoiseOptions()) is None
    assert runs < MIN_RUNS


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.03, 1.05, "slower"),
        (0.9, 0.95, "faster"),
        (0.99, 1.01, "same"),
        (1.01, 1.05, "inconclusive"),
        (0.95, 1.05, "inconclusive"),
        (1.0, 1.021, "inconclusive"),
    ],
)
def test_verdicts_at_a_tolerance_of_two_percent(low, high, expected):
    estimate = Estimate(math.sqrt(low * high), low, high, 0.01, 1.04)
    assert verdict_of(estimate, None, NoiseOptions(tolerance=0.02)) == expected


def test_one_of_many_is_not_sure_enough():
    estimate = Estimate(1.1, 1.05, 1.15, 0.01, 1.04)
    assert verdict_of(estimate, 0.2, NoiseOptions()) == "inconclusive"
    assert verdict_of(estimate, 0.05, NoiseOptions()) == "slower"


def test_without_any_noise_the_ratio_is_exact():
    found = estimate_ratios(sample([100.0] * 5), sample([150.0] * 5), NoiseOptions())[0]
    assert (found.ratio, found.low, found.high, found.p_value) == (pytest.approx(1.5),) * 3 + (0.0,)
    assert found.smallest_ratio == pytest.approx(1.02)


def test_a_kernel_that_some_runs_lack_has_no_bound():
    found = estimate_ratios(sample([1.0, 0.0, 0.0, 0.0, 0.0]), sample([1.0] * 5), NoiseOptions())[0]
    assert found.low == 0.0
    assert found.high == math.inf
    assert verdict_of(found, None, NoiseOptions()) == "inconclusive"


def test_zero_on_one_side_has_no_ratio():
    found = estimate_ratios(sample([0.0] * 5), sample([1.0] * 5), NoiseOptions())[0]
    assert found == Estimate(None)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(1e3, 1e9), min_size=5, max_size=8),
    st.lists(st.floats(1e3, 1e9), min_size=5, max_size=8),
    st.floats(0, 1e6),
)
def test_the_other_way_round_is_the_mirror(base, head, variance):
    options = NoiseOptions(draws=200)
    there = estimate_ratios(sample(base, variance), sample(head, variance), options)[0]
    back = estimate_ratios(sample(head, variance), sample(base, variance), options)[0]
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert there.low == pytest.approx(1 / back.high)
    assert there.high == pytest.approx(1 / back.low)
    assert there.p_value == pytest.approx(back.p_value)


def literal_bootstrap(runs, rng, draws):
    """Draw runs, then launches of each drawn run, one by one."""
    totals = []
    for _ in range(draws):
        drawn = [runs[i] for i in rng.integers(len(runs), size=len(runs))]
        totals.append(np.mean([rng.choice(run, len(run)).sum() for run in drawn]))
    return np.std(np.log(totals)) * math.sqrt(len(runs) / (len(runs) - 1))


@pytest.mark.parametrize(("drift", "launch", "count"), [(0.05, 0.05, 20), (0.0, 0.5, 30), (0.03, 0.3, 8)])
def test_the_moments_of_launches_say_what_drawing_them_says(drift, launch, count):
    rng = np.random.default_rng(7)
    runs = [1e4 * np.exp(rng.normal(0, drift) + rng.normal(0, launch, count)) for _ in range(6)]
    values = np.array([[run.sum()] for run in runs])
    variance = np.array([[((run - run.mean()) ** 2).sum()] for run in runs])
    both = Sample(values, variance)
    options = NoiseOptions(draws=4000)
    literal = literal_bootstrap(runs, rng, 4000)
    runs_only = _one_side(Sample(values, variance * 0), options)
    assert _one_side(both, options) == pytest.approx(literal, rel=0.08)
    assert _one_side(both, options) >= runs_only * 0.99


def _one_side(side, options):
    quiet = Sample(np.full_like(side.values, 1.0), np.zeros_like(side.values))
    found = estimate_ratios(quiet, side, options)[0]
    half = math.log(found.high / found.low) / 2
    return half / t_quantile(0.975, side.run_count - 1)


def test_absolute_changes_have_the_unit_of_the_values():
    change = estimate_changes(sample([100.0, 102, 98, 101, 99]), sample([110.0, 112, 108, 111, 109]), NoiseOptions())[0]
    assert change.value == pytest.approx(10)
    assert change.spread.error == pytest.approx(1.0, rel=0.1)  # sqrt(2 * 2.5 / 5)
    alone = estimate_changes(None, sample([100.0, 102, 98, 101, 99]), NoiseOptions())[0]
    assert alone.value == 100
    assert alone.spread.error == pytest.approx(0.707, rel=0.1)


def test_many_kernels_need_a_larger_change_to_be_seen():
    spread = Spread(0.01, 8)
    assert smallest_step(spread, NoiseOptions(), 100) > 1.5 * smallest_step(spread, NoiseOptions(), 1)


def test_p_value_of_a_change_at_the_tolerance_is_one():
    assert two_sided_p(0.0, Spread(0.01, 8)) == pytest.approx(1.0)
    assert two_sided_p(2.306004 * 0.01, Spread(0.01, 8)) == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize("setting", [SETTINGS[1], SETTINGS[4]], ids=lambda s: s[0])
def test_known_truth_in_small(setting):
    """The full figures (2,000 trials) come from benchmarks/simulate_compare.py."""
    figures = simulate(120, setting[1])
    assert figures["whole"] <= 0.09
    assert figures["kernels"] <= 0.09
    assert figures["power"] >= 0.8
    assert figures["renamed"] >= 0.95


def test_the_upper_bound_of_a_share():
    assert upper_bound(0.05, 2000) == pytest.approx(0.0587, abs=2e-4)
