"""Writes the pages of this folder that are made from the code: cli.md, tables.md, kernel-names.md.

In: the commands, the declared tables, the rules for kernel names. Out: Markdown. With --check
nothing is written, and a page that is not current ends the program with 1.
"""

import sys
from pathlib import Path

import click

from kernel_names_table import kernel_names_page

HERE = Path(__file__).resolve().parent
NOTICE = "<!-- Made by docs/generate.py (make docs). Change the code, not this page. -->\n"


def cli_page() -> str:
    """The help text of every command."""
    from nsightkit.cli import COMMANDS, cli

    parts = ["# Commands\n", NOTICE, _help(cli, ["nsightkit"])]
    context = click.Context(cli, info_name="nsightkit")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        parts += [f"## nsightkit {name}\n", _help(command, ["nsightkit", name])]
        if isinstance(command, click.Group):
            parts += _subcommands(command, ["nsightkit", name])
    return "\n".join(parts)


def _subcommands(group: click.Group, names: list[str]) -> list[str]:
    parts = []
    for name, command in group.commands.items():
        path = [*names, name]
        parts += [f"### {' '.join(path)}\n", _help(command, path)]
    return parts


def _help(command: click.Command, names: list[str]) -> str:
    parent = None
    for name in names[:-1]:
        parent = click.Context(click.Group(name), info_name=name, parent=parent)
    context = click.Context(command, info_name=names[-1], parent=parent, terminal_width=100, max_content_width=100)
    return f"```text\n{command.get_help(context)}\n```\n"


def tables_page() -> str:
    """Every table with its columns, units and meanings."""
    from nsightkit.tables import SCHEMA_VERSION, TABLES

    parts = [
        "# Tables\n",
        NOTICE,
        f"Schema version {SCHEMA_VERSION}. A run keeps each table as `tables/<table>/<capture_id>.parquet`; unit and",
        "meaning of a column are in its parquet field metadata too. An empty cell is a value that is not known.\n",
    ]
    for table in TABLES.values():
        parts += [f"## {table.name}\n", f"One row per {table.row_meaning}.\n", "| column | type | unit | meaning |"]
        parts += ["|---|---|---|---|"]
        parts += [
            f"| `{c.name}` | {c.dtype}{'' if c.nullable else ', required'} | {c.unit} | {c.doc} |"
            for c in table.columns
        ]
        parts += [""]
    return "\n".join(parts)


PAGES = {"cli.md": cli_page, "tables.md": tables_page, "kernel-names.md": kernel_names_page}


def main() -> int:
    """Write or check the pages; return the exit code."""
    stale = []
    for name, make in PAGES.items():
        path, text = HERE / name, make().rstrip() + "\n"
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(("not current, run 'make docs': " if "--check" in sys.argv else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    raise SystemExit(main())
