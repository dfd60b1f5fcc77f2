"""The studies: their arithmetic against the documents' figures, and whole reports from made-up and real results."""

import dataclasses
import json
import re
import tomllib

import pytest
from click.testing import CliRunner

from nsightkit.analysis.foreign_results import DECODE_ALONE, Counted, Quality, Results, Similarity, Timing, Users
from nsightkit.analysis.results import Analysis
from nsightkit.analysis.studies import decode, variants
from nsightkit.analysis.studies.instances import Decoded
from nsightkit.analysis.studies.operators import phase_profiles
from nsightkit.analysis.unfairness import RULES
from nsightkit.analysis.work import paper_model as paper
from nsightkit.analysis.work.host_cost import HostCost
from nsightkit.analysis.work.model_shapes import ModelShape, shape_of_name
from nsightkit.capture.workload import bundled_workloads
from nsightkit.cli import cli
from nsightkit.cli.study import declared_study, sweep_of
from nsightkit.report.blocks import DataTable, Group
from nsightkit.report.charts import text_width
from nsightkit.report.studies import STUDIES, build_study
from nsightkit.report.studies.drawing import Axis, bars, lines
from nsightkit.report.studies.parts import StudyInput, change, table
from nsightkit.report.studies.traces import Trace
from nsightkit.report.studies.writing import latex, write_study
from nsightkit.resources import resource_dir
from nsightkit.run import Capture, RunInfo

MODEL = ModelShape(layers=4, heads=4, width=64, vocabulary=100)


def timing(arm="KV cache on", cached=True, **changes):
    plain = {"source": "a.json", "arm": arm, "cached": cached, "gpu": "cpu (x)", "dtype": "float32", "model": MODEL,
             "batch": 1, "prompt": 50, "new_tokens": 199, "scope": DECODE_ALONE, "decode_ms": 199.0, "prefill_ms": 5.0,
             "sample_count": 5, "samples_ms": (199.0,) * 5, "kv_bytes": 1000.0}  # fmt: skip
    return Timing(**plain | changes)


class TestCeilings:
    def test_those_of_the_batch_document(self):
        most = decode.ceiling(50, 199)
        assert most.positions_off == 29_900
        # The document divides by 250; the prompt and 199 steps are 249 positions.
        assert (most.positions_on, round(29_900 / 250, 1)) == (249, 119.6)
        assert round(most.per_token_work, 2) == 120.08
        assert most.attention == pytest.approx(158.8, abs=0.1)

    def test_no_step_wins_nothing(self):
        assert decode.ceiling(50, 0).per_token_work == decode.ceiling(50, 0).attention == 1

    def test_amdahl(self):
        assert decode.amdahl() == decode.amdahl((0.0, 100)) == 1
        assert decode.amdahl((1.0, 100)) == pytest.approx(100)
        assert decode.amdahl((0.6, 119.6)) == pytest.approx(1 / (0.4 + 0.6 / 119.6))
        # The batch size study measures 10.73 and gives attention 60 %: with that share 2.47 would be the limit.
        assert decode.amdahl((0.6, 119.6)) < 2.5 < 10.73
        # With all that a cache shortens, a measured 10.73 is below the limit.
        assert decode.amdahl((0.6, 158.8), (0.37, 120.1)) > 10.73


class TestPairs:
    def test_only_the_cache_differs(self):
        off = timing("KV cache off", False, decode_ms=995.0)
        others = [dataclasses.replace(off, dtype="bfloat16"), dataclasses.replace(off, batch=2),
                  dataclasses.replace(off, scope="prefill and decode"), dataclasses.replace(off, gpu="H")]  # fmt: skip
        (pair,) = decode.pairs_of([timing(), *others, off])
        assert pair.off is off
        assert pair.speedup == 5
        assert pair.with_prefill == pytest.approx(1000 / 204)
        assert decode.pairs_of([timing(), *others]) == []

    def test_prefill_in_one_arm_alone_is_no_comparison(self):
        (pair,) = decode.pairs_of([timing(prefill_ms=None), timing("KV cache off", False)])
        assert pair.with_prefill is None

    def test_no_prefill_is_added_where_decode_may_hold_it(self):
        """Files of others do not say whether their decode time begins before or behind the prompt's pass."""
        (pair,) = decode.pairs_of([timing(scope="both"), timing("KV cache off", False, scope="both")])
        assert pair.speedup == 1
        assert pair.with_prefill is None


# The batch size study: ms of a step with a cache at batch 1 to 93, 178 M parameters in bfloat16 on an A100.
STEPS_MS = {1: 10.07, 4: 10.35, 8: 10.39, 16: 10.39, 32: 10.24, 64: 10.32, 93: 10.27}


class TestRegime:
    def test_the_batch_document_is_overhead_bound_at_every_batch(self):
        model = ModelShape(layers=12, heads=12, width=768, vocabulary=50304, tied_head=False)
        for batch, step in STEPS_MS.items():
            t = timing(batch=batch, decode_ms=step * 199, model=model, dtype="bfloat16", gpu="NVIDIA A100-SXM4-80GB")
            peaks = decode.peaks_named(t.gpu, t.dtype)
            assert peaks.name == "a100-80gb-sxm"
            found = decode.regime(t, peaks)
            assert found.bound == "OVERHEAD"
            assert found.step_ns / found.floor_ns > 20

    @pytest.mark.parametrize(
        ("factor", "bound"), [(1.5, "MEMORY"), (1.99, "MEMORY"), (2.01, "OVERHEAD"), (0.9, "UNKNOWN")]
    )
    def test_threshold(self, factor, bound):
        peaks = paper.Peaks("p", 1e15, 1e11)
        t = timing(new_tokens=1, dtype="bfloat16")
        floor_ns = decode.regime(t, peaks).floor_ns
        assert (
            decode.regime(timing(new_tokens=1, dtype="bfloat16", decode_ms=factor * floor_ns / 1e6), peaks).bound
            == bound
        )

    def test_arithmetic_can_be_the_bound(self):
        peaks = paper.Peaks("p", 1e9, 1e15)
        t = timing(new_tokens=1, cached=False)
        floor_ns = decode.regime(t, peaks).floor_ns
        assert (
            decode.regime(timing(new_tokens=1, cached=False, decode_ms=1.2 * floor_ns / 1e6), peaks).bound == "COMPUTE"
        )

    def test_unknown_device(self):
        assert decode.peaks_named("cpu (x)", "float32") is None
        assert decode.peaks_named("NVIDIA H100 80GB HBM3", "int3") is None
        assert decode.regime(timing(), None).bound == "UNKNOWN"


def test_price_is_one_calculation():
    price = decode.Price(dollars_per_hour=3.0, replies_per_day=1000, tokens_per_reply=200)
    # 10 sequences, 1 ms a step: 10,000 tokens a second, a reply costs 0.02 s.
    t = timing(batch=10)
    assert t.tokens_per_s_aggregate == 10_000
    assert price.per_reply(t) == pytest.approx(0.02 * 3 / 3600)
    assert price.per_year(t) == pytest.approx(365 * 1000 * 0.02 * 3 / 3600)
    users = dataclasses.replace(price, replies_per_user_day=20)
    assert users.per_user_year(t) == pytest.approx(365 * 20 * 0.02 * 3 / 3600)
    # 50 users of 20 replies a day are the 1000 replies a day of the service.
    assert 50 * users.per_user_year(t) == pytest.approx(users.per_year(t))


def test_predictions_cover_gpus_with_both_peaks():
    rows = decode.predicted_across(timing(model=shape_of_name("gpt2")), [1, 93])
    assert {"a100-80gb-sxm", "h100-sxm"} <= {row.gpu for row in rows}
    # The T4 has no bfloat16.
    assert "t4" not in {row.gpu for row in rows}
    assert all(row.step_on_ns > 0 for row in rows)
    assert decode.predicted_across(timing(model=None), [1]) == []


class TestFit:
    def test_exact_line(self):
        fit = decode.fit_line([(1, 5.0), (2, 7.0), (4, 11.0)])
        assert (fit.slope, fit.intercept, fit.r_squared) == pytest.approx((2, 3, 1))
        assert decode.fit_line([(82, 82 * 6144.0), (562, 562 * 6144.0)]).intercept == 0

    def test_flat_and_too_few(self):
        assert decode.fit_line([(1, 5.0), (2, 5.0)]).r_squared is None
        assert decode.fit_line([(1, 5.0), (1, 6.0)]) is None
        assert decode.fit_line([]) is None


class TestVariants:
    def results(self):
        arms = {"v0": 900.0, "v1": 300.0, "v2": 450.0, "v3": 280.0, "v4": 460.0}
        quality = tuple(Quality(v, p, 1.0, 100) for v, p in zip(arms, (20.0, 20.0, 20.1, 30.0, 30.2), strict=True))
        broken = (Quality("v0", 18.0, 1.0, 9000), Quality("v1", 700.0, 1.0, 9000), Quality("v2", 700.0, 1.0, 9000),
                  Quality("v3", 5000.0, 1.0, 9000), Quality("v4", 5000.0, 1.0, 9000))  # fmt: skip
        timings = tuple(timing(v, v != "v0", decode_ms=ms, kv_bytes=None, new_tokens=n) for v, ms in arms.items()
                        for n in (100, 200))  # fmt: skip
        return Results(
            timings, quality=(*quality, *broken), users=(Users("v1", 128, 491, 5e9), Users("v4", 128, 1867, 5e9))
        )

    def test_rows(self):
        rows = {row.variant: row for row in variants.variant_rows(self.results())}
        assert {row.timing.new_tokens for row in rows.values()} == {200}
        assert rows["v1"].speedup == 3
        # Rows where a plain cache changed the text are left out.
        assert rows["v1"].degradation == 0
        assert rows["v3"].degradation == pytest.approx(0.5)
        assert rows["v0"].kv_bytes == 0
        assert rows["v1"].kv_bytes == 250 * 2 * 4 * 64 * 4
        assert rows["v4"].kv_bytes == 250 * 2 * 2 * 4 * (16 + 4)
        assert {name for name, row in rows.items() if row.on_front} == {"v0", "v1", "v2", "v3", "v4"}

    def test_what_is_beaten_is_not_on_the_front(self):
        slow = timing("v2", True, decode_ms=500.0, kv_bytes=5e6)
        rows = variants.variant_rows(Results((timing("v1", True, decode_ms=300.0, kv_bytes=4e6), slow)))
        assert [row.on_front for row in rows] == [True, False]

    def test_measured_capacity_is_compared_with_measured(self):
        found = {
            r.variant: r
            for r in variants.capacities(shape_of_name("gpt2-medium"), "bfloat16", 1024, 50.6e9, self.results())
        }
        assert found["v4"].against_v1 == pytest.approx(1867 / 491)
        assert found["v2"].measured_users is None
        assert found["v2"].against_v1 == pytest.approx(found["v2"].paper_users / found["v1"].paper_users)


def test_operators_belong_to_the_phase_and_thread_they_begin_in():
    def call(name, start, own, thread=1):
        return {"operator_name": name, "start_ns": start, "self_ns": own, "thread_id": thread}

    def span(name, start, duration):
        return {"name": name, "start_ns": start, "duration_ns": duration, "thread_id": 1}

    calls = [call("mm", 5, 3), call("mm", 10, 4), call("add", 19, 1), call("mm", 20, 50), call("mm", 12, 9, thread=2),
             call("gelu", 105, 6), call("gelu", 107, None)]  # fmt: skip
    ranges = [span("decode", 100, 10), span("decode", 10, 10), span("layer", 0, 200)]
    (decoded,) = phase_profiles(calls, ranges, ("prefill", "decode"))
    assert [(row.name, row.call_count, row.self_ns) for row in decoded.operators] == [
        ("gelu", 2, 6), ("mm", 1, 4), ("add", 1, 1),
    ]  # fmt: skip
    assert (decoded.range_count, decoded.duration_ns, decoded.call_count, decoded.self_ns) == (2, 20, 4, 11)
    assert [row.share for row in decoded.operators] == pytest.approx([6 / 11, 4 / 11, 1 / 11])
    assert decoded.top(2) == decoded.operators[:2]


class TestDeclarations:
    def test_every_study_is_declared_and_every_declaration_is_a_study(self):
        assert sorted(STUDIES) == sorted(path.stem for path in (resource_dir("workloads") / "studies").glob("*.toml"))

    @pytest.mark.parametrize("name", STUDIES)
    @pytest.mark.parametrize("size", ["small", "document"])
    def test_parts_name_real_workloads_and_options(self, name, size, tmp_path):
        declared = declared_study(name)
        assert declared["title"]
        for part in declared["part"]:
            sweep = sweep_of(part, size, tmp_path)
            assert sweep.plan.workload in bundled_workloads()
            cells = sweep.cells()
            assert cells
            script = sweep.workload.script.read_text(encoding="utf-8")
            shared = (resource_dir("workloads") / "models" / "options.py").read_text(encoding="utf-8")
            for option in (*cells[0].args[::2], *(a for a in sweep.plan.args if a.startswith("--"))):
                assert f'"{option}"' in script + shared or f'"{option[2:]}"' in shared, option
            if size == "small":
                assert "--threads 1" in " ".join((*sweep.plan.args, *cells[0].args))

    def test_toml_is_plain(self):
        for path in (resource_dir("workloads") / "studies").glob("*.toml"):
            declared = tomllib.loads(path.read_text(encoding="utf-8"))
            assert {"title", "question", "part"} <= set(declared) <= {"title", "question", "part", "asset", "captures"}
            for part in declared["part"]:
                assert set(part) <= {"id", "workload", "tool", "first", "tool_args", "small", "document"}

    def test_every_file_of_the_original_has_an_answer_or_a_reason(self):
        """The KV variants study lists 44 files: 14 + 15 + 3 plots, 2 rooflines, 2 others, 2 of data, 6 of counters."""
        assets = declared_study("kv-variants")["asset"]
        assert len(assets) == len({asset["file"] for asset in assets}) == 44
        assert all(asset.get("ours") or asset.get("why") for asset in assets)
        kinds = [asset["file"].split("_")[0].split("/")[0] for asset in assets]
        assert (kinds.count("comparison"), kinds.count("latency") + kinds.count("vram")) == (14, 15)


def tables_of(sections):
    found = {}
    for section in sections:
        stack = list(section.blocks)
        while stack:
            block = stack.pop()
            if isinstance(block, DataTable):
                found[block.id] = block
            if isinstance(block, Group):
                stack += block.blocks
    return found


def made_up(name):
    """Results for every part of every study."""
    steps = {"step_percentiles_ms": (1.0, 1.1, 1.2), "steps_ms": 198.0, "ci_ms": (198.0, 200.0)}
    arms = tuple(timing(arm, cached, batch=b, decode_ms=199.0 * (1 if cached else 6), **steps)
                 for b in (1, 8) for arm, cached in (("KV cache on", True), ("KV cache off", False)))  # fmt: skip
    parts = (("attention", 3.0), ("mlp", 4.0), ("head", 1.0), ("other", 2.0))
    own = tuple(timing(v, v != "v0", prompt=p, parts_ms=parts, **steps) for v in ("v0", "v1", "v2") for p in (50, 100))
    quality = tuple(Quality(v, p, 1.0, 100) for v, p in (("v0", 20.0), ("v1", 20.0), ("v2", 20.002)))
    found = {"decode": arms, "parts": own, "cache": own, "batching": own[2:4], "sequence": own[2:4], "latency": own}
    results = {part: Results(timings) for part, timings in found.items()} | {"quality": Results(quality=quality)}
    calls = [{"operator_name": "aten::mm", "start_ns": n, "self_ns": 2, "thread_id": 1} for n in range(0, 60, 2)]
    spans = [{"name": name, "start_ns": start, "duration_ns": 80, "thread_id": 1}
             for name, start in (("decode", 0), ("prefill", 900))]  # fmt: skip
    phases = tuple(phase_profiles(calls, spans, ("prefill", "decode")))
    run = Decoded("KV cache on", 2, 3, 1, True, 1, 8)
    host = HostCost("decode", 1, 80, 30, 60)
    info = RunInfo(captures=(Capture("t", "torch", "2.9"),))
    traces = tuple(Trace(label, info, Analysis(), run, (), phases, host=host, device="cpu (x)")
                   for label in ("v1", "v2"))  # fmt: skip
    return StudyInput(
        name, "Title <script>", "Why?", "small", results, ("nsightkit sweep x",), ("cell: out of memory",),
        traces=traces,
    )  # fmt: skip


class TestAccounting:
    def test_a_few_long_steps_are_no_hidden_cost(self):
        """200 steps take 400 ms, most of them 0.5 ms: the sum closes the account, 200 medians would not."""
        arm = timing("KV cache on", True, decode_ms=404.0, prefill_ms=10.0, steps_ms=400.0,
                     step_percentiles_ms=(0.5, 9.0, 12.0))  # fmt: skip
        study = StudyInput("kv-decode", "t", "?", "small", {"decode": Results((arm,))}, (), ())
        (row,) = tables_of(build_study(study))["account"].rows
        prefill, steps, both, decoded, ratio, mean, middle = (cell.text for cell in row[4:])
        assert (prefill, steps, both, decoded) == ("10.0 ms", "400 ms", "410 ms", "404 ms")
        assert (ratio, mean, middle) == ("1.01×", "2.01 ms", "500 µs")


class TestReports:
    @pytest.mark.parametrize("name", STUDIES)
    def test_a_whole_report(self, name, tmp_path):
        written = write_study(tmp_path, made_up(name))
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        text = (tmp_path / "report.md").read_text(encoding="utf-8")
        assert "<script>" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
        ids = re.findall(r'\sid="([^"]+)"', re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
        assert sorted(ids) == sorted(set(ids))  # a link leads to the first of two
        assert "measured on a CPU" in text
        assert "unverified on a GPU" in text
        assert "out of memory" in text
        summary = json.loads((tmp_path / "metrics_summary.json").read_text(encoding="utf-8"))
        assert summary["study"] == name
        assert all(len(row) == len(t["columns"]) for t in summary["tables"].values() for row in t["rows"])
        manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["count"] == len(written) - 1
        assert {f["path"] for f in manifest["files"]} == {str(p.relative_to(tmp_path)) for p in written} - {
            "manifest.json"
        }
        assert [m for m in re.findall(r"\]\((figures/[^)]+)\)", text) if not (tmp_path / m).is_file()] == []

    @pytest.mark.parametrize("name", ["kv-variants", "kv-assignment"])
    def test_figures_of_given_arms_are_files_of_their_own_without_spaces(self, name, tmp_path):
        """Results of a benchmark of decode name their arms in words, and hold each at several prompts."""
        arms = tuple(timing(prompt=p) for p in (50, 100))
        write_study(
            tmp_path, dataclasses.replace(made_up(name), parts={"cache": Results(arms), "latency": Results(arms)})
        )
        drawn = [path.name for path in (tmp_path / "figures").iterdir()]
        assert any("KV-cache-on" in one for one in drawn)
        assert [one for one in drawn if " " in one] == []
        text = (tmp_path / "report.md").read_text(encoding="utf-8")
        assert len(set(re.findall(r"\(figures/[^)]+\)", text))) == len(drawn)

    @pytest.mark.parametrize("name", STUDIES)
    def test_nothing_measured_is_said_and_nothing_breaks(self, name):
        sections = build_study(StudyInput(name, "t", "q", "small", {}))
        assert any(section.missing for section in sections)

    def test_rates_name_one_and_all(self):
        rows = tables_of(build_study(made_up("kv-decode")))["arms"]
        headers = [column.header for column in rows.columns]
        one, all_ = headers.index("tokens/s a sequence"), headers.index("tokens/s in all")
        eight = next(row for row in rows.rows if row[headers.index("batch")].text == "8")
        assert float(eight[all_].exact) == pytest.approx(8 * float(eight[one].exact))

    def test_variants_within_their_spread_are_named_together(self):
        arms = (("v1", 300.0, (290.0, 310.0)), ("v2", 500.0, (490.0, 510.0)), ("v3", 295.0, (280.0, 305.0)))
        timings = tuple(timing(v, True, decode_ms=ms, ci_ms=ci, kv_bytes=9.0) for v, ms, ci in arms)
        study = dataclasses.replace(made_up("kv-variants"), parts={"latency": Results(timings)})
        lead = build_study(study)[0].blocks[0].text
        assert lead == (
            "With a cache v1 and v3 are the fastest and cannot be told apart within their spread; v1, v2 and v3 keep "
            "the least (9.00 B). No perplexity was compared, so nothing is said of their text."
        )

    def lead_of(self, arms):
        """The headline of variants given as name -> (decode ms, interval, perplexity)."""
        timings = tuple(timing(v, v != "v0", decode_ms=ms, ci_ms=ci, kv_bytes=9.0) for v, (ms, ci, _) in arms.items())
        quality = tuple(Quality(v, p, 3.0, 100) for v, (_, _, p) in arms.items() if p is not None)
        parts = {"latency": Results(timings), "quality": Results(quality=quality)}
        return build_study(dataclasses.replace(made_up("kv-variants"), parts=parts))[0].blocks[0].text

    def test_the_fastest_is_named_among_those_whose_text_stays_as_good(self):
        arms = {"v0": (900.0, None, 22.6), "v1": (300.0, (298.0, 302.0), 22.5), "v2": (600.0, (590.0, 610.0), 23.7),
                "v3": (280.0, (279.0, 281.0), 989.0), "v4": (500.0, (499.0, 501.0), 24.0)}  # fmt: skip
        assert self.lead_of(arms) == (
            "With a cache and a perplexity within 5 % of no cache's, v1 is the fastest (1.51 ms a token); v1 and v2 "
            "keep the least (9.00 B). Faster, but with worse text: v3 (perplexity 989, +4\u202f276 %). Worse text: v4 "
            "(perplexity 24.0, +6.19 %)."
        )
        loud = self.lead_of(arms | {"v3": (290.0, (250.0, 299.0), 989.0)})
        assert "Faster" not in loud  # v1 takes 298 to 302: the intervals meet
        assert "Worse text: v3 (perplexity 989" in loud
        assert "No cache keeps the perplexity within 5 %" in self.lead_of({k: arms[k] for k in ("v0", "v3", "v4")})
        assert "not ranked: v1." in self.lead_of(arms | {"v1": (300.0, None, None)})

    def test_ties_are_one_group(self):
        arms = {v: (300.0 + n, (290.0, 320.0), 20.0) for n, v in enumerate(("v0", "v1", "v2", "v3"))}
        assert "none is faster beyond the spread: v1, v2 and v3 cannot be told apart" in self.lead_of(arms)

    @pytest.mark.parametrize("name", ["kv-decode", "batch-size", "kv-assignment"])
    def test_a_headline_has_its_interval_and_a_reservation_where_the_machine_was_not_quiet(self, name):
        on = timing(decode_ms=100.0, ci_ms=(95.0, 110.0), prefill_ms=27.06)
        off = timing("KV cache off", False, decode_ms=1000.0, ci_ms=(990.0, 1045.0), prefill_ms=27.0)
        quiet = self.overview(name, on, off)
        assert "10.0 times faster (9.00 to 11.0 between the 95 % intervals of both arms)" in quiet
        assert "Reservation" not in quiet
        loud = self.overview(name, on, dataclasses.replace(off, prefill_ms=52.0))
        assert "Reservation: prefill, the same work in both arms, took 27.1 ms with and 52.0 ms without" in loud
        assert "off by 1.9 times" in loud
        assert "10.0 times faster (no interval: too few repetitions)" in self.overview(
            name, dataclasses.replace(on, ci_ms=None), off
        )

    def overview(self, name, *arms):
        parts = dict.fromkeys(("decode", "cache", "sequence"), Results(arms))
        return build_study(dataclasses.replace(made_up(name), parts=parts))[0].blocks[0].text

    def test_a_headline_names_the_range_over_all_pairs(self):
        arms = [timing(a, c, batch=b, decode_ms=ms) for b, off in ((1, 300.0), (2, 900.0))
                for a, c, ms in (("KV cache on", True, 100.0), ("KV cache off", False, off))]  # fmt: skip
        assert "All 2 pairs: 3.00 to 9.00 times." in self.overview("kv-decode", *arms)

    @pytest.mark.parametrize("name", STUDIES)
    def test_fairness_speaks_of_rules_that_had_something_to_judge(self, name):
        foreign = dataclasses.replace(made_up(name), size="foreign", parts={"foreign": Results()})
        said = next(s for s in build_study(foreign) if s.id == "fairness").blocks[0].text
        assert said.startswith("No rule could judge these data")
        named = next(s for s in build_study(foreign) if s.id == "fairness").blocks[1].text
        assert [rule.looks_for for rule in RULES if rule.looks_for not in named] == []
        alone = dataclasses.replace(foreign, parts={"foreign": Results((timing(sample_count=5),))})
        used, idle = (b.text for b in next(s for s in build_study(alone) if s.id == "fairness").blocks)
        assert used == (
            "Looked for and not found: a time that its repetitions contradict; a cold first run; a single measurement."
        )
        assert "unequal dtype" in idle

    @pytest.mark.parametrize(
        ("name", "false_there"),
        [
            ("kv-variants", ["comes with nsightkit", "v2t"]),
            ("kernel-profile", ["Warm-up"]),
            ("kv-decode", ["Both arms"]),
        ],
    )
    def test_of_given_results_nothing_is_said_that_holds_of_our_runs_alone(self, name, false_there):
        own = made_up(name)
        given = dataclasses.replace(own, size="foreign", parts={"foreign": own.results("quality")})
        texts = [str(next(s for s in build_study(one) if s.id == "method").blocks[0]) for one in (own, given)]
        for words in false_there:
            assert words in texts[0]
            assert words not in texts[1]

    def test_counted_and_paper_points_name_their_prompts(self):
        counted = Counted("x", "v1", "prefill", 2.3e9, 1.48e9, 6e6, 246)
        model = Results((timing("v0", False), timing("v1")), counted=(counted,), model=MODEL, prompt=32)
        (figure,) = [b for b in roofline_blocks(model) if b.id == "roofline"]
        assert "v1 prefill, counted, prompt not recorded" in figure.svg
        assert "v1 prefill, paper, prompt 32" in figure.svg
        assert "do not record their prompt, the paper's points are for 32 tokens" in figure.caption
        known = dataclasses.replace(model, counted=(dataclasses.replace(counted, prompt=512),))
        (figure,) = [b for b in roofline_blocks(known) if b.id == "roofline"]
        assert "v1 prefill, counted, prompt 512" in figure.svg
        assert "v1 prefill, paper, prompt 512" in figure.svg
        assert "do not record" not in figure.caption

    def test_a_rate_is_the_work_of_all_timed_steps_over_their_time(self):
        """Without a cache step i runs all 50 + i positions again: 32 steps are more work than 32 times the first."""
        timed = timing("v0", False, gpu="NVIDIA RTX A6000", dtype="bfloat16", new_tokens=32, decode_ms=4.0)
        (figure,) = [b for b in roofline_blocks(Results((timed,), model=MODEL, gpu=timed.gpu)) if b.id == "roofline"]
        (row,) = [r for r in figure.table.rows if r[0].text == "v0 decode, paper, prompt 50"]
        weights, layers, width, vocabulary = 12 * MODEL.width**2, MODEL.layers, MODEL.width, MODEL.vocabulary
        flop = sum(layers * (2 * weights * n + 4 * width * n * n) + 2 * width * vocabulary for n in range(51, 83))
        assert float(row[2].exact.split()[0]) == pytest.approx(flop / 4e-3)
        assert "in bfloat16, so drawn where the roof is: v1 prefill, v1 decode" in figure.caption
        fp32 = dataclasses.replace(timed, dtype="float32")
        (figure,) = [b for b in roofline_blocks(Results((fp32,), model=MODEL, gpu=timed.gpu)) if b.id == "roofline"]
        assert "v0 decode" in figure.caption  # the roofs are those of bfloat16

    def test_bytes_that_are_elements_are_named(self):
        """A report of the original counted the cache in elements beside weights in bytes."""
        right = 2 * MODEL.layers * MODEL.width * 4.0 * (50 + 199)
        said = "differ at 249 positions"
        for held, found in ((right, False), (right / 4, True)):
            parts = {"sequence": Results((timing("v1", kv_bytes=held),))}
            sections = build_study(dataclasses.replace(made_up("kv-assignment"), parts=parts))
            section = next(s for s in sections if s.id == "footprint")
            assert any(said in getattr(b, "text", "") for b in section.blocks) is found

    def test_bytes_that_no_file_states_are_not_drawn_as_zero(self):
        arms = tuple(timing("v1", prompt=p, kv_bytes=held) for p, held in ((50, 900.0), (100, None), (150, 1900.0)))
        study = dataclasses.replace(made_up("kv-assignment"), parts={"sequence": Results(arms)})
        drawn = {b.id: b for b in flat(next(s for s in build_study(study) if s.id == "scaling").blocks)}
        assert [row[2].exact for row in drawn["bytes-by-length"].table.rows] == ["900 B", "1900 B"]
        assert len(drawn["step-by-length"].table.rows) == 3

    def test_predictions_name_their_model(self):
        made = tables_of(build_study(made_up("batch-size")))["across-table"]
        assert "4 layers, 4 heads, width 64, vocabulary 100" in made.caption

    def test_counted_launches_are_checked(self):
        calls = [{"operator_name": f"aten::{name}", "start_ns": n, "self_ns": 1, "thread_id": 1}
                 for name, many in (("scaled_dot_product_attention", 6), ("linear", 26))
                 for n in range(many)]  # fmt: skip
        spans = [{"name": name, "start_ns": start, "duration_ns": 80, "thread_id": 1}
                 for name, start in (("decode", 0), ("prefill", 900))]  # fmt: skip
        study = made_up("kv-decode")
        trace = dataclasses.replace(study.traces[0], phases=tuple(phase_profiles(calls, spans, ("prefill", "decode"))))
        rows = tables_of(build_study(dataclasses.replace(study, traces=(trace,))))["counts"].rows
        found = {row[1].text: row[-1].text for row in rows}
        assert found["attention in decode"] == "equal"
        assert found["linear maps of the layers in decode"] == "differs by -1"

    def test_host_cost_of_variants(self):
        tables = tables_of(build_study(made_up("kv-variants")))
        assert [cell.text for cell in tables["overhead-table"].rows[0]][:2] == ["v1", "10"]
        assert tables["overhead-table"].rows[0][5].text == "–"  # no launches on a CPU

    def test_a_manifest_says_what_answers_each_file(self, tmp_path):
        study = made_up("kv-variants")
        study.parts["similarity"] = Results(similarity=(Similarity("query", 0, 1, 0.25, "m"),))
        write_study(tmp_path, study, declared_study("kv-variants")["asset"])
        found = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["original"]
        assert found["count"] == 44
        answers = {asset["file"]: asset for asset in found["assets"]}
        assert found["answered"] == sum(asset["answered"] for asset in answers.values())
        for asset in answers.values():
            assert (tmp_path / asset["ours"]).is_file() if asset["answered"] else asset["why"]
        assert answers["roofline/roofline.png"]["answered"]
        assert not answers["ncu_reports/v1_decode_metrics.json"]["answered"]
        assert (tmp_path / "figures" / "similarity-query.svg").is_file()

    def test_the_ceilings_of_the_batch_study_stand_in_every_report(self):
        rows = tables_of(build_study(made_up("batch-size")))["original-ceilings"].rows
        assert [row[1].exact for row in rows[:2]] == ["29900", "29900"]
        assert [row[3].text for row in rows] == ["119.60×", "120.08×", "158.79×"]

    def test_the_efficiency_is_the_speed_up_over_its_ceiling(self):
        # 5 ms of prefill in both; 29 900 positions without a cache, 249 with it.
        rows = tables_of(build_study(made_up("batch-size")))["ceilings-table"].rows
        assert [row[1].exact for row in rows] == [repr(1199 / 204)] * 2
        assert [float(row[3].exact) for row in rows] == pytest.approx([1199 / 204 / (29900 / 249)] * 2)

    def test_timings_are_said_to_be_untraced_where_traces_stand_beside_them(self):
        study, said = made_up("kv-decode"), "The timings above come from runs without any profiler."
        for traces, told in ((study.traces, True), ((), False)):
            assert (said in str(build_study(dataclasses.replace(study, traces=traces))[-1])) is told

    def test_a_cold_first_run_is_left_out_and_said(self):
        cold = timing("v1", True, samples_ms=(900.0, 199.0, 199.0, 199.0))
        study = dataclasses.replace(made_up("kv-assignment"), parts={"cache": Results((cold, timing("v0", False)))})
        tables = tables_of(build_study(study))
        assert [cell.text for cell in tables["cache-table"].rows[0][3:]] == ["900 ms", "199 ms", "1\u202f000", "1"]
        assert tables["flags"].rows[0][0].text == "cold first run"


def roofline_blocks(results):
    study = dataclasses.replace(made_up("kv-variants"), parts={"latency": results})
    return flat(next(s for s in build_study(study) if s.id == "roofs").blocks)


def flat(blocks):
    """Return the blocks with those of groups in their place."""
    return [inner for b in blocks for inner in (b.blocks if isinstance(b, Group) else (b,))]


@pytest.mark.parametrize(
    ("value", "printed"),
    [(0.00013, "+0.013 %"), (-0.0028, "−0.280 %"), (0.0619, "+6.19 %"), (0.317, "+31.7 %"), (5.25234, "+525 %"),
     (42.74661, "+4\u202f275 %"), (1e7, "+1.00e+09 %"), (0.0, "0 %"), (-1e-7, "<0.001 %")],
)  # fmt: skip
def test_a_change_shows_no_more_digits_than_it_has(value, printed):
    assert change(value) == printed


def test_an_axis_says_that_it_is_logarithmic():
    points = [("a", [(1.0, 10.0), (8.0, 1000.0)])]
    drawn = lines("f", "t", points, (Axis("batch", "count", True), Axis("tokens/s", "", True)), "c").svg
    assert ">batch, log scale<" in drawn
    assert ">tokens/s, log scale<" in drawn
    assert "log scale" not in lines("f", "t", points, (Axis("batch"), Axis("tokens/s")), "c").svg


def test_a_name_has_one_color_in_every_figure():
    axes = (Axis("x"), Axis("y"))
    colors = []
    for last in ((1.0, 2.0), (2.0, 1.0)):
        drawn = lines("f", "t", [(name, [(1.0, y)]) for name, y in zip("ab", last, strict=True)], axes, "c").svg
        colors.append(re.findall(r'<circle class="(\w+)"[^>]*><title>(\w):', drawn))
    assert sorted(map(tuple, colors[0])) == sorted(map(tuple, colors[1]))
    assert len({mark for mark, _ in colors[0]}) == 2


def test_bars_of_changes_print_what_the_tables_print():
    drawn = bars("f", "t", [("v3", 42.74661), ("v1", -0.0028)], Axis("above v0", "change"), "c").svg
    assert ">+4\u202f275 %<" in drawn
    assert ">−0.280 %<" in drawn


def test_a_long_name_of_a_series_stays_inside_its_figure():
    name = "v1 prefill, counted, prompt not recorded"
    drawn = lines("f", "t", [(name, [(1.0, 1.0)])], (Axis("x"), Axis("y")), "c").svg
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawn).group(1))
    assert width >= 459 + text_width(name)


def test_latex_holds_no_command_of_a_name():
    made = table("t", r"A \input{x}", (("a_b", "text"), ("n", "count")), [[r"\input{x} & 50 % _ ^ $", 1234]])
    text = latex(made)
    assert r"\textbackslash{}input\{x\} \& 50 \% \_ \textasciicircum{} \$ & 1\,234 \\" in text
    assert text.count(r"\input{") == 1  # in the comment, where it does nothing
    assert text.startswith("% ")
    assert text.count("\n") == 7


@pytest.mark.shared
class TestForeign:
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            (
                "kv-decode",
                ["6.24 times faster", "about 381 ms happen once", "58.8", "189", "batch left out of tokens/s"],
            ),
            ("kv-variants", ["1 867", "3.80×", "2.79 s", "971 ms", "0.509 FLOP/B", "tensor FLOP missing", "7 586"]),
        ],
    )
    def test_by_one_command(self, name, said, shared_data, tmp_path):
        args = ["study", name, "--from", str(shared_data / "seed-runs" / name), "-o", str(tmp_path)]
        done = CliRunner().invoke(cli, args)
        assert done.exit_code == 0, done.output
        text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
        for words in said:
            assert words in text.replace("\u202f", " "), words

    def test_files_of_no_kind(self, tmp_path):
        (tmp_path / "x.json").write_text("{}")
        done = CliRunner().invoke(cli, ["study", "kv-decode", "--from", str(tmp_path), "-o", str(tmp_path / "o")])
        assert done.exit_code == 1
        assert "holds no results of a known kind" in done.stderr
