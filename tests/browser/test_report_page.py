"""The page in a real browser: it works from disk, asks for nothing, and nothing in it comes alive by a name."""

import json
from dataclasses import replace

import pytest

from builders.analysis import HOSTILE_NAMES, make_analysis, make_info, make_story, make_sums
from builders.work import with_work
from nsightkit.report import render_report
from nsightkit.report.context import ReportOptions
from nsightkit.run import Run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pages by kind, as files."""
    hostile = make_analysis(len(HOSTILE_NAMES), HOSTILE_NAMES)
    hostile = replace(hostile, ranges=make_sums(*HOSTILE_NAMES), notes=HOSTILE_NAMES)
    hostile = make_story(hostile, HOSTILE_NAMES)
    kinds = {
        "plain": (make_story(make_analysis(20)), make_info()),
        "hostile": (hostile, make_info(name=HOSTILE_NAMES[1], hostname=HOSTILE_NAMES[2])),
        "large": (make_story(make_analysis(500, full=True)), make_info()),
        "levels": (with_levels(make_analysis(20)), make_info()),
        "operators": (with_work(), make_info()),
    }
    written = {}
    for kind, (analysis, info) in kinds.items():
        run = Run(tmp_path_factory.mktemp(kind))
        (written[kind],) = render_report(run, info, analysis, ReportOptions(formats=("html",)))
    return written


def with_levels(analysis):
    """Give every point a second one at L2, and every other kernel another precision."""
    kernels = []
    for place, kernel in enumerate(analysis.kernels):
        point = kernel.point and replace(kernel.point, precision="BF16 tensor" if place % 2 else "FP32")
        other = point and replace(
            point, level="L2", moved_bytes=point.moved_bytes * 4, flop_per_byte=point.flop_per_byte / 4
        )
        kernels.append(replace(kernel, point=point, other_levels=(other,) if other else ()))
    return replace(analysis, kernels=tuple(kernels))


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
        page.click("#overview-roofline >> text=Save SVG")
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
    assert page.evaluate("document.querySelector(':target').className") == "card sel"
    page.click("#kernels-by-time tbody a >> nth=0")
    assert page.evaluate("document.querySelector(':target').tagName") == "LI"


def test_without_its_script_the_page_is_whole(opened):
    page = opened(java_script_enabled=False).page
    text = page.text_content("main")
    assert "of the profiled GPU time" in text
    assert "Kernels one by one" in text
    assert page.locator("#kernels-by-time tbody tr").count() == 20
    assert page.locator("figure svg").count() > 30
    assert page.locator("button").count() == 0


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("kind", ["plain", "hostile", "large", "operators"])
def test_nothing_is_wider_than_the_screen(opened, kind, width):
    page = opened(kind, viewport={"width": width, "height": 844}).page
    # What has not been scrolled to yet is not laid out, and may be wider.
    page.evaluate(
        """() => {
            document.querySelectorAll("section, .card, .grid > figure, .names li").forEach((part) => {
                part.style.contentVisibility = "visible";
            });
            document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
        }"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("kind", ["plain", "operators"])
def test_axe_finds_nothing_serious(opened, scheme, width, kind):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(kind, color_scheme=scheme, viewport={"width": width, "height": 900}).page
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found if v["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_paper_shows_the_folded_parts(opened):
    page = opened().page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0


# One kernel in every view: what a click there must select everywhere else. The kernel is one with a roofline point.
VIEWS = {
    "overview roofline": "#overview-roofline svg a[href='#{0}']",
    "live roofline": "#roofline-explorer svg a[href='#{0}']",
    "verdicts": "#verdicts tbody tr:has(a[href='#{0}'])",
    "longest": "#longest-kernels tbody tr:has(a[href='#{0}'])",
    "roofline points": "#roofline-points tbody tr:has(a[href='#{0}'])",
    "single roofline": "#roofline-{1}",
    "card": "#{0}",
}
INNER = {"single roofline": " h3 a", "card": " > h3", "verdicts": " td >> nth=2", "longest": " td >> nth=2",
         "roofline points": " td >> nth=2"}  # fmt: skip


def chosen_in(page, selector):
    return page.evaluate("(s) => document.querySelector(s).classList.contains('sel')", selector)


@pytest.mark.parametrize("kind", ["plain", "large"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_selection_in_one_view_is_one_in_every_view_and_in_the_address(opened, kind, view):
    one = opened(kind)
    page, anchor = one.page, "kernel-1"
    places = {name: selector.format(anchor, 1) for name, selector in VIEWS.items()}
    assert not any(chosen_in(page, selector) for selector in places.values())
    page.dispatch_event(places[view] + INNER.get(view, ""), "click", {"bubbles": True, "cancelable": True})
    page.wait_for_function("location.hash === '#kernel-1'")
    page.wait_for_function("document.body.classList.contains('selecting')")
    assert {name: chosen_in(page, selector) for name, selector in places.items()} == dict.fromkeys(places, True)
    bars = "document.querySelectorAll('[id^=histogram-] rect.sel').length"
    assert page.evaluate(bars) == page.locator("figure[id^=histogram-]").count()
    assert page.evaluate("document.querySelectorAll('.names li.sel').length") == 1
    assert page.evaluate("document.querySelectorAll('#verdicts tr.sel').length") == 1
    assert page.inner_text(".selection [role=status]").startswith("Selected: GEMM 128×128 (FP16)")
    page.go_back()
    page.wait_for_function("!document.body.classList.contains('selecting')")
    assert not any(chosen_in(page, selector) for selector in places.values())
    page.go_forward()
    page.wait_for_function("document.body.classList.contains('selecting')")
    assert all(chosen_in(page, selector) for selector in places.values())
    assert one.said == []


def test_a_link_opens_with_its_kernels_selected(browser, files):
    one = Opened(browser, files["large"])
    one.page.goto(files["large"].as_uri() + "#kernels-1-7-13")
    one.page.reload()
    page = one.page
    assert page.evaluate("document.querySelectorAll('#verdicts tr.sel').length") == 3
    assert page.inner_text(".selection [role=status]").startswith("Selected: 3 kernels")
    page.keyboard.press("Escape")
    assert page.evaluate("location.hash") == ""
    assert page.evaluate("document.querySelectorAll('.sel').length") == 0
    one.context.close()


def test_a_row_of_the_timeline_selects_its_name(opened):
    page = opened().page
    page.click("#kernels-by-time tbody tr >> nth=3 >> td >> nth=2")
    anchor = page.evaluate("location.hash")
    assert anchor.startswith("#name-")
    assert chosen_in(page, anchor)
    assert chosen_in(page, f"#overview-kernels tbody tr:has(a[href='{anchor}'])")


def test_a_bar_of_a_histogram_selects_the_kernels_under_it(opened):
    page = opened("large").page
    page.dispatch_event("#histogram-duration-ns rect.accent >> nth=-1", "click", {"bubbles": True})
    title = page.text_content("#histogram-duration-ns rect.accent >> nth=-1 >> title")
    assert page.evaluate("location.hash") == "#kernel-1"
    assert title.endswith(": GEMM 128×128 (FP16)")
    page.dispatch_event("#histogram-sm-throughput-pct rect.accent >> nth=-1", "click", {"bubbles": True})
    chosen = page.evaluate("location.hash").removeprefix("#kernels-").split("-")
    assert len(chosen) == page.evaluate("document.querySelectorAll('#verdicts tr.sel').length") == 83


def test_the_slider_cuts_off_what_takes_little_time(opened):
    page = opened("large").page
    page.evaluate("""() => {
        const slider = document.querySelector('#roofline-explorer input[type=range]');
        slider.value = 50;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
    }""")
    shares = json.loads(page.evaluate("document.getElementById('report-data').textContent"))["kernels"]
    place = shares["columns"].index("time_share")
    left = [row for row in shares["rows"] if row[place] >= 0.01]
    assert 0 < len(left) < 500
    assert page.text_content("#roofline-explorer .tools > [role=status]").startswith(f"{len(left)} of 500 kernels")
    assert page.evaluate("document.querySelectorAll('article.card:not(.cut)').length") == len(left)
    assert page.evaluate("document.querySelectorAll('#verdicts tbody tr:not(.cut)').length") == len(left)
    assert page.text_content("#roofline-explorer output") == "1.00 % of the time"


def test_view_level_precision_and_color_can_be_switched(opened):
    one = opened("levels")
    page = one.page
    on_roof = page.evaluate("document.querySelectorAll('#roofline-explorer .roof').length")
    assert on_roof == 2
    page.select_option("select[name=view]", "normalized")
    assert page.evaluate("document.querySelectorAll('#roofline-explorer .roof').length") == 1
    assert "intensity ÷ ridge point" in page.text_content("#roofline-explorer svg")
    page.select_option("select[name=view]", "physical")
    page.select_option("select[name=level]", "L2")
    assert "FLOP per byte of L2 traffic" in page.text_content("#roofline-explorer svg")
    page.focus("#roofline-explorer .drawing")
    page.keyboard.press("ArrowRight")
    assert "189 FLOP/B" in page.inner_text("#roofline-explorer .tip")
    page.select_option("select[name=precision]", "BF16 tensor")
    assert "No place here" in page.text_content("#roofline-explorer svg")
    page.select_option("select[name=color]", "family")
    assert page.locator("#roofline-explorer svg .f0.point, #roofline-explorer svg .f1.point").count() > 0
    assert one.said == []


def test_the_mark_of_an_unknown_bound_is_a_ring(opened):
    page = opened().page
    look = "e => [getComputedStyle(e).fill, getComputedStyle(e).strokeWidth]"
    assert page.locator("#i-unknown .ring").evaluate(look) == ["none", "1.8px"]
    assert page.locator(".keys svg.icon.unknown").count() == 1


def test_hover_and_keys_show_all_numbers(opened):
    page = opened().page
    page.focus("#roofline-explorer .drawing")
    page.keyboard.press("ArrowRight")
    text = page.inner_text("#roofline-explorer .tip")
    for part in (
        "GEMM 128×128 (FP16)",
        "755 FLOP/B",
        "41 TFLOP/s of 48.7 TFLOP/s",
        "84.2 % of its roof",
        "of the profiled time",
    ):
        assert part in text
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#kernel-1"


def test_columns_can_be_left_out_and_copied_tables_follow(opened):
    one = opened()
    page = one.page
    one.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#kernels-by-time .columns summary")
    page.click("#kernels-by-time .columns label:has-text('Library')")
    page.fill("#kernels-by-time input[type=search]", "gemv")
    page.click("#kernels-by-time >> text=Copy Markdown")
    page.wait_for_function(
        "Array.from(document.querySelectorAll('#kernels-by-time button')).some((b) => b.textContent === 'Copied')"
    )
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert lines[0].startswith("| Kernel | Share | Total |")
    assert lines[1].startswith("| --- | ---: |")
    assert len(lines) == 2 + 4
    page.click("#kernels-by-time >> text=Copy CSV")
    page.wait_for_function("navigator.clipboard.readText().then((t) => t.startsWith('\"friendly_name\"'))")
    assert (
        page.evaluate("navigator.clipboard.readText()").splitlines()[0].startswith('"friendly_name","share","total_ns"')
    )


def test_a_drawing_can_be_saved_as_png(opened):
    page = opened().page
    with page.expect_download() as download:
        page.click("#overview-roofline >> text=Save PNG")
    data = download.value.path().read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(data[16:20], "big") == 1360


def test_every_number_of_the_live_roofline_is_in_the_data(opened):
    page = opened("plain").page
    rows = page.evaluate("""() => {
        const data = JSON.parse(document.getElementById('report-data').textContent).kernels;
        return data.rows.map((row) => row[data.columns.indexOf('time_share')]);
    }""")
    assert sum(rows) == pytest.approx(1.0)
    assert (
        page.text_content("#roofline-explorer .tools > [role=status]") == "20 of 20 kernels, 100 % of the profiled time"
    )


def test_an_operator_is_selected_in_every_view_and_in_the_address(opened):
    one = opened("operators")
    page = one.page
    assert "tier analytic, experimental" in page.text_content("#roofline-explorer")
    assert page.locator("#roofline-explorer svg a[data-sel]").count() == 4
    page.click("#roofline-explorer svg a[data-sel=o1] path")
    assert page.evaluate("location.hash") == "#operator-1"
    assert page.locator("tr#operator-1.sel").count() == 1
    assert page.locator("#overview-roofline svg a.sel").count() == 1
    assert "47.4 % of the operators' time" in page.inner_text(".selection")
    page.keyboard.press("Escape")
    page.click("tr#operator-3 td:nth-child(2)")
    assert page.evaluate("location.hash") == "#operator-3"
    assert page.get_attribute("#roofline-explorer svg a.sel", "data-sel") == "o3"
    page.click("#roofline-explorer svg a[data-sel=o2] path", modifiers=["Shift"])
    assert page.evaluate("location.hash") == "#operators-3-2"
    page.reload()
    assert sorted(page.evaluate("Array.from(document.querySelectorAll('tr.sel'), (row) => row.id)")) == [
        "operator-2", "operator-3"
    ]  # fmt: skip
    assert one.said == []


def test_what_has_no_place_stands_on_the_strip(opened):
    page = opened("operators").page
    assert "No place here: 2 of 4 operators" in page.text_content("#roofline-explorer svg")
    assert "2 of 4 rows of operators have no place above" in page.text_content("#overview-roofline svg")
    page.click("#overview-roofline a[href='#operator-2'] path")
    assert page.locator("tr#operator-2.sel").count() == 1
    plain = opened("plain").page
    assert "6 of 20 kernels have no place above" in plain.text_content("#overview-roofline svg")


def test_a_phone_shows_all_of_a_finding(opened):
    page = opened("plain", viewport={"width": 390, "height": 844}).page
    cells = page.locator("#findings-first tbody tr:first-child td")
    boxes = [cells.nth(place).bounding_box() for place in range(cells.count())]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert [box["y"] for box in boxes] == sorted(box["y"] for box in boxes)


@pytest.mark.parametrize("kind", ["plain", "operators"])
def test_a_phone_can_read_what_a_drawing_says(opened, kind):
    """No word of a drawing is smaller than 8.5 px: a broad drawing scrolls rather than shrinks."""
    page = opened(kind, viewport={"width": 390, "height": 844}).page
    small = page.evaluate(
        """() => [...document.querySelectorAll(".drawing svg:not(.strip) text")]
            .filter((text) => text.checkVisibility())
            .filter((text) => Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b)
                * parseFloat(getComputedStyle(text).fontSize) < 8.5)
            .map((text) => [text.closest("figure, section").id, text.textContent])"""
    )
    assert small == []


@pytest.mark.parametrize("kind", ["plain", "operators", "large"])
def test_no_word_leaves_its_drawing(opened, kind):
    page = opened(kind).page
    outside = page.evaluate(
        """() => [...document.querySelectorAll("#overview .drawing svg, #kernel-rooflines svg")]
            .flatMap((svg) => [...svg.querySelectorAll("text")].map((text) => {
                const [words, room] = [text.getBBox(), svg.viewBox.baseVal];
                const inside = words.x >= room.x && words.x + words.width <= room.x + room.width
                    && words.y + words.height <= room.y + room.height;
                return inside ? null : text.textContent;
            }))
            .filter((words) => words !== null)"""
    )
    assert outside == []


def test_on_paper_no_heading_stands_alone_at_the_foot_of_a_page(opened):
    page = opened().page
    page.emulate_media(media="print")
    loose = page.evaluate(
        """() => [...document.querySelectorAll("main h1, main h2, main h3, main h4")]
            .filter((head) => getComputedStyle(head).breakAfter !== "avoid").map((head) => head.textContent)"""
    )
    assert loose == []
