"""The roofline: times per pipe, the ridge, what happens with work that was not counted, and what must never happen."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nsightkit.analysis.roofs.peaks import DTYPES, Gpu, dtypes_of
from nsightkit.analysis.roofs.roofline import place_kernel

HOPPER = Gpu("NVIDIA H100 80GB HBM3", "9.0", 132)
RTX_5090 = Gpu("NVIDIA GeForce RTX 5090", "12.0", 170)
VOLTA = Gpu("some Volta", "7.0", 80)
NO_WORK = {dtype.work: 0.0 for dtype in DTYPES}
PEAKS = {"peak_fp32_flop_per_s": 60e12, "peak_tensor_bf16_flop_per_s": 900e12, "peak_dram_bytes_per_s": 3e12}


def counters(**known):
    """Counters of a kernel in which every kind of work was counted, most of it as zero."""
    return {"duration_ns": 1e6, "dram_bytes": 1e9, **NO_WORK, **PEAKS, **known}


def place(gpu=HOPPER, **known):
    return place_kernel("kernel", counters(**known), gpu)


def test_one_dtype_has_the_textbook_ridge():
    roof = place(fp32_flop=30e9)
    point = roof.point
    assert point.ridge_flop_per_byte == pytest.approx(60e12 / 3e12)
    assert point.flop_per_byte == 30.0
    assert point.precision == "FP32"
    assert roof.placement.bound == "COMPUTE"
    assert roof.placement.compute_ns == pytest.approx(0.5e6)
    assert roof.placement.memory_ns == pytest.approx(1e9 / 3e12 * 1e9)
    assert point.efficiency == pytest.approx(0.5)
    assert point.flop_per_s == pytest.approx(30e12)
    assert point.roof_flop_per_s == pytest.approx(60e12)
    assert point.roof_source == "ncu's peak at the clock of the launch"
    assert roof.missing == ()
    assert roof.flags == ()


def test_below_the_ridge_the_roof_is_bandwidth_times_intensity():
    point = place(fp32_flop=1e9).point
    assert point.roof_flop_per_s == pytest.approx(1.0 * 3e12)
    assert point.efficiency == pytest.approx(point.flop_per_s / point.roof_flop_per_s)


@pytest.mark.parametrize(
    ("capability", "tensor"),
    [("6.1", ""), ("7.0", "fp16"), ("7.5", "fp16 int8"), ("8.0", "fp64 tf32 bf16 fp16 int8"),
     ("8.9", "fp64 tf32 bf16 fp16 fp8 int8"), ("9.0", "fp64 tf32 bf16 fp16 fp8 int8"),
     ("10.0", "fp64 tf32 bf16 fp16 fp8 fp4 int8"), (None, "fp64 tf32 bf16 fp16 fp8 fp4 int8")],
)  # fmt: skip
def test_each_gpu_has_the_tensor_types_of_its_compute_capability(capability, tensor):
    found = [dtype.name for dtype in dtypes_of(Gpu(compute_capability=capability))]
    assert [name for name in found if name.startswith("tensor")] == [f"tensor_{name}" for name in tensor.split()]
    assert "fp32" in found


def test_dtypes_of_one_pipe_add_up():
    roof = place(tensor_bf16_flop=450e9, tensor_fp8_flop=360e9, peak_tensor_fp8_flop_per_s=1800e12)
    assert roof.placement.compute_ns == pytest.approx((450 / 900 + 360 / 1800) * 1e6)
    assert roof.point.precision == "mixed: tensor BF16 + tensor FP8"
    # The effective peak lies between the two.
    assert 900e12 < roof.point.peak_flop_per_s < 1800e12


def test_of_several_pipes_the_slowest_counts():
    roof = place(tensor_bf16_flop=450e9, fp32_flop=6e9)
    assert roof.placement.compute_ns == pytest.approx(0.5e6)
    assert roof.point.flop == 450e9
    assert roof.point.precision == "tensor BF16"


@pytest.mark.parametrize(("gpu", "times"), [(VOLTA, 1), (HOPPER, 2)])
def test_half_precision_has_a_pipe_of_its_own_only_up_to_ga100(gpu, times):
    roof = place(gpu, fp32_flop=6e9, fp16_flop=12e9, peak_fp16_flop_per_s=120e12)
    assert roof.placement.compute_ns == pytest.approx(0.1e6 * times)


def test_no_work_at_all_has_no_point_but_a_place():
    roof = place()
    assert roof.point is None
    assert roof.placement.flop == 0
    assert roof.placement.bound == "MEMORY"


def test_no_dram_traffic_is_no_infinite_intensity():
    roof = place(dram_bytes=0.0, fp32_flop=1e9)
    assert roof.placement is None
    assert roof.point is None
    assert "l2_bytes" in roof.missing


@pytest.mark.parametrize("absent", ["duration_ns", "dram_bytes", "peak_dram_bytes_per_s"])
def test_what_is_needed_and_missing_is_named(absent):
    roof = place(VOLTA, fp32_flop=1e9, **{absent: None})
    assert roof.placement is None
    assert absent in roof.missing


def test_without_any_counted_work_nothing_is_said():
    nothing = dict.fromkeys(NO_WORK)
    roof = place(**nothing)
    assert roof.placement is None
    assert {"fp32_flop", "tensor_bf16_flop"} <= set(roof.missing)
    # Hopper has no FP4: it is not missing there.
    assert "tensor_fp4_flop" not in roof.missing


def test_uncounted_work_that_cannot_matter_leaves_the_bound():
    roof = place(fp32_flop=1e9, fp16_flop=None, sm_throughput_pct=20.0)
    assert roof.placement.bound == "MEMORY"
    assert roof.missing == ("fp16_flop",)
    assert roof.flags == ("intensity is a lower bound: FP16 not counted",)


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        ("kernel", {"fp16_pipe_pct": 0.0}, False),
        ("kernel", {"fp16_pipe_pct": 1.0}, False),
        ("kernel", {"fp16_pipe_pct": 1.1}, True),
        # FP32 takes 50 of the 50.5 points that the FMA pipe was busy, or of 60.
        ("kernel", {"fp32_flop": 30e9, "fma_pipe_pct": 50.5}, False),
        ("kernel", {"fp32_flop": 30e9, "fma_pipe_pct": 60.0}, True),
        # The pipe is not known: much other work, a name, or neither.
        ("stencil(float*)", {"fp32_flop": 15e9}, False),
        ("stencil(__half*)", {"fp32_flop": 15e9}, True),
        ("stencil(float*)", {"fp32_flop": 1e9}, True),
    ],
)
def test_a_lower_bound_is_only_told_where_more_work_could_be(name, known, told):
    roof = place_kernel(name, counters(**({"fp32_flop": 6e9, "fp16_flop": None} | known)), HOPPER)
    assert roof.missing == ("fp16_flop",)
    assert roof.immaterial == (() if told else ("fp16_flop",))
    assert roof.flags == (("intensity is a lower bound: FP16 not counted",) if told else ())


def test_tensor_work_that_takes_little_time_but_may_be_most_operations_leaves_no_point():
    """An FP32 epilogue of 2 % of the time beside a tensor pipe that was busy for 1.5 %."""
    tensor = {dtype.work: None for dtype in DTYPES if dtype.name.startswith("tensor_")}
    known = {"fp32_flop": 3e9, "dram_bytes": 1e7, "sm_throughput_pct": 20.0} | tensor
    assert place(tensor_pipe_pct=1.5, **known).point is None
    # What an idle pipe could have done in a thousandth of the time is rounding.
    assert place(tensor_pipe_pct=0.2, **known).point.flop == 3e9


@pytest.mark.parametrize("sm_throughput_pct", [50.0, None])
def test_uncounted_work_that_could_matter_leaves_no_bound(sm_throughput_pct):
    roof = place(fp32_flop=1e9, fp16_flop=None, sm_throughput_pct=sm_throughput_pct)
    assert roof.placement.bound is None
    assert roof.missing == ("fp16_flop",)


def test_uncounted_work_cannot_make_a_compute_bound_kernel_less_so():
    roof = place(fp32_flop=30e9, fp16_flop=None)
    assert roof.placement.bound == "COMPUTE"


def test_uncounted_tensor_work_may_not_hide_behind_a_point():
    """A GEMM on the tensor pipe would sit at almost zero intensity in the chart of its FP32 epilogue."""
    tensor = {dtype.work: None for dtype in DTYPES if dtype.name.startswith("tensor_")}
    roof = place(fp32_flop=1e6, tensor_pipe_pct=40.0, **tensor)
    assert roof.point is None
    assert roof.placement.bound is None
    assert "tensor_bf16_flop" in roof.missing
    assert any("tensor work was not counted" in flag for flag in roof.flags)


def test_an_idle_tensor_pipe_did_no_work():
    tensor = {dtype.work: None for dtype in DTYPES if dtype.name.startswith("tensor_")}
    roof = place(fp32_flop=1e9, tensor_pipe_pct=0.0, **tensor)
    assert roof.missing == ()
    assert roof.placement.bound == "MEMORY"


def test_without_a_duration_nothing_limits_what_was_not_counted():
    tensor = {dtype.work: None for dtype in DTYPES if dtype.name.startswith("tensor_")}
    roof = place(fp32_flop=1e9, duration_ns=None, tensor_pipe_pct=10.0, sm_throughput_pct=10.0, **tensor)
    assert {"duration_ns", "tensor_fp16_flop"} <= set(roof.missing)
    assert roof.flop_per_byte is None


def test_intensity_needs_no_roof():
    absent = dict.fromkeys(PEAKS)
    roof = place(Gpu(None, "9.0", None), fp32_flop=4e9, duration_ns=None, **absent)
    assert roof.flop_per_byte == 4.0
    assert roof.point is None


def test_work_whose_peak_is_not_known_is_missing_its_peak():
    roof = place(VOLTA, fp32_flop=1e9, fp64_flop=5e9)
    assert roof.missing == ("peak_fp64_flop_per_s",)


def test_data_sheet_stands_in_at_the_clock_of_the_launch():
    absent = dict.fromkeys(PEAKS)
    roof = place(RTX_5090, tensor_bf16_flop=100e9, sm_clock_hz=2407e6 / 2, **absent)
    assert roof.point.peak_flop_per_s == pytest.approx(209.5e12 / 2)
    assert roof.point.peak_bytes_per_s == 1792e9
    assert "data sheet (rtx-5090) at the clock of the launch" in roof.point.roof_source


def test_data_sheet_at_boost_clock_where_the_clock_is_not_known():
    absent = dict.fromkeys(PEAKS)
    roof = place(RTX_5090, tensor_bf16_flop=100e9, **absent)
    assert roof.point.ridge_flop_per_byte == pytest.approx(116.9, abs=0.05)
    assert "boost clock" in roof.point.roof_source


def test_an_unknown_accumulate_type_that_decides_leaves_no_bound():
    absent = dict.fromkeys(PEAKS)
    between = 1.5 * 209.5e12 / 1792e9 * 1e9  # between the ridges of FP32 and of FP16 accumulation
    roof = place(RTX_5090, tensor_fp16_flop=between, duration_ns=5e6, **absent)
    assert roof.placement.bound is None
    assert any("accumulate type" in flag for flag in roof.flags)


def test_an_unknown_gpu_has_no_roof():
    absent = dict.fromkeys(PEAKS)
    roof = place(Gpu("NVIDIA H100 80GB HBM3", "9.0", 66), fp32_flop=1e9, **absent)
    assert roof.placement is None
    assert "peak_dram_bytes_per_s" in roof.missing


@pytest.mark.parametrize("duration_ns", [1e6 / 3 / 1.03, 1e6 / 3 / 50])
def test_above_the_roof_is_kept_and_flagged(duration_ns):
    roof = place(fp32_flop=1e9, duration_ns=duration_ns)
    assert roof.placement.suspect
    assert roof.point.efficiency == pytest.approx(1e6 / 3 / duration_ns)
    assert "times the roof" in roof.point.flags[0]


def test_on_the_roof_within_rounding_is_no_suspect():
    assert not place(fp32_flop=1e9, duration_ns=1e6 / 3 / 1.01).placement.suspect


positive = st.floats(1e-3, 1e3)


@given(flop=positive, moved=positive, peak=positive, bandwidth=positive)
def test_the_bound_flips_exactly_at_the_effective_ridge(flop, moved, peak, bandwidth):
    values = {"fp32_flop": flop * 1e9, "dram_bytes": moved * 1e9, "duration_ns": 1e15}
    peaks = {"peak_fp32_flop_per_s": peak * 1e12, "peak_dram_bytes_per_s": bandwidth * 1e12}
    roof = place(**values, **peaks)
    intensity, ridge = roof.point.flop_per_byte, roof.point.ridge_flop_per_byte
    assume(not math.isclose(intensity, ridge, rel_tol=1e-12))
    assert roof.placement.bound == ("COMPUTE" if intensity > ridge else "MEMORY")


@given(bf16=positive, fp8=positive, fp32=positive, moved=positive)
def test_intensity_against_ridge_and_largest_time_agree_on_mixtures(bf16, fp8, fp32, moved):
    work = {"tensor_bf16_flop": bf16 * 1e10, "tensor_fp8_flop": fp8 * 1e10, "fp32_flop": fp32 * 1e8}
    roof = place(**work, dram_bytes=moved * 1e8, duration_ns=1e15, peak_tensor_fp8_flop_per_s=1800e12)
    intensity, ridge = roof.point.flop_per_byte, roof.point.ridge_flop_per_byte
    assume(not math.isclose(intensity, ridge, rel_tol=1e-12))
    assert (roof.placement.bound == "COMPUTE") == (intensity > ridge)


@given(flop=positive, moved=positive, factor=positive)
def test_scaling_time_work_and_bytes_together_changes_nothing(flop, moved, factor):
    values = {"fp32_flop": flop * 1e9, "dram_bytes": moved * 1e9, "duration_ns": 1e6}
    one, many = place(**values), place(**{name: value * factor for name, value in values.items()})
    for name in ("flop_per_byte", "flop_per_s", "ridge_flop_per_byte", "roof_flop_per_s", "efficiency"):
        assert getattr(many.point, name) == pytest.approx(getattr(one.point, name), rel=1e-9)
    assume(not math.isclose(one.point.flop_per_byte, one.point.ridge_flop_per_byte, rel_tol=1e-9))
    assert many.placement.bound == one.placement.bound


@given(flop=positive, moved=positive, more=st.floats(1.0, 1e6))
def test_more_bytes_never_make_a_kernel_compute_bound(flop, moved, more):
    before = place(fp32_flop=flop * 1e9, dram_bytes=moved * 1e9, duration_ns=1e18)
    after = place(fp32_flop=flop * 1e9, dram_bytes=moved * more * 1e9, duration_ns=1e18)
    if before.placement.bound == "MEMORY":
        assert after.placement.bound == "MEMORY"


@given(flop=positive, moved=positive, factor=st.sampled_from([1e-9, 1e-6, 1e-3, 1e3]))
def test_the_unit_of_time_does_not_matter(flop, moved, factor):
    """Peaks per second and times in ns, or both in another unit of time: the same intensity, ridge and efficiency."""
    base = {"fp32_flop": flop * 1e9, "dram_bytes": moved * 1e9, "duration_ns": 1e6}
    scaled = {name: value / factor for name, value in PEAKS.items()}
    one, other = place(**base), place(**{**base, "duration_ns": 1e6 * factor}, **scaled)
    assert other.point.efficiency == pytest.approx(one.point.efficiency, rel=1e-9)
    assert other.point.ridge_flop_per_byte == pytest.approx(one.point.ridge_flop_per_byte, rel=1e-9)


@given(
    st.dictionaries(
        st.sampled_from([*counters(), "sm_throughput_pct", "tensor_pipe_pct", "sm_clock_hz", "l2_bytes"]),
        st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.just(0.0)),
    )
)
def test_no_input_makes_it_fail_or_invent(known):
    roof = place_kernel("k", known, HOPPER)
    if roof.point is not None:
        assert roof.point.flop > 0
        assert roof.point.moved_bytes > 0
    if roof.placement is None:
        assert roof.missing or roof.flags


def test_traffic_without_counted_work_tells_its_share_of_the_bandwidth():
    counters = {"duration_ns": 1e6, "dram_bytes": 0.85e9, "peak_dram_bytes_per_s": 1e12}
    roof = place_kernel("k", counters, Gpu("x", "8.0", 1))
    assert roof.placement is None
    assert "dram_bytes" not in roof.missing
    (flag,) = roof.flags
    assert flag.startswith("DRAM at 85 % of its bandwidth by ncu's peak at the clock of the launch")


@pytest.mark.parametrize(("active", "bound"), [(16.0, "MEMORY"), (61.0, None)])
def test_instructions_with_a_lower_peak_do_not_pass_as_memory_bound(active, bound):
    """mma.sync on CC 10.0: a quarter of the drawn peak, so the pipe is active four times as long as at the peak."""
    counters = {dtype.work: 0.0 for dtype in DTYPES} | {
        "duration_ns": 1e6, "dram_bytes": 0.55 * 7.7e9, "peak_dram_bytes_per_s": 7.7e12, "tensor_pipe_pct": active,
        "tensor_bf16_flop": 0.15 * 2.25e12, "peak_tensor_bf16_flop_per_s": 2.25e15, "sm_throughput_pct": 61.0,
    }  # fmt: skip
    roof = place_kernel("k", counters, Gpu("NVIDIA B200", "10.0", 148))
    assert roof.placement.bound == bound
    assert any("tensor pipe was active" in flag for flag in roof.flags) == (bound is None)
    assert roof.point.efficiency == pytest.approx(0.55)
