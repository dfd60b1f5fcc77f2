"""The page in a real browser: it works from disk, asks for nothing, and nothing in it comes alive by a name."""

import json
import shutil
from dataclasses import replace

import pytest

from builders.analysis import HOSTILE_NAMES, make_analysis, make_info, make_sums
from nsightkit.report import render_report
from nsightkit.report.context import ReportOptions
from nsightkit.run import Run

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pages by kind, as files."""
    hostile = make_analysis(len(HOSTILE_NAMES), HOSTILE_NAMES)
    hostile = replace(hostile, ranges=make_sums(*HOSTILE_NAMES), notes=HOSTILE_NAMES)
    kinds = {
        "plain": (make_analysis(20), make_info()),
        "hostile": (hostile, make_info(name=HOSTILE_NAMES[1], hostname=HOSTILE_NAMES[2])),
        "large": (make_analysis(500, full=True), make_info()),
    }
    written = {}
    for kind, (analysis, info) in kinds.items():
        run = Run(tmp_path_factory.mktemp(kind))
        (written[kind],) = render_report(run, info, analysis, ReportOptions(formats=("html",)))
    return written


class Opened:
    """A page with all that it said and asked for."""

    def __init__(self, browser, path, **context):
        options = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light", **context}
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.said, self.asked, self.dialogs = [], [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.goto(path.as_uri())


@pytest.fixture
def opened(browser, files):
    kept = []

    def open_page(kind="plain", **context):
        kept.append(Opened(browser, files[kind], **context))
        return kept[-1]

    yield open_page
    for one in kept:
        one.context.close()


@pytest.mark.parametrize("kind", ["plain", "hostile", "large"])
def test_no_errors_and_no_request_leaves_the_file(opened, files, kind):
    one = opened(kind)
    one.page.wait_for_load_state("load")
    assert one.said == []
    assert {url for url in one.asked if not url.startswith("data:")} == {files[kind].as_uri()}
    assert one.dialogs == []


def test_the_policy_blocks_what_is_not_of_the_page(opened):
    one = opened()
    one.page.evaluate(
        """() => {
            const put = (name, change) => {
                const element = document.createElement(name);
                change(element);
                document.body.append(element);
            };
            put("script", (e) => { e.textContent = "window.owned = 1"; });
            put("img", (e) => { e.src = "https://example.org/x.png"; });
            put("div", (e) => { e.id = "d"; e.setAttribute("style", "position:fixed"); });
        }"""
    )
    assert one.page.evaluate("window.owned") is None
    assert one.page.evaluate("getComputedStyle(document.getElementById('d')).position") == "static"
    assert len([text for text in one.said if "Content Security Policy" in text]) >= 3
    assert not [url for url in one.asked if url.startswith("http") and "example" not in url]


def test_hostile_names_are_inert(opened):
    one = opened("hostile")
    assert one.page.title().startswith("<script>document.title='owned'</script>")
    assert one.page.evaluate("document.scripts.length") == 2
    assert one.page.evaluate("document.querySelectorAll('main img, main script, [onerror], [onmouseover]').length") == 0
    links = one.page.evaluate("Array.from(document.querySelectorAll('a'), (a) => a.getAttribute('href'))")
    assert not [link for link in links if not link.startswith("#")]
    names = json.loads(one.page.evaluate("document.getElementById('report-data').textContent"))["kernels"]["names"]
    assert sorted(names) == sorted(HOSTILE_NAMES)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 1440


def column(page, table, key):
    """The exact values, or the texts, of the rows that are shown."""
    script = """([table, key]) => {
        const heads = Array.from(document.querySelectorAll(`#${table} th`));
        const place = heads.findIndex((head) => head.dataset.key === key);
        const rows = Array.from(document.querySelectorAll(`#${table} tbody tr`)).filter((row) => !row.hidden);
        return rows.map((row) => row.cells[place].title || row.cells[place].textContent);
    }"""
    return page.evaluate(script, [table, key])


def click_head(page, table, key):
    page.click(f"#{table} th[data-key={key}] button")
    return page.get_attribute(f"#{table} th[data-key={key}]", "aria-sort")


def test_a_click_on_a_head_sorts_by_exact_values(opened):
    page = opened().page
    assert click_head(page, "kernels-by-time", "mean_ns") == "descending"
    values = [float(text.split()[0]) for text in column(page, "kernels-by-time", "mean_ns")]
    assert values == sorted(values, reverse=True)
    assert click_head(page, "kernels-by-time", "mean_ns") == "ascending"
    values = [float(text.split()[0]) for text in column(page, "kernels-by-time", "mean_ns")]
    assert values == sorted(values)
    assert click_head(page, "kernels-by-time", "library") == "ascending"
    names = column(page, "kernels-by-time", "library")
    assert names == sorted(names, key=str.lower)
    assert page.get_attribute("#kernels-by-time th[data-key=mean_ns]", "aria-sort") is None


def test_what_is_missing_sorts_last(opened):
    page = opened().page
    click_head(page, "class-means", "UNKNOWN")
    last = column(page, "class-means", "UNKNOWN")[-1]
    assert last == "not in the capture"


def test_the_filter_hides_rows_and_counts_the_rest(opened):
    page = opened().page
    page.fill("#kernels-by-time input", "gemv cublas")
    assert page.inner_text("#kernels-by-time [role=status]") == "4 of 20 rows"
    assert set(column(page, "kernels-by-time", "library")) == {"cuBLAS"}
    page.fill("#kernels-by-time input", "")
    assert len(column(page, "kernels-by-time", "library")) == 20


def test_the_theme_can_be_switched_and_is_remembered(opened):
    page = opened().page
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.click("#theme")
    assert page.evaluate(ground) == "rgb(22, 24, 28)"
    page.reload()
    assert page.evaluate(ground) == "rgb(22, 24, 28)"
    assert page.inner_text("#theme") == "Light theme"
    page.click("#theme")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"


def test_dark_surroundings_give_a_dark_page(opened):
    page = opened(color_scheme="dark").page
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"


def test_csv_holds_exact_values_and_no_formula(opened):
    one = opened("hostile")
    with one.page.expect_download() as download:
        one.page.click("#kernels-by-time >> text=Save CSV")
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith('"friendly_name","library","share","total_ns"')
    assert len(lines) == 1 + len(HOSTILE_NAMES)
    assert lines[1].split('",')[-1].split(",")[1] == "90000000"
    assert any(line.startswith("\"'=1+cmd") for line in lines)


def test_a_saved_drawing_keeps_its_colors(opened):
    page = opened().page
    with page.expect_download() as download:
        page.click("#roofline-normalized >> text=Save SVG")
    text = download.value.path().read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "rgb(213, 94, 0)" in text
    assert "http://www.w3.org/2000/svg" in text


def test_a_kernel_name_can_be_copied(opened):
    one = opened()
    one.context.grant_permissions(["clipboard-read", "clipboard-write"])
    one.page.click("#name-1 button")
    one.page.wait_for_function("document.querySelector('#name-1 button').textContent === 'Copied'")
    assert one.page.evaluate("navigator.clipboard.readText()") == one.page.inner_text("#name-1 code")


def test_links_lead_from_tables_to_cards_and_names(opened):
    page = opened().page
    page.click("#verdicts tbody a >> nth=0")
    assert page.evaluate("location.hash") == "#kernel-1"
    assert page.evaluate("document.querySelector(':target').className") == "card"
    page.click("#kernels-by-time tbody a >> nth=0")
    assert page.evaluate("document.querySelector(':target').tagName") == "LI"


def test_without_its_script_the_page_is_whole(opened):
    page = opened(java_script_enabled=False).page
    text = page.inner_text("main")
    assert "of the profiled GPU time" in text
    assert "Kernels one by one" in text
    assert page.locator("#kernels-by-time tbody tr").count() == 20
    assert page.locator("figure svg").count() > 30
    assert page.locator("button").count() == 0


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("kind", ["plain", "hostile", "large"])
def test_nothing_is_wider_than_the_screen(opened, kind, width):
    page = opened(kind, viewport={"width": width, "height": 844}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_serious(opened, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 900}).page
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found if v["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_paper_shows_the_folded_parts(opened):
    page = opened().page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
