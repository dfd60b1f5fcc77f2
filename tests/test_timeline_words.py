"""What a report must say beside its timeline: hidden graphs with their time, clocks that disagree, broken sums."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from builders.nsys import Call, Capture, Graph, Kernel, Range, write_sqlite
from builders.timeline import Host, gpu_bound, write_run
from nsightkit.analysis import analyze_tables
from nsightkit.analysis.ranges import nvtx_projection
from nsightkit.cli import cli
from nsightkit.ingest.dataset import open_dataset


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
    assert "busy time leaves them out" in render(path, tmp_path / "out")


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
