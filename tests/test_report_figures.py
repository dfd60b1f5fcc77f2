"""Figure files for papers: histograms, rooflines of all kernels and of each, in the format that was asked for."""

from dataclasses import replace

import pytest

from builders.analysis import make_analysis, make_info
from nsightkit.analysis.results import Analysis
from nsightkit.report import render_report
from nsightkit.report.context import BOUND_WORDS, ReportOptions
from nsightkit.report.rooflines import Mark
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


def test_the_legend_has_the_shapes_of_the_page_in_one_size_and_leaves_the_unknown_hollow():
    from nsightkit.report import figures as drawing

    point = make_analysis(1).kernels[0].point
    shares = {"COMPUTE": 0.9, "MEMORY": 0.01, "LATENCY": 0.02, "BALANCED": 0.03, "UNKNOWN": 0.04}
    marks = [Mark(point, bound, bound, share) for bound, share in shares.items()]
    suspect = Mark(replace(point, flags=("1.40 times the roof",)), "suspect", "COMPUTE", 0.5)
    (axes,) = drawing._roofline([*marks, suspect], normalized=True).axes
    handles = axes.get_legend().legend_handles
    assert {tuple(handle.get_sizes()) for handle in handles} == {(42.0,)}
    hollow = [handle.get_facecolor()[0][3] == 0 for handle in handles]
    assert hollow == [bound == "UNKNOWN" for bound in BOUND_WORDS]
    assert len({handle.get_paths()[0].vertices.tobytes() for handle in handles}) == 4
    compute = axes.collections[0]
    assert sorted(color[3] for color in compute.get_facecolor()) == [0.0, 0.82]


def test_nothing_is_drawn_where_there_is_nothing(tmp_path):
    assert figures(tmp_path, Analysis(), "png") == ()
