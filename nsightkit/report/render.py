"""Writes the documents.

In: a run, its description, its analysis and options. Out: ``report.html`` (one file with everything in it),
``report.md`` with its drawings in ``figures/``. Each file is written under a temporary name and renamed.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2

from nsightkit.analysis.results import Analysis
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Figure, Group, Section
from nsightkit.report.charts import chart_rules, standalone, style_rules
from nsightkit.report.context import BOUND_WORDS, Context, ReportOptions
from nsightkit.report.data import page_json
from nsightkit.report.notes import notes
from nsightkit.report.sections import build_sections
from nsightkit.report.standing import title_of
from nsightkit.report.templates import make_environment
from nsightkit.resources import resource_dir
from nsightkit.run import Run, RunInfo, write_text

_ICONS = {
    "compute": '<circle cx="6" cy="6" r="5"/>',
    "memory": '<path d="M1.5 1.5h9v9h-9z"/>',
    "latency": '<path d="M6 .8l5.6 10H.4z"/>',
    "balanced": '<path d="M6 .2L11.8 6 6 11.8.2 6z"/>',
    "unknown": '<circle class="ring" cx="6" cy="6" r="4.6"/>',
    "overall": "",
}
_NUMBER_AND_UNIT = re.compile(r"(\d) (%|ns|µs|ms|s|[kMGTP]?(?:B|FLOP|B/s|FLOP/s|FLOP/B|Hz))(?![\w])")


def write_report(run: Run, info: RunInfo, analysis: Analysis, options: ReportOptions | None) -> tuple[Path, ...]:
    """Write the documents that `options` asks for and return their paths."""
    context = Context(info, analysis, options or ReportOptions())
    documents = {"html", "markdown"} & set(context.options.formats)
    sections = build_sections(context) if documents else []
    environment = _environment()
    folder, name = context.options.folder or run.report_dir, context.options.name
    written = []
    if "html" in context.options.formats:
        written.append(_write(folder / f"{name}.html", html_document(context, sections, environment)))
    if "json" in context.options.formats:
        written.append(_write(folder / f"{name}.json", page_json(context, readable=True) + "\n"))
    if "markdown" in context.options.formats:
        old = _figures_of_old_report(folder)
        written.append(_write(folder / "report.md", markdown_document(context, sections, environment)))
        written += _write_figures(folder / "figures", sections)
        for path in set(old) - set(written):
            path.unlink(missing_ok=True)
    if context.options.figures:
        from nsightkit.report.figures import write_figures

        written += write_figures(folder / "figures", context)
    return tuple(written)


def html_document(context: Context, sections: Sequence[Section], environment: jinja2.Environment | None = None) -> str:
    """Return the whole page as text."""
    folder = resource_dir("templates")
    style = (folder / "report.css").read_text(encoding="utf-8")
    style = style.replace("/*LIGHT*/", style_rules(0)).replace("/*DARK*/", style_rules(1)) + chart_rules()
    script = (folder / "report.js").read_text(encoding="utf-8")
    values = {
        "style": style,
        "icons": _ICONS,
        "script": script,
        "policy": _policy(style, script),
        "data": page_json(context),
        **_shared(context, sections),
    }
    return (environment or _environment()).get_template("report.html.j2").render(values)


def markdown_document(
    context: Context, sections: Sequence[Section], environment: jinja2.Environment | None = None
) -> str:
    """Return the Markdown twin as text."""
    text = (environment or _environment()).get_template("report.md.j2").render(_shared(context, sections))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _shared(context: Context, sections: Sequence[Section]) -> dict[str, Any]:
    info = context.info
    about = [info.gpu_name, f"{fmt.count(info.tokens)} tokens" if info.tokens else None, context.tools() or None]
    return {
        "name": title_of(info),
        "about": [part for part in about if part],
        "created": (info.created_utc or "")[:10],
        "note_count": len(notes(context)),
        "version": info.nsightkit_version or "",
        "sections": [section for section in sections if not section.missing],
        "absent": _absent(sections),
    }


def _absent(sections: Sequence[Section]) -> list[tuple[str, list[Section]]]:
    """Return each reason why sections are not there, with these sections: said once, not six times."""
    reasons: dict[str, list[Section]] = {}
    for section in sections:
        if section.missing:
            reasons.setdefault(section.missing, []).append(section)
    return list(reasons.items())


def _environment() -> jinja2.Environment:
    environment = make_environment(resource_dir("templates"))
    environment.filters |= {
        "cell": fmt.markdown_cell,
        "inside_html": _inside_html,
        "one_line": _prose,
        "fence": _fence,
        "bound": lambda bound: BOUND_WORDS.get(bound, "all kernels"),
        "icon": _icon,
        "key_icon": _key_icon,
        "wrap": _wrapping,
        "num": lambda value: f"{value * 100:.4g}",
    }
    return environment


def _icon(bound: str) -> Any:
    import markupsafe

    name = bound.lower() if bound.lower() in _ICONS else "unknown"
    return markupsafe.Markup(f'<svg class="icon {name}"><use href="#i-{name}"/></svg>' if _ICONS[name] else "")


def _key_icon(mark: str) -> Any:
    """Return the mark of a legend's entry: a verdict has its shape, a family a square of its color."""
    import markupsafe

    if mark.lower() in _ICONS:
        return _icon(mark)
    return markupsafe.Markup(
        f'<svg class="icon" viewBox="0 0 12 12" aria-hidden="true"><rect class="{mark}" width="12" height="12"/></svg>'
    )


def _wrapping(name: str) -> Any:
    """Return a kernel's name escaped, free to wrap after each template comma."""
    import markupsafe

    escaped = html.escape(fmt.printable(name))
    return markupsafe.Markup(re.sub(r",(?! )", ",<wbr>", escaped))


def _inside_html(text: str) -> str:
    """Return `text` for an HTML element in Markdown, where no address may become a link."""
    return html.escape(fmt.printable(text)).replace("://", "&#58;//").replace("www.", "www&#46;")


def _prose(text: str) -> str:
    """Return `text` on one line, with no line break between a number and its unit."""
    return _NUMBER_AND_UNIT.sub("\\1\u00a0\\2", fmt.printable(text))


def _fence(text: str) -> str:
    """Return `text` as a fenced block that no run of backticks in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{fmt.printable(text)}\n{fence}"


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _write(path: Path, text: str) -> Path:
    """Write `text` unless it is there already: many file systems flush a file to disk when it replaces another."""
    data = text.encode("utf-8")
    try:
        same = path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        same = False
    if not same:
        write_text(path, text)
    return path


def _write_figures(folder: Path, sections: Iterable[Section]) -> list[Path]:
    return [
        _write(folder / f"{figure.id}.svg", standalone(figure.file_svg or figure.svg))
        for section in sections
        for figure in _figures(section.blocks)
    ]


def _figures_of_old_report(folder: Path) -> list[Path]:
    """Return the drawings that the report.md in `folder` names: ours, and stale once it is written again."""
    try:
        text = (folder / "report.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    return [folder / "figures" / name for name in re.findall(r"\]\(figures/([a-z0-9-]+\.svg)\)", text)]


def _figures(parts: Iterable[Block]) -> Iterator[Figure]:
    for part in parts:
        if isinstance(part, Figure):
            yield part
        elif isinstance(part, Group):
            yield from _figures(part.blocks[: part.markdown_limit])
