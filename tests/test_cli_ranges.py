"""The commands ranges and timeline: what they list, what they say beside, and how they end."""

import csv
import io
import json

import pytest
from click.testing import CliRunner

from builders.nsys import Call, Capture, Graph, Range, write_parquetdir, write_sqlite
from builders.timeline import Host, write_run
from nsightkit.cli import cli

HOSTILE = "a<b>|c*\n\x1b[31m" + "x" * 10_000


def invoke(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def rows(*arguments):
    result = invoke(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def run(tmp_path):
    host = Host()
    host.launch(50)
    host.push("prefill")
    host.launch(900)
    host.pop()
    for step in range(3):
        host.push(f"step_{step}")
        host.push("attention")
        host.launch(100 + step)
        host.pop()
        host.pop()
        host.synchronize()
    host.push(HOSTILE)
    host.copy(20)
    host.pop()
    return write_run(tmp_path / "run", host)


def test_ranges_by_name(run):
    found = {row["name"]: row for row in rows("ranges", run)}
    assert set(found) == {"prefill", "step_*", "attention", HOSTILE}
    assert (found["step_*"]["gpu_ns"], found["step_*"]["own_ns"], found["step_*"]["instance_count"]) == (303, 0, 3)
    assert found["prefill"]["share"] == pytest.approx(900 / 1273)


def test_what_no_range_launched_is_told(run):
    result = invoke("ranges", run)
    assert result.exit_code == 0
    assert "launched outside every range: 3.9 % of 1.27 µs GPU time" in result.stderr
    assert "\x1b" not in result.output


def test_tree_lists_paths(run):
    found = {tuple(row["path"]): row for row in rows("ranges", run, "--tree")}
    assert found["step_*", "attention"]["gpu_ns"] == 303
    assert [row["depth"] for row in rows("ranges", run, "--tree")] == [0, 0, 1, 0]
    assert "· attention" in invoke("ranges", run, "--tree").stdout


def test_inside_a_range(run):
    assert {row["name"] for row in rows("ranges", run, "--in", "step_*")} == {"step_*", "attention"}
    missing = invoke("ranges", run, "--in", "steps")
    assert missing.exit_code == 1
    assert "no range matches 'steps'" in missing.stderr
    assert "nsightkit explain no-such-range" in missing.stderr


def test_time_per_token(run):
    assert {row["name"]: row["per_token_ns"] for row in rows("ranges", run, "--tokens", "3")}["step_*"] == 101
    assert "per token" in invoke("ranges", run, "--tokens", "3").stdout


def test_raw_names_and_limit(run):
    assert {"step_0", "step_1"} < {row["name"] for row in rows("ranges", run, "--raw-names")}
    assert "3 rows left out" in invoke("ranges", run, "--limit", "1").stdout
    assert len(rows("ranges", run, "--limit", "1")) == 4  # machines get all of them


@pytest.mark.parametrize("report", ["nvtx_gpu_proj_sum", "nvtx_kern_sum", "cuda_kern_exec_sum"])
def test_as_nsys(run, report):
    found = rows("ranges", run, "--as-nsys", report)
    assert found
    if report == "nvtx_gpu_proj_sum":
        assert {row["range"]: row["total_gpu_ops"] for row in found}["step_0"] == 1
    assert invoke("ranges", run, "--as-nsys", report, "--tree").exit_code == 2


def test_as_nsys_names_the_capture_where_there_are_several(run, tmp_path):
    host = Host()
    host.push("prefill")
    host.launch(700)
    host.pop()
    other = write_run(tmp_path / "other", host)
    alone = rows("ranges", run, "--as-nsys", "nvtx_kern_sum")
    both = rows("ranges", run, other, "--as-nsys", "nvtx_kern_sum")
    assert not any("capture_id" in row for row in alone)
    assert len({row["capture_id"] for row in both}) == 2
    assert sorted(row["total_ns"] for row in both if row["nvtx_range"] == "prefill") == [700, 900]


def test_csv_holds_exact_values(run):
    result = invoke("ranges", run, "--format", "csv")
    found = {row["name"]: row for row in csv.DictReader(io.StringIO(result.stdout))}
    assert found["prefill"]["gpu_ns"] == "900"
    assert found[HOSTILE]["operation_count"] == "1"


def test_timeline_parts_add_up(run):
    parts = {row["part"]: row["time_ns"] for row in rows("timeline", run)}
    assert parts["span"] == parts["busy"] + parts["idle"]
    assert parts["busy"] == 1273
    assert parts["idle"] == sum(time for part, time in parts.items() if part.startswith("idle: "))
    assert "1 stream, 1.00 at once" in invoke("timeline", run).stderr


def test_timeline_inside_a_range(run):
    parts = {row["part"]: row["time_ns"] for row in rows("timeline", run, "--in", "step_*")}
    assert parts["busy"] == parts["span"] == 303
    assert parts_of(run, "gaps") == []
    assert parts_of(run, "copies") == []
    assert {row["name"] for row in parts_of(run, "repetitions")} == {"step_*", "attention"}
    checks = parts_of(run, "checks")
    assert all(row["holds"] for row in checks)
    assert next(row["expected"] for row in checks if row["name"] == "busy + idle = span") == 303
    whole = rows("timeline", run, "--in", "*", "--show", "gaps")
    assert sum(row["gap_ns"] for row in whole) == next(
        row["time_ns"] for row in rows("timeline", run, "--in", "*") if row["part"] == "idle"
    )


def parts_of(run, show):
    return rows("timeline", run, "--in", "step_*", "--show", show)


@pytest.mark.parametrize(
    ("show", "field", "value"),
    [
        ("gaps", "cause", "synchronization"), ("copies", "moved_bytes", 1 << 20), ("repetitions", "name", "step_*"),
        ("checks", "name", "busy + idle = span"),
    ],
)  # fmt: skip
def test_other_views(run, show, field, value):
    found = rows("timeline", run, "--show", show)
    assert value in [row[field] for row in found]
    assert invoke("timeline", run, "--show", show).exit_code == 0


def test_checks_hold(run):
    assert all(row["holds"] for row in rows("timeline", run, "--show", "checks"))


def test_hidden_graphs_are_told(tmp_path):
    host = Host()
    host.launch(100)
    host._call("cudaGraphLaunch_v10000", 2_500)
    result = invoke("timeline", write_run(tmp_path / "run", host))
    assert "1 CUDA graph launches have no traced work: their kernels are hidden" in result.stderr


@pytest.mark.parametrize("command", ["ranges", "timeline", "export"])
def test_without_gpu_work_the_way_out_is_named(tmp_path, command):
    host = Host()
    host.push("a")
    host.pop()
    result = invoke(command, write_run(tmp_path / "run", host))
    assert result.exit_code == 1
    assert "no GPU work with start and end" in result.stderr
    missing = invoke(command, tmp_path / "nothing")
    assert missing.exit_code == 1
    assert "no such file" in missing.stderr


@pytest.mark.shared
def test_real_capture_of_two_processes(shared_data):
    path = shared_data / "nsys-sqlite" / "rtx3090x2-ddp-nccl.sqlite"
    found = {row["name"]: row for row in rows("ranges", path)}
    assert found["NCCL:ncclBroadcast"]["kernel_count"] == 222
    assert sum(row["own_ns"] for row in found.values()) == 335_723_795
    assert sum(row["count"] for row in rows("ranges", path, "--as-nsys", "cuda_kern_exec_sum")) == 4652


def test_time_of_graphs_traced_as_a_whole_is_accounted(tmp_path):
    graphs = (Graph(2000, 2700, correlation=2), Graph(3000, 3700, correlation=3))
    calls = [Call("cudaGraphLaunch_v10000", start, start + 50, correlation=c) for start, c in ((1900, 2), (2900, 3))]
    capture = Capture(calls=tuple(calls), graphs=graphs, ranges=(Range(1800, 2000, text="replay"),))
    for path in (
        write_sqlite(tmp_path / "g.sqlite", capture), write_parquetdir(tmp_path / "g-parquet", capture)
    ):  # fmt: skip
        ranges = rows("ranges", path)
        assert [(row["name"], row["gpu_ns"], row["operation_count"]) for row in ranges] == [("replay", 700, 1)]
        parts = {row["part"]: row["time_ns"] for row in rows("timeline", path)}
        assert (parts["span"], parts["busy"], parts["compute"], parts["exposed copies"]) == (1700, 1400, 1400, 0)
        told = invoke("timeline", path).stderr
        assert "2 CUDA graph launches were traced as a whole" in told
        assert "have no traced work" not in told
        assert "1.40 µs of it are 2 CUDA graph launches" in invoke("ranges", path).stderr
