"""The first screen without a page: as 25 lines of Markdown, for a terminal, and for a notebook.

In: a `Context`. Out: text, a renderable of rich, or an HTML fragment. All three are made from the blocks of the
overview, so that they say what the page says.
"""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

from nsightkit.report import format as fmt
from nsightkit.report.blocks import (
    Block,
    DataTable,
    Facts,
    Figure,
    Items,
    Section,
    Text,
    every_block,
    hidden_rows,
)
from nsightkit.report.context import BOUND_WORDS, Context
from nsightkit.report.sections import overview
from nsightkit.report.standing import title_of

if TYPE_CHECKING:
    from rich.console import RenderableType

BRIEF_LINES = 25
_BRIEF_KERNELS = 5
# Roles of the paragraphs that are told everywhere, with their look on a terminal.
_SAID = {"quality": "yellow", "lead": "bold", "prose": ""}
_FIRST_TABLES = ("findings-first", "overview-kernels", "overview-operators")


def _name(context: Context) -> str:
    return title_of(context.info)


def _about(context: Context) -> str:
    known = [
        context.info.gpu_name,
        context.tools() or None,
        f"quality {context.quality[0]}" if context.quality[0] else None,
    ]
    return " · ".join(part for part in known if part)


def brief_markdown(context: Context) -> str:
    """Return the first screen as Markdown that fits a comment: at most `BRIEF_LINES` lines."""
    parts = list(every_block(overview.build(context).blocks))
    lines = [f"### {fmt.markdown_cell(_name(context))}"]
    lines += [
        f"{fmt.markdown_cell(part.text)}  " for part in parts if isinstance(part, Text) and part.role == "quality"
    ]
    said = [part.text for part in parts if isinstance(part, Text) and part.role in ("lead", "prose")]
    lines += [f"**{fmt.markdown_cell(said[0])}** {' '.join(map(fmt.markdown_cell, said[1:]))}".rstrip()]
    facts = next((part.facts for part in parts if isinstance(part, Facts)), ())
    about = [f"{fmt.markdown_cell(f.label)} **{f.text}**" for f in facts]
    lines += [" · ".join([*about, *filter(None, [fmt.markdown_cell(_about(context))])]), ""]
    for table in _tables(parts):
        lines += _markdown_rows(table, _BRIEF_KERNELS)
    notes = [" ".join(filter(None, (_hidden(context, table, _BRIEF_KERNELS) for table in _tables(parts))))]
    notes += [item for part in parts if isinstance(part, Items) for item in part.items]
    lines += [f"<sub>{fmt.markdown_cell(note)}</sub>" for note in notes[: BRIEF_LINES - len(lines) - 1] if note]
    return "\n".join(lines[:BRIEF_LINES]).rstrip() + "\n"


def _tables(parts: list[Block]) -> list[DataTable]:
    return [part for part in parts if isinstance(part, DataTable) and part.id in _FIRST_TABLES]


def _hidden(context: Context, table: DataTable, limit: int) -> str:
    """Say how many rows of a table of the first screen are left out where at most `limit` are shown."""
    if table.id == "findings-first":
        total, what = len(context.findings), "findings"
    else:
        timed = context.analysis.top_kernels
        total, what = len(timed or context.analysis.kernels), "kernels" if timed else "profiled kernels"
    return hidden_rows(total, min(limit, len(table.rows)), what)


def _markdown_rows(table: DataTable, limit: int) -> list[str]:
    heads = [column.header for column in table.columns if column.markdown]
    rules = ["---:" if column.numeric else "---" for column in table.columns if column.markdown]
    rows = [[fmt.markdown_cell(text) for text in _texts(table, row)] for row in range(min(limit, len(table.rows)))]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows)] + [""]


def _texts(table: DataTable, row: int) -> list[str]:
    return [
        BOUND_WORDS.get(cell.text, cell.text) if column.kind == "bound" else cell.text
        for column, cell in zip(table.columns, table.rows[row], strict=True)
        if column.markdown
    ]


def terminal(context: Context) -> RenderableType:
    """Return the first screen for a terminal; rich leaves colors out where they are not wanted."""
    from rich.console import Group as Together
    from rich.text import Text as Line

    parts = list(every_block(overview.build(context).blocks))
    drawn: list[RenderableType] = [
        Line(fmt.printable(f"{_name(context)} · {_about(context)}".strip(" ·")), style="dim")
    ]
    for part in parts:
        if isinstance(part, Text) and part.role in _SAID:
            drawn.append(Line(fmt.printable(part.text), style=_SAID[part.role]))
        elif isinstance(part, Facts):
            drawn.append(Line("   ".join(f"{fact.label}: {fact.text}" for fact in part.facts)))
        elif isinstance(part, Items):
            drawn += [Line(f"! {fmt.printable(item)}", style="yellow") for item in part.items]
        elif isinstance(part, Figure) and part.keys:
            words = "  ".join(f"{key.label} {key.text}" for key in part.keys)
            drawn.append(Line(f"{part.title}: {fmt.printable(words)}"))
    drawn += [_terminal_table(table) for table in _tables(parts)]
    return Together(*drawn)


def _terminal_table(table: DataTable) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text as Line

    drawn = Table(
        title=table.title, caption=table.hidden or None, box=box.SIMPLE_HEAD, title_justify="left",
        caption_justify="left", pad_edge=False,
    )  # fmt: skip
    for column in table.columns:
        if column.markdown:
            drawn.add_column(column.header, justify="right" if column.numeric else "left", overflow="fold")
    for row in range(len(table.rows)):
        drawn.add_row(*(Line(fmt.printable(text)) for text in _texts(table, row)))
    return drawn


def notebook(context: Context) -> str:
    """Return the first screen as an HTML fragment; drawings are images, so that no style of theirs leaves them."""
    from nsightkit.report.charts import standalone

    section: Section = overview.build(context)
    drawn = [f"<p>{html.escape(_name(context))} {html.escape(_about(context))}</p>"]
    for part in every_block(section.blocks):
        if isinstance(part, Text) and part.role in _SAID:
            tag = "h3" if part.role == "lead" else "p"
            drawn.append(f"<{tag}>{html.escape(fmt.printable(part.text))}</{tag}>")
        elif isinstance(part, Facts):
            drawn.append(
                f"<p>{' · '.join(f'{html.escape(f.label)} <b>{html.escape(f.text)}</b>' for f in part.facts)}</p>"
            )
        elif isinstance(part, Items):
            drawn += [f"<p>{html.escape(fmt.printable(item))}</p>" for item in part.items]
        elif isinstance(part, Figure):
            data = base64.b64encode(standalone(part.file_svg or part.svg).encode("utf-8", "replace")).decode()
            alt = html.escape(fmt.printable(part.alt))
            drawn.append(f"<p>{html.escape(part.title)}</p>")
            drawn.append(f'<p><img alt="{alt}" width="640" src="data:image/svg+xml;base64,{data}"></p>')
        elif isinstance(part, DataTable) and part.id in _FIRST_TABLES:
            drawn.append(_html_table(part))
    return f"<div>{''.join(drawn)}</div>"


def _html_table(table: DataTable) -> str:
    heads = "".join(f"<th>{html.escape(column.header)}</th>" for column in table.columns if column.markdown)
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(fmt.printable(text))}</td>' for text in _texts(table, row))}</tr>"
        for row in range(len(table.rows))
    )
    caption = html.escape(f"{table.title}. {table.hidden}" if table.hidden else table.title)
    return f"<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
