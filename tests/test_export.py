"""The trace for Perfetto: the shape its format asks for, the arguments, and tracks in which events nest."""

import gzip
import json
import subprocess
from bisect import bisect_right
from collections import defaultdict
from shutil import which

import pytest
from click.testing import CliRunner

from builders.nsys import Call, Capture, Graph, Range, write_sqlite
from builders.timeline import Host, tables_of, write_run
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.work.operations import by_capture
from nsightkit.cli import cli
from nsightkit.errors import ReportError
from nsightkit.report.perfetto import TraceInputs, trace_events, write_trace

# What the Trace Event Format asks of each phase. Source: its description of complete, async, flow and metadata events.
REQUIRED = {
    "X": {"name", "cat", "pid", "tid", "ts", "dur", "args"},
    "b": {"name", "cat", "pid", "tid", "ts", "id"},
    "e": {"name", "cat", "pid", "tid", "ts", "id"},
    "s": {"name", "cat", "pid", "tid", "ts", "id"},
    "f": {"name", "cat", "pid", "tid", "ts", "id", "bp"},
    "M": {"name", "pid", "tid", "args"},
}


def inputs_of(tables, **facts):
    [capture] = by_capture(tables)
    return TraceInputs(capture, attribute(capture), facts)


def check(events):
    """Assert the format, that arrows join slices, that asynchronous events pair up, and that each track nests."""
    check_arrows(events)
    pairs = defaultdict(list)
    for event in events:
        if event["ph"] in "be":
            pairs[event["pid"], event["cat"], event["id"]].append((event["ts"], event["ph"], event["name"]))
    for (_, first, name), (_, last, same) in pairs.values():
        assert (first, last, same) == ("b", "e", name)
    assert all(begin[0] <= end[0] for begin, end in pairs.values())
    arrows = defaultdict(list)
    tracks = defaultdict(list)
    for event in events:
        assert REQUIRED[event["ph"]] <= set(event), event
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        if event["ph"] in "sf":
            arrows[event["id"]].append(event["ph"])
        if event["ph"] == "X":
            assert event["dur"] >= 0
            start = round(event["ts"] * 1000)
            tracks[event["pid"], event["tid"]].append((start, -round(event["dur"] * 1000)))
    assert all(ends == ["s", "f"] for ends in arrows.values())
    for spans in tracks.values():
        open_until = []
        for start, length in sorted(spans):
            while open_until and open_until[-1] <= start:
                open_until.pop()
            assert not open_until or open_until[-1] >= start - length
            open_until.append(start - length)
    names = {(e["pid"], e["name"], e["tid"]) for e in events if e["ph"] == "M"}
    assert {(pid, "thread_name", tid) for pid, tid in tracks} <= names


def check_arrows(events):
    """Assert what importers ask of arrows: an end lies in a slice of its track, and the last one where one starts."""
    starts = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            starts[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for spans in starts.values():
        spans.sort()
    for event in events:
        if event["ph"] in "sf":
            spans = starts[event["pid"], event["tid"]]
            place = bisect_right(spans, (event["ts"], float("inf"))) - 1
            assert place >= 0, event
            assert event["ph"] == "s" or spans[place][0] == event["ts"]
            assert any(start <= event["ts"] <= end for start, end in spans[max(0, place - 3) : place + 1]), event


def busy_host():
    host = Host()
    host.push("step_1")
    host.launch(5_000, "void gemm<float>(float*)")
    host.push("inner", domain="NCCL")
    host.copy(3_000)
    host.pop()
    host.launch(900, count=6)
    host.pop()
    host.synchronize()
    host.launch(10)
    return host


def test_events_have_the_shape_of_the_format():
    events = list(trace_events(inputs_of(busy_host().tables())))
    check(events)
    json.dumps(events, allow_nan=False)


def test_a_kernel_carries_its_name_range_and_facts():
    name = "void gemm<float>(float*)"
    events = trace_events(inputs_of(busy_host().tables(), **{name: {"bound": "MEMORY"}}))
    [kernel] = [e for e in events if e["ph"] == "X" and e["cat"] == "kernel" and e["args"]["kernel_name"] == name]
    assert kernel["args"]["bound"] == "MEMORY"
    assert kernel["args"]["range"] == "step_1"
    assert kernel["args"]["range_inherited"] is False
    assert kernel["dur"] == 5.0


def test_work_that_overlaps_in_a_stream_gets_further_tracks():
    host = Host()
    host.launch(1_000, count=3)
    for row in host.kernels:
        row["start_ns"] = host.kernels[0]["start_ns"]
    events = list(trace_events(inputs_of(host.tables())))
    check(events)
    names = [e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"]
    assert [n for n in names if n.startswith("stream")] == ["stream 7", "stream 7 (2)", "stream 7 (3)"]


def test_ranges_that_cross_are_asynchronous():
    host = Host()
    host.launch(100)
    ranges = [
        {"capture_id": "c", "name": name, "domain": None, "kind": kind, "start_ns": start, "duration_ns": 20,
         "process_id": host.process, "thread_id": host.thread, "end_thread_id": None}
        for name, start, kind in (("a", 0, "push_pop"), ("b", 10, "push_pop"), ("c", 5, "start_end"))
    ]  # fmt: skip
    events = list(trace_events(inputs_of(tables_of(host.kernels, host.calls, ranges=ranges))))
    check(events)
    assert [(e["ph"], e["name"]) for e in events if e["ph"] in "be"] == [
        ("b", "a"), ("e", "a"), ("b", "b"), ("e", "b"), ("b", "c"), ("e", "c"),
    ]  # fmt: skip


def test_hostile_names_stay_text():
    host = Host()
    host.push("</script>\x1b[31m\n")
    host.launch(10, "<s>\n\x1b" + "x" * 10_000)
    host.pop()
    events = list(trace_events(inputs_of(host.tables())))
    check(events)
    text = json.dumps(events)
    assert "\x1b" not in text
    assert "<s>\\n\\u001b" in text


def test_numbers_that_a_double_cannot_hold_are_text():
    host = Host()
    host.launch(5, "first")
    host.launch(5, "second")
    host.kernels[0]["graph_node_id"], host.kernels[1]["graph_node_id"] = (1 << 60) + 1, 7
    events = [event for event in trace_events(inputs_of(host.tables())) if event.get("cat") == "kernel"]
    assert [event["args"]["graph_node_id"] for event in events] == ["1152921504606846977", 7]


def test_several_captures_keep_their_processes_apart(tmp_path):
    path = tmp_path / "all.json"
    count = write_trace(path, [inputs_of(busy_host().tables()), inputs_of(busy_host().tables())])
    events = json.loads(path.read_text())["traceEvents"]
    assert len(events) == count
    check(events)
    assert len({e["pid"] for e in events if e["name"] == "process_name"}) == 4


def test_nothing_is_left_where_the_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError) as caught:
        write_trace(tmp_path / "file" / "trace.json", [])
    assert caught.value.slug == "cannot-write"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command_writes_a_gzip_by_default(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", busy_host())
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["export", str(run)])
    assert result.exit_code == 0, result.output
    assert result.stdout == "run.perfetto.json.gz\n"
    with gzip.open(tmp_path / "run.perfetto.json.gz", "rt") as file:
        check(json.load(file)["traceEvents"])
    assert CliRunner().invoke(cli, ["export", str(run), "-o", "plain.json"]).exit_code == 0
    assert json.loads((tmp_path / "plain.json").read_text())["displayTimeUnit"] == "ns"


@pytest.mark.shared
@pytest.mark.parametrize("name", ["rtx3090x2-ddp-nccl", "t4-power-iteration-nvtx", "rtx4060ti-llama3-demo"])
def test_real_captures(shared_data, tmp_path, name):
    path = tmp_path / "trace.json"
    result = CliRunner().invoke(cli, ["export", str(shared_data / "nsys-sqlite" / f"{name}.sqlite"), "-o", str(path)])
    assert result.exit_code == 0, result.output
    events = json.loads(path.read_text())["traceEvents"]
    check(events)
    assert sum(e["ph"] == "s" for e in events) == {"rtx3090x2-ddp-nccl": 5012, "t4-power-iteration-nvtx": 3778,
                                                   "rtx4060ti-llama3-demo": 96}[name]  # fmt: skip


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "kernels"),
    [("v100-rank0.pt.trace.json.gz", 4350), ("b200-eager.json.gz", 768), ("rtx5080-cuda-graph.json", 321)],
)
def test_real_torch_traces(shared_data, tmp_path, name, kernels):
    path = tmp_path / "trace.json"
    result = CliRunner().invoke(cli, ["export", str(shared_data / "torch-trace" / name), "-o", str(path)])
    assert result.exit_code == 0, result.output
    events = json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(text))["traceEvents"]
    check(events)
    assert sum(e.get("cat") == "kernel" for e in events) == kernels


def test_our_trace_reads_back_as_what_it_was_made_from(tmp_path):
    """Arguments are kept: name, geometry, range, and verdict are those of the tables."""
    host = busy_host()
    path = tmp_path / "t.json"
    write_trace(path, [inputs_of(host.tables(), **{"gemm": {"bound": "MEMORY", "family": "GEMM"}})])
    events = json.loads(path.read_text())["traceEvents"]
    kernels = [e for e in events if e.get("cat") == "kernel"]
    assert sorted((round(e["ts"] * 1000), round(e["dur"] * 1000)) for e in kernels) == sorted(
        (row["start_ns"], row["duration_ns"]) for row in host.kernels
    )
    assert all(e["args"]["bound"] == "MEMORY" for e in kernels if e["args"]["kernel_name"] == "gemm")


def test_perfetto_opens_it(tmp_path):
    shell = which("trace_processor_shell") or which("trace_processor")
    if shell is None:
        pytest.skip("Perfetto's trace processor is not on PATH; its binary comes from the network")
    path, query = tmp_path / "t.json", tmp_path / "q.sql"
    write_trace(path, [inputs_of(busy_host().tables())])
    query.write_text("select count(*) as slices from slice")
    done = subprocess.run([shell, "-q", str(query), str(path)], capture_output=True, text=True, check=True)
    expected = sum(e["ph"] in "Xb" for e in json.loads(path.read_text())["traceEvents"])
    assert str(expected) in done.stdout.split()


def test_a_graph_traced_as_a_whole_is_an_event_of_its_range(tmp_path):
    capture = Capture(
        calls=(Call("cudaGraphLaunch_v10000", 1900, 1950, correlation=2),),
        graphs=(Graph(2000, 2700, correlation=2),),
        ranges=(Range(1800, 2000, text="replay"),),
    )
    target = tmp_path / "t.json"
    result = CliRunner().invoke(cli, ["export", str(write_sqlite(tmp_path / "g.sqlite", capture)), "-o", str(target)])
    assert result.exit_code == 0, result.output
    events = json.loads(target.read_text())["traceEvents"]
    check(events)
    [graph] = [event for event in events if event.get("cat") == "graph"]
    assert (graph["name"], graph["dur"], graph["args"]["range"]) == ("CUDA graph launch", 0.7, "replay")
    assert graph["args"]["graph_id"] == 3


def test_processes_of_hundreds_of_captures_stay_apart():
    found = [{event["pid"] for event in trace_events(inputs_of(busy_host().tables()), number)} for number in range(110)]
    assert sum(map(len, found)) == len(set().union(*found))
