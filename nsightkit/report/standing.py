"""The report that already stands in a folder: ours to write again, or somebody else's.

In: a folder and the description of a run. Out: the name of the run whose report stands there, where it is another one.
A report is told by its title, so that the same captures rendered again replace their report and nothing else.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from nsightkit.report import format as fmt
from nsightkit.run import RunInfo

_TITLE = re.compile(r"<title>(.*?) · nsightkit</title>", re.DOTALL)
# Of a page, the title stands in the first lines; the style sheet comes after it.
_HEAD_CHARACTERS = 8_000


def title_of(info: RunInfo) -> str:
    """Return what a report is called; the date stands beside it."""
    return re.sub(r"-\d{8}-\d{6}(-\d+)?$", "", info.name) or info.workload or "Report"


def other_report(folder: Path, info: RunInfo, name: str = "report") -> str | None:
    """Return whose report stands in `folder` as `name` where it is not that of `info`; None where there is none."""
    mine = {title_of(info), fmt.printable(title_of(info)).replace("\u00a0", " ")}
    found_here = [_of_page(folder / f"{name}.html"), _of_json(folder / f"{name}.json")]
    if name == "report":
        found_here.append(_of_markdown(folder / "report.md"))
    for found in found_here:
        if found is not None and found not in mine:
            return found
    return None


def _text(path: Path, most: int = -1) -> str | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(most)
    except OSError:
        return None


def _of_page(path: Path) -> str | None:
    text = _text(path, _HEAD_CHARACTERS)
    if text is None:
        return None
    found = _TITLE.search(text)
    return html.unescape(found[1]).replace("\u00a0", " ") if found else "a page that nsightkit did not make"


def _of_markdown(path: Path) -> str | None:
    text = _text(path, _HEAD_CHARACTERS)
    if text is None:
        return None
    heading = text.partition("\n")[0].removeprefix("# ")
    return html.unescape(re.sub(r"\\(.)", r"\1", heading))


def _of_json(path: Path) -> str | None:
    text = _text(path)
    if text is None:
        return None
    try:
        data = json.loads(text)
        return title_of(RunInfo(name=data["run"]["name"], workload=data["run"].get("workload")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "a file that nsightkit did not make"
