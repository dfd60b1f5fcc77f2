"""Conditions held against results of benchmarks, and baselines of timings."""

import json
import random

import pytest
from click.testing import CliRunner

from nsightkit.analysis.compare.comparison import CompareOptions
from nsightkit.analysis.compare.conditions import ConditionError, parse_condition
from nsightkit.analysis.compare.gate import NotComparableError, exit_code_of
from nsightkit.analysis.compare.noise import NoiseOptions
from nsightkit.analysis.compare.stored_timings import stored_timings, timings_from_stored
from nsightkit.analysis.compare.timing_comparison import TimedSide, compare_timings
from nsightkit.analysis.compare.timing_gate import evaluate_timings
from nsightkit.analysis.foreign_results import Results, Timing
from nsightkit.analysis.work.model_shapes import ModelShape
from nsightkit.cli import cli
from nsightkit.errors import AnalysisError

SHAPE = ModelShape(layers=2, heads=2, width=8, vocabulary=16)


def timing(ms, batch=2, prompt=64, new_tokens=10, **more):
    known = {"source": f"{ms}.json", "arm": "KV cache on", "cached": True, "gpu": "G", "dtype": "bfloat16"}
    return Timing(**{**known, "model": SHAPE, "batch": batch, "prompt": prompt, "new_tokens": new_tokens,
                     "scope": "decode", "decode_ms": ms, **more})  # fmt: skip


def side(name, *timings):
    return TimedSide(name, Results(timings=timings))


def runs(ms, count=5, seed=0, noise=0.003, **more):
    rng = random.Random(seed)
    return [timing(ms * (1 + rng.gauss(0, noise)), **more) for _ in range(count)]


def held(texts, base, head, accepted=None, per_token=False, varies=()):
    comparison = compare_timings(side("base", *base), side("head", *head), CompareOptions(per_token=per_token), varies)
    return evaluate_timings([parse_condition(text) for text in texts], comparison, NoiseOptions(), accepted or {})


BASE, SLOW = runs(100.0), runs(110.0, seed=1)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("total_ns > +3%", "regressed"),
        ("total_ns > +15%", "passed"),
        ("per_token_ns > +3%", "regressed"),
        ("per_token_ns > +2ms", "passed"),
        ("per_token_ns > +0.5ms", "regressed"),
        ("per_token_ns > 10.5ms", "regressed"),
        ("per_token_ns > 12ms", "passed"),
        ("tokens_per_s < -3%", "regressed"),
        ("tokens_per_s < -15%", "passed"),
        ("tokens_per_s > +3%", "passed"),
        ("tokens_per_s < 190", "regressed"),
        ("tokens_per_s < 150", "passed"),
        ("total_ns > +10%", "inconclusive"),
    ],
)
def test_known_changes(text, status):
    [outcome] = held([text], BASE, SLOW)
    assert outcome.status == status, outcome
    assert outcome.subject == "batch 2, prompt 64"


def test_a_rate_is_that_of_all_sequences():
    [outcome] = held(["tokens_per_s < -3%"], runs(100.0, noise=0), runs(100.0, noise=0, seed=2))
    assert outcome.base == pytest.approx(2 * 10 / 0.1)


def test_each_setting_by_itself_and_one_by_name():
    base = [*BASE, *runs(50.0, batch=1, seed=3)]
    head = [*SLOW, *runs(50.0, batch=1, seed=4)]
    outcomes = held(["total_ns > +3%"], base, head)
    assert {outcome.subject: outcome.status for outcome in outcomes} == {
        "batch 1, prompt 64": "passed",
        "batch 2, prompt 64": "regressed",
    }
    assert exit_code_of(outcomes) == 1
    [one] = held(["setting:batch=1.total_ns > +3%"], base, head)
    assert one.status == "passed"
    [other] = held(["setting:batch=2, prompt=64.total_ns > +3%"], base, head)
    assert other.status == "regressed"


def test_a_setting_that_the_head_no_longer_times_is_no_pass():
    base = [*BASE, *runs(50.0, batch=1, seed=3)]
    with pytest.raises(NotComparableError, match="head does not time batch 1") as caught:
        held(["total_ns > +3%"], base, SLOW)
    assert caught.value.exit_code == 3
    assert [one.status for one in held(["setting:batch=2.total_ns > +15%"], base, SLOW)] == ["passed"]


def test_a_setting_of_the_head_alone_has_no_change_and_may_have_a_bound():
    head = [*SLOW, *runs(50.0, batch=1, seed=3)]
    assert len(held(["total_ns > +15%"], BASE, head)) == 1
    with pytest.raises(NotComparableError, match="on one side only"):
        held(["setting:batch=1.total_ns > +15%"], BASE, head)
    [bound] = held(["setting:batch=1.total_ns > 40ms"], BASE, head)
    assert (bound.status, bound.base) == ("regressed", None)


def test_few_runs_are_inconclusive():
    [outcome] = held(["total_ns > +3%"], BASE[:4], SLOW[:4])
    assert (outcome.status, outcome.low) == ("inconclusive", None)
    assert exit_code_of([outcome]) == 4


def test_repetitions_within_a_run_make_the_interval_wider_and_never_narrower():
    noisy = [timing(one.decode_ms, samples_ms=(80.0, 100.0, 120.0)) for one in BASE]
    [plain] = held(["tokens_per_s < -3%"], BASE, BASE)
    [wide] = held(["tokens_per_s < -3%"], noisy, noisy)
    assert wide.high - wide.low > plain.high - plain.low > 0


def test_what_is_not_recorded_is_not_comparable():
    with pytest.raises(NotComparableError, match="does not record peak_bytes"):
        held(["peak_bytes > +3%"], BASE, SLOW)
    with pytest.raises(NotComparableError, match="head does not record prefill_ns"):
        held(["prefill_ns > +3%"], runs(100.0, prefill_ms=5.0), SLOW)
    [memory] = held(["peak_bytes > +1MB"], runs(9.0, peak_bytes=1e6), runs(9.0, seed=1, peak_bytes=3e6))
    assert (memory.status, memory.change) == ("regressed", pytest.approx(2e6))
    [prefill] = held(["prefill_ns > +3%"], runs(9.0, prefill_ms=4.0), runs(9.0, seed=1, prefill_ms=5.0))
    assert (prefill.status, prefill.base) == ("regressed", pytest.approx(4e6))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mean_ns > +3%", "results of a benchmark have"),
        ("dram_bytes > +3%", "results of a benchmark have"),
        ("decode.total_ns > +3%", "scope range"),
        ("kernels:.*.total_ns > +3%", "scope kernels"),
        ("setting:batch=7.total_ns > +3%", "neither side has"),
        ("setting:batch.total_ns > +3%", "no setting 'batch'"),
        ("setting:colour=7.total_ns > +3%", "no setting 'colour=7'"),
    ],
)
def test_what_results_do_not_have_is_wrong_usage(text, said):
    with pytest.raises(ConditionError, match=said) as caught:
        held([text], BASE, SLOW)
    assert caught.value.exit_code == 2


def test_other_token_counts_are_held_by_token():
    other = runs(200.0, seed=5, new_tokens=20)
    [outcome] = held(["per_token_ns > +3%"], BASE, other, per_token=True)
    assert (outcome.status, outcome.subject) == ("passed", "batch 2, prompt 64")


def test_what_was_accepted_passes_up_to_there():
    key = "total_ns > +3% [batch 2, prompt 64]"
    assert held(["total_ns > +3%"], BASE, SLOW, {key: 1.12})[0].status == "accepted"
    assert held(["total_ns > +3%"], BASE, SLOW, {key: 1.05})[0].status == "regressed"


def test_a_metric_nearly_known_is_named():
    with pytest.raises(ConditionError, match="did you mean per_token_ns"):
        parse_condition("ms_per_token > +3%")


def test_stored_timings_come_back_as_they_were():
    full = timing(
        9.5, samples_ms=(9.0, 10.0), ci_ms=(9.0, 10.0), parts_ms=(("mlp", 1.0),), step_percentiles_ms=(1.0, 2.0, 3.0)
    )
    bare = timing(8.0, gpu=None, dtype=None, model=None, cached=None)
    kept = json.loads(json.dumps(stored_timings([full, bare])))
    assert "peak_bytes" not in kept[0]
    assert timings_from_stored(kept) == (full, bare)
    assert timings_from_stored([{**kept[1], "of_a_later_version": 1}]) == (bare,)


@pytest.mark.parametrize("damaged", [{}, {"source": "x"}, "text", {"source": "x", "model": {"nonsense": 1}}])
def test_damaged_timings_are_named(damaged):
    with pytest.raises(AnalysisError, match="save the baseline again"):
        timings_from_stored([damaged])


def benchmark(ms, batch=8):
    return {
        "meta": {"dtype": "bfloat16", "gpu_name": "G"},
        "params": {"batch_size": batch, "prompt_len": 64, "max_new_tokens": 10, "kv_cache": True, "phase": "decode"},
        "metrics": {"decode_total_ms": ms, "decode_tok_s": 1e4 / ms, "peak_alloc_bytes": 1000},
    }


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, ms in (("main", 100.0), ("branch", 110.0)):
        (tmp_path / name).mkdir()
        rng = random.Random(name)
        for number in range(5):
            text = json.dumps(benchmark(ms * (1 + rng.gauss(0, 0.003))))
            (tmp_path / name / f"{number}.json").write_text(text, encoding="utf-8")


def nsightkit(*arguments):
    return CliRunner().invoke(cli, list(arguments))


def test_the_gate_takes_results_and_a_baseline_of_them(files, tmp_path):
    assert nsightkit("gate", "main", "branch", "--fail-on", "per_token_ns > +3%").exit_code == 1
    assert nsightkit("gate", "main", "branch", "--fail-on", "tokens_per_s < -30%").exit_code == 0
    saved = nsightkit("baseline", "save", "speed", "main")
    assert saved.exit_code == 0, saved.output
    stored = tmp_path / "baselines" / "speed"
    assert sorted(path.name for path in stored.iterdir()) == ["baseline.json", "timings.json"]
    result = nsightkit("gate", "speed", "branch", "--fail-on", "per_token_ns > +3%", "--format", "json")
    (row,) = json.loads(result.stdout)
    assert (result.exit_code, row["status"]) == (1, "regressed")
    assert row["change"] == pytest.approx(1.1, abs=0.01)
    compared = nsightkit("compare", "speed", "branch")
    assert "Verdicts: 1 slower" in compared.stdout
    (listed,) = json.loads(nsightkit("baseline", "list", "--format", "json").stdout)
    assert (listed["run_count"], listed["setting_count"], listed["gpu_name"]) == (5, 1, "G")


def test_a_regression_of_timings_is_accepted_in_the_baseline(files):
    nsightkit("baseline", "save", "speed", "main")
    condition = ("--fail-on", "total_ns > +3%")
    accepted = nsightkit("gate", "speed", "branch", *condition, "--accept", "exact softmax")
    assert accepted.exit_code == 0, accepted.output
    (item,) = json.loads(nsightkit("baseline", "show", "speed", "--format", "json").stdout)[0]["accepted"]
    assert (item["reason"], item["condition"]) == (
        "exact softmax", "total_ns > +3% [batch 8, prompt 64]")  # fmt: skip
    again = nsightkit("gate", "speed", "branch", *condition)
    assert again.exit_code == 0
    assert "accepted" in again.stdout


def test_results_against_captures_are_not_comparable(files, tmp_path):
    (tmp_path / "empty").mkdir()
    result = nsightkit("gate", "main", "empty", "--fail-on", "total_ns > +3%")
    assert result.exit_code == 3
    assert "compare results with results" in result.stderr


def test_an_empty_or_damaged_side_of_results_is_no_win(files, tmp_path):
    for number in range(5):
        broken = benchmark(100.0)
        broken["metrics"]["decode_total_ms"] = 0.0
        (tmp_path / "branch" / f"{number}.json").write_text(json.dumps(broken), encoding="utf-8")
    result = nsightkit("gate", "main", "branch", "--fail-on", "total_ns > +3%")
    assert result.exit_code == 3
    assert "is no timing" in result.stderr


def test_a_faster_program_that_fails_is_remarked(files):
    result = nsightkit("gate", "branch", "main", "--fail-on", "tokens_per_s > +3%")
    assert result.exit_code == 1
    assert "write 'tokens_per_s < -3%'" in result.stderr


def test_a_damaged_baseline_of_timings_is_named(files, tmp_path):
    nsightkit("baseline", "save", "speed", "main")
    (tmp_path / "baselines" / "speed" / "timings.json").write_text("[1, 2", encoding="utf-8")
    result = nsightkit("gate", "speed", "branch", "--fail-on", "total_ns > +3%")
    assert result.exit_code == 3
    assert "save the baseline again" in result.stderr
    assert "Traceback" not in result.output


def test_five_sweeps_in_a_folder_are_five_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, ms in (("main", 100.0), ("branch", 110.0)):
        rng = random.Random(name)
        for number in range(5):
            cell = tmp_path / name / f"sweep-{number}" / "cells" / "b8"
            cell.mkdir(parents=True)
            (cell / "results.json").write_text(json.dumps(benchmark(ms * (1 + rng.gauss(0, 0.003)))), encoding="utf-8")
            (cell.parents[1] / "sweep.json").write_text('{"tool": "none"}', encoding="utf-8")
    result = nsightkit("gate", "main", "branch", "--fail-on", "total_ns > +3%")
    assert result.exit_code == 1, result.output


def test_an_acceptance_is_found_again_beside_other_conditions(files):
    nsightkit("baseline", "save", "speed", "main")
    one, other = ("--fail-on", "per_token_ns > +3%"), ("--fail-on", "peak_bytes > +1MB")
    assert nsightkit("gate", "speed", "branch", *one, "--accept", "known").exit_code == 0
    assert nsightkit("gate", "speed", "branch", *one, *other).exit_code == 0


def test_runs_that_differ_more_than_tenfold_are_said_to_show_nothing(files, tmp_path):
    for number, ms in enumerate((1.0, 50.0, 2_000.0, 7.0, 90_000.0)):
        (tmp_path / "branch" / f"{number}.json").write_text(json.dumps(benchmark(ms)), encoding="utf-8")
    result = nsightkit("gate", "main", "branch", "--fail-on", "total_ns > +3%")
    assert result.exit_code == 4
    assert "none below 10×" in result.stdout
