"""Kernels to launches to ranges: by correlation and process, per thread and domain, with everything accounted for."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.timeline import Host, tables_of
from nsightkit.analysis import arrays
from nsightkit.analysis.arrays import dense, narrow_ints
from nsightkit.analysis.ranges import launch_join, range_forest, range_projection, range_summary, span_projection
from nsightkit.analysis.ranges.launch_join import join_launches
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.ranges.range_names import normal_name
from nsightkit.analysis.ranges.range_summary import RangeOptions, summarize_ranges
from nsightkit.analysis.timeline.accounting import broken, check_attribution, check_shares
from nsightkit.analysis.timeline.timeline_parts import range_path
from nsightkit.analysis.work.operations import by_capture
from nsightkit.errors import AnalysisError

MIB = 1 << 24


def attribution_of(tables, **options):
    [capture] = by_capture(tables)
    return attribute(capture, **options)


def paths(attribution):
    return [range_path(attribution, row) for row in range(attribution.operations.size)]


def kernel(start, correlation, process=MIB, **more):
    return {"capture_id": "c", "kernel_name": "k", "start_ns": start, "duration_ns": 10, "device_id": 0, "stream_id": 7,
            "process_id": process, "correlation_id": correlation, **more}  # fmt: skip


def call(start, correlation, process=MIB, thread=1, ns=2):
    return {"capture_id": "c", "name": "cudaLaunchKernel_v7000", "start_ns": start, "duration_ns": ns,
            "process_id": process, "thread_id": process + thread, "correlation_id": correlation}  # fmt: skip


def named(name, start, ns, process=MIB, thread=1, domain=None, kind="push_pop"):
    return {"capture_id": "c", "name": name, "domain": domain, "kind": kind, "start_ns": start, "duration_ns": ns,
            "process_id": process, "thread_id": process + thread, "end_thread_id": None}  # fmt: skip


def test_launches_go_to_the_innermost_range_with_its_path():
    host = Host()
    host.push("step_1")
    host.launch(100)
    host.push("layer")
    host.launch(200)
    host.copy(50)
    host.pop()
    host.pop()
    host.launch(300)
    found = attribution_of(host.tables())
    assert paths(found) == ["step_1", "step_1 / layer", None, "step_1 / layer"]
    assert found.unattributed_ns == 300
    assert found.unattributed_share == pytest.approx(300 / 650)


def test_correlation_ids_of_two_processes_are_not_mixed():
    tables = tables_of(
        [kernel(100, 5), kernel(100, 5, 2 * MIB), kernel(300, 6, 3 * MIB)],
        [call(50, 5), call(60, 5, 2 * MIB)],
        ranges=[named("a", 0, 90), named("b", 0, 90, 2 * MIB)],
    )
    found = attribution_of(tables)
    assert paths(found) == ["a", "b", None]
    assert found.operations.call.tolist() == [0, 1, -1]


def test_many_kernels_of_one_graph_launch_all_belong_to_it():
    host = Host()
    host.push("decode")
    host.launch(10, count=20)
    host.pop()
    found = attribution_of(host.tables())
    assert paths(found) == ["decode"] * 20
    assert summarize_ranges([found]).rows[0].operation_count == 20


def test_a_thread_without_ranges_inherits_the_range_of_its_process_and_says_so():
    tables = tables_of(
        [kernel(100, 1), kernel(120, 2), kernel(140, 3)],
        [call(50, 1), call(60, 2, thread=2), call(95, 3, thread=2)],
        ranges=[named("backward", 40, 40), named("elsewhere", 0, 500, 2 * MIB)],
    )
    found = attribution_of(tables)
    assert paths(found) == ["backward", "backward", None]
    assert found.inherited.tolist() == [False, True, False]
    assert summarize_ranges([found]).totals.inherited_ns == 10
    assert paths(attribution_of(tables, as_nsys=True)) == ["backward", None, None]


def test_a_range_that_was_never_closed_lasts_to_the_end_of_the_capture():
    tables = tables_of([kernel(1000, 1)], [call(900, 1)], ranges=[named("open", 0, None), named("closed", 10, 20)])
    found = attribution_of(tables)
    assert paths(found) == ["open"]
    assert found.spans.unclosed_count == 1
    assert paths(attribution_of(tables, as_nsys=True)) == [None]


def test_crossing_ranges_both_count_what_was_launched_inside_both():
    tables = tables_of(
        [kernel(100, 1), kernel(200, 2), kernel(300, 3)],
        [call(15, 1), call(25, 2), call(35, 3)],
        ranges=[named("step", 10, 20), named("ncclGroup", 20, 20, domain="NCCL")],
    )
    found = attribution_of(tables)
    assert paths(found) == ["step", "step / NCCL:ncclGroup", "NCCL:ncclGroup"]
    assert found.forest.crossing_count == 1
    rows = {row.name: row for row in summarize_ranges([found]).rows}
    assert rows["step"].gpu_ns == 20
    assert rows["NCCL:ncclGroup"].gpu_ns == 20
    assert not broken(check_attribution(found))


def test_crossing_ranges_both_count_what_a_thread_without_ranges_launched_inside_both():
    tables = tables_of(
        [kernel(200, 2)],
        [call(25, 2, thread=2)],
        ranges=[named("step", 10, 20), named("ncclGroup", 20, 20, domain="NCCL")],
    )
    found = attribution_of(tables)
    assert paths(found) == ["step / NCCL:ncclGroup"]
    assert found.inherited.tolist() == [True]
    assert {row.name: row.gpu_ns for row in summarize_ranges([found]).rows} == {"step": 10, "NCCL:ncclGroup": 10}
    assert not broken(check_attribution(found))


def test_start_end_ranges_of_one_name_that_overlap_count_a_launch_once():
    requests = ((0, 100, "request"), (10, 30, "request"), (20, 100, "request"), (20, 10, "other"))
    tables = tables_of(
        [kernel(100 * place, place) for place in range(1, 5)],
        [call(5, 1), call(25, 2), call(110, 3), call(300, 4)],
        ranges=[named(name, start, length, kind="start_end") for start, length, name in requests],
    )
    rows = {row.name: row for row in summarize_ranges([attribution_of(tables)]).rows}
    assert (rows["request"].gpu_ns, rows["request"].own_ns, rows["request"].operation_count) == (30, 30, 3)
    assert (rows["request"].instance_count, rows["request"].kernel_count) == (3, 3)
    assert (rows["request"].share, rows["other"].gpu_ns) == (0.75, 10)


def test_start_end_ranges_stand_apart():
    tables = tables_of(
        [kernel(100, 1), kernel(200, 2)],
        [call(15, 1), call(25, 2)],
        ranges=[
            named("request", 10, 10, kind="start_end"),
            named("step", 0, 50),
            named("later", 18, 40, kind="start_end"),
        ],
    )
    found = summarize_ranges([attribution_of(tables)])
    assert [(row.name, row.kind, row.operation_count, row.projected_ns) for row in found.rows] == [
        ("step", "push_pop", 2, 110), ("later", "start_end", 1, 10), ("request", "start_end", 1, 10),
    ]  # fmt: skip


def test_namesakes_inside_each_other_count_their_work_once():
    host = Host()
    host.push("f")
    host.push("f")
    host.launch(100)
    host.pop()
    host.launch(30)
    host.pop()
    [row] = summarize_ranges([attribution_of(host.tables())]).rows
    assert (row.instance_count, row.gpu_ns, row.own_ns, row.share) == (2, 130, 130, 1.0)


def test_names_are_grouped_by_their_normal_form_unless_raw_ones_are_asked_for():
    host = Host()
    for step in range(3):
        host.push(f"step_{step}")
        host.launch(100)
        host.pop()
    host.push("ctx_1024")
    host.launch(100)
    host.pop()
    found = attribution_of(host.tables())
    assert {row.name: row.instance_count for row in summarize_ranges([found]).rows} == {"step_*": 3, "ctx_1024": 1}
    raw = summarize_ranges([found], RangeOptions(raw_names=True)).rows
    assert {row.name for row in raw} == {"step_0", "step_1", "step_2", "ctx_1024"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("step_17", "step_*"), ("step 17", "step *"), ("Step 190 to 200", "Step * to *"),
        ("layers.3.ffn.w1", "layers.*.ffn.w1"),
        ("aten::addmm, seq = 47575, op_id = 999172", "aten::addmm"), ("ProfilerStep#101", "ProfilerStep#*"),
        ("aten::add, op_id = 5, sizes = [[2, 3], []]", "aten::add"), ("h2d_wq", "h2d_wq"), ("fp16", "fp16"),
        ("batch=8", "batch=8"), ("batch = 8", "batch = 8"), ("", ""), ("a<b>|c*\n\x1b[31m 4", "a<b>|c*\n\x1b[31m *"),
    ],
)  # fmt: skip
def test_normal_names(name, expected):
    assert normal_name(name) == expected


def test_inside_a_range_only_its_work_counts():
    host = Host()
    for name in ("prefill", "decode"):
        host.push(name)
        host.push("attention")
        host.launch(100 if name == "prefill" else 40)
        host.pop()
        host.pop()
    found = summarize_ranges([attribution_of(host.tables())], RangeOptions(within="dec*"))
    assert {row.name: row.gpu_ns for row in found.rows} == {"decode": 40, "attention": 40}
    assert found.totals.gpu_ns == 40
    with pytest.raises(AnalysisError, match="prefill") as caught:
        summarize_ranges([attribution_of(host.tables())], RangeOptions(within="Decode"))
    assert caught.value.slug == "no-such-range"


def test_hostile_names_survive():
    names = ["a<b>|c*", "<script>alert(1)</script>", "line\nbreak", "\x1b[31mred", "x" * 10_000, "", None, "naïve ☃"]
    host = Host()
    for name in names:
        host.push(name, domain="d|e" if name == "" else None)
        host.launch(100)
        host.pop()
    rows = summarize_ranges([attribution_of(host.tables())], RangeOptions(raw_names=True)).rows
    assert {row.name for row in rows} == {"(no name)" if n is None else "d|e:" if n == "" else n for n in names}


def test_a_capture_without_ranges_or_calls_is_all_unattributed():
    found = attribution_of(tables_of([kernel(0, 1), kernel(20, None)]))
    assert found.unattributed_share == 1.0
    assert summarize_ranges([found]).rows == ()
    assert summarize_ranges([found]).totals.unlaunched_ns == 20


def test_several_captures_are_summed_under_one_name():
    first, second = Host(), Host()
    for host in (first, second):
        host.push("step_1")
        host.launch(100)
        host.pop()
    found = summarize_ranges(attribution_of(host.tables()) for host in (first, second))
    assert [(row.name, row.instance_count, row.gpu_ns) for row in found.rows] == [("step_1", 2, 200)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 40)), max_size=60), st.booleans())
@settings(max_examples=150, deadline=None)
def test_join_equals_a_dictionary(calls, sparse):
    scale = 1 << 40 if sparse else 1
    process = np.array([p for p, _ in calls], np.int64)
    ids = np.array([c * scale if c >= 0 else c for _, c in calls], np.int64)
    book = {(p, int(c)): row for row, (p, c) in enumerate(zip(process, ids, strict=True)) if c >= 0}
    work = [(p, c * scale if c >= 0 else c) for p in range(5) for c in range(-1, 42)]
    lane, lane_process = dense(process)
    wanted = np.array([p for p, _ in work], np.int64), np.array([c for _, c in work], np.int64)
    found = join_launches(wanted, (lane, ids), lane_process)
    assert found.tolist() == [book.get(key, -1) for key in work]


def random_host(seed):
    """Threads of two processes with ranges in two domains, some crossing, some never closed, and stray launches."""
    rng = random.Random(seed)
    kernels, calls, ranges = [], [], []
    for process in (MIB, 2 * MIB):
        correlation = 0
        for thread in range(rng.randint(1, 3)):
            moment = rng.randint(0, 10)
            for _ in range(rng.randint(0, 12)):
                start = rng.randint(0, 60)
                ns = rng.choice([None, 0, 1, 5, 20]) if rng.random() < 0.3 else rng.randint(1, 30)
                kind = "start_end" if rng.random() < 0.1 else "push_pop"
                name = rng.choice("abc")
                ranges.append(named(name, start, ns, process, thread, rng.choice([None, "NCCL"]), kind))
            for _ in range(rng.randint(0, 12)):
                correlation += 1
                calls.append(call(moment, correlation, process, thread, rng.randint(1, 6)))
                moment += rng.randint(6, 9)
                for _ in range(rng.choice([0, 1, 1, 3])):
                    kernels.append(kernel(rng.randint(0, 200), correlation, process))
    return kernels, calls, ranges


def enclosing(calls, ranges, one):
    """Names of the ranges around a kernel's call on its own thread, outermost first, by looking at all of them."""
    its = next(c for c in calls if (c["process_id"], c["correlation_id"]) == (one["process_id"], one["correlation_id"]))
    end = max(row["start_ns"] + (row["duration_ns"] or 0) for row in [*calls, *ranges])
    found = []
    for row, r in enumerate(ranges):
        last = r["start_ns"] + r["duration_ns"] if r["duration_ns"] is not None else end
        if (r["kind"] == "push_pop" and r["thread_id"] == its["thread_id"] and r["start_ns"] <= its["start_ns"]
                and last >= its["start_ns"] + its["duration_ns"]):  # fmt: skip
            found.append((r["start_ns"], -last, row, f"NCCL:{r['name']}" if r["domain"] else r["name"]))
    return [name for *_, name in sorted(found)]


@pytest.mark.parametrize("block", range(6))
def test_attribution_equals_a_search_of_all_ranges(block):
    for seed in range(block * 50, block * 50 + 50):
        kernels, calls, ranges = random_host(seed)
        if not kernels:
            continue
        end = max(c["start_ns"] + c["duration_ns"] for c in calls)
        # The capture ends with its last call here, so that the search need not know of GPU work.
        late = [k | {"start_ns": min(k["start_ns"], end - 10)} for k in kernels]
        found = attribution_of(tables_of(late, calls, ranges=ranges))
        for row, one in enumerate(late):
            expected = " / ".join(enclosing(calls, ranges, one)) or None
            if not found.inherited[row]:
                assert range_path(found, row) == expected, seed
            else:
                assert expected is None
        assert not broken(check_attribution(found))
        summary = summarize_ranges([found])
        assert not broken(check_shares(summary))
        assert sum(p.own_ns for p in summary.paths) + summary.totals.unattributed_ns == summary.totals.gpu_ns


@pytest.mark.parametrize("options", [RangeOptions(), RangeOptions(within="a"), RangeOptions(raw_names=True)])
def test_sums_in_small_blocks_are_the_same_sums(monkeypatch, options):
    hosts = [random_host(seed) for seed in range(60)]
    tables = [tables_of(kernels, calls, ranges=ranges) for kernels, calls, ranges in hosts if kernels]
    whole = summarize_ranges([attribution_of(capture) for capture in tables], options)
    for module in (arrays, launch_join, range_forest, range_projection, range_summary, span_projection):
        monkeypatch.setattr(module, "CHUNK", 3)
    assert summarize_ranges([attribution_of(capture) for capture in tables], options) == whole
    assert {row.kind for row in whole.rows} == {"push_pop", "start_end"}


def test_narrow_numbers_keep_their_width_and_nulls_are_replaced():
    table = pa.table({"whole": pa.array([3, 1], pa.int32()), "gap": pa.array([3, None], pa.int32())})
    whole, gap, absent = (narrow_ints(table, name, 7) for name in ("whole", "gap", "absent"))
    assert (whole.tolist(), whole.dtype) == ([3, 1], np.int32)
    assert gap.tolist() == [3, 7]
    assert absent.tolist() == [7, 7]
