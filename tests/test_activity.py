"""The run at a glance: strips, phases and series hold exactly the time that the tables hold."""

import pyarrow as pa
import pytest

from builders.analysis import make_run
from nsightkit.analysis import AnalysisOptions
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.ranges.phases import OUTSIDE, read_phases
from nsightkit.analysis.story import tell
from nsightkit.analysis.timeline.activity import BINS, MOST_POINTS, read_activity
from nsightkit.analysis.work.operations import CaptureTables, empty_table
from nsightkit.parquet import conform
from nsightkit.tables import CUDA_API_CALLS, KERNEL_LAUNCHES, MEMORY_OPERATIONS, NVTX_RANGES


def rows(table, **columns):
    count = len(next(iter(columns.values())))
    data = {"capture_id": ["c"] * count, **columns}
    return conform(table, data)


def capture(kernels, ranges=()):
    """Kernels are (name, launch call start, start, duration); ranges are (name, start, duration); one thread."""
    count = len(kernels)
    launches = rows(
        KERNEL_LAUNCHES, kernel_name=[k[0] for k in kernels], start_ns=[k[2] for k in kernels],
        duration_ns=[k[3] for k in kernels], device_id=[0] * count, stream_id=[7] * count, process_id=[1] * count,
        correlation_id=list(range(count)),
    )  # fmt: skip
    calls = rows(
        CUDA_API_CALLS, name=["cudaLaunchKernel"] * count, start_ns=[k[1] for k in kernels], duration_ns=[1] * count,
        process_id=[1] * count, thread_id=[1] * count, correlation_id=list(range(count)),
    )  # fmt: skip
    marked = empty_table(NVTX_RANGES)
    if ranges:
        marked = rows(
            NVTX_RANGES, name=[r[0] for r in ranges], kind=["push_pop"] * len(ranges), start_ns=[r[1] for r in ranges],
            duration_ns=[r[2] for r in ranges], process_id=[1] * len(ranges), thread_id=[1] * len(ranges),
        )  # fmt: skip
    return CaptureTables("c", launches, calls, empty_table(MEMORY_OPERATIONS), marked)


ADD = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>(int)"
GEMM = "ampere_sgemm_128x64_tn"


def test_a_strip_holds_the_busy_time():
    found = read_activity(capture([(GEMM, 0, 0, 100), (GEMM, 90, 300, 100)]))
    assert found.span_ns == 400
    (strip,) = found.strips
    assert strip.busy_ns == 200
    assert len(strip.busy) == BINS
    assert sum(strip.busy) / BINS == pytest.approx(0.5, abs=0.02)


def test_chains_are_runs_of_pointwise_kernels_on_one_stream():
    kernels = [(ADD, 0, 0, 10), (ADD, 1, 20, 30), (GEMM, 2, 60, 5), (ADD, 3, 70, 10)]
    chains = read_activity(capture(kernels)).chains
    assert (chains.chain_count, chains.launch_count, chains.total_ns, chains.saved_ns) == (1, 2, 40, 10)


def test_series_keep_extremes_however_many_launches():
    kernels = [(GEMM, i, i * 100, 1000 if i == 777 else 50) for i in range(1000)]
    (series,) = read_activity(capture(kernels)).series
    assert (series.launch_count, series.total_ns) == (1000, 999 * 50 + 1000)
    assert len(series.points) <= MOST_POINTS
    assert max(point[3] for point in series.points) == 1000
    assert sum(series.counts) == 1000


def test_nothing_on_the_gpu_is_no_activity():
    nothing = CaptureTables(
        "c", *(empty_table(t) for t in (KERNEL_LAUNCHES, CUDA_API_CALLS, MEMORY_OPERATIONS, NVTX_RANGES))
    )
    assert read_activity(nothing) is None
    assert read_phases(attribute(nothing)) is None


def test_phases_hold_all_gpu_time_and_look_below_a_range_around_everything():
    kernels = [(GEMM, 1, 10, 100), (ADD, 20, 120, 40), (ADD, 60, 200, 10), (GEMM, 95, 300, 50)]
    ranges = [("run", 0, 90), ("prefill", 0, 15), ("decode", 18, 70)]
    found = read_phases(attribute(capture(kernels[:3], ranges)))
    assert found.names == ("prefill", "decode")
    assert sum(map(sum, found.times_ns)) == 150
    assert found.families == ("GEMM", "elementwise")
    assert found.times_ns == ((100, 0), (0, 50))
    assert [(s.start_ns, s.end_ns) for s in found.segments] == [(0, 100), (110, 200)]
    assert found.paths[GEMM] == (("run / prefill", 1.0),)
    outside = read_phases(attribute(capture(kernels, ranges)))
    assert outside.names[-1] == OUTSIDE
    assert sum(map(sum, outside.times_ns)) == 200
    assert outside.paths[GEMM] == (("run / prefill", pytest.approx(100 / 150)),) or len(outside.paths[GEMM]) == 1


class OnlyLaunches:
    """Tables with kernel launches of two captures."""

    def __init__(self, parts):
        self.table = pa.concat_tables(parts).unify_dictionaries()

    def has(self, table):
        return table == "kernel_launches"

    def rows(self, table):
        return self.arrow(table).to_pylist()

    def arrow(self, table, columns=None):
        return self.table if columns is None else self.table.select(list(columns))


def test_two_timelines_have_no_common_story():
    from nsightkit.analysis import analyze_tables

    one = capture([(GEMM, 0, 0, 100), (GEMM, 5, 200, 100)]).kernel_launches
    other = conform(KERNEL_LAUNCHES, {**one.to_pydict(), "capture_id": ["d"] * 2})
    analysis = analyze_tables(OnlyLaunches([one, other]))
    assert analysis.story.activity is None
    assert "each with a clock of its own" in analysis.story.findings.withheld[0].reason
    alone = analyze_tables(OnlyLaunches([one]))
    assert alone.story.activity.span_ns == 300
    assert tell(OnlyLaunches([one]), alone, [], AnalysisOptions()) == alone.story


def test_a_run_on_disk_has_a_story(tmp_path):
    from nsightkit.analysis import analyze_tables
    from nsightkit.ingest.dataset import open_dataset

    make_run(tmp_path / "run")
    story = analyze_tables(open_dataset([tmp_path / "run"])).story
    assert story.activity.kernel_ns == 4500
    assert story.phases is None
    assert story.figures is None
