"""The page and the Markdown of a comparison, from the blocks that every report uses.

In: `Compared` values, one for each head. Out: compare.html, compare.md and figures/ in one folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsightkit.report.comparison.parts import Compared, TimedPage


def write_comparison(folder: Path, pages: Sequence[Compared | TimedPage]) -> tuple[Path, ...]:
    """Write the page and its Markdown twin into `folder` and return the paths, the documents first.

    Raises:
        ReportError: the folder cannot be written.
    """
    from nsightkit.report.comparison.writing import write_pages

    return write_pages(folder, pages)
