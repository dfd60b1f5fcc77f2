"""NVIDIA's summaries of ranges and launches: the same rows as `nsys stats` printed."""

import csv

import pytest

from builders.timeline import Host, tables_of
from nsightkit.analysis.ranges.nsys_reports import (
    cuda_kern_exec_sum,
    nsys_view,
    nvtx_gpu_proj_sum,
    nvtx_kern_sum,
    plain_call_name,
)
from nsightkit.analysis.work.operations import by_capture

WITH_RANGES = (
    "a100-resnet50", "gh200-jacobi", "rtx3090x2-ddp-nccl", "rtx4060ti-llama3-demo", "t4-power-iteration-nvtx",
    "two-gpu-no-gpu-info",
)  # fmt: skip
CAPTURES = (
    *WITH_RANGES, "rtx3090-cluster-columns", "rtx3090-gaussian-8k", "rtx4060ti-2026", "rtx5070ti-laptop-windows",
    "rtx6000-oldest-schema", "t4-one-kernel",
)  # fmt: skip
_STATISTICS = (("mean", "Avg"), ("median", "Med"), ("min", "Min"), ("max", "Max"), ("std", "StdDev"))


def view_of(tables):
    [capture] = by_capture(tables)
    return nsys_view(capture)


def expected(shared_data, name, report):
    with (shared_data / "expected" / "nsys-stats" / name / f"{report}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def real_view(shared_data, name):
    from nsightkit.ingest import open_dataset

    dataset = open_dataset([shared_data / "nsys-sqlite" / f"{name}.sqlite"])
    tables = ("kernel_launches", "cuda_api_calls", "memory_operations", "nvtx_ranges")
    return view_of({table: dataset.arrow(table) for table in tables if dataset.has(table)})


def agree(found, printed):
    """Integers to the last digit; what nsys rounds to one decimal, to that."""
    if printed == "":
        return found is None
    return abs(found - float(printed)) <= (0.051 if "." in printed else 0)


def statistics_agree(row, line, prefix, head):
    return all(agree(row[f"{prefix}{ours}_ns"], line[f"{head}{theirs} (ns)"]) for ours, theirs in _STATISTICS)


@pytest.mark.shared
@pytest.mark.parametrize("name", WITH_RANGES)
def test_projection_equals_nsys(shared_data, name):
    lines = expected(shared_data, name, "nvtx_gpu_proj_sum")
    rows = {(row["range"], row["style"]): row for row in nvtx_gpu_proj_sum(real_view(shared_data, name))}
    assert len(rows) == len(lines)
    columns = (
        ("total_proj_ns", "Total Proj Time (ns)"), ("total_range_ns", "Total Range Time (ns)"),
        ("range_instances", "Range Instances"), ("total_gpu_ops", "Total GPU Ops"), ("avg_gpu_ops", "Avg GPU Ops"),
        ("avg_range_lvl", "Avg Range Lvl"), ("avg_num_child", "Avg Num Child"),
    )  # fmt: skip
    for line in lines:
        row = rows[line["Range"], line["Style"]]
        assert all(agree(row[ours], line[theirs]) for ours, theirs in columns), line
        assert statistics_agree(row, line, "proj_", "Proj "), line


@pytest.mark.shared
@pytest.mark.parametrize("name", WITH_RANGES)
def test_kernels_by_range_equal_nsys(shared_data, name):
    lines = expected(shared_data, name, "nvtx_kern_sum")
    view = real_view(shared_data, name)
    keys = ("nvtx_range", "style", "pid", "tid", "kernel_name")
    rows = {tuple("" if row[k] is None else str(row[k]) for k in keys): row for row in nvtx_kern_sum(view)}
    assert len(rows) == len(lines)
    for line in lines:
        row = rows[line["NVTX Range"], line["Style"], line["PID"], line["TID"], line["Kernel Name"]]
        counts = (("nvtx_inst", "NVTX Inst"), ("kern_inst", "Kern Inst"), ("total_ns", "Total Time (ns)"))
        assert all(agree(row[ours], line[theirs]) for ours, theirs in counts), line
        assert statistics_agree(row, line, "", ""), line


@pytest.mark.shared
@pytest.mark.parametrize("name", CAPTURES)
def test_launches_equal_nsys(shared_data, name):
    lines = expected(shared_data, name, "cuda_kern_exec_sum")
    found = cuda_kern_exec_sum(real_view(shared_data, name))
    keys = ("pid", "tid", "device_id", "api_name", "kernel_name")
    rows = {tuple(str(row[k]) for k in keys): row for row in found}
    assert len(rows) == len(lines)
    for line in lines:
        row = rows[line["PID"], line["TID"], line["DevId"], line["API Name"], line["Kernel Name"]]
        assert (row["count"], row["qcount"]) == (int(line["Count"]), int(line["QCount"])), line
        assert all(statistics_agree(row, line, f"{p}_", p.upper()) for p in "taqk"), line


@pytest.mark.shared
def test_kernels_are_joined_by_process_too(shared_data):
    found = cuda_kern_exec_sum(real_view(shared_data, "rtx3090x2-ddp-nccl"))
    assert sum(row["count"] for row in found) == 4652  # 5397 by correlation id alone


def test_nested_namesakes_count_their_time_twice_and_their_kernels_once():
    host = Host()
    host.push("f")
    host.push("f")
    host.launch(100)
    host.pop()
    host.pop()
    view = view_of(host.tables())
    [row] = nvtx_kern_sum(view)
    assert (row["nvtx_inst"], row["kern_inst"], row["total_ns"]) == (2, 1, 200)
    [row] = nvtx_gpu_proj_sum(view)
    assert (row["range_instances"], row["total_proj_ns"], row["avg_range_lvl"], row["avg_num_child"]) == (
        2,
        200,
        0.5,
        0.5,
    )


def test_a_graph_launch_is_one_operation_of_its_range():
    host = Host()
    host.push("decode")
    host.launch(100, count=20)
    host.pop()
    [row] = nvtx_gpu_proj_sum(view_of(host.tables()))
    assert row["total_gpu_ops"] == 1


def test_start_end_ranges_count_if_no_thread_is_recorded_for_their_end():
    host = Host()
    for name, thread in (("kept", None), ("left out", host.thread)):
        host.push(name)
        host.ranges[-1] |= {"kind": "start_end", "end_thread_id": thread}
    host.launch(100)
    host.pop()
    host.pop()
    assert [(row["range"], row["style"]) for row in nvtx_gpu_proj_sum(view_of(host.tables()))] == [("kept", "StartEnd")]


def test_crossing_ranges_own_a_launch_together():
    host = Host()
    rows = [("a", 10, 20), ("b", 20, 20)]
    ranges = [{"capture_id": "c", "name": n, "domain": None, "kind": "push_pop", "start_ns": s, "duration_ns": d,
               "process_id": host.process, "thread_id": host.thread, "end_thread_id": None}
              for n, s, d in rows]  # fmt: skip
    host.now = 25
    host.launch(100)
    host.calls[0]["duration_ns"] = 2
    found = nvtx_kern_sum(view_of(tables_of(host.kernels, host.calls, ranges=ranges)))
    assert [(row["nvtx_range"], row["kern_inst"]) for row in found] == [("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("cudaLaunchKernel_v7000", "cudaLaunchKernel"),
        ("cudaLaunchKernelExC_v11060", "cudaLaunchKernelExC_v11060"),
        ("a", "a"),
    ],
)
def test_calls_lose_a_version_of_four_digits_only(name, plain):
    assert plain_call_name(name) == plain


def test_nothing_gives_no_rows():
    host = Host()
    host.push("a")
    host.pop()
    view = view_of(host.tables())
    assert nvtx_gpu_proj_sum(view) == nvtx_kern_sum(view) == cuda_kern_exec_sum(view) == []
