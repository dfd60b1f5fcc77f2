"""What every reader of captures takes and gives.

In: the files of one capture and which tables are wanted. Out: `CaptureData`. A reader is a module with `BACKEND`,
`recognizes(path, head)` and `read(paths, wanted)`; it opens its inputs read-only and leaves no file beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nsightkit.parquet import TableData

# Table -> the columns that are needed (None: all of them). Leaving `wanted` out means every table but the long
# `metric_values`, which is read only where it is asked for by name.
Wanted = Mapping[str, tuple[str, ...] | None] | None


@dataclass(frozen=True)
class CaptureData:
    """One capture as read: its tables without the column `capture_id`, and what is known about it.

    `tables` holds plain columns (lists or numpy arrays) for small tables, so that no Arrow is imported for them, and
    streams of record batches for large ones, to be read once. `facts` has keys of `RunInfo` (gpu_name,
    compute_capability, driver_version, …). `notes` say what a reader must know before trusting a number. `rank` is that
    of the process among those of its job, where the capture states it.
    """

    backend: str
    tables: Mapping[str, TableData]
    tool_version: str | None = None
    scope: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rank: int | None = None


class Reader(Protocol):
    """The shape of a reader module."""

    BACKEND: str

    def recognizes(self, path: Path, head: bytes) -> bool:
        """Say whether `path` is this reader's kind, judged by its first bytes (b"" for a folder)."""

    def read(self, paths: tuple[Path, ...], wanted: Wanted) -> CaptureData:
        """Read the capture in `paths`; raises IngestError or ToolError."""


def wants(wanted: Wanted, table: str) -> bool:
    """Say whether `table` is to be read."""
    return table != "metric_values" if wanted is None else table in wanted


def wanted_columns(wanted: Wanted, table: str) -> tuple[str, ...] | None:
    """Return the columns of `table` that are needed, None for all."""
    return None if wanted is None else wanted.get(table)
