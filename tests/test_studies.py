"""The studies: their arithmetic against the documents' figures, and whole reports from made-up and real results."""

import dataclasses
import json
import re
import tomllib

import pytest
from click.testing import CliRunner

from nsightkit.analysis.foreign_results import Quality, Results, Timing, Users
from nsightkit.analysis.studies import decode, variants
from nsightkit.analysis.studies.operators import phase_profiles
from nsightkit.analysis.work import paper_model as paper
from nsightkit.analysis.work.model_shapes import ModelShape, shape_of_name
from nsightkit.capture.workload import bundled_workloads
from nsightkit.cli import cli
from nsightkit.cli.study import declared_study, sweep_of
from nsightkit.report.blocks import DataTable, Group
from nsightkit.report.studies import STUDIES, build_study
from nsightkit.report.studies.parts import StudyInput, table
from nsightkit.report.studies.writing import latex, write_study
from nsightkit.resources import resource_dir

MODEL = ModelShape(layers=4, heads=4, width=64, vocabulary=100)


def timing(arm="KV cache on", cached=True, **changes):
    plain = {"source": "a.json", "arm": arm, "cached": cached, "gpu": "cpu (x)", "dtype": "float32", "model": MODEL,
             "batch": 1, "prompt": 50, "new_tokens": 199, "scope": "decode", "decode_ms": 199.0, "prefill_ms": 5.0,
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
        assert decode.amdahl(0.0, 100) == 1
        assert decode.amdahl(1.0, 100) == 100
        assert decode.amdahl(0.6, 119.6) == pytest.approx(1 / (0.4 + 0.6 / 119.6))
        # the batch size study measures 10.73 and gives attention 60 %: with that share 2.47 would be the limit.
        assert decode.amdahl(0.6, 119.6) < 2.5 < 10.73


def test_launch_counts_of_the_decode_document():
    """12 layers, 16 tokens: 204 attention kernels with prefill, 192 in decode alone, 768 linear maps."""
    counts = {(c.what, c.expected) for c in decode.launch_counts(12, 16)}
    assert ("attention", 204) in counts
    assert ("attention in decode alone", 192) in counts
    assert ("linear maps in decode alone", 768) in counts


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


# the batch size study: ms of a step with a cache at batch 1 to 93, 178 M parameters in bfloat16 on an A100.
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
                assert "--threads 1" in " ".join(sweep.plan.args)

    def test_toml_is_plain(self):
        for path in (resource_dir("workloads") / "studies").glob("*.toml"):
            assert set(tomllib.loads(path.read_text(encoding="utf-8"))) == {"title", "question", "part"}


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
    steps = {"step_percentiles_ms": (1.0, 1.1, 1.2), "ci_ms": (198.0, 200.0)}
    arms = tuple(timing(arm, cached, batch=b, decode_ms=199.0 * (1 if cached else 6), **steps)
                 for b in (1, 8) for arm, cached in (("KV cache on", True), ("KV cache off", False)))  # fmt: skip
    parts = (("attention", 3.0), ("mlp", 4.0), ("head", 1.0), ("other", 2.0))
    own = tuple(timing(v, v != "v0", prompt=p, parts_ms=parts, **steps) for v in ("v0", "v1", "v2") for p in (50, 100))
    quality = tuple(Quality(v, p, 1.0, 100) for v, p in (("v0", 20.0), ("v1", 20.0), ("v2", 20.002)))
    found = {"decode": arms, "parts": own, "cache": own, "batching": own[2:4], "sequence": own[2:4], "latency": own}
    results = {part: Results(timings) for part, timings in found.items()} | {"quality": Results(quality=quality)}
    calls = [{"operator_name": "aten::mm", "start_ns": n, "self_ns": 2, "thread_id": 1} for n in range(0, 60, 2)]
    spans = [{"name": "decode", "start_ns": 0, "duration_ns": 80, "thread_id": 1}]
    return StudyInput(
        name, "Title <script>", "Why?", "small", results, ("nsightkit sweep x",), ("cell: out of memory",),
        phases=tuple(phase_profiles(calls, spans, ("decode",))),
    )  # fmt: skip


class TestReports:
    @pytest.mark.parametrize("name", STUDIES)
    def test_a_whole_report(self, name, tmp_path):
        written = write_study(tmp_path, made_up(name))
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        text = (tmp_path / "report.md").read_text(encoding="utf-8")
        assert "<script>" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
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

    @pytest.mark.parametrize("name", STUDIES)
    def test_nothing_measured_is_said_and_nothing_breaks(self, name):
        if name == "kv-assignment":
            empty = StudyInput(name, "t", "q", "small", {})
            assert build_study(empty)[0].id == "overview"
            return
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
        assert (
            lead
            == "With a cache v1 and v3 are the fastest, within their spread; v1 and v2 and v3 keep the least (9.00 B)."
        )

    def test_counted_launches_are_checked(self):
        study = dataclasses.replace(made_up("kv-decode"), counted={"attention": 800, "linear": 3199})
        rows = tables_of(build_study(study))["counts"].rows
        assert [row[-1].text for row in rows[:2]] == ["equal", "differs by -1"]

    def test_a_cold_first_run_is_left_out_and_said(self):
        cold = timing("v1", True, samples_ms=(900.0, 199.0, 199.0, 199.0))
        study = dataclasses.replace(made_up("kv-assignment"), parts={"cache": Results((cold, timing("v0", False)))})
        tables = tables_of(build_study(study))
        assert [cell.text for cell in tables["cache-table"].rows[0][3:]] == ["900 ms", "199 ms", "1\u202f000", "1"]
        assert tables["flags"].rows[0][0].text == "cold first run"


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
