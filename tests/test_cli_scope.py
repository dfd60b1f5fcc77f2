"""``--in RANGE``, the same on every command: the numbers are those of the range, and the scope stands beside them."""

import json

import pytest
from click.testing import CliRunner

from builders.ncu import PrintedLaunch, details_csv
from builders.nsys import Call, Capture, Copy, Kernel, Range, write_sqlite
from builders.timeline import Host, write_run
from nsightkit.analysis import AnalysisOptions, analyze_tables
from nsightkit.analysis.overview import Scope
from nsightkit.cli import cli
from nsightkit.cli.scoping import scoped, whole_of, within_of
from nsightkit.ingest.dataset import open_dataset

NCCL = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(x)"


def decoding(slow: int = 1) -> Host:
    """Prefill, then two steps of decode with a copy and a collective, and other work between them."""
    host = Host()
    host.push("prefill")
    host.launch(50_000, "prefill_gemm")
    host.synchronize()
    host.pop()
    for step in range(2):
        host.push(f"decode_{step}")
        host.launch(7_000 * slow, "decode_gemv")
        host.copy(1_000)
        host.launch(2_000, NCCL)
        host.synchronize()
        host.pop()
        host.push("sample")
        host.launch(300_000, "sampling")
        host.synchronize()
        host.pop()
    return host


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", decoding())


def invoke(*argv):
    result = CliRunner().invoke(cli, [str(word) for word in argv], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def rows(*argv):
    return json.loads(invoke(*argv, "--format", "json").stdout)


def test_top_counts_what_the_range_launched(run):
    found = {row["kernel_name"]: row["launch_count"] for row in rows("top", run, "--in", "decode_*")}
    assert found == {"decode_gemv": 2, NCCL: 2}
    assert [row["name"] for row in rows("top", run, "--by", "memory", "--in", "decode_*")] == [
        "[CUDA memcpy Host-to-Device]"
    ]


def test_timeline_ranks_and_verdict_take_one_span(run):
    parts = {row["part"]: row["time_ns"] for row in rows("timeline", run, "--in", "decode_*")}
    [rank] = rows("ranks", run, "--in", "decode_*")
    [verdict] = rows("verdict", run, "--in", "decode_*")
    assert parts["span"] == rank["span_ns"] == verdict["inputs"]["span_ns"]
    assert rank["compute_ns"] == parts["compute"] == 14_000
    assert rank["communication_ns"] == 4_000
    whole = {row["part"]: row["time_ns"] for row in rows("timeline", run)}
    assert parts["span"] < whole["span"] / 4


def test_ranks_match_the_collectives_of_the_range_alone(tmp_path):
    for rank, slow in enumerate((1, 3)):
        write_run(tmp_path / f"run-rank{rank}", decoding(slow), rank=rank)
    paths = [tmp_path / "run-rank0", tmp_path / "run-rank1"]
    found = rows("ranks", *paths, "--in", "decode_*")
    assert [row["compute_ns"] for row in found] == [14_000, 42_000]
    assert all(row["wait_ns"] == 0 for row in found)
    assert "4 collectives" not in invoke("ranks", *paths, "--in", "decode_0").stderr


def test_info_counts_the_rows_inside(run):
    [row] = rows("info", run, "--in", "decode_*")
    assert row["rows"]["kernel_launches"] == 4
    assert row["rows"]["nvtx_ranges"] == 2
    assert row["scope"].startswith("inside decode_*; ")


def test_export_holds_the_range_alone(run, tmp_path):
    invoke("export", run, "--in", "prefill", "-o", tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert [e["args"]["kernel_name"] for e in events if e.get("cat") == "kernel"] == ["prefill_gemm"]
    assert [e["name"] for e in events if e.get("cat") == "range"] == ["prefill"]


def test_a_report_of_a_range_stands_beside_that_of_the_whole(run):
    invoke("render", run)
    shown = invoke("render", run, "--in", "decode_*")
    assert "report-decode" in shown.stdout
    text = (run / "report-decode" / "report.md").read_text()
    whole = (run / "report" / "report.md").read_text()
    assert "launched inside decode" in text
    assert "prefill" not in text
    assert "sampling" not in text
    assert "launched inside" not in whole
    assert "sampling" in whole
    parts = {row["part"]: row["time_ns"] for row in rows("timeline", run, "--in", "decode_*")}
    data = scoped(open_dataset([run]), "decode_*")
    known = AnalysisOptions(scope=Scope("decode_*", whole_of(data)))
    analysis = analyze_tables(data, known)
    assert within_of(data) == "decode_*"
    assert (analysis.span_ns, analysis.busy_ns) == (parts["span"], parts["busy"])


def test_the_first_screen_of_a_range(run):
    text = invoke("render", run, "--brief", "--in", "decode_*").stdout
    assert "inside decode" in text


@pytest.mark.parametrize(
    "argv",
    [("top",), ("timeline",), ("ranges",), ("ranks",), ("verdict",), ("info",), ("export",), ("render",),
     ("roofline",), ("whatif", "--gpu", "h100-sxm"), ("top", "--by", "range")],
)  # fmt: skip
def test_a_range_that_is_not_there_is_named_with_those_that_are(run, argv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, [*argv, str(run), "--in", "nowhere"])
    assert result.exit_code == 1
    assert "no range matches 'nowhere'" in result.stderr
    assert "'decode_*'" in result.stderr


@pytest.mark.parametrize("command", ["classify", "advice", "roofline"])
def test_counters_without_ranges_are_refused(tmp_path, command):
    launch = PrintedLaunch(
        metrics=[("GPU Speed Of Light Throughput", "Duration", "usecond", "5.0")],
        rules=[("Occupancy", "Occupancy", "OPT", "more warps would help")],
    )
    path = details_csv(tmp_path / "a.csv", [launch])
    result = CliRunner().invoke(cli, [command, str(path), "--in", "decode"])
    assert result.exit_code == 1
    assert "profile with ncu --nvtx" in result.stderr


@pytest.mark.shared
def test_reported_sums_cannot_be_cut(shared_data):
    path = shared_data / "nsys-stats" / "rtx5090-dsocr-decode-kern-sum.csv"
    result = CliRunner().invoke(cli, ["top", str(path), "--in", "decode"])
    assert result.exit_code == 1
    assert "cannot be told apart by range" in result.stderr


@pytest.mark.shared
def test_counters_of_a_range(shared_data):
    path = shared_data / "ncu-rep" / "rtx3070-nvtx.ncu-rep"
    for name, count in (("daxpy", 1), ("run_test", 3), ("*_*", 3)):
        result = invoke("classify", path, "--in", name, "--format", "json")
        assert len(json.loads(result.stdout)) == count
        assert f"profiled inside {name}: {count} of 3 launches" in result.stderr


def test_a_pattern_in_two_processes(tmp_path):
    """The range is cut by process and thread: the same time in another process stays out."""
    capture = Capture(
        kernels=(Kernel("mine", 1000, 1600, correlation=1), Kernel("theirs", 1000, 1700, pid=9, correlation=1)),
        calls=(Call("cudaLaunchKernel", 900, 950), Call("cudaLaunchKernel", 900, 950, pid=9)),
        copies=(Copy(1, 10, 60, 1000),),
        ranges=(Range(800, 2000, text="decode"),),
    )
    path = write_sqlite(tmp_path / "a.sqlite", capture)
    assert [row["kernel_name"] for row in rows("top", path, "--in", "decode")] == ["mine"]


@pytest.fixture
def idle_range(tmp_path):
    """A run in which the range 'tokenize' launched nothing."""
    host = decoding()
    host.push("tokenize")
    host.now += 1000
    host.pop()
    return write_run(tmp_path / "run", host)


@pytest.mark.parametrize(
    "argv", [("timeline",), ("timeline", "--show", "gaps"), ("ranges",), ("ranges", "--tree"), ("verdict",)]
)
def test_a_range_without_gpu_work_is_said_to_have_none(idle_range, argv):
    result = invoke(argv[0], idle_range, *argv[1:], "--in", "tokenize")
    assert "ranges named 'tokenize' launched no GPU work" in " ".join(result.output.split())
    assert "0 ns" not in result.stdout
    assert "mark the phases" not in result.output


def test_a_misspelled_range_is_answered_with_the_nearest(run):
    result = CliRunner().invoke(cli, ["top", str(run), "--in", "Prefil"])
    assert result.exit_code == 1
    assert "is it 'prefill'? there are 'prefill', " in result.stderr


@pytest.mark.parametrize("command", ["top", "ranges", "timeline", "ranks", "verdict"])
def test_start_end_ranges_are_named_as_what_they_are(tmp_path, command):
    kernels = (Kernel("k", 100, 200),)
    ranges = (Range(0, 50, "load", kind=60), Range(0, 60, "step"))
    capture = Capture(kernels=kernels, calls=(Call("cudaLaunchKernel", 10, 20),), ranges=ranges)
    path = write_sqlite(tmp_path / "a.sqlite", capture)
    result = CliRunner().invoke(cli, [command, str(path), "--in", "load"])
    assert result.exit_code == 1
    assert "'load': that is a start/end range" in result.stderr
    assert "'step'" in result.stderr


@pytest.mark.parametrize("command", ["timeline", "ranks", "verdict", "ranges", "top"])
def test_a_range_that_one_capture_lacks(tmp_path, command):
    folder = tmp_path / "job"
    folder.mkdir()
    for rank, name in enumerate(("step", "loss")):
        ranges = (Range(0, 60, name), Range(0, 5, "only here", kind=60 if rank else 59))
        capture = Capture((Kernel(f"k{rank}", 100, 200),), (Call("cudaLaunchKernel", 10, 20),), ranges=ranges)
        write_sqlite(folder / f"rank{rank}.sqlite", capture)
    found = rows(command, folder, "--in", "loss")
    assert found
    assert all(row.get("share") in (None, 1.0, 0.0) or row["part"] for row in found)
    refused = CliRunner().invoke(cli, [command, str(folder), "--in", "lost"])
    assert refused.exit_code == 1
    assert "is it 'loss'?" in refused.stderr
    assert "start/end" not in refused.stderr


@pytest.mark.parametrize("command", ["top", "timeline", "verdict"])
def test_a_pattern_that_means_several_names_says_which(run, command):
    found = invoke(command, run, "--in", "*e*")
    assert "'*e*' matches ranges of 3 names: 'prefill', 'decode_*', 'sample'" in found.output
    assert "matches ranges of" not in invoke(command, run, "--in", "decode_*").output
