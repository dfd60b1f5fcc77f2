"""The command top: what it lists, what it says beside, and how it ends."""

import csv
import gzip
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builders.nsys import BUSY, Call, Capture, Graph, Kernel, Range, write_sqlite
from nsightkit.analysis.results import KernelSummary
from nsightkit.analysis.work import work_groups
from nsightkit.cli import cli, work_listing


def top(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["top", *map(str, arguments)])


def rows(*arguments: object) -> list[dict[str, Any]]:
    result = top(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    return write_sqlite(tmp_path / "busy.sqlite", BUSY)


def test_json_has_the_fields_of_the_record(busy: Path) -> None:
    found = rows(busy)
    assert list(found[0]) == list(KernelSummary.__dataclass_fields__)
    assert [(r["kernel_name"], r["launch_count"], r["total_ns"]) for r in found] == [
        ("void gemm<float>(int)", 3, 1500), ("copy<a|b>(char*)", 2, 20),
    ]  # fmt: skip
    assert found[0]["per_token_ns"] is None
    assert rows(busy, "--tokens", 10)[0]["per_token_ns"] == 150.0


def test_programs_get_all_rows_unless_they_ask_for_fewer(tmp_path: Path) -> None:
    kernels = tuple(Kernel(f"k{at}", 100 * at, 100 * at + 50) for at in range(33))
    path = write_sqlite(tmp_path / "many.sqlite", Capture(kernels))
    for by in ("kernel", "range,kernel"):
        assert len(rows(path, "--by", by)) == 33
        assert len(rows(path, "--by", by, "--limit", 5)) == 5
        assert len(top(path, "--by", by).stdout.splitlines()) == 4 + 20


def test_limit_and_the_share_that_is_hidden(busy: Path) -> None:
    assert len(rows(busy, "--limit", 1)) == 1
    assert len(rows(busy, "--limit", 0)) == 2
    text = top(busy, "--limit", 1).stdout
    assert "1 more rows with 1.3 % of the time are not shown (--limit 0 shows all)" in text
    assert "busy: nsys 2025.1.2.3, whole capture; NVIDIA Test; clock as the GPU ran" in text


@pytest.mark.parametrize(
    ("by", "name", "count", "total"),
    [
        ("api", "cudaLaunchKernel", 3, 140),
        ("memory", "[CUDA memcpy Host-to-Device]", 2, 70),
        ("nvtx", "decode", 1, 3300),
    ],
)
def test_other_lists(busy: Path, by: str, name: str, count: int, total: int) -> None:
    found = {row["name"]: row for row in rows(busy, "--by", by)}
    assert (found[name]["instance_count"], found[name]["total_ns"]) == (count, total)


def test_memory_says_the_bytes_and_ranges_their_domain(busy: Path) -> None:
    assert rows(busy, "--by", "memory")[0]["total_bytes"] == 4000
    names = {row["name"] for row in rows(busy, "--by", "nvtx")}
    assert names == {"decode", "step", "work:inner", "request", "still open"}


def test_no_kernels_is_said_with_the_reason(tmp_path: Path) -> None:
    result = top(write_sqlite(tmp_path / "n.sqlite", Capture(graph_launches=4)), "--format", "json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
    assert "no GPU kernels in n.sqlite" in result.stderr
    assert "4 graph launches were traced as a whole" in result.stderr


def test_no_operators_in_an_nsys_capture(busy: Path) -> None:
    result = top(busy, "--by", "operator", "--format", "json")
    assert (result.exit_code, result.stdout) == (0, "[]\n")
    assert "only torch.profiler traces have them" in result.stderr


def test_a_bad_input_is_listed_and_the_good_one_shown(busy: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.sqlite"
    bad.write_text("text")
    result = top(bad, busy, "--format", "json")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)) == 2
    assert f"Error: {bad}: not a capture" in result.stderr


def test_hostile_names_do_no_harm(tmp_path: Path) -> None:
    names = ["\x1b[31mred<script>|a", "two\nlines", "x" * 10_000]
    kernels = tuple(Kernel(name, i * 100, i * 100 + 50 - i) for i, name in enumerate(names))
    path = write_sqlite(tmp_path / "h.sqlite", Capture(kernels=kernels))
    assert [row["kernel_name"] for row in rows(path)] == names
    for format_ in ("table", "markdown"):
        assert "\x1b" not in top(path, "--format", format_).stdout
    table = csv.DictReader(io.StringIO(top(path, "--format", "csv").stdout))
    assert [row["kernel_name"] for row in table] == names


def test_printed_sums_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    header = "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name"
    path.write_text(f"{header}\n100.0,600,3,200.0,150.0,100,350,130.5,gemm\n")
    (row,) = rows(path)
    assert (row["kernel_name"], row["launch_count"], row["total_ns"], row["p95_ns"]) == ("gemm", 3, 600, None)
    assert "only printed sums are known" in top(path).stderr


def test_a_trace_without_kernels_lists_operators(tmp_path: Path) -> None:
    events = [
        {
            "ph": "X",
            "cat": "cpu_op",
            "name": "aten::mm",
            "pid": 1,
            "tid": 1,
            "ts": 10,
            "dur": 8,
            "args": {"External id": 1},
        },
        {
            "ph": "X",
            "cat": "cpu_op",
            "name": "aten::t",
            "pid": 1,
            "tid": 1,
            "ts": 11,
            "dur": 2,
            "args": {"External id": 2},
        },
    ]
    path = tmp_path / "t.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"schemaVersion": 1, "traceEvents": events}).encode()))
    result = top(path, "--format", "json")
    found = json.loads(result.stdout)
    assert [(row["operator_name"], row["self_ns"], row["total_ns"]) for row in found] == [
        ("aten::mm", 6000, 8000), ("aten::t", 2000, 2000),
    ]  # fmt: skip
    assert "operators by their own CPU time instead" in result.stderr


def test_help_explains_itself() -> None:
    text = top("--help").stdout
    for word in ("nsys SQLite", "--by range", "per token", "full demangled names", "default: kernel"):
        assert word in text


@pytest.mark.shared
def test_profiled_launches_of_ncu_are_no_timeline(shared_data: Path) -> None:
    pytest.importorskip("ncu_report")
    result = top(shared_data / "ncu-rep" / "a10g-sgemm-12k.ncu-rep")
    assert "durations under ncu's clocks, not a timeline" in result.stdout
    without = top(shared_data / "ncu-rep" / "gh200-silu-basic.ncu-rep", "--format", "json")
    assert (without.exit_code, without.stdout) == (0, "[]\n")
    assert "no durations (profile with a section that has them" in without.stderr


def test_gpu_time_by_range_and_kernel(busy: Path) -> None:
    found = rows(busy, "--by", "range,kernel", "--tokens", 10)
    gemm, copies = "void gemm<float>(int)", "copy<a|b>(char*)"
    inside = {
        (r["range"], r["kernel"]): (r["gpu_ns"], r["operation_count"]) for r in found if r["range"] != "(no range)"
    }
    assert inside == {
        ("work:inner", gemm): (600, 1), ("step", gemm): (500, 1), ("still open", gemm): (400, 1),
        ("still open", copies): (20, 2),
    }  # fmt: skip
    assert sum(row["gpu_ns"] for row in found if row["range"] == "(no range)") == 81
    assert found[0]["per_token_ns"] == 60.0


def test_what_no_range_launched_is_always_told(busy: Path) -> None:
    for by in ("range", "phase,family", "stream", "device", "rank"):
        result = top(busy, "--by", by, "--format", "json")
        assert result.exit_code == 0, result.output
        assert "launched outside every range: " in result.stderr
        assert sum(row["gpu_ns"] for row in json.loads(result.stdout)) == 1601


def test_only_what_belongs_to_a_range(busy: Path) -> None:
    kernels = rows(busy, "--in", "step")
    assert [(row["kernel_name"], row["launch_count"], row["total_ns"]) for row in kernels] == [
        ("void gemm<float>(int)", 3, 1500)
    ]
    calls = rows(busy, "--by", "api", "--in", "step")
    assert [(row["name"], row["instance_count"]) for row in calls] == [("cudaLaunchKernel", 3)]
    assert {row["name"] for row in rows(busy, "--by", "nvtx", "--in", "step")} == {"step", "work:inner", "still open"}
    result = top(busy, "--by", "family", "--in", "step")
    assert "inside step" in result.stdout
    assert "launched inside step: 93.7 % of 1.60 µs GPU time" in result.stderr


def test_a_range_that_is_not_there_is_refused_with_those_that_are(busy: Path) -> None:
    for by in ("kernel", "range", "api"):
        result = top(busy, "--by", by, "--in", "nowhere")
        assert result.exit_code == 1
        assert "no range matches 'nowhere': there are 'step', 'decode'" in result.stderr


def test_an_unknown_key_is_wrong_usage(busy: Path) -> None:
    for by in ("layer", "range,range", "range,api", ""):
        result = top(busy, "--by", by)
        assert result.exit_code == 2
        assert "keys joined by commas out of phase, range" in " ".join(result.stderr.split())


def test_the_keys_are_those_of_the_analysis() -> None:
    assert set(work_listing.KEYS) == {*work_groups.KEYS, "rank"}


def test_ranks_are_told_apart_and_an_unknown_one_is_named(tmp_path: Path) -> None:
    for name in ("run-rank0", "run-rank1", "report1"):
        write_sqlite(tmp_path / f"{name}.sqlite", replace(BUSY, environment=(("Host", name),)))
    result = top(tmp_path, "--by", "rank", "--format", "json")
    times = {row["rank"]: row["gpu_ns"] for row in json.loads(result.stdout)}
    assert times == {"0": 1601, "1": 1601, "(no rank)": 1601}
    assert "no rank is known for report1.sqlite" in result.stderr


GRAPHS = Capture(
    kernels=(Kernel("void gemm<float>(int)", 1000, 1600, correlation=1),),
    calls=(
        Call("cudaLaunchKernel_v7000", 900, 950, correlation=1),
        Call("cudaGraphLaunch_v10000", 1900, 1950, correlation=2),
        Call("cudaGraphLaunch_v10000", 2900, 2950, correlation=3),
    ),
    graphs=(Graph(2000, 2700, correlation=2), Graph(3000, 3700, correlation=3)),
    ranges=(Range(800, 2000, text="first"), Range(2800, 3000, text="second")),
)


def test_time_of_a_hidden_graph_counts_for_its_launch(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "g.sqlite", GRAPHS)
    found = {(r["range"], r["family"]): (r["gpu_ns"], r["operation_count"]) for r in rows(path, "--by", "range,family")}
    assert found == {("first", "CUDA graph"): (700, 1), ("first", "GEMM"): (600, 1), ("second", "CUDA graph"): (700, 1)}
    result = top(path, "--by", "range,kernel", "--in", "second")
    assert "[CUDA graph launch]" in result.stdout
    assert "1.40 µs of it are 2 CUDA graph launches that were traced as a whole" in result.stderr
    assert "launched inside second: 35.0 % of 2.00 µs GPU time" in result.stderr
