"""The first screen as a comment, on a terminal and in a notebook: the same words, inert, and short enough."""

import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from builders.analysis import HOSTILE_NAMES, make_analysis, make_info, make_story
from nsightkit.analysis.results import Analysis
from nsightkit.report.context import Context
from nsightkit.report.first_screen import BRIEF_LINES, brief_markdown, notebook, terminal

RUNS = {
    "empty": Context(make_info(captures=(), tokens=None), Analysis()),
    "story": Context(make_info(), make_story(make_analysis(20))),
    "hostile": Context(
        make_info(name=HOSTILE_NAMES[1]), make_story(make_analysis(len(HOSTILE_NAMES), HOSTILE_NAMES), HOSTILE_NAMES)
    ),
}


@pytest.mark.parametrize("kind", RUNS)
def test_brief_fits_a_comment(kind):
    text = brief_markdown(RUNS[kind])
    assert len(text.splitlines()) <= BRIEF_LINES
    assert "<script" not in text
    assert "\x1b" not in text
    assert text.startswith("### ")


def test_brief_says_verdict_findings_and_kernels():
    text = brief_markdown(RUNS["story"])
    # Counters that nothing joined with the timeline stand second: a few launches are not the run.
    assert "**GEMM 128×128 (FP16) takes 62.7 % of the kernel time; the first three of 20 kernels take 85.3 %.**" in text
    assert "** Compute-bound: 90.0 % of the profiled GPU time, in 4 of 20 profiled kernels." in text
    assert "| What would help | At stake, at most |" in text
    assert text.count("| GEMM 128×128 (FP16)") >= 1


def plain(context, **options):
    out = io.StringIO()
    Console(file=out, width=120, **options).print(terminal(context))
    return out.getvalue()


@pytest.mark.parametrize("kind", RUNS)
def test_a_terminal_obeys_no_name(kind):
    assert "\x1b" not in plain(RUNS[kind])


def test_colors_are_left_out_where_nobody_wants_them(monkeypatch):
    assert "\x1b[" in plain(RUNS["story"], force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    colored = plain(RUNS["story"], force_terminal=True, color_system="standard")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", colored)
    assert "What would help most" in colored


@pytest.mark.parametrize("kind", RUNS)
def test_a_notebook_gets_a_fragment_without_scripts(kind):
    text = notebook(RUNS[kind])
    assert "<script" not in text
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, {name for name, _ in attrs}))
    parser.feed(text)
    tags = {"div", "p", "b", "h3", "img", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert {tag for tag, _ in found} <= tags
    assert set().union(*(names for _, names in found)) <= {"src", "alt", "width"}


def test_a_notebook_shows_charts_inline():
    text = notebook(RUNS["story"])
    assert text.count("data:image/svg+xml;base64,") >= 3
    assert "<p>Kernel time by family</p><p><img " in text
    assert "What would help most" in text


def test_loaded_runs_show_themselves(tmp_path):
    import nsightkit
    from builders.analysis import make_run

    make_run(tmp_path / "run")
    assert "Compute-bound: 100 %" in nsightkit.load(tmp_path / "run")._repr_html_()


def test_a_capture_that_is_loaded_straight_says_what_it_is_worth(tmp_path):
    import nsightkit
    from builders.ncu import PrintedLaunch, details_csv

    section = "GPU Speed Of Light Throughput"
    metrics = ((section, "Duration", "usecond", "12.5"), (section, "Compute (SM) Throughput", "%", "91.20"),
               (section, "Memory Throughput", "%", "20.10"))  # fmt: skip
    details_csv(tmp_path / "kernel.csv", [PrintedLaunch(metrics=metrics)])
    assert "Capture quality: usable" in nsightkit.load(tmp_path / "kernel.csv")._repr_html_()


@pytest.mark.parametrize("form", ["brief", "terminal", "notebook"])
def test_each_form_says_how_many_rows_it_hides(form):
    drawn = {"brief": brief_markdown, "notebook": notebook, "terminal": plain}[form](RUNS["story"])
    text = " ".join(drawn.split())
    assert f"{5 if form == 'brief' else 8} of 20 kernels are shown" in text
    assert "3 of 4 findings are shown; 1 is not." in text
