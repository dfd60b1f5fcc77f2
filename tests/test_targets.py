"""The choice of launches: modes, keys, steps, coverage, names, budget."""

import re
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.counters.budget import Cost, estimate, fit_budget
from nsightkit.analysis.counters.counter_join import join_counters, profiled_launches
from nsightkit.analysis.counters.targets import (
    Wish,
    name_regex,
    plan_targets,
    split_modes,
)
from nsightkit.analysis.work.operations import CaptureTables
from nsightkit.errors import AnalysisError


def strings(values):
    return pa.array(values, pa.string()).dictionary_encode()


def timeline(launches, ranges):
    """Tables from (name, grid_x, shared, call begin, duration) and (range, begin, end); one thread, one stream."""
    count = len(launches)
    number = pa.array(range(1, count + 1), pa.int64())
    ones = pa.array([1] * count, pa.int64())
    begin = pa.array([item[3] for item in launches], pa.int64())
    kernels = pa.table({
        "capture_id": strings(["c"] * count), "kernel_name": strings([item[0] for item in launches]),
        "start_ns": pa.array([item[3] + 5 for item in launches], pa.int64()),
        "duration_ns": pa.array([item[4] for item in launches], pa.int64()),
        "process_id": ones, "correlation_id": number, "device_id": ones, "stream_id": ones,
        "grid_x": pa.array([item[1] for item in launches], pa.int64()),
        **{name: ones for name in ("grid_y", "grid_z", "block_x", "block_y", "block_z")},
        "dynamic_shared_memory_bytes": pa.array([item[2] for item in launches], pa.int64()),
    })  # fmt: skip
    calls = pa.table({
        "capture_id": strings(["c"] * count), "name": strings(["cudaLaunchKernel"] * count), "start_ns": begin,
        "duration_ns": ones, "process_id": ones, "thread_id": ones, "correlation_id": number,
    })  # fmt: skip
    size = len(ranges)
    spans = pa.table({
        "capture_id": strings(["c"] * size), "name": strings([item[0] for item in ranges]),
        "kind": strings(["push_pop"] * size), "start_ns": pa.array([item[1] for item in ranges], pa.int64()),
        "duration_ns": pa.array([item[2] - item[1] for item in ranges], pa.int64()),
        "process_id": pa.array([1] * size, pa.int64()), "thread_id": pa.array([1] * size, pa.int64()),
        "domain": pa.nulls(size, pa.string()), "end_thread_id": pa.nulls(size, pa.int64()),
    })  # fmt: skip
    from nsightkit.analysis.work.operations import empty_table
    from nsightkit.tables import MEMORY_OPERATIONS

    return CaptureTables("c", kernels, calls, empty_table(MEMORY_OPERATIONS), spans)


def plan(launches, ranges, **wish):
    return plan_targets(timeline(launches, ranges), Wish(**wish))


def decode(steps=4, body=(("gemm", 4, 0, 100),)):
    """`steps` equal steps inside decode; each launch 10 ns after the other."""
    launches, ranges, now = [], [], 10
    for number in range(steps):
        begin = now
        for name, grid, shared, ns in body:
            now += 10
            launches.append((name, grid, shared, now, ns))
        now += 10
        ranges.append((f"step_{number}", begin, now))
    return launches, [("decode", 5, now + 5), *ranges]


class TestModes:
    @pytest.mark.parametrize(
        ("times", "modes"),
        [
            ({0: 10.0}, [[0]]),
            ({0: 10.0, 1: 12.0, 2: 11.0}, [[0, 2, 1]]),
            ({0: 10.0, 1: 100.0, 2: 10.5, 3: 101.0}, [[0, 2], [1, 3]]),
            ({0: 0.0, 1: 5.0}, [[0], [1]]),
        ],
    )
    def test_split(self, times, modes):
        assert split_modes(times) == modes

    @given(st.dictionaries(st.integers(0, 200), st.floats(0, 1e9), min_size=1, max_size=60))
    def test_every_place_is_in_one_mode_and_modes_are_in_order(self, times):
        modes = split_modes(times)
        assert sorted(place for mode in modes for place in mode) == sorted(times)
        assert len(modes) <= 6
        highest = [max(times[place] for place in mode) for mode in modes]
        assert highest == sorted(highest)


class TestKeys:
    def test_shared_memory_tells_shapes_apart(self):
        found = plan(*decode(body=(("gemm", 4, 0, 100), ("gemm", 4, 1024, 100))), range_name="decode", coverage=1.0)
        assert [(t.shape.dynamic_shared_memory_bytes, t.launch_count) for t in found.targets] == [(0, 4), (1024, 4)]

    def test_numbers_that_count_instances_are_no_part_of_a_path(self):
        found = plan(*decode(), range_name="decode")
        assert {item.shape.nvtx_path for item in found.launches} == {"decode/step_*"}

    def test_numbered_ranges_are_steps_too_and_are_included_by_name(self):
        found = plan(*decode(steps=4, body=(("a", 1, 0, 10), ("a", 1, 0, 10))), range_name="decode")
        assert found.step_name == "step_*"
        assert [item.place for item in found.launches] == [0, 1] * 4
        assert found.steps == (2, 4)
        assert found.included_ranges == ("step_1", "step_3")
        assert found.counted_instances == ()

    def test_without_steps_the_range_is_the_step(self):
        launches, _ = decode(steps=2)
        found = plan(launches, [("decode", 0, 999)], range_name="decode")
        assert (found.step_name, found.steps, found.included_ranges) == ("decode", (1,), ("decode",))
        assert [item.place for item in found.launches] == [0, 1]
        assert found.counted_instances == ()

    def test_same_name_range_that_repeats_is_the_step(self):
        launches, ranges = decode(steps=5, body=(("a", 1, 0, 10), ("a", 1, 0, 90)))
        same = [(re.sub(r"_\d", "", name), begin, end) for name, begin, end in ranges]
        found = plan(launches, same, range_name="decode")
        assert found.step_name == "step"
        assert found.steps == found.counted_instances == (2, 5)
        assert found.included_ranges == ("step",)
        assert [item.place for item in found.launches] == [0, 1] * 5
        assert [(t.mode, t.mode_count, t.launch_count) for t in found.targets] == [(1, 2, 5)]


class TestChoice:
    def test_coverage_and_most(self):
        body = tuple((f"k{number}", 1, 0, 2**number) for number in range(6))
        whole = plan(*decode(body=body), range_name="decode", coverage=1.0)
        assert whole.coverage == pytest.approx(1.0)
        assert len(whole.targets) == 6
        half = plan(*decode(body=body), range_name="decode", coverage=0.5)
        assert [t.kernel_name for t in half.targets] == ["k5"]
        assert len(plan(*decode(body=body), range_name="decode", coverage=1.0, most_targets=2).targets) == 2

    def test_launches_outside_the_range_do_not_count(self):
        launches, ranges = decode()
        launches = [("prefill_gemm", 4, 0, 1, 10**9), *launches]
        found = plan(launches, [("prefill", 0, 3), *ranges], range_name="decode")
        assert {t.kernel_name for t in found.targets} == {"gemm"}
        assert found.total_ns == 400

    def test_whole_run_without_a_range(self):
        launches, ranges = decode()
        found = plan([("other", 1, 0, 1, 400), *launches], ranges, coverage=1.0)
        assert found.step_name is None
        assert found.total_ns == 800

    @pytest.mark.parametrize(
        ("launches", "ranges", "text"),
        [
            ([], [("decode", 0, 9)], "the timeline holds no kernel"),
            (
                [("a", 1, 0, 5, 1)],
                [("other", 0, 9)],
                "the range 'decode' was never seen; ranges of this timeline: other",
            ),
            ([("a", 1, 0, 50, 1)], [("decode", 0, 9)], "no kernel was launched inside the range 'decode'"),
        ],
    )
    def test_nothing_to_choose(self, launches, ranges, text):
        with pytest.raises(AnalysisError, match=re.escape(text)) as caught:
            plan(launches, ranges, range_name="decode")
        assert caught.value.slug == "no-targets"

    @pytest.mark.parametrize("asked", ["decode", "decode@model"])
    def test_range_of_a_domain_is_said_to_be_one(self, asked):
        launches, ranges = decode()
        tables = timeline(launches, ranges)
        spans = tables.nvtx_ranges
        spans = spans.set_column(spans.schema.get_field_index("domain"), "domain", pa.array(["model"] * len(ranges)))
        with pytest.raises(AnalysisError, match="the range 'decode' is of the NVTX domain model: "):
            plan_targets(replace(tables, nvtx_ranges=spans), Wish(asked))


class TestNames:
    @pytest.mark.parametrize(
        ("nsys", "ncu"),
        [
            ("void gemv<float>(int)", "void gemv<float>(int)"),
            ("std::enable_if<(bool)1, void>::type internal::gemvx::kernel<(int)7, (bool)0>(T1::Params)",
             "enable_if<1, void>::type kernel<7, 0>(Params)"),
            ("void at::native::<unnamed>::elementwise<(unsigned)4>(int)", "void unnamed>::elementwise<4>(int)"),
            ("void f<true>(int)", "void f<1>(int)"),
            ("ampere_bf16_s16816gemm_128x64_tn", "ampere_bf16_s16816gemm_128x64_tn"),
            ("weird|name*with(a<b>)", "weird|name*with(a<b>)"),
        ],
    )  # fmt: skip
    def test_matches_what_the_other_tool_prints(self, nsys, ncu):
        assert re.search(name_regex(nsys), nsys)
        assert re.search(name_regex(nsys), ncu)

    def test_leaves_out_others_of_the_range(self):
        mine, other = "void kernel<(int)7, (bool)0>(P)", "void kernel<(int)6, (bool)0>(P)"
        expression = name_regex(mine, (other,))
        assert re.search(expression, "void kernel<7, 0>(P)")
        assert not re.search(expression, "void kernel<6, 0>(P)")

    @given(st.text(min_size=1, max_size=300))
    def test_any_name_is_matched_by_its_own_expression(self, name):
        assert re.search(name_regex(name), name)

    def test_long_hostile_name_is_quick_and_short(self):
        name = "k<" + "a<" * 3000 + "b" + ">" * 3000 + ">"
        assert len(name_regex(name)) < 400


class TestBudget:
    BODY = tuple((f"k{number}", 1, 0, 1000 * 2**number) for number in range(4))

    def test_estimate_counts_passes_of_the_chosen_steps(self):
        found = plan(*decode(body=(("a", 1, 0, 10**6),)), range_name="decode")
        cost = Cost(run_s=3.0, pass_count=8, pass_s=0.01)
        assert estimate(found, cost).launch_count == 2
        assert estimate(found, cost).seconds == pytest.approx(3.0 + 2 * 8 * (0.001 + 0.01))

    def test_what_fits_is_left_as_it_is(self):
        found = plan(*decode(body=self.BODY), range_name="decode", coverage=1.0)
        assert fit_budget(found, Cost(1.0), 600.0) == found

    @given(st.floats(1.05, 4.0))
    def test_result_fits_or_is_one_launch(self, budget_s):
        found = plan(*decode(body=self.BODY), range_name="decode", coverage=1.0)
        part = fit_budget(found, Cost(1.0), budget_s)
        assert estimate(part, Cost(1.0)).seconds <= budget_s or part.launch_limit == 1
        assert part.targets == found.targets[: len(part.targets)]

    def test_too_small(self):
        with pytest.raises(AnalysisError, match="one run of the workload takes 60 s, the budget is 30 s"):
            fit_budget(plan(*decode(), range_name="decode"), Cost(60.0), 30.0)


class TestJoin:
    def rows(self, found, **changes):
        """What ncu would say of the expected launches."""
        return [
            {"launch_index": place, "kernel_name": item.kernel_name, "nvtx_path": "decode/step_7",
             "grid_x": item.shape.grid[0], "grid_y": 1, "grid_z": 1, "block_x": 1, "block_y": 1, "block_z": 1,
             "dynamic_shared_memory_bytes": item.shape.dynamic_shared_memory_bytes, "failed": False,
             "duration_ns": 1.5 * item.duration_ns} | changes
            for place, item in enumerate(found.expected)
        ]  # fmt: skip

    def joined(self, found, rows):
        return join_counters(found, profiled_launches(rows))

    def test_same_order_is_exact(self):
        found = plan(*decode(body=(("a", 1, 0, 10), ("a", 1, 0, 90))), range_name="decode", coverage=1.0)
        join = self.joined(found, self.rows(found))
        assert join.aligned
        assert [row.match for row in join.rows] == ["exact", "exact"]
        assert [row.duration_ratio for row in join.rows] == pytest.approx([1.5, 1.5])
        assert all("1.50 times as long under ncu" in row.flags[0] for row in join.rows)
        assert join.joined_share == pytest.approx(1.0)
        assert not set(join.rows[0].launch_indices) & set(join.rows[1].launch_indices)

    @pytest.mark.parametrize("path", [None, "prefill", "decoder", "x/predecode", "dom@decode"])
    def test_nothing_outside_the_range_is_joined(self, path):
        found = plan(*decode(), range_name="decode")
        join = self.joined(found, self.rows(found, nvtx_path=path))
        assert [row.launch_indices for row in join.rows] == [()]
        count = len(found.expected)
        assert join.notes[0] == f"{count} launches were profiled outside the range and are not joined to it"

    def test_failed_launches_are_no_duration(self):
        found = plan(*decode(), range_name="decode")
        (row,) = self.joined(found, self.rows(found, failed=True, duration_ns=None)).rows
        assert row.duration_ratio is None
        assert "2 of 2 launches could not be measured" in row.flags

    def test_unknown_shared_memory_does_not_forbid_a_match(self):
        found = plan(*decode(), range_name="decode")
        (row,) = self.joined(found, self.rows(found, dynamic_shared_memory_bytes=None)).rows
        assert row.match == "exact"

    @pytest.mark.parametrize(("ncu", "match"), [((2, 1, 1), "exact"), ((None,) * 3, "exact"), ((1, 1, 1), "none"),
                                                ((4, 1, 1), "none")])  # fmt: skip
    def test_clusters_are_compared_where_both_are_known(self, ncu, match):
        found = plan(*decode(), range_name="decode")

        def in_cluster(item):
            return replace(item, shape=replace(item.shape, cluster=(2, 1, 1)))

        found = replace(found, targets=tuple(map(in_cluster, found.targets)),
                        launches=tuple(map(in_cluster, found.launches)))  # fmt: skip
        sizes = dict(zip(("cluster_x", "cluster_y", "cluster_z"), ncu, strict=True))
        (row,) = self.joined(found, self.rows(found, **sizes)).rows
        assert row.match == match

    def test_other_shared_memory_does(self):
        found = plan(*decode(), range_name="decode")
        (row,) = self.joined(found, self.rows(found, dynamic_shared_memory_bytes=77)).rows
        assert row.match == "none"
