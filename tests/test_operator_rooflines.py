"""Operators under the roofs of their device in a report: sums, tiers, missing roofs, hostile names."""

from dataclasses import replace

import pytest

from builders.analysis import make_info
from nsightkit.analysis.overview import AnalysisOptions
from nsightkit.analysis.results import Analysis, RooflinePoint, RooflineRow
from nsightkit.report import operator_rooflines
from nsightkit.report.blocks import DataTable, Figure, Text
from nsightkit.report.context import Context, ReportOptions
from nsightkit.report.sections import build_sections


def row(number=0, flop=1e9, point=True, **others):
    place = RooflinePoint(
        "aten::mm", "FP32", "DRAM", flop or 1.0, 1e8, 1e7, (flop or 1.0) / 1e8, (flop or 1.0) * 100, 5.0, 5e10, 1e10,
        5e10, 0.5, "measured on a CPU", tier="analytic",
    )  # fmt: skip
    made = RooflineRow("c", "aten::mm", "cpu", "analytic", "UNKNOWN", 1e7, 0.1, 3, "DRAM", 1e8, 1e10,
                       place if point and flop else None, flop, "2·m·n·k", f"{number}×4 float, 4×8 float",
                       flags=("experimental",))  # fmt: skip
    return replace(made, **others)


def context(*rows, **options):
    return Context(make_info(), Analysis(work=tuple(rows)), ReportOptions(**options))


def table_of(given):
    return next(part for part in operator_rooflines.parts(given) if isinstance(part, DataTable))


def words(given):
    return " ".join(part.text for part in operator_rooflines.parts(given) if isinstance(part, Text))


def test_sums_and_their_scope_are_facts():
    without = row(tier="none", flop=None, moved_bytes=None, point=False, total_ns=1e7)
    flop, moved = operator_rooflines.facts(context(row(1), row(2, flop=3e9), without))
    assert (flop.text, moved.text) == ("4.00 GFLOP", "200 MB")
    assert (flop.exact, moved.exact) == ("4000000000 FLOP", "200000000 B")
    assert "for 66.7 % of the operators' time" in flop.scope


def test_each_point_has_its_tier_and_the_caption_says_what_is_left_out():
    given = context(*(row(n) for n in range(40)), row(tier="none", flop=None, moved_bytes=None, total_ns=1e8))
    table = table_of(given)
    assert {cells[1].text for cells in table.rows} == {"analytic"}
    assert len(table.rows) == 25
    assert table.hidden.startswith("25 of 40 operators with work are shown; 15 with ")
    assert "1 rows without a formula take 20.0 % of the time" in table.caption
    assert len(table_of(replace(given, options=ReportOptions(limit=0))).rows) == 40


def test_work_without_floating_point_has_bytes_and_no_place():
    table = table_of(context(row(flop=0.0)))
    cells = {column.key: cell for column, cell in zip(table.columns, table.rows[0], strict=True)}
    assert cells["moved_bytes"].text == "100 MB"
    assert cells["efficiency"].text == cells["flop_per_s"].text == "–"
    assert cells["efficiency"].exact.startswith("no place")


def test_without_roofs_the_command_that_measures_them_is_named():
    assert operator_rooflines.figure(context(row(point=False)), "f") is None
    assert "nsightkit ceilings -o RUN/ceilings.json" in words(context(row(point=False)))
    assert "nsightkit ceilings" not in words(context(row()))
    assert "--gpu" in words(context(row(point=False, family="gemm")))


@pytest.mark.parametrize(
    ("name", "family", "said"),
    [
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "cpu", True),
        ("aten::_scaled_dot_product_flash_attention", "attention", False),
        ("aten::mm", "cpu", False),
    ],
)
def test_attention_on_the_cpu_is_by_our_formula_and_said(name, family, said):
    assert ("reads zero for scaled_dot_product_attention" in words(context(row(name=name, family=family)))) is said


@pytest.mark.parametrize("name", ["", "</script><b>", "a|b\n`c`", "名前" * 300, "\x1b[31m"])
def test_hostile_names_stay_text(name):
    given = context(row(name=name, shapes=name))
    drawn = operator_rooflines.figure(given, "f")
    assert isinstance(drawn, Figure)
    assert "</script>" not in drawn.svg
    assert "\x1b" not in drawn.svg
    (section,) = [s for s in build_sections(given) if s.id == "roofline"]
    assert not section.missing


def test_counters_come_first_and_a_run_without_operators_says_what_it_needs():
    (section,) = [s for s in build_sections(context()) if s.id == "roofline"]
    assert section.missing
    assert operator_rooflines.parts(context()) == []


class Given:
    """Tables of one trace with more operators than a report places."""

    def __init__(self, count):
        self.count = count

    def has(self, table):
        return table == "cpu_operators"

    def rows(self, table):
        raise AssertionError("not to be read")

    def arrow(self, table, columns=None):
        import pyarrow as pa

        names = columns or ("capture_id",)
        return pa.table({name: pa.nulls(self.count, pa.int64()) for name in names})


def test_too_many_operators_are_said_and_not_placed(monkeypatch):
    from nsightkit.analysis import overview

    monkeypatch.setattr(overview, "MOST_PLACED_OPERATORS", 3)
    rows, notes = overview._work(Given(4), AnalysisOptions())
    assert rows == ()
    assert notes == ("4 operator calls are too many to place in a report: 'nsightkit roofline RUN' places them",)
