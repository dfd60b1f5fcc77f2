"""From analyses to a document: Markdown and HTML from the same blocks.

In: a run and its `Analysis`. Out: files below ``RUN/report``. Importing this package is cheap: the templates' engine
is loaded when a report is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsightkit.analysis.results import Analysis
    from nsightkit.report.context import ReportOptions
    from nsightkit.run import Run, RunInfo


def render_report(
    run: Run, info: RunInfo, analysis: Analysis, options: ReportOptions | None = None
) -> tuple[Path, ...]:
    """Write the report of `run` and return the paths of what was written, the documents first.

    Args:
        run: says where the report goes: ``RUN/report``.
        info: what is known of the run and of its captures.
        analysis: the numbers.
        options: formats, rows per table and figure files; all defaults where it is None.

    Raises:
        ReportError: the folder cannot be written.
    """
    from nsightkit.report.render import write_report

    return write_report(run, info, analysis, options)
