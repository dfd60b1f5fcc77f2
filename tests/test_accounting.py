"""Sums that must come out: they hold on sound captures, and a broken one is seen."""

from dataclasses import replace

import pytest

from builders.timeline import PLANTED, Host
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.ranges.range_summary import summarize_ranges
from nsightkit.analysis.timeline.accounting import broken, check_attribution, check_paths, check_shares, check_timeline
from nsightkit.analysis.timeline.timeline import device_timelines, timeline_inputs
from nsightkit.analysis.work.operations import by_capture


def decoding() -> Host:
    host = Host()
    host.push("decode_total")
    host.launch(700)
    host.push("prefill")
    host.launch(5_000)
    host.pop()
    for step in range(8):
        host.push(f"step_{step}")
        host.launch(1_000 + step)
        host.pop()
    host.pop()
    host.launch(30)
    return host


def of_capture(host):
    [capture] = by_capture(host.tables())
    return attribute(capture), device_timelines(timeline_inputs(capture))


def test_prefill_steps_and_overhead_make_the_decode_total():
    attribution, timelines = of_capture(decoding())
    summary = summarize_ranges([attribution])
    [phase] = check_paths(summary.paths)
    assert (phase.scope, phase.expected, phase.found, phase.holds) == ("decode_total", 13_728, 13_728, True)
    paths = {row.path[-1]: row for row in summary.paths}
    assert paths["prefill"].gpu_ns + paths["step_*"].gpu_ns + paths["decode_total"].own_ns == 13_728
    assert not broken([*check_attribution(attribution), *check_shares(summary), *check_timeline(timelines[0])])


@pytest.mark.parametrize("maker", [m for makers in PLANTED.values() for m in makers])
def test_all_planted_captures_come_out(maker):
    attribution, timelines = of_capture(maker(5))
    summary = summarize_ranges([attribution])
    checks = [*check_attribution(attribution), *check_shares(summary), *check_paths(summary.paths)]
    assert not broken([*checks, *(check for timeline in timelines for check in check_timeline(timeline))])
    assert len(checks) >= 3


def test_a_sum_that_does_not_come_out_is_named():
    attribution, [timeline] = of_capture(decoding())
    wrong = broken(check_timeline(replace(timeline, busy_ns=timeline.busy_ns + 1)))
    assert "busy + idle = span" in [check.name for check in wrong]
    summary = summarize_ranges([attribution])
    rows = tuple(replace(row, own_ns=row.own_ns * 2) for row in summary.rows)
    [share] = broken(check_shares(replace(summary, rows=rows)))
    assert share.found > 1.5
    paths = [replace(row, gpu_ns=row.gpu_ns + 5) if len(row.path) == 1 else row for row in summary.paths]
    assert [check.expected - check.found for check in broken(check_paths(paths))] == [5]


def test_a_range_shorter_than_the_ranges_inside_it_is_counted():
    attribution, _ = of_capture(decoding())
    forest = attribution.forest
    outer = int((forest.depth == 0).argmax())
    ends = forest.end_ns.copy()
    ends[outer] = forest.start_ns[outer] + 1
    damaged = replace(attribution, forest=replace(forest, end_ns=ends))
    assert [check.found for check in broken(check_attribution(damaged))] == [1]


def test_nothing_to_check_without_gpu_time():
    host = Host()
    host.push("a")
    host.pop()
    [capture] = by_capture(host.tables())
    assert check_shares(summarize_ranges([attribute(capture)])) == []
