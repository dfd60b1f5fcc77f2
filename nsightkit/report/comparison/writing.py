"""Writes the documents of a comparison.

In: a folder and one page a head. Out: compare.html, compare.md, figures/*.svg, each under a temporary name first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nsightkit.analysis.compare.comparability import SAME
from nsightkit.analysis.results import Analysis
from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Column, DataTable, Figure, Items, Section, Text
from nsightkit.report.charts import standalone
from nsightkit.report.comparison.kernel_sections import sections_of
from nsightkit.report.comparison.parts import Compared, TimedPage
from nsightkit.report.comparison.timed_sections import timed_sections
from nsightkit.report.context import Context
from nsightkit.report.render import html_document, markdown_document
from nsightkit.run import RunInfo, write_text

_METHOD = (
    "Comparability comes first: what must agree and does not is refused, what else differs is listed above.",
    "The unit of a verdict is the process run; a side needs five of them, run in turn. Fewer are only described.",
    "Every kernel of both sides stands in exactly one line, so the lines add up to the whole difference.",
    "Time of a difference is split into number of launches and time per launch; new and gone kernels count whole.",
    "docs/method.md, differences between runs, has the formulas, their sources and the measured error rates.",
)


def write_pages(folder: Path, pages: Sequence[Compared | TimedPage]) -> tuple[Path, ...]:
    """Write the documents below `folder` and return their paths."""
    from nsightkit import __version__

    sections = build_sections(pages)
    # The date is that of the comparison: the runs were made at other times.
    info = RunInfo(name=_title(pages), nsightkit_version=__version__, gpu_name=_one_gpu(pages))
    context = Context(info, Analysis())
    parts = [part for section in sections for part in blocks.every_block(section.blocks)]
    texts = {
        "compare.html": html_document(context, sections),
        "compare.md": markdown_document(context, sections),
        **{f"figures/{part.id}.svg": standalone(part.svg) for part in parts if isinstance(part, Figure)},
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in texts)


def build_sections(pages: Sequence[Compared | TimedPage]) -> list[Section]:
    """Return the sections of all heads; those of the second and later ones carry the head's name."""
    found: list[Section] = []
    for place, page in enumerate(pages, 1):
        suffix = "" if place == 1 else f"-{place}"
        made = sections_of(page, suffix) if isinstance(page, Compared) else timed_sections(page, suffix)
        if len(pages) > 1:
            made = [replace(section, title=f"{section.title}: {page.comparison.head_name}") for section in made]
        if place > 1:
            made = [replace(section, blocks=tuple(map(_lowered, section.blocks))) for section in made]
        found += made
    if len(pages) > 1:
        # The page has one heading of the first rank, which speaks of all heads.
        found[0] = replace(found[0], blocks=tuple(map(_lowered, found[0].blocks)))
        found.insert(0, _all_heads(pages))
    method = _METHOD if isinstance(pages[0], Compared) else (*_METHOD[:2], _METHOD[-1])
    method = (*method, f"Compared on {datetime.now(UTC).date().isoformat()}; the runs may be older.")
    return [*found, Section("method", "Method", (Items(method),))]


def _lowered(block: Block) -> Block:
    """Return `block`; a page has one heading of the first rank."""
    return replace(block, role="prose") if isinstance(block, Text) and block.role == "lead" else block


def _all_heads(pages: Sequence[Compared | TimedPage]) -> Section:
    """Return what all heads came to, before each is told by itself."""
    lines = [_line(page) for page in pages]
    base = pages[0].comparison.base_name
    ratios = [ratio for _, ratio, _, _ in lines if ratio]
    span = f": {min(ratios):.3g} to {max(ratios):.3g}× its time" if ratios else ""
    columns = (
        Column("head", "head"), Column("ratio", "time, head ÷ base", "", "number"), Column("verdict", "verdict"),
        Column("said", "against the base"),
    )  # fmt: skip
    rows = tuple(
        (
            blocks.text(page.comparison.head_name),
            Cell(fmt.MISSING if ratio is None else fmt.factor(ratio), interval),
            blocks.text(verdict),
            Cell(blocks.text(page.summary.partition(". ")[0]).text, page.summary),
        )
        for page, (_, ratio, interval, verdict) in zip(pages, lines, strict=True)
    )
    table = DataTable("all-heads", "All heads", columns, rows)
    return Section(
        "all-heads-overview", "All heads", (Text(f"{len(pages)} heads against {base}{span}.", "lead"), table)
    )


def _line(page: Compared | TimedPage) -> tuple[str, float | None, str, str]:
    """Return name, ratio, interval in words and verdict; of several settings the ratio of their sums."""
    name = page.comparison.head_name
    if isinstance(page, Compared):
        estimate, verdict = page.comparison.whole.estimate, page.comparison.whole.verdict
        low, high = estimate.low, estimate.high
        interval = "" if low is None or high is None else f"95 % interval {low:.3f} to {high:.3f}"
        return name, estimate.ratio, interval, verdict or "described"
    rows = page.comparison.compared
    old, new = (sum(ns or 0.0 for ns in side) for side in ([r.base_ns for r in rows], [r.head_ns for r in rows]))
    verdicts = [row.verdict or "described" for row in rows]
    words = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    return name, new / old if old else None, "sum over the settings of both sides", words


def _one_gpu(pages: Sequence[Compared | TimedPage]) -> str | None:
    """Return the GPU if all sides ran on one."""
    checks = [page.checks if isinstance(page, Compared) else page.comparison.checks for page in pages]
    found = {next((c.base for c in some if c.name == "gpu" and c.status == SAME), None) for some in checks}
    return found.pop() if len(found) == 1 else None


def _title(pages: Sequence[Compared | TimedPage]) -> str:
    heads = ", ".join(page.comparison.head_name for page in pages[:3])
    more = f" and {len(pages) - 3} more" if len(pages) > 3 else ""
    return f"{pages[0].comparison.base_name} against {heads}{more}"
