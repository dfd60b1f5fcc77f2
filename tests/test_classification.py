"""The rules and what they are fed: aggregation, suspects, thresholds, and verdicts that are rather not given."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.results import BOUNDS
from nsightkit.analysis.roofs.classification import classify_kernels
from nsightkit.analysis.roofs.peaks import DTYPES
from nsightkit.analysis.roofs.rules import RULES
from nsightkit.errors import AnalysisError

COUNTED = {dtype.work: 0.0 for dtype in DTYPES}
PEAKS = {"peak_fp32_flop_per_s": 10e12, "peak_dram_bytes_per_s": 1e12}
HOSTILE = ["a<b>|c*", "<script>alert(1)</script>", "line\nbreak", "\x1b[31mred", "k" * 10_000, ""]


def row(**known):
    """One measured launch of 1 ms."""
    base = {"capture_id": "c", "kernel_name": "kernel(float*)", "failed": False, "duration_ns": 1e6}
    sizes = {"grid_x": 10, "grid_y": 1, "grid_z": 1, "block_x": 128, "block_y": 1, "block_z": 1}
    return base | sizes | {"compute_capability": "8.0"} | known


def roofline_row(sm, memory, **known):
    return row(**(COUNTED | PEAKS | {"sm_throughput_pct": sm, "memory_throughput_pct": memory} | known))


def verdict(rule, one_row, margin=5.0):
    (kernel,) = classify_kernels([one_row], rule, margin)
    return kernel.verdict


# --- grouping -------------------------------------------------------------------------------------------------


def test_launches_of_one_kernel_and_geometry_are_one_row():
    rows = [
        row(duration_ns=1e6, dram_bytes=3e6, sm_throughput_pct=10.0, registers_per_thread=32.0),
        row(duration_ns=3e6, dram_bytes=5e6, sm_throughput_pct=50.0, registers_per_thread=32.0),
        row(duration_ns=2e6, grid_x=20),
        row(duration_ns=2e6, capture_id="d"),
    ]
    kernels = classify_kernels(rows, "sol-gap")
    assert [(k.capture_id, k.grid, k.launch_count) for k in kernels] == [
        ("c", "10×1×1", 2),
        ("c", "20×1×1", 1),
        ("d", "10×1×1", 1),
    ]
    both = kernels[0]
    assert both.total_ns == 4e6
    assert both.duration_ns == 2e6
    assert both.time_share == 0.5
    assert both.counters["dram_bytes"] == 8e6
    assert both.counters["sm_throughput_pct"] == pytest.approx((10 * 1 + 50 * 3) / 4)
    assert both.counters["registers_per_thread"] == 32.0
    assert both.block == "128×1×1"


def test_launches_that_differ_much_in_time_are_pointed_out():
    kernels = classify_kernels([row(duration_ns=1e6), row(duration_ns=4.3e6)], "sol-gap")
    assert (
        "its launches differ 4.3-fold in time and may differ in work: the row is their sum" in kernels[0].verdict.flags
    )


def test_a_counter_that_one_launch_lacks_is_not_known():
    (kernel,) = classify_kernels([row(dram_bytes=1.0), row(dram_bytes=None)], "sol-gap")
    assert kernel.counters["dram_bytes"] is None


def test_a_single_launch_keeps_its_values_exactly():
    (kernel,) = classify_kernels([row(sm_throughput_pct=49.01160915375563)], "sol-gap")
    assert kernel.counters["sm_throughput_pct"] == 49.01160915375563


def test_failed_launches_are_counted_and_left_out():
    broken = row(failed=True, duration_ns=math.nan, sm_throughput_pct=None, dram_throughput_pct=None)
    good = row(sm_throughput_pct=50.0, dram_throughput_pct=10.0)
    (kernel,) = classify_kernels([good, broken], "sol-gap")
    assert (kernel.launch_count, kernel.failed_count) == (1, 1)
    assert kernel.duration_ns == 1e6
    assert kernel.verdict.bound == "COMPUTE"
    assert any("could not measure" in flag for flag in kernel.verdict.flags)


@pytest.mark.parametrize("rule", RULES)
def test_a_kernel_of_which_all_launches_failed_is_shown_as_failed(rule):
    (kernel,) = classify_kernels([row(failed=True, duration_ns=None)], rule)
    assert kernel.duration_ns is None
    assert kernel.total_ns is None
    assert kernel.time_share is None
    assert (kernel.launch_count, kernel.failed_count) == (0, 1)
    assert kernel.verdict.bound == "UNKNOWN"
    assert kernel.verdict.rule_verdict == "failed"
    assert kernel.verdict.rule == rule


def test_without_durations_launches_count_alike():
    rows = [row(duration_ns=None, sm_throughput_pct=10.0), row(duration_ns=None, sm_throughput_pct=20.0)]
    (kernel,) = classify_kernels(rows, "sol-gap")
    assert kernel.counters["sm_throughput_pct"] == 15.0
    assert kernel.total_ns is None


def test_the_longest_comes_first_and_the_unknown_last():
    rows = [row(kernel_name="a", duration_ns=None), row(kernel_name="b"), row(kernel_name="c", duration_ns=9e6)]
    assert [k.kernel_name for k in classify_kernels(rows)] == ["c", "b", "a"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_kept_as_they_are(name):
    (kernel,) = classify_kernels([row(kernel_name=name)])
    assert kernel.kernel_name == name


def test_no_rows_give_no_kernels():
    assert classify_kernels([]) == []


def test_a_wrong_rule_or_margin_is_said():
    with pytest.raises(AnalysisError, match="auto, roofline, sol-gap, ncu") as caught:
        classify_kernels([], "gut feeling")
    assert caught.value.slug == "unknown-rule"
    for margin in (-1.0, 101.0, math.nan):
        with pytest.raises(AnalysisError) as caught:
            classify_kernels([], margin=margin)
        assert caught.value.slug == "bad-margin"


# --- sol-gap --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sm", "dram", "bound", "word", "margin"),
    [
        (38.78, 13.59, "COMPUTE", "compute_bound", 20.19),
        (10.0, 15.01, "MEMORY", "memory_bound", 0.01),
        (25.26, 21.41, "BALANCED", "balanced", 1.15),
        (15.0, 10.0, "BALANCED", "balanced", 0.0),
        (10.0, 15.0, "BALANCED", "balanced", 0.0),
        (0.0, 0.0, "BALANCED", "balanced", 5.0),
    ],
)
def test_sol_gap(sm, dram, bound, word, margin):
    result = verdict("sol-gap", row(sm_throughput_pct=sm, dram_throughput_pct=dram))
    assert (result.bound, result.rule_verdict, result.tier) == (bound, word, "throughput")
    assert result.margin == pytest.approx(margin, abs=1e-9)
    assert result.margin_unit == "points"
    assert result.inputs == {"sm_throughput_pct": sm, "dram_throughput_pct": dram}


def test_sol_gap_margin_is_the_callers():
    one = row(sm_throughput_pct=20.0, dram_throughput_pct=10.0)
    assert verdict("sol-gap", one, margin=9.9).bound == "COMPUTE"
    assert verdict("sol-gap", one, margin=10.0).bound == "BALANCED"


@pytest.mark.parametrize("absent", ["sm_throughput_pct", "dram_throughput_pct"])
def test_sol_gap_without_an_input_is_unknown(absent):
    result = verdict("sol-gap", row(**{"sm_throughput_pct": 1.0, "dram_throughput_pct": 1.0, absent: None}))
    assert (result.bound, result.rule_verdict, result.tier) == ("UNKNOWN", "unknown", "none")
    assert result.missing == (absent,)


# --- ncu ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sm", "memory", "waves", "bound", "title"),
    [
        (87.6, 33.6, 18.0, "COMPUTE", "High Throughput"),
        (37.98, 85.55, 0.9, "MEMORY", "High Throughput"),
        (97.7, 97.7, 18.0, "BALANCED", "High Throughput"),
        (80.0, 10.0, 18.0, "COMPUTE", "High Throughput"),
        (59.99, 59.99, 0.99, "LATENCY", "Small Grid"),
        (59.99, 10.0, 1.0, "LATENCY", "Latency Issue"),
        (50.0, 10.0, 40.0, "LATENCY", "Latency Issue"),
        (65.0, 30.0, 40.0, "COMPUTE", "High Compute Throughput"),
        (30.0, 65.0, 0.1, "MEMORY", "High Memory Throughput"),
        (70.0, 60.0, 40.0, "COMPUTE", "High Compute Throughput"),
        (70.0, 60.01, 40.0, "BALANCED", "Balanced Throughput"),
        (64.86, 64.86, 1.6, "BALANCED", "Balanced Throughput"),
    ],
)
def test_ncu_thresholds(sm, memory, waves, bound, title):
    result = verdict("ncu", row(sm_throughput_pct=sm, memory_throughput_pct=memory, waves_per_sm=waves))
    assert (result.bound, result.rule_verdict, result.tier) == (bound, title, "throughput")
    assert result.margin >= 0


@pytest.mark.parametrize(
    ("sm", "memory", "margin"),
    [
        (80.3, 9.4, 20.3),  # below 80 the title is another, the side is not
        (67.7, 42.6, 7.7),  # LATENCY is nearer than the 15 points to BALANCED
        (64.9, 64.9, 4.9),
        (92.0, 88.0, 4.0),
        (84.0, 76.0, 4.0),
        (30.0, 45.0, 15.0),
    ],
)
def test_ncu_margin_by_hand(sm, memory, margin):
    assert verdict("ncu", row(sm_throughput_pct=sm, memory_throughput_pct=memory)).margin == pytest.approx(margin)


@given(sm=st.floats(1, 99), memory=st.floats(1, 99))
def test_ncu_margin_is_the_least_change_that_gives_another_bound(sm, memory):
    found = verdict("ncu", row(sm_throughput_pct=sm, memory_throughput_pct=memory))

    def bounds_after(change):
        moves = [(sign * change * one, sign * change * other) for sign in (1, -1) for one, other in _MOVED]
        return {
            verdict("ncu", row(sm_throughput_pct=a, memory_throughput_pct=b)).bound
            for a, b in ((sm + x, memory + y) for x, y in moves)
            if min(a, b) >= 0 and max(a, b) <= 100
        }

    assert bounds_after(found.margin * (1 - 1e-9) - 1e-9) <= {found.bound} or found.margin < 1e-6
    assert bounds_after(found.margin + 1e-6) - {found.bound}


_MOVED = ((1, 0), (0, 1), (1, 1))  # one of the two throughputs, or both alike


def test_ncu_without_waves_cannot_choose_between_two_titles_of_latency():
    result = verdict("ncu", row(sm_throughput_pct=10.0, memory_throughput_pct=10.0))
    assert (result.bound, result.rule_verdict) == ("LATENCY", "Small Grid or Latency Issue")
    assert result.missing == ("waves_per_sm",)


def test_ncu_without_throughputs_is_unknown():
    result = verdict("ncu", row())
    assert (result.bound, result.missing) == ("UNKNOWN", ("sm_throughput_pct", "memory_throughput_pct"))


# --- suspects -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "cause"), [(100.02, "above 100"), (math.nan, "no number"), (-3.0, "negative")])
@pytest.mark.parametrize("rule", ["sol-gap", "ncu"])
def test_suspects_are_kept_flagged_and_left_out(rule, value, cause):
    one = row(sm_throughput_pct=value, memory_throughput_pct=50.0, dram_throughput_pct=50.0)
    (kernel,) = classify_kernels([one], rule)
    kept = kernel.counters["sm_throughput_pct"]
    assert kept == value or (math.isnan(kept) and math.isnan(value))
    assert kernel.verdict.bound == "UNKNOWN"
    assert kernel.verdict.missing == ("sm_throughput_pct",)
    assert any(flag.startswith("sm_throughput_pct:") and cause in flag for flag in kernel.verdict.flags)


def test_a_suspect_that_no_rule_looks_at_costs_no_verdict():
    one = row(sm_throughput_pct=50.0, dram_throughput_pct=10.0, l2_hit_rate_pct=100.02)
    result = verdict("sol-gap", one)
    assert result.bound == "COMPUTE"
    assert any(flag.startswith("l2_hit_rate_pct: above 100") for flag in result.flags)


def test_exactly_100_percent_is_no_suspect():
    assert verdict("ncu", row(sm_throughput_pct=100.0, memory_throughput_pct=50.0)).bound == "COMPUTE"


# --- roofline: kernels whose bound is known from their arithmetic ---------------------------------------------

KNOWN = {
    "vector add, 8 GB at 0.8 of the bandwidth": (
        roofline_row(15.0, 80.0, dram_bytes=0.8e9, fp32_flop=0.8e9 / 12),
        ("MEMORY", "below the ridge"),
    ),
    "copy without arithmetic": (
        roofline_row(10.0, 85.0, dram_bytes=0.85e9),
        ("MEMORY", "no floating-point work"),
    ),
    "large FP32 GEMM": (
        roofline_row(88.0, 40.0, dram_bytes=0.05e9, fp32_flop=8.5e9),
        ("COMPUTE", "at or above the ridge"),
    ),
    "one small block": (
        roofline_row(0.5, 1.0, dram_bytes=1e4, fp32_flop=1e4),
        ("LATENCY", "low throughput"),
    ),
    "hash of integers: the SM is busy with what is no FLOP": (
        roofline_row(92.0, 20.0, dram_bytes=0.1e9),
        ("UNKNOWN", "not decided"),
    ),
    "transposition through L1: memory is busy, DRAM is not": (
        roofline_row(30.0, 95.0, dram_bytes=0.05e9, fp32_flop=1e9),
        ("UNKNOWN", "not decided"),
    ),
    "everything in L2, no DRAM traffic": (
        roofline_row(70.0, 20.0, dram_bytes=0.0, fp32_flop=5e9),
        ("UNKNOWN", "not decided"),
    ),
}


@pytest.mark.parametrize("case", KNOWN)
def test_roofline_on_known_arithmetic(case):
    one, (bound, word) = KNOWN[case]
    result = verdict("roofline", one)
    assert (result.bound, result.rule_verdict) == (bound, word)
    assert result.rule == "roofline"
    assert result.tier == ("none" if bound == "UNKNOWN" else "counters")


def test_roofline_margin_is_the_factor_to_the_ridge():
    result = verdict("roofline", roofline_row(15.0, 80.0, dram_bytes=0.8e9, fp32_flop=0.2e9))
    assert result.margin == pytest.approx((10e12 / 1e12) / (0.2 / 0.8))
    assert result.margin_unit == "× below the ridge"
    above = verdict("roofline", KNOWN["large FP32 GEMM"][0])
    assert (above.margin, above.margin_unit) == (pytest.approx(8.5e9 / 0.05e9 / 10), "× above the ridge")
    assert result.inputs["dram_bytes"] == 0.8e9
    assert result.inputs["flop"] == 0.2e9


def test_a_kernel_at_the_ridge_says_that_the_peaks_are_not_known_that_well():
    """0.7 GB at 1 TB/s against FP32 work at 10 TFLOP/s: the ridge lies at 10 FLOP a byte."""
    for factor, close in ((1.01, True), (1.03, False), (0.99, True), (0.9, False)):
        one = roofline_row(75.0, 75.0, dram_bytes=0.7e9, fp32_flop=7e9 * factor)
        result = verdict("roofline", one)
        assert result.bound == ("COMPUTE" if factor > 1 else "MEMORY")
        assert any("at the ridge" in flag and "ncu's peaks" in flag for flag in result.flags) == close


def test_data_sheets_are_known_less_well_than_peaks_of_ncu():
    """RTX 4090, no peaks in the capture: 82.6 TFLOP/s and 1008 GB/s."""
    gpu = {"gpu_name": "NVIDIA GeForce RTX 4090", "sm_count": 128, "compute_capability": "8.9"}
    for factor, close in ((1.03, True), (1.10, False)):
        counters = COUNTED | {"sm_throughput_pct": 75.0, "memory_throughput_pct": 75.0, "dram_bytes": 0.7e9}
        one = row(**(counters | gpu | {"fp32_flop": 0.7e9 * 82.6e12 / 1008e9 * factor}))
        result = verdict("roofline", one)
        assert result.bound == "COMPUTE"
        assert any("at the ridge" in flag and "data sheet" in flag for flag in result.flags) == close


def test_amounts_among_the_inputs_are_sums_and_no_name_means_two_things():
    rows = [roofline_row(15.0, 80.0, dram_bytes=0.8e9, fp32_flop=0.2e9)] * 2
    (kernel,) = classify_kernels(rows, "roofline")
    assert kernel.duration_ns == 1e6
    assert kernel.verdict.inputs["total_ns"] == kernel.total_ns == 2e6
    assert "duration_ns" not in kernel.verdict.inputs


@pytest.mark.parametrize("rule", ["auto", "roofline"])
@pytest.mark.parametrize(("waves", "small"), [(0.24, True), (0.999, True), (1.0, False), (40.0, False), (None, False)])
def test_latency_by_the_roofline_says_as_ncu_does_that_a_grid_is_too_small(rule, waves, small):
    result = verdict(rule, roofline_row(17.9, 28.0, dram_bytes=1e7, fp32_flop=1e9, waves_per_sm=waves))
    assert (result.bound, result.rule) == ("LATENCY", "roofline")
    assert result.rule_verdict == ("low throughput: small grid" if small else "low throughput")
    assert result.inputs.get("waves_per_sm") == waves


def test_unknown_says_what_to_run_and_a_verdict_does_not():
    bare = verdict("auto", row())
    assert bare.bound == "UNKNOWN"
    assert bare.remedy.startswith("collect them with: ncu --set roofline")
    assert verdict("ncu", row()).remedy == "collect them with: ncu --section SpeedOfLight"
    assert verdict("auto", KNOWN["large FP32 GEMM"][0]).remedy == ""
    assert verdict("auto", row(sm_throughput_pct=90.0, memory_throughput_pct=10.0)).remedy == ""


@pytest.mark.parametrize("rule", ["auto", "roofline"])
def test_uncounted_work_of_an_idle_pipe_is_listed_as_missing_and_as_immaterial(rule):
    one = roofline_row(15.0, 80.0, dram_bytes=0.8e9, fp32_flop=0.2e9, fp16_pipe_pct=0.0) | {"fp16_flop": None}
    result = verdict(rule, one)
    assert (result.missing, result.immaterial, result.flags) == (("fp16_flop",), ("fp16_flop",), ())
    busy = verdict(rule, one | {"fp16_pipe_pct": 3.0})
    assert (busy.missing, busy.immaterial) == (("fp16_flop",), ())
    assert busy.flags == ("intensity is a lower bound: FP16 not counted",)


def test_latency_needs_both_sides_low():
    assert verdict("roofline", roofline_row(59.9, 59.9, dram_bytes=1e7, fp32_flop=1e7)).bound == "LATENCY"
    assert verdict("roofline", roofline_row(20.0, 60.0, dram_bytes=4e8, fp32_flop=1e7)).bound == "MEMORY"


def test_without_throughputs_only_a_kernel_near_its_roof_gets_a_bound():
    far = verdict("roofline", roofline_row(None, None, dram_bytes=1e7, fp32_flop=1e7))
    assert (far.bound, far.missing) == ("UNKNOWN", ("sm_throughput_pct", "memory_throughput_pct"))
    assert "far from its roof" in far.flags[-1]
    near = verdict("roofline", roofline_row(None, None, dram_bytes=8e8, fp32_flop=1e7))
    assert near.bound == "MEMORY"


def test_a_kernel_near_its_tensor_roof_is_no_latency_though_the_throughput_reads_half():
    """GeForce with FP32 accumulation: the pipe is full while ncu counts half of its cycles."""
    one = roofline_row(32.0, 26.0, dram_bytes=1e8, tensor_bf16_flop=80e9, peak_tensor_bf16_flop_per_s=100e12)
    assert verdict("roofline", one).bound == "COMPUTE"


def test_above_the_roof_is_no_verdict():
    (kernel,) = classify_kernels([roofline_row(50.0, 90.0, dram_bytes=1.5e9, fp32_flop=1e7)], "roofline")
    assert (kernel.verdict.bound, kernel.verdict.rule_verdict) == ("UNKNOWN", "above the roof")
    assert kernel.point.efficiency == pytest.approx(1.5)
    assert kernel.point.flags


def test_roofline_without_counters_names_them():
    result = verdict("roofline", row(sm_throughput_pct=90.0, memory_throughput_pct=10.0))
    assert result.bound == "UNKNOWN"
    assert {"dram_bytes", "peak_dram_bytes_per_s", "fp32_flop", "tensor_bf16_flop"} <= set(result.missing)


def test_a_tensor_gemm_without_tensor_counters_is_not_judged_by_its_epilogue():
    """As an INT8 GEMM whose report holds FP32 and FP64 work only."""
    tensor = {dtype.work: None for dtype in DTYPES if dtype.name.startswith("tensor_")}
    one = roofline_row(70.0, 65.0, dram_bytes=1e8, fp32_flop=1e6, tensor_pipe_pct=60.0) | tensor
    (kernel,) = classify_kernels([one], "roofline")
    assert kernel.verdict.bound == "UNKNOWN"
    assert "tensor_int8_op" in kernel.verdict.missing
    assert kernel.point is None


# --- auto -----------------------------------------------------------------------------------------------------


def test_auto_takes_the_roofline_where_it_can():
    result = verdict("auto", KNOWN["large FP32 GEMM"][0])
    assert (result.bound, result.rule, result.tier) == ("COMPUTE", "roofline", "counters")


@pytest.mark.parametrize(
    ("case", "bound"),
    [
        ("hash of integers: the SM is busy with what is no FLOP", "COMPUTE"),
        ("transposition through L1: memory is busy, DRAM is not", "MEMORY"),
    ],
)
def test_auto_falls_back_to_ncu_where_the_roofline_cannot_see_the_limit(case, bound):
    result = verdict("auto", KNOWN[case][0])
    assert (result.bound, result.rule, result.tier) == (bound, "ncu", "throughput")
    assert any("busier" in flag for flag in result.flags)


def test_auto_on_a_basic_report_says_what_the_roofline_lacked():
    result = verdict("auto", row(sm_throughput_pct=90.0, memory_throughput_pct=10.0))
    assert (result.bound, result.rule, result.tier) == ("COMPUTE", "ncu", "throughput")
    assert "dram_bytes" in result.missing


def test_auto_with_nothing_is_unknown_and_names_everything():
    result = verdict("auto", row())
    assert (result.bound, result.rule, result.tier) == ("UNKNOWN", "auto", "none")
    assert {"sm_throughput_pct", "memory_throughput_pct", "dram_bytes", "fp32_flop"} <= set(result.missing)


# --- properties -----------------------------------------------------------------------------------------------

number = st.one_of(st.none(), st.floats(0, 120), st.just(math.nan))
amount = st.one_of(st.none(), st.floats(0, 1e12), st.just(math.nan), st.just(-1.0))


@given(
    st.sampled_from(sorted(RULES)),
    st.fixed_dictionaries(
        {
            "sm_throughput_pct": number,
            "memory_throughput_pct": number,
            "dram_throughput_pct": number,
            "tensor_pipe_pct": number,
            "waves_per_sm": number,
            "duration_ns": amount,
            "dram_bytes": amount,
            "fp32_flop": amount,
            "tensor_bf16_flop": amount,
            "peak_dram_bytes_per_s": amount,
            "peak_fp32_flop_per_s": amount,
        }
    ),
)
def test_every_input_gives_a_verdict_or_unknown_with_a_reason(rule, known):
    result = verdict(rule, row(**known))
    assert result.bound in BOUNDS
    if result.bound == "UNKNOWN":
        assert result.missing or result.flags
        assert result.tier == "none"
        assert result.margin is None
    else:
        assert result.inputs
        assert all(math.isfinite(value) and value >= 0 for value in result.inputs.values())
        assert result.margin is None or result.margin >= 0


@given(sm=st.floats(0, 100), dram=st.floats(0, 100), margin=st.floats(0, 50))
def test_sol_gap_is_symmetric(sm, dram, margin):
    mirror = {"COMPUTE": "MEMORY", "MEMORY": "COMPUTE", "BALANCED": "BALANCED"}
    one = verdict("sol-gap", row(sm_throughput_pct=sm, dram_throughput_pct=dram), margin)
    other = verdict("sol-gap", row(sm_throughput_pct=dram, dram_throughput_pct=sm), margin)
    assert other.bound == mirror[one.bound]


@given(copies=st.integers(1, 5), rule=st.sampled_from(sorted(RULES)), sm=st.floats(0, 100), memory=st.floats(0, 100))
def test_equal_launches_together_are_judged_as_one_alone(copies, rule, sm, memory):
    one = roofline_row(sm, memory, dram_bytes=3e8, fp32_flop=1e9, dram_throughput_pct=30.0)
    alone = verdict(rule, one)
    (kernel,) = classify_kernels([one] * copies, rule)
    together = kernel.verdict
    assert (together.bound, together.rule_verdict) == (alone.bound, alone.rule_verdict)
    assert kernel.launch_count == copies
