"""The whole run: each verdict with the numbers that decide, and none where they are missing."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from builders.nsys import Call, Capture, Graph, Kernel, write_sqlite
from nsightkit.analysis.results import RooflineRow
from nsightkit.analysis.timeline.run_verdict import (
    NO_BOUNDS,
    NO_GRAPHS,
    NO_OVERHEAD,
    NO_TIMELINE,
    RUN_BOUNDS,
    Scoped,
    StepTime,
    bound_shares,
    judge_run,
    share_of,
)
from nsightkit.analysis.timeline.whole_run import COSTS, RunFigures
from nsightkit.cli import cli
from nsightkit.errors import AnalysisError


def figures(idle=0.0, empty=None, ratio=1.02, corrected="same", **shares):
    given_shares = {name: 0.0 for name in COSTS} | shares
    left = idle if corrected == "same" else corrected
    return RunFigures(10**9, given_shares, idle, empty, ratio, left if ratio else None, ratio and ratio <= 1.1, 5e3)


LAUNCHES = {"idle": 0.6, "empty": 0.9, "GPU": 0.4, "LAUNCH": 0.55, "SYNCHRONIZATION": 0.05}


def test_launch_bound_needs_idle_time_an_empty_queue_and_little_tracing():
    found = judge_run(figures(**LAUNCHES))
    assert found.bound == "LAUNCH"
    assert found.inputs["idle_share"] == 0.6
    assert found.thresholds["empty_queue_share_of_idle"] == 0.5


def test_idle_time_beside_hidden_graphs_proves_nothing():
    found = judge_run(replace(figures(**LAUNCHES), hidden_graph_count=3))
    assert (found.bound, found.missing) == ("UNKNOWN", (NO_GRAPHS,))
    assert "3 launches of CUDA graphs have no traced work" in found.reason


@pytest.mark.parametrize(("ratio", "bound"), [(1.02, "TRANSFER"), (None, "UNKNOWN"), (1.4, "UNKNOWN")])
def test_idle_time_inside_blocking_copies_counts_where_tracing_allows(ratio, bound):
    known = replace(figures(idle=0.5, ratio=ratio, GPU=0.4, TRANSFER=0.6), waited={"TRANSFER": 0.5})
    assert judge_run(known).bound == bound
    assert judge_run(replace(known, waited={"TRANSFER": 0.1})).bound == "TRANSFER"


def test_the_command_gives_no_verdict_where_graphs_are_hidden(tmp_path):
    calls = [Call("cudaLaunchKernel_v7000", 90_000 * at, 90_000 * at + 2_000, correlation=at + 1) for at in range(9)]
    kernels = [Kernel("gemm", 90_000 * at + 3_000, 90_000 * at + 6_000, correlation=at + 1) for at in range(9)]
    eager = write_sqlite(tmp_path / "eager.sqlite", Capture(tuple(kernels), tuple(calls)))
    assert _verdict(eager)["bound"] == "LAUNCH"
    calls.append(Call("cudaGraphLaunch_v10000", 3_000, 5_000, correlation=99))
    hidden = write_sqlite(tmp_path / "hidden.sqlite", Capture(tuple(kernels), tuple(calls)))
    assert _verdict(hidden)["bound"] == "UNKNOWN"
    # Graphs that were traced as a whole have their time, also where nothing else ran.
    graphs = Capture((), (calls[-1],), graphs=(Graph(6_000, 9_000, correlation=99),))
    found = _verdict(write_sqlite(tmp_path / "graphs.sqlite", graphs))
    assert (found["inputs"]["span_ns"], found["inputs"]["gpu_share"]) == (3_000.0, 1.0)


def _verdict(path):
    done = CliRunner().invoke(cli, ["verdict", str(path), "--tracing-ratio", "1.0", "--format", "json"])
    [found] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (
            {"LAUNCH": 0.55, "HOST": 0.0},
            "idle for 60 % of the span: it waits for launches that come too late for 55 %",
        ),
        (
            {"LAUNCH": 0.05, "HOST": 0.5},
            "waits for the program, which is outside CUDA (1 ms or more at a time) for 50 %",
        ),
        ({"LAUNCH": 0.0, "HOST": 0.999}, "for more than 99 % of it"),
    ],
)
@pytest.mark.parametrize("ratio", [1.02, None])
def test_waiting_for_the_program_is_told_from_waiting_for_launches(shares, words, ratio):
    assert words in judge_run(figures(**(LAUNCHES | shares | {"ratio": ratio}))).reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ratio": None}, "not known"),
        ({"ratio": 1.3}, "proves nothing"),
        ({"corrected": 0.25}, "does not survive"),
    ],
)
def test_without_one_of_these_there_is_no_launch_bound(changes, words):
    found = judge_run(figures(**(LAUNCHES | changes)))
    assert found.bound == "UNKNOWN"
    assert words in found.reason
    assert found.missing == ((NO_OVERHEAD,) if changes.get("ratio", 1) is None else ())


def test_a_low_busy_share_alone_proves_nothing():
    found = judge_run(figures(idle=0.7, empty=0.2, GPU=0.3, SYNCHRONIZATION=0.25, QUEUED=0.25, UNKNOWN=0.2))
    assert found.bound == "UNKNOWN"


@pytest.mark.parametrize("name", ["TRANSFER", "COMMUNICATION"])
def test_exposed_copies_and_communication(name):
    found = judge_run(figures(idle=0.1, empty=0.1, GPU=0.5, LAUNCH=0.1, **{name: 0.4}))
    assert found.bound == name


def test_a_busy_gpu_is_bound_by_what_its_kernels_are():
    busy = figures(idle=0.02, empty=0.5, GPU=0.97, LAUNCH=0.03)
    assert judge_run(busy, {"MEMORY": 0.7, "UNKNOWN": 0.3}).bound == "MEMORY"
    compute = judge_run(busy, {"COMPUTE": 0.8, "MEMORY": 0.2})
    assert (compute.bound, compute.inputs["compute_bound_share"]) == ("COMPUTE", 0.8)
    assert compute.thresholds == pytest.approx({"gpu_share": 0.7, "bound_share": 0.5})
    assert "kernels bound by compute hold 80 % of that" in compute.reason
    unknown = judge_run(busy, {"UNKNOWN": 0.9, "MEMORY": 0.1})
    assert (unknown.bound, unknown.missing) == ("UNKNOWN", (NO_BOUNDS,))
    assert judge_run(busy).missing == (NO_BOUNDS,)


def test_without_a_timeline_it_is_not_decidable_and_says_what_is_missing():
    found = judge_run(None)
    assert (found.bound, found.reason, found.missing) == ("UNKNOWN", "not decidable", (NO_TIMELINE, NO_OVERHEAD))


def test_a_measured_overhead_is_not_missing():
    found = judge_run(None, tracing_ratio=1.03)
    assert (found.missing, found.inputs) == ((NO_TIMELINE,), {"tracing_ratio": 1.03})


def test_overhead_from_timings_needs_twice_the_floor():
    # the batch size study: 0.18 ms of bytes against 10.3 ms measured.
    step = StepTime(10.3e6, 0.18e-3 * 1.008e12, 1.008e12)
    assert step.floor_ns == pytest.approx(0.18e6)
    assert judge_run(None, step=step).bound == "LAUNCH"
    near = judge_run(None, step=StepTime(0.3e6, 0.18e-3 * 1.008e12, 1.008e12))
    assert (near.bound, near.missing) == ("UNKNOWN", (NO_TIMELINE,))
    compute = StepTime(10e6, 1.0, 1e12, least_flop=8e9, flop_per_s=1e12)
    assert compute.floor_ns == pytest.approx(8e6)


def test_a_ratio_of_two_scopes_is_refused():
    kernels, wall = Scoped(2.8e6, "captured range, one cold step"), Scoped(9.9e6, "wall time of another run")
    with pytest.raises(AnalysisError, match="captured range") as caught:
        share_of(kernels, wall)
    assert caught.value.slug == "two-scopes"
    assert share_of(Scoped(1.0, "a"), Scoped(4.0, "a")) == 0.25


def test_bounds_are_weighed_by_time():
    def row(bound, total):
        return RooflineRow("c", "k", "GEMM", "counters", bound, total, None, 1, "DRAM", None, None, None)

    assert bound_shares([row("MEMORY", 3.0), row("COMPUTE", 1.0), row("MEMORY", None)]) == {
        "MEMORY": 0.75,
        "COMPUTE": 0.25,
    }
    assert bound_shares([]) == {}


@given(
    st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1)), st.one_of(st.none(), st.floats(0.5, 3)),
    st.lists(st.floats(0, 1), min_size=len(COSTS), max_size=len(COSTS)),
)  # fmt: skip
def test_every_run_has_one_bound_and_more_tracing_never_makes_it_launch_bound(idle, empty, ratio, parts):
    whole = sum(parts) or 1.0
    shares = {name: part / whole for name, part in zip(COSTS, parts, strict=True)}
    found = judge_run(figures(idle=idle, empty=empty, ratio=ratio, **shares))
    assert found.bound in RUN_BOUNDS
    assert found.bound != "LAUNCH" or (ratio is not None and ratio <= 1.1 and idle > 0.3)


@pytest.mark.shared
def test_the_data_of_document_003_alone_decide_nothing(shared_data):
    from click.testing import CliRunner

    from nsightkit.cli import cli

    runs = shared_data / "seed-runs"
    result = CliRunner().invoke(cli, ["verdict", str(runs / "dsocr-v2"), str(runs / "dsocr-nsys"), "--format", "json"])
    assert '"bound": "UNKNOWN"' in result.stdout
    assert "not decidable" in result.stdout
    assert NO_TIMELINE in result.stdout
    assert NO_OVERHEAD in result.stdout
