"""The page of a comparison and its Markdown: bars that add up, points where they belong, no name that comes alive."""

import re

import pytest
from click.testing import CliRunner

from builders.pairs import PROGRAM, Noise, Step, changed, counter_row, launches, write_run, write_side
from nsightkit.analysis.compare.comparison import ComparedSide, compare_runs
from nsightkit.analysis.compare.moved_points import moved_points
from nsightkit.analysis.compare.run_sums import sum_launches
from nsightkit.analysis.roofs.peaks import Gpu
from nsightkit.cli import cli
from nsightkit.report.comparison.charts import Spot, is_cut, scatter, waterfall
from nsightkit.report.comparison.charts import Step as Bar
from nsightkit.report.comparison.kernel_sections import sections_of
from nsightkit.report.comparison.parts import Compared

HOSTILE = ("<script>alert(1)</script>", "a<b>|c*", "line\nbreak", "esc\x1b[31m", "x" * 10_000)

COUNTERS = {
    "duration_ns": 1e6, "fp32_flop": 1e9, "peak_fp32_flop_per_s": 1e13, "peak_dram_bytes_per_s": 1e12,
    "tensor_pipe_pct": 0.0, "fp16_flop": 0.0, "fp64_flop": 0.0,
}  # fmt: skip


def compared(base, head):
    sides = [ComparedSide(name, [sum_launches(launches(steps, 3))]) for name, steps in (("b", base), ("h", head))]
    return compare_runs(*sides)


def table_of(sections, id_):
    def inner(blocks):
        for block in blocks:
            yield block
            yield from inner(getattr(block, "blocks", ()))
            if getattr(block, "table", None):
                yield block.table

    return next(block for s in sections for block in inner(s.blocks) if getattr(block, "id", "") == id_)


def exact_ns(cell):
    return float(cell.exact.removesuffix(" ns"))


class TestSections:
    @pytest.mark.parametrize("size", [3, 40])
    def test_the_bars_of_the_waterfall_add_up_to_the_difference(self, size):
        base = [Step(f"kernel_{n}", 10_000 + n) for n in range(size)]
        head = [Step(f"kernel_{n}", 9_000 + 70 * n) for n in range(1, size)] + [Step("fresh", 500)]
        comparison = compared(base, head)
        sections = sections_of(Compared(comparison, (), "s. t."), "")
        bars = table_of(sections, "waterfall-numbers").rows
        assert len(bars) == min(size + 1, 11)
        assert sum(exact_ns(row[1]) for row in bars) == comparison.whole.difference_ns

    def test_new_and_gone_have_their_table(self):
        comparison = compared(
            [Step("old", 5_000), Step("both", 80_000)], [Step("both", 80_000), Step("fresh", 700_000)]
        )
        rows = table_of(sections_of(Compared(comparison, (), "s. t."), ""), "new-and-gone").rows
        assert sorted((row[0].text, row[1].text) for row in rows) == [("fresh", "new"), ("old", "gone")]

    def test_without_counters_the_roofline_says_what_would_fill_it(self):
        comparison = compared([Step("both")], [Step("both")])
        sections = sections_of(Compared(comparison, (), "s. t."), "")
        assert "profile both with ncu" in sections[-1].missing


class TestCharts:
    def test_small_steps_cut_the_axis_and_large_ones_do_not(self):
        assert is_cut(1000.0, [Bar("a", 10.0)])
        assert not is_cut(1000.0, [Bar("a", -500.0)])

    def test_a_bar_is_as_long_as_its_step(self):
        svg = waterfall(100.0, [Bar("more", 100.0), Bar("less", -50.0)], ("b", "h"), "t")
        widths = {m[0]: float(m[1]) for m in re.findall(r'<rect class="(compute|memory)" [^>]*?width="([\d.]+)"', svg)}
        assert widths["compute"] == pytest.approx(2 * widths["memory"], abs=0.2)

    def test_a_kernel_that_did_not_change_lies_on_the_line(self):
        svg = scatter([Spot("same", 1e5, 1e5, "unknown"), Spot("more", 1e4, 9e4, "compute")], "t")
        x, y = map(float, re.search(r'class="unknown point" cx="([\d.]+)" cy="([\d.]+)"', svg).groups())
        line = re.search(r'class="axis" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', svg).groups()
        left, bottom, right, top = map(float, line)
        assert (x - left) / (right - left) == pytest.approx((bottom - y) / (bottom - top), abs=0.01)


class TestMoves:
    def pages(self, tmp_path):
        folders = []
        for name, moved in (("b", 1e6), ("h", 4e6)):
            row = counter_row("gemm_a", **COUNTERS, dram_bytes=moved)
            folders.append(write_run(tmp_path / name, launches([Step("gemm_a", 80_000)]), [row]))
        return folders

    def test_a_point_moves_with_its_bytes(self):
        from nsightkit.analysis.compare.comparability import COUNTED
        from nsightkit.analysis.compare.run_sums import KernelSum, RunSums

        def side(name, moved):
            counters = {**COUNTERS, "dram_bytes": moved}
            return ComparedSide(
                name, [RunSums(COUNTED, {"k": KernelSum("k", 1, 0, 10**6, 0.0, {}, frozenset(), counters)})]
            )

        (move,) = moved_points(compare_runs(side("b", 1e6), side("h", 4e6)), Gpu(None, "8.6"), Gpu(None, "8.6"))
        assert (move.base.flop_per_byte, move.head.flop_per_byte) == (1000.0, 250.0)
        assert move.base.flop_per_s == move.head.flop_per_s == pytest.approx(1e12)

    def test_the_page_draws_it(self, tmp_path):
        base, head = self.pages(tmp_path)
        result = CliRunner().invoke(cli, ["compare", str(base), str(head), "-o", str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
        page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
        assert 'id="moved-points"' in page
        assert "1000 FLOP/B" in page.replace("\u202f", "")
        assert (tmp_path / "out" / "figures" / "moved-points.svg").is_file()


class TestDocuments:
    @pytest.fixture
    def written(self, tmp_path):
        quiet = Noise(0.003, 0.02)
        base = write_side(tmp_path / "main", PROGRAM, noise=quiet, seed=1)
        head = changed(PROGRAM, "gemm_kernel_0", mean_ns=90_000.0) + [Step(name, 3_000) for name in HOSTILE]
        head = write_side(tmp_path / "branch", head, noise=quiet, seed=2)
        result = CliRunner().invoke(cli, ["compare", str(base), str(head), str(base), "-o", str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
        return tmp_path / "out"

    def test_page_and_markdown_say_the_same(self, written):
        page, twin = ((written / f"compare.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
        for heading in ("From base to head", "Each kernel, base against head", "New and gone", "Moved points"):
            assert heading in page
            assert heading in twin
        assert "Verdict: slower" in twin
        assert page.count("<h1>") == 1
        assert page.index("Same on both sides") < page.index('id="waterfall"')

    def test_every_figure_of_the_markdown_is_there(self, written):
        twin = (written / "compare.md").read_text(encoding="utf-8")
        named = re.findall(r"\]\((figures/[a-z0-9-]+\.svg)\)", twin)
        assert "figures/waterfall.svg" in named
        assert "figures/waterfall-2.svg" in named
        assert [name for name in named if not (written / name).is_file()] == []

    def test_ids_are_unique_over_several_heads(self, written):
        page = (written / "compare.html").read_text(encoding="utf-8")
        ids = re.findall(r' id="([^"]+)"', page)
        assert sorted(ids) == sorted(set(ids))

    def test_hostile_names_stay_text(self, written):
        page, twin = ((written / f"compare.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
        assert "<script>alert" not in page
        assert "<script>alert" not in twin
        assert "\x1b" not in page + twin

    def test_results_of_benchmarks_have_a_page_too(self, tmp_path):
        import json

        for cached, ms in ((False, 300.0), (True, 100.0)):
            data = {
                "meta": {"dtype": "bfloat16", "gpu_name": "<b>G"},
                "params": {"batch_size": 8, "prompt_len": 64, "max_new_tokens": 10, "kv_cache": cached},
                "metrics": {"decode_total_ms": ms, "decode_tok_s": 1e4 / ms},
            }
            (tmp_path / f"{cached}.json").write_text(json.dumps(data), encoding="utf-8")
        arguments = ["compare", str(tmp_path / "False.json"), str(tmp_path / "True.json"), "-o", str(tmp_path / "out")]
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        twin = (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")
        assert "3.00×" in twin
        assert "a single measurement" in twin
        assert "do not say what the difference is made of" in twin
