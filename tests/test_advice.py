"""NVIDIA's advice: global estimates weighed by time, local ones as they are, none added up."""

from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.advice import rank_advice


def launch(index, duration, name="k"):
    return {"capture_id": "c", "launch_index": index, "kernel_name": name, "duration_ns": duration}


def finding(index, percent, kind="GLOBAL", rule="R", title="T", **more):
    base = {
        "capture_id": "c",
        "launch_index": index,
        "rule": rule,
        "title": title,
        "message": "m",
        "kind": "OPTIMIZATION",
    }
    return base | {"speedup_kind": kind, "estimated_speedup_pct": percent} | more


def test_a_global_estimate_is_weighed_by_the_time_of_its_launches():
    launches = [launch(0, 100.0), launch(1, 300.0), launch(2, 600.0, "other")]
    (one,) = rank_advice([finding(0, 50.0), finding(1, 10.0)], launches)
    assert (one.launch_count, one.estimated_share, one.time_share) == (2, 0.5, 0.4)
    assert one.run_share == (0.5 * 100 + 0.1 * 300) / 1000


def test_what_a_rule_says_twice_of_one_launch_takes_its_time_once():
    loads, stores = finding(0, 45.0) | {"message": "loads"}, finding(0, 43.0) | {"message": "stores"}
    found = rank_advice([loads, stores], [launch(0, 100.0), launch(1, 300.0, "other")])
    assert [(one.message, one.launch_count, one.time_share, one.run_share) for one in found] == [
        ("loads", 1, 0.25, 0.45 * 0.25),
        ("stores", 1, 0.25, 0.43 * 0.25),
    ]


def test_an_estimate_beside_the_words_of_one_launch_is_one_advice():
    (one,) = rank_advice([finding(0, 30.0) | {"message": ""}, finding(0, None)], [launch(0, 100.0)])
    assert (one.message, one.launch_count, one.time_share, one.run_share) == ("m", 1, 1.0, 0.3)


def test_a_local_estimate_is_never_multiplied():
    (one,) = rank_advice([finding(0, 90.0, "LOCAL")], [launch(0, 1.0), launch(1, 99.0)])
    assert (one.estimated_share, one.run_share) == (0.9, None)


def test_the_order_is_what_could_be_saved_of_the_run():
    launches = [launch(0, 10.0, "small"), launch(1, 90.0, "large")]
    found = rank_advice([finding(0, 80.0), finding(1, 20.0), finding(0, 95.0, "LOCAL", rule="L")], launches)
    assert [(one.kernel_name, one.rule) for one in found] == [("large", "R"), ("small", "R"), ("small", "L")]


def test_errors_and_results_that_are_fine_are_no_advice():
    rules = [finding(0, None, kind_="x", kind="OK"), finding(0, None, kind="ERROR"), finding(9, 50.0)]
    rules = [{key: value for key, value in rule.items() if key != "kind_"} for rule in rules]
    rules[0]["kind"], rules[1]["kind"] = "OK", "ERROR"
    assert rank_advice(rules, [launch(0, 1.0)]) == []


def test_a_result_without_words_and_estimate_is_no_advice():
    """UncoalescedGlobalAccess of ncu 2022 leaves one beside its advice: a table of source lines, without a word."""
    silent = finding(0, None, title="") | {"message": ""}
    assert rank_advice([silent], [launch(0, 1.0)]) == []
    assert len(rank_advice([silent | {"message": "m"}, silent | {"estimated_speedup_pct": 3.0}], [launch(0, 1.0)])) == 1


def test_without_durations_or_estimates_nothing_is_at_stake():
    (one,) = rank_advice([finding(0, None)], [launch(0, None)])
    assert (one.estimated_share, one.time_share, one.run_share) == (None, None, None)
    (odd,) = rank_advice([finding(0, 250.0)], [launch(0, 1.0)])
    assert odd.run_share is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 1e6)), min_size=1, max_size=8))
def test_what_is_at_stake_is_never_more_than_the_share_of_time(pairs):
    launches = [launch(i, duration, f"k{i}") for i, (_, duration) in enumerate(pairs)]
    for one in rank_advice([finding(i, percent) for i, (percent, _) in enumerate(pairs)], launches):
        assert one.run_share <= one.time_share * (1 + 1e-9)
