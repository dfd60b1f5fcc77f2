"""Rows on the terminal or for machines: table, Markdown, CSV, JSON, parquet.

In: fields and rows (dictionaries with base units). Out: stdout. A table and Markdown show pretty units; CSV, JSON and
parquet hold the exact values under the field names of the records in `analysis.results`.
"""

import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import click

from nsightkit.report import format as fmt

Row = dict[str, Any]
# A name keeps so many characters to a line on a narrow terminal; columns are this far apart.
_TEXT_WIDTH = 24
_GAP = 3
FORMATS = ("table", "markdown", "csv", "json", "parquet")


@dataclass(frozen=True)
class Field:
    """One column: `name` in machine formats, `header` for people; `unit` says how a number is printed.

    `shown` is False for fields that only the machine formats have; `wraps` is False for words that a narrow terminal
    may not break.
    """

    name: str
    header: str
    unit: str = "text"
    shown: bool = True
    wraps: bool = True

    def pretty(self, value: Any) -> str:
        """Return `value` for people."""
        if self.unit == "text" or isinstance(value, (str, bool)):
            return fmt.MISSING if value is None or value == "" else fmt.printable(_joined(value))
        return fmt.with_unit(value, self.unit)


def format_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--format`` to a command."""
    option = click.option(
        "--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True,
        help="How rows are printed. csv, json and parquet hold exact values in base units.",
    )  # fmt: skip
    return option(function)


def emit(fields: Sequence[Field], rows: Sequence[Row], format_: str, caption: str = "") -> None:
    """Print `rows` in `format_`; `caption` (scope, tool, clock) goes above a table and above Markdown only."""
    _WRITERS[format_](fields, rows, caption)


def paragraph(text: str, format_: str) -> None:
    """Print a paragraph above the rows of a table or of Markdown."""
    click.echo((fmt.markdown_cell(text) if format_ == "markdown" else fmt.printable(text)) + "\n")


def note(text: str) -> None:
    """Say something beside the rows, on stderr."""
    for line in text.split("\n"):
        click.echo(fmt.printable(line), err=True)


def _table(fields: Sequence[Field], rows: Sequence[Row], caption: str) -> None:
    shown = [field for field in fields if field.shown]
    cells = [[field.pretty(row.get(field.name)) for field in shown] for row in rows]
    if sys.stdout.isatty():
        _rich_table(shown, cells, caption)
    else:
        _plain_table(shown, cells, caption)


def _plain_table(fields: Sequence[Field], cells: Sequence[Sequence[str]], caption: str) -> None:
    """Print aligned columns: a pipe has no width, so nothing is cut or wrapped, and rich need not be loaded."""
    headers = [field.header for field in fields]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    lines = [headers, ["─" * width for width in widths], *cells]
    if caption:
        click.echo(fmt.printable(caption) + "\n")
    for line in lines:
        padded = (
            cell.ljust(width) if field.unit == "text" else cell.rjust(width)
            for field, width, cell in zip(fields, widths, line, strict=True)
        )
        click.echo("  ".join(padded).rstrip())


def _rich_table(fields: Sequence[Field], cells: Sequence[Sequence[str]], caption: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    kept = _fitting(fields, cells, console.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=None)
    for field, *column in list(zip(fields, *cells, strict=True))[:kept]:
        numeric = field.unit != "text"
        no_wrap = numeric or not field.wraps
        justify: Literal["right", "left"] = "right" if numeric else "left"
        least = _least_width(field, column, console.width)
        table.add_column(field.header, justify=justify, no_wrap=no_wrap, overflow="fold", min_width=least)
    for row in cells:
        table.add_row(*map(Text, row[:kept]))
    if caption:
        console.print(Text(fmt.printable(caption)))
    console.print(table)
    if kept < len(fields):
        left_out = ", ".join(field.header for field in fields[kept:])
        note(f"too narrow for: {left_out} (a wider terminal shows them, --format csv has everything)")


def _fitting(fields: Sequence[Field], cells: Sequence[Sequence[str]], width: int) -> int:
    """Return how many columns, from the left, fit into `width` without cutting a number or squeezing a name."""
    used = -_GAP
    for kept, (field, *column) in enumerate(zip(fields, *cells, strict=True)):
        used += _GAP + _least_width(field, column, width)
        if used > width:
            return max(kept, 2)
    return len(fields)


def _least_width(field: Field, column: Sequence[str], width: int) -> int:
    longest = max(map(len, (field.header, *column)))
    return min(longest, _TEXT_WIDTH, width // 3) if field.unit == "text" else longest


def _markdown(fields: Sequence[Field], rows: Sequence[Row], caption: str) -> None:
    shown = [field for field in fields if field.shown]
    if caption:
        click.echo(f"{fmt.markdown_cell(caption)}\n")
    click.echo("| " + " | ".join(field.header for field in shown) + " |")
    click.echo("|" + "|".join("---" if field.unit == "text" else "---:" for field in shown) + "|")
    for row in rows:
        click.echo("| " + " | ".join(fmt.markdown_cell(field.pretty(row.get(field.name))) for field in shown) + " |")


def _csv(fields: Sequence[Field], rows: Sequence[Row], caption: str) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([field.name for field in fields])
    for row in rows:
        writer.writerow([_cell(_exact(row.get(field.name))) for field in fields])


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def _json(fields: Sequence[Field], rows: Sequence[Row], caption: str) -> None:
    exact = [{field.name: _exact(row.get(field.name)) for field in fields} for row in rows]
    click.echo(json.dumps(exact, indent=2, allow_nan=False))


def _exact(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (tuple, list)):
        return [_exact(item) for item in value]
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    return value


def _parquet(fields: Sequence[Field], rows: Sequence[Row], caption: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if sys.stdout.isatty():
        raise click.UsageError("parquet is binary: send it to a file, as in '--format parquet > rows.parquet'")
    columns = {f.name: [_cell(_exact(row.get(f.name))) for row in rows] for f in fields}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    sys.stdout.buffer.write(sink.getvalue().to_pybytes())


def _joined(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_brief(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _brief(value: Any) -> str:
    return fmt.count(value) if isinstance(value, int) else fmt.plain(value)


_WRITERS: dict[str, Callable[[Sequence[Field], Sequence[Row], str], None]] = {
    "table": _table,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
}
