"""Busy, idle and its causes, communication and copies, queues: on planted timelines and by counting moments."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.nsys import write_sqlite
from builders.timeline import (
    LAUNCH_LATENCY,
    PLANTED,
    Host,
    nsys_capture_of,
    tables_of,
    torch_trace_of,
    with_waiting_thread,
)
from builders.torch import write
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.ranges.repetitions import repetitions
from nsightkit.analysis.timeline import gaps
from nsightkit.analysis.timeline.accounting import broken, check_timeline
from nsightkit.analysis.timeline.copy_rates import copy_rates
from nsightkit.analysis.timeline.gaps import CAUSES
from nsightkit.analysis.timeline.timeline import device_timelines, timeline_inputs
from nsightkit.analysis.timeline.timeline_parts import longest_gaps, range_windows, time_parts
from nsightkit.analysis.timeline.whole_run import COSTS, graph_figures, run_figures
from nsightkit.analysis.work.operations import CAPTURE_TABLES, by_capture
from nsightkit.ingest.dataset import open_dataset

SEEDS = 40
NCCL = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096>)"
OLD_NCCL = "ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)"


def timelines_of(tables, windows=None):
    [capture] = by_capture(tables)
    return device_timelines(timeline_inputs(capture), windows)


def causes(timeline):
    return [CAUSES[code] for code in timeline.gaps.cause]


@pytest.mark.parametrize(("bound", "maker"), [(b, m) for b, makers in PLANTED.items() for m in makers])
def test_planted_timelines_are_told_apart(bound, maker):
    right = 0
    for seed in range(SEEDS):
        found = timelines_of(maker(seed).tables())
        assert not broken(check for timeline in found for check in check_timeline(timeline))
        figures = run_figures(found)
        assert sum(figures.shares.values()) == pytest.approx(1)
        right += figures.dominant == bound
    assert right >= 0.95 * SEEDS


@pytest.mark.parametrize("tool", ["nsys", "torch"])
@pytest.mark.parametrize(("bound", "maker"), [(b, m) for b, makers in PLANTED.items() for m in makers])
def test_planted_captures_are_told_apart_through_their_readers(bound, maker, tool, tmp_path):
    """The same timelines as files of the two tools, beside a thread that waits all the time and launches nothing."""
    right, seeds = 0, 20
    for seed in range(seeds):
        host = with_waiting_thread(maker(seed))
        if tool == "nsys":
            path = write_sqlite(tmp_path / f"{seed}.sqlite", nsys_capture_of(host))
        else:
            path = write(tmp_path / f"{seed}.json", torch_trace_of(host))
        dataset = open_dataset([path])
        found = timelines_of({name: dataset.arrow(name) for name in CAPTURE_TABLES if dataset.has(name)})
        assert sum(t.kernel_count for t in found) == len(host.kernels)
        right += run_figures(found).dominant == bound
    assert right >= 0.95 * seeds


def test_a_low_busy_share_by_waiting_is_not_taken_for_an_empty_queue():
    for maker in PLANTED["SYNCHRONIZATION"]:
        [found] = timelines_of(maker(1).tables())
        assert found.busy_share < 0.6
        assert found.idle_by_cause["empty queue"] < 0.05 * found.idle_ns


def moment_sets(rows):
    return {m for row in rows for m in range(row["start_ns"], row["start_ns"] + row["duration_ns"])}


@pytest.mark.parametrize("seed", range(60))
def test_parts_equal_a_count_of_moments(seed):
    rng = random.Random(seed)

    def work(count, **more):
        return [{"capture_id": "c", "start_ns": rng.randint(0, 150), "duration_ns": rng.randint(0, 20), "device_id": 0,
                 "stream_id": rng.randint(1, 3), "process_id": 1, "correlation_id": None, **more}
                for _ in range(count)]  # fmt: skip

    compute = work(rng.randint(1, 8), kernel_name="gemm")
    nccl = work(rng.randint(0, 5), kernel_name=rng.choice([NCCL, OLD_NCCL]))
    copies = work(rng.randint(0, 5), operation="[CUDA memset]", moved_bytes=4)
    [found] = timelines_of(tables_of(compute + nccl, copies=copies))
    c, n, m = moment_sets(compute), moment_sets(nccl), moment_sets(copies)
    everything = [*compute, *nccl, *copies]
    first = min(row["start_ns"] for row in everything)
    last = max(row["start_ns"] + row["duration_ns"] for row in everything)
    assert found.span_ns == last - first
    assert found.busy_ns == len(c | n | m)
    assert found.idle_ns == found.span_ns - len(c | n | m)
    assert found.compute_ns == len(c)
    assert found.communication_ns == len(n)
    assert found.overlapped_communication_ns == len(c & n)
    assert found.exposed_communication_ns == len(n - c)
    assert found.exposed_copy_ns == len(m - c - n)
    assert not broken(check_timeline(found))
    streams = [moment_sets([r for r in everything if r["stream_id"] == s]) for s in (1, 2, 3)]
    assert found.busy_streams_ns == {
        level: count for level in (1, 2, 3)
        if (count := sum(sum(t in s for s in streams) == level for t in c | n | m))
    }  # fmt: skip


@pytest.mark.parametrize("block", [1, 2, 1 << 18])
def test_each_cause(monkeypatch, block):
    monkeypatch.setattr(gaps, "_BLOCK", block)
    host = Host()
    host.launch(10_000)
    host.think(50_000)
    host.launch(10_000)  # launched late
    host.synchronize()
    host.launch(10_000)  # after a wait
    host.copy(30_000)
    host.launch(10_000)  # after a blocking copy
    host.think(5_000_000)
    host.launch(10_000, NCCL)  # after loading data
    host.synchronize()
    host.launch(10_000)  # after waiting for a collective
    host.launch(10_000)  # in time
    [found] = timelines_of(host.tables())
    kinds = causes(found)
    assert kinds[0] == "empty queue"
    assert kinds[1] == "synchronization"
    assert kinds[-4:] == ["copy", "host", "collective", "queued"]


def test_work_whose_call_is_unknown_has_an_unknown_cause():
    rows = [{"capture_id": "c", "kernel_name": "k", "start_ns": start, "duration_ns": 10, "device_id": 0,
             "stream_id": 1, "process_id": 1, "correlation_id": None} for start in (0, 100)]  # fmt: skip
    [found] = timelines_of(tables_of(rows))
    assert causes(found) == ["unknown"]
    assert found.queue.launch_ns is None
    assert found.queue.max_depth is None


def test_a_gap_before_the_work_of_the_first_call_has_a_cause():
    base = {"capture_id": "c", "kernel_name": "k", "duration_ns": 10, "device_id": 0, "stream_id": 1, "process_id": 1}
    rows = [base | {"start_ns": 0, "correlation_id": 9}, base | {"start_ns": 520, "correlation_id": 1}]
    call = {"capture_id": "c", "name": "cudaLaunchKernel", "start_ns": 500, "duration_ns": 5, "thread_id": 1,
            "process_id": 1, "correlation_id": 1}  # fmt: skip
    [found] = timelines_of(tables_of(rows, [call]))
    assert causes(found) == ["empty queue"]
    assert found.queue.launch_count == 1


def test_queue_and_launch_figures():
    host = Host()
    for _ in range(5):
        host.launch(50_000)
    [found] = timelines_of(host.tables())
    assert found.queue.launch_count == 5
    assert found.queue.max_depth == 4
    late = Host()
    for _ in range(5):
        late.launch(1_000)
        late.think(100_000)
    [found] = timelines_of(late.tables())
    assert found.queue.idle_launch_ns == LAUNCH_LATENCY
    assert found.queue.max_depth == 1


def test_devices_stand_apart():
    host = Host()
    host.launch(1_000, device=0)
    host.launch(9_000, device=1)
    found = timelines_of(host.tables())
    assert [(t.device_id, t.busy_ns, t.kernel_count) for t in found] == [(0, 1_000, 1), (1, 9_000, 1)]


def test_windows_of_a_range_cut_the_timeline():
    host = Host()
    for name, ns in (("prefill", 40_000), ("decode", 7_000)):
        host.push(name)
        host.launch(ns)
        host.launch(ns)
        host.synchronize()
        host.pop()
    [capture] = by_capture(host.tables())
    windows = range_windows(attribute(capture), "decode")
    [found] = device_timelines(timeline_inputs(capture), windows)
    assert (found.busy_ns, found.kernel_count, found.span_ns) == (14_000, 2, 14_500)
    assert not broken(check_timeline(found))


def test_queue_depth_is_that_of_each_moment_of_the_scope():
    generator = random.Random(11)
    for _ in range(40):
        host = Host(generator.randint(0, 9999))
        for step in range(generator.randint(1, 6)):
            host.push("step" if step % 2 else "other")
            for _ in range(generator.randint(1, 6)):
                host.launch(generator.randint(1, 40) * 500, stream=generator.choice([7, 8]))
                host.think(generator.randint(0, 20) * 500)
            host.pop()
        [capture] = by_capture(host.tables())
        waits = [
            (call["start_ns"], work["start_ns"])
            for work in host.kernels
            for call in host.calls
            if call["correlation_id"] == work["correlation_id"]
        ]
        for windows in (None, range_windows(attribute(capture), "step")):
            [found] = device_timelines(timeline_inputs(capture), windows)
            ends = [work["start_ns"] + work["duration_ns"] for work in host.kernels]
            whole = [(min(work["start_ns"] for work in host.kernels), max(ends))]
            scope = whole if windows is None else list(zip(windows[0].start_ns, windows[0].end_ns, strict=True))
            mean, most = depth_by_moments(waits, scope)
            if scope:
                assert found.queue.mean_depth == pytest.approx(mean)
                assert found.queue.max_depth == most


def depth_by_moments(waits, scope):
    """Mean and largest number of waits that are open, piece by piece between all begins and ends."""
    area = most = 0
    for start, end in scope:
        cuts = sorted({start, end, *(moment for wait in waits for moment in wait if start < moment < end)})
        for here, there in pairwise(cuts):
            depth = sum(begun <= here < started for begun, started in waits)
            area, most = area + depth * (there - here), max(most, depth)
        most = max(most, sum(begun <= start <= started for begun, started in waits))
    return area / sum(end - start for start, end in scope) if scope else None, most


def test_windows_of_a_range_are_those_of_each_gpu():
    # Two ranks in one capture: rank 1 is in its range twice as long, while rank 0 already does something else.
    ranks = [Host(process=1 << 24), Host(process=2 << 24)]
    for device, host in enumerate(ranks):
        host.push("forward")
        host.launch(10_000 * (device + 1), device=device)
        host.pop()
        host.launch(30_000, NCCL, device=device)
    kernels, calls, ranges = (
        [row for host in ranks for row in getattr(host, name)] for name in ("kernels", "calls", "ranges")
    )
    [capture] = by_capture(tables_of(kernels, calls, ranges=ranges))
    found = device_timelines(timeline_inputs(capture), range_windows(attribute(capture), "forward"))
    assert [(t.device_id, t.span_ns, t.compute_ns, t.communication_ns) for t in found] == [
        (0, 10_000, 10_000, 0), (1, 20_000, 20_000, 0)]  # fmt: skip
    # A GPU on which the range had no work has no window.
    found = device_timelines(timeline_inputs(capture), {0: range_windows(attribute(capture), "forward")[0]})
    assert [(t.device_id, t.span_ns, t.busy_ns, t.idle_ns) for t in found] == [(0, 10_000, 10_000, 0), (1, 0, 0, 0)]


def test_parts_and_longest_gaps_name_what_came_next():
    host = Host()
    host.push("a")
    host.launch(1_000, "first")
    host.pop()
    host.think(300_000)
    host.push("b")
    host.push("c")
    host.launch(1_000, "second")
    [capture] = by_capture(host.tables())
    found = device_timelines(timeline_inputs(capture))
    [gap] = longest_gaps(found[0], attribute(capture), 3)
    assert (gap.cause, gap.next_name, gap.last_name, gap.next_range) == ("empty queue", "second", "first", "b / c")
    parts = {part.part: part for part in time_parts(found)}
    assert parts["span"].time_ns == parts["busy"].time_ns + parts["idle"].time_ns
    assert parts["idle: empty queue"].time_ns == gap.gap_ns


def test_graphs_without_traced_work_are_counted():
    host = Host()
    host.launch(1_000, count=4)
    hidden = Host()
    hidden.launch(1_000)
    hidden._call("cudaGraphLaunch_v10000", 2_500)
    for one, expected in ((host, ("node", 1, 0)), (hidden, ("graph", 1, 1))):
        [capture] = by_capture(one.tables())
        figures = graph_figures(timeline_inputs(capture))
        assert (figures.mode, figures.launch_count, figures.hidden_count) == expected


def test_tracing_overhead_takes_the_ground_from_idle_verdicts():
    [maker] = PLANTED["LAUNCH"]
    found = timelines_of(maker(3).tables())
    assert run_figures(found).tracing_allows_idle_verdict is None
    assert run_figures(found).corrected_idle_share is None
    assert run_figures(found, 1.05).tracing_allows_idle_verdict is True
    slow = run_figures(found, 1.5)
    assert slow.tracing_allows_idle_verdict is False
    assert slow.corrected_idle_share == pytest.approx(1 - (1 - slow.idle_share) * 1.5)
    assert run_figures([]) is None
    assert set(slow.shares) == set(COSTS)


def test_a_cold_first_instance_stands_against_the_others():
    host = Host()
    for step, ns in enumerate([90_000, 10_000, 12_000, 11_000]):
        host.push(f"step_{step}")
        host.launch(ns)
        host.pop()
        host.synchronize()
    [capture] = by_capture(host.tables())
    [row] = repetitions(attribute(capture))
    assert (row.name, row.instance_count, row.first_ns, row.steady_median_ns) == ("step_*", 4, 90_000, 11_000)
    assert row.cold_ratio == pytest.approx(90 / 11)
    assert row.steady_std_ns == pytest.approx(np.std([10_000, 12_000, 11_000], ddof=1))


def test_copies_have_their_rate():
    host = Host()
    host.copy(1_000, moved=10_000)
    host.copy(1_000, moved=30_000)
    [row] = copy_rates(host.tables()["memory_operations"])
    assert (row.moved_bytes, row.total_ns, row.bytes_per_s, row.best_bytes_per_s) == (40_000, 2_000, 2e10, 3e10)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**6)), min_size=1, max_size=20))
def test_no_best_rate_is_below_the_rate_over_all(copies):
    host = Host()
    for moved, ns in copies:
        host.copy(ns, moved=moved)
    [row] = copy_rates(host.tables()["memory_operations"])
    assert (row.bytes_per_s is None) == (row.best_bytes_per_s is None) == all(ns == 0 for _, ns in copies)
    if all(ns for _, ns in copies):
        assert row.best_bytes_per_s >= row.bytes_per_s * (1 - 1e-12)


@pytest.mark.shared
def test_overlap_of_real_collectives_equals_a_brute_force_count(shared_data):
    from nsightkit.ingest import open_dataset

    dataset = open_dataset([shared_data / "nsys-sqlite" / "rtx3090x2-ddp-nccl.sqlite"])
    for found in timelines_of({name: dataset.arrow(name) for name in ("kernel_launches", "cuda_api_calls")}):
        rows = [r for r in dataset.arrow("kernel_launches").to_pylist() if r["device_id"] == found.device_id]
        spans = [(r["start_ns"], r["start_ns"] + r["duration_ns"], r["kernel_name"].startswith("nccl")) for r in rows]
        edges = sorted({edge for start, end, _ in spans for edge in (start, end)})
        totals = {"both": 0, "comm": 0}
        for left, right in pairwise(edges):
            kinds = {nccl for start, end, nccl in spans if start <= left and end >= right}
            totals["comm"] += (right - left) * (True in kinds)
            totals["both"] += (right - left) * (len(kinds) == 2)
        assert (found.communication_ns, found.overlapped_communication_ns) == (totals["comm"], totals["both"])
