"""Finds the tables in what ncu printed with --csv.

In: a text file: CSV of ncu's raw or details page, with a byte order mark, log lines of ncu and output of the program
above, between and below. Out: `PageTable` values: the header and the records under it; and ncu's log lines.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from nsightkit.errors import IngestError

_HEADER = re.compile(r'^\s*"?ID"?(?P<delimiter>[,;\t])(?=.*\bKernel Name\b)')
_STARTS_INSIDE = re.compile(r'"\d+","\d+","')
_BEGUN = re.compile(r'"\d*"?')
_LOG = re.compile(r"^\s*==(?P<kind>PROF|ERROR|WARNING)==\s*(?P<text>.*\S)")
_MARK = "\ufeff"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# A record may span lines where a kernel name does; one that goes on for longer is a quote that was never closed.
_MOST_LINES = 4096
csv.field_size_limit(1 << 27)


@dataclass
class PageTable:
    """One table of a file: the names of its columns, the units under them where it is a raw page, and its records."""

    columns: list[str]
    units: list[str] | None = None
    records: list[list[str]] = field(default_factory=list)

    @property
    def is_details(self) -> bool:
        """Whether a record is one metric (details page), not one launch (raw page)."""
        return "Metric Value" in self.columns or "Section Name" in self.columns

    def fits(self, record: list[str]) -> bool:
        """Say whether a record has as many cells as it needs; rows of metrics leave out the cells of rules behind."""
        needed = self.columns.index("Metric Value") + 1 if "Metric Value" in self.columns else len(self.columns)
        return needed <= len(record) <= len(self.columns)

    def first_misfit(self) -> int | None:
        """Return the place of the first record that does not fit the header, None where all do."""
        return next((place for place, record in enumerate(self.records) if not self.fits(record)), None)


@dataclass
class PrintedText:
    """What a file holds: tables, ncu's own log lines as (kind, text), and whether its end is missing."""

    tables: list[PageTable] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    is_cut: bool = False


def decode(data: bytes) -> str:
    """Return text, whatever the shell made of it: PowerShell redirects into UTF-16, old locales into Latin-1."""
    if data[:2] in _UTF16:
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def looks_printed_by_ncu(head: bytes) -> bool:
    """Say whether the first bytes of a file hold the header of a table, or a log line, of ncu."""
    if b"\0" in head and head[:2] not in _UTF16:
        return False
    # The last bytes may be half a character.
    text = decode(head) if head[:2] in _UTF16 else head.decode("utf-8", "replace")
    return any(_HEADER.match(line) or _LOG.match(line) for line in text.lstrip(_MARK).splitlines())


def read_text(path: Path) -> PrintedText:
    """Return what ncu printed into `path`.

    Raises:
        IngestError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except OSError as error:
        raise IngestError(f"{path}: cannot be read ({error.strerror or error})", slug="cannot-read") from None
    except (EOFError, zlib.error) as error:
        raise IngestError(
            f"{path}: the compressed file is damaged ({error}); copy it again", slug="cannot-read"
        ) from None
    return split(decode(data))


def split(text: str) -> PrintedText:
    """Return the tables and log lines of `text`."""
    printed = PrintedText()
    delimiter = ","
    # Not splitlines(): a kernel name may hold the other signs that it takes for line ends.
    lines = iter(text.lstrip(_MARK).split("\n"))
    for line in lines:
        if match := _HEADER.match(line.lstrip(_MARK)):
            delimiter = match["delimiter"]
            printed.tables.append(PageTable(_cells(line.lstrip(_MARK), delimiter)))
        elif log := _LOG.match(line):
            printed.log.append((log["kind"], log["text"]))
        elif printed.tables and not _add_record(printed.tables[-1], line, lines, delimiter):
            printed.is_cut = True
    printed.is_cut = printed.is_cut or _last_record_is_short(printed, text)
    return printed


def _add_record(table: PageTable, line: str, lines: Iterator[str], delimiter: str) -> bool:
    """Add the record that begins in `line`, if any does; return false where it never ends."""
    begin = _begin_of_record(table, line, delimiter)
    if begin is None:
        return True
    record = _whole_record(line[begin:], lines)
    if record is None:
        return False
    cells = _cells(record, delimiter)
    if begin and not table.fits(cells):
        # Output of the program that happens to look like the begin of a row.
        return True
    if table.units is None and not table.records and not any(cells[:1]):
        table.units = cells
    else:
        table.records.append(cells)
    return True


def _begin_of_record(table: PageTable, line: str, delimiter: str) -> int | None:
    """Return where in `line` a record begins: at 0, or behind what the program printed without ending its line."""
    if _starts_for(delimiter).match(line) or _is_units_row(line, delimiter, table):
        return 0
    inside = _STARTS_INSIDE.search(line)
    return inside.start() if inside else None


@cache
def _starts_for(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'\s*(?:"\d+"|\d+){re.escape(delimiter)}')


def _is_units_row(line: str, delimiter: str, table: PageTable) -> bool:
    return table.units is None and not table.records and line.startswith((f'""{delimiter}', delimiter))


def _whole_record(line: str, more: Iterator[str]) -> str | None:
    """Return a record with the lines that its quoted cells span, None where the last quote is never closed."""
    parts, quotes = [line], line.count('"')
    while quotes % 2:
        following = next(more, None)
        if following is None or len(parts) >= _MOST_LINES:
            return None
        parts.append(following)
        quotes += following.count('"')
    return "\n".join(parts)


def _cells(record: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([record.rstrip("\r")], delimiter=delimiter), [])
    except csv.Error:
        # A lone carriage return within an unquoted cell: no row of ncu has that, so it will not fit the header.
        return []


def _last_record_is_short(printed: PrintedText, text: str) -> bool:
    """Say whether the file breaks off within a record: the end of the line is missing, and so are cells."""
    if not printed.tables or text.endswith("\n"):
        return False
    table = printed.tables[-1]
    if not table.records or _BEGUN.fullmatch(text.rpartition("\n")[2]):
        return True
    last = table.records[-1]
    if len(last) >= len(table.columns):
        return False
    # Behind the last comma a cell was perhaps to come. The row of a rule is blank where metrics are; its words follow.
    known = last if last[-1] else last[:-1]
    return not table.fits(known) or (table.is_details and not last[table.columns.index("Metric Name")])
