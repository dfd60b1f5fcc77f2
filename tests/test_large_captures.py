"""What keeps large captures small and fast gives the same answers: codes, joins, sweeps in pieces, rows read once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.timeline import Host
from nsightkit import parquet
from nsightkit.analysis import arrays
from nsightkit.analysis.ranges import launch_join
from nsightkit.analysis.ranges.launch_join import join_launches
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.ranges.range_summary import summarize_ranges
from nsightkit.analysis.timeline import intervals
from nsightkit.analysis.work.operations import by_capture, condensed
from nsightkit.ingest import dataset
from nsightkit.run import Capture, Run, RunInfo
from nsightkit.tables import KERNEL_LAUNCHES

SMALL = st.lists(st.integers(-3, 5), max_size=60)
WIDE = st.lists(st.integers(-(2**40), 2**40), max_size=60)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    for module in (arrays, launch_join, intervals):
        monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr(arrays, "_FEW", 12)
    monkeypatch.setattr(arrays, "_VERY_FEW", 3)


@given(SMALL | WIDE)
def test_codes_point_at_the_distinct_values(values):
    given_ = np.array(values, np.int64)
    codes, found = arrays.dense(given_)
    assert found.tolist() == arrays.distinct(given_) == sorted(set(values))
    assert found[codes].tolist() == values


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 40)), max_size=60))
def test_pairs_have_one_code_each(pairs):
    first, second = (np.array([pair[at] for pair in pairs], np.int32) for at in (0, 1))
    codes, rows = arrays.combined(first, second)
    assert [pairs[rows[code]] for code in codes.tolist()] == pairs
    assert len(rows) == len(set(pairs))


@given(st.lists(st.integers(-1, 40), max_size=60))
def test_rows_by_lane_keep_their_order(lanes):
    rows, bounds = arrays.by_lane(np.array(lanes, np.int32))
    for lane in range(bounds.size - 1):
        assert rows[bounds[lane] : bounds[lane + 1]].tolist() == [row for row, one in enumerate(lanes) if one == lane]
    assert rows.size == sum(lane >= 0 for lane in lanes)


@given(st.lists(st.integers(0, 40), max_size=60), st.sampled_from([41, 10_000]))
def test_codes_are_numbered_without_gaps(codes, limit):
    numbers, found = arrays.renumbered(np.array(codes, np.int32), limit)
    assert found.tolist() == sorted(set(codes))
    assert found[numbers].tolist() == codes


@given(st.lists(st.tuples(st.sampled_from([5, 9, 2**40]), st.integers(-2, 20)), max_size=60))
def test_a_lane_is_a_thread_of_a_process(pairs):
    code, processes, threads = arrays.lanes(*(np.array([pair[at] for pair in pairs], np.int64) for at in (0, 1)))
    assert list(zip(processes.tolist(), threads.tolist(), strict=True)) == sorted(set(pairs))
    assert list(zip(processes[code].tolist(), threads[code].tolist(), strict=True)) == pairs


@given(st.lists(st.integers(-1, 4), max_size=60))
def test_what_is_looked_up_is_what_lies_there(places):
    values = np.array([10, 20, 30, 40, 50], np.int64)
    assert arrays.looked_up(values, np.array(places, np.int32)).tolist() == [values[place] for place in places]


@given(st.lists(st.sampled_from([0, -5, 2**31 - 1, -(2**31), 2**31, -(2**31) - 1]), max_size=40))
def test_numbers_are_narrow_where_all_fit(values):
    found = arrays.narrowest(np.array(values, np.int64))
    assert found.tolist() == values
    assert (found.dtype == np.int32) == all(-(2**31) <= value < 2**31 for value in values)


IDS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([-1, 0, 1, 2, 3, 10**6, 2**31])), max_size=40)


@given(IDS, IDS)
def test_the_join_is_by_process_and_id(work, calls):
    columns = [np.array([row[at] for row in rows], np.int64) for rows in (work, calls) for at in (0, 1)]
    last = {key: row for row, key in enumerate(calls) if key[1] >= 0}
    lane, lane_process = arrays.dense(columns[2])
    found = join_launches((columns[0], columns[1]), (lane, columns[3]), lane_process)
    assert found.tolist() == [last.get(key, -1) for key in work]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=60))
def test_a_sweep_in_pieces_is_the_sweep(spans):
    starts = np.array([start for start, _ in spans], np.int64)
    ends = starts + np.array([length for _, length in spans], np.int64)
    levels = [sum(start <= moment < end for start, end in zip(starts, ends, strict=True)) for moment in range(60)]
    found = intervals.union(starts, ends)
    pieces = zip(found.start_ns.tolist(), found.end_ns.tolist(), strict=True)
    covered = {moment for start, end in pieces for moment in range(start, end)}
    assert covered == {moment for moment, level in enumerate(levels) if level}
    assert (found.start_ns[1:] > found.end_ns[:-1]).all()
    counts = {level: levels.count(level) for level in set(levels) - {0}}
    assert intervals.depth_profile(starts, ends) == counts


def test_a_capture_without_its_rows_gives_the_same_ranges():
    host = Host()
    host.push("step")
    host.launch(9_000)
    host.pop()
    host.launch(20_000, name="outside")
    [whole] = by_capture(host.tables())
    small = condensed(whole)
    assert (small.kernel_launches.num_rows, small.cuda_api_calls.num_rows) == (0, 0)
    assert summarize_ranges([attribute(small)]) == summarize_ranges([attribute(whole)])
    assert condensed(small) is small


def test_columns_of_a_large_stored_table_are_read_anew_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "_MOST_KEPT_ROWS", 1)
    run = Run(tmp_path)
    rows = {"kernel_name": ["a", "b"], "start_ns": [1, 5], "duration_ns": [2, 3]}
    count = parquet.write_table(run.table_path("kernel_launches", "c"), KERNEL_LAUNCHES, rows, {"capture_id": "c"})
    run.write_info(RunInfo(name="r", captures=(Capture("c", "nsys", None, row_counts={"kernel_launches": count}),)))
    found = dataset.open_dataset([tmp_path])
    part = found.arrow("kernel_launches", ("kernel_name", "duration_ns"))
    assert part.to_pydict() == {"kernel_name": ["a", "b"], "duration_ns": [2, 3]}
    assert found._arrow == {}
    assert found.take("kernel_launches").num_rows == 2
    assert found._arrow == {}
