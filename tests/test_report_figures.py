"""Figure files for papers: histograms, rooflines of all kernels and of each, in the format that was asked for."""

import pytest

from builders.analysis import make_analysis, make_info
from nsightkit.analysis.results import Analysis
from nsightkit.report import render_report
from nsightkit.report.context import ReportOptions
from nsightkit.run import Run

MAGIC = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


def figures(folder, analysis, kind):
    options = ReportOptions(formats=("html",), figures=kind)
    return render_report(Run(folder), make_info(), analysis, options)[1:]


@pytest.mark.parametrize("kind", MAGIC)
def test_histograms_and_rooflines_are_files_of_their_format(kind, tmp_path):
    written = figures(tmp_path, make_analysis(6), kind)
    assert len(written) == 13 + 2 + 4
    assert {path.suffix for path in written} == {f".{kind}"}
    assert f"paper-roofline-physical.{kind}" in {path.name for path in written}
    for path in written:
        assert path.read_bytes().startswith(MAGIC[kind]), path.name


def test_the_same_data_give_the_same_svg(tmp_path):
    first = figures(tmp_path / "a", make_analysis(3), "svg")
    second = figures(tmp_path / "b", make_analysis(3), "svg")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_nothing_is_drawn_where_there_is_nothing(tmp_path):
    assert figures(tmp_path, Analysis(), "png") == ()
