"""Reads Nsight Systems exports in SQLite, of any schema from 2021 on.

In: a database that ``nsys export --type sqlite`` wrote. Out: `CaptureData`; large tables are streams. The input is
opened read-only, and nothing appears beside it.
"""

from pathlib import Path

from nsightkit.ingest.nsys_capture import BACKEND, capture_data
from nsightkit.ingest.nsys_database import MAGIC, Database
from nsightkit.ingest.reader import CaptureData, Wanted

__all__ = ["BACKEND", "read", "recognizes"]


def recognizes(path: Path, head: bytes) -> bool:
    """Say whether the file is an SQLite database."""
    return head.startswith(MAGIC)


def read(paths: tuple[Path, ...], wanted: Wanted) -> CaptureData:
    """Read one export.

    Raises:
        IngestError: it is missing, locked, half-written, damaged, or no nsys export.
    """
    return capture_data(Database(paths[0]), wanted)
