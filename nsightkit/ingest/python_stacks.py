"""Which Python functions called CUDA, where nsys recorded their stacks (`--python-backtrace=cuda`).

In: an nsys SQLite export. Out: one record a Python function: the calls whose innermost Python frame it is. A frame is
Python's where its module is a Python file.

Source: table CUDA_CALLCHAINS (id, symbol, module, stackDepth; 0 is the leaf) and callchainId of
CUPTI_ACTIVITY_KIND_RUNTIME in NVIDIA's schema of exports. Unverified on a GPU: no public capture that we
know has such stacks.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nsightkit.errors import IngestError

_NEEDED = {"CUDA_CALLCHAINS", "CUPTI_ACTIVITY_KIND_RUNTIME", "StringIds"}
_QUERY = """
WITH frames AS (
    SELECT c.id AS id, s.value AS symbol, m.value AS module, c.stackDepth AS depth
    FROM CUDA_CALLCHAINS c JOIN StringIds s ON s.id = c.symbol JOIN StringIds m ON m.id = c.module
    WHERE m.value LIKE '%.py'
),
inner_frames AS (
    SELECT id, symbol, module FROM frames f
    WHERE depth = (SELECT MIN(depth) FROM frames g WHERE g.id = f.id)
)
SELECT f.symbol, f.module, COUNT(*), SUM(r.end - r.start)
FROM CUPTI_ACTIVITY_KIND_RUNTIME r JOIN inner_frames f ON f.id = r.callchainId
GROUP BY f.symbol, f.module ORDER BY 4 DESC, 1, 2
"""


@dataclass(frozen=True, slots=True)
class PythonFrame:
    """One Python function and the CUDA calls that it made itself; `call_ns` is the CPU time of these calls."""

    function: str
    file: str
    call_count: int
    call_ns: int


def python_frames(path: Path) -> list[PythonFrame]:
    """Return the functions by the time of their CUDA calls; none where the export holds no stacks.

    Raises:
        IngestError: the file cannot be read as SQLite.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            names = {row[0] for row in base.execute("SELECT name FROM sqlite_master")}
            if not names >= _NEEDED:
                return []
            columns = {row[1] for row in base.execute("PRAGMA table_info(CUPTI_ACTIVITY_KIND_RUNTIME)")}
            if "callchainId" not in columns:
                return []
            return [
                PythonFrame(name, Path(file).name, count, total) for name, file, count, total in base.execute(_QUERY)
            ]
    except sqlite3.Error as error:
        raise IngestError(f"{path}: no SQLite export of nsys ({error})", slug="damaged-database") from None
