"""The whole analysis: what is there is filled, what is not stays empty, and times are unions, not sums."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis import AnalysisOptions, analyze_tables
from nsightkit.analysis.overview import covered_ns
from nsightkit.analysis.results import Analysis
from nsightkit.errors import AnalysisError, NsightkitError

pa = pytest.importorskip("pyarrow")
np = pytest.importorskip("numpy")


class Given:
    """Tables from plain rows."""

    def __init__(self, **tables):
        self.tables = tables

    def has(self, table):
        return table in self.tables

    def rows(self, table):
        return self.tables[table]

    def arrow(self, table, columns=None):
        whole = pa.Table.from_pylist(self.tables[table])
        for name in ("device_id",):
            whole = whole.set_column(whole.column_names.index(name), name, whole[name].cast(pa.int32()))
        return whole if columns is None else whole.select([n for n in columns if n in whole.column_names])


def launch(start, duration, **known):
    base = {"capture_id": "c", "device_id": 0, "kernel_name": "k", "start_ns": start, "duration_ns": duration}
    return base | known


def copy(start, duration):
    return {
        "capture_id": "c", "device_id": 0, "operation": "[CUDA memset]", "start_ns": start, "duration_ns": duration,
        "moved_bytes": 4,
    }  # fmt: skip


def reported(report, name, total, count=1):
    numbers = dict.fromkeys(("mean_ns", "median_ns", "min_ns", "max_ns", "std_ns", "style"))
    return numbers | {
        "capture_id": "c", "report": report, "name": name, "instance_count": count, "total_ns": total,
        "mean_ns": total / count, "median_ns": total / count, "min_ns": 1, "max_ns": total,
    }  # fmt: skip


def test_nothing_gives_nothing():
    assert analyze_tables(Given()) == Analysis()


def test_a_timeline_is_summed_and_its_busy_time_is_a_union():
    tables = Given(
        kernel_launches=[launch(0, 100), launch(50, 100), launch(400, 100), launch(900, None)],
        memory_operations=[copy(140, 60)],
    )
    analysis = analyze_tables(tables, AnalysisOptions(tokens=2))
    (kernel,) = analysis.top_kernels
    assert (kernel.kernel_name, kernel.launch_count, kernel.total_ns, kernel.per_token_ns) == ("k", 3, 300, 150)
    assert (analysis.span_ns, analysis.busy_ns) == (500, 300)
    assert analysis.memory_operations[0].total_ns == 60
    assert analysis.kernels == ()
    assert analysis.histograms == ()


def test_printed_sums_stand_in_for_launches():
    tables = Given(
        reported_sums=[
            reported("cuda_gpu_kern_sum", "k", 300, 3),
            reported("cuda_api_sum", "cudaLaunchKernel", 30),
            reported("cuda_gpu_mem_time_sum", "[CUDA memset]", 5),
            reported("nvtx_pushpop_sum", "step", 500),
        ]
    )
    analysis = analyze_tables(tables)
    assert analysis.top_kernels[0].total_ns == 300
    assert analysis.top_kernels[0].p95_ns is None
    assert [row.name for row in (*analysis.api_calls, *analysis.memory_operations, *analysis.ranges)] == [
        "cudaLaunchKernel", "[CUDA memset]", "step",
    ]  # fmt: skip
    assert analysis.span_ns is None


def test_several_gpus_have_a_span_but_no_busy_time():
    analysis = analyze_tables(Given(kernel_launches=[launch(0, 10), launch(5, 10, device_id=1)]))
    assert (analysis.span_ns, analysis.busy_ns) == (15, None)
    assert "2 GPUs" in analysis.notes[0]


def test_several_captures_have_no_common_clock():
    analysis = analyze_tables(Given(kernel_launches=[launch(0, 10), launch(5, 10, capture_id="d")]))
    assert (analysis.span_ns, analysis.busy_ns) == (None, None)
    assert "no common clock" in analysis.notes[0]


def test_counters_are_classified_by_the_rule_that_was_asked_for():
    counters = [
        {"capture_id": "c", "kernel_name": "k", "failed": False, "duration_ns": 5.0, "sm_throughput_pct": 50.0,
         "dram_throughput_pct": 20.0},
    ]  # fmt: skip
    analysis = analyze_tables(Given(kernel_counters=counters), AnalysisOptions(rule="sol-gap", margin=29.0))
    assert analysis.kernels[0].verdict.bound == "COMPUTE"
    assert [line.bound for line in analysis.classes] == ["COMPUTE", "OVERALL"]
    assert len(analysis.histograms) == 13
    assert (analysis.rule, analysis.margin) == ("sol-gap", 29.0)


def test_wrong_options_are_said():
    with pytest.raises(AnalysisError):
        analyze_tables(Given(), AnalysisOptions(rule="none such"))
    with pytest.raises(NsightkitError) as caught:
        analyze_tables(Given(), AnalysisOptions(gpu="rtx-9090"))
    assert caught.value.slug == "unknown-gpu"


intervals = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), min_size=1, max_size=12)


@given(intervals)
def test_covered_time_equals_counting_every_nanosecond(pairs):
    starts = np.array([start for start, _ in pairs])
    ends = np.array([start + length for start, length in pairs])
    covered = {moment for start, length in pairs for moment in range(start, start + length)}
    assert covered_ns(starts, ends) == len(covered)


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["nsys-sqlite", "nsys-stats", "torch-trace", "ncu-csv", "ncu-rep"])
def test_every_real_capture_is_analyzed(shared_data, folder):
    from nsightkit.ingest import open_dataset

    for path in sorted((shared_data / folder).iterdir()):
        analysis = analyze_tables(open_dataset([path]))
        assert sum(line.kernel_count for line in analysis.classes if line.bound != "OVERALL") == len(analysis.kernels)
        if analysis.busy_ns is not None:
            assert 0 < analysis.busy_ns <= analysis.span_ns
