import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit import metrics
from nsightkit.tables import COUNTER_COLUMNS

TENSOR = "sm__ops_path_tensor_"


def test_every_counter_column_has_an_entry_with_its_unit_and_source():
    declared = metrics.counters()
    assert list(declared) == [column.name for column in COUNTER_COLUMNS]
    assert {name: c.unit for name, c in declared.items()} == {column.name: column.unit for column in COUNTER_COLUMNS}
    assert all(counter.doc.endswith(".") and counter.source and counter.alternatives for counter in declared.values())


def test_expressions_are_sums_of_products():
    parse = metrics.parse_expression
    assert parse("a.sum") == ((1.0, ("a.sum",)),)
    assert parse("2 * x__y.avg * y + z") == ((2.0, ("x__y.avg", "y")), (1.0, ("z",)))
    assert parse("(a + 2 * b) * c * 1e-9") == ((1e-9, ("a", "c")), (2e-9, ("b", "c")))
    assert parse("(a + b) * (c + 3)") == ((1.0, ("a", "c")), (3.0, ("a",)), (1.0, ("b", "c")), (3.0, ("b",)))


@pytest.mark.parametrize("text", ["", "a +", "* a", "a b", "(a", "a)", "a - b", "2x", "a; b", "__import__('os')"])
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(ValueError, match=r"in ''|in "):
        metrics.parse_expression(text)


@given(st.dictionaries(st.sampled_from("abc"), st.integers(-(2**20), 2**20)))
def test_an_expression_has_a_value_only_if_all_its_metrics_have_one(raw):
    way = metrics.Alternative("", metrics.parse_expression("a + 2 * b * c"))
    expected = raw["a"] + 2 * raw["b"] * raw["c"] if len(raw) == 3 else None
    assert way.value(raw) == expected


def test_a_value_that_is_not_finite_is_none():
    way = metrics.Alternative("", metrics.parse_expression("a * b"))
    assert way.value({"a": 1e300, "b": 1e300}) is None


@given(st.dictionaries(st.sampled_from(sorted(metrics.needed_names())), st.floats(0, 1e15), max_size=60))
def test_resolving_never_fails_and_never_invents(raw):
    found = metrics.resolve(raw, "9.0")
    assert set(found) == set(metrics.counters())
    for name, value in found.items():
        ways = [way for way in metrics.counters()[name].alternatives if way.applies_to(9.0)]
        used = next((way for way in ways if way.value(raw) is not None), None)
        assert value == (None if used is None else used.value(raw))
        if used is not None:
            assert all(part in raw for _, parts in metrics.parse_expression(used.text) for part in parts)


def test_dram_bytes_prefer_sums_and_fall_back_to_rate_times_duration():
    rate = {"dram__bytes.sum.per_second": 2e12, "gpu__time_duration.sum": 5e5}
    assert metrics.resolve(rate)["dram_bytes"] == pytest.approx(1e9)
    split = rate | {"dram__bytes_read.sum": 30.0, "dram__bytes_write.sum": 12.0}
    assert metrics.resolve(split)["dram_bytes"] == 42.0
    assert metrics.resolve(split | {"dram__bytes.sum": 43.0})["dram_bytes"] == 43.0
    blackwell = {"dram__bytes_op_read.sum": 3.0, "dram__bytes_op_write.sum": 4.0}
    assert metrics.resolve(blackwell)["dram_bytes"] == 7.0


def test_half_a_sum_is_no_sum():
    assert metrics.resolve({"dram__bytes_read.sum": 30.0})["dram_bytes"] is None
    assert metrics.resolve({"dram__bytes_read.sum": 30.0})["dram_read_bytes"] == 30.0


def test_flops_from_rates_use_the_cycles_of_the_launch():
    ops = {
        f"smsp__sass_thread_inst_executed_op_f{op}_pred_on.sum.per_cycle_elapsed": n
        for op, n in (("add", 10.0), ("mul", 5.0), ("fma", 100.0))
    }
    assert metrics.resolve(ops)["fp32_flop"] is None
    assert metrics.resolve(ops | {"smsp__cycles_elapsed.avg": 1000.0})["fp32_flop"] == 215_000.0
    clock = {"smsp__cycles_elapsed.avg.per_second": 1e9, "gpu__time_duration.sum": 1000.0}
    assert metrics.resolve(ops | clock)["fp32_flop"] == pytest.approx(215_000.0)


def test_packed_fp32_is_counted_where_the_chip_has_it():
    ops = {
        f"smsp__sass_thread_inst_executed_op_f{op}{two}_pred_on.sum": 1.0
        for op in ("add", "mul", "fma")
        for two in ("", "2")
    }
    assert metrics.resolve(ops, "9.0")["fp32_flop"] == 4.0
    assert metrics.resolve(ops, "10.0")["fp32_flop"] == 12.0


def test_half_precision_counts_packed_instructions_as_ncu_2025_does():
    ops = {f"smsp__sass_thread_inst_executed_op_h{op}_pred_on.sum": 1.0 for op in ("add", "mul", "fma")}
    assert metrics.resolve(ops)["fp16_flop"] == 8.0


def test_tensor_families_are_never_added_up_twice():
    total = {f"{TENSOR}src_bf16_dst_fp32.sum": 100.0}
    parts = {f"{TENSOR}src_bf16_dst_fp32_sparsity_off.sum": 90.0, f"{TENSOR}src_bf16_dst_fp32_sparsity_on.sum": 10.0}
    by_instruction = {f"{TENSOR}op_hgmma_src_bf16_dst_fp32_sparsity_off.sum": 90.0}
    for given_metrics in (total, parts, total | parts, total | parts | by_instruction):
        assert metrics.resolve(given_metrics)["tensor_bf16_flop"] == 100.0
    assert metrics.resolve(by_instruction)["tensor_bf16_flop"] is None


def test_fp4_of_cc_10_needs_no_fp6_counters_and_of_others_does():
    raw = {f"{TENSOR}src_fp4_dst_fp32.sum": 30_064_771_072.0}
    assert metrics.resolve(raw, "10.0")["tensor_fp4_flop"] == 30_064_771_072.0
    assert metrics.resolve(raw, "10.3")["tensor_fp4_flop"] is None


def test_dense_tensor_roofs_do_not_take_the_peak_of_the_total_which_is_sparse():
    clock = {"sm__cycles_elapsed.avg.per_second": 1e9}
    total = {f"{TENSOR}src_bf16_dst_fp32.sum.peak_sustained": 8192.0}
    dense = {f"{TENSOR}op_hgmma_src_bf16_dst_fp32_sparsity_off.sum.peak_sustained": 4096.0}
    assert metrics.resolve(clock | total, "9.0")["peak_tensor_bf16_flop_per_s"] is None
    assert metrics.resolve(clock | total | dense, "9.0")["peak_tensor_bf16_flop_per_s"] == 4.096e12


def test_the_writeback_counter_of_volta_is_not_taken_on_later_chips():
    raw = {"l1tex__lsu_writeback_active.sum": 2.0}
    assert metrics.resolve(raw, "7.0")["l1_bytes"] == 256.0
    assert metrics.resolve(raw, "8.0")["l1_bytes"] is None
    assert metrics.resolve(raw)["l1_bytes"] is None


def test_an_odd_compute_capability_is_an_unknown_one():
    assert metrics.resolve({"l1tex__lsu_writeback_active.sum": 2.0}, "No-CC")["l1_bytes"] is None


def test_labels_are_told_apart_by_section_and_unit():
    name = metrics.name_of_label
    assert name("GPU Speed Of Light Throughput", "Memory Throughput", "%") == (
        "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed"
    )
    assert name("Memory Workload Analysis", "Memory Throughput", "byte/s") == "dram__bytes.sum.per_second"
    assert name("Memory Workload Analysis", "Memory Throughput", "%") is None
    assert name("Memory Workload Analysis", "Memory Throughput", "") == "dram__bytes.sum.per_second"
    assert name("GPU Speed Of Light", "SOL SM", "%") == "sm__throughput.avg.pct_of_peak_sustained_elapsed"
    assert name("Some Other Section", "Duration", "ns") is None


def test_needed_names_can_be_limited_to_some_counters():
    assert metrics.needed_names(["sm_throughput_pct", "kernel_name"]) == {
        "sm__throughput.avg.pct_of_peak_sustained_elapsed",
        "sm__sol_pct",
    }
    assert len(metrics.needed_names()) > 100
    assert all(
        not math.isnan(factor) for c in metrics.counters().values() for w in c.alternatives for factor, _ in w.products
    )
