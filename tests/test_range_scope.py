"""What belongs to a range: GPU work by its launch, everything of the host by lying inside on the same thread."""

import random

import pytest

from builders.timeline import Host, table_of
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.ranges.range_scope import rows_inside, tables_inside
from nsightkit.analysis.ranges.range_summary import RangeOptions, summarize_ranges
from nsightkit.analysis.work.operations import by_capture


def captured(host):
    [tables] = by_capture(host.tables())
    return tables, attribute(tables)


def test_work_goes_by_its_launch_and_calls_by_time():
    host = Host()
    host.launch(10_000_000, "before")
    host.push("step")
    host.launch(100, "queued")
    host.copy(50, blocking=False)
    host.pop()
    host.launch(70, "after")
    tables, attribution = captured(host)
    part = tables_inside(tables, attribution, "step")
    assert part.kernel_launches["kernel_name"].to_pylist() == ["queued"]
    assert part.memory_operations["duration_ns"].to_pylist() == [50]
    assert part.cuda_api_calls["name"].to_pylist() == ["cudaLaunchKernel_v7000", "cudaMemcpyAsync_v3020"]
    assert part.nvtx_ranges["name"].to_pylist() == ["step"]
    nothing = tables_inside(tables, attribution, "other")
    assert [nothing.kernel_launches.num_rows, nothing.cuda_api_calls.num_rows] == [0, 0]


@pytest.mark.parametrize("seed", range(40))
def test_rows_inside_against_brute_force(seed):
    rng = random.Random(seed)

    def interval(**more):
        start = rng.randrange(60)
        return {"capture_id": "c", "start_ns": start, "duration_ns": rng.choice([0, 1, 5, 20, 60]),
                "process_id": rng.choice([1, 2]) << 24, "thread_id": rng.choice([7, 8]), **more}  # fmt: skip

    ranges = [interval(name=rng.choice(["in", "out"]), kind="push_pop", domain=None, end_thread_id=None)
              for _ in range(rng.randrange(1, 12))]  # fmt: skip
    rows = [interval(name=str(number), correlation_id=number) for number in range(30)]
    [tables] = by_capture({"nvtx_ranges": table_of(ranges), "cuda_api_calls": table_of(rows)})
    found = rows_inside(tables.cuda_api_calls, attribute(tables), "in")["name"].to_pylist()

    def within(row, other):
        same = all(row[key] == other[key] for key in ("process_id", "thread_id"))
        ends = [one["start_ns"] + one["duration_ns"] for one in (row, other)]
        return same and other["start_ns"] <= row["start_ns"] and ends[0] <= ends[1]

    wanted = [r for r in ranges if r["name"] == "in"]
    assert found == [row["name"] for row in rows if any(within(row, other) for other in wanted)]


def nested_namesakes():
    """Return f > g > f > f, each of which launches one kernel."""
    host = Host()
    for name, ns in (("f", 10_000), ("g", 5_000), ("f", 2_000), ("f", 1_000)):
        host.push(name)
        host.launch(ns)
    for _ in range(4):
        host.pop()
    return attribute(next(by_capture(host.tables())))


def test_a_name_that_nests_counts_its_time_once():
    found = nested_namesakes()
    rows = {row.name: row for row in summarize_ranges([found]).rows}
    assert (rows["f"].gpu_ns, rows["f"].own_ns, rows["f"].operation_count) == (18_000, 13_000, 4)
    # Three instances, but the CPU was inside f only as long as inside the outermost.
    assert rows["f"].instance_count == 3
    assert rows["f"].range_ns == int((found.spans.end_ns - found.spans.start_ns).max())


def test_a_namesake_around_the_scope_takes_nothing_from_it():
    found = nested_namesakes()
    rows = {row.name: row for row in summarize_ranges([found], RangeOptions(within="g")).rows}
    assert {name: (row.gpu_ns, row.instance_count) for name, row in rows.items()} == {
        "g": (8_000, 1),
        "f": (3_000, 2),
    }
    assert 0 < rows["f"].range_ns < rows["g"].range_ns
