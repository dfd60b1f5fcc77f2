"""Counts, shares and means per bound, and the histograms: all of them from one list of kernels."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.distributions import HISTOGRAM_METRICS, make_histograms, metric_value, summarize_classes
from nsightkit.analysis.roofs.classification import classify_kernels


def kernels(*values, rule="sol-gap"):
    """Kernels from tuples of (SM %, DRAM %, duration in ns)."""
    rows = [
        {
            "capture_id": "c",
            "kernel_name": f"k{index}",
            "failed": duration is None,
            "duration_ns": duration,
            "sm_throughput_pct": sm,
            "dram_throughput_pct": dram,
        }
        for index, (sm, dram, duration) in enumerate(values)
    ]
    return classify_kernels(rows, rule)


def test_counts_and_times_stand_side_by_side():
    lines = summarize_classes(kernels((50, 10, 800), (10, 50, 100), (20, 60, 100)))
    assert [(c.bound, c.kernel_count, c.total_ns, c.time_share) for c in lines] == [
        ("COMPUTE", 1, 800, 0.8),
        ("MEMORY", 2, 200, 0.2),
        ("OVERALL", 3, 1000, 1.0),
    ]
    assert lines[1].count_share == pytest.approx(2 / 3)
    assert lines[1].means["sm_throughput_pct"] == 15.0
    # Unweighted: every kernel counts alike.
    assert lines[2].means["duration_ns"] == pytest.approx(1000 / 3)
    assert lines[2].means["l2_hit_rate_pct"] is None


def test_failed_and_unknown_kernels_are_counted_too():
    lines = summarize_classes(kernels((50, 10, 800), (None, 50, 200), (None, None, None)))
    assert [(c.bound, c.kernel_count, c.total_ns) for c in lines] == [
        ("COMPUTE", 1, 800),
        ("UNKNOWN", 2, 200),
        ("OVERALL", 3, 1000),
    ]


def test_no_durations_give_no_time_shares():
    lines = summarize_classes(kernels((50, 10, None)))
    assert lines[-1].total_ns is None
    assert lines[-1].time_share is None


def test_no_kernels_give_no_lines():
    assert summarize_classes([]) == []


def test_thirteen_histograms_of_ten_bins():
    histograms = make_histograms(kernels((0, 5, 10), (50, 5, 20), (100, 5, 30)))
    assert len(histograms) == 13
    sm = histograms[0]
    assert (sm.metric, sm.unit) == ("sm_throughput_pct", "%")
    assert len(sm.edges) == 11
    assert sm.edges[0] == 0
    assert sm.edges[-1] == 100
    assert sm.counts == (1, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    # Kernels come longest first: 100 % is kernel 0.
    assert (sm.members[0], sm.members[5], sm.members[9]) == ((2,), (1,), (0,))


def test_one_value_has_a_bin_around_it():
    dram = make_histograms(kernels((0, 5, 10), (50, 5, 20)))[1]
    assert sum(dram.counts) == 2
    assert (dram.edges[0], dram.edges[-1]) == (4.5, 5.5)


def test_a_metric_that_nobody_has_is_missing_everywhere():
    histogram = next(h for h in make_histograms(kernels((1, 2, 3))) if h.metric == "l2_hit_rate_pct")
    assert (histogram.edges, histogram.counts, histogram.missing_count) == ((), (), 1)


def test_nan_is_missing_and_never_binned():
    sm = make_histograms(kernels((math.nan, 5, 10), (50, 5, 20), (60, 5, 30)))[0]
    assert sum(sm.counts) == 2
    assert sm.missing_count == 1


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e9)), max_size=40))
def test_every_kernel_is_in_one_bin_or_missing(values):
    found = kernels(*((value, 1.0, 5.0) for value in values))
    histogram = make_histograms(found)[0]
    binned = [index for members in histogram.members for index in members]
    assert len(binned) == len(set(binned))
    assert len(binned) + histogram.missing_count == len(found)
    assert histogram.counts == tuple(map(len, histogram.members))
    for number, members in enumerate(histogram.members):
        for index in members:
            value = metric_value(found[index], "sm_throughput_pct")
            assert histogram.edges[number] <= value <= histogram.edges[number + 1]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(1, 1e9)), min_size=1, max_size=20))
def test_the_counts_equal_the_labels(values):
    found = kernels(*values)
    lines = {line.bound: line for line in summarize_classes(found)}
    overall = lines.pop("OVERALL")
    assert {bound: line.kernel_count for bound, line in lines.items()} == {
        bound: sum(k.verdict.bound == bound for k in found) for bound in {k.verdict.bound for k in found}
    }
    assert sum(line.kernel_count for line in lines.values()) == overall.kernel_count == len(found)
    assert sum(line.time_share for line in lines.values()) == pytest.approx(1.0)


# --- the raw data of the DeepSeek-OCR kernel study, and the numbers it prints

DSOCR_V2 = {
    "COMPUTE": (4, (36.21, 9.89, 32.23, 31.51, 6.54, 71.93, 137.44)),
    "MEMORY": (9, (9.38, 34.23, 41.20, 43.22, 9.51, 16.40, 9.67)),
    "BALANCED": (7, (12.25, 12.62, 27.52, 39.32, 9.65, 51.97, 39.75)),
    "OVERALL": (20, (15.75, 21.80, 34.62, 39.51, 8.96, 39.95, 45.75)),
}
LONGEST_US = [404.70, 160.74, 111.81, 94.91, 23.42, 18.34, 18.08, 10.34, 9.82, 7.97]


def classified(shared_data, run, rule):
    from nsightkit.ingest import open_dataset

    dataset = open_dataset([shared_data / "seed-runs" / run], {"kernel_counters": None})
    return classify_kernels(dataset.rows("kernel_counters"), rule)


@pytest.mark.shared
def test_deepseek_ocr_study_second_run(shared_data):
    found = classified(shared_data, "dsocr-v2", "sol-gap")
    lines = {line.bound: line for line in summarize_classes(found)}
    assert set(lines) == set(DSOCR_V2)
    for bound, (count, means) in DSOCR_V2.items():
        assert lines[bound].kernel_count == count
        ours = [*list(lines[bound].means.values())[:-1], lines[bound].means["duration_ns"] / 1e3]
        assert [round(value, 2) for value in ours] == list(means), bound
    assert [round(kernel.duration_ns / 1e3, 2) for kernel in found[:10]] == LONGEST_US
    # The document's table calls this kernel memory-bound; its own counts and means do not.
    assert found[8].verdict.rule_verdict == "compute_bound"
    # 45 % of the kernels, a tenth of the time.
    assert lines["MEMORY"].time_share == pytest.approx(0.095, abs=0.001)


@pytest.mark.shared
def test_deepseek_ocr_study_first_run(shared_data):
    found = classified(shared_data, "dsocr-v1", "sol-gap")
    lines = {line.bound: line for line in summarize_classes(found)}
    assert {bound: line.kernel_count for bound, line in lines.items()} == {
        "MEMORY": 8, "BALANCED": 7, "COMPUTE": 3, "OVERALL": 18,
    }  # fmt: skip
    overall = lines["OVERALL"].means
    names = (
        "sm_throughput_pct", "memory_throughput_pct", "achieved_occupancy_pct", "l1_hit_rate_pct", "l2_hit_rate_pct",
    )  # fmt: skip
    assert [round(overall[name], 2) for name in names] == [10.35, 27.35, 30.13, 8.85, 53.48]
    assert round(found[0].duration_ns / 1e3, 2) == 165.09


INTENSITIES = {"0003": 380.6, "0005": 716.1, "0009": 96.5, "0013": 70.8, "0016": 717.6}


@pytest.mark.shared
def test_deepseek_ocr_study_intensities_with_units_read(shared_data):
    found = classified(shared_data, "dsocr-v2", "roofline")
    ours = {k.capture_id[-4:]: k.verdict.inputs.get("flop_per_byte") for k in found}
    assert {name: round(value, 1) for name, value in ours.items() if value} == INTENSITIES
    # The CSV does not name the GPU, so there is no roof for the tensor work and no point.
    assert all(kernel.point is None for kernel in found)


@pytest.mark.shared
def test_deepseek_ocr_study_points_with_the_gpu_named(shared_data):
    from nsightkit.ingest import open_dataset

    dataset = open_dataset([shared_data / "seed-runs" / "dsocr-v2"], {"kernel_counters": None})
    found = classify_kernels(dataset.rows("kernel_counters"), "roofline", gpu="rtx-5090")
    points = {kernel.capture_id[-4:]: kernel.point for kernel in found if kernel.point}
    assert {name: round(point.flop_per_byte, 1) for name, point in points.items()} == INTENSITIES
    assert {name: round(point.flop_per_s / 1e12, 1) for name, point in points.items()} == {
        "0003": 54.4, "0005": 112.1, "0009": 63.4, "0013": 32.5, "0016": 113.4,
    }  # fmt: skip
    assert all(point.precision == "tensor BF16" for point in points.values())
    assert "data sheet (rtx-5090) at the clock of the launch" in points["0016"].roof_source


def test_metrics_of_histograms_are_declared_columns():
    from nsightkit.tables import KERNEL_COUNTERS

    assert {metric.name for metric in HISTOGRAM_METRICS} <= set(KERNEL_COUNTERS.column_names)
