from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsightkit import parquet
from nsightkit.analysis.compare.comparison import ComparedSide, CompareOptions, compare_runs
from nsightkit.analysis.compare.diagnosis import contributions_of, diagnose, main_part
from nsightkit.analysis.compare.noise import NoiseOptions
from nsightkit.analysis.compare.other_work import OTHER_GEOMETRY, UNTIMED
from nsightkit.analysis.compare.run_sums import (
    from_stored,
    stored_tables,
    sum_counted,
    sum_launches,
    sum_reported,
    with_counters,
)
from nsightkit.tables import COUNTER_MEANS, KERNEL_SUCCESSIONS, KERNEL_SUMS, REPORTED_SUMS
from tests.builders.pairs import PROGRAM, Noise, Step, changed, counter_row, launches, match_case, process_run

STEPS = (Step("gemm_a", 80_000, family="GEMM"), Step("gelu_a", 9_000), Step("copy_a", 4_000))


def side(name, *runs, tokens=None):
    return ComparedSide(name, runs, tokens)


def compared(base, head, **options):
    return compare_runs(
        side("base", sum_launches(launches(base))), side("head", sum_launches(launches(head))), **options
    )


def row_of(comparison, name):
    return next(r for r in comparison.kernels if name in (*r.base.kernel_names, *r.head.kernel_names))


def test_sums_of_launches():
    sums = sum_launches(launches([*STEPS, STEPS[0]], repeats=3))
    gemm = sums.kernels["gemm_a"]
    assert (gemm.launch_count, gemm.total_ns, gemm.squared_deviation_ns2) == (6, 480_000, 0.0)
    assert gemm.geometries == {"64×1×1 / 128×1×1": 6}
    assert sums.total_ns == 3 * (80_000 * 2 + 9_000 + 4_000)
    assert sums.successions == {
        ("gemm_a", "gelu_a"): 3,
        ("gelu_a", "copy_a"): 3,
        ("copy_a", "gemm_a"): 3,
        ("gemm_a", "gemm_a"): 2,
    }


def test_a_launch_without_a_duration_is_counted_and_in_no_total():
    rows = launches(STEPS)
    at = rows.column_names.index("duration_ns")
    rows = rows.set_column(at, rows.schema.field("duration_ns"), [[80_000, None, 4_000]])
    sums = sum_launches(rows)
    assert (sums.total_ns, sums.untimed_count, sums.kernels["gelu_a"].total_ns) == (84_000, 1, 0)


def test_successions_do_not_cross_streams():
    rows = launches([Step("a"), Step("b"), Step("a"), Step("b")])
    at = rows.column_names.index("stream_id")
    rows = rows.set_column(at, rows.schema.field("stream_id"), pa.array([1, 2, 1, 2], pa.int32()))
    assert sum_launches(rows).successions == {("a", "a"): 1, ("b", "b"): 1}


def test_the_spread_is_that_of_numpy():
    rows = launches(STEPS, 50, Noise(0, 0.3), seed=3)
    names, durations = rows["kernel_name"].to_pylist(), np.array(rows["duration_ns"].to_pylist(), float)
    mine = durations[[name == "gemm_a" for name in names]]
    expected = ((mine - mine.mean()) ** 2).sum()
    assert sum_launches(rows).kernels["gemm_a"].squared_deviation_ns2 == pytest.approx(expected)


def test_printed_sums_are_sums_too():
    columns = {
        "capture_id": ["x"] * 3,
        "report": ["cuda_gpu_kern_sum", "cuda_gpu_kern_sum", "cuda_api_sum"],
        "name": ["k", "j", "cudaLaunchKernel"],
        "instance_count": [3, 1, 9],
        "total_ns": [60, 5, 999],
        "std_ns": [10.0, None, 1.0],
    }
    sums = sum_reported(parquet.conform(REPORTED_SUMS, columns))
    assert sums.total_ns == 65
    assert sums.kernels["k"].squared_deviation_ns2 == 200.0


def test_a_run_against_itself_differs_in_nothing():
    comparison = compared(STEPS, STEPS)
    assert comparison.whole.difference_ns == 0
    assert all(row.difference_ns == 0 and row.how == "same" for row in comparison.rows)
    assert {diagnose(row) for row in comparison.rows} == {"no change"}
    assert comparison.whole.verdict is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_any_run_against_itself_differs_in_nothing(seed):
    sums = sum_launches(launches(match_case(seed).head, 3, Noise(0.02, 0.1), seed))
    comparison = compare_runs(side("a", sums), side("b", sums))
    assert {(row.how, row.difference_ns, row.estimate.ratio) for row in comparison.rows} == {("same", 0, 1.0)}
    assert contributions_of(comparison).total_ns == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_nothing_is_lost_and_everything_mirrors(seed):
    case = match_case(seed)
    base, head = sum_launches(launches(case.base, 3)), sum_launches(launches(case.head, 3))
    there = compare_runs(side("b", base), side("h", head))
    back = compare_runs(side("h", head), side("b", base))
    for comparison in (there, back):
        for rows in (comparison.kernels, comparison.families):
            assert sum(row.base.sum_ns for row in rows) == comparison.whole.base.sum_ns
            assert sum(row.head.sum_ns for row in rows) == comparison.whole.head.sum_ns
            assert sum(row.difference_ns for row in rows) == comparison.whole.difference_ns
        assert contributions_of(comparison).total_ns == pytest.approx(comparison.whole.difference_ns)
    assert there.whole.base.sum_ns == base.total_ns
    assert there.whole.head.sum_ns == head.total_ns
    assert there.whole.difference_ns == -back.whole.difference_ns
    mirror = {"new": "gone", "gone": "new", "split": "merged", "merged": "split"}
    seen = {(row.base.kernel_names, row.head.kernel_names, row.how) for row in there.kernels}
    assert seen == {(r.head.kernel_names, r.base.kernel_names, mirror.get(r.how, r.how)) for r in back.kernels}


def test_a_kernel_only_in_head_is_shown_with_its_whole_time():
    comparison = compared(STEPS, [*STEPS, Step("debug_fill", 123_456)])
    row = row_of(comparison, "debug_fill")
    assert (row.how, row.difference_ns, row.estimate.ratio) == ("new", 123_456, None)
    assert diagnose(row) == "only in head"


def test_what_a_difference_is_made_of():
    comparison = compared([*STEPS, *STEPS], [*STEPS, Step("gelu_a", 9_000)])
    parts = contributions_of(comparison)
    assert (parts.launches_ns, parts.time_ns) == (-84_000, 0)
    assert main_part(parts) == "fewer launches"
    assert diagnose(row_of(comparison, "gemm_a")) == "fewer launches (0.5×): algorithmic"


def test_more_time_per_launch_without_counters_does_not_guess():
    comparison = compared(STEPS, changed(STEPS, "gemm_a", mean_ns=120_000))
    assert diagnose(row_of(comparison, "gemm_a")) == "more time per launch (1.5×); no counters on both sides to say why"


def counted(name, **metrics):
    rows = [{"capture_id": "ncu", **counter_row(name, **metrics)}]
    return with_counters(sum_launches(launches(changed(STEPS, "gemm_a", mean_ns=metrics["duration_ns"]))), rows)


WORK = {"duration_ns": 80_000.0, "fp32_flop": 1e9, "tensor_bf16_flop": 0.0, "dram_bytes": 1e6, "sm_elapsed_cycles": 1e5,
        "sm_clock_hz": 1.25e9, "registers_per_thread": 64.0}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dram_bytes": 1.4e6}, "same FLOP, 1.4× DRAM bytes"),
        ({"sm_clock_hz": 1.0e9}, "same kernel, lower clock (1.25 → 1 GHz)"),
        ({"fp32_flop": 2e9}, "other work, 2× FLOP, same DRAM bytes"),
        (
            {"sm_elapsed_cycles": 1.3e5, "registers_per_thread": 128.0},
            "same FLOP, same DRAM bytes, 1.3× cycles; registers per thread 64 → 128",
        ),
        ({"fp32_flop": None, "dram_bytes": 3e6}, "FLOP not counted on both sides, 3× DRAM bytes"),
    ],
)
def test_the_diagnosis_that_the_counters_support(change, sentence):
    head = {**WORK, **change, "duration_ns": 100_000.0}
    base = dict(WORK)
    if "fp32_flop" in change and change["fp32_flop"] is None:
        base["fp32_flop"] = base["tensor_bf16_flop"] = head["tensor_bf16_flop"] = None
    comparison = compare_runs(side("base", counted("gemm_a", **base)), side("head", counted("gemm_a", **head)))
    assert diagnose(row_of(comparison, "gemm_a")) == f"more time per launch (1.25×): {sentence}"


def test_a_missing_counter_is_not_zero():
    sums = sum_counted([{"capture_id": "a", **counter_row("k", duration_ns=5.0, dram_bytes=None)}])
    assert "dram_bytes" not in sums.kernels["k"].counters


def test_a_failed_launch_is_counted_and_in_no_total():
    rows = [{"capture_id": "a", **counter_row("k", 0, duration_ns=5.0)},
            {"capture_id": "a", **counter_row("k", 1, duration_ns=float("nan")), "failed": True}]  # fmt: skip
    sums = sum_counted(rows)
    assert (sums.launch_count, sums.untimed_count, sums.total_ns) == (2, 1, 5)


def test_the_geometry_of_profiled_launches_is_grid_and_block():
    rows = [{"capture_id": "a", **counter_row("k", index), "grid_y": 3} for index in range(2)]
    assert sum_counted(rows).kernels["k"].geometries == {"64×3×1 / 128×1×1": 2}


def test_profiled_launches_of_another_geometry_are_not_the_same_work():
    base = sum_counted([{"capture_id": "a", **counter_row("k", duration_ns=100.0)}])
    head = sum_counted([{"capture_id": "a", **counter_row("k", duration_ns=300.0), "grid_x": 4096}])
    comparison = compare_runs(side("base", base), side("head", head))
    assert comparison.kernels[0].flags == (OTHER_GEOMETRY,)
    assert any("other grids or blocks" in note for note in comparison.notes)


def runs_of(steps, count, seed, drift=0.005):
    rng = np.random.default_rng(seed)
    return [process_run(steps, 40, Noise(drift, 0.05), rng) for _ in range(count)]


def test_five_runs_a_side_are_judged_and_four_are_not():
    slow = changed(PROGRAM, "gemm_kernel_0", mean_ns=100_000.0)
    for count, expected in ((5, "slower"), (4, None)):
        comparison = compare_runs(side("b", *runs_of(PROGRAM, count, 1)), side("h", *runs_of(slow, count, 2)))
        assert row_of(comparison, "gemm_kernel_0").verdict == expected
        assert comparison.whole.verdict == expected


def test_verdicts_mirror():
    fast = changed(PROGRAM, "gemm_kernel_0", mean_ns=60_000.0)
    old, new = side("b", *runs_of(PROGRAM, 5, 1)), side("h", *runs_of(fast, 5, 2))
    there, back = compare_runs(old, new), compare_runs(new, old)
    assert (there.whole.verdict, back.whole.verdict) == ("faster", "slower")
    assert there.whole.estimate.low == pytest.approx(1 / back.whole.estimate.high)


def test_the_same_program_is_the_same_within_a_wide_tolerance():
    options = CompareOptions(NoiseOptions(tolerance=0.05))
    comparison = compare_runs(side("b", *runs_of(PROGRAM, 6, 1)), side("h", *runs_of(PROGRAM, 6, 2)), options)
    assert {row.verdict for row in comparison.rows} == {"same"}
    assert comparison.whole.estimate.smallest_ratio < 1.08


def test_other_token_counts_are_compared_per_token():
    base, head = sum_launches(launches(STEPS, 10)), sum_launches(launches(STEPS, 40))
    options = CompareOptions(per_token=True)
    comparison = compare_runs(side("b", base, tokens=10), side("h", head, tokens=40), options)
    assert comparison.whole.difference_ns == 0
    assert comparison.whole.estimate.ratio == 1
    assert comparison.whole.head.per_token_ns == 93_000
    assert diagnose(comparison.whole) == "no change"


def test_a_stored_run_compares_like_the_run_itself():
    sums = with_counters(
        sum_launches(launches([*STEPS, Step("gemm_a", 70_000, grid=32)], 3, Noise(0, 0.2))),
        [{"capture_id": "n", **counter_row("gemm_a", dram_bytes=7.0)}],
    )
    part = sum_launches(launches(STEPS[:1]))
    columns = stored_tables(sums, {"decode": part})
    tables = [
        parquet.with_capture_id(table, columns[table.name], "run")
        for table in (KERNEL_SUMS, KERNEL_SUCCESSIONS, COUNTER_MEANS)
    ]
    assert from_stored(*tables) == sums
    assert from_stored(*tables, "decode").total_ns == part.total_ns


def untimed(run, name, count):
    """`run` with so many launches of a kernel without a duration."""
    kernel = run.kernels[name]
    left = kernel.launch_count - count
    cut = replace(kernel, untimed_count=count, total_ns=round(kernel.total_ns * left / kernel.launch_count))
    return replace(run, kernels={**run.kernels, name: cut})


def test_a_head_that_lost_durations_is_no_win():
    base = [sum_launches(launches(STEPS, 20, Noise(0.01, 0.05), seed)) for seed in range(5)]
    head = [untimed(sum_launches(launches(STEPS, 20, Noise(0.01, 0.05), 50 + seed)), "gemm_a", 10) for seed in range(5)]
    found = compare_runs(ComparedSide("base", base), ComparedSide("head", head))
    gemm = next(row for row in found.kernels if row.name == "gemm_a")
    assert (found.whole.verdict, gemm.verdict) == (None, None)
    assert gemm.flags == (UNTIMED,)
    assert gemm.head.mean_ns == pytest.approx(gemm.base.mean_ns, rel=0.05)
    assert "50 of 100 launches in head without a duration" in diagnose(gemm)
    # The parts still add up: what is missing counts as launches.
    assert contributions_of(found).total_ns == pytest.approx(found.whole.difference_ns)


def test_a_kernel_that_was_never_measured_has_no_time_and_not_zero():
    base = sum_launches(launches(STEPS, 3))
    head = untimed(base, "gemm_a", base.kernels["gemm_a"].launch_count)
    found = compare_runs(ComparedSide("base", [base]), ComparedSide("head", [head]))
    gemm = next(row for row in found.kernels if row.name == "gemm_a")
    assert gemm.head.is_unmeasured
    assert (gemm.head.mean_ns, gemm.estimate.ratio) == (None, None)
    assert diagnose(gemm) == "no duration in head"
