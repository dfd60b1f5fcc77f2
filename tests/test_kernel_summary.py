"""Kernels by time: exact sums and medians, equal to NVIDIA's own answers."""

import csv
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit import parquet
from nsightkit.analysis import durations
from nsightkit.analysis.kernel_names import describe_kernel
from nsightkit.analysis.kernel_summary import kernels_from_counters, kernels_from_sums, summarize_kernels
from nsightkit.ingest import open_dataset
from nsightkit.tables import KERNEL_LAUNCHES


def launches(*rows: tuple[str, int | None]) -> pa.Table:
    columns = {"kernel_name": [n for n, _ in rows], "start_ns": [0] * len(rows), "duration_ns": [d for _, d in rows]}
    return parquet.with_capture_id(KERNEL_LAUNCHES, columns, "c")


def test_one_kernel_in_numbers() -> None:
    gemm, copy = summarize_kernels(launches(("copy", 50), ("gemm", 100), ("gemm", 400), ("gemm", 250)), tokens=5)
    assert (gemm.kernel_name, gemm.launch_count, gemm.total_ns, gemm.min_ns, gemm.max_ns) == ("gemm", 3, 750, 100, 400)
    assert gemm.share == 750 / 800
    assert (gemm.mean_ns, gemm.median_ns, gemm.std_ns, gemm.per_token_ns) == (250.0, 250.0, 150.0, 150.0)
    assert gemm.p95_ns == pytest.approx(385.0)
    assert (copy.std_ns, copy.p95_ns, copy.median_ns) == (None, 50.0, 50.0)


def test_no_tokens_no_time_per_token() -> None:
    assert summarize_kernels(launches(("k", 1)))[0].per_token_ns is None


def test_launches_without_an_end_are_left_out() -> None:
    (kernel,) = summarize_kernels(launches(("k", 5), ("k", None), ("never ended", None)))
    assert (kernel.launch_count, kernel.total_ns) == (1, 5)
    assert summarize_kernels(launches()) == []
    assert summarize_kernels(launches(("k", None))) == []


def test_full_names_are_kept_apart_and_described() -> None:
    names = ["ncclDevKernel_AllReduce_Sum_bf16_RING_LL(A)", "ncclDevKernel_AllReduce_Sum_f32_RING_LL(A)"]
    found = summarize_kernels(launches((names[0], 9), (names[1], 8)))
    assert [kernel.kernel_name for kernel in found] == names
    said = describe_kernel(names[0])
    assert (found[0].friendly_name, found[0].family, found[0].library) == (said.friendly, said.family, said.library)
    assert found[0].library == "NCCL"


def test_equal_totals_are_ordered_by_count_then_name() -> None:
    found = summarize_kernels(launches(("b", 4), ("a", 4), ("c", 2), ("c", 2)))
    assert [kernel.kernel_name for kernel in found] == ["a", "b", "c"]


def test_chunks_with_their_own_dictionaries_are_one() -> None:
    table = pa.concat_tables([launches(("a", 1), ("b", 2)), launches(("b", 4)), launches(("c", 1), ("a", 1))])
    assert {k.kernel_name: (k.launch_count, k.total_ns) for k in summarize_kernels(table)} == {
        "a": (2, 2), "b": (2, 6), "c": (1, 1),
    }  # fmt: skip
    assert {k.kernel_name: k.total_ns for k in summarize_kernels(table.slice(1, 3))} == {"b": 6, "c": 1}


_ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "a<b>|c*", "\x1b[31m"]), st.integers(0, 2**40)), min_size=1, max_size=40
)


@given(_ROWS)
def test_statistics_are_those_of_the_textbook(rows: list[tuple[str, int]]) -> None:
    found = summarize_kernels(launches(*rows))
    assert sum(kernel.total_ns for kernel in found) == sum(duration for _, duration in rows)
    assert [kernel.total_ns for kernel in found] == sorted((k.total_ns for k in found), reverse=True)
    for kernel in found:
        values = [duration for name, duration in rows if name == kernel.kernel_name]
        assert kernel.total_ns == sum(values)
        assert (kernel.min_ns, kernel.max_ns, kernel.launch_count) == (min(values), max(values), len(values))
        assert kernel.median_ns == pytest.approx(statistics.median(values), abs=1e-6)
        assert kernel.p95_ns == pytest.approx(float(np.percentile(values, 95)), abs=1e-3)
        if len(values) > 1:
            assert kernel.std_ns == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-6)


@given(st.lists(st.integers(-(2**62), 2**62 - 1), min_size=1, max_size=30), st.integers(1, 4))
def test_huge_values_are_sorted_all_the_same(values: list[int], groups: int) -> None:
    codes = np.arange(len(values)) % min(groups, len(values))
    ordered = durations._sorted_within(codes, np.array(values, np.int64), int(codes.max()) + 1)
    assert ordered.tolist() == [
        v for g in range(int(codes.max()) + 1) for v in sorted(np.array(values)[codes == g].tolist())
    ]


SUM = {"report": "cuda_gpu_kern_sum", "name": "k", "instance_count": 2, "total_ns": 30, "mean_ns": 15.0,
       "median_ns": 14.0, "min_ns": 10, "max_ns": 20, "std_ns": 7.1, "capture_id": "c"}  # fmt: skip


def test_printed_sums_have_no_percentile() -> None:
    (kernel,) = kernels_from_sums([SUM], tokens=3)
    assert (kernel.launch_count, kernel.total_ns, kernel.p95_ns, kernel.std_ns) == (2, 30, None, 7.1)
    assert (kernel.share, kernel.per_token_ns) == (1.0, 10.0)


def test_a_report_by_geometry_is_not_counted_twice() -> None:
    by_geometry = SUM | {"report": "cuda_gpu_kern_gb_sum"}
    assert kernels_from_sums([by_geometry, SUM, by_geometry])[0].total_ns == 30
    added = kernels_from_sums([by_geometry, by_geometry | {"median_ns": 20.0, "min_ns": 5}])
    assert (added[0].total_ns, added[0].launch_count, added[0].std_ns, added[0].min_ns) == (60, 4, None, 5)
    assert added[0].median_ns == 17.0


def test_other_reports_are_no_kernels() -> None:
    assert kernels_from_sums([SUM | {"report": "cuda_api_sum"}]) == []


def test_profiled_launches_without_duration_are_left_out() -> None:
    rows: list[dict[str, Any]] = [
        {"kernel_name": "a", "duration_ns": 10.0}, {"kernel_name": "a", "duration_ns": 20.4},
        {"kernel_name": "failed", "duration_ns": None}, {"kernel_name": "b", "duration_ns": 50.0},
    ]  # fmt: skip
    first, second = kernels_from_counters(rows)
    assert (first.kernel_name, first.total_ns, second.total_ns, second.launch_count) == ("b", 50, 30, 2)
    assert kernels_from_counters(rows[2:3]) == []


def answers(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["Name"]: row for row in csv.DictReader(file)}


@pytest.mark.shared
def test_kernels_equal_nvidias_answers(shared_data: Path) -> None:
    compared = 0
    for folder in sorted((shared_data / "expected" / "nsys-stats").iterdir()):
        if not (folder / "cuda_gpu_kern_sum.csv").is_file():
            continue
        expected = answers(folder / "cuda_gpu_kern_sum.csv")
        dataset = open_dataset([shared_data / "nsys-sqlite" / f"{folder.name}.sqlite"])
        found = summarize_kernels(dataset.arrow("kernel_launches"))
        assert {kernel.kernel_name for kernel in found} == set(expected)
        for kernel in found:
            row = expected[kernel.kernel_name]
            exact = [int(row[c]) for c in ("Instances", "Total Time (ns)", "Min (ns)", "Max (ns)")]
            assert [kernel.launch_count, kernel.total_ns, kernel.min_ns, kernel.max_ns] == exact
            rounded = [float(row[c]) for c in ("Avg (ns)", "Med (ns)", "StdDev (ns)", "Time (%)")]
            ours = [kernel.mean_ns, kernel.median_ns, kernel.std_ns or 0.0, kernel.share * 100]
            assert ours == pytest.approx(rounded, abs=0.0501)
            compared += 1
    assert compared == 141


@pytest.mark.shared
def test_the_decode_stage_of_document_003(shared_data: Path) -> None:
    dataset = open_dataset([shared_data / "seed-runs" / "dsocr-nsys" / "decode.csv"])
    found = kernels_from_sums(dataset.rows("reported_sums"))
    assert [round(kernel.share * 100, 1) for kernel in found[:3]] == [34.4, 14.8, 6.0]
    assert sum(kernel.launch_count for kernel in found) == 78_016
    assert round(sum(kernel.total_ns for kernel in found) / 1e6, 2) == 179.07
