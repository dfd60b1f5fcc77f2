"""Other peaks: the larger term anew, at unchanged efficiency; what has no place keeps its time; the replay."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.results import RooflinePoint, RooflineRow
from nsightkit.analysis.timeline.replay import replay
from nsightkit.analysis.whatif import NOT_VALIDATED, OTHER_CLOCKS, change_of_settings, change_to_gpu, project
from nsightkit.analysis.work.operations import Calls, Operations
from nsightkit.errors import AnalysisError
from nsightkit.gpus import gpu_of_key


def point(flop, moved, duration, peak=1e15, bandwidth=1e12, precision="tensor BF16", flags=()):
    intensity, rate = flop / moved, flop / duration * 1e9
    roof = min(peak, intensity * bandwidth)
    return RooflinePoint("k", precision, "DRAM", flop, moved, duration, intensity, rate, peak / bandwidth, peak,
                         bandwidth, roof, rate / roof, "x", flags)  # fmt: skip


def row(p, total=None, **more):
    base = {"flop": p.flop if p else None}
    time = total if total is not None else p.duration_ns
    bound = more.pop("bound", "COMPUTE" if p and p.flop_per_byte >= p.ridge_flop_per_byte else "MEMORY")
    return RooflineRow("c", "k", "GEMM", "counters", bound, time, 1.0, 1, "DRAM",
                       p.moved_bytes if p else None, None, p, **(base | more))  # fmt: skip


MEMORY = point(1e9, 1e9, 2e6)  # 1 ms of bytes, 1 µs of arithmetic, half of its roof
COMPUTE = point(1e12, 1e6, 2e6)  # 1 ms of arithmetic


def test_twice_the_bandwidth_halves_a_memory_bound_kernel_and_leaves_the_other():
    change = change_of_settings({"dram_bytes_per_s": 2e12})
    found = project([row(MEMORY), row(COMPUTE)], change)
    assert [item.after_ns for item in found.rows] == [1e6, 2e6]
    assert (found.before_ns, found.after_ns, found.unprojected_ns) == (4e6, 3e6, 0.0)
    assert found.flags == (NOT_VALIDATED,)
    assert found.speedup == pytest.approx(4 / 3)


def test_a_kernel_changes_sides_where_the_other_term_becomes_larger():
    change = change_of_settings({"bf16_flop_per_s": 1e11})
    (item,) = project([row(MEMORY)], change).rows
    assert (item.term_before, item.term_after) == ("MEMORY", "COMPUTE")
    assert item.after_ns == pytest.approx(2 * 1e9 / 1e11 * 1e9)


def test_between_two_data_sheets_the_ratio_of_the_sheets_counts():
    now, then = gpu_of_key("h100-sxm"), gpu_of_key("h200-sxm")
    (item,) = project([row(MEMORY)], change_to_gpu(now, then)).rows
    assert item.after_ns == pytest.approx(2e6 * 3350 / 4800)


def test_a_type_that_the_other_gpu_lacks_cannot_be_projected():
    fp4 = point(1e12, 1e6, 2e6, precision="tensor FP4")
    found = project([row(fp4)], change_to_gpu(gpu_of_key("b200"), gpu_of_key("h100-sxm")))
    assert found.rows[0].after_ns == 2e6
    assert "FP4" in found.rows[0].reason
    assert found.unprojected_ns == 2e6


@pytest.mark.parametrize(
    "kept",
    [
        row(None, 5e6),
        row(point(1e9, 1e9, 2e6, flags=("1.30 times the roof: cache",))),
        row(point(1e9, 1e9, 2e6, precision="mixed: FP32 + FP16")),
        row(None, 5e6, flop=0.0, flags=("assumed: local memory only",)),
    ],
)
def test_what_has_no_place_keeps_its_time_and_says_why(kept):
    found = project([kept], change_to_gpu(gpu_of_key("h100-sxm"), gpu_of_key("h200-sxm")))
    assert found.rows[0].after_ns == found.rows[0].before_ns
    assert found.rows[0].reason


@pytest.mark.parametrize(
    ("bound", "words"), [("LATENCY", "latency"), ("COMPUTE", "outside this roofline"), ("BALANCED", "outside")]
)
def test_a_kernel_with_another_limit_keeps_its_time(bound, words):
    found = project([row(MEMORY, bound=bound)], change_of_settings({"dram_bytes_per_s": 2e12}))
    assert (found.after_ns, found.unprojected_ns, found.far_ns) == (2e6, 2e6, 0.0)
    assert words in found.rows[0].reason


def test_what_lies_far_from_its_roof_is_projected_and_told():
    near = point(1e9, 1.5e9, 2e6)  # at 75 % of its roof
    found = project([row(MEMORY, bound="UNKNOWN"), row(near)], change_of_settings({"dram_bytes_per_s": 2e12}))
    assert found.after_ns == pytest.approx(2e6)
    assert found.far_ns == 2e6


def test_locked_clocks_against_a_data_sheet_are_told():
    at_ncu = replace(MEMORY, roof_source="ncu's peak at the clock of the launch")
    then = gpu_of_key("h200-sxm")
    assert OTHER_CLOCKS in project([row(at_ncu)], change_to_gpu(None, then)).flags
    assert OTHER_CLOCKS not in project([row(at_ncu)], change_to_gpu(gpu_of_key("h100-sxm"), then)).flags


def test_a_copy_moves_with_the_bandwidth_of_the_data_sheets():
    copy = RooflineRow("c", "copy", "copy", "analytic", "MEMORY", 1e6, 1.0, 1, "DRAM", 1e9, 1e12, None, flop=0.0)
    (item,) = project([copy], change_to_gpu(gpu_of_key("h100-sxm"), gpu_of_key("h200-sxm"))).rows
    assert item.after_ns == pytest.approx(1e6 * 3350 / 4800)


@pytest.mark.parametrize(
    "setting", [{"l2_bytes": 1e6}, {"sm_count": 200.0}, {"dram_bytes_per_s": 0.0}, {"bandwidth": float("nan")}]
)
def test_only_peaks_can_be_set(setting):
    with pytest.raises(AnalysisError) as caught:
        change_of_settings(setting)
    assert caught.value.slug == "unknown-peak"


@given(st.floats(1e8, 1e14), st.floats(1e6, 1e12), st.floats(1.0, 100.0), st.floats(0.1, 10.0))
def test_no_change_is_no_change_and_faster_is_never_slower(flop, moved, slower, factor):
    roof_ns = max(flop / 1e15, moved / 1e12) * 1e9
    one = row(point(flop, moved, roof_ns * slower))
    same = project([one], change_of_settings({"dram_bytes_per_s": 1e12})).rows[0]
    assert same.after_ns == pytest.approx(same.before_ns)
    other = project(
        [one], change_of_settings({"dram_bytes_per_s": 1e12 * factor, "bf16_flop_per_s": 1e15 * factor})
    ).rows[0]
    assert other.after_ns == pytest.approx(same.before_ns / factor)


# ---- replay ----------------------------------------------------------------------------------------------------------


def work(*items):
    """Operations of one stream: (start, duration, start of the launch call)."""
    starts, lengths, called = (np.array(column, np.int64) for column in zip(*items, strict=True))
    count = starts.size
    zeros = np.zeros(count, np.int32)
    names = np.full(1, 0, np.int32)
    operations = Operations(
        starts, starts + lengths, zeros, zeros, np.arange(count, dtype=np.int64), zeros,
        ("k",), count, np.arange(count, dtype=np.int32),
    )  # fmt: skip
    only = np.zeros(1, np.int64)
    ids = np.arange(count, dtype=np.int64)
    calls = Calls(called, called + 1, zeros, only, only, ids, np.repeat(names, count), None)
    return operations, calls


def test_an_unchanged_replay_is_the_recorded_span():
    operations, calls = work((10, 100, 0), (110, 100, 5), (210, 50, 8))
    spans = replay(operations, calls, {})
    assert (spans.before_ns, spans.after_ns) == (250, 250)


def test_a_full_queue_shrinks_with_its_kernels_and_an_empty_one_does_not():
    full = replay(*work((10, 100, 0), (110, 100, 5), (210, 100, 8)), {"k": 0.5})
    assert full.after_ns == 150
    empty = replay(*work((10, 20, 0), (110, 20, 100), (210, 20, 200)), {"k": 0.5})
    assert empty.after_ns == 210


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 80)), min_size=1, max_size=12), st.floats(0.1, 1.0))
def test_faster_kernels_never_make_the_span_longer(parts, factor):
    now, items = 0, []
    for length, gap in parts:
        now += gap
        items.append((now + 5, length, now))
        now += length + 5
    spans = replay(*work(*items), {"k": factor})
    assert spans.after_ns <= spans.before_ns
