"""Shapes in NVTX ranges of emit_nvtx become operator calls, and kernels find theirs through the launch call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.ranges.autograd_ranges import launches_with_operators, operators_of
from nsightkit.analysis.roofs.roofline_rows import RooflineChoice, roofline_rows

ADDMM = "aten::addmm, seq = 5, op_id = 12, sizes = [[17], [33, 20], [20, 17], [], []], input_op_ids = [[1,0], [2,0]]"


def nvtx(name, start, duration, thread=1):
    return {
        "capture_id": "c",
        "name": name,
        "start_ns": start,
        "duration_ns": duration,
        "process_id": 1,
        "thread_id": thread,
    }


def api(correlation, start, thread=1):
    return {"capture_id": "c", "correlation_id": correlation, "start_ns": start, "process_id": 1, "thread_id": thread}


def kernel(name, correlation, start, duration):
    base = {
        "capture_id": "c",
        "kernel_name": name,
        "correlation_id": correlation,
        "start_ns": start,
        "duration_ns": duration,
    }
    return base | {"process_id": 1, "device_id": 0, "external_id": None, "grid_x": 1, "grid_y": 1, "grid_z": 1}


H100 = {"gpu_name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0", "sm_count": 132}
TABLES = {
    "nvtx_ranges": [
        nvtx("aten::linear, seq = 5, op_id = 9, sizes = [[33, 20], [17, 20], [17]]", 0, 100),
        nvtx(ADDMM, 20, 50),
        nvtx("my range", 0, 500),
        nvtx("aten::relu, seq = 6, op_id = 13, sizes = [[33, 17]]", 200, 50),
    ],
    "cuda_api_calls": [api(1, 30), api(2, 210), api(3, 400), api(4, 30, thread=2)],
    "kernel_launches": [
        kernel("gemm", 1, 1000, 300), kernel("relu", 2, 1400, 40), kernel("outside", 3, 1500, 7),
        kernel("elsewhere", 4, 1600, 5), kernel("no call", 9, 1700, 3),
    ],
    "gpus": [{"capture_id": "c", "device_id": 0, **H100}],
}  # fmt: skip


def test_kernels_find_the_innermost_operator_of_their_launch_call():
    rows = {row.name: row for row in roofline_rows(TABLES, RooflineChoice(dtype="bfloat16"))}
    assert set(rows) == {"aten::addmm", "aten::relu", "outside", "elsewhere", "no call"}
    addmm = rows["aten::addmm"]
    assert (addmm.flop, addmm.total_ns, addmm.point.precision) == (2 * 33 * 20 * 17, 300.0, "tensor BF16")
    assert addmm.moved_bytes == 2 * (17 + 33 * 20 + 20 * 17 + 33 * 17)
    assert rows["aten::relu"].moved_bytes == 2 * 2 * 33 * 17
    assert rows["outside"].tier == "none"


def test_without_a_type_such_a_capture_has_times_only():
    assert {row.tier for row in roofline_rows(TABLES)} == {"none"}


def test_names_that_hold_no_shapes_are_no_operators():
    names = ["aten::addmm, seq = 5", "sizes = [[3]]", "x, sizes = [[3", "step, sizes = 3", None, "a<b>, sizes = [[1]]"]
    assert operators_of([nvtx(name, 0, 5) for name in names], "float32") == []
    assert operators_of([nvtx("aten::relu, sizes = [[3]]", 0, None)], "float32") == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), min_size=1, max_size=10), st.integers(0, 130))
@pytest.mark.parametrize("shape", ["[[3]]"])
def test_the_innermost_open_range_is_the_one_that_began_last(shape, spans, moment):
    # Only ranges that nest, as push and pop make them.
    kept = []
    for start, length in sorted(set(spans), key=lambda s: (s[0], -s[1])):
        if all(start >= s + n or start + length <= s + n for s, n in kept) and all(start != s for s, _ in kept):
            kept.append((start, length))
    operators = operators_of([nvtx(f"aten::relu, sizes = {shape}", s, n) for s, n in kept], "float32")
    (launch,) = launches_with_operators([kernel("k", 1, 500, 1)], [api(1, moment)], operators)
    open_ranges = [i for i, (s, n) in enumerate(kept) if s <= moment < s + n]
    expected = max(open_ranges, key=lambda i: kept[i][0], default=None)
    assert launch["external_id"] == expected
