"""What a table and a column are, and the unit that a column's name promises.

In: nothing. Out: `Table`, `Column`, and the columns that tables of launches share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SCHEMA_VERSION = 1

# Longest suffix first: `_bytes_per_s` must win over `_s`.
UNIT_OF_SUFFIX = {
    "_flop_per_byte": "flop/byte",
    "_flop_per_s": "flop/s",
    "_op_per_s": "op/s",
    "_bytes_per_s": "byte/s",
    "_per_token_ns": "ns",
    "_flop": "flop",
    "_op": "op",
    "_bytes": "byte",
    "_hz": "Hz",
    "_ns": "ns",
    "_pct": "%",
    "_share": "1",
    "_cycles": "cycle",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `dtype` is string, name (a string that repeats), int32, int64, double or bool."""

    name: str
    dtype: str
    doc: str
    unit: str = ""
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what a row stands for, and its columns in order."""

    name: str
    row_meaning: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """Return the column called `name`; raises KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}")

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def unit_of(column_name: str) -> str:
    """Return the unit that the suffix of `column_name` promises, "" where it promises none."""
    return next((unit for suffix, unit in UNIT_OF_SUFFIX.items() if column_name.endswith(suffix)), "")


def column(name: str, dtype: str, doc: str, nullable: bool = True) -> Column:
    """Return a column whose unit is the one its name ends in."""
    return Column(name, dtype, doc, unit_of(name), nullable)


def required(name: str, dtype: str, doc: str) -> Column:
    """Return a column that is never null."""
    return column(name, dtype, doc, nullable=False)


def table(name: str, row_meaning: str, columns: Sequence[Column]) -> Table:
    """Return a table whose rows say first which capture they come from."""
    capture = required("capture_id", "name", "which capture of the run the row comes from")
    return Table(name, row_meaning, (capture, *columns))


def xyz(prefix: str, doc: str) -> list[Column]:
    """Return the three columns of a size in x, y and z."""
    return [column(f"{prefix}_{axis}", "int32", f"{doc}, {axis}") for axis in "xyz"]


# Columns that tables of launches share.
PLACE = [
    column("device_id", "int32", "CUDA device as the profiler numbers it"),
    column("context_id", "int32", "CUDA context"),
    column("stream_id", "int32", "CUDA stream"),
]

GEOMETRY = [*xyz("grid", "thread blocks"), *xyz("block", "threads per block")]
