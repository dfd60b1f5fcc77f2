"""What an eye would find on a page, found by measuring: words over words, cut words, tables cut off, dark paper."""

from dataclasses import replace

import pytest

from builders.analysis import HOSTILE_NAMES, make_analysis, make_info, make_story
from builders.work import with_work, work_row
from nsightkit.analysis.results import Analysis
from nsightkit.report.blocks import Column, DataTable, Figure, Section, text
from nsightkit.report.charts import text_width
from nsightkit.report.comparison import charts as comparison_charts
from nsightkit.report.context import Context
from nsightkit.report.render import html_document
from nsightkit.report.sections import build_sections
from nsightkit.report.studies import drawing

pytestmark = pytest.mark.browser
A4_PX = 703
KINDS = ("counters", "story", "hostile", "operators", "crowded", "drawings", "nothing")


def crowded():
    """Return operators that lie close together at the edges, with the broadest names there are."""
    rows = [work_row(place, 9e4 / (1 + place), 2e9 * 1.02**place, 1e7) for place in range(8)]
    rows += [work_row(8 + place, 9e3, 2e3 * 10**place, 1e7) for place in range(6)]
    wide = [replace(row, name=f"aten::MMMMMMWWWWWW_{place}", shapes="1×2048 float, 2048×512 float")
            for place, row in enumerate(rows)]  # fmt: skip
    whole = sum(row.total_ns for row in wide)
    return Analysis(work=tuple(replace(row, time_share=row.total_ns / whole) for row in wide))


def drawings():
    """Return a section of all drawings that studies and comparisons make, with names longer than their room."""
    names = [f"scope both, batch {2**place}, prompt 2048, tokens 128, dtype bfloat16" for place in range(5)]
    values = [(name, 10.0 ** (place - 2)) for place, name in enumerate(names)]
    axis = drawing.Axis("times as fast")
    spots = [comparison_charts.Spot(name, 1e4 * 1.3**i, 1e4 * 1.31**i, "compute") for i, name in enumerate(names)]
    steps = [comparison_charts.Step(name, 1e4 * (-1) ** i) for i, name in enumerate(names)]
    points = [(name, [(1.0, value), (2.0, value * 2), (2.1, value * 3)]) for name, value in values]
    stacked = [(name, [(f"part of it {i}", 1e6 * (i + 1)) for i in range(9)]) for name in names]
    made = (
        drawing.bars("bars", "Bars", [*values, ("below zero", -0.5), ("not known", None)], axis, ""),
        drawing.lines("lines", "Lines", points, (axis, drawing.Axis("time", "ns", True)), ""),
        drawing.stacked_bars("stacked-bars", "Stacked bars", stacked, ""),
        drawing.stacked("stacked", "Stacked", [(name, 1e6) for name in names], ""),
        Figure("scatter", "Scatter", comparison_charts.scatter(spots, "Scatter"), "", "", wide=True),
        Figure(
            "waterfall", "Waterfall", comparison_charts.waterfall(9e5, steps, ("base", "head"), "Waterfall"), "", ""
        ),
    )
    words = " ".join(names)
    table = DataTable("texts", "Texts", tuple(Column(key, key) for key in ("name", "short", "long", "word")),
                      ((text(names[0]), text("yes"), text(words), text("x" * 150)),))  # fmt: skip
    return [Section("drawings", "Drawings", (*made, table))]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pages by kind, as files."""
    story = make_story(make_analysis(20, full=True), ("prefill", "all_reduce grad [layers.*.attention.weight]"))
    contexts = {
        "counters": Context(make_info(), make_analysis(20)),
        "story": Context(make_info(), story),
        "hostile": Context(make_info(), make_story(make_analysis(len(HOSTILE_NAMES), HOSTILE_NAMES), HOSTILE_NAMES)),
        "operators": Context(make_info(), with_work()),
        "crowded": Context(make_info(), crowded()),
        "drawings": Context(make_info(), Analysis()),
        "nothing": Context(make_info(captures=(), tokens=None), Analysis()),
    }
    folder = tmp_path_factory.mktemp("pages")
    for kind, context in contexts.items():
        sections = drawings() if kind == "drawings" else build_sections(context)
        (folder / f"{kind}.html").write_text(html_document(context, sections), encoding="utf-8")
    return {kind: folder / f"{kind}.html" for kind in contexts}


# What has not been scrolled to is not laid out: it is asked for.
SHOW = """(open) => {
    document.querySelectorAll("section, .card, .grid > figure, .names li").forEach((part) => {
        part.style.contentVisibility = "visible";
    });
    if (open) document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
}"""


@pytest.fixture
def look(browser, files):
    contexts = []

    def open_page(kind, width=1440, media="screen", scheme="light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.goto(files[kind].as_uri())
        page.emulate_media(media=media)
        page.evaluate(SHOW, media == "print" or width < 500)
        return page

    yield open_page
    for one in contexts:
        one.close()


# Each word of a drawing with its corners in the units of the drawing; the air above and below letters is left out.
WORDS = """() => [...document.querySelectorAll(".drawing svg:not(.strip)")].filter((svg) => svg.checkVisibility())
    .map((svg) => ({
        where: svg.closest("figure").id,
        room: [0, 0, svg.viewBox.baseVal.width, svg.viewBox.baseVal.height],
        words: [...svg.querySelectorAll("text")].map((text) => {
            const box = text.getBBox();
            const into = svg.getScreenCTM().inverse().multiply(text.getScreenCTM());
            const corners = [[box.x, box.y + 2], [box.x + box.width, box.y + 2], [box.x, box.y + box.height - 3],
                [box.x + box.width, box.y + box.height - 3]].map(([x, y]) => new DOMPoint(x, y).matrixTransform(into));
            const xs = corners.map((point) => point.x), ys = corners.map((point) => point.y);
            return { text: text.textContent, turned: text.hasAttribute("transform"),
                box: [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)] };
        }),
        shapes: [...svg.querySelectorAll("path, rect, circle")].map((shape) => {
            const box = shape.getBBox();
            return [box.x, box.y, box.x + box.width, box.y + box.height];
        }),
    }))"""


def outside(box, room):
    return box[0] < room[0] - 1 or box[1] < room[1] - 1 or box[2] > room[2] + 1 or box[3] > room[3] + 1


def overlaps(a, b):
    return a[0] < b[2] - 0.5 and b[0] < a[2] - 0.5 and a[1] < b[3] - 0.5 and b[1] < a[3] - 0.5


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_no_word_lies_on_another_and_nothing_leaves_its_drawing(look, kind):
    faults, seen = [], 0
    for drawn in look(kind).evaluate(WORDS):
        words = drawn["words"]
        seen += len(words)
        faults += [(drawn["where"], "outside", word["text"]) for word in words if outside(word["box"], drawn["room"])]
        faults += [(drawn["where"], "shape outside", box) for box in drawn["shapes"] if outside(box, drawn["room"])]
        level = [word for word in words if not word["turned"]]
        faults += [
            (drawn["where"], one["text"], other["text"])
            for place, one in enumerate(level) for other in level[place + 1 :] if overlaps(one["box"], other["box"])
        ]  # fmt: skip
    assert faults == []
    assert seen > 20


@pytest.mark.parametrize("kind", ["hostile", "crowded", "drawings"])
def test_no_word_is_broader_than_it_is_taken_to_be(look, kind):
    """The table of widths holds for the font of the browser; hostile names of other scripts are left to it."""
    found = look(kind).evaluate(
        """() => [...document.querySelectorAll(".drawing svg text")].filter((text) => text.checkVisibility())
            .map((text) => [text.textContent, text.getComputedTextLength()])"""
    )
    assert len(found) > 20
    assert [(words, width, text_width(words)) for words, width in found if width > text_width(words) + 0.5] == []


CUT = """() => [...document.querySelectorAll("td, th, dt, dd, h1, h2, h3, h4, p, li, figcaption")]
    .filter((part) => part.checkVisibility() && !part.closest(".hidden") && part.scrollWidth > part.clientWidth + 1)
    .filter((part) => getComputedStyle(part).display !== "inline")
    .map((part) => [part.tagName, part.textContent.slice(0, 60)])"""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("kind", KINDS)
def test_no_words_leave_their_cell_and_the_page_does_not_scroll_sideways(look, kind, width):
    page = look(kind, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []


@pytest.mark.parametrize("kind", ["counters", "story", "drawings"])
def test_what_scrolls_on_a_phone_says_so(look, kind):
    """A shade at the edge that is cut off: a background that scrolls with the content covers it at the end."""
    page = look(kind, 390)
    found = page.evaluate(
        """() => [...document.querySelectorAll(".scroll, .drawing, nav ol")]
            .filter((box) => box.checkVisibility() && box.scrollWidth > box.clientWidth + 1)
            .map((box) => getComputedStyle(box).backgroundAttachment)"""
    )
    assert found
    assert set(found) == {"local, local, scroll, scroll"}


@pytest.mark.parametrize("kind", KINDS)
def test_paper_is_light_shows_every_section_and_cuts_nothing_off(look, kind):
    page = look(kind, A4_PX, "print", "dark")
    paper = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    assert page.evaluate(paper) == ["rgb(255, 255, 255)", "rgb(27, 30, 35)"]
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(paper) == ["rgb(255, 255, 255)", "rgb(27, 30, 35)"]
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_PX
    assert page.evaluate(CUT) == []
    empty = page.evaluate(
        """() => [...document.querySelectorAll("main section")]
            .filter((part) => !part.checkVisibility() || part.innerText.trim().length < 20).map((part) => part.id)"""
    )
    assert empty == []


def test_on_paper_the_head_of_a_table_stands_on_each_of_its_pages(look, tmp_path):
    page = look("story", A4_PX, "print")
    pages = page.evaluate("document.querySelectorAll('#kernels-by-time tbody tr').length")
    assert pages == 20
    # A button in a head keeps Chromium from repeating it, unless it makes no box of its own.
    assert page.evaluate("getComputedStyle(document.querySelector('th .sort')).display") == "contents"
    assert page.evaluate("getComputedStyle(document.querySelector('thead')).breakInside") == "avoid"


def test_cards_may_break_over_pages_but_drawings_may_not(look):
    page = look("counters", A4_PX, "print")
    inside = "(selector) => getComputedStyle(document.querySelector(selector)).breakInside"
    assert page.evaluate(inside, "article.card") == "auto"
    assert page.evaluate(inside, ".drawing") == "avoid"
    assert page.evaluate(inside, "tbody tr") == "avoid"


def test_words_of_all_plots_are_equally_large(look):
    """A drawing is shown at its own size, so that the same letters are as tall in each."""
    sizes = look("story").evaluate(
        """() => [...document.querySelectorAll(".drawing svg.plot")].filter((svg) => svg.checkVisibility())
            .map((svg) => svg.getScreenCTM().a)"""
    )
    assert len(sizes) >= 3
    assert all(0.9 <= size <= 1.001 for size in sizes)


def test_the_live_roofline_names_its_largest_points_and_explains_its_marks(look):
    page = look("counters")
    figure = "#roofline-explorer"
    names = page.evaluate(f"[...document.querySelectorAll('{figure} svg a text')].map((text) => text.textContent)")
    assert "GEMM 128×128 (FP16)" in names
    marks = page.evaluate(f"[...document.querySelectorAll('{figure} .entry')].map((one) => one.textContent)")
    drawn = page.evaluate(
        f"[...document.querySelectorAll('{figure} svg.plot a .point')].map((one) => one.classList[0])"
    )
    assert set(marks) <= set(drawn)
    page.select_option("select[name=color]", "family")
    assert page.locator(f"{figure} .entry path.f0").count() == 1
