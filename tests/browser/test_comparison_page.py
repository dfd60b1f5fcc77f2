"""The page of a comparison in a real browser: no error, no request, nothing wider than a phone, no name that runs."""

import pytest
from click.testing import CliRunner

from builders.pairs import PROGRAM, Step, counter_row, launches, write_run
from nsightkit.cli import cli

pytestmark = pytest.mark.browser
HOSTILE = ("<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "a<b>|c*")
COUNTERS = {
    "duration_ns": 1e6, "fp32_flop": 1e9, "peak_fp32_flop_per_s": 1e13, "peak_dram_bytes_per_s": 1e12,
    "tensor_pipe_pct": 0.0, "fp16_flop": 0.0, "fp64_flop": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    sides = []
    for name, steps, moved in (("b", PROGRAM, 1e6), ("h", [*PROGRAM, *(Step(text) for text in HOSTILE)], 4e6)):
        row = counter_row("gemm_kernel_0", **COUNTERS, dram_bytes=moved)
        sides.append(str(write_run(folder / name, launches(steps, 5), [row])))
    result = CliRunner().invoke(cli, ["compare", *sides, "-o", str(folder / "out")])
    assert result.exit_code == 0, result.output
    return folder / "out" / "compare.html"


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_stands_alone(browser, page_file, width):
    said, asked = [], []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    assert page.locator("h1").count() == 1
    assert page.locator("#waterfall svg rect").count() == len(HOSTILE) + 2
    assert page.locator("#moved-points svg circle").count() == 2
    assert page.locator("#new-and-gone tbody tr").count() == len(HOSTILE)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#moved-points").screenshot(path=str(page_file.with_suffix(f".{width}.png")))
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
