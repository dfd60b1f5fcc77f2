"""How soon the page of a report answers in a real Chromium: its script has run, and a click selects a kernel.

In: nothing; reports of 20 and of 500 kernels are built first. Needs chromium and playwright (`make test-browser`). Out:
medians over fresh pages of the time from navigation to loaded, and of a click to the next painted frame.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from builders.analysis import make_run

NSIGHTKIT = str(Path(sys.executable).with_name("nsightkit"))
ROUNDS = 9
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
CLICK = """row => new Promise(done => {
  const begun = performance.now();
  row.click();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begun)));
})"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for kernels in (20, 500):
            run = make_run(Path(folder) / f"run-{kernels}", kernels)
            subprocess.run([NSIGHTKIT, "render", str(run.path)], check=True, capture_output=True)
            found = [timed(browser.new_page(), run.report_dir / "report.html") for _ in range(ROUNDS)]
            loaded, click = (statistics.median(column) for column in zip(*found, strict=True))
            print(
                f"{kernels} kernels: loaded after {loaded:.0f} ms (bar 1000), a click is painted after {click:.0f} ms"
            )


def timed(page: Page, path: Path) -> tuple[float, float]:
    """Return milliseconds until the page had loaded and its script had run, and those of a click in the first table."""
    page.goto(path.as_uri())
    page.wait_for_function(f"{LOADED} > 0")
    loaded = page.evaluate(LOADED)
    click = page.locator("table tbody tr").first.evaluate(CLICK)
    page.close()
    return loaded, click


if __name__ == "__main__":
    main()
