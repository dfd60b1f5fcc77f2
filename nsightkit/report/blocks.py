"""The parts of a report, without any markup.

In: text and numbers that the sections put together. Out: frozen blocks that the templates turn into Markdown and
HTML. All text is plain: whoever writes it out escapes it. Only `Figure.svg` is markup, and only `charts` makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from nsightkit.report import format as fmt

NOT_COLLECTED = "not in the capture"
_LONGEST_CELL = 160
_NARROW_CELL, _LONG_CELL = 20, 60
# Units that a value carries in its exact form; a share is a bare number.
_EXACT_UNITS = {"ns": "ns", "byte": "B", "byte/s": "B/s", "flop": "FLOP", "flop/s": "FLOP/s", "flop/byte": "FLOP/B",
                "op": "op", "op/s": "op/s", "Hz": "Hz", "%": "%", "cycle": "cycles"}  # fmt: skip


@dataclass(frozen=True)
class Text:
    """A paragraph.

    `role` is quality (of the captures), lead (the verdict), prose, note (small print), code or signature (folded code).
    """

    text: str
    role: str = "prose"
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]
    role: str = "prose"
    kind: ClassVar[str] = "items"


@dataclass(frozen=True)
class Fact:
    """One figure of the first screen: the number as people read it, its exact value, and what it covers."""

    label: str
    text: str
    exact: str
    scope: str


@dataclass(frozen=True)
class Facts:
    """The few figures that matter most, side by side."""

    facts: tuple[Fact, ...]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Column:
    """One column. `kind` is text, number, share (a number with a bar), bound, or code.

    `key` is the name of the field in `analysis.results`; `markdown` is False where the twin leaves it out.
    """

    key: str
    header: str
    unit: str = "text"
    kind: str = "text"
    markdown: bool = True

    @property
    def numeric(self) -> bool:
        """Whether the cells are numbers."""
        return self.kind in ("number", "share")


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a cell: pretty text, the exact value with its unit, a bar from 0 to 1, and where it leads."""

    text: str
    exact: str = ""
    bar: float | None = None
    href: str = ""
    tags: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """How many characters stand in the cell."""
        return len(self.text) + sum(len(tag) + 1 for tag in self.tags if tag)

    @property
    def says_more(self) -> bool:
        """Whether the exact value is another than the text shows: 91.2 % is the same as 91.20 %."""
        shown, _, shown_unit = self.text.partition(" ")
        exact, _, exact_unit = self.exact.partition(" ")
        digits = shown.rstrip("0").rstrip(".") if "." in shown else shown
        return bool(self.exact) and (digits, shown_unit) != (exact, exact_unit)


@dataclass(frozen=True)
class Pairs:
    """Names with one value each, as the counters of a kernel."""

    pairs: tuple[tuple[str, Cell], ...]
    title: str = ""
    kind: ClassVar[str] = "pairs"


@dataclass(frozen=True)
class Name:
    """A kernel's friendly and full name."""

    anchor: str
    friendly: str
    library: str
    full: str


@dataclass(frozen=True)
class Names:
    """Full names, each where the tables link to it."""

    names: tuple[Name, ...]
    kind: ClassVar[str] = "names"


@dataclass(frozen=True)
class DataTable:
    """Rows under columns. `hidden` says in words what is not shown; "" where all of it is.

    `anchors` are the ids of the rows, where something leads to them.
    """

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    hidden: str = ""
    anchors: tuple[str, ...] = ()
    kind: ClassVar[str] = "table"

    @property
    def layouts(self) -> tuple[str, ...]:
        """How the cells of each column stand, as the letters of their classes; "" is a text that may break.

        n is a number, s a share, b words so short that they stand on one line, l long texts, which need room.
        """
        return tuple(self._layout(place, column) for place, column in enumerate(self.columns))

    def _layout(self, place: int, column: Column) -> str:
        if column.kind != "text":
            return {"number": "n", "share": "n s", "bound": "b"}.get(column.kind, "")
        longest = max((row[place].length for row in self.rows), default=0)
        # The first column has its own rule: it names the row.
        return "b" if longest <= _NARROW_CELL else "l" if place and longest > _LONG_CELL else ""


@dataclass(frozen=True)
class Key:
    """One entry of a strip chart's direct labels: the class that colors it, its name and its value."""

    mark: str
    label: str
    text: str
    exact: str


@dataclass(frozen=True)
class Figure:
    """A drawing with its table twin. `keys` label a strip; `file_svg` is the drawing for a file, if it differs.

    A `wide` drawing may be broader than a phone's screen and scrolls then. `href` leads to the kernel it is about.
    """

    id: str
    title: str
    svg: str
    caption: str
    alt: str
    table: DataTable | None = None
    keys: tuple[Key, ...] = ()
    file_svg: str = ""
    wide: bool = False
    href: str = ""
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Group:
    """Blocks that belong together. `layout` is grid, pair, fold or card.

    Markdown shows the first `markdown_limit` blocks and says how many there are.
    """

    blocks: tuple[Block, ...]
    title: str = ""
    layout: str = "grid"
    anchor: str = ""
    bound: str = ""
    subtitle: str = ""
    markdown_limit: int | None = None
    kind: ClassVar[str] = "group"


Block: TypeAlias = Text | Items | Facts | Pairs | Names | DataTable | Figure | Group


@dataclass(frozen=True)
class Section:
    """One part of the report. `missing` says which input would fill it; "" where it is there."""

    id: str
    title: str
    blocks: tuple[Block, ...] = ()
    missing: str = ""


def exact(value: float | str | None, unit: str = "") -> str:
    """Return `value` in full, with its unit.

    >>> exact(404700, "ns"), exact(0.125, "1")
    ('404700 ns', '0.125')
    """
    if value is None or isinstance(value, str):
        return value or ""
    # A whole number needs no ".0", as long as a double holds every digit of it.
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return f"{int(value) if whole else value!r} {_EXACT_UNITS.get(unit, '')}".rstrip()


def number(value: float | None, unit: str, missing: str = NOT_COLLECTED) -> Cell:
    """Return a cell with `value` printed as its unit asks; missing is a dash that says why."""
    if value is None:
        return Cell(fmt.MISSING, missing)
    return Cell(fmt.with_unit(value, unit), exact(value, unit))


def share(value: float | None, missing: str = NOT_COLLECTED) -> Cell:
    """Return a cell with a share from 0 to 1 and its bar."""
    if value is None:
        return Cell(fmt.MISSING, missing)
    return Cell(fmt.share(value), exact(value), bar=min(1.0, max(0.0, value)))


def text(value: str | None, href: str = "", tags: tuple[str, ...] = ()) -> Cell:
    """Return a cell with words; control characters are made visible, and what is too long for a cell is cut.

    All of it stands where `href` leads, or under the pointer.
    """
    if not value:
        return Cell(fmt.MISSING, NOT_COLLECTED, href=href, tags=tags)
    shown = fmt.printable(value)
    if len(shown) <= _LONGEST_CELL:
        return Cell(shown, href=href, tags=tags)
    return Cell(shown[: _LONGEST_CELL - 1] + "…", "" if href else shown, href=href, tags=tags)


def every_block(parts: Iterable[Block]) -> Iterator[Block]:
    """Return `parts` and what their groups hold, in reading order."""
    for part in parts:
        yield part
        if isinstance(part, Group):
            yield from every_block(part.blocks)


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun.

    >>> counted(1, "profiled launch", "profiled launches"), counted(3, "kernel")
    ('1 profiled launch', '3 kernels')
    """
    return f"{fmt.count(count)} {one if count == 1 else many or one + 's'}"


def hidden_rows(total: int, shown: int, what: str, rest_share: float | None = None) -> str:
    """Say how many of `total` rows are left out, and what they weigh where that is known."""
    if shown >= total:
        return ""
    weight = "" if rest_share is None else f" with {fmt.share(max(0.0, rest_share))} of the time"
    are = "is" if total - shown == 1 else "are"
    return f"{fmt.count(shown)} of {fmt.count(total)} {what} are shown; {fmt.count(total - shown)}{weight} {are} not."
