"""What a report must say beside its timeline: hidden graphs with their time, clocks that disagree, broken sums."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from builders.nsys import Call, Capture, Copy, Graph, Kernel, Range, write_sqlite
from builders.timeline import Host, gpu_bound, write_run
from nsightkit.analysis import analyze_tables
from nsightkit.analysis.ranges import nvtx_projection
from nsightkit.cli import cli
from nsightkit.ingest.dataset import open_dataset
from nsightkit.report.timeline_words import lost_notes


def render(path, folder):
    result = CliRunner().invoke(cli, ["render", str(path), "-o", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return (folder / "report.md").read_text()


def graph_mode(traced: bool) -> Capture:
    """Two launches of a graph among plain kernels; the time of the graphs is known or not."""
    calls = [Call("cudaLaunchKernel", 900, 950, correlation=1)]
    calls += [Call("cudaGraphLaunch_v10000", 1900 + 5000 * n, 1950 + 5000 * n, correlation=2 + n) for n in range(2)]
    graphs = tuple(Graph(2000 + 5000 * n, 6000 + 5000 * n, correlation=2 + n) for n in range(2)) if traced else ()
    return Capture(
        kernels=(Kernel("gemm", 1000, 1500, correlation=1),), calls=tuple(calls), graphs=graphs,
        ranges=(Range(800, 9000, text="replay"),),
    )  # fmt: skip


def test_time_of_a_graph_counts_though_its_kernels_are_hidden(tmp_path):
    path = write_sqlite(tmp_path / "g.sqlite", graph_mode(traced=True))
    story = analyze_tables(open_dataset([path])).story
    assert (story.graphs.mode, story.graphs.traced_count, story.graphs.traced_ns) == ("graph", 2, 8000)
    [timeline] = story.timelines
    assert (timeline.span_ns, timeline.busy_ns) == (10_000, 8500)
    assert story.figures.shares["GPU"] == pytest.approx(0.85)
    assert story.activity.span_ns == 10_000
    assert "CUDA graph" in story.phases.families
    text = render(path, tmp_path / "out")
    assert "2 CUDA graph launches were traced as a whole: their kernels are hidden, and their 8.00 µs count" in text
    assert "--cuda-graph-trace=node" in text.replace("\\", "")


def test_graphs_alone_have_a_story_too(tmp_path):
    capture = replace(graph_mode(traced=True), kernels=())
    story = analyze_tables(open_dataset([write_sqlite(tmp_path / "g.sqlite", capture)])).story
    assert story.timelines[0].busy_ns == 8000
    assert story.graphs.traced_ns == 8000


def test_graphs_without_a_time_leave_idle_unknown(tmp_path):
    path = write_sqlite(tmp_path / "g.sqlite", graph_mode(traced=False))
    story = analyze_tables(open_dataset([path])).story
    assert story.graphs.lost_count == 2
    assert story.figures is None
    assert any("2 CUDA graph launches have no traced work" in held.reason for held in story.findings.withheld)
    assert "no time here holds them" in render(path, tmp_path / "out")
    for command in (["ranges"], ["top", "--by", "range"], ["timeline"]):
        done = CliRunner().invoke(cli, [*command, str(path)])
        assert "2 CUDA graph launches have no traced work: their kernels are hidden" in done.stderr, command


def test_sums_that_come_out_are_not_mentioned(tmp_path):
    run = write_run(tmp_path / "run", gpu_bound(1))
    assert "does not come out" not in render(run, tmp_path / "out").lower()


def test_a_sum_that_does_not_come_out_stands_in_the_report(tmp_path, monkeypatch):
    """A range that ends before the ranges inside it: damage that no reader lets through, planted behind them."""
    run = write_run(tmp_path / "run", gpu_bound(1))
    real = nvtx_projection.attribute

    def damaged(tables):
        found = real(tables)
        ends = found.forest.end_ns.copy()
        ends[0] = found.forest.start_ns[0] - 1
        return replace(found, forest=replace(found.forest, end_ns=ends, parent=_under_the_first(found.forest)))

    def _under_the_first(forest):
        parent = forest.parent.copy()
        parent[1] = 0
        return parent

    monkeypatch.setattr(nvtx_projection, "attribute", damaged)
    text = render(run, tmp_path / "out").replace("\\", "")
    assert "Does not come out: children within parent, CPU time, ranges that break it (c): expected 0, found 1." in text
    shown = CliRunner().invoke(cli, ["timeline", str(run), "--show", "checks"])
    assert "does not come out: children within parent" in shown.stderr


def early(ns: int, share: float) -> Host:
    """Work whose start is `ns` before its launch call, for a share of the launches."""
    host = Host()
    for number in range(200):
        host.launch(5_000)
        host.think(20_000)
        if number < 200 * share:
            host.kernels[-1]["start_ns"] = host.calls[-1]["start_ns"] - ns
    return host


def test_clocks_that_disagree_leave_causes_unknown(tmp_path):
    run = write_run(tmp_path / "run", early(150, 0.4))
    [timeline] = analyze_tables(open_dataset([run])).story.timelines
    assert (timeline.queue.early_count, timeline.queue.clock_error_ns) == (80, 150)
    assert timeline.queue.launch_ns is None
    assert timeline.idle_by_cause["unknown"] == timeline.idle_ns > 0
    text = render(run, tmp_path / "out")
    assert "80 of 200 pieces of work start before their launch call, by up to 150 ns" in text
    verdict = CliRunner().invoke(cli, ["verdict", str(run), "--tracing-ratio", "1.0"])
    assert "UNKNOWN" in verdict.stdout
    assert "what the GPU waited for is not known" in verdict.stdout


def test_a_start_or_two_too_early_is_the_resolution_of_the_clocks(tmp_path):
    run = write_run(tmp_path / "run", early(150, 0.01))
    [timeline] = analyze_tables(open_dataset([run])).story.timelines
    assert timeline.queue.clock_error_ns is None
    assert timeline.queue.launch_ns is not None
    assert timeline.idle_by_cause["empty queue"] > 0


@pytest.mark.shared
def test_a_real_trace_whose_clocks_disagree(shared_data):
    path = shared_data / "torch-trace" / "b200-deepseek-v3-shapes.json"
    shown = CliRunner().invoke(cli, ["timeline", str(path)])
    assert "113 of 179 pieces of work start before their launch call, by up to 200 µs" in shown.stderr


def fed(thread: int | None = None) -> Capture:
    """Two kernels of a range and one of another thread; the second waits for the first."""
    calls = (
        Call("cudaLaunchKernel_v7000", 1_000, 1_100, correlation=1),
        Call("cudaLaunchKernel_v7000", 1_200, 1_300, correlation=2),
        Call("cudaLaunchKernel_v7000", 9_000, 9_100, correlation=3, thread=thread),
    )
    kernels = (
        Kernel("gemm<float>", 2_000, 5_000, correlation=1),
        Kernel("softmax<float>", 5_200, 6_000, correlation=2),
        Kernel("gemm<float>", 10_000, 12_000, correlation=3),
    )
    return Capture(kernels, calls, ranges=(Range(900, 20_000, text="decode"),))


def test_the_report_and_the_command_say_how_each_gpu_was_fed(tmp_path):
    path = write_sqlite(tmp_path / "fed.sqlite", fed())
    done = CliRunner().invoke(cli, ["timeline", str(path), "--show", "devices", "--format", "json"])
    [row] = json.loads(done.stdout)
    # The second kernel waits 3,200 ns of its launch within the span of 10,000, the third its 1,000.
    assert (row["stream_count"], row["mean_streams"], row["launch_ns"], row["max_depth"]) == (1, 1.0, 1_000.0, 2)
    assert row["mean_depth"] == pytest.approx((3_200 + 1_000) / 10_000)
    text = render(path, tmp_path / "out")
    assert "| 0 | 1 | 1.00 | 0 ns | – | 1.00 µs | 0.420 | 2 |" in text


def test_phases_have_times_per_token_and_say_what_was_inherited(tmp_path):
    path = write_sqlite(tmp_path / "fed.sqlite", fed(thread=99))
    CliRunner().invoke(cli, ["ingest", str(path), "--tokens", "4", "-o", str(tmp_path / "run")])
    text = render(tmp_path / "run", tmp_path / "out")
    assert "| decode | GEMM | 5.00 µs | 86.2 % | 1.25 µs |" in text
    assert "2.00 µs were launched by threads without an open range" in text
    whole = render(path, tmp_path / "other")
    assert "| decode | GEMM | 5.00 µs | 86.2 % |\n" in whole


def test_a_report_of_several_ranks_says_that_each_has_a_timeline_of_its_own(tmp_path):
    for rank in range(2):
        write_sqlite(tmp_path / f"rank{rank}.sqlite", fed(thread=rank))
    text = render(tmp_path, tmp_path.parent / "several")
    assert "2 captures have a timeline, each with a clock of its own, and are not drawn as one" in text
    assert "'nsightkit ranks' compares them" in text
    assert "No timeline of kernels" not in text
    assert "No GPU work was launched inside a named range" not in text


def test_rows_of_several_captures_name_theirs_and_the_longest_gap_of_all_stands_first(tmp_path):
    slow = replace(fed(), kernels=(*fed().kernels[:2], Kernel("gemm<float>", 19_000, 20_000, correlation=3)))
    paths = [str(write_sqlite(tmp_path / name, capture)) for name, capture in (("a.sqlite", fed()), ("b.sqlite", slow))]
    done = CliRunner().invoke(cli, ["timeline", *paths, "--show", "gaps", "--limit", "2"])
    lines = [line.split()[:5] for line in done.stdout.splitlines()[4:]]
    assert [(line[0], line[1], line[4]) for line in lines] == [("b", "0", "13.0"), ("a", "0", "4.00")]
    assert "a, GPU 0: 1 stream" in done.stderr
    exact = CliRunner().invoke(cli, ["timeline", *paths, "--show", "gaps", "--limit", "2", "--format", "json"])
    assert [(row["capture_id"], row["gap_ns"]) for row in json.loads(exact.stdout)] == [
        ("b", 13_000), ("a", 4_000), ("a", 200), ("b", 200)]  # fmt: skip
    alone = CliRunner().invoke(cli, ["timeline", paths[0], "--show", "gaps"])
    assert "capture" not in alone.stdout.splitlines()[2]


def test_the_report_sets_the_first_of_ranges_that_repeat_against_the_others(tmp_path):
    calls, kernels, ranges = [], [], []
    for at, ns in enumerate((9_000, 1_000, 3_000, 2_000)):
        start = 20_000 * at
        calls.append(Call("cudaLaunchKernel_v7000", start + 10, start + 20, correlation=at + 1))
        kernels.append(Kernel("gemm", start + 100, start + 100 + ns, correlation=at + 1))
        ranges.append(Range(start, start + 50, text=f"step_{at}"))
    capture = Capture(tuple(kernels), tuple(calls), ranges=tuple(ranges))
    text = render(write_sqlite(tmp_path / "steps.sqlite", capture), tmp_path / "out")
    assert "| step\\_\\* | 4 | 9.00 µs | 2.00 µs | 4.50 | 50.0 % |" in text


@pytest.mark.parametrize(
    ("ranges", "calls", "words"),
    [
        ((), True, "no range launched GPU work; mark the phases of the program"),
        ((Range(0, 50_000, text="step"),), False, "the capture lacks the calls that launched it"),
        ((Range(0, 500, text="set-up"),), True, "none was open on the thread, or in the process"),
    ],
)
def test_ranges_say_why_none_has_gpu_work(tmp_path, ranges, calls, words):
    capture = replace(fed(), ranges=ranges, calls=fed().calls if calls else ())
    done = CliRunner().invoke(cli, ["ranges", str(write_sqlite(tmp_path / "x.sqlite", capture))])
    assert (done.exit_code, words in done.stderr) == (0, True)


def test_work_without_its_launch_call_is_told_where_it_leaves_idle_time_without_a_cause(tmp_path):
    calls = tuple(Call("cudaLaunchKernel", 900 * at, 900 * at + 10, correlation=at) for at in (1, 2))
    kernels = tuple(Kernel("gemm", 1000 * at, 1000 * at + 500, correlation=at) for at in (1, 2, 3))
    for known, said in ((kernels[:2], []), (kernels, ["1 of 3 "])):
        path = write_sqlite(tmp_path / f"{len(known)}.sqlite", Capture(known, calls))
        notes = list(lost_notes(analyze_tables(open_dataset([path])).story.timelines))
        assert len(notes) == len(said)
        assert all(words in note for words, note in zip(said, notes, strict=True)), notes


def test_work_that_ends_before_it_starts_is_told(tmp_path):
    kernels = (*fed().kernels, Kernel("odd", 13_000, 12_500, correlation=4), Kernel("cut", 14_000, None, correlation=5))
    path = write_sqlite(tmp_path / "odd.sqlite", replace(fed(), kernels=kernels))
    words = "does not come out: work that ends before it starts (odd): expected 0, found 1"
    for command in (["timeline"], ["timeline", "--show", "checks"]):
        assert words in CliRunner().invoke(cli, [*command, str(path)]).stderr
    top = CliRunner().invoke(cli, ["top", str(path)]).stderr
    assert "1 of these rows hold work that ends before it starts; its negative time is kept as recorded" in top
    assert f"D{words[1:]}" in render(path, tmp_path / "out")
    sound = CliRunner().invoke(cli, ["timeline", str(write_sqlite(tmp_path / "sound.sqlite", fed()))])
    assert "does not come out" not in sound.stderr


def test_the_report_has_the_bandwidth_of_copies(tmp_path):
    copies = (Copy(1, 20_000, 21_000, 8_000), Copy(1, 22_000, 25_000, 8_000), Copy(None, 26_000, 26_000, 64))
    text = render(write_sqlite(tmp_path / "copies.sqlite", replace(fed(), copies=copies)), tmp_path / "out")
    assert "Host-to-Device\\] | pinned | device | 2 | 16.0 kB | 4.00 GB/s | 8.00 GB/s |" in text
    assert "memset\\] | – | device | 1 | 64.0 B | – | – |" in text
