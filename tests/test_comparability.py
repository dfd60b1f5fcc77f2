from dataclasses import replace

import pytest

from nsightkit.analysis.compare.comparability import (
    COUNTED,
    MUST_AGREE,
    TIMELINE,
    Allowances,
    SideFacts,
    check_comparable,
    refusals,
)

GOOD = SideFacts("base", TIMELINE, 100, 0, tokens=16, facts={"gpu": "H100", "dtype": "BF16", "driver": "550"})


def checked(head, base=GOOD, **allowed):
    return check_comparable(base, replace(head, name="head"), Allowances(**allowed))


def status(checks, name):
    return next(check.status for check in checks if check.name == name)


def test_a_side_is_comparable_with_itself():
    checks = checked(GOOD)
    assert refusals(checks) == []
    assert {status(checks, name) for name in ("gpu", "tokens", "graph mode", "measurement", "capture quality")} == {
        "same"
    }


def test_what_is_not_known_is_shown_as_unknown_and_not_refused():
    checks = checked(replace(GOOD, facts={}, tokens=None))
    assert refusals(checks) == []
    assert status(checks, "gpu") == "unknown"
    assert status(checks, "tokens") == "unknown"


@pytest.mark.parametrize("name", list(MUST_AGREE))
def test_each_fact_that_must_agree_is_refused_by_name_with_the_way_out(name):
    base = replace(GOOD, facts={**GOOD.facts, name: "nsys: one"})
    head = replace(GOOD, facts={**GOOD.facts, name: "nsys: two"})
    [reason] = refusals(checked(head, base))
    assert reason.startswith(f"{name}: base has nsys: one, head nsys: two; ")
    assert refusals(checked(head, base, varies=(name,))) == []
    assert status(checked(head, base, varies=(name,)), name) == "allowed"


def test_a_driver_may_differ_and_is_shown():
    checks = checked(replace(GOOD, facts={**GOOD.facts, "driver": "570"}))
    assert refusals(checks) == []
    assert status(checks, "driver") == "differs"


def test_an_empty_head_is_no_win():
    [reason] = refusals(checked(replace(GOOD, launch_count=0)))
    assert reason.startswith("head: no kernel launch; an empty capture is neither faster nor slower")


def test_a_capture_without_times_is_refused():
    [reason] = refusals(checked(replace(GOOD, untimed_count=100)))
    assert "no launch has a duration" in reason


def test_a_failed_program_is_refused():
    [reason] = refusals(checked(replace(GOOD, problems=("the profiled program ended with exit code 1",))))
    assert reason == "head: the profiled program ended with exit code 1"


def test_other_token_counts_are_refused_unless_divided_by():
    head = replace(GOOD, tokens=32)
    [reason] = refusals(checked(head))
    assert reason.startswith("tokens: base made 16, head 32; compare per token with --per-token")
    assert refusals(checked(head, per_token=True)) == []
    assert refusals(checked(head, varies=("tokens",))) == []


def test_nothing_can_be_divided_by_tokens_that_are_not_known():
    [reason] = refusals(checked(replace(GOOD, tokens=None), per_token=True))
    assert reason.startswith("tokens: not known of head")


def test_graph_mode_against_node_mode_is_refused():
    [reason] = refusals(checked(replace(GOOD, hides_graphs=True)))
    assert reason.startswith("graph mode: head hides the kernels inside CUDA graphs")
    assert "--cuda-graph-trace=node" in reason
    both = replace(GOOD, hides_graphs=True)
    assert status(checked(both, both), "graph mode") == "differs"


def test_a_timeline_is_not_compared_with_counters():
    [reason] = refusals(checked(replace(GOOD, basis=COUNTED)))
    assert reason.startswith("measurement: base has times of all launches, on a timeline, head of profiled launches")


def test_other_sections_are_shown_by_name():
    base = replace(GOOD, metrics=frozenset({"dram_bytes", "fp32_flop"}))
    head = replace(GOOD, metrics=frozenset({"dram_bytes", "l2_bytes"}))
    check = next(c for c in checked(head, base) if c.name == "counters")
    assert check.status == "differs"
    assert check.message.endswith("only in base: fp32_flop; only in head: l2_bytes")


def test_runs_of_one_side_must_agree():
    [reason] = refusals(checked(replace(GOOD, run_count=5, contradictions=("gpu",))))
    assert reason == "head: its 5 runs differ in gpu; a side is one program run several times"


def test_scopes_in_the_words_of_two_tools_are_shown_and_not_refused():
    base = replace(GOOD, facts={"scope": "nsys: whole capture"})
    head = replace(GOOD, facts={"scope": "torch: the whole trace"})
    assert refusals(checked(head, base)) == []
    assert status(checked(head, base), "scope") == "differs"


def test_what_is_refused_comes_first():
    checks = checked(replace(GOOD, tokens=1, facts={"gpu": "A100", "driver": "1"}))
    assert [check.status for check in checks][:2] == ["refused", "refused"]
