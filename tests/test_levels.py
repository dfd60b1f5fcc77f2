"""Levels, precisions, limiting units; identities with what ncu itself computed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import counters as build
from nsightkit.analysis.roofs.classification import classify_kernels
from nsightkit.analysis.roofs.levels import PRECISIONS, level_named, other_levels, points_at
from nsightkit.analysis.roofs.peaks import DRAM, L1, L2, LEVELS, Gpu, first_level
from nsightkit.analysis.roofs.units import limiting_unit
from nsightkit.ingest.dataset import open_dataset

A100 = Gpu("NVIDIA A100-SXM4-80GB", "8.0", 108)
COUNTED = {
    "duration_ns": 1e6, "dram_bytes": 1e9, "l2_bytes": 2e9, "l1_bytes": 4e9, "fp64_flop": 1e9, "fp32_flop": 2e9,
    "peak_dram_bytes_per_s": 2e12, "peak_l2_bytes_per_s": 5e12, "peak_l1_bytes_per_s": 15e12,
    "peak_fp64_flop_per_s": 8e12, "peak_fp32_flop_per_s": 16e12, "tensor_pipe_pct": 0.0, "sm_throughput_pct": 20.0,
    "fp16_flop": 0.0,
}  # fmt: skip


def test_each_level_has_its_own_intensity_and_ridge():
    points = points_at("k", COUNTED, A100, LEVELS)
    assert [p.level for p in points] == ["DRAM", "L2", "L1"]
    # FP32 and FP64 take equally long; one pipe is drawn.
    assert {p.flop for p in points} <= {1e9, 2e9}
    for point, moved, bandwidth in zip(points, (1e9, 2e9, 4e9), (2e12, 5e12, 15e12), strict=True):
        assert point.moved_bytes == moved
        assert point.flop_per_byte == point.flop / moved
        assert point.ridge_flop_per_byte == pytest.approx(point.peak_flop_per_s / bandwidth)


def test_one_precision_alone_has_the_textbook_ridge():
    (point,) = points_at("k", COUNTED, A100, (DRAM,), "fp64")
    assert (point.precision, point.flop, point.ridge_flop_per_byte) == ("FP64", 1e9, 4.0)
    assert point.efficiency == pytest.approx(0.5)
    assert points_at("k", COUNTED, A100, (DRAM,), "tensor_bf16") == []


def test_a_level_without_its_own_peak_has_no_point_and_never_the_bandwidth_of_dram():
    without = COUNTED | {"peak_l2_bytes_per_s": None, "peak_dram_bytes_per_s": None}
    assert [p.level for p in points_at("k", without, A100, LEVELS)] == ["DRAM", "L1"]
    assert points_at("k", without, A100, (DRAM,))[0].peak_bytes_per_s == 2039e9


def test_the_other_levels_leave_out_the_one_that_judges():
    assert [p.level for p in other_levels("k", COUNTED, A100)] == ["L2", "L1"]
    assert other_levels("k", COUNTED | {"l1_bytes": 0.0, "l2_bytes": None}, A100) == ()


@pytest.mark.parametrize("capability", ["8.7", "11.0", "12.1"])
def test_a_chip_without_dram_counters_is_judged_by_l2_and_says_so(capability):
    gpu = Gpu("Orin", capability, 16)
    assert first_level(gpu) is L2
    row = build.counters(build.copy(2**20), "t4") | COUNTED
    row |= {"gpu_name": "Orin", "compute_capability": capability, "sm_count": 16, "dram_bytes": None}
    row |= {"l2_bytes": 4.5e9, "memory_throughput_pct": 90.0, "kernel_name": "k"}
    (kernel,) = classify_kernels([row])
    assert (kernel.verdict.bound, kernel.point.level) == ("MEMORY", "L2")
    assert any("shares its DRAM" in flag for flag in kernel.verdict.flags)


def test_levels_and_precisions_by_name():
    assert (level_named("dram"), level_named("L2"), level_named("l1")) == (DRAM, L2, L1)
    assert "tensor_bf16" in PRECISIONS
    with pytest.raises(KeyError):
        level_named("l3")


@given(st.floats(1e-3, 1e3))
def test_scaling_time_work_and_bytes_changes_nothing(scale):
    scaled = {n: v * scale if n.endswith(("_flop", "_bytes", "_ns")) else v for n, v in COUNTED.items()}
    for a, b in zip(points_at("k", COUNTED, A100, LEVELS), points_at("k", scaled, A100, LEVELS), strict=True):
        assert a.flop_per_byte == pytest.approx(b.flop_per_byte)
        assert a.efficiency == pytest.approx(b.efficiency)


def test_the_limiting_unit_is_the_one_that_equals_the_throughput():
    known = {"sm_throughput_pct": 92.0, "memory_throughput_pct": 40.0, "xu_pipe_pct": 91.5, "alu_pipe_pct": 60.0}
    assert limiting_unit(known) == "XU pipe (transcendental functions, conversions) 91.5 %"
    assert limiting_unit(known | {"xu_pipe_pct": None}) == ""
    memory = {"sm_throughput_pct": 9.0, "memory_throughput_pct": 81.0, "l2_throughput_pct": 81.0}
    assert limiting_unit(memory | {"dram_throughput_pct": 50.0}) == "L2 81.0 %"
    assert limiting_unit({"sm_throughput_pct": 9.0}) == ""
    some = {"tensor_pipe_pct": 61.4, "alu_pipe_pct": 12.0}
    assert limiting_unit(some) == "tensor pipe 61.4 %, of those that were collected"
    assert limiting_unit(some | {"sm_throughput_pct": 90.0}) == ""
    assert limiting_unit({"tensor_pipe_pct": 0.0}) == ""
    # Beside a larger figure of L1 nobody would believe it, and the breakdown that would tell is not there.
    assert limiting_unit(memory | {"l1_throughput_pct": 90.0}) == ""


def test_throughputs_over_active_cycles_are_not_compared_with_those_over_all():
    """As an idle DRAM beside a busy L1: L1 throughput reads 97 % where the breakdown says 85.5 % of all cycles."""
    known = {"sm_throughput_pct": 38.0, "memory_throughput_pct": 85.5, "l1_throughput_pct": 97.0}
    known |= {"l2_throughput_pct": 85.5, "dram_throughput_pct": 0.1}
    assert limiting_unit(known) == ""
    assert limiting_unit(known | {"l1_data_pipe_pct": 85.5}) == "L1 (data stage, over all cycles) 85.5 %"
    assert limiting_unit(known | {"l1_data_pipe_pct": 30.0}) == ""


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "kernel", "unit"),
    [
        ("a100-cutlass-s8-full", "ReferenceGemm", "L1 (data stage, over all cycles) 85.5 %"),
        ("h800-sgemm-full", "gemm_device", "L2 (data from L1, over all cycles) 28.0 %"),
        ("a100-stencil-full", "stencil2d", "DRAM 76.6 %"),
    ],
)
def test_the_limiting_unit_of_real_captures(shared_data, name, kernel, unit):
    rows, _, _ = tables_of(shared_data, name)
    (found,) = (k for k in classify_kernels(rows) if kernel in k.kernel_name)
    assert found.verdict.limiter == unit


@pytest.mark.shared
@pytest.mark.parametrize("name", ["h800-sgemm-full", "b200-nvfp4-gemm-full"])
def test_more_counters_explain_no_less(shared_data, name):
    (kernel,) = classify_kernels(tables_of(shared_data, name)[0])
    assert (kernel.verdict.bound, kernel.verdict.rule_verdict) == ("LATENCY", "low throughput: small grid")
    assert kernel.verdict.inputs["waves_per_sm"] < 0.25


# ---- identities with ncu ---------------------------------------------------------------------------------------------

COUNTED_REPORTS = [
    "a100-cutlass-s8-full", "a100-selfjoin-full-2021", "a100-selfjoin-full-2022", "a100-stencil-full",
    "b200-nvfp4-gemm-full", "gh200-silu-686m", "h800-sgemm-full", "rtx3070-scan-full-2020", "v100-lammps-full",
]  # fmt: skip


def tables_of(shared_data, name):
    dataset = open_dataset([shared_data / "ncu-rep" / f"{name}.ncu-rep"], {
        "kernel_counters": None, "rule_results": None, "metric_values": None,
    })  # fmt: skip
    raw = {}
    for row in dataset.rows("metric_values"):
        raw.setdefault(row["launch_index"], {})[row["metric_name"]] = row["value"]
    return dataset.rows("kernel_counters"), dataset.rows("rule_results"), raw


@pytest.mark.shared
@pytest.mark.parametrize("name", COUNTED_REPORTS)
def test_traffic_and_peaks_give_the_percentages_that_ncu_states(shared_data, name):
    rows, _, raw = tables_of(shared_data, name)
    checked = 0
    for row in rows:
        values = raw[row["launch_index"]]
        # On B200 ncu's DRAM throughput is the largest of several parts, of which bytes are one.
        pairs = {} if name.startswith("b200") else {"dram": row["dram_throughput_pct"]}
        pairs["l2"] = values.get("lts__lts2xbar_cycles_active.avg.pct_of_peak_sustained_elapsed")
        for suffix in ("lg", "lgds"):
            name_of_l1 = f"l1tex__lsu_writeback_active_mem_{suffix}.sum.pct_of_peak_sustained_elapsed"
            pairs["l1"] = values.get(name_of_l1, pairs.get("l1"))
        for level, stated in pairs.items():
            moved, peak = row[f"{level}_bytes"], row[f"peak_{level}_bytes_per_s"]
            if None not in (moved, peak, stated):
                assert 100 * moved / row["duration_ns"] * 1e9 / peak == pytest.approx(stated, rel=1e-9)
                checked += 1
    assert checked or name.startswith("b200")


@pytest.mark.shared
@pytest.mark.parametrize("name", COUNTED_REPORTS)
def test_work_and_peaks_give_the_percentages_of_nvidia_s_roofline_rule(shared_data, name):
    rows, rules, _ = tables_of(shared_data, name)
    told = re.compile(r"(\d+)% of this device's fp32 peak.*?(\d+)% of its fp64 peak", re.IGNORECASE)
    for rule in rules:
        match = told.search(rule["message"] or "")
        row = rows[rule["launch_index"]]
        for place, kind in enumerate(("fp32", "fp64"), 1):
            if match and row[f"{kind}_flop"] is not None:
                share = row[f"{kind}_flop"] / row["duration_ns"] * 1e9 / row[f"peak_{kind}_flop_per_s"]
                assert abs(100 * share - int(match[place])) <= 0.5


@pytest.mark.shared
@pytest.mark.parametrize("name", COUNTED_REPORTS)
def test_work_and_peaks_equal_ncu_s_derived_metrics(shared_data, name):
    rows, _, raw = tables_of(shared_data, name)
    for row in rows:
        values, clock = raw[row["launch_index"]], row["sm_clock_hz"]
        for kind, op in (("fp32", "ffma"), ("fp64", "dfma")):
            peak = values.get(f"derived__sm__sass_thread_inst_executed_op_{op}_pred_on_x2")
            if peak is not None and row[f"peak_{kind}_flop_per_s"] is not None:
                assert row[f"peak_{kind}_flop_per_s"] == pytest.approx(peak * clock, rel=1e-9)
        for level, metric in (("l2", "lts__lts2xbar_bytes"), ("l1", "l1tex__lsu_writeback_bytes_mem_lg")):
            rate = values.get(f"derived__{metric}.sum.per_second")
            if rate is not None:
                assert row[f"{level}_bytes"] / row["duration_ns"] * 1e9 == pytest.approx(rate, rel=1e-9)


@pytest.mark.shared
def test_tensor_work_of_three_reports(shared_data):
    b200, _, _ = tables_of(shared_data, "b200-nvfp4-gemm-full")
    assert b200[0]["tensor_fp4_flop"] == 2 * 128 * 7168 * 16384 == 30_064_771_072
    tensor = [n for n in b200[0] if n.startswith("tensor_") and n.endswith(("_flop", "_op"))]
    assert sum(b200[0][n] or 0 for n in tensor) == 30_064_771_072
    h800, _, _ = tables_of(shared_data, "h800-sgemm-full")
    assert {h800[0][n] for n in tensor if h800[0][n] is not None} == {0.0}
    assert h800[0]["fp32_flop"] > 2e9
    a100, _, _ = tables_of(shared_data, "a100-cutlass-s8-full")
    assert {row[n] for row in a100 for n in tensor} == {None}
    (cutlass,) = (kernel for kernel in classify_kernels(a100) if "cutlass::Kernel" in kernel.kernel_name)
    assert cutlass.point is None
    assert "tensor_int8_op" in cutlass.verdict.missing
