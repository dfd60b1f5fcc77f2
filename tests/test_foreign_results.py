"""Results of other benchmarks: their tables re-made to the printed digit, unfairness found by rules over the data."""

import json
from dataclasses import replace

import pytest

from nsightkit.analysis.foreign_results import Counted, Quality, Results, Timing, parse_results
from nsightkit.analysis.studies.decode import Pair
from nsightkit.analysis.unfairness import RULES, disturbance, find_flags, without_first
from nsightkit.analysis.work.model_shapes import shape_of_name
from nsightkit.errors import IngestError
from nsightkit.ingest.foreign_results import load_results


def timing(**changes):
    plain = {
        "source": "a.json",
        "arm": "KV cache on",
        "cached": True,
        "gpu": "G",
        "dtype": "bfloat16",
        "model": None,
        "batch": 1,
        "prompt": 64,
        "new_tokens": 16,
        "scope": "decode",
        "decode_ms": 160.0,
        "sample_count": 5,
    }
    return Timing(**plain | changes)


def rules_of(**parts):
    return [flag.rule for flag in find_flags(Results(**parts))]


def texts_of(**parts):
    return " | ".join(flag.text for flag in find_flags(Results(**parts)))


class TestRules:
    def test_a_fair_comparison_has_no_flag(self):
        arms = (timing(), timing(arm="KV cache off", cached=False, decode_ms=900.0))
        quality = (Quality("v0", 20.0, 3.0, 100), Quality("v1", 20.05, 3.0, 100))
        assert rules_of(timings=arms, quality=quality) == []

    @pytest.mark.parametrize(
        ("batch", "printed", "flagged"), [(8, 100.0, True), (1, 100.0, False), (8, 800.0, False), (8, None, False)]
    )
    def test_batch_left_out(self, batch, printed, flagged):
        one = timing(batch=batch, printed_tokens_per_s=printed)
        assert ("batch left out of tokens/s" in rules_of(timings=(one,))) is flagged
        if flagged:
            assert "together they make 800.0 tokens/s" in texts_of(timings=(one,))

    def test_fixed_cost_is_solved_for(self):
        # 100 ms once and 5 ms a step.
        pair = tuple(timing(new_tokens=n, decode_ms=100 + 5 * n) for n in (16, 128))
        assert "about 100 ms happen once, a step takes 5.0 ms" in texts_of(timings=pair)
        assert rules_of(timings=tuple(timing(new_tokens=n, decode_ms=5 * n) for n in (16, 128))) == []
        # Without a cache a step grows by itself.
        assert (
            rules_of(timings=tuple(timing(new_tokens=n, decode_ms=100 + 5 * n, cached=False) for n in (16, 128))) == []
        )

    def test_fixed_cost_needs_one_configuration(self):
        pair = (timing(new_tokens=16, decode_ms=180.0), timing(new_tokens=128, decode_ms=740.0, batch=2))
        assert rules_of(timings=pair) == []

    def test_cold_run(self):
        cold = timing(decode_ms=10.5, samples_ms=(30.0, 10.0, 11.0, 10.0))
        assert rules_of(timings=(cold,)) == ["cold first run"]
        assert without_first(cold) == (10.0, 11.0, 10.0)
        even = timing(decode_ms=11.0, samples_ms=(14.0, 10.0, 11.0))
        assert rules_of(timings=(even,)) == []
        assert without_first(even) == (14.0, 10.0, 11.0)

    @pytest.mark.parametrize(("share", "flagged"), [(0.005, True), (0.6, True), (0.99, False), (1.3, False)])
    @pytest.mark.parametrize("phase", ["prefill", "decode"])
    def test_missing_flop(self, phase, share, flagged):
        from nsightkit.analysis.work import paper_model as paper

        model = shape_of_name("gpt2-medium")
        cost = {"prefill": paper.prefill_cost, "decode": paper.decode_cost}[phase]
        least = cost(model, paper.Work(prompt=32, new_tokens=1)).flop
        counted = (Counted("x", "v1", phase, least * share, 1e9, 1e6, 10),)
        assert ("tensor FLOP missing" in rules_of(counted=counted, model=model, prompt=32)) is flagged
        assert "tensor FLOP missing" not in rules_of(counted=counted)

    def test_peaks_of_two_gpus(self):
        # The roofline of the KV variants study: bandwidth of an A6000, tensor rate of an A100.
        mixed = (("flop_per_s", 312e12), ("bytes_per_s", 768e9))
        assert rules_of(peaks=mixed) == ["peaks of two GPUs"]
        assert "rtx-a6000" in texts_of(peaks=mixed)
        assert rules_of(peaks=(("flop_per_s", 312e12), ("bytes_per_s", 2039e9))) == []
        # A GPU that nobody knows proves nothing.
        assert rules_of(peaks=(("flop_per_s", 111.17e12), ("bytes_per_s", 768e9))) == []

    @pytest.mark.parametrize(("count", "flagged"), [(None, True), (1, True), (2, False)])
    def test_single_measurement(self, count, flagged):
        assert ("a single measurement" in rules_of(timings=(timing(sample_count=count),))) is flagged

    @pytest.mark.parametrize(("name", "value"), [("dtype", "float32"), ("gpu", "H"), ("scope", "prefill and decode")])
    def test_unequal_arms(self, name, value):
        other = timing(arm="KV cache off", cached=False, **{name: value})
        assert rules_of(timings=(timing(), other)) == [f"unequal {name}"]
        # Two dtypes of one arm are a comparison of dtypes.
        assert rules_of(timings=(timing(), timing(**{name: value}))) == []

    def test_a_cache_that_changes_the_text(self):
        quality = (Quality("v0", 20.0, 3.0, 100), Quality("v1", 30.0, 3.4, 100), Quality("v1", 20.0, 3.0, 200))
        assert rules_of(quality=quality) == ["a cache changed the text"]

    def test_every_rule_is_silent_without_data(self):
        assert len(RULES) == 12
        assert find_flags(Results()) == []
        assert [rule.looks_for for rule in RULES if rule.applies(Results())] == []

    @pytest.mark.parametrize(("off_ms", "flagged"), [(52.0, True), (14.0, True), (34.0, False), (27.0, False)])
    def test_equal_work_timed_differently(self, off_ms, flagged):
        """Prefill is what a cache does not shorten: 27 and 52 ms were measured beside a neighbor's load."""
        arms = (timing(prefill_ms=27.0), timing(arm="KV cache off", cached=False, prefill_ms=off_ms))
        assert ("equal work timed differently" in rules_of(timings=arms)) is flagged
        found = disturbance(Pair(*arms))
        assert found == (pytest.approx(max(27 / off_ms, off_ms / 27)) if flagged else None)

    def test_numbers_that_contradict_one_another(self):
        assert rules_of(timings=(timing(printed_tokens_per_s=123.0),)) == ["rate and time disagree"]
        assert rules_of(timings=(timing(printed_tokens_per_s=100.4),)) == []
        assert rules_of(timings=(timing(samples_ms=(200.0, 201.0, 199.0)),)) == ["time and repetitions disagree"]
        assert "states 160 ms; the median of its 3 repetitions is 200 ms" in texts_of(
            timings=(timing(samples_ms=(200.0, 201.0, 199.0)),)
        )
        assert rules_of(timings=(timing(samples_ms=(160.0, 201.0, 159.0)),)) == []

    def test_unequal_work_or_unknown_times_prove_nothing(self):
        off = timing(arm="v0", cached=False, prefill_ms=10.0)
        assert rules_of(timings=(off, timing(arm="v1", prefill_ms=20.0))) == ["equal work timed differently"]
        assert rules_of(timings=(off, timing(arm="v2", prefill_ms=20.0))) == []  # quantizes in its prefill
        assert rules_of(timings=(off, timing(arm="v1", prefill_ms=None))) == []
        assert rules_of(timings=(off, timing(arm="v1", prefill_ms=20.0, prompt=65))) == []  # other work

    def test_counters_without_a_prompt(self):
        bare = Counted("x", "v1", "prefill", 1e9, 1e9, 1e6, 10)
        assert rules_of(counted=(bare,)) == ["prompt of the counters not recorded"]
        assert "a prompt of 32, which need not be theirs" in texts_of(counted=(bare,), prompt=32)
        assert rules_of(counted=(replace(bare, prompt=512),)) == []

    def test_the_prompt_of_the_counters_goes_before_that_of_the_timings(self):
        from nsightkit.analysis.work import paper_model as paper

        model = shape_of_name("gpt2-medium")
        least = paper.prefill_cost(model, paper.Work(prompt=512, new_tokens=1)).flop
        counted = Counted("x", "v1", "prefill", least / 2, 1e9, 1e6, 10, 512)
        text = texts_of(counted=(counted,), model=model, prompt=32)
        assert "with a prompt of 512 take" in text
        assert f"the intensity of {least / 2 / 1e9:.3g} FLOP/B is too low" in text
        assert rules_of(counted=(replace(counted, flop=least),), model=model, prompt=32) == []

    def test_rules_that_applied_are_told_from_those_that_did_not(self):
        one = Results(timings=(timing(),))
        assert [rule.looks_for for rule in RULES if rule.applies(one)] == ["a single measurement"]
        two = Results(timings=(timing(), timing(arm="KV cache off", cached=False)))
        assert "unequal dtype, device or scope of arms" in [rule.looks_for for rule in RULES if rule.applies(two)]

    def test_a_rule_that_finds_something_applied(self):
        """Else a report would list a flag and say beside it that nothing was there to judge."""
        quality = (Quality("v0", 20.0, 3.0, 100), Quality("v1", 30.0, 3.4, 100))
        arms = tuple(timing(arm=arm, cached=arm == "a", new_tokens=n, decode_ms=100.0 + n, sample_count=None, batch=2,
                            printed_tokens_per_s=1e3 * n / (100.0 + n), samples_ms=(9.0, 1.0, 1.0),
                            dtype=arm) for arm in "ab" for n in (16, 128))  # fmt: skip
        counted = (Counted("x", "v1", "prefill", 1.0, 1e9, 1e6, 10),)
        everything = Results(arms, counted, quality=quality, model=shape_of_name("gpt2-medium"),
                             peaks=(("flop_per_s", 312e12), ("bytes_per_s", 768e9)))  # fmt: skip
        hit = [rule.looks_for for rule in RULES if list(rule.find(everything))]
        assert {r.looks_for for r in RULES} - set(hit) == {
            "equal work timed differently",  # the arms of a pair are equal in dtype
            "a rate that its time contradicts",  # it is that of one sequence
        }
        assert [name for name in hit if name not in [r.looks_for for r in RULES if r.applies(everything)]] == []


class TestFiles:
    def test_unknown_objects_are_counted(self, tmp_path):
        (tmp_path / "a.json").write_text('{"hello": 1}')
        (tmp_path / "b.jsonl").write_text('{"benchmark_name": "new", "version": "v1"}\n\n[1]\n')
        results = parse_results(load_results([tmp_path]))
        assert results.passed_over == 1
        assert results.timings == ()

    @pytest.mark.parametrize("content", ["{", "\xff\xfe"])
    def test_damage_is_named(self, tmp_path, content):
        (tmp_path / "a.json").write_bytes(content.encode("latin-1"))
        with pytest.raises(IngestError, match=r"a\.json: no JSON"):
            load_results([tmp_path])

    def test_a_sweep_stands_for_the_results_of_its_cells(self, tmp_path):
        for name in ("kv_cache=off", "kv_cache=on"):
            cell = tmp_path / "cells" / name
            cell.mkdir(parents=True)
            (cell / "results.json").write_text(json.dumps({"cell": name}))
            (cell / "cell.json").write_text("{}")
        (tmp_path / "sweep.json").write_text("{}")
        assert load_results([tmp_path]) == [(name, {"cell": name}) for name in ("kv_cache=off", "kv_cache=on")]

    def test_nothing_there(self, tmp_path):
        with pytest.raises(IngestError, match="holds no results"):
            load_results([tmp_path])
        with pytest.raises(IngestError, match="no such file"):
            load_results([tmp_path / "x"])


@pytest.mark.shared
class TestDecodeStudy:
    """The KV decode study: `KV decode with Nsight`."""

    @pytest.fixture
    def results(self, shared_data):
        return parse_results(load_results([shared_data / "seed-runs" / "kv-decode"]))

    def test_the_summary_table(self, results):
        pair = {t.cached: t for t in results.timings if t.new_tokens == 16}
        assert {cached: round(t.decode_ms, 1) for cached, t in pair.items()} == {False: 2176.7, True: 676.1}
        assert {cached: round(t.ms_per_token, 1) for cached, t in pair.items()} == {False: 136.0, True: 42.3}
        assert {cached: round(t.tokens_per_s_per_sequence, 2) for cached, t in pair.items()} == {
            False: 7.35,
            True: 23.66,
        }
        assert {cached: round(t.tokens_per_s_aggregate, 1) for cached, t in pair.items()} == {False: 58.8, True: 189.3}

    def test_the_fair_table(self, results):
        fair = {(t.prompt, t.batch, t.cached): t.decode_ms for t in results.timings if t.new_tokens == 128}
        assert len(fair) == 32
        speedup = {key[:2]: fair[*key[:2], False] / fair[*key[:2], True] for key in fair}
        assert round(speedup[128, 1], 2) == 1.55 == round(min(speedup.values()), 2)
        # 17120.5 ÷ 2741.5; the notes on the documents print 6.25, one digit off.
        assert round(speedup[2048, 8], 2) == 6.24 == round(max(speedup.values()), 2)

    def test_flags(self, results):
        flags = {flag.rule: flag.text for flag in find_flags(results)}
        assert list(flags) == ["batch left out of tokens/s", "fixed cost inside the total", "a single measurement"]
        assert flags["fixed cost inside the total"] == (
            "42.3 ms per token at 16 tokens, 21.4 at 128: about 381 ms happen once, a step takes 18.4 ms"
        )


@pytest.mark.shared
class TestVariantStudy:
    """The KV variants study: `RESEARCH_SPACE`."""

    @pytest.fixture
    def results(self, shared_data):
        return parse_results(load_results([shared_data / "seed-runs" / "kv-variants"]))

    def test_counters(self, results):
        counted = {(c.variant, c.phase): c for c in results.counted}
        assert round(counted["v0", "prefill"].flop_per_byte, 3) == 1.566
        assert round(counted["v1", "decode"].flop_per_byte, 3) == 0.509
        assert round(counted["v0", "prefill"].flop / counted["v1", "decode"].flop, 1) == 5.2
        assert [counted["v0", "prefill"].kernel_count, counted["v1", "decode"].kernel_count] == [246, 319]

    def test_capacity_and_parts(self, results):
        users = {u.variant: u.users for u in results.users}
        assert (users["v1"], users["v4"], users["v0"]) == (491, 1867, 7586)
        assert round(users["v4"] / users["v1"], 2) == 3.80
        attention = {p.variant: round(p.ms("attention")) for p in results.parts}
        assert (attention["v1"], attention["v2"]) == (971, 2791)

    def test_quality(self, results):
        found = {q.variant: round(q.perplexity, 3) for q in results.quality if q.tokens == 16383}
        assert found == {
            "v0": 22.602,
            "v1": 22.539,
            "v2": 22.582,
            "v3": 988.759,
            "v4": 997.091,
            "v3a": 141.168,
            "v4a": 141.315,
        }

    def test_flags(self, results):
        flags = [(flag.rule, flag.subject) for flag in find_flags(results)]
        assert [s for r, s in flags if r == "tensor FLOP missing"] == [
            "v0_prefill_metrics.json",
            "v1_decode_metrics.json",
            "v1_prefill_metrics.json",
        ]
        assert [s for r, s in flags if r == "a cache changed the text"] == [
            f"v1 against v0, {n} tokens" for n in (1999, 4999, 287643)
        ]
        assert [s for r, s in flags if r == "prompt of the counters not recorded"] == ["3 sums of counters"]
        assert len(flags) == 7


def test_own_results_speak_the_same_language(tmp_path):
    from nsightkit import annotate

    def work(laps):
        for _ in range(4):
            with laps.time("decode_step"):
                pass

    measured = annotate.measure(work, annotate.Plan(1, 5))
    settings = {
        "variant": "v0",
        "batch_size": 2,
        "prompt_len": 8,
        "max_new_tokens": 4,
        "shape": {"layers": 1, "heads": 1, "kv_heads": 1, "width": 8, "vocabulary": 9, "max_length": 12},
    }
    own = {"timed": "steps", "tokens_run": 4, "metrics": {"time_per_output_token_ms": 3.0, "attention_ms": 1.0}}
    machine = annotate.describe_machine("cpu", "float32")
    annotate.write_results(tmp_path / "r.json", annotate.results_of("kv_variants", settings, machine, measured, own))
    (only,) = parse_results(load_results([tmp_path])).timings
    assert (only.arm, only.cached, only.decode_ms, only.sample_count) == ("v0", False, 12.0, 5)
    assert only.tokens_per_s_aggregate == pytest.approx(2 * 1e3 / 3)
    assert len(only.samples_ms) == 5
    assert only.ci_ms[0] <= only.ci_ms[1]
    assert only.steps_ms == pytest.approx(sorted(only.samples_ms)[2])  # no other time was recorded for the decode
    assert only.parts_ms == (("attention", 1.0),)
    assert only.model.mlp_width == 32
    assert json.loads((tmp_path / "r.json").read_text())["workload"] == "kv_variants"
