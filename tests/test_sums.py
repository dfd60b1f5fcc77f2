"""API calls, memory operations, ranges and operators summed, equal to NVIDIA's own answers."""

import csv
from pathlib import Path

import pyarrow as pa
import pytest

from nsightkit import parquet
from nsightkit.analysis.results import SumRow
from nsightkit.analysis.sums import (
    summarize_api,
    summarize_memory,
    summarize_memory_sizes,
    summarize_ranges,
    sums_from_report,
)
from nsightkit.analysis.work.operator_summary import summarize_operators
from nsightkit.ingest import open_dataset
from nsightkit.tables import TABLES


def table(name: str, /, **columns: list[object]) -> pa.Table:
    return parquet.with_capture_id(TABLES[name], columns, "c")


def test_api_calls_lose_a_version_of_four_digits() -> None:
    calls = table("cuda_api_calls", name=["cudaLaunchKernel_v7000", "cudaGraphLaunch_v10000", "cudaLaunchKernel_v7000"],
                  start_ns=[0, 1, 2], duration_ns=[10, 5, 30])  # fmt: skip
    assert summarize_api(calls) == [
        SumRow("cudaLaunchKernel", 2, 40, 40 / 45, 20.0, 20.0, 10, 30, pytest.approx(14.142135623)),
        SumRow("cudaGraphLaunch_v10000", 1, 5, 5 / 45, 5.0, 5.0, 5, 5, None),
    ]


def test_memory_operations_by_time_and_by_size() -> None:
    kinds = ["[CUDA memset]", "[CUDA memcpy Host-to-Device]", "[CUDA memset]"]
    times = {"start_ns": [0, 1, 2], "duration_ns": [1, 50, 3]}
    operations = table("memory_operations", operation=kinds, moved_bytes=[64, 10, None], **times)
    assert [(row.name, row.total_ns, row.instance_count) for row in summarize_memory(operations)] == [
        ("[CUDA memcpy Host-to-Device]", 50, 1), ("[CUDA memset]", 4, 2),
    ]  # fmt: skip
    sizes = summarize_memory_sizes(operations)
    assert [(row.name, row.total_bytes, row.instance_count, row.std_bytes) for row in sizes] == [
        ("[CUDA memset]", 64, 1, None), ("[CUDA memcpy Host-to-Device]", 10, 1, None),
    ]  # fmt: skip


RANGES = {
    "name": ["a", "a", "a", "b", None, "m", "note"],
    "domain": [None, "NCCL", None, None, None, None, "torch.profiler"],
    "kind": ["push_pop", "push_pop", "start_end", "push_pop", "push_pop", "mark", "user_annotation"],
    "start_ns": [0, 10, 20, 100, 50, 5000, 60],
    "duration_ns": [100, 20, 30, None, 7, None, 9],
}


def test_ranges_by_domain_name_and_style() -> None:
    found = {(row.name, row.style): row for row in summarize_ranges(table("nvtx_ranges", **RANGES))}
    assert {key: row.total_ns for key, row in found.items()} == {
        ("a", "PushPop"): 100, ("NCCL:a", "PushPop"): 20, ("a", "StartEnd"): 30, ("b", "PushPop"): 4900,
        ("", "PushPop"): 7, ("note", "Annotation"): 9,
    }  # fmt: skip


def test_an_open_range_lasts_until_the_last_time_stamp() -> None:
    ranges = table("nvtx_ranges", name=["open", "closed"], kind=["push_pop"] * 2, start_ns=[10, 20],
                   duration_ns=[None, 500])  # fmt: skip
    assert {row.name: row.total_ns for row in summarize_ranges(ranges)} == {"open": 510, "closed": 500}


def test_one_style_alone_and_no_ranges() -> None:
    pushed = summarize_ranges(table("nvtx_ranges", **RANGES), kinds=("push_pop",))
    assert {row.style for row in pushed} == {"PushPop"}
    assert sum(row.share for row in pushed) == pytest.approx(1.0)
    marks = table("nvtx_ranges", name=["m"], kind=["mark"], start_ns=[1])
    assert summarize_ranges(marks) == []
    assert summarize_api(table("cuda_api_calls")) == []
    assert summarize_memory_sizes(table("memory_operations")) == []


def test_printed_sums_keep_their_numbers() -> None:
    line = {"report": "cuda_api_sum", "name": "cudaMalloc", "instance_count": 1, "total_ns": 7, "mean_ns": 7.0,
            "median_ns": 7.0, "min_ns": 7, "max_ns": 7, "std_ns": 0.0, "style": None}  # fmt: skip
    assert sums_from_report([line], "cuda_api_sum") == [SumRow("cudaMalloc", 1, 7, 1.0, 7.0, 7.0, 7, 7, None)]
    assert sums_from_report([line], "nvtx_sum") == []


def test_operators_by_their_own_time() -> None:
    operators = table("cpu_operators", operator_name=["outer", "inner", "inner", "open"], start_ns=[0, 1, 2, 3],
                      duration_ns=[100, 30, 40, None], self_ns=[30, 30, 40, None])  # fmt: skip
    inner, outer = summarize_operators(operators, tokens=2)
    assert (inner.operator_name, inner.call_count, inner.self_ns, inner.total_ns) == ("inner", 2, 70, 70)
    assert (inner.share, inner.mean_ns, inner.per_token_ns) == (0.7, 35.0, 35.0)
    assert (outer.self_ns, outer.total_ns, outer.share) == (30, 100, 0.3)
    assert summarize_operators(table("cpu_operators")) == []


def _key(row: SumRow, styled: bool) -> tuple[object, ...]:
    style = (row.style,) if styled else ()
    return (row.name, *style, row.total_ns, row.instance_count, row.min_ns, row.max_ns)


def _same(rows: list[SumRow], path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        expected = list(csv.DictReader(file))
    header = list(expected[0])
    name = next(column for column in ("Name", "Operation", "Range") if column in header)
    count = next(column for column in ("Instances", "Num Calls", "Count") if column in header)
    styled = "Style" in header
    exact = [
        (r[name], *((r["Style"],) if styled else ()), int(r["Total Time (ns)"]), int(r[count]), int(r["Min (ns)"]),
         int(r["Max (ns)"]))
        for r in expected
    ]  # fmt: skip
    assert sorted(_key(row, styled) for row in rows) == sorted(exact)
    rounded = sorted(
        (key, [float(r[c]) for c in ("Avg (ns)", "Med (ns)", "StdDev (ns)", "Time (%)")])
        for key, r in zip(exact, expected, strict=True)
    )
    ours = sorted((_key(row, styled), [row.mean_ns, row.median_ns, row.std_ns or 0.0, row.share * 100]) for row in rows)
    for (_, mine), (_, theirs) in zip(ours, rounded, strict=True):
        assert mine == pytest.approx(theirs, abs=0.0501)
    return len(expected)


@pytest.mark.shared
def test_sums_equal_nvidias_answers(shared_data: Path) -> None:
    lines = dict.fromkeys(("cuda_api_sum", "cuda_gpu_mem_time_sum", "nvtx_sum", "nvtx_pushpop_sum"), 0)
    for folder in sorted((shared_data / "expected" / "nsys-stats").iterdir()):
        dataset = open_dataset([shared_data / "nsys-sqlite" / f"{folder.name}.sqlite"])
        found = {
            "cuda_api_sum": lambda d=dataset: summarize_api(d.arrow("cuda_api_calls")),
            "cuda_gpu_mem_time_sum": lambda d=dataset: summarize_memory(d.arrow("memory_operations")),
            "nvtx_sum": lambda d=dataset: summarize_ranges(d.arrow("nvtx_ranges")),
            "nvtx_pushpop_sum": lambda d=dataset: summarize_ranges(d.arrow("nvtx_ranges"), ("push_pop",)),
        }
        for report, rows in found.items():
            if (folder / f"{report}.csv").is_file():
                lines[report] += _same(rows(), folder / f"{report}.csv")
    assert lines == {"cuda_api_sum": 184, "cuda_gpu_mem_time_sum": 26, "nvtx_sum": 18951, "nvtx_pushpop_sum": 18951}


@pytest.mark.shared
def test_sizes_equal_nvidias_answers(shared_data: Path) -> None:
    compared = 0
    for path in sorted((shared_data / "expected" / "nsys-stats").glob("*/cuda_gpu_mem_size_sum.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            expected = {row["Operation"]: row for row in csv.DictReader(file)}
        dataset = open_dataset([shared_data / "nsys-sqlite" / f"{path.parent.name}.sqlite"])
        found = summarize_memory_sizes(dataset.arrow("memory_operations"))
        assert {row.name for row in found} == set(expected)
        for row in found:
            theirs = expected[row.name]
            assert row.instance_count == int(theirs["Count"])
            printed = [float(theirs[f"{c} (MB)"]) for c in ("Total", "Avg", "Med", "Min", "Max", "StdDev")]
            ours = [
                row.total_bytes,
                row.mean_bytes,
                row.median_bytes,
                row.min_bytes,
                row.max_bytes,
                row.std_bytes or 0.0,
            ]
            assert [value / 1e6 for value in ours] == pytest.approx(printed, abs=0.00051)
            compared += 1
    assert compared == 26
