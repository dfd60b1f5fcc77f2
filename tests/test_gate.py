from dataclasses import replace

import numpy as np
import pytest

from nsightkit.analysis.compare.comparison import ComparedSide, compare_runs
from nsightkit.analysis.compare.conditions import (
    BOUND,
    DIFFERENCE,
    RELATIVE,
    Condition,
    ConditionError,
    parse_condition,
)
from nsightkit.analysis.compare.gate import GateInput, NotComparableError, evaluate, exit_code_of
from nsightkit.analysis.compare.noise import NoiseOptions
from tests.builders.pairs import PROGRAM, Noise, changed, process_run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("total_ns > +3%", ("run", "", "total_ns", ">", RELATIVE, 1.03)),
        ("run.total_ns>+3.5 %", ("run", "", "total_ns", ">", RELATIVE, 1.035)),
        ("decode.per_token_ns > +2%", ("range", "decode", "per_token_ns", ">", RELATIVE, 1.02)),
        ("range:a.b.total_ns > +1ms", ("range", "a.b", "total_ns", ">", DIFFERENCE, 1e6)),
        ("family:GEMM.mean_ns > 20us", ("family", "GEMM", "mean_ns", ">", BOUND, 20_000.0)),
        ("kernel:ampere_.*gemm.launch_count > +0", ("kernel", "ampere_.*gemm", "launch_count", ">", DIFFERENCE, 0.0)),
        ("kernels:.*.total_ns > +10%", ("kernels", ".*", "total_ns", ">", RELATIVE, 1.1)),
        ("achieved_occupancy_pct < -5%", ("run", "", "achieved_occupancy_pct", "<", RELATIVE, 0.95)),
        ("dram_bytes > +2MB", ("run", "", "dram_bytes", ">", DIFFERENCE, 2e6)),
        ("achieved_occupancy_pct < 40", ("run", "", "achieved_occupancy_pct", "<", BOUND, 40.0)),
    ],
)
def test_conditions(text, expected):
    condition = parse_condition(text)
    assert condition == Condition(text, *expected[:5], pytest.approx(expected[5]))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("nan", "is no condition"),
        ("total_ns > nan", "no finite number"),
        ("total_ns > +inf%", "no finite number"),
        ("total_ns > +1e999%", "no finite number"),
        ("total_ns > 1e300s", "no finite number"),
        ("peak_bytes > +1e300GB", "no finite number"),
        ("family:.total_ns > +3%", "names no family"),
        ("total_ns > 3%", "write +3%"),
        ("total_ns >= +3%", "is no condition"),
        ("total_ns > ", "is no condition"),
        ("wall_ns > +3%", "unknown metric wall_ns"),
        ("Total_NS > +3%", "unknown metric Total_NS; did you mean total_ns"),
        ("total_ns > +3 parsecs", "unknown unit parsecs"),
        ("launch_count > +3ms", "unknown unit ms"),
        ("thread:1.total_ns > +3%", "unknown scope thread"),
        ("kernel:(.total_ns > +3%", "no valid regular expression"),
        ("total_ns < -100%", "-100 % or more"),
        ("", "is no condition"),
    ],
)
def test_what_is_no_condition_is_wrong_usage(text, part):
    with pytest.raises(ConditionError, match=part.replace("+", r"\+")) as caught:
        parse_condition(text)
    assert caught.value.exit_code == 2


def side(steps, seed, runs=5, drift=0.005, tokens=None):
    rng = np.random.default_rng(seed)
    sums = [process_run(steps, 40, Noise(drift, 0.03), rng) for _ in range(runs)]
    return ComparedSide(f"side-{seed}", sums, tokens)


def held(texts, base, head, ranges=None, accepted=None):
    given = GateInput((base, head), compare_runs(base, head), ranges or {}, NoiseOptions())
    return evaluate([parse_condition(text) for text in texts], given, accepted or {})


BASE = side(PROGRAM, 1)
SLOW_GEMM = side(changed(PROGRAM, "gemm_kernel_0", mean_ns=88_000.0), 2)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("total_ns > +2%", "regressed"),
        ("total_ns > +15%", "passed"),
        ("total_ns > +5.8%", "inconclusive"),
        ("kernel:gemm.total_ns > +5%", "regressed"),
        ("kernel:gelu.total_ns > +5%", "passed"),
        ("kernel:gemm.mean_ns > +5us", "regressed"),
        ("kernel:gemm.mean_ns > +20us", "passed"),
        ("kernel:gemm.mean_ns > 80us", "regressed"),
        ("kernel:gemm.mean_ns > 100us", "passed"),
        ("launch_count > +0", "passed"),
        ("total_ns < -2%", "passed"),
        ("kernel:gemm.mean_ns < 100us", "regressed"),
    ],
)
def test_known_changes(text, status):
    [outcome] = held([text], BASE, SLOW_GEMM)
    assert outcome.status == status, outcome


def test_an_outcome_states_the_smallest_change_that_could_be_seen():
    [outcome] = held(["total_ns > +2%"], BASE, BASE)
    assert outcome.status == "passed"
    assert 1.02 < outcome.smallest < 1.06
    assert outcome.low == pytest.approx(1 / outcome.high)


def test_each_kernel_by_itself():
    outcomes = held(["kernels:.*.total_ns > +3%"], BASE, SLOW_GEMM)
    assert len(outcomes) == 6
    assert [o.subject for o in outcomes if o.status == "regressed"] == [o.subject for o in outcomes if o.change > 1.05]
    assert exit_code_of(outcomes) == 1


def test_a_single_pair_is_inconclusive():
    [outcome] = held(["total_ns > +3%"], side(PROGRAM, 1, runs=1), side(PROGRAM, 2, runs=1))
    assert (outcome.status, outcome.low) == ("inconclusive", None)
    assert "5 are needed" in outcome.reason


def test_exit_codes():
    passed, regressed, unclear = (
        held([text], BASE, SLOW_GEMM)[0] for text in ("total_ns > +15%", "total_ns > +2%", "total_ns > +5.8%")
    )
    assert exit_code_of([passed]) == 0
    assert exit_code_of([passed, regressed, unclear]) == 1
    assert exit_code_of([passed, unclear]) == 4
    assert exit_code_of([passed, unclear], "pass") == 0
    assert exit_code_of([passed, unclear], "fail") == 1
    assert exit_code_of([regressed], "pass") == 1


@pytest.mark.parametrize(
    "text", ["prefill.total_ns > +3%", "family:FFT.total_ns > +3%", "kernel:nowhere.total_ns > +3%"]
)
def test_what_neither_side_has_is_wrong_usage(text):
    with pytest.raises(ConditionError):
        held([text], BASE, SLOW_GEMM)


def test_what_one_side_lacks_is_not_comparable():
    with pytest.raises(NotComparableError, match="does not have dram_bytes") as caught:
        held(["dram_bytes > +3%"], BASE, SLOW_GEMM)
    assert caught.value.exit_code == 3
    with pytest.raises(NotComparableError, match="--tokens"):
        held(["per_token_ns > +3%"], BASE, SLOW_GEMM)


def test_a_new_kernel_has_no_ratio_to_hold():
    head = side([*PROGRAM, *changed(PROGRAM[:1], "gemm_kernel_0", kernel_name="debug_dump")], 3)
    with pytest.raises(NotComparableError, match="does not have total_ns"):
        held(["kernel:debug_dump.total_ns > +3%"], BASE, head)
    [outcome] = held(["kernel:debug_dump.total_ns > 1us"], BASE, head)
    assert outcome.status == "regressed"


def test_conditions_hold_within_a_range():
    ranges = {"decode": (side(PROGRAM[:1], 1, tokens=8), side(PROGRAM[:1], 2, tokens=8))}
    [outcome] = held(["decode.per_token_ns > +5%"], BASE, SLOW_GEMM, ranges)
    assert outcome.status == "passed"
    assert outcome.subject == "range decode"
    assert outcome.base == pytest.approx(40 * 80_000 / 8, rel=0.02)


def test_what_was_accepted_passes_up_to_what_was_accepted():
    key = "total_ns > +2% [run]"
    assert held(["total_ns > +2%"], BASE, SLOW_GEMM, accepted={key: 1.10})[0].status == "accepted"
    assert held(["total_ns > +2%"], BASE, SLOW_GEMM, accepted={key: 1.03})[0].status == "regressed"


def test_what_was_accepted_passes_when_the_same_program_is_measured_again():
    key, slow = "total_ns > +2% [run]", changed(PROGRAM, "gemm_kernel_0", mean_ns=88_000.0)
    first = held(["total_ns > +2%"], BASE, SLOW_GEMM)[0]
    again = [
        held(["total_ns > +2%"], BASE, side(slow, seed), accepted={key: first.change})[0] for seed in range(30, 42)
    ]
    assert first.status == "regressed"
    assert max(outcome.change for outcome in again) > first.change
    assert {outcome.status for outcome in again} == {"accepted"}


def test_a_single_pair_is_not_accepted_either():
    one = side(PROGRAM, 3, runs=1)
    assert held(["total_ns > +2%"], BASE, one, accepted={"total_ns > +2% [run]": 1.5})[0].status == "inconclusive"


def with_untimed(given, name, count):
    runs = []
    for run in given.runs:
        kernel = run.kernels[name]
        left = kernel.launch_count - count
        cut = replace(kernel, untimed_count=count, total_ns=kernel.total_ns * left // kernel.launch_count)
        runs.append(replace(run, kernels={**run.kernels, name: cut}))
    return replace(given, runs=runs)


def test_a_total_that_lacks_launches_is_refused_and_the_time_per_launch_is_not():
    head = with_untimed(side(PROGRAM, 5), "gemm_kernel_0", 20)
    for text in ("total_ns > +3%", "mean_ns > +3%", "kernel:gemm_kernel_0.total_ns > +3%"):
        with pytest.raises(NotComparableError, match=r"100 of .* launches of side-5 for .* have no duration"):
            held([text], BASE, head)
    [outcome] = held(["kernel:gemm_kernel_0.mean_ns > +5%"], BASE, head)
    assert outcome.status == "passed"
    assert outcome.head == pytest.approx(80_000, rel=0.02)
    assert held(["kernel:gelu_kernel_2.total_ns > +20%"], BASE, head)[0].status == "passed"


def test_a_kernel_that_some_runs_lack_says_so():
    runs = [
        replace(run, kernels={n: k for n, k in run.kernels.items() if at == 0 or n != "copy_kernel_5"})
        for at, run in enumerate(side(PROGRAM, 6).runs)
    ]
    [outcome] = held(["kernel:copy_kernel_5.total_ns > +3%"], BASE, ComparedSide("gaps", runs))
    assert outcome.status == "inconclusive"
    assert outcome.reason == "some runs lack it altogether, so its spread is not known"


@pytest.mark.parametrize(
    ("pasted", "plain"),
    [("total_ns < \N{MINUS SIGN}3%", "total_ns < -3%"), ("total_ns > +5\N{GREEK SMALL LETTER MU}s", "total_ns > +5us")],
)
def test_a_condition_may_be_pasted_from_a_report(pasted, plain):
    assert parse_condition(pasted).value == parse_condition(plain).value
