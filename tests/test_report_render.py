"""The documents: self-contained, escaped, small enough, and every number equal to the analysis."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.analysis import (
    HOSTILE_NAMES,
    classified,
    make_analysis,
    make_info,
    make_operators,
    make_story,
    make_sums,
)
from nsightkit.analysis.distributions import summarize_classes
from nsightkit.analysis.results import Analysis
from nsightkit.errors import ReportError
from nsightkit.report import render_report
from nsightkit.report.blocks import Cell
from nsightkit.report.context import Context, ReportOptions
from nsightkit.report.data import page_json
from nsightkit.report.render import html_document, markdown_document
from nsightkit.report.sections import build_sections
from nsightkit.run import Run

GOLDEN = Path(__file__).parent / "golden"


class Page(HTMLParser):
    """What a page holds: its elements, its scripts, the cells of each table, and text outside scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.styles, self.tables, self.text = [], [], [], {}, []
        self._inside, self._table, self._id = "", None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.elements.append((tag, known))
        if tag in ("script", "style"):
            self._inside = tag
            (self.scripts if tag == "script" else self.styles).append((known, ""))
        if tag == "div" and known.get("class") == "table":
            self._id = known["id"]
        if tag == "table" and self._id:
            self._table = self.tables.setdefault(self._id, {"keys": [], "rows": []})
            self._id = None
        if self._table is not None:
            if tag == "th":
                self._table["keys"].append(known.get("data-key"))
            if tag == "tr" and self._table["keys"]:
                self._table["rows"].append([])
            if tag == "td":
                self._table["rows"][-1].append({"title": known.get("title"), "text": ""})

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside = ""
        if tag == "table":
            self._table = None

    def handle_data(self, data):
        if self._inside:
            kept = self.scripts if self._inside == "script" else self.styles
            kept[-1] = (kept[-1][0], kept[-1][1] + data)
            return
        self.text.append(data)
        if self._table is not None and self._table["rows"] and self._table["rows"][-1]:
            self._table["rows"][-1][-1]["text"] += data

    def column(self, table, key):
        found = self.tables[table]
        return [row[found["keys"].index(key)] for row in found["rows"]]

    @property
    def data(self):
        return json.loads(next(text for attrs, text in self.scripts if attrs.get("id") == "report-data"))


def context(analysis, info=None, **options):
    return Context(info or make_info(), analysis, ReportOptions(**options))


def page(analysis, info=None, **options):
    made = context(analysis, info, **options)
    return html_document(made, build_sections(made))


def markdown(analysis, info=None, **options):
    made = context(analysis, info, **options)
    return markdown_document(made, build_sections(made))


def number(cell):
    return float(cell["title"].split(" ")[0])


def test_the_page_needs_nothing_from_outside():
    text = page(make_analysis(6))
    found = Page(text)
    assert not [tag for tag, _ in found.elements if tag in ("img", "iframe", "object", "embed", "base", "form")]
    links = [a.get("href") or a.get("src") or "" for _, a in found.elements]
    assert {link for link in links if link and not link.startswith("#")} == {"data:,"}
    assert not re.search(r"url\(|@import", found.styles[0][1])


def test_the_policy_allows_exactly_the_style_and_the_script_of_the_page():
    found = Page(page(make_analysis(3)))
    policy = next(a["content"] for tag, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    script = [text for attrs, text in found.scripts if not attrs.get("type")]
    assert len(script) == len(found.styles) == 1
    for text in (script[0], found.styles[0][1]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    # Inline styles and handlers would be blocked by it.
    assert not [k for _, attrs in found.elements for k in attrs if k == "style" or k.startswith("on")]


def test_every_number_of_the_top_table_is_the_analysis_exactly():
    analysis = make_analysis(20)
    found = Page(page(analysis))
    for key in (
        "share",
        "total_ns",
        "launch_count",
        "mean_ns",
        "median_ns",
        "p95_ns",
        "min_ns",
        "max_ns",
        "per_token_ns",
    ):
        cells = found.column("kernels-by-time", key)
        assert [number(cell) for cell in cells] == [getattr(k, key) for k in analysis.top_kernels], key


def test_every_number_of_the_roofline_table_is_the_analysis_exactly():
    analysis = make_analysis(20)
    found = Page(page(analysis))
    placed = [k for k in sorted(analysis.kernels, key=lambda k: -k.total_ns) if k.point]
    for key in ("flop_per_byte", "ridge_flop_per_byte", "flop_per_s", "roof_flop_per_s", "efficiency"):
        cells = found.column("roofline-points", key)
        assert [number(cell) for cell in cells] == [getattr(k.point, key) for k in placed], key


def test_class_counts_on_the_page_equal_its_rows_and_its_data():
    analysis = make_analysis(20)
    found = Page(page(analysis))
    rows = [cell["text"] for cell in found.column("verdicts", "bound")]
    words = [cell["text"] for cell in found.column("class-counts", "bound")]
    counts = [number(cell) for cell in found.column("class-counts", "kernel_count")]
    assert counts == [len(rows) if word == "all kernels" else rows.count(word) for word in words]
    data = found.data["classes"]
    assert counts == [row[data["columns"].index("kernel_count")] for row in data["rows"]]
    means = [cell["title"] for cell in found.column("class-means", "OVERALL")]
    assert [float(m.split()[0]) for m in means] == [m for m in analysis.classes[-1].means.values() if m is not None]


def test_the_data_of_the_page_are_the_analysis():
    analysis = make_analysis(8)
    data = Page(page(analysis)).data
    assert data["rule"] == "auto"
    assert data["margin"] == 5.0
    assert data["span_ns"] == analysis.span_ns
    assert data["run"]["gpu_name"] == "NVIDIA GeForce RTX 4080 SUPER"
    kernels = data["kernels"]
    for row in kernels["rows"]:
        known = dict(zip(kernels["columns"], row, strict=True))
        kernel = analysis.kernels[known["index"]]
        assert kernels["names"][known["name"]] == kernel.kernel_name
        assert known["duration_ns"] == kernel.duration_ns
        assert dict(zip(kernels["counters"], known["counters"], strict=True)) == kernel.counters
        verdict = dict(zip(kernels["verdict"], known["verdict"], strict=True))
        assert (verdict["bound"], verdict["rule"]) == (kernel.verdict.bound, kernel.verdict.rule)
        inputs = dict(zip(kernels["inputs"], known["inputs"], strict=True))
        assert {name: value for name, value in inputs.items() if value is not None} == kernel.verdict.inputs
        if kernel.point:
            point = dict(zip(kernels["point"], known["point"], strict=True))
            assert point["efficiency"] == kernel.point.efficiency
    assert len(kernels["rows"]) == 8
    assert [h["counts"] for h in data["histograms"]] == [list(h.counts) for h in analysis.histograms]


def test_a_number_that_json_cannot_hold_is_kept_by_name():
    kernel = classified(1)[0]
    kernels = (
        replace(kernel, counters={**kernel.counters, "l1_hit_rate_pct": float("nan"), "dram_bytes": float("inf")}),
    )
    analysis = Analysis(kernels=kernels, classes=tuple(summarize_classes(kernels)))
    data = json.loads(page_json(context(analysis)))
    counters = dict(zip(data["kernels"]["counters"], data["kernels"]["rows"][0][-4], strict=True))
    assert counters["l1_hit_rate_pct"] == "nan"
    assert counters["dram_bytes"] == "inf"
    assert page(analysis).count("nan %") == 1


def test_missing_is_a_dash_with_its_reason():
    found = Page(page(make_analysis(6)))
    unknown = [cell for cell in found.column("class-means", "UNKNOWN") if cell["text"] == "–"]
    assert unknown
    assert {cell["title"] for cell in unknown} == {"not in the capture"}


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_stays_text_in_the_page(name):
    plain = Page(page(make_analysis(2)))
    names = (name, name + "2")
    analysis = make_analysis(2, names)
    info = make_info(name=name, workload=name, workload_args=(name,), gpu_name=name, hostname=name)
    text = page(replace(analysis, ranges=make_sums(name), notes=(name,)), info)
    text.encode("utf-8")
    found = Page(text)
    kinds = {tag for tag, _ in found.elements}
    assert kinds == {tag for tag, _ in plain.elements} | {"wbr"} & kinds
    assert len(found.scripts) == 2
    assert not [k for _, a in found.elements for k in a if k.startswith("on") or k == "style"]
    assert not [a for _, a in found.elements if str(a.get("href", "")).startswith(("javascript", "http"))]
    assert found.data["kernels"]["names"][0].rstrip("2") == name.rstrip("2")
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_stays_text_in_markdown(name):
    info = make_info(name=name, gpu_name=name)
    text = markdown(replace(make_analysis(3, (name,)), ranges=make_sums(name), notes=(name,)), info)
    text.encode("utf-8")
    assert "\x1b" not in text
    outside = without_code(text)
    assert "<script" not in outside
    assert "<img" not in outside
    assert not re.search(r"https?://|www\.", outside)
    headings = [line for line in outside.splitlines() if line.startswith("#")]
    assert "# heading" not in headings
    for block in re.findall(r"(?:^\|.*\n)+", outside, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def without_code(text):
    """Markdown without its fenced blocks, told apart as a renderer does."""
    kept, fence = [], ""
    for line in text.splitlines():
        opening = re.match(r"\s*(`{3,})(text)?$", line)
        if fence:
            if opening and not opening.group(2) and len(opening.group(1)) >= len(fence):
                fence = ""
        elif opening:
            fence = opening.group(1)
        else:
            kept.append(line)
    assert not fence, "a fence was left open"
    return "\n".join(kept) + "\n"


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_any_name_gives_a_page_with_the_same_elements(name):
    made = context(Analysis(top_kernels=make_analysis(1, (name,)).top_kernels[:1], ranges=make_sums(name)))
    text = html_document(made, build_sections(made))
    found = Page(text)
    assert len(found.scripts) == 2
    assert len(found.column("kernels-by-time", "share")) == 1
    without_code(markdown_document(made, build_sections(made)))


def test_markdown_says_what_the_page_says():
    analysis = make_analysis(6)
    text, found = markdown(analysis), Page(page(analysis))
    for section in build_sections(context(analysis)):
        assert (section.title if section.missing else f"## {section.title}") in text
    shown = " ".join(found.text).replace("\u00a0", " ")
    for words in ("41.0 TFLOP/s of 48.7 TFLOP/s (84.2 %)", "moves 643 GB/s of 717 GB/s (89.7 %) through DRAM"):
        assert words in text
        assert words in shown


def test_every_drawing_of_the_markdown_is_beside_it(tmp_path):
    written = render_report(Run(tmp_path), make_info(), make_analysis(6))
    folder = tmp_path / "report"
    assert written[:2] == (folder / "report.html", folder / "report.md")
    named = set(re.findall(r"\]\(figures/([^)]+)\)", (folder / "report.md").read_text(encoding="utf-8")))
    assert {path.name for path in (folder / "figures").iterdir()} == named == {path.name for path in written[2:]}
    assert len(named) == 2 + 1 + 13 + 2 + 4


def test_a_new_report_removes_the_drawings_of_the_old_one_and_nothing_else(tmp_path):
    render_report(Run(tmp_path), make_info(), make_analysis(6))
    mine = tmp_path / "report" / "figures" / "my-own.svg"
    mine.write_text("kept", encoding="utf-8")
    render_report(Run(tmp_path), make_info(), Analysis(top_kernels=make_analysis(6).top_kernels))
    assert {path.name for path in mine.parent.iterdir()} == {"families.svg", "my-own.svg"}


def test_the_same_analysis_gives_the_same_bytes():
    assert page(make_analysis(9)) == page(make_analysis(9))
    assert markdown(make_analysis(9)) == markdown(make_analysis(9))


def test_only_what_was_asked_for_is_written(tmp_path):
    options = ReportOptions(formats=("html",), folder=tmp_path / "elsewhere")
    written = render_report(Run(tmp_path / "run"), make_info(), make_analysis(2), options)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == ["elsewhere/report.html"]
    assert not (tmp_path / "run").exists()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(ReportError, match=r"cannot write .*name another folder with -o") as caught:
        render_report(Run(blocked), make_info(), make_analysis(1))
    assert caught.value.slug == "cannot-write"


def test_pages_stay_small_enough_to_be_mailed():
    assert len(page(make_analysis(20, full=True)).encode()) < 1_000_000
    assert len(page(make_analysis(500, full=True)).encode()) < 2_900_000
    assert len(page(make_story(make_analysis(500, full=True))).encode()) < 2_900_000


def test_the_page_reads_without_its_script():
    found = Page(page(make_analysis(6)))
    assert not [a for _, a in found.elements if "hidden" in a]
    words = "".join(found.text)
    assert "Compute-bound: 89.2 %" in words.replace("\u00a0", " ")
    assert "void ns::kernel_0<CUTLASS, (int)0, float>(ns::Params<float, 0>)" in words


def scrubbed(text):
    text = re.sub(r"\d{4}-\d{2}-\d{2}(T[\d:+]+)?", "<date>", text)
    return re.sub(
        r"nsightkit \d+\.\d+\.\d+\S*", "nsightkit <version>.", re.sub(r"\| 0\.\d+\.\d+ \|", "| <version> |", text)
    )


@pytest.mark.parametrize(
    ("name", "analysis", "info"),
    [
        ("report-gpu", make_analysis(4), make_info()),
        (
            "report-cpu",
            Analysis(top_operators=make_operators(3), ranges=make_sums("prefill", "decode")),
            make_info(gpu_name=None, compute_capability=None, captures=()),
        ),
        ("report-empty", Analysis(), make_info(captures=(), tokens=None)),
    ],
)
def test_the_markdown_is_the_golden_one(name, analysis, info, update_golden):
    path = GOLDEN / f"{name}.md"
    text = scrubbed(markdown(analysis, info))
    if update_golden:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "exact", "says_more"),
    [("91.20 %", "91.2 %", False), ("100.00 %", "100 %", False), ("40", "40", False), ("7.33 MB", "7333333 B", True),
     ("30", "3", True), ("12345.68 %", "12345.678901 %", True), ("–", "", False)],
)  # fmt: skip
def test_the_text_under_the_pointer_is_left_out_where_it_says_the_same(text, exact, says_more):
    assert Cell(text, exact).says_more is says_more


def test_the_data_in_the_page_are_the_data_of_the_file_in_fewer_characters():
    told = context(make_story(make_analysis(6, HOSTILE_NAMES[:6], full=True)))
    short, readable = page_json(told), page_json(told, readable=True)
    assert json.loads(short) == json.loads(readable)
    assert len(short) < len(readable)
    assert not re.search(r"</|<!|<s", short, re.IGNORECASE)
